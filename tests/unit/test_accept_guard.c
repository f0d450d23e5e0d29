/* The listener outlives a moment without free descriptors, and takes no more connections than it may. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "accept_guard.h"
#include "rpc_scene.h"

static struct gx_rpc_scene scene;

static const struct gx_route routes[] = {{"/g/Echo", GX_RPC_UNARY, GX_RPC_WORKER, 0, gx_rpc_scene_echo, NULL}};

/* ---------------------------------------------------------------- raw connections */

static int connect_raw(const char *address)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    to.sin_port = htons((in_port_t)atoi(strrchr(address, ':') + 1));
    ck_assert_int_ge(fd, 0);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 60}, sizeof(struct timeval));
    (void)connect(fd, (struct sockaddr *)&to, sizeof(to));
    return fd;
}

/* A server of HTTP/2 speaks first; a refused connection is closed without a word. */
static bool is_served(int fd)
{
    char byte;
    return recv(fd, &byte, 1, 0) == 1;
}

/* ---------------------------------------------------------------- no free descriptor */

/* A server in a process of its own with @n_free descriptors. Says its address, waits for a byte, says how many
 * connections it has refused. */
static void be_server(int in, int out, int n_free)
{
    struct gx_err err;
    struct gx_rpc *server;
    struct gx_rpc_stats stats;
    struct rlimit limit;
    char byte;
    struct gx_rpc_options options = {.listen = "127.0.0.1:0", .routes = routes, .n_routes = GX_COUNT_OF(routes)};
    gx_rpc_prepare();
    if (gx_rpc_start(&options, &server, &err) != GX_OK)
        _exit(10);
    int used = dup(out); /* the lowest free number */
    (void)close(used);
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        _exit(11);
    limit.rlim_cur = (rlim_t)(used + n_free);
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || write(out, gx_rpc_address(server), 127) < 0)
        _exit(12);
    if (read(in, &byte, 1) != 1)
        _exit(13);
    gx_rpc_get_stats(server, &stats);
    gx_rpc_stop(server);
    if (write(out, &stats.connections_refused, sizeof(stats.connections_refused)) < 0)
        _exit(14);
    exit(0); /* with the leak sanitizer's look */
}

START_TEST(listener_outlives_the_exhaustion_of_descriptors)
{
    enum { N = 120, FREE = 20 };
    int to[2], from[2], fds[N], status;
    char address[128] = "";
    uint64_t refused = 0;
    ck_assert(pipe(to) == 0 && pipe(from) == 0);
    pid_t pid = fork(); /* before libgrpc starts its threads */
    if (pid == 0)
        be_server(to[0], from[1], FREE);
    ck_assert_int_gt((int)read(from[0], address, sizeof(address)), 0);
    gx_grpc_client_open(&scene.client, address);
    for (int round = 0; round < 3; round++) {
        int n_served = 0;
        for (int i = 0; i < N; i++)
            fds[i] = connect_raw(address);
        for (int i = 0; i < N; i++) /* each is served or closed: none is left in the backlog */
            n_served += is_served(fds[i]) ? 1 : 0;
        ck_assert_int_lt(n_served, N / 2);
        for (int i = 0; i < N; i++)
            (void)close(fds[i]);
        struct gx_grpc_client client; /* a new connection each round */
        gx_grpc_client_open(&client, address);
        ck_assert(gx_grpc_client_connect(&client, PATIENT));
        gx_grpc_client_close(&client);
        ck_assert(gx_grpc_client_connect(&scene.client, PATIENT));
        gx_rpc_scene_check_echo(&scene, "/g/Echo", 2000);
    }
    gx_grpc_client_close(&scene.client);
    ck_assert_int_eq((int)write(to[1], "q", 1), 1);
    ck_assert_int_eq((int)read(from[0], &refused, sizeof(refused)), (int)sizeof(refused));
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_int_eq(status, 0);
    ck_assert_uint_ge(refused, N / 2);
}
END_TEST

/* ---------------------------------------------------------------- the cap */

static bool is_let_in(void *arg)
{
    int *fd = arg;
    *fd = connect_raw(gx_rpc_address(scene.server));
    if (is_served(*fd))
        return true;
    (void)close(*fd);
    return false;
}

START_TEST(connection_over_the_cap_is_closed_and_room_is_found_again)
{
    enum { CAP = 4 };
    int fds[CAP];
    gx_rpc_scene_start(&scene, (struct gx_rpc_options){.connections_max = CAP}, routes, GX_COUNT_OF(routes), NULL);
    for (int i = 0; i < CAP; i++) {
        fds[i] = connect_raw(gx_rpc_address(scene.server));
        ck_assert(is_served(fds[i]));
    }
    for (int i = 0; i < 10; i++) {
        int fd = connect_raw(gx_rpc_address(scene.server));
        ck_assert(!is_served(fd));
        (void)close(fd);
    }
    ck_assert_uint_eq(gx_rpc_scene_stats(&scene).connections_refused, 10);
    for (int i = 0; i < 10; i++) { /* closed ones make room, whatever number they had */
        (void)close(fds[i % CAP]);
        ck_assert(gx_grpc_client_await(is_let_in, &fds[i % CAP]));
    }
    (void)close(fds[0]);
    ck_assert(gx_grpc_client_connect(&scene.client, PATIENT));
    gx_rpc_scene_check_echo(&scene, "/g/Echo", 2000);
    for (int i = 1; i < CAP; i++)
        (void)close(fds[i]);
    gx_rpc_scene_stop(&scene);
}
END_TEST

START_TEST(without_a_server_connections_are_not_counted)
{
    struct gx_err err;
    uint64_t before = gx_accept_guard_refused();
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t any_len = sizeof(any);
    char address[32];
    int listener = socket(AF_INET, SOCK_STREAM, 0), fds[3], accepted[3];
    ck_assert_int_eq(gx_accept_guard_begin(1, &err), GX_OK);
    gx_accept_guard_end();
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&any, sizeof(any)), 0);
    ck_assert_int_eq(listen(listener, 8), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&any, &any_len), 0);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%d", ntohs(any.sin_port));
    for (int i = 0; i < 3; i++) {
        fds[i] = connect_raw(address);
        accepted[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        ck_assert_int_ge(accepted[i], 0);
    }
    ck_assert_uint_eq(gx_accept_guard_refused(), before);
    ck_assert_int_eq(accept4(-1, NULL, NULL, 0), -1);
    for (int i = 0; i < 3; i++) {
        (void)close(fds[i]);
        (void)close(accepted[i]);
    }
    (void)close(listener);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        listener_outlives_the_exhaustion_of_descriptors,
        connection_over_the_cap_is_closed_and_room_is_found_again,
        without_a_server_connections_are_not_counted,
    };
    return gx_rpc_scene_run("accept_guard", tests, GX_COUNT_OF(tests));
}
