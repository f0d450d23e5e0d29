/* Streams: what they read, what they send, and how they end.
 *
 * The path: the client's message -> `busy`, queue, on_message -> handler is back: message wiped, arena reset -> the
 * read it asked for begins -> ... -> no further message: on_end -> everything that waits is sent -> status.
 *
 * What can go wrong: the client goes away in mid-stream. To RECV_MESSAGE that looks like a proper end (success, no
 * message), only grpc_call_failed_before_recv_message tells them apart; on_end(broken) then rolls back. The client does
 * not read: past GX_RPC_SENDS_BEHIND messages its stream is not read from either, past GX_RPC_SENDS_MAX it is cut off.
 * Messages, the end and the going of the client come in any order and from several threads: `busy` lets one at a time
 * reach the handler. */
#include "rpc_private.h"

#include <stdlib.h>

static bool is_bidi(const struct gx_call *call)
{
    return call->method->route->kind == GX_RPC_BIDI;
}

/* Cuts the stream off from our side; the handler hears of it as of a client that has gone. */
static void cut_off(struct gx_call *call, enum gx_status status, const char *why)
{
    (void)grpc_call_cancel_with_status(call->core, (grpc_status_code)gx_status_grpc(status), why, NULL);
}

/* ---------------------------------------------------------------- sending (stream.lock is held) */

static void on_sent(struct gx_call *call, bool ok);
static void try_read(struct gx_call *call);

void gx_rpc_stream_drop(struct gx_call *call)
{
    struct gx_rpc_stream *s = &call->stream;
    for (; s->n_waiting > 0; s->n_waiting--) {
        grpc_byte_buffer_destroy(s->waiting[s->first]);
        s->first = (s->first + 1) % GX_RPC_SENDS_MAX;
    }
}

/* No GRPC_WRITE_BUFFER_HINT: on a message that goes with the initial metadata it hangs the stream. */
static void send_next(struct gx_call *call)
{
    struct gx_rpc_stream *s = &call->stream;
    grpc_op ops[2];
    size_t n = gx_rpc_call_put_metadata(call, ops, 0);
    ops[n] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
    ops[n++].data.send_message.send_message = call->out = s->waiting[s->first];
    s->first = (s->first + 1) % GX_RPC_SENDS_MAX;
    s->n_waiting--;
    s->sending = true;
    gx_rpc_call_begin(call, ops, n, &call->t_send, on_sent);
}

/* Sends what is next: a message, or the status behind the last. */
static void pump(struct gx_call *call)
{
    struct gx_rpc_stream *s = &call->stream;
    if (s->sending)
        return;
    if (s->broken)
        gx_rpc_stream_drop(call);
    if (s->n_waiting > 0) {
        send_next(call);
    } else if (s->finishing && !s->status_out) {
        s->status_out = s->sending = true;
        gx_rpc_call_send_final(call, NULL, call->final.status == GX_OK ? NULL : &call->final, on_sent);
    }
}

static void on_sent(struct gx_call *call, bool ok)
{
    struct gx_rpc_stream *s = &call->stream;
    (void)pthread_mutex_lock(&s->lock);
    if (call->out != NULL)
        grpc_byte_buffer_destroy(call->out);
    call->out = NULL;
    s->sending = false;
    s->broken = s->broken || !ok;
    pump(call);
    try_read(call);
    (void)pthread_mutex_unlock(&s->lock);
    gx_rpc_call_unref(call);
}

uint8_t *gx_call_send_begin(struct gx_call *call, size_t bound)
{
    return gx_call_reply_begin(call, bound);
}

void gx_call_send_end(struct gx_call *call, size_t len)
{
    assert(call->method->route->kind != GX_RPC_UNARY);
    struct gx_rpc_stream *s = &call->stream;
    grpc_byte_buffer *message = gx_rpc_call_encoded(call, len);
    (void)pthread_mutex_lock(&s->lock);
    if (s->waiting == NULL)
        s->waiting = calloc(GX_RPC_SENDS_MAX, sizeof(grpc_byte_buffer *));
    bool lost = s->broken || s->finishing || s->waiting == NULL, full = s->n_waiting == GX_RPC_SENDS_MAX;
    if (!lost && !full) {
        s->waiting[(s->first + s->n_waiting++) % GX_RPC_SENDS_MAX] = message;
        message = NULL;
        pump(call);
    }
    bool out_of_memory = s->waiting == NULL, cut = !lost && full;
    s->broken = s->broken || cut || out_of_memory;
    (void)pthread_mutex_unlock(&s->lock);
    if (message != NULL)
        grpc_byte_buffer_destroy(message);
    if (out_of_memory)
        cut_off(call, GX_E_NOMEM, "no memory for the messages of this stream: try again later");
    if (!cut)
        return;
    (void)atomic_fetch_add(&call->rpc->n_busy, 1);
    cut_off(call, GX_E_BUSY, "too many messages wait to be read: read them as they come");
}

void gx_rpc_stream_end(struct gx_call *call, const struct gx_err *err)
{
    (void)pthread_mutex_lock(&call->stream.lock);
    if (err != NULL)
        call->final = *err;
    call->stream.finishing = true;
    bool unread = call->stream.want_read;
    call->stream.want_read = false;
    pump(call);
    (void)pthread_mutex_unlock(&call->stream.lock);
    if (unread)
        gx_call_release(call);
}

void gx_call_finish(struct gx_call *call)
{
    if (!atomic_exchange(&call->ended, true))
        gx_rpc_stream_end(call, NULL);
}

/* ---------------------------------------------------------------- reading */

static void on_received(struct gx_call *call, bool ok);

/* Begins the read that was asked for, unless the handler is at work or the client is far behind. Lock held. */
static void try_read(struct gx_call *call)
{
    struct gx_rpc_stream *s = &call->stream;
    if (!s->want_read || s->busy || s->reading || s->n_waiting >= GX_RPC_SENDS_BEHIND)
        return;
    s->want_read = false;
    s->reading = true;
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    op.data.recv_message.recv_message = &call->in;
    gx_rpc_call_begin(call, &op, 1, &call->t_receive, on_received);
}

void gx_call_read(struct gx_call *call)
{
    struct gx_rpc_stream *s = &call->stream;
    (void)pthread_mutex_lock(&s->lock);
    if (!s->want_read && !s->reading && !s->finishing) {
        s->want_read = true;
        gx_call_hold(call); /* the read is an owner: on_message or on_end follows */
        try_read(call);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

/* What has come: a message to work on, or the end. */
static enum gx_rpc_work judge_received(struct gx_call *call, bool ok)
{
    struct gx_rpc_stream *s = &call->stream;
    struct gx_err err;
    if (ok && call->in != NULL) {
        enum gx_status status = gx_rpc_message_take(call, &err);
        if (status == GX_OK)
            return GX_RPC_MESSAGE;
        cut_off(call, status, err.text);
        s->end_broken = true;
    } else {
        s->end_broken = !ok || grpc_call_failed_before_recv_message(call->core) != 0;
    }
    if (s->end_broken)
        (void)atomic_fetch_add(&call->rpc->n_broken, 1);
    return GX_RPC_END;
}

static void on_received(struct gx_call *call, bool ok)
{
    struct gx_rpc_stream *s = &call->stream;
    (void)pthread_mutex_lock(&s->lock);
    s->reading = false;
    bool over = atomic_load(&call->ended) || s->end_given;
    s->busy = !over;
    (void)pthread_mutex_unlock(&s->lock);
    if (over)
        gx_call_release(call);
    else
        gx_rpc_call_dispatch(call, judge_received(call, ok));
    gx_rpc_call_unref(call);
}

/* ---------------------------------------------------------------- the handler */

static void run_end(struct gx_call *call)
{
    const struct gx_route *route = call->method->route;
    (void)pthread_mutex_lock(&call->stream.lock);
    bool broken = call->stream.end_broken;
    call->stream.end_given = true;
    (void)pthread_mutex_unlock(&call->stream.lock);
    if (route->on_end != NULL) {
        route->on_end(call->rpc->options.app, call, broken);
    } else if (broken) {
        struct gx_err err;
        (void)gx_err_set(&err, GX_E_CANCELLED, "the client went away in mid-stream");
        gx_call_fail(call, &err);
    } else {
        gx_call_finish(call);
    }
}

static void run_message(struct gx_call *call)
{
    struct gx_err err;
    struct gx_slice message;
    enum gx_status status = gx_call_check(call, &err);
    if (status == GX_E_DEADLINE)
        (void)atomic_fetch_add(&call->rpc->n_expired, 1);
    if (status == GX_OK)
        status = gx_rpc_message_open(call, &message, &err);
    if (status == GX_OK) {
        call->method->route->on_message(call->rpc->options.app, call, message);
    } else if (is_bidi(call)) { /* earlier messages may have to be rolled back */
        cut_off(call, status, err.text);
        call->stream.end_broken = true;
        (void)atomic_fetch_add(&call->rpc->n_broken, 1);
        run_end(call);
    } else {
        gx_call_fail(call, &err);
    }
}

/* The handler is back: true = the end, which came meanwhile, is to be run now. */
static bool settle(struct gx_call *call)
{
    struct gx_rpc_stream *s = &call->stream;
    if (is_bidi(call))
        gx_rpc_message_drop(call);
    gx_arena_reset(&call->arena);
    (void)pthread_mutex_lock(&s->lock);
    bool again = s->end_due && !s->end_given && !atomic_load(&call->ended);
    s->end_due = false;
    s->busy = again;
    if (!again)
        try_read(call);
    (void)pthread_mutex_unlock(&s->lock);
    return again;
}

void gx_rpc_stream_run(struct gx_call *call)
{
    bool end = call->work == GX_RPC_END;
    do {
        if (end)
            run_end(call);
        else
            run_message(call);
        end = true;
    } while (settle(call));
}

void gx_rpc_stream_open(struct gx_call *call)
{
    call->stream.busy = !is_bidi(call);
    if (is_bidi(call)) {
        gx_call_read(call);
        gx_call_release(call);
    } else {
        gx_rpc_call_dispatch(call, GX_RPC_MESSAGE);
    }
}

/* A bidi stream learns of it by its next read, which it owes; a server stream reads nothing and must be told. */
void gx_rpc_stream_gone(struct gx_call *call)
{
    struct gx_rpc_stream *s = &call->stream;
    if (is_bidi(call) || !gx_rpc_call_try_hold(call))
        return;
    (void)pthread_mutex_lock(&s->lock);
    bool now = !s->busy && !s->end_given;
    s->end_broken = true;
    s->end_due = s->busy;
    s->busy = s->busy || now;
    (void)pthread_mutex_unlock(&s->lock);
    if (now)
        gx_rpc_call_dispatch(call, GX_RPC_END);
    else
        gx_call_release(call);
}

void gx_rpc_stream_cut_idle(struct gx_rpc *rpc)
{
    (void)pthread_mutex_lock(&rpc->lock);
    rpc->stopping = true;
    for (struct gx_call *call = rpc->streams; call != NULL; call = call->list_next)
        cut_off(call, GX_E_UNAVAILABLE, "the server is stopping: try another one, or later");
    (void)pthread_mutex_unlock(&rpc->lock);
}
