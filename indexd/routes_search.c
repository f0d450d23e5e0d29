/* Search, BatchSearch, StreamSearch. */
#include "routes_private.h"

static enum gx_status run_search(struct gx_app *app, struct gx_call *call, struct gx_search_in *in,
                                 struct gx_search_result **out, struct gx_err *err)
{
    in->stopped = gx_call_stopped;
    in->stopped_arg = call;
    return gx_search_run(app->galleries, in, gx_call_arena(call), out, err);
}

static enum gx_status carry_out(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    struct gx_search_in in;
    struct gx_search_result *result;
    uint8_t *out;
    GX_TRY(gx_wire_search_decode(message, gx_call_arena(call), &in, err));
    in.brief = gx_call_must_be_brief(call);
    GX_TRY(run_search(app, call, &in, &result, err));
    size_t len = gx_wire_search_len(result);
    GX_TRY(gx_routes_begin_reply(call, len, &out, err));
    gx_wire_search_encode(result, out);
    gx_call_reply_end(call, len);
    return GX_OK;
}

/* Small galleries are searched on the I/O thread: with a few rows the way to a worker and back is most of the work. */
static enum gx_status search(struct gx_app *app, struct gx_call *call, struct gx_slice message, struct gx_err *err)
{
    enum gx_status status = carry_out(app, call, message, err);
    if ((status != GX_E_BUSY && status != GX_E_TOO_LARGE) || !gx_call_must_be_brief(call))
        return status;
    gx_call_hand_over(call);
    return GX_OK;
}

void gx_routes_search(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(search, app, call, message);
}

static enum gx_status search_batch(struct gx_app *app, struct gx_call *call, struct gx_slice message,
                                   struct gx_err *err)
{
    struct gx_search_in in;
    struct gx_search_result *results;
    uint8_t *out;
    GX_TRY(gx_wire_search_decode_batch(message, gx_call_arena(call), &in, err));
    GX_TRY(run_search(app, call, &in, &results, err));
    size_t len = gx_wire_search_len_batch(results, in.n_probes);
    GX_TRY(gx_routes_begin_reply(call, len, &out, err));
    gx_wire_search_encode_batch(results, in.n_probes, out);
    gx_call_reply_end(call, len);
    return GX_OK;
}

void gx_routes_search_batch(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(search_batch, app, call, message);
}

/* What ends the stream instead of being an answer of it: nobody waits any more. */
static bool ends_stream(enum gx_status status)
{
    return status == GX_E_CANCELLED || status == GX_E_DEADLINE;
}

static enum gx_status search_stream(struct gx_app *app, struct gx_call *call, struct gx_slice message,
                                    struct gx_err *err)
{
    struct gx_search_in in;
    struct gx_search_result *result = NULL;
    uint64_t tag;
    bool readable;
    enum gx_status status = gx_wire_search_decode_stream(message, gx_call_arena(call), &tag, &readable, &in, err);
    if (!readable)
        return status; /* whose answer would it be? */
    if (status == GX_OK)
        status = run_search(app, call, &in, &result, err);
    if (ends_stream(status))
        return status;
    const struct gx_err *error = status == GX_OK ? NULL : err;
    size_t len = gx_wire_search_len_stream(tag, result, error);
    uint8_t *out = gx_call_send_begin(call, len);
    if (out == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for an answer of %zu bytes: try again later", len);
    gx_wire_search_encode_stream(tag, result, error, out);
    gx_call_send_end(call, len);
    gx_call_read(call);
    return GX_OK;
}

void gx_routes_search_stream(void *app, struct gx_call *call, struct gx_slice message)
{
    gx_routes_answer(search_stream, app, call, message);
}
