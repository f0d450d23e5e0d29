/* The real indexctl as a child process at a test's server. Asserts with Check; as server.h: inside one forked test,
 * from its main thread. */
#ifndef GX_CTL_H
#define GX_CTL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "server.h"

#define GX_CTL_TEXT_MAX 65536

struct gx_ctl {
    /* set before a start; zeroed: nothing to read, no terminal, no limit */
    const char *typed;  /* a person's answer at a terminal that is the standard input */
    long file_size_max; /* RLIMIT_FSIZE in bytes; 0 = none */
    /* when it has ended */
    int code;                  /* exit status; -signal when a signal ended it */
    char out[GX_CTL_TEXT_MAX]; /* what it printed; both are cut there */
    char err[GX_CTL_TEXT_MAX];

    pid_t pid;
    int terminal;
    char out_path[96], err_path[96];
};

/* Starts `indexctl --server … ARGUMENTS`; they end with NULL. */
void gx_ctl_start(struct gx_ctl *ctl, const struct gx_server *server, const char *const *arguments);
void gx_ctl_wait(struct gx_ctl *ctl);
bool gx_ctl_has_ended(struct gx_ctl *ctl); /* true: as after wait */
/* Both. Returns ctl->code. */
int gx_ctl_run(struct gx_ctl *ctl, const struct gx_server *server, const char *const *arguments);

#endif
