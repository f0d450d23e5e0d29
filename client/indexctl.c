/* indexctl: the command line of indexd. Everything it does goes through the public client library.
 *
 * The path: options before the command -> the command's words -> its options and operands -> client -> run -> output
 * flushed. What can go wrong ends with one line on the standard error and the status as exit status. */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "indexctl_command.h"

#define WAIT_S INT64_C(86400)

/* Debian builds abseil with its lock order checker on: it costs time, and ends the program at a false alarm. The
 * function is C++ and its absence no harm. */
static void switch_off_deadlock_detector(void)
{
    void (*set_mode)(int) =
        (void (*)(int))dlsym(RTLD_DEFAULT, "_ZN4absl7debian329SetMutexDeadlockDetectionModeENS0_15OnDeadlockCycleE");
    if (set_mode != NULL)
        set_mode(0);
}

static enum gx_status check_operands(const struct gx_indexctl_command *c, const struct gx_indexctl_args *args)
{
    if (args->words.n >= c->min_operands && args->words.n <= c->max_operands)
        return GX_OK;
    if (args->words.n > c->max_operands)
        return gx_indexctl_fail(GX_E_INVALID, "'%s' is too much: indexctl %s %s", args->words.items[c->max_operands],
                                c->words, c->usage);
    return gx_indexctl_fail(GX_E_INVALID, "something is missing: indexctl %s %s", c->words, c->usage);
}

static enum gx_status open_client(const struct gx_indexctl_command *c, struct gx_indexctl_session *s)
{
    const struct gx_indexctl_args *args = s->args;
    const char *server = args->server != NULL ? args->server : getenv("INDEXD_SERVER");
    int64_t deadline_us = c->deadline_s * 1000000;
    s->wait_us = WAIT_S * 1000000;
    if (args->deadline_s.given)
        s->wait_us = deadline_us = (int64_t)(args->deadline_s.value * 1e6);
    struct gx_client_options options = {.server = server != NULL && server[0] != '\0' ? server : NULL,
                                        .deadline_us = deadline_us};
    enum gx_status status = gx_client_open(&options, &s->client);
    return status == GX_OK ? GX_OK : gx_indexctl_fail_client(status);
}

static enum gx_status run(const struct gx_indexctl_command *c, const struct gx_indexctl_args *args)
{
    struct gx_indexctl_session session = {.args = args, .out = stdout};
    enum gx_status status = check_operands(c, args);
    if (status == GX_OK)
        status = open_client(c, &session);
    if (status == GX_OK)
        status = c->run(&session);
    gx_client_close(session.client);
    return status;
}

/* Words and options; sets *out_command where there is one to run. */
static enum gx_status begin(int argc, char **argv, struct gx_indexctl_args *args,
                            const struct gx_indexctl_command **out_command)
{
    int n, n_words;
    *out_command = NULL;
    enum gx_status status = gx_indexctl_args_parse(NULL, argc, argv, true, args, &n);
    if (status != GX_OK)
        return gx_indexctl_fail(status, "%s: see 'indexctl --help'", gx_indexctl_fail_text());
    bool help = n < argc && strcmp(argv[n], "help") == 0;
    args->help = args->help || help;
    n += help;
    if (args->version) {
        (void)printf("indexctl %s\n", gx_client_version());
        return GX_OK;
    }
    if (n == argc && args->help) {
        gx_indexctl_command_overview(stdout);
        return GX_OK;
    }
    if (n == argc)
        return gx_indexctl_fail(GX_E_INVALID, "what is to be done? see 'indexctl --help'");
    const struct gx_indexctl_command *c = gx_indexctl_command_find(argc - n, argv + n, &n_words);
    if (c == NULL)
        return GX_E_INVALID;
    status = gx_indexctl_args_parse(c->options, argc - n - n_words, argv + n + n_words, false, args, NULL);
    if (status != GX_OK && status != GX_E_NOMEM)
        return gx_indexctl_fail(status, "%s: see 'indexctl %s --help'", gx_indexctl_fail_text(), c->words);
    if (args->help)
        gx_indexctl_command_help(stdout, c);
    else
        *out_command = c;
    return status;
}

int main(int argc, char **argv)
{
    struct gx_indexctl_args args = {0};
    const struct gx_indexctl_command *command;
    enum gx_status status = begin(argc - 1, argv + 1, &args, &command);
    if (status == GX_OK && command != NULL) {
        switch_off_deadlock_detector();
        (void)setenv("GRPC_VERBOSITY", "NONE", 0); /* one line per failure, and it is ours */
        status = run(command, &args);
    }
    if ((fflush(stdout) != 0 || ferror(stdout)) && status == GX_OK)
        status = gx_indexctl_fail(GX_E_IO, "cannot write the output: %s", strerror(errno));
    if (status != GX_OK)
        (void)fprintf(stderr, "indexctl: %s\n", gx_indexctl_fail_text());
    gx_indexctl_args_fini(&args);
    return (int)status;
}
