/* Search: one probe by Search, several by BatchSearch.
 *
 * The path: options and filter -> one or n Embedding messages over the caller's rows -> call -> the reply unpacked into
 * the result's own memory, candidates pointing into it. What can go wrong: an answer for another number of probes. */
#include "message_private.h"

#include <stdlib.h>

#include "indexd/v1/search.pb-c.h"

/* ---------------------------------------------------------------- request */

struct options {
    Indexd__V1__SearchOptions message;
    Indexd__V1__Filter filter;
    Indexd__V1__Tuning tuning;
};

static enum gx_status fill_filter(const struct gx_client_search *s, struct gx_bump *mem, Indexd__V1__Filter *out,
                                  bool *out_given)
{
    indexd__v1__filter__init(out);
    out->captured_from_us = s->captured_from_us;
    out->captured_until_us = s->captured_until_us;
    *out_given = s->captured_from_us != 0 || s->captured_until_us != 0 || s->n_subject_ids > 0 || s->n_attributes > 0;
    if (s->n_subject_ids > 0) {
        out->n_subject_ids = s->n_subject_ids;
        out->subject_ids = gx_message_bytes_list(mem, s->subject_ids, s->n_subject_ids);
        if (out->subject_ids == NULL)
            return gx_message_no_memory();
    }
    if (s->n_attributes > 0) {
        out->n_attributes = s->n_attributes;
        out->attributes = gx_message_attributes(mem, s->attribute_keys, s->attribute_values, s->n_attributes);
        if (out->attributes == NULL)
            return gx_message_no_memory();
    }
    return GX_OK;
}

static enum gx_status fill_options(const struct gx_client_search *s, struct gx_bump *mem, struct options *out)
{
    bool given;
    indexd__v1__search_options__init(&out->message);
    out->message.k = s->k;
    if (s->has_min_cosine) {
        out->message.opt_min_cosine_case = INDEXD__V1__SEARCH_OPTIONS__OPT_MIN_COSINE_MIN_COSINE;
        out->message.min_cosine = s->min_cosine;
    }
    out->message.exact = s->exact;
    out->message.group_by_subject = s->group_by_subject;
    out->message.read_after_epoch = s->read_after_epoch;
    enum gx_status status = gx_message_tuning(&s->tuning, &out->tuning, &given);
    if (status != GX_OK)
        return status;
    out->message.tuning = given ? &out->tuning : NULL;
    status = fill_filter(s, mem, &out->filter, &given);
    out->message.filter = given ? &out->filter : NULL;
    return status;
}

static Indexd__V1__Embedding embedding_of(const float *row, size_t dim, Indexd__V1__Embedder *embedder)
{
    Indexd__V1__Embedding e = INDEXD__V1__EMBEDDING__INIT;
    e.f32le = (ProtobufCBinaryData){dim * sizeof(float), (uint8_t *)row}; /* read only */
    e.embedder = embedder;
    return e;
}

/* ---------------------------------------------------------------- result */

struct owned_result {
    struct gx_client_result result; /* first: what the user holds */
    struct gx_bump mem;
};

void gx_client_result_free(struct gx_client_result *result)
{
    if (result == NULL)
        return;
    struct owned_result *o = (struct owned_result *)result;
    gx_bump_fini(&o->mem);
    free(o);
}

static struct gx_client_stats stats_of(const Indexd__V1__SearchStats *s)
{
    if (s == NULL)
        return (struct gx_client_stats){.engine = ""};
    return (struct gx_client_stats){.engine = gx_message_text(s->engine),
                                    .effort = s->effort,
                                    .scanned = s->scanned,
                                    .epoch = s->epoch,
                                    .rescored = s->rescored,
                                    .exhaustive = s->exhaustive};
}

static enum gx_status fill_answer(Indexd__V1__Candidate *const *candidates, size_t n,
                                  const Indexd__V1__SearchStats *stats, struct gx_bump *mem,
                                  struct gx_client_answer *out)
{
    out->stats = stats_of(stats);
    out->n_candidates = n;
    if (n == 0)
        return GX_OK;
    out->candidates = gx_bump_alloc(mem, n * sizeof(*out->candidates));
    if (out->candidates == NULL)
        return gx_message_no_memory();
    for (size_t i = 0; i < n; i++) {
        const Indexd__V1__Candidate *c = candidates[i];
        out->candidates[i] = (struct gx_client_candidate){.rank = c->rank,
                                                          .cosine = c->cosine,
                                                          .captured_at_us = c->captured_at_us,
                                                          .record_id = gx_message_text(c->record_id),
                                                          .subject_id = gx_message_text(c->subject_id),
                                                          .arrest_id = gx_message_text(c->arrest_id)};
    }
    return GX_OK;
}

/* ---------------------------------------------------------------- calls */

static enum gx_status search_one(gx_client *client, const char *gallery, Indexd__V1__Embedding *probe,
                                 Indexd__V1__SearchOptions *options, struct owned_result *out)
{
    Indexd__V1__SearchRequest request = INDEXD__V1__SEARCH_REQUEST__INIT;
    request.gallery = gx_message_bytes(gallery);
    request.probe = probe;
    request.options = options;
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Search/Search", &request.base, true,
                                            &indexd__v1__search_response__descriptor, &out->mem, &reply);
    if (status != GX_OK)
        return status;
    const Indexd__V1__SearchResponse *r = (const Indexd__V1__SearchResponse *)reply;
    out->result.notice = gx_message_text(r->notice);
    out->result.n_answers = 1;
    out->result.answers = gx_bump_alloc(&out->mem, sizeof(*out->result.answers));
    if (out->result.answers == NULL)
        return gx_message_no_memory();
    return fill_answer(r->candidates, r->n_candidates, r->stats, &out->mem, &out->result.answers[0]);
}

static enum gx_status search_batch(gx_client *client, const char *gallery, Indexd__V1__Embedding **probes, size_t n,
                                   Indexd__V1__SearchOptions *options, struct owned_result *out)
{
    Indexd__V1__BatchSearchRequest request = INDEXD__V1__BATCH_SEARCH_REQUEST__INIT;
    request.gallery = gx_message_bytes(gallery);
    request.n_probes = n;
    request.probes = probes;
    request.options = options;
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/indexd.v1.Search/BatchSearch", &request.base, true,
                                            &indexd__v1__batch_search_response__descriptor, &out->mem, &reply);
    if (status != GX_OK)
        return status;
    const Indexd__V1__BatchSearchResponse *r = (const Indexd__V1__BatchSearchResponse *)reply;
    if (r->n_results != n)
        return gx_error_set(GX_E_INTERNAL, "the server answered %zu probes, asked were %zu", r->n_results, n);
    out->result.notice = gx_message_text(r->notice);
    out->result.answers = gx_bump_alloc(&out->mem, n * sizeof(*out->result.answers));
    if (out->result.answers == NULL)
        return gx_message_no_memory();
    out->result.n_answers = n;
    for (size_t i = 0; i < n && status == GX_OK; i++)
        status = fill_answer(r->results[i]->candidates, r->results[i]->n_candidates, r->results[i]->stats, &out->mem,
                             &out->result.answers[i]);
    return status;
}

static enum gx_status check_shape(size_t n_probes, size_t dim, uint32_t k)
{
    if (n_probes == 0 || n_probes > GX_BATCH_PROBES_MAX)
        return gx_error_set(GX_E_INVALID, "%zu probes in one search: 1 to %d are possible", n_probes,
                            GX_BATCH_PROBES_MAX);
    if (dim < GX_DIM_MIN || dim > GX_DIM_MAX)
        return gx_error_set(GX_E_INVALID, "probes of dimension %zu: %d to %d are possible", dim, GX_DIM_MIN,
                            GX_DIM_MAX);
    if (k > GX_K_MAX)
        return gx_error_set(GX_E_INVALID, "k is %u: 1 to %d are possible", k, GX_K_MAX);
    if (n_probes * (k != 0 ? k : 50) > GX_BATCH_RESULTS_MAX)
        return gx_error_set(GX_E_INVALID, "%zu probes with %u candidates each: at most %d in one call", n_probes,
                            k != 0 ? k : 50, GX_BATCH_RESULTS_MAX);
    return GX_OK;
}

enum gx_status gx_client_search(gx_client *client, const char *gallery, const char *embedder_id,
                                const char *embedder_version, const float *probes, size_t n_probes, size_t dim,
                                const struct gx_client_search *search, struct gx_client_result **out)
{
    static const struct gx_client_search defaults;
    const struct gx_client_search *s = search != NULL ? search : &defaults;
    gx_error_clear();
    *out = NULL;
    enum gx_status status = check_shape(n_probes, dim, s->k);
    if (status != GX_OK)
        return status;
    struct gx_bump mem;
    gx_message_memory(&mem);
    struct options options;
    Indexd__V1__Embedder embedder = INDEXD__V1__EMBEDDER__INIT;
    embedder.id = gx_message_bytes(embedder_id);
    embedder.version = gx_message_bytes(embedder_version);
    Indexd__V1__Embedding *list = gx_bump_alloc(&mem, n_probes * sizeof(*list));
    Indexd__V1__Embedding **pointers = gx_bump_alloc(&mem, n_probes * sizeof(*pointers));
    struct owned_result *result = calloc(1, sizeof(*result));
    status =
        list == NULL || pointers == NULL || result == NULL ? gx_message_no_memory() : fill_options(s, &mem, &options);
    if (status == GX_OK) {
        for (size_t i = 0; i < n_probes; i++) {
            list[i] = embedding_of(probes + i * dim, dim, &embedder);
            pointers[i] = &list[i];
        }
        status = n_probes == 1 ? search_one(client, gallery, pointers[0], &options.message, result)
                               : search_batch(client, gallery, pointers, n_probes, &options.message, result);
    }
    gx_bump_fini(&mem);
    if (status != GX_OK) {
        if (result != NULL)
            gx_client_result_free(&result->result);
        return status;
    }
    *out = &result->result;
    return GX_OK;
}
