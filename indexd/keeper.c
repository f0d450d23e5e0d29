/* The one background thread for slow work behind expungements.
 *
 * The path of a ticket: its rows are zeroed in memory -> the index in use forgets them -> the saved index that still
 * held them is deleted -> nothing of them is left in any index (one that cannot remove, or is being built, makes the
 * ticket wait for a rebuild) -> the ticket is stamped, through the writer like every other change.
 *
 * Besides: expungements whose batch could not be written are submitted again, deleted galleries leave the store, and
 * remembered requests are forgotten after a day. All of it is found again at the next start from what the store says.
 *
 * What can go wrong: a step fails (disk full): it is logged once per round and tried again in the next. */
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"
#include "failpoint.h"
#include "gallery_private.h"
#include "log.h"

#define ROUND_US        1000000
#define REMEMBER_US     ((int64_t)24 * 3600 * 1000000)
#define FORGET_EVERY_US ((int64_t)3600 * 1000000)
#define TRIM_EVERY_US   ((int64_t)30 * 1000000)
#define REMOVE_AT_ONCE  256 /* rows an engine forgets per hold */
#define FORGET_AT_ONCE  10000
#define ARENA_MAX       ((size_t)256 << 20)

struct gx_pending {
    struct gx_pending *next;
    uint64_t number;
    uint32_t gallery;
    uint64_t serial; /* of its last removal in the gallery's log; 0 = not noted there yet */
    bool wiped;
    size_t n;
    uint64_t rnos[]; /* [n] */
};

struct deleted {
    struct deleted *next;
    struct gx_gallery_meta meta;
};

struct gx_keeper {
    pthread_t thread;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t wake;
    bool stopping, woken;
    struct gx_pending *pending;
    struct gx_mutation *retries;
    struct deleted *deleted;
    int64_t forgot_at_us, trimmed_at_us;
};

static void *run(void *arg);

enum gx_status gx_keeper_start(struct gx_galleries *galleries, struct gx_err *err)
{
    struct gx_keeper *k = calloc(1, sizeof(*k));
    if (k == NULL)
        return gx_fail(err, GX_E_NOMEM, "start the keeper: out of memory");
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&k->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&k->lock, NULL);
    galleries->keeper = k;
    return GX_OK;
}

enum gx_status gx_keeper_run(struct gx_galleries *galleries, struct gx_err *err)
{
    int e = pthread_create(&galleries->keeper->thread, NULL, run, galleries);
    return e == 0 ? GX_OK : gx_err_errno(err, e, "start the keeper thread");
}

void gx_keeper_stop(struct gx_galleries *galleries)
{
    struct gx_keeper *k = galleries->keeper;
    if (k == NULL)
        return;
    pthread_mutex_lock(&k->lock);
    k->stopping = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    if (k->thread != 0)
        pthread_join(k->thread, NULL);
    k->thread = 0;
}

void gx_keeper_free(struct gx_galleries *galleries)
{
    struct gx_keeper *k = galleries->keeper;
    if (k == NULL)
        return;
    for (struct gx_pending *p = k->pending, *next; p != NULL; p = next) {
        next = p->next;
        free(p);
    }
    for (struct deleted *d = k->deleted, *next; d != NULL; d = next) {
        next = d->next;
        free(d);
    }
    for (struct gx_mutation *m = k->retries, *next; m != NULL; m = next) {
        next = m->next;
        gx_expunge_discard(m);
    }
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
    free(k);
    galleries->keeper = NULL;
}

void gx_keeper_wake(struct gx_galleries *galleries)
{
    struct gx_keeper *k = galleries->keeper;
    pthread_mutex_lock(&k->lock);
    k->woken = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
}

enum gx_status gx_keeper_reserve(const uint64_t *rnos, size_t n, struct gx_pending **out, struct gx_err *err)
{
    struct gx_pending *p = calloc(1, sizeof(*p) + n * sizeof(*rnos));
    *out = p;
    if (p == NULL)
        return gx_fail(err, GX_E_NOMEM, "note a ticket: out of memory");
    p->n = n;
    if (n > 0)
        memcpy(p->rnos, rnos, n * sizeof(*rnos));
    return GX_OK;
}

void gx_keeper_add_ticket(struct gx_galleries *galleries, struct gx_pending *pending, uint64_t number, uint32_t gallery,
                          uint64_t serial)
{
    struct gx_keeper *k = galleries->keeper;
    pending->number = number;
    pending->gallery = gallery;
    pending->serial = serial;
    pthread_mutex_lock(&k->lock);
    struct gx_pending **end = &k->pending;
    while (*end != NULL)
        end = &(*end)->next;
    *end = pending;
    pthread_mutex_unlock(&k->lock);
}

void gx_keeper_add_retry(struct gx_galleries *galleries, struct gx_mutation *mutation)
{
    struct gx_keeper *k = galleries->keeper;
    pthread_mutex_lock(&k->lock);
    mutation->next = k->retries;
    k->retries = mutation;
    pthread_mutex_unlock(&k->lock);
}

void gx_keeper_add_deleted(struct gx_galleries *galleries, const struct gx_gallery_meta *meta)
{
    struct gx_keeper *k = galleries->keeper;
    struct deleted *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return; /* the store says so: the next start finds it */
    d->meta = *meta;
    pthread_mutex_lock(&k->lock);
    d->next = k->deleted;
    k->deleted = d;
    pthread_mutex_unlock(&k->lock);
}

/* --- tickets --- */

static void wipe_rows(struct gx_gallery *g, const struct gx_pending *p)
{
    gx_gallery_wait_readers(g);
    for (size_t i = 0; i < p->n; i++) {
        uint32_t slot;
        if (gx_rows_find(g->rows, p->rnos[i], &slot))
            gx_rows_wipe(g->rows, slot);
    }
}

/* Tells the index in use what was removed, and deletes the file that still holds it. *out_clean: of the removals up to
 * @serial nothing is left, in no index and no file. */
static enum gx_status clean_index(struct gx_galleries *galleries, struct gx_gallery *g, uint64_t serial,
                                  bool *out_clean, struct gx_err *err)
{
    bool more = true;
    enum gx_status status = GX_OK;
    pthread_mutex_lock(&g->change);
    uint64_t told = g->index.removed_upto;
    while (more && status == GX_OK) {
        pthread_rwlock_wrlock(&g->lock);
        status = gx_gallery_apply_removals(g, &g->index, REMOVE_AT_ONCE, &more, err);
        pthread_rwlock_unlock(&g->lock);
    }
    if (status != GX_OK)
        atomic_store(&g->broken, true);
    if (g->index.removed_upto != told) {
        g->drop_open = true; /* until the file is gone, durably */
        atomic_store(&g->unsaved, true);
        if (g->index.engine != NULL && !g->index.engine->spec.removes) {
            pthread_rwlock_wrlock(&g->lock);
            gx_gallery_count_dead(g, &g->index);
            pthread_rwlock_unlock(&g->lock);
        }
    }
    if (status == GX_OK)
        status = g->drop_open || g->index.engine == NULL ? gx_gallery_drop_saved(galleries, g, err) : GX_OK;
    *out_clean = status == GX_OK && gx_gallery_clean_upto(g) >= serial;
    pthread_mutex_unlock(&g->change);
    return status;
}

/* The change of a ticket, as a mutation. */
struct stamp {
    struct gx_mutation base; /* first */
    uint64_t number;
    int64_t unindexed_at_us;
};

static enum gx_status stamp_prepare(struct gx_mutation *self, struct gx_galleries *galleries,
                                    struct gx_store_batch *batch, struct gx_arena *arena, uint64_t epoch,
                                    struct gx_err *err)
{
    struct stamp *s = (struct stamp *)self;
    struct gx_ticket ticket;
    struct gx_slice value;
    uint8_t key[GX_KEY_TICKET_LEN];
    (void)epoch;
    GX_TRY(gx_expunge_ticket(galleries, s->number, arena, &ticket, err));
    ticket.unindexed_at_us = s->unindexed_at_us;
    GX_TRY(gx_codec_ticket_encode(&ticket, arena, &value, err));
    gx_codec_key_ticket(s->number, key);
    gx_store_batch_put(batch, GX_CF_LEDGER, (struct gx_slice){key, sizeof(key)}, value);
    self->changed = true;
    return GX_OK;
}

static void stamp_publish(struct gx_mutation *self, struct gx_galleries *galleries, uint64_t epoch)
{
    (void)self;
    (void)galleries;
    (void)epoch;
}

static enum gx_status stamp_ticket(struct gx_galleries *galleries, uint64_t number, struct gx_err *err)
{
    struct stamp s = {.base = {.prepare = stamp_prepare, .publish = stamp_publish},
                      .number = number,
                      .unindexed_at_us = gx_clock_wall_us()};
    gx_failpoint_pass("keeper.before_stamp");
    return gx_writer_run(galleries, &s.base, err);
}

static bool is_being_deleted(struct gx_keeper *k, uint32_t gallery)
{
    bool found = false;
    pthread_mutex_lock(&k->lock);
    for (const struct deleted *d = k->deleted; d != NULL && !found; d = d->next)
        found = d->meta.number == gallery;
    pthread_mutex_unlock(&k->lock);
    return found;
}

/* *out_done: the ticket is stamped, or its gallery is gone (its rows left memory with it). */
static enum gx_status carry_out(struct gx_galleries *galleries, struct gx_pending *p, bool *out_done,
                                struct gx_err *err)
{
    *out_done = false;
    struct gx_gallery *g = gx_gallery_find_number(galleries, p->gallery);
    enum gx_status status = GX_OK;
    if (g != NULL && !atomic_load(&g->loaded)) {
        gx_gallery_unref(g);
        return GX_OK;
    }
    if (g != NULL && !p->wiped) {
        gx_failpoint_pass("keeper.before_wipe");
        wipe_rows(g, p);
        p->wiped = true;
    }
    if (g != NULL && p->serial == 0) { /* found at start: nothing was noted for it yet */
        status = gx_gallery_reserve_removals(g, p->n, err);
        if (status == GX_OK)
            p->serial = gx_gallery_note_removals(g, p->rnos, p->n);
    }
    bool clean = g == NULL && !is_being_deleted(galleries->keeper, p->gallery);
    if (status == GX_OK && g != NULL)
        status = clean_index(galleries, g, p->serial, &clean, err);
    if (!clean)
        gx_indexer_wake(galleries);
    gx_gallery_unref(g);
    if (status != GX_OK || !clean)
        return status;
    GX_TRY(stamp_ticket(galleries, p->number, err));
    *out_done = true;
    return GX_OK;
}

static void carry_out_all(struct gx_galleries *galleries)
{
    struct gx_keeper *k = galleries->keeper;
    pthread_mutex_lock(&k->lock);
    struct gx_pending *list = k->pending;
    k->pending = NULL;
    pthread_mutex_unlock(&k->lock);
    struct gx_pending *left = NULL, **end = &left;
    for (struct gx_pending *p = list, *next; p != NULL; p = next) {
        struct gx_err err;
        bool finished;
        next = p->next;
        p->next = NULL;
        if (carry_out(galleries, p, &finished, &err) != GX_OK)
            gx_log_error("expunge_delayed", "ticket=%" PRIu64 " reason=\"%s\"", p->number, err.text);
        if (!finished) {
            *end = p;
            end = &p->next;
            continue;
        }
        gx_expunge_changed *changed = atomic_load(&galleries->ticket_changed);
        if (changed != NULL)
            changed(galleries->ticket_changed_arg, p->number);
        free(p);
    }
    pthread_mutex_lock(&k->lock);
    *end = k->pending;
    k->pending = left;
    pthread_mutex_unlock(&k->lock);
}

/* --- batches that could not be written --- */

static void submit_again(struct gx_galleries *galleries)
{
    struct gx_keeper *k = galleries->keeper;
    pthread_mutex_lock(&k->lock);
    struct gx_mutation *list = k->retries;
    k->retries = NULL;
    pthread_mutex_unlock(&k->lock);
    for (struct gx_mutation *m = list, *next; m != NULL; m = next) {
        struct gx_err err;
        next = m->next;
        if (gx_writer_submit(galleries, m, true, &err) != GX_OK)
            gx_keeper_add_retry(galleries, m);
    }
}

/* --- deleted galleries --- */

static enum gx_status delete_rows(struct gx_galleries *galleries, const struct gx_gallery_meta *meta,
                                  struct gx_err *err)
{
    static const enum gx_family families[] = {GX_CF_EMB, GX_CF_REC, GX_CF_BY_RECORD, GX_CF_BY_ARREST, GX_CF_BY_SUBJECT};
    uint8_t from[4], until[4];
    gx_codec_put_u32(from, meta->number);
    gx_codec_put_u32(until, meta->number + 1);
    for (size_t i = 0; i < GX_COUNT_OF(families); i++)
        GX_TRY(gx_store_delete_range(galleries->store, families[i], (struct gx_slice){from, sizeof(from)},
                                     (struct gx_slice){until, sizeof(until)}, err));
    return GX_OK;
}

struct forget_gallery {
    struct gx_mutation base; /* first */
    uint32_t number;
};

static enum gx_status forget_prepare(struct gx_mutation *self, struct gx_galleries *galleries,
                                     struct gx_store_batch *batch, struct gx_arena *arena, uint64_t epoch,
                                     struct gx_err *err)
{
    uint8_t key[GX_KEY_GALLERY_LEN];
    (void)galleries;
    (void)arena;
    (void)epoch;
    (void)err;
    gx_codec_key_gallery(((struct forget_gallery *)self)->number, key);
    gx_store_batch_delete(batch, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)});
    self->changed = true;
    return GX_OK;
}

static enum gx_status drop_gallery(struct gx_galleries *galleries, const struct gx_gallery_meta *meta,
                                   struct gx_err *err)
{
    struct forget_gallery f = {.base = {.prepare = forget_prepare, .publish = stamp_publish}, .number = meta->number};
    struct gx_gallery gone = {.meta = *meta, .drop_open = true};
    GX_TRY(delete_rows(galleries, meta, err));
    GX_TRY(gx_gallery_drop_saved(galleries, &gone, err));
    return gx_writer_run(galleries, &f.base, err);
}

static void drop_deleted(struct gx_galleries *galleries)
{
    struct gx_keeper *k = galleries->keeper;
    pthread_mutex_lock(&k->lock);
    struct deleted *list = k->deleted;
    k->deleted = NULL;
    pthread_mutex_unlock(&k->lock);
    for (struct deleted *d = list, *next; d != NULL; d = next) {
        struct gx_err err;
        next = d->next;
        if (drop_gallery(galleries, &d->meta, &err) != GX_OK) {
            gx_log_error("gallery_delete_delayed", "gallery=%" PRIu32 " reason=\"%s\"", d->meta.number, err.text);
            gx_keeper_add_deleted(galleries, &d->meta);
        }
        free(d);
    }
}

/* --- remembered requests --- */

struct forget_requests {
    struct gx_mutation base; /* first */
    uint8_t (*keys)[GX_KEY_REQUEST_LEN];
    size_t n;
};

static enum gx_status forget_requests_prepare(struct gx_mutation *self, struct gx_galleries *galleries,
                                              struct gx_store_batch *batch, struct gx_arena *arena, uint64_t epoch,
                                              struct gx_err *err)
{
    struct forget_requests *f = (struct forget_requests *)self;
    (void)galleries;
    (void)arena;
    (void)epoch;
    (void)err;
    for (size_t i = 0; i < f->n; i++)
        gx_store_batch_delete(batch, GX_CF_DEFAULT, (struct gx_slice){f->keys[i], GX_KEY_REQUEST_LEN});
    self->changed = f->n > 0;
    return GX_OK;
}

/* Collects up to FORGET_AT_ONCE outdated ones. */
static enum gx_status collect_outdated(struct gx_galleries *galleries, struct gx_arena *arena,
                                       struct forget_requests *f, struct gx_err *err)
{
    const size_t max = FORGET_AT_ONCE;
    struct gx_store_iter *iter;
    GX_TRY(gx_arena_array(arena, max, sizeof(*f->keys), &f->keys, err));
    GX_TRY(gx_store_iter_begin(galleries->store, GX_CF_DEFAULT, gx_slice_text(GX_KEY_REQUEST_PREFIX),
                               (struct gx_slice){NULL, 0}, false, &iter, err));
    int64_t now = gx_clock_wall_us();
    enum gx_status status = GX_OK;
    while (status == GX_OK && f->n < max) {
        struct gx_slice key, value;
        struct gx_request_memory memory;
        bool more;
        status = gx_store_iter_next(iter, &more, &key, &value, err);
        if (status != GX_OK || !more)
            break;
        if (key.len != GX_KEY_REQUEST_LEN)
            continue;
        status = gx_codec_request_decode(value, &memory, err);
        if (status == GX_OK && memory.at_us + REMEMBER_US < now)
            memcpy(f->keys[f->n++], key.data, GX_KEY_REQUEST_LEN);
    }
    gx_store_iter_end(iter);
    return status;
}

static void forget_outdated(struct gx_galleries *galleries)
{
    struct gx_arena arena;
    struct gx_err err;
    enum gx_status status;
    size_t n;
    gx_arena_init(&arena, ARENA_MAX);
    do {
        struct forget_requests f = {.base = {.prepare = forget_requests_prepare, .publish = stamp_publish}};
        status = collect_outdated(galleries, &arena, &f, &err);
        n = f.n;
        if (status == GX_OK && n > 0)
            status = gx_writer_run(galleries, &f.base, &err);
        gx_arena_reset(&arena);
    } while (status == GX_OK && n == FORGET_AT_ONCE && !atomic_load(&galleries->stopping));
    if (status != GX_OK)
        gx_log_warn("requests_not_forgotten", "reason=\"%s\"", err.text);
    gx_arena_fini(&arena);
}

/* --- the thread --- */

static bool wait_for_work(struct gx_keeper *k)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ROUND_US / 1000000;
    pthread_mutex_lock(&k->lock);
    while (!k->woken && !k->stopping)
        if (pthread_cond_timedwait(&k->wake, &k->lock, &until) != 0)
            break;
    k->woken = false;
    bool go_on = !k->stopping;
    pthread_mutex_unlock(&k->lock);
    return go_on;
}

static void *run(void *arg)
{
    struct gx_galleries *galleries = arg;
    struct gx_keeper *k = galleries->keeper;
    gx_engine_thread_begin();
    do {
        int64_t now = gx_clock_monotonic_us();
        submit_again(galleries);
        drop_deleted(galleries);
        carry_out_all(galleries);
        if (now - k->trimmed_at_us >= TRIM_EVERY_US) {
            k->trimmed_at_us = now;
            malloc_trim(0); /* what a burst of calls or a build has left */
        }
        if (k->forgot_at_us == 0 || now - k->forgot_at_us >= FORGET_EVERY_US) {
            k->forgot_at_us = now;
            forget_outdated(galleries);
        }
    } while (wait_for_work(k));
    return NULL;
}
