/* Start and stop.
 *
 * The path of serve: options -> configuration -> process (core dumps off, descriptors, signals) -> data directory
 * (ledger replayed) -> listening: health says NOT_SERVING, calls on a gallery UNAVAILABLE -> galleries loaded ->
 * "serving" -> SIGTERM or SIGINT -> health NOT_SERVING, running calls finish -> indexes saved, files closed.
 *
 * What can go wrong: any step fails with one line on stderr and the status number as exit status; a gallery that cannot
 * be loaded stops the start (its files are not touched). A second signal ends the process at once: every acknowledged
 * write is on disk anyway. */
#include <argp.h>
#include <malloc.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config.h"
#include "crew.h"
#include "engine.h"
#include "failpoint.h"
#include "galleries.h"
#include "health.h"
#include "log.h"
#include "main_doctor.h"
#include "reflection.h"
#include "restore.h"
#include "routes.h"

#ifndef INDEXD_VERSION
#define INDEXD_VERSION "0.1.0"
#endif

struct arguments {
    const char *command, *data, *config, *listen, *quarantine, *from, *ledger;
    bool json;
};

static int fail(const struct gx_err *err)
{
    fprintf(stderr, "indexd: %s\n", err->text);
    return (int)err->status;
}

/* --- init --- */

static int run_init(const struct arguments *args, const struct gx_config *config)
{
    struct gx_err err;
    const char *ledger = config->ledger_path[0] == '\0' ? NULL : config->ledger_path;
    if (gx_galleries_create(args->data, ledger, &err) != GX_OK)
        return fail(&err);
    printf("indexd: created %s; keep a copy of %s/secret.key in a safe place\n", args->data, args->data);
    return 0;
}

/* --- doctor --- */

static int run_doctor(const struct arguments *args, const struct gx_config *config)
{
    struct gx_err err;
    const char *ledger = config->ledger_path[0] == '\0' ? NULL : config->ledger_path;
    const char *mirror = config->ledger_mirror[0] == '\0' ? NULL : config->ledger_mirror;
    const struct gx_main_doctor_in in = {args->data, {ledger, mirror, args->config}, args->quarantine, args->json};
    if (gx_main_doctor(&in, stdout, &err) != GX_OK)
        return fail(&err);
    return 0;
}

/* --- restore --- */

static int run_restore(const struct arguments *args, const struct gx_config *config)
{
    struct gx_err err;
    struct gx_restore_out out;
    const struct gx_restore_in in = {.from = args->from,
                                     .data_dir = args->data,
                                     .ledger_path = config->ledger_path[0] == '\0' ? NULL : config->ledger_path,
                                     .live_ledger = args->ledger};
    if (gx_restore_run(&in, &out, &err) != GX_OK)
        return fail(&err);
    if (!out.has_live)
        fprintf(stderr, "indexd: warning: expungements since the backup are not known: their records are back. Restore "
                        "again with --ledger, the newest expunge.log or its mirror, if there is one\n");
    if (out.live_behind)
        fprintf(stderr, "indexd: warning: the ledger that was named is older than the backup's, which is used\n");
    if (out.expired)
        fprintf(stderr, "indexd: warning: this backup has expired and should have been destroyed\n");
    printf(
        "indexd: restored backup B-%08llu to %s (%llu files, %llu bytes); 'indexd serve' removes again what the ledger "
        "knows\n",
        (unsigned long long)out.backup, args->data, (unsigned long long)out.n_files, (unsigned long long)out.n_bytes);
    return 0;
}

/* --- serve --- */

static void prepare_process(void)
{
    /* A core dump would be a file full of faces. */
    prctl(PR_SET_DUMPABLE, 0);
    /* Nor may memory that libraries free hold on to them: large blocks leave the process (RocksDB's write buffers come
     * in pieces of 1 MiB; glibc would raise the threshold by itself, and keep them), the rest is overwritten. */
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
    mallopt(M_TRIM_THRESHOLD, 4 << 20);
    mallopt(M_PERTURB, 0x5a);
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0 && files.rlim_cur < files.rlim_max) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

/* Signals: the handler only counts and posts, so it does not matter which thread is interrupted (OpenBLAS has started
 * threads of its own before main, which no mask of ours reaches). A second signal ends the process at once. */
static sem_t signalled;
static atomic_int n_signals;

static void on_signal(int number)
{
    if (atomic_fetch_add(&n_signals, 1) > 0)
        _exit(128 + number);
    sem_post(&signalled);
}

static void handle_signals(void)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sem_init(&signalled, 0, 0);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file at its limit is a full disk, not a reason to die */
}

static enum gx_status open_galleries(const struct arguments *args, const struct gx_config *config,
                                     struct gx_galleries **out, struct gx_err *err)
{
    bool in_file = strcmp(config->rows_float, "file") == 0;
    if (!in_file && strcmp(config->rows_float, "ram") != 0)
        return gx_fail(err, GX_E_INVALID, "rows.float: ram or file, got '%s'", config->rows_float);
    struct gx_galleries_options options = {
        .data_dir = args->data,
        .ledger_path = config->ledger_path[0] == '\0' ? NULL : config->ledger_path,
        .ledger_mirror = config->ledger_mirror[0] == '\0' ? NULL : config->ledger_mirror,
        .cache_bytes = config->store_cache << 20,
        .rate_limit_bytes = config->store_rate_limit << 20,
        .writer_queue_max = config->store_write_queue,
        .tail_max = config->index_tail_max,
        .rebuild_dead = config->index_rebuild_dead,
        .rows_in_file = in_file,
        .hnsw_from = config->index_hnsw_from,
        .rebuild_after_us = (int64_t)config->index_rebuild_after * 1000000,
        .erase_deadline_us = (int64_t)config->erase_deadline * 1000000,
        .scan_all_bytes = config->erase_scan_all << 20,
        .config_path = args->config,
        .ballast_bytes = config->store_ballast << 20,
        .min_free = config->store_min_free,
        .changed = gx_health_changed,
    };
    return gx_galleries_open(&options, out, err);
}

/* The store needs descriptors as well: clients get at most half of what the process may open. */
static size_t connections_max(const struct gx_config *config)
{
    struct rlimit files;
    size_t wanted = config->server_connections;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0 || files.rlim_cur / 2 >= wanted)
        return wanted;
    gx_log_warn("few_descriptors", "limit=%llu connections=%llu advice=\"raise LimitNOFILE\"",
                (unsigned long long)files.rlim_cur, (unsigned long long)files.rlim_cur / 2);
    return GX_MAX((size_t)files.rlim_cur / 2, (size_t)1);
}

static enum gx_status start_rpc(const struct arguments *args, const struct gx_config *config, struct gx_app *app,
                                struct gx_rpc **out, struct gx_err *err)
{
    size_t n_routes;
    const struct gx_route *routes = gx_routes_table(&n_routes);
    struct gx_rpc_options options = {
        .listen = args->listen != NULL ? args->listen : config->server_listen,
        .routes = routes,
        .n_routes = n_routes,
        .app = app,
        .n_io = (unsigned)config->server_io_threads,
        .n_workers = (unsigned)config->server_workers,
        .queue_max = config->server_queue,
        .connections_max = connections_max(config),
        .streams_max = (uint32_t)config->server_streams,
        .memory_max = config->server_call_memory << 20,
        .grace_us = (int64_t)config->server_grace * 1000000,
        .thread_begin = gx_engine_thread_begin,
    };
    return gx_rpc_start(&options, out, err);
}

/* The first signal also ends loading, which this thread waits for elsewhere. */
static void *watch_signal(void *galleries)
{
    while (sem_wait(&signalled) != 0)
        continue;
    gx_galleries_interrupt(galleries);
    sem_post(&signalled); /* for serve */
    return NULL;
}

/* As many cores as there are workers: those that wait for nothing else. */
static enum gx_status start_crew(const struct gx_config *config, struct gx_err *err)
{
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    size_t cores = online < 1 ? 1 : (size_t)online;
    if (config->server_workers != 0)
        cores = GX_MIN(cores, (size_t)config->server_workers);
    return gx_crew_start(cores, err);
}

static int run_serve(const struct arguments *args, const struct gx_config *config)
{
    struct gx_err err;
    struct gx_app app = {0};
    struct gx_rpc *rpc = NULL;
    enum gx_status status;
    pthread_t watch;
    bool watching = false;
    prepare_process();
    handle_signals();
    gx_log_set_level((enum gx_log_level)config->log_level);
    gx_failpoint_init();
    gx_rpc_prepare();
    GX_TRY_OUT(start_crew(config, &err));
    GX_TRY_OUT(open_galleries(args, config, &app.galleries, &err));
    GX_TRY_OUT(gx_reflection_init(&err));
    GX_TRY_OUT(gx_routes_begin(&app, &err));
    GX_TRY_OUT(start_rpc(args, config, &app, &rpc, &err));
    watching = pthread_create(&watch, NULL, watch_signal, app.galleries) == 0;
    status = gx_galleries_wait_loaded(app.galleries, &err);
    if (atomic_load(&n_signals) > 0)
        status = GX_OK; /* told to stop while loading */
    GX_TRY_OUT(status);
    if (atomic_load(&n_signals) == 0) {
        printf("indexd: serving on %s\n", gx_rpc_address(rpc));
        fflush(stdout);
    }
    if (watching)
        pthread_join(watch, NULL);
    while (sem_wait(&signalled) != 0)
        continue;
    gx_log_info("stopping", "reason=signal");
    gx_health_drain();
out:
    if (status != GX_OK && watching) { /* it still waits */
        sem_post(&signalled);
        pthread_join(watch, NULL);
    }
    gx_rpc_stop(rpc);
    gx_routes_end(&app);
    gx_reflection_fini();
    bool ended = gx_galleries_close(app.galleries);
    gx_crew_stop();
    if (status != GX_OK)
        return fail(&err);
    gx_log_info("stopped", "status=ok");
    if (!ended) /* a thread is in the middle of training: nothing that it touches may be torn down by exit() */
        _exit(0);
    return 0;
}

/* --- command line --- */

const char *argp_program_version = "indexd " INDEXD_VERSION;

static const char doc[] = "indexd: which enrolled photos are closest to this embedding?\v"
                          "Commands:\n"
                          "  init     create a data directory\n"
                          "  serve    serve the galleries of a data directory until SIGTERM\n"
                          "  doctor   list files of a data directory that are not indexd's, or move them out\n"
                          "  restore  make a data directory out of a backup (indexctl backup create)\n"
                          "  config   print the configuration with all defaults, bounds and meanings\n\n"
                          "Exit status: 0, or the status number of include/indexd/status.h.\n\n"
                          "Examples:\n"
                          "  indexd init --data /var/lib/indexd\n"
                          "  indexd serve --data /var/lib/indexd --listen 127.0.0.1:7600\n"
                          "  indexd doctor --data /var/lib/indexd --quarantine /root/found\n"
                          "  indexd restore --from /backup/2026-11-20 --data /var/lib/indexd.new "
                          "--ledger /var/lib/indexd/expunge.log\n"
                          "  indexd config > indexd.ini";

static const struct argp_option options[] = {
    {"data", 'd', "DIR", 0, "Data directory (required)", 0},
    {"listen", 'l', "HOST:PORT", 0, "Loopback address or unix:/path; port 0 takes any free one", 0},
    {"config", 'c', "FILE", 0, "Configuration; see 'indexd config'", 0},
    {"quarantine", 'q', "DIR", 0, "doctor: move unknown files into DIR, outside of the data directory", 0},
    {"json", 'j', NULL, 0, "doctor: print one JSON object for each unknown file", 0},
    {"from", 'f', "DIR", 0, "restore: the backup (required)", 0},
    {"ledger", 'L', "FILE", 0, "restore: the newest expunge.log there is", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    struct arguments *args = state->input;
    switch (key) {
    case 'd': args->data = arg; return 0;
    case 'l': args->listen = arg; return 0;
    case 'c': args->config = arg; return 0;
    case 'q': args->quarantine = arg; return 0;
    case 'j': args->json = true; return 0;
    case 'f': args->from = arg; return 0;
    case 'L': args->ledger = arg; return 0;
    case ARGP_KEY_ARG:
        if (args->command != NULL)
            return ARGP_ERR_UNKNOWN;
        args->command = arg;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static int usage_error(const char *text)
{
    fprintf(stderr, "indexd: %s; 'indexd --help' shows how\n", text);
    return GX_E_INVALID;
}

int main(int argc, char **argv)
{
    struct arguments args = {0};
    struct gx_config config;
    struct gx_err err;
    static const struct argp argp = {options, parse_option, "COMMAND", doc, NULL, NULL, NULL};
    argp_err_exit_status = GX_E_INVALID;
    argp_parse(&argp, argc, argv, 0, NULL, &args);
    gx_config_init(&config);
    if (args.config != NULL && gx_config_read(&config, args.config, &err) != GX_OK)
        return fail(&err);
    if (args.command == NULL)
        return usage_error("name a command: init, serve, doctor, restore or config");
    if (strcmp(args.command, "config") == 0) {
        gx_config_print_reference(stdout);
        return 0;
    }
    if (args.data == NULL)
        return usage_error("--data DIR is needed");
    if (strcmp(args.command, "init") == 0)
        return run_init(&args, &config);
    if (strcmp(args.command, "doctor") == 0)
        return run_doctor(&args, &config);
    if (strcmp(args.command, "serve") == 0)
        return run_serve(&args, &config);
    if (strcmp(args.command, "restore") == 0)
        return args.from == NULL ? usage_error("--from DIR is needed") : run_restore(&args, &config);
    return usage_error("no such command: init, serve, doctor, restore or config");
}
