/* The engine `hnsw`: a graph over int8 codes of the rows. What is approximate in it is rescored by the caller from the
 * float rows; what it gives up in a search is set by the effort. engine_hnsw_graph.h says what is where.
 *
 * Adds and removes go on beside searches: nothing that a search looks at moves or is freed before wipe, which the
 * caller calls when no search is left that may have seen the removed rows. */
#include "engine_hnsw.h"

#include <math.h>
#include <stdlib.h>

#include "engine_exact.h"
#include "engine_hnsw_build.h"
#include "engine_hnsw_file.h"
#include "engine_hnsw_mend.h"
#include "engine_hnsw_part.h"
#include "engine_hnsw_walk.h"

#define EF_LEAST    32.0f /* at effort 0; grows by the same factor from effort to effort */
#define EF_OCTAVES  9.0f  /* doublings until effort 1; the middle is ef 724: engine_hnsw.h */
#define SAMPLE      512   /* rows that a filter is tried on */
#define EF_FILTERED 8192  /* a search that is widened because of a filter is not widened beyond this */
#define CHECK_SHARE 4     /* the graph is checked once this share of it is new */
#define CHECK_LEAST 1000

struct hnsw_engine {
    struct gx_engine base; /* first */
    struct gx_hnsw_graph *graph;
    _Atomic uint32_t until; /* slots that were offered so far */
    uint64_t changes;       /* rows added and removed since the graph was checked */
};

static const struct gx_engine_ops hnsw_ops;

static struct hnsw_engine *of(struct gx_engine *engine)
{
    return (struct hnsw_engine *)(void *)engine;
}

static enum gx_status new_engine(const struct gx_engine_spec *spec, size_t dim, const struct gx_rows *rows,
                                 struct hnsw_engine **out, struct gx_err *err)
{
    *out = calloc(1, sizeof(**out));
    if (*out == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for an index");
    (*out)->base = (struct gx_engine){.ops = &hnsw_ops, .spec = *spec, .dim = dim, .rows = rows, .threads = 1};
    atomic_init(&(*out)->base.references, 1);
    return GX_OK;
}

enum gx_status gx_engine_hnsw_new(const struct gx_engine_spec *spec, size_t dim, const struct gx_rows *rows,
                                  uint64_t seed, struct gx_engine **out, struct gx_err *err)
{
    struct hnsw_engine *h;
    *out = NULL;
    GX_TRY(new_engine(spec, dim, rows, &h, err));
    enum gx_status status = gx_engine_hnsw_graph_new(dim, seed, &h->graph, err);
    if (status == GX_OK)
        *out = &h->base;
    else
        free(h);
    return status;
}

static void hnsw_free(struct gx_engine *engine)
{
    struct hnsw_engine *h = of(engine);
    gx_engine_hnsw_graph_free(h->graph);
    free(h);
}

/* --- changes --- */

/* A graph as a whole may have come apart where nobody looked. It takes a third of a second per million vertices, so now
 * and then. */
static enum gx_status check(struct hnsw_engine *h, bool now, struct gx_err *err)
{
    uint64_t vertices = atomic_load_explicit(&h->graph->n_vertices, memory_order_relaxed), found, left;
    if (h->changes == 0 || (!now && h->changes < vertices / CHECK_SHARE + CHECK_LEAST))
        return GX_OK;
    GX_TRY(gx_engine_hnsw_mend_unreachable(h->graph, true, &found, &left, err));
    h->changes = 0;
    return GX_OK;
}

static enum gx_status hnsw_add(struct gx_engine *engine, const uint64_t *rnos, const float *rows, size_t n,
                               struct gx_err *err)
{
    struct hnsw_engine *h = of(engine);
    uint32_t until = atomic_load_explicit(&h->until, memory_order_relaxed), next = until;
    if (n == 0)
        return GX_OK;
    uint32_t *slots = malloc(n * sizeof(*slots));
    if (slots == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to add rows to the index");
    enum gx_status status = GX_OK;
    for (size_t i = 0; i < n && status == GX_OK; i++) {
        if (!gx_rows_find(engine->rows, rnos[i], &slots[i]) || slots[i] < next)
            status = gx_fail(err, GX_E_INVALID, "rows come into the index once, in the order of their numbers");
        next = slots[i] + 1;
    }
    if (status == GX_OK)
        status = gx_engine_hnsw_build(h->graph, slots, rnos, rows, n, engine->threads, err);
    if (status == GX_OK) {
        atomic_store_explicit(&h->until, next, memory_order_release);
        h->changes += n;
        struct gx_err ignored; /* it will be tried again */
        (void)!check(h, false, &ignored);
    }
    free(slots);
    return status;
}

static enum gx_status hnsw_remove(struct gx_engine *engine, const uint64_t *rnos, size_t n, size_t *out_removed,
                                  struct gx_err *err)
{
    struct hnsw_engine *h = of(engine);
    *out_removed = 0;
    uint32_t *slots = malloc((n + 1) * sizeof(*slots)), slot;
    if (slots == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to remove rows from the index");
    size_t n_slots = 0;
    uint32_t until = atomic_load_explicit(&h->until, memory_order_relaxed);
    for (size_t i = 0; i < n; i++)
        if (gx_rows_find(engine->rows, rnos[i], &slot) && slot < until && gx_hnsw_levels(h->graph, slot) > 0)
            slots[n_slots++] = slot;
    enum gx_status status = gx_engine_hnsw_mend_remove(h->graph, slots, &n_slots, engine->threads, err);
    free(slots);
    GX_TRY(status);
    *out_removed = n_slots;
    h->changes += n_slots;
    struct gx_err ignored; /* it will be tried again */
    (void)!check(h, false, &ignored);
    return GX_OK;
}

static void hnsw_wipe(struct gx_engine *engine, const uint64_t *rnos, size_t n)
{
    struct hnsw_engine *h = of(engine);
    uint32_t until = atomic_load_explicit(&h->until, memory_order_relaxed), slot;
    for (size_t i = 0; i < n; i++)
        if (gx_rows_find(engine->rows, rnos[i], &slot) && slot < until && gx_hnsw_levels(h->graph, slot) == 0) {
            gx_engine_hnsw_graph_drop(h->graph, slot);
            gx_codes_wipe(h->graph->codes, slot);
        }
}

/* --- search --- */

/* Which vertices a search wants. */
struct filter {
    const struct gx_engine_ask *ask;
    const struct hnsw_engine *h;
    uint32_t until;
};

static bool wants(void *arg, uint32_t slot)
{
    const struct filter *filter = arg;
    const struct gx_rows *rows = filter->h->base.rows;
    return slot < filter->until && gx_hnsw_levels(filter->h->graph, slot) > 0 && gx_rows_is_visible(rows, slot) &&
           (filter->ask->pass == NULL || filter->ask->pass(filter->ask->pass_arg, rows, slot));
}

/* The width at which about as many wanted rows are looked at as without a filter. */
static uint32_t widen(const struct filter *filter, uint32_t ef)
{
    uint32_t step = filter->until / SAMPLE + 1, n = 0, n_wanted = 0;
    for (uint32_t slot = 0; slot < filter->until; slot += step) {
        if (gx_hnsw_levels(filter->h->graph, slot) == 0)
            continue;
        n++;
        n_wanted += wants((void *)(uintptr_t)filter, slot);
    }
    uint64_t wide = n_wanted == 0 ? EF_FILTERED : (uint64_t)ef * n / n_wanted;
    return (uint32_t)GX_MAX((uint64_t)ef, GX_MIN(wide, (uint64_t)EF_FILTERED));
}

static float effort_of(uint32_t ef)
{
    float effort = log2f((float)ef / EF_LEAST) / EF_OCTAVES;
    return GX_MIN(GX_MAX(effort, 0.0f), 1.0f);
}

static enum gx_status find_ef(const struct hnsw_engine *h, const struct gx_engine_ask *ask, uint32_t *out_ef,
                              float *out_effort, struct gx_err *err)
{
    uint32_t ef;
    GX_TRY(gx_engine_native_effort(&ask->effort, true, out_effort, &ef, err));
    if (ef == 0)
        ef = (uint32_t)lrintf(EF_LEAST * exp2f(EF_OCTAVES * *out_effort));
    uint64_t vertices = atomic_load_explicit(&h->graph->n_vertices, memory_order_relaxed);
    uint64_t wide = GX_MAX((uint64_t)ef, (uint64_t)ask->n_wanted);
    *out_ef = (uint32_t)GX_MAX(GX_MIN(wide, vertices), (uint64_t)1);
    *out_effort = effort_of(GX_MAX(ef, *out_ef));
    return GX_OK;
}

/* Without a filter what the walk ends with is the answer, without those of it that are not visible. */
static size_t take_beam(const struct filter *filter, const struct gx_hnsw_work *work, size_t n_wanted,
                        struct gx_engine_hit *hits)
{
    size_t n = 0;
    for (size_t i = 0; i < work->n_beam && n < n_wanted; i++)
        if (wants((void *)(uintptr_t)filter, work->beam[i].slot))
            hits[n++] = (struct gx_engine_hit){.slot = work->beam[i].slot, .approx_score = work->beam[i].score};
    return n;
}

static enum gx_status search_one(struct hnsw_engine *h, const struct gx_engine_ask *ask, struct filter *filter,
                                 const float *probe, uint32_t ef, struct gx_arena *arena,
                                 struct gx_engine_answer *answer, struct gx_err *err)
{
    struct gx_codes_probe coded;
    struct gx_hnsw_work *work;
    struct gx_hnsw_walk walk;
    uint64_t entry = atomic_load_explicit(&h->graph->entry, memory_order_acquire);
    size_t n_wanted = GX_MIN(ask->n_wanted, (size_t)filter->until);
    bool filters = ask->pass != NULL || gx_rows_quarantined(h->base.rows) > 0;
    GX_TRY(gx_arena_array(arena, n_wanted, sizeof(*answer->hits), &answer->hits, err));
    if (entry == 0 || n_wanted == 0)
        return GX_OK;
    GX_TRY(gx_codes_probe(h->graph->codes, probe, arena, &coded, err));
    /* After the entry was read: it is within what this room is for. */
    GX_TRY(gx_engine_hnsw_graph_work(h->graph, ef, filters ? n_wanted : 0, &work, err));
    gx_engine_hnsw_walk_probe(&walk, h->graph, work, coded.int8, coded.scale);
    walk.stop = ask->stop;
    walk.stop_arg = ask->stop_arg;
    walk.wants = filters ? wants : NULL;
    walk.wants_arg = filter;
    work->n_found = 0;
    work->n_wanted = n_wanted;
    bool done = gx_engine_hnsw_walk_search(&walk, entry, ef);
    if (done && !filters)
        answer->n = take_beam(filter, work, n_wanted, answer->hits);
    for (size_t i = 0; done && filters && i < work->n_found; i++)
        answer->hits[answer->n++] =
            (struct gx_engine_hit){.slot = work->found[i].slot, .approx_score = work->found[i].score};
    answer->scanned = work->scored;
    gx_engine_hnsw_graph_work_end(h->graph, work);
    return done ? GX_OK : gx_fail(err, GX_E_CANCELLED, "the search was cancelled");
}

static enum gx_status hnsw_search(struct gx_engine *engine, const struct gx_engine_ask *ask, struct gx_arena *arena,
                                  struct gx_engine_answer *answers, struct gx_err *err)
{
    struct hnsw_engine *h = of(engine);
    struct filter filter = {.ask = ask, .h = h, .until = atomic_load_explicit(&h->until, memory_order_acquire)};
    filter.until = GX_MIN(filter.until, ask->until);
    if (ask->certified)
        return gx_engine_exact_search(h->graph->codes, engine->rows, filter.until, ask, arena, answers, err);
    uint32_t ef;
    float effort;
    GX_TRY(find_ef(h, ask, &ef, &effort, err));
    if (ask->pass != NULL || gx_rows_quarantined(engine->rows) > 0)
        ef = widen(&filter, ef);
    for (size_t i = 0; i < ask->n_probes; i++) {
        answers[i] = (struct gx_engine_answer){.effort = effort};
        GX_TRY(search_one(h, ask, &filter, ask->probes[i], ef, arena, &answers[i], err));
    }
    return GX_OK;
}

/* --- file --- */

static enum gx_status hnsw_save(struct gx_engine *engine, const char *path, struct gx_err *err)
{
    struct hnsw_engine *h = of(engine);
    GX_TRY(check(h, true, err));
    gx_engine_hnsw_part_measure(h->graph, true); /* as it will be done when the file is read: the same answers */
    return gx_engine_hnsw_file_write(h->graph, engine->rows, path, err);
}

enum gx_status gx_engine_hnsw_load(const struct gx_engine_spec *spec, size_t dim, const struct gx_rows *rows,
                                   const char *path, size_t threads, struct gx_engine **out, struct gx_err *err)
{
    struct hnsw_engine *h;
    uint32_t until = 0;
    *out = NULL;
    GX_TRY(new_engine(spec, dim, rows, &h, err));
    h->base.threads = threads;
    enum gx_status status = gx_engine_hnsw_file_read(path, dim, rows, threads, &h->graph, &until, err);
    if (status != GX_OK) {
        free(h);
        return status;
    }
    atomic_store_explicit(&h->until, until, memory_order_release);
    *out = &h->base;
    return GX_OK;
}

static void hnsw_stats(const struct gx_engine *engine, struct gx_engine_stats *out)
{
    const struct hnsw_engine *h = (const struct hnsw_engine *)(const void *)engine;
    out->entries = atomic_load_explicit(&h->graph->n_vertices, memory_order_relaxed);
    out->index_bytes = atomic_load_explicit(&h->graph->bytes, memory_order_relaxed);
}

enum gx_status gx_engine_hnsw_unreachable(const struct gx_engine *engine, uint64_t *out, struct gx_err *err)
{
    const struct hnsw_engine *h = (const struct hnsw_engine *)(const void *)engine;
    uint64_t left;
    return gx_engine_hnsw_mend_unreachable(h->graph, false, out, &left, err);
}

static const struct gx_engine_ops hnsw_ops = {
    .add = hnsw_add,
    .remove = hnsw_remove,
    .wipe = hnsw_wipe,
    .search = hnsw_search,
    .save = hnsw_save,
    .stats = hnsw_stats,
    .free = hnsw_free,
};
