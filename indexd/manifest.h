/* The manifest of a backup, file `MANIFEST` in its directory: which backup of which store it is, and every file with
 * its size and SHA-256; schemas/FORMAT.md. Text, of one form only: what decode takes is what encode writes. */
#ifndef GX_MANIFEST_H
#define GX_MANIFEST_H

#include "codec.h"

#define GX_MANIFEST_NAME      "MANIFEST"
#define GX_MANIFEST_MAX       ((size_t)64 << 20) /* bytes of one */
#define GX_MANIFEST_FILES_MAX 500000

struct gx_manifest_file {
    struct gx_slice path; /* relative: "FORMAT", "store/000012.sst" */
    uint64_t n_bytes;
    struct gx_digest digest;
};

struct gx_manifest {
    uint64_t backup; /* its number */
    struct gx_uuid store;
    int64_t created_at_us, expires_at_us; /* expires 0 = never by itself */
    uint64_t epoch;
    bool complete;                        /* else it is being made, or was interrupted: no files are listed */
    const struct gx_manifest_file *files; /* [n_files] by path */
    size_t n_files;
};

/* May a file of that path be in a backup? */
bool gx_manifest_is_path(struct gx_slice path);

/* Text in the arena. */
GX_MUST enum gx_status gx_manifest_encode(const struct gx_manifest *manifest, struct gx_arena *arena,
                                          struct gx_slice *out, struct gx_err *err);
/* All in the arena. GX_E_CORRUPT: not one byte may differ from what encode gives. GX_E_FORMAT: of another version. */
GX_MUST enum gx_status gx_manifest_decode(struct gx_slice text, struct gx_arena *arena, struct gx_manifest *out,
                                          struct gx_err *err);

/* "B-00000003" */
#define GX_MANIFEST_ID_MAX 24
void gx_manifest_id(uint64_t backup, char out[GX_MANIFEST_ID_MAX]);
/* GX_E_INVALID. */
GX_MUST enum gx_status gx_manifest_id_number(struct gx_slice text, uint64_t *out, struct gx_err *err);

#endif
