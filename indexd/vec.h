/* Embeddings as numbers. */
#ifndef GX_VEC_H
#define GX_VEC_H

#include "err.h"

/* @raw[dim] scaled to length 1 (norm in float64) into @out_unit[dim]; they may be the same. The same input gives the
 * same bits, and a row that was normalised before stays as it is. GX_E_INVALID: a value that is not finite, or all zero
 * (or a norm below 1e-30). */
GX_MUST enum gx_status gx_vec_normalise(const float *raw, size_t dim, float *out_unit, struct gx_err *err);

/* Exact cosine of two unit rows: float64 dot, clamped to [-1, 1]. */
double gx_vec_cosine(const float *a, const float *b, size_t dim);

/* @n little-endian float32 values from bytes of any alignment. */
void gx_vec_from_le(const uint8_t *bytes, size_t n, float *out);
void gx_vec_to_le(const float *values, size_t n, uint8_t *out_bytes);

#endif
