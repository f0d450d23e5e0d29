/* Keyed hashes of ids, digests, random bytes and signatures (OpenSSL). Ids never stand in a key of the store: MANIFEST
 * and LOG of RocksDB print keys, and arrest numbers can be guessed, so a plain hash would not do. */
#ifndef GX_KEYS_H
#define GX_KEYS_H

#include "err.h"

#define GX_SECRET_LEN 32
#define GX_KEY_LEN    16
#define GX_DIGEST_LEN 32
#define GX_UUID_LEN   16

struct gx_secret {
    uint8_t bytes[GX_SECRET_LEN];
};
struct gx_key {
    uint8_t bytes[GX_KEY_LEN];
};
struct gx_digest {
    uint8_t bytes[GX_DIGEST_LEN];
};
struct gx_uuid {
    uint8_t bytes[GX_UUID_LEN];
};

enum gx_id_kind { GX_ID_RECORD = 1, GX_ID_ARREST = 2, GX_ID_SUBJECT = 3, GX_ID_REQUEST = 4 };

/* HMAC-SHA-256 (RFC 2104) under @secret of kind, gallery name, 0x00 and id, truncated to 16 bytes. Thread-safe. */
GX_MUST enum gx_status gx_keys_hash(const struct gx_secret *secret, enum gx_id_kind kind, struct gx_slice gallery,
                                    struct gx_slice id, struct gx_key *out_key, struct gx_err *err);

/* SHA-256 (FIPS 180-4) of up to @n pieces, one after the other. */
GX_MUST enum gx_status gx_keys_sha256(const struct gx_slice *pieces, size_t n, struct gx_digest *out,
                                      struct gx_err *err);

/* SHA-256 of what is added piece by piece. end frees it (out NULL: unasked); one thread at a time. */
struct gx_keys_sum;
GX_MUST enum gx_status gx_keys_sum_begin(struct gx_keys_sum **out, struct gx_err *err);
GX_MUST enum gx_status gx_keys_sum_add(struct gx_keys_sum *sum, struct gx_slice piece, struct gx_err *err);
GX_MUST enum gx_status gx_keys_sum_end(struct gx_keys_sum *sum, struct gx_digest *out, struct gx_err *err);

/* HMAC-SHA-256 under @secret of up to @n pieces. */
GX_MUST enum gx_status gx_keys_hmac(const struct gx_secret *secret, const struct gx_slice *pieces, size_t n,
                                    struct gx_digest *out, struct gx_err *err);

/* Random bytes fit for secrets. */
GX_MUST enum gx_status gx_keys_random(void *out, size_t n, struct gx_err *err);

/* A random UUID (RFC 4122 version 4). */
GX_MUST enum gx_status gx_keys_uuid(struct gx_uuid *out, struct gx_err *err);
void gx_keys_uuid_text(const struct gx_uuid *uuid, char out_text[37]);

/* --- keys_sign.c: Ed25519 (RFC 8032), for certificates --- */

#define GX_SIGNATURE_LEN 64

struct gx_signer; /* a pair of keys; may sign in several threads at once */

/* Makes a new pair: @key_path the private key (PEM, PKCS#8, mode 0600), @public_path the public key (PEM,
 * SubjectPublicKeyInfo, 0644). Durable on return. GX_E_EXISTS, GX_E_IO, GX_E_FULL. */
GX_MUST enum gx_status gx_keys_signer_create(const char *key_path, const char *public_path, struct gx_err *err);

/* Reads both files. GX_E_CORRUPT names the file that is missing, no such key, or not of the same pair. */
GX_MUST enum gx_status gx_keys_signer_open(const char *key_path, const char *public_path, struct gx_signer **out,
                                           struct gx_err *err);
void gx_keys_signer_close(struct gx_signer *signer); /* wipes it; NULL is fine */

/* The public key as PEM text; lives as long as the signer. */
struct gx_slice gx_keys_public(const struct gx_signer *signer);
/* What names it: SHA-256 of its SubjectPublicKeyInfo in DER. */
const struct gx_digest *gx_keys_public_digest(const struct gx_signer *signer);

GX_MUST enum gx_status gx_keys_sign(const struct gx_signer *signer, struct gx_slice message,
                                    uint8_t out_signature[GX_SIGNATURE_LEN], struct gx_err *err);

/* Is @signature the one of @message under @public_pem? GX_E_CORRUPT: it is not. GX_E_INVALID: no Ed25519 key in PEM. */
GX_MUST enum gx_status gx_keys_verify(struct gx_slice public_pem, struct gx_slice message,
                                      const uint8_t signature[GX_SIGNATURE_LEN], struct gx_err *err);

#endif
