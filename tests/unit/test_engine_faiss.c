/* Promises of engine.h for the FAISS engines. The engines are trained and filled once; a test that changes one works
 * on a copy that went through a file. */
#include "engine.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "simd.h"
#include "vec.h"

#define SEED     20252
#define DIM      32
#define N        2000
#define N_MATES  5 /* rows of one person */
#define N_WANTED 100

/* With how far their scores of any row may be off. */
static const struct {
    const char *text;
    double off;
} forms[] = {
    {"faiss:Flat", 0.0001},
    {"faiss:IVF16,Flat", 0.0001},
    {"faiss:IVF16,SQ8", 0.02},
    {"faiss:IVF16,SQfp16", 0.001},
    {"faiss:IVF16_HNSW8,SQ8", 0.02},
    {"faiss:IVF16,PQ2", 0.4},
    {"faiss:IVF16,PQ16x4fs", 0.4},
    {"faiss:IVF8_HNSW4,PQ16x4fs", 0.4},
    {"faiss:HNSW16,Flat", 0.0001},
    {"faiss:HNSW16,SQ8", 0.02},
    {"faiss:OPQ1_16,Flat", 0.8},
    {"faiss:OPQ1,IVF16,SQ8", 0.02},
    {"faiss:OPQ2_16,IVF16,PQ8x4fs", 0.8},
    {"faiss:OPQ1_16,HNSW16,SQ8", 0.8},
};
#define N_FORMS ((int)GX_COUNT_OF(forms))

static struct gx_err err;
static float rows[N][DIM];
static uint64_t rnos[N];
static struct gx_engine *filled[N_FORMS];
static char dir[] = "/tmp/indexd-faiss-XXXXXX";
static char path[sizeof(dir) + 8];

#define OK(call) ck_assert_msg((call) == GX_OK, "seed %d: %s", SEED, err.text)

static uint64_t random_state = SEED;

static float gaussian(void)
{
    double sum = -6;
    for (int i = 0; i < 12; i++) {
        random_state = random_state * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(random_state >> 11) / 9007199254740992.0;
    }
    return (float)sum;
}

static void make_rows(void)
{
    for (size_t i = 0; i < N; i += N_MATES) {
        float person[DIM];
        for (size_t j = 0; j < DIM; j++)
            person[j] = gaussian();
        for (size_t r = i; r < i + N_MATES; r++) {
            for (size_t j = 0; j < DIM; j++)
                rows[r][j] = person[j] + 0.5f * gaussian();
            OK(gx_vec_normalise(rows[r], DIM, rows[r], &err));
            rnos[r] = 1000 + 3 * r;
        }
    }
}

/* N = none of ours. */
static size_t row_of(uint64_t rno)
{
    return rno >= 1000 && rno < 1000 + 3 * N && (rno - 1000) % 3 == 0 ? (rno - 1000) / 3 : N;
}

static struct gx_engine *new_engine(const char *form)
{
    struct gx_engine_spec spec;
    struct gx_engine *engine;
    OK(gx_engine_parse(gx_slice_text(form), DIM, N, &spec, &err));
    OK(gx_engine_new(&spec, DIM, SEED, &engine, &err));
    return engine;
}

/* Everything that must not change between tests. */
static void set_up(void)
{
    gx_engine_thread_begin();
    make_rows();
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/index", dir);
    for (int i = 0; i < N_FORMS; i++) {
        static const size_t batches[] = {1, 7, 300, N - 308};
        filled[i] = new_engine(forms[i].text);
        OK(gx_engine_train(filled[i], rows[0], GX_MIN((uint64_t)N, GX_MAX(filled[i]->spec.train_max, 1u)), &err));
        for (size_t b = 0, at = 0; b < GX_COUNT_OF(batches); at += batches[b++])
            OK(gx_engine_add(filled[i], rnos + at, rows[at], batches[b], &err));
    }
}

static void tear_down(void)
{
    for (int i = 0; i < N_FORMS; i++)
        gx_engine_free(filled[i]);
    unlink(path);
    rmdir(dir);
}

static struct gx_engine *copy_of(struct gx_engine *engine)
{
    struct gx_engine *copy;
    OK(gx_engine_save(engine, path, &err));
    OK(gx_engine_load(&engine->spec, engine->dim, path, &copy, &err));
    unlink(path);
    return copy;
}

struct answer {
    struct gx_engine_hit hits[N_WANTED];
    size_t n;
    uint64_t scanned;
    float effort;
};

static void ask(struct gx_engine *engine, const float *probe, float effort, struct answer *out)
{
    struct gx_engine_effort e = {.effort = effort};
    OK(gx_engine_search(engine, probe, &e, N_WANTED, out->hits, &out->n, &out->scanned, &out->effort, &err));
}

static bool is_same(const struct answer *a, const struct answer *b)
{
    if (a->n != b->n || a->scanned != b->scanned || a->effort != b->effort)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->hits[i].rno != b->hits[i].rno || a->hits[i].approx_score != b->hits[i].approx_score)
            return false;
    return true;
}

/* The row of @answer whose exact score is the best. */
static size_t best_row(const struct answer *answer, const float *probe)
{
    size_t best = N;
    double best_score = -2;
    for (size_t i = 0; i < answer->n; i++) {
        size_t r = row_of(answer->hits[i].rno);
        if (r == N)
            return N;
        double score = gx_simd_dot(probe, rows[r], DIM);
        if (score > best_score) {
            best = r;
            best_score = score;
        }
    }
    return best;
}

static bool holds(const struct answer *answer, uint64_t rno)
{
    for (size_t i = 0; i < answer->n; i++)
        if (answer->hits[i].rno == rno)
            return true;
    return false;
}

static void check_row_finds_itself_among_the_candidates(int form)
{
    size_t found = 0, tried = 0;
    for (size_t r = 0; r < N; r += 7, tried++) {
        struct answer answer;
        ask(filled[form], rows[r], 0.6f, &answer);
        ck_assert_uint_eq(answer.n, N_WANTED);
        ck_assert_uint_gt(answer.scanned, 0);
        ck_assert_uint_le(answer.scanned, N);
        bool in_order = true, once = true;
        for (size_t i = 1; i < answer.n; i++) {
            in_order &= answer.hits[i - 1].approx_score >= answer.hits[i].approx_score;
            for (size_t j = 0; j < i; j++)
                once &= answer.hits[i].rno != answer.hits[j].rno;
        }
        ck_assert_msg(in_order && once, "%s", forms[form].text);
        found += best_row(&answer, rows[r]) == r;
    }
    ck_assert_msg(found * 100 >= tried * 99, "%s: %zu of %zu found themselves", forms[form].text, found, tried);
    struct gx_engine_stats stats;
    gx_engine_stats(filled[form], &stats);
    ck_assert_uint_eq(stats.entries, N);
    ck_assert_uint_gt(stats.index_bytes, N * 8);
    ck_assert_uint_lt(stats.index_bytes, N * (DIM * 4 + 300));
}

START_TEST(a_row_finds_itself_among_the_candidates)
{
    for (int form = 0; form < N_FORMS; form++)
        check_row_finds_itself_among_the_candidates(form);
}
END_TEST

static void check_approximate_scores_are_near_the_exact_ones(int form)
{
    struct answer answer;
    double worst = 0;
    ask(filled[form], rows[11], 1, &answer);
    for (size_t i = 0; i < answer.n; i++) {
        size_t r = row_of(answer.hits[i].rno);
        ck_assert_uint_lt(r, N);
        worst = fmax(worst, fabs((double)answer.hits[i].approx_score - gx_simd_dot(rows[11], rows[r], DIM)));
    }
    ck_assert_msg(worst < forms[form].off, "%s: off by %f", forms[form].text, worst);
}

START_TEST(approximate_scores_are_near_the_exact_ones)
{
    for (int form = 0; form < N_FORMS; form++)
        check_approximate_scores_are_near_the_exact_ones(form);
}
END_TEST

static void check_saved_index_answers_as_before(int form)
{
    struct gx_engine *copy = copy_of(filled[form]);
    struct gx_engine_stats stats;
    gx_engine_stats(copy, &stats);
    ck_assert_uint_eq(stats.entries, N);
    for (size_t r = 0; r < N; r += 41) {
        struct answer before, after;
        float effort = (float)(r % 5) / 4;
        ask(filled[form], rows[r], effort, &before);
        ask(copy, rows[r], effort, &after);
        ck_assert_msg(is_same(&before, &after), "%s", forms[form].text);
    }
    float fresh[DIM];
    for (size_t j = 0; j < DIM; j++)
        fresh[j] = gaussian();
    OK(gx_vec_normalise(fresh, DIM, fresh, &err));
    uint64_t rno = 500000;
    struct answer answer;
    OK(gx_engine_add(copy, &rno, fresh, 1, &err));
    ask(copy, fresh, 0.6f, &answer);
    ck_assert_msg(holds(&answer, rno), "%s", forms[form].text);
    gx_engine_free(copy);
}

START_TEST(a_saved_index_answers_as_before)
{
    for (int form = 0; form < N_FORMS; form++)
        check_saved_index_answers_as_before(form);
}
END_TEST

static void check_removed_rows_are_never_returned(int form)
{
    struct gx_engine *copy = copy_of(filled[form]);
    uint64_t gone[N];
    size_t n_gone = 0, n_removed;
    for (size_t r = 0; r < N; r += 3)
        gone[n_gone++] = rnos[r];
    if (!copy->spec.removes) {
        struct answer before, after;
        ask(copy, rows[0], 0.6f, &before);
        ck_assert_int_eq(gx_engine_remove(copy, gone, n_gone, &n_removed, &err), GX_E_UNIMPLEMENTED);
        ck_assert_ptr_nonnull(strstr(err.text, "rebuild"));
        ask(copy, rows[0], 0.6f, &after);
        ck_assert(is_same(&before, &after));
        gx_engine_free(copy);
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
        struct answer answer;
        ask(copy, rows[r], r % 4 == 0 ? 1 : 0.6f, &answer);
        for (size_t i = 0; i < answer.n; i++)
            returned += row_of(answer.hits[i].rno) % 3 == 0;
        if (r % 3 != 0) {
            found += best_row(&answer, rows[r]) == r;
            tried++;
        }
    }
    ck_assert_msg(returned == 0, "%s returned %zu removed rows", forms[form].text, returned);
    ck_assert_msg(found * 100 >= tried * 99, "%s: %zu of %zu found themselves", forms[form].text, found, tried);
    OK(gx_engine_add(copy, gone, rows[0], 1, &err));
    struct answer again;
    ask(copy, rows[0], 0.6f, &again);
    ck_assert(holds(&again, gone[0]));
    gx_engine_free(copy);
}

START_TEST(removed_rows_are_never_returned)
{
    for (int form = 0; form < N_FORMS; form++)
        check_removed_rows_are_never_returned(form);
}
END_TEST

struct searcher {
    struct gx_engine *engine;
    const struct answer *alone;
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
            struct answer answer;
            if (gx_engine_search(s->engine, rows[p * 31], &e, N_WANTED, answer.hits, &answer.n, &answer.scanned,
                                 &answer.effort, NULL) != GX_OK ||
                !is_same(&answer, &s->alone[p]))
                s->wrong++;
        }
    return NULL;
}

static void check_searches_of_differing_effort_do_not_disturb_each_other(int form)
{
    static struct answer alone[4][N_PROBES];
    struct searcher searchers[4];
    pthread_t threads[4];
    for (size_t t = 0; t < 4; t++) {
        searchers[t] = (struct searcher){.engine = filled[form], .alone = alone[t], .effort = (float)t / 4};
        for (size_t p = 0; p < N_PROBES; p++)
            ask(filled[form], rows[p * 31], searchers[t].effort, &alone[t][p]);
    }
    for (size_t t = 0; t < 4; t++)
        ck_assert_int_eq(pthread_create(&threads[t], NULL, search_again, &searchers[t]), 0);
    for (size_t t = 0; t < 4; t++) {
        ck_assert_int_eq(pthread_join(threads[t], NULL), 0);
        ck_assert_msg(searchers[t].wrong == 0, "%s: %u answers differ", forms[form].text, searchers[t].wrong);
    }
}

START_TEST(searches_of_differing_effort_do_not_disturb_each_other)
{
    for (int form = 0; form < N_FORMS; form++)
        check_searches_of_differing_effort_do_not_disturb_each_other(form);
}
END_TEST

static void check_engine_that_is_not_trained_says_so(int form)
{
    struct gx_engine *engine = new_engine(forms[form].text);
    struct gx_engine_stats stats;
    gx_engine_stats(engine, &stats);
    ck_assert_uint_eq(stats.entries, 0);
    struct gx_engine_effort effort = {.effort = 0.5f};
    struct answer a;
    size_t n_removed;
    enum gx_status expected = engine->spec.train_max == 0 ? GX_OK : GX_E_STATE;
    ck_assert_int_eq(gx_engine_search(engine, rows[0], &effort, N_WANTED, a.hits, &a.n, &a.scanned, &a.effort, &err),
                     expected);
    ck_assert_uint_eq(a.n, 0);
    if (expected == GX_E_STATE) {
        ck_assert_int_eq(gx_engine_add(engine, rnos, rows[0], 1, &err), GX_E_STATE);
        ck_assert_int_eq(gx_engine_save(engine, path, &err), GX_E_STATE);
        ck_assert_int_eq(gx_engine_train(engine, rows[0], engine->spec.train_min - 1, &err), GX_E_INVALID);
        ck_assert_ptr_nonnull(strstr(err.text, "rows to train"));
    }
    if (engine->spec.removes)
        OK(gx_engine_remove(engine, rnos, 1, &n_removed, &err));
    gx_engine_free(engine);
}

START_TEST(an_engine_that_is_not_trained_says_so)
{
    for (int form = 0; form < N_FORMS; form++)
        check_engine_that_is_not_trained_says_so(form);
}
END_TEST

START_TEST(an_engine_is_trained_once)
{
    ck_assert_int_eq(gx_engine_train(filled[2], rows[0], N, &err), GX_E_STATE);
    struct answer answer;
    ask(filled[2], rows[0], 0.6f, &answer);
    ck_assert(holds(&answer, rnos[0]));
}
END_TEST

START_TEST(the_same_sample_and_seed_give_the_same_engine)
{
    struct gx_engine *twin = new_engine("faiss:IVF16,SQ8");
    OK(gx_engine_train(twin, rows[0], N, &err));
    OK(gx_engine_add(twin, rnos, rows[0], N, &err));
    for (size_t r = 0; r < N; r += 97) {
        struct answer a, b;
        ask(filled[2], rows[r], 0.3f, &a);
        ask(twin, rows[r], 0.3f, &b);
        ck_assert(is_same(&a, &b));
    }
    gx_engine_free(twin);
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
        struct gx_engine *engine = new_engine(small[i]);
        if (status == GX_OK)
            status = gx_engine_train(engine, rows[0], engine->spec.train_min, &err);
        if (status == GX_OK)
            status = gx_engine_add(engine, rnos, rows[0], 100, &err);
        gx_engine_free(engine);
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
    struct gx_engine *ivf = filled[1];
    struct answer exact, answer;
    for (size_t r = 0; r < N; r += 191) {
        uint64_t before = 0;
        for (int e = 0; e <= 4; e++) {
            ask(ivf, rows[r], (float)e / 4, &answer);
            ck_assert(answer.effort == (float)e / 4);
            ck_assert_uint_gt(answer.scanned, before);
            before = answer.scanned;
        }
        ask(filled[0], rows[r], 0, &exact);
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
    struct gx_engine *plain = new_engine("faiss:IVF256,SQ8"), *graph = new_engine("faiss:IVF256_HNSW8,SQ8");
    OK(gx_engine_train(plain, rows[0], N, &err));
    OK(gx_engine_train(graph, rows[0], N, &err));
    for (size_t at = 0; at < N; at += 500) { /* a search between two adds leaves another setting behind */
        struct answer a;
        OK(gx_engine_add(plain, rnos + at, rows[at], 500, &err));
        OK(gx_engine_add(graph, rnos + at, rows[at], 500, &err));
        ask(graph, rows[at], (float)(at % 1000) / 500, &a);
    }
    size_t same = 0, tried = 0;
    for (size_t r = 0; r < N; r += 13)
        for (int e = 0; e <= 4; e++, tried++) {
            struct answer a, b;
            ask(plain, rows[r], (float)e / 4, &a);
            ask(graph, rows[r], (float)e / 4, &b);
            same += is_same(&a, &b);
            ck_assert(e < 4 || b.scanned == N);
        }
    ck_assert_msg(same * 100 >= tried * 97, "%zu of %zu answers are the same", same, tried);
    gx_engine_free(plain);
    gx_engine_free(graph);
}
END_TEST

static enum gx_status ask_with(struct gx_engine *engine, float effort, uint32_t nprobe, uint32_t ef_search,
                               size_t n_wanted, struct answer *out)
{
    struct gx_engine_effort e = {effort, nprobe, ef_search};
    return gx_engine_search(engine, rows[5], &e, n_wanted, out->hits, &out->n, &out->scanned, &out->effort, &err);
}

START_TEST(typed_knobs_are_taken_by_their_own_family_only)
{
    struct answer a;
    struct gx_engine *flat = filled[0], *ivf = filled[2], *fast = filled[6], *hnsw = filled[9];
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
    OK(ask_with(hnsw, -1, 0, 1, N_WANTED, &a)); /* an ef below the number wanted would lose rows */
    ck_assert_uint_eq(a.n, N_WANTED);
    ck_assert(a.effort > 0.2f);
    OK(ask_with(hnsw, -1, 0, UINT32_MAX, 10, &a));
    static struct gx_engine_hit many[N];
    struct gx_engine_effort little = {.effort = 0};
    OK(gx_engine_search(hnsw, rows[5], &little, SIZE_MAX, many, &a.n, &a.scanned, &a.effort, &err));
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
    struct answer a;
    OK(ask_with(filled[form], 0.5f, 0, 0, 0, &a));
    ck_assert_uint_eq(a.n, 0);
    static struct gx_engine_hit hits[3 * N];
    struct gx_engine_effort e = {.effort = 1};
    OK(gx_engine_search(filled[form], rows[0], &e, 3 * N, hits, &a.n, &a.scanned, &a.effort, &err));
    ck_assert_uint_le(a.n, N);
    ck_assert_uint_gt(a.n, N * 9 / 10);
    for (size_t i = 0; i < a.n; i++)
        ck_assert_uint_lt(row_of(hits[i].rno), N);
}

START_TEST(no_more_candidates_than_rows_and_none_when_none_are_wanted)
{
    for (int form = 0; form < N_FORMS; form++)
        check_no_more_candidates_than_rows_and_none_when_none_are_wanted(form);
}
END_TEST

START_TEST(row_numbers_beyond_63_bits_are_refused)
{
    struct gx_engine *copy = copy_of(filled[0]);
    const uint64_t bad[] = {5, UINT64_MAX};
    const uint64_t largest = INT64_MAX - 2;
    struct gx_engine_stats stats;
    ck_assert_int_eq(gx_engine_add(copy, bad, rows[0], 2, &err), GX_E_INVALID);
    gx_engine_stats(copy, &stats);
    ck_assert_uint_eq(stats.entries, N); /* all or none */
    OK(gx_engine_add(copy, &largest, rows[0], 1, &err));
    gx_engine_free(copy);
}
END_TEST

static void write_bytes(const void *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
    close(fd);
}

static enum gx_status load(const struct gx_engine_spec *spec, size_t dim)
{
    struct gx_engine *engine;
    enum gx_status status = gx_engine_load(spec, dim, path, &engine, &err);
    ck_assert((status == GX_OK) == (engine != NULL));
    gx_engine_free(engine);
    return status;
}

static void check_damaged_file_is_refused(int form)
{
    static const int picks[] = {0, 2, 6, 9, 11};
    struct gx_engine *engine = filled[picks[form]];
    OK(gx_engine_save(engine, path, &err));
    FILE *f = fopen(path, "rb");
    static uint8_t bytes[2 << 20];
    ck_assert_ptr_nonnull(f);
    size_t len = fread(bytes, 1, sizeof(bytes), f);
    fclose(f);
    ck_assert(len > 1000 && len < sizeof(bytes));
    for (size_t cut = 0; cut < len; cut += 1 + len / 40) {
        write_bytes(bytes, cut);
        ck_assert_msg(load(&engine->spec, DIM) == GX_E_CORRUPT, "cut to %zu of %zu: %s", cut, len, err.text);
    }
    write_bytes(bytes, len - 1);
    ck_assert_int_eq(load(&engine->spec, DIM), GX_E_CORRUPT);
    uint8_t garbage[4096];
    for (size_t i = 0; i < sizeof(garbage); i++)
        garbage[i] = (uint8_t)(i * 37);
    write_bytes(garbage, sizeof(garbage));
    ck_assert_int_eq(load(&engine->spec, DIM), GX_E_CORRUPT);
    /* a head that is right with something else behind it */
    size_t payload = form == 4 ? 128 + DIM * DIM * 4 : 128;
    memset(bytes + payload, 'x', 4);
    write_bytes(bytes, len);
    ck_assert_int_eq(load(&engine->spec, DIM), GX_E_CORRUPT);
    unlink(path);
}

START_TEST(a_damaged_file_is_refused)
{
    for (int form = 0; form < 5; form++)
        check_damaged_file_is_refused(form);
}
END_TEST

START_TEST(bytes_after_the_index_do_not_matter)
{
    struct gx_engine *copy;
    OK(gx_engine_save(filled[12], path, &err));
    FILE *f = fopen(path, "ab");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_ge(fputs("a trailer of the caller's", f), 0);
    fclose(f);
    OK(gx_engine_load(&filled[12]->spec, DIM, path, &copy, &err));
    struct answer a, b;
    ask(filled[12], rows[3], 0.5f, &a);
    ask(copy, rows[3], 0.5f, &b);
    ck_assert(is_same(&a, &b));
    gx_engine_free(copy);
}
END_TEST

START_TEST(a_file_of_another_engine_or_dimension_is_refused)
{
    OK(gx_engine_save(filled[2], path, &err));
    struct gx_engine_spec other;
    OK(gx_engine_parse(gx_slice_text("faiss:IVF17,SQ8"), DIM, N, &other, &err));
    ck_assert_int_eq(load(&other, DIM), GX_E_FORMAT);
    OK(gx_engine_parse(gx_slice_text("faiss:IVF16,SQfp16"), DIM, N, &other, &err));
    ck_assert_int_eq(load(&other, DIM), GX_E_FORMAT);
    ck_assert_int_eq(load(&filled[2]->spec, DIM + 1), GX_E_FORMAT);
    ck_assert_int_eq(load(&filled[2]->spec, DIM), GX_OK);
    unlink(path);
    ck_assert_int_eq(load(&filled[2]->spec, DIM), GX_E_IO);
}
END_TEST

START_TEST(a_saved_index_is_for_its_owner_only)
{
    struct stat st;
    umask(0);
    OK(gx_engine_save(filled[0], path, &err));
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    unlink(path);
}
END_TEST

START_TEST(a_full_disk_or_a_missing_directory_fails_the_save)
{
    ck_assert_int_eq(gx_engine_save(filled[2], "/dev/full", &err), GX_E_FULL);
    ck_assert_int_eq(gx_engine_save(filled[0], "/dev/full", &err), GX_E_FULL);
    ck_assert_int_eq(gx_engine_save(filled[2], "/nonexistent/index", &err), GX_E_IO);
    struct answer answer;
    ask(filled[2], rows[0], 0.6f, &answer);
    ck_assert(holds(&answer, rnos[0]));
}
END_TEST

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define HAVE_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define HAVE_SANITIZER 1
#endif
#endif

#ifndef HAVE_SANITIZER /* they keep freed memory for later */
#define MASK 0x5a5a5a5au

/* How often the four values stand in writable memory of this process; they are masked, or this would find itself. */
static size_t count_in_memory(const uint32_t masked[4])
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
            n++;
    fclose(maps);
    for (size_t i = 0; i < n; i++)
        for (uintptr_t at = ranges[i].from; at + 16 <= ranges[i].until; at += 4) {
            const volatile uint32_t *p = (const volatile uint32_t *)at;
            if ((p[0] ^ MASK) == masked[0] && (p[1] ^ MASK) == masked[1] && (p[2] ^ MASK) == masked[2] &&
                (p[3] ^ MASK) == masked[3])
                count++;
        }
    return count;
}

static void check_index_keeps_no_copy_of_a_removed_row(int form)
{
    mallopt(M_PERTURB, 0x6b); /* freed blocks are overwritten: what is found then, the index holds */
    struct gx_engine *copy = copy_of(filled[form]); /* 0: Flat, 1: IVF16,Flat: codes are the floats */
    const size_t n = 12;                            /* the last is the one that we look for */
    float *fresh = malloc(n * DIM * sizeof(float));
    uint64_t fresh_rnos[12];
    uint32_t masked[4];
    for (size_t i = 0; i < n; i++) {
        fresh_rnos[i] = 700000 + i;
        for (size_t j = 0; j < DIM; j++)
            fresh[i * DIM + j] = gaussian();
        OK(gx_vec_normalise(fresh + i * DIM, DIM, fresh + i * DIM, &err));
    }
    memcpy(masked, fresh + (n - 1) * DIM + 8, sizeof(masked));
    for (size_t i = 0; i < 4; i++)
        masked[i] ^= MASK;
    ck_assert_uint_ge(count_in_memory(masked), 1);
    OK(gx_engine_add(copy, fresh_rnos, fresh, n, &err));
    explicit_bzero(fresh, n * DIM * sizeof(float));
    free(fresh);
    ck_assert_uint_eq(count_in_memory(masked), 1);
    size_t n_removed;
    OK(gx_engine_remove(copy, fresh_rnos + n - 1, 1, &n_removed, &err));
    ck_assert_uint_eq(n_removed, 1);
    ck_assert_uint_eq(count_in_memory(masked), 0);
    gx_engine_free(copy);
}

START_TEST(the_index_keeps_no_copy_of_a_removed_row)
{
    for (int form = 0; form < 2; form++)
        check_index_keeps_no_copy_of_a_removed_row(form);
}
END_TEST
#endif

int main(void)
{
    Suite *suite = suite_create("engine_faiss");
    TCase *tc = tcase_create("engine_faiss");
    tcase_set_timeout(tc, 60);
    tcase_add_unchecked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_row_finds_itself_among_the_candidates);
    tcase_add_test(tc, approximate_scores_are_near_the_exact_ones);
    tcase_add_test(tc, a_saved_index_answers_as_before);
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
    tcase_add_test(tc, a_damaged_file_is_refused);
    tcase_add_test(tc, bytes_after_the_index_do_not_matter);
    tcase_add_test(tc, a_file_of_another_engine_or_dimension_is_refused);
    tcase_add_test(tc, a_saved_index_is_for_its_owner_only);
    tcase_add_test(tc, a_full_disk_or_a_missing_directory_fails_the_save);
#ifndef HAVE_SANITIZER
    tcase_add_test(tc, the_index_keeps_no_copy_of_a_removed_row);
#endif
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
