/* Searches that must be brief, because a thread that reads the network carries them out: answered as any other, or
 * refused before they begin. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "room.h"

#define ROWS_MAX (65536 / GX_ROOM_DIM) /* BRIEF_FLOATS of search.c */
#define K_MAX    100

static struct gx_room room;

static void begin(uint64_t n)
{
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    if (n > 0)
        gx_room_fill(&room, "g", n);
}

static enum gx_status search(const char *gallery, struct gx_search_in in, struct gx_search_result **out)
{
    struct gx_err err;
    in.brief = true;
    enum gx_status status = gx_room_search(&room, gallery, 3, &in, out, &err);
    ck_assert(status == GX_OK || status == err.status);
    return status;
}

static enum gx_status search_plainly(const char *gallery)
{
    struct gx_search_result *result;
    return search(gallery, gx_room_defaults(10), &result);
}

START_TEST(brief_search_answers_what_any_search_answers)
{
    enum { K = 50, ID_MAX = 64 };
    struct gx_search_result *result;
    struct gx_err err;
    char ids[K][ID_MAX] = {{0}};
    double cosines[K];
    begin(ROWS_MAX);
    struct gx_search_in in = gx_room_defaults(K);
    ck_assert_int_eq(gx_room_search(&room, "g", 3, &in, &result, &err), GX_OK);
    ck_assert_uint_eq(result->n, K);
    for (size_t i = 0; i < K; i++) {
        memcpy(ids[i], result->candidates[i].record_id.data, result->candidates[i].record_id.len);
        cosines[i] = result->candidates[i].cosine;
    }
    uint64_t scanned = result->stats.scanned;
    ck_assert_int_eq(search("g", in, &result), GX_OK);
    ck_assert_uint_eq(result->n, K);
    for (size_t i = 0; i < K; i++) {
        ck_assert(gx_slice_equal(result->candidates[i].record_id, gx_slice_text(ids[i])));
        ck_assert(result->candidates[i].cosine == cosines[i]);
    }
    ck_assert_uint_eq(result->stats.scanned, scanned);
    ck_assert(result->stats.exhaustive);
    gx_room_end(&room);
}
END_TEST

START_TEST(brief_search_is_refused_by_the_first_row_too_many)
{
    struct gx_search_result *result;
    begin(0);
    ck_assert_int_eq(search_plainly("g"), GX_OK);
    gx_room_fill(&room, "g", ROWS_MAX);
    ck_assert_int_eq(search_plainly("g"), GX_OK);
    ck_assert_int_eq(gx_room_enrol(&room, "g", ROWS_MAX, 1, NULL, NULL, NULL), GX_OK);
    ck_assert_int_eq(search_plainly("g"), GX_E_BUSY);
    struct gx_search_in in = gx_room_defaults(10);
    in.exact = true;
    ck_assert_int_eq(search("g", in, &result), GX_E_BUSY);
    ck_assert_uint_eq(room.arena.used, 0); /* before anything was done */
    gx_room_end(&room);
}
END_TEST

START_TEST(search_with_more_to_it_is_not_brief)
{
    static const struct gx_attribute attribute;
    static const struct gx_slice subject;
    struct gx_search_result *result;
    struct gx_search_in in;
    begin(20);
    in = gx_room_defaults(K_MAX);
    ck_assert_int_eq(search("g", in, &result), GX_OK);
    in = gx_room_defaults(K_MAX + 1);
    ck_assert_int_eq(search("g", in, &result), GX_E_BUSY);
    in = gx_room_defaults(10);
    in.group_by_subject = true;
    ck_assert_int_eq(search("g", in, &result), GX_E_BUSY);
    in = gx_room_defaults(10);
    in.filter.captured_from_us = 1;
    ck_assert_int_eq(search("g", in, &result), GX_E_BUSY);
    in = gx_room_defaults(10);
    in.filter.captured_until_us = 1;
    ck_assert_int_eq(search("g", in, &result), GX_E_BUSY);
    in = gx_room_defaults(10);
    in.filter.subjects = &subject;
    in.filter.n_subjects = 1;
    ck_assert_int_eq(search("g", in, &result), GX_E_BUSY);
    in = gx_room_defaults(10);
    in.filter.attributes = &attribute;
    in.filter.n_attributes = 1;
    ck_assert_int_eq(search("g", in, &result), GX_E_BUSY);
    in = gx_room_defaults(10);
    in.n_probes = 2;
    ck_assert_int_eq(search("g", in, &result), GX_E_BUSY);
    gx_room_end(&room);
}
END_TEST

/* Its lock may be held for milliseconds by whoever changes it. */
START_TEST(brief_search_never_asks_an_index)
{
    struct gx_search_result *result;
    begin(0);
    gx_room_create(&room, "f", "faiss:Flat");
    gx_room_fill(&room, "f", 200);
    struct gx_gallery *g;
    ck_assert_int_eq(gx_gallery_find(room.galleries, gx_slice_text("f"), true, &g, NULL), GX_OK);
    gx_room_wait_until(atomic_load(&g->indexed_until) == 200);
    ck_assert_int_eq(search_plainly("f"), GX_E_BUSY);
    pthread_rwlock_wrlock(&g->lock);
    ck_assert_int_eq(search_plainly("f"), GX_E_BUSY);
    struct gx_search_in in = gx_room_defaults(10);
    in.exact = true;
    ck_assert_int_eq(search("f", in, &result), GX_OK); /* asks none */
    ck_assert_uint_eq(result->n, 10);
    pthread_rwlock_unlock(&g->lock);
    gx_gallery_unref(g);
    gx_room_end(&room);
}
END_TEST

START_TEST(mistakes_are_found_as_by_any_search)
{
    struct gx_search_result *result;
    begin(5);
    ck_assert_int_eq(search_plainly("nobody"), GX_E_NOT_FOUND);
    ck_assert_int_eq(search("g", gx_room_defaults(0), &result), GX_E_INVALID);
    struct gx_search_in in = gx_room_defaults(10);
    in.read_after_epoch = UINT64_MAX;
    ck_assert_int_eq(search("g", in, &result), GX_E_UNAVAILABLE);
    gx_room_end(&room);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("search_brief");
    TCase *tcase = tcase_create("search_brief");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, brief_search_answers_what_any_search_answers);
    tcase_add_test(tcase, brief_search_is_refused_by_the_first_row_too_many);
    tcase_add_test(tcase, search_with_more_to_it_is_not_brief);
    tcase_add_test(tcase, brief_search_never_asks_an_index);
    tcase_add_test(tcase, mistakes_are_found_as_by_any_search);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int n_failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return n_failed == 0 ? 0 : 1;
}
