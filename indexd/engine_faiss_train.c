/* What an index learns stands in memory and in its file for as long as it does, whatever is erased meanwhile. So
 * nothing that is learnt may be a row, or a part of one:
 * - Centroids. k-means leaves outliers alone in a list, and the mean of one row is that row, to the bit. The sample is
 *   assigned once more, and each centroid made anew as the mean of its rows, or where they are too few, of the nearest.
 * - Codebooks of PQ and fast scan. Their k-means does the same with parts of rows, and out of our reach. It is given
 *   mixtures of the rows of a list instead, which spread like rows.
 * - The rotation of OPQ comes from all of the sample; the ranges of SQ8 are the least and the greatest value of each
 *   dimension, of whichever rows. */
#include "engine_faiss_train.h"

#include <math.h>
#include <stdlib.h>

#include <faiss/c_api/Clustering_c.h>
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/VectorTransform_c.h>
#include <faiss/c_api/index_factory_c.h>

#include "simd.h"

#define KMEANS_TURNS   10 /* as FAISS's own IVF */
#define SAME_SCORE     1e-6f
#define ROTATION_TURNS 20 /* FAISS takes 50; measured: no better recall from 20 on */
#define ROTATION_ROWS  16384

/* Quantisers complain on stderr about few rows: then *out_copy[*out_n][dim], to be wiped and freed, is the sample
 * several times over (what is best for it is the same). Enough rows: *out_copy = NULL, *out_n = n. */
static enum gx_status repeat(const struct gx_faiss_form *form, const float *rows, uint64_t n, float **out_copy,
                             uint64_t *out_n, struct gx_err *err)
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
    float *copy;
    uint64_t n_all;
    GX_TRY(repeat(form, rows, n, &copy, &n_all, err));
    n_all = GX_MIN(n_all, (uint64_t)ROTATION_ROWS);
    enum gx_status status = GX_OK;
    if (faiss_OPQMatrix_new_with(&opq, (int)form->dim, (int)form->opq_m, (int)form->index_dim) != 0) {
        status = gx_engine_faiss_fail(err, GX_E_INTERNAL, "make a rotation");
        goto out;
    }
    faiss_OPQMatrix_set_niter(opq, ROTATION_TURNS);
    if (faiss_VectorTransform_train(opq, (idx_t)n_all, copy != NULL ? copy : rows) != 0)
        status = gx_engine_faiss_fail(err, GX_E_INTERNAL, "train a rotation");
    else
        status = read_rotation(form, opq, out, err);
    faiss_OPQMatrix_free(opq);
out:
    if (copy != NULL)
        explicit_bzero(copy, gx_engine_faiss_form_quiet_rows(form) * form->dim * sizeof(float));
    free(copy);
    return status;
}

/* --- lists --- */

/* A row of the sample and the list it went to. */
struct member {
    uint32_t list;
    float score;
    uint64_t row;
};

static int compare_members(const void *a, const void *b)
{
    const struct member *p = a, *q = b;
    if (p->list != q->list)
        return p->list < q->list ? -1 : 1;
    if (p->score != q->score)
        return p->score < q->score ? -1 : 1;
    return (p->row > q->row) - (p->row < q->row);
}

/* The members of each list, in a row, by score. */
static enum gx_status assign(const struct gx_faiss_form *form, FaissIndex *assigner, const float *centroids,
                             const float *rows, uint64_t n, struct member *out, struct gx_err *err)
{
    idx_t *lists = malloc(n * sizeof(*lists));
    float *scores = malloc(n * sizeof(*scores));
    enum gx_status status = GX_OK;
    if (lists == NULL || scores == NULL)
        status = gx_fail(err, GX_E_NOMEM, "no memory to train the lists");
    else if (faiss_Index_reset(assigner) != 0 || faiss_Index_add(assigner, form->nlist, centroids) != 0 ||
             faiss_Index_search(assigner, (idx_t)n, rows, 1, scores, lists) != 0)
        status = gx_engine_faiss_fail(err, GX_E_INTERNAL, "train the lists");
    for (uint64_t i = 0; i < n && status == GX_OK; i++)
        out[i] = (struct member){lists[i] < 0 ? 0 : (uint32_t)lists[i], scores[i], i};
    free(lists);
    free(scores);
    if (status == GX_OK)
        qsort(out, n, sizeof(*out), compare_members);
    return status;
}

static bool make_unit(float *row, size_t dim)
{
    double square = 0;
    for (size_t j = 0; j < dim; j++)
        square += (double)row[j] * (double)row[j];
    if (!(square > 1e-12))
        return false;
    for (size_t j = 0; j < dim; j++)
        row[j] = (float)((double)row[j] / sqrt(square));
    return true;
}

/* Leaves each row once in a list's members, and returns how many are left: a photo that was enrolled a hundred times is
 * one row. Copies have the same score. (A row that has it by chance goes, too, which does no harm.) */
static uint64_t keep_distinct(struct member *members, uint64_t n)
{
    uint64_t n_kept = 0;
    for (uint64_t i = 0; i < n; i++)
        if (n_kept == 0 || members[i].score - members[n_kept - 1].score > SAME_SCORE)
            members[n_kept++] = members[i];
    return n_kept;
}

static void find_mean(const float *rows, size_t dim, const struct member *members, uint64_t n, float *out)
{
    memset(out, 0, dim * sizeof(*out));
    for (uint64_t i = 0; i < n; i++)
        for (size_t j = 0; j < dim; j++)
            out[j] += rows[members[i].row * dim + j] / (float)n;
}

static bool find_unit_mean(const float *rows, size_t dim, const struct member *members, uint64_t n, float *out)
{
    if (n < GX_FAISS_ROWS_PER_LIST)
        return false;
    find_mean(rows, dim, members, n, out);
    return make_unit(out, dim);
}

/* For a list with too few rows: the mean of the nearest ones, whatever their lists are. */
static bool find_mean_around(const float *rows, size_t dim, uint64_t n, const float *centre, float *out)
{
    struct member best[GX_FAISS_ROWS_PER_LIST] = {{0, 0, 0}}; /* the nearest last */
    uint32_t n_best = 0;
    for (uint64_t i = 0; i < n; i++) {
        struct member m = {0, (float)gx_simd_dot(centre, rows + i * dim, dim), i};
        uint32_t at = n_best;
        while (at > 0 && best[at - 1].score > m.score + SAME_SCORE)
            at--;
        bool is_copy = at > 0 && best[at - 1].score >= m.score - SAME_SCORE;
        if (is_copy || (at == 0 && n_best == GX_COUNT_OF(best)))
            continue;
        if (n_best == GX_COUNT_OF(best))
            memmove(best, best + 1, --at * sizeof(*best));
        else
            memmove(best + at + 1, best + at, (n_best++ - at) * sizeof(*best));
        best[at] = m;
    }
    return find_unit_mean(rows, dim, best, n_best, out);
}

static enum gx_status balance_lists(const struct gx_faiss_form *form, FaissIndex *assigner, const float *rows,
                                    uint64_t n, float *centroids, struct gx_err *err)
{
    size_t dim = form->index_dim;
    uint64_t at = 0;
    struct member *members = malloc(n * sizeof(*members));
    float *mean = malloc(dim * sizeof(*mean));
    enum gx_status status = GX_OK;
    if (members == NULL || mean == NULL) {
        status = gx_fail(err, GX_E_NOMEM, "no memory to train the lists");
        goto out;
    }
    GX_TRY_OUT(assign(form, assigner, centroids, rows, n, members, err));
    for (uint32_t list = 0; list < form->nlist; list++) {
        float *centroid = centroids + list * dim;
        uint64_t begin = at;
        while (at < n && members[at].list == list)
            at++;
        uint64_t n_distinct = keep_distinct(members + begin, at - begin);
        if (!find_unit_mean(rows, dim, members + begin, n_distinct, mean) &&
            !find_mean_around(rows, dim, n, centroid, mean)) {
            memset(mean, 0, dim * sizeof(*mean)); /* all rows are copies of a few: any direction does */
            mean[list % dim] = 1;
        }
        memcpy(centroid, mean, dim * sizeof(*mean));
    }
out:
    free(members);
    if (mean != NULL)
        explicit_bzero(mean, dim * sizeof(*mean));
    free(mean);
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
        status = balance_lists(form, assigner, rows, n, out, err);
    }
    if (assigner != NULL)
        faiss_Index_free(assigner);
    if (clustering != NULL)
        faiss_Clustering_free(clustering);
    return status;
}

/* --- codebooks --- */

#define ROWS_PER_CODE_MAX 256 /* FAISS uses no more */

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return *state >> 33;
}

/* @out[n_out]: each the mean of the list plus as many rows' differences from it as are enough, with random signs,
 * scaled to the length of one. */
static void mix_list(const float *rows, size_t dim, const struct member *members, uint64_t n, uint64_t *random,
                     float *mean, uint64_t n_out, float *out)
{
    float scale = 1 / sqrtf(GX_FAISS_ROWS_PER_LIST);
    find_mean(rows, dim, members, n, mean);
    for (uint64_t i = 0; i < n_out; i++, out += dim) {
        memcpy(out, mean, dim * sizeof(*out));
        for (uint64_t k = 0; k < GX_FAISS_ROWS_PER_LIST; k++) {
            const float *row = rows + members[(i + k * (n / GX_FAISS_ROWS_PER_LIST)) % n].row * dim;
            float factor = next_random(random) % 2 == 0 ? scale : -scale;
            for (size_t j = 0; j < dim; j++)
                out[j] += factor * (row[j] - mean[j]);
        }
    }
}

static void mix(const struct gx_faiss_form *form, uint64_t seed, const float *rows, struct member *members, uint64_t n,
                float *mean, uint64_t n_out, float *out)
{
    size_t dim = form->index_dim;
    uint64_t n_kept = 0, random = seed;
    for (uint64_t at = 0, begin = 0; at < n; begin = at) {
        while (at < n && members[at].list == members[begin].list)
            at++;
        uint64_t n_distinct = keep_distinct(members + begin, at - begin);
        if (n_distinct < GX_FAISS_ROWS_PER_LIST)
            continue;
        memmove(members + n_kept, members + begin, n_distinct * sizeof(*members));
        n_kept += n_distinct;
    }
    for (uint64_t at = 0, begin = 0; at < n_kept; begin = at) {
        while (at < n_kept && members[at].list == members[begin].list)
            at++;
        uint64_t from = n_out * begin / n_kept, until = n_out * at / n_kept;
        mix_list(rows, dim, members + begin, at - begin, &random, mean, until - from, out + from * dim);
    }
    for (uint64_t i = 0; n_kept == 0 && i < n_out * dim; i++) /* all rows are copies of a few: any codes do */
        out[i] = ((float)next_random(&random) / (float)(1u << 30) - 1) / sqrtf((float)dim);
}

enum gx_status gx_engine_faiss_train_mixtures(const struct gx_faiss_form *form, uint64_t seed, const float *centroids,
                                              const float *rows, uint64_t n, float **out, uint64_t *out_n,
                                              struct gx_err *err)
{
    size_t dim = form->index_dim;
    uint64_t n_codes = form->code == GX_FAISS_CODE_PQ ? 256 : 16;
    uint64_t n_out = GX_MAX(gx_engine_faiss_form_quiet_rows(form), GX_MIN(n, n_codes * ROWS_PER_CODE_MAX));
    struct member *members = malloc(n * sizeof(*members));
    float *mean = malloc(dim * sizeof(*mean)), *mixtures = malloc(n_out * dim * sizeof(*mixtures));
    FaissIndex *assigner = NULL;
    enum gx_status status = GX_OK;
    if (members == NULL || mean == NULL || mixtures == NULL)
        status = gx_fail(err, GX_E_NOMEM, "no memory for a training sample");
    else if (faiss_index_factory(&assigner, (int)dim, "Flat", METRIC_INNER_PRODUCT) != 0)
        status = gx_engine_faiss_fail(err, GX_E_INTERNAL, "train the codes");
    else
        status = assign(form, assigner, centroids, rows, n, members, err);
    if (status == GX_OK) {
        mix(form, seed, rows, members, n, mean, n_out, mixtures);
        *out = mixtures;
        *out_n = n_out;
        mixtures = NULL;
    }
    if (assigner != NULL)
        faiss_Index_free(assigner);
    if (mean != NULL)
        explicit_bzero(mean, dim * sizeof(*mean));
    free(members);
    free(mean);
    free(mixtures);
    return status;
}
