/* The k best of a stream of scored slots, with a total order, so that the answer never depends on the order of arrival.
 */
#ifndef GX_TOPK_H
#define GX_TOPK_H

#include "base.h"

struct gx_hit {
    double score;  /* higher is better */
    uint32_t slot; /* row of the gallery */
};

/* Orders slots of equal score: <0 when @a comes first. Called only on exact ties. */
typedef int gx_topk_tie(void *arg, uint32_t a, uint32_t b);

struct gx_topk {
    struct gx_hit *heap; /* [k], the caller's; the worst on top while it is being filled */
    size_t k, n;
    gx_topk_tie *tie; /* NULL: lower slot first */
    void *tie_arg;
};

void gx_topk_init(struct gx_topk *top, struct gx_hit *heap, size_t k, gx_topk_tie *tie, void *tie_arg);

/* The score that a new hit must at least reach to have a chance; -INFINITY until k are held. */
double gx_topk_bar(const struct gx_topk *top);

/* Offers a hit. NaN scores are ignored. */
void gx_topk_offer(struct gx_topk *top, double score, uint32_t slot);

/* Sorts the heap best first; returns how many. The heap can't be offered to afterwards. */
size_t gx_topk_sort(struct gx_topk *top);

#endif
