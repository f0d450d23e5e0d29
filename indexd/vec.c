#include "vec.h"

#include <math.h>

#include "simd.h"

_Static_assert(sizeof(float) == 4, "rows are IEEE 754 binary32");

enum gx_status gx_vec_normalise(const float *raw, size_t dim, float *out_unit, struct gx_err *err)
{
    /* The sum of squares of finite float32 values cannot overflow in float64, so it is finite exactly when all are. */
    double squares = gx_simd_dot(raw, raw, dim);
    if (!isfinite(squares))
        return gx_fail(err, GX_E_INVALID, "the embedding holds a value that is not finite: send finite numbers only");
    double norm = sqrt(squares);
    if (norm < 1e-30)
        return gx_fail(err, GX_E_INVALID, "the embedding is all zero: send what the embedder gave for a face");
    /* A row that was normalised before stays as it is, to the bit, so that an exported row can be enrolled again.
     * Rounding to float32 moves a norm by less than 2^-24. */
    if (fabs(norm - 1) < 0x1p-23) {
        memmove(out_unit, raw, dim * sizeof(*out_unit));
        return GX_OK;
    }
    for (size_t i = 0; i < dim; i++)
        out_unit[i] = (float)((double)raw[i] / norm);
    return GX_OK;
}

double gx_vec_cosine(const float *a, const float *b, size_t dim)
{
    double dot = gx_simd_dot(a, b, dim);
    return dot > 1.0 ? 1.0 : dot < -1.0 ? -1.0 : dot;
}

/* Byte by byte, so that any alignment and any byte order will do; compilers make plain moves of it. */
void gx_vec_from_le(const uint8_t *bytes, size_t n, float *out)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *p = bytes + 4 * i;
        uint32_t bits = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
        memcpy(&out[i], &bits, sizeof(bits));
    }
}

void gx_vec_to_le(const float *values, size_t n, uint8_t *out_bytes)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof(bits));
        uint8_t *p = out_bytes + 4 * i;
        p[0] = (uint8_t)bits;
        p[1] = (uint8_t)(bits >> 8);
        p[2] = (uint8_t)(bits >> 16);
        p[3] = (uint8_t)(bits >> 24);
    }
}
