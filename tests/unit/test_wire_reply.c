/* Promises of wire.h: replies. The hand-written encoder gives the same bytes as protobuf-c. */
#include "wire_messages.h"

#include <stdio.h>

#include "indexd/v1/expungement.pb-c.h"
#include "indexd/v1/galleries.pb-c.h"
#include "indexd/v1/records.pb-c.h"
#include "indexd/v1/search.pb-c.h"
#include "vec.h"

#define SEED    20240317
#define N_MAX   60
#define N_BATCH 5
#define ROUNDS  300

static uint64_t random_state;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Numbers of every length, zero among them. */
static uint64_t random_number(void)
{
    uint64_t bits = next_random() % 65;
    return bits == 0 ? 0 : next_random() >> (64 - bits);
}

/* --- one result as floor 3 gives it, and the same as a message --- */

static struct gx_candidate candidates[N_BATCH][N_MAX];
static struct gx_search_result results[N_BATCH];
static Indexd__V1__Candidate messages[N_BATCH][N_MAX];
static Indexd__V1__Candidate *pointers[N_BATCH][N_MAX];
static Indexd__V1__SearchStats stats[N_BATCH];

static ProtobufCBinaryData as_bytes(struct gx_slice slice)
{
    return (ProtobufCBinaryData){slice.len, (uint8_t *)(uintptr_t)slice.data};
}

static struct gx_slice random_text(size_t max)
{
    static const char alphabet[GX_ID_MAX + 1] =
        "abcdefghijklmnopqrstuvwxyz0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ-0123456789"
        "abcdefghijklmnopqrstuvwxyz0123456789-ABCDEFGHIJKLMNOPQ";
    return (struct gx_slice){(const uint8_t *)alphabet, next_random() % (max + 1)};
}

static void make_candidate(size_t b, size_t i)
{
    static const double cosines[] = {0, -0.0, 1, -1, 1e-300, 0.7312345678901234};
    struct gx_candidate *c = &candidates[b][i];
    Indexd__V1__Candidate *m = &messages[b][i];
    size_t max = next_random() % 2 == 0 ? 20 : GX_ID_MAX;
    c->record_id = random_text(max);
    c->subject_id = random_text(max);
    c->arrest_id = random_text(max);
    c->cosine = next_random() % 4 == 0 ? cosines[next_random() % GX_COUNT_OF(cosines)]
                                       : (double)(int64_t)next_random() / 9223372036854775808.0;
    c->captured_at_us = (int64_t)random_number();
    indexd__v1__candidate__init(m);
    m->rank = (uint32_t)i + 1;
    m->record_id = as_bytes(c->record_id);
    m->subject_id = as_bytes(c->subject_id);
    m->arrest_id = as_bytes(c->arrest_id);
    m->cosine = (float)c->cosine;
    m->captured_at_us = c->captured_at_us;
    pointers[b][i] = m;
}

static void make_result(size_t b)
{
    static const char *const engines[] = {"", "flat", "faiss:IVF1024,SQ8"};
    struct gx_search_result *r = &results[b];
    struct gx_search_stats *s = &r->stats;
    r->candidates = candidates[b];
    r->n = next_random() % (N_MAX + 1);
    for (size_t i = 0; i < r->n; i++)
        make_candidate(b, i);
    *s = (struct gx_search_stats){.engine = engines[next_random() % 3], .effort = (float)(next_random() % 5) / 4};
    s->scanned = random_number();
    s->rescored = (uint32_t)random_number();
    s->exhaustive = next_random() % 2 == 0;
    s->epoch = random_number();
    indexd__v1__search_stats__init(&stats[b]);
    stats[b].engine = bytes(s->engine);
    stats[b].effort = s->effort;
    stats[b].scanned = s->scanned;
    stats[b].rescored = s->rescored;
    stats[b].exhaustive = s->exhaustive;
    stats[b].epoch = s->epoch;
}

static void make_response(Indexd__V1__SearchResponse *response)
{
    indexd__v1__search_response__init(response);
    response->n_candidates = results[0].n;
    response->candidates = pointers[0];
    response->stats = &stats[0];
    response->notice = bytes(GX_LEAD_ONLY_NOTICE);
}

/* Room of exactly @len bytes: one byte too many is seen by the sanitizers, one too few here. */
static void assert_same(const uint8_t *encoded, size_t len, const void *message, int round)
{
    struct gx_slice expected = pack(message);
    ck_assert_msg(len == expected.len, "seed %d round %d: %zu bytes, protobuf-c has %zu", SEED, round, len,
                  expected.len);
    ck_assert_msg(memcmp(encoded, expected.data, len) == 0, "seed %d round %d: other bytes", SEED, round);
}

START_TEST(search_response_has_the_bytes_of_protobuf_c)
{
    random_state = SEED;
    for (int round = 0; round < ROUNDS; round++) {
        Indexd__V1__SearchResponse response;
        make_result(0);
        make_response(&response);
        size_t len = gx_wire_search_len(&results[0]);
        uint8_t *out = malloc(len);
        ck_assert_ptr_nonnull(out);
        gx_wire_search_encode(&results[0], out);
        assert_same(out, len, &response, round);
        free(out);
    }
}
END_TEST

START_TEST(batch_response_has_the_bytes_of_protobuf_c)
{
    random_state = SEED + 1;
    for (int round = 0; round < ROUNDS / 5; round++) {
        Indexd__V1__BatchSearchResponse response;
        Indexd__V1__BatchSearchResponse__Result parts[N_BATCH], *part_pointers[N_BATCH];
        size_t n = 1 + next_random() % N_BATCH;
        for (size_t b = 0; b < n; b++) {
            make_result(b);
            indexd__v1__batch_search_response__result__init(&parts[b]);
            parts[b].n_candidates = results[b].n;
            parts[b].candidates = pointers[b];
            parts[b].stats = &stats[b];
            part_pointers[b] = &parts[b];
        }
        indexd__v1__batch_search_response__init(&response);
        response.n_results = n;
        response.results = part_pointers;
        response.notice = bytes(GX_LEAD_ONLY_NOTICE);
        size_t len = gx_wire_search_len_batch(results, n);
        uint8_t *out = malloc(len);
        ck_assert_ptr_nonnull(out);
        gx_wire_search_encode_batch(results, n, out);
        assert_same(out, len, &response, round);
        free(out);
    }
}
END_TEST

static void check_stream(uint64_t tag, const struct gx_err *error, int round)
{
    Indexd__V1__SearchResponse response;
    Indexd__V1__Error refusal;
    Indexd__V1__StreamSearchResponse answer;
    make_response(&response);
    indexd__v1__error__init(&refusal);
    indexd__v1__stream_search_response__init(&answer);
    answer.tag = tag;
    answer.result_case = INDEXD__V1__STREAM_SEARCH_RESPONSE__RESULT_RESPONSE;
    answer.response = &response;
    if (error != NULL) {
        refusal.code = (uint32_t)gx_status_grpc(error->status);
        refusal.reason = bytes(gx_status_name(error->status));
        refusal.message = bytes(error->text);
        answer.result_case = INDEXD__V1__STREAM_SEARCH_RESPONSE__RESULT_ERROR;
        answer.error = &refusal;
    }
    size_t len = gx_wire_search_len_stream(tag, &results[0], error);
    uint8_t *out = malloc(len);
    ck_assert_ptr_nonnull(out);
    gx_wire_search_encode_stream(tag, &results[0], error, out);
    assert_same(out, len, &answer, round);
    free(out);
}

START_TEST(stream_response_has_the_bytes_of_protobuf_c)
{
    struct gx_err error;
    random_state = SEED + 2;
    (void)gx_err_set(&error, GX_E_NOT_FOUND, "no such gallery: see 'indexctl gallery list'");
    for (int round = 0; round < ROUNDS; round++) {
        make_result(0);
        check_stream(random_number(), NULL, round);
        check_stream(random_number(), &error, round);
    }
}
END_TEST

/* --- what protobuf-c encodes: read back --- */

static void *send_and_read(const struct gx_wire_reply *reply, const ProtobufCMessageDescriptor *type)
{
    uint8_t *out = malloc(reply->len + 1);
    ck_assert_ptr_nonnull(out);
    gx_wire_pack(reply, out);
    void *message = protobuf_c_message_unpack(type, NULL, reply->len, out);
    free(out);
    ck_assert_ptr_nonnull(message);
    return message;
}

static bool reads(ProtobufCBinaryData field, const char *text)
{
    return equals((struct gx_slice){field.data, field.len}, text);
}

START_TEST(enrolment_is_reported_as_it_went)
{
    struct gx_wire_reply reply;
    gx_wire_records_build_inserted(&(struct gx_enrol_out){.epoch = 9, .enrolled = 3, .unchanged = 2}, &reply);
    Indexd__V1__InsertResponse *inserted = send_and_read(&reply, &indexd__v1__insert_response__descriptor);
    ck_assert(inserted->epoch == 9 && inserted->enrolled == 3 && inserted->unchanged == 2);
    protobuf_c_message_free_unpacked(&inserted->base, NULL);
    gx_wire_records_build_ack(&(struct gx_wire_ack){1, UINT64_MAX, 3, 4}, &reply);
    Indexd__V1__InsertAck *ack = send_and_read(&reply, &indexd__v1__insert_ack__descriptor);
    ck_assert(ack->messages == 1 && ack->epoch == UINT64_MAX && ack->enrolled == 3 && ack->unchanged == 4);
    protobuf_c_message_free_unpacked(&ack->base, NULL);
}
END_TEST

static void make_stored(struct gx_stored_record out[2])
{
    memset(out, 0, 2 * sizeof(*out));
    out[0].record.record_id = gx_slice_text("photo-1");
    out[0].record.subject_id = gx_slice_text("p1");
    out[0].record.arrest_id = gx_slice_text("A1");
    out[0].record.captured_at_us = -3;
    out[0].record.enrolled_at_us = 5;
    out[0].record.epoch = 6;
    out[0].record.n_attributes = 1;
    out[0].record.attributes[0] = (struct gx_attribute){gx_slice_text("county"), gx_slice_text("")};
    out[0].row = t.values;
    out[1].record.record_id = gx_slice_text("photo-2");
}

START_TEST(records_are_given_back_whole)
{
    struct gx_stored_record stored[2];
    struct gx_wire_reply reply;
    float row[DIM];
    make_stored(stored);
    ck_assert_int_eq(gx_wire_records_build_get(stored, 2, DIM, &t.arena, &reply, &t.err), GX_OK);
    Indexd__V1__GetRecordsResponse *got = send_and_read(&reply, &indexd__v1__get_records_response__descriptor);
    ck_assert_uint_eq(got->n_records, 2);
    const Indexd__V1__StoredRecord *first = got->records[0];
    ck_assert(reads(first->record->record_id, "photo-1") && reads(first->record->subject_id, "p1"));
    ck_assert(reads(first->record->arrest_id, "A1") && first->record->captured_at_us == -3);
    ck_assert(first->enrolled_at_us == 5 && first->epoch == 6 && first->record->n_attributes == 1);
    ck_assert(reads(first->record->attributes[0]->key, "county") && first->record->attributes[0]->value.len == 0);
    ck_assert_uint_eq(first->f32le.len, sizeof(row));
    gx_vec_from_le(first->f32le.data, DIM, row);
    ck_assert_mem_eq(row, t.values, sizeof(row));
    ck_assert(reads(got->records[1]->record->record_id, "photo-2") && got->records[1]->f32le.len == 0);
    protobuf_c_message_free_unpacked(&got->base, NULL);
}
END_TEST

START_TEST(page_token_leads_to_the_next_page)
{
    struct gx_stored_record stored[2];
    struct gx_wire_reply reply;
    struct gx_wire_list_in in;
    Indexd__V1__ListRecordsRequest request;
    make_stored(stored);
    stored[0].row = NULL;
    ck_assert_int_eq(gx_wire_records_build_list(stored, 2, UINT64_MAX, &t.arena, &reply, &t.err), GX_OK);
    Indexd__V1__ListRecordsResponse *page = send_and_read(&reply, &indexd__v1__list_records_response__descriptor);
    ck_assert_uint_eq(page->n_records, 2);
    indexd__v1__list_records_request__init(&request);
    request.gallery = bytes("g");
    request.page_token = page->next_page_token;
    ck_assert_int_eq(gx_wire_records_decode_list(pack(&request), &t.arena, &in, &t.err), GX_OK);
    ck_assert_uint_eq(in.from, UINT64_MAX);
    protobuf_c_message_free_unpacked(&page->base, NULL);
    ck_assert_int_eq(gx_wire_records_build_list(NULL, 0, 0, &t.arena, &reply, &t.err), GX_OK);
    ck_assert_uint_eq(reply.len, 0); /* no record, no further page */
}
END_TEST

static const struct gx_ticket ticket = {.number = 42,
                                        .state = GX_TICKET_ERASED,
                                        .kind = GX_ID_ARREST,
                                        .n_records = 3,
                                        .n_unmatched = 1,
                                        .epoch = 7,
                                        .accepted_at_us = 10,
                                        .unindexed_at_us = 11,
                                        .erased_at_us = 12,
                                        .verified_at_us = 13};

static void assert_ticket(const Indexd__V1__Ticket *m)
{
    ck_assert(reads(m->ticket_id, "T-00000042") && reads(m->gallery, "g") && reads(m->order_ref, "order 12"));
    ck_assert(m->state == INDEXD__V1__TICKET_STATE__TICKET_STATE_ERASED);
    ck_assert(m->kind == INDEXD__V1__ID_KIND__ID_KIND_ARREST && reads(m->problem, "disk"));
    ck_assert(m->records == 3 && m->unmatched_ids == 1 && m->epoch == 7);
    ck_assert(m->accepted_at_us == 10 && m->unindexed_at_us == 11);
    ck_assert(m->erased_at_us == 12 && m->verified_at_us == 13);
}

static struct gx_ticket make_ticket(void)
{
    struct gx_ticket whole = ticket;
    whole.gallery = gx_slice_text("g");
    whole.order_ref = gx_slice_text("order 12");
    whole.problem = gx_slice_text("disk");
    return whole;
}

START_TEST(ticket_says_what_was_reached)
{
    struct gx_wire_reply reply;
    struct gx_ticket whole = make_ticket();
    struct gx_slice backups[] = {gx_slice_text("B-00000001"), gx_slice_text("B-00000007")};
    whole.backups = backups;
    whole.n_backups = 2;
    ck_assert_int_eq(gx_wire_expunge_build_ticket(&whole, &t.arena, &reply, &t.err), GX_OK);
    Indexd__V1__Ticket *one = send_and_read(&reply, &indexd__v1__ticket__descriptor);
    assert_ticket(one);
    ck_assert_uint_eq(one->n_backups, 2);
    ck_assert(gx_slice_equal((struct gx_slice){one->backups[1].data, one->backups[1].len}, backups[1]));
    protobuf_c_message_free_unpacked(&one->base, NULL);
    struct gx_ticket two[2] = {whole, whole};
    ck_assert_int_eq(gx_wire_expunge_build_tickets(two, 2, 41, &t.arena, &reply, &t.err), GX_OK);
    Indexd__V1__ListTicketsResponse *page = send_and_read(&reply, &indexd__v1__list_tickets_response__descriptor);
    ck_assert(page->n_tickets == 2 && reads(page->next_page_token, "t41"));
    assert_ticket(page->tickets[1]);
    protobuf_c_message_free_unpacked(&page->base, NULL);
}
END_TEST

START_TEST(expungement_without_ticket_has_none)
{
    struct gx_wire_reply reply;
    struct gx_expunge_outcome outcomes[3] = {
        {.n_records = 3}, {.expunged_before = true}, {.hold_ref = gx_slice_text("hold 9")}};
    struct gx_expunge_out out = {.has_ticket = true,
                                 .ticket = make_ticket(),
                                 .n_records = 3,
                                 .n_unmatched = 1,
                                 .epoch = 7,
                                 .outcomes = outcomes,
                                 .n_outcomes = 3};
    ck_assert_int_eq(gx_wire_expunge_build(&out, &t.arena, &reply, &t.err), GX_OK);
    Indexd__V1__ExpungeResponse *m = send_and_read(&reply, &indexd__v1__expunge_response__descriptor);
    ck_assert(m->records == 3 && m->unmatched_ids == 1 && m->epoch == 7 && m->ticket != NULL);
    assert_ticket(m->ticket);
    protobuf_c_message_free_unpacked(&m->base, NULL);
    out.has_ticket = false;
    ck_assert_int_eq(gx_wire_expunge_build(&out, &t.arena, &reply, &t.err), GX_OK);
    m = send_and_read(&reply, &indexd__v1__expunge_response__descriptor);
    ck_assert(m->ticket == NULL && m->records == 3);
    ck_assert_uint_eq(m->n_outcomes, 3);
    ck_assert(m->outcomes[0]->records == 3 && !m->outcomes[0]->expunged_before);
    ck_assert(m->outcomes[1]->records == 0 && m->outcomes[1]->expunged_before);
    ck_assert(reads(m->outcomes[2]->hold_ref, "hold 9") && !m->outcomes[2]->expunged_before);
    protobuf_c_message_free_unpacked(&m->base, NULL);
}
END_TEST

START_TEST(galleries_are_described_whole)
{
    struct gx_wire_reply reply;
    struct gx_gallery_info info[2] = {{.records = 12,
                                       .loaded = true,
                                       .meta = {.name = "county",
                                                .embedder_id = "edgeface-xs",
                                                .embedder_version = "2024-03",
                                                .engine = "auto",
                                                .dim = 512,
                                                .default_effort = 0.5f,
                                                .created_at_us = 99}}};
    info[1] = info[0];
    ck_assert_int_eq(gx_wire_galleries_build_list(info, 2, &t.arena, &reply, &t.err), GX_OK);
    Indexd__V1__ListGalleriesResponse *all = send_and_read(&reply, &indexd__v1__list_galleries_response__descriptor);
    ck_assert_uint_eq(all->n_galleries, 2);
    const Indexd__V1__Gallery *g = all->galleries[1];
    ck_assert(reads(g->name, "county") && g->dim == 512 && reads(g->engine, "auto"));
    ck_assert(reads(g->embedder->id, "edgeface-xs") && reads(g->embedder->version, "2024-03"));
    ck_assert(g->created_at_us == 99 && g->records == 12);
    ck_assert_float_eq(g->default_effort, 0.5f);
    gx_wire_galleries_build_one(&info[0], &reply);
    Indexd__V1__Gallery *one = send_and_read(&reply, &indexd__v1__gallery__descriptor);
    ck_assert(reads(one->name, "county") && one->records == 12);
    protobuf_c_message_free_unpacked(&one->base, NULL);
    protobuf_c_message_free_unpacked(&all->base, NULL);
}
END_TEST

START_TEST(stats_and_build_are_told_apart)
{
    struct gx_wire_reply reply;
    struct gx_gallery_stats in = {.engine = "flat",
                                  .records = 1,
                                  .indexed = 2,
                                  .tail = 3,
                                  .dead = 4,
                                  .epoch = 5,
                                  .row_bytes = 6,
                                  .index_bytes = 7,
                                  .loaded = true,
                                  .build = {.running = true,
                                            .engine = "faiss:IVF64,SQ8",
                                            .stage = "training",
                                            .rows_done = 8,
                                            .rows_total = 9,
                                            .problem = "none"}};
    gx_wire_galleries_build_stats(gx_slice_text("county"), &in, &reply);
    Indexd__V1__GalleryStats *m = send_and_read(&reply, &indexd__v1__gallery_stats__descriptor);
    ck_assert(reads(m->name, "county") && reads(m->engine, "flat") && m->loaded);
    ck_assert(m->records == 1 && m->indexed == 2 && m->tail == 3 && m->dead == 4 && m->epoch == 5);
    ck_assert(m->row_bytes == 6 && m->index_bytes == 7);
    ck_assert(m->build->running && reads(m->build->engine, "faiss:IVF64,SQ8") && reads(m->build->stage, "training"));
    ck_assert(m->build->rows_done == 8 && m->build->rows_total == 9 && reads(m->build->problem, "none"));
    protobuf_c_message_free_unpacked(&m->base, NULL);
}
END_TEST

START_TEST(outcome_of_work_on_a_gallery_is_told)
{
    struct gx_wire_reply reply;
    gx_wire_galleries_build_deleted(5, 6, &reply);
    Indexd__V1__DeleteGalleryResponse *deleted =
        send_and_read(&reply, &indexd__v1__delete_gallery_response__descriptor);
    ck_assert(deleted->records == 5 && deleted->epoch == 6);
    protobuf_c_message_free_unpacked(&deleted->base, NULL);
    gx_wire_galleries_build_queued("flat", &reply);
    Indexd__V1__BuildIndexResponse *queued = send_and_read(&reply, &indexd__v1__build_index_response__descriptor);
    ck_assert(reads(queued->engine, "flat"));
    protobuf_c_message_free_unpacked(&queued->base, NULL);
    struct gx_recall_out in = {.n_probes = 9,
                               .recall_at_1 = 1,
                               .recall_at_10 = 0.5,
                               .recall_at_50 = 0.25,
                               .mean_us = 7,
                               .exact_mean_us = 8,
                               .engine = "flat",
                               .effort = 0.75f};
    gx_wire_galleries_build_recall(&in, &reply);
    Indexd__V1__MeasureRecallResponse *m = send_and_read(&reply, &indexd__v1__measure_recall_response__descriptor);
    ck_assert(m->probes == 9 && reads(m->engine, "flat"));
    ck_assert_double_eq(m->recall_at_1, 1);
    ck_assert_double_eq(m->recall_at_10, 0.5);
    ck_assert_double_eq(m->recall_at_50, 0.25);
    ck_assert_double_eq(m->mean_us, 7);
    ck_assert_double_eq(m->exact_mean_us, 8);
    ck_assert_float_eq(m->effort, 0.75f);
    protobuf_c_message_free_unpacked(&m->base, NULL);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        search_response_has_the_bytes_of_protobuf_c,
        batch_response_has_the_bytes_of_protobuf_c,
        stream_response_has_the_bytes_of_protobuf_c,
        enrolment_is_reported_as_it_went,
        records_are_given_back_whole,
        page_token_leads_to_the_next_page,
        ticket_says_what_was_reached,
        expungement_without_ticket_has_none,
        galleries_are_described_whole,
        stats_and_build_are_told_apart,
        outcome_of_work_on_a_gallery_is_told,
    };
    return run_suite("wire_reply", tests, GX_COUNT_OF(tests));
}
