/* Start and stop: where the server may listen, that a stop waits for what runs and for nothing else, and that nothing
 * is left behind (the leak sanitizer looks at every one of these). */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc_scene.h"
#include "temp.h"

#define NEVER INT64_C(3600000000) /* us of grace: longer than any test may take */

static struct {
    struct gx_rpc_scene_gate gate;
    atomic_uint n_stopped, n_broken, n_clean;
} app = {.gate = GX_RPC_SCENE_GATE};

static struct gx_rpc_scene scene;
static struct gx_err err;

/* ---------------------------------------------------------------- handlers */

static void gated(void *arg, struct gx_call *call, struct gx_slice message)
{
    gx_rpc_scene_pass(&app.gate);
    gx_rpc_scene_echo(arg, call, message);
}

static void endless(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    (void)message;
    struct gx_err why;
    gx_rpc_scene_enter(&app.gate);
    while (gx_call_check(call, &why) == GX_OK)
        (void)usleep(100);
    (void)atomic_fetch_add(&app.n_stopped, 1);
    gx_call_fail(call, &why);
}

static void chat(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    uint8_t *out = gx_call_send_begin(call, message.len);
    ck_assert_ptr_nonnull(out);
    if (message.len > 0)
        memcpy(out, message.data, message.len);
    gx_call_send_end(call, message.len);
    gx_call_read(call);
}

static void chat_end(void *arg, struct gx_call *call, bool broken)
{
    (void)arg;
    struct gx_err why;
    (void)atomic_fetch_add(broken ? &app.n_broken : &app.n_clean, 1);
    (void)gx_err_set(&why, GX_E_CANCELLED, "rolled back");
    gx_call_fail(call, &why);
}

static void watch(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    (void)message;
    gx_call_hold(call);
    (void)gx_call_send_begin(call, 1);
    gx_call_send_end(call, 0);
}

static void watch_end(void *arg, struct gx_call *call, bool broken)
{
    chat_end(arg, call, broken);
    gx_call_release(call);
}

static const struct gx_route routes[] = {
    {"/e/Echo", GX_RPC_UNARY, GX_RPC_WORKER, 0, gx_rpc_scene_echo, NULL},
    {"/e/Gate", GX_RPC_UNARY, GX_RPC_WORKER, 0, gated, NULL},
    {"/e/Endless", GX_RPC_UNARY, GX_RPC_WORKER, 0, endless, NULL},
    {"/e/Chat", GX_RPC_BIDI, GX_RPC_WORKER, 0, chat, chat_end},
    {"/e/Inline", GX_RPC_BIDI, GX_RPC_INLINE, 0, chat, chat_end},
    {"/e/Watch", GX_RPC_SERVER_STREAM, GX_RPC_INLINE, 0, watch, watch_end},
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

/* A second server in the same process. */
static enum gx_status try_start(const char *listen, struct gx_rpc **out)
{
    struct gx_rpc_options options = {.listen = listen, .routes = routes, .n_routes = GX_COUNT_OF(routes), .app = &app};
    memset(&err, 0, sizeof(err));
    return gx_rpc_start(&options, out, &err);
}

static void check_refused(const char *listen, enum gx_status status)
{
    struct gx_rpc *server = NULL;
    enum gx_status got = try_start(listen, &server);
    ck_assert_msg(got == status, "%s: %s %s", listen, gx_status_name(got), err.text);
    ck_assert_ptr_null(server);
    ck_assert_uint_gt(strlen(err.text), 0);
}

static struct gx_grpc_call *begin_stream(const char *path)
{
    uint8_t *data;
    size_t len;
    struct gx_grpc_call *call = gx_grpc_client_begin(&scene.client, path, PATIENT, NULL, NULL);
    ck_assert(gx_grpc_client_send(call, "x", 1));
    ck_assert(gx_grpc_client_receive(call, &data, &len));
    free(data);
    return call;
}

/* A TCP connection that says nothing. */
static int connect_raw(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((in_port_t)atoi(strrchr(gx_rpc_address(scene.server), ':') + 1));
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

static void *stop_server(void *arg)
{
    gx_rpc_stop(arg);
    return NULL;
}

/* ---------------------------------------------------------------- stop */

START_TEST(server_starts_and_stops_again_and_again)
{
    for (int i = 0; i < 5; i++) {
        start((struct gx_rpc_options){.n_io = 2});
        gx_rpc_scene_check_echo(&scene, "/e/Echo", 100);
        stop();
    }
    gx_rpc_stop(NULL);
}
END_TEST

START_TEST(idle_connections_do_not_hold_up_a_stop)
{
    struct gx_grpc_client others[5];
    int silent[5];
    start((struct gx_rpc_options){.grace_us = NEVER});
    for (int i = 0; i < 5; i++) {
        silent[i] = connect_raw();
        gx_grpc_client_open(&others[i], gx_rpc_address(scene.server));
        ck_assert(gx_grpc_client_connect(&others[i], PATIENT));
    }
    gx_rpc_scene_check_echo(&scene, "/e/Echo", 100);
    gx_rpc_stop(scene.server);
    for (int i = 0; i < 5; i++) {
        gx_grpc_client_close(&others[i]);
        (void)close(silent[i]);
    }
    gx_grpc_client_close(&scene.client);
}
END_TEST

START_TEST(stop_waits_for_running_and_waiting_calls)
{
    pthread_t stopper;
    start((struct gx_rpc_options){.n_workers = 1, .grace_us = NEVER});
    struct gx_grpc_call *running = gx_grpc_client_begin_unary(&scene.client, "/e/Gate", "a", 1, PATIENT);
    gx_rpc_scene_await_entered(&app.gate, 1);
    struct gx_grpc_call *waiting = gx_grpc_client_begin_unary(&scene.client, "/e/Echo", "b", 1, PATIENT);
    gx_rpc_scene_await_queued(&scene, 1);
    ck_assert_int_eq(pthread_create(&stopper, NULL, stop_server, scene.server), 0);
    struct gx_grpc_client late; /* once this is not answered any more, the stop has begun */
    gx_grpc_client_open(&late, gx_rpc_address(scene.server));
    while (gx_grpc_client_unary(&late, "/e/None", "c", 1, 1000, NULL) == UNIMPLEMENTED)
        continue;
    gx_rpc_scene_open(&app.gate);
    ck_assert_int_eq(gx_grpc_client_end_unary(running, NULL), OK);
    ck_assert_int_eq(gx_grpc_client_end_unary(waiting, NULL), OK);
    (void)pthread_join(stopper, NULL);
    gx_grpc_client_close(&late);
    gx_grpc_client_close(&scene.client);
}
END_TEST

START_TEST(calls_past_the_grace_are_cancelled)
{
    start((struct gx_rpc_options){.n_workers = 2, .grace_us = 20000});
    struct gx_grpc_call *calls[2], *idle;
    for (int i = 0; i < 2; i++)
        calls[i] = gx_grpc_client_begin_unary(&scene.client, "/e/Endless", "a", 1, PATIENT);
    gx_rpc_scene_await_entered(&app.gate, 2);
    struct gx_grpc_call *waiting = gx_grpc_client_begin_unary(&scene.client, "/e/Echo", "b", 1, PATIENT);
    gx_rpc_scene_await_queued(&scene, 1);
    idle = gx_grpc_client_begin(&scene.client, "/e/Chat", PATIENT, NULL, NULL);
    gx_rpc_scene_await_open(&scene, 4);
    gx_rpc_stop(scene.server);
    for (int i = 0; i < 2; i++)
        ck_assert_int_ne(gx_grpc_client_end_unary(calls[i], NULL), OK);
    ck_assert_int_ne(gx_grpc_client_end_unary(waiting, NULL), OK);
    ck_assert_int_ne(gx_grpc_client_end(idle, NULL), OK);
    ck_assert_uint_eq(atomic_load(&app.n_stopped), 2);
    ck_assert_uint_eq(atomic_load(&app.n_broken), 1);
    gx_grpc_client_close(&scene.client);
}
END_TEST

START_TEST(streams_that_may_idle_for_ever_are_cut_off_at_once)
{
    start((struct gx_rpc_options){.grace_us = NEVER});
    struct gx_grpc_call *calls[] = {begin_stream("/e/Inline"), begin_stream("/e/Watch"), begin_stream("/e/Watch")};
    gx_rpc_stop(scene.server);
    for (size_t i = 0; i < GX_COUNT_OF(calls); i++) {
        ck_assert_int_eq(gx_grpc_client_end(calls[i], NULL), UNAVAILABLE);
    }
    ck_assert_uint_eq(atomic_load(&app.n_broken), 3);
    gx_grpc_client_close(&scene.client);
}
END_TEST

/* ---------------------------------------------------------------- addresses */

START_TEST(plaintext_is_served_on_this_machine_only)
{
    static const char *const refused[] = {"0.0.0.0:0",          "192.0.2.1:7600", "[::]:0",
                                          "[2001:db8::1]:7600", "128.0.0.1:0",    "[::ffff:127.0.0.1]:0"};
    gx_rpc_prepare();
    for (size_t i = 0; i < GX_COUNT_OF(refused); i++) {
        check_refused(refused[i], GX_E_INVALID);
        ck_assert_ptr_nonnull(strstr(err.text, "this machine only"));
    }
}
END_TEST

START_TEST(malformed_addresses_are_refused_with_what_to_write_instead)
{
    static const char *const refused[] = {"",
                                          ":",
                                          "127.0.0.1",
                                          "127.0.0.1:",
                                          ":7600",
                                          "127.0.0.1:65536",
                                          "127.0.0.1:-1",
                                          "::1:7600",
                                          "[::1]",
                                          "[::1:7600",
                                          "host:7600",
                                          "127.0.0.1:7600x",
                                          "127.0.0.1:0x10",
                                          "unix:",
                                          "unix:path",
                                          "unix:/a b",
                                          "unix:/a%b",
                                          "dns:///x:1",
                                          "127.1:7600",
                                          "ipv4:127.0.0.1:7600",
                                          "unix-abstract:x",
                                          "[]:1",
                                          "[127.0.0.1]:0"};
    char path[300] = "unix:/";
    gx_rpc_prepare();
    for (size_t i = 0; i < GX_COUNT_OF(refused); i++)
        check_refused(refused[i], GX_E_INVALID);
    memset(path + 6, 'x', sizeof(path) - 7);
    check_refused(path, GX_E_INVALID);
    check_refused(NULL, GX_E_INVALID);
}
END_TEST

START_TEST(options_out_of_range_are_refused)
{
    static const struct gx_rpc_options refused[] = {
        {.n_io = 9}, {.n_workers = 1025}, {.queue_max = 1000001}, {.connections_max = 100001}};
    for (size_t i = 0; i < GX_COUNT_OF(refused); i++) {
        struct gx_rpc_options options = refused[i];
        struct gx_rpc *server;
        options.listen = "127.0.0.1:0";
        ck_assert_int_eq(gx_rpc_start(&options, &server, &err), GX_E_INVALID);
    }
}
END_TEST

START_TEST(second_server_on_a_port_is_refused_and_the_first_goes_on)
{
    start((struct gx_rpc_options){0});
    for (int i = 0; i < 3; i++) {
        check_refused(gx_rpc_address(scene.server), GX_E_IN_USE);
        gx_rpc_scene_check_echo(&scene, "/e/Echo", 100);
    }
    stop();
}
END_TEST

START_TEST(every_loopback_address_works)
{
    static const char *const listens[] = {"127.0.0.1:0", "127.0.0.2:0", "localhost:0", "[::1]:0"};
    int six = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has_six = six >= 0 && bind(six, (struct sockaddr *)&any, sizeof(any)) == 0;
    for (size_t i = 0; i < GX_COUNT_OF(listens) - (has_six ? 0 : 1); i++) {
        start((struct gx_rpc_options){.listen = listens[i]});
        ck_assert_ptr_null(strstr(gx_rpc_address(scene.server), "localhost"));
        ck_assert_int_gt(atoi(strrchr(gx_rpc_address(scene.server), ':') + 1), 0);
        gx_rpc_scene_check_echo(&scene, "/e/Echo", 100);
        stop();
    }
    if (six >= 0)
        (void)close(six);
}
END_TEST

START_TEST(unix_socket_is_for_its_owner_and_never_taken_from_a_running_server)
{
    char folder[64], listen[80];
    struct stat st;
    gx_temp_folder("socket", folder, sizeof(folder));
    (void)snprintf(listen, sizeof(listen), "unix:%s/socket", folder);
    const char *path = listen + strlen("unix:");
    start((struct gx_rpc_options){.listen = listen});
    ck_assert_str_eq(gx_rpc_address(scene.server), listen);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0700);
    gx_rpc_scene_check_echo(&scene, "/e/Echo", 100000);
    check_refused(listen, GX_E_IN_USE);
    gx_rpc_scene_check_echo(&scene, "/e/Echo", 100);
    stop();
    ck_assert_int_eq(stat(path, &st), -1);

    /* A leftover of a crash is replaced, any other file is not. */
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    memcpy(un.sun_path, path, strlen(path) + 1);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    (void)close(fd);
    start((struct gx_rpc_options){.listen = listen});
    gx_rpc_scene_check_echo(&scene, "/e/Echo", 100);
    stop();
    fd = open(path, O_CREAT | O_WRONLY | O_EXCL, 0600);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    check_refused(listen, GX_E_IN_USE);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(rmdir(folder), 0);
    check_refused(listen, GX_E_INVALID); /* no such folder */
}
END_TEST

/* ---------------------------------------------------------------- prepare */

START_TEST(signals_are_left_to_main_and_a_closed_pipe_ends_nothing)
{
    sigset_t blocked;
    struct sigaction pipe_action;
    gx_rpc_prepare();
    (void)pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    ck_assert(sigismember(&blocked, SIGTERM) == 1 && sigismember(&blocked, SIGINT) == 1 &&
              sigismember(&blocked, SIGHUP) == 1);
    ck_assert_int_eq(sigaction(SIGPIPE, NULL, &pipe_action), 0);
    ck_assert(pipe_action.sa_handler == SIG_IGN);
}
END_TEST

/* Takes two of abseil's mutexes in both orders: harmless here, but a deadlock detector cannot know. */
static void invert_locks(void)
{
    static _Alignas(64) uint8_t a[64], b[64]; /* a zeroed absl::Mutex is an unlocked one */
    void *symbols[] = {dlsym(RTLD_DEFAULT, "_ZN4absl7debian35Mutex4LockEv"),
                       dlsym(RTLD_DEFAULT, "_ZN4absl7debian35Mutex6UnlockEv")};
    void (*lock)(void *), (*unlock)(void *);
    ck_assert(symbols[0] != NULL && symbols[1] != NULL);
    memcpy(&lock, &symbols[0], sizeof(lock));
    memcpy(&unlock, &symbols[1], sizeof(unlock));
    lock(a);
    lock(b);
    unlock(b);
    unlock(a);
    lock(b);
    lock(a);
    unlock(a);
    unlock(b);
}

START_TEST(order_of_locks_ends_the_process_unprepared)
{
    invert_locks(); /* raises SIGABRT: the detector is on, so that the next test proves something */
}
END_TEST

START_TEST(order_of_locks_does_not_end_a_prepared_process)
{
    gx_rpc_prepare();
    invert_locks();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        server_starts_and_stops_again_and_again,
        idle_connections_do_not_hold_up_a_stop,
        stop_waits_for_running_and_waiting_calls,
        calls_past_the_grace_are_cancelled,
        streams_that_may_idle_for_ever_are_cut_off_at_once,
        plaintext_is_served_on_this_machine_only,
        malformed_addresses_are_refused_with_what_to_write_instead,
        options_out_of_range_are_refused,
        second_server_on_a_port_is_refused_and_the_first_goes_on,
        every_loopback_address_works,
        unix_socket_is_for_its_owner_and_never_taken_from_a_running_server,
        signals_are_left_to_main_and_a_closed_pipe_ends_nothing,
        order_of_locks_does_not_end_a_prepared_process,
    };
    Suite *suite = suite_create("rpc_stop");
    TCase *tc = tcase_create("rpc_stop");
    tcase_set_timeout(tc, 60);
    for (size_t i = 0; i < GX_COUNT_OF(tests); i++)
        tcase_add_test(tc, tests[i]);
    tcase_add_test_raise_signal(tc, order_of_locks_ends_the_process_unprepared, SIGABRT);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
