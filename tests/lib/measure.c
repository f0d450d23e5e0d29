#include "measure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

#define PATIENCE_US ((int64_t)1800 * 1000000)

_Noreturn void gx_measure_die(const struct gx_measure *m, const char *what, const char *why)
{
    fprintf(stderr, "%s: %s: %s\n", m->program, what, why);
    exit(1);
}

static _Noreturn void die(const struct gx_measure *m, const char *what)
{
    gx_measure_die(m, what, gx_client_error());
}

void *gx_measure_alloc(const struct gx_measure *m, size_t n, size_t size)
{
    void *p = calloc(n == 0 ? 1 : n, size);
    if (p == NULL)
        gx_measure_die(m, "memory", "there is none left");
    return p;
}

void gx_measure_pause(int64_t us)
{
    nanosleep(&(struct timespec){us / 1000000, us % 1000000 * 1000}, NULL);
}

double gx_measure_since(int64_t start_us)
{
    return (double)(gx_clock_monotonic_us() - start_us) / 1e6;
}

gx_client *gx_measure_connect(const struct gx_measure *m)
{
    gx_client *client;
    struct gx_client_options options = {.server = m->server, .deadline_us = PATIENCE_US, .retries = -1};
    if (gx_client_open(&options, &client) != GX_OK)
        die(m, "connect");
    return client;
}

/* --- reporting --- */

static void cpu_model(char *out, size_t n)
{
    char line[256];
    FILE *f = fopen("/proc/cpuinfo", "re");
    snprintf(out, n, "unknown");
    while (f != NULL && fgets(line, sizeof(line), f) != NULL)
        if (sscanf(line, "model name : %99[^\n]", out) == 1)
            break;
    if (f != NULL)
        fclose(f);
}

/* The commit that is measured, "-dirty" cut off: of the one who runs the program, or of the folder it runs in. */
static bool commit_of(char *out, size_t n)
{
    static const char dirty[] = "-dirty";
    const char *given = getenv("INDEXD_COMMIT");
    snprintf(out, n, "%s", given == NULL ? "" : given);
    FILE *f = given == NULL ? popen("git describe --always --dirty --abbrev=10 2>/dev/null", "r") : NULL;
    if (f != NULL && fgets(out, (int)n, f) == NULL)
        out[0] = '\0';
    if (f != NULL)
        pclose(f);
    out[strcspn(out, "\n")] = '\0';
    if (out[0] == '\0')
        snprintf(out, n, "unknown");
    size_t len = strlen(out), tail = sizeof(dirty) - 1;
    if (len <= tail || strcmp(out + len - tail, dirty) != 0)
        return false;
    out[len - tail] = '\0';
    return true;
}

void gx_measure_report(const struct gx_measure *m, const char *what, json_t *figures)
{
    static char cpu[100], commit[100];
    static bool dirty;
    if (cpu[0] == '\0') {
        cpu_model(cpu, sizeof(cpu));
        dirty = commit_of(commit, sizeof(commit));
    }
    double load = 0;
    (void)getloadavg(&load, 1);
    json_t *line =
        json_pack("{s:s, s:s, s:b, s:s, s:i, s:f, s:I, s:I, s:i, s:s}", "bench", what, "commit", commit, "dirty", dirty,
                  "cpu", cpu, "cores", (int)sysconf(_SC_NPROCESSORS_ONLN), "load", load, "seed", (json_int_t)m->seed,
                  "rows", (json_int_t)m->rows, "dim", (int)m->dim, "engine", m->engine);
    json_object_update(line, figures);
    json_decref(figures);
    json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
    printf("\n");
    fflush(stdout);
    json_decref(line);
}

void gx_measure_add(const struct gx_measure *m, struct gx_measure_series *series, double us)
{
    if (series->n == series->max) {
        series->max = series->max * 2 + 64;
        series->us = reallocarray(series->us, series->max, sizeof(*series->us));
        if (series->us == NULL)
            gx_measure_die(m, "memory", "there is none left");
    }
    series->us[series->n++] = us;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double gx_measure_quantile(struct gx_measure_series *series, unsigned percent)
{
    if (series->n == 0)
        return 0;
    qsort(series->us, series->n, sizeof(*series->us), compare_doubles);
    return series->us[percent >= 100 ? series->n - 1 : series->n * percent / 100];
}

json_t *gx_measure_distribution(struct gx_measure_series *series)
{
    return json_pack("{s:I, s:f, s:f, s:f, s:f}", "n", (json_int_t)series->n, "min_us", gx_measure_quantile(series, 0),
                     "p50_us", gx_measure_quantile(series, 50), "p99_us", gx_measure_quantile(series, 99), "max_us",
                     gx_measure_quantile(series, 100));
}

/* --- the gallery --- */

struct gx_measure_batch *gx_measure_batch_new(const struct gx_measure *m)
{
    struct gx_measure_batch *batch = gx_measure_alloc(m, 1, sizeof(*batch));
    batch->rows = gx_measure_alloc(m, (size_t)GX_MEASURE_BATCH * m->dim, sizeof(float));
    return batch;
}

void gx_measure_batch_free(struct gx_measure_batch *batch)
{
    free(batch->rows);
    free(batch);
}

void gx_measure_batch_fill(const struct gx_measure *m, struct gx_measure_batch *batch, uint64_t first, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct gx_people_photo photo;
        gx_people_row(&m->people, first + i, batch->rows + i * m->dim, &photo);
        gx_people_record_id(first + i, batch->ids[i][0]);
        gx_people_subject_id(photo.person, batch->ids[i][1]);
        gx_people_arrest_id(photo.person, photo.arrest, batch->ids[i][2]);
        batch->records[i] = (struct gx_client_record){
            .record_id = batch->ids[i][0], .subject_id = batch->ids[i][1], .arrest_id = batch->ids[i][2]};
    }
}

struct gx_client_gallery_stats gx_measure_stats(const struct gx_measure *m, gx_client *client)
{
    struct gx_client_gallery_stats stats;
    if (gx_client_gallery_stats(client, m->gallery, &stats) != GX_OK)
        die(m, "statistics of the gallery");
    return stats;
}

static void wait_until_indexed(const struct gx_measure *m, gx_client *client)
{
    struct gx_client_gallery_stats stats;
    do {
        gx_measure_pause(50000);
        stats = gx_measure_stats(m, client);
    } while (strcmp(m->engine, "flat") != 0 && (stats.build.running || stats.tail > 0));
}

void gx_measure_fill_gallery(const struct gx_measure *m, gx_client *client, const char *what)
{
    gx_client_stream *stream;
    struct gx_measure_batch *batch = gx_measure_batch_new(m);
    int64_t start = gx_clock_monotonic_us();
    if (gx_client_gallery_create(client, m->gallery, m->dim, GX_MEASURE_EMBEDDER, m->engine, 0, NULL) != GX_OK)
        die(m, "create the gallery");
    if (gx_measure_stats(m, client).records > 0)
        gx_measure_die(m, m->gallery, "the gallery holds records: delete it, or name another one");
    if (gx_client_stream_open(client, m->gallery, GX_MEASURE_EMBEDDER, &stream) != GX_OK)
        die(m, "open the stream");
    for (uint64_t i = 0; i < m->rows; i += GX_MEASURE_BATCH) {
        size_t n = m->rows - i < GX_MEASURE_BATCH ? (size_t)(m->rows - i) : GX_MEASURE_BATCH;
        gx_measure_batch_fill(m, batch, i, n);
        if (gx_client_stream_send(stream, batch->records, batch->rows, n, m->dim) != GX_OK)
            die(m, "send");
    }
    if (gx_client_stream_close(stream, NULL) != GX_OK)
        die(m, "close the stream");
    gx_measure_batch_free(batch);
    double sent_s = gx_measure_since(start);
    wait_until_indexed(m, client);
    gx_measure_report(m, what, json_pack("{s:f, s:f}", "sent_s", sent_s, "indexed_s", gx_measure_since(start)));
}

/* --- tickets --- */

struct count {
    uint64_t n, verified, failed, by_bytes;
};

static struct count count_tickets(const struct gx_measure *m, gx_client *client)
{
    struct count c = {0};
    char token[512] = "";
    do {
        struct gx_client_tickets *page;
        if (gx_client_ticket_list(client, m->gallery, GX_PAGE_MAX, token[0] == '\0' ? NULL : token, &page) != GX_OK)
            die(m, "list tickets");
        for (size_t i = 0; i < page->n_tickets; i++) {
            c.n++;
            c.verified += page->tickets[i].state == GX_CLIENT_TICKET_VERIFIED;
            c.failed += page->tickets[i].failed_at_us != 0; /* it may have got over it */
            c.by_bytes += page->tickets[i].method == GX_CLIENT_VERIFY_BYTES;
        }
        snprintf(token, sizeof(token), "%s", page->next_page_token);
        gx_client_tickets_free(page);
    } while (token[0] != '\0');
    return c;
}

bool gx_measure_wait_verified(const struct gx_measure *m, gx_client *client, const char *what)
{
    int64_t start = gx_clock_monotonic_us();
    struct count c = count_tickets(m, client);
    while (c.verified < c.n && gx_clock_monotonic_us() - start < PATIENCE_US) {
        gx_measure_pause(50000);
        c = count_tickets(m, client);
    }
    gx_measure_report(m, what,
                      json_pack("{s:f, s:I, s:I, s:I, s:I}", "seconds", gx_measure_since(start), "tickets",
                                (json_int_t)c.n, "verified", (json_int_t)c.verified, "failed", (json_int_t)c.failed,
                                "verified_by_bytes", (json_int_t)c.by_bytes));
    return c.verified == c.n && c.failed == 0;
}
