/* Promises of pile.h. */
#include "pile.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "suite.h"

#define SEED   77
#define STREAM 5000

struct scored {
    float score;
    uint32_t slot;
};

static struct scored stream[STREAM];

static uint64_t state = SEED;

static uint32_t draw(uint32_t below)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((state >> 33) % below);
}

/* Few different scores, so that there are ties; of both signs. */
static void make_stream(uint32_t n_scores)
{
    for (uint32_t i = 0; i < STREAM; i++)
        stream[i] = (struct scored){((float)draw(n_scores) - (float)(n_scores / 2)) / 16, i * 3};
}

static int best_first(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return (x->slot > y->slot) - (x->slot < y->slot);
}

static uint64_t keys[4][2 * STREAM + GX_PILE_SPARE];

static void check_holds_the_best(struct gx_pile *pile, size_t wanted)
{
    static struct scored sorted[STREAM];
    memcpy(sorted, stream, sizeof(stream));
    qsort(sorted, STREAM, sizeof(sorted[0]), best_first);
    ck_assert_uint_eq(gx_pile_sort(pile), wanted);
    for (size_t i = 0; i < wanted; i++) {
        ck_assert_msg(gx_pile_score(pile->keys[i]) == sorted[i].score, "seed %d, place %zu", SEED, i);
        ck_assert_uint_eq(gx_pile_slot(pile->keys[i]), sorted[i].slot);
    }
}

static const uint32_t n_scores[] = {1, 2, 50, 100000};
static const size_t wanted[] = {1, 2, 3, 100, 4999, 5000};

START_TEST(pile_holds_the_best_and_of_equals_those_of_lower_slots)
{
    for (size_t s = 0; s < GX_COUNT_OF(n_scores); s++)
        for (size_t w = 0; w < GX_COUNT_OF(wanted); w++) {
            struct gx_pile pile;
            make_stream(n_scores[s]);
            gx_pile_init(&pile, keys[0], wanted[w]);
            for (size_t i = 0; i < STREAM; i++)
                if (stream[i].score >= pile.bar)
                    gx_pile_offer(&pile, stream[i].score, stream[i].slot);
            check_holds_the_best(&pile, wanted[w]);
        }
}
END_TEST

START_TEST(parts_that_are_merged_hold_what_one_pile_would)
{
    for (size_t s = 0; s < GX_COUNT_OF(n_scores); s++)
        for (size_t w = 0; w < GX_COUNT_OF(wanted); w++) {
            struct gx_pile piles[4];
            make_stream(n_scores[s]);
            for (size_t p = 0; p < 4; p++)
                gx_pile_init(&piles[p], keys[p], wanted[w]);
            for (size_t i = STREAM; i-- > 0;) /* against the order of slots, and unevenly */
                gx_pile_offer(&piles[draw(9) % 4], stream[i].score, stream[i].slot);
            for (size_t p = 1; p < 4; p++)
                gx_pile_merge(&piles[0], &piles[p]);
            check_holds_the_best(&piles[0], wanted[w]);
        }
}
END_TEST

START_TEST(bar_is_reached_by_as_many_as_are_wanted)
{
    struct gx_pile pile;
    make_stream(1000);
    gx_pile_init(&pile, keys[0], 10);
    ck_assert(isinf(pile.bar) && pile.bar < 0);
    for (size_t i = 0; i < STREAM; i++) {
        gx_pile_offer(&pile, stream[i].score, stream[i].slot);
        size_t reached = 0;
        for (size_t j = 0; j <= i; j++)
            reached += stream[j].score >= pile.bar;
        ck_assert_uint_ge(reached, GX_MIN(i + 1, (size_t)10));
    }
    gx_pile_settle(&pile);
    ck_assert(pile.bar > 0);
}
END_TEST

START_TEST(keys_are_in_the_order_of_scores_and_give_them_back)
{
    static const float scores[] = {-INFINITY, -3e38f, -1, -1e-40f, -0.0f, 0.0f, 1e-40f, 0.5f, 1, 3e38f, INFINITY};
    for (size_t i = 0; i < GX_COUNT_OF(scores); i++) {
        uint64_t key = gx_pile_key(scores[i], 123);
        ck_assert(gx_pile_score(key) == scores[i]);
        ck_assert_uint_eq(gx_pile_slot(key), 123);
        ck_assert(gx_pile_key(scores[i], 122) > key);
        if (i > 0)
            ck_assert(gx_pile_key(scores[i - 1], 0) < gx_pile_key(scores[i], UINT32_MAX));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pile");
    TCase *tc = tcase_create("pile");
    tcase_add_test(tc, pile_holds_the_best_and_of_equals_those_of_lower_slots);
    tcase_add_test(tc, parts_that_are_merged_hold_what_one_pile_would);
    tcase_add_test(tc, bar_is_reached_by_as_many_as_are_wanted);
    tcase_add_test(tc, keys_are_in_the_order_of_scores_and_give_them_back);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
