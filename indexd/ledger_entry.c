/* The bytes of the outer ledger: header, marks and entries; schemas/FORMAT.md says what each byte is. Big-endian.
 * An entry carries a checksum (is it what was written?) and a digest over all entries before it and itself (is it in
 * its place?): a damaged disk breaks the first, a file put together from others the second. */
#include "codec.h"
#include "ledger_private.h"
#include "simd.h"

#define ENTRY_TAIL_LEN (GX_DIGEST_LEN + 4)

static const uint8_t header_magic[8] = {'G', 'X', 'E', 'X', 'P', 'L', 'O', 'G'};
static const uint32_t mark_magic = 0x47584d4b, entry_magic = 0x4758454e; /* "GXMK", "GXEN" */

void gx_ledger_entry_encode_header(const struct gx_uuid *id, int64_t created_at_us, uint8_t out[GX_LEDGER_HEADER_LEN])
{
    memset(out, 0, GX_LEDGER_HEADER_LEN);
    memcpy(out, header_magic, sizeof(header_magic));
    gx_codec_put_u32(out + 8, GX_LEDGER_FORMAT);
    gx_codec_put_u32(out + 12, GX_LEDGER_FIRST);
    memcpy(out + 16, id->bytes, GX_UUID_LEN);
    gx_codec_put_u64(out + 32, (uint64_t)created_at_us);
    gx_codec_put_u32(out + 60, gx_simd_crc32c(0, out, 60));
}

enum gx_status gx_ledger_entry_check_header(const uint8_t header[GX_LEDGER_HEADER_LEN], struct gx_err *err)
{
    if (memcmp(header, header_magic, sizeof(header_magic)) != 0)
        return gx_fail(err, GX_E_CORRUPT, "no ledger, or its beginning is damaged");
    if (gx_codec_get_u32(header + 60) != gx_simd_crc32c(0, header, 60))
        return gx_fail(err, GX_E_CORRUPT, "its header is damaged");
    if (gx_codec_get_u32(header + 8) != GX_LEDGER_FORMAT || gx_codec_get_u32(header + 12) != GX_LEDGER_FIRST)
        return gx_fail(err, GX_E_FORMAT, "written in format %u, this indexd knows %d: use a newer one",
                       (unsigned)gx_codec_get_u32(header + 8), GX_LEDGER_FORMAT);
    return GX_OK;
}

void gx_ledger_entry_encode_mark(const struct gx_ledger_mark *mark, uint8_t out[GX_LEDGER_MARK_LEN])
{
    gx_codec_put_u32(out, mark_magic);
    gx_codec_put_u64(out + 8, mark->n_entries);
    gx_codec_put_u64(out + 16, mark->len);
    gx_codec_put_u64(out + 24, mark->last_number);
    memcpy(out + 32, mark->head.bytes, GX_DIGEST_LEN);
    gx_codec_put_u32(out + 4, gx_simd_crc32c(0, out + 8, GX_LEDGER_MARK_LEN - 8));
}

bool gx_ledger_entry_decode_mark(const uint8_t bytes[GX_LEDGER_MARK_LEN], struct gx_ledger_mark *out)
{
    out->n_entries = gx_codec_get_u64(bytes + 8);
    out->len = gx_codec_get_u64(bytes + 16);
    out->last_number = gx_codec_get_u64(bytes + 24);
    memcpy(out->head.bytes, bytes + 32, GX_DIGEST_LEN);
    return gx_codec_get_u32(bytes) == mark_magic &&
           gx_codec_get_u32(bytes + 4) == gx_simd_crc32c(0, bytes + 8, GX_LEDGER_MARK_LEN - 8);
}

static uint64_t len_of(uint64_t n_records, uint64_t n_named, uint64_t gallery_len, uint64_t order_ref_len)
{
    return GX_LEDGER_HEAD_LEN + n_records * (8 + GX_KEY_LEN) + n_named * GX_KEY_LEN + gallery_len + order_ref_len +
           ENTRY_TAIL_LEN;
}

enum gx_status gx_ledger_entry_check(const struct gx_ledger_entry *entry, uint64_t *out_len, struct gx_err *err)
{
    *out_len = 0;
    if (entry->kind != GX_ID_RECORD && entry->kind != GX_ID_ARREST && entry->kind != GX_ID_SUBJECT)
        return gx_fail(err, GX_E_INVALID, "an expungement names records, arrests or subjects");
    if (entry->gallery.len == 0 || entry->gallery.len > GX_NAME_MAX)
        return gx_fail(err, GX_E_INVALID, "the gallery's name must have 1 to %d bytes", GX_NAME_MAX);
    if (entry->order_ref.len > GX_ORDER_REF_MAX)
        return gx_fail(err, GX_E_INVALID, "the order reference must have at most %d bytes", GX_ORDER_REF_MAX);
    if (entry->n_named > GX_EXPUNGE_IDS_MAX || entry->n_records > GX_EXPUNGE_MAX)
        return gx_fail(err, GX_E_TOO_LARGE, "an expungement has at most %d named ids and %d records: split it",
                       GX_EXPUNGE_IDS_MAX, GX_EXPUNGE_MAX);
    *out_len = len_of(entry->n_records, entry->n_named, entry->gallery.len, entry->order_ref.len);
    return GX_OK;
}

/* SHA-256 of the chain so far and of the entry up to its tail, which is this digest and the checksum of all before it.
 */
static enum gx_status chain(const struct gx_digest *before, const uint8_t *bytes, uint64_t len, struct gx_digest *out,
                            struct gx_err *err)
{
    const struct gx_slice pieces[2] = {{before->bytes, GX_DIGEST_LEN}, {bytes, len - ENTRY_TAIL_LEN}};
    return gx_keys_sha256(pieces, 2, out, err);
}

static uint8_t *append(uint8_t *p, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(p, bytes, len);
    return p + len;
}

enum gx_status gx_ledger_entry_encode(const struct gx_ledger_entry *entry, const struct gx_digest *before, uint8_t *out,
                                      uint64_t len, struct gx_digest *out_head, struct gx_err *err)
{
    memset(out, 0, GX_LEDGER_HEAD_LEN);
    gx_codec_put_u32(out, entry_magic);
    gx_codec_put_u64(out + 8, len);
    gx_codec_put_u64(out + 16, entry->number);
    gx_codec_put_u64(out + 24, (uint64_t)entry->at_us);
    memcpy(out + 32, entry->store.bytes, GX_UUID_LEN);
    gx_codec_put_u32(out + 48, (uint32_t)entry->n_records);
    gx_codec_put_u32(out + 52, (uint32_t)entry->n_named);
    out[56] = (uint8_t)entry->kind;
    out[57] = (uint8_t)entry->gallery.len;
    out[58] = (uint8_t)(entry->order_ref.len >> 8);
    out[59] = (uint8_t)entry->order_ref.len;
    gx_codec_put_u32(out + 4, gx_simd_crc32c(0, out + 8, GX_LEDGER_HEAD_LEN - 8));
    uint8_t *p = out + GX_LEDGER_HEAD_LEN;
    for (size_t i = 0; i < entry->n_records; i++, p += 8)
        gx_codec_put_u64(p, entry->rnos[i]);
    p = append(p, entry->records, entry->n_records * GX_KEY_LEN);
    p = append(p, entry->named, entry->n_named * GX_KEY_LEN);
    p = append(p, entry->gallery.data, entry->gallery.len);
    p = append(p, entry->order_ref.data, entry->order_ref.len);
    GX_TRY(chain(before, out, len, out_head, err));
    p = append(p, out_head->bytes, GX_DIGEST_LEN);
    gx_codec_put_u32(p, gx_simd_crc32c(0, out, (size_t)(p - out)));
    return GX_OK;
}

uint64_t gx_ledger_entry_len(const uint8_t head[GX_LEDGER_HEAD_LEN])
{
    if (gx_codec_get_u32(head) != entry_magic ||
        gx_codec_get_u32(head + 4) != gx_simd_crc32c(0, head + 8, GX_LEDGER_HEAD_LEN - 8))
        return 0;
    uint64_t n_records = gx_codec_get_u32(head + 48), n_named = gx_codec_get_u32(head + 52);
    uint64_t order_ref_len = (uint64_t)head[58] << 8 | head[59];
    bool fits = n_records <= GX_EXPUNGE_MAX && n_named <= GX_EXPUNGE_IDS_MAX && order_ref_len <= GX_ORDER_REF_MAX &&
                head[57] <= GX_NAME_MAX && head[56] >= GX_ID_RECORD && head[56] <= GX_ID_SUBJECT;
    uint64_t len = len_of(n_records, n_named, head[57], order_ref_len);
    return fits && len == gx_codec_get_u64(head + 8) ? len : 0;
}

enum gx_status gx_ledger_entry_decode(uint8_t *bytes, uint64_t len, const struct gx_digest *before,
                                      struct gx_ledger_entry *out, enum gx_ledger_finding *out_finding,
                                      struct gx_err *err)
{
    *out = (struct gx_ledger_entry){0};
    *out_finding = GX_LEDGER_WHOLE;
    GX_TRY(chain(before, bytes, len, &out->head, err));
    if (gx_codec_get_u32(bytes + len - 4) != gx_simd_crc32c(0, bytes, len - 4))
        *out_finding = GX_LEDGER_BROKEN;
    else if (memcmp(out->head.bytes, bytes + len - ENTRY_TAIL_LEN, GX_DIGEST_LEN) != 0)
        *out_finding = GX_LEDGER_STRANGE;
    if (*out_finding != GX_LEDGER_WHOLE)
        return GX_OK;

    size_t n_records = gx_codec_get_u32(bytes + 48), n_named = gx_codec_get_u32(bytes + 52);
    uint64_t *rnos = (uint64_t *)(void *)(bytes + GX_LEDGER_HEAD_LEN);
    for (size_t i = 0; i < n_records; i++)
        rnos[i] = gx_codec_get_u64((const uint8_t *)&rnos[i]);
    const uint8_t *records = (const uint8_t *)(rnos + n_records), *named = records + n_records * GX_KEY_LEN;
    const uint8_t *gallery = named + n_named * GX_KEY_LEN, *order_ref = gallery + bytes[57];
    out->number = gx_codec_get_u64(bytes + 16);
    out->at_us = (int64_t)gx_codec_get_u64(bytes + 24);
    memcpy(out->store.bytes, bytes + 32, GX_UUID_LEN);
    out->kind = (enum gx_id_kind)bytes[56];
    out->gallery = (struct gx_slice){gallery, bytes[57]};
    out->order_ref = (struct gx_slice){order_ref, (size_t)bytes[58] << 8 | bytes[59]};
    out->named = (const struct gx_key *)named;
    out->n_named = n_named;
    out->rnos = rnos;
    out->records = (const struct gx_key *)records;
    out->n_records = n_records;
    return GX_OK;
}
