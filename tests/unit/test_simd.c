/* Promises of simd.h. */
#include "simd.h"

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "random.h"
#include "suite.h"

#define SEED    11
#define MAX_DIM 4096

static uint64_t random_state = SEED;

/* Any finite float32: all exponents, both signs, denormals and zeros of both signs too. */
static float next_float(void)
{
    uint32_t bits;
    float value;
    do {
        bits = (uint32_t)gx_random_next(&random_state);
        if (gx_random_next(&random_state) % 16 == 0)
            bits &= 0x80000000u;
        memcpy(&value, &bits, sizeof(value));
    } while (!isfinite(value));
    return value;
}

static float ordinary_float(void)
{
    return (float)((double)(gx_random_next(&random_state) % 2000001) / 1e6 - 1.0);
}

static uint64_t bits_of(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    return bits;
}

/* The definition, written apart from the kernels. */
static double by_definition(const float *a, const float *b, size_t n)
{
    double lanes[16] = {0};
    for (size_t i = 0; i < n; i++)
        lanes[i % 16] += (double)a[i] * (double)b[i];
    double l8[8], l4[4];
    for (int i = 0; i < 8; i++)
        l8[i] = lanes[i] + lanes[i + 8];
    for (int i = 0; i < 4; i++)
        l4[i] = l8[i] + l8[i + 4];
    return (l4[0] + l4[2]) + (l4[1] + l4[3]);
}

#define FOR_EACH_LEVEL(level)                                                                                          \
    for (enum gx_simd_level level = GX_SIMD_PORTABLE; level <= gx_simd_best() && (gx_simd_use(level), true); level++)

static size_t lengths(size_t i)
{
    static const size_t more[] = {511, 512, 513, 1023, 4095, MAX_DIM};
    return i < 130 ? i : more[i - 130];
}
#define N_LENGTHS 136

START_TEST(every_level_gives_the_same_bits)
{
    static float a[MAX_DIM + 4], b[MAX_DIM + 4];
    for (int round = 0; round < 8; round++)
        for (size_t l = 0; l < N_LENGTHS; l++) {
            size_t n = lengths(l), shift = gx_random_next(&random_state) % 4;
            for (size_t i = 0; i < n; i++) {
                a[shift + i] = round % 2 ? next_float() : ordinary_float();
                b[i] = round % 2 ? next_float() : ordinary_float();
            }
            uint64_t wanted = bits_of(by_definition(a + shift, b, n));
            FOR_EACH_LEVEL(level)
            ck_assert_msg(bits_of(gx_simd_dot(a + shift, b, n)) == wanted, "seed %d: %s differs at n = %zu", SEED,
                          gx_simd_name(level), n);
        }
}
END_TEST

START_TEST(four_rows_at_once_give_the_bits_of_one_at_a_time)
{
    static float probe[MAX_DIM + 1], rows[4][MAX_DIM + 4];
    for (int round = 0; round < 4; round++)
        for (size_t l = 0; l < N_LENGTHS; l++) {
            size_t n = lengths(l);
            const float *p[4];
            for (size_t r = 0; r < 4; r++) {
                p[r] = rows[r] + gx_random_next(&random_state) % 4;
                for (size_t i = 0; i < n + 4; i++)
                    rows[r][i] = round % 2 ? next_float() : ordinary_float();
            }
            for (size_t i = 0; i <= n; i++)
                probe[i] = round % 2 ? next_float() : ordinary_float();
            FOR_EACH_LEVEL(level)
            {
                double out[4];
                gx_simd_dot4(probe + 1, p, n, out);
                for (size_t r = 0; r < 4; r++)
                    ck_assert_msg(bits_of(out[r]) == bits_of(gx_simd_dot(probe + 1, p[r], n)),
                                  "seed %d: %s differs at n = %zu, row %zu", SEED, gx_simd_name(level), n, r);
            }
        }
}
END_TEST

START_TEST(whole_numbers_are_summed_without_error)
{
    static float a[MAX_DIM], b[MAX_DIM];
    FOR_EACH_LEVEL(level)
    {
        int64_t wanted = 0;
        for (size_t i = 0; i < MAX_DIM; i++) {
            int64_t x = (int64_t)(gx_random_next(&random_state) % (1 << 21)) - (1 << 20);
            int64_t y = (int64_t)(gx_random_next(&random_state) % (1 << 21)) - (1 << 20);
            a[i] = (float)x;
            b[i] = (float)y;
            wanted += x * y;
            ck_assert_int_eq((int64_t)gx_simd_dot(a, b, i + 1), wanted);
        }
    }
}
END_TEST

START_TEST(large_values_do_not_overflow_and_bad_ones_show)
{
    float huge[40], x[40];
    for (size_t i = 0; i < 40; i++)
        huge[i] = 3.4e38f, x[i] = 1;
    FOR_EACH_LEVEL(level)
    {
        ck_assert_double_eq_tol(gx_simd_dot(huge, huge, 40) / ((double)3.4e38f * (double)3.4e38f), 40, 1e-9);
        for (size_t i = 0; i < 40; i++) {
            x[i] = (float)NAN;
            ck_assert(isnan(gx_simd_dot(x, huge, 40)));
            x[i] = (float)INFINITY;
            ck_assert(isinf(gx_simd_dot(x, huge, 40)));
            x[i] = 1;
        }
    }
}
END_TEST

/* @n bytes that end where memory ends. */
static uint8_t *at_the_edge(size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), size = (n + page - 1) / page * page;
    uint8_t *p = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(p, MAP_FAILED);
    ck_assert_int_eq(mprotect(p + size, page, PROT_NONE), 0);
    return p + size - n;
}

START_TEST(nothing_behind_the_end_is_read)
{
    for (size_t n = 1; n <= 70; n++) {
        const float *p = (const float *)(void *)at_the_edge(n * sizeof(float));
        const float *const rows[4] = {p, p, p, p};
        double out[4];
        FOR_EACH_LEVEL(level)
        {
            ck_assert_double_eq(gx_simd_dot(p, p, n), 0);
            gx_simd_dot4(p, rows, n, out);
            ck_assert_double_eq(out[0] + out[1] + out[2] + out[3], 0);
            (void)gx_simd_crc32c(0, p, n * sizeof(float));
            (void)gx_simd_crc32c(0, (const uint8_t *)p + 1, n * sizeof(float) - 1);
        }
    }
}
END_TEST

START_TEST(crc32c_gives_the_values_of_rfc_3720)
{
    static uint8_t zeros[32], ones[32], up[32], down[32];
    static const uint8_t read_pdu[48] = {0x01, 0xc0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,    0, 0, 0, 0,
                                         0x14, 0,    0, 0, 0, 0, 4, 0, 0, 0, 0, 0x14, 0, 0, 0, 0x18,
                                         0x28, 0,    0, 0, 0, 0, 0, 0, 2, 0, 0, 0,    0, 0, 0, 0};
    for (size_t i = 0; i < 32; i++) {
        ones[i] = 0xff;
        up[i] = (uint8_t)i;
        down[i] = (uint8_t)(31 - i);
    }
    FOR_EACH_LEVEL(level)
    {
        ck_assert_uint_eq(gx_simd_crc32c(0, zeros, 32), 0x8a9136aa);
        ck_assert_uint_eq(gx_simd_crc32c(0, ones, 32), 0x62a8ab43);
        ck_assert_uint_eq(gx_simd_crc32c(0, up, 32), 0x46dd794e);
        ck_assert_uint_eq(gx_simd_crc32c(0, down, 32), 0x113fdb5c);
        ck_assert_uint_eq(gx_simd_crc32c(0, read_pdu, 48), 0xd9963a56);
        ck_assert_uint_eq(gx_simd_crc32c(0, "123456789", 9), 0xe3069283);
        ck_assert_uint_eq(gx_simd_crc32c(0, "", 0), 0);
    }
}
END_TEST

START_TEST(crc32c_may_be_continued_at_any_byte)
{
    uint8_t bytes[300];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)gx_random_next(&random_state);
    gx_simd_use(GX_SIMD_PORTABLE);
    uint32_t wanted = gx_simd_crc32c(0, bytes, sizeof(bytes));
    FOR_EACH_LEVEL(level)
    for (size_t i = 0; i <= sizeof(bytes); i++) {
        uint32_t crc = gx_simd_crc32c(gx_simd_crc32c(0, bytes, i), bytes + i, sizeof(bytes) - i);
        ck_assert_msg(crc == wanted, "seed %d: %s differs at %zu", SEED, gx_simd_name(level), i);
    }
}
END_TEST

static void *first_use(void *arg)
{
    static const float row[3] = {1, 2, 3};
    (void)arg;
    uint32_t crc = gx_simd_crc32c(0, "123456789", 9);
    return (void *)(uintptr_t)(gx_simd_dot(row, row, 3) == 14 && crc == 0xe3069283 &&
                               gx_simd_level() == gx_simd_best());
}

START_TEST(threads_that_come_first_at_once_all_get_the_best_level)
{
    pthread_t threads[8];
    for (size_t i = 0; i < GX_COUNT_OF(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, first_use, NULL), 0);
    for (size_t i = 0; i < GX_COUNT_OF(threads); i++) {
        void *ok;
        ck_assert_int_eq(pthread_join(threads[i], &ok), 0);
        ck_assert_ptr_nonnull(ok);
    }
}
END_TEST

START_TEST(no_level_above_the_processors_is_used)
{
    ck_assert_int_eq(gx_simd_level(), gx_simd_best());
    gx_simd_use(GX_SIMD_AVX512);
    ck_assert_int_eq(gx_simd_level(), gx_simd_best());
    gx_simd_use(GX_SIMD_PORTABLE);
    ck_assert_int_eq(gx_simd_level(), GX_SIMD_PORTABLE);
    ck_assert_str_eq(gx_simd_name(GX_SIMD_PORTABLE), "portable");
    ck_assert_str_eq(gx_simd_name(GX_SIMD_AVX2), "avx2");
    ck_assert_str_eq(gx_simd_name(GX_SIMD_AVX512), "avx512");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("simd");
    TCase *tc = tcase_create("simd");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, every_level_gives_the_same_bits);
    tcase_add_test(tc, four_rows_at_once_give_the_bits_of_one_at_a_time);
    tcase_add_test(tc, whole_numbers_are_summed_without_error);
    tcase_add_test(tc, large_values_do_not_overflow_and_bad_ones_show);
    tcase_add_test(tc, nothing_behind_the_end_is_read);
    tcase_add_test(tc, crc32c_gives_the_values_of_rfc_3720);
    tcase_add_test(tc, crc32c_may_be_continued_at_any_byte);
    tcase_add_test(tc, threads_that_come_first_at_once_all_get_the_best_level);
    tcase_add_test(tc, no_level_above_the_processors_is_used);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
