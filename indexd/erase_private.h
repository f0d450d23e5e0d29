/* What the files of an erasure share (keeper.c, erase.c, erase_proof.c, erase_stage.c), and nobody else includes. */
#ifndef GX_ERASE_PRIVATE_H
#define GX_ERASE_PRIVATE_H

#include "gallery_private.h"
#include "scan.h"

/* What the rows of a ticket were, kept from the wiping of their place in memory until it is VERIFIED, to look for in
 * the files. One block, out of core dumps, wiped before it is given back. */
struct gx_erase_proof {
    uint8_t *bytes;
    size_t len;
    struct gx_scan_pattern *patterns; /* [n_patterns] into bytes */
    struct gx_slice *wholes;          /* [n_patterns] the record that the pattern is a piece of; empty: of a row */
    size_t n_patterns;
    bool *seen; /* [n_patterns] the positive control found it */
};

/* A ticket that is not VERIFIED. Made on the writer's thread; from gx_keeper_add_ticket on the keeper's, but for what
 * `alarm` reads. */
struct gx_pending {
    struct gx_pending *next; /* guarded by the keeper's lock, as are state … alarm */
    enum gx_ticket_state state;
    int64_t accepted_at_us; /* wall clock */
    int64_t alarm_at_us;    /* an alarm that the store could not take down; 0 = none */
    char alarm[GX_ERR_TEXT_MAX];

    uint64_t number;
    uint32_t gallery;
    uint64_t serial;     /* of its last removal in the gallery's log; 0 = not noted there yet */
    int64_t added_at_us; /* monotonic; 0 = found at start */
    int64_t try_at_us;   /* monotonic: not before */
    unsigned n_failures;
    bool wiped;     /* its rows are zero in memory, their bytes in `proof` */
    bool forgotten; /* and in no index */
    bool cleaned;   /* the store has erased it */
    bool proven;    /* and that was checked */
    bool found;     /* the check found something of it: `problem` says where */
    char problem[GX_ERR_TEXT_MAX + 1];
    bool told;              /* that it is overdue */
    struct gx_ticket facts; /* its times and figures; no texts, no rnos */
    char reason[128];       /* why its bytes cannot be looked for; empty = they can */
    struct gx_erase_proof proof;
    struct gx_slice certificate; /* while it is being stamped */
    size_t n;
    struct gx_row_keys *keys; /* [n], behind rnos */
    uint64_t rnos[];          /* [n] */
};

/* --- keeper.c --- */

/* Is it time to end? */
bool gx_keeper_is_stopping(struct gx_galleries *galleries);
/* Sets what others may read of it; takes an alarm back. */
void gx_keeper_set_state(struct gx_galleries *galleries, struct gx_pending *pending, enum gx_ticket_state state);
/* It is FAILED for whoever asks, while the store, which takes no writes, cannot say so. */
void gx_keeper_set_alarm(struct gx_galleries *galleries, struct gx_pending *pending, const char *problem,
                         int64_t at_us);
/* Is that gallery on its way out of the store? */
bool gx_keeper_is_deleting(struct gx_galleries *galleries, uint32_t gallery);

/* --- erase.c --- */

/* One round over the tickets, oldest first. *out_again: when there is something to do again (monotonic); INT64_MAX =
 * not before something happens. */
void gx_erase_round(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n, int64_t *out_again);
/* Erases what a deleted gallery has left in the files of the store. */
GX_MUST enum gx_status gx_erase_gallery(struct gx_galleries *galleries, uint32_t gallery, struct gx_err *err);

/* --- erase_proof.c: the search by bytes --- */

/* Copies what the rows hold. Those that are wiped already, and what is too much to keep, leave a reason instead. */
void gx_erase_proof_take(struct gx_galleries *galleries, struct gx_gallery *gallery, struct gx_pending *pending);
void gx_erase_proof_drop(struct gx_galleries *galleries, struct gx_pending *pending); /* wipes it */
/* Before the erasure: are they found? Those that are not can't be proven gone by bytes: they get a reason. */
GX_MUST enum gx_status gx_erase_proof_control(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n,
                                              const struct gx_store_clear *clear, struct gx_err *err);
/* After it: sets proven, method and figures of those of which nothing is left, and found of those that an alarm is due
 * for. Neither: what is found is explained by one of @all (or a row that is hidden and not wiped yet), which has still
 * to be erased. */
GX_MUST enum gx_status gx_erase_proof_check(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n,
                                            struct gx_pending *const *all, size_t n_all,
                                            const struct gx_store_clear *clear, struct gx_err *err);

/* --- erase_stage.c: the stages of a ticket, durable --- */

/* Stamps @state and the facts on all of them, in store and ledger; VERIFIED issues their certificates. @problem of
 * FAILED. A ticket that is in that state already gets the facts. */
GX_MUST enum gx_status gx_erase_stage(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n,
                                      enum gx_ticket_state state, struct gx_slice problem, struct gx_err *err);

/* FAILED because of @problem; where the store cannot take that down, in memory. */
void gx_erase_fail(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n, const char *problem);

#endif
