/* Every form of engine keeps the promises of the gallery: what it finds, what it forgets, through every restart. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "served.h"

#define DIM       64
#define ROWS      3000
#define PROBES    40
#define K         10
#define GONE_ROW  734
#define EARLY_ROW 77 /* of an arrest that goes after the restarts */

/* A removed row may stay inside an HNSW for a second only, so that tickets come to an end. */
#define SETTINGS "[index]\nrebuild_after = 1\n"

static const struct form {
    const char *engine;
    double floor; /* of recall@10 at the default effort; at the full one it is FULL */
} forms[] = {
    {"flat", 1.0},
    {"auto", 0.99},
    {"scan", 0.99},
    {"hnsw", 0.98},
    {"faiss:Flat", 1.0},
    {"faiss:IVF16,Flat", 0.8},
    {"faiss:IVF16,SQ8", 0.8},
    {"faiss:IVF16_HNSW8,SQ8", 0.8},
    {"faiss:IVF16,PQ32x4fs", 0.8},
    {"faiss:HNSW16,Flat", 0.98},
    {"faiss:HNSW16,SQ8", 0.98},
};
#define FULL 0.99
/* Training a rotation takes seconds, so these are built once only. */
static const struct form rotated[] = {
    {"faiss:OPQ8,IVF16,PQ32x4fs", 0.8},
    {"faiss:OPQ8,HNSW16,SQ8", 0.98},
};
#define FORMS ((int)(sizeof(forms) / sizeof(forms[0])))

static struct gx_served served;

/* "auto" says what it has become. */
static const char *in_use(const char *engine)
{
    return strcmp(engine, "auto") == 0 ? NULL : engine;
}

static struct gx_client_result *search(uint64_t probe_row, bool exact, bool full, uint32_t k)
{
    struct gx_client_search how = {.k = k, .exact = exact, .tuning = {.has_effort = full, .effort = 1}};
    struct gx_client_result *result;
    gx_served_ok(gx_served_search(served.client, &served.people, "g", probe_row, &how, &result));
    return result;
}

static size_t count_common(const struct gx_client_answer *a, const struct gx_client_answer *b)
{
    size_t n = 0;
    for (size_t i = 0; i < a->n_candidates; i++)
        for (size_t j = 0; j < b->n_candidates; j++)
            n += strcmp(a->candidates[i].record_id, b->candidates[j].record_id) == 0;
    return n;
}

/* Recall of the engine on rows that are not enrolled; every score on the way is checked against the embeddings. */
static double measure_recall(bool full)
{
    size_t found = 0, wanted = 0;
    for (uint64_t i = 0; i < PROBES; i++) {
        uint64_t row = ROWS + 50 * i;
        struct gx_client_result *engine = search(row, false, full, K), *exact = search(row, true, false, K);
        ck_assert(exact->answers[0].stats.exhaustive);
        ck_assert_uint_eq(exact->answers[0].n_candidates, K);
        ck_assert_uint_eq(engine->answers[0].n_candidates, K);
        for (size_t j = 0; j < K; j++)
            gx_served_check_cosine(&served.people, row, &engine->answers[0].candidates[j]);
        found += count_common(&engine->answers[0], &exact->answers[0]);
        wanted += K;
        gx_client_result_free(engine);
        gx_client_result_free(exact);
    }
    return (double)found / (double)wanted;
}

/* The rows are returned by no search, and by no Get. */
static void check_gone(uint64_t first, uint64_t n)
{
    for (uint64_t row = first; row < first + n; row++) {
        ck_assert(!gx_served_has(&served, "g", row));
        for (int exact = 0; exact < 2; exact++) {
            struct gx_client_result *result = search(row, exact != 0, false, 1000);
            ck_assert_uint_eq(result->answers[0].n_candidates, 1000);
            for (size_t i = 0; i < 1000; i++) {
                uint64_t found = gx_served_row_of(result->answers[0].candidates[i].record_id);
                ck_assert(found < first || found >= first + n);
            }
            gx_client_result_free(result);
        }
    }
}

static void check_all_but(uint64_t n_gone, double floor)
{
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS - n_gone);
    double recall = measure_recall(false), full = measure_recall(true);
    ck_assert_msg(recall >= floor, "recall@10 %.4f, promised %.4f", recall, floor);
    ck_assert_msg(full >= FULL, "recall@10 %.4f at full effort, promised %.4f", full, FULL);
}

START_TEST(expunged_arrest_never_comes_back_and_everything_else_stays_whatever_the_engine)
{
    const struct form *form = &forms[_i];
    uint64_t first, n, early_first, early_n;
    struct gx_client_ticket ticket, early;
    if (gx_served_flat_only() && strncmp(form->engine, "faiss", 5) == 0)
        return;
    gx_served_begin(&served, DIM, SETTINGS);
    gx_served_create(&served, "g", form->engine);
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", in_use(form->engine));
    check_all_but(0, form->floor);
    ck_assert(gx_served_finds(&served, "g", GONE_ROW, 1));

    gx_served_expunge_arrest(&served, "g", GONE_ROW, &first, &n, &ticket);
    check_gone(first, n);
    check_all_but(n, form->floor);

    gx_served_restart(&served, false);
    check_gone(first, n);
    gx_served_await_indexed(&served, "g", in_use(form->engine));
    (void)gx_served_await_verified(&served, ticket.ticket_id);
    check_gone(first, n);
    check_all_but(n, form->floor);

    gx_served_restart(&served, true);
    gx_served_await_indexed(&served, "g", in_use(form->engine));
    check_gone(first, n);
    gx_served_expunge_arrest(&served, "g", EARLY_ROW, &early_first, &early_n, &early);
    (void)gx_served_await_verified(&served, early.ticket_id);
    check_gone(first, n);
    check_gone(early_first, early_n);
    check_all_but(n + early_n, form->floor);
    gx_served_end(&served);
}
END_TEST

START_TEST(rotated_index_is_saved_and_loaded_and_never_returns_what_was_expunged)
{
    const struct form *form = &rotated[_i];
    uint64_t first, n;
    struct gx_client_ticket ticket;
    if (gx_served_flat_only())
        return;
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", form->engine);
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", form->engine);
    check_all_but(0, form->floor);
    size_t builds = gx_server_log_count(&served.server, "build_started");
    gx_served_restart(&served, true);
    gx_served_await_indexed(&served, "g", form->engine);
    ck_assert_uint_eq(gx_server_log_count(&served.server, "build_started"), builds);
    gx_served_expunge_arrest(&served, "g", GONE_ROW, &first, &n, &ticket);
    check_gone(first, n);
    check_all_but(n, form->floor);
    gx_served_end(&served);
}
END_TEST

/* What is saved at an orderly stop is what the next start uses: nothing is built. */
START_TEST(saved_index_is_used_by_the_next_start_and_a_damaged_one_is_built_anew)
{
    static const char *const engines[] = {"hnsw", "faiss:IVF16,SQ8", "faiss:HNSW16,SQ8", "faiss:IVF16,PQ32x4fs"};
    if (strncmp(engines[_i], "faiss", 5) == 0 && gx_served_flat_only())
        return;
    gx_served_begin(&served, DIM, SETTINGS);
    gx_served_create(&served, "g", engines[_i]);
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", engines[_i]);
    size_t builds = gx_server_log_count(&served.server, "build_started");
    gx_served_restart(&served, true);
    struct gx_client_gallery_stats stats = gx_served_stats(&served, "g");
    ck_assert_str_eq(stats.engine, engines[_i]);
    ck_assert_uint_eq(stats.tail, 0);
    ck_assert_uint_eq(gx_server_log_count(&served.server, "build_started"), builds);
    check_all_but(0, 0.8);

    char command[256];
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
    (void)snprintf(command, sizeof(command),
                   "f=$(ls %s/index/*.index) && printf X | dd of=$f bs=1 seek=5000 conv=notrunc status=none",
                   served.server.data);
    ck_assert_int_eq(system(command), 0);
    gx_server_start(&served.server);
    gx_served_connect(&served);
    ck_assert_uint_eq(gx_server_log_count(&served.server, "index_unusable"), 1);
    gx_served_await_indexed(&served, "g", engines[_i]);
    check_all_but(0, 0.8);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {expunged_arrest_never_comes_back_and_everything_else_stays_whatever_the_engine, FORMS},
        {rotated_index_is_saved_and_loaded_and_never_returns_what_was_expunged, 2},
        {saved_index_is_used_by_the_next_start_and_a_damaged_one_is_built_anew, 4},
    };
    return gx_served_run("engines", tests, sizeof(tests) / sizeof(tests[0]));
}
