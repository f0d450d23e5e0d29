/* Promises of rows.h about quarantine: out of every search, but a row all the same. */
#include "rows.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define DIM  8
#define ROWS 1000

static struct gx_err err;

#define OK(call) ck_assert_msg((call) == GX_OK, "%s", err.text)

/* All rows are equal: only their slots tell them apart, so every scan of K places is decided by who is visible. */
static void append(struct gx_rows *rows, uint64_t rno, bool quarantined)
{
    static const float row[DIM] = {1};
    struct gx_row columns = {.rno = rno, .record = gx_slice_text("r"), .quarantined = quarantined};
    OK(gx_rows_append(rows, row, &columns, &err));
}

static struct gx_rows *filled(uint32_t n)
{
    struct gx_rows *rows;
    OK(gx_rows_new(DIM, &rows, &err));
    for (uint32_t i = 0; i < n; i++)
        append(rows, i + 1, false);
    gx_rows_publish(rows);
    return rows;
}

static gx_rows_pass count_pass;
static bool count_pass(void *arg, const struct gx_rows *rows, uint32_t slot)
{
    (void)rows;
    ((uint8_t *)arg)[slot]++;
    return true;
}

/* Which slots a scan looks at, and how often. Returns how many. */
static uint64_t scan(const struct gx_rows *rows, uint8_t *seen)
{
    static const float probe[DIM] = {1};
    const float *probes[] = {probe};
    struct gx_hit heap[4];
    struct gx_topk top;
    uint64_t scanned;
    memset(seen, 0, ROWS);
    gx_topk_init(&top, heap, 4, NULL, NULL);
    ck_assert_int_eq(
        gx_rows_scan(rows, 0, gx_rows_count(rows), probes, 1, count_pass, seen, NULL, NULL, &top, &scanned, NULL),
        GX_OK);
    return scanned;
}

START_TEST(quarantined_row_is_out_of_scans_but_alive_and_back_after_release)
{
    struct gx_rows *rows = filled(ROWS);
    uint8_t seen[ROWS];
    for (uint32_t slot = 0; slot < ROWS; slot += 3)
        ck_assert(gx_rows_quarantine(rows, slot));
    ck_assert(!gx_rows_quarantine(rows, 0));
    ck_assert_uint_eq(gx_rows_quarantined(rows), 334);
    ck_assert_uint_eq(gx_rows_live(rows), ROWS);
    ck_assert_uint_eq(scan(rows, seen), ROWS - 334);
    for (uint32_t slot = 0; slot < ROWS; slot++) {
        struct gx_row row;
        gx_rows_get(rows, slot, &row);
        ck_assert(gx_rows_is_live(rows, slot));
        ck_assert_int_eq(gx_rows_is_quarantined(rows, slot), slot % 3 == 0);
        ck_assert_int_eq(gx_rows_is_visible(rows, slot), slot % 3 != 0);
        ck_assert_int_eq(row.quarantined, slot % 3 == 0);
        ck_assert_int_eq(seen[slot], slot % 3 != 0);
        ck_assert(row.record.len == 1 && gx_rows_floats(rows, slot)[0] == 1); /* its bytes are kept */
    }
    for (uint32_t slot = 0; slot < ROWS; slot += 3)
        ck_assert(gx_rows_unquarantine(rows, slot));
    ck_assert(!gx_rows_unquarantine(rows, 0));
    ck_assert_uint_eq(gx_rows_quarantined(rows), 0);
    ck_assert_uint_eq(scan(rows, seen), ROWS);
    gx_rows_free(rows);
}
END_TEST

START_TEST(row_may_come_quarantined_and_counts_when_it_is_published)
{
    struct gx_rows *rows = filled(10);
    uint8_t seen[ROWS];
    append(rows, 100, true);
    append(rows, 101, false);
    ck_assert_uint_eq(gx_rows_quarantined(rows), 0);
    gx_rows_publish(rows);
    ck_assert_uint_eq(gx_rows_quarantined(rows), 1);
    ck_assert_uint_eq(gx_rows_live(rows), 12);
    ck_assert_uint_eq(scan(rows, seen), 11);
    ck_assert_int_eq(seen[10], 0);
    /* What was retracted leaves no bit behind. */
    append(rows, 102, true);
    gx_rows_retract(rows);
    append(rows, 103, false);
    gx_rows_publish(rows);
    ck_assert_uint_eq(gx_rows_quarantined(rows), 1);
    ck_assert_uint_eq(scan(rows, seen), 12);
    ck_assert_int_eq(seen[12], 1);
    gx_rows_free(rows);
}
END_TEST

START_TEST(dead_rows_are_not_counted_as_quarantined)
{
    struct gx_rows *rows = filled(5);
    ck_assert(gx_rows_quarantine(rows, 1) && gx_rows_hide(rows, 1));
    ck_assert_uint_eq(gx_rows_quarantined(rows), 0);
    ck_assert(!gx_rows_is_visible(rows, 1));
    gx_rows_unhide(rows, 1);
    ck_assert_uint_eq(gx_rows_quarantined(rows), 1);
    ck_assert(!gx_rows_is_visible(rows, 1));
    ck_assert(gx_rows_hide(rows, 2) && gx_rows_quarantine(rows, 2));
    ck_assert_uint_eq(gx_rows_quarantined(rows), 1);
    ck_assert(gx_rows_unquarantine(rows, 2));
    ck_assert_uint_eq(gx_rows_quarantined(rows), 1);
    ck_assert_uint_eq(gx_rows_live(rows), 4);
    gx_rows_free(rows);
}
END_TEST

struct race {
    struct gx_rows *rows;
    atomic_uint out_below; /* rows below are quarantined, and that was acknowledged */
    atomic_bool done;
    atomic_uint wrong, n_scans;
};

static void *scan_all_the_time(void *arg)
{
    struct race *race = arg;
    uint8_t seen[ROWS];
    while (!atomic_load(&race->done)) {
        uint32_t out_below = atomic_load(&race->out_below);
        uint64_t scanned = scan(race->rows, seen);
        bool wrong = scanned > ROWS;
        for (uint32_t slot = 0; slot < ROWS; slot++)
            wrong =
                wrong || seen[slot] > 1 || (slot < out_below && seen[slot] > 0) || (slot >= ROWS / 2 && !seen[slot]);
        atomic_fetch_add(&race->wrong, wrong);
        atomic_fetch_add(&race->n_scans, 1);
    }
    return NULL;
}

START_TEST(scan_that_begins_after_a_quarantine_does_not_see_the_row)
{
    struct race race = {.rows = filled(ROWS)};
    pthread_t scanners[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&scanners[i], NULL, scan_all_the_time, &race), 0);
    for (uint32_t slot = 0; slot < ROWS / 2; slot++) {
        uint32_t n = atomic_load(&race.n_scans);
        if (slot % 3 == 0) { /* there and back, as a failed hold does it */
            gx_rows_quarantine(race.rows, slot);
            gx_rows_unquarantine(race.rows, slot);
        }
        gx_rows_quarantine(race.rows, slot);
        atomic_store(&race.out_below, slot + 1);
        while (slot % 50 == 0 && atomic_load(&race.n_scans) < n + 3)
            continue;
    }
    atomic_store(&race.done, true);
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(scanners[i], NULL), 0);
    ck_assert_uint_eq(atomic_load(&race.wrong), 0);
    ck_assert_uint_eq(gx_rows_quarantined(race.rows), ROWS / 2);
    gx_rows_free(race.rows);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rows_quarantine");
    TCase *tc = tcase_create("rows_quarantine");
    tcase_add_test(tc, quarantined_row_is_out_of_scans_but_alive_and_back_after_release);
    tcase_add_test(tc, row_may_come_quarantined_and_counts_when_it_is_published);
    tcase_add_test(tc, dead_rows_are_not_counted_as_quarantined);
    tcase_add_test(tc, scan_that_begins_after_a_quarantine_does_not_see_the_row);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
