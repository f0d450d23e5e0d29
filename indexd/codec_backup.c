/* What the store keeps of a backup. */
#include <endian.h>

#include "codec.h"

#define HEAD_LEN 52 /* before the directory */

static uint8_t *put_u64(uint8_t *p, uint64_t v)
{
    v = htole64(v);
    memcpy(p, &v, sizeof(v));
    return p + sizeof(v);
}

static uint64_t get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

size_t gx_codec_backup_encode(const struct gx_backup *backup, uint8_t out[GX_BACKUP_VALUE_MAX])
{
    size_t len = strlen(backup->directory);
    uint8_t *p = out;
    *p++ = GX_FORMAT_VERSION;
    *p++ = (uint8_t)backup->state;
    p = put_u64(p, (uint64_t)backup->created_at_us);
    p = put_u64(p, (uint64_t)backup->expires_at_us);
    p = put_u64(p, (uint64_t)backup->gone_at_us);
    p = put_u64(p, backup->epoch);
    p = put_u64(p, backup->n_bytes);
    p = put_u64(p, backup->n_files);
    *p++ = (uint8_t)len;
    *p++ = (uint8_t)(len >> 8);
    memcpy(p, backup->directory, len);
    return HEAD_LEN + len;
}

enum gx_status gx_codec_backup_decode(struct gx_slice key, struct gx_slice value, struct gx_backup *out,
                                      struct gx_err *err)
{
    *out = (struct gx_backup){0};
    size_t len = value.len < HEAD_LEN ? 0 : (size_t)value.data[50] | (size_t)value.data[51] << 8;
    if (key.len != GX_KEY_BACKUP_LEN || value.len < HEAD_LEN || value.data[0] != GX_FORMAT_VERSION ||
        value.data[1] < GX_BACKUP_UNFINISHED || value.data[1] > GX_BACKUP_GONE || len == 0 || len > GX_BACKUP_DIR_MAX ||
        value.len != HEAD_LEN + len || memchr(value.data + HEAD_LEN, 0, len) != NULL)
        return gx_fail(err, GX_E_CORRUPT, "what the store keeps of a backup is damaged: restore a backup");
    out->number = gx_codec_get_u64(key.data + 1);
    out->state = (enum gx_backup_state)value.data[1];
    out->created_at_us = (int64_t)get_u64(value.data + 2);
    out->expires_at_us = (int64_t)get_u64(value.data + 10);
    out->gone_at_us = (int64_t)get_u64(value.data + 18);
    out->epoch = get_u64(value.data + 26);
    out->n_bytes = get_u64(value.data + 34);
    out->n_files = get_u64(value.data + 42);
    memcpy(out->directory, value.data + HEAD_LEN, len);
    return GX_OK;
}
