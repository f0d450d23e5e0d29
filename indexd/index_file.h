/* Saved indexes: what an engine writes, followed by a trailer that says whose it is and guards it with a checksum. */
#ifndef GX_INDEX_FILE_H
#define GX_INDEX_FILE_H

#include "engine.h"
#include "keys.h"

struct gx_index_file_info {
    struct gx_uuid gallery;
    uint64_t epoch;    /* of the store when it was written */
    uint64_t last_rno; /* every live row up to this one is inside */
    uint64_t entries;
    uint64_t trained_from; /* rows that the training sample was drawn from */
};

/* Writes engine and trailer to @path: temporary file, fsync, rename, fsync of the directory. Durable on return, or
 * nothing of it is left. GX_E_UNIMPLEMENTED, GX_E_FULL, GX_E_IO. The engine may be searched meanwhile, not changed. */
GX_MUST enum gx_status gx_index_file_write(const char *path, struct gx_engine *engine,
                                           const struct gx_index_file_info *info, struct gx_err *err);

/* Reads it back. GX_E_NOT_FOUND; GX_E_FORMAT: of another gallery, engine or version; GX_E_CORRUPT: damaged. In each of
 * these cases the caller builds anew. @rows, @threads: of gx_engine_load. */
GX_MUST enum gx_status gx_index_file_read(const char *path, const struct gx_engine_spec *spec, size_t dim,
                                          const struct gx_rows *rows, size_t threads, const struct gx_uuid *gallery,
                                          struct gx_engine **out, struct gx_index_file_info *out_info,
                                          struct gx_err *err);

#endif
