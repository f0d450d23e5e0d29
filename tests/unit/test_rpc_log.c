/* What the server writes about failed calls and what libgrpc has to say: enough to act on, never a flood. */
#include <fcntl.h>
#include <grpc/support/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"
#include "rpc_scene.h"
#include "temp.h"

#define CALL_LINES_MAX 20 /* a second */
#define CORE_LINES_MAX 10

static struct gx_rpc_scene scene;
static int log_fd;
static int64_t began_us;

/* The message is the number of the status to fail with. */
static void fail_as(void *arg, struct gx_call *call, struct gx_slice message)
{
    (void)arg;
    struct gx_err err;
    (void)gx_err_set(&err, (enum gx_status)message.data[0], "text for people");
    gx_call_fail(call, &err);
}

static const struct gx_route routes[] = {{"/l/Fail", GX_RPC_UNARY, GX_RPC_INLINE, 0, fail_as, NULL}};

/* From here on stderr is a file. */
static void start(void)
{
    log_fd = gx_temp_nameless_file();
    gx_rpc_scene_start(&scene, (struct gx_rpc_options){0}, routes, GX_COUNT_OF(routes), NULL);
    began_us = gx_clock_monotonic_us();
    ck_assert_int_ge(dup2(log_fd, STDERR_FILENO), 0);
}

/* The log so far. */
static const char *read_log(void)
{
    static char text[1 << 20];
    ssize_t n = pread(log_fd, text, sizeof(text) - 1, 0);
    ck_assert_int_ge((int)n, 0);
    text[n] = '\0';
    return text;
}

static unsigned count(const char *text, const char *piece)
{
    unsigned n = 0;
    for (const char *p = text; (p = strstr(p, piece)) != NULL; p += strlen(piece))
        n++;
    return n;
}

/* How many lines at @a_second there can be by now. */
static unsigned lines_allowed(unsigned a_second)
{
    return a_second * (unsigned)((gx_clock_monotonic_us() - began_us) / 1000000 + 2);
}

static void fail_calls(enum gx_status status, int n)
{
    const uint8_t number = (uint8_t)status;
    for (int i = 0; i < n; i++)
        ck_assert_int_ne(gx_grpc_client_unary(&scene.client, "/l/Fail", &number, 1, PATIENT, NULL), OK);
}

START_TEST(failure_of_the_server_is_logged_once_with_method_status_duration_and_reason)
{
    start();
    fail_calls(GX_E_CORRUPT, 1);
    gx_rpc_scene_stop(&scene);
    const char *line = strstr(read_log(), " info call_failed method=/l/Fail status=CORRUPT us=");
    ck_assert_ptr_nonnull(line);
    ck_assert_ptr_nonnull(strstr(line, "text=\"text for people\""));
    ck_assert_uint_eq(count(read_log(), "call_failed"), 1);
}
END_TEST

START_TEST(failure_of_the_client_is_for_those_who_debug_and_without_text)
{
    start();
    fail_calls(GX_E_INVALID, 3);
    ck_assert_uint_eq(count(read_log(), "call_failed"), 0);
    gx_log_set_level(GX_LOG_DEBUG);
    fail_calls(GX_E_INVALID, 1);
    ck_assert_int_eq(gx_grpc_client_unary(&scene.client, "/secret/Name", "x", 1, PATIENT, NULL), UNIMPLEMENTED);
    gx_rpc_scene_stop(&scene);
    ck_assert_uint_eq(count(read_log(), " debug call_failed method=/l/Fail status=INVALID us="), 1);
    ck_assert_uint_eq(count(read_log(), " debug call_failed method=unknown status=UNIMPLEMENTED us="), 1);
    ck_assert_uint_eq(count(read_log(), "text for people"), 0);
    ck_assert_uint_eq(count(read_log(), "secret"), 0);
}
END_TEST

START_TEST(flood_of_failures_is_no_flood_of_lines)
{
    start();
    fail_calls(GX_E_IO, 500);
    gx_rpc_scene_stop(&scene);
    unsigned n = count(read_log(), "call_failed");
    ck_assert_uint_ge(n, CALL_LINES_MAX);
    ck_assert_uint_le(n, lines_allowed(CALL_LINES_MAX));
}
END_TEST

START_TEST(lines_of_libgrpc_come_out_as_ours_and_not_too_many)
{
    start();
    for (int i = 0; i < 300; i++)
        gpr_log(GPR_ERROR, "handshake %d failed\nforged line", i);
    unsigned n = count(read_log(), " warn grpc at=test_rpc_log.c:");
    ck_assert_uint_ge(n, CORE_LINES_MAX);
    ck_assert_uint_le(n, lines_allowed(CORE_LINES_MAX));
    ck_assert_uint_eq(count(read_log(), "\n"), n); /* nobody begins a line of his own */
    ck_assert_ptr_nonnull(strstr(read_log(), "handshake 0 failed?forged line"));
    gx_rpc_scene_stop(&scene);
}
END_TEST

START_TEST(reason_of_an_abort_is_written_whatever_came_before)
{
    start();
    for (int i = 0; i < 300; i++)
        gpr_log(GPR_ERROR, "noise");
    gpr_log(GPR_ERROR, "assertion failed: %s", "x == y");
    ck_assert_ptr_nonnull(strstr(read_log(), " error grpc at=test_rpc_log.c:"));
    ck_assert_ptr_nonnull(strstr(read_log(), "assertion failed: x == y"));
    gx_rpc_scene_stop(&scene);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        failure_of_the_server_is_logged_once_with_method_status_duration_and_reason,
        failure_of_the_client_is_for_those_who_debug_and_without_text,
        flood_of_failures_is_no_flood_of_lines,
        lines_of_libgrpc_come_out_as_ours_and_not_too_many,
        reason_of_an_abort_is_written_whatever_came_before,
    };
    return gx_rpc_scene_run("rpc_log", tests, GX_COUNT_OF(tests));
}
