/* The path of an enrolment: check, normalise, encode (caller's thread), then one ordered synced write, then visible. */
#ifndef GX_ENROL_H
#define GX_ENROL_H

#include "galleries.h"

struct gx_new_record {
    struct gx_record record; /* enrolled_at_us and epoch are set here */
    const float *row;        /* [dim], finite, not all zero; any length; 4-byte aligned */
    size_t dim;
    struct gx_slice embedder_id, embedder_version;
};

struct gx_enrol_in {
    struct gx_slice gallery;
    const struct gx_new_record *records; /* [n] */
    size_t n;                            /* 1..GX_INSERT_MAX */
    struct gx_slice request_id;          /* empty = none */
};

struct gx_enrol_out {
    uint64_t epoch;
    uint32_t enrolled, unchanged;
};

/* Called exactly once, from another thread (the writer) or, when the request is refused at once, from within submit.
 * @err is NULL on success: then the records are durable and visible. Must not block. */
typedef void gx_enrol_done(void *arg, const struct gx_enrol_out *out, const struct gx_err *err);

/* Checks everything that needs no store, copies what it needs (nothing of @in is kept) and queues the mutation.
 * Errors through @done: GX_E_INVALID (range, bad embedding, id twice in the request), GX_E_NOT_FOUND, GX_E_EMBEDDER,
 * GX_E_EXISTS, GX_E_EXPUNGED, GX_E_BUSY, GX_E_FULL, GX_E_IO (unknown whether it was written: ask again with the same
 * request id), GX_E_UNAVAILABLE (loading, stopping). The text names the record by its place in the request. */
void gx_enrol_submit(struct gx_galleries *galleries, const struct gx_enrol_in *in, gx_enrol_done *done, void *arg);

#endif
