/* The graph in a file: links, never a code. For engine_hnsw*.c only. */
#ifndef GX_ENGINE_HNSW_FILE_H
#define GX_ENGINE_HNSW_FILE_H

#include "engine_hnsw_graph.h"
#include "rows.h"

/* Writes it to @path, a new file, not synced. Searches may go on. GX_E_FULL, GX_E_IO. */
GX_MUST enum gx_status gx_engine_hnsw_file_write(const struct gx_hnsw_graph *graph, const struct gx_rows *rows,
                                                 const char *path, struct gx_err *err);

/* Reads it for the rows as they are now: slots may be others, and vertices whose row is gone are removed. Codes are
 * made with up to @threads threads. *@out_until: slots that the file knows of. GX_E_FORMAT: of another dimension;
 * GX_E_CORRUPT: damaged, or a live row is missing; GX_E_NOMEM, GX_E_IO. */
GX_MUST enum gx_status gx_engine_hnsw_file_read(const char *path, size_t dim, const struct gx_rows *rows,
                                                size_t threads, struct gx_hnsw_graph **out, uint32_t *out_until,
                                                struct gx_err *err);

#endif
