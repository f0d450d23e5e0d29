/* Legal holds as the other paths of floor 3 see them. But for load, from the writer's thread only. */
#ifndef GX_HOLD_PRIVATE_H
#define GX_HOLD_PRIVATE_H

#include "gallery_private.h"
#include "hold_table.h"
#include "policy.h"

/* While opening: a gx_replay_apply for HOLD and RELEASE. They make up the table, all of them at every start; the store
 * gets the memory of a request that it lacks. */
GX_MUST enum gx_status gx_hold_replay(struct gx_galleries *galleries, const struct gx_ledger_entry *entry,
                                      struct gx_replay *replay, struct gx_err *err);

/* While loading: quarantines the rows that a hold keeps out of searches. */
GX_MUST enum gx_status gx_hold_load(struct gx_galleries *galleries, struct gx_gallery *gallery, struct gx_err *err);

/* The state of a record that is not expunged, by the holds on its id and its arrest (NULL = none). */
enum gx_policy_state gx_hold_state(const struct gx_galleries *galleries, const struct gx_key *record,
                                   const struct gx_key *arrest);

/* While closing. */
void gx_hold_forget_unwritten(struct gx_galleries *galleries);

/* What holds stand in the way of an order to remove one id. */
struct gx_hold_met {
    enum gx_policy_state state; /* the strictest that was met; ACTIVE = none is held */
    uint64_t n_records;         /* of the rows: held */
    struct gx_slice reference;  /* of the hold placed first; lives as long as the galleries; empty = none */
    uint64_t serial;            /* of that hold */
};
/* Looks at the named id and at the rows it leads to. */
GX_MUST enum gx_status gx_hold_meet(struct gx_galleries *galleries, struct gx_gallery *gallery, enum gx_id_kind kind,
                                    const struct gx_key *id, const uint64_t *rnos, size_t n_rnos,
                                    struct gx_hold_met *out, struct gx_err *err);

#endif
