/* With keys_sign.c the only user of OpenSSL. */
#include "keys.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <pthread.h>

/* Fetched once, because a fetch costs as much as a hash; they live as long as the process. */
static EVP_MAC *hmac;
static EVP_MD *sha256;
static pthread_once_t fetch_once = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

/* OpenSSL's own error texts may quote the configuration, never the input; they add nothing a user could act on. */
static enum gx_status refuse(const char *what, struct gx_err *err)
{
    ERR_clear_error();
    return gx_fail(err, GX_E_INTERNAL, "OpenSSL cannot compute %s: check its installation and free memory", what);
}

enum gx_status gx_keys_hmac(const struct gx_secret *secret, const struct gx_slice *pieces, size_t n,
                            struct gx_digest *out, struct gx_err *err)
{
    (void)pthread_once(&fetch_once, fetch);
    EVP_MAC_CTX *context = hmac == NULL ? NULL : EVP_MAC_CTX_new(hmac);
    if (context == NULL)
        return refuse("HMAC-SHA-256", err);
    char digest_name[] = "SHA256";
    OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest_name, 0),
                           OSSL_PARAM_construct_end()};
    size_t len = 0;
    bool ok = EVP_MAC_init(context, secret->bytes, sizeof(secret->bytes), params) == 1;
    for (size_t i = 0; i < n && ok; i++)
        ok = EVP_MAC_update(context, pieces[i].data, pieces[i].len) == 1;
    ok = ok && EVP_MAC_final(context, out->bytes, &len, sizeof(out->bytes)) == 1 && len == sizeof(out->bytes);
    EVP_MAC_CTX_free(context);
    return ok ? GX_OK : refuse("HMAC-SHA-256", err);
}

enum gx_status gx_keys_hash(const struct gx_secret *secret, enum gx_id_kind kind, struct gx_slice gallery,
                            struct gx_slice id, struct gx_key *out_key, struct gx_err *err)
{
    /* Gallery names hold no 0x00, so no two pairs of gallery and id give the same bytes. */
    const uint8_t kind_byte = (uint8_t)kind, end = 0;
    const struct gx_slice pieces[] = {{&kind_byte, 1}, gallery, {&end, 1}, id};
    struct gx_digest digest;
    GX_TRY(gx_keys_hmac(secret, pieces, GX_COUNT_OF(pieces), &digest, err));
    memcpy(out_key->bytes, digest.bytes, sizeof(out_key->bytes));
    return GX_OK;
}

enum gx_status gx_keys_sha256(const struct gx_slice *pieces, size_t n, struct gx_digest *out, struct gx_err *err)
{
    (void)pthread_once(&fetch_once, fetch);
    EVP_MD_CTX *context = sha256 == NULL ? NULL : EVP_MD_CTX_new();
    if (context == NULL)
        return refuse("SHA-256", err);
    bool ok = EVP_DigestInit_ex(context, sha256, NULL) == 1;
    for (size_t i = 0; i < n && ok; i++)
        ok = EVP_DigestUpdate(context, pieces[i].data, pieces[i].len) == 1;
    ok = ok && EVP_DigestFinal_ex(context, out->bytes, NULL) == 1;
    EVP_MD_CTX_free(context);
    return ok ? GX_OK : refuse("SHA-256", err);
}

/* An OpenSSL context by our own name. */
enum gx_status gx_keys_sum_begin(struct gx_keys_sum **out, struct gx_err *err)
{
    (void)pthread_once(&fetch_once, fetch);
    EVP_MD_CTX *context = sha256 == NULL ? NULL : EVP_MD_CTX_new();
    *out = (struct gx_keys_sum *)context;
    if (context != NULL && EVP_DigestInit_ex(context, sha256, NULL) == 1)
        return GX_OK;
    EVP_MD_CTX_free(context);
    *out = NULL;
    return refuse("SHA-256", err);
}

enum gx_status gx_keys_sum_add(struct gx_keys_sum *sum, struct gx_slice piece, struct gx_err *err)
{
    return EVP_DigestUpdate((EVP_MD_CTX *)sum, piece.data, piece.len) == 1 ? GX_OK : refuse("SHA-256", err);
}

enum gx_status gx_keys_sum_end(struct gx_keys_sum *sum, struct gx_digest *out, struct gx_err *err)
{
    bool ok = sum == NULL || out == NULL || EVP_DigestFinal_ex((EVP_MD_CTX *)sum, out->bytes, NULL) == 1;
    EVP_MD_CTX_free((EVP_MD_CTX *)sum);
    return ok ? GX_OK : refuse("SHA-256", err);
}

enum gx_status gx_keys_random(void *out, size_t n, struct gx_err *err)
{
    uint8_t *p = out;
    while (n > 0) {
        size_t piece = GX_MIN(n, (size_t)1 << 20);
        if (RAND_bytes(p, (int)piece) != 1) {
            explicit_bzero(out, (size_t)(p - (uint8_t *)out));
            ERR_clear_error();
            return gx_fail(err, GX_E_INTERNAL, "OpenSSL gives no random bytes: check its installation");
        }
        p += piece;
        n -= piece;
    }
    return GX_OK;
}

enum gx_status gx_keys_uuid(struct gx_uuid *out, struct gx_err *err)
{
    GX_TRY(gx_keys_random(out->bytes, sizeof(out->bytes), err));
    out->bytes[6] = (uint8_t)((out->bytes[6] & 0x0f) | 0x40); /* version 4 */
    out->bytes[8] = (uint8_t)((out->bytes[8] & 0x3f) | 0x80); /* variant of RFC 4122 */
    return GX_OK;
}

void gx_keys_uuid_text(const struct gx_uuid *uuid, char out_text[37])
{
    static const char digits[] = "0123456789abcdef";
    char *p = out_text;
    for (size_t i = 0; i < GX_UUID_LEN; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *p++ = '-';
        *p++ = digits[uuid->bytes[i] >> 4];
        *p++ = digits[uuid->bytes[i] & 15];
    }
    *p = 0;
}
