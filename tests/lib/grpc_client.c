#include "grpc_client.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>
#include <grpc/compression.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <grpc/slice.h>
#include <grpc/support/alloc.h>
#include <grpc/support/time.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DETAILS_KEY "grpc-status-details-bin"

struct gx_grpc_call {
    grpc_call *core;
    grpc_completion_queue *cq;
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice text;
    grpc_byte_buffer *received;
};

static void begin(struct gx_grpc_call *call, const grpc_op *ops, size_t n, void *tag)
{
    grpc_call_error e = grpc_call_start_batch(call->core, ops, n, tag, NULL);
    if (e != GRPC_CALL_OK) {
        fprintf(stderr, "client: start_batch: %s\n", grpc_call_error_to_string(e));
        abort();
    }
}

/* Waits for the operation that was begun with @tag. */
static bool end(struct gx_grpc_call *call, void *tag)
{
    grpc_event event = grpc_completion_queue_pluck(call->cq, tag, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    if (event.type != GRPC_OP_COMPLETE)
        abort();
    return event.success != 0;
}

static void open_channel(struct gx_grpc_client *client, const char *address, grpc_compression_algorithm algorithm)
{
    grpc_arg args[] = {
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_COMPRESSION_CHANNEL_DEFAULT_ALGORITHM,
         .value.integer = (int)algorithm},
        {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, .value.integer = 1},
        {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_RETRIES, .value.integer = 0},
        {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)GRPC_ARG_ENABLE_HTTP_PROXY, .value.integer = 0},
        {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, .value.integer = -1},
        {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, .value.integer = 20000},
        {.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, .value.integer = 100},
        {.type = GRPC_ARG_INTEGER,
         .key = (char *)(uintptr_t)GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS,
         .value.integer = 100},
    };
    grpc_init();
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    client->channel =
        grpc_channel_create(address, credentials, &(grpc_channel_args){sizeof(args) / sizeof(args[0]), args});
    grpc_channel_credentials_release(credentials);
}

void gx_grpc_client_open(struct gx_grpc_client *client, const char *address)
{
    open_channel(client, address, GRPC_COMPRESS_NONE);
}

void gx_grpc_client_open_gzip(struct gx_grpc_client *client, const char *address)
{
    open_channel(client, address, GRPC_COMPRESS_GZIP);
}

void gx_grpc_client_close(struct gx_grpc_client *client)
{
    grpc_channel_destroy(client->channel);
    grpc_shutdown_blocking();
}

static gpr_timespec after_ms(int ms)
{
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis(ms, GPR_TIMESPAN));
}

bool gx_grpc_client_connect(struct gx_grpc_client *client, int timeout_ms)
{
    grpc_completion_queue *cq = grpc_completion_queue_create_for_pluck(NULL);
    gpr_timespec until = after_ms(timeout_ms);
    bool ready = false, in_time = true;
    while (!ready && in_time) {
        grpc_connectivity_state state = grpc_channel_check_connectivity_state(client->channel, 1);
        ready = state == GRPC_CHANNEL_READY;
        if (ready)
            break;
        grpc_channel_watch_connectivity_state(client->channel, state, until, cq, client);
        in_time = grpc_completion_queue_pluck(cq, client, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).success != 0;
    }
    grpc_completion_queue_shutdown(cq);
    grpc_completion_queue_destroy(cq);
    return ready;
}

/* ---------------------------------------------------------------- calls */

static struct gx_grpc_call *new_call(struct gx_grpc_client *client, const char *path, int timeout_ms)
{
    struct gx_grpc_call *call = calloc(1, sizeof(*call));
    if (call == NULL)
        abort();
    call->cq = grpc_completion_queue_create_for_pluck(NULL);
    call->text = grpc_empty_slice();
    grpc_metadata_array_init(&call->initial);
    grpc_metadata_array_init(&call->trailing);
    grpc_slice method = grpc_slice_from_copied_string(path);
    call->core = grpc_channel_create_call(client->channel, NULL, GRPC_PROPAGATE_DEFAULTS, call->cq, method, NULL,
                                          after_ms(timeout_ms), NULL);
    grpc_slice_unref(method);
    return call;
}

static grpc_op receive_status(struct gx_grpc_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_STATUS_ON_CLIENT};
    op.data.recv_status_on_client.status = &call->code;
    op.data.recv_status_on_client.status_details = &call->text;
    op.data.recv_status_on_client.trailing_metadata = &call->trailing;
    return op;
}

static grpc_op receive_initial(struct gx_grpc_call *call)
{
    grpc_op op = {.op = GRPC_OP_RECV_INITIAL_METADATA};
    op.data.recv_initial_metadata.recv_initial_metadata = &call->initial;
    return op;
}

static grpc_byte_buffer *message_of(const void *data, size_t len)
{
    grpc_slice slice = grpc_slice_from_copied_buffer(data, len);
    grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return message;
}

static void take_message(grpc_byte_buffer *message, uint8_t **out_data, size_t *out_len)
{
    grpc_byte_buffer_reader reader;
    if (grpc_byte_buffer_reader_init(&reader, message) == 0)
        abort();
    grpc_slice all = grpc_byte_buffer_reader_readall(&reader);
    *out_len = GRPC_SLICE_LENGTH(all);
    *out_data = malloc(*out_len + 1);
    if (*out_data == NULL)
        abort();
    memcpy(*out_data, GRPC_SLICE_START_PTR(all), *out_len);
    grpc_slice_unref(all);
    grpc_byte_buffer_reader_destroy(&reader);
    grpc_byte_buffer_destroy(message);
}

static void fill_reply(const struct gx_grpc_call *call, struct gx_grpc_reply *reply)
{
    reply->code = (int)call->code;
    size_t n = GRPC_SLICE_LENGTH(call->text);
    n = n < sizeof(reply->text) ? n : sizeof(reply->text) - 1;
    memcpy(reply->text, GRPC_SLICE_START_PTR(call->text), n);
    reply->text[n] = '\0';
    for (size_t i = 0; i < call->trailing.count; i++) {
        const grpc_metadata *m = &call->trailing.metadata[i];
        if (grpc_slice_str_cmp(m->key, DETAILS_KEY) != 0 || GRPC_SLICE_LENGTH(m->value) > sizeof(reply->details))
            continue;
        reply->details_len = GRPC_SLICE_LENGTH(m->value);
        memcpy(reply->details, GRPC_SLICE_START_PTR(m->value), reply->details_len);
    }
}

static void free_call(struct gx_grpc_call *call)
{
    grpc_call_unref(call->core);
    grpc_completion_queue_shutdown(call->cq);
    grpc_completion_queue_destroy(call->cq);
    grpc_metadata_array_destroy(&call->initial);
    grpc_metadata_array_destroy(&call->trailing);
    grpc_slice_unref(call->text);
    free(call);
}

struct gx_grpc_call *gx_grpc_client_begin_unary(struct gx_grpc_client *client, const char *path, const void *data,
                                                size_t len, int timeout_ms)
{
    struct gx_grpc_call *call = new_call(client, path, timeout_ms);
    grpc_byte_buffer *message = data == NULL ? NULL : message_of(data, len);
    grpc_op ops[6] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},
                      {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT},
                      receive_initial(call),
                      receive_status(call),
                      {.op = GRPC_OP_RECV_MESSAGE},
                      {.op = GRPC_OP_SEND_MESSAGE}};
    ops[4].data.recv_message.recv_message = &call->received;
    ops[5].data.send_message.send_message = message;
    begin(call, ops, message == NULL ? 5 : 6, call);
    if (message != NULL)
        grpc_byte_buffer_destroy(message);
    return call;
}

int gx_grpc_client_end_unary(struct gx_grpc_call *call, struct gx_grpc_reply *out_reply)
{
    struct gx_grpc_reply reply = {0};
    (void)end(call, call);
    fill_reply(call, &reply);
    if (call->received != NULL)
        take_message(call->received, &reply.data, &reply.len);
    free_call(call);
    if (out_reply != NULL)
        *out_reply = reply;
    else
        gx_grpc_client_free_reply(&reply);
    return reply.code;
}

int gx_grpc_client_unary(struct gx_grpc_client *client, const char *path, const void *data, size_t len, int timeout_ms,
                         struct gx_grpc_reply *out_reply)
{
    return gx_grpc_client_end_unary(gx_grpc_client_begin_unary(client, path, data, len, timeout_ms), out_reply);
}

void gx_grpc_client_free_reply(struct gx_grpc_reply *reply)
{
    free(reply->data);
    reply->data = NULL;
}

struct gx_grpc_call *gx_grpc_client_begin(struct gx_grpc_client *client, const char *path, int timeout_ms,
                                          const char *key, const char *value)
{
    struct gx_grpc_call *call = new_call(client, path, timeout_ms);
    grpc_metadata header = {0};
    grpc_op send = {.op = GRPC_OP_SEND_INITIAL_METADATA};
    if (key != NULL) {
        header.key = grpc_slice_from_copied_string(key);
        header.value = grpc_slice_from_copied_string(value);
        send.data.send_initial_metadata.count = 1;
        send.data.send_initial_metadata.metadata = &header;
    }
    grpc_op receive[2] = {receive_initial(call), receive_status(call)};
    begin(call, receive, 2, &call->code);
    begin(call, &send, 1, &call->initial);
    if (key != NULL) {
        grpc_slice_unref(header.key);
        grpc_slice_unref(header.value);
    }
    (void)end(call, &call->initial);
    return call;
}

bool gx_grpc_client_send(struct gx_grpc_call *call, const void *data, size_t len)
{
    grpc_byte_buffer *message = message_of(data, len);
    grpc_op op = {.op = GRPC_OP_SEND_MESSAGE};
    op.data.send_message.send_message = message;
    begin(call, &op, 1, &call->cq);
    bool ok = end(call, &call->cq);
    grpc_byte_buffer_destroy(message);
    return ok;
}

bool gx_grpc_client_half_close(struct gx_grpc_call *call)
{
    grpc_op op = {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT};
    begin(call, &op, 1, &call->cq);
    return end(call, &call->cq);
}

bool gx_grpc_client_receive(struct gx_grpc_call *call, uint8_t **out_data, size_t *out_len)
{
    grpc_op op = {.op = GRPC_OP_RECV_MESSAGE};
    call->received = NULL;
    op.data.recv_message.recv_message = &call->received;
    begin(call, &op, 1, &call->received);
    if (!end(call, &call->received) || call->received == NULL)
        return false;
    take_message(call->received, out_data, out_len);
    call->received = NULL;
    return true;
}

void gx_grpc_client_cancel(struct gx_grpc_call *call)
{
    (void)grpc_call_cancel(call->core, NULL);
}

int gx_grpc_client_end(struct gx_grpc_call *call, struct gx_grpc_reply *out_reply)
{
    struct gx_grpc_reply reply = {0};
    (void)end(call, &call->code);
    fill_reply(call, &reply);
    free_call(call);
    if (out_reply != NULL)
        *out_reply = reply;
    return reply.code;
}

bool gx_grpc_client_await(bool (*holds)(void *arg), void *arg)
{
    for (int i = 0; i < 60000; i++) {
        if (holds(arg))
            return true;
        (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return false;
}
