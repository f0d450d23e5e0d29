/* Promises of base.h. */
#include "base.h"

#include <check.h>
#include <stdlib.h>

#include "suite.h"

static uint32_t grows(uint32_t *io_n)
{
    return (*io_n)++;
}

/* A macro that asked twice would compare with the first answer and give the second. */
START_TEST(min_and_max_ask_for_each_argument_once)
{
    uint32_t n = 5;
    ck_assert_uint_eq(GX_MIN(5u, grows(&n)), 5);
    ck_assert_uint_eq(n, 6);
    ck_assert_uint_eq(GX_MIN(grows(&n), 9u), 6);
    ck_assert_uint_eq(GX_MAX(7u, grows(&n)), 7);
    ck_assert_uint_eq(GX_MAX(grows(&n), 3u), 8);
    ck_assert_uint_eq(GX_MIN(GX_MAX(grows(&n), 3u), GX_MIN(50u, grows(&n))), 9);
    ck_assert_uint_eq(n, 11);
}
END_TEST

START_TEST(slices_are_ordered_by_bytes_and_the_shorter_comes_first)
{
    static const char *order[] = {"", "a", "aa", "ab", "b", "\xff"};
    for (size_t i = 0; i < GX_COUNT_OF(order); i++)
        for (size_t j = 0; j < GX_COUNT_OF(order); j++) {
            struct gx_slice a = gx_slice_text(order[i]), b = gx_slice_text(order[j]);
            int c = gx_slice_compare(a, b);
            ck_assert_int_eq((c > 0) - (c < 0), (i > j) - (i < j));
            ck_assert(gx_slice_equal(a, b) == (i == j));
        }
    ck_assert(gx_slice_equal((struct gx_slice){NULL, 0}, gx_slice_text("")));
    ck_assert_int_eq(gx_slice_compare((struct gx_slice){NULL, 0}, gx_slice_text("")), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base");
    TCase *tc = tcase_create("base");
    tcase_add_test(tc, min_and_max_ask_for_each_argument_once);
    tcase_add_test(tc, slices_are_ordered_by_bytes_and_the_shorter_comes_first);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
