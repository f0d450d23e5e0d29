/* The path of a ticket after its acknowledgement, on the keeper's thread.
 *
 *   out of memory   its rows are copied for the proof, then zeroed; the index in use forgets them; the saved index that
 *                   held them is deleted. One that cannot remove, or is being built, makes the ticket wait for a build
 *   out of files    control: the copies are found in the files -> the store erases (store.h) -> ERASED, once the ticket
 *                   is out of memory as well
 *   proof           the copies are found in no file -> they are wiped -> VERIFIED, with a certificate
 *
 * Tickets that wait go through this together, one run at a time. Every stage is durable before the next one begins and
 * can be repeated: a ticket found at start goes through all of it, without a copy of its rows, which is gone.
 *
 * What can go wrong: any step; the ticket stays where it is, and is tried again later and later. After three times, or
 * at once when trying again alone cannot help, it is FAILED: an alarm, which a later success takes back. */
#include "erase_private.h"

#include <inttypes.h>
#include <stdlib.h>

#include "clock.h"
#include "failpoint.h"
#include "log.h"

#define ARENA_MAX     ((size_t)2 << 30)
#define GATHER_US     ((int64_t)20000) /* what comes later gathers while this is erased */
#define DOUBLINGS_MAX 6
#define WAIT_US       ((int64_t)500000) /* for a build, or a gallery that is loading */
#define FAILURES_MAX  3

static const enum gx_family row_families[] = {GX_CF_EMB, GX_CF_REC, GX_CF_BY_RECORD, GX_CF_BY_ARREST, GX_CF_BY_SUBJECT};
#define FAMILIES GX_COUNT_OF(row_families)

/* Tickets that go through a step together. */
struct run {
    struct gx_galleries *galleries;
    struct gx_arena arena;
    struct gx_pending **list; /* in the arena */
    size_t n;
    struct gx_pending *const *all; /* of this round */
    size_t n_all;
    struct gx_store_stain stains[FAMILIES];
    struct gx_store_clear clear;
};

static bool stop(void *galleries)
{
    return gx_keeper_is_stopping(galleries);
}

/* --- out of memory --- */

static enum gx_status wipe_rows(struct gx_galleries *galleries, struct gx_gallery *g, struct gx_pending *p,
                                struct gx_err *err)
{
    gx_failpoint_pass("erase.before_wipe");
    gx_erase_proof_take(galleries, g, p);
    gx_gallery_wait_readers(g);
    for (size_t i = 0; i < p->n; i++) {
        uint32_t slot;
        if (gx_rows_find(g->rows, p->rnos[i], &slot))
            gx_rows_wipe(g->rows, slot);
    }
    GX_TRY(gx_rows_sync(g->rows, err));
    gx_failpoint_pass("erase.after_wipe");
    p->wiped = true;
    return GX_OK;
}

/* Tells the index in use what was removed, and deletes the file that still holds it. *out_clean: of the removals up to
 * @serial nothing is left, in no index and no file. */
static enum gx_status clean_index(struct gx_galleries *galleries, struct gx_gallery *g, uint64_t serial,
                                  bool *out_clean, struct gx_err *err)
{
    bool more = true;
    enum gx_status status = GX_OK;
    pthread_mutex_lock(&g->change);
    uint64_t told = g->index.removed_upto;
    while (more && status == GX_OK)
        status = gx_gallery_apply_removals(g, &g->index, &more, err);
    if (status != GX_OK)
        atomic_store(&g->broken, true);
    if (g->index.removed_upto != told) {
        if (g->index.engine == NULL || !g->index.engine->spec.bare_file)
            g->drop_open = true; /* until the file is gone, durably */
        atomic_store(&g->unsaved, true);
        if (g->index.engine != NULL && !g->index.engine->spec.removes) {
            pthread_rwlock_wrlock(&g->lock);
            gx_gallery_count_dead(g, &g->index);
            pthread_rwlock_unlock(&g->lock);
        }
    }
    gx_failpoint_pass("erase.before_drop");
    if (status == GX_OK)
        status = g->drop_open || g->index.engine == NULL ? gx_gallery_drop_saved(galleries, g, err) : GX_OK;
    *out_clean = status == GX_OK && gx_gallery_clean_upto(g) >= serial;
    pthread_mutex_unlock(&g->change);
    return status;
}

/* Sets unindexed_at_us once nothing of the rows is left in memory, index and saved index; of a gallery that is gone
 * they left with it. */
static enum gx_status forget(struct gx_galleries *galleries, struct gx_pending *p, struct gx_err *err)
{
    struct gx_gallery *g = gx_gallery_find_number(galleries, p->gallery);
    enum gx_status status = GX_OK;
    bool clean = g == NULL && !gx_keeper_is_deleting(galleries, p->gallery);
    if (g != NULL && !atomic_load(&g->loaded))
        goto out;
    if (g != NULL && !p->wiped)
        GX_TRY_OUT(wipe_rows(galleries, g, p, err));
    if (g != NULL && p->serial == 0) { /* found at start: nothing was noted for it yet */
        GX_TRY_OUT(gx_gallery_reserve_removals(g, p->n, err));
        p->serial = gx_gallery_note_removals(g, p->rnos, p->n);
    }
    if (g != NULL)
        GX_TRY_OUT(clean_index(galleries, g, p->serial, &clean, err));
    p->forgotten = clean;
    gx_failpoint_pass("erase.after_index");
    if (!clean)
        gx_indexer_wake(galleries);
    else if (p->facts.unindexed_at_us == 0)
        p->facts.unindexed_at_us = GX_MAX(p->accepted_at_us, gx_clock_wall_us());
out:
    gx_gallery_unref(g);
    return status;
}

/* --- out of files --- */

static int compare_slices(const void *a, const void *b)
{
    return gx_slice_compare(*(const struct gx_slice *)a, *(const struct gx_slice *)b);
}

static bool is_none(const struct gx_key *key)
{
    static const struct gx_key none;
    return memcmp(key, &none, sizeof(none)) == 0;
}

/* The key of row @i in @family; an empty one: it has none there. */
static struct gx_slice row_key(enum gx_family family, const struct gx_pending *p, size_t i, uint8_t *out)
{
    const struct gx_row_keys *keys = &p->keys[i];
    const struct gx_key *listed = family == GX_CF_BY_ARREST ? &keys->arrest : &keys->subject;
    if (family == GX_CF_EMB || family == GX_CF_REC) {
        gx_codec_row_key(p->gallery, p->rnos[i], out);
        return (struct gx_slice){out, GX_KEY_ROW_LEN};
    }
    if (family == GX_CF_BY_RECORD) {
        gx_codec_id_key(p->gallery, &keys->record, out);
        return (struct gx_slice){out, is_none(&keys->record) ? 0 : GX_KEY_ID_LEN};
    }
    gx_codec_list_key(p->gallery, listed, p->rnos[i], out);
    return (struct gx_slice){out, is_none(listed) ? 0 : GX_KEY_LIST_LEN};
}

/* All keys of the run's rows in @family, ascending, each once. */
static enum gx_status collect_keys(struct run *run, enum gx_family family, struct gx_store_stain *out,
                                   struct gx_err *err)
{
    size_t n_rows = 0, n = 0, n_distinct = 0;
    struct gx_slice *keys;
    uint8_t *bytes;
    for (size_t t = 0; t < run->n; t++)
        n_rows += run->list[t]->n;
    GX_TRY(gx_arena_array(&run->arena, n_rows, sizeof(*keys), &keys, err));
    GX_TRY(gx_arena_array(&run->arena, n_rows, GX_KEY_LIST_LEN, &bytes, err));
    for (size_t t = 0; t < run->n; t++)
        for (size_t i = 0; i < run->list[t]->n; i++) {
            keys[n] = row_key(family, run->list[t], i, bytes + n * GX_KEY_LIST_LEN);
            n += keys[n].len > 0;
        }
    if (n > 1)
        qsort(keys, n, sizeof(*keys), compare_slices);
    for (size_t i = 0; i < n; i++)
        if (i == 0 || !gx_slice_equal(keys[i], keys[n_distinct - 1]))
            keys[n_distinct++] = keys[i];
    *out = (struct gx_store_stain){.family = family, .keys = keys, .n_keys = n_distinct};
    return GX_OK;
}

static enum gx_status collect_stains(struct run *run, size_t *out_n, struct gx_err *err)
{
    *out_n = 0;
    for (size_t f = 0; f < FAMILIES; f++) {
        struct gx_store_stain *stain = &run->stains[*out_n];
        GX_TRY(collect_keys(run, row_families[f], stain, err));
        *out_n += stain->n_keys > 0;
    }
    return GX_OK;
}

/* A clock that was set back does not put a stage before the one it follows. */
static int64_t not_before(int64_t earlier, int64_t now)
{
    return GX_MAX(earlier, now);
}

static int64_t first_of(int64_t before, int64_t now)
{
    return before != 0 ? before : now;
}

/* What was a fact before stays one when it is done again after a restart. */
static void take_facts(struct run *run, const struct gx_store_erased *erased)
{
    for (size_t t = 0; t < run->n; t++) {
        struct gx_ticket *facts = &run->list[t]->facts;
        facts->flushed_at_us = first_of(facts->flushed_at_us, not_before(facts->accepted_at_us, erased->flushed_at_us));
        facts->compacted_at_us =
            first_of(facts->compacted_at_us, not_before(facts->flushed_at_us, erased->compacted_at_us));
        facts->unlinked_at_us =
            first_of(facts->unlinked_at_us, not_before(facts->compacted_at_us, erased->unlinked_at_us));
        facts->files_rewritten += erased->files_rewritten;
        facts->bytes_rewritten += erased->bytes_rewritten;
        facts->files_removed += erased->files_removed;
        run->list[t]->cleaned = true;
    }
}

/* The store's files, of all tickets of the run. */
static enum gx_status erase_files(struct run *run, struct gx_err *err)
{
    struct gx_galleries *galleries = run->galleries;
    struct gx_store_erased erased = {0};
    size_t n_stains;
    GX_TRY(collect_stains(run, &n_stains, err));
    for (size_t t = 0; t < run->n; t++)
        run->list[t]->facts.attempts++;
    if (n_stains > 0) {
        GX_TRY(gx_store_find_clear(galleries->store, run->stains, n_stains, &run->arena, &run->clear, err));
        gx_failpoint_pass("erase.before_control");
        GX_TRY(gx_erase_proof_control(galleries, run->list, run->n, &run->clear, err));
        gx_failpoint_pass("erase.before_files");
        GX_TRY(gx_store_erase(galleries->store, run->stains, n_stains, stop, galleries, &erased, err));
    } else { /* an order that matched nothing has left nothing */
        erased.flushed_at_us = erased.compacted_at_us = erased.unlinked_at_us = gx_clock_wall_us();
    }
    gx_failpoint_pass("erase.after_files");
    take_facts(run, &erased);
    return GX_OK;
}

enum gx_status gx_erase_gallery(struct gx_galleries *galleries, uint32_t gallery, struct gx_err *err)
{
    struct gx_store_stain stains[FAMILIES];
    struct gx_store_erased erased;
    uint8_t from[4], until[4];
    gx_codec_put_u32(from, gallery);
    gx_codec_put_u32(until, gallery + 1);
    for (size_t f = 0; f < FAMILIES; f++)
        stains[f] = (struct gx_store_stain){
            .family = row_families[f], .from = {from, sizeof(from)}, .until = {until, sizeof(until)}};
    return gx_store_erase(galleries->store, stains, FAMILIES, stop, galleries, &erased, err);
}

/* --- stamps --- */

static enum gx_status stamp_erased(struct run *run, struct gx_err *err)
{
    int64_t now = gx_clock_wall_us();
    for (size_t t = 0; t < run->n; t++) {
        struct gx_ticket *facts = &run->list[t]->facts;
        facts->erased_at_us =
            first_of(facts->erased_at_us, GX_MAX(now, GX_MAX(facts->unlinked_at_us, facts->unindexed_at_us)));
    }
    return gx_erase_stage(run->galleries, run->list, run->n, GX_TICKET_ERASED, (struct gx_slice){NULL, 0}, err);
}

static enum gx_status stamp_verified(struct run *run, struct gx_err *err)
{
    int64_t now = gx_clock_wall_us();
    gx_failpoint_pass("erase.before_verified");
    for (size_t t = 0; t < run->n; t++)
        run->list[t]->facts.verified_at_us = not_before(run->list[t]->facts.erased_at_us, now);
    enum gx_status status =
        gx_erase_stage(run->galleries, run->list, run->n, GX_TICKET_VERIFIED, (struct gx_slice){NULL, 0}, err);
    for (size_t t = 0; t < run->n; t++)
        if (run->list[t]->state != GX_TICKET_VERIFIED) /* or an alarm would come with a certificate that is none */
            run->list[t]->facts.verified_at_us = 0, run->list[t]->facts.certificate = 0;
    gx_failpoint_pass("erase.after_verified");
    return status;
}

/* --- rounds --- */

typedef bool wanted(const struct gx_pending *pending);
typedef enum gx_status step(struct run *run, struct gx_err *err);

static bool needs_files(const struct gx_pending *p)
{
    return !p->cleaned;
}

static bool needs_stamp(const struct gx_pending *p)
{
    return p->cleaned && p->forgotten && p->state != GX_TICKET_ERASED && p->state != GX_TICKET_VERIFIED;
}

static bool needs_proof(const struct gx_pending *p)
{
    return p->cleaned && p->forgotten && p->state == GX_TICKET_ERASED && !p->proven;
}

static bool needs_certificate(const struct gx_pending *p)
{
    return p->proven && p->state == GX_TICKET_ERASED;
}

/* Later each time, and an alarm when it has come to that: at once where trying again alone cannot help. */
static void put_off(struct run *run, bool hopeless, const struct gx_err *why)
{
    size_t n_failed = 0;
    int64_t now = gx_clock_wall_us(), again = gx_clock_monotonic_us();
    if (why->status == GX_E_CANCELLED)
        return;
    if (why->status == GX_E_FULL)
        (void)gx_galleries_make_room(run->galleries);
    for (size_t t = 0; t < run->n; t++) {
        struct gx_pending *p = run->list[t];
        if (p->state == GX_TICKET_VERIFIED)
            continue;
        p->try_at_us =
            again + (run->galleries->options.erase_retry_us << GX_MIN(p->n_failures, (unsigned)DOUBLINGS_MAX));
        p->n_failures++;
        gx_log_error("erase_delayed", "ticket=%" PRIu64 " failures=%u reason=\"%s\"", p->number, p->n_failures,
                     why->text);
        if (!hopeless && p->n_failures < FAILURES_MAX)
            continue;
        p->facts.failed_at_us = now;
        run->list[n_failed++] = p;
    }
    if (n_failed > 0)
        gx_erase_fail(run->galleries, run->list, n_failed, why->text);
}

static void put_off_one(struct gx_galleries *galleries, struct gx_pending *p, bool hopeless, const struct gx_err *why)
{
    struct run one = {.galleries = galleries, .list = &p, .n = 1};
    put_off(&one, hopeless, why);
}

/* --- proof --- */

/* It is not ERASED after all: none of that was so. */
static void begin_again(struct gx_galleries *galleries, struct gx_pending *p)
{
    struct gx_err why;
    struct gx_ticket *facts = &p->facts;
    p->cleaned = false;
    facts->flushed_at_us = facts->compacted_at_us = facts->unlinked_at_us = facts->erased_at_us = 0;
    gx_err_set(&why, GX_E_STATE, "%s", p->problem);
    put_off_one(galleries, p, true, &why);
}

static enum gx_status prove(struct run *run, struct gx_err *err)
{
    struct gx_galleries *galleries = run->galleries;
    size_t n_stains;
    GX_TRY(collect_stains(run, &n_stains, err));
    GX_TRY(gx_store_find_clear(galleries->store, run->stains, n_stains, &run->arena, &run->clear, err));
    gx_failpoint_pass("erase.before_proof");
    GX_TRY(gx_erase_proof_check(galleries, run->list, run->n, run->all, run->n_all, &run->clear, err));
    gx_failpoint_pass("erase.after_proof");
    for (size_t t = 0; t < run->n; t++) {
        struct gx_pending *p = run->list[t];
        if (p->proven)
            gx_erase_proof_drop(galleries, p);
        else if (p->found)
            begin_again(galleries, p);
        else /* what is found is another ticket's as well, whose turn comes */
            p->try_at_us = gx_clock_monotonic_us() + WAIT_US;
    }
    return GX_OK;
}

/* Lets those that want it and are due go through @step. */
static void carry_out(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n, wanted *wants,
                      step *carry)
{
    struct run run = {.galleries = galleries, .all = list, .n_all = n};
    struct gx_err err = {0};
    int64_t now = gx_clock_monotonic_us();
    gx_arena_init(&run.arena, ARENA_MAX);
    if (gx_arena_array(&run.arena, n, sizeof(struct gx_pending *), &run.list, &err) != GX_OK)
        gx_log_error("erase_delayed", "reason=\"%s\"", err.text);
    for (size_t t = 0; run.list != NULL && t < n; t++)
        if (list[t]->try_at_us <= now && wants(list[t]))
            run.list[run.n++] = list[t];
    if (run.n > 0 && !gx_keeper_is_stopping(galleries) && carry(&run, &err) != GX_OK)
        put_off(&run, err.status == GX_E_CORRUPT, &err);
    gx_arena_fini(&run.arena);
}

/* Health says so as long as it is; the log once. */
static void tell_overdue(struct gx_galleries *galleries, struct gx_pending *p)
{
    if (p->told || p->state == GX_TICKET_VERIFIED ||
        gx_clock_wall_us() - p->accepted_at_us < galleries->options.erase_deadline_us)
        return;
    p->told = true;
    gx_log_error("erase_overdue", "ticket=%" PRIu64 " advice=\"see 'indexctl ticket show'\"", p->number);
    if (galleries->options.changed != NULL)
        galleries->options.changed();
}

/* When @p has to be looked at again. */
static int64_t next_look(const struct gx_galleries *galleries, const struct gx_pending *p)
{
    int64_t now = gx_clock_monotonic_us();
    int64_t until_due = p->accepted_at_us + galleries->options.erase_deadline_us - gx_clock_wall_us();
    int64_t again = GX_MAX(p->try_at_us, now + WAIT_US);
    return !p->told && until_due > 0 ? GX_MIN(again, now + until_due) : again;
}

/* When a backup that is being made must give way: half of the time of the first ticket that it holds up. One that
 * failed already waits for it. */
static int64_t backup_until(const struct gx_galleries *galleries, struct gx_pending *const *list, size_t n)
{
    int64_t due = INT64_MAX, now = gx_clock_monotonic_us();
    for (size_t t = 0; t < n; t++)
        if (list[t]->state != GX_TICKET_FAILED && list[t]->try_at_us <= now)
            due = GX_MIN(due, list[t]->accepted_at_us + galleries->options.erase_deadline_us / 2);
    return due;
}

/* All steps, of those that are due, unless a backup is in the way. */
static void take_steps(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n)
{
    /* While galleries load, their readers keep replaced files from going. */
    if (n == 0 || !gx_indexer_has_loaded(galleries) ||
        !gx_backup_enter_erase(galleries, backup_until(galleries, list, n)))
        return;
    carry_out(galleries, list, n, needs_files, erase_files);
    carry_out(galleries, list, n, needs_stamp, stamp_erased);
    carry_out(galleries, list, n, needs_proof, prove);
    carry_out(galleries, list, n, needs_certificate, stamp_verified);
    gx_backup_leave_erase(galleries);
}

void gx_erase_round(struct gx_galleries *galleries, struct gx_pending *const *list, size_t n, int64_t *out_again)
{
    int64_t oldest = INT64_MAX;
    *out_again = INT64_MAX;
    for (size_t t = 0; t < n && !gx_keeper_is_stopping(galleries); t++) {
        struct gx_err err;
        if (!list[t]->forgotten && list[t]->try_at_us <= gx_clock_monotonic_us() &&
            forget(galleries, list[t], &err) != GX_OK)
            put_off_one(galleries, list[t], false, &err);
        oldest = GX_MIN(oldest, list[t]->added_at_us);
    }
    if (oldest == INT64_MAX || gx_keeper_is_stopping(galleries))
        return;
    if (gx_clock_monotonic_us() - oldest < GATHER_US) { /* what arrives together is erased together */
        *out_again = oldest + GATHER_US;
        return;
    }
    take_steps(galleries, list, n);
    for (size_t t = 0; t < n; t++) {
        tell_overdue(galleries, list[t]);
        if (list[t]->state != GX_TICKET_VERIFIED)
            *out_again = GX_MIN(*out_again, next_look(galleries, list[t]));
    }
}
