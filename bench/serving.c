/* What serving costs, on a real server with a gallery of synthetic people: ingest through a stream, single inserts,
 * latency and server CPU of a search, expungement under load, memory, restart. One JSON line per figure.
 *
 * Bounds are measured in the same run: a synced append for writes, the rows' bytes for memory. Run it on a quiet
 * machine; figures of one run belong together. */
#include <argp.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "call_load.h"
#include "clock.h"
#include "indexd/client.h"
#include "indexd/v1/search.pb-c.h"
#include "measure.h"
#include "temp.h"

#define GALLERY       "bench"
#define EMBEDDER      "e", "1"
#define CLIENT_PROBES 2000 /* different searches that clients send */
#define RECALL_PROBES 300

static struct gx_measure measure = {.program = "serving", .rows = 100000, .seed = 1, .dim = 512, .engine = "flat"};
static const char *server_config = "", *client_numbers = "1,2,4,8,16";
static bool only_searches;

/* --- the server --- */

extern char **environ;

static struct {
    char base[64], data[80], config[80], address[128];
    pid_t pid;
} server;

static void end_server(void)
{
    char command[128];
    if (server.pid > 0) {
        kill(server.pid, SIGTERM);
        waitpid(server.pid, NULL, 0);
        server.pid = 0;
    }
    if (server.base[0] != '\0') {
        snprintf(command, sizeof(command), "rm -rf %s", server.base);
        if (system(command) != 0)
            fprintf(stderr, "serving: remove %s by hand\n", server.base);
        server.base[0] = '\0';
    }
}

static _Noreturn void die(const char *what)
{
    gx_measure_die(&measure, what, gx_client_error());
}

/* Runs the program; its stdout is read from *out_fd when that is asked for. */
static pid_t run_server(char *const *arguments, int *out_fd)
{
    const char *program = getenv("INDEXD_BIN");
    int pipe_fds[2] = {-1, -1};
    pid_t pid = 0;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    if (out_fd != NULL && pipe2(pipe_fds, O_CLOEXEC) == 0)
        posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 1);
    if (program == NULL || posix_spawn(&pid, program, &actions, NULL, arguments, environ) != 0)
        die("start the server named by INDEXD_BIN");
    posix_spawn_file_actions_destroy(&actions);
    if (out_fd != NULL) {
        close(pipe_fds[1]);
        *out_fd = pipe_fds[0];
    }
    return pid;
}

static void start_server(void)
{
    char line[200];
    int fd;
    char *arguments[] = {"indexd",      "serve",    "--data",      server.data, "--listen",
                         "127.0.0.1:0", "--config", server.config, NULL};
    server.pid = run_server(arguments, &fd);
    FILE *out = fdopen(fd, "r");
    if (out == NULL || fgets(line, sizeof(line), out) == NULL ||
        sscanf(line, "indexd: serving on %127s", server.address) != 1)
        die("the server does not serve");
    fclose(out);
}

static void stop_server(void)
{
    kill(server.pid, SIGTERM);
    waitpid(server.pid, NULL, 0);
    server.pid = 0;
}

static void begin_server(void)
{
    int status;
    gx_temp_folder("bench", server.base, sizeof(server.base));
    atexit(end_server); /* also when something fails */
    snprintf(server.data, sizeof(server.data), "%s/data", server.base);
    snprintf(server.config, sizeof(server.config), "%s/config", server.base);
    FILE *f = fopen(server.config, "we");
    if (f == NULL || fprintf(f, "%s\n", server_config) < 0 || fclose(f) != 0)
        die("write the configuration");
    char *arguments[] = {"indexd", "init", "--data", server.data, NULL};
    if (waitpid(run_server(arguments, NULL), &status, 0) < 0 || status != 0)
        die("create the data directory");
    start_server();
}

/* --- reporting --- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static json_t *latencies(double *us, size_t n)
{
    qsort(us, n, sizeof(*us), compare_doubles);
    return json_pack("{s:I, s:f, s:f, s:f, s:f}", "n", (json_int_t)n, "p50_us", us[n / 2], "p95_us", us[n * 95 / 100],
                     "p99_us", us[n * 99 / 100], "max_us", us[n - 1]);
}

/* CPU seconds that the server has used. */
static double server_cpu(void)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(server.pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        return 0;
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double server_kib(const char *field)
{
    char path[64], line[256];
    double kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)server.pid);
    FILE *f = fopen(path, "re");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (strncmp(line, field, strlen(field)) == 0)
            kib = strtod(line + strlen(field) + 1, NULL);
    if (f != NULL)
        fclose(f);
    return kib;
}

static gx_client *connect_client(void)
{
    gx_client *client;
    struct gx_client_options options = {.server = server.address, .deadline_us = 600000000, .retries = -1};
    if (gx_client_open(&options, &client) != GX_OK)
        die("connect");
    return client;
}

/* --- figures --- */

/* The bound of single writes: append and fdatasync of as many bytes as a record has. */
static double synced_append_us(void)
{
    char path[256];
    static char bytes[2400];
    double us[200];
    snprintf(path, sizeof(path), "%s/append", server.base);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    for (size_t i = 0; i < 200; i++) {
        int64_t start = gx_clock_monotonic_us();
        if (write(fd, bytes, sizeof(bytes)) != (ssize_t)sizeof(bytes) || fdatasync(fd) != 0)
            break;
        us[i] = (double)(gx_clock_monotonic_us() - start);
    }
    close(fd);
    unlink(path);
    qsort(us, 200, sizeof(*us), compare_doubles);
    return us[100];
}

/* The rows are made before the clock starts: what is measured is the server and the client library. */
static void ingest(void)
{
    gx_client *client = connect_client();
    gx_client_stream *stream;
    struct gx_measure_batch *b = gx_measure_batch_new(&measure);
    double making = 0;
    if (gx_client_gallery_create(client, GALLERY, measure.dim, EMBEDDER, measure.engine, 0, NULL) != GX_OK)
        die("create");
    if (gx_client_stream_open(client, GALLERY, EMBEDDER, &stream) != GX_OK)
        die("stream");
    double cpu = server_cpu();
    int64_t start = gx_clock_monotonic_us();
    for (uint64_t i = 0; i < measure.rows; i += GX_MEASURE_BATCH) {
        size_t n = measure.rows - i < GX_MEASURE_BATCH ? (size_t)(measure.rows - i) : GX_MEASURE_BATCH;
        int64_t making_start = gx_clock_monotonic_us();
        gx_measure_batch_fill(&measure, b, i, n);
        making += gx_measure_since(making_start);
        if (gx_client_stream_send(stream, b->records, b->rows, n, measure.dim) != GX_OK)
            die("send");
    }
    struct gx_client_enrolled enrolled;
    if (gx_client_stream_close(stream, &enrolled) != GX_OK)
        die("close the stream");
    double s = gx_measure_since(start);
    gx_measure_report(&measure, "ingest",
                      json_pack("{s:f, s:f, s:f, s:f, s:I}", "records_per_s", (double)measure.rows / s, "seconds", s,
                                "of_which_making_rows_s", making, "server_cpu_us_per_record",
                                (server_cpu() - cpu) * 1e6 / (double)measure.rows, "enrolled",
                                (json_int_t)enrolled.enrolled));
    gx_measure_batch_free(b);
    gx_client_close(client);
}

static void wait_until_indexed(gx_client *client)
{
    struct gx_client_gallery_stats stats;
    int64_t start = gx_clock_monotonic_us();
    double cpu = server_cpu();
    do {
        nanosleep(&(struct timespec){0, 50000000}, NULL);
        if (gx_client_gallery_stats(client, GALLERY, &stats) != GX_OK)
            die("stats");
    } while (strcmp(measure.engine, "flat") != 0 && (stats.build.running || stats.tail > 0));
    gx_measure_report(&measure, "index",
                      json_pack("{s:f, s:f, s:I, s:I}", "seconds", gx_measure_since(start), "server_cpu_s",
                                server_cpu() - cpu, "indexed", (json_int_t)stats.indexed, "index_bytes",
                                (json_int_t)stats.index_bytes));
}

/* Writers that insert one record at a time. */
struct writer {
    pthread_t thread;
    uint64_t first, n;
    double *us;
};

static void *write_singly(void *arg)
{
    struct writer *w = arg;
    gx_client *client = connect_client();
    struct gx_measure_batch *b = gx_measure_batch_new(&measure);
    for (uint64_t i = 0; i < w->n; i++) {
        struct gx_client_enrolled enrolled;
        gx_measure_batch_fill(&measure, b, w->first + i, 1);
        int64_t start = gx_clock_monotonic_us();
        if (gx_client_insert(client, GALLERY, EMBEDDER, b->records, b->rows, 1, measure.dim, NULL, &enrolled) != GX_OK)
            die("insert");
        w->us[i] = (double)(gx_clock_monotonic_us() - start);
    }
    gx_measure_batch_free(b);
    gx_client_close(client);
    return NULL;
}

static uint64_t next_row; /* beyond those ingested */

static void single_inserts(unsigned n_writers, uint64_t each)
{
    struct writer *writers = calloc(n_writers, sizeof(*writers));
    double *us = calloc(n_writers * each, sizeof(*us));
    int64_t start = gx_clock_monotonic_us();
    for (unsigned i = 0; i < n_writers; i++) {
        writers[i] = (struct writer){.first = next_row + i * each, .n = each, .us = us + i * each};
        pthread_create(&writers[i].thread, NULL, write_singly, &writers[i]);
    }
    for (unsigned i = 0; i < n_writers; i++)
        pthread_join(writers[i].thread, NULL);
    double s = gx_measure_since(start);
    next_row += n_writers * each;
    json_t *figures = latencies(us, n_writers * each);
    json_object_set_new(figures, "writers", json_integer(n_writers));
    json_object_set_new(figures, "records_per_s", json_real((double)(n_writers * each) / s));
    json_object_set_new(figures, "synced_append_us", json_real(synced_append_us()));
    gx_measure_report(&measure, "insert_single", figures);
    free(writers);
    free(us);
}

static void searches(gx_client *client, const char *what, bool exact, size_t n)
{
    double *us = calloc(n, sizeof(*us));
    float *probe = calloc(measure.dim, sizeof(*probe));
    struct gx_client_search search = {.k = 50, .exact = exact};
    double cpu = 0;
    for (size_t i = 0; i < n + 20; i++) { /* the first 20 are a warm-up */
        struct gx_client_result *result;
        gx_people_probe(&measure.people, i, probe, NULL);
        if (i == 20)
            cpu = server_cpu();
        int64_t start = gx_clock_monotonic_us();
        if (gx_client_search(client, GALLERY, EMBEDDER, probe, 1, measure.dim, &search, &result) != GX_OK)
            die("search");
        if (i >= 20)
            us[i - 20] = (double)(gx_clock_monotonic_us() - start);
        gx_client_result_free(result);
    }
    cpu = (server_cpu() - cpu) * 1e6 / (double)n;
    json_t *figures = latencies(us, n);
    json_object_set_new(figures, "k", json_integer(50));
    json_object_set_new(figures, "exact", json_boolean(exact));
    json_object_set_new(figures, "server_cpu_us", json_real(cpu));
    gx_measure_report(&measure, what, figures);
    free(us);
    free(probe);
}

/* --- the cost of a call: searches over one connection in a gallery of 0, 25 or 50 rows, so that what is left is the
 * call itself, with as many candidates in the reply --- */

/* Requests of searches in gallery @name, @n of one length each, one after the other; the caller frees them. */
static uint8_t *pack_searches(const char *name, size_t n, size_t *out_len)
{
    Indexd__V1__Embedder embedder = INDEXD__V1__EMBEDDER__INIT;
    Indexd__V1__Embedding probe = INDEXD__V1__EMBEDDING__INIT;
    Indexd__V1__SearchRequest request = INDEXD__V1__SEARCH_REQUEST__INIT;
    float *values = gx_measure_alloc(&measure, measure.dim, sizeof(*values));
    embedder.id = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "e"};
    embedder.version = (ProtobufCBinaryData){1, (uint8_t *)(uintptr_t) "1"};
    probe.embedder = &embedder;
    probe.f32le = (ProtobufCBinaryData){measure.dim * sizeof(*values), (uint8_t *)values};
    request.gallery = (ProtobufCBinaryData){strlen(name), (uint8_t *)(uintptr_t)name};
    request.probe = &probe;
    *out_len = indexd__v1__search_request__get_packed_size(&request);
    uint8_t *messages = gx_measure_alloc(&measure, n, *out_len);
    for (size_t i = 0; i < n; i++) {
        gx_people_probe(&measure.people, i, values, NULL);
        (void)indexd__v1__search_request__pack(&request, messages + i * *out_len);
    }
    free(values);
    return messages;
}

static void make_tiny(gx_client *client, const char *name, size_t rows)
{
    struct gx_measure_batch *b = gx_measure_batch_new(&measure);
    struct gx_client_enrolled enrolled;
    if (gx_client_gallery_create(client, name, measure.dim, EMBEDDER, "flat", 0, NULL) != GX_OK)
        die("create");
    gx_measure_batch_fill(&measure, b, 0, rows);
    if (rows > 0 &&
        gx_client_insert(client, name, EMBEDDER, b->records, b->rows, rows, measure.dim, NULL, &enrolled) != GX_OK)
        die("insert");
    gx_measure_batch_free(b);
}

static void call_cost(gx_client *client, size_t rows)
{
    static const unsigned at_a_time[] = {1, 8, 16};
    char name[16];
    struct gx_call_load load = {.address = server.address,
                                .path = "/indexd.v1.Search/Search",
                                .n_messages = 1,
                                .warm_up_us = 300000,
                                .run_us = 400000,
                                .cpu_s = server_cpu};
    struct gx_call_load_figures got;
    snprintf(name, sizeof(name), "tiny-%zu", rows);
    make_tiny(client, name, rows);
    uint8_t *messages = pack_searches(name, 1, &load.len);
    load.messages = messages;
    for (size_t i = 0; i < sizeof(at_a_time) / sizeof(at_a_time[0]); i++) {
        load.n_at_a_time = at_a_time[i];
        gx_call_load_run(&load, &got);
        gx_measure_report(&measure, "call_cost",
                          json_pack("{s:f, s:f, s:f, s:f, s:f, s:i, s:i, s:i, s:i}", "server_cpu_us", got.server_cpu_us,
                                    "best_cpu_us", got.best_cpu_us, "calls_per_s", got.calls_per_s, "p50_us",
                                    got.p50_us, "p99_us", got.p99_us, "calls_at_a_time", (int)at_a_time[i],
                                    "gallery_rows", (int)rows, "request_bytes", (int)load.len, "reply_bytes",
                                    (int)got.reply_len));
    }
    free(messages);
}

/* Searches per second when @n clients each send one search after the other, at the engine's default effort. */
static void clients_at_a_time(const struct gx_client_recall *recall, unsigned n)
{
    struct gx_call_load load = {.address = server.address,
                                .path = "/indexd.v1.Search/Search",
                                .n_messages = CLIENT_PROBES,
                                .n_at_a_time = n,
                                .warm_up_us = 500000,
                                .run_us = 1000000,
                                .cpu_s = server_cpu};
    struct gx_call_load_figures got;
    uint8_t *messages = pack_searches(GALLERY, CLIENT_PROBES, &load.len);
    load.messages = messages;
    gx_call_load_run(&load, &got);
    gx_measure_report(&measure, "clients",
                      json_pack("{s:i, s:s, s:f, s:f, s:f, s:f, s:f, s:f}", "clients", (int)n, "serving",
                                recall->engine, "searches_per_s", got.calls_per_s, "p50_us", got.p50_us, "p99_us",
                                got.p99_us, "server_cpu_us", got.server_cpu_us, "recall_at_10", recall->recall_at_10,
                                "recall_at_50", recall->recall_at_50));
    free(messages);
}

static void clients(gx_client *client)
{
    struct gx_client_recall recall;
    char *list = strdup(client_numbers);
    if (gx_client_gallery_measure(client, GALLERY, RECALL_PROBES, NULL, 0, &recall) != GX_OK)
        die("measure the recall");
    for (char *rest, *word = strtok_r(list, ",", &rest); word != NULL; word = strtok_r(NULL, ",", &rest)) {
        unsigned long n = strtoul(word, NULL, 10);
        if (n >= 1 && n <= GX_CALL_LOAD_MAX)
            clients_at_a_time(&recall, (unsigned)n);
    }
    free(list);
}

static atomic_bool stop_load;

static void *search_load(void *arg)
{
    gx_client *client = connect_client();
    float *probe = calloc(measure.dim, sizeof(*probe));
    struct gx_client_search search = {.k = 50};
    (void)arg;
    for (uint64_t i = 0; !atomic_load(&stop_load); i++) {
        struct gx_client_result *result;
        gx_people_probe(&measure.people, i, probe, NULL);
        if (gx_client_search(client, GALLERY, EMBEDDER, probe, 1, measure.dim, &search, &result) != GX_OK)
            die("search");
        gx_client_result_free(result);
    }
    free(probe);
    gx_client_close(client);
    return NULL;
}

static void *insert_load(void *arg)
{
    gx_client *client = connect_client();
    struct gx_measure_batch *b = gx_measure_batch_new(&measure);
    (void)arg;
    while (!atomic_load(&stop_load)) {
        struct gx_client_enrolled enrolled;
        gx_measure_batch_fill(&measure, b, next_row, 10);
        next_row += 10;
        if (gx_client_insert(client, GALLERY, EMBEDDER, b->records, b->rows, 10, measure.dim, NULL, &enrolled) != GX_OK)
            die("insert");
    }
    gx_measure_batch_free(b);
    gx_client_close(client);
    return NULL;
}

/* Expunges single records while one client searches and one inserts. */
static void expungements(gx_client *client, size_t n)
{
    pthread_t load[2];
    double *us = calloc(n, sizeof(*us));
    atomic_store(&stop_load, false);
    pthread_create(&load[0], NULL, search_load, NULL);
    pthread_create(&load[1], NULL, insert_load, NULL);
    for (size_t i = 0; i < n; i++) {
        char id[GX_PEOPLE_ID_MAX];
        const char *ids = id;
        struct gx_client_ticket ticket;
        gx_people_record_id(i * (measure.rows / n), id);
        int64_t start = gx_clock_monotonic_us();
        if (gx_client_expunge(client, GALLERY, GX_CLIENT_RECORD, &ids, 1, "bench", 1, false, NULL, &ticket) != GX_OK)
            die("expunge");
        us[i] = (double)(gx_clock_monotonic_us() - start);
    }
    atomic_store(&stop_load, true);
    pthread_join(load[0], NULL);
    pthread_join(load[1], NULL);
    json_t *figures = latencies(us, n);
    json_object_set_new(figures, "synced_append_us", json_real(synced_append_us()));
    gx_measure_report(&measure, "expunge_acknowledged", figures);
    free(us);
}

static void memory(gx_client *client)
{
    struct gx_client_gallery_stats stats;
    if (gx_client_gallery_stats(client, GALLERY, &stats) != GX_OK)
        die("stats");
    double floats = (double)stats.records * measure.dim * 4;
    gx_measure_report(&measure, "memory",
                      json_pack("{s:f, s:f, s:f, s:f, s:f}", "rss_mib", server_kib("VmRSS") / 1024, "floats_mib",
                                floats / (1 << 20), "rows_mib", (double)stats.row_bytes / (1 << 20), "index_mib",
                                (double)stats.index_bytes / (1 << 20), "rows_over_floats",
                                (double)stats.row_bytes / floats));
}

/* How long the kernel (and whoever runs this machine as a guest) takes to give a GiB of memory to one thread. A restart
 * cannot do without it. */
static double first_touch_s_per_gib(void)
{
    const size_t len = (size_t)1 << 30;
    int64_t start = gx_clock_monotonic_us();
    char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        die("map memory");
    (void)madvise(p, len, MADV_HUGEPAGE);
    for (size_t at = 0; at < len; at += 4096)
        *(volatile char *)(p + at) = 1;
    double seconds = gx_measure_since(start);
    munmap(p, len);
    return seconds;
}

static void restart(void)
{
    stop_server();
    int64_t start = gx_clock_monotonic_us();
    start_server();
    double seconds = gx_measure_since(start), cpu_s = server_cpu();
    gx_client *client = connect_client();
    struct gx_client_gallery_stats stats;
    if (gx_client_gallery_stats(client, GALLERY, &stats) != GX_OK)
        die("stats");
    gx_measure_report(&measure, "restart",
                      json_pack("{s:f, s:f, s:f}", "seconds_to_serving", seconds, "server_cpu_s", cpu_s,
                                "first_touch_s_per_gib", first_touch_s_per_gib()));
    gx_measure_report(&measure, "after_restart",
                      json_pack("{s:I, s:I, s:s, s:f}", "records", (json_int_t)stats.records, "indexed",
                                (json_int_t)stats.indexed, "serving", stats.engine, "rss_mib",
                                server_kib("VmRSS") / 1024));
    gx_client_close(client);
}

static void changes(gx_client *client)
{
    call_cost(client, 0);
    call_cost(client, 25);
    call_cost(client, 50);
    single_inserts(1, 500);
    single_inserts(32, 200);
    expungements(client, 500);
}

/* --- command line --- */

static const struct argp_option options[] = {
    {"rows", 'n', "N", 0, "Rows ingested (100000)", 0},
    {"dim", 'd', "N", 0, "Dimension (512)", 0},
    {"engine", 'e', "ENGINE", 0, "Engine (flat)", 0},
    {"seed", 's', "N", 0, "Seed of the people (1)", 0},
    {"clients", 'C', "N,...", 0, "Numbers of searching clients, 1 to 256 (1,2,4,8,16)", 0},
    {"only-searches", 'o', NULL, 0, "Leaves out inserts, removals and the restart", 0},
    {"config", 'c', "TEXT", 0, "Settings of the server, as in its file", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    (void)state;
    switch (key) {
    case 'n': measure.rows = strtoull(arg, NULL, 10); return 0;
    case 'd': measure.dim = (uint32_t)strtoul(arg, NULL, 10); return 0;
    case 'e': measure.engine = arg; return 0;
    case 's': measure.seed = strtoull(arg, NULL, 10); return 0;
    case 'C': client_numbers = arg; return 0;
    case 'o': only_searches = true; return 0;
    case 'c': server_config = arg; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, NULL, "Measures a server under the loads of its users.",
                                     NULL,    NULL,         NULL};
    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    if (measure.rows < 1000 || !gx_people_init(&measure.people, measure.seed, measure.dim, measure.rows)) {
        fprintf(stderr, "serving: --rows from 1000, --dim from 2 to 4096\n");
        return 1;
    }
    next_row = measure.rows;
    begin_server();
    ingest();
    gx_client *client = connect_client();
    wait_until_indexed(client);
    memory(client);
    searches(client, "search", false, 500);
    searches(client, "search_exact", true, 100);
    clients(client);
    if (!only_searches)
        changes(client);
    gx_client_close(client);
    if (!only_searches)
        restart();
    end_server();
    return 0;
}
