/* What the options of a search promise, on a gallery that is scanned exactly and on an index. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "served.h"

#define DIM  64
#define ROWS 2000

static struct gx_served served;
static const char *const engines[] = {"flat", "scan", "hnsw", "faiss:IVF16,SQ8", "faiss:HNSW16,SQ8"};
#define ENGINES 5

static bool begin(int engine)
{
    if (strncmp(engines[engine], "faiss", 5) == 0 && gx_served_flat_only())
        return false;
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", engines[engine]);
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", engines[engine]);
    return true;
}

static struct gx_client_result *search(uint64_t row, const struct gx_client_search *how)
{
    struct gx_client_result *result;
    gx_served_ok(gx_served_search(served.client, &served.people, "g", row, how, &result));
    ck_assert_uint_eq(result->n_answers, 1);
    return result;
}

/* Ranks from 1, cosines falling, equal ones by record id, everything exact. */
static void check_order(uint64_t probe, const struct gx_client_answer *a)
{
    for (size_t i = 0; i < a->n_candidates; i++) {
        const struct gx_client_candidate *c = &a->candidates[i];
        ck_assert_uint_eq(c->rank, i + 1);
        gx_served_check_cosine(&served.people, probe, c);
        ck_assert_int_eq(c->captured_at_us, (int64_t)(gx_served_row_of(c->record_id) + 1) * 1000000);
        if (i == 0)
            continue;
        ck_assert(c[-1].cosine >= c->cosine);
        ck_assert(c[-1].cosine > c->cosine || strcmp(c[-1].record_id, c->record_id) < 0);
    }
}

START_TEST(k_is_what_comes_back_from_1_to_1000_and_50_unless_given)
{
    static const uint32_t given[] = {1, 2, 10, 0, 999, 1000};
    if (!begin(_i))
        return;
    struct gx_client_result *all = search(ROWS + 1, &(struct gx_client_search){.k = 1000, .exact = true});
    for (size_t i = 0; i < sizeof(given) / sizeof(given[0]); i++) {
        struct gx_client_search how = {.k = given[i], .exact = true};
        struct gx_client_result *r = search(ROWS + 1, &how);
        ck_assert_uint_eq(r->answers[0].n_candidates, given[i] == 0 ? 50 : given[i]);
        check_order(ROWS + 1, &r->answers[0]);
        ck_assert(r->answers[0].stats.exhaustive);
        ck_assert_ptr_nonnull(strstr(r->notice, "trained human"));
        for (size_t j = 0; j < r->answers[0].n_candidates; j++)
            ck_assert_str_eq(r->answers[0].candidates[j].record_id, all->answers[0].candidates[j].record_id);
        gx_client_result_free(r);
        how.exact = false;
        r = search(ROWS + 1, &how);
        ck_assert_uint_eq(r->answers[0].n_candidates, given[i] == 0 ? 50 : given[i]);
        check_order(ROWS + 1, &r->answers[0]);
        gx_client_result_free(r);
    }
    gx_client_result_free(all);
    gx_served_end(&served);
}
END_TEST

START_TEST(candidates_below_min_cosine_are_left_out_and_no_other)
{
    if (!begin(_i))
        return;
    struct gx_client_result *all = search(7, &(struct gx_client_search){.k = 200, .exact = true});
    const struct gx_client_candidate *c = all->answers[0].candidates;
    struct gx_client_search how = {.k = 200, .exact = true, .has_min_cosine = true, .min_cosine = c[99].cosine};
    struct gx_client_result *some = search(7, &how);
    size_t expected = 100;
    while (expected < 200 && c[expected].cosine >= how.min_cosine)
        expected++;
    ck_assert_uint_eq(some->answers[0].n_candidates, expected);
    gx_client_result_free(some);
    how.min_cosine = 1;
    how.exact = false;
    some = search(ROWS + 3, &how);
    ck_assert_uint_eq(some->answers[0].n_candidates, 0);
    gx_client_result_free(some);
    how.min_cosine = -1;
    some = search(ROWS + 3, &how);
    ck_assert_uint_eq(some->answers[0].n_candidates, 200);
    gx_client_result_free(some);
    gx_client_result_free(all);
    gx_served_end(&served);
}
END_TEST

START_TEST(grouping_gives_the_best_photo_of_each_of_the_best_subjects)
{
    if (!begin(_i))
        return;
    for (int exact = 0; exact < 2; exact++) {
        struct gx_client_search how = {.k = 100, .exact = exact != 0, .group_by_subject = true};
        struct gx_client_result *grouped = search(40, &how);
        struct gx_client_result *all = search(40, &(struct gx_client_search){.k = 1000, .exact = true});
        const struct gx_client_answer *g = &grouped->answers[0], *a = &all->answers[0];
        ck_assert_uint_eq(g->n_candidates, 100);
        check_order(40, g);
        for (size_t i = 0; i < g->n_candidates; i++)
            for (size_t j = 0; j < i; j++)
                ck_assert_str_ne(g->candidates[i].subject_id, g->candidates[j].subject_id);
        /* The exact order, each subject at its first place. */
        for (size_t i = 0, n = 0; exact != 0 && i < a->n_candidates && n < 100; i++) {
            bool seen = false;
            for (size_t j = 0; j < i && !seen; j++)
                seen = strcmp(a->candidates[i].subject_id, a->candidates[j].subject_id) == 0;
            if (!seen)
                ck_assert_str_eq(g->candidates[n++].record_id, a->candidates[i].record_id);
        }
        gx_client_result_free(grouped);
        gx_client_result_free(all);
    }
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- filters */

static bool passes(const struct gx_client_search *how, uint64_t row)
{
    struct gx_people_photo photo;
    char subject[GX_PEOPLE_ID_MAX];
    int64_t at = (int64_t)(row + 1) * 1000000;
    gx_people_row(&served.people, row, NULL, &photo);
    gx_people_subject_id(photo.person, subject);
    bool is_named = how->n_subject_ids == 0;
    for (size_t i = 0; i < how->n_subject_ids; i++)
        is_named = is_named || strcmp(how->subject_ids[i], subject) == 0;
    bool has = how->n_attributes == 0 || strcmp(how->attribute_values[0], row % 2 == 0 ? "even" : "odd") == 0;
    return is_named && has && (how->captured_from_us == 0 || at >= how->captured_from_us) &&
           (how->captured_until_us == 0 || at < how->captured_until_us);
}

static void check_filter(struct gx_client_search how)
{
    size_t passing = 0;
    for (uint64_t row = 0; row < ROWS; row++)
        passing += passes(&how, row);
    how.k = 500;
    for (int exact = 0; exact < 2; exact++) {
        how.exact = exact != 0;
        struct gx_client_result *r = search(11, &how);
        ck_assert_uint_eq(r->answers[0].n_candidates, passing < 500 ? passing : 500);
        check_order(11, &r->answers[0]);
        for (size_t i = 0; i < r->answers[0].n_candidates; i++)
            ck_assert(passes(&how, gx_served_row_of(r->answers[0].candidates[i].record_id)));
        gx_client_result_free(r);
    }
}

START_TEST(filter_lets_through_what_fulfils_all_of_it_and_the_answer_is_never_short)
{
    static const char *const key[] = {"site"}, *const odd[] = {"odd"}, *const none[] = {"neither"};
    static const char *const unknown_key[] = {"place"};
    const char *const subjects[] = {"p0000005", "p0000009", "p0000700", "nobody"};
    if (!begin(_i))
        return;
    check_filter((struct gx_client_search){.captured_from_us = 1500000001});
    check_filter((struct gx_client_search){.captured_until_us = 30000000});
    check_filter((struct gx_client_search){.captured_from_us = 100000000, .captured_until_us = 100000001});
    check_filter((struct gx_client_search){.captured_from_us = 5000000000});
    check_filter((struct gx_client_search){.subject_ids = subjects, .n_subject_ids = 4});
    check_filter((struct gx_client_search){.subject_ids = subjects + 3, .n_subject_ids = 1});
    check_filter((struct gx_client_search){.attribute_keys = key, .attribute_values = odd, .n_attributes = 1});
    check_filter((struct gx_client_search){.attribute_keys = key, .attribute_values = none, .n_attributes = 1});
    check_filter((struct gx_client_search){.subject_ids = subjects,
                                           .n_subject_ids = 3,
                                           .attribute_keys = key,
                                           .attribute_values = odd,
                                           .n_attributes = 1,
                                           .captured_until_us = 1000000000});
    struct gx_client_search how = {.attribute_keys = unknown_key, .attribute_values = odd, .n_attributes = 1};
    struct gx_client_result *r = search(11, &how);
    ck_assert_uint_eq(r->answers[0].n_candidates, 0);
    gx_client_result_free(r);
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- order */

/* One embedding under twenty ids, enrolled in another order than that of the ids. */
static void enrol_twins(void)
{
    enum { N = 20 };
    char ids[N][GX_PEOPLE_ID_MAX];
    struct gx_client_record records[N];
    float rows[N][DIM];
    memset(records, 0, sizeof(records));
    for (size_t i = 0; i < N; i++) {
        (void)snprintf(ids[i], sizeof(ids[i]), "twin-%02zu", i * 7 % N);
        gx_people_row(&served.people, ROWS + 500, rows[i], NULL);
        records[i].record_id = ids[i];
    }
    gx_served_ok(gx_client_insert(served.client, "g", GX_SERVED_EMBEDDER, records, rows[0], N, DIM, NULL, NULL));
}

START_TEST(equal_cosines_are_ordered_by_record_id_and_every_answer_is_the_same)
{
    if (!begin(_i))
        return;
    enrol_twins();
    gx_served_await_indexed(&served, "g", engines[_i]);
    for (int round = 0; round < 6; round++) {
        static const uint32_t ks[] = {5, 20, 50};
        struct gx_client_search how = {.k = ks[round % 3], .exact = round >= 3};
        struct gx_client_result *r = search(ROWS + 500, &how);
        const struct gx_client_answer *a = &r->answers[0];
        ck_assert_uint_eq(a->n_candidates, how.k);
        for (size_t i = 0; i < a->n_candidates && i < 20; i++) {
            char expected[GX_PEOPLE_ID_MAX];
            (void)snprintf(expected, sizeof(expected), "twin-%02zu", i);
            ck_assert_str_eq(a->candidates[i].record_id, expected);
            ck_assert_double_eq_tol((double)a->candidates[i].cosine, 1, 1e-6);
            ck_assert_str_eq(a->candidates[i].subject_id, "");
        }
        gx_client_result_free(r);
    }
    /* Records without a subject stand each for themselves. */
    struct gx_client_result *r = search(ROWS + 500, &(struct gx_client_search){.k = 20, .group_by_subject = true});
    for (size_t i = 0; i < 20; i++)
        ck_assert(strncmp(r->answers[0].candidates[i].record_id, "twin-", 5) == 0);
    gx_client_result_free(r);
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- reading what was written, tuning */

START_TEST(search_sees_the_epoch_of_every_acknowledged_write_at_once)
{
    struct gx_client_enrolled enrolled;
    struct gx_client_result *r;
    if (!begin(_i))
        return;
    for (uint64_t i = 0; i < 50; i++) {
        gx_served_ok(gx_served_insert(served.client, &served.people, "g", ROWS + i, 1, NULL, &enrolled));
        struct gx_client_search how = {.k = 1, .read_after_epoch = enrolled.epoch};
        r = search(ROWS + i, &how);
        ck_assert_uint_eq(gx_served_row_of(r->answers[0].candidates[0].record_id), ROWS + i);
        ck_assert_uint_ge(r->answers[0].stats.epoch, enrolled.epoch);
        gx_client_result_free(r);
    }
    struct gx_client_search ahead = {.k = 1, .read_after_epoch = gx_served_stats(&served, "g").epoch + 1000};
    gx_served_refused(gx_served_search(served.client, &served.people, "g", 0, &ahead, &r), GX_E_UNAVAILABLE);
    gx_served_end(&served);
}
END_TEST

START_TEST(knobs_turn_the_index_they_belong_to_and_are_refused_by_every_other)
{
    static const struct {
        struct gx_client_tuning tuning;
        bool fits[ENGINES];
    } knobs[] = {
        {{.has_effort = true, .effort = 0}, {true, true, true, true, true}},
        {{.has_effort = true, .effort = 1}, {true, true, true, true, true}},
        /* A gallery that is scanned looks at everything, whatever it is asked. */
        {{.nprobe = 1}, {true, false, false, true, false}},
        {{.nprobe = 16}, {true, false, false, true, false}},
        {{.ef_search = 64}, {true, false, true, false, true}},
        {{.ef_search = 10001}, {false, false, false, false, false}},
        {{.candidates = 500}, {true, true, true, true, true}},
    };
    if (!begin(_i))
        return;
    for (size_t i = 0; i < sizeof(knobs) / sizeof(knobs[0]); i++) {
        struct gx_client_search how = {.k = 10, .tuning = knobs[i].tuning};
        struct gx_client_result *r;
        enum gx_status status = gx_served_search(served.client, &served.people, "g", 1, &how, &r);
        ck_assert_msg(status == (knobs[i].fits[_i] ? GX_OK : GX_E_INVALID), "knob %zu: %d %s", i, (int)status,
                      gx_client_error());
        if (status == GX_OK) {
            ck_assert_uint_eq(r->answers[0].n_candidates, 10);
            check_order(1, &r->answers[0]);
        }
        gx_client_result_free(r);
        how.exact = true;
        gx_served_refused(gx_served_search(served.client, &served.people, "g", 1, &how, &r), GX_E_INVALID);
    }
    gx_served_end(&served);
}
END_TEST

START_TEST(batch_answers_each_probe_as_a_search_of_its_own_would)
{
    enum { N = 40 };
    static float rows[N][DIM];
    struct gx_client_result *batch;
    struct gx_client_search how = {.k = 20};
    if (!begin(_i))
        return;
    for (uint64_t i = 0; i < N; i++)
        gx_people_row(&served.people, ROWS + 10 * i, rows[i], NULL);
    for (int exact = 0; exact < 2; exact++) {
        how.exact = exact != 0;
        gx_served_ok(gx_client_search(served.client, "g", GX_SERVED_EMBEDDER, rows[0], N, DIM, &how, &batch));
        ck_assert_uint_eq(batch->n_answers, N);
        for (uint64_t i = 0; i < N; i++) {
            struct gx_client_result *one = search(ROWS + 10 * i, &how);
            ck_assert_uint_eq(batch->answers[i].n_candidates, 20);
            for (size_t j = 0; j < 20; j++) {
                const struct gx_client_candidate *a = &batch->answers[i].candidates[j];
                const struct gx_client_candidate *b = &one->answers[0].candidates[j];
                ck_assert_str_eq(a->record_id, b->record_id);
                ck_assert(a->cosine == b->cosine);
            }
            gx_client_result_free(one);
        }
        gx_client_result_free(batch);
    }
    gx_served_end(&served);
}
END_TEST

START_TEST(recall_is_measured_on_the_gallery_itself_and_an_exact_engine_has_all_of_it)
{
    struct gx_client_recall recall;
    if (!begin(_i))
        return;
    struct gx_client_tuning full = {.has_effort = true, .effort = 1};
    gx_served_ok(gx_client_gallery_measure(served.client, "g", 50, &full, 0, &recall));
    ck_assert_uint_eq(recall.probes, 50);
    ck_assert_str_eq(recall.engine, engines[_i]);
    ck_assert_double_ge(recall.recall_at_10, _i == 0 ? 1 : 0.99);
    gx_served_ok(gx_client_gallery_measure(served.client, "g", 50, NULL, 0, &recall));
    ck_assert_double_ge(recall.recall_at_1, 0.7);
    gx_served_refused(gx_client_gallery_measure(served.client, "g", 1001, NULL, 0, &recall), GX_E_INVALID);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {k_is_what_comes_back_from_1_to_1000_and_50_unless_given, ENGINES},
        {candidates_below_min_cosine_are_left_out_and_no_other, ENGINES},
        {grouping_gives_the_best_photo_of_each_of_the_best_subjects, ENGINES},
        {filter_lets_through_what_fulfils_all_of_it_and_the_answer_is_never_short, ENGINES},
        {equal_cosines_are_ordered_by_record_id_and_every_answer_is_the_same, ENGINES},
        {search_sees_the_epoch_of_every_acknowledged_write_at_once, ENGINES},
        {knobs_turn_the_index_they_belong_to_and_are_refused_by_every_other, ENGINES},
        {batch_answers_each_probe_as_a_search_of_its_own_would, ENGINES},
        {recall_is_measured_on_the_gallery_itself_and_an_exact_engine_has_all_of_it, ENGINES},
    };
    return gx_served_run("search", tests, sizeof(tests) / sizeof(tests[0]));
}
