/* The path of a removal: vertices marked -> another entry, if it was one of them -> every list is looked through, and a
 * vertex with a link that is gone gets its list repaired -> links back to it -> vertices that may have lost the last
 * link to them are looked at -> lists of the removed cleared.
 *
 * A repair chooses among the links that are left and what the removed neighbours were linked to, which is what led on
 * from them. Searches go through removed vertices until the end of this: their codes are still there, and a graph
 * without them has holes until it is repaired. Nothing is inserted meanwhile.
 *
 * What can go wrong: a vertex that only removed ones led to. What the removed were linked to is tried afterwards, and a
 * walk through the whole graph finds what else there is (gx_engine_hnsw_mend_unreachable); both link anew. */
#include "engine_hnsw_mend.h"

#include <stdlib.h>

#include "engine_hnsw_build.h"
#include "engine_hnsw_links.h"
#include "engine_hnsw_parallel.h"
#include "engine_hnsw_walk.h"

#define SWEEP_GRAIN     1024
#define CANDIDATES_MAX  (GX_HNSW_SCRATCH - GX_HNSW_M0)
#define CANDIDATES_MIN  GX_HNSW_M         /* fewer: neighbours of removed neighbours of removed ones, too */
#define LINKS_MIN       8                 /* fewer: link anew */
#define BACK_LINKS_MAX  ((size_t)1 << 20) /* remembered by one thread */
#define ROWS_PER_THREAD 20000             /* swept; fewer are not worth starting it */
#define MEND_ROUNDS     4

/* A link that somebody who was repaired would like to have back. From and to one vertex: it needs to be linked anew,
 * what is left near it is too little. */
struct back_link {
    uint32_t from;
    unsigned level;
    struct gx_hnsw_near near;
};

struct sweeper {
    struct gx_hnsw_work *work;
    struct back_link *back_links;
    size_t n_back_links, back_links_max;
};

struct removal {
    struct gx_hnsw_graph *graph;
    const uint32_t *slots; /* [n] removed */
    size_t n, n_words;
    _Atomic uint64_t *gone;    /* a bit a slot */
    _Atomic uint64_t *checked; /* looked at for links to it */
    size_t threads;
    struct sweeper sweepers[GX_HNSW_THREADS_MAX];
};

static bool is_set(const _Atomic uint64_t *bits, uint32_t slot)
{
    return (atomic_load_explicit(&bits[slot / 64], memory_order_relaxed) >> slot % 64 & 1) != 0;
}

/* True the first time. */
static bool set(_Atomic uint64_t *bits, uint32_t slot)
{
    uint64_t bit = (uint64_t)1 << slot % 64;
    return (atomic_fetch_or_explicit(&bits[slot / 64], bit, memory_order_relaxed) & bit) == 0;
}

/* --- repair of one list --- */

/* What is linked from the removed vertices @gone[n_gone] and is alive, behind work->slots[n]; through further removed
 * ones while that is little. */
static size_t heirs(const struct removal *removal, struct gx_hnsw_work *work, unsigned level, const uint32_t *gone,
                    size_t n_gone, size_t n)
{
    uint32_t queue[4 * GX_HNSW_M0], links[GX_HNSW_M0];
    size_t n_queue = n_gone, from = n;
    memcpy(queue, gone, n_gone * sizeof(*gone));
    for (size_t at = 0; at < n_queue && (at < n_gone || n - from < CANDIDATES_MIN); at++) {
        size_t n_links =
            gx_hnsw_read_links(gx_hnsw_links(removal->graph, queue[at], level), gx_hnsw_links_max(level), links);
        for (size_t i = 0; i < n_links; i++) {
            if (!gx_hnsw_visit(work, links[i]))
                continue;
            if (!is_set(removal->gone, links[i])) {
                if (n < CANDIDATES_MAX)
                    work->slots[n++] = links[i];
            } else if (n_queue < GX_COUNT_OF(queue)) {
                queue[n_queue++] = links[i];
            }
        }
    }
    return n;
}

/* Links for @slot, best first, into work->near; how many. work->slots[n]: those it may have, of which the first
 * @n_kept it has. @wanted in all. */
static size_t choose_again(const struct removal *removal, struct gx_hnsw_work *work, uint32_t slot, unsigned level,
                           size_t n, size_t wanted)
{
    struct gx_hnsw_walk walk;
    gx_engine_hnsw_walk_to(&walk, removal->graph, work, slot);
    gx_engine_hnsw_walk_score(&walk, n);
    for (size_t i = 0; i < n; i++)
        work->near[i] = (struct gx_hnsw_near){work->scores[i], work->slots[i]};
    gx_engine_hnsw_links_sort(work->near, n);
    size_t n_chosen = gx_engine_hnsw_links_choose(removal->graph, work, work->near, n, gx_hnsw_links_max(level));
    return GX_MAX(n_chosen, GX_MIN(n, wanted)); /* filled up with the nearest of the others */
}

static void note_back_link(struct removal *removal, struct sweeper *sweeper, struct back_link link)
{
    if (sweeper->n_back_links == sweeper->back_links_max) {
        size_t max = GX_MAX(2 * sweeper->back_links_max, (size_t)1024);
        struct back_link *grown =
            max > BACK_LINKS_MAX ? NULL : realloc(sweeper->back_links, max * sizeof(*sweeper->back_links));
        if (grown == NULL && link.near.slot == link.from)
            return;
        if (grown == NULL) {
            gx_engine_hnsw_links_add(removal->graph, sweeper->work, link.from, link.level, link.near);
            return;
        }
        sweeper->back_links = grown;
        sweeper->back_links_max = max;
    }
    sweeper->back_links[sweeper->n_back_links++] = link;
}

static void repair(struct removal *removal, struct sweeper *sweeper, uint32_t slot, unsigned level)
{
    struct gx_hnsw_graph *graph = removal->graph;
    struct gx_hnsw_work *work = sweeper->work;
    uint32_t links[GX_HNSW_M0], gone[GX_HNSW_M0], kept[GX_HNSW_M0];
    size_t n_gone = 0, n_kept = 0;
    pthread_mutex_lock(gx_hnsw_lock(graph, slot));
    size_t n_links = gx_hnsw_read_links(gx_hnsw_links(graph, slot, level), gx_hnsw_links_max(level), links);
    gx_hnsw_visit(work, slot);
    for (size_t i = 0; i < n_links; i++) {
        gx_hnsw_visit(work, links[i]);
        if (is_set(removal->gone, links[i]))
            gone[n_gone++] = links[i];
        else
            kept[n_kept++] = links[i];
    }
    if (n_kept > 0)
        memcpy(work->slots, kept, n_kept * sizeof(*kept));
    size_t n = heirs(removal, work, level, gone, n_gone, n_kept);
    gx_hnsw_forget_visits(work);
    n = choose_again(removal, work, slot, level, n, n_links);
    gx_engine_hnsw_links_write(graph, slot, level, work->near, n);
    pthread_mutex_unlock(gx_hnsw_lock(graph, slot));
    struct gx_hnsw_near chosen[GX_HNSW_M0];
    memcpy(chosen, work->near, n * sizeof(*chosen));
    if (level == 0 && n < LINKS_MIN)
        note_back_link(removal, sweeper, (struct back_link){slot, 0, {0, slot}});
    for (size_t i = 0; i < n; i++) {
        bool is_new = true;
        for (size_t k = 0; k < n_kept && is_new; k++)
            is_new = kept[k] != chosen[i].slot;
        if (is_new)
            note_back_link(removal, sweeper, (struct back_link){chosen[i].slot, level, {chosen[i].score, slot}});
    }
}

/* --- the sweep --- */

static bool has_gone_link(const struct removal *removal, uint32_t slot, unsigned level)
{
    const gx_hnsw_link *links = gx_hnsw_links(removal->graph, slot, level);
    size_t max = gx_hnsw_links_max(level);
    uint32_t link;
    for (size_t i = 0; i < max && (link = atomic_load_explicit(&links[i], memory_order_relaxed)) != 0; i++)
        if (is_set(removal->gone, link - 1))
            return true;
    return false;
}

static void sweep_share(void *arg, size_t thread, uint32_t from, uint32_t to)
{
    struct removal *removal = arg;
    for (uint32_t slot = from; slot < to; slot++) {
        unsigned levels = gx_hnsw_levels(removal->graph, slot);
        for (unsigned level = 0; level < levels; level++)
            if (has_gone_link(removal, slot, level))
                repair(removal, &removal->sweepers[thread], slot, level);
    }
}

/* The back links that one thread, any thread, has noted. */
static void link_back_share(void *arg, size_t thread, uint32_t from, uint32_t to)
{
    struct removal *removal = arg;
    struct gx_hnsw_work *work = removal->sweepers[thread].work;
    for (uint32_t s = from; s < to; s++)
        for (size_t i = 0; i < removal->sweepers[s].n_back_links; i++) {
            const struct back_link *link = &removal->sweepers[s].back_links[i];
            if (link->near.slot == link->from)
                gx_engine_hnsw_build_link(removal->graph, work, link->from, NULL, 0);
            else
                gx_engine_hnsw_links_add(removal->graph, work, link->from, link->level, link->near);
        }
}

/* Does one of its neighbours lead back to the vertex? (One of those that @among has, unless NULL.) */
static bool has_link_to(const struct gx_hnsw_graph *graph, uint32_t slot, const _Atomic uint64_t *among)
{
    uint32_t links[GX_HNSW_M0], back[GX_HNSW_M0];
    size_t n = gx_hnsw_read_links(gx_hnsw_links(graph, slot, 0), GX_HNSW_M0, links);
    for (size_t i = 0; i < n; i++) {
        if (among != NULL && !is_set(among, links[i]))
            continue;
        size_t m = gx_hnsw_read_links(gx_hnsw_links(graph, links[i], 0), GX_HNSW_M0, back);
        for (size_t k = 0; k < m; k++)
            if (back[k] == slot)
                return true;
    }
    return false;
}

/* A link to @slot from what is nearest to it (of those that @among has, unless NULL) and has room for one; where none
 * has room, in the place of the last link of the nearest. */
static void force_link_to(struct gx_hnsw_graph *graph, struct gx_hnsw_work *work, uint32_t slot,
                          const _Atomic uint64_t *among)
{
    struct gx_hnsw_walk walk;
    uint64_t entry = atomic_load_explicit(&graph->entry, memory_order_relaxed);
    uint32_t nearest = slot;
    gx_engine_hnsw_walk_to(&walk, graph, work, slot);
    bool done = gx_engine_hnsw_walk_search(&walk, entry, GX_HNSW_EF_BUILD);
    gx_hnsw_forget_visits(work);
    for (size_t i = 0; i <= work->n_beam && done; i++) {
        uint32_t from = i < work->n_beam ? work->beam[i].slot : nearest;
        if (from == slot || (among != NULL && !is_set(among, from)))
            continue;
        nearest = nearest == slot ? from : nearest;
        gx_hnsw_link *list = gx_hnsw_links(graph, from, 0);
        pthread_mutex_lock(gx_hnsw_lock(graph, from));
        size_t at = 0;
        while (at < GX_HNSW_M0 && atomic_load_explicit(&list[at], memory_order_relaxed) != 0)
            at++;
        done = at == GX_HNSW_M0;
        if (at < GX_HNSW_M0 || i == work->n_beam)
            atomic_store_explicit(&list[GX_MIN(at, (size_t)GX_HNSW_M0 - 1)], slot + 1, memory_order_release);
        pthread_mutex_unlock(gx_hnsw_lock(graph, from));
    }
}

/* Vertices that a removed one was linked to: is there another link to them? */
static void check_share(void *arg, size_t thread, uint32_t from, uint32_t to)
{
    struct removal *removal = arg;
    struct gx_hnsw_work *work = removal->sweepers[thread].work;
    uint32_t links[GX_HNSW_M0];
    for (uint32_t i = from; i < to; i++) {
        size_t n = gx_hnsw_read_links(gx_hnsw_links(removal->graph, removal->slots[i], 0), GX_HNSW_M0, links);
        for (size_t k = 0; k < n; k++) {
            if (is_set(removal->gone, links[k]) || !set(removal->checked, links[k]) ||
                has_link_to(removal->graph, links[k], NULL))
                continue;
            gx_engine_hnsw_build_link(removal->graph, work, links[k], NULL, 0);
            if (!has_link_to(removal->graph, links[k], NULL))
                force_link_to(removal->graph, work, links[k], NULL);
        }
    }
}

/* --- removal --- */

/* Another entry where it is one of the removed. */
static void move_entry(struct removal *removal)
{
    struct gx_hnsw_graph *graph = removal->graph;
    uint64_t entry = atomic_load_explicit(&graph->entry, memory_order_relaxed), best = 0;
    if (entry == 0 || !is_set(removal->gone, (uint32_t)entry))
        return;
    uint32_t reserved = atomic_load_explicit(&graph->reserved, memory_order_relaxed);
    for (uint32_t slot = 0; slot < reserved; slot++)
        if (gx_hnsw_levels(graph, slot) > best >> 32)
            best = (uint64_t)gx_hnsw_levels(graph, slot) << 32 | slot;
    atomic_store_explicit(&graph->entry, best, memory_order_release);
}

static enum gx_status prepare(struct removal *removal, struct gx_err *err)
{
    uint32_t reserved = atomic_load_explicit(&removal->graph->reserved, memory_order_relaxed);
    removal->n_words = (size_t)reserved / 64 + 1;
    removal->threads = gx_engine_hnsw_parallel_threads(removal->threads, reserved, ROWS_PER_THREAD);
    removal->gone = calloc(removal->n_words, sizeof(*removal->gone));
    removal->checked = calloc(removal->n_words, sizeof(*removal->checked));
    if (removal->gone == NULL || removal->checked == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to remove rows from the index");
    for (size_t t = 0; t < removal->threads; t++)
        GX_TRY(gx_engine_hnsw_graph_work(removal->graph, GX_HNSW_EF_BUILD, 0, &removal->sweepers[t].work, err));
    return GX_OK;
}

static void finish(struct removal *removal)
{
    for (size_t t = 0; t < removal->threads; t++) {
        if (removal->sweepers[t].work != NULL)
            gx_engine_hnsw_graph_work_end(removal->graph, removal->sweepers[t].work);
        free(removal->sweepers[t].back_links);
    }
    free(removal->gone);
    free(removal->checked);
}

/* And each once among the slots from here on. */
static void mark(struct removal *removal, uint32_t *slots)
{
    size_t n = 0;
    for (size_t i = 0; i < removal->n; i++) {
        if (!set(removal->gone, slots[i]))
            continue;
        atomic_fetch_or_explicit(gx_hnsw_height(removal->graph, slots[i]), GX_HNSW_REMOVED, memory_order_relaxed);
        slots[n++] = slots[i];
    }
    removal->n = n;
    atomic_fetch_sub_explicit(&removal->graph->n_vertices, n, memory_order_relaxed);
}

enum gx_status gx_engine_hnsw_mend_remove(struct gx_hnsw_graph *graph, uint32_t *slots, size_t *io_n, size_t threads,
                                          struct gx_err *err)
{
    struct removal removal = {.graph = graph, .slots = slots, .n = *io_n, .threads = threads};
    if (*io_n == 0)
        return GX_OK;
    enum gx_status status = prepare(&removal, err);
    if (status == GX_OK) {
        uint32_t reserved = atomic_load_explicit(&graph->reserved, memory_order_relaxed);
        mark(&removal, slots);
        move_entry(&removal);
        gx_engine_hnsw_parallel(sweep_share, &removal, removal.threads, reserved, SWEEP_GRAIN);
        gx_engine_hnsw_parallel(link_back_share, &removal, removal.threads, (uint32_t)removal.threads, 1);
        if (atomic_load_explicit(&graph->entry, memory_order_relaxed) != 0)
            gx_engine_hnsw_parallel(check_share, &removal, removal.threads, (uint32_t)removal.n, 1);
        for (size_t i = 0; i < removal.n; i++)
            gx_engine_hnsw_links_write(graph, slots[i], 0, NULL, 0);
        *io_n = removal.n;
    }
    finish(&removal);
    return status;
}

/* --- what cannot be reached --- */

struct reach {
    const struct gx_hnsw_graph *graph;
    _Atomic uint64_t *seen;
    uint32_t *stack; /* [vertices] */
};

static void spread(struct reach *reach, uint32_t slot)
{
    uint32_t links[GX_HNSW_M0];
    size_t n = 0;
    if (set(reach->seen, slot))
        reach->stack[n++] = slot;
    while (n > 0) {
        slot = reach->stack[--n];
        size_t m = gx_hnsw_read_links(gx_hnsw_links(reach->graph, slot, 0), GX_HNSW_M0, links);
        for (size_t i = 0; i < m; i++)
            if (set(reach->seen, links[i])) {
                reach->stack[n++] = links[i];
                __builtin_prefetch(gx_hnsw_links(reach->graph, links[i], 0));
            }
    }
}

static void mend_one(struct gx_hnsw_graph *graph, struct gx_hnsw_work *work, struct reach *reach, uint32_t slot)
{
    gx_engine_hnsw_build_link(graph, work, slot, NULL, 0);
    if (!has_link_to(graph, slot, reach->seen))
        force_link_to(graph, work, slot, reach->seen);
    spread(reach, slot);
}

enum gx_status gx_engine_hnsw_mend_unreachable(struct gx_hnsw_graph *graph, bool mend, uint64_t *out_found,
                                               uint64_t *out_left, struct gx_err *err)
{
    uint32_t reserved = atomic_load_explicit(&graph->reserved, memory_order_relaxed);
    uint64_t entry = atomic_load_explicit(&graph->entry, memory_order_acquire);
    uint64_t vertices = atomic_load_explicit(&graph->n_vertices, memory_order_relaxed);
    *out_found = *out_left = 0;
    if (entry == 0)
        return GX_OK;
    size_t n_words = (size_t)reserved / 64 + 1;
    struct reach reach = {graph, malloc(n_words * sizeof(*reach.seen)), malloc(vertices * sizeof(*reach.stack))};
    struct gx_hnsw_work *work = NULL;
    enum gx_status status = GX_OK;
    if (reach.seen == NULL || reach.stack == NULL)
        status = gx_fail(err, GX_E_NOMEM, "no memory to check the index");
    else if (mend)
        status = gx_engine_hnsw_graph_work(graph, GX_HNSW_EF_BUILD, 0, &work, err);
    for (unsigned round = 0; round < (mend ? MEND_ROUNDS : 1) && status == GX_OK; round++) {
        memset((void *)reach.seen, 0, n_words * sizeof(*reach.seen));
        spread(&reach, (uint32_t)entry);
        *out_left = 0;
        for (uint32_t slot = 0; slot < reserved; slot++) {
            if (gx_hnsw_levels(graph, slot) == 0 || is_set(reach.seen, slot))
                continue;
            ++*out_left;
            if (mend)
                mend_one(graph, work, &reach, slot);
        }
        if (round == 0)
            *out_found = *out_left;
        if (*out_left == 0)
            break;
    }
    if (work != NULL)
        gx_engine_hnsw_graph_work_end(graph, work);
    free((void *)reach.seen);
    free(reach.stack);
    return status;
}
