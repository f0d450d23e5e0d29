/* The path of a unary call: message -> one batch of all six operations -> pluck -> status and details -> perhaps a
 * pause and once more. The path of a stream: send and receive batches of one operation each, at most one of either kind
 * under way, and from the beginning the one that waits for the status; events are handled in gx_call_stream_step alone.
 *
 * What can go wrong: the connection (no details then: the text is ours), the deadline, a server at its limit, a reply
 * beyond the limit. Operations that are under way hold pointers into the stream: it is freed after its queue is empty.
 */
#include "call.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "details.h"
#include "indexd/limits.h"

#define REPLY_LEN_MAX (64 << 20) /* the largest that a server sends: 1000 rows of 4096 dimensions are 16 MiB */
#define UNIX_PREFIX   "unix:"

/* ---------------------------------------------------------------- time */

int64_t gx_call_now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static gpr_timespec deadline_in(int64_t us)
{
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_micros(us, GPR_TIMESPAN));
}

/* ---------------------------------------------------------------- channel */

struct gx_call_channel {
    grpc_channel *channel;
    char server[]; /* as the user gave it, for texts */
};

static grpc_arg integer(const char *key, int value)
{
    return (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)key, .value.integer = value};
}

static grpc_channel *open_grpc_channel(const char *target)
{
    grpc_arg list[] = {
        integer(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1), /* a connection of its own for each client */
        integer(GRPC_ARG_ENABLE_HTTP_PROXY, 0),
        integer(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1), /* no questions to a name server but the address */
        integer(GRPC_ARG_ENABLE_RETRIES, 0),                    /* ours know what may be repeated */
        integer(GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, GX_MESSAGE_MAX),
        integer(GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, REPLY_LEN_MAX),
        integer(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100),
        integer(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000),
        /* Core connects again only after resolving again, for which it would take half a minute. */
        integer(GRPC_ARG_DNS_MIN_TIME_BETWEEN_RESOLUTIONS_MS, 100),
        integer(GRPC_ARG_KEEPALIVE_TIME_MS, 60000), /* a peer that vanished without a word ends a stream */
        integer(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 20000),
    };
    grpc_channel_args args;
    args.num_args = sizeof(list) / sizeof(list[0]);
    args.args = list;
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(target, credentials, &args);
    grpc_channel_credentials_release(credentials);
    return channel;
}

enum gx_status gx_call_channel_open(const char *server, struct gx_call_channel **out)
{
    *out = NULL;
    size_t len = strlen(server);
    char *target = malloc(len + sizeof("dns:///"));
    struct gx_call_channel *c = calloc(1, sizeof(*c) + len + 1);
    if (target == NULL || c == NULL) {
        free(target);
        free(c);
        return gx_error_set(GX_E_NOMEM, "out of memory");
    }
    bool is_unix = strncmp(server, UNIX_PREFIX, sizeof(UNIX_PREFIX) - 1) == 0;
    (void)snprintf(target, len + sizeof("dns:///"), "%s%s", is_unix ? "" : "dns:///", server);
    memcpy(c->server, server, len + 1);
    grpc_init();
    c->channel = open_grpc_channel(target);
    free(target);
    *out = c;
    return GX_OK;
}

void gx_call_channel_close(struct gx_call_channel *channel)
{
    if (channel == NULL)
        return;
    grpc_channel_destroy(channel->channel);
    grpc_shutdown();
    free(channel);
}

/* ---------------------------------------------------------------- pauses */

static void sleep_us(int64_t us)
{
    struct timespec left = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
    (void)nanosleep(&left, NULL); /* cut short by a signal: the next try comes earlier */
}

/* Core makes a lost connection again only while somebody waits on a queue: a mere sleep would find it half made. */
static void wait_until_connected(grpc_channel *channel, int64_t us)
{
    grpc_completion_queue *queue = grpc_completion_queue_create_for_next(NULL);
    gpr_timespec until = deadline_in(us);
    bool changed = true;
    while (changed) {
        grpc_connectivity_state state = grpc_channel_check_connectivity_state(channel, 1);
        if (state == GRPC_CHANNEL_READY)
            break;
        grpc_channel_watch_connectivity_state(channel, state, until, queue, queue);
        changed = grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).success != 0;
    }
    grpc_completion_queue_shutdown(queue);
    grpc_completion_queue_destroy(queue);
}

bool gx_call_pause(struct gx_call_channel *channel, unsigned attempt, int64_t at_least_us, int64_t until_us)
{
    int64_t span = INT64_C(100000) << (attempt < 5 ? attempt : 5);
    if (span > 2000000)
        span = 2000000;
    uint32_t random = 0;
    if (getrandom(&random, sizeof(random), GRND_NONBLOCK) != (ssize_t)sizeof(random))
        random = 0; /* no jitter then */
    int64_t pause = span / 2 + (int64_t)((uint64_t)span / 2 * random >> 32);
    if (pause < at_least_us)
        pause = at_least_us;
    if (gx_call_now_us() + pause >= until_us)
        return false;
    grpc_channel_reset_connect_backoff(channel->channel); /* our pauses are enough */
    if (grpc_channel_check_connectivity_state(channel->channel, 1) == GRPC_CHANNEL_READY) {
        sleep_us(pause);
    } else {
        sleep_us(pause / 4);
        wait_until_connected(channel->channel, pause - pause / 4);
    }
    return true;
}

/* ---------------------------------------------------------------- messages */

struct gx_call_message {
    grpc_slice slice;
    size_t len;
};

static void wipe_and_free(void *data, size_t len)
{
    explicit_bzero(data, len);
    free(data);
}

struct gx_call_message *gx_call_message_new(size_t len, uint8_t **out_data)
{
    struct gx_call_message *m = malloc(sizeof(*m));
    uint8_t *data = malloc(len > 0 ? len : 1);
    if (m == NULL || data == NULL) {
        free(m);
        free(data);
        return NULL;
    }
    m->slice = grpc_slice_new_with_len(data, len, wipe_and_free);
    m->len = len;
    *out_data = data;
    return m;
}

size_t gx_call_message_len(const struct gx_call_message *message)
{
    return message->len;
}

void gx_call_message_free(struct gx_call_message *message)
{
    if (message == NULL)
        return;
    grpc_slice_unref(message->slice);
    free(message);
}

static grpc_byte_buffer *buffer_of(const struct gx_call_message *message)
{
    grpc_slice slice = message->slice; /* the buffer takes a reference of its own */
    return grpc_raw_byte_buffer_create(&slice, 1);
}

/* The bytes of a received message in one piece, in @out_slice; false: damaged compression. */
static bool read_buffer(grpc_byte_buffer *buffer, grpc_slice *out_slice)
{
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, buffer))
        return false;
    *out_slice = grpc_byte_buffer_reader_readall(&reader);
    grpc_byte_buffer_reader_destroy(&reader);
    return true;
}

static enum gx_status copy_reply(grpc_byte_buffer *buffer, struct gx_call_reply *out)
{
    grpc_slice slice;
    if (!read_buffer(buffer, &slice))
        return gx_error_set(GX_E_INTERNAL, "the server's answer is damaged");
    out->len = GRPC_SLICE_LENGTH(slice);
    out->data = malloc(out->len > 0 ? out->len : 1);
    if (out->data != NULL && out->len > 0)
        memcpy(out->data, GRPC_SLICE_START_PTR(slice), out->len);
    grpc_slice_unref(slice);
    return out->data != NULL ? GX_OK : gx_error_set(GX_E_NOMEM, "out of memory for an answer of %zu bytes", out->len);
}

void gx_call_reply_fini(struct gx_call_reply *reply)
{
    if (reply->data != NULL)
        wipe_and_free(reply->data, reply->len);
    *reply = (struct gx_call_reply){NULL, 0};
}

/* ---------------------------------------------------------------- the end of a call */

struct ending {
    grpc_metadata_array trailing;
    grpc_status_code code;
    grpc_slice message;
};

static void ending_init(struct ending *e)
{
    grpc_metadata_array_init(&e->trailing);
    e->code = GRPC_STATUS_UNKNOWN;
    e->message = grpc_empty_slice();
}

static void ending_fini(struct ending *e)
{
    grpc_metadata_array_destroy(&e->trailing);
    grpc_slice_unref(e->message);
}

/* What core says of a connection, in words of ours. */
static void explain(struct gx_details *d, const char *server)
{
    if (d->from_server)
        return;
    if (d->status == GX_E_DEADLINE) {
        (void)snprintf(d->text, sizeof(d->text), "no answer from %s in time: is it overloaded? try a longer deadline",
                       server);
    } else if (d->status == GX_E_UNAVAILABLE && strstr(d->text, "DNS resolution failed") != NULL) {
        (void)snprintf(d->text, sizeof(d->text), "cannot find the address of %s: is its name right?", server);
    } else if (d->status == GX_E_UNAVAILABLE && strstr(d->text, "connect") != NULL) {
        (void)snprintf(d->text, sizeof(d->text),
                       "cannot reach %s: is the server running? start it with 'indexd serve --data DIR'", server);
    } else if (d->status == GX_E_UNAVAILABLE) {
        char core[200];
        (void)snprintf(core, sizeof(core), "%.*s", (int)sizeof(core) - 1, d->text);
        (void)snprintf(d->text, sizeof(d->text), "the connection to %s broke (%s): is the server still running?",
                       server, core);
    } else if (d->status == GX_E_UNIMPLEMENTED) {
        (void)snprintf(d->text, sizeof(d->text), "the server at %s does not know this call: is it an older indexd?",
                       server);
    }
}

static void ending_read(const struct ending *e, const char *server, struct gx_details *out)
{
    const uint8_t *bin = NULL;
    size_t bin_len = 0;
    for (size_t i = 0; i < e->trailing.count; i++) {
        const grpc_metadata *m = &e->trailing.metadata[i];
        if (grpc_slice_str_cmp(m->key, "grpc-status-details-bin") == 0) {
            bin = GRPC_SLICE_START_PTR(m->value);
            bin_len = GRPC_SLICE_LENGTH(m->value);
        }
    }
    gx_details_read((int)e->code, (const char *)GRPC_SLICE_START_PTR(e->message), GRPC_SLICE_LENGTH(e->message), bin,
                    bin_len, out);
    if (out->status != GX_OK)
        explain(out, server);
}

static grpc_call *create_call(const struct gx_call_channel *channel, grpc_completion_queue *queue, const char *method,
                              gpr_timespec deadline)
{
    grpc_slice name = grpc_slice_from_static_string(method);
    return grpc_channel_create_call(channel->channel, NULL, GRPC_PROPAGATE_DEFAULTS, queue, name, NULL, deadline, NULL);
}

/* ---------------------------------------------------------------- unary */

static enum gx_status call_once(const struct gx_call_channel *channel, const char *method,
                                const struct gx_call_message *request, int64_t deadline_us,
                                struct gx_details *out_details, grpc_byte_buffer **out_answer)
{
    struct ending ending;
    ending_init(&ending);
    grpc_metadata_array initial;
    grpc_metadata_array_init(&initial);
    grpc_byte_buffer *buffer = buffer_of(request);
    grpc_completion_queue *queue = grpc_completion_queue_create_for_pluck(NULL);
    grpc_call *call = create_call(channel, queue, method, deadline_in(deadline_us));
    const grpc_op ops[] = {
        {.op = GRPC_OP_SEND_INITIAL_METADATA},
        {.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = buffer},
        {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
        {.op = GRPC_OP_RECV_INITIAL_METADATA, .data.recv_initial_metadata.recv_initial_metadata = &initial},
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = out_answer},
        {.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
         .data.recv_status_on_client = {.trailing_metadata = &ending.trailing,
                                        .status = &ending.code,
                                        .status_details = &ending.message}},
    };
    *out_answer = NULL;
    bool started = grpc_call_start_batch(call, ops, sizeof(ops) / sizeof(ops[0]), call, NULL) == GRPC_CALL_OK;
    if (started) {
        (void)grpc_completion_queue_pluck(queue, call, gpr_inf_future(GPR_CLOCK_MONOTONIC),
                                          NULL); /* the call has a deadline */
        ending_read(&ending, channel->server, out_details);
    }
    grpc_call_unref(call);
    grpc_completion_queue_shutdown(queue);
    grpc_completion_queue_destroy(queue);
    grpc_byte_buffer_destroy(buffer);
    grpc_metadata_array_destroy(&initial);
    ending_fini(&ending);
    return started ? GX_OK : gx_error_set(GX_E_INTERNAL, "gRPC refused to begin the call");
}

enum gx_status gx_call_unary(struct gx_call_channel *channel, const char *method, const struct gx_call_message *request,
                             int64_t deadline_us, unsigned retries, struct gx_call_reply *out)
{
    *out = (struct gx_call_reply){NULL, 0};
    int64_t until_us = gx_call_now_us() + deadline_us;
    for (unsigned attempt = 0;; attempt++) {
        struct gx_details details;
        grpc_byte_buffer *answer;
        enum gx_status status = call_once(channel, method, request, until_us - gx_call_now_us(), &details, &answer);
        if (status != GX_OK)
            return status;
        if (details.status == GX_OK && answer != NULL)
            status = copy_reply(answer, out);
        else if (details.status == GX_OK)
            status = gx_error_set(GX_E_INTERNAL, "the server at %s sent no answer", channel->server);
        grpc_byte_buffer_destroy(answer);
        if (details.status == GX_OK)
            return status;
        if (attempt >= retries || !gx_details_is_passing(details.status) ||
            !gx_call_pause(channel, attempt, details.retry_delay_us, until_us))
            return gx_error_set(details.status, "%s", details.text);
    }
}

/* ---------------------------------------------------------------- streams */

struct gx_call_stream {
    struct gx_call_channel *channel;
    grpc_completion_queue *queue;
    grpc_call *call;
    gx_call_on_message *on_message;
    void *user;
    grpc_metadata_array initial;
    grpc_byte_buffer *out, *in;
    struct ending ending;
    unsigned n_pending; /* operations under way */
    bool sending, half_closed, ended, damaged;
    char tag_send, tag_receive, tag_status; /* their addresses are the tags */
};

static bool begin(struct gx_call_stream *s, const grpc_op *ops, size_t n_ops, void *tag)
{
    if (grpc_call_start_batch(s->call, ops, n_ops, tag, NULL) != GRPC_CALL_OK)
        return false;
    s->n_pending++;
    return true;
}

static bool begin_receive(struct gx_call_stream *s, bool first)
{
    const grpc_op ops[] = {
        {.op = GRPC_OP_RECV_MESSAGE, .data.recv_message.recv_message = &s->in},
        {.op = GRPC_OP_RECV_INITIAL_METADATA, .data.recv_initial_metadata.recv_initial_metadata = &s->initial},
    };
    return begin(s, ops, first ? 2 : 1, &s->tag_receive);
}

static bool begin_call(struct gx_call_stream *s)
{
    const grpc_op send[] = {{.op = GRPC_OP_SEND_INITIAL_METADATA}};
    const grpc_op status[] = {{.op = GRPC_OP_RECV_STATUS_ON_CLIENT,
                               .data.recv_status_on_client = {.trailing_metadata = &s->ending.trailing,
                                                              .status = &s->ending.code,
                                                              .status_details = &s->ending.message}}};
    s->sending = true;
    return begin(s, send, 1, &s->tag_send) && begin(s, status, 1, &s->tag_status) && begin_receive(s, true);
}

enum gx_status gx_call_stream_open(struct gx_call_channel *channel, const char *method, gx_call_on_message *on_message,
                                   void *user, struct gx_call_stream **out)
{
    *out = NULL;
    struct gx_call_stream *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return gx_error_set(GX_E_NOMEM, "out of memory");
    s->channel = channel;
    s->on_message = on_message;
    s->user = user;
    grpc_metadata_array_init(&s->initial);
    ending_init(&s->ending);
    s->queue = grpc_completion_queue_create_for_next(NULL);
    s->call = create_call(channel, s->queue, method, gpr_inf_future(GPR_CLOCK_REALTIME));
    if (!begin_call(s)) {
        gx_call_stream_free(s);
        return gx_error_set(GX_E_INTERNAL, "gRPC refused to begin the call");
    }
    *out = s;
    return GX_OK;
}

bool gx_call_stream_can_send(const struct gx_call_stream *stream)
{
    return !stream->sending && !stream->half_closed && !stream->ended;
}

enum gx_status gx_call_stream_send(struct gx_call_stream *stream, const struct gx_call_message *message)
{
    stream->out = buffer_of(message);
    const grpc_op ops[] = {{.op = GRPC_OP_SEND_MESSAGE, .data.send_message.send_message = stream->out}};
    if (!begin(stream, ops, 1, &stream->tag_send))
        return gx_error_set(GX_E_INTERNAL, "gRPC refused to send");
    stream->sending = true;
    return GX_OK;
}

enum gx_status gx_call_stream_half_close(struct gx_call_stream *stream)
{
    const grpc_op ops[] = {{.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT}};
    if (!begin(stream, ops, 1, &stream->tag_send))
        return gx_error_set(GX_E_INTERNAL, "gRPC refused to send");
    stream->sending = stream->half_closed = true;
    return GX_OK;
}

static void on_received(struct gx_call_stream *s)
{
    grpc_byte_buffer *buffer = s->in;
    s->in = NULL;
    if (buffer == NULL)
        return; /* the end: the status comes, or is here */
    grpc_slice slice;
    if (read_buffer(buffer, &slice)) {
        s->on_message(s->user, GRPC_SLICE_START_PTR(slice), GRPC_SLICE_LENGTH(slice));
        grpc_slice_unref(slice);
    } else {
        s->damaged = true;
    }
    grpc_byte_buffer_destroy(buffer);
    if (s->damaged || !begin_receive(s, false))
        (void)grpc_call_cancel(s->call, NULL);
}

bool gx_call_stream_step(struct gx_call_stream *stream, int64_t wait_us)
{
    if (stream->ended)
        return false;
    gpr_timespec until = wait_us > 0 ? deadline_in(wait_us) : gpr_inf_past(GPR_CLOCK_MONOTONIC);
    grpc_event event = grpc_completion_queue_next(stream->queue, until, NULL);
    if (event.type != GRPC_OP_COMPLETE)
        return false;
    stream->n_pending--;
    if (event.tag == &stream->tag_send) {
        stream->sending = false; /* not sent after all: the status will say why */
        grpc_byte_buffer_destroy(stream->out);
        stream->out = NULL;
        if (!event.success)
            stream->half_closed = true;
    } else if (event.tag == &stream->tag_receive) {
        on_received(stream);
    } else {
        stream->ended = true;
    }
    return true;
}

bool gx_call_stream_ended(const struct gx_call_stream *stream)
{
    return stream->ended;
}

enum gx_status gx_call_stream_status(const struct gx_call_stream *stream, int64_t *out_retry_delay_us)
{
    struct gx_details details;
    ending_read(&stream->ending, stream->channel->server, &details);
    *out_retry_delay_us = details.retry_delay_us;
    if (stream->damaged)
        return gx_error_set(GX_E_INTERNAL, "the server's answer is damaged");
    return details.status == GX_OK ? GX_OK : gx_error_set(details.status, "%s", details.text);
}

void gx_call_stream_free(struct gx_call_stream *stream)
{
    if (stream == NULL)
        return;
    if (!stream->ended)
        (void)grpc_call_cancel(stream->call, NULL);
    grpc_completion_queue_shutdown(stream->queue);
    while (grpc_completion_queue_next(stream->queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type !=
           GRPC_QUEUE_SHUTDOWN)
        ; /* operations that were under way come back cancelled, soon */
    grpc_call_unref(stream->call);
    grpc_completion_queue_destroy(stream->queue);
    grpc_byte_buffer_destroy(stream->out);
    grpc_byte_buffer_destroy(stream->in);
    grpc_metadata_array_destroy(&stream->initial);
    ending_fini(&stream->ending);
    free(stream);
}
