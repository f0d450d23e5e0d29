/* The interface of index engines. An engine is a cache of the store: it proposes rows and approximate scores, the
 * caller rescores them exactly and drops those that are dead. It knows rnos and slots, never ids.
 *
 * Threads: search from any number of threads. add, remove, train and save from one at a time; add and remove with
 * searches out (the gallery's lock is held for writing), unless the engine is beside (spec.beside): then searches go on
 * meanwhile. No call may take the process down: a foreign library's exception, and what it cannot do, comes back as a
 * status. */
#ifndef GX_ENGINE_H
#define GX_ENGINE_H

#include <stdatomic.h>

#include "arena.h"
#include "rows.h"

struct gx_engine;

enum gx_engine_kind { GX_ENGINE_FLAT, GX_ENGINE_SCAN, GX_ENGINE_HNSW, GX_ENGINE_FAISS };

/* What an engine text means, for example "flat" or "faiss:IVF1024,SQ8". */
struct gx_engine_spec {
    enum gx_engine_kind kind;
    char text[GX_ENGINE_MAX + 1]; /* as written by the user, "auto" resolved */
    bool indexes;                 /* false: nothing to build, rows are scanned (flat) */
    bool removes;                 /* false: dead rows stay inside until a rebuild */
    bool beside;                  /* adds and removes beside searches; wipe when no earlier search goes on */
    bool filters;                 /* proposes only visible rows that pass: all are worth rescoring */
    bool certifies;               /* can find a set of rows that is certain to hold the best */
    bool batches;                 /* takes several probes at once; else the caller of its search gives one by one */
    bool exhaustive;              /* compares every row: filters cost no recall, rows are taken up as they come */
    bool saves;                   /* has a file form ... */
    bool bare_file;               /* ... in which nothing but the number of a row stands: an erasure may leave it */
    uint32_t nlist;               /* IVF: lists; 0 = not IVF */
    uint32_t hnsw_m;              /* HNSW: links; 0 = not HNSW */
    uint64_t train_min;           /* rows needed to build at all; below it the gallery is scanned exactly */
    uint64_t train_max;           /* rows of the training sample at most; 0 = needs no training */
    size_t overfetch;             /* candidates that are worth rescoring, per one that is wanted ... */
    size_t candidates_min;        /* ... and at least */
};

/* Reads an engine text for a gallery. "auto" reads as what it begins with, "scan". GX_E_INVALID lists the supported
 * forms (or says which number does not fit the dimension). */
GX_MUST enum gx_status gx_engine_parse(struct gx_slice text, size_t dim, struct gx_engine_spec *out,
                                       struct gx_err *err);

/* What "auto" means for a gallery of @n_rows that has engine @now: "hnsw" from @hnsw_from rows on (back at half of it),
 * else "scan". Any other text is itself. Static, or @text. */
const char *gx_engine_choose(const char *text, uint64_t n_rows, uint64_t hnsw_from, const char *now);

/* How hard a search tries. At most one of effort >= 0, nprobe, ef_search is given; the others are -1, 0, 0. */
struct gx_engine_effort {
    float effort; /* 0..1; -1 = not given */
    uint32_t nprobe, ef_search;
};

#define GX_ENGINE_NO_SLOT UINT32_MAX

struct gx_engine_hit {
    uint64_t rno;       /* 0 when slot is given */
    uint32_t slot;      /* place in the rows; GX_ENGINE_NO_SLOT: the engine knows only the rno */
    float approx_score; /* inner product, higher is better */
};

/* What a search wants of an engine. */
struct gx_engine_ask {
    const float *const *probes; /* [n_probes][dim] unit rows */
    size_t n_probes;
    size_t n_wanted; /* candidates per probe */
    struct gx_engine_effort effort;
    uint32_t until;     /* only slots below: what has been taken up since is somebody else's. Not looked at unless
                           spec.filters */
    bool certified;     /* all that may be among the n_wanted best by exact score; effort is not looked at */
    gx_rows_pass *pass; /* NULL: every visible row; else those of them that pass. Not looked at unless spec.filters */
    void *pass_arg;
    gx_rows_stop *stop; /* asked now and then; true ends the search with GX_E_CANCELLED. NULL: never */
    void *stop_arg;
};

/* What it proposes for one probe. */
struct gx_engine_answer {
    struct gx_engine_hit *hits; /* [n] in the arena, each row once; best first unless certified */
    size_t n;                   /* at most n_wanted unless certified */
    uint64_t scanned;           /* rows whose code was looked at */
    float effort;               /* used, on the 0..1 scale */
    bool complete;              /* fewer than n_wanted, because there are no others below until */
};

struct gx_engine_stats {
    uint64_t entries;     /* rows it holds, dead ones included */
    uint64_t index_bytes; /* memory, computed */
};

/* What each engine implements; NULL = cannot. */
struct gx_engine_ops {
    enum gx_status (*train)(struct gx_engine *engine, const float *rows, uint64_t n, struct gx_err *err);
    enum gx_status (*add)(struct gx_engine *engine, const uint64_t *rnos, const float *rows, size_t n,
                          struct gx_err *err);
    enum gx_status (*remove)(struct gx_engine *engine, const uint64_t *rnos, size_t n, size_t *out_removed,
                             struct gx_err *err);
    void (*wipe)(struct gx_engine *engine, const uint64_t *rnos, size_t n);
    enum gx_status (*search)(struct gx_engine *engine, const struct gx_engine_ask *ask, struct gx_arena *arena,
                             struct gx_engine_answer *answers, struct gx_err *err);
    enum gx_status (*save)(struct gx_engine *engine, const char *path, struct gx_err *err);
    void (*stats)(const struct gx_engine *engine, struct gx_engine_stats *out);
    void (*free)(struct gx_engine *engine);
};

/* Every engine's struct begins with this. */
struct gx_engine {
    const struct gx_engine_ops *ops;
    struct gx_engine_spec spec;
    size_t dim;
    const struct gx_rows *rows; /* of the gallery, which outlives the engine; NULL for engines that need none */
    size_t threads;             /* that add, remove and load may use; the caller's to change */
    atomic_uint references;
};

/* A new, empty engine for @rows (scan and hnsw find slots and live bits there). @seed fixes what is random in it. One
 * reference, the caller's. */
GX_MUST enum gx_status gx_engine_new(const struct gx_engine_spec *spec, size_t dim, const struct gx_rows *rows,
                                     uint64_t seed, struct gx_engine **out, struct gx_err *err);
/* Reads what save wrote. GX_E_CORRUPT / GX_E_FORMAT: the caller rebuilds. */
GX_MUST enum gx_status gx_engine_load(const struct gx_engine_spec *spec, size_t dim, const struct gx_rows *rows,
                                      const char *path, size_t threads, struct gx_engine **out, struct gx_err *err);
/* Searches that go on beside a change of the gallery's index hold a reference. The last one frees. */
void gx_engine_ref(struct gx_engine *engine);
void gx_engine_unref(struct gx_engine *engine); /* NULL is fine */

/* @rows[n][dim] unit rows, a sample. Blocks long. GX_E_INVALID: fewer than spec.train_min. */
GX_MUST enum gx_status gx_engine_train(struct gx_engine *engine, const float *rows, uint64_t n, struct gx_err *err);

/* Takes up @rows[n][dim] under their rnos. All or none. GX_E_STATE: not trained. */
GX_MUST enum gx_status gx_engine_add(struct gx_engine *engine, const uint64_t *rnos, const float *rows, size_t n,
                                     struct gx_err *err);

/* Forgets rows. Unknown rnos are fine. Their codes are gone from memory afterwards; engines that work beside searches
 * only stop proposing the rows, and wipe makes them go. GX_E_UNIMPLEMENTED: !spec.removes. */
GX_MUST enum gx_status gx_engine_remove(struct gx_engine *engine, const uint64_t *rnos, size_t n, size_t *out_removed,
                                        struct gx_err *err);
/* After remove, when every search that was under way then has ended. */
void gx_engine_wipe(struct gx_engine *engine, const uint64_t *rnos, size_t n);

/* Candidates for each of the probes into answers[n_probes], in @arena. A knob of another engine family (nprobe on HNSW)
 * is GX_E_INVALID. GX_E_STATE: not trained. GX_E_CANCELLED, GX_E_TOO_LARGE (arena); GX_E_UNIMPLEMENTED: certified
 * without spec.certifies. */
GX_MUST enum gx_status gx_engine_search(struct gx_engine *engine, const struct gx_engine_ask *ask,
                                        struct gx_arena *arena, struct gx_engine_answer *answers, struct gx_err *err);

/* Writes the index to @path (a new file), not synced. GX_E_UNIMPLEMENTED: !spec.saves. */
GX_MUST enum gx_status gx_engine_save(struct gx_engine *engine, const char *path, struct gx_err *err);

void gx_engine_stats(const struct gx_engine *engine, struct gx_engine_stats *out);

/* Reads the effort that was asked of a native engine: at most one knob, within bounds; gives it on the 0..1 scale or
 * (ef_search, where @has_ef) as *out_ef, else 0. GX_E_INVALID. */
GX_MUST enum gx_status gx_engine_native_effort(const struct gx_engine_effort *asked, bool has_ef, float *out_effort,
                                               uint32_t *out_ef, struct gx_err *err);

/* Once per thread that searches or builds: OpenMP and OpenBLAS of this thread use one core. */
void gx_engine_thread_begin(void);

/* Homes of the engines: engine_scan.c, engine_hnsw.c, engine_faiss.c. */
GX_MUST enum gx_status gx_engine_scan_new(const struct gx_engine_spec *spec, size_t dim, const struct gx_rows *rows,
                                          struct gx_engine **out, struct gx_err *err);
GX_MUST enum gx_status gx_engine_hnsw_new(const struct gx_engine_spec *spec, size_t dim, const struct gx_rows *rows,
                                          uint64_t seed, struct gx_engine **out, struct gx_err *err);
GX_MUST enum gx_status gx_engine_hnsw_load(const struct gx_engine_spec *spec, size_t dim, const struct gx_rows *rows,
                                           const char *path, size_t threads, struct gx_engine **out,
                                           struct gx_err *err);
GX_MUST enum gx_status gx_engine_faiss_parse(const char *factory, size_t dim, struct gx_engine_spec *out,
                                             struct gx_err *err);
GX_MUST enum gx_status gx_engine_faiss_new(const struct gx_engine_spec *spec, size_t dim, uint64_t seed,
                                           struct gx_engine **out, struct gx_err *err);
GX_MUST enum gx_status gx_engine_faiss_load(const struct gx_engine_spec *spec, size_t dim, const char *path,
                                            struct gx_engine **out, struct gx_err *err);
void gx_engine_faiss_thread_begin(void);

#endif
