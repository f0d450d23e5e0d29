/* The path of a lookup: id -> keyed hash -> rno (store) -> row in memory, live only. */
#include "lookup.h"

#include "gallery_private.h"

static enum gx_status copy_slice(struct gx_arena *arena, struct gx_slice *slice, struct gx_err *err)
{
    return gx_arena_copy(arena, *slice, slice, err);
}

/* Copies a live row out; the caller is a reader of the rows. *out_found false: it is dead. */
static enum gx_status copy_row(struct gx_gallery *g, uint32_t slot, bool with_row, struct gx_arena *arena,
                               struct gx_stored_record *out, bool *out_found, struct gx_err *err)
{
    struct gx_row row;
    *out_found = gx_rows_is_live(g->rows, slot);
    if (!*out_found)
        return GX_OK;
    gx_rows_get(g->rows, slot, &row);
    GX_TRY(gx_codec_record_decode(row.record, &out->record, err));
    struct gx_record *r = &out->record;
    GX_TRY(copy_slice(arena, &r->record_id, err));
    GX_TRY(copy_slice(arena, &r->subject_id, err));
    GX_TRY(copy_slice(arena, &r->arrest_id, err));
    for (size_t i = 0; i < r->n_attributes; i++) {
        GX_TRY(copy_slice(arena, &r->attributes[i].key, err));
        GX_TRY(copy_slice(arena, &r->attributes[i].value, err));
    }
    out->row = NULL;
    out->quarantined = row.quarantined;
    if (!with_row)
        return GX_OK;
    float *copy;
    GX_TRY(gx_arena_array(arena, g->meta.dim, sizeof(float), &copy, err));
    memcpy(copy, gx_rows_floats(g->rows, slot), g->meta.dim * sizeof(float));
    out->row = copy;
    return GX_OK;
}

static enum gx_status get_one(struct gx_galleries *galleries, struct gx_gallery *g, struct gx_slice id, bool with_row,
                              struct gx_arena *arena, struct gx_stored_record *out, bool *out_found, struct gx_err *err)
{
    struct gx_key key;
    uint8_t id_key[GX_KEY_ID_LEN];
    struct gx_slice value;
    uint32_t slot;
    *out_found = false;
    GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_RECORD, gx_slice_text(g->meta.name), id, &key, err));
    gx_codec_id_key(g->meta.number, &key, id_key);
    enum gx_status status =
        gx_store_get(galleries->store, GX_CF_BY_RECORD, (struct gx_slice){id_key, sizeof(id_key)}, arena, &value, err);
    if (status == GX_E_NOT_FOUND)
        return GX_OK;
    GX_TRY(status);
    if (value.len != 8)
        return gx_fail(err, GX_E_CORRUPT, "family by_record holds a value of %zu bytes", value.len);
    if (!gx_rows_find(g->rows, gx_codec_get_u64(value.data), &slot))
        return GX_OK;
    unsigned reader = gx_gallery_read_begin(g);
    status = copy_row(g, slot, with_row, arena, out, out_found, err);
    gx_gallery_read_end(g, reader);
    return status;
}

enum gx_status gx_lookup_get(struct gx_galleries *galleries, struct gx_slice gallery, const struct gx_slice *ids,
                             size_t n_ids, bool with_row, struct gx_arena *arena, struct gx_stored_record **out,
                             size_t *out_n, size_t *out_dim, struct gx_err *err)
{
    struct gx_gallery *g;
    *out = NULL;
    *out_n = 0;
    if (n_ids < 1 || n_ids > GX_PAGE_MAX)
        return gx_fail(err, GX_E_INVALID, "record_ids: 1..%d, got %zu", GX_PAGE_MAX, n_ids);
    GX_TRY(gx_gallery_find(galleries, gallery, true, &g, err));
    *out_dim = g->meta.dim;
    enum gx_status status = gx_arena_array(arena, n_ids, sizeof(**out), out, err);
    for (size_t i = 0; status == GX_OK && i < n_ids; i++) {
        bool found;
        status = get_one(galleries, g, ids[i], with_row, arena, &(*out)[*out_n], &found, err);
        *out_n += status == GX_OK && found;
    }
    gx_gallery_unref(g);
    return status;
}

/* One page of the whole gallery. */
static enum gx_status list_all(struct gx_gallery *g, uint64_t from, size_t n, struct gx_arena *arena,
                               struct gx_stored_record *out, size_t *out_n, uint64_t *out_next, struct gx_err *err)
{
    enum gx_status status = GX_OK;
    uint32_t count = gx_rows_count(g->rows), slot = gx_rows_lower_bound(g->rows, from);
    unsigned reader = gx_gallery_read_begin(g);
    for (; status == GX_OK && slot < count && *out_n < n; slot++) {
        bool found;
        status = copy_row(g, slot, false, arena, &out[*out_n], &found, err);
        *out_n += status == GX_OK && found;
    }
    gx_gallery_read_end(g, reader);
    if (status == GX_OK && slot < count)
        *out_next = gx_rows_rno(g->rows, slot);
    return status;
}

/* One page of an arrest's or a subject's records. */
static enum gx_status list_of(struct gx_galleries *galleries, struct gx_gallery *g, enum gx_id_kind kind,
                              struct gx_slice id, uint64_t from, size_t n, struct gx_arena *arena,
                              struct gx_stored_record *out, size_t *out_n, uint64_t *out_next, struct gx_err *err)
{
    enum gx_family family = kind == GX_ID_ARREST ? GX_CF_BY_ARREST : GX_CF_BY_SUBJECT;
    struct gx_key key;
    uint8_t start[GX_KEY_LIST_LEN];
    struct gx_store_iter *iter;
    GX_TRY(gx_keys_hash(&galleries->secret, kind, gx_slice_text(g->meta.name), id, &key, err));
    gx_codec_list_key(g->meta.number, &key, from, start);
    GX_TRY(gx_store_iter_begin(galleries->store, family, (struct gx_slice){start, GX_KEY_ID_LEN},
                               (struct gx_slice){start, sizeof(start)}, false, &iter, err));
    enum gx_status status;
    for (;;) {
        struct gx_slice found_key, value;
        bool more, found = false;
        uint32_t slot;
        status = gx_store_iter_next(iter, &more, &found_key, &value, err);
        if (status != GX_OK || !more)
            break;
        uint64_t rno = gx_codec_get_u64(found_key.data + GX_KEY_ID_LEN);
        if (*out_n == n) {
            *out_next = rno;
            break;
        }
        if (!gx_rows_find(g->rows, rno, &slot))
            continue;
        unsigned reader = gx_gallery_read_begin(g);
        status = copy_row(g, slot, false, arena, &out[*out_n], &found, err);
        gx_gallery_read_end(g, reader);
        if (status != GX_OK)
            break;
        *out_n += found;
    }
    gx_store_iter_end(iter);
    return status;
}

enum gx_status gx_lookup_list(struct gx_galleries *galleries, struct gx_slice gallery, struct gx_slice arrest,
                              struct gx_slice subject, uint64_t from, size_t n, struct gx_arena *arena,
                              struct gx_stored_record **out, size_t *out_n, uint64_t *out_next, struct gx_err *err)
{
    struct gx_gallery *g;
    *out = NULL;
    *out_n = 0;
    *out_next = 0;
    if (n < 1 || n > GX_PAGE_MAX)
        return gx_fail(err, GX_E_INVALID, "page_size: 1..%d, got %zu", GX_PAGE_MAX, n);
    if (arrest.len > 0 && subject.len > 0)
        return gx_fail(err, GX_E_INVALID, "give arrest_id or subject_id, not both");
    GX_TRY(gx_gallery_find(galleries, gallery, true, &g, err));
    enum gx_status status = gx_arena_array(arena, n, sizeof(**out), out, err);
    if (status == GX_OK && arrest.len > 0)
        status = list_of(galleries, g, GX_ID_ARREST, arrest, from, n, arena, *out, out_n, out_next, err);
    else if (status == GX_OK && subject.len > 0)
        status = list_of(galleries, g, GX_ID_SUBJECT, subject, from, n, arena, *out, out_n, out_next, err);
    else if (status == GX_OK)
        status = list_all(g, from, n, arena, *out, out_n, out_next, err);
    gx_gallery_unref(g);
    return status;
}
