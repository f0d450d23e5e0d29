/* InsertStream: what was acknowledged is there, what was not is there whole or not at all. */
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "raw.h"

#define DIM    128
#define STREAM "/indexd.v1.Records/InsertStream"

static struct gx_served served;
static struct gx_grpc_client raw;
static struct gx_raw_insert insert;

static void begin(void)
{
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "flat");
    gx_grpc_client_open(&raw, served.server.address);
}

static void end(void)
{
    gx_grpc_client_close(&raw);
    gx_served_end(&served);
}

/* Message @i of a stream: three records of the people. */
static void prepare(uint64_t i, const char *gallery)
{
    gx_raw_insert_init(&insert, &served.people, gallery, GX_RAW_RECORDS * i);
}

static bool send_prepared(struct gx_grpc_call *call)
{
    size_t len;
    uint8_t *packed = gx_raw_pack(&insert.request, &len);
    bool sent = gx_grpc_client_send(call, packed, len);
    free(packed);
    return sent;
}

/* The last acknowledgement of the stream, and how it ended. Acknowledgements never go back. */
static int read_to_end(struct gx_grpc_call *call, Indexd__V1__InsertAck *out, struct gx_grpc_reply *reply)
{
    uint8_t *data;
    size_t len;
    indexd__v1__insert_ack__init(out);
    while (gx_grpc_client_receive(call, &data, &len)) {
        Indexd__V1__InsertAck *ack = indexd__v1__insert_ack__unpack(NULL, len, data);
        ck_assert_ptr_nonnull(ack);
        ck_assert_uint_gt(ack->messages, out->messages);
        ck_assert_uint_ge(ack->epoch, out->epoch);
        ck_assert_uint_ge(ack->enrolled, out->enrolled);
        *out = *ack;
        indexd__v1__insert_ack__free_unpacked(ack, NULL);
        free(data);
    }
    return gx_grpc_client_end(call, reply);
}

static void check_message(uint64_t i, bool there)
{
    for (uint64_t row = GX_RAW_RECORDS * i; row < GX_RAW_RECORDS * (i + 1); row++)
        ck_assert_msg(gx_served_has(&served, "g", row) == there, "message %d, row %d", (int)i, (int)row);
}

START_TEST(whole_window_may_be_sent_before_the_first_acknowledgement_is_read)
{
    Indexd__V1__InsertAck ack;
    struct gx_grpc_reply reply;
    begin();
    struct gx_grpc_call *call = gx_grpc_client_begin(&raw, STREAM, GX_GRPC_CLIENT_PATIENT, NULL, NULL);
    for (uint64_t i = 0; i < GX_STREAM_WINDOW_MAX; i++) {
        prepare(i, i == 0 ? "g" : ""); /* the gallery of the first message is that of the stream */
        ck_assert(send_prepared(call));
    }
    ck_assert(gx_grpc_client_half_close(call));
    ck_assert_int_eq(read_to_end(call, &ack, &reply), 0);
    ck_assert_uint_eq(ack.messages, GX_STREAM_WINDOW_MAX);
    ck_assert_uint_eq(ack.enrolled, GX_STREAM_WINDOW_MAX * GX_RAW_RECORDS);
    ck_assert_uint_eq(ack.unchanged, 0);
    for (uint64_t i = 0; i < GX_STREAM_WINDOW_MAX; i++)
        check_message(i, true);
    end();
}
END_TEST

START_TEST(empty_stream_ends_well)
{
    Indexd__V1__InsertAck ack;
    struct gx_grpc_reply reply;
    begin();
    struct gx_grpc_call *call = gx_grpc_client_begin(&raw, STREAM, GX_GRPC_CLIENT_PATIENT, NULL, NULL);
    ck_assert(gx_grpc_client_half_close(call));
    ck_assert_int_eq(read_to_end(call, &ack, &reply), 0);
    ck_assert_uint_eq(ack.messages, 0);
    end();
}
END_TEST

static void spoil_nan(void)
{
    insert.rows[1][7] = NAN;
}

static void spoil_gallery(void)
{
    insert.request.gallery = gx_raw_text("h");
}

static void spoil_content(void)
{
    memcpy(insert.ids[2], "photo-00000000", 15);
}

START_TEST(refused_message_ends_the_stream_after_all_before_it_are_acknowledged)
{
    static const struct {
        void (*spoil)(void);
        enum gx_status status;
    } bad[] = {{spoil_nan, GX_E_INVALID}, {spoil_gallery, GX_E_INVALID}, {spoil_content, GX_E_EXISTS}};
    Indexd__V1__InsertAck ack;
    struct gx_grpc_reply reply;
    begin();
    gx_served_create(&served, "h", "flat");
    struct gx_grpc_call *call = gx_grpc_client_begin(&raw, STREAM, GX_GRPC_CLIENT_PATIENT, NULL, NULL);
    for (uint64_t i = 0; i < 9; i++) {
        prepare(i, "g");
        if (i == 5)
            bad[_i].spoil();
        if (!send_prepared(call))
            break; /* it has been refused already */
    }
    gx_grpc_client_half_close(call);
    read_to_end(call, &ack, &reply);
    gx_raw_check_refused(&reply, bad[_i].status, "message 5");
    ck_assert_uint_eq(ack.messages, 5);
    ck_assert_uint_eq(ack.enrolled, 5 * GX_RAW_RECORDS);
    for (uint64_t i = 0; i < 5; i++)
        check_message(i, true);
    check_message(5, false);
    ck_assert_uint_eq(gx_served_records(&served, "h"), 0);
    /* Sent again without the fault, what was there counts as unchanged. */
    call = gx_grpc_client_begin(&raw, STREAM, GX_GRPC_CLIENT_PATIENT, NULL, NULL);
    for (uint64_t i = 0; i < 9; i++) {
        prepare(i, "g");
        ck_assert(send_prepared(call));
    }
    ck_assert(gx_grpc_client_half_close(call));
    ck_assert_int_eq(read_to_end(call, &ack, &reply), 0);
    ck_assert_uint_eq(ack.messages, 9);
    ck_assert_uint_ge(ack.unchanged, 5 * GX_RAW_RECORDS);
    ck_assert_uint_eq(gx_served_records(&served, "g"), 9 * GX_RAW_RECORDS);
    end();
}
END_TEST

START_TEST(cancelled_stream_loses_only_what_was_not_acknowledged)
{
    begin();
    for (uint64_t round = 0; round < 20; round++) {
        struct gx_grpc_call *call = gx_grpc_client_begin(&raw, STREAM, GX_GRPC_CLIENT_PATIENT, NULL, NULL);
        uint64_t first = 20 * round, acknowledged = 0;
        for (uint64_t i = 0; i < 5 + round % 15; i++) {
            prepare(first + i, "g");
            ck_assert(send_prepared(call));
        }
        uint8_t *data;
        size_t len;
        ck_assert(gx_grpc_client_receive(call, &data, &len));
        Indexd__V1__InsertAck *ack = indexd__v1__insert_ack__unpack(NULL, len, data);
        acknowledged = ack->messages;
        indexd__v1__insert_ack__free_unpacked(ack, NULL);
        free(data);
        gx_grpc_client_cancel(call);
        ck_assert_int_eq(gx_grpc_client_end(call, NULL), 1);
        for (uint64_t i = 0; i < acknowledged; i++)
            check_message(first + i, true);
    }
    end();
}
END_TEST

/* ---------------------------------------------------------------- a client that dies */

#define MESSAGE 250 /* records: 150 KB, so that a kill finds one half sent */

struct shared {
    atomic_uint_least64_t sent, acknowledged;
};

static void stream_until_killed(struct shared *shared)
{
    gx_client_stream *stream;
    struct gx_client_options options = {.server = served.server.address, .retries = -1};
    gx_client *client;
    if (gx_client_open(&options, &client) != GX_OK ||
        gx_client_stream_open(client, "g", GX_SERVED_EMBEDDER, &stream) != GX_OK)
        _exit(1);
    for (uint64_t i = 0;; i++) {
        struct gx_served_batch b;
        uint64_t messages;
        gx_served_make_batch(&served.people, MESSAGE * i, MESSAGE, &b);
        atomic_store(&shared->sent, i + 1);
        if (gx_client_stream_send(stream, b.records, b.rows, b.n, DIM) != GX_OK)
            _exit(2);
        gx_served_free_batch(&b);
        gx_client_stream_acknowledged(stream, &messages, NULL);
        atomic_store(&shared->acknowledged, messages);
    }
}

/* How many of the message's records are there. */
static size_t count_message(uint64_t i)
{
    static char ids[MESSAGE][GX_PEOPLE_ID_MAX];
    const char *list[MESSAGE];
    struct gx_client_records *found;
    for (size_t j = 0; j < MESSAGE; j++) {
        gx_people_record_id(MESSAGE * i + j, ids[j]);
        list[j] = ids[j];
    }
    gx_served_ok(gx_client_record_get(served.client, "g", list, MESSAGE, false, &found));
    size_t n = found->n_records;
    gx_client_records_free(found);
    return n;
}

START_TEST(client_that_dies_in_mid_stream_leaves_no_part_of_a_message)
{
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(shared, MAP_FAILED);
    /* libgrpc does not survive fork: the writer is forked before this process uses it. */
    ck_assert(gx_people_init(&served.people, GX_SERVED_SEED, DIM, GX_SERVED_ROWS));
    gx_server_begin(&served.server);
    gx_server_start(&served.server);
    pid_t creator = fork();
    if (creator == 0) {
        gx_served_connect(&served);
        gx_served_create(&served, "g", "flat");
        _exit(0);
    }
    int status;
    ck_assert_int_eq(waitpid(creator, &status, 0), creator);
    ck_assert_int_eq(status, 0);
    pid_t writer = fork();
    ck_assert_int_ge(writer, 0);
    if (writer == 0)
        stream_until_killed(shared);
    uint64_t enough = 2 + (uint64_t)_i * 3;
    gx_served_wait_until(atomic_load(&shared->acknowledged) >= enough);
    ck_assert_int_eq(kill(writer, SIGKILL), 0);
    ck_assert_int_eq(waitpid(writer, &status, 0), writer);
    ck_assert_int_eq(WTERMSIG(status), SIGKILL);
    uint64_t acknowledged = atomic_load(&shared->acknowledged), sent = atomic_load(&shared->sent);
    /* What was on its way is written, or lost: nothing changes any more. */
    if (_i % 2 == 0)
        gx_server_stop(&served.server);
    else
        gx_server_kill(&served.server);
    gx_server_start(&served.server);
    gx_served_connect(&served);
    for (uint64_t i = 0; i < sent + 2; i++) {
        size_t n = count_message(i);
        ck_assert_msg(n == MESSAGE || (n == 0 && i >= acknowledged), "message %d of %d: %zu records", (int)i,
                      (int)acknowledged, n);
        ck_assert(i < sent || n == 0);
    }
    gx_served_end(&served);
    ck_assert_int_eq(munmap(shared, sizeof(*shared)), 0);
}
END_TEST

START_TEST(library_enrols_many_records_over_one_stream)
{
    gx_client_stream *stream;
    struct gx_client_enrolled enrolled;
    begin();
    gx_served_ok(gx_client_stream_open(served.client, "g", GX_SERVED_EMBEDDER, &stream));
    for (uint64_t i = 0; i < 150; i++) {
        struct gx_served_batch b;
        gx_served_make_batch(&served.people, 20 * i, 20, &b);
        gx_served_ok(gx_client_stream_send(stream, b.records, b.rows, b.n, DIM));
        gx_served_free_batch(&b);
    }
    gx_served_ok(gx_client_stream_close(stream, &enrolled));
    ck_assert_uint_eq(enrolled.enrolled, 3000);
    ck_assert_uint_eq(enrolled.unchanged, 0);
    ck_assert_uint_eq(gx_served_records(&served, "g"), 3000);
    ck_assert(gx_served_finds(&served, "g", 2999, 1));
    end();
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {whole_window_may_be_sent_before_the_first_acknowledgement_is_read, 0},
        {empty_stream_ends_well, 0},
        {refused_message_ends_the_stream_after_all_before_it_are_acknowledged, 3},
        {cancelled_stream_loses_only_what_was_not_acknowledged, 0},
        {client_that_dies_in_mid_stream_leaves_no_part_of_a_message, 4},
        {library_enrols_many_records_over_one_stream, 0},
    };
    return gx_served_run("stream", tests, sizeof(tests) / sizeof(tests[0]));
}
