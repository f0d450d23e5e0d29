/* The server dies in the midst of a backup: there is a whole one or none, nothing of it stays in the data directory,
 * and erasures go on. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "served.h"

#define DIM  32
#define ROWS 500

static const struct point {
    const char *name;
    bool complete; /* a backup is there after the next start */
} points[] = {
    {"backup.before_ledger:1", false}, {"backup.after_ledger:1", false}, {"backup.before_links:1", false},
    {"backup.after_links:1", false},   {"backup.in_copies:1", false},    {"backup.in_copies:9", false},
    {"backup.before_rename:1", false}, {"backup.after_rename:1", true},
};
#define POINTS ((int)(sizeof(points) / sizeof(points[0])))

static struct gx_served served;
static char place[160];

static bool exists(const char *dir, const char *name)
{
    char path[300];
    (void)snprintf(path, sizeof(path), "%s%s", dir, name);
    return access(path, F_OK) == 0;
}

static void begin(const char *failpoint, char setting[80])
{
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", ROWS);
    (void)snprintf(place, sizeof(place), "%s/backup", served.server.base);
    (void)snprintf(setting, 80, "INDEXD_FAILPOINT=%s", failpoint);
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

static size_t n_listed(enum gx_client_backup_state state)
{
    struct gx_client_backup_info *list;
    size_t n, found = 0;
    gx_served_ok(gx_client_backup_list(served.client, true, &list, &n));
    for (size_t i = 0; i < n; i++)
        found += list[i].state == state;
    free(list);
    return found;
}

static bool look_at(struct gx_client_ticket *ticket)
{
    char id[sizeof(ticket->ticket_id)];
    memcpy(id, ticket->ticket_id, sizeof(id));
    gx_served_ok(gx_client_ticket_get(served.client, id, ticket));
    return ticket->state == GX_CLIENT_TICKET_VERIFIED;
}

static void expunge(uint64_t row, const char *backups)
{
    char id[GX_PEOPLE_ID_MAX];
    const char *ids[] = {id};
    struct gx_client_ticket ticket;
    gx_people_record_id(row, id);
    gx_served_ok(gx_client_expunge(served.client, "g", GX_CLIENT_RECORD, ids, 1, "order", 1, false, NULL, &ticket));
    gx_served_wait_until(look_at(&ticket));
    ck_assert_str_eq(ticket.backups, backups);
}

START_TEST(death_in_a_backup_leaves_a_whole_one_or_none)
{
    struct gx_client_backup_info backup;
    char setting[80];
    begin(points[_i].name, setting);
    gx_served_refused(gx_client_backup_create(served.client, place, 0, NULL, NULL, &backup), GX_E_UNAVAILABLE);
    await_death();
    ck_assert(!exists(served.server.data, "/backup.tmp"));
    gx_served_wait_until(n_listed(GX_CLIENT_BACKUP_UNFINISHED) == 0);
    ck_assert_uint_eq(n_listed(GX_CLIENT_BACKUP_COMPLETE), points[_i].complete);
    ck_assert_int_eq(exists(place, ""), points[_i].complete);
    expunge(7, points[_i].complete ? "B-00000001" : "");
    if (!points[_i].complete) { /* the same place will do */
        gx_served_ok(gx_client_backup_create(served.client, place, 0, NULL, NULL, &backup));
        ck_assert_int_eq(backup.state, GX_CLIENT_BACKUP_COMPLETE);
    }
    ck_assert(!exists(place, ".tmp"));
    gx_served_end(&served);
}
END_TEST

/* Until the register says so, it does not say that it is gone. */
START_TEST(death_while_a_backup_is_deleted_is_made_good)
{
    struct gx_client_backup_info backup;
    char setting[80];
    begin(_i == 0 ? "backup.after_removal:1" : "backup.after_ledger:2", setting);
    gx_served_ok(gx_client_backup_create(served.client, place, 0, NULL, NULL, &backup));
    gx_served_refused(gx_client_backup_delete(served.client, "B-00000001", false, NULL), GX_E_UNAVAILABLE);
    await_death();
    ck_assert(!exists(place, ""));
    ck_assert_uint_eq(n_listed(GX_CLIENT_BACKUP_GONE), _i == 1); /* the ledger had it */
    gx_served_ok(gx_client_backup_delete(served.client, "B-00000001", false, NULL));
    ck_assert_uint_eq(n_listed(GX_CLIENT_BACKUP_GONE), 1);
    ck_assert(_i == 1 || !exists(place, ".tmp"));
    expunge(7, "");
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {death_in_a_backup_leaves_a_whole_one_or_none, POINTS},
        {death_while_a_backup_is_deleted_is_made_good, 2},
    };
    return gx_served_run("backup", tests, sizeof(tests) / sizeof(tests[0]));
}
