/* Search messages. Replies are encoded by hand, in one pass: packing them through protobuf-c costs more than the rest
 * of the call. tests/unit/test_wire.c holds them against protobuf-c byte for byte. */
#include "indexd/v1/search.pb-c.h"
#include "wire_private.h"

#define K_DEFAULT 50
#define ROOM      (64u << 10)

/* --- requests --- */

static enum gx_status get_filter(const Indexd__V1__Filter *filter, struct gx_arena *arena, struct gx_filter *out,
                                 struct gx_err *err)
{
    if (filter == NULL)
        return GX_OK;
    out->captured_from_us = filter->captured_from_us;
    out->captured_until_us = filter->captured_until_us;
    out->n_subjects = filter->n_subject_ids;
    out->n_attributes = filter->n_attributes;
    if (out->n_subjects > GX_FILTER_VALUES_MAX)
        return gx_fail(err, GX_E_INVALID, "subject_ids: at most %d, got %zu", GX_FILTER_VALUES_MAX, out->n_subjects);
    GX_TRY(gx_wire_copy_ids(filter->subject_ids, out->n_subjects, "subject_ids", arena, &out->subjects, err));
    struct gx_attribute *attributes;
    GX_TRY(gx_arena_array(arena, GX_ATTRIBUTES_MAX, sizeof(*attributes), &attributes, err));
    out->attributes = attributes;
    return gx_wire_copy_attributes(filter->attributes, filter->n_attributes, false, attributes, err);
}

static enum gx_status get_options(const Indexd__V1__SearchOptions *options, struct gx_arena *arena,
                                  struct gx_search_in *out, struct gx_err *err)
{
    out->k = options->k == 0 ? K_DEFAULT : options->k;
    if (out->k > GX_K_MAX)
        return gx_fail(err, GX_E_INVALID, "options.k: 1..%d, got %u", GX_K_MAX, out->k);
    if (options->opt_min_cosine_case != INDEXD__V1__SEARCH_OPTIONS__OPT_MIN_COSINE__NOT_SET) {
        out->min_cosine = options->min_cosine;
        if (!(out->min_cosine >= -1 && out->min_cosine <= 1))
            return gx_fail(err, GX_E_INVALID, "options.min_cosine: -1..1, got %g", (double)out->min_cosine);
    }
    out->exact = options->exact;
    out->group_by_subject = options->group_by_subject;
    out->read_after_epoch = options->read_after_epoch;
    if (gx_wire_get_tuning(options->tuning, out->k, &out->effort, &out->n_candidates, err) != GX_OK)
        return gx_err_wrap(err, "options");
    bool tuned = out->effort.effort >= 0 || out->effort.nprobe != 0 || out->effort.ef_search != 0;
    if (out->exact && (tuned || out->n_candidates != 0))
        return gx_fail(err, GX_E_INVALID, "options.tuning: leave it out with options.exact, which has nothing to tune");
    if (get_filter(options->filter, arena, &out->filter, err) != GX_OK)
        return gx_err_wrap(err, "options.filter");
    return GX_OK;
}

/* The probes of one search have one dimension and one embedder: the gallery has one, so at least one would be wrong. */
static enum gx_status get_probe(const Indexd__V1__Embedding *probe, size_t i, float *rows, struct gx_search_in *out,
                                struct gx_err *err)
{
    struct gx_slice id, version;
    size_t dim;
    GX_TRY(gx_wire_get_dim(probe, &dim, err));
    GX_TRY(gx_wire_get_embedder(probe->embedder, NULL, &id, &version, err));
    if (dim != out->dim)
        return gx_fail(err, GX_E_INVALID, "has %zu values, the first probe %zu", dim, out->dim);
    if (i == 0) {
        out->embedder_id = id;
        out->embedder_version = version;
    } else if (!gx_slice_equal(id, out->embedder_id) || !gx_slice_equal(version, out->embedder_version)) {
        return gx_fail(err, GX_E_EMBEDDER, "embedder: another than the first probe's: search once per embedder");
    }
    return gx_wire_copy_row(probe, dim, rows + i * dim, err);
}

static enum gx_status get_probes(Indexd__V1__Embedding *const *probes, size_t n, struct gx_arena *arena,
                                 struct gx_search_in *out, struct gx_err *err)
{
    float *rows;
    if (gx_wire_get_dim(probes[0], &out->dim, err) != GX_OK)
        return gx_err_wrap(err, "probe");
    GX_TRY(gx_arena_array(arena, n * out->dim, sizeof(*rows), &rows, err));
    out->probes = rows;
    out->n_probes = n;
    for (size_t i = 0; i < n; i++)
        if (get_probe(probes[i], i, rows, out, err) != GX_OK)
            return n == 1 ? gx_err_wrap(err, "probe") : gx_err_wrap(err, "probes[%zu]", i);
    return GX_OK;
}

/* All of a search: @probes [n], n > 0. */
static enum gx_status get_search(ProtobufCBinaryData gallery, Indexd__V1__Embedding *const *probes, size_t n,
                                 const Indexd__V1__SearchOptions *options, struct gx_arena *arena,
                                 struct gx_search_in *out, struct gx_err *err)
{
    *out =
        (struct gx_search_in){.gallery = gx_wire_slice(gallery), .k = K_DEFAULT, .min_cosine = -1, .effort.effort = -1};
    GX_TRY(gx_codec_check_name(out->gallery, err));
    if (options != NULL)
        GX_TRY(get_options(options, arena, out, err));
    if (n * out->k > GX_BATCH_RESULTS_MAX)
        return gx_fail(err, GX_E_INVALID, "probes x k: at most %d, got %zu x %u", GX_BATCH_RESULTS_MAX, n, out->k);
    return get_probes(probes, n, arena, out, err);
}

static enum gx_status get_request(const Indexd__V1__SearchRequest *request, struct gx_arena *arena,
                                  struct gx_search_in *out, struct gx_err *err)
{
    return get_search(request->gallery, &request->probe, 1, request->options, arena, out, err);
}

enum gx_status gx_wire_search_decode(struct gx_slice message, struct gx_arena *arena, struct gx_search_in *out,
                                     struct gx_err *err)
{
    Indexd__V1__SearchRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__search_request__descriptor, message, ROOM, arena, &request, err));
    return get_request(request, arena, out, err);
}

enum gx_status gx_wire_search_decode_batch(struct gx_slice message, struct gx_arena *arena, struct gx_search_in *out,
                                           struct gx_err *err)
{
    Indexd__V1__BatchSearchRequest *request;
    GX_TRY(gx_wire_unpack(&indexd__v1__batch_search_request__descriptor, message, ROOM, arena, &request, err));
    if (request->n_probes == 0 || request->n_probes > GX_BATCH_PROBES_MAX)
        return gx_fail(err, GX_E_INVALID, "probes: 1..%d, got %zu", GX_BATCH_PROBES_MAX, request->n_probes);
    return get_search(request->gallery, request->probes, request->n_probes, request->options, arena, out, err);
}

enum gx_status gx_wire_search_decode_stream(struct gx_slice message, struct gx_arena *arena, uint64_t *out_tag,
                                            bool *out_readable, struct gx_search_in *out, struct gx_err *err)
{
    Indexd__V1__StreamSearchRequest *request;
    *out_readable = false;
    GX_TRY(gx_wire_unpack(&indexd__v1__stream_search_request__descriptor, message, ROOM, arena, &request, err));
    *out_tag = request->tag;
    *out_readable = true;
    if (request->request == NULL)
        return gx_fail(err, GX_E_INVALID, "request: must be set");
    return get_request(request->request, arena, out, err);
}

/* --- replies ---
 *
 * proto3: fields of value zero are left out. Fields below 16 have keys of one byte: number << 3 | wire type. */

enum { VARINT = 0, LEN = 2, I32 = 5 };

static size_t varint_len(uint64_t value)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(value | 1);
    return (bits * 9 + 64) / 64; /* bits / 7, rounded up, for 1..64 */
}

static uint8_t *put_varint(uint8_t *p, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *p++ = (uint8_t)(value | 0x80);
    *p++ = (uint8_t)value;
    return p;
}

static size_t number_len(uint64_t value)
{
    return value == 0 ? 0 : 1 + varint_len(value);
}

static uint8_t *put_number(uint8_t *p, unsigned field, uint64_t value)
{
    if (value == 0)
        return p;
    *p++ = (uint8_t)(field << 3 | VARINT);
    return put_varint(p, value);
}

static size_t float_len(float value)
{
    return value == 0 ? 0 : 1 + sizeof(value);
}

static uint8_t *put_float(uint8_t *p, unsigned field, float value)
{
    if (value == 0)
        return p;
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    *p++ = (uint8_t)(field << 3 | I32);
    for (unsigned shift = 0; shift < 32; shift += 8)
        *p++ = (uint8_t)(bits >> shift);
    return p;
}

/* A part of known length: key, length, content. */
static size_t part_len(size_t len)
{
    return 1 + varint_len(len) + len;
}

static uint8_t *put_part(uint8_t *p, unsigned field, size_t len)
{
    *p++ = (uint8_t)(field << 3 | LEN);
    return put_varint(p, len);
}

static size_t text_len(size_t len)
{
    return len == 0 ? 0 : part_len(len);
}

static uint8_t *put_text(uint8_t *p, unsigned field, struct gx_slice text)
{
    if (text.len == 0)
        return p;
    p = put_part(p, field, text.len);
    memcpy(p, text.data, text.len);
    return p + text.len;
}

static size_t candidate_len(const struct gx_candidate *c, size_t rank)
{
    return number_len(rank) + text_len(c->record_id.len) + text_len(c->subject_id.len) + text_len(c->arrest_id.len) +
           float_len((float)c->cosine) + number_len((uint64_t)c->captured_at_us);
}

static size_t stats_len(const struct gx_search_stats *s)
{
    return text_len(strlen(s->engine)) + float_len(s->effort) + number_len(s->scanned) + number_len(s->rescored) +
           number_len(s->exhaustive) + number_len(s->epoch);
}

/* Fields 1 (candidates) and 2 (stats): the same in SearchResponse and BatchSearchResponse.Result. */
static size_t result_len(const struct gx_search_result *result)
{
    size_t len = part_len(stats_len(&result->stats));
    for (size_t i = 0; i < result->n; i++)
        len += part_len(candidate_len(&result->candidates[i], i + 1));
    return len;
}

static uint8_t *put_candidate(uint8_t *p, const struct gx_candidate *c, size_t rank)
{
    p = put_part(p, 1, candidate_len(c, rank));
    p = put_number(p, 1, rank);
    p = put_text(p, 2, c->record_id);
    p = put_text(p, 3, c->subject_id);
    p = put_text(p, 4, c->arrest_id);
    p = put_float(p, 5, (float)c->cosine);
    return put_number(p, 6, (uint64_t)c->captured_at_us);
}

static uint8_t *put_result(uint8_t *p, const struct gx_search_result *result)
{
    const struct gx_search_stats *s = &result->stats;
    for (size_t i = 0; i < result->n; i++)
        p = put_candidate(p, &result->candidates[i], i + 1);
    p = put_part(p, 2, stats_len(s));
    p = put_text(p, 1, gx_slice_text(s->engine));
    p = put_float(p, 2, s->effort);
    p = put_number(p, 3, s->scanned);
    p = put_number(p, 4, s->rescored);
    p = put_number(p, 5, s->exhaustive);
    return put_number(p, 6, s->epoch);
}

#define NOTICE_LEN (sizeof(GX_LEAD_ONLY_NOTICE) - 1)

static uint8_t *put_search(uint8_t *p, const struct gx_search_result *result)
{
    p = put_result(p, result);
    return put_text(p, 3, gx_slice_text(GX_LEAD_ONLY_NOTICE));
}

size_t gx_wire_search_len(const struct gx_search_result *result)
{
    return result_len(result) + part_len(NOTICE_LEN);
}

void gx_wire_search_encode(const struct gx_search_result *result, uint8_t *out)
{
    (void)put_search(out, result);
}

size_t gx_wire_search_len_batch(const struct gx_search_result *results, size_t n)
{
    size_t len = part_len(NOTICE_LEN);
    for (size_t i = 0; i < n; i++)
        len += part_len(result_len(&results[i]));
    return len;
}

void gx_wire_search_encode_batch(const struct gx_search_result *results, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        out = put_part(out, 1, result_len(&results[i]));
        out = put_result(out, &results[i]);
    }
    (void)put_text(out, 2, gx_slice_text(GX_LEAD_ONLY_NOTICE));
}

static size_t error_len(const struct gx_err *error)
{
    return number_len((uint64_t)gx_status_grpc(error->status)) + text_len(strlen(gx_status_name(error->status))) +
           text_len(strlen(error->text));
}

size_t gx_wire_search_len_stream(uint64_t tag, const struct gx_search_result *result, const struct gx_err *error)
{
    return number_len(tag) + part_len(error != NULL ? error_len(error) : gx_wire_search_len(result));
}

void gx_wire_search_encode_stream(uint64_t tag, const struct gx_search_result *result, const struct gx_err *error,
                                  uint8_t *out)
{
    out = put_number(out, 1, tag);
    if (error == NULL) {
        (void)put_search(put_part(out, 2, gx_wire_search_len(result)), result);
        return;
    }
    out = put_part(out, 3, error_len(error));
    out = put_number(out, 1, (uint64_t)gx_status_grpc(error->status));
    out = put_text(out, 2, gx_slice_text(gx_status_name(error->status)));
    (void)put_text(out, 3, gx_slice_text(error->text));
}
