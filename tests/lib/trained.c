#include "trained.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "temp.h"
#include "vec.h"

#define DIM     GX_TRAINED_DIM
#define N       GX_TRAINED_ROWS
#define N_MATES 5 /* rows of one person */

struct gx_trained gx_trained = {.forms = {{"faiss:Flat", 0.0001, NULL},
                                          {"faiss:IVF16,Flat", 0.0001, NULL},
                                          {"faiss:IVF16,SQ8", 0.02, NULL},
                                          {"faiss:IVF16,SQfp16", 0.001, NULL},
                                          {"faiss:IVF16_HNSW8,SQ8", 0.02, NULL},
                                          {"faiss:IVF16,PQ2", 0.6, NULL},
                                          {"faiss:IVF16,PQ16x4fs", 0.4, NULL},
                                          {"faiss:IVF8_HNSW4,PQ16x4fs", 0.4, NULL},
                                          {"faiss:HNSW16,Flat", 0.0001, NULL},
                                          {"faiss:HNSW16,SQ8", 0.02, NULL},
                                          {"faiss:OPQ1_16,Flat", 0.8, NULL},
                                          {"faiss:OPQ1,IVF16,SQ8", 0.02, NULL},
                                          {"faiss:OPQ2_16,IVF16,PQ8x4fs", 0.8, NULL},
                                          {"faiss:OPQ1_16,HNSW16,SQ8", 0.8, NULL}}};

static char dir[sizeof(gx_trained.path) - 8];
static struct gx_err err;
static uint64_t random_state = GX_TRAINED_SEED;

#define OK(call) ck_assert_msg((call) == GX_OK, "seed %d: %s", GX_TRAINED_SEED, err.text)

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
    struct gx_trained *t = &gx_trained;
    for (size_t i = 0; i < N; i += N_MATES) {
        float person[DIM];
        for (size_t j = 0; j < DIM; j++)
            person[j] = gaussian();
        for (size_t r = i; r < i + N_MATES; r++) {
            for (size_t j = 0; j < DIM; j++)
                t->rows[r][j] = person[j] + 0.5f * gaussian();
            OK(gx_vec_normalise(t->rows[r], DIM, t->rows[r], &err));
            t->rnos[r] = 1000 + 3 * r;
        }
    }
}

void gx_trained_fresh(float out[GX_TRAINED_DIM])
{
    for (size_t j = 0; j < DIM; j++)
        out[j] = gaussian();
    OK(gx_vec_normalise(out, DIM, out, &err));
}

size_t gx_trained_row(uint64_t rno)
{
    return rno >= 1000 && rno < 1000 + 3 * N && (rno - 1000) % 3 == 0 ? (rno - 1000) / 3 : N;
}

struct gx_engine *gx_trained_new(const char *form)
{
    struct gx_engine_spec spec;
    struct gx_engine *engine;
    OK(gx_engine_parse(gx_slice_text(form), DIM, &spec, &err));
    OK(gx_engine_new(&spec, DIM, NULL, GX_TRAINED_SEED, &engine, &err));
    return engine;
}

void gx_trained_begin(void)
{
    struct gx_trained *t = &gx_trained;
    gx_engine_thread_begin();
    make_rows();
    gx_temp_folder("faiss", dir, sizeof(dir));
    snprintf(t->path, sizeof(t->path), "%s/index", dir);
    for (int i = 0; i < GX_TRAINED_FORMS; i++) {
        static const size_t batches[] = {1, 7, 300, N - 308};
        struct gx_engine *engine = gx_trained_new(t->forms[i].text);
        t->forms[i].engine = engine;
        OK(gx_engine_train(engine, t->rows[0], GX_MIN((uint64_t)N, GX_MAX(engine->spec.train_max, 1u)), &err));
        for (size_t b = 0, at = 0; b < GX_COUNT_OF(batches); at += batches[b++])
            OK(gx_engine_add(engine, t->rnos + at, t->rows[at], batches[b], &err));
    }
}

void gx_trained_end(void)
{
    for (int i = 0; i < GX_TRAINED_FORMS; i++)
        gx_engine_unref(gx_trained.forms[i].engine);
    unlink(gx_trained.path);
    rmdir(dir);
}

struct gx_engine *gx_trained_copy(struct gx_engine *engine)
{
    struct gx_engine *copy;
    OK(gx_engine_save(engine, gx_trained.path, &err));
    OK(gx_engine_load(&engine->spec, engine->dim, NULL, gx_trained.path, 1, &copy, &err));
    unlink(gx_trained.path);
    return copy;
}

enum gx_status gx_trained_search(struct gx_engine *engine, const float *probe, const struct gx_engine_effort *effort,
                                 size_t n_wanted, struct gx_engine_hit *out_hits, size_t *out_n, uint64_t *out_scanned,
                                 float *out_effort, struct gx_err *err_out)
{
    struct gx_engine_ask ask = {
        .probes = &probe, .n_probes = 1, .n_wanted = n_wanted, .effort = *effort, .until = UINT32_MAX};
    struct gx_engine_answer answer;
    struct gx_arena arena;
    gx_arena_init(&arena, (size_t)16 << 20);
    enum gx_status status = gx_engine_search(engine, &ask, &arena, &answer, err_out);
    *out_n = answer.n;
    *out_scanned = answer.scanned;
    *out_effort = answer.effort;
    if (answer.n > 0)
        memcpy(out_hits, answer.hits, answer.n * sizeof(*out_hits));
    gx_arena_fini(&arena);
    return status;
}

void gx_trained_ask(struct gx_engine *engine, const float *probe, float effort, struct gx_trained_answer *out)
{
    struct gx_engine_effort e = {.effort = effort};
    OK(gx_trained_search(engine, probe, &e, GX_TRAINED_WANTED, out->hits, &out->n, &out->scanned, &out->effort, &err));
}

bool gx_trained_same(const struct gx_trained_answer *a, const struct gx_trained_answer *b)
{
    if (a->n != b->n || a->scanned != b->scanned || a->effort != b->effort)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (a->hits[i].rno != b->hits[i].rno || a->hits[i].approx_score != b->hits[i].approx_score)
            return false;
    return true;
}

bool gx_trained_holds(const struct gx_trained_answer *answer, uint64_t rno)
{
    for (size_t i = 0; i < answer->n; i++)
        if (answer->hits[i].rno == rno)
            return true;
    return false;
}
