/* The bytes of the outer ledger: header, marks and entries; schemas/FORMAT.md says what each byte is. Big-endian.
 * An entry carries a checksum (is it what was written?) and a digest over all entries before it and itself (is it in
 * its place?): a damaged disk breaks the first, a file put together from others the second. */
#include "codec.h"
#include "ledger_private.h"
#include "simd.h"

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

/* --- what each type carries --- */

enum {
    GALLERY = 1 << 0, /* its name and uuid */
    REQUEST = 1 << 1, /* request, content */
    NAMED = 1 << 2,   /* kind, named */
    TEXT = 1 << 3,
    ORDER = 1 << 4, /* number, n_unmatched, rnos, records */
    QUARANTINE = 1 << 5,
    TICKETS = 1 << 6,
    CERTIFICATE = 1 << 7, /* serial, certificate */
    N_HELD = 1 << 8,
    BACKUP = 1 << 9, /* its number */
    EXPIRES = 1 << 10,
};

/* 0: no such type. */
static unsigned fields_of(unsigned type)
{
    switch (type) {
    case GX_LEDGER_EXPUNGE: return GALLERY | REQUEST | NAMED | TEXT | ORDER;
    case GX_LEDGER_HOLD: return GALLERY | REQUEST | NAMED | TEXT | QUARANTINE;
    case GX_LEDGER_RELEASE: return GALLERY | REQUEST | NAMED | TEXT;
    case GX_LEDGER_ERASED: return TICKETS;
    case GX_LEDGER_VERIFIED: return TICKETS | CERTIFICATE;
    case GX_LEDGER_FAILED: return TICKETS | TEXT;
    case GX_LEDGER_GALLERY_DELETED: return GALLERY | REQUEST | N_HELD;
    case GX_LEDGER_BACKUP: return BACKUP | EXPIRES | TEXT;
    case GX_LEDGER_BACKUP_GONE: return BACKUP;
    }
    return 0;
}

static bool is_zero(const void *bytes, size_t len)
{
    const uint8_t *p = bytes;
    for (size_t i = 0; i < len; i++)
        if (p[i] != 0)
            return false;
    return true;
}

/* The fields that it has no use for are empty. */
static bool carries_only(const struct gx_ledger_entry *e, unsigned fields)
{
    return ((fields & GALLERY) || (e->gallery.len == 0 && is_zero(&e->gallery_uuid, GX_UUID_LEN))) &&
           ((fields & REQUEST) || (is_zero(&e->request, GX_KEY_LEN) && is_zero(&e->content, GX_DIGEST_LEN))) &&
           ((fields & NAMED) || ((int)e->kind == 0 && e->n_named == 0)) && ((fields & TEXT) || e->text.len == 0) &&
           ((fields & ORDER) || (e->number == 0 && e->n_unmatched == 0 && e->n_records == 0)) &&
           ((fields & QUARANTINE) || !e->quarantine) && ((fields & TICKETS) || e->n_tickets == 0) &&
           ((fields & CERTIFICATE) || (e->serial == 0 && is_zero(&e->certificate, GX_DIGEST_LEN))) &&
           ((fields & N_HELD) || e->n_held == 0) && (fields & BACKUP ? e->backup > 0 : e->backup == 0) &&
           (fields & EXPIRES ? e->expires_at_us >= 0 : e->expires_at_us == 0);
}

static enum gx_status check_ids(const struct gx_ledger_entry *e, unsigned fields, struct gx_err *err)
{
    bool held = e->type == GX_LEDGER_HOLD || e->type == GX_LEDGER_RELEASE;
    if ((fields & NAMED) && e->kind != GX_ID_RECORD && e->kind != GX_ID_ARREST && (held || e->kind != GX_ID_SUBJECT))
        return gx_fail(err, GX_E_INVALID,
                       "an expungement names records, arrests or subjects, a hold records or arrests");
    if (held && e->n_named == 0)
        return gx_fail(err, GX_E_INVALID, "a hold names at least one id");
    if (e->n_named > GX_EXPUNGE_IDS_MAX || e->n_records > GX_EXPUNGE_MAX || e->n_unmatched > e->n_named)
        return gx_fail(err, GX_E_TOO_LARGE, "an order has at most %d named ids and %d records: split it",
                       GX_EXPUNGE_IDS_MAX, GX_EXPUNGE_MAX);
    return GX_OK;
}

static uint64_t len_of(const struct gx_ledger_entry *e)
{
    return GX_LEDGER_HEAD_LEN + 8 * ((uint64_t)e->n_records + e->n_tickets) +
           GX_KEY_LEN * ((uint64_t)e->n_records + e->n_named) + e->gallery.len + e->text.len + GX_LEDGER_TAIL_LEN;
}

enum gx_status gx_ledger_entry_check(const struct gx_ledger_entry *entry, uint64_t *out_len, struct gx_err *err)
{
    unsigned fields = fields_of((unsigned)entry->type);
    *out_len = 0;
    if (fields == 0 || !carries_only(entry, fields))
        return gx_fail(err, GX_E_INVALID, "an entry of type %u of the ledger carries other fields",
                       (unsigned)entry->type);
    if ((fields & GALLERY) && (entry->gallery.len == 0 || entry->gallery.len > GX_NAME_MAX))
        return gx_fail(err, GX_E_INVALID, "the gallery's name must have 1 to %d bytes", GX_NAME_MAX);
    if (entry->type == GX_LEDGER_GALLERY_DELETED && is_zero(&entry->gallery_uuid, GX_UUID_LEN))
        return gx_fail(err, GX_E_INVALID, "a deleted gallery is named by its uuid");
    if (entry->type == GX_LEDGER_BACKUP && entry->text.len == 0)
        return gx_fail(err, GX_E_INVALID, "a backup is in a directory");
    if (entry->text.len > GX_ORDER_REF_MAX || (entry->type == GX_LEDGER_HOLD && entry->text.len == 0))
        return gx_fail(err, GX_E_INVALID, "the reference must have at most %d bytes, that of a hold at least 1",
                       GX_ORDER_REF_MAX);
    GX_TRY(check_ids(entry, fields, err));
    if ((fields & TICKETS) && (entry->n_tickets == 0 || entry->n_tickets > GX_LEDGER_TICKETS_MAX))
        return gx_fail(err, GX_E_TOO_LARGE, "a stage is of 1 to %d tickets: split it", GX_LEDGER_TICKETS_MAX);
    *out_len = len_of(entry);
    return GX_OK;
}

enum gx_status gx_ledger_entry_check_order(const struct gx_ledger_entry *entry, uint64_t last_number,
                                           uint64_t last_serial, struct gx_err *err)
{
    if (entry->type == GX_LEDGER_EXPUNGE && entry->number <= last_number)
        return gx_fail(err, GX_E_INVALID, "the ledger has tickets up to number %llu: take a higher one",
                       (unsigned long long)last_number);
    if (entry->type == GX_LEDGER_VERIFIED && entry->serial <= last_serial)
        return gx_fail(err, GX_E_INVALID, "the ledger has certificates up to serial %llu: take a higher one",
                       (unsigned long long)last_serial);
    uint64_t before = 0;
    for (size_t i = 0; i < entry->n_tickets; before = entry->tickets[i++])
        if (entry->tickets[i] <= before || entry->tickets[i] > last_number)
            return gx_fail(err, GX_E_INVALID, "a stage names tickets of the ledger, each once, in ascending order");
    return GX_OK;
}

/* --- bytes --- */

/* SHA-256 of the chain so far and of the entry up to its tail, which is this digest and the checksum of all before it.
 */
static enum gx_status chain(const struct gx_digest *before, const uint8_t *bytes, uint64_t len, struct gx_digest *out,
                            struct gx_err *err)
{
    const struct gx_slice pieces[2] = {{before->bytes, GX_DIGEST_LEN}, {bytes, len - GX_LEDGER_TAIL_LEN}};
    return gx_keys_sha256(pieces, 2, out, err);
}

static void encode_head(const struct gx_ledger_entry *e, uint64_t len, uint8_t out[GX_LEDGER_HEAD_LEN])
{
    memset(out, 0, GX_LEDGER_HEAD_LEN);
    gx_codec_put_u32(out, entry_magic);
    gx_codec_put_u64(out + 8, len);
    out[16] = (uint8_t)e->type;
    out[17] = (uint8_t)e->kind;
    out[18] = e->quarantine;
    out[19] = (uint8_t)e->gallery.len;
    out[20] = (uint8_t)(e->text.len >> 8);
    out[21] = (uint8_t)e->text.len;
    gx_codec_put_u64(out + 24, (uint64_t)e->at_us);
    gx_codec_put_u64(out + 32, e->number | e->backup); /* no type has two of them */
    gx_codec_put_u64(out + 40, e->n_unmatched | e->serial | e->n_held | (uint64_t)e->expires_at_us);
    memcpy(out + 48, e->store.bytes, GX_UUID_LEN);
    memcpy(out + 64, e->gallery_uuid.bytes, GX_UUID_LEN);
    memcpy(out + 80, e->request.bytes, GX_KEY_LEN);
    memcpy(out + 96, e->type == GX_LEDGER_VERIFIED ? e->certificate.bytes : e->content.bytes, GX_DIGEST_LEN);
    gx_codec_put_u32(out + 128, (uint32_t)e->n_records);
    gx_codec_put_u32(out + 132, (uint32_t)e->n_named);
    gx_codec_put_u32(out + 136, (uint32_t)e->n_tickets);
    gx_codec_put_u32(out + 4, gx_simd_crc32c(0, out + 8, GX_LEDGER_HEAD_LEN - 8));
}

/* Numbers and lengths; false: not what encode_head writes. */
static bool decode_head(const uint8_t head[GX_LEDGER_HEAD_LEN], struct gx_ledger_entry *out)
{
    unsigned fields = fields_of(head[16]);
    uint64_t number = gx_codec_get_u64(head + 32), count = gx_codec_get_u64(head + 40), len;
    *out = (struct gx_ledger_entry){.type = (enum gx_ledger_type)head[16],
                                    .kind = (enum gx_id_kind)head[17],
                                    .quarantine = head[18] == 1,
                                    .at_us = (int64_t)gx_codec_get_u64(head + 24),
                                    .number = fields & BACKUP ? 0 : number,
                                    .backup = fields & BACKUP ? number : 0,
                                    .n_unmatched = fields & ORDER ? count : 0,
                                    .serial = fields & CERTIFICATE ? count : 0,
                                    .n_held = fields & N_HELD ? count : 0,
                                    .expires_at_us = fields & EXPIRES ? (int64_t)count : 0,
                                    .n_records = gx_codec_get_u32(head + 128),
                                    .n_named = gx_codec_get_u32(head + 132),
                                    .n_tickets = gx_codec_get_u32(head + 136)};
    out->gallery.len = head[19];
    out->text.len = (size_t)head[20] << 8 | head[21];
    memcpy(out->store.bytes, head + 48, GX_UUID_LEN);
    memcpy(out->gallery_uuid.bytes, head + 64, GX_UUID_LEN);
    memcpy(out->request.bytes, head + 80, GX_KEY_LEN);
    memcpy(fields & CERTIFICATE ? out->certificate.bytes : out->content.bytes, head + 96, GX_DIGEST_LEN);
    bool counts = count == 0 || (fields & (ORDER | CERTIFICATE | N_HELD | EXPIRES));
    return counts && head[18] <= 1 && is_zero(head + 22, 2) && is_zero(head + 140, 4) &&
           gx_ledger_entry_check(out, &len, NULL) == GX_OK && len == gx_codec_get_u64(head + 8);
}

static uint8_t *append(uint8_t *p, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(p, bytes, len);
    return p + len;
}

static uint8_t *append_numbers(uint8_t *p, const uint64_t *numbers, size_t n)
{
    for (size_t i = 0; i < n; i++, p += 8)
        gx_codec_put_u64(p, numbers[i]);
    return p;
}

enum gx_status gx_ledger_entry_encode(const struct gx_ledger_entry *entry, const struct gx_digest *before, uint8_t *out,
                                      uint64_t len, struct gx_digest *out_head, struct gx_err *err)
{
    encode_head(entry, len, out);
    uint8_t *p = out + GX_LEDGER_HEAD_LEN;
    p = append_numbers(p, entry->rnos, entry->n_records);
    p = append_numbers(p, entry->tickets, entry->n_tickets);
    p = append(p, entry->records, entry->n_records * GX_KEY_LEN);
    p = append(p, entry->named, entry->n_named * GX_KEY_LEN);
    p = append(p, entry->gallery.data, entry->gallery.len);
    p = append(p, entry->text.data, entry->text.len);
    GX_TRY(chain(before, out, len, out_head, err));
    p = append(p, out_head->bytes, GX_DIGEST_LEN);
    gx_codec_put_u32(p, gx_simd_crc32c(0, out, (size_t)(p - out)));
    return GX_OK;
}

uint64_t gx_ledger_entry_len(const uint8_t head[GX_LEDGER_HEAD_LEN], unsigned *out_unknown)
{
    struct gx_ledger_entry entry;
    *out_unknown = 0;
    if (gx_codec_get_u32(head) != entry_magic ||
        gx_codec_get_u32(head + 4) != gx_simd_crc32c(0, head + 8, GX_LEDGER_HEAD_LEN - 8))
        return 0;
    if (fields_of(head[16]) == 0)
        *out_unknown = head[16];
    return decode_head(head, &entry) ? gx_codec_get_u64(head + 8) : 0;
}

/* The lists and texts behind the head, whose lengths @out holds; numbers are turned around where they stand. */
static void borrow_lists(uint8_t *bytes, struct gx_ledger_entry *out)
{
    uint64_t *numbers = (uint64_t *)(void *)(bytes + GX_LEDGER_HEAD_LEN);
    size_t n_numbers = out->n_records + out->n_tickets;
    for (size_t i = 0; i < n_numbers; i++)
        numbers[i] = gx_codec_get_u64((const uint8_t *)&numbers[i]);
    const uint8_t *records = (const uint8_t *)(numbers + n_numbers), *named = records + out->n_records * GX_KEY_LEN;
    out->rnos = numbers;
    out->tickets = numbers + out->n_records;
    out->records = (const struct gx_key *)records;
    out->named = (const struct gx_key *)named;
    out->gallery.data = named + out->n_named * GX_KEY_LEN;
    out->text.data = out->gallery.data + out->gallery.len;
}

enum gx_status gx_ledger_entry_decode(uint8_t *bytes, uint64_t len, const struct gx_digest *before,
                                      struct gx_ledger_entry *out, enum gx_ledger_finding *out_finding,
                                      struct gx_err *err)
{
    struct gx_digest head;
    *out_finding = GX_LEDGER_WHOLE;
    GX_TRY(chain(before, bytes, len, &head, err));
    if (gx_codec_get_u32(bytes + len - 4) != gx_simd_crc32c(0, bytes, len - 4) || !decode_head(bytes, out))
        *out_finding = GX_LEDGER_BROKEN;
    else if (memcmp(head.bytes, bytes + len - GX_LEDGER_TAIL_LEN, GX_DIGEST_LEN) != 0)
        *out_finding = GX_LEDGER_STRANGE;
    if (*out_finding == GX_LEDGER_WHOLE)
        borrow_lists(bytes, out);
    else
        *out = (struct gx_ledger_entry){0};
    out->head = head;
    return GX_OK;
}
