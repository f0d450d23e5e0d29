/* Promises of wire.h: legal holds, and the marks of quarantine in other replies. */
#include "wire_messages.h"

#include <stdio.h>

#include "indexd/v1/galleries.pb-c.h"
#include "indexd/v1/holds.pb-c.h"
#include "indexd/v1/records.pb-c.h"

static char id_texts[GX_HOLD_IDS_MAX + 1][8];
static ProtobufCBinaryData ids[GX_HOLD_IDS_MAX + 1];
static Indexd__V1__PlaceHoldRequest place;
static Indexd__V1__ReleaseHoldRequest release;
static Indexd__V1__ListHoldsRequest list;
static struct gx_hold_in in;
static struct gx_hold_list_in list_in;

static void make(void)
{
    for (size_t i = 0; i <= GX_HOLD_IDS_MAX; i++) {
        snprintf(id_texts[i], sizeof(id_texts[i]), "%d", (int)i);
        ids[i] = bytes(id_texts[i]);
    }
    indexd__v1__place_hold_request__init(&place);
    place.gallery = bytes("g");
    place.kind = INDEXD__V1__ID_KIND__ID_KIND_ARREST;
    place.ids = ids;
    place.n_ids = 2;
    place.reference = bytes("case 9");
    place.request_id = bytes("r");
    indexd__v1__release_hold_request__init(&release);
    release.gallery = bytes("g");
    release.kind = INDEXD__V1__ID_KIND__ID_KIND_RECORD;
    release.ids = ids;
    release.n_ids = 1;
    release.reference = bytes("case 9");
    indexd__v1__list_holds_request__init(&list);
    list.gallery = bytes("g");
}

static enum gx_status decode_place(void)
{
    return gx_wire_holds_decode_place(pack(&place), &t.arena, &in, &t.err);
}

static enum gx_status decode_release(void)
{
    return gx_wire_holds_decode_release(pack(&release), &t.arena, &in, &t.err);
}

static enum gx_status decode_list(void)
{
    return gx_wire_holds_decode_list(pack(&list), &t.arena, &list_in, &t.err);
}

START_TEST(requests_are_read_as_asked)
{
    make();
    ck_assert_int_eq(decode_place(), GX_OK);
    ck_assert(equals(in.gallery, "g") && equals(in.reference, "case 9") && equals(in.request_id, "r"));
    ck_assert(in.kind == GX_ID_ARREST && in.n_ids == 2 && equals(in.ids[1], "1") && !in.quarantine);
    place.quarantine = true;
    place.n_ids = GX_HOLD_IDS_MAX;
    ck_assert_int_eq(decode_place(), GX_OK);
    ck_assert(in.quarantine && in.n_ids == GX_HOLD_IDS_MAX && equals(in.ids[9999], "9999"));
    ck_assert_int_eq(decode_release(), GX_OK);
    ck_assert(in.kind == GX_ID_RECORD && in.n_ids == 1 && in.request_id.len == 0 && !in.quarantine);
    release.n_ids = 0; /* everything under the reference */
    ck_assert_int_eq(decode_release(), GX_OK);
    ck_assert_uint_eq(in.n_ids, 0);
    ck_assert_int_eq(decode_list(), GX_OK);
    ck_assert(list_in.reference.len == 0 && list_in.id.len == 0 && (int)list_in.kind == 0);
    ck_assert(list_in.n == 100 && list_in.from == 0);
    list.reference = bytes("case 9");
    list.kind = INDEXD__V1__ID_KIND__ID_KIND_RECORD;
    list.id = bytes("photo");
    list.page_size = 7;
    list.page_token = bytes("h42");
    ck_assert_int_eq(decode_list(), GX_OK);
    ck_assert(equals(list_in.reference, "case 9") && equals(list_in.id, "photo") && list_in.kind == GX_ID_RECORD);
    ck_assert(list_in.n == 7 && list_in.from == 42);
}
END_TEST

static const char *spoil_place(int i)
{
    switch (i) {
    case 0: place.kind = INDEXD__V1__ID_KIND__ID_KIND_UNSPECIFIED; return "kind";
    case 1: place.kind = INDEXD__V1__ID_KIND__ID_KIND_SUBJECT; return "kind";
    case 2: place.n_ids = 0; return "ids: 1..10000, got 0";
    case 3: place.n_ids = GX_HOLD_IDS_MAX + 1; return "ids: 1..10000, got 10001";
    case 4: place.reference.len = 0; return "reference";
    case 5: place.reference = bytes(SECRET "\n"); return "reference";
    case 6: ids[1] = bytes_nul(SECRET); return "ids[1]";
    case 7: place.gallery = bytes(" " SECRET); return "gallery name";
    case 8: place.request_id = bytes(SECRET "\x7f"); return "request_id";
    default: return NULL;
    }
}

static const char *spoil_release(int i)
{
    switch (i) {
    case 0: release.kind = INDEXD__V1__ID_KIND__ID_KIND_SUBJECT; return "kind";
    case 1: release.n_ids = GX_HOLD_IDS_MAX + 1; return "ids: 0..10000, got 10001";
    case 2: release.reference.len = 0; return "reference";
    case 3: ids[0].len = 0; return "ids[0]";
    case 4: release.gallery = bytes(SECRET "/"); return "gallery name";
    default: return NULL;
    }
}

static const char *spoil_list(int i)
{
    switch (i) {
    case 0: list.kind = INDEXD__V1__ID_KIND__ID_KIND_RECORD; return "kind";
    case 1: list.id = bytes(SECRET); return "kind";
    case 2: list.reference = bytes(SECRET "\t"); return "reference";
    case 3: list.page_size = GX_PAGE_MAX + 1; return "page_size";
    case 4: list.page_token = bytes("t7"); return "page_token";
    case 5: list.gallery = bytes(""); return "gallery name";
    default: return NULL;
    }
}

static void assert_each_refused(const char *(*spoil)(int), enum gx_status (*decode)(void))
{
    for (int i = 0;; i++) {
        make();
        ck_assert_int_eq(decode(), GX_OK);
        const char *field = spoil(i);
        if (field == NULL)
            break;
        assert_refused(decode(), GX_E_INVALID, field);
    }
}

START_TEST(requests_out_of_range_are_refused_by_name)
{
    assert_each_refused(spoil_place, decode_place);
    assert_each_refused(spoil_release, decode_release);
    assert_each_refused(spoil_list, decode_list);
}
END_TEST

/* Packs a reply and reads it as a client does. */
static void *read_back(const struct gx_wire_reply *reply, const ProtobufCMessageDescriptor *type)
{
    uint8_t *packed = gx_arena_alloc(&t.arena, reply->len);
    ck_assert_ptr_nonnull(packed);
    gx_wire_pack(reply, packed);
    void *message = protobuf_c_message_unpack(type, NULL, reply->len, packed);
    ck_assert_ptr_nonnull(message);
    return message;
}

static bool has_text(ProtobufCBinaryData field, const char *text)
{
    return equals((struct gx_slice){field.data, field.len}, text);
}

START_TEST(replies_say_what_was_done)
{
    struct gx_wire_reply reply;
    const struct gx_hold_out changed = {3, 1, 17, 42};
    gx_wire_holds_build_changed(&changed, &reply);
    Indexd__V1__HoldResponse *r = read_back(&reply, &indexd__v1__hold_response__descriptor);
    ck_assert(r->ids == 3 && r->unchanged_ids == 1 && r->records == 17 && r->epoch == 42);
    indexd__v1__hold_response__free_unpacked(r, NULL);

    struct gx_hold_listed holds[] = {{.reference = gx_slice_text("case 9"),
                                      .kind = GX_ID_ARREST,
                                      .id = gx_slice_text("A-1"),
                                      .quarantine = true,
                                      .placed_at_us = 77,
                                      .n_records = 5},
                                     {.reference = gx_slice_text("x"), .kind = GX_ID_RECORD}};
    for (uint8_t i = 0; i < GX_KEY_LEN; i++)
        holds[0].id_hash.bytes[i] = (uint8_t)(i * 17);
    ck_assert_int_eq(gx_wire_holds_build_list(holds, 2, 9, &t.arena, &reply, &t.err), GX_OK);
    Indexd__V1__ListHoldsResponse *l = read_back(&reply, &indexd__v1__list_holds_response__descriptor);
    ck_assert_uint_eq(l->n_holds, 2);
    ck_assert(has_text(l->holds[0]->reference, "case 9") && has_text(l->holds[0]->id, "A-1"));
    ck_assert(has_text(l->holds[0]->id_hash, "00112233445566778899aabbccddeeff"));
    ck_assert(l->holds[0]->kind == INDEXD__V1__ID_KIND__ID_KIND_ARREST && l->holds[0]->quarantine);
    ck_assert(l->holds[0]->placed_at_us == 77 && l->holds[0]->records == 5);
    ck_assert(l->holds[1]->id.len == 0 && !l->holds[1]->quarantine);
    ck_assert(has_text(l->next_page_token, "h9"));
    indexd__v1__list_holds_response__free_unpacked(l, NULL);
    ck_assert_int_eq(gx_wire_holds_build_list(NULL, 0, 0, &t.arena, &reply, &t.err), GX_OK);
    ck_assert_uint_eq(reply.len, 0);
}
END_TEST

START_TEST(records_and_stats_say_what_is_quarantined)
{
    struct gx_wire_reply reply;
    struct gx_stored_record records[] = {{.record.record_id = gx_slice_text("a")},
                                         {.record.record_id = gx_slice_text("b"), .quarantined = true}};
    ck_assert_int_eq(gx_wire_records_build_get(records, 2, 0, &t.arena, &reply, &t.err), GX_OK);
    Indexd__V1__GetRecordsResponse *r = read_back(&reply, &indexd__v1__get_records_response__descriptor);
    ck_assert(!r->records[0]->quarantined && r->records[1]->quarantined);
    indexd__v1__get_records_response__free_unpacked(r, NULL);
    struct gx_gallery_stats stats = {.records = 9, .quarantined = 4, .build.stage = ""};
    gx_wire_galleries_build_stats(gx_slice_text("g"), &stats, &reply);
    Indexd__V1__GalleryStats *s = read_back(&reply, &indexd__v1__gallery_stats__descriptor);
    ck_assert(s->records == 9 && s->quarantined == 4);
    indexd__v1__gallery_stats__free_unpacked(s, NULL);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        requests_are_read_as_asked,
        requests_out_of_range_are_refused_by_name,
        replies_say_what_was_done,
        records_and_stats_say_what_is_quarantined,
    };
    return run_suite("wire_holds", tests, sizeof(tests) / sizeof(tests[0]));
}
