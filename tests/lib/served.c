#include "served.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEADLINE_US INT64_C(60000000)

void gx_served_breathe(void)
{
    (void)nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

bool gx_served_flat_only(void)
{
    const char *engine = getenv("INDEXD_TEST_ENGINE");
    return engine != NULL && strcmp(engine, "flat") == 0;
}

/* ---------------------------------------------------------------- start and stop */

gx_client *gx_served_open_client(const struct gx_served *served, int64_t deadline_us)
{
    gx_client *client;
    struct gx_client_options options = {
        .server = served->server.address, .deadline_us = deadline_us == 0 ? DEADLINE_US : deadline_us, .retries = -1};
    gx_served_ok(gx_client_open(&options, &client));
    return client;
}

void gx_served_connect(struct gx_served *served)
{
    gx_client_close(served->client);
    served->client = gx_served_open_client(served, 0);
}

void gx_served_begin(struct gx_served *served, uint32_t dim, const char *settings)
{
    served->client = NULL;
    ck_assert(gx_people_init(&served->people, GX_SERVED_SEED, dim, GX_SERVED_ROWS));
    gx_server_begin(&served->server);
    if (settings != NULL)
        (void)snprintf(served->server.settings, sizeof(served->server.settings), "%s", settings);
    gx_server_start(&served->server);
    gx_served_connect(served);
}

void gx_served_restart(struct gx_served *served, bool orderly)
{
    gx_client_close(served->client); /* an idle connection keeps an orderly stop waiting */
    served->client = NULL;
    if (orderly)
        gx_server_stop(&served->server);
    else
        gx_server_kill(&served->server);
    gx_server_start(&served->server);
    gx_served_connect(served);
}

void gx_served_end(struct gx_served *served)
{
    gx_client_close(served->client);
    served->client = NULL;
    gx_server_end(&served->server);
}

/* ---------------------------------------------------------------- galleries */

void gx_served_create(struct gx_served *served, const char *gallery, const char *engine)
{
    gx_served_ok(
        gx_client_gallery_create(served->client, gallery, served->people.dim, GX_SERVED_EMBEDDER, engine, 0, NULL));
}

struct gx_client_gallery_stats gx_served_stats(struct gx_served *served, const char *gallery)
{
    struct gx_client_gallery_stats stats;
    gx_served_ok(gx_client_gallery_stats(served->client, gallery, &stats));
    return stats;
}

static bool is_indexed(struct gx_served *served, const char *gallery, const char *engine)
{
    struct gx_client_gallery_stats s = gx_served_stats(served, gallery);
    ck_assert_msg(s.build.running || s.build.problem[0] == '\0', "build: %s", s.build.problem);
    bool is_flat = strcmp(s.engine, "flat") == 0; /* everything is scanned */
    return !s.build.running && (s.tail == 0 || is_flat) && (engine == NULL || strcmp(s.engine, engine) == 0);
}

void gx_served_await_indexed(struct gx_served *served, const char *gallery, const char *engine)
{
    gx_served_wait_until(is_indexed(served, gallery, engine));
}

uint64_t gx_served_records(struct gx_served *served, const char *gallery)
{
    struct gx_client_gallery g;
    gx_served_ok(gx_client_gallery_get(served->client, gallery, &g));
    return g.records;
}

/* ---------------------------------------------------------------- records */

struct texts {
    char record[GX_PEOPLE_ID_MAX], subject[GX_PEOPLE_ID_MAX], arrest[GX_PEOPLE_ID_MAX];
    const char *key, *value;
};

void gx_served_make_batch(const struct gx_people *people, uint64_t first, size_t n, struct gx_served_batch *out)
{
    size_t dim = people->dim;
    char *memory = malloc(n * (sizeof(struct texts) + sizeof(*out->records) + dim * sizeof(float)));
    ck_assert_ptr_nonnull(memory);
    struct texts *texts = (struct texts *)(void *)memory;
    *out =
        (struct gx_served_batch){.records = (struct gx_client_record *)(void *)(texts + n), .n = n, .memory = memory};
    out->rows = (float *)(void *)(out->records + n);
    for (size_t i = 0; i < n; i++) {
        struct gx_people_photo photo;
        gx_people_row(people, first + i, out->rows + i * dim, &photo);
        gx_people_record_id(first + i, texts[i].record);
        gx_people_subject_id(photo.person, texts[i].subject);
        gx_people_arrest_id(photo.person, photo.arrest, texts[i].arrest);
        texts[i].key = "site";
        texts[i].value = (first + i) % 2 == 0 ? "even" : "odd";
        out->records[i] = (struct gx_client_record){.record_id = texts[i].record,
                                                    .subject_id = texts[i].subject,
                                                    .arrest_id = texts[i].arrest,
                                                    .captured_at_us = (int64_t)(first + i + 1) * 1000000,
                                                    .attribute_keys = &texts[i].key,
                                                    .attribute_values = &texts[i].value,
                                                    .n_attributes = 1};
    }
}

void gx_served_free_batch(struct gx_served_batch *batch)
{
    free(batch->memory);
    *batch = (struct gx_served_batch){0};
}

enum gx_status gx_served_insert(gx_client *client, const struct gx_people *people, const char *gallery, uint64_t first,
                                size_t n, const char *request_id, struct gx_client_enrolled *out)
{
    struct gx_served_batch b;
    gx_served_make_batch(people, first, n, &b);
    enum gx_status status =
        gx_client_insert(client, gallery, GX_SERVED_EMBEDDER, b.records, b.rows, n, people->dim, request_id, out);
    gx_served_free_batch(&b);
    return status;
}

void gx_served_fill(struct gx_served *served, const char *gallery, uint64_t n)
{
    for (uint64_t i = 0; i < n; i += 1000)
        gx_served_ok(gx_served_insert(served->client, &served->people, gallery, i,
                                      (size_t)(n - i < 1000 ? n - i : 1000), NULL, NULL));
}

bool gx_served_has(struct gx_served *served, const char *gallery, uint64_t row)
{
    char id[GX_PEOPLE_ID_MAX];
    const char *ids[] = {id};
    struct gx_client_records *records;
    gx_people_record_id(row, id);
    gx_served_ok(gx_client_record_get(served->client, gallery, ids, 1, false, &records));
    bool has = records->n_records == 1;
    gx_client_records_free(records);
    return has;
}

uint64_t gx_served_row_of(const char *record_id)
{
    ck_assert_msg(strncmp(record_id, "photo-", 6) == 0, "'%s' was never enrolled", record_id);
    return strtoull(record_id + 6, NULL, 10);
}

/* ---------------------------------------------------------------- searches */

enum gx_status gx_served_search(gx_client *client, const struct gx_people *people, const char *gallery, uint64_t row,
                                const struct gx_client_search *search, struct gx_client_result **out)
{
    float probe[GX_PEOPLE_DIM_MAX];
    gx_people_row(people, row, probe, NULL);
    return gx_client_search(client, gallery, GX_SERVED_EMBEDDER, probe, 1, people->dim, search, out);
}

bool gx_served_finds(struct gx_served *served, const char *gallery, uint64_t row, uint32_t k)
{
    struct gx_client_search search = {.k = k};
    struct gx_client_result *result;
    char id[GX_PEOPLE_ID_MAX];
    gx_people_record_id(row, id);
    gx_served_ok(gx_served_search(served->client, &served->people, gallery, row, &search, &result));
    bool found = false;
    for (size_t i = 0; i < result->answers[0].n_candidates; i++)
        found = found || strcmp(result->answers[0].candidates[i].record_id, id) == 0;
    gx_client_result_free(result);
    return found;
}

void gx_served_check_cosine(const struct gx_people *people, uint64_t probe, const struct gx_client_candidate *candidate)
{
    float a[GX_PEOPLE_DIM_MAX], b[GX_PEOPLE_DIM_MAX];
    double ab = 0, aa = 0, bb = 0;
    gx_people_row(people, probe, a, NULL);
    gx_people_row(people, gx_served_row_of(candidate->record_id), b, NULL);
    for (size_t i = 0; i < people->dim; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    ck_assert_double_eq_tol((double)candidate->cosine, ab / sqrt(aa * bb), 1e-6);
}

/* ---------------------------------------------------------------- expungement */

void gx_served_arrest_of(const struct gx_people *people, uint64_t row, char out_id[GX_PEOPLE_ID_MAX],
                         uint64_t *out_first, uint64_t *out_n)
{
    struct gx_people_photo mine, other;
    uint64_t first;
    uint32_t n;
    gx_people_row(people, row, NULL, &mine);
    gx_people_arrest_id(mine.person, mine.arrest, out_id);
    gx_people_rows_of(people, mine.person, &first, &n);
    *out_n = 0;
    for (uint64_t i = first; i < first + n; i++) {
        gx_people_row(people, i, NULL, &other);
        if (other.arrest != mine.arrest)
            continue;
        if (*out_n == 0)
            *out_first = i;
        ++*out_n;
    }
}

void gx_served_expunge_arrest(struct gx_served *served, const char *gallery, uint64_t row, uint64_t *out_first,
                              uint64_t *out_n, struct gx_client_ticket *out)
{
    char id[GX_PEOPLE_ID_MAX];
    const char *ids[] = {id};
    gx_served_arrest_of(&served->people, row, id, out_first, out_n);
    gx_served_ok(gx_client_expunge(served->client, gallery, GX_CLIENT_ARREST, ids, 1, "order 2026-1", (int64_t)*out_n,
                                   false, NULL, out));
    ck_assert_uint_eq(out->records, *out_n);
}

static bool is_verified(struct gx_served *served, const char *ticket_id, struct gx_client_ticket *out)
{
    gx_served_ok(gx_client_ticket_get(served->client, ticket_id, out));
    ck_assert_msg(out->state != GX_CLIENT_TICKET_FAILED, "%s failed: %s", ticket_id, out->problem);
    return out->state == GX_CLIENT_TICKET_VERIFIED;
}

struct gx_client_ticket gx_served_await_verified(struct gx_served *served, const char *ticket_id)
{
    struct gx_client_ticket ticket;
    gx_served_wait_until(is_verified(served, ticket_id, &ticket));
    return ticket;
}

/* ---------------------------------------------------------------- running */

int gx_served_run(const char *name, const struct gx_served_test *tests, size_t n_tests)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);
    for (size_t i = 0; i < n_tests; i++) {
        if (tests[i].loops > 0)
            tcase_add_loop_test(tcase, tests[i].test, 0, tests[i].loops);
        else
            tcase_add_test(tcase, tests[i].test);
    }
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
