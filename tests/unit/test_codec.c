/* Promises of codec.h about values: whole, within the limits, and the same each time. */
#include "codec.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "random.h"
#include "samples.h"
#include "suite.h"

#define SEED 17

static struct gx_arena arena;
static struct gx_err err;
static uint64_t random_state = SEED;

static void set_up(void)
{
    gx_arena_init(&arena, (size_t)1 << 28);
}

static void tear_down(void)
{
    gx_arena_fini(&arena);
}

#define T(text)          gx_slice_text(text)
#define OK(call)         ck_assert_msg((call) == GX_OK, "seed %d: %s", SEED, err.text)
#define REFUSED(call, s) ck_assert_int_eq((call), (s))

static struct gx_slice text_of(size_t len)
{
    static const char many[] =
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
        "1234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901"
        "2345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012"
        "3456789012345678901234567890";
    ck_assert_uint_lt(len, sizeof(many));
    return (struct gx_slice){(const uint8_t *)many, len};
}

static void expect_bytes(struct gx_slice got, struct gx_slice wanted)
{
    ck_assert_uint_eq(got.len, wanted.len);
    ck_assert_mem_eq(got.data, wanted.data, wanted.len);
}

static void expect_text(struct gx_slice got, const char *wanted)
{
    ck_assert(gx_slice_equal(got, T(wanted)));
}

START_TEST(an_embedding_comes_back_bit_by_bit)
{
    static float row[GX_DIM_MAX], again[GX_DIM_MAX];
    static uint8_t bytes[GX_EMB_HEADER_LEN + sizeof(row)];
    for (size_t i = 0; i < GX_DIM_MAX; i++) {
        uint32_t bits = (uint32_t)gx_random_next(&random_state);
        memcpy(&row[i], &bits, sizeof(bits));
    }
    gx_codec_emb_encode(row, GX_DIM_MAX, bytes);
    OK(gx_codec_emb_decode((struct gx_slice){bytes, gx_codec_emb_len(GX_DIM_MAX)}, GX_DIM_MAX, again, &err));
    ck_assert_mem_eq(row, again, sizeof(row));
}
END_TEST

START_TEST(a_record_comes_back_with_all_its_fields)
{
    struct gx_record record, sample = gx_samples_record();
    struct gx_slice value;
    OK(gx_codec_record_encode(&sample, &arena, &value, &err));
    OK(gx_codec_record_decode(value, &record, &err));
    expect_text(record.record_id, "photo-1");
    expect_text(record.subject_id, "p7");
    expect_text(record.arrest_id, "A-77");
    ck_assert_int_eq(record.captured_at_us, 1700000000000000);
    ck_assert_int_eq(record.enrolled_at_us, 1700000001000000);
    ck_assert_uint_eq(record.epoch, 258);
    ck_assert_uint_eq(record.n_attributes, 2);
    expect_text(record.attributes[0].key, "sex");
    expect_text(record.attributes[0].value, "f");
    expect_text(record.attributes[1].key, "site");
    expect_text(record.attributes[1].value, "");
}
END_TEST

START_TEST(records_at_the_limits_are_stored_and_beyond_refused)
{
    struct gx_slice value;
    struct gx_record record = {.record_id = text_of(GX_ID_MAX),
                               .subject_id = text_of(GX_ID_MAX),
                               .arrest_id = text_of(GX_ID_MAX),
                               .captured_at_us = INT64_MIN,
                               .enrolled_at_us = INT64_MAX,
                               .epoch = UINT64_MAX,
                               .n_attributes = GX_ATTRIBUTES_MAX};
    for (size_t i = 0; i < GX_ATTRIBUTES_MAX; i++)
        record.attributes[i] = (struct gx_attribute){text_of(GX_ATTRIBUTE_KEY_MAX - i), text_of(GX_ATTRIBUTE_MAX)};
    OK(gx_codec_record_encode(&record, &arena, &value, &err));
    struct gx_record again;
    OK(gx_codec_record_decode(value, &again, &err));
    ck_assert_int_eq(again.captured_at_us, INT64_MIN);
    ck_assert_int_eq(again.enrolled_at_us, INT64_MAX);
    ck_assert_uint_eq(again.epoch, UINT64_MAX);
    ck_assert(gx_slice_equal(again.attributes[GX_ATTRIBUTES_MAX - 1].key, text_of(GX_ATTRIBUTE_KEY_MAX)));

    struct gx_record bad = record;
    bad.record_id.len = GX_ID_MAX + 1;
    REFUSED(gx_codec_record_encode(&bad, &arena, &value, &err), GX_E_INVALID);
    bad.record_id.len = 0;
    REFUSED(gx_codec_record_encode(&bad, &arena, &value, &err), GX_E_INVALID);
    bad = record;
    bad.subject_id.len = GX_ID_MAX + 1;
    REFUSED(gx_codec_record_encode(&bad, &arena, &value, &err), GX_E_INVALID);
    bad = record;
    bad.arrest_id.len = GX_ID_MAX + 1;
    REFUSED(gx_codec_record_encode(&bad, &arena, &value, &err), GX_E_INVALID);
    bad = record;
    bad.n_attributes = GX_ATTRIBUTES_MAX + 1;
    REFUSED(gx_codec_record_encode(&bad, &arena, &value, &err), GX_E_INVALID);
    bad = record;
    bad.attributes[3].key.len = GX_ATTRIBUTE_KEY_MAX + 1;
    REFUSED(gx_codec_record_encode(&bad, &arena, &value, &err), GX_E_INVALID);
    bad.attributes[3].key.len = 0;
    REFUSED(gx_codec_record_encode(&bad, &arena, &value, &err), GX_E_INVALID);
    bad = record;
    bad.attributes[3].value.len = GX_ATTRIBUTE_MAX + 1;
    REFUSED(gx_codec_record_encode(&bad, &arena, &value, &err), GX_E_INVALID);

    struct gx_arena small;
    gx_arena_init(&small, 64);
    REFUSED(gx_codec_record_encode(&record, &small, &value, &err), GX_E_TOO_LARGE);
    gx_arena_fini(&small);
}
END_TEST

START_TEST(the_same_record_gives_the_same_bytes_in_whatever_order_its_attributes_come)
{
    static const char *const keys[] = {"a", "aa", "ab", "b", "ba", "\xc3\xa4"};
    struct gx_slice first = {0}, value;
    struct gx_record record = {.record_id = T("r"), .n_attributes = GX_COUNT_OF(keys)};
    for (size_t i = 0; i < GX_COUNT_OF(keys); i++)
        record.attributes[i] = (struct gx_attribute){T(keys[i]), T(keys[GX_COUNT_OF(keys) - 1 - i])};
    for (int round = 0; round < 100; round++) {
        OK(gx_codec_record_encode(&record, &arena, &value, &err));
        if (round == 0)
            first = value;
        expect_bytes(value, first);
        for (size_t i = GX_COUNT_OF(keys) - 1; i > 0; i--) {
            size_t j = gx_random_next(&random_state) % (i + 1);
            struct gx_attribute attribute = record.attributes[i];
            record.attributes[i] = record.attributes[j];
            record.attributes[j] = attribute;
        }
    }
    struct gx_record again;
    OK(gx_codec_record_decode(first, &again, &err));
    for (size_t i = 0; i < GX_COUNT_OF(keys); i++)
        expect_text(again.attributes[i].key, keys[i]);
}
END_TEST

START_TEST(a_key_that_stands_twice_is_refused)
{
    struct gx_slice value;
    for (size_t i = 0; i < 5; i++)
        for (size_t j = 0; j < i; j++) {
            static const char *const keys[] = {"c", "a", "e", "b", "d"};
            struct gx_record record = {.record_id = T("r"), .n_attributes = 5};
            for (size_t a = 0; a < 5; a++)
                record.attributes[a] = (struct gx_attribute){T(keys[a]), T("v")};
            record.attributes[i].key = record.attributes[j].key;
            REFUSED(gx_codec_record_encode(&record, &arena, &value, &err), GX_E_INVALID);
            ck_assert_ptr_nonnull(strstr(err.text, "twice"));
        }
}
END_TEST

START_TEST(the_content_of_a_record_leaves_out_when_it_was_enrolled_and_nothing_else)
{
    struct gx_record record = gx_samples_record();
    struct gx_slice value, content, other;
    OK(gx_codec_record_encode(&record, &arena, &value, &err));
    content = gx_codec_record_content(value);
    record.enrolled_at_us++;
    record.epoch += 1000;
    OK(gx_codec_record_encode(&record, &arena, &other, &err));
    ck_assert(!gx_slice_equal(value, other));
    ck_assert(gx_slice_equal(content, gx_codec_record_content(other)));

    for (int field = 0; field < 6; field++) {
        struct gx_record changed = record;
        if (field == 0)
            changed.record_id = T("photo-2");
        if (field == 1)
            changed.subject_id = T("");
        if (field == 2)
            changed.arrest_id = T("A-78");
        if (field == 3)
            changed.captured_at_us++;
        if (field == 4)
            changed.attributes[0].value = T("m");
        if (field == 5)
            changed.n_attributes = 1;
        OK(gx_codec_record_encode(&changed, &arena, &other, &err));
        ck_assert_msg(!gx_slice_equal(content, gx_codec_record_content(other)), "field %d", field);
    }
    for (size_t len = 0; len < 29; len++)
        ck_assert_uint_eq(gx_codec_record_content((struct gx_slice){value.data, len}).len, 0);
}
END_TEST

START_TEST(a_gallery_comes_back_with_all_its_fields)
{
    struct gx_gallery_meta meta = gx_samples_gallery(), again;
    struct gx_slice value;
    OK(gx_codec_gallery_encode(&meta, &arena, &value, &err));
    OK(gx_codec_gallery_decode(value, &again, &err));
    ck_assert_uint_eq(again.number, 3);
    ck_assert_mem_eq(again.uuid.bytes, meta.uuid.bytes, GX_UUID_LEN);
    ck_assert_str_eq(again.name, "mug");
    ck_assert_str_eq(again.embedder_id, "edgeface-xs");
    ck_assert_str_eq(again.embedder_version, "");
    ck_assert_str_eq(again.engine, "auto");
    ck_assert_uint_eq(again.dim, 512);
    ck_assert(again.default_effort == 0.5f);
    ck_assert_int_eq(again.created_at_us, 1);
    ck_assert_uint_eq(again.state, GX_GALLERY_ACTIVE);

    memset(meta.name, 'n', GX_NAME_MAX);
    memset(meta.embedder_id, 'e', GX_EMBEDDER_MAX);
    memset(meta.embedder_version, 'v', GX_EMBEDDER_MAX);
    memset(meta.engine, 'f', GX_ENGINE_MAX);
    OK(gx_codec_gallery_encode(&meta, &arena, &value, &err));
    OK(gx_codec_gallery_decode(value, &again, &err));
    ck_assert_uint_eq(strlen(again.name), GX_NAME_MAX);
    ck_assert_uint_eq(strlen(again.embedder_version), GX_EMBEDDER_MAX);
    ck_assert_uint_eq(strlen(again.engine), GX_ENGINE_MAX);
}
END_TEST

START_TEST(a_gallery_out_of_range_is_not_stored)
{
    struct gx_slice value;
    for (int field = 0; field < 11; field++) {
        struct gx_gallery_meta meta = gx_samples_gallery();
        switch (field) {
        case 0: meta.name[0] = '.'; break;
        case 1: meta.name[0] = 0; break;
        case 2: meta.embedder_id[0] = 0; break;
        case 3: meta.embedder_id[0] = '\n'; break;
        case 4: meta.engine[0] = 0; break;
        case 5: meta.dim = GX_DIM_MAX + 1; break;
        case 6: meta.dim = GX_DIM_MIN - 1; break;
        case 7: meta.default_effort = 1.01f; break;
        case 8: meta.default_effort = (float)NAN; break;
        case 9: meta.state = 0; break;
        case 10: memset(meta.name, 'x', sizeof(meta.name)); break; /* no end */
        }
        ck_assert_msg(gx_codec_gallery_encode(&meta, &arena, &value, &err) == GX_E_INVALID, "field %d", field);
    }
}
END_TEST

START_TEST(a_ticket_comes_back_with_all_its_fields)
{
    struct gx_ticket ticket, sample = gx_samples_ticket();
    struct gx_slice value;
    OK(gx_codec_ticket_encode(&sample, &arena, &value, &err));
    OK(gx_codec_ticket_decode(value, &arena, &ticket, &err));
    ck_assert_uint_eq(ticket.number, 42);
    ck_assert_int_eq(ticket.state, GX_TICKET_ACCEPTED);
    ck_assert_int_eq(ticket.kind, GX_ID_ARREST);
    ck_assert_uint_eq(ticket.gallery_number, 3);
    expect_text(ticket.gallery, "mug");
    expect_text(ticket.order_ref, "order 9");
    expect_text(ticket.problem, "");
    ck_assert_uint_eq(ticket.n_records, 5);
    ck_assert_uint_eq(ticket.n_unmatched, 1);
    ck_assert_uint_eq(ticket.epoch, 77);
    ck_assert_int_eq(ticket.accepted_at_us, 10);
    ck_assert_int_eq(ticket.unindexed_at_us, 20);
    ck_assert_int_eq(ticket.flushed_at_us, 30);
    ck_assert_int_eq(ticket.compacted_at_us, 40);
    ck_assert_int_eq(ticket.unlinked_at_us, 50);
    ck_assert_int_eq(ticket.erased_at_us, 60);
    ck_assert_int_eq(ticket.verified_at_us, 70);
    ck_assert_int_eq(ticket.failed_at_us, 15);
    ck_assert_mem_eq(ticket.rnos, sample.rnos, sample.n_records * sizeof(*sample.rnos));
}
END_TEST

START_TEST(a_ticket_of_many_records_comes_back)
{
    enum { N = 100000 };
    static uint64_t rnos[N];
    uint64_t rno = 0;
    for (size_t i = 0; i < N; i++) {
        rno += 1 + gx_random_next(&random_state) % ((uint64_t)1 << gx_random_next(&random_state) % 40);
        rnos[i] = rno;
    }
    struct gx_ticket ticket = gx_samples_ticket(), again;
    struct gx_slice value;
    ticket.rnos = rnos;
    ticket.n_records = N;
    ticket.order_ref = text_of(GX_ORDER_REF_MAX);
    ticket.problem = text_of(GX_ERR_TEXT_MAX);
    OK(gx_codec_ticket_encode(&ticket, &arena, &value, &err));
    OK(gx_codec_ticket_decode(value, &arena, &again, &err));
    ck_assert_uint_eq(again.n_records, N);
    ck_assert_mem_eq(again.rnos, rnos, sizeof(rnos));
    ck_assert(gx_slice_equal(again.problem, ticket.problem));

    ticket.n_records = 0;
    ticket.rnos = NULL;
    OK(gx_codec_ticket_encode(&ticket, &arena, &value, &err));
    OK(gx_codec_ticket_decode(value, &arena, &again, &err));
    ck_assert_uint_eq(again.n_records, 0);
    ck_assert_ptr_null(again.rnos);
}
END_TEST

START_TEST(a_ticket_that_would_not_come_back_is_not_stored)
{
    static const uint64_t twice[] = {1, 3, 3}, falling[] = {1, 3, 2};
    struct gx_slice value;
    for (int field = 0; field < 10; field++) {
        struct gx_ticket ticket = gx_samples_ticket();
        switch (field) {
        case 0: ticket.state = (enum gx_ticket_state)0; break;
        case 1: ticket.state = (enum gx_ticket_state)5; break;
        case 2: ticket.kind = GX_ID_REQUEST; break;
        case 3: ticket.gallery = T(""); break;
        case 4: ticket.gallery = text_of(GX_NAME_MAX + 1); break;
        case 5: ticket.order_ref = text_of(GX_ORDER_REF_MAX + 1); break;
        case 6: ticket.problem = text_of(GX_ERR_TEXT_MAX + 1); break;
        case 7: ticket.rnos = NULL; break;
        case 8: ticket.rnos = twice, ticket.n_records = 3; break;
        case 9: ticket.rnos = falling, ticket.n_records = 3; break;
        }
        ck_assert_msg(gx_codec_ticket_encode(&ticket, &arena, &value, &err) == GX_E_INVALID, "field %d", field);
    }
    struct gx_ticket ticket = gx_samples_ticket();
    ticket.n_records = GX_EXPUNGE_MAX + 1;
    REFUSED(gx_codec_ticket_encode(&ticket, &arena, &value, &err), GX_E_INVALID);
}
END_TEST

START_TEST(a_remembered_request_a_counter_and_a_uuid_come_back)
{
    struct gx_request_memory memory = {.at_us = -2, .epoch = UINT64_MAX, .a = 4, .b = 5}, again;
    uint8_t bytes[GX_REQUEST_MEMORY_LEN];
    memset(memory.content.bytes, 0xc3, GX_DIGEST_LEN);
    gx_codec_request_encode(&memory, bytes);
    OK(gx_codec_request_decode((struct gx_slice){bytes, GX_REQUEST_MEMORY_LEN}, &again, &err));
    ck_assert_mem_eq(again.content.bytes, memory.content.bytes, GX_DIGEST_LEN);
    ck_assert_int_eq(again.at_us, -2);
    ck_assert_uint_eq(again.epoch, UINT64_MAX);
    ck_assert_uint_eq(again.a, 4);
    ck_assert_uint_eq(again.b, 5);

    uint64_t counter;
    gx_codec_counter_encode(UINT64_MAX - 1, bytes);
    OK(gx_codec_counter_decode((struct gx_slice){bytes, GX_COUNTER_LEN}, &counter, &err));
    ck_assert_uint_eq(counter, UINT64_MAX - 1);

    struct gx_gallery_meta meta = gx_samples_gallery();
    struct gx_uuid uuid;
    gx_codec_uuid_encode(&meta.uuid, bytes);
    OK(gx_codec_uuid_decode((struct gx_slice){bytes, GX_UUID_VALUE_LEN}, &uuid, &err));
    ck_assert_mem_eq(uuid.bytes, meta.uuid.bytes, GX_UUID_LEN);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec");
    TCase *tc = tcase_create("codec");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, an_embedding_comes_back_bit_by_bit);
    tcase_add_test(tc, a_record_comes_back_with_all_its_fields);
    tcase_add_test(tc, records_at_the_limits_are_stored_and_beyond_refused);
    tcase_add_test(tc, the_same_record_gives_the_same_bytes_in_whatever_order_its_attributes_come);
    tcase_add_test(tc, a_key_that_stands_twice_is_refused);
    tcase_add_test(tc, the_content_of_a_record_leaves_out_when_it_was_enrolled_and_nothing_else);
    tcase_add_test(tc, a_gallery_comes_back_with_all_its_fields);
    tcase_add_test(tc, a_gallery_out_of_range_is_not_stored);
    tcase_add_test(tc, a_ticket_comes_back_with_all_its_fields);
    tcase_add_test(tc, a_ticket_of_many_records_comes_back);
    tcase_add_test(tc, a_ticket_that_would_not_come_back_is_not_stored);
    tcase_add_test(tc, a_remembered_request_a_counter_and_a_uuid_come_back);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
