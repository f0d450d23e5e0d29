/* VerifyAbsent: a record or a face, wherever the server could still have it. */
#include "message_private.h"

#include "indexd/v1/expungement.pb-c.h"

static void fill(const Indexd__V1__VerifyAbsentResponse *r, struct gx_client_absence *out)
{
    *out =
        (struct gx_client_absence){.absent = r->absent,
                                   .searchable = r->searchable,
                                   .stored = r->stored,
                                   .expunged = r->expunged,
                                   .has_nearest = r->opt_nearest_cosine_case ==
                                                  INDEXD__V1__VERIFY_ABSENT_RESPONSE__OPT_NEAREST_COSINE_NEAREST_COSINE,
                                   .files_searched = r->files_searched,
                                   .files = r->files,
                                   .bytes = r->bytes,
                                   .hits = r->hits,
                                   .epoch = r->epoch,
                                   .checked_at_us = r->checked_at_us};
    if (out->has_nearest)
        out->nearest_cosine = r->nearest_cosine;
    gx_message_copy(out->note, sizeof(out->note), r->note);
    for (size_t i = 0; i < r->n_first_hits && i < GX_CLIENT_HITS_MAX; i++) {
        gx_message_copy(out->first[i].file, sizeof(out->first[i].file), r->first_hits[i]->file);
        out->first[i].offset = r->first_hits[i]->offset;
        out->n_first++;
    }
}

static enum gx_status verify(gx_client *client, const Indexd__V1__VerifyAbsentRequest *request,
                             struct gx_client_absence *out)
{
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Expungement/VerifyAbsent", &request->base, false,
                                            &indexd__v1__verify_absent_response__descriptor, &mem, &reply);
    if (status != GX_OK)
        return status;
    fill((const Indexd__V1__VerifyAbsentResponse *)reply, out);
    gx_bump_fini(&mem);
    return GX_OK;
}

enum gx_status gx_client_absent_record(gx_client *client, const char *gallery, const char *record_id,
                                       struct gx_client_absence *out)
{
    gx_error_clear();
    *out = (struct gx_client_absence){0};
    Indexd__V1__VerifyAbsentRequest request = INDEXD__V1__VERIFY_ABSENT_REQUEST__INIT;
    request.gallery = gx_message_bytes(gallery);
    request.record_id = gx_message_bytes(record_id);
    return verify(client, &request, out);
}

enum gx_status gx_client_absent_face(gx_client *client, const char *gallery, const char *embedder_id,
                                     const char *embedder_version, const float *row, size_t dim,
                                     struct gx_client_absence *out)
{
    gx_error_clear();
    *out = (struct gx_client_absence){0};
    if (dim < GX_DIM_MIN || dim > GX_DIM_MAX)
        return gx_error_set(GX_E_INVALID, "a row of %zu values: %d to %d are possible", dim, GX_DIM_MIN, GX_DIM_MAX);
    Indexd__V1__Embedder embedder = INDEXD__V1__EMBEDDER__INIT;
    Indexd__V1__Embedding probe = INDEXD__V1__EMBEDDING__INIT;
    Indexd__V1__VerifyAbsentRequest request = INDEXD__V1__VERIFY_ABSENT_REQUEST__INIT;
    embedder.id = gx_message_bytes(embedder_id);
    embedder.version = gx_message_bytes(embedder_version);
    probe.f32le = (ProtobufCBinaryData){dim * sizeof(float), (uint8_t *)(uintptr_t)row}; /* read only */
    probe.embedder = &embedder;
    request.gallery = gx_message_bytes(gallery);
    request.probe = &probe;
    return verify(client, &request, out);
}
