/* Keyed hashes of ids, digests and random bytes (OpenSSL). Ids never stand in a key of the store: MANIFEST and LOG of
 * RocksDB print keys, and arrest numbers can be guessed, so a plain hash would not do. */
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

/* HMAC-SHA-256 under @secret of up to @n pieces. */
GX_MUST enum gx_status gx_keys_hmac(const struct gx_secret *secret, const struct gx_slice *pieces, size_t n,
                                    struct gx_digest *out, struct gx_err *err);

/* Random bytes fit for secrets. */
GX_MUST enum gx_status gx_keys_random(void *out, size_t n, struct gx_err *err);

/* A random UUID (RFC 4122 version 4). */
GX_MUST enum gx_status gx_keys_uuid(struct gx_uuid *out, struct gx_err *err);
void gx_keys_uuid_text(const struct gx_uuid *uuid, char out_text[37]);

#endif
