/* Those of others: hnswlib, and FAISS as the project builds it, each with its own graph of its own build. */
#include "race.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <faiss/c_api/AutoTune_c.h>
#include <faiss/c_api/Index_c.h>
#include <faiss/c_api/error_c.h>
#include <faiss/c_api/index_factory_c.h>
#include <faiss/c_api/index_io_c.h>

#include "peer_hnswlib.h"

#define LINKS           32
#define EF_CONSTRUCTION 128
#define PARAMETERS      "M=32, efConstruction=128"
#define FAISS_ADD_ROWS  65536 /* at a time: few calls, or FAISS pays for each one by the rows it holds */

/* From OpenMP, whose header is not installed with every compiler. */
void omp_set_num_threads(int n);

/* --- hnswlib --- */

static void hnswlib_open(struct gx_racer *racer, uint32_t capacity)
{
    racer->state = gx_peer_hnswlib_new(racer->field->race->measure.dim, capacity, LINKS, EF_CONSTRUCTION);
}

static void hnswlib_insert(struct gx_racer *racer, uint32_t slot)
{
    gx_peer_hnswlib_add(racer->state, gx_rows_floats(racer->field->rows, slot), slot);
}

struct adding {
    struct gx_racer *racer;
    const uint32_t *slots;
    size_t n;
    _Atomic size_t next;
};

static void hnswlib_add_some(void *arg, unsigned number)
{
    struct adding *adding = arg;
    (void)number;
    for (size_t i; (i = atomic_fetch_add(&adding->next, 1)) < adding->n;)
        hnswlib_insert(adding->racer, adding->slots[i]);
}

static void hnswlib_add(struct gx_racer *racer, const uint32_t *slots, size_t n)
{
    struct adding adding = {.racer = racer, .slots = slots, .n = n};
    const struct gx_race *race = racer->field->race;
    if (n > 0) /* the first one alone: it is where all others begin */
        hnswlib_insert(racer, slots[adding.next++]);
    gx_race_parallel(race, race->threads, hnswlib_add_some, &adding);
}

static void hnswlib_tune(struct gx_racer *racer, double effort)
{
    gx_peer_hnswlib_set_ef(racer->state, (size_t)effort);
}

static uint64_t hnswlib_search(struct gx_racer *racer, const float *const *probes, size_t n_probes,
                               struct gx_arena *arena, uint32_t *out_slots)
{
    (void)arena;
    for (size_t i = 0; i < n_probes; i++) {
        uint32_t *out = out_slots + i * GX_RACE_K;
        size_t n = gx_peer_hnswlib_search(racer->state, probes[i], GX_RACE_K, out);
        for (; n < GX_RACE_K; n++)
            out[n] = UINT32_MAX;
    }
    return 0;
}

static void hnswlib_keep(const struct gx_racer *racer, const char *path)
{
    gx_peer_hnswlib_write(racer->state, path);
}

static bool hnswlib_restore(struct gx_racer *racer, uint32_t capacity, const char *path)
{
    if (access(path, R_OK) != 0)
        return false;
    racer->state = gx_peer_hnswlib_read(racer->field->race->measure.dim, capacity, path);
    return true;
}

static void hnswlib_close(struct gx_racer *racer)
{
    gx_peer_hnswlib_free(racer->state);
}

const struct gx_racer_kind gx_racer_hnswlib = {.name = "hnswlib",
                                               .parameters = PARAMETERS,
                                               .knob = GX_RACE_EF,
                                               .open = hnswlib_open,
                                               .add = hnswlib_add,
                                               .insert = hnswlib_insert,
                                               .tune = hnswlib_tune,
                                               .search = hnswlib_search,
                                               .close = hnswlib_close,
                                               .keep = hnswlib_keep,
                                               .restore = hnswlib_restore};

/* --- FAISS: its ids are the order of adding, which is that of the slots --- */

static _Noreturn void faiss_die(const struct gx_racer *racer, const char *what)
{
    const char *text = faiss_get_last_error();
    gx_measure_die(&racer->field->race->measure, what, text == NULL ? "FAISS does not say why" : text);
}

static void faiss_tune_as(struct gx_racer *racer, const char *knob, double value)
{
    FaissParameterSpace *space;
    if (faiss_ParameterSpace_new(&space) != 0 ||
        faiss_ParameterSpace_set_index_parameter(space, racer->state, knob, value) != 0)
        faiss_die(racer, knob);
    faiss_ParameterSpace_free(space);
}

static void faiss_tune(struct gx_racer *racer, double effort)
{
    faiss_tune_as(racer, "efSearch", effort);
}

static void faiss_open(struct gx_racer *racer, const char *factory)
{
    FaissIndex *index;
    int dim = (int)racer->field->race->measure.dim;
    if (faiss_index_factory(&index, dim, factory, METRIC_INNER_PRODUCT) != 0)
        faiss_die(racer, factory);
    racer->state = index;
}

static void faiss_flat_open(struct gx_racer *racer, uint32_t capacity)
{
    (void)capacity;
    faiss_open(racer, "Flat");
}

static void faiss_hnsw_open(struct gx_racer *racer, uint32_t capacity)
{
    (void)capacity;
    faiss_open(racer, "HNSW32,Flat");
    faiss_tune_as(racer, "efConstruction", EF_CONSTRUCTION);
}

static void faiss_add(struct gx_racer *racer, const uint32_t *slots, size_t n)
{
    const struct gx_race *race = racer->field->race;
    size_t dim = race->measure.dim;
    float *rows = gx_measure_alloc(&race->measure, GX_MIN(n, (size_t)FAISS_ADD_ROWS) * dim, sizeof(*rows));
    omp_set_num_threads((int)race->threads);
    for (size_t done = 0, n_now; done < n; done += n_now) {
        n_now = GX_MIN(n - done, (size_t)FAISS_ADD_ROWS);
        for (size_t i = 0; i < n_now; i++)
            memcpy(rows + i * dim, gx_rows_floats(racer->field->rows, slots[done + i]), dim * sizeof(*rows));
        if (faiss_Index_add(racer->state, (int64_t)n_now, rows) != 0)
            faiss_die(racer, "add");
    }
    gx_racer_thread_begin(); /* one again */
    free(rows);
}

static void faiss_insert(struct gx_racer *racer, uint32_t slot)
{
    if (faiss_Index_add(racer->state, 1, gx_rows_floats(racer->field->rows, slot)) != 0)
        faiss_die(racer, "add");
}

static uint64_t faiss_search(struct gx_racer *racer, const float *const *probes, size_t n_probes,
                             struct gx_arena *arena, uint32_t *out_slots)
{
    size_t dim = racer->field->race->measure.dim, n = n_probes * GX_RACE_K;
    int64_t *labels = gx_arena_alloc(arena, n * sizeof(*labels));
    float *scores = gx_arena_alloc(arena, n * sizeof(*scores));
    const float *rows = probes[0];
    if (n_probes > 1) { /* FAISS wants them side by side */
        float *copy = gx_arena_alloc(arena, n_probes * dim * sizeof(*copy));
        for (size_t i = 0; i < n_probes && copy != NULL; i++)
            memcpy(copy + i * dim, probes[i], dim * sizeof(*copy));
        rows = copy;
    }
    if (labels == NULL || scores == NULL || rows == NULL)
        gx_measure_die(&racer->field->race->measure, "memory", "there is none left");
    if (faiss_Index_search(racer->state, (int64_t)n_probes, rows, GX_RACE_K, scores, labels) != 0)
        faiss_die(racer, "search");
    for (size_t i = 0; i < n; i++)
        out_slots[i] = labels[i] < 0 ? UINT32_MAX : (uint32_t)labels[i];
    return 0;
}

static void faiss_keep(const struct gx_racer *racer, const char *path)
{
    if (faiss_write_index_fname(racer->state, path) != 0)
        faiss_die(racer, "write");
}

static bool faiss_restore(struct gx_racer *racer, uint32_t capacity, const char *path)
{
    FaissIndex *index;
    (void)capacity;
    if (access(path, R_OK) != 0)
        return false;
    if (faiss_read_index_fname(path, 0, &index) != 0)
        faiss_die(racer, "read");
    racer->state = index;
    return true;
}

static void faiss_close(struct gx_racer *racer)
{
    faiss_Index_free(racer->state);
}

const struct gx_racer_kind gx_racer_faiss_hnsw = {.name = "faiss-hnsw",
                                                  .parameters = "HNSW32,Flat, efConstruction=128",
                                                  .knob = GX_RACE_EF,
                                                  .open = faiss_hnsw_open,
                                                  .add = faiss_add,
                                                  .insert = faiss_insert,
                                                  .tune = faiss_tune,
                                                  .search = faiss_search,
                                                  .close = faiss_close,
                                                  .keep = faiss_keep,
                                                  .restore = faiss_restore};

const struct gx_racer_kind gx_racer_faiss_flat = {.name = "faiss-flat",
                                                  .parameters = "Flat",
                                                  .exhaustive = true,
                                                  .batches = true,
                                                  .open = faiss_flat_open,
                                                  .add = faiss_add,
                                                  .search = faiss_search,
                                                  .close = faiss_close};
