#include "call_load.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/slice.h>
#include <grpc/support/time.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "grpc_client.h"

#define SAMPLES_MAX ((size_t)1 << 20) /* latencies kept; later ones are counted only */

struct one {
    grpc_call *core;
    grpc_metadata_array initial, trailing;
    grpc_status_code code;
    grpc_slice text;
    grpc_byte_buffer *received;
    int64_t began_us;
};

struct load {
    const struct gx_call_load *in;
    struct gx_grpc_client client;
    grpc_completion_queue *cq;
    void *method; /* registered */
    grpc_slice *messages;
    size_t next; /* message */
    struct one calls[GX_CALL_LOAD_MAX];
    float *samples;
    size_t n_samples;
};

static void fail(const char *what)
{
    fprintf(stderr, "call load: %s\n", what);
    abort();
}

static void begin(struct load *load, struct one *one)
{
    one->text = grpc_empty_slice();
    one->received = NULL;
    grpc_metadata_array_init(&one->initial);
    grpc_metadata_array_init(&one->trailing);
    one->began_us = gx_clock_monotonic_us();
    one->core = grpc_channel_create_registered_call(load->client.channel, NULL, GRPC_PROPAGATE_DEFAULTS, load->cq,
                                                    load->method, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_op ops[6] = {{.op = GRPC_OP_SEND_INITIAL_METADATA},  {.op = GRPC_OP_SEND_MESSAGE},
                      {.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT}, {.op = GRPC_OP_RECV_INITIAL_METADATA},
                      {.op = GRPC_OP_RECV_MESSAGE},           {.op = GRPC_OP_RECV_STATUS_ON_CLIENT}};
    grpc_byte_buffer *message = grpc_raw_byte_buffer_create(&load->messages[load->next], 1); /* libgrpc empties it */
    load->next = (load->next + 1) % load->in->n_messages;
    ops[1].data.send_message.send_message = message;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &one->initial;
    ops[4].data.recv_message.recv_message = &one->received;
    ops[5].data.recv_status_on_client.status = &one->code;
    ops[5].data.recv_status_on_client.status_details = &one->text;
    ops[5].data.recv_status_on_client.trailing_metadata = &one->trailing;
    if (grpc_call_start_batch(one->core, ops, 6, one, NULL) != GRPC_CALL_OK)
        fail("start_batch");
    grpc_byte_buffer_destroy(message);
}

/* The call that has ended next; the length of its reply. */
static struct one *end(struct load *load, size_t *out_len)
{
    grpc_event event = grpc_completion_queue_next(load->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    struct one *one = event.tag;
    if (event.type != GRPC_OP_COMPLETE || one->code != GRPC_STATUS_OK || one->received == NULL) {
        if (event.type == GRPC_OP_COMPLETE)
            fprintf(stderr, "call load: status %d %.*s\n", (int)one->code, (int)GRPC_SLICE_LENGTH(one->text),
                    (const char *)GRPC_SLICE_START_PTR(one->text));
        fail("a call failed");
    }
    *out_len = grpc_byte_buffer_length(one->received);
    grpc_byte_buffer_destroy(one->received);
    grpc_metadata_array_destroy(&one->initial);
    grpc_metadata_array_destroy(&one->trailing);
    grpc_slice_unref(one->text);
    grpc_call_unref(one->core);
    return one;
}

static void open_load(struct load *load)
{
    gx_grpc_client_open(&load->client, load->in->address);
    if (!gx_grpc_client_connect(&load->client, 10000))
        fail("no connection");
    load->cq = grpc_completion_queue_create_for_next(NULL);
    load->method = grpc_channel_register_call(load->client.channel, load->in->path, NULL, NULL);
    load->messages = calloc(load->in->n_messages, sizeof(*load->messages));
    for (size_t i = 0; i < load->in->n_messages && load->messages != NULL; i++)
        load->messages[i] =
            grpc_slice_from_copied_buffer((const char *)load->in->messages + i * load->in->len, load->in->len);
    load->samples = malloc(SAMPLES_MAX * sizeof(*load->samples));
    if (load->samples == NULL || load->messages == NULL)
        fail("out of memory");
}

static void close_load(struct load *load)
{
    grpc_completion_queue_shutdown(load->cq);
    while (grpc_completion_queue_next(load->cq, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type != GRPC_QUEUE_SHUTDOWN)
        continue;
    grpc_completion_queue_destroy(load->cq);
    for (size_t i = 0; i < load->in->n_messages; i++)
        grpc_slice_unref(load->messages[i]);
    free(load->messages);
    gx_grpc_client_close(&load->client);
    free(load->samples);
    free(load);
}

/* Until @until_us; as many calls as before are under way afterwards. */
static uint64_t keep_up(struct load *load, int64_t until_us, size_t *out_len)
{
    uint64_t n = 0;
    for (int64_t now_us = 0; now_us < until_us;) {
        struct one *one = end(load, out_len);
        now_us = gx_clock_monotonic_us();
        if (load->n_samples < SAMPLES_MAX)
            load->samples[load->n_samples++] = (float)(now_us - one->began_us);
        begin(load, one);
        n++;
    }
    return n;
}

static int compare_floats(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void measure(struct load *load, struct gx_call_load_figures *out)
{
    double cpu_us[GX_CALL_LOAD_RUNS];
    int64_t start_us = gx_clock_monotonic_us();
    load->n_samples = 0;
    out->n_calls = 0;
    for (size_t i = 0; i < GX_CALL_LOAD_RUNS; i++) {
        double cpu_s = load->in->cpu_s();
        uint64_t n = keep_up(load, gx_clock_monotonic_us() + load->in->run_us, &out->reply_len);
        cpu_us[i] = (load->in->cpu_s() - cpu_s) * 1e6 / (double)n;
        out->n_calls += n;
    }
    out->calls_per_s = (double)out->n_calls * 1e6 / (double)(gx_clock_monotonic_us() - start_us);
    qsort(cpu_us, GX_CALL_LOAD_RUNS, sizeof(*cpu_us), compare_doubles);
    out->best_cpu_us = cpu_us[0];
    out->server_cpu_us = cpu_us[GX_CALL_LOAD_RUNS / 2];
    qsort(load->samples, load->n_samples, sizeof(*load->samples), compare_floats);
    out->p50_us = (double)load->samples[load->n_samples / 2];
    out->p99_us = (double)load->samples[load->n_samples * 99 / 100];
}

void gx_call_load_run(const struct gx_call_load *in, struct gx_call_load_figures *out)
{
    struct load *load = calloc(1, sizeof(*load));
    if (load == NULL || in->n_at_a_time < 1 || in->n_at_a_time > GX_CALL_LOAD_MAX || in->n_messages < 1)
        fail("1 to 256 calls at a time, and something to send");
    load->in = in;
    open_load(load);
    for (unsigned i = 0; i < in->n_at_a_time; i++)
        begin(load, &load->calls[i]);
    (void)keep_up(load, gx_clock_monotonic_us() + in->warm_up_us, &out->reply_len);
    measure(load, out);
    for (unsigned i = 0; i < in->n_at_a_time; i++)
        (void)end(load, &out->reply_len);
    close_load(load);
}
