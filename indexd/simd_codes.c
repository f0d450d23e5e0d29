/* The kernels that compare codes: sums of products of small integers, which are exact, so all versions agree.
 *
 * int8 on x86: the processor multiplies unsigned by signed bytes, so the sign of the probe's value goes to the row's,
 * |p| * (row * sign of p). Signs are looked up four at a time, in tables of the probe (as FastScan does it; André,
 * Kermarrec and Le Scouarnec, VLDB 2015): 32 rows at once.
 *
 * ROWS_AT_ONCE rows are compared with all probes before the next ones: they come from memory once and from the L1 cache
 * after that. The processor's own prefetching does not follow several rows at once, so the scans ask AHEAD bytes ahead
 * (measured: 1.7 times as fast), a share with each probe, since memory takes only so many requests at once. */
#include "simd.h"

#include "simd_private.h"

#if defined(GX_SIMD_X86)
#include <immintrin.h>
#endif

#define ROWS_AT_ONCE  4
#define PROBES_MAX    8
#define LINE          64
#define AHEAD         ((size_t)2048)
#define ROWS_AHEAD    8              /* of a gather */
#define PAGES_AHEAD   16             /* of a gather, rows */
#define ROW_AHEAD_LEN ((size_t)1024) /* of each row: the processor itself finds what follows */
#define BITS_AHEAD    16             /* of a gather of bits, rows */
#define SIGNS_ROWS    GX_SIMD_SIGNS_ROWS
#define SIGNS_AHEAD   ((size_t)4096)

struct kernels {
    void (*int8_gather)(const int8_t *probe, const int8_t *const *rows, size_t n_rows, size_t n, int32_t *out);
    void (*int8_scan)(const int8_t *const *probes, size_t n_probes, const int8_t *rows, size_t n_rows, size_t n,
                      int32_t *const *out);
    uint64_t (*signs_scan)(const uint8_t (*tables)[16], const uint8_t *signs, size_t n, uint16_t bar,
                           uint16_t out[SIGNS_ROWS]);
    void (*bits_gather)(const int8_t *probe, const uint8_t *const *rows, size_t n_rows, size_t n, int32_t *out);
    uint64_t (*reach)(const float *scores, const float *errors, size_t n, float by, float plus, float more, float bar);
    int32_t (*int8_dot)(const int8_t *a, const int8_t *b, size_t n);
};

/* Inlined, or gcc takes it for a function without effect and drops the call. */
__attribute__((always_inline)) static inline void prefetch(const void *p, size_t len)
{
    for (size_t at = 0; at < len; at += LINE)
        __builtin_prefetch((const uint8_t *)p + at);
}

/* Of @n_rows rows of a gather, the bytes [at, at + len) of @count from @from on, as far as there are so many. */
static inline void prefetch_rows(const int8_t *const *rows, size_t n_rows, size_t from, size_t count, size_t at,
                                 size_t len)
{
    for (size_t i = from; i < GX_MIN(n_rows, from + count); i++)
        prefetch(rows[i] + at, len);
}

/* Before the first rows are looked at, and at each step. The first line of a row is asked for well before the others,
 * which then need not wait until the page is found. */
static inline void prefetch_first(const int8_t *const *rows, size_t n_rows, size_t n)
{
    prefetch_rows(rows, n_rows, 0, PAGES_AHEAD, 0, LINE);
    prefetch_rows(rows, n_rows, 0, ROWS_AHEAD, LINE, GX_MAX(GX_MIN(n, ROW_AHEAD_LEN), (size_t)LINE) - LINE);
}

static inline void prefetch_next(const int8_t *const *rows, size_t i, size_t n_rows, size_t n)
{
    prefetch_rows(rows, n_rows, i + PAGES_AHEAD, ROWS_AT_ONCE, 0, LINE);
    prefetch_rows(rows, n_rows, i + ROWS_AHEAD, ROWS_AT_ONCE, LINE,
                  GX_MAX(GX_MIN(n, ROW_AHEAD_LEN), (size_t)LINE) - LINE);
}

/* ---------------------------------------------------------------- portable */

static int32_t portable_int8_dot(const int8_t *a, const int8_t *b, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += a[i] * b[i];
    return sum;
}

static void portable_int8_gather(const int8_t *probe, const int8_t *const *rows, size_t n_rows, size_t n, int32_t *out)
{
    for (size_t i = 0; i < n_rows; i++)
        out[i] = portable_int8_dot(probe, rows[i], n);
}

static void portable_int8_scan(const int8_t *const *probes, size_t n_probes, const int8_t *rows, size_t n_rows,
                               size_t n, int32_t *const *out)
{
    for (size_t i = 0; i < n_rows; i++)
        for (size_t p = 0; p < n_probes; p++)
            out[p][i] = portable_int8_dot(probes[p], rows + i * n, n);
}

static uint64_t portable_signs_scan(const uint8_t (*tables)[16], const uint8_t *signs, size_t n, uint16_t bar,
                                    uint16_t out[SIGNS_ROWS])
{
    uint64_t over = 0;
    memset(out, 0, SIGNS_ROWS * sizeof(*out));
    for (size_t j = 0; j < n / 8; j++)
        for (size_t r = 0; r < SIGNS_ROWS; r++) {
            uint8_t byte = signs[j * SIGNS_ROWS + r];
            out[r] = (uint16_t)(out[r] + tables[2 * j][byte & 15] + tables[2 * j + 1][byte >> 4]);
        }
    for (size_t r = 0; r < SIGNS_ROWS; r++)
        over |= (uint64_t)(out[r] >= bar) << r;
    return over;
}

static int32_t portable_bits_dot(const int8_t *probe, const uint8_t *row, size_t n)
{
    int32_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (row[i / 8] >> i % 8 & 1) * probe[i];
    return sum;
}

static void portable_bits_gather(const int8_t *probe, const uint8_t *const *rows, size_t n_rows, size_t n, int32_t *out)
{
    for (size_t i = 0; i < n_rows; i++)
        out[i] = portable_bits_dot(probe, rows[i], n);
}

static uint64_t portable_reach(const float *scores, const float *errors, size_t n, float by, float plus, float more,
                               float bar)
{
    uint64_t over = 0;
    for (size_t i = 0; i < n; i++)
        over |= (uint64_t)(scores[i] + ((errors[i] * by + plus) + more) >= bar) << i;
    return over;
}

static const struct kernels portable = {portable_int8_gather, portable_int8_scan, portable_signs_scan,
                                        portable_bits_gather, portable_reach,     portable_int8_dot};

#if defined(GX_SIMD_X86)

/* ---------------------------------------------------------------- AVX2 */

TARGET_AVX2 __attribute__((always_inline)) static inline __m256i avx2_load(const void *p)
{
    return _mm256_loadu_si256(p);
}

/* The four sums of eight int32 each. */
TARGET_AVX2 static inline __m128i avx2_sum4(__m256i a, __m256i b, __m256i c, __m256i d)
{
    __m256i ab = _mm256_add_epi32(_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
    __m256i cd = _mm256_add_epi32(_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
    __m256i abcd = _mm256_add_epi32(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
    return _mm_add_epi32(_mm256_castsi256_si128(abcd), _mm256_extracti128_si256(abcd, 1));
}

/* Pairs of 16 bits added up in 32. */
TARGET_AVX2 static inline __m256i avx2_widen(__m256i pairs)
{
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

TARGET_AVX2 static inline __m256i avx2_negative(__m256i bytes)
{
    return _mm256_cmpgt_epi8(_mm256_setzero_si256(), bytes);
}

/* The sum of the sizes of negative values: what avx2_int8_dot4 leaves out. */
TARGET_AVX2 static int32_t avx2_int8_rest(const int8_t *probe, size_t n)
{
    __m256i sums = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 32) {
        __m256i p = avx2_load(probe + i), size = _mm256_and_si256(_mm256_abs_epi8(p), avx2_negative(p));
        sums = _mm256_add_epi32(sums, _mm256_sad_epu8(size, _mm256_setzero_si256()));
    }
    return _mm_cvtsi128_si32(avx2_sum4(sums, sums, sums, sums));
}

TARGET_AVX2 static int32_t avx2_int8_dot(const int8_t *a, const int8_t *b, size_t n)
{
    __m256i sums = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 32) {
        __m256i p = avx2_load(a + i);
        __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(p), _mm256_sign_epi8(avx2_load(b + i), p));
        sums = _mm256_add_epi32(sums, avx2_widen(pairs));
    }
    return _mm_cvtsi128_si32(avx2_sum4(sums, sums, sums, sums));
}

/* @sum + |p| * (row ^ sign of p) of 32 values. Where p < 0 that is |p| * (-row - 1): cheaper than the right product,
 * and |p| too little. Two such products are at least 2 * 127 * -128: they fit into 16 bits. */
TARGET_AVX2 static inline __m256i avx2_int8_step(__m256i sum, const int8_t *row, __m256i size, __m256i sign)
{
    return _mm256_add_epi32(sum, avx2_widen(_mm256_maddubs_epi16(size, _mm256_xor_si256(avx2_load(row), sign))));
}

TARGET_AVX2 static inline __m128i avx2_int8_dot4(const int8_t *probe, int32_t rest, const int8_t *row0,
                                                 const int8_t *row1, const int8_t *row2, const int8_t *row3, size_t n)
{
    __m256i s = _mm256_setzero_si256(), t = s, u = s, v = s;
    for (size_t i = 0; i < n; i += 32) {
        __m256i p = avx2_load(probe + i), size = _mm256_abs_epi8(p), sign = avx2_negative(p);
        s = avx2_int8_step(s, row0 + i, size, sign);
        t = avx2_int8_step(t, row1 + i, size, sign);
        u = avx2_int8_step(u, row2 + i, size, sign);
        v = avx2_int8_step(v, row3 + i, size, sign);
    }
    return _mm_add_epi32(avx2_sum4(s, t, u, v), _mm_set1_epi32(rest));
}

TARGET_AVX2 static void avx2_int8_gather(const int8_t *probe, const int8_t *const *rows, size_t n_rows, size_t n,
                                         int32_t *out)
{
    int32_t rest = n_rows < ROWS_AT_ONCE ? 0 : avx2_int8_rest(probe, n);
    size_t i = 0;
    prefetch_first(rows, n_rows, n);
    for (; n_rows - i >= ROWS_AT_ONCE; i += ROWS_AT_ONCE) {
        prefetch_next(rows, i, n_rows, n);
        __m128i sums = avx2_int8_dot4(probe, rest, rows[i], rows[i + 1], rows[i + 2], rows[i + 3], n);
        _mm_storeu_si128((__m128i *)(void *)(out + i), sums);
    }
    for (; i < n_rows; i++)
        out[i] = avx2_int8_dot(probe, rows[i], n);
}

TARGET_AVX2 static void avx2_int8_scan(const int8_t *const *probes, size_t n_probes, const int8_t *rows, size_t n_rows,
                                       size_t n, int32_t *const *out)
{
    int32_t rests[PROBES_MAX];
    for (size_t p = 0; p < n_probes; p++)
        rests[p] = avx2_int8_rest(probes[p], n);
    size_t i = 0, share = ROWS_AT_ONCE * n / GX_MAX(n_probes, (size_t)1);
    for (; n_rows - i >= ROWS_AT_ONCE; i += ROWS_AT_ONCE) {
        const int8_t *row = rows + i * n;
        for (size_t p = 0; p < n_probes; p++) {
            prefetch(row + AHEAD + p * share, share);
            __m128i sums = avx2_int8_dot4(probes[p], rests[p], row, row + n, row + 2 * n, row + 3 * n, n);
            _mm_storeu_si128((__m128i *)(void *)(out[p] + i), sums);
        }
    }
    for (; i < n_rows; i++)
        for (size_t p = 0; p < n_probes; p++)
            out[p][i] = avx2_int8_dot(probes[p], rows + i * n, n);
}

/* A table of 16 bytes, for both halves of a register. */
TARGET_AVX2 static inline __m256i avx2_table(const uint8_t table[16])
{
    return _mm256_broadcastsi128_si256(_mm_loadu_si128((const void *)table));
}

/* Of the bytes of 32 rows: what two tables say of their lower and upper four bits. */
TARGET_AVX2 static inline __m256i avx2_look_up(__m256i bytes, __m256i of_low, __m256i of_high)
{
    const __m256i low = _mm256_set1_epi8(15);
    __m256i a = _mm256_shuffle_epi8(of_low, _mm256_and_si256(bytes, low));
    __m256i b = _mm256_shuffle_epi8(of_high, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low));
    return _mm256_add_epi8(a, b);
}

/* Sums of 32 rows: @all in 16 bits of two rows each, the higher row 256 times; @high those alone. Stores them by row
 * and returns a bit for each that is at least @bar. */
TARGET_AVX2 static inline uint32_t avx2_signs_store(__m256i all, __m256i high, __m256i bar, uint16_t out[32])
{
    __m256i even = _mm256_sub_epi16(all, _mm256_slli_epi16(high, 8));
    __m256i a = _mm256_unpacklo_epi16(even, high), b = _mm256_unpackhi_epi16(even, high);
    __m256i first = _mm256_permute2x128_si256(a, b, 0x20), second = _mm256_permute2x128_si256(a, b, 0x31);
    _mm256_storeu_si256((__m256i *)(void *)out, first);
    _mm256_storeu_si256((__m256i *)(void *)(out + 16), second);
    __m256i over = _mm256_packs_epi16(_mm256_cmpeq_epi16(_mm256_max_epu16(first, bar), first),
                                      _mm256_cmpeq_epi16(_mm256_max_epu16(second, bar), second));
    return (uint32_t)_mm256_movemask_epi8(_mm256_permute4x64_epi64(over, 0xd8));
}

/* Four entries of a table add up to less than 256. What is read of rows that are being written is not used, so the
 * thread sanitizer need not look. */
TARGET_AVX2 GX_NO_TSAN static uint64_t avx2_signs_scan(const uint8_t (*tables)[16], const uint8_t *signs, size_t n,
                                                       uint16_t bar, uint16_t out[SIGNS_ROWS])
{
    __m256i all0 = _mm256_setzero_si256(), all1 = all0, high0 = all0, high1 = all0;
    for (size_t j = 0; j < n / 8; j += 2, signs += 2 * SIGNS_ROWS, tables += 4) {
        __m256i a = avx2_table(tables[0]), b = avx2_table(tables[1]), c = avx2_table(tables[2]),
                d = avx2_table(tables[3]);
        prefetch(signs + SIGNS_AHEAD, 2 * SIGNS_ROWS);
        __m256i sum0 =
            _mm256_add_epi8(avx2_look_up(avx2_load(signs), a, b), avx2_look_up(avx2_load(signs + SIGNS_ROWS), c, d));
        __m256i sum1 = _mm256_add_epi8(avx2_look_up(avx2_load(signs + 32), a, b),
                                       avx2_look_up(avx2_load(signs + SIGNS_ROWS + 32), c, d));
        all0 = _mm256_add_epi16(all0, sum0);
        all1 = _mm256_add_epi16(all1, sum1);
        high0 = _mm256_add_epi16(high0, _mm256_srli_epi16(sum0, 8));
        high1 = _mm256_add_epi16(high1, _mm256_srli_epi16(sum1, 8));
    }
    __m256i bars = _mm256_set1_epi16((int16_t)bar);
    uint64_t over = avx2_signs_store(all0, high0, bars, out);
    return over | (uint64_t)avx2_signs_store(all1, high1, bars, out + 32) << 32;
}

/* 16 bits of a lane hold 128 pairs of values: 4096. */
TARGET_AVX2 static int32_t avx2_bits_dot(const int8_t *probe, const uint8_t *row, size_t n)
{
    const __m256i bytes = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3,
                                           3, 3, 3, 3, 3, 3);
    const __m256i bits = _mm256_set1_epi64x((int64_t)0x8040201008040201u), one = _mm256_set1_epi8(1);
    __m256i sums = _mm256_setzero_si256();
    for (size_t i = 0; i < n; i += 32) {
        int32_t word;
        memcpy(&word, row + i / 8, sizeof(word));
        __m256i set = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(word), bytes), bits);
        sums = _mm256_add_epi16(sums, _mm256_maddubs_epi16(_mm256_min_epu8(set, one), avx2_load(probe + i)));
    }
    sums = avx2_widen(sums);
    return _mm_cvtsi128_si32(avx2_sum4(sums, sums, sums, sums));
}

TARGET_AVX2 static void avx2_bits_gather(const int8_t *probe, const uint8_t *const *rows, size_t n_rows, size_t n,
                                         int32_t *out)
{
    for (size_t i = 0; i < GX_MIN(n_rows, (size_t)BITS_AHEAD); i++)
        prefetch(rows[i], n / 8);
    for (size_t i = 0; i < n_rows; i++) {
        if (i + BITS_AHEAD < n_rows)
            prefetch(rows[i + BITS_AHEAD], n / 8);
        out[i] = avx2_bits_dot(probe, rows[i], n);
    }
}

TARGET_AVX2 static uint64_t avx2_reach(const float *scores, const float *errors, size_t n, float by, float plus,
                                       float more, float bar)
{
    __m256 b = _mm256_set1_ps(by), p = _mm256_set1_ps(plus), m = _mm256_set1_ps(more), bars = _mm256_set1_ps(bar);
    uint64_t over = 0;
    size_t i = 0;
    for (; n - i >= 8; i += 8) {
        __m256 bound = _mm256_add_ps(_mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(errors + i), b), p), m);
        __m256 reaches = _mm256_cmp_ps(_mm256_add_ps(_mm256_loadu_ps(scores + i), bound), bars, _CMP_GE_OQ);
        over |= (uint64_t)(uint32_t)_mm256_movemask_ps(reaches) << i;
    }
    return i == n ? over : over | portable_reach(scores + i, errors + i, n - i, by, plus, more, bar) << i;
}

static const struct kernels avx2 = {avx2_int8_gather, avx2_int8_scan, avx2_signs_scan,
                                    avx2_bits_gather, avx2_reach,     avx2_int8_dot};

/* ---------------------------------------------------------------- AVX-512 with VNNI */

TARGET_VNNI512 static inline __m512i vnni_load(const void *p)
{
    return _mm512_loadu_si512(p);
}

/* The four sums of sixteen int32 each. */
TARGET_VNNI512 static inline __m128i vnni_sum4(__m512i a, __m512i b, __m512i c, __m512i d)
{
    __m512i ab = _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    __m512i cd = _mm512_add_epi32(_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    __m512i abcd = _mm512_add_epi32(_mm512_unpacklo_epi64(ab, cd), _mm512_unpackhi_epi64(ab, cd));
    __m256i half = _mm256_add_epi32(_mm512_castsi512_si256(abcd), _mm512_extracti64x4_epi64(abcd, 1));
    return _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
}

/* @sum + |p| * (row * sign of p) of 64 values; four products are added in 32 bits at once. */
TARGET_VNNI512 static inline __m512i vnni_int8_step(__m512i sum, const int8_t *row, __m512i size, __mmask64 negative)
{
    __m512i values = vnni_load(row);
    return _mm512_dpbusd_epi32(sum, size, _mm512_mask_sub_epi8(values, negative, _mm512_setzero_si512(), values));
}

TARGET_VNNI512 static int32_t vnni_int8_dot(const int8_t *a, const int8_t *b, size_t n)
{
    __m512i sums = _mm512_setzero_si512();
    for (size_t i = 0; i < n; i += 64) {
        __m512i p = vnni_load(a + i);
        sums = vnni_int8_step(sums, b + i, _mm512_abs_epi8(p), _mm512_movepi8_mask(p));
    }
    return _mm_cvtsi128_si32(vnni_sum4(sums, sums, sums, sums));
}

TARGET_VNNI512 static inline __m128i vnni_int8_dot4(const int8_t *probe, const int8_t *row0, const int8_t *row1,
                                                    const int8_t *row2, const int8_t *row3, size_t n)
{
    __m512i s = _mm512_setzero_si512(), t = s, u = s, v = s;
    for (size_t i = 0; i < n; i += 64) {
        __m512i p = vnni_load(probe + i), size = _mm512_abs_epi8(p);
        __mmask64 negative = _mm512_movepi8_mask(p);
        s = vnni_int8_step(s, row0 + i, size, negative);
        t = vnni_int8_step(t, row1 + i, size, negative);
        u = vnni_int8_step(u, row2 + i, size, negative);
        v = vnni_int8_step(v, row3 + i, size, negative);
    }
    return vnni_sum4(s, t, u, v);
}

TARGET_VNNI512 static void vnni_int8_gather(const int8_t *probe, const int8_t *const *rows, size_t n_rows, size_t n,
                                            int32_t *out)
{
    size_t i = 0;
    prefetch_first(rows, n_rows, n);
    for (; n_rows - i >= ROWS_AT_ONCE; i += ROWS_AT_ONCE) {
        prefetch_next(rows, i, n_rows, n);
        __m128i sums = vnni_int8_dot4(probe, rows[i], rows[i + 1], rows[i + 2], rows[i + 3], n);
        _mm_storeu_si128((__m128i *)(void *)(out + i), sums);
    }
    for (; i < n_rows; i++)
        out[i] = vnni_int8_dot(probe, rows[i], n);
}

TARGET_VNNI512 static void vnni_int8_scan(const int8_t *const *probes, size_t n_probes, const int8_t *rows,
                                          size_t n_rows, size_t n, int32_t *const *out)
{
    size_t i = 0, share = ROWS_AT_ONCE * n / GX_MAX(n_probes, (size_t)1);
    for (; n_rows - i >= ROWS_AT_ONCE; i += ROWS_AT_ONCE) {
        const int8_t *row = rows + i * n;
        for (size_t p = 0; p < n_probes; p++) {
            prefetch(row + AHEAD + p * share, share);
            __m128i sums = vnni_int8_dot4(probes[p], row, row + n, row + 2 * n, row + 3 * n, n);
            _mm_storeu_si128((__m128i *)(void *)(out[p] + i), sums);
        }
    }
    for (; i < n_rows; i++)
        for (size_t p = 0; p < n_probes; p++)
            out[p][i] = vnni_int8_dot(probes[p], rows + i * n, n);
}

/* Planes of bits come from memory no faster with longer registers. */
static const struct kernels vnni = {vnni_int8_gather, vnni_int8_scan, avx2_signs_scan,
                                    avx2_bits_gather, avx2_reach,     vnni_int8_dot};

static bool has_vnni(void)
{
    return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni");
}

#endif /* GX_SIMD_X86 */

/* ---------------------------------------------------------------- choice */

static const struct kernels *chosen(void)
{
#if defined(GX_SIMD_X86)
    switch (gx_simd_level()) {
    case GX_SIMD_AVX512: return has_vnni() ? &vnni : &avx2;
    case GX_SIMD_AVX2: return &avx2;
    case GX_SIMD_PORTABLE: break;
    }
#endif
    return &portable;
}

void gx_simd_int8_gather(const int8_t *probe, const int8_t *const *rows, size_t n_rows, size_t n, int32_t *out)
{
    chosen()->int8_gather(probe, rows, n_rows, n, out);
}

void gx_simd_int8_scan(const int8_t *const *probes, size_t n_probes, const int8_t *rows, size_t n_rows, size_t n,
                       int32_t *const *out)
{
    chosen()->int8_scan(probes, n_probes, rows, n_rows, n, out);
}

uint64_t gx_simd_signs_scan(const uint8_t (*tables)[16], const uint8_t *signs, size_t n, uint16_t bar,
                            uint16_t out[SIGNS_ROWS])
{
    return chosen()->signs_scan(tables, signs, n, bar, out);
}

void gx_simd_bits_gather(const int8_t *probe, const uint8_t *const *rows, size_t n_rows, size_t n, int32_t *out)
{
    chosen()->bits_gather(probe, rows, n_rows, n, out);
}

uint64_t gx_simd_reach(const float *scores, const float *errors, size_t n, float by, float plus, float more, float bar)
{
    return chosen()->reach(scores, errors, n, by, plus, more, bar);
}

int32_t gx_simd_int8_dot(const int8_t *a, const int8_t *b, size_t n)
{
    return chosen()->int8_dot(a, b, n);
}
