/* The interface of index engines. An engine is a cache of the store: it proposes rows (rno and approximate score), the
 * caller rescores them exactly and drops those that are dead. It knows rnos, never ids.
 *
 * Threads: search from any number of threads; add, remove, train, save and free with everybody else out (the gallery's
 * lock is held for writing), unless the engine is not yet shared. No call may take the process down: a foreign
 * library's exception, and what it cannot do, comes back as a status. */
#ifndef GX_ENGINE_H
#define GX_ENGINE_H

#include "rows.h"

struct gx_engine;

enum gx_engine_kind { GX_ENGINE_FLAT, GX_ENGINE_FAISS };

/* What an engine text means, for example "flat" or "faiss:IVF1024,SQ8". */
struct gx_engine_spec {
    enum gx_engine_kind kind;
    char text[GX_ENGINE_MAX + 1]; /* as written by the user, "auto" resolved */
    bool indexes;                 /* false: nothing to build, rows are scanned (flat) */
    bool removes;                 /* false: dead rows stay inside until a rebuild */
    bool saves;                   /* has a file form */
    uint32_t nlist;               /* IVF: lists; 0 = not IVF */
    uint32_t hnsw_m;              /* HNSW: links; 0 = not HNSW */
    uint64_t train_min;           /* rows needed to build at all; below it the gallery is scanned exactly */
    uint64_t train_max;           /* rows of the training sample at most; 0 = needs no training */
    size_t overfetch;             /* candidates that are worth rescoring, per one that is wanted */
};

/* Reads an engine text for a gallery of @dim. "auto" gives what suits @n_rows. GX_E_INVALID lists the supported forms
 * (or says which number does not fit the dimension). */
GX_MUST enum gx_status gx_engine_parse(struct gx_slice text, size_t dim, uint64_t n_rows, struct gx_engine_spec *out,
                                       struct gx_err *err);

/* How hard a search tries. At most one of effort >= 0, nprobe, ef_search is given; the others are -1, 0, 0. */
struct gx_engine_effort {
    float effort; /* 0..1; -1 = not given */
    uint32_t nprobe, ef_search;
};

struct gx_engine_hit {
    uint64_t rno;
    float approx_score; /* inner product, higher is better */
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
    enum gx_status (*search)(struct gx_engine *engine, const float *probe, const struct gx_engine_effort *effort,
                             size_t n_wanted, struct gx_engine_hit *out_hits, size_t *out_n, uint64_t *out_scanned,
                             float *out_effort, struct gx_err *err);
    enum gx_status (*save)(struct gx_engine *engine, const char *path, struct gx_err *err);
    void (*stats)(const struct gx_engine *engine, struct gx_engine_stats *out);
    void (*free)(struct gx_engine *engine);
};

/* Every engine's struct begins with this. */
struct gx_engine {
    const struct gx_engine_ops *ops;
    struct gx_engine_spec spec;
    size_t dim;
};

/* A new, empty engine. @seed fixes what is random in training. */
GX_MUST enum gx_status gx_engine_new(const struct gx_engine_spec *spec, size_t dim, uint64_t seed,
                                     struct gx_engine **out, struct gx_err *err);
/* Reads what save wrote. GX_E_CORRUPT / GX_E_FORMAT: the caller rebuilds. */
GX_MUST enum gx_status gx_engine_load(const struct gx_engine_spec *spec, size_t dim, const char *path,
                                      struct gx_engine **out, struct gx_err *err);
void gx_engine_free(struct gx_engine *engine);

/* @rows[n][dim] unit rows, a sample. Blocks long. GX_E_INVALID: fewer than spec.train_min. */
GX_MUST enum gx_status gx_engine_train(struct gx_engine *engine, const float *rows, uint64_t n, struct gx_err *err);

/* Takes up @rows[n][dim] under their rnos. All or none. GX_E_STATE: not trained. */
GX_MUST enum gx_status gx_engine_add(struct gx_engine *engine, const uint64_t *rnos, const float *rows, size_t n,
                                     struct gx_err *err);

/* Forgets rows; codes are gone from memory afterwards. Unknown rnos are fine. GX_E_UNIMPLEMENTED: !spec.removes. */
GX_MUST enum gx_status gx_engine_remove(struct gx_engine *engine, const uint64_t *rnos, size_t n, size_t *out_removed,
                                        struct gx_err *err);

/* Up to @n_wanted candidates of one unit probe, best first, each rno once. *out_effort = the effort used on the 0..1
 * scale. A knob of another engine family (nprobe on HNSW) is GX_E_INVALID. GX_E_STATE: not trained. */
GX_MUST enum gx_status gx_engine_search(struct gx_engine *engine, const float *probe,
                                        const struct gx_engine_effort *effort, size_t n_wanted,
                                        struct gx_engine_hit *out_hits, size_t *out_n, uint64_t *out_scanned,
                                        float *out_effort, struct gx_err *err);

/* Writes the index to @path (a new file), not synced. GX_E_UNIMPLEMENTED: !spec.saves. */
GX_MUST enum gx_status gx_engine_save(struct gx_engine *engine, const char *path, struct gx_err *err);

void gx_engine_stats(const struct gx_engine *engine, struct gx_engine_stats *out);

/* Once per thread that searches or builds: OpenMP and OpenBLAS of this thread use one core. */
void gx_engine_thread_begin(void);

/* Home of FAISS (engine_faiss.c). */
GX_MUST enum gx_status gx_engine_faiss_parse(const char *factory, size_t dim, struct gx_engine_spec *out,
                                             struct gx_err *err);
GX_MUST enum gx_status gx_engine_faiss_new(const struct gx_engine_spec *spec, size_t dim, uint64_t seed,
                                           struct gx_engine **out, struct gx_err *err);
GX_MUST enum gx_status gx_engine_faiss_load(const struct gx_engine_spec *spec, size_t dim, const char *path,
                                            struct gx_engine **out, struct gx_err *err);
void gx_engine_faiss_thread_begin(void);

#endif
