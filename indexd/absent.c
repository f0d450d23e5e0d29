/* The path of a check: the gallery -> search and store -> every file of the data directory -> the verdict.
 *
 * What can go wrong: a file cannot be read, or the files never stand still: no verdict, but an error; an id is a part
 * of longer ones, or stands in the texts of other records: such places are told from the record itself by the form in
 * which records are stored, and what cannot be told apart counts as found. */
#include "absent.h"

#include "clock.h"
#include "gallery_private.h"
#include "lookup.h"
#include "search.h"
#include "vec.h"

#define ID_MIN 8  /* bytes of an id that can be looked for */
#define MATCH  64 /* bytes of a row that are no coincidence */
#define DETAIL 16
#define SAME   0.999999 /* cosine of the same embedding: what rounding leaves of 1 */

/* --- a record's id in a file --- */

/* The head of a stored record (schemas/FORMAT.md): format, three numbers, three lengths, number of attributes. */
#define HEAD_LEN   29
#define HEAD_TIMES 25 /* of them tell one enrolment from every other */
#define YEAR_2000  INT64_C(946684800000000)
#define YEAR_2200  INT64_C(7258118400000000)
#define LOOK_BACK  6000 /* more than a record has before its last byte */

struct id_filter {
    struct gx_slice id;
    uint8_t (*others)[HEAD_TIMES]; /* the heads of records of this id in other galleries */
    size_t n_others;
};

static uint64_t get_u64(const uint8_t *p)
{
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | p[i];
    return n;
}

static bool is_head(const uint8_t *h)
{
    uint64_t enrolled_at = get_u64(h + 1), epoch = get_u64(h + 9);
    return h[0] == 1 && enrolled_at > YEAR_2000 && enrolled_at < YEAR_2200 && epoch > 0 && epoch >> 48 == 0 &&
           h[25] >= 1 && h[25] <= GX_ID_MAX && h[26] <= GX_ID_MAX && h[27] <= GX_ID_MAX && h[28] <= GX_ATTRIBUTES_MAX;
}

/* Does the record whose head is at @head reach to @until? */
static bool reaches(const uint8_t *bytes, size_t len, size_t head, size_t until)
{
    const uint8_t *h = bytes + head;
    size_t end = head + HEAD_LEN + h[25] + h[26] + h[27];
    for (unsigned i = 0; i < h[28] && end < until; i++) {
        if (end + 3 > len)
            return true; /* the rest of it is not here; what is, fits */
        end += (size_t)3 + bytes[end] + bytes[end + 1] + ((size_t)bytes[end + 2] << 8);
    }
    return until <= end;
}

/* A write-ahead log is written in blocks, each begins with 7 bytes of its own, also in the middle of a record. */
#define BLOCK_LEN  ((uint64_t)32768)
#define BLOCK_HEAD 7

static bool is_log(const char *file)
{
    size_t len = strlen(file);
    return len > 4 && strcmp(file + len - 4, ".log") == 0;
}

/* What is around the run, without what cuts records in a log. The run is at [*out_from, *out_until) of @out. */
static size_t gather(const struct gx_scan_sight *sight, uint8_t out[2 * LOOK_BACK], size_t *out_from, size_t *out_until)
{
    size_t first = sight->from > LOOK_BACK ? sight->from - LOOK_BACK : 0, n = 0;
    size_t last = GX_MIN(sight->len, sight->until + LOOK_BACK / 2);
    bool log = is_log(sight->file);
    *out_from = *out_until = 0;
    for (size_t i = first; i < last; i++) {
        if (i == sight->from)
            *out_from = n;
        if (i == sight->until)
            *out_until = n;
        if (!log || (sight->offset + i) % BLOCK_LEN >= BLOCK_HEAD || (i >= sight->from && i < sight->until))
            out[n++] = sight->bytes[i];
    }
    if (*out_until == 0)
        *out_until = n;
    return n;
}

/* A gx_scan_filter: is this the record, and not a text of another? */
static bool is_the_record(void *arg, const struct gx_scan_sight *sight)
{
    const struct id_filter *f = arg;
    uint8_t bytes[2 * LOOK_BACK];
    size_t from, until, len = gather(sight, bytes, &from, &until);
    if (from < HEAD_LEN)
        return true;
    size_t own = from - HEAD_LEN;
    if (is_head(bytes + own) && bytes[own + 25] == f->id.len) {
        for (size_t i = 0; i < f->n_others; i++)
            if (memcmp(bytes + own, f->others[i], HEAD_TIMES) == 0)
                return false;
        return true;
    }
    for (size_t head = own + 1; head-- > 0;)
        if (is_head(bytes + head) && reaches(bytes, len, head, until))
            return false;
    return true;
}

/* The stored record of that id in a gallery. GX_E_NOT_FOUND without text. */
static enum gx_status get_stored(struct gx_galleries *galleries, const struct gx_gallery_meta *meta, struct gx_slice id,
                                 struct gx_arena *arena, struct gx_slice *out, struct gx_err *err)
{
    struct gx_key key;
    uint8_t id_key[GX_KEY_ID_LEN], row_key[GX_KEY_ROW_LEN];
    struct gx_slice rno;
    GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_RECORD, gx_slice_text(meta->name), id, &key, err));
    gx_codec_id_key(meta->number, &key, id_key);
    GX_TRY(
        gx_store_get(galleries->store, GX_CF_BY_RECORD, (struct gx_slice){id_key, sizeof(id_key)}, arena, &rno, err));
    if (rno.len != 8)
        return gx_fail(err, GX_E_CORRUPT, "family by_record holds a value of %zu bytes", rno.len);
    gx_codec_row_key(meta->number, gx_codec_get_u64(rno.data), row_key);
    return gx_store_get(galleries->store, GX_CF_REC, (struct gx_slice){row_key, sizeof(row_key)}, arena, out, err);
}

/* Other galleries may have a record of the same id, lawfully. */
static enum gx_status collect_others(struct gx_galleries *galleries, uint32_t number, struct gx_slice id,
                                     struct gx_arena *arena, struct id_filter *out, struct gx_err *err)
{
    struct gx_gallery_meta *metas;
    size_t n = 0;
    *out = (struct id_filter){.id = id};
    GX_TRY(gx_arena_array(arena, GX_GALLERIES_MAX, sizeof(*metas), &metas, err));
    GX_TRY(gx_arena_array(arena, GX_GALLERIES_MAX, HEAD_TIMES, &out->others, err));
    pthread_rwlock_rdlock(&galleries->lock);
    for (size_t i = 0; i < galleries->n; i++)
        if (galleries->list[i]->meta.number != number)
            metas[n++] = galleries->list[i]->meta;
    pthread_rwlock_unlock(&galleries->lock);
    for (size_t i = 0; i < n; i++) {
        struct gx_slice stored;
        enum gx_status status = get_stored(galleries, &metas[i], id, arena, &stored, err);
        if (status == GX_E_NOT_FOUND)
            continue;
        GX_TRY(status);
        if (stored.len >= HEAD_LEN)
            memcpy(out->others[out->n_others++], stored.data, HEAD_TIMES);
    }
    return GX_OK;
}

/* --- files --- */

static enum gx_status look_in_files(struct gx_galleries *galleries, const struct gx_absent_in *in,
                                    const struct gx_scan_pattern *pattern, struct gx_absent_out *out,
                                    struct gx_err *err)
{
    struct gx_scan *scan;
    GX_TRY(gx_scan_new(pattern, 1, &scan, err));
    enum gx_status status =
        gx_scan_dir(scan, galleries->data_dir, NULL, NULL, in->stopped, in->stopped_arg, &out->files, err);
    gx_scan_free(scan);
    out->files_searched = status == GX_OK;
    return status;
}

/* --- a record --- */

static enum gx_status look_for_record(struct gx_galleries *galleries, const struct gx_gallery_meta *meta,
                                      const struct gx_absent_in *in, struct gx_arena *arena, struct gx_absent_out *out,
                                      struct gx_err *err)
{
    struct gx_stored_record *records;
    struct gx_slice stored;
    struct gx_key key;
    size_t n, dim;
    GX_TRY(gx_lookup_get(galleries, in->gallery, &in->record_id, 1, false, arena, &records, &n, &dim, err));
    out->searchable = n > 0 && !records[0].quarantined;
    enum gx_status status = get_stored(galleries, meta, in->record_id, arena, &stored, err);
    out->stored = status == GX_OK || n > 0;
    if (status != GX_E_NOT_FOUND)
        GX_TRY(status);
    GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_RECORD, gx_slice_text(meta->name), in->record_id, &key, err));
    out->expunged = gx_ledger_is_expunged(galleries->ledger, GX_ID_RECORD, &key);
    if (in->record_id.len < ID_MIN) {
        out->note = "the id is too short to be looked for in files (8 bytes): look for the face";
        return GX_OK;
    }
    struct id_filter filter;
    struct gx_scan_pattern pattern = {in->record_id.data, in->record_id.len, in->record_id.len, 0};
    GX_TRY(collect_others(galleries, meta->number, in->record_id, arena, &filter, err));
    out->files.filter = is_the_record;
    out->files.filter_arg = &filter;
    status = look_in_files(galleries, in, &pattern, out, err);
    out->files.filter = NULL;
    out->files.filter_arg = NULL;
    return status;
}

/* --- a face --- */

static enum gx_status find_nearest(struct gx_galleries *galleries, const struct gx_absent_in *in,
                                   struct gx_arena *arena, struct gx_absent_out *out, struct gx_err *err)
{
    struct gx_search_in how = {.gallery = in->gallery,
                               .embedder_id = in->embedder_id,
                               .embedder_version = in->embedder_version,
                               .probes = in->probe,
                               .n_probes = 1,
                               .dim = in->dim,
                               .k = 1,
                               .min_cosine = -1,
                               .exact = true,
                               .effort = {.effort = -1},
                               .stopped = in->stopped,
                               .stopped_arg = in->stopped_arg};
    struct gx_search_result *found;
    GX_TRY(gx_search_run(galleries, &how, arena, &found, err));
    out->has_nearest = found->n > 0;
    if (found->n > 0)
        out->nearest = found->candidates[0].cosine;
    out->searchable = out->nearest >= SAME;
    return GX_OK;
}

static enum gx_status look_for_face(struct gx_galleries *galleries, const struct gx_absent_in *in,
                                    struct gx_arena *arena, struct gx_absent_out *out, struct gx_err *err)
{
    float *unit;
    GX_TRY(gx_arena_array(arena, in->dim, sizeof(*unit), &unit, err));
    GX_TRY(gx_vec_normalise(in->probe, in->dim, unit, err));
    GX_TRY(find_nearest(galleries, in, arena, out, err));
    out->stored = out->searchable;
    size_t len = in->dim * sizeof(*unit);
    struct gx_scan_pattern pattern = {(const uint8_t *)unit, len, GX_MIN(len, (size_t)MATCH), len > MATCH ? DETAIL : 0};
    if (!gx_scan_can_hit(&pattern)) {
        out->note = "nearly all values of the embedding are zero: its bytes cannot be told from others in files";
        return GX_OK;
    }
    return look_in_files(galleries, in, &pattern, out, err);
}

/* --- the check --- */

static enum gx_status check(struct gx_galleries *galleries, const struct gx_absent_in *in, struct gx_arena *arena,
                            struct gx_absent_out *out, struct gx_err *err)
{
    struct gx_gallery *g;
    *out = (struct gx_absent_out){.note = "", .epoch = gx_galleries_epoch(galleries)};
    GX_TRY(gx_gallery_find(galleries, in->gallery, true, &g, err));
    enum gx_status status = in->record_id.len > 0 ? look_for_record(galleries, &g->meta, in, arena, out, err)
                                                  : look_for_face(galleries, in, arena, out, err);
    gx_gallery_unref(g);
    out->absent = !out->searchable && !out->stored && out->files.n_hits == 0;
    out->checked_at_us = gx_clock_wall_us();
    return status;
}

enum gx_status gx_absent_check(struct gx_galleries *galleries, const struct gx_absent_in *in, struct gx_arena *arena,
                               struct gx_absent_out *out, struct gx_err *err)
{
    if (atomic_exchange(&galleries->checking_absence, true))
        return gx_fail(err, GX_E_BUSY, "another check of absence is reading the files: try again when it is done");
    enum gx_status status = check(galleries, in, arena, out, err);
    atomic_store(&galleries->checking_absence, false);
    return status;
}
