/* Promises of wire.h: requests of Records, Expungement and Galleries. */
#include "wire_messages.h"

#include <math.h>
#include <stdio.h>

#include "indexd/v1/expungement.pb-c.h"
#include "indexd/v1/galleries.pb-c.h"
#include "indexd/v1/records.pb-c.h"

/* Applies each of @spoil to what @make makes and expects @decode to refuse it by name. */
static void assert_each_refused(void (*make)(void), const char *(*spoil)(int), enum gx_status (*decode)(void))
{
    for (int i = 0;; i++) {
        messages_end();
        messages_begin();
        make();
        ck_assert_int_eq(decode(), GX_OK);
        const char *field = spoil(i);
        if (field == NULL)
            break;
        assert_refused(decode(), GX_E_INVALID, field);
    }
}

/* --- Insert --- */

static Indexd__V1__Record record;
static Indexd__V1__NewRecord new_record;
static Indexd__V1__NewRecord *new_records[GX_INSERT_MAX + 1];
static Indexd__V1__InsertRequest insert;
static struct gx_enrol_in insert_in;
static struct gx_slice stream_gallery;

static void make_insert(void)
{
    indexd__v1__record__init(&record);
    record.record_id = bytes("photo-1");
    record.subject_id = bytes("p1");
    record.arrest_id = bytes("A1");
    record.captured_at_us = -1;
    record.n_attributes = 1;
    record.attributes = t.attributes;
    indexd__v1__new_record__init(&new_record);
    new_record.record = &record;
    new_record.embedding = &t.embedding;
    for (size_t i = 0; i <= GX_INSERT_MAX; i++)
        new_records[i] = &new_record;
    indexd__v1__insert_request__init(&insert);
    insert.gallery = bytes("g");
    insert.request_id = bytes("r-1");
    insert.n_records = 1;
    insert.records = new_records;
    stream_gallery = (struct gx_slice){NULL, 0};
}

static enum gx_status decode_insert(void)
{
    return gx_wire_records_decode_insert(pack(&insert), stream_gallery, &t.arena, &insert_in, &t.err);
}

START_TEST(insert_request_is_read_as_asked)
{
    make_insert();
    insert.n_records = 2;
    ck_assert_int_eq(decode_insert(), GX_OK);
    ck_assert(equals(insert_in.gallery, "g") && equals(insert_in.request_id, "r-1"));
    ck_assert_uint_eq(insert_in.n, 2);
    const struct gx_new_record *r = &insert_in.records[1];
    ck_assert(equals(r->record.record_id, "photo-1") && equals(r->record.subject_id, "p1"));
    ck_assert(equals(r->record.arrest_id, "A1") && r->record.captured_at_us == -1);
    ck_assert(r->record.n_attributes == 1 && equals(r->record.attributes[0].key, "county"));
    ck_assert(equals(r->record.attributes[0].value, "Zürich"));
    ck_assert_uint_eq(r->dim, DIM);
    ck_assert_mem_eq(r->row, t.values, sizeof(t.values));
    ck_assert(equals(r->embedder_id, "edgeface-xs") && equals(r->embedder_version, "2024-03"));
}
END_TEST

START_TEST(embedder_of_a_record_may_be_the_requests)
{
    make_insert();
    t.embedding.embedder = NULL;
    assert_refused(decode_insert(), GX_E_INVALID, "records[0]: embedder");
    insert.embedder = &t.embedder;
    ck_assert_int_eq(decode_insert(), GX_OK);
    ck_assert(equals(insert_in.records[0].embedder_id, "edgeface-xs"));
}
END_TEST

START_TEST(gallery_of_a_stream_is_that_of_its_first_message)
{
    make_insert();
    stream_gallery = gx_slice_text("g");
    ck_assert_int_eq(decode_insert(), GX_OK);
    insert.gallery.len = 0;
    ck_assert_int_eq(decode_insert(), GX_OK);
    ck_assert(equals(insert_in.gallery, "g"));
    insert.gallery = bytes("h");
    assert_refused(decode_insert(), GX_E_INVALID, "gallery: another than the stream's");
}
END_TEST

static const char *spoil_insert(int i)
{
    static const char long_text[] = SECRET "-of-more-than-one-hundred-and-twenty-eight-bytes-which-is-too-much-for-"
                                           "every-identifier-that-there-is-in-the-interface-of-this-server";
    switch (i) {
    case 0: insert.n_records = 0; return "records: 1..1000, got 0";
    case 1: insert.n_records = GX_INSERT_MAX + 1; return "records: 1..1000, got 1001";
    case 2: new_record.record = NULL; return "records[0]: record";
    case 3: new_record.embedding = NULL; return "records[0]: embedding";
    case 4: record.record_id.len = 0; return "records[0]: record_id";
    case 5: record.record_id = bytes_nul(SECRET); return "records[0]: record_id";
    case 6: record.subject_id = bytes(long_text); return "records[0]: subject_id";
    case 7: record.arrest_id = bytes(SECRET "\x7f"); return "records[0]: arrest_id";
    case 8: record.n_attributes = 2; return "records[0]: attributes";
    case 9: memcpy(t.le, &(float){NAN}, sizeof(float)); return "records[0]: embedding";
    case 10: insert.request_id = bytes(long_text); return "request_id";
    case 11: insert.gallery.len = 0; return "gallery name";
    default: return NULL;
    }
}

START_TEST(insert_out_of_range_is_refused_by_name)
{
    assert_each_refused(make_insert, spoil_insert, decode_insert);
}
END_TEST

START_TEST(smallest_records_of_a_full_insert_fit)
{
    static Indexd__V1__Attribute small[GX_ATTRIBUTES_MAX];
    static char keys[GX_ATTRIBUTES_MAX][2];
    make_insert();
    for (size_t i = 0; i < GX_ATTRIBUTES_MAX; i++) {
        indexd__v1__attribute__init(&small[i]);
        keys[i][0] = (char)('a' + i);
        small[i].key = bytes(keys[i]);
        t.attributes[i] = &small[i];
    }
    indexd__v1__record__init(&record);
    record.record_id = bytes("i");
    record.n_attributes = GX_ATTRIBUTES_MAX;
    record.attributes = t.attributes;
    t.embedder.id = bytes("e");
    t.embedder.version.len = 0;
    t.embedding.f32le.len = sizeof(float);
    insert.n_records = GX_INSERT_MAX;
    ck_assert_int_eq(decode_insert(), GX_OK);
    ck_assert_uint_eq(insert_in.n, GX_INSERT_MAX);
}
END_TEST

/* --- Get and List --- */

START_TEST(get_request_is_read_as_asked)
{
    static ProtobufCBinaryData ids[GX_PAGE_MAX + 1];
    struct gx_wire_get_in in;
    Indexd__V1__GetRecordsRequest request;
    indexd__v1__get_records_request__init(&request);
    for (size_t i = 0; i <= GX_PAGE_MAX; i++)
        ids[i] = bytes("i");
    request.gallery = bytes("g");
    request.record_ids = ids;
    request.with_embedding = true;
    request.n_record_ids = GX_PAGE_MAX;
    ck_assert_int_eq(gx_wire_records_decode_get(pack(&request), &t.arena, &in, &t.err), GX_OK);
    ck_assert(equals(in.gallery, "g") && in.with_row && in.n_ids == GX_PAGE_MAX && equals(in.ids[999], "i"));
    request.n_record_ids++;
    assert_refused(gx_wire_records_decode_get(pack(&request), &t.arena, &in, &t.err), GX_E_INVALID, "record_ids: 1..");
    request.n_record_ids = 0;
    assert_refused(gx_wire_records_decode_get(pack(&request), &t.arena, &in, &t.err), GX_E_INVALID, "record_ids: 1..");
    ids[0] = bytes_nul(SECRET);
    request.n_record_ids = 1;
    assert_refused(gx_wire_records_decode_get(pack(&request), &t.arena, &in, &t.err), GX_E_INVALID, "record_ids[0]");
}
END_TEST

static Indexd__V1__ListRecordsRequest list;
static struct gx_wire_list_in list_in;

static enum gx_status decode_list(void)
{
    return gx_wire_records_decode_list(pack(&list), &t.arena, &list_in, &t.err);
}

START_TEST(list_request_is_read_as_asked)
{
    indexd__v1__list_records_request__init(&list);
    list.gallery = bytes("g");
    ck_assert_int_eq(decode_list(), GX_OK);
    ck_assert(list_in.n == 100 && list_in.from == 0 && list_in.arrest.len == 0 && list_in.subject.len == 0);
    list.page_size = GX_PAGE_MAX;
    list.arrest_id = bytes("A1");
    list.page_token = bytes("r18446744073709551615");
    ck_assert_int_eq(decode_list(), GX_OK);
    ck_assert(list_in.n == GX_PAGE_MAX && list_in.from == UINT64_MAX && equals(list_in.arrest, "A1"));
    list.subject_id = bytes(SECRET);
    assert_refused(decode_list(), GX_E_INVALID, "subject_id");
    list.arrest_id.len = 0;
    ck_assert_int_eq(decode_list(), GX_OK);
    list.page_size++;
    assert_refused(decode_list(), GX_E_INVALID, "page_size: 1..1000");
}
END_TEST

START_TEST(foreign_page_token_is_refused)
{
    static const char *const foreign[] = {"x",    "r",  "r0", "t5",   "r5x", "r-5", "r18446744073709551616",
                                          "r 5 ", "5r", "R5", SECRET, "rr5", "5"};
    indexd__v1__list_records_request__init(&list);
    list.gallery = bytes("g");
    for (size_t i = 0; i < GX_COUNT_OF(foreign); i++) {
        list.page_token = bytes(foreign[i]);
        assert_refused(decode_list(), GX_E_INVALID, "page_token");
    }
    list.page_token = bytes_nul("r5");
    assert_refused(decode_list(), GX_E_INVALID, "page_token");
}
END_TEST

/* --- Expungement --- */

static ProtobufCBinaryData ids[GX_EXPUNGE_IDS_MAX + 1];
static char id_texts[GX_EXPUNGE_IDS_MAX + 1][8];
static Indexd__V1__ExpungeRequest expunge;
static struct gx_expunge_in expunge_in;

static void make_expunge(void)
{
    for (size_t i = 0; i <= GX_EXPUNGE_IDS_MAX; i++) {
        (void)snprintf(id_texts[i], sizeof(id_texts[i]), "%zu", i);
        ids[i] = bytes(id_texts[i]);
    }
    indexd__v1__expunge_request__init(&expunge);
    expunge.gallery = bytes("g");
    expunge.kind = INDEXD__V1__ID_KIND__ID_KIND_SUBJECT;
    expunge.n_ids = 2;
    expunge.ids = ids;
    expunge.order_ref = bytes("order 12");
    expunge.request_id = bytes("r");
}

static enum gx_status decode_expunge(void)
{
    return gx_wire_expunge_decode(pack(&expunge), &t.arena, &expunge_in, &t.err);
}

START_TEST(expunge_request_is_read_as_asked)
{
    const struct gx_expunge_in *in = &expunge_in;
    make_expunge();
    ck_assert_int_eq(decode_expunge(), GX_OK);
    ck_assert(equals(in->gallery, "g") && equals(in->order_ref, "order 12") && equals(in->request_id, "r"));
    ck_assert_int_eq(in->kind, GX_ID_SUBJECT);
    ck_assert(in->n_ids == 2 && equals(in->ids[1], "1") && in->expected_count == -1 && !in->validate_only);
    expunge.opt_expected_count_case = INDEXD__V1__EXPUNGE_REQUEST__OPT_EXPECTED_COUNT_EXPECTED_COUNT;
    ck_assert_int_eq(decode_expunge(), GX_OK);
    ck_assert_int_eq(in->expected_count, 0); /* none may go: not the same as not given */
    expunge.expected_count = 77;
    expunge.validate_only = true;
    expunge.kind = INDEXD__V1__ID_KIND__ID_KIND_RECORD;
    ck_assert_int_eq(decode_expunge(), GX_OK);
    ck_assert(in->expected_count == 77 && in->validate_only && in->kind == GX_ID_RECORD);
}
END_TEST

START_TEST(shortest_ids_of_a_full_expunge_fit)
{
    make_expunge();
    expunge.n_ids = GX_EXPUNGE_IDS_MAX;
    ck_assert_int_eq(decode_expunge(), GX_OK);
    ck_assert(expunge_in.n_ids == GX_EXPUNGE_IDS_MAX && equals(expunge_in.ids[9999], "9999"));
}
END_TEST

static const char *spoil_expunge(int i)
{
    switch (i) {
    case 0: expunge.kind = INDEXD__V1__ID_KIND__ID_KIND_UNSPECIFIED; return "kind";
    case 1: expunge.kind = (Indexd__V1__IdKind)4; return "kind";
    case 2: expunge.n_ids = 0; return "ids: 1..10000, got 0";
    case 3: expunge.n_ids = GX_EXPUNGE_IDS_MAX + 1; return "ids: 1..10000, got 10001";
    case 4: expunge.order_ref.len = 0; return "order_ref";
    case 5: expunge.order_ref = bytes(SECRET "\t"); return "order_ref";
    case 6: ids[1] = bytes_nul(SECRET); return "ids[1]";
    case 7: ids[1].len = 0; return "ids[1]";
    case 8: expunge.gallery = bytes(" " SECRET); return "gallery name";
    case 9:
        expunge.opt_expected_count_case = INDEXD__V1__EXPUNGE_REQUEST__OPT_EXPECTED_COUNT_EXPECTED_COUNT;
        expunge.expected_count = UINT64_MAX;
        return "expected_count";
    default: return NULL;
    }
}

START_TEST(expunge_out_of_range_is_refused_by_name)
{
    assert_each_refused(make_expunge, spoil_expunge, decode_expunge);
}
END_TEST

START_TEST(ticket_requests_are_read_as_asked)
{
    uint64_t number;
    struct gx_wire_tickets_in in;
    Indexd__V1__GetTicketRequest one;
    indexd__v1__get_ticket_request__init(&one);
    one.ticket_id = bytes("T-00000042");
    ck_assert_int_eq(gx_wire_expunge_decode_ticket(pack(&one), &t.arena, &number, &t.err), GX_OK);
    ck_assert_uint_eq(number, 42);
    one.ticket_id = bytes_nul("T-00000042");
    assert_refused(gx_wire_expunge_decode_ticket(pack(&one), &t.arena, &number, &t.err), GX_E_INVALID, "ticket_id");
    Indexd__V1__GetCertificateRequest certificate;
    indexd__v1__get_certificate_request__init(&certificate);
    ck_assert_int_eq(gx_wire_expunge_decode_certificate(pack(&certificate), &t.arena, &number, &t.err), GX_OK);
    ck_assert_uint_eq(number, 0); /* the key only */
    certificate.ticket_id = bytes("T-00000042");
    ck_assert_int_eq(gx_wire_expunge_decode_certificate(pack(&certificate), &t.arena, &number, &t.err), GX_OK);
    ck_assert_uint_eq(number, 42);
    certificate.ticket_id = bytes("T-0");
    assert_refused(gx_wire_expunge_decode_certificate(pack(&certificate), &t.arena, &number, &t.err), GX_E_INVALID,
                   "ticket_id");
    Indexd__V1__ListTicketsRequest page;
    indexd__v1__list_tickets_request__init(&page);
    ck_assert_int_eq(gx_wire_expunge_decode_tickets(pack(&page), &t.arena, &in, &t.err), GX_OK);
    ck_assert(in.gallery.len == 0 && in.n == 100 && in.before == 0);
    page.page_token = bytes("t7");
    page.gallery = bytes("g");
    ck_assert_int_eq(gx_wire_expunge_decode_tickets(pack(&page), &t.arena, &in, &t.err), GX_OK);
    ck_assert(equals(in.gallery, "g") && in.before == 7);
    page.gallery = bytes("/" SECRET);
    assert_refused(gx_wire_expunge_decode_tickets(pack(&page), &t.arena, &in, &t.err), GX_E_INVALID, "gallery name");
}
END_TEST

/* --- Galleries --- */

static Indexd__V1__CreateGalleryRequest create;
static struct gx_create_in create_in;

static void make_create(void)
{
    indexd__v1__create_gallery_request__init(&create);
    create.name = bytes("g");
    create.dim = 512;
    create.embedder = &t.embedder;
    create.engine = bytes("faiss:IVF1024,SQ8");
    create.default_effort = 0.75f;
}

static enum gx_status decode_create(void)
{
    return gx_wire_galleries_decode_create(pack(&create), &t.arena, &create_in, &t.err);
}

START_TEST(create_request_is_read_as_asked)
{
    make_create();
    ck_assert_int_eq(decode_create(), GX_OK);
    ck_assert(equals(create_in.name, "g") && equals(create_in.engine, "faiss:IVF1024,SQ8") && create_in.dim == 512);
    ck_assert(equals(create_in.embedder_id, "edgeface-xs") && equals(create_in.embedder_version, "2024-03"));
    ck_assert_float_eq(create_in.default_effort, 0.75f);
}
END_TEST

static const char *spoil_create(int i)
{
    switch (i) {
    case 0: create.dim = GX_DIM_MIN - 1; return "dim: 2..4096, got 1";
    case 1: create.dim = GX_DIM_MAX + 1; return "dim: 2..4096, got 4097";
    case 2: create.embedder = NULL; return "embedder";
    case 3: t.embedder.id.len = 0; return "embedder.id";
    case 4: create.default_effort = NAN; return "default_effort";
    case 5: create.default_effort = 1.01f; return "default_effort";
    case 6: create.default_effort = -0.01f; return "default_effort";
    case 7: create.engine = bytes(SECRET "\n"); return "engine";
    case 8: create.name = bytes("-" SECRET); return "gallery name";
    case 9: create.request_id = bytes_nul(SECRET); return "request_id";
    default: return NULL;
    }
}

START_TEST(create_out_of_range_is_refused_by_name)
{
    assert_each_refused(make_create, spoil_create, decode_create);
}
END_TEST

START_TEST(measure_request_is_read_as_asked)
{
    struct gx_recall_in in;
    Indexd__V1__Tuning tuning;
    Indexd__V1__MeasureRecallRequest measure;
    indexd__v1__measure_recall_request__init(&measure);
    indexd__v1__tuning__init(&tuning);
    measure.name = bytes("g");
    ck_assert_int_eq(gx_wire_galleries_decode_measure(pack(&measure), &t.arena, &in, &t.err), GX_OK);
    ck_assert(equals(in.gallery, "g") && in.n_probes == 100 && in.seed == 1 && in.n_candidates == 0);
    ck_assert(in.effort.effort < 0 && in.effort.nprobe == 0 && in.effort.ef_search == 0 && in.stopped == NULL);
    measure.probes = 1000;
    measure.seed = 9;
    measure.tuning = &tuning;
    tuning.candidates = 50;
    ck_assert_int_eq(gx_wire_galleries_decode_measure(pack(&measure), &t.arena, &in, &t.err), GX_OK);
    ck_assert(in.n_probes == 1000 && in.seed == 9 && in.n_candidates == 50);
    tuning.candidates = 49; /* recall at 50 needs 50 */
    assert_refused(gx_wire_galleries_decode_measure(pack(&measure), &t.arena, &in, &t.err), GX_E_INVALID,
                   "tuning.candidates");
    measure.probes = 1001;
    assert_refused(gx_wire_galleries_decode_measure(pack(&measure), &t.arena, &in, &t.err), GX_E_INVALID, "probes");
}
END_TEST

START_TEST(other_gallery_requests_are_read_as_asked)
{
    struct gx_slice name;
    struct gx_remove_in deleted;
    struct gx_wire_build_in built;
    Indexd__V1__DeleteGalleryRequest delete_request;
    Indexd__V1__BuildIndexRequest build;
    Indexd__V1__GetGalleryRequest get;
    Indexd__V1__ListGalleriesRequest all;
    indexd__v1__delete_gallery_request__init(&delete_request);
    indexd__v1__build_index_request__init(&build);
    indexd__v1__get_gallery_request__init(&get);
    indexd__v1__list_galleries_request__init(&all);
    get.name = build.name = delete_request.name = bytes("g");
    ck_assert_int_eq(gx_wire_galleries_decode_list(pack(&all), &t.arena, &t.err), GX_OK);
    ck_assert_int_eq(gx_wire_galleries_decode_name(pack(&get), &t.arena, &name, &t.err), GX_OK);
    ck_assert(equals(name, "g"));
    ck_assert_int_eq(gx_wire_galleries_decode_delete(pack(&delete_request), &t.arena, &deleted, &t.err), GX_OK);
    ck_assert(equals(deleted.name, "g") && deleted.expected_count == -1);
    delete_request.opt_expected_count_case = INDEXD__V1__DELETE_GALLERY_REQUEST__OPT_EXPECTED_COUNT_EXPECTED_COUNT;
    ck_assert_int_eq(gx_wire_galleries_decode_delete(pack(&delete_request), &t.arena, &deleted, &t.err), GX_OK);
    ck_assert_int_eq(deleted.expected_count, 0);
    ck_assert_int_eq(gx_wire_galleries_decode_build(pack(&build), &t.arena, &built, &t.err), GX_OK);
    ck_assert(equals(built.name, "g") && built.engine.len == 0);
    build.engine = bytes_nul("flat");
    assert_refused(gx_wire_galleries_decode_build(pack(&build), &t.arena, &built, &t.err), GX_E_INVALID, "engine");
    get.name = bytes_nul("g");
    assert_refused(gx_wire_galleries_decode_name(pack(&get), &t.arena, &name, &t.err), GX_E_INVALID, "gallery name");
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        insert_request_is_read_as_asked,
        embedder_of_a_record_may_be_the_requests,
        gallery_of_a_stream_is_that_of_its_first_message,
        insert_out_of_range_is_refused_by_name,
        smallest_records_of_a_full_insert_fit,
        get_request_is_read_as_asked,
        list_request_is_read_as_asked,
        foreign_page_token_is_refused,
        expunge_request_is_read_as_asked,
        shortest_ids_of_a_full_expunge_fit,
        expunge_out_of_range_is_refused_by_name,
        ticket_requests_are_read_as_asked,
        create_request_is_read_as_asked,
        create_out_of_range_is_refused_by_name,
        measure_request_is_read_as_asked,
        other_gallery_requests_are_read_as_asked,
    };
    return run_suite("wire_records", tests, GX_COUNT_OF(tests));
}
