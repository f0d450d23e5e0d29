/* Which links a vertex has: chosen so that they lead in different directions. For engine_hnsw*.c only. */
#ifndef GX_ENGINE_HNSW_LINKS_H
#define GX_ENGINE_HNSW_LINKS_H

#include "engine_hnsw_graph.h"

/* Best first. */
void gx_engine_hnsw_links_sort(struct gx_hnsw_near *list, size_t n);

/* Moves at most @max of @list[n] (best first, scores towards the vertex they are for) to its beginning: each is nearer
 * to the vertex than to any that was chosen before it. The others follow. Both keep their order. How many were chosen.
 * @n at most GX_HNSW_SCRATCH. */
size_t gx_engine_hnsw_links_choose(const struct gx_hnsw_graph *graph, struct gx_hnsw_work *work,
                                   struct gx_hnsw_near *list, size_t n, size_t max);

/* Links the vertex to @list[n], best first, and keeps the links that others have given it meanwhile. */
void gx_engine_hnsw_links_give(struct gx_hnsw_graph *graph, struct gx_hnsw_work *work, uint32_t slot, unsigned level,
                               const struct gx_hnsw_near *list, size_t n);

/* Adds a link to @near.slot, score towards @slot; where there is no room, chooses anew among all. */
void gx_engine_hnsw_links_add(struct gx_hnsw_graph *graph, struct gx_hnsw_work *work, uint32_t slot, unsigned level,
                              struct gx_hnsw_near near);

/* Writes a list; from the thread that holds its lock. */
void gx_engine_hnsw_links_write(struct gx_hnsw_graph *graph, uint32_t slot, unsigned level,
                                const struct gx_hnsw_near *list, size_t n);

#endif
