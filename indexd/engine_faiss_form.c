#include "engine_faiss_form.h"

#include <math.h>
#include <stdio.h>

#include "simd.h"

#define NLIST_MAX      1048576u
#define LINKS_MIN      4u
#define LINKS_MAX      128u
#define EFFORT_DEFAULT 0.5f
#define EF_MIN         32.0
#define EF_SPAN        64.0  /* ef at effort 1 is EF_MIN x EF_SPAN */
#define EF_MAX         65536 /* asked for by number */

#define PQ_CENTROIDS      256 /* PQm: a byte a part */
#define FS_CENTROIDS      16  /* PQmx4fs: half a byte */
#define ROWS_PER_CODE     4   /* fewer train nothing useful */
#define FAISS_WARNS_BELOW 39  /* rows per centroid */
#define SQ_ROWS_MIN       64  /* a scalar quantiser learns the range of each dimension */
#define SAMPLE_PER_LIST   64
#define SAMPLE_LISTS_MAX  ((uint64_t)1 << 20) /* rows; 2 GB at 512 dimensions */
#define SAMPLE_QUANTISER  65536               /* rows of which FAISS itself uses no more */
#define SAMPLE_FS         16384

static bool take(const char **p, const char *word)
{
    size_t len = strlen(word);
    if (strncmp(*p, word, len) != 0)
        return false;
    *p += len;
    return true;
}

/* A decimal number without leading zeros, at most 7 digits. */
static bool take_number(const char **p, uint32_t *out)
{
    const char *digit = *p;
    uint32_t n = 0;
    while (*digit >= '0' && *digit <= '9' && digit - *p < 8)
        n = n * 10 + (uint32_t)(*digit++ - '0');
    if (digit == *p || digit - *p > 7 || **p == '0')
        return false;
    *p = digit;
    *out = n;
    return true;
}

static bool take_code(const char **p, struct gx_faiss_form *form)
{
    if (take(p, "Flat")) {
        form->code = GX_FAISS_CODE_FLAT;
        return true;
    }
    if (take(p, "SQ8")) {
        form->code = GX_FAISS_CODE_SQ8;
        return true;
    }
    if (form->family == GX_FAISS_HNSW)
        return false;
    if (take(p, "SQfp16")) {
        form->code = GX_FAISS_CODE_SQFP16;
        return true;
    }
    if (!take(p, "PQ") || !take_number(p, &form->pq_m))
        return false;
    form->code = take(p, "x4fs") ? GX_FAISS_CODE_FS : GX_FAISS_CODE_PQ;
    return true;
}

/* The grammar alone. */
static bool read_form(const char *p, struct gx_faiss_form *form)
{
    if (take(&p, "OPQ")) {
        if (!take_number(&p, &form->opq_m) || (take(&p, "_") && !take_number(&p, &form->index_dim)) || !take(&p, ","))
            return false;
    }
    if (take(&p, "IVF")) {
        form->family = GX_FAISS_IVF;
        if (!take_number(&p, &form->nlist) || (take(&p, "_HNSW") && !take_number(&p, &form->coarse_m)))
            return false;
        return take(&p, ",") && take_code(&p, form) && *p == '\0';
    }
    if (take(&p, "HNSW")) {
        form->family = GX_FAISS_HNSW;
        return take_number(&p, &form->hnsw_m) && take(&p, ",") && take_code(&p, form) && *p == '\0';
    }
    form->family = GX_FAISS_FLAT;
    return take(&p, "Flat") && *p == '\0';
}

enum gx_status gx_engine_faiss_form_parse(const char *factory, size_t dim, struct gx_faiss_form *out,
                                          struct gx_err *err)
{
    struct gx_faiss_form form = {.dim = (uint32_t)dim, .index_dim = (uint32_t)dim};
    *out = (struct gx_faiss_form){0};
    if (dim < GX_DIM_MIN || dim > GX_DIM_MAX)
        return gx_fail(err, GX_E_INVALID, "dimension %zu: must be %d to %d", dim, GX_DIM_MIN, GX_DIM_MAX);
    if (!read_form(factory, &form))
        return gx_fail(err, GX_E_INVALID, "not a supported FAISS form; use " GX_ENGINE_FAISS_FORMS);
    if (form.opq_m != 0 && (form.index_dim < GX_DIM_MIN || form.index_dim > dim || form.index_dim % form.opq_m != 0))
        return gx_fail(err, GX_E_INVALID, "OPQ%u_%u: needs %d to %zu dimensions that %u divides", form.opq_m,
                       form.index_dim, GX_DIM_MIN, dim, form.opq_m);
    if (form.family == GX_FAISS_IVF && form.nlist > NLIST_MAX)
        return gx_fail(err, GX_E_INVALID, "IVF%u: must be 1 to %u lists", form.nlist, NLIST_MAX);
    uint32_t links = form.family == GX_FAISS_HNSW ? form.hnsw_m : form.coarse_m;
    if (links != 0 && (links < LINKS_MIN || links > LINKS_MAX))
        return gx_fail(err, GX_E_INVALID, "HNSW%u: must be %u to %u links", links, LINKS_MIN, LINKS_MAX);
    if (form.pq_m != 0 && form.index_dim % form.pq_m != 0)
        return gx_fail(err, GX_E_INVALID, "PQ%u: must divide the dimension %u", form.pq_m, form.index_dim);
    *out = form;
    return GX_OK;
}

static bool quantises_parts(const struct gx_faiss_form *form)
{
    return form->code == GX_FAISS_CODE_PQ || form->code == GX_FAISS_CODE_FS;
}

static uint64_t part_centroids(const struct gx_faiss_form *form)
{
    if (form->opq_m != 0 || form->code == GX_FAISS_CODE_PQ)
        return PQ_CENTROIDS; /* the rotation is always trained with bytes */
    return form->code == GX_FAISS_CODE_FS ? FS_CENTROIDS : 0;
}

uint64_t gx_engine_faiss_form_quiet_rows(const struct gx_faiss_form *form)
{
    return part_centroids(form) * FAISS_WARNS_BELOW;
}

void gx_engine_faiss_form_fill(const struct gx_faiss_form *form, struct gx_engine_spec *out)
{
    out->indexes = true;
    /* FAISS: an HNSW refuses to remove, a fast scan kills the process. */
    out->removes = form->family != GX_FAISS_HNSW && form->code != GX_FAISS_CODE_FS;
    out->saves = true;
    out->nlist = form->nlist;
    out->hnsw_m = form->hnsw_m;

    uint64_t min = GX_MAX((uint64_t)form->nlist * GX_FAISS_ROWS_PER_LIST, part_centroids(form) * ROWS_PER_CODE);
    uint64_t lists = (uint64_t)form->nlist * SAMPLE_PER_LIST;
    uint64_t max = GX_MAX(GX_MIN(lists, SAMPLE_LISTS_MAX), min);
    if (form->code == GX_FAISS_CODE_SQ8) {
        min = GX_MAX(min, (uint64_t)SQ_ROWS_MIN);
        max = GX_MAX(max, (uint64_t)SAMPLE_QUANTISER);
    }
    if (part_centroids(form) == PQ_CENTROIDS)
        max = GX_MAX(max, (uint64_t)SAMPLE_QUANTISER);
    if (part_centroids(form) == FS_CENTROIDS)
        max = GX_MAX(max, (uint64_t)SAMPLE_FS);
    out->train_min = min;
    out->train_max = max;
    /* Product codes order the near ones badly: 500 rescored for 50 wanted (the others: 100 to 200) reach what the lists
     * hold. Codes of bytes are for memory first; more make up for their being trained on mixtures. */
    out->overfetch = form->code == GX_FAISS_CODE_PQ ? 16 : form->code == GX_FAISS_CODE_FS ? 10 : 4;
    out->candidates_min = 200;
}

void gx_engine_faiss_form_factory(const struct gx_faiss_form *form, char out[GX_FAISS_FACTORY_MAX])
{
    char code[24] = "Flat", coarse[16] = "";
    if (form->code == GX_FAISS_CODE_SQ8)
        snprintf(code, sizeof(code), "SQ8");
    if (form->code == GX_FAISS_CODE_SQFP16)
        snprintf(code, sizeof(code), "SQfp16");
    if (form->code == GX_FAISS_CODE_PQ) /* np: no training for polysemous search, which takes long and isn't used */
        snprintf(code, sizeof(code), "PQ%unp", form->pq_m);
    if (form->code == GX_FAISS_CODE_FS)
        snprintf(code, sizeof(code), "PQ%ux4fs", form->pq_m);
    if (form->coarse_m != 0)
        snprintf(coarse, sizeof(coarse), "_HNSW%u", form->coarse_m);
    switch (form->family) {
    case GX_FAISS_FLAT: snprintf(out, GX_FAISS_FACTORY_MAX, "IDMap,Flat"); break;
    case GX_FAISS_IVF: snprintf(out, GX_FAISS_FACTORY_MAX, "IVF%u%s,%s", form->nlist, coarse, code); break;
    case GX_FAISS_HNSW: snprintf(out, GX_FAISS_FACTORY_MAX, "IDMap,HNSW%u,%s", form->hnsw_m, code); break;
    }
}

static float clamp01(double x)
{
    return (float)GX_MAX(0.0, GX_MIN(1.0, x));
}

static uint32_t ivf_knob(const struct gx_faiss_form *form, const struct gx_engine_effort *asked, float *effort)
{
    double nlist = form->nlist;
    if (asked->nprobe == 0)
        return (uint32_t)GX_MAX(1.0, GX_MIN(nlist, round(pow(nlist, (1 + (double)*effort) / 2))));
    uint32_t nprobe = GX_MIN(asked->nprobe, form->nlist);
    *effort = form->nlist == 1 ? 1 : clamp01(2 * log(nprobe) / log(nlist) - 1);
    return nprobe;
}

static uint32_t hnsw_knob(const struct gx_engine_effort *asked, size_t n_wanted, float *effort)
{
    double ef = asked->ef_search != 0 ? GX_MIN(asked->ef_search, (uint32_t)EF_MAX)
                                      : round(EF_MIN * pow(EF_SPAN, (double)*effort));
    bool raised = ef < (double)n_wanted;
    if (raised)
        ef = (double)n_wanted;
    if (raised || asked->ef_search != 0)
        *effort = clamp01(log(ef / EF_MIN) / log(EF_SPAN));
    return (uint32_t)ef;
}

enum gx_status gx_engine_faiss_form_knob(const struct gx_faiss_form *form, const struct gx_engine_effort *effort,
                                         size_t n_wanted, uint32_t *out_knob, float *out_effort, struct gx_err *err)
{
    *out_knob = 0;
    *out_effort = 1;
    bool has_effort = effort->effort >= 0;
    if (isnan(effort->effort) || effort->effort > 1 || (effort->effort < 0 && effort->effort > -1))
        return gx_fail(err, GX_E_INVALID, "effort must be 0 to 1");
    if (has_effort + (effort->nprobe != 0) + (effort->ef_search != 0) > 1)
        return gx_fail(err, GX_E_INVALID, "give only one of effort, nprobe and ef_search");
    if (effort->nprobe != 0 && form->family != GX_FAISS_IVF)
        return gx_fail(err, GX_E_INVALID, "nprobe is for IVF engines: use effort%s",
                       form->family == GX_FAISS_HNSW ? " or ef_search" : "");
    if (effort->ef_search != 0 && form->family != GX_FAISS_HNSW)
        return gx_fail(err, GX_E_INVALID, "ef_search is for HNSW engines: use effort%s",
                       form->family == GX_FAISS_IVF ? " or nprobe" : "");
    if (form->family == GX_FAISS_FLAT)
        return GX_OK;
    *out_effort = has_effort ? effort->effort : EFFORT_DEFAULT;
    *out_knob =
        form->family == GX_FAISS_IVF ? ivf_knob(form, effort, out_effort) : hnsw_knob(effort, n_wanted, out_effort);
    return GX_OK;
}

void gx_engine_faiss_form_rotate(const struct gx_faiss_form *form, const float *rotation, const float *rows, size_t n,
                                 float *out)
{
    size_t dim = form->dim, index_dim = form->index_dim;
    double four[4];
    for (size_t r = 0; r < n; r++, rows += dim, out += index_dim) {
        size_t i = 0;
        for (; i + 4 <= index_dim; i += 4) {
            const float *lines[4];
            for (size_t j = 0; j < 4; j++)
                lines[j] = rotation + (i + j) * dim;
            gx_simd_dot4(rows, lines, dim, four);
            for (size_t j = 0; j < 4; j++)
                out[i + j] = (float)four[j];
        }
        for (; i < index_dim; i++)
            out[i] = (float)gx_simd_dot(rows, rotation + i * dim, dim);
    }
}

size_t gx_engine_faiss_form_code_len(const struct gx_faiss_form *form)
{
    size_t dim = form->index_dim;
    switch (form->code) {
    case GX_FAISS_CODE_FLAT: return dim * sizeof(float);
    case GX_FAISS_CODE_SQ8: return dim;
    case GX_FAISS_CODE_SQFP16: return dim * 2;
    case GX_FAISS_CODE_PQ: return form->pq_m;
    case GX_FAISS_CODE_FS: return (form->pq_m + 1) / 2;
    }
    return 0;
}

/* Links of one node: 2 m on the ground level, m on each level above, on which an (m - 1)th of the nodes stands; with
 * its level and the offset of its links. */
static uint64_t links_len(uint64_t m)
{
    return m * 2 * 4 + m * 4 / (m - 1) + 4 + 8;
}

uint64_t gx_engine_faiss_form_bytes(const struct gx_faiss_form *form, uint64_t entries)
{
    uint64_t row = gx_engine_faiss_form_code_len(form) + sizeof(uint64_t), vector = form->index_dim * sizeof(float);
    if (form->family == GX_FAISS_HNSW)
        row += links_len(form->hnsw_m);
    uint64_t bytes = entries * row;
    if (form->family == GX_FAISS_IVF) {
        uint64_t list = vector + 48; /* its centroid, its two arrays' heads */
        if (form->coarse_m != 0)
            list += links_len(form->coarse_m);
        if (form->code == GX_FAISS_CODE_FS)
            list += 16 * gx_engine_faiss_form_code_len(form); /* codes stand in blocks of 32: half a block is empty */
        bytes += form->nlist * list;
    }
    if (quantises_parts(form))
        bytes += vector * (form->code == GX_FAISS_CODE_PQ ? PQ_CENTROIDS : FS_CENTROIDS);
    if (form->opq_m != 0)
        bytes += vector * form->dim;
    return bytes;
}
