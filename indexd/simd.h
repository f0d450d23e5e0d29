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

#endif
