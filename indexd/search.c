/* The path of a search: gallery, embedder, epoch -> probes normalised -> filter compiled -> as a reader of the rows:
 * candidates (the engine's, plus an exact scan of the rows it has not taken up yet; or an exact scan of all) -> exact
 * scores, dead and quarantined rows and rows that the filter refuses dropped -> grouping, threshold, order -> records
 * copied out. An engine that works beside changes is asked without any lock; for another the gallery's lock is held
 * while it is asked, so a long scan never stands in the way of a change.
 *
 * An exact search asks an engine that can prove which rows may be among the best, and scores those; without such an
 * engine it scores every row.
 *
 * The store decides what exists: whatever an index proposes is looked up in the rows, and a dead row, or one that a
 * legal hold keeps out of searches, is not a candidate.
 *
 * What can go wrong: an index that finds fewer than k live rows although there are more (deletions, a narrow filter, a
 * small effort) is followed by an exact scan, so that the answer is never short; nobody waits any more (@stopped). */
#include "search_private.h"

#include "vec.h"

#define BRIEF_K      100
#define GROUP_FACTOR 4 /* first guess of photos per subject when grouping */

/* --- grouping and copying --- */

/* Keeps the best photo of each subject, at most @k subjects; the hits are in order. Records without a subject stand for
 * themselves. Quadratic in k for up to a few thousand 16-byte keys: less than one row's scoring each. */
static enum gx_status group(const struct gx_search_work *w, struct gx_search_found *found, size_t k, struct gx_err *err)
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
static enum gx_status grouped_candidates(const struct gx_search_work *w, const float *probe,
                                         struct gx_search_found *out, struct gx_err *err)
{
    for (size_t n = w->k * GROUP_FACTOR;; n *= GROUP_FACTOR) {
        n = GX_MIN(n, GX_MAX((size_t)w->count, (size_t)1));
        GX_TRY(gx_search_candidates(w, &probe, 1, n, out, err));
        bool everything = out->n < n || n >= w->count;
        GX_TRY(group(w, out, w->k, err));
        if (out->n == w->k || everything)
            return GX_OK;
    }
}

/* The ids of a candidate side by side in one piece of the arena. */
static enum gx_status copy_ids(const struct gx_record *record, struct gx_arena *arena, struct gx_candidate *out,
                               struct gx_err *err)
{
    struct gx_slice r = record->record_id, s = record->subject_id, a = record->arrest_id;
    uint8_t *p = gx_arena_alloc(arena, r.len + s.len + a.len);
    if (p == NULL)
        return gx_fail(err, GX_E_TOO_LARGE, "no memory for the candidates: ask for fewer at a time");
    out->record_id = (struct gx_slice){memcpy(p, r.data, r.len), r.len};
    out->subject_id = (struct gx_slice){memcpy(p + r.len, s.data, s.len), s.len};
    out->arrest_id = (struct gx_slice){memcpy(p + r.len + s.len, a.data, a.len), a.len};
    return GX_OK;
}

static enum gx_status copy_out(const struct gx_search_work *w, const struct gx_search_found *found,
                               struct gx_search_result *out, struct gx_err *err)
{
    GX_TRY(gx_arena_array(w->out, found->n, sizeof(*out->candidates), &out->candidates, err));
    for (size_t i = 0; i < found->n; i++) {
        struct gx_candidate *c = &out->candidates[out->n];
        struct gx_row row;
        struct gx_record record;
        double score = found->hits[i].score;
        c->cosine = score > 1 ? 1 : score < -1 ? -1 : score;
        if ((float)c->cosine < w->in->min_cosine) /* as the caller sees it */
            break;
        gx_rows_get(w->gallery->rows, found->hits[i].slot, &row);
        GX_TRY(gx_codec_record_decode(row.record, &record, err));
        GX_TRY(copy_ids(&record, w->out, c, err));
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
    if (in->n_candidates != 0 && (in->n_candidates < in->k || in->n_candidates > GX_SEARCH_CANDIDATES_MAX))
        return gx_fail(err, GX_E_INVALID, "candidates: k..%d, got %u", GX_SEARCH_CANDIDATES_MAX, in->n_candidates);
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

/* A search that is over before a worker would have heard of it: one scan of a few rows. */
static bool is_brief(const struct gx_search_in *in, const struct gx_gallery *g, uint32_t count)
{
    const struct gx_filter *f = &in->filter;
    bool filtered = f->captured_from_us != 0 || f->captured_until_us != 0 || f->n_subjects + f->n_attributes > 0;
    return in->n_probes == 1 && in->k <= BRIEF_K && !in->group_by_subject && !filtered &&
           (uint64_t)count * g->meta.dim <= GX_SEARCH_BRIEF_FLOATS;
}

static enum gx_status refuse_long(struct gx_err *err)
{
    return gx_fail(err, GX_E_BUSY, "the search takes longer than it may here: leave it to a worker");
}

/* Probe by probe, each in the scratch arena anew; or all in one pass over memory. */
static enum gx_status search_rows(struct gx_search_work *w, const float *const *probes,
                                  struct gx_search_result *results, uint64_t epoch, struct gx_err *err)
{
    bool grouped = w->in->group_by_subject;
    size_t n = w->in->n_probes;
    w->scans = gx_search_scans(w);
    if (w->in->brief && !(w->scans && is_brief(w->in, w->gallery, w->count))) /* as it is now, for good */
        return refuse_long(err);
    size_t step = !grouped && (w->scans || w->index.engine != NULL) ? n : 1;
    for (size_t i = 0; i < n; i += step) {
        struct gx_search_found *found;
        if (w->arena != w->out)
            gx_arena_reset(w->arena);
        GX_TRY(gx_arena_array(w->arena, step, sizeof(*found), &found, err));
        if (grouped)
            GX_TRY(grouped_candidates(w, probes[i], found, err));
        else
            GX_TRY(gx_search_candidates(w, probes + i, step, w->k, found, err));
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
    struct gx_arena scratch = {0};
    /* Scratch of its own is for those who would pile it up. */
    bool once = in->n_probes == 1 && !in->group_by_subject;
    struct gx_search_work w = {.in = in, .gallery = g, .arena = once ? arena : &scratch, .out = arena, .k = in->k};
    const float **probes = NULL;
    if (in->brief && !is_brief(in, g, gx_rows_count(g->rows)))
        return refuse_long(err);
    GX_TRY(check(in, galleries, g, err));
    GX_TRY(normalise(in, arena, &probes, err));
    GX_TRY(gx_search_compile(galleries, g, &in->filter, arena, &w.filter, err));
    GX_TRY(gx_arena_array(arena, in->n_probes, sizeof(**out_results), out_results, err));
    /* Read before the rows are counted: what is visible is then at least what this epoch says. */
    uint64_t epoch = atomic_load(&galleries->epoch);
    gx_arena_init(&scratch, GX_SEARCH_SCRATCH_MAX);
    unsigned reader = gx_gallery_read_begin(g);
    gx_search_look(&w);
    enum gx_status status = search_rows(&w, probes, *out_results, epoch, err);
    gx_search_look_away(&w);
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
