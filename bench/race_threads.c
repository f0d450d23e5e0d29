/* Searches per second when several threads search at once, and what idle cores do for a single search. */
#include "race.h"

#include "crew.h"

#include <stdio.h>
#include <stdlib.h>

#define RECALL    0.985 /* at 10 */
#define RUN_US    2e6
#define ARENA_MAX ((size_t)256 << 20)
#define STRIDE    37 /* each thread begins elsewhere among the probes */

struct crowd {
    struct gx_racer *racer;
    double until_us;
    _Atomic uint64_t n;
};

static void search_until(void *arg, unsigned number)
{
    struct crowd *crowd = arg;
    const struct gx_race_field *field = crowd->racer->field;
    const struct gx_measure *m = &field->race->measure;
    struct gx_arena arena;
    uint32_t slots[GX_RACE_K];
    gx_arena_init(&arena, ARENA_MAX);
    for (size_t i = (size_t)number * STRIDE; gx_race_wall_us() < crowd->until_us; i++) {
        const float *probe = field->probes + i % field->race->n_probes * m->dim;
        (void)crowd->racer->kind->search(crowd->racer, &probe, 1, &arena, slots);
        gx_arena_reset(&arena);
        atomic_fetch_add_explicit(&crowd->n, 1, memory_order_relaxed);
    }
    gx_arena_fini(&arena);
}

static double run(const struct gx_race *race, struct gx_racer *racer, unsigned n_threads)
{
    double start = gx_race_wall_us();
    struct crowd crowd = {.racer = racer, .until_us = start + RUN_US};
    gx_race_parallel(race, n_threads, search_until, &crowd);
    return (double)crowd.n * 1e6 / (gx_race_wall_us() - start);
}

static void scale(const struct gx_race *race, const struct gx_race_point *point, struct gx_racer *racer)
{
    double alone = 0;
    if (racer->kind->tune != NULL)
        racer->kind->tune(racer, point->effort);
    for (unsigned n = 1;; n = GX_MIN(2 * n, race->threads)) {
        double qps = run(race, racer, n);
        alone = n == 1 ? qps : alone;
        json_t *line = json_pack("{s:s, s:s, s:i, s:f, s:f, s:f}", "engine", racer->kind->name, "parameters",
                                 racer->kind->parameters, "threads", (int)n, "searches_per_s", qps, "over_one_thread",
                                 qps / alone, "recall_at_10", point->mean.recall[1]);
        json_object_set_new(line, racer->kind->knob == GX_RACE_EF ? "ef" : "effort",
                            point->effort < 0 ? json_string("default") : json_real(point->effort));
        fprintf(stderr, "race_threads  %s, %u threads: %.0f searches/s, %.2f x\n", racer->kind->name, n, qps,
                qps / alone);
        gx_measure_report(&race->measure, "race_threads", line);
        if (n >= race->threads)
            return;
    }
}

void gx_race_scale(const struct gx_race *race, const struct gx_race_points *points, struct gx_racer *const *racers,
                   size_t n_racers)
{
    for (size_t i = 0; i < n_racers; i++) {
        const struct gx_race_point *point = gx_race_cheapest(points, racers[i], RECALL);
        if (point != NULL && !racers[i]->kind->exhaustive)
            scale(race, point, racers[i]);
    }
}

void gx_race_help(const struct gx_race *race, struct gx_racer *const *racers, size_t n_racers)
{
    struct gx_err err;
    if (gx_crew_start(race->threads, &err) != GX_OK)
        gx_measure_die(&race->measure, "crew", err.text);
    for (size_t i = 0; i < n_racers; i++) {
        struct gx_race_point point = {.racer = racers[i], .effort = GX_RACE_DEFAULT, .batch = 1};
        if (!racers[i]->kind->native)
            continue;
        gx_race_search(&point, race->n_exhaustive_probes);
        gx_race_point_report(&point, "race_crew", json_pack("{s:i}", "threads", (int)race->threads));
        gx_race_point_free(&point);
    }
    gx_crew_stop();
}
