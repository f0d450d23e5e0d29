/* Promises of engine_faiss_train.h: nothing that an index learns is a row, or a part of one, however few rows, outliers
 * and copies there are. */
#include "engine_faiss_train.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

#include "people.h"
#include "simd.h"
#include "suite.h"
#include "vec.h"

#define DIM   64
#define LISTS 64
#define FEW   (LISTS * GX_FAISS_ROWS_PER_LIST) /* the least that is trained on */
#define MOST  4096
#define SEED  20261
#define SAME  0.9999
#define NEAR  0.99
#define PART  16 /* floats: a window of 64 bytes */

static struct gx_err err;
static float rows[MOST][DIM], centroids[LISTS][DIM];
static struct gx_people people;

#define OK(call) ck_assert_msg((call) == GX_OK, "seed %d: %s", SEED, err.text)

static void make_rows(void)
{
    gx_engine_thread_begin();
    ck_assert(gx_people_init(&people, SEED, DIM, MOST));
    for (size_t i = 0; i < MOST; i++)
        gx_people_row(&people, i, rows[i], NULL);
}

/* Rows [first, first + n), n up to twice the dimension, far from all others, and from each other. */
static void make_outliers(size_t first, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        float *row = rows[first + i];
        for (size_t j = 0; j < DIM; j++)
            row[j] *= 0.3f;
        row[i % DIM] += i < DIM ? 3 : -3;
        OK(gx_vec_normalise(row, DIM, row, &err));
    }
}

static void train(uint64_t n)
{
    struct gx_faiss_form form;
    OK(gx_engine_faiss_form_parse("IVF64,SQ8", DIM, &form, &err));
    OK(gx_engine_faiss_train_centroids(&form, SEED, rows[0], n, centroids[0], &err));
}

static size_t count_centroids_that_are_rows(uint64_t n)
{
    size_t n_same = 0;
    for (size_t list = 0; list < LISTS; list++) {
        bool same = false;
        ck_assert(fabs(gx_simd_dot(centroids[list], centroids[list], DIM) - 1) < 1e-5);
        for (uint64_t i = 0; i < n; i++)
            same = same || gx_simd_dot(centroids[list], rows[i], DIM) > NEAR;
        n_same += same;
    }
    return n_same;
}

START_TEST(no_centroid_is_a_row_however_few_there_are)
{
    static const uint64_t ns[] = {FEW, 2 * FEW, MOST};
    make_rows();
    for (size_t i = 0; i < GX_COUNT_OF(ns); i++) {
        train(ns[i]);
        ck_assert_msg(count_centroids_that_are_rows(ns[i]) == 0, "of %d rows, seed %d", (int)ns[i], SEED);
    }
}
END_TEST

START_TEST(no_centroid_is_an_outlier)
{
    make_rows();
    make_outliers(200, 60);
    train(FEW);
    ck_assert_msg(count_centroids_that_are_rows(FEW) == 0, "seed %d", SEED);
}
END_TEST

START_TEST(no_centroid_is_a_photo_that_was_enrolled_many_times)
{
    make_rows();
    make_outliers(0, 20);
    for (size_t i = 20; i < 1000; i++)
        memcpy(rows[i], rows[i % 20], sizeof(rows[0]));
    train(MOST);
    ck_assert_msg(count_centroids_that_are_rows(MOST) == 0, "seed %d", SEED);
}
END_TEST

START_TEST(copies_of_a_few_photos_train_without_becoming_centroids)
{
    make_rows();
    for (size_t i = 5; i < FEW; i++)
        memcpy(rows[i], rows[i % 5], sizeof(rows[0]));
    train(FEW);
    ck_assert_uint_eq(count_centroids_that_are_rows(FEW), 0);
}
END_TEST

/* Centroids that are means of few rows would be many lists for few rows; these divide the rows well. */
START_TEST(lists_are_of_use_even_from_the_smallest_sample)
{
    static uint32_t n_in[LISTS];
    make_rows();
    train(FEW);
    memset(n_in, 0, sizeof(n_in));
    for (size_t i = 0; i < MOST; i++) {
        size_t best = 0;
        for (size_t list = 1; list < LISTS; list++)
            if (gx_simd_dot(centroids[list], rows[i], DIM) > gx_simd_dot(centroids[best], rows[i], DIM))
                best = list;
        n_in[best]++;
    }
    size_t n_used = 0;
    for (size_t list = 0; list < LISTS; list++) {
        n_used += n_in[list] > 0;
        ck_assert_msg(n_in[list] < MOST / 8, "%u of %d rows in one list, seed %d", n_in[list], MOST, SEED);
    }
    ck_assert_uint_gt(n_used, LISTS * 9 / 10);
}
END_TEST

static float *mix(uint64_t n, const char *text, uint64_t *out_n)
{
    struct gx_faiss_form form;
    float *mixtures;
    OK(gx_engine_faiss_form_parse(text, DIM, &form, &err));
    train(n);
    OK(gx_engine_faiss_train_mixtures(&form, SEED, centroids[0], rows[0], n, &mixtures, out_n, &err));
    return mixtures;
}

static const char *const coded[] = {"IVF64,PQ4x4fs", "IVF64,PQ4"};

START_TEST(codebooks_are_trained_on_nothing_that_a_row_has_a_part_of)
{
    uint64_t n;
    make_rows();
    make_outliers(100, 10);
    float *mixtures = mix(FEW, coded[_i], &n);
    ck_assert_uint_ge(n, FEW);
    for (uint64_t i = 0; i < n; i += 7)
        for (size_t r = 0; r < FEW; r++) {
            double cosine = gx_simd_dot(mixtures + i * DIM, rows[r], DIM) /
                            sqrt(gx_simd_dot(mixtures + i * DIM, mixtures + i * DIM, DIM));
            ck_assert_msg(cosine < SAME, "mixture %d is row %zu, seed %d", (int)i, r, SEED);
            for (size_t at = 0; at + PART <= DIM; at += PART)
                ck_assert(memcmp(mixtures + i * DIM + at, rows[r] + at, PART * sizeof(float)) != 0);
        }
    free(mixtures);
}
END_TEST

START_TEST(mixtures_are_spread_like_the_rows)
{
    uint64_t n;
    make_rows();
    float *mixtures = mix(MOST, coded[_i], &n);
    double shift = 0, spread = 0, whole = 0;
    for (size_t j = 0; j < DIM; j++) {
        double sums[2] = {0, 0}, squares[2] = {0, 0};
        for (uint64_t i = 0; i < MOST; i++) {
            sums[0] += (double)rows[i][j] / MOST;
            squares[0] += (double)rows[i][j] * (double)rows[i][j] / MOST;
        }
        for (uint64_t i = 0; i < n; i++) {
            double x = (double)mixtures[i * DIM + j];
            sums[1] += x / (double)n;
            squares[1] += x * x / (double)n;
        }
        shift += (sums[0] - sums[1]) * (sums[0] - sums[1]);
        whole += squares[0] - sums[0] * sums[0];
        spread += squares[1] - sums[1] * sums[1];
    }
    ck_assert_msg(shift < 0.001, "%f, seed %d", shift, SEED);
    ck_assert_msg(fabs(spread / whole - 1) < 0.05, "%f of %f, seed %d", spread, whole, SEED);
    free(mixtures);
}
END_TEST

START_TEST(copies_of_a_few_photos_do_not_become_codes)
{
    uint64_t n;
    make_rows();
    for (size_t i = 5; i < FEW; i++)
        memcpy(rows[i], rows[i % 5], sizeof(rows[0]));
    float *mixtures = mix(FEW, coded[_i], &n);
    for (uint64_t i = 0; i < n; i++)
        for (size_t r = 0; r < 5; r++)
            ck_assert(gx_simd_dot(mixtures + i * DIM, rows[r], DIM) < 0.9);
    free(mixtures);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine_faiss_train");
    TCase *t = tcase_create("engine_faiss_train");
    tcase_set_timeout(t, 60);
    tcase_add_test(t, no_centroid_is_a_row_however_few_there_are);
    tcase_add_test(t, no_centroid_is_an_outlier);
    tcase_add_test(t, no_centroid_is_a_photo_that_was_enrolled_many_times);
    tcase_add_test(t, copies_of_a_few_photos_train_without_becoming_centroids);
    tcase_add_test(t, lists_are_of_use_even_from_the_smallest_sample);
    tcase_add_loop_test(t, codebooks_are_trained_on_nothing_that_a_row_has_a_part_of, 0, GX_COUNT_OF(coded));
    tcase_add_loop_test(t, mixtures_are_spread_like_the_rows, 0, GX_COUNT_OF(coded));
    tcase_add_loop_test(t, copies_of_a_few_photos_do_not_become_codes, 0, GX_COUNT_OF(coded));
    suite_add_tcase(suite, t);
    return gx_suite_run(suite);
}
