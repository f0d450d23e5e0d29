/* Promises of wire.h: VerifyAbsent. */
#include "wire_messages.h"

#include <stdio.h>

#include "indexd/v1/expungement.pb-c.h"

static Indexd__V1__VerifyAbsentRequest request;
static Indexd__V1__Embedding probe;
static Indexd__V1__Embedder embedder;
static float values[3];
static struct gx_absent_in in;

static void make(bool face)
{
    indexd__v1__verify_absent_request__init(&request);
    indexd__v1__embedding__init(&probe);
    indexd__v1__embedder__init(&embedder);
    memcpy(values, (float[]){1, 2, 3}, sizeof(values));
    embedder.id = bytes("e");
    embedder.version = bytes("1");
    probe.embedder = &embedder;
    probe.values = values;
    probe.n_values = 3;
    request.gallery = bytes("g");
    if (face)
        request.probe = &probe;
    else
        request.record_id = bytes("photo-00000001");
}

static void *read_back(const struct gx_wire_reply *reply, const ProtobufCMessageDescriptor *type)
{
    uint8_t *packed = gx_arena_alloc(&t.arena, reply->len);
    ck_assert_ptr_nonnull(packed);
    gx_wire_pack(reply, packed);
    void *message = protobuf_c_message_unpack(type, NULL, reply->len, packed);
    ck_assert_ptr_nonnull(message);
    return message;
}

static bool is_text(ProtobufCBinaryData field, const char *text)
{
    return equals((struct gx_slice){field.data, field.len}, text);
}

static enum gx_status decode(void)
{
    return gx_wire_absent_decode(pack(&request), &t.arena, &in, &t.err);
}

START_TEST(requests_are_read_as_asked)
{
    make(false);
    ck_assert_int_eq(decode(), GX_OK);
    ck_assert(equals(in.gallery, "g") && equals(in.record_id, "photo-00000001") && in.probe == NULL);
    make(true);
    ck_assert_int_eq(decode(), GX_OK);
    ck_assert(in.record_id.len == 0 && in.dim == 3 && in.probe[2] == 3.0f);
    ck_assert(equals(in.embedder_id, "e") && equals(in.embedder_version, "1"));
}
END_TEST

START_TEST(requests_out_of_range_are_refused_by_name)
{
    make(false);
    request.probe = &probe;
    assert_refused(decode(), GX_E_INVALID, "record_id, probe");
    make(false);
    request.record_id = bytes("");
    assert_refused(decode(), GX_E_INVALID, "record_id, probe");
    make(false);
    request.record_id = bytes("secret\n");
    assert_refused(decode(), GX_E_INVALID, "record_id");
    make(false);
    request.gallery = bytes("");
    assert_refused(decode(), GX_E_INVALID, "name");
    make(true);
    probe.embedder = NULL;
    assert_refused(decode(), GX_E_INVALID, "probe: embedder");
    make(true);
    probe.n_values = 0;
    assert_refused(decode(), GX_E_INVALID, "probe");
}
END_TEST

START_TEST(reply_says_where_it_was_found)
{
    struct gx_wire_reply reply;
    struct gx_absent_out out = {.stored = true,
                                .expunged = true,
                                .has_nearest = true,
                                .nearest = 0.25,
                                .files_searched = true,
                                .note = "",
                                .files = {.n_files = 5, .n_bytes = 99, .n_hits = 12, .n_first = 2},
                                .epoch = 7,
                                .checked_at_us = 8};
    strcpy(out.files.first[0].file, "store/000007.sst");
    strcpy(out.files.first[1].file, "a\nb\xff"); /* no UTF-8 */
    out.files.first[1].offset = 4711;
    ck_assert_int_eq(gx_wire_absent_build(&out, &t.arena, &reply, &t.err), GX_OK);
    Indexd__V1__VerifyAbsentResponse *r = read_back(&reply, &indexd__v1__verify_absent_response__descriptor);
    ck_assert(!r->absent && !r->searchable && r->stored && r->expunged && r->files_searched);
    ck_assert(r->nearest_cosine == 0.25 && r->files == 5 && r->bytes == 99 && r->hits == 12 && r->epoch == 7);
    ck_assert_int_eq(r->checked_at_us, 8);
    ck_assert_uint_eq(r->n_first_hits, 2);
    ck_assert(is_text(r->first_hits[0]->file, "store/000007.sst"));
    ck_assert(is_text(r->first_hits[1]->file, "a?b?") && r->first_hits[1]->offset == 4711);
    indexd__v1__verify_absent_response__free_unpacked(r, NULL);
    out = (struct gx_absent_out){.absent = true, .note = "too short"};
    ck_assert_int_eq(gx_wire_absent_build(&out, &t.arena, &reply, &t.err), GX_OK);
    r = read_back(&reply, &indexd__v1__verify_absent_response__descriptor);
    ck_assert(r->absent && !r->files_searched && is_text(r->note, "too short"));
    ck_assert_int_eq((int)r->opt_nearest_cosine_case,
                     (int)INDEXD__V1__VERIFY_ABSENT_RESPONSE__OPT_NEAREST_COSINE__NOT_SET);
    indexd__v1__verify_absent_response__free_unpacked(r, NULL);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        requests_are_read_as_asked,
        requests_out_of_range_are_refused_by_name,
        reply_says_where_it_was_found,
    };
    return run_suite("wire_absent", tests, sizeof(tests) / sizeof(tests[0]));
}
