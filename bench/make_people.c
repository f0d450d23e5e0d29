/* make_people: writes a synthetic gallery with probes as files, or measures such files.
 *
 * The path of writing: rows and ids of the gallery, one at a time; probes; with --truth the 100 best rows of each
 * probe: threads take blocks of rows, make them anew and score them against all probes in float32, each keeping some
 * more than 100 per probe; the kept ones are scored again in float64. Where the float32 error bound cannot exclude that
 * a better row was dropped, the probe is done again in float64 from the beginning, so the answer is exact.
 *
 * What can go wrong: the disk fills up (exit status 1, files incomplete). The scoring is deliberately not the server's:
 * it is what the server is judged by. */
#include "people.h"
#include "people_stats.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the files are little endian and written as they stand");

#define TRUTH      100u /* best rows per probe */
#define SPARE      64u  /* kept beyond them until they are rescored */
#define BLOCK      16u  /* rows that a thread takes at a time: they stay in the nearest cache */
#define QUERIES    5000u
#define THREAD_MAX 256u

static const char usage[] =
    "usage: make_people [options] PREFIX\n"
    "Writes synthetic face embeddings that behave like real ones:\n"
    "  PREFIX_gallery.fvecs, .records, .subjects, .arrests   rows and their ids, one line each\n"
    "  PREFIX_probes.fvecs, .subjects                        82 of 100 show somebody of the gallery\n"
    "  PREFIX_gt100.ivecs                                    with --truth: the 100 best rows per probe, best first\n"
    "(.fvecs: per row int32 dimension, then float32 values; .ivecs the same with int32 row numbers; little endian)\n"
    "  --rows N      photos in the gallery (100000)\n"
    "  --probes N    probes (5000)\n"
    "  --dim N       dimension, 2 to 4096 (512)\n"
    "  --seed N      the same seed gives the same files (1)\n"
    "  --truth       find the 100 best rows of every probe, exactly; takes a while\n"
    "  --threads N   for --truth (one per processor)\n"
    "  --measure     write nothing: read PREFIX_gallery.* and PREFIX_probes.* and print their statistics\n"
    "  --help        this text\n";

struct options {
    uint64_t rows, probes, dim, seed, threads;
    bool truth, measure;
    const char *prefix;
};

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("make_people: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void *allocate(size_t n, size_t size)
{
    void *p = calloc(n > 0 ? n : 1, size);
    if (p == NULL)
        die("out of memory: use fewer rows or probes");
    return p;
}

/* ---- files ---- */

struct file {
    FILE *stream;
    char path[4096];
};

static void file_open(struct file *f, const char *prefix, const char *suffix, const char *mode)
{
    int n = snprintf(f->path, sizeof f->path, "%s_%s", prefix, suffix);
    if (n < 0 || (size_t)n >= sizeof f->path)
        die("PREFIX is too long");
    f->stream = fopen(f->path, mode);
    if (f->stream == NULL)
        die("cannot open %s: %s", f->path, strerror(errno));
}

static void file_close(struct file *f)
{
    bool bad = ferror(f->stream) != 0;
    if (fclose(f->stream) != 0 || bad)
        die("cannot write %s: %s", f->path, strerror(errno));
}

/* A row of an .fvecs or .ivecs file. Stops at once when the disk is full: the next gigabytes will not fit either. */
static void put_row(struct file *f, const void *values, uint32_t n)
{
    if (fwrite(&n, sizeof n, 1, f->stream) != 1 || fwrite(values, 4, n, f->stream) != n)
        die("cannot write %s: %s", f->path, strerror(errno));
}

static void put_line(struct file *f, const char *text)
{
    if (fprintf(f->stream, "%s\n", text) < 0)
        die("cannot write %s: %s", f->path, strerror(errno));
}

static void write_gallery(const struct gx_people *p, const char *prefix)
{
    struct file rows, records, subjects, arrests;
    file_open(&rows, prefix, "gallery.fvecs", "wb");
    file_open(&records, prefix, "gallery.records", "w");
    file_open(&subjects, prefix, "gallery.subjects", "w");
    file_open(&arrests, prefix, "gallery.arrests", "w");
    float *row = allocate(p->dim, sizeof *row);
    for (uint64_t i = 0; i < p->n_rows; i++) {
        char id[GX_PEOPLE_ID_MAX];
        struct gx_people_photo photo;
        gx_people_row(p, i, row, &photo);
        put_row(&rows, row, p->dim);
        gx_people_record_id(i, id);
        put_line(&records, id);
        gx_people_subject_id(photo.person, id);
        put_line(&subjects, id);
        gx_people_arrest_id(photo.person, photo.arrest, id);
        put_line(&arrests, id);
    }
    free(row);
    file_close(&rows);
    file_close(&records);
    file_close(&subjects);
    file_close(&arrests);
}

static void write_probes(const struct gx_people *p, const char *prefix, uint64_t n)
{
    struct file rows, subjects;
    file_open(&rows, prefix, "probes.fvecs", "wb");
    file_open(&subjects, prefix, "probes.subjects", "w");
    float *row = allocate(p->dim, sizeof *row);
    for (uint64_t j = 0; j < n; j++) {
        char id[GX_PEOPLE_ID_MAX];
        uint64_t person;
        gx_people_probe(p, j, row, &person);
        put_row(&rows, row, p->dim);
        gx_people_subject_id(person, id);
        put_line(&subjects, id);
    }
    free(row);
    file_close(&rows);
    file_close(&subjects);
}

/* ---- truth ---- */

struct hit {
    double score;
    uint64_t row;
};

/* The best hits of one probe: a heap with the worst on top. */
struct best {
    struct hit *hits;
    uint32_t n, size;
};

struct truth {
    const struct gx_people *p;
    const float *probes;      /* [n_probes][dim] */
    const uint32_t *which;    /* [n_which]: the probes of this pass */
    uint32_t n_which, n_keep; /* hits per probe and thread */
    bool exact;               /* this pass scores in float64 */
    _Atomic uint64_t next;    /* block of rows, or probe, that nobody has taken yet */
    uint32_t n_threads;
    struct best *best; /* [n_threads][n_which] */
    int32_t *answer;   /* [n_probes][TRUTH] */
    bool *unproven;    /* [n_probes] */
};

struct worker {
    struct truth *t;
    uint32_t number;
    pthread_t thread;
};

static bool hit_better(struct hit a, struct hit b)
{
    return a.score > b.score || (a.score == b.score && a.row < b.row);
}

static int hit_compare(const void *a, const void *b)
{
    const struct hit *x = a, *y = b;
    return hit_better(*x, *y) ? -1 : hit_better(*y, *x);
}

static void best_offer(struct best *b, struct hit hit)
{
    uint32_t at;
    if (b->n < b->size) {
        for (at = b->n++; at > 0 && hit_better(b->hits[(at - 1) / 2], hit); at = (at - 1) / 2)
            b->hits[at] = b->hits[(at - 1) / 2];
    } else {
        if (!hit_better(hit, b->hits[0]))
            return;
        at = 0;
        for (uint32_t child; (child = 2 * at + 1) < b->n; at = child) {
            if (child + 1 < b->n && hit_better(b->hits[child], b->hits[child + 1]))
                child++;
            if (!hit_better(hit, b->hits[child]))
                break;
            b->hits[at] = b->hits[child];
        }
    }
    b->hits[at] = hit;
}

static double cosine64(const float *a, const float *b, size_t n)
{
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < n; i++) {
        ab += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    return ab / sqrt(aa * bb);
}

typedef float lanes __attribute__((vector_size(32), aligned(4), may_alias));

static inline __attribute__((always_inline)) float lanes_sum(const lanes *a)
{
    const lanes s = *a;
    return ((s[0] + s[4]) + (s[1] + s[5])) + ((s[2] + s[6]) + (s[3] + s[7]));
}

/* Four sums by name: an array of them would live in memory. */
static inline __attribute__((always_inline)) void dot4_any(const float *probe, const float *rows, size_t dim,
                                                           float out[4])
{
    const float *r0 = rows, *r1 = rows + dim, *r2 = rows + 2 * dim, *r3 = rows + 3 * dim;
    lanes s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
    size_t i = 0;
    for (; i + 8 <= dim; i += 8) {
        lanes x = *(const lanes *)(probe + i);
        s0 += x * *(const lanes *)(r0 + i);
        s1 += x * *(const lanes *)(r1 + i);
        s2 += x * *(const lanes *)(r2 + i);
        s3 += x * *(const lanes *)(r3 + i);
    }
    out[0] = lanes_sum(&s0);
    out[1] = lanes_sum(&s1);
    out[2] = lanes_sum(&s2);
    out[3] = lanes_sum(&s3);
    for (; i < dim; i++) {
        out[0] += probe[i] * r0[i];
        out[1] += probe[i] * r1[i];
        out[2] += probe[i] * r2[i];
        out[3] += probe[i] * r3[i];
    }
}

static void dot4_portable(const float *probe, const float *rows, size_t dim, float out[4])
{
    dot4_any(probe, rows, dim, out);
}

typedef void dot4_function(const float *, const float *, size_t, float[4]);

#ifdef __x86_64__
__attribute__((target("avx2"))) static void dot4_avx2(const float *probe, const float *rows, size_t dim, float out[4])
{
    dot4_any(probe, rows, dim, out);
}

static dot4_function *dot4_choose(void)
{
    return __builtin_cpu_supports("avx2") ? dot4_avx2 : dot4_portable;
}
#else
static dot4_function *dot4_choose(void)
{
    return dot4_portable;
}
#endif

/* Scores @n rows from @first on, with zeros behind them up to a multiple of 4. */
static void score_block(const struct truth *t, struct best *best, const float *rows, uint64_t first, uint32_t n,
                        dot4_function *dot4)
{
    size_t dim = t->p->dim;
    for (uint32_t w = 0; w < t->n_which; w++) {
        const float *probe = t->probes + t->which[w] * dim;
        for (uint32_t i = 0; i < n; i += 4) {
            float score[4] = {0};
            if (!t->exact)
                dot4(probe, rows + i * dim, dim, score);
            for (uint32_t r = 0; r < 4 && i + r < n; r++) {
                double s = t->exact ? cosine64(probe, rows + (i + r) * dim, dim) : (double)score[r];
                if (best[w].n < best[w].size || s >= best[w].hits[0].score)
                    best_offer(&best[w], (struct hit){s, first + i + r});
            }
        }
    }
}

static void *score_thread(void *arg)
{
    struct worker *w = arg;
    struct truth *t = w->t;
    size_t dim = t->p->dim;
    float *rows = allocate(BLOCK * dim, sizeof *rows);
    for (;;) {
        uint64_t first = atomic_fetch_add(&t->next, 1) * BLOCK;
        if (first >= t->p->n_rows)
            break;
        uint32_t n = t->p->n_rows - first < BLOCK ? (uint32_t)(t->p->n_rows - first) : BLOCK;
        for (uint32_t i = 0; i < n; i++)
            gx_people_row(t->p, first + i, rows + i * dim, NULL);
        score_block(t, t->best + (size_t)w->number * t->n_which, rows, first, n, dot4_choose());
    }
    free(rows);
    return NULL;
}

/* Merges what the threads kept of one probe, rescores it and writes down the answer. */
static void settle(struct truth *t, uint32_t w, struct hit *hits, float *row)
{
    size_t dim = t->p->dim, n = 0;
    uint32_t probe = t->which[w];
    for (uint32_t k = 0; k < t->n_threads; k++) {
        const struct best *b = &t->best[(size_t)k * t->n_which + w];
        memcpy(hits + n, b->hits, b->n * sizeof *hits);
        n += b->n;
    }
    qsort(hits, n, sizeof *hits, hit_compare);
    n = n < t->n_keep ? n : t->n_keep;
    t->unproven[probe] = false;
    if (!t->exact) {
        double worst = hits[n - 1].score; /* nothing better than this was dropped */
        for (size_t i = 0; i < n; i++) {
            gx_people_row(t->p, hits[i].row, row, NULL);
            hits[i].score = cosine64(t->probes + probe * dim, row, dim);
        }
        qsort(hits, n, sizeof *hits, hit_compare);
        /* unit vectors: the float32 sums are wrong by at most (terms per lane + lanes) * 2^-24, the lengths by less */
        double error = 2 * ((double)dim / 8 + 16) * 0x1p-24;
        t->unproven[probe] = n < t->p->n_rows && hits[TRUTH - 1].score <= worst + error;
    }
    for (size_t i = 0; i < TRUTH && i < n; i++)
        t->answer[(size_t)probe * TRUTH + i] = (int32_t)hits[i].row;
}

static void *settle_thread(void *arg)
{
    struct worker *w = arg;
    struct truth *t = w->t;
    struct hit *hits = allocate((size_t)t->n_threads * t->n_keep, sizeof *hits);
    float *row = allocate(t->p->dim, sizeof *row);
    for (uint64_t i; (i = atomic_fetch_add(&t->next, 1)) < t->n_which;)
        settle(t, (uint32_t)i, hits, row);
    free(hits);
    free(row);
    return NULL;
}

static void run_threads(struct truth *t, void *(*run)(void *))
{
    struct worker worker[THREAD_MAX];
    atomic_store(&t->next, 0);
    for (uint32_t i = 0; i < t->n_threads; i++) {
        worker[i] = (struct worker){.t = t, .number = i};
        if (pthread_create(&worker[i].thread, NULL, run, &worker[i]) != 0)
            die("cannot start a thread: use fewer --threads");
    }
    for (uint32_t i = 0; i < t->n_threads; i++)
        pthread_join(worker[i].thread, NULL);
}

/* One pass over the gallery for the probes in t->which. */
static void truth_pass(struct truth *t)
{
    size_t n = (size_t)t->n_threads * t->n_which;
    t->n_keep = t->exact ? TRUTH : TRUTH + SPARE;
    struct hit *hits = allocate(n * t->n_keep, sizeof *hits);
    t->best = allocate(n, sizeof *t->best);
    for (size_t i = 0; i < n; i++)
        t->best[i] = (struct best){.hits = hits + i * t->n_keep, .size = t->n_keep};
    run_threads(t, score_thread);
    run_threads(t, settle_thread);
    free(hits);
    free(t->best);
}

static void write_truth(const struct gx_people *p, const struct options *o)
{
    uint32_t n = (uint32_t)o->probes, per_probe = p->n_rows < TRUTH ? (uint32_t)p->n_rows : TRUTH;
    float *probes = allocate((size_t)n * p->dim, sizeof *probes);
    uint32_t *which = allocate(n, sizeof *which);
    struct truth t = {.p = p, .probes = probes, .which = which, .n_which = n, .n_threads = (uint32_t)o->threads};
    t.answer = allocate((size_t)n * TRUTH, sizeof *t.answer);
    t.unproven = allocate(n, sizeof *t.unproven);
    for (uint32_t j = 0; j < n; j++) {
        gx_people_probe(p, j, probes + (size_t)j * p->dim, NULL);
        which[j] = j;
    }
    truth_pass(&t);
    t.n_which = 0;
    for (uint32_t j = 0; j < n; j++)
        if (t.unproven[j])
            which[t.n_which++] = j;
    if (t.n_which > 0) {
        fprintf(stderr, "make_people: %" PRIu32 " probes have near ties: scoring them in float64\n", t.n_which);
        t.exact = true;
        truth_pass(&t);
    }
    struct file f;
    file_open(&f, o->prefix, "gt100.ivecs", "wb");
    for (uint32_t j = 0; j < n; j++)
        put_row(&f, t.answer + (size_t)j * TRUTH, per_probe);
    file_close(&f);
    free(probes);
    free(which);
    free(t.answer);
    free(t.unproven);
}

/* ---- measuring ---- */

static void read_sample(const char *prefix, const char *name, struct gx_people_sample *out)
{
    char suffix[64], line[1024];
    struct file rows, subjects;
    snprintf(suffix, sizeof suffix, "%s.fvecs", name);
    file_open(&rows, prefix, suffix, "rb");
    snprintf(suffix, sizeof suffix, "%s.subjects", name);
    file_open(&subjects, prefix, suffix, "r");
    uint32_t dim;
    if (fread(&dim, sizeof dim, 1, rows.stream) != 1 || dim < GX_PEOPLE_DIM_MIN || dim > GX_PEOPLE_DIM_MAX)
        die("%s is not an .fvecs file with 2 to 4096 dimensions", rows.path);
    if (fseeko(rows.stream, 0, SEEK_END) != 0)
        die("cannot read %s: %s", rows.path, strerror(errno));
    size_t n = (size_t)ftello(rows.stream) / (4 * ((size_t)dim + 1));
    rewind(rows.stream);
    float *values = allocate(n * dim, sizeof *values);
    uint64_t *person = allocate(n, sizeof *person);
    for (size_t i = 0; i < n; i++) {
        uint32_t d;
        float *row = values + i * dim;
        if (fread(&d, sizeof d, 1, rows.stream) != 1 || d != dim || fread(row, 4, dim, rows.stream) != dim)
            die("%s: a row is not of the first one's dimension", rows.path);
        if (fgets(line, sizeof line, subjects.stream) == NULL)
            die("%s has fewer lines than %s has rows", subjects.path, rows.path);
        person[i] = UINT64_C(0xcbf29ce484222325);
        for (const char *c = line; *c != '\0' && *c != '\n'; c++)
            person[i] = (person[i] ^ (uint8_t)*c) * UINT64_C(0x100000001b3);
        double length2 = 0;
        for (size_t k = 0; k < dim; k++)
            length2 += (double)row[k] * (double)row[k];
        for (size_t k = 0; k < dim; k++)
            row[k] = (float)((double)row[k] / sqrt(length2));
    }
    fclose(rows.stream);
    fclose(subjects.stream);
    *out = (struct gx_people_sample){.rows = values, .person = person, .n = n, .dim = dim};
}

static void measure(const char *prefix)
{
    struct gx_people_sample gallery, probes;
    struct gx_people_stats s;
    read_sample(prefix, "gallery", &gallery);
    read_sample(prefix, "probes", &probes);
    if (probes.dim != gallery.dim)
        die("gallery and probes differ in dimension");
    if (!gx_people_stats_measure(&gallery, &probes, QUERIES, &s))
        die("out of memory");
    printf("rows                              %zu x %zu\n", gallery.n, gallery.dim);
    printf("photos per person                 %.2f\n", s.photos);
    printf("genuine cosine                    %.3f +- %.3f (%zu pairs)\n", s.genuine_mean, s.genuine_sd,
           s.genuine_pairs);
    printf("genuine cosine, 0.1 percentile    %.3f\n", s.genuine_low);
    printf("impostor cosine                   %.4f +- %.4f\n", s.impostor_mean, s.impostor_sd);
    printf("impostor cosine, 99.99 percentile %.3f\n", s.impostor_high);
    printf("components for 90 %% of energy     %zu\n", s.components_90);
    printf("local dimension, one per person   %.1f\n", s.lid_one);
    printf("local dimension, all photos       %.1f\n", s.lid_all);
    printf("mated probes                      %.3f of %zu\n", s.mated, s.probes);
    printf("nearest mate, median              %.3f\n", s.mate_median);
    printf("nearest stranger, median          %.3f (mated), %.3f (not mated)\n", s.stranger_median, s.unmated_median);
    printf("mate is first                     %.4f\n", s.rank_1);
    printf("mate among 50                     %.4f\n", s.rank_50);
    free((void *)(uintptr_t)gallery.rows);
    free((void *)(uintptr_t)gallery.person);
    free((void *)(uintptr_t)probes.rows);
    free((void *)(uintptr_t)probes.person);
}

/* ---- command line ---- */

static uint64_t number(const char *option, const char *text, uint64_t min, uint64_t max)
{
    char *end;
    errno = 0;
    uint64_t value = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || value < min || value > max)
        die("--%s must be a number from %" PRIu64 " to %" PRIu64, option, min, max);
    return value;
}

static struct options parse(int argc, char **argv)
{
    static const struct option known[] = {{"rows", required_argument, NULL, 'r'},
                                          {"probes", required_argument, NULL, 'p'},
                                          {"dim", required_argument, NULL, 'd'},
                                          {"seed", required_argument, NULL, 's'},
                                          {"threads", required_argument, NULL, 'n'},
                                          {"truth", no_argument, NULL, 't'},
                                          {"measure", no_argument, NULL, 'm'},
                                          {"help", no_argument, NULL, 'h'},
                                          {NULL, 0, NULL, 0}};
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    struct options o = {.rows = 100000, .probes = 5000, .dim = 512, .seed = 1};
    o.threads = cores < 1 ? 1 : cores > THREAD_MAX ? THREAD_MAX : (uint64_t)cores;
    for (int c; (c = getopt_long(argc, argv, "h", known, NULL)) != -1;) {
        switch (c) {
        case 'r': o.rows = number("rows", optarg, 1, INT32_MAX); break;
        case 'p': o.probes = number("probes", optarg, 0, 100000000); break;
        case 'd': o.dim = number("dim", optarg, GX_PEOPLE_DIM_MIN, GX_PEOPLE_DIM_MAX); break;
        case 's': o.seed = number("seed", optarg, 0, UINT64_MAX); break;
        case 'n': o.threads = number("threads", optarg, 1, THREAD_MAX); break;
        case 't': o.truth = true; break;
        case 'm': o.measure = true; break;
        case 'h': fputs(usage, stdout); exit(0);
        default: fputs(usage, stderr); exit(2);
        }
    }
    if (optind + 1 != argc) {
        fputs(usage, stderr);
        exit(2);
    }
    o.prefix = argv[optind];
    return o;
}

int main(int argc, char **argv)
{
    static struct gx_people people;
    struct options o = parse(argc, argv);
    if (o.measure) {
        measure(o.prefix);
        return 0;
    }
    if (!gx_people_init(&people, o.seed, (uint32_t)o.dim, o.rows))
        die("--dim is out of range");
    write_gallery(&people, o.prefix);
    write_probes(&people, o.prefix, o.probes);
    if (o.truth)
        write_truth(&people, &o);
    printf("%s: %" PRIu64 " photos of %" PRIu64 " persons, %" PRIu64 " probes, %" PRIu64 "-d, seed %" PRIu64 "\n",
           o.prefix, o.rows, people.n_persons, o.probes, o.dim, o.seed);
    return 0;
}
