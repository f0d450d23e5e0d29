/* The flow of streams: a client that reads slowly slows its own stream down and nothing else, one that does not read at
 * all is cut off, and a full queue refuses newcomers only. */
#include <stdatomic.h>
#include <stdlib.h>

#include "rpc_scene.h"

#define BIG ((size_t)64 << 10)

static struct {
    struct gx_rpc_scene_gate gate;
    struct gx_rpc_scene_counts counts;
} app = {.gate = GX_RPC_SCENE_GATE};

static struct gx_rpc_scene scene;

/* ---------------------------------------------------------------- handlers */

static void send_bytes(struct gx_call *call, const void *bytes, size_t len)
{
    uint8_t *out = gx_call_send_begin(call, len);
    ck_assert_ptr_nonnull(out);
    memcpy(out, bytes, len);
    gx_call_send_end(call, len);
}

static void echo(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    send_bytes(call, message.data, message.len);
    gx_call_read(call);
}

static void gated(void *arg, struct gx_call *call, struct gx_slice message)
{
    gx_rpc_scene_pass(&app.gate);
    echo(arg, call, message);
}

static void end(void *arg, struct gx_call *call, bool broken)
{
    (void)arg;
    struct gx_err err;
    (void)gx_err_set(&err, GX_E_CANCELLED, "rolled back");
    if (broken)
        gx_call_fail(call, &err);
    else
        gx_call_finish(call);
    (void)atomic_fetch_add(broken ? &app.counts.n_broken : &app.counts.n_clean, 1);
}

/* A server stream of one message. */
static void once(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    send_bytes(call, message.data, message.len);
    gx_call_finish(call);
}

static void big(void *arg, struct gx_call *call, struct gx_slice message)
{
    static const uint8_t bytes[BIG];
    (void)arg;
    (void)message;
    (void)atomic_fetch_add(&app.counts.n_messages, 1);
    send_bytes(call, bytes, BIG);
    gx_call_read(call);
}

/* Sends for ever, whatever the client does. */
static void flood(void *arg, struct gx_call *call, struct gx_slice message)
{
    static const uint8_t bytes[BIG];
    (void)arg;
    (void)message;
    while (!gx_call_stopped(call))
        send_bytes(call, bytes, BIG);
}

static const struct gx_route routes[] = {
    {"/f/Echo", GX_RPC_BIDI, GX_RPC_WORKER, 0, echo, end},
    {"/f/Gate", GX_RPC_BIDI, GX_RPC_WORKER, 0, gated, end},
    {"/f/Big", GX_RPC_BIDI, GX_RPC_WORKER, 0, big, end},
    {"/f/Once", GX_RPC_SERVER_STREAM, GX_RPC_WORKER, 0, once, NULL},
    {"/f/Flood", GX_RPC_SERVER_STREAM, GX_RPC_WORKER, 0, flood, end},
};

/* ---------------------------------------------------------------- scene */

static void start(struct gx_rpc_options options)
{
    gx_rpc_scene_start(&scene, options, routes, GX_COUNT_OF(routes), &app);
}

static void stop(void)
{
    gx_rpc_scene_stop(&scene);
}

START_TEST(client_that_writes_before_it_reads_loses_nothing)
{
    static const uint8_t bytes[BIG];
    enum { N = 400 }; /* more than may wait to be sent: the stream is not read from before that */
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = gx_rpc_scene_begin(&scene, "/f/Big", PATIENT);
    for (int i = 0; i < N; i++)
        ck_assert(gx_grpc_client_send(call, "x", 1));
    ck_assert(gx_grpc_client_half_close(call));
    gx_rpc_scene_await_counts(&app.counts, 64, 0, 0);
    ck_assert_uint_lt(atomic_load(&app.counts.n_messages), 256);
    for (int i = 0; i < N; i++)
        gx_rpc_scene_check_received(call, bytes, BIG);
    gx_rpc_scene_check_no_more(call);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), OK);
    gx_rpc_scene_await_counts(&app.counts, N, 1, 0);
    stop();
}
END_TEST

START_TEST(client_that_does_not_read_is_cut_off)
{
    struct gx_grpc_reply reply;
    uint8_t *data;
    size_t len;
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = gx_rpc_scene_ask(&scene, "/f/Flood", "x");
    gx_rpc_scene_await_counts(&app.counts, 0, 0, 1);
    while (gx_grpc_client_receive(call, &data, &len)) /* what was on its way; the status comes behind it */
        free(data);
    ck_assert_int_eq(gx_grpc_client_end(call, &reply), RESOURCE_EXHAUSTED);
    ck_assert_ptr_nonnull(strstr(reply.text, "too many messages wait"));
    gx_rpc_scene_await_open(&scene, 0);
    ck_assert_uint_eq(gx_rpc_scene_stats(&scene).refused_busy, 1);
    stop();
}
END_TEST

START_TEST(full_queue_refuses_new_streams_but_not_the_messages_of_old_ones)
{
    start((struct gx_rpc_options){.n_workers = 1, .queue_max = 1});
    struct gx_grpc_call *old[2], *gate, *waiting;
    for (int i = 0; i < 2; i++) {
        old[i] = gx_rpc_scene_begin(&scene, "/f/Echo", PATIENT);
        ck_assert(gx_grpc_client_send(old[i], "a", 1));
        gx_rpc_scene_check_received(old[i], "a", 1);
    }
    gate = gx_rpc_scene_begin(&scene, "/f/Gate", PATIENT);
    ck_assert(gx_grpc_client_send(gate, "x", 1));
    gx_rpc_scene_await_entered(&app.gate, 1);
    waiting = gx_rpc_scene_begin(&scene, "/f/Once", PATIENT);
    ck_assert(gx_grpc_client_send(waiting, "0", 1));
    gx_rpc_scene_await_queued(&scene, 1);
    for (int i = 0; i < 2; i++)
        ck_assert(gx_grpc_client_send(old[i], "b", 1));
    gx_rpc_scene_await_queued(&scene, 3);
    struct gx_grpc_call *refused = gx_rpc_scene_begin(&scene, "/f/Echo", PATIENT);
    ck_assert(gx_grpc_client_send(refused, "y", 1));
    ck_assert_int_eq(gx_grpc_client_end(refused, NULL), RESOURCE_EXHAUSTED);
    gx_rpc_scene_open(&app.gate);
    struct gx_grpc_call *calls[] = {old[0], old[1], gate};
    for (int i = 0; i < 3; i++) {
        gx_rpc_scene_check_received(calls[i], i < 2 ? "b" : "x", 1);
        ck_assert(gx_grpc_client_half_close(calls[i]));
        ck_assert_int_eq(gx_grpc_client_end(calls[i], NULL), OK);
    }
    gx_rpc_scene_check_received(waiting, "0", 1);
    ck_assert_int_eq(gx_grpc_client_end(waiting, NULL), OK);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        client_that_writes_before_it_reads_loses_nothing,
        client_that_does_not_read_is_cut_off,
        full_queue_refuses_new_streams_but_not_the_messages_of_old_ones,
    };
    return gx_rpc_scene_run("rpc_flow", tests, GX_COUNT_OF(tests));
}
