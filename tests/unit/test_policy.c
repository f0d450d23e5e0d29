/* Promises of policy.h: every state and every event, against a table written by hand and the one in the documents. */
#include "policy.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* What is expected, in words: the next state, or the status of the refusal behind an exclamation mark. The order of
 * rows and columns is that of the enums. */
static const char *const expected[GX_POLICY_STATES][GX_POLICY_EVENTS + 1] = {
    {"ACTIVE", "HELD", "QUARANTINED", "!STATE", "!STATE", "ACCEPTED", "!STATE", "!STATE", "!STATE", "ACTIVE"},
    {"HELD", "HELD", "QUARANTINED", "!STATE", "ACTIVE", "!HELD", "!STATE", "!STATE", "!STATE", "HELD"},
    {"QUARANTINED", "QUARANTINED", "QUARANTINED", "HELD", "ACTIVE", "!HELD", "!STATE", "!STATE", "!STATE",
     "QUARANTINED"},
    {"ACCEPTED", "!EXPUNGED", "!EXPUNGED", "!STATE", "!STATE", "ACCEPTED", "ERASED", "!STATE", "FAILED", "!EXPUNGED"},
    {"ERASED", "!EXPUNGED", "!EXPUNGED", "!STATE", "!STATE", "ERASED", "ERASED", "VERIFIED", "FAILED", "!EXPUNGED"},
    {"VERIFIED", "!EXPUNGED", "!EXPUNGED", "!STATE", "!STATE", "VERIFIED", "!STATE", "!STATE", "!STATE", "!EXPUNGED"},
    {"FAILED", "!EXPUNGED", "!EXPUNGED", "!STATE", "!STATE", "FAILED", "ERASED", "!STATE", "FAILED", "!EXPUNGED"},
};
static const char *const events[GX_POLICY_EVENTS] = {"HOLD",  "QUARANTINE", "UNQUARANTINE", "RELEASE", "EXPUNGE",
                                                     "ERASE", "VERIFY",     "FAIL",         "ENROL"};

/* What the code does, in the same words. */
static const char *outcome(size_t state, size_t event, char room[32])
{
    enum gx_policy_state next = GX_POLICY_STATES;
    struct gx_err err = {0};
    enum gx_status status = gx_policy_next((enum gx_policy_state)state, (enum gx_policy_event)event, &next, &err);
    if (status == GX_OK)
        return gx_policy_state_name(next);
    ck_assert_int_eq(status, err.status);
    ck_assert_uint_gt(strlen(err.text), 0);
    ck_assert_uint_eq(next, state);
    snprintf(room, 32, "!%s", gx_status_name(status));
    return room;
}

START_TEST(every_event_in_every_state_does_what_the_table_says)
{
    for (size_t s = 0; s < GX_POLICY_STATES; s++)
        for (size_t e = 0; e < GX_POLICY_EVENTS; e++) {
            char room[32];
            const char *is = outcome(s, e, room);
            ck_assert_msg(strcmp(is, expected[s][e + 1]) == 0, "%s in %s: %s", events[e], expected[s][0], is);
        }
}
END_TEST

START_TEST(names_are_those_of_the_table)
{
    for (size_t s = 0; s < GX_POLICY_STATES; s++)
        ck_assert_str_eq(gx_policy_state_name((enum gx_policy_state)s), expected[s][0]);
    for (size_t e = 0; e < GX_POLICY_EVENTS; e++)
        ck_assert_str_eq(gx_policy_event_name((enum gx_policy_event)e), events[e]);
}
END_TEST

START_TEST(a_refusal_may_be_without_a_text)
{
    enum gx_policy_state next;
    ck_assert_int_eq(gx_policy_next(GX_POLICY_HELD, GX_POLICY_EXPUNGE, &next, NULL), GX_E_HELD);
    ck_assert_int_eq(gx_policy_next(GX_POLICY_VERIFIED, GX_POLICY_ENROL, &next, NULL), GX_E_EXPUNGED);
}
END_TEST

/* What follows from the table as a whole, whichever way events come. */
START_TEST(no_way_leads_back_from_an_expungement_or_past_a_hold)
{
    bool reached[GX_POLICY_STATES] = {[GX_POLICY_ACCEPTED] = true};
    for (size_t round = 0; round < GX_POLICY_STATES; round++)
        for (size_t s = 0; s < GX_POLICY_STATES; s++)
            for (size_t e = 0; reached[s] && e < GX_POLICY_EVENTS; e++) {
                enum gx_policy_state next;
                (void)!gx_policy_next((enum gx_policy_state)s, (enum gx_policy_event)e, &next, NULL);
                reached[next] = true;
            }
    ck_assert(!reached[GX_POLICY_ACTIVE] && !reached[GX_POLICY_HELD] && !reached[GX_POLICY_QUARANTINED]);
    ck_assert(reached[GX_POLICY_ERASED] && reached[GX_POLICY_VERIFIED] && reached[GX_POLICY_FAILED]);
    for (size_t e = 0; e < GX_POLICY_EVENTS; e++)
        for (size_t s = GX_POLICY_HELD; s <= GX_POLICY_QUARANTINED; s++) {
            enum gx_policy_state next;
            (void)!gx_policy_next((enum gx_policy_state)s, (enum gx_policy_event)e, &next, NULL);
            ck_assert(next <= GX_POLICY_QUARANTINED); /* a held record must be released before anything else */
        }
    for (size_t e = 0; e < GX_POLICY_EVENTS; e++) { /* final */
        enum gx_policy_state next;
        (void)!gx_policy_next(GX_POLICY_VERIFIED, (enum gx_policy_event)e, &next, NULL);
        ck_assert_int_eq(next, GX_POLICY_VERIFIED);
    }
}
END_TEST

START_TEST(holds_make_the_state)
{
    ck_assert_int_eq(gx_policy_of_holds(0, 0), GX_POLICY_ACTIVE);
    ck_assert_int_eq(gx_policy_of_holds(2, 0), GX_POLICY_HELD);
    ck_assert_int_eq(gx_policy_of_holds(2, 1), GX_POLICY_QUARANTINED);
}
END_TEST

/* Takes the next cell of a row of a table, without the spaces around it; NULL = the row is over. */
static char *next_cell(char **row)
{
    char *cell = *row + strspn(*row, "| "), *end = cell + strcspn(cell, "|\n");
    if (cell == end)
        return NULL;
    *row = *end == '\0' ? end : end + 1;
    while (end > cell && end[-1] == ' ')
        end--;
    *end = '\0';
    return cell;
}

START_TEST(table_in_the_documents_is_the_one_in_the_code)
{
    static const char arrow[] = "\xe2\x86\x92 ";
    FILE *file = fopen("schemas/FORMAT.md", "r"); /* tests run in the root of the repository */
    char line[1024];
    size_t n_rows = 0;
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof(line), file) != NULL && strncmp(line, "| state | HOLD |", 16) != 0)
        continue;
    char *row = line, *cell = next_cell(&row);
    for (size_t e = 0; e < GX_POLICY_EVENTS; e++) {
        cell = next_cell(&row);
        ck_assert_ptr_nonnull(cell);
        ck_assert_str_eq(cell, events[e]);
    }
    ck_assert_ptr_nonnull(fgets(line, sizeof(line), file));
    for (; n_rows < GX_POLICY_STATES && fgets(line, sizeof(line), file) != NULL && line[0] == '|'; n_rows++) {
        row = line;
        cell = next_cell(&row);
        ck_assert_str_eq(cell, gx_policy_state_name((enum gx_policy_state)n_rows));
        for (size_t e = 0; e < GX_POLICY_EVENTS; e++) {
            char room[32];
            const char *is = outcome(n_rows, e, room);
            cell = next_cell(&row);
            ck_assert_ptr_nonnull(cell);
            bool moves = strncmp(cell, arrow, sizeof(arrow) - 1) == 0;
            ck_assert_int_eq(moves, is[0] != '!');
            ck_assert_str_eq(moves ? cell + sizeof(arrow) - 1 : cell, moves ? is : is + 1);
        }
        ck_assert_ptr_null(next_cell(&row));
    }
    ck_assert_uint_eq(n_rows, GX_POLICY_STATES);
    ck_assert_ptr_nonnull(fgets(line, sizeof(line), file));
    ck_assert_int_ne(line[0], '|');
    (void)fclose(file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("policy");
    TCase *tc = tcase_create("policy");
    tcase_add_test(tc, every_event_in_every_state_does_what_the_table_says);
    tcase_add_test(tc, names_are_those_of_the_table);
    tcase_add_test(tc, a_refusal_may_be_without_a_text);
    tcase_add_test(tc, no_way_leads_back_from_an_expungement_or_past_a_hold);
    tcase_add_test(tc, holds_make_the_state);
    tcase_add_test(tc, table_in_the_documents_is_the_one_in_the_code);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
