/* Lists of sealed arrests, from the file to the results, through the real indexctl and server. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl.h"
#include "served.h"

#define DIM  16
#define ROWS 1200

static struct gx_served served;
static struct gx_ctl ctl;
static char list[128], results[128];

static void begin(void)
{
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", ROWS);
    (void)snprintf(list, sizeof(list), "%s/sealed.csv", served.server.base);
    (void)snprintf(results, sizeof(results), "%s/results.csv", served.server.base);
    ctl = (struct gx_ctl){.typed = NULL};
}

static void put_list(const char *text)
{
    FILE *file = fopen(list, "we");
    ck_assert_ptr_nonnull(file);
    (void)fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

/* The whole of the results, in storage that lasts until the next call. */
static const char *get_results(void)
{
    static char *text;
    size_t len;
    free(text);
    text = NULL;
    FILE *file = fopen(results, "re"), *memory = open_memstream(&text, &len);
    ck_assert_msg(file != NULL && memory != NULL, "no results");
    for (int c; (c = fgetc(file)) != EOF;)
        (void)fputc(c, memory);
    (void)fclose(file);
    ck_assert_int_eq(fclose(memory), 0);
    return text;
}

/* indexctl expunge g --from LIST ARGUMENT…; returns its exit status. */
static int expunge(const char *const *more)
{
    const char *arguments[16] = {"expunge", "g", "--from", list};
    for (size_t i = 0; more[i] != NULL; i++)
        arguments[i + 4] = more[i];
    return gx_ctl_run(&ctl, &served.server, arguments);
}
#define EXPUNGE(...) expunge((const char *const[]){__VA_ARGS__, NULL})

static void assert_printed(const char *text)
{
    ck_assert_msg(strstr(ctl.out, text) != NULL, "'%s' is not in: %s%s", text, ctl.out, ctl.err);
}

/* One line on stderr that holds @text. */
static void assert_refused(int status, const char *text)
{
    ck_assert_msg(ctl.code == status, "%d: %s", ctl.code, ctl.err);
    ck_assert_msg(strstr(ctl.err, text) != NULL, "'%s' is not in: %s", text, ctl.err);
    const char *end = strchr(ctl.err, '\n');
    ck_assert_msg(end != NULL && end[1] == '\0', "not one line: %s", ctl.err);
}

static size_t count_tickets(void)
{
    struct gx_client_tickets *tickets;
    gx_served_ok(gx_client_ticket_list(served.client, NULL, 0, NULL, &tickets));
    size_t n = tickets->n_tickets;
    gx_client_tickets_free(tickets);
    return n;
}

static void assert_untouched(void)
{
    ck_assert_uint_eq(count_tickets(), 0);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS);
}

/* ---------------------------------------------------------------- the count */

START_TEST(list_is_counted_and_nothing_else_by_a_dry_run)
{
    begin();
    put_list("record\nphoto-00000003\nnobody\nphoto-00000004\nphoto-00000003\n");
    ck_assert_int_eq(EXPUNGE("--dry-run", "--results", results), 0);
    assert_printed("4 lines, 3 records\n");
    assert_printed("  would go       2 photos\n");
    assert_printed("  match nothing  1 record, line 3\n");
    assert_printed("  repeated       1 line, counted once\n");
    ck_assert_str_eq(get_results(), "line,record,outcome,photos,ticket,note\n"
                                    "2,photo-00000003,would go,1,,\n"
                                    "3,nobody,no match,0,,\n"
                                    "4,photo-00000004,would go,1,,\n"
                                    "5,photo-00000003,repeated,0,,same as line 2\n");
    struct stat st;
    ck_assert(stat(results, &st) == 0 && (st.st_mode & 0777) == 0600);
    ck_assert_int_eq(EXPUNGE("--dry-run", "--expect", "3"), GX_E_COUNT);
    ck_assert_int_eq(EXPUNGE("--dry-run", "--expect", "2", "--json"), 0);
    ck_assert_str_eq(ctl.out, "{\"validate_only\":true,\"gallery\":\"g\",\"order_ref\":\"\",\"kind\":\"RECORD\","
                              "\"lines\":4,\"ids\":3,\"orders\":1,\"records\":2,\"records_before\":0,"
                              "\"matched_ids\":2,\"unmatched_ids\":1,\"gone_ids\":0,\"held_ids\":0}\n");
    assert_untouched();
    gx_served_end(&served);
}
END_TEST

START_TEST(photos_of_arrests_are_counted)
{
    char text[256], arrest[GX_PEOPLE_ID_MAX], other[GX_PEOPLE_ID_MAX], expected[64];
    uint64_t first, n, n_other;
    begin();
    gx_served_arrest_of(&served.people, 100, arrest, &first, &n);
    gx_served_arrest_of(&served.people, 700, other, &first, &n_other);
    (void)snprintf(text, sizeof(text),
                   "\xef\xbb\xbf"
                   "Date;\"Arrest ID\"\r\n2024-03-01;%s\r\n\"1;2\";\"%s\"\r\n",
                   arrest, other);
    put_list(text);
    ck_assert_int_eq(EXPUNGE("--dry-run"), 0);
    (void)snprintf(expected, sizeof(expected), "would go       %u photos of 2 arrests\n", (unsigned)(n + n_other));
    assert_printed(expected);
    (void)snprintf(expected, sizeof(expected), "%u", (unsigned)(n + n_other));
    ck_assert_int_eq(EXPUNGE("--order", "o", "--expect", expected), 0);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS - n - n_other);
    ck_assert(!gx_served_has(&served, "g", 100) && !gx_served_has(&served, "g", 700));
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- refusals */

START_TEST(wrong_count_removes_nothing)
{
    begin();
    put_list("record\nphoto-00000003\nnobody\n");
    ck_assert_int_eq(EXPUNGE("--order", "o", "--expect", "2", "--yes", "--results", results), GX_E_COUNT);
    assert_refused(GX_E_COUNT, "names 1 photo, 2 were expected: nothing was removed now; 1 ids match nothing");
    ck_assert(strstr(get_results(), "\n2,photo-00000003,would go,1,,\n") != NULL);
    assert_untouched();
    gx_served_end(&served);
}
END_TEST

START_TEST(malformed_list_is_named_by_line_and_column_and_removes_nothing)
{
    begin();
    put_list("record,x\nphoto-00000003,1\n\xc3\x84,\"open\n");
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes"), GX_E_INVALID);
    assert_refused(GX_E_INVALID, "sealed.csv: line 3, column 3: the quotation mark");
    ck_assert_str_eq(ctl.out, "");
    put_list("photo-00000003\n");
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes"), GX_E_INVALID);
    assert_refused(GX_E_INVALID, "line 1 is no header");
    put_list("");
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes"), GX_E_INVALID);
    assert_refused(GX_E_INVALID, "is empty");
    put_list("record\n");
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes"), GX_E_INVALID);
    assert_refused(GX_E_INVALID, "a header and no line");
    ck_assert_int_eq(unlink(list), 0);
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes"), GX_E_NOT_FOUND);
    assert_untouched();
    gx_served_end(&served);
}
END_TEST

START_TEST(script_must_say_how_many_or_yes)
{
    begin();
    put_list("record\nphoto-00000003\n");
    ck_assert_int_eq(EXPUNGE("--order", "o"), GX_E_INVALID);
    assert_refused(GX_E_INVALID, "there is no terminal to ask on: say by --expect N");
    ck_assert_int_eq(EXPUNGE("--yes"), GX_E_INVALID);
    assert_refused(GX_E_INVALID, "--order is missing");
    assert_untouched();
    gx_served_end(&served);
}
END_TEST

START_TEST(person_is_asked_and_only_yes_removes)
{
    static const char *const answers[] = {"no\n", "\n", "y\n", "yes please\n", "\x04"};
    begin();
    put_list("record\nphoto-00000003\n");
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        ctl.typed = answers[i];
        ck_assert_int_eq(EXPUNGE("--order", "o 7", "--expect", "1"), GX_E_CANCELLED);
        ck_assert_msg(strstr(ctl.err, "Remove 1 photo for good, by the order 'o 7'? Type yes to go on: ") != NULL &&
                          strstr(ctl.err, "nothing was removed") != NULL,
                      "%s", ctl.err);
        assert_untouched();
    }
    ctl.typed = "yes\n";
    ck_assert_int_eq(EXPUNGE("--order", "o 7"), 0);
    ck_assert(!gx_served_has(&served, "g", 3));
    gx_served_end(&served);
}
END_TEST

START_TEST(results_that_cannot_be_written_stop_the_list_before_it_removes)
{
    begin();
    put_list("record\nphoto-00000003\nphoto-00000004\n");
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes", "--results", "/nowhere/results.csv"), GX_E_IO);
    assert_refused(GX_E_IO, "cannot write the results to /nowhere/results.csv");
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes", "--results", "/dev/null"), GX_E_INVALID);
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes", "--results", list), GX_E_INVALID);
    assert_refused(GX_E_INVALID, "is the list itself");
    /* A full disk: what was there before stays, and nothing half-written. */
    char text[2048] = "record\n";
    for (unsigned i = 0; i < 100; i++)
        (void)snprintf(text + strlen(text), sizeof(text) - strlen(text), "photo-%08u\n", i);
    put_list(text);
    ck_assert_int_eq(EXPUNGE("--dry-run", "--results", results), 0);
    size_t len = strlen(get_results());
    ctl.file_size_max = (long)len - 100;
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes", "--results", results), GX_E_FULL);
    assert_refused(GX_E_FULL, "cannot write the results to");
    assert_untouched();
    ck_assert(strstr(get_results(), "101,photo-00000099,would go,1,,\n") != NULL);
    ctl.file_size_max = (long)len + 100; /* enough for what was counted, but not for what was done */
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes", "--results", results), GX_E_FULL);
    assert_refused(GX_E_FULL, "the list itself was carried out");
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS - 100);
    ck_assert(strstr(get_results(), "101,photo-00000099,would go,1,,\n") != NULL);
    (void)snprintf(list, sizeof(list), "%.100s.tmp", results);
    ck_assert_int_ne(access(list, F_OK), 0);
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- repetition */

START_TEST(results_tell_what_became_of_each_line_and_the_same_list_again_changes_nothing)
{
    begin();
    put_list("x,record\n1,photo-00000003\n");
    ck_assert_int_eq(EXPUNGE("--order", "earlier", "--yes"), 0);
    put_list("x,record\n1,photo-00000003\n\"2\n2\",\"photo-00000004\"\n3,\"no,body\"\n4,photo-00000004\n");
    ck_assert_int_eq(EXPUNGE("--order", "o", "--expect", "1", "--results", results), 0);
    assert_printed("gone already   1 record, line 2\n");
    assert_printed("match nothing  1 record, line 5\n");
    assert_printed("T-00000002: 1 photo removed\n");
    ck_assert_str_eq(get_results(), "line,record,outcome,photos,ticket,note\n"
                                    "2,photo-00000003,already gone,0,T-00000002,\n"
                                    "3,photo-00000004,removed,1,T-00000002,\n"
                                    "5,\"no,body\",no match,0,T-00000002,\n"
                                    "6,photo-00000004,repeated,0,,same as line 3\n");
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(EXPUNGE("--order", "o", "--expect", "1", "--results", results), 0);
        assert_printed("Nothing of the list is left to remove.\nT-00000002: 1 photo removed before\n");
        ck_assert(strstr(get_results(), "\n3,photo-00000004,already gone,0,T-00000002,by an earlier run") != NULL);
        ck_assert_uint_eq(count_tickets(), 2);
        gx_served_restart(&served, round == 0);
    }
    /* Another order of the same list has nothing to do. */
    ck_assert_int_eq(EXPUNGE("--order", "o 2", "--yes"), 0);
    assert_printed("gone already   3 records, lines 2, 3, 5\n");
    ck_assert_uint_eq(count_tickets(), 2);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS - 2);
    gx_served_end(&served);
}
END_TEST

START_TEST(request_id_stands_for_one_list)
{
    begin();
    put_list("record\nphoto-00000003\n");
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes", "--request-id", "r"), 0);
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes", "--request-id", "r"), 0);
    assert_printed("T-00000001: 1 photo removed before\n");
    put_list("record\nphoto-00000003\nphoto-00000004\n");
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes", "--request-id", "r"), GX_E_EXISTS);
    ck_assert_int_eq(
        EXPUNGE("--order", "o", "--yes", "--request-id", "0123456789012345678901234567890123456789012345678901234567"),
        GX_E_INVALID);
    ck_assert_uint_eq(count_tickets(), 1);
    ck_assert(gx_served_has(&served, "g", 4));
    gx_served_end(&served);
}
END_TEST

/* A photo of the person of row @row, which is that of row @as otherwise; ids of its own. */
static void enrol_photo_of(uint64_t row, uint64_t as)
{
    struct gx_served_batch batch;
    struct gx_people_photo photo;
    char subject[GX_PEOPLE_ID_MAX];
    gx_people_row(&served.people, row, NULL, &photo);
    gx_people_subject_id(photo.person, subject);
    gx_served_make_batch(&served.people, as, 1, &batch);
    batch.records[0].subject_id = subject;
    gx_served_ok(gx_client_insert(served.client, "g", GX_SERVED_EMBEDDER, batch.records, batch.rows, 1, DIM, NULL,
                                  &(struct gx_client_enrolled){0}));
    gx_served_free_batch(&batch);
    ck_assert(gx_served_has(&served, "g", as));
}

/* Writes a list of the subject of row @row and of one that is not there; how many photos it has. */
static uint32_t put_subject(uint64_t row)
{
    struct gx_people_photo photo;
    char subject[GX_PEOPLE_ID_MAX], text[128];
    uint64_t first;
    uint32_t n;
    gx_people_row(&served.people, row, NULL, &photo);
    gx_people_subject_id(photo.person, subject);
    gx_people_rows_of(&served.people, photo.person, &first, &n);
    (void)snprintf(text, sizeof(text), "subject\n%s\nnobody\n", subject);
    put_list(text);
    return n;
}

START_TEST(photos_enrolled_since_go_by_the_same_list_of_subjects_again)
{
    char n_first[16], text[64];
    begin();
    uint32_t n = put_subject(300);
    enrol_photo_of(300, ROWS); /* one more, so that its number is not 1 */
    (void)snprintf(n_first, sizeof(n_first), "%u", n + 1);
    ck_assert_int_eq(EXPUNGE("--order", "o", "--expect", n_first), 0);
    for (unsigned turn = 2; turn <= 4; turn++) {
        enrol_photo_of(300, ROWS + turn);
        ck_assert_int_eq(EXPUNGE("--order", "o", "--expect", n_first), GX_E_COUNT);
        ck_assert(gx_served_has(&served, "g", ROWS + turn));
        ck_assert_int_eq(EXPUNGE("--order", "o", "--expect", "1", "--results", results), 0);
        (void)snprintf(text, sizeof(text), "T-%08u: 1 photo removed\n", turn);
        assert_printed(text);
        (void)snprintf(text, sizeof(text), ",removed,1,T-%08u,\n", turn);
        ck_assert_msg(strstr(get_results(), text) != NULL, "%s", get_results());
        ck_assert(!gx_served_has(&served, "g", ROWS + turn));
        /* Nothing new: the last order's ticket, and no other. */
        ck_assert_int_eq(EXPUNGE("--order", "o", "--expect", "1"), 0);
        (void)snprintf(text, sizeof(text), "T-%08u: 1 photo removed before\n", turn);
        assert_printed(text);
        ck_assert_uint_eq(count_tickets(), turn);
        gx_served_restart(&served, turn == 2);
    }
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS - n);
    gx_served_end(&served);
}
END_TEST

/* The server dies in the second order, between its ledger and its store. */
START_TEST(second_order_of_a_subject_is_not_done_twice_after_the_death_of_the_server)
{
    begin();
    uint32_t n = put_subject(300);
    served.server.environment[0] = "INDEXD_FAILPOINT=expunge.after_ledger:2";
    gx_served_restart(&served, true);
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes"), 0);
    enrol_photo_of(300, ROWS);
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes"), GX_E_UNAVAILABLE);
    struct gx_server_exit end;
    gx_server_wait_end(&served.server, &end);
    served.server.environment[0] = NULL;
    gx_server_start(&served.server);
    gx_served_connect(&served);
    ck_assert_int_eq(EXPUNGE("--order", "o", "--expect", "1"), 0);
    assert_printed("T-00000002: 1 photo removed before\n");
    ck_assert_uint_eq(count_tickets(), 2);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS - n);
    gx_served_end(&served);
}
END_TEST

START_TEST(request_id_of_a_list_of_subjects_stands_for_one_order)
{
    begin();
    (void)put_subject(300);
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes", "--request-id", "r"), 0);
    enrol_photo_of(300, ROWS);
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes", "--request-id", "r"), 0);
    assert_printed("removed before\n");
    ck_assert(gx_served_has(&served, "g", ROWS));
    ck_assert_int_eq(EXPUNGE("--order", "o", "--expect", "1", "--request-id", "r2"), 0);
    ck_assert(!gx_served_has(&served, "g", ROWS));
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- long lists */

#define LONG       25000
#define LONG_FIRST 9000 /* of the enrolled rows: some in the first order, some in the second */

/* Ids of which the gallery has ROWS. */
static void put_long_list(const char *prefix)
{
    FILE *file = fopen(list, "we");
    ck_assert_ptr_nonnull(file);
    (void)fputs("record\n", file);
    for (int i = 0; i < LONG; i++)
        if (i >= LONG_FIRST && i < LONG_FIRST + ROWS)
            (void)fprintf(file, "photo-%08d\n", i - LONG_FIRST);
        else
            (void)fprintf(file, "%s-%d\n", prefix, i);
    ck_assert_int_eq(fclose(file), 0);
}

static size_t count_results(const char *what)
{
    size_t n = 0;
    for (const char *at = get_results(); (at = strstr(at, what)) != NULL; at++)
        n++;
    return n;
}

START_TEST(long_list_goes_in_several_orders_and_is_not_poured_onto_the_terminal)
{
    begin();
    put_long_list("nobody");
    ck_assert_int_eq(EXPUNGE("--order", "o", "--expect", "1200", "--results", results), 0);
    assert_printed("match nothing  23,800 records, lines 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 23,790 more\n");
    assert_printed("T-00000001: 1,000 photos removed\nT-00000002: 200 photos removed\nT-00000003: 0 photos removed\n");
    ck_assert_uint_lt(strlen(ctl.out), 600);
    ck_assert_uint_eq(count_results(",removed,1,T-00000001,\n"), 1000);
    ck_assert_uint_eq(count_results(",removed,1,T-00000002,\n"), 200);
    ck_assert_uint_eq(count_results(",no match,0,T-00000003,\n"), 5000);
    ck_assert_uint_eq(count_results("\n"), LONG + 1);
    ck_assert_uint_eq(gx_served_records(&served, "g"), 0);
    gx_served_end(&served);
}
END_TEST

/* indexctl is killed when @_i tickets are there; whatever it came to, the same command finishes it. */
START_TEST(killed_list_is_finished_by_the_same_command)
{
    const char *arguments[] = {"expunge", "g",        "--from", list,      "--order",   "o",     "--yes",
                               "--json",  "--expect", "1200",   "--quiet", "--results", results, NULL};
    begin();
    put_long_list("nobody");
    gx_ctl_start(&ctl, &served.server, arguments);
    while (!gx_ctl_has_ended(&ctl) && count_tickets() < (size_t)_i)
        gx_served_breathe();
    if (ctl.pid != 0)
        ck_assert_int_eq(kill(ctl.pid, SIGKILL), 0);
    if (ctl.pid != 0)
        gx_ctl_wait(&ctl);
    size_t n_before = count_tickets();
    ck_assert_int_eq(gx_ctl_run(&ctl, &served.server, arguments), 0);
    ck_assert_uint_eq(count_tickets(), 3);
    ck_assert_uint_eq(gx_served_records(&served, "g"), 0);
    /* At least those: the server may have finished another one for a client that was gone. */
    ck_assert_uint_ge(count_results(",by an earlier run of this list\n"),
                      n_before < 3 ? n_before * GX_EXPUNGE_IDS_MAX : LONG);
    ck_assert_uint_eq(count_results("would go"), 0);
    gx_served_end(&served);
}
END_TEST

/* The server dies in the second order, between its ledger and its store: indexctl says how far it came, and the same
 * command goes on. */
START_TEST(list_goes_on_after_the_death_of_the_server)
{
    begin();
    put_long_list("nobody");
    served.server.environment[0] = "INDEXD_FAILPOINT=expunge.after_ledger:2";
    gx_served_restart(&served, true);
    ck_assert_int_eq(EXPUNGE("--order", "o", "--expect", "1200", "--results", results), GX_E_UNAVAILABLE);
    assert_refused(GX_E_UNAVAILABLE, "of 3 orders 1 are done: the same command again goes on with the rest");
    ck_assert_uint_eq(count_results(",removed,1,T-00000001,\n"), 1000);
    ck_assert_uint_eq(count_results(",error,0,,"), 10000);
    struct gx_server_exit end;
    gx_server_wait_end(&served.server, &end);
    served.server.environment[0] = NULL;
    gx_server_start(&served.server);
    gx_served_connect(&served);
    ck_assert_uint_eq(gx_served_records(&served, "g"), 0); /* it was in the ledger */
    ck_assert_int_eq(EXPUNGE("--order", "o", "--yes", "--results", results), 0);
    ck_assert_uint_eq(count_tickets(), 3);
    ck_assert_uint_eq(count_results(",already gone,"), 20000);
    ck_assert_uint_eq(count_results(",no match,0,T-00000003,\n"), 5000);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {list_is_counted_and_nothing_else_by_a_dry_run, 0},
        {photos_of_arrests_are_counted, 0},
        {wrong_count_removes_nothing, 0},
        {malformed_list_is_named_by_line_and_column_and_removes_nothing, 0},
        {script_must_say_how_many_or_yes, 0},
        {person_is_asked_and_only_yes_removes, 0},
        {results_that_cannot_be_written_stop_the_list_before_it_removes, 0},
        {results_tell_what_became_of_each_line_and_the_same_list_again_changes_nothing, 0},
        {request_id_stands_for_one_list, 0},
        {photos_enrolled_since_go_by_the_same_list_of_subjects_again, 0},
        {second_order_of_a_subject_is_not_done_twice_after_the_death_of_the_server, 0},
        {request_id_of_a_list_of_subjects_stands_for_one_order, 0},
        {long_list_goes_in_several_orders_and_is_not_poured_onto_the_terminal, 0},
        {killed_list_is_finished_by_the_same_command, 3},
        {list_goes_on_after_the_death_of_the_server, 0},
    };
    return gx_served_run("bulk", tests, sizeof(tests) / sizeof(tests[0]));
}
