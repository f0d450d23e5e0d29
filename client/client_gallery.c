/* Galleries: create, get, list, delete, stats, build, measure. */
#include "message_private.h"

#include <stdlib.h>

#include "indexd/v1/galleries.pb-c.h"

static void fill_gallery(const Indexd__V1__Gallery *g, struct gx_client_gallery *out)
{
    *out = (struct gx_client_gallery){
        .dim = g->dim, .records = g->records, .created_at_us = g->created_at_us, .default_effort = g->default_effort};
    gx_message_copy(out->name, sizeof(out->name), g->name);
    gx_message_copy(out->engine, sizeof(out->engine), g->engine);
    if (g->embedder != NULL) {
        gx_message_copy(out->embedder_id, sizeof(out->embedder_id), g->embedder->id);
        gx_message_copy(out->embedder_version, sizeof(out->embedder_version), g->embedder->version);
    }
}

enum gx_status gx_client_gallery_create(gx_client *client, const char *name, uint32_t dim, const char *embedder_id,
                                        const char *embedder_version, const char *engine, float default_effort,
                                        struct gx_client_gallery *out)
{
    gx_error_clear();
    if (out != NULL)
        *out = (struct gx_client_gallery){0};
    char request_id[GX_MESSAGE_REQUEST_ID_SIZE];
    gx_message_request_id(request_id);
    Indexd__V1__Embedder embedder = INDEXD__V1__EMBEDDER__INIT;
    embedder.id = gx_message_bytes(embedder_id);
    embedder.version = gx_message_bytes(embedder_version);
    Indexd__V1__CreateGalleryRequest request = INDEXD__V1__CREATE_GALLERY_REQUEST__INIT;
    request.name = gx_message_bytes(name);
    request.dim = dim;
    request.embedder = &embedder;
    request.engine = gx_message_bytes(engine);
    request.default_effort = default_effort;
    request.request_id = gx_message_bytes(request_id);
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Galleries/Create", &request.base, true,
                                            &indexd__v1__gallery__descriptor, &mem, &reply);
    if (status != GX_OK)
        return status;
    if (out != NULL)
        fill_gallery((const Indexd__V1__Gallery *)reply, out);
    gx_bump_fini(&mem);
    return GX_OK;
}

/* Get and Stats ask in the same way. */
static enum gx_status ask_by_name(gx_client *client, const char *method, const char *name,
                                  const ProtobufCMessageDescriptor *type, struct gx_bump *mem, ProtobufCMessage **out)
{
    Indexd__V1__GetGalleryRequest request = INDEXD__V1__GET_GALLERY_REQUEST__INIT;
    request.name = gx_message_bytes(name);
    return gx_message_call(client, method, &request.base, true, type, mem, out);
}

enum gx_status gx_client_gallery_get(gx_client *client, const char *name, struct gx_client_gallery *out)
{
    gx_error_clear();
    *out = (struct gx_client_gallery){0};
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status =
        ask_by_name(client, "/indexd.v1.Galleries/Get", name, &indexd__v1__gallery__descriptor, &mem, &reply);
    if (status != GX_OK)
        return status;
    fill_gallery((const Indexd__V1__Gallery *)reply, out);
    gx_bump_fini(&mem);
    return GX_OK;
}

enum gx_status gx_client_gallery_list(gx_client *client, struct gx_client_gallery **out_list, size_t *out_n)
{
    gx_error_clear();
    *out_list = NULL;
    *out_n = 0;
    Indexd__V1__ListGalleriesRequest request = INDEXD__V1__LIST_GALLERIES_REQUEST__INIT;
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Galleries/List", &request.base, true,
                                            &indexd__v1__list_galleries_response__descriptor, &mem, &reply);
    if (status != GX_OK)
        return status;
    const Indexd__V1__ListGalleriesResponse *r = (const Indexd__V1__ListGalleriesResponse *)reply;
    if (r->n_galleries > 0) {
        *out_list = calloc(r->n_galleries, sizeof(**out_list));
        if (*out_list == NULL)
            status = gx_message_no_memory();
        for (size_t i = 0; *out_list != NULL && i < r->n_galleries; i++)
            fill_gallery(r->galleries[i], &(*out_list)[i]);
        *out_n = *out_list != NULL ? r->n_galleries : 0;
    }
    gx_bump_fini(&mem);
    return status;
}

enum gx_status gx_client_gallery_delete(gx_client *client, const char *name, int64_t expected_count,
                                        uint64_t *out_records)
{
    gx_error_clear();
    if (out_records != NULL)
        *out_records = 0;
    char request_id[GX_MESSAGE_REQUEST_ID_SIZE];
    gx_message_request_id(request_id);
    Indexd__V1__DeleteGalleryRequest request = INDEXD__V1__DELETE_GALLERY_REQUEST__INIT;
    request.name = gx_message_bytes(name);
    request.request_id = gx_message_bytes(request_id);
    if (expected_count >= 0) {
        request.opt_expected_count_case = INDEXD__V1__DELETE_GALLERY_REQUEST__OPT_EXPECTED_COUNT_EXPECTED_COUNT;
        request.expected_count = (uint64_t)expected_count;
    }
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Galleries/Delete", &request.base, false,
                                            &indexd__v1__delete_gallery_response__descriptor, &mem, &reply);
    if (status != GX_OK)
        return status;
    if (out_records != NULL)
        *out_records = ((const Indexd__V1__DeleteGalleryResponse *)reply)->records;
    gx_bump_fini(&mem);
    return GX_OK;
}

static void fill_build(const Indexd__V1__BuildProgress *b, struct gx_client_build *out)
{
    out->running = b->running;
    out->rows_done = b->rows_done;
    out->rows_total = b->rows_total;
    gx_message_copy(out->engine, sizeof(out->engine), b->engine);
    gx_message_copy(out->stage, sizeof(out->stage), b->stage);
    gx_message_copy(out->problem, sizeof(out->problem), b->problem);
}

enum gx_status gx_client_gallery_stats(gx_client *client, const char *name, struct gx_client_gallery_stats *out)
{
    gx_error_clear();
    *out = (struct gx_client_gallery_stats){0};
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status =
        ask_by_name(client, "/indexd.v1.Galleries/Stats", name, &indexd__v1__gallery_stats__descriptor, &mem, &reply);
    if (status != GX_OK)
        return status;
    const Indexd__V1__GalleryStats *s = (const Indexd__V1__GalleryStats *)reply;
    gx_message_copy(out->name, sizeof(out->name), s->name);
    gx_message_copy(out->engine, sizeof(out->engine), s->engine);
    out->records = s->records;
    out->quarantined = s->quarantined;
    out->disk_free_bytes = s->disk_free_bytes;
    out->ballast_bytes = s->ballast_bytes;
    out->indexed = s->indexed;
    out->tail = s->tail;
    out->dead = s->dead;
    out->epoch = s->epoch;
    out->row_bytes = s->row_bytes;
    out->index_bytes = s->index_bytes;
    out->loaded = s->loaded;
    if (s->build != NULL)
        fill_build(s->build, &out->build);
    gx_bump_fini(&mem);
    return GX_OK;
}

enum gx_status gx_client_gallery_build(gx_client *client, const char *name, const char *engine, char *out_engine)
{
    gx_error_clear();
    if (out_engine != NULL)
        out_engine[0] = '\0';
    Indexd__V1__BuildIndexRequest request = INDEXD__V1__BUILD_INDEX_REQUEST__INIT;
    request.name = gx_message_bytes(name);
    request.engine = gx_message_bytes(engine);
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Galleries/BuildIndex", &request.base, false,
                                            &indexd__v1__build_index_response__descriptor, &mem, &reply);
    if (status != GX_OK)
        return status;
    if (out_engine != NULL)
        gx_message_copy(out_engine, GX_ENGINE_MAX + 1, ((const Indexd__V1__BuildIndexResponse *)reply)->engine);
    gx_bump_fini(&mem);
    return GX_OK;
}

enum gx_status gx_client_gallery_measure(gx_client *client, const char *name, uint32_t probes,
                                         const struct gx_client_tuning *tuning, uint64_t seed,
                                         struct gx_client_recall *out)
{
    gx_error_clear();
    *out = (struct gx_client_recall){0};
    Indexd__V1__MeasureRecallRequest request = INDEXD__V1__MEASURE_RECALL_REQUEST__INIT;
    Indexd__V1__Tuning knobs;
    bool given;
    enum gx_status status = gx_message_tuning(tuning, &knobs, &given);
    if (status != GX_OK)
        return status;
    request.name = gx_message_bytes(name);
    request.probes = probes;
    request.seed = seed;
    request.tuning = given ? &knobs : NULL;
    struct gx_bump mem;
    ProtobufCMessage *reply;
    status = gx_message_call(client, "/indexd.v1.Galleries/MeasureRecall", &request.base, false,
                             &indexd__v1__measure_recall_response__descriptor, &mem, &reply);
    if (status != GX_OK)
        return status;
    const Indexd__V1__MeasureRecallResponse *r = (const Indexd__V1__MeasureRecallResponse *)reply;
    out->probes = r->probes;
    out->recall_at_1 = r->recall_at_1;
    out->recall_at_10 = r->recall_at_10;
    out->recall_at_50 = r->recall_at_50;
    out->mean_us = r->mean_us;
    out->exact_mean_us = r->exact_mean_us;
    out->effort = r->effort;
    gx_message_copy(out->engine, sizeof(out->engine), r->engine);
    gx_bump_fini(&mem);
    return GX_OK;
}
