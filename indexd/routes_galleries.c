/* Galleries: Create, Get, List, Delete, BuildIndex, MeasureRecall, Stats. */
#include "routes_private.h"

static enum gx_status create(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_create_in in;
    struct gx_gallery_info gallery;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_galleries_decode_create(message, gx_call_arena(call), &in, err));
    GX_TRY(gx_galleries_add(app->galleries, &in, &gallery, err));
    gx_wire_galleries_build_one(&gallery, &reply);
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_galleries_create(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(create, app, call, message);
}

static enum gx_status get(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_slice name;
    struct gx_gallery_info gallery;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_galleries_decode_name(message, gx_call_arena(call), &name, err));
    GX_TRY(gx_galleries_describe(app->galleries, name, &gallery, err));
    gx_wire_galleries_build_one(&gallery, &reply);
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_galleries_get(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(get, app, call, message);
}

static enum gx_status list(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_arena *arena = gx_call_arena(call);
    struct gx_gallery_info *galleries;
    size_t n;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_galleries_decode_list(message, arena, err));
    GX_TRY(gx_galleries_list(app->galleries, arena, &galleries, &n, err));
    GX_TRY(gx_wire_galleries_build_list(galleries, n, arena, &reply, err));
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_galleries_list(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(list, app, call, message);
}

static enum gx_status remove_gallery(struct gx_app *app, struct gx_call *call, struct gx_slice message,
                                     struct gx_err *err)
{
    struct gx_remove_in in;
    uint64_t records, epoch;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_galleries_decode_delete(message, gx_call_arena(call), &in, err));
    GX_TRY(gx_galleries_remove(app->galleries, &in, &records, &epoch, err));
    gx_wire_galleries_build_deleted(records, epoch, &reply);
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_galleries_delete(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(remove_gallery, app, call, message);
}

static enum gx_status build(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_wire_build_in in;
    char engine[GX_ENGINE_MAX + 1];
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_galleries_decode_build(message, gx_call_arena(call), &in, err));
    GX_TRY(gx_galleries_build(app->galleries, in.name, in.engine, engine, err));
    gx_wire_galleries_build_queued(engine, &reply);
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_galleries_build(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(build, app, call, message);
}

static enum gx_status measure(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_arena *arena = gx_call_arena(call);
    struct gx_recall_in in;
    struct gx_recall_out recall;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_galleries_decode_measure(message, arena, &in, err));
    in.stopped = gx_call_stopped;
    in.stopped_arg = call;
    GX_TRY(gx_search_measure(app->galleries, &in, &recall, err));
    gx_wire_galleries_build_recall(&recall, &reply);
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_galleries_measure(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(measure, app, call, message);
}

static enum gx_status get_stats(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_slice name;
    struct gx_gallery_stats stats;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_galleries_decode_name(message, gx_call_arena(call), &name, err));
    GX_TRY(gx_galleries_stats(app->galleries, name, &stats, err));
    gx_wire_galleries_build_stats(name, &stats, &reply);
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_galleries_stats(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(get_stats, app, call, message);
}
