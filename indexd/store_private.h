/* What the files of the store share, and nobody else includes. */
#ifndef GX_STORE_PRIVATE_H
#define GX_STORE_PRIVATE_H

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

#include "store.h"

#define GX_STORE_LEVELS         7 /* RocksDB's default, which the options leave */
#define GX_STORE_UNLINK_WAIT_US ((int64_t)10 * 1000000)

struct gx_store {
    rocksdb_t *db;
    rocksdb_column_family_handle_t *families[GX_CF_COUNT];
    rocksdb_writeoptions_t *write;
    rocksdb_readoptions_t *read;          /* point reads of small things */
    rocksdb_readoptions_t *read_uncached; /* of rows: no face stays behind in the block cache */
    int lock;                             /* the directory, locked */
    atomic_size_t n_users;                /* batches and iterators alive */
    atomic_uint_least64_t n_writes;
    _Atomic(gx_store_fault *) fault;
    void *fault_arg;
    pthread_mutex_t slow;   /* held by an erasure or a checkpoint */
    bool held[GX_CF_COUNT]; /* no compaction runs by itself in this family; guarded by slow, as the next */
    int64_t erased_at_us;   /* when the last erasure ended (monotonic) */
    int64_t unlink_wait_us; /* how long an erasure waits for files to go; a test shortens it */
    char dir[];
};

extern const char *const gx_store_family_names[GX_CF_COUNT];

/* Makes an error of ours of RocksDB's @text, which is freed; what could be a key is hidden. @doing: "cannot open the
 * store". */
enum gx_status gx_store_take_error(const char *dir, char *text, const char *doing, struct gx_err *err);

/* The same for a write that was refused: after a damaged file RocksDB refuses all, with the text of that damage. */
enum gx_status gx_store_take_refusal(const struct gx_store *store, char *text, const char *doing, struct gx_err *err);

/* The ordinary answer that there is nothing: GX_E_NOT_FOUND without text. */
GX_MUST enum gx_status gx_store_not_found(struct gx_err *err);

/* As RocksDB takes it, also where it is empty. */
const char *gx_store_chars(struct gx_slice slice);

/* Counts a write and lets a test fail it. */
GX_MUST enum gx_status gx_store_may_write(struct gx_store *store, struct gx_err *err);

/* ---------------------------------------------------------------- store_files.c */

/* Ascending. */
struct gx_store_numbers {
    uint64_t *all;
    size_t n, capacity;
};

/* Tables ("000123.sst") and write-ahead logs that are not empty ("000124.log") in the directory at one moment. */
struct gx_store_files {
    struct gx_store_numbers tables, logs;
};

GX_MUST enum gx_status gx_store_files_init(struct gx_store_files *files, const struct gx_store *store,
                                           struct gx_err *err);
void gx_store_files_fini(struct gx_store_files *files); /* accepts a zeroed struct */
bool gx_store_files_has(const struct gx_store_numbers *numbers, uint64_t number);

/* ---------------------------------------------------------------- store_tables.c */

/* A range of keys of one family: [from, until], or without @until. */
struct gx_store_span {
    enum gx_family family;
    struct gx_slice from, until;
    bool is_open;
};

struct gx_store_table {
    uint64_t number, size;
    enum gx_family family;
    int level;
    struct gx_slice lowest, highest; /* user keys; @highest may be the end of a deleted range, and not in the file */
};

/* The live table files of all families at one moment. */
struct gx_store_tables {
    const rocksdb_livefiles_t *listing; /* owns the keys */
    struct gx_store_table *all;         /* by family, level, lowest key */
    size_t n_all;
    size_t begins[GX_CF_COUNT * GX_STORE_LEVELS + 1]; /* of each level of each family in @all */
};

GX_MUST enum gx_status gx_store_tables_init(struct gx_store_tables *tables, struct gx_store *store, struct gx_err *err);
void gx_store_tables_fini(struct gx_store_tables *tables); /* accepts a zeroed struct */

/* The place in @tables->all of the first file of @level that may hold a key of @span, from place @at on (0 = any);
 * SIZE_MAX when there is none. */
size_t gx_store_tables_find(const struct gx_store_tables *tables, const struct gx_store_span *span, int level,
                            size_t at);

/* The place of the first file of the deepest level of @family that does not end below @key; grows with the key. */
size_t gx_store_tables_place(const struct gx_store_tables *tables, enum gx_family family, struct gx_slice key);

/* The clean rule, as far as files tell it. It holds for a key that was deleted before a flush of all families at which
 * @fence was the highest number, while no compaction runs by itself:
 * - every file that may hold it and is as old as the fence is gone, and what took its place was written by us, from top
 *   to bottom, with the deletion before the value;
 * - what was written lies in one level: else a value may lie below a deletion that was not brought down to it;
 * - a file in level 0 above the fence is the flush of a later write, which can hold neither. */
bool gx_store_tables_are_clean(const struct gx_store_tables *tables, const struct gx_store_span *span, uint64_t fence);

GX_MUST enum gx_status gx_store_tables_check(const struct gx_store_stain *stains, size_t n_stains, struct gx_err *err);
struct gx_store_span gx_store_tables_span(const struct gx_store_stain *stain, size_t key); /* @key 0 of a range: all */
size_t gx_store_tables_count(const struct gx_store_stain *stain);                          /* of its spans */

/* ---------------------------------------------------------------- store_options.c */

struct gx_store_settings {
    rocksdb_cache_t *cache;         /* one for all families */
    rocksdb_ratelimiter_t *limiter; /* NULL = none */
    rocksdb_options_t *families[GX_CF_COUNT];
};

/* Makes the options of every family; @wanted NULL = all defaults; @create allows to make a new database. The database
 * keeps what it needs of them: release them once it is open. Call fini whatever the outcome. */
GX_MUST enum gx_status gx_store_options_init(struct gx_store_settings *settings, const struct gx_store_options *wanted,
                                             bool create, struct gx_err *err);
void gx_store_options_fini(struct gx_store_settings *settings);

/* Lets the threads that compact stand back behind searches and writes; once the database is open. */
void gx_store_options_lower_compactions(void);

#endif
