#include "topk.h"

#include <math.h>

/* Does @a come before @b in the answer? A total order over distinct slots. */
static bool is_better(const struct gx_topk *top, const struct gx_hit *a, const struct gx_hit *b)
{
    if (a->score != b->score)
        return a->score > b->score;
    int order = top->tie == NULL ? 0 : top->tie(top->tie_arg, a->slot, b->slot);
    return order != 0 ? order < 0 : a->slot < b->slot;
}

/* Puts @hit into heap[at] or below, where no child is worse than its parent. */
static void sift_down(struct gx_topk *top, size_t n, size_t at, struct gx_hit hit)
{
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= n)
            break;
        if (child + 1 < n && is_better(top, &top->heap[child], &top->heap[child + 1]))
            child++;
        if (!is_better(top, &hit, &top->heap[child]))
            break;
        top->heap[at] = top->heap[child];
        at = child;
    }
    top->heap[at] = hit;
}

static void sift_up(struct gx_topk *top, size_t at, struct gx_hit hit)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;
        if (!is_better(top, &top->heap[parent], &hit))
            break;
        top->heap[at] = top->heap[parent];
        at = parent;
    }
    top->heap[at] = hit;
}

void gx_topk_init(struct gx_topk *top, struct gx_hit *heap, size_t k, gx_topk_tie *tie, void *tie_arg)
{
    *top = (struct gx_topk){.heap = heap, .k = k, .tie = tie, .tie_arg = tie_arg};
}

double gx_topk_bar(const struct gx_topk *top)
{
    if (top->n < top->k)
        return -INFINITY;
    return top->k == 0 ? INFINITY : top->heap[0].score;
}

void gx_topk_offer(struct gx_topk *top, double score, uint32_t slot)
{
    if (!(score >= gx_topk_bar(top)) || top->k == 0) /* NaN fails every comparison */
        return;
    struct gx_hit hit = {score, slot};
    if (top->n < top->k)
        sift_up(top, top->n++, hit);
    else if (is_better(top, &hit, &top->heap[0]))
        sift_down(top, top->n, 0, hit);
}

size_t gx_topk_sort(struct gx_topk *top)
{
    for (size_t left = top->n; left > 1; left--) {
        struct gx_hit last = top->heap[left - 1];
        top->heap[left - 1] = top->heap[0];
        sift_down(top, left - 1, 0, last);
    }
    return top->n;
}
