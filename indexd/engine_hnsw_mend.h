/* Vertices that go, and vertices that cannot be reached. For engine_hnsw*.c only. */
#ifndef GX_ENGINE_HNSW_MEND_H
#define GX_ENGINE_HNSW_MEND_H

#include "engine_hnsw_graph.h"

/* Takes the vertices of @slots[*io_n] out, and leaves each once there: no link leads to them afterwards, and those that
 * had one are linked anew with what is near. Searches go on meanwhile; when those that may have seen them have ended,
 * gx_engine_hnsw_graph_drop. With up to @threads threads. GX_E_NOMEM: nothing was done. */
GX_MUST enum gx_status gx_engine_hnsw_mend_remove(struct gx_hnsw_graph *graph, uint32_t *slots, size_t *io_n,
                                                  size_t threads, struct gx_err *err);

/* How many vertices cannot be reached from the entry at level 0; with @mend they can afterwards, but for
 * *out_left. */
GX_MUST enum gx_status gx_engine_hnsw_mend_unreachable(struct gx_hnsw_graph *graph, bool mend, uint64_t *out_found,
                                                       uint64_t *out_left, struct gx_err *err);

#endif
