/* Legal holds when writes fail and when older copies are put back: the ledger decides, and nothing is half done. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "hold_private.h"
#include "room.h"

#define ROWS 12

static struct gx_room room;
static struct gx_err err;
static struct gx_hold_out out;

#define OK(call) ck_assert_msg((call) == GX_OK, "%s: %s", #call, err.text)

static void begin(void)
{
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", ROWS);
}

static void reopen(void)
{
    gx_room_close(&room);
    gx_room_open(&room);
}

static enum gx_status place(uint64_t row, bool quarantine, const char *request_id)
{
    char text[GX_PEOPLE_ID_MAX];
    const char *id = text;
    gx_people_record_id(row, text);
    return gx_room_place(&room, "g", GX_ID_RECORD, &id, 1, "A", quarantine, request_id, &out, &err);
}

static enum gx_status release(uint64_t row, const char *request_id)
{
    char text[GX_PEOPLE_ID_MAX];
    const char *id = text;
    gx_people_record_id(row, text);
    return gx_room_release(&room, "g", GX_ID_RECORD, &id, 1, "A", request_id, &out, &err);
}

/* Would an order to remove it go through? */
static bool is_held(uint64_t row)
{
    struct gx_expunge_out counted;
    char text[GX_PEOPLE_ID_MAX];
    const char *id = text;
    gx_people_record_id(row, text);
    OK(gx_room_expunge(&room, "g", GX_ID_RECORD, &id, 1, 1, true, NULL, &counted, &err));
    return counted.outcomes[0].hold_ref.len > 0;
}

static atomic_long writes_left;
static enum gx_status fail_once(void *arg, uint64_t ordinal)
{
    (void)arg;
    (void)ordinal;
    return atomic_fetch_sub(&writes_left, 1) == 1 ? GX_E_IO : GX_OK;
}

enum expected { FREE, HELD, QUARANTINED };

static void check_all(const enum expected expected[ROWS])
{
    for (int round = 0; round < 2; round++) {
        for (uint64_t row = 0; row < ROWS; row++) {
            ck_assert_int_eq(gx_room_finds(&room, "g", row, ROWS), expected[row] != QUARANTINED);
            ck_assert_int_eq(is_held(row), expected[row] != FREE);
        }
        reopen();
    }
}

/* The Nth write of the ledger fails: the hold that needed it is not there, the release that needed it is not done. */
START_TEST(failed_ledger_leaves_holds_and_rows_as_they_were)
{
    bool any_failed = false;
    for (long nth = 1; nth <= 24; nth += nth < 8 ? 1 : 4) {
        enum expected expected[ROWS] = {FREE};
        begin();
        atomic_store(&writes_left, nth);
        gx_ledger_set_fault(room.galleries->ledger, fail_once, NULL);
        for (uint64_t row = 0; row < 6; row++) {
            bool quarantine = row % 2 == 0;
            if (place(row, quarantine, NULL) == GX_OK)
                expected[row] = quarantine ? QUARANTINED : HELD;
            any_failed = any_failed || expected[row] == FREE;
            if (row % 3 == 2 && release(row - 1, NULL) == GX_OK)
                expected[row - 1] = FREE;
        }
        gx_ledger_set_fault(room.galleries->ledger, NULL, NULL);
        check_all(expected);
        gx_room_end(&room);
    }
    ck_assert(any_failed);
}
END_TEST

/* The first time may fail, every further one tells the outcome. */
static void check_outcome(enum gx_status status, int times, bool *io_any_failed)
{
    if (status == GX_OK) {
        ck_assert_uint_eq(out.n_ids, 1);
        ck_assert_uint_eq(out.n_records, 1);
        return;
    }
    *io_any_failed = true;
    ck_assert_int_eq(status, GX_E_IO);
    ck_assert_int_eq(times, 0);
}

/* The Nth write of the store fails: what reached the ledger is in force all the same, and who asks again with the same
 * request id is told what was done. */
START_TEST(failed_store_undoes_nothing_that_is_in_the_ledger)
{
    bool any_failed = false;
    for (long nth = 1; nth <= 9; nth++) {
        enum expected expected[ROWS] = {FREE};
        begin();
        atomic_store(&writes_left, nth);
        gx_store_set_fault(room.galleries->store, fail_once, NULL);
        for (uint64_t row = 0; row < 6; row++) {
            char request[8];
            bool quarantine = row % 2 == 0;
            snprintf(request, sizeof(request), "p%d", (int)row);
            for (int times = 0; times < 3; times++) {
                check_outcome(place(row, quarantine, request), times, &any_failed);
                ck_assert_int_eq(gx_room_finds(&room, "g", row, ROWS), !quarantine);
            }
            expected[row] = quarantine ? QUARANTINED : HELD;
            if (row % 3 != 2)
                continue;
            snprintf(request, sizeof(request), "r%d", (int)row);
            for (int times = 0; times < 3; times++) {
                check_outcome(release(row, request), times, &any_failed);
                ck_assert(gx_room_finds(&room, "g", row, ROWS));
            }
            expected[row] = FREE;
        }
        gx_store_set_fault(room.galleries->store, NULL, NULL);
        check_all(expected);
        gx_room_end(&room);
    }
    ck_assert(any_failed);
}
END_TEST

static void run(const char *format, const char *a, const char *b)
{
    char command[600];
    (void)snprintf(command, sizeof(command), format, a, b, a);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(older_store_loses_no_hold_and_brings_none_back)
{
    char store[128], copy[128];
    begin();
    OK(place(1, true, NULL));
    OK(place(2, true, NULL));
    gx_room_close(&room);
    snprintf(store, sizeof(store), "%s/store", room.dir);
    snprintf(copy, sizeof(copy), "%s-copy", room.dir);
    run("cp -a %s %s", store, copy);
    gx_room_open(&room);
    OK(release(1, NULL));
    OK(place(3, true, "p"));
    OK(place(4, false, NULL));
    gx_room_close(&room);
    run("rm -rf %s && mv %s %s", store, copy);
    gx_room_open(&room);
    const enum expected expected[ROWS] = {FREE, FREE, QUARANTINED, QUARANTINED, HELD};
    check_all(expected);
    /* The request is known, too. */
    uint64_t entries = gx_ledger_entries(room.galleries->ledger);
    OK(place(3, true, "p"));
    ck_assert_uint_eq(out.n_ids, 1);
    ck_assert_uint_eq(out.n_unchanged, 0);
    ck_assert_uint_eq(gx_ledger_entries(room.galleries->ledger), entries);
    gx_room_end(&room);
}
END_TEST

START_TEST(order_and_hold_after_another_each_meet_the_state_they_find)
{
    begin();
    char text[GX_PEOPLE_ID_MAX];
    const char *id = text;
    for (uint64_t row = 0; row < 4; row++) {
        gx_people_record_id(row, text);
        OK(place(row, true, NULL));
        ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, &id, 1, -1, false, NULL, NULL, &err), GX_E_HELD);
        OK(release(row, NULL));
        OK(gx_room_expunge(&room, "g", GX_ID_RECORD, &id, 1, 1, false, NULL, NULL, &err));
        ck_assert_int_eq(place(row, true, NULL), GX_E_EXPUNGED);
        if (row % 2 == 0)
            reopen();
        ck_assert(!gx_room_has_record(&room, "g", row));
    }
    struct gx_gallery_stats stats;
    OK(gx_galleries_stats(room.galleries, gx_slice_text("g"), &stats, &err));
    ck_assert_uint_eq(stats.records, ROWS - 4);
    ck_assert_uint_eq(stats.quarantined, 0);
    gx_room_end(&room);
}
END_TEST

/* Searches beside holds: what was acknowledged as quarantined is not returned by a search that begins later. */
static atomic_uint out_below, n_searches, n_wrong;
static atomic_bool over;

static void *search_on(void *arg)
{
    struct gx_arena arena;
    float probe[GX_ROOM_DIM];
    (void)arg;
    gx_people_row(&room.people, 3, probe, NULL);
    gx_arena_init(&arena, (size_t)64 << 20);
    while (!atomic_load(&over)) {
        struct gx_search_in in = gx_room_defaults(1000);
        struct gx_search_result *result;
        unsigned below = atomic_load(&out_below);
        in.gallery = gx_slice_text("g");
        in.embedder_id = gx_slice_text("e");
        in.embedder_version = gx_slice_text("1");
        in.probes = probe;
        in.dim = GX_ROOM_DIM;
        gx_arena_reset(&arena);
        bool good = gx_search_run(room.galleries, &in, &arena, &result, NULL) == GX_OK;
        for (size_t i = 0; good && i < result->n; i++) {
            char text[GX_PEOPLE_ID_MAX] = {0};
            memcpy(text, result->candidates[i].record_id.data, result->candidates[i].record_id.len);
            good = strtoull(text + strlen("photo-"), NULL, 10) >= below;
        }
        atomic_fetch_add(&n_wrong, !good);
        atomic_fetch_add(&n_searches, 1);
    }
    gx_arena_fini(&arena);
    return NULL;
}

START_TEST(search_that_begins_after_the_acknowledgement_does_not_return_a_quarantined_record)
{
    pthread_t threads[2];
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", 300);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, search_on, NULL), 0);
    for (uint64_t row = 0; row < 30; row++) {
        OK(place(row, true, NULL));
        if (row % 4 == 0) { /* there and back */
            OK(release(row, NULL));
            OK(place(row, true, NULL));
        }
        atomic_store(&out_below, (unsigned)row + 1);
    }
    gx_room_wait_until(atomic_load(&n_searches) > 50);
    atomic_store(&over, true);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    ck_assert_uint_eq(atomic_load(&n_wrong), 0);
    gx_room_end(&room);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hold_faults");
    TCase *tc = tcase_create("hold_faults");
    tcase_add_test(tc, failed_ledger_leaves_holds_and_rows_as_they_were);
    tcase_add_test(tc, failed_store_undoes_nothing_that_is_in_the_ledger);
    tcase_add_test(tc, older_store_loses_no_hold_and_brings_none_back);
    tcase_add_test(tc, order_and_hold_after_another_each_meet_the_state_they_find);
    tcase_add_test(tc, search_that_begins_after_the_acknowledgement_does_not_return_a_quarantined_record);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
