/* A full disk, as the writer sees it: expungements insist, the rest gives way. With a disk of its own: path/test_disk.
 */
#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "clock.h"
#include "room.h"

#define BALLAST ((uint64_t)1 << 20)

static struct gx_room room;
static struct gx_err err;
static atomic_int writes_left; /* that meet a full disk */

static void begin(void)
{
    gx_room_begin(&room);
    gx_room_close(&room);
    room.options.ballast_bytes = BALLAST;
    gx_room_open(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", 20);
}

static bool has_ballast(void)
{
    char path[128];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/ballast", room.dir);
    return stat(path, &st) == 0 && (uint64_t)st.st_size == BALLAST;
}

static enum gx_status full_for_a_while(void *arg, uint64_t ordinal)
{
    (void)arg, (void)ordinal;
    return atomic_fetch_sub(&writes_left, 1) > 0 ? GX_E_FULL : GX_OK;
}

START_TEST(expungement_that_meets_a_full_disk_gets_the_ballast_and_is_written)
{
    struct gx_expunge_out out, again;
    begin();
    ck_assert(has_ballast());
    for (int in_ledger = 0; in_ledger < 2; in_ledger++) {
        uint64_t row = (uint64_t)in_ledger;
        char request[2] = {(char)('a' + in_ledger), 0};
        char id[GX_PEOPLE_ID_MAX];
        const char *ids = id;
        gx_people_record_id(row, id);
        gx_room_wait_until(has_ballast());                  /* the keeper makes it again */
        atomic_store(&writes_left, in_ledger != 0 ? 1 : 4); /* the ledger must be able to take back what it began */
        if (in_ledger != 0)
            gx_ledger_set_fault(room.galleries->ledger, full_for_a_while, NULL);
        else
            gx_store_set_fault(room.galleries->store, full_for_a_while, NULL);
        enum gx_status status = gx_room_expunge(&room, "g", GX_ID_RECORD, &ids, 1, 1, false, request, &out, &err);
        ck_assert_msg(status == GX_OK, "%s", err.text);
        ck_assert_int_le(atomic_load(&writes_left), 0);
        gx_store_set_fault(room.galleries->store, NULL, NULL);
        gx_ledger_set_fault(room.galleries->ledger, NULL, NULL);
        ck_assert(!gx_room_finds(&room, "g", row, 20) && !gx_room_has_record(&room, "g", row));
        ck_assert_uint_eq(out.ticket.number, row + 1);
        ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, &ids, 1, 1, false, request, &again, &err), GX_OK);
        ck_assert_uint_eq(again.ticket.number, out.ticket.number);
    }
    gx_room_close(&room);
    gx_room_open(&room);
    ck_assert(!gx_room_has_record(&room, "g", 0) && !gx_room_has_record(&room, "g", 1));
    ck_assert(gx_room_has_record(&room, "g", 2));
    gx_room_end(&room);
}
END_TEST

START_TEST(enrolment_that_meets_a_full_disk_fails_and_leaves_the_ballast)
{
    begin();
    atomic_store(&writes_left, 1);
    gx_store_set_fault(room.galleries->store, full_for_a_while, NULL);
    ck_assert_int_eq(gx_room_enrol(&room, "g", 20, 5, NULL, NULL, &err), GX_E_FULL);
    gx_store_set_fault(room.galleries->store, NULL, NULL);
    ck_assert(has_ballast());
    ck_assert(!gx_room_has_record(&room, "g", 20));
    ck_assert_int_eq(gx_room_enrol(&room, "g", 20, 5, NULL, NULL, &err), GX_OK);
    gx_room_end(&room);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("galleries_room");
    TCase *tc = tcase_create("galleries_room");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, expungement_that_meets_a_full_disk_gets_the_ballast_and_is_written);
    tcase_add_test(tc, enrolment_that_meets_a_full_disk_fails_and_leaves_the_ballast);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
