/* The kernels that touch every row.
 *
 * All versions of the dot product give the same bits. Element i belongs to lane i % 16 of 16 float64 sums; the product
 * of two float32 is exact in float64 (24 + 24 bits of 53), so a fused multiply-add rounds exactly as a separate one and
 * even a compiler that contracts changes nothing; the lanes are added in the tree of sum_lanes. A lane never holds -0,
 * so the zeros that pad a short end do not show. What would break this is -ffast-math, which simd_private.h
 * refuses. */
#include "simd.h"

#include <pthread.h>
#include <stdatomic.h>

#include "simd_private.h"

#if defined(GX_SIMD_X86)
#include <immintrin.h>
#endif

_Static_assert(__FLT_EVAL_METHOD__ == 0, "float64 arithmetic without extra precision is needed");

#define N_LANES 16

struct kernels {
    double (*dot)(const float *a, const float *b, size_t n);
    void (*dot4)(const float *probe, const float *const rows[4], size_t n, double out[4]);
    uint32_t (*crc32c)(uint32_t crc, const uint8_t *bytes, size_t n);
};

/* ---------------------------------------------------------------- portable */

/* Halves are added until one is left: 8 + 8, 4 + 4, 2 + 2, 1 + 1. */
static double sum_lanes(double lanes[N_LANES])
{
    for (size_t half = N_LANES / 2; half > 0; half /= 2)
        for (size_t i = 0; i < half; i++)
            lanes[i] += lanes[i + half];
    return lanes[0];
}

static double portable_dot(const float *a, const float *b, size_t n)
{
    double lanes[N_LANES] = {0};
    size_t i = 0;
    for (; n - i >= N_LANES; i += N_LANES)
        for (size_t j = 0; j < N_LANES; j++)
            lanes[j] += (double)a[i + j] * (double)b[i + j];
    for (size_t j = 0; i + j < n; j++)
        lanes[j] += (double)a[i + j] * (double)b[i + j];
    return sum_lanes(lanes);
}

static void portable_dot4(const float *probe, const float *const rows[4], size_t n, double out[4])
{
    for (size_t r = 0; r < 4; r++)
        out[r] = portable_dot(probe, rows[r], n);
}

/* Eight bytes at a time: table[k][b] is the effect of byte b with k bytes behind it (Kounavis and Berry, "A systematic
 * approach to building high performance software-based CRC generators", 2005). */
#define CRC_POLYNOMIAL 0x82f63b78u /* 0x1edc6f41 with its bits reversed */
static uint32_t crc_table[8][256];
static pthread_once_t crc_once = PTHREAD_ONCE_INIT;

static void fill_crc_table(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? CRC_POLYNOMIAL : 0);
        crc_table[0][b] = crc;
    }
    for (size_t k = 1; k < 8; k++)
        for (size_t b = 0; b < 256; b++)
            crc_table[k][b] = crc_table[k - 1][b] >> 8 ^ crc_table[0][crc_table[k - 1][b] & 0xff];
}

static uint32_t portable_crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
    (void)pthread_once(&crc_once, fill_crc_table); /* cannot fail with a valid control */
    crc = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        crc ^= (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        crc = crc_table[7][crc & 0xff] ^ crc_table[6][crc >> 8 & 0xff] ^ crc_table[5][crc >> 16 & 0xff] ^
              crc_table[4][crc >> 24] ^ crc_table[3][p[4]] ^ crc_table[2][p[5]] ^ crc_table[1][p[6]] ^
              crc_table[0][p[7]];
    }
    for (; n > 0; n--, p++)
        crc = crc >> 8 ^ crc_table[0][(crc ^ *p) & 0xff];
    return ~crc;
}

static const struct kernels portable = {portable_dot, portable_dot4, portable_crc32c};

#if defined(GX_SIMD_X86)

/* ---------------------------------------------------------------- SSE4.2 */

TARGET_CRC static uint32_t sse42_crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
    uint64_t state = ~crc;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, sizeof(word));
        state = _mm_crc32_u64(state, word);
    }
    uint32_t rest = (uint32_t)state;
    for (; n > 0; n--, p++)
        rest = _mm_crc32_u8(rest, *p);
    return ~rest;
}

/* ---------------------------------------------------------------- AVX2: lanes in four registers of four */

/* The sums are separate variables, not arrays: gcc 12 at -O2 would keep an array in memory. */
struct avx2_lanes {
    __m256d a, b, c, d;
};

TARGET_AVX2 static inline __m256d avx2_load(const float *p)
{
    return _mm256_cvtps_pd(_mm_loadu_ps(p));
}

TARGET_AVX2 static inline struct avx2_lanes avx2_zero(void)
{
    __m256d zero = _mm256_setzero_pd();
    return (struct avx2_lanes){zero, zero, zero, zero};
}

TARGET_AVX2 static inline double avx2_sum(struct avx2_lanes s)
{
    __m256d four = _mm256_add_pd(_mm256_add_pd(s.a, s.c), _mm256_add_pd(s.b, s.d));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

/* The last n < 16 values, followed by zeros. */
static inline const float *padded(const float *p, size_t n, float out[N_LANES])
{
    memset(out, 0, N_LANES * sizeof(*out));
    memcpy(out, p, n * sizeof(*out));
    return out;
}

TARGET_AVX2 static inline struct avx2_lanes avx2_step(const float *x, const float *y, struct avx2_lanes s)
{
    s.a = _mm256_fmadd_pd(avx2_load(x), avx2_load(y), s.a);
    s.b = _mm256_fmadd_pd(avx2_load(x + 4), avx2_load(y + 4), s.b);
    s.c = _mm256_fmadd_pd(avx2_load(x + 8), avx2_load(y + 8), s.c);
    s.d = _mm256_fmadd_pd(avx2_load(x + 12), avx2_load(y + 12), s.d);
    return s;
}

TARGET_AVX2 static double avx2_dot(const float *a, const float *b, size_t n)
{
    struct avx2_lanes s = avx2_zero();
    size_t i = 0;
    for (; n - i >= N_LANES; i += N_LANES)
        s = avx2_step(a + i, b + i, s);
    if (i < n) {
        float end_a[N_LANES], end_b[N_LANES];
        s = avx2_step(padded(a + i, n - i, end_a), padded(b + i, n - i, end_b), s);
    }
    return avx2_sum(s);
}

/* Rows in pairs: 2 x 4 sums and the probe fit the 16 registers, 4 x 4 would not. */
TARGET_AVX2 static inline void avx2_dot2(const float *probe, const float *row0, const float *row1, size_t n,
                                         double out[2])
{
    struct avx2_lanes s = avx2_zero(), t = avx2_zero();
    size_t i = 0;
    for (; n - i >= N_LANES; i += N_LANES) {
        __m256d p = avx2_load(probe + i), q = avx2_load(probe + i + 4);
        s.a = _mm256_fmadd_pd(p, avx2_load(row0 + i), s.a);
        t.a = _mm256_fmadd_pd(p, avx2_load(row1 + i), t.a);
        s.b = _mm256_fmadd_pd(q, avx2_load(row0 + i + 4), s.b);
        t.b = _mm256_fmadd_pd(q, avx2_load(row1 + i + 4), t.b);
        p = avx2_load(probe + i + 8);
        q = avx2_load(probe + i + 12);
        s.c = _mm256_fmadd_pd(p, avx2_load(row0 + i + 8), s.c);
        t.c = _mm256_fmadd_pd(p, avx2_load(row1 + i + 8), t.c);
        s.d = _mm256_fmadd_pd(q, avx2_load(row0 + i + 12), s.d);
        t.d = _mm256_fmadd_pd(q, avx2_load(row1 + i + 12), t.d);
    }
    if (i < n) {
        float end_p[N_LANES], end_row[N_LANES];
        (void)padded(probe + i, n - i, end_p);
        s = avx2_step(end_p, padded(row0 + i, n - i, end_row), s);
        t = avx2_step(end_p, padded(row1 + i, n - i, end_row), t);
    }
    out[0] = avx2_sum(s);
    out[1] = avx2_sum(t);
}

TARGET_AVX2 static void avx2_dot4(const float *probe, const float *const rows[4], size_t n, double out[4])
{
    avx2_dot2(probe, rows[0], rows[1], n, out);
    avx2_dot2(probe, rows[2], rows[3], n, out + 2);
}

static const struct kernels avx2 = {avx2_dot, avx2_dot4, sse42_crc32c};

/* ---------------------------------------------------------------- AVX-512: lanes in two registers of eight */

struct avx512_lanes {
    __m512d low, high;
};

TARGET_AVX512 static inline struct avx512_lanes avx512_zero(void)
{
    return (struct avx512_lanes){_mm512_setzero_pd(), _mm512_setzero_pd()};
}

TARGET_AVX512 static inline struct avx512_lanes avx512_load(const float *p)
{
    return (struct avx512_lanes){_mm512_cvtps_pd(_mm256_loadu_ps(p)), _mm512_cvtps_pd(_mm256_loadu_ps(p + 8))};
}

/* The first n < 16 values of @p, then zeros; nothing behind them is read. */
TARGET_AVX512 static inline struct avx512_lanes avx512_load_end(const float *p, size_t n)
{
    __m512 end = _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
    __m256 upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(end), 1));
    return (struct avx512_lanes){_mm512_cvtps_pd(_mm512_castps512_ps256(end)), _mm512_cvtps_pd(upper)};
}

TARGET_AVX512 static inline struct avx512_lanes avx512_step(struct avx512_lanes x, struct avx512_lanes y,
                                                            struct avx512_lanes s)
{
    s.low = _mm512_fmadd_pd(x.low, y.low, s.low);
    s.high = _mm512_fmadd_pd(x.high, y.high, s.high);
    return s;
}

TARGET_AVX512 static inline double avx512_sum(struct avx512_lanes s)
{
    __m512d eight = _mm512_add_pd(s.low, s.high);
    __m256d four = _mm256_add_pd(_mm512_castpd512_pd256(eight), _mm512_extractf64x4_pd(eight, 1));
    __m128d two = _mm_add_pd(_mm256_castpd256_pd128(four), _mm256_extractf128_pd(four, 1));
    return _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)));
}

TARGET_AVX512 static double avx512_dot(const float *a, const float *b, size_t n)
{
    struct avx512_lanes s = avx512_zero();
    size_t i = 0;
    for (; n - i >= N_LANES; i += N_LANES)
        s = avx512_step(avx512_load(a + i), avx512_load(b + i), s);
    if (i < n)
        s = avx512_step(avx512_load_end(a + i, n - i), avx512_load_end(b + i, n - i), s);
    return avx512_sum(s);
}

TARGET_AVX512 static void avx512_dot4(const float *probe, const float *const rows[4], size_t n, double out[4])
{
    const float *row0 = rows[0], *row1 = rows[1], *row2 = rows[2], *row3 = rows[3];
    struct avx512_lanes s = avx512_zero(), t = s, u = s, v = s;
    size_t i = 0;
    for (; n - i >= N_LANES; i += N_LANES) {
        struct avx512_lanes p = avx512_load(probe + i);
        s = avx512_step(p, avx512_load(row0 + i), s);
        t = avx512_step(p, avx512_load(row1 + i), t);
        u = avx512_step(p, avx512_load(row2 + i), u);
        v = avx512_step(p, avx512_load(row3 + i), v);
    }
    if (i < n) {
        struct avx512_lanes p = avx512_load_end(probe + i, n - i);
        s = avx512_step(p, avx512_load_end(row0 + i, n - i), s);
        t = avx512_step(p, avx512_load_end(row1 + i, n - i), t);
        u = avx512_step(p, avx512_load_end(row2 + i, n - i), u);
        v = avx512_step(p, avx512_load_end(row3 + i, n - i), v);
    }
    out[0] = avx512_sum(s);
    out[1] = avx512_sum(t);
    out[2] = avx512_sum(u);
    out[3] = avx512_sum(v);
}

static const struct kernels avx512 = {avx512_dot, avx512_dot4, sse42_crc32c};

#endif /* GX_SIMD_X86 */

/* ---------------------------------------------------------------- choice */

/* UNKNOWN until the first call; threads that come at once choose the same. */
#define UNKNOWN (-1)
static _Atomic int level_in_use = UNKNOWN;

enum gx_simd_level gx_simd_best(void)
{
#if defined(GX_SIMD_X86)
    __builtin_cpu_init();
    bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("sse4.2");
    if (has_avx2 && __builtin_cpu_supports("avx512f"))
        return GX_SIMD_AVX512;
    if (has_avx2)
        return GX_SIMD_AVX2;
#endif
    return GX_SIMD_PORTABLE;
}

enum gx_simd_level gx_simd_level(void)
{
    int level = atomic_load_explicit(&level_in_use, memory_order_relaxed);
    if (level == UNKNOWN) {
        level = (int)gx_simd_best();
        atomic_store_explicit(&level_in_use, level, memory_order_relaxed);
    }
    return (enum gx_simd_level)level;
}

void gx_simd_use(enum gx_simd_level level)
{
    enum gx_simd_level best = gx_simd_best();
    atomic_store_explicit(&level_in_use, (int)GX_MIN(level, best), memory_order_relaxed);
}

static const struct kernels *chosen(void)
{
#if defined(GX_SIMD_X86)
    switch (gx_simd_level()) {
    case GX_SIMD_AVX512: return &avx512;
    case GX_SIMD_AVX2: return &avx2;
    case GX_SIMD_PORTABLE: break;
    }
#endif
    return &portable;
}

const char *gx_simd_name(enum gx_simd_level level)
{
    switch (level) {
    case GX_SIMD_PORTABLE: return "portable";
    case GX_SIMD_AVX2: return "avx2";
    case GX_SIMD_AVX512: return "avx512";
    }
    return "unknown";
}

double gx_simd_dot(const float *a, const float *b, size_t n)
{
    return chosen()->dot(a, b, n);
}

void gx_simd_dot4(const float *probe, const float *const rows[4], size_t n, double out[4])
{
    chosen()->dot4(probe, rows, n, out);
}

uint32_t gx_simd_crc32c(uint32_t crc, const void *bytes, size_t n)
{
    return chosen()->crc32c(crc, bytes, n);
}
