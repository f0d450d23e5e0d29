/* Walks through the graph towards a probe. For engine_hnsw*.c only. */
#ifndef GX_ENGINE_HNSW_WALK_H
#define GX_ENGINE_HNSW_WALK_H

#include "engine_hnsw_graph.h"

/* Is the vertex one that the search wants? Asked once per vertex at most. */
typedef bool gx_hnsw_wants(void *arg, uint32_t slot);

struct gx_hnsw_walk {
    const struct gx_hnsw_graph *graph;
    struct gx_hnsw_work *work;
    const int8_t *probe;  /* [int8_n] */
    float scale;          /* of the probe */
    uint32_t limit;       /* vertices from this on are not looked at: they came after the room to work in */
    gx_hnsw_wants *wants; /* not NULL: the best of those go into work->found, as many as work->n_wanted */
    void *wants_arg;
    bool (*stop)(void *arg); /* asked now and then; true ends the walk. NULL: never */
    void *stop_arg;
};

/* Towards the code of @slot; and towards @probe. */
void gx_engine_hnsw_walk_to(struct gx_hnsw_walk *walk, const struct gx_hnsw_graph *graph, struct gx_hnsw_work *work,
                            uint32_t slot);
void gx_engine_hnsw_walk_probe(struct gx_hnsw_walk *walk, const struct gx_hnsw_graph *graph, struct gx_hnsw_work *work,
                               const int8_t *probe, float scale);

/* Approximate cosines of work->slots[n] into work->scores; n at most GX_HNSW_SCRATCH. */
void gx_engine_hnsw_walk_score(const struct gx_hnsw_walk *walk, size_t n);

/* Where a walk begins: the graph's entry, height << 32 | slot, not 0. */
struct gx_hnsw_near gx_engine_hnsw_walk_begin(const struct gx_hnsw_walk *walk, uint64_t entry);

/* From @near on, always to the best neighbour, on the levels from @height - 1 down to @until. */
struct gx_hnsw_near gx_engine_hnsw_walk_descend(const struct gx_hnsw_walk *walk, struct gx_hnsw_near near,
                                                unsigned height, unsigned until);

/* The vertices of @level that are reached by always looking at the neighbours of the best one not looked at yet, until
 * the @ef best have been: in work->beam, best first. Vertices visited before are left out. False: told to stop. */
GX_MUST bool gx_engine_hnsw_walk_beam(const struct gx_hnsw_walk *walk, struct gx_hnsw_near start, unsigned level,
                                      size_t ef);

/* From the graph's entry (height << 32 | slot, not 0) to the @ef best at level 0. */
GX_MUST bool gx_engine_hnsw_walk_search(const struct gx_hnsw_walk *walk, uint64_t entry, size_t ef);

#endif
