/* The outer ledger `expunge.log`: what was expunged, held and proven, kept outside of the store, so that nothing comes
 * back from a crash, an older copy of the store, or a re-import. Keyed hashes only. Hash-chained, append-only,
 * fdatasync before the acknowledgement; optionally mirrored to a second file. */
#ifndef GX_LEDGER_H
#define GX_LEDGER_H

#include "arena.h"
#include "indexd/limits.h"
#include "keys.h"

struct gx_ledger; /* appends from one thread at a time; what else may be asked from any says so */

#define GX_LEDGER_TICKETS_MAX 100000 /* of one entry */

enum gx_ledger_type {
    GX_LEDGER_EXPUNGE = 1,
    GX_LEDGER_HOLD = 2,    /* a legal hold was placed */
    GX_LEDGER_RELEASE = 3, /* and lifted */
    GX_LEDGER_ERASED = 4,  /* tickets reached a stage */
    GX_LEDGER_VERIFIED = 5,
    GX_LEDGER_FAILED = 6,
    GX_LEDGER_GALLERY_DELETED = 7,
    GX_LEDGER_BACKUP = 8,      /* one was begun */
    GX_LEDGER_BACKUP_GONE = 9, /* nothing is left of it */
};

/* One entry. Which fields it carries depends on its type; the others are zero, or append refuses it. */
struct gx_ledger_entry {
    enum gx_ledger_type type;
    int64_t at_us;
    struct gx_uuid store; /* the one that was in use */

    /* EXPUNGE, HOLD, RELEASE, GALLERY_DELETED: what was asked for. */
    struct gx_slice gallery; /* name */
    struct gx_uuid gallery_uuid;
    struct gx_key request;    /* under which the request is remembered; zeros = it had no request id */
    struct gx_digest content; /* of the request; zeros likewise */

    /* EXPUNGE, HOLD, RELEASE: the ids named. */
    enum gx_id_kind kind;
    const struct gx_key *named; /* [n_named] keyed hashes; at most GX_EXPUNGE_IDS_MAX */
    size_t n_named;
    /* EXPUNGE: reference of the order; HOLD, RELEASE: of the hold; FAILED: what went wrong (may be empty; no ids). */
    struct gx_slice text;

    /* EXPUNGE. */
    uint64_t number;              /* the ticket */
    uint64_t n_unmatched;         /* named ids without a record */
    const uint64_t *rnos;         /* [n_records] they mean something in @store only; elsewhere the hashes decide */
    const struct gx_key *records; /* [n_records] keyed hashes of the record ids that went; at most GX_EXPUNGE_MAX */
    size_t n_records;

    bool quarantine; /* HOLD */

    /* ERASED, VERIFIED, FAILED. */
    const uint64_t *tickets; /* [n_tickets] ascending; 1..GX_LEDGER_TICKETS_MAX */
    size_t n_tickets;

    /* VERIFIED: the last certificate that had been issued by then. */
    uint64_t serial;
    struct gx_digest certificate; /* SHA-256 of its file */

    uint64_t n_held; /* GALLERY_DELETED: records in it */

    /* BACKUP, BACKUP_GONE: its number. BACKUP: when it expires, 0 = never; its directory is the text. */
    uint64_t backup;
    int64_t expires_at_us;

    struct gx_digest head; /* the chain up to and with this entry: told when read, not looked at by append */
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
 * GX_E_FORMAT (a newer version, an entry of a type that this one does not know), GX_E_IO, GX_E_FULL. An older copy of
 * the whole ledger cannot be told from inside: compare the number of entries and the head that the store remembers. */
GX_MUST enum gx_status gx_ledger_open(const char *path, const char *mirror, gx_ledger_visit *visit, void *arg,
                                      struct gx_ledger **out, bool *out_torn, struct gx_err *err);
void gx_ledger_close(struct gx_ledger *ledger);

/* Appends and fdatasyncs (mirror included). The number of an EXPUNGE must be above the last one, the serial of a
 * VERIFIED likewise, and tickets must be numbers of the ledger. On failure the file is cut back to what it was; when
 * even that fails the ledger refuses every further append, and the entry may be there after a restart. Durable on
 * GX_OK; the ids of an EXPUNGE are in the set then. GX_E_INVALID, GX_E_TOO_LARGE, GX_E_NOMEM, GX_E_FULL (SIGXFSZ must
 * be ignored), GX_E_IO (also: the file was removed or exchanged under the running server). */
GX_MUST enum gx_status gx_ledger_append(struct gx_ledger *ledger, const struct gx_ledger_entry *entry,
                                        struct gx_err *err);

/* The next three: from the thread that appends. Entries of every type. */
uint64_t gx_ledger_entries(const struct gx_ledger *ledger);
/* The number of the last EXPUNGE, 0 = none; and the chain's head. */
uint64_t gx_ledger_last_number(const struct gx_ledger *ledger);
void gx_ledger_head(const struct gx_ledger *ledger, struct gx_digest *out);

/* Was this id expunged from @gallery (its name)? Looks at record ids that went or were named, and at named arrests;
 * a named subject does not bar new records of that person. Thread-safe, in memory, no disk access. */
bool gx_ledger_is_expunged(struct gx_ledger *ledger, enum gx_id_kind kind, const struct gx_key *key);

/* Reads the EXPUNGE of ticket @number back, and proves that it is the one that was appended or checked at opening
 * (from the mirror when the ledger's own does not pass). All that *out points to is in the arena: 24 bytes a record.
 * GX_E_NOT_FOUND, GX_E_CORRUPT, GX_E_IO, GX_E_TOO_LARGE (arena). Thread-safe; reads the file. */
GX_MUST enum gx_status gx_ledger_find(struct gx_ledger *ledger, uint64_t number, struct gx_arena *arena,
                                      struct gx_ledger_entry *out, struct gx_err *err);

/* The last certificate that the ledger knows of, where the chain of certificates goes on: serial 0 and zeros = none.
 * Thread-safe, in memory. */
void gx_ledger_certificate(struct gx_ledger *ledger, uint64_t *out_serial, struct gx_digest *out_digest);

/* How two ledgers relate: SAME, or one is an older copy of the other, or both were written to since they parted, or
 * they never were the same. Both are read and checked in full, and left alone; a torn tail counts as not there.
 * GX_E_NOT_FOUND, GX_E_IN_USE, GX_E_FORMAT, GX_E_CORRUPT, GX_E_IO as for open, naming the file. */
enum gx_ledger_relation {
    GX_LEDGER_SAME,
    GX_LEDGER_A_AHEAD,
    GX_LEDGER_B_AHEAD,
    GX_LEDGER_DIVERGED,
    GX_LEDGER_FOREIGN,
};
GX_MUST enum gx_status gx_ledger_compare(const char *path_a, const char *path_b, enum gx_ledger_relation *out,
                                         struct gx_err *err);

/* Copies the ledger at @from, as it was acknowledged at some moment of the call, to a new file at @to of mode 0600,
 * also while a server appends to it. Durable but for the folder's entry. GX_E_NOT_FOUND, GX_E_EXISTS, GX_E_CORRUPT,
 * GX_E_FULL, GX_E_IO. */
GX_MUST enum gx_status gx_ledger_copy(const char *from, const char *to, struct gx_err *err);

/* For tests: called before each write, sync and truncation of either file, with its ordinal number (the first from now
 * on is 1); a result other than GX_OK makes that step fail with it, untried. NULL = none. */
typedef enum gx_status gx_ledger_fault(void *arg, uint64_t ordinal);
void gx_ledger_set_fault(struct gx_ledger *ledger, gx_ledger_fault *fault, void *arg);

#endif
