/* Backup messages. */
#include "indexd/v1/backups.pb-c.h"
#include "wire_private.h"

#define ROOM      (16u << 10)
#define DAY_S     86400u
#define EXPIRES_S ((uint64_t)GX_BACKUP_DAYS_MAX * DAY_S)

static_assert((int)GX_BACKUP_UNFINISHED == (int)INDEXD__V1__BACKUP_STATE__BACKUP_STATE_UNFINISHED, "state");
static_assert((int)GX_BACKUP_COMPLETE == (int)INDEXD__V1__BACKUP_STATE__BACKUP_STATE_COMPLETE, "state");
static_assert((int)GX_BACKUP_GONE == (int)INDEXD__V1__BACKUP_STATE__BACKUP_STATE_GONE, "state");
static_assert((int)GX_BACKUP_RUNNING == (int)INDEXD__V1__BACKUP_STATE__BACKUP_STATE_RUNNING, "state");
static_assert((int)GX_BACKUP_EXPIRED == (int)INDEXD__V1__BACKUP_STATE__BACKUP_STATE_EXPIRED, "state");

/* --- requests --- */

enum gx_status gx_wire_backups_decode_create(struct gx_slice message, struct gx_arena *arena, struct gx_backup_in *out,
                                             struct gx_err *err)
{
    Indexd__V1__CreateBackupRequest *request;
    *out = (struct gx_backup_in){0};
    GX_TRY(gx_wire_unpack(&indexd__v1__create_backup_request__descriptor, message, ROOM, arena, &request, err));
    out->directory = gx_wire_slice(request->directory);
    GX_TRY(gx_codec_check_text(out->directory, 1, GX_BACKUP_DIR_MAX, "directory", err));
    if (request->expires_in_s > EXPIRES_S)
        return gx_fail(err, GX_E_INVALID, "expires_in_s: 0..%llu, got %llu", (unsigned long long)EXPIRES_S,
                       (unsigned long long)request->expires_in_s);
    out->expires_in_us = (int64_t)request->expires_in_s * 1000000;
    return GX_OK;
}

enum gx_status gx_wire_backups_decode_list(struct gx_slice message, struct gx_arena *arena, bool *out_with_gone,
                                           struct gx_err *err)
{
    Indexd__V1__ListBackupsRequest *request;
    *out_with_gone = false;
    GX_TRY(gx_wire_unpack(&indexd__v1__list_backups_request__descriptor, message, ROOM, arena, &request, err));
    *out_with_gone = request->with_gone;
    return GX_OK;
}

enum gx_status gx_wire_backups_decode_delete(struct gx_slice message, struct gx_arena *arena, uint64_t *out_number,
                                             bool *out_files_are_gone, struct gx_err *err)
{
    Indexd__V1__DeleteBackupRequest *request;
    *out_number = 0;
    GX_TRY(gx_wire_unpack(&indexd__v1__delete_backup_request__descriptor, message, ROOM, arena, &request, err));
    *out_files_are_gone = request->files_are_gone;
    return gx_manifest_id_number(gx_wire_slice(request->backup_id), out_number, err);
}

/* --- replies --- */

struct backup {
    Indexd__V1__Backup backup;
    char id[GX_MANIFEST_ID_MAX];
};

static void fill_backup(const struct gx_backup *in, struct backup *out)
{
    indexd__v1__backup__init(&out->backup);
    gx_manifest_id(in->number, out->id);
    out->backup.backup_id = gx_wire_bytes(gx_slice_text(out->id));
    out->backup.state = (Indexd__V1__BackupState)in->state;
    out->backup.directory = gx_wire_bytes(gx_slice_text(in->directory));
    out->backup.created_at_us = in->created_at_us;
    out->backup.expires_at_us = in->expires_at_us;
    out->backup.gone_at_us = in->gone_at_us;
    out->backup.files = in->n_files;
    out->backup.bytes = in->n_bytes;
    out->backup.epoch = in->epoch;
}

void gx_wire_backups_build_progress(const struct gx_backup_progress *progress, struct gx_wire_reply *out)
{
    Indexd__V1__CreateBackupProgress *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__create_backup_progress__init(reply);
    reply->stage = gx_wire_bytes(gx_slice_text(progress->stage));
    reply->bytes_done = progress->bytes_done;
    reply->bytes_total = progress->bytes_total;
    gx_wire_set(out, &reply->base);
}

void gx_wire_backups_build_made(const struct gx_backup *backup, struct gx_wire_reply *out)
{
    struct {
        Indexd__V1__CreateBackupProgress progress;
        struct backup backup;
    } *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__create_backup_progress__init(&reply->progress);
    fill_backup(backup, &reply->backup);
    reply->progress.bytes_done = reply->progress.bytes_total = backup->n_bytes;
    reply->progress.backup = &reply->backup.backup;
    gx_wire_set(out, &reply->progress.base);
}

void gx_wire_backups_build_one(const struct gx_backup *backup, struct gx_wire_reply *out)
{
    struct backup *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    fill_backup(backup, reply);
    gx_wire_set(out, &reply->backup.base);
}

enum gx_status gx_wire_backups_build_list(const struct gx_backup *backups, size_t n, struct gx_arena *arena,
                                          struct gx_wire_reply *out, struct gx_err *err)
{
    Indexd__V1__ListBackupsResponse *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    struct backup *filled;
    indexd__v1__list_backups_response__init(reply);
    GX_TRY(gx_arena_array(arena, n, sizeof(*filled), &filled, err));
    GX_TRY(gx_arena_array(arena, n, sizeof(*reply->backups), &reply->backups, err));
    for (size_t i = 0; i < n; i++) {
        fill_backup(&backups[i], &filled[i]);
        reply->backups[i] = &filled[i].backup;
    }
    reply->n_backups = n;
    gx_wire_set(out, &reply->base);
    return GX_OK;
}
