/* The engines of FAISS 1.7.3, through its C API. This file and engine_faiss_train.c are its only users.
 *
 * The path of a search: map the effort to a knob → rotate the probe (OPQ forms) → IVF: find the lists with the coarse
 * quantiser ourselves and search exactly those; other forms: search with the index's own knob → drop padding.
 *
 * What can go wrong, and what we do about it:
 * - The C API has no per-search parameters. IVF: the coarse step is ours, the index's nprobe stays at nlist for ever
 *   and unused places are padded with -1. HNSW, fast scan and graphs of centroids: the knob is a field of the shared
 *   index, so searches that want different values take turns (engine_faiss_gate).
 * - Fast scan: search_preassigned reads a null pointer, remove_ids ends the process. Neither is called for it.
 * - An untrained index answers a search as if it were empty: we keep count of that ourselves.
 * - An exception inside an add leaves a half-filled index: it is marked broken, and everything afterwards is refused.
 * - Removed entries stay behind the end of FAISS's arrays until something overwrites them: scrub does.
 * - The rotation of OPQ forms can't be reached inside FAISS's pre-transform, so it is a matrix of ours.
 * - FAISS's reader trusts lengths in a file: the file has a head of ours that is checked first.
 * - Memory that runs out inside one of FAISS's parallel regions ends the process: no catch reaches there. */
#include "engine.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <faiss/c_api/AutoTune_c.h>
#include <faiss/c_api/IndexFlat_c.h>
#include <faiss/c_api/IndexIVFFlat_c.h>
#include <faiss/c_api/IndexIVF_c.h>
#include <faiss/c_api/IndexScalarQuantizer_c.h>
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/MetaIndexes_c.h>
#include <faiss/c_api/error_c.h>
#include <faiss/c_api/impl/AuxIndexStructures_c.h>
#include <faiss/c_api/index_factory_c.h>
#include <faiss/c_api/index_io_c.h>
#include <faiss/c_api/utils/distances_c.h>

#include "engine_faiss_gate.h"
#include "engine_faiss_head.h"
#include "engine_faiss_train.h"

#define FAISS_PREFIX_LEN 6               /* "faiss:" */
#define FILLER_RNO       (INT64_MAX - 1) /* under which scrub adds and removes; no row has it */
#define COARSE_EF_MIN    64
#define BLOCK_ROWS       4096 /* rotated, or written over, at a time */

/* From OpenMP and OpenBLAS, whose headers are not installed with every compiler. */
void omp_set_num_threads(int n);
void openblas_set_num_threads(int n);

struct faiss_engine {
    struct gx_engine base;
    struct gx_faiss_form form;
    uint64_t seed;
    FaissIndex *index;  /* owned */
    FaissIndexIVF *ivf; /* index as an IVF, or NULL */
    FaissParameterSpace *knobs;
    float *rotation; /* [index_dim][dim], or NULL */
    bool trained, broken;
    struct gx_faiss_gate gate;
};

static const struct gx_engine_ops faiss_ops;

static struct faiss_engine *of(struct gx_engine *engine)
{
    return (struct faiss_engine *)(void *)engine;
}

/* FAISS's exception as an error of ours. Its text is "Error in FUNCTION at FILE:LINE: what". */
enum gx_status gx_engine_faiss_fail(struct gx_err *err, enum gx_status status, const char *what)
{
    const char *text = faiss_get_last_error();
    if (text == NULL)
        text = "no reason given";
    if (strstr(text, "bad_alloc") != NULL)
        return gx_fail(err, GX_E_NOMEM, "%s: no memory", what);
    const char *place = strstr(text, " at "), *reason = place == NULL ? NULL : strstr(place, ": ");
    return gx_fail(err, status, "%s: FAISS says: %.120s", what, reason == NULL ? text : reason + 2);
}

static pthread_once_t blas_once = PTHREAD_ONCE_INIT;

/* FAISS makes a block of zeros for each search while it trains. Of its default size, 16 MB, the making is most of the
 * time that product quantisers take; half a megabyte stays in the allocator and in the processor's cache. */
static void set_up_blas(void)
{
    openblas_set_num_threads(1);
    faiss_set_distance_compute_blas_query_bs(512);
    faiss_set_distance_compute_blas_database_bs(256);
}

void gx_engine_faiss_thread_begin(void)
{
    pthread_once(&blas_once, set_up_blas);
    omp_set_num_threads(1);
}

/* --- birth and death --- */

enum gx_status gx_engine_faiss_parse(const char *factory, size_t dim, struct gx_engine_spec *out, struct gx_err *err)
{
    struct gx_faiss_form form;
    GX_TRY(gx_engine_faiss_form_parse(factory, dim, &form, err));
    gx_engine_faiss_form_fill(&form, out);
    out->kind = GX_ENGINE_FAISS;
    return GX_OK;
}

static void faiss_free(struct gx_engine *engine)
{
    struct faiss_engine *f = of(engine);
    faiss_Index_free(f->index);
    faiss_ParameterSpace_free(f->knobs);
    free(f->rotation);
    gx_engine_faiss_gate_fini(&f->gate);
    free(f);
}

/* An engine without an index. */
static enum gx_status new_engine(const struct gx_engine_spec *spec, size_t dim, struct faiss_engine **out,
                                 struct gx_err *err)
{
    struct gx_faiss_form form;
    GX_TRY(gx_engine_faiss_form_parse(spec->text + FAISS_PREFIX_LEN, dim, &form, err));
    struct faiss_engine *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for an engine");
    f->base = (struct gx_engine){.ops = &faiss_ops, .spec = *spec, .dim = dim};
    f->form = form;
    gx_engine_faiss_gate_init(&f->gate);
    if (faiss_ParameterSpace_new(&f->knobs) != 0) {
        faiss_free(&f->base);
        return gx_engine_faiss_fail(err, GX_E_INTERNAL, "make an engine");
    }
    *out = f;
    return GX_OK;
}

/* How far a graph of centroids is searched for @nprobe lists: FAISS stops short of the number asked for when its
 * efSearch is smaller. Few different values, so that searches seldom have to take turns. */
static uint32_t coarse_ef(uint32_t nprobe)
{
    uint32_t ef = COARSE_EF_MIN;
    while (ef < 2 * nprobe)
        ef *= 2;
    return ef;
}

/* Fast scan: nprobe; else efSearch, of the index or (IVF) of its graph of centroids. */
static enum gx_status set_knob(void *engine, uint32_t knob, struct gx_err *err)
{
    struct faiss_engine *f = engine;
    uint32_t ef = knob;
    if (f->form.code == GX_FAISS_CODE_FS) {
        faiss_IndexIVF_set_nprobe(f->ivf, knob);
        if (f->form.coarse_m == 0)
            return GX_OK;
        ef = coarse_ef(knob);
    }
    if (faiss_ParameterSpace_set_index_parameter(f->knobs, f->index, "efSearch", ef) != 0)
        return gx_engine_faiss_fail(err, GX_E_INTERNAL, "set the effort");
    return GX_OK;
}

/* Searched with lists that we chose: every IVF but fast scan. */
static bool is_preassigned(const struct faiss_engine *f)
{
    return f->ivf != NULL && f->form.code != GX_FAISS_CODE_FS;
}

/* Checks that f->index is what the form says, whoever made it, and gets it ready. */
static bool adopt(struct faiss_engine *f)
{
    FaissIndex *index = f->index;
    if ((uint32_t)faiss_Index_d(index) != f->form.index_dim || faiss_Index_metric_type(index) != METRIC_INNER_PRODUCT)
        return false;
    if (f->form.family != GX_FAISS_IVF) {
        FaissIndexIDMap *map = faiss_IndexIDMap_cast(index);
        if (map == NULL)
            return false;
        FaissIndex *inner = faiss_IndexIDMap_sub_index(map);
        if ((uint32_t)faiss_Index_d(inner) != f->form.index_dim ||
            faiss_Index_ntotal(inner) != faiss_Index_ntotal(index))
            return false;
        if (f->form.family == GX_FAISS_FLAT)
            return faiss_IndexFlat_cast(inner) != NULL;
        return faiss_IndexIVF_cast(inner) == NULL && set_knob(f, COARSE_EF_MIN, NULL) == GX_OK;
    }
    f->ivf = faiss_IndexIVF_cast(index);
    bool is_flat = faiss_IndexIVFFlat_cast(index) != NULL, is_sq = faiss_IndexIVFScalarQuantizer_cast(index) != NULL;
    enum gx_faiss_code code = f->form.code;
    if (f->ivf == NULL || faiss_IndexIVF_nlist(f->ivf) != f->form.nlist || is_flat != (code == GX_FAISS_CODE_FLAT) ||
        is_sq != (code == GX_FAISS_CODE_SQ8 || code == GX_FAISS_CODE_SQFP16))
        return false;
    FaissIndex *quantizer = faiss_IndexIVF_quantizer(f->ivf);
    if ((uint32_t)faiss_Index_d(quantizer) != f->form.index_dim ||
        (f->trained && faiss_Index_ntotal(quantizer) != f->form.nlist))
        return false;
    faiss_IndexIVF_set_nprobe(f->ivf, is_preassigned(f) ? f->form.nlist : 1);
    return f->form.coarse_m == 0 ? faiss_IndexFlat_cast(quantizer) != NULL : set_knob(f, COARSE_EF_MIN, NULL) == GX_OK;
}

enum gx_status gx_engine_faiss_new(const struct gx_engine_spec *spec, size_t dim, uint64_t seed, struct gx_engine **out,
                                   struct gx_err *err)
{
    struct faiss_engine *f;
    char factory[GX_FAISS_FACTORY_MAX];
    *out = NULL;
    GX_TRY(new_engine(spec, dim, &f, err));
    f->seed = seed;
    f->trained = spec->train_max == 0;
    gx_engine_faiss_form_factory(&f->form, factory);
    enum gx_status status = GX_OK;
    if (faiss_index_factory(&f->index, (int)f->form.index_dim, factory, METRIC_INNER_PRODUCT) != 0)
        status = gx_engine_faiss_fail(err, GX_E_INTERNAL, "make a FAISS index");
    else if (!adopt(f))
        status = gx_fail(err, GX_E_INTERNAL, "FAISS made another index for %s: check its version", spec->text);
    if (status != GX_OK)
        faiss_free(&f->base);
    else
        *out = &f->base;
    return status;
}

static enum gx_status check_usable(const struct faiss_engine *f, struct gx_err *err)
{
    if (f->broken)
        return gx_fail(err, GX_E_STATE, "engine %s was left half-filled: rebuild it", f->base.spec.text);
    if (!f->trained)
        return gx_fail(err, GX_E_STATE, "engine %s is not trained", f->base.spec.text);
    return GX_OK;
}

static void wipe_free(float *p, size_t n)
{
    if (p != NULL)
        explicit_bzero(p, n * sizeof(*p));
    free(p);
}

/* --- training --- */

/* k-means of ours, because FAISS's own has a fixed seed and prints warnings, and leaves rows among the centroids. Its
 * train finds the lists in place and goes on from there: @out_mixed, for codebooks, is what to train those on, or NULL.
 */
static enum gx_status train_lists(struct faiss_engine *f, const float *rows, uint64_t n, float **out_mixed,
                                  uint64_t *out_n_mixed, struct gx_err *err)
{
    size_t n_floats = (size_t)f->form.nlist * f->form.index_dim;
    float *centroids = malloc(n_floats * sizeof(float));
    if (centroids == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to train the lists");
    enum gx_status status = gx_engine_faiss_train_centroids(&f->form, f->seed, rows, n, centroids, err);
    if (status == GX_OK && faiss_Index_add(faiss_IndexIVF_quantizer(f->ivf), f->form.nlist, centroids) != 0)
        status = gx_engine_faiss_fail(err, GX_E_INTERNAL, "train the lists");
    if (status == GX_OK && (f->form.code == GX_FAISS_CODE_PQ || f->form.code == GX_FAISS_CODE_FS))
        status = gx_engine_faiss_train_mixtures(&f->form, f->seed, centroids, rows, n, out_mixed, out_n_mixed, err);
    wipe_free(centroids, n_floats);
    return status;
}

static enum gx_status faiss_train(struct gx_engine *engine, const float *rows, uint64_t n, struct gx_err *err)
{
    struct faiss_engine *f = of(engine);
    if (f->trained || f->broken)
        return gx_fail(err, GX_E_STATE, "engine %s is trained already: make a new one", engine->spec.text);
    float *mixed = NULL, *rotated = NULL;
    uint64_t n_mixed = 0;
    enum gx_status status = GX_OK;
    f->broken = true; /* unless everything below succeeds */
    if (f->form.opq_m != 0) {
        f->rotation = malloc((size_t)f->form.dim * f->form.index_dim * sizeof(float));
        rotated = malloc(n * f->form.index_dim * sizeof(float));
        if (f->rotation == NULL || rotated == NULL) {
            status = gx_fail(err, GX_E_NOMEM, "no memory for a training sample");
            goto out;
        }
        GX_TRY_OUT(gx_engine_faiss_train_rotation(&f->form, rows, n, f->rotation, err));
        gx_engine_faiss_form_rotate(&f->form, f->rotation, rows, n, rotated);
        rows = rotated;
    }
    if (f->ivf != NULL)
        GX_TRY_OUT(train_lists(f, rows, n, &mixed, &n_mixed, err));
    if (faiss_Index_train(f->index, (idx_t)(mixed != NULL ? n_mixed : n), mixed != NULL ? mixed : rows) != 0)
        status = gx_engine_faiss_fail(err, GX_E_INTERNAL, "train the index");
    else
        f->trained = true;
    f->broken = !f->trained;
out:
    wipe_free(mixed, n_mixed * f->form.index_dim);
    wipe_free(rotated, rotated == NULL ? 0 : n * f->form.index_dim);
    return status;
}

/* --- add and remove --- */

/* A graph of centroids was left as thorough as the last search: rows are to be assigned alike, and not a hundred times
 * slower after a search of full effort. */
static enum gx_status assign_well(struct faiss_engine *f, struct gx_err *err)
{
    if (f->form.coarse_m == 0)
        return GX_OK;
    gx_engine_faiss_gate_forget(&f->gate);
    return set_knob(f, COARSE_EF_MIN, err);
}

static enum gx_status add_block(struct faiss_engine *f, const uint64_t *rnos, const float *rows, size_t n,
                                struct gx_err *err)
{
    if (faiss_Index_add_with_ids(f->index, (idx_t)n, rows, (const idx_t *)(const void *)rnos) == 0)
        return GX_OK;
    f->broken = true;
    return gx_engine_faiss_fail(err, GX_E_INTERNAL, "add rows to the index");
}

static enum gx_status faiss_add(struct gx_engine *engine, const uint64_t *rnos, const float *rows, size_t n,
                                struct gx_err *err)
{
    struct faiss_engine *f = of(engine);
    GX_TRY(check_usable(f, err));
    GX_TRY(assign_well(f, err));
    for (size_t i = 0; i < n; i++)
        if (rnos[i] >= (uint64_t)FILLER_RNO)
            return gx_fail(err, GX_E_INVALID, "a row number is out of range");
    if (f->rotation == NULL)
        return add_block(f, rnos, rows, n, err);
    size_t n_floats = GX_MIN(n, (size_t)BLOCK_ROWS) * f->form.index_dim;
    float *rotated = malloc(n_floats * sizeof(float));
    if (rotated == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to add rows");
    enum gx_status status = GX_OK;
    for (size_t i = 0; i < n && status == GX_OK; i += BLOCK_ROWS) {
        size_t n_now = GX_MIN(n - i, (size_t)BLOCK_ROWS);
        gx_engine_faiss_form_rotate(&f->form, f->rotation, rows + i * f->form.dim, n_now, rotated);
        status = add_block(f, rnos + i, rotated, n_now, err);
    }
    wipe_free(rotated, n_floats);
    return status;
}

static enum gx_status remove_selected(struct faiss_engine *f, FaissIDSelector *selector, size_t *out_removed,
                                      struct gx_err *err)
{
    int rc = faiss_Index_remove_ids(f->index, selector, out_removed);
    faiss_IDSelector_free(selector);
    if (rc == 0)
        return GX_OK;
    f->broken = true;
    return gx_engine_faiss_fail(err, GX_E_INTERNAL, "remove rows from the index");
}

/* Adds a zero row to the end of each of @lists[n]. For PQ the C API offers no choice of the list: the list's own
 * centroid, as a row, goes there. */
static enum gx_status add_filler(struct faiss_engine *f, const idx_t *lists, size_t n, struct gx_err *err)
{
    size_t dim = f->form.index_dim;
    float *rows = calloc(n * dim, sizeof(float));
    idx_t *ids = malloc(n * sizeof(*ids));
    int rc = rows == NULL || ids == NULL ? -1 : 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        ids[i] = FILLER_RNO;
        if (f->form.code == GX_FAISS_CODE_PQ)
            rc = faiss_Index_reconstruct(faiss_IndexIVF_quantizer(f->ivf), lists[i], rows + i * dim);
    }
    if (rc == 0 && (f->ivf == NULL || f->form.code == GX_FAISS_CODE_PQ))
        rc = faiss_Index_add_with_ids(f->index, (idx_t)n, rows, ids);
    else if (rc == 0 && f->form.code == GX_FAISS_CODE_FLAT)
        rc = faiss_IndexIVFFlat_add_core(f->ivf, (idx_t)n, rows, ids, lists);
    else if (rc == 0)
        rc = faiss_IndexIVFScalarQuantizer_add_core(f->ivf, (idx_t)n, rows, ids, lists);
    free(rows);
    free(ids);
    f->broken |= rc != 0;
    return rc == 0 ? GX_OK : gx_fail(err, GX_E_NOMEM, "no memory to overwrite removed rows");
}

/* FAISS moves an array's last entries over the removed ones and shortens it: the bytes behind the new end stay. Entries
 * added there overwrite them, and are removed again. (What its vectors left in freed memory when they grew can't be
 * reached.) @lens: of the lists before @n rows were removed. */
static enum gx_status scrub(struct faiss_engine *f, const size_t *lens, size_t n, struct gx_err *err)
{
    idx_t *shrunk = calloc(n, sizeof(*shrunk)); /* each as often as it lost a row */
    if (shrunk == NULL) {
        f->broken = true;
        return gx_fail(err, GX_E_NOMEM, "no memory to overwrite removed rows");
    }
    for (size_t list = 0, at = 0; lens != NULL && list < f->form.nlist; list++)
        for (size_t len = faiss_IndexIVF_get_list_size(f->ivf, list); len < lens[list] && at < n; len++)
            shrunk[at++] = (idx_t)list;
    enum gx_status status = GX_OK;
    for (size_t i = 0; i < n && status == GX_OK; i += BLOCK_ROWS)
        status = add_filler(f, shrunk + i, GX_MIN(n - i, (size_t)BLOCK_ROWS), err);
    free(shrunk);
    FaissIDSelectorRange *selector = NULL;
    size_t n_filler;
    if (status != GX_OK)
        return status; /* broken: rebuilt anyway */
    if (faiss_IDSelectorRange_new(&selector, FILLER_RNO, FILLER_RNO + 1) == 0)
        return remove_selected(f, (FaissIDSelector *)selector, &n_filler, err);
    f->broken = true;
    return gx_engine_faiss_fail(err, GX_E_INTERNAL, "remove rows from the index");
}

static enum gx_status faiss_remove(struct gx_engine *engine, const uint64_t *rnos, size_t n, size_t *out_removed,
                                   struct gx_err *err)
{
    struct faiss_engine *f = of(engine);
    if (!f->trained && !f->broken)
        return GX_OK; /* holds nothing */
    GX_TRY(check_usable(f, err));
    size_t *lens = NULL;
    if (f->ivf != NULL) {
        lens = malloc(f->form.nlist * sizeof(*lens));
        if (lens == NULL)
            return gx_fail(err, GX_E_NOMEM, "no memory to remove rows");
        for (size_t list = 0; list < f->form.nlist; list++)
            lens[list] = faiss_IndexIVF_get_list_size(f->ivf, list);
    }
    FaissIDSelectorBatch *selector = NULL;
    enum gx_status status;
    if (faiss_IDSelectorBatch_new(&selector, n, (const idx_t *)(const void *)rnos) != 0)
        status = gx_engine_faiss_fail(err, GX_E_INTERNAL, "remove rows from the index");
    else
        status = remove_selected(f, (FaissIDSelector *)selector, out_removed, err);
    if (status == GX_OK && *out_removed > 0)
        status = assign_well(f, err);
    if (status == GX_OK && *out_removed > 0)
        status = scrub(f, lens, *out_removed, err);
    free(lens);
    return status;
}

/* --- search --- */

/* What one search works in; one allocation. */
struct work {
    idx_t *labels, *lists;             /* [k], [nlist] */
    float *scores, *closeness, *probe; /* [k], [nlist], [index_dim] rotated */
    void *memory;
};

static enum gx_status get_work(const struct faiss_engine *f, size_t k, struct work *out, struct gx_err *err)
{
    size_t n_lists = is_preassigned(f) ? f->form.nlist : 0;
    out->memory = malloc((k + n_lists) * (sizeof(idx_t) + sizeof(float)) + f->form.index_dim * sizeof(float));
    if (out->memory == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to search");
    out->labels = out->memory;
    out->lists = out->labels + k;
    out->scores = (float *)(void *)(out->lists + n_lists);
    out->probe = out->scores + k;
    out->closeness = out->probe + f->form.index_dim;
    return GX_OK;
}

static enum gx_status search_lists(struct faiss_engine *f, const float *probe, uint32_t nprobe, size_t k,
                                   struct work *work, uint64_t *out_scanned, struct gx_err *err)
{
    size_t nlist = f->form.nlist;
    bool by_graph = f->form.coarse_m != 0;
    if (by_graph)
        GX_TRY(gx_engine_faiss_gate_enter(&f->gate, coarse_ef(nprobe), set_knob, f, err));
    int rc = faiss_Index_search(faiss_IndexIVF_quantizer(f->ivf), 1, probe, nprobe, work->closeness, work->lists);
    if (by_graph)
        gx_engine_faiss_gate_leave(&f->gate);
    if (rc != 0)
        return gx_engine_faiss_fail(err, GX_E_INTERNAL, "find the lists to search");
    memset(work->lists + nprobe, 0xff, (nlist - nprobe) * sizeof(*work->lists)); /* -1 = none */
    for (size_t i = 0; i < nprobe; i++)
        if (work->lists[i] >= 0)
            *out_scanned += faiss_IndexIVF_get_list_size(f->ivf, (size_t)work->lists[i]);
    if (faiss_IndexIVF_search_preassigned(f->ivf, 1, probe, (idx_t)k, work->lists, work->closeness, work->scores,
                                          work->labels, 0) != 0)
        return gx_engine_faiss_fail(err, GX_E_INTERNAL, "search the index");
    return GX_OK;
}

static enum gx_status search_whole(struct faiss_engine *f, const float *probe, uint32_t knob, size_t k,
                                   struct work *work, uint64_t *out_scanned, struct gx_err *err)
{
    if (knob != 0)
        GX_TRY(gx_engine_faiss_gate_enter(&f->gate, knob, set_knob, f, err));
    enum gx_status status = GX_OK;
    if (faiss_Index_search(f->index, 1, probe, (idx_t)k, work->scores, work->labels) != 0)
        status = gx_engine_faiss_fail(err, GX_E_INTERNAL, "search the index");
    if (knob != 0)
        gx_engine_faiss_gate_leave(&f->gate);
    uint64_t entries = (uint64_t)faiss_Index_ntotal(f->index);
    if (f->form.family == GX_FAISS_FLAT)
        *out_scanned = entries;
    else if (f->form.family == GX_FAISS_HNSW)
        *out_scanned = GX_MIN(entries, (uint64_t)knob); /* at least: FAISS doesn't say */
    else
        *out_scanned = entries * knob / f->form.nlist; /* on average: FAISS doesn't say */
    return status;
}

static enum gx_status faiss_search(struct gx_engine *engine, const struct gx_engine_ask *ask, struct gx_arena *arena,
                                   struct gx_engine_answer *answer, struct gx_err *err)
{
    struct faiss_engine *f = of(engine);
    const float *probe = ask->probes[0];
    size_t k = GX_MIN(ask->n_wanted, (size_t)faiss_Index_ntotal(f->index));
    uint32_t knob;
    GX_TRY(gx_engine_faiss_form_knob(&f->form, &ask->effort, k, &knob, &answer->effort, err));
    GX_TRY(check_usable(f, err));
    if (k == 0)
        return GX_OK;
    struct work work = {0};
    GX_TRY(gx_arena_array(arena, k, sizeof(*answer->hits), &answer->hits, err));
    GX_TRY(get_work(f, k, &work, err));
    if (f->rotation != NULL) {
        gx_engine_faiss_form_rotate(&f->form, f->rotation, probe, 1, work.probe);
        probe = work.probe;
    }
    enum gx_status status = is_preassigned(f) ? search_lists(f, probe, knob, k, &work, &answer->scanned, err)
                                              : search_whole(f, probe, knob, k, &work, &answer->scanned, err);
    for (size_t i = 0; i < k && status == GX_OK; i++)
        if (work.labels[i] >= 0)
            answer->hits[answer->n++] =
                (struct gx_engine_hit){(uint64_t)work.labels[i], GX_ENGINE_NO_SLOT, work.scores[i]};
    if (f->rotation != NULL)
        explicit_bzero(work.probe, f->form.index_dim * sizeof(float));
    free(work.memory);
    return status;
}

/* --- file --- */

static enum gx_status write_file(struct faiss_engine *f, FILE *file, struct gx_err *err)
{
    struct gx_faiss_head head = {
        .text = f->base.spec.text, .form = &f->form, .entries = (uint64_t)faiss_Index_ntotal(f->index)};
    GX_TRY(gx_engine_faiss_head_write(file, &head, f->rotation, err));
    off_t before = ftello(file);
    errno = 0;
    if (faiss_write_index(f->index, file) != 0)
        return errno != 0 ? gx_err_errno(err, errno, "write the index")
                          : gx_engine_faiss_fail(err, GX_E_IO, "write the index");
    head.payload_len = (uint64_t)(ftello(file) - before);
    GX_TRY(gx_engine_faiss_head_write(file, &head, NULL, err));
    return fflush(file) == 0 ? GX_OK : gx_err_errno(err, errno, "write the index");
}

static enum gx_status faiss_save(struct gx_engine *engine, const char *path, struct gx_err *err)
{
    struct faiss_engine *f = of(engine);
    GX_TRY(check_usable(f, err));
    FILE *file;
    GX_TRY(gx_engine_faiss_head_create(path, &file, err));
    enum gx_status status = write_file(f, file, err);
    if (fclose(file) != 0 && status == GX_OK)
        status = gx_err_errno(err, errno, "write '%s'", path);
    return status;
}

static enum gx_status read_file(struct faiss_engine *f, FILE *file, struct gx_err *err)
{
    struct gx_faiss_head head = {.text = f->base.spec.text, .form = &f->form};
    GX_TRY(gx_engine_faiss_head_read(file, &head, &f->rotation, err));
    off_t before = ftello(file);
    if (faiss_read_index(file, 0, &f->index) != 0)
        return gx_engine_faiss_fail(err, GX_E_CORRUPT, "read the saved index");
    f->trained = true;
    if ((uint64_t)(ftello(file) - before) != head.payload_len || !faiss_Index_is_trained(f->index) ||
        (uint64_t)faiss_Index_ntotal(f->index) != head.entries || !adopt(f))
        return gx_fail(err, GX_E_CORRUPT, "the saved index is not what it says: rebuild it");
    return GX_OK;
}

enum gx_status gx_engine_faiss_load(const struct gx_engine_spec *spec, size_t dim, const char *path,
                                    struct gx_engine **out, struct gx_err *err)
{
    struct faiss_engine *f;
    *out = NULL;
    FILE *file = fopen(path, "rbe");
    if (file == NULL)
        return gx_err_errno(err, errno, "open '%s'", path);
    enum gx_status status = new_engine(spec, dim, &f, err);
    if (status == GX_OK) {
        status = read_file(f, file, err);
        if (status == GX_OK)
            *out = &f->base;
        else
            faiss_free(&f->base);
    }
    fclose(file);
    return status;
}

static void faiss_stats(const struct gx_engine *engine, struct gx_engine_stats *out)
{
    const struct faiss_engine *f = (const struct faiss_engine *)(const void *)engine;
    out->entries = (uint64_t)faiss_Index_ntotal(f->index);
    out->index_bytes = gx_engine_faiss_form_bytes(&f->form, out->entries);
}

static const struct gx_engine_ops faiss_ops = {
    .train = faiss_train,
    .add = faiss_add,
    .remove = faiss_remove,
    .search = faiss_search,
    .save = faiss_save,
    .stats = faiss_stats,
    .free = faiss_free,
};
