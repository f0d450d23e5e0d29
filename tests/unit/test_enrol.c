/* Enrolment: what is acknowledged is there, what is refused leaves nothing behind. */
#include <check.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"
#include "faults.h"
#include "suite.h"

static struct gx_room room;

static uint64_t records_in(const char *gallery)
{
    struct gx_gallery_info info;
    ck_assert_int_eq(gx_galleries_describe(room.galleries, gx_slice_text(gallery), &info, NULL), GX_OK);
    return info.records;
}

START_TEST(acknowledged_record_is_found_at_once_and_after_reopening)
{
    struct gx_enrol_out out;
    struct gx_err err;
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    ck_assert_int_eq(gx_room_enrol(&room, "g", 0, 100, NULL, &out, &err), GX_OK);
    ck_assert_uint_eq(out.enrolled, 100);
    ck_assert_uint_eq(out.epoch, gx_galleries_epoch(room.galleries));
    for (uint64_t row = 0; row < 100; row++)
        ck_assert(gx_room_finds(&room, "g", row, 1));
    gx_room_close(&room);
    gx_room_open(&room);
    for (uint64_t row = 0; row < 100; row++)
        ck_assert(gx_room_finds(&room, "g", row, 1));
    ck_assert_uint_ge(gx_galleries_epoch(room.galleries), out.epoch);
    gx_room_end(&room);
}
END_TEST

START_TEST(same_record_with_same_content_counts_as_unchanged)
{
    struct gx_enrol_out out;
    struct gx_err err;
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", 50);
    ck_assert_int_eq(gx_room_enrol(&room, "g", 25, 50, NULL, &out, &err), GX_OK);
    ck_assert_uint_eq(out.enrolled, 25);
    ck_assert_uint_eq(out.unchanged, 25);
    ck_assert_uint_eq(records_in("g"), 75);
    gx_room_end(&room);
}
END_TEST

START_TEST(same_record_with_other_content_is_refused_and_nothing_of_the_request_is_enrolled)
{
    struct gx_err err;
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", 10);
    /* The same ids now mean other photos. */
    ck_assert(gx_people_init(&room.people, 8, GX_ROOM_DIM, 10000));
    ck_assert_int_eq(gx_room_enrol(&room, "g", 5, 10, NULL, NULL, &err), GX_E_EXISTS);
    ck_assert_uint_eq(records_in("g"), 10);
    ck_assert(!gx_room_has_record(&room, "g", 14));
    gx_room_end(&room);
}
END_TEST

START_TEST(same_request_gives_the_same_answer_again_and_another_one_under_its_id_is_refused)
{
    struct gx_enrol_out first, again;
    struct gx_err err;
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    ck_assert_int_eq(gx_room_enrol(&room, "g", 0, 10, "r1", &first, &err), GX_OK);
    ck_assert_int_eq(gx_room_enrol(&room, "g", 10, 10, "r2", NULL, &err), GX_OK);
    ck_assert_int_eq(gx_room_enrol(&room, "g", 0, 10, "r1", &again, &err), GX_OK);
    ck_assert_uint_eq(again.epoch, first.epoch);
    ck_assert_uint_eq(again.enrolled, 10);
    ck_assert_uint_eq(again.unchanged, 0);
    ck_assert_int_eq(gx_room_enrol(&room, "g", 20, 10, "r1", NULL, &err), GX_E_EXISTS);
    gx_room_close(&room);
    gx_room_open(&room);
    ck_assert_int_eq(gx_room_enrol(&room, "g", 0, 10, "r1", &again, &err), GX_OK);
    ck_assert_uint_eq(again.enrolled, 10);
    ck_assert_uint_eq(records_in("g"), 20);
    gx_room_end(&room);
}
END_TEST

/* One record of the caller's own making. */
struct answer {
    enum gx_status status;
    atomic_bool done;
};

static void on_done(void *arg, const struct gx_enrol_out *out, const struct gx_err *err)
{
    struct answer *a = arg;
    (void)out;
    a->status = err == NULL ? GX_OK : err->status;
    atomic_store(&a->done, true);
}

static enum gx_status enrol_raw(const struct gx_new_record *records, size_t n)
{
    struct answer a = {0};
    struct gx_enrol_in in = {.gallery = gx_slice_text("g"), .records = records, .n = n};
    gx_enrol_submit(room.galleries, &in, on_done, &a);
    gx_room_wait_until(atomic_load(&a.done));
    return a.status;
}

START_TEST(bad_embedding_embedder_or_count_is_refused)
{
    float row[GX_ROOM_DIM] = {1}, bad[GX_ROOM_DIM] = {0};
    struct gx_new_record r = {
        .row = row, .dim = GX_ROOM_DIM, .embedder_id = gx_slice_text("e"), .embedder_version = gx_slice_text("1")};
    r.record.record_id = gx_slice_text("x");
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    struct gx_new_record other = r, zero = r, nan = r, twice[2] = {r, r};
    other.embedder_version = gx_slice_text("2");
    ck_assert_int_eq(enrol_raw(&other, 1), GX_E_EMBEDDER);
    zero.row = bad;
    ck_assert_int_eq(enrol_raw(&zero, 1), GX_E_INVALID);
    float not_finite[GX_ROOM_DIM] = {1, 0.0f / 0.0f};
    nan.row = not_finite;
    ck_assert_int_eq(enrol_raw(&nan, 1), GX_E_INVALID);
    nan.row = row;
    nan.dim = GX_ROOM_DIM - 1;
    ck_assert_int_eq(enrol_raw(&nan, 1), GX_E_INVALID);
    ck_assert_int_eq(enrol_raw(twice, 2), GX_E_INVALID);
    ck_assert_int_eq(enrol_raw(&r, 0), GX_E_INVALID);
    ck_assert_uint_eq(records_in("g"), 0);
    ck_assert_int_eq(enrol_raw(&r, 1), GX_OK);
    gx_room_end(&room);
}
END_TEST

/* The Nth write of the store fails; whatever was acknowledged is there afterwards and after reopening, the rest is not
 * visible, and the same requests succeed when they are sent again. */
START_TEST(no_failed_write_loses_or_half_enrols_anything)
{
    for (long nth = 1;; nth++) {
        bool acknowledged[8], any_failed = false;
        gx_room_begin(&room);
        gx_room_create(&room, "g", "flat");
        gx_faults_begin(&room, GX_FAULTS_STORE, nth, false, GX_E_FULL);
        for (size_t i = 0; i < 8; i++) {
            acknowledged[i] = gx_room_enrol(&room, "g", i * 10, 10, NULL, NULL, NULL) == GX_OK;
            any_failed = any_failed || !acknowledged[i];
        }
        gx_faults_end(&room);
        for (int round = 0; round < 2; round++) {
            for (size_t i = 0; i < 80; i++)
                ck_assert_int_eq(gx_room_has_record(&room, "g", i), acknowledged[i / 10]);
            gx_room_close(&room);
            gx_room_open(&room);
        }
        for (size_t i = 0; i < 8; i++)
            ck_assert_int_eq(gx_room_enrol(&room, "g", i * 10, 10, NULL, NULL, NULL), GX_OK);
        ck_assert_uint_eq(records_in("g"), 80);
        gx_room_end(&room);
        if (!any_failed) {
            ck_assert_int_gt(nth, 8);
            break;
        }
    }
}
END_TEST

START_TEST(galleries_are_isolated)
{
    gx_room_begin(&room);
    gx_room_create(&room, "a", "flat");
    gx_room_create(&room, "b", "flat");
    gx_room_fill(&room, "a", 20);
    ck_assert_uint_eq(records_in("b"), 0);
    ck_assert(!gx_room_has_record(&room, "b", 3));
    const char *id = "photo-00000003";
    struct gx_expunge_out out;
    struct gx_err err;
    ck_assert_int_eq(gx_room_expunge(&room, "a", GX_ID_RECORD, &id, 1, 1, false, NULL, &out, &err), GX_OK);
    gx_room_fill(&room, "b", 20); /* expunged from a, not from b */
    ck_assert(gx_room_has_record(&room, "b", 3));
    gx_room_end(&room);
}
END_TEST

START_TEST(deleted_gallery_is_gone_and_its_name_can_be_used_again)
{
    uint64_t records, epoch;
    struct gx_err err;
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    ck_assert_int_eq(gx_room_enrol(&room, "g", 10, 10, "r", NULL, &err), GX_OK);
    gx_room_fill(&room, "g", 30);
    const char *id = "photo-00000003";
    struct gx_expunge_out out;
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, &id, 1, 1, false, NULL, &out, &err), GX_OK);
    struct gx_remove_in remove = {gx_slice_text("g"), 30, gx_slice_text("d-1")};
    ck_assert_int_eq(gx_galleries_remove(room.galleries, &remove, &records, &epoch, &err), GX_E_COUNT);
    remove.expected_count = 29;
    ck_assert_int_eq(gx_galleries_remove(room.galleries, &remove, &records, &epoch, &err), GX_OK);
    ck_assert_uint_eq(records, 29);
    records = 0;
    ck_assert_int_eq(gx_galleries_remove(room.galleries, &remove, &records, &epoch, &err), GX_OK);
    ck_assert_uint_eq(records, 29); /* the same request gives the same answer */
    remove.request_id = gx_slice_text("d-2");
    ck_assert_int_eq(gx_galleries_remove(room.galleries, &remove, &records, &epoch, &err), GX_E_NOT_FOUND);
    struct gx_gallery_info info;
    ck_assert_int_eq(gx_galleries_describe(room.galleries, gx_slice_text("g"), &info, &err), GX_E_NOT_FOUND);
    gx_room_close(&room);
    gx_room_open(&room);
    ck_assert_int_eq(gx_galleries_describe(room.galleries, gx_slice_text("g"), &info, &err), GX_E_NOT_FOUND);
    gx_room_create(&room, "g", "flat");
    ck_assert_uint_eq(records_in("g"), 0);
    /* What was expunged stays refused under the same name. */
    ck_assert_int_eq(gx_room_enrol(&room, "g", 0, 10, NULL, NULL, &err), GX_E_EXPUNGED);
    /* Nor is a request of the old gallery remembered for the new one. */
    struct gx_enrol_out enrolled;
    ck_assert_int_eq(gx_room_enrol(&room, "g", 10, 10, "r", &enrolled, &err), GX_OK);
    ck_assert_uint_eq(enrolled.enrolled, 10);
    ck_assert_uint_eq(records_in("g"), 10);
    gx_room_end(&room);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("enrol");
    TCase *tc = tcase_create("enrol");
    tcase_add_test(tc, acknowledged_record_is_found_at_once_and_after_reopening);
    tcase_add_test(tc, same_record_with_same_content_counts_as_unchanged);
    tcase_add_test(tc, same_record_with_other_content_is_refused_and_nothing_of_the_request_is_enrolled);
    tcase_add_test(tc, same_request_gives_the_same_answer_again_and_another_one_under_its_id_is_refused);
    tcase_add_test(tc, bad_embedding_embedder_or_count_is_refused);
    tcase_add_test(tc, no_failed_write_loses_or_half_enrols_anything);
    tcase_add_test(tc, galleries_are_isolated);
    tcase_add_test(tc, deleted_gallery_is_gone_and_its_name_can_be_used_again);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
