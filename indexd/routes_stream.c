/* InsertStream: many enrolments on one call.
 *
 * The path: message -> decode -> submit to the writer, which takes them in order -> next message at once while few are
 * on their way, else when one comes back -> done (writer's thread) -> acknowledgement. One acknowledgement may stand
 * for several messages: it is sent when nothing else is on its way, and at the latest after ACK_EVERY messages.
 *
 * What can go wrong: a message is refused, by us, at submit or by the writer. No further message is taken then. The
 * stream ends with that error once everything before it is acknowledged, so the client knows which one it was; what was
 * submitted behind it may still be enrolled, but is never acknowledged (sent again, it counts as unchanged). The client
 * goes away: what is on its way may still be enrolled, nothing is sent any more. The state lives until the last message
 * has come back: each holds the call. */
#include <pthread.h>
#include <stdlib.h>

#include "routes_private.h"

#define ACK_EVERY 8
#define BYTES_MAX ((size_t)32 << 20) /* of messages on their way; one larger message may be alone */

struct stream;

/* One message on its way. Numbers count from 0. */
struct pending {
    struct stream *stream;
    uint64_t number;
    size_t len;
};

struct stream {
    struct gx_app *app;
    struct gx_call *call;
    char gallery[GX_NAME_MAX]; /* of the first message; used by on_message only */
    size_t gallery_len;

    pthread_mutex_t lock; /* guards everything below; held while sending, so that acknowledgements keep their order */
    struct pending pending[GX_STREAM_WINDOW_MAX]; /* message i is in [i % GX_STREAM_WINDOW_MAX] */
    uint64_t n_taken;                             /* messages decoded and submitted, or refused */
    unsigned n_pending;
    size_t pending_bytes;
    struct gx_wire_ack ack; /* .messages = those before this number are durable */
    unsigned n_unsent;      /* of them, not yet acknowledged */
    bool paused;            /* the next message is asked for when one comes back */
    bool half_closed;       /* the client sends no more */
    bool failed;            /* message `failed_at` was refused with `error` */
    uint64_t failed_at;
    struct gx_err error;
    bool over; /* the call has been ended */
};

static void free_stream(void *state)
{
    struct stream *s = state;
    (void)pthread_mutex_destroy(&s->lock);
    free(s);
}

static enum gx_status get_stream(struct gx_app *app, struct gx_call *call, struct stream **out, struct gx_err *err)
{
    *out = gx_call_state(call);
    if (*out != NULL)
        return GX_OK;
    struct stream *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for a stream: try again later");
    s->app = app;
    s->call = call;
    (void)pthread_mutex_init(&s->lock, NULL);
    gx_call_set_state(call, s, free_stream);
    *out = s;
    return GX_OK;
}

/* --- the lock is held --- */

static void fail_locked(struct stream *s, const struct gx_err *err)
{
    s->over = true;
    gx_routes_fail(s->call, err);
}

static void send_ack_locked(struct stream *s)
{
    struct gx_wire_reply reply;
    struct gx_err err;
    gx_wire_records_build_ack(&s->ack, &reply);
    s->n_unsent = 0;
    if (gx_routes_send(s->call, &reply, &err) != GX_OK)
        fail_locked(s, &err);
}

/* The first refusal counts: all before it are still to be acknowledged. */
static void refuse_locked(struct stream *s, uint64_t number, const struct gx_err *err)
{
    if (s->failed && s->failed_at < number)
        return;
    s->failed = true;
    s->failed_at = number;
    s->error = *err;
}

static void count_locked(struct stream *s, uint64_t number, const struct gx_enrol_out *out)
{
    if (s->failed && s->failed_at < number)
        return;
    assert(number == s->ack.messages); /* the writer is first in, first out */
    s->ack.messages = number + 1;
    s->ack.epoch = GX_MAX(s->ack.epoch, out->epoch);
    s->ack.enrolled += out->enrolled;
    s->ack.unchanged += out->unchanged;
    s->n_unsent++;
}

/* After every change: acknowledges, ends the call when it is time; true = ask for the next message. */
static bool settle_locked(struct stream *s)
{
    if (s->over)
        return false;
    uint64_t last = s->failed ? s->failed_at : s->n_taken;
    bool all_back = s->ack.messages == last;
    if (s->n_unsent > 0 && (all_back || s->n_unsent >= ACK_EVERY))
        send_ack_locked(s);
    if (s->over)
        return false;
    if (s->failed) {
        if (all_back)
            fail_locked(s, &s->error);
        return false;
    }
    if (s->half_closed) {
        s->over = all_back;
        if (all_back)
            gx_call_finish(s->call);
        return false;
    }
    bool room = s->n_pending < GX_STREAM_WINDOW_MAX && s->pending_bytes < BYTES_MAX;
    bool read = s->paused && room;
    s->paused = s->paused && !room;
    return read;
}

/* --- the steps --- */

/* From the writer's thread, or from within submit. */
static void on_enrolled(void *arg, const struct gx_enrol_out *out, const struct gx_err *err)
{
    const struct pending *message = arg;
    struct stream *s = message->stream;
    struct gx_call *call = s->call;
    (void)pthread_mutex_lock(&s->lock);
    s->n_pending--;
    s->pending_bytes -= message->len;
    if (err != NULL)
        refuse_locked(s, message->number, err);
    else
        count_locked(s, message->number, out);
    bool read = settle_locked(s);
    (void)pthread_mutex_unlock(&s->lock);
    if (read)
        gx_call_read(call);
    gx_call_release(call);
}

/* A place for the message on its way; NULL: the stream is over or failed meanwhile, the message is dropped. */
static struct pending *begin_message(struct stream *s, size_t len)
{
    struct pending *message = NULL;
    (void)pthread_mutex_lock(&s->lock);
    if (!s->over && !s->failed) {
        uint64_t number = s->n_taken++;
        message = &s->pending[number % GX_STREAM_WINDOW_MAX];
        *message = (struct pending){.stream = s, .number = number, .len = len};
        s->n_pending++;
        s->pending_bytes += len;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return message;
}

static enum gx_status take_message(struct stream *s, struct gx_slice message, struct gx_err *err)
{
    struct gx_enrol_in in;
    struct gx_slice gallery = {(const uint8_t *)s->gallery, s->gallery_len};
    GX_TRY(gx_wire_records_decode_insert(message, gallery, gx_call_arena(s->call), &in, err));
    if (s->gallery_len == 0) {
        memcpy(s->gallery, in.gallery.data, in.gallery.len);
        s->gallery_len = in.gallery.len;
    }
    struct pending *pending = begin_message(s, message.len);
    if (pending == NULL)
        return GX_OK;
    gx_call_hold(s->call);
    gx_enrol_submit(s->app->galleries, &in, on_enrolled, pending);
    return GX_OK;
}

void gx_routes_stream_message(void *app, struct gx_call *call, struct gx_slice message)
{
    struct stream *s;
    struct gx_err err;
    if (get_stream(app, call, &s, &err) != GX_OK) {
        gx_routes_fail(call, &err);
        return;
    }
    enum gx_status status = take_message(s, message, &err);
    (void)pthread_mutex_lock(&s->lock);
    if (status != GX_OK && !s->failed)
        refuse_locked(s, s->n_taken++, &err);
    s->paused = true;
    bool read = settle_locked(s);
    (void)pthread_mutex_unlock(&s->lock);
    if (read)
        gx_call_read(call);
}

void gx_routes_stream_end(void *app, struct gx_call *call, bool broken)
{
    struct stream *s;
    struct gx_err err;
    if (get_stream(app, call, &s, &err) != GX_OK) {
        gx_routes_fail(call, &err);
        return;
    }
    (void)pthread_mutex_lock(&s->lock);
    s->half_closed = true;
    if (broken && !s->over) {
        (void)gx_err_set(&err, GX_E_CANCELLED, "the stream broke: what was not acknowledged may not be enrolled");
        fail_locked(s, &err);
    }
    (void)settle_locked(s);
    (void)pthread_mutex_unlock(&s->lock);
}
