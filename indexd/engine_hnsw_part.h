/* What the first half of a code says about the whole. For engine_hnsw*.c only.
 *
 * A cosine is a sum over components, so half of them give an estimate of it (Gao and Long, "High-dimensional
 * approximate nearest neighbor search: with reliable and efficient distance comparison operations", 2023, after a
 * random rotation; embeddings of faces need none). A walk leaves a vertex alone whose first half makes it very unlikely
 * to be taken up. How likely is measured on the gallery itself: the score by the first half of linked vertices is a
 * straight line of their score, and what remains around it has a standard deviation; the bar is so many of those below
 * the line. */
#ifndef GX_ENGINE_HNSW_PART_H
#define GX_ENGINE_HNSW_PART_H

#include "engine_hnsw_graph.h"

/* Sets graph->part.n; nothing is measured yet, so nothing is left alone. */
void gx_engine_hnsw_part_init(struct gx_hnsw_graph *graph);

/* Measures: where the graph has doubled since it was last done, or @now. The same for the same graph. From the thread
 * that changes it. */
void gx_engine_hnsw_part_measure(struct gx_hnsw_graph *graph, bool now);

#endif
