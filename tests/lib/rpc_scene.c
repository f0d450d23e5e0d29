#include "rpc_scene.h"

#include <stdlib.h>

#include "google/rpc/status.pb-c.h"
#include "suite.h"

/* A client in the same process runs through some sixty libraries that are not instrumented: what they call is not
 * looked at. Our own code is. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "ignore_noninstrumented_modules=1";
}

void gx_rpc_scene_start(struct gx_rpc_scene *scene, struct gx_rpc_options options, const struct gx_route *routes,
                        size_t n_routes, void *app)
{
    struct gx_err err = {0};
    if (options.listen == NULL)
        options.listen = "127.0.0.1:0";
    options.routes = routes;
    options.n_routes = n_routes;
    options.app = app;
    gx_rpc_prepare();
    ck_assert_msg(gx_rpc_start(&options, &scene->server, &err) == GX_OK, "%s", err.text);
    gx_grpc_client_open(&scene->client, gx_rpc_address(scene->server));
}

void gx_rpc_scene_stop(struct gx_rpc_scene *scene)
{
    gx_rpc_stop(scene->server);
    gx_grpc_client_close(&scene->client);
}

struct gx_rpc_stats gx_rpc_scene_stats(const struct gx_rpc_scene *scene)
{
    struct gx_rpc_stats stats;
    gx_rpc_get_stats(scene->server, &stats);
    return stats;
}

/* ---------------------------------------------------------------- waiting */

struct wish {
    struct gx_rpc_scene *scene;
    uint64_t n;
};

static bool is_queued(void *arg)
{
    const struct wish *w = arg;
    return gx_rpc_scene_stats(w->scene).queue_length == w->n;
}

static bool is_cancelled(void *arg)
{
    const struct wish *w = arg;
    return gx_rpc_scene_stats(w->scene).cancelled == w->n;
}

static bool is_open(void *arg)
{
    const struct wish *w = arg;
    return gx_rpc_scene_stats(w->scene).calls_open == w->n;
}

void gx_rpc_scene_await_queued(struct gx_rpc_scene *scene, uint64_t n)
{
    ck_assert(gx_grpc_client_await(is_queued, &(struct wish){scene, n}));
}

void gx_rpc_scene_await_cancelled(struct gx_rpc_scene *scene, uint64_t n)
{
    ck_assert(gx_grpc_client_await(is_cancelled, &(struct wish){scene, n}));
}

void gx_rpc_scene_await_open(struct gx_rpc_scene *scene, uint64_t n)
{
    ck_assert(gx_grpc_client_await(is_open, &(struct wish){scene, n}));
}

void gx_rpc_scene_enter(struct gx_rpc_scene_gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    gate->n_entered++;
    (void)pthread_cond_broadcast(&gate->changed);
    (void)pthread_mutex_unlock(&gate->lock);
}

void gx_rpc_scene_pass(struct gx_rpc_scene_gate *gate)
{
    gx_rpc_scene_enter(gate);
    (void)pthread_mutex_lock(&gate->lock);
    while (!gate->open)
        (void)pthread_cond_wait(&gate->changed, &gate->lock);
    (void)pthread_mutex_unlock(&gate->lock);
}

void gx_rpc_scene_await_entered(struct gx_rpc_scene_gate *gate, unsigned n)
{
    (void)pthread_mutex_lock(&gate->lock);
    while (gate->n_entered < n)
        (void)pthread_cond_wait(&gate->changed, &gate->lock);
    (void)pthread_mutex_unlock(&gate->lock);
}

void gx_rpc_scene_open(struct gx_rpc_scene_gate *gate)
{
    (void)pthread_mutex_lock(&gate->lock);
    gate->open = true;
    (void)pthread_cond_broadcast(&gate->changed);
    (void)pthread_mutex_unlock(&gate->lock);
}

/* ---------------------------------------------------------------- checking */

void gx_rpc_scene_echo(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    uint8_t *out = gx_call_reply_begin(call, message.len);
    ck_assert_ptr_nonnull(out);
    if (message.len > 0)
        memcpy(out, message.data, message.len);
    gx_call_reply_end(call, message.len);
}

void gx_rpc_scene_check_echo(struct gx_rpc_scene *scene, const char *path, size_t len)
{
    struct gx_grpc_reply reply;
    uint8_t *sent = malloc(len + 1);
    ck_assert_ptr_nonnull(sent);
    for (size_t i = 0; i < len; i++)
        sent[i] = (uint8_t)(i * 7 + i / 251);
    gx_grpc_client_unary(&scene->client, path, sent, len, PATIENT, &reply);
    ck_assert_msg(reply.code == OK, "%d %s", reply.code, reply.text);
    ck_assert_ptr_nonnull(reply.data);
    ck_assert_uint_eq(reply.len, len);
    ck_assert(memcmp(reply.data, sent, len) == 0);
    gx_grpc_client_free_reply(&reply);
    free(sent);
}

static void check_binary(ProtobufCBinaryData found, const char *expected)
{
    ck_assert_uint_eq(found.len, strlen(expected));
    ck_assert(memcmp(found.data, expected, found.len) == 0);
}

static void check_error_info(const Google__Rpc__Any *any, enum gx_status status)
{
    check_binary(any->type_url, "type.googleapis.com/google.rpc.ErrorInfo");
    Google__Rpc__ErrorInfo *info = google__rpc__error_info__unpack(NULL, any->value.len, any->value.data);
    ck_assert_ptr_nonnull(info);
    check_binary(info->reason, gx_status_name(status));
    check_binary(info->domain, "indexd");
    google__rpc__error_info__free_unpacked(info, NULL);
}

static void check_retry_info(const Google__Rpc__Any *any)
{
    check_binary(any->type_url, "type.googleapis.com/google.rpc.RetryInfo");
    Google__Rpc__RetryInfo *info = google__rpc__retry_info__unpack(NULL, any->value.len, any->value.data);
    ck_assert_ptr_nonnull(info);
    ck_assert_ptr_nonnull(info->retry_delay);
    ck_assert_int_eq(info->retry_delay->seconds, 1);
    google__rpc__retry_info__free_unpacked(info, NULL);
}

void gx_rpc_scene_check_details(const struct gx_grpc_reply *reply, enum gx_status status)
{
    bool retry = status == GX_E_BUSY || status == GX_E_UNAVAILABLE;
    Google__Rpc__Status *s = google__rpc__status__unpack(NULL, reply->details_len, reply->details);
    ck_assert_ptr_nonnull(s);
    ck_assert_int_eq(s->code, gx_status_grpc(status));
    ck_assert_uint_eq(s->n_details, retry ? 2 : 1);
    check_error_info(s->details[0], status);
    if (retry)
        check_retry_info(s->details[1]);
    google__rpc__status__free_unpacked(s, NULL);
}

/* ---------------------------------------------------------------- streams */

struct gx_grpc_call *gx_rpc_scene_begin(struct gx_rpc_scene *scene, const char *path, int timeout_ms)
{
    return gx_grpc_client_begin(&scene->client, path, timeout_ms, NULL, NULL);
}

struct gx_grpc_call *gx_rpc_scene_ask(struct gx_rpc_scene *scene, const char *path, const char *message)
{
    struct gx_grpc_call *call = gx_rpc_scene_begin(scene, path, PATIENT);
    ck_assert(gx_grpc_client_send(call, message, strlen(message)));
    ck_assert(gx_grpc_client_half_close(call));
    return call;
}

void gx_rpc_scene_check_received(struct gx_grpc_call *call, const void *expected, size_t len)
{
    uint8_t *data;
    size_t n;
    ck_assert(gx_grpc_client_receive(call, &data, &n));
    ck_assert_uint_eq(n, len);
    ck_assert(memcmp(data, expected, len) == 0);
    free(data);
}

void gx_rpc_scene_check_no_more(struct gx_grpc_call *call)
{
    uint8_t *data;
    size_t n;
    ck_assert(!gx_grpc_client_receive(call, &data, &n));
}

struct wished_counts {
    struct gx_rpc_scene_counts *counts;
    unsigned n_messages, n_clean, n_broken;
};

static bool counts_reached(void *arg)
{
    const struct wished_counts *wish = arg;
    return atomic_load(&wish->counts->n_messages) >= wish->n_messages &&
           atomic_load(&wish->counts->n_clean) >= wish->n_clean &&
           atomic_load(&wish->counts->n_broken) >= wish->n_broken;
}

void gx_rpc_scene_await_counts(struct gx_rpc_scene_counts *counts, unsigned n_messages, unsigned n_clean,
                               unsigned n_broken)
{
    struct wished_counts wish = {counts, n_messages, n_clean, n_broken};
    ck_assert(gx_grpc_client_await(counts_reached, &wish));
    ck_assert_uint_eq(atomic_load(&counts->n_clean), n_clean);
    ck_assert_uint_eq(atomic_load(&counts->n_broken), n_broken);
}

int gx_rpc_scene_run(const char *name, const TTest *const *tests, size_t n_tests)
{
    Suite *suite = suite_create(name);
    TCase *tc = tcase_create(name);
    tcase_set_timeout(tc, 60);
    for (size_t i = 0; i < n_tests; i++)
        tcase_add_test(tc, tests[i]);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
