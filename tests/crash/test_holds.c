/* The server dies at each step of placing and releasing a legal hold; the next start has what was acknowledged, and
 * what reached the ledger, and the same request gets the same answer. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "served.h"

#define DIM  32
#define ROWS 200
#define OPS  60

static const struct point {
    const char *name;
    bool in_ledger; /* what the server dies in is done */
} points[] = {
    {"hold.before_ledger", false},
    {"hold.after_ledger", true},
    {"writer.before_commit", true},
    {"writer.after_commit", true},
};
#define POINTS ((int)(sizeof(points) / sizeof(points[0])))

static const int passages[] = {1, 2, 5, 12};
#define PASSAGES ((int)(sizeof(passages) / sizeof(passages[0])))

static struct gx_served served;

/* Operation i is about record i / 2: it is put into quarantine, then, of every other record, released again. */
static bool is_release(int i)
{
    return i % 2 == 1;
}

static bool is_void(int i)
{
    return is_release(i) && i % 4 == 3; /* this record stays quarantined */
}

static enum gx_status operate(int i, struct gx_client_hold_change *out)
{
    char text[GX_PEOPLE_ID_MAX], request[16];
    const char *id = text;
    gx_people_record_id((uint64_t)i / 2, text);
    (void)snprintf(request, sizeof(request), "r%d", i);
    if (is_release(i))
        return gx_client_hold_release(served.client, "g", GX_CLIENT_RECORD, &id, 1, "case", request, out);
    return gx_client_hold_place(served.client, "g", GX_CLIENT_RECORD, &id, 1, "case", true, request, out);
}

static int next_operation(int i)
{
    return is_void(i + 1) ? i + 2 : i + 1;
}

static bool is_held(uint64_t row)
{
    char text[GX_PEOPLE_ID_MAX];
    struct gx_client_holds *list;
    gx_people_record_id(row, text);
    gx_served_ok(gx_client_hold_list(served.client, "g", "case", GX_CLIENT_RECORD, text, 0, NULL, &list));
    bool held = list->n_holds == 1;
    gx_client_holds_free(list);
    return held;
}

/* Operations below @n are done. */
static void check_done(int n)
{
    for (int row = 0; row < OPS / 2; row++) {
        bool placed = 2 * row < n, released = !is_void(2 * row + 1) && 2 * row + 1 < n;
        ck_assert_msg(is_held((uint64_t)row) == (placed && !released), "record %d after %d operations", row, n);
        ck_assert(gx_served_finds(&served, "g", (uint64_t)row, ROWS) == !(placed && !released));
    }
}

START_TEST(death_at_any_step_of_a_hold_leaves_it_done_or_not_begun)
{
    const struct point *point = &points[_i / PASSAGES];
    struct gx_client_hold_change change;
    struct gx_server_exit how;
    char setting[80];
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", ROWS);
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);

    (void)snprintf(setting, sizeof(setting), "INDEXD_FAILPOINT=%s:%d", point->name, passages[_i % PASSAGES]);
    served.server.environment[0] = setting;
    gx_server_start(&served.server);
    gx_served_connect(&served);
    int i = 0;
    enum gx_status status = GX_OK;
    while (i < OPS && (status = operate(i, &change)) == GX_OK)
        i = next_operation(i);
    ck_assert_msg(i < OPS && status == GX_E_UNAVAILABLE, "%d %s", (int)status, gx_client_error());
    gx_server_wait_end(&served.server, &how);
    ck_assert_int_eq(how.code, -SIGKILL);
    served.server.environment[0] = NULL;

    gx_server_start(&served.server);
    gx_served_connect(&served);
    check_done(point->in_ledger ? i + 1 : i);
    for (int times = 0; times < 2; times++) { /* asked again, it is what it was or would have been */
        gx_served_ok(operate(i, &change));
        ck_assert_uint_eq(change.ids, 1);
        ck_assert_uint_eq(change.unchanged_ids, 0);
    }
    check_done(i + 1);
    i = next_operation(i);
    for (int end = i + 6; i < end; i = next_operation(i))
        gx_served_ok(operate(i, &change));
    gx_served_restart(&served, false);
    check_done(i);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {death_at_any_step_of_a_hold_leaves_it_done_or_not_begun, POINTS * PASSAGES},
    };
    return gx_served_run("holds", tests, sizeof(tests) / sizeof(tests[0]));
}
