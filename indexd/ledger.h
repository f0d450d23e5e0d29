/* The outer ledger `expunge.log`: what was expunged, kept outside of the store, so that nothing comes back from a
 * crash, an older copy of the store, or a re-import. Keyed hashes only. Hash-chained, append-only, fdatasync before the
 * acknowledgement; optionally mirrored to a second file. */
#ifndef GX_LEDGER_H
#define GX_LEDGER_H

#include "arena.h"
#include "indexd/limits.h"
#include "keys.h"

struct gx_ledger; /* appends from one thread at a time; reads of the expunged set from any */

/* One expungement. */
struct gx_ledger_entry {
    uint64_t number; /* the ticket */
    int64_t at_us;
    struct gx_uuid store;    /* rnos mean something in this store only; elsewhere the hashes decide */
    enum gx_id_kind kind;    /* of the named ids */
    struct gx_slice gallery; /* name */
    struct gx_slice order_ref;
    const struct gx_key *named; /* [n_named] keyed hashes of the ids named in the order */
    size_t n_named;
    const uint64_t *rnos;         /* [n_records] */
    const struct gx_key *records; /* [n_records] keyed hashes of the record ids that went */
    size_t n_records;
    struct gx_digest head; /* the chain up to and with this entry: told to the visitor, not looked at by append */
};

/* Creates an empty ledger of mode 0600; GX_E_EXISTS when the file is there. Durable on return. */
GX_MUST enum gx_status gx_ledger_create(const char *path, struct gx_err *err);

/* Called once per entry, in order, while opening; what @entry points to lives until it returns. A status other than
 * GX_OK stops and is returned. */
typedef enum gx_status gx_ledger_visit(void *arg, const struct gx_ledger_entry *entry, struct gx_err *err);

/* Opens the ledger, checks the chain from its start, and calls @visit (may be NULL) for every entry.
 * @mirror NULL = none; one that does not exist is made, one that is behind is caught up; one that contradicts the
 * ledger, or knows more than the ledger (which is an older copy then), is GX_E_CORRUPT.
 * A torn tail (a crash while appending: the last entry is incomplete and was never acknowledged) is cut off and
 * *out_torn says so; any other damage is GX_E_CORRUPT and names file and offset. GX_E_NOT_FOUND, GX_E_IN_USE (locked),
 * GX_E_FORMAT (a newer version), GX_E_IO, GX_E_FULL. An older copy of the whole ledger cannot be told from inside:
 * compare the last number and the head that the store remembers. */
GX_MUST enum gx_status gx_ledger_open(const char *path, const char *mirror, gx_ledger_visit *visit, void *arg,
                                      struct gx_ledger **out, bool *out_torn, struct gx_err *err);
void gx_ledger_close(struct gx_ledger *ledger);

/* Appends and fdatasyncs (mirror included). entry->number must be above the last one; at most GX_EXPUNGE_IDS_MAX named
 * ids and GX_EXPUNGE_MAX records. On failure the file is cut back to what it was; when even that fails the ledger
 * refuses every further append, and the entry may be there after a restart. Durable on GX_OK; the ids are in the set
 * then. GX_E_INVALID, GX_E_TOO_LARGE, GX_E_NOMEM, GX_E_FULL (SIGXFSZ must be ignored), GX_E_IO. */
GX_MUST enum gx_status gx_ledger_append(struct gx_ledger *ledger, const struct gx_ledger_entry *entry,
                                        struct gx_err *err);

/* The next three: from the thread that appends. */
uint64_t gx_ledger_entries(const struct gx_ledger *ledger);
/* The number of the last entry, 0 when empty; and the chain's head. */
uint64_t gx_ledger_last_number(const struct gx_ledger *ledger);
void gx_ledger_head(const struct gx_ledger *ledger, struct gx_digest *out);

/* Was this id expunged from @gallery (its name)? Looks at record ids that went or were named, and at named arrests;
 * a named subject does not bar new records of that person. Thread-safe, in memory, no disk access. */
bool gx_ledger_holds(struct gx_ledger *ledger, enum gx_id_kind kind, const struct gx_key *key);

/* For tests: called before each write, sync and truncation of either file, with its ordinal number (the first from now
 * on is 1); a result other than GX_OK makes that step fail with it, untried. NULL = none. */
typedef enum gx_status gx_ledger_fault(void *arg, uint64_t ordinal);
void gx_ledger_set_fault(struct gx_ledger *ledger, gx_ledger_fault *fault, void *arg);

#endif
