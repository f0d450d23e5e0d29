/* The path of a ticket to VERIFIED: no stage before its fact, nothing left behind, whatever comes between. */
#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "held.h"
#include "room.h"

#define ROW_BYTES (GX_ROOM_DIM * sizeof(float))

static struct gx_room room;

static struct gx_ticket ticket_of(uint64_t number)
{
    struct gx_ticket ticket;
    struct gx_err err;
    gx_arena_reset(&room.arena);
    ck_assert_msg(gx_expunge_ticket(room.galleries, number, &room.arena, &ticket, &err) == GX_OK, "%s", err.text);
    return ticket;
}

static bool is_in_state(uint64_t number, enum gx_ticket_state state)
{
    return ticket_of(number).state == state;
}

static struct gx_ticket await_verified(uint64_t number)
{
    gx_room_wait_until(is_in_state(number, GX_TICKET_VERIFIED));
    return ticket_of(number);
}

static uint64_t expunge(enum gx_id_kind kind, const char *const *ids, size_t n)
{
    struct gx_expunge_out out;
    struct gx_err err;
    ck_assert_msg(gx_room_expunge(&room, "g", kind, ids, n, -1, false, NULL, &out, &err) == GX_OK, "%s", err.text);
    ck_assert(out.has_ticket);
    return out.ticket.number;
}

static uint64_t expunge_row(uint64_t row)
{
    char id[GX_PEOPLE_ID_MAX];
    const char *ids = id;
    gx_people_record_id(row, id);
    return expunge(GX_ID_RECORD, &ids, 1);
}

/* As it is stored. */
static void stored_row(uint64_t row, float out[GX_ROOM_DIM])
{
    uint32_t slot = (uint32_t)row;
    memcpy(out, gx_rows_floats(room.galleries->list[0]->rows, slot), ROW_BYTES);
}

static void begin(const char *engine, uint64_t n)
{
    gx_room_begin(&room);
    gx_room_create(&room, "g", engine);
    gx_room_fill(&room, "g", n);
}

static void reopen(void)
{
    gx_room_close(&room);
    gx_room_open(&room);
}

/* Its certificate, as it stands in the store. */
static struct gx_slice certificate_of(uint64_t number)
{
    uint8_t key[GX_KEY_CERTIFICATE_LEN];
    struct gx_slice value, certificate;
    struct gx_err err;
    gx_codec_key_certificate(number, key);
    ck_assert_int_eq(gx_store_get(room.galleries->store, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)},
                                  &room.arena, &value, &err),
                     GX_OK);
    ck_assert_int_eq(gx_codec_certificate_decode(value, &certificate, &err), GX_OK);
    return certificate;
}

static bool certificate_says(uint64_t number, const char *text)
{
    struct gx_slice certificate = certificate_of(number);
    return memmem(certificate.data, certificate.len, text, strlen(text)) != NULL;
}

START_TEST(an_erased_row_is_in_no_file_and_its_neighbours_are)
{
    float gone[GX_ROOM_DIM], kept[GX_ROOM_DIM];
    begin("flat", 200);
    stored_row(100, gone);
    stored_row(101, kept);
    ck_assert_uint_gt(gx_held_windows(room.dir, gone, ROW_BYTES), 0); /* the search has teeth */
    ck_assert_uint_gt(gx_held_count(room.dir, "photo-00000100", 14), 0);
    struct gx_ticket ticket = await_verified(expunge_row(100));
    ck_assert_uint_eq(gx_held_windows(room.dir, gone, ROW_BYTES), 0);
    ck_assert_uint_eq(gx_held_count(room.dir, "photo-00000100", 14), 0);
    ck_assert_uint_gt(gx_held_count(room.dir, kept, ROW_BYTES), 0);
    ck_assert(gx_room_has_record(&room, "g", 101) && gx_room_finds(&room, "g", 101, 1));
    ck_assert_int_eq(ticket.method, GX_TICKET_BYTES);
    ck_assert_uint_ge(ticket.control_hits, 2); /* floats and record */
    ck_assert_uint_gt(ticket.files_scanned, 0);
    ck_assert_uint_gt(ticket.files_removed, 0);
    reopen();
    ck_assert_uint_eq(gx_held_windows(room.dir, gone, ROW_BYTES), 0);
    ck_assert(gx_room_finds(&room, "g", 101, 1));
    gx_room_end(&room);
}
END_TEST

START_TEST(stages_are_stamped_in_their_order)
{
    begin("flat", 50);
    struct gx_ticket t = await_verified(expunge_row(7));
    ck_assert_int_gt(t.accepted_at_us, 0);
    ck_assert_int_ge(t.unindexed_at_us, t.accepted_at_us);
    ck_assert_int_ge(t.flushed_at_us, t.accepted_at_us);
    ck_assert_int_ge(t.compacted_at_us, t.flushed_at_us);
    ck_assert_int_ge(t.unlinked_at_us, t.compacted_at_us);
    ck_assert_int_ge(t.erased_at_us, t.unlinked_at_us);
    ck_assert_int_ge(t.erased_at_us, t.unindexed_at_us);
    ck_assert_int_ge(t.verified_at_us, t.erased_at_us);
    ck_assert_int_eq(t.failed_at_us, 0);
    ck_assert_uint_eq(t.attempts, 1);
    ck_assert_int_eq(t.deadline_at_us, t.accepted_at_us + 60000000);
    gx_room_end(&room);
}
END_TEST

START_TEST(certificates_form_a_chain_that_goes_on_after_a_restart)
{
    begin("flat", 50);
    uint64_t numbers[3];
    for (size_t i = 0; i < 3; i++) {
        numbers[i] = expunge_row(i);
        ck_assert_uint_eq(await_verified(numbers[i]).certificate, i + 1);
        if (i == 1)
            reopen();
    }
    uint64_t serial;
    struct gx_digest head, digest;
    struct gx_err err;
    char text[2 * GX_DIGEST_LEN + 1];
    gx_room_wait_until((gx_ledger_certificate(room.galleries->ledger, &serial, &head), serial == 3));
    for (size_t i = 0; i < 3; i++) {
        struct gx_slice certificate = certificate_of(numbers[i]);
        ck_assert_int_eq(gx_keys_sha256(&certificate, 1, &digest, &err), GX_OK);
        for (size_t b = 0; b < GX_DIGEST_LEN; b++)
            snprintf(text + 2 * b, 3, "%02x", digest.bytes[b]);
        if (i < 2)
            ck_assert_msg(certificate_says(numbers[i + 1], text), "certificate %zu does not name the one before",
                          i + 2);
    }
    ck_assert_mem_eq(&digest, &head, sizeof(head));
    gx_room_end(&room);
}
END_TEST

START_TEST(hundreds_of_tickets_are_erased_together)
{
    enum { N = 600 };
    uint64_t numbers[N];
    begin("flat", N + 10);
    float gone[GX_ROOM_DIM];
    stored_row(N / 2, gone);
    for (uint64_t i = 0; i < N; i++)
        numbers[i] = expunge_row(i);
    for (uint64_t i = 0; i < N; i++)
        await_verified(numbers[i]);
    ck_assert_uint_eq(gx_held_windows(room.dir, gone, ROW_BYTES), 0);
    for (uint64_t i = N; i < N + 10; i++)
        ck_assert(gx_room_has_record(&room, "g", i));
    uint64_t serial;
    struct gx_digest head;
    gx_room_wait_until((gx_ledger_certificate(room.galleries->ledger, &serial, &head), serial == N));
    gx_room_end(&room);
}
END_TEST

START_TEST(an_order_that_matches_nothing_is_certified_too)
{
    const char *nobody = "nobody-at-all";
    begin("flat", 10);
    struct gx_ticket ticket = await_verified(expunge(GX_ID_ARREST, &nobody, 1));
    ck_assert_uint_eq(ticket.n_records, 0);
    ck_assert_int_eq(ticket.method, GX_TICKET_STRUCTURAL);
    ck_assert(certificate_says(ticket.number, "nothing to erase"));
    gx_room_end(&room);
}
END_TEST

START_TEST(a_ticket_found_at_start_is_erased_and_says_that_it_was_proven_structurally)
{
    float gone[GX_ROOM_DIM];
    begin("flat", 100);
    stored_row(50, gone);
    uint64_t number = expunge_row(50);
    reopen(); /* long before the erasure is through: it gathers first */
    struct gx_ticket ticket = await_verified(number);
    ck_assert_uint_eq(gx_held_windows(room.dir, gone, ROW_BYTES), 0);
    if (ticket.method == GX_TICKET_STRUCTURAL)
        ck_assert(certificate_says(number, "restarted"));
    gx_room_end(&room);
}
END_TEST

START_TEST(the_same_embedding_under_another_record_is_no_alarm)
{
    struct gx_err err;
    float row[GX_ROOM_DIM];
    begin("flat", 30);
    stored_row(3, row);
    ck_assert_msg(gx_room_enrol_as(&room, "g", 3, "the-same-photo", &err) == GX_OK, "%s", err.text);
    struct gx_ticket ticket = await_verified(expunge_row(3));
    ck_assert_int_eq(ticket.method, GX_TICKET_STRUCTURAL);
    ck_assert(certificate_says(ticket.number, "same embedding"));
    ck_assert_uint_gt(gx_held_windows(room.dir, row, ROW_BYTES), 0); /* of the other record */
    gx_room_end(&room);
}
END_TEST

START_TEST(records_of_any_length_are_proven_in_one_order)
{
    char text[30][GX_ID_MAX + 1];
    const char *ids[30];
    struct gx_err err;
    begin("flat", 10);
    for (size_t i = 0; i < 30; i++) {
        size_t len = i == 29 ? GX_ID_MAX : 3 + 4 * i;
        memset(text[i], 'a' + (int)i % 26, len);
        text[i][len] = '\0';
        ids[i] = text[i];
        ck_assert_msg(gx_room_enrol_as(&room, "g", 20 + i, ids[i], &err) == GX_OK, "%s", err.text);
    }
    struct gx_ticket ticket = await_verified(expunge(GX_ID_RECORD, ids, 30));
    ck_assert_int_eq(ticket.method, GX_TICKET_BYTES);
    ck_assert_uint_eq(ticket.control_hits, 60);
    ck_assert_int_eq(ticket.failed_at_us, 0);
    gx_room_end(&room);
}
END_TEST

START_TEST(a_record_whose_id_ends_as_an_erased_one_is_no_alarm)
{
    /* What is looked for in one piece is shorter than such an id. */
    static const char kept[] = "left-0123456789012345678901234567890123456789012345678901234567890123456789";
    static const char gone[] = "erased-0123456789012345678901234567890123456789012345678901234567890123456789";
    const char *ids = gone;
    struct gx_err err;
    begin("flat", 10);
    ck_assert_msg(gx_room_enrol_as(&room, "g", 20, gone, &err) == GX_OK, "%s", err.text);
    ck_assert_msg(gx_room_enrol_as(&room, "g", 21, kept, &err) == GX_OK, "%s", err.text);
    struct gx_ticket ticket = await_verified(expunge(GX_ID_RECORD, &ids, 1));
    ck_assert_int_eq(ticket.method, GX_TICKET_BYTES);
    ck_assert_int_eq(ticket.failed_at_us, 0);
    ck_assert_uint_eq(gx_held_count(room.dir, gone, strlen(gone)), 0);
    ck_assert_uint_gt(gx_held_count(room.dir, kept, strlen(kept)), 0);
    gx_room_end(&room);
}
END_TEST

/* All write-ahead logs of the store, put together as somebody might have put them aside. */
static void copy_logs(const char *to)
{
    char command[400];
    snprintf(command, sizeof(command), "cat %s/store/*.log >%s", room.dir, to);
    ck_assert_int_eq(system(command), 0);
}

START_TEST(a_copy_of_a_file_is_an_alarm_until_it_is_gone_and_never_a_certificate)
{
    struct gx_err err;
    char stray[128];
    begin("flat", 30);
    /* Its floats are another record's, too: that explains them, but not the record. */
    ck_assert_msg(gx_room_enrol_as(&room, "g", 3, "the-same-photo", &err) == GX_OK, "%s", err.text);
    snprintf(stray, sizeof(stray), "%s/stray.bin", room.dir);
    copy_logs(stray);
    uint64_t number = expunge_row(3);
    gx_room_wait_until(ticket_of(number).attempts > 3); /* it is erased again each time */
    ck_assert_int_eq(ticket_of(number).verified_at_us, 0);
    ck_assert_uint_eq(ticket_of(number).certificate, 0);
    gx_room_wait_until(is_in_state(number, GX_TICKET_FAILED));
    ck_assert_ptr_nonnull(memmem(ticket_of(number).problem.data, ticket_of(number).problem.len, "stray.bin", 9));
    int64_t failed_at_us = ticket_of(number).failed_at_us;
    ck_assert_int_eq(unlink(stray), 0);
    struct gx_ticket ticket = await_verified(number);
    ck_assert_int_ge(ticket.erased_at_us, failed_at_us); /* not since the first time */
    gx_room_end(&room);
}
END_TEST

static uint64_t expunge_from(const char *gallery, uint64_t row)
{
    struct gx_expunge_out out;
    struct gx_err err;
    char id[GX_PEOPLE_ID_MAX];
    const char *ids = id;
    gx_people_record_id(row, id);
    ck_assert_msg(gx_room_expunge(&room, gallery, GX_ID_RECORD, &ids, 1, -1, false, NULL, &out, &err) == GX_OK, "%s",
                  err.text);
    return out.ticket.number;
}

START_TEST(the_same_photo_going_from_two_galleries_is_no_alarm)
{
    enum { PAIRS = 8 };
    uint64_t first[PAIRS], second[PAIRS];
    begin("flat", 40);
    gx_room_create(&room, "h", "flat");
    gx_room_fill(&room, "h", 40);
    for (uint64_t i = 0; i < PAIRS; i++) {
        first[i] = expunge_from("g", i);
        if (i % 2 == 0)
            gx_room_wait_until(ticket_of(first[i]).state != GX_TICKET_ACCEPTED); /* about to be proven */
        second[i] = expunge_from("h", i);
    }
    for (size_t i = 0; i < PAIRS; i++) {
        ck_assert_int_eq(await_verified(first[i]).failed_at_us, 0);
        ck_assert_int_eq(await_verified(second[i]).failed_at_us, 0);
    }
    gx_room_end(&room);
}
END_TEST

START_TEST(an_open_iterator_is_an_alarm_that_is_taken_back_when_it_is_gone)
{
    struct gx_store_iter *iter;
    struct gx_err err;
    const struct gx_slice none = {NULL, 0};
    struct gx_slice key, value;
    struct gx_expunge_alarms alarms;
    bool found;
    float gone[GX_ROOM_DIM];
    begin("flat", 100);
    reopen(); /* what was written is in tables */
    stored_row(9, gone);
    ck_assert_int_eq(gx_store_iter_begin(room.galleries->store, GX_CF_EMB, none, none, false, &iter, &err), GX_OK);
    ck_assert_int_eq(gx_store_iter_next(iter, &found, &key, &value, &err), GX_OK);
    uint64_t number = expunge_row(9);
    gx_room_wait_until(is_in_state(number, GX_TICKET_FAILED));
    ck_assert_uint_gt(ticket_of(number).problem.len, 0);
    ck_assert_int_eq(ticket_of(number).verified_at_us, 0);
    ck_assert_uint_eq(ticket_of(number).certificate, 0);
    gx_room_wait_until((gx_expunge_alarms(room.galleries, &alarms), alarms.n_failed == 1));
    gx_store_iter_end(iter);
    struct gx_ticket ticket = await_verified(number);
    ck_assert_uint_eq(ticket.problem.len, 0);
    ck_assert_uint_gt(ticket.attempts, 1);
    ck_assert_int_gt(ticket.failed_at_us, 0);
    ck_assert_uint_eq(gx_held_windows(room.dir, gone, ROW_BYTES), 0);
    gx_room_wait_until((gx_expunge_alarms(room.galleries, &alarms), alarms.n_pending == 0));
    gx_room_end(&room);
}
END_TEST

START_TEST(past_its_deadline_a_ticket_is_an_alarm)
{
    struct gx_store_iter *iter;
    struct gx_err err;
    const struct gx_slice none = {NULL, 0};
    struct gx_expunge_alarms alarms;
    begin("flat", 20);
    gx_room_close(&room);
    room.options.erase_deadline_us = 1;
    gx_room_open(&room);
    ck_assert_int_eq(gx_store_iter_begin(room.galleries->store, GX_CF_EMB, none, none, false, &iter, &err), GX_OK);
    uint64_t number = expunge_row(1);
    gx_expunge_alarms(room.galleries, &alarms);
    ck_assert_uint_eq(alarms.n_overdue, 1);
    gx_store_iter_end(iter);
    await_verified(number);
    gx_room_wait_until((gx_expunge_alarms(room.galleries, &alarms), alarms.n_pending == 0));
    ck_assert_uint_eq(alarms.n_overdue, 0);
    gx_room_end(&room);
}
END_TEST

struct nth {
    uint64_t fails;
    bool happened;
};

static enum gx_status fail_nth(void *arg, uint64_t ordinal)
{
    struct nth *nth = arg;
    if (ordinal != nth->fails)
        return GX_OK;
    nth->happened = true;
    return GX_E_IO;
}

/* Each write of the store fails once on the way of a ticket: it gets there all the same, and says nothing before. */
START_TEST(a_failing_write_of_the_store_delays_a_ticket_and_no_more)
{
    float gone[GX_ROOM_DIM];
    for (uint64_t n = 2;; n++) { /* the first is the acknowledgement's */
        struct nth nth = {.fails = n};
        begin("flat", 60);
        stored_row(30, gone);
        gx_store_set_fault(room.galleries->store, fail_nth, &nth);
        uint64_t number = expunge_row(30);
        struct gx_ticket ticket = await_verified(number);
        gx_store_set_fault(room.galleries->store, NULL, NULL);
        ck_assert_uint_eq(gx_held_windows(room.dir, gone, ROW_BYTES), 0);
        ck_assert(gx_room_has_record(&room, "g", 31));
        ck_assert_int_ge(ticket.verified_at_us, ticket.erased_at_us);
        gx_room_end(&room);
        if (!nth.happened)
            break;
        ck_assert_uint_lt(n, 200);
    }
}
END_TEST

/* Fails the writes of the store while ticket 1 is ERASED, so often. */
static enum gx_status fail_after_erased(void *arg, uint64_t ordinal)
{
    atomic_int *left = arg;
    struct gx_arena arena;
    struct gx_ticket ticket;
    (void)ordinal;
    gx_arena_init(&arena, 1 << 20);
    bool erased = gx_ticket_get(room.galleries, 1, &arena, &ticket, NULL) == GX_OK && ticket.state == GX_TICKET_ERASED;
    gx_arena_fini(&arena);
    return erased && atomic_fetch_sub(left, 1) > 0 ? GX_E_IO : GX_OK;
}

START_TEST(an_alarm_in_the_place_of_a_certificate_says_nothing_of_one)
{
    atomic_int left = 3;
    gx_room_begin(&room);
    gx_room_close(&room);
    room.options.erase_retry_us = 300000;
    gx_room_open(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", 60);
    gx_store_set_fault(room.galleries->store, fail_after_erased, &left);
    uint64_t number = expunge_row(30);
    gx_room_wait_until(is_in_state(number, GX_TICKET_FAILED));
    struct gx_ticket ticket = ticket_of(number);
    ck_assert_int_gt(ticket.erased_at_us, 0);
    ck_assert_int_eq(ticket.verified_at_us, 0);
    ck_assert_uint_eq(ticket.certificate, 0);
    ticket = await_verified(number);
    ck_assert_uint_eq(ticket.certificate, 1);
    ck_assert_int_gt(ticket.verified_at_us, ticket.failed_at_us);
    gx_store_set_fault(room.galleries->store, NULL, NULL);
    gx_room_end(&room);
}
END_TEST

static bool is_listed(uint32_t gallery)
{
    uint8_t key[GX_KEY_GALLERY_LEN];
    struct gx_slice value;
    struct gx_err err;
    gx_arena_reset(&room.arena);
    gx_codec_key_gallery(gallery, key);
    return gx_store_get(room.galleries->store, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)}, &room.arena, &value,
                        &err) == GX_OK;
}

START_TEST(what_a_deleted_gallery_held_leaves_the_files)
{
    struct gx_err err;
    uint64_t records, epoch;
    float gone[GX_ROOM_DIM];
    begin("flat", 100);
    stored_row(42, gone);
    uint32_t number = room.galleries->list[0]->meta.number;
    const struct gx_remove_in in = {.name = gx_slice_text("g"), .expected_count = -1};
    ck_assert_int_eq(gx_galleries_remove(room.galleries, &in, &records, &epoch, &err), GX_OK);
    gx_room_wait_until(!is_listed(number));
    ck_assert_uint_eq(gx_held_windows(room.dir, gone, ROW_BYTES), 0);
    ck_assert_uint_eq(gx_held_count(room.dir, "photo-00000042", 14), 0);
    gx_room_end(&room);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("erase");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 120);
    tcase_add_test(all, an_erased_row_is_in_no_file_and_its_neighbours_are);
    tcase_add_test(all, stages_are_stamped_in_their_order);
    tcase_add_test(all, certificates_form_a_chain_that_goes_on_after_a_restart);
    tcase_add_test(all, hundreds_of_tickets_are_erased_together);
    tcase_add_test(all, an_order_that_matches_nothing_is_certified_too);
    tcase_add_test(all, a_ticket_found_at_start_is_erased_and_says_that_it_was_proven_structurally);
    tcase_add_test(all, the_same_embedding_under_another_record_is_no_alarm);
    tcase_add_test(all, records_of_any_length_are_proven_in_one_order);
    tcase_add_test(all, a_record_whose_id_ends_as_an_erased_one_is_no_alarm);
    tcase_add_test(all, a_copy_of_a_file_is_an_alarm_until_it_is_gone_and_never_a_certificate);
    tcase_add_test(all, the_same_photo_going_from_two_galleries_is_no_alarm);
    tcase_add_test(all, an_open_iterator_is_an_alarm_that_is_taken_back_when_it_is_gone);
    tcase_add_test(all, past_its_deadline_a_ticket_is_an_alarm);
    tcase_add_test(all, a_failing_write_of_the_store_delays_a_ticket_and_no_more);
    tcase_add_test(all, an_alarm_in_the_place_of_a_certificate_says_nothing_of_one);
    tcase_add_test(all, what_a_deleted_gallery_held_leaves_the_files);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
