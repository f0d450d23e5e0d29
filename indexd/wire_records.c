/* Records messages. */
#include "indexd/v1/records.pb-c.h"
#include "vec.h"
#include "wire_private.h"

#define ROOM_INSERT (4u << 20) /* 1,000 records of the shortest attributes unfold to more than 8 x their length */
#define ROOM        (64u << 10)
#define TOKEN       'r' /* of page tokens: the rno to go on from */

/* --- requests --- */

static enum gx_status get_record(const Indexd__V1__Record *in, struct gx_record *out, struct gx_err *err)
{
    if (in == NULL)
        return gx_fail(err, GX_E_INVALID, "record: must be set");
    out->record_id = gx_wire_slice(in->record_id);
    out->subject_id = gx_wire_slice(in->subject_id);
    out->arrest_id = gx_wire_slice(in->arrest_id);
    out->captured_at_us = in->captured_at_us;
    out->n_attributes = in->n_attributes;
    GX_TRY(gx_codec_check_text(out->record_id, 1, GX_ID_MAX, "record_id", err));
    GX_TRY(gx_codec_check_text(out->subject_id, 0, GX_ID_MAX, "subject_id", err));
    GX_TRY(gx_codec_check_text(out->arrest_id, 0, GX_ID_MAX, "arrest_id", err));
    return gx_wire_copy_attributes(in->attributes, in->n_attributes, true, out->attributes, err);
}

static enum gx_status get_new(const Indexd__V1__NewRecord *in, const Indexd__V1__Embedder *fallback,
                              struct gx_arena *arena, struct gx_new_record *out, struct gx_err *err)
{
    const Indexd__V1__Embedding *embedding = in->embedding;
    float *row;
    GX_TRY(get_record(in->record, &out->record, err));
    if (gx_wire_get_dim(embedding, &out->dim, err) != GX_OK)
        return gx_err_wrap(err, "embedding");
    GX_TRY(gx_wire_get_embedder(embedding->embedder, fallback, &out->embedder_id, &out->embedder_version, err));
    GX_TRY(gx_arena_array(arena, out->dim, sizeof(*row), &row, err));
    out->row = row;
    if (gx_wire_copy_row(embedding, out->dim, row, err) != GX_OK)
        return gx_err_wrap(err, "embedding");
    return GX_OK;
}

static enum gx_status get_stream_gallery(struct gx_slice own, struct gx_slice stream, struct gx_slice *out,
                                         struct gx_err *err)
{
    *out = own.len == 0 ? stream : own;
    if (stream.len != 0 && !gx_slice_equal(*out, stream))
        return gx_fail(err, GX_E_INVALID, "gallery: another than the stream's first: use one stream per gallery");
    return gx_codec_check_name(*out, err);
}

enum gx_status gx_wire_records_decode_insert(struct gx_slice message, struct gx_slice stream_gallery,
                                             struct gx_arena *arena, struct gx_enrol_in *out, struct gx_err *err)
{
    Indexd__V1__InsertRequest *request;
    struct gx_new_record *records;
    GX_TRY(gx_wire_unpack(&indexd__v1__insert_request__descriptor, message, ROOM_INSERT, arena, &request, err));
    GX_TRY(get_stream_gallery(gx_wire_slice(request->gallery), stream_gallery, &out->gallery, err));
    out->request_id = gx_wire_slice(request->request_id);
    GX_TRY(gx_codec_check_text(out->request_id, 0, GX_REQUEST_ID_MAX, "request_id", err));
    out->n = request->n_records;
    if (out->n == 0 || out->n > GX_INSERT_MAX)
        return gx_fail(err, GX_E_INVALID, "records: 1..%d, got %zu", GX_INSERT_MAX, out->n);
    GX_TRY(gx_arena_array(arena, out->n, sizeof(*records), &records, err));
    out->records = records;
    for (size_t i = 0; i < out->n; i++)
        if (get_new(request->records[i], request->embedder, arena, &records[i], err) != GX_OK)
            return gx_err_wrap(err, "records[%zu]", i);
    return GX_OK;
}

enum gx_status gx_wire_records_decode_get(struct gx_slice message, struct gx_arena *arena, struct gx_wire_get_in *out,
                                          struct gx_err *err)
{
    Indexd__V1__GetRecordsRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__get_records_request__descriptor, message, ROOM, arena, &request, err));
    out->gallery = gx_wire_slice(request->gallery);
    out->with_row = request->with_embedding;
    out->n_ids = request->n_record_ids;
    GX_TRY(gx_codec_check_name(out->gallery, err));
    if (out->n_ids == 0 || out->n_ids > GX_PAGE_MAX)
        return gx_fail(err, GX_E_INVALID, "record_ids: 1..%d, got %zu", GX_PAGE_MAX, out->n_ids);
    return gx_wire_copy_ids(request->record_ids, out->n_ids, "record_ids", arena, &out->ids, err);
}

enum gx_status gx_wire_records_decode_list(struct gx_slice message, struct gx_arena *arena, struct gx_wire_list_in *out,
                                           struct gx_err *err)
{
    Indexd__V1__ListRecordsRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__list_records_request__descriptor, message, ROOM, arena, &request, err));
    out->gallery = gx_wire_slice(request->gallery);
    out->arrest = gx_wire_slice(request->arrest_id);
    out->subject = gx_wire_slice(request->subject_id);
    GX_TRY(gx_codec_check_name(out->gallery, err));
    GX_TRY(gx_codec_check_text(out->arrest, 0, GX_ID_MAX, "arrest_id", err));
    GX_TRY(gx_codec_check_text(out->subject, 0, GX_ID_MAX, "subject_id", err));
    if (out->arrest.len != 0 && out->subject.len != 0)
        return gx_fail(err, GX_E_INVALID, "arrest_id and subject_id are both set: set at most one");
    return gx_wire_get_page(request->page_size, request->page_token, TOKEN, &out->n, &out->from, err);
}

/* --- replies --- */

void gx_wire_records_build_inserted(const struct gx_enrol_out *enrolled, struct gx_wire_reply *out)
{
    Indexd__V1__InsertResponse *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__insert_response__init(reply);
    reply->epoch = enrolled->epoch;
    reply->enrolled = enrolled->enrolled;
    reply->unchanged = enrolled->unchanged;
    gx_wire_set(out, &reply->base);
}

void gx_wire_records_build_ack(const struct gx_wire_ack *ack, struct gx_wire_reply *out)
{
    Indexd__V1__InsertAck *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__insert_ack__init(reply);
    reply->messages = ack->messages;
    reply->epoch = ack->epoch;
    reply->enrolled = ack->enrolled;
    reply->unchanged = ack->unchanged;
    gx_wire_set(out, &reply->base);
}

/* One stored record with all that hangs on it. */
struct stored {
    Indexd__V1__StoredRecord stored;
    Indexd__V1__Record record;
    Indexd__V1__Attribute attributes[GX_ATTRIBUTES_MAX];
    Indexd__V1__Attribute *attribute_pointers[GX_ATTRIBUTES_MAX];
};

static void fill_stored(const struct gx_stored_record *from, struct stored *out)
{
    const struct gx_record *in = &from->record;
    indexd__v1__stored_record__init(&out->stored);
    indexd__v1__record__init(&out->record);
    out->stored.record = &out->record;
    out->stored.enrolled_at_us = in->enrolled_at_us;
    out->stored.epoch = in->epoch;
    out->stored.quarantined = from->quarantined;
    out->record.record_id = gx_wire_bytes(in->record_id);
    out->record.subject_id = gx_wire_bytes(in->subject_id);
    out->record.arrest_id = gx_wire_bytes(in->arrest_id);
    out->record.captured_at_us = in->captured_at_us;
    out->record.attributes = out->attribute_pointers;
    out->record.n_attributes = in->n_attributes;
    for (size_t i = 0; i < in->n_attributes; i++) {
        indexd__v1__attribute__init(&out->attributes[i]);
        out->attributes[i].key = gx_wire_bytes(in->attributes[i].key);
        out->attributes[i].value = gx_wire_bytes(in->attributes[i].value);
        out->attribute_pointers[i] = &out->attributes[i];
    }
}

static enum gx_status build_stored(const struct gx_stored_record *records, size_t n, size_t dim, struct gx_arena *arena,
                                   Indexd__V1__StoredRecord ***out, struct gx_err *err)
{
    struct stored *stored;
    Indexd__V1__StoredRecord **pointers;
    GX_TRY(gx_arena_array(arena, n, sizeof(*stored), &stored, err));
    GX_TRY(gx_arena_array(arena, n, sizeof(Indexd__V1__StoredRecord *), &pointers, err));
    for (size_t i = 0; i < n; i++) {
        fill_stored(&records[i], &stored[i]);
        pointers[i] = &stored[i].stored;
        if (records[i].row == NULL)
            continue;
        uint8_t *bytes;
        GX_TRY(gx_arena_array(arena, dim, sizeof(float), &bytes, err));
        gx_vec_to_le(records[i].row, dim, bytes);
        stored[i].stored.f32le = gx_wire_bytes((struct gx_slice){bytes, dim * sizeof(float)});
    }
    *out = pointers;
    return GX_OK;
}

enum gx_status gx_wire_records_build_get(const struct gx_stored_record *records, size_t n, size_t dim,
                                         struct gx_arena *arena, struct gx_wire_reply *out, struct gx_err *err)
{
    Indexd__V1__GetRecordsResponse *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__get_records_response__init(reply);
    GX_TRY(build_stored(records, n, dim, arena, &reply->records, err));
    reply->n_records = n;
    gx_wire_set(out, &reply->base);
    return GX_OK;
}

enum gx_status gx_wire_records_build_list(const struct gx_stored_record *records, size_t n, uint64_t next,
                                          struct gx_arena *arena, struct gx_wire_reply *out, struct gx_err *err)
{
    struct {
        Indexd__V1__ListRecordsResponse list;
        char token[GX_WIRE_TOKEN_MAX];
    } *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__list_records_response__init(&reply->list);
    GX_TRY(build_stored(records, n, 0, arena, &reply->list.records, err));
    reply->list.n_records = n;
    reply->list.next_page_token = gx_wire_page_token(next, TOKEN, reply->token);
    gx_wire_set(out, &reply->list.base);
    return GX_OK;
}
