/* The path of an expungement: check and hash the ids (caller's thread) -> the writer's queue, alone -> resolve ids to
 * rows -> expected count -> is any of it held? -> hide the rows in memory -> append to the outer ledger, fdatasync ->
 * one synced batch deletes the rows in every family and writes the ticket -> done: the acknowledgement. The keeper does
 * the rest (keeper.c).
 *
 * What can go wrong:
 *   before the ledger       nothing was done, hidden rows come back
 *   the ledger refuses      the same
 *   the batch fails         the ledger has it: the rows stay hidden, the keeper submits the batch again until it is
 *                           written; the caller is told that the outcome is open
 *   a crash after the ledger   the next start finds the entry and deletes before anything is loaded (replay.c) */
#include "expunge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "failpoint.h"
#include "hold_private.h"

#define ARENA_MAX ((size_t)1 << 30)

struct expungement {
    struct gx_mutation base; /* first */
    struct gx_gallery *gallery;
    struct gx_arena arena;
    enum gx_id_kind kind;
    struct gx_key *named; /* [n_named], ascending */
    uint32_t *place;      /* [n_named]: where the caller named it */
    size_t n_named;
    struct gx_expunge_outcome *outcomes; /* [n_named], in the caller's order */
    struct gx_slice order_ref;
    int64_t expected_count;
    bool validate_only, has_request;
    struct gx_key request;
    struct gx_digest content;

    struct gx_rno_list rnos;
    struct gx_hold_met met;
    struct gx_row_keys *keys;   /* [rnos.n] that they stand under */
    struct gx_key *records;     /* [rnos.n] of these, those of their ids */
    struct gx_pending *pending; /* for the keeper */
    bool logged;                /* it is in the ledger */
    struct gx_open_order open;  /* in galleries->open, while only the ledger has it */
    bool reserved;              /* a place for its removals */
    struct gx_ticket ticket;
    struct gx_expunge_out out;
    gx_expunge_done *done; /* NULL once it was answered */
    void *done_arg;
};

static void expungement_free(struct gx_mutation *self)
{
    struct expungement *x = (struct expungement *)self;
    gx_gallery_unref(x->gallery);
    gx_arena_fini(&x->arena);
    free(x->pending);
    free(x);
}

/* --- before the queue --- */

struct named {
    struct gx_key key;
    uint32_t place;
};

static int compare_named(const void *a, const void *b)
{
    return memcmp(&((const struct named *)a)->key, &((const struct named *)b)->key, GX_KEY_LEN);
}

/* Ascending: what the ledger gets, and the digest of a request, depend on the ids, not on their order. */
static enum gx_status hash_ids(struct gx_galleries *galleries, const struct gx_expunge_in *in, struct expungement *x,
                               struct gx_err *err)
{
    struct named *sorted;
    GX_TRY(gx_arena_array(&x->arena, in->n_ids, sizeof(*sorted), &sorted, err));
    GX_TRY(gx_arena_array(&x->arena, in->n_ids, sizeof(*x->named), &x->named, err));
    GX_TRY(gx_arena_array(&x->arena, in->n_ids, sizeof(*x->place), &x->place, err));
    GX_TRY(gx_arena_array(&x->arena, in->n_ids, sizeof(*x->outcomes), &x->outcomes, err));
    for (size_t i = 0; i < in->n_ids; i++) {
        GX_TRY(gx_keys_hash(&galleries->secret, in->kind, in->gallery, in->ids[i], &sorted[i].key, err));
        sorted[i].place = (uint32_t)i;
    }
    qsort(sorted, in->n_ids, sizeof(*sorted), compare_named);
    for (size_t i = 0; i < in->n_ids; i++) {
        x->named[i] = sorted[i].key;
        x->place[i] = sorted[i].place;
        if (i > 0 && compare_named(&sorted[i - 1], &sorted[i]) == 0)
            return gx_fail(err, GX_E_INVALID, "ids: one stands there twice: name each once");
    }
    x->n_named = in->n_ids;
    return GX_OK;
}

/* Of what is to go, and why. Not of the expected count, which guards the first time, and not of validate_only, which
 * asks whether this very order was carried out. */
static enum gx_status hash_request(struct gx_galleries *galleries, const struct gx_expunge_in *in,
                                   struct expungement *x, struct gx_err *err)
{
    uint8_t kind = (uint8_t)in->kind;
    struct gx_slice pieces[] = {{&kind, 1}, in->order_ref, {(const uint8_t *)x->named, x->n_named * sizeof(*x->named)}};
    x->has_request = in->request_id.len > 0;
    if (!x->has_request)
        return GX_OK;
    GX_TRY(gx_writer_request_key(galleries, x->gallery, in->request_id, &x->request, err));
    return gx_keys_hmac(&galleries->secret, pieces, GX_COUNT_OF(pieces), &x->content, err);
}

static enum gx_status take_order(struct gx_galleries *galleries, const struct gx_expunge_in *in, struct expungement *x,
                                 struct gx_err *err)
{
    if (in->kind != GX_ID_RECORD && in->kind != GX_ID_ARREST && in->kind != GX_ID_SUBJECT)
        return gx_fail(err, GX_E_INVALID, "kind: record, arrest or subject");
    if (in->n_ids < 1 || in->n_ids > GX_EXPUNGE_IDS_MAX)
        return gx_fail(err, GX_E_INVALID, "ids: 1..%d, got %zu", GX_EXPUNGE_IDS_MAX, in->n_ids);
    if (in->order_ref.len < 1 || in->order_ref.len > GX_ORDER_REF_MAX)
        return gx_fail(err, GX_E_INVALID, "order_ref: 1..%d bytes: name the order under which this happens",
                       GX_ORDER_REF_MAX);
    x->kind = in->kind;
    x->expected_count = in->expected_count;
    x->validate_only = in->validate_only;
    GX_TRY(gx_gallery_find(galleries, in->gallery, true, &x->gallery, err));
    GX_TRY(gx_arena_copy(&x->arena, in->order_ref, &x->order_ref, err));
    GX_TRY(hash_ids(galleries, in, x, err));
    return hash_request(galleries, in, x, err);
}

/* --- on the writer's thread --- */

static int compare_rnos(const void *a, const void *b)
{
    uint64_t p = *(const uint64_t *)a, q = *(const uint64_t *)b;
    return (p > q) - (p < q);
}

/* Which ids an order has named before; returns how many. */
static size_t mark_expunged(struct gx_galleries *galleries, struct expungement *x)
{
    size_t n = 0;
    for (size_t i = 0; i < x->n_named; i++) {
        struct gx_expunge_outcome *outcome = &x->outcomes[x->place[i]];
        outcome->expunged_before = gx_ledger_is_expunged(galleries->ledger, x->kind, &x->named[i]);
        n += outcome->expunged_before;
    }
    x->out.outcomes = x->outcomes;
    x->out.n_outcomes = x->n_named;
    return n;
}

/* The holds on named[@i], and on the rows that it has added from @first on. */
static enum gx_status meet_holds(struct gx_galleries *galleries, struct expungement *x, size_t i, size_t first,
                                 struct gx_err *err)
{
    struct gx_hold_met met;
    size_t n = x->rnos.n - first;
    const uint64_t *rnos = n == 0 ? NULL : x->rnos.rnos + first;
    GX_TRY(gx_hold_meet(galleries, x->gallery, x->kind, &x->named[i], rnos, n, &met, err));
    x->outcomes[x->place[i]].hold_ref = met.reference;
    x->met.state = GX_MAX(x->met.state, met.state);
    if (met.reference.len > 0 && (x->met.reference.len == 0 || met.serial < x->met.serial)) {
        x->met.reference = met.reference;
        x->met.serial = met.serial;
    }
    return GX_OK;
}

static enum gx_status resolve(struct gx_galleries *galleries, struct expungement *x, struct gx_err *err)
{
    size_t n_before = mark_expunged(galleries, x);
    x->rnos.n = 0;
    x->out.n_unmatched = 0;
    for (size_t i = 0; i < x->n_named; i++) {
        size_t before = x->rnos.n;
        GX_TRY(gx_replay_resolve(galleries, x->gallery->meta.number, x->kind, &x->named[i], &x->arena, &x->rnos, err));
        x->outcomes[x->place[i]].n_records = x->rnos.n - before;
        GX_TRY(meet_holds(galleries, x, i, before, err));
        x->out.n_unmatched += x->rnos.n == before;
        if (x->rnos.n > GX_EXPUNGE_MAX)
            return gx_fail(err, GX_E_TOO_LARGE, "more than %d records would go: split the order", GX_EXPUNGE_MAX);
    }
    x->out.n_records = x->rnos.n;
    if (x->rnos.n > 1)
        qsort(x->rnos.rnos, x->rnos.n, sizeof(uint64_t), compare_rnos);
    if (x->expected_count < 0 || (uint64_t)x->expected_count == x->rnos.n)
        return GX_OK;
    return gx_fail(err, GX_E_COUNT,
                   "%zu records match, %" PRId64
                   " were expected: nothing was removed now; %zu of the ids were expunged "
                   "before ('indexctl ticket list')",
                   x->rnos.n, x->expected_count, n_before);
}

/* May all that the order reaches go? */
static enum gx_status check_holds(const struct expungement *x, struct gx_err *err)
{
    enum gx_policy_state next;
    enum gx_status status = gx_policy_next(x->met.state, GX_POLICY_EXPUNGE, &next, err);
    if (status == GX_OK || x->validate_only)
        return GX_OK;
    return gx_fail(err, status, "nothing was removed: under a legal hold, which has to be released first: '%.*s'",
                   (int)x->met.reference.len, (const char *)x->met.reference.data);
}

/* Deletes of every row, and the ticket, into the batch. */
static enum gx_status fill_batch(struct gx_galleries *galleries, struct expungement *x, struct gx_store_batch *batch,
                                 struct gx_arena *arena, struct gx_err *err)
{
    if (x->records == NULL) {
        GX_TRY(gx_arena_array(&x->arena, x->rnos.n, sizeof(*x->keys), &x->keys, err));
        GX_TRY(gx_arena_array(&x->arena, x->rnos.n, sizeof(*x->records), &x->records, err));
    }
    /* Put in again later, it may meet rows that another order has deleted since. */
    GX_TRY(gx_replay_delete_rows(galleries, &x->gallery->meta, &x->rnos, x->logged, batch, x->keys, err));
    for (size_t i = 0; i < x->rnos.n; i++)
        x->records[i] = x->keys[i].record;
    GX_TRY(gx_replay_put_ticket(&x->ticket, x->keys, batch, arena, err));
    gx_writer_put_counter(batch, gx_codec_key_next_ticket(), GX_MAX(galleries->next_ticket, x->ticket.number + 1));
    if (x->has_request) {
        struct gx_request_memory memory = {x->content, x->ticket.accepted_at_us, x->ticket.epoch, x->ticket.number, 0};
        gx_writer_remember(batch, &x->request, &memory);
    }
    return GX_OK;
}

/* Out of every search that begins from now on. *out_hidden[i]: it was alive. */
static void hide(struct expungement *x, bool *out_hidden)
{
    for (size_t i = 0; i < x->rnos.n; i++) {
        uint32_t slot;
        out_hidden[i] = gx_rows_find(x->gallery->rows, x->rnos.rnos[i], &slot) && gx_rows_hide(x->gallery->rows, slot);
    }
}

/* @indexed: indexed_until from before they were hidden. An index that has come by since passed over them: it is built
 * anew. */
static void unhide(struct expungement *x, const bool *hidden, uint32_t indexed)
{
    bool passed_over = false;
    for (size_t i = 0; i < x->rnos.n; i++) {
        uint32_t slot;
        if (!hidden[i] || !gx_rows_find(x->gallery->rows, x->rnos.rnos[i], &slot))
            continue;
        gx_rows_unhide(x->gallery->rows, slot);
        passed_over |= slot >= indexed || gx_gallery_is_building(x->gallery);
    }
    if (passed_over)
        atomic_store(&x->gallery->broken, true);
}

static enum gx_status append_to_ledger(struct gx_galleries *galleries, struct expungement *x, struct gx_err *err)
{
    struct gx_ledger_entry entry = {.type = GX_LEDGER_EXPUNGE,
                                    .number = x->ticket.number,
                                    .at_us = x->ticket.accepted_at_us,
                                    .store = galleries->uuid,
                                    .gallery = gx_slice_text(x->gallery->meta.name),
                                    .gallery_uuid = x->gallery->meta.uuid,
                                    .request = x->request,
                                    .content = x->content,
                                    .kind = x->kind,
                                    .text = x->order_ref,
                                    .n_unmatched = x->out.n_unmatched,
                                    .named = x->named,
                                    .n_named = x->n_named,
                                    .rnos = x->rnos.rnos,
                                    .records = x->records,
                                    .n_records = x->rnos.n};
    return gx_ledger_append(galleries->ledger, &entry, err);
}

/* A request whose order is in the ledger, but not in the store yet: another order must not be made of it. */
static enum gx_status check_open(const struct gx_galleries *galleries, const struct expungement *x, struct gx_err *err)
{
    for (const struct gx_open_order *o = galleries->open; o != NULL; o = o->next)
        if (memcmp(&o->request, &x->request, sizeof(x->request)) == 0)
            return gx_fail(err, GX_E_UNAVAILABLE,
                           "this order was accepted, but could not be written to the store yet: ask again in a moment");
    return GX_OK;
}

static enum gx_status recall(struct gx_galleries *galleries, struct expungement *x, struct gx_store_batch *batch,
                             struct gx_arena *arena, bool *out_known, struct gx_err *err)
{
    struct gx_request_memory memory;
    *out_known = false;
    if (!x->has_request)
        return GX_OK;
    GX_TRY(check_open(galleries, x, err));
    GX_TRY(gx_writer_recall(batch, &x->request, &x->content, arena, out_known, &memory, err));
    if (!*out_known)
        return GX_OK;
    GX_TRY(gx_expunge_ticket(galleries, memory.a, &x->arena, &x->ticket, err));
    x->out.n_records = x->ticket.n_records;
    x->out.n_unmatched = x->ticket.n_unmatched;
    x->out.epoch = memory.epoch;
    x->out.has_ticket = true;
    (void)mark_expunged(galleries, x);
    if (x->expected_count >= 0 && (uint64_t)x->expected_count != x->ticket.n_records)
        return gx_fail(err, GX_E_COUNT,
                       "this request was carried out before and removed %" PRIu64 " records, %" PRId64
                       " were expected: nothing was removed now",
                       x->ticket.n_records, x->expected_count);
    return GX_OK;
}

static void forget_reservations(struct expungement *x)
{
    if (x->reserved)
        gx_gallery_unreserve_removals(x->gallery, x->rnos.n);
    x->reserved = false;
    if (x->logged)
        return;
    free(x->pending);
    x->pending = NULL;
}

static enum gx_status prepare(struct gx_mutation *self, struct gx_galleries *galleries, struct gx_store_batch *batch,
                              struct gx_arena *arena, uint64_t epoch, struct gx_err *err)
{
    struct expungement *x = (struct expungement *)self;
    forget_reservations(x); /* of an attempt before */
    if (!x->logged) {
        bool known;
        if (atomic_load(&x->gallery->deleted))
            return gx_fail(err, GX_E_NOT_FOUND, "the gallery was deleted");
        GX_TRY(recall(galleries, x, batch, arena, &known, err));
        if (known)
            return GX_OK;
        GX_TRY(resolve(galleries, x, err));
        GX_TRY(check_holds(x, err));
        x->out.epoch = atomic_load(&galleries->epoch);
        if (x->validate_only)
            return GX_OK;
        GX_TRY(gx_keeper_reserve(x->rnos.rnos, x->rnos.n, &x->pending, err));
        x->ticket = (struct gx_ticket){.number = galleries->next_ticket,
                                       .state = GX_TICKET_ACCEPTED,
                                       .kind = x->kind,
                                       .gallery_number = x->gallery->meta.number,
                                       .gallery = gx_slice_text(x->gallery->meta.name),
                                       .order_ref = x->order_ref,
                                       .n_records = x->rnos.n,
                                       .n_unmatched = x->out.n_unmatched,
                                       .accepted_at_us = gx_clock_wall_us(),
                                       .rnos = x->rnos.rnos};
    }
    x->ticket.epoch = x->out.epoch = epoch;
    /* What may fail for want of memory comes before the ledger. */
    GX_TRY(gx_gallery_reserve_removals(x->gallery, x->rnos.n, err));
    x->reserved = true;
    GX_TRY(fill_batch(galleries, x, batch, arena, err));
    if (!x->logged) {
        bool *hidden;
        GX_TRY(gx_arena_array(&x->arena, x->rnos.n, sizeof(bool), &hidden, err));
        gx_failpoint_pass("expunge.before_ledger");
        uint32_t indexed = atomic_load(&x->gallery->indexed_until);
        hide(x, hidden);
        enum gx_status status = append_to_ledger(galleries, x, err);
        if (status != GX_OK) {
            unhide(x, hidden, indexed);
            return status;
        }
        gx_failpoint_pass("expunge.after_ledger");
        x->logged = true;
        galleries->next_ticket++;
    }
    gx_replay_note(galleries, batch);
    x->out.has_ticket = true;
    self->changed = true;
    return GX_OK;
}

static void publish(struct gx_mutation *self, struct gx_galleries *galleries, uint64_t epoch)
{
    struct expungement *x = (struct expungement *)self;
    (void)epoch;
    uint64_t serial = gx_gallery_note_removals(x->gallery, x->rnos.rnos, x->rnos.n);
    x->reserved = false;
    gx_keeper_add_ticket(galleries, x->pending, &x->ticket, x->keys, serial);
    x->pending = NULL;
    gx_keeper_wake(galleries);
}

/* @is_open: the ledger has it, the store lacks it. */
static void note_open(struct gx_galleries *galleries, struct expungement *x, bool is_open)
{
    struct gx_open_order **place = &galleries->open;
    while (*place != NULL && *place != &x->open)
        place = &(*place)->next;
    bool noted = *place != NULL;
    if (is_open && !noted && x->has_request) {
        x->open = (struct gx_open_order){NULL, x->request};
        *place = &x->open;
    } else if (!is_open && noted) {
        *place = x->open.next;
    }
}

static void done(struct gx_mutation *self, struct gx_galleries *galleries)
{
    struct expungement *x = (struct expungement *)self;
    if (x->reserved)
        gx_gallery_unreserve_removals(x->gallery, x->rnos.n);
    x->reserved = false;
    x->ticket.rnos = NULL;
    x->ticket.deadline_at_us = x->ticket.accepted_at_us + galleries->options.erase_deadline_us;
    x->out.ticket = x->ticket;
    gx_failpoint_pass("expunge.before_acknowledgement");
    if (x->done != NULL)
        x->done(x->done_arg, &x->out, self->outcome == GX_OK ? NULL : &self->err);
    x->done = NULL;
    note_open(galleries, x, self->outcome != GX_OK && x->logged);
    if (self->outcome != GX_OK && x->logged) {
        x->ticket.rnos = x->rnos.rnos;
        gx_keeper_add_retry(galleries, self);
        return;
    }
    expungement_free(&x->base);
}

void gx_expunge_submit(struct gx_galleries *galleries, const struct gx_expunge_in *in, gx_expunge_done *on_done,
                       void *arg)
{
    struct gx_err err = {0};
    struct expungement *x = calloc(1, sizeof(*x));
    if (x == NULL) {
        gx_err_set(&err, GX_E_NOMEM, "expunge: out of memory");
        on_done(arg, NULL, &err);
        return;
    }
    gx_arena_init(&x->arena, ARENA_MAX);
    x->done = on_done;
    x->done_arg = arg;
    x->base.alone = x->base.insists = true;
    x->base.prepare = prepare;
    x->base.publish = publish;
    x->base.done = done;
    x->base.discard = expungement_free;
    enum gx_status status = take_order(galleries, in, x, &err);
    if (status == GX_OK)
        status = gx_writer_submit(galleries, &x->base, true, &err);
    if (status != GX_OK) {
        on_done(arg, NULL, &err);
        expungement_free(&x->base);
    }
}
