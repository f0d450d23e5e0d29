/* The path of a hold: check and hash the ids (caller's thread) -> the writer's queue, alone -> may these ids be held?
 * -> rows out of search (with quarantine) -> append to the outer ledger, fdatasync -> in force -> one synced batch with
 * the memory of the request -> answered. Of a release: the same, but the rows come back when it is in the ledger.
 *
 * The ledger is the truth of holds: the table in memory is made from it at every start, the store has none of them, so
 * that no older copy of the store can bring one back or lose one.
 *
 * What can go wrong:
 *   before the ledger, or the ledger refuses   nothing was done, rows are as they were
 *   the batch fails                            the ledger has it: it is in force, the caller is told that the outcome
 *                                              is open, and hears the truth when it asks again
 *   a crash after the ledger                   the next start finds the entry: it is in force, and the request is known
 */
#include "hold.h"

#include <stdlib.h>

#include "clock.h"
#include "failpoint.h"
#include "hold_private.h"

#define ARENA_MAX   ((size_t)256 << 20)
#define REMEMBER_US ((int64_t)24 * 3600 * 1000000)

/* A row that a hold reaches, with the ids that decide whether another one does too. */
struct reached {
    uint32_t slot;
    bool has_arrest, moved; /* moved: its quarantine was changed */
    struct gx_key record, arrest;
};

struct change {
    struct gx_mutation base; /* first */
    struct gx_gallery *gallery;
    struct gx_arena arena;
    const struct gx_hold_in *in;
    bool release, has_request;
    struct gx_key *named; /* [n_named] sorted; of a release of everything: found by prepare */
    size_t n_named;
    struct gx_key request;
    struct gx_digest content;
    struct gx_hold_room room;
    struct gx_hold_case *of; /* release */
    struct reached *reached; /* [n_reached] live rows */
    size_t n_reached;
    struct gx_hold_unwritten *unwritten; /* kept ready, should the batch fail */
    bool logged;
    struct gx_hold_out out;
};

/* The outcome of a request that is in the ledger, but whose batch could not be written: known until the next start,
 * which finds it in the ledger. */
struct gx_hold_unwritten {
    struct gx_hold_unwritten *next;
    struct gx_key request;
    struct gx_digest content;
    struct gx_hold_out out;
};

static int compare_keys(const void *a, const void *b)
{
    return memcmp(a, b, GX_KEY_LEN);
}

/* --- before the queue --- */

static enum gx_status hash_ids(struct gx_galleries *galleries, const struct gx_hold_in *in, struct change *c,
                               struct gx_err *err)
{
    GX_TRY(gx_arena_array(&c->arena, in->n_ids, sizeof(*c->named), &c->named, err));
    for (size_t i = 0; i < in->n_ids; i++)
        GX_TRY(gx_keys_hash(&galleries->secret, in->kind, in->gallery, in->ids[i], &c->named[i], err));
    c->n_named = in->n_ids;
    qsort(c->named, c->n_named, sizeof(*c->named), compare_keys);
    for (size_t i = 1; i < c->n_named; i++)
        if (compare_keys(&c->named[i - 1], &c->named[i]) == 0)
            return gx_fail(err, GX_E_INVALID, "ids: one stands there twice: name each once");
    return GX_OK;
}

static enum gx_status hash_request(struct gx_galleries *galleries, const struct gx_hold_in *in, struct change *c,
                                   struct gx_err *err)
{
    uint8_t what[] = {'h', c->release, (uint8_t)in->kind, !c->release && in->quarantine};
    struct gx_slice pieces[] = {
        {what, sizeof(what)}, in->reference, {(const uint8_t *)c->named, c->n_named * sizeof(*c->named)}};
    c->has_request = in->request_id.len > 0;
    if (!c->has_request)
        return GX_OK;
    GX_TRY(gx_writer_request_key(galleries, c->gallery, in->request_id, &c->request, err));
    return gx_keys_hmac(&galleries->secret, pieces, GX_COUNT_OF(pieces), &c->content, err);
}

static enum gx_status take_request(struct gx_galleries *galleries, struct change *c, struct gx_err *err)
{
    const struct gx_hold_in *in = c->in;
    if (in->kind != GX_ID_RECORD && in->kind != GX_ID_ARREST)
        return gx_fail(err, GX_E_INVALID, "kind: a hold is placed on records or arrests");
    if (in->n_ids > GX_HOLD_IDS_MAX || (in->n_ids == 0 && !c->release))
        return gx_fail(err, GX_E_INVALID, "ids: 1..%d, got %zu", GX_HOLD_IDS_MAX, in->n_ids);
    if (in->reference.len < 1 || in->reference.len > GX_ORDER_REF_MAX)
        return gx_fail(err, GX_E_INVALID, "reference: 1..%d bytes: name the hold", GX_ORDER_REF_MAX);
    GX_TRY(gx_gallery_find(galleries, in->gallery, true, &c->gallery, err));
    GX_TRY(hash_ids(galleries, in, c, err));
    return hash_request(galleries, in, c, err);
}

/* --- what holds say of a record --- */

struct holds {
    size_t n, n_quarantines;
    const struct gx_hold_entry *first; /* placed first */
};

static void count_holds(const struct gx_galleries *galleries, const struct gx_key *id, struct holds *io)
{
    const struct gx_hold_entry *e = NULL;
    while ((e = gx_hold_table_next(galleries->holds, id, e)) != NULL) {
        io->n++;
        io->n_quarantines += e->quarantine;
        if (io->first == NULL || e->serial < io->first->serial)
            io->first = e;
    }
}

static enum gx_policy_state state_of(const struct holds *h)
{
    return gx_policy_of_holds(h->n, h->n_quarantines);
}

enum gx_policy_state gx_hold_state(const struct gx_galleries *galleries, const struct gx_key *record,
                                   const struct gx_key *arrest)
{
    struct holds h = {0};
    if (gx_hold_table_count(galleries->holds) == 0)
        return GX_POLICY_ACTIVE;
    count_holds(galleries, record, &h);
    if (arrest != NULL)
        count_holds(galleries, arrest, &h);
    return state_of(&h);
}

/* The hashes of a live row's ids; *out_live false: it is dead. */
static enum gx_status look_at_row(struct gx_galleries *galleries, struct gx_gallery *g, uint64_t rno,
                                  struct reached *out, bool *out_live, struct gx_err *err)
{
    struct gx_row row;
    struct gx_record record;
    struct gx_slice name = gx_slice_text(g->meta.name);
    *out_live = false;
    *out = (struct reached){0};
    if (!gx_rows_find(g->rows, rno, &out->slot) || !gx_rows_is_live(g->rows, out->slot))
        return GX_OK;
    gx_rows_get(g->rows, out->slot, &row);
    GX_TRY(gx_codec_record_decode(row.record, &record, err));
    GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_RECORD, name, record.record_id, &out->record, err));
    out->has_arrest = record.arrest_id.len > 0;
    if (out->has_arrest)
        GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_ARREST, name, record.arrest_id, &out->arrest, err));
    *out_live = true;
    return GX_OK;
}

static void count_row(const struct gx_galleries *galleries, const struct reached *row, struct holds *io)
{
    count_holds(galleries, &row->record, io);
    if (row->has_arrest)
        count_holds(galleries, &row->arrest, io);
}

/* ACTIVE < HELD < QUARANTINED: the strictest counts; of the references that of the hold placed first. */
static void note_met(const struct holds *h, struct gx_hold_met *io)
{
    io->state = GX_MAX(io->state, state_of(h));
    if (h->first == NULL || (io->reference.len > 0 && io->serial <= h->first->serial))
        return;
    io->reference = h->first->of->reference;
    io->serial = h->first->serial;
}

enum gx_status gx_hold_meet(struct gx_galleries *galleries, struct gx_gallery *gallery, enum gx_id_kind kind,
                            const struct gx_key *id, const uint64_t *rnos, size_t n_rnos, struct gx_hold_met *out,
                            struct gx_err *err)
{
    struct holds named = {0};
    *out = (struct gx_hold_met){.state = GX_POLICY_ACTIVE};
    if (gx_hold_table_count(galleries->holds) == 0)
        return GX_OK;
    if (kind != GX_ID_SUBJECT)
        count_holds(galleries, id, &named);
    note_met(&named, out);
    for (size_t i = 0; i < n_rnos; i++) {
        struct reached row;
        struct holds h = {0};
        bool live;
        GX_TRY(look_at_row(galleries, gallery, rnos[i], &row, &live, err));
        if (live)
            count_row(galleries, &row, &h);
        out->n_records += h.n > 0;
        note_met(&h, out);
    }
    return GX_OK;
}

/* --- on the writer's thread --- */

/* The live rows that the named ids mean. */
static enum gx_status reach(struct gx_galleries *galleries, struct change *c, struct gx_err *err)
{
    struct gx_rno_list rnos = {0};
    for (size_t i = 0; i < c->n_named; i++)
        GX_TRY(gx_replay_resolve(galleries, c->gallery->meta.number, c->in->kind, &c->named[i], &c->arena, &rnos, err));
    GX_TRY(gx_arena_array(&c->arena, rnos.n, sizeof(*c->reached), &c->reached, err));
    for (size_t i = 0; i < rnos.n; i++) {
        bool live;
        GX_TRY(look_at_row(galleries, c->gallery, rnos.rnos[i], &c->reached[c->n_reached], &live, err));
        c->n_reached += live;
    }
    c->out.n_records = c->n_reached;
    return GX_OK;
}

/* May each id be held? Counts what changes. */
static enum gx_status check_place(struct gx_galleries *galleries, struct change *c, struct gx_err *err)
{
    const struct gx_hold_in *in = c->in;
    enum gx_policy_event event = in->quarantine ? GX_POLICY_QUARANTINE : GX_POLICY_HOLD;
    const struct gx_hold_case *of =
        gx_hold_table_case(galleries->holds, gx_slice_text(c->gallery->meta.name), in->kind, in->reference);
    size_t n_expunged = 0, n_new = 0, n_weaker = 0;
    for (size_t i = 0; i < c->n_named; i++) {
        bool gone = gx_ledger_is_expunged(galleries->ledger, in->kind, &c->named[i]);
        enum gx_policy_state state = gone ? GX_POLICY_ACCEPTED : gx_hold_state(galleries, &c->named[i], NULL), next;
        n_expunged += gx_policy_next(state, event, &next, err) != GX_OK;
        const struct gx_hold_entry *e = of == NULL ? NULL : gx_hold_table_find(galleries->holds, &c->named[i], of);
        n_new += e == NULL;
        n_weaker += e != NULL && e->quarantine && !in->quarantine;
        c->out.n_unchanged += e != NULL && e->quarantine == in->quarantine;
    }
    if (n_expunged > 0)
        return gx_fail(err, GX_E_EXPUNGED, "%zu of the ids were expunged by order and cannot be held: nothing was done",
                       n_expunged);
    if (n_weaker > 0)
        return gx_fail(err, GX_E_EXISTS,
                       "%zu of the ids are in quarantine under this reference: release them first, or place the hold "
                       "under another reference",
                       n_weaker);
    if ((of == NULL ? 0 : of->n_ids) + n_new > GX_HOLD_IDS_MAX)
        return gx_fail(err, GX_E_TOO_LARGE, "more than %d ids under one reference: use another one for the rest",
                       GX_HOLD_IDS_MAX);
    c->out.n_ids = c->n_named - c->out.n_unchanged;
    return gx_hold_table_reserve(galleries->holds, gx_slice_text(c->gallery->meta.name), in->kind, in->reference, n_new,
                                 &c->room, err);
}

static enum gx_status name_all(struct gx_galleries *galleries, struct change *c, struct gx_err *err)
{
    size_t bucket = 0;
    GX_TRY(gx_arena_array(&c->arena, c->of->n_ids, sizeof(*c->named), &c->named, err));
    for (struct gx_hold_entry *e = NULL; (e = gx_hold_table_walk(galleries->holds, &bucket, e)) != NULL;)
        if (e->of == c->of)
            c->named[c->n_named++] = e->id;
    qsort(c->named, c->n_named, sizeof(*c->named), compare_keys);
    return GX_OK;
}

/* What the end of one hold is for its id. */
static enum gx_status check_end(struct gx_galleries *galleries, const struct gx_hold_entry *e, struct gx_err *err)
{
    struct holds h = {0};
    count_holds(galleries, &e->id, &h);
    enum gx_policy_state before = state_of(&h), next;
    enum gx_policy_state after = gx_policy_of_holds(h.n - 1, h.n_quarantines - e->quarantine);
    if (before == after)
        return GX_OK;
    return gx_policy_next(before, after == GX_POLICY_ACTIVE ? GX_POLICY_RELEASE : GX_POLICY_UNQUARANTINE, &next, err);
}

static enum gx_status check_release(struct gx_galleries *galleries, struct change *c, struct gx_err *err)
{
    size_t n_missing = 0;
    c->of = gx_hold_table_case(galleries->holds, gx_slice_text(c->gallery->meta.name), c->in->kind, c->in->reference);
    if (c->of == NULL || c->of->n_ids == 0)
        return gx_fail(err, GX_E_NOT_FOUND,
                       "nothing of this kind is held under this reference: see 'indexctl hold list'");
    if (c->n_named == 0)
        GX_TRY(name_all(galleries, c, err));
    for (size_t i = 0; i < c->n_named; i++) {
        const struct gx_hold_entry *e = gx_hold_table_find(galleries->holds, &c->named[i], c->of);
        n_missing += e == NULL;
        if (e != NULL)
            GX_TRY(check_end(galleries, e, err));
    }
    if (n_missing > 0)
        return gx_fail(err, GX_E_NOT_FOUND,
                       "%zu of the ids are not held under this reference: nothing was released; see 'indexctl hold "
                       "list'",
                       n_missing);
    c->out.n_ids = c->n_named;
    return GX_OK;
}

/* The two counts of ids in one number: there are at most GX_HOLD_IDS_MAX of each. */
static void remember(const struct gx_hold_out *out, const struct gx_key *request, const struct gx_digest *content,
                     int64_t at_us, struct gx_store_batch *batch)
{
    struct gx_request_memory memory = {*content, at_us, out->epoch, out->n_ids << 32 | out->n_unchanged,
                                       out->n_records};
    gx_writer_remember(batch, request, &memory);
}

static enum gx_status recall(const struct gx_galleries *galleries, struct change *c, struct gx_store_batch *batch,
                             struct gx_arena *arena, bool *out_known, struct gx_err *err)
{
    struct gx_request_memory memory;
    *out_known = false;
    if (!c->has_request)
        return GX_OK;
    for (const struct gx_hold_unwritten *u = galleries->unwritten_holds; u != NULL && !*out_known; u = u->next)
        if (memcmp(&u->request, &c->request, sizeof(u->request)) == 0 &&
            memcmp(&u->content, &c->content, sizeof(u->content)) == 0) {
            *out_known = true;
            c->out = u->out;
            return GX_OK;
        }
    GX_TRY(gx_writer_recall(batch, &c->request, &c->content, arena, out_known, &memory, err));
    if (*out_known)
        c->out = (struct gx_hold_out){memory.a >> 32, memory.a & UINT32_MAX, memory.b, memory.epoch};
    return GX_OK;
}

static enum gx_status reserve_unwritten(struct change *c, struct gx_err *err)
{
    if (!c->has_request)
        return GX_OK;
    c->unwritten = calloc(1, sizeof(*c->unwritten));
    if (c->unwritten == NULL)
        return gx_fail(err, GX_E_NOMEM, "change a hold: out of memory");
    *c->unwritten = (struct gx_hold_unwritten){.request = c->request, .content = c->content, .out = c->out};
    return GX_OK;
}

static void retract(struct gx_mutation *self, struct gx_galleries *galleries)
{
    struct change *c = (struct change *)self;
    if (!c->logged || c->unwritten == NULL)
        return;
    c->unwritten->next = galleries->unwritten_holds;
    galleries->unwritten_holds = c->unwritten;
    c->unwritten = NULL;
}

void gx_hold_forget_unwritten(struct gx_galleries *galleries)
{
    for (struct gx_hold_unwritten *u = galleries->unwritten_holds, *next; u != NULL; u = next) {
        next = u->next;
        free(u);
    }
    galleries->unwritten_holds = NULL;
}

static void quarantine_rows(struct change *c)
{
    for (size_t i = 0; i < c->n_reached; i++)
        c->reached[i].moved = gx_rows_quarantine(c->gallery->rows, c->reached[i].slot);
}

static void unquarantine_rows(struct change *c)
{
    for (size_t i = 0; i < c->n_reached; i++)
        if (c->reached[i].moved)
            gx_rows_unquarantine(c->gallery->rows, c->reached[i].slot);
}

/* It is in the ledger: nothing below fails. */
static void take_effect(struct gx_galleries *galleries, struct change *c, int64_t at_us)
{
    if (!c->release) {
        for (size_t i = 0; i < c->n_named; i++)
            gx_hold_table_place(galleries->holds, &c->room, &c->named[i], c->in->quarantine, at_us);
        return;
    }
    for (size_t i = 0; i < c->n_named; i++)
        gx_hold_table_release(galleries->holds, c->of, &c->named[i]);
    for (size_t i = 0; i < c->n_reached; i++) {
        struct holds h = {0};
        count_row(galleries, &c->reached[i], &h);
        if (h.n_quarantines == 0)
            gx_rows_unquarantine(c->gallery->rows, c->reached[i].slot);
    }
}

static enum gx_status append_to_ledger(struct gx_galleries *galleries, const struct change *c, int64_t at_us,
                                       struct gx_err *err)
{
    struct gx_ledger_entry entry = {.type = c->release ? GX_LEDGER_RELEASE : GX_LEDGER_HOLD,
                                    .at_us = at_us,
                                    .store = galleries->uuid,
                                    .gallery = gx_slice_text(c->gallery->meta.name),
                                    .gallery_uuid = c->gallery->meta.uuid,
                                    .request = c->request,
                                    .content = c->content,
                                    .kind = c->in->kind,
                                    .text = c->in->reference,
                                    .named = c->named,
                                    .n_named = c->n_named,
                                    .quarantine = !c->release && c->in->quarantine};
    return gx_ledger_append(galleries->ledger, &entry, err);
}

static enum gx_status prepare(struct gx_mutation *self, struct gx_galleries *galleries, struct gx_store_batch *batch,
                              struct gx_arena *arena, uint64_t epoch, struct gx_err *err)
{
    struct change *c = (struct change *)self;
    bool known;
    if (atomic_load(&c->gallery->deleted))
        return gx_fail(err, GX_E_NOT_FOUND, "the gallery was deleted");
    GX_TRY(recall(galleries, c, batch, arena, &known, err));
    if (known)
        return GX_OK;
    GX_TRY(c->release ? check_release(galleries, c, err) : check_place(galleries, c, err));
    GX_TRY(reach(galleries, c, err));
    int64_t now = gx_clock_wall_us();
    c->out.epoch = c->out.n_ids > 0 ? epoch : atomic_load(&galleries->epoch);
    if (c->has_request)
        remember(&c->out, &c->request, &c->content, now, batch);
    self->changed = c->has_request || c->out.n_ids > 0;
    if (c->out.n_ids == 0)
        return GX_OK;
    GX_TRY(reserve_unwritten(c, err));
    gx_failpoint_pass("hold.before_ledger");
    if (!c->release && c->in->quarantine)
        quarantine_rows(c);
    if (append_to_ledger(galleries, c, now, err) != GX_OK) {
        unquarantine_rows(c);
        return err->status;
    }
    gx_failpoint_pass("hold.after_ledger");
    c->logged = true;
    take_effect(galleries, c, now);
    gx_replay_note(galleries, batch);
    return GX_OK;
}

static void publish(struct gx_mutation *self, struct gx_galleries *galleries, uint64_t epoch)
{
    (void)self; /* what it does it did when the ledger had it */
    (void)galleries;
    (void)epoch;
}

static enum gx_status run(struct gx_galleries *galleries, const struct gx_hold_in *in, bool release,
                          struct gx_hold_out *out, struct gx_err *err)
{
    struct change c = {.base = {.alone = true, .prepare = prepare, .publish = publish, .retract = retract},
                       .in = in,
                       .release = release};
    struct gx_err own;
    gx_arena_init(&c.arena, ARENA_MAX);
    enum gx_status status = take_request(galleries, &c, err == NULL ? &own : err);
    if (status == GX_OK)
        status = gx_writer_run(galleries, &c.base, err);
    *out = c.out;
    gx_hold_table_unreserve(&c.room);
    free(c.unwritten);
    gx_gallery_unref(c.gallery);
    gx_arena_fini(&c.arena);
    return status;
}

enum gx_status gx_hold_place(struct gx_galleries *galleries, const struct gx_hold_in *in, struct gx_hold_out *out,
                             struct gx_err *err)
{
    return run(galleries, in, false, out, err);
}

enum gx_status gx_hold_release(struct gx_galleries *galleries, const struct gx_hold_in *in, struct gx_hold_out *out,
                               struct gx_err *err)
{
    return run(galleries, in, true, out, err);
}

/* --- at start --- */

/* The request that the store may not know: the process died before its batch. */
static enum gx_status replay_request(struct gx_galleries *galleries, const struct gx_ledger_entry *entry,
                                     const struct gx_hold_out *out, struct gx_replay *replay, struct gx_err *err)
{
    static const struct gx_key none;
    struct gx_request_memory memory;
    bool known;
    bool due = galleries->replayed_entries > galleries->noted_entries &&
               entry->at_us > gx_clock_wall_us() - REMEMBER_US && memcmp(&entry->request, &none, sizeof(none)) != 0;
    if (!due)
        return GX_OK;
    GX_TRY(gx_writer_recall(replay->batch, &entry->request, &entry->content, replay->arena, &known, &memory, err));
    if (known)
        return GX_OK;
    remember(out, &entry->request, &entry->content, entry->at_us, replay->batch);
    replay->changed = true;
    return GX_OK;
}

enum gx_status gx_hold_replay(struct gx_galleries *galleries, const struct gx_ledger_entry *entry,
                              struct gx_replay *replay, struct gx_err *err)
{
    struct gx_hold_out out = {.epoch = replay->epoch};
    struct gx_hold_case *of = gx_hold_table_case(galleries->holds, entry->gallery, entry->kind, entry->text);
    struct gx_hold_room room = {0};
    if (entry->type == GX_LEDGER_HOLD)
        GX_TRY(gx_hold_table_reserve(galleries->holds, entry->gallery, entry->kind, entry->text, entry->n_named, &room,
                                     err));
    for (size_t i = 0; i < entry->n_named; i++) {
        const struct gx_hold_entry *e = of == NULL ? NULL : gx_hold_table_find(galleries->holds, &entry->named[i], of);
        bool same = entry->type == GX_LEDGER_HOLD ? e != NULL && e->quarantine == entry->quarantine : e == NULL;
        out.n_ids += !same;
        out.n_unchanged += same;
        if (entry->type == GX_LEDGER_HOLD)
            gx_hold_table_place(galleries->holds, &room, &entry->named[i], entry->quarantine, entry->at_us);
        else if (e != NULL)
            gx_hold_table_release(galleries->holds, of, &entry->named[i]);
    }
    gx_hold_table_unreserve(&room);
    return replay_request(galleries, entry, &out, replay, err);
}

/* The quarantined ids of a gallery, in the arena. */
struct id_list {
    struct gx_key *ids[GX_ID_ARREST + 1];
    size_t n[GX_ID_ARREST + 1];
};

static enum gx_status collect_quarantined(struct gx_hold_table *table, struct gx_slice gallery, struct gx_arena *arena,
                                          struct id_list *out, struct gx_err *err)
{
    size_t n = gx_hold_table_count_of(table, gallery), bucket = 0;
    for (int kind = GX_ID_RECORD; kind <= GX_ID_ARREST; kind++)
        GX_TRY(gx_arena_array(arena, n, sizeof(struct gx_key), &out->ids[kind], err));
    for (struct gx_hold_entry *e = NULL; (e = gx_hold_table_walk(table, &bucket, e)) != NULL;)
        if (e->quarantine && gx_slice_equal(gx_slice_text(e->of->gallery), gallery))
            out->ids[e->of->kind][out->n[e->of->kind]++] = e->id;
    return GX_OK;
}

enum gx_status gx_hold_load(struct gx_galleries *galleries, struct gx_gallery *gallery, struct gx_err *err)
{
    struct id_list list = {0};
    struct gx_arena arena;
    gx_arena_init(&arena, ARENA_MAX);
    gx_hold_table_lock(galleries->holds);
    enum gx_status status =
        collect_quarantined(galleries->holds, gx_slice_text(gallery->meta.name), &arena, &list, err);
    gx_hold_table_unlock(galleries->holds);
    for (int kind = GX_ID_RECORD; kind <= GX_ID_ARREST; kind++)
        for (size_t i = 0; status == GX_OK && i < list.n[kind]; i++) {
            struct gx_rno_list rnos = {0};
            status = gx_replay_resolve(galleries, gallery->meta.number, (enum gx_id_kind)kind, &list.ids[kind][i],
                                       &arena, &rnos, err);
            for (size_t j = 0; status == GX_OK && j < rnos.n; j++) {
                uint32_t slot;
                if (gx_rows_find(gallery->rows, rnos.rnos[j], &slot))
                    gx_rows_quarantine(gallery->rows, slot);
            }
        }
    gx_arena_fini(&arena);
    return status;
}
