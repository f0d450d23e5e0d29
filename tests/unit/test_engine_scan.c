/* Promises of the `scan` engine, and of the exact answer from int8 codes. */
#include "engine.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "crew.h"
#include "native.h"
#include "simd.h"
#include "suite.h"

#define SEED 4711
#define DIM  128
#define N    6000

static struct gx_native native;
static struct gx_engine *engine;
static struct gx_err err;

static void begin(void)
{
    gx_native_begin(&native, SEED, DIM, N);
    gx_native_append(&native, N);
    engine = gx_native_engine(&native, "scan");
    gx_native_add(&native, engine, 0, N);
}

static void end(void)
{
    gx_engine_unref(engine);
    gx_native_end(&native);
}

static bool holds(const struct gx_engine_answer *answer, uint32_t slot)
{
    for (size_t i = 0; i < answer->n; i++)
        if (answer->hits[i].slot == slot)
            return true;
    return false;
}

START_TEST(scan_finds_what_the_exact_search_finds)
{
    double at_default = gx_native_recall(&native, engine, 50, 0.5f, 100);
    ck_assert_msg(at_default >= 0.998, "seed %d: recall@50 %.4f", SEED, at_default);
    ck_assert(gx_native_recall(&native, engine, 50, 1, 100) == 1);
    ck_assert(gx_native_recall(&native, engine, 10, 0.5f, 100) >= 0.9995);
    ck_assert(gx_native_recall(&native, engine, 50, 0, 100) >= 0.9);
}
END_TEST

/* --- exact --- */

static bool passes_third(void *arg, const struct gx_rows *rows, uint32_t slot)
{
    (void)rows;
    return slot % 3 == *(const uint32_t *)arg;
}

static void check_certified(const float *const *probes, size_t n_probes, size_t k, gx_rows_pass *pass, void *arg)
{
    struct gx_engine_answer answers[20];
    struct gx_engine_ask ask = {.probes = probes,
                                .n_probes = n_probes,
                                .n_wanted = k,
                                .until = UINT32_MAX,
                                .certified = true,
                                .pass = pass,
                                .pass_arg = arg};
    gx_native_ask(&native, engine, &ask, answers);
    for (size_t p = 0; p < n_probes; p++) {
        uint32_t truth[GX_NATIVE_K_MAX];
        size_t n = gx_native_truth(&native, probes[p], k, pass, arg, truth);
        for (size_t i = 0; i < n; i++)
            ck_assert_msg(holds(&answers[p], truth[i]), "seed %d, probe %zu of %zu, k %zu: place %zu is missing", SEED,
                          p, n_probes, k, i);
        ck_assert(answers[p].complete);
        for (size_t i = 0; i < answers[p].n; i++)
            ck_assert(gx_rows_is_visible(native.rows, answers[p].hits[i].slot) &&
                      (pass == NULL || pass(arg, native.rows, answers[p].hits[i].slot)));
    }
}

START_TEST(certified_candidates_hold_the_exact_best_for_any_k_batch_and_filter)
{
    static const size_t ks[] = {1, 2, 50, 200}, batches[] = {1, 3, 8, 20};
    static float probes[20][DIM];
    const float *pointers[20];
    for (size_t p = 0; p < 20; p++) {
        gx_native_probe(&native, 1000 + p, probes[p]);
        pointers[p] = probes[p];
    }
    for (size_t b = 0; b < GX_COUNT_OF(batches); b++)
        for (size_t k = 0; k < GX_COUNT_OF(ks); k++) {
            uint32_t third = 1;
            check_certified(pointers, batches[b], ks[k], NULL, NULL);
            check_certified(pointers, batches[b], ks[k], passes_third, &third);
        }
}
END_TEST

START_TEST(certified_candidates_are_few)
{
    float probe[DIM];
    const float *probes[] = {probe};
    uint64_t n = 0;
    for (uint64_t p = 0; p < 50; p++) {
        struct gx_engine_answer answer;
        struct gx_engine_ask ask = {
            .probes = probes, .n_probes = 1, .n_wanted = 10, .until = UINT32_MAX, .certified = true};
        gx_native_probe(&native, p, probe);
        gx_native_ask(&native, engine, &ask, &answer);
        n += answer.n;
        ck_assert_uint_eq(answer.scanned, N);
    }
    ck_assert_msg(n < UINT64_C(50) * N / 20, "%llu rows for 50 probes", (unsigned long long)n);
}
END_TEST

/* Rows that differ by less than a code can tell. */
START_TEST(certified_candidates_hold_the_best_among_rows_that_are_nearly_alike)
{
    float row[DIM], probe[DIM];
    const float *probes[] = {probe};
    struct gx_native alike;
    gx_native_begin(&alike, SEED, DIM, 1);
    gx_native_probe(&alike, 5, probe);
    for (uint64_t i = 0; i < 2000; i++) {
        double norm;
        memcpy(row, probe, sizeof(row));
        row[i % DIM] += (float)(i % 97) * 1e-5f;
        norm = sqrt(gx_simd_dot(row, row, DIM));
        for (size_t j = 0; j < DIM; j++)
            row[j] = (float)(row[j] / norm);
        ck_assert_int_eq(gx_rows_append(alike.rows, row, &(struct gx_row){.rno = gx_native_rno(i)}, &err), GX_OK);
    }
    gx_rows_publish(alike.rows);
    struct gx_native kept = native;
    struct gx_engine *kept_engine = engine;
    native = alike;
    engine = gx_native_engine(&native, "scan");
    gx_native_add(&native, engine, 0, 2000);
    check_certified(probes, 1, 20, NULL, NULL);
    gx_engine_unref(engine);
    gx_native_end(&native);
    native = kept;
    engine = kept_engine;
}
END_TEST

/* --- removal, filters, bounds --- */

START_TEST(removed_and_quarantined_rows_are_not_proposed_and_cost_no_place)
{
    uint64_t removed[N / 2];
    float probe[DIM];
    const float *probes[] = {probe};
    for (uint64_t i = 0; i < N / 2; i++)
        removed[i] = 2 * i;
    gx_native_remove(&native, engine, removed, N / 2);
    for (uint32_t slot = 1; slot < N; slot += 8)
        ck_assert(gx_rows_quarantine(native.rows, slot));
    struct gx_engine_stats stats;
    gx_engine_stats(engine, &stats);
    ck_assert_uint_eq(stats.entries, N / 2);
    for (uint64_t p = 0; p < 20; p++) {
        struct gx_engine_answer answer;
        struct gx_engine_ask ask = {
            .probes = probes, .n_probes = 1, .n_wanted = 100, .effort = {.effort = 0.5f}, .until = UINT32_MAX};
        gx_native_probe(&native, p, probe);
        gx_native_ask(&native, engine, &ask, &answer);
        ck_assert_uint_eq(answer.n, 100);
        for (size_t i = 0; i < answer.n; i++)
            ck_assert(answer.hits[i].slot % 2 == 1 && answer.hits[i].slot % 8 != 1);
    }
    ck_assert(gx_native_recall(&native, engine, 50, 0.5f, 50) >= 0.998);
}
END_TEST

START_TEST(engine_whose_rows_are_all_gone_proposes_nothing)
{
    uint64_t all[N];
    float probe[DIM];
    const float *probes[] = {probe};
    for (uint64_t i = 0; i < N; i++)
        all[i] = i;
    gx_native_remove(&native, engine, all, N);
    gx_native_probe(&native, 3, probe);
    for (size_t n_wanted = 0; n_wanted < 2; n_wanted++)
        for (int certified = 0; certified < 2; certified++) {
            struct gx_engine_answer answer;
            struct gx_engine_ask ask = {.probes = probes,
                                        .n_probes = 1,
                                        .n_wanted = n_wanted,
                                        .effort = {.effort = 0.5f},
                                        .until = UINT32_MAX,
                                        .certified = certified};
            gx_native_ask(&native, engine, &ask, &answer);
            ck_assert_uint_eq(answer.n, 0);
        }
}
END_TEST

START_TEST(filter_costs_no_recall_and_a_short_answer_says_that_it_is_complete)
{
    float probe[DIM];
    const float *probes[] = {probe};
    uint32_t third = 2, truth[50];
    for (uint64_t p = 0; p < 20; p++) {
        struct gx_engine_answer answer;
        struct gx_engine_ask ask = {.probes = probes,
                                    .n_probes = 1,
                                    .n_wanted = 100,
                                    .effort = {.effort = 0.5f},
                                    .until = UINT32_MAX,
                                    .pass = passes_third,
                                    .pass_arg = &third};
        gx_native_probe(&native, p, probe);
        gx_native_ask(&native, engine, &ask, &answer);
        ck_assert_uint_eq(answer.n, 100);
        ck_assert(!answer.complete);
        size_t missing = 0, n = gx_native_truth(&native, probe, 50, passes_third, &third, truth);
        for (size_t i = 0; i < n; i++)
            missing += !holds(&answer, truth[i]);
        ck_assert_uint_le(missing, 1);
        ask.until = 90; /* 30 rows pass */
        gx_native_ask(&native, engine, &ask, &answer);
        ck_assert_uint_eq(answer.n, 30);
        ck_assert(answer.complete);
    }
}
END_TEST

START_TEST(slots_from_until_on_are_left_to_others)
{
    float probe[DIM];
    const float *probes[] = {probe};
    static const uint32_t bounds[] = {1, 63, 64, 65, 1000, N - 1};
    gx_native_probe(&native, 3, probe);
    for (size_t b = 0; b < GX_COUNT_OF(bounds); b++)
        for (int certified = 0; certified < 2; certified++) {
            struct gx_engine_answer answer;
            struct gx_engine_ask ask = {.probes = probes,
                                        .n_probes = 1,
                                        .n_wanted = N,
                                        .effort = {.effort = 1},
                                        .until = bounds[b],
                                        .certified = certified};
            gx_native_ask(&native, engine, &ask, &answer);
            ck_assert_uint_eq(answer.n, bounds[b]);
            ck_assert_uint_eq(answer.scanned, bounds[b]);
            for (size_t i = 0; i < answer.n; i++)
                ck_assert_uint_lt(answer.hits[i].slot, bounds[b]);
        }
}
END_TEST

static bool stop_at_once(void *arg)
{
    (void)arg;
    return true;
}

START_TEST(search_that_nobody_waits_for_any_more_ends)
{
    float probe[DIM];
    const float *probes[] = {probe};
    gx_native_probe(&native, 3, probe);
    for (int certified = 0; certified < 2; certified++) {
        struct gx_engine_answer answer;
        struct gx_engine_ask ask = {.probes = probes,
                                    .n_probes = 1,
                                    .n_wanted = 10,
                                    .effort = {.effort = 0.5f},
                                    .until = UINT32_MAX,
                                    .certified = certified,
                                    .stop = stop_at_once};
        gx_arena_reset(&native.arena);
        ck_assert_int_eq(gx_engine_search(engine, &ask, &native.arena, &answer, &err), GX_E_CANCELLED);
    }
}
END_TEST

START_TEST(knobs_of_other_engines_are_refused)
{
    static const struct gx_engine_effort bad[] = {{-1, 4, 0}, {-1, 0, 4}, {1.5f, 0, 0}, {NAN, 0, 0}, {0.5f, 1, 0}};
    float probe[DIM];
    const float *probes[] = {probe};
    gx_native_probe(&native, 3, probe);
    for (size_t i = 0; i < GX_COUNT_OF(bad); i++) {
        struct gx_engine_answer answer;
        struct gx_engine_ask ask = {
            .probes = probes, .n_probes = 1, .n_wanted = 10, .effort = bad[i], .until = UINT32_MAX};
        gx_arena_reset(&native.arena);
        ck_assert_int_eq(gx_engine_search(engine, &ask, &native.arena, &answer, &err), GX_E_INVALID);
    }
}
END_TEST

/* --- the crew --- */

static bool same(const struct gx_engine_answer *a, const struct gx_engine_answer *b)
{
    if (a->n != b->n || a->scanned != b->scanned)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->hits[i].slot != b->hits[i].slot || a->hits[i].approx_score != b->hits[i].approx_score)
            return false;
    return true;
}

struct searcher {
    pthread_t thread;
    const struct gx_engine_ask *ask;
    const struct gx_engine_answer *expected;
    unsigned wrong;
};

static void *search_again(void *arg)
{
    struct searcher *s = arg;
    struct gx_arena arena;
    gx_arena_init(&arena, (size_t)64 << 20);
    for (int turn = 0; turn < 20; turn++) {
        struct gx_engine_answer answers[8];
        gx_arena_reset(&arena);
        if (gx_engine_search(engine, s->ask, &arena, answers, NULL) != GX_OK) {
            s->wrong++;
            continue;
        }
        for (size_t i = 0; i < s->ask->n_probes; i++)
            s->wrong += !same(&answers[i], &s->expected[i]);
    }
    gx_arena_fini(&arena);
    return NULL;
}

START_TEST(answers_are_the_same_with_helpers_alone_and_beside_others)
{
    static float probes[8][DIM];
    const float *pointers[8];
    struct gx_engine_answer alone[8];
    struct searcher searchers[3];
    for (size_t p = 0; p < 8; p++) {
        gx_native_probe(&native, p, probes[p]);
        pointers[p] = probes[p];
    }
    struct gx_engine_ask ask = {
        .probes = pointers, .n_probes = 8, .n_wanted = 100, .effort = {.effort = 0.5f}, .until = UINT32_MAX};
    gx_native_ask(&native, engine, &ask, alone);
    ck_assert_int_eq(gx_crew_start(4, &err), GX_OK);
    ck_assert_uint_eq(gx_crew_members(), 4);
    for (size_t i = 0; i < GX_COUNT_OF(searchers); i++) {
        searchers[i] = (struct searcher){.ask = &ask, .expected = alone};
        ck_assert_int_eq(pthread_create(&searchers[i].thread, NULL, search_again, &searchers[i]), 0);
    }
    for (size_t i = 0; i < GX_COUNT_OF(searchers); i++) {
        pthread_join(searchers[i].thread, NULL);
        ck_assert_uint_eq(searchers[i].wrong, 0);
    }
    gx_crew_stop();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine_scan");
    TCase *tc = tcase_create("engine_scan");
    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, scan_finds_what_the_exact_search_finds);
    tcase_add_test(tc, certified_candidates_hold_the_exact_best_for_any_k_batch_and_filter);
    tcase_add_test(tc, certified_candidates_are_few);
    tcase_add_test(tc, certified_candidates_hold_the_best_among_rows_that_are_nearly_alike);
    tcase_add_test(tc, removed_and_quarantined_rows_are_not_proposed_and_cost_no_place);
    tcase_add_test(tc, engine_whose_rows_are_all_gone_proposes_nothing);
    tcase_add_test(tc, filter_costs_no_recall_and_a_short_answer_says_that_it_is_complete);
    tcase_add_test(tc, slots_from_until_on_are_left_to_others);
    tcase_add_test(tc, search_that_nobody_waits_for_any_more_ends);
    tcase_add_test(tc, knobs_of_other_engines_are_refused);
    tcase_add_test(tc, answers_are_the_same_with_helpers_alone_and_beside_others);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
