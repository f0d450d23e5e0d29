/* VerifyAbsent: reads every file on its worker, and ends early when nobody waits any more. */
#include "routes_private.h"

static enum gx_status verify_absent(struct gx_app *app, struct gx_call *call, struct gx_slice message,
                                    struct gx_err *err)
{
    struct gx_arena *arena = gx_call_arena(call);
    struct gx_absent_in in;
    struct gx_absent_out *out;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_absent_decode(message, arena, &in, err));
    in.stopped = gx_call_stopped;
    in.stopped_arg = call;
    GX_TRY(gx_arena_array(arena, 1, sizeof(*out), &out, err));
    GX_TRY(gx_absent_check(app->galleries, &in, arena, out, err));
    GX_TRY(gx_wire_absent_build(out, arena, &reply, err));
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_absent(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(verify_absent, app, call, message);
}
