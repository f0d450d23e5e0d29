/* What a FAISS factory text means: our own strict reading of a small part of FAISS's grammar, and the arithmetic that
 * follows from it. Knows no FAISS; for engine_faiss.c only. */
#ifndef GX_ENGINE_FAISS_FORM_H
#define GX_ENGINE_FAISS_FORM_H

#include "engine.h"

#define GX_ENGINE_FAISS_FORMS                                                                                          \
    "[OPQm[_d],] Flat | IVFn[_HNSWm],(Flat|SQ8|SQfp16|PQm|PQmx4fs) | HNSWm,(Flat|SQ8), for example IVF1024,SQ8"

/* Fewer rows are in no centroid's mean, so that none of them is left in it. Also: rows per list of the smallest sample
 * that is trained on. */
#define GX_FAISS_ROWS_PER_LIST 8

enum gx_faiss_family { GX_FAISS_FLAT, GX_FAISS_IVF, GX_FAISS_HNSW };
enum gx_faiss_code { GX_FAISS_CODE_FLAT, GX_FAISS_CODE_SQ8, GX_FAISS_CODE_SQFP16, GX_FAISS_CODE_PQ, GX_FAISS_CODE_FS };

struct gx_faiss_form {
    enum gx_faiss_family family;
    enum gx_faiss_code code;
    uint32_t dim;       /* of the rows */
    uint32_t opq_m;     /* parts that the rotation is made for; 0 = no rotation */
    uint32_t index_dim; /* of what the index holds: dim, or what the rotation gives */
    uint32_t nlist;     /* IVF */
    uint32_t coarse_m;  /* IVF: links of the HNSW that finds the lists; 0 = they are compared one by one */
    uint32_t hnsw_m;    /* HNSW */
    uint32_t pq_m;      /* PQ: bytes (or half bytes, x4fs) of a code */
};

/* GX_E_INVALID: not one of GX_ENGINE_FAISS_FORMS, or a number that is out of range or does not divide the dimension. */
GX_MUST enum gx_status gx_engine_faiss_form_parse(const char *factory, size_t dim, struct gx_faiss_form *out,
                                                  struct gx_err *err);

/* The fields of @out that follow from the form; kind and text are the caller's. */
void gx_engine_faiss_form_fill(const struct gx_faiss_form *form, struct gx_engine_spec *out);

/* The text for FAISS's own factory, without the rotation, which is ours. */
#define GX_FAISS_FACTORY_MAX 64
void gx_engine_faiss_form_factory(const struct gx_faiss_form *form, char out[GX_FAISS_FACTORY_MAX]);

/* Lists to visit (IVF) or ef (HNSW) for the effort asked, and that effort on the 0..1 scale. Flat has no knob: 0, 1.
 * @entries of the index bound an ef. GX_E_INVALID: a knob of another family, more than one, or out of range. */
GX_MUST enum gx_status gx_engine_faiss_form_knob(const struct gx_faiss_form *form,
                                                 const struct gx_engine_effort *effort, size_t n_wanted,
                                                 uint32_t *out_knob, float *out_effort, struct gx_err *err);

/* @out[n][index_dim] = @rotation[index_dim][dim] times @rows[n][dim]. */
void gx_engine_faiss_form_rotate(const struct gx_faiss_form *form, const float *rotation, const float *rows, size_t n,
                                 float *out);

/* Bytes of one row's code, and of an index of @entries rows: counted by formula, growth of arrays not included. */
size_t gx_engine_faiss_form_code_len(const struct gx_faiss_form *form);
uint64_t gx_engine_faiss_form_bytes(const struct gx_faiss_form *form, uint64_t entries);

/* Training rows below which FAISS prints a warning per quantiser; 0 = it never does. */
uint64_t gx_engine_faiss_form_quiet_rows(const struct gx_faiss_form *form);

#endif
