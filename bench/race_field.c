#include "race.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "simd.h"

#define FILL_ROWS    1024 /* made at a time by each thread */
#define TRUTH_PROBES 16   /* that share a pass over the rows */
#define TRUTH_MAGIC  0x3248545552544347u

const size_t gx_race_cuts[GX_RACE_CUTS] = {1, 10, 50};

/* --- threads --- */

struct helper {
    pthread_t thread;
    void (*work)(void *arg, unsigned number);
    void *arg;
    unsigned number;
};

static void *help(void *arg)
{
    struct helper *h = arg;
    gx_racer_thread_begin();
    h->work(h->arg, h->number);
    return NULL;
}

void gx_race_parallel(const struct gx_race *race, unsigned n_threads, void (*work)(void *arg, unsigned number),
                      void *arg)
{
    struct helper *helpers = gx_measure_alloc(&race->measure, n_threads, sizeof(*helpers));
    for (unsigned i = 0; i < n_threads; i++) {
        helpers[i] = (struct helper){.work = work, .arg = arg, .number = i};
        if (pthread_create(&helpers[i].thread, NULL, help, &helpers[i]) != 0)
            gx_measure_die(&race->measure, "threads", "cannot start one");
    }
    for (unsigned i = 0; i < n_threads; i++)
        pthread_join(helpers[i].thread, NULL);
    free(helpers);
}

/* --- rows --- */

struct filling {
    const struct gx_race *race;
    float *rows;
    uint64_t first;
    size_t n;
};

static void fill(void *arg, unsigned number)
{
    const struct filling *f = arg;
    for (size_t i = number; i < f->n; i += f->race->threads)
        gx_people_row(&f->race->measure.people, f->first + i, f->rows + i * f->race->measure.dim, NULL);
}

void gx_race_field_grow(struct gx_race_field *field, uint32_t n)
{
    const struct gx_race *race = field->race;
    size_t dim = race->measure.dim;
    struct gx_err err;
    struct filling f = {.race = race,
                        .rows = gx_measure_alloc(&race->measure, FILL_ROWS * race->threads * dim, sizeof(float))};
    for (uint32_t done = 0; done < n; done += (uint32_t)f.n) {
        f.first = field->n_rows;
        f.n = GX_MIN(n - done, (uint32_t)FILL_ROWS * race->threads);
        gx_race_parallel(race, race->threads, fill, &f);
        for (size_t i = 0; i < f.n; i++) {
            struct gx_row columns = {.rno = ++field->n_rows};
            if (gx_rows_append(field->rows, f.rows + i * dim, &columns, &err) != GX_OK)
                gx_measure_die(&race->measure, "rows", err.text);
        }
        gx_rows_publish(field->rows);
    }
    free(f.rows);
    field->pristine = field->n_rows == race->measure.rows && gx_rows_live(field->rows) == field->n_rows;
    field->n_true = 0;
}

void gx_race_field_hide(struct gx_race_field *field, uint32_t slot)
{
    (void)gx_rows_hide(field->rows, slot);
    field->pristine = false;
    field->n_true = 0;
}

struct gx_race_field *gx_race_field_new(const struct gx_race *race)
{
    const struct gx_measure *m = &race->measure;
    struct gx_race_field *field = gx_measure_alloc(m, 1, sizeof(*field));
    struct gx_err err;
    field->race = race;
    if (gx_rows_new(m->dim, &field->rows, &err) != GX_OK)
        gx_measure_die(m, "rows", err.text);
    field->probes = gx_measure_alloc(m, race->n_probes * m->dim, sizeof(float));
    field->probe_persons = gx_measure_alloc(m, race->n_probes, sizeof(*field->probe_persons));
    field->mated = gx_measure_alloc(m, race->n_probes, sizeof(*field->mated));
    field->truth = gx_measure_alloc(m, race->n_probes * GX_RACE_K, sizeof(*field->truth));
    for (size_t i = 0; i < race->n_probes; i++)
        gx_people_probe(&m->people, i, field->probes + i * m->dim, &field->probe_persons[i]);
    gx_race_field_grow(field, (uint32_t)m->rows);
    return field;
}

void gx_race_field_free(struct gx_race_field *field)
{
    gx_rows_free(field->rows);
    free(field->probes);
    free(field->probe_persons);
    free(field->mated);
    free(field->truth);
    free(field);
}

/* --- truth --- */

struct knowing {
    struct gx_race_field *field;
    size_t n_probes;
    _Atomic size_t next;
};

static void score_all(void *arg, unsigned number)
{
    struct knowing *k = arg;
    struct gx_race_field *field = k->field;
    size_t dim = field->race->measure.dim, first;
    (void)number;
    while ((first = atomic_fetch_add(&k->next, TRUTH_PROBES)) < k->n_probes) {
        size_t n = GX_MIN(k->n_probes - first, (size_t)TRUTH_PROBES);
        struct gx_hit hits[TRUTH_PROBES][GX_RACE_K];
        struct gx_topk tops[TRUTH_PROBES];
        const float *probes[TRUTH_PROBES];
        struct gx_err err;
        uint64_t scanned;
        for (size_t i = 0; i < n; i++) {
            gx_topk_init(&tops[i], hits[i], GX_RACE_K, NULL, NULL);
            probes[i] = field->probes + (first + i) * dim;
        }
        if (gx_rows_scan(field->rows, 0, field->n_rows, probes, n, NULL, NULL, NULL, NULL, tops, &scanned, &err) !=
            GX_OK)
            gx_measure_die(&field->race->measure, "truth", err.text);
        for (size_t i = 0; i < n; i++) {
            struct gx_hit *truth = field->truth + (first + i) * GX_RACE_K;
            size_t n_found = gx_topk_sort(&tops[i]);
            for (size_t j = 0; j < GX_RACE_K; j++) {
                truth[j].score = j < n_found ? hits[i][j].score : -2;
                truth[j].slot = j < n_found ? hits[i][j].slot : UINT32_MAX;
            }
        }
    }
}

/* The head of a file with truth: of what it is the truth. */
struct truth_head {
    uint64_t magic, seed, rows, dim, n_probes, k;
    double sample; /* changes when the people do */
};

static struct truth_head describe(const struct gx_race_field *field, size_t n_probes)
{
    const struct gx_measure *m = &field->race->measure;
    return (struct truth_head){.magic = TRUTH_MAGIC,
                               .seed = m->seed,
                               .rows = field->n_rows,
                               .dim = m->dim,
                               .n_probes = n_probes,
                               .k = GX_RACE_K,
                               .sample =
                                   gx_simd_dot(gx_rows_floats(field->rows, field->n_rows - 1), field->probes, m->dim)};
}

static void truth_path(const struct gx_race_field *field, size_t n_probes, char *out, size_t len)
{
    const struct gx_measure *m = &field->race->measure;
    snprintf(out, len, "%s/truth-%llu-%u-%u-%zu", field->race->work, (unsigned long long)m->seed, m->dim, field->n_rows,
             n_probes);
}

static bool read_truth(struct gx_race_field *field, size_t n_probes)
{
    char path[1024];
    struct truth_head head, expected = describe(field, n_probes);
    size_t n = n_probes * GX_RACE_K;
    truth_path(field, n_probes, path, sizeof(path));
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    bool good = fread(&head, sizeof(head), 1, f) == 1 && memcmp(&head, &expected, sizeof(head)) == 0 &&
                fread(field->truth, sizeof(*field->truth), n, f) == n;
    fclose(f);
    return good;
}

/* Under another name first: a race that is broken off leaves no half of a truth. */
static void write_truth(const struct gx_race_field *field, size_t n_probes)
{
    char path[1024], draft[1032];
    struct truth_head head = describe(field, n_probes);
    size_t n = n_probes * GX_RACE_K;
    truth_path(field, n_probes, path, sizeof(path));
    snprintf(draft, sizeof(draft), "%s.new", path);
    FILE *f = fopen(draft, "we");
    bool good =
        f != NULL && fwrite(&head, sizeof(head), 1, f) == 1 && fwrite(field->truth, sizeof(*field->truth), n, f) == n;
    if ((f != NULL && fclose(f) != 0) || !good || rename(draft, path) != 0)
        fprintf(stderr, "race: the truth could not be kept in %s: %s\n", path, strerror(errno));
}

static void find_mates(struct gx_race_field *field)
{
    const struct gx_people *people = &field->race->measure.people;
    struct gx_people_photo last;
    gx_people_row(people, field->n_rows - 1, NULL, &last);
    bool *enrolled = gx_measure_alloc(&field->race->measure, last.person + 1, sizeof(*enrolled));
    for (uint32_t slot = 0; slot < field->n_rows; slot++) {
        struct gx_people_photo photo;
        gx_people_row(people, slot, NULL, &photo);
        enrolled[photo.person] |= gx_rows_is_live(field->rows, slot);
    }
    field->n_mated = 0;
    for (size_t i = 0; i < field->n_true; i++) {
        uint64_t person = field->probe_persons[i];
        field->mated[i] = person <= last.person && enrolled[person];
        field->n_mated += field->mated[i];
    }
    free(enrolled);
}

void gx_race_field_know(struct gx_race_field *field, size_t n_probes)
{
    const struct gx_race *race = field->race;
    struct knowing k = {.field = field, .n_probes = n_probes};
    bool keep = race->work != NULL && field->pristine;
    if (!keep || !read_truth(field, n_probes)) {
        double start = gx_race_wall_us();
        gx_race_parallel(race, race->threads, score_all, &k);
        fprintf(stderr, "race: truth of %zu probes among %llu rows took %.1f s\n", n_probes,
                (unsigned long long)gx_rows_live(field->rows), (gx_race_wall_us() - start) / 1e6);
        if (keep)
            write_truth(field, n_probes);
    }
    field->n_true = n_probes;
    find_mates(field);
}

/* --- judging --- */

struct gx_race_score gx_race_field_judge(const struct gx_race_field *field, size_t probe, const uint32_t *slots,
                                         size_t n)
{
    const struct gx_measure *m = &field->race->measure;
    const struct gx_hit *truth = field->truth + probe * GX_RACE_K;
    struct gx_race_score score = {0};
    size_t n_live = (size_t)GX_MIN(gx_rows_live(field->rows), (uint64_t)GX_RACE_K);
    for (size_t i = 0; i < n; i++) {
        bool again = slots[i] >= field->n_rows || !gx_rows_is_live(field->rows, slots[i]);
        for (size_t j = 0; j < i && !again; j++)
            again = slots[j] == slots[i];
        if (again)
            continue;
        struct gx_people_photo photo;
        gx_people_row(&m->people, slots[i], NULL, &photo);
        double exact = gx_simd_dot(field->probes + probe * m->dim, gx_rows_floats(field->rows, slots[i]), m->dim);
        for (size_t c = 0; c < GX_RACE_CUTS; c++) {
            size_t cut = GX_MIN(gx_race_cuts[c], n_live);
            if (i < cut && exact >= truth[cut - 1].score)
                score.recall[c] += 1 / (double)cut;
            if (i < cut && photo.person == field->probe_persons[probe])
                score.mate_hit[c] = 1;
        }
    }
    return score;
}
