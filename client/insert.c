#include "insert_private.h"

#include "indexd/v1/records.pb-c.h"

/* One record with its embedding; the messages lie together, as there are a thousand at once. */
struct item {
    Indexd__V1__NewRecord message;
    Indexd__V1__Record record;
    Indexd__V1__Embedding embedding;
};

static enum gx_status fill_item(const struct gx_client_record *r, const float *row, size_t dim, struct gx_bump *mem,
                                struct item *out)
{
    indexd__v1__new_record__init(&out->message);
    indexd__v1__record__init(&out->record);
    indexd__v1__embedding__init(&out->embedding);
    out->message.record = &out->record;
    out->message.embedding = &out->embedding;
    out->embedding.f32le = (ProtobufCBinaryData){dim * sizeof(float), (uint8_t *)row}; /* read only */
    out->record.record_id = gx_message_bytes(r->record_id);
    out->record.subject_id = gx_message_bytes(r->subject_id);
    out->record.arrest_id = gx_message_bytes(r->arrest_id);
    out->record.captured_at_us = r->captured_at_us;
    if (r->n_attributes > 0) {
        out->record.n_attributes = r->n_attributes;
        out->record.attributes = gx_message_attributes(mem, r->attribute_keys, r->attribute_values, r->n_attributes);
        if (out->record.attributes == NULL)
            return gx_message_no_memory();
    }
    return GX_OK;
}

enum gx_status gx_insert_pack(const struct gx_insert_target *target, const struct gx_client_record *records,
                              const float *rows, size_t n, size_t dim, const char *request_id,
                              struct gx_call_message **out)
{
    *out = NULL;
    if (n == 0 || n > GX_INSERT_MAX)
        return gx_error_set(GX_E_INVALID, "%zu records in one message: 1 to %d are possible", n, GX_INSERT_MAX);
    if (dim < GX_DIM_MIN || dim > GX_DIM_MAX)
        return gx_error_set(GX_E_INVALID, "rows of dimension %zu: %d to %d are possible", dim, GX_DIM_MIN, GX_DIM_MAX);
    struct gx_bump mem;
    gx_message_memory(&mem);
    Indexd__V1__Embedder embedder = INDEXD__V1__EMBEDDER__INIT;
    embedder.id = gx_message_bytes(target->embedder_id);
    embedder.version = gx_message_bytes(target->embedder_version);
    Indexd__V1__InsertRequest request = INDEXD__V1__INSERT_REQUEST__INIT;
    request.gallery = gx_message_bytes(target->gallery);
    request.embedder = &embedder;
    request.request_id = gx_message_bytes(request_id);
    request.n_records = n;
    request.records = gx_bump_alloc(&mem, n * sizeof(*request.records));
    struct item *items = gx_bump_alloc(&mem, n * sizeof(*items));
    enum gx_status status = items == NULL || request.records == NULL ? gx_message_no_memory() : GX_OK;
    for (size_t i = 0; status == GX_OK && i < n; i++) {
        status = fill_item(&records[i], rows + i * dim, dim, &mem, &items[i]);
        request.records[i] = &items[i].message;
    }
    if (status == GX_OK)
        status = gx_message_pack(&request.base, out);
    gx_bump_fini(&mem);
    return status;
}
