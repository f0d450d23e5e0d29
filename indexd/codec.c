/* Keys and values as bytes. Decoding trusts nothing: a reader never passes the end of its slice, lengths are held to
 * limits.h before anything is allocated, and a value that decodes is exactly what encoding it again would write. */
#include "codec.h"

#include "simd.h"
#include "vec.h"

/* ---------------------------------------------------------------- bytes */

/* Fills a buffer of the right size from the front. */
struct writer {
    uint8_t *p;
};

static void put_le(struct writer *w, uint64_t v, size_t n)
{
    for (size_t i = 0; i < n; i++, v >>= 8)
        *w->p++ = (uint8_t)v;
}

static void put_slice(struct writer *w, struct gx_slice s)
{
    if (s.len > 0)
        memcpy(w->p, s.data, s.len);
    w->p += s.len;
}

/* Takes from the front. Past the end, or after reject, `bad` is set and stays set, and zeros come out: a decoder looks
 * at it before it relies on what it took. */
struct reader {
    const uint8_t *p;
    size_t left;
    bool bad;
};

static void reject(struct reader *r)
{
    r->bad = true;
    r->left = 0;
}

static struct gx_slice take(struct reader *r, size_t n)
{
    if (n > r->left) {
        reject(r);
        return (struct gx_slice){0};
    }
    struct gx_slice s = {r->p, n};
    r->p += n;
    r->left -= n;
    return s;
}

static uint64_t take_le(struct reader *r, size_t n)
{
    struct gx_slice s = take(r, n);
    uint64_t v = 0;
    for (size_t i = s.len; i > 0; i--)
        v = v << 8 | s.data[i - 1];
    return v;
}

/* A text of @len bytes, which must be in the range. */
static struct gx_slice take_text(struct reader *r, uint64_t len, size_t min, size_t max)
{
    if (len < min || len > max)
        reject(r);
    struct gx_slice none = {0};
    return r->bad ? none : take(r, (size_t)len);
}

/* LEB128: seven bits a byte, low ones first, the top bit says that more follow; the shortest form only. */
static size_t varint_len(uint64_t v)
{
    size_t len = 1;
    for (; v >= 0x80; v >>= 7)
        len++;
    return len;
}

static void put_varint(struct writer *w, uint64_t v)
{
    for (; v >= 0x80; v >>= 7)
        *w->p++ = (uint8_t)(v | 0x80);
    *w->p++ = (uint8_t)v;
}

static uint64_t take_varint(struct reader *r)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint64_t byte = take_le(r, 1);
        if (r->bad)
            return 0;
        if (shift == 63 && byte > 1) /* 64 bits are full */
            break;
        v |= (byte & 0x7f) << shift;
        if (byte < 0x80) {
            if (byte == 0 && shift > 0)
                break;
            return v;
        }
    }
    reject(r);
    return 0;
}

/* A reader behind the format byte. */
static struct reader begin(struct gx_slice value)
{
    struct reader r = {value.data, value.len, false};
    if (take_le(&r, 1) != GX_FORMAT_VERSION)
        reject(&r);
    return r;
}

static enum gx_status corrupt(const char *what, struct gx_err *err)
{
    return gx_fail(err, GX_E_CORRUPT, "a stored %s is damaged: restore the store from a backup", what);
}

/* Everything was taken, and nothing is left. */
static enum gx_status end(const struct reader *r, const char *what, struct gx_err *err)
{
    return r->bad || r->left > 0 ? corrupt(what, err) : GX_OK;
}

/* ---------------------------------------------------------------- keys */

uint32_t gx_codec_get_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint64_t gx_codec_get_u64(const uint8_t *p)
{
    return (uint64_t)gx_codec_get_u32(p) << 32 | gx_codec_get_u32(p + 4);
}

void gx_codec_put_u32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

void gx_codec_put_u64(uint8_t *p, uint64_t v)
{
    gx_codec_put_u32(p, (uint32_t)(v >> 32));
    gx_codec_put_u32(p + 4, (uint32_t)v);
}

void gx_codec_row_key(uint32_t gallery, uint64_t rno, uint8_t out[GX_KEY_ROW_LEN])
{
    gx_codec_put_u32(out, gallery);
    gx_codec_put_u64(out + 4, rno);
}

void gx_codec_id_key(uint32_t gallery, const struct gx_key *key, uint8_t out[GX_KEY_ID_LEN])
{
    gx_codec_put_u32(out, gallery);
    memcpy(out + 4, key->bytes, GX_KEY_LEN);
}

void gx_codec_list_key(uint32_t gallery, const struct gx_key *key, uint64_t rno, uint8_t out[GX_KEY_LIST_LEN])
{
    gx_codec_id_key(gallery, key, out);
    gx_codec_put_u64(out + GX_KEY_ID_LEN, rno);
}

/* ---------------------------------------------------------------- values of one field */

void gx_codec_counter_encode(uint64_t counter, uint8_t out[GX_COUNTER_LEN])
{
    struct writer w = {out};
    put_le(&w, GX_FORMAT_VERSION, 1);
    put_le(&w, counter, 8);
}

enum gx_status gx_codec_counter_decode(struct gx_slice value, uint64_t *out, struct gx_err *err)
{
    struct reader r = begin(value);
    *out = take_le(&r, 8);
    return end(&r, "counter", err);
}

void gx_codec_uuid_encode(const struct gx_uuid *uuid, uint8_t out[GX_UUID_VALUE_LEN])
{
    struct writer w = {out};
    put_le(&w, GX_FORMAT_VERSION, 1);
    put_slice(&w, (struct gx_slice){uuid->bytes, GX_UUID_LEN});
}

enum gx_status gx_codec_uuid_decode(struct gx_slice value, struct gx_uuid *out, struct gx_err *err)
{
    struct reader r = begin(value);
    struct gx_slice bytes = take(&r, GX_UUID_LEN);
    *out = (struct gx_uuid){{0}};
    if (bytes.len == GX_UUID_LEN)
        memcpy(out->bytes, bytes.data, GX_UUID_LEN);
    return end(&r, "store uuid", err);
}

/* ---------------------------------------------------------------- emb */

size_t gx_codec_emb_len(size_t dim)
{
    return GX_EMB_HEADER_LEN + dim * sizeof(float);
}

void gx_codec_emb_encode(const float *row, size_t dim, uint8_t *out)
{
    gx_vec_to_le(row, dim, out + GX_EMB_HEADER_LEN);
    struct writer w = {out};
    put_le(&w, GX_FORMAT_VERSION, 4); /* format byte, three zeros */
    put_le(&w, gx_simd_crc32c(0, out + GX_EMB_HEADER_LEN, dim * sizeof(float)), 4);
}

enum gx_status gx_codec_emb_decode(struct gx_slice value, size_t dim, float *out_row, struct gx_err *err)
{
    struct reader r = begin(value);
    uint64_t zeros = take_le(&r, 3), crc = take_le(&r, 4);
    struct gx_slice row = take(&r, dim * sizeof(float));
    GX_TRY(end(&r, "embedding", err));
    if (zeros != 0 || crc != gx_simd_crc32c(0, row.data, row.len))
        return corrupt("embedding", err);
    gx_vec_from_le(row.data, dim, out_row);
    return GX_OK;
}

/* ---------------------------------------------------------------- rec */

/* Fixed places, so that the content can be compared without them: format byte, enrolled_at_us, epoch. */
#define RECORD_HEADER_LEN  17
#define RECORD_FIXED_LEN   (RECORD_HEADER_LEN + 8 + 4) /* captured_at_us; three lengths and a count */
#define ATTRIBUTE_HEAD_LEN 3                           /* u8 and u16 length */

/* The order in which attributes are stored; GX_E_INVALID when one cannot be. */
static enum gx_status sort_attributes(const struct gx_record *record, const struct gx_attribute *out[GX_ATTRIBUTES_MAX],
                                      size_t *out_len, struct gx_err *err)
{
    *out_len = 0;
    if (record->n_attributes > GX_ATTRIBUTES_MAX)
        return gx_fail(err, GX_E_INVALID, "a record has more than %d attributes: send fewer", GX_ATTRIBUTES_MAX);
    for (size_t i = 0; i < record->n_attributes; i++) {
        const struct gx_attribute *attribute = &record->attributes[i];
        if (attribute->key.len < 1 || attribute->key.len > GX_ATTRIBUTE_KEY_MAX)
            return gx_fail(err, GX_E_INVALID, "an attribute key must have 1 to %d bytes", GX_ATTRIBUTE_KEY_MAX);
        if (attribute->value.len > GX_ATTRIBUTE_MAX)
            return gx_fail(err, GX_E_INVALID, "an attribute value must have at most %d bytes", GX_ATTRIBUTE_MAX);
        size_t at = i;
        for (; at > 0 && gx_slice_compare(attribute->key, out[at - 1]->key) < 0; at--)
            out[at] = out[at - 1];
        if (at > 0 && gx_slice_equal(attribute->key, out[at - 1]->key))
            return gx_fail(err, GX_E_INVALID, "an attribute key stands twice in a record: send each key once");
        out[at] = attribute;
        *out_len += ATTRIBUTE_HEAD_LEN + attribute->key.len + attribute->value.len;
    }
    return GX_OK;
}

enum gx_status gx_codec_record_encode(const struct gx_record *record, struct gx_arena *arena, struct gx_slice *out,
                                      struct gx_err *err)
{
    *out = (struct gx_slice){0};
    if (record->record_id.len < 1 || record->record_id.len > GX_ID_MAX)
        return gx_fail(err, GX_E_INVALID, "a record id must have 1 to %d bytes", GX_ID_MAX);
    if (record->subject_id.len > GX_ID_MAX || record->arrest_id.len > GX_ID_MAX)
        return gx_fail(err, GX_E_INVALID, "a subject or arrest id must have at most %d bytes", GX_ID_MAX);
    const struct gx_attribute *sorted[GX_ATTRIBUTES_MAX];
    size_t attributes_len;
    GX_TRY(sort_attributes(record, sorted, &attributes_len, err));

    size_t ids_len = record->record_id.len + record->subject_id.len + record->arrest_id.len;
    size_t len = RECORD_FIXED_LEN + ids_len + attributes_len;
    uint8_t *bytes;
    GX_TRY(gx_arena_array(arena, len, 1, &bytes, err));
    struct writer w = {bytes};
    put_le(&w, GX_FORMAT_VERSION, 1);
    put_le(&w, (uint64_t)record->enrolled_at_us, 8);
    put_le(&w, record->epoch, 8);
    put_le(&w, (uint64_t)record->captured_at_us, 8);
    put_le(&w, record->record_id.len, 1);
    put_le(&w, record->subject_id.len, 1);
    put_le(&w, record->arrest_id.len, 1);
    put_le(&w, record->n_attributes, 1);
    put_slice(&w, record->record_id);
    put_slice(&w, record->subject_id);
    put_slice(&w, record->arrest_id);
    for (size_t i = 0; i < record->n_attributes; i++) {
        put_le(&w, sorted[i]->key.len, 1);
        put_le(&w, sorted[i]->value.len, 2);
        put_slice(&w, sorted[i]->key);
        put_slice(&w, sorted[i]->value);
    }
    assert(w.p == bytes + len);
    *out = (struct gx_slice){bytes, len};
    return GX_OK;
}

/* Once per candidate: attributes beyond n_attributes are not cleared. */
enum gx_status gx_codec_record_decode(struct gx_slice value, struct gx_record *out, struct gx_err *err)
{
    struct reader r = begin(value);
    int64_t enrolled_at_us = (int64_t)take_le(&r, 8);
    uint64_t epoch = take_le(&r, 8);
    int64_t captured_at_us = (int64_t)take_le(&r, 8);
    uint64_t record_len = take_le(&r, 1), subject_len = take_le(&r, 1), arrest_len = take_le(&r, 1);
    size_t n = (size_t)take_le(&r, 1);
    struct gx_slice record_id = take_text(&r, record_len, 1, GX_ID_MAX);
    struct gx_slice subject_id = take_text(&r, subject_len, 0, GX_ID_MAX);
    struct gx_slice arrest_id = take_text(&r, arrest_len, 0, GX_ID_MAX);
    if (n > GX_ATTRIBUTES_MAX)
        reject(&r);
    for (size_t i = 0; i < n && !r.bad; i++) {
        uint64_t key_len = take_le(&r, 1), value_len = take_le(&r, 2);
        out->attributes[i].key = take_text(&r, key_len, 1, GX_ATTRIBUTE_KEY_MAX);
        out->attributes[i].value = take_text(&r, value_len, 0, GX_ATTRIBUTE_MAX);
        if (i > 0 && gx_slice_compare(out->attributes[i - 1].key, out->attributes[i].key) >= 0)
            reject(&r);
    }
    enum gx_status status = end(&r, "record", err);
    if (status != GX_OK) {
        *out = (struct gx_record){0};
        return status;
    }
    out->record_id = record_id;
    out->subject_id = subject_id;
    out->arrest_id = arrest_id;
    out->captured_at_us = captured_at_us;
    out->enrolled_at_us = enrolled_at_us;
    out->epoch = epoch;
    out->n_attributes = n;
    return GX_OK;
}

struct gx_slice gx_codec_record_content(struct gx_slice value)
{
    if (value.len < RECORD_FIXED_LEN)
        return (struct gx_slice){0};
    return (struct gx_slice){value.data + RECORD_HEADER_LEN, value.len - RECORD_HEADER_LEN};
}

/* ---------------------------------------------------------------- galleries */

#define GALLERY_FIXED_LEN (1 + 4 + GX_UUID_LEN + 4 + 4 + 8 + 1)

static struct gx_slice field_text(const char *text, size_t size)
{
    return (struct gx_slice){(const uint8_t *)text, strnlen(text, size)};
}

/* The four texts of a gallery with their limits: name, embedder id, embedder version, engine. */
static enum gx_status check_gallery(const struct gx_slice texts[4], uint32_t dim, float default_effort, uint8_t state,
                                    struct gx_err *err)
{
    GX_TRY(gx_codec_check_name(texts[0], err));
    GX_TRY(gx_codec_check_text(texts[1], 1, GX_EMBEDDER_MAX, "the embedder id", err));
    GX_TRY(gx_codec_check_text(texts[2], 0, GX_EMBEDDER_MAX, "the embedder version", err));
    GX_TRY(gx_codec_check_text(texts[3], 1, GX_ENGINE_MAX, "the engine", err));
    if (dim < GX_DIM_MIN || dim > GX_DIM_MAX)
        return gx_fail(err, GX_E_INVALID, "the dimension must be %d to %d", GX_DIM_MIN, GX_DIM_MAX);
    if (!(default_effort >= 0 && default_effort <= 1))
        return gx_fail(err, GX_E_INVALID, "the default effort must be 0 to 1");
    if (state != GX_GALLERY_ACTIVE && state != GX_GALLERY_DELETING)
        return gx_fail(err, GX_E_INVALID, "the state of a gallery must be active or deleting");
    return GX_OK;
}

enum gx_status gx_codec_gallery_encode(const struct gx_gallery_meta *meta, struct gx_arena *arena, struct gx_slice *out,
                                       struct gx_err *err)
{
    *out = (struct gx_slice){0};
    const struct gx_slice texts[4] = {field_text(meta->name, sizeof(meta->name)),
                                      field_text(meta->embedder_id, sizeof(meta->embedder_id)),
                                      field_text(meta->embedder_version, sizeof(meta->embedder_version)),
                                      field_text(meta->engine, sizeof(meta->engine))};
    GX_TRY(check_gallery(texts, meta->dim, meta->default_effort, meta->state, err));
    size_t len = GALLERY_FIXED_LEN;
    for (size_t i = 0; i < 4; i++)
        len += 1 + texts[i].len;
    uint8_t *bytes;
    GX_TRY(gx_arena_array(arena, len, 1, &bytes, err));
    uint32_t effort_bits;
    memcpy(&effort_bits, &meta->default_effort, sizeof(effort_bits));
    struct writer w = {bytes};
    put_le(&w, GX_FORMAT_VERSION, 1);
    put_le(&w, meta->number, 4);
    put_slice(&w, (struct gx_slice){meta->uuid.bytes, GX_UUID_LEN});
    put_le(&w, meta->dim, 4);
    put_le(&w, effort_bits, 4);
    put_le(&w, (uint64_t)meta->created_at_us, 8);
    put_le(&w, meta->state, 1);
    for (size_t i = 0; i < 4; i++) {
        put_le(&w, texts[i].len, 1);
        put_slice(&w, texts[i]);
    }
    assert(w.p == bytes + len);
    *out = (struct gx_slice){bytes, len};
    return GX_OK;
}

/* A text that was held to @max bytes before, into a field of max + 1. */
static void copy_text(char *field, struct gx_slice text)
{
    if (text.len > 0)
        memcpy(field, text.data, text.len);
    field[text.len] = 0;
}

enum gx_status gx_codec_gallery_decode(struct gx_slice value, struct gx_gallery_meta *out, struct gx_err *err)
{
    *out = (struct gx_gallery_meta){0};
    struct reader r = begin(value);
    uint32_t number = (uint32_t)take_le(&r, 4);
    struct gx_slice uuid = take(&r, GX_UUID_LEN);
    uint32_t dim = (uint32_t)take_le(&r, 4), effort_bits = (uint32_t)take_le(&r, 4);
    int64_t created_at_us = (int64_t)take_le(&r, 8);
    uint8_t state = (uint8_t)take_le(&r, 1);
    struct gx_slice texts[4];
    for (size_t i = 0; i < 4; i++)
        texts[i] = take(&r, (size_t)take_le(&r, 1));
    GX_TRY(end(&r, "gallery", err));
    float default_effort;
    memcpy(&default_effort, &effort_bits, sizeof(default_effort));
    if (check_gallery(texts, dim, default_effort, state, NULL) != GX_OK)
        return corrupt("gallery", err);
    out->number = number;
    memcpy(out->uuid.bytes, uuid.data, GX_UUID_LEN);
    out->dim = dim;
    out->default_effort = default_effort;
    out->created_at_us = created_at_us;
    out->state = state;
    copy_text(out->name, texts[0]);
    copy_text(out->embedder_id, texts[1]);
    copy_text(out->embedder_version, texts[2]);
    copy_text(out->engine, texts[3]);
    return GX_OK;
}

/* ---------------------------------------------------------------- tickets */

/* The eight-byte fields of a ticket, in their order on disk. */
#define TICKET_NUMBERS(X)                                                                                              \
    X(uint64_t, n_records)                                                                                             \
    X(uint64_t, n_unmatched)                                                                                           \
    X(uint64_t, epoch)                                                                                                 \
    X(int64_t, accepted_at_us)                                                                                         \
    X(int64_t, unindexed_at_us)                                                                                        \
    X(int64_t, flushed_at_us)                                                                                          \
    X(int64_t, compacted_at_us)                                                                                        \
    X(int64_t, unlinked_at_us)                                                                                         \
    X(int64_t, erased_at_us)                                                                                           \
    X(int64_t, verified_at_us)                                                                                         \
    X(int64_t, failed_at_us)                                                                                           \
    X(uint64_t, attempts)                                                                                              \
    X(uint64_t, files_rewritten)                                                                                       \
    X(uint64_t, bytes_rewritten)                                                                                       \
    X(uint64_t, files_removed)                                                                                         \
    X(uint64_t, files_scanned)                                                                                         \
    X(uint64_t, bytes_scanned)                                                                                         \
    X(uint64_t, files_left_out)                                                                                        \
    X(uint64_t, control_hits)                                                                                          \
    X(uint64_t, certificate)
#define TICKET_FIXED_LEN (1 + 8 + 1 + 1 + 1 + 4 + 20 * 8 + 1 + 2 + 2)
#define PROBLEM_MAX      GX_ERR_TEXT_MAX

static enum gx_status check_ticket(const struct gx_ticket *ticket, struct gx_err *err)
{
    if (ticket->state < GX_TICKET_ACCEPTED || ticket->state > GX_TICKET_FAILED || ticket->kind < GX_ID_RECORD ||
        ticket->kind > GX_ID_SUBJECT || ticket->method > GX_TICKET_STRUCTURAL)
        return gx_fail(err, GX_E_INVALID, "the state, the method or the kind of ids of a ticket is unknown");
    if (ticket->gallery.len < 1 || ticket->gallery.len > GX_NAME_MAX || ticket->order_ref.len > GX_ORDER_REF_MAX ||
        ticket->problem.len > PROBLEM_MAX)
        return gx_fail(err, GX_E_INVALID, "a text of a ticket is too long");
    if (ticket->n_records > GX_EXPUNGE_MAX)
        return gx_fail(err, GX_E_INVALID, "a ticket names more than %d records", GX_EXPUNGE_MAX);
    if (ticket->n_records > 0 && ticket->rnos == NULL)
        return gx_fail(err, GX_E_INVALID, "a ticket without its rows cannot be stored");
    for (uint64_t i = 1; i < ticket->n_records; i++)
        if (ticket->rnos[i] <= ticket->rnos[i - 1])
            return gx_fail(err, GX_E_INVALID, "the rows of a ticket are not in ascending order");
    return GX_OK;
}

/* What is stored for rnos[i]: the first as it is, then the steps. */
static uint64_t rno_step(const struct gx_ticket *ticket, uint64_t i)
{
    return i == 0 ? ticket->rnos[0] : ticket->rnos[i] - ticket->rnos[i - 1];
}

enum gx_status gx_codec_ticket_encode(const struct gx_ticket *ticket, struct gx_arena *arena, struct gx_slice *out,
                                      struct gx_err *err)
{
    *out = (struct gx_slice){0};
    GX_TRY(check_ticket(ticket, err));
    size_t len = TICKET_FIXED_LEN + ticket->gallery.len + ticket->order_ref.len + ticket->problem.len;
    for (uint64_t i = 0; i < ticket->n_records; i++)
        len += varint_len(rno_step(ticket, i));
    uint8_t *bytes;
    GX_TRY(gx_arena_array(arena, len, 1, &bytes, err));
    struct writer w = {bytes};
    put_le(&w, GX_FORMAT_VERSION, 1);
    put_le(&w, ticket->number, 8);
    put_le(&w, ticket->state, 1);
    put_le(&w, ticket->kind, 1);
    put_le(&w, ticket->method, 1);
    put_le(&w, ticket->gallery_number, 4);
#define PUT(type, field) put_le(&w, (uint64_t)ticket->field, 8);
    TICKET_NUMBERS(PUT)
#undef PUT
    put_le(&w, ticket->gallery.len, 1);
    put_le(&w, ticket->order_ref.len, 2);
    put_le(&w, ticket->problem.len, 2);
    put_slice(&w, ticket->gallery);
    put_slice(&w, ticket->order_ref);
    put_slice(&w, ticket->problem);
    for (uint64_t i = 0; i < ticket->n_records; i++)
        put_varint(&w, rno_step(ticket, i));
    assert(w.p == bytes + len);
    *out = (struct gx_slice){bytes, len};
    return GX_OK;
}

/* The rnos, added up from their steps. @out NULL = only look at them. */
static void take_rnos(struct reader *r, uint64_t n, uint64_t *out)
{
    uint64_t rno = 0;
    for (uint64_t i = 0; i < n && !r->bad; i++) {
        uint64_t step = take_varint(r);
        if (i > 0 && (step == 0 || step > UINT64_MAX - rno))
            reject(r);
        rno += step;
        if (out != NULL)
            out[i] = rno;
    }
}

enum gx_status gx_codec_ticket_decode(struct gx_slice value, struct gx_arena *arena, struct gx_ticket *out,
                                      struct gx_err *err)
{
    *out = (struct gx_ticket){0};
    struct gx_ticket t = {0};
    struct reader r = begin(value);
    t.number = take_le(&r, 8);
    uint64_t state = take_le(&r, 1), kind = take_le(&r, 1), method = take_le(&r, 1);
    t.gallery_number = (uint32_t)take_le(&r, 4);
#define TAKE(type, field) t.field = (type)take_le(&r, 8);
    TICKET_NUMBERS(TAKE)
#undef TAKE
    uint64_t gallery_len = take_le(&r, 1), order_len = take_le(&r, 2), problem_len = take_le(&r, 2);
    t.gallery = take_text(&r, gallery_len, 1, GX_NAME_MAX);
    t.order_ref = take_text(&r, order_len, 0, GX_ORDER_REF_MAX);
    t.problem = take_text(&r, problem_len, 0, PROBLEM_MAX);
    /* Each rno takes a byte at least: no allocation that the value does not pay for. */
    if (state < GX_TICKET_ACCEPTED || state > GX_TICKET_FAILED || kind < GX_ID_RECORD || kind > GX_ID_SUBJECT ||
        method > GX_TICKET_STRUCTURAL || t.n_records > GX_EXPUNGE_MAX || t.n_records > r.left)
        reject(&r);
    t.state = (enum gx_ticket_state)state;
    t.method = (enum gx_ticket_method)method;
    t.kind = (enum gx_id_kind)kind;
    uint64_t *rnos = NULL;
    if (!r.bad && arena != NULL && t.n_records > 0)
        GX_TRY(gx_arena_array(arena, t.n_records, sizeof(*rnos), &rnos, err));
    take_rnos(&r, t.n_records, rnos);
    t.rnos = rnos;
    GX_TRY(end(&r, "ticket", err));
    *out = t;
    return GX_OK;
}

/* ---------------------------------------------------------------- request memory */

void gx_codec_request_encode(const struct gx_request_memory *memory, uint8_t out[GX_REQUEST_MEMORY_LEN])
{
    struct writer w = {out};
    put_le(&w, GX_FORMAT_VERSION, 8); /* format byte, seven zeros */
    put_slice(&w, (struct gx_slice){memory->content.bytes, GX_DIGEST_LEN});
    put_le(&w, (uint64_t)memory->at_us, 8);
    put_le(&w, memory->epoch, 8);
    put_le(&w, memory->a, 8);
    put_le(&w, memory->b, 8);
    assert(w.p == out + GX_REQUEST_MEMORY_LEN);
}

enum gx_status gx_codec_request_decode(struct gx_slice value, struct gx_request_memory *out, struct gx_err *err)
{
    *out = (struct gx_request_memory){0};
    struct reader r = begin(value);
    if (take_le(&r, 7) != 0)
        reject(&r);
    struct gx_slice content = take(&r, GX_DIGEST_LEN);
    struct gx_request_memory m = {0};
    m.at_us = (int64_t)take_le(&r, 8);
    m.epoch = take_le(&r, 8);
    m.a = take_le(&r, 8);
    m.b = take_le(&r, 8);
    GX_TRY(end(&r, "request memory", err));
    memcpy(m.content.bytes, content.data, GX_DIGEST_LEN);
    *out = m;
    return GX_OK;
}
