/* Time at equal recall. Between two efforts of a sweep the time is interpolated: its logarithm is taken to be linear in
 * that of what is missing from full recall, which sweeps follow closely. */
#include "race.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const struct level {
    size_t cut; /* place in gx_race_cuts */
    double recall;
} levels[] = {{1, 0.95}, {1, 0.985}, {1, 0.995}, {2, 0.95}, {2, 0.98}, {2, 0.995}};

#define SCAN_RECALL 0.995 /* at 50, where our scan is held against an exact one */

/* The sweep of one racer, cheapest first. */
struct sweep {
    const struct gx_racer *racer;
    const struct gx_race_point *points[GX_RACE_SWEEP_MAX];
    size_t n;
};

static int compare_points(const void *a, const void *b)
{
    const struct gx_race_point *x = *(const struct gx_race_point *const *)a;
    const struct gx_race_point *y = *(const struct gx_race_point *const *)b;
    return (x->p50_cpu_us > y->p50_cpu_us) - (x->p50_cpu_us < y->p50_cpu_us);
}

/* The default effort is left out: it is one of the others, or between them. */
static struct sweep sweep_of(const struct gx_race_points *all, const char *name)
{
    struct sweep sweep = {0};
    for (size_t i = 0; i < all->n && sweep.n < GX_RACE_SWEEP_MAX; i++) {
        const struct gx_race_point *p = &all->points[i];
        if (strcmp(p->racer->kind->name, name) != 0 || p->batch != 1 || p->effort < 0)
            continue;
        sweep.racer = p->racer;
        sweep.points[sweep.n++] = p;
    }
    qsort(sweep.points, sweep.n, sizeof(sweep.points[0]), compare_points);
    return sweep;
}

static double missing(const struct gx_race_point *point, size_t cut)
{
    double least = 0.5 / ((double)point->n_probes * (double)gx_race_cuts[cut]);
    return GX_MAX(1 - point->mean.recall[cut], least);
}

/* Microseconds at the recall of @level. NAN: not reached. *out_at_most: the cheapest point is better than that. */
static double time_at(const struct sweep *sweep, const struct level *level, bool *out_at_most)
{
    *out_at_most = false;
    for (size_t i = 0; i < sweep->n; i++) {
        const struct gx_race_point *point = sweep->points[i];
        if (point->mean.recall[level->cut] < level->recall)
            continue;
        *out_at_most = i == 0;
        if (i == 0)
            return point->p50_cpu_us;
        const struct gx_race_point *before = sweep->points[i - 1];
        double from = log(missing(before, level->cut)), to = log(missing(point, level->cut));
        double share = from > to ? (from - log(1 - level->recall)) / (from - to) : 1;
        share = GX_MIN(GX_MAX(share, 0.0), 1.0);
        return exp(log(before->p50_cpu_us) + share * (log(point->p50_cpu_us) - log(before->p50_cpu_us)));
    }
    return NAN;
}

static json_t *real_or_null(double value)
{
    return isnan(value) ? json_null() : json_real(value);
}

static void report_sweep(const struct gx_race *race, const struct sweep *sweep)
{
    for (size_t i = 0; i < GX_COUNT_OF(levels) && sweep->n > 0; i++) {
        bool at_most;
        double us = time_at(sweep, &levels[i], &at_most);
        gx_measure_report(&race->measure, "race_at_recall",
                          json_pack("{s:s, s:i, s:f, s:o, s:b}", "engine", sweep->racer->kind->name, "recall_among",
                                    (int)gx_race_cuts[levels[i].cut], "recall", levels[i].recall, "us",
                                    real_or_null(us), "us_is_upper_bound", at_most));
    }
}

/* The time as text, with "<= " or "> " where it is a bound. */
static const char *time_text(double us, const char *bound, char out[32])
{
    snprintf(out, 32, "%s%.0f us", bound, us);
    return out;
}

/* Where only they do not reach a level, their time is above that of their most effort. */
static void compare_sweeps(const struct gx_race *race, const struct sweep *ours, const struct sweep *theirs)
{
    for (size_t i = 0; i < GX_COUNT_OF(levels) && ours->n > 0 && theirs->n > 0; i++) {
        bool we_at_most, they_at_most;
        char we_text[32], they_text[32];
        size_t cut = gx_race_cuts[levels[i].cut];
        double we = time_at(ours, &levels[i], &we_at_most), they = time_at(theirs, &levels[i], &they_at_most);
        bool they_at_least = isnan(they);
        if (isnan(we))
            continue;
        if (they_at_least)
            they = theirs->points[theirs->n - 1]->p50_cpu_us;
        fprintf(stderr, "race_ratio    %s against %s, recall@%zu %.3f: %s against %s = %s%.2f x\n",
                ours->racer->kind->name, theirs->racer->kind->name, cut, levels[i].recall,
                time_text(we, we_at_most ? "<= " : "", we_text),
                time_text(they,
                          they_at_least  ? "> "
                          : they_at_most ? "<= "
                                         : "",
                          they_text),
                they_at_least ? "> " : "", they / we);
        gx_measure_report(&race->measure, "race_ratio",
                          json_pack("{s:s, s:s, s:i, s:f, s:f, s:f, s:f, s:b, s:b, s:b}", "engine",
                                    ours->racer->kind->name, "peer", theirs->racer->kind->name, "recall_among",
                                    (int)cut, "recall", levels[i].recall, "us", we, "peer_us", they, "ratio", they / we,
                                    "us_is_upper_bound", we_at_most, "peer_us_is_upper_bound", they_at_most,
                                    "peer_us_is_lower_bound", they_at_least));
    }
}

const struct gx_race_point *gx_race_cheapest(const struct gx_race_points *all, const struct gx_racer *racer,
                                             double recall)
{
    const struct gx_race_point *best = NULL;
    for (size_t i = 0; i < all->n; i++) {
        const struct gx_race_point *p = &all->points[i];
        if (p->racer == racer && p->batch == 1 && p->mean.recall[1] >= recall &&
            (best == NULL || p->p50_cpu_us < best->p50_cpu_us))
            best = p;
    }
    return best;
}

/* --- exhaustive ones --- */

/* The cheapest point of the racer called @name with recall at 50 from @recall on. */
static const struct gx_race_point *cheapest_named(const struct gx_race_points *all, const char *name, size_t batch,
                                                  double recall)
{
    const struct gx_race_point *best = NULL;
    for (size_t i = 0; i < all->n; i++) {
        const struct gx_race_point *p = &all->points[i];
        if (strcmp(p->racer->kind->name, name) == 0 && p->batch == batch && p->mean.recall[2] >= recall &&
            (best == NULL || p->p50_cpu_us < best->p50_cpu_us))
            best = p;
    }
    return best;
}

/* Bytes of codes that one pass reads: see codes.h. */
static double bytes_scanned(const struct gx_race *race, const char *name)
{
    double rows = (double)race->measure.rows;
    uint32_t dim = race->measure.dim;
    if (strcmp(name, "scan") == 0)
        return rows * (double)((dim + 255) / 256 * 256 / 8);
    return rows * (double)((dim + 63) / 64 * 64 + sizeof(float) + 1);
}

static void compare_exhaustive(const struct gx_race *race, const struct gx_race_points *all, const char *name,
                               size_t batch, double recall, double read_gb_per_s)
{
    const struct gx_race_point *we = cheapest_named(all, name, batch, recall);
    const struct gx_race_point *they = cheapest_named(all, "faiss-flat", batch, 0);
    if (we == NULL)
        return;
    double read_us = bytes_scanned(race, name) / 1e3 / read_gb_per_s;
    json_t *line = json_pack("{s:s, s:s, s:I, s:i, s:f, s:f, s:f, s:f}", "engine", name, "peer", "faiss-flat", "batch",
                             (json_int_t)batch, "recall_among", 50, "recall", we->mean.recall[2], "us", we->p50_cpu_us,
                             "read_loop_us", read_us, "share_of_read_bandwidth", read_us / we->p50_cpu_us);
    fprintf(stderr, "race_ratio    %s, batch %zu: %.0f us, %.0f %% of the read bandwidth", name, batch, we->p50_cpu_us,
            100 * read_us / we->p50_cpu_us);
    if (they != NULL) {
        json_object_set_new(line, "peer_us", json_real(they->p50_cpu_us));
        json_object_set_new(line, "ratio", json_real(they->p50_cpu_us / we->p50_cpu_us));
        fprintf(stderr, "; faiss-flat %.0f us = %.2f x", they->p50_cpu_us, they->p50_cpu_us / we->p50_cpu_us);
    }
    fprintf(stderr, "\n");
    gx_measure_report(&race->measure, "race_ratio", line);
}

void gx_race_compare(const struct gx_race *race, const struct gx_race_points *points, double read_gb_per_s)
{
    static const char *const ours[] = {"hnsw", "scan"}, *const theirs[] = {"hnswlib", "faiss-hnsw"};
    for (size_t i = 0; i < GX_COUNT_OF(ours); i++) {
        struct sweep we = sweep_of(points, ours[i]), they = sweep_of(points, theirs[i]);
        report_sweep(race, &we);
        report_sweep(race, &they);
    }
    for (size_t i = 0; i < GX_COUNT_OF(ours); i++)
        for (size_t j = 0; j < GX_COUNT_OF(theirs); j++) {
            struct sweep we = sweep_of(points, ours[i]), they = sweep_of(points, theirs[j]);
            compare_sweeps(race, &we, &they);
        }
    compare_exhaustive(race, points, "scan", 1, SCAN_RECALL, read_gb_per_s);
    compare_exhaustive(race, points, "scan", GX_RACE_BATCH, SCAN_RECALL, read_gb_per_s);
    compare_exhaustive(race, points, "exact", 1, 1, read_gb_per_s);
    compare_exhaustive(race, points, "exact", GX_RACE_BATCH, 1, read_gb_per_s);
}
