/* The best of a long stream of scored slots, where only their set matters while it is filled: cheaper than a heap for
 * hundreds of places, because it is put in order only once in a while. Score, then the lower slot, is a total order:
 * what is kept does not depend on the order of arrival, nor on how the stream was cut into parts. */
#ifndef GX_PILE_H
#define GX_PILE_H

#include "base.h"

struct gx_pile {
    uint64_t *keys;   /* [2 * wanted + GX_PILE_SPARE], the caller's */
    size_t wanted, n; /* n may be above wanted between two clean-ups */
    uint64_t bar_key; /* below this a key is not among the wanted best */
    float bar;        /* its score; -INFINITY until wanted are held. Look here before offering */
};

#define GX_PILE_SPARE 64

/* @keys[2 * wanted + GX_PILE_SPARE]; @wanted >= 1. */
void gx_pile_init(struct gx_pile *pile, uint64_t *keys, size_t wanted);

/* Keeps the wanted best, and raises the bar to the last of them. */
void gx_pile_settle(struct gx_pile *pile);
/* Everything of @from goes into @pile as well. */
void gx_pile_merge(struct gx_pile *pile, const struct gx_pile *from);
/* Settles and puts in order, best first; returns how many. */
size_t gx_pile_sort(struct gx_pile *pile);

/* Floats in the order of unsigned integers. */
static inline uint64_t gx_pile_key(float score, uint32_t slot)
{
    uint32_t bits;
    memcpy(&bits, &score, sizeof(bits));
    bits = (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
    return (uint64_t)bits << 32 | (uint32_t)~slot;
}
static inline uint32_t gx_pile_slot(uint64_t key)
{
    return ~(uint32_t)key;
}
static inline float gx_pile_score(uint64_t key)
{
    uint32_t bits = (uint32_t)(key >> 32);
    float score;
    bits = (bits & 0x80000000u) != 0 ? bits & 0x7fffffffu : ~bits;
    memcpy(&score, &bits, sizeof(score));
    return score;
}

/* NaN scores must not be offered. */
static inline void gx_pile_offer(struct gx_pile *pile, float score, uint32_t slot)
{
    uint64_t key = gx_pile_key(score, slot);
    if (key < pile->bar_key)
        return;
    pile->keys[pile->n++] = key;
    if (pile->n == 2 * pile->wanted + GX_PILE_SPARE)
        gx_pile_settle(pile);
}

#endif
