#include "race.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define WARM_UP   50 /* searches before those that are timed */
#define ARENA_MAX ((size_t)256 << 20)

static double clock_us(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

double gx_race_thread_us(void)
{
    return clock_us(CLOCK_THREAD_CPUTIME_ID);
}

double gx_race_process_us(void)
{
    return clock_us(CLOCK_PROCESS_CPUTIME_ID);
}

double gx_race_wall_us(void)
{
    return clock_us(CLOCK_MONOTONIC);
}

/* --- one point --- */

/* Adds up the scores of the probes. */
static void summarise(struct gx_race_point *point)
{
    const struct gx_race_field *field = point->racer->field;
    double n = (double)point->n_probes, n_mated = 0, mated_recall = 0;
    struct gx_race_score *mean = &point->mean;
    *mean = (struct gx_race_score){0};
    for (size_t i = 0; i < point->n_probes; i++) {
        n_mated += field->mated[i];
        mated_recall += field->mated[i] ? point->scores[i].recall[0] : 0;
        for (size_t c = 0; c < GX_RACE_CUTS; c++) {
            mean->recall[c] += point->scores[i].recall[c] / n;
            mean->mate_hit[c] += field->mated[i] ? point->scores[i].mate_hit[c] : 0;
        }
    }
    for (size_t c = 0; c < GX_RACE_CUTS; c++)
        mean->mate_hit[c] /= GX_MAX(n_mated, 1.0);
    point->mated_recall_at_1 = mated_recall / GX_MAX(n_mated, 1.0);
}

static void judge(struct gx_race_point *point, size_t first, size_t n, const uint32_t *slots)
{
    for (size_t i = 0; i < n; i++) {
        const uint32_t *found = slots + i * GX_RACE_K;
        size_t n_found = 0;
        while (n_found < GX_RACE_K && found[n_found] != UINT32_MAX)
            n_found++;
        point->scores[first + i] = gx_race_field_judge(point->racer->field, first + i, found, n_found);
    }
}

void gx_race_search(struct gx_race_point *point, size_t n_probes)
{
    struct gx_racer *racer = point->racer;
    const struct gx_race_field *field = racer->field;
    const struct gx_measure *m = &field->race->measure;
    const float *probes[GX_RACE_BATCH];
    uint32_t slots[GX_RACE_BATCH * GX_RACE_K];
    struct gx_measure_series cpu_of_pass = {0};
    struct gx_arena arena;
    bool is_first = point->scores == NULL;
    if (is_first)
        point->scores = gx_measure_alloc(m, n_probes, sizeof(*point->scores));
    point->n_probes = n_probes;
    point->scanned = 0;
    if (racer->kind->tune != NULL)
        racer->kind->tune(racer, point->effort);
    gx_arena_init(&arena, ARENA_MAX);
    size_t warm_up = GX_MIN((size_t)WARM_UP, n_probes / 4) / point->batch * point->batch;
    for (size_t done = 0; done < n_probes + warm_up; done += point->batch) {
        size_t first = done < warm_up ? n_probes - warm_up + done : done - warm_up;
        size_t n = GX_MIN(point->batch, n_probes - first);
        for (size_t i = 0; i < n; i++)
            probes[i] = field->probes + (first + i) * m->dim;
        double wall = gx_race_wall_us(), cpu = gx_race_thread_us();
        uint64_t scanned = racer->kind->search(racer, probes, n, &arena, slots);
        gx_arena_reset(&arena); /* part of a search in a server */
        cpu = gx_race_thread_us() - cpu;
        wall = gx_race_wall_us() - wall;
        if (done < warm_up)
            continue;
        point->scanned += scanned;
        gx_measure_add(m, &point->cpu, cpu / (double)n);
        gx_measure_add(m, &cpu_of_pass, cpu / (double)n);
        gx_measure_add(m, &point->wall, wall / (double)n);
        if (is_first)
            judge(point, first, n, slots);
    }
    gx_arena_fini(&arena);
    if (is_first)
        summarise(point);
    double p50 = gx_measure_quantile(&cpu_of_pass, 50);
    point->p50_cpu_us = is_first ? p50 : GX_MIN(point->p50_cpu_us, p50);
    free(cpu_of_pass.us);
}

void gx_race_point_free(struct gx_race_point *point)
{
    free(point->scores);
    free(point->cpu.us);
    free(point->wall.us);
    *point = (struct gx_race_point){0};
}

/* --- reporting --- */

static double mean_of(const struct gx_measure_series *series)
{
    double sum = 0;
    for (size_t i = 0; i < series->n; i++)
        sum += series->us[i];
    return series->n == 0 ? 0 : sum / (double)series->n;
}

static void add_times(json_t *line, const char *clock, struct gx_measure_series *series)
{
    static const unsigned percents[] = {50, 95, 99};
    char name[32];
    for (size_t i = 0; i < GX_COUNT_OF(percents); i++) {
        snprintf(name, sizeof(name), "p%u_%s_us", percents[i], clock);
        json_object_set_new(line, name, json_real(gx_measure_quantile(series, percents[i])));
    }
    snprintf(name, sizeof(name), "mean_%s_us", clock);
    json_object_set_new(line, name, json_real(mean_of(series)));
}

static void add_score(json_t *line, const struct gx_race_point *point)
{
    char name[32];
    for (size_t c = 0; c < GX_RACE_CUTS; c++) {
        snprintf(name, sizeof(name), "recall_at_%zu", gx_race_cuts[c]);
        json_object_set_new(line, name, json_real(point->mean.recall[c]));
    }
    json_object_set_new(line, "recall_at_1_mated", json_real(point->mated_recall_at_1));
    for (size_t c = 0; c < GX_RACE_CUTS; c++) {
        snprintf(name, sizeof(name), "mate_hit_at_%zu", gx_race_cuts[c]);
        json_object_set_new(line, name, json_real(point->mean.mate_hit[c]));
    }
}

void gx_race_point_report(struct gx_race_point *point, const char *what, json_t *more)
{
    const struct gx_racer_kind *kind = point->racer->kind;
    char effort[32] = "";
    json_t *line = json_pack("{s:s, s:s, s:i, s:I, s:I}", "engine", kind->name, "parameters", kind->parameters, "k",
                             GX_RACE_K, "batch", (json_int_t)point->batch, "probes", (json_int_t)point->n_probes);
    if (kind->knob != GX_RACE_NO_KNOB && point->effort < 0) {
        json_object_set_new(line, "effort", json_string("default"));
        snprintf(effort, sizeof(effort), "default");
    } else if (kind->knob == GX_RACE_EF) {
        json_object_set_new(line, "ef", json_integer((json_int_t)point->effort));
        snprintf(effort, sizeof(effort), "ef %.0f", point->effort);
    } else if (kind->knob == GX_RACE_EFFORT) {
        json_object_set_new(line, "effort", json_real(point->effort));
        snprintf(effort, sizeof(effort), "effort %.2f", point->effort);
    }
    add_score(line, point);
    if (point->scanned > 0)
        json_object_set_new(line, "scanned", json_real((double)point->scanned / (double)point->n_probes));
    json_object_set_new(line, "best_p50_cpu_us", json_real(point->p50_cpu_us));
    add_times(line, "cpu", &point->cpu);
    add_times(line, "wall", &point->wall);
    if (more != NULL) {
        json_object_update(line, more);
        json_decref(more);
    }
    fprintf(stderr, "%-13s %-14s %-11s batch %zu  recall@10 %.4f @50 %.4f  mate@10 %.4f  p50 %.0f us\n", what,
            kind->name, effort, point->batch, point->mean.recall[1], point->mean.recall[2], point->mean.mate_hit[1],
            point->p50_cpu_us);
    gx_measure_report(&point->racer->field->race->measure, what, line);
}

/* --- all points --- */

static void add_point(struct gx_race_points *all, struct gx_racer *racer, double effort, size_t batch)
{
    const struct gx_race *race = racer->field->race;
    all->points = reallocarray(all->points, all->n + 1, sizeof(*all->points));
    if (all->points == NULL)
        gx_measure_die(&race->measure, "memory", "there is none left");
    all->points[all->n++] = (struct gx_race_point){.racer = racer, .effort = effort, .batch = batch};
}

static void add_points(struct gx_race_points *all, struct gx_racer *racer)
{
    const struct gx_race *race = racer->field->race;
    const struct gx_racer_kind *kind = racer->kind;
    const double *efforts = kind->knob == GX_RACE_EF ? race->efs : race->efforts;
    size_t n = kind->knob == GX_RACE_EF ? race->n_efs : kind->knob == GX_RACE_EFFORT ? race->n_efforts : 0;
    if (kind->knob == GX_RACE_NO_KNOB || kind->native)
        add_point(all, racer, GX_RACE_DEFAULT, 1);
    for (size_t i = 0; i < n; i++)
        add_point(all, racer, efforts[i], 1);
    if (kind->batches)
        add_point(all, racer, GX_RACE_DEFAULT, GX_RACE_BATCH);
}

struct gx_race_points gx_race_sweep(const struct gx_race *race, struct gx_racer *const *racers, size_t n_racers)
{
    struct gx_race_points all = {0};
    for (size_t i = 0; i < n_racers; i++)
        add_points(&all, racers[i]);
    for (unsigned pass = 1; pass <= race->passes; pass++)
        for (size_t i = 0; i < all.n; i++) {
            bool exhaustive = all.points[i].racer->kind->exhaustive;
            gx_race_search(&all.points[i], exhaustive ? race->n_exhaustive_probes : race->n_probes);
            if (pass == race->passes)
                gx_race_point_report(&all.points[i], "race_search", NULL);
        }
    return all;
}

void gx_race_points_free(struct gx_race_points *all)
{
    for (size_t i = 0; i < all->n; i++)
        gx_race_point_free(&all->points[i]);
    free(all->points);
    *all = (struct gx_race_points){0};
}
