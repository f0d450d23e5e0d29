/* Promises of vec.h. */
#include "vec.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "random.h"
#include "simd.h"
#include "suite.h"

#define SEED    5
#define MAX_DIM 4096

static struct gx_err err;
static uint64_t random_state = SEED;

static void fill(float *row, size_t dim, double scale)
{
    for (size_t i = 0; i < dim; i++)
        row[i] = (float)(((double)(gx_random_next(&random_state) % 2000001) / 1e6 - 1.0) * scale);
    row[gx_random_next(&random_state) % dim] = (float)scale; /* not all zero */
}

static double length(const float *row, size_t dim)
{
    double sum = 0;
    for (size_t i = 0; i < dim; i++)
        sum += (double)row[i] * (double)row[i];
    return sqrt(sum);
}

static const size_t dims[] = {2, 3, 15, 16, 17, 128, 512, 4096};

START_TEST(a_normalised_row_has_length_one_and_the_same_direction)
{
    static float raw[MAX_DIM], unit[MAX_DIM];
    static const double scales[] = {1e-25, 1e-3, 1, 37, 1e20, 3e38};
    for (size_t d = 0; d < GX_COUNT_OF(dims); d++)
        for (size_t s = 0; s < GX_COUNT_OF(scales); s++) {
            fill(raw, dims[d], scales[s]);
            ck_assert_int_eq(gx_vec_normalise(raw, dims[d], unit, &err), GX_OK);
            /* Each value is rounded once, by half of FLT_EPSILON of itself at most. */
            ck_assert_double_eq_tol(length(unit, dims[d]), 1, FLT_EPSILON / 2);
            double norm = length(raw, dims[d]);
            for (size_t i = 0; i < dims[d]; i++)
                ck_assert_msg(fabs((double)unit[i] * norm - (double)raw[i]) <=
                                  fabs((double)raw[i]) * FLT_EPSILON * 0.51 + norm * 1e-45,
                              "seed %d: dim %zu scale %g value %zu", SEED, dims[d], scales[s], i);
        }
}
END_TEST

START_TEST(a_normalised_row_stays_as_it_is_when_it_comes_again)
{
    static float raw[MAX_DIM], unit[MAX_DIM], again[MAX_DIM];
    for (size_t d = 0; d < GX_COUNT_OF(dims); d++)
        for (int round = 0; round < 200; round++) {
            fill(raw, dims[d], 3);
            ck_assert_int_eq(gx_vec_normalise(raw, dims[d], unit, &err), GX_OK);
            ck_assert_int_eq(gx_vec_normalise(unit, dims[d], again, &err), GX_OK);
            ck_assert_mem_eq(unit, again, dims[d] * sizeof(float));
        }
}
END_TEST

START_TEST(the_same_row_gives_the_same_bits_on_every_processor)
{
    static float raw[MAX_DIM], wanted[MAX_DIM], unit[MAX_DIM];
    for (size_t d = 0; d < GX_COUNT_OF(dims); d++) {
        fill(raw, dims[d], 12.5);
        gx_simd_use(GX_SIMD_PORTABLE);
        ck_assert_int_eq(gx_vec_normalise(raw, dims[d], wanted, &err), GX_OK);
        for (enum gx_simd_level level = GX_SIMD_PORTABLE; level <= gx_simd_best(); level++) {
            gx_simd_use(level);
            ck_assert_int_eq(gx_vec_normalise(raw, dims[d], unit, &err), GX_OK);
            ck_assert_mem_eq(unit, wanted, dims[d] * sizeof(float));
        }
    }
}
END_TEST

START_TEST(a_row_may_be_normalised_in_place)
{
    float row[2] = {3, 4};
    ck_assert_int_eq(gx_vec_normalise(row, 2, row, &err), GX_OK);
    ck_assert(row[0] == 0.6f && row[1] == 0.8f);
}
END_TEST

START_TEST(the_largest_and_the_smallest_values_neither_overflow_nor_vanish)
{
    float row[512], unit[512];
    for (size_t i = 0; i < 512; i++)
        row[i] = i % 2 ? FLT_MAX : -FLT_MAX;
    ck_assert_int_eq(gx_vec_normalise(row, 512, unit, &err), GX_OK);
    ck_assert_double_eq_tol(length(unit, 512), 1, FLT_EPSILON);
    memset(row, 0, sizeof(row));
    row[7] = 2e-30f;
    row[9] = 1e-44f; /* denormal beside an ordinary value */
    ck_assert_int_eq(gx_vec_normalise(row, 512, unit, &err), GX_OK);
    ck_assert(unit[7] == 1.0f);
    ck_assert_double_eq_tol((double)unit[9], 1e-44 / 2e-30, 1e-15);
}
END_TEST

START_TEST(an_embedding_without_a_direction_is_refused)
{
    float row[20] = {0}, unit[20];
    ck_assert_int_eq(gx_vec_normalise(row, 20, unit, &err), GX_E_INVALID);
    row[3] = -0.0f;
    ck_assert_int_eq(gx_vec_normalise(row, 20, unit, &err), GX_E_INVALID);
    row[3] = 9e-31f;
    ck_assert_int_eq(gx_vec_normalise(row, 20, unit, &err), GX_E_INVALID);
    row[3] = 1.1e-30f;
    ck_assert_int_eq(gx_vec_normalise(row, 20, unit, &err), GX_OK);
    ck_assert_int_eq(gx_vec_normalise(row, 0, unit, &err), GX_E_INVALID);
}
END_TEST

START_TEST(a_value_that_is_not_finite_is_refused_wherever_it_stands)
{
    static const float bad[] = {(float)NAN, (float)INFINITY, -(float)INFINITY};
    float row[67], unit[67];
    for (size_t i = 0; i < 67; i++)
        for (size_t b = 0; b < 3; b++) {
            fill(row, 67, 1);
            row[i] = bad[b];
            ck_assert_int_eq(gx_vec_normalise(row, 67, unit, &err), GX_E_INVALID);
            row[(i + 1) % 67] = (float)INFINITY; /* two of them do not cancel */
            ck_assert_int_eq(gx_vec_normalise(row, 67, unit, &err), GX_E_INVALID);
        }
}
END_TEST

START_TEST(a_cosine_is_never_outside_its_range)
{
    static float a[MAX_DIM], b[MAX_DIM];
    int clamped = 0;
    for (int round = 0; round < 300; round++) {
        size_t dim = dims[(size_t)round % GX_COUNT_OF(dims)];
        fill(a, dim, 1);
        ck_assert_int_eq(gx_vec_normalise(a, dim, a, &err), GX_OK);
        for (size_t i = 0; i < dim; i++)
            b[i] = -a[i];
        clamped += gx_simd_dot(a, a, dim) > 1;
        ck_assert_double_le(gx_vec_cosine(a, a, dim), 1);
        ck_assert_double_ge(gx_vec_cosine(a, a, dim), 1 - (double)FLT_EPSILON);
        ck_assert_double_ge(gx_vec_cosine(a, b, dim), -1);
        ck_assert_double_le(gx_vec_cosine(a, b, dim), -1 + (double)FLT_EPSILON);
    }
    ck_assert_int_gt(clamped, 0); /* rows a little longer than 1 do occur */
    ck_assert_double_eq(gx_vec_cosine((float[2]){1, 0}, (float[2]){0, 1}, 2), 0);
    ck_assert_double_eq(gx_vec_cosine((float[2]){1, 0}, (float[2]){0.5f, 0}, 2), 0.5);
}
END_TEST

START_TEST(bytes_are_little_endian_and_come_back_bit_by_bit)
{
    uint8_t bytes[1 + 4 * 100], again[1 + 4 * 100];
    float values[100];
    gx_vec_to_le((float[1]){1.0f}, 1, bytes + 1);
    ck_assert_mem_eq(bytes + 1, "\x00\x00\x80\x3f", 4);
    gx_vec_to_le((float[1]){-2.5f}, 1, bytes + 1);
    ck_assert_mem_eq(bytes + 1, "\x00\x00\x20\xc0", 4);
    for (int round = 0; round < 100; round++) {
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)gx_random_next(&random_state); /* NaNs with a payload as well */
        size_t shift = (size_t)round % 2;
        gx_vec_from_le(bytes + shift, 100, values);
        gx_vec_to_le(values, 100, again + shift);
        ck_assert_mem_eq(bytes + shift, again + shift, 400);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("vec");
    TCase *tc = tcase_create("vec");
    tcase_add_test(tc, a_normalised_row_has_length_one_and_the_same_direction);
    tcase_add_test(tc, a_normalised_row_stays_as_it_is_when_it_comes_again);
    tcase_add_test(tc, the_same_row_gives_the_same_bits_on_every_processor);
    tcase_add_test(tc, a_row_may_be_normalised_in_place);
    tcase_add_test(tc, the_largest_and_the_smallest_values_neither_overflow_nor_vanish);
    tcase_add_test(tc, an_embedding_without_a_direction_is_refused);
    tcase_add_test(tc, a_value_that_is_not_finite_is_refused_wherever_it_stands);
    tcase_add_test(tc, a_cosine_is_never_outside_its_range);
    tcase_add_test(tc, bytes_are_little_endian_and_come_back_bit_by_bit);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
