/* The table of states. A record that is held is never expunged, one that was expunged never comes back, and no stage of
 * an erasure is passed over: ACCEPTED, ERASED, VERIFIED, where ERASED may be reached by way of FAILED.
 *
 * Steps that a restart repeats lead to where they led before: EXPUNGE of what is expunged, ERASE of what is erased. */
#include "policy.h"

/* What a cell says: the next state, or why not. */
#define TO(state)   ((struct cell){GX_OK, GX_POLICY_##state})
#define NO(refusal) ((struct cell){GX_E_##refusal, 0})

struct cell {
    enum gx_status refusal;
    enum gx_policy_state next;
};

static struct cell look_up(enum gx_policy_state state, enum gx_policy_event event)
{
    /* The columns: HOLD, QUARANTINE, UNQUARANTINE, RELEASE, EXPUNGE, ERASE, VERIFY, FAIL, ENROL. */
    const struct cell table[GX_POLICY_STATES][GX_POLICY_EVENTS] = {
        [GX_POLICY_ACTIVE] = {TO(HELD), TO(QUARANTINED), NO(STATE), NO(STATE), TO(ACCEPTED), NO(STATE), NO(STATE),
                              NO(STATE), TO(ACTIVE)},
        [GX_POLICY_HELD] = {TO(HELD), TO(QUARANTINED), NO(STATE), TO(ACTIVE), NO(HELD), NO(STATE), NO(STATE), NO(STATE),
                            TO(HELD)},
        [GX_POLICY_QUARANTINED] = {TO(QUARANTINED), TO(QUARANTINED), TO(HELD), TO(ACTIVE), NO(HELD), NO(STATE),
                                   NO(STATE), NO(STATE), TO(QUARANTINED)},
        [GX_POLICY_ACCEPTED] = {NO(EXPUNGED), NO(EXPUNGED), NO(STATE), NO(STATE), TO(ACCEPTED), TO(ERASED), NO(STATE),
                                TO(FAILED), NO(EXPUNGED)},
        [GX_POLICY_ERASED] = {NO(EXPUNGED), NO(EXPUNGED), NO(STATE), NO(STATE), TO(ERASED), TO(ERASED), TO(VERIFIED),
                              TO(FAILED), NO(EXPUNGED)},
        [GX_POLICY_VERIFIED] = {NO(EXPUNGED), NO(EXPUNGED), NO(STATE), NO(STATE), TO(VERIFIED), NO(STATE), NO(STATE),
                                NO(STATE), NO(EXPUNGED)},
        [GX_POLICY_FAILED] = {NO(EXPUNGED), NO(EXPUNGED), NO(STATE), NO(STATE), TO(FAILED), TO(ERASED), NO(STATE),
                              TO(FAILED), NO(EXPUNGED)},
    };
    return table[state][event];
}

enum gx_status gx_policy_next(enum gx_policy_state state, enum gx_policy_event event, enum gx_policy_state *out_state,
                              struct gx_err *err)
{
    assert((unsigned)state < GX_POLICY_STATES && (unsigned)event < GX_POLICY_EVENTS);
    struct cell cell = look_up(state, event);
    *out_state = cell.refusal == GX_OK ? cell.next : state;
    switch (cell.refusal) {
    case GX_OK: return GX_OK;
    case GX_E_HELD: return gx_fail(err, GX_E_HELD, "under a legal hold: it can be expunged when that is released");
    case GX_E_EXPUNGED: return gx_fail(err, GX_E_EXPUNGED, "expunged by order: it cannot be held or enrolled again");
    default:
        return gx_fail(err, GX_E_STATE, "%s does not follow on %s: see the table of states in FORMAT.md",
                       gx_policy_event_name(event), gx_policy_state_name(state));
    }
}

enum gx_policy_state gx_policy_of_holds(size_t n_holds, size_t n_quarantines)
{
    assert(n_quarantines <= n_holds);
    return n_quarantines > 0 ? GX_POLICY_QUARANTINED : n_holds > 0 ? GX_POLICY_HELD : GX_POLICY_ACTIVE;
}

const char *gx_policy_state_name(enum gx_policy_state state)
{
    static const char *const names[GX_POLICY_STATES] = {"ACTIVE", "HELD",     "QUARANTINED", "ACCEPTED",
                                                        "ERASED", "VERIFIED", "FAILED"};
    return names[state];
}

const char *gx_policy_event_name(enum gx_policy_event event)
{
    static const char *const names[GX_POLICY_EVENTS] = {"HOLD",  "QUARANTINE", "UNQUARANTINE", "RELEASE", "EXPUNGE",
                                                        "ERASE", "VERIFY",     "FAIL",         "ENROL"};
    return names[event];
}
