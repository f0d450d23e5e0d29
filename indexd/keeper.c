/* The one background thread for slow work: it takes tickets through their erasure (erase.c), submits expungements again
 * whose batch could not be written, takes deleted galleries out of the store, makes the ballast again when there is
 * room, and forgets remembered requests after a day. All of it is found again at the next start from what the store
 * says.
 *
 * What can go wrong: a step fails (disk full): it is logged once per round and tried again in the next. */
#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"
#include "erase_private.h"
#include "failpoint.h"
#include "log.h"

#define ROUND_US        1000000
#define REMEMBER_US     ((int64_t)24 * 3600 * 1000000)
#define FORGET_EVERY_US ((int64_t)3600 * 1000000)
#define TRIM_EVERY_US   ((int64_t)30 * 1000000)
#define ROOM_EVERY_US   ((int64_t)5 * 1000000)
#define FORGET_AT_ONCE  10000
#define ARENA_MAX       ((size_t)256 << 20)

struct deleted {
    struct deleted *next;
    struct gx_gallery_meta meta;
};

struct gx_keeper {
    pthread_t thread;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t wake;
    bool stopping, woken;
    struct gx_pending *pending, **pending_end; /* only this thread takes out */
    size_t n_pending, n_alarms;
    struct gx_mutation *retries;
    struct deleted *deleted;
    int64_t forgot_at_us, trimmed_at_us, ballast_at_us;
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
    k->pending_end = &k->pending;
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
        gx_erase_proof_drop(galleries, p);
        free(p);
    }
    for (struct deleted *d = k->deleted, *next; d != NULL; d = next) {
        next = d->next;
        free(d);
    }
    for (struct gx_mutation *m = k->retries, *next; m != NULL; m = next) {
        next = m->next;
        m->discard(m);
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

bool gx_keeper_is_stopping(struct gx_galleries *galleries)
{
    struct gx_keeper *k = galleries->keeper;
    pthread_mutex_lock(&k->lock);
    bool stopping = k->stopping;
    pthread_mutex_unlock(&k->lock);
    return stopping || atomic_load(&galleries->stopping);
}

enum gx_status gx_keeper_reserve(const uint64_t *rnos, size_t n, struct gx_pending **out, struct gx_err *err)
{
    struct gx_pending *p = calloc(1, sizeof(*p) + n * (sizeof(*rnos) + sizeof(*p->keys)));
    *out = p;
    if (p == NULL)
        return gx_fail(err, GX_E_NOMEM, "note a ticket: out of memory");
    p->n = n;
    p->keys = (struct gx_row_keys *)(void *)(p->rnos + n);
    if (n > 0)
        memcpy(p->rnos, rnos, n * sizeof(*rnos));
    return GX_OK;
}

void gx_keeper_add_ticket(struct gx_galleries *galleries, struct gx_pending *pending, const struct gx_ticket *ticket,
                          const struct gx_row_keys *keys, uint64_t serial)
{
    struct gx_keeper *k = galleries->keeper;
    pending->number = ticket->number;
    pending->gallery = ticket->gallery_number;
    pending->serial = serial;
    pending->state = ticket->state;
    pending->accepted_at_us = ticket->accepted_at_us;
    pending->added_at_us = serial == 0 ? 0 : gx_clock_monotonic_us();
    pending->facts = *ticket;
    pending->facts.gallery = pending->facts.order_ref = pending->facts.problem = (struct gx_slice){NULL, 0};
    pending->facts.rnos = NULL;
    if (pending->n > 0)
        memcpy(pending->keys, keys, pending->n * sizeof(*keys));
    pthread_mutex_lock(&k->lock);
    *k->pending_end = pending;
    k->pending_end = &pending->next;
    k->n_pending++;
    pthread_mutex_unlock(&k->lock);
}

void gx_keeper_set_state(struct gx_galleries *galleries, struct gx_pending *pending, enum gx_ticket_state state)
{
    struct gx_keeper *k = galleries->keeper;
    pthread_mutex_lock(&k->lock);
    pending->state = state;
    k->n_alarms -= pending->alarm_at_us != 0;
    pending->alarm_at_us = 0;
    pthread_mutex_unlock(&k->lock);
}

void gx_keeper_set_alarm(struct gx_galleries *galleries, struct gx_pending *pending, const char *problem, int64_t at_us)
{
    struct gx_keeper *k = galleries->keeper;
    pthread_mutex_lock(&k->lock);
    k->n_alarms += pending->alarm_at_us == 0;
    pending->alarm_at_us = at_us;
    snprintf(pending->alarm, sizeof(pending->alarm), "%s", problem);
    pthread_mutex_unlock(&k->lock);
}

enum gx_status gx_keeper_add_alarm(struct gx_galleries *galleries, struct gx_arena *arena, struct gx_ticket *ticket,
                                   struct gx_err *err)
{
    struct gx_keeper *k = galleries->keeper;
    enum gx_status status = GX_OK;
    pthread_mutex_lock(&k->lock);
    for (const struct gx_pending *p = k->n_alarms > 0 ? k->pending : NULL; p != NULL; p = p->next) {
        if (p->number != ticket->number || p->alarm_at_us == 0)
            continue;
        ticket->state = GX_TICKET_FAILED;
        ticket->failed_at_us = p->alarm_at_us;
        status = gx_arena_copy(arena, gx_slice_text(p->alarm), &ticket->problem, err);
        break;
    }
    pthread_mutex_unlock(&k->lock);
    return status;
}

void gx_keeper_count_alarms(struct gx_galleries *galleries, struct gx_expunge_alarms *out)
{
    struct gx_keeper *k = galleries->keeper;
    int64_t due = gx_clock_wall_us() - galleries->options.erase_deadline_us;
    *out = (struct gx_expunge_alarms){0};
    pthread_mutex_lock(&k->lock);
    for (const struct gx_pending *p = k->pending; p != NULL; p = p->next) {
        out->n_pending += p->state != GX_TICKET_VERIFIED;
        out->n_failed += p->state == GX_TICKET_FAILED || p->alarm_at_us != 0;
        out->n_overdue += p->state != GX_TICKET_VERIFIED && p->accepted_at_us <= due;
    }
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

bool gx_keeper_is_deleting(struct gx_galleries *galleries, uint32_t gallery)
{
    struct gx_keeper *k = galleries->keeper;
    bool found = false;
    pthread_mutex_lock(&k->lock);
    for (const struct deleted *d = k->deleted; d != NULL && !found; d = d->next)
        found = d->meta.number == gallery;
    pthread_mutex_unlock(&k->lock);
    return found;
}

/* Takes those out that are VERIFIED. */
static void take_out_verified(struct gx_galleries *galleries)
{
    struct gx_keeper *k = galleries->keeper;
    pthread_mutex_lock(&k->lock);
    struct gx_pending **at = &k->pending, *p;
    while ((p = *at) != NULL) {
        if (p->state != GX_TICKET_VERIFIED) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        k->n_pending--;
        gx_erase_proof_drop(galleries, p);
        free(p);
    }
    k->pending_end = at;
    pthread_mutex_unlock(&k->lock);
}

/* *out_again: when there is something to do again. */
static void erase_tickets(struct gx_galleries *galleries, int64_t *out_again)
{
    struct gx_keeper *k = galleries->keeper;
    *out_again = INT64_MAX;
    pthread_mutex_lock(&k->lock);
    size_t n = 0, max = k->n_pending;
    struct gx_pending **list = max > 0 ? calloc(max, sizeof(struct gx_pending *)) : NULL;
    for (struct gx_pending *p = k->pending; p != NULL && list != NULL; p = p->next)
        list[n++] = p;
    pthread_mutex_unlock(&k->lock);
    if (n > 0)
        gx_erase_round(galleries, list, n, out_again);
    free(list);
    take_out_verified(galleries);
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

static void publish_nothing(struct gx_mutation *self, struct gx_galleries *galleries, uint64_t epoch)
{
    (void)self;
    (void)galleries;
    (void)epoch;
}

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
    struct forget_gallery f = {.base = {.prepare = forget_prepare, .publish = publish_nothing}, .number = meta->number};
    struct gx_gallery gone = {.meta = *meta, .drop_open = true};
    gx_failpoint_pass("keeper.before_range");
    GX_TRY(delete_rows(galleries, meta, err));
    gx_failpoint_pass("keeper.after_range");
    GX_TRY(gx_gallery_drop_saved(galleries, &gone, err));
    gx_failpoint_pass("keeper.after_drop");
    GX_TRY(gx_erase_gallery(galleries, meta->number, err));
    gx_failpoint_pass("keeper.after_erase");
    return gx_writer_run(galleries, &f.base, err);
}

/* False: some are left. */
static bool drop_deleted(struct gx_galleries *galleries)
{
    struct gx_keeper *k = galleries->keeper;
    bool all = true;
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
            all = false;
        }
        free(d);
    }
    return all;
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

/* False: some are left. */
static bool forget_outdated(struct gx_galleries *galleries)
{
    struct gx_arena arena;
    struct gx_err err;
    enum gx_status status;
    size_t n;
    gx_arena_init(&arena, ARENA_MAX);
    do {
        struct forget_requests f = {.base = {.prepare = forget_requests_prepare, .publish = publish_nothing}};
        status = collect_outdated(galleries, &arena, &f, &err);
        n = f.n;
        if (status == GX_OK && n > 0)
            status = gx_writer_run(galleries, &f.base, &err);
        gx_arena_reset(&arena);
    } while (status == GX_OK && n == FORGET_AT_ONCE && !atomic_load(&galleries->stopping));
    if (status != GX_OK)
        gx_log_warn("requests_not_forgotten", "reason=\"%s\"", err.text);
    gx_arena_fini(&arena);
    return status == GX_OK;
}

/* --- the thread --- */

/* At most until @again (monotonic). */
static bool wait_for_work(struct gx_keeper *k, int64_t again)
{
    struct timespec until;
    int64_t at_us = GX_MIN(again, gx_clock_monotonic_us() + ROUND_US);
    until.tv_sec = at_us / 1000000;
    until.tv_nsec = at_us % 1000000 * 1000;
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
    (void)pthread_setname_np(pthread_self(), "indexd-keeper");
    struct gx_galleries *galleries = arg;
    struct gx_keeper *k = galleries->keeper;
    int64_t again;
    gx_engine_thread_begin();
    do {
        int64_t now = gx_clock_monotonic_us();
        submit_again(galleries);
        bool dropped = drop_deleted(galleries);
        erase_tickets(galleries, &again);
        gx_store_erase_rest(galleries->store);
        if (!dropped)
            again = GX_MIN(again, gx_clock_monotonic_us() + galleries->options.erase_retry_us);
        if (now - k->trimmed_at_us >= TRIM_EVERY_US) {
            k->trimmed_at_us = now;
            malloc_trim(0); /* what a burst of calls or a build has left */
        }
        if (now - k->ballast_at_us >= ROOM_EVERY_US) {
            k->ballast_at_us = now;
            gx_galleries_renew_ballast(galleries);
        }
        if (k->forgot_at_us == 0 || now - k->forgot_at_us >= FORGET_EVERY_US)
            k->forgot_at_us = forget_outdated(galleries) ? now : 0;
    } while (wait_for_work(k, again));
    return NULL;
}
