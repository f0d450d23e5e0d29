/* Place, Release, List of legal holds. Changes wait for the disk on their worker: they are few. */
#include "routes_private.h"

static enum gx_status answer(struct gx_call *call, const struct gx_hold_out *changed, struct gx_err *err)
{
    struct gx_wire_reply reply;
    gx_wire_holds_build_changed(changed, &reply);
    return gx_routes_reply(call, &reply, err);
}

static enum gx_status place(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_hold_in in;
    struct gx_hold_out changed;
    GX_TRY(gx_wire_holds_decode_place(message, gx_call_arena(call), &in, err));
    GX_TRY(gx_hold_place(app->galleries, &in, &changed, err));
    return answer(call, &changed, err);
}

void gx_routes_holds_place(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(place, app, call, message);
}

static enum gx_status release(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_hold_in in;
    struct gx_hold_out changed;
    GX_TRY(gx_wire_holds_decode_release(message, gx_call_arena(call), &in, err));
    GX_TRY(gx_hold_release(app->galleries, &in, &changed, err));
    return answer(call, &changed, err);
}

void gx_routes_holds_release(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(release, app, call, message);
}

static enum gx_status list(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_arena *arena = gx_call_arena(call);
    struct gx_hold_list_in in;
    struct gx_hold_listed *holds;
    size_t n;
    uint64_t next;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_holds_decode_list(message, arena, &in, err));
    GX_TRY(gx_hold_list(app->galleries, &in, arena, &holds, &n, &next, err));
    GX_TRY(gx_wire_holds_build_list(holds, n, next, arena, &reply, err));
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_holds_list(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(list, app, call, message);
}
