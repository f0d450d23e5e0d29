#include "engine_faiss_train.h"

#include <stdlib.h>

#include <faiss/c_api/Clustering_c.h>
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/VectorTransform_c.h>
#include <faiss/c_api/index_factory_c.h>

#define KMEANS_TURNS   10 /* as FAISS's own IVF */
#define ROTATION_TURNS 20 /* FAISS takes 50; measured: no better recall from 20 on */
#define ROTATION_ROWS  16384

enum gx_status gx_engine_faiss_train_repeat(const struct gx_faiss_form *form, const float *rows, uint64_t n,
                                            float **out_copy, uint64_t *out_n, struct gx_err *err)
{
    uint64_t quiet = gx_engine_faiss_form_quiet_rows(form);
    size_t dim = form->dim;
    *out_copy = NULL;
    *out_n = n;
    if (n >= quiet)
        return GX_OK;
    float *copy = malloc(quiet * dim * sizeof(float));
    if (copy == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for a training sample");
    for (uint64_t i = 0; i < quiet; i++)
        memcpy(copy + i * dim, rows + i % n * dim, dim * sizeof(float));
    *out_copy = copy;
    *out_n = quiet;
    return GX_OK;
}

/* A rotation as a matrix: what it makes of the unit vectors. */
static enum gx_status read_rotation(const struct gx_faiss_form *form, const FaissVectorTransform *opq, float *out,
                                    struct gx_err *err)
{
    size_t dim = form->dim, index_dim = form->index_dim;
    float *units = calloc(dim * dim, sizeof(float)), *columns = malloc(dim * index_dim * sizeof(float));
    enum gx_status status = GX_OK;
    if (units == NULL || columns == NULL) {
        status = gx_fail(err, GX_E_NOMEM, "no memory for a rotation");
        goto out;
    }
    for (size_t i = 0; i < dim; i++)
        units[i * dim + i] = 1;
    faiss_VectorTransform_apply_noalloc(opq, (idx_t)dim, units, columns);
    for (size_t i = 0; i < dim; i++)
        for (size_t o = 0; o < index_dim; o++)
            out[o * dim + i] = columns[i * index_dim + o];
out:
    free(units);
    free(columns);
    return status;
}

enum gx_status gx_engine_faiss_train_rotation(const struct gx_faiss_form *form, const float *rows, uint64_t n,
                                              float *out, struct gx_err *err)
{
    FaissOPQMatrix *opq = NULL;
    if (faiss_OPQMatrix_new_with(&opq, (int)form->dim, (int)form->opq_m, (int)form->index_dim) != 0)
        return gx_engine_faiss_fail(err, GX_E_INTERNAL, "make a rotation");
    enum gx_status status = GX_OK;
    faiss_OPQMatrix_set_niter(opq, ROTATION_TURNS);
    if (faiss_VectorTransform_train(opq, (idx_t)GX_MIN(n, (uint64_t)ROTATION_ROWS), rows) != 0)
        status = gx_engine_faiss_fail(err, GX_E_INTERNAL, "train a rotation");
    else
        status = read_rotation(form, opq, out, err);
    faiss_OPQMatrix_free(opq);
    return status;
}

enum gx_status gx_engine_faiss_train_centroids(const struct gx_faiss_form *form, uint64_t seed, const float *rows,
                                               uint64_t n, float *out, struct gx_err *err)
{
    FaissClusteringParameters parameters;
    FaissClustering *clustering = NULL;
    FaissIndex *assigner = NULL;
    faiss_ClusteringParameters_init(&parameters);
    parameters.niter = KMEANS_TURNS;
    parameters.spherical = 1;
    parameters.seed = (int)(seed & INT32_MAX);
    parameters.min_points_per_centroid = 1; /* below its limit it prints a warning */
    enum gx_status status = GX_OK;
    int nlist = (int)form->nlist, dim = (int)form->index_dim;
    if (faiss_Clustering_new_with_params(&clustering, dim, nlist, &parameters) != 0 ||
        faiss_index_factory(&assigner, dim, "Flat", METRIC_INNER_PRODUCT) != 0 ||
        faiss_Clustering_train(clustering, (idx_t)n, rows, assigner) != 0) {
        status = gx_engine_faiss_fail(err, GX_E_INTERNAL, "train the lists");
    } else {
        float *centroids;
        size_t n_floats;
        faiss_Clustering_centroids(clustering, &centroids, &n_floats);
        assert(n_floats == (size_t)form->nlist * form->index_dim);
        memcpy(out, centroids, n_floats * sizeof(float));
    }
    if (assigner != NULL)
        faiss_Index_free(assigner);
    if (clustering != NULL)
        faiss_Clustering_free(clustering);
    return status;
}
