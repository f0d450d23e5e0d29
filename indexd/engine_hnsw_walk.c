/* The walk is bound by memory: a neighbour's code is 512 bytes anywhere.
 *
 * - Memory is asked for ahead: for the code of a neighbour when it is collected, for all neighbours before the first is
 *   compared, for the list of a vertex when it becomes one of the next to be opened.
 * - Most neighbours are not near enough to be taken up, and most of those show it in the first half of their code (see
 *   engine_hnsw_part.h): the other half is not read. */
#include "engine_hnsw_walk.h"

#include <math.h>

#include "simd.h"

#define OPENED     (1u << 31) /* in the slot of a beam's entry: its neighbours were looked at */
#define SOON       3          /* entries whose lists are asked for ahead */
#define STOP_EVERY 64         /* rounds between two questions to stop */
#define LINE       64
#define CODE_LINES 8 /* of a code that are asked for at most; the processor finds what follows */

_Static_assert(GX_HNSW_SLOTS_MAX <= OPENED, "slots leave a bit");

void gx_engine_hnsw_walk_probe(struct gx_hnsw_walk *walk, const struct gx_hnsw_graph *graph, struct gx_hnsw_work *work,
                               const int8_t *probe, float scale)
{
    *walk = (struct gx_hnsw_walk){.graph = graph, .work = work, .probe = probe, .scale = scale};
    size_t limit = work->n_words * 64;
    walk->limit = (uint32_t)GX_MIN(limit, (size_t)GX_HNSW_SLOTS_MAX);
}

void gx_engine_hnsw_walk_to(struct gx_hnsw_walk *walk, const struct gx_hnsw_graph *graph, struct gx_hnsw_work *work,
                            uint32_t slot)
{
    gx_engine_hnsw_walk_probe(walk, graph, work, gx_codes_int8(graph->codes, slot), gx_codes_scale(graph->codes, slot));
}

void gx_engine_hnsw_walk_score(const struct gx_hnsw_walk *walk, size_t n)
{
    const struct gx_codes *codes = walk->graph->codes;
    struct gx_hnsw_work *work = walk->work;
    for (size_t i = 0; i < n; i++)
        work->codes[i] = gx_codes_int8(codes, work->slots[i]);
    gx_simd_int8_gather(walk->probe, work->codes, n, codes->int8_n, work->dots);
    for (size_t i = 0; i < n; i++)
        work->scores[i] = (float)work->dots[i] * walk->scale * gx_codes_scale(codes, work->slots[i]);
    work->scored += n;
}

static void ask_for_code(const int8_t *code, size_t len)
{
    for (size_t at = 0; at < GX_MIN(len, (size_t)CODE_LINES * LINE); at += LINE)
        __builtin_prefetch(code + at);
}

/* As gx_engine_hnsw_walk_score, but vertices that can hardly score above @bar by the first part of their code are taken
 * out of work->slots; how many are left. */
static size_t score_promising(const struct gx_hnsw_walk *walk, size_t n, float bar)
{
    const struct gx_codes *codes = walk->graph->codes;
    struct gx_hnsw_work *work = walk->work;
    size_t part_n = walk->graph->part.n, rest_n = codes->int8_n - part_n, n_left = 0;
    float part_bar = gx_hnsw_part_bar(&walk->graph->part, bar);
    if (!(part_bar > -INFINITY)) { /* nor where there is no first part: its bar is no number */
        gx_engine_hnsw_walk_score(walk, n);
        return n;
    }
    for (size_t i = 0; i < n; i++)
        work->codes[i] = gx_codes_int8(codes, work->slots[i]);
    gx_simd_int8_gather(walk->probe, work->codes, n, part_n, work->dots);
    for (size_t i = 0; i < n; i++) {
        float scale = walk->scale * gx_codes_scale(codes, work->slots[i]);
        if ((float)work->dots[i] * scale <= part_bar)
            continue;
        work->slots[n_left] = work->slots[i];
        work->codes[n_left] = work->codes[i] + part_n;
        work->part_dots[n_left] = work->dots[i];
        work->scores[n_left] = scale;
        ask_for_code(work->codes[n_left++], rest_n);
    }
    gx_simd_int8_gather(walk->probe + part_n, work->codes, n_left, rest_n, work->dots);
    for (size_t i = 0; i < n_left; i++)
        work->scores[i] *= (float)(work->part_dots[i] + work->dots[i]);
    work->scored += n;
    return n_left;
}

struct gx_hnsw_near gx_engine_hnsw_walk_descend(const struct gx_hnsw_walk *walk, struct gx_hnsw_near near,
                                                unsigned height, unsigned until)
{
    struct gx_hnsw_work *work = walk->work;
    for (unsigned level = height; level-- > until;) {
        uint32_t before;
        do {
            before = near.slot;
            size_t n = gx_hnsw_read_links(gx_hnsw_links(walk->graph, near.slot, level), GX_HNSW_M, work->slots);
            size_t kept = 0;
            for (size_t i = 0; i < n; i++)
                if (work->slots[i] < walk->limit)
                    work->slots[kept++] = work->slots[i];
            gx_engine_hnsw_walk_score(walk, kept);
            for (size_t i = 0; i < kept; i++)
                if (work->scores[i] > near.score)
                    near = (struct gx_hnsw_near){work->scores[i], work->slots[i]};
        } while (near.slot != before);
    }
    return near;
}

/* Puts the neighbours of @slot that were not visited yet into work->slots; how many. */
static size_t collect(const struct gx_hnsw_walk *walk, uint32_t slot, unsigned level)
{
    struct gx_hnsw_work *work = walk->work;
    const struct gx_codes *codes = walk->graph->codes;
    const gx_hnsw_link *links = gx_hnsw_links(walk->graph, slot, level);
    size_t max = gx_hnsw_links_max(level), n = 0;
    size_t len = walk->graph->part.n > 0 ? walk->graph->part.n : codes->int8_n;
    for (size_t i = 0; i < max; i++) {
        uint32_t link = atomic_load_explicit(&links[i], memory_order_acquire), to = link - 1;
        if (link == 0)
            break;
        if (to >= walk->limit || !gx_hnsw_visit(work, to))
            continue;
        work->slots[n++] = to;
        __builtin_prefetch(&gx_codes_chunk_of(codes, to)->scales[gx_codes_place_of(codes, to)]);
        ask_for_code(gx_codes_int8(codes, to), len);
    }
    return n;
}

static void ask_for_list(const struct gx_hnsw_walk *walk, uint32_t slot, unsigned level)
{
    const char *links = (const char *)gx_hnsw_links(walk->graph, slot, level);
    for (size_t at = 0; at < gx_hnsw_links_max(level) * sizeof(gx_hnsw_link); at += LINE)
        __builtin_prefetch(links + at);
}

/* Into an array of at most @max, best first, of equal ones at most @max_equal; where. @max: it is not among the best.
 */
static size_t insert(struct gx_hnsw_near *list, size_t *n, size_t max, size_t max_equal, struct gx_hnsw_near near)
{
    if (*n == max && near.score <= list[max - 1].score)
        return max;
    size_t low = 0;
    for (size_t left = *n, half; left > 0; left -= half) { /* without a branch on what is random */
        half = (left + 1) / 2;
        low += list[low + half - 1].score >= near.score ? half : 0;
    }
    if (low >= max_equal && list[low - max_equal].score == near.score)
        return max;
    if (*n < max)
        ++*n;
    memmove(&list[low + 1], &list[low], (*n - 1 - low) * sizeof(*list));
    list[low] = near;
    return low;
}

static void offer_found(const struct gx_hnsw_walk *walk, struct gx_hnsw_near near)
{
    struct gx_hnsw_work *work = walk->work;
    if (work->n_found == work->n_wanted && near.score <= work->found[work->n_found - 1].score)
        return;
    if (walk->wants(walk->wants_arg, near.slot))
        insert(work->found, &work->n_found, work->n_wanted, SIZE_MAX, near);
}

/* Who does not score above it is of no use; -INFINITY while everybody is. */
static float bar_of(const struct gx_hnsw_walk *walk, size_t ef)
{
    const struct gx_hnsw_work *work = walk->work;
    if (work->n_beam < ef)
        return -INFINITY;
    float bar = work->beam[ef - 1].score;
    if (walk->wants == NULL)
        return bar;
    return work->n_found < work->n_wanted ? -INFINITY : GX_MIN(bar, work->found[work->n_wanted - 1].score);
}

/* Takes up work->slots[n] with their scores. A photo that was enrolled a thousand times fills only half of the beam, or
 * nothing else would be found near it. Entries before @at are opened; the first one that may not be. */
static size_t take_up(const struct gx_hnsw_walk *walk, unsigned level, size_t n, size_t ef, size_t at)
{
    struct gx_hnsw_work *work = walk->work;
    for (size_t i = 0; i < n; i++) {
        struct gx_hnsw_near near = {work->scores[i], work->slots[i]};
        size_t place = insert(work->beam, &work->n_beam, ef, ef / 2 + 1, near);
        at = GX_MIN(at, place);
        if (place < at + SOON)
            ask_for_list(walk, near.slot, level);
        if (walk->wants != NULL)
            offer_found(walk, near);
    }
    return at;
}

bool gx_engine_hnsw_walk_beam(const struct gx_hnsw_walk *walk, struct gx_hnsw_near start, unsigned level, size_t ef)
{
    struct gx_hnsw_work *work = walk->work;
    struct gx_hnsw_near *beam = work->beam;
    beam[0] = start;
    work->n_beam = 1;
    gx_hnsw_visit(work, start.slot);
    if (walk->wants != NULL)
        offer_found(walk, start);
    bool stopped = false;
    size_t at = 0; /* all before it are opened */
    for (unsigned round = 1; at < work->n_beam && !stopped; round++) {
        size_t n = collect(walk, beam[at].slot, level);
        beam[at++].slot |= OPENED;
        for (size_t next = at; next < GX_MIN(at + SOON, work->n_beam); next++)
            ask_for_list(walk, beam[next].slot & ~OPENED, level);
        n = score_promising(walk, n, bar_of(walk, ef));
        at = take_up(walk, level, n, ef, at);
        while (at < work->n_beam && (beam[at].slot & OPENED) != 0)
            at++;
        stopped = walk->stop != NULL && round % STOP_EVERY == 0 && walk->stop(walk->stop_arg);
    }
    for (size_t i = 0; i < work->n_beam; i++)
        beam[i].slot &= ~OPENED;
    return !stopped;
}

struct gx_hnsw_near gx_engine_hnsw_walk_begin(const struct gx_hnsw_walk *walk, uint64_t entry)
{
    walk->work->slots[0] = (uint32_t)entry;
    gx_engine_hnsw_walk_score(walk, 1);
    return (struct gx_hnsw_near){walk->work->scores[0], (uint32_t)entry};
}

bool gx_engine_hnsw_walk_search(const struct gx_hnsw_walk *walk, uint64_t entry, size_t ef)
{
    struct gx_hnsw_near near = gx_engine_hnsw_walk_begin(walk, entry);
    near = gx_engine_hnsw_walk_descend(walk, near, (unsigned)(entry >> 32), 1);
    return gx_engine_hnsw_walk_beam(walk, near, 0, ef);
}
