/* Promises of engine.h that hold whatever the engine: which texts are understood, and what `flat` does. */
#include "engine.h"

#include <check.h>
#include <math.h>
#include <stdio.h>

#include "trained.h"

static struct gx_err err;

#define OK(call) ck_assert_msg((call) == GX_OK, "%s", err.text)

static enum gx_status parse(const char *text, size_t dim, struct gx_engine_spec *out)
{
    err = (struct gx_err){0};
    return gx_engine_parse(gx_slice_text(text), dim, out, &err);
}

START_TEST(flat_has_nothing_to_build_and_native_engines_can_do_everything)
{
    struct gx_engine_spec spec;
    OK(parse("flat", 512, &spec));
    ck_assert_int_eq(spec.kind, GX_ENGINE_FLAT);
    ck_assert(!spec.indexes && spec.removes && !spec.saves && !spec.certifies);
    OK(parse("scan", 512, &spec));
    ck_assert_int_eq(spec.kind, GX_ENGINE_SCAN);
    ck_assert(spec.indexes && spec.removes && spec.beside && spec.filters && spec.certifies && spec.exhaustive);
    ck_assert(!spec.saves && spec.train_max == 0);
    OK(parse("hnsw", 512, &spec));
    ck_assert_int_eq(spec.kind, GX_ENGINE_HNSW);
    ck_assert(spec.indexes && spec.removes && spec.beside && spec.filters && spec.certifies && !spec.exhaustive);
    ck_assert(spec.saves && spec.bare_file && spec.train_max == 0);
}
END_TEST

START_TEST(auto_is_scan_until_the_gallery_is_large_and_does_not_waver_at_the_bound)
{
    struct gx_engine_spec spec;
    OK(parse("auto", 512, &spec));
    ck_assert_str_eq(spec.text, "scan");
    ck_assert_str_eq(gx_engine_choose("auto", 0, 1000, ""), "scan");
    ck_assert_str_eq(gx_engine_choose("auto", 999, 1000, "scan"), "scan");
    ck_assert_str_eq(gx_engine_choose("auto", 1000, 1000, "scan"), "hnsw");
    ck_assert_str_eq(gx_engine_choose("auto", 501, 1000, "hnsw"), "hnsw");
    ck_assert_str_eq(gx_engine_choose("auto", 499, 1000, "hnsw"), "scan");
    ck_assert_str_eq(gx_engine_choose("flat", 1u << 30, 1000, ""), "flat");
}
END_TEST

struct form {
    const char *text;
    size_t dim;
    bool removes;
    uint32_t nlist, hnsw_m;
    uint64_t train_min;
};

static const struct form good[] = {
    {"faiss:Flat", 2, true, 0, 0, 0},
    {"faiss:IVF1,Flat", 512, true, 1, 0, 8},
    {"faiss:IVF1024,SQ8", 512, true, 1024, 0, 8192},
    {"faiss:IVF16,SQ8", 64, true, 16, 0, 128},
    {"faiss:IVF64,SQfp16", 512, true, 64, 0, 512},
    {"faiss:IVF64_HNSW32,SQ8", 512, true, 64, 0, 512},
    {"faiss:IVF64,PQ32", 512, true, 64, 0, 1024},
    {"faiss:IVF4096,PQ128x4fs", 512, false, 4096, 0, 32768},
    {"faiss:IVF4,PQ128x4fs", 512, false, 4, 0, 64},
    {"faiss:IVF1048576,Flat", 512, true, 1048576, 0, 8388608},
    {"faiss:HNSW4,Flat", 512, false, 0, 4, 0},
    {"faiss:HNSW128,SQ8", 512, false, 0, 128, 64},
    {"faiss:OPQ16,Flat", 64, true, 0, 0, 1024},
    {"faiss:OPQ16,IVF16,PQ32x4fs", 64, false, 16, 0, 1024},
    {"faiss:OPQ32_128,IVF64_HNSW8,PQ32", 512, true, 64, 0, 1024},
    {"faiss:OPQ16_32,HNSW16,SQ8", 64, false, 0, 16, 1024},
};

START_TEST(supported_faiss_forms_are_understood)
{
    struct gx_engine_spec spec;
    for (size_t i = 0; i < GX_COUNT_OF(good); i++) {
        OK(parse(good[i].text, good[i].dim, &spec));
        ck_assert_int_eq(spec.kind, GX_ENGINE_FAISS);
        ck_assert_str_eq(spec.text, good[i].text);
        ck_assert(spec.indexes && spec.saves);
        ck_assert_msg(spec.removes == good[i].removes, "%s", good[i].text);
        ck_assert_uint_eq(spec.nlist, good[i].nlist);
        ck_assert_uint_eq(spec.hnsw_m, good[i].hnsw_m);
        ck_assert_msg(spec.train_min == good[i].train_min, "%s: %llu", good[i].text,
                      (unsigned long long)spec.train_min);
        ck_assert(spec.train_max == 0 ? spec.train_min == 0 : spec.train_max >= spec.train_min);
    }
}
END_TEST

START_TEST(anything_else_is_refused_with_the_list_of_forms)
{
    static const char *const bad[] = {
        "faiss:flat",
        "faiss:IVF,Flat",
        "faiss:IVF0,Flat",
        "faiss:IVF016,Flat",
        "faiss:IVF-1,Flat",
        "faiss:IVF16",
        "faiss:IVF16,",
        "faiss:IVF16,SQ4",
        "faiss:IVF16,SQ8 ",
        "faiss: IVF16,SQ8",
        "faiss:IVF16,SQ8,RFlat",
        "faiss:IVF16,PQ",
        "faiss:IVF16,PQ0",
        "faiss:IVF16,PQ8x8",
        "faiss:IVF16,PQ8x4",
        "faiss:IVF16,PQ8np",
        "faiss:IVF16,PQ8x4fsr",
        "faiss:IVF16_HNSW,Flat",
        "faiss:IVF12345678,Flat",
        "faiss:IVF99999999999999999999,Flat",
        "faiss:HNSW,Flat",
        "faiss:HNSW16",
        "faiss:HNSW16,PQ8",
        "faiss:HNSW16,SQfp16",
        "faiss:OPQ8",
        "faiss:OPQ8,",
        "faiss:OPQ,Flat",
        "faiss:OPQ8_,Flat",
        "faiss:OPQ8,OPQ8,Flat",
        "faiss:PQ8",
        "faiss:SQ8",
        "faiss:LSH",
        "faiss:IDMap2,Flat",
        "faiss:PCA32,Flat",
        "faiss:IVF16(HNSW8),Flat",
        "faiss:Flat,Flat",
    };
    struct gx_engine_spec spec;
    for (size_t i = 0; i < GX_COUNT_OF(bad); i++) {
        ck_assert_msg(parse(bad[i], 64, &spec) == GX_E_INVALID, "%s was taken", bad[i]);
        ck_assert_msg(strstr(err.text, "IVFn[_HNSWm],(Flat|SQ8|SQfp16|PQm|PQmx4fs) | HNSWm,(Flat|SQ8)") != NULL, "%s",
                      err.text);
    }
    static const char *const no_engine[] = {"", "faiss:", "faiss", "Flat", "AUTO", "flat ", "Scan", "hnsw32"};
    for (size_t i = 0; i < GX_COUNT_OF(no_engine); i++) {
        ck_assert_int_eq(parse(no_engine[i], 64, &spec), GX_E_INVALID);
        ck_assert_msg(strstr(err.text, "auto, scan, hnsw, flat or faiss:FORM") != NULL, "%s", err.text);
        ck_assert_msg(strstr(err.text, "HNSWm,(Flat|SQ8)") != NULL, "cut short: %s", err.text);
    }
    struct gx_slice with_nul = {(const uint8_t *)"faiss:Flat\0x", 12};
    ck_assert_int_eq(gx_engine_parse(with_nul, 64, &spec, &err), GX_E_INVALID);
    char longest[GX_ENGINE_MAX + 2];
    memset(longest, '1', sizeof(longest));
    memcpy(longest, "faiss:IVF", 9);
    struct gx_slice too_long = {(const uint8_t *)longest, sizeof(longest)};
    ck_assert_int_eq(gx_engine_parse(too_long, 64, &spec, &err), GX_E_INVALID);
}
END_TEST

START_TEST(a_number_that_does_not_fit_is_named)
{
    static const struct {
        const char *text, *named;
        size_t dim;
    } bad[] = {
        {"faiss:IVF1048577,Flat", "1048576 lists", 64},
        {"faiss:HNSW3,Flat", "4 to 128 links", 64},
        {"faiss:HNSW129,SQ8", "4 to 128 links", 64},
        {"faiss:IVF8_HNSW2,SQ8", "4 to 128 links", 64},
        {"faiss:IVF8,PQ7", "divide the dimension 64", 64},
        {"faiss:IVF8,PQ128x4fs", "divide the dimension 64", 64},
        {"faiss:OPQ8_32,IVF8,PQ64", "divide the dimension 32", 64},
        {"faiss:OPQ7,Flat", "7 divides", 64},
        {"faiss:OPQ16_72,Flat", "2 to 64 dimensions", 64},
        {"faiss:OPQ1_1,Flat", "2 to 64 dimensions", 64},
        {"faiss:Flat", "must be 2 to 4096", 1},
        {"flat", "must be 2 to 4096", 4097},
    };
    struct gx_engine_spec spec;
    for (size_t i = 0; i < GX_COUNT_OF(bad); i++) {
        ck_assert_msg(parse(bad[i].text, bad[i].dim, &spec) == GX_E_INVALID, "%s was taken", bad[i].text);
        ck_assert_msg(strstr(err.text, bad[i].named) != NULL, "%s: %s", bad[i].text, err.text);
    }
}
END_TEST

START_TEST(flat_proposes_nothing_and_forgets_anything)
{
    struct gx_engine_spec spec;
    struct gx_engine *engine;
    OK(parse("flat", 3, &spec));
    OK(gx_engine_new(&spec, 3, NULL, 1, &engine, &err));
    const uint64_t rnos[2] = {4, 5};
    const float rows[6] = {1, 0, 0, 0, 1, 0};
    size_t n = 99;
    uint64_t scanned = 99;
    float effort = 99;
    struct gx_engine_hit hit;
    OK(gx_engine_train(engine, rows, 2, &err));
    OK(gx_engine_add(engine, rnos, rows, 2, &err));
    struct gx_engine_effort any = {.effort = 0.3f};
    OK(gx_trained_search(engine, rows, &any, 1, &hit, &n, &scanned, &effort, &err));
    ck_assert_uint_eq(n, 0);
    ck_assert_uint_eq(scanned, 0);
    ck_assert(effort == 1);
    OK(gx_engine_remove(engine, rnos, 2, &n, &err));
    ck_assert_uint_eq(n, 0);
    struct gx_engine_stats stats;
    gx_engine_stats(engine, &stats);
    ck_assert_uint_eq(stats.entries, 0);
    ck_assert_uint_eq(stats.index_bytes, 0);
    ck_assert_int_eq(gx_engine_save(engine, "unused", &err), GX_E_UNIMPLEMENTED);
    gx_engine_unref(engine);
    ck_assert_int_eq(gx_engine_load(&spec, 3, NULL, "unused", 1, &engine, &err), GX_E_UNIMPLEMENTED);
    ck_assert_ptr_null(engine);
    gx_engine_unref(NULL);
}
END_TEST

START_TEST(flat_has_no_knob)
{
    struct gx_engine_spec spec;
    struct gx_engine *engine;
    OK(parse("flat", 2, &spec));
    OK(gx_engine_new(&spec, 2, NULL, 1, &engine, &err));
    const struct gx_engine_effort bad[] = {
        {-1, 4, 0}, {-1, 0, 4}, {1.5f, 0, 0}, {-0.5f, 0, 0}, {NAN, 0, 0}, {0.5f, 1, 0}, {-1, 1, 1},
    };
    const float probe[2] = {1, 0};
    for (size_t i = 0; i < GX_COUNT_OF(bad); i++) {
        size_t n;
        uint64_t scanned;
        float effort;
        ck_assert_int_eq(gx_trained_search(engine, probe, &bad[i], 5, NULL, &n, &scanned, &effort, &err), GX_E_INVALID);
    }
    gx_engine_unref(engine);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("engine");
    TCase *tc = tcase_create("engine");
    tcase_add_test(tc, flat_has_nothing_to_build_and_native_engines_can_do_everything);
    tcase_add_test(tc, auto_is_scan_until_the_gallery_is_large_and_does_not_waver_at_the_bound);
    tcase_add_test(tc, supported_faiss_forms_are_understood);
    tcase_add_test(tc, anything_else_is_refused_with_the_list_of_forms);
    tcase_add_test(tc, a_number_that_does_not_fit_is_named);
    tcase_add_test(tc, flat_proposes_nothing_and_forgets_anything);
    tcase_add_test(tc, flat_has_no_knob);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
