/* Promises of client/indexctl_json.h, indexctl_table.h and indexctl_progress.h. */
#include "indexctl_json.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "indexctl_progress.h"
#include "indexctl_table.h"

static char *text;
static size_t text_len;
static FILE *out;

static void begin(void)
{
    out = open_memstream(&text, &text_len);
    ck_assert_ptr_nonnull(out);
}

static void finish(void)
{
    (void)fclose(out);
    free(text);
}

/* What was written since the last time. */
static void assert_written(const char *want)
{
    ck_assert_int_eq(fflush(out), 0);
    ck_assert_str_eq(text, want);
    rewind(out);
    memset(text, 0, text_len);
}

/* ---------------------------------------------------------------- JSON */

static const struct gx_client_ticket ticket = {.ticket_id = "T-00000042",
                                               .gallery = "g",
                                               .order_ref = "2024-CR \"1187\"",
                                               .state = GX_CLIENT_TICKET_ACCEPTED,
                                               .kind = GX_CLIENT_ARREST,
                                               .records = 3,
                                               .unmatched_ids = 1,
                                               .epoch = 7,
                                               .accepted_at_us = 1709296200000000};

START_TEST(answers_are_one_line_with_the_names_of_the_schema)
{
    struct gx_client_candidate candidates[] = {
        {.rank = 1, .cosine = 0.7312F, .record_id = "photo-00012", .subject_id = "p00007", .arrest_id = "A00007-1"},
        {.rank = 2, .cosine = -1, .captured_at_us = 5, .record_id = "b\"\n", .subject_id = "", .arrest_id = ""},
    };
    struct gx_client_answer answer = {
        candidates, 2, {.engine = "flat", .effort = 0.1F, .scanned = 7794, .rescored = 200, .epoch = 42}};
    ck_assert_int_eq(gx_indexctl_json_answer(out, 12, &answer, "lead"), GX_OK);
    assert_written(
        "{\"probe\":12,\"candidates\":[{\"rank\":1,\"record_id\":\"photo-00012\",\"subject_id\":\"p00007\","
        "\"arrest_id\":\"A00007-1\",\"cosine\":0.7312},{\"rank\":2,\"record_id\":\"b\\\"\\n\",\"subject_id\":\"\","
        "\"arrest_id\":\"\",\"cosine\":-1.0,\"captured_at_us\":5}],\"stats\":{\"engine\":\"flat\",\"effort\":0.1,"
        "\"exhaustive\":false,\"scanned\":7794,\"rescored\":200,\"epoch\":42},\"notice\":\"lead\"}\n");
    answer.n_candidates = 0;
    answer.stats.exhaustive = true;
    ck_assert_int_eq(gx_indexctl_json_answer(out, 0, &answer, ""), GX_OK);
    assert_written("{\"probe\":0,\"candidates\":[],\"stats\":{\"engine\":\"flat\",\"effort\":0.1,\"exhaustive\":true,"
                   "\"scanned\":7794,\"rescored\":200,\"epoch\":42},\"notice\":\"\"}\n");
}
END_TEST

START_TEST(printed_cosines_are_the_same_floats_when_read_again)
{
    uint32_t bits = 0x3f000000; /* 0.5 to 1 in odd steps */
    for (int i = 0; i < 2000; i++, bits += 4099) {
        float f;
        memcpy(&f, &bits, sizeof(f));
        struct gx_client_candidate c = {.cosine = f, .record_id = "", .subject_id = "", .arrest_id = ""};
        struct gx_client_answer answer = {&c, 1, {.engine = ""}};
        ck_assert_int_eq(gx_indexctl_json_answer(out, 0, &answer, ""), GX_OK);
        ck_assert_int_eq(fflush(out), 0);
        const char *at = strstr(text, "\"cosine\":");
        ck_assert_ptr_nonnull(at);
        ck_assert_msg(strtof(at + strlen("\"cosine\":"), NULL) == f, "%a became %.30s", (double)f, at);
        rewind(out);
        memset(text, 0, text_len);
    }
}
END_TEST

START_TEST(tickets_have_short_names_of_states_and_all_fields)
{
    ck_assert_int_eq(gx_indexctl_json_ticket(out, &ticket), GX_OK);
    assert_written(
        "{\"ticket_id\":\"T-00000042\",\"state\":\"ACCEPTED\",\"gallery\":\"g\",\"order_ref\":\"2024-CR \\\"1187\\\"\","
        "\"kind\":\"ARREST\",\"records\":3,\"unmatched_ids\":1,\"epoch\":7,\"accepted_at_us\":1709296200000000,"
        "\"unindexed_at_us\":0,\"flushed_at_us\":0,\"compacted_at_us\":0,\"unlinked_at_us\":0,\"erased_at_us\":0,"
        "\"verified_at_us\":0,\"failed_at_us\":0,\"deadline_at_us\":0,\"attempts\":0,\"files_rewritten\":0,"
        "\"bytes_rewritten\":0,\"files_removed\":0,\"method\":\"NONE\",\"files_scanned\":0,\"bytes_scanned\":0,"
        "\"files_left_out\":0,\"control_hits\":0,\"certificate\":0,\"problem\":\"\",\"backups\":[]}\n");
    ck_assert_int_eq(gx_indexctl_json_counted(out, "g", &ticket), GX_OK);
    assert_written("{\"validate_only\":true,\"gallery\":\"g\",\"kind\":\"ARREST\",\"records\":3,\"unmatched_ids\":1,"
                   "\"epoch\":7}\n");
    ck_assert_str_eq(gx_indexctl_json_state(GX_CLIENT_TICKET_ERASED), "ERASED");
    ck_assert_str_eq(gx_indexctl_json_state(GX_CLIENT_TICKET_VERIFIED), "VERIFIED");
    ck_assert_str_eq(gx_indexctl_json_state(GX_CLIENT_TICKET_FAILED), "FAILED");
    ck_assert_str_eq(gx_indexctl_json_state((enum gx_client_ticket_state)9), "UNSPECIFIED");
}
END_TEST

START_TEST(records_galleries_and_figures_are_one_line_each)
{
    const char *keys[] = {"sex"}, *values[] = {"x"};
    const float embedding[] = {0.5F, -0.25F};
    const struct gx_client_stored record = {.record = {.record_id = "r",
                                                       .subject_id = "s",
                                                       .arrest_id = "",
                                                       .attribute_keys = keys,
                                                       .attribute_values = values,
                                                       .n_attributes = 1},
                                            .enrolled_at_us = 9,
                                            .epoch = 3,
                                            .embedding = embedding,
                                            .dim = 2};
    ck_assert_int_eq(gx_indexctl_json_record(out, &record), GX_OK);
    assert_written("{\"record_id\":\"r\",\"subject_id\":\"s\",\"arrest_id\":\"\",\"captured_at_us\":0,\"attributes\":{"
                   "\"sex\":\"x\"},"
                   "\"enrolled_at_us\":9,\"epoch\":3,\"quarantined\":false,\"embedding\":[0.5,-0.25]}\n");
    const struct gx_client_gallery gallery = {
        .name = "g", .embedder_id = "e", .engine = "auto", .dim = 512, .records = 1000000, .default_effort = 0.5F};
    ck_assert_int_eq(gx_indexctl_json_gallery(out, &gallery), GX_OK);
    assert_written("{\"name\":\"g\",\"dim\":512,\"embedder\":{\"id\":\"e\",\"version\":\"\"},\"engine\":\"auto\","
                   "\"created_at_us\":0,"
                   "\"records\":1000000,\"default_effort\":0.5}\n");
    const struct gx_indexctl_imported imported = {.rows = 10, .expunged = 1, .enrolled = {4, 7, 3}, .seconds = 0.5};
    ck_assert_int_eq(gx_indexctl_json_imported(out, "g", &imported), GX_OK);
    assert_written("{\"gallery\":\"g\",\"rows\":10,\"enrolled\":7,\"unchanged\":3,\"expunged\":1,\"epoch\":4,"
                   "\"seconds\":0.5,\"rows_"
                   "per_s\":20.0}\n");
    ck_assert_int_eq(gx_indexctl_json_health(out, "gallery/g", 2), GX_OK);
    assert_written("{\"service\":\"gallery/g\",\"status\":\"NOT_SERVING\"}\n");
    const struct gx_client_recall recall = {
        .probes = 100, .recall_at_1 = 0.9995, .mean_us = 612.5, .engine = "flat", .effort = 1};
    ck_assert_int_eq(gx_indexctl_json_recall(out, "g", &recall), GX_OK);
    assert_written("{\"name\":\"g\",\"probes\":100,\"recall_at_1\":0.9995,\"recall_at_10\":0.0,\"recall_at_50\":0.0,"
                   "\"mean_us\":612.5,"
                   "\"exact_mean_us\":0.0,\"engine\":\"flat\",\"effort\":1.0}\n");
    const struct gx_client_gallery_stats stats = {
        .name = "g", .engine = "flat", .records = 5, .tail = 2, .loaded = true};
    ck_assert_int_eq(gx_indexctl_json_stats(out, &stats), GX_OK);
    assert_written("{\"name\":\"g\",\"engine\":\"flat\",\"records\":5,\"quarantined\":0,\"indexed\":0,\"tail\":2,"
                   "\"dead\":0,\"epoch\":0,"
                   "\"row_bytes\":0,"
                   "\"index_bytes\":0,\"build\":{\"running\":false,\"engine\":\"\",\"stage\":\"\",\"rows_done\":0,"
                   "\"rows_total\":0,"
                   "\"problem\":\"\"},\"loaded\":true,\"disk_free_bytes\":0,\"ballast_bytes\":0}\n");
}
END_TEST

START_TEST(holds_are_one_line_each)
{
    const struct gx_client_hold hold = {.reference = "case \"9\"",
                                        .id = "A-1",
                                        .id_hash = "00ff",
                                        .kind = GX_CLIENT_ARREST,
                                        .quarantine = true,
                                        .placed_at_us = 1709296200000000,
                                        .records = 3};
    ck_assert_int_eq(gx_indexctl_json_hold(out, &hold), GX_OK);
    assert_written("{\"reference\":\"case \\\"9\\\"\",\"kind\":\"ARREST\",\"id\":\"A-1\",\"id_hash\":\"00ff\","
                   "\"quarantine\":true,\"placed_at_us\":1709296200000000,\"records\":3}\n");
    const struct gx_client_hold_change change = {.ids = 2, .unchanged_ids = 1, .records = 5, .epoch = 7};
    ck_assert_int_eq(gx_indexctl_json_hold_change(out, "g", "r", &change), GX_OK);
    assert_written("{\"gallery\":\"g\",\"reference\":\"r\",\"ids\":2,\"unchanged_ids\":1,\"records\":5,\"epoch\":7}\n");
    struct gx_indexctl_table table = {0};
    gx_indexctl_table_hold_row(&table, &hold);
    struct gx_client_hold unknown = {.reference = "r", .kind = GX_CLIENT_RECORD};
    gx_indexctl_table_hold_row(&table, &unknown);
    ck_assert_int_eq(gx_indexctl_table_flush(&table, out), GX_OK);
    ck_assert_int_eq(fflush(out), 0);
    ck_assert_ptr_nonnull(strstr(text, "case \"9\"   ARREST  A-1                       3  no"));
    ck_assert_ptr_nonnull(strstr(text, "r          RECORD  (nothing enrolled)        0  yes"));
}
END_TEST

START_TEST(text_that_is_no_utf8_does_not_break_the_line)
{
    struct gx_client_ticket t = ticket;
    strcpy(t.order_ref, "a\xff\xc3");
    ck_assert_int_eq(gx_indexctl_json_ticket(out, &t), GX_OK);
    ck_assert_int_eq(fflush(out), 0);
    ck_assert_ptr_nonnull(strstr(text, "\"order_ref\":\"a\?\?\""));
}
END_TEST

/* ---------------------------------------------------------------- tables */

static const char *const titles[] = {"name", ">n", "rest"};

START_TEST(columns_are_aligned_and_titles_come_once)
{
    struct gx_indexctl_table t = {.titles = titles, .n_columns = 3};
    gx_indexctl_table_cell(&t, "%s", "a\xc3\xbc\x1b");
    gx_indexctl_table_cell(&t, "%d", 5);
    gx_indexctl_table_cell(&t, "%s", "");
    gx_indexctl_table_cell(&t, "%s", "longer");
    gx_indexctl_table_cell(&t, "%d", 12345);
    gx_indexctl_table_cell(&t, "%s", "x y");
    ck_assert_int_eq(gx_indexctl_table_flush(&t, out), GX_OK);
    assert_written("name        n  rest\n"
                   "a\xc3\xbc?         5  -\n"
                   "longer  12345  x y\n");
    gx_indexctl_table_cell(&t, "%s", "b");
    gx_indexctl_table_cell(&t, "%d", 6);
    gx_indexctl_table_cell(&t, "%s", "z");
    ck_assert_int_eq(gx_indexctl_table_flush(&t, out), GX_OK);
    assert_written("b           6  z\n");
}
END_TEST

START_TEST(counts_and_sizes_are_written_for_people)
{
    char buffer[GX_INDEXCTL_TABLE_COUNT_MAX], plural[GX_INDEXCTL_TABLE_PLURAL_MAX];
    ck_assert_str_eq(gx_indexctl_table_count(0, buffer), "0");
    ck_assert_str_eq(gx_indexctl_table_count(999, buffer), "999");
    ck_assert_str_eq(gx_indexctl_table_count(1000, buffer), "1,000");
    ck_assert_str_eq(gx_indexctl_table_count(UINT64_MAX, buffer), "18,446,744,073,709,551,615");
    ck_assert_str_eq(gx_indexctl_table_plural(1, "record", plural), "1 record");
    ck_assert_str_eq(gx_indexctl_table_plural(0, "record", plural), "0 records");
    ck_assert_str_eq(gx_indexctl_table_bytes(0, buffer), "0 B");
    ck_assert_str_eq(gx_indexctl_table_bytes(999, buffer), "999 B");
    ck_assert_str_eq(gx_indexctl_table_bytes(1000, buffer), "1.0 kB");
    ck_assert_str_eq(gx_indexctl_table_bytes(999949, buffer), "999.9 kB");
    ck_assert_str_eq(gx_indexctl_table_bytes(999950, buffer), "1.0 MB");
    ck_assert_str_eq(gx_indexctl_table_bytes(2048000000, buffer), "2.0 GB");
    ck_assert_str_eq(gx_indexctl_table_bytes(UINT64_MAX, buffer), "18.4 EB");
}
END_TEST

START_TEST(an_answer_shows_what_it_was_found_with)
{
    struct gx_client_candidate c = {
        .rank = 1, .cosine = 0.73124F, .record_id = "r", .subject_id = "", .arrest_id = "a"};
    struct gx_client_answer answer = {
        &c, 1, {.engine = "flat", .scanned = 1234, .rescored = 5, .epoch = 6, .exhaustive = true}};
    ck_assert_int_eq(gx_indexctl_table_answer(out, 3, &answer), GX_OK);
    assert_written("probe 3: 1 candidate (flat, exhaustive; 1,234 scanned, 5 rescored, epoch 6)\n"
                   "rank  cosine  record_id  subject_id  arrest_id  captured\n"
                   "   1  0.7312  r          -           a          -\n");
    answer.n_candidates = 0;
    ck_assert_int_eq(gx_indexctl_table_answer(out, 3, &answer), GX_OK);
    assert_written("probe 3: 0 candidates (flat, exhaustive; 1,234 scanned, 5 rescored, epoch 6)\n");
}
END_TEST

/* ---------------------------------------------------------------- progress */

START_TEST(progress_shows_share_rate_and_remaining_time)
{
    struct gx_indexctl_progress p = {.what = "import", .unit = "rows"};
    char line[512];
    gx_indexctl_progress_format(&p, 5000, 10000, 5000, 4000000, 100, line, sizeof(line));
    ck_assert_str_eq(
        line, "import [####################                    ]  50 %  5,000 of 10,000 rows  1,250/s  0:04 left");
    gx_indexctl_progress_format(&p, 5000, 10000, 1, 1000000, 40, line, sizeof(line));
    ck_assert_str_eq(line, "import  50 %  5,000 of 10,000 rows  1/s  1:23:20 left");
    gx_indexctl_progress_format(&p, 7, UINT64_MAX, 7, 1000000, 80, line, sizeof(line));
    ck_assert_str_eq(line, "import 7 rows  7/s");
}
END_TEST

START_TEST(progress_never_leaves_its_line)
{
    struct gx_indexctl_progress p = {.what = "import", .unit = "rows"};
    static const uint64_t counts[] = {0, 1, 99, 100, UINT64_MAX / 200, UINT64_MAX - 1};
    for (size_t width = 20; width <= 200; width += 9)
        for (size_t d = 0; d < 6; d++)
            for (size_t t = 0; t < 6; t++) {
                char line[512];
                gx_indexctl_progress_format(&p, counts[d], counts[t], counts[d], 1 + (int64_t)d, width, line,
                                            sizeof(line));
                const char *bar = strchr(line, '[');
                if (bar != NULL) {
                    ck_assert_uint_lt(strlen(line), width);
                    ck_assert_ptr_nonnull(strchr(bar, ']'));
                }
            }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_output");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, begin, finish);
    tcase_add_test(t, answers_are_one_line_with_the_names_of_the_schema);
    tcase_add_test(t, printed_cosines_are_the_same_floats_when_read_again);
    tcase_add_test(t, tickets_have_short_names_of_states_and_all_fields);
    tcase_add_test(t, holds_are_one_line_each);
    tcase_add_test(t, records_galleries_and_figures_are_one_line_each);
    tcase_add_test(t, text_that_is_no_utf8_does_not_break_the_line);
    tcase_add_test(t, columns_are_aligned_and_titles_come_once);
    tcase_add_test(t, counts_and_sizes_are_written_for_people);
    tcase_add_test(t, an_answer_shows_what_it_was_found_with);
    tcase_add_test(t, progress_shows_share_rate_and_remaining_time);
    tcase_add_test(t, progress_never_leaves_its_line);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
