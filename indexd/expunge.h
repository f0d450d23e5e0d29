/* The path of an expungement, and its tickets. */
#ifndef GX_EXPUNGE_H
#define GX_EXPUNGE_H

#include "galleries.h"

struct gx_expunge_in {
    struct gx_slice gallery;
    enum gx_id_kind kind;       /* record, arrest or subject */
    const struct gx_slice *ids; /* [n_ids] distinct */
    size_t n_ids;               /* 1..GX_EXPUNGE_IDS_MAX */
    struct gx_slice order_ref;  /* 1..GX_ORDER_REF_MAX bytes */
    int64_t expected_count;     /* -1 = not given; of a repeated request: what it removed */
    bool validate_only;         /* with the request_id of an order that was carried out: its ticket */
    struct gx_slice request_id;
};

/* What an order means to one of its ids. A request that is repeated (request_id) finds its rows gone: n_records is 0
 * then, and expunged_before says that an order has been carried out, which may have been its own. */
struct gx_expunge_outcome {
    uint64_t n_records;       /* that go by this id (or would) */
    bool expunged_before;     /* the outer ledger has it; never of a subject, whom it does not bar */
    struct gx_slice hold_ref; /* the legal hold in the way; empty = none */
};

struct gx_expunge_out {
    bool has_ticket;         /* false with validate_only, unless the request was carried out before */
    struct gx_ticket ticket; /* slices valid during the callback; rnos NULL */
    uint64_t n_records, n_unmatched, epoch;
    const struct gx_expunge_outcome *outcomes; /* [n_outcomes], of in->ids in their order; valid during the callback */
    size_t n_outcomes;
};

/* As gx_enrol_done: once; on success the removal is durable in ledger and store, and no later search sees the rows. */
typedef void gx_expunge_done(void *arg, const struct gx_expunge_out *out, const struct gx_err *err);

/* Errors through @done: GX_E_INVALID (ranges, an id twice), GX_E_NOT_FOUND (gallery), GX_E_COUNT (nothing was done),
 * GX_E_HELD (a named id, or a record it reaches, is under a legal hold, whose reference is told: nothing was done; with
 * validate_only no error), GX_E_EXISTS (request id of another request), GX_E_TOO_LARGE (more than GX_EXPUNGE_MAX
 * records), GX_E_BUSY,
 * GX_E_FULL, GX_E_IO (the outcome is open: ask again with the same request id), GX_E_UNAVAILABLE. */
void gx_expunge_submit(struct gx_galleries *galleries, const struct gx_expunge_in *in, gx_expunge_done *done,
                       void *arg);

/* "T-00000042" <-> 42. */
#define GX_TICKET_TEXT_MAX 24
void gx_expunge_ticket_text(uint64_t number, char out[GX_TICKET_TEXT_MAX]);
GX_MUST enum gx_status gx_expunge_ticket_number(struct gx_slice text, uint64_t *out, struct gx_err *err);

/* The ticket as it stands; slices and rnos in the arena. GX_E_NOT_FOUND. */
GX_MUST enum gx_status gx_expunge_ticket(struct gx_galleries *galleries, uint64_t number, struct gx_arena *arena,
                                         struct gx_ticket *out, struct gx_err *err);

/* Up to @n tickets with number < @before (0 = the newest), newest first; of @gallery only when it is not empty;
 * rnos NULL.
 * *out_next = what to pass as @before for the next page, 0 = there is none. */
GX_MUST enum gx_status gx_expunge_tickets(struct gx_galleries *galleries, struct gx_slice gallery, uint64_t before,
                                          size_t n, struct gx_arena *arena, struct gx_ticket **out, size_t *out_n,
                                          uint64_t *out_next, struct gx_err *err);

/* Called from the keeper whenever a ticket has changed; set once before anything is submitted. Must not block. */
typedef void gx_expunge_changed(void *arg, uint64_t number);
void gx_expunge_set_changed(struct gx_galleries *galleries, gx_expunge_changed *changed, void *arg);

/* Expungements that are not VERIFIED: all, those FAILED, those past their deadline. Cheap, any thread: for health. */
struct gx_expunge_alarms {
    uint64_t n_pending, n_failed, n_overdue;
};
void gx_expunge_alarms(struct gx_galleries *galleries, struct gx_expunge_alarms *out);

/* Whether the ticket will change no more. */
bool gx_expunge_is_final(const struct gx_ticket *ticket);

#endif
