/* The manifest of a backup: one form only, and every changed byte is found. */
#include "manifest.h"

#include <check.h>
#include <stdlib.h>

static struct gx_arena arena;

static void begin(void)
{
    gx_arena_init(&arena, (size_t)64 << 20);
}

static void end(void)
{
    gx_arena_fini(&arena);
}

static struct gx_manifest sample(struct gx_manifest_file files[3])
{
    files[0] = (struct gx_manifest_file){gx_slice_text("FORMAT"), 30, {{1, 2, 3}}};
    files[1] = (struct gx_manifest_file){gx_slice_text("secret.key"), 32, {{0xff}}};
    files[2] = (struct gx_manifest_file){gx_slice_text("store/000012.sst"), 8388608, {{0xab}}};
    return (struct gx_manifest){.backup = 3,
                                .store = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
                                .created_at_us = 1790000000000000,
                                .expires_at_us = 1790000086400000,
                                .epoch = 42,
                                .complete = true,
                                .files = files,
                                .n_files = 3};
}

static struct gx_slice encoded(const struct gx_manifest *m)
{
    struct gx_slice text;
    struct gx_err err;
    ck_assert_msg(gx_manifest_encode(m, &arena, &text, &err) == GX_OK, "%s", err.text);
    return text;
}

START_TEST(what_is_written_is_read_again)
{
    struct gx_manifest_file files[3];
    struct gx_manifest m = sample(files), back;
    struct gx_err err;
    for (int complete = 0; complete < 2; complete++) {
        m.complete = complete;
        m.n_files = complete ? 3 : 0;
        ck_assert_msg(gx_manifest_decode(encoded(&m), &arena, &back, &err) == GX_OK, "%s", err.text);
        ck_assert_uint_eq(back.backup, 3);
        ck_assert_mem_eq(&back.store, &m.store, sizeof(m.store));
        ck_assert_int_eq(back.created_at_us, m.created_at_us);
        ck_assert_int_eq(back.expires_at_us, m.expires_at_us);
        ck_assert_uint_eq(back.epoch, 42);
        ck_assert_int_eq(back.complete, complete);
        ck_assert_uint_eq(back.n_files, m.n_files);
        for (size_t i = 0; i < back.n_files; i++) {
            ck_assert(gx_slice_equal(back.files[i].path, files[i].path));
            ck_assert_uint_eq(back.files[i].n_bytes, files[i].n_bytes);
            ck_assert_mem_eq(&back.files[i].digest, &files[i].digest, GX_DIGEST_LEN);
        }
    }
}
END_TEST

START_TEST(the_text_is_the_one_that_the_format_describes)
{
    struct gx_manifest m = {.backup = 3, .created_at_us = 5, .epoch = 7};
    struct gx_slice text = encoded(&m);
    static const char head[] = "indexd backup\nformat 1\nid B-00000003\nstore "
                               "00000000-0000-0000-0000-000000000000\ncreated_at_us 5\nexpires_at_us 0\nepoch "
                               "7\nunfinished\nend ";
    ck_assert_uint_eq(text.len, sizeof(head) - 1 + 65);
    ck_assert_mem_eq(text.data, head, sizeof(head) - 1);
}
END_TEST

/* Each byte in turn, to three other values, and each end cut off. */
START_TEST(a_changed_byte_and_a_missing_end_are_refused)
{
    struct gx_manifest_file files[3];
    struct gx_manifest m = sample(files), back;
    struct gx_slice text = encoded(&m);
    uint8_t *copy = malloc(text.len + 1);
    static const uint8_t flips[] = {0x01, 0x20, 0x80};
    struct gx_err err;
    ck_assert_ptr_nonnull(copy);
    for (size_t i = 0; i < text.len; i++) {
        struct gx_arena own;
        gx_arena_init(&own, (size_t)1 << 20);
        for (size_t f = 0; f < 3; f++) {
            memcpy(copy, text.data, text.len);
            copy[i] ^= flips[f];
            enum gx_status status = gx_manifest_decode((struct gx_slice){copy, text.len}, &own, &back, &err);
            ck_assert_msg(status == GX_E_CORRUPT || status == GX_E_FORMAT, "byte %zu ^ %02x: %d", i, flips[f], status);
        }
        memcpy(copy, text.data, text.len);
        ck_assert_int_ne(gx_manifest_decode((struct gx_slice){copy, i}, &own, &back, &err), GX_OK);
        gx_arena_fini(&own);
    }
    copy[text.len] = '\n';
    ck_assert_int_eq(gx_manifest_decode((struct gx_slice){copy, text.len + 1}, &arena, &back, &err), GX_E_CORRUPT);
    free(copy);
}
END_TEST

START_TEST(only_files_of_a_data_directory_can_be_named)
{
    static const char *const good[] = {"FORMAT", "expunge.log", "store/CURRENT", "store/OPTIONS-000007"};
    static const char *const bad[] = {"",          "/etc/passwd", "../secret.key", "store/",   "store/../x",
                                      "store/.x",  "store/a/b",   "index/x.index", "MANIFEST", "secret.key ",
                                      "store/a b", "Store/a",     "store/a\n",     "store//a", "ballast"};
    for (size_t i = 0; i < GX_COUNT_OF(good); i++)
        ck_assert_msg(gx_manifest_is_path(gx_slice_text(good[i])), "%s", good[i]);
    for (size_t i = 0; i < GX_COUNT_OF(bad); i++) {
        struct gx_manifest_file file = {.path = gx_slice_text(bad[i])};
        struct gx_manifest m = {.backup = 1, .complete = true, .files = &file, .n_files = 1};
        struct gx_slice text;
        struct gx_err err;
        ck_assert_msg(!gx_manifest_is_path(gx_slice_text(bad[i])), "%s", bad[i]);
        ck_assert_int_eq(gx_manifest_encode(&m, &arena, &text, &err), GX_E_INVALID);
    }
}
END_TEST

START_TEST(ids_have_one_form)
{
    static const char *const bad[] = {"", "B-", "B-0", "b-1", "B-1x", "B-99999999999999999999", "T-1", "B--1"};
    char id[GX_MANIFEST_ID_MAX];
    uint64_t n;
    struct gx_err err;
    gx_manifest_id(3, id);
    ck_assert_str_eq(id, "B-00000003");
    ck_assert_int_eq(gx_manifest_id_number(gx_slice_text(id), &n, &err), GX_OK);
    ck_assert_uint_eq(n, 3);
    for (size_t i = 0; i < GX_COUNT_OF(bad); i++)
        ck_assert_msg(gx_manifest_id_number(gx_slice_text(bad[i]), &n, &err) == GX_E_INVALID, "%s", bad[i]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("manifest");
    TCase *tc = tcase_create("manifest");
    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, what_is_written_is_read_again);
    tcase_add_test(tc, the_text_is_the_one_that_the_format_describes);
    tcase_add_test(tc, a_changed_byte_and_a_missing_end_are_refused);
    tcase_add_test(tc, only_files_of_a_data_directory_can_be_named);
    tcase_add_test(tc, ids_have_one_form);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
