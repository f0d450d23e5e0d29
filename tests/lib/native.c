#include "native.h"

#include <check.h>
#include <stdlib.h>

#define BATCH 1000

static struct gx_err err;

#define OK(call) ck_assert_msg((call) == GX_OK, "%s", err.text)

void gx_native_begin(struct gx_native *native, uint64_t seed, size_t dim, uint64_t n_max)
{
    *native = (struct gx_native){.dim = dim};
    ck_assert(gx_people_init(&native->people, seed, (uint32_t)dim, n_max));
    OK(gx_rows_new(dim, &native->rows, &err));
    gx_arena_init(&native->arena, (size_t)256 << 20);
}

void gx_native_end(struct gx_native *native)
{
    gx_rows_free(native->rows);
    gx_arena_fini(&native->arena);
}

uint64_t gx_native_rno(uint64_t row)
{
    return 10 + 3 * row;
}

void gx_native_append(struct gx_native *native, uint64_t n)
{
    float *floats = malloc(native->dim * sizeof(*floats));
    ck_assert_ptr_nonnull(floats);
    for (uint64_t i = 0; i < n; i++) {
        struct gx_row row = {.rno = gx_native_rno(native->n), .captured_at_us = (int64_t)native->n + 1};
        gx_people_row(&native->people, native->n++, floats, NULL);
        OK(gx_rows_append(native->rows, floats, &row, &err));
    }
    gx_rows_publish(native->rows);
    free(floats);
}

struct gx_engine *gx_native_engine(struct gx_native *native, const char *text)
{
    struct gx_engine_spec spec;
    struct gx_engine *engine;
    OK(gx_engine_parse(gx_slice_text(text), native->dim, &spec, &err));
    OK(gx_engine_new(&spec, native->dim, native->rows, 7, &engine, &err));
    return engine;
}

void gx_native_add(struct gx_native *native, struct gx_engine *engine, uint64_t from, uint64_t until)
{
    static uint64_t rnos[BATCH];
    size_t n = 0;
    float *floats = malloc(BATCH * native->dim * sizeof(*floats));
    ck_assert_ptr_nonnull(floats);
    for (uint64_t row = from; row < until; row++) {
        if (gx_rows_is_live(native->rows, (uint32_t)row)) {
            memcpy(floats + n * native->dim, gx_rows_floats(native->rows, (uint32_t)row),
                   native->dim * sizeof(*floats));
            rnos[n++] = gx_native_rno(row);
        }
        if (n == BATCH || row + 1 == until) {
            OK(gx_engine_add(engine, rnos, floats, n, &err));
            n = 0;
        }
    }
    free(floats);
}

void gx_native_remove(struct gx_native *native, struct gx_engine *engine, const uint64_t *rows, size_t n)
{
    size_t removed = 0;
    uint64_t *rnos = malloc(n * sizeof(*rnos));
    ck_assert_ptr_nonnull(rnos);
    for (size_t i = 0; i < n; i++) {
        rnos[i] = gx_native_rno(rows[i]);
        ck_assert(gx_rows_hide(native->rows, (uint32_t)rows[i]));
    }
    OK(gx_engine_remove(engine, rnos, n, &removed, &err));
    ck_assert_uint_eq(removed, n);
    gx_engine_wipe(engine, rnos, n);
    free(rnos);
}

void gx_native_probe(const struct gx_native *native, uint64_t probe, float *out)
{
    gx_people_probe(&native->people, probe, out, NULL);
}

void gx_native_ask(struct gx_native *native, struct gx_engine *engine, const struct gx_engine_ask *ask,
                   struct gx_engine_answer *answers)
{
    gx_arena_reset(&native->arena);
    OK(gx_engine_search(engine, ask, &native->arena, answers, &err));
}

size_t gx_native_truth(const struct gx_native *native, const float *probe, size_t k, gx_rows_pass *pass, void *arg,
                       uint32_t *out_slots)
{
    struct gx_hit hits[GX_NATIVE_K_MAX];
    struct gx_topk top;
    uint64_t scanned;
    ck_assert_uint_le(k, GX_NATIVE_K_MAX);
    gx_topk_init(&top, hits, k, NULL, NULL);
    OK(gx_rows_scan(native->rows, 0, gx_rows_count(native->rows), &probe, 1, pass, arg, NULL, NULL, &top, &scanned,
                    &err));
    size_t n = gx_topk_sort(&top);
    for (size_t i = 0; i < n; i++)
        out_slots[i] = hits[i].slot;
    return n;
}

static bool has_slot(const struct gx_engine_answer *answer, uint32_t slot)
{
    for (size_t i = 0; i < answer->n; i++)
        if (answer->hits[i].slot == slot)
            return true;
    return false;
}

double gx_native_recall(struct gx_native *native, struct gx_engine *engine, size_t k, float effort, size_t n_probes)
{
    uint64_t found = 0, all = 0;
    float *probe = malloc(native->dim * sizeof(*probe));
    ck_assert_ptr_nonnull(probe);
    for (size_t p = 0; p < n_probes; p++) {
        uint32_t truth[GX_NATIVE_K_MAX];
        struct gx_engine_answer answer;
        const float *probes[] = {probe};
        struct gx_engine_ask ask = {
            .probes = probes, .n_probes = 1, .n_wanted = 2 * k, .effort = {.effort = effort}, .until = UINT32_MAX};
        gx_native_probe(native, p, probe);
        gx_native_ask(native, engine, &ask, &answer);
        size_t n = gx_native_truth(native, probe, k, NULL, NULL, truth);
        for (size_t i = 0; i < n; i++)
            found += has_slot(&answer, truth[i]);
        all += n;
    }
    free(probe);
    return all == 0 ? 1 : (double)found / (double)all;
}
