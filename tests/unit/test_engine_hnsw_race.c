/* Promises of engine.h for the hnsw engine: searches go on beside adds, removals and saves. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine_hnsw.h"
#include "grown.h"
#include "suite.h"

#define DIM       32
#define N         3000
#define FIRST     1000 /* there when the searches begin */
#define EF        64
#define SEARCHERS 2
#define K         10

/* Searches are counted in and out as a gallery does it, so that rows are wiped when none is left that may have seen
 * them. */
struct race {
    struct gx_grown g;
    struct gx_engine *engine;
    atomic_bool done;
    atomic_uint phase, readers[2];
    atomic_uint searches, failed, wrong, lost, stale;
    _Atomic uint8_t removed[N]; /* a search that begins now does not find it */
};

static struct race race;
static struct gx_err err;

#define OK(call) ck_assert_msg((call) == GX_OK, "seed %d: %s", GX_GROWN_SEED, err.text)

static bool odd_ones(void *arg, const struct gx_rows *rows, uint32_t slot)
{
    (void)arg, (void)rows;
    return slot % 2 == 1;
}

/* One search; what it gave is looked at. */
static void search(uint32_t row, bool filtered)
{
    static _Thread_local uint8_t removed_before[N];
    struct gx_arena arena;
    struct gx_engine_answer answer;
    struct gx_err my_err;
    const float *probe = race.g.floats + (size_t)row * DIM;
    struct gx_engine_ask ask = {
        .probes = &probe, .n_probes = 1, .n_wanted = K, .effort = {.effort = -1, .ef_search = EF}, .until = UINT32_MAX};
    ask.pass = filtered ? odd_ones : NULL;
    gx_arena_init(&arena, 1 << 20);
    unsigned reader = atomic_load(&race.phase) & 1;
    atomic_fetch_add(&race.readers[reader], 1);
    for (uint32_t i = 0; i < N; i++)
        removed_before[i] = atomic_load(&race.removed[i]);
    if (gx_engine_search(race.engine, &ask, &arena, &answer, &my_err) != GX_OK) {
        atomic_fetch_add(&race.failed, 1);
    } else {
        bool right = answer.n <= K && answer.n >= K / 2, found = false;
        for (size_t i = 0; i < answer.n; i++) {
            uint32_t slot = answer.hits[i].slot;
            right &= slot < gx_rows_count(race.g.rows) && (!filtered || slot % 2 == 1);
            right &= i == 0 || answer.hits[i - 1].approx_score >= answer.hits[i].approx_score;
            found |= slot == row;
            atomic_fetch_add(&race.stale, slot < N && removed_before[slot] == 1);
        }
        atomic_fetch_add(&race.wrong, !right);
        atomic_fetch_add(&race.lost, row < FIRST && row % 4 != 0 && !found && !(filtered && row % 2 == 0));
    }
    atomic_fetch_sub(&race.readers[reader], 1);
    atomic_fetch_add(&race.searches, 1);
    gx_arena_fini(&arena);
}

static void *search_on(void *arg)
{
    uint32_t turn = *(const uint32_t *)arg;
    while (!atomic_load(&race.done)) {
        turn = turn * 1664525u + 1013904223u;
        search((turn >> 8) % N, (turn >> 5) % 4 == 0);
    }
    return NULL;
}

static void wait_readers(void)
{
    for (int round = 0; round < 2; round++) {
        unsigned old = atomic_fetch_add(&race.phase, 1) & 1;
        while (atomic_load(&race.readers[old]) != 0)
            sched_yield();
    }
}

/* Removes every fourth row of a stretch: hidden, out of the engine, and wiped when nobody looks at it any more. */
static void remove_some(uint32_t from, uint32_t until)
{
    uint64_t rnos[N];
    size_t n = 0, n_removed;
    for (uint32_t slot = from; slot < until; slot += 4) {
        ck_assert(gx_rows_hide(race.g.rows, slot));
        rnos[n++] = gx_grown_rno(slot);
    }
    OK(gx_engine_remove(race.engine, rnos, n, &n_removed, &err));
    ck_assert_uint_eq(n_removed, n);
    for (size_t i = 0; i < n; i++)
        atomic_store(&race.removed[rnos[i] / 2], 1);
    wait_readers();
    gx_engine_wipe(race.engine, rnos, n);
    for (size_t i = 0; i < n; i++)
        gx_rows_wipe(race.g.rows, (uint32_t)(rnos[i] / 2));
}

START_TEST(searches_go_on_beside_everything)
{
    pthread_t threads[SEARCHERS];
    static uint32_t seeds[SEARCHERS];
    char path[256];
    gx_suite_new_path(path);
    gx_grown_begin(&race.g, DIM, N, FIRST);
    race.engine = gx_grown_built(&race.g, 2);
    for (uint32_t i = 0; i < SEARCHERS; i++) {
        seeds[i] = 11 + i;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, search_on, &seeds[i]), 0);
    }
    uint32_t removed = 0;
    for (uint32_t until = FIRST; until < N; until += 500) {
        gx_grown_publish(&race.g, until + 500);
        gx_grown_add(&race.g, race.engine, until, until + 500);
        remove_some(removed, removed + 400);
        removed += 400;
        if (until % 2000 == 0)
            OK(gx_engine_save(race.engine, path, &err));
        ck_assert_uint_eq(gx_grown_unreachable(race.engine), 0);
    }
    while (atomic_load(&race.searches) < 200)
        sched_yield();
    atomic_store(&race.done, true);
    for (size_t i = 0; i < SEARCHERS; i++)
        pthread_join(threads[i], NULL);
    ck_assert_uint_eq(race.failed, 0);
    ck_assert_uint_eq(race.wrong, 0);
    ck_assert_uint_eq(race.stale, 0);
    ck_assert_uint_le(race.lost, race.searches / 500); /* a list may be rewritten under a search's eyes */
    ck_assert_uint_eq(gx_grown_lost(&race.g, race.engine, EF, 1), 0);
    gx_engine_unref(race.engine);
    gx_grown_end(&race.g);
}
END_TEST

/* The worst case of a build by several threads, and the normal one: photos of one person come one after the other. */
START_TEST(rows_of_one_person_find_each_other_when_they_come_at_the_same_moment)
{
    for (int round = 0; round < 2; round++) {
        gx_grown_begin(&race.g, DIM, N / 2, N / 2);
        struct gx_engine *engine = gx_grown_new(&race.g, 4);
        gx_grown_add(&race.g, engine, 0, N / 2);
        ck_assert_uint_eq(gx_grown_unreachable(engine), 0);
        ck_assert_uint_eq(gx_grown_lost(&race.g, engine, EF, 1), 0);
        gx_engine_unref(engine);
        gx_grown_end(&race.g);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("engine_hnsw_race");
    TCase *t = tcase_create("all");
    tcase_add_test(t, searches_go_on_beside_everything);
    tcase_add_test(t, rows_of_one_person_find_each_other_when_they_come_at_the_same_moment);
    suite_add_tcase(s, t);
    return gx_suite_run_in_folder(s);
}
