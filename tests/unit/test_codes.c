/* Promises of codes.h. */
#include "codes.h"

#include <check.h>
#include <indexd/limits.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "random.h"
#include "simd.h"
#include "suite.h"

#define SEED 31
#define BOTH (GX_CODES_INT8 | GX_CODES_2BIT)

static const size_t dims[] = {2, 3, 63, 64, 65, 100, 128, 200, 512, 768, 1000, 4096};
static uint64_t random_state = SEED;
static struct gx_err err;
static struct gx_arena arena;

#define FOR_EACH_LEVEL(level)                                                                                          \
    for (enum gx_simd_level level = GX_SIMD_PORTABLE; level <= gx_simd_best() && (gx_simd_use(level), true); level++)

static void set_up(void)
{
    gx_arena_init(&arena, (size_t)64 << 20);
}

static void tear_down(void)
{
    gx_arena_fini(&arena);
    gx_simd_use(gx_simd_best());
}

static struct gx_codes *new_codes(size_t dim, unsigned kinds, uint32_t until)
{
    struct gx_codes *codes;
    ck_assert_int_eq(gx_codes_new(dim, kinds, &codes, &err), GX_OK);
    ck_assert_int_eq(gx_codes_reserve(codes, until, &err), GX_OK);
    return codes;
}

static struct gx_codes_probe new_probe(const struct gx_codes *codes, const float *row)
{
    struct gx_codes_probe probe;
    ck_assert_int_eq(gx_codes_probe(codes, row, &arena, &probe, &err), GX_OK);
    return probe;
}

/* ---------------------------------------------------------------- rows */

static float uniform(void) /* -1..1 */
{
    return (float)((double)(gx_random_next(&random_state) >> 11) / 4503599627370496.0 - 1);
}

static float normal(void) /* nearly */
{
    float sum = 0;
    for (int i = 0; i < 12; i++)
        sum += uniform();
    return sum / 2;
}

static void to_unit(float *row, size_t dim)
{
    double length = sqrt(gx_simd_dot(row, row, dim));
    for (size_t i = 0; i < dim; i++)
        row[i] = (float)((double)row[i] / length);
}

enum kind { NORMAL, UNIFORM, ONE_VALUE, CONSTANT, HALVES, TINY_BUT_ONE, STEEP, NEAR, N_KINDS };

/* A unit row of one kind; NEAR is close to @near. */
static void fill(float *row, size_t dim, enum kind kind, const float *near)
{
    size_t one = gx_random_next(&random_state) % dim;
    for (size_t i = 0; i < dim; i++)
        switch (kind) {
        case NORMAL: row[i] = normal(); break;
        case UNIFORM: row[i] = uniform(); break;
        case ONE_VALUE: row[i] = i == one ? -1 : 0; break;
        case CONSTANT: row[i] = 1; break;
        case HALVES: row[i] = i == one ? 127 : (float)(gx_random_next(&random_state) % 3) + 0.5f; break;
        case TINY_BUT_ONE: row[i] = i == one ? 1 : 1e-41f; break;
        case STEEP: row[i] = uniform() / (float)(i * i + 1); break;
        default: row[i] = near[i] + 0.3f * normal() / sqrtf((float)dim);
        }
    if (dim > 1 && kind == NORMAL)
        row[one] += 1e-3f; /* never all zero */
    to_unit(row, dim);
}

/* ---------------------------------------------------------------- accuracy */

#define N_ROWS 64

static double worst_of_bound; /* largest share of the bound that an error took */

static void check_bound(struct gx_codes *codes, const float *rows, const float *probe_row)
{
    float scores[N_ROWS], errors[N_ROWS], *out[1] = {scores};
    struct gx_codes_probe probe = new_probe(codes, probe_row);
    gx_codes_score_int8(codes, &probe, 1, 0, N_ROWS, out);
    gx_codes_errors(codes, 0, N_ROWS, errors);
    for (uint32_t i = 0; i < N_ROWS; i++) {
        double exact = gx_simd_dot(rows + i * codes->dim, probe_row, codes->dim);
        double error = fabs(exact - (double)scores[i]);
        float bound = gx_codes_bound(codes, &probe, i), reaches = scores[i] + bound;
        ck_assert_msg(error <= (double)bound, "seed %d: error %g is above %g: %zu-d, row %u", SEED, error,
                      (double)bound, codes->dim, i);
        ck_assert(gx_codes_reach(&probe, scores, errors, N_ROWS, reaches) >> i & 1);
        ck_assert(~gx_codes_reach(&probe, scores, errors, N_ROWS, nextafterf(reaches, INFINITY)) >> i & 1);
        worst_of_bound = fmax(worst_of_bound, error / (double)bound);
    }
}

/* The direction in which row @slot differs most from its code. */
static bool left_out(const struct gx_codes *codes, const float *row, uint32_t slot, float *out)
{
    bool any = false;
    for (size_t i = 0; i < codes->dim; i++) {
        out[i] = row[i] - gx_codes_scale(codes, slot) * (float)gx_codes_int8(codes, slot)[i];
        any = any || out[i] != 0;
    }
    if (any)
        to_unit(out, codes->dim);
    return any;
}

START_TEST(no_int8_score_is_further_off_than_its_bound)
{
    static float rows[N_ROWS * GX_DIM_MAX], probe[GX_DIM_MAX];
    for (size_t d = 0; d < GX_COUNT_OF(dims); d++) {
        struct gx_codes *codes = new_codes(dims[d], GX_CODES_INT8, N_ROWS);
        for (uint32_t i = 0; i < N_ROWS; i++) {
            float *row = rows + i * dims[d];
            fill(row, dims[d], (enum kind)(i % N_KINDS), rows);
            gx_codes_put(codes, i, row);
        }
        for (int p = 0; p < 4 * N_KINDS; p++) {
            fill(probe, dims[d], (enum kind)(p % N_KINDS), rows + (size_t)p * dims[d]);
            check_bound(codes, rows, probe);
        }
        for (uint32_t i = 0; i < N_ROWS / 4; i++)
            if (left_out(codes, rows + i * dims[d], i, probe))
                check_bound(codes, rows, probe);
        gx_codes_free(codes);
    }
    ck_assert_double_gt(worst_of_bound, 0.5); /* the bound is not empty either */
}
END_TEST

/* Scores by 2-bit codes of slots [@slot, @slot + @n): the scan of signs, then the rest. */
static void score_2bit(const struct gx_codes *codes, const struct gx_codes_probe *probe, uint32_t slot, size_t n,
                       float *out)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t sums[64];
        uint32_t at = slot + (uint32_t)i;
        (void)gx_codes_scan_signs(codes, probe, at / 64 * 64, 0, sums);
        gx_codes_rescore_2bit(codes, probe, &at, &sums[at % 64], 1, out + i);
    }
}

/* All bits of a slot's 2-bit code, the signs first: [bits_n / 4]. */
static const uint8_t *both_bits(const struct gx_codes *codes, uint32_t slot, uint8_t out[GX_DIM_MAX / 4])
{
    const uint8_t *signs = gx_codes_signs(codes, slot);
    for (size_t j = 0; j < codes->bits_n / 8; j++)
        out[j] = signs[64 * j];
    memcpy(out + codes->bits_n / 8, gx_codes_bits(codes, slot), codes->bits_n / 8);
    return out;
}

static void assert_same_bits(const struct gx_codes *a, uint32_t slot, const struct gx_codes *b, uint32_t other)
{
    uint8_t x[GX_DIM_MAX / 4], y[GX_DIM_MAX / 4];
    ck_assert_mem_eq(both_bits(a, slot, x), both_bits(b, other, y), a->bits_n / 4);
}

/* Root mean square of the errors of @n x 8 scores, of strangers or of neighbours. */
static void measure(bool near, double *out_int8, double *out_2bit)
{
    enum { DIM = 512, N = 512 };
    static float rows[N][DIM], probe_rows[8][DIM], int8_scores[8][N], bits_scores[8][N];
    float *int8_out[8];
    struct gx_codes_probe probes[8];
    struct gx_codes *codes = new_codes(DIM, BOTH, N);
    double int8_sum = 0, bits_sum = 0;
    for (size_t p = 0; p < 8; p++) {
        fill(probe_rows[p], DIM, NORMAL, NULL);
        probes[p] = new_probe(codes, probe_rows[p]);
        int8_out[p] = int8_scores[p];
    }
    for (uint32_t i = 0; i < N; i++) {
        fill(rows[i], DIM, near ? NEAR : NORMAL, probe_rows[i % 8]);
        gx_codes_put(codes, i, rows[i]);
    }
    gx_codes_score_int8(codes, probes, 8, 0, N, int8_out);
    for (size_t p = 0; p < 8; p++)
        score_2bit(codes, &probes[p], 0, N, bits_scores[p]);
    for (size_t p = 0; p < 8; p++)
        for (size_t i = 0; i < N; i++) {
            double exact = gx_simd_dot(rows[i], probe_rows[p], DIM);
            int8_sum += pow((double)int8_scores[p][i] - exact, 2);
            bits_sum += pow((double)bits_scores[p][i] - exact, 2);
        }
    *out_int8 = sqrt(int8_sum / N / 8);
    *out_2bit = sqrt(bits_sum / N / 8);
    gx_codes_free(codes);
}

START_TEST(scores_are_close)
{
    for (int near = 0; near < 2; near++) {
        double int8, bits;
        measure(near, &int8, &bits);
        ck_assert_double_lt(int8, 0.0006);
        ck_assert_double_lt(bits, 0.018);
    }
}
END_TEST

START_TEST(the_rotation_keeps_lengths_and_angles)
{
    static float a[GX_DIM_MAX], b[GX_DIM_MAX];
    for (size_t d = 0; d < GX_COUNT_OF(dims); d++) {
        struct gx_codes *codes = new_codes(dims[d], GX_CODES_2BIT, 1);
        for (int kind = 0; kind < N_KINDS; kind++) {
            memset(a, 0, sizeof(a));
            memset(b, 0, sizeof(b));
            fill(b, dims[d], NORMAL, NULL);
            fill(a, dims[d], (enum kind)kind, b);
            double before = gx_simd_dot(a, b, dims[d]);
            gx_codes_rotate(codes, a);
            gx_codes_rotate(codes, b);
            ck_assert_double_eq_tol(gx_simd_dot(a, a, dims[d]), 1, 2e-6);
            ck_assert_double_eq_tol(gx_simd_dot(b, b, dims[d]), 1, 2e-6);
            ck_assert_double_eq_tol(gx_simd_dot(a, b, dims[d]), before, 2e-6);
            for (size_t i = dims[d]; i < GX_DIM_MAX; i++)
                ck_assert_float_eq(a[i], 0);
        }
        gx_codes_free(codes);
    }
}
END_TEST

/* u - 1.5 of all values of a row. */
static void decode(const struct gx_codes *codes, uint32_t slot, float *out)
{
    const uint8_t *signs = gx_codes_signs(codes, slot), *bits = gx_codes_bits(codes, slot);
    for (size_t i = 0; i < codes->dim; i++)
        out[i] = (float)(2 * (signs[i / 8 * 64] >> i % 8 & 1) + (bits[i / 8] >> i % 8 & 1)) - 1.5f;
}

START_TEST(two_bits_say_exactly_how_long_the_row_itself_is_and_well_where_it_points)
{
    static float row[GX_DIM_MAX], turned[GX_DIM_MAX], levels[GX_DIM_MAX];
    for (size_t d = 0; d < GX_COUNT_OF(dims); d++) {
        struct gx_codes *codes = new_codes(dims[d], GX_CODES_2BIT, 1);
        for (int round = 0; round < 4 * N_KINDS; round++) {
            memset(turned, 0, sizeof(turned));
            fill(levels, dims[d], NORMAL, NULL);
            fill(row, dims[d], (enum kind)(round % N_KINDS), levels);
            memcpy(turned, row, dims[d] * sizeof(*row));
            gx_codes_put(codes, 0, row);
            gx_codes_rotate(codes, turned);
            decode(codes, 0, levels);
            double along = gx_simd_dot(levels, turned, dims[d]);
            double cosine = along / sqrt(gx_simd_dot(levels, levels, dims[d]));
            ck_assert_double_eq_tol(along * (double)gx_codes_chunk_of(codes, 0)->factors[0], 1, 1e-5);
            ck_assert_double_gt(cosine, dims[d] < 63 ? 0.6 : 0.85);
        }
        gx_codes_free(codes);
    }
}
END_TEST

START_TEST(rows_without_a_direction_or_a_middle_have_finite_codes)
{
    static float row[GX_DIM_MAX], other[GX_DIM_MAX];
    static const float sizes[] = {0, -0.0f, 1e-45f, 1e-38f, 1e-31f, 1e-20f, 1, 1e15f};
    for (size_t d = 0; d < GX_COUNT_OF(dims); d++) {
        struct gx_codes *codes = new_codes(dims[d], BOTH, 2);
        fill(other, dims[d], NORMAL, NULL);
        gx_codes_put(codes, 1, other);
        for (size_t s = 0; s < GX_COUNT_OF(sizes); s++)
            for (int alone = 0; alone < 2; alone++) {
                float scores[2], *out[1] = {scores};
                for (size_t i = 0; i < dims[d]; i++)
                    row[i] = alone && i != dims[d] / 2 ? 0 : sizes[s];
                gx_codes_put(codes, 0, row);
                struct gx_codes_probe probe = new_probe(codes, row);
                gx_codes_score_int8(codes, &probe, 1, 0, 2, out);
                ck_assert(isfinite(scores[0]) && isfinite(scores[1]));
                score_2bit(codes, &probe, 0, 2, scores);
                ck_assert(isfinite(scores[0]) && isfinite(scores[1]));
                ck_assert(isfinite(gx_codes_bound(codes, &probe, 0)));
                for (size_t i = 0; i < codes->int8_n; i++)
                    ck_assert_int_ne(gx_codes_int8(codes, 0)[i], -128);
            }
        gx_codes_free(codes);
    }
}
END_TEST

/* ---------------------------------------------------------------- agreement */

static void fill_codes(struct gx_codes *codes, uint32_t from, uint32_t until)
{
    float row[GX_DIM_MAX];
    for (uint32_t i = from; i < until; i++) {
        fill(row, codes->dim, NORMAL, NULL);
        gx_codes_put(codes, i, row);
    }
}

START_TEST(every_level_makes_the_same_codes)
{
    static float row[GX_DIM_MAX], near[GX_DIM_MAX];
    for (size_t d = 0; d < GX_COUNT_OF(dims); d++) {
        struct gx_codes *codes = new_codes(dims[d], BOTH, 2);
        const struct gx_codes_chunk *chunk = gx_codes_chunk_of(codes, 0);
        for (int kind = 0; kind < N_KINDS; kind++) {
            fill(near, dims[d], NORMAL, NULL);
            fill(row, dims[d], (enum kind)kind, near);
            gx_simd_use(GX_SIMD_PORTABLE);
            gx_codes_put(codes, 0, row);
            FOR_EACH_LEVEL(level)
            {
                gx_codes_put(codes, 1, row);
                ck_assert_mem_eq(gx_codes_int8(codes, 1), gx_codes_int8(codes, 0), codes->int8_n);
                assert_same_bits(codes, 1, codes, 0);
                ck_assert_mem_eq(&chunk->scales[1], &chunk->scales[0], sizeof(float));
                ck_assert_mem_eq(&chunk->factors[1], &chunk->factors[0], sizeof(float));
                ck_assert_uint_eq(chunk->errors[1], chunk->errors[0]);
            }
        }
        gx_codes_free(codes);
    }
}
END_TEST

START_TEST(scores_agree_however_they_are_asked_for)
{
    enum { N = 300 };
    static float row[GX_DIM_MAX], scores[8][N], one[N];
    for (size_t d = 0; d < GX_COUNT_OF(dims); d++) {
        struct gx_codes *codes = new_codes(dims[d], BOTH, N);
        float *out[8] = {scores[0], scores[1], scores[2], scores[3], scores[4], scores[5], scores[6], scores[7]};
        uint32_t slots[N], from = (uint32_t)(gx_random_next(&random_state) % 9), n = N - from;
        struct gx_codes_probe probes[8];
        fill_codes(codes, 0, N);
        for (size_t p = 0; p < 8; p++) {
            fill(row, dims[d], NORMAL, NULL);
            probes[p] = new_probe(codes, row);
        }
        for (uint32_t i = 0; i < n; i++)
            slots[i] = from + i;
        for (size_t p = 0; p < 8; p++) {
            uint16_t sums[N + 64];
            for (uint32_t i = 0; i < N; i += 64)
                (void)gx_codes_scan_signs(codes, &probes[p], i, 0, &sums[i]);
            gx_codes_rescore_2bit(codes, &probes[p], slots, sums + from, n, one);
            score_2bit(codes, &probes[p], from, n, scores[p]);
            ck_assert_mem_eq(one, scores[p], n * sizeof(*one));
        }
        for (size_t n_probes = 1; n_probes <= 8; n_probes++) {
            gx_codes_score_int8(codes, probes, n_probes, from, n, out);
            for (size_t p = 0; p < n_probes; p++) {
                gx_codes_rescore_int8(codes, &probes[p], slots, n, one);
                ck_assert_mem_eq(one, scores[p], n * sizeof(*one));
            }
        }
        gx_codes_free(codes);
    }
}
END_TEST

START_TEST(rows_of_all_chunks_are_scored)
{
    static float row[100], score[1], again[1];
    struct gx_codes *codes = new_codes(100, BOTH, 0);
    uint32_t chunk = gx_codes_chunk_rows(codes), slots[] = {0, chunk - 1, chunk, 2 * chunk - 1, 2 * chunk};
    float *out[1] = {score};
    ck_assert_uint_ge(chunk, 64);
    ck_assert_uint_eq(chunk & (chunk - 1), 0);
    ck_assert_int_eq(gx_codes_reserve(codes, 2 * chunk + 1, &err), GX_OK);
    for (size_t i = 0; i < GX_COUNT_OF(slots); i++) {
        fill(row, 100, NORMAL, NULL);
        gx_codes_put(codes, slots[i], row);
        struct gx_codes_probe probe = new_probe(codes, row);
        gx_codes_score_int8(codes, &probe, 1, slots[i], 1, out);
        ck_assert_float_eq_tol(score[0], 1, 0.01f);
        gx_codes_rescore_int8(codes, &probe, &slots[i], 1, again);
        ck_assert_float_eq(again[0], score[0]);
        score_2bit(codes, &probe, slots[i], 1, score);
        ck_assert_float_eq_tol(score[0], 1, 0.01f);
    }
    gx_codes_free(codes);
}
END_TEST

/* ---------------------------------------------------------------- memory */

static bool is_zero(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    while (n > 0 && *p == 0)
        n--, p++;
    return n == 0;
}

START_TEST(a_wiped_slot_has_no_byte_left_and_its_neighbours_all)
{
    for (size_t d = 0; d < GX_COUNT_OF(dims); d++) {
        struct gx_codes *codes = new_codes(dims[d], BOTH, 5), *same = new_codes(dims[d], BOTH, 5);
        const struct gx_codes_chunk *chunk = gx_codes_chunk_of(codes, 0), *other = gx_codes_chunk_of(same, 0);
        uint64_t state = random_state;
        fill_codes(codes, 0, 5);
        random_state = state;
        fill_codes(same, 0, 5);
        gx_codes_wipe(codes, 2);
        ck_assert(is_zero(gx_codes_int8(codes, 2), codes->int8_n));
        uint8_t bits[GX_DIM_MAX / 4];
        ck_assert(is_zero(both_bits(codes, 2, bits), codes->bits_n / 4));
        ck_assert(is_zero(&chunk->scales[2], sizeof(float)) && is_zero(&chunk->factors[2], sizeof(float)));
        ck_assert_uint_eq(chunk->errors[2], 0);
        for (uint32_t i = 0; i < 5; i += i == 1 ? 2 : 1) {
            ck_assert_mem_eq(gx_codes_int8(codes, i), gx_codes_int8(same, i), codes->int8_n);
            assert_same_bits(codes, i, same, i);
            ck_assert_mem_eq(&chunk->scales[i], &other->scales[i], sizeof(float));
            ck_assert_mem_eq(&chunk->factors[i], &other->factors[i], sizeof(float));
            ck_assert_uint_eq(chunk->errors[i], other->errors[i]);
        }
        gx_codes_free(codes);
        gx_codes_free(same);
    }
}
END_TEST

START_TEST(memory_is_counted_by_slot_and_kind)
{
    static const struct {
        size_t dim;
        unsigned kinds;
        uint64_t per_slot;
    } cases[] = {{512, BOTH, 512 + 128 + 9},
                 {512, GX_CODES_INT8, 512 + 9},
                 {512, GX_CODES_2BIT, 128 + 9},
                 {65, BOTH, 128 + 64 + 9},
                 {2, BOTH, 64 + 64 + 9}};
    for (size_t c = 0; c < GX_COUNT_OF(cases); c++) {
        struct gx_codes *codes = new_codes(cases[c].dim, cases[c].kinds, 0);
        ck_assert_uint_eq(gx_codes_bytes(codes), 0);
        ck_assert_int_eq(gx_codes_reserve(codes, 100000, &err), GX_OK);
        ck_assert_uint_eq(gx_codes_bytes(codes), 100000 * cases[c].per_slot);
        ck_assert_int_eq(gx_codes_reserve(codes, 5, &err), GX_OK);
        ck_assert_uint_eq(gx_codes_bytes(codes), 100000 * cases[c].per_slot);
        gx_codes_free(codes);
    }
    gx_codes_free(NULL);
}
END_TEST

static size_t resident(const void *mapping, size_t len)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0;
    unsigned char *pages = malloc(len / page);
    ck_assert_int_eq(mincore((void *)(uintptr_t)mapping, len, pages), 0);
    for (size_t i = 0; i < len / page; i++)
        n += pages[i] & 1;
    free(pages);
    return n * page;
}

START_TEST(few_rows_cost_little_memory)
{
    struct gx_codes *codes = new_codes(512, BOTH, 10);
    const struct gx_codes_chunk *chunk = gx_codes_chunk_of(codes, 0);
    fill_codes(codes, 0, 10);
    size_t n = gx_codes_chunk_rows(codes);
    ck_assert_uint_le(resident(chunk->int8, n * codes->int8_n), (size_t)64 << 10);
    ck_assert_uint_le(resident(chunk->signs, n * codes->bits_n / 8), (size_t)64 << 10);
    ck_assert_uint_le(resident(chunk->bits, n * codes->bits_n / 8), (size_t)64 << 10);
    gx_codes_free(codes);
}
END_TEST

START_TEST(a_code_stays_where_it_is_when_more_are_reserved)
{
    struct gx_codes *codes = new_codes(4096, BOTH, 1);
    const struct gx_codes_chunk *chunk = gx_codes_chunk_of(codes, 0);
    const int8_t *int8 = gx_codes_int8(codes, 0);
    ck_assert_int_eq(gx_codes_reserve(codes, 50 * gx_codes_chunk_rows(codes), &err), GX_OK);
    ck_assert_ptr_eq(gx_codes_chunk_of(codes, 0), chunk);
    ck_assert_ptr_eq(gx_codes_int8(codes, 0), int8);
    ck_assert_uint_eq((uintptr_t)int8 % 64, 0);
    gx_codes_free(codes);
}
END_TEST

static struct gx_codes *shared;
static float shared_rows[400][200];

static void *put_every_fourth(void *arg)
{
    for (uint32_t i = (uint32_t)(uintptr_t)arg; i < GX_COUNT_OF(shared_rows); i += 4)
        gx_codes_put(shared, i, shared_rows[i]);
    return NULL;
}

START_TEST(threads_put_different_slots_at_once)
{
    pthread_t threads[4];
    shared = new_codes(200, BOTH, GX_COUNT_OF(shared_rows));
    struct gx_codes *alone = new_codes(200, BOTH, 1);
    for (size_t i = 0; i < GX_COUNT_OF(shared_rows); i++)
        fill(shared_rows[i], 200, NORMAL, NULL);
    for (size_t i = 0; i < GX_COUNT_OF(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, put_every_fourth, (void *)(uintptr_t)i), 0);
    for (size_t i = 0; i < GX_COUNT_OF(threads); i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    for (uint32_t i = 0; i < GX_COUNT_OF(shared_rows); i++) {
        gx_codes_put(alone, 0, shared_rows[i]);
        ck_assert_mem_eq(gx_codes_int8(shared, i), gx_codes_int8(alone, 0), shared->int8_n);
        assert_same_bits(shared, i, alone, 0);
        ck_assert_float_eq(gx_codes_scale(shared, i), gx_codes_scale(alone, 0));
        ck_assert_uint_eq(gx_codes_chunk_of(shared, i)->errors[i], gx_codes_chunk_of(alone, 0)->errors[0]);
    }
    gx_codes_free(shared);
    gx_codes_free(alone);
}
END_TEST

START_TEST(what_does_not_fit_is_refused)
{
    struct gx_codes *codes;
    struct gx_codes_probe probe;
    float row[512] = {1};
    ck_assert_int_eq(gx_codes_new(1, BOTH, &codes, &err), GX_E_INVALID);
    ck_assert_int_eq(gx_codes_new(GX_DIM_MAX + 1, BOTH, &codes, &err), GX_E_INVALID);
    ck_assert_ptr_null(codes);
    codes = new_codes(512, BOTH, 0);
    gx_arena_fini(&arena);
    gx_arena_init(&arena, 3000);
    ck_assert_int_eq(gx_codes_probe(codes, row, &arena, &probe, &err), GX_E_TOO_LARGE);
    gx_codes_free(codes);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codes");
    TCase *tc = tcase_create("codes");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, no_int8_score_is_further_off_than_its_bound);
    tcase_add_test(tc, scores_are_close);
    tcase_add_test(tc, the_rotation_keeps_lengths_and_angles);
    tcase_add_test(tc, two_bits_say_exactly_how_long_the_row_itself_is_and_well_where_it_points);
    tcase_add_test(tc, rows_without_a_direction_or_a_middle_have_finite_codes);
    tcase_add_test(tc, every_level_makes_the_same_codes);
    tcase_add_test(tc, scores_agree_however_they_are_asked_for);
    tcase_add_test(tc, rows_of_all_chunks_are_scored);
    tcase_add_test(tc, a_wiped_slot_has_no_byte_left_and_its_neighbours_all);
    tcase_add_test(tc, memory_is_counted_by_slot_and_kind);
    tcase_add_test(tc, few_rows_cost_little_memory);
    tcase_add_test(tc, a_code_stays_where_it_is_when_more_are_reserved);
    tcase_add_test(tc, threads_put_different_slots_at_once);
    tcase_add_test(tc, what_does_not_fit_is_refused);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
