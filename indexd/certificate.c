/* Certificates in the store, and the key pair of a data directory.
 *
 * What can go wrong at start: certificate.key or certificate.pub is missing, damaged, of another pair, or the pair is
 * another data directory's (the store notes which one is its own): refused, with the file's name. */
#include "certificate.h"

#include "file.h"
#include "gallery_private.h"

#define KEY_FILE    "certificate.key"
#define PUBLIC_FILE "certificate.pub"

/* --- the key pair --- */

static enum gx_status open_pair(const char *dir, struct gx_signer **out, struct gx_err *err)
{
    char key_path[1100], public_path[1100];
    GX_TRY(gx_file_path(dir, KEY_FILE, key_path, sizeof(key_path), err));
    GX_TRY(gx_file_path(dir, PUBLIC_FILE, public_path, sizeof(public_path), err));
    return gx_keys_signer_open(key_path, public_path, out, err);
}

enum gx_status gx_certificate_create_key(const char *dir, struct gx_store_batch *batch, struct gx_err *err)
{
    char key_path[1100], public_path[1100];
    struct gx_signer *signer;
    uint8_t value[GX_DIGEST_VALUE_LEN];
    GX_TRY(gx_file_path(dir, KEY_FILE, key_path, sizeof(key_path), err));
    GX_TRY(gx_file_path(dir, PUBLIC_FILE, public_path, sizeof(public_path), err));
    GX_TRY(gx_keys_signer_create(key_path, public_path, err));
    GX_TRY(open_pair(dir, &signer, err));
    gx_codec_digest_encode(gx_keys_public_digest(signer), value);
    gx_store_batch_put(batch, GX_CF_DEFAULT, gx_codec_key_signing_key(), (struct gx_slice){value, sizeof(value)});
    gx_keys_signer_close(signer);
    return GX_OK;
}

enum gx_status gx_certificate_open_key(struct gx_galleries *galleries, struct gx_arena *arena, struct gx_err *err)
{
    struct gx_slice value;
    struct gx_digest known;
    GX_TRY(open_pair(galleries->data_dir, &galleries->signer, err));
    enum gx_status status =
        gx_store_get(galleries->store, GX_CF_DEFAULT, gx_codec_key_signing_key(), arena, &value, err);
    if (status == GX_E_NOT_FOUND)
        return gx_fail(err, GX_E_CORRUPT, "the store in '%s' does not know its certificate key: restore a backup",
                       galleries->store_dir);
    GX_TRY(status);
    GX_TRY(gx_codec_digest_decode(value, &known, err));
    if (memcmp(&known, gx_keys_public_digest(galleries->signer), sizeof(known)) != 0)
        return gx_fail(err, GX_E_CORRUPT,
                       "'%s/" KEY_FILE "' is not the key of this store: put the right one and " PUBLIC_FILE
                       " back from a backup",
                       galleries->data_dir);
    return GX_OK;
}

struct gx_slice gx_certificate_key(const struct gx_galleries *galleries)
{
    return gx_keys_public(galleries->signer);
}

/* --- certificates --- */

enum gx_status gx_certificate_put(struct gx_store_batch *batch, uint64_t ticket, struct gx_slice certificate,
                                  struct gx_arena *arena, struct gx_err *err)
{
    uint8_t key[GX_KEY_CERTIFICATE_LEN];
    struct gx_slice value;
    GX_TRY(gx_codec_certificate_encode(certificate, arena, &value, err));
    gx_codec_key_certificate(ticket, key);
    gx_store_batch_put(batch, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)}, value);
    return GX_OK;
}

/* Why there is no certificate. */
static enum gx_status refuse(struct gx_galleries *galleries, uint64_t number, struct gx_arena *arena,
                             struct gx_err *err)
{
    struct gx_ticket ticket;
    GX_TRY(gx_expunge_ticket(galleries, number, arena, &ticket, err));
    switch (ticket.state) {
    case GX_TICKET_VERIFIED:
        return gx_fail(err, GX_E_CORRUPT, "the ticket is VERIFIED, but its certificate is missing: restore a backup");
    case GX_TICKET_FAILED:
        return gx_fail(err, GX_E_STATE,
                       "the ticket is FAILED and has no certificate: 'indexctl ticket show' says what to do");
    case GX_TICKET_ACCEPTED:
    case GX_TICKET_ERASED: break;
    }
    return gx_fail(err, GX_E_STATE,
                   "the ticket is %s still, the certificate comes with VERIFIED: 'indexctl ticket watch' waits for it",
                   ticket.state == GX_TICKET_ERASED ? "ERASED" : "ACCEPTED");
}

enum gx_status gx_certificate_get(struct gx_galleries *galleries, uint64_t ticket, struct gx_arena *arena,
                                  struct gx_slice *out, struct gx_err *err)
{
    uint8_t key[GX_KEY_CERTIFICATE_LEN];
    struct gx_slice value;
    *out = (struct gx_slice){NULL, 0};
    gx_codec_key_certificate(ticket, key);
    enum gx_status status =
        gx_store_get(galleries->store, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)}, arena, &value, err);
    if (status == GX_E_NOT_FOUND)
        return refuse(galleries, ticket, arena, err);
    GX_TRY(status);
    return gx_codec_certificate_decode(value, out, err);
}
