/* What FAISS learns from a sample, as plain numbers. For engine_faiss.c only. */
#ifndef GX_ENGINE_FAISS_TRAIN_H
#define GX_ENGINE_FAISS_TRAIN_H

#include "engine_faiss_form.h"

/* The rotation of an OPQ form from @rows[n][dim]: @out[index_dim][dim]. Always the same for the same rows. Blocks long.
 */
GX_MUST enum gx_status gx_engine_faiss_train_rotation(const struct gx_faiss_form *form, const float *rows, uint64_t n,
                                                      float *out, struct gx_err *err);

/* The centroids of an IVF form's lists, of length 1, by k-means over @rows[n][index_dim], n > nlist:
 * @out[nlist][index_dim]. Each is the mean of GX_FAISS_ROWS_PER_LIST or more different rows, or next to such a one (or
 * an axis, where there are no such rows): none is a row. Blocks long. */
GX_MUST enum gx_status gx_engine_faiss_train_centroids(const struct gx_faiss_form *form, uint64_t seed,
                                                       const float *rows, uint64_t n, float *out, struct gx_err *err);

/* What codebooks are trained on instead of rows: *out[*out_n][index_dim], to be wiped and freed, are mixtures of
 * GX_FAISS_ROWS_PER_LIST different rows of one list each, in mean and spread like the list's rows. PQ and fast scan
 * only. */
GX_MUST enum gx_status gx_engine_faiss_train_mixtures(const struct gx_faiss_form *form, uint64_t seed,
                                                      const float *centroids, const float *rows, uint64_t n,
                                                      float **out, uint64_t *out_n, struct gx_err *err);

/* FAISS's last exception on this thread as an error of ours (engine_faiss.c). */
enum gx_status gx_engine_faiss_fail(struct gx_err *err, enum gx_status status, const char *what);

#endif
