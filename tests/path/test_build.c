/* Indexes are built and swapped while searches and enrolments go on: no error, no acknowledged record missing. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "served.h"

#define DIM    64
#define ROWS   2000
#define FRESH  1500 /* enrolled meanwhile */
#define PIECE  10
#define DOOMED 400 /* the first rows, expunged one by one meanwhile */

#define POURED     100    /* at a time */
#define POURED_MAX 200000 /* fewer than those for which a build no longer waits, index.tail_max / 2 */

static struct gx_served served;
static atomic_uint_least64_t n_enrolled, n_expunged, n_searches;
static atomic_bool over;

/* Every record that was acknowledged before the search, and not expunged after, is its own best candidate. */
static void *search_on(void *arg)
{
    gx_client *client = gx_served_open_client(&served, 0);
    struct gx_client_search how = {.k = 100, .tuning = {.has_effort = true, .effort = 1}};
    for (uint64_t i = (uint64_t)(arg != NULL); !atomic_load(&over); i += 2) {
        uint64_t gone = atomic_load(&n_expunged), there = atomic_load(&n_enrolled);
        uint64_t row = DOOMED + i * 7919 % (there - DOOMED);
        if (i % 4 < 2)
            row = there - 1; /* the newest */
        struct gx_client_result *r;
        gx_served_ok(gx_served_search(client, &served.people, "g", row, &how, &r));
        const struct gx_client_answer *a = &r->answers[0];
        ck_assert_uint_eq(a->n_candidates, how.k);
        ck_assert_uint_eq(gx_served_row_of(a->candidates[0].record_id), row);
        for (size_t j = 0; j < a->n_candidates; j++)
            ck_assert_uint_ge(gx_served_row_of(a->candidates[j].record_id), gone);
        gx_client_result_free(r);
        atomic_fetch_add(&n_searches, 1);
        gx_served_breathe(); /* the builder gives way to searches: these two would leave it no core */
    }
    gx_client_close(client);
    return NULL;
}

static void *write_on(void *arg)
{
    gx_client *client = gx_served_open_client(&served, 0);
    (void)arg;
    for (uint64_t i = 0; !atomic_load(&over); i++) {
        uint64_t row = atomic_load(&n_enrolled), gone = atomic_load(&n_expunged);
        if (row < ROWS + FRESH) {
            gx_served_ok(gx_served_insert(client, &served.people, "g", row, PIECE, NULL, NULL));
            atomic_store(&n_enrolled, row + PIECE);
        }
        if (i % 3 == 0 && gone < DOOMED) {
            char id[GX_PEOPLE_ID_MAX];
            const char *ids[] = {id};
            struct gx_client_ticket ticket;
            gx_people_record_id(gone, id);
            gx_served_ok(gx_client_expunge(client, "g", GX_CLIENT_RECORD, ids, 1, "order", 1, false, NULL, &ticket));
            atomic_store(&n_expunged, gone + 1);
        }
        gx_served_breathe();
    }
    gx_client_close(client);
    return NULL;
}

/* It answers. It may be under way again: each removal has some engines built anew. */
static bool is_built(const char *engine)
{
    struct gx_client_gallery_stats s = gx_served_stats(&served, "g");
    ck_assert_msg(s.build.problem[0] == '\0', "build: %s", s.build.problem);
    return strcmp(s.engine, engine) == 0;
}

static void build_through(const char *const *engines, size_t n)
{
    pthread_t threads[3];
    gx_served_begin(&served, DIM, "[index]\nrebuild_after = 1\n");
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", ROWS);
    atomic_store(&n_enrolled, ROWS);
    ck_assert_int_eq(pthread_create(&threads[0], NULL, search_on, NULL), 0);
    ck_assert_int_eq(pthread_create(&threads[1], NULL, search_on, &over), 0);
    ck_assert_int_eq(pthread_create(&threads[2], NULL, write_on, NULL), 0);
    for (size_t i = 0; i < n; i++) {
        uint64_t before = atomic_load(&n_searches);
        enum gx_status status;
        do /* a rebuild of its own may be under way */
            status = gx_client_gallery_build(served.client, "g", engines[i], NULL);
        while (status == GX_E_STATE && (gx_served_breathe(), true));
        gx_served_ok(status);
        gx_served_wait_until(is_built(engines[i]));
        gx_served_wait_until(atomic_load(&n_searches) > before + 20);
    }
    atomic_store(&over, true);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    uint64_t enrolled = atomic_load(&n_enrolled), gone = atomic_load(&n_expunged);
    ck_assert_uint_eq(gx_served_records(&served, "g"), enrolled - gone);
    for (int orderly = 0; orderly < 2; orderly++) {
        struct gx_client_gallery g;
        gx_served_restart(&served, orderly != 0);
        gx_served_ok(gx_client_gallery_get(served.client, "g", &g));
        ck_assert_str_eq(g.engine, engines[n - 1]);
        gx_served_await_indexed(&served, "g", engines[n - 1]);
        ck_assert_uint_eq(g.records, enrolled - gone);
        for (uint64_t row = 0; row < enrolled; row += 111)
            ck_assert(gx_served_finds(&served, "g", row, 5) == (row >= gone));
    }
    gx_served_end(&served);
}

START_TEST(searches_see_every_acknowledged_record_while_indexes_are_built_and_swapped)
{
    static const char *const indexes[] = {
        "scan", "faiss:IVF16,SQ8", "hnsw", "faiss:HNSW16,SQ8", "faiss:IVF16,PQ32x4fs", "flat", "hnsw"};
    static const char *const native[] = {"scan", "hnsw", "flat", "hnsw", "scan"};
    if (gx_served_flat_only())
        build_through(native, 5);
    else
        build_through(indexes, 7);
}
END_TEST

/* Of an engine that has to be built anew for it, which elsewise waits until the rows have come. */
START_TEST(an_erasure_does_not_wait_for_rows_that_pour_in)
{
    const char *engine = "faiss:HNSW8,Flat";
    struct gx_client_ticket ticket;
    uint64_t first, n, row = ROWS;
    if (gx_served_flat_only())
        return;
    gx_served_begin(&served, DIM, "[index]\nrebuild_after = 1\n");
    gx_served_create(&served, "g", engine);
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", engine);
    gx_served_expunge_arrest(&served, "g", 100, &first, &n, &ticket);
    do {
        gx_served_ok(gx_served_insert(served.client, &served.people, "g", row, POURED, NULL, NULL));
        gx_served_ok(gx_client_ticket_get(served.client, ticket.ticket_id, &ticket));
        row += POURED;
    } while (ticket.state != GX_CLIENT_TICKET_VERIFIED && row < POURED_MAX);
    ck_assert_int_eq(ticket.state, GX_CLIENT_TICKET_VERIFIED);
    ck_assert(!gx_served_finds(&served, "g", first, 1000) && gx_served_finds(&served, "g", row - 1, 1));
    ck_assert_uint_eq(gx_served_records(&served, "g"), row - n);
    gx_served_end(&served);
}
END_TEST

START_TEST(build_is_refused_for_what_is_no_engine_and_changes_nothing)
{
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", 100);
    gx_served_refused(gx_client_gallery_build(served.client, "g", "faiss:IVF16", NULL), GX_E_INVALID);
    gx_served_refused(gx_client_gallery_build(served.client, "g", "Hnsw", NULL), GX_E_INVALID);
    gx_served_refused(gx_client_gallery_build(served.client, "h", "flat", NULL), GX_E_NOT_FOUND);
    struct gx_client_gallery g;
    gx_served_ok(gx_client_gallery_get(served.client, "g", &g));
    ck_assert_str_eq(g.engine, "flat");
    ck_assert(gx_served_finds(&served, "g", 5, 1));
    gx_served_end(&served);
}
END_TEST

/* Too few rows to train on: scanned exactly until there are enough, then built without being asked. */
START_TEST(index_is_built_as_soon_as_there_are_rows_to_train_it_on)
{
    if (gx_served_flat_only())
        return;
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "faiss:IVF64,SQ8");
    gx_served_fill(&served, "g", 20);
    ck_assert(gx_served_finds(&served, "g", 7, 1));
    ck_assert_str_eq(gx_served_stats(&served, "g").engine, "flat");
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", "faiss:IVF64,SQ8");
    ck_assert(gx_served_finds(&served, "g", 1999, 1));
    gx_served_end(&served);
}
END_TEST

static bool answers_by(const char *engine)
{
    struct gx_client_result *r;
    gx_served_ok(gx_served_search(served.client, &served.people, "g", 1234, NULL, &r));
    bool same = strcmp(r->answers[0].stats.engine, engine) == 0;
    ck_assert_uint_eq(gx_served_row_of(r->answers[0].candidates[0].record_id), 1234);
    gx_client_result_free(r);
    return same;
}

START_TEST(auto_is_scan_in_a_small_gallery_and_hnsw_in_a_large_one)
{
    struct gx_client_gallery g;
    gx_served_begin(&served, DIM, "[index]\nhnsw_from = 3000\n");
    gx_served_create(&served, "g", "auto");
    gx_served_fill(&served, "g", 2000);
    gx_served_await_indexed(&served, "g", "scan");
    ck_assert(answers_by("scan"));
    gx_served_restart(&served, true); /* serving means indexed, also where a saved graph would have been kept */
    ck_assert(answers_by("scan"));
    for (uint64_t row = 2000; row < 3500; row += 500)
        gx_served_ok(gx_served_insert(served.client, &served.people, "g", row, 500, NULL, NULL));
    gx_served_await_indexed(&served, "g", "hnsw");
    ck_assert(answers_by("hnsw"));
    for (int orderly = 0; orderly < 2; orderly++) {
        gx_served_restart(&served, orderly != 0);
        gx_served_await_indexed(&served, "g", "hnsw");
        ck_assert(answers_by("hnsw"));
    }
    gx_served_ok(gx_client_gallery_get(served.client, "g", &g));
    ck_assert_str_eq(g.engine, "auto");
    gx_served_end(&served);
}
END_TEST

START_TEST(rows_in_files_answer_as_those_in_memory_do_and_are_made_anew_at_each_start)
{
    char command[256];
    gx_served_begin(&served, DIM, "[rows]\nfloat = file\n");
    gx_served_create(&served, "g", "auto");
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", "scan");
    ck_assert(answers_by("scan"));
    (void)snprintf(command, sizeof(command), "test $(ls %s/rows | wc -l) = 1", served.server.data);
    ck_assert_int_eq(system(command), 0);
    for (int orderly = 0; orderly < 2; orderly++) {
        gx_served_restart(&served, orderly != 0);
        gx_served_await_indexed(&served, "g", "scan");
        ck_assert(answers_by("scan"));
        for (uint64_t row = 0; row < ROWS; row += 111)
            ck_assert(gx_served_finds(&served, "g", row, 1));
    }
    gx_served_ok(gx_client_gallery_delete(served.client, "g", ROWS, NULL));
    (void)snprintf(command, sizeof(command), "test $(ls %s/rows | wc -l) = 0", served.server.data);
    gx_served_wait_until(system(command) == 0);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {searches_see_every_acknowledged_record_while_indexes_are_built_and_swapped, 0},
        {an_erasure_does_not_wait_for_rows_that_pour_in, 0},
        {build_is_refused_for_what_is_no_engine_and_changes_nothing, 0},
        {index_is_built_as_soon_as_there_are_rows_to_train_it_on, 0},
        {auto_is_scan_in_a_small_gallery_and_hnsw_in_a_large_one, 0},
        {rows_in_files_answer_as_those_in_memory_do_and_are_made_anew_at_each_start, 0},
    };
    return gx_served_run("build", tests, sizeof(tests) / sizeof(tests[0]));
}
