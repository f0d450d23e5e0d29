/* Recall and latency of engines on a gallery that a running server holds: each engine is built online (BuildIndex),
 * then every probe is searched through gRPC, one at a time.
 *
 * Recall@k: the share of the k best of the exact search (exact = true, same run) whose cosine a returned candidate
 * reaches; ties count as equal. The exact search itself is held against PREFIX_gt100.ivecs where that file is. Mated
 * probes: those whose person is enrolled; rank-1: the best candidate is that person. One line per engine. */
#include <argp.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "indexd/client.h"

#define K           50
#define ENGINES_MAX 32

static struct {
    const char *server, *gallery, *data;
    char *engines[ENGINES_MAX];
    size_t n_engines, probes_max;
    bool json;
} args = {.server = "127.0.0.1:7600", .probes_max = 100000};

/* What one search gave. */
struct answer {
    size_t n;
    float cosine[K];
    char *record[K];
    char *subject;
};

static struct gx_client_gallery gallery;
static gx_client *client;
static size_t n_probes, dim;
static float *probes;
static char **probe_subjects, **gallery_records, **gallery_subjects;
static size_t n_gallery;
static struct answer *exact;

static void die(const char *what, const char *why)
{
    fprintf(stderr, "engines: %s: %s\n", what, why);
    exit(1);
}

/* --- files --- */

static FILE *open_part(const char *suffix, bool required)
{
    char path[1024];
    snprintf(path, sizeof(path), "%s_%s", args.data, suffix);
    FILE *f = fopen(path, "re");
    if (f == NULL && required)
        die(path, "cannot be opened");
    return f;
}

static void *grow(void *p, size_t n, size_t size)
{
    p = reallocarray(p, n, size);
    if (p == NULL)
        die("read", "out of memory");
    return p;
}

static void read_probes(void)
{
    FILE *f = open_part("probes.fvecs", true);
    int32_t d;
    while (n_probes < args.probes_max && fread(&d, sizeof(d), 1, f) == 1) {
        if (d < 1 || (n_probes > 0 && (size_t)d != dim))
            die("probes.fvecs", "rows of different dimension");
        dim = (size_t)d;
        if ((n_probes & (n_probes - 1)) == 0)
            probes = grow(probes, 2 * n_probes + 1, dim * sizeof(float));
        if (fread(probes + n_probes * dim, sizeof(float), dim, f) != dim)
            die("probes.fvecs", "cut short");
        n_probes++;
    }
    fclose(f);
    if (n_probes == 0)
        die("probes.fvecs", "empty");
}

static char **read_lines(const char *suffix, size_t *out_n)
{
    FILE *f = open_part(suffix, false);
    char **lines = NULL, line[512];
    *out_n = 0;
    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        if ((*out_n & (*out_n - 1)) == 0)
            lines = grow(lines, 2 * *out_n + 1, sizeof(*lines));
        lines[(*out_n)++] = strdup(line);
    }
    if (f != NULL)
        fclose(f);
    return lines;
}

/* --- searching --- */

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void search_one(size_t i, bool exactly, struct answer *out, double *out_us, struct gx_client_stats *out_stats)
{
    struct gx_client_search search = {.k = K, .exact = exactly};
    struct gx_client_result *result;
    int64_t start = gx_clock_monotonic_us();
    if (gx_client_search(client, args.gallery, gallery.embedder_id, gallery.embedder_version, probes + i * dim, 1, dim,
                         &search, &result) != GX_OK)
        die("search", gx_client_error());
    *out_us = (double)(gx_clock_monotonic_us() - start);
    const struct gx_client_answer *a = &result->answers[0];
    out->n = a->n_candidates;
    for (size_t j = 0; j < a->n_candidates; j++) {
        out->cosine[j] = a->candidates[j].cosine;
        out->record[j] = strdup(a->candidates[j].record_id);
    }
    out->subject = strdup(a->n_candidates > 0 ? a->candidates[0].subject_id : "");
    *out_stats = a->stats;
    out_stats->engine = NULL;
    gx_client_result_free(result);
}

static void forget(struct answer *a)
{
    for (size_t j = 0; j < a->n; j++)
        free(a->record[j]);
    free(a->subject);
}

struct figures {
    double recall[3], rank1, p50_us, p99_us, scanned;
    size_t n_mated;
};
static const size_t ks[3] = {1, 10, 50};

static double recall_of(const struct answer *got, const struct answer *truth, size_t k)
{
    size_t n = k < truth->n ? k : truth->n, hits = 0;
    for (size_t j = 0; j < n && j < got->n; j++)
        hits += got->cosine[j] >= truth->cosine[n - 1];
    return n == 0 ? 1 : (double)hits / (double)n;
}

static bool is_enrolled(const char *subject)
{
    for (size_t i = 0; i < n_gallery; i++)
        if (strcmp(gallery_subjects[i], subject) == 0)
            return true;
    return false;
}

static struct figures measure(bool exactly)
{
    struct figures f = {0};
    double *us = grow(NULL, n_probes, sizeof(*us));
    static bool *mated;
    if (mated == NULL) {
        mated = grow(NULL, n_probes, sizeof(*mated));
        for (size_t i = 0; i < n_probes; i++)
            mated[i] = probe_subjects != NULL && is_enrolled(probe_subjects[i]);
    }
    for (size_t i = 0; i < n_probes; i++) {
        struct answer a = {0};
        struct gx_client_stats stats;
        search_one(i, exactly, &a, &us[i], &stats);
        for (size_t j = 0; j < 3; j++)
            f.recall[j] += recall_of(&a, exactly ? &a : &exact[i], ks[j]) / (double)n_probes;
        f.scanned += (double)stats.scanned / (double)n_probes;
        f.n_mated += mated[i];
        f.rank1 += mated[i] && strcmp(a.subject, probe_subjects[i]) == 0;
        if (exactly)
            exact[i] = a;
        else
            forget(&a);
    }
    qsort(us, n_probes, sizeof(*us), compare_doubles);
    f.p50_us = us[n_probes / 2];
    f.p99_us = us[n_probes * 99 / 100];
    f.rank1 = f.n_mated == 0 ? 0 : f.rank1 / (double)f.n_mated;
    free(us);
    return f;
}

/* Recall of the exact lists against the truth file; -1 without one. */
static bool compare_with_truth(double out_recall[3])
{
    FILE *f = open_part("gt100.ivecs", false);
    int32_t n, row[1000];
    if (f == NULL || gallery_records == NULL)
        return false;
    for (size_t i = 0; i < n_probes; i++) {
        if (fread(&n, sizeof(n), 1, f) != 1 || n < K || n > 1000 || fread(row, sizeof(*row), (size_t)n, f) != (size_t)n)
            die("gt100.ivecs", "cut short, or of fewer rows than 50");
        for (size_t j = 0; j < 3; j++) {
            size_t hits = 0;
            for (size_t a = 0; a < ks[j]; a++)
                for (size_t b = 0; b < ks[j] && b < exact[i].n; b++)
                    hits += (size_t)row[a] < n_gallery && strcmp(gallery_records[row[a]], exact[i].record[b]) == 0;
            out_recall[j] += (double)hits / (double)ks[j] / (double)n_probes;
        }
    }
    fclose(f);
    return true;
}

/* --- engines --- */

static double build(const char *engine)
{
    struct gx_client_gallery_stats stats;
    int64_t start = gx_clock_monotonic_us();
    if (gx_client_gallery_build(client, args.gallery, engine, NULL) != GX_OK)
        die(engine, gx_client_error());
    do {
        nanosleep(&(struct timespec){0, 20000000}, NULL);
        if (gx_client_gallery_stats(client, args.gallery, &stats) != GX_OK)
            die(engine, gx_client_error());
    } while (stats.build.running);
    if (stats.build.problem[0] != '\0')
        die(engine, stats.build.problem);
    return (double)(gx_clock_monotonic_us() - start) / 1e6;
}

static void print_line(const char *engine, const struct figures *f, double build_s)
{
    if (args.json) {
        json_t *line = json_pack("{s:s, s:s, s:I, s:I, s:i, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "bench",
                                 "engines", "engine", engine, "probes", (json_int_t)n_probes, "mated_probes",
                                 (json_int_t)f->n_mated, "k", K, "recall_at_1", f->recall[0], "recall_at_10",
                                 f->recall[1], "recall_at_50", f->recall[2], "rank_1_of_mated", f->rank1, "p50_us",
                                 f->p50_us, "p99_us", f->p99_us, "scanned", f->scanned, "build_s", build_s);
        json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(6));
        printf("\n");
        json_decref(line);
    } else {
        printf("  %-30s %9.4f %10.4f %10.4f %8.4f %9.2f %9.2f %9.1f\n", engine, f->recall[0], f->recall[1],
               f->recall[2], f->rank1, f->p50_us / 1000, f->p99_us / 1000, build_s);
    }
    fflush(stdout);
}

/* --- command line --- */

static const struct argp_option options[] = {
    {"server", 's', "ADDRESS", 0, "The running server (127.0.0.1:7600)", 0},
    {"gallery", 'g', "NAME", 0, "Gallery that holds PREFIX_gallery.fvecs", 0},
    {"data", 'd', "PREFIX", 0, "PREFIX_probes.fvecs; also _probes.subjects, _gallery.records, _gt100.ivecs", 0},
    {"probes", 'n', "N", 0, "At most so many probes", 0},
    {"json", 'j', NULL, 0, "One JSON object per line", 0},
    {0},
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
    (void)state;
    switch (key) {
    case 's': args.server = arg; return 0;
    case 'g': args.gallery = arg; return 0;
    case 'd': args.data = arg; return 0;
    case 'n': args.probes_max = strtoull(arg, NULL, 10); return 0;
    case 'j': args.json = true; return 0;
    case ARGP_KEY_ARG:
        if (args.n_engines == ENGINES_MAX)
            return ARGP_ERR_UNKNOWN;
        args.engines[args.n_engines++] = arg;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

int main(int argc, char **argv)
{
    static const struct argp argp = {options, parse_option, "ENGINE...", "Recall and latency of engines.",
                                     NULL,    NULL,         NULL};
    size_t n;
    argp_parse(&argp, argc, argv, 0, NULL, NULL);
    if (args.gallery == NULL || args.data == NULL)
        die("usage", "--gallery and --data are needed; --help");
    struct gx_client_options client_options = {.server = args.server};
    if (gx_client_open(&client_options, &client) != GX_OK ||
        gx_client_gallery_get(client, args.gallery, &gallery) != GX_OK)
        die(args.server, gx_client_error());
    read_probes();
    probe_subjects = read_lines("probes.subjects", &n);
    gallery_records = read_lines("gallery.records", &n_gallery);
    gallery_subjects = read_lines("gallery.subjects", &n);
    if (n != n_gallery)
        gallery_subjects = NULL;
    exact = calloc(n_probes, sizeof(*exact));
    if (exact == NULL || gallery_subjects == NULL)
        die(args.data, "subjects and records of the gallery are needed, one line each");
    if (!args.json)
        printf("  %-30s %9s %10s %10s %8s %9s %9s %9s\n", "engine", "recall@1", "recall@10", "recall@50", "rank-1",
               "p50 ms", "p99 ms", "build s");
    struct figures f = measure(true);
    double truth[3] = {0};
    if (compare_with_truth(truth)) {
        memcpy(f.recall, truth, sizeof(truth));
        print_line("exact (against the truth file)", &f, 0);
    } else {
        print_line("exact", &f, 0);
    }
    for (size_t i = 0; i < args.n_engines; i++) {
        double build_s = build(args.engines[i]);
        f = measure(false);
        print_line(args.engines[i], &f, build_s);
    }
    gx_client_close(client);
    return 0;
}
