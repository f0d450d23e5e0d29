/* Calls that nobody waits for, a server at its limit, and what health says meanwhile. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "grpc/health/v1/health.pb-c.h"
#include "indexd/v1/galleries.pb-c.h"
#include "raw.h"

#define DIM  128
#define ROWS 5000
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LONG_PROBES 200 /* by a server that is ten times as slow */
#else
#define LONG_PROBES 1000
#endif
#define HEALTH  "/grpc.health.v1.Health/Check"
#define WATCH   "/grpc.health.v1.Health/Watch"
#define MEASURE "/indexd.v1.Galleries/MeasureRecall"
enum { SERVING = 1, NOT_SERVING = 2, UNKNOWN = 3 };

static struct gx_served served;
static struct gx_grpc_client raw;

static void begin(const char *settings)
{
    gx_served_begin(&served, DIM, settings);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", ROWS);
    gx_grpc_client_open(&raw, served.server.address);
}

static void end(void)
{
    gx_grpc_client_close(&raw);
    gx_served_end(&served);
}

/* A call that keeps a worker busy for a while: as many exact searches, and as many by the engine. */
static struct gx_grpc_call *begin_long_call(int timeout_ms)
{
    Indexd__V1__MeasureRecallRequest request;
    size_t len;
    indexd__v1__measure_recall_request__init(&request);
    request.name = gx_raw_text("g");
    request.probes = LONG_PROBES;
    uint8_t *packed = gx_raw_pack(&request, &len);
    struct gx_grpc_call *call = gx_grpc_client_begin_unary(&raw, MEASURE, packed, len, timeout_ms);
    free(packed);
    return call;
}

/* 0: the call failed. */
static int ask_health(struct gx_grpc_client *client, const char *service, int *out_code)
{
    Grpc__Health__V1__HealthCheckRequest request;
    struct gx_grpc_reply reply;
    int state = 0;
    grpc__health__v1__health_check_request__init(&request);
    request.service = gx_raw_text(service);
    *out_code = gx_raw_call(client, HEALTH, &request, &reply);
    if (*out_code == 0) {
        Grpc__Health__V1__HealthCheckResponse *r =
            grpc__health__v1__health_check_response__unpack(NULL, reply.len, reply.data);
        ck_assert_ptr_nonnull(r);
        state = (int)r->status;
        grpc__health__v1__health_check_response__free_unpacked(r, NULL);
    }
    gx_grpc_client_free_reply(&reply);
    return state;
}

START_TEST(call_past_its_deadline_ends_as_that_and_the_server_goes_on)
{
    begin(NULL);
    gx_client *hasty = gx_served_open_client(&served, 1000);
    struct gx_client_recall recall;
    for (int i = 0; i < 20; i++)
        gx_served_refused(gx_client_gallery_measure(hasty, "g", 1000, NULL, 0, &recall), GX_E_DEADLINE);
    gx_client_close(hasty);
    ck_assert_int_eq(gx_grpc_client_end_unary(begin_long_call(5), NULL), 4);
    ck_assert(gx_served_finds(&served, "g", 17, 1));
    end();
}
END_TEST

START_TEST(cancelled_call_ends_as_that_and_the_server_goes_on)
{
    begin(NULL);
    for (int i = 0; i < 20; i++) {
        struct gx_grpc_call *call = begin_long_call(GX_GRPC_CLIENT_PATIENT);
        gx_grpc_client_cancel(call);
        ck_assert_int_eq(gx_grpc_client_end_unary(call, NULL), 1);
    }
    ck_assert(gx_served_finds(&served, "g", 17, 1));
    end();
}
END_TEST

START_TEST(server_at_its_limit_says_so_at_once_and_its_health_still_answers)
{
    enum { CALLS = 40 };
    struct gx_grpc_call *calls[CALLS];
    struct gx_grpc_client beside;
    int answered = 0, refused = 0, code;
    begin("[server]\nqueue = 1\nworkers = 1\n");
    gx_grpc_client_open(&beside, served.server.address);
    for (int i = 0; i < CALLS; i++)
        calls[i] = begin_long_call(GX_GRPC_CLIENT_PATIENT);
    ck_assert_int_eq(ask_health(&beside, "", &code), SERVING);
    for (int i = 0; i < CALLS; i++) {
        struct gx_grpc_reply reply;
        code = gx_grpc_client_end_unary(calls[i], &reply);
        answered += code == 0;
        refused += code == 8;
        ck_assert_msg(code == 0 || code == 8, "%d %s", code, reply.text);
        if (code == 8)
            gx_raw_check_refused(&reply, GX_E_BUSY, "a call too many");
        gx_grpc_client_free_reply(&reply);
    }
    ck_assert_int_ge(answered, 1);
    ck_assert_int_ge(refused, 1);
    ck_assert(gx_served_finds(&served, "g", 17, 1));
    gx_grpc_client_close(&beside);
    end();
}
END_TEST

/* The network's thread answers both itself, and is never held up by a search of a large gallery. */
START_TEST(health_and_searches_of_a_few_rows_are_answered_while_every_worker_searches)
{
    struct gx_grpc_client beside;
    struct gx_client_result *result;
    int code;
    begin("[server]\nworkers = 1\n");
    gx_served_create(&served, "few", "flat");
    gx_served_ok(gx_served_insert(served.client, &served.people, "few", 0, 100, NULL, NULL));
    gx_grpc_client_open(&beside, served.server.address);
    bool beside_it = false; /* a machine that is busy elsewhere may need some attempts to see it */
    for (int attempt = 0; attempt < 20 && !beside_it; attempt++) {
        struct gx_grpc_call *running = begin_long_call(GX_GRPC_CLIENT_PATIENT);
        for (int i = 0; i < 3; i++) {
            ck_assert_int_eq(ask_health(&beside, "", &code), SERVING);
            gx_served_ok(gx_served_search(served.client, &served.people, "few", 17, NULL, &result));
            ck_assert_uint_eq(result->answers[0].n_candidates, 50);
            gx_client_result_free(result);
        }
        gx_grpc_client_cancel(running);
        beside_it = gx_grpc_client_end_unary(running, NULL) == 1; /* it had not ended */
    }
    ck_assert_msg(beside_it, "what is brief waited for every long call");
    gx_grpc_client_close(&beside);
    end();
}
END_TEST

START_TEST(records_are_enrolled_read_and_expunged_while_every_worker_searches_and_more_searches_wait)
{
    enum { CALLS = 6 };
    struct gx_client_ticket ticket, again;
    begin("[server]\nqueue = 1\nworkers = 1\n");
    bool beside_it = false;
    uint64_t row = 0, first, n;
    for (int attempt = 0; attempt < 20 && !beside_it; attempt++) {
        struct gx_grpc_call *running[CALLS]; /* one is carried out, one waits, the others are refused */
        for (int i = 0; i < CALLS; i++)
            running[i] = begin_long_call(GX_GRPC_CLIENT_PATIENT);
        uint64_t fresh = gx_served_records(&served, "g") + 10000 + (uint64_t)attempt;
        gx_served_ok(gx_served_insert(served.client, &served.people, "g", fresh, 1, NULL, NULL));
        gx_served_expunge_arrest(&served, "g", row, &first, &n, &ticket);
        row = first + n;
        gx_served_ok(gx_client_ticket_get(served.client, ticket.ticket_id, &again));
        int n_beside = 0;
        for (int i = 0; i < CALLS; i++) {
            gx_grpc_client_cancel(running[i]);
            n_beside += gx_grpc_client_end_unary(running[i], NULL) == 1;
        }
        beside_it = n_beside == 2; /* both that were not refused had not ended */
    }
    ck_assert_msg(beside_it, "what waits for the disk waited for every long call");
    end();
}
END_TEST

/* ---------------------------------------------------------------- health */

START_TEST(health_is_told_for_the_server_each_service_and_each_gallery)
{
    int code;
    begin(NULL);
    ck_assert_int_eq(ask_health(&raw, "", &code), SERVING);
    ck_assert_int_eq(ask_health(&raw, "indexd.v1.Search", &code), SERVING);
    ck_assert_int_eq(ask_health(&raw, "gallery/g", &code), SERVING);
    ck_assert_int_eq(ask_health(&raw, "gallery/h", &code), 0);
    ck_assert_int_eq(code, 5);
    ck_assert_int_eq(ask_health(&raw, "indexd.v1.Nothing", &code), 0);
    ck_assert_int_eq(code, 5);
    end();
}
END_TEST

static struct gx_grpc_call *begin_watch(struct gx_grpc_client *client, const char *service)
{
    Grpc__Health__V1__HealthCheckRequest request;
    size_t len;
    grpc__health__v1__health_check_request__init(&request);
    request.service = gx_raw_text(service);
    uint8_t *packed = gx_raw_pack(&request, &len);
    struct gx_grpc_call *call = gx_grpc_client_begin(client, WATCH, GX_GRPC_CLIENT_PATIENT, NULL, NULL);
    ck_assert(gx_grpc_client_send(call, packed, len));
    ck_assert(gx_grpc_client_half_close(call));
    free(packed);
    return call;
}

/* The next state told; 0 = the watch has ended. */
static int next_state(struct gx_grpc_call *call)
{
    uint8_t *data;
    size_t len;
    if (!gx_grpc_client_receive(call, &data, &len))
        return 0;
    Grpc__Health__V1__HealthCheckResponse *r = grpc__health__v1__health_check_response__unpack(NULL, len, data);
    ck_assert_ptr_nonnull(r);
    int state = (int)r->status;
    grpc__health__v1__health_check_response__free_unpacked(r, NULL);
    free(data);
    return state;
}

START_TEST(watch_tells_of_a_gallery_that_comes_and_of_the_server_that_stops)
{
    begin(NULL);
    struct gx_grpc_call *all = begin_watch(&raw, ""), *one = begin_watch(&raw, "gallery/later");
    ck_assert_int_eq(next_state(all), SERVING);
    ck_assert_int_eq(next_state(one), UNKNOWN);
    gx_served_create(&served, "later", "flat");
    ck_assert_int_eq(next_state(one), SERVING);
    gx_client_close(served.client);
    served.client = NULL;
    ck_assert_int_eq(kill(served.server.pid, SIGTERM), 0);
    ck_assert_int_eq(next_state(all), NOT_SERVING);
    ck_assert_int_eq(next_state(one), NOT_SERVING);
    ck_assert_int_eq(next_state(all), 0);
    ck_assert_int_eq(next_state(one), 0);
    (void)gx_grpc_client_end(all, NULL);
    (void)gx_grpc_client_end(one, NULL);
    gx_grpc_client_close(&raw);
    struct gx_server_exit how;
    gx_server_wait_end(&served.server, &how);
    ck_assert_int_eq(how.code, 0);
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- loading */

/* Puts a FIFO in the place of the saved index: reading it holds up the load until somebody opens it for writing. */
static void block_index(char path[600])
{
    char dir[200];
    (void)snprintf(dir, sizeof(dir), "%s/index", served.server.data);
    DIR *list = opendir(dir);
    ck_assert_ptr_nonnull(list);
    path[0] = '\0';
    for (struct dirent *e; (e = readdir(list)) != NULL;)
        if (strstr(e->d_name, ".index") != NULL)
            (void)snprintf(path, 600, "%s/%s", dir, e->d_name);
    (void)closedir(list);
    ck_assert_str_ne(path, "");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
}

static bool listens(void)
{
    struct gx_grpc_client probe;
    gx_grpc_client_open(&probe, served.server.listen);
    bool connected = gx_grpc_client_connect(&probe, 50);
    gx_grpc_client_close(&probe);
    return connected;
}

START_TEST(gallery_that_is_loading_is_not_serving_and_says_unavailable)
{
    char path[600];
    struct gx_client_result *r;
    struct gx_client_gallery_stats stats;
    int code;
    if (gx_served_flat_only())
        return;
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "a", "flat");
    gx_served_create(&served, "b", "faiss:Flat");
    gx_served_fill(&served, "a", 100);
    gx_served_fill(&served, "b", 100);
    gx_served_await_indexed(&served, "b", "faiss:Flat");
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
    block_index(path);
    (void)snprintf(served.server.listen, sizeof(served.server.listen), "unix:%s/socket", served.server.base);
    gx_server_spawn(&served.server);
    gx_served_wait_until(listens());
    (void)snprintf(served.server.address, sizeof(served.server.address), "%s", served.server.listen);
    gx_served_connect(&served);
    gx_grpc_client_open(&raw, served.server.address);
    gx_served_wait_until(ask_health(&raw, "gallery/a", &code) == SERVING);
    ck_assert_int_eq(ask_health(&raw, "", &code), NOT_SERVING);
    ck_assert_int_eq(ask_health(&raw, "gallery/b", &code), NOT_SERVING);
    struct gx_grpc_call *watch = begin_watch(&raw, "");
    ck_assert_int_eq(next_state(watch), NOT_SERVING);
    gx_served_ok(gx_served_search(served.client, &served.people, "a", 1, NULL, &r));
    gx_client_result_free(r);
    gx_served_refused(gx_served_search(served.client, &served.people, "b", 1, NULL, &r), GX_E_UNAVAILABLE);
    gx_served_refused(gx_served_insert(served.client, &served.people, "b", 200, 1, NULL, NULL), GX_E_UNAVAILABLE);
    gx_served_ok(gx_client_gallery_stats(served.client, "b", &stats));
    ck_assert(!stats.loaded);
    served.server.address[0] = '\0';
    ck_assert(!gx_server_serves(&served.server));

    int fd = open(path, O_WRONLY | O_CLOEXEC); /* an index without content: built anew */
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(close(fd), 0);
    ck_assert(gx_server_await(&served.server));
    ck_assert_int_eq(next_state(watch), SERVING);
    ck_assert_int_eq(ask_health(&raw, "gallery/b", &code), SERVING);
    ck_assert_uint_eq(gx_served_records(&served, "b"), 100);
    gx_grpc_client_cancel(watch);
    (void)gx_grpc_client_end(watch, NULL);
    end();
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {call_past_its_deadline_ends_as_that_and_the_server_goes_on, 0},
        {cancelled_call_ends_as_that_and_the_server_goes_on, 0},
        {server_at_its_limit_says_so_at_once_and_its_health_still_answers, 0},
        {health_and_searches_of_a_few_rows_are_answered_while_every_worker_searches, 0},
        {records_are_enrolled_read_and_expunged_while_every_worker_searches_and_more_searches_wait, 0},
        {health_is_told_for_the_server_each_service_and_each_gallery, 0},
        {watch_tells_of_a_gallery_that_comes_and_of_the_server_that_stops, 0},
        {gallery_that_is_loading_is_not_serving_and_says_unavailable, 0},
    };
    return gx_served_run("calls", tests, sizeof(tests) / sizeof(tests[0]));
}
