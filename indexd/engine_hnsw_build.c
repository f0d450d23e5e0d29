/* The path of a row: memory for it -> code -> announced -> neighbours found on each level -> linked to those chosen ->
 * linked from them -> no longer announced.
 *
 * What can go wrong with several threads, and does wherever photos of one person are enrolled together: two near rows
 * are inserted at the same moment and do not find each other, or one overwrites the link that the other has just given
 * it. So a thread announces its row before it looks for neighbours and counts the announced ones among them (of two the
 * later one sees the earlier), and who writes his own list keeps the links in it. */
#include "engine_hnsw_build.h"

#include "engine_hnsw_links.h"
#include "engine_hnsw_parallel.h"
#include "engine_hnsw_part.h"
#include "engine_hnsw_walk.h"

#define ROWS_PER_THREAD 8 /* fewer are not worth starting it */

struct build {
    struct gx_hnsw_graph *graph;
    const uint32_t *slots;
    const float *rows;
    size_t threads;
    _Atomic uint32_t announced[GX_HNSW_THREADS_MAX]; /* slot + 1; 0 = none */
    struct gx_hnsw_work *works[GX_HNSW_THREADS_MAX];
};

void gx_engine_hnsw_build_raise_entry(struct gx_hnsw_graph *graph, uint32_t slot)
{
    uint64_t entry = (uint64_t)gx_hnsw_levels(graph, slot) << 32 | slot;
    pthread_mutex_lock(&graph->entry_lock);
    if (entry >> 32 > atomic_load_explicit(&graph->entry, memory_order_relaxed) >> 32)
        atomic_store_explicit(&graph->entry, entry, memory_order_release);
    pthread_mutex_unlock(&graph->entry_lock);
}

/* The beam's vertices and those of @others that are not among them, best first. */
static size_t candidates(const struct gx_hnsw_walk *walk, const uint32_t *others, size_t n_others,
                         struct gx_hnsw_near out[GX_HNSW_SCRATCH])
{
    struct gx_hnsw_work *work = walk->work;
    size_t n = GX_MIN(work->n_beam, (size_t)GX_HNSW_SCRATCH - GX_HNSW_THREADS_MAX), more = 0;
    if (n > 0)
        memcpy(out, work->beam, n * sizeof(*out));
    for (size_t i = 0; i < n_others; i++)
        if (gx_hnsw_visit(work, others[i]))
            work->slots[more++] = others[i];
    if (more == 0)
        return n;
    gx_engine_hnsw_walk_score(walk, more);
    for (size_t i = 0; i < more; i++)
        out[n++] = (struct gx_hnsw_near){work->scores[i], work->slots[i]};
    gx_engine_hnsw_links_sort(out, n);
    return n;
}

struct choice {
    struct gx_hnsw_near links[GX_HNSW_M];
    size_t n;
};

/* Neighbours on one level. Where the walk of the next level should begin. */
static struct gx_hnsw_near choose_level(const struct gx_hnsw_walk *walk, uint32_t slot, unsigned level,
                                        struct gx_hnsw_near near, const uint32_t *others, size_t n_others,
                                        struct choice *out)
{
    struct gx_hnsw_work *work = walk->work;
    struct gx_hnsw_near list[GX_HNSW_SCRATCH];
    gx_hnsw_visit(work, slot); /* not its own neighbour */
    if (!gx_engine_hnsw_walk_beam(walk, near, level, GX_HNSW_EF_BUILD))
        assert(false); /* nothing stops it */
    near = work->beam[0];
    size_t n = candidates(walk, others, n_others, list);
    gx_hnsw_forget_visits(work);
    out->n = gx_engine_hnsw_links_choose(walk->graph, work, list, n, GX_HNSW_M);
    memcpy(out->links, list, out->n * sizeof(*list));
    return near;
}

void gx_engine_hnsw_build_link(struct gx_hnsw_graph *graph, struct gx_hnsw_work *work, uint32_t slot,
                               const uint32_t *others, size_t n_others)
{
    struct gx_hnsw_walk walk;
    struct choice choices[GX_HNSW_HEIGHT_MAX];
    uint64_t entry = atomic_load_explicit(&graph->entry, memory_order_acquire);
    unsigned height = gx_hnsw_levels(graph, slot), top = (unsigned)(entry >> 32), levels = GX_MIN(height, top);
    gx_engine_hnsw_walk_to(&walk, graph, work, slot);
    struct gx_hnsw_near near = gx_engine_hnsw_walk_begin(&walk, entry);
    near = gx_engine_hnsw_walk_descend(&walk, near, top, levels);
    for (unsigned level = levels; level-- > 0;)
        near = choose_level(&walk, slot, level, near, others, level == 0 ? n_others : 0, &choices[level]);
    /* From the bottom up: who comes upon the vertex on an upper level goes on from it on the lower ones. */
    for (unsigned level = 0; level < levels; level++) {
        const struct choice *choice = &choices[level];
        gx_engine_hnsw_links_give(graph, work, slot, level, choice->links, choice->n);
        for (size_t i = 0; i < choice->n; i++)
            gx_engine_hnsw_links_add(graph, work, choice->links[i].slot, level,
                                     (struct gx_hnsw_near){choice->links[i].score, slot});
    }
}

static void insert_one(struct build *build, size_t thread, size_t i)
{
    struct gx_hnsw_graph *graph = build->graph;
    uint32_t slot = build->slots[i], others[GX_HNSW_THREADS_MAX];
    size_t n_others = 0;
    gx_codes_put(graph->codes, slot, build->rows + i * graph->codes->dim);
    if (atomic_load_explicit(&graph->entry, memory_order_relaxed) != 0) {
        /* Sequentially consistent, as the loads are: of two threads one sees the other's row. */
        atomic_store(&build->announced[thread], slot + 1);
        for (size_t t = 0; t < build->threads; t++) {
            uint32_t other = t == thread ? 0 : atomic_load(&build->announced[t]);
            if (other != 0)
                others[n_others++] = other - 1;
        }
        gx_engine_hnsw_build_link(graph, build->works[thread], slot, others, n_others);
        atomic_store(&build->announced[thread], 0);
    }
    gx_engine_hnsw_build_raise_entry(graph, slot);
}

static void insert_share(void *arg, size_t thread, uint32_t from, uint32_t to)
{
    for (size_t i = from; i < to; i++)
        insert_one(arg, thread, i + 1);
}

/* All that can fail. */
static enum gx_status prepare(struct build *build, const uint64_t *rnos, size_t n, struct gx_err *err)
{
    struct gx_hnsw_graph *graph = build->graph;
    uint32_t until = 0;
    for (size_t i = 0; i < n; i++)
        until = GX_MAX(until, build->slots[i] + 1);
    GX_TRY(gx_engine_hnsw_graph_reserve(graph, until, err));
    for (size_t t = 0; t < build->threads; t++)
        GX_TRY(gx_engine_hnsw_graph_work(graph, GX_HNSW_EF_BUILD, 0, &build->works[t], err));
    enum gx_status status = GX_OK;
    size_t made = 0;
    while (made < n && status == GX_OK) {
        status =
            gx_engine_hnsw_graph_make(graph, build->slots[made], gx_engine_hnsw_graph_height(graph, rnos[made]), err);
        made += status == GX_OK;
    }
    while (status != GX_OK && made-- > 0)
        gx_engine_hnsw_graph_drop(graph, build->slots[made]);
    return status;
}

enum gx_status gx_engine_hnsw_build(struct gx_hnsw_graph *graph, const uint32_t *slots, const uint64_t *rnos,
                                    const float *rows, size_t n, size_t threads, struct gx_err *err)
{
    if (n == 0)
        return GX_OK;
    struct build build = {.graph = graph, .slots = slots, .rows = rows};
    build.threads = gx_engine_hnsw_parallel_threads(threads, n, ROWS_PER_THREAD);
    enum gx_status status = prepare(&build, rnos, n, err);
    if (status == GX_OK) {
        insert_one(&build, 0, 0); /* of an empty graph it is what the others begin with */
        gx_engine_hnsw_parallel(insert_share, &build, build.threads, (uint32_t)n - 1, 1);
    }
    for (size_t t = 0; t < build.threads; t++)
        if (build.works[t] != NULL)
            gx_engine_hnsw_graph_work_end(graph, build.works[t]);
    gx_engine_hnsw_graph_count_bytes(graph);
    gx_engine_hnsw_part_measure(graph, false);
    return status;
}
