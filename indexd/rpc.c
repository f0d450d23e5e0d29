/* Start and stop of the server.
 *
 * The path up: version and options -> libgrpc's server with its limits -> methods, completion queues, port -> guard of
 * the listener -> workers and I/O threads -> serving, every method armed on every queue.
 * The path down (the order is libgrpc's; a queue shut down too early aborts the process): no new calls -> streams that
 * may idle for ever are cut off -> grace -> running calls are cancelled -> the last call is gone -> workers joined ->
 * queues shut down and drained, I/O threads joined -> everything freed.
 *
 * What can go wrong: any step up fails (the path down takes whatever there is); a handler that never answers holds the
 * stop up: said in the log. */
#include "rpc_private.h"

#include <errno.h>
#include <grpc/support/time.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "accept_guard.h"
#include "clock.h"
#include "log.h"
#include "thread.h"

#define ARMED_UNARY   16 /* requests that may arrive between two looks at the queue without a detour in libgrpc */
#define ARMED_BIDI    4
#define ARMED_UNKNOWN 1
#define LOOK_EVERY_US INT64_C(50000)
#define WARN_EVERY_US INT64_C(10000000)

void gx_rpc_prepare(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL); /* libgrpc's threads inherit it: the signals are left to main */
    (void)signal(SIGPIPE, SIG_IGN);
    gx_rpc_core_tame();
}

/* ---------------------------------------------------------------- options */

static enum gx_status check_range(const char *name, uint64_t value, uint64_t max, struct gx_err *err)
{
    if (value < 1 || value > max)
        return gx_fail(err, GX_E_INVALID, "%s: %llu is out of range: choose 1 to %llu", name, (unsigned long long)value,
                       (unsigned long long)max);
    return GX_OK;
}

static enum gx_status check_routes(const struct gx_rpc_options *options, struct gx_err *err)
{
    for (size_t i = 0; i < options->n_routes; i++) {
        const struct gx_route *route = &options->routes[i];
        if (route->path == NULL || route->path[0] != '/' || route->on_message == NULL)
            return gx_fail(err, GX_E_INTERNAL, "route %zu has no path or no handler", i);
        if (route->place == GX_RPC_EITHER && route->kind != GX_RPC_UNARY)
            return gx_fail(err, GX_E_INTERNAL, "route %zu is a stream, and none is carried out on either thread", i);
        if (route->max_message > GX_MESSAGE_MAX)
            return gx_fail(err, GX_E_INTERNAL, "route %zu takes messages of more than GX_MESSAGE_MAX bytes", i);
    }
    return GX_OK;
}

static enum gx_status resolve(const struct gx_rpc_options *in, struct gx_rpc_options *o, struct gx_err *err)
{
    long n = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned cores = n < 1 ? 1 : (unsigned)n;
    *o = *in;
    o->n_io = o->n_io != 0 ? o->n_io : GX_MAX(1u, GX_MIN(cores / 16, 4u));
    o->n_workers = o->n_workers != 0 ? o->n_workers : GX_MIN(cores, 1024u);
    o->queue_max = o->queue_max != 0 ? o->queue_max : 1024;
    o->connections_max = o->connections_max != 0 ? o->connections_max : 4096;
    o->streams_max = o->streams_max != 0 ? o->streams_max : 1024;
    o->memory_max = o->memory_max != 0 ? o->memory_max : (size_t)64 << 20;
    o->grace_us = o->grace_us > 0 ? o->grace_us : 10000000;
    if (o->listen == NULL)
        return gx_fail(err, GX_E_INVALID, "listen: no address: write 127.0.0.1:7600 or unix:/path");
    GX_TRY(check_range("io threads", o->n_io, 8, err));
    GX_TRY(check_range("workers", o->n_workers, 1024, err));
    GX_TRY(check_range("queue", o->queue_max, 1000000, err));
    GX_TRY(check_range("connections", o->connections_max, 100000, err));
    return check_routes(o, err);
}

/* ---------------------------------------------------------------- start */

static enum gx_status register_methods(struct gx_rpc *rpc, struct gx_err *err)
{
    rpc->n_methods = rpc->options.n_routes + 1;
    rpc->methods = calloc(rpc->n_methods, sizeof(*rpc->methods));
    if (rpc->methods == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for the table of methods");
    for (size_t i = 0; i < rpc->options.n_routes; i++) {
        const struct gx_route *route = &rpc->options.routes[i];
        grpc_server_register_method_payload_handling payload =
            route->kind == GX_RPC_BIDI ? GRPC_SRM_PAYLOAD_NONE : GRPC_SRM_PAYLOAD_READ_INITIAL_BYTE_BUFFER;
        void *handle = grpc_server_register_method(rpc->server, route->path, NULL, payload, 0);
        if (handle == NULL)
            return gx_fail(err, GX_E_INTERNAL, "libgrpc refuses method %s: it stands twice in the table", route->path);
        rpc->methods[i] =
            (struct gx_rpc_method){route, handle, route->max_message != 0 ? route->max_message : GX_MESSAGE_MAX};
    }
    return GX_OK;
}

static enum gx_status make_queues(struct gx_rpc *rpc, struct gx_err *err)
{
    rpc->io = calloc(rpc->options.n_io, sizeof(*rpc->io));
    if (rpc->io == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for I/O threads");
    for (unsigned i = 0; i < rpc->options.n_io; i++) {
        rpc->io[i].rpc = rpc;
        rpc->io[i].cq = grpc_completion_queue_create_for_next(NULL);
        grpc_server_register_completion_queue(rpc->server, rpc->io[i].cq, NULL);
    }
    return GX_OK;
}

static void *serve(void *arg)
{
    struct gx_rpc_io *io = arg;
    (void)pthread_setname_np(pthread_self(), "indexd-io");
    gx_thread_be_prompt();
    for (;;) {
        grpc_event event = grpc_completion_queue_next(io->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return NULL;
        struct gx_rpc_tag *tag = event.tag;
        void (*fn)(struct gx_call * call, bool ok) = atomic_load_explicit(&tag->fn, memory_order_acquire);
        fn(tag->call, event.success != 0);
    }
}

static enum gx_status start_io(struct gx_rpc *rpc, struct gx_err *err)
{
    for (unsigned i = 0; i < rpc->options.n_io; i++) {
        int e = pthread_create(&rpc->io[i].thread, NULL, serve, &rpc->io[i]);
        if (e != 0)
            return gx_err_errno(err, e, "cannot start an I/O thread");
        rpc->io[i].started = true;
    }
    return GX_OK;
}

static enum gx_status start_workers(struct gx_rpc *rpc, struct gx_err *err)
{
    const struct gx_rpc_options *o = &rpc->options;
    rpc->queue.max = rpc->short_queue.max = o->queue_max;
    rpc->queue.thread_begin = rpc->short_queue.thread_begin = o->thread_begin;
    rpc->short_queue.prompt = true;
    GX_TRY(gx_rpc_queue_start(&rpc->short_queue, GX_MAX(GX_RPC_CLERKS_MIN, o->n_workers / 4), err));
    return gx_rpc_queue_start(&rpc->queue, o->n_workers, err);
}

static unsigned n_armed(const struct gx_rpc_method *method)
{
    if (method->route == NULL)
        return ARMED_UNKNOWN; /* must be there: else calls of unknown methods hang until their deadline */
    return method->route->kind == GX_RPC_BIDI ? ARMED_BIDI : ARMED_UNARY;
}

static void arm_all(struct gx_rpc *rpc)
{
    for (unsigned i = 0; i < rpc->options.n_io; i++) {
        for (size_t m = 0; m < rpc->n_methods; m++) {
            for (unsigned n = n_armed(&rpc->methods[m]); n > 0; n--)
                gx_rpc_call_arm(&rpc->io[i], &rpc->methods[m]);
        }
    }
}

static enum gx_status start(struct gx_rpc *rpc, struct gx_err *err)
{
    GX_TRY(register_methods(rpc, err));
    GX_TRY(make_queues(rpc, err));
    GX_TRY(gx_rpc_listen_open(rpc->server, rpc->options.listen, rpc->address, err));
    rpc->refused_before = gx_accept_guard_refused();
    GX_TRY(gx_accept_guard_begin(rpc->options.connections_max, err));
    rpc->guarded = true;
    GX_TRY(start_workers(rpc, err));
    GX_TRY(start_io(rpc, err));
    rpc->options.listen = NULL; /* the caller's */
    grpc_server_start(rpc->server);
    arm_all(rpc);
    return GX_OK;
}

/* ---------------------------------------------------------------- stop */

static bool is_down(grpc_completion_queue *cq, int64_t within_us)
{
    gpr_timespec until = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_micros(within_us, GPR_TIMESPAN));
    return grpc_completion_queue_next(cq, until, NULL).type == GRPC_OP_COMPLETE;
}

/* Gives running calls their grace. Without calls there is nothing to wait for but connections that do not answer the
 * farewell, some of them for 20 seconds. */
static bool is_down_by_itself(struct gx_rpc *rpc, grpc_completion_queue *cq)
{
    int64_t until_us = gx_clock_monotonic_us() + rpc->options.grace_us, left_us;
    while ((left_us = until_us - gx_clock_monotonic_us()) > 0) {
        if (is_down(cq, GX_MIN(left_us, LOOK_EVERY_US)))
            return true;
        if (atomic_load(&rpc->n_open) == 0)
            return false;
    }
    gx_log_info("calls_cancelled", "open=%llu", (unsigned long long)atomic_load(&rpc->n_open));
    return false;
}

/* libgrpc reports that it is down once every connection is gone. A call whose client went away may still be with us
 * then, about to begin an operation, and on a queue that is shut down that would end the process. */
static void wait_for_calls(struct gx_rpc *rpc)
{
    (void)pthread_mutex_lock(&rpc->lock);
    while (rpc->n_live > 0) {
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += WARN_EVERY_US / 1000000;
        if (pthread_cond_timedwait(&rpc->none_live, &rpc->lock, &until) == ETIMEDOUT)
            gx_log_warn("stop_waits", "reason=\"calls that somebody still holds\" n=%u", rpc->n_live);
    }
    (void)pthread_mutex_unlock(&rpc->lock);
}

/* Returns once libgrpc has no connection and nobody a call left. */
static void shut_down_server(struct gx_rpc *rpc)
{
    grpc_completion_queue *cq = grpc_completion_queue_create_for_next(NULL);
    grpc_server_shutdown_and_notify(rpc->server, cq, rpc);
    gx_rpc_stream_cut_idle(rpc);
    if (!is_down_by_itself(rpc, cq)) {
        grpc_server_cancel_all_calls(rpc->server);
        while (!is_down(cq, WARN_EVERY_US))
            gx_log_warn("stop_waits", "reason=\"calls without an answer\" open=%llu",
                        (unsigned long long)atomic_load(&rpc->n_open));
    }
    grpc_completion_queue_shutdown(cq);
    while (grpc_completion_queue_next(cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type != GRPC_QUEUE_SHUTDOWN)
        continue;
    grpc_completion_queue_destroy(cq);
    wait_for_calls(rpc);
}

static void stop_io(struct gx_rpc *rpc)
{
    for (unsigned i = 0; rpc->io != NULL && i < rpc->options.n_io && rpc->io[i].cq != NULL; i++) {
        grpc_completion_queue_shutdown(rpc->io[i].cq);
        if (rpc->io[i].started)
            (void)pthread_join(rpc->io[i].thread, NULL);
        else
            (void)serve(&rpc->io[i]); /* never started: what is in it is taken out here */
    }
}

void gx_rpc_stop(struct gx_rpc *rpc)
{
    if (rpc == NULL)
        return;
    shut_down_server(rpc);
    gx_rpc_queue_stop(&rpc->queue);
    gx_rpc_queue_stop(&rpc->short_queue);
    stop_io(rpc);
    grpc_server_destroy(rpc->server);
    for (unsigned i = 0; rpc->io != NULL && i < rpc->options.n_io && rpc->io[i].cq != NULL; i++)
        grpc_completion_queue_destroy(rpc->io[i].cq);
    if (rpc->guarded)
        gx_accept_guard_end();
    gx_rpc_call_free_pool(rpc);
    grpc_shutdown_blocking();
    (void)pthread_mutex_destroy(&rpc->queue.lock);
    (void)pthread_cond_destroy(&rpc->queue.filled);
    (void)pthread_mutex_destroy(&rpc->short_queue.lock);
    (void)pthread_cond_destroy(&rpc->short_queue.filled);
    (void)pthread_mutex_destroy(&rpc->lock);
    (void)pthread_cond_destroy(&rpc->none_live);
    free(rpc->io);
    free(rpc->methods);
    free(rpc);
}

enum gx_status gx_rpc_start(const struct gx_rpc_options *options, struct gx_rpc **out, struct gx_err *err)
{
    struct gx_rpc_options resolved;
    *out = NULL;
    GX_TRY(resolve(options, &resolved, err));
    GX_TRY(gx_rpc_core_check(err));
    struct gx_rpc *rpc = calloc(1, sizeof(*rpc));
    if (rpc == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for the server");
    rpc->options = resolved;
    (void)pthread_mutex_init(&rpc->queue.lock, NULL);
    (void)pthread_cond_init(&rpc->queue.filled, NULL);
    (void)pthread_mutex_init(&rpc->short_queue.lock, NULL);
    (void)pthread_cond_init(&rpc->short_queue.filled, NULL);
    (void)pthread_mutex_init(&rpc->lock, NULL);
    (void)pthread_cond_init(&rpc->none_live, NULL);
    grpc_init();
    rpc->server = gx_rpc_core_server(&rpc->options);
    enum gx_status status = start(rpc, err);
    if (status != GX_OK) {
        gx_rpc_stop(rpc);
        return status;
    }
    gx_log_info("listening", "address=%s io=%u workers=%u", rpc->address, rpc->options.n_io, rpc->options.n_workers);
    *out = rpc;
    return GX_OK;
}

const char *gx_rpc_address(const struct gx_rpc *rpc)
{
    return rpc->address;
}

void gx_rpc_get_stats(struct gx_rpc *rpc, struct gx_rpc_stats *out)
{
    *out = (struct gx_rpc_stats){
        .calls = atomic_load(&rpc->n_calls),
        .failed = atomic_load(&rpc->n_failed),
        .refused_busy = atomic_load(&rpc->n_busy),
        .expired = atomic_load(&rpc->n_expired),
        .cancelled = atomic_load(&rpc->n_cancelled),
        .broken_streams = atomic_load(&rpc->n_broken),
        .connections_refused = gx_accept_guard_refused() - rpc->refused_before,
        .queue_length = gx_rpc_queue_length(&rpc->queue) + gx_rpc_queue_length(&rpc->short_queue),
        .calls_open = atomic_load(&rpc->n_open),
    };
}
