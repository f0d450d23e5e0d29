/* Which rows are worth scoring, and their exact scores: an engine's proposals and the rows that it has not taken up
 * yet, or all rows. An exact answer comes from an engine that can prove which rows may be among the best, or from all
 * rows.
 *
 * What can go wrong: an engine is of no use any more: the rows are scanned, and it is rebuilt; it finds fewer than k
 * live rows although there are more (deletions, a narrow filter, a small effort): an exact answer follows, so that it
 * is never short; too many rows are alike for a proof by codes: all rows are scored. */
#include <stdlib.h>

#include "search_private.h"

#define SAMPLE 512 /* rows looked at to estimate how many a filter lets through */
#define SELECTIVE                                                                                                      \
    0.2 /* below this share the rows that pass are scored exactly, unless the engine looks at every row                \
         */

/* --- filter --- */

static int compare_keys(const void *a, const void *b)
{
    return memcmp(a, b, GX_KEY_LEN);
}

enum gx_status gx_search_compile(struct gx_galleries *galleries, const struct gx_gallery *g,
                                 const struct gx_filter *filter, struct gx_arena *arena, struct gx_search_filter *out,
                                 struct gx_err *err)
{
    *out = (struct gx_search_filter){.filter = filter, .without = UINT32_MAX};
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
    const struct gx_search_filter *c = arg;
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
static double estimate_share(const struct gx_search_work *w)
{
    if (w->filter.empty || w->count == 0)
        return 1;
    uint32_t n = GX_MIN(w->count, (uint32_t)SAMPLE), visible = 0, passing = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t slot = (uint32_t)((uint64_t)i * w->count / n);
        if (!gx_rows_is_visible(w->gallery->rows, slot))
            continue;
        visible++;
        passing += passes((void *)&w->filter, w->gallery->rows, slot);
    }
    return visible == 0 ? 1 : (double)passing / visible;
}

/* --- candidates: each gives the best of the gallery by exact score, in order --- */

static enum gx_status scan_exactly(const struct gx_search_work *w, const float *const *probes, size_t n_probes,
                                   size_t k, struct gx_search_found *out, struct gx_err *err)
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

/* Looks at the rows and the index of this moment. An engine that works beside changes is held by a reference. */
void gx_search_look(struct gx_search_work *w)
{
    struct gx_gallery *g = w->gallery;
    pthread_rwlock_rdlock(&g->lock);
    w->index = g->index;
    if (w->index.engine != NULL && w->index.engine->spec.beside && !atomic_load(&g->broken))
        gx_engine_ref(w->index.engine);
    else
        w->index.engine = NULL;
    pthread_rwlock_unlock(&g->lock);
    w->count = gx_rows_count(g->rows); /* after: the index has no row that is not counted */
}

void gx_search_look_away(struct gx_search_work *w)
{
    gx_engine_unref(w->index.engine);
    w->index.engine = NULL;
}

/* What an engine proposed. */
struct proposal {
    struct gx_engine_answer *answers; /* [n_probes] */
    uint32_t until;                   /* slots below were offered to it; 0 = there is no engine */
    const char *engine;
};

/* Proposed rows (slots below the proposal's until) that are visible and pass, scored exactly, into @top. */
static enum gx_status rescore(const struct gx_search_work *w, const float *probe, const struct gx_engine_answer *answer,
                              uint32_t until, struct gx_topk *top, uint32_t *out_rescored, struct gx_err *err)
{
    const struct gx_rows *rows = w->gallery->rows;
    uint32_t *slots, n = 0;
    GX_TRY(gx_arena_array(w->arena, answer->n, sizeof(*slots), &slots, err));
    for (size_t i = 0; i < answer->n; i++) {
        uint32_t slot = answer->hits[i].slot;
        if (slot == GX_ENGINE_NO_SLOT && !gx_rows_find(rows, answer->hits[i].rno, &slot))
            continue;
        if (slot < w->count && slot < until && gx_rows_is_visible(rows, slot) && passes((void *)&w->filter, rows, slot))
            slots[n++] = slot;
    }
    gx_rows_score(rows, slots, n, probe, top);
    *out_rescored = n;
    return GX_OK;
}

/* How many candidates to ask the engine for, so that enough are left after dead and quarantined rows and the filter. */
static size_t wanted(const struct gx_search_work *w, const struct gx_index *index, size_t k, double share)
{
    const struct gx_engine_spec *spec = &index->engine->spec;
    size_t n = w->in->n_candidates > 0 ? GX_MAX((size_t)w->in->n_candidates, k)
                                       : GX_MAX(spec->overfetch * k, spec->candidates_min);
    double more = (double)n;
    struct gx_engine_stats stats;
    gx_engine_stats(index->engine, &stats);
    if (!spec->filters) {
        uint64_t dropped = index->dead + gx_rows_quarantined(w->gallery->rows);
        more /= share;
        if (dropped > 0)
            more *= stats.entries > dropped ? (double)stats.entries / (double)(stats.entries - dropped)
                                            : (double)stats.entries;
    }
    more = GX_MIN(more, (double)GX_SEARCH_CANDIDATES_MAX);
    return (size_t)GX_MIN(more + 1, (double)stats.entries);
}

/* Asks the engine. Caller holds a reference, or the gallery's lock for reading. */
static enum gx_status propose(const struct gx_search_work *w, const struct gx_index *index, const float *const *probes,
                              size_t n_probes, size_t k, double share, bool certified, struct proposal *out,
                              struct gx_err *err)
{
    bool all = w->filter.empty && w->filter.without == UINT32_MAX;
    struct gx_engine_ask ask = {.probes = probes,
                                .n_probes = n_probes,
                                .effort = w->in->effort,
                                .until = index->until,
                                .certified = certified,
                                .pass = all ? NULL : passes,
                                .pass_arg = (void *)&w->filter,
                                .stop = w->in->stopped,
                                .stop_arg = w->in->stopped_arg};
    struct gx_slice text;
    if (index->engine == NULL || index->until == 0)
        return GX_OK;
    if (ask.effort.effort < 0 && ask.effort.nprobe == 0 && ask.effort.ef_search == 0)
        ask.effort.effort = w->gallery->meta.default_effort;
    ask.n_wanted = certified ? k : wanted(w, index, k, share);
    const char *name = index->engine->spec.text;
    GX_TRY(gx_arena_copy(w->arena, (struct gx_slice){(const uint8_t *)name, strlen(name) + 1}, &text, err));
    GX_TRY(gx_arena_array(w->arena, n_probes, sizeof(*out->answers), &out->answers, err));
    out->engine = (const char *)text.data;
    enum gx_status status = gx_engine_search(index->engine, &ask, w->arena, out->answers, err);
    if (status != GX_E_STATE && status != GX_E_INTERNAL) {
        out->until = index->until;
        return status;
    }
    /* The engine is of no use: the rows are. */
    atomic_store(&w->gallery->broken, true);
    return GX_OK;
}

/* The engine's candidates and the rows that it has not taken up yet, for each probe. *out_answered false: there is no
 * engine to ask. @certified: the answer is the exact one. */
static enum gx_status ask_engine(const struct gx_search_work *w, const float *const *probes, size_t n_probes, size_t k,
                                 double share, bool certified, struct gx_search_found *out, bool *out_answered,
                                 struct gx_err *err)
{
    struct proposal proposal = {0};
    struct gx_topk *tops;
    enum gx_status status;
    uint64_t tail = 0;
    *out_answered = false;
    if (w->index.engine != NULL) {
        status = propose(w, &w->index, probes, n_probes, k, share, certified, &proposal, err);
    } else {
        pthread_rwlock_rdlock(&w->gallery->lock);
        status = propose(w, &w->gallery->index, probes, n_probes, k, share, certified, &proposal, err);
        pthread_rwlock_unlock(&w->gallery->lock);
    }
    GX_TRY(status);
    if (proposal.until == 0)
        return GX_OK;
    *out_answered = true;
    GX_TRY(gx_arena_array(w->arena, n_probes, sizeof(*tops), &tops, err));
    for (size_t i = 0; i < n_probes; i++) {
        const struct gx_engine_answer *answer = &proposal.answers[i];
        GX_TRY(gx_arena_array(w->arena, k, sizeof(struct gx_hit), &out[i].hits, err));
        gx_topk_init(&tops[i], out[i].hits, k, gx_rows_tie, w->gallery->rows);
        out[i].complete = answer->complete;
        out[i].stats = (struct gx_search_stats){
            .engine = proposal.engine, .effort = answer->effort, .scanned = answer->scanned, .exhaustive = certified};
        GX_TRY(rescore(w, probes[i], answer, proposal.until, &tops[i], &out[i].stats.rescored, err));
    }
    bool all = w->filter.empty && w->filter.without == UINT32_MAX;
    GX_TRY(gx_rows_scan(w->gallery->rows, GX_MIN(proposal.until, w->count), w->count, probes, n_probes,
                        all ? NULL : passes, (void *)&w->filter, w->in->stopped, w->in->stopped_arg, tops, &tail, err));
    for (size_t i = 0; i < n_probes; i++) {
        out[i].stats.scanned += tail;
        out[i].stats.rescored += (uint32_t)tail;
        out[i].n = gx_topk_sort(&tops[i]);
    }
    return GX_OK;
}

static uint64_t count_visible(const struct gx_rows *rows)
{
    uint64_t live = gx_rows_live(rows), quarantined = gx_rows_quarantined(rows);
    return live > quarantined ? live - quarantined : 0; /* the two are not read at one moment */
}

/* The exact best @k of each probe: by an engine that can prove them, or by looking at every row. */
static enum gx_status exactly(const struct gx_search_work *w, const float *const *probes, size_t n_probes, size_t k,
                              struct gx_search_found *out, struct gx_err *err)
{
    bool answered = false;
    if (!w->scans && w->index.engine != NULL && w->index.engine->spec.certifies) {
        enum gx_status status = ask_engine(w, probes, n_probes, k, 1, true, out, &answered, err);
        if (status != GX_OK && status != GX_E_TOO_LARGE) /* too many alike for its codes */
            return status;
        answered = answered && status == GX_OK;
    }
    return answered ? GX_OK : scan_exactly(w, probes, n_probes, k, out, err);
}

/* The best @k of each probe. */
enum gx_status gx_search_candidates(const struct gx_search_work *w, const float *const *probes, size_t n_probes,
                                    size_t k, struct gx_search_found *out, struct gx_err *err)
{
    bool exhaustive = w->index.engine != NULL && w->index.engine->spec.exhaustive, answered;
    double share = exhaustive ? 1 : estimate_share(w);
    if (w->scans || w->in->exact || share < SELECTIVE)
        return exactly(w, probes, n_probes, k, out, err);
    GX_TRY(ask_engine(w, probes, n_probes, k, share, false, out, &answered, err));
    if (!answered)
        return scan_exactly(w, probes, n_probes, k, out, err);
    for (size_t i = 0; i < n_probes; i++)
        if (out[i].n < k && !out[i].complete && out[i].n < count_visible(w->gallery->rows))
            GX_TRY(exactly(w, &probes[i], 1, k, &out[i], err));
    return GX_OK;
}

bool gx_search_scans(const struct gx_search_work *w)
{
    if (atomic_load(&w->gallery->indexed_until) == UINT32_MAX)
        return true;
    return w->index.engine == NULL && (w->in->exact || estimate_share(w) < SELECTIVE);
}
