/* What a set of face embeddings looks like in numbers: the same measure for real and for synthetic sets. */
#ifndef GX_PEOPLE_STATS_H
#define GX_PEOPLE_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Borrowed from the caller. */
struct gx_people_sample {
    const float *rows; /* [n][dim], unit length */
    const uint64_t *person;
    size_t n, dim;
};

struct gx_people_stats {
    double photos; /* mean number per person */

    /* cosine of two photos of one person: all pairs of everybody's first 10 photos */
    size_t genuine_pairs;
    double genuine_mean, genuine_sd;
    double genuine_low; /* 0.1 percentile */

    /* cosine of photos of two persons: a million random pairs */
    double impostor_mean, impostor_sd;
    double impostor_high; /* 99.99 percentile */

    /* how many principal components of the persons' mean vectors hold 90 % of their variance */
    size_t components_90;

    /* local intrinsic dimension by the 20 nearest neighbours (Levina and Bickel's estimate with k - 2, pooled over rows
     * by the mean of its inverse): among the first photos of all persons, and among all photos */
    double lid_one, lid_all;

    /* probes: the best row of the same person; the best row of another one, for probes with and without a mate; shares
     * of the mated ones whose mate is first, or among the first 50 */
    size_t probes;
    double mated; /* share */
    double mate_median, stranger_median, unmated_median;
    double rank_1, rank_50;
};

/* Measures @gallery, where the rows of one person stand together, and searches it with @probes (may be NULL: the
 * probes' members are 0). Neighbourhoods are taken of at most @n_queries rows and probes, evenly spread; 0 means all.
 * Members that the set is too small for are NaN (0 for counts). False if memory ran out. Takes about a second for
 * 8,000 rows of 512 and 800 queries; no state, any thread. */
__attribute__((warn_unused_result)) bool gx_people_stats_measure(const struct gx_people_sample *gallery,
                                                                 const struct gx_people_sample *probes,
                                                                 size_t n_queries, struct gx_people_stats *out);

#endif
