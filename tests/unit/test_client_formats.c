/* Promises of client/indexctl_source.h, indexctl_jsonl.h and indexctl_lines.h. */
#include "indexctl_source.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "indexctl_lines.h"
#include "temp.h"

#define DIM 3

static char folder[64], path[128];

static void begin(void)
{
    gx_temp_folder("client", folder, sizeof(folder));
}

static void finish(void)
{
    (void)unlink(path);
    (void)rmdir(folder);
}

static const char *put(const char *name, const void *data, size_t len)
{
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(data, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
    return path;
}

static const char *put_text(const char *name, const char *text)
{
    return put(name, text, strlen(text));
}

static float value(size_t row, size_t i)
{
    return (float)(row * 10 + i) + 0.5F;
}

/* @n rows as .fvecs in @out; returns the length. */
static size_t fvecs(size_t n, uint8_t *out)
{
    size_t len = 0;
    for (size_t row = 0; row < n; row++) {
        const int32_t dim = DIM;
        memcpy(out + len, &dim, 4);
        len += 4;
        for (size_t i = 0; i < DIM; i++, len += 4) {
            float v = value(row, i);
            memcpy(out + len, &v, 4);
        }
    }
    return len;
}

/* A head of the given version and text, then @n rows. */
static size_t npy(uint8_t version, const char *head, size_t n, uint8_t *out)
{
    size_t head_len = strlen(head), len = 8;
    memcpy(out, "\x93NUMPY", 6);
    out[6] = version;
    out[7] = 0;
    for (size_t i = 0; i < (version == 1 ? 2 : 4); i++)
        out[len++] = (uint8_t)(head_len >> 8 * i);
    memcpy(out + len, head, head_len);
    len += head_len;
    for (size_t row = 0; row < n; row++)
        for (size_t i = 0; i < DIM; i++, len += 4) {
            float v = value(row, i);
            memcpy(out + len, &v, 4);
        }
    return len;
}

static struct gx_indexctl_source *open_good(const char *file)
{
    struct gx_indexctl_source *s;
    enum gx_status status = gx_indexctl_source_open(file, NULL, &s);
    ck_assert_msg(status == GX_OK, "%s", gx_indexctl_fail_text());
    return s;
}

/* All rows from @first on are @n good ones, read @max at a time. */
static void assert_rows(struct gx_indexctl_source *s, size_t first, size_t n, size_t max)
{
    struct gx_indexctl_batch b = {0};
    size_t row = first;
    ck_assert_uint_eq(gx_indexctl_source_dim(s), DIM);
    do {
        enum gx_status status = gx_indexctl_source_read(s, max, &b);
        ck_assert_msg(status == GX_OK, "%s", gx_indexctl_fail_text());
        ck_assert_uint_eq(b.first, row);
        for (size_t k = 0; k < b.n; k++, row++)
            for (size_t i = 0; i < DIM; i++)
                ck_assert(b.rows[k * DIM + i] == value(row, i));
    } while (b.n > 0);
    ck_assert_uint_eq(row, n);
    gx_indexctl_source_batch_fini(&b);
    gx_indexctl_source_close(s);
}

static void assert_not_opened(const char *file, const char *format, enum gx_status want, const char *message)
{
    struct gx_indexctl_source *s;
    ck_assert_int_eq(gx_indexctl_source_open(file, format, &s), want);
    ck_assert_ptr_null(s);
    ck_assert_msg(strstr(gx_indexctl_fail_text(), message) != NULL, "'%s' lacks '%s'", gx_indexctl_fail_text(),
                  message);
}

/* Opens, but reading fails with this message. */
static void assert_not_read(const char *file, const char *message)
{
    struct gx_indexctl_batch b = {0};
    struct gx_indexctl_source *s = open_good(file);
    enum gx_status status;
    do {
        status = gx_indexctl_source_read(s, 2, &b);
    } while (status == GX_OK && b.n > 0);
    ck_assert_int_eq(status, GX_E_INVALID);
    ck_assert_msg(strstr(gx_indexctl_fail_text(), message) != NULL, "'%s' lacks '%s'", gx_indexctl_fail_text(),
                  message);
    ck_assert_msg(strstr(gx_indexctl_fail_text(), file) != NULL, "'%s' lacks the file", gx_indexctl_fail_text());
    gx_indexctl_source_batch_fini(&b);
    gx_indexctl_source_close(s);
}

/* ---------------------------------------------------------------- .fvecs */

START_TEST(fvecs_rows_come_in_order_in_batches_of_any_size)
{
    uint8_t data[512];
    const char *file = put("a.fvecs", data, fvecs(7, data));
    for (size_t max = 1; max <= 9; max++) {
        struct gx_indexctl_source *s = open_good(file);
        ck_assert_uint_eq(gx_indexctl_source_rows(s), 7);
        ck_assert(!gx_indexctl_source_has_records(s));
        assert_rows(s, 0, 7, max);
    }
}
END_TEST

START_TEST(rows_can_be_passed_over)
{
    uint8_t data[512];
    size_t fvecs_len = fvecs(7, data);
    for (uint64_t skip = 0; skip <= 7; skip++) {
        struct gx_indexctl_source *s = open_good(put("a.fvecs", data, fvecs_len));
        ck_assert_int_eq(gx_indexctl_source_skip(s, skip), GX_OK);
        assert_rows(s, skip, 7, 3);
    }
    struct gx_indexctl_source *s = open_good(path);
    ck_assert_int_eq(gx_indexctl_source_skip(s, 2), GX_OK);
    ck_assert_int_eq(gx_indexctl_source_skip(s, 3), GX_OK);
    ck_assert_int_eq(gx_indexctl_source_skip(s, 3), GX_E_INVALID);
    ck_assert_msg(strstr(gx_indexctl_fail_text(), "has 7 rows") != NULL, "%s", gx_indexctl_fail_text());
    assert_rows(s, 5, 7, 3);
}
END_TEST

START_TEST(fvecs_cut_short_anywhere_is_refused)
{
    uint8_t data[512];
    size_t len = fvecs(3, data);
    for (size_t cut = 0; cut < len; cut++) {
        struct gx_indexctl_source *s;
        if (cut > 0 && cut % (4 + 4 * DIM) == 0)
            continue; /* a shorter file, as good as any */
        ck_assert_msg(gx_indexctl_source_open(put("a.fvecs", data, cut), NULL, &s) != GX_OK, "cut at %zu", cut);
    }
    assert_not_opened(put("a.fvecs", data, len - 1), NULL, GX_E_INVALID, "row 2 (from 0): is cut short");
}
END_TEST

START_TEST(fvecs_row_of_another_dimension_is_named)
{
    uint8_t data[512];
    size_t len = fvecs(4, data);
    data[2 * (4 + 4 * DIM)] = DIM + 1;
    assert_not_read(put("a.fvecs", data, len), "row 2 (from 0): has another dimension than row 0");
}
END_TEST

START_TEST(what_is_no_fvecs_file_is_refused)
{
    assert_not_opened(put_text("a.fvecs", ""), NULL, GX_E_FORMAT, "is empty");
    assert_not_opened(put_text("a.fvecs", "{\"embedding\":[1,2]}"), NULL, GX_E_FORMAT, "is no .fvecs file");
    assert_not_opened("/nowhere/a.fvecs", NULL, GX_E_NOT_FOUND, "cannot open /nowhere/a.fvecs");
    assert_not_opened(folder, "fvecs", GX_E_IO, "it is a folder");
}
END_TEST

/* ---------------------------------------------------------------- .npy */

START_TEST(npy_of_all_versions_is_read)
{
    static const char *const heads[] = {
        "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), }                     \n",
        "{\"shape\":(5,3),\"fortran_order\":False,\"descr\":\"<f4\"}\n",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (5L, 3L)}\n",
    };
    uint8_t data[512];
    for (uint8_t version = 1; version <= 3; version++)
        for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
            struct gx_indexctl_source *s = open_good(put("a.npy", data, npy(version, heads[i], 5, data)));
            ck_assert_uint_eq(gx_indexctl_source_rows(s), 5);
            assert_rows(s, 0, 5, 2);
        }
    struct gx_indexctl_source *s = open_good(path);
    ck_assert_int_eq(gx_indexctl_source_skip(s, 4), GX_OK);
    assert_rows(s, 4, 5, 2);
}
END_TEST

START_TEST(npy_of_one_dimension_is_one_row)
{
    uint8_t data[512];
    const char *head = "{'descr': '<f4', 'fortran_order': True, 'shape': (3,), }\n";
    assert_rows(open_good(put("a.npy", data, npy(1, head, 1, data))), 0, 1, 5);
}
END_TEST

START_TEST(npy_of_another_kind_is_refused_with_the_remedy)
{
    static const struct {
        const char *head, *message;
    } bad[] = {
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (5, 3), }", "array.astype('<f4')"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (5, 3), }", "array.astype('<f4')"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (5, 3), }", "array.astype('<f4')"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (5, 3), }", "numpy.ascontiguousarray(array)"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3, 1), }", "is no array of rows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (), }", "is no array of rows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (5, -3), }", "is no array of rows"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (5, 5000), }", "impossible dimension"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, 3), }", "impossible dimension"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3", "is no array of rows"},
        {"{'descr': '<f4', 'fortran_order': False}", "head cannot be read"},
        {"", "head cannot be read"},
    };
    uint8_t data[512];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_not_opened(put("a.npy", data, npy(1, bad[i].head, 5, data)), NULL, GX_E_FORMAT, bad[i].message);
    assert_not_opened(put("a.npy", data, npy(4, bad[0].head, 5, data)), NULL, GX_E_FORMAT, "version that is not known");
}
END_TEST

START_TEST(npy_of_another_length_than_its_head_says_is_refused)
{
    const char *head = "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), }\n";
    uint8_t data[512];
    size_t len = npy(2, head, 5, data);
    for (size_t cut = 0; cut < len; cut++) {
        struct gx_indexctl_source *s;
        ck_assert_msg(gx_indexctl_source_open(put("a.npy", data, cut), NULL, &s) != GX_OK, "cut at %zu", cut);
    }
    assert_not_opened(put("a.npy", data, len - 13), NULL, GX_E_INVALID, "row 3 (from 0): is cut short");
    data[len] = 0;
    assert_not_opened(put("a.npy", data, len + 1), NULL, GX_E_FORMAT, "longer than its head says");
}
END_TEST

START_TEST(rows_that_are_no_embeddings_are_named)
{
    const char *head = "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), }\n";
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    uint8_t data[512];
    size_t len = npy(1, head, 5, data);
    for (size_t i = 0; i < 3; i++) {
        memcpy(data + len - 4 * DIM - 4, &bad[i], 4); /* the last value of row 3 */
        assert_not_read(put("a.npy", data, len), "row 3 (from 0): holds a value that is not finite");
    }
    len = npy(1, head, 5, data);
    memset(data + len - 4 * DIM, 0, 4 * DIM);
    assert_not_read(put("a.npy", data, len), "row 4 (from 0): is all zeroes");
}
END_TEST

START_TEST(format_is_taken_from_the_name_or_told)
{
    uint8_t data[512];
    size_t len = fvecs(2, data);
    assert_not_opened(put("a.bin", data, len), NULL, GX_E_INVALID, "say --format fvecs, npy or jsonl");
    assert_not_opened(path, "csv", GX_E_INVALID, "--format is fvecs, npy or jsonl, not 'csv'");
    struct gx_indexctl_source *s;
    ck_assert_int_eq(gx_indexctl_source_open(path, "fvecs", &s), GX_OK);
    assert_rows(s, 0, 2, 9);
}
END_TEST

/* ---------------------------------------------------------------- standard input */

static void assert_from_input(const void *data, size_t len, const char *format, bool complete)
{
    struct gx_indexctl_source *s;
    ck_assert_ptr_nonnull(freopen(put("input", data, len), "re", stdin));
    enum gx_status status = gx_indexctl_source_open("-", format, &s);
    ck_assert_msg(status == GX_OK, "%s", gx_indexctl_fail_text());
    if (complete) {
        assert_rows(s, 0, 5, 2);
        return;
    }
    struct gx_indexctl_batch b = {0};
    do {
        status = gx_indexctl_source_read(s, 2, &b);
    } while (status == GX_OK && b.n > 0);
    ck_assert_int_eq(status, GX_E_INVALID);
    ck_assert_msg(strstr(gx_indexctl_fail_text(), "standard input: row 4 (from 0): is cut short") != NULL, "%s",
                  gx_indexctl_fail_text());
    gx_indexctl_source_batch_fini(&b);
    gx_indexctl_source_close(s);
}

START_TEST(standard_input_is_read_and_missed_when_cut_short)
{
    uint8_t data[512];
    size_t len = fvecs(5, data);
    assert_not_opened("-", NULL, GX_E_INVALID, "say --format");
    assert_from_input(data, len, "fvecs", true);
    assert_from_input(data, len - 1, "fvecs", false);
    assert_from_input(data, len - 4 * DIM - 1, "fvecs", false);
    len = npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), }\n", 5, data);
    assert_from_input(data, len, "npy", true);
    assert_from_input(data, len - 1, "npy", false);
}
END_TEST

/* ---------------------------------------------------------------- .jsonl */

START_TEST(jsonl_gives_records_with_their_rows)
{
    struct gx_indexctl_source *s = open_good(put_text(
        "a.jsonl", "{\"record_id\":\"r1\",\"subject_id\":\"s\xc3\xbc\",\"arrest_id\":\"a\",\"captured_at\":"
                   "\"2024-03-01T12:30:00Z\",\"attributes\":{\"x\":\"1\",\"y\":\"\"},\"embedding\":[0.5,1.5,2.5]}\n"
                   "\n"
                   "{\"embedding\":[10.5,11.5,12.5],\"captured_at_us\":-5,\"epoch\":3,\"quarantined\":true,\"enrolled_"
                   "at_us\":4}\r\n"
                   "{\"embedding\":[20.5,21.5,225e-1]}"));
    struct gx_indexctl_batch b = {0};
    ck_assert(gx_indexctl_source_has_records(s));
    ck_assert_uint_eq(gx_indexctl_source_rows(s), UINT64_MAX);
    ck_assert_int_eq(gx_indexctl_source_read(s, 10, &b), GX_OK);
    ck_assert_uint_eq(b.n, 3);
    for (size_t i = 0; i < 3 * DIM; i++)
        ck_assert(b.rows[i] == value(i / DIM, i % DIM));
    ck_assert_str_eq(b.records[0].record_id, "r1");
    ck_assert_str_eq(b.records[0].subject_id, "s\xc3\xbc");
    ck_assert_str_eq(b.records[0].arrest_id, "a");
    ck_assert_int_eq(b.records[0].captured_at_us, 1709296200000000);
    ck_assert_uint_eq(b.records[0].n_attributes, 2);
    ck_assert_str_eq(b.records[0].attribute_keys[1], "y");
    ck_assert_str_eq(b.records[0].attribute_values[0], "1");
    ck_assert_ptr_null(b.records[1].record_id);
    ck_assert_int_eq(b.records[1].captured_at_us, -5);
    ck_assert_uint_eq(b.records[2].n_attributes, 0);
    gx_indexctl_source_batch_fini(&b);
    gx_indexctl_source_close(s);
}
END_TEST

START_TEST(bad_lines_of_jsonl_are_named)
{
    static const struct {
        const char *line, *message;
    } bad[] = {
        {"{\"embedding\":[1,2,3]", "line 2: no JSON object at column"},
        {"[1,2,3]", "line 2: no JSON object but something else"},
        {"{\"record_id\":\"r\"}", "line 2: \"embedding\" is missing"},
        {"{\"embedding\":[1,2]}", "line 2 (row 1 from 0): has another dimension"},
        {"{\"embedding\":[1]}", "line 2: \"embedding\" is no array of 2 to 4096 numbers"},
        {"{\"embedding\":\"AAAA\"}", "line 2: \"embedding\" is no array of 2 to 4096 numbers"},
        {"{\"embedding\":[1,null,3]}", "line 2: element 1 of \"embedding\" is no number"},
        {"{\"embedding\":[0,0,0]}", "line 2 (row 1 from 0): is all zeroes"},
        {"{\"embedding\":[1,1e39,0]}", "line 2 (row 1 from 0): holds a value that is not finite"},
        {"{\"embedding\":[1,2,3],\"record\":\"r\"}", "line 2: unknown member \"record\""},
        {"{\"embedding\":[1,2,3],\"record_id\":7}", "line 2: \"record_id\" is no text"},
        {"{\"embedding\":[1,2,3],\"record_id\":\"a\",\"record_id\":\"b\"}", "line 2: no JSON object at column"},
        {"{\"embedding\":[1,2,3],\"record_id\":\"a\\u0000b\"}", "line 2: no JSON object at column"},
        {"{\"embedding\":[1,2,3],\"record_id\":\"\xff\"}", "line 2: no JSON object at column"},
        {"{\"embedding\":[1,2,3],\"captured_at\":\"1.3.2024\"}", "line 2: \"captured_at\" is no time like"},
        {"{\"embedding\":[1,2,3],\"captured_at_us\":1.5}", "line 2: \"captured_at_us\" is no whole number"},
        {"{\"embedding\":[1,2,3],\"captured_at_us\":1,\"captured_at\":\"2024-03-01\"}", "stands beside another time"},
        {"{\"embedding\":[1,2,3],\"attributes\":[]}", "line 2: \"attributes\" is no object"},
        {"{\"embedding\":[1,2,3],\"attributes\":{\"a\":1}}", "line 2: the attribute \"a\" is no text"},
    };
    char text[512];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(text, sizeof(text), "{\"embedding\":[1,2,3]}\n%s\n", bad[i].line);
        assert_not_read(put_text("a.jsonl", text), bad[i].message);
    }
    assert_not_opened(put_text("a.jsonl", "\n\n"), NULL, GX_E_FORMAT, "is empty");
}
END_TEST

/* ---------------------------------------------------------------- lines */

START_TEST(lines_are_read_with_any_line_end)
{
    struct gx_indexctl_lines lines;
    ck_assert_int_eq(gx_indexctl_lines_read(put_text("ids", "a\nb c\r\n\nd"), GX_INDEXCTL_EMPTY_KEPT, &lines), GX_OK);
    ck_assert_uint_eq(lines.n, 4);
    ck_assert_str_eq(lines.items[0], "a");
    ck_assert_str_eq(lines.items[1], "b c");
    ck_assert_str_eq(lines.items[2], "");
    ck_assert_str_eq(lines.items[3], "d");
    gx_indexctl_lines_fini(&lines);
    ck_assert_int_eq(gx_indexctl_lines_read(path, GX_INDEXCTL_EMPTY_REFUSED, &lines), GX_E_INVALID);
    ck_assert_msg(strstr(gx_indexctl_fail_text(), "line 3 is empty") != NULL, "%s", gx_indexctl_fail_text());
    ck_assert_int_eq(gx_indexctl_lines_read(put_text("ids", ""), GX_INDEXCTL_EMPTY_KEPT, &lines), GX_OK);
    ck_assert_uint_eq(lines.n, 0);
    gx_indexctl_lines_fini(&lines);
}
END_TEST

START_TEST(lines_that_are_no_ids_are_named)
{
    char text[GX_ID_MAX + 8];
    struct gx_indexctl_lines lines;
    memset(text, 'x', sizeof(text));
    memcpy(text, "ok\n", 3);
    ck_assert_int_eq(gx_indexctl_lines_read(put("ids", text, 3 + GX_ID_MAX), GX_INDEXCTL_EMPTY_KEPT, &lines), GX_OK);
    gx_indexctl_lines_fini(&lines);
    ck_assert_int_eq(gx_indexctl_lines_read(put("ids", text, 4 + GX_ID_MAX), GX_INDEXCTL_EMPTY_KEPT, &lines),
                     GX_E_INVALID);
    ck_assert_msg(strstr(gx_indexctl_fail_text(), "line 2 has 129 bytes") != NULL, "%s", gx_indexctl_fail_text());
    ck_assert_int_eq(gx_indexctl_lines_read(put("ids", "a\nb\0c\n", 6), GX_INDEXCTL_EMPTY_KEPT, &lines), GX_E_INVALID);
    ck_assert_msg(strstr(gx_indexctl_fail_text(), "line 2 holds a control character") != NULL, "%s",
                  gx_indexctl_fail_text());
    ck_assert_int_eq(gx_indexctl_lines_read("/nowhere/ids", GX_INDEXCTL_EMPTY_KEPT, &lines), GX_E_NOT_FOUND);
}
END_TEST

START_TEST(a_list_keeps_each_id_once)
{
    const char *ids[] = {"b", "a", "b", "c", "a", "b"};
    size_t n = 6;
    gx_indexctl_lines_unique(ids, &n);
    ck_assert_uint_eq(n, 3);
    ck_assert_str_eq(ids[0], "a");
    ck_assert_str_eq(ids[2], "c");
    n = 0;
    gx_indexctl_lines_unique(ids, &n);
    ck_assert_uint_eq(n, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_formats");
    TCase *t = tcase_create("all");
    tcase_add_checked_fixture(t, begin, finish);
    tcase_add_test(t, fvecs_rows_come_in_order_in_batches_of_any_size);
    tcase_add_test(t, rows_can_be_passed_over);
    tcase_add_test(t, fvecs_cut_short_anywhere_is_refused);
    tcase_add_test(t, fvecs_row_of_another_dimension_is_named);
    tcase_add_test(t, what_is_no_fvecs_file_is_refused);
    tcase_add_test(t, npy_of_all_versions_is_read);
    tcase_add_test(t, npy_of_one_dimension_is_one_row);
    tcase_add_test(t, npy_of_another_kind_is_refused_with_the_remedy);
    tcase_add_test(t, npy_of_another_length_than_its_head_says_is_refused);
    tcase_add_test(t, rows_that_are_no_embeddings_are_named);
    tcase_add_test(t, format_is_taken_from_the_name_or_told);
    tcase_add_test(t, standard_input_is_read_and_missed_when_cut_short);
    tcase_add_test(t, jsonl_gives_records_with_their_rows);
    tcase_add_test(t, bad_lines_of_jsonl_are_named);
    tcase_add_test(t, lines_are_read_with_any_line_end);
    tcase_add_test(t, lines_that_are_no_ids_are_named);
    tcase_add_test(t, a_list_keeps_each_id_once);
    suite_add_tcase(suite, t);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
