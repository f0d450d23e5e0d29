/* The table of methods, and what its handlers share.
 *
 * The path of a call: rpc gives the message -> decode (wire) -> carry out (floor 3) -> encode (wire) -> rpc. A handler
 * either does all of it on its worker, or hands the call to the writer's thread, which answers when the write is
 * durable.
 *
 * What can go wrong: any step; the call then ends with that error, once. Nobody waits any more: the work is broken off
 * where it asks (searches ask every few thousand rows); writes that are queued are carried out all the same. */
#include "health.h"
#include "reflection.h"
#include "routes_private.h"

#define SMALL     (16u << 10)
#define ONE_PROBE (256u << 10) /* a probe of GX_DIM_MAX and a filter of GX_FILTER_VALUES_MAX subjects */
#define MANY      (8u << 20)   /* GX_BATCH_PROBES_MAX of them */
#define IDS       (2u << 20)   /* GX_EXPUNGE_IDS_MAX ids */

#define REFLECTION "ServerReflection/ServerReflectionInfo"

static const struct gx_route table[] = {
    {"/indexd.v1.Search/Search", GX_RPC_UNARY, GX_RPC_EITHER, ONE_PROBE, gx_routes_search, NULL},
    {"/indexd.v1.Search/BatchSearch", GX_RPC_UNARY, GX_RPC_WORKER, MANY, gx_routes_search_batch, NULL},
    {"/indexd.v1.Search/StreamSearch", GX_RPC_BIDI, GX_RPC_WORKER, ONE_PROBE, gx_routes_search_stream, NULL},

    {"/indexd.v1.Records/Insert", GX_RPC_UNARY, GX_RPC_SHORT, 0, gx_routes_records_insert, NULL},
    {"/indexd.v1.Records/InsertStream", GX_RPC_BIDI, GX_RPC_SHORT, 0, gx_routes_stream_message, gx_routes_stream_end},
    {"/indexd.v1.Records/Get", GX_RPC_UNARY, GX_RPC_SHORT, IDS, gx_routes_records_get, NULL},
    {"/indexd.v1.Records/List", GX_RPC_UNARY, GX_RPC_SHORT, SMALL, gx_routes_records_list, NULL},

    {"/indexd.v1.Expungement/Expunge", GX_RPC_UNARY, GX_RPC_SHORT, IDS, gx_routes_expunge, NULL},
    {"/indexd.v1.Expungement/GetTicket", GX_RPC_UNARY, GX_RPC_SHORT, SMALL, gx_routes_expunge_ticket, NULL},
    {"/indexd.v1.Expungement/ListTickets", GX_RPC_UNARY, GX_RPC_SHORT, SMALL, gx_routes_expunge_tickets, NULL},
    {"/indexd.v1.Expungement/GetCertificate", GX_RPC_UNARY, GX_RPC_SHORT, SMALL, gx_routes_expunge_certificate, NULL},
    {"/indexd.v1.Expungement/VerifyAbsent", GX_RPC_UNARY, GX_RPC_WORKER, ONE_PROBE, gx_routes_absent, NULL},
    {"/indexd.v1.Expungement/WatchTicket", GX_RPC_SERVER_STREAM, GX_RPC_INLINE, SMALL, gx_routes_watch,
     gx_routes_watch_end},

    {"/indexd.v1.Holds/Place", GX_RPC_UNARY, GX_RPC_SHORT, IDS, gx_routes_holds_place, NULL},
    {"/indexd.v1.Holds/Release", GX_RPC_UNARY, GX_RPC_SHORT, IDS, gx_routes_holds_release, NULL},
    {"/indexd.v1.Holds/List", GX_RPC_UNARY, GX_RPC_SHORT, SMALL, gx_routes_holds_list, NULL},

    {"/indexd.v1.Backups/Create", GX_RPC_SERVER_STREAM, GX_RPC_INLINE, SMALL, gx_routes_backups_create, NULL},
    {"/indexd.v1.Backups/List", GX_RPC_UNARY, GX_RPC_SHORT, SMALL, gx_routes_backups_list, NULL},
    {"/indexd.v1.Backups/Delete", GX_RPC_UNARY, GX_RPC_WORKER, SMALL, gx_routes_backups_delete, NULL},

    {"/indexd.v1.Galleries/Create", GX_RPC_UNARY, GX_RPC_WORKER, SMALL, gx_routes_galleries_create, NULL},
    {"/indexd.v1.Galleries/Get", GX_RPC_UNARY, GX_RPC_SHORT, SMALL, gx_routes_galleries_get, NULL},
    {"/indexd.v1.Galleries/List", GX_RPC_UNARY, GX_RPC_SHORT, SMALL, gx_routes_galleries_list, NULL},
    {"/indexd.v1.Galleries/Delete", GX_RPC_UNARY, GX_RPC_WORKER, SMALL, gx_routes_galleries_delete, NULL},
    {"/indexd.v1.Galleries/BuildIndex", GX_RPC_UNARY, GX_RPC_WORKER, SMALL, gx_routes_galleries_build, NULL},
    {"/indexd.v1.Galleries/MeasureRecall", GX_RPC_UNARY, GX_RPC_WORKER, SMALL, gx_routes_galleries_measure, NULL},
    {"/indexd.v1.Galleries/Stats", GX_RPC_UNARY, GX_RPC_WORKER, SMALL, gx_routes_galleries_stats, NULL},

    {"/grpc.health.v1.Health/Check", GX_RPC_UNARY, GX_RPC_INLINE, SMALL, gx_health_check, NULL},
    {"/grpc.health.v1.Health/Watch", GX_RPC_SERVER_STREAM, GX_RPC_INLINE, SMALL, gx_health_watch, gx_health_watch_end},
    {"/grpc.reflection.v1." REFLECTION, GX_RPC_BIDI, GX_RPC_INLINE, SMALL, gx_reflection_info, NULL},
    {"/grpc.reflection.v1alpha." REFLECTION, GX_RPC_BIDI, GX_RPC_INLINE, SMALL, gx_reflection_info, NULL},
};

const struct gx_route *gx_routes_table(size_t *out_n)
{
    *out_n = GX_COUNT_OF(table);
    return table;
}

/* --- health --- */

#define HEALTH_NOT_SERVING 2
#define HEALTH_UNKNOWN     3

static bool is_service(struct gx_slice name)
{
    static const char *const services[] = {"",
                                           "indexd.v1.Search",
                                           "indexd.v1.Records",
                                           "indexd.v1.Expungement",
                                           "indexd.v1.Holds",
                                           "indexd.v1.Backups",
                                           "indexd.v1.Galleries"};
    for (size_t i = 0; i < GX_COUNT_OF(services); i++)
        if (gx_slice_equal(name, gx_slice_text(services[i])))
            return true;
    return false;
}

/* Past its deadline, or FAILED: records staff must look. Searches go on. */
static bool erasures_are_well(const struct gx_app *app)
{
    struct gx_expunge_alarms alarms;
    gx_expunge_alarms(app->galleries, &alarms);
    return alarms.n_failed == 0 && alarms.n_overdue == 0;
}

/* A service does what every gallery lets it: they are all one server's. */
static int get_health(void *arg, struct gx_slice service)
{
    static const char prefix[] = "gallery/";
    const size_t prefix_len = sizeof(prefix) - 1;
    const struct gx_app *app = arg;
    struct gx_slice name = {NULL, 0};
    if (!is_service(service)) {
        if (service.len <= prefix_len || memcmp(service.data, prefix, prefix_len) != 0)
            return HEALTH_UNKNOWN;
        name = (struct gx_slice){service.data + prefix_len, service.len - prefix_len};
    }
    int state = gx_galleries_health(app->galleries, name);
    if (state == 1 && gx_slice_equal(service, gx_slice_text("indexd.v1.Expungement")) && !erasures_are_well(app))
        return HEALTH_NOT_SERVING;
    return state == 0 ? HEALTH_UNKNOWN : state;
}

enum gx_status gx_routes_begin(struct gx_app *app, struct gx_err *err)
{
    gx_health_set(get_health, app);
    return gx_routes_watch_start(app, err);
}

void gx_routes_end(struct gx_app *app)
{
    (void)app;
    gx_routes_watch_stop();
}

/* --- what handlers share --- */

void gx_routes_fail(struct gx_call *call, const struct gx_err *err)
{
    struct gx_err why;
    if (err->status == GX_E_CANCELLED && gx_call_check(call, &why) != GX_OK)
        err = &why;
    gx_call_fail(call, err);
}

void gx_routes_answer(gx_routes_work *work, void *app, struct gx_call *call, struct gx_slice message)
{
    struct gx_err err;
    if (work(app, call, message, &err) != GX_OK)
        gx_routes_fail(call, &err);
}

static enum gx_status check_len(size_t len, struct gx_err *err)
{
    if (len > GX_MESSAGE_MAX)
        return gx_fail(err, GX_E_TOO_LARGE, "the reply has %zu bytes, at most %u are sent: ask for less at a time", len,
                       GX_MESSAGE_MAX);
    return GX_OK;
}

static enum gx_status check_room(const uint8_t *room, size_t len, struct gx_err *err)
{
    if (room == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for a reply of %zu bytes: ask for less, or later", len);
    return GX_OK;
}

enum gx_status gx_routes_begin_reply(struct gx_call *call, size_t len, uint8_t **out, struct gx_err *err)
{
    GX_TRY(check_len(len, err));
    *out = gx_call_reply_begin(call, len);
    return check_room(*out, len, err);
}

enum gx_status gx_routes_reply(struct gx_call *call, const struct gx_wire_reply *reply, struct gx_err *err)
{
    uint8_t *out;
    GX_TRY(gx_routes_begin_reply(call, reply->len, &out, err));
    gx_wire_pack(reply, out);
    gx_call_reply_end(call, reply->len);
    return GX_OK;
}

enum gx_status gx_routes_send(struct gx_call *call, const struct gx_wire_reply *reply, struct gx_err *err)
{
    GX_TRY(check_len(reply->len, err));
    uint8_t *out = gx_call_send_begin(call, reply->len);
    GX_TRY(check_room(out, reply->len, err));
    gx_wire_pack(reply, out);
    gx_call_send_end(call, reply->len);
    return GX_OK;
}
