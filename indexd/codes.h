/* Compact codes of rows, by slot: what the native engines compare in the place of float rows.
 *
 * int8: x ~ scale * code, code = round(x / scale) in -127..127, scale = max |x| / 127: one scale a row. What that
 * leaves out, |x - scale * code|, is kept rounded up (error), so that the distance of an approximate cosine from the
 * exact one has a bound that is certain: gx_codes_bound.
 *
 * 2-bit: the row is turned by a fixed random rotation R (rounds of random signs and a fast Hadamard transform; Ailon
 * and Chazelle 2006), which makes its values alike, then each value becomes one of four levels, u - 1.5 with u in 0..3
 * times a step that suits a normal distribution. Score = factor * <u - 1.5, R probe> with factor = |x|^2 / <u - 1.5, R
 * x>, which makes the estimate right for the row itself (as RaBitQ does it; Gao and Long, SIGMOD 2024; Gao et al.
 * 2025). The two bits are kept apart: what the signs alone, u >> 1, say of <R x, R probe> is enough to leave out most
 * rows, and half as much to read. They stand in blocks of 64 rows, byte by byte, so that many rows are looked up at
 * once; the other bits, u & 1, stand by row.
 *
 * A code is never moved. Slots are written once (put), perhaps wiped once. Threads: reserve from one thread; put and
 * wipe from any, different slots at once; a reader looks only at slots that it was told of after their put (the caller
 * publishes), and at none that is being wiped. Memory is anonymous, with huge pages, excluded from core dumps. */
#ifndef GX_CODES_H
#define GX_CODES_H

#include <stdatomic.h>

#include "arena.h"

enum gx_codes_kind { GX_CODES_INT8 = 1, GX_CODES_2BIT = 2 }; /* may be added up */

/* Codes of consecutive slots. */
struct gx_codes_chunk {
    int8_t *int8;    /* [rows][int8_n]; NULL = kind not kept */
    float *scales;   /* [rows] */
    uint8_t *errors; /* [rows], in units of scale * error_unit */
    uint8_t *signs;  /* [rows / 64][bits_n / 8][64]; NULL = kind not kept */
    uint8_t *bits;   /* [rows][bits_n / 8] */
    float *factors;  /* [rows] */
};

/* Its fields are for the functions below. */
struct gx_codes {
    size_t dim, int8_n, bits_n; /* values per row: of the embedding, and padded */
    unsigned kinds;             /* enum gx_codes_kind */
    uint32_t shift;             /* slot >> shift = chunk */
    float error_unit;           /* sqrt(dim) / 2 / 254: an error cannot be over scale * sqrt(dim) / 2, but rounding */
    struct gx_codes_chunk *chunks; /* room for all slots, so it never moves */
    size_t chunks_len;             /* bytes of that room */
    size_t n_chunks;               /* reserved, from the first on */
    _Atomic uint32_t n_slots;      /* reserved */
    size_t power;                  /* values that one Hadamard transform takes */
    size_t n_rounds;               /* of the rotation */
    float *signs;                  /* [n_rounds][bits_n] */
};

/* @dim GX_DIM_MIN..GX_DIM_MAX. No memory for rows yet. GX_E_NOMEM. */
GX_MUST enum gx_status gx_codes_new(size_t dim, unsigned kinds, struct gx_codes **out, struct gx_err *err);
void gx_codes_free(struct gx_codes *codes); /* wipes */

/* Slots below @until can be put from now on. Those reserved before stay so when memory is out. GX_E_NOMEM. */
GX_MUST enum gx_status gx_codes_reserve(struct gx_codes *codes, uint32_t until, struct gx_err *err);
/* Encodes the unit row @row[dim] into @slot. */
void gx_codes_put(struct gx_codes *codes, uint32_t slot, const float *row);
/* Zeros in the place of everything about @slot. */
void gx_codes_wipe(struct gx_codes *codes, uint32_t slot);
uint64_t gx_codes_bytes(const struct gx_codes *codes);      /* memory of the slots reserved */
uint32_t gx_codes_chunk_rows(const struct gx_codes *codes); /* slots of one chunk, a power of two >= 64 */

static inline const struct gx_codes_chunk *gx_codes_chunk_of(const struct gx_codes *codes, uint32_t slot)
{
    return &codes->chunks[slot >> codes->shift];
}
static inline uint32_t gx_codes_place_of(const struct gx_codes *codes, uint32_t slot)
{
    return slot & (((uint32_t)1 << codes->shift) - 1);
}
static inline const int8_t *gx_codes_int8(const struct gx_codes *codes, uint32_t slot)
{
    return gx_codes_chunk_of(codes, slot)->int8 + gx_codes_place_of(codes, slot) * codes->int8_n;
}
static inline float gx_codes_scale(const struct gx_codes *codes, uint32_t slot)
{
    return gx_codes_chunk_of(codes, slot)->scales[gx_codes_place_of(codes, slot)];
}
static inline const uint8_t *gx_codes_bits(const struct gx_codes *codes, uint32_t slot)
{
    return gx_codes_chunk_of(codes, slot)->bits + gx_codes_place_of(codes, slot) * (codes->bits_n / 8);
}
/* Byte j of the signs of @slot is at j * 64 from here on. */
static inline uint8_t *gx_codes_signs(const struct gx_codes *codes, uint32_t slot)
{
    uint32_t at = gx_codes_place_of(codes, slot);
    return gx_codes_chunk_of(codes, slot)->signs + at / 64 * 64 * (codes->bits_n / 8) + at % 64;
}

/* A probe in the form that codes are compared with. int8 is there whatever kinds are kept. */
struct gx_codes_probe {
    const int8_t *int8; /* [int8_n], 64-byte aligned */
    float scale;        /* probe ~ scale * int8 */
    float error;        /* |probe - scale * int8|, rounded up */
    /* Of 2-bit codes; NULL = kind not kept. A sum over signs, as the tables give it, stands for
     * signs_step * sum + signs_base = <(u >> 1) * 2 - 1, R probe>. */
    const uint8_t (*signs)[16]; /* [bits_n / 4] */
    float signs_step, signs_base;
    const int8_t *bits; /* [bits_n], 64-byte aligned: the rotated probe as int8 */
    float bits_scale;
    float bits_middle; /* half the sum of bits: what u & 1 counts too much */
};

/* @probe[dim] a unit row. Everything is in @arena. GX_E_TOO_LARGE (arena). */
GX_MUST enum gx_status gx_codes_probe(const struct gx_codes *codes, const float *probe, struct gx_arena *arena,
                                      struct gx_codes_probe *out, struct gx_err *err);

/* Approximate cosines of @n slots from one on, all within one chunk, for 1 to 8 probes at once: out[p][i]. */
void gx_codes_score_int8(const struct gx_codes *codes, const struct gx_codes_probe *probes, size_t n_probes,
                         uint32_t slot, size_t n, float *const *out);
/* What the signs of the 64 slots from @slot on, a multiple of 64, say, in steps of the probe's: out[i]. Returns a bit
 * for each with out[i] >= @bar. What it gives for slots that are not alive means nothing. */
uint64_t gx_codes_scan_signs(const struct gx_codes *codes, const struct gx_codes_probe *probe, uint32_t slot,
                             uint16_t bar, uint16_t out[64]);
/* Approximate cosines by 2-bit codes, slots anywhere, sums[i] being what the scan of signs gave. @n at most 1024. */
void gx_codes_rescore_2bit(const struct gx_codes *codes, const struct gx_codes_probe *probe, const uint32_t *slots,
                           const uint16_t *sums, size_t n, float *out);
/* By int8 codes, slots anywhere. @n at most 1024. */
void gx_codes_rescore_int8(const struct gx_codes *codes, const struct gx_codes_probe *probe, const uint32_t *slots,
                           size_t n, float *out);

/* |exact cosine - approximate cosine by int8 codes| is never above this for the row in @slot, rounding of float
 * arithmetic included. Derived at its definition. */
float gx_codes_bound(const struct gx_codes *codes, const struct gx_codes_probe *probe, uint32_t slot);

/* What a bound needs to know of @n slots from one on, all within one chunk. */
void gx_codes_errors(const struct gx_codes *codes, uint32_t slot, size_t n, float *out);
/* A bit for each of up to 64 slots with score + bound >= @bar. @errors are theirs. */
uint64_t gx_codes_reach(const struct gx_codes_probe *probe, const float *scores, const float *errors, size_t n,
                        float bar);

/* Turns @values[bits_n], zeros behind the embedding, as rows and probes are turned for their 2-bit codes. */
void gx_codes_rotate(const struct gx_codes *codes, float *values);

#endif
