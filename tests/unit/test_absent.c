/* Promises of absent.h, in a data directory of the test's own. */
#include "absent.h"

#include <check.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "room.h"
#include "suite.h"

static struct gx_room room;
static struct gx_err err;
static struct gx_absent_out out;

static void expect(enum gx_status status, enum gx_status wanted)
{
    ck_assert_msg(status == wanted, "%s instead of %s: %s", gx_status_name(status), gx_status_name(wanted), err.text);
}

static enum gx_status check_in(struct gx_absent_in *in)
{
    gx_arena_reset(&room.arena);
    return gx_absent_check(room.galleries, in, &room.arena, &out, &err);
}

static void check_record(const char *gallery, const char *id)
{
    struct gx_absent_in in = {.gallery = gx_slice_text(gallery), .record_id = gx_slice_text(id)};
    expect(check_in(&in), GX_OK);
}

static enum gx_status try_face(const float *row, size_t dim)
{
    struct gx_absent_in in = {.gallery = gx_slice_text("g"),
                              .probe = row,
                              .dim = dim,
                              .embedder_id = gx_slice_text("e"),
                              .embedder_version = gx_slice_text("1")};
    return check_in(&in);
}

static void check_face(uint64_t row)
{
    float probe[GX_ROOM_DIM];
    gx_people_row(&room.people, row, probe, NULL);
    expect(try_face(probe, GX_ROOM_DIM), GX_OK);
}

/* Enrols the row 1 under an id, with texts of its own. */
static void enrol_text(const char *gallery, const char *id, const char *text)
{
    struct gx_new_record r = {
        .dim = GX_ROOM_DIM, .embedder_id = gx_slice_text("e"), .embedder_version = gx_slice_text("1")};
    float row[GX_ROOM_DIM];
    gx_people_row(&room.people, 1, row, NULL);
    r.row = row;
    r.record = (struct gx_record){.record_id = gx_slice_text(id),
                                  .subject_id = gx_slice_text(text),
                                  .arrest_id = gx_slice_text(text),
                                  .captured_at_us = 1,
                                  .n_attributes = 2};
    r.record.attributes[0] = (struct gx_attribute){gx_slice_text("a"), gx_slice_text(text)};
    r.record.attributes[1] = (struct gx_attribute){gx_slice_text(text), gx_slice_text("value")};
    ck_assert_msg(gx_room_enrol_records(&room, gallery, &r, 1, NULL, NULL, &err) == GX_OK, "%s", err.text);
}

static uint64_t expunge(const char *gallery, uint64_t row)
{
    struct gx_expunge_out done;
    char id[GX_PEOPLE_ID_MAX];
    const char *ids = id;
    gx_people_record_id(row, id);
    expect(gx_room_expunge(&room, gallery, GX_ID_RECORD, &ids, 1, 1, false, NULL, &done, &err), GX_OK);
    return done.ticket.number;
}

/* What was enrolled and removed in one memtable never reaches a table file. */
static void await_no_hits(const char *gallery, const char *id)
{
    expect(gx_store_flush(room.galleries->store, &err), GX_OK);
    gx_room_wait_until((check_record(gallery, id), out.files.n_hits == 0));
}

static void copy_wal_to(const char *name)
{
    char command[400];
    snprintf(command, sizeof(command), "cat %s/store/*.log > %s/%s", room.dir, room.dir, name);
    ck_assert_int_eq(system(command), 0);
}

/* ---------------------------------------------------------------- records */

START_TEST(enrolled_record_is_not_absent_and_its_places_are_named)
{
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", 50);
    check_record("g", "photo-00000007");
    ck_assert(!out.absent && out.searchable && out.stored && !out.expunged && out.files_searched);
    ck_assert_uint_ge(out.files.n_hits, 1);
    ck_assert_ptr_nonnull(strstr(out.files.first[0].file, "store/"));
    ck_assert_uint_ge(out.files.n_files, 5);
    ck_assert_uint_gt(out.files.n_bytes, 50 * GX_ROOM_DIM * 4);
    ck_assert_str_eq(out.note, "");
    ck_assert_int_ne(out.checked_at_us, 0);
    check_face(7);
    ck_assert(!out.absent && out.searchable && out.has_nearest && out.files_searched);
    ck_assert(fabs(out.nearest - 1) < 1e-6);
    ck_assert_uint_ge(out.files.n_hits, 1);
    gx_room_end(&room);
}
END_TEST

START_TEST(expunged_record_is_absent_once_its_bytes_are_gone_and_not_before)
{
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", 50);
    copy_wal_to("aside.bin");
    expunge("g", 7);
    check_record("g", "photo-00000007");
    ck_assert(!out.absent && !out.searchable && !out.stored && out.expunged);
    ck_assert_uint_ge(out.files.n_hits, 1);
    expect(gx_store_flush(room.galleries->store, &err), GX_OK);
    /* Everywhere but in the copy that somebody has put aside. */
    gx_room_wait_until((check_record("g", "photo-00000007"), out.files.n_hits == 1));
    ck_assert_str_eq(out.files.first[0].file, "aside.bin");
    check_face(7);
    ck_assert(!out.absent && !out.searchable);
    ck_assert_str_eq(out.files.first[0].file, "aside.bin");

    char path[128];
    snprintf(path, sizeof(path), "%s/aside.bin", room.dir);
    ck_assert_int_eq(unlink(path), 0);
    check_record("g", "photo-00000007");
    ck_assert(out.absent && out.expunged && out.files_searched);
    check_face(7);
    ck_assert(out.absent && out.has_nearest && out.nearest < 0.99999);
    check_record("g", "photo-00000008"); /* its neighbour is there */
    ck_assert(!out.absent && out.searchable);
    gx_room_end(&room);
}
END_TEST

START_TEST(id_inside_other_records_is_absent)
{
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", 2000);
    for (int flushed = 0; flushed < 2; flushed++) {
        static const char *const ids[] = {"photo-0000", "hoto-00001", "photo-00000001x", "00000123"};
        for (size_t i = 0; i < GX_COUNT_OF(ids); i++) {
            check_record("g", ids[i]);
            ck_assert_msg(out.absent && out.files_searched, "%s: %llu hits, the first in %s at %llu", ids[i],
                          (unsigned long long)out.files.n_hits, out.files.first[0].file,
                          (unsigned long long)out.files.first[0].offset);
            ck_assert(!out.expunged);
        }
        expect(gx_store_flush(room.galleries->store, &err), GX_OK);
    }
    enrol_text("g", "another-record", "it-names-photo-4711");
    check_record("g", "photo-4711");
    ck_assert(out.absent);
    check_record("g", "it-names-photo-4711");
    ck_assert(out.absent);
    check_record("g", "another-record");
    ck_assert(!out.absent && out.files.n_hits >= 1);
    gx_room_end(&room);
}
END_TEST

START_TEST(record_of_the_same_id_in_another_gallery_is_not_taken_for_it)
{
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_create(&room, "h", "flat");
    enrol_text("h", "photo-00000007", "x");
    gx_room_fill(&room, "g", 20);
    expunge("g", 7);
    await_no_hits("g", "photo-00000007");
    ck_assert(out.absent && out.expunged);
    check_record("h", "photo-00000007");
    ck_assert(!out.absent && out.stored && !out.expunged && out.files.n_hits >= 1);
    gx_room_end(&room);
}
END_TEST

START_TEST(what_cannot_be_looked_for_is_said)
{
    float axis[GX_ROOM_DIM] = {[3] = 2};
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    enrol_text("g", "photo-1", "x");
    check_record("g", "photo-2");
    ck_assert(out.absent && !out.files_searched);
    ck_assert_ptr_nonnull(strstr(out.note, "too short"));
    check_record("g", "photo-1");
    ck_assert(!out.absent && out.searchable && out.stored && !out.files_searched);
    expect(try_face(axis, GX_ROOM_DIM), GX_OK);
    ck_assert(out.absent && !out.files_searched);
    ck_assert_ptr_nonnull(strstr(out.note, "zero"));
    gx_room_end(&room);
}
END_TEST

/* ---------------------------------------------------------------- faces */

START_TEST(face_of_another_length_is_the_same_face_and_a_similar_one_is_not)
{
    float probe[GX_ROOM_DIM];
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    check_face(3);
    ck_assert(out.absent && !out.has_nearest);
    gx_room_fill(&room, "g", 20);
    gx_people_row(&room.people, 3, probe, NULL);
    for (size_t i = 0; i < GX_ROOM_DIM; i++)
        probe[i] *= 3;
    expect(try_face(probe, GX_ROOM_DIM), GX_OK);
    ck_assert(!out.absent && out.searchable);
    for (size_t i = 0; i < GX_ROOM_DIM; i++)
        probe[i] *= 1 + 0.01f * (float)(i % 7);
    expect(try_face(probe, GX_ROOM_DIM), GX_OK);
    ck_assert(out.absent && !out.searchable && out.nearest > 0.99);
    gx_room_end(&room);
}
END_TEST

/* ---------------------------------------------------------------- refusals */

static bool stop_at_once(void *arg)
{
    ++*(int *)arg;
    return true;
}

START_TEST(check_is_refused_with_a_reason)
{
    float probe[GX_ROOM_DIM];
    int asked = 0;
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", 20);
    gx_people_row(&room.people, 3, probe, NULL);
    struct gx_absent_in in = {.gallery = gx_slice_text("nowhere"), .record_id = gx_slice_text("photo-00000001")};
    expect(check_in(&in), GX_E_NOT_FOUND);
    expect(try_face(probe, GX_ROOM_DIM - 1), GX_E_INVALID);
    memset(probe, 0, sizeof(probe));
    expect(try_face(probe, GX_ROOM_DIM), GX_E_INVALID);
    in.gallery = gx_slice_text("g");
    in.stopped = stop_at_once;
    in.stopped_arg = &asked;
    expect(check_in(&in), GX_E_CANCELLED);
    ck_assert_int_ge(asked, 1);
    ck_assert(!out.absent || !out.files_searched);
    in.stopped = NULL;
    atomic_store(&room.galleries->checking_absence, true);
    expect(check_in(&in), GX_E_BUSY);
    atomic_store(&room.galleries->checking_absence, false);
    expect(check_in(&in), GX_OK);
    gx_room_end(&room);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("absent");
    TCase *tc = tcase_create("absent");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, enrolled_record_is_not_absent_and_its_places_are_named);
    tcase_add_test(tc, expunged_record_is_absent_once_its_bytes_are_gone_and_not_before);
    tcase_add_test(tc, id_inside_other_records_is_absent);
    tcase_add_test(tc, record_of_the_same_id_in_another_gallery_is_not_taken_for_it);
    tcase_add_test(tc, what_cannot_be_looked_for_is_said);
    tcase_add_test(tc, face_of_another_length_is_the_same_face_and_a_similar_one_is_not);
    tcase_add_test(tc, check_is_refused_with_a_reason);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
