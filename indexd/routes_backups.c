/* Create, List and Delete of backups. Create is answered from the thread of backups, which asks now and then whether
 * the client still waits: one that went away breaks its backup off. */
#include "routes_private.h"

static void on_progress(void *arg, const struct gx_backup_progress *progress)
{
    struct gx_call *call = arg;
    struct gx_wire_reply reply;
    struct gx_err err;
    gx_wire_backups_build_progress(progress, &reply);
    if (gx_routes_send(call, &reply, &err) != GX_OK)
        gx_routes_fail(call, &err);
}

static void on_done(void *arg, const struct gx_backup *backup, const struct gx_err *err)
{
    struct gx_call *call = arg;
    struct gx_wire_reply reply;
    struct gx_err own;
    if (err == NULL) {
        gx_wire_backups_build_made(backup, &reply);
        if (gx_routes_send(call, &reply, &own) != GX_OK)
            err = &own;
    }
    if (err != NULL)
        gx_routes_fail(call, err);
    else
        gx_call_finish(call);
    gx_call_release(call);
}

static enum gx_status create(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_backup_in in;
    GX_TRY(gx_wire_backups_decode_create(message, gx_call_arena(call), &in, err));
    in.on_progress = on_progress;
    in.on_done = on_done;
    in.stop = gx_call_stopped;
    in.arg = call;
    gx_call_hold(call);
    gx_backup_submit(app->galleries, &in);
    return GX_OK;
}

void gx_routes_backups_create(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(create, app, call, message);
}

static enum gx_status list(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_arena *arena = gx_call_arena(call);
    bool with_gone;
    struct gx_backup *backups;
    size_t n;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_backups_decode_list(message, arena, &with_gone, err));
    GX_TRY(gx_backup_list(app->galleries, with_gone, arena, &backups, &n, err));
    GX_TRY(gx_wire_backups_build_list(backups, n, arena, &reply, err));
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_backups_list(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(list, app, call, message);
}

static enum gx_status remove_one(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    uint64_t number;
    bool files_are_gone;
    struct gx_backup backup;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_backups_decode_delete(message, gx_call_arena(call), &number, &files_are_gone, err));
    GX_TRY(gx_backup_remove(app->galleries, number, files_are_gone, &backup, err));
    gx_wire_backups_build_one(&backup, &reply);
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_backups_delete(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(remove_one, app, call, message);
}
