/* The methods over the wire: a real server with real galleries, and a client on libgrpc in the same process. */
#include <stdio.h>
#include <stdlib.h>

#include "health.h"
#include "indexd/v1/expungement.pb-c.h"
#include "indexd/v1/records.pb-c.h"
#include "indexd/v1/search.pb-c.h"
#include "room.h"
#include "routes.h"
#include "rpc_scene.h"

#define ROW_LEN (GX_ROOM_DIM * sizeof(float))

static struct gx_room room;
static struct gx_app app;
static struct gx_rpc_scene scene;

static void begin(void)
{
    struct gx_err err;
    size_t n_routes;
    const struct gx_route *routes = gx_routes_table(&n_routes);
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    app.galleries = room.galleries;
    ck_assert_int_eq(gx_routes_begin(&app, &err), GX_OK);
    gx_rpc_scene_start(&scene, (struct gx_rpc_options){.n_workers = 2}, routes, n_routes, &app);
    ck_assert(gx_grpc_client_connect(&scene.client, PATIENT)); /* on a busy machine that takes more than one try */
}

static void end(void)
{
    gx_rpc_scene_stop(&scene);
    gx_routes_end(&app);
    gx_room_end(&room);
}

/* --- messages --- */

static ProtobufCBinaryData text(const char *s)
{
    return (ProtobufCBinaryData){strlen(s), (uint8_t *)(uintptr_t)s};
}

static bool reads(ProtobufCBinaryData field, const char *s)
{
    return gx_slice_equal((struct gx_slice){field.data, field.len}, gx_slice_text(s));
}

static uint8_t *pack(const void *message, size_t *out_len)
{
    *out_len = protobuf_c_message_get_packed_size(message);
    uint8_t *data = malloc(*out_len + 1);
    ck_assert_ptr_nonnull(data);
    (void)protobuf_c_message_pack(message, data);
    return data;
}

/* A unary call: its code; the reply unpacked where it is OK and @type is given. */
static int ask(const char *path, const void *message, const ProtobufCMessageDescriptor *type, void *out_reply,
               char out_text[512])
{
    struct gx_grpc_reply reply;
    size_t len;
    uint8_t *data = pack(message, &len);
    int code = gx_grpc_client_unary(&scene.client, path, data, len, PATIENT, &reply);
    if (code == OK && type != NULL) {
        ProtobufCMessage *unpacked = protobuf_c_message_unpack(type, NULL, reply.len, reply.data);
        ck_assert_ptr_nonnull(unpacked);
        memcpy(out_reply, &unpacked, sizeof(unpacked));
    }
    if (out_text != NULL)
        (void)snprintf(out_text, 512, "%s", reply.text);
    gx_grpc_client_free_reply(&reply);
    free(data);
    return code;
}

/* false: the call is over. */
static bool try_send(struct gx_grpc_call *call, const void *message)
{
    size_t len;
    uint8_t *data = pack(message, &len);
    bool sent = gx_grpc_client_send(call, data, len);
    free(data);
    return sent;
}

static void send_message(struct gx_grpc_call *call, const void *message)
{
    ck_assert(try_send(call, message));
}

static bool receive(struct gx_grpc_call *call, const ProtobufCMessageDescriptor *type, void *out_message)
{
    uint8_t *data;
    size_t len;
    if (!gx_grpc_client_receive(call, &data, &len))
        return false;
    ProtobufCMessage *unpacked = protobuf_c_message_unpack(type, NULL, len, data);
    ck_assert_ptr_nonnull(unpacked);
    memcpy(out_message, &unpacked, sizeof(unpacked));
    free(data);
    return true;
}

/* One row of the people as an InsertRequest. */
struct insert {
    Indexd__V1__InsertRequest request;
    Indexd__V1__NewRecord new_record, *new_records[1];
    Indexd__V1__Record record;
    Indexd__V1__Embedding embedding;
    Indexd__V1__Embedder embedder;
    char id[GX_ID_MAX + 1];
    float row[GX_ROOM_DIM];
};

static Indexd__V1__Embedder *make_embedder(Indexd__V1__Embedder *out)
{
    indexd__v1__embedder__init(out);
    out->id = text("e");
    out->version = text("1");
    return out;
}

static void make_embedding(uint64_t row, float out_row[GX_ROOM_DIM], Indexd__V1__Embedder *embedder,
                           Indexd__V1__Embedding *out)
{
    gx_people_row(&room.people, row, out_row, NULL);
    indexd__v1__embedding__init(out);
    out->f32le = (ProtobufCBinaryData){ROW_LEN, (uint8_t *)out_row};
    out->embedder = make_embedder(embedder);
}

static void make_insert(uint64_t row, const char *gallery, struct insert *out)
{
    indexd__v1__insert_request__init(&out->request);
    indexd__v1__new_record__init(&out->new_record);
    indexd__v1__record__init(&out->record);
    make_embedding(row, out->row, &out->embedder, &out->embedding);
    (void)snprintf(out->id, sizeof(out->id), "photo-%05u", (unsigned)row);
    out->record.record_id = text(out->id);
    out->new_record.record = &out->record;
    out->new_record.embedding = &out->embedding;
    out->new_records[0] = &out->new_record;
    out->request.gallery = text(gallery);
    out->request.n_records = 1;
    out->request.records = out->new_records;
}

static uint64_t count_records(void)
{
    struct gx_gallery_info info;
    ck_assert_int_eq(gx_galleries_describe(room.galleries, gx_slice_text("g"), &info, NULL), GX_OK);
    return info.records;
}

/* --- unary --- */

static int search_row(uint64_t row, uint32_t k, Indexd__V1__SearchResponse **out)
{
    float values[GX_ROOM_DIM];
    Indexd__V1__Embedder embedder;
    Indexd__V1__Embedding probe;
    Indexd__V1__SearchOptions options;
    Indexd__V1__SearchRequest request;
    make_embedding(row, values, &embedder, &probe);
    indexd__v1__search_options__init(&options);
    options.k = k;
    indexd__v1__search_request__init(&request);
    request.gallery = text("g");
    request.probe = &probe;
    request.options = &options;
    return ask("/indexd.v1.Search/Search", &request, &indexd__v1__search_response__descriptor, out, NULL);
}

START_TEST(inserted_record_is_found_by_a_search_at_once)
{
    Indexd__V1__InsertResponse *inserted;
    Indexd__V1__SearchResponse *found;
    struct insert insert;
    begin();
    for (uint64_t row = 0; row < 20; row++) {
        make_insert(row, "g", &insert);
        ck_assert_int_eq(ask("/indexd.v1.Records/Insert", &insert.request, &indexd__v1__insert_response__descriptor,
                             &inserted, NULL),
                         OK);
        ck_assert(inserted->enrolled == 1 && inserted->unchanged == 0);
        ck_assert_int_eq(search_row(row, 3, &found), OK);
        ck_assert_uint_eq(found->n_candidates, GX_MIN(row + 1, 3u));
        ck_assert(found->candidates[0]->rank == 1 && reads(found->candidates[0]->record_id, insert.id));
        ck_assert_float_eq_tol(found->candidates[0]->cosine, 1, 1e-6f);
        ck_assert(found->stats->exhaustive && found->stats->epoch == inserted->epoch);
        ck_assert(reads(found->notice, GX_LEAD_ONLY_NOTICE));
        protobuf_c_message_free_unpacked(&found->base, NULL);
        protobuf_c_message_free_unpacked(&inserted->base, NULL);
    }
    end();
}
END_TEST

START_TEST(refused_calls_end_with_their_code_and_a_text_that_names_the_field)
{
    char why[512];
    struct insert insert;
    Indexd__V1__SearchResponse *found;
    begin();
    ck_assert_int_eq(search_row(0, GX_K_MAX + 1, &found), INVALID_ARGUMENT);
    make_insert(0, "nowhere", &insert);
    ck_assert_int_eq(ask("/indexd.v1.Records/Insert", &insert.request, NULL, NULL, NULL), NOT_FOUND);
    make_insert(0, "g", &insert);
    insert.record.record_id.len = 0;
    ck_assert_int_eq(ask("/indexd.v1.Records/Insert", &insert.request, NULL, NULL, why), INVALID_ARGUMENT);
    ck_assert_msg(strstr(why, "records[0]: record_id") != NULL, "%s", why);
    ck_assert_uint_eq(count_records(), 0);
    end();
}
END_TEST

START_TEST(reply_that_no_client_takes_is_refused_and_says_what_to_do)
{
    enum { N_ROWS = 390, N_PROBES = 256 };
    static float rows[N_PROBES][GX_ROOM_DIM];
    static Indexd__V1__Embedding probes[N_PROBES], *probe_pointers[N_PROBES];
    static struct insert inserts[N_ROWS];
    static Indexd__V1__NewRecord *all[N_ROWS];
    Indexd__V1__Embedder embedder;
    Indexd__V1__SearchOptions options;
    Indexd__V1__BatchSearchRequest request;
    char why[512];
    begin();
    for (size_t i = 0; i < N_ROWS; i++) {
        make_insert(i, "g", &inserts[i]);
        (void)snprintf(inserts[i].id, sizeof(inserts[i].id), "%0*zu", GX_ID_MAX, i);
        inserts[i].record.record_id.len = GX_ID_MAX;
        inserts[i].record.subject_id = inserts[i].record.arrest_id = inserts[i].record.record_id;
        all[i] = &inserts[i].new_record;
    }
    inserts[0].request.n_records = N_ROWS;
    inserts[0].request.records = all;
    ck_assert_int_eq(ask("/indexd.v1.Records/Insert", &inserts[0].request, NULL, NULL, NULL), OK);
    for (size_t i = 0; i < N_PROBES; i++) {
        make_embedding(i, rows[i], &embedder, &probes[i]);
        probe_pointers[i] = &probes[i];
    }
    indexd__v1__search_options__init(&options);
    options.k = N_ROWS;
    indexd__v1__batch_search_request__init(&request);
    request.gallery = text("g");
    request.options = &options;
    request.n_probes = N_PROBES;
    request.probes = probe_pointers;
    ck_assert_int_eq(ask("/indexd.v1.Search/BatchSearch", &request, NULL, NULL, why), RESOURCE_EXHAUSTED);
    ck_assert_msg(strstr(why, "ask for less") != NULL, "%s", why);
    end();
}
END_TEST

/* --- StreamSearch --- */

static bool search_on(struct gx_grpc_call *call, uint64_t tag, uint64_t row, const char *gallery,
                      Indexd__V1__StreamSearchResponse **out)
{
    float values[GX_ROOM_DIM];
    Indexd__V1__Embedder embedder;
    Indexd__V1__Embedding probe;
    Indexd__V1__SearchRequest search;
    Indexd__V1__StreamSearchRequest request;
    make_embedding(row, values, &embedder, &probe);
    indexd__v1__search_request__init(&search);
    search.gallery = text(gallery);
    search.probe = &probe;
    indexd__v1__stream_search_request__init(&request);
    request.tag = tag;
    request.request = &search;
    send_message(call, &request);
    return receive(call, &indexd__v1__stream_search_response__descriptor, out);
}

START_TEST(bad_request_of_a_search_stream_is_answered_and_the_stream_goes_on)
{
    Indexd__V1__StreamSearchResponse *answer;
    begin();
    gx_room_fill(&room, "g", 10);
    struct gx_grpc_call *call =
        gx_grpc_client_begin(&scene.client, "/indexd.v1.Search/StreamSearch", PATIENT, NULL, NULL);
    for (uint64_t tag = 1; tag <= 9; tag++) {
        bool bad = tag % 3 == 0;
        ck_assert(search_on(call, tag, tag, bad ? "nowhere" : "g", &answer));
        ck_assert_uint_eq(answer->tag, tag);
        if (bad) {
            ck_assert_int_eq(answer->result_case, INDEXD__V1__STREAM_SEARCH_RESPONSE__RESULT_ERROR);
            ck_assert(answer->error->code == NOT_FOUND && reads(answer->error->reason, "NOT_FOUND"));
        } else {
            ck_assert_int_eq(answer->result_case, INDEXD__V1__STREAM_SEARCH_RESPONSE__RESULT_RESPONSE);
            ck_assert_uint_eq(answer->response->n_candidates, 10);
        }
        protobuf_c_message_free_unpacked(&answer->base, NULL);
    }
    ck_assert(gx_grpc_client_half_close(call));
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), OK);
    call = gx_grpc_client_begin(&scene.client, "/indexd.v1.Search/StreamSearch", PATIENT, NULL, NULL);
    ck_assert(gx_grpc_client_send(call, "\x12\x7f", 2)); /* no message: whose answer would it be? */
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), INVALID_ARGUMENT);
    end();
}
END_TEST

/* --- InsertStream --- */

static struct gx_grpc_call *begin_inserts(void)
{
    return gx_grpc_client_begin(&scene.client, "/indexd.v1.Records/InsertStream", PATIENT, NULL, NULL);
}

/* Reads acknowledgements, which only ever grow, until @messages are acknowledged or there are no more; the last. */
static Indexd__V1__InsertAck read_acks(struct gx_grpc_call *call, uint64_t messages)
{
    Indexd__V1__InsertAck last, *ack;
    indexd__v1__insert_ack__init(&last);
    while (last.messages < messages && receive(call, &indexd__v1__insert_ack__descriptor, &ack)) {
        ck_assert(ack->messages > last.messages && ack->epoch >= last.epoch);
        ck_assert_uint_eq(ack->enrolled + ack->unchanged, ack->messages);
        last = *ack;
        protobuf_c_message_free_unpacked(&ack->base, NULL);
    }
    return last;
}

START_TEST(every_message_of_an_insert_stream_is_acknowledged_once_it_is_durable)
{
    struct insert insert;
    begin();
    struct gx_grpc_call *call = begin_inserts();
    for (uint64_t row = 0; row < 50; row++) { /* only the first names the gallery */
        make_insert(row, row == 0 ? "g" : "", &insert);
        send_message(call, &insert.request);
    }
    Indexd__V1__InsertAck ack = read_acks(call, 50); /* without half-close: nothing is kept back */
    ck_assert_uint_eq(ack.messages, 50);
    ck_assert_uint_eq(ack.enrolled, 50);
    ck_assert_uint_eq(count_records(), 50);
    make_insert(0, "", &insert);
    send_message(call, &insert.request);
    ck_assert(gx_grpc_client_half_close(call));
    Indexd__V1__InsertAck *last;
    ck_assert(receive(call, &indexd__v1__insert_ack__descriptor, &last));
    ck_assert(last->messages == 51 && last->enrolled == 50 && last->unchanged == 1);
    protobuf_c_message_free_unpacked(&last->base, NULL);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), OK);
    end();
}
END_TEST

START_TEST(client_that_reads_only_at_the_end_gets_every_acknowledgement)
{
    enum { N = 2000 };
    struct insert insert;
    begin();
    struct gx_grpc_call *call = begin_inserts();
    for (uint64_t row = 0; row < N; row++) {
        make_insert(row, "g", &insert);
        send_message(call, &insert.request);
    }
    ck_assert(gx_grpc_client_half_close(call));
    ck_assert_uint_eq(read_acks(call, UINT64_MAX).messages, N);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), OK);
    ck_assert_uint_eq(count_records(), N);
    end();
}
END_TEST

START_TEST(empty_insert_stream_ends_well)
{
    begin();
    struct gx_grpc_call *call = begin_inserts();
    ck_assert(gx_grpc_client_half_close(call));
    ck_assert_uint_eq(read_acks(call, 1).messages, 0);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), OK);
    end();
}
END_TEST

/* How message N_GOOD of a stream is wrong, and where that is found out. */
static int spoil(int how, struct insert *insert)
{
    static Indexd__V1__NewRecord *twice[2];
    switch (how) {
    case 0: /* by wire */ insert->record.record_id.len = 0; return INVALID_ARGUMENT;
    case 1: /* by wire */ insert->request.gallery = text("h"); return INVALID_ARGUMENT;
    case 2: /* at submit */
        twice[0] = twice[1] = &insert->new_record;
        insert->request.records = twice;
        insert->request.n_records = 2;
        return INVALID_ARGUMENT;
    case 3: /* at submit */ insert->embedding.f32le.len -= sizeof(float); return INVALID_ARGUMENT;
    default: /* by the writer */ insert->record.record_id = text("photo-00000"); return 6 /* ALREADY_EXISTS */;
    }
}

START_TEST(refused_message_ends_the_stream_and_what_was_before_it_is_acknowledged)
{
    enum { N_GOOD = 21, N_BEHIND = 20 };
    for (int how = 0; how < 5; how++) {
        struct insert insert;
        begin();
        struct gx_grpc_call *call = begin_inserts();
        for (uint64_t row = 0; row < N_GOOD; row++) {
            make_insert(row, "g", &insert);
            send_message(call, &insert.request);
        }
        make_insert(N_GOOD, "g", &insert);
        int code = spoil(how, &insert);
        send_message(call, &insert.request);
        for (uint64_t row = 0; row < N_BEHIND; row++) { /* may be enrolled, is never acknowledged */
            make_insert(N_GOOD + row, "g", &insert);
            if (!try_send(call, &insert.request))
                break;
        }
        ck_assert_msg(read_acks(call, UINT64_MAX).messages == N_GOOD, "refusal %d", how);
        ck_assert_int_eq(gx_grpc_client_end(call, NULL), code);
        gx_rpc_scene_await_open(&scene, 0);
        ck_assert_uint_ge(count_records(), N_GOOD);
        ck_assert_uint_le(count_records(), N_GOOD + N_BEHIND);
        end();
    }
}
END_TEST

START_TEST(broken_insert_stream_keeps_what_was_acknowledged_and_lets_the_server_go)
{
    struct insert insert;
    begin();
    struct gx_grpc_call *call = begin_inserts();
    for (uint64_t row = 0; row < 30; row++) {
        make_insert(row, "g", &insert);
        send_message(call, &insert.request);
    }
    uint64_t n_acked = read_acks(call, 1).messages;
    gx_grpc_client_cancel(call);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), CANCELLED);
    gx_rpc_scene_await_open(&scene, 0);
    ck_assert_uint_ge(n_acked, 1);
    ck_assert_uint_ge(count_records(), n_acked);
    end(); /* returns: no call is left over */
}
END_TEST

/* --- WatchTicket --- */

static struct gx_grpc_call *begin_watch(const char *ticket)
{
    Indexd__V1__GetTicketRequest request;
    indexd__v1__get_ticket_request__init(&request);
    request.ticket_id = text(ticket);
    struct gx_grpc_call *call =
        gx_grpc_client_begin(&scene.client, "/indexd.v1.Expungement/WatchTicket", PATIENT, NULL, NULL);
    send_message(call, &request);
    ck_assert(gx_grpc_client_half_close(call));
    return call;
}

static void expunge_row(uint64_t row, char out_ticket[GX_TICKET_TEXT_MAX])
{
    char id[GX_PEOPLE_ID_MAX];
    ProtobufCBinaryData ids[1];
    Indexd__V1__ExpungeRequest request;
    Indexd__V1__ExpungeResponse *expunged;
    gx_people_record_id(row, id);
    ids[0] = text(id);
    indexd__v1__expunge_request__init(&request);
    request.gallery = text("g");
    request.kind = INDEXD__V1__ID_KIND__ID_KIND_RECORD;
    request.n_ids = 1;
    request.ids = ids;
    request.order_ref = text("order 1");
    ck_assert_int_eq(
        ask("/indexd.v1.Expungement/Expunge", &request, &indexd__v1__expunge_response__descriptor, &expunged, NULL),
        OK);
    ck_assert(expunged->records == 1 && expunged->unmatched_ids == 0);
    (void)snprintf(out_ticket, GX_TICKET_TEXT_MAX, "%.*s", (int)expunged->ticket->ticket_id.len,
                   (const char *)expunged->ticket->ticket_id.data);
    protobuf_c_message_free_unpacked(&expunged->base, NULL);
}

/* Reads the ticket's states to the end of the stream: they only go forward, and none comes twice. */
static void assert_watched_to_the_end(struct gx_grpc_call *call, const char *id)
{
    Indexd__V1__Ticket *ticket;
    int state = 0;
    while (receive(call, &indexd__v1__ticket__descriptor, &ticket)) {
        ck_assert(reads(ticket->ticket_id, id) && ticket->records == 1 && ticket->accepted_at_us > 0);
        ck_assert_int_gt((int)ticket->state, state);
        state = (int)ticket->state;
        protobuf_c_message_free_unpacked(&ticket->base, NULL);
    }
    ck_assert_int_eq(state, INDEXD__V1__TICKET_STATE__TICKET_STATE_VERIFIED);
    ck_assert_int_eq(gx_grpc_client_end(call, NULL), OK);
}

START_TEST(watch_tells_of_a_ticket_until_it_is_final)
{
    char id[GX_TICKET_TEXT_MAX];
    begin();
    gx_room_fill(&room, "g", 20);
    for (uint64_t row = 0; row < 10; row++) {
        struct gx_grpc_call *watchers[4];
        expunge_row(row, id);
        for (size_t i = 0; i < GX_COUNT_OF(watchers); i++)
            watchers[i] = begin_watch(id);
        for (size_t i = 0; i < GX_COUNT_OF(watchers); i++)
            assert_watched_to_the_end(watchers[i], id);
    }
    assert_watched_to_the_end(begin_watch(id), id); /* one that is final already: told once */
    ck_assert_int_eq(gx_grpc_client_end(begin_watch("T-00000099"), NULL), NOT_FOUND);
    ck_assert_int_eq(gx_grpc_client_end(begin_watch("99"), NULL), INVALID_ARGUMENT);
    end();
}
END_TEST

START_TEST(watch_that_is_broken_off_leaves_nothing_behind)
{
    char id[GX_TICKET_TEXT_MAX];
    begin();
    gx_room_fill(&room, "g", 20);
    for (uint64_t row = 0; row < 10; row++) {
        expunge_row(row, id);
        struct gx_grpc_call *watcher = begin_watch(id);
        gx_grpc_client_cancel(watcher);
        (void)gx_grpc_client_end(watcher, NULL); /* CANCELLED, or OK where it was final sooner */
    }
    gx_rpc_scene_await_open(&scene, 0);
    end();
}
END_TEST

/* --- health --- */

static void assert_health(const char *service, int code, unsigned state)
{
    struct gx_grpc_reply reply;
    uint8_t request[2 + 64] = {1 << 3 | 2, (uint8_t)strlen(service)};
    memcpy(request + 2, service, strlen(service));
    ck_assert_int_eq(gx_grpc_client_unary(&scene.client, "/grpc.health.v1.Health/Check", request, 2 + strlen(service),
                                          PATIENT, &reply),
                     code);
    if (code == OK)
        ck_assert(reply.len == 2 && reply.data[0] == 1 << 3 && reply.data[1] == state);
    gx_grpc_client_free_reply(&reply);
}

START_TEST(health_knows_the_server_its_services_and_its_galleries)
{
    begin();
    assert_health("", OK, 1);
    assert_health("indexd.v1.Search", OK, 1);
    assert_health("indexd.v1.Galleries", OK, 1);
    assert_health("indexd.v1.Holds", OK, 1);
    assert_health("gallery/g", OK, 1);
    assert_health("gallery/h", NOT_FOUND, 0);
    assert_health("gallery/", NOT_FOUND, 0);
    assert_health("gallery", NOT_FOUND, 0);
    assert_health("indexd.v1.Nothing", NOT_FOUND, 0);
    gx_health_drain();
    assert_health("gallery/g", OK, 2);
    end();
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        inserted_record_is_found_by_a_search_at_once,
        refused_calls_end_with_their_code_and_a_text_that_names_the_field,
        reply_that_no_client_takes_is_refused_and_says_what_to_do,
        bad_request_of_a_search_stream_is_answered_and_the_stream_goes_on,
        every_message_of_an_insert_stream_is_acknowledged_once_it_is_durable,
        client_that_reads_only_at_the_end_gets_every_acknowledgement,
        empty_insert_stream_ends_well,
        refused_message_ends_the_stream_and_what_was_before_it_is_acknowledged,
        broken_insert_stream_keeps_what_was_acknowledged_and_lets_the_server_go,
        watch_tells_of_a_ticket_until_it_is_final,
        watch_that_is_broken_off_leaves_nothing_behind,
        health_knows_the_server_its_services_and_its_galleries,
    };
    return gx_rpc_scene_run("routes", tests, GX_COUNT_OF(tests));
}
