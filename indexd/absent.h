/* Is it really gone? What the server can say about a record or a face that should not be there any more. */
#ifndef GX_ABSENT_H
#define GX_ABSENT_H

#include "galleries.h"
#include "rows.h"
#include "scan.h"

struct gx_absent_in {
    struct gx_slice gallery;
    struct gx_slice record_id; /* this record; empty: this face */
    const float *probe;        /* [dim], finite, not all zero; 4-byte aligned */
    size_t dim;
    struct gx_slice embedder_id, embedder_version;
    gx_rows_stop *stopped; /* asked during the work; may be NULL */
    void *stopped_arg;
};

struct gx_absent_out {
    bool absent; /* found nowhere: not searchable, not stored, no hit in a file */

    bool searchable;     /* a search may return it: the record; or a row that is the probe's, but for rounding */
    bool stored;         /* the store knows the record, also when it is quarantined; of a face: as searchable */
    bool expunged;       /* the ledger names the record's id */
    bool has_nearest;    /* of a face, when the gallery holds any: */
    double nearest;      /* … cosine of the nearest photo, by exact search */
    bool files_searched; /* else @note says why not */
    const char *note;    /* one line, static; "" = nothing to say */
    struct gx_scan_result files;
    uint64_t epoch;
    int64_t checked_at_us;
};

/* Looks in the search, in the store, in the ledger, and in every file of the data directory: for the bytes of the
 * record's id where it has at least 8, but not where they belong to another record (as a part of its id, or in its
 * other texts); for any 64 bytes in a row of the unit row of the probe, which must be the embedding as it was enrolled
 * or as Get returns it. What other galleries hold of the same photo is in the files, too. An id that the end of a block
 * of the write-ahead log cuts in two is not found there (it is once the log was flushed).
 * Not in backups, nor in a ledger elsewhere (which holds keyed hashes only).
 *
 * One at a time: GX_E_BUSY. GX_E_NOT_FOUND (gallery), GX_E_EMBEDDER, GX_E_INVALID, GX_E_UNAVAILABLE (loading),
 * GX_E_STATE (the files do not stand still), GX_E_IO (a file cannot be read: its name), GX_E_CANCELLED, GX_E_TOO_LARGE.
 * Blocks while it reads all files: seconds a GB from a disk, a quarter of one from memory. */
GX_MUST enum gx_status gx_absent_check(struct gx_galleries *galleries, const struct gx_absent_in *in,
                                       struct gx_arena *arena, struct gx_absent_out *out, struct gx_err *err);

#endif
