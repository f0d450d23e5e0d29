/* The path of a change: somebody says that something has changed -> the state of every watched service is asked again
 * -> whoever watches a service whose state is another than the last one told gets a message.
 *
 * What can go wrong: a client does not read its messages (the stream is cut off by rpc past its limit, and on_end takes
 * the watcher off the list); the server is about to stop (everything is NOT_SERVING, whatever the state function says);
 * too many watchers (RESOURCE_EXHAUSTED). */
#include "health.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "grpc/health/v1/health.pb-c.h"
#include "wire_private.h"

#define SERVICE_MAX  256  /* bytes of a service name that is watched */
#define WATCHERS_MAX 1024 /* streams that watch at a time */
#define UNPACK_ROOM  ((size_t)64 << 10)

#define SERVING     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING
#define NOT_SERVING GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING
#define UNKNOWN     GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN

/* One Watch stream; the state of its call. */
struct watcher {
    struct watcher *next, *previous;
    struct gx_call *call;
    int told; /* the last state sent; 0 = none */
    size_t service_len;
    uint8_t service[SERVICE_MAX];
};

static struct {
    pthread_mutex_t lock; /* guards: watchers, n_watchers, and that the states told are the latest */
    struct watcher *watchers;
    size_t n_watchers;
    gx_health_state *state; /* set before the server starts */
    void *app;
    atomic_bool draining;
} health = {.lock = PTHREAD_MUTEX_INITIALIZER};

void gx_health_set(gx_health_state *state, void *app)
{
    health.state = state;
    health.app = app;
    atomic_store(&health.draining, false);
}

static int state_of(struct gx_slice service)
{
    int state = health.state != NULL ? health.state(health.app, service) : service.len == 0 ? SERVING : UNKNOWN;
    if (state != SERVING && state != NOT_SERVING)
        return UNKNOWN;
    return state == SERVING && atomic_load(&health.draining) ? NOT_SERVING : state;
}

/* ---------------------------------------------------------------- messages */

/* The service that is asked about; points into the call's arena. */
static enum gx_status unpack(struct gx_call *call, struct gx_slice message, struct gx_slice *out_service,
                             struct gx_err *err)
{
    Grpc__Health__V1__HealthCheckRequest *request;
    GX_TRY(gx_wire_unpack(&grpc__health__v1__health_check_request__descriptor, message, UNPACK_ROOM,
                          gx_call_arena(call), &request, err));
    if (request->service.len > SERVICE_MAX)
        return gx_fail(err, GX_E_INVALID, "service: at most %d bytes", SERVICE_MAX);
    *out_service = (struct gx_slice){request->service.data, request->service.len};
    return GX_OK;
}

static size_t pack(int state, uint8_t *out)
{
    Grpc__Health__V1__HealthCheckResponse response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = (Grpc__Health__V1__HealthCheckResponse__ServingStatus)state;
    return grpc__health__v1__health_check_response__pack(&response, out);
}

#define PACKED_MAX 16

/* ---------------------------------------------------------------- Check */

void gx_health_check(void *app, struct gx_call *call, struct gx_slice message)
{
    (void)app;
    struct gx_err err;
    struct gx_slice service;
    enum gx_status status = unpack(call, message, &service, &err);
    int state = status == GX_OK ? state_of(service) : 0;
    if (state == UNKNOWN)
        status = gx_err_set(&err, GX_E_NOT_FOUND, "no such service: ask for \"\" or a service of this server");
    uint8_t *out = status == GX_OK ? gx_call_reply_begin(call, PACKED_MAX) : NULL;
    if (status == GX_OK && out == NULL)
        status = gx_err_set(&err, GX_E_NOMEM, "no memory for the answer: try again later");
    if (status == GX_OK)
        gx_call_reply_end(call, pack(state, out));
    else
        gx_call_fail(call, &err);
}

/* ---------------------------------------------------------------- Watch */

/* Tells @w when its state is another than the last one told. Under the lock, so that no older state comes later. */
static void tell(struct watcher *w)
{
    int state = state_of((struct gx_slice){w->service, w->service_len});
    if (state == w->told)
        return;
    uint8_t *out = gx_call_send_begin(w->call, PACKED_MAX);
    if (out == NULL)
        return;
    gx_call_send_end(w->call, pack(state, out));
    w->told = state;
}

void gx_health_changed(void)
{
    (void)pthread_mutex_lock(&health.lock);
    for (struct watcher *w = health.watchers; w != NULL; w = w->next)
        tell(w);
    (void)pthread_mutex_unlock(&health.lock);
}

void gx_health_drain(void)
{
    atomic_store(&health.draining, true);
    gx_health_changed();
}

/* Puts @w on the list and tells it where things stand; false: there are too many. */
static bool enlist(struct watcher *w)
{
    (void)pthread_mutex_lock(&health.lock);
    bool room = health.n_watchers < WATCHERS_MAX;
    if (room) {
        health.n_watchers++;
        w->next = health.watchers;
        if (w->next != NULL)
            w->next->previous = w;
        health.watchers = w;
        gx_call_hold(w->call); /* until gx_health_watch_end */
        tell(w);
    }
    (void)pthread_mutex_unlock(&health.lock);
    return room;
}

static enum gx_status begin_watch(struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_slice service;
    GX_TRY(unpack(call, message, &service, err));
    struct watcher *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for a watch: try again later");
    gx_call_set_state(call, w, free);
    w->call = call;
    w->service_len = service.len;
    if (service.len > 0)
        memcpy(w->service, service.data, service.len);
    if (!enlist(w))
        return gx_fail(err, GX_E_BUSY, "%d streams watch already: try again later", WATCHERS_MAX);
    return GX_OK;
}

void gx_health_watch(void *app, struct gx_call *call, struct gx_slice message)
{
    (void)app;
    struct gx_err err;
    if (begin_watch(call, message, &err) != GX_OK)
        gx_call_fail(call, &err);
}

void gx_health_watch_end(void *app, struct gx_call *call, bool broken)
{
    (void)app;
    (void)broken; /* a watch has no other end */
    struct watcher *w = gx_call_state(call);
    (void)pthread_mutex_lock(&health.lock);
    if (w->previous != NULL)
        w->previous->next = w->next;
    else
        health.watchers = w->next;
    if (w->next != NULL)
        w->next->previous = w->previous;
    health.n_watchers--;
    (void)pthread_mutex_unlock(&health.lock);
    struct gx_err err;
    (void)gx_err_set(&err, GX_E_CANCELLED, "the watch has ended");
    gx_call_fail(call, &err);
    gx_call_release(call);
}
