/* Promises of keys.h. */
#include "keys.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static struct gx_err err;

static void expect_hex(const struct gx_digest *digest, const char *hex)
{
    char got[2 * GX_DIGEST_LEN + 1];
    for (size_t i = 0; i < GX_DIGEST_LEN; i++)
        snprintf(got + 2 * i, 3, "%02x", digest->bytes[i]);
    ck_assert_str_eq(got, hex);
}

START_TEST(sha256_gives_the_values_of_fips_180)
{
    static const struct gx_slice pieces[] = {{(const uint8_t *)"a", 1}, {NULL, 0}, {(const uint8_t *)"bc", 2}};
    struct gx_slice whole = gx_slice_text("abc");
    struct gx_digest digest;
    ck_assert_int_eq(gx_keys_sha256(&whole, 1, &digest, &err), GX_OK);
    expect_hex(&digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ck_assert_int_eq(gx_keys_sha256(pieces, 3, &digest, &err), GX_OK);
    expect_hex(&digest, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ck_assert_int_eq(gx_keys_sha256(NULL, 0, &digest, &err), GX_OK);
    expect_hex(&digest, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
END_TEST

START_TEST(hmac_gives_the_values_of_rfc_4231)
{
    /* HMAC fills short keys up with zeros, so the keys of the RFC fit a secret of 32 bytes. */
    struct gx_secret secret = {{0}};
    struct gx_slice data = gx_slice_text("Hi There");
    struct gx_digest digest;
    memset(secret.bytes, 0x0b, 20);
    ck_assert_int_eq(gx_keys_hmac(&secret, &data, 1, &digest, &err), GX_OK);
    expect_hex(&digest, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");

    struct gx_secret jefe = {"Jefe"};
    const struct gx_slice pieces[] = {gx_slice_text("what do ya want "), {NULL, 0}, gx_slice_text("for nothing?")};
    ck_assert_int_eq(gx_keys_hmac(&jefe, pieces, 3, &digest, &err), GX_OK);
    expect_hex(&digest, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}
END_TEST

static const struct gx_secret secret = {"a secret of thirty-two bytes !!"};

static struct gx_key hash(enum gx_id_kind kind, struct gx_slice gallery, struct gx_slice id)
{
    struct gx_key key;
    ck_assert_int_eq(gx_keys_hash(&secret, kind, gallery, id, &key, &err), GX_OK);
    return key;
}

START_TEST(a_keyed_hash_is_what_format_md_says)
{
    struct gx_slice message = {(const uint8_t *)"\x02mug\0A-77", 9};
    struct gx_digest digest;
    ck_assert_int_eq(gx_keys_hmac(&secret, &message, 1, &digest, &err), GX_OK);
    struct gx_key key = hash(GX_ID_ARREST, gx_slice_text("mug"), gx_slice_text("A-77"));
    ck_assert_mem_eq(key.bytes, digest.bytes, GX_KEY_LEN);
}
END_TEST

START_TEST(whatever_differs_gives_another_key)
{
    struct gx_secret other = secret;
    other.bytes[31] ^= 1;
    struct gx_slice ab = gx_slice_text("ab"), c = gx_slice_text("c"), a = gx_slice_text("a"), bc = gx_slice_text("bc");
    struct gx_key keys[] = {
        hash(GX_ID_RECORD, ab, c),  hash(GX_ID_ARREST, ab, c),
        hash(GX_ID_SUBJECT, ab, c), hash(GX_ID_REQUEST, ab, c),
        hash(GX_ID_RECORD, a, bc),  hash(GX_ID_RECORD, ab, (struct gx_slice){NULL, 0}),
        hash(GX_ID_RECORD, ab, bc), {{0}},
    };
    ck_assert_int_eq(gx_keys_hash(&other, GX_ID_RECORD, ab, c, &keys[7], &err), GX_OK);
    for (size_t i = 0; i < GX_COUNT_OF(keys); i++)
        for (size_t j = 0; j < i; j++)
            ck_assert_mem_ne(keys[i].bytes, keys[j].bytes, GX_KEY_LEN);
    struct gx_key again = hash(GX_ID_RECORD, ab, c);
    ck_assert_mem_eq(again.bytes, keys[0].bytes, GX_KEY_LEN);
}
END_TEST

static void *hash_many(void *arg)
{
    const struct gx_key *wanted = arg;
    for (int i = 0; i < 500; i++) {
        struct gx_key key;
        if (gx_keys_hash(&secret, GX_ID_RECORD, gx_slice_text("g"), gx_slice_text("r"), &key, NULL) != GX_OK ||
            memcmp(key.bytes, wanted->bytes, GX_KEY_LEN) != 0)
            return NULL;
    }
    return arg;
}

START_TEST(threads_may_hash_at_the_same_time)
{
    pthread_t threads[4];
    struct gx_key wanted = hash(GX_ID_RECORD, gx_slice_text("g"), gx_slice_text("r"));
    for (size_t i = 0; i < GX_COUNT_OF(threads); i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, hash_many, &wanted), 0);
    for (size_t i = 0; i < GX_COUNT_OF(threads); i++) {
        void *ok;
        ck_assert_int_eq(pthread_join(threads[i], &ok), 0);
        ck_assert_ptr_nonnull(ok);
    }
}
END_TEST

START_TEST(random_bytes_fill_everything_that_was_asked_for)
{
    enum { N = (2 << 20) + 3 };
    uint8_t *a = calloc(1, N), *b = calloc(1, N);
    ck_assert_ptr_nonnull(a);
    ck_assert_ptr_nonnull(b);
    ck_assert_int_eq(gx_keys_random(a, N, &err), GX_OK);
    ck_assert_int_eq(gx_keys_random(b, N - 1, &err), GX_OK);
    ck_assert_uint_eq(b[N - 1], 0); /* and nothing more */
    ck_assert_mem_ne(a, b, 16);
    static const uint8_t zeros[16];
    for (size_t i = 0; i + 16 <= N; i += 16) /* by chance once in 2^111 runs */
        ck_assert(memcmp(a + i, zeros, 16) != 0);
    ck_assert(memcmp(a + N - 16, zeros, 16) != 0);
    ck_assert_int_eq(gx_keys_random(NULL, 0, &err), GX_OK);
    free(a);
    free(b);
}
END_TEST

START_TEST(a_uuid_is_a_random_one_of_version_4)
{
    struct gx_uuid last = {{0}};
    for (int i = 0; i < 100; i++) {
        struct gx_uuid uuid;
        char text[37];
        ck_assert_int_eq(gx_keys_uuid(&uuid, &err), GX_OK);
        ck_assert_mem_ne(uuid.bytes, last.bytes, GX_UUID_LEN);
        gx_keys_uuid_text(&uuid, text);
        ck_assert_uint_eq(strlen(text), 36);
        ck_assert_int_eq(text[14], '4');
        ck_assert_ptr_nonnull(strchr("89ab", text[19]));
        last = uuid;
    }
}
END_TEST

START_TEST(a_uuid_reads_as_rfc_4122_writes_it)
{
    struct gx_uuid uuid;
    char text[37];
    for (size_t i = 0; i < GX_UUID_LEN; i++)
        uuid.bytes[i] = (uint8_t)(i * 17);
    gx_keys_uuid_text(&uuid, text);
    ck_assert_str_eq(text, "00112233-4455-6677-8899-aabbccddeeff");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keys");
    TCase *tc = tcase_create("keys");
    tcase_add_test(tc, sha256_gives_the_values_of_fips_180);
    tcase_add_test(tc, hmac_gives_the_values_of_rfc_4231);
    tcase_add_test(tc, a_keyed_hash_is_what_format_md_says);
    tcase_add_test(tc, whatever_differs_gives_another_key);
    tcase_add_test(tc, threads_may_hash_at_the_same_time);
    tcase_add_test(tc, random_bytes_fill_everything_that_was_asked_for);
    tcase_add_test(tc, a_uuid_is_a_random_one_of_version_4);
    tcase_add_test(tc, a_uuid_reads_as_rfc_4122_writes_it);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
