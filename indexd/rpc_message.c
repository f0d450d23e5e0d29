/* A message from the client: measured when it comes, used where it lies, wiped when it goes. */
#include "rpc_private.h"

#include <grpc/byte_buffer_reader.h>
#include <stdlib.h>

enum gx_status gx_rpc_message_take(struct gx_call *call, struct gx_err *err)
{
    if (call->in == NULL)
        return gx_fail(err, GX_E_INVALID, "the request has no message: send one");
    call->in_len = grpc_byte_buffer_length(call->in);
    /* libgrpc ends the call as well, but beside us: it may still give the bytes as they came. */
    bool packed = call->in->data.raw.compression != GRPC_COMPRESS_NONE;
    size_t held = atomic_fetch_add(&call->rpc->bytes_held, call->in_len) + call->in_len;
    if (packed)
        return gx_fail(err, GX_E_UNIMPLEMENTED, "compressed messages are not taken: send them as they are");
    if (call->in_len > call->method->max_message)
        return gx_fail(err, GX_E_TOO_LARGE, "the message has %zu bytes, this method takes %zu: send less at a time",
                       call->in_len, call->method->max_message);
    /* Before any work is done for it. What clients do not take counts as well, or a few could fill the memory. */
    if (held + gx_rpc_call_replies_held() > GX_RPC_BYTES_MAX) {
        (void)atomic_fetch_add(&call->rpc->n_busy, 1);
        return gx_fail(err, GX_E_BUSY, "too many bytes of requests and untaken replies are under way: try again later");
    }
    return GX_OK;
}

enum gx_status gx_rpc_message_open(struct gx_call *call, struct gx_slice *out_message, struct gx_err *err)
{
    *out_message = (struct gx_slice){(const uint8_t *)"", 0};
    if (call->in_len == 0)
        return GX_OK;
    grpc_byte_buffer_reader reader;
    grpc_slice *piece;
    if (grpc_byte_buffer_reader_init(&reader, call->in) == 0)
        return gx_fail(err, GX_E_INVALID, "the message cannot be decompressed: send it as it is");
    size_t len = 0;
    while (grpc_byte_buffer_reader_peek(&reader, &piece) != 0) {
        size_t n = GRPC_SLICE_LENGTH(*piece);
        if (n == call->in_len) { /* the usual case: in one piece, used where it lies */
            *out_message = (struct gx_slice){GRPC_SLICE_START_PTR(*piece), n};
            break;
        }
        if (call->flat == NULL && (call->flat = malloc(call->in_len)) == NULL)
            break;
        memcpy(call->flat + len, GRPC_SLICE_START_PTR(*piece), n);
        len += n;
    }
    grpc_byte_buffer_reader_destroy(&reader);
    if (out_message->len > 0)
        return GX_OK;
    if (call->flat == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for a message of %zu bytes: try again later", call->in_len);
    *out_message = (struct gx_slice){call->flat, call->flat_len = len};
    return GX_OK;
}

/* Messages carry embeddings, and what libgrpc frees it does not wipe. The bytes of a message are its own, though the
 * buffer around them is shared. */
static void wipe_pieces(grpc_byte_buffer *message)
{
    grpc_byte_buffer_reader reader;
    grpc_slice *piece;
    if (grpc_byte_buffer_reader_init(&reader, message) == 0)
        return;
    while (grpc_byte_buffer_reader_peek(&reader, &piece) != 0)
        explicit_bzero(GRPC_SLICE_START_PTR(*piece), GRPC_SLICE_LENGTH(*piece));
    grpc_byte_buffer_reader_destroy(&reader);
}

void gx_rpc_message_drop(struct gx_call *call)
{
    if (call->flat != NULL) {
        explicit_bzero(call->flat, call->in_len);
        free(call->flat);
        call->flat = NULL;
    }
    if (call->in == NULL)
        return;
    wipe_pieces(call->in);
    grpc_byte_buffer_destroy(call->in);
    call->in = NULL;
    (void)atomic_fetch_sub(&call->rpc->bytes_held, call->in_len);
    call->in_len = 0;
}
