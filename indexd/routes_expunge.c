/* Expunge, GetTicket, ListTickets, GetCertificate. */
#include "certificate.h"
#include "routes_private.h"

/* From the writer's thread, or from within submit. The call was held for it. */
static void on_expunged(void *arg, const struct gx_expunge_out *expunged, const struct gx_err *err)
{
    struct gx_call *call = arg;
    struct gx_wire_reply reply;
    struct gx_err own;
    if (err == NULL && (gx_wire_expunge_build(expunged, gx_call_arena(call), &reply, &own) != GX_OK ||
                        gx_routes_reply(call, &reply, &own) != GX_OK))
        err = &own;
    if (err != NULL)
        gx_routes_fail(call, err);
    gx_call_release(call);
}

static enum gx_status expunge(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_expunge_in in;
    GX_TRY(gx_wire_expunge_decode(message, gx_call_arena(call), &in, err));
    gx_call_hold(call);
    gx_expunge_submit(app->galleries, &in, on_expunged, call);
    return GX_OK;
}

void gx_routes_expunge(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(expunge, app, call, message);
}

static enum gx_status get_ticket(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_arena *arena = gx_call_arena(call);
    uint64_t number;
    struct gx_ticket ticket;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_expunge_decode_ticket(message, arena, &number, err));
    GX_TRY(gx_expunge_ticket(app->galleries, number, arena, &ticket, err));
    GX_TRY(gx_backup_name(app->galleries, &ticket, 1, arena, err));
    GX_TRY(gx_wire_expunge_build_ticket(&ticket, arena, &reply, err));
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_expunge_ticket(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(get_ticket, app, call, message);
}

static enum gx_status list_tickets(struct gx_app *app, struct gx_call *call, struct gx_slice message,
                                   struct gx_err *err)
{
    struct gx_arena *arena = gx_call_arena(call);
    struct gx_wire_tickets_in in;
    struct gx_ticket *tickets;
    size_t n;
    uint64_t next;
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_expunge_decode_tickets(message, arena, &in, err));
    GX_TRY(gx_expunge_tickets(app->galleries, in.gallery, in.before, in.n, arena, &tickets, &n, &next, err));
    GX_TRY(gx_backup_name(app->galleries, tickets, n, arena, err));
    GX_TRY(gx_wire_expunge_build_tickets(tickets, n, next, arena, &reply, err));
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_expunge_tickets(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(list_tickets, app, call, message);
}

static enum gx_status get_certificate(struct gx_app *app, struct gx_call *call, struct gx_slice message,
                                      struct gx_err *err)
{
    struct gx_arena *arena = gx_call_arena(call);
    uint64_t number;
    struct gx_slice certificate = {NULL, 0};
    struct gx_wire_reply reply;
    GX_TRY(gx_wire_expunge_decode_certificate(message, arena, &number, err));
    if (number != 0)
        GX_TRY(gx_certificate_get(app->galleries, number, arena, &certificate, err));
    gx_wire_expunge_build_certificate(certificate, gx_certificate_key(app->galleries), &reply);
    return gx_routes_reply(call, &reply, err);
}

void gx_routes_expunge_certificate(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(get_certificate, app, call, message);
}
