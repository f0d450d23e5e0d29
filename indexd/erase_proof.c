/* The search for the bytes of erased rows in the files of the data directory.
 *
 * The path: while a row is still in memory, what the files hold of it is copied: its floats, and its record as encoded
 * -> before the erasure the positive control looks for the copies in the store, since a search that cannot hit proves
 * nothing -> after it the whole data directory is looked through, and nothing may be found.
 *
 * What can go wrong: there is no copy (the server was restarted, the order is too large, the row too short to be told
 * from chance), or the control does not find it (records are enrolled and expunged without a pause, and an erasure
 * before this one has rewritten its file): then the ticket is proven by the structure of the store alone, and says why.
 * A copy is found that a living row has as well (one photo enrolled twice): it says nothing about ours. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "erase_private.h"

#define COPIES_MAX ((size_t)128 << 20) /* bytes of all tickets together */
#define ROW_MATCH  64                  /* bytes of a row in one piece that count as found */
#define ROW_DETAIL 16
#define MATCH_MIN  32 /* shorter ones could be chance */
#define LANES_MAX  4  /* lengths of a match in one scan */

static void give_reason(struct gx_pending *p, const char *reason)
{
    if (p->reason[0] == '\0')
        snprintf(p->reason, sizeof(p->reason), "%s", reason);
}

void gx_erase_proof_drop(struct gx_galleries *galleries, struct gx_pending *p)
{
    struct gx_erase_proof *proof = &p->proof;
    if (proof->bytes != NULL) {
        explicit_bzero(proof->bytes, proof->len);
        munmap(proof->bytes, proof->len);
        galleries->proof_bytes -= proof->len;
    }
    free(proof->patterns);
    free(proof->wholes);
    free(proof->seen);
    *proof = (struct gx_erase_proof){0};
}

/* Room for @len bytes and two patterns a row; not in a core dump, and not swapped out where that is allowed. */
static bool make_room(struct gx_galleries *galleries, struct gx_pending *p, size_t len)
{
    struct gx_erase_proof *proof = &p->proof;
    if (len > COPIES_MAX - galleries->proof_bytes)
        return false;
    void *bytes = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (bytes == MAP_FAILED)
        return false;
    (void)madvise(bytes, len, MADV_DONTDUMP);
    (void)mlock(bytes, len);
    proof->bytes = bytes;
    proof->len = len;
    galleries->proof_bytes += len;
    proof->patterns = calloc(2 * p->n, sizeof(*proof->patterns));
    proof->wholes = calloc(2 * p->n, sizeof(*proof->wholes));
    proof->seen = calloc(2 * p->n, sizeof(*proof->seen));
    if (proof->patterns != NULL && proof->wholes != NULL && proof->seen != NULL)
        return true;
    gx_erase_proof_drop(galleries, p);
    return false;
}

static size_t row_len(const struct gx_gallery *g)
{
    return g->meta.dim * sizeof(float);
}

/* The longest match that is looked for in one piece of @len bytes. A scan takes few different ones. */
static size_t match_for(size_t len)
{
    static const size_t matches[] = {128, 64, MATCH_MIN};
    for (size_t i = 0; i < GX_COUNT_OF(matches); i++)
        if (len >= matches[i])
            return matches[i];
    return 0;
}

/* Adds a pattern of the proof's own bytes when there is something to recognise. */
static bool add_pattern(struct gx_erase_proof *proof, const struct gx_scan_pattern *pattern, struct gx_slice whole)
{
    if (pattern->min_match == 0 || !gx_scan_can_hit(pattern))
        return false;
    proof->wholes[proof->n_patterns] = whole;
    proof->patterns[proof->n_patterns++] = *pattern;
    return true;
}

/* Copies @bytes. */
static const uint8_t *keep(struct gx_erase_proof *proof, size_t *used, const void *bytes, size_t len)
{
    uint8_t *kept = proof->bytes + *used;
    memcpy(kept, bytes, len);
    *used += len;
    return kept;
}

/* Of a record the piece with its id: most of the rest, two photos of an arrest have in common. From the id on where
 * that is long enough, since the times and counts before it are mostly zeros, which files are full of. */
static bool add_record(struct gx_erase_proof *proof, struct gx_slice kept)
{
    struct gx_record record;
    if (gx_codec_record_decode(kept, &record, NULL) != GX_OK)
        return false;
    size_t from = (size_t)(record.record_id.data - kept.data), match = match_for(kept.len - from);
    if (match < record.record_id.len) { /* up to where it ends, then */
        size_t until = GX_MAX(from + record.record_id.len, GX_MIN(kept.len, (size_t)MATCH_MIN));
        match = match_for(until);
        from = until - match;
    }
    return add_pattern(proof, &(struct gx_scan_pattern){kept.data + from, match, match, 0}, kept);
}

static bool add_row(struct gx_gallery *g, uint32_t slot, struct gx_erase_proof *proof, size_t *used)
{
    struct gx_row columns;
    size_t len = row_len(g), match = GX_MIN(match_for(len), (size_t)ROW_MATCH);
    gx_rows_get(g->rows, slot, &columns);
    const uint8_t *floats = keep(proof, used, gx_rows_floats(g->rows, slot), len);
    const uint8_t *record = keep(proof, used, columns.record.data, columns.record.len);
    bool added = add_pattern(proof, &(struct gx_scan_pattern){floats, len, match, GX_MIN(len / 4, (size_t)ROW_DETAIL)},
                             (struct gx_slice){0});
    return add_record(proof, (struct gx_slice){record, columns.record.len}) && added;
}

void gx_erase_proof_take(struct gx_galleries *galleries, struct gx_gallery *g, struct gx_pending *p)
{
    size_t len = 0, used = 0;
    uint32_t slot;
    struct gx_row columns;
    for (size_t i = 0; i < p->n; i++)
        if (gx_rows_find(g->rows, p->rnos[i], &slot)) {
            gx_rows_get(g->rows, slot, &columns);
            len += row_len(g) + columns.record.len;
        }
    if (p->n == 0)
        return;
    if (len == 0)
        give_reason(p, "the server was restarted since, the rows are not known any more");
    else if (!make_room(galleries, p, len))
        give_reason(p, "too many rows at a time to keep copies of them");
    for (size_t i = 0; i < p->n && p->proof.bytes != NULL; i++) {
        if (!gx_rows_find(g->rows, p->rnos[i], &slot))
            give_reason(p, "a row was not in memory any more");
        else if (!add_row(g, slot, &p->proof, &used))
            give_reason(p, "a row is too short or too plain to be told from chance");
    }
}

/* --- scans --- */

/* The patterns of all tickets that can be proven by bytes, as one list. */
struct search {
    struct gx_scan_pattern *patterns;
    struct gx_slice *wholes;
    bool *hit;
    bool *twin; /* found, and explained by what has still to be erased */
    size_t n;
    struct gx_scan *scan;
    const struct gx_store_clear *clear; /* tables to leave out; NULL = none */
    const char *tables;                 /* where these are, in the directory that is searched */
    struct gx_galleries *galleries;
    struct gx_scan_result result;
};

static void search_end(struct search *s)
{
    gx_scan_free(s->scan);
    free(s->patterns);
    free(s->wholes);
    free(s->hit);
    free(s->twin);
}

static bool has_proof(const struct gx_pending *p)
{
    return p->proof.bytes != NULL && p->reason[0] == '\0';
}

static enum gx_status search_begin(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n,
                                   struct search *out, struct gx_err *err)
{
    *out = (struct search){.galleries = galleries};
    for (size_t t = 0; t < n; t++)
        out->n += has_proof(list[t]) ? list[t]->proof.n_patterns : 0;
    if (out->n == 0)
        return GX_OK;
    out->patterns = calloc(out->n, sizeof(*out->patterns));
    out->wholes = calloc(out->n, sizeof(*out->wholes));
    out->hit = calloc(out->n, sizeof(*out->hit));
    out->twin = calloc(out->n, sizeof(*out->twin));
    if (out->patterns == NULL || out->wholes == NULL || out->hit == NULL || out->twin == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to look for erased rows");
    for (size_t t = 0, at = 0; t < n; t++)
        if (has_proof(list[t])) {
            memcpy(out->patterns + at, list[t]->proof.patterns, list[t]->proof.n_patterns * sizeof(*out->patterns));
            memcpy(out->wholes + at, list[t]->proof.wholes, list[t]->proof.n_patterns * sizeof(*out->wholes));
            at += list[t]->proof.n_patterns;
        }
    out->result.pattern_hit = out->hit;
    enum gx_status status = gx_scan_new(out->patterns, out->n, &out->scan, err);
    if (status != GX_E_TOO_LARGE && status != GX_E_NOMEM)
        return status;
    /* An erasure does not wait for a proof that cannot be had. */
    for (size_t t = 0; t < n; t++)
        if (has_proof(list[t]))
            give_reason(list[t], "too many rows, or too many that are alike, to look for them");
    out->n = 0;
    return GX_OK;
}

static bool leave_out(void *arg, const char *file)
{
    const struct search *s = arg;
    size_t len = strlen(s->tables);
    if (s->clear == NULL)
        return false;
    /* Where a row stands in a file of floats is known, and was written over. */
    if (strncmp(file, "rows/", 5) == 0)
        return true;
    return strncmp(file, s->tables, len) == 0 && gx_store_is_clear(s->clear, file + len);
}

static bool stop(void *arg)
{
    return gx_keeper_is_stopping(((struct search *)arg)->galleries);
}

enum gx_status gx_erase_proof_control(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n,
                                      const struct gx_store_clear *clear, struct gx_err *err)
{
    struct search s;
    enum gx_status status;
    GX_TRY_OUT(search_begin(galleries, list, n, &s, err));
    s.clear = clear;
    s.tables = "";
    if (s.n > 0)
        GX_TRY_OUT(gx_scan_dir(s.scan, galleries->store_dir, leave_out, &s, stop, &s, &s.result, err));
    for (size_t t = 0, at = 0; t < n; t++) {
        struct gx_erase_proof *proof = &list[t]->proof;
        if (!has_proof(list[t]))
            continue;
        for (size_t i = 0; i < proof->n_patterns; i++, at++)
            proof->seen[i] = proof->seen[i] || s.hit[at]; /* in an earlier attempt, too */
        list[t]->facts.control_hits = 0;
        for (size_t i = 0; i < proof->n_patterns; i++)
            list[t]->facts.control_hits += proof->seen[i];
    }
out:
    search_end(&s);
    return status;
}

/* --- what is found after all --- */

/* Looks for the records of @which (their patterns), which are @n and of at most LANES_MAX lengths, as a whole; those
 * that are not found are not hit. */
static enum gx_status look_for_records(struct search *s, const size_t *which, size_t n, struct gx_err *err)
{
    struct gx_scan_pattern *patterns = calloc(n, sizeof(*patterns));
    bool *hit = calloc(n, sizeof(*hit));
    struct gx_scan *scan = NULL;
    struct gx_scan_result result = {.pattern_hit = hit};
    enum gx_status status;
    if (patterns == NULL || hit == NULL) {
        status = gx_fail(err, GX_E_NOMEM, "no memory to look for erased rows");
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        const struct gx_slice *whole = &s->wholes[which[i]];
        patterns[i] =
            (struct gx_scan_pattern){whole->data, whole->len, GX_MIN(whole->len, (size_t)GX_SCAN_MATCH_MAX), 0};
    }
    GX_TRY_OUT(gx_scan_new(patterns, n, &scan, err));
    GX_TRY_OUT(gx_scan_dir(scan, s->galleries->data_dir, leave_out, s, stop, s, &result, err));
    for (size_t i = 0; i < n; i++)
        s->hit[which[i]] = hit[i];
    if (result.n_first > 0) { /* one place is enough for an alarm */
        size_t at = GX_MIN(s->result.n_first, (size_t)GX_SCAN_HITS_MAX - 1);
        s->result.first[at] = result.first[0];
        s->result.first[at].pattern = which[result.first[0].pattern];
        s->result.n_first = at + 1;
    }
out:
    gx_scan_free(scan);
    free(patterns);
    free(hit);
    return status;
}

/* A piece of a record that is found may be another one's, with the same id in another gallery or a long one that ends
 * alike: it counts when the whole record is there. Rare, and so without haste: a few lengths at a time. */
static enum gx_status confirm_records(struct search *s, struct gx_err *err)
{
    size_t *which = calloc(s->n, sizeof(*which)), n = 0;
    bool *left = calloc(s->n, sizeof(*left));
    enum gx_status status = GX_OK;
    if (which == NULL || left == NULL) {
        status = gx_fail(err, GX_E_NOMEM, "no memory to look for erased rows");
        goto out;
    }
    for (size_t i = 0; i < s->n; i++)
        left[i] = s->hit[i] && s->wholes[i].len > 0;
    do {
        size_t lengths[LANES_MAX], n_lengths = 0;
        n = 0;
        for (size_t i = 0; i < s->n; i++) {
            size_t len = GX_MIN(s->wholes[i].len, (size_t)GX_SCAN_MATCH_MAX), l = 0;
            while (left[i] && l < n_lengths && lengths[l] != len)
                l++;
            if (!left[i] || l == LANES_MAX)
                continue;
            lengths[l] = len;
            n_lengths += l == n_lengths;
            left[i] = false;
            which[n++] = i;
        }
        if (n > 0)
            GX_TRY_OUT(look_for_records(s, which, n, err));
    } while (n > 0);
out:
    free(which);
    free(left);
    return status;
}

/* A hit by the first bytes of its pattern. */
struct suspect {
    uint64_t word;
    size_t pattern;
};

static int compare_suspects(const void *a, const void *b)
{
    uint64_t p = ((const struct suspect *)a)->word, q = ((const struct suspect *)b)->word;
    return (p > q) - (p < q);
}

static uint64_t first_word(const void *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

/* The suspects of that length, in the order of their first words. */
static size_t sort_suspects(const struct search *s, size_t len, struct suspect *suspects)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->hit[i] && s->patterns[i].len == len)
            suspects[n++] = (struct suspect){first_word(s->patterns[i].bytes), i};
    if (n > 1)
        qsort(suspects, n, sizeof(*suspects), compare_suspects);
    return n;
}

/* A row like these may stand in the files: a living one explains its hits for good, another for now. */
static void explain_by(struct search *s, const struct suspect *suspects, size_t n, const void *row, size_t len,
                       bool lives)
{
    const struct suspect key = {first_word(row), 0};
    const struct suspect *found = bsearch(&key, suspects, n, sizeof(*suspects), compare_suspects);
    while (found != NULL && found > suspects && found[-1].word == key.word)
        found--;
    for (; found != NULL && found < suspects + n && found->word == key.word; found++) {
        if (memcmp(row, s->patterns[found->pattern].bytes, len) != 0)
            continue;
        s->twin[found->pattern] = !lives;
        s->hit[found->pattern] = s->hit[found->pattern] && !lives;
    }
}

/* The same embedding under another record, which lives or is only hidden yet. */
static void explain_in(struct gx_gallery *g, struct search *s, struct suspect *suspects)
{
    size_t len = row_len(g), n = sort_suspects(s, len, suspects);
    if (n == 0)
        return;
    unsigned reader = gx_gallery_read_begin(g);
    uint32_t count = gx_rows_count(g->rows);
    for (uint32_t slot = 0; slot < count; slot++)
        explain_by(s, suspects, n, gx_rows_floats(g->rows, slot), len, gx_rows_is_live(g->rows, slot));
    gx_gallery_read_end(g, reader);
}

/* ... or whose ticket waits for its turn. */
static void explain_by_pending(const struct gx_pending *p, struct search *s, struct suspect *suspects)
{
    const struct gx_erase_proof *proof = &p->proof;
    if (p->cleaned || proof->n_patterns == 0)
        return;
    size_t n = sort_suspects(s, proof->patterns[0].len, suspects); /* of a row: all of a ticket's have one length */
    for (size_t i = 0; n > 0 && i < proof->n_patterns; i++)
        if (proof->wholes[i].len == 0)
            explain_by(s, suspects, n, proof->patterns[i].bytes, proof->patterns[i].len, false);
}

static enum gx_status explain_hits(struct gx_galleries *galleries, struct search *s, struct gx_pending *const *all,
                                   size_t n_all, struct gx_err *err)
{
    struct suspect *suspects = calloc(s->n, sizeof(*suspects));
    if (suspects == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to look for erased rows");
    struct gx_gallery *list[GX_GALLERIES_MAX];
    pthread_rwlock_rdlock(&galleries->lock);
    size_t n = galleries->n;
    for (size_t i = 0; i < n; i++) {
        list[i] = galleries->list[i];
        gx_gallery_ref(list[i]);
    }
    pthread_rwlock_unlock(&galleries->lock);
    for (size_t t = 0; t < n_all; t++)
        explain_by_pending(all[t], s, suspects);
    for (size_t i = 0; i < n; i++) {
        if (atomic_load(&list[i]->loaded))
            explain_in(list[i], s, suspects);
        gx_gallery_unref(list[i]);
    }
    free(suspects);
    return GX_OK;
}

/* Names a place where pattern @at was found, if it is among those that were noted. */
static void tell_found(const struct search *s, size_t at, struct gx_pending *p)
{
    struct gx_err err;
    p->found = true;
    gx_err_set(&err, GX_E_STATE,
               "bytes of an erased row are in the data directory still: stop what holds or copies its files; it is "
               "tried again");
    for (size_t i = 0; i < s->result.n_first; i++)
        if (s->result.first[i].pattern == at)
            gx_err_set(&err, GX_E_STATE,
                       "bytes of an erased row are in '%s' at %" PRIu64
                       " still: stop what holds or copies that file; it is tried again",
                       s->result.first[i].file, s->result.first[i].offset);
    snprintf(p->problem, sizeof(p->problem), "%s", err.text);
}

static void set_figures(const struct search *s, struct gx_pending *p)
{
    struct gx_ticket *facts = &p->facts;
    bool by_bytes = has_proof(p);
    if (!by_bytes)
        give_reason(p, p->n == 0 ? "no record matched, there was nothing to erase"
                                 : "the rows are not in memory any more");
    p->proven = true;
    facts->method = by_bytes ? GX_TICKET_BYTES : GX_TICKET_STRUCTURAL;
    facts->files_scanned = by_bytes ? s->result.n_files : 0;
    facts->bytes_scanned = by_bytes ? s->result.n_bytes : 0;
    facts->files_left_out = by_bytes ? s->result.n_skipped : 0;
    facts->control_hits = by_bytes ? facts->control_hits : 0;
}

/* Is it found (an alarm), found for now, or proven? Reasons are given only to one of which nothing is found: they end
 * the search for it. */
static void judge(const struct search *s, struct gx_pending *p, size_t at, const bool *was_hit)
{
    size_t n = p->proof.n_patterns;
    bool waits = false;
    p->found = false;
    for (size_t i = 0; i < n && !p->found; i++) {
        if (s->hit[at + i] && !s->twin[at + i])
            tell_found(s, at + i, p);
        waits = waits || s->hit[at + i];
    }
    if (p->found || waits)
        return;
    for (size_t i = 0; i < n; i++) {
        if (was_hit[at + i])
            give_reason(p, "the same embedding is enrolled under another record");
        if (!p->proof.seen[i])
            give_reason(p,
                        "the positive control did not find all of it in the files (as when these were rewritten after "
                        "it was expunged)");
    }
    set_figures(s, p);
}

/* Rows of all galleries together: what a scan of everything would read. */
static uint64_t bytes_of_rows(struct gx_galleries *galleries)
{
    uint64_t bytes = 0;
    pthread_rwlock_rdlock(&galleries->lock);
    for (size_t i = 0; i < galleries->n; i++)
        bytes += gx_rows_live(galleries->list[i]->rows) * row_len(galleries->list[i]);
    pthread_rwlock_unlock(&galleries->lock);
    return bytes;
}

/* Looks, and tells hits of ours from others. */
static enum gx_status look(struct search *s, struct gx_pending *const *all, size_t n_all, bool *was_hit,
                           struct gx_err *err)
{
    GX_TRY(gx_scan_dir(s->scan, s->galleries->data_dir, leave_out, s, stop, s, &s->result, err));
    if (s->result.n_hits == 0)
        return GX_OK;
    GX_TRY(confirm_records(s, err));
    memcpy(was_hit, s->hit, s->n * sizeof(*was_hit));
    return explain_hits(s->galleries, s, all, n_all, err);
}

enum gx_status gx_erase_proof_check(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n,
                                    struct gx_pending *const *all, size_t n_all, const struct gx_store_clear *clear,
                                    struct gx_err *err)
{
    struct search s;
    bool *was_hit = NULL;
    enum gx_status status;
    GX_TRY_OUT(search_begin(galleries, list, n, &s, err));
    s.clear = bytes_of_rows(galleries) > galleries->options.scan_all_bytes ? clear : NULL;
    s.tables = "store/";
    if (s.n > 0) {
        was_hit = calloc(s.n, sizeof(*was_hit));
        if (was_hit == NULL) {
            status = gx_fail(err, GX_E_NOMEM, "no memory to look for erased rows");
            goto out;
        }
        GX_TRY_OUT(look(&s, all, n_all, was_hit, err));
    }
    for (size_t t = 0, at = 0; t < n; t++) {
        size_t n_patterns = has_proof(list[t]) ? list[t]->proof.n_patterns : 0;
        if (n_patterns == 0)
            set_figures(&s, list[t]);
        else
            judge(&s, list[t], at, was_hit);
        at += n_patterns;
    }
out:
    free(was_hit);
    search_end(&s);
    return status;
}
