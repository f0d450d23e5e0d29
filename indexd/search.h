/* The path of a search: engine candidates, exact rescoring, filter, grouping, order. */
#ifndef GX_SEARCH_H
#define GX_SEARCH_H

#include "engine.h"
#include "galleries.h"

#define GX_LEAD_ONLY_NOTICE                                                                                            \
    "Candidates are investigative leads for examination by a trained human, not identifications."

struct gx_filter {
    int64_t captured_from_us, captured_until_us; /* 0 = open */
    const struct gx_slice *subjects;             /* [n_subjects] ids, any of them; none = any subject */
    size_t n_subjects;
    const struct gx_attribute *attributes; /* [n_attributes], all of them */
    size_t n_attributes;
};

struct gx_search_in {
    struct gx_slice gallery, embedder_id, embedder_version;
    const float *probes; /* [n_probes][dim], finite, not all zero; any length (normalised here); 4-byte aligned */
    size_t n_probes, dim;
    uint32_t k;       /* 1..GX_K_MAX */
    float min_cosine; /* -1 = none are left out */
    bool exact, group_by_subject;
    struct gx_filter filter;
    struct gx_engine_effort effort; /* all unset = the gallery's default */
    uint32_t n_candidates;          /* rows rescored; 0 = default */
    uint64_t read_after_epoch;
    bool brief;            /* only if it takes less than some 10 microseconds and waits for nothing, else GX_E_BUSY */
    gx_rows_stop *stopped; /* asked during the work; may be NULL */
    void *stopped_arg;
};

struct gx_candidate {
    struct gx_slice record_id, subject_id, arrest_id; /* in the arena */
    double cosine;
    int64_t captured_at_us;
};

struct gx_search_stats {
    const char *engine; /* in the arena */
    float effort;
    uint64_t scanned;
    uint32_t rescored;
    bool exhaustive;
    uint64_t epoch;
};

struct gx_search_result {
    struct gx_candidate *candidates; /* [n], best first */
    size_t n;
    struct gx_search_stats stats;
};

/* out_results[n_probes]. Everything is in @arena. Blocks for the work only.
 * GX_E_NOT_FOUND, GX_E_EMBEDDER, GX_E_INVALID (dimension, ranges, a bad probe: which one), GX_E_UNAVAILABLE (loading,
 * read_after_epoch ahead of this server), GX_E_CANCELLED (@stopped said so), GX_E_TOO_LARGE (arena), GX_E_BUSY (not
 * brief: it was not begun). */
GX_MUST enum gx_status gx_search_run(struct gx_galleries *galleries, const struct gx_search_in *in,
                                     struct gx_arena *arena, struct gx_search_result **out_results, struct gx_err *err);

struct gx_recall_in {
    struct gx_slice gallery;
    uint32_t n_probes; /* 1..1000 */
    struct gx_engine_effort effort;
    uint32_t n_candidates;
    uint64_t seed;
    gx_rows_stop *stopped;
    void *stopped_arg;
};
struct gx_recall_out {
    uint32_t n_probes;
    double recall_at_1, recall_at_10, recall_at_50, mean_us, exact_mean_us;
    char engine[GX_ENGINE_MAX + 1];
    float effort;
};
/* Recall of the gallery's engine against the exact scan, on rows drawn from the gallery, each without itself. A
 * candidate counts as found when its cosine reaches the exact one's (ties are equal). Blocks for the work. */
GX_MUST enum gx_status gx_search_measure(struct gx_galleries *galleries, const struct gx_recall_in *in,
                                         struct gx_recall_out *out, struct gx_err *err);

#endif
