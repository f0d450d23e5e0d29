/* Promises of include/indexd/client.h that need no server. gRPC's threads don't survive fork: each test has its client.
 */
#include "indexd/client.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define NOBODY "unix:/nowhere/indexd.socket"

static gx_client *open_client(int64_t deadline_us, int retries)
{
    const struct gx_client_options options = {.server = NOBODY, .deadline_us = deadline_us, .retries = retries};
    gx_client *client;
    enum gx_status status = gx_client_open(&options, &client);
    ck_assert_msg(status == GX_OK, "%s", gx_client_error());
    return client;
}

START_TEST(options_out_of_range_are_refused)
{
    static const struct gx_client_options bad[] = {
        {.server = ""},         {.server = "localhost"},  {.server = ":7600"},
        {.server = "host:"},    {.server = "host:70000"}, {.server = "host:76x"},
        {.server = "a b:7600"}, {.server = "::1:7600"},   {.server = "http://host:7600"},
        {.server = "unix:"},    {.deadline_us = -1},      {.deadline_us = GX_CLIENT_DEADLINE_MAX + 1},
        {.retries = -2},        {.retries = 11},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        gx_client *client;
        ck_assert_int_eq(gx_client_open(&bad[i], &client), GX_E_INVALID);
        ck_assert_ptr_null(client);
        ck_assert_str_ne(gx_client_error(), "");
    }
}
END_TEST

START_TEST(addresses_of_all_kinds_are_taken)
{
    static const char *const good[] = {"127.0.0.1:7600", "localhost:1", "[::1]:7600", "unix:/tmp/x", NULL};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        const struct gx_client_options options = {.server = good[i]};
        gx_client *client;
        ck_assert_int_eq(gx_client_open(&options, &client), GX_OK);
        gx_client_close(client);
    }
    gx_client *client;
    ck_assert_int_eq(gx_client_open(NULL, &client), GX_OK);
    gx_client_close(client);
    gx_client_close(NULL);
}
END_TEST

START_TEST(a_server_that_is_not_there_is_said_to_be_so)
{
    gx_client *client = open_client(0, -1);
    struct gx_client_gallery gallery;
    ck_assert_int_eq(gx_client_gallery_get(client, "g", &gallery), GX_E_UNAVAILABLE);
    ck_assert_str_eq(gx_client_error(),
                     "cannot reach " NOBODY ": is the server running? start it with 'indexd serve --data DIR'");
    int state = 7;
    ck_assert_int_eq(gx_client_health(client, NULL, &state), GX_E_UNAVAILABLE);
    ck_assert_int_eq(state, 0);
    gx_client_close(client);
}
END_TEST

START_TEST(further_tries_end_with_the_deadline)
{
    gx_client *client = open_client(300000, 10); /* ten tries would take many seconds */
    struct gx_client_gallery gallery;
    enum gx_status status = gx_client_gallery_get(client, "g", &gallery);
    ck_assert(status == GX_E_UNAVAILABLE || status == GX_E_DEADLINE); /* on a slow machine within the first try */
    gx_client_close(client);
}
END_TEST

START_TEST(a_stream_to_nobody_ends_with_the_reason_and_nothing_acknowledged)
{
    const float row[] = {1, 2};
    const struct gx_client_record record = {.record_id = "r"};
    gx_client *client = open_client(0, 1);
    gx_client_stream *stream;
    ck_assert_int_eq(gx_client_stream_open(client, "g", "e", NULL, &stream), GX_OK);
    enum gx_status status = gx_client_stream_send(stream, &record, row, 1, 2);
    ck_assert_int_eq(status, GX_E_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(gx_client_error(), "cannot reach"));
    ck_assert_int_eq(gx_client_stream_send(stream, &record, row, 1, 2), GX_E_UNAVAILABLE);
    ck_assert_int_eq(gx_client_stream_wait(stream, 0), GX_E_UNAVAILABLE);
    uint64_t messages = 9;
    struct gx_client_enrolled enrolled = {9, 9, 9};
    gx_client_stream_acknowledged(stream, &messages, &enrolled);
    ck_assert_uint_eq(messages, 0);
    ck_assert_uint_eq(enrolled.enrolled, 0);
    ck_assert_int_eq(gx_client_stream_close(stream, &enrolled), GX_E_UNAVAILABLE);
    ck_assert_uint_eq(enrolled.unchanged, 0);
    ck_assert_ptr_nonnull(strstr(gx_client_error(), "cannot reach"));
    gx_client_close(client);
}
END_TEST

START_TEST(an_unused_stream_closes_well_and_an_abandoned_one_at_once)
{
    gx_client *client = open_client(0, 0);
    gx_client_stream *stream;
    ck_assert_int_eq(gx_client_stream_open(client, "g", "e", NULL, &stream), GX_OK);
    ck_assert_int_eq(gx_client_stream_wait(stream, 0), GX_OK);
    ck_assert_int_eq(gx_client_stream_close(stream, NULL), GX_OK);
    ck_assert_int_eq(gx_client_stream_open(client, "g", "e", "1", &stream), GX_OK);
    gx_client_stream_abandon(stream);
    gx_client_stream_abandon(NULL);
    ck_assert_int_eq(gx_client_stream_close(NULL, NULL), GX_OK);
    gx_client_close(client);
}
END_TEST

START_TEST(requests_out_of_range_are_refused_before_they_are_sent)
{
    static float rows[2 * 4096];
    const char *const ids[] = {"a"};
    const struct gx_client_record record = {.record_id = "r"};
    struct gx_client_result *result = (void *)1;
    struct gx_client_records *records;
    struct gx_client_ticket ticket;
    gx_client *client = open_client(0, 0);
    ck_assert_int_eq(gx_client_search(client, "g", "e", NULL, rows, 0, 16, NULL, &result), GX_E_INVALID);
    ck_assert_ptr_null(result);
    ck_assert_int_eq(gx_client_search(client, "g", "e", NULL, rows, GX_BATCH_PROBES_MAX + 1, 16, NULL, &result),
                     GX_E_INVALID);
    ck_assert_int_eq(gx_client_search(client, "g", "e", NULL, rows, 1, GX_DIM_MAX + 1, NULL, &result), GX_E_INVALID);
    struct gx_client_search search = {.k = GX_K_MAX + 1};
    ck_assert_int_eq(gx_client_search(client, "g", "e", NULL, rows, 1, 16, &search, &result), GX_E_INVALID);
    search.k = 1000;
    ck_assert_int_eq(gx_client_search(client, "g", "e", NULL, rows, 101, 16, &search, &result), GX_E_INVALID);
    search = (struct gx_client_search){.tuning = {.has_effort = true, .nprobe = 3}};
    ck_assert_int_eq(gx_client_search(client, "g", "e", NULL, rows, 1, 16, &search, &result), GX_E_INVALID);
    ck_assert_ptr_nonnull(strstr(gx_client_error(), "exclude each other"));
    ck_assert_int_eq(gx_client_insert(client, "g", "e", NULL, &record, rows, 0, 16, NULL, NULL), GX_E_INVALID);
    ck_assert_int_eq(gx_client_insert(client, "g", "e", NULL, &record, rows, 1, 1, NULL, NULL), GX_E_INVALID);
    ck_assert_int_eq(gx_client_record_get(client, "g", ids, 0, false, &records), GX_E_INVALID);
    ck_assert_int_eq(gx_client_expunge(client, "g", GX_CLIENT_RECORD, ids, 0, "o", -1, false, NULL, &ticket),
                     GX_E_INVALID);
    ck_assert_int_eq(
        gx_client_expunge(client, "g", GX_CLIENT_RECORD, ids, GX_EXPUNGE_IDS_MAX + 1, "o", -1, false, NULL, &ticket),
        GX_E_INVALID);
    gx_client_close(client);
}
END_TEST

START_TEST(a_message_beyond_the_limit_is_refused_with_what_to_do)
{
    enum { N = 1000, DIM = 4096 };
    float *rows = calloc((size_t)N * DIM, sizeof(*rows));
    struct gx_client_record *records = calloc(N, sizeof(*records));
    ck_assert(rows != NULL && records != NULL);
    for (size_t i = 0; i < N; i++)
        records[i].record_id =
            "an id that makes the message longer than its rows are, which have sixteen million bytes";
    ck_assert_uint_lt((size_t)N * DIM * sizeof(float), GX_MESSAGE_MAX);
    for (size_t i = 0; i < N; i++)
        records[i].subject_id = records[i].arrest_id =
            "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789";
    gx_client *client = open_client(0, -1);
    ck_assert_int_eq(gx_client_insert(client, "g", "e", NULL, records, rows, N, DIM, NULL, NULL), GX_E_UNAVAILABLE);
    const char *keys[GX_ATTRIBUTES_MAX], *values[GX_ATTRIBUTES_MAX];
    for (size_t i = 0; i < GX_ATTRIBUTES_MAX; i++)
        keys[i] = values[i] = records[0].subject_id;
    for (size_t i = 0; i < N; i++) {
        records[i].attribute_keys = keys;
        records[i].attribute_values = values;
        records[i].n_attributes = GX_ATTRIBUTES_MAX;
    }
    ck_assert_int_eq(gx_client_insert(client, "g", "e", NULL, records, rows, N, DIM, NULL, NULL), GX_E_TOO_LARGE);
    ck_assert_ptr_nonnull(strstr(gx_client_error(), "send fewer at once"));
    gx_client_close(client);
    free(rows);
    free(records);
}
END_TEST

static void *fail_apart(void *client)
{
    struct gx_client_ticket ticket;
    enum gx_status status = gx_client_expunge(client, "g", GX_CLIENT_RECORD, NULL, 0, "o", -1, false, NULL, &ticket);
    return status == GX_E_INVALID && strstr(gx_client_error(), "0 ids") != NULL ? client : NULL;
}

START_TEST(each_thread_has_its_own_failure)
{
    gx_client *client = open_client(0, -1);
    struct gx_client_gallery gallery;
    ck_assert_int_eq(gx_client_gallery_get(client, "g", &gallery), GX_E_UNAVAILABLE);
    pthread_t thread;
    void *result;
    ck_assert_int_eq(pthread_create(&thread, NULL, fail_apart, client), 0);
    ck_assert_int_eq(pthread_join(thread, &result), 0);
    ck_assert_ptr_eq(result, client);
    ck_assert_ptr_nonnull(strstr(gx_client_error(), "cannot reach"));
    gx_client_close(client);
}
END_TEST

static void *call_often(void *client)
{
    struct gx_client_gallery gallery;
    for (int i = 0; i < 20; i++)
        if (gx_client_gallery_get(client, "g", &gallery) != GX_E_UNAVAILABLE)
            return NULL;
    return client;
}

START_TEST(a_client_is_shared_by_threads)
{
    enum { N = 4 };
    pthread_t threads[N];
    gx_client *client = open_client(0, -1);
    for (int i = 0; i < N; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, call_often, client), 0);
    for (int i = 0; i < N; i++) {
        void *result;
        ck_assert_int_eq(pthread_join(threads[i], &result), 0);
        ck_assert_ptr_eq(result, client);
    }
    gx_client_close(client);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_call");
    TCase *t = tcase_create("all");
    tcase_add_test(t, options_out_of_range_are_refused);
    tcase_add_test(t, addresses_of_all_kinds_are_taken);
    tcase_add_test(t, a_server_that_is_not_there_is_said_to_be_so);
    tcase_add_test(t, further_tries_end_with_the_deadline);
    tcase_add_test(t, a_stream_to_nobody_ends_with_the_reason_and_nothing_acknowledged);
    tcase_add_test(t, an_unused_stream_closes_well_and_an_abandoned_one_at_once);
    tcase_add_test(t, requests_out_of_range_are_refused_before_they_are_sent);
    tcase_add_test(t, a_message_beyond_the_limit_is_refused_with_what_to_do);
    tcase_add_test(t, each_thread_has_its_own_failure);
    tcase_add_test(t, a_client_is_shared_by_threads);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
