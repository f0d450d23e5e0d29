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

/* Changes that happen together or not at all; reads through the batch see them (write batch with index). */
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
 * stand inside marks, 16 deep. A rollback that has something to undo costs as much as the batch is long. */
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

/* For tests: called before each write to the database (commit, flush, delete_range) with its ordinal number (the first
 * from now on is 1); a result other than GX_OK makes that write fail with it, untried. NULL = none. Set while nothing
 * writes. */
typedef enum gx_status gx_store_fault(void *arg, uint64_t ordinal);
void gx_store_set_fault(struct gx_store *store, gx_store_fault *fault, void *arg);

#endif
