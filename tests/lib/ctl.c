#include "ctl.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void become(const struct gx_ctl *ctl, const char *address, const char *const *arguments, const char *terminal)
{
    const char *program = getenv("INDEXCTL_BIN");
    char *argv[32] = {(char *)(uintptr_t) "indexctl", (char *)(uintptr_t) "--server", (char *)(uintptr_t)address};
    for (size_t i = 0; arguments[i] != NULL && i < 28; i++)
        argv[i + 3] = (char *)(uintptr_t)arguments[i];
    (void)setsid();
    int in = open(terminal != NULL ? terminal : "/dev/null", O_RDWR);
    int out = open(ctl->out_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    int err = open(ctl->err_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (in < 0 || out < 0 || err < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
        _exit(120);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (ctl->file_size_max > 0) {
        struct rlimit limit = {(rlim_t)ctl->file_size_max, (rlim_t)ctl->file_size_max};
        (void)signal(SIGXFSZ, SIG_IGN); /* a write past it fails with EFBIG then */
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0)
            _exit(121);
    }
    (void)execv(program, argv);
    _exit(122);
}

/* A terminal at which @typed was entered already: the line waits there. */
static int open_terminal(const char *typed, char *out_name, size_t cap)
{
    int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    ck_assert(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0);
    ck_assert_int_eq(ptsname_r(terminal, out_name, cap), 0);
    ck_assert_int_eq(write(terminal, typed, strlen(typed)), (ssize_t)strlen(typed));
    return terminal;
}

void gx_ctl_start(struct gx_ctl *ctl, const struct gx_server *server, const char *const *arguments)
{
    char name[64];
    ck_assert_msg(getenv("INDEXCTL_BIN") != NULL, "INDEXCTL_BIN is not set: run this with make");
    (void)snprintf(ctl->out_path, sizeof(ctl->out_path), "%s/ctl-out", server->base);
    (void)snprintf(ctl->err_path, sizeof(ctl->err_path), "%s/ctl-err", server->base);
    ctl->terminal = ctl->typed != NULL ? open_terminal(ctl->typed, name, sizeof(name)) : -1;
    ctl->pid = fork();
    ck_assert_int_ge(ctl->pid, 0);
    if (ctl->pid == 0)
        become(ctl, server->address, arguments, ctl->typed != NULL ? name : NULL);
}

static void read_text(const char *path, char *out)
{
    FILE *file = fopen(path, "re");
    size_t n = file != NULL ? fread(out, 1, GX_CTL_TEXT_MAX - 1, file) : 0;
    out[n] = '\0';
    if (file != NULL)
        (void)fclose(file);
}

static void take_end(struct gx_ctl *ctl, int status)
{
    ctl->code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    ctl->pid = 0;
    if (ctl->terminal >= 0)
        (void)close(ctl->terminal);
    read_text(ctl->out_path, ctl->out);
    read_text(ctl->err_path, ctl->err);
}

void gx_ctl_wait(struct gx_ctl *ctl)
{
    int status;
    while (waitpid(ctl->pid, &status, 0) < 0)
        ck_assert_int_eq(errno, EINTR);
    take_end(ctl, status);
}

bool gx_ctl_has_ended(struct gx_ctl *ctl)
{
    int status;
    if (ctl->pid == 0)
        return true;
    pid_t pid = waitpid(ctl->pid, &status, WNOHANG);
    ck_assert(pid == 0 || pid == ctl->pid);
    if (pid != 0)
        take_end(ctl, status);
    return pid != 0;
}

int gx_ctl_run(struct gx_ctl *ctl, const struct gx_server *server, const char *const *arguments)
{
    gx_ctl_start(ctl, server, arguments);
    gx_ctl_wait(ctl);
    return ctl->code;
}
