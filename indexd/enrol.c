/* The path of an enrolment: find the gallery -> check, normalise and hash every record (caller's thread) -> the
 * writer's queue -> look each id up in ledger and store -> one batch over all families -> synced commit -> rows visible
 * -> done.
 *
 * What can go wrong: a range or a bad embedding (refused before it is queued); an id that was expunged, or is enrolled
 * with other content (nothing of the request is written); a full queue, a full disk (nothing is visible; the same
 * request id may be sent again). A record that is there with the same content is counted, not written. */
#include "enrol.h"

#include <stdlib.h>

#include "clock.h"
#include "hold_private.h"
#include "vec.h"

#define ARENA_MAX ((size_t)256 << 20)

/* One record, ready to be written. */
struct entry {
    struct gx_record record; /* slices in the arena */
    struct gx_key id, arrest, subject;
    uint8_t *emb;     /* encoded */
    uint64_t rno;     /* given by prepare; 0 = it is enrolled already */
    bool quarantined; /* by a hold that waits for it */
};

struct enrolment {
    struct gx_mutation base; /* first */
    struct gx_gallery *gallery;
    struct gx_arena arena;
    struct entry *entries;
    size_t n;
    bool has_request;
    struct gx_key request;
    struct gx_digest content;
    struct gx_enrol_out out;
    gx_enrol_done *done;
    void *done_arg;
};

static void enrolment_free(struct enrolment *e)
{
    gx_gallery_unref(e->gallery);
    gx_arena_fini(&e->arena);
    free(e);
}

/* --- before the queue --- */

static enum gx_status copy_record(struct enrolment *e, const struct gx_record *from, struct gx_record *to,
                                  struct gx_err *err)
{
    *to = *from;
    GX_TRY(gx_arena_copy(&e->arena, from->record_id, &to->record_id, err));
    GX_TRY(gx_arena_copy(&e->arena, from->subject_id, &to->subject_id, err));
    GX_TRY(gx_arena_copy(&e->arena, from->arrest_id, &to->arrest_id, err));
    for (size_t i = 0; i < from->n_attributes; i++) {
        GX_TRY(gx_arena_copy(&e->arena, from->attributes[i].key, &to->attributes[i].key, err));
        GX_TRY(gx_arena_copy(&e->arena, from->attributes[i].value, &to->attributes[i].value, err));
    }
    return GX_OK;
}

static enum gx_status hash_ids(struct gx_galleries *galleries, const struct gx_gallery *g, struct entry *entry,
                               struct gx_err *err)
{
    struct gx_slice name = gx_slice_text(g->meta.name);
    const struct gx_record *r = &entry->record;
    GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_RECORD, name, r->record_id, &entry->id, err));
    if (r->arrest_id.len > 0)
        GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_ARREST, name, r->arrest_id, &entry->arrest, err));
    if (r->subject_id.len > 0)
        GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_SUBJECT, name, r->subject_id, &entry->subject, err));
    return GX_OK;
}

static enum gx_status take_record(struct gx_galleries *galleries, struct enrolment *e, const struct gx_new_record *in,
                                  struct entry *entry, float *unit, struct gx_err *err)
{
    const struct gx_gallery_meta *meta = &e->gallery->meta;
    if (in->dim != meta->dim)
        return gx_fail(err, GX_E_INVALID, "the embedding has %zu values, the gallery's have %u", in->dim, meta->dim);
    GX_TRY(gx_gallery_check_embedder(e->gallery, in->embedder_id, in->embedder_version, err));
    GX_TRY(gx_vec_normalise(in->row, in->dim, unit, err));
    GX_TRY(copy_record(e, &in->record, &entry->record, err));
    /* Encoded once here for its checks: on the writer's thread a bad record would be everybody's failure. */
    struct gx_slice encoded;
    GX_TRY(gx_codec_record_encode(&entry->record, &e->arena, &encoded, err));
    GX_TRY(gx_arena_array(&e->arena, 1, gx_codec_emb_len(in->dim), &entry->emb, err));
    gx_codec_emb_encode(unit, in->dim, entry->emb);
    return hash_ids(galleries, e->gallery, entry, err);
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp((*(const struct entry *const *)a)->id.bytes, (*(const struct entry *const *)b)->id.bytes, GX_KEY_LEN);
}

static enum gx_status check_distinct(struct enrolment *e, struct gx_err *err)
{
    struct entry **order;
    GX_TRY(gx_arena_array(&e->arena, e->n, sizeof(struct entry *), &order, err));
    for (size_t i = 0; i < e->n; i++)
        order[i] = &e->entries[i];
    qsort(order, e->n, sizeof(struct entry *), compare_ids);
    for (size_t i = 1; i < e->n; i++)
        if (compare_ids(&order[i - 1], &order[i]) == 0)
            return gx_fail(err, GX_E_INVALID, "records %td and %td have the same record id",
                           GX_MIN(order[i - 1], order[i]) - e->entries, GX_MAX(order[i - 1], order[i]) - e->entries);
    return GX_OK;
}

/* What makes a request the same: its gallery, ids, properties and rows, in order. */
static enum gx_status digest_content(struct gx_galleries *galleries, struct enrolment *e, struct gx_err *err)
{
    struct gx_slice *pieces;
    GX_TRY(gx_arena_array(&e->arena, 2 * e->n + 1, sizeof(*pieces), &pieces, err));
    pieces[0] = gx_slice_text(e->gallery->meta.name);
    for (size_t i = 0; i < e->n; i++) {
        struct gx_slice value;
        GX_TRY(gx_codec_record_encode(&e->entries[i].record, &e->arena, &value, err));
        pieces[2 * i + 1] = value;
        pieces[2 * i + 2] = (struct gx_slice){e->entries[i].emb, gx_codec_emb_len(e->gallery->meta.dim)};
    }
    return gx_keys_hmac(&galleries->secret, pieces, 2 * e->n + 1, &e->content, err);
}

static enum gx_status check_tail(struct gx_galleries *galleries, struct gx_gallery *g, struct gx_err *err)
{
    uint32_t until = atomic_load(&g->indexed_until), count = gx_rows_count(g->rows);
    uint64_t tail = until < count ? count - until : 0;
    if (tail > galleries->options.tail_max)
        return gx_fail(err, GX_E_BUSY, "the index is %llu rows behind: try again in a moment",
                       (unsigned long long)tail);
    return GX_OK;
}

static enum gx_status take_request(struct gx_galleries *galleries, const struct gx_enrol_in *in, struct enrolment *e,
                                   struct gx_err *err)
{
    if (in->n < 1 || in->n > GX_INSERT_MAX)
        return gx_fail(err, GX_E_INVALID, "records: 1..%d, got %zu", GX_INSERT_MAX, in->n);
    GX_TRY(gx_gallery_find(galleries, in->gallery, true, &e->gallery, err));
    GX_TRY(gx_galleries_check_room(galleries, err));
    GX_TRY(check_tail(galleries, e->gallery, err));
    float *unit;
    e->n = in->n;
    GX_TRY(gx_arena_array(&e->arena, in->n, sizeof(*e->entries), &e->entries, err));
    GX_TRY(gx_arena_array(&e->arena, e->gallery->meta.dim, sizeof(*unit), &unit, err));
    for (size_t i = 0; i < in->n; i++)
        if (take_record(galleries, e, &in->records[i], &e->entries[i], unit, err) != GX_OK)
            return gx_err_wrap(err, "record %zu of the request", i);
    GX_TRY(check_distinct(e, err));
    if (in->request_id.len == 0)
        return GX_OK;
    e->has_request = true;
    GX_TRY(gx_writer_request_key(galleries, e->gallery, in->request_id, &e->request, err));
    return digest_content(galleries, e, err);
}

/* --- on the writer's thread --- */

/* *out_same: it is enrolled with this very content. */
static enum gx_status find_enrolled(const struct enrolment *e, const struct entry *entry, struct gx_store_batch *batch,
                                    struct gx_arena *arena, bool *out_same, struct gx_err *err)
{
    uint8_t id_key[GX_KEY_ID_LEN], row_key[GX_KEY_ROW_LEN];
    struct gx_slice rno, rec, emb, mine;
    *out_same = false;
    gx_codec_id_key(e->gallery->meta.number, &entry->id, id_key);
    enum gx_status status =
        gx_store_batch_get(batch, GX_CF_BY_RECORD, (struct gx_slice){id_key, sizeof(id_key)}, arena, &rno, err);
    if (status == GX_E_NOT_FOUND)
        return GX_OK;
    GX_TRY(status);
    if (rno.len != 8)
        return gx_fail(err, GX_E_CORRUPT, "family by_record holds a value of %zu bytes", rno.len);
    gx_codec_row_key(e->gallery->meta.number, gx_codec_get_u64(rno.data), row_key);
    struct gx_slice key = {row_key, sizeof(row_key)};
    GX_TRY(gx_store_batch_get(batch, GX_CF_REC, key, arena, &rec, err));
    GX_TRY(gx_store_batch_get(batch, GX_CF_EMB, key, arena, &emb, err));
    GX_TRY(gx_codec_record_encode(&entry->record, arena, &mine, err));
    *out_same = gx_slice_equal(gx_codec_record_content(rec), gx_codec_record_content(mine)) &&
                gx_slice_equal(emb, (struct gx_slice){entry->emb, gx_codec_emb_len(e->gallery->meta.dim)});
    if (!*out_same)
        return gx_fail(err, GX_E_EXISTS,
                       "its record id is enrolled with other content: expunge it first, or give "
                       "the photo an id of its own");
    return GX_OK;
}

/* May it come in, and into searches? */
static enum gx_status check_state(struct gx_galleries *galleries, struct entry *entry, struct gx_err *err)
{
    const struct gx_key *arrest = entry->record.arrest_id.len > 0 ? &entry->arrest : NULL;
    bool record_gone = gx_ledger_is_expunged(galleries->ledger, GX_ID_RECORD, &entry->id);
    bool gone = record_gone || (arrest != NULL && gx_ledger_is_expunged(galleries->ledger, GX_ID_ARREST, arrest));
    enum gx_policy_state next;
    enum gx_policy_state state = gone ? GX_POLICY_ACCEPTED : gx_hold_state(galleries, &entry->id, arrest);
    enum gx_status status = gx_policy_next(state, GX_POLICY_ENROL, &next, err);
    entry->quarantined = next == GX_POLICY_QUARANTINED;
    if (status == GX_OK)
        return GX_OK;
    return gx_fail(err, status, "its %s was expunged by order and cannot be enrolled again",
                   record_gone ? "record id" : "arrest");
}

static enum gx_status check_entry(struct gx_galleries *galleries, struct enrolment *e, struct entry *entry,
                                  struct gx_store_batch *batch, struct gx_arena *arena, struct gx_err *err)
{
    GX_TRY(check_state(galleries, entry, err));
    bool same;
    GX_TRY(find_enrolled(e, entry, batch, arena, &same, err));
    entry->rno = same ? 0 : 1;
    return GX_OK;
}

static enum gx_status put_entry(struct gx_galleries *galleries, struct enrolment *e, struct entry *entry,
                                struct gx_store_batch *batch, struct gx_arena *arena, struct gx_err *err)
{
    const struct gx_gallery_meta *meta = &e->gallery->meta;
    uint8_t row_key[GX_KEY_ROW_LEN], id_key[GX_KEY_ID_LEN], list_key[GX_KEY_LIST_LEN], rno[8];
    struct gx_slice key = {row_key, sizeof(row_key)}, id = {id_key, sizeof(id_key)},
                    list = {list_key, sizeof(list_key)};
    struct gx_slice rec, nothing = {NULL, 0};
    entry->rno = galleries->next_rno++;
    GX_TRY(gx_codec_record_encode(&entry->record, arena, &rec, err));
    gx_codec_row_key(meta->number, entry->rno, row_key);
    gx_store_batch_put(batch, GX_CF_EMB, key, (struct gx_slice){entry->emb, gx_codec_emb_len(meta->dim)});
    gx_store_batch_put(batch, GX_CF_REC, key, rec);
    gx_codec_id_key(meta->number, &entry->id, id_key);
    gx_codec_put_u64(rno, entry->rno);
    gx_store_batch_put(batch, GX_CF_BY_RECORD, id, (struct gx_slice){rno, sizeof(rno)});
    if (entry->record.arrest_id.len > 0) {
        gx_codec_list_key(meta->number, &entry->arrest, entry->rno, list_key);
        gx_store_batch_put(batch, GX_CF_BY_ARREST, list, nothing);
    }
    if (entry->record.subject_id.len > 0) {
        gx_codec_list_key(meta->number, &entry->subject, entry->rno, list_key);
        gx_store_batch_put(batch, GX_CF_BY_SUBJECT, list, nothing);
    }
    struct gx_row columns = {.rno = entry->rno,
                             .captured_at_us = entry->record.captured_at_us,
                             .subject = entry->subject,
                             .record = rec,
                             .quarantined = entry->quarantined};
    const float *unit = (const float *)(const void *)(entry->emb + GX_EMB_HEADER_LEN);
    return gx_rows_append(e->gallery->rows, unit, &columns, err);
}

static enum gx_status prepare(struct gx_mutation *self, struct gx_galleries *galleries, struct gx_store_batch *batch,
                              struct gx_arena *arena, uint64_t epoch, struct gx_err *err)
{
    struct enrolment *e = (struct enrolment *)self;
    struct gx_request_memory memory;
    bool known = false;
    if (atomic_load(&e->gallery->deleted))
        return gx_fail(err, GX_E_NOT_FOUND, "the gallery was deleted");
    if (e->has_request)
        GX_TRY(gx_writer_recall(batch, &e->request, &e->content, arena, &known, &memory, err));
    if (known) {
        e->out = (struct gx_enrol_out){memory.epoch, (uint32_t)memory.a, (uint32_t)memory.b};
        return GX_OK;
    }
    for (size_t i = 0; i < e->n; i++)
        if (check_entry(galleries, e, &e->entries[i], batch, arena, err) != GX_OK)
            return gx_err_wrap(err, "record %zu of the request", i);
    e->out = (struct gx_enrol_out){.epoch = epoch};
    int64_t now = gx_clock_wall_us();
    for (size_t i = 0; i < e->n; i++) {
        struct entry *entry = &e->entries[i];
        if (entry->rno == 0) {
            e->out.unchanged++;
            continue;
        }
        entry->record.enrolled_at_us = now;
        entry->record.epoch = epoch;
        /* From here on a failure cannot be undone for this request alone: it is reported as GX_E_NOMEM. */
        if (put_entry(galleries, e, entry, batch, arena, err) != GX_OK)
            return err->status = GX_E_NOMEM;
        e->out.enrolled++;
    }
    if (e->out.enrolled == 0)
        e->out.epoch = atomic_load(&galleries->epoch);
    if (e->has_request) {
        memory = (struct gx_request_memory){e->content, now, e->out.epoch, e->out.enrolled, e->out.unchanged};
        gx_writer_remember(batch, &e->request, &memory);
    }
    self->changed = e->out.enrolled > 0 || e->has_request;
    return GX_OK;
}

static void publish(struct gx_mutation *self, struct gx_galleries *galleries, uint64_t epoch)
{
    struct enrolment *e = (struct enrolment *)self;
    (void)epoch;
    gx_rows_publish(e->gallery->rows);
    if (e->out.enrolled > 0)
        gx_indexer_wake(galleries);
}

static void retract(struct gx_mutation *self, struct gx_galleries *galleries)
{
    (void)galleries;
    gx_rows_retract(((struct enrolment *)self)->gallery->rows);
}

static void done(struct gx_mutation *self, struct gx_galleries *galleries)
{
    struct enrolment *e = (struct enrolment *)self;
    (void)galleries;
    e->done(e->done_arg, &e->out, self->outcome == GX_OK ? NULL : &self->err);
    enrolment_free(e);
}

void gx_enrol_submit(struct gx_galleries *galleries, const struct gx_enrol_in *in, gx_enrol_done *on_done, void *arg)
{
    struct gx_err err = {0};
    struct enrolment *e = calloc(1, sizeof(*e));
    if (e == NULL) {
        gx_err_set(&err, GX_E_NOMEM, "enrol: out of memory");
        on_done(arg, NULL, &err);
        return;
    }
    gx_arena_init(&e->arena, ARENA_MAX);
    e->done = on_done;
    e->done_arg = arg;
    e->base.prepare = prepare;
    e->base.publish = publish;
    e->base.retract = retract;
    e->base.done = done;
    enum gx_status status = take_request(galleries, in, e, &err);
    e->base.bytes = e->arena.used;
    if (status == GX_OK)
        status = gx_writer_submit(galleries, &e->base, false, &err);
    if (status != GX_OK) {
        on_done(arg, NULL, &err);
        enrolment_free(e);
    }
}
