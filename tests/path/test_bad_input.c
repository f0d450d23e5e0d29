/* What is refused, with which status, and that nothing of a refused request was done. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "raw.h"

#define DIM  16
#define ROWS 20

static struct gx_served served;
static struct gx_grpc_client raw;
static struct gx_raw_insert insert;
static struct gx_raw_search search;
static char long_text[300];

static void begin(void)
{
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", ROWS);
    gx_grpc_client_open(&raw, served.server.address);
    memset(long_text, 'x', sizeof(long_text) - 1);
}

static void end(void)
{
    gx_grpc_client_close(&raw);
    gx_served_end(&served);
}

/* ---------------------------------------------------------------- enrolment */

static void as_values(void)
{
    insert.embeddings[1].n_values = DIM;
    insert.embeddings[1].values = insert.rows[1];
}

#define SPOIL(name, ...)                                                                                               \
    static void name(void)                                                                                             \
    {                                                                                                                  \
        __VA_ARGS__;                                                                                                   \
    }

SPOIL(short_embedding, insert.embeddings[1].f32le.len -= 4)
SPOIL(long_embedding, insert.embeddings[1].f32le.len += 4)
SPOIL(broken_embedding, insert.embeddings[1].f32le.len -= 1)
SPOIL(no_embedding, insert.entries[1].embedding = NULL)
SPOIL(both_forms, as_values())
SPOIL(no_values, insert.embeddings[1].f32le.len = 0)
SPOIL(nan_value, insert.rows[1][3] = NAN)
SPOIL(infinite_value, insert.rows[1][DIM - 1] = -INFINITY)
SPOIL(nan_in_values, as_values(); insert.embeddings[1].f32le.len = 0; insert.rows[1][0] = NAN)
SPOIL(zero_vector, memset(insert.rows[1], 0, sizeof(insert.rows[1])))
SPOIL(no_record, insert.entries[1].record = NULL)
SPOIL(no_id, insert.records[1].record_id.len = 0)
SPOIL(nul_in_id, memcpy(insert.ids[1], "a\0b", 4); insert.records[1].record_id.len = 3)
SPOIL(bad_utf8_id, insert.records[1].record_id = gx_raw_text("ab\xff"))
SPOIL(bad_utf8_subject, insert.records[1].subject_id = gx_raw_text("\xc3("))
SPOIL(control_in_arrest, insert.records[1].arrest_id = gx_raw_text("a\nb"))
SPOIL(long_id, insert.records[1].record_id = (ProtobufCBinaryData){GX_ID_MAX + 1, (uint8_t *)long_text})
SPOIL(id_twice, insert.records[2].record_id = insert.records[0].record_id)
SPOIL(key_twice, insert.attributes[1].key = insert.attributes[0].key)
SPOIL(no_key, insert.attributes[1].key.len = 0)
SPOIL(long_key, insert.attributes[1].key = (ProtobufCBinaryData){GX_ATTRIBUTE_KEY_MAX + 1, (uint8_t *)long_text})
SPOIL(long_value, insert.attributes[1].value = (ProtobufCBinaryData){GX_ATTRIBUTE_MAX + 1, (uint8_t *)long_text})
SPOIL(no_records, insert.request.n_records = 0)
SPOIL(no_gallery, insert.request.gallery.len = 0)
SPOIL(bad_gallery, insert.request.gallery = gx_raw_text("no/such"))
SPOIL(unknown_gallery, insert.request.gallery = gx_raw_text("elsewhere"))
SPOIL(other_embedder, insert.embedder.id = gx_raw_text("f"))
SPOIL(other_version, insert.embedder.version = gx_raw_text("2"))
SPOIL(no_embedder, insert.request.embedder = NULL)
SPOIL(long_request, insert.request.request_id = (ProtobufCBinaryData){GX_REQUEST_ID_MAX + 1, (uint8_t *)long_text})
SPOIL(other_content, gx_people_record_id(5, insert.ids[1]))

#define BAD(name, status)                                                                                              \
    {                                                                                                                  \
#name, name, GX_E_##status                                                                                     \
    }
struct bad {
    const char *what;
    void (*spoil)(void);
    enum gx_status status;
};
static const struct bad bad_inserts[] = {
    BAD(short_embedding, INVALID),  BAD(long_embedding, INVALID),
    BAD(broken_embedding, INVALID), BAD(no_embedding, INVALID),
    BAD(both_forms, INVALID),       BAD(no_values, INVALID),
    BAD(nan_value, INVALID),        BAD(infinite_value, INVALID),
    BAD(nan_in_values, INVALID),    BAD(zero_vector, INVALID),
    BAD(no_record, INVALID),        BAD(no_id, INVALID),
    BAD(nul_in_id, INVALID),        BAD(bad_utf8_id, INVALID),
    BAD(bad_utf8_subject, INVALID), BAD(control_in_arrest, INVALID),
    BAD(long_id, INVALID),          BAD(id_twice, INVALID),
    BAD(key_twice, INVALID),        BAD(no_key, INVALID),
    BAD(long_key, INVALID),         BAD(long_value, INVALID),
    BAD(no_records, INVALID),       BAD(no_gallery, INVALID),
    BAD(bad_gallery, INVALID),      BAD(unknown_gallery, NOT_FOUND),
    BAD(other_embedder, EMBEDDER),  BAD(other_version, EMBEDDER),
    BAD(no_embedder, INVALID),      BAD(long_request, INVALID),
    BAD(other_content, EXISTS),
};

START_TEST(refused_enrolment_leaves_nothing_behind)
{
    begin();
    uint64_t epoch = gx_served_stats(&served, "g").epoch;
    for (size_t i = 0; i < sizeof(bad_inserts) / sizeof(bad_inserts[0]); i++) {
        const struct bad *b = &bad_inserts[i];
        struct gx_grpc_reply reply;
        gx_raw_insert_init(&insert, &served.people, "g", ROWS);
        b->spoil();
        gx_raw_call(&raw, "/indexd.v1.Records/Insert", &insert.request, &reply);
        gx_raw_check_refused(&reply, b->status, b->what);
        ck_assert_msg(gx_served_records(&served, "g") == ROWS, "%s", b->what);
        ck_assert_msg(!gx_served_has(&served, "g", ROWS) && !gx_served_has(&served, "g", ROWS + 2), "%s", b->what);
    }
    ck_assert_uint_eq(gx_served_stats(&served, "g").epoch, epoch);
    /* The same request without a fault is taken, so that each refusal was for its fault alone. */
    struct gx_grpc_reply reply;
    gx_raw_insert_init(&insert, &served.people, "g", ROWS);
    ck_assert_int_eq(gx_raw_call(&raw, "/indexd.v1.Records/Insert", &insert.request, &reply), 0);
    gx_grpc_client_free_reply(&reply);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS + 3);
    gx_served_restart(&served, true);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS + 3);
    end();
}
END_TEST

/* ---------------------------------------------------------------- search */

SPOIL(probe_short, search.probe.f32le.len -= 4)
SPOIL(probe_broken, search.probe.f32le.len -= 2)
SPOIL(probe_nan, search.row[0] = NAN)
SPOIL(probe_infinite, search.row[1] = INFINITY)
SPOIL(probe_zero, memset(search.row, 0, sizeof(search.row)))
SPOIL(probe_missing, search.request.probe = NULL)
SPOIL(probe_embedder_missing, search.probe.embedder = NULL)
SPOIL(probe_other_embedder, search.embedder.id = gx_raw_text("f"))
SPOIL(gallery_unknown, search.request.gallery = gx_raw_text("elsewhere"))
SPOIL(k_too_large, search.options.k = GX_K_MAX + 1)
SPOIL(k_huge, search.options.k = UINT32_MAX)
SPOIL(min_too_large, search.options.opt_min_cosine_case = INDEXD__V1__SEARCH_OPTIONS__OPT_MIN_COSINE_MIN_COSINE;
      search.options.min_cosine = 1.5f)
SPOIL(min_nan, search.options.opt_min_cosine_case = INDEXD__V1__SEARCH_OPTIONS__OPT_MIN_COSINE_MIN_COSINE;
      search.options.min_cosine = NAN)
SPOIL(exact_with_tuning, search.options.exact = 1; search.options.tuning = &search.tuning;
      search.tuning.knob_case = INDEXD__V1__TUNING__KNOB_EFFORT; search.tuning.effort = 0.5f)
SPOIL(effort_too_large, search.options.tuning = &search.tuning;
      search.tuning.knob_case = INDEXD__V1__TUNING__KNOB_EFFORT; search.tuning.effort = 1.5f)
SPOIL(effort_nan, search.options.tuning = &search.tuning; search.tuning.knob_case = INDEXD__V1__TUNING__KNOB_EFFORT;
      search.tuning.effort = NAN)
SPOIL(candidates_below_k, search.options.tuning = &search.tuning; search.options.k = 10; search.tuning.candidates = 9)
SPOIL(epoch_ahead, search.options.read_after_epoch = 1000000)
SPOIL(filter_bad_utf8, static ProtobufCBinaryData id; id = gx_raw_text("\xfe"); search.filter.n_subject_ids = 1;
      search.filter.subject_ids = &id; search.options.filter = &search.filter)

static const struct bad bad_searches[] = {
    BAD(probe_short, INVALID),
    BAD(probe_broken, INVALID),
    BAD(probe_nan, INVALID),
    BAD(probe_infinite, INVALID),
    BAD(probe_zero, INVALID),
    BAD(probe_missing, INVALID),
    BAD(probe_embedder_missing, INVALID),
    BAD(probe_other_embedder, EMBEDDER),
    BAD(gallery_unknown, NOT_FOUND),
    BAD(k_too_large, INVALID),
    BAD(k_huge, INVALID),
    BAD(min_too_large, INVALID),
    BAD(min_nan, INVALID),
    BAD(exact_with_tuning, INVALID),
    BAD(effort_too_large, INVALID),
    BAD(effort_nan, INVALID),
    BAD(candidates_below_k, INVALID),
    BAD(epoch_ahead, UNAVAILABLE),
    BAD(filter_bad_utf8, INVALID),
};

START_TEST(refused_search_says_why_with_the_same_status_alone_in_a_batch_and_in_a_stream)
{
    begin();
    struct gx_grpc_call *stream =
        gx_grpc_client_begin(&raw, "/indexd.v1.Search/StreamSearch", GX_GRPC_CLIENT_PATIENT, NULL, NULL);
    for (size_t i = 0; i < sizeof(bad_searches) / sizeof(bad_searches[0]); i++) {
        const struct bad *b = &bad_searches[i];
        struct gx_grpc_reply reply;
        gx_raw_search_init(&search, &served.people, "g", 3);
        b->spoil();
        gx_raw_call(&raw, "/indexd.v1.Search/Search", &search.request, &reply);
        gx_raw_check_refused(&reply, b->status, b->what);

        Indexd__V1__StreamSearchRequest message;
        indexd__v1__stream_search_request__init(&message);
        message.tag = 100 + i;
        message.request = &search.request;
        size_t len;
        uint8_t *packed = gx_raw_pack(&message, &len), *answer;
        ck_assert(gx_grpc_client_send(stream, packed, len));
        free(packed);
        ck_assert(gx_grpc_client_receive(stream, &answer, &len));
        Indexd__V1__StreamSearchResponse *r = indexd__v1__stream_search_response__unpack(NULL, len, answer);
        ck_assert_ptr_nonnull(r);
        ck_assert_uint_eq(r->tag, 100 + i);
        ck_assert_int_eq(r->result_case, INDEXD__V1__STREAM_SEARCH_RESPONSE__RESULT_ERROR);
        ck_assert_uint_eq(r->error->code, (unsigned)gx_status_grpc(b->status));
        ck_assert_uint_eq(r->error->reason.len, strlen(gx_status_name(b->status)));
        ck_assert_mem_eq(r->error->reason.data, gx_status_name(b->status), r->error->reason.len);
        indexd__v1__stream_search_response__free_unpacked(r, NULL);
        free(answer);
    }
    ck_assert(gx_grpc_client_half_close(stream));
    ck_assert_int_eq(gx_grpc_client_end(stream, NULL), 0);
    end();
}
END_TEST

START_TEST(one_bad_probe_fails_the_whole_batch)
{
    float rows[3][DIM];
    struct gx_client_result *result;
    struct gx_client_search how = {.k = 1000};
    begin();
    for (uint64_t i = 0; i < 3; i++)
        gx_people_row(&served.people, i, rows[i], NULL);
    gx_served_ok(gx_client_search(served.client, "g", GX_SERVED_EMBEDDER, rows[0], 3, DIM, NULL, &result));
    gx_client_result_free(result);
    rows[2][1] = NAN;
    gx_served_refused(gx_client_search(served.client, "g", GX_SERVED_EMBEDDER, rows[0], 3, DIM, NULL, &result),
                      GX_E_INVALID);
    float *many = calloc(257 * DIM, sizeof(float));
    ck_assert_ptr_nonnull(many);
    for (size_t i = 0; i < 257; i++)
        many[i * DIM] = 1;
    gx_served_refused(gx_client_search(served.client, "g", GX_SERVED_EMBEDDER, many, 257, DIM, NULL, &result),
                      GX_E_INVALID);
    gx_served_refused(gx_client_search(served.client, "g", GX_SERVED_EMBEDDER, many, 101, DIM, &how, &result),
                      GX_E_INVALID);
    gx_served_ok(gx_client_search(served.client, "g", GX_SERVED_EMBEDDER, many, 100, DIM, &how, &result));
    gx_client_result_free(result);
    free(many);
    end();
}
END_TEST

/* ---------------------------------------------------------------- messages */

START_TEST(malformed_oversize_and_empty_messages_are_refused_and_the_connection_goes_on)
{
    static const char *const paths[] = {"/indexd.v1.Search/Search",         "/indexd.v1.Search/BatchSearch",
                                        "/indexd.v1.Records/Insert",        "/indexd.v1.Records/Get",
                                        "/indexd.v1.Records/List",          "/indexd.v1.Expungement/Expunge",
                                        "/indexd.v1.Expungement/GetTicket", "/indexd.v1.Holds/Place",
                                        "/indexd.v1.Holds/Release",         "/indexd.v1.Holds/List",
                                        "/indexd.v1.Galleries/Create",      "/indexd.v1.Galleries/Delete",
                                        "/indexd.v1.Galleries/BuildIndex",  "/indexd.v1.Galleries/MeasureRecall",
                                        "/indexd.v1.Galleries/Stats"};
    static const uint8_t malformed[] = {0x0a, 0x7f, 'x'}; /* field 1 of 127 bytes, one of which is there */
    struct gx_grpc_reply reply;
    size_t len = GX_MESSAGE_MAX + 1;
    uint8_t *oversize = calloc(len, 1);
    ck_assert_ptr_nonnull(oversize);
    begin();
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
        gx_grpc_client_unary(&raw, paths[i], malformed, sizeof(malformed), GX_GRPC_CLIENT_PATIENT, &reply);
        gx_raw_check_refused(&reply, GX_E_INVALID, paths[i]);
        gx_grpc_client_unary(&raw, paths[i], "", 0, GX_GRPC_CLIENT_PATIENT, &reply); /* every field its default */
        ck_assert_msg(reply.code == 3 || reply.code == 5, "%s: %d %s", paths[i], reply.code, reply.text);
        gx_grpc_client_unary(&raw, paths[i], NULL, 0, GX_GRPC_CLIENT_PATIENT, &reply); /* no message at all */
        ck_assert_msg(reply.code != 0 && reply.data == NULL, "%s: %d", paths[i], reply.code);
        gx_grpc_client_unary(&raw, paths[i], oversize, len, GX_GRPC_CLIENT_PATIENT, &reply);
        ck_assert_msg(reply.code == 8, "%s: %d %s", paths[i], reply.code, reply.text);
    }
    ck_assert_int_eq(gx_grpc_client_unary(&raw, "/indexd.v1.Search/Guess", "", 0, GX_GRPC_CLIENT_PATIENT, &reply), 12);
    ck_assert(gx_served_finds(&served, "g", 1, 1));
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS);
    free(oversize);
    end();
}
END_TEST

START_TEST(gallery_with_properties_out_of_range_is_not_created)
{
    struct gx_client_gallery *list;
    size_t n;
    begin();
    const struct {
        const char *name, *embedder, *engine;
        uint32_t dim;
        float effort;
        enum gx_status status;
    } bad[] = {
        {"", "e", "flat", DIM, 0, GX_E_INVALID},
        {"-x", "e", "flat", DIM, 0, GX_E_INVALID},
        {"a b", "e", "flat", DIM, 0, GX_E_INVALID},
        {"h", "", "flat", DIM, 0, GX_E_INVALID},
        {"h", "e", "flat", 1, 0, GX_E_INVALID},
        {"h", "e", "flat", GX_DIM_MAX + 1, 0, GX_E_INVALID},
        {"h", "e", "flat", DIM, 1.5f, GX_E_INVALID},
        {"h", "e", "flat", DIM, -1, GX_E_INVALID},
        {"h", "e", "quick", DIM, 0, GX_E_INVALID},
        {"h", "e", "faiss:IVF0,SQ8", DIM, 0, GX_E_INVALID},
        {"h", "e", "faiss:IVF16,PQ7", DIM, 0, GX_E_INVALID},
        {"h", "e", "faiss:Flat;rm", DIM, 0, GX_E_INVALID},
        {"g", "e", "flat", DIM + 1, 0, GX_E_EXISTS},
        {"g", "f", "flat", DIM, 0, GX_E_EXISTS},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        gx_served_refused(gx_client_gallery_create(served.client, bad[i].name, bad[i].dim, bad[i].embedder, "1",
                                                   bad[i].engine, bad[i].effort, NULL),
                          bad[i].status);
    gx_served_create(&served, "g", "flat"); /* the same again is fine */
    gx_served_ok(gx_client_gallery_list(served.client, &list, &n));
    ck_assert_uint_eq(n, 1);
    ck_assert_uint_eq(list[0].records, ROWS);
    free(list);
    end();
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {refused_enrolment_leaves_nothing_behind, 0},
        {refused_search_says_why_with_the_same_status_alone_in_a_batch_and_in_a_stream, 0},
        {one_bad_probe_fails_the_whole_batch, 0},
        {malformed_oversize_and_empty_messages_are_refused_and_the_connection_goes_on, 0},
        {gallery_with_properties_out_of_range_is_not_created, 0},
    };
    return gx_served_run("bad input", tests, sizeof(tests) / sizeof(tests[0]));
}
