/* Calls that are tried on the I/O thread: what is brief is answered there, what is not goes to a worker whole, and
 * nothing long ever holds the I/O thread up. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "rpc_scene.h"

#define UNTRIED 15 /* calls after a vain attempt: GX_RPC_UNTRIED */

static struct {
    struct gx_rpc_scene_gate gate;
    atomic_uint n_tried, n_worked, n_freed;
    atomic_int stopped_with;
} app = {.gate = GX_RPC_SCENE_GATE};

static struct gx_rpc_scene scene;

/* ---------------------------------------------------------------- handlers */

static bool is_io_thread(void)
{
    char name[16] = "";
    ck_assert_int_eq(pthread_getname_np(pthread_self(), name, sizeof(name)), 0);
    return strcmp(name, "indexd-io") == 0;
}

static void reply_text(struct gx_call *call, const char *text, struct gx_slice rest)
{
    size_t n = strlen(text);
    uint8_t *out = gx_call_reply_begin(call, n + rest.len);
    ck_assert_ptr_nonnull(out);
    memcpy(out, text, n);
    if (rest.len > 0)
        memcpy(out + n, rest.data, rest.len);
    gx_call_reply_end(call, n + rest.len);
}

/* Counts where it runs; true: on the I/O thread, as an attempt. */
static bool count(struct gx_call *call)
{
    bool brief = gx_call_must_be_brief(call);
    ck_assert(brief == is_io_thread()); /* the one promise that matters */
    (void)atomic_fetch_add(brief ? &app.n_tried : &app.n_worked, 1);
    return brief;
}

/* Answers where it ran, and the message. */
static void where(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    reply_text(call, count(call) ? "io:" : "worker:", message);
}

/* Uses its arena, then finds that the work is long; a worker waits at the gate with it. */
static void is_long(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    struct gx_arena *arena = gx_call_arena(call);
    ck_assert_uint_eq(arena->used, 0);
    uint8_t *p = gx_arena_alloc(arena, 1000);
    ck_assert_ptr_nonnull(p);
    if (count(call)) {
        memset(p, 0xaa, 1000);
        gx_call_hand_over(call);
        return;
    }
    for (size_t i = 0; i < 1000; i++)
        ck_assert_uint_ne(p[i], 0xaa); /* wiped in between */
    ck_assert_ptr_nonnull(gx_arena_alloc(arena, 2 * GX_RPC_BRIEF_MEMORY));
    gx_rpc_scene_pass(&app.gate);
    reply_text(call, "worker:", message);
}

/* Takes all the memory there is. */
static void greedy(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    (void)message;
    char text[32];
    size_t n = 0;
    while (gx_arena_alloc(gx_call_arena(call), 1024) != NULL)
        n += 1024;
    (void)snprintf(text, sizeof(text), "%s:%zu", count(call) ? "io" : "worker", n);
    reply_text(call, text, (struct gx_slice){NULL, 0});
}

static void endless(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    (void)message;
    struct gx_err err = {0};
    if (count(call)) {
        gx_call_hand_over(call);
        return;
    }
    gx_rpc_scene_enter(&app.gate);
    while (!gx_call_stopped(call))
        (void)nanosleep(&(struct timespec){.tv_nsec = 100000}, NULL);
    (void)gx_call_check(call, &err);
    atomic_store(&app.stopped_with, (int)err.status);
    gx_call_fail(call, &err);
}

static void free_state(void *state)
{
    ck_assert_ptr_eq(state, &app);
    (void)atomic_fetch_add(&app.n_freed, 1);
}

/* Ends badly, in the way that the message says. */
static void misbehave(void *arg, struct gx_call *call, struct gx_slice message)
{
    struct gx_err err;
    (void)count(call);
    gx_call_set_state(call, arg, free_state);
    switch (message.data[0]) {
    case 'f': /* forgets to answer */ break;
    case 'b': /* begins a reply, and leaves it */ (void)gx_call_reply_begin(call, 5000); break;
    case 'n': gx_call_fail(call, NULL); break;
    case 'i': /* insists */
        reply_text(call, "once", (struct gx_slice){NULL, 0});
        gx_call_fail(call, NULL);
        reply_text(call, "twice", (struct gx_slice){NULL, 0});
        break;
    default: (void)gx_err_set(&err, GX_E_NOT_FOUND, "not here: look elsewhere"); gx_call_fail(call, &err);
    }
}

static void echo(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    reply_text(call, "", message);
}

static void at_gate(void *arg, struct gx_call *call, struct gx_slice message)
{
    gx_rpc_scene_pass(&app.gate);
    echo(arg, call, message);
}

static const struct gx_route routes[] = {
    {"/b/Where", GX_RPC_UNARY, GX_RPC_EITHER, 0, where, NULL},
    {"/b/Long", GX_RPC_UNARY, GX_RPC_EITHER, 0, is_long, NULL},
    {"/b/Greedy", GX_RPC_UNARY, GX_RPC_EITHER, 0, greedy, NULL},
    {"/b/Endless", GX_RPC_UNARY, GX_RPC_EITHER, 0, endless, NULL},
    {"/b/Misbehave", GX_RPC_UNARY, GX_RPC_EITHER, 0, misbehave, NULL},
    {"/b/Small", GX_RPC_UNARY, GX_RPC_EITHER, 100, where, NULL},
    {"/b/Health", GX_RPC_UNARY, GX_RPC_INLINE, 0, echo, NULL},
    {"/b/Gate", GX_RPC_UNARY, GX_RPC_WORKER, 0, at_gate, NULL},
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

static struct gx_grpc_call *begin(const char *path)
{
    return gx_grpc_client_begin_unary(&scene.client, path, "m", 1, PATIENT);
}

static void check_reply(struct gx_grpc_call *call, const char *expected)
{
    struct gx_grpc_reply reply;
    ck_assert_int_eq(gx_grpc_client_end_unary(call, &reply), OK);
    ck_assert_uint_eq(reply.len, strlen(expected));
    ck_assert(memcmp(reply.data, expected, reply.len) == 0);
    gx_grpc_client_free_reply(&reply);
}

static void check_call(const char *path, const char *expected)
{
    check_reply(begin(path), expected);
}

/* ---------------------------------------------------------------- what is brief */

START_TEST(brief_call_is_answered_on_the_io_thread)
{
    start((struct gx_rpc_options){.n_workers = 2});
    for (int i = 0; i < 200; i++)
        check_call("/b/Where", "io:m");
    ck_assert_uint_eq(atomic_load(&app.n_worked), 0);
    ck_assert_uint_eq(gx_rpc_scene_stats(&scene).calls, 200);
    gx_rpc_scene_await_open(&scene, 0);
    stop();
}
END_TEST

START_TEST(brief_calls_and_health_are_answered_while_every_worker_is_busy)
{
    struct gx_grpc_call *held[2];
    start((struct gx_rpc_options){.n_workers = 2});
    for (int i = 0; i < 2; i++)
        held[i] = begin("/b/Gate");
    gx_rpc_scene_await_entered(&app.gate, 2);
    for (int i = 0; i < 50; i++) {
        check_call("/b/Where", "io:m");
        gx_rpc_scene_check_echo(&scene, "/b/Health", 10);
    }
    gx_rpc_scene_open(&app.gate);
    for (int i = 0; i < 2; i++)
        check_reply(held[i], "m");
    stop();
}
END_TEST

/* ---------------------------------------------------------------- what is not */

START_TEST(call_that_turns_out_long_is_done_by_a_worker_from_the_beginning)
{
    start((struct gx_rpc_options){.n_workers = 1});
    gx_rpc_scene_open(&app.gate);
    check_call("/b/Long", "worker:m");
    ck_assert_uint_eq(atomic_load(&app.n_tried), 1);
    ck_assert_uint_eq(atomic_load(&app.n_worked), 1);
    stop();
}
END_TEST

START_TEST(health_is_answered_while_a_long_call_is_carried_out)
{
    start((struct gx_rpc_options){.n_workers = 1});
    struct gx_grpc_call *first = begin("/b/Long");
    gx_rpc_scene_await_entered(&app.gate, 1);
    struct gx_grpc_call *second = begin("/b/Long");
    gx_rpc_scene_await_queued(&scene, 1);
    for (int i = 0; i < 50; i++)
        gx_rpc_scene_check_echo(&scene, "/b/Health", 10);
    gx_rpc_scene_open(&app.gate);
    check_reply(first, "worker:m");
    check_reply(second, "worker:m");
    ck_assert_uint_eq(atomic_load(&app.n_worked), 2);
    stop();
}
END_TEST

START_TEST(nothing_is_tried_while_others_wait_for_a_worker)
{
    start((struct gx_rpc_options){.n_workers = 1});
    struct gx_grpc_call *held = begin("/b/Gate");
    gx_rpc_scene_await_entered(&app.gate, 1);
    struct gx_grpc_call *waiting = begin("/b/Gate");
    gx_rpc_scene_await_queued(&scene, 1);
    struct gx_grpc_call *late = begin("/b/Where");
    gx_rpc_scene_await_queued(&scene, 2);
    gx_rpc_scene_open(&app.gate);
    check_reply(held, "m");
    check_reply(waiting, "m");
    check_reply(late, "worker:m");
    check_call("/b/Where", "io:m");
    stop();
}
END_TEST

START_TEST(after_a_vain_attempt_some_calls_are_not_tried)
{
    start((struct gx_rpc_options){.n_workers = 1, .n_io = 1});
    gx_rpc_scene_open(&app.gate);
    check_call("/b/Long", "worker:m");
    for (int i = 0; i < UNTRIED; i++)
        check_call("/b/Where", "worker:m");
    check_call("/b/Where", "io:m");
    stop();
}
END_TEST

START_TEST(message_of_some_size_is_never_tried)
{
    enum { LARGE = 21 << 10 };
    struct gx_grpc_reply reply;
    uint8_t *message = calloc(1, LARGE);
    ck_assert_ptr_nonnull(message);
    start((struct gx_rpc_options){0});
    ck_assert_int_eq(gx_grpc_client_unary(&scene.client, "/b/Where", message, LARGE, PATIENT, &reply), OK);
    ck_assert_uint_eq(reply.len, LARGE + strlen("worker:"));
    gx_grpc_client_free_reply(&reply);
    ck_assert_int_eq(gx_grpc_client_unary(&scene.client, "/b/Small", message, 101, PATIENT, &reply),
                     RESOURCE_EXHAUSTED);
    gx_grpc_client_free_reply(&reply);
    ck_assert_uint_eq(atomic_load(&app.n_tried), 0);
    stop();
    free(message);
}
END_TEST

START_TEST(attempt_has_little_memory)
{
    char expected[32];
    start((struct gx_rpc_options){.n_workers = 1, .memory_max = 1 << 20});
    (void)snprintf(expected, sizeof(expected), "io:%zu", GX_RPC_BRIEF_MEMORY);
    for (int i = 0; i < 3; i++)
        check_call("/b/Greedy", expected);
    gx_rpc_scene_open(&app.gate);
    check_call("/b/Long", "worker:m"); /* its arena was an attempt's before */
    check_call("/b/Greedy", "worker:1048576");
    stop();
}
END_TEST

/* ---------------------------------------------------------------- ends */

START_TEST(attempt_that_fails_or_forgets_ends_its_call_once)
{
    static const struct {
        const char *how;
        int code;
    } ways[] = {{"f", INTERNAL}, {"b", INTERNAL}, {"n", INTERNAL}, {"i", OK}, {"e", NOT_FOUND}};
    struct gx_grpc_reply reply;
    start((struct gx_rpc_options){0});
    for (unsigned i = 0; i < 5 * GX_COUNT_OF(ways); i++) {
        const char *how = ways[i % GX_COUNT_OF(ways)].how;
        int code = gx_grpc_client_unary(&scene.client, "/b/Misbehave", how, 1, PATIENT, &reply);
        ck_assert_msg(code == ways[i % GX_COUNT_OF(ways)].code, "%s: %d", how, code);
        if (how[0] == 'i')
            ck_assert(reply.len == 4 && memcmp(reply.data, "once", 4) == 0);
        gx_grpc_client_free_reply(&reply);
        gx_rpc_scene_await_open(&scene, 0);
        ck_assert_uint_eq(atomic_load(&app.n_freed), i + 1);
    }
    ck_assert_uint_eq(atomic_load(&app.n_tried), 5 * GX_COUNT_OF(ways));
    stop();
}
END_TEST

/* RECV_CLOSE is begun with the hand-over. */
START_TEST(worker_sees_that_the_client_of_a_tried_call_has_gone)
{
    start((struct gx_rpc_options){.n_workers = 1});
    struct gx_grpc_call *call = begin("/b/Endless");
    gx_rpc_scene_await_entered(&app.gate, 1);
    gx_grpc_client_cancel(call);
    ck_assert_int_eq(gx_grpc_client_end_unary(call, NULL), CANCELLED);
    gx_rpc_scene_await_cancelled(&scene, 1);
    gx_rpc_scene_await_open(&scene, 0);
    ck_assert_int_eq(atomic_load(&app.stopped_with), GX_E_CANCELLED);
    stop();
}
END_TEST

START_TEST(full_queue_refuses_what_would_otherwise_be_tried)
{
    struct gx_grpc_reply reply;
    start((struct gx_rpc_options){.n_workers = 1, .queue_max = 1});
    struct gx_grpc_call *held = begin("/b/Gate");
    gx_rpc_scene_await_entered(&app.gate, 1);
    struct gx_grpc_call *waiting = begin("/b/Long");
    gx_rpc_scene_await_queued(&scene, 1);
    ck_assert_int_eq(gx_grpc_client_unary(&scene.client, "/b/Where", "m", 1, PATIENT, &reply), RESOURCE_EXHAUSTED);
    gx_rpc_scene_check_details(&reply, GX_E_BUSY);
    gx_grpc_client_free_reply(&reply);
    gx_rpc_scene_open(&app.gate);
    check_reply(held, "m");
    check_reply(waiting, "worker:m");
    stop();
}
END_TEST

START_TEST(clients_that_go_away_at_any_moment_leave_no_call)
{
    struct gx_grpc_call *calls[20];
    gx_rpc_scene_open(&app.gate);
    start((struct gx_rpc_options){.n_workers = 2});
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < GX_COUNT_OF(calls); i++)
            calls[i] = begin(i % 4 == 0 ? "/b/Long" : "/b/Where");
        for (size_t i = 0; i < GX_COUNT_OF(calls); i += 2)
            gx_grpc_client_cancel(calls[i]);
        for (size_t i = 0; i < GX_COUNT_OF(calls); i++) {
            int code = gx_grpc_client_end_unary(calls[i], NULL);
            ck_assert(code == OK || (code == CANCELLED && i % 2 == 0));
        }
    }
    gx_rpc_scene_await_open(&scene, 0);
    check_call("/b/Long", "worker:m");
    stop();
}
END_TEST

START_TEST(stream_cannot_be_tried)
{
    static const struct gx_route stream = {"/b/S", GX_RPC_BIDI, GX_RPC_EITHER, 0, echo, NULL};
    struct gx_rpc_options options = {.listen = "127.0.0.1:0", .routes = &stream, .n_routes = 1};
    struct gx_rpc *server;
    struct gx_err err;
    ck_assert_int_eq(gx_rpc_start(&options, &server, &err), GX_E_INTERNAL);
    ck_assert_ptr_null(server);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        brief_call_is_answered_on_the_io_thread,
        brief_calls_and_health_are_answered_while_every_worker_is_busy,
        call_that_turns_out_long_is_done_by_a_worker_from_the_beginning,
        health_is_answered_while_a_long_call_is_carried_out,
        nothing_is_tried_while_others_wait_for_a_worker,
        after_a_vain_attempt_some_calls_are_not_tried,
        message_of_some_size_is_never_tried,
        attempt_has_little_memory,
        attempt_that_fails_or_forgets_ends_its_call_once,
        worker_sees_that_the_client_of_a_tried_call_has_gone,
        full_queue_refuses_what_would_otherwise_be_tried,
        clients_that_go_away_at_any_moment_leave_no_call,
        stream_cannot_be_tried,
    };
    return gx_rpc_scene_run("rpc_brief", tests, GX_COUNT_OF(tests));
}
