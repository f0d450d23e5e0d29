/* What the outer ledger says counts, whatever became of the store: the same answer to a request that is repeated,
 * galleries that stay deleted, tickets of an older copy that are erased again. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "faults.h"

static struct gx_room room;
static char store[128], kept_store[160], ledger_path[128];

static void begin(uint64_t n)
{
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", n);
    snprintf(store, sizeof(store), "%s/store", room.dir);
    snprintf(kept_store, sizeof(kept_store), "%s-kept", room.dir);
    snprintf(ledger_path, sizeof(ledger_path), "%s/expunge.log", room.dir);
}

static void run_command(const char *format, const char *a, const char *b)
{
    char command[512];
    snprintf(command, sizeof(command), format, a, b);
    ck_assert_int_eq(system(command), 0);
}

/* The store as it is now is kept, and comes back by put_back. */
static void keep_store(void)
{
    gx_room_close(&room);
    run_command("cp -a %s %s", store, kept_store);
    gx_room_open(&room);
}

static void put_back(void)
{
    gx_room_close(&room);
    run_command("rm -rf %1$s && mv %2$s %1$s", store, kept_store);
    gx_room_open(&room);
}

static struct gx_ticket ticket_of(uint64_t number)
{
    struct gx_ticket ticket;
    struct gx_err err;
    gx_arena_reset(&room.arena);
    ck_assert_msg(gx_expunge_ticket(room.galleries, number, &room.arena, &ticket, &err) == GX_OK, "%s", err.text);
    return ticket;
}

static size_t count_tickets(void)
{
    struct gx_ticket *tickets;
    struct gx_err err;
    size_t n;
    uint64_t next;
    gx_arena_reset(&room.arena);
    ck_assert_int_eq(
        gx_expunge_tickets(room.galleries, gx_slice_text(""), 0, 1000, &room.arena, &tickets, &n, &next, &err), GX_OK);
    return n;
}

static const char *const photo_3[] = {"photo-00000003", "nobody"}, *const photo_4[] = {"photo-00000004"};

static enum gx_status expunge_3(const char *request_id, struct gx_expunge_out *out)
{
    struct gx_err err;
    return gx_room_expunge(&room, "g", GX_ID_RECORD, photo_3, 2, 1, false, request_id, out, &err);
}

static struct gx_remove_in removal(const char *request_id)
{
    return (struct gx_remove_in){gx_slice_text("g"), 20, gx_slice_text(request_id)};
}

static bool is_listed(const char *gallery)
{
    struct gx_gallery_info info;
    return gx_galleries_describe(room.galleries, gx_slice_text(gallery), &info, NULL) == GX_OK;
}

/* Has the store anything of gallery @number? */
static bool has_rows(uint32_t number)
{
    static const enum gx_family families[] = {GX_CF_EMB, GX_CF_REC, GX_CF_BY_RECORD, GX_CF_BY_ARREST, GX_CF_BY_SUBJECT};
    uint8_t prefix[4];
    bool found = false;
    gx_codec_put_u32(prefix, number);
    for (size_t i = 0; i < GX_COUNT_OF(families) && !found; i++) {
        struct gx_store_iter *iter;
        struct gx_slice key, value;
        struct gx_err err;
        ck_assert_int_eq(gx_store_iter_begin(room.galleries->store, families[i], (struct gx_slice){prefix, 4},
                                             (struct gx_slice){NULL, 0}, false, &iter, &err),
                         GX_OK);
        ck_assert_int_eq(gx_store_iter_next(iter, &found, &key, &value, &err), GX_OK);
        gx_store_iter_end(iter);
    }
    return found;
}

/* --- expungements --- */

START_TEST(repeated_request_gets_its_ticket_from_the_ledger_when_the_store_lost_it)
{
    struct gx_expunge_out first, again;
    struct gx_err err;
    begin(20);
    keep_store();
    ck_assert_int_eq(expunge_3("r", &first), GX_OK);
    put_back();
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(expunge_3("r", &again), GX_OK);
        ck_assert_uint_eq(again.ticket.number, first.ticket.number);
        ck_assert_int_eq(again.ticket.accepted_at_us, first.ticket.accepted_at_us);
        ck_assert_uint_eq(again.n_records, 1);
        ck_assert_uint_eq(again.n_unmatched, 1);
        ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, photo_4, 1, 1, false, "r", &again, &err),
                         GX_E_EXISTS);
        ck_assert_uint_eq(count_tickets(), 1);
        ck_assert_uint_eq(gx_ledger_entries(room.galleries->ledger), 1);
        gx_room_close(&room);
        gx_room_open(&room);
    }
    /* Without a request id nothing is remembered: it is another order, and finds nothing. */
    ck_assert_int_eq(expunge_3(NULL, &again), GX_E_COUNT);
    gx_room_end(&room);
}
END_TEST

START_TEST(request_whose_batch_failed_is_not_ordered_twice)
{
    struct gx_expunge_out out;
    struct gx_err err;
    begin(20);
    gx_faults_begin(&room, GX_FAULTS_STORE, 1, true, GX_E_IO);
    ck_assert_int_eq(expunge_3("r", &out), GX_E_IO);
    ck_assert_int_eq(expunge_3("r", &out), GX_E_UNAVAILABLE); /* it is known, and waits for the disk */
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, photo_4, 1, 1, false, "s", &out, &err), GX_E_IO);
    ck_assert_int_eq(expunge_3("r", &out), GX_E_UNAVAILABLE);
    gx_faults_end(&room);
    gx_room_wait_until(expunge_3("r", &out) == GX_OK);
    ck_assert_uint_eq(out.ticket.number, 1);
    ck_assert_uint_eq(out.n_records, 1);
    gx_room_wait_until(gx_room_expunge(&room, "g", GX_ID_RECORD, photo_4, 1, 1, false, "s", &out, &err) == GX_OK);
    ck_assert_uint_eq(out.ticket.number, 2);
    ck_assert_uint_eq(gx_ledger_entries(room.galleries->ledger), 2);
    ck_assert_uint_eq(count_tickets(), 2);
    gx_room_end(&room);
}
END_TEST

/* Stages that only the ledger knows of, as after an older copy of the store was put back. */
static void append_stages(uint64_t serial)
{
    static const uint64_t ticket = 1;
    struct gx_ledger_entry entry = {.type = GX_LEDGER_ERASED, .tickets = &ticket, .n_tickets = 1};
    struct gx_err err;
    ck_assert_msg(gx_ledger_append(room.galleries->ledger, &entry, &err) == GX_OK, "%s", err.text);
    entry.type = GX_LEDGER_VERIFIED;
    entry.serial = serial;
    memset(&entry.certificate, 7, sizeof(entry.certificate));
    ck_assert_msg(gx_ledger_append(room.galleries->ledger, &entry, &err) == GX_OK, "%s", err.text);
}

START_TEST(older_store_is_erased_again_and_certificates_go_on_from_the_ledger)
{
    struct gx_expunge_out out;
    struct gx_digest digest;
    uint64_t serial;
    begin(20);
    keep_store();
    ck_assert_int_eq(expunge_3("r", &out), GX_OK);
    append_stages(5);
    put_back();
    ck_assert(!gx_room_has_record(&room, "g", 3));
    ck_assert_int_eq(ticket_of(1).state, GX_TICKET_ACCEPTED);
    ck_assert_uint_eq(ticket_of(1).n_records, 1);
    gx_ledger_certificate(room.galleries->ledger, &serial, &digest);
    ck_assert_uint_eq(serial, 5);
    ck_assert_uint_eq(digest.bytes[31], 7);
    struct gx_err err;
    ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, photo_4, 1, 1, false, NULL, &out, &err), GX_OK);
    ck_assert_uint_eq(out.ticket.number, 2);
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

START_TEST(ledger_that_lost_a_stage_or_a_deletion_is_refused)
{
    char kept[160], whole[160];
    struct gx_expunge_out out;
    struct gx_err err;
    uint64_t n, epoch;
    begin(20);
    snprintf(kept, sizeof(kept), "%s-kept.log", room.dir);
    snprintf(whole, sizeof(whole), "%s-whole.log", room.dir);
    gx_room_create(&room, "h", "flat");
    ck_assert_int_eq(expunge_3(NULL, &out), GX_OK);
    for (int round = 0; round < 2; round++) {
        run_command("cp -a %s %s", ledger_path, kept);
        if (round == 0) {
            append_stages(1);
            ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, photo_4, 1, 1, false, NULL, &out, &err), GX_OK);
        } else {
            struct gx_remove_in in = {gx_slice_text("h"), 0, gx_slice_text("")};
            ck_assert_int_eq(gx_galleries_remove(room.galleries, &in, &n, &epoch, &err), GX_OK);
        }
        gx_room_close(&room);
        ck_assert_int_eq(rename(ledger_path, whole), 0);
        ck_assert_int_eq(rename(kept, ledger_path), 0); /* whole in itself, but an older copy */
        ck_assert_int_eq(try_open(&err), GX_E_CORRUPT);
        ck_assert_ptr_nonnull(strstr(err.text, "cut or exchanged"));
        ck_assert_int_eq(rename(whole, ledger_path), 0);
        gx_room_open(&room);
    }
    gx_room_end(&room);
}
END_TEST

START_TEST(nothing_is_removed_while_the_ledger_is_not_where_it_was)
{
    char away[160];
    struct gx_expunge_out out;
    struct gx_err err;
    uint64_t n, epoch;
    begin(20);
    snprintf(away, sizeof(away), "%s-away.log", room.dir);
    struct gx_remove_in in = removal("");
    for (int round = 0; round < 2; round++) {
        ck_assert_int_eq(rename(ledger_path, away), 0);
        if (round == 1)
            ck_assert_int_eq(gx_ledger_create(ledger_path, &err), GX_OK);
        ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, photo_3, 1, 1, false, NULL, &out, &err), GX_E_IO);
        ck_assert_ptr_nonnull(strstr(err.text, "removed or exchanged"));
        ck_assert_int_eq(gx_galleries_remove(room.galleries, &in, &n, &epoch, &err), GX_E_IO);
        ck_assert(gx_room_has_record(&room, "g", 3));
        ck_assert(gx_room_finds(&room, "g", 3, 1));
        ck_assert_int_eq(rename(away, ledger_path), 0);
    }
    ck_assert_int_eq(expunge_3(NULL, &out), GX_OK);
    gx_room_end(&room);
}
END_TEST

/* --- deleted galleries --- */

START_TEST(deleted_gallery_of_an_older_store_stays_deleted)
{
    uint64_t n, epoch;
    struct gx_err err;
    begin(20);
    gx_room_create(&room, "h", "flat");
    gx_room_fill(&room, "h", 30);
    uint32_t number = room.galleries->list[0]->meta.number;
    keep_store();
    struct gx_remove_in in = removal("d");
    ck_assert_int_eq(gx_galleries_remove(room.galleries, &in, &n, &epoch, &err), GX_OK);
    put_back();
    for (int round = 0; round < 2; round++) {
        ck_assert(!is_listed("g"));
        gx_room_wait_until(!has_rows(number));
        ck_assert(gx_room_has_record(&room, "h", 25)); /* the other one is as it was */
        n = 0;
        ck_assert_int_eq(gx_galleries_remove(room.galleries, &in, &n, &epoch, &err), GX_OK); /* the same answer */
        ck_assert_uint_eq(n, 20);
        gx_room_close(&room);
        gx_room_open(&room);
    }
    /* A new one of that name is another gallery, and stays. */
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", 10);
    gx_room_close(&room);
    gx_room_open(&room);
    ck_assert(gx_room_has_record(&room, "g", 9));
    gx_room_end(&room);
}
END_TEST

/* The Nth write of the ledger fails: nothing was done. */
START_TEST(failed_ledger_leaves_the_gallery_as_it_was)
{
    uint64_t n, epoch;
    struct gx_err err;
    for (long nth = 1; nth <= 4; nth++) {
        begin(20);
        struct gx_remove_in in = removal("d");
        gx_faults_begin(&room, GX_FAULTS_LEDGER, nth, false, GX_E_IO);
        ck_assert_int_eq(gx_galleries_remove(room.galleries, &in, &n, &epoch, &err), GX_E_IO);
        gx_faults_end(&room);
        for (int round = 0; round < 2; round++) {
            ck_assert_uint_eq(gx_ledger_entries(room.galleries->ledger), 0);
            ck_assert(gx_room_has_record(&room, "g", 3));
            ck_assert(gx_room_finds(&room, "g", 3, 1));
            gx_room_close(&room);
            gx_room_open(&room);
        }
        ck_assert_int_eq(gx_galleries_remove(room.galleries, &in, &n, &epoch, &err), GX_OK);
        ck_assert_uint_eq(n, 20);
        ck_assert_uint_eq(gx_ledger_entries(room.galleries->ledger), 1);
        gx_room_end(&room);
    }
}
END_TEST

/* The store fails behind the ledger: the gallery is gone at once and for good, and the request is not forgotten. */
START_TEST(failed_store_never_brings_a_deleted_gallery_back)
{
    uint64_t n, epoch;
    struct gx_err err;
    for (int restart = 0; restart < 2; restart++) {
        begin(20);
        uint32_t number = room.galleries->list[0]->meta.number;
        struct gx_remove_in in = removal("d");
        gx_faults_begin(&room, GX_FAULTS_STORE, 1, true, GX_E_IO);
        ck_assert_int_eq(gx_galleries_remove(room.galleries, &in, &n, &epoch, &err), GX_E_IO);
        ck_assert(!is_listed("g"));
        ck_assert_int_eq(gx_room_enrol(&room, "g", 30, 1, NULL, NULL, &err), GX_E_NOT_FOUND);
        if (restart == 0)
            gx_faults_end(&room);
        if (restart == 1) {
            gx_room_close(&room);
            gx_room_open(&room);
        }
        ck_assert(!is_listed("g"));
        ck_assert_uint_eq(gx_ledger_entries(room.galleries->ledger), 1);
        gx_room_wait_until(!has_rows(number));
        gx_room_wait_until(gx_galleries_remove(room.galleries, &in, &n, &epoch, &err) == GX_OK);
        ck_assert_uint_eq(n, 20);
        gx_room_close(&room);
        gx_room_open(&room);
        ck_assert(!is_listed("g"));
        ck_assert_uint_eq(gx_ledger_entries(room.galleries->ledger), 1);
        gx_room_end(&room);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("replay");
    TCase *tc = tcase_create("replay");
    tcase_add_test(tc, repeated_request_gets_its_ticket_from_the_ledger_when_the_store_lost_it);
    tcase_add_test(tc, request_whose_batch_failed_is_not_ordered_twice);
    tcase_add_test(tc, older_store_is_erased_again_and_certificates_go_on_from_the_ledger);
    tcase_add_test(tc, ledger_that_lost_a_stage_or_a_deletion_is_refused);
    tcase_add_test(tc, nothing_is_removed_while_the_ledger_is_not_where_it_was);
    tcase_add_test(tc, deleted_gallery_of_an_older_store_stays_deleted);
    tcase_add_test(tc, failed_ledger_leaves_the_gallery_as_it_was);
    tcase_add_test(tc, failed_store_never_brings_a_deleted_gallery_back);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
