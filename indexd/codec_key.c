/* Keys of the default and ledger families; those of the others are in codec.c. */
#include "codec.h"

struct gx_slice gx_codec_key_schema(void)
{
    return gx_slice_text("schema");
}

struct gx_slice gx_codec_key_store_uuid(void)
{
    return gx_slice_text("store_uuid");
}

struct gx_slice gx_codec_key_next_rno(void)
{
    return gx_slice_text("next_rno");
}

struct gx_slice gx_codec_key_next_gallery(void)
{
    return gx_slice_text("next_gallery");
}

struct gx_slice gx_codec_key_next_ticket(void)
{
    return gx_slice_text("next_ticket");
}

struct gx_slice gx_codec_key_epoch(void)
{
    return gx_slice_text("epoch");
}

struct gx_slice gx_codec_key_chain_end(void)
{
    return gx_slice_text("chain_end");
}

struct gx_slice gx_codec_key_signing_key(void)
{
    return gx_slice_text("signing_key");
}

void gx_codec_key_gallery(uint32_t number, uint8_t out[GX_KEY_GALLERY_LEN])
{
    out[0] = (uint8_t)GX_KEY_GALLERY_PREFIX[0];
    gx_codec_put_u32(out + 1, number);
}

void gx_codec_key_request(const struct gx_key *key, uint8_t out[GX_KEY_REQUEST_LEN])
{
    out[0] = (uint8_t)GX_KEY_REQUEST_PREFIX[0];
    memcpy(out + 1, key->bytes, GX_KEY_LEN);
}

void gx_codec_key_erasure(uint64_t number, uint8_t out[GX_KEY_ERASURE_LEN])
{
    out[0] = 'e';
    gx_codec_put_u64(out + 1, number);
}

void gx_codec_key_backup(uint64_t number, uint8_t out[GX_KEY_BACKUP_LEN])
{
    out[0] = (uint8_t)GX_KEY_BACKUP_PREFIX[0];
    gx_codec_put_u64(out + 1, number);
}

void gx_codec_key_certificate(uint64_t ticket, uint8_t out[GX_KEY_CERTIFICATE_LEN])
{
    out[0] = 'c';
    gx_codec_put_u64(out + 1, ticket);
}

void gx_codec_key_ticket(uint64_t number, uint8_t out[GX_KEY_TICKET_LEN])
{
    gx_codec_put_u64(out, number);
}
