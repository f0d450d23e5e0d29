/* What may happen to an enrolled record: the one table of its states. Whatever changes a state asks here first; the
 * same table stands in schemas/FORMAT.md, and a test compares them. Pure. */
#ifndef GX_POLICY_H
#define GX_POLICY_H

#include "err.h"

enum gx_policy_state {
    GX_POLICY_ACTIVE = 0,      /* enrolled, searched */
    GX_POLICY_HELD = 1,        /* under a legal hold: searched, but not to be removed */
    GX_POLICY_QUARANTINED = 2, /* under a legal hold that keeps it out of every search; its bytes are kept */
    GX_POLICY_ACCEPTED = 3,    /* expunged: durable, out of every search, never to return */
    GX_POLICY_ERASED = 4,      /* no byte of it is left */
    GX_POLICY_VERIFIED = 5,    /* and that was checked and certified: final */
    GX_POLICY_FAILED = 6,      /* expunged, but erasing or checking has failed: an alarm, tried again */
};
#define GX_POLICY_STATES 7

enum gx_policy_event {
    GX_POLICY_HOLD = 0,         /* a hold without quarantine is placed on it */
    GX_POLICY_QUARANTINE = 1,   /* a hold with quarantine is */
    GX_POLICY_UNQUARANTINE = 2, /* the last hold with quarantine is released, one without remains */
    GX_POLICY_RELEASE = 3,      /* the last hold is released */
    GX_POLICY_EXPUNGE = 4,      /* an order names it */
    GX_POLICY_ERASE = 5,        /* its bytes are gone */
    GX_POLICY_VERIFY = 6,       /* that was checked */
    GX_POLICY_FAIL = 7,         /* one of the two has failed */
    GX_POLICY_ENROL = 8,        /* it is sent again */
};
#define GX_POLICY_EVENTS 9

/* The state after @event. GX_E_HELD, GX_E_EXPUNGED, GX_E_STATE: it must not happen; *out_state is @state then, and the
 * text says why. Any thread. */
GX_MUST enum gx_status gx_policy_next(enum gx_policy_state state, enum gx_policy_event event,
                                      enum gx_policy_state *out_state, struct gx_err *err);

/* The state of an enrolled record under that many holds, so many of them with quarantine. */
enum gx_policy_state gx_policy_of_holds(size_t n_holds, size_t n_quarantines);

/* "QUARANTINED", "UNQUARANTINE"; static storage. */
const char *gx_policy_state_name(enum gx_policy_state state);
const char *gx_policy_event_name(enum gx_policy_event event);

#endif
