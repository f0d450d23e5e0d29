/* Values that carry digests and certificates. */
#include "codec.h"

void gx_codec_digest_encode(const struct gx_digest *digest, uint8_t out[GX_DIGEST_VALUE_LEN])
{
    out[0] = GX_FORMAT_VERSION;
    memcpy(out + 1, digest->bytes, sizeof(digest->bytes));
}

enum gx_status gx_codec_digest_decode(struct gx_slice value, struct gx_digest *out, struct gx_err *err)
{
    *out = (struct gx_digest){{0}};
    if (value.len != GX_DIGEST_VALUE_LEN || value.data[0] != GX_FORMAT_VERSION)
        return gx_fail(err, GX_E_CORRUPT, "stored digest: damaged");
    memcpy(out->bytes, value.data + 1, sizeof(out->bytes));
    return GX_OK;
}

enum gx_status gx_codec_certificate_encode(struct gx_slice certificate, struct gx_arena *arena, struct gx_slice *out,
                                           struct gx_err *err)
{
    uint8_t *value;
    *out = (struct gx_slice){NULL, 0};
    GX_TRY(gx_arena_array(arena, certificate.len + 1, 1, &value, err));
    value[0] = GX_FORMAT_VERSION;
    if (certificate.len > 0)
        memcpy(value + 1, certificate.data, certificate.len);
    *out = (struct gx_slice){value, certificate.len + 1};
    return GX_OK;
}

enum gx_status gx_codec_certificate_decode(struct gx_slice value, struct gx_slice *out, struct gx_err *err)
{
    *out = (struct gx_slice){NULL, 0};
    if (value.len < 2 || value.data[0] != GX_FORMAT_VERSION)
        return gx_fail(err, GX_E_CORRUPT, "stored certificate: damaged");
    *out = (struct gx_slice){value.data + 1, value.len - 1};
    return GX_OK;
}
