/* One piece of work for several threads. For engine_hnsw*.c only. */
#ifndef GX_ENGINE_HNSW_PARALLEL_H
#define GX_ENGINE_HNSW_PARALLEL_H

#include "base.h"

#define GX_HNSW_THREADS_MAX 64

/* Things [from, to), from thread number @thread. */
typedef void gx_hnsw_share(void *arg, size_t thread, uint32_t from, uint32_t to);

/* How many threads are worth it for @n things of which one takes @at_least at once. */
size_t gx_engine_hnsw_parallel_threads(size_t threads, size_t n, size_t at_least);

/* Hands out [0, n) in pieces of @grain to @threads threads, this one included, until all is done. Threads that cannot
 * be started are done without. */
void gx_engine_hnsw_parallel(gx_hnsw_share *share, void *arg, size_t threads, uint32_t n, uint32_t grain);

#endif
