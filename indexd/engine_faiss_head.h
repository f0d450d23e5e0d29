/* The head of a saved FAISS index: what it is, how long it is, and the rotation. FAISS's reader trusts the lengths that
 * it finds, so nothing reaches it before this was checked. For engine_faiss.c only. */
#ifndef GX_ENGINE_FAISS_HEAD_H
#define GX_ENGINE_FAISS_HEAD_H

#include <stdio.h>

#include "engine_faiss_form.h"

struct gx_faiss_head {
    const char *text; /* of the engine */
    const struct gx_faiss_form *form;
    uint64_t entries, payload_len; /* bytes of FAISS's own part */
};

/* A new file that only its owner can read: it holds codes of embeddings. GX_E_IO. */
GX_MUST enum gx_status gx_engine_faiss_head_create(const char *path, FILE **out, struct gx_err *err);

/* Writes head and @rotation[index_dim][dim] (NULL = none) at the beginning of @file. payload_len may be unknown yet:
 * then write again over it once it is. GX_E_FULL, GX_E_IO. */
GX_MUST enum gx_status gx_engine_faiss_head_write(FILE *file, const struct gx_faiss_head *head, const float *rotation,
                                                  struct gx_err *err);

/* Reads both from the beginning of @file and leaves it at FAISS's part. @head: text and form as expected on entry,
 * entries and payload_len as read on return. @out_rotation, allocated, NULL for forms without one.
 * GX_E_CORRUPT: not such a file, or cut short; GX_E_FORMAT: of another engine or dimension. */
GX_MUST enum gx_status gx_engine_faiss_head_read(FILE *file, struct gx_faiss_head *head, float **out_rotation,
                                                 struct gx_err *err);

#endif
