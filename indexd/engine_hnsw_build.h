/* New vertices. For engine_hnsw*.c only. */
#ifndef GX_ENGINE_HNSW_BUILD_H
#define GX_ENGINE_HNSW_BUILD_H

#include "engine_hnsw_graph.h"

/* Takes up rows[n][dim] of @slots and @rnos, each new, with up to @threads threads. All or none. GX_E_NOMEM,
 * GX_E_FULL. */
GX_MUST enum gx_status gx_engine_hnsw_build(struct gx_hnsw_graph *graph, const uint32_t *slots, const uint64_t *rnos,
                                            const float *rows, size_t n, size_t threads, struct gx_err *err);

/* Links a vertex that has no links yet, or none that leads to it: finds its neighbours and connects it with them.
 * @others[n_others] may be near and not yet to be found. */
void gx_engine_hnsw_build_link(struct gx_hnsw_graph *graph, struct gx_hnsw_work *work, uint32_t slot,
                               const uint32_t *others, size_t n_others);

/* The vertex with the most levels is where searches begin. */
void gx_engine_hnsw_build_raise_entry(struct gx_hnsw_graph *graph, uint32_t slot);

#endif
