/* Insert, Get, List. */
#include "routes_private.h"

/* From the writer's thread, or from within submit. The call was held for it. */
static void on_enrolled(void *arg, const struct gx_enrol_out *enrolled, const struct gx_err *err)
{
    struct gx_call *call = arg;
    struct gx_wire_reply reply;
    struct gx_err own;
    if (err == NULL) {
        gx_wire_records_build_inserted(enrolled, &reply);
        if (gx_routes_reply(call, &reply, &own) != GX_OK)
            err = &own;
    }
    if (err != NULL)
        gx_routes_fail(call, err);
    gx_call_release(call);
}

static enum gx_status insert(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_enrol_in in;
    struct gx_slice no_stream = {NULL, 0};
    GX_TRY(gx_wire_records_decode_insert(message, no_stream, gx_call_arena(call), &in, err));
    gx_call_hold(call);
    gx_enrol_submit(app->galleries, &in, on_enrolled, call);
    return GX_OK;
}

void gx_routes_records_insert(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(insert, app, call, message);
}

static enum gx_status get(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_arena *arena = gx_call_arena(call);
    struct gx_wire_get_in in;
    struct gx_stored_record *records;
    size_t n, dim;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_records_decode_get(message, arena, &in, err));
    GX_TRY(gx_lookup_get(app->galleries, in.gallery, in.ids, in.n_ids, in.with_row, arena, &records, &n, &dim, err));
    GX_TRY(gx_wire_records_build_get(records, n, dim, arena, &reply, err));
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_records_get(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(get, app, call, message);
}

static enum gx_status list(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_arena *arena = gx_call_arena(call);
    struct gx_wire_list_in in;
    struct gx_stored_record *records;
    size_t n;
    uint64_t next;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_records_decode_list(message, arena, &in, err));
    GX_TRY(gx_lookup_list(app->galleries, in.gallery, in.arrest, in.subject, in.from, in.n, arena, &records, &n, &next,
                          err));
    GX_TRY(gx_wire_records_build_list(records, n, next, arena, &reply, err));
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_records_list(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(list, app, call, message);
}
