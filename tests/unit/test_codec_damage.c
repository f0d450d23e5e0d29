/* Promises of codec.h about bytes: what is stored is what schemas/FORMAT.md says, and nothing else decodes. */
#include "codec.h"

#include <check.h>
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
#define BYTES(literal)   ((struct gx_slice){(const uint8_t *)(literal), sizeof(literal) - 1})
#define OK(call)         ck_assert_msg((call) == GX_OK, "seed %d: %s", SEED, err.text)
#define REFUSED(call, s) ck_assert_int_eq((call), (s))

/* ---------------------------------------------------------------- one interface over all kinds of values */

/* Decodes @value and encodes what came out again into *out_again. */
typedef enum gx_status reencode(struct gx_slice value, struct gx_slice *out_again);

static enum gx_status reencode_record(struct gx_slice value, struct gx_slice *out_again)
{
    struct gx_record record;
    GX_TRY(gx_codec_record_decode(value, &record, &err));
    OK(gx_codec_record_encode(&record, &arena, out_again, &err));
    return GX_OK;
}

static enum gx_status reencode_gallery(struct gx_slice value, struct gx_slice *out_again)
{
    struct gx_gallery_meta meta;
    GX_TRY(gx_codec_gallery_decode(value, &meta, &err));
    OK(gx_codec_gallery_encode(&meta, &arena, out_again, &err));
    return GX_OK;
}

static enum gx_status reencode_ticket(struct gx_slice value, struct gx_slice *out_again)
{
    struct gx_ticket ticket, head;
    enum gx_status status = gx_codec_ticket_decode(value, &arena, &ticket, &err);
    ck_assert_int_eq(gx_codec_ticket_decode(value, NULL, &head, &err), status); /* with and without the rows */
    GX_TRY(status);
    ck_assert_ptr_null(head.rnos);
    ck_assert_uint_eq(head.n_records, ticket.n_records);
    OK(gx_codec_ticket_encode(&ticket, &arena, out_again, &err));
    return GX_OK;
}

static enum gx_status reencode_request(struct gx_slice value, struct gx_slice *out_again)
{
    struct gx_request_memory memory;
    static uint8_t bytes[GX_REQUEST_MEMORY_LEN];
    GX_TRY(gx_codec_request_decode(value, &memory, &err));
    gx_codec_request_encode(&memory, bytes);
    *out_again = (struct gx_slice){bytes, sizeof(bytes)};
    return GX_OK;
}

static enum gx_status reencode_counter(struct gx_slice value, struct gx_slice *out_again)
{
    uint64_t counter;
    static uint8_t bytes[GX_COUNTER_LEN];
    GX_TRY(gx_codec_counter_decode(value, &counter, &err));
    gx_codec_counter_encode(counter, bytes);
    *out_again = (struct gx_slice){bytes, sizeof(bytes)};
    return GX_OK;
}

static enum gx_status reencode_uuid(struct gx_slice value, struct gx_slice *out_again)
{
    struct gx_uuid uuid;
    static uint8_t bytes[GX_UUID_VALUE_LEN];
    GX_TRY(gx_codec_uuid_decode(value, &uuid, &err));
    gx_codec_uuid_encode(&uuid, bytes);
    *out_again = (struct gx_slice){bytes, sizeof(bytes)};
    return GX_OK;
}

static enum gx_status reencode_digest(struct gx_slice value, struct gx_slice *out_again)
{
    struct gx_digest digest;
    static uint8_t bytes[GX_DIGEST_VALUE_LEN];
    GX_TRY(gx_codec_digest_decode(value, &digest, &err));
    gx_codec_digest_encode(&digest, bytes);
    *out_again = (struct gx_slice){bytes, sizeof(bytes)};
    return GX_OK;
}

static enum gx_status reencode_emb(struct gx_slice value, struct gx_slice *out_again)
{
    float row[3];
    static uint8_t bytes[GX_EMB_HEADER_LEN + sizeof(row)];
    GX_TRY(gx_codec_emb_decode(value, 3, row, &err));
    gx_codec_emb_encode(row, 3, bytes);
    *out_again = (struct gx_slice){bytes, sizeof(bytes)};
    return GX_OK;
}

/* ---------------------------------------------------------------- the bytes */

#define ZEROS(n) ZEROS_##n
#define ZEROS_3  "\0\0\0"
#define ZEROS_6  "\0\0\0\0\0\0"
#define ZEROS_7  "\0\0\0\0\0\0\0"
#define ZEROS_8  "\0\0\0\0\0\0\0\0"

/* clang-format off */
#define RECORD_BYTES                                                                \
    "\x01"                              /* format */                                \
    "\x40\x82\x2d\x18\x24\x0a\x06\x00"  /* enrolled_at_us */                        \
    "\x02\x01" ZEROS(6)                 /* epoch */                                 \
    "\x00\x40\x1e\x18\x24\x0a\x06\x00"  /* captured_at_us */                        \
    "\x07\x02\x04" "\x02"               /* lengths of the ids, number of attributes */ \
    "photo-1" "p7" "A-77"                                                           \
    "\x03" "\x01\x00" "sex" "f"                                                     \
    "\x04" "\x00\x00" "site"
#define GALLERY_BYTES                                                               \
    "\x01"                              /* format */                                \
    "\x03\0\0\0"                        /* number */                                \
    "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"              \
    "\x00\x02\0\0"                      /* dim */                                   \
    "\0\0\0\x3f"                        /* default_effort */                        \
    "\x01" ZEROS(7)                     /* created_at_us */                         \
    "\x01"                              /* state */                                 \
    "\x03" "mug" "\x0b" "edgeface-xs" "\x00" "" "\x04" "auto"
#define TICKET_BYTES                                                                \
    "\x01"                              /* format */                                \
    "\x2a" ZEROS(7)                     /* number */                                \
    "\x01" "\x02" "\x01"                /* state, kind, method */                   \
    "\x03\0\0\0"                        /* gallery number */                        \
    "\x05" ZEROS(7) "\x01" ZEROS(7)     /* n_records, n_unmatched */                \
    "\x4d" ZEROS(7)                     /* epoch */                                 \
    "\x0a" ZEROS(7) "\x14" ZEROS(7)     /* accepted_at_us, unindexed_at_us */       \
    "\x1e" ZEROS(7) "\x28" ZEROS(7)     /* flushed_at_us, compacted_at_us */         \
    "\x32" ZEROS(7) "\x3c" ZEROS(7)     /* unlinked_at_us, erased_at_us */           \
    "\x46" ZEROS(7) "\x0f" ZEROS(7)     /* verified_at_us, failed_at_us */           \
    "\x02" ZEROS(7)                     /* attempts */                              \
    "\x03" ZEROS(7) "\x04" ZEROS(7)     /* files_rewritten, bytes_rewritten */       \
    "\x05" ZEROS(7) "\x06" ZEROS(7)     /* files_removed, files_scanned */           \
    "\x07" ZEROS(7) "\x08" ZEROS(7)     /* bytes_scanned, files_left_out */          \
    "\x09" ZEROS(7) "\x0b" ZEROS(7)     /* control_hits, certificate */              \
    "\x03" "\x07\0" "\0\0"              /* lengths of the texts */                  \
    "mug" "order 9"                                                                 \
    "\x01" "\x01" "\x80\x01" "\xee\xa1\x04" "\x8f\xdd\xfb\xff\xff\xff\xff\xff\xff\x01"
#define REQUEST_BYTES                                                               \
    "\x01" ZEROS(7)                     /* format */                                \
    "0123456789abcdef0123456789abcdef"  /* content */                               \
    "\x02" ZEROS(7) "\x03" ZEROS(7)     /* at_us, epoch */                          \
    "\x04" ZEROS(7) "\x05" ZEROS(7)     /* a, b */
#define COUNTER_BYTES "\x01" "\xef\xcd\xab\x89\x67\x45\x23\x01"
#define UUID_BYTES "\x01" "\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f"
#define DIGEST_BYTES "\x01" "0123456789abcdef0123456789abcdef"
#define EMB_BYTES                                                                   \
    "\x01" ZEROS(3)                     /* format */                                \
    "\xea\xff\x77\x6d"                  /* crc32c */                                \
    "\x00\x00\x80\x3f" "\x00\x00\x20\xc0" "\x00\x00\x00\x00"
/* clang-format on */

static const struct {
    const char *name;
    reencode *reencode;
    struct gx_slice bytes;
} kinds[] = {
    {"record", reencode_record, {(const uint8_t *)RECORD_BYTES, sizeof(RECORD_BYTES) - 1}},
    {"gallery", reencode_gallery, {(const uint8_t *)GALLERY_BYTES, sizeof(GALLERY_BYTES) - 1}},
    {"ticket", reencode_ticket, {(const uint8_t *)TICKET_BYTES, sizeof(TICKET_BYTES) - 1}},
    {"request", reencode_request, {(const uint8_t *)REQUEST_BYTES, sizeof(REQUEST_BYTES) - 1}},
    {"counter", reencode_counter, {(const uint8_t *)COUNTER_BYTES, sizeof(COUNTER_BYTES) - 1}},
    {"uuid", reencode_uuid, {(const uint8_t *)UUID_BYTES, sizeof(UUID_BYTES) - 1}},
    {"digest", reencode_digest, {(const uint8_t *)DIGEST_BYTES, sizeof(DIGEST_BYTES) - 1}},
    {"emb", reencode_emb, {(const uint8_t *)EMB_BYTES, sizeof(EMB_BYTES) - 1}},
};

static void expect_bytes(struct gx_slice got, struct gx_slice wanted)
{
    ck_assert_uint_eq(got.len, wanted.len);
    ck_assert_mem_eq(got.data, wanted.data, wanted.len);
}

START_TEST(values_have_the_bytes_of_format_md)
{
    struct gx_slice got;
    struct gx_record record = gx_samples_record();
    OK(gx_codec_record_encode(&record, &arena, &got, &err));
    expect_bytes(got, BYTES(RECORD_BYTES));
    struct gx_gallery_meta meta = gx_samples_gallery();
    OK(gx_codec_gallery_encode(&meta, &arena, &got, &err));
    expect_bytes(got, BYTES(GALLERY_BYTES));
    struct gx_ticket ticket = gx_samples_ticket();
    OK(gx_codec_ticket_encode(&ticket, &arena, &got, &err));
    expect_bytes(got, BYTES(TICKET_BYTES));

    uint8_t bytes[GX_REQUEST_MEMORY_LEN];
    struct gx_request_memory memory = {.at_us = 2, .epoch = 3, .a = 4, .b = 5};
    memcpy(memory.content.bytes, "0123456789abcdef0123456789abcdef", GX_DIGEST_LEN);
    gx_codec_request_encode(&memory, bytes);
    expect_bytes((struct gx_slice){bytes, GX_REQUEST_MEMORY_LEN}, BYTES(REQUEST_BYTES));
    gx_codec_counter_encode(0x0123456789abcdef, bytes);
    expect_bytes((struct gx_slice){bytes, GX_COUNTER_LEN}, BYTES(COUNTER_BYTES));
    gx_codec_uuid_encode(&meta.uuid, bytes);
    expect_bytes((struct gx_slice){bytes, GX_UUID_VALUE_LEN}, BYTES(UUID_BYTES));
    gx_codec_digest_encode(&memory.content, bytes);
    expect_bytes((struct gx_slice){bytes, GX_DIGEST_VALUE_LEN}, BYTES(DIGEST_BYTES));
    ck_assert_uint_eq(gx_codec_emb_len(3), 20);
    gx_codec_emb_encode((float[3]){1, -2.5f, 0}, 3, bytes);
    expect_bytes((struct gx_slice){bytes, 20}, BYTES(EMB_BYTES));
}
END_TEST

/* Decodes a copy that ends where its memory ends, so that a sanitizer sees a byte too many. */
static enum gx_status decode_copy(size_t kind, const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len);
    ck_assert(copy != NULL || len == 0);
    if (len > 0)
        memcpy(copy, bytes, len);
    struct gx_slice again = {0};
    enum gx_status status = kinds[kind].reencode((struct gx_slice){copy, len}, &again);
    if (status == GX_OK)
        ck_assert_msg(gx_slice_equal(again, (struct gx_slice){copy, len}),
                      "seed %d: a %s decoded from bytes that are not its own", SEED, kinds[kind].name);
    else
        ck_assert_int_eq(status, GX_E_CORRUPT);
    free(copy);
    gx_arena_reset(&arena);
    return status;
}

START_TEST(a_value_decodes_to_what_was_encoded)
{
    for (size_t k = 0; k < GX_COUNT_OF(kinds); k++)
        ck_assert_int_eq(decode_copy(k, kinds[k].bytes.data, kinds[k].bytes.len), GX_OK);
}
END_TEST

START_TEST(a_value_that_is_cut_or_longer_is_damaged)
{
    for (size_t k = 0; k < GX_COUNT_OF(kinds); k++) {
        uint8_t longer[256];
        memcpy(longer, kinds[k].bytes.data, kinds[k].bytes.len);
        longer[kinds[k].bytes.len] = 0;
        for (size_t len = 0; len <= kinds[k].bytes.len + 1; len++)
            ck_assert_msg((decode_copy(k, longer, len) == GX_OK) == (len == kinds[k].bytes.len), "%s, %zu bytes",
                          kinds[k].name, len);
    }
}
END_TEST

START_TEST(a_value_of_another_format_is_refused)
{
    for (size_t k = 0; k < GX_COUNT_OF(kinds); k++)
        for (int format = 0; format < 256; format++) {
            uint8_t bytes[256];
            memcpy(bytes, kinds[k].bytes.data, kinds[k].bytes.len);
            bytes[0] = (uint8_t)format;
            ck_assert_int_eq(decode_copy(k, bytes, kinds[k].bytes.len), format == 1 ? GX_OK : GX_E_CORRUPT);
        }
}
END_TEST

START_TEST(any_change_decodes_to_itself_or_is_damage)
{
    for (size_t k = 0; k < GX_COUNT_OF(kinds); k++) {
        size_t n_refused = 0;
        for (size_t i = 0; i < kinds[k].bytes.len; i++)
            for (int bit = 0; bit < 8; bit++) {
                uint8_t bytes[256];
                memcpy(bytes, kinds[k].bytes.data, kinds[k].bytes.len);
                bytes[i] ^= (uint8_t)(1 << bit);
                n_refused += decode_copy(k, bytes, kinds[k].bytes.len) != GX_OK;
            }
        ck_assert_uint_gt(n_refused, 0);
    }
}
END_TEST

START_TEST(random_bytes_decode_to_themselves_or_are_damage)
{
    for (int round = 0; round < 20000; round++) {
        size_t k = gx_random_next(&random_state) % GX_COUNT_OF(kinds), len = gx_random_next(&random_state) % 200;
        uint8_t bytes[256];
        memset(bytes, 0, sizeof(bytes));
        memcpy(bytes, kinds[k].bytes.data, kinds[k].bytes.len);
        for (size_t n = 1 + gx_random_next(&random_state) % 30, i = 0; i < n; i++)
            bytes[1 + gx_random_next(&random_state) % 199] = (uint8_t)gx_random_next(&random_state);
        (void)decode_copy(k, bytes, len);
    }
}
END_TEST

START_TEST(any_changed_byte_of_an_embedding_is_damage)
{
    for (size_t i = 0; i < 20; i++)
        for (int bit = 0; bit < 8; bit++) {
            uint8_t bytes[20];
            memcpy(bytes, EMB_BYTES, 20);
            bytes[i] ^= (uint8_t)(1 << bit);
            float row[3];
            REFUSED(gx_codec_emb_decode((struct gx_slice){bytes, 20}, 3, row, &err), GX_E_CORRUPT);
        }
    float row[4];
    REFUSED(gx_codec_emb_decode(BYTES(EMB_BYTES), 2, row, &err), GX_E_CORRUPT);
    REFUSED(gx_codec_emb_decode(BYTES(EMB_BYTES), 4, row, &err), GX_E_CORRUPT);
}
END_TEST

START_TEST(a_damaged_count_makes_no_room_for_what_is_not_there)
{
    uint8_t bytes[sizeof(TICKET_BYTES)];
    memcpy(bytes, TICKET_BYTES, sizeof(bytes));
    static const uint64_t counts[] = {6, 18, 1000000, 1000001, (uint64_t)1 << 32, UINT64_MAX};
    struct gx_arena small;
    struct gx_ticket ticket;
    gx_arena_init(&small, 1024);
    for (size_t i = 0; i < GX_COUNT_OF(counts); i++) {
        for (size_t j = 0; j < 8; j++)
            bytes[15 + j] = (uint8_t)(counts[i] >> 8 * j);
        REFUSED(gx_codec_ticket_decode((struct gx_slice){bytes, sizeof(bytes) - 1}, &small, &ticket, &err),
                GX_E_CORRUPT);
    }
    gx_arena_fini(&small);
}
END_TEST

START_TEST(row_numbers_have_one_form_only)
{
    /* What stands in place of the last number of the sample: none may pass. */
    static const struct gx_slice bad[] = {
        BYTES("\x00"),                                         /* no step: the same row again */
        BYTES("\x81\x00"),                                     /* longer than need be */
        BYTES("\x90\xdd\xfb\xff\xff\xff\xff\xff\xff\x01"),     /* past the largest number by one */
        BYTES("\x8f\xdd\xfb\xff\xff\xff\xff\xff\xff\x03"),     /* more than 64 bits */
        BYTES("\x8f\xdd\xfb\xff\xff\xff\xff\xff\xff\x81\x00"), /* eleven bytes */
        BYTES("\x8f\xdd"),                                     /* no end */
    };
    for (size_t i = 0; i < GX_COUNT_OF(bad); i++) {
        uint8_t bytes[256];
        size_t head = sizeof(TICKET_BYTES) - 1 - 10;
        memcpy(bytes, TICKET_BYTES, head);
        memcpy(bytes + head, bad[i].data, bad[i].len);
        ck_assert_msg(decode_copy(2, bytes, head + bad[i].len) == GX_E_CORRUPT, "case %zu", i);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec_damage");
    TCase *tc = tcase_create("codec_damage");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, values_have_the_bytes_of_format_md);
    tcase_add_test(tc, a_value_decodes_to_what_was_encoded);
    tcase_add_test(tc, a_value_that_is_cut_or_longer_is_damaged);
    tcase_add_test(tc, a_value_of_another_format_is_refused);
    tcase_add_test(tc, any_change_decodes_to_itself_or_is_damage);
    tcase_add_test(tc, random_bytes_decode_to_themselves_or_are_damage);
    tcase_add_test(tc, any_changed_byte_of_an_embedding_is_damage);
    tcase_add_test(tc, a_damaged_count_makes_no_room_for_what_is_not_there);
    tcase_add_test(tc, row_numbers_have_one_form_only);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
