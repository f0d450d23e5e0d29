#include "grown.h"

#include <check.h>
#include <stdlib.h>

#include "engine_hnsw.h"

#define BATCH       512
#define ARENA_LIMIT ((size_t)1 << 24)

static struct gx_err err;

#define OK(call) ck_assert_msg((call) == GX_OK, "%s", err.text)

static const float *row_of(const struct gx_grown *g, uint32_t i)
{
    return g->floats + (size_t)i * g->dim;
}

static void append(struct gx_grown *g, uint32_t i)
{
    struct gx_row columns = {.rno = gx_grown_rno(i)};
    OK(gx_rows_append(g->rows, row_of(g, i), &columns, &err));
}

void gx_grown_begin(struct gx_grown *g, size_t dim, uint32_t n, uint32_t n_published)
{
    ck_assert(gx_people_init(&g->people, GX_GROWN_SEED, (uint32_t)dim, n));
    g->dim = dim;
    g->n = n;
    g->floats = malloc(n * dim * sizeof(float));
    ck_assert_ptr_nonnull(g->floats);
    for (uint32_t i = 0; i < n; i++)
        gx_people_row(&g->people, i, g->floats + i * dim, NULL);
    OK(gx_rows_new(dim, &g->rows, &err));
    gx_grown_publish(g, n_published);
}

void gx_grown_end(struct gx_grown *g)
{
    gx_rows_free(g->rows);
    free(g->floats);
}

void gx_grown_publish(struct gx_grown *g, uint32_t until)
{
    for (uint32_t i = gx_rows_count(g->rows); i < until; i++)
        append(g, i);
    gx_rows_publish(g->rows);
}

void gx_grown_restart(struct gx_grown *g)
{
    struct gx_rows *old = g->rows;
    OK(gx_rows_new(g->dim, &g->rows, &err));
    for (uint32_t slot = 0; slot < gx_rows_count(old); slot++)
        if (gx_rows_is_live(old, slot))
            append(g, (uint32_t)(gx_rows_rno(old, slot) / 2));
    gx_rows_publish(g->rows);
    gx_rows_free(old);
}

struct gx_engine_spec gx_grown_spec(void)
{
    return (struct gx_engine_spec){.kind = GX_ENGINE_HNSW,
                                   .text = "hnsw",
                                   .indexes = true,
                                   .removes = true,
                                   .beside = true,
                                   .filters = true,
                                   .certifies = true,
                                   .saves = true,
                                   .hnsw_m = 32,
                                   .overfetch = 1};
}

struct gx_engine *gx_grown_new(const struct gx_grown *g, size_t threads)
{
    struct gx_engine_spec spec = gx_grown_spec();
    struct gx_engine *engine;
    OK(gx_engine_hnsw_new(&spec, g->dim, g->rows, GX_GROWN_SEED, &engine, &err));
    engine->threads = threads;
    return engine;
}

void gx_grown_add(const struct gx_grown *g, struct gx_engine *engine, uint32_t from, uint32_t until)
{
    uint64_t rnos[BATCH];
    float *floats = malloc(BATCH * g->dim * sizeof(float));
    ck_assert_ptr_nonnull(floats);
    size_t n = 0;
    for (uint32_t slot = from; slot < until; slot++) {
        if (gx_rows_is_live(g->rows, slot)) {
            memcpy(floats + n * g->dim, gx_rows_floats(g->rows, slot), g->dim * sizeof(float));
            rnos[n++] = gx_rows_rno(g->rows, slot);
        }
        if (n == BATCH || slot + 1 == until) {
            OK(gx_engine_add(engine, rnos, floats, n, &err));
            n = 0;
        }
    }
    free(floats);
}

struct gx_engine *gx_grown_built(const struct gx_grown *g, size_t threads)
{
    struct gx_engine *engine = gx_grown_new(g, threads);
    gx_grown_add(g, engine, 0, gx_rows_count(g->rows));
    return engine;
}

uint32_t gx_grown_remove(struct gx_grown *g, struct gx_engine *engine, uint32_t from, uint32_t until, unsigned share,
                         unsigned salt, size_t piece)
{
    uint64_t *rnos = malloc(((size_t)until - from + 1) * sizeof(*rnos));
    uint32_t n = 0;
    ck_assert_ptr_nonnull(rnos);
    for (uint32_t slot = from; slot < until; slot++) {
        uint32_t hash = (slot + salt * 7919u) * 2654435761u;
        if ((hash >> 12) % 100 < share && gx_rows_hide(g->rows, slot))
            rnos[n++] = gx_rows_rno(g->rows, slot);
    }
    for (size_t i = 0; engine != NULL && i < n; i += piece) {
        size_t m = GX_MIN(piece, n - i), removed;
        OK(gx_engine_remove(engine, rnos + i, m, &removed, &err));
        ck_assert_uint_eq(removed, m);
        gx_engine_wipe(engine, rnos + i, m);
    }
    free(rnos);
    return n;
}

enum gx_status gx_grown_ask(const struct gx_grown *g, struct gx_engine *engine, struct gx_engine_ask *ask,
                            struct gx_grown_answer *out, struct gx_err *out_err)
{
    struct gx_arena arena;
    struct gx_engine_answer answer;
    (void)g;
    gx_arena_init(&arena, ARENA_LIMIT);
    if (ask->until == 0) /* not said: all of them */
        ask->until = UINT32_MAX;
    enum gx_status status = gx_engine_search(engine, ask, &arena, &answer, out_err);
    if (status == GX_OK) {
        ck_assert_uint_le(answer.n, GX_MIN(ask->n_wanted, GX_COUNT_OF(out->hits)));
        out->n = answer.n;
        out->scanned = answer.scanned;
        out->effort = answer.effort;
        if (answer.n > 0)
            memcpy(out->hits, answer.hits, answer.n * sizeof(*answer.hits));
    }
    gx_arena_fini(&arena);
    return status;
}

void gx_grown_search(const struct gx_grown *g, struct gx_engine *engine, const float *probe, size_t n_wanted,
                     uint32_t ef, struct gx_grown_answer *out)
{
    struct gx_engine_ask ask = {
        .probes = &probe, .n_probes = 1, .n_wanted = n_wanted, .effort = {.effort = -1, .ef_search = ef}};
    OK(gx_grown_ask(g, engine, &ask, out, &err));
}

bool gx_grown_holds(const struct gx_grown_answer *answer, uint32_t slot)
{
    for (size_t i = 0; i < answer->n; i++)
        if (answer->hits[i].slot == slot)
            return true;
    return false;
}

void gx_grown_count_found(const struct gx_grown *g, struct gx_engine *engine, const float *probe, uint32_t ef,
                          size_t *n_true, size_t *n_found)
{
    struct gx_hit heap[GX_GROWN_K];
    struct gx_topk top;
    struct gx_grown_answer answer;
    uint64_t scanned;
    gx_topk_init(&top, heap, GX_GROWN_K, NULL, NULL);
    OK(gx_rows_scan(g->rows, 0, gx_rows_count(g->rows), &probe, 1, NULL, NULL, NULL, NULL, &top, &scanned, &err));
    gx_grown_search(g, engine, probe, (size_t)2 * GX_GROWN_K, ef, &answer);
    size_t n = gx_topk_sort(&top);
    for (size_t i = 0; i < n; i++)
        *n_found += gx_grown_holds(&answer, heap[i].slot);
    *n_true += n;
}

double gx_grown_recall(const struct gx_grown *g, struct gx_engine *engine, uint32_t ef, size_t n_probes)
{
    float probe[GX_PEOPLE_DIM_MAX];
    size_t n_true = 0, n_found = 0;
    for (size_t j = 0; j < n_probes; j++) {
        gx_people_probe(&g->people, j, probe, NULL);
        gx_grown_count_found(g, engine, probe, ef, &n_true, &n_found);
    }
    return (double)n_found / (double)n_true;
}

uint32_t gx_grown_lost(const struct gx_grown *g, struct gx_engine *engine, uint32_t ef, uint32_t step)
{
    uint32_t n = 0;
    for (uint32_t slot = 0; slot < gx_rows_count(g->rows); slot += step) {
        struct gx_grown_answer answer;
        if (!gx_rows_is_live(g->rows, slot))
            continue;
        gx_grown_search(g, engine, gx_rows_floats(g->rows, slot), 1, ef, &answer);
        n += answer.n == 0 || answer.hits[0].slot != slot;
    }
    return n;
}

uint64_t gx_grown_unreachable(const struct gx_engine *engine)
{
    uint64_t n;
    OK(gx_engine_hnsw_unreachable(engine, &n, &err));
    return n;
}
