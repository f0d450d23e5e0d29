/* VerifyAbsent. */
#include "indexd/v1/expungement.pb-c.h"
#include "wire_private.h"

#define ROOM (64u << 10)

static enum gx_status get_probe(const Indexd__V1__Embedding *probe, struct gx_arena *arena, struct gx_absent_in *out,
                                struct gx_err *err)
{
    float *row;
    GX_TRY(gx_wire_get_dim(probe, &out->dim, err));
    GX_TRY(gx_wire_get_embedder(probe->embedder, NULL, &out->embedder_id, &out->embedder_version, err));
    GX_TRY(gx_arena_array(arena, out->dim, sizeof(*row), &row, err));
    out->probe = row;
    return gx_wire_copy_row(probe, out->dim, row, err);
}

enum gx_status gx_wire_absent_decode(struct gx_slice message, struct gx_arena *arena, struct gx_absent_in *out,
                                     struct gx_err *err)
{
    Indexd__V1__VerifyAbsentRequest *request;
    *out = (struct gx_absent_in){0};
    GX_TRY(gx_wire_unpack(&indexd__v1__verify_absent_request__descriptor, message, ROOM, arena, &request, err));
    out->gallery = gx_wire_slice(request->gallery);
    out->record_id = gx_wire_slice(request->record_id);
    GX_TRY(gx_codec_check_name(out->gallery, err));
    if ((out->record_id.len > 0) == (request->probe != NULL))
        return gx_fail(err, GX_E_INVALID, "record_id, probe: exactly one of them");
    if (request->probe == NULL)
        return gx_codec_check_text(out->record_id, 1, GX_ID_MAX, "record_id", err);
    return get_probe(request->probe, arena, out, err) == GX_OK ? GX_OK : gx_err_wrap(err, "probe");
}

/* The name of a file is bytes, a string of the protocol is UTF-8. */
static enum gx_status fill_name(const char *name, struct gx_arena *arena, ProtobufCBinaryData *out, struct gx_err *err)
{
    struct gx_slice copy;
    GX_TRY(gx_arena_copy(arena, gx_slice_text(name), &copy, err));
    *out = gx_wire_bytes(copy);
    for (size_t i = 0; i < out->len; i++)
        if (out->data[i] < 0x20 || out->data[i] > 0x7e)
            out->data[i] = '?';
    return GX_OK;
}

static enum gx_status fill_hits(const struct gx_scan_result *files, struct gx_arena *arena,
                                Indexd__V1__VerifyAbsentResponse *reply, struct gx_err *err)
{
    Indexd__V1__FileHit *hits;
    GX_TRY(gx_arena_array(arena, files->n_first, sizeof(*hits), &hits, err));
    GX_TRY(gx_arena_array(arena, files->n_first, sizeof(*reply->first_hits), &reply->first_hits, err));
    for (size_t i = 0; i < files->n_first; i++) {
        indexd__v1__file_hit__init(&hits[i]);
        GX_TRY(fill_name(files->first[i].file, arena, &hits[i].file, err));
        hits[i].offset = files->first[i].offset;
        reply->first_hits[i] = &hits[i];
    }
    reply->n_first_hits = files->n_first;
    return GX_OK;
}

enum gx_status gx_wire_absent_build(const struct gx_absent_out *absent, struct gx_arena *arena,
                                    struct gx_wire_reply *out, struct gx_err *err)
{
    Indexd__V1__VerifyAbsentResponse *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__verify_absent_response__init(reply);
    reply->absent = absent->absent;
    reply->searchable = absent->searchable;
    reply->stored = absent->stored;
    reply->expunged = absent->expunged;
    if (absent->has_nearest) {
        reply->opt_nearest_cosine_case = INDEXD__V1__VERIFY_ABSENT_RESPONSE__OPT_NEAREST_COSINE_NEAREST_COSINE;
        reply->nearest_cosine = absent->nearest;
    }
    reply->files_searched = absent->files_searched;
    reply->note = gx_wire_bytes(gx_slice_text(absent->note));
    reply->files = absent->files.n_files;
    reply->bytes = absent->files.n_bytes;
    reply->hits = absent->files.n_hits;
    reply->epoch = absent->epoch;
    reply->checked_at_us = absent->checked_at_us;
    GX_TRY(fill_hits(&absent->files, arena, reply, err));
    gx_wire_set(out, &reply->base);
    return GX_OK;
}
