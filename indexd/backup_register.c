/* The register of backups: in the store for those who ask, in the outer ledger so that a store that is restored from an
 * older copy knows the backups that were made since.
 *
 * The path of a change: its entry in the ledger -> the register and what the store notes of the ledger, in one batch,
 * by the writer. What can go wrong: a crash between the two: the next start takes it from the ledger. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "backup_private.h"
#include "clock.h"
#include "failpoint.h"
#include "log.h"

#define ARENA_MAX ((size_t)64 << 20)

/* --- changes --- */

enum step { BEGIN, COMPLETE, GONE };

struct change {
    struct gx_mutation base; /* first */
    struct gx_backup *backup;
    enum step step;
};

static void put(struct gx_store_batch *batch, const struct gx_backup *backup)
{
    uint8_t key[GX_KEY_BACKUP_LEN], value[GX_BACKUP_VALUE_MAX];
    gx_codec_key_backup(backup->number, key);
    size_t len = gx_codec_backup_encode(backup, value);
    gx_store_batch_put(batch, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)}, (struct gx_slice){value, len});
}

static enum gx_status append(struct gx_galleries *galleries, const struct gx_backup *backup, enum step step,
                             struct gx_err *err)
{
    struct gx_ledger_entry entry = {.type = step == BEGIN ? GX_LEDGER_BACKUP : GX_LEDGER_BACKUP_GONE,
                                    .at_us = step == BEGIN ? backup->created_at_us : backup->gone_at_us,
                                    .store = galleries->uuid,
                                    .backup = backup->number};
    if (step == BEGIN) {
        entry.expires_at_us = backup->expires_at_us;
        entry.text = gx_slice_text(backup->directory);
    }
    return gx_ledger_append(galleries->ledger, &entry, err);
}

static enum gx_status prepare(struct gx_mutation *self, struct gx_galleries *galleries, struct gx_store_batch *batch,
                              struct gx_arena *arena, uint64_t epoch, struct gx_err *err)
{
    struct change *c = (struct change *)self;
    (void)arena;
    if (c->step == BEGIN) {
        c->backup->number = galleries->backups->next;
        c->backup->epoch = epoch;
    }
    if (c->step != COMPLETE) {
        gx_failpoint_pass("backup.before_ledger");
        GX_TRY(append(galleries, c->backup, c->step, err));
        gx_replay_note(galleries, batch);
        gx_failpoint_pass("backup.after_ledger");
    }
    if (c->step == BEGIN)
        galleries->backups->next++;
    put(batch, c->backup);
    self->changed = true;
    return GX_OK;
}

static void publish(struct gx_mutation *self, struct gx_galleries *galleries, uint64_t epoch)
{
    (void)self;
    (void)galleries;
    (void)epoch;
}

static enum gx_status run_change(struct gx_galleries *galleries, struct gx_backup *backup, enum step step,
                                 struct gx_err *err)
{
    struct change c = {.base = {.prepare = prepare, .publish = publish, .alone = true}, .backup = backup, .step = step};
    return gx_writer_run(galleries, &c.base, err);
}

enum gx_status gx_backup_note_begun(struct gx_galleries *galleries, struct gx_backup *backup, struct gx_err *err)
{
    backup->state = GX_BACKUP_UNFINISHED;
    return run_change(galleries, backup, BEGIN, err);
}

enum gx_status gx_backup_note_complete(struct gx_galleries *galleries, struct gx_backup *backup, struct gx_err *err)
{
    backup->state = GX_BACKUP_COMPLETE;
    return run_change(galleries, backup, COMPLETE, err);
}

enum gx_status gx_backup_note_gone(struct gx_galleries *galleries, struct gx_backup *backup, struct gx_err *err)
{
    backup->state = GX_BACKUP_GONE;
    backup->gone_at_us = gx_clock_wall_us();
    return run_change(galleries, backup, GONE, err);
}

/* --- replay --- */

static enum gx_status get(struct gx_galleries *galleries, uint64_t number, struct gx_arena *arena,
                          struct gx_backup *out, struct gx_err *err)
{
    uint8_t key[GX_KEY_BACKUP_LEN];
    struct gx_slice value;
    gx_codec_key_backup(number, key);
    enum gx_status status =
        gx_store_get(galleries->store, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)}, arena, &value, err);
    if (status == GX_E_NOT_FOUND)
        return gx_fail(err, GX_E_NOT_FOUND, "no such backup: 'indexctl backup list' shows those there are");
    GX_TRY(status);
    return gx_codec_backup_decode((struct gx_slice){key, sizeof(key)}, value, out, err);
}

enum gx_status gx_backup_replay(struct gx_galleries *galleries, const struct gx_ledger_entry *entry,
                                struct gx_replay *replay, struct gx_err *err)
{
    struct gx_backup backup;
    enum gx_status status = get(galleries, entry->backup, replay->arena, &backup, err);
    if (entry->type == GX_LEDGER_BACKUP_GONE && status == GX_OK && backup.state != GX_BACKUP_GONE) {
        backup.state = GX_BACKUP_GONE;
        backup.gone_at_us = entry->at_us;
    } else if (entry->type == GX_LEDGER_BACKUP && status == GX_E_NOT_FOUND && entry->text.len <= GX_BACKUP_DIR_MAX) {
        backup = (struct gx_backup){.number = entry->backup,
                                    .state = GX_BACKUP_UNFINISHED,
                                    .created_at_us = entry->at_us,
                                    .expires_at_us = entry->expires_at_us};
        memcpy(backup.directory, entry->text.data, entry->text.len);
    } else {
        return status == GX_E_NOT_FOUND ? GX_OK : status;
    }
    put(replay->batch, &backup);
    replay->changed = true;
    return GX_OK;
}

/* --- reading --- */

/* From the newest on; @out[@max]. */
static enum gx_status read_all(struct gx_galleries *galleries, bool with_gone, size_t max, struct gx_backup *out,
                               size_t *out_n, struct gx_err *err)
{
    struct gx_store_iter *iter;
    *out_n = 0;
    GX_TRY(gx_store_iter_begin(galleries->store, GX_CF_DEFAULT, gx_slice_text(GX_KEY_BACKUP_PREFIX),
                               (struct gx_slice){NULL, 0}, true, &iter, err));
    enum gx_status status = GX_OK;
    while (*out_n < max) {
        struct gx_slice key, value;
        bool more;
        GX_TRY_OUT(gx_store_iter_next(iter, &more, &key, &value, err));
        if (!more)
            break;
        if (key.len != GX_KEY_BACKUP_LEN)
            continue;
        GX_TRY_OUT(gx_codec_backup_decode(key, value, &out[*out_n], err));
        *out_n += with_gone || out[*out_n].state != GX_BACKUP_GONE;
    }
out:
    gx_store_iter_end(iter);
    return status;
}

/* The state that is told. */
static void look_at(struct gx_galleries *galleries, struct gx_backup *backup)
{
    struct gx_backups *b = galleries->backups;
    pthread_mutex_lock(&b->lock);
    bool running = b->running == backup->number;
    pthread_mutex_unlock(&b->lock);
    if (backup->state == GX_BACKUP_UNFINISHED && running)
        backup->state = GX_BACKUP_RUNNING;
    if (backup->state == GX_BACKUP_COMPLETE && backup->expires_at_us != 0 &&
        backup->expires_at_us <= gx_clock_wall_us())
        backup->state = GX_BACKUP_EXPIRED;
}

enum gx_status gx_backup_list(struct gx_galleries *galleries, bool with_gone, struct gx_arena *arena,
                              struct gx_backup **out, size_t *out_n, struct gx_err *err)
{
    *out_n = 0;
    GX_TRY(gx_arena_array(arena, GX_PAGE_MAX, sizeof(**out), out, err));
    GX_TRY(read_all(galleries, with_gone, GX_PAGE_MAX, *out, out_n, err));
    for (size_t i = 0; i < *out_n; i++)
        look_at(galleries, &(*out)[i]);
    return GX_OK;
}

enum gx_status gx_backup_count(struct gx_galleries *galleries, uint64_t *out_next, struct gx_err *err)
{
    struct gx_backup last;
    size_t n;
    GX_TRY(read_all(galleries, true, 1, &last, &n, err));
    *out_next = n == 0 ? 1 : last.number + 1;
    return GX_OK;
}

/* --- which hold the records of a ticket --- */

bool gx_backup_may_hold(const struct gx_backup *backup, const struct gx_ticket *ticket, int64_t now_us)
{
    if (backup->state == GX_BACKUP_GONE || (backup->expires_at_us != 0 && backup->expires_at_us <= now_us))
        return false;
    /* Between the removal and the erasure its files still hold what is not to be found any more. The epoch is for
     * clocks that were set back. */
    return ticket->erased_at_us == 0 || backup->created_at_us <= ticket->erased_at_us ||
           (backup->epoch != 0 && backup->epoch < ticket->epoch);
}

static enum gx_status name_one(const struct gx_backup *backups, size_t n, struct gx_ticket *ticket, int64_t now_us,
                               struct gx_arena *arena, struct gx_err *err)
{
    struct gx_slice *ids;
    ticket->backups = NULL;
    ticket->n_backups = 0;
    if (n == 0)
        return GX_OK;
    GX_TRY(gx_arena_array(arena, n, sizeof(*ids), &ids, err));
    for (size_t i = n; i-- > 0;) { /* oldest first */
        char id[GX_MANIFEST_ID_MAX];
        if (!gx_backup_may_hold(&backups[i], ticket, now_us))
            continue;
        gx_manifest_id(backups[i].number, id);
        GX_TRY(gx_arena_copy(arena, gx_slice_text(id), &ids[ticket->n_backups++], err));
    }
    ticket->backups = ids;
    return GX_OK;
}

enum gx_status gx_backup_name(struct gx_galleries *galleries, struct gx_ticket *tickets, size_t n,
                              struct gx_arena *arena, struct gx_err *err)
{
    struct gx_backup *backups;
    size_t n_backups;
    GX_TRY(gx_backup_list(galleries, false, arena, &backups, &n_backups, err));
    int64_t now = gx_clock_wall_us();
    for (size_t i = 0; i < n; i++)
        GX_TRY(name_one(backups, n_backups, &tickets[i], now, arena, err));
    return GX_OK;
}

/* --- removing --- */

enum gx_status gx_backup_remove(struct gx_galleries *galleries, uint64_t number, bool files_are_gone,
                                struct gx_backup *out, struct gx_err *err)
{
    struct gx_arena arena;
    enum gx_status status;
    bool found;
    gx_arena_init(&arena, 4096);
    pthread_mutex_lock(&galleries->backups->files);
    GX_TRY_OUT(get(galleries, number, &arena, out, err));
    look_at(galleries, out);
    if (out->state == GX_BACKUP_GONE)
        goto out;
    if (out->state == GX_BACKUP_RUNNING) {
        status = gx_fail(err, GX_E_STATE, "this backup is being made: break that off first");
        goto out;
    }
    GX_TRY_OUT(gx_backup_files_remove(out->directory, number, &galleries->uuid, &found, err));
    gx_failpoint_pass("backup.after_removal");
    if (!found && !files_are_gone)
        status = gx_fail(err, GX_E_STATE,
                         "it is not in '%.100s': destroy it where it was moved to, then 'indexctl backup delete ID "
                         "--files-gone'",
                         out->directory);
    if (status == GX_OK)
        status = gx_backup_note_gone(galleries, out, err);
    if (status == GX_OK)
        gx_backup_files_drop(out->directory);
out:
    pthread_mutex_unlock(&galleries->backups->files);
    gx_arena_fini(&arena);
    return status;
}

/* --- what is done by itself --- */

/* Nothing there may mean that its disk is not: only who knows can say that it is gone. */
static enum gx_status delete_found(struct gx_galleries *galleries, struct gx_backup *backup, const char *why,
                                   struct gx_err *err)
{
    bool found;
    GX_TRY(gx_backup_files_remove(backup->directory, backup->number, &galleries->uuid, &found, err));
    if (!found)
        return GX_OK;
    GX_TRY(gx_backup_note_gone(galleries, backup, err));
    gx_backup_files_drop(backup->directory);
    gx_log_info("backup_deleted", "backup=%" PRIu64 " reason=\"%s\"", backup->number, why);
    return GX_OK;
}

/* It was begun, and its end is not known here: a crash came, or this store was restored from that very backup. */
static enum gx_status settle(struct gx_galleries *galleries, struct gx_backup *backup, struct gx_arena *arena,
                             struct gx_err *err)
{
    struct gx_manifest manifest;
    enum gx_status status = gx_backup_files_manifest(backup->directory, arena, &manifest, err);
    if (status == GX_OK && manifest.complete && manifest.backup == backup->number &&
        memcmp(&manifest.store, &galleries->uuid, sizeof(manifest.store)) == 0) {
        backup->epoch = manifest.epoch;
        backup->n_files = manifest.n_files;
        backup->n_bytes = 0;
        for (size_t i = 0; i < manifest.n_files; i++)
            backup->n_bytes += manifest.files[i].n_bytes;
        return gx_backup_note_complete(galleries, backup, err);
    }
    return delete_found(galleries, backup, "it was interrupted", err);
}

void gx_backup_tidy(struct gx_galleries *galleries)
{
    struct gx_arena arena;
    struct gx_backup *backups;
    size_t n;
    struct gx_err err = {0};
    gx_arena_init(&arena, (size_t)1 << 30);
    pthread_mutex_lock(&galleries->backups->files);
    if (gx_backup_list(galleries, false, &arena, &backups, &n, &err) != GX_OK)
        n = 0;
    for (size_t i = 0; i < n; i++) {
        enum gx_status status = GX_OK;
        if (backups[i].state == GX_BACKUP_UNFINISHED)
            status = settle(galleries, &backups[i], &arena, &err);
        else if (backups[i].state == GX_BACKUP_EXPIRED)
            status = delete_found(galleries, &backups[i], "it has expired", &err);
        if (status != GX_OK)
            gx_log_warn("backup_not_tidied", "backup=%" PRIu64 " reason=\"%s\"", backups[i].number, err.text);
    }
    pthread_mutex_unlock(&galleries->backups->files);
    gx_arena_fini(&arena);
}
