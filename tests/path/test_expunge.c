/* Removal by order: counted first, done once, final, and on record. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "served.h"

#define DIM  32
#define ROWS 1200

static struct gx_served served;
static struct gx_client_ticket ticket;

static void begin(void)
{
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", ROWS);
}

static enum gx_status expunge(enum gx_client_id_kind kind, const char *const *ids, size_t n, int64_t expected,
                              bool validate_only, const char *request_id)
{
    return gx_client_expunge(served.client, "g", kind, ids, n, "order 2026-7", expected, validate_only, request_id,
                             &ticket);
}

static size_t count_tickets(const char *gallery)
{
    struct gx_client_tickets *list;
    gx_served_ok(gx_client_ticket_list(served.client, gallery, 0, NULL, &list));
    size_t n = list->n_tickets;
    gx_client_tickets_free(list);
    return n;
}

START_TEST(nothing_is_removed_when_the_count_is_not_the_expected_one)
{
    const char *ids[] = {"photo-00000003", "photo-00000004"};
    begin();
    gx_served_refused(expunge(GX_CLIENT_RECORD, ids, 2, 1, false, "r1"), GX_E_COUNT);
    gx_served_refused(expunge(GX_CLIENT_RECORD, ids, 2, 3, false, NULL), GX_E_COUNT);
    gx_served_refused(expunge(GX_CLIENT_RECORD, ids, 2, 0, false, NULL), GX_E_COUNT);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS);
    ck_assert(gx_served_has(&served, "g", 3) && gx_served_finds(&served, "g", 3, 1));
    ck_assert_uint_eq(count_tickets(NULL), 0);
    gx_served_ok(expunge(GX_CLIENT_RECORD, ids, 2, 2, false, "r1")); /* a refused request is not remembered */
    ck_assert_uint_eq(ticket.records, 2);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS - 2);
    gx_served_end(&served);
}
END_TEST

START_TEST(validate_only_counts_and_changes_nothing)
{
    const char *ids[] = {"photo-00000010", "photo-00000011", "no-such-photo"};
    begin();
    uint64_t epoch = gx_served_stats(&served, "g").epoch;
    gx_served_ok(expunge(GX_CLIENT_RECORD, ids, 3, -1, true, "r1"));
    ck_assert_str_eq(ticket.ticket_id, "");
    ck_assert_uint_eq(ticket.records, 2);
    ck_assert_uint_eq(ticket.unmatched_ids, 1);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS);
    ck_assert_uint_eq(gx_served_stats(&served, "g").epoch, epoch);
    ck_assert_uint_eq(count_tickets(NULL), 0);
    gx_served_refused(expunge(GX_CLIENT_RECORD, ids, 3, 3, true, NULL), GX_E_COUNT);
    gx_served_ok(expunge(GX_CLIENT_RECORD, ids, 2, 2, false, "r1"));
    gx_served_end(&served);
}
END_TEST

START_TEST(ids_that_match_nothing_are_counted_and_can_not_be_enrolled_later)
{
    char id[GX_PEOPLE_ID_MAX];
    const char *ids[] = {id, "photo-00000000"};
    begin();
    gx_people_record_id(ROWS + 5, id);
    gx_served_ok(expunge(GX_CLIENT_RECORD, ids, 2, 1, false, NULL));
    ck_assert_uint_eq(ticket.records, 1);
    ck_assert_uint_eq(ticket.unmatched_ids, 1);
    gx_served_refused(gx_served_insert(served.client, &served.people, "g", ROWS, 10, NULL, NULL), GX_E_EXPUNGED);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS - 1);
    gx_served_ok(gx_served_insert(served.client, &served.people, "g", ROWS, 5, NULL, NULL));
    gx_served_end(&served);
}
END_TEST

START_TEST(same_request_is_the_same_expungement_and_another_under_its_id_is_refused)
{
    const char *first[] = {"photo-00000001"}, *other[] = {"photo-00000002"};
    char id[33];
    begin();
    gx_served_ok(expunge(GX_CLIENT_RECORD, first, 1, 1, false, "request-1"));
    memcpy(id, ticket.ticket_id, sizeof(id));
    for (int round = 0; round < 2; round++) {
        gx_served_ok(expunge(GX_CLIENT_RECORD, first, 1, 1, false, "request-1"));
        ck_assert_str_eq(ticket.ticket_id, id);
        ck_assert_uint_eq(ticket.records, 1);
        ck_assert_uint_eq(count_tickets("g"), 1);
        gx_served_refused(expunge(GX_CLIENT_RECORD, other, 1, 1, false, "request-1"), GX_E_EXISTS);
        ck_assert(gx_served_has(&served, "g", 2));
        gx_served_restart(&served, round == 0);
    }
    gx_served_end(&served);
}
END_TEST

START_TEST(expunged_record_and_arrest_can_not_be_enrolled_again)
{
    const char *record[] = {"photo-00000500"};
    uint64_t first, n;
    begin();
    gx_served_ok(expunge(GX_CLIENT_RECORD, record, 1, 1, false, NULL));
    gx_served_expunge_arrest(&served, "g", 700, &first, &n, &ticket);
    for (int round = 0; round < 3; round++) {
        gx_served_refused(gx_served_insert(served.client, &served.people, "g", 500, 1, NULL, NULL), GX_E_EXPUNGED);
        gx_served_refused(gx_served_insert(served.client, &served.people, "g", 0, 1000, NULL, NULL), GX_E_EXPUNGED);
        gx_served_refused(gx_served_insert(served.client, &served.people, "g", 700, 1, NULL, NULL), GX_E_EXPUNGED);
        /* Another photo of the arrest, under an id of its own. */
        struct gx_served_batch b;
        gx_served_make_batch(&served.people, 700, 1, &b);
        b.records[0].record_id = "another photo";
        gx_served_refused(
            gx_client_insert(served.client, "g", GX_SERVED_EMBEDDER, b.records, b.rows, 1, DIM, NULL, NULL),
            GX_E_EXPUNGED);
        gx_served_free_batch(&b);
        ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS - 1 - n);
        ck_assert(!gx_served_has(&served, "g", 500) && !gx_served_has(&served, "g", 700));
        gx_served_restart(&served, round == 0);
    }
    gx_served_end(&served);
}
END_TEST

START_TEST(expunged_ids_stay_refused_in_a_new_gallery_of_the_same_name)
{
    const char *record[] = {"photo-00000500"};
    uint64_t n;
    begin();
    gx_served_ok(expunge(GX_CLIENT_RECORD, record, 1, 1, false, NULL));
    gx_served_refused(gx_client_gallery_delete(served.client, "g", ROWS, &n), GX_E_COUNT);
    gx_served_ok(gx_client_gallery_delete(served.client, "g", ROWS - 1, &n));
    ck_assert_uint_eq(n, ROWS - 1);
    struct gx_client_gallery gone;
    gx_served_refused(gx_client_gallery_get(served.client, "g", &gone), GX_E_NOT_FOUND);
    gx_served_create(&served, "g", "flat");
    gx_served_refused(gx_served_insert(served.client, &served.people, "g", 500, 1, NULL, NULL), GX_E_EXPUNGED);
    gx_served_ok(gx_served_insert(served.client, &served.people, "g", 501, 10, NULL, NULL));
    gx_served_restart(&served, false);
    ck_assert_uint_eq(gx_served_records(&served, "g"), 10);
    gx_served_refused(gx_served_insert(served.client, &served.people, "g", 500, 1, NULL, NULL), GX_E_EXPUNGED);
    gx_served_end(&served);
}
END_TEST

START_TEST(subject_and_arrest_and_record_each_remove_exactly_theirs)
{
    char subject[GX_PEOPLE_ID_MAX];
    const char *ids[] = {subject};
    struct gx_people_photo photo;
    uint64_t first, first_arrest, n_arrest;
    uint32_t n;
    begin();
    gx_people_row(&served.people, 300, NULL, &photo);
    gx_people_subject_id(photo.person, subject);
    gx_people_rows_of(&served.people, photo.person, &first, &n);
    gx_served_ok(expunge(GX_CLIENT_SUBJECT, ids, 1, n, false, NULL));
    ck_assert_uint_eq(ticket.kind, GX_CLIENT_SUBJECT);
    gx_served_expunge_arrest(&served, "g", 800, &first_arrest, &n_arrest, &ticket);
    for (uint64_t row = 0; row < ROWS; row++) {
        bool gone = (row >= first && row < first + n) || (row >= first_arrest && row < first_arrest + n_arrest);
        ck_assert_msg(gx_served_has(&served, "g", row) == !gone, "row %d", (int)row);
        if (row % 50 == 0 || gone)
            ck_assert(gx_served_finds(&served, "g", row, 1000) == !gone);
    }
    gx_served_end(&served);
}
END_TEST

START_TEST(order_out_of_range_is_refused)
{
    const char *twice[] = {"photo-00000001", "photo-00000001"};
    begin();
    gx_served_refused(expunge(GX_CLIENT_RECORD, twice, 2, -1, false, NULL), GX_E_INVALID);
    gx_served_refused(expunge(GX_CLIENT_RECORD, twice, 0, -1, false, NULL), GX_E_INVALID);
    gx_served_refused(expunge((enum gx_client_id_kind)9, twice, 1, -1, false, NULL), GX_E_INVALID);
    gx_served_refused(gx_client_expunge(served.client, "g", GX_CLIENT_RECORD, twice, 1, "", -1, false, NULL, &ticket),
                      GX_E_INVALID);
    gx_served_refused(gx_client_expunge(served.client, "h", GX_CLIENT_RECORD, twice, 1, "x", -1, false, NULL, &ticket),
                      GX_E_NOT_FOUND);
    gx_served_refused(gx_client_ticket_get(served.client, "T-00000009", &ticket), GX_E_NOT_FOUND);
    gx_served_refused(gx_client_ticket_get(served.client, "nonsense", &ticket), GX_E_INVALID);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS);
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- tickets */

static bool note_ticket(void *user, const struct gx_client_ticket *now)
{
    struct gx_client_ticket *last = user;
    ck_assert_int_ge((int)now->state, (int)last->state);
    ck_assert_int_ge(now->unindexed_at_us, last->unindexed_at_us);
    *last = *now;
    return true;
}

START_TEST(ticket_tells_what_has_been_reached_and_stays_on_record)
{
    struct gx_client_ticket first, last = {0};
    uint64_t from, n;
    begin();
    gx_served_expunge_arrest(&served, "g", 100, &from, &n, &first);
    ck_assert_int_eq(first.state, GX_CLIENT_TICKET_ACCEPTED);
    ck_assert_str_eq(first.gallery, "g");
    ck_assert_str_eq(first.order_ref, "order 2026-1");
    ck_assert_int_gt(first.accepted_at_us, 0);
    gx_served_ok(gx_client_ticket_watch(served.client, first.ticket_id, 0, note_ticket, &last));
    ck_assert_str_eq(last.ticket_id, first.ticket_id);
    ck_assert_int_eq(last.state, GX_CLIENT_TICKET_VERIFIED);
    ck_assert_int_ge(last.unindexed_at_us, first.accepted_at_us);
    ck_assert_uint_eq(last.records, n);
    gx_served_restart(&served, true);
    gx_served_ok(gx_client_ticket_get(served.client, first.ticket_id, &ticket));
    ck_assert_int_eq(ticket.unindexed_at_us, last.unindexed_at_us);
    ck_assert_int_eq(ticket.accepted_at_us, first.accepted_at_us);
    /* Watched when nothing more can come: told once, and over. */
    last = (struct gx_client_ticket){0};
    gx_served_ok(gx_client_ticket_watch(served.client, first.ticket_id, 0, note_ticket, &last));
    ck_assert_str_eq(last.ticket_id, first.ticket_id);
    gx_served_refused(gx_client_ticket_watch(served.client, "T-00000777", 0, note_ticket, &last), GX_E_NOT_FOUND);
    gx_served_end(&served);
}
END_TEST

START_TEST(tickets_are_listed_newest_first_in_pages_and_by_gallery)
{
    enum { N = 25 };
    char ids[N][33], token[64] = "";
    size_t seen = 0;
    begin();
    gx_served_create(&served, "h", "flat");
    for (uint64_t i = 0; i < N; i++) {
        char id[GX_PEOPLE_ID_MAX];
        const char *list[] = {id};
        gx_people_record_id(i, id);
        gx_served_ok(gx_client_expunge(served.client, i % 5 == 0 ? "h" : "g", GX_CLIENT_RECORD, list, 1, "o", -1, false,
                                       NULL, &ticket));
        memcpy(ids[i], ticket.ticket_id, sizeof(ids[i]));
        ck_assert_uint_eq(ticket.records, i % 5 == 0 ? 0 : 1);
    }
    do {
        struct gx_client_tickets *page;
        gx_served_ok(gx_client_ticket_list(served.client, NULL, 4, token, &page));
        ck_assert_uint_le(page->n_tickets, 4);
        for (size_t i = 0; i < page->n_tickets; i++)
            ck_assert_str_eq(page->tickets[i].ticket_id, ids[N - 1 - seen++]);
        (void)snprintf(token, sizeof(token), "%s", page->next_page_token);
        gx_client_tickets_free(page);
    } while (token[0] != '\0');
    ck_assert_uint_eq(seen, N);
    ck_assert_uint_eq(count_tickets("h"), 5);
    ck_assert_uint_eq(count_tickets("g"), 20);
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- beside searches */

static atomic_uint_least64_t gone_below; /* the records of these rows were expunged, and that was acknowledged */
static atomic_bool over;
static atomic_uint_least64_t n_searches;

static void *search_on(void *arg)
{
    gx_client *client = gx_served_open_client(&served, 0);
    struct gx_client_search how = {.k = 200, .exact = arg != NULL};
    while (!atomic_load(&over)) {
        uint64_t gone = atomic_load(&gone_below);
        struct gx_client_result *r;
        gx_served_ok(gx_served_search(client, &served.people, "g", gone, &how, &r));
        for (size_t i = 0; i < r->answers[0].n_candidates; i++)
            ck_assert_uint_ge(gx_served_row_of(r->answers[0].candidates[i].record_id), gone);
        gx_client_result_free(r);
        atomic_fetch_add(&n_searches, 1);
    }
    gx_client_close(client);
    return NULL;
}

START_TEST(search_that_begins_after_the_acknowledgement_does_not_return_the_record)
{
    pthread_t threads[2];
    begin();
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, search_on, i == 0 ? NULL : &over), 0);
    for (uint64_t row = 0; row < 300; row++) {
        char id[GX_PEOPLE_ID_MAX];
        const char *ids[] = {id};
        gx_people_record_id(row, id);
        gx_served_ok(expunge(GX_CLIENT_RECORD, ids, 1, 1, false, NULL));
        atomic_store(&gone_below, row + 1);
    }
    gx_served_wait_until(atomic_load(&n_searches) > 100);
    atomic_store(&over, true);
    for (size_t i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    (void)gx_served_await_verified(&served, ticket.ticket_id);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {nothing_is_removed_when_the_count_is_not_the_expected_one, 0},
        {validate_only_counts_and_changes_nothing, 0},
        {ids_that_match_nothing_are_counted_and_can_not_be_enrolled_later, 0},
        {same_request_is_the_same_expungement_and_another_under_its_id_is_refused, 0},
        {expunged_record_and_arrest_can_not_be_enrolled_again, 0},
        {expunged_ids_stay_refused_in_a_new_gallery_of_the_same_name, 0},
        {subject_and_arrest_and_record_each_remove_exactly_theirs, 0},
        {order_out_of_range_is_refused, 0},
        {ticket_tells_what_has_been_reached_and_stays_on_record, 0},
        {tickets_are_listed_newest_first_in_pages_and_by_gallery, 0},
        {search_that_begins_after_the_acknowledgement_does_not_return_the_record, 0},
    };
    return gx_served_run("expunge", tests, sizeof(tests) / sizeof(tests[0]));
}
