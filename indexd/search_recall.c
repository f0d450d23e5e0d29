/* Recall of a gallery's engine, measured on rows of the gallery itself. */
#include "clock.h"
#include "search_private.h"

/* --- recall --- */

static uint64_t next_random(uint64_t *state) /* splitmix64 (Steele, Lea, Flood 2014) */
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* How many of the first @k reach the cosine of the exact list's last of @k. */
static double recall_at(const struct gx_search_found *got, const struct gx_search_found *exact, size_t k)
{
    size_t n = GX_MIN(k, exact->n), hits = 0;
    if (n == 0)
        return 1;
    for (size_t i = 0; i < GX_MIN(n, got->n); i++)
        hits += got->hits[i].score >= exact->hits[n - 1].score;
    return (double)hits / (double)n;
}

/* One row against the others: by the engine and exactly. */
static enum gx_status measure_row(struct gx_search_work *w, uint32_t slot, struct gx_recall_out *out,
                                  struct gx_err *err)
{
    const size_t k = 50;
    struct gx_search_in exactly = *w->in;
    struct gx_search_work exact_work = *w;
    struct gx_search_found got = {0}, exact = {0};
    const float *probe = gx_rows_floats(w->gallery->rows, slot);
    exactly.exact = true;
    exact_work.in = &exactly;
    w->filter.without = exact_work.filter.without = slot;
    int64_t t0 = gx_clock_monotonic_us();
    GX_TRY(gx_search_candidates(w, &probe, 1, k, &got, err));
    int64_t t1 = gx_clock_monotonic_us();
    GX_TRY(gx_search_candidates(&exact_work, &probe, 1, k, &exact, err));
    out->exact_mean_us += (double)(gx_clock_monotonic_us() - t1);
    out->mean_us += (double)(t1 - t0);
    out->recall_at_1 += recall_at(&got, &exact, 1);
    out->recall_at_10 += recall_at(&got, &exact, 10);
    out->recall_at_50 += recall_at(&got, &exact, 50);
    out->n_probes++;
    strncpy(out->engine, got.stats.engine, GX_ENGINE_MAX);
    out->effort = got.stats.effort;
    return GX_OK;
}

static enum gx_status measure(struct gx_gallery *g, const struct gx_recall_in *in, struct gx_recall_out *out,
                              struct gx_err *err)
{
    static const struct gx_filter everything;
    struct gx_search_in search_in = {
        .effort = in->effort, .n_candidates = in->n_candidates, .stopped = in->stopped, .stopped_arg = in->stopped_arg};
    struct gx_arena scratch; /* of one row */
    gx_arena_init(&scratch, GX_SEARCH_SCRATCH_MAX);
    struct gx_search_work w = {
        .in = &search_in, .gallery = g, .filter = {.filter = &everything, .empty = true}, .arena = &scratch};
    uint64_t state = in->seed == 0 ? 1 : in->seed;
    uint32_t count = gx_rows_count(g->rows);
    enum gx_status status = GX_OK;
    /* Draws with replacement; a gallery without a visible row ends after as many tries. */
    for (uint32_t tries = 0; status == GX_OK && count > 0 && out->n_probes < in->n_probes && tries < 16 * in->n_probes;
         tries++) {
        uint32_t slot = (uint32_t)(next_random(&state) % count);
        unsigned reader = gx_gallery_read_begin(g);
        gx_search_look(&w);
        if (gx_rows_is_visible(g->rows, slot))
            status = measure_row(&w, slot, out, err);
        gx_search_look_away(&w);
        gx_gallery_read_end(g, reader);
        gx_arena_reset(&scratch);
    }
    gx_arena_fini(&scratch);
    GX_TRY(status);
    if (out->n_probes == 0)
        return gx_fail(err, GX_E_STATE, "the gallery is empty: import records first");
    out->recall_at_1 /= out->n_probes;
    out->recall_at_10 /= out->n_probes;
    out->recall_at_50 /= out->n_probes;
    out->mean_us /= out->n_probes;
    out->exact_mean_us /= out->n_probes;
    return GX_OK;
}

enum gx_status gx_search_measure(struct gx_galleries *galleries, const struct gx_recall_in *in,
                                 struct gx_recall_out *out, struct gx_err *err)
{
    struct gx_gallery *g;
    memset(out, 0, sizeof(*out));
    if (in->n_probes < 1 || in->n_probes > 1000)
        return gx_fail(err, GX_E_INVALID, "probes: 1..1000, got %u", in->n_probes);
    GX_TRY(gx_gallery_find(galleries, in->gallery, true, &g, err));
    enum gx_status status = measure(g, in, out, err);
    gx_gallery_unref(g);
    return status;
}
