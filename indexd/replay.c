/* What removals have in common, whether ordered now or found in the outer ledger at start: which rows an id means, what
 * has to be deleted for a row, and the agreement of ledger and store.
 *
 * The path at start: ledger entry -> by its type: an expungement whose ticket is in the store is done (ticket and
 * deletes were one batch); else every record that it names or lists is deleted again, and the ticket written, with the
 * memory of the request, in one synced batch. A deleted gallery that is still listed is deleted again. So whatever an
 * older copy of the store brings back, or a crash has left half done, is gone before anything is loaded, and who asks
 * again with the same request id gets the ticket that was made.
 *
 * What can go wrong: the store fails: nothing is loaded, the next start begins anew. The ledger is not this store's, or
 * lacks what the store knows of: refused. */
#include <inttypes.h>
#include <stdlib.h>

#include "hold_private.h"

#define ARENA_MAX   ((size_t)1 << 30)
#define SCRATCH_MAX ((size_t)1 << 20)

/* What the store notes of the ledger: key "ledger", value format byte, entries u64, head of the chain. */
#define NOTE_FORMAT 1
#define NOTE_LEN    (1 + 8 + GX_DIGEST_LEN)

static enum gx_status list_add(struct gx_rno_list *list, uint64_t rno, struct gx_arena *arena, struct gx_err *err)
{
    if (list->n == list->cap) {
        uint64_t *grown;
        size_t cap = GX_MAX((size_t)16, 2 * list->cap);
        GX_TRY(gx_arena_array(arena, cap, sizeof(*grown), &grown, err));
        if (list->n > 0)
            memcpy(grown, list->rnos, list->n * sizeof(*grown));
        list->rnos = grown;
        list->cap = cap;
    }
    list->rnos[list->n++] = rno;
    return GX_OK;
}

static enum gx_status resolve_list(struct gx_galleries *galleries, enum gx_family family,
                                   const uint8_t prefix[GX_KEY_ID_LEN], struct gx_arena *arena,
                                   struct gx_rno_list *rnos, struct gx_err *err)
{
    struct gx_store_iter *iter;
    GX_TRY(gx_store_iter_begin(galleries->store, family, (struct gx_slice){prefix, GX_KEY_ID_LEN},
                               (struct gx_slice){NULL, 0}, false, &iter, err));
    enum gx_status status;
    for (;;) {
        struct gx_slice key, value;
        bool more;
        status = gx_store_iter_next(iter, &more, &key, &value, err);
        if (status != GX_OK || !more)
            break;
        if (key.len != GX_KEY_LIST_LEN)
            status = gx_fail(err, GX_E_CORRUPT, "a list family holds a key of %zu bytes", key.len);
        else
            status = list_add(rnos, gx_codec_get_u64(key.data + GX_KEY_ID_LEN), arena, err);
        if (status != GX_OK)
            break;
    }
    gx_store_iter_end(iter);
    return status;
}

enum gx_status gx_replay_resolve(struct gx_galleries *galleries, uint32_t gallery, enum gx_id_kind kind,
                                 const struct gx_key *id, struct gx_arena *arena, struct gx_rno_list *rnos,
                                 struct gx_err *err)
{
    uint8_t key[GX_KEY_ID_LEN];
    gx_codec_id_key(gallery, id, key);
    if (kind != GX_ID_RECORD)
        return resolve_list(galleries, kind == GX_ID_ARREST ? GX_CF_BY_ARREST : GX_CF_BY_SUBJECT, key, arena, rnos,
                            err);
    struct gx_slice value;
    enum gx_status status =
        gx_store_get(galleries->store, GX_CF_BY_RECORD, (struct gx_slice){key, sizeof(key)}, arena, &value, err);
    if (status == GX_E_NOT_FOUND)
        return GX_OK;
    GX_TRY(status);
    if (value.len != 8)
        return gx_fail(err, GX_E_CORRUPT, "family by_record holds a value of %zu bytes", value.len);
    return list_add(rnos, gx_codec_get_u64(value.data), arena, err);
}

static enum gx_status delete_record(struct gx_galleries *galleries, const struct gx_gallery_meta *meta, uint64_t rno,
                                    struct gx_slice rec, struct gx_store_batch *batch, struct gx_row_keys *out_keys,
                                    struct gx_err *err)
{
    struct gx_record record;
    uint8_t row[GX_KEY_ROW_LEN], id[GX_KEY_ID_LEN], list[GX_KEY_LIST_LEN];
    struct gx_slice name = gx_slice_text(meta->name);
    *out_keys = (struct gx_row_keys){0};
    GX_TRY(gx_codec_record_decode(rec, &record, err));
    gx_codec_row_key(meta->number, rno, row);
    gx_store_batch_delete(batch, GX_CF_EMB, (struct gx_slice){row, sizeof(row)});
    gx_store_batch_delete(batch, GX_CF_REC, (struct gx_slice){row, sizeof(row)});
    GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_RECORD, name, record.record_id, &out_keys->record, err));
    gx_codec_id_key(meta->number, &out_keys->record, id);
    gx_store_batch_delete(batch, GX_CF_BY_RECORD, (struct gx_slice){id, sizeof(id)});
    if (record.arrest_id.len > 0) {
        GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_ARREST, name, record.arrest_id, &out_keys->arrest, err));
        gx_codec_list_key(meta->number, &out_keys->arrest, rno, list);
        gx_store_batch_delete(batch, GX_CF_BY_ARREST, (struct gx_slice){list, sizeof(list)});
    }
    if (record.subject_id.len > 0) {
        GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_SUBJECT, name, record.subject_id, &out_keys->subject, err));
        gx_codec_list_key(meta->number, &out_keys->subject, rno, list);
        gx_store_batch_delete(batch, GX_CF_BY_SUBJECT, (struct gx_slice){list, sizeof(list)});
    }
    return GX_OK;
}

enum gx_status gx_replay_delete_rows(struct gx_galleries *galleries, const struct gx_gallery_meta *meta,
                                     const struct gx_rno_list *rnos, bool skip_missing, struct gx_store_batch *batch,
                                     struct gx_row_keys *out_keys, struct gx_err *err)
{
    struct gx_arena scratch; /* of one record: an order may have a million */
    enum gx_status status = GX_OK;
    gx_arena_init(&scratch, SCRATCH_MAX);
    for (size_t i = 0; status == GX_OK && i < rnos->n; i++) {
        uint8_t row[GX_KEY_ROW_LEN];
        struct gx_slice rec;
        gx_arena_reset(&scratch);
        gx_codec_row_key(meta->number, rnos->rnos[i], row);
        status = gx_store_get(galleries->store, GX_CF_REC, (struct gx_slice){row, sizeof(row)}, &scratch, &rec, err);
        if (status == GX_E_NOT_FOUND && skip_missing) {
            status = GX_OK;
            continue;
        }
        if (status == GX_E_NOT_FOUND)
            status = gx_fail(err, GX_E_CORRUPT,
                             "an id leads to row %" PRIu64 ", which the store lacks: restore a backup", rnos->rnos[i]);
        if (status == GX_OK)
            status = delete_record(galleries, meta, rnos->rnos[i], rec, batch, &out_keys[i], err);
    }
    gx_arena_fini(&scratch);
    return status;
}

enum gx_status gx_replay_put_ticket(const struct gx_ticket *ticket, const struct gx_row_keys *keys,
                                    struct gx_store_batch *batch, struct gx_arena *arena, struct gx_err *err)
{
    uint8_t key[GX_KEY_TICKET_LEN], erasure_key[GX_KEY_ERASURE_LEN];
    struct gx_slice value;
    GX_TRY(gx_codec_ticket_encode(ticket, arena, &value, err));
    gx_codec_key_ticket(ticket->number, key);
    gx_store_batch_put(batch, GX_CF_LEDGER, (struct gx_slice){key, sizeof(key)}, value);
    GX_TRY(gx_codec_erasure_encode(keys, ticket->n_records, arena, &value, err));
    gx_codec_key_erasure(ticket->number, erasure_key);
    gx_store_batch_put(batch, GX_CF_DEFAULT, (struct gx_slice){erasure_key, sizeof(erasure_key)}, value);
    return GX_OK;
}

/* --- the agreement of ledger and store --- */

void gx_replay_note(struct gx_galleries *galleries, struct gx_store_batch *batch)
{
    uint8_t note[NOTE_LEN] = {NOTE_FORMAT};
    struct gx_digest head;
    gx_ledger_head(galleries->ledger, &head);
    gx_codec_put_u64(note + 1, gx_ledger_entries(galleries->ledger));
    memcpy(note + 9, head.bytes, GX_DIGEST_LEN);
    gx_store_batch_put(batch, GX_CF_DEFAULT, gx_slice_text("ledger"), (struct gx_slice){note, sizeof(note)});
}

enum gx_status gx_replay_begin(struct gx_galleries *galleries, struct gx_err *err)
{
    struct gx_arena arena;
    struct gx_slice value;
    gx_arena_init(&arena, 4096);
    enum gx_status status = gx_store_get(galleries->store, GX_CF_DEFAULT, gx_slice_text("ledger"), &arena, &value, err);
    if (status == GX_OK && (value.len != NOTE_LEN || value.data[0] != NOTE_FORMAT))
        status = gx_fail(err, GX_E_CORRUPT, "what the store notes of the ledger is damaged: restore a backup");
    if (status == GX_OK) {
        galleries->noted_entries = gx_codec_get_u64(value.data + 1);
        memcpy(galleries->noted_head.bytes, value.data + 9, GX_DIGEST_LEN);
    }
    gx_arena_fini(&arena);
    return status == GX_E_NOT_FOUND ? GX_OK : status;
}

enum gx_status gx_replay_check(struct gx_galleries *galleries, struct gx_err *err)
{
    uint64_t n = gx_ledger_entries(galleries->ledger);
    if (n >= galleries->noted_entries)
        return GX_OK;
    return gx_fail(err, GX_E_CORRUPT,
                   "'%s' holds %" PRIu64 " entries, but the store knows of %" PRIu64
                   ": it was cut or exchanged; put the newest copy or the mirror in its place",
                   galleries->ledger_path, n, galleries->noted_entries);
}

/* The entry that the store took note of last must be this very one. */
static enum gx_status check_head(struct gx_galleries *galleries, const struct gx_ledger_entry *entry,
                                 struct gx_err *err)
{
    if (++galleries->replayed_entries == galleries->noted_entries &&
        memcmp(&entry->head, &galleries->noted_head, sizeof(entry->head)) != 0)
        return gx_fail(err, GX_E_CORRUPT, "'%s' is not the ledger of this store: put the right one in its place",
                       galleries->ledger_path);
    return GX_OK;
}

/* --- an entry that the store does not know --- */

static int compare_rnos(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* The very gallery, or the one of that name that has come in its place. */
static const struct gx_gallery *find_listed(const struct gx_galleries *galleries, const struct gx_ledger_entry *entry)
{
    const struct gx_gallery *found = NULL;
    for (size_t i = 0; i < galleries->n; i++) {
        const struct gx_gallery *g = galleries->list[i];
        if (memcmp(&g->meta.uuid, &entry->gallery_uuid, sizeof(g->meta.uuid)) == 0)
            return g;
        if (gx_slice_equal(gx_slice_text(g->meta.name), entry->gallery))
            found = g;
    }
    return found;
}

static enum gx_status collect(struct gx_galleries *galleries, const struct gx_gallery *g,
                              const struct gx_ledger_entry *entry, struct gx_arena *arena, struct gx_rno_list *rnos,
                              struct gx_err *err)
{
    for (size_t i = 0; i < entry->n_records; i++)
        GX_TRY(gx_replay_resolve(galleries, g->meta.number, GX_ID_RECORD, &entry->records[i], arena, rnos, err));
    /* A named subject may have been enrolled again since, lawfully; a record or an arrest can't have been. */
    for (size_t i = 0; entry->kind != GX_ID_SUBJECT && i < entry->n_named; i++)
        GX_TRY(gx_replay_resolve(galleries, g->meta.number, entry->kind, &entry->named[i], arena, rnos, err));
    if (rnos->n == 0)
        return GX_OK;
    qsort(rnos->rnos, rnos->n, sizeof(uint64_t), compare_rnos);
    size_t n = 1;
    for (size_t i = 1; i < rnos->n; i++)
        if (rnos->rnos[i] != rnos->rnos[n - 1])
            rnos->rnos[n++] = rnos->rnos[i];
    rnos->n = n;
    return GX_OK;
}

static void remember(const struct gx_ledger_entry *entry, uint64_t epoch, uint64_t a, struct gx_store_batch *batch)
{
    static const struct gx_key none;
    struct gx_request_memory memory = {entry->content, entry->at_us, epoch, a, 0};
    if (memcmp(&entry->request, &none, sizeof(none)) != 0)
        gx_writer_remember(batch, &entry->request, &memory);
}

/* The ticket is there: then so are its deletes, they were one batch. */
static enum gx_status has_ticket(struct gx_galleries *galleries, uint64_t number, struct gx_arena *arena, bool *out,
                                 struct gx_err *err)
{
    struct gx_slice value;
    uint8_t key[GX_KEY_TICKET_LEN];
    gx_codec_key_ticket(number, key);
    enum gx_status status =
        gx_store_get(galleries->store, GX_CF_LEDGER, (struct gx_slice){key, sizeof(key)}, arena, &value, err);
    *out = status == GX_OK;
    return status == GX_E_NOT_FOUND ? GX_OK : status;
}

static enum gx_status replay_expunge(struct gx_galleries *galleries, const struct gx_ledger_entry *entry,
                                     struct gx_replay *replay, struct gx_err *err)
{
    struct gx_rno_list rnos = {0};
    struct gx_row_keys *keys = NULL;
    bool known;
    GX_TRY(has_ticket(galleries, entry->number, replay->arena, &known, err));
    if (known)
        return GX_OK;
    const struct gx_gallery *g = find_listed(galleries, entry);
    if (g != NULL) {
        GX_TRY(collect(galleries, g, entry, replay->arena, &rnos, err));
        GX_TRY(gx_arena_array(replay->arena, rnos.n, sizeof(*keys), &keys, err));
        GX_TRY(gx_replay_delete_rows(galleries, &g->meta, &rnos, false, replay->batch, keys, err));
    }
    struct gx_ticket ticket = {.number = entry->number,
                               .state = GX_TICKET_ACCEPTED,
                               .kind = entry->kind,
                               .gallery_number = g == NULL ? 0 : g->meta.number,
                               .gallery = entry->gallery,
                               .order_ref = entry->text,
                               .n_records = rnos.n,
                               .n_unmatched = entry->n_unmatched,
                               .epoch = replay->epoch,
                               .accepted_at_us = entry->at_us,
                               .rnos = rnos.rnos};
    GX_TRY(gx_replay_put_ticket(&ticket, keys, replay->batch, replay->arena, err));
    remember(entry, replay->epoch, entry->number, replay->batch);
    replay->changed = true;
    return GX_OK;
}

/* An older copy of the store still lists it: as if it had just been deleted. */
static enum gx_status replay_gallery_deleted(struct gx_galleries *galleries, const struct gx_ledger_entry *entry,
                                             struct gx_replay *replay, struct gx_err *err)
{
    struct gx_slice value;
    uint8_t key[GX_KEY_GALLERY_LEN];
    for (size_t i = 0; i < galleries->n; i++) {
        struct gx_gallery *g = galleries->list[i];
        if (memcmp(&g->meta.uuid, &entry->gallery_uuid, sizeof(g->meta.uuid)) != 0)
            continue;
        g->meta.state = GX_GALLERY_DELETING;
        GX_TRY(gx_codec_gallery_encode(&g->meta, replay->arena, &value, err));
        gx_codec_key_gallery(g->meta.number, key);
        gx_store_batch_put(replay->batch, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)}, value);
        remember(entry, replay->epoch, entry->n_held, replay->batch);
        gx_keeper_add_deleted(galleries, &g->meta);
        galleries->list[i] = galleries->list[--galleries->n];
        gx_gallery_unref(g);
        replay->changed = true;
        return GX_OK;
    }
    return GX_OK;
}

static const struct {
    enum gx_ledger_type type;
    gx_replay_apply *apply; /* NULL: nothing follows from it */
} handlers[] = {
    {GX_LEDGER_EXPUNGE, replay_expunge},
    {GX_LEDGER_HOLD, gx_hold_replay},
    {GX_LEDGER_RELEASE, gx_hold_replay},
    /* A store that does not know of these is an older copy, whose own files have to be erased again. That certificates
     * were issued since, gx_ledger_certificate says. */
    {GX_LEDGER_ERASED, NULL},
    {GX_LEDGER_VERIFIED, NULL},
    {GX_LEDGER_FAILED, NULL},
    {GX_LEDGER_GALLERY_DELETED, replay_gallery_deleted},
    {GX_LEDGER_BACKUP, gx_backup_replay},
    {GX_LEDGER_BACKUP_GONE, gx_backup_replay},
};

static enum gx_status apply_entry(struct gx_galleries *galleries, const struct gx_ledger_entry *entry,
                                  struct gx_replay *replay, struct gx_err *err)
{
    for (size_t i = 0; i < GX_COUNT_OF(handlers); i++)
        if (handlers[i].type == entry->type)
            return handlers[i].apply == NULL ? GX_OK : handlers[i].apply(galleries, entry, replay, err);
    return gx_fail(err, GX_E_FORMAT,
                   "'%s' holds entries of type %d, which this indexd cannot carry out: use a newer one",
                   galleries->ledger_path, (int)entry->type);
}

enum gx_status gx_replay_entry(void *arg, const struct gx_ledger_entry *entry, struct gx_err *err)
{
    struct gx_galleries *galleries = arg;
    struct gx_arena arena;
    struct gx_replay replay = {.arena = &arena, .epoch = atomic_load(&galleries->epoch) + 1};
    enum gx_status status;
    GX_TRY(check_head(galleries, entry, err));
    gx_arena_init(&arena, ARENA_MAX);
    GX_TRY_OUT(gx_store_batch_new(galleries->store, &replay.batch, err));
    GX_TRY_OUT(apply_entry(galleries, entry, &replay, err));
    if (replay.changed) {
        gx_writer_put_counter(replay.batch, gx_codec_key_epoch(), replay.epoch);
        GX_TRY_OUT(gx_store_commit(galleries->store, replay.batch, err));
        atomic_store(&galleries->epoch, replay.epoch);
    }
out:
    gx_store_batch_free(replay.batch);
    gx_arena_fini(&arena);
    return status;
}
