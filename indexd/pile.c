#include "pile.h"

#include <math.h>
#include <stdlib.h>

void gx_pile_init(struct gx_pile *pile, uint64_t *keys, size_t wanted)
{
    assert(wanted >= 1);
    *pile = (struct gx_pile){.keys = keys, .wanted = wanted, .bar = -INFINITY};
}

#define SAMPLE 31 /* keys that a pivot is taken from; so few are put in order at once */

/* Greatest first. */
static void sort_few(uint64_t *keys, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        uint64_t key = keys[i];
        size_t j = i;
        for (; j > 0 && keys[j - 1] < key; j--)
            keys[j] = keys[j - 1];
        keys[j] = key;
    }
}

/* Some key of @n that about @wanted are at least. */
static uint64_t choose_pivot(const uint64_t *keys, size_t n, size_t wanted)
{
    uint64_t sample[SAMPLE];
    for (size_t i = 0; i < SAMPLE; i++)
        sample[i] = keys[i * (n / SAMPLE)];
    sort_few(sample, SAMPLE);
    return sample[wanted * SAMPLE / n];
}

/* Brings those that are at least @pivot to the front; returns how many. Without a branch that depends on a key
 * (Lomuto's scheme): the processor could not foresee it. */
static size_t partition(uint64_t *keys, size_t n, uint64_t pivot)
{
    size_t front = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t key = keys[i];
        keys[i] = keys[front];
        keys[front] = key;
        front += key >= pivot;
    }
    return front;
}

/* Afterwards the @wanted greatest stand first (Hoare 1961). Keys differ. @wanted < n. */
static void select_greatest(uint64_t *keys, size_t n, size_t wanted)
{
    while (n > SAMPLE) {
        uint64_t pivot = choose_pivot(keys, n, wanted);
        size_t front = partition(keys, n, pivot);
        if (front == n) /* the least of all: it alone goes to the end */
            front = partition(keys, n, pivot + 1);
        if (wanted < front) {
            n = front;
        } else {
            keys += front;
            wanted -= front;
            n -= front;
        }
        if (wanted == 0 || wanted == n)
            return;
    }
    sort_few(keys, n);
}

void gx_pile_settle(struct gx_pile *pile)
{
    if (pile->n < pile->wanted)
        return;
    if (pile->n > pile->wanted)
        select_greatest(pile->keys, pile->n, pile->wanted);
    pile->n = pile->wanted;
    uint64_t least = pile->keys[0];
    for (size_t i = 1; i < pile->n; i++)
        least = GX_MIN(least, pile->keys[i]);
    pile->bar_key = least;
    pile->bar = gx_pile_score(least);
}

void gx_pile_merge(struct gx_pile *pile, const struct gx_pile *from)
{
    for (size_t i = 0; i < from->n; i++) {
        if (from->keys[i] < pile->bar_key)
            continue;
        pile->keys[pile->n++] = from->keys[i];
        if (pile->n == 2 * pile->wanted + GX_PILE_SPARE)
            gx_pile_settle(pile);
    }
}

static int best_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x < y) - (x > y);
}

size_t gx_pile_sort(struct gx_pile *pile)
{
    gx_pile_settle(pile);
    qsort(pile->keys, pile->n, sizeof(*pile->keys), best_first);
    return pile->n;
}
