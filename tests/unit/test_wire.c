/* Promises of wire.h: requests of Search, and the memory that messages may take. */
#include "wire_messages.h"

#include <math.h>

#include "indexd/v1/search.pb-c.h"

/* --- a whole search request, to be changed --- */

static ProtobufCBinaryData subjects[GX_FILTER_VALUES_MAX + 1];
static Indexd__V1__Filter filter;
static Indexd__V1__Tuning tuning;
static Indexd__V1__SearchOptions options;
static Indexd__V1__SearchRequest search;

static void make_search(void)
{
    for (size_t i = 0; i <= GX_FILTER_VALUES_MAX; i++)
        subjects[i] = bytes("p1");
    indexd__v1__filter__init(&filter);
    filter.captured_from_us = -5;
    filter.captured_until_us = 1700000000000000;
    filter.n_subject_ids = 2;
    filter.subject_ids = subjects;
    filter.n_attributes = 1;
    filter.attributes = t.attributes;
    indexd__v1__tuning__init(&tuning);
    tuning.knob_case = INDEXD__V1__TUNING__KNOB_EF_SEARCH;
    tuning.ef_search = 128;
    tuning.candidates = 300;
    indexd__v1__search_options__init(&options);
    options.k = 7;
    options.opt_min_cosine_case = INDEXD__V1__SEARCH_OPTIONS__OPT_MIN_COSINE_MIN_COSINE;
    options.min_cosine = 0.25f;
    options.group_by_subject = true;
    options.filter = &filter;
    options.tuning = &tuning;
    options.read_after_epoch = 42;
    indexd__v1__search_request__init(&search);
    search.gallery = bytes("county.2024");
    search.probe = &t.embedding;
    search.options = &options;
}

static enum gx_status decode_search(struct gx_search_in *in)
{
    return gx_wire_search_decode(pack(&search), &t.arena, in, &t.err);
}

START_TEST(search_request_is_read_as_asked)
{
    struct gx_search_in in;
    make_search();
    ck_assert_int_eq(decode_search(&in), GX_OK);
    ck_assert(equals(in.gallery, "county.2024"));
    ck_assert(equals(in.embedder_id, "edgeface-xs") && equals(in.embedder_version, "2024-03"));
    ck_assert(in.n_probes == 1 && in.dim == DIM);
    ck_assert_mem_eq(in.probes, t.values, sizeof(t.values));
    ck_assert_uint_eq((uintptr_t)in.probes % alignof(float), 0);
    ck_assert_uint_eq(in.k, 7);
    ck_assert_float_eq(in.min_cosine, 0.25f);
    ck_assert(in.group_by_subject && !in.exact);
    ck_assert_int_eq(in.filter.captured_from_us, -5);
    ck_assert_int_eq(in.filter.captured_until_us, 1700000000000000);
    ck_assert(in.filter.n_subjects == 2 && equals(in.filter.subjects[1], "p1"));
    ck_assert_uint_eq(in.filter.n_attributes, 1);
    ck_assert(equals(in.filter.attributes[0].key, "county") && equals(in.filter.attributes[0].value, "Zürich"));
    ck_assert(in.effort.ef_search == 128 && in.effort.nprobe == 0 && in.effort.effort < 0);
    ck_assert(in.n_candidates == 300 && in.read_after_epoch == 42);
    ck_assert_ptr_null(in.stopped);
}
END_TEST

START_TEST(what_a_search_leaves_out_has_its_default)
{
    struct gx_search_in in;
    make_search();
    search.options = NULL;
    for (int empty_options = 0; empty_options < 2; empty_options++) {
        ck_assert_int_eq(decode_search(&in), GX_OK);
        ck_assert_uint_eq(in.k, 50);
        ck_assert_float_eq(in.min_cosine, -1);
        ck_assert(in.effort.effort < 0 && in.effort.nprobe == 0 && in.effort.ef_search == 0 && in.n_candidates == 0);
        ck_assert(!in.exact && !in.group_by_subject && in.read_after_epoch == 0);
        ck_assert(in.filter.n_subjects == 0 && in.filter.n_attributes == 0 && in.filter.captured_from_us == 0);
        indexd__v1__search_options__init(&options);
        search.options = &options;
    }
    options.opt_min_cosine_case = INDEXD__V1__SEARCH_OPTIONS__OPT_MIN_COSINE_MIN_COSINE; /* 0 is not "not set" */
    ck_assert_int_eq(decode_search(&in), GX_OK);
    ck_assert_float_eq(in.min_cosine, 0);
}
END_TEST

START_TEST(each_knob_arrives_where_it_belongs)
{
    struct gx_search_in in;
    make_search();
    tuning.candidates = 0;
    tuning.knob_case = INDEXD__V1__TUNING__KNOB_EFFORT;
    tuning.effort = 0; /* the least is not "not set" */
    ck_assert_int_eq(decode_search(&in), GX_OK);
    ck_assert(in.effort.effort >= 0 && in.effort.effort <= 0 && in.effort.nprobe == 0 && in.effort.ef_search == 0);
    tuning.knob_case = INDEXD__V1__TUNING__KNOB_NPROBE;
    tuning.nprobe = 16;
    ck_assert_int_eq(decode_search(&in), GX_OK);
    ck_assert(in.effort.effort < 0 && in.effort.nprobe == 16 && in.effort.ef_search == 0 && in.n_candidates == 0);
}
END_TEST

START_TEST(both_forms_of_an_embedding_give_the_same_row)
{
    struct gx_search_in in;
    make_search();
    t.embedding.f32le.len = 0;
    t.embedding.n_values = DIM;
    t.embedding.values = t.values;
    ck_assert_int_eq(decode_search(&in), GX_OK);
    ck_assert_uint_eq(in.dim, DIM);
    ck_assert_mem_eq(in.probes, t.values, sizeof(t.values));
}
END_TEST

/* --- refusals: one change each, and what the text must name; NULL behind the last --- */

static const char *spoil_probe(int i)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    if (i < 3) {
        memcpy(t.le + 4, &bad[i], sizeof(float));
        return "probe: 1 of 4 values";
    }
    switch (i) {
    case 3: search.probe = NULL; return "probe";
    case 4: t.embedding.f32le.len = 0; return "probe";
    case 5: t.embedding.values = t.values, t.embedding.n_values = DIM; return "probe: f32le and values";
    case 6: t.embedding.f32le.len--; return "probe: f32le";
    case 7: t.embedding.embedder = NULL; return "probe: embedder";
    case 8: t.embedder.id.len = 0; return "probe: embedder.id";
    case 9: t.embedder.id = bytes_nul(SECRET); return "probe: embedder.id";
    case 10: t.embedder.version = bytes(SECRET "\xff"); return "probe: embedder.version";
    default: return NULL;
    }
}

static const char *spoil_tuning(int i)
{
    switch (i) {
    case 0: tuning.ef_search = 0; return "options: tuning.ef_search";
    case 1: tuning.ef_search = 10001; return "options: tuning.ef_search";
    case 2: tuning.candidates = 6; return "options: tuning.candidates: 7";
    case 3: tuning.candidates = 100001; return "options: tuning.candidates";
    case 4: options.exact = true, tuning.candidates = 0; return "options.tuning";
    case 5: options.exact = true, tuning.knob_case = INDEXD__V1__TUNING__KNOB__NOT_SET; return "options.tuning";
    case 6: tuning.knob_case = INDEXD__V1__TUNING__KNOB_NPROBE, tuning.nprobe = 0; return "options: tuning.nprobe";
    default: break;
    }
    tuning.knob_case = INDEXD__V1__TUNING__KNOB_EFFORT;
    switch (i) {
    case 7: tuning.effort = NAN; return "options: tuning.effort";
    case 8: tuning.effort = 1.01f; return "options: tuning.effort";
    case 9: tuning.effort = -0.01f; return "options: tuning.effort";
    default: return NULL;
    }
}

static const char *spoil_options(int i)
{
    switch (i) {
    case 0: search.gallery.len = 0; return "gallery name";
    case 1: search.gallery = bytes("../" SECRET); return "gallery name";
    case 2: options.k = GX_K_MAX + 1; return "options.k: 1..1000, got 1001";
    case 3: options.min_cosine = -1.01f; return "options.min_cosine";
    case 4: options.min_cosine = 1.01f; return "options.min_cosine";
    case 5: options.min_cosine = NAN; return "options.min_cosine";
    case 6: filter.n_attributes = GX_ATTRIBUTES_MAX + 1; return "options.filter: attributes";
    case 7: t.attribute.key.len = 0; return "options.filter: attributes.key";
    case 8: t.attribute.value = bytes(SECRET "\n"); return "options.filter: attributes.value";
    case 9: subjects[1].len = 0; return "options.filter: subject_ids[1]";
    case 10: subjects[1] = bytes_nul(SECRET); return "options.filter: subject_ids[1]";
    case 11: filter.n_subject_ids = GX_FILTER_VALUES_MAX + 1; return "options.filter: subject_ids: at most 1000";
    default: return NULL;
    }
}

START_TEST(search_out_of_range_is_refused_by_name)
{
    const char *(*const spoil[])(int) = {spoil_probe, spoil_tuning, spoil_options};
    for (size_t i = 0; i < GX_COUNT_OF(spoil); i++)
        for (int j = 0;; j++) {
            struct gx_search_in in;
            messages_end();
            messages_begin();
            make_search();
            ck_assert_int_eq(decode_search(&in), GX_OK);
            const char *field = spoil[i](j);
            if (field == NULL)
                break;
            assert_refused(decode_search(&in), GX_E_INVALID, field);
        }
}
END_TEST

START_TEST(widest_search_is_taken_and_one_more_is_refused)
{
    static float wide[GX_DIM_MAX + 1];
    struct gx_search_in in;
    make_search();
    filter.n_subject_ids = GX_FILTER_VALUES_MAX;
    filter.n_attributes = GX_ATTRIBUTES_MAX; /* a filter may name a key twice */
    options.k = GX_K_MAX;
    tuning.candidates = GX_K_MAX;
    t.embedding.f32le.len = 0;
    t.embedding.values = wide;
    t.embedding.n_values = GX_DIM_MAX;
    ck_assert_int_eq(decode_search(&in), GX_OK);
    ck_assert(in.dim == GX_DIM_MAX && in.filter.n_subjects == GX_FILTER_VALUES_MAX && in.k == GX_K_MAX);
    t.embedding.n_values++;
    assert_refused(decode_search(&in), GX_E_INVALID, "probe: at most 4096");
}
END_TEST

START_TEST(exact_search_may_carry_an_empty_tuning)
{
    struct gx_search_in in;
    make_search();
    indexd__v1__tuning__init(&tuning);
    options.exact = true;
    ck_assert_int_eq(decode_search(&in), GX_OK);
    ck_assert(in.exact);
}
END_TEST

/* --- batch and stream --- */

static Indexd__V1__Embedding *probes[GX_BATCH_PROBES_MAX + 1];

static enum gx_status decode_batch(size_t n, struct gx_search_in *in)
{
    Indexd__V1__BatchSearchRequest batch;
    indexd__v1__batch_search_request__init(&batch);
    batch.gallery = search.gallery;
    batch.options = &options;
    batch.n_probes = n;
    batch.probes = probes;
    return gx_wire_search_decode_batch(pack(&batch), &t.arena, in, &t.err);
}

START_TEST(batch_has_its_limits)
{
    struct gx_search_in in;
    make_search();
    for (size_t i = 0; i <= GX_BATCH_PROBES_MAX; i++)
        probes[i] = &t.embedding;
    options.k = GX_BATCH_RESULTS_MAX / GX_BATCH_PROBES_MAX;
    tuning.candidates = 0;
    ck_assert_int_eq(decode_batch(GX_BATCH_PROBES_MAX, &in), GX_OK);
    ck_assert_uint_eq(in.n_probes, GX_BATCH_PROBES_MAX);
    for (size_t i = 0; i < in.n_probes; i++)
        ck_assert_mem_eq(in.probes + i * DIM, t.values, sizeof(t.values));
    assert_refused(decode_batch(GX_BATCH_PROBES_MAX + 1, &in), GX_E_INVALID, "probes: 1..256");
    assert_refused(decode_batch(0, &in), GX_E_INVALID, "probes: 1..256");
    options.k++;
    assert_refused(decode_batch(GX_BATCH_PROBES_MAX, &in), GX_E_INVALID, "probes x k");
    ck_assert_int_eq(decode_batch(GX_BATCH_PROBES_MAX - 1, &in), GX_OK);
    options.k = GX_K_MAX; /* 100 x 1000: the limit itself */
    ck_assert_int_eq(decode_batch(GX_BATCH_RESULTS_MAX / GX_K_MAX, &in), GX_OK);
    assert_refused(decode_batch(GX_BATCH_RESULTS_MAX / GX_K_MAX + 1, &in), GX_E_INVALID, "probes x k");
}
END_TEST

START_TEST(probes_of_a_batch_are_of_one_kind)
{
    struct gx_search_in in;
    make_search();
    Indexd__V1__Embedding other = t.embedding;
    Indexd__V1__Embedder other_embedder = t.embedder;
    probes[0] = probes[2] = &t.embedding;
    probes[1] = &other;
    other.f32le.len -= sizeof(float);
    assert_refused(decode_batch(3, &in), GX_E_INVALID, "probes[1]");
    other.f32le.len += sizeof(float);
    other.embedder = &other_embedder;
    ck_assert_int_eq(decode_batch(3, &in), GX_OK);
    other_embedder.version = bytes("2025-01");
    assert_refused(decode_batch(3, &in), GX_E_EMBEDDER, "probes[1]: embedder");
}
END_TEST

START_TEST(stream_request_tells_whose_failure_it_is)
{
    struct gx_search_in in;
    uint64_t tag = 0;
    bool readable;
    Indexd__V1__StreamSearchRequest request;
    make_search();
    indexd__v1__stream_search_request__init(&request);
    request.tag = UINT64_MAX;
    enum gx_status status = gx_wire_search_decode_stream(pack(&request), &t.arena, &tag, &readable, &in, &t.err);
    assert_refused(status, GX_E_INVALID, "request");
    ck_assert(readable && tag == UINT64_MAX);
    request.request = &search;
    status = gx_wire_search_decode_stream(pack(&request), &t.arena, &tag, &readable, &in, &t.err);
    ck_assert_int_eq(status, GX_OK);
    ck_assert(readable && in.k == 7);
    struct gx_slice torn = {t.wire + 1, t.wire_len - 1};
    status = gx_wire_search_decode_stream(torn, &t.arena, &tag, &readable, &in, &t.err);
    assert_refused(status, GX_E_INVALID, "malformed");
    ck_assert(!readable);
}
END_TEST

/* --- memory --- */

START_TEST(every_cut_of_a_message_is_read_or_refused)
{
    struct gx_search_in in;
    make_search();
    struct gx_slice whole = pack(&search);
    for (size_t len = 0; len < whole.len; len++) {
        uint8_t *exact = malloc(len);
        ck_assert(exact != NULL || len == 0);
        if (len > 0)
            memcpy(exact, whole.data, len);
        enum gx_status status = gx_wire_search_decode((struct gx_slice){exact, len}, &t.arena, &in, &t.err);
        ck_assert_msg(status == GX_OK || status == GX_E_INVALID, "cut at %zu: %d", len, (int)status);
        free(exact);
    }
    ck_assert_int_eq(gx_wire_search_decode(whole, &t.arena, &in, &t.err), GX_OK);
}
END_TEST

START_TEST(message_that_unfolds_to_much_more_is_refused_early)
{
    enum { LEN = 1 << 20 };
    struct gx_search_in in;
    uint8_t *wire = malloc(LEN);
    ck_assert_ptr_nonnull(wire);
    struct gx_slice message = {wire, LEN};
    for (size_t i = 0; i < LEN; i += 2) { /* empty probes: half a million structs */
        wire[i] = 2 << 3 | 2;
        wire[i + 1] = 0;
    }
    assert_refused(gx_wire_search_decode_batch(message, &t.arena, &in, &t.err), GX_E_TOO_LARGE, "too many parts");
    ck_assert_uint_le(t.arena.used, 9u * LEN);
    gx_arena_reset(&t.arena);
    for (size_t i = 0; i < LEN; i += 2) /* unknown fields, which protobuf-c keeps */
        wire[i] = 15 << 3;
    assert_refused(gx_wire_search_decode(message, &t.arena, &in, &t.err), GX_E_TOO_LARGE, "too many parts");
    ck_assert_uint_le(t.arena.used, 9u * LEN);
    message.len = GX_MESSAGE_MAX + 1;
    assert_refused(gx_wire_search_decode(message, &t.arena, &in, &t.err), GX_E_TOO_LARGE, "16777217 bytes");
    free(wire);
}
END_TEST

START_TEST(arena_at_its_end_is_an_error_not_a_crash)
{
    struct gx_search_in in;
    make_search();
    struct gx_slice message = pack(&search);
    enum gx_status status = GX_E_TOO_LARGE;
    for (size_t limit = 0; status != GX_OK; limit += 64) {
        struct gx_arena small;
        gx_arena_init(&small, limit);
        status = gx_wire_search_decode(message, &small, &in, &t.err);
        gx_arena_fini(&small);
        ck_assert(status == GX_OK || status == GX_E_TOO_LARGE);
        ck_assert_uint_lt(limit, 64u << 10);
    }
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        search_request_is_read_as_asked,           what_a_search_leaves_out_has_its_default,
        each_knob_arrives_where_it_belongs,        both_forms_of_an_embedding_give_the_same_row,
        search_out_of_range_is_refused_by_name,    widest_search_is_taken_and_one_more_is_refused,
        exact_search_may_carry_an_empty_tuning,    batch_has_its_limits,
        probes_of_a_batch_are_of_one_kind,         stream_request_tells_whose_failure_it_is,
        every_cut_of_a_message_is_read_or_refused, message_that_unfolds_to_much_more_is_refused_early,
        arena_at_its_end_is_an_error_not_a_crash,
    };
    return run_suite("wire", tests, GX_COUNT_OF(tests));
}
