/* What the rpc_* files share: the server, the call and its two counts. For no other file.
 *
 * Two counts keep a call. `refs`: operations under way in libgrpc, plus one for all owners together; at 0 the call is
 * taken apart. `owners`: who may still answer it (the handler at work, an outstanding read, each gx_call_hold); when
 * the last one lets go of a call that nobody has ended, it is ended as an internal error, so that it cannot hang. */
#ifndef GX_RPC_PRIVATE_H
#define GX_RPC_PRIVATE_H

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <pthread.h>
#include <stdatomic.h>

#include "arena.h"
#include "indexd/limits.h"
#include "rpc.h"

#define GX_RPC_CALLS_MAX    16384u              /* calls open at a time, beside those that may wait in the queues */
#define GX_RPC_BYTES_MAX    ((size_t)512 << 20) /* of messages of open calls and replies not yet sent, together */
#define GX_RPC_REPLY_MAX    ((size_t)64 << 20)  /* bytes of one message to a client */
#define GX_RPC_METADATA_MAX (16 << 10)          /* bytes of a call's metadata */
#define GX_RPC_BRIEF_MAX    ((size_t)20 << 10)  /* bytes of a message that is tried on an I/O thread */
#define GX_RPC_CLERKS_MIN   2u                  /* workers for short calls; one for four others, if that is more */
#define GX_RPC_UNTRIED      15                  /* calls after a vain attempt: what is asked often is of one kind */
#define GX_RPC_SENDS_MAX    256u                /* messages of one stream that wait to be sent */
#define GX_RPC_SENDS_BEHIND 64u                 /* a stream that far behind is not read from */
#define GX_RPC_ADDRESS_MAX  128
#define GX_RPC_STATUS_MAX   640 /* bytes of an encoded google.rpc.Status */
#define GX_RPC_ARENAS_KEPT  64
#define GX_RPC_CALLS_KEPT   1024

/* The operation that is under way; @fn runs on an I/O thread once it is over. @fn is stored last before the operation
 * begins and loaded first when it is over: libgrpc orders the two, but neither C nor a sanitizer knows. */
struct gx_rpc_tag {
    void (*_Atomic fn)(struct gx_call *call, bool ok);
    struct gx_call *call;
};

enum gx_rpc_work { GX_RPC_MESSAGE, GX_RPC_END };

struct gx_rpc_method {
    const struct gx_route *route; /* NULL: calls of methods that nobody registered */
    void *handle;
    size_t max_message;
};

/* One I/O thread and its completion queue. */
struct gx_rpc_io {
    struct gx_rpc *rpc;
    grpc_completion_queue *cq;
    pthread_t thread;
    bool started;
    unsigned n_untried; /* calls of GX_RPC_EITHER that go to a worker without an attempt */
};

struct gx_rpc_queue {
    pthread_mutex_t lock; /* guards: head to stopping */
    pthread_cond_t filled;
    struct gx_call *head, *tail;
    atomic_size_t len; /* written under the lock */
    unsigned n_idle;
    bool stopping;

    size_t max;
    bool prompt; /* its workers mostly wait, and get the processor first */
    void (*thread_begin)(void);
    pthread_t *workers; /* [n_workers] */
    unsigned n_workers;
};

/* What a stream has and a unary call has not. */
struct gx_rpc_stream {
    pthread_mutex_t lock;       /* guards: all fields */
    grpc_byte_buffer **waiting; /* ring [GX_RPC_SENDS_MAX] of messages to send; made on first use */
    unsigned first, n_waiting;
    bool busy;       /* a message or the end is queued or with the handler */
    bool want_read;  /* asked for, not yet begun */
    bool reading;    /* begun */
    bool sending;    /* an operation on t_send is under way */
    bool broken;     /* a send failed: nobody reads any more */
    bool finishing;  /* the status follows the last waiting message */
    bool status_out; /* it is on its way */
    bool end_due;    /* on_end, as soon as the handler is back */
    bool end_given;
    bool end_broken; /* @broken of on_end */
};

struct gx_call {
    struct gx_rpc *rpc;
    struct gx_rpc_io *io;
    struct gx_rpc_method *method;
    struct gx_rpc_tag t_request, t_close, t_send, t_receive;

    grpc_call *core;
    grpc_call_details details; /* of a method that nobody registered */
    grpc_metadata_array metadata;
    gpr_timespec deadline, began;
    grpc_byte_buffer *in, *out; /* message from and to the client */
    uint8_t *flat;              /* @in in one piece where libgrpc has it in several */
    size_t in_len, flat_len;
    bool metadata_sent, admitted, listed;
    bool close_begun;  /* RECV_CLOSE; else it goes with the final operation */
    bool brief;        /* the attempt on the I/O thread is under way */
    bool handed_over;  /* it has found that a worker must do it */
    int cancelled_out; /* written by libgrpc; to be read behind t_close only */

    atomic_uint refs, owners;
    atomic_bool ended;     /* somebody has said how the call ends */
    atomic_bool cancelled; /* the client went away */

    struct gx_arena arena;
    void *state;
    void (*free_state)(void *state);

    enum gx_rpc_work work;
    struct gx_rpc_stream stream;
    struct gx_err final; /* of a stream; GX_OK = finished properly */

    struct gx_call *next;                  /* in the queue or the pool */
    struct gx_call *list_next, *list_prev; /* open streams of GX_RPC_INLINE */
};

struct gx_rpc {
    struct gx_rpc_options options; /* every default resolved */
    char address[GX_RPC_ADDRESS_MAX];
    grpc_server *server;
    struct gx_rpc_method *methods; /* [options.n_routes + 1]; the last is for unknown ones */
    size_t n_methods;
    struct gx_rpc_io *io;                   /* [options.n_io] */
    struct gx_rpc_queue queue, short_queue; /* the second: of GX_RPC_SHORT */
    bool guarded;
    uint64_t refused_before; /* connections refused in this process before the server began */

    pthread_mutex_t lock; /* guards: n_live to stopping */
    pthread_cond_t none_live;
    unsigned n_live;      /* calls in use: armed or open */
    struct gx_call *pool; /* calls for reuse, newest first */
    unsigned n_pool;
    struct gx_arena arenas[GX_RPC_ARENAS_KEPT]; /* warm ones, newest last */
    unsigned n_arenas;
    struct gx_call *streams; /* open streams of GX_RPC_INLINE: ended at stop instead of waited for */
    bool stopping;

    atomic_size_t bytes_held; /* of messages of open calls */
    atomic_uint_fast64_t n_open, n_calls, n_failed, n_busy, n_expired, n_cancelled, n_broken;
};

/* --- rpc_core.c: the library itself --- */

/* abseil's deadlock detector off, libgrpc's log into ours. */
void gx_rpc_core_tame(void);

/* GX_E_STATE: another libgrpc than this was written for. */
GX_MUST enum gx_status gx_rpc_core_check(struct gx_err *err);

/* The server with its limits; never NULL. */
grpc_server *gx_rpc_core_server(const struct gx_rpc_options *options);

/* At most @max lines a second: true = write this one, @out_skipped = how many were left out before it. */
struct gx_rpc_pace {
    atomic_int_fast64_t second;
    atomic_uint_fast64_t n_written, n_skipped;
};
bool gx_rpc_core_pace(struct gx_rpc_pace *pace, uint64_t max, uint64_t *out_skipped);

/* --- rpc_listen.c --- */

/* Checks that the address may be served in plaintext, and opens it; @out_address [GX_RPC_ADDRESS_MAX] with its port. */
GX_MUST enum gx_status gx_rpc_listen_open(grpc_server *server, const char *listen, char *out_address,
                                          struct gx_err *err);

/* --- rpc_status.c --- */

/* @err as google.rpc.Status with ErrorInfo and, where a retry makes sense, RetryInfo; its length. */
size_t gx_rpc_status_encode(const struct gx_err *err, uint8_t out[GX_RPC_STATUS_MAX]);

/* One line about a failed call. @path NULL: an unknown method. */
void gx_rpc_status_log(const char *path, const struct gx_err *err, int64_t took_us);

/* --- rpc_queue.c --- */

/* max, prompt and thread_begin are set. */
GX_MUST enum gx_status gx_rpc_queue_start(struct gx_rpc_queue *queue, unsigned n_workers, struct gx_err *err);
void gx_rpc_queue_stop(struct gx_rpc_queue *queue);
/* false: the queue is full, @call is still the caller's. @forced: there is always room. */
bool gx_rpc_queue_push(struct gx_rpc_queue *queue, struct gx_call *call, bool forced);
size_t gx_rpc_queue_length(struct gx_rpc_queue *queue);

/* --- rpc_call.c --- */

/* Bytes of replies that were encoded and not yet freed by libgrpc, in this process. */
size_t gx_rpc_call_replies_held(void);

/* Awaits the next call of @method. */
void gx_rpc_call_arm(struct gx_rpc_io *io, struct gx_rpc_method *method);
/* Starts an operation; @fn gets its outcome. Anything but success is our own mistake and ends the process. */
void gx_rpc_call_begin(struct gx_call *call, const grpc_op *ops, size_t n_ops, struct gx_rpc_tag *tag,
                       void (*fn)(struct gx_call *call, bool ok));
void gx_rpc_call_unref(struct gx_call *call);
/* gx_call_hold where there may be no owner any more: false. */
bool gx_rpc_call_try_hold(struct gx_call *call);
/* Takes over one owner: runs the call's work, here or through the queue. */
void gx_rpc_call_dispatch(struct gx_call *call, enum gx_rpc_work work);
/* Runs the work and lets the owner go. */
void gx_rpc_call_run(struct gx_call *call);
/* Appends SEND_INITIAL_METADATA to @ops when it has not been sent yet; the new count. */
size_t gx_rpc_call_put_metadata(struct gx_call *call, grpc_op *ops, size_t n_ops);
/* The call's last operation: the message, where there is one (taken over), and the status (@err NULL: OK). */
void gx_rpc_call_send_final(struct gx_call *call, grpc_byte_buffer *message, const struct gx_err *err,
                            void (*fn)(struct gx_call *call, bool ok));
/* What this thread has encoded between begin and end, as a message of @len bytes. */
grpc_byte_buffer *gx_rpc_call_encoded(struct gx_call *call, size_t len);
void gx_rpc_call_free_pool(struct gx_rpc *rpc);

/* --- rpc_message.c --- */

/* Measures the message that has come: GX_E_INVALID (there is none), GX_E_TOO_LARGE, GX_E_BUSY. */
GX_MUST enum gx_status gx_rpc_message_take(struct gx_call *call, struct gx_err *err);
/* The message in one piece, until it is dropped. */
GX_MUST enum gx_status gx_rpc_message_open(struct gx_call *call, struct gx_slice *out_message, struct gx_err *err);
/* Wipes the message and gives it back. */
void gx_rpc_message_drop(struct gx_call *call);

/* --- rpc_stream.c --- */

void gx_rpc_stream_open(struct gx_call *call);                          /* takes over one owner */
void gx_rpc_stream_run(struct gx_call *call);                           /* the work of a stream */
void gx_rpc_stream_gone(struct gx_call *call);                          /* the client has gone */
void gx_rpc_stream_end(struct gx_call *call, const struct gx_err *err); /* @err NULL: OK */
void gx_rpc_stream_drop(struct gx_call *call);                          /* what waits to be sent */
void gx_rpc_stream_cut_idle(struct gx_rpc *rpc);                        /* at stop: the streams of GX_RPC_INLINE */

#endif
