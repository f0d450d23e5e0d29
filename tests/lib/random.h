/* Repeatable numbers for tests: the seed, never 0, is the first state. */
#ifndef GX_RANDOM_H
#define GX_RANDOM_H

#include <stdint.h>

static inline uint64_t gx_random_next(uint64_t *state) /* xorshift (Marsaglia 2003) */
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
