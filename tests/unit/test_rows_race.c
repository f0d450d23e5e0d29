/* Rows that are appended, hidden and wiped behind their readers' backs. */
#include <check.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "gallery_private.h"
#include "numbered.h"
#include "simd.h"
#include "suite.h"

#define DIM  24
#define ROWS 30000
#define K    25

struct race {
    struct gx_rows *rows;
    atomic_bool done;
    atomic_uint hidden;
    atomic_uint wrong_counts, wrong_rows, wrong_finds, wrong_hides, wrong_scans, wrong_scores; /* what was seen */
};

static pthread_t start(void *(*run)(void *), void *arg)
{
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, run, arg), 0);
    return thread;
}

static void *read_rows(void *arg)
{
    struct race *race = arg;
    uint32_t turn = 0, before = 0, slot;
    while (!atomic_load(&race->done)) {
        uint32_t count = gx_rows_count(race->rows);
        bool right = gx_numbered_is_right(race->rows, count - 1);
        for (int i = 0; i < 50; i++) {
            slot = turn++ * 2654435761u % count;
            right &= gx_rows_rno(race->rows, slot) == 10 + 3 * (uint64_t)slot && gx_numbered_is_right(race->rows, slot);
        }
        bool found = gx_rows_find(race->rows, 10 + 3 * (uint64_t)(count - 1), &slot) && slot == count - 1;
        atomic_fetch_add(&race->wrong_rows, !right);
        atomic_fetch_add(&race->wrong_finds, !found);
        atomic_fetch_add(&race->wrong_counts, count < before || gx_rows_live(race->rows) > ROWS);
        before = count;
    }
    return NULL;
}

static void *hide_rows(void *arg)
{
    struct race *race = arg;
    for (uint32_t slot = 0; slot < ROWS; slot += 5) {
        while (gx_rows_count(race->rows) <= slot)
            sched_yield();
        atomic_fetch_add(&race->hidden, gx_rows_hide(race->rows, slot));
        atomic_fetch_add(&race->wrong_hides, gx_rows_is_live(race->rows, slot));
    }
    return NULL;
}

/* Scans slots [@from, @count), of which @count is the number of rows a moment ago. */
static void scan(struct race *race, const float *probe, uint32_t from, uint32_t count)
{
    struct gx_hit heap[K];
    struct gx_topk top;
    uint64_t scanned;
    gx_topk_init(&top, heap, K, NULL, NULL);
    bool right =
        gx_rows_scan(race->rows, from, count, &probe, 1, NULL, NULL, NULL, NULL, &top, &scanned, NULL) == GX_OK &&
        scanned <= count - from;
    size_t n = gx_topk_sort(&top);
    for (size_t i = 0; i < n; i++) {
        right &= heap[i].slot >= from && heap[i].slot < count;
        bool exact = heap[i].score == gx_simd_dot(probe, gx_rows_floats(race->rows, heap[i].slot), DIM);
        atomic_fetch_add(&race->wrong_scores, !exact);
    }
    atomic_fetch_add(&race->wrong_scans, !right);
}

/* All rows, and the newest ones again and again: there a scan and a publish meet. */
static void *scan_rows(void *arg)
{
    struct race *race = arg;
    float probe[DIM];
    gx_numbered_row(424242, DIM, probe);
    while (!atomic_load(&race->done)) {
        scan(race, probe, 0, gx_rows_count(race->rows));
        for (int i = 0; i < 5000; i++) {
            uint32_t count = gx_rows_count(race->rows);
            scan(race, probe, count - 1, count);
        }
    }
    return NULL;
}

/* ROWS rows, published seven at a time; now and then what is not published yet is taken back and appended again. */
static void append_rows(struct gx_rows *rows)
{
    uint32_t n_appends = 0, slot = gx_rows_count(rows);
    while (slot < ROWS) {
        gx_numbered_append(rows, 10 + 3 * (uint64_t)slot++);
        if (++n_appends % 401 == 0) {
            gx_numbered_append(rows, 10 + 3 * (uint64_t)slot + 1);
            gx_rows_retract(rows);
            slot = gx_rows_count(rows);
        } else if (slot % 7 == 0 || slot == ROWS) {
            gx_rows_publish(rows);
        }
    }
}

START_TEST(readers_see_whole_rows_while_one_appends_and_two_hide)
{
    struct race race = {.rows = gx_numbered_filled(DIM, 10, 1)};
    pthread_t hiders[2], readers[3];
    for (int i = 0; i < 2; i++) {
        readers[i] = start(read_rows, &race);
        hiders[i] = start(hide_rows, &race);
    }
    readers[2] = start(scan_rows, &race);
    append_rows(race.rows);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(hiders[i], NULL), 0);
    atomic_store(&race.done, true);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_join(readers[i], NULL), 0);
    ck_assert_uint_eq(atomic_load(&race.wrong_counts), 0);
    ck_assert_uint_eq(atomic_load(&race.wrong_rows), 0);
    ck_assert_uint_eq(atomic_load(&race.wrong_finds), 0);
    ck_assert_uint_eq(atomic_load(&race.wrong_hides), 0);
    ck_assert_uint_eq(atomic_load(&race.wrong_scans), 0);
    ck_assert_uint_eq(atomic_load(&race.wrong_scores), 0);
    ck_assert_uint_eq(gx_rows_count(race.rows), ROWS);
    ck_assert_uint_eq(atomic_load(&race.hidden), ROWS / 5); /* each by one of the two only */
    ck_assert_uint_eq(gx_rows_live(race.rows), ROWS - ROWS / 5);
    gx_rows_free(race.rows);
}
END_TEST

/* --- wiping --- */

struct wiping {
    struct gx_gallery *gallery;
    atomic_bool done;
    atomic_uint wrong;
    atomic_ulong looked, seen_alive;
};

#define WIPED 3000

/* Looks at a row as every path does: as a reader, live bit first, and takes its time. */
static void *look_at_rows(void *arg)
{
    struct wiping *w = arg;
    struct gx_gallery *g = w->gallery;
    uint32_t turn = 0;
    while (!atomic_load(&w->done)) {
        uint32_t slot = turn++ * 2654435761u % WIPED;
        unsigned reader = gx_gallery_read_begin(g);
        if (gx_rows_is_live(g->rows, slot)) {
            if (turn % 16 == 0)
                sched_yield();
            atomic_fetch_add(&w->wrong, !gx_numbered_is_right(g->rows, slot));
            atomic_fetch_add(&w->seen_alive, 1);
        }
        gx_gallery_read_end(g, reader);
        atomic_fetch_add(&w->looked, 1);
    }
    return NULL;
}

START_TEST(row_seen_alive_stays_whole_until_its_reader_has_ended)
{
    static const struct gx_gallery_meta meta = {.name = "g", .dim = DIM};
    struct wiping w = {0};
    struct gx_err err;
    pthread_t readers[3];
    ck_assert_int_eq(gx_gallery_new(&meta, NULL, &w.gallery, &err), GX_OK);
    struct gx_rows *rows = w.gallery->rows;
    for (uint32_t slot = 0; slot < WIPED; slot++)
        gx_numbered_append(rows, 10 + slot);
    gx_rows_publish(rows);
    for (int i = 0; i < 3; i++)
        readers[i] = start(look_at_rows, &w);
    while (atomic_load(&w.looked) == 0)
        sched_yield();
    for (uint32_t first = 0; first < WIPED; first += 20) {
        for (uint32_t slot = first; slot < first + 20; slot++)
            gx_rows_hide(rows, slot);
        gx_gallery_wait_readers(w.gallery);
        for (uint32_t slot = first; slot < first + 20; slot++)
            gx_rows_wipe(rows, slot);
    }
    atomic_store(&w.done, true);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_join(readers[i], NULL), 0);
    ck_assert_uint_eq(atomic_load(&w.wrong), 0);
    ck_assert_uint_gt(atomic_load(&w.seen_alive), 0);
    ck_assert_uint_eq(gx_rows_live(rows), 0);
    gx_gallery_unref(w.gallery);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rows_race");
    TCase *tc = tcase_create("rows_race");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, readers_see_whole_rows_while_one_appends_and_two_hide);
    tcase_add_test(tc, row_seen_alive_stays_whole_until_its_reader_has_ended);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
