/* The kernels that touch every row, in portable C, AVX2 and AVX-512, chosen once at run time.
 * All versions of a kernel give the same bits, so an answer does not depend on the machine. */
#ifndef GX_SIMD_H
#define GX_SIMD_H

#include "base.h"

enum gx_simd_level { GX_SIMD_PORTABLE, GX_SIMD_AVX2, GX_SIMD_AVX512 };

/* The best level of this processor, and the one in use. */
enum gx_simd_level gx_simd_best(void);
enum gx_simd_level gx_simd_level(void);

/* For tests: uses @level (at most gx_simd_best()). Not while other threads compute. */
void gx_simd_use(enum gx_simd_level level);
const char *gx_simd_name(enum gx_simd_level level);

/* Dot product of two float32 rows of @n values, accumulated in float64 over 16 fixed lanes: products of two float32
 * are exact in float64, so fused and separate multiply-add agree, and the lane order fixes the rest. Any alignment. */
double gx_simd_dot(const float *a, const float *b, size_t n);

/* gx_simd_dot of one probe with 4 rows: the probe is converted once. Same bits as four calls. */
void gx_simd_dot4(const float *probe, const float *const rows[4], size_t n, double out[4]);

/* CRC-32C (Castagnoli, RFC 3720 appendix B.4) of @n bytes, continuing from @crc (0 to start). */
uint32_t gx_simd_crc32c(uint32_t crc, const void *bytes, size_t n);

/* --- codes: small integers in the place of floats (simd_codes.c compares, simd_encode.c makes them). All levels give
 * the same integers and the same bits. --- */

/* int8 codes hold -127..127 (never -128) and are padded with zeros to a multiple of this many values. */
#define GX_SIMD_INT8_STEP 64
/* 2-bit codes u, 0..3, are kept as two planes of bits, u >> 1 (the sign of the value) and u & 1: bit i % 8 of byte i /
 * 8 is that of value i. Padded to a multiple of 256 values; what a row holds there does not count. */
#define GX_SIMD_2BIT_STEP 256
/* The first plane of GX_SIMD_SIGNS_ROWS rows stands together: byte j of row r is at j * GX_SIMD_SIGNS_ROWS + r. */
#define GX_SIMD_SIGNS_ROWS 64
#define GX_SIMD_SIGNS_MAX  63 /* of an entry of a table */

/* out[i] = dot product of @probe[n] and @rows[i][n], int8 both, for @n_rows rows anywhere: a graph's neighbours. Asks
 * memory for the rows ahead. @n a multiple of GX_SIMD_INT8_STEP, 0 to 8192; @probe and rows 64-byte aligned. */
void gx_simd_int8_gather(const int8_t *probe, const int8_t *const *rows, size_t n_rows, size_t n, int32_t *out);

/* out[p][i] = dot product of probes[p][n] and row i of @rows, n_rows rows of n values one after the other; 1 to 8
 * probes share the pass over memory. */
void gx_simd_int8_scan(const int8_t *const *probes, size_t n_probes, const int8_t *rows, size_t n_rows, size_t n,
                       int32_t *const *out);

/* out[r] = sum over groups of four values of what tables[group] says of the signs that row r has there, their first in
 * the lowest bit; @tables[n / 4][16] hold 0..GX_SIMD_SIGNS_MAX. Returns a bit for each row with out[r] >= @bar. @n a
 * multiple of GX_SIMD_2BIT_STEP, at most 4096 (sums fit). Rows nobody waits for may be written meanwhile. */
uint64_t gx_simd_signs_scan(const uint8_t (*tables)[16], const uint8_t *signs, size_t n, uint16_t bar,
                            uint16_t out[GX_SIMD_SIGNS_ROWS]);

/* out[i] = sum of the values of @probe[n], int8, where rows[i] has a bit, for @n_rows rows anywhere. Asks memory for
 * the rows ahead. @n as above. */
void gx_simd_bits_gather(const int8_t *probe, const uint8_t *const *rows, size_t n_rows, size_t n, int32_t *out);

/* A bit for each place of [0, n), n 1..64, with scores[i] + ((errors[i] * by + plus) + more) >= bar: rows that may be
 * good enough, as far as bounds of their scores tell. Float arithmetic, in this order. */
uint64_t gx_simd_reach(const float *scores, const float *errors, size_t n, float by, float plus, float more, float bar);

/* One row. */
int32_t gx_simd_int8_dot(const int8_t *a, const int8_t *b, size_t n);

/* int8 codes of @values[n], n a multiple of GX_SIMD_INT8_STEP: out[i] is the integer nearest to values[i] / scale, and
 * values[i] - scale * out[i] takes the place of values[i]. Returns scale = max |value| / 127; 0 when all are next to
 * nothing: then all codes are 0. */
float gx_simd_int8_encode(float *values, size_t n, int8_t *out);

/* 2-bit codes of @values[n], n a multiple of GX_SIMD_2BIT_STEP: floor(value * inverse_step) + 2, at least 0, at most 3;
 * one plane into signs[n / 8], the other into bits[n / 8]. Returns the sum of value * (code - 1.5). */
float gx_simd_2bit_encode(const float *values, size_t n, float inverse_step, uint8_t *signs, uint8_t *bits);

/* Walsh-Hadamard transform in place, unnormalised; @n a power of two, 2..4096. */
void gx_simd_hadamard(float *values, size_t n);

#endif
