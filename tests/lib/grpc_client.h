/* A small client on libgrpc for tests of the server: one call at a time per struct, everything blocks.
 *
 * Each call has a completion queue of its own, so many calls may be under way and be waited for in any order. Calls may
 * be used from any one thread at a time; a client from all. A programming error ends the process. */
#ifndef GX_GRPC_CLIENT_H
#define GX_GRPC_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GX_GRPC_CLIENT_PATIENT 60000 /* ms: longer than any test may take */

struct gx_grpc_client {
    void *channel;
};

struct gx_grpc_call;

/* How a call ended. @data is NULL without a message; else the caller's, to be freed with gx_grpc_client_free_reply. */
struct gx_grpc_reply {
    int code; /* canonical gRPC code */
    char text[512];
    uint8_t details[1024]; /* grpc-status-details-bin */
    size_t details_len;
    uint8_t *data;
    size_t len;
};

/* Own connection, no retries. Nothing is connected yet. */
void gx_grpc_client_open(struct gx_grpc_client *client, const char *address);
void gx_grpc_client_open_gzip(struct gx_grpc_client *client, const char *address); /* compresses what it sends */
void gx_grpc_client_close(struct gx_grpc_client *client);

/* Waits until the connection is there; false after @timeout_ms. */
bool gx_grpc_client_connect(struct gx_grpc_client *client, int timeout_ms);

/* A whole unary call. @data NULL: no message at all. Returns the code. */
int gx_grpc_client_unary(struct gx_grpc_client *client, const char *path, const void *data, size_t len, int timeout_ms,
                         struct gx_grpc_reply *out_reply);
void gx_grpc_client_free_reply(struct gx_grpc_reply *reply);

/* The same in two steps; end frees @call. */
struct gx_grpc_call *gx_grpc_client_begin_unary(struct gx_grpc_client *client, const char *path, const void *data,
                                                size_t len, int timeout_ms);
int gx_grpc_client_end_unary(struct gx_grpc_call *call, struct gx_grpc_reply *out_reply);

/* A stream. @key (NULL: none): one header to send along. */
struct gx_grpc_call *gx_grpc_client_begin(struct gx_grpc_client *client, const char *path, int timeout_ms,
                                          const char *key, const char *value);
bool gx_grpc_client_send(struct gx_grpc_call *call, const void *data, size_t len); /* false: the call is over */
bool gx_grpc_client_half_close(struct gx_grpc_call *call);
/* The next message (free it); false: there is none any more. */
bool gx_grpc_client_receive(struct gx_grpc_call *call, uint8_t **out_data, size_t *out_len);
void gx_grpc_client_cancel(struct gx_grpc_call *call);
/* Waits for the status and frees @call; the code. @out_reply may be NULL. */
int gx_grpc_client_end(struct gx_grpc_call *call, struct gx_grpc_reply *out_reply);

/* Waits until @holds says so, at most a minute; false = it never did. */
bool gx_grpc_client_await(bool (*holds)(void *arg), void *arg);

#endif
