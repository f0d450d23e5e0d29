/* Records: insert, get, list. */
#include "insert_private.h"

#include <stdlib.h>

#include "indexd/v1/records.pb-c.h"

/* ---------------------------------------------------------------- insert */

enum gx_status gx_client_insert(gx_client *client, const char *gallery, const char *embedder_id,
                                const char *embedder_version, const struct gx_client_record *records, const float *rows,
                                size_t n, size_t dim, const char *request_id, struct gx_client_enrolled *out)
{
    gx_error_clear();
    if (out != NULL)
        *out = (struct gx_client_enrolled){0};
    char made_id[GX_MESSAGE_REQUEST_ID_SIZE];
    gx_message_request_id(made_id);
    const struct gx_insert_target target = {gallery, embedder_id, embedder_version};
    struct gx_call_message *message;
    enum gx_status status =
        gx_insert_pack(&target, records, rows, n, dim, request_id != NULL ? request_id : made_id, &message);
    if (status != GX_OK)
        return status;
    struct gx_call_reply reply;
    status = gx_call_unary(client->channel, "/indexd.v1.Records/Insert", message, client->deadline_us, client->retries,
                           &reply);
    gx_call_message_free(message);
    if (status != GX_OK)
        return status;
    struct gx_bump mem;
    ProtobufCMessage *unpacked;
    gx_bump_init(&mem, gx_message_room(reply.len));
    status = gx_message_unpack(&indexd__v1__insert_response__descriptor, reply.data, reply.len, &mem, &unpacked);
    if (status == GX_OK && out != NULL) {
        const Indexd__V1__InsertResponse *r = (const Indexd__V1__InsertResponse *)unpacked;
        *out = (struct gx_client_enrolled){.epoch = r->epoch, .enrolled = r->enrolled, .unchanged = r->unchanged};
    }
    gx_bump_fini(&mem);
    gx_call_reply_fini(&reply);
    return status;
}

/* ---------------------------------------------------------------- stored records */

struct owned_records {
    struct gx_client_records list; /* first: what the user holds */
    struct gx_bump mem;
};

void gx_client_records_free(struct gx_client_records *records)
{
    if (records == NULL)
        return;
    struct owned_records *o = (struct owned_records *)records;
    gx_bump_fini(&o->mem);
    free(o);
}

static enum gx_status fill_record(const Indexd__V1__Record *r, struct gx_bump *mem, struct gx_client_record *out)
{
    static const Indexd__V1__Record none = INDEXD__V1__RECORD__INIT;
    r = r != NULL ? r : &none;
    *out = (struct gx_client_record){.record_id = gx_message_text(r->record_id),
                                     .subject_id = gx_message_text(r->subject_id),
                                     .arrest_id = gx_message_text(r->arrest_id),
                                     .captured_at_us = r->captured_at_us,
                                     .n_attributes = r->n_attributes};
    if (r->n_attributes == 0)
        return GX_OK;
    const char **keys = gx_bump_alloc(mem, r->n_attributes * sizeof(*keys));
    const char **values = gx_bump_alloc(mem, r->n_attributes * sizeof(*values));
    if (keys == NULL || values == NULL)
        return gx_message_no_memory();
    for (size_t i = 0; i < r->n_attributes; i++) {
        keys[i] = gx_message_text(r->attributes[i]->key);
        values[i] = gx_message_text(r->attributes[i]->value);
    }
    out->attribute_keys = keys;
    out->attribute_values = values;
    return GX_OK;
}

static enum gx_status fill_list(Indexd__V1__StoredRecord *const *records, size_t n, struct gx_bump *mem,
                                struct gx_client_records *out)
{
    out->next_page_token = "";
    if (n == 0)
        return GX_OK;
    out->records = gx_bump_alloc(mem, n * sizeof(*out->records));
    if (out->records == NULL)
        return gx_message_no_memory();
    for (size_t i = 0; i < n; i++) {
        struct gx_client_stored *to = &out->records[i];
        to->enrolled_at_us = records[i]->enrolled_at_us;
        to->epoch = records[i]->epoch;
        to->quarantined = records[i]->quarantined;
        to->dim = records[i]->f32le.len / sizeof(float);
        to->embedding = to->dim > 0 ? (const float *)(const void *)records[i]->f32le.data : NULL; /* aligned by bump */
        enum gx_status status = fill_record(records[i]->record, mem, &to->record);
        if (status != GX_OK)
            return status;
    }
    out->n_records = n;
    return GX_OK;
}

enum gx_status gx_client_record_get(gx_client *client, const char *gallery, const char *const *ids, size_t n_ids,
                                    bool with_embedding, struct gx_client_records **out)
{
    gx_error_clear();
    *out = NULL;
    if (n_ids == 0 || n_ids > GX_PAGE_MAX)
        return gx_error_set(GX_E_INVALID, "%zu record ids in one call: 1 to %d are possible", n_ids, GX_PAGE_MAX);
    struct gx_bump mem;
    gx_message_memory(&mem);
    Indexd__V1__GetRecordsRequest request = INDEXD__V1__GET_RECORDS_REQUEST__INIT;
    request.gallery = gx_message_bytes(gallery);
    request.with_embedding = with_embedding;
    request.n_record_ids = n_ids;
    request.record_ids = gx_message_bytes_list(&mem, ids, n_ids);
    struct owned_records *o = calloc(1, sizeof(*o));
    ProtobufCMessage *reply;
    enum gx_status status = o == NULL || request.record_ids == NULL
                                ? gx_message_no_memory()
                                : gx_message_call(client, "/indexd.v1.Records/Get", &request.base, true,
                                                  &indexd__v1__get_records_response__descriptor, &o->mem, &reply);
    gx_bump_fini(&mem);
    if (status == GX_OK) {
        const Indexd__V1__GetRecordsResponse *r = (const Indexd__V1__GetRecordsResponse *)reply;
        status = fill_list(r->records, r->n_records, &o->mem, &o->list);
    }
    if (status != GX_OK) {
        gx_client_records_free(o != NULL ? &o->list : NULL);
        return status;
    }
    *out = &o->list;
    return GX_OK;
}

enum gx_status gx_client_record_list(gx_client *client, const char *gallery, const char *arrest_id,
                                     const char *subject_id, uint32_t page_size, const char *page_token,
                                     struct gx_client_records **out)
{
    gx_error_clear();
    *out = NULL;
    Indexd__V1__ListRecordsRequest request = INDEXD__V1__LIST_RECORDS_REQUEST__INIT;
    request.gallery = gx_message_bytes(gallery);
    request.page_size = page_size;
    request.page_token = gx_message_bytes(page_token);
    request.arrest_id = gx_message_bytes(arrest_id);
    request.subject_id = gx_message_bytes(subject_id);
    struct owned_records *o = calloc(1, sizeof(*o));
    if (o == NULL)
        return gx_message_no_memory();
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Records/List", &request.base, true,
                                            &indexd__v1__list_records_response__descriptor, &o->mem, &reply);
    if (status == GX_OK) {
        const Indexd__V1__ListRecordsResponse *r = (const Indexd__V1__ListRecordsResponse *)reply;
        status = fill_list(r->records, r->n_records, &o->mem, &o->list);
        o->list.next_page_token = gx_message_text(r->next_page_token);
    }
    if (status != GX_OK) {
        gx_client_records_free(&o->list);
        return status;
    }
    *out = &o->list;
    return GX_OK;
}
