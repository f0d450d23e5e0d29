/* The path of a list of holds: those that are asked for, from the table -> in the order of placing -> a page -> each
 * one's records, from the store. The table knows keyed hashes only, so an id is told when something of it is enrolled.
 */
#include <stdlib.h>

#include "hold.h"
#include "hold_private.h"

struct found {
    uint64_t serial;
    struct gx_hold_listed hold;
};

static int compare_serials(const void *a, const void *b)
{
    uint64_t p = ((const struct found *)a)->serial, q = ((const struct found *)b)->serial;
    return (p > q) - (p < q);
}

static bool is_asked_for(const struct gx_hold_list_in *in, const struct gx_hold_entry *e)
{
    return e->serial >= in->from && gx_slice_equal(gx_slice_text(e->of->gallery), in->gallery) &&
           (in->reference.len == 0 || gx_slice_equal(e->of->reference, in->reference));
}

/* The next entry to look at: of one id, or all. */
static struct gx_hold_entry *next_entry(const struct gx_hold_table *table, const struct gx_key *id, size_t *io_bucket,
                                        const struct gx_hold_entry *after)
{
    return id != NULL ? gx_hold_table_next(table, id, after) : gx_hold_table_walk(table, io_bucket, after);
}

/* All that are asked for, sorted. The caller has locked the table. */
static enum gx_status collect(const struct gx_hold_table *table, const struct gx_hold_list_in *in,
                              const struct gx_key *id, struct gx_arena *arena, struct found **out, size_t *out_n,
                              struct gx_err *err)
{
    size_t n = 0, bucket = 0;
    struct gx_hold_entry *e = NULL;
    while ((e = next_entry(table, id, &bucket, e)) != NULL)
        n += is_asked_for(in, e);
    GX_TRY(gx_arena_array(arena, n, sizeof(**out), out, err));
    *out_n = bucket = 0;
    while ((e = next_entry(table, id, &bucket, e)) != NULL)
        if (is_asked_for(in, e))
            (*out)[(*out_n)++] = (struct found){e->serial,
                                                {.reference = e->of->reference, /* lives as long as the table */
                                                 .kind = e->of->kind,
                                                 .id_hash = e->id,
                                                 .quarantine = e->quarantine,
                                                 .placed_at_us = e->placed_at_us}};
    qsort(*out, *out_n, sizeof(**out), compare_serials);
    return GX_OK;
}

/* What it means now. The caller is a reader of the rows. */
static enum gx_status describe(struct gx_gallery *g, const struct gx_rno_list *rnos, struct gx_arena *arena,
                               struct gx_hold_listed *io, struct gx_err *err)
{
    for (size_t i = 0; i < rnos->n; i++) {
        uint32_t slot;
        struct gx_row row;
        struct gx_record record;
        if (!gx_rows_find(g->rows, rnos->rnos[i], &slot) || !gx_rows_is_live(g->rows, slot))
            continue;
        if (io->n_records++ > 0)
            continue;
        gx_rows_get(g->rows, slot, &row);
        GX_TRY(gx_codec_record_decode(row.record, &record, err));
        GX_TRY(gx_arena_copy(arena, io->kind == GX_ID_RECORD ? record.record_id : record.arrest_id, &io->id, err));
    }
    return GX_OK;
}

static enum gx_status list(struct gx_galleries *galleries, struct gx_gallery *g, const struct gx_hold_list_in *in,
                           struct gx_arena *arena, struct gx_hold_listed **out, size_t *out_n, uint64_t *out_next,
                           struct gx_err *err)
{
    struct found *found = NULL;
    struct gx_key id;
    size_t n;
    bool one = in->kind == GX_ID_RECORD || in->kind == GX_ID_ARREST;
    if (one)
        GX_TRY(gx_keys_hash(&galleries->secret, in->kind, in->gallery, in->id, &id, err));
    gx_hold_table_lock(galleries->holds);
    enum gx_status status = collect(galleries->holds, in, one ? &id : NULL, arena, &found, &n, err);
    gx_hold_table_unlock(galleries->holds);
    GX_TRY(status);
    if (n > in->n)
        *out_next = found[in->n].serial;
    n = GX_MIN(n, in->n);
    GX_TRY(gx_arena_array(arena, n, sizeof(**out), out, err));
    for (; *out_n < n; ++*out_n) {
        struct gx_hold_listed *to = &(*out)[*out_n];
        struct gx_rno_list rnos = {0};
        *to = found[*out_n].hold;
        GX_TRY(gx_replay_resolve(galleries, g->meta.number, to->kind, &to->id_hash, arena, &rnos, err));
        unsigned reader = gx_gallery_read_begin(g);
        status = describe(g, &rnos, arena, to, err);
        gx_gallery_read_end(g, reader);
        GX_TRY(status);
    }
    return GX_OK;
}

enum gx_status gx_hold_list(struct gx_galleries *galleries, const struct gx_hold_list_in *in, struct gx_arena *arena,
                            struct gx_hold_listed **out, size_t *out_n, uint64_t *out_next, struct gx_err *err)
{
    struct gx_gallery *g;
    *out = NULL;
    *out_n = 0;
    *out_next = 0;
    if (in->n < 1 || in->n > GX_PAGE_MAX)
        return gx_fail(err, GX_E_INVALID, "page_size: 1..%d, got %zu", GX_PAGE_MAX, in->n);
    if ((in->kind == 0) != (in->id.len == 0) || in->kind > GX_ID_ARREST)
        return gx_fail(err, GX_E_INVALID, "kind: record or arrest, with an id; or neither");
    GX_TRY(gx_gallery_find(galleries, in->gallery, true, &g, err));
    enum gx_status status = list(galleries, g, in, arena, out, out_n, out_next, err);
    gx_gallery_unref(g);
    return status;
}
