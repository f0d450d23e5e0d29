/* What the store keeps for erasures: the rows of a ticket until it is verified, and where the chain of certificates
 * ends. */
#include "codec.h"

static_assert(sizeof(struct gx_row_keys) == 3 * GX_KEY_LEN, "stored as it is in memory");

enum gx_status gx_codec_erasure_encode(const struct gx_row_keys *rows, size_t n, struct gx_arena *arena,
                                       struct gx_slice *out, struct gx_err *err)
{
    uint8_t *bytes;
    *out = (struct gx_slice){0};
    GX_TRY(gx_arena_array(arena, 1 + n * sizeof(*rows), 1, &bytes, err));
    bytes[0] = GX_FORMAT_VERSION;
    if (n > 0)
        memcpy(bytes + 1, rows, n * sizeof(*rows));
    *out = (struct gx_slice){bytes, 1 + n * sizeof(*rows)};
    return GX_OK;
}

enum gx_status gx_codec_erasure_decode(struct gx_slice value, struct gx_row_keys *out_rows, size_t n,
                                       struct gx_err *err)
{
    if (value.len < 1 || value.data[0] != GX_FORMAT_VERSION || (value.len - 1) / sizeof(*out_rows) != n ||
        (value.len - 1) % sizeof(*out_rows) != 0)
        return gx_fail(err, GX_E_CORRUPT, "the stored rows of an erasure are damaged: restore a backup");
    if (n > 0)
        memcpy(out_rows, value.data + 1, n * sizeof(*out_rows));
    return GX_OK;
}

void gx_codec_chain_end_encode(uint64_t serial, const struct gx_digest *digest, uint8_t out[GX_CHAIN_END_LEN])
{
    out[0] = GX_FORMAT_VERSION;
    gx_codec_put_u64(out + 1, serial);
    memcpy(out + 9, digest->bytes, GX_DIGEST_LEN);
}

enum gx_status gx_codec_chain_end_decode(struct gx_slice value, uint64_t *out_serial, struct gx_digest *out_digest,
                                         struct gx_err *err)
{
    if (value.len != GX_CHAIN_END_LEN || value.data[0] != GX_FORMAT_VERSION)
        return gx_fail(err, GX_E_CORRUPT, "the stored end of the chain of certificates is damaged: restore a backup");
    *out_serial = gx_codec_get_u64(value.data + 1);
    memcpy(out_digest->bytes, value.data + 9, GX_DIGEST_LEN);
    return GX_OK;
}
