/* Messages of legal holds. */
#include "indexd/v1/holds.pb-c.h"
#include "wire_private.h"

#define ROOM_IDS (2u << 20) /* as of an expungement */
#define ROOM     (64u << 10)
#define TOKEN    'h' /* of page tokens: the hold to go on from */

/* --- requests --- */

/* A hold is on records or arrests. */
static enum gx_status get_kind(Indexd__V1__IdKind kind, enum gx_id_kind *out, struct gx_err *err)
{
    if (kind != INDEXD__V1__ID_KIND__ID_KIND_RECORD && kind != INDEXD__V1__ID_KIND__ID_KIND_ARREST)
        return gx_fail(err, GX_E_INVALID, "kind: RECORD (1) or ARREST (2), got %d", (int)kind);
    *out = (enum gx_id_kind)kind;
    return GX_OK;
}

/* @out is filled but for ids and quarantine. */
static enum gx_status check(const struct gx_hold_in *in, size_t n_ids_min, struct gx_err *err)
{
    GX_TRY(gx_codec_check_name(in->gallery, err));
    GX_TRY(gx_codec_check_text(in->reference, 1, GX_ORDER_REF_MAX, "reference", err));
    GX_TRY(gx_codec_check_text(in->request_id, 0, GX_REQUEST_ID_MAX, "request_id", err));
    if (in->n_ids < n_ids_min || in->n_ids > GX_HOLD_IDS_MAX)
        return gx_fail(err, GX_E_INVALID, "ids: %zu..%d, got %zu", n_ids_min, GX_HOLD_IDS_MAX, in->n_ids);
    return GX_OK;
}

enum gx_status gx_wire_holds_decode_place(struct gx_slice message, struct gx_arena *arena, struct gx_hold_in *out,
                                          struct gx_err *err)
{
    Indexd__V1__PlaceHoldRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__place_hold_request__descriptor, message, ROOM_IDS, arena, &request, err));
    *out = (struct gx_hold_in){.gallery = gx_wire_slice(request->gallery),
                               .n_ids = request->n_ids,
                               .reference = gx_wire_slice(request->reference),
                               .quarantine = request->quarantine,
                               .request_id = gx_wire_slice(request->request_id)};
    GX_TRY(get_kind(request->kind, &out->kind, err));
    GX_TRY(check(out, 1, err));
    return gx_wire_copy_ids(request->ids, out->n_ids, "ids", arena, &out->ids, err);
}

enum gx_status gx_wire_holds_decode_release(struct gx_slice message, struct gx_arena *arena, struct gx_hold_in *out,
                                            struct gx_err *err)
{
    Indexd__V1__ReleaseHoldRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__release_hold_request__descriptor, message, ROOM_IDS, arena, &request, err));
    *out = (struct gx_hold_in){.gallery = gx_wire_slice(request->gallery),
                               .n_ids = request->n_ids,
                               .reference = gx_wire_slice(request->reference),
                               .request_id = gx_wire_slice(request->request_id)};
    GX_TRY(get_kind(request->kind, &out->kind, err));
    GX_TRY(check(out, 0, err));
    return gx_wire_copy_ids(request->ids, out->n_ids, "ids", arena, &out->ids, err);
}

enum gx_status gx_wire_holds_decode_list(struct gx_slice message, struct gx_arena *arena, struct gx_hold_list_in *out,
                                         struct gx_err *err)
{
    Indexd__V1__ListHoldsRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__list_holds_request__descriptor, message, ROOM, arena, &request, err));
    *out = (struct gx_hold_list_in){.gallery = gx_wire_slice(request->gallery),
                                    .reference = gx_wire_slice(request->reference),
                                    .id = gx_wire_slice(request->id)};
    GX_TRY(gx_codec_check_name(out->gallery, err));
    GX_TRY(gx_codec_check_text(out->reference, 0, GX_ORDER_REF_MAX, "reference", err));
    GX_TRY(gx_codec_check_text(out->id, 0, GX_ID_MAX, "id", err));
    if (out->id.len > 0)
        GX_TRY(get_kind(request->kind, &out->kind, err));
    else if (request->kind != INDEXD__V1__ID_KIND__ID_KIND_UNSPECIFIED)
        return gx_fail(err, GX_E_INVALID, "kind: is for `id`, which is empty");
    return gx_wire_get_page(request->page_size, request->page_token, TOKEN, &out->n, &out->from, err);
}

/* --- replies --- */

void gx_wire_holds_build_changed(const struct gx_hold_out *changed, struct gx_wire_reply *out)
{
    Indexd__V1__HoldResponse *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__hold_response__init(reply);
    reply->ids = changed->n_ids;
    reply->unchanged_ids = changed->n_unchanged;
    reply->records = changed->n_records;
    reply->epoch = changed->epoch;
    gx_wire_set(out, &reply->base);
}

struct hold {
    Indexd__V1__Hold hold;
    uint8_t hash[2 * GX_KEY_LEN];
};

static void fill_hold(const struct gx_hold_listed *in, struct hold *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < GX_KEY_LEN; i++) {
        out->hash[2 * i] = (uint8_t)digits[in->id_hash.bytes[i] >> 4];
        out->hash[2 * i + 1] = (uint8_t)digits[in->id_hash.bytes[i] & 15];
    }
    indexd__v1__hold__init(&out->hold);
    out->hold.reference = gx_wire_bytes(in->reference);
    out->hold.kind = (Indexd__V1__IdKind)in->kind;
    out->hold.id = gx_wire_bytes(in->id);
    out->hold.id_hash = (ProtobufCBinaryData){sizeof(out->hash), out->hash};
    out->hold.quarantine = in->quarantine;
    out->hold.placed_at_us = in->placed_at_us;
    out->hold.records = in->n_records;
}

enum gx_status gx_wire_holds_build_list(const struct gx_hold_listed *holds, size_t n, uint64_t next,
                                        struct gx_arena *arena, struct gx_wire_reply *out, struct gx_err *err)
{
    struct {
        Indexd__V1__ListHoldsResponse list;
        char token[GX_WIRE_TOKEN_MAX];
    } *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    struct hold *filled;
    Indexd__V1__Hold **pointers;
    GX_TRY(gx_arena_array(arena, n, sizeof(*filled), &filled, err));
    GX_TRY(gx_arena_array(arena, n, sizeof(Indexd__V1__Hold *), &pointers, err));
    for (size_t i = 0; i < n; i++) {
        fill_hold(&holds[i], &filled[i]);
        pointers[i] = &filled[i].hold;
    }
    indexd__v1__list_holds_response__init(&reply->list);
    reply->list.n_holds = n;
    reply->list.holds = pointers;
    reply->list.next_page_token = gx_wire_page_token(next, TOKEN, reply->token);
    gx_wire_set(out, &reply->list.base);
    return GX_OK;
}
