/* Signatures: the key pair of certificates.
 *
 * The path of making one: Ed25519 pair -> private key to its file -> public key to its file. Of opening: both files ->
 * the public key of the private one must be that of the public file.
 * What can go wrong: a file that is missing, damaged, protected by a password, of another kind of key, or of another
 * pair; each is said by name. */
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdlib.h>

#include "file.h"
#include "keys.h"

#define FILE_MAX 4096 /* a PEM text of Ed25519 has some 120 bytes */

struct gx_signer {
    EVP_PKEY *key;
    char pem[512]; /* of the public key */
    size_t pem_len;
    struct gx_digest digest;
};

static enum gx_status refuse(const char *what, struct gx_err *err)
{
    ERR_clear_error();
    return gx_fail(err, GX_E_INTERNAL, "OpenSSL cannot %s: check its installation and free memory", what);
}

/* Instead of OpenSSL's own, which asks at the terminal. */
static int no_password(char *out, int n, int writing, void *arg)
{
    (void)out;
    (void)n;
    (void)writing;
    (void)arg;
    return -1;
}

/* --- PEM --- */

/* The key in @pem, or NULL: none, or not Ed25519. */
static EVP_PKEY *read_pem(struct gx_slice pem, bool is_private)
{
    BIO *bio = pem.len > FILE_MAX ? NULL : BIO_new_mem_buf(pem.data, (int)pem.len);
    EVP_PKEY *key = NULL;
    if (bio != NULL && is_private)
        key = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
    else if (bio != NULL)
        key = PEM_read_bio_PUBKEY(bio, NULL, no_password, NULL);
    BIO_free(bio);
    ERR_clear_error();
    if (key != NULL && EVP_PKEY_is_a(key, "ED25519") != 1) {
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}

/* Writes the PEM text of @key to a file. Freeing the BIO wipes what it held. */
static enum gx_status write_pem(EVP_PKEY *key, bool is_private, const char *path, struct gx_err *err)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    int ok = 0;
    if (bio != NULL)
        ok = is_private ? PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)
                        : PEM_write_bio_PUBKEY(bio, key);
    long len = ok == 1 ? BIO_get_mem_data(bio, &text) : 0;
    enum gx_status status = GX_OK;
    if (len <= 0)
        status = refuse("write a key as PEM", err);
    else
        status = gx_file_write(path, (struct gx_slice){(const uint8_t *)text, (size_t)len}, is_private ? 0600 : 0644,
                               false, err);
    BIO_free(bio);
    return status;
}

/* --- the pair --- */

enum gx_status gx_keys_signer_create(const char *key_path, const char *public_path, struct gx_err *err)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    if (key == NULL)
        return refuse("make an Ed25519 key", err);
    enum gx_status status = write_pem(key, true, key_path, err);
    if (status == GX_OK)
        status = write_pem(key, false, public_path, err);
    EVP_PKEY_free(key);
    return status;
}

static enum gx_status read_key(const char *path, bool is_private, EVP_PKEY **out, struct gx_err *err)
{
    struct gx_arena arena; /* wiped by fini */
    struct gx_slice pem;
    gx_arena_init(&arena, 2 * FILE_MAX);
    enum gx_status status = gx_file_read(path, FILE_MAX, &arena, &pem, err);
    if (status == GX_E_NOT_FOUND) {
        status =
            gx_fail(err, GX_E_CORRUPT,
                    "'%s' is missing: certificates are signed and checked with it; put it back from a backup", path);
    } else if (status == GX_OK || status == GX_E_TOO_LARGE) {
        *out = status == GX_OK ? read_pem(pem, is_private) : NULL;
        status = GX_OK;
        if (*out == NULL)
            status = gx_fail(err, GX_E_CORRUPT, "'%s' holds no Ed25519 %s key in PEM: put it back from a backup", path,
                             is_private ? "private" : "public");
    }
    gx_arena_fini(&arena);
    return status;
}

/* Fills pem and digest from the key. */
static enum gx_status describe(struct gx_signer *signer, struct gx_err *err)
{
    uint8_t *der = NULL;
    int der_len = i2d_PUBKEY(signer->key, &der);
    if (der_len <= 0)
        return refuse("write a public key as DER", err);
    struct gx_slice piece = {der, (size_t)der_len};
    enum gx_status status = gx_keys_sha256(&piece, 1, &signer->digest, err);
    OPENSSL_free(der);
    GX_TRY(status);
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    long len = bio != NULL && PEM_write_bio_PUBKEY(bio, signer->key) == 1 ? BIO_get_mem_data(bio, &text) : 0;
    bool fits = len > 0 && (size_t)len <= sizeof(signer->pem);
    if (fits) {
        signer->pem_len = (size_t)len;
        memcpy(signer->pem, text, signer->pem_len);
    }
    BIO_free(bio);
    return fits ? GX_OK : refuse("write a public key as PEM", err);
}

enum gx_status gx_keys_signer_open(const char *key_path, const char *public_path, struct gx_signer **out,
                                   struct gx_err *err)
{
    EVP_PKEY *public = NULL;
    *out = NULL;
    struct gx_signer *signer = calloc(1, sizeof(*signer));
    if (signer == NULL)
        return gx_fail(err, GX_E_NOMEM, "open '%s': out of memory", key_path);
    enum gx_status status = read_key(key_path, true, &signer->key, err);
    if (status == GX_OK)
        status = read_key(public_path, false, &public, err);
    if (status == GX_OK && EVP_PKEY_eq(signer->key, public) != 1)
        status = gx_fail(err, GX_E_CORRUPT, "'%s' is not the public key of '%s': put the pair back from a backup",
                         public_path, key_path);
    if (status == GX_OK)
        status = describe(signer, err);
    EVP_PKEY_free(public);
    ERR_clear_error();
    if (status != GX_OK) {
        gx_keys_signer_close(signer);
        return status;
    }
    *out = signer;
    return GX_OK;
}

void gx_keys_signer_close(struct gx_signer *signer)
{
    if (signer == NULL)
        return;
    EVP_PKEY_free(signer->key); /* wipes the private part */
    free(signer);
}

struct gx_slice gx_keys_public(const struct gx_signer *signer)
{
    return (struct gx_slice){(const uint8_t *)signer->pem, signer->pem_len};
}

const struct gx_digest *gx_keys_public_digest(const struct gx_signer *signer)
{
    return &signer->digest;
}

/* --- signatures --- */

enum gx_status gx_keys_sign(const struct gx_signer *signer, struct gx_slice message,
                            uint8_t out_signature[GX_SIGNATURE_LEN], struct gx_err *err)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    size_t len = GX_SIGNATURE_LEN;
    bool ok = context != NULL && EVP_DigestSignInit(context, NULL, NULL, NULL, signer->key) == 1 &&
              EVP_DigestSign(context, out_signature, &len, message.data, message.len) == 1 && len == GX_SIGNATURE_LEN;
    EVP_MD_CTX_free(context);
    return ok ? GX_OK : refuse("sign", err);
}

enum gx_status gx_keys_verify(struct gx_slice public_pem, struct gx_slice message,
                              const uint8_t signature[GX_SIGNATURE_LEN], struct gx_err *err)
{
    EVP_PKEY *key = read_pem(public_pem, false);
    if (key == NULL)
        return gx_fail(err, GX_E_INVALID, "no Ed25519 public key in PEM: give the file certificate.pub");
    enum gx_status status = GX_OK;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL || EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) != 1)
        status = refuse("check a signature", err);
    else if (EVP_DigestVerify(context, signature, GX_SIGNATURE_LEN, message.data, message.len) != 1)
        status = gx_fail(err, GX_E_CORRUPT, "the signature is not the one of these bytes under this key");
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return status;
}
