/* Enrolment of many records over one stream that survives its connection.
 *
 * The path of a message: packed, kept in the ring -> handed to the present connection, in order -> acknowledged by its
 * number -> freed. When a connection ends before everything is acknowledged, a new one is opened after a pause and all
 * that is kept goes out once more: each message has a request id, so what was durable already counts as before.
 *
 * What can go wrong: a refusal (ends the stream: the first message that is not acknowledged is meant, or one after it),
 * a server that is gone, at its limit or silent for too long, acknowledgements of what was never sent. */
#include "insert_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "indexd/v1/records.pb-c.h"

#define KEPT_LEN_MAX ((size_t)64 << 20)
#define LEAVE_US     INT64_C(2000000)

struct gx_client_stream {
    gx_client *client;
    struct gx_insert_target target; /* owned */
    char id[GX_MESSAGE_REQUEST_ID_SIZE];
    struct gx_call_stream *call; /* NULL: none at present */

    /* Messages are numbered from 0: [0, n_acked) durable, [n_acked, n_sent) on their way, [n_sent, n_queued) waiting.
     */
    uint64_t n_acked, n_sent, n_queued;
    struct gx_call_message *kept[GX_STREAM_WINDOW_MAX]; /* message i at i modulo its size */
    size_t kept_len;

    uint64_t first;                   /* number of the present connection's first message */
    struct gx_client_enrolled before; /* what earlier connections acknowledged */
    struct gx_client_enrolled total;
    int64_t progress_us; /* when the last acknowledgement came, or the wait for one began */
    unsigned attempt;    /* connections since then */
    bool closing;
    enum gx_status status;
    char text[GX_ERROR_TEXT_MAX];
};

/* ---------------------------------------------------------------- open, free */

static void free_target(struct gx_insert_target *t)
{
    free((char *)t->gallery);
    free((char *)t->embedder_id);
    free((char *)t->embedder_version);
}

void gx_client_stream_abandon(gx_client_stream *stream)
{
    if (stream == NULL)
        return;
    gx_call_stream_free(stream->call);
    for (uint64_t i = stream->n_acked; i < stream->n_queued; i++)
        gx_call_message_free(stream->kept[i % GX_STREAM_WINDOW_MAX]);
    free_target(&stream->target);
    free(stream);
}

enum gx_status gx_client_stream_open(gx_client *client, const char *gallery, const char *embedder_id,
                                     const char *embedder_version, gx_client_stream **out)
{
    gx_error_clear();
    *out = NULL;
    gx_client_stream *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return gx_message_no_memory();
    s->client = client;
    s->target.gallery = strdup(gallery);
    s->target.embedder_id = strdup(embedder_id);
    s->target.embedder_version = strdup(embedder_version != NULL ? embedder_version : "");
    if (s->target.gallery == NULL || s->target.embedder_id == NULL || s->target.embedder_version == NULL) {
        gx_client_stream_abandon(s);
        return gx_message_no_memory();
    }
    gx_message_request_id(s->id);
    *out = s;
    return GX_OK;
}

/* ---------------------------------------------------------------- acknowledgements */

/* The stream is over. The first failure stays. */
static enum gx_status end_with(gx_client_stream *s, enum gx_status status)
{
    if (s->status == GX_OK) {
        s->status = status;
        (void)snprintf(s->text, sizeof(s->text), "%s", gx_error_text());
    }
    return s->status;
}

static enum gx_status failed_before(const gx_client_stream *s)
{
    return s->status == GX_OK ? GX_OK : gx_error_set(s->status, "%s", s->text);
}

static void on_ack(gx_client_stream *s, const Indexd__V1__InsertAck *ack)
{
    uint64_t n = s->first + ack->messages;
    if (ack->messages > s->n_sent - s->first || n < s->n_acked) {
        (void)end_with(s, gx_error_set(GX_E_INTERNAL, "the server acknowledged what was not sent"));
        return;
    }
    while (s->n_acked < n) {
        struct gx_call_message *m = s->kept[s->n_acked++ % GX_STREAM_WINDOW_MAX];
        s->kept_len -= gx_call_message_len(m);
        gx_call_message_free(m);
        s->attempt = 0;
    }
    s->total.enrolled = s->before.enrolled + ack->enrolled;
    s->total.unchanged = s->before.unchanged + ack->unchanged;
    if (ack->epoch > s->total.epoch)
        s->total.epoch = ack->epoch;
    s->progress_us = gx_call_now_us();
}

static void on_message(void *user, const uint8_t *data, size_t len)
{
    gx_client_stream *s = user;
    struct gx_bump mem;
    ProtobufCMessage *message;
    gx_bump_init(&mem, gx_message_room(len));
    enum gx_status status = gx_message_unpack(&indexd__v1__insert_ack__descriptor, data, len, &mem, &message);
    if (status == GX_OK)
        on_ack(s, (const Indexd__V1__InsertAck *)message);
    else
        (void)end_with(s, status);
    gx_bump_fini(&mem);
}

/* ---------------------------------------------------------------- connection */

static bool may_resume(const gx_client_stream *s, enum gx_status status)
{
    /* CANCELLED comes from a server that stops; nobody here cancels a stream that goes on. */
    return s->client->resume && (status == GX_E_UNAVAILABLE || status == GX_E_BUSY || status == GX_E_CANCELLED);
}

/* The connection ended before everything was acknowledged: pause and let the next one be opened, or give up. */
static enum gx_status on_ended(gx_client_stream *s)
{
    int64_t retry_delay_us;
    enum gx_status status = gx_call_stream_status(s->call, &retry_delay_us);
    gx_call_stream_free(s->call);
    s->call = NULL;
    s->before = s->total;
    s->first = s->n_sent = s->n_acked;
    if (status == GX_OK)
        return end_with(s, gx_error_set(GX_E_INTERNAL, "the server ended the stream with %llu messages unanswered",
                                        (unsigned long long)(s->n_queued - s->n_acked)));
    /* A server that never took anything is given up sooner than one that is being restarted. */
    if (!may_resume(s, status) || (s->n_acked == 0 && s->attempt >= s->client->retries) ||
        !gx_call_pause(s->client->channel, s->attempt++, retry_delay_us, s->progress_us + s->client->deadline_us))
        return end_with(s, status);
    return GX_OK;
}

/* Hands on what waits, as far as it goes without blocking. */
static enum gx_status pump(gx_client_stream *s)
{
    enum gx_status status = GX_OK;
    if (s->call == NULL)
        status = gx_call_stream_open(s->client->channel, "/indexd.v1.Records/InsertStream", on_message, s, &s->call);
    if (status == GX_OK && gx_call_stream_can_send(s->call)) {
        if (s->n_sent < s->n_queued)
            status = gx_call_stream_send(s->call, s->kept[s->n_sent++ % GX_STREAM_WINDOW_MAX]);
        else if (s->closing)
            status = gx_call_stream_half_close(s->call);
    }
    return status == GX_OK ? GX_OK : end_with(s, status);
}

/* One event, or the end of patience. */
static enum gx_status wait_one(gx_client_stream *s)
{
    enum gx_status status = pump(s);
    if (status != GX_OK)
        return status;
    if (gx_call_stream_ended(s->call))
        return on_ended(s);
    int64_t left_us = s->progress_us + s->client->deadline_us - gx_call_now_us();
    if (left_us <= 0)
        return end_with(s, gx_error_set(GX_E_DEADLINE,
                                        "the server has acknowledged nothing for %.1f s: is it overloaded? "
                                        "try a longer deadline",
                                        (double)s->client->deadline_us / 1e6));
    (void)gx_call_stream_step(s->call, left_us);
    return s->status;
}

/* What has arrived, without waiting. */
static void look(gx_client_stream *s)
{
    while (s->call != NULL && s->status == GX_OK && gx_call_stream_step(s->call, 0))
        ;
}

/* ---------------------------------------------------------------- send, close */

static bool has_room(const gx_client_stream *s, size_t len)
{
    uint64_t n = s->n_queued - s->n_acked;
    return n == 0 || (n < GX_STREAM_WINDOW_MAX && s->kept_len + len <= KEPT_LEN_MAX);
}

enum gx_status gx_client_stream_send(gx_client_stream *stream, const struct gx_client_record *records,
                                     const float *rows, size_t n, size_t dim)
{
    gx_error_clear();
    look(stream);
    if (stream->status != GX_OK)
        return failed_before(stream);
    char request_id[GX_REQUEST_ID_MAX + 1];
    (void)snprintf(request_id, sizeof(request_id), "%s-%llu", stream->id, (unsigned long long)stream->n_queued);
    struct gx_call_message *message;
    enum gx_status status = gx_insert_pack(&stream->target, records, rows, n, dim, request_id, &message);
    if (status != GX_OK)
        return end_with(stream, status);
    if (stream->n_queued == stream->n_acked)
        stream->progress_us = gx_call_now_us();
    while (status == GX_OK && !has_room(stream, gx_call_message_len(message)))
        status = wait_one(stream);
    if (status != GX_OK) {
        gx_call_message_free(message);
        return failed_before(stream);
    }
    stream->kept[stream->n_queued++ % GX_STREAM_WINDOW_MAX] = message;
    stream->kept_len += gx_call_message_len(message);
    status = pump(stream);
    /* Until it is on its way: a caller that pauses now must not hold it up. */
    while (status == GX_OK && stream->n_sent < stream->n_queued)
        status = wait_one(stream);
    return failed_before(stream);
}

enum gx_status gx_client_stream_wait(gx_client_stream *stream, uint64_t max_pending)
{
    gx_error_clear();
    look(stream);
    while (stream->status == GX_OK && stream->n_queued - stream->n_acked > max_pending)
        (void)wait_one(stream);
    return failed_before(stream);
}

void gx_client_stream_acknowledged(gx_client_stream *stream, uint64_t *out_messages, struct gx_client_enrolled *out)
{
    look(stream);
    if (out_messages != NULL)
        *out_messages = stream->n_acked;
    if (out != NULL)
        *out = stream->total;
}

/* Everything is durable: the server is told so, but how the connection ends has no meaning any more. */
static void take_leave(gx_client_stream *s)
{
    int64_t until_us = gx_call_now_us() + LEAVE_US;
    while (s->call != NULL && !gx_call_stream_ended(s->call) && pump(s) == GX_OK)
        if (!gx_call_stream_step(s->call, until_us - gx_call_now_us()))
            break;
}

enum gx_status gx_client_stream_close(gx_client_stream *stream, struct gx_client_enrolled *out)
{
    gx_error_clear();
    if (out != NULL)
        *out = (struct gx_client_enrolled){0};
    if (stream == NULL)
        return GX_OK;
    stream->closing = true;
    stream->progress_us = gx_call_now_us();
    while (stream->status == GX_OK && stream->n_acked < stream->n_queued)
        (void)wait_one(stream);
    if (out != NULL)
        *out = stream->total;
    enum gx_status status = failed_before(stream);
    if (status == GX_OK)
        take_leave(stream);
    gx_client_stream_abandon(stream);
    return status;
}
