/* The path of a search: gallery, embedder, epoch -> probes normalised -> filter compiled -> as a reader of the rows:
 * candidates (the engine's, plus an exact scan of the rows it has not taken up yet; or an exact scan of all) -> exact
 * scores, dead rows and rows that the filter refuses dropped -> grouping, threshold, order -> records copied out. The
 * gallery's lock is held for the engine's part only, so a long scan never stands in the way of a change.
 *
 * The store decides what exists: whatever an index proposes is looked up in the rows, and a dead row is not a
 * candidate.
 *
 * What can go wrong: an index that finds fewer than k live rows although there are more (deletions, a narrow filter, a
 * small effort) is followed by an exact scan, so that the answer is never short; nobody waits any more (@stopped). */
#include "search.h"

#include <math.h>
#include <stdlib.h>

#include "clock.h"
#include "gallery_private.h"
#include "simd.h"
#include "vec.h"

#define CANDIDATES_MIN 200
#define CANDIDATES_MAX 100000
#define SCRATCH_MAX    ((size_t)64 << 20)
#define SAMPLE         512 /* rows looked at to estimate how many a filter lets through */
#define SELECTIVE      0.2 /* below this share the rows that pass are scanned exactly */
#define GROUP_FACTOR   4   /* first guess of photos per subject when grouping */

/* A filter in the form that a row is held against. */
struct compiled {
    const struct gx_filter *filter;
    struct gx_key *subjects; /* [filter->n_subjects], sorted */
    bool empty;
    uint32_t without; /* slot that is left out, UINT32_MAX = none: a row measured against the others */
};

/* What one search works with. */
struct work {
    const struct gx_search_in *in;
    struct gx_gallery *gallery;
    struct compiled filter;
    struct gx_arena *arena; /* scratch */
    struct gx_arena *out;   /* what is answered */
    uint32_t count;         /* rows visible to this search */
    size_t k;
};

/* --- filter --- */

static int compare_keys(const void *a, const void *b)
{
    return memcmp(a, b, GX_KEY_LEN);
}

static enum gx_status compile(struct gx_galleries *galleries, const struct gx_gallery *g,
                              const struct gx_filter *filter, struct gx_arena *arena, struct compiled *out,
                              struct gx_err *err)
{
    *out = (struct compiled){.filter = filter, .without = UINT32_MAX};
    out->empty = filter->captured_from_us == 0 && filter->captured_until_us == 0 && filter->n_subjects == 0 &&
                 filter->n_attributes == 0;
    if (filter->n_subjects == 0)
        return GX_OK;
    GX_TRY(gx_arena_array(arena, filter->n_subjects, sizeof(struct gx_key), &out->subjects, err));
    for (size_t i = 0; i < filter->n_subjects; i++)
        GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_SUBJECT, gx_slice_text(g->meta.name), filter->subjects[i],
                            &out->subjects[i], err));
    qsort(out->subjects, filter->n_subjects, sizeof(struct gx_key), compare_keys);
    return GX_OK;
}

static bool has_attributes(const struct gx_filter *filter, struct gx_slice encoded)
{
    struct gx_record record;
    if (gx_codec_record_decode(encoded, &record, NULL) != GX_OK)
        return false;
    for (size_t i = 0; i < filter->n_attributes; i++) {
        bool found = false;
        for (size_t j = 0; j < record.n_attributes && !found; j++)
            found = gx_slice_equal(record.attributes[j].key, filter->attributes[i].key) &&
                    gx_slice_equal(record.attributes[j].value, filter->attributes[i].value);
        if (!found)
            return false;
    }
    return true;
}

/* A gx_rows_pass. */
static bool passes(void *arg, const struct gx_rows *rows, uint32_t slot)
{
    const struct compiled *c = arg;
    if (slot == c->without)
        return false;
    if (c->empty)
        return true;
    const struct gx_filter *f = c->filter;
    struct gx_row row;
    gx_rows_get(rows, slot, &row);
    if ((f->captured_from_us != 0 && row.captured_at_us < f->captured_from_us) ||
        (f->captured_until_us != 0 && row.captured_at_us >= f->captured_until_us))
        return false;
    if (f->n_subjects > 0 &&
        bsearch(&row.subject, c->subjects, f->n_subjects, sizeof(struct gx_key), compare_keys) == NULL)
        return false;
    return f->n_attributes == 0 || has_attributes(f, row.record);
}

/* The share of rows that the filter lets through, from a sample spread evenly. */
static double estimate_share(const struct work *w)
{
    if (w->filter.empty || w->count == 0)
        return 1;
    uint32_t n = GX_MIN(w->count, (uint32_t)SAMPLE), live = 0, passing = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = (uint32_t)((uint64_t)i * w->count / n);
        if (!gx_rows_is_live(w->gallery->rows, slot))
            continue;
        live++;
        passing += passes((void *)&w->filter, w->gallery->rows, slot);
    }
    return live == 0 ? 1 : (double)passing / live;
}

/* --- candidates: each gives the best of the gallery by exact score, in order --- */

struct found {
    struct gx_hit *hits;
    size_t n;
    struct gx_search_stats stats;
};

static enum gx_status scan_exactly(const struct work *w, const float *const *probes, size_t n_probes, size_t k,
                                   struct found *out, struct gx_err *err)
{
    struct gx_topk *tops;
    uint64_t scanned;
    GX_TRY(gx_arena_array(w->arena, n_probes, sizeof(*tops), &tops, err));
    for (size_t i = 0; i < n_probes; i++) {
        GX_TRY(gx_arena_array(w->arena, k, sizeof(struct gx_hit), &out[i].hits, err));
        gx_topk_init(&tops[i], out[i].hits, k, gx_rows_tie, w->gallery->rows);
    }
    bool all = w->filter.empty && w->filter.without == UINT32_MAX;
    GX_TRY(gx_rows_scan(w->gallery->rows, 0, w->count, probes, n_probes, all ? NULL : passes, (void *)&w->filter,
                        w->in->stopped, w->in->stopped_arg, tops, &scanned, err));
    for (size_t i = 0; i < n_probes; i++) {
        out[i].n = gx_topk_sort(&tops[i]);
        out[i].stats = (struct gx_search_stats){
            .engine = "flat", .effort = 1, .scanned = scanned, .rescored = (uint32_t)out[i].n, .exhaustive = true};
    }
    return GX_OK;
}

/* Rows of the engine (slots below @until) that are alive and pass, scored exactly, into @top. */
static void rescore(const struct work *w, const float *probe, const struct gx_engine_hit *hits, size_t n,
                    uint32_t until, struct gx_topk *top, uint32_t *out_rescored)
{
    const struct gx_rows *rows = w->gallery->rows;
    for (size_t i = 0; i < n; i++) {
        uint32_t slot;
        if (!gx_rows_find(rows, hits[i].rno, &slot) || slot >= w->count || slot >= until ||
            !gx_rows_is_live(rows, slot) || !passes((void *)&w->filter, rows, slot))
            continue;
        gx_topk_offer(top, gx_simd_dot(probe, gx_rows_floats(rows, slot), gx_rows_dim(rows)), slot);
        ++*out_rescored;
    }
}

/* How many candidates to ask the engine for, so that enough are left after dead rows and the filter. */
static size_t wanted(const struct work *w, const struct gx_index *index, size_t k, double share)
{
    size_t n = w->in->n_candidates > 0 ? GX_MAX(w->in->n_candidates, k)
                                       : GX_MAX(index->engine->spec.overfetch * k, (size_t)CANDIDATES_MIN);
    double more = (double)n / share;
    struct gx_engine_stats stats;
    gx_engine_stats(index->engine, &stats);
    if (index->dead > 0 && stats.entries > index->dead)
        more *= (double)stats.entries / (double)(stats.entries - index->dead);
    more = GX_MIN(more, (double)CANDIDATES_MAX);
    return (size_t)GX_MIN(more + 1, (double)stats.entries);
}

/* What an engine proposed. */
struct proposal {
    struct gx_engine_hit *hits;
    size_t n;
    uint32_t until; /* slots below were offered to it; 0 = there is no engine */
};

/* Asks the engine. Caller holds the gallery's lock for reading. */
static enum gx_status propose(const struct work *w, const float *probe, size_t k, double share, struct proposal *out,
                              struct gx_search_stats *stats, struct gx_err *err)
{
    const struct gx_index *index = &w->gallery->index;
    struct gx_engine_effort effort = w->in->effort;
    struct gx_slice text;
    if (index->engine == NULL || index->until == 0)
        return GX_OK;
    out->until = index->until;
    if (effort.effort < 0 && effort.nprobe == 0 && effort.ef_search == 0)
        effort.effort = w->gallery->meta.default_effort;
    size_t n_wanted = wanted(w, index, k, share);
    GX_TRY(gx_arena_array(w->arena, n_wanted, sizeof(*out->hits), &out->hits, err));
    GX_TRY(gx_arena_copy(
        w->arena, (struct gx_slice){(const uint8_t *)index->engine->spec.text, strlen(index->engine->spec.text) + 1},
        &text, err));
    stats->engine = (const char *)text.data;
    enum gx_status status = gx_engine_search(index->engine, probe, &effort, n_wanted, out->hits, &out->n,
                                             &stats->scanned, &stats->effort, err);
    if (status != GX_E_STATE && status != GX_E_INTERNAL)
        return status;
    /* The engine is of no use: the rows are. */
    atomic_store(&w->gallery->broken, true);
    out->until = 0;
    return GX_OK;
}

/* *out_answered false: there is no engine to ask. */
static enum gx_status ask_engine(const struct work *w, const float *probe, size_t k, double share, struct found *out,
                                 bool *out_answered, struct gx_err *err)
{
    struct proposal proposal = {0};
    struct gx_topk top;
    uint64_t tail = 0;
    out->stats = (struct gx_search_stats){0};
    pthread_rwlock_rdlock(&w->gallery->lock);
    enum gx_status status = propose(w, probe, k, share, &proposal, &out->stats, err);
    pthread_rwlock_unlock(&w->gallery->lock);
    GX_TRY(status);
    *out_answered = proposal.until > 0;
    if (!*out_answered)
        return GX_OK;
    GX_TRY(gx_arena_array(w->arena, k, sizeof(struct gx_hit), &out->hits, err));
    gx_topk_init(&top, out->hits, k, gx_rows_tie, w->gallery->rows);
    rescore(w, probe, proposal.hits, proposal.n, proposal.until, &top, &out->stats.rescored);
    bool all = w->filter.empty && w->filter.without == UINT32_MAX;
    GX_TRY(gx_rows_scan(w->gallery->rows, GX_MIN(proposal.until, w->count), w->count, &probe, 1, all ? NULL : passes,
                        (void *)&w->filter, w->in->stopped, w->in->stopped_arg, &top, &tail, err));
    out->stats.scanned += tail;
    out->stats.rescored += (uint32_t)tail;
    out->n = gx_topk_sort(&top);
    return GX_OK;
}

/* The best @k of each probe. */
static enum gx_status candidates(const struct work *w, const float *const *probes, size_t n_probes, size_t k,
                                 struct found *out, struct gx_err *err)
{
    double share = estimate_share(w);
    if (w->in->exact || share < SELECTIVE)
        return scan_exactly(w, probes, n_probes, k, out, err);
    for (size_t i = 0; i < n_probes; i++) {
        bool answered;
        if (w->in->stopped != NULL && w->in->stopped(w->in->stopped_arg))
            return gx_fail(err, GX_E_CANCELLED, "nobody waits for the answer any more");
        GX_TRY(ask_engine(w, probes[i], k, share, &out[i], &answered, err));
        if (!answered)
            return scan_exactly(w, probes + i, n_probes - i, k, out + i, err);
        if (out[i].n < k && out[i].n < gx_rows_live(w->gallery->rows))
            GX_TRY(scan_exactly(w, &probes[i], 1, k, &out[i], err));
    }
    return GX_OK;
}

/* --- grouping and copying --- */

/* Keeps the best photo of each subject, at most @k subjects; the hits are in order. Records without a subject stand for
 * themselves. Quadratic in k for up to a few thousand 16-byte keys: less than one row's scoring each. */
static enum gx_status group(const struct work *w, struct found *found, size_t k, struct gx_err *err)
{
    static const struct gx_key nobody;
    struct gx_key *seen;
    size_t n_seen = 0, n = 0;
    GX_TRY(gx_arena_array(w->arena, k, sizeof(*seen), &seen, err));
    for (size_t i = 0; i < found->n && n < k; i++) {
        struct gx_row row;
        gx_rows_get(w->gallery->rows, found->hits[i].slot, &row);
        bool known = false;
        if (memcmp(&row.subject, &nobody, sizeof(nobody)) != 0) {
            for (size_t j = 0; j < n_seen && !known; j++)
                known = memcmp(&seen[j], &row.subject, sizeof(row.subject)) == 0;
            if (!known)
                seen[n_seen++] = row.subject;
        }
        if (!known)
            found->hits[n++] = found->hits[i];
    }
    found->n = n;
    return GX_OK;
}

/* Takes more and more photos until k subjects are there, or every row was looked at. */
static enum gx_status grouped_candidates(const struct work *w, const float *probe, struct found *out,
                                         struct gx_err *err)
{
    for (size_t n = w->k * GROUP_FACTOR;; n *= GROUP_FACTOR) {
        n = GX_MIN(n, GX_MAX((size_t)w->count, (size_t)1));
        GX_TRY(candidates(w, &probe, 1, n, out, err));
        bool everything = out->n < n || n >= w->count;
        GX_TRY(group(w, out, w->k, err));
        if (out->n == w->k || everything)
            return GX_OK;
    }
}

static enum gx_status copy_out(const struct work *w, const struct found *found, struct gx_search_result *out,
                               struct gx_err *err)
{
    GX_TRY(gx_arena_array(w->out, found->n, sizeof(*out->candidates), &out->candidates, err));
    for (size_t i = 0; i < found->n; i++) {
        struct gx_candidate *c = &out->candidates[out->n];
        struct gx_row row;
        struct gx_record record;
        c->cosine = fmax(-1, fmin(1, found->hits[i].score));
        if ((float)c->cosine < w->in->min_cosine) /* as the caller sees it */
            break;
        gx_rows_get(w->gallery->rows, found->hits[i].slot, &row);
        GX_TRY(gx_codec_record_decode(row.record, &record, err));
        GX_TRY(gx_arena_copy(w->out, record.record_id, &c->record_id, err));
        GX_TRY(gx_arena_copy(w->out, record.subject_id, &c->subject_id, err));
        GX_TRY(gx_arena_copy(w->out, record.arrest_id, &c->arrest_id, err));
        c->captured_at_us = record.captured_at_us;
        out->n++;
    }
    struct gx_slice engine;
    GX_TRY(gx_arena_copy(w->out,
                         (struct gx_slice){(const uint8_t *)found->stats.engine, strlen(found->stats.engine) + 1},
                         &engine, err));
    out->stats = found->stats;
    out->stats.engine = (const char *)engine.data;
    return GX_OK;
}

/* --- the path --- */

static enum gx_status check(const struct gx_search_in *in, struct gx_galleries *galleries, const struct gx_gallery *g,
                            struct gx_err *err)
{
    if (in->k < 1 || in->k > GX_K_MAX)
        return gx_fail(err, GX_E_INVALID, "k: 1..%d, got %u", GX_K_MAX, in->k);
    if (in->n_probes < 1 || in->n_probes > GX_BATCH_PROBES_MAX || in->n_probes * in->k > GX_BATCH_RESULTS_MAX)
        return gx_fail(err, GX_E_INVALID, "probes: 1..%d, and probes x k at most %d", GX_BATCH_PROBES_MAX,
                       GX_BATCH_RESULTS_MAX);
    if (in->dim != g->meta.dim)
        return gx_fail(err, GX_E_INVALID, "the probe has %zu values, the gallery's embeddings have %u", in->dim,
                       g->meta.dim);
    if (in->n_candidates != 0 && (in->n_candidates < in->k || in->n_candidates > CANDIDATES_MAX))
        return gx_fail(err, GX_E_INVALID, "candidates: k..%d, got %u", CANDIDATES_MAX, in->n_candidates);
    uint64_t epoch = atomic_load(&galleries->epoch);
    if (in->read_after_epoch > epoch)
        return gx_fail(err, GX_E_UNAVAILABLE, "this server is at epoch %llu: it has not seen the one asked for",
                       (unsigned long long)epoch);
    return gx_gallery_check_embedder(g, in->embedder_id, in->embedder_version, err);
}

static enum gx_status normalise(const struct gx_search_in *in, struct gx_arena *arena, const float ***out_probes,
                                struct gx_err *err)
{
    float *units;
    const float **probes = NULL;
    GX_TRY(gx_arena_array(arena, in->n_probes * in->dim, sizeof(float), &units, err));
    GX_TRY(gx_arena_array(arena, in->n_probes, sizeof(*probes), &probes, err));
    for (size_t i = 0; i < in->n_probes; i++) {
        probes[i] = units + i * in->dim;
        if (gx_vec_normalise(in->probes + i * in->dim, in->dim, units + i * in->dim, err) != GX_OK)
            return in->n_probes == 1 ? err->status : gx_err_wrap(err, "probe %zu", i);
    }
    *out_probes = probes;
    return GX_OK;
}

/* Will every probe be answered by an exact scan? Then they share it. */
static bool scans_for_sure(const struct work *w)
{
    return w->in->exact || atomic_load(&w->gallery->indexed_until) == UINT32_MAX || estimate_share(w) < SELECTIVE;
}

/* Probe by probe, each in the scratch arena anew; or all in one pass over memory. */
static enum gx_status search_rows(struct work *w, const float *const *probes, struct gx_search_result *results,
                                  uint64_t epoch, struct gx_err *err)
{
    bool grouped = w->in->group_by_subject;
    size_t n = w->in->n_probes;
    w->count = gx_rows_count(w->gallery->rows);
    size_t step = !grouped && scans_for_sure(w) ? n : 1;
    for (size_t i = 0; i < n; i += step) {
        struct found *found;
        gx_arena_reset(w->arena);
        GX_TRY(gx_arena_array(w->arena, step, sizeof(*found), &found, err));
        if (grouped)
            GX_TRY(grouped_candidates(w, probes[i], found, err));
        else
            GX_TRY(candidates(w, probes + i, step, w->k, found, err));
        for (size_t j = 0; j < step; j++) {
            found[j].stats.epoch = epoch;
            GX_TRY(copy_out(w, &found[j], &results[i + j], err));
        }
    }
    return GX_OK;
}

static enum gx_status search(struct gx_galleries *galleries, const struct gx_search_in *in, struct gx_gallery *g,
                             struct gx_arena *arena, struct gx_search_result **out_results, struct gx_err *err)
{
    struct gx_arena scratch;
    struct work w = {.in = in, .gallery = g, .arena = &scratch, .out = arena, .k = in->k};
    const float **probes = NULL;
    GX_TRY(check(in, galleries, g, err));
    GX_TRY(normalise(in, arena, &probes, err));
    GX_TRY(compile(galleries, g, &in->filter, arena, &w.filter, err));
    GX_TRY(gx_arena_array(arena, in->n_probes, sizeof(**out_results), out_results, err));
    /* Read before the rows are counted: what is visible is then at least what this epoch says. */
    uint64_t epoch = atomic_load(&galleries->epoch);
    gx_arena_init(&scratch, SCRATCH_MAX);
    unsigned reader = gx_gallery_read_begin(g);
    enum gx_status status = search_rows(&w, probes, *out_results, epoch, err);
    gx_gallery_read_end(g, reader);
    gx_arena_fini(&scratch);
    return status;
}

enum gx_status gx_search_run(struct gx_galleries *galleries, const struct gx_search_in *in, struct gx_arena *arena,
                             struct gx_search_result **out_results, struct gx_err *err)
{
    struct gx_gallery *g;
    *out_results = NULL;
    GX_TRY(gx_gallery_find(galleries, in->gallery, true, &g, err));
    enum gx_status status = search(galleries, in, g, arena, out_results, err);
    gx_gallery_unref(g);
    return status;
}

/* --- recall --- */

static uint64_t next_random(uint64_t *state) /* splitmix64 (Steele, Lea, Flood 2014) */
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* How many of the first @k reach the cosine of the exact list's last of @k. */
static double recall_at(const struct found *got, const struct found *exact, size_t k)
{
    size_t n = GX_MIN(k, exact->n), hits = 0;
    if (n == 0)
        return 1;
    for (size_t i = 0; i < GX_MIN(n, got->n); i++)
        hits += got->hits[i].score >= exact->hits[n - 1].score;
    return (double)hits / (double)n;
}

/* One row against the others: by the engine and exactly. */
static enum gx_status measure_row(struct work *w, uint32_t slot, struct gx_recall_out *out, struct gx_err *err)
{
    const size_t k = 50;
    struct gx_search_in exactly = *w->in;
    struct work exact_work = *w;
    struct found got = {0}, exact = {0};
    const float *probe = gx_rows_floats(w->gallery->rows, slot);
    exactly.exact = true;
    exact_work.in = &exactly;
    w->filter.without = exact_work.filter.without = slot;
    int64_t t0 = gx_clock_monotonic_us();
    GX_TRY(candidates(w, &probe, 1, k, &got, err));
    int64_t t1 = gx_clock_monotonic_us();
    GX_TRY(candidates(&exact_work, &probe, 1, k, &exact, err));
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
    gx_arena_init(&scratch, SCRATCH_MAX);
    struct work w = {.in = &search_in,
                     .gallery = g,
                     .filter = {.filter = &everything, .empty = true},
                     .arena = &scratch,
                     .count = gx_rows_count(g->rows)};
    uint64_t state = in->seed == 0 ? 1 : in->seed;
    /* Draws with replacement; a gallery of dead rows only ends after as many tries. */
    for (uint32_t tries = 0; w.count > 0 && out->n_probes < in->n_probes && tries < 16 * in->n_probes; tries++) {
        uint32_t slot = (uint32_t)(next_random(&state) % w.count);
        unsigned reader = gx_gallery_read_begin(g);
        enum gx_status status = gx_rows_is_live(g->rows, slot) ? measure_row(&w, slot, out, err) : GX_OK;
        gx_gallery_read_end(g, reader);
        gx_arena_reset(&scratch);
        if (status != GX_OK) {
            gx_arena_fini(&scratch);
            return status;
        }
    }
    gx_arena_fini(&scratch);
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
