/* The synthetic faces: reproducible, and like real ones in every figure that a search engine can feel. */
#include "people.h"
#include "people_stats.h"

#include <check.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SEED   1u
#define DIM    512u
#define ROWS   8000u
#define PROBES 800u

static const uint32_t dims[] = {2, 3, 5, 7, 8, 100, 128, 512, 513, 1000, 4096};
#define N_DIMS (sizeof dims / sizeof dims[0])

static struct gx_people people, other;
static float row_a[GX_PEOPLE_DIM_MAX], row_b[GX_PEOPLE_DIM_MAX];

static uint64_t checksum(uint64_t h, const float *row, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &row[i], sizeof bits);
        h = (h ^ bits) * UINT64_C(0x100000001b3);
    }
    return h;
}

START_TEST(same_seed_gives_the_bytes_that_it_gave_on_another_machine)
{
    /* Recorded once. They change when the generator is changed on purpose, and with it every recorded gallery. */
    static const struct {
        uint32_t dim;
        uint64_t sum;
    } recorded[] = {{7, UINT64_C(0x4778ee9ed660eabc)},
                    {128, UINT64_C(0xab8cab19c70636fe)},
                    {512, UINT64_C(0x74135cfd0021b725)},
                    {1000, UINT64_C(0x82da9486901eca40)}};
    for (size_t d = 0; d < sizeof recorded / sizeof recorded[0]; d++) {
        ck_assert(gx_people_init(&people, 20240229, recorded[d].dim, 1000));
        uint64_t h = UINT64_C(0xcbf29ce484222325);
        for (uint64_t i = 0; i < 20; i++) {
            gx_people_row(&people, i * i * i * 1000003, row_a, NULL);
            h = checksum(h, row_a, recorded[d].dim);
            gx_people_probe(&people, i, row_a, NULL);
            h = checksum(h, row_a, recorded[d].dim);
        }
        ck_assert_msg(h == recorded[d].sum, "dimension %u: 0x%016" PRIx64, recorded[d].dim, h);
    }
}
END_TEST

START_TEST(another_seed_gives_other_people)
{
    ck_assert(gx_people_init(&people, SEED, DIM, ROWS));
    ck_assert(gx_people_init(&other, SEED + 1, DIM, ROWS));
    for (uint64_t i = 0; i < 50; i++) {
        gx_people_row(&people, i, row_a, NULL);
        gx_people_row(&other, i, row_b, NULL);
        double cosine = 0;
        for (size_t k = 0; k < DIM; k++)
            cosine += (double)row_a[k] * (double)row_b[k];
        ck_assert_double_lt(fabs(cosine), 0.35);
    }
}
END_TEST

START_TEST(smaller_set_is_the_beginning_of_the_bigger_one)
{
    ck_assert(gx_people_init(&people, SEED, 100, 1000));
    ck_assert(gx_people_init(&other, SEED, 100, 10000000));
    for (uint64_t i = 1000; i-- > 0;) {
        struct gx_people_photo a, b;
        gx_people_row(&people, i, row_a, &a);
        gx_people_row(&other, i, row_b, &b);
        ck_assert_mem_eq(row_a, row_b, 100 * sizeof *row_a);
        ck_assert(a.person == b.person && a.photo == b.photo && a.arrest == b.arrest);
    }
}
END_TEST

START_TEST(every_row_and_probe_has_length_one_in_every_dimension)
{
    for (size_t d = 0; d < N_DIMS; d++) {
        ck_assert(gx_people_init(&people, SEED, dims[d], 5000000));
        for (uint64_t i = 0; i < 200; i++) {
            if (i % 2 == 0)
                gx_people_row(&people, i * 24989, row_a, NULL);
            else
                gx_people_probe(&people, i, row_a, NULL);
            double length2 = 0;
            for (size_t k = 0; k < dims[d]; k++)
                length2 += (double)row_a[k] * (double)row_a[k];
            ck_assert_double_eq_tol(length2, 1, 1e-6);
        }
    }
}
END_TEST

START_TEST(dimension_out_of_range_is_refused)
{
    ck_assert(!gx_people_init(&people, SEED, 0, ROWS));
    ck_assert(!gx_people_init(&people, SEED, 1, ROWS));
    ck_assert(!gx_people_init(&people, SEED, GX_PEOPLE_DIM_MAX + 1, ROWS));
}
END_TEST

/* Components are spread over all coordinates, also where the dimension is no power of two. */
START_TEST(no_coordinate_is_idle)
{
    static double energy[GX_PEOPLE_DIM_MAX];
    for (size_t d = 0; d < N_DIMS; d++) {
        ck_assert(gx_people_init(&people, SEED, dims[d], 2000));
        memset(energy, 0, sizeof energy);
        for (uint64_t i = 0; i < 500; i++) {
            gx_people_row(&people, i * 7, row_a, NULL);
            for (size_t k = 0; k < dims[d]; k++)
                energy[k] += (double)row_a[k] * (double)row_a[k] / 500 * dims[d];
        }
        for (size_t k = 0; k < dims[d]; k++) {
            ck_assert_msg(energy[k] > 0.45, "dimension %u, coordinate %zu: %.3f", dims[d], k, energy[k]);
            ck_assert_msg(energy[k] < 1.8, "dimension %u, coordinate %zu: %.3f", dims[d], k, energy[k]);
        }
    }
}
END_TEST

START_TEST(rows_of_a_person_are_exactly_the_rows_that_show_them)
{
    static const uint64_t sizes[] = {1, 2, 999, 7001, 20011};
    for (size_t s = 0; s < 5; s++) {
        ck_assert(gx_people_init(&people, SEED, DIM, sizes[s]));
        uint64_t i = 0;
        for (uint64_t person = 0; person < people.n_persons; person++) {
            uint64_t first;
            uint32_t n;
            gx_people_rows_of(&people, person, &first, &n);
            ck_assert_uint_eq(first, i);
            ck_assert_uint_ge(n, 1);
            for (uint32_t k = 0; k < n; k++, i++) {
                struct gx_people_photo photo;
                gx_people_row(&people, i, NULL, &photo);
                ck_assert_uint_eq(photo.person, person);
                ck_assert_uint_eq(photo.photo, k);
                ck_assert_uint_eq(photo.arrest, k / 2 + 1);
            }
        }
        ck_assert_uint_eq(i, sizes[s]);
        uint64_t first;
        uint32_t n;
        gx_people_rows_of(&people, people.n_persons, &first, &n);
        ck_assert_uint_eq(n, 0);
        gx_people_rows_of(&people, GX_PEOPLE_STRANGER, &first, &n);
        ck_assert_uint_eq(n, 0);
    }
}
END_TEST

START_TEST(most_people_have_one_to_three_photos_and_a_few_have_forty)
{
    ck_assert(gx_people_init(&people, SEED, DIM, 1000000));
    uint64_t persons = people.n_persons - 1, one = 0, three = 0, thirty = 0, most = 0;
    for (uint64_t person = 0; person < persons; person++) { /* but the last, who is cut off */
        uint64_t first;
        uint32_t n;
        gx_people_rows_of(&people, person, &first, &n);
        one += n == 1;
        three += n <= 3;
        thirty += n >= 30;
        most = n > most ? n : most;
    }
    double mean = 1000000.0 / (double)persons;
    ck_assert_double_gt(mean, 1.6);
    ck_assert_double_lt(mean, 3.0);
    ck_assert_double_gt((double)one / (double)persons, 0.6);
    ck_assert_double_gt((double)three / (double)persons, 0.85);
    ck_assert_double_gt((double)thirty / (double)persons, 0.0005);
    ck_assert_uint_gt(most, 35);
    ck_assert_uint_le(most, GX_PEOPLE_PHOTOS_MAX);
}
END_TEST

START_TEST(mated_probe_is_a_new_photo_of_an_enrolled_person)
{
    ck_assert(gx_people_init(&people, SEED, 64, 500));
    size_t mated = 0;
    for (uint64_t j = 0; j < 2000; j++) {
        uint64_t person, first;
        uint32_t n;
        gx_people_probe(&people, j, row_a, &person);
        gx_people_rows_of(&people, person, &first, &n);
        mated += n > 0;
        ck_assert_int_eq(n > 0, (person & GX_PEOPLE_STRANGER) == 0);
        for (uint32_t k = 0; k < n; k++) {
            gx_people_row(&people, first + k, row_b, NULL);
            ck_assert(memcmp(row_a, row_b, 64 * sizeof *row_a) != 0);
        }
    }
    ck_assert_double_eq_tol((double)mated / 2000, 0.82, 0.03);
}
END_TEST

START_TEST(empty_gallery_has_probes_without_a_mate)
{
    ck_assert(gx_people_init(&people, SEED, 64, 0));
    ck_assert_uint_eq(people.n_persons, 0);
    for (uint64_t j = 0; j < 20; j++) {
        uint64_t person;
        gx_people_probe(&people, j, row_a, &person);
        ck_assert_uint_ne(person & GX_PEOPLE_STRANGER, 0);
    }
}
END_TEST

START_TEST(ids_are_readable_and_tell_strangers_apart)
{
    char id[GX_PEOPLE_ID_MAX];
    gx_people_record_id(12, id);
    ck_assert_str_eq(id, "photo-00000012");
    gx_people_record_id(UINT64_MAX, id);
    ck_assert_str_eq(id, "photo-18446744073709551615");
    gx_people_subject_id(7, id);
    ck_assert_str_eq(id, "p0000007");
    gx_people_subject_id(GX_PEOPLE_STRANGER + 7, id);
    ck_assert_str_eq(id, "u0000007");
    gx_people_arrest_id(7, 1, id);
    ck_assert_str_eq(id, "A0000007-1");
    gx_people_arrest_id(GX_PEOPLE_STRANGER - 1, UINT32_MAX, id);
    ck_assert_str_eq(id, "A1099511627775-4294967295");
}
END_TEST

/* ---- likeness; measured once for all the tests below ---- */

static struct gx_people_stats stats;

static void measure(uint32_t dim, uint32_t n_rows, struct gx_people_stats *out)
{
    float *rows = malloc((size_t)(n_rows + PROBES) * dim * sizeof *rows);
    uint64_t *person = malloc((n_rows + PROBES) * sizeof *person);
    ck_assert(rows != NULL && person != NULL);
    ck_assert(gx_people_init(&people, SEED, dim, n_rows));
    for (uint32_t i = 0; i < n_rows; i++) {
        struct gx_people_photo photo;
        gx_people_row(&people, i, rows + (size_t)i * dim, &photo);
        person[i] = photo.person;
    }
    for (uint32_t j = 0; j < PROBES; j++)
        gx_people_probe(&people, j, rows + (size_t)(n_rows + j) * dim, &person[n_rows + j]);
    struct gx_people_sample gallery = {.rows = rows, .person = person, .n = n_rows, .dim = dim};
    struct gx_people_sample probes = gallery;
    probes.rows += (size_t)n_rows * dim;
    probes.person += n_rows;
    probes.n = PROBES;
    ck_assert(gx_people_stats_measure(&gallery, &probes, PROBES, out));
    free(rows);
    free(person);
}

static void measure_512(void)
{
    measure(DIM, ROWS, &stats);
}

START_TEST(photos_of_one_person_are_as_alike_as_real_ones)
{
    ck_assert_uint_gt(stats.genuine_pairs, 5000);
    ck_assert_double_eq_tol(stats.genuine_mean, 0.67, 0.015);
    ck_assert_double_eq_tol(stats.genuine_sd, 0.09, 0.01);
    ck_assert_double_eq_tol(stats.genuine_low, 0.24, 0.06);
}
END_TEST

START_TEST(photos_of_two_persons_are_as_alike_as_real_ones)
{
    ck_assert_double_eq_tol(stats.impostor_mean, 0.009, 0.002);
    ck_assert_double_eq_tol(stats.impostor_sd, 0.076, 0.002);
    ck_assert_double_eq_tol(stats.impostor_high, 0.328, 0.015); /* look-alikes; a normal law would say 0.29 */
}
END_TEST

START_TEST(spectrum_is_as_flat_as_a_real_one)
{
    ck_assert_uint_ge(stats.components_90, 148);
    ck_assert_uint_le(stats.components_90, 162);
}
END_TEST

START_TEST(neighbourhoods_are_as_crowded_as_real_ones)
{
    ck_assert_double_eq_tol(stats.lid_one, 50, 4);
    ck_assert_double_eq_tol(stats.lid_all, 12, 2.5);
}
END_TEST

START_TEST(probes_find_mates_and_strangers_as_far_away_as_real_ones_do)
{
    ck_assert_double_eq_tol(stats.mated, 0.82, 0.04);
    ck_assert_double_eq_tol(stats.mate_median, 0.73, 0.03);
    ck_assert_double_eq_tol(stats.stranger_median, 0.32, 0.02);
    ck_assert_double_eq_tol(stats.unmated_median, 0.32, 0.02);
    ck_assert_double_gt(stats.rank_1, 0.99);
}
END_TEST

START_TEST(the_128_dimensional_ones_are_like_real_ones_too)
{
    struct gx_people_stats s;
    measure(128, ROWS, &s);
    ck_assert_double_eq_tol(s.genuine_mean, 0.67, 0.03);
    ck_assert_double_eq_tol(s.genuine_sd, 0.09, 0.015);
    ck_assert_double_eq_tol(s.impostor_sd, 0.096, 0.005);
    ck_assert_uint_ge(s.components_90, 97);
    ck_assert_uint_le(s.components_90, 109);
    ck_assert_double_eq_tol(s.lid_one, 38, 4);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("people");
    TCase *exact = tcase_create("exact"), *alike = tcase_create("alike");
    tcase_set_timeout(exact, 60);
    tcase_add_test(exact, same_seed_gives_the_bytes_that_it_gave_on_another_machine);
    tcase_add_test(exact, another_seed_gives_other_people);
    tcase_add_test(exact, smaller_set_is_the_beginning_of_the_bigger_one);
    tcase_add_test(exact, every_row_and_probe_has_length_one_in_every_dimension);
    tcase_add_test(exact, dimension_out_of_range_is_refused);
    tcase_add_test(exact, no_coordinate_is_idle);
    tcase_add_test(exact, rows_of_a_person_are_exactly_the_rows_that_show_them);
    tcase_add_test(exact, most_people_have_one_to_three_photos_and_a_few_have_forty);
    tcase_add_test(exact, mated_probe_is_a_new_photo_of_an_enrolled_person);
    tcase_add_test(exact, empty_gallery_has_probes_without_a_mate);
    tcase_add_test(exact, ids_are_readable_and_tell_strangers_apart);
    suite_add_tcase(s, exact);
    tcase_set_timeout(alike, 120);
    tcase_add_unchecked_fixture(alike, measure_512, NULL);
    tcase_add_test(alike, photos_of_one_person_are_as_alike_as_real_ones);
    tcase_add_test(alike, photos_of_two_persons_are_as_alike_as_real_ones);
    tcase_add_test(alike, spectrum_is_as_flat_as_a_real_one);
    tcase_add_test(alike, neighbourhoods_are_as_crowded_as_real_ones);
    tcase_add_test(alike, probes_find_mates_and_strangers_as_far_away_as_real_ones_do);
    tcase_add_test(alike, the_128_dimensional_ones_are_like_real_ones_too);
    suite_add_tcase(s, alike);
    return s;
}

int main(void)
{
    SRunner *runner = srunner_create(suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
