/* Promises of engine.h for the FAISS engines: training, searching, removing. */
#include "engine.h"

#include <check.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "simd.h"
#include "suite.h"
#include "trained.h"

#define DIM GX_TRAINED_DIM
#define N   GX_TRAINED_ROWS

static struct gx_trained *const t = &gx_trained;
static struct gx_err err;

#define OK(call) ck_assert_msg((call) == GX_OK, "seed %d: %s", GX_TRAINED_SEED, err.text)

/* The row of @answer whose exact score is the best. */
static size_t best_row(const struct gx_trained_answer *answer, const float *probe)
{
    size_t best = N;
    double best_score = -2;
    for (size_t i = 0; i < answer->n; i++) {
        size_t r = gx_trained_row(answer->hits[i].rno);
        if (r == N)
            return N;
        double score = gx_simd_dot(probe, t->rows[r], DIM);
        if (score > best_score) {
            best = r;
            best_score = score;
        }
    }
    return best;
}

static void check_row_finds_itself_among_the_candidates(int form)
{
    size_t found = 0, tried = 0;
    for (size_t r = 0; r < N; r += 7, tried++) {
        struct gx_trained_answer answer;
        gx_trained_ask(t->forms[form].engine, t->rows[r], 0.6f, &answer);
        ck_assert_uint_eq(answer.n, GX_TRAINED_WANTED);
        ck_assert_uint_gt(answer.scanned, 0);
        ck_assert_uint_le(answer.scanned, N);
        bool in_order = true, once = true;
        for (size_t i = 1; i < answer.n; i++) {
            in_order &= answer.hits[i - 1].approx_score >= answer.hits[i].approx_score;
            for (size_t j = 0; j < i; j++)
                once &= answer.hits[i].rno != answer.hits[j].rno;
        }
        ck_assert_msg(in_order && once, "%s", t->forms[form].text);
        found += best_row(&answer, t->rows[r]) == r;
    }
    ck_assert_msg(found * 100 >= tried * 99, "%s: %zu of %zu found themselves", t->forms[form].text, found, tried);
    struct gx_engine_stats stats;
    gx_engine_stats(t->forms[form].engine, &stats);
    ck_assert_uint_eq(stats.entries, N);
    ck_assert_uint_gt(stats.index_bytes, N * 8);
    ck_assert_uint_lt(stats.index_bytes, N * (DIM * 4 + 300));
}

START_TEST(a_row_finds_itself_among_the_candidates)
{
    for (int form = 0; form < GX_TRAINED_FORMS; form++)
        check_row_finds_itself_among_the_candidates(form);
}
END_TEST

static void check_approximate_scores_are_near_the_exact_ones(int form)
{
    struct gx_trained_answer answer;
    double worst = 0;
    gx_trained_ask(t->forms[form].engine, t->rows[11], 1, &answer);
    for (size_t i = 0; i < answer.n; i++) {
        size_t r = gx_trained_row(answer.hits[i].rno);
        ck_assert_uint_lt(r, N);
        worst = fmax(worst, fabs((double)answer.hits[i].approx_score - gx_simd_dot(t->rows[11], t->rows[r], DIM)));
    }
    ck_assert_msg(worst < t->forms[form].off, "%s: off by %f", t->forms[form].text, worst);
}

START_TEST(approximate_scores_are_near_the_exact_ones)
{
    for (int form = 0; form < GX_TRAINED_FORMS; form++)
        check_approximate_scores_are_near_the_exact_ones(form);
}
END_TEST

static void check_removed_rows_are_never_returned(int form)
{
    struct gx_engine *copy = gx_trained_copy(t->forms[form].engine);
    uint64_t gone[N];
    size_t n_gone = 0, n_removed;
    for (size_t r = 0; r < N; r += 3)
        gone[n_gone++] = t->rnos[r];
    if (!copy->spec.removes) {
        struct gx_trained_answer before, after;
        gx_trained_ask(copy, t->rows[0], 0.6f, &before);
        ck_assert_int_eq(gx_engine_remove(copy, gone, n_gone, &n_removed, &err), GX_E_UNIMPLEMENTED);
        ck_assert_ptr_nonnull(strstr(err.text, "rebuild"));
        gx_trained_ask(copy, t->rows[0], 0.6f, &after);
        ck_assert(gx_trained_same(&before, &after));
        gx_engine_unref(copy);
        return;
    }
    const uint64_t unknown[] = {7, 999999, gone[0]};
    OK(gx_engine_remove(copy, gone, 1, &n_removed, &err));
    ck_assert_uint_eq(n_removed, 1);
    OK(gx_engine_remove(copy, unknown, 3, &n_removed, &err));
    ck_assert_uint_eq(n_removed, 0);
    OK(gx_engine_remove(copy, gone, n_gone, &n_removed, &err));
    ck_assert_uint_eq(n_removed, n_gone - 1);
    struct gx_engine_stats stats;
    gx_engine_stats(copy, &stats);
    ck_assert_uint_eq(stats.entries, N - n_gone);
    size_t found = 0, tried = 0, returned = 0;
    for (size_t r = 0; r < N; r += 2) {
        struct gx_trained_answer answer;
        gx_trained_ask(copy, t->rows[r], r % 4 == 0 ? 1 : 0.6f, &answer);
        for (size_t i = 0; i < answer.n; i++)
            returned += gx_trained_row(answer.hits[i].rno) % 3 == 0;
        if (r % 3 != 0) {
            found += best_row(&answer, t->rows[r]) == r;
            tried++;
        }
    }
    ck_assert_msg(returned == 0, "%s returned %zu removed rows", t->forms[form].text, returned);
    ck_assert_msg(found * 100 >= tried * 99, "%s: %zu of %zu found themselves", t->forms[form].text, found, tried);
    OK(gx_engine_add(copy, gone, t->rows[0], 1, &err));
    struct gx_trained_answer again;
    gx_trained_ask(copy, t->rows[0], 0.6f, &again);
    ck_assert(gx_trained_holds(&again, gone[0]));
    gx_engine_unref(copy);
}

START_TEST(removed_rows_are_never_returned)
{
    for (int form = 0; form < GX_TRAINED_FORMS; form++)
        check_removed_rows_are_never_returned(form);
}
END_TEST

struct searcher {
    struct gx_engine *engine;
    const struct gx_trained_answer *alone;
    float effort;
    unsigned wrong;
};

#define N_PROBES 60

static void *search_again(void *arg)
{
    struct searcher *s = arg;
    gx_engine_thread_begin();
    for (int turn = 0; turn < 2; turn++)
        for (size_t p = 0; p < N_PROBES; p++) {
            struct gx_engine_effort e = {.effort = s->effort};
            struct gx_trained_answer answer;
            if (gx_trained_search(s->engine, t->rows[p * 31], &e, GX_TRAINED_WANTED, answer.hits, &answer.n,
                                  &answer.scanned, &answer.effort, NULL) != GX_OK ||
                !gx_trained_same(&answer, &s->alone[p]))
                s->wrong++;
        }
    return NULL;
}

static void check_searches_of_differing_effort_do_not_disturb_each_other(int form)
{
    static struct gx_trained_answer alone[4][N_PROBES];
    struct searcher searchers[4];
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++) {
        searchers[i] = (struct searcher){.engine = t->forms[form].engine, .alone = alone[i], .effort = (float)i / 4};
        for (size_t p = 0; p < N_PROBES; p++)
            gx_trained_ask(t->forms[form].engine, t->rows[p * 31], searchers[i].effort, &alone[i][p]);
    }
    for (size_t i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, search_again, &searchers[i]), 0);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_msg(searchers[i].wrong == 0, "%s: %u answers differ", t->forms[form].text, searchers[i].wrong);
    }
}

START_TEST(searches_of_differing_effort_do_not_disturb_each_other)
{
    for (int form = 0; form < GX_TRAINED_FORMS; form++)
        check_searches_of_differing_effort_do_not_disturb_each_other(form);
}
END_TEST

static void check_engine_that_is_not_trained_says_so(int form)
{
    struct gx_engine *engine = gx_trained_new(t->forms[form].text);
    struct gx_engine_stats stats;
    gx_engine_stats(engine, &stats);
    ck_assert_uint_eq(stats.entries, 0);
    struct gx_engine_effort effort = {.effort = 0.5f};
    struct gx_trained_answer a;
    size_t n_removed;
    enum gx_status expected = engine->spec.train_max == 0 ? GX_OK : GX_E_STATE;
    ck_assert_int_eq(
        gx_trained_search(engine, t->rows[0], &effort, GX_TRAINED_WANTED, a.hits, &a.n, &a.scanned, &a.effort, &err),
        expected);
    ck_assert_uint_eq(a.n, 0);
    if (expected == GX_E_STATE) {
        ck_assert_int_eq(gx_engine_add(engine, t->rnos, t->rows[0], 1, &err), GX_E_STATE);
        ck_assert_int_eq(gx_engine_save(engine, t->path, &err), GX_E_STATE);
        ck_assert_int_eq(gx_engine_train(engine, t->rows[0], engine->spec.train_min - 1, &err), GX_E_INVALID);
        ck_assert_ptr_nonnull(strstr(err.text, "rows to train"));
    }
    if (engine->spec.removes)
        OK(gx_engine_remove(engine, t->rnos, 1, &n_removed, &err));
    gx_engine_unref(engine);
}

START_TEST(an_engine_that_is_not_trained_says_so)
{
    for (int form = 0; form < GX_TRAINED_FORMS; form++)
        check_engine_that_is_not_trained_says_so(form);
}
END_TEST

START_TEST(an_engine_is_trained_once)
{
    ck_assert_int_eq(gx_engine_train(t->forms[2].engine, t->rows[0], N, &err), GX_E_STATE);
    struct gx_trained_answer answer;
    gx_trained_ask(t->forms[2].engine, t->rows[0], 0.6f, &answer);
    ck_assert(gx_trained_holds(&answer, t->rnos[0]));
}
END_TEST

START_TEST(the_same_sample_and_seed_give_the_same_engine)
{
    struct gx_engine *twin = gx_trained_new("faiss:IVF16,SQ8");
    OK(gx_engine_train(twin, t->rows[0], N, &err));
    OK(gx_engine_add(twin, t->rnos, t->rows[0], N, &err));
    for (size_t r = 0; r < N; r += 97) {
        struct gx_trained_answer a, b;
        gx_trained_ask(t->forms[2].engine, t->rows[r], 0.3f, &a);
        gx_trained_ask(twin, t->rows[r], 0.3f, &b);
        ck_assert(gx_trained_same(&a, &b));
    }
    gx_engine_unref(twin);
}
END_TEST

START_TEST(few_rows_train_without_a_word_on_stderr)
{
    static const char *const small[] = {"faiss:IVF16,SQ8", "faiss:IVF16,PQ16x4fs", "faiss:IVF2,PQ1", "faiss:HNSW8,SQ8"};
    FILE *captured = tmpfile();
    ck_assert_ptr_nonnull(captured);
    int saved = dup(STDERR_FILENO);
    dup2(fileno(captured), STDERR_FILENO);
    enum gx_status status = GX_OK;
    for (size_t i = 0; i < GX_COUNT_OF(small); i++) {
        struct gx_engine *engine = gx_trained_new(small[i]);
        if (status == GX_OK)
            status = gx_engine_train(engine, t->rows[0], engine->spec.train_min, &err);
        if (status == GX_OK)
            status = gx_engine_add(engine, t->rnos, t->rows[0], 100, &err);
        gx_engine_unref(engine);
    }
    dup2(saved, STDERR_FILENO);
    close(saved);
    ck_assert_msg(status == GX_OK, "%s", err.text);
    struct stat st;
    ck_assert_int_eq(fstat(fileno(captured), &st), 0);
    ck_assert_int_eq(st.st_size, 0);
    fclose(captured);
}
END_TEST

START_TEST(more_effort_looks_at_more_rows_up_to_all)
{
    struct gx_engine *ivf = t->forms[1].engine;
    struct gx_trained_answer exact, answer;
    for (size_t r = 0; r < N; r += 191) {
        uint64_t before = 0;
        for (int e = 0; e <= 4; e++) {
            gx_trained_ask(ivf, t->rows[r], (float)e / 4, &answer);
            ck_assert(answer.effort == (float)e / 4);
            ck_assert_uint_gt(answer.scanned, before);
            before = answer.scanned;
        }
        gx_trained_ask(t->forms[0].engine, t->rows[r], 0, &exact);
        ck_assert_uint_eq(answer.scanned, N);
        ck_assert_uint_eq(exact.scanned, N);
        ck_assert_uint_eq(answer.n, exact.n);
        for (size_t i = 0; i < exact.n; i++)
            ck_assert_uint_eq(answer.hits[i].rno, exact.hits[i].rno);
    }
}
END_TEST

/* Centroids that are searched through a graph: FAISS's own setting would miss many lists, and lose rows in wrong ones.
 */
START_TEST(a_graph_of_centroids_finds_the_lists_that_comparing_all_finds)
{
    struct gx_engine *plain = gx_trained_new("faiss:IVF250,SQ8"), *graph = gx_trained_new("faiss:IVF250_HNSW8,SQ8");
    OK(gx_engine_train(plain, t->rows[0], N, &err));
    OK(gx_engine_train(graph, t->rows[0], N, &err));
    for (size_t at = 0; at < N; at += 500) { /* a search between two adds leaves another setting behind */
        struct gx_trained_answer a;
        OK(gx_engine_add(plain, t->rnos + at, t->rows[at], 500, &err));
        OK(gx_engine_add(graph, t->rnos + at, t->rows[at], 500, &err));
        gx_trained_ask(graph, t->rows[at], (float)(at % 1000) / 500, &a);
    }
    size_t same = 0, tried = 0;
    for (size_t r = 0; r < N; r += 13)
        for (int e = 0; e <= 4; e++, tried++) {
            struct gx_trained_answer a, b;
            gx_trained_ask(plain, t->rows[r], (float)e / 4, &a);
            gx_trained_ask(graph, t->rows[r], (float)e / 4, &b);
            same += gx_trained_same(&a, &b);
            ck_assert(e < 4 || b.scanned == N);
        }
    ck_assert_msg(same * 100 >= tried * 97, "%zu of %zu answers are the same", same, tried);
    gx_engine_unref(plain);
    gx_engine_unref(graph);
}
END_TEST

static enum gx_status ask_with(struct gx_engine *engine, float effort, uint32_t nprobe, uint32_t ef_search,
                               size_t n_wanted, struct gx_trained_answer *out)
{
    struct gx_engine_effort e = {effort, nprobe, ef_search};
    return gx_trained_search(engine, t->rows[5], &e, n_wanted, out->hits, &out->n, &out->scanned, &out->effort, &err);
}

START_TEST(typed_knobs_are_taken_by_their_own_family_only)
{
    struct gx_trained_answer a;
    struct gx_engine *flat = t->forms[0].engine, *ivf = t->forms[2].engine, *fast = t->forms[6].engine,
                     *hnsw = t->forms[9].engine;
    OK(ask_with(ivf, -1, 4, 0, 10, &a)); /* 4 of 16 lists: their square root */
    ck_assert(fabsf(a.effort) < 1e-6f);
    OK(ask_with(ivf, -1, 16, 0, 10, &a));
    ck_assert(a.effort == 1);
    OK(ask_with(ivf, -1, 1000000, 0, 10, &a));
    ck_assert_uint_eq(a.scanned, N);
    OK(ask_with(fast, -1, 8, 0, 10, &a));
    ck_assert(fabsf(a.effort - 0.5f) < 1e-6f);
    OK(ask_with(hnsw, -1, 0, 256, 10, &a));
    ck_assert(fabsf(a.effort - 0.5f) < 1e-6f);
    OK(ask_with(hnsw, -1, 0, 1, GX_TRAINED_WANTED, &a)); /* an ef below the number wanted would lose rows */
    ck_assert_uint_eq(a.n, GX_TRAINED_WANTED);
    ck_assert(a.effort > 0.2f);
    OK(ask_with(hnsw, -1, 0, UINT32_MAX, 10, &a));
    static struct gx_engine_hit many[N];
    struct gx_engine_effort little = {.effort = 0};
    OK(gx_trained_search(hnsw, t->rows[5], &little, SIZE_MAX, many, &a.n, &a.scanned, &a.effort, &err));
    ck_assert_uint_le(a.n, N);
    OK(ask_with(ivf, -1, 0, 0, 10, &a)); /* nothing given: the middle */
    ck_assert(a.effort == 0.5f);
    ck_assert_int_eq(ask_with(ivf, -1, 0, 64, 10, &a), GX_E_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "nprobe"));
    ck_assert_int_eq(ask_with(fast, -1, 0, 64, 10, &a), GX_E_INVALID);
    ck_assert_int_eq(ask_with(hnsw, -1, 8, 0, 10, &a), GX_E_INVALID);
    ck_assert_ptr_nonnull(strstr(err.text, "ef_search"));
    ck_assert_int_eq(ask_with(flat, -1, 8, 0, 10, &a), GX_E_INVALID);
    ck_assert_int_eq(ask_with(flat, -1, 0, 8, 10, &a), GX_E_INVALID);
    ck_assert_int_eq(ask_with(ivf, 0.5f, 8, 0, 10, &a), GX_E_INVALID);
    ck_assert_int_eq(ask_with(ivf, 1.01f, 0, 0, 10, &a), GX_E_INVALID);
    ck_assert_int_eq(ask_with(hnsw, NAN, 0, 0, 10, &a), GX_E_INVALID);
}
END_TEST

static void check_no_more_candidates_than_rows_and_none_when_none_are_wanted(int form)
{
    struct gx_trained_answer a;
    OK(ask_with(t->forms[form].engine, 0.5f, 0, 0, 0, &a));
    ck_assert_uint_eq(a.n, 0);
    static struct gx_engine_hit hits[3 * N];
    struct gx_engine_effort e = {.effort = 1};
    OK(gx_trained_search(t->forms[form].engine, t->rows[0], &e, 3 * N, hits, &a.n, &a.scanned, &a.effort, &err));
    ck_assert_uint_le(a.n, N);
    ck_assert_uint_gt(a.n, N * 9 / 10);
    for (size_t i = 0; i < a.n; i++)
        ck_assert_uint_lt(gx_trained_row(hits[i].rno), N);
}

START_TEST(no_more_candidates_than_rows_and_none_when_none_are_wanted)
{
    for (int form = 0; form < GX_TRAINED_FORMS; form++)
        check_no_more_candidates_than_rows_and_none_when_none_are_wanted(form);
}
END_TEST

START_TEST(row_numbers_beyond_63_bits_are_refused)
{
    struct gx_engine *copy = gx_trained_copy(t->forms[0].engine);
    const uint64_t bad[] = {5, UINT64_MAX};
    const uint64_t largest = INT64_MAX - 2;
    struct gx_engine_stats stats;
    ck_assert_int_eq(gx_engine_add(copy, bad, t->rows[0], 2, &err), GX_E_INVALID);
    gx_engine_stats(copy, &stats);
    ck_assert_uint_eq(stats.entries, N); /* all or none */
    OK(gx_engine_add(copy, &largest, t->rows[0], 1, &err));
    gx_engine_unref(copy);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine_faiss");
    TCase *tc = tcase_create("engine_faiss");
    tcase_set_timeout(tc, 60);
    tcase_add_unchecked_fixture(tc, gx_trained_begin, gx_trained_end);
    tcase_add_test(tc, a_row_finds_itself_among_the_candidates);
    tcase_add_test(tc, approximate_scores_are_near_the_exact_ones);
    tcase_add_test(tc, removed_rows_are_never_returned);
    tcase_add_test(tc, searches_of_differing_effort_do_not_disturb_each_other);
    tcase_add_test(tc, an_engine_that_is_not_trained_says_so);
    tcase_add_test(tc, an_engine_is_trained_once);
    tcase_add_test(tc, the_same_sample_and_seed_give_the_same_engine);
    tcase_add_test(tc, few_rows_train_without_a_word_on_stderr);
    tcase_add_test(tc, more_effort_looks_at_more_rows_up_to_all);
    tcase_add_test(tc, a_graph_of_centroids_finds_the_lists_that_comparing_all_finds);
    tcase_add_test(tc, typed_knobs_are_taken_by_their_own_family_only);
    tcase_add_test(tc, no_more_candidates_than_rows_and_none_when_none_are_wanted);
    tcase_add_test(tc, row_numbers_beyond_63_bits_are_refused);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
