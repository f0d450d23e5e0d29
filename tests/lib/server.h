/* The real server as a child process, on a data directory of the test's own and a free port. Asserts with Check.
 *
 * Call from the main thread of a forked test: the child dies with the thread that started it. Nothing here sleeps for
 * time to pass: the server says on its stdout when it serves, and its end is waited for. */
#ifndef GX_SERVER_H
#define GX_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define GX_SERVER_ENVIRONMENT_MAX 8

struct gx_server {
    char base[64];                                      /* temporary: data/, config.ini, log */
    char data[128];                                     /* the data directory */
    char log[128];                                      /* the server's stderr, over all starts */
    char address[128];                                  /* while it serves */
    char listen[128];                                   /* what it is told to listen on */
    char settings[512];                                 /* of its configuration file; set before a start */
    const char *environment[GX_SERVER_ENVIRONMENT_MAX]; /* "NAME=VALUE", besides the test's own; set before a start */
    long file_size_max;                                 /* RLIMIT_FSIZE of the child in bytes; 0 = none */
    pid_t pid;                                          /* 0 = it does not run */
    int out;                                            /* reads its stdout */
};

/* How the server ended by itself. */
struct gx_server_exit {
    int code;       /* exit status; -signal when a signal ended it */
    char text[600]; /* its last line on stderr */
    size_t lines;   /* on stderr, of this start, that are no log lines */
};

/* Makes the directory under $TMPDIR or /tmp and runs `indexd init`. */
void gx_server_begin(struct gx_server *server);

/* Starts the server and waits until it serves. */
void gx_server_start(struct gx_server *server);

/* Starts the server and comes back at once. */
void gx_server_spawn(struct gx_server *server);
/* Waits until it serves; false: it ended instead (see wait_end). */
bool gx_server_await(struct gx_server *server);
/* Has it said that it serves? Does not block. */
bool gx_server_serves(struct gx_server *server);

/* Waits until it has ended by itself. */
void gx_server_wait_end(struct gx_server *server, struct gx_server_exit *out);
/* Starts the server, which must refuse to serve. */
void gx_server_refuse(struct gx_server *server, struct gx_server_exit *out);

/* SIGTERM; it must end with exit status 0. */
void gx_server_stop(struct gx_server *server);
/* SIGKILL, wherever it is. */
void gx_server_kill(struct gx_server *server);

/* Fails when the log holds @text, or (always) an id of people.h. */
void gx_server_check_log(const struct gx_server *server, const char *text);
size_t gx_server_log_count(const struct gx_server *server, const char *text); /* how often it stands there */

/* Kills it where it runs, checks the log, removes the directory. */
void gx_server_end(struct gx_server *server);

/* Runs the server's program with @arguments (NULL-terminated, without its name); fills @out. */
void gx_server_command(struct gx_server *server, const char *const *arguments, struct gx_server_exit *out);

#endif
