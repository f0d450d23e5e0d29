/* Promises of codec.h about text. */
#include "codec.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

static struct gx_err err;

#define T(text)        gx_slice_text(text)
#define BYTES(literal) ((struct gx_slice){(const uint8_t *)(literal), sizeof(literal) - 1})
#define OK(call)       ck_assert_msg((call) == GX_OK, "%s", err.text)

START_TEST(well_formed_text_passes)
{
    static const char *const good[] = {"a",
                                       "A-77/2024 #3",
                                       "\xc2\xa0", /* U+00A0, the first after the control characters */
                                       "\xc3\xa4\xe2\x82\xac",
                                       "\xdf\xbf",         /* U+07FF */
                                       "\xe0\xa0\x80",     /* U+0800 */
                                       "\xed\x9f\xbf",     /* U+D7FF, the last before the surrogates */
                                       "\xee\x80\x80",     /* U+E000 */
                                       "\xef\xbf\xbf",     /* U+FFFF */
                                       "\xf0\x90\x80\x80", /* U+10000 */
                                       "\xf4\x8f\xbf\xbf"};
    for (size_t i = 0; i < GX_COUNT_OF(good); i++)
        OK(gx_codec_check_text(T(good[i]), 1, 20, "the id", &err));
    OK(gx_codec_check_text(T(""), 0, 20, "the id", &err));
}
END_TEST

START_TEST(text_that_is_no_text_is_refused_and_not_repeated)
{
    static const struct {
        struct gx_slice text;
        const char *rule;
    } bad[] = {
        {BYTES("a\0b"), "control"},
        {BYTES("a\nb"), "control"},
        {BYTES("\x1f"), "control"},
        {BYTES("\x7f"), "control"},
        {BYTES("\xc2\x80"), "control"},
        {BYTES("x\xc2\x9f"), "control"},
        {BYTES("\x80"), "UTF-8"},
        {BYTES("ab\xff"), "UTF-8"},
        {BYTES("\xc0\x80"), "UTF-8"},
        {BYTES("\xc1\xbf"), "UTF-8"},
        {BYTES("\xc3"), "UTF-8"},
        {BYTES("\xc3x"), "UTF-8"},
        {BYTES("\xe2\x82"), "UTF-8"},
        {BYTES("\xe0\x9f\xbf"), "UTF-8"},
        {BYTES("\xed\xa0\x80"), "UTF-8"},
        {BYTES("\xed\xbf\xbf"), "UTF-8"},
        {BYTES("\xf0\x8f\xbf\xbf"), "UTF-8"},
        {BYTES("\xf4\x90\x80\x80"), "UTF-8"},
        {BYTES("\xf5\x80\x80\x80"), "UTF-8"},
        {BYTES("\xf0\x9f\x98"), "UTF-8"},
        {BYTES(""), "1 to 20"},
        {BYTES("123456789012345678901"), "1 to 20"},
    };
    for (size_t i = 0; i < GX_COUNT_OF(bad); i++) {
        uint8_t *copy = malloc(bad[i].text.len + 1);
        ck_assert_ptr_nonnull(copy);
        memcpy(copy, bad[i].text.data, bad[i].text.len);
        uint8_t *exact = realloc(copy, bad[i].text.len > 0 ? bad[i].text.len : 1);
        ck_assert_ptr_nonnull(exact);
        struct gx_slice text = {exact, bad[i].text.len};
        ck_assert_msg(gx_codec_check_text(text, 1, 20, "the id", &err) == GX_E_INVALID, "case %zu", i);
        ck_assert_ptr_nonnull(strstr(err.text, "the id"));
        ck_assert_ptr_nonnull(strstr(err.text, bad[i].rule));
        free(exact);
    }
}
END_TEST

START_TEST(a_gallery_name_is_letters_digits_and_a_few_marks)
{
    static const char *const good[] = {"a", "Z9", "0", "mug-shots_2024.v2", "a..", "a--"};
    static const char *const bad[] = {"", ".a", "-a", "_a", "a b", "a/b", "a:b", "\xc3\xa4", "a\n", "a@", "a["};
    for (size_t i = 0; i < GX_COUNT_OF(good); i++)
        OK(gx_codec_check_name(T(good[i]), &err));
    for (size_t i = 0; i < GX_COUNT_OF(bad); i++)
        ck_assert_msg(gx_codec_check_name(T(bad[i]), &err) == GX_E_INVALID, "case %zu", i);
    uint8_t longest[GX_NAME_MAX + 1];
    memset(longest, 'x', sizeof(longest));
    OK(gx_codec_check_name((struct gx_slice){longest, GX_NAME_MAX}, &err));
    ck_assert_int_eq(gx_codec_check_name((struct gx_slice){longest, GX_NAME_MAX + 1}, &err), GX_E_INVALID);
    ck_assert_int_eq(gx_codec_check_name(BYTES("a\0b"), &err), GX_E_INVALID);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec_check");
    TCase *tc = tcase_create("codec_check");
    tcase_add_test(tc, well_formed_text_passes);
    tcase_add_test(tc, text_that_is_no_text_is_refused_and_not_repeated);
    tcase_add_test(tc, a_gallery_name_is_letters_digits_and_a_few_marks);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
