/* An older copy of the data directory is put back under the outer ledger of today: what was expunged since does not
 * come back, is erased from the files of the copy as well, and certified anew; the chain of certificates goes on. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chain.h"
#include "held.h"
#include "served.h"
#include "vec.h"

#define DIM  64
#define ROWS 1200

static struct gx_served served;
static struct gx_chain chain;

static size_t windows_of(uint64_t row)
{
    float values[DIM];
    gx_people_row(&served.people, row, values, NULL);
    ck_assert_int_eq(gx_vec_normalise(values, DIM, values, NULL), GX_OK); /* as the server stores it */
    return gx_held_windows(served.server.data, values, sizeof(values));
}

static void run(const char *format, const char *a, const char *b)
{
    char command[600];
    (void)snprintf(command, sizeof(command), format, a, b);
    ck_assert_msg(system(command) == 0, "%s", command);
}

/* The server does not run. */
static void copy_away(char copy[160])
{
    (void)snprintf(copy, 160, "%s/older", served.server.base);
    run("cp -a '%s' '%s'", served.server.data, copy);
}

static void stop(void)
{
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
}

static void start(void)
{
    gx_server_start(&served.server);
    gx_served_connect(&served);
}

/* Expunges the arrest of @row; the certificate is taken down. */
static void expunge_to_the_end(uint64_t row)
{
    struct gx_client_ticket ticket;
    uint64_t first, n;
    gx_served_expunge_arrest(&served, "g", row, &first, &n, &ticket);
    (void)gx_served_await_verified(&served, ticket.ticket_id);
    gx_chain_collect(&chain, &served);
}

static void check_gone(uint64_t row)
{
    char id[GX_PEOPLE_ID_MAX];
    uint64_t first, n;
    gx_served_arrest_of(&served.people, row, id, &first, &n);
    for (uint64_t i = first; i < first + n; i++)
        ck_assert(!gx_served_has(&served, "g", i) && !gx_served_finds(&served, "g", i, 1000));
    gx_served_refused(gx_served_insert(served.client, &served.people, "g", first, 1, NULL, NULL), GX_E_EXPUNGED);
}

static void check_erased(uint64_t row)
{
    char id[GX_PEOPLE_ID_MAX];
    uint64_t first, n;
    gx_served_arrest_of(&served.people, row, id, &first, &n);
    check_gone(row);
    for (uint64_t i = first; i < first + n; i++)
        ck_assert_uint_eq(windows_of(i), 0);
    ck_assert_uint_eq(gx_held_count(served.server.data, id, strlen(id)), 0);
    ck_assert(gx_served_has(&served, "g", first + n));
    ck_assert_uint_gt(windows_of(first + n), 0);
}

static void await_all(size_t n)
{
    for (size_t i = 1; i <= n; i++) {
        char id[33];
        (void)snprintf(id, sizeof(id), "T-%08u", (unsigned)i);
        (void)gx_served_await_verified(&served, id);
    }
}

static void begin(const char *engine)
{
    memset(&chain, 0, sizeof(chain));
    gx_served_begin(&served, DIM, GX_SERVED_NO_BALLAST);
    gx_served_create(&served, "g", engine);
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", engine);
    expunge_to_the_end(50);
}

static const char *engine_of(int i)
{
    return i == 0 || gx_served_flat_only() ? "flat" : "faiss:IVF8,Flat";
}

static void restore(const char *copy)
{
    char target[160], kept[160];
    (void)snprintf(target, sizeof(target), "%s/expunge.log", served.server.data);
    (void)snprintf(kept, sizeof(kept), "%s/expunge.log", served.server.base);
    run("cp -a '%s' '%s'", target, kept);
    run("rm -r '%s'%s", served.server.data, "");
    run("cp -a '%s' '%s'", copy, served.server.data);
    run("cp -a '%s' '%s'", kept, target);
}

START_TEST(older_copy_with_the_ledger_of_today_is_erased_and_certified_again)
{
    char copy[160];
    begin(engine_of(_i));
    stop();
    copy_away(copy);
    start();
    expunge_to_the_end(300);
    expunge_to_the_end(800);
    gx_chain_check(&chain, 3);
    stop();
    restore(copy);
    ck_assert(windows_of(300) > 0 && windows_of(800) > 0); /* they are back in the files */
    start();
    check_gone(300); /* at once */
    check_gone(800);
    await_all(3);
    gx_chain_collect(&chain, &served);
    gx_chain_check(&chain, 5); /* the two of the copy have another one each */
    for (int round = 0; round < 2; round++) {
        check_erased(50);
        check_erased(300);
        check_erased(800);
        gx_served_restart(&served, round == 0);
    }
    expunge_to_the_end(1000);
    gx_chain_check(&chain, 6);
    gx_chain_free(&chain);
    gx_served_end(&served);
}
END_TEST

/* The copy was made from a server that had died in the middle of an erasure; the same ticket was VERIFIED since. */
START_TEST(copy_from_the_middle_of_an_erasure_is_finished_once_more)
{
    static const char *const points[] = {"erase.before_wipe", "store_erase.after_flush", "stage.before_store:2"};
    char copy[160], setting[80], id[GX_PEOPLE_ID_MAX];
    const char *ids[] = {id};
    uint64_t first, n;
    struct gx_client_ticket ticket;
    struct gx_server_exit how;
    begin(engine_of(_i % 2));
    stop();
    (void)snprintf(setting, sizeof(setting), "INDEXD_FAILPOINT=%s", points[_i]);
    served.server.environment[0] = setting;
    start();
    gx_served_arrest_of(&served.people, 300, id, &first, &n);
    (void)gx_client_expunge(served.client, "g", GX_CLIENT_ARREST, ids, 1, "order 2026-1", (int64_t)n, false, NULL,
                            &ticket);
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_wait_end(&served.server, &how);
    ck_assert_int_eq(how.code, -SIGKILL);
    served.server.environment[0] = NULL;
    copy_away(copy);
    start();
    await_all(2);
    gx_chain_collect(&chain, &served);
    gx_chain_check(&chain, 2);
    expunge_to_the_end(800);
    stop();
    restore(copy);
    start();
    check_gone(300);
    check_gone(800);
    await_all(3);
    gx_chain_collect(&chain, &served);
    gx_chain_check(&chain, 5);
    check_erased(300);
    check_erased(800);
    gx_chain_free(&chain);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {older_copy_with_the_ledger_of_today_is_erased_and_certified_again, 2},
        {copy_from_the_middle_of_an_erasure_is_finished_once_more, 3},
    };
    return gx_served_run("restore", tests, sizeof(tests) / sizeof(tests[0]));
}
