/* What the files of a search share: search.c (the path), search_candidates.c (who is worth scoring), search_recall.c.
 */
#ifndef GX_SEARCH_PRIVATE_H
#define GX_SEARCH_PRIVATE_H

#include "gallery_private.h"
#include "search.h"

#define GX_SEARCH_SCRATCH_MAX    ((size_t)64 << 20)
#define GX_SEARCH_CANDIDATES_MAX 100000
#define GX_SEARCH_BRIEF_FLOATS                                                                                         \
    65536u /* of rows: 128 rows of 512, scanned in 3 microseconds, in 15 from cold memory                              \
            */

/* A filter in the form that a row is held against. */
struct gx_search_filter {
    const struct gx_filter *filter;
    struct gx_key *subjects; /* [filter->n_subjects], sorted */
    bool empty;
    uint32_t without; /* slot that is left out, UINT32_MAX = none: a row measured against the others */
};

/* What one search works with. */
struct gx_search_work {
    const struct gx_search_in *in;
    struct gx_gallery *gallery;
    struct gx_search_filter filter;
    struct gx_arena *arena; /* scratch */
    struct gx_arena *out;   /* what is answered */
    struct gx_index index;  /* engine: one that works beside changes, referenced, or NULL */
    uint32_t count;         /* rows visible to this search */
    bool scans;             /* every probe is answered by an exact scan, no engine is asked */
    size_t k;
};

/* The best of one probe, in order. */
struct gx_search_found {
    struct gx_hit *hits;
    size_t n;
    bool complete; /* no row is missing, however few these are */
    struct gx_search_stats stats;
};

/* Reads a filter of @g into the arena. */
GX_MUST enum gx_status gx_search_compile(struct gx_galleries *galleries, const struct gx_gallery *g,
                                         const struct gx_filter *filter, struct gx_arena *arena,
                                         struct gx_search_filter *out, struct gx_err *err);

/* Takes in the rows and the index of this moment (an engine that works beside changes is held by a reference), as a
 * reader of the rows; and lets go of them. */
void gx_search_look(struct gx_search_work *w);
void gx_search_look_away(struct gx_search_work *w);

/* Is every probe answered by an exact scan of the rows, whatever the engine? */
bool gx_search_scans(const struct gx_search_work *w);

/* The best @k of each probe, scored exactly, into out[n_probes]. */
GX_MUST enum gx_status gx_search_candidates(const struct gx_search_work *w, const float *const *probes, size_t n_probes,
                                            size_t k, struct gx_search_found *out, struct gx_err *err);

#endif
