/* Legal holds: what is held cannot be expunged until it is released, and may be kept out of every search meanwhile. The
 * outer ledger is where they are written down; in memory they are a table that is made from it at every start. */
#ifndef GX_HOLD_H
#define GX_HOLD_H

#include "galleries.h"

#define GX_HOLD_IDS_MAX GX_EXPUNGE_IDS_MAX /* ids under one reference, of one kind in one gallery */

struct gx_hold_in {
    struct gx_slice gallery;
    enum gx_id_kind kind;       /* record or arrest */
    const struct gx_slice *ids; /* [n_ids] distinct; enrolled or not */
    size_t n_ids;               /* 1..GX_HOLD_IDS_MAX; release: 0 = all of the kind under the reference */
    struct gx_slice reference;  /* 1..GX_ORDER_REF_MAX bytes: of the hold; no personal data */
    bool quarantine;            /* place: out of every search; release: not looked at */
    struct gx_slice request_id; /* empty = none */
};

struct gx_hold_out {
    uint64_t n_ids, n_unchanged; /* ids that were placed (or put into quarantine) or released; that were so already */
    uint64_t n_records;          /* enrolled records that the ids mean */
    uint64_t epoch;              /* searches from this epoch on see the change */
};

/* Durable in the ledger on GX_OK, and in force for every search and order that begins later. All ids or none. Blocks
 * for synced writes; not from the writer's thread.
 * GX_E_INVALID (ranges, kind, an id twice), GX_E_NOT_FOUND (gallery; release: an id that is not held under this
 * reference), GX_E_EXPUNGED (an id was expunged), GX_E_EXISTS (held in quarantine under this reference already, asked
 * without; request id of another request), GX_E_TOO_LARGE (more than GX_HOLD_IDS_MAX under the reference), GX_E_FULL,
 * GX_E_IO (the outcome is open: ask again with the same request id), GX_E_UNAVAILABLE (loading, stopping). */
GX_MUST enum gx_status gx_hold_place(struct gx_galleries *galleries, const struct gx_hold_in *in,
                                     struct gx_hold_out *out, struct gx_err *err);
GX_MUST enum gx_status gx_hold_release(struct gx_galleries *galleries, const struct gx_hold_in *in,
                                       struct gx_hold_out *out, struct gx_err *err);

/* One id under one reference. Slices in the arena. */
struct gx_hold_listed {
    struct gx_slice reference;
    enum gx_id_kind kind;
    struct gx_slice id; /* empty: nothing of it is enrolled, and its hash is all that is known */
    struct gx_key id_hash;
    bool quarantine;
    int64_t placed_at_us;
    uint64_t n_records; /* enrolled records it means */
};
struct gx_hold_list_in {
    struct gx_slice gallery, reference; /* reference empty = any */
    enum gx_id_kind kind;               /* with @id: record or arrest; 0 = any id */
    struct gx_slice id;
    uint64_t from; /* 0, or *out_next of the page before */
    size_t n;      /* 1..GX_PAGE_MAX */
};
/* Holds of a gallery in the order of placing; *out_next = where the next page begins, 0 = there is none.
 * GX_E_NOT_FOUND, GX_E_INVALID, GX_E_UNAVAILABLE (loading), GX_E_TOO_LARGE. Blocks for store reads. */
GX_MUST enum gx_status gx_hold_list(struct gx_galleries *galleries, const struct gx_hold_list_in *in,
                                    struct gx_arena *arena, struct gx_hold_listed **out, size_t *out_n,
                                    uint64_t *out_next, struct gx_err *err);

#endif
