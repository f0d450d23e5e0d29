/* What the files share that pack and unpack messages: wire, health and reflection. */
#ifndef GX_WIRE_PRIVATE_H
#define GX_WIRE_PRIVATE_H

#include "indexd/v1/types.pb-c.h"
#include "wire.h"

#define GX_WIRE_PAGE_DEFAULT 100

static inline struct gx_slice gx_wire_slice(ProtobufCBinaryData bytes)
{
    return (struct gx_slice){bytes.data, bytes.len};
}

/* Only packed, never written through. */
static inline ProtobufCBinaryData gx_wire_bytes(struct gx_slice slice)
{
    return (ProtobufCBinaryData){slice.len, (uint8_t *)(uintptr_t)slice.data};
}

/* Unpacks @message as a @type, into the arena. It may take 8 x its length + @room bytes there. */
GX_MUST enum gx_status gx_wire_unpack(const ProtobufCMessageDescriptor *type, struct gx_slice message, size_t room,
                                      struct gx_arena *arena, void *out_message, struct gx_err *err);

/* @message, in reply->room or the arena, becomes the reply. */
void gx_wire_set(struct gx_wire_reply *reply, const ProtobufCMessage *message);

/* The embedder in effect: of the embedding, else @fallback (may be NULL). Its texts checked. */
GX_MUST enum gx_status gx_wire_get_embedder(const Indexd__V1__Embedder *own, const Indexd__V1__Embedder *fallback,
                                            struct gx_slice *out_id, struct gx_slice *out_version, struct gx_err *err);

/* The dimension of an embedding: exactly one form, 1..GX_DIM_MAX values. */
GX_MUST enum gx_status gx_wire_get_dim(const Indexd__V1__Embedding *embedding, size_t *out_dim, struct gx_err *err);

/* Its values, all finite, into @out_row[@dim]. */
GX_MUST enum gx_status gx_wire_copy_row(const Indexd__V1__Embedding *embedding, size_t dim, float *out_row,
                                        struct gx_err *err);

/* Attributes of a record or a filter into @out[GX_ATTRIBUTES_MAX]. @unique: no key twice. */
GX_MUST enum gx_status gx_wire_copy_attributes(Indexd__V1__Attribute *const *attributes, size_t n, bool unique,
                                               struct gx_attribute *out, struct gx_err *err);

/* Ids of a repeated field as an array in the arena, each 1..GX_ID_MAX bytes of text. */
GX_MUST enum gx_status gx_wire_copy_ids(const ProtobufCBinaryData *ids, size_t n, const char *field,
                                        struct gx_arena *arena, const struct gx_slice **out, struct gx_err *err);

/* An optional count of records; -1 = not given. */
GX_MUST enum gx_status gx_wire_get_expected(bool given, uint64_t count, int64_t *out, struct gx_err *err);

/* A page: its size, and the number in its token (0 = no token). Tokens are @letter and a number: opaque to clients. */
GX_MUST enum gx_status gx_wire_get_page(uint32_t size, ProtobufCBinaryData token, char letter, size_t *out_size,
                                        uint64_t *out_number, struct gx_err *err);
#define GX_WIRE_TOKEN_MAX 24
/* The token in @room; empty for number 0. */
ProtobufCBinaryData gx_wire_page_token(uint64_t number, char letter, char room[GX_WIRE_TOKEN_MAX]);

/* Tuning into effort and rescored rows; NULL = nothing asked. */
GX_MUST enum gx_status gx_wire_get_tuning(const Indexd__V1__Tuning *tuning, uint32_t k, struct gx_engine_effort *out,
                                          uint32_t *out_candidates, struct gx_err *err);

#endif
