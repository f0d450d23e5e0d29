/* All galleries of a data directory: store, outer ledger, writer, keeper and indexer around them. The floor-3 paths
 * (enrol.h, search.h, expunge.h, lookup.h) work on it. Thread-safe unless said otherwise. */
#ifndef GX_GALLERIES_H
#define GX_GALLERIES_H

#include "codec.h"

struct gx_galleries;

struct gx_galleries_options {
    const char *data_dir;
    const char *ledger_path;   /* NULL = data_dir/expunge.log */
    const char *ledger_mirror; /* NULL = none */
    size_t cache_bytes;        /* RocksDB block cache; 0 = default */
    size_t rate_limit_bytes;   /* flush and compaction, per second; 0 = none */
    size_t writer_queue_max;   /* mutations waiting to be written; past it GX_E_BUSY; 0 = 4096 */
    bool rows_in_file;         /* float rows in files of the data directory, for galleries larger than memory */
    uint64_t hnsw_from;        /* rows from which "auto" means hnsw; 0 = 2,000,000 */
    uint64_t tail_max;         /* rows that an indexing engine may be behind before enrolment is slowed; 0 = 500,000 */
    double rebuild_dead;       /* fraction of dead entries at which an engine that cannot remove is rebuilt; 0 = 0.1 */
    int64_t rebuild_after_us;  /* … or this long after a removal; 0 = 30 seconds */
    int64_t erase_deadline_us; /* from the acknowledgement of an expungement to VERIFIED; 0 = 60 seconds */
    int64_t erase_retry_us;  /* after the first failure of an erasure, doubled with each up to 64 times; 0 = 1 second */
    uint64_t scan_all_bytes; /* rows up to which a proof reads all files, not only those that can hold it; 0 = 4 GiB */
    const char *config_path; /* may lie in the data directory without being an unknown file there; NULL = none */
    uint64_t ballast_bytes;  /* given up when a full disk would stop an expungement; 0 = none */
    double min_free;         /* percent of the disk; below so much room (but 10 GiB) enrolment is refused; 0 = never */
    void (*changed)(void);   /* called when a gallery's health may have changed; may be NULL */
};

/* Creates a data directory (indexd init): FORMAT, secret.key, certificate.key and .pub, store, expunge.log. @dir must
 * not exist or be empty. GX_E_EXISTS; GX_E_IO, GX_E_FULL: what was made is removed again. */
GX_MUST enum gx_status gx_galleries_create(const char *dir, const char *ledger_path, struct gx_err *err);

/* GX_OK: @dir is a data directory of this version. GX_E_NOT_FOUND, GX_E_FORMAT, GX_E_IO. */
GX_MUST enum gx_status gx_galleries_check_format(const char *dir, struct gx_err *err);

/* Opens: FORMAT, files (GX_E_IN_USE; GX_E_STATE: unknown ones, by name), secret, store, ledger (replayed: whatever it
 * lists is gone from the store on return), then starts writer, keeper and indexer; galleries load in the background
 * (gx_galleries_wait_loaded). The errors name the file. */
GX_MUST enum gx_status gx_galleries_open(const struct gx_galleries_options *options, struct gx_galleries **out,
                                         struct gx_err *err);

/* Waits until every gallery is loaded; the first failure is returned (its gallery stays NOT_SERVING). */
GX_MUST enum gx_status gx_galleries_wait_loaded(struct gx_galleries *galleries, struct gx_err *err);

/* Before an orderly stop: loading and building end early (wait_loaded gives GX_E_UNAVAILABLE). Never blocks. */
void gx_galleries_interrupt(struct gx_galleries *galleries);

/* Orderly stop: mutations already queued are written and answered, indexes saved, files closed. Nobody may call in any
 * more. NULL is fine. False: an index is in training, which cannot be interrupted; writes and ledger are closed, and
 * the process must end by _exit, which loses nothing. */
bool gx_galleries_close(struct gx_galleries *galleries);

struct gx_gallery_info {
    struct gx_gallery_meta meta;
    uint64_t records; /* live; 0 while loading */
    bool loaded;
};

struct gx_build_progress {
    bool running;
    char engine[GX_ENGINE_MAX + 1];
    const char *stage; /* "", "training", "adding", "saving"; static */
    uint64_t rows_done, rows_total;
    char problem[GX_ERR_TEXT_MAX];
};

struct gx_gallery_stats {
    char engine[GX_ENGINE_MAX + 1];                                                    /* answering now */
    uint64_t records, quarantined, indexed, tail, dead, epoch, row_bytes, index_bytes; /* quarantined: of the records */
    uint64_t disk_free_bytes, ballast_bytes;                                           /* of the whole server */
    struct gx_build_progress build;
    bool loaded;
};

struct gx_create_in {
    struct gx_slice name, embedder_id, embedder_version, engine; /* engine empty = "auto" */
    uint32_t dim;
    float default_effort; /* 0 = 0.5 */
};

/* Durable on return; blocks for a synced write. GX_E_INVALID (which range), GX_E_EXISTS (other properties; with the
 * same ones it is GX_OK, unchanged), GX_E_BUSY (GX_GALLERIES_MAX), GX_E_FULL, GX_E_IO. */
GX_MUST enum gx_status gx_galleries_add(struct gx_galleries *galleries, const struct gx_create_in *in,
                                        struct gx_gallery_info *out, struct gx_err *err);

/* GX_E_NOT_FOUND. */
GX_MUST enum gx_status gx_galleries_describe(struct gx_galleries *galleries, struct gx_slice name,
                                             struct gx_gallery_info *out, struct gx_err *err);

/* By name, in the arena. */
GX_MUST enum gx_status gx_galleries_list(struct gx_galleries *galleries, struct gx_arena *arena,
                                         struct gx_gallery_info **out, size_t *out_n, struct gx_err *err);

struct gx_remove_in {
    struct gx_slice name;
    int64_t expected_count;     /* records it must hold; -1 = not given */
    struct gx_slice request_id; /* empty = none */
};

/* Out of every later call at once, durable on return; its rows leave the store in the background. Idempotent by request
 * id. GX_E_NOT_FOUND, GX_E_COUNT, GX_E_EXISTS (request id of another request), GX_E_UNAVAILABLE (still loading). Blocks
 * for synced writes. */
GX_MUST enum gx_status gx_galleries_remove(struct gx_galleries *galleries, const struct gx_remove_in *in,
                                           uint64_t *out_records, uint64_t *out_epoch, struct gx_err *err);

/* Queues the build of an index with @engine (empty = the gallery's own); the indexer builds it aside and swaps it in.
 * The engine text is stored with the gallery once it is in use. GX_E_NOT_FOUND, GX_E_INVALID, GX_E_STATE (one runs). */
GX_MUST enum gx_status gx_galleries_build(struct gx_galleries *galleries, struct gx_slice name, struct gx_slice engine,
                                          char out_engine[GX_ENGINE_MAX + 1], struct gx_err *err);

GX_MUST enum gx_status gx_galleries_stats(struct gx_galleries *galleries, struct gx_slice name,
                                          struct gx_gallery_stats *out, struct gx_err *err);

/* For health: 0 no such gallery, 1 loaded and serving, 2 not. Cheap. An empty name asks for all of them together. */
int gx_galleries_health(struct gx_galleries *galleries, struct gx_slice name);

/* The last epoch that is visible. */
uint64_t gx_galleries_epoch(struct gx_galleries *galleries);

#endif
