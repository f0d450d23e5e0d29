/* Promises of topk.h. */
#include "topk.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "random.h"
#include "suite.h"

#define SEED 3
#define MAX  2000

static uint64_t random_state = SEED;

static struct gx_hit hits[MAX], heap[MAX];
static const struct gx_hit *scores_of_slots = hits; /* while slots are 0, 1, 2, … */
static size_t n_ties, wrong_ties;

/* An order of its own: by the last digit, then higher slots first. */
static int tie(void *arg, uint32_t a, uint32_t b)
{
    n_ties++;
    wrong_ties += arg != &n_ties || (scores_of_slots != NULL && scores_of_slots[a].score != scores_of_slots[b].score);
    if (a % 10 != b % 10)
        return a % 10 < b % 10 ? -1 : 1;
    return (b > a) - (b < a);
}

static int by_score_then_slot(const void *x, const void *y)
{
    const struct gx_hit *a = x, *b = y;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return (a->slot > b->slot) - (a->slot < b->slot);
}

static int by_score_then_tie(const void *x, const void *y)
{
    const struct gx_hit *a = x, *b = y;
    if (a->score != b->score)
        return a->score > b->score ? -1 : 1;
    return tie(&n_ties, a->slot, b->slot);
}

static void fill(size_t n, uint64_t n_scores)
{
    for (size_t i = 0; i < n; i++)
        hits[i] = (struct gx_hit){(double)(gx_random_next(&random_state) % n_scores) / 1000 - 0.3, (uint32_t)i};
}

static void compare_with_sorting(gx_topk_tie *order, int (*compare)(const void *, const void *))
{
    static const size_t ks[] = {1, 2, 3, 10, 100, 999, MAX};
    static struct gx_hit sorted[MAX];
    for (int round = 0; round < 30; round++)
        for (size_t i = 0; i < GX_COUNT_OF(ks); i++) {
            size_t n = gx_random_next(&random_state) % MAX;
            fill(n, round % 2 ? 7 : 1000000007); /* many ties, or hardly any */
            struct gx_topk top;
            gx_topk_init(&top, heap, ks[i], order, &n_ties);
            for (size_t j = 0; j < n; j++)
                gx_topk_offer(&top, hits[j].score, hits[j].slot);
            size_t got = gx_topk_sort(&top);
            ck_assert_uint_eq(got, GX_MIN(n, ks[i]));
            memcpy(sorted, hits, sizeof(sorted));
            qsort(sorted, n, sizeof(*sorted), compare);
            for (size_t j = 0; j < got; j++)
                ck_assert_msg(heap[j].slot == sorted[j].slot && heap[j].score == sorted[j].score,
                              "seed %d: n %zu k %zu place %zu", SEED, n, ks[i], j);
        }
}

START_TEST(the_k_best_come_out_best_first_and_lower_slots_win_ties)
{
    compare_with_sorting(NULL, by_score_then_slot);
}
END_TEST

START_TEST(a_tie_function_orders_equal_scores_and_is_asked_for_no_others)
{
    compare_with_sorting(tie, by_score_then_tie);
    ck_assert_uint_gt(n_ties, 0);
    ck_assert_uint_eq(wrong_ties, 0);
}
END_TEST

START_TEST(the_order_of_arrival_does_not_matter)
{
    uint32_t first[2][50];
    scores_of_slots = NULL;
    fill(MAX, 5);
    for (int round = 0; round < 20; round++) {
        for (size_t i = MAX - 1; i > 0; i--) {
            size_t j = gx_random_next(&random_state) % (i + 1);
            struct gx_hit hit = hits[i];
            hits[i] = hits[j];
            hits[j] = hit;
        }
        struct gx_topk top;
        gx_topk_init(&top, heap, 50, round % 2 ? tie : NULL, &n_ties);
        for (size_t i = 0; i < MAX; i++)
            gx_topk_offer(&top, hits[i].score, hits[i].slot);
        ck_assert_uint_eq(gx_topk_sort(&top), 50);
        for (size_t i = 0; i < 50; i++) {
            if (round < 2)
                first[round][i] = heap[i].slot;
            ck_assert_msg(first[round % 2][i] == heap[i].slot, "seed %d: round %d place %zu", SEED, round, i);
        }
    }
}
END_TEST

START_TEST(what_is_below_the_bar_has_no_chance_and_what_reaches_it_has)
{
    struct gx_topk top;
    gx_topk_init(&top, heap, 3, NULL, NULL);
    static const double scores[] = {0.5, 0.1, 0.3};
    for (uint32_t i = 0; i < 3; i++) {
        ck_assert(gx_topk_bar(&top) == -INFINITY);
        gx_topk_offer(&top, scores[i], 10 + i);
    }
    ck_assert_double_eq(gx_topk_bar(&top), 0.1);
    gx_topk_offer(&top, 0.0999, 1);
    ck_assert_double_eq(gx_topk_bar(&top), 0.1);
    gx_topk_offer(&top, 0.1, 5); /* equal, lower slot: takes the place of slot 11 */
    gx_topk_offer(&top, 0.1, 12);
    ck_assert_double_eq(gx_topk_bar(&top), 0.1);
    gx_topk_offer(&top, 0.2, 20);
    ck_assert_double_eq(gx_topk_bar(&top), 0.2);
    ck_assert_uint_eq(gx_topk_sort(&top), 3);
    ck_assert_uint_eq(heap[0].slot, 10);
    ck_assert_uint_eq(heap[1].slot, 12);
    ck_assert_uint_eq(heap[2].slot, 20);
}
END_TEST

START_TEST(a_score_that_is_no_number_is_ignored)
{
    struct gx_topk top;
    gx_topk_init(&top, heap, 2, NULL, NULL);
    gx_topk_offer(&top, (double)NAN, 1);
    ck_assert_uint_eq(top.n, 0);
    gx_topk_offer(&top, -(double)INFINITY, 2);
    gx_topk_offer(&top, (double)NAN, 3);
    gx_topk_offer(&top, 0.0, 5);
    gx_topk_offer(&top, (double)NAN, 6);
    gx_topk_offer(&top, -0.0, 4); /* the same score as 0.0 */
    ck_assert_uint_eq(gx_topk_sort(&top), 2);
    ck_assert_uint_eq(heap[0].slot, 4);
    ck_assert_uint_eq(heap[1].slot, 5);
}
END_TEST

START_TEST(nothing_wanted_or_nothing_offered_gives_nothing)
{
    struct gx_topk top;
    gx_topk_init(&top, NULL, 0, NULL, NULL);
    ck_assert(gx_topk_bar(&top) == INFINITY);
    gx_topk_offer(&top, 1, 1);
    gx_topk_offer(&top, (double)INFINITY, 2);
    ck_assert_uint_eq(gx_topk_sort(&top), 0);
    gx_topk_init(&top, heap, 5, NULL, NULL);
    ck_assert_uint_eq(gx_topk_sort(&top), 0);
}
END_TEST

START_TEST(a_tie_function_without_an_opinion_leaves_it_to_the_slots)
{
    struct gx_topk top;
    scores_of_slots = NULL;
    gx_topk_init(&top, heap, 2, tie, &n_ties);
    for (uint32_t i = 3; i > 0; i--)
        gx_topk_offer(&top, 1, i);
    gx_topk_offer(&top, 1, 1); /* the same slot again */
    ck_assert_uint_eq(gx_topk_sort(&top), 2);
    ck_assert_uint_eq(heap[0].slot, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("topk");
    TCase *tc = tcase_create("topk");
    tcase_add_test(tc, the_k_best_come_out_best_first_and_lower_slots_win_ties);
    tcase_add_test(tc, a_tie_function_orders_equal_scores_and_is_asked_for_no_others);
    tcase_add_test(tc, the_order_of_arrival_does_not_matter);
    tcase_add_test(tc, what_is_below_the_bar_has_no_chance_and_what_reaches_it_has);
    tcase_add_test(tc, a_score_that_is_no_number_is_ignored);
    tcase_add_test(tc, nothing_wanted_or_nothing_offered_gives_nothing);
    tcase_add_test(tc, a_tie_function_without_an_opinion_leaves_it_to_the_slots);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
