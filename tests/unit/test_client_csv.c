/* Promises of client/indexctl_csv.h. */
#include "indexctl_csv.h"
#include "temp.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct gx_indexctl_csv csv;

static void finish(void)
{
    gx_indexctl_csv_fini(&csv);
}

#define TEXT(literal) (literal), sizeof(literal) - 1

/* ---------------------------------------------------------------- good files */

struct good {
    const char *text;
    size_t len;
    const char *kind;
    enum gx_client_id_kind expected_kind;
    const char *rows; /* "2:A-1 3:A-2" */
};

static const struct good good_files[] = {
    {TEXT("arrest\nA-1\nA-2\n"), NULL, GX_CLIENT_ARREST, "2:A-1 3:A-2"},
    {TEXT("record\nA-1"), NULL, GX_CLIENT_RECORD, "2:A-1"},
    {TEXT("\xef\xbb\xbfsubject\r\np1\r\np2\r\n"), NULL, GX_CLIENT_SUBJECT, "2:p1 3:p2"},
    {TEXT("arrest\rA-1\rA-2"), NULL, GX_CLIENT_ARREST, "2:A-1 3:A-2"}, /* as Macs wrote it once */
    /* titles */
    {TEXT("Arrest ID\nA-1\n"), NULL, GX_CLIENT_ARREST, "2:A-1"},
    {TEXT("ARREST_NO.\nA-1\n"), NULL, GX_CLIENT_ARREST, "2:A-1"},
    {TEXT("\"record-number\"\nA-1\n"), NULL, GX_CLIENT_RECORD, "2:A-1"},
    {TEXT("  subject_id  \nA-1\n"), NULL, GX_CLIENT_SUBJECT, "2:A-1"},
    /* other columns, other separators */
    {TEXT("date,arrest,remark\n2024-03-01,A-1,\"sealed, by order\"\n,A-2,\n"), NULL, GX_CLIENT_ARREST, "2:A-1 3:A-2"},
    {TEXT("date;arrest\n1,5;A-1\n2,5;A-2\n"), NULL, GX_CLIENT_ARREST, "2:A-1 3:A-2"},
    {TEXT("date\tarrest\nx\tA-1\n\tA-2\n"), NULL, GX_CLIENT_ARREST, "2:A-1 3:A-2"},
    {TEXT("\"a;b\",arrest\nx,A;1\n"), NULL, GX_CLIENT_ARREST, "2:A;1"},
    {TEXT("arrest,subject\nA-1,p1\n"), "subject", GX_CLIENT_SUBJECT, "2:p1"},
    {TEXT("arrest,subject\nA-1,p1\n"), "arrest", GX_CLIENT_ARREST, "2:A-1"},
    /* quotation marks and line ends in them: lines go on counting */
    {TEXT("arrest,remark\n\"A\"\"1\"\"\",x\nA-2,\"two\r\nlines\"\n\"A-3\",y\n"), NULL, GX_CLIENT_ARREST,
     "2:A\"1\" 3:A-2 5:A-3"},
    {TEXT("arrest\n  A-1  \n\" A-2\"\n"), NULL, GX_CLIENT_ARREST, "2:A-1 3: A-2"},
    /* blank lines and rows count as lines, and as nothing else */
    {TEXT("\n\narrest\n\n  \nA-1\r\n\r\nA-2\n\n"), NULL, GX_CLIENT_ARREST, "6:A-1 8:A-2"},
    {TEXT("arrest,x\n,\nA-1,\n,,,\n\"\",\"\"\nA-2,\n"), NULL, GX_CLIENT_ARREST, "3:A-1 6:A-2"},
    /* ids that stand twice are the caller's to see */
    {TEXT("arrest\nA-1\nA-1\n"), NULL, GX_CLIENT_ARREST, "2:A-1 3:A-1"},
    {TEXT("arrest\n\xc3\x84-\xe2\x82\xac-\xf0\x9f\x98\x80\n"), NULL, GX_CLIENT_ARREST,
     "2:\xc3\x84-\xe2\x82\xac-\xf0\x9f\x98\x80"},
};

START_TEST(ids_are_read_with_their_lines)
{
    const struct good *f = &good_files[_i];
    char rows[256] = "";
    enum gx_status status = gx_indexctl_csv_parse("file", f->text, f->len, f->kind, &csv);
    ck_assert_msg(status == GX_OK, "%d: %s", _i, gx_indexctl_fail_text());
    for (size_t i = 0; i < csv.n; i++) {
        size_t used = strlen(rows);
        (void)snprintf(rows + used, sizeof(rows) - used, "%s%u:%s", i > 0 ? " " : "", (unsigned)csv.rows[i].line,
                       csv.rows[i].id);
    }
    ck_assert_str_eq(rows, f->rows);
    ck_assert_int_eq((int)csv.kind, (int)f->expected_kind);
}
END_TEST

/* ---------------------------------------------------------------- bad files */

struct bad {
    const char *text;
    size_t len;
    const char *kind;
    const char *message;
};

static const struct bad bad_files[] = {
    {TEXT(""), NULL, "file is empty: it wants a header with a column arrest, record or subject, and a line for each"},
    {TEXT("\xef\xbb\xbf"), NULL, "file is empty"},
    {TEXT("\r\n \n"), NULL, "file is empty"},
    {TEXT("arrest"), NULL, "file has a header and no line below it: there is nothing to remove"},
    {TEXT("arrest,remark\n,\n\n"), NULL, "file has a header and no line below it"},
    {TEXT("A-1\nA-2\n"), NULL,
     "file: line 1 is no header with a column arrest, record or subject: put one above the ids, for example a line "
     "'arrest'"},
    {TEXT("\nA-1,A-2\n"), NULL, "file: line 2 is no header"},
    {TEXT("arrests\nA-1\n"), NULL, "file: line 1 is no header"},
    {TEXT("arresting officer\nA-1\n"), NULL, "file: line 1 is no header"},
    {TEXT("arrest,subject\nA-1,p1\n"), NULL,
     "file: the header has columns of several kinds of ids: say which one counts by --kind"},
    {TEXT("arrest,subject\nA-1,p1\n"), "record", "file: the header in line 1 has no column 'record'"},
    {TEXT("arrest\nA-1\n"), "photo", "--kind is record, arrest or subject, not 'photo'"},
    {TEXT("arrest,x,Arrest No\nA-1,,A-1\n"), NULL,
     "file: line 1, column 10: a second column of the same kind of ids: leave one of them"},
    {TEXT("arrest\nA-1\nA\"2\n"), NULL, "file: line 3, column 2: a quotation mark within a field"},
    {TEXT("arrest,x\nA-1,1\n\"A-2\" 3,1\n"), NULL, "file: line 3, column 7: a quotation mark within a field"},
    {TEXT("arrest,x\nA-1,1\n\xc3\x84,\"open\nA-3,1\n"), NULL,
     "file: line 3, column 3: the quotation mark that begins here is never closed"},
    {TEXT("arrest,x\nA-1,1\nA-2,1,2\n"), NULL, "file: line 3, column 1: 3 fields, the header has 2"},
    {TEXT("arrest,x\nA-1\n"), NULL, "file: line 2, column 1: 1 field, the header has 2"},
    {TEXT("arrest\nA,1\n"), NULL, "file: line 2, column 1: 2 fields, the header has 1"},
    {TEXT("arrest,x\nA-1,1\n\n ,2\n"), NULL, "file: line 4, column 2: the row has no arrest id"},
    {TEXT("arrest\n\xc3\x84\xc3\n"), NULL, "file: line 2, column 2: this is not UTF-8: save the file as 'CSV UTF-8'"},
    {TEXT("arrest\nM\xfcller\n"), NULL, "file: line 2, column 2: this is not UTF-8"},
    {TEXT("arrest\n\xed\xa0\x80\n"), NULL, "file: line 2, column 1: this is not UTF-8"},
    {TEXT("arrest\n\xc0\xaf\n"), NULL, "file: line 2, column 1: this is not UTF-8"},
    {TEXT("arrest\nA\0B\n"), NULL, "file: line 2, column 2: there is a zero byte"},
    {TEXT("x,arrest\n1,\"A\nB\"\n"), NULL, "file: line 2, column 3: the id holds a control character or a line end"},
    {TEXT("arrest\nA\x1b[2J\n"), NULL, "file: line 2, column 1: the id holds a control character"},
    {TEXT("arrest\nA\xe2\x80\xae"
          "1\n"),
     NULL, "file: line 2, column 1: the id holds a control character"},
    {TEXT("\xff\xfe"
          "a\0r\0"),
     NULL, "file is UTF-16, not UTF-8: save it as 'CSV UTF-8'"},
    {TEXT("PK\3\4rest of a spreadsheet"), NULL, "file is a spreadsheet, not CSV: save it as 'CSV UTF-8'"},
};

START_TEST(what_is_wrong_is_named_with_its_place)
{
    const struct bad *f = &bad_files[_i];
    ck_assert_int_eq(gx_indexctl_csv_parse("file", f->text, f->len, f->kind, &csv), GX_E_INVALID);
    ck_assert_msg(strncmp(gx_indexctl_fail_text(), f->message, strlen(f->message)) == 0, "%d: %s", _i,
                  gx_indexctl_fail_text());
}
END_TEST

START_TEST(id_has_at_most_its_length)
{
    char text[32 + GX_ID_MAX] = "arrest\n";
    memset(text + 7, 'a', GX_ID_MAX);
    ck_assert_int_eq(gx_indexctl_csv_parse("file", text, 7 + GX_ID_MAX, NULL, &csv), GX_OK);
    ck_assert_uint_eq(strlen(csv.rows[0].id), GX_ID_MAX);
    gx_indexctl_csv_fini(&csv);
    text[7 + GX_ID_MAX] = 'a';
    ck_assert_int_eq(gx_indexctl_csv_parse("file", text, 8 + GX_ID_MAX, NULL, &csv), GX_E_INVALID);
    ck_assert_str_eq(gx_indexctl_fail_text(), "file: line 2, column 1: the id has 129 bytes, at most 128 are possible");
}
END_TEST

START_TEST(every_beginning_of_a_file_is_read_or_refused)
{
    static const char whole[] = "\xef\xbb\xbf"
                                "date;\"Arrest ID\";x\r\n1;\"A\"\"1\";\"a\r\nb\"\r\n\r\n2;\xc3\x84;\n;;\n3;A-3;c";
    for (size_t len = 0; len < sizeof(whole); len++) {
        char *exact = malloc(len + 1); /* of this very length: a sanitizer sees what is read behind it */
        ck_assert_ptr_nonnull(exact);
        memcpy(exact, whole, len);
        enum gx_status status = gx_indexctl_csv_parse("file", exact, len, NULL, &csv);
        ck_assert(status == GX_OK || (status == GX_E_INVALID && gx_indexctl_fail_text()[0] != '\0'));
        ck_assert(status != GX_OK || (csv.n > 0 && csv.n <= 3));
        gx_indexctl_csv_fini(&csv);
        free(exact);
    }
}
END_TEST

START_TEST(fields_that_are_written_are_read_again)
{
    static const char *const ids[] = {"A-1", "a,b", "a;b", "\"", "say \"x\"", " a", "a ", "\xc3\x84"};
    char path[128];
    int fd = gx_temp_file("csv", path, sizeof(path));
    FILE *file = fdopen(fd, "w");
    ck_assert_ptr_nonnull(file);
    (void)fputs("x,record\n", file);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
        (void)fputs("1,", file);
        gx_indexctl_csv_put(file, ids[i]);
        (void)fputc('\n', file);
    }
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(gx_indexctl_csv_read(path, NULL, &csv), GX_OK);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_uint_eq(csv.n, sizeof(ids) / sizeof(ids[0]));
    for (size_t i = 0; i < csv.n; i++)
        ck_assert_str_eq(csv.rows[i].id, ids[i]);
    gx_indexctl_csv_fini(&csv);
    ck_assert_int_eq(gx_indexctl_csv_read(path, NULL, &csv), GX_E_NOT_FOUND);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("client_csv");
    TCase *tc = tcase_create("client_csv");
    tcase_add_checked_fixture(tc, NULL, finish);
    tcase_add_loop_test(tc, ids_are_read_with_their_lines, 0, sizeof(good_files) / sizeof(good_files[0]));
    tcase_add_loop_test(tc, what_is_wrong_is_named_with_its_place, 0, sizeof(bad_files) / sizeof(bad_files[0]));
    tcase_add_test(tc, id_has_at_most_its_length);
    tcase_add_test(tc, every_beginning_of_a_file_is_read_or_refused);
    tcase_add_test(tc, fields_that_are_written_are_read_again);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed > 0;
}
