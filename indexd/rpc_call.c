/* The life of one call, whatever its kind; what only streams do is in rpc_stream.c.
 *
 * The path: armed -> taken (event of libgrpc, with the message) -> the method is armed again -> RECV_CLOSE is begun, so
 * that a cancellation is heard of at any time -> bounds and deadline -> queue -> handler -> the final operation
 * {metadata, message, status} -> both operations over -> taken apart, its memory kept for another call.
 * The short path (GX_RPC_EITHER): armed -> taken -> armed again -> bounds and deadline -> handler, here -> one
 * operation for all; or the handler hands over, and the path goes on at RECV_CLOSE.
 *
 * What can go wrong: the client goes away (t_close says so; the handler asks gx_call_check, the final operation fails
 * quickly and is begun all the same, else the call stays for ever); the deadline passes while the call waits (it is
 * skipped); too many calls, too many bytes, a full queue (RESOURCE_EXHAUSTED, from here: libgrpc's own waiting lines
 * have no end); no message although the method has one; a handler that forgets to answer (ended as internal error). */
#include "rpc_private.h"

#include <stdlib.h>

#include "log.h"

static const struct gx_route *route_of(const struct gx_call *call)
{
    return call->method->route;
}

static bool is_stream(const struct gx_call *call)
{
    return route_of(call) != NULL && route_of(call)->kind != GX_RPC_UNARY;
}

/* ---------------------------------------------------------------- memory */

static struct gx_call *take_from_pool(struct gx_rpc *rpc)
{
    (void)pthread_mutex_lock(&rpc->lock);
    rpc->n_live++;
    struct gx_call *call = rpc->pool;
    if (call != NULL) {
        rpc->pool = call->next;
        rpc->n_pool--;
    }
    (void)pthread_mutex_unlock(&rpc->lock);
    return call;
}

/* A call as new; only the ring of a former stream is kept. */
static struct gx_call *new_call(struct gx_rpc_io *io, struct gx_rpc_method *method)
{
    struct gx_call *call = take_from_pool(io->rpc);
    if (call == NULL)
        call = calloc(1, sizeof(*call));
    if (call == NULL) {
        gx_log_error("out_of_memory", "what=call");
        abort(); /* as libgrpc does: a method that is not armed any more would hang in silence */
    }
    grpc_byte_buffer **ring = call->stream.waiting;
    *call =
        (struct gx_call){.rpc = io->rpc, .io = io, .method = method, .stream.waiting = ring, .refs = 1, .owners = 1};
    call->t_request.call = call->t_close.call = call->t_send.call = call->t_receive.call = call;
    (void)pthread_mutex_init(&call->stream.lock, NULL);
    grpc_metadata_array_init(&call->metadata);
    if (method->route == NULL)
        grpc_call_details_init(&call->details);
    return call;
}

static void put_into_pool(struct gx_rpc *rpc, struct gx_call *call)
{
    struct gx_arena arena = call->arena;
    gx_arena_reset(&arena);
    (void)pthread_mutex_lock(&rpc->lock);
    if (arena.blocks != NULL && rpc->n_arenas < GX_RPC_ARENAS_KEPT) {
        rpc->arenas[rpc->n_arenas++] = arena;
        arena = (struct gx_arena){0};
    }
    bool kept = rpc->n_pool < GX_RPC_CALLS_KEPT;
    if (kept) {
        call->next = rpc->pool;
        rpc->pool = call;
        rpc->n_pool++;
    }
    if (--rpc->n_live == 0) /* from here on the server may be gone */
        (void)pthread_cond_broadcast(&rpc->none_live);
    (void)pthread_mutex_unlock(&rpc->lock);
    gx_arena_fini(&arena);
    if (!kept) {
        free(call->stream.waiting);
        free(call);
    }
}

void gx_rpc_call_free_pool(struct gx_rpc *rpc)
{
    struct gx_call *call;
    while ((call = rpc->pool) != NULL) {
        rpc->pool = call->next;
        free(call->stream.waiting);
        free(call);
    }
    for (; rpc->n_arenas > 0; rpc->n_arenas--)
        gx_arena_fini(&rpc->arenas[rpc->n_arenas - 1]);
}

static void unlist(struct gx_call *call)
{
    struct gx_rpc *rpc = call->rpc;
    (void)pthread_mutex_lock(&rpc->lock);
    if (call->list_prev != NULL)
        call->list_prev->list_next = call->list_next;
    else
        rpc->streams = call->list_next;
    if (call->list_next != NULL)
        call->list_next->list_prev = call->list_prev;
    (void)pthread_mutex_unlock(&rpc->lock);
}

static void free_call(struct gx_call *call)
{
    struct gx_rpc *rpc = call->rpc;
    if (call->listed)
        unlist(call);
    if (call->free_state != NULL)
        call->free_state(call->state);
    gx_rpc_message_drop(call);
    gx_rpc_stream_drop(call);
    if (call->out != NULL)
        grpc_byte_buffer_destroy(call->out);
    grpc_metadata_array_destroy(&call->metadata);
    if (call->method->route == NULL)
        grpc_call_details_destroy(&call->details);
    (void)pthread_mutex_destroy(&call->stream.lock);
    if (call->core != NULL) {
        grpc_call_unref(call->core);
        (void)atomic_fetch_sub(&rpc->n_open, 1);
    }
    put_into_pool(rpc, call);
}

void gx_rpc_call_unref(struct gx_call *call)
{
    if (atomic_fetch_sub(&call->refs, 1) == 1)
        free_call(call);
}

/* What an attempt may use: so little that it cannot take long. */
static void limit_arena(struct gx_call *call)
{
    size_t max = call->rpc->options.memory_max;
    call->arena.limit = call->brief ? GX_MIN(max, GX_RPC_BRIEF_MEMORY) : max;
}

struct gx_arena *gx_call_arena(struct gx_call *call)
{
    if (call->arena.limit == 0) {
        struct gx_rpc *rpc = call->rpc;
        (void)pthread_mutex_lock(&rpc->lock);
        if (rpc->n_arenas > 0)
            call->arena = rpc->arenas[--rpc->n_arenas];
        else
            gx_arena_init(&call->arena, rpc->options.memory_max);
        (void)pthread_mutex_unlock(&rpc->lock);
        limit_arena(call);
    }
    return &call->arena;
}

/* ---------------------------------------------------------------- owners */

void gx_call_hold(struct gx_call *call)
{
    assert(!call->brief); /* nobody else may answer it */
    (void)atomic_fetch_add(&call->owners, 1);
}

bool gx_rpc_call_try_hold(struct gx_call *call)
{
    unsigned n = atomic_load(&call->owners);
    while (n > 0) {
        if (atomic_compare_exchange_weak(&call->owners, &n, n + 1))
            return true;
    }
    return false;
}

void gx_call_release(struct gx_call *call)
{
    if (atomic_fetch_sub(&call->owners, 1) != 1)
        return;
    if (!atomic_load(&call->ended)) {
        struct gx_err err;
        if (gx_call_check(call, &err) == GX_OK) /* else nobody waits, and to leave off is no mistake */
            (void)gx_err_set(&err, GX_E_INTERNAL, "the server has not answered this call: please report it");
        gx_call_fail(call, &err);
    }
    gx_rpc_call_unref(call);
}

void gx_call_set_state(struct gx_call *call, void *state, void (*free_state)(void *state))
{
    if (call->free_state != NULL && call->state != state)
        call->free_state(call->state);
    call->state = state;
    call->free_state = free_state;
}

void *gx_call_state(struct gx_call *call)
{
    return call->state;
}

/* ---------------------------------------------------------------- the client's patience */

static bool is_late(const struct gx_call *call)
{
    return gpr_time_cmp(gpr_now(call->deadline.clock_type), call->deadline) > 0;
}

enum gx_status gx_call_check(struct gx_call *call, struct gx_err *err)
{
    bool cancelled = atomic_load(&call->cancelled);
    if (is_late(call))
        return gx_fail(err, GX_E_DEADLINE, "deadline exceeded: allow more time or ask for less");
    if (cancelled)
        return gx_fail(err, GX_E_CANCELLED, "the client went away before the end");
    return GX_OK;
}

bool gx_call_stopped(void *call)
{
    return gx_call_check(call, NULL) != GX_OK;
}

/* ---------------------------------------------------------------- operations */

void gx_rpc_call_begin(struct gx_call *call, const grpc_op *ops, size_t n_ops, struct gx_rpc_tag *tag,
                       void (*fn)(struct gx_call *call, bool ok))
{
    (void)atomic_fetch_add(&call->refs, 1);
    atomic_store_explicit(&tag->fn, fn, memory_order_release);
    grpc_call_error e = grpc_call_start_batch(call->core, ops, n_ops, tag, NULL);
    if (e != GRPC_CALL_OK) {
        gx_log_error("start_batch_refused", "why=%s ops=%zu first=%d", grpc_call_error_to_string(e), n_ops,
                     n_ops > 0 ? (int)ops[0].op : -1);
        abort();
    }
}

static grpc_op receive_close(struct gx_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_CLOSE_ON_SERVER};
    op.data.recv_close_on_server.cancelled = &call->cancelled_out;
    call->close_begun = true;
    return op;
}

static void on_close(struct gx_call *call, bool ok)
{
    (void)ok;
    if (call->cancelled_out != 0) {
        bool open = !atomic_load(&call->ended);
        if (open && is_stream(call)) /* first: a handler that sees the flag may return, and counts on its on_end */
            gx_rpc_stream_gone(call);
        atomic_store(&call->cancelled, true);
        if (open)
            (void)atomic_fetch_add(&call->rpc->n_cancelled, 1);
    }
    gx_rpc_call_unref(call);
}

/* From now on it is known when the client goes away. */
static void begin_close(struct gx_call *call)
{
    grpc_op close = receive_close(call);
    gx_rpc_call_begin(call, &close, 1, &call->t_close, on_close);
}

size_t gx_rpc_call_put_metadata(struct gx_call *call, grpc_op *ops, size_t n_ops)
{
    if (call->metadata_sent)
        return n_ops;
    call->metadata_sent = true;
    ops[n_ops] = (grpc_op){.op = GRPC_OP_SEND_INITIAL_METADATA};
    return n_ops + 1;
}

void gx_rpc_call_send_final(struct gx_call *call, grpc_byte_buffer *message, const struct gx_err *err,
                            void (*fn)(struct gx_call *call, bool ok))
{
    grpc_op ops[4];
    size_t n = gx_rpc_call_put_metadata(call, ops, 0);
    if (message != NULL) {
        ops[n] = (grpc_op){.op = GRPC_OP_SEND_MESSAGE};
        ops[n++].data.send_message.send_message = call->out = message;
    }
    if (!call->close_begun) /* one operation less, of three */
        ops[n++] = receive_close(call);
    grpc_op *op = &ops[n++];
    *op = (grpc_op){.op = GRPC_OP_SEND_STATUS_FROM_SERVER};
    if (err == NULL) {
        gx_rpc_call_begin(call, ops, n, &call->t_send, fn);
        return;
    }
    uint8_t encoded[GX_RPC_STATUS_MAX];
    size_t encoded_len = gx_rpc_status_encode(err, encoded);
    grpc_slice text = grpc_slice_from_copied_string(err->text);
    grpc_metadata details = {.key = grpc_slice_from_static_string("grpc-status-details-bin"),
                             .value = grpc_slice_from_copied_buffer((const char *)encoded, encoded_len)};
    op->data.send_status_from_server.status = (grpc_status_code)gx_status_grpc(err->status);
    op->data.send_status_from_server.status_details = &text;
    op->data.send_status_from_server.trailing_metadata = &details;
    op->data.send_status_from_server.trailing_metadata_count = 1;
    gx_rpc_call_begin(call, ops, n, &call->t_send, fn);
    grpc_slice_unref(details.value);
    grpc_slice_unref(text);
}

static void on_final_sent(struct gx_call *call, bool ok)
{
    (void)ok; /* false: the client has gone; nobody is left to tell */
    gx_rpc_call_unref(call);
}

/* ---------------------------------------------------------------- answers */

/* The message that this thread is encoding; a call may be answered by several threads, each with its own. */
static _Thread_local struct {
    struct gx_call *call; /* NULL: none */
    grpc_slice slice;
} encoding;

/* Of a handler that began a message and then thought better of it. */
static void drop_encoding(void)
{
    if (encoding.call != NULL)
        grpc_slice_unref(encoding.slice);
    encoding.call = NULL;
}

/* Replies are allocated by us: counted, wiped, and libgrpc would abort without memory.
 * Bytes of those that clients have not taken yet. Of the process: a slice may outlive its server. */
static atomic_size_t replies_held;

size_t gx_rpc_call_replies_held(void)
{
    return atomic_load(&replies_held);
}

struct reply_bytes {
    size_t len;
    uint8_t bytes[];
};

/* On whatever thread libgrpc drops the last reference. libgrpc orders that behind the encoding, but neither C nor a
 * sanitizer knows: the load meets the addition in gx_rpc_call_encoded. */
static void free_reply(void *arg)
{
    struct reply_bytes *reply = arg;
    (void)atomic_load(&replies_held);
    (void)atomic_fetch_sub(&replies_held, reply->len);
    explicit_bzero(reply->bytes, reply->len); /* embeddings, where somebody asked for them */
    free(reply);
}

uint8_t *gx_call_reply_begin(struct gx_call *call, size_t bound)
{
    drop_encoding();
    if (bound > GX_RPC_REPLY_MAX)
        return NULL;
    if (bound <= GRPC_SLICE_INLINED_SIZE) {
        encoding.slice = grpc_slice_malloc(bound);
    } else {
        struct reply_bytes *reply = malloc(sizeof(*reply) + bound);
        if (reply == NULL)
            return NULL;
        reply->len = bound;
        (void)atomic_fetch_add(&replies_held, bound);
        encoding.slice = grpc_slice_new_with_user_data(reply->bytes, bound, free_reply, reply);
    }
    encoding.call = call;
    return GRPC_SLICE_START_PTR(encoding.slice); /* in place: a small slice holds its bytes itself */
}

grpc_byte_buffer *gx_rpc_call_encoded(struct gx_call *call, size_t len)
{
    (void)call;
    assert(encoding.call == call && len <= GRPC_SLICE_LENGTH(encoding.slice));
    GRPC_SLICE_SET_LENGTH(encoding.slice, len);
    (void)atomic_fetch_add(&replies_held, 0); /* publishes the bytes to free_reply */
    grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&encoding.slice, 1);
    drop_encoding();
    return message;
}

void gx_call_reply_end(struct gx_call *call, size_t len)
{
    assert(!is_stream(call));
    grpc_byte_buffer *message = gx_rpc_call_encoded(call, len);
    if (atomic_exchange(&call->ended, true))
        grpc_byte_buffer_destroy(message);
    else
        gx_rpc_call_send_final(call, message, NULL, on_final_sent);
}

static void note_failure(struct gx_call *call, const struct gx_err *err)
{
    (void)atomic_fetch_add(&call->rpc->n_failed, 1);
    gpr_timespec took = gpr_time_sub(gpr_now(GPR_CLOCK_MONOTONIC), call->began);
    gx_rpc_status_log(route_of(call) == NULL ? NULL : route_of(call)->path, err, (int64_t)gpr_timespec_to_micros(took));
}

void gx_call_fail(struct gx_call *call, const struct gx_err *err)
{
    struct gx_err none;
    if (err == NULL || err->status == GX_OK) {
        (void)gx_err_set(&none, GX_E_INTERNAL, "the server failed without a reason: please report it");
        err = &none;
    }
    if (encoding.call == call)
        drop_encoding();
    if (atomic_exchange(&call->ended, true))
        return;
    note_failure(call, err);
    if (is_stream(call))
        gx_rpc_stream_end(call, err);
    else
        gx_rpc_call_send_final(call, NULL, err, on_final_sent);
}

/* ---------------------------------------------------------------- the work */

static void run_unary(struct gx_call *call)
{
    struct gx_err err;
    struct gx_slice message;
    enum gx_status status = gx_call_check(call, &err);
    if (status == GX_E_DEADLINE)
        (void)atomic_fetch_add(&call->rpc->n_expired, 1);
    if (status == GX_OK)
        status = gx_rpc_message_open(call, &message, &err);
    if (status == GX_OK)
        route_of(call)->on_message(call->rpc->options.app, call, message);
    else
        gx_call_fail(call, &err);
}

void gx_rpc_call_run(struct gx_call *call)
{
    if (is_stream(call))
        gx_rpc_stream_run(call);
    else
        run_unary(call);
    gx_call_release(call);
}

bool gx_call_must_be_brief(const struct gx_call *call)
{
    return call->brief;
}

void gx_call_hand_over(struct gx_call *call)
{
    assert(call->brief);
    call->handed_over = true;
}

/* Is the call worth an attempt on this thread? While long calls wait for a worker it has its turn behind them. */
static bool may_be_brief(const struct gx_call *call)
{
    if (route_of(call)->place != GX_RPC_EITHER || call->in_len > GX_RPC_BRIEF_MAX ||
        gx_rpc_queue_length(&call->rpc->queue) > 0)
        return false;
    if (call->io->n_untried == 0)
        return true;
    call->io->n_untried--;
    return false;
}

/* True: the call was carried out, and its owner let go. */
static bool try_briefly(struct gx_call *call)
{
    call->brief = true;
    run_unary(call);
    call->brief = false;
    if (!call->handed_over) {
        gx_call_release(call);
        return true;
    }
    call->io->n_untried = GX_RPC_UNTRIED;
    gx_arena_reset(&call->arena);
    limit_arena(call);
    return false;
}

void gx_rpc_call_dispatch(struct gx_call *call, enum gx_rpc_work work)
{
    call->work = work;
    if (route_of(call)->place == GX_RPC_INLINE) {
        gx_rpc_call_run(call);
        return;
    }
    if (may_be_brief(call) && try_briefly(call))
        return;
    if (!call->close_begun)
        begin_close(call);
    /* What a stream sends later always finds room: one message of each can wait, and to refuse it would end a long
     * import half-way. Its client is slowed down by flow control instead. */
    bool forced = call->admitted;
    call->admitted = true;
    struct gx_rpc *rpc = call->rpc;
    if (gx_rpc_queue_push(route_of(call)->place == GX_RPC_SHORT ? &rpc->short_queue : &rpc->queue, call, forced))
        return;
    struct gx_err err;
    (void)atomic_fetch_add(&rpc->n_busy, 1);
    (void)gx_err_set(&err, GX_E_BUSY, "%zu requests are waiting already: try again later", rpc->options.queue_max);
    gx_call_fail(call, &err);
    gx_call_release(call);
}

/* ---------------------------------------------------------------- arrival */

static enum gx_status admit(struct gx_call *call, struct gx_err *err)
{
    struct gx_rpc *rpc = call->rpc;
    if (route_of(call) == NULL)
        return gx_fail(err, GX_E_UNIMPLEMENTED, "no such method: ask grpc.reflection.v1 for those there are");
    if (atomic_load(&rpc->n_open) > GX_RPC_CALLS_MAX + 2 * rpc->options.queue_max) {
        (void)atomic_fetch_add(&rpc->n_busy, 1);
        return gx_fail(err, GX_E_BUSY, "too many calls are open: try again later");
    }
    if (is_late(call)) {
        (void)atomic_fetch_add(&rpc->n_expired, 1);
        return gx_fail(err, GX_E_DEADLINE, "deadline exceeded before the server saw the call: allow more time");
    }
    return route_of(call)->kind == GX_RPC_BIDI ? GX_OK : gx_rpc_message_take(call, err);
}

/* A stream that is answered from the I/O thread (a watch, reflection) may idle for ever: a stop ends it at once. */
static bool list_stream(struct gx_call *call)
{
    struct gx_rpc *rpc = call->rpc;
    (void)pthread_mutex_lock(&rpc->lock);
    bool open = !rpc->stopping;
    if (open) {
        call->list_next = rpc->streams;
        if (rpc->streams != NULL)
            rpc->streams->list_prev = call;
        rpc->streams = call;
        call->listed = true;
    }
    (void)pthread_mutex_unlock(&rpc->lock);
    return open;
}

static void on_request(struct gx_call *call, bool ok)
{
    if (!ok) { /* the server is stopping: there is no call, and there will be none */
        free_call(call);
        return;
    }
    struct gx_rpc *rpc = call->rpc;
    (void)atomic_fetch_add(&rpc->n_open, 1);
    (void)atomic_fetch_add(&rpc->n_calls, 1);
    gx_rpc_call_arm(call->io, call->method);
    call->began = gpr_now(GPR_CLOCK_MONOTONIC);
    if (route_of(call) == NULL)
        call->deadline = call->details.deadline;
    if (route_of(call) == NULL || route_of(call)->place != GX_RPC_EITHER)
        begin_close(call);

    struct gx_err err;
    enum gx_status status = admit(call, &err);
    if (status == GX_OK && is_stream(call) && route_of(call)->place == GX_RPC_INLINE && !list_stream(call))
        status = gx_err_set(&err, GX_E_UNAVAILABLE, "the server is stopping: try another one, or later");
    if (status != GX_OK) {
        gx_call_fail(call, &err);
        gx_call_release(call);
    } else if (is_stream(call)) {
        gx_rpc_stream_open(call);
    } else {
        gx_rpc_call_dispatch(call, GX_RPC_MESSAGE);
    }
}

void gx_rpc_call_arm(struct gx_rpc_io *io, struct gx_rpc_method *method)
{
    struct gx_call *call = new_call(io, method);
    atomic_store_explicit(&call->t_request.fn, on_request, memory_order_release);
    grpc_server *server = io->rpc->server;
    grpc_call_error e;
    if (method->route == NULL) {
        e = grpc_server_request_call(server, &call->core, &call->details, &call->metadata, io->cq, io->cq,
                                     &call->t_request);
    } else {
        e = grpc_server_request_registered_call(server, method->handle, &call->core, &call->deadline, &call->metadata,
                                                method->route->kind == GX_RPC_BIDI ? NULL : &call->in, io->cq, io->cq,
                                                &call->t_request);
    }
    if (e != GRPC_CALL_OK) { /* the completion queue is shut down: the server is stopping */
        call->core = NULL;
        free_call(call);
    }
}
