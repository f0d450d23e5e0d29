/* Backups and what is restored from them, by the real programs. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "served.h"

#define DIM  32
#define ROWS 1000

static struct gx_served served;
static char place[160], new_data[128], printed[16384];

static void begin(const char *settings)
{
    gx_served_begin(&served, DIM, settings);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", ROWS);
    (void)snprintf(place, sizeof(place), "%s/backup", served.server.base);
    (void)snprintf(new_data, sizeof(new_data), "%s/restored", served.server.base);
}

static bool exists(const char *dir, const char *name)
{
    char path[300];
    (void)snprintf(path, sizeof(path), "%s%s", dir, name);
    return access(path, F_OK) == 0;
}

static void expunge(uint64_t row, struct gx_client_ticket *out)
{
    char id[GX_PEOPLE_ID_MAX];
    const char *ids[] = {id};
    gx_people_record_id(row, id);
    gx_served_ok(gx_client_expunge(served.client, "g", GX_CLIENT_RECORD, ids, 1, "order", 1, false, NULL, out));
}

static bool until_verified(void *user, const struct gx_client_ticket *ticket)
{
    *(struct gx_client_ticket *)user = *ticket;
    return ticket->state != GX_CLIENT_TICKET_VERIFIED;
}

static struct gx_client_ticket await_verified(const char *id)
{
    struct gx_client_ticket ticket;
    gx_served_ok(gx_client_ticket_watch(served.client, id, INT64_C(60000000), until_verified, &ticket));
    ck_assert_int_eq(ticket.state, GX_CLIENT_TICKET_VERIFIED);
    return ticket;
}

static struct gx_client_certificate *certificate_of(const char *ticket)
{
    struct gx_client_certificate *c;
    void *bytes;
    size_t len;
    char *key;
    gx_served_ok(gx_client_certificate_get(served.client, ticket, &bytes, &len, &key));
    gx_served_ok(gx_client_certificate_verify(bytes, len, key, strlen(key), &c));
    free(bytes);
    free(key);
    return c;
}

/* --- under load, and restored --- */

static atomic_bool stop_load;
static atomic_uint_least64_t n_loaded; /* rows from ROWS on that were acknowledged */

static void *load(void *arg)
{
    gx_client *client = arg;
    for (uint64_t i = 0; i < 5000 && !atomic_load(&stop_load); i += 10) {
        gx_served_ok(gx_served_insert(client, &served.people, "g", ROWS + i, 10, NULL, NULL));
        atomic_store(&n_loaded, i + 10);
    }
    return NULL;
}

struct news {
    unsigned n;
    uint64_t bytes_done;
};

static bool on_news(void *user, const char *stage, uint64_t bytes_done, uint64_t bytes_total)
{
    struct news *news = user;
    ck_assert(strcmp(stage, "waiting") == 0 || strcmp(stage, "copying") == 0 || strcmp(stage, "finishing") == 0);
    ck_assert_uint_le(bytes_done, bytes_total);
    ck_assert_uint_ge(bytes_done, news->bytes_done);
    news->bytes_done = bytes_done;
    news->n++;
    return true;
}

static void restore(const char *ledger)
{
    struct gx_server_exit end;
    const char *with[] = {"restore", "--from", place, "--data", new_data, "--ledger", ledger, NULL};
    if (ledger == NULL)
        with[5] = NULL;
    gx_server_command(&served.server, with, &end);
    ck_assert_msg(end.code == 0, "indexd restore: %d %s", end.code, end.text);
    ck_assert_msg((ledger == NULL) == (strstr(end.text, "not known") != NULL), "%s", end.text);
    (void)snprintf(served.server.data, sizeof(served.server.data), "%s", new_data);
}

START_TEST(a_backup_under_load_is_restored_without_what_was_expunged_since)
{
    pthread_t thread;
    struct gx_client_backup_info backup;
    struct gx_client_ticket ticket;
    struct news news = {0};
    char ledger[200];
    begin(NULL);
    gx_client *loader = gx_served_open_client(&served, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, load, loader), 0);
    gx_served_wait_until(atomic_load(&n_loaded) >= 50);
    uint64_t before = atomic_load(&n_loaded);
    gx_served_ok(gx_client_backup_create(served.client, place, 0, on_news, &news, &backup));
    atomic_store(&stop_load, true);
    pthread_join(thread, NULL);
    gx_client_close(loader);
    ck_assert_str_eq(backup.backup_id, "B-00000001");
    ck_assert_int_eq(backup.state, GX_CLIENT_BACKUP_COMPLETE);
    ck_assert_uint_gt(backup.bytes, ROWS * DIM * sizeof(float));
    ck_assert_uint_ge(news.n, 3);

    expunge(7, &ticket);
    ticket = await_verified(ticket.ticket_id);
    ck_assert_str_eq(ticket.backups, "B-00000001");
    ck_assert_uint_eq(ticket.n_backups, 1);
    struct gx_client_certificate *old = certificate_of(ticket.ticket_id), *new;
    ck_assert_uint_eq(old->n_backups, 1);
    ck_assert_str_eq(old->backups[0].id, "B-00000001");

    (void)snprintf(ledger, sizeof(ledger), "%s/expunge.log", served.server.data);
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
    restore(ledger);
    gx_server_start(&served.server);
    gx_served_connect(&served);
    ck_assert(!gx_served_has(&served, "g", 7));
    ck_assert(!gx_served_finds(&served, "g", 7, 100));
    for (uint64_t row = 0; row < ROWS + before; row += 13)
        ck_assert_msg(row == 7 || gx_served_has(&served, "g", row), "row %llu", (unsigned long long)row);
    gx_served_refused(gx_served_insert(served.client, &served.people, "g", 7, 1, NULL, NULL), GX_E_EXPUNGED);
    ticket = await_verified(ticket.ticket_id);
    ck_assert_str_eq(ticket.backups, "B-00000001");
    new = certificate_of(ticket.ticket_id);
    ck_assert_msg(gx_client_certificate_follows(new, old) == GX_OK, "%s", gx_client_error());
    gx_client_certificate_free(new);
    gx_client_certificate_free(old);
    gx_served_ok(gx_client_backup_delete(served.client, "B-00000001", false, NULL));
    ck_assert(!exists(place, ""));
    gx_served_ok(gx_client_ticket_get(served.client, "T-00000001", &ticket));
    ck_assert_str_eq(ticket.backups, "");
    gx_served_end(&served);
}
END_TEST

/* Whoever restores without the ledger is told what that means. */
START_TEST(without_the_ledger_a_restore_warns)
{
    struct gx_client_backup_info backup;
    struct gx_client_ticket ticket;
    begin(NULL);
    gx_served_ok(gx_client_backup_create(served.client, place, 0, NULL, NULL, &backup));
    expunge(7, &ticket);
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
    restore(NULL);
    gx_server_start(&served.server);
    gx_served_connect(&served);
    ck_assert(gx_served_has(&served, "g", 7));
    gx_served_end(&served);
}
END_TEST

/* --- broken off --- */

static bool enough(void *user, const char *stage, uint64_t bytes_done, uint64_t bytes_total)
{
    (void)user;
    (void)bytes_total;
    return strcmp(stage, "copying") != 0 || bytes_done == 0;
}

static size_t n_listed(bool with_gone, struct gx_client_backup_info *out)
{
    struct gx_client_backup_info *list;
    size_t n;
    gx_served_ok(gx_client_backup_list(served.client, with_gone, &list, &n));
    if (n > 0 && out != NULL)
        *out = list[0];
    free(list);
    return n;
}

START_TEST(a_client_that_goes_away_leaves_no_backup)
{
    struct gx_client_backup_info backup;
    begin("[store]\nrate_limit = 1\n"); /* slow enough to be in its midst */
    for (uint64_t row = ROWS; row < 9000; row += 1000)
        gx_served_ok(gx_served_insert(served.client, &served.people, "g", row, 1000, NULL, NULL));
    gx_served_refused(gx_client_backup_create(served.client, place, 0, enough, NULL, &backup), GX_E_CANCELLED);
    gx_served_wait_until(n_listed(false, NULL) == 0);
    ck_assert_uint_eq(n_listed(true, &backup), 1);
    ck_assert_int_eq(backup.state, GX_CLIENT_BACKUP_GONE);
    ck_assert(!exists(place, "") && !exists(place, ".tmp") && !exists(served.server.data, "/backup.tmp"));
    gx_served_end(&served);
}
END_TEST

static void *back_up(void *arg)
{
    struct gx_client_backup_info backup;
    static enum gx_status status;
    status = gx_client_backup_create(arg, place, 0, NULL, NULL, &backup);
    return &status;
}

START_TEST(a_stop_of_the_server_does_not_wait_for_a_backup)
{
    pthread_t thread;
    void *status;
    begin("[store]\nrate_limit = 1\n");
    for (uint64_t row = ROWS; row < 9000; row += 1000)
        gx_served_ok(gx_served_insert(served.client, &served.people, "g", row, 1000, NULL, NULL));
    gx_client *other = gx_served_open_client(&served, 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, back_up, other), 0);
    gx_served_wait_until(exists(place, ".tmp/store/CURRENT") || exists(place, ""));
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
    ck_assert_int_eq(pthread_join(thread, &status), 0);
    gx_client_close(other);
    enum gx_status ended = *(enum gx_status *)status;
    ck_assert_msg(ended == GX_E_UNAVAILABLE || ended == GX_E_CANCELLED, "%d", (int)ended);
    ck_assert(!exists(place, "") && !exists(place, ".tmp") && !exists(served.server.data, "/backup.tmp"));
    gx_server_start(&served.server);
    gx_served_connect(&served);
    ck_assert_uint_eq(n_listed(false, NULL), 0);
    gx_served_end(&served);
}
END_TEST

/* --- indexctl --- */

static int indexctl(const char *arguments)
{
    char command[1024];
    const char *program = getenv("INDEXCTL_BIN");
    ck_assert_ptr_nonnull(program);
    (void)snprintf(command, sizeof(command), "'%s' --server %s %s 2>&1", program, served.server.address, arguments);
    FILE *pipe = popen(command, "re");
    ck_assert_ptr_nonnull(pipe);
    size_t len = fread(printed, 1, sizeof(printed) - 1, pipe);
    printed[len] = '\0';
    int status = pclose(pipe);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect(enum gx_status status, const char *says, const char *format, const char *operand)
{
    char arguments[400];
    (void)snprintf(arguments, sizeof(arguments), format, operand);
    int got = indexctl(arguments);
    ck_assert_msg(got == (int)status && strstr(printed, says) != NULL, "%s: exit %d, %.300s", arguments, got, printed);
}

START_TEST(indexctl_makes_lists_and_deletes_backups)
{
    struct gx_client_ticket ticket;
    begin(NULL);
    expect(GX_OK, "there are no backups", "backup list", "");
    expect(GX_OK, "B-00000001: ", "backup create %s --expires 30", place);
    ck_assert_ptr_nonnull(strstr(printed, "it expires 20"));
    expect(GX_E_EXISTS, "exists", "backup create %s", place);
    expect(GX_E_INVALID, "absolute path", "backup create %s", "relative");
    expect(GX_E_INVALID, "cannot be in the data directory", "backup create %s/b", served.server.data);
    expect(GX_E_INVALID, "expires", "backup create %s --expires 0", place);
    expect(GX_OK, "COMPLETE", "backup list", "");
    expect(GX_OK, "\"state\":\"COMPLETE\",\"directory\":\"", "--json backup list", "");
    expunge(3, &ticket);
    (void)await_verified(ticket.ticket_id);
    expect(GX_OK, "B-00000001", "ticket show %s", ticket.ticket_id);
    expect(GX_OK, "\"backups\":[\"B-00000001\"]", "--json ticket show %s", ticket.ticket_id);
    expect(GX_OK, "B-00000001", "certificate show %s", ticket.ticket_id);
    expect(GX_E_INVALID, "B-00000003", "backup delete %s", "one");
    expect(GX_E_NOT_FOUND, "no such backup", "backup delete %s", "B-00000009");
    expect(GX_OK, "is gone", "backup delete %s", "B-00000001");
    expect(GX_OK, "there are no backups", "backup list", "");
    expect(GX_OK, "GONE", "backup list --all", "");
    expect(GX_OK, "\"backups\":[]", "--json ticket show %s", ticket.ticket_id);
    gx_served_end(&served);
}
END_TEST

START_TEST(the_command_restore_says_what_is_wrong)
{
    static const char *const without[] = {"restore", "--data", "/tmp/x", NULL};
    struct gx_server_exit end;
    begin(NULL);
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
    gx_server_command(&served.server, without, &end);
    ck_assert_int_eq(end.code, GX_E_INVALID);
    ck_assert_ptr_nonnull(strstr(end.text, "--from"));
    const char *const nothing[] = {"restore", "--from", place, "--data", new_data, NULL};
    gx_server_command(&served.server, nothing, &end);
    ck_assert_int_eq(end.code, GX_E_NOT_FOUND);
    const char *const same[] = {"restore", "--from", place, "--data", served.server.data, NULL};
    gx_server_command(&served.server, same, &end);
    ck_assert_int_eq(end.code, GX_E_EXISTS);
    ck_assert_uint_eq(end.lines, 1);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {a_backup_under_load_is_restored_without_what_was_expunged_since, 0},
        {without_the_ledger_a_restore_warns, 0},
        {a_client_that_goes_away_leaves_no_backup, 0},
        {a_stop_of_the_server_does_not_wait_for_a_backup, 0},
        {indexctl_makes_lists_and_deletes_backups, 0},
        {the_command_restore_says_what_is_wrong, 0},
    };
    return gx_served_run("backup", tests, sizeof(tests) / sizeof(tests[0]));
}
