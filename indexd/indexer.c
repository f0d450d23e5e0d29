/* The thread that loads galleries at start, and builds and feeds their engines afterwards.
 *
 * The path of a build: engine text -> sample -> train -> add all live rows, batch by batch, forgetting meanwhile what
 * is removed -> swap under the gallery's lock -> engine text stored -> index saved. Searches use the old index (or the
 * exact scan) until the swap, and scan exactly what the new one has not taken up yet, so a build never stops them.
 *
 * The path of fresh rows: the tail of the gallery -> added in pieces small enough to hold the lock for about 2 ms.
 *
 * What can go wrong: training or adding fails: the old index stays, the problem stands in the gallery's stats, and the
 * build is tried again after a minute; an engine fails in use: searches scan exactly until it is rebuilt; saving fails:
 * logged, the next start builds anew. */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "gallery_private.h"
#include "log.h"

#define ROUND_US      1000000
#define HOLD_US       2000    /* how long fresh rows may keep searches waiting at once */
#define BUILD_BATCH   1024    /* rows copied and added at once while building */
#define FEED_MAX      1024    /* rows fed at once */
#define SAVE_AFTER_US 5000000 /* quiet for this long */
#define SEED          20260101
#define STOP_S        20       /* how long a stop waits for a build */
#define TRY_AGAIN_US  60000000 /* after a build that failed */
#define POUR_US       500000   /* over which the rate of enrolment is taken */
#define POUR_RATE     2000     /* rows per second from which a gallery is being filled */
#define NICE          10       /* the indexer gives way to those who wait for an answer */

struct gx_indexer {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake, loaded;
    bool stopping, woken, all_loaded;
    struct gx_err load_error; /* the first */
    float *floats;            /* [FEED_MAX or BUILD_BATCH][GX_DIM_MAX], reused */
    uint64_t rnos[BUILD_BATCH];
};

static void *run(void *arg);

enum gx_status gx_indexer_start(struct gx_galleries *galleries, struct gx_err *err)
{
    struct gx_indexer *x = calloc(1, sizeof(*x));
    if (x == NULL || (x->floats = malloc(sizeof(float) * BUILD_BATCH * GX_DIM_MAX)) == NULL) {
        free(x);
        return gx_fail(err, GX_E_NOMEM, "start the indexer: out of memory");
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&x->wake, &attr);
    pthread_cond_init(&x->loaded, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&x->lock, NULL);
    galleries->indexer = x;
    int e = pthread_create(&x->thread, NULL, run, galleries);
    if (e == 0)
        return GX_OK;
    galleries->indexer = NULL;
    free(x->floats);
    free(x);
    return gx_err_errno(err, e, "start the indexer thread");
}

bool gx_indexer_stop(struct gx_galleries *galleries)
{
    struct gx_indexer *x = galleries->indexer;
    struct timespec until;
    if (x == NULL)
        return true;
    pthread_mutex_lock(&x->lock);
    x->stopping = true;
    pthread_cond_signal(&x->wake);
    pthread_mutex_unlock(&x->lock);
    /* Training cannot be interrupted, but nothing waits for its outcome any more. */
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_S;
    if (pthread_timedjoin_np(x->thread, NULL, &until) == 0)
        return true;
    gx_log_warn("training_abandoned", "seconds=%d", STOP_S);
    return false;
}

void gx_indexer_free(struct gx_galleries *galleries)
{
    struct gx_indexer *x = galleries->indexer;
    if (x == NULL)
        return;
    explicit_bzero(x->floats, sizeof(float) * BUILD_BATCH * GX_DIM_MAX);
    free(x->floats);
    pthread_cond_destroy(&x->wake);
    pthread_cond_destroy(&x->loaded);
    pthread_mutex_destroy(&x->lock);
    free(x);
    galleries->indexer = NULL;
}

void gx_indexer_wake(struct gx_galleries *galleries)
{
    struct gx_indexer *x = galleries->indexer;
    pthread_mutex_lock(&x->lock);
    if (!x->woken) {
        x->woken = true;
        pthread_cond_signal(&x->wake);
    }
    pthread_mutex_unlock(&x->lock);
}

enum gx_status gx_indexer_wait_loaded(struct gx_galleries *galleries, struct gx_err *err)
{
    struct gx_indexer *x = galleries->indexer;
    pthread_mutex_lock(&x->lock);
    while (!x->all_loaded)
        pthread_cond_wait(&x->loaded, &x->lock);
    enum gx_status status = x->load_error.status;
    if (status != GX_OK && err != NULL)
        *err = x->load_error;
    pthread_mutex_unlock(&x->lock);
    return status;
}

/* --- rows for an engine --- */

/* Copies up to @max live rows from slot *io_slot on, and moves it past them. */
static size_t copy_rows(struct gx_indexer *x, struct gx_gallery *g, uint32_t count, size_t max, uint32_t *io_slot)
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

/* A sample of live rows, spread evenly; *out_n <= @max. The caller frees (and wipes) it. */
static enum gx_status sample_rows(struct gx_gallery *g, uint64_t max, float **out, uint64_t *out_n, struct gx_err *err)
{
    size_t dim = g->meta.dim;
    uint32_t count = gx_rows_count(g->rows);
    uint64_t step_n = GX_MIN((uint64_t)count, max);
    *out_n = 0;
    *out = malloc(GX_MAX(step_n, 1u) * dim * sizeof(float));
    if (*out == NULL)
        return gx_fail(err, GX_E_NOMEM, "a training sample of %" PRIu64 " rows: out of memory", step_n);
    for (uint64_t i = 0; i < step_n; i += BUILD_BATCH) {
        unsigned reader = gx_gallery_read_begin(g);
        for (uint64_t j = i; j < GX_MIN(i + BUILD_BATCH, step_n); j++) {
            uint32_t slot = (uint32_t)(j * count / step_n);
            if (gx_rows_is_live(g->rows, slot))
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
    GX_TRY(gx_engine_new(spec, g->meta.dim, SEED, &index->engine, err));
    if (spec->train_max == 0)
        return GX_OK;
    float *rows;
    uint64_t n;
    report(g, "training", 0, spec->train_max);
    GX_TRY(sample_rows(g, spec->train_max, &rows, &n, err));
    enum gx_status status = gx_engine_train(index->engine, rows, n, err);
    explicit_bzero(rows, n * g->meta.dim * sizeof(float));
    free(rows);
    return status;
}

static enum gx_status add_all(struct gx_galleries *galleries, struct gx_gallery *g, struct gx_index *index,
                              struct gx_err *err)
{
    struct gx_indexer *x = galleries->indexer;
    uint32_t count;
    while (index->until < (count = gx_rows_count(g->rows))) {
        bool more = true;
        if (atomic_load(&galleries->stopping) || atomic_load(&g->deleted))
            return gx_fail(err, GX_E_UNAVAILABLE, "stopped while building");
        size_t n = copy_rows(x, g, count, BUILD_BATCH, &index->until);
        enum gx_status status = n == 0 ? GX_OK : gx_engine_add(index->engine, x->rnos, x->floats, n, err);
        explicit_bzero(x->floats, n * g->meta.dim * sizeof(float));
        GX_TRY(status);
        while (more)
            GX_TRY(gx_gallery_apply_removals(g, index, SIZE_MAX, &more, err));
        gx_gallery_set_building(g, index->clean_upto);
        report(g, "adding", index->until, count);
    }
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

/* Puts @index in the place of the one in use, stores its text, saves it. Takes @index. */
static enum gx_status swap_in(struct gx_galleries *galleries, struct gx_gallery *g, struct gx_index *index,
                              const char *text, int64_t began_at_us, struct gx_err *err)
{
    pthread_mutex_lock(&g->change);
    /* First: as soon as the new index is in use, tickets may say that nothing of their rows is left. */
    g->drop_open = true;
    enum gx_status status = gx_gallery_drop_saved(galleries, g, err);
    if (status != GX_OK) {
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
    gx_engine_free(old.engine);
    *index = (struct gx_index){0};
    report(g, "saving", g->index.until, g->index.until);
    atomic_store(&g->broken, false);
    status = store_engine_text(galleries, g, text, err);
    if (status == GX_OK)
        status = gx_gallery_save_index(galleries, g, err);
    atomic_store(&g->unsaved, status != GX_OK);
    pthread_mutex_unlock(&g->change);
    gx_keeper_wake(galleries);
    return status;
}

static enum gx_status build(struct gx_galleries *galleries, struct gx_gallery *g, const char *text, struct gx_err *err)
{
    struct gx_engine_spec spec;
    struct gx_index index = {0};
    enum gx_status status = GX_OK;
    int64_t began_at_us = gx_clock_monotonic_us();
    GX_TRY(gx_engine_parse(gx_slice_text(text), g->meta.dim, gx_rows_live(g->rows), &spec, err));
    index.removed_upto = index.clean_upto = gx_gallery_begin_build(g);
    if (spec.indexes && gx_rows_live(g->rows) >= GX_MAX(spec.train_min, (uint64_t)1)) {
        GX_TRY_OUT(train(g, &spec, &index, err));
        GX_TRY_OUT(add_all(galleries, g, &index, err));
    }
    status = swap_in(galleries, g, &index, text, began_at_us, err);
out:
    gx_gallery_set_building(g, UINT64_MAX);
    gx_engine_free(index.engine);
    return status;
}

static void build_and_report(struct gx_galleries *galleries, struct gx_gallery *g, const char *text, const char *why)
{
    struct gx_err err = {0};
    int64_t start = gx_clock_monotonic_us();
    pthread_mutex_lock(&g->build_lock);
    g->build = (struct gx_build_progress){.running = true, .stage = ""};
    memcpy(g->build.engine, text, strlen(text));
    g->build_wanted = false;
    pthread_mutex_unlock(&g->build_lock);
    gx_log_info("build_started", "gallery=%" PRIu32 " engine=%s why=%s", g->meta.number, text, why);
    enum gx_status status = build(galleries, g, text, &err);
    g->build_took_us = gx_clock_monotonic_us() - start;
    double seconds = (double)g->build_took_us / 1e6;
    if (status == GX_OK)
        gx_log_info("build_done", "gallery=%" PRIu32 " engine=%s seconds=%.1f", g->meta.number, text, seconds);
    else
        gx_log_error("build_failed", "gallery=%" PRIu32 " engine=%s reason=\"%s\"", g->meta.number, text, err.text);
    pthread_mutex_lock(&g->build_lock);
    g->build.running = false;
    g->build.stage = "";
    memcpy(g->build.problem, err.text, sizeof(err.text));
    g->build_failed_at_us = status == GX_OK ? 0 : gx_clock_monotonic_us();
    pthread_mutex_unlock(&g->build_lock);
}

/* --- feeding --- */

/* Adds a piece of the tail; true when there was one. */
static bool feed(struct gx_galleries *galleries, struct gx_gallery *g)
{
    struct gx_indexer *x = galleries->indexer;
    struct gx_err err;
    enum gx_status status = GX_OK;
    int64_t held = 0;
    pthread_mutex_lock(&g->change);
    uint32_t until = g->index.until, count = gx_rows_count(g->rows);
    if (g->index.engine == NULL || until >= count || atomic_load(&g->broken)) {
        pthread_mutex_unlock(&g->change);
        return false;
    }
    size_t n = copy_rows(x, g, count, g->feed, &until);
    pthread_rwlock_wrlock(&g->lock);
    int64_t start = gx_clock_monotonic_us();
    if (n > 0)
        status = gx_engine_add(g->index.engine, x->rnos, x->floats, n, &err);
    if (status == GX_OK)
        g->index.until = until;
    atomic_store(&g->indexed_until, g->index.until);
    held = gx_clock_monotonic_us() - start;
    pthread_rwlock_unlock(&g->lock);
    g->changed_at_us = gx_clock_monotonic_us();
    atomic_store(&g->unsaved, true);
    pthread_mutex_unlock(&g->change);
    if (held > HOLD_US && g->feed > 1)
        g->feed /= 2;
    else if (held < HOLD_US / 4 && n == g->feed && g->feed < FEED_MAX)
        g->feed *= 2;
    explicit_bzero(x->floats, n * g->meta.dim * sizeof(float));
    atomic_store(&g->broken, atomic_load(&g->broken) || status != GX_OK);
    if (status != GX_OK)
        gx_log_error("feed_failed", "gallery=%" PRIu32 " reason=\"%s\"", g->meta.number, err.text);
    /* Searches get as much time as the feeding took. */
    struct timespec pause = {0, (long)GX_MIN(held, (int64_t)500000) * 1000};
    nanosleep(&pause, NULL);
    return status == GX_OK;
}

/* --- what a gallery needs --- */

/* Rows are pouring in: building an index now would take the processors from it, and be outdated at once. */
static bool is_pouring(struct gx_galleries *galleries, struct gx_gallery *g)
{
    int64_t now = gx_clock_monotonic_us(), passed = now - g->looked_at_us;
    uint32_t count = gx_rows_count(g->rows), until = atomic_load(&g->indexed_until);
    uint64_t tail = until == UINT32_MAX ? count : count - GX_MIN(until, count);
    if (passed > POUR_US) {
        double rate = (double)(count - g->looked_at_count) / ((double)passed / 1e6);
        g->pouring = g->looked_at_us != 0 && rate > POUR_RATE;
        g->looked_at_us = now;
        g->looked_at_count = count;
    }
    return g->pouring && tail < galleries->options.tail_max / 2;
}

/* NULL, or why an index is to be built now. */
static const char *why_build(struct gx_galleries *galleries, struct gx_gallery *g, const struct gx_engine_spec *spec)
{
    uint64_t live = gx_rows_live(g->rows);
    pthread_rwlock_rdlock(&g->lock);
    struct gx_index index = g->index;
    struct gx_engine_stats stats = {0};
    if (index.engine != NULL)
        gx_engine_stats(index.engine, &stats);
    pthread_rwlock_unlock(&g->lock);
    if (!spec->indexes)
        return index.engine != NULL ? "engine" : NULL;
    if (atomic_load(&g->broken))
        return "broken";
    if (index.engine == NULL)
        return live >= GX_MAX(spec->train_min, (uint64_t)1) ? "first" : NULL;
    if (strcmp(index.engine->spec.text, spec->text) != 0)
        return "engine";
    /* Twice as many rows as it was built for: the sample it was trained on is outdated, and building aside is faster
     * than feeding. */
    if (gx_rows_count(g->rows) - index.until > GX_MAX(stats.entries, (uint64_t)FEED_MAX))
        return "growth";
    if (spec->removes)
        return NULL;
    pthread_mutex_lock(&g->removals_lock);
    int64_t oldest = g->oldest_removal_us;
    pthread_mutex_unlock(&g->removals_lock);
    if ((double)index.dead > galleries->options.rebuild_dead * (double)stats.entries)
        return "dead";
    /* A cheap rebuild need not wait for the full time: at most a tenth of a core goes into rebuilding. */
    int64_t patience = GX_MIN(galleries->options.rebuild_after_us, 10 * g->build_took_us);
    if (oldest != 0 && gx_clock_monotonic_us() - oldest > patience)
        return "removal";
    return NULL;
}

static void save_if_quiet(struct gx_galleries *galleries, struct gx_gallery *g, bool now)
{
    struct gx_err err;
    pthread_mutex_lock(&g->change);
    if (atomic_load(&g->unsaved) && (now || gx_clock_monotonic_us() - g->changed_at_us > SAVE_AFTER_US)) {
        if (gx_gallery_save_index(galleries, g, &err) != GX_OK)
            gx_log_warn("index_not_saved", "gallery=%" PRIu32 " reason=\"%s\"", g->meta.number, err.text);
        atomic_store(&g->unsaved, false);
    }
    pthread_mutex_unlock(&g->change);
}

/* Does one piece of work for the gallery; true when there may be more. */
static bool tend(struct gx_galleries *galleries, struct gx_gallery *g)
{
    struct gx_engine_spec spec;
    struct gx_err err;
    char text[GX_ENGINE_MAX + 1];
    if (!atomic_load(&g->loaded) || atomic_load(&g->deleted))
        return false;
    pthread_mutex_lock(&g->build_lock);
    bool asked = g->build_wanted, failed = g->build_failed_at_us != 0;
    failed = failed && gx_clock_monotonic_us() - g->build_failed_at_us < TRY_AGAIN_US;
    memcpy(text, asked ? g->wanted : g->meta.engine, sizeof(text));
    pthread_mutex_unlock(&g->build_lock);
    if (gx_engine_parse(gx_slice_text(text), g->meta.dim, gx_rows_live(g->rows), &spec, &err) != GX_OK)
        return false;
    if (!asked && is_pouring(galleries, g))
        return false;
    const char *why = asked ? "asked" : why_build(galleries, g, &spec);
    if (why != NULL && (asked || !failed)) {
        build_and_report(galleries, g, text, why);
        return true;
    }
    if (feed(galleries, g))
        return true;
    save_if_quiet(galleries, g, false);
    return false;
}

/* --- the thread --- */

/* The galleries of this moment, referenced. */
static size_t snapshot(struct gx_galleries *galleries, struct gx_gallery *out[GX_GALLERIES_MAX])
{
    pthread_rwlock_rdlock(&galleries->lock);
    size_t n = galleries->n;
    for (size_t i = 0; i < n; i++) {
        out[i] = galleries->list[i];
        gx_gallery_ref(out[i]);
    }
    pthread_rwlock_unlock(&galleries->lock);
    return n;
}

static void load_all(struct gx_galleries *galleries)
{
    struct gx_indexer *x = galleries->indexer;
    struct gx_gallery *list[GX_GALLERIES_MAX];
    struct gx_err first = {0};
    size_t n = snapshot(galleries, list);
    for (size_t i = 0; i < n; i++) {
        struct gx_err err = {0};
        int64_t start = gx_clock_monotonic_us();
        if (!atomic_load(&list[i]->loaded) && gx_gallery_load(galleries, list[i], &err) != GX_OK) {
            gx_log_error("gallery_not_loaded", "gallery=%" PRIu32 " reason=\"%s\"", list[i]->meta.number, err.text);
            if (first.status == GX_OK) {
                first = err;
                gx_err_wrap(&first, "load gallery '%s'", list[i]->meta.name);
            }
        } else {
            gx_log_info("gallery_loaded", "gallery=%" PRIu32 " rows=%" PRIu64 " seconds=%.2f", list[i]->meta.number,
                        gx_rows_live(list[i]->rows), (double)(gx_clock_monotonic_us() - start) / 1e6);
        }
        gx_gallery_unref(list[i]);
        gx_keeper_wake(galleries); /* its tickets waited for this */
        if (galleries->options.changed != NULL)
            galleries->options.changed();
    }
    pthread_mutex_lock(&x->lock);
    x->load_error = first;
    x->all_loaded = true;
    pthread_cond_broadcast(&x->loaded);
    pthread_mutex_unlock(&x->lock);
}

static bool wait_for_work(struct gx_indexer *x, bool busy)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ROUND_US / 1000000;
    pthread_mutex_lock(&x->lock);
    while (!busy && !x->woken && !x->stopping)
        if (pthread_cond_timedwait(&x->wake, &x->lock, &until) != 0)
            break;
    x->woken = false;
    bool go_on = !x->stopping;
    pthread_mutex_unlock(&x->lock);
    return go_on;
}

static void *run(void *arg)
{
    struct gx_galleries *galleries = arg;
    struct gx_indexer *x = galleries->indexer;
    struct gx_gallery *list[GX_GALLERIES_MAX];
    bool busy = false;
    gx_engine_thread_begin();
    load_all(galleries);
    setpriority(PRIO_PROCESS, (id_t)gettid(), NICE);
    while (wait_for_work(x, busy)) {
        size_t n = snapshot(galleries, list);
        busy = false;
        for (size_t i = 0; i < n; i++) {
            busy = tend(galleries, list[i]) || busy;
            gx_gallery_unref(list[i]);
        }
    }
    size_t n = snapshot(galleries, list);
    for (size_t i = 0; i < n; i++) {
        if (atomic_load(&list[i]->loaded))
            save_if_quiet(galleries, list[i], true);
        gx_gallery_unref(list[i]);
    }
    return NULL;
}
