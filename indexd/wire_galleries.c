/* Galleries messages. */
#include "indexd/v1/galleries.pb-c.h"
#include "wire_private.h"

#define ROOM           (64u << 10)
#define PROBES_DEFAULT 100
#define PROBES_MAX     1000
#define RECALL_K       50 /* recall_at_50 needs as many candidates */

/* --- requests --- */

enum gx_status gx_wire_galleries_decode_create(struct gx_slice message, struct gx_arena *arena,
                                               struct gx_create_in *out, struct gx_err *err)
{
    Indexd__V1__CreateGalleryRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__create_gallery_request__descriptor, message, ROOM, arena, &request, err));
    out->name = gx_wire_slice(request->name);
    out->engine = gx_wire_slice(request->engine);
    out->dim = request->dim;
    out->default_effort = request->default_effort;
    GX_TRY(gx_codec_check_name(out->name, err));
    GX_TRY(gx_codec_check_text(out->engine, 0, GX_ENGINE_MAX, "engine", err));
    GX_TRY(gx_codec_check_text(gx_wire_slice(request->request_id), 0, GX_REQUEST_ID_MAX, "request_id", err));
    if (out->dim < GX_DIM_MIN || out->dim > GX_DIM_MAX)
        return gx_fail(err, GX_E_INVALID, "dim: %d..%d, got %u", GX_DIM_MIN, GX_DIM_MAX, out->dim);
    if (!(out->default_effort >= 0 && out->default_effort <= 1))
        return gx_fail(err, GX_E_INVALID, "default_effort: 0..1, got %g", (double)out->default_effort);
    return gx_wire_get_embedder(request->embedder, NULL, &out->embedder_id, &out->embedder_version, err);
}

enum gx_status gx_wire_galleries_decode_name(struct gx_slice message, struct gx_arena *arena, struct gx_slice *out_name,
                                             struct gx_err *err)
{
    Indexd__V1__GetGalleryRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__get_gallery_request__descriptor, message, ROOM, arena, &request, err));
    *out_name = gx_wire_slice(request->name);
    return gx_codec_check_name(*out_name, err);
}

enum gx_status gx_wire_galleries_decode_list(struct gx_slice message, struct gx_arena *arena, struct gx_err *err)
{
    Indexd__V1__ListGalleriesRequest *request;
    return gx_wire_unpack(&indexd__v1__list_galleries_request__descriptor, message, ROOM, arena, &request, err);
}

enum gx_status gx_wire_galleries_decode_delete(struct gx_slice message, struct gx_arena *arena,
                                               struct gx_remove_in *out, struct gx_err *err)
{
    Indexd__V1__DeleteGalleryRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__delete_gallery_request__descriptor, message, ROOM, arena, &request, err));
    out->name = gx_wire_slice(request->name);
    GX_TRY(gx_codec_check_name(out->name, err));
    out->request_id = gx_wire_slice(request->request_id);
    GX_TRY(gx_codec_check_text(out->request_id, 0, GX_REQUEST_ID_MAX, "request_id", err));
    bool expects = request->opt_expected_count_case != INDEXD__V1__DELETE_GALLERY_REQUEST__OPT_EXPECTED_COUNT__NOT_SET;
    return gx_wire_get_expected(expects, request->expected_count, &out->expected_count, err);
}

enum gx_status gx_wire_galleries_decode_build(struct gx_slice message, struct gx_arena *arena,
                                              struct gx_wire_build_in *out, struct gx_err *err)
{
    Indexd__V1__BuildIndexRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__build_index_request__descriptor, message, ROOM, arena, &request, err));
    out->name = gx_wire_slice(request->name);
    out->engine = gx_wire_slice(request->engine);
    GX_TRY(gx_codec_check_name(out->name, err));
    return gx_codec_check_text(out->engine, 0, GX_ENGINE_MAX, "engine", err);
}

enum gx_status gx_wire_galleries_decode_measure(struct gx_slice message, struct gx_arena *arena,
                                                struct gx_recall_in *out, struct gx_err *err)
{
    Indexd__V1__MeasureRecallRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__measure_recall_request__descriptor, message, ROOM, arena, &request, err));
    *out = (struct gx_recall_in){.gallery = gx_wire_slice(request->name)};
    out->n_probes = request->probes == 0 ? PROBES_DEFAULT : request->probes;
    out->seed = request->seed == 0 ? 1 : request->seed;
    GX_TRY(gx_codec_check_name(out->gallery, err));
    if (out->n_probes > PROBES_MAX)
        return gx_fail(err, GX_E_INVALID, "probes: 1..%d, got %u", PROBES_MAX, out->n_probes);
    return gx_wire_get_tuning(request->tuning, RECALL_K, &out->effort, &out->n_candidates, err);
}

/* --- replies --- */

struct gallery {
    Indexd__V1__Gallery gallery;
    Indexd__V1__Embedder embedder;
};

static void fill_gallery(const struct gx_gallery_info *in, struct gallery *out)
{
    const struct gx_gallery_meta *meta = &in->meta;
    indexd__v1__gallery__init(&out->gallery);
    indexd__v1__embedder__init(&out->embedder);
    out->embedder.id = gx_wire_bytes(gx_slice_text(meta->embedder_id));
    out->embedder.version = gx_wire_bytes(gx_slice_text(meta->embedder_version));
    out->gallery.name = gx_wire_bytes(gx_slice_text(meta->name));
    out->gallery.dim = meta->dim;
    out->gallery.embedder = &out->embedder;
    out->gallery.engine = gx_wire_bytes(gx_slice_text(meta->engine));
    out->gallery.created_at_us = meta->created_at_us;
    out->gallery.records = in->records;
    out->gallery.default_effort = meta->default_effort;
}

void gx_wire_galleries_build_one(const struct gx_gallery_info *gallery, struct gx_wire_reply *out)
{
    struct gallery *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    fill_gallery(gallery, reply);
    gx_wire_set(out, &reply->gallery.base);
}

enum gx_status gx_wire_galleries_build_list(const struct gx_gallery_info *galleries, size_t n, struct gx_arena *arena,
                                            struct gx_wire_reply *out, struct gx_err *err)
{
    Indexd__V1__ListGalleriesResponse *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    struct gallery *filled;
    Indexd__V1__Gallery **pointers;
    GX_TRY(gx_arena_array(arena, n, sizeof(*filled), &filled, err));
    GX_TRY(gx_arena_array(arena, n, sizeof(Indexd__V1__Gallery *), &pointers, err));
    for (size_t i = 0; i < n; i++) {
        fill_gallery(&galleries[i], &filled[i]);
        pointers[i] = &filled[i].gallery;
    }
    indexd__v1__list_galleries_response__init(reply);
    reply->n_galleries = n;
    reply->galleries = pointers;
    gx_wire_set(out, &reply->base);
    return GX_OK;
}

void gx_wire_galleries_build_deleted(uint64_t records, uint64_t epoch, struct gx_wire_reply *out)
{
    Indexd__V1__DeleteGalleryResponse *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__delete_gallery_response__init(reply);
    reply->records = records;
    reply->epoch = epoch;
    gx_wire_set(out, &reply->base);
}

void gx_wire_galleries_build_queued(const char *engine, struct gx_wire_reply *out)
{
    Indexd__V1__BuildIndexResponse *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__build_index_response__init(reply);
    reply->engine = gx_wire_bytes(gx_slice_text(engine));
    gx_wire_set(out, &reply->base);
}

void gx_wire_galleries_build_recall(const struct gx_recall_out *recall, struct gx_wire_reply *out)
{
    Indexd__V1__MeasureRecallResponse *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__measure_recall_response__init(reply);
    reply->probes = recall->n_probes;
    reply->recall_at_1 = recall->recall_at_1;
    reply->recall_at_10 = recall->recall_at_10;
    reply->recall_at_50 = recall->recall_at_50;
    reply->mean_us = recall->mean_us;
    reply->exact_mean_us = recall->exact_mean_us;
    reply->engine = gx_wire_bytes(gx_slice_text(recall->engine));
    reply->effort = recall->effort;
    gx_wire_set(out, &reply->base);
}

void gx_wire_galleries_build_stats(struct gx_slice name, const struct gx_gallery_stats *stats,
                                   struct gx_wire_reply *out)
{
    struct {
        Indexd__V1__GalleryStats stats;
        Indexd__V1__BuildProgress build;
    } *reply = (void *)out->room;
    static_assert(sizeof(*reply) <= sizeof(out->room), "fits");
    indexd__v1__build_progress__init(&reply->build);
    reply->build.running = stats->build.running;
    reply->build.engine = gx_wire_bytes(gx_slice_text(stats->build.engine));
    reply->build.stage = gx_wire_bytes(gx_slice_text(stats->build.stage));
    reply->build.rows_done = stats->build.rows_done;
    reply->build.rows_total = stats->build.rows_total;
    reply->build.problem = gx_wire_bytes(gx_slice_text(stats->build.problem));

    indexd__v1__gallery_stats__init(&reply->stats);
    reply->stats.name = gx_wire_bytes(name);
    reply->stats.engine = gx_wire_bytes(gx_slice_text(stats->engine));
    reply->stats.records = stats->records;
    reply->stats.indexed = stats->indexed;
    reply->stats.tail = stats->tail;
    reply->stats.dead = stats->dead;
    reply->stats.epoch = stats->epoch;
    reply->stats.row_bytes = stats->row_bytes;
    reply->stats.index_bytes = stats->index_bytes;
    reply->stats.build = &reply->build;
    reply->stats.loaded = stats->loaded;
    reply->stats.quarantined = stats->quarantined;
    reply->stats.disk_free_bytes = stats->disk_free_bytes;
    reply->stats.ballast_bytes = stats->ballast_bytes;
    gx_wire_set(out, &reply->stats.base);
}
