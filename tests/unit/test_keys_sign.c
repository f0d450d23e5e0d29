/* Promises of keys.h about signatures. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "keys.h"
#include "temp.h"

static char dir[64], key_path[128], public_path[128];
static struct gx_err err;

static void begin(void)
{
    gx_temp_folder("keys", dir, sizeof(dir));
    (void)snprintf(key_path, sizeof(key_path), "%s/certificate.key", dir);
    (void)snprintf(public_path, sizeof(public_path), "%s/certificate.pub", dir);
}

static void end(void)
{
    ck_assert_int_eq(gx_file_remove_tree(dir, NULL), GX_OK);
}

static void create(void)
{
    ck_assert_msg(gx_keys_signer_create(key_path, public_path, &err) == GX_OK, "%s", err.text);
}

static struct gx_signer *open_pair(void)
{
    struct gx_signer *signer;
    ck_assert_msg(gx_keys_signer_open(key_path, public_path, &signer, &err) == GX_OK, "%s", err.text);
    return signer;
}

/* The pair is refused, in a line that names the file. */
static void assert_refused(const char *file)
{
    struct gx_signer *signer;
    ck_assert_int_eq(gx_keys_signer_open(key_path, public_path, &signer, &err), GX_E_CORRUPT);
    ck_assert_ptr_null(signer);
    ck_assert_msg(strstr(err.text, file) != NULL && strchr(err.text, '\n') == NULL, "%s", err.text);
}

static void put(const char *path, const char *text)
{
    ck_assert_int_eq(gx_file_write(path, gx_slice_text(text), 0600, true, &err), GX_OK);
}

START_TEST(signature_holds_for_its_message_only)
{
    create();
    struct gx_signer *signer = open_pair();
    struct gx_slice message = gx_slice_text("erased"), other = gx_slice_text("erasee");
    uint8_t signature[GX_SIGNATURE_LEN], again[GX_SIGNATURE_LEN];
    ck_assert_int_eq(gx_keys_sign(signer, message, signature, &err), GX_OK);
    ck_assert_int_eq(gx_keys_sign(signer, message, again, &err), GX_OK);
    ck_assert_mem_eq(signature, again, sizeof(again));
    ck_assert_int_eq(gx_keys_verify(gx_keys_public(signer), message, signature, &err), GX_OK);
    ck_assert_int_eq(gx_keys_verify(gx_keys_public(signer), other, signature, &err), GX_E_CORRUPT);
    for (size_t i = 0; i < sizeof(signature); i++) {
        signature[i] ^= (uint8_t)(1u << i % 8);
        ck_assert_int_eq(gx_keys_verify(gx_keys_public(signer), message, signature, &err), GX_E_CORRUPT);
        signature[i] ^= (uint8_t)(1u << i % 8);
    }
    gx_keys_signer_close(signer);
}
END_TEST

START_TEST(signature_is_the_one_of_rfc_8032)
{
    /* Section 7.1, test 2: a message of one byte. */
    static const char pem[] = "-----BEGIN PUBLIC KEY-----\n"
                              "MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n"
                              "-----END PUBLIC KEY-----\n";
    static const uint8_t signature[GX_SIGNATURE_LEN] = {
        0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8, 0x72, 0x0e, 0x82, 0x0b, 0x5f, 0x64, 0x25, 0x40,
        0xa2, 0xb2, 0x7b, 0x54, 0x16, 0x50, 0x3f, 0x8f, 0xb3, 0x76, 0x22, 0x23, 0xeb, 0xdb, 0x69, 0xda,
        0x08, 0x5a, 0xc1, 0xe4, 0x3e, 0x15, 0x99, 0x6e, 0x45, 0x8f, 0x36, 0x13, 0xd0, 0xf1, 0x1d, 0x8c,
        0x38, 0x7b, 0x2e, 0xae, 0xb4, 0x30, 0x2a, 0xee, 0xb0, 0x0d, 0x29, 0x16, 0x12, 0xbb, 0x0c, 0x00};
    struct gx_slice message = {(const uint8_t *)"\x72", 1};
    ck_assert_msg(gx_keys_verify(gx_slice_text(pem), message, signature, &err) == GX_OK, "%s", err.text);
    ck_assert_int_eq(gx_keys_verify(gx_slice_text("PUBLIC KEY"), message, signature, &err), GX_E_INVALID);
    ck_assert_int_eq(gx_keys_verify((struct gx_slice){NULL, 0}, message, signature, &err), GX_E_INVALID);
}
END_TEST

START_TEST(pair_survives_reopening_and_only_its_owner_reads_the_private_key)
{
    struct stat st;
    create();
    struct gx_signer *a = open_pair(), *b = open_pair();
    ck_assert_mem_eq(gx_keys_public_digest(a), gx_keys_public_digest(b), GX_DIGEST_LEN);
    ck_assert(gx_slice_equal(gx_keys_public(a), gx_keys_public(b)));
    ck_assert_int_eq(stat(key_path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(stat(public_path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0644);
    gx_keys_signer_close(a);
    gx_keys_signer_close(b);
    gx_keys_signer_close(NULL);
}
END_TEST

START_TEST(existing_keys_are_never_replaced)
{
    create();
    ck_assert_int_eq(gx_keys_signer_create(key_path, public_path, &err), GX_E_EXISTS);
    struct gx_signer *signer = open_pair();
    gx_keys_signer_close(signer);
    ck_assert_int_eq(unlink(key_path), 0);
    ck_assert_int_eq(gx_keys_signer_create(key_path, public_path, &err), GX_E_EXISTS);
}
END_TEST

START_TEST(missing_or_damaged_file_is_refused_by_name)
{
    create();
    ck_assert_int_eq(truncate(public_path, 60), 0);
    assert_refused("certificate.pub");
    put(public_path, "");
    assert_refused("certificate.pub");
    ck_assert_int_eq(unlink(public_path), 0);
    assert_refused("certificate.pub' is missing");
    ck_assert_int_eq(truncate(key_path, 60), 0);
    assert_refused("certificate.key");
    char *large = calloc(1, 10000);
    ck_assert_ptr_nonnull(large);
    memset(large, '-', 9999);
    put(key_path, large);
    free(large);
    assert_refused("certificate.key");
    ck_assert_int_eq(unlink(key_path), 0);
    assert_refused("certificate.key' is missing");
}
END_TEST

START_TEST(keys_of_two_pairs_are_refused)
{
    char other_key[128], other_public[128];
    (void)snprintf(other_key, sizeof(other_key), "%s/other.key", dir);
    (void)snprintf(other_public, sizeof(other_public), "%s/other.pub", dir);
    create();
    ck_assert_int_eq(gx_keys_signer_create(other_key, other_public, &err), GX_OK);
    ck_assert_int_eq(rename(other_public, public_path), 0);
    assert_refused("certificate.pub' is not the public key of");
}
END_TEST

START_TEST(key_of_another_kind_or_with_a_password_is_refused_without_asking)
{
    create();
    static const char *const ways[] = {"-algorithm x25519", "-algorithm rsa -pkeyopt rsa_keygen_bits:1024",
                                       "-algorithm ed25519 -aes-128-cbc -pass pass:x"};
    for (size_t i = 0; i < GX_COUNT_OF(ways); i++) {
        char command[400];
        (void)snprintf(command, sizeof(command), "openssl genpkey %s -out '%s' 2>/dev/null </dev/null", ways[i],
                       key_path);
        ck_assert_int_eq(system(command), 0);
        assert_refused("certificate.key");
    }
}
END_TEST

START_TEST(create_that_cannot_write_fails_and_says_where)
{
    (void)snprintf(public_path, sizeof(public_path), "%s/nowhere/certificate.pub", dir);
    ck_assert_int_ne(gx_keys_signer_create(key_path, public_path, &err), GX_OK);
    ck_assert_ptr_nonnull(strstr(err.text, "nowhere"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keys_sign");
    TCase *tc = tcase_create("keys_sign");
    tcase_add_checked_fixture(tc, begin, end);
    tcase_add_test(tc, signature_holds_for_its_message_only);
    tcase_add_test(tc, signature_is_the_one_of_rfc_8032);
    tcase_add_test(tc, pair_survives_reopening_and_only_its_owner_reads_the_private_key);
    tcase_add_test(tc, existing_keys_are_never_replaced);
    tcase_add_test(tc, missing_or_damaged_file_is_refused_by_name);
    tcase_add_test(tc, keys_of_two_pairs_are_refused);
    tcase_add_test(tc, key_of_another_kind_or_with_a_password_is_refused_without_asking);
    tcase_add_test(tc, create_that_cannot_write_fails_and_says_where);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
