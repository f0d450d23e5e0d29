/* Which engine an engine text means, the checks that all of them share, and `flat`, which is no index at all: its rows
 * are scanned exactly, so there is nothing to build, to forget or to propose. */
#include "engine.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine_faiss_form.h"

#define FAISS_PREFIX "faiss:"

enum gx_status gx_engine_parse(struct gx_slice text, size_t dim, uint64_t n_rows, struct gx_engine_spec *out,
                               struct gx_err *err)
{
    (void)n_rows; /* auto is the exact scan whatever the size; approximate engines are asked for by name */
    *out = (struct gx_engine_spec){0};
    if (dim < GX_DIM_MIN || dim > GX_DIM_MAX)
        return gx_fail(err, GX_E_INVALID, "dimension %zu: must be %d to %d", dim, GX_DIM_MIN, GX_DIM_MAX);
    struct gx_engine_spec spec = {.kind = GX_ENGINE_FLAT, .removes = true};
    size_t prefix_len = strlen(FAISS_PREFIX);
    if (gx_slice_equal(text, gx_slice_text("auto")) || gx_slice_equal(text, gx_slice_text("flat"))) {
        strcpy(spec.text, "flat");
    } else if (text.len > prefix_len && text.len <= GX_ENGINE_MAX && memcmp(text.data, FAISS_PREFIX, prefix_len) == 0 &&
               memchr(text.data, 0, text.len) == NULL) {
        memcpy(spec.text, text.data, text.len);
        GX_TRY(gx_engine_faiss_parse(spec.text + prefix_len, dim, &spec, err));
    } else {
        return gx_fail(err, GX_E_INVALID,
                       "unknown engine: use auto, flat or faiss:FORM, FORM = " GX_ENGINE_FAISS_FORMS);
    }
    *out = spec;
    return GX_OK;
}

static enum gx_status flat_search(struct gx_engine *engine, const float *probe, const struct gx_engine_effort *effort,
                                  size_t n_wanted, struct gx_engine_hit *out_hits, size_t *out_n, uint64_t *out_scanned,
                                  float *out_effort, struct gx_err *err)
{
    (void)engine, (void)probe, (void)out_hits, (void)out_n, (void)out_scanned;
    static const struct gx_faiss_form form = {.family = GX_FAISS_FLAT};
    uint32_t no_knob;
    return gx_engine_faiss_form_knob(&form, effort, n_wanted, &no_knob, out_effort, err);
}

static void flat_free(struct gx_engine *engine)
{
    free(engine);
}

static const struct gx_engine_ops flat_ops = {.search = flat_search, .free = flat_free};

enum gx_status gx_engine_new(const struct gx_engine_spec *spec, size_t dim, uint64_t seed, struct gx_engine **out,
                             struct gx_err *err)
{
    *out = NULL;
    if (spec->kind == GX_ENGINE_FAISS)
        return gx_engine_faiss_new(spec, dim, seed, out, err);
    struct gx_engine *engine = calloc(1, sizeof(*engine));
    if (engine == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for an engine");
    *engine = (struct gx_engine){.ops = &flat_ops, .spec = *spec, .dim = dim};
    *out = engine;
    return GX_OK;
}

enum gx_status gx_engine_load(const struct gx_engine_spec *spec, size_t dim, const char *path, struct gx_engine **out,
                              struct gx_err *err)
{
    *out = NULL;
    if (spec->kind == GX_ENGINE_FAISS)
        return gx_engine_faiss_load(spec, dim, path, out, err);
    return gx_fail(err, GX_E_UNIMPLEMENTED, "engine %s has no file", spec->text);
}

void gx_engine_free(struct gx_engine *engine)
{
    if (engine == NULL)
        return;
    /* A foreign library does not wipe the codes that it frees: for this moment the allocator does (whatever other
     * threads free meanwhile is wiped as well, which harms nobody). */
    mallopt(M_PERTURB, 0x5a);
    engine->ops->free(engine);
    mallopt(M_PERTURB, 0);
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

enum gx_status gx_engine_search(struct gx_engine *engine, const float *probe, const struct gx_engine_effort *effort,
                                size_t n_wanted, struct gx_engine_hit *out_hits, size_t *out_n, uint64_t *out_scanned,
                                float *out_effort, struct gx_err *err)
{
    *out_n = 0;
    *out_scanned = 0;
    *out_effort = 0;
    return engine->ops->search(engine, probe, effort, n_wanted, out_hits, out_n, out_scanned, out_effort, err);
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
