/* Expungement: acknowledged means gone for good, whatever fails or is put back. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "faults.h"
#include "suite.h"

static struct gx_room room;

static struct gx_ticket ticket_of(uint64_t number)
{
    struct gx_ticket ticket;
    struct gx_err err;
    gx_arena_reset(&room.arena);
    ck_assert_msg(gx_expunge_ticket(room.galleries, number, &room.arena, &ticket, &err) == GX_OK, "%s", err.text);
    return ticket;
}

static bool is_verified(uint64_t number)
{
    struct gx_ticket ticket;
    gx_arena_reset(&room.arena);
    return gx_expunge_ticket(room.galleries, number, &room.arena, &ticket, NULL) == GX_OK &&
           ticket.state == GX_TICKET_VERIFIED;
}

static uint64_t expunge_record(uint64_t row)
{
    struct gx_expunge_out out;
    struct gx_err err;
    char id[GX_PEOPLE_ID_MAX];
    const char *ids = id;
    gx_people_record_id(row, id);
    ck_assert_msg(gx_room_expunge(&room, "g", GX_ID_RECORD, &ids, 1, -1, false, NULL, &out, &err) == GX_OK, "%s",
                  err.text);
    ck_assert(out.has_ticket);
    return out.ticket.number;
}

static void begin(const char *engine, uint64_t n)
{
    gx_room_begin(&room);
    gx_room_create(&room, "g", engine);
    gx_room_fill(&room, "g", n);
}

START_TEST(acknowledged_expunge_is_out_of_search_get_and_list_at_once_and_after_reopening)
{
    begin("flat", 50);
    uint64_t number = expunge_record(7);
    for (int round = 0; round < 2; round++) {
        ck_assert(!gx_room_finds(&room, "g", 7, 50));
        ck_assert(!gx_room_has_record(&room, "g", 7));
        ck_assert(gx_room_finds(&room, "g", 8, 1));
        gx_room_wait_until(is_verified(number));
        gx_room_close(&room);
        gx_room_open(&room);
    }
    struct gx_ticket ticket = ticket_of(number);
    ck_assert_int_eq(ticket.state, GX_TICKET_VERIFIED);
    ck_assert_uint_eq(ticket.n_records, 1);
    gx_room_end(&room);
}
END_TEST

START_TEST(expunged_row_is_zero_in_memory_when_the_ticket_is_final)
{
    begin("flat", 20);
    struct gx_gallery *g = room.galleries->list[0];
    uint64_t number = expunge_record(7);
    gx_room_wait_until(is_verified(number));
    uint32_t slot = 7;
    struct gx_row row;
    pthread_mutex_lock(&g->change); /* the keeper held it after it had wiped */
    pthread_mutex_unlock(&g->change);
    gx_rows_get(g->rows, slot, &row);
    ck_assert(!gx_rows_is_live(g->rows, slot));
    ck_assert_uint_eq(row.record.len, 0);
    for (size_t i = 0; i < GX_ROOM_DIM; i++)
        ck_assert(gx_rows_floats(g->rows, slot)[i] == 0);
    gx_room_end(&room);
}
END_TEST

START_TEST(whole_arrest_and_whole_subject_go)
{
    struct gx_expunge_out out;
    struct gx_err err;
    struct gx_people_photo photo;
    uint64_t first, person;
    uint32_t n;
    begin("flat", 400);
    /* Somebody with at least three photos: two of the first arrest go, then the rest. */
    uint64_t row = 0;
    do {
        gx_people_row(&room.people, row++, NULL, &photo);
        person = photo.person;
        gx_people_rows_of(&room.people, person, &first, &n);
    } while (n < 3);
    char arrest[GX_PEOPLE_ID_MAX], subject[GX_PEOPLE_ID_MAX];
    const char *arrests = arrest, *subjects = subject;
    gx_people_arrest_id(person, 1, arrest);
    gx_people_subject_id(person, subject);
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_ARREST, &arrests, 1, 2, false, NULL, &out, &err), GX_OK);
    ck_assert_uint_eq(out.n_records, 2);
    ck_assert(!gx_room_has_record(&room, "g", first) && !gx_room_has_record(&room, "g", first + 1));
    ck_assert(gx_room_has_record(&room, "g", first + 2));
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_SUBJECT, &subjects, 1, -1, false, NULL, &out, &err), GX_OK);
    ck_assert_uint_eq(out.n_records, n - 2);
    for (uint64_t i = first; i < first + n; i++)
        ck_assert(!gx_room_has_record(&room, "g", i));
    /* The arrest cannot be enrolled again, nor can the records. */
    ck_assert_int_eq(gx_room_enrol(&room, "g", first, 1, NULL, NULL, &err), GX_E_EXPUNGED);
    ck_assert_int_eq(gx_room_enrol(&room, "g", first + 2, 1, NULL, NULL, &err), GX_E_EXPUNGED);
    gx_room_end(&room);
}
END_TEST

START_TEST(wrong_count_and_dry_run_change_nothing)
{
    struct gx_expunge_out out;
    struct gx_err err;
    const char *ids[] = {"photo-00000003", "nobody"};
    begin("flat", 10);
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, ids, 2, 2, false, NULL, &out, &err), GX_E_COUNT);
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, ids, 2, -1, true, NULL, &out, &err), GX_OK);
    ck_assert(!out.has_ticket);
    ck_assert_uint_eq(out.n_records, 1);
    ck_assert_uint_eq(out.n_unmatched, 1);
    ck_assert(gx_room_has_record(&room, "g", 3));
    ck_assert_uint_eq(gx_ledger_entries(room.galleries->ledger), 0);
    const char *twice[] = {"a", "a"};
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, twice, 2, -1, false, NULL, &out, &err), GX_E_INVALID);
    ck_assert_int_eq(gx_room_expunge(&room, "nowhere", GX_ID_RECORD, ids, 1, -1, false, NULL, &out, &err),
                     GX_E_NOT_FOUND);
    gx_room_end(&room);
}
END_TEST

START_TEST(id_that_matched_nothing_is_refused_later)
{
    struct gx_expunge_out out;
    struct gx_err err;
    const char *id = "photo-00000015";
    begin("flat", 10);
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, &id, 1, 0, false, NULL, &out, &err), GX_OK);
    ck_assert_uint_eq(out.n_unmatched, 1);
    ck_assert_int_eq(gx_room_enrol(&room, "g", 10, 10, NULL, NULL, &err), GX_E_EXPUNGED);
    gx_room_close(&room);
    gx_room_open(&room);
    ck_assert_int_eq(gx_room_enrol(&room, "g", 10, 10, NULL, NULL, &err), GX_E_EXPUNGED);
    ck_assert_int_eq(gx_room_enrol(&room, "g", 10, 5, NULL, NULL, &err), GX_OK);
    gx_room_end(&room);
}
END_TEST

START_TEST(same_request_gives_the_same_ticket)
{
    struct gx_expunge_out first, again;
    struct gx_err err;
    const char *id = "photo-00000003", *other = "photo-00000004";
    begin("flat", 10);
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, &id, 1, -1, false, "r", &first, &err), GX_OK);
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, &id, 1, -1, false, "r", &again, &err), GX_OK);
    ck_assert_uint_eq(again.ticket.number, first.ticket.number);
    ck_assert_uint_eq(again.n_records, 1);
    ck_assert_uint_eq(again.epoch, first.epoch);
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, &other, 1, -1, false, "r", &again, &err), GX_E_EXISTS);
    ck_assert(gx_room_has_record(&room, "g", 4));
    gx_room_end(&room);
}
END_TEST

START_TEST(outcomes_are_in_the_callers_order)
{
    /* More than one hash order would be right by chance. */
    const char *ids[] = {"photo-00000006", "nobody", "photo-00000003", "photo-00000009", "photo-00000001"};
    const char *gone[] = {"photo-00000003", "photo-00000099"};
    struct gx_expunge_out out;
    struct gx_err err;
    begin("flat", 10);
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, gone, 2, -1, false, NULL, &out, &err), GX_OK);
    ck_assert_uint_eq(out.n_outcomes, 2);
    ck_assert(out.outcomes[0].n_records == 1 && !out.outcomes[0].expunged_before);
    ck_assert(out.outcomes[1].n_records == 0 && !out.outcomes[1].expunged_before);
    for (int dry = 1; dry >= 0; dry--) {
        ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, ids, 5, 3, dry, NULL, &out, &err), GX_OK);
        ck_assert_uint_eq(out.n_outcomes, 5);
        for (size_t i = 0; i < 5; i++) {
            ck_assert_uint_eq(out.outcomes[i].n_records, i != 1 && i != 2);
            ck_assert_int_eq(out.outcomes[i].expunged_before, i == 2);
            ck_assert_uint_eq(out.outcomes[i].hold_ref.len, 0);
        }
    }
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, ids, 5, -1, true, NULL, &out, &err), GX_OK);
    for (size_t i = 0; i < 5; i++)
        ck_assert(out.outcomes[i].n_records == 0 && out.outcomes[i].expunged_before);
    gx_room_end(&room);
}
END_TEST

START_TEST(dry_run_of_a_request_that_was_carried_out_gives_its_ticket)
{
    struct gx_expunge_out out, dry;
    struct gx_err err;
    const char *ids[] = {"photo-00000003", "photo-00000004"}, *turned[] = {"photo-00000004", "photo-00000003"};
    begin("flat", 10);
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, ids, 2, -1, true, "r", &dry, &err), GX_OK);
    ck_assert(!dry.has_ticket && dry.n_records == 2);
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, ids, 2, 2, false, "r", &out, &err), GX_OK);
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, turned, 2, -1, true, "r", &dry, &err), GX_OK);
        ck_assert(dry.has_ticket && dry.ticket.number == out.ticket.number);
        ck_assert_uint_eq(dry.n_records, 2);
        ck_assert_uint_eq(dry.n_outcomes, 2);
        ck_assert(dry.outcomes[0].expunged_before && dry.outcomes[1].expunged_before);
        ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, ids, 2, 3, round, "r", &dry, &err), GX_E_COUNT);
        ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, ids, 1, -1, round, "r", &dry, &err), GX_E_EXISTS);
    }
    ck_assert_uint_eq(gx_ledger_entries(room.galleries->ledger), 1);
    gx_room_end(&room);
}
END_TEST

/* The Nth write of the ledger fails: nothing was done, the record is there again. */
START_TEST(failed_ledger_leaves_everything_as_it_was)
{
    for (long nth = 1; nth <= 8; nth++) {
        bool gone[6], any_failed = false;
        begin("flat", 20);
        gx_faults_begin(&room, GX_FAULTS_LEDGER, nth, false, GX_E_IO);
        for (uint64_t i = 0; i < 6; i++) {
            char id[GX_PEOPLE_ID_MAX];
            const char *ids = id;
            gx_people_record_id(i, id);
            gone[i] = gx_room_expunge(&room, "g", GX_ID_RECORD, &ids, 1, -1, false, NULL, NULL, NULL) == GX_OK;
            any_failed = any_failed || !gone[i];
        }
        gx_faults_end(&room);
        for (int round = 0; round < 2; round++) {
            for (uint64_t i = 0; i < 6; i++) {
                ck_assert_int_eq(gx_room_has_record(&room, "g", i), !gone[i]);
                ck_assert_int_eq(gx_room_finds(&room, "g", i, 20), !gone[i]);
            }
            gx_room_close(&room);
            gx_room_open(&room);
        }
        gx_room_end(&room);
        if (nth == 1)
            ck_assert(any_failed);
    }
}
END_TEST

/* In the outer ledger. */
static uint64_t count_orders(void)
{
    struct gx_ledger_entry entry;
    uint64_t n = 0;
    gx_arena_reset(&room.arena);
    while (gx_ledger_find(room.galleries->ledger, n + 1, &room.arena, &entry, NULL) == GX_OK)
        n++;
    return n;
}

/* The Nth write of the store fails: an expunge that was not acknowledged may have happened, but one that was is gone;
 * and what reached the ledger goes through without anybody asking again. */
START_TEST(failed_store_never_brings_back_and_catches_up_by_itself)
{
    for (long nth = 1; nth <= 6; nth++) {
        bool acknowledged[4];
        begin("flat", 20);
        uint64_t earlier = expunge_record(19);
        gx_room_wait_until(is_verified(earlier));
        gx_faults_begin(&room, GX_FAULTS_STORE, nth, false, GX_E_IO);
        for (uint64_t i = 0; i < 4; i++) {
            char id[GX_PEOPLE_ID_MAX];
            const char *ids = id;
            gx_people_record_id(i, id);
            acknowledged[i] = gx_room_expunge(&room, "g", GX_ID_RECORD, &ids, 1, -1, false, NULL, NULL, NULL) == GX_OK;
            ck_assert(!gx_room_has_record(&room, "g", i)); /* hidden either way */
            ck_assert(!gx_room_finds(&room, "g", i, 20));
        }
        gx_faults_end(&room);
        if (nth % 2 == 0) {
            gx_room_close(&room);
            gx_room_open(&room);
        }
        ck_assert_uint_eq(count_orders(), 5);
        for (uint64_t i = 0; i < 4; i++) {
            ck_assert(!gx_room_has_record(&room, "g", i) || !acknowledged[i]);
            ck_assert(!gx_room_finds(&room, "g", i, 20));
        }
        for (uint64_t number = 1; number <= 5; number++)
            gx_room_wait_until(is_verified(number));
        ck_assert(gx_room_has_record(&room, "g", 10));
        gx_room_end(&room);
    }
}
END_TEST

static void copy_tree(const char *from, const char *to)
{
    char command[512];
    snprintf(command, sizeof(command), "cp -a %s %s", from, to);
    ck_assert_int_eq(system(command), 0);
}

/* An older copy of the store is put back under the present ledger. */
START_TEST(restored_older_store_comes_up_without_what_was_expunged_since)
{
    char store[128], copy[128], command[512];
    begin("flat", 40);
    gx_room_close(&room);
    snprintf(store, sizeof(store), "%s/store", room.dir);
    snprintf(copy, sizeof(copy), "%s/../%s-copy", room.dir, strrchr(room.dir, '/') + 1);
    copy_tree(store, copy);
    gx_room_open(&room);
    const char *arrest = "A0000003-1";
    struct gx_expunge_out out;
    struct gx_err err;
    expunge_record(5);
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_ARREST, &arrest, 1, -1, false, NULL, &out, &err), GX_OK);
    uint64_t n_arrest = out.n_records;
    ck_assert_uint_gt(n_arrest, 0);
    gx_room_close(&room);
    snprintf(command, sizeof(command), "rm -rf %s && mv %s %s", store, copy, store);
    ck_assert_int_eq(system(command), 0);
    gx_room_open(&room);
    struct gx_gallery_info info;
    ck_assert_int_eq(gx_galleries_describe(room.galleries, gx_slice_text("g"), &info, &err), GX_OK);
    ck_assert_uint_eq(info.records, 40 - 1 - n_arrest);
    ck_assert(!gx_room_has_record(&room, "g", 5));
    ck_assert_int_eq(gx_room_enrol(&room, "g", 5, 1, NULL, NULL, &err), GX_E_EXPUNGED);
    ck_assert_uint_eq(ticket_of(1).n_records, 1);
    ck_assert_uint_eq(ticket_of(2).n_records, n_arrest);
    /* And the next order gets a number of its own. */
    ck_assert_uint_eq(expunge_record(30), 3);
    gx_room_end(&room);
}
END_TEST

static enum gx_status try_open(struct gx_err *err)
{
    struct gx_galleries *galleries;
    enum gx_status status = gx_galleries_open(&room.options, &galleries, err);
    gx_galleries_close(galleries);
    return status;
}

START_TEST(cut_exchanged_or_missing_ledger_is_refused)
{
    char path[128], kept[140];
    struct stat st;
    struct gx_err err;
    begin("flat", 20);
    snprintf(path, sizeof(path), "%s/expunge.log", room.dir);
    snprintf(kept, sizeof(kept), "%s.kept", room.dir); /* beside the data directory, not in it */
    expunge_record(1);
    gx_room_close(&room);
    copy_tree(path, kept);
    gx_room_open(&room);
    expunge_record(2);
    gx_room_close(&room);
    ck_assert_int_eq(stat(path, &st), 0);
    /* The older copy is whole, but the store knows better. */
    ck_assert_int_eq(rename(kept, path), 0);
    ck_assert_int_eq(try_open(&err), GX_E_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.text, "expunge.log"));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(try_open(&err), GX_E_CORRUPT);
    ck_assert_int_eq(gx_ledger_create(path, &err), GX_OK);
    ck_assert_int_eq(try_open(&err), GX_E_CORRUPT);
    /* Another store's ledger, which holds even more. */
    struct gx_room other;
    gx_room_begin(&other);
    gx_room_create(&other, "g", "flat");
    for (int i = 0; i < 4; i++) {
        const char *id = (const char *[]){"a", "b", "c", "d"}[i];
        ck_assert_int_eq(gx_room_expunge(&other, "g", GX_ID_RECORD, &id, 1, -1, false, NULL, NULL, &err), GX_OK);
    }
    gx_room_close(&other);
    snprintf(kept, sizeof(kept), "%s/expunge.log", other.dir);
    ck_assert_int_eq(rename(kept, path), 0);
    ck_assert_int_eq(try_open(&err), GX_E_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.text, "not the ledger of this store"));
    gx_room_end(&other);
    gx_room_end(&room);
}
END_TEST

START_TEST(tickets_are_listed_newest_first_in_pages)
{
    struct gx_ticket *tickets;
    struct gx_err err;
    size_t n;
    uint64_t next;
    begin("flat", 20);
    gx_room_create(&room, "h", "flat");
    for (uint64_t i = 0; i < 5; i++)
        expunge_record(i);
    gx_arena_reset(&room.arena);
    ck_assert_int_eq(
        gx_expunge_tickets(room.galleries, gx_slice_text(""), 0, 2, &room.arena, &tickets, &n, &next, &err), GX_OK);
    ck_assert_uint_eq(n, 2);
    ck_assert_uint_eq(tickets[0].number, 5);
    ck_assert_uint_eq(tickets[1].number, 4);
    ck_assert_int_eq(
        gx_expunge_tickets(room.galleries, gx_slice_text("g"), next, 9, &room.arena, &tickets, &n, &next, &err), GX_OK);
    ck_assert_uint_eq(n, 3);
    ck_assert_uint_eq(tickets[2].number, 1);
    ck_assert_uint_eq(next, 0);
    ck_assert_int_eq(
        gx_expunge_tickets(room.galleries, gx_slice_text("h"), 0, 9, &room.arena, &tickets, &n, &next, &err), GX_OK);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(gx_expunge_ticket(room.galleries, 99, &room.arena, tickets, &err), GX_E_NOT_FOUND);
    gx_room_end(&room);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("expunge");
    TCase *tc = tcase_create("expunge");
    tcase_add_test(tc, acknowledged_expunge_is_out_of_search_get_and_list_at_once_and_after_reopening);
    tcase_add_test(tc, expunged_row_is_zero_in_memory_when_the_ticket_is_final);
    tcase_add_test(tc, whole_arrest_and_whole_subject_go);
    tcase_add_test(tc, wrong_count_and_dry_run_change_nothing);
    tcase_add_test(tc, id_that_matched_nothing_is_refused_later);
    tcase_add_test(tc, same_request_gives_the_same_ticket);
    tcase_add_test(tc, outcomes_are_in_the_callers_order);
    tcase_add_test(tc, dry_run_of_a_request_that_was_carried_out_gives_its_ticket);
    tcase_add_test(tc, failed_ledger_leaves_everything_as_it_was);
    tcase_add_test(tc, failed_store_never_brings_back_and_catches_up_by_itself);
    tcase_add_test(tc, restored_older_store_comes_up_without_what_was_expunged_since);
    tcase_add_test(tc, cut_exchanged_or_missing_ledger_is_refused);
    tcase_add_test(tc, tickets_are_listed_newest_first_in_pages);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
