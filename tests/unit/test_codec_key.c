/* Promises of codec.h about keys. The bytes are those of schemas/FORMAT.md. */
#include "codec.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#define T(text) gx_slice_text(text)

START_TEST(keys_have_the_bytes_of_format_md)
{
    struct gx_key key = {{0}};
    memcpy(key.bytes, "ABCDEFGHIJKLMNOP", GX_KEY_LEN);
    uint8_t out[GX_KEY_LIST_LEN];
    gx_codec_row_key(0x01020304, 0x05060708090a0b0c, out);
    ck_assert_mem_eq(out, "\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c", GX_KEY_ROW_LEN);
    gx_codec_id_key(7, &key, out);
    ck_assert_mem_eq(out,
                     "\0\0\0\x07"
                     "ABCDEFGHIJKLMNOP",
                     GX_KEY_ID_LEN);
    gx_codec_list_key(7, &key, 9, out);
    ck_assert_mem_eq(out,
                     "\0\0\0\x07"
                     "ABCDEFGHIJKLMNOP\0\0\0\0\0\0\0\x09",
                     GX_KEY_LIST_LEN);
    gx_codec_key_gallery(7, out);
    ck_assert_mem_eq(out, "g\0\0\0\x07", GX_KEY_GALLERY_LEN);
    gx_codec_key_request(&key, out);
    ck_assert_mem_eq(out, "rABCDEFGHIJKLMNOP", GX_KEY_REQUEST_LEN);
    gx_codec_key_certificate(258, out);
    ck_assert_mem_eq(out, "c\0\0\0\0\0\0\x01\x02", GX_KEY_CERTIFICATE_LEN);
    gx_codec_key_ticket(258, out);
    ck_assert_mem_eq(out, "\0\0\0\0\0\0\x01\x02", GX_KEY_TICKET_LEN);
    ck_assert(gx_slice_equal(gx_codec_key_schema(), T("schema")));
    ck_assert(gx_slice_equal(gx_codec_key_store_uuid(), T("store_uuid")));
    ck_assert(gx_slice_equal(gx_codec_key_next_rno(), T("next_rno")));
    ck_assert(gx_slice_equal(gx_codec_key_next_gallery(), T("next_gallery")));
    ck_assert(gx_slice_equal(gx_codec_key_next_ticket(), T("next_ticket")));
    ck_assert(gx_slice_equal(gx_codec_key_epoch(), T("epoch")));
    ck_assert(gx_slice_equal(gx_codec_key_signing_key(), T("signing_key")));
}
END_TEST

START_TEST(the_order_of_keys_is_the_order_of_numbers)
{
    static const uint64_t numbers[] = {0, 1, 255, 256, 65535, 1u << 31, UINT32_MAX, (uint64_t)1 << 63, UINT64_MAX};
    uint8_t last[GX_KEY_ROW_LEN], key[GX_KEY_ROW_LEN];
    for (size_t i = 0; i < GX_COUNT_OF(numbers); i++) {
        gx_codec_row_key(1, numbers[i], key);
        ck_assert_uint_eq(gx_codec_get_u32(key), 1);
        ck_assert_uint_eq(gx_codec_get_u64(key + 4), numbers[i]);
        if (i > 0)
            ck_assert_int_lt(memcmp(last, key, sizeof(key)), 0);
        memcpy(last, key, sizeof(key));
    }
    gx_codec_row_key(2, 0, key);
    ck_assert_int_lt(memcmp(last, key, sizeof(key)), 0);
}
END_TEST

START_TEST(a_certificate_is_stored_as_its_bytes_behind_the_format)
{
    struct gx_arena arena;
    struct gx_slice value, again;
    struct gx_err err;
    gx_arena_init(&arena, 4096);
    ck_assert_int_eq(gx_codec_certificate_encode(T("{}\n"), &arena, &value, &err), GX_OK);
    ck_assert(gx_slice_equal(value, T("\x01{}\n")));
    ck_assert_int_eq(gx_codec_certificate_decode(value, &again, &err), GX_OK);
    ck_assert(gx_slice_equal(again, T("{}\n")));
    ck_assert_int_eq(gx_codec_certificate_decode(T("\x02{}\n"), &again, &err), GX_E_CORRUPT);
    ck_assert_int_eq(gx_codec_certificate_decode(T("\x01"), &again, &err), GX_E_CORRUPT);
    ck_assert_int_eq(gx_codec_certificate_decode(T(""), &again, &err), GX_E_CORRUPT);
    gx_arena_fini(&arena);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("codec_key");
    TCase *tc = tcase_create("codec_key");
    tcase_add_test(tc, keys_have_the_bytes_of_format_md);
    tcase_add_test(tc, the_order_of_keys_is_the_order_of_numbers);
    tcase_add_test(tc, a_certificate_is_stored_as_its_bytes_behind_the_format);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
