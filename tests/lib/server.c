#include "server.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "file.h"
#include "temp.h"

#define READY      "indexd: serving on "
#define PATIENCE_S 120

static const char *program(void)
{
    const char *path = getenv("INDEXD_BIN");
    ck_assert_msg(path != NULL, "INDEXD_BIN is not set: run this with make");
    return path;
}

/* ---------------------------------------------------------------- the child */

static void become(const struct gx_server *s, const char *const *arguments, int out)
{
    char *argv[16] = {(char *)(uintptr_t) "indexd"};
    for (size_t i = 0; arguments[i] != NULL; i++)
        argv[i + 1] = (char *)(uintptr_t)arguments[i];
    int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (log < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
        _exit(120);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (size_t i = 0; i < GX_SERVER_ENVIRONMENT_MAX && s->environment[i] != NULL; i++)
        if (putenv((char *)(uintptr_t)s->environment[i]) != 0)
            _exit(121);
    if (s->file_size_max > 0) {
        struct rlimit limit = {(rlim_t)s->file_size_max, (rlim_t)s->file_size_max};
        (void)signal(SIGXFSZ, SIG_IGN); /* a write past it fails with EFBIG then */
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
            _exit(122);
    }
    (void)execv(program(), argv);
    _exit(123);
}

static void begin_child(struct gx_server *s, const char *const *arguments)
{
    int out[2];
    ck_assert_int_eq(s->pid, 0);
    ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
    s->pid = fork();
    ck_assert_int_ge(s->pid, 0);
    if (s->pid == 0)
        become(s, arguments, out[1]);
    (void)close(out[1]);
    s->out = out[0];
}

static int reap(struct gx_server *s)
{
    int status;
    while (waitpid(s->pid, &status, 0) < 0)
        ck_assert_int_eq(errno, EINTR);
    s->pid = 0;
    s->address[0] = '\0';
    (void)close(s->out);
    s->out = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* ---------------------------------------------------------------- the log */

static char *read_log(const struct gx_server *s, long from)
{
    FILE *file = fopen(s->log, "re");
    char *text = calloc(1, 1);
    size_t len = 0;
    ck_assert_ptr_nonnull(text);
    if (file == NULL)
        return text;
    (void)fseek(file, from, SEEK_SET);
    for (;;) {
        text = realloc(text, len + 65537);
        ck_assert_ptr_nonnull(text);
        size_t n = fread(text + len, 1, 65536, file);
        len += n;
        text[len] = '\0';
        if (n == 0)
            break;
    }
    (void)fclose(file);
    return text;
}

static long log_len(const struct gx_server *s)
{
    struct stat st;
    return stat(s->log, &st) == 0 ? (long)st.st_size : 0;
}

size_t gx_server_log_count(const struct gx_server *server, const char *text)
{
    char *log = read_log(server, 0);
    size_t n = 0;
    for (const char *at = strstr(log, text); at != NULL; at = strstr(at + 1, text))
        n++;
    free(log);
    return n;
}

void gx_server_check_log(const struct gx_server *server, const char *text)
{
    const char *never[] = {"photo-0", "p0000", "u0000", "A0000", "ThreadSanitizer", "AddressSanitizer", text};
    char *log = read_log(server, 0);
    for (size_t i = 0; i < sizeof(never) / sizeof(never[0]) && never[i] != NULL; i++) {
        const char *at = strstr(log, never[i]);
        ck_assert_msg(at == NULL, "the server's log holds '%s': %.300s", never[i], at == NULL ? "" : at);
    }
    free(log);
}

/* The lines that were meant for the user: those that begin with the program's name. */
static void read_exit(const struct gx_server *s, long from, int code, struct gx_server_exit *out)
{
    *out = (struct gx_server_exit){.code = code};
    char *log = read_log(s, from), *rest = log;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        if (strncmp(line, "indexd: ", 8) != 0)
            continue;
        out->lines++;
        (void)snprintf(out->text, sizeof(out->text), "%.590s", line);
    }
    free(log);
}

/* ---------------------------------------------------------------- start and stop */

void gx_server_begin(struct gx_server *server)
{
    struct gx_server_exit end;
    *server = (struct gx_server){.out = -1, .listen = "127.0.0.1:0"};
    gx_temp_folder("test", server->base, sizeof(server->base));
    (void)snprintf(server->data, sizeof(server->data), "%s/data", server->base);
    (void)snprintf(server->log, sizeof(server->log), "%s/log", server->base);
    gx_server_command(server, (const char *const[]){"init", "--data", server->data, NULL}, &end);
    ck_assert_msg(end.code == 0, "indexd init: %d %s", end.code, end.text);
}

void gx_server_command(struct gx_server *server, const char *const *arguments, struct gx_server_exit *out)
{
    long from = log_len(server);
    begin_child(server, arguments);
    read_exit(server, from, reap(server), out);
}

void gx_server_spawn(struct gx_server *server)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "%s/config.ini", server->base);
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    (void)fputs(server->settings, file);
    /* However full the disk of the tests is. */
    if (strstr(server->settings, "min_free") == NULL)
        (void)fputs("\n[store]\nmin_free = 0\n", file);
    ck_assert_int_eq(fclose(file), 0);
    begin_child(server, (const char *const[]){"serve", "--data", server->data, "--listen", server->listen, "--config",
                                              path, NULL});
}

/* Reads what there is of the line that says where it serves. */
static bool take_address(struct gx_server *s, int wait_ms, bool *out_ended)
{
    char line[256] = "";
    size_t len = 0;
    *out_ended = false;
    while (len + 1 < sizeof(line) && (len == 0 || line[len - 1] != '\n')) {
        struct pollfd p = {.fd = s->out, .events = POLLIN};
        int n = poll(&p, 1, wait_ms);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0 && wait_ms == 0 && len == 0)
            return false;
        ck_assert_msg(n > 0, "the server did not serve in time");
        ssize_t got = read(s->out, line + len, 1);
        *out_ended = got <= 0;
        if (*out_ended)
            return false;
        len++;
    }
    line[len - 1] = '\0';
    ck_assert_msg(strncmp(line, READY, strlen(READY)) == 0, "unexpected on stdout: '%s'", line);
    (void)snprintf(s->address, sizeof(s->address), "%.120s", line + strlen(READY));
    return true;
}

bool gx_server_await(struct gx_server *server)
{
    bool ended;
    return take_address(server, PATIENCE_S * 1000, &ended);
}

bool gx_server_serves(struct gx_server *server)
{
    bool ended;
    return server->address[0] != '\0' || take_address(server, 0, &ended);
}

void gx_server_start(struct gx_server *server)
{
    long from = log_len(server);
    gx_server_spawn(server);
    if (gx_server_await(server))
        return;
    struct gx_server_exit end;
    read_exit(server, from, reap(server), &end);
    ck_abort_msg("the server ended with %d: %s", end.code, end.text);
}

void gx_server_wait_end(struct gx_server *server, struct gx_server_exit *out)
{
    read_exit(server, 0, reap(server), out);
}

void gx_server_refuse(struct gx_server *server, struct gx_server_exit *out)
{
    long from = log_len(server);
    gx_server_spawn(server);
    ck_assert_msg(!gx_server_await(server), "the server serves although it should refuse");
    read_exit(server, from, reap(server), out);
}

void gx_server_stop(struct gx_server *server)
{
    long from = log_len(server);
    struct gx_server_exit end;
    ck_assert_int_gt(server->pid, 0);
    ck_assert_int_eq(kill(server->pid, SIGTERM), 0);
    read_exit(server, from, reap(server), &end);
    ck_assert_msg(end.code == 0, "an orderly stop ended with %d: %s", end.code, end.text);
}

void gx_server_kill(struct gx_server *server)
{
    if (server->pid == 0)
        return;
    (void)kill(server->pid, SIGKILL);
    (void)reap(server);
}

void gx_server_end(struct gx_server *server)
{
    struct gx_err err;
    gx_server_kill(server);
    gx_server_check_log(server, NULL);
    ck_assert_msg(gx_file_remove_tree(server->base, &err) == GX_OK, "%s", err.text);
}
