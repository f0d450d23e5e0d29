/* Ours: what a search of the server does with an engine, from a unit probe to the exact scores of the best. */
#include "race.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine.h"
#include "simd.h"

#define ADD_ROWS 1024 /* at a time, as the indexer does */

struct native {
    struct gx_engine *engine;
    struct gx_engine_effort effort;
    bool certified;
};

static _Noreturn void die(const struct gx_racer *racer, const struct gx_err *err)
{
    gx_measure_die(&racer->field->race->measure, racer->kind->name, err->text);
}

void gx_racer_thread_begin(void)
{
    gx_engine_thread_begin();
}

static void open_as(struct gx_racer *racer, const char *text)
{
    const struct gx_race *race = racer->field->race;
    struct native *native = gx_measure_alloc(&race->measure, 1, sizeof(*native));
    struct gx_engine_spec spec;
    struct gx_err err;
    native->effort.effort = -1;
    if (gx_engine_parse(gx_slice_text(text), race->measure.dim, &spec, &err) != GX_OK ||
        gx_engine_new(&spec, race->measure.dim, racer->field->rows, race->measure.seed, &native->engine, &err) != GX_OK)
        die(racer, &err);
    native->engine->threads = race->threads;
    racer->state = native;
}

static void hnsw_open(struct gx_racer *racer, uint32_t capacity)
{
    (void)capacity;
    open_as(racer, "hnsw");
}

static void scan_open(struct gx_racer *racer, uint32_t capacity)
{
    (void)capacity;
    open_as(racer, "scan");
}

static void exact_open(struct gx_racer *racer, uint32_t capacity)
{
    (void)capacity;
    open_as(racer, "scan");
    ((struct native *)racer->state)->certified = true;
}

static void native_close(struct gx_racer *racer)
{
    struct native *native = racer->state;
    gx_engine_unref(native->engine);
    free(native);
}

static void native_insert(struct gx_racer *racer, uint32_t slot)
{
    struct native *native = racer->state;
    struct gx_err err;
    uint64_t rno = gx_rows_rno(racer->field->rows, slot);
    if (gx_engine_add(native->engine, &rno, gx_rows_floats(racer->field->rows, slot), 1, &err) != GX_OK)
        die(racer, &err);
}

static void native_add(struct gx_racer *racer, const uint32_t *slots, size_t n)
{
    struct native *native = racer->state;
    const struct gx_race_field *field = racer->field;
    size_t dim = field->race->measure.dim;
    struct gx_err err;
    uint64_t rnos[ADD_ROWS];
    float *rows = gx_measure_alloc(&field->race->measure, ADD_ROWS * dim, sizeof(*rows));
    for (size_t done = 0, n_now; done < n; done += n_now) {
        n_now = GX_MIN(n - done, (size_t)ADD_ROWS);
        for (size_t i = 0; i < n_now; i++) {
            rnos[i] = gx_rows_rno(field->rows, slots[done + i]);
            memcpy(rows + i * dim, gx_rows_floats(field->rows, slots[done + i]), dim * sizeof(*rows));
        }
        if (gx_engine_add(native->engine, rnos, rows, n_now, &err) != GX_OK)
            die(racer, &err);
    }
    free(rows);
}

static void native_remove(struct gx_racer *racer, const uint32_t *slots, size_t n)
{
    struct native *native = racer->state;
    struct gx_err err;
    size_t n_removed;
    uint64_t *rnos = gx_measure_alloc(&racer->field->race->measure, n, sizeof(*rnos));
    for (size_t i = 0; i < n; i++)
        rnos[i] = gx_rows_rno(racer->field->rows, slots[i]);
    if (gx_engine_remove(native->engine, rnos, n, &n_removed, &err) != GX_OK)
        die(racer, &err);
    gx_engine_wipe(native->engine, rnos, n);
    free(rnos);
}

static void native_tune(struct gx_racer *racer, double effort)
{
    struct native *native = racer->state;
    native->effort = (struct gx_engine_effort){.effort = -1};
    if (effort >= 0 && racer->kind->knob == GX_RACE_EF)
        native->effort.ef_search = (uint32_t)effort;
    else if (effort >= 0)
        native->effort.effort = (float)effort;
}

/* Exact scores of what the engine proposed; the best GX_RACE_K slots. */
static void rescore(const struct gx_racer *racer, const float *probe, const struct gx_engine_answer *answer,
                    struct gx_arena *arena, uint32_t *out_slots)
{
    const struct gx_rows *rows = racer->field->rows;
    struct gx_hit hits[GX_RACE_K];
    struct gx_topk top;
    struct gx_err err;
    uint32_t *slots, n = 0;
    if (gx_arena_array(arena, answer->n, sizeof(*slots), &slots, &err) != GX_OK)
        die(racer, &err);
    for (size_t i = 0; i < answer->n; i++) {
        uint32_t slot = answer->hits[i].slot;
        if (slot == GX_ENGINE_NO_SLOT && !gx_rows_find(rows, answer->hits[i].rno, &slot))
            continue;
        if (gx_rows_is_visible(rows, slot))
            slots[n++] = slot;
    }
    gx_topk_init(&top, hits, GX_RACE_K, NULL, NULL);
    gx_rows_score(rows, slots, n, probe, &top);
    size_t n_found = gx_topk_sort(&top);
    for (size_t i = 0; i < GX_RACE_K; i++)
        out_slots[i] = i < n_found ? hits[i].slot : UINT32_MAX;
}

/* How many candidates are rescored: as many as the server takes unless it is told otherwise; a beam that is narrower
 * than that would be widened, so it is told to take no more than the beam has. */
static size_t candidates(const struct native *native)
{
    const struct gx_engine_spec *spec = &native->engine->spec;
    size_t usual = GX_MAX(spec->overfetch * GX_RACE_K, spec->candidates_min), ef = native->effort.ef_search;
    if (native->certified)
        return GX_RACE_K;
    return ef == 0 ? usual : GX_MAX(GX_MIN(usual, ef), (size_t)GX_RACE_K);
}

static uint64_t native_search(struct gx_racer *racer, const float *const *probes, size_t n_probes,
                              struct gx_arena *arena, uint32_t *out_slots)
{
    struct native *native = racer->state;
    struct gx_engine_answer answers[GX_RACE_BATCH];
    struct gx_err err;
    uint64_t scanned = 0;
    struct gx_engine_ask ask = {.probes = probes,
                                .n_probes = n_probes,
                                .n_wanted = candidates(native),
                                .effort = native->effort,
                                .until = gx_rows_count(racer->field->rows),
                                .certified = native->certified};
    if (gx_engine_search(native->engine, &ask, arena, answers, &err) != GX_OK)
        die(racer, &err);
    for (size_t i = 0; i < n_probes; i++) {
        scanned += answers[i].scanned;
        rescore(racer, probes[i], &answers[i], arena, out_slots + i * GX_RACE_K);
    }
    return scanned;
}

static uint64_t native_bytes(const struct gx_racer *racer)
{
    const struct native *native = racer->state;
    struct gx_engine_stats stats;
    gx_engine_stats(native->engine, &stats);
    return stats.index_bytes;
}

const struct gx_racer_kind gx_racer_hnsw = {.name = "hnsw",
                                            .parameters = "",
                                            .knob = GX_RACE_EF,
                                            .native = true,
                                            .open = hnsw_open,
                                            .add = native_add,
                                            .insert = native_insert,
                                            .remove = native_remove,
                                            .tune = native_tune,
                                            .search = native_search,
                                            .bytes = native_bytes,
                                            .close = native_close};

const struct gx_racer_kind gx_racer_scan = {.name = "scan",
                                            .parameters = "",
                                            .knob = GX_RACE_EFFORT,
                                            .native = true,
                                            .batches = true,
                                            .open = scan_open,
                                            .add = native_add,
                                            .insert = native_insert,
                                            .remove = native_remove,
                                            .tune = native_tune,
                                            .search = native_search,
                                            .bytes = native_bytes,
                                            .close = native_close};

const struct gx_racer_kind gx_racer_exact = {.name = "exact",
                                             .parameters = "scan, certified",
                                             .native = true,
                                             .exhaustive = true,
                                             .batches = true,
                                             .open = exact_open,
                                             .add = native_add,
                                             .search = native_search,
                                             .bytes = native_bytes,
                                             .close = native_close};
