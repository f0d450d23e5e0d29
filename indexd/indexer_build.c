/* The path of a build: sample -> train -> add all live rows, batch by batch, forgetting meanwhile what is removed ->
 * engine text stored -> swap under the gallery's lock -> index saved. Searches use the old index (or the exact scan)
 * until the swap, and scan exactly what the new one has not taken up yet, so a build never stops them.
 *
 * What can go wrong: training, adding or storing the text fails: the old index stays, the problem stands in the
 * gallery's stats, and the build is tried again after a minute; saving fails: logged, the next start builds anew. */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "indexer_private.h"
#include "log.h"

#define SEED 20260101

/* --- rows for an engine --- */

size_t gx_indexer_copy_rows(struct gx_indexer *x, struct gx_gallery *g, uint32_t count, size_t max, uint32_t *io_slot)
{
    size_t n = 0, dim = g->meta.dim;
    unsigned reader = gx_gallery_read_begin(g);
    for (; *io_slot < count && n < max; ++*io_slot) {
        if (!gx_rows_is_live(g->rows, *io_slot))
            continue;
        memcpy(x->floats + n * dim, gx_rows_floats(g->rows, *io_slot), dim * sizeof(float));
        x->rnos[n++] = gx_rows_rno(g->rows, *io_slot);
    }
    gx_gallery_read_end(g, reader);
    return n;
}

/* A sample of the live rows, spread evenly; *out_n <= @max. *out_from: how many rows it was drawn from. The caller
 * frees (and wipes) it. */
static enum gx_status sample_rows(struct gx_gallery *g, uint64_t max, float **out, uint64_t *out_n, uint64_t *out_from,
                                  struct gx_err *err)
{
    size_t dim = g->meta.dim;
    uint32_t count = gx_rows_count(g->rows);
    uint64_t from = GX_MAX(gx_rows_live(g->rows), (uint64_t)1), n = GX_MIN(from, max), n_seen = 0;
    *out_n = 0;
    *out_from = from;
    *out = malloc(n * dim * sizeof(float));
    if (*out == NULL)
        return gx_fail(err, GX_E_NOMEM, "a training sample of %" PRIu64 " rows: out of memory", n);
    for (uint32_t begin = 0; begin < count; begin += GX_INDEXER_BATCH) {
        unsigned reader = gx_gallery_read_begin(g);
        for (uint32_t slot = begin; slot < GX_MIN(begin + GX_INDEXER_BATCH, count); slot++) {
            /* Of each @from / @n live rows one. */
            if (!gx_rows_is_live(g->rows, slot) || n_seen++ * n / from < *out_n || *out_n == n)
                continue;
            memcpy(*out + (*out_n)++ * dim, gx_rows_floats(g->rows, slot), dim * sizeof(float));
        }
        gx_gallery_read_end(g, reader);
    }
    return GX_OK;
}

/* --- building --- */

static void report(struct gx_gallery *g, const char *stage, uint64_t done, uint64_t total)
{
    pthread_mutex_lock(&g->build_lock);
    g->build.stage = stage;
    g->build.rows_done = done;
    g->build.rows_total = total;
    pthread_mutex_unlock(&g->build_lock);
}

static enum gx_status train(struct gx_gallery *g, const struct gx_engine_spec *spec, struct gx_index *index,
                            struct gx_err *err)
{
    GX_TRY(gx_engine_new(spec, g->meta.dim, g->rows, SEED, &index->engine, err));
    if (spec->train_max == 0)
        return GX_OK;
    float *rows;
    uint64_t n;
    report(g, "training", 0, spec->train_max);
    GX_TRY(sample_rows(g, spec->train_max, &rows, &n, &index->trained_from, err));
    enum gx_status status = gx_engine_train(index->engine, rows, n, err);
    explicit_bzero(rows, n * g->meta.dim * sizeof(float));
    free(rows);
    return status;
}

size_t gx_indexer_threads(void)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : (size_t)n;
}

enum gx_status gx_indexer_add_all(struct gx_galleries *galleries, struct gx_gallery *g, struct gx_index *index,
                                  struct gx_err *err)
{
    struct gx_indexer *x = galleries->indexer;
    uint32_t goal = gx_rows_count(g->rows), lap = goal;
    index->engine->threads = gx_indexer_threads();
    while (index->until < goal) {
        bool more = true;
        if (atomic_load(&galleries->stopping) || atomic_load(&g->deleted))
            return gx_fail(err, GX_E_UNAVAILABLE, "stopped while building");
        size_t n = gx_indexer_copy_rows(x, g, goal, GX_INDEXER_BATCH, &index->until);
        enum gx_status status = n == 0 ? GX_OK : gx_engine_add(index->engine, x->rnos, x->floats, n, err);
        explicit_bzero(x->floats, n * g->meta.dim * sizeof(float));
        GX_TRY(status);
        while (more)
            GX_TRY(gx_gallery_apply_removals(g, index, &more, err));
        gx_gallery_set_building(g, index->clean_upto);
        report(g, "adding", index->until, goal);
        /* What came meanwhile is the next lap. Rows may come faster than they are added: those are left to the index
         * in use once a lap is not half as long as the one before, or the build, and what waits for it, never ends. */
        uint32_t came = gx_rows_count(g->rows) - goal;
        if (index->until == goal && came <= lap / 2)
            goal += came, lap = came;
    }
    index->engine->threads = 1;
    return GX_OK;
}

/* The engine text of a gallery, as a mutation. */
struct rename_engine {
    struct gx_mutation base; /* first */
    struct gx_gallery *gallery;
    const char *text;
};

static enum gx_status rename_prepare(struct gx_mutation *self, struct gx_galleries *galleries,
                                     struct gx_store_batch *batch, struct gx_arena *arena, uint64_t epoch,
                                     struct gx_err *err)
{
    struct rename_engine *r = (struct rename_engine *)self;
    struct gx_gallery_meta meta = r->gallery->meta; /* the indexer, who waits for this, is the only one to change it */
    struct gx_slice value;
    uint8_t key[GX_KEY_GALLERY_LEN];
    (void)galleries;
    (void)epoch;
    if (atomic_load(&r->gallery->deleted))
        return gx_fail(err, GX_E_NOT_FOUND, "the gallery was deleted");
    memset(meta.engine, 0, sizeof(meta.engine));
    memcpy(meta.engine, r->text, strlen(r->text));
    GX_TRY(gx_codec_gallery_encode(&meta, arena, &value, err));
    gx_codec_key_gallery(meta.number, key);
    gx_store_batch_put(batch, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)}, value);
    self->changed = true;
    return GX_OK;
}

static void rename_publish(struct gx_mutation *self, struct gx_galleries *galleries, uint64_t epoch)
{
    struct rename_engine *r = (struct rename_engine *)self;
    (void)galleries;
    (void)epoch;
    pthread_mutex_lock(&r->gallery->build_lock);
    memset(r->gallery->meta.engine, 0, sizeof(r->gallery->meta.engine));
    memcpy(r->gallery->meta.engine, r->text, strlen(r->text));
    pthread_mutex_unlock(&r->gallery->build_lock);
}

static enum gx_status store_engine_text(struct gx_galleries *galleries, struct gx_gallery *g, const char *text,
                                        struct gx_err *err)
{
    char now[GX_ENGINE_MAX + 1];
    gx_gallery_engine_text(g, now);
    if (strcmp(now, text) == 0)
        return GX_OK;
    struct rename_engine r = {
        .base = {.prepare = rename_prepare, .publish = rename_publish}, .gallery = g, .text = text};
    return gx_writer_run(galleries, &r.base, err);
}

/* What was removed before the build began is out of the index now; what went since has its full time. */
static void settle_removals(struct gx_gallery *g, uint64_t clean_upto, int64_t began_at_us)
{
    pthread_mutex_lock(&g->removals_lock);
    bool clean = clean_upto >= g->removals_base + g->n_removals;
    if (g->oldest_removal_us != 0)
        g->oldest_removal_us = clean ? 0 : GX_MAX(g->oldest_removal_us, began_at_us);
    pthread_mutex_unlock(&g->removals_lock);
}

/* Stores the text of @index, puts it in the place of the one in use, saves it. Takes @index when it is in use. */
static enum gx_status swap_in(struct gx_galleries *galleries, struct gx_gallery *g, struct gx_index *index,
                              const char *text, int64_t began_at_us, struct gx_err *err)
{
    pthread_mutex_lock(&g->change);
    /* First: as soon as the new index is in use, tickets may say that nothing of their rows is left. */
    g->drop_open = true;
    enum gx_status status = gx_gallery_drop_saved(galleries, g, err);
    if (status == GX_OK)
        status = store_engine_text(galleries, g, text, err);
    if (status != GX_OK) {
        atomic_store(&g->unsaved, true); /* the file of the old one may be gone */
        pthread_mutex_unlock(&g->change);
        return status;
    }
    if (index->engine != NULL)
        gx_gallery_count_dead(g, index);
    pthread_rwlock_wrlock(&g->lock);
    struct gx_index old = g->index;
    g->index = *index;
    pthread_rwlock_unlock(&g->lock);
    atomic_store(&g->indexed_until, index->engine == NULL ? UINT32_MAX : index->until);
    gx_gallery_set_building(g, UINT64_MAX);
    settle_removals(g, index->clean_upto, began_at_us);
    /* The searches that still ask it end soon; what it holds must be gone when tickets say so. */
    while (old.engine != NULL && atomic_load(&old.engine->references) > 1)
        nanosleep(&(struct timespec){0, 200000}, NULL);
    gx_engine_unref(old.engine);
    *index = (struct gx_index){0};
    report(g, "saving", g->index.until, g->index.until);
    atomic_store(&g->broken, false);
    status = gx_gallery_save_index(galleries, g, err);
    atomic_store(&g->unsaved, status != GX_OK);
    pthread_mutex_unlock(&g->change);
    gx_keeper_wake(galleries);
    return status;
}

static enum gx_status build(struct gx_galleries *galleries, struct gx_gallery *g, const char *text,
                            const struct gx_engine_spec *spec, struct gx_err *err)
{
    struct gx_index index = {0};
    enum gx_status status = GX_OK;
    int64_t began_at_us = gx_clock_monotonic_us();
    index.removed_upto = index.clean_upto = gx_gallery_begin_build(g);
    if (spec->indexes && gx_rows_live(g->rows) >= GX_MAX(spec->train_min, (uint64_t)1)) {
        GX_TRY_OUT(train(g, spec, &index, err));
        GX_TRY_OUT(gx_indexer_add_all(galleries, g, &index, err));
    }
    status = swap_in(galleries, g, &index, text, began_at_us, err);
out:
    gx_gallery_set_building(g, UINT64_MAX);
    gx_engine_unref(index.engine);
    return status;
}

void gx_indexer_build(struct gx_galleries *galleries, struct gx_gallery *g, const char *text,
                      const struct gx_engine_spec *spec, const char *why)
{
    struct gx_err err = {0};
    int64_t start = gx_clock_monotonic_us();
    pthread_mutex_lock(&g->build_lock);
    g->build = (struct gx_build_progress){.running = true, .stage = ""};
    memcpy(g->build.engine, spec->text, sizeof(g->build.engine));
    g->build_wanted = false;
    pthread_mutex_unlock(&g->build_lock);
    gx_log_info("build_started", "gallery=%" PRIu32 " engine=%s why=%s", g->meta.number, spec->text, why);
    enum gx_status status = build(galleries, g, text, spec, &err);
    g->build_took_us = gx_clock_monotonic_us() - start;
    double seconds = (double)g->build_took_us / 1e6;
    if (status == GX_OK)
        gx_log_info("build_done", "gallery=%" PRIu32 " engine=%s seconds=%.1f", g->meta.number, spec->text, seconds);
    else
        gx_log_error("build_failed", "gallery=%" PRIu32 " engine=%s reason=\"%s\"", g->meta.number, spec->text,
                     err.text);
    pthread_mutex_lock(&g->build_lock);
    g->build.running = false;
    g->build.stage = "";
    memcpy(g->build.problem, err.text, sizeof(err.text));
    g->build_failed_at_us = status == GX_OK ? 0 : gx_clock_monotonic_us();
    pthread_mutex_unlock(&g->build_lock);
}
