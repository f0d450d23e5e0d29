/* The thread that loads galleries at start, and builds and feeds their engines afterwards.
 *
 * The path of fresh rows: the tail of the gallery -> added in pieces small enough to hold the lock for about 2 ms.
 *
 * What can go wrong: an engine fails in use: searches scan exactly until it is rebuilt; a build fails: indexer_build.c.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "indexer_private.h"
#include "log.h"

#define ROUND_US      1000000
#define HOLD_US       2000     /* how long fresh rows may keep searches waiting at once */
#define SAVE_AFTER_US 5000000  /* quiet for this long */
#define STOP_S        20       /* how long a stop waits for a build */
#define TRY_AGAIN_US  60000000 /* after a build that failed */
#define POUR_US       500000   /* over which the rate of enrolment is taken */
#define POUR_RATE     2000     /* rows per second from which a gallery is being filled */
#define RETRAIN_AT    4        /* times the rows that an index was trained from: train it anew */
#define NICE          10       /* the indexer gives way to those who wait for an answer */

static void *run(void *arg);

enum gx_status gx_indexer_start(struct gx_galleries *galleries, struct gx_err *err)
{
    struct gx_indexer *x = calloc(1, sizeof(*x));
    if (x == NULL || (x->floats = malloc(sizeof(float) * GX_INDEXER_BATCH * GX_DIM_MAX)) == NULL) {
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
    explicit_bzero(x->floats, sizeof(float) * GX_INDEXER_BATCH * GX_DIM_MAX);
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

bool gx_indexer_has_loaded(struct gx_galleries *galleries)
{
    struct gx_indexer *x = galleries->indexer;
    pthread_mutex_lock(&x->lock);
    bool all_loaded = x->all_loaded;
    pthread_mutex_unlock(&x->lock);
    return all_loaded;
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
    bool beside = g->index.engine->spec.beside;
    size_t n = gx_indexer_copy_rows(x, g, count, beside ? GX_INDEXER_BATCH : g->feed, &until);
    if (n > 0 && beside)
        status = gx_engine_add(g->index.engine, x->rnos, x->floats, n, &err);
    pthread_rwlock_wrlock(&g->lock);
    int64_t start = gx_clock_monotonic_us();
    if (n > 0 && !beside)
        status = gx_engine_add(g->index.engine, x->rnos, x->floats, n, &err);
    if (status == GX_OK)
        g->index.until = until;
    atomic_store(&g->indexed_until, g->index.until);
    held = gx_clock_monotonic_us() - start;
    pthread_rwlock_unlock(&g->lock);
    g->changed_at_us = gx_clock_monotonic_us();
    atomic_store(&g->unsaved, true);
    pthread_mutex_unlock(&g->change);
    if (beside)
        held = 0;
    else if (held > HOLD_US && g->feed > 1)
        g->feed /= 2;
    else if (held < HOLD_US / 4 && n == g->feed && g->feed < GX_INDEXER_BATCH)
        g->feed *= 2;
    explicit_bzero(x->floats, n * g->meta.dim * sizeof(float));
    atomic_store(&g->broken, atomic_load(&g->broken) || status != GX_OK);
    if (status != GX_OK)
        gx_log_error("feed_failed", "gallery=%" PRIu32 " reason=\"%s\"", g->meta.number, err.text);
    /* Searches get as much time as the feeding kept them waiting. */
    struct timespec pause = {0, (long)GX_MIN(held, (int64_t)500000) * 1000};
    if (held > 0)
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

/* What was removed is left in an index that cannot forget it. A cheap rebuild need not wait for the full time: at most
 * a tenth of a core goes into rebuilding. A long one begins early enough for the erasure to be in time, or at once. */
static bool is_removal_due(struct gx_galleries *galleries, struct gx_gallery *g)
{
    pthread_mutex_lock(&g->removals_lock);
    int64_t oldest = g->oldest_removal_us;
    pthread_mutex_unlock(&g->removals_lock);
    int64_t patience = GX_MIN(galleries->options.rebuild_after_us, 10 * g->build_took_us);
    patience = GX_MIN(patience, galleries->options.erase_deadline_us / 2 - g->build_took_us);
    return oldest != 0 && gx_clock_monotonic_us() - oldest > patience;
}

/* NULL, or why an index is to be built now. While rows pour in (@pouring) only erasures are worth it. */
static const char *why_build(struct gx_galleries *galleries, struct gx_gallery *g, const struct gx_engine_spec *spec,
                             bool pouring)
{
    uint64_t live = gx_rows_live(g->rows);
    bool broken = atomic_load(&g->broken);
    pthread_rwlock_rdlock(&g->lock);
    struct gx_index index = g->index;
    struct gx_engine_stats stats = {0};
    if (index.engine != NULL)
        gx_engine_stats(index.engine, &stats);
    pthread_rwlock_unlock(&g->lock);
    if (!spec->indexes)
        return index.engine != NULL ? "engine" : NULL;
    if (index.engine != NULL && (broken || !index.engine->spec.removes) && is_removal_due(galleries, g))
        return "removal";
    if (pouring)
        return NULL;
    if (broken)
        return "broken";
    if (index.engine == NULL)
        return live >= GX_MAX(spec->train_min, (uint64_t)1) ? "first" : NULL;
    if (strcmp(index.engine->spec.text, spec->text) != 0)
        return "engine";
    /* More rows wait than it holds: building aside is faster than feeding. */
    if (!spec->exhaustive && gx_rows_count(g->rows) - index.until > GX_MAX(stats.entries, (uint64_t)GX_INDEXER_BATCH))
        return "growth";
    /* Rows that arrive while the first index is built are not what it was trained from. Each build draws from all rows,
     * so the gallery has to grow again before the next. */
    if (spec->train_max != 0 && live / RETRAIN_AT >= index.trained_from)
        return "growth";
    if (!spec->removes && (double)index.dead > galleries->options.rebuild_dead * (double)stats.entries)
        return "dead";
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
    if (gx_gallery_spec(galleries, g, text, g->index.engine == NULL ? "" : g->index.engine->spec.text, &spec, &err) !=
        GX_OK)
        return false;
    bool pouring = !asked && !spec.exhaustive && is_pouring(galleries, g);
    const char *why = asked ? "asked" : why_build(galleries, g, &spec, pouring);
    if (why != NULL && (asked || !failed)) {
        gx_indexer_build(galleries, g, text, &spec, why);
        return true;
    }
    if (pouring && (g->index.engine == NULL || !g->index.engine->spec.exhaustive))
        return false; /* what takes rows up as they come goes on with it */
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
    (void)pthread_setname_np(pthread_self(), "indexd-indexer");
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
