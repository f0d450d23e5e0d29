/* Backup messages: ranges are held, what is built reads as it was. */
#include <stdlib.h>

#include "indexd/v1/backups.pb-c.h"
#include "wire.h"

#include <check.h>

static struct gx_arena arena;
static uint8_t packed[4096];

static void begin(void)
{
    gx_arena_init(&arena, (size_t)1 << 20);
}

static void end(void)
{
    gx_arena_fini(&arena);
}

static struct gx_slice pack(const ProtobufCMessage *message)
{
    ck_assert_uint_le(protobuf_c_message_get_packed_size(message), sizeof(packed));
    return (struct gx_slice){packed, protobuf_c_message_pack(message, packed)};
}

static ProtobufCBinaryData bytes(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

START_TEST(a_request_to_create_is_checked)
{
    static char long_one[GX_BACKUP_DIR_MAX + 2];
    memset(long_one, 'a', GX_BACKUP_DIR_MAX + 1);
    const struct {
        const char *directory;
        uint64_t expires_in_s;
        enum gx_status status;
    } cases[] = {{"/backup/a", 0, GX_OK},
                 {"/backup/a", (uint64_t)GX_BACKUP_DAYS_MAX * 86400, GX_OK},
                 {"/backup/a", (uint64_t)GX_BACKUP_DAYS_MAX * 86400 + 1, GX_E_INVALID},
                 {"/backup/a", UINT64_MAX, GX_E_INVALID},
                 {"", 0, GX_E_INVALID},
                 {"/a\nb", 0, GX_E_INVALID},
                 {"/a\xff", 0, GX_E_INVALID},
                 {long_one, 0, GX_E_INVALID}};
    for (size_t i = 0; i < GX_COUNT_OF(cases); i++) {
        Indexd__V1__CreateBackupRequest request = INDEXD__V1__CREATE_BACKUP_REQUEST__INIT;
        struct gx_backup_in in;
        struct gx_err err;
        request.directory = bytes(cases[i].directory);
        request.expires_in_s = cases[i].expires_in_s;
        ck_assert_msg(gx_wire_backups_decode_create(pack(&request.base), &arena, &in, &err) == cases[i].status,
                      "case %zu", i);
        if (cases[i].status != GX_OK)
            continue;
        ck_assert(gx_slice_equal(in.directory, gx_slice_text(cases[i].directory)));
        ck_assert_int_eq(in.expires_in_us, (int64_t)cases[i].expires_in_s * 1000000);
    }
}
END_TEST

START_TEST(a_zero_byte_in_a_directory_is_not_its_end)
{
    Indexd__V1__CreateBackupRequest request = INDEXD__V1__CREATE_BACKUP_REQUEST__INIT;
    struct gx_backup_in in;
    struct gx_err err;
    request.directory = (ProtobufCBinaryData){4, (uint8_t *)(uintptr_t) "/a\0b"};
    ck_assert_int_eq(gx_wire_backups_decode_create(pack(&request.base), &arena, &in, &err), GX_E_INVALID);
}
END_TEST

START_TEST(a_request_to_delete_names_a_backup)
{
    static const char *const bad[] = {"", "3", "T-00000003", "B-", "B-0", "B-3 "};
    Indexd__V1__DeleteBackupRequest request = INDEXD__V1__DELETE_BACKUP_REQUEST__INIT;
    uint64_t number;
    bool gone;
    struct gx_err err;
    request.backup_id = bytes("B-00000003");
    request.files_are_gone = true;
    ck_assert_int_eq(gx_wire_backups_decode_delete(pack(&request.base), &arena, &number, &gone, &err), GX_OK);
    ck_assert(number == 3 && gone);
    for (size_t i = 0; i < GX_COUNT_OF(bad); i++) {
        request.backup_id = bytes(bad[i]);
        ck_assert_int_eq(gx_wire_backups_decode_delete(pack(&request.base), &arena, &number, &gone, &err),
                         GX_E_INVALID);
    }
    struct gx_slice garbage = {(const uint8_t *)"\xff\xff\xff", 3};
    ck_assert_int_ne(gx_wire_backups_decode_delete(garbage, &arena, &number, &gone, &err), GX_OK);
    ck_assert_int_ne(gx_wire_backups_decode_list(garbage, &arena, &gone, &err), GX_OK);
}
END_TEST

static struct gx_backup sample(uint64_t number)
{
    struct gx_backup b = {.number = number,
                          .state = GX_BACKUP_EXPIRED,
                          .created_at_us = 1,
                          .expires_at_us = 2,
                          .gone_at_us = 3,
                          .epoch = 4,
                          .n_bytes = 5,
                          .n_files = 6};
    memset(b.directory, 'd', GX_BACKUP_DIR_MAX);
    return b;
}

static void assert_sample(const Indexd__V1__Backup *b, const char *id)
{
    ck_assert_uint_eq(b->backup_id.len, strlen(id));
    ck_assert_mem_eq(b->backup_id.data, id, strlen(id));
    ck_assert_int_eq((int)b->state, GX_BACKUP_EXPIRED);
    ck_assert_uint_eq(b->directory.len, GX_BACKUP_DIR_MAX);
    ck_assert(b->created_at_us == 1 && b->expires_at_us == 2 && b->gone_at_us == 3);
    ck_assert(b->epoch == 4 && b->bytes == 5 && b->files == 6);
}

static void *sent(const struct gx_wire_reply *reply, const ProtobufCMessageDescriptor *type)
{
    ck_assert_uint_le(reply->len, sizeof(packed));
    gx_wire_pack(reply, packed);
    void *message = protobuf_c_message_unpack(type, NULL, reply->len, packed);
    ck_assert_ptr_nonnull(message);
    return message;
}

START_TEST(replies_say_what_there_is)
{
    struct gx_backup backups[2] = {sample(12), sample(3)};
    struct gx_wire_reply reply;
    struct gx_err err;
    gx_wire_backups_build_one(&backups[0], &reply);
    Indexd__V1__Backup *one = sent(&reply, &indexd__v1__backup__descriptor);
    assert_sample(one, "B-00000012");
    protobuf_c_message_free_unpacked(&one->base, NULL);
    gx_wire_backups_build_made(&backups[1], &reply);
    Indexd__V1__CreateBackupProgress *p = sent(&reply, &indexd__v1__create_backup_progress__descriptor);
    assert_sample(p->backup, "B-00000003");
    protobuf_c_message_free_unpacked(&p->base, NULL);
    const struct gx_backup_progress progress = {"copying", 7, 8};
    gx_wire_backups_build_progress(&progress, &reply);
    p = sent(&reply, &indexd__v1__create_backup_progress__descriptor);
    ck_assert(p->backup == NULL && p->bytes_done == 7 && p->bytes_total == 8 && p->stage.len == 7);
    protobuf_c_message_free_unpacked(&p->base, NULL);
    ck_assert_int_eq(gx_wire_backups_build_list(backups, 2, &arena, &reply, &err), GX_OK);
    Indexd__V1__ListBackupsResponse *list = sent(&reply, &indexd__v1__list_backups_response__descriptor);
    ck_assert_uint_eq(list->n_backups, 2);
    assert_sample(list->backups[1], "B-00000003");
    protobuf_c_message_free_unpacked(&list->base, NULL);
    ck_assert_int_eq(gx_wire_backups_build_list(NULL, 0, &arena, &reply, &err), GX_OK);
    ck_assert_uint_eq(reply.len, 0);
}
END_TEST

/* The register's value, byte by byte, and what is no such value. */
START_TEST(the_register_holds_what_was_put_there)
{
    struct gx_backup b = {.number = 0x0102,
                          .state = GX_BACKUP_COMPLETE,
                          .created_at_us = 3,
                          .expires_at_us = 4,
                          .gone_at_us = 5,
                          .epoch = 6,
                          .n_bytes = 7,
                          .n_files = 8,
                          .directory = "/b"},
                     back;
    static const uint8_t bytes_of[] = {1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0,   0,
                                       5, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 7,   0,
                                       0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 0, '/', 'b'};
    uint8_t value[GX_BACKUP_VALUE_MAX], key[GX_KEY_BACKUP_LEN];
    struct gx_err err;
    size_t len = gx_codec_backup_encode(&b, value);
    gx_codec_key_backup(b.number, key);
    ck_assert_mem_eq(key, "b\0\0\0\0\0\0\1\2", sizeof(key));
    ck_assert_uint_eq(len, sizeof(bytes_of));
    ck_assert_mem_eq(value, bytes_of, len);
    struct gx_slice k = {key, sizeof(key)};
    ck_assert_int_eq(gx_codec_backup_decode(k, (struct gx_slice){value, len}, &back, &err), GX_OK);
    ck_assert_mem_eq(&back, &b, sizeof(b));
    for (size_t n = 0; n < len; n++)
        ck_assert_int_eq(gx_codec_backup_decode(k, (struct gx_slice){value, n}, &back, &err), GX_E_CORRUPT);
    static const struct {
        size_t at;
        uint8_t byte;
    } bad[] = {{0, 2}, {1, 0}, {1, 4}, {50, 0}, {50, 3}, {51, 1}, {52, 0}};
    for (size_t i = 0; i < GX_COUNT_OF(bad); i++) {
        memcpy(value, bytes_of, len);
        value[bad[i].at] = bad[i].byte;
        ck_assert_int_eq(gx_codec_backup_decode(k, (struct gx_slice){value, len}, &back, &err), GX_E_CORRUPT);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("wire_backups");
    TCase *tc = tcase_create("wire_backups");
    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, a_request_to_create_is_checked);
    tcase_add_test(tc, a_zero_byte_in_a_directory_is_not_its_end);
    tcase_add_test(tc, a_request_to_delete_names_a_backup);
    tcase_add_test(tc, replies_say_what_there_is);
    tcase_add_test(tc, the_register_holds_what_was_put_there);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
