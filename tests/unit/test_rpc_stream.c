/* Streams: a client that goes away never looks like one that has finished, order and flow are kept, and one message at
 * a time reaches the handler. */
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "rpc_scene.h"

/* What the handlers share with the tests. */
static struct {
    struct gx_rpc_scene_gate gate;
    struct gx_rpc_scene_counts counts;
    atomic_uint n_freed, n_inside;
    atomic_bool overlapped; /* two threads were in the handlers of one call */
    pthread_t threads[16];
    atomic_uint n_threads;
    struct gx_call *_Atomic watched;
} app = {.gate = GX_RPC_SCENE_GATE};

static struct gx_rpc_scene scene;

/* ---------------------------------------------------------------- handlers */

static void come_in(void)
{
    if (atomic_fetch_add(&app.n_inside, 1) != 0)
        atomic_store(&app.overlapped, true);
}

static void go_out(void)
{
    (void)atomic_fetch_sub(&app.n_inside, 1);
}

static void send_bytes(struct gx_call *call, const void *bytes, size_t len)
{
    uint8_t *out = gx_call_send_begin(call, len + 1000); /* shorter than the bound */
    ck_assert_ptr_nonnull(out);
    if (len > 0)
        memcpy(out, bytes, len);
    gx_call_send_end(call, len);
}

static void send_number(struct gx_call *call, unsigned n)
{
    char text[16];
    send_bytes(call, text, (size_t)snprintf(text, sizeof(text), "%u", n));
}

static void count_freed(void *state)
{
    (void)state;
    (void)atomic_fetch_add(&app.n_freed, 1);
}

static void echo(void *arg, struct gx_call *call, struct gx_slice message)
{
    come_in();
    (void)atomic_fetch_add(&app.counts.n_messages, 1);
    gx_call_set_state(call, arg, count_freed);
    uint8_t *copy = gx_arena_alloc(gx_call_arena(call), message.len);
    ck_assert_ptr_nonnull(copy);
    ck_assert_uint_le(gx_call_arena(call)->used, message.len + 128); /* reset after each message */
    memcpy(copy, message.data, message.len);
    send_bytes(call, copy, message.len);
    gx_call_read(call);
    go_out();
}

static void end(void *arg, struct gx_call *call, bool broken)
{
    (void)arg;
    struct gx_err err;
    come_in();
    (void)gx_err_set(&err, GX_E_CANCELLED, "rolled back");
    (void)atomic_fetch_add(broken ? &app.counts.n_broken : &app.counts.n_clean, 1);
    go_out(); /* before the client hears of it and begins another stream */
    if (broken)
        gx_call_fail(call, &err);
    else
        gx_call_finish(call);
}

/* A client stream: counts, and answers once. */
static void collect(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    (void)message;
    come_in();
    (void)atomic_fetch_add(&app.counts.n_messages, 1);
    gx_call_read(call);
    go_out();
}

static void collect_end(void *arg, struct gx_call *call, bool broken)
{
    if (!broken)
        send_number(call, atomic_load(&app.counts.n_messages));
    end(arg, call, broken);
}

/* Waits at the gate with the message in its hands. */
static void gated(void *arg, struct gx_call *call, struct gx_slice message)
{
    come_in();
    gx_rpc_scene_pass(&app.gate);
    go_out();
    echo(arg, call, message);
}

/* Answers, and asks for more, from a thread of its own. */
static void *answer_later(void *arg)
{
    struct gx_call *call = arg;
    send_bytes(call, "ack", 3);
    gx_call_read(call);
    gx_call_release(call);
    return NULL;
}

static void late(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    (void)message;
    come_in();
    unsigned n = atomic_fetch_add(&app.n_threads, 1);
    gx_call_hold(call);
    ck_assert_int_eq(pthread_create(&app.threads[n], NULL, answer_later, call), 0);
    go_out();
}

/* Two answers and a refusal for the first message. */
static void refuse(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    struct gx_err err;
    send_bytes(call, message.data, message.len);
    send_bytes(call, "last", 4);
    (void)gx_err_set(&err, GX_E_STATE, "enough: stop");
    gx_call_fail(call, &err);
    send_bytes(call, "never", 5);
    gx_call_finish(call);
}

static void forget(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    (void)call;
    (void)message;
}

/* A server stream of as many messages as the request says. */
static void count(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    char text[16] = "";
    ck_assert_uint_lt(message.len, sizeof(text));
    memcpy(text, message.data, message.len);
    unsigned n = (unsigned)atoi(text);
    for (unsigned i = 0; i < n; i++)
        send_number(call, i);
    gx_call_finish(call);
}

static void watch(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)message;
    gx_call_set_state(call, arg, count_freed);
    gx_call_hold(call);
    send_bytes(call, "begun", 5);
    atomic_store(&app.watched, call);
}

static void watch_end(void *arg, struct gx_call *call, bool broken)
{
    end(arg, call, broken);
    gx_call_release(call);
}

static const struct gx_route routes[] = {
    {"/s/Echo", GX_RPC_BIDI, GX_RPC_WORKER, 0, echo, end},
    {"/s/Inline", GX_RPC_BIDI, GX_RPC_INLINE, 0, echo, end},
    {"/s/Default", GX_RPC_BIDI, GX_RPC_WORKER, 0, echo, NULL},
    {"/s/Small", GX_RPC_BIDI, GX_RPC_WORKER, 100, echo, end},
    {"/s/Collect", GX_RPC_BIDI, GX_RPC_WORKER, 0, collect, collect_end},
    {"/s/Gate", GX_RPC_BIDI, GX_RPC_WORKER, 0, gated, end},
    {"/s/Late", GX_RPC_BIDI, GX_RPC_WORKER, 0, late, end},
    {"/s/Refuse", GX_RPC_BIDI, GX_RPC_WORKER, 0, refuse, end},
    {"/s/Forget", GX_RPC_BIDI, GX_RPC_WORKER, 0, forget, end},
    {"/s/Count", GX_RPC_SERVER_STREAM, GX_RPC_WORKER, 0, count, NULL},
    {"/s/Watch", GX_RPC_SERVER_STREAM, GX_RPC_INLINE, 0, watch, watch_end},
};

/* ---------------------------------------------------------------- scene */

static void start(struct gx_rpc_options options)
{
    gx_rpc_scene_start(&scene, options, routes, GX_COUNT_OF(routes), &app);
}

static void stop(void)
{
    gx_rpc_scene_stop(&scene);
    ck_assert(!atomic_load(&app.overlapped));
}

/* ---------------------------------------------------------------- proper streams */

static void check_conversation(const char *path)
{
    static uint8_t bytes[200000];
    struct gx_grpc_call *call = gx_rpc_scene_begin(&scene, path, PATIENT);
    for (size_t i = 0; i < 50; i++) {
        size_t len = i == 49 ? sizeof(bytes) : i * i;
        memset(bytes, (int)i, sizeof(bytes));
        ck_assert(gx_grpc_client_send(call, bytes, len));
        gx_rpc_scene_check_received(call, bytes, len);
    }
    ck_assert(gx_grpc_client_half_close(call));
    gx_rpc_scene_check_no_more(call);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), OK);
}

START_TEST(messages_and_answers_alternate_until_the_client_has_finished)
{
    start((struct gx_rpc_options){0});
    check_conversation("/s/Echo");
    check_conversation("/s/Inline");
    gx_rpc_scene_await_counts(&app.counts, 100, 2, 0);
    check_conversation("/s/Default");
    gx_rpc_scene_await_open(&scene, 0);
    ck_assert_uint_eq(atomic_load(&app.n_freed), 3);
    ck_assert_uint_eq(gx_rpc_scene_stats(&scene).failed, 0);
    ck_assert_uint_eq(gx_rpc_scene_stats(&scene).broken_streams, 0);
    stop();
}
END_TEST

START_TEST(client_stream_is_answered_at_its_proper_end)
{
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = gx_rpc_scene_begin(&scene, "/s/Collect", PATIENT);
    for (int i = 0; i < 20; i++)
        ck_assert(gx_grpc_client_send(call, "record", 6));
    ck_assert(gx_grpc_client_half_close(call));
    gx_rpc_scene_check_received(call, "20", 2);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), OK);
    gx_rpc_scene_await_counts(&app.counts, 20, 1, 0);
    stop();
}
END_TEST

START_TEST(stream_without_a_message_ends_properly)
{
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = gx_rpc_scene_begin(&scene, "/s/Collect", PATIENT);
    ck_assert(gx_grpc_client_half_close(call));
    gx_rpc_scene_check_received(call, "0", 1);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), OK);
    gx_rpc_scene_await_counts(&app.counts, 0, 1, 0);
    stop();
}
END_TEST

START_TEST(server_stream_delivers_everything_in_order)
{
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = gx_rpc_scene_ask(&scene, "/s/Count", "200");
    for (unsigned i = 0; i < 200; i++) {
        char text[16];
        gx_rpc_scene_check_received(call, text, (size_t)snprintf(text, sizeof(text), "%u", i));
    }
    gx_rpc_scene_check_no_more(call);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), OK);
    stop();
}
END_TEST

START_TEST(answers_and_reads_may_come_from_other_threads)
{
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = gx_rpc_scene_begin(&scene, "/s/Late", PATIENT);
    for (int i = 0; i < 10; i++) {
        ck_assert(gx_grpc_client_send(call, "x", 1));
        gx_rpc_scene_check_received(call, "ack", 3);
    }
    ck_assert(gx_grpc_client_half_close(call));
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), OK);
    for (unsigned i = 0; i < atomic_load(&app.n_threads); i++)
        (void)pthread_join(app.threads[i], NULL);
    stop();
}
END_TEST

START_TEST(refusal_follows_the_answers_before_it)
{
    struct gx_grpc_reply reply;
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = gx_rpc_scene_begin(&scene, "/s/Refuse", PATIENT);
    ck_assert(gx_grpc_client_send(call, "first", 5));
    gx_rpc_scene_check_received(call, "first", 5);
    gx_rpc_scene_check_received(call, "last", 4);
    gx_rpc_scene_check_no_more(call);
    ck_assert_int_eq(gx_grpc_client_end(call, &reply), 9);
    ck_assert_str_eq(reply.text, "enough: stop");
    gx_rpc_scene_check_details(&reply, GX_E_STATE);
    gx_rpc_scene_await_open(&scene, 0);
    gx_rpc_scene_await_counts(&app.counts, 0, 0, 0); /* who has ended a call himself is not told of its end */
    stop();
}
END_TEST

START_TEST(handler_that_forgets_a_stream_cannot_hang_it)
{
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = gx_rpc_scene_begin(&scene, "/s/Forget", PATIENT);
    ck_assert(gx_grpc_client_send(call, "x", 1));
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), INTERNAL);
    stop();
}
END_TEST

/* ---------------------------------------------------------------- broken streams */

/* Begins a client stream of 3 messages that the server has all seen. */
static struct gx_grpc_call *begin_three(int timeout_ms)
{
    struct gx_grpc_call *call = gx_rpc_scene_begin(&scene, "/s/Collect", timeout_ms);
    for (int i = 0; i < 3; i++)
        ck_assert(gx_grpc_client_send(call, "record", 6));
    gx_rpc_scene_await_counts(&app.counts, 3, 0, 0);
    return call;
}

START_TEST(cancelled_stream_is_broken_not_finished)
{
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = begin_three(PATIENT);
    gx_grpc_client_cancel(call);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), CANCELLED);
    gx_rpc_scene_await_counts(&app.counts, 3, 0, 1);
    gx_rpc_scene_await_open(&scene, 0);
    ck_assert_uint_eq(gx_rpc_scene_stats(&scene).broken_streams, 1);
    stop();
}
END_TEST

START_TEST(stream_out_of_time_is_broken_not_finished)
{
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = begin_three(500);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), DEADLINE_EXCEEDED);
    gx_rpc_scene_await_counts(&app.counts, 3, 0, 1);
    stop();
}
END_TEST

START_TEST(broken_stream_without_a_handler_of_its_end_is_ended_all_the_same)
{
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = gx_rpc_scene_begin(&scene, "/s/Default", PATIENT);
    ck_assert(gx_grpc_client_send(call, "x", 1));
    gx_rpc_scene_check_received(call, "x", 1);
    gx_grpc_client_cancel(call);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), CANCELLED);
    gx_rpc_scene_await_open(&scene, 0);
    stop();
}
END_TEST

/* A client in a process of its own: it gets the address by @pipe_fd, sends 3 messages and waits for its death. */
static void be_doomed_client(int pipe_fd)
{
    char address[128] = "";
    struct gx_grpc_client client;
    if (read(pipe_fd, address, sizeof(address) - 1) <= 0)
        _exit(1);
    gx_grpc_client_open(&client, address);
    struct gx_grpc_call *call = gx_grpc_client_begin(&client, "/s/Collect", PATIENT, NULL, NULL);
    for (int i = 0; i < 3; i++)
        (void)gx_grpc_client_send(call, "record", 6);
    for (;;)
        (void)pause();
}

START_TEST(stream_of_a_killed_client_is_broken_not_finished)
{
    int fds[2], status;
    ck_assert_int_eq(pipe(fds), 0);
    pid_t pid = fork(); /* before libgrpc starts its threads */
    if (pid == 0)
        be_doomed_client(fds[0]);
    start((struct gx_rpc_options){0});
    const char *address = gx_rpc_address(scene.server);
    ck_assert_int_eq((int)write(fds[1], address, strlen(address)), (int)strlen(address));
    gx_rpc_scene_await_counts(&app.counts, 3, 0, 0);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    gx_rpc_scene_await_counts(&app.counts, 3, 0, 1);
    gx_rpc_scene_await_open(&scene, 0);
    (void)close(fds[0]);
    (void)close(fds[1]);
    stop();
}
END_TEST

START_TEST(end_waits_until_the_handler_is_back)
{
    start((struct gx_rpc_options){.n_workers = 4});
    struct gx_grpc_call *call = gx_rpc_scene_begin(&scene, "/s/Gate", PATIENT);
    ck_assert(gx_grpc_client_send(call, "x", 1));
    gx_rpc_scene_await_entered(&app.gate, 1);
    gx_grpc_client_cancel(call);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), CANCELLED);
    gx_rpc_scene_await_cancelled(&scene, 1);
    gx_rpc_scene_await_counts(&app.counts, 0, 0, 0);
    gx_rpc_scene_open(&app.gate);
    gx_rpc_scene_await_counts(&app.counts, 1, 0, 1);
    stop();
}
END_TEST

START_TEST(message_too_large_breaks_the_stream)
{
    uint8_t bytes[101] = {0};
    struct gx_grpc_reply reply;
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = gx_rpc_scene_begin(&scene, "/s/Small", PATIENT);
    ck_assert(gx_grpc_client_send(call, bytes, 100));
    gx_rpc_scene_check_received(call, bytes, 100);
    (void)gx_grpc_client_send(call, bytes, 101);
    ck_assert_int_eq(gx_grpc_client_end(call, &reply), RESOURCE_EXHAUSTED);
    ck_assert_ptr_nonnull(strstr(reply.text, "101 bytes"));
    gx_rpc_scene_await_counts(&app.counts, 1, 0, 1);
    stop();
}
END_TEST

static bool is_watched(void *arg)
{
    (void)arg;
    return atomic_load(&app.watched) != NULL;
}

START_TEST(server_stream_hears_that_its_client_has_gone)
{
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = gx_rpc_scene_ask(&scene, "/s/Watch", "x");
    gx_rpc_scene_check_received(call, "begun", 5);
    ck_assert(gx_grpc_client_await(is_watched, NULL));
    send_bytes(atomic_load(&app.watched), "news", 4);
    gx_rpc_scene_check_received(call, "news", 4);
    gx_grpc_client_cancel(call);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), CANCELLED);
    gx_rpc_scene_await_counts(&app.counts, 0, 0, 1);
    gx_rpc_scene_await_open(&scene, 0);
    ck_assert_uint_eq(atomic_load(&app.n_freed), 1);
    stop();
}
END_TEST

/* ---------------------------------------------------------------- everything at once */

#define CHAOS_STREAMS 60

static void *make_chaos(void *arg)
{
    unsigned seed = *(unsigned *)arg;
    struct gx_grpc_client own;
    gx_grpc_client_open(&own, gx_rpc_address(scene.server));
    for (int i = 0; i < CHAOS_STREAMS; i++) {
        static const char *const paths[] = {"/s/Echo",  "/s/Inline",  "/s/Collect",
                                            "/s/Watch", "/s/Default", "/s/Refuse"};
        seed = seed * 1103515245u + 12345u;
        struct gx_grpc_call *call =
            gx_grpc_client_begin(&own, paths[(seed >> 16) % 6], (seed >> 20 & 7) == 0 ? 3 : PATIENT, NULL, NULL);
        for (unsigned n = seed >> 24 & 7; n > 0; n--)
            (void)gx_grpc_client_send(call, "message", 7);
        if ((seed >> 28 & 1) != 0)
            (void)gx_grpc_client_half_close(call);
        gx_grpc_client_cancel(call);
        (void)gx_grpc_client_end(call, NULL);
    }
    gx_grpc_client_close(&own);
    return NULL;
}

START_TEST(no_call_is_left_whenever_clients_go_away)
{
    pthread_t threads[3];
    unsigned seeds[3] = {11, 12, 13};
    start((struct gx_rpc_options){.n_io = 2, .n_workers = 3});
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, make_chaos, &seeds[i]), 0);
    for (int i = 0; i < 3; i++)
        (void)pthread_join(threads[i], NULL);
    gx_rpc_scene_await_open(&scene, 0);
    gx_rpc_scene_stop(&scene);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        messages_and_answers_alternate_until_the_client_has_finished,
        client_stream_is_answered_at_its_proper_end,
        stream_without_a_message_ends_properly,
        server_stream_delivers_everything_in_order,
        answers_and_reads_may_come_from_other_threads,
        refusal_follows_the_answers_before_it,
        handler_that_forgets_a_stream_cannot_hang_it,
        cancelled_stream_is_broken_not_finished,
        stream_out_of_time_is_broken_not_finished,
        broken_stream_without_a_handler_of_its_end_is_ended_all_the_same,
        stream_of_a_killed_client_is_broken_not_finished,
        end_waits_until_the_handler_is_back,
        message_too_large_breaks_the_stream,
        server_stream_hears_that_its_client_has_gone,
        no_call_is_left_whenever_clients_go_away,
    };
    return gx_rpc_scene_run("rpc_stream", tests, GX_COUNT_OF(tests));
}
