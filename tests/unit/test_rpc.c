/* The server's unary calls, through a real client on libgrpc in the same process: what arrives, what is refused, who is
 * skipped, and that every call ends. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "indexd/limits.h"
#include "rpc_scene.h"

/* What the handlers share with the tests. */
static struct {
    struct gx_rpc_scene_gate gate; /* that /t/Gate waits at */
    atomic_uint n_echoed, n_freed;
    atomic_int stopped_with;
    pthread_t later;
} app = {.gate = GX_RPC_SCENE_GATE};

static struct gx_rpc_scene scene;

/* ---------------------------------------------------------------- handlers */

static void reply_bytes(struct gx_call *call, struct gx_slice message, size_t bound)
{
    uint8_t *out = gx_call_reply_begin(call, bound);
    ck_assert_ptr_nonnull(out);
    if (message.len > 0)
        memcpy(out, message.data, message.len);
    gx_call_reply_end(call, message.len);
}

static void echo(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    (void)atomic_fetch_add(&app.n_echoed, 1);
    reply_bytes(call, message, message.len);
}

static void echo_short(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    reply_bytes(call, message, message.len + 100000);
}

/* Waits at the gate, then echoes. */
static void gate(void *arg, struct gx_call *call, struct gx_slice message)
{
    gx_rpc_scene_pass(&app.gate);
    echo(arg, call, message);
}

/* Works until nobody wants the answer any more. */
static void endless(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    (void)message;
    struct gx_err err = {0};
    gx_rpc_scene_enter(&app.gate);
    while (!gx_call_stopped(call))
        (void)usleep(100);
    (void)gx_call_check(call, &err);
    atomic_store(&app.stopped_with, (int)err.status);
    gx_call_fail(call, &err);
}

/* The message is the number of the status to fail with. */
static void fail_as(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    struct gx_err err = {0};
    if (message.data[0] != GX_OK)
        (void)gx_err_set(&err, (enum gx_status)message.data[0], "what failed: what to do, \xc3\xa4 and \x01 included");
    gx_call_fail(call, &err);
}

static void forget(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    (void)call;
    (void)message;
}

static void *answer_later(void *arg)
{
    struct gx_call *call = arg;
    gx_call_reply_end(call, (size_t)snprintf((char *)gx_call_reply_begin(call, 16), 16, "later"));
    gx_call_release(call);
    return NULL;
}

static void later(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    (void)message;
    gx_call_hold(call);
    ck_assert_int_eq(pthread_create(&app.later, NULL, answer_later, call), 0);
}

static void *forget_later(void *arg)
{
    gx_call_release(arg);
    return NULL;
}

static void hold_and_forget(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    (void)message;
    gx_call_hold(call);
    ck_assert_int_eq(pthread_create(&app.later, NULL, forget_later, call), 0);
}

/* Ends the call four times. */
static void insist(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    struct gx_err err;
    reply_bytes(call, message, message.len);
    (void)gx_err_set(&err, GX_E_INTERNAL, "too late");
    gx_call_fail(call, &err);
    reply_bytes(call, (struct gx_slice){(const uint8_t *)"other", 5}, 5);
    gx_call_fail(call, NULL);
}

static void count_freed(void *state)
{
    ck_assert_ptr_eq(state, &app);
    (void)atomic_fetch_add(&app.n_freed, 1);
}

/* Answers how many bytes the arena gave, in decimal. */
static void use_arena(void *arg, struct gx_call *call, struct gx_slice message)
{
    struct gx_arena *arena = gx_call_arena(call);
    size_t n = 0;
    ck_assert_ptr_null(gx_call_state(call));
    gx_call_set_state(call, arg, count_freed);
    ck_assert_ptr_eq(gx_call_state(call), arg);
    ck_assert_ptr_eq(gx_call_arena(call), arena);
    ck_assert_uint_eq(arena->used, 0);
    uint8_t *p;
    while ((p = gx_arena_alloc(arena, 4096)) != NULL) {
        p[0] = p[4095] = message.data[0];
        n += 4096;
    }
    uint8_t *out = gx_call_reply_begin(call, 32);
    gx_call_reply_end(call, (size_t)snprintf((char *)out, 32, "%zu", n));
}

static void refuse_memory(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    (void)message;
    ck_assert_ptr_null(gx_call_reply_begin(call, SIZE_MAX / 2));
    (void)gx_call_reply_begin(call, 100); /* begun and left: given back with the call */
    struct gx_err err;
    (void)gx_err_set(&err, GX_E_NOMEM, "no memory");
    gx_call_fail(call, &err);
}

static const struct gx_route routes[] = {
    {"/t/Echo", GX_RPC_UNARY, GX_RPC_WORKER, 0, echo, NULL},
    {"/t/Inline", GX_RPC_UNARY, GX_RPC_INLINE, 0, echo, NULL},
    {"/t/Short", GX_RPC_UNARY, GX_RPC_WORKER, 0, echo_short, NULL},
    {"/t/Aside", GX_RPC_UNARY, GX_RPC_SHORT, 0, echo, NULL},
    {"/t/AsideGate", GX_RPC_UNARY, GX_RPC_SHORT, 0, gate, NULL},
    {"/t/Small", GX_RPC_UNARY, GX_RPC_WORKER, 100, echo, NULL},
    {"/t/Gate", GX_RPC_UNARY, GX_RPC_WORKER, 0, gate, NULL},
    {"/t/Endless", GX_RPC_UNARY, GX_RPC_WORKER, 0, endless, NULL},
    {"/t/Fail", GX_RPC_UNARY, GX_RPC_WORKER, 0, fail_as, NULL},
    {"/t/Forget", GX_RPC_UNARY, GX_RPC_WORKER, 0, forget, NULL},
    {"/t/Later", GX_RPC_UNARY, GX_RPC_INLINE, 0, later, NULL},
    {"/t/HoldAndForget", GX_RPC_UNARY, GX_RPC_INLINE, 0, hold_and_forget, NULL},
    {"/t/Insist", GX_RPC_UNARY, GX_RPC_WORKER, 0, insist, NULL},
    {"/t/Arena", GX_RPC_UNARY, GX_RPC_WORKER, 0, use_arena, NULL},
    {"/t/NoMemory", GX_RPC_UNARY, GX_RPC_WORKER, 0, refuse_memory, NULL},
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

static int unary(const char *path, const void *data, size_t len, int timeout_ms, struct gx_grpc_reply *out_reply)
{
    return gx_grpc_client_unary(&scene.client, path, data, len, timeout_ms, out_reply);
}

static struct gx_grpc_call *begin(const char *path, const void *data, size_t len, int timeout_ms)
{
    return gx_grpc_client_begin_unary(&scene.client, path, data, len, timeout_ms);
}

static void check_echo(const char *path, size_t len)
{
    gx_rpc_scene_check_echo(&scene, path, len);
}

static struct gx_rpc_stats stats(void)
{
    return gx_rpc_scene_stats(&scene);
}

static bool is_freed(void *arg)
{
    return atomic_load(&app.n_freed) == *(const unsigned *)arg;
}

/* ---------------------------------------------------------------- messages */

START_TEST(message_of_any_size_comes_back_unchanged)
{
    /* around the slices that hold their bytes themselves, the frames of HTTP/2, our own large replies, the limit */
    static const size_t sizes[] = {0, 1, 22, 23, 24, 2062, 16384, 65535, 65536, 65537, 1 << 20, GX_MESSAGE_MAX};
    start((struct gx_rpc_options){0});
    for (size_t i = 0; i < GX_COUNT_OF(sizes); i++) {
        check_echo("/t/Echo", sizes[i]);
        check_echo("/t/Inline", sizes[i]);
        check_echo("/t/Short", sizes[i]);
    }
    ck_assert_uint_eq(stats().calls, 3 * GX_COUNT_OF(sizes));
    ck_assert_uint_eq(stats().failed, 0);
    stop();
}
END_TEST

START_TEST(call_without_a_message_is_invalid)
{
    struct gx_grpc_reply reply;
    start((struct gx_rpc_options){0});
    ck_assert_int_eq(unary("/t/Echo", NULL, 0, PATIENT, &reply), INVALID_ARGUMENT);
    gx_rpc_scene_check_details(&reply, GX_E_INVALID);
    ck_assert_uint_eq(atomic_load(&app.n_echoed), 0);
    stop();
}
END_TEST

START_TEST(unknown_method_is_answered_at_once)
{
    struct gx_grpc_reply reply;
    start((struct gx_rpc_options){0});
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(unary("/t/None", "x", 1, PATIENT, &reply), UNIMPLEMENTED);
        gx_rpc_scene_check_details(&reply, GX_E_UNIMPLEMENTED);
        check_echo("/t/Echo", 10);
    }
    stop();
}
END_TEST

START_TEST(message_over_the_limit_of_its_route_is_refused_unread)
{
    struct gx_grpc_reply reply;
    start((struct gx_rpc_options){0});
    uint8_t bytes[101] = {0};
    check_echo("/t/Small", 100);
    ck_assert_uint_eq(atomic_load(&app.n_echoed), 1);
    ck_assert_int_eq(unary("/t/Small", bytes, 101, PATIENT, &reply), RESOURCE_EXHAUSTED);
    gx_rpc_scene_check_details(&reply, GX_E_TOO_LARGE);
    ck_assert_uint_eq(atomic_load(&app.n_echoed), 1);
    stop();
}
END_TEST

START_TEST(message_over_the_limit_of_the_interface_is_refused)
{
    start((struct gx_rpc_options){0});
    uint8_t *bytes = calloc(1, GX_MESSAGE_MAX + 1);
    ck_assert_ptr_nonnull(bytes);
    ck_assert_int_eq(unary("/t/Echo", bytes, GX_MESSAGE_MAX + 1, PATIENT, NULL), RESOURCE_EXHAUSTED);
    ck_assert_uint_eq(atomic_load(&app.n_echoed), 0);
    check_echo("/t/Echo", 10);
    free(bytes);
    stop();
}
END_TEST

START_TEST(compressed_message_is_refused_before_it_is_unpacked)
{
    static const uint8_t zeros[1 << 20]; /* a kilobyte of gzip: a thousand times that could fill any memory */
    struct gx_grpc_client gzip;
    start((struct gx_rpc_options){0});
    gx_grpc_client_open_gzip(&gzip, gx_rpc_address(scene.server));
    ck_assert_int_eq(gx_grpc_client_unary(&gzip, "/t/Echo", zeros, sizeof(zeros), PATIENT, NULL), UNIMPLEMENTED);
    ck_assert_uint_eq(atomic_load(&app.n_echoed), 0);
    check_echo("/t/Echo", 10);
    gx_grpc_client_close(&gzip);
    stop();
}
END_TEST

START_TEST(metadata_over_the_limit_are_refused_and_the_server_lives)
{
    static char value[20001];
    struct gx_grpc_client big;
    start((struct gx_rpc_options){0});
    gx_grpc_client_open(&big, gx_rpc_address(scene.server));
    memset(value, 'a', sizeof(value) - 1);
    struct gx_grpc_call *call = gx_grpc_client_begin(&big, "/t/Echo", PATIENT, "x-big", value);
    int code = gx_grpc_client_end(call, NULL); /* libgrpc may close the whole connection */
    ck_assert(code == RESOURCE_EXHAUSTED || code == UNAVAILABLE);
    ck_assert_uint_eq(atomic_load(&app.n_echoed), 0);
    check_echo("/t/Echo", 10);
    gx_grpc_client_close(&big);
    stop();
}
END_TEST

/* ---------------------------------------------------------------- failures */

START_TEST(every_status_reaches_the_client_with_code_text_and_details)
{
#define NUMBER(name, number, grpc, text) number,
    static const uint8_t numbers[] = {GX_STATUS_MAP(NUMBER)};
    start((struct gx_rpc_options){0});
    for (size_t i = 1; i < GX_COUNT_OF(numbers); i++) {
        struct gx_grpc_reply reply;
        int code = unary("/t/Fail", &numbers[i], 1, PATIENT, &reply);
        ck_assert_int_eq(code, gx_status_grpc((enum gx_status)numbers[i]));
        ck_assert_ptr_nonnull(strstr(reply.text, "what failed: what to do, "));
        gx_rpc_scene_check_details(&reply, (enum gx_status)numbers[i]);
        ck_assert_ptr_null(reply.data);
    }
    ck_assert_uint_eq(stats().failed, GX_COUNT_OF(numbers) - 1);
    stop();
}
END_TEST

START_TEST(failure_without_a_reason_is_internal)
{
    struct gx_grpc_reply reply;
    const uint8_t zero = 0;
    start((struct gx_rpc_options){0});
    ck_assert_int_eq(unary("/t/Fail", &zero, 1, PATIENT, &reply), INTERNAL);
    gx_rpc_scene_check_details(&reply, GX_E_INTERNAL);
    stop();
}
END_TEST

START_TEST(handler_that_forgets_to_answer_cannot_hang_the_call)
{
    start((struct gx_rpc_options){0});
    ck_assert_int_eq(unary("/t/Forget", "x", 1, PATIENT, NULL), INTERNAL);
    ck_assert_int_eq(unary("/t/HoldAndForget", "x", 1, PATIENT, NULL), INTERNAL);
    (void)pthread_join(app.later, NULL);
    stop();
}
END_TEST

START_TEST(only_the_first_end_of_a_call_counts)
{
    struct gx_grpc_reply reply;
    start((struct gx_rpc_options){0});
    ck_assert_int_eq(unary("/t/Insist", "first", 5, PATIENT, &reply), OK);
    ck_assert_uint_eq(reply.len, 5);
    ck_assert_mem_eq(reply.data, "first", 5);
    gx_grpc_client_free_reply(&reply);
    stop();
}
END_TEST

START_TEST(reply_without_memory_fails_the_call_only)
{
    start((struct gx_rpc_options){0});
    ck_assert_int_eq(unary("/t/NoMemory", "x", 1, PATIENT, NULL), RESOURCE_EXHAUSTED);
    check_echo("/t/Echo", 10);
    stop();
}
END_TEST

/* ---------------------------------------------------------------- ownership */

START_TEST(answer_may_come_later_from_another_thread)
{
    struct gx_grpc_reply reply;
    start((struct gx_rpc_options){0});
    ck_assert_int_eq(unary("/t/Later", "x", 1, PATIENT, &reply), OK);
    ck_assert_mem_eq(reply.data, "later", 5);
    (void)pthread_join(app.later, NULL);
    gx_grpc_client_free_reply(&reply);
    stop();
}
END_TEST

START_TEST(arena_is_fresh_and_bounded_and_state_is_freed_once_for_each_call)
{
    start((struct gx_rpc_options){.memory_max = 1 << 20});
    for (unsigned i = 1; i <= 5; i++) {
        struct gx_grpc_reply reply;
        ck_assert_int_eq(unary("/t/Arena", "x", 1, PATIENT, &reply), OK);
        ck_assert_uint_eq(reply.len, strlen("1048576"));
        ck_assert_mem_eq(reply.data, "1048576", reply.len);
        gx_grpc_client_free_reply(&reply);
        ck_assert(gx_grpc_client_await(is_freed, &i));
    }
    stop();
}
END_TEST

/* ---------------------------------------------------------------- load and patience */

START_TEST(full_queue_answers_busy_while_the_io_thread_still_answers)
{
    struct gx_grpc_reply reply;
    struct gx_grpc_call *calls[3];
    start((struct gx_rpc_options){.n_workers = 1, .queue_max = 2});
    calls[0] = begin("/t/Gate", "a", 1, PATIENT);
    gx_rpc_scene_await_entered(&app.gate, 1);
    calls[1] = begin("/t/Gate", "b", 1, PATIENT);
    calls[2] = begin("/t/Gate", "c", 1, PATIENT);
    gx_rpc_scene_await_queued(&scene, 2);
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(unary("/t/Echo", "d", 1, PATIENT, &reply), RESOURCE_EXHAUSTED);
        gx_rpc_scene_check_details(&reply, GX_E_BUSY);
        check_echo("/t/Inline", 10);
    }
    ck_assert_uint_eq(stats().refused_busy, 50);
    gx_rpc_scene_open(&app.gate);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(gx_grpc_client_end_unary(calls[i], NULL), OK);
    check_echo("/t/Echo", 10);
    stop();
}
END_TEST

START_TEST(short_calls_pass_long_ones_and_are_not_refused_for_them)
{
    struct gx_grpc_reply reply;
    struct gx_grpc_call *calls[2];
    start((struct gx_rpc_options){.n_workers = 1, .queue_max = 1});
    calls[0] = begin("/t/Gate", "a", 1, PATIENT);
    gx_rpc_scene_await_entered(&app.gate, 1);
    calls[1] = begin("/t/Gate", "b", 1, PATIENT);
    gx_rpc_scene_await_queued(&scene, 1);
    for (int i = 0; i < 50; i++) {
        ck_assert_int_eq(unary("/t/Echo", "c", 1, PATIENT, &reply), RESOURCE_EXHAUSTED);
        gx_rpc_scene_check_details(&reply, GX_E_BUSY);
        check_echo("/t/Aside", 10);
    }
    ck_assert_uint_eq(stats().queue_length, 1); /* the second long one has no worker yet */
    gx_rpc_scene_open(&app.gate);
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_eq(gx_grpc_client_end_unary(calls[i], NULL), OK);
    stop();
}
END_TEST

START_TEST(two_short_calls_run_at_a_time_and_hold_no_long_one_up)
{
    struct gx_grpc_call *calls[3];
    start((struct gx_rpc_options){.n_workers = 1});
    for (unsigned i = 0; i < 2; i++) {
        calls[i] = begin("/t/AsideGate", "a", 1, PATIENT);
        gx_rpc_scene_await_entered(&app.gate, i + 1);
    }
    calls[2] = begin("/t/AsideGate", "b", 1, PATIENT);
    gx_rpc_scene_await_queued(&scene, 1);
    check_echo("/t/Echo", 10);
    gx_rpc_scene_open(&app.gate);
    for (size_t i = 0; i < GX_COUNT_OF(calls); i++)
        ck_assert_int_eq(gx_grpc_client_end_unary(calls[i], NULL), OK);
    stop();
}
END_TEST

static bool is_past(void *arg)
{
    return gx_clock_monotonic_us() > *(const int64_t *)arg;
}

START_TEST(call_that_expired_in_the_queue_is_skipped)
{
    start((struct gx_rpc_options){.n_workers = 1});
    struct gx_grpc_call *first = begin("/t/Gate", "a", 1, PATIENT);
    gx_rpc_scene_await_entered(&app.gate, 1);
    struct gx_grpc_call *second = begin("/t/Echo", "b", 1, 200);
    ck_assert_int_eq(gx_grpc_client_end_unary(second, NULL), DEADLINE_EXCEEDED);
    int64_t late_us = gx_clock_monotonic_us() + 100000; /* the server's clock of the call began later */
    ck_assert(gx_grpc_client_await(is_past, &late_us));
    gx_rpc_scene_open(&app.gate);
    ck_assert_int_eq(gx_grpc_client_end_unary(first, NULL), OK);
    check_echo("/t/Echo", 10); /* behind the second in the queue */
    ck_assert_uint_eq(atomic_load(&app.n_echoed), 2);
    ck_assert_uint_eq(stats().expired, 1);
    stop();
}
END_TEST

START_TEST(call_that_was_cancelled_in_the_queue_is_skipped)
{
    start((struct gx_rpc_options){.n_workers = 1});
    struct gx_grpc_call *first = begin("/t/Gate", "a", 1, PATIENT);
    gx_rpc_scene_await_entered(&app.gate, 1);
    struct gx_grpc_call *second = begin("/t/Echo", "b", 1, PATIENT);
    gx_rpc_scene_await_queued(&scene, 1);
    gx_grpc_client_cancel(second);
    ck_assert_int_eq(gx_grpc_client_end_unary(second, NULL), CANCELLED);
    gx_rpc_scene_await_cancelled(&scene, 1);
    gx_rpc_scene_open(&app.gate);
    ck_assert_int_eq(gx_grpc_client_end_unary(first, NULL), OK);
    check_echo("/t/Echo", 10);
    ck_assert_uint_eq(atomic_load(&app.n_echoed), 2);
    stop();
}
END_TEST

START_TEST(running_handler_sees_that_the_client_cancelled)
{
    start((struct gx_rpc_options){.n_workers = 1});
    struct gx_grpc_call *call = begin("/t/Endless", "a", 1, PATIENT);
    gx_rpc_scene_await_entered(&app.gate, 1);
    gx_grpc_client_cancel(call);
    ck_assert_int_eq(gx_grpc_client_end_unary(call, NULL), CANCELLED);
    check_echo("/t/Echo", 10); /* on the only worker: it is free again */
    ck_assert_int_eq(atomic_load(&app.stopped_with), GX_E_CANCELLED);
    stop();
}
END_TEST

START_TEST(running_handler_sees_that_its_time_is_up)
{
    start((struct gx_rpc_options){.n_workers = 1});
    ck_assert_int_eq(unary("/t/Endless", "a", 1, 200, NULL), DEADLINE_EXCEEDED);
    check_echo("/t/Echo", 10);
    int status = atomic_load(&app.stopped_with); /* the client's own clock may have been ahead */
    ck_assert(status == GX_E_DEADLINE || status == GX_E_CANCELLED);
    stop();
}
END_TEST

START_TEST(calls_of_one_connection_are_bounded_by_waiting_not_by_failing)
{
    struct gx_grpc_call *calls[3];
    start((struct gx_rpc_options){.n_workers = 4, .streams_max = 2});
    ck_assert(gx_grpc_client_connect(&scene.client, PATIENT));
    for (size_t i = 0; i < 3; i++)
        calls[i] = begin("/t/Gate", "a", 1, PATIENT);
    gx_rpc_scene_await_entered(&app.gate, 2);
    struct gx_grpc_client other; /* a full round on another connection: the third has had its chance to arrive */
    gx_grpc_client_open(&other, gx_rpc_address(scene.server));
    ck_assert_int_eq(gx_grpc_client_unary(&other, "/t/Echo", "x", 1, PATIENT, NULL), OK);
    ck_assert_uint_eq(stats().calls, 3);
    gx_rpc_scene_open(&app.gate);
    for (size_t i = 0; i < 3; i++)
        ck_assert_int_eq(gx_grpc_client_end_unary(calls[i], NULL), OK);
    gx_grpc_client_close(&other);
    stop();
}
END_TEST

#define HAMMER_THREADS 4
#define HAMMER_CALLS   150

static void *hammer(void *arg)
{
    unsigned seed = *(unsigned *)arg;
    struct gx_grpc_client own;
    gx_grpc_client_open(&own, gx_rpc_address(scene.server));
    for (unsigned i = 0; i < HAMMER_CALLS; i++) {
        struct gx_grpc_reply reply;
        uint8_t bytes[3000];
        size_t len = (seed = seed * 1103515245u + 12345u) % sizeof(bytes);
        memset(bytes, (int)(seed >> 16), sizeof(bytes));
        const char *path = i % 3 == 0 ? "/t/Inline" : i % 3 == 1 ? "/t/Echo" : "/t/Short";
        if (gx_grpc_client_unary(&own, path, bytes, len, PATIENT, &reply) != OK || reply.len != len ||
            memcmp(reply.data, bytes, len) != 0)
            return arg;
        gx_grpc_client_free_reply(&reply);
    }
    gx_grpc_client_close(&own);
    return NULL;
}

START_TEST(many_clients_get_each_their_own_answers)
{
    pthread_t threads[HAMMER_THREADS];
    unsigned seeds[HAMMER_THREADS];
    start((struct gx_rpc_options){.n_io = 2, .n_workers = 3});
    for (unsigned i = 0; i < HAMMER_THREADS; i++) {
        seeds[i] = i + 1;
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hammer, &seeds[i]), 0);
    }
    for (unsigned i = 0; i < HAMMER_THREADS; i++) {
        void *wrong = NULL;
        (void)pthread_join(threads[i], &wrong);
        ck_assert_msg(wrong == NULL, "seed %u", i + 1);
    }
    ck_assert_uint_eq(stats().calls, HAMMER_THREADS * HAMMER_CALLS);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        message_of_any_size_comes_back_unchanged,
        call_without_a_message_is_invalid,
        unknown_method_is_answered_at_once,
        message_over_the_limit_of_its_route_is_refused_unread,
        message_over_the_limit_of_the_interface_is_refused,
        compressed_message_is_refused_before_it_is_unpacked,
        metadata_over_the_limit_are_refused_and_the_server_lives,
        every_status_reaches_the_client_with_code_text_and_details,
        failure_without_a_reason_is_internal,
        handler_that_forgets_to_answer_cannot_hang_the_call,
        only_the_first_end_of_a_call_counts,
        reply_without_memory_fails_the_call_only,
        answer_may_come_later_from_another_thread,
        arena_is_fresh_and_bounded_and_state_is_freed_once_for_each_call,
        full_queue_answers_busy_while_the_io_thread_still_answers,
        short_calls_pass_long_ones_and_are_not_refused_for_them,
        two_short_calls_run_at_a_time_and_hold_no_long_one_up,
        call_that_expired_in_the_queue_is_skipped,
        call_that_was_cancelled_in_the_queue_is_skipped,
        running_handler_sees_that_the_client_cancelled,
        running_handler_sees_that_its_time_is_up,
        calls_of_one_connection_are_bounded_by_waiting_not_by_failing,
        many_clients_get_each_their_own_answers,
    };
    return gx_rpc_scene_run("rpc", tests, GX_COUNT_OF(tests));
}
