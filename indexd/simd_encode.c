/* The kernels that make codes. A value's code does not depend on other values, and sums have an order of their own, so
 * all versions give the same bits. */
#include "simd.h"

#include <math.h>

#include "simd_private.h"

#if defined(GX_SIMD_X86)
#include <immintrin.h>
#endif

#define LANES        16
#define BLOCK_VALUES 256
#define BLOCK_LEN    32     /* of one plane of bits */
#define TINY         1e-30f /* values this small have no direction worth a code, and 127 / max would overflow at last */

struct kernels {
    float (*max_size)(const float *values, size_t n);
    void (*int8)(float *values, size_t n, float scale, float inverse, int8_t *out);
    void (*levels)(const float *values, float inverse_step, uint8_t out[BLOCK_VALUES], float lanes[LANES]);
    void (*pack)(const uint8_t levels[BLOCK_VALUES], uint8_t signs[BLOCK_LEN], uint8_t bits[BLOCK_LEN]);
    void (*hadamard)(float *values, size_t n);
};

/* ---------------------------------------------------------------- portable */

static float portable_max_size(const float *values, size_t n)
{
    float max = 0;
    for (size_t i = 0; i < n; i++)
        max = fabsf(values[i]) > max ? fabsf(values[i]) : max;
    return max;
}

static void portable_int8(float *values, size_t n, float scale, float inverse, int8_t *out)
{
    const float whole = 12582912; /* 1.5 * 2^23: added, it leaves no room for a fraction (to nearest, ties to even) */
    for (size_t i = 0; i < n; i++) {
        float code = (values[i] * inverse + whole) - whole;
        values[i] -= scale * code;
        out[i] = (int8_t)code;
    }
}

static void portable_levels(const float *values, float inverse_step, uint8_t out[BLOCK_VALUES], float lanes[LANES])
{
    for (size_t i = 0; i < BLOCK_VALUES; i++) {
        float u = values[i] * inverse_step + 2;
        u = u > 0 ? u : 0;
        u = u < 3 ? u : 3;
        out[i] = (uint8_t)u;
        lanes[i % LANES] += values[i] * ((float)out[i] - 1.5f);
    }
}

static void portable_pack(const uint8_t levels[BLOCK_VALUES], uint8_t signs[BLOCK_LEN], uint8_t bits[BLOCK_LEN])
{
    memset(signs, 0, BLOCK_LEN);
    memset(bits, 0, BLOCK_LEN);
    for (size_t i = 0; i < BLOCK_VALUES; i++) {
        signs[i / 8] |= (uint8_t)(levels[i] >> 1 << i % 8);
        bits[i / 8] |= (uint8_t)((levels[i] & 1) << i % 8);
    }
}

/* Stages of sums and differences at distance 1, 2, 4, …: every version has this order. */
static void portable_hadamard(float *values, size_t n)
{
    for (size_t h = 1; h < n; h *= 2)
        for (size_t i = 0; i < n; i += 2 * h)
            for (size_t j = i; j < i + h; j++) {
                float a = values[j], b = values[j + h];
                values[j] = a + b;
                values[j + h] = a - b;
            }
}

static const struct kernels portable = {portable_max_size, portable_int8, portable_levels, portable_pack,
                                        portable_hadamard};

#if defined(GX_SIMD_X86)

/* ---------------------------------------------------------------- AVX2 */

TARGET_AVX2 static float avx2_max_size(const float *values, size_t n)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    __m256 max = _mm256_setzero_ps();
    float lanes[8], result = 0;
    for (size_t i = 0; i < n; i += 8)
        max = _mm256_max_ps(max, _mm256_andnot_ps(sign, _mm256_loadu_ps(values + i)));
    _mm256_storeu_ps(lanes, max);
    for (size_t j = 0; j < 8; j++)
        result = lanes[j] > result ? lanes[j] : result;
    return result;
}

/* 32 small integers as bytes, in order; packing by itself works within the halves of a register. */
TARGET_AVX2 static inline __m256i avx2_bytes(__m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i mixed = _mm256_packs_epi16(_mm256_packs_epi32(a, b), _mm256_packs_epi32(c, d));
    return _mm256_permutevar8x32_epi32(mixed, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}

/* Codes of eight values, whose rest it leaves in their place. */
TARGET_AVX2 static inline __m256i avx2_int8_step(float *values, __m256 scale, __m256 inverse)
{
    __m256 x = _mm256_loadu_ps(values);
    __m256i codes = _mm256_cvtps_epi32(_mm256_mul_ps(x, inverse)); /* to nearest, ties to even */
    _mm256_storeu_ps(values, _mm256_sub_ps(x, _mm256_mul_ps(scale, _mm256_cvtepi32_ps(codes))));
    return codes;
}

TARGET_AVX2 static void avx2_int8(float *values, size_t n, float scale, float inverse, int8_t *out)
{
    __m256 s = _mm256_set1_ps(scale), v = _mm256_set1_ps(inverse);
    for (size_t i = 0; i < n; i += 32) {
        __m256i a = avx2_int8_step(values + i, s, v), b = avx2_int8_step(values + i + 8, s, v),
                c = avx2_int8_step(values + i + 16, s, v), d = avx2_int8_step(values + i + 24, s, v);
        _mm256_storeu_si256((__m256i *)(void *)(out + i), avx2_bytes(a, b, c, d));
    }
}

TARGET_AVX2 static inline __m256i avx2_level(__m256 x, __m256 inverse_step, __m256 *lanes)
{
    __m256 u = _mm256_add_ps(_mm256_mul_ps(x, inverse_step), _mm256_set1_ps(2));
    u = _mm256_min_ps(_mm256_max_ps(u, _mm256_setzero_ps()), _mm256_set1_ps(3));
    __m256i level = _mm256_cvttps_epi32(u);
    __m256 middled = _mm256_sub_ps(_mm256_cvtepi32_ps(level), _mm256_set1_ps(1.5f));
    *lanes = _mm256_add_ps(*lanes, _mm256_mul_ps(x, middled));
    return level;
}

TARGET_AVX2 static void avx2_levels(const float *values, float inverse_step, uint8_t out[BLOCK_VALUES],
                                    float lanes[LANES])
{
    __m256 step = _mm256_set1_ps(inverse_step), low = _mm256_loadu_ps(lanes), high = _mm256_loadu_ps(lanes + 8);
    for (size_t i = 0; i < BLOCK_VALUES; i += 32) {
        __m256i a = avx2_level(_mm256_loadu_ps(values + i), step, &low);
        __m256i b = avx2_level(_mm256_loadu_ps(values + i + 8), step, &high);
        __m256i c = avx2_level(_mm256_loadu_ps(values + i + 16), step, &low);
        __m256i d = avx2_level(_mm256_loadu_ps(values + i + 24), step, &high);
        _mm256_storeu_si256((__m256i *)(void *)(out + i), avx2_bytes(a, b, c, d));
    }
    _mm256_storeu_ps(lanes, low);
    _mm256_storeu_ps(lanes + 8, high);
}

TARGET_AVX2 static void avx2_pack(const uint8_t levels[BLOCK_VALUES], uint8_t signs[BLOCK_LEN], uint8_t bits[BLOCK_LEN])
{
    for (size_t j = 0; j < BLOCK_LEN; j += 4) {
        __m256i level = _mm256_loadu_si256((const void *)(levels + 8 * j));
        int high = _mm256_movemask_epi8(_mm256_slli_epi16(level, 6));
        int low = _mm256_movemask_epi8(_mm256_slli_epi16(level, 7));
        memcpy(signs + j, &high, sizeof(high));
        memcpy(bits + j, &low, sizeof(low));
    }
}

/* Distances 1, 2 and 4 within a register: [a, b] becomes [a + b, a - b] as [a, -b] + [b, a]. */
TARGET_AVX2 static inline __m256 avx2_hadamard8(__m256 x)
{
    const __m256 odd = _mm256_castsi256_ps(_mm256_set1_epi64x((int64_t)0x8000000000000000u));
    const __m256 pair = _mm256_castsi256_ps(_mm256_set_epi32(INT32_MIN, INT32_MIN, 0, 0, INT32_MIN, INT32_MIN, 0, 0));
    const __m256 upper = _mm256_castsi256_ps(_mm256_set_epi32(INT32_MIN, INT32_MIN, INT32_MIN, INT32_MIN, 0, 0, 0, 0));
    x = _mm256_add_ps(_mm256_xor_ps(x, odd), _mm256_permute_ps(x, 0xb1));
    x = _mm256_add_ps(_mm256_xor_ps(x, pair), _mm256_permute_ps(x, 0x4e));
    return _mm256_add_ps(_mm256_xor_ps(x, upper), _mm256_permute2f128_ps(x, x, 1));
}

/* Distances h and 2 h of all values: two stages in one pass over them. */
TARGET_AVX2 static void avx2_hadamard_pass(float *values, size_t n, size_t h)
{
    for (size_t i = 0; i < n; i += 4 * h)
        for (float *p = values + i, *end = p + h; p < end; p += 8) {
            __m256 a = _mm256_loadu_ps(p), b = _mm256_loadu_ps(p + h), c = _mm256_loadu_ps(p + 2 * h),
                   d = _mm256_loadu_ps(p + 3 * h);
            __m256 ab = _mm256_add_ps(a, b), a_b = _mm256_sub_ps(a, b);
            __m256 cd = _mm256_add_ps(c, d), c_d = _mm256_sub_ps(c, d);
            _mm256_storeu_ps(p, _mm256_add_ps(ab, cd));
            _mm256_storeu_ps(p + h, _mm256_add_ps(a_b, c_d));
            _mm256_storeu_ps(p + 2 * h, _mm256_sub_ps(ab, cd));
            _mm256_storeu_ps(p + 3 * h, _mm256_sub_ps(a_b, c_d));
        }
}

TARGET_AVX2 static void avx2_hadamard(float *values, size_t n)
{
    if (n < 8) {
        portable_hadamard(values, n);
        return;
    }
    for (size_t i = 0; i < n; i += 8)
        _mm256_storeu_ps(values + i, avx2_hadamard8(_mm256_loadu_ps(values + i)));
    size_t h = 8;
    for (; 4 * h <= n; h *= 4)
        avx2_hadamard_pass(values, n, h);
    for (size_t j = 0; h < n && j < h; j += 8) { /* one stage is left */
        __m256 a = _mm256_loadu_ps(values + j), b = _mm256_loadu_ps(values + j + h);
        _mm256_storeu_ps(values + j, _mm256_add_ps(a, b));
        _mm256_storeu_ps(values + j + h, _mm256_sub_ps(a, b));
    }
}

static const struct kernels avx2 = {avx2_max_size, avx2_int8, avx2_levels, avx2_pack, avx2_hadamard};

#endif /* GX_SIMD_X86 */

/* ---------------------------------------------------------------- choice */

static const struct kernels *chosen(void)
{
#if defined(GX_SIMD_X86)
    if (gx_simd_level() >= GX_SIMD_AVX2)
        return &avx2;
#endif
    return &portable;
}

float gx_simd_int8_encode(float *values, size_t n, int8_t *out)
{
    const struct kernels *kernels = chosen();
    float max = kernels->max_size(values, n);
    if (max < TINY) {
        memset(out, 0, n);
        return 0;
    }
    float scale = max / 127;
    kernels->int8(values, n, scale, 127 / max, out);
    return scale;
}

float gx_simd_2bit_encode(const float *values, size_t n, float inverse_step, uint8_t *signs, uint8_t *bits)
{
    const struct kernels *kernels = chosen();
    uint8_t levels[BLOCK_VALUES];
    float lanes[LANES] = {0}, sum = 0;
    for (size_t i = 0; i < n; i += BLOCK_VALUES) {
        kernels->levels(values + i, inverse_step, levels, lanes);
        kernels->pack(levels, signs + i / 8, bits + i / 8);
    }
    for (size_t j = 0; j < LANES; j++)
        sum += lanes[j];
    explicit_bzero(levels, sizeof(levels));
    return sum;
}

void gx_simd_hadamard(float *values, size_t n)
{
    chosen()->hadamard(values, n);
}
