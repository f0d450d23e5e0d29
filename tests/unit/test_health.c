/* Health: what is asked is what is answered, and a watcher never ends up with an old state. */
#include "health.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "rpc_scene.h"

#define CHECK_PATH "/grpc.health.v1.Health/Check"
#define WATCH_PATH "/grpc.health.v1.Health/Watch"

enum { SERVING = 1, NOT_SERVING = 2, SERVICE_UNKNOWN = 3 };

static struct gx_rpc_scene scene;
static atomic_int state_of_all = SERVING, state_of_gallery = SERVING;

static int state_of(void *app, struct gx_slice service)
{
    ck_assert_ptr_eq(app, &scene);
    if (service.len == 0)
        return atomic_load(&state_of_all);
    if (gx_slice_equal(service, gx_slice_text("gallery/a")))
        return atomic_load(&state_of_gallery);
    return SERVICE_UNKNOWN;
}

static const struct gx_route routes[] = {
    {CHECK_PATH, GX_RPC_UNARY, GX_RPC_INLINE, 0, gx_health_check, NULL},
    {WATCH_PATH, GX_RPC_SERVER_STREAM, GX_RPC_INLINE, 0, gx_health_watch, gx_health_watch_end},
};

static void start(struct gx_rpc_options options)
{
    gx_health_set(state_of, &scene);
    gx_rpc_scene_start(&scene, options, routes, GX_COUNT_OF(routes), NULL);
}

static void stop(void)
{
    gx_rpc_scene_stop(&scene);
}

/* A HealthCheckRequest for @service; its length. */
static size_t request(const char *service, size_t len, uint8_t out[256])
{
    ck_assert_uint_lt(len, 128);
    if (len == 0)
        return 0;
    out[0] = 1 << 3 | 2;
    out[1] = (uint8_t)len;
    memcpy(out + 2, service, len);
    return len + 2;
}

static int parse_state(const uint8_t *data, size_t len)
{
    ck_assert_uint_eq(len, 2); /* status is never 0 */
    ck_assert_uint_eq(data[0], 1 << 3);
    return data[1];
}

/* The state, or minus the gRPC code. */
static int check(const char *service, size_t service_len)
{
    uint8_t out[256];
    struct gx_grpc_reply reply;
    size_t len = request(service, service_len, out);
    int code = gx_grpc_client_unary(&scene.client, CHECK_PATH, out, len, PATIENT, &reply);
    int state = code == OK ? parse_state(reply.data, reply.len) : -code;
    gx_grpc_client_free_reply(&reply);
    return state;
}

static struct gx_grpc_call *begin_watch(struct gx_grpc_client *client, const char *service)
{
    uint8_t out[256];
    size_t len = request(service, strlen(service), out);
    struct gx_grpc_call *call = gx_grpc_client_begin(client, WATCH_PATH, PATIENT, NULL, NULL);
    ck_assert(gx_grpc_client_send(call, out, len));
    ck_assert(gx_grpc_client_half_close(call));
    return call;
}

static int next_state(struct gx_grpc_call *call)
{
    uint8_t *data;
    size_t len;
    ck_assert(gx_grpc_client_receive(call, &data, &len));
    int state = parse_state(data, len);
    free(data);
    return state;
}

START_TEST(check_answers_the_state_that_the_server_is_in)
{
    start((struct gx_rpc_options){0});
    ck_assert_int_eq(check("", 0), SERVING);
    ck_assert_int_eq(check("gallery/a", 9), SERVING);
    atomic_store(&state_of_gallery, NOT_SERVING);
    ck_assert_int_eq(check("", 0), SERVING);
    ck_assert_int_eq(check("gallery/a", 9), NOT_SERVING);
    atomic_store(&state_of_all, NOT_SERVING);
    ck_assert_int_eq(check("", 0), NOT_SERVING);
    stop();
}
END_TEST

START_TEST(unknown_service_is_not_found)
{
    start((struct gx_rpc_options){0});
    ck_assert_int_eq(check("gallery/b", 9), -NOT_FOUND);
    ck_assert_int_eq(check("gallery/a\0b", 11), -NOT_FOUND);
    ck_assert_int_eq(check("gallery", 7), -NOT_FOUND);
    stop();
}
END_TEST

START_TEST(malformed_requests_are_invalid)
{
    static const uint8_t truncated[] = {1 << 3 | 2, 5, 'a'};
    static uint8_t large[400] = {1 << 3 | 2, 0x8d, 0x03}; /* 397 bytes of name */
    memset(large + 3, 'a', sizeof(large) - 3);
    start((struct gx_rpc_options){0});
    ck_assert_int_eq(gx_grpc_client_unary(&scene.client, CHECK_PATH, truncated, 3, PATIENT, NULL), INVALID_ARGUMENT);
    ck_assert_int_eq(gx_grpc_client_unary(&scene.client, CHECK_PATH, large, 400, PATIENT, NULL), INVALID_ARGUMENT);
    struct gx_grpc_call *call = gx_grpc_client_begin(&scene.client, WATCH_PATH, PATIENT, NULL, NULL);
    ck_assert(gx_grpc_client_send(call, truncated, 3));
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), INVALID_ARGUMENT);
    stop();
}
END_TEST

START_TEST(watch_tells_the_present_state_and_every_change_once)
{
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *all = begin_watch(&scene.client, ""), *gallery = begin_watch(&scene.client, "gallery/a");
    ck_assert_int_eq(next_state(all), SERVING);
    ck_assert_int_eq(next_state(gallery), SERVING);
    gx_health_changed(); /* nothing has */
    atomic_store(&state_of_gallery, NOT_SERVING);
    gx_health_changed();
    gx_health_changed();
    ck_assert_int_eq(next_state(gallery), NOT_SERVING);
    atomic_store(&state_of_gallery, SERVICE_UNKNOWN);
    gx_health_changed();
    ck_assert_int_eq(next_state(gallery), SERVICE_UNKNOWN);
    atomic_store(&state_of_all, NOT_SERVING);
    gx_health_changed();
    ck_assert_int_eq(next_state(all), NOT_SERVING); /* and nothing before it */
    gx_grpc_client_cancel(all);
    gx_grpc_client_cancel(gallery);
    ck_assert_int_eq(gx_grpc_client_end(all, NULL), CANCELLED);
    ck_assert_int_eq(gx_grpc_client_end(gallery, NULL), CANCELLED);
    gx_rpc_scene_await_open(&scene, 0);
    gx_health_changed(); /* nobody listens any more */
    stop();
}
END_TEST

START_TEST(watched_service_may_come_into_being)
{
    atomic_store(&state_of_gallery, SERVICE_UNKNOWN);
    start((struct gx_rpc_options){0});
    struct gx_grpc_call *call = begin_watch(&scene.client, "gallery/a");
    ck_assert_int_eq(next_state(call), SERVICE_UNKNOWN);
    atomic_store(&state_of_gallery, SERVING);
    gx_health_changed();
    ck_assert_int_eq(next_state(call), SERVING);
    gx_grpc_client_cancel(call);
    (void)gx_grpc_client_end(call, NULL);
    stop();
}
END_TEST

START_TEST(draining_server_serves_nothing_and_ends_its_watches)
{
    start((struct gx_rpc_options){.grace_us = INT64_C(3600000000)});
    struct gx_grpc_call *call = begin_watch(&scene.client, ""), *unknown = begin_watch(&scene.client, "none");
    ck_assert_int_eq(next_state(call), SERVING);
    ck_assert_int_eq(next_state(unknown), SERVICE_UNKNOWN);
    gx_health_drain();
    ck_assert_int_eq(next_state(call), NOT_SERVING);
    ck_assert_int_eq(check("", 0), NOT_SERVING);
    ck_assert_int_eq(check("gallery/a", 9), NOT_SERVING);
    ck_assert_int_eq(check("none", 4), -NOT_FOUND);
    gx_rpc_stop(scene.server);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), UNAVAILABLE);
    ck_assert_int_eq(gx_grpc_client_end(unknown, NULL), UNAVAILABLE);
    gx_grpc_client_close(&scene.client);
    gx_health_set(state_of, &scene); /* the next server serves again */
    start((struct gx_rpc_options){0});
    ck_assert_int_eq(check("", 0), SERVING);
    stop();
}
END_TEST

START_TEST(server_without_a_state_function_serves)
{
    gx_health_set(NULL, NULL);
    gx_rpc_scene_start(&scene, (struct gx_rpc_options){0}, routes, GX_COUNT_OF(routes), NULL);
    ck_assert_int_eq(check("", 0), SERVING);
    ck_assert_int_eq(check("gallery/a", 9), -NOT_FOUND);
    stop();
}
END_TEST

START_TEST(number_of_watches_is_bounded)
{
    enum { MAX = 1024 };
    static struct gx_grpc_call *calls[MAX];
    start((struct gx_rpc_options){.streams_max = 2000});
    for (int i = 0; i < MAX; i++)
        calls[i] = begin_watch(&scene.client, "");
    for (int i = 0; i < MAX; i++)
        ck_assert_int_eq(next_state(calls[i]), SERVING);
    struct gx_grpc_call *call = begin_watch(&scene.client, "");
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), RESOURCE_EXHAUSTED);
    for (int i = 0; i < MAX; i++)
        gx_grpc_client_cancel(calls[i]);
    for (int i = 0; i < MAX; i++)
        (void)gx_grpc_client_end(calls[i], NULL);
    gx_rpc_scene_await_open(&scene, 0);
    call = begin_watch(&scene.client, "");
    ck_assert_int_eq(next_state(call), SERVING);
    gx_grpc_client_cancel(call);
    (void)gx_grpc_client_end(call, NULL);
    stop();
}
END_TEST

static void *flicker(void *arg)
{
    for (int i = 0; i < 100; i++) { /* twice: fewer than a watcher may leave unread */
        atomic_store(&state_of_gallery, i % 2 == 0 ? SERVING : NOT_SERVING);
        gx_health_changed();
    }
    return arg;
}

static void *come_and_go(void *arg)
{
    struct gx_grpc_client client;
    gx_grpc_client_open(&client, gx_rpc_address(scene.server));
    for (int i = 0; i < 30; i++) {
        struct gx_grpc_call *call = begin_watch(&client, "gallery/a");
        (void)next_state(call);
        gx_grpc_client_cancel(call);
        (void)gx_grpc_client_end(call, NULL);
    }
    gx_grpc_client_close(&client);
    return arg;
}

START_TEST(watcher_ends_up_with_the_latest_state_whatever_happens_at_once)
{
    pthread_t threads[4];
    start((struct gx_rpc_options){.n_io = 2});
    struct gx_grpc_call *call = begin_watch(&scene.client, "gallery/a");
    int state = next_state(call);
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, i < 2 ? flicker : come_and_go, NULL), 0);
    for (int i = 0; i < 4; i++)
        (void)pthread_join(threads[i], NULL);
    atomic_store(&state_of_gallery, SERVICE_UNKNOWN);
    gx_health_changed();
    for (int last = 0; state != SERVICE_UNKNOWN; state = last) {
        last = next_state(call);
        ck_assert_int_ne(last, state);
    }
    gx_grpc_client_cancel(call);
    (void)gx_grpc_client_end(call, NULL);
    stop();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        check_answers_the_state_that_the_server_is_in,
        unknown_service_is_not_found,
        malformed_requests_are_invalid,
        watch_tells_the_present_state_and_every_change_once,
        watched_service_may_come_into_being,
        draining_server_serves_nothing_and_ends_its_watches,
        server_without_a_state_function_serves,
        number_of_watches_is_bounded,
        watcher_ends_up_with_the_latest_state_whatever_happens_at_once,
    };
    return gx_rpc_scene_run("health", tests, GX_COUNT_OF(tests));
}
