/* WatchTicket: the ticket now, and at each change of it.
 *
 * The path: message -> the watcher is listed as due -> this file's thread reads the ticket, sends it, and ends the call
 * when the ticket is final -> the keeper says that a ticket has changed: its watchers are due again.
 *
 * What can go wrong: no such ticket, a read that fails (the call ends with it); the client goes away or the server
 * stops (the watcher is due, and ended). Only the thread takes watchers off the list and ends their calls; the memory
 * is the call's, so whoever still holds the call may look at it. */
#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>

#include "routes_private.h"

#define ARENA_MAX ((size_t)64 << 20) /* a ticket of GX_EXPUNGE_MAX rows is read whole */

struct watcher {
    TAILQ_ENTRY(watcher) link;
    struct gx_call *call; /* held */
    uint64_t number;
    bool due;              /* something is to be done */
    bool gone;             /* namely to end it */
    struct gx_ticket seen; /* as last sent, without its texts; state 0 = nothing sent */
};

/* One server per process, like health; the keeper may tell of changes until it stops, which is after this has. */
static struct {
    pthread_mutex_t lock; /* guards: all but the thread */
    pthread_cond_t wake;
    TAILQ_HEAD(, watcher) watchers; /* the longest unserved first */
    bool stopping;
    struct gx_app *app;
    pthread_t thread;
} watch = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

/* From the keeper's thread. */
static void on_changed(void *arg, uint64_t number)
{
    (void)arg;
    struct watcher *w;
    (void)pthread_mutex_lock(&watch.lock);
    TAILQ_FOREACH(w, &watch.watchers, link)
    w->due = w->due || w->number == number;
    (void)pthread_cond_signal(&watch.wake);
    (void)pthread_mutex_unlock(&watch.lock);
}

/* --- handlers --- */

void gx_routes_watch(void *app, struct gx_call *call, struct gx_slice message)
{
    (void)app;
    struct gx_err err;
    struct watcher *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        (void)gx_err_set(&err, GX_E_NOMEM, "no memory to watch a ticket: try again later");
        gx_call_fail(call, &err);
        return;
    }
    gx_call_set_state(call, w, free);
    if (gx_wire_expunge_decode_ticket(message, gx_call_arena(call), &w->number, &err) != GX_OK) {
        gx_call_fail(call, &err);
        return;
    }
    w->call = call;
    w->due = true;
    gx_call_hold(call);
    (void)pthread_mutex_lock(&watch.lock);
    TAILQ_INSERT_HEAD(&watch.watchers, w, link);
    (void)pthread_cond_signal(&watch.wake);
    (void)pthread_mutex_unlock(&watch.lock);
}

void gx_routes_watch_end(void *app, struct gx_call *call, bool broken)
{
    (void)app;
    (void)broken;
    struct watcher *w = gx_call_state(call);
    (void)pthread_mutex_lock(&watch.lock);
    w->due = w->gone = true;
    (void)pthread_cond_signal(&watch.wake);
    (void)pthread_mutex_unlock(&watch.lock);
}

/* --- the thread --- */

static bool has_changed(const struct gx_ticket *a, const struct gx_ticket *b)
{
    return a->state != b->state || a->unindexed_at_us != b->unindexed_at_us || a->erased_at_us != b->erased_at_us ||
           a->verified_at_us != b->verified_at_us || a->problem.len != b->problem.len;
}

/* Sends the ticket where it has changed; *out_final = that was the last time. */
static enum gx_status send_ticket(struct watcher *w, struct gx_arena *arena, bool *out_final, struct gx_err *err)
{
    struct gx_ticket ticket;
    struct gx_wire_reply reply;
    GX_TRY(gx_call_check(w->call, err));
    GX_TRY(gx_expunge_ticket(watch.app->galleries, w->number, arena, &ticket, err));
    *out_final = gx_expunge_is_final(&ticket);
    if (!has_changed(&ticket, &w->seen))
        return GX_OK;
    w->seen = ticket;
    GX_TRY(gx_backup_name(watch.app->galleries, &ticket, 1, arena, err));
    GX_TRY(gx_wire_expunge_build_ticket(&ticket, arena, &reply, err));
    return gx_routes_send(w->call, &reply, err);
}

/* True = the call has been ended. */
static bool serve(struct watcher *w, bool gone, struct gx_arena *arena)
{
    struct gx_err err;
    bool final = false;
    enum gx_status status;
    if (gone)
        status = gx_fail(&err, GX_E_CANCELLED, "the watch was broken off: ask for the ticket again");
    else
        status = send_ticket(w, arena, &final, &err);
    gx_arena_reset(arena);
    if (status != GX_OK)
        gx_routes_fail(w->call, &err);
    else if (final)
        gx_call_finish(w->call);
    return status != GX_OK || final;
}

/* The next watcher that is due; NULL: it is time to end. The lock is held. */
static struct watcher *wait_due(void)
{
    for (;;) {
        struct watcher *w;
        TAILQ_FOREACH(w, &watch.watchers, link)
        if (w->due)
            return w;
        if (watch.stopping)
            return NULL;
        (void)pthread_cond_wait(&watch.wake, &watch.lock);
    }
}

static void *run(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "indexd-watch");
    (void)arg;
    struct gx_arena arena;
    struct watcher *w;
    gx_arena_init(&arena, ARENA_MAX);
    (void)pthread_mutex_lock(&watch.lock);
    while ((w = wait_due()) != NULL) {
        bool gone = w->gone;
        w->due = false;
        (void)pthread_mutex_unlock(&watch.lock);
        bool over = serve(w, gone, &arena);
        (void)pthread_mutex_lock(&watch.lock);
        TAILQ_REMOVE(&watch.watchers, w, link);
        if (!over) {
            TAILQ_INSERT_TAIL(&watch.watchers, w, link);
            continue;
        }
        (void)pthread_mutex_unlock(&watch.lock);
        gx_call_release(w->call);
        (void)pthread_mutex_lock(&watch.lock);
    }
    (void)pthread_mutex_unlock(&watch.lock);
    gx_arena_fini(&arena);
    return NULL;
}

enum gx_status gx_routes_watch_start(struct gx_app *app, struct gx_err *err)
{
    TAILQ_INIT(&watch.watchers);
    watch.stopping = false;
    watch.app = app;
    int e = pthread_create(&watch.thread, NULL, run, NULL);
    if (e != 0) {
        watch.app = NULL;
        return gx_err_errno(err, e, "start the thread of WatchTicket");
    }
    gx_expunge_set_changed(app->galleries, on_changed, NULL);
    return GX_OK;
}

void gx_routes_watch_stop(void)
{
    if (watch.app == NULL)
        return;
    (void)pthread_mutex_lock(&watch.lock);
    watch.stopping = true;
    (void)pthread_cond_signal(&watch.wake);
    (void)pthread_mutex_unlock(&watch.lock);
    (void)pthread_join(watch.thread, NULL);
    watch.app = NULL;
}
