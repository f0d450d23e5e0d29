/* Which engine an engine text means, the checks that all of them share, and `flat`, which is no index at all: its rows
 * are scanned exactly, in float, so there is nothing to build, to forget or to propose. */
#include "engine.h"

#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine_faiss_form.h"

#define FAISS_PREFIX   "faiss:"
#define EFFORT_DEFAULT 0.5f
#define NATIVE_FROM    256 /* rows: fewer are scanned as quickly in float */

/* Whole texts and what they mean. */
static const struct {
    const char *text;
    struct gx_engine_spec spec;
} native[] = {
    {"flat", {.kind = GX_ENGINE_FLAT, .removes = true}},
    {"scan",
     {.kind = GX_ENGINE_SCAN,
      .indexes = true,
      .removes = true,
      .beside = true,
      .filters = true,
      .certifies = true,
      .batches = true,
      .exhaustive = true,
      .train_min = NATIVE_FROM,
      .overfetch = 2,
      .candidates_min = 32}},
    {"hnsw",
     {.kind = GX_ENGINE_HNSW,
      .indexes = true,
      .removes = true,
      .beside = true,
      .filters = true,
      .certifies = true,
      .batches = true,
      .train_min = NATIVE_FROM,
      .saves = true,
      .bare_file = true,
      .overfetch = 2,
      .candidates_min = 32}},
};

static const struct gx_engine_spec *find_native(struct gx_slice text)
{
    for (size_t i = 0; i < GX_COUNT_OF(native); i++)
        if (gx_slice_equal(text, gx_slice_text(native[i].text)))
            return &native[i].spec;
    return NULL;
}

const char *gx_engine_choose(const char *text, uint64_t n_rows, uint64_t hnsw_from, const char *now)
{
    if (strcmp(text, "auto") != 0)
        return text;
    /* A gallery that shrinks a little does not change back at once. */
    uint64_t from = strcmp(now, "hnsw") == 0 ? hnsw_from / 2 : hnsw_from;
    return n_rows >= from ? "hnsw" : "scan";
}

enum gx_status gx_engine_parse(struct gx_slice text, size_t dim, struct gx_engine_spec *out, struct gx_err *err)
{
    *out = (struct gx_engine_spec){0};
    if (dim < GX_DIM_MIN || dim > GX_DIM_MAX)
        return gx_fail(err, GX_E_INVALID, "dimension %zu: must be %d to %d", dim, GX_DIM_MIN, GX_DIM_MAX);
    struct gx_engine_spec spec = {0};
    size_t prefix_len = strlen(FAISS_PREFIX);
    if (gx_slice_equal(text, gx_slice_text("auto")))
        text = gx_slice_text("scan");
    const struct gx_engine_spec *known = find_native(text);
    if (known != NULL) {
        spec = *known;
        memcpy(spec.text, text.data, text.len);
    } else if (text.len > prefix_len && text.len <= GX_ENGINE_MAX && memcmp(text.data, FAISS_PREFIX, prefix_len) == 0 &&
               memchr(text.data, 0, text.len) == NULL) {
        memcpy(spec.text, text.data, text.len);
        GX_TRY(gx_engine_faiss_parse(spec.text + prefix_len, dim, &spec, err));
    } else {
        return gx_fail(err, GX_E_INVALID,
                       "unknown engine: use auto, scan, hnsw, flat or faiss:FORM, FORM = " GX_ENGINE_FAISS_FORMS);
    }
    *out = spec;
    return GX_OK;
}

enum gx_status gx_engine_native_effort(const struct gx_engine_effort *asked, bool has_ef, float *out_effort,
                                       uint32_t *out_ef, struct gx_err *err)
{
    *out_ef = 0;
    *out_effort = EFFORT_DEFAULT;
    bool has_effort = asked->effort >= 0;
    if (isnan(asked->effort) || asked->effort > 1 || (asked->effort < 0 && asked->effort > -1))
        return gx_fail(err, GX_E_INVALID, "effort must be 0 to 1");
    if (has_effort + (asked->nprobe != 0) + (asked->ef_search != 0) > 1)
        return gx_fail(err, GX_E_INVALID, "give only one of effort, nprobe and ef_search");
    if (asked->nprobe != 0)
        return gx_fail(err, GX_E_INVALID, "nprobe is for IVF engines: use effort%s", has_ef ? " or ef_search" : "");
    if (asked->ef_search != 0 && !has_ef)
        return gx_fail(err, GX_E_INVALID, "ef_search is for HNSW engines: use effort");
    *out_ef = asked->ef_search;
    if (has_effort)
        *out_effort = asked->effort;
    return GX_OK;
}

static enum gx_status flat_search(struct gx_engine *engine, const struct gx_engine_ask *ask, struct gx_arena *arena,
                                  struct gx_engine_answer *answer, struct gx_err *err)
{
    uint32_t no_ef;
    (void)engine, (void)arena;
    GX_TRY(gx_engine_native_effort(&ask->effort, false, &answer->effort, &no_ef, err));
    answer->effort = 1;
    return GX_OK;
}

static void flat_free(struct gx_engine *engine)
{
    free(engine);
}

static const struct gx_engine_ops flat_ops = {.search = flat_search, .free = flat_free};

static enum gx_status flat_new(const struct gx_engine_spec *spec, size_t dim, struct gx_engine **out,
                               struct gx_err *err)
{
    struct gx_engine *engine = calloc(1, sizeof(*engine));
    if (engine == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for an engine");
    *engine = (struct gx_engine){.ops = &flat_ops, .spec = *spec, .dim = dim};
    *out = engine;
    return GX_OK;
}

/* What every new engine begins with. */
static enum gx_status finish(enum gx_status status, const struct gx_rows *rows, size_t threads,
                             struct gx_engine *engine)
{
    if (status != GX_OK)
        return status;
    engine->rows = rows;
    engine->threads = threads;
    atomic_init(&engine->references, 1);
    return GX_OK;
}

enum gx_status gx_engine_new(const struct gx_engine_spec *spec, size_t dim, const struct gx_rows *rows, uint64_t seed,
                             struct gx_engine **out, struct gx_err *err)
{
    enum gx_status status = GX_E_INTERNAL;
    *out = NULL;
    switch (spec->kind) {
    case GX_ENGINE_FLAT: status = flat_new(spec, dim, out, err); break;
    case GX_ENGINE_SCAN: status = gx_engine_scan_new(spec, dim, rows, out, err); break;
    case GX_ENGINE_HNSW: status = gx_engine_hnsw_new(spec, dim, rows, seed, out, err); break;
    case GX_ENGINE_FAISS: status = gx_engine_faiss_new(spec, dim, seed, out, err); break;
    }
    return finish(status, rows, 1, *out);
}

enum gx_status gx_engine_load(const struct gx_engine_spec *spec, size_t dim, const struct gx_rows *rows,
                              const char *path, size_t threads, struct gx_engine **out, struct gx_err *err)
{
    *out = NULL;
    if (!spec->saves)
        return gx_fail(err, GX_E_UNIMPLEMENTED, "engine %s has no file", spec->text);
    enum gx_status status = spec->kind == GX_ENGINE_HNSW ? gx_engine_hnsw_load(spec, dim, rows, path, threads, out, err)
                                                         : gx_engine_faiss_load(spec, dim, path, out, err);
    return finish(status, rows, threads, *out);
}

void gx_engine_ref(struct gx_engine *engine)
{
    atomic_fetch_add(&engine->references, 1);
}

void gx_engine_unref(struct gx_engine *engine)
{
    if (engine == NULL || atomic_fetch_sub(&engine->references, 1) != 1)
        return;
    /* A foreign library does not wipe the codes that it frees: the allocator does. The server has told it so at its
     * start already; it stays that way for whoever else uses engines. */
    mallopt(M_PERTURB, 0x5a);
    engine->ops->free(engine);
}

enum gx_status gx_engine_train(struct gx_engine *engine, const float *rows, uint64_t n, struct gx_err *err)
{
    if (n < engine->spec.train_min)
        return gx_fail(err, GX_E_INVALID, "engine %s needs %llu rows to train, not %llu: scan, or use fewer lists",
                       engine->spec.text, (unsigned long long)engine->spec.train_min, (unsigned long long)n);
    if (engine->spec.train_max == 0)
        return GX_OK;
    return engine->ops->train(engine, rows, n, err);
}

enum gx_status gx_engine_add(struct gx_engine *engine, const uint64_t *rnos, const float *rows, size_t n,
                             struct gx_err *err)
{
    return n == 0 || engine->ops->add == NULL ? GX_OK : engine->ops->add(engine, rnos, rows, n, err);
}

enum gx_status gx_engine_remove(struct gx_engine *engine, const uint64_t *rnos, size_t n, size_t *out_removed,
                                struct gx_err *err)
{
    *out_removed = 0;
    if (!engine->spec.removes)
        return gx_fail(err, GX_E_UNIMPLEMENTED, "engine %s cannot forget rows: rebuild it without them",
                       engine->spec.text);
    return n == 0 || engine->ops->remove == NULL ? GX_OK : engine->ops->remove(engine, rnos, n, out_removed, err);
}

void gx_engine_wipe(struct gx_engine *engine, const uint64_t *rnos, size_t n)
{
    if (n > 0 && engine->ops->wipe != NULL)
        engine->ops->wipe(engine, rnos, n);
}

enum gx_status gx_engine_search(struct gx_engine *engine, const struct gx_engine_ask *ask, struct gx_arena *arena,
                                struct gx_engine_answer *answers, struct gx_err *err)
{
    memset(answers, 0, ask->n_probes * sizeof(*answers));
    if (ask->certified && !engine->spec.certifies)
        return gx_fail(err, GX_E_UNIMPLEMENTED, "engine %s cannot prove its answer", engine->spec.text);
    if (engine->spec.batches)
        return engine->ops->search(engine, ask, arena, answers, err);
    struct gx_engine_ask one = *ask;
    one.n_probes = 1;
    for (size_t i = 0; i < ask->n_probes; i++) {
        one.probes = ask->probes + i;
        if (i > 0 && ask->stop != NULL && ask->stop(ask->stop_arg))
            return gx_fail(err, GX_E_CANCELLED, "the search was given up by its caller");
        GX_TRY(engine->ops->search(engine, &one, arena, &answers[i], err));
    }
    return GX_OK;
}

enum gx_status gx_engine_save(struct gx_engine *engine, const char *path, struct gx_err *err)
{
    if (!engine->spec.saves)
        return gx_fail(err, GX_E_UNIMPLEMENTED, "engine %s has no file", engine->spec.text);
    return engine->ops->save(engine, path, err);
}

void gx_engine_stats(const struct gx_engine *engine, struct gx_engine_stats *out)
{
    *out = (struct gx_engine_stats){0};
    if (engine->ops->stats != NULL)
        engine->ops->stats(engine, out);
}

void gx_engine_thread_begin(void)
{
    gx_engine_faiss_thread_begin();
}
