/* Promises of simd.h about codes. */
#include "simd.h"

#include <check.h>
#include <math.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "random.h"
#include "suite.h"

#define SEED       23
#define MAX_N      8192
#define MAX_ROWS   70
#define MAX_PROBES 8
#define MAX_VALUES ((size_t)MAX_ROWS * 1024)

static uint64_t random_state = SEED;

static alignas(64) int8_t probes[MAX_PROBES][MAX_N];
static alignas(64) int8_t rows[MAX_VALUES];
static alignas(64) uint8_t bits[4096 / 8 * 64]; /* of 64 rows, one way or the other */
static uint8_t tables[4096 / 4][16];
static int32_t sums[MAX_PROBES][MAX_ROWS + 1], wanted[MAX_PROBES][MAX_ROWS];
static int32_t *const out[MAX_PROBES] = {sums[0], sums[1], sums[2], sums[3], sums[4], sums[5], sums[6], sums[7]};
static const int8_t *const all_probes[MAX_PROBES] = {probes[0], probes[1], probes[2], probes[3],
                                                     probes[4], probes[5], probes[6], probes[7]};

#define FOR_EACH_LEVEL(level)                                                                                          \
    for (enum gx_simd_level level = GX_SIMD_PORTABLE; level <= gx_simd_best() && (gx_simd_use(level), true); level++)

enum fill { RANDOM, EXTREME, ALL_LOW, ALL_HIGH, ZERO, N_FILLS };

static int8_t next_int8(enum fill fill)
{
    uint64_t r = gx_random_next(&random_state);
    switch (fill) {
    case RANDOM: return (int8_t)((int)(r % 255) - 127);
    case EXTREME: return r % 2 ? 127 : -127;
    case ALL_LOW: return -127;
    case ALL_HIGH: return 127;
    default: return 0;
    }
}

static void fill_all(enum fill of_probes, enum fill of_rows)
{
    for (size_t p = 0; p < MAX_PROBES; p++)
        for (size_t i = 0; i < MAX_N; i++)
            probes[p][i] = next_int8(of_probes);
    for (size_t i = 0; i < MAX_VALUES; i++)
        rows[i] = next_int8(of_rows);
    for (size_t i = 0; i < sizeof(bits); i++)
        bits[i] = of_rows == RANDOM    ? (uint8_t)gx_random_next(&random_state)
                  : of_rows == EXTREME ? (uint8_t)(gx_random_next(&random_state) % 2 ? 0xff : 0)
                  : of_rows == ZERO    ? 0
                                       : 0xff;
}

/* The definitions, written apart from the kernels. */
static int32_t int8_by_definition(const int8_t *a, const int8_t *b, size_t n)
{
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (int64_t)a[i] * b[i];
    return (int32_t)sum;
}

static int32_t bits_by_definition(const int8_t *probe, const uint8_t *row, size_t n)
{
    int64_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (row[i / 8] & 1 << i % 8) != 0 ? probe[i] : 0;
    return (int32_t)sum;
}

/* Of row @r of the block that @bits begins with. */
static uint32_t signs_by_definition(size_t r, size_t n)
{
    uint32_t sum = 0;
    for (size_t i = 0; i < n; i += 4) {
        unsigned byte = bits[i / 8 * 64 + r];
        sum += tables[i / 4][i % 8 == 0 ? byte % 16 : byte / 16];
    }
    return sum;
}

/* Scans @n_rows at @n with 1 to 8 probes at each level: as wanted, and not one sum more is written. */
static void check_scan(size_t n_rows, size_t n)
{
    FOR_EACH_LEVEL(level)
    for (size_t n_probes = 1; n_probes <= MAX_PROBES; n_probes++) {
        memset(sums, 0x5a, sizeof(sums));
        gx_simd_int8_scan(all_probes, n_probes, rows, n_rows, n, out);
        for (size_t p = 0; p < MAX_PROBES; p++)
            for (size_t i = 0; i <= MAX_ROWS; i++) {
                int32_t right = p < n_probes && i < n_rows ? wanted[p][i] : 0x5a5a5a5a;
                if (sums[p][i] != right) /* asked once per value, the assertion itself would take most of the time */
                    ck_abort_msg("seed %d: %s gives %d, not %d: n = %zu, probe %zu of %zu, row %zu of %zu", SEED,
                                 gx_simd_name(level), sums[p][i], right, n, p, n_probes, i, n_rows);
            }
    }
}

static void want(size_t n)
{
    size_t n_rows = GX_MIN(MAX_VALUES / n, (size_t)MAX_ROWS);
    for (size_t p = 0; p < MAX_PROBES; p++)
        for (size_t i = 0; i < n_rows; i++)
            wanted[p][i] = int8_by_definition(probes[p], rows + i * n, n);
}

START_TEST(every_level_scans_int8_to_the_same_sums)
{
    for (size_t n_rows = 0; n_rows <= MAX_ROWS; n_rows++) {
        size_t n = 64 * (1 + n_rows % 16);
        fill_all(RANDOM, RANDOM);
        want(n);
        check_scan(n_rows, n);
    }
    for (size_t n = 64; n <= MAX_N; n += n < 1024 ? 64 : 1024 - 64) {
        fill_all(RANDOM, RANDOM);
        want(n);
        check_scan(GX_MIN(MAX_VALUES / n, (size_t)9), n);
    }
}
END_TEST

static void check_signs(size_t n)
{
    uint32_t sums_wanted[64], bars[] = {0, 1, 0, UINT16_MAX};
    uint16_t found[65];
    for (size_t r = 0; r < 64; r++)
        sums_wanted[r] = signs_by_definition(r, n);
    bars[2] = sums_wanted[n % 64];
    FOR_EACH_LEVEL(level)
    for (size_t b = 0; b < GX_COUNT_OF(bars); b++) {
        found[64] = 0x5a5a;
        uint64_t over = gx_simd_signs_scan((const uint8_t(*)[16])tables, bits, n, (uint16_t)bars[b], found);
        ck_assert_uint_eq(found[64], 0x5a5a);
        for (size_t r = 0; r < 64; r++)
            if (found[r] != sums_wanted[r] || (over >> r & 1) != (sums_wanted[r] >= bars[b]))
                ck_abort_msg("seed %d: %s gives %u, not %u: n = %zu, row %zu, bar %u", SEED, gx_simd_name(level),
                             found[r], sums_wanted[r], n, r, bars[b]);
    }
}

static void fill_tables(bool all_high)
{
    for (size_t i = 0; i < sizeof(tables); i++)
        tables[i / 16][i % 16] =
            all_high ? GX_SIMD_SIGNS_MAX : (uint8_t)(gx_random_next(&random_state) % (GX_SIMD_SIGNS_MAX + 1));
}

START_TEST(every_level_looks_signs_up_to_the_same_sums)
{
    for (int fill = 0; fill < N_FILLS; fill++)
        for (size_t n = 256; n <= 4096; n += 256) {
            fill_all(RANDOM, (enum fill)fill);
            fill_tables(fill == ALL_HIGH);
            check_signs(n);
        }
}
END_TEST

START_TEST(every_level_gathers_bits_to_the_same_sums)
{
    static const uint8_t *chosen[MAX_ROWS];
    int32_t gathered[MAX_ROWS + 1];
    for (size_t n_rows = 0; n_rows <= MAX_ROWS; n_rows++) {
        size_t n = 256 * (1 + n_rows % 16);
        fill_all((enum fill)(n_rows % N_FILLS), (enum fill)(n_rows / N_FILLS % N_FILLS));
        for (size_t i = 0; i < n_rows; i++)
            chosen[i] = bits + gx_random_next(&random_state) % (sizeof(bits) / (n / 8)) * (n / 8);
        FOR_EACH_LEVEL(level)
        {
            memset(gathered, 0x5a, sizeof(gathered));
            gx_simd_bits_gather(probes[0], chosen, n_rows, n, gathered);
            for (size_t i = 0; i < n_rows; i++)
                ck_assert_int_eq(gathered[i], bits_by_definition(probes[0], chosen[i], n));
            ck_assert_int_eq(gathered[n_rows], 0x5a5a5a5a);
        }
    }
}
END_TEST

/* Also where a sum is just the bar. */
START_TEST(every_level_says_the_same_of_what_reaches_a_bar)
{
    float scores[64], errors[64];
    for (size_t n = 1; n <= 64; n++) {
        for (size_t i = 0; i < n; i++) {
            scores[i] = (float)(int)(gx_random_next(&random_state) % 2001) / 1000 - 1;
            errors[i] = (float)(gx_random_next(&random_state) % 1000) / 20000;
        }
        float bars[] = {-INFINITY, 0, scores[n / 2] + ((errors[n / 2] * 1.25f + 0.01f) + 1e-6f), INFINITY};
        FOR_EACH_LEVEL(level)
        for (size_t b = 0; b < GX_COUNT_OF(bars); b++) {
            uint64_t right = 0;
            for (size_t i = 0; i < n; i++)
                right |= (uint64_t)(scores[i] + ((errors[i] * 1.25f + 0.01f) + 1e-6f) >= bars[b]) << i;
            ck_assert_uint_eq(gx_simd_reach(scores, errors, n, 1.25f, 0.01f, 1e-6f, bars[b]), right);
        }
    }
}
END_TEST

START_TEST(the_largest_sums_do_not_overflow)
{
    static const size_t ns[] = {64, 512, 1024, 4096, MAX_N};
    for (int a = 0; a < N_FILLS; a++)
        for (int b = 0; b < N_FILLS; b++) {
            fill_all((enum fill)a, (enum fill)b);
            for (size_t i = 0; i < GX_COUNT_OF(ns); i++) {
                size_t n_rows = GX_MIN(MAX_VALUES / ns[i], (size_t)7);
                want(ns[i]);
                check_scan(n_rows, ns[i]);
            }
        }
}
END_TEST

START_TEST(rows_anywhere_give_the_sums_of_one_at_a_time)
{
    static const int8_t *chosen[MAX_ROWS];
    int32_t gathered[MAX_ROWS + 1];
    for (size_t n_rows = 0; n_rows <= MAX_ROWS; n_rows++)
        for (size_t n = 64 * (1 + n_rows % 5); n <= 1024; n += 64 * 5) {
            fill_all(RANDOM, n_rows % 2 ? RANDOM : EXTREME);
            for (size_t i = 0; i < n_rows; i++)
                chosen[i] = rows + gx_random_next(&random_state) % (MAX_VALUES / n) * n;
            FOR_EACH_LEVEL(level)
            {
                memset(gathered, 0x5a, sizeof(gathered));
                gx_simd_int8_gather(probes[0], chosen, n_rows, n, gathered);
                for (size_t i = 0; i < n_rows; i++) {
                    ck_assert_int_eq(gathered[i], int8_by_definition(probes[0], chosen[i], n));
                    ck_assert_int_eq(gathered[i], gx_simd_int8_dot(probes[0], chosen[i], n));
                    ck_assert_int_eq(gathered[i], gx_simd_int8_dot(chosen[i], probes[0], n));
                }
                ck_assert_int_eq(gathered[n_rows], 0x5a5a5a5a);
            }
        }
}
END_TEST

/* Half of a code that is too short to be halved. */
START_TEST(no_values_give_sums_of_nothing_at_once)
{
    const int8_t *some[3] = {rows, rows + 64, rows + 128};
    FOR_EACH_LEVEL(level)
    {
        int32_t sum[3] = {1, 2, 3};
        gx_simd_int8_gather(probes[0], some, 3, 0, sum);
        for (size_t i = 0; i < 3; i++)
            ck_assert_int_eq(sum[i], 0);
    }
}
END_TEST

START_TEST(long_rows_anywhere_do_not_overflow)
{
    for (int fill = 0; fill < N_FILLS; fill++) {
        fill_all((enum fill)fill, (enum fill)fill);
        const int8_t *const chosen[5] = {rows, rows + MAX_N, rows, rows + 3 * MAX_N, rows + 64};
        FOR_EACH_LEVEL(level)
        {
            int32_t gathered[5];
            gx_simd_int8_gather(probes[0], chosen, 5, MAX_N, gathered);
            for (size_t i = 0; i < 5; i++)
                ck_assert_int_eq(gathered[i], int8_by_definition(probes[0], chosen[i], MAX_N));
        }
    }
}
END_TEST

START_TEST(every_level_transforms_to_the_same_bits)
{
    static float values[4096], right[4096], input[4096];
    for (size_t n = 2; n <= 4096; n *= 2)
        for (int round = 0; round < 8; round++) {
            for (size_t i = 0; i < n; i++) {
                uint32_t r = (uint32_t)gx_random_next(&random_state);
                input[i] = r % 8 == 0 ? -0.0f : ((float)(r >> 8) - 8388608.0f) * (r % 3 ? 1e-3f : 1e-38f);
            }
            gx_simd_use(GX_SIMD_PORTABLE);
            memcpy(right, input, sizeof(right));
            gx_simd_hadamard(right, n);
            FOR_EACH_LEVEL(level)
            {
                memcpy(values, input, sizeof(values));
                gx_simd_hadamard(values, n);
                ck_assert_msg(memcmp(values, right, sizeof(values)) == 0, "seed %d: %s differs at n = %zu", SEED,
                              gx_simd_name(level), n);
            }
        }
}
END_TEST

START_TEST(the_transform_is_that_of_walsh_and_hadamard)
{
    float values[64];
    FOR_EACH_LEVEL(level)
    for (size_t n = 2; n <= 64; n *= 2)
        for (size_t one = 0; one < n; one++) {
            for (size_t i = 0; i < n; i++)
                values[i] = i == one;
            gx_simd_hadamard(values, n);
            for (size_t i = 0; i < n; i++)
                ck_assert_float_eq(values[i], __builtin_parityll(i & one) ? -1 : 1);
        }
}
END_TEST

/* @n bytes that end where memory ends. */
static void *at_the_edge(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (n + page - 1) / page * page;
    uint8_t *p = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(p, MAP_FAILED);
    ck_assert_int_eq(mprotect(p + size, page, PROT_NONE), 0);
    return p + size - n;
}

START_TEST(nothing_behind_the_last_row_is_read)
{
    for (size_t n_rows = 1; n_rows <= 9; n_rows++)
        for (size_t n = 64; n <= 1024; n *= 2) {
            const int8_t *p = at_the_edge(n_rows * n), *last = p + (n_rows - 1) * n;
            const int8_t *const edge_probes[1] = {last}, *const lasts[5] = {last, last, last, last, last};
            int32_t *const edge_out[1] = {at_the_edge(n_rows * sizeof(int32_t))};
            FOR_EACH_LEVEL(level)
            {
                gx_simd_int8_scan(edge_probes, 1, p, n_rows, n, edge_out);
                gx_simd_int8_gather(last, lasts, GX_MIN(n_rows, (size_t)5), n, edge_out[0]);
                if (n % 256 == 0) {
                    const uint8_t *b = at_the_edge(n / 8), *const edge_bits[1] = {b};
                    uint16_t sums_of_64[64];
                    gx_simd_bits_gather(last, edge_bits, 1, n, edge_out[0] + n_rows - 1);
                    (void)gx_simd_signs_scan(at_the_edge(n / 4 * 16), at_the_edge(n / 8 * 64), n, 0, sums_of_64);
                }
                gx_simd_hadamard((float *)at_the_edge(n * sizeof(float)), n);
                ck_assert_int_eq(edge_out[0][n_rows - 1], 0);
            }
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("simd_codes");
    TCase *tc = tcase_create("simd_codes");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, every_level_scans_int8_to_the_same_sums);
    tcase_add_test(tc, every_level_looks_signs_up_to_the_same_sums);
    tcase_add_test(tc, every_level_gathers_bits_to_the_same_sums);
    tcase_add_test(tc, every_level_says_the_same_of_what_reaches_a_bar);
    tcase_add_test(tc, the_largest_sums_do_not_overflow);
    tcase_add_test(tc, rows_anywhere_give_the_sums_of_one_at_a_time);
    tcase_add_test(tc, no_values_give_sums_of_nothing_at_once);
    tcase_add_test(tc, long_rows_anywhere_do_not_overflow);
    tcase_add_test(tc, every_level_transforms_to_the_same_bits);
    tcase_add_test(tc, the_transform_is_that_of_walsh_and_hadamard);
    tcase_add_test(tc, nothing_behind_the_last_row_is_read);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
