/* What changes cost, and what they leave of the recall: single inserts, removals, and a gallery half of which is
 * replaced, against an index that is built anew from the same rows. */
#include "race.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS       10   /* in which half of the gallery is replaced */
#define REMOVED_ROWS 1000 /* at a time */

static const double efs[] = {GX_RACE_DEFAULT, 100, 200, 400};

/* --- single inserts --- */

void gx_race_insert(struct gx_race_field *field, struct gx_racer *const *racers, size_t n_racers)
{
    const struct gx_race *race = field->race;
    uint32_t first = field->n_rows;
    gx_race_field_grow(field, (uint32_t)race->n_inserts);
    for (size_t i = 0; i < n_racers; i++) {
        struct gx_measure_series cpu = {0};
        double sum = 0;
        if (racers[i]->kind->insert == NULL)
            continue;
        for (uint32_t slot = first; slot < field->n_rows; slot++) {
            double start = gx_race_process_us(); /* of all threads that help */
            racers[i]->kind->insert(racers[i], slot);
            double us = gx_race_process_us() - start;
            gx_measure_add(&race->measure, &cpu, us);
            sum += us;
        }
        double mean = sum / (double)GX_MAX(cpu.n, (size_t)1), p50 = gx_measure_quantile(&cpu, 50);
        fprintf(stderr, "race_insert   %s: %.0f us CPU, p50 %.0f\n", racers[i]->kind->name, mean, p50);
        gx_measure_report(&race->measure, "race_insert",
                          json_pack("{s:s, s:s, s:I, s:f, s:f, s:f}", "engine", racers[i]->kind->name, "parameters",
                                    racers[i]->kind->parameters, "inserts", (json_int_t)cpu.n, "mean_cpu_us", mean,
                                    "p50_cpu_us", p50, "p99_cpu_us", gx_measure_quantile(&cpu, 99)));
        free(cpu.us);
    }
}

/* --- removals --- */

static uint64_t next_random(uint64_t *state) /* splitmix64 (Steele, Lea, Flood 2014) */
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* The slots of the field in random order. */
static uint32_t *shuffled(const struct gx_race_field *field)
{
    const struct gx_measure *m = &field->race->measure;
    uint64_t state = m->seed + 1;
    uint32_t *slots = gx_measure_alloc(m, field->n_rows, sizeof(*slots));
    for (uint32_t i = 0; i < field->n_rows; i++) {
        uint32_t j = (uint32_t)(next_random(&state) % (i + 1));
        slots[i] = slots[j];
        slots[j] = i;
    }
    return slots;
}

/* Microseconds of CPU per row. */
static double remove_rows(struct gx_race_field *field, struct gx_racer *racer, const uint32_t *slots, size_t n)
{
    double us = 0;
    for (size_t done = 0, n_now; done < n; done += n_now) {
        n_now = GX_MIN(n - done, (size_t)REMOVED_ROWS);
        for (size_t i = 0; i < n_now; i++)
            gx_race_field_hide(field, slots[done + i]);
        double start = gx_race_process_us();
        racer->kind->remove(racer, slots + done, n_now);
        us += gx_race_process_us() - start;
    }
    return us / (double)GX_MAX(n, (size_t)1);
}

/* The mean of the difference between two recalls of the same probes, and its standard error. */
static void add_difference(json_t *line, const struct gx_race_point *changed, const struct gx_race_point *fresh)
{
    double n = (double)changed->n_probes;
    for (size_t c = 0; c < GX_RACE_CUTS; c++) {
        char name[64];
        double sum = 0, sum2 = 0;
        for (size_t i = 0; i < changed->n_probes; i++) {
            double d = changed->scores[i].recall[c] - fresh->scores[i].recall[c];
            sum += d;
            sum2 += d * d;
        }
        double mean = sum / n, variance = GX_MAX(sum2 / n - mean * mean, 0.0);
        snprintf(name, sizeof(name), "minus_fresh_at_%zu", gx_race_cuts[c]);
        json_object_set_new(line, name, json_real(mean));
        snprintf(name, sizeof(name), "standard_error_at_%zu", gx_race_cuts[c]);
        json_object_set_new(line, name, json_real(sqrt(variance / n)));
        fprintf(stderr, "  @%zu %+.4f +- %.4f", gx_race_cuts[c], mean, sqrt(variance / n));
    }
    fprintf(stderr, " against fresh\n");
}

/* The changed index against one that is built from the same rows now. */
static void compare_with_fresh(struct gx_race_field *field, struct gx_racer *changed, const char *what, double share)
{
    const struct gx_race *race = field->race;
    bool has_ef = changed->kind->knob == GX_RACE_EF;
    gx_race_field_know(field, race->n_change_probes);
    struct gx_racer *fresh = gx_racer_build_quietly(changed->kind, field);
    for (size_t i = 0; i < (has_ef ? GX_COUNT_OF(efs) : 1); i++) {
        struct gx_race_point a = {.racer = changed, .effort = efs[i], .batch = 1};
        struct gx_race_point b = {.racer = fresh, .effort = efs[i], .batch = 1};
        gx_race_search(&a, race->n_change_probes);
        gx_race_search(&b, race->n_change_probes);
        json_t *more = json_pack("{s:f, s:f, s:f, s:f}", "share", share, "fresh_recall_at_10", b.mean.recall[1],
                                 "fresh_recall_at_50", b.mean.recall[2], "fresh_p50_cpu_us", b.p50_cpu_us);
        add_difference(more, &a, &b);
        gx_race_point_report(&a, what, more);
        gx_race_point_free(&a);
        gx_race_point_free(&b);
    }
    gx_racer_free(fresh);
}

static void report_removal(const struct gx_race_field *field, const struct gx_racer *racer, const char *what, size_t n,
                           double us)
{
    fprintf(stderr, "%-13s %s: %zu rows, %.1f us CPU a row\n", what, racer->kind->name, n, us);
    gx_measure_report(&field->race->measure, what,
                      json_pack("{s:s, s:s, s:I, s:f}", "engine", racer->kind->name, "parameters",
                                racer->kind->parameters, "removed", (json_int_t)n, "cpu_us_per_row", us));
}

void gx_race_remove(const struct gx_race *race, const struct gx_racer_kind *kind)
{
    static const double shares[] = {0.1, 0.5};
    struct gx_race_field *field = gx_race_field_new(race);
    struct gx_racer *racer = gx_racer_build_quietly(kind, field);
    uint32_t *slots = shuffled(field);
    size_t done = 0;
    for (size_t i = 0; i < GX_COUNT_OF(shares); i++) {
        size_t n = (size_t)(shares[i] * (double)field->n_rows) - done;
        double us = remove_rows(field, racer, slots + done, n);
        done += n;
        report_removal(field, racer, "race_remove", n, us);
        compare_with_fresh(field, racer, "race_removed", shares[i]);
    }
    free(slots);
    gx_racer_free(racer);
    gx_race_field_free(field);
}

void gx_race_churn(const struct gx_race *race, const struct gx_racer_kind *kind)
{
    struct gx_race_field *field = gx_race_field_new(race);
    struct gx_racer *racer = gx_racer_build_quietly(kind, field);
    uint32_t *slots = shuffled(field), n = field->n_rows / 2 / ROUNDS;
    uint32_t *added = gx_measure_alloc(&race->measure, n, sizeof(*added));
    double remove_us = 0, add_us = 0;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        remove_us += remove_rows(field, racer, slots + (size_t)round * n, n) / ROUNDS;
        for (uint32_t i = 0; i < n; i++)
            added[i] = field->n_rows + i;
        gx_race_field_grow(field, n);
        double start = gx_race_process_us();
        racer->kind->add(racer, added, n);
        add_us += (gx_race_process_us() - start) / n / ROUNDS;
    }
    fprintf(stderr, "race_churn    %s: %u rows replaced; %.1f us CPU to remove one, %.1f to add one\n", kind->name,
            n * ROUNDS, remove_us, add_us);
    gx_measure_report(&race->measure, "race_churn",
                      json_pack("{s:s, s:s, s:I, s:f, s:f}", "engine", kind->name, "parameters", kind->parameters,
                                "replaced", (json_int_t)n * ROUNDS, "remove_cpu_us_per_row", remove_us,
                                "add_cpu_us_per_row", add_us));
    compare_with_fresh(field, racer, "race_churned", 0.5);
    free(added);
    free(slots);
    gx_racer_free(racer);
    gx_race_field_free(field);
}
