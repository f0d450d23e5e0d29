#include "engine_hnsw_links.h"

#include <stdlib.h>

#include "engine_hnsw_walk.h"
#include "simd.h"

#define COMPARED_AT_ONCE 8
/* Above this score it is the same photo. Where one is enrolled a hundred times, each is behind none of the others:
 * without a limit they would have links to each other only. Those that a list has no room for any more are linked from
 * the one that took their place: nothing else may lead to them. */
#define TWIN      0.998f
#define TWINS_MAX 8

static int by_score(const void *a, const void *b)
{
    const struct gx_hnsw_near *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? 1 : -1;
    return (x->slot < y->slot) - (x->slot > y->slot); /* of many equal ones not always the same */
}

void gx_engine_hnsw_links_sort(struct gx_hnsw_near *list, size_t n)
{
    qsort(list, n, sizeof(*list), by_score);
}

/* Is @near nearer to one of the chosen than to the vertex? */
static bool is_behind(const struct gx_hnsw_graph *graph, const int8_t *const *chosen, const float *scales, size_t n,
                      struct gx_hnsw_near near)
{
    const int8_t *code = gx_codes_int8(graph->codes, near.slot);
    float scale = gx_codes_scale(graph->codes, near.slot);
    int32_t dots[COMPARED_AT_ONCE];
    for (size_t from = 0; from < n; from += COMPARED_AT_ONCE) {
        size_t m = GX_MIN(n - from, (size_t)COMPARED_AT_ONCE);
        gx_simd_int8_gather(code, chosen + from, m, graph->codes->int8_n, dots);
        for (size_t i = 0; i < m; i++)
            if ((float)dots[i] * scale * scales[from + i] > near.score)
                return true;
    }
    return false;
}

size_t gx_engine_hnsw_links_choose(const struct gx_hnsw_graph *graph, struct gx_hnsw_work *work,
                                   struct gx_hnsw_near *list, size_t n, size_t max)
{
    const int8_t *chosen[GX_HNSW_M0];
    float scales[GX_HNSW_M0];
    size_t n_chosen = 0, n_rest = 0, n_twins = 0, at = 0;
    for (; at < n && n_chosen < max; at++) {
        struct gx_hnsw_near near = list[at];
        bool twin = near.score > TWIN;
        if ((twin && n_twins == TWINS_MAX) || is_behind(graph, chosen, scales, n_chosen, near)) {
            work->rest[n_rest++] = near;
            continue;
        }
        n_twins += twin;
        chosen[n_chosen] = gx_codes_int8(graph->codes, near.slot);
        scales[n_chosen] = gx_codes_scale(graph->codes, near.slot);
        list[n_chosen++] = near;
    }
    memcpy(list + n_chosen, work->rest, n_rest * sizeof(*list));
    return n_chosen;
}

void gx_engine_hnsw_links_write(struct gx_hnsw_graph *graph, uint32_t slot, unsigned level,
                                const struct gx_hnsw_near *list, size_t n)
{
    gx_hnsw_link *links = gx_hnsw_links(graph, slot, level);
    size_t max = gx_hnsw_links_max(level);
    for (size_t i = 0; i < n; i++)
        atomic_store_explicit(&links[i], list[i].slot + 1, memory_order_release);
    for (size_t i = n; i < max && atomic_load_explicit(&links[i], memory_order_relaxed) != 0; i++)
        atomic_store_explicit(&links[i], 0, memory_order_relaxed);
}

static bool holds(const struct gx_hnsw_near *list, size_t n, uint32_t slot)
{
    for (size_t i = 0; i < n; i++)
        if (list[i].slot == slot)
            return true;
    return false;
}

/* Writes the links to work->near[n], sorted: all of them where there is room, else chosen ones, and how many. */
static size_t write_best(struct gx_hnsw_graph *graph, struct gx_hnsw_work *work, uint32_t slot, unsigned level,
                         size_t n)
{
    size_t max = gx_hnsw_links_max(level);
    gx_engine_hnsw_links_sort(work->near, n);
    if (n > max)
        n = gx_engine_hnsw_links_choose(graph, work, work->near, n, max);
    gx_engine_hnsw_links_write(graph, slot, level, work->near, n);
    return n;
}

/* Scores work->slots[n] towards @slot and puts them behind work->near[at]. */
static void append_scored(const struct gx_hnsw_graph *graph, struct gx_hnsw_work *work, uint32_t slot, size_t at,
                          size_t n)
{
    struct gx_hnsw_walk walk;
    gx_engine_hnsw_walk_to(&walk, graph, work, slot);
    gx_engine_hnsw_walk_score(&walk, n);
    for (size_t i = 0; i < n; i++)
        work->near[at + i] = (struct gx_hnsw_near){work->scores[i], work->slots[i]};
}

void gx_engine_hnsw_links_give(struct gx_hnsw_graph *graph, struct gx_hnsw_work *work, uint32_t slot, unsigned level,
                               const struct gx_hnsw_near *list, size_t n)
{
    pthread_mutex_lock(gx_hnsw_lock(graph, slot));
    size_t n_there = gx_hnsw_read_links(gx_hnsw_links(graph, slot, level), gx_hnsw_links_max(level), work->slots);
    size_t n_others = 0;
    for (size_t i = 0; i < n_there; i++)
        if (!holds(list, n, work->slots[i]))
            work->slots[n_others++] = work->slots[i];
    if (n > 0)
        memcpy(work->near, list, n * sizeof(*list));
    append_scored(graph, work, slot, n, n_others);
    (void)write_best(graph, work, slot, level, n + n_others);
    pthread_mutex_unlock(gx_hnsw_lock(graph, slot));
}

/* Links that the vertex takes over, as far as it has room. */
static void take_over(struct gx_hnsw_graph *graph, uint32_t slot, unsigned level, const uint32_t *slots, size_t n)
{
    uint32_t there[GX_HNSW_M0];
    pthread_mutex_lock(gx_hnsw_lock(graph, slot));
    gx_hnsw_link *links = gx_hnsw_links(graph, slot, level);
    size_t max = gx_hnsw_links_max(level), n_there = gx_hnsw_read_links(links, max, there);
    for (size_t i = 0; i < n && n_there < max; i++) {
        size_t k = 0;
        while (k < n_there && there[k] != slots[i])
            k++;
        if (k < n_there)
            continue;
        there[n_there] = slots[i];
        atomic_store_explicit(&links[n_there++], slots[i] + 1, memory_order_release);
    }
    pthread_mutex_unlock(gx_hnsw_lock(graph, slot));
}

void gx_engine_hnsw_links_add(struct gx_hnsw_graph *graph, struct gx_hnsw_work *work, uint32_t slot, unsigned level,
                              struct gx_hnsw_near near)
{
    uint32_t twins[GX_HNSW_M0 + 1];
    size_t n_twins = 0;
    pthread_mutex_lock(gx_hnsw_lock(graph, slot));
    gx_hnsw_link *links = gx_hnsw_links(graph, slot, level);
    size_t max = gx_hnsw_links_max(level), n = gx_hnsw_read_links(links, max, work->slots), i = 0;
    while (i < n && work->slots[i] != near.slot)
        i++;
    if (i == n && n < max) {
        atomic_store_explicit(&links[n], near.slot + 1, memory_order_release);
    } else if (i == n) {
        work->near[0] = near;
        append_scored(graph, work, slot, 1, n);
        size_t n_written = write_best(graph, work, slot, level, n + 1);
        if (holds(work->near, n_written, near.slot))
            for (size_t k = n_written; k < n + 1; k++)
                if (work->near[k].score > TWIN)
                    twins[n_twins++] = work->near[k].slot;
    }
    pthread_mutex_unlock(gx_hnsw_lock(graph, slot));
    if (n_twins > 0)
        take_over(graph, near.slot, level, twins, n_twins);
}
