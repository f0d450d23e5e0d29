/* The durable store: a RocksDB database with fixed families and options. The only user of RocksDB.
 * RocksDB's threads, which create and open start, do not survive fork: fork first, open afterwards. */
#ifndef GX_STORE_H
#define GX_STORE_H

#include "arena.h"

enum gx_family {
    GX_CF_DEFAULT, /* galleries, counters, schema, request memory */
    GX_CF_EMB,     /* gallery, rno -> float row */
    GX_CF_REC,     /* gallery, rno -> record */
    GX_CF_BY_RECORD,
    GX_CF_BY_ARREST,
    GX_CF_BY_SUBJECT,
    GX_CF_LEDGER, /* ticket number -> ticket */
    GX_CF_AUDIT,
    GX_CF_COUNT
};

struct gx_store;       /* thread-safe */
struct gx_store_batch; /* one thread at a time */
struct gx_store_iter;  /* one thread; pins files, so keep it short: chunks of under a second */

struct gx_store_options {
    size_t cache_bytes;      /* block cache; 0 = 64 MiB */
    size_t rate_limit_bytes; /* per second of flush and compaction; 0 = none */
};

/* Creates a new database in @dir, which must be empty or missing (GX_E_EXISTS). Blocks; durable on return. */
GX_MUST enum gx_status gx_store_create(const char *dir, struct gx_err *err);

/* Opens the database in @dir. GX_E_NOT_FOUND: none there ("run 'indexd init'"); GX_E_IN_USE: another process has it;
 * GX_E_CORRUPT: damaged, with the file's name and RocksDB's text; GX_E_FORMAT: its families are not ours; GX_E_FULL;
 * GX_E_IO. Never creates, never repairs. Holds some 130 file descriptors per GB of rows: raise RLIMIT_NOFILE. */
GX_MUST enum gx_status gx_store_open(const char *dir, const struct gx_store_options *options, struct gx_store **out,
                                     struct gx_err *err);

/* Closes it; every batch and iterator must be freed before. Accepts NULL. */
void gx_store_close(struct gx_store *store);

/* The value of @key, copied into the arena; GX_E_NOT_FOUND without text when there is none (a cheap, ordinary answer).
 */
GX_MUST enum gx_status gx_store_get(struct gx_store *store, enum gx_family family, struct gx_slice key,
                                    struct gx_arena *arena, struct gx_slice *out_value, struct gx_err *err);

/* Keys of @family that begin with @prefix, from @from on (inclusive; empty = from the start of the prefix).
 * @reverse walks down from the last key of the prefix (or from @from). */
GX_MUST enum gx_status gx_store_iter_begin(struct gx_store *store, enum gx_family family, struct gx_slice prefix,
                                           struct gx_slice from, bool reverse, struct gx_store_iter **out,
                                           struct gx_err *err);
/* The next pair, borrowed until the next call; *out_found false at the end. The end is told from damage: GX_E_CORRUPT.
 */
GX_MUST enum gx_status gx_store_iter_next(struct gx_store_iter *iter, bool *out_found, struct gx_slice *out_key,
                                          struct gx_slice *out_value, struct gx_err *err);
void gx_store_iter_end(struct gx_store_iter *iter);

/* Changes that happen together or not at all; reads through the batch see them. Without memory
 * for that, neither get nor commit does anything (GX_E_NOMEM) until the batch is cleared. One thread at a time. */
GX_MUST enum gx_status gx_store_batch_new(struct gx_store *store, struct gx_store_batch **out, struct gx_err *err);
void gx_store_batch_free(struct gx_store_batch *batch);
void gx_store_batch_clear(struct gx_store_batch *batch);
void gx_store_batch_put(struct gx_store_batch *batch, enum gx_family family, struct gx_slice key,
                        struct gx_slice value);
void gx_store_batch_delete(struct gx_store_batch *batch, enum gx_family family, struct gx_slice key);
/* gx_store_get that sees the batch first. */
GX_MUST enum gx_status gx_store_batch_get(struct gx_store_batch *batch, enum gx_family family, struct gx_slice key,
                                          struct gx_arena *arena, struct gx_slice *out_value, struct gx_err *err);
/* Remembers the present contents; rollback returns to the last mark and forgets it; release only forgets it. Marks may
 * stand inside marks, 16 deep. */
void gx_store_batch_mark(struct gx_store_batch *batch);
void gx_store_batch_rollback(struct gx_store_batch *batch);
void gx_store_batch_release(struct gx_store_batch *batch);
size_t gx_store_batch_bytes(const struct gx_store_batch *batch);

/* Writes the batch and fsyncs. Durable and visible on GX_OK. GX_E_FULL (disk), GX_E_IO, GX_E_CORRUPT (the store is
 * read-only since a damaged file was met): nothing of it is visible now; after a crash all of it may be. */
GX_MUST enum gx_status gx_store_commit(struct gx_store *store, struct gx_store_batch *batch, struct gx_err *err);

/* Flushes every family (a WAL lives until each family that has data in it is flushed). Blocks. */
GX_MUST enum gx_status gx_store_flush(struct gx_store *store, struct gx_err *err);

/* Deletes all keys of @family in [from, until); one synced write. For the removal of whole galleries. */
GX_MUST enum gx_status gx_store_delete_range(struct gx_store *store, enum gx_family family, struct gx_slice from,
                                             struct gx_slice until, struct gx_err *err);

/* What an erasure cleans: either @n_keys keys of one family, ascending and distinct, or with @n_keys 0 the whole range
 * [from, until) of it. A committed change deleted all of them. Several stains may be of one family. */
struct gx_store_stain {
    enum gx_family family;
    const struct gx_slice *keys;
    size_t n_keys;
    struct gx_slice from, until;
};

/* Facts; a time (wall clock, us) is 0 until its fact holds. */
struct gx_store_erased {
    int64_t flushed_at_us;    /* no write-ahead log that began before it is needed any more */
    int64_t compacted_at_us;  /* no table file of the database holds a key or a value of the stains */
    int64_t unlinked_at_us;   /* nor does any file of the directory, and the unlinks are durable */
    uint64_t files_rewritten; /* table files that were replaced */
    uint64_t bytes_rewritten; /* ... and the bytes of those that took their place */
    uint64_t files_removed;   /* files that left the directory: tables and write-ahead logs */
    uint64_t fence;           /* table files above this number were written by the erasure or after it */
};

/* Asked between steps, some every few milliseconds, some only seconds apart; true ends the work with GX_E_CANCELLED. */
typedef bool gx_store_stop(void *arg);

/* Removes from every file of the database what the deletes of @stains left behind. On GX_OK it is gone, durably: no key
 * is found, no table file that may hold one is as old as the deletes, and no file of before the erasure is left. The
 * facts in @out hold also after a failure. It can be repeated at any time, also after a crash in the middle, and does
 * not need to be the first: what is clean already costs a flush.
 * GX_E_INVALID: keys out of order, empty stains; GX_E_STATE: a key is there (nothing was done), or not clean after
 * three rounds or ten seconds, the text says why (a snapshot or iterator is open, files can't be removed); GX_E_FULL:
 * make room and call again; GX_E_CORRUPT: a damaged table file is in the way, and the store takes no writes any more;
 * GX_E_IO, GX_E_NOMEM, GX_E_CANCELLED.
 * Blocks for 0.1 s to minutes and waits for a checkpoint; writes and reads go on beside it. One at a time. A key stays
 * in the MANIFEST as the bound of a file that was, until the next start writes a new one: keys tell nothing by design.
 */
GX_MUST enum gx_status gx_store_erase(struct gx_store *store, const struct gx_store_stain *stains, size_t n_stains,
                                      gx_store_stop *stop, void *stop_arg, struct gx_store_erased *out,
                                      struct gx_err *err);
/* To be called now and then: when none has followed an erasure for two seconds, the compactions that erasures hold run
 * by themselves again. Waits for an erasure that runs. */
void gx_store_erase_rest(struct gx_store *store);

/* Table files, by their numbers ("000123.sst"), that cannot hold a key of some stains. */
struct gx_store_clear {
    const uint64_t *numbers; /* ascending, in the arena */
    size_t n_numbers;
};

/* The table files in which, by the range of keys that the database states for each, no key of @stains can be. It may be
 * used as long as the store is open: a file does not change and its number is not used again. For a scan, which reads
 * every file but these. GX_E_INVALID, GX_E_TOO_LARGE, GX_E_NOMEM. */
GX_MUST enum gx_status gx_store_find_clear(struct gx_store *store, const struct gx_store_stain *stains, size_t n_stains,
                                           struct gx_arena *arena, struct gx_store_clear *out, struct gx_err *err);

/* Is the file @name (as the directory has it, without a path) one of them? False for whatever is no table file. */
bool gx_store_is_clear(const struct gx_store_clear *clear, const char *name);

/* A consistent copy of the whole database in @dir, which must not exist (GX_E_EXISTS) and must lie on the same file
 * system (GX_E_INVALID): table files are hard links, so later erasures do not reach them. Durable on return. GX_E_FULL,
 * GX_E_IO. Blocks, waits for an erasure; an erasure waits for it. A crash may leave "@dir.tmp" behind. */
GX_MUST enum gx_status gx_store_checkpoint(struct gx_store *store, const char *dir, struct gx_err *err);

/* For tests: called before each write to the database (commit, flush, delete_range, each compaction of an erasure,
 * checkpoint) with its ordinal number (the first from now on is 1); a result other than GX_OK makes that write fail
 * with it, untried. NULL = none. Set while nothing writes. */
typedef enum gx_status gx_store_fault(void *arg, uint64_t ordinal);
void gx_store_set_fault(struct gx_store *store, gx_store_fault *fault, void *arg);
/* Likewise for every store that is opened from now on, before anything is written to it. NULL = none. */
void gx_store_set_fault_at_open(gx_store_fault *fault, void *arg);

#endif
