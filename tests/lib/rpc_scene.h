/* What tests of the server share: a server with a client beside it, a gate to hold handlers at, and the run of the
 * tests. Fails the running check by itself. */
#ifndef GX_RPC_SCENE_H
#define GX_RPC_SCENE_H

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>

#include "grpc_client.h"
#include "rpc.h"

/* Canonical gRPC codes. */
enum {
    OK = 0,
    CANCELLED = 1,
    INVALID_ARGUMENT = 3,
    DEADLINE_EXCEEDED = 4,
    NOT_FOUND = 5,
    RESOURCE_EXHAUSTED = 8,
    UNIMPLEMENTED = 12,
    INTERNAL = 13,
    UNAVAILABLE = 14,
};

#define PATIENT GX_GRPC_CLIENT_PATIENT

struct gx_rpc_scene {
    struct gx_rpc *server;
    struct gx_grpc_client client;
};

/* Starts both; @options without an address: any free port of 127.0.0.1. */
void gx_rpc_scene_start(struct gx_rpc_scene *scene, struct gx_rpc_options options, const struct gx_route *routes,
                        size_t n_routes, void *app);
void gx_rpc_scene_stop(struct gx_rpc_scene *scene);
struct gx_rpc_stats gx_rpc_scene_stats(const struct gx_rpc_scene *scene);

/* Waits until the server's queue holds @n messages; until it has seen @n cancellations; until @n calls are open. */
void gx_rpc_scene_await_queued(struct gx_rpc_scene *scene, uint64_t n);
void gx_rpc_scene_await_cancelled(struct gx_rpc_scene *scene, uint64_t n);
void gx_rpc_scene_await_open(struct gx_rpc_scene *scene, uint64_t n);

/* A stream of this path; one whose only message and half-close are sent already. */
struct gx_grpc_call *gx_rpc_scene_begin(struct gx_rpc_scene *scene, const char *path, int timeout_ms);
struct gx_grpc_call *gx_rpc_scene_ask(struct gx_rpc_scene *scene, const char *path, const char *message);
/* Waits for the next message and checks that it is this one; that the stream ends without another. */
void gx_rpc_scene_check_received(struct gx_grpc_call *call, const void *expected, size_t len);
void gx_rpc_scene_check_no_more(struct gx_grpc_call *call);

/* What handlers of streams count. Waits until as many messages came and as many streams ended, clean and broken. */
struct gx_rpc_scene_counts {
    atomic_uint n_messages, n_clean, n_broken;
};
void gx_rpc_scene_await_counts(struct gx_rpc_scene_counts *counts, unsigned n_messages, unsigned n_clean,
                               unsigned n_broken);

/* A handler of unary calls: answers with the request. */
void gx_rpc_scene_echo(void *arg, struct gx_call *call, struct gx_slice message);
/* Sends @len bytes as a unary call and checks that they come back. */
void gx_rpc_scene_check_echo(struct gx_rpc_scene *scene, const char *path, size_t len);

/* Checks that the google.rpc.Status of @reply is what @status promises. */
void gx_rpc_scene_check_details(const struct gx_grpc_reply *reply, enum gx_status status);

struct gx_rpc_scene_gate {
    pthread_mutex_t lock; /* guards: open, n_entered */
    pthread_cond_t changed;
    bool open;
    unsigned n_entered;
};
#define GX_RPC_SCENE_GATE                                                                                              \
    {                                                                                                                  \
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0                                                  \
    }

void gx_rpc_scene_enter(struct gx_rpc_scene_gate *gate); /* counts the caller in; does not wait */
void gx_rpc_scene_pass(struct gx_rpc_scene_gate *gate);  /* counts the caller in, waits until the gate is open */
void gx_rpc_scene_await_entered(struct gx_rpc_scene_gate *gate, unsigned n);
void gx_rpc_scene_open(struct gx_rpc_scene_gate *gate);

/* The main of a test program. */
int gx_rpc_scene_run(const char *name, const TTest *const *tests, size_t n_tests);

#endif
