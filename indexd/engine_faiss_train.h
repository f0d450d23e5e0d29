/* What FAISS learns from a sample, as plain numbers. For engine_faiss.c only. */
#ifndef GX_ENGINE_FAISS_TRAIN_H
#define GX_ENGINE_FAISS_TRAIN_H

#include "engine_faiss_form.h"

/* Quantisers complain on stderr about few rows: then *out_copy[*out_n][dim], to be freed, is the sample several times
 * over (the best centroids are the same). Enough rows: *out_copy = NULL, *out_n = n. */
GX_MUST enum gx_status gx_engine_faiss_train_repeat(const struct gx_faiss_form *form, const float *rows, uint64_t n,
                                                    float **out_copy, uint64_t *out_n, struct gx_err *err);

/* The rotation of an OPQ form from @rows[n][dim]: @out[index_dim][dim]. Always the same for the same rows. Blocks long.
 */
GX_MUST enum gx_status gx_engine_faiss_train_rotation(const struct gx_faiss_form *form, const float *rows, uint64_t n,
                                                      float *out, struct gx_err *err);

/* The centroids of an IVF form's lists, of length 1, by k-means over @rows[n][index_dim], n >= nlist:
 * @out[nlist][index_dim]. Blocks long. */
GX_MUST enum gx_status gx_engine_faiss_train_centroids(const struct gx_faiss_form *form, uint64_t seed,
                                                       const float *rows, uint64_t n, float *out, struct gx_err *err);

/* FAISS's last exception on this thread as an error of ours (engine_faiss.c). */
enum gx_status gx_engine_faiss_fail(struct gx_err *err, enum gx_status status, const char *what);

#endif
