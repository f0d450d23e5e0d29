/* Promises of engine.h for the hnsw engine: rows that go, and what is left. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "codes.h"
#include "grown.h"
#include "suite.h"

#define DIM    64
#define N      GX_GROWN_ROWS(6400)
#define HALF   (N / 2)
#define PROBES 300
#define EF     128
#define SLACK  0.002 /* of recall: two graphs of the same rows differ as much */

static struct gx_grown g; /* HALF rows published, the rest to come */
static struct gx_engine *built;
static struct gx_err err;

#define OK(call) ck_assert_msg((call) == GX_OK, "seed %d: %s", GX_GROWN_SEED, err.text)

/* Once for all tests, each of which frees its copy. */
static void begin(void)
{
    if (built != NULL)
        return;
    gx_grown_begin(&g, DIM, N, HALF);
    built = gx_grown_built(&g, 2);
}

static void end(void)
{
    gx_engine_unref(built);
    gx_grown_end(&g);
    built = NULL;
}

/* What is left answers as an index that never held anything else. */
static void check_as_good_as_new(void)
{
    struct gx_engine_stats stats;
    gx_engine_stats(built, &stats);
    ck_assert_uint_eq(stats.entries, gx_rows_live(g.rows));
    ck_assert_uint_eq(gx_grown_unreachable(built), 0);
    ck_assert_uint_eq(gx_grown_lost(&g, built, EF, 1), 0);
    struct gx_engine *fresh = gx_grown_built(&g, 2);
    double recall = gx_grown_recall(&g, built, EF, PROBES), wanted = gx_grown_recall(&g, fresh, EF, PROBES);
    ck_assert_msg(recall >= wanted - SLACK, "recall %.4f, of a new index %.4f", recall, wanted);
    gx_engine_unref(fresh);
}

START_TEST(a_tenth_removed_at_once)
{
    gx_grown_remove(&g, built, 0, HALF, 10, 1, SIZE_MAX);
    check_as_good_as_new();
}
END_TEST

START_TEST(half_removed_at_once)
{
    gx_grown_remove(&g, built, 0, HALF, 50, 1, SIZE_MAX);
    check_as_good_as_new();
}
END_TEST

START_TEST(half_removed_piece_by_piece)
{
    gx_grown_remove(&g, built, 0, HALF, 50, 1, 40);
    check_as_good_as_new();
}
END_TEST

START_TEST(half_removed_by_several_threads)
{
    built->threads = 3;
    gx_grown_publish(&g, N); /* a sweep is shared from some size on only */
    gx_grown_add(&g, built, HALF, N);
    gx_grown_remove(&g, built, 0, N, 50, 1, 1000);
    check_as_good_as_new();
}
END_TEST

START_TEST(half_of_the_rows_replaced)
{
    for (uint32_t from = 0; from < HALF; from += HALF / 10) {
        gx_grown_remove(&g, built, from, from + HALF / 10, 50, 1, 100);
        gx_grown_publish(&g, HALF + from / 2 + HALF / 20);
        gx_grown_add(&g, built, HALF + from / 2, HALF + from / 2 + HALF / 20);
    }
    check_as_good_as_new();
}
END_TEST

START_TEST(whole_regions_removed)
{
    gx_grown_remove(&g, built, 0, HALF - 200, 100, 1, 700); /* nearly all that anything was linked to */
    check_as_good_as_new();
    gx_grown_publish(&g, N);
    gx_grown_add(&g, built, HALF, N);
    check_as_good_as_new();
}
END_TEST

START_TEST(removed_rows_are_never_proposed)
{
    uint64_t rnos[HALF / 5];
    size_t n = 0, n_removed;
    for (uint32_t slot = 2; slot < HALF; slot += 5) /* alive in the rows: it is the engine that leaves them out */
        rnos[n++] = gx_grown_rno(slot);
    OK(gx_engine_remove(built, rnos, n, &n_removed, &err));
    ck_assert_uint_eq(n_removed, n);
    for (int wiped = 0; wiped <= 1; wiped++) {
        for (uint32_t slot = 0; slot < HALF; slot++) {
            struct gx_grown_answer answer;
            gx_grown_search(&g, built, gx_rows_floats(g.rows, slot), 20, EF, &answer);
            ck_assert_uint_eq(answer.n, 20);
            for (size_t i = 0; i < answer.n; i++)
                ck_assert_uint_ne(answer.hits[i].slot % 5, 2);
        }
        gx_engine_wipe(built, rnos, n);
    }
}
END_TEST

START_TEST(unknown_and_repeated_rows_do_no_harm)
{
    const uint64_t rnos[] = {0, 2, 1, 7, 1, 4000000, 7, gx_grown_rno(HALF), UINT64_MAX};
    struct gx_engine_stats stats;
    size_t n_removed;
    OK(gx_engine_remove(built, rnos, 0, &n_removed, &err));
    ck_assert_uint_eq(n_removed, 0);
    for (int again = 0; again <= 1; again++) {
        OK(gx_engine_remove(built, rnos, GX_COUNT_OF(rnos), &n_removed, &err));
        ck_assert_uint_eq(n_removed, again ? 0 : 2);
        gx_engine_stats(built, &stats);
        ck_assert_uint_eq(stats.entries, HALF - 2);
        gx_engine_wipe(built, rnos, GX_COUNT_OF(rnos));
    }
    gx_rows_hide(g.rows, 0);
    gx_rows_hide(g.rows, 3);
    ck_assert_uint_eq(gx_grown_lost(&g, built, EF, 1), 0);
}
END_TEST

START_TEST(an_index_can_be_emptied_and_filled_again)
{
    struct gx_grown_answer answer;
    gx_grown_remove(&g, built, 0, HALF, 100, 1, 1000);
    gx_grown_search(&g, built, g.floats, 10, EF, &answer);
    ck_assert_uint_eq(answer.n, 0);
    ck_assert_uint_eq(gx_grown_unreachable(built), 0);
    gx_grown_publish(&g, N);
    gx_grown_add(&g, built, HALF, N);
    check_as_good_as_new();
}
END_TEST

/* --- what stays in memory --- */

#ifndef GX_GROWN_SANITIZED /* they keep freed memory for later */
#define MASK 0x5a

/* How often the code stands in writable memory of this process; it is masked, or this would find itself. */
static size_t count_in_memory(const uint8_t masked[DIM])
{
    FILE *maps = fopen("/proc/self/maps", "r");
    ck_assert_ptr_nonnull(maps);
    static struct {
        uintptr_t from, until;
    } ranges[4096];
    size_t n = 0, count = 0;
    char line[512];
    while (fgets(line, sizeof(line), maps) != NULL && n < GX_COUNT_OF(ranges))
        if (strstr(line, " rw-p ") != NULL && sscanf(line, "%lx-%lx", &ranges[n].from, &ranges[n].until) == 2)
            n += ranges[n].until - ranges[n].from < (uintptr_t)1 << 26; /* larger ones only have room for addresses */
    fclose(maps);
    for (size_t i = 0; i < n; i++)
        for (uintptr_t at = ranges[i].from; at + DIM <= ranges[i].until; at += 8) {
            const volatile uint8_t *p = (const volatile uint8_t *)at;
            size_t same = 0;
            while (same < DIM && (p[same] ^ MASK) == masked[same])
                same++;
            count += same == DIM;
        }
    return count;
}

START_TEST(the_index_keeps_no_code_of_a_removed_row)
{
    struct gx_codes *codes;
    uint8_t masked[DIM];
    OK(gx_codes_new(DIM, GX_CODES_INT8, &codes, &err));
    OK(gx_codes_reserve(codes, 1, &err));
    gx_codes_put(codes, 0, gx_rows_floats(g.rows, 77));
    for (size_t i = 0; i < DIM; i++)
        masked[i] = (uint8_t)gx_codes_int8(codes, 0)[i] ^ MASK;
    ck_assert_uint_eq(count_in_memory(masked), 2);
    gx_codes_free(codes);
    struct gx_grown_answer answer;
    gx_grown_search(&g, built, gx_rows_floats(g.rows, 77), 20, EF, &answer);
    ck_assert_uint_eq(answer.hits[0].slot, 77);
    ck_assert_uint_eq(count_in_memory(masked), 1);
    uint64_t rno = gx_grown_rno(77);
    size_t n_removed;
    OK(gx_engine_remove(built, &rno, 1, &n_removed, &err));
    gx_engine_wipe(built, &rno, 1);
    ck_assert_uint_eq(count_in_memory(masked), 0);
}
END_TEST
#endif

int main(void)
{
    Suite *s = suite_create("engine_hnsw_remove");
    TCase *t = tcase_create("all");
    tcase_add_unchecked_fixture(t, begin, end);
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, a_tenth_removed_at_once);
    tcase_add_test(t, half_removed_at_once);
    tcase_add_test(t, half_removed_piece_by_piece);
    tcase_add_test(t, half_removed_by_several_threads);
    tcase_add_test(t, half_of_the_rows_replaced);
    tcase_add_test(t, whole_regions_removed);
    tcase_add_test(t, removed_rows_are_never_proposed);
    tcase_add_test(t, unknown_and_repeated_rows_do_no_harm);
    tcase_add_test(t, an_index_can_be_emptied_and_filled_again);
#ifndef GX_GROWN_SANITIZED
    tcase_add_test(t, the_index_keeps_no_code_of_a_removed_row);
#endif
    suite_add_tcase(s, t);
    return gx_suite_run(s);
}
