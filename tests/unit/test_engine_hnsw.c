/* Promises of engine.h for the hnsw engine: what it finds. */
#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "grown.h"
#include "simd.h"
#include "suite.h"

#define DIM     64
#define N       GX_GROWN_ROWS(4800)
#define PROBES  300
#define SCORE_E 0.02 /* of int8 codes */

static struct gx_grown g;
static struct gx_engine *built; /* one thread */
static struct gx_err err;

#define OK(call) ck_assert_msg((call) == GX_OK, "seed %d: %s", GX_GROWN_SEED, err.text)

/* Once for all tests, each of which frees its copy. */
static void begin(void)
{
    if (built != NULL)
        return;
    gx_grown_begin(&g, DIM, N, N);
    built = gx_grown_built(&g, 1);
}

static void end(void)
{
    gx_engine_unref(built);
    gx_grown_end(&g);
    built = NULL;
}

static struct gx_engine_ask ask_for(const float *const *probes, size_t n_probes, size_t n_wanted, float effort)
{
    return (struct gx_engine_ask){.probes = probes,
                                  .n_probes = n_probes,
                                  .n_wanted = n_wanted,
                                  .effort = {.effort = effort},
                                  .until = UINT32_MAX};
}

START_TEST(every_row_finds_itself)
{
    ck_assert_uint_eq(gx_grown_lost(&g, built, 64, 1), 0);
}
END_TEST

START_TEST(little_is_missed)
{
    ck_assert_double_ge(gx_grown_recall(&g, built, 64, PROBES), 0.97);
    ck_assert_double_ge(gx_grown_recall(&g, built, 256, PROBES), 0.998);
    ck_assert_uint_eq(gx_grown_unreachable(built), 0);
}
END_TEST

START_TEST(several_threads_build_as_well)
{
    for (size_t threads = 2; threads <= 4; threads++) {
        struct gx_engine *engine = gx_grown_built(&g, threads);
        struct gx_engine_stats stats;
        gx_engine_stats(engine, &stats);
        ck_assert_uint_eq(stats.entries, N);
        ck_assert_uint_eq(gx_grown_unreachable(engine), 0);
        ck_assert_double_ge(gx_grown_recall(&g, engine, 256, PROBES), 0.998);
        ck_assert_uint_eq(gx_grown_lost(&g, engine, 64, 1), 0);
        gx_engine_unref(engine);
    }
}
END_TEST

/* Where the values of a row are long enough, half of them are looked at first. */
static void check_uneven(float first, float second)
{
    static struct gx_grown wide;
    size_t n_true = 0, n_found = 0, dim = 256;
    gx_grown_begin(&wide, dim, GX_GROWN_ROWS(2400), 0);
    for (uint32_t i = 0; i < wide.n; i++) {
        float *row = wide.floats + i * dim;
        for (size_t k = 0; k < dim; k++)
            row[k] *= k < dim / 2 ? first : second;
        float length = sqrtf((float)gx_simd_dot(row, row, dim));
        for (size_t k = 0; k < dim; k++)
            row[k] /= length;
    }
    gx_grown_publish(&wide, wide.n);
    struct gx_engine *engine = gx_grown_built(&wide, 2);
    ck_assert_uint_eq(gx_grown_unreachable(engine), 0);
    ck_assert_uint_eq(gx_grown_lost(&wide, engine, 64, 1), 0);
    for (uint32_t slot = 0; slot < wide.n; slot += 10)
        gx_grown_count_found(&wide, engine, gx_rows_floats(wide.rows, slot), 256, &n_true, &n_found);
    double recall = (double)n_found / (double)n_true;
    ck_assert_msg(recall >= 0.99, "%g %g: recall %.4f", (double)first, (double)second, recall);
    gx_engine_unref(engine);
    gx_grown_end(&wide);
}

START_TEST(it_does_not_matter_where_in_a_row_the_face_is)
{
    check_uneven(1, 1);
    check_uneven(0, 1);
    check_uneven(1, 0);
    check_uneven(0.3f, 1);
    check_uneven(1, 0.3f);
}
END_TEST

START_TEST(equal_rows_are_not_in_the_way_and_all_found)
{
    enum { FIRST = 499, LAST = 999 }; /* one photo 501 times */
    static struct gx_grown many;
    gx_grown_begin(&many, DIM, 2000, 0);
    for (uint32_t i = FIRST + 1; i <= LAST; i++)
        memcpy(many.floats + (size_t)i * DIM, many.floats + (size_t)FIRST * DIM, DIM * sizeof(float));
    gx_grown_publish(&many, many.n);
    for (size_t threads = 1; threads <= 2; threads++) {
        struct gx_engine *engine = gx_grown_built(&many, threads);
        struct gx_grown_answer answer;
        ck_assert_uint_eq(gx_grown_unreachable(engine), 0);
        gx_grown_search(&many, engine, many.floats + (size_t)FIRST * DIM, 200, 64, &answer);
        for (size_t i = 0; i < 100; i++) /* half of what is looked at */
            ck_assert(answer.hits[i].slot >= FIRST && answer.hits[i].slot <= LAST);
        bool found[LAST + 1] = {false};
        gx_grown_search(&many, engine, many.floats + (size_t)FIRST * DIM, 501, 1100, &answer);
        for (size_t i = 0; i < answer.n; i++)
            if (answer.hits[i].slot <= LAST)
                found[answer.hits[i].slot] = true;
        for (uint32_t slot = 0; slot < many.n; slot++) {
            if (slot >= FIRST && slot <= LAST) {
                ck_assert(found[slot]);
                continue;
            }
            gx_grown_search(&many, engine, gx_rows_floats(many.rows, slot), 1, 64, &answer);
            ck_assert_uint_eq(answer.hits[0].slot, slot);
        }
        gx_engine_unref(engine);
    }
    gx_grown_end(&many);
}
END_TEST

START_TEST(hits_come_once_best_first_with_scores_that_are_about_right)
{
    float probe[DIM];
    for (size_t j = 0; j < 50; j++) {
        struct gx_grown_answer answer;
        gx_people_probe(&g.people, j, probe, NULL);
        gx_grown_search(&g, built, probe, 100, 50, &answer);
        ck_assert_uint_eq(answer.n, 100);
        ck_assert_uint_ge(answer.scanned, 100);
        ck_assert_uint_le(answer.scanned, N + 200);
        for (size_t i = 0; i < answer.n; i++) {
            struct gx_engine_hit hit = answer.hits[i];
            double exact = gx_simd_dot(probe, gx_rows_floats(g.rows, hit.slot), DIM);
            ck_assert_uint_eq(hit.rno, 0);
            ck_assert_double_le(fabs(exact - (double)hit.approx_score), SCORE_E);
            ck_assert(i == 0 || answer.hits[i - 1].approx_score >= hit.approx_score);
            for (size_t k = 0; k < i; k++)
                ck_assert_uint_ne(answer.hits[k].slot, hit.slot);
        }
    }
}
END_TEST

START_TEST(more_effort_looks_at_more)
{
    float probe[DIM];
    const float *p = probe;
    uint64_t before = 0;
    gx_people_probe(&g.people, 7, probe, NULL);
    for (int i = 0; i <= 4; i++) {
        struct gx_grown_answer answer;
        struct gx_engine_ask ask = ask_for(&p, 1, 10, (float)i / 4);
        OK(gx_grown_ask(&g, built, &ask, &answer, &err));
        ck_assert_uint_gt(answer.scanned, GX_MIN(before, (uint64_t)N)); /* but for a graph that is wholly looked at */
        ck_assert_float_eq_tol(answer.effort, (float)i / 4, 0.01f);
        before = answer.scanned;
    }
    struct gx_grown_answer answer;
    struct gx_engine_ask ask = ask_for(&p, 1, 10, -1);
    ask.effort.nprobe = 4;
    ck_assert_int_eq(gx_grown_ask(&g, built, &ask, &answer, &err), GX_E_INVALID);
}
END_TEST

START_TEST(several_probes_are_answered_as_each_alone)
{
    const float *probes[20];
    for (size_t i = 0; i < GX_COUNT_OF(probes); i++)
        probes[i] = gx_rows_floats(g.rows, (uint32_t)(i * 37));
    struct gx_arena arena;
    struct gx_engine_answer answers[GX_COUNT_OF(probes)];
    struct gx_engine_ask ask = ask_for(probes, GX_COUNT_OF(probes), 10, 0.3f);
    gx_arena_init(&arena, 1 << 20);
    OK(gx_engine_search(built, &ask, &arena, answers, &err));
    for (size_t i = 0; i < GX_COUNT_OF(probes); i++) {
        struct gx_grown_answer one;
        struct gx_engine_ask ask_one = ask_for(&probes[i], 1, 10, 0.3f);
        OK(gx_grown_ask(&g, built, &ask_one, &one, &err));
        ck_assert_uint_eq(one.n, answers[i].n);
        ck_assert_uint_eq(one.scanned, answers[i].scanned);
        ck_assert_mem_eq(one.hits, answers[i].hits, one.n * sizeof(one.hits[0]));
    }
    gx_arena_fini(&arena);
}
END_TEST

START_TEST(few_rows_are_all_found)
{
    static struct gx_grown few;
    gx_grown_begin(&few, DIM, 60, 60);
    struct gx_engine *engine = gx_grown_new(&few, 2);
    for (uint32_t n = 0; n <= 60; n++) {
        struct gx_grown_answer answer;
        gx_grown_search(&few, engine, gx_rows_floats(few.rows, 3), 100, 10, &answer);
        ck_assert_uint_eq(answer.n, n);
        ck_assert_uint_eq(gx_grown_unreachable(engine), 0);
        if (n < 60)
            gx_grown_add(&few, engine, n, n + 1);
    }
    gx_engine_unref(engine);
    gx_grown_end(&few);
}
END_TEST

/* --- filters --- */

static bool every_tenth(void *arg, const struct gx_rows *rows, uint32_t slot)
{
    size_t *asked = arg;
    ck_assert(gx_rows_is_visible(rows, slot));
    ++*asked;
    return slot % 10 == 3;
}

static bool none(void *arg, const struct gx_rows *rows, uint32_t slot)
{
    (void)arg, (void)rows, (void)slot;
    return false;
}

START_TEST(a_filter_lets_only_its_rows_through_and_misses_few)
{
    float probe[DIM];
    const float *p = probe;
    size_t n_true = 0, n_found = 0, asked = 0;
    for (size_t j = 0; j < 100; j++) {
        struct gx_grown_answer answer;
        struct gx_hit heap[GX_GROWN_K];
        struct gx_topk top;
        uint64_t scanned;
        gx_people_probe(&g.people, j, probe, NULL);
        struct gx_engine_ask ask = ask_for(&p, 1, 20, 0.4f);
        ask.pass = every_tenth;
        ask.pass_arg = &asked;
        OK(gx_grown_ask(&g, built, &ask, &answer, &err));
        ck_assert_uint_eq(answer.n, 20);
        for (size_t i = 0; i < answer.n; i++)
            ck_assert_uint_eq(answer.hits[i].slot % 10, 3);
        gx_topk_init(&top, heap, GX_GROWN_K, NULL, NULL);
        OK(gx_rows_scan(g.rows, 0, N, &p, 1, every_tenth, &asked, NULL, NULL, &top, &scanned, &err));
        n_true += gx_topk_sort(&top);
        for (size_t i = 0; i < GX_GROWN_K; i++)
            n_found += gx_grown_holds(&answer, heap[i].slot);
    }
    ck_assert_double_ge((double)n_found / (double)n_true, 0.99);
    struct gx_grown_answer answer;
    struct gx_engine_ask ask = ask_for(&p, 1, 20, 0.4f);
    ask.pass = none;
    OK(gx_grown_ask(&g, built, &ask, &answer, &err));
    ck_assert_uint_eq(answer.n, 0);
}
END_TEST

START_TEST(what_is_not_visible_is_not_proposed)
{
    for (uint32_t slot = 0; slot < N; slot += 3)
        ck_assert(gx_rows_hide(g.rows, slot)); /* dead, but not removed from the engine yet */
    for (int quarantine = 0; quarantine <= 1; quarantine++) {
        for (uint32_t slot = 1; quarantine == 1 && slot < N; slot += 3)
            ck_assert(gx_rows_quarantine(g.rows, slot));
        for (uint32_t row = 0; row < N; row += 7) {
            struct gx_grown_answer answer;
            gx_grown_search(&g, built, g.floats + (size_t)row * DIM, 20, 64, &answer);
            for (size_t i = 0; i < answer.n; i++)
                ck_assert(gx_rows_is_visible(g.rows, answer.hits[i].slot));
            ck_assert_uint_ge(answer.n, quarantine == 1 ? 20 : 10);
            ck_assert(!gx_rows_is_visible(g.rows, row) || answer.hits[0].slot == row);
        }
    }
}
END_TEST

/* --- limits --- */

static bool at_the_third(void *arg)
{
    return ++*(int *)arg >= 3;
}

START_TEST(a_search_stops_when_told_to)
{
    const float *p = gx_rows_floats(g.rows, 0);
    struct gx_grown_answer answer;
    struct gx_engine_ask ask = ask_for(&p, 1, 10, 1);
    int asked = 0;
    ask.stop = at_the_third;
    ask.stop_arg = &asked;
    ck_assert_int_eq(gx_grown_ask(&g, built, &ask, &answer, &err), GX_E_CANCELLED);
    ck_assert_int_eq(asked, 3);
    ck_assert_uint_eq(gx_grown_lost(&g, built, 64, 50), 0); /* the next ones are not in the way of it */
}
END_TEST

START_TEST(a_search_without_memory_says_so)
{
    const float *p = gx_rows_floats(g.rows, 0);
    struct gx_arena arena;
    struct gx_engine_answer answer;
    struct gx_engine_ask ask = ask_for(&p, 1, 1000, 0.5f);
    for (size_t limit = 64; limit < 12000; limit += 4000) {
        gx_arena_init(&arena, limit);
        ck_assert_int_eq(gx_engine_search(built, &ask, &arena, &answer, &err), GX_E_TOO_LARGE);
        gx_arena_fini(&arena);
    }
}
END_TEST

START_TEST(rows_come_once_in_order_and_all_or_none)
{
    static struct gx_grown few;
    gx_grown_begin(&few, DIM, 10, 8);
    struct gx_engine *engine = gx_grown_new(&few, 1);
    gx_grown_add(&few, engine, 0, 4);
    static const uint64_t wrong[][3] = {{9, 11, 10}, {9, 9, 11}, {11, 9, 13}, {7, 9, 11}, {1, 3, 5}, {9, 11, 19}};
    for (size_t i = 0; i < GX_COUNT_OF(wrong); i++) {
        struct gx_engine_stats stats;
        ck_assert_int_eq(gx_engine_add(engine, wrong[i], few.floats, 3, &err), GX_E_INVALID);
        gx_engine_stats(engine, &stats);
        ck_assert_uint_eq(stats.entries, 4);
    }
    OK(gx_engine_add(engine, NULL, NULL, 0, &err));
    gx_grown_add(&few, engine, 4, 8);
    ck_assert_uint_eq(gx_grown_lost(&few, engine, 32, 1), 0);
    gx_engine_unref(engine);
    gx_grown_end(&few);
}
END_TEST

START_TEST(a_row_of_512_values_takes_at_most_800_bytes)
{
    static struct gx_grown wide;
    struct gx_engine_stats before, after;
    gx_grown_begin(&wide, 512, 2000, 2000);
    struct gx_engine *engine = gx_grown_new(&wide, 2);
    gx_grown_add(&wide, engine, 0, 500);
    gx_engine_stats(engine, &before);
    gx_grown_add(&wide, engine, 500, 2000);
    gx_engine_stats(engine, &after);
    ck_assert_uint_eq(after.entries, 2000);
    ck_assert_uint_ge((after.index_bytes - before.index_bytes) / 1500, 512 + 4 + 256);
    ck_assert_uint_le((after.index_bytes - before.index_bytes) / 1500, 800);
    gx_engine_unref(engine);
    gx_grown_end(&wide);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("engine_hnsw");
    TCase *t = tcase_create("all");
    tcase_add_unchecked_fixture(t, begin, end);
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, every_row_finds_itself);
    tcase_add_test(t, little_is_missed);
    tcase_add_test(t, several_threads_build_as_well);
    tcase_add_test(t, it_does_not_matter_where_in_a_row_the_face_is);
    tcase_add_test(t, equal_rows_are_not_in_the_way_and_all_found);
    tcase_add_test(t, hits_come_once_best_first_with_scores_that_are_about_right);
    tcase_add_test(t, more_effort_looks_at_more);
    tcase_add_test(t, several_probes_are_answered_as_each_alone);
    tcase_add_test(t, few_rows_are_all_found);
    tcase_add_test(t, a_filter_lets_only_its_rows_through_and_misses_few);
    tcase_add_test(t, what_is_not_visible_is_not_proposed);
    tcase_add_test(t, a_search_stops_when_told_to);
    tcase_add_test(t, a_search_without_memory_says_so);
    tcase_add_test(t, rows_come_once_in_order_and_all_or_none);
    tcase_add_test(t, a_row_of_512_values_takes_at_most_800_bytes);
    suite_add_tcase(s, t);
    return gx_suite_run(s);
}
