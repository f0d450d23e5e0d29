/* Codes in chunks that never move: a mapping each for the int8 codes and both planes of the 2-bit codes (huge pages),
 * and one for the small columns. */
#include "codes.h"

#include <indexd/limits.h>
#include <math.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "map.h"
#include "simd.h"

#define CHUNK_BYTES    ((size_t)16 << 20) /* of int8 codes */
#define CHUNK_ROWS_MIN 1024
#define SLOTS_MAX      UINT32_MAX
#define LANES          16 /* inner loops of a fixed length, which every compiler turns into vectors */
#define ROUNDS         3
#define ROUNDS_UNEVEN  4 /* where one transform does not take all values */
#define SIGNS_SEED     0x696e64657864u
#define STEP           0.9957f /* of a normal distribution's sigma: least error of four even levels (Max, IRE 1960) */
#define ERROR_LEVELS   254     /* a byte holds 255: one for what rounding adds to the largest error */
#define ERROR_SLACK    (1.0 / 64)
#define TINY           1e-30 /* a row whose squares sum up to less has no direction: its codes are zeros */
#define PROBES_MAX     8
#define SLOTS_AT_ONCE  128 /* of a scan: their sums stay in the L1 cache */
#define RESCORE_MAX    1024

_Static_assert(GX_DIM_MAX % GX_SIMD_2BIT_STEP == 0 && GX_SIMD_2BIT_STEP % GX_SIMD_INT8_STEP == 0,
               "scratch of GX_DIM_MAX values holds a padded row");

static size_t round_up(size_t n, size_t step)
{
    return (n + step - 1) / step * step;
}

uint32_t gx_codes_chunk_rows(const struct gx_codes *codes)
{
    return (uint32_t)1 << codes->shift;
}

/* ---------------------------------------------------------------- rotation */

static uint64_t splitmix64(uint64_t *state) /* Steele, Lea and Flood 2014 */
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* A transform takes the first or the last 2^k values, in turn, where not all: this is the first of them. */
static size_t transform_from(const struct gx_codes *codes, size_t round)
{
    return round % 2 == 0 ? 0 : codes->dim - codes->power;
}

/* Signs are the bits of splitmix64 from SIGNS_SEED, lowest first, @dim a round. What makes a transform of 2^k values
 * keep lengths, 2^(-k/2), is multiplied into the signs of the values that it takes. */
static enum gx_status new_signs(struct gx_codes *codes, struct gx_err *err)
{
    size_t dim = codes->dim;
    codes->power = 1;
    while (codes->power * 2 <= dim)
        codes->power *= 2;
    codes->n_rounds = codes->power == dim ? ROUNDS : ROUNDS_UNEVEN;
    codes->signs = calloc(codes->n_rounds * codes->bits_n, sizeof(*codes->signs));
    if (codes->signs == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for codes");
    float normal = (float)(1 / sqrt((double)codes->power));
    uint64_t state = SIGNS_SEED, bits = 0;
    for (size_t k = 0; k < codes->n_rounds * dim; k++) {
        bits = k % 64 == 0 ? splitmix64(&state) : bits >> 1;
        size_t round = k / dim, i = k % dim;
        bool taken = i - transform_from(codes, round) < codes->power; /* those before it wrap round to huge numbers */
        float size = taken ? normal : 1;
        codes->signs[round * codes->bits_n + i] = bits & 1 ? -size : size;
    }
    return GX_OK;
}

/* Without restrict, gcc takes one value at a time, and that is half of the encoding of a row. */
static void multiply(float *restrict values, const float *restrict by, size_t n)
{
    for (size_t i = 0; i < n; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            values[i + j] *= by[i + j];
}

/* A first stage for dimensions that are no power of two: a turn of each value of one half with one of the other, since
 * the transforms of the first and the last values may have few in common. */
static void cross(float *values, size_t dim)
{
    const float half = 0.70710678f; /* 1 / sqrt 2 */
    float *upper = values + dim - dim / 2;
    for (size_t i = 0; i < dim / 2; i++) {
        float a = values[i], b = upper[i];
        values[i] = (a + b) * half;
        upper[i] = (a - b) * half;
    }
}

void gx_codes_rotate(const struct gx_codes *codes, float *values)
{
    for (size_t round = 0; round < codes->n_rounds; round++) {
        if (codes->power < codes->dim)
            cross(values, codes->dim);
        multiply(values, codes->signs + round * codes->bits_n, codes->bits_n);
        gx_simd_hadamard(values + transform_from(codes, round), codes->power);
    }
}

/* ---------------------------------------------------------------- memory */

static size_t int8_len(const struct gx_codes *codes)
{
    return codes->kinds & GX_CODES_INT8 ? codes->int8_n : 0;
}

/* Of one plane. */
static size_t bits_len(const struct gx_codes *codes)
{
    return codes->kinds & GX_CODES_2BIT ? codes->bits_n / 8 : 0;
}

#define COLUMNS_LEN (2 * sizeof(float) + 1) /* a row: scale, factor, error */

enum gx_status gx_codes_new(size_t dim, unsigned kinds, struct gx_codes **out, struct gx_err *err)
{
    *out = NULL;
    if (dim < GX_DIM_MIN || dim > GX_DIM_MAX)
        return gx_fail(err, GX_E_INVALID, "dimension %zu: must be %d to %d", dim, GX_DIM_MIN, GX_DIM_MAX);
    struct gx_codes *codes = calloc(1, sizeof(*codes));
    if (codes == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for codes");
    codes->dim = dim;
    codes->kinds = kinds;
    codes->int8_n = round_up(dim, GX_SIMD_INT8_STEP);
    codes->bits_n = round_up(dim, GX_SIMD_2BIT_STEP);
    codes->error_unit = (float)(sqrt((double)dim) / 2 / ERROR_LEVELS);
    while (((size_t)2 << codes->shift) * codes->int8_n <= CHUNK_BYTES)
        codes->shift++;
    while (gx_codes_chunk_rows(codes) < CHUNK_ROWS_MIN)
        codes->shift++;
    codes->chunks_len = (((size_t)SLOTS_MAX >> codes->shift) + 1) * sizeof(*codes->chunks);
    codes->chunks = gx_map(codes->chunks_len);
    enum gx_status status = codes->chunks == NULL ? gx_fail(err, GX_E_NOMEM, "no memory for codes") : GX_OK;
    if (status == GX_OK && kinds & GX_CODES_2BIT)
        status = new_signs(codes, err);
    if (status != GX_OK) {
        gx_codes_free(codes);
        return status;
    }
    *out = codes;
    return GX_OK;
}

/* The first @n_used slots held something. */
static void free_chunk(const struct gx_codes *codes, struct gx_codes_chunk *chunk, size_t n_used)
{
    size_t n = gx_codes_chunk_rows(codes);
    if (chunk->int8 != NULL) {
        explicit_bzero(chunk->int8, n_used * int8_len(codes));
        munmap(chunk->int8, n * int8_len(codes));
    }
    if (chunk->signs != NULL) {
        explicit_bzero(chunk->signs, round_up(n_used, GX_SIMD_SIGNS_ROWS) * bits_len(codes));
        munmap(chunk->signs, n * bits_len(codes));
    }
    if (chunk->bits != NULL) {
        explicit_bzero(chunk->bits, n_used * bits_len(codes));
        munmap(chunk->bits, n * bits_len(codes));
    }
    if (chunk->scales != NULL) {
        explicit_bzero(chunk->scales, n * COLUMNS_LEN);
        munmap(chunk->scales, n * COLUMNS_LEN);
    }
    *chunk = (struct gx_codes_chunk){0};
}

void gx_codes_free(struct gx_codes *codes)
{
    if (codes == NULL)
        return;
    size_t left = atomic_load_explicit(&codes->n_slots, memory_order_relaxed);
    for (size_t c = 0; c < codes->n_chunks; c++) {
        size_t n_used = GX_MIN(left, (size_t)gx_codes_chunk_rows(codes));
        free_chunk(codes, &codes->chunks[c], n_used);
        left -= n_used;
    }
    if (codes->chunks != NULL)
        munmap(codes->chunks, codes->chunks_len);
    free(codes->signs);
    free(codes);
}

static enum gx_status new_chunk(struct gx_codes *codes, struct gx_err *err)
{
    size_t n = gx_codes_chunk_rows(codes);
    /* The first 2 MiB of a gallery stay small pages, so that many tiny galleries cost little. */
    size_t small = codes->n_chunks == 0 ? GX_MAP_HUGE_PAGE : 0;
    struct gx_codes_chunk chunk = {.scales = gx_map(n * COLUMNS_LEN)};
    bool ok = chunk.scales != NULL;
    if (codes->kinds & GX_CODES_INT8)
        ok = ok && (chunk.int8 = gx_map_huge(n * int8_len(codes), small)) != NULL;
    if (codes->kinds & GX_CODES_2BIT)
        ok = ok && (chunk.signs = gx_map_huge(n * bits_len(codes), small)) != NULL &&
             (chunk.bits = gx_map_huge(n * bits_len(codes), small)) != NULL;
    if (!ok) {
        free_chunk(codes, &chunk, 0);
        return gx_fail(err, GX_E_NOMEM, "no memory for more codes");
    }
    chunk.factors = chunk.scales + n;
    chunk.errors = (uint8_t *)(chunk.factors + n);
    codes->chunks[codes->n_chunks++] = chunk;
    return GX_OK;
}

enum gx_status gx_codes_reserve(struct gx_codes *codes, uint32_t until, struct gx_err *err)
{
    while (((uint64_t)codes->n_chunks << codes->shift) < until)
        GX_TRY(new_chunk(codes, err));
    if (until > atomic_load_explicit(&codes->n_slots, memory_order_relaxed))
        atomic_store_explicit(&codes->n_slots, until, memory_order_relaxed);
    return GX_OK;
}

uint64_t gx_codes_bytes(const struct gx_codes *codes)
{
    uint64_t n = atomic_load_explicit(&codes->n_slots, memory_order_relaxed);
    return n * (int8_len(codes) + 2 * bits_len(codes) + COLUMNS_LEN);
}

/* ---------------------------------------------------------------- encoding */

/* out[n] = @row and zeros. */
static void pad(const float *row, size_t dim, float *out, size_t n)
{
    memcpy(out, row, dim * sizeof(*out));
    memset(out + dim, 0, (n - dim) * sizeof(*out));
}

/* |x - scale * code| in steps of scale * error_unit, never too small.
 *
 * Rounding x / scale and the code leaves at most 1/2 + 3e-5 of a scale per value: 254.02 steps of a row, and 255 fit. A
 * value left out, computed in float, is off by at most 2^-24 * 128 scales; all together by 7.7e-6 * scale * sqrt(dim)
 * or 0.004 steps, which ERROR_SLACK covers. */
static uint8_t error_of(const struct gx_codes *codes, const float *left_out, float scale)
{
    if (scale <= 0)
        return 0;
    double length = sqrt(gx_simd_dot(left_out, left_out, codes->int8_n));
    double steps = ceil(length / ((double)scale * (double)codes->error_unit) + ERROR_SLACK);
    return (uint8_t)GX_MIN(steps, 255.0);
}

static void put_signs(const struct gx_codes *codes, uint32_t slot, const uint8_t *signs)
{
    uint8_t *out = gx_codes_signs(codes, slot);
    for (size_t j = 0; j < codes->bits_n / 8; j++)
        out[j * GX_SIMD_SIGNS_ROWS] = signs[j];
}

/* Turns @values and encodes them; returns the factor. The sum that it divides by is at least half the sum of the sizes
 * of all values, as a level has the sign of its value: not zero unless the row is. */
static float encode_bits(const struct gx_codes *codes, float *values, uint32_t slot, uint8_t *out_bits)
{
    uint8_t signs[GX_DIM_MAX / 8] = {0};
    double length2 = gx_simd_dot(values, values, codes->dim);
    float factor = 0;
    if (length2 < TINY) {
        memset(out_bits, 0, codes->bits_n / 8);
    } else {
        gx_codes_rotate(codes, values);
        float inverse_step = (float)(sqrt((double)codes->dim / length2) / (double)STEP);
        factor = (float)(length2 / (double)gx_simd_2bit_encode(values, codes->bits_n, inverse_step, signs, out_bits));
    }
    put_signs(codes, slot, signs);
    explicit_bzero(signs, sizeof(signs));
    return factor;
}

void gx_codes_put(struct gx_codes *codes, uint32_t slot, const float *row)
{
    float values[GX_DIM_MAX];
    const struct gx_codes_chunk *chunk = gx_codes_chunk_of(codes, slot);
    uint32_t at = gx_codes_place_of(codes, slot);
    if (chunk->int8 != NULL) {
        pad(row, codes->dim, values, codes->int8_n);
        chunk->scales[at] = gx_simd_int8_encode(values, codes->int8_n, chunk->int8 + at * codes->int8_n);
        chunk->errors[at] = error_of(codes, values, chunk->scales[at]);
    }
    if (chunk->bits != NULL) {
        pad(row, codes->dim, values, codes->bits_n);
        chunk->factors[at] = encode_bits(codes, values, slot, chunk->bits + at * (codes->bits_n / 8));
    }
    explicit_bzero(values, codes->bits_n * sizeof(*values));
}

void gx_codes_wipe(struct gx_codes *codes, uint32_t slot)
{
    const struct gx_codes_chunk *chunk = gx_codes_chunk_of(codes, slot);
    uint32_t at = gx_codes_place_of(codes, slot);
    if (chunk->int8 != NULL)
        explicit_bzero(chunk->int8 + at * codes->int8_n, codes->int8_n);
    if (chunk->bits != NULL) {
        static const uint8_t no_signs[GX_DIM_MAX / 8];
        put_signs(codes, slot, no_signs);
        explicit_bzero(chunk->bits + at * (codes->bits_n / 8), codes->bits_n / 8);
    }
    explicit_bzero(chunk->scales + at, sizeof(*chunk->scales));
    explicit_bzero(chunk->factors + at, sizeof(*chunk->factors));
    explicit_bzero(chunk->errors + at, sizeof(*chunk->errors));
}

/* ---------------------------------------------------------------- probes */

/* Of each group of four values of the rotated probe and each pattern of signs: the sum of what that adds, from 0 up, in
 * steps that let the largest one be GX_SIMD_SIGNS_MAX. */
static enum gx_status make_tables(const float *values, size_t n, struct gx_arena *arena, struct gx_codes_probe *out,
                                  struct gx_err *err)
{
    uint8_t(*tables)[16];
    float most = 0, sum = 0;
    GX_TRY(gx_arena_array(arena, n / 4, sizeof(*tables), &tables, err));
    for (size_t i = 0; i < n; i += 4) {
        float range = (fabsf(values[i]) + fabsf(values[i + 1])) + (fabsf(values[i + 2]) + fabsf(values[i + 3]));
        most = GX_MAX(most, 2 * range);
        sum += range;
    }
    out->signs_step = most / GX_SIMD_SIGNS_MAX;
    out->signs_base = -sum;
    float inverse = most > 0 ? GX_SIMD_SIGNS_MAX / most : 0;
    for (size_t i = 0; i < n; i += 4) {
        float adds[16] = {0};
        for (size_t j = 0; j < 4; j++) {
            float size = 2 * fabsf(values[i + j]) * inverse;
            for (size_t pattern = 0; pattern < 16; pattern++)
                adds[pattern] += (pattern >> j & 1) == (values[i + j] > 0) ? size : 0;
        }
        for (size_t pattern = 0; pattern < 16; pattern++)
            tables[i / 4][pattern] = (uint8_t)GX_MIN(adds[pattern] + 0.5f, (float)GX_SIMD_SIGNS_MAX);
    }
    out->signs = (const uint8_t(*)[16])tables;
    return GX_OK;
}

enum gx_status gx_codes_probe(const struct gx_codes *codes, const float *probe, struct gx_arena *arena,
                              struct gx_codes_probe *out, struct gx_err *err)
{
    int8_t *int8 = NULL, *bits = NULL;
    float *values = NULL;
    *out = (struct gx_codes_probe){0};
    GX_TRY(gx_arena_array(arena, codes->bits_n, sizeof(*values), &values, err));
    GX_TRY(gx_arena_array(arena, codes->int8_n, sizeof(*int8), &int8, err));
    pad(probe, codes->dim, values, codes->bits_n);
    out->scale = gx_simd_int8_encode(values, codes->int8_n, int8);
    out->error = (float)error_of(codes, values, out->scale) * out->scale * codes->error_unit;
    out->int8 = int8;
    if ((codes->kinds & GX_CODES_2BIT) == 0)
        return GX_OK;
    GX_TRY(gx_arena_array(arena, codes->bits_n, sizeof(*bits), &bits, err));
    pad(probe, codes->dim, values, codes->bits_n);
    gx_codes_rotate(codes, values);
    GX_TRY(make_tables(values, codes->bits_n, arena, out, err));
    out->bits_scale = gx_simd_int8_encode(values, codes->bits_n, bits);
    int32_t sum = 0;
    for (size_t i = 0; i < codes->bits_n; i++)
        sum += bits[i];
    out->bits_middle = 0.5f * (float)sum;
    out->bits = bits;
    return GX_OK;
}

/* out[i] = (dots[i] * by[i]) * scale */
static void finish(const int32_t *restrict dots, const float *restrict by, float scale, size_t n, float *restrict out)
{
    size_t i = 0;
    for (; n - i >= LANES; i += LANES)
        for (size_t j = 0; j < LANES; j++)
            out[i + j] = ((float)dots[i + j] * by[i + j]) * scale;
    for (; i < n; i++)
        out[i] = ((float)dots[i] * by[i]) * scale;
}

void gx_codes_score_int8(const struct gx_codes *codes, const struct gx_codes_probe *probes, size_t n_probes,
                         uint32_t slot, size_t n, float *const *out)
{
    int32_t dots[PROBES_MAX][SLOTS_AT_ONCE], *dots_of[PROBES_MAX];
    const int8_t *values[PROBES_MAX];
    const struct gx_codes_chunk *chunk = gx_codes_chunk_of(codes, slot);
    size_t first = gx_codes_place_of(codes, slot);
    assert(n_probes <= PROBES_MAX && chunk->int8 != NULL);
    for (size_t p = 0; p < n_probes; p++) {
        values[p] = probes[p].int8;
        dots_of[p] = dots[p];
    }
    for (size_t i = 0; i < n; i += SLOTS_AT_ONCE) {
        size_t n_now = GX_MIN(n - i, (size_t)SLOTS_AT_ONCE), at = first + i;
        gx_simd_int8_scan(values, n_probes, chunk->int8 + at * codes->int8_n, n_now, codes->int8_n, dots_of);
        for (size_t p = 0; p < n_probes; p++)
            finish(dots[p], chunk->scales + at, probes[p].scale, n_now, out[p] + i);
    }
}

uint64_t gx_codes_scan_signs(const struct gx_codes *codes, const struct gx_codes_probe *probe, uint32_t slot,
                             uint16_t bar, uint16_t out[GX_SIMD_SIGNS_ROWS])
{
    assert(slot % GX_SIMD_SIGNS_ROWS == 0 && probe->signs != NULL);
    return gx_simd_signs_scan(probe->signs, gx_codes_signs(codes, slot), codes->bits_n, bar, out);
}

void gx_codes_rescore_2bit(const struct gx_codes *codes, const struct gx_codes_probe *probe, const uint32_t *slots,
                           const uint16_t *sums, size_t n, float *out)
{
    const uint8_t *rows[RESCORE_MAX];
    int32_t dots[RESCORE_MAX];
    assert(n <= RESCORE_MAX);
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        rows[i] = gx_codes_bits(codes, slots[i]);
        __builtin_prefetch(&gx_codes_chunk_of(codes, slots[i])->factors[gx_codes_place_of(codes, slots[i])]);
    }
    gx_simd_bits_gather(probe->bits, rows, n, codes->bits_n, dots);
    for (size_t i = 0; i < n; i++) {
        float of_signs = (float)sums[i] * probe->signs_step + probe->signs_base;
        float of_bits = ((float)dots[i] - probe->bits_middle) * probe->bits_scale;
        float factor = gx_codes_chunk_of(codes, slots[i])->factors[gx_codes_place_of(codes, slots[i])];
        out[i] = (of_signs + of_bits) * factor;
    }
}

void gx_codes_rescore_int8(const struct gx_codes *codes, const struct gx_codes_probe *probe, const uint32_t *slots,
                           size_t n, float *out)
{
    const int8_t *rows[RESCORE_MAX];
    int32_t dots[RESCORE_MAX];
    assert(n <= RESCORE_MAX);
    if (n == 0)
        return;
    for (size_t i = 0; i < n; i++) {
        rows[i] = gx_codes_int8(codes, slots[i]);
        __builtin_prefetch(&gx_codes_chunk_of(codes, slots[i])->scales[gx_codes_place_of(codes, slots[i])]);
    }
    gx_simd_int8_gather(probe->int8, rows, n, codes->int8_n, dots);
    for (size_t i = 0; i < n; i++)
        out[i] = ((float)dots[i] * gx_codes_scale(codes, slots[i])) * probe->scale;
}

/* ---------------------------------------------------------------- bound */

/* Let x be the row and y the probe, x' and y' what their codes stand for, e >= |x - x'| and f >= |y - y'|. Then
 *     <x, y> - <x', y'> = <x - x', y'> + <x, y - y'>
 * and by Cauchy and Schwarz, with |y'| <= |y| + f, this is at most e * (|y| + f) + |x| * f. Unit rows are so up to
 * rounding: |x|, |y| <= 1 + 1e-6.
 *
 * The approximate score is <x', y'> but for rounding. The sum of products of integers is exact (at most 4096 * 127^2,
 * below 2^31); making a float of it and multiplying by two scales rounds three times, by 2^-24 each of a result below
 * (1 + e) * (1 + f). Since e, f <= scale * sqrt(dim) / 2 < 0.26, that is at most 2.9e-7. Computing the bound itself, at
 * most 0.6, rounds by less than 4e-7. ROUNDING is more than both. */
#define LENGTH_MAX 1.000001f
#define ROUNDING   1e-6f

static float error_at(const struct gx_codes_chunk *chunk, size_t at, float unit)
{
    return (float)chunk->errors[at] * chunk->scales[at] * unit;
}

float gx_codes_bound(const struct gx_codes *codes, const struct gx_codes_probe *probe, uint32_t slot)
{
    float e = error_at(gx_codes_chunk_of(codes, slot), gx_codes_place_of(codes, slot), codes->error_unit);
    return (e * (LENGTH_MAX + probe->error) + LENGTH_MAX * probe->error) + ROUNDING;
}

void gx_codes_errors(const struct gx_codes *codes, uint32_t slot, size_t n, float *out)
{
    const struct gx_codes_chunk *chunk = gx_codes_chunk_of(codes, slot);
    size_t first = gx_codes_place_of(codes, slot);
    for (size_t i = 0; i < n; i++)
        out[i] = error_at(chunk, first + i, codes->error_unit);
}

uint64_t gx_codes_reach(const struct gx_codes_probe *probe, const float *scores, const float *errors, size_t n,
                        float bar)
{
    return gx_simd_reach(scores, errors, n, LENGTH_MAX + probe->error, LENGTH_MAX * probe->error, ROUNDING, bar);
}
