/* What a gRPC status means here. */
#ifndef GX_DETAILS_H
#define GX_DETAILS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

/* The end of a call. */
struct gx_details {
    enum gx_status status;
    bool from_server;       /* an indexd said so, not the library below us */
    int64_t retry_delay_us; /* the server's wish before another try; 0 = none */
    char text[GX_ERROR_TEXT_MAX];
};

/* Reads the gRPC code, its message and the value of "grpc-status-details-bin" (google.rpc.Status; @bin_len 0 = absent).
 * The ErrorInfo of domain "indexd" decides; without one the code does. Never fails: what can't be read is left out. */
void gx_details_read(int grpc_code, const char *message, size_t message_len, const uint8_t *bin, size_t bin_len,
                     struct gx_details *out);

/* Another try may help: nothing was done, or it may be done twice. */
bool gx_details_is_passing(enum gx_status status);

#endif
