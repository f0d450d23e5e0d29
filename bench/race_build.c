/* Building an index of all live rows, and what that takes. */
#include "race.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

/* With room for what the events of a race may add. */
static uint32_t capacity_for(const struct gx_race_field *field)
{
    return field->n_rows + (uint32_t)field->race->n_inserts;
}

static struct gx_racer *build(const struct gx_racer_kind *kind, const struct gx_race_field *field)
{
    const struct gx_measure *m = &field->race->measure;
    struct gx_racer *racer = gx_measure_alloc(m, 1, sizeof(*racer));
    uint32_t *slots = gx_measure_alloc(m, field->n_rows, sizeof(*slots));
    size_t n = 0;
    for (uint32_t slot = 0; slot < field->n_rows; slot++)
        if (gx_rows_is_live(field->rows, slot))
            slots[n++] = slot;
    *racer = (struct gx_racer){.kind = kind, .field = field};
    kind->open(racer, capacity_for(field));
    kind->add(racer, slots, n);
    free(slots);
    return racer;
}

struct gx_racer *gx_racer_build_quietly(const struct gx_racer_kind *kind, const struct gx_race_field *field)
{
    return build(kind, field);
}

/* The index that an earlier race kept for the same rows, or NULL. */
static struct gx_racer *restore(const struct gx_racer_kind *kind, const struct gx_race_field *field, const char *path)
{
    struct gx_racer *racer = gx_measure_alloc(&field->race->measure, 1, sizeof(*racer));
    *racer = (struct gx_racer){.kind = kind, .field = field};
    if (kind->restore(racer, capacity_for(field), path))
        return racer;
    free(racer);
    return NULL;
}

/* Under another name first: half an index is no index. */
static void keep(const struct gx_racer *racer, const char *path)
{
    char draft[1100];
    snprintf(draft, sizeof(draft), "%s.new", path);
    racer->kind->keep(racer, draft);
    if (rename(draft, path) != 0)
        gx_measure_die(&racer->field->race->measure, path, "cannot be written");
}

struct costs {
    double cpu_us, wall_us, resident, huge;
    bool kept;
};

static void report_build(const struct gx_racer *racer, const struct costs *costs)
{
    const struct gx_race *race = racer->field->race;
    const struct gx_racer_kind *kind = racer->kind;
    double n = (double)gx_rows_live(racer->field->rows);
    double huge_share = costs->resident > 0 ? costs->huge / costs->resident : 0;
    json_t *line = json_pack("{s:s, s:s, s:i, s:b, s:f, s:f}", "engine", kind->name, "parameters", kind->parameters,
                             "threads", (int)race->threads, "kept", costs->kept, "resident_bytes_per_row",
                             costs->resident / n, "huge_page_share", huge_share);
    if (!costs->kept) {
        json_object_set_new(line, "cpu_us_per_row", json_real(costs->cpu_us / n));
        json_object_set_new(line, "wall_us_per_row", json_real(costs->wall_us / n));
    }
    if (kind->bytes != NULL)
        json_object_set_new(line, "index_bytes_per_row", json_real((double)kind->bytes(racer) / n));
    fprintf(stderr, "%-13s %-14s %.1f us CPU a row, %.1f s%s; resident %.0f bytes a row, %.0f %% in huge pages\n",
            "race_build", kind->name, costs->cpu_us / n, costs->wall_us / 1e6, costs->kept ? " to read it" : "",
            costs->resident / n, 100 * huge_share);
    gx_measure_report(&race->measure, "race_build", line);
}

struct gx_racer *gx_racer_build(const struct gx_racer_kind *kind, const struct gx_race_field *field)
{
    const struct gx_race *race = field->race;
    struct gx_racer *racer = NULL;
    struct costs costs = {0};
    char path[1024];
    bool keeps = race->keep_peers && race->work != NULL && kind->keep != NULL && field->pristine;
    snprintf(path, sizeof(path), "%s/%s-%llu-%u-%u", race->work == NULL ? "." : race->work, kind->name,
             (unsigned long long)race->measure.seed, race->measure.dim, field->n_rows);
    malloc_trim(0); /* what is free counts for nobody */
    struct gx_race_memory before = gx_race_memory_now();
    costs.wall_us = gx_race_wall_us();
    costs.cpu_us = gx_race_process_us();
    if (keeps)
        racer = restore(kind, field, path);
    costs.kept = racer != NULL;
    if (racer == NULL)
        racer = build(kind, field);
    costs.cpu_us = gx_race_process_us() - costs.cpu_us;
    costs.wall_us = gx_race_wall_us() - costs.wall_us;
    malloc_trim(0);
    struct gx_race_memory after = gx_race_memory_now();
    costs.resident = (double)after.resident - (double)before.resident;
    costs.huge = (double)after.huge - (double)before.huge;
    if (keeps && !costs.kept)
        keep(racer, path);
    report_build(racer, &costs);
    return racer;
}

void gx_racer_free(struct gx_racer *racer)
{
    if (racer == NULL)
        return;
    racer->kind->close(racer);
    free(racer);
}
