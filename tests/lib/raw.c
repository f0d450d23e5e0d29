#include "raw.h"

#include <stdlib.h>
#include <string.h>

#include "rpc_scene.h"

ProtobufCBinaryData gx_raw_text(const char *text)
{
    return (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
}

static void set_embedder(Indexd__V1__Embedder *embedder)
{
    indexd__v1__embedder__init(embedder);
    embedder->id = gx_raw_text("e");
    embedder->version = gx_raw_text("1");
}

void gx_raw_insert_init(struct gx_raw_insert *insert, const struct gx_people *people, const char *gallery,
                        uint64_t first)
{
    indexd__v1__insert_request__init(&insert->request);
    set_embedder(&insert->embedder);
    for (size_t i = 0; i < 2; i++) {
        indexd__v1__attribute__init(&insert->attributes[i]);
        insert->attributes[i].key = gx_raw_text(i == 0 ? "site" : "side");
        insert->attributes[i].value = gx_raw_text("left");
        insert->attribute_list[i] = &insert->attributes[i];
    }
    for (size_t i = 0; i < GX_RAW_RECORDS; i++) {
        indexd__v1__new_record__init(&insert->entries[i]);
        indexd__v1__record__init(&insert->records[i]);
        indexd__v1__embedding__init(&insert->embeddings[i]);
        gx_people_row(people, first + i, insert->rows[i], NULL);
        gx_people_record_id(first + i, insert->ids[i]);
        insert->records[i].record_id = gx_raw_text(insert->ids[i]);
        insert->records[i].n_attributes = 2;
        insert->records[i].attributes = insert->attribute_list;
        insert->embeddings[i].f32le = (ProtobufCBinaryData){people->dim * sizeof(float), (uint8_t *)insert->rows[i]};
        insert->entries[i].record = &insert->records[i];
        insert->entries[i].embedding = &insert->embeddings[i];
        insert->entry_list[i] = &insert->entries[i];
    }
    insert->request.gallery = gx_raw_text(gallery);
    insert->request.embedder = &insert->embedder;
    insert->request.n_records = GX_RAW_RECORDS;
    insert->request.records = insert->entry_list;
}

void gx_raw_search_init(struct gx_raw_search *search, const struct gx_people *people, const char *gallery, uint64_t row)
{
    indexd__v1__search_request__init(&search->request);
    indexd__v1__embedding__init(&search->probe);
    indexd__v1__search_options__init(&search->options);
    indexd__v1__filter__init(&search->filter);
    indexd__v1__tuning__init(&search->tuning);
    set_embedder(&search->embedder);
    gx_people_row(people, row, search->row, NULL);
    search->probe.embedder = &search->embedder;
    search->probe.f32le = (ProtobufCBinaryData){people->dim * sizeof(float), (uint8_t *)search->row};
    search->request.gallery = gx_raw_text(gallery);
    search->request.probe = &search->probe;
    search->request.options = &search->options;
}

uint8_t *gx_raw_pack(const void *message, size_t *out_len)
{
    *out_len = protobuf_c_message_get_packed_size(message);
    uint8_t *packed = malloc(*out_len + 1);
    ck_assert_ptr_nonnull(packed);
    ck_assert_uint_eq(protobuf_c_message_pack(message, packed), *out_len);
    return packed;
}

int gx_raw_call(struct gx_grpc_client *client, const char *path, const void *message, struct gx_grpc_reply *out)
{
    size_t len;
    uint8_t *packed = gx_raw_pack(message, &len);
    int code = gx_grpc_client_unary(client, path, packed, len, GX_GRPC_CLIENT_PATIENT, out);
    free(packed);
    return code;
}

void gx_raw_check_refused(const struct gx_grpc_reply *reply, enum gx_status status, const char *what)
{
    ck_assert_msg(reply->code == gx_status_grpc(status), "%s: code %d, %s", what, reply->code, reply->text);
    ck_assert_msg(reply->text[0] != '\0' && strchr(reply->text, '\n') == NULL, "%s: '%s'", what, reply->text);
    ck_assert_msg(strstr(reply->text, "photo-") == NULL, "%s: '%s' gives an id away", what, reply->text);
    ck_assert_msg(reply->data == NULL, "%s: a refused call has a reply", what);
    gx_rpc_scene_check_details(reply, status);
}
