/* What the messages share: unpacking under a cap, packing, embeddings, attributes, pages, tuning. */
#include "wire_private.h"

#include <math.h>
#include <stdio.h>

#include "vec.h"

/* --- unpacking ---
 *
 * protobuf-c turns 1 MiB of empty sub-messages into 59 MB of structs. Its allocator here is a counter in front of the
 * arena: past the cap it gives NULL, on which unpacking fails cleanly. Nothing is freed singly. */

#define CHUNK_LEN  4096 /* small pieces share chunks: the arena aligns each of its own to 64 bytes */
#define CHUNK_PART 1024

struct memory {
    struct gx_arena *arena;
    size_t left; /* until the cap */
    uint8_t *chunk;
    size_t chunk_left;
    bool exhausted;
};

static void *take_piece(struct memory *memory, size_t n)
{
    if (n >= CHUNK_PART)
        return gx_arena_alloc(memory->arena, n);
    if (n > memory->chunk_left) {
        memory->chunk = gx_arena_alloc(memory->arena, CHUNK_LEN);
        memory->chunk_left = memory->chunk == NULL ? 0 : CHUNK_LEN;
        if (memory->chunk == NULL)
            return NULL;
    }
    void *piece = memory->chunk;
    memory->chunk += n;
    memory->chunk_left -= n;
    return piece;
}

static void *take(void *arg, size_t n)
{
    struct memory *memory = arg;
    if (n > memory->left) {
        memory->exhausted = true;
        return NULL;
    }
    n = (n + 7) & ~(size_t)7;
    memory->left -= GX_MIN(n, memory->left);
    void *piece = take_piece(memory, n);
    memory->exhausted |= piece == NULL;
    return piece;
}

static void leave(void *arg, void *piece)
{
    (void)arg;
    (void)piece;
}

enum gx_status gx_wire_unpack(const ProtobufCMessageDescriptor *type, struct gx_slice message, size_t room,
                              struct gx_arena *arena, void *out_message, struct gx_err *err)
{
    static const uint8_t nothing[1];
    struct memory memory = {.arena = arena};
    if (message.len > GX_MESSAGE_MAX)
        return gx_fail(err, GX_E_TOO_LARGE, "message of %zu bytes: send at most %u", message.len, GX_MESSAGE_MAX);
    memory.left = 8 * message.len + room;
    ProtobufCAllocator allocator = {.alloc = take, .free = leave, .allocator_data = &memory};
    const uint8_t *data = message.len == 0 ? nothing : message.data;
    ProtobufCMessage *unpacked = protobuf_c_message_unpack(type, &allocator, message.len, data);
    memcpy(out_message, &unpacked, sizeof(unpacked));
    if (unpacked != NULL)
        return GX_OK;
    if (memory.exhausted)
        return gx_fail(err, GX_E_TOO_LARGE, "%s of %zu bytes has too many parts: send fewer at a time", type->name,
                       message.len);
    return gx_fail(err, GX_E_INVALID, "malformed message: %zu bytes are not a valid %s", message.len, type->name);
}

/* --- packing --- */

void gx_wire_set(struct gx_wire_reply *reply, const ProtobufCMessage *message)
{
    reply->message = message;
    reply->len = protobuf_c_message_get_packed_size(message);
}

void gx_wire_pack(const struct gx_wire_reply *reply, uint8_t *out)
{
    (void)protobuf_c_message_pack(reply->message, out);
}

/* --- embeddings --- */

enum gx_status gx_wire_get_embedder(const Indexd__V1__Embedder *own, const Indexd__V1__Embedder *fallback,
                                    struct gx_slice *out_id, struct gx_slice *out_version, struct gx_err *err)
{
    const Indexd__V1__Embedder *embedder = own != NULL ? own : fallback;
    if (embedder == NULL)
        return gx_fail(err, GX_E_INVALID, "embedder: must be set: name the network that made the embedding");
    *out_id = gx_wire_slice(embedder->id);
    *out_version = gx_wire_slice(embedder->version);
    GX_TRY(gx_codec_check_text(*out_id, 1, GX_EMBEDDER_MAX, "embedder.id", err));
    return gx_codec_check_text(*out_version, 0, GX_EMBEDDER_MAX, "embedder.version", err);
}

enum gx_status gx_wire_get_dim(const Indexd__V1__Embedding *embedding, size_t *out_dim, struct gx_err *err)
{
    if (embedding == NULL)
        return gx_fail(err, GX_E_INVALID, "must be set");
    size_t n_bytes = embedding->f32le.len, n_values = embedding->n_values;
    if (n_bytes == 0 && n_values == 0)
        return gx_fail(err, GX_E_INVALID, "is empty: set one of f32le and values");
    if (n_bytes != 0 && n_values != 0)
        return gx_fail(err, GX_E_INVALID, "f32le and values are both set: set only one");
    if (n_bytes % sizeof(float) != 0)
        return gx_fail(err, GX_E_INVALID, "f32le: 4 bytes per value, got %zu bytes", n_bytes);
    *out_dim = n_values + n_bytes / sizeof(float);
    if (*out_dim > GX_DIM_MAX)
        return gx_fail(err, GX_E_INVALID, "at most %d values, got %zu", GX_DIM_MAX, *out_dim);
    return GX_OK;
}

enum gx_status gx_wire_copy_row(const Indexd__V1__Embedding *embedding, size_t dim, float *out_row, struct gx_err *err)
{
    if (embedding->n_values != 0)
        memcpy(out_row, embedding->values, dim * sizeof(float));
    else
        gx_vec_from_le(embedding->f32le.data, dim, out_row);

    unsigned n_bad = 0;
    for (size_t i = 0; i < dim; i++) {
        uint32_t bits;
        memcpy(&bits, &out_row[i], sizeof(bits));
        n_bad += (bits & 0x7f800000u) == 0x7f800000u; /* NaN or infinite, at any -ffast-math */
    }
    if (n_bad != 0)
        return gx_fail(err, GX_E_INVALID, "%u of %zu values are not finite", n_bad, dim);
    return GX_OK;
}

/* --- attributes and ids --- */

enum gx_status gx_wire_copy_attributes(Indexd__V1__Attribute *const *attributes, size_t n, bool unique,
                                       struct gx_attribute *out, struct gx_err *err)
{
    if (n > GX_ATTRIBUTES_MAX)
        return gx_fail(err, GX_E_INVALID, "attributes: at most %d, got %zu", GX_ATTRIBUTES_MAX, n);
    for (size_t i = 0; i < n; i++) {
        out[i].key = gx_wire_slice(attributes[i]->key);
        out[i].value = gx_wire_slice(attributes[i]->value);
        GX_TRY(gx_codec_check_text(out[i].key, 1, GX_ATTRIBUTE_KEY_MAX, "attributes.key", err));
        GX_TRY(gx_codec_check_text(out[i].value, 0, GX_ATTRIBUTE_MAX, "attributes.value", err));
        for (size_t j = 0; unique && j < i; j++)
            if (gx_slice_equal(out[i].key, out[j].key))
                return gx_fail(err, GX_E_INVALID, "attributes: keys %zu and %zu are the same: give each key once", j,
                               i);
    }
    return GX_OK;
}

enum gx_status gx_wire_copy_ids(const ProtobufCBinaryData *ids, size_t n, const char *field, struct gx_arena *arena,
                                const struct gx_slice **out, struct gx_err *err)
{
    struct gx_slice *copy;
    GX_TRY(gx_arena_array(arena, n, sizeof(*copy), &copy, err));
    for (size_t i = 0; i < n; i++) {
        copy[i] = gx_wire_slice(ids[i]);
        if (gx_codec_check_text(copy[i], 1, GX_ID_MAX, field, err) != GX_OK)
            return gx_err_wrap(err, "%s[%zu]", field, i);
    }
    *out = copy;
    return GX_OK;
}

enum gx_status gx_wire_get_expected(bool given, uint64_t count, int64_t *out, struct gx_err *err)
{
    if (given && count > INT64_MAX)
        return gx_fail(err, GX_E_INVALID, "expected_count: 0..%lld, got more", (long long)INT64_MAX);
    *out = given ? (int64_t)count : -1;
    return GX_OK;
}

/* --- pages --- */

enum gx_status gx_wire_get_page(uint32_t size, ProtobufCBinaryData token, char letter, size_t *out_size,
                                uint64_t *out_number, struct gx_err *err)
{
    if (size > GX_PAGE_MAX)
        return gx_fail(err, GX_E_INVALID, "page_size: 1..%d, got %u", GX_PAGE_MAX, size);
    *out_size = size == 0 ? GX_WIRE_PAGE_DEFAULT : size;
    *out_number = 0;
    if (token.len == 0)
        return GX_OK;
    bool good = token.data[0] == (uint8_t)letter;
    for (size_t i = 1; good && i < token.len; i++) {
        unsigned digit = token.data[i] - (unsigned)'0';
        good = digit <= 9 && !__builtin_mul_overflow(*out_number, (uint64_t)10, out_number) &&
               !__builtin_add_overflow(*out_number, (uint64_t)digit, out_number);
    }
    if (!good || *out_number == 0)
        return gx_fail(err, GX_E_INVALID, "page_token: not one of ours: pass next_page_token as it came, or nothing");
    return GX_OK;
}

ProtobufCBinaryData gx_wire_page_token(uint64_t number, char letter, char room[GX_WIRE_TOKEN_MAX])
{
    if (number == 0)
        return (ProtobufCBinaryData){0, NULL};
    int n = snprintf(room, GX_WIRE_TOKEN_MAX, "%c%llu", letter, (unsigned long long)number);
    return (ProtobufCBinaryData){(size_t)n, (uint8_t *)room};
}

/* --- tuning --- */

#define EF_SEARCH_MAX  10000
#define CANDIDATES_MAX 100000

static enum gx_status get_knob(const Indexd__V1__Tuning *tuning, struct gx_engine_effort *out, struct gx_err *err)
{
    switch (tuning->knob_case) {
    case INDEXD__V1__TUNING__KNOB_EFFORT:
        if (!(tuning->effort >= 0 && tuning->effort <= 1))
            return gx_fail(err, GX_E_INVALID, "tuning.effort: 0..1, got %g", (double)tuning->effort);
        out->effort = tuning->effort;
        return GX_OK;
    case INDEXD__V1__TUNING__KNOB_NPROBE:
        if (tuning->nprobe == 0)
            return gx_fail(err, GX_E_INVALID, "tuning.nprobe: at least 1, got 0");
        out->nprobe = tuning->nprobe;
        return GX_OK;
    case INDEXD__V1__TUNING__KNOB_EF_SEARCH:
        if (tuning->ef_search == 0 || tuning->ef_search > EF_SEARCH_MAX)
            return gx_fail(err, GX_E_INVALID, "tuning.ef_search: 1..%d, got %u", EF_SEARCH_MAX, tuning->ef_search);
        out->ef_search = tuning->ef_search;
        return GX_OK;
    case INDEXD__V1__TUNING__KNOB__NOT_SET:
    default: return GX_OK;
    }
}

enum gx_status gx_wire_get_tuning(const Indexd__V1__Tuning *tuning, uint32_t k, struct gx_engine_effort *out,
                                  uint32_t *out_candidates, struct gx_err *err)
{
    *out = (struct gx_engine_effort){.effort = -1};
    *out_candidates = 0;
    if (tuning == NULL)
        return GX_OK;
    uint32_t n = tuning->candidates;
    if (n != 0 && (n < k || n > CANDIDATES_MAX))
        return gx_fail(err, GX_E_INVALID, "tuning.candidates: %u (k)..%d, got %u", k, CANDIDATES_MAX, n);
    *out_candidates = n;
    return get_knob(tuning, out, err);
}
