/* Calls over gRPC: channel, unary call, stream. The only user of gRPC C core in the client.
 *
 * Failures leave their text in error.h. Durations are relative, in microseconds. */
#ifndef GX_CALL_H
#define GX_CALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

struct gx_call_channel;
struct gx_call_stream;

/* Monotonic. */
int64_t gx_call_now_us(void);

/* Does not block. @server: "HOST:PORT" or "unix:/path". @out freed by gx_call_channel_close, after its calls. */
GX_MUST enum gx_status gx_call_channel_open(const char *server, struct gx_call_channel **out);
void gx_call_channel_close(struct gx_call_channel *channel);

/* Pauses between tries, for a growing time with jitter: @attempt 0 some 100 ms, doubling to some 2 s, at least
 * @at_least_us; shorter when a lost connection is there again. False, at once: it would last beyond @until_us. */
bool gx_call_pause(struct gx_call_channel *channel, unsigned attempt, int64_t at_least_us, int64_t until_us);

/* A request on its way: shared with gRPC until sent, so never written after its first use. Wiped in the end. */
struct gx_call_message;

/* @out_data: [len], to be filled. NULL: no memory. */
struct gx_call_message *gx_call_message_new(size_t len, uint8_t **out_data);
size_t gx_call_message_len(const struct gx_call_message *message);
void gx_call_message_free(struct gx_call_message *message);

/* An answer in one piece; freed, and wiped, by gx_call_reply_fini. */
struct gx_call_reply {
    uint8_t *data;
    size_t len;
};
void gx_call_reply_fini(struct gx_call_reply *reply);

/* One call with up to @retries further tries on passing failures, all within @deadline_us. From any thread.
 * @method: "/package.Service/Method". */
GX_MUST enum gx_status gx_call_unary(struct gx_call_channel *channel, const char *method,
                                     const struct gx_call_message *request, int64_t deadline_us, unsigned retries,
                                     struct gx_call_reply *out);

/* Told of each message of the server, in order, from within gx_call_stream_step. @data is borrowed. */
typedef void gx_call_on_message(void *user, const uint8_t *data, size_t len);

/* Begins a call with streams in both directions (a server stream takes one message and a half-close). No deadline of
 * its own: the caller bounds its steps. One thread at a time. @out freed by gx_call_stream_free. */
GX_MUST enum gx_status gx_call_stream_open(struct gx_call_channel *channel, const char *method,
                                           gx_call_on_message *on_message, void *user, struct gx_call_stream **out);

/* Nothing is on its way out and the call goes on: a send or half-close may be started. */
bool gx_call_stream_can_send(const struct gx_call_stream *stream);
/* Both start what step completes, and want can_send. The message is shared until it is sent. */
GX_MUST enum gx_status gx_call_stream_send(struct gx_call_stream *stream, const struct gx_call_message *message);
GX_MUST enum gx_status gx_call_stream_half_close(struct gx_call_stream *stream);

/* Waits for one event (sent, message, end) and handles it; false: none within @wait_us (0 = look only). */
bool gx_call_stream_step(struct gx_call_stream *stream, int64_t wait_us);

/* The server's status is here; no event will come. */
bool gx_call_stream_ended(const struct gx_call_stream *stream);
/* How an ended call ended, text set; @out_retry_delay_us as in gx_details. */
GX_MUST enum gx_status gx_call_stream_status(const struct gx_call_stream *stream, int64_t *out_retry_delay_us);

/* Cancels what goes on. NULL is fine. */
void gx_call_stream_free(struct gx_call_stream *stream);

#endif
