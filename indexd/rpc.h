/* The gRPC server (C core): listeners, completion queues, call states, the bounded queue and its workers.
 *
 * An I/O thread takes a call's event, re-arms the method, checks the deadline and puts the message into a bounded
 * queue; a worker runs it to its end, reply included. What takes no longer than the way through the queue may be
 * carried out on the I/O thread at once. Answers may also come later from another thread (a write waits
 * for its fsync). The path of a message: event -> deadline -> queue -> worker -> route.on_message -> gx_call_reply. */
#ifndef GX_RPC_H
#define GX_RPC_H

#include "arena.h"

struct gx_rpc;  /* the server */
struct gx_call; /* one call; counted: it lives while somebody holds it */

enum gx_rpc_kind {
    GX_RPC_UNARY,         /* one message in, one out */
    GX_RPC_BIDI,          /* messages in and out */
    GX_RPC_SERVER_STREAM, /* one message in, many out */
};

enum gx_rpc_place {
    GX_RPC_WORKER, /* through the bounded queue: what computes */
    GX_RPC_SHORT,  /* likewise, with a queue and workers of its own: what looks something up, or waits for the disk */
    GX_RPC_INLINE, /* on the I/O thread: health, reflection; under 50 microseconds */
    GX_RPC_EITHER, /* unary: tried on the I/O thread when nothing waits for a worker; see gx_call_must_be_brief */
};

/* One method. Functions get @app as given to gx_rpc_start. @message is borrowed until the function returns (unary and
 * server stream: until the call ends). */
struct gx_route {
    const char *path; /* "/indexd.v1.Search/Search" */
    enum gx_rpc_kind kind;
    enum gx_rpc_place place;
    size_t max_message; /* bytes; larger is GX_E_TOO_LARGE before any decoding; 0 = GX_MESSAGE_MAX */

    /* A message has come. Unary: must lead to exactly one gx_call_reply_end or gx_call_fail, now or later.
     * Streams: answer with gx_call_send_*, ask for the next message with gx_call_read (bidi only), end the call with
     * gx_call_finish or gx_call_fail. Messages of one call come one at a time. */
    void (*on_message)(void *app, struct gx_call *call, struct gx_slice message);

    /* Bidi: no further message. @broken: the client went away, cancelled or ran out of time in mid-stream (what was not
     * committed must be rolled back); else it half-closed properly. Must lead to gx_call_finish or gx_call_fail. Also
     * called for a server stream whose client has gone. NULL: finish with OK, or CANCELLED when broken. */
    void (*on_end)(void *app, struct gx_call *call, bool broken);
};

struct gx_rpc_options {
    const char *listen; /* "127.0.0.1:7600", "[::1]:7600", "unix:/path"; port 0 = any free one */
    const struct gx_route *routes;
    size_t n_routes;
    void *app;
    unsigned n_io;              /* I/O threads, 1..8; 0 = clamp(cores/16, 1, 4) */
    unsigned n_workers;         /* 1..1024; 0 = one per core. A quarter as many more, at least 2, for short calls */
    size_t queue_max;           /* messages in each of the two queues, 1..1000000; past it GX_E_BUSY; 0 = 1024 */
    size_t connections_max;     /* open connections, 1..100000; past it new ones are closed; 0 = 4096 */
    uint32_t streams_max;       /* calls at a time per connection; 0 = 1024 */
    size_t memory_max;          /* arena bytes of one call; 0 = 64 MiB */
    int64_t grace_us;           /* on stop: how long running calls may take; 0 = 10 s */
    void (*thread_begin)(void); /* called once on each worker; may be NULL */
};

/* Before any other thread exists and before gx_rpc_start: abseil's deadlock detector off, signals and log function set.
 */
void gx_rpc_prepare(void);

/* Starts listening. Plaintext is refused on anything but loopback and unix sockets (GX_E_INVALID).
 * GX_E_IN_USE: the port is taken. GX_E_STATE: libgrpc is not the version this was written for. */
GX_MUST enum gx_status gx_rpc_start(const struct gx_rpc_options *options, struct gx_rpc **out, struct gx_err *err);

/* The address in use, with the port that was chosen; lives as long as the server. */
const char *gx_rpc_address(const struct gx_rpc *rpc);

/* Orderly stop: no new calls, running ones get grace_us, then are cancelled; every thread joined on return. NULL is
 * fine. Whoever still owes a call its answer must give it (or gx_call_fail) or this does not return. */
void gx_rpc_stop(struct gx_rpc *rpc);

struct gx_rpc_stats {
    uint64_t calls, failed, refused_busy, expired, cancelled, broken_streams, connections_refused;
    uint64_t queue_length, calls_open;
};
void gx_rpc_get_stats(struct gx_rpc *rpc, struct gx_rpc_stats *out);

/* --- one call. Thread-safe unless said otherwise. --- */

/* The call's memory: for the thread that is in on_message/on_end, and whoever it hands the call to. Lives until the
 * call's end. For streams it is reset after each on_message returned. */
struct gx_arena *gx_call_arena(struct gx_call *call);

/* True: this is the attempt of a GX_RPC_EITHER on the I/O thread, which saves a small request the way through the queue
 * (two thirds of its latency). on_message must then take less than 15 microseconds and wait for nothing, and must have
 * replied, failed or handed over when it returns; its arena gives at most GX_RPC_BRIEF_MEMORY bytes.
 * hand_over: the work is more than that; a worker calls on_message anew. Instead of any answer, and the last thing that
 * the attempt does with the call. */
bool gx_call_must_be_brief(const struct gx_call *call);
void gx_call_hand_over(struct gx_call *call);
#define GX_RPC_BRIEF_MEMORY ((size_t)64 << 10)

/* GX_OK, or GX_E_CANCELLED / GX_E_DEADLINE when nobody waits for the answer any more. Cheap: ask often. */
enum gx_status gx_call_check(struct gx_call *call, struct gx_err *err);

/* gx_rows_stop form of it: true = stop. @call is a struct gx_call *. */
bool gx_call_stopped(void *call);

/* A second owner, for answers that come later from another thread; each hold needs one release. */
void gx_call_hold(struct gx_call *call);
void gx_call_release(struct gx_call *call);

/* State of the route's own; freed with @free_state (may be NULL) at the call's end. */
void gx_call_set_state(struct gx_call *call, void *state, void (*free_state)(void *state));
void *gx_call_state(struct gx_call *call);

/* Where to encode a message of at most @bound bytes (NULL without memory), and its true length once it is there.
 * begin and end come in pairs, from one thread. reply: unary, sends it with status OK. send: streams, queues it behind
 * messages not yet sent; at most 256 may wait, past that the call fails with GX_E_BUSY. */
uint8_t *gx_call_reply_begin(struct gx_call *call, size_t bound);
void gx_call_reply_end(struct gx_call *call, size_t len);
uint8_t *gx_call_send_begin(struct gx_call *call, size_t bound);
void gx_call_send_end(struct gx_call *call, size_t len);

/* Bidi: asks for the next message (or the end). Once per on_message, there or later. */
void gx_call_read(struct gx_call *call);

/* Streams: ends with OK after everything sent. */
void gx_call_finish(struct gx_call *call);

/* Ends any call with the error's gRPC code, text, and google.rpc.ErrorInfo (RetryInfo for BUSY and UNAVAILABLE) in
 * grpc-status-details-bin. Later ends of the same call are ignored. */
void gx_call_fail(struct gx_call *call, const struct gx_err *err);

#endif
