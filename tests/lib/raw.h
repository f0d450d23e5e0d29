/* Requests built by hand, to be spoiled before they are sent: what the client library would never send. */
#ifndef GX_RAW_H
#define GX_RAW_H

#include <check.h>

#include "grpc_client.h"
#include "indexd/v1/records.pb-c.h"
#include "indexd/v1/search.pb-c.h"
#include "served.h"

#define GX_RAW_RECORDS 3

/* An InsertRequest of the people's rows [first, first + 3), all parts of which may be changed. */
struct gx_raw_insert {
    Indexd__V1__InsertRequest request;
    Indexd__V1__NewRecord entries[GX_RAW_RECORDS], *entry_list[GX_RAW_RECORDS];
    Indexd__V1__Record records[GX_RAW_RECORDS];
    Indexd__V1__Embedding embeddings[GX_RAW_RECORDS];
    Indexd__V1__Attribute attributes[2], *attribute_list[2];
    Indexd__V1__Embedder embedder;
    float rows[GX_RAW_RECORDS][GX_PEOPLE_DIM_MAX];
    char ids[GX_RAW_RECORDS][GX_PEOPLE_ID_MAX];
};
void gx_raw_insert_init(struct gx_raw_insert *insert, const struct gx_people *people, const char *gallery,
                        uint64_t first);

/* A SearchRequest whose probe is the people's row @row; options are set, all zero. */
struct gx_raw_search {
    Indexd__V1__SearchRequest request;
    Indexd__V1__Embedding probe;
    Indexd__V1__SearchOptions options;
    Indexd__V1__Filter filter; /* not attached */
    Indexd__V1__Tuning tuning; /* not attached */
    Indexd__V1__Embedder embedder;
    float row[GX_PEOPLE_DIM_MAX];
};
void gx_raw_search_init(struct gx_raw_search *search, const struct gx_people *people, const char *gallery,
                        uint64_t row);

ProtobufCBinaryData gx_raw_text(const char *text);
/* malloc'ed. */
uint8_t *gx_raw_pack(const void *message, size_t *out_len);

/* Sends @message as a unary call; the code. */
int gx_raw_call(struct gx_grpc_client *client, const char *path, const void *message, struct gx_grpc_reply *out);

/* Checks that a call was refused with @status: code, details, one line without an id of the people. */
void gx_raw_check_refused(const struct gx_grpc_reply *reply, enum gx_status status, const char *what);

#endif
