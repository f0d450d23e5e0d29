/* Promises of err.h and status.h. */
#include "err.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const enum gx_status all[] = {
#define NAME(name, number, grpc, text) name,
    GX_STATUS_MAP(NAME)
#undef NAME
};

START_TEST(every_status_has_its_own_name_text_and_number)
{
    for (size_t i = 0; i < GX_COUNT_OF(all); i++) {
        ck_assert_uint_eq(all[i], i); /* no gaps: a number is never given to another status */
        ck_assert_uint_gt(strlen(gx_status_name(all[i])), 0);
        ck_assert_uint_gt(strlen(gx_status_text(all[i])), 0);
        ck_assert_ptr_null(strstr(gx_status_name(all[i]), "GX_"));
        for (size_t j = 0; j < i; j++) {
            ck_assert_str_ne(gx_status_name(all[i]), gx_status_name(all[j]));
            ck_assert_str_ne(gx_status_text(all[i]), gx_status_text(all[j]));
        }
    }
    ck_assert_str_eq(gx_status_name(GX_OK), "OK");
    ck_assert_str_eq(gx_status_name(GX_E_NOT_FOUND), "NOT_FOUND");
    ck_assert_str_eq(gx_status_text(GX_E_NOT_FOUND), "not found");
}
END_TEST

START_TEST(every_status_has_a_canonical_grpc_code)
{
    for (size_t i = 0; i < GX_COUNT_OF(all); i++) {
        ck_assert_int_ge(gx_status_grpc(all[i]), 0);
        ck_assert_int_le(gx_status_grpc(all[i]), 16);
        ck_assert_int_eq(gx_status_grpc(all[i]) == 0, all[i] == GX_OK);
    }
    ck_assert_int_eq(gx_status_grpc(GX_E_NOT_FOUND), 5);
    ck_assert_int_eq(gx_status_grpc(GX_E_DENIED), 7);
    ck_assert_int_eq(gx_status_grpc(GX_E_CORRUPT), 15);
}
END_TEST

START_TEST(a_status_of_a_later_version_is_unknown_and_harmless)
{
    enum gx_status later = (enum gx_status)GX_COUNT_OF(all);
    ck_assert_str_eq(gx_status_name(later), "UNKNOWN");
    ck_assert_str_eq(gx_status_text(later), "unknown status");
    ck_assert_int_eq(gx_status_grpc(later), 2);
}
END_TEST

START_TEST(a_failure_carries_its_status_and_its_text)
{
    struct gx_err err = {0};
    ck_assert_int_eq(gx_fail(&err, GX_E_BUSY, "%d calls wait: try again in %s", 7, "a second"), GX_E_BUSY);
    ck_assert_int_eq(err.status, GX_E_BUSY);
    ck_assert_str_eq(err.text, "7 calls wait: try again in a second");
}
END_TEST

START_TEST(a_caller_without_interest_in_the_text_gets_the_status)
{
    ck_assert_int_eq(gx_fail(NULL, GX_E_BUSY, "text"), GX_E_BUSY);
    ck_assert_int_eq(gx_err_errno(NULL, EIO, "text"), GX_E_IO);
}
END_TEST

START_TEST(wrapping_puts_the_place_before_the_text_and_keeps_the_status)
{
    struct gx_err err;
    (void)gx_fail(&err, GX_E_CORRUPT, "bad crc");
    ck_assert_int_eq(gx_err_wrap(&err, "row %d", 3), GX_E_CORRUPT);
    ck_assert_int_eq(gx_err_wrap(&err, "gallery"), GX_E_CORRUPT);
    ck_assert_int_eq(err.status, GX_E_CORRUPT);
    ck_assert_str_eq(err.text, "gallery: row 3: bad crc");
}
END_TEST

START_TEST(the_text_of_an_error_may_be_part_of_its_next_text)
{
    struct gx_err err;
    (void)gx_fail(&err, GX_E_IO, "first");
    (void)gx_fail(&err, GX_E_INTERNAL, "second after %s", err.text);
    ck_assert_str_eq(err.text, "second after first");
}
END_TEST

START_TEST(a_text_is_one_line_whatever_goes_into_it)
{
    struct gx_err err;
    (void)gx_fail(&err, GX_E_IO, "a\nb\r\tc%sd", "\x1b[2J\x7f");
    ck_assert_str_eq(err.text, "a?b??c?[2J?d");
    (void)gx_err_wrap(&err, "x\ny");
    ck_assert_str_eq(err.text, "x?y: a?b??c?[2J?d");
}
END_TEST

/* Whether the text ends with a whole character, given that what went in was well-formed. */
static bool ends_whole(const char *text)
{
    size_t len = strlen(text), tail = 0;
    while (tail < len && ((unsigned char)text[len - 1 - tail] & 0xc0) == 0x80)
        tail++;
    if (tail == len)
        return tail == 0;
    unsigned char lead = (unsigned char)text[len - 1 - tail];
    return tail == (lead >= 0xf0 ? 3u : lead >= 0xe0 ? 2u : lead >= 0xc0 ? 1u : 0u);
}

START_TEST(a_long_text_is_cut_between_two_characters)
{
    static const char *const characters[] = {"x", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80"};
    for (size_t c = 0; c < GX_COUNT_OF(characters); c++) {
        char many[4 * GX_ERR_TEXT_MAX + 1] = "";
        for (size_t i = 0; i < GX_ERR_TEXT_MAX; i++)
            strcat(many, characters[c]);
        for (int shift = 0; shift < 4; shift++) {
            struct gx_err err;
            (void)gx_fail(&err, GX_E_IO, "%.*s%s", shift, "abcd", many);
            ck_assert_uint_lt(strlen(err.text), GX_ERR_TEXT_MAX);
            ck_assert_uint_ge(strlen(err.text), GX_ERR_TEXT_MAX - 4);
            ck_assert_msg(ends_whole(err.text), "character %zu, shift %d: cut inside", c, shift);
            (void)gx_err_wrap(&err, "%.*s", shift + 1, "abcd");
            ck_assert_uint_lt(strlen(err.text), GX_ERR_TEXT_MAX);
            ck_assert_msg(ends_whole(err.text), "character %zu, shift %d: wrapped and cut inside", c, shift);
        }
    }
}
END_TEST

START_TEST(a_text_that_just_fits_is_whole)
{
    char text[GX_ERR_TEXT_MAX];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = 0;
    memcpy(text + sizeof(text) - 3, "\xc3\xa4", 2);
    struct gx_err err;
    (void)gx_fail(&err, GX_E_IO, "%s", text);
    ck_assert_str_eq(err.text, text);
}
END_TEST

START_TEST(errno_gives_the_reason_and_the_status)
{
    struct gx_err err;
    ck_assert_int_eq(gx_err_errno(&err, EACCES, "cannot open '%s'", "FORMAT"), GX_E_IO);
    ck_assert_str_eq(err.text, "cannot open 'FORMAT': Permission denied");
    ck_assert_int_eq(gx_err_errno(&err, ENOSPC, "x"), GX_E_FULL);
    ck_assert_int_eq(gx_err_errno(&err, EDQUOT, "x"), GX_E_FULL);
    ck_assert_int_eq(gx_err_errno(&err, ENOMEM, "x"), GX_E_NOMEM);
    ck_assert_int_eq(err.status, GX_E_NOMEM);
    ck_assert_int_eq(gx_err_errno(&err, 99999, "x"), GX_E_IO); /* no such errno */
}
END_TEST

static int n_calls, n_released;

static enum gx_status call(enum gx_status status)
{
    n_calls++;
    return status;
}

static enum gx_status try_both(enum gx_status first, enum gx_status second)
{
    GX_TRY(call(first));
    GX_TRY(call(second));
    return GX_OK;
}

static enum gx_status try_both_and_release(enum gx_status first, enum gx_status second)
{
    enum gx_status status;
    GX_TRY_OUT(call(first));
    GX_TRY_OUT(call(second));
out:
    n_released++;
    return status;
}

START_TEST(the_first_failure_ends_a_function)
{
    ck_assert_int_eq(try_both(GX_E_IO, GX_E_FULL), GX_E_IO);
    ck_assert_int_eq(n_calls, 1);
    ck_assert_int_eq(try_both(GX_OK, GX_E_FULL), GX_E_FULL);
    ck_assert_int_eq(try_both(GX_OK, GX_OK), GX_OK);
    ck_assert_int_eq(n_calls, 5);
    ck_assert_int_eq(try_both_and_release(GX_E_IO, GX_OK), GX_E_IO);
    ck_assert_int_eq(try_both_and_release(GX_OK, GX_E_FULL), GX_E_FULL);
    ck_assert_int_eq(try_both_and_release(GX_OK, GX_OK), GX_OK);
    ck_assert_int_eq(n_calls, 10);
    ck_assert_int_eq(n_released, 3);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("err");
    TCase *tc = tcase_create("err");
    tcase_add_test(tc, every_status_has_its_own_name_text_and_number);
    tcase_add_test(tc, every_status_has_a_canonical_grpc_code);
    tcase_add_test(tc, a_status_of_a_later_version_is_unknown_and_harmless);
    tcase_add_test(tc, a_failure_carries_its_status_and_its_text);
    tcase_add_test(tc, a_caller_without_interest_in_the_text_gets_the_status);
    tcase_add_test(tc, wrapping_puts_the_place_before_the_text_and_keeps_the_status);
    tcase_add_test(tc, the_text_of_an_error_may_be_part_of_its_next_text);
    tcase_add_test(tc, a_text_is_one_line_whatever_goes_into_it);
    tcase_add_test(tc, a_long_text_is_cut_between_two_characters);
    tcase_add_test(tc, a_text_that_just_fits_is_whole);
    tcase_add_test(tc, errno_gives_the_reason_and_the_status);
    tcase_add_test(tc, the_first_failure_ends_a_function);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
