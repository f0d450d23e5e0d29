/* The server dies at each step that matters; the next start has all that was acknowledged and finishes what was
 * begun. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "served.h"

#define DIM   32
#define ROWS  1000 /* enrolled before */
#define BATCH 8
#define OPS   60 /* at most; by then each point was passed five times, or will be by what was acknowledged */

/* What an expungement has reached when the server dies during it. */
enum reached { NOTHING, LEDGER, STORE };

static const struct point {
    const char *name;
    enum reached reached;
    bool acknowledged; /* the server dies in what comes after the acknowledgement */
} points[] = {
    {"writer.before_commit", LEDGER, false},          {"writer.after_commit", STORE, false},
    {"expunge.before_ledger", NOTHING, false},        {"expunge.after_ledger", LEDGER, false},
    {"expunge.before_acknowledgement", STORE, false}, {"erase.before_wipe", STORE, true},
};
#define POINTS ((int)(sizeof(points) / sizeof(points[0])))
static const int passages[] = {1, 2, 5};
#define PASSAGES 3

static struct gx_served served;

/* Operation i enrols a batch; every third expunges the first record of an earlier one. */
static bool is_expungement(int i)
{
    return i % 3 == 2;
}

static uint64_t batch_row(int i)
{
    return ROWS + (uint64_t)i * BATCH;
}

static enum gx_status operate(int i)
{
    if (!is_expungement(i))
        return gx_served_insert(served.client, &served.people, "g", batch_row(i), BATCH, NULL, NULL);
    char id[GX_PEOPLE_ID_MAX];
    const char *ids[] = {id};
    struct gx_client_ticket ticket;
    gx_people_record_id(batch_row(i - 1), id);
    return gx_client_expunge(served.client, "g", GX_CLIENT_RECORD, ids, 1, "order", 1, false, NULL, &ticket);
}

static size_t count_batch(int i)
{
    size_t n = 0;
    for (uint64_t row = batch_row(i); row < batch_row(i) + BATCH; row++)
        n += gx_served_has(&served, "g", row);
    return n;
}

/* Operations [0, n) were acknowledged; operation n was not, and *@out_done says whether it was done. @own: it was this
 * operation, not the keeper's work behind an earlier one, during which the server died. */
static void check_operations(int n, const struct point *point, bool own, bool *out_done)
{
    for (int i = 0; i < n; i++) {
        if (is_expungement(i))
            continue;
        bool expunged = i % 3 == 1 && i + 1 < n;
        bool pending = i % 3 == 1 && i + 1 == n;
        size_t there = count_batch(i);
        ck_assert_msg(pending || there == (size_t)(expunged ? BATCH - 1 : BATCH), "operation %d: %zu records", i,
                      there);
        if (expunged) {
            ck_assert(!gx_served_has(&served, "g", batch_row(i)));
            ck_assert(!gx_served_finds(&served, "g", batch_row(i), 1000));
        }
    }
    if (is_expungement(n)) {
        *out_done = !gx_served_has(&served, "g", batch_row(n - 1));
        ck_assert_msg(!own || *out_done == (point->reached != NOTHING), "an expungement that reached %s the ledger",
                      point->reached == NOTHING ? "not even" : "at least");
        return;
    }
    size_t there = count_batch(n);
    ck_assert(there == 0 || there == BATCH);
    *out_done = there == BATCH;
    if (own)
        ck_assert_msg(*out_done == (point->reached == STORE), "an enrolment that died at %s", point->name);
}

static void check_tickets(size_t n_expected)
{
    struct gx_client_tickets *list;
    gx_served_ok(gx_client_ticket_list(served.client, NULL, 1000, NULL, &list));
    ck_assert_uint_eq(list->n_tickets, n_expected);
    for (size_t i = 0; i < list->n_tickets; i++) {
        ck_assert_uint_eq(list->tickets[i].records, 1);
        (void)gx_served_await_verified(&served, list->tickets[i].ticket_id);
    }
    gx_client_tickets_free(list);
}

/* How many operations were acknowledged before the server died. The keeper takes tickets together, at its own pace: it
 * may come to the point after the last operation. */
static int operate_until_it_dies(const struct point *point)
{
    struct gx_server_exit how;
    int n = 0;
    enum gx_status status = GX_OK;
    while (n < OPS && (status = operate(n)) == GX_OK)
        n++;
    ck_assert_msg(n < OPS || point->acknowledged, "the server was never killed");
    ck_assert_msg(n == OPS || status == GX_E_UNAVAILABLE, "%d %s", (int)status, gx_client_error());
    gx_server_wait_end(&served.server, &how);
    ck_assert_int_eq(how.code, -SIGKILL);
    return n;
}

START_TEST(death_at_any_step_loses_nothing_acknowledged_and_leaves_nothing_half_done)
{
    const struct point *point = &points[_i / PASSAGES];
    int passage = passages[_i % PASSAGES];
    char setting[80];
    bool done;
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", passage == 1 || gx_served_flat_only() ? "flat" : "faiss:IVF16,SQ8");
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", NULL);
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);

    (void)snprintf(setting, sizeof(setting), "INDEXD_FAILPOINT=%s:%d", point->name, passage);
    served.server.environment[0] = setting;
    gx_server_start(&served.server);
    gx_served_connect(&served);
    int n = operate_until_it_dies(point);
    served.server.environment[0] = NULL;

    gx_server_start(&served.server);
    gx_served_connect(&served);
    /* The writer also writes what the keeper says, from the first expungement on. */
    bool own = !point->acknowledged && (passage < 3 || strncmp(point->name, "writer", 6) != 0);
    check_operations(n, point, own, &done);
    size_t expunged = (size_t)n / 3 + (is_expungement(n) && done ? 1 : 0);
    check_tickets(expunged);
    uint64_t records = gx_served_records(&served, "g");
    ck_assert_uint_eq(records,
                      ROWS + (uint64_t)(n - n / 3) * BATCH + (!is_expungement(n) && done ? BATCH : 0) - expunged);

    /* It goes on from there: what was not done is done now, what was expunged stays out. */
    if (!done)
        gx_served_ok(operate(n));
    for (int i = n + 1; i < n + 7; i++)
        gx_served_ok(operate(i));
    for (int i = 2; i < n + 7; i += 3)
        gx_served_refused(gx_served_insert(served.client, &served.people, "g", batch_row(i - 1), BATCH, NULL, NULL),
                          GX_E_EXPUNGED);
    gx_served_restart(&served, true);
    bool back = false;
    for (int i = 2; i < n + 7; i += 3)
        back = back || gx_served_has(&served, "g", batch_row(i - 1));
    ck_assert(!back);
    gx_served_end(&served);
}
END_TEST

/* One server run that dies at @name, and the next one. */
static void start_to_die_at(const char *name, char setting[80])
{
    (void)snprintf(setting, 80, "INDEXD_FAILPOINT=%s:1", name);
    served.server.environment[0] = setting;
    gx_served_restart(&served, true);
}

static void await_death(void)
{
    struct gx_server_exit how;
    gx_server_wait_end(&served.server, &how);
    ck_assert_int_eq(how.code, -SIGKILL);
    served.server.environment[0] = NULL;
    gx_server_start(&served.server);
    gx_served_connect(&served);
}

static const char *const order_points[] = {"expunge.before_ledger", "expunge.after_ledger", "writer.before_commit",
                                           "writer.after_commit", "expunge.before_acknowledgement"};
#define ORDER_POINTS ((int)(sizeof(order_points) / sizeof(order_points[0])))

START_TEST(order_that_is_repeated_after_a_death_gets_one_ticket)
{
    char setting[80], id[GX_PEOPLE_ID_MAX];
    const char *ids[] = {id, "nobody"};
    struct gx_client_ticket ticket;
    struct gx_client_tickets *list;
    gx_people_record_id(7, id);
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", 100);
    start_to_die_at(order_points[_i], setting);
    gx_served_refused(
        gx_client_expunge(served.client, "g", GX_CLIENT_RECORD, ids, 2, "order", 1, false, "request-1", &ticket),
        GX_E_UNAVAILABLE);
    await_death();
    for (int again = 0; again < 2; again++) {
        gx_served_ok(
            gx_client_expunge(served.client, "g", GX_CLIENT_RECORD, ids, 2, "order", 1, false, "request-1", &ticket));
        ck_assert_str_eq(ticket.ticket_id, "T-00000001");
        ck_assert_uint_eq(ticket.records, 1);
        ck_assert_uint_eq(ticket.unmatched_ids, 1);
        gx_served_ok(gx_client_ticket_list(served.client, NULL, 1000, NULL, &list));
        ck_assert_uint_eq(list->n_tickets, 1);
        gx_client_tickets_free(list);
        gx_served_restart(&served, again == 0);
    }
    ck_assert(!gx_served_has(&served, "g", 7));
    ck_assert_uint_eq(gx_served_records(&served, "g"), 99);
    gx_served_end(&served);
}
END_TEST

static const struct {
    const char *name;
    bool gone;
} deletion_points[] = {
    {"delete.before_ledger", false},
    {"delete.after_ledger", true},
    {"writer.before_commit", true},
    {"writer.after_commit", true},
};
#define DELETION_POINTS ((int)(sizeof(deletion_points) / sizeof(deletion_points[0])))

START_TEST(gallery_is_deleted_as_a_whole_or_not_at_all_when_the_server_dies)
{
    char setting[80];
    uint64_t records;
    struct gx_client_gallery_stats stats;
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "flat");
    gx_served_create(&served, "h", "flat");
    gx_served_fill(&served, "g", 100);
    gx_served_fill(&served, "h", 50);
    start_to_die_at(deletion_points[_i].name, setting);
    gx_served_refused(gx_client_gallery_delete(served.client, "g", 100, &records), GX_E_UNAVAILABLE);
    await_death();
    for (int again = 0; again < 2; again++) {
        if (deletion_points[_i].gone) {
            gx_served_refused(gx_client_gallery_stats(served.client, "g", &stats), GX_E_NOT_FOUND);
        } else {
            ck_assert_uint_eq(gx_served_records(&served, "g"), 100);
            ck_assert(gx_served_finds(&served, "g", 7, 1));
        }
        ck_assert_uint_eq(gx_served_records(&served, "h"), 50);
        gx_served_restart(&served, again == 0);
    }
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {death_at_any_step_loses_nothing_acknowledged_and_leaves_nothing_half_done, POINTS * PASSAGES},
        {order_that_is_repeated_after_a_death_gets_one_ticket, ORDER_POINTS},
        {gallery_is_deleted_as_a_whole_or_not_at_all_when_the_server_dies, DELETION_POINTS},
    };
    return gx_served_run("failpoints", tests, sizeof(tests) / sizeof(tests[0]));
}
