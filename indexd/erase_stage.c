/* The stages of a ticket, made durable.
 *
 * The path: for VERIFIED the certificates are written first, each naming the one before it -> one change of the store
 * through the writer, as every other: the tickets with their facts, the certificates, where their chain ends -> the
 * same in the outer ledger -> whoever watches is told.
 *
 * What can go wrong: the store refuses: nothing has happened. A crash, or a full disk, before the ledger: the store is
 * ahead, and the next start tells the ledger what it missed of certificates. */
#include <inttypes.h>
#include <stdlib.h>

#include "backup.h"
#include "clock.h"
#include "erase_private.h"
#include "failpoint.h"
#include "log.h"
#include "manifest.h"
#include "policy.h"
#include "receipt.h"

#define ARENA_MAX ((size_t)256 << 20)
#define AT_ONCE   256                /* tickets of one change */
#define BYTES_MAX ((size_t)16 << 20) /* of certificates of one change, past which it is sent */

/* One change. */
struct stage {
    struct gx_mutation base; /* first */
    struct gx_pending *const *list;
    size_t n;
    enum gx_ticket_state state;
    struct gx_slice problem;
    uint64_t numbers[AT_ONCE];
    uint64_t serial; /* VERIFIED: where the chain of certificates ends with it */
    struct gx_digest digest;
    const struct gx_backup *backups; /* [n_backups] VERIFIED: those there are, newest first */
    size_t n_backups;
};

static enum gx_policy_state policy_state(enum gx_ticket_state state)
{
    switch (state) {
    case GX_TICKET_ACCEPTED: return GX_POLICY_ACCEPTED;
    case GX_TICKET_ERASED: return GX_POLICY_ERASED;
    case GX_TICKET_VERIFIED: return GX_POLICY_VERIFIED;
    case GX_TICKET_FAILED: return GX_POLICY_FAILED;
    }
    return GX_POLICY_FAILED;
}

static enum gx_status check_step(enum gx_ticket_state from, enum gx_ticket_state to, struct gx_err *err)
{
    static const enum gx_policy_event events[] = {[GX_TICKET_ERASED] = GX_POLICY_ERASE,
                                                  [GX_TICKET_VERIFIED] = GX_POLICY_VERIFY,
                                                  [GX_TICKET_FAILED] = GX_POLICY_FAIL};
    enum gx_policy_state next;
    return from == to ? GX_OK : gx_policy_next(policy_state(from), events[to], &next, err);
}

/* --- the change --- */

static void merge_facts(struct gx_ticket *ticket, const struct gx_ticket *facts)
{
    ticket->unindexed_at_us = facts->unindexed_at_us;
    ticket->flushed_at_us = facts->flushed_at_us;
    ticket->compacted_at_us = facts->compacted_at_us;
    ticket->unlinked_at_us = facts->unlinked_at_us;
    ticket->erased_at_us = facts->erased_at_us;
    ticket->verified_at_us = facts->verified_at_us;
    ticket->failed_at_us = facts->failed_at_us;
    ticket->attempts = facts->attempts;
    ticket->files_rewritten = facts->files_rewritten;
    ticket->bytes_rewritten = facts->bytes_rewritten;
    ticket->files_removed = facts->files_removed;
    ticket->method = facts->method;
    ticket->files_scanned = facts->files_scanned;
    ticket->bytes_scanned = facts->bytes_scanned;
    ticket->files_left_out = facts->files_left_out;
    ticket->control_hits = facts->control_hits;
    ticket->certificate = facts->certificate;
}

static enum gx_status put_ticket(const struct stage *s, const struct gx_pending *p, struct gx_galleries *galleries,
                                 struct gx_store_batch *batch, struct gx_arena *arena, struct gx_err *err)
{
    struct gx_ticket ticket;
    struct gx_slice value;
    uint8_t key[GX_KEY_TICKET_LEN];
    GX_TRY(gx_ticket_get(galleries, p->number, arena, &ticket, err));
    GX_TRY(check_step(ticket.state, s->state, err));
    merge_facts(&ticket, &p->facts);
    ticket.state = s->state;
    ticket.problem = s->problem;
    GX_TRY(gx_codec_ticket_encode(&ticket, arena, &value, err));
    gx_codec_key_ticket(p->number, key);
    gx_store_batch_put(batch, GX_CF_LEDGER, (struct gx_slice){key, sizeof(key)}, value);
    return GX_OK;
}

/* VERIFIED: its certificate, and what was kept for its erasure goes. */
static enum gx_status put_end(const struct gx_pending *p, struct gx_store_batch *batch, struct gx_arena *arena,
                              struct gx_err *err)
{
    uint8_t key[GX_KEY_ERASURE_LEN];
    GX_TRY(gx_certificate_put(batch, p->number, p->certificate, arena, err));
    gx_codec_key_erasure(p->number, key);
    gx_store_batch_delete(batch, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)});
    return GX_OK;
}

static enum gx_status prepare(struct gx_mutation *self, struct gx_galleries *galleries, struct gx_store_batch *batch,
                              struct gx_arena *arena, uint64_t epoch, struct gx_err *err)
{
    struct stage *s = (struct stage *)self;
    (void)epoch;
    for (size_t t = 0; t < s->n; t++) {
        GX_TRY(put_ticket(s, s->list[t], galleries, batch, arena, err));
        if (s->state == GX_TICKET_VERIFIED)
            GX_TRY(put_end(s->list[t], batch, arena, err));
    }
    if (s->state == GX_TICKET_VERIFIED) {
        uint8_t end[GX_CHAIN_END_LEN];
        gx_codec_chain_end_encode(s->serial, &s->digest, end);
        gx_store_batch_put(batch, GX_CF_DEFAULT, gx_codec_key_chain_end(), (struct gx_slice){end, sizeof(end)});
    }
    self->changed = true;
    return GX_OK;
}

static void publish(struct gx_mutation *self, struct gx_galleries *galleries, uint64_t epoch)
{
    struct stage *s = (struct stage *)self;
    struct gx_err err;
    (void)epoch;
    static const enum gx_ledger_type types[] = {[GX_TICKET_ERASED] = GX_LEDGER_ERASED,
                                                [GX_TICKET_VERIFIED] = GX_LEDGER_VERIFIED,
                                                [GX_TICKET_FAILED] = GX_LEDGER_FAILED};
    struct gx_ledger_entry entry = {.type = types[s->state],
                                    .at_us = gx_clock_wall_us(),
                                    .store = galleries->uuid,
                                    .tickets = s->numbers,
                                    .n_tickets = s->n,
                                    .text = s->problem,
                                    .serial = s->serial,
                                    .certificate = s->digest};
    bool changes = false; /* an alarm that goes on is no transition */
    for (size_t t = 0; t < s->n; t++)
        changes = changes || s->list[t]->state != s->state;
    if (!changes)
        return;
    gx_failpoint_pass("stage.before_ledger");
    if (gx_ledger_append(galleries->ledger, &entry, &err) != GX_OK)
        gx_log_error("ledger_behind", "reason=\"%s\"", err.text);
    gx_failpoint_pass("stage.after_ledger");
}

/* --- certificates --- */

static enum gx_status name_backups(const struct stage *s, const struct gx_ticket *ticket, struct gx_arena *arena,
                                   struct gx_receipt_in *in, struct gx_err *err)
{
    struct gx_receipt_backup *named;
    if (s->n_backups == 0)
        return GX_OK;
    GX_TRY(gx_arena_array(arena, s->n_backups, sizeof(*named), &named, err));
    in->backups = named;
    for (size_t i = s->n_backups; i-- > 0;) { /* oldest first */
        char id[GX_MANIFEST_ID_MAX];
        const struct gx_backup *b = &s->backups[i];
        if (!gx_backup_may_hold(b, ticket, ticket->verified_at_us))
            continue;
        gx_manifest_id(b->number, id);
        struct gx_receipt_backup *out = &named[in->n_backups++];
        *out = (struct gx_receipt_backup){.created_at_us = b->created_at_us, .expires_at_us = b->expires_at_us};
        GX_TRY(gx_arena_copy(arena, gx_slice_text(id), &out->id, err));
    }
    return GX_OK;
}

static enum gx_status certify(struct gx_galleries *galleries, struct gx_pending *p, struct stage *s,
                              struct gx_arena *arena, struct gx_err *err)
{
    struct gx_ticket ticket;
    struct gx_ledger_entry order;
    struct gx_key
        *records; /* that were erased here: an older copy of the store may have had some of the order's only */
    GX_TRY(gx_ticket_get(galleries, p->number, arena, &ticket, err));
    GX_TRY(gx_ledger_find(galleries->ledger, p->number, arena, &order, err));
    GX_TRY(gx_arena_array(arena, p->n, sizeof(*records), &records, err));
    for (size_t i = 0; i < p->n; i++)
        records[i] = p->keys[i].record;
    p->facts.certificate = s->serial + 1;
    merge_facts(&ticket, &p->facts);
    ticket.state = GX_TICKET_VERIFIED;
    struct gx_receipt_in in = {.ticket = &ticket,
                               .store = galleries->uuid,
                               .previous = s->digest,
                               .named = order.named,
                               .n_named = order.n_named,
                               .records = records,
                               .reason = gx_slice_text(p->reason)};
    GX_TRY(name_backups(s, &ticket, arena, &in, err));
    GX_TRY(gx_receipt_make(&in, galleries->signer, arena, &p->certificate, &s->digest, err));
    s->serial++;
    return GX_OK;
}

/* --- where the chain goes on --- */

/* Tickets whose certificates the ledger has missed. */
static enum gx_status collect_missed(struct gx_galleries *galleries, uint64_t after_serial, struct gx_arena *arena,
                                     uint64_t **out, size_t *out_n, struct gx_err *err)
{
    const struct gx_slice none = {NULL, 0};
    struct gx_store_iter *iter;
    *out_n = 0;
    GX_TRY(gx_arena_array(arena, GX_LEDGER_TICKETS_MAX, sizeof(**out), out, err));
    GX_TRY(gx_store_iter_begin(galleries->store, GX_CF_LEDGER, none, none, false, &iter, err));
    enum gx_status status;
    for (bool more = true; *out_n < GX_LEDGER_TICKETS_MAX;) {
        struct gx_slice key, value;
        struct gx_ticket ticket;
        GX_TRY_OUT(gx_store_iter_next(iter, &more, &key, &value, err));
        if (!more)
            break;
        GX_TRY_OUT(gx_codec_ticket_decode(value, NULL, &ticket, err));
        if (ticket.certificate > after_serial)
            (*out)[(*out_n)++] = ticket.number;
    }
    status = GX_OK;
out:
    gx_store_iter_end(iter);
    return status;
}

static enum gx_status tell_ledger(struct gx_galleries *galleries, uint64_t ledger_serial, struct gx_arena *arena,
                                  struct gx_err *err)
{
    uint64_t *tickets;
    size_t n;
    GX_TRY(collect_missed(galleries, ledger_serial, arena, &tickets, &n, err));
    if (n == 0)
        return gx_fail(err, GX_E_CORRUPT,
                       "the store ends its chain of certificates with one that no ticket has: "
                       "restore a backup");
    struct gx_ledger_entry entry = {.type = GX_LEDGER_VERIFIED,
                                    .at_us = gx_clock_wall_us(),
                                    .store = galleries->uuid,
                                    .tickets = tickets,
                                    .n_tickets = n,
                                    .serial = galleries->chain_serial,
                                    .certificate = galleries->chain_digest};
    return gx_ledger_append(galleries->ledger, &entry, err);
}

enum gx_status gx_erase_open(struct gx_galleries *galleries, struct gx_err *err)
{
    struct gx_arena arena;
    struct gx_slice value;
    struct gx_digest digest;
    uint64_t serial;
    gx_arena_init(&arena, ARENA_MAX);
    gx_ledger_certificate(galleries->ledger, &serial, &digest);
    enum gx_status status =
        gx_store_get(galleries->store, GX_CF_DEFAULT, gx_codec_key_chain_end(), &arena, &value, err);
    if (status == GX_OK)
        status = gx_codec_chain_end_decode(value, &galleries->chain_serial, &galleries->chain_digest, err);
    else if (status == GX_E_NOT_FOUND)
        status = GX_OK;
    if (status == GX_OK && galleries->chain_serial > serial) {
        status = tell_ledger(galleries, serial, &arena, err);
    } else if (status == GX_OK) { /* the store may be an older copy */
        galleries->chain_serial = serial;
        galleries->chain_digest = digest;
    }
    gx_arena_fini(&arena);
    return status;
}

/* --- stages --- */

static void tell(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n)
{
    gx_expunge_changed *changed = atomic_load(&galleries->ticket_changed);
    for (size_t t = 0; t < n && changed != NULL; t++)
        changed(galleries->ticket_changed_arg, list[t]->number);
    if (galleries->options.changed != NULL)
        galleries->options.changed();
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t p = *(const uint64_t *)a, q = *(const uint64_t *)b;
    return (p > q) - (p < q);
}

/* The first tickets of @list, as many as one change takes. */
static enum gx_status stage_some(struct gx_galleries *galleries, struct stage *s, size_t n, struct gx_arena *arena,
                                 struct gx_err *err)
{
    size_t bytes = 0;
    struct gx_backup *backups = NULL;
    if (s->state == GX_TICKET_VERIFIED)
        GX_TRY(gx_backup_list(galleries, false, arena, &backups, &s->n_backups, err));
    s->backups = backups;
    for (s->n = 0; s->n < n && s->n < AT_ONCE && bytes < BYTES_MAX; s->n++) {
        struct gx_pending *p = s->list[s->n];
        if (s->state == GX_TICKET_VERIFIED)
            GX_TRY(certify(galleries, p, s, arena, err));
        bytes += p->certificate.len;
        s->numbers[s->n] = p->number;
    }
    qsort(s->numbers, s->n, sizeof(s->numbers[0]), compare_numbers);
    gx_failpoint_pass("stage.before_store");
    return gx_writer_run(galleries, &s->base, err);
}

enum gx_status gx_erase_stage(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n,
                              enum gx_ticket_state state, struct gx_slice problem, struct gx_err *err)
{
    struct gx_arena arena;
    enum gx_status status = GX_OK;
    gx_arena_init(&arena, ARENA_MAX);
    for (size_t at = 0; status == GX_OK && at < n;) {
        struct stage s = {.base = {.prepare = prepare, .publish = publish, .alone = true},
                          .list = list + at,
                          .state = state,
                          .problem = problem,
                          .serial = state == GX_TICKET_VERIFIED ? galleries->chain_serial : 0};
        if (state == GX_TICKET_VERIFIED)
            s.digest = galleries->chain_digest;
        gx_arena_reset(&arena);
        status = stage_some(galleries, &s, n - at, &arena, err);
        for (size_t t = 0; t < s.n; t++)
            s.list[t]->certificate = (struct gx_slice){NULL, 0};
        if (status != GX_OK)
            break;
        if (state == GX_TICKET_VERIFIED) {
            galleries->chain_serial = s.serial;
            galleries->chain_digest = s.digest;
        }
        for (size_t t = 0; t < s.n; t++)
            gx_keeper_set_state(galleries, s.list[t], state);
        tell(galleries, s.list, s.n);
        at += s.n;
    }
    gx_arena_fini(&arena);
    return status;
}

void gx_erase_fail(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n, const char *problem)
{
    struct gx_err err;
    if (gx_erase_stage(galleries, list, n, GX_TICKET_FAILED, gx_slice_text(problem), &err) == GX_OK)
        return;
    gx_log_error("alarm_not_stored", "reason=\"%s\"", err.text);
    for (size_t t = 0; t < n; t++)
        if (list[t]->state != GX_TICKET_FAILED)
            gx_keeper_set_alarm(galleries, list[t], problem, list[t]->facts.failed_at_us);
    tell(galleries, list, n);
}
