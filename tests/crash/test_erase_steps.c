/* The server dies at each step of an erasure. Right after its death the files are looked at: no stage of a ticket is
 * stamped before its fact. The next start finishes what was begun: every ticket is VERIFIED, the certificates form one
 * chain, nothing of the rows is in any file, and whatever was acknowledged is there. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chain.h"
#include "codec.h"
#include "file.h"
#include "held.h"
#include "ledger.h"
#include "served.h"
#include "store.h"
#include "vec.h"

#define DIM     64
#define ROWS    1200
#define BATCH   8
#define OPS_MAX 20000
#define LATE    9000 /* rows from here on are enrolled while tickets wait */

/* What the files hold of the first order's rows when the server dies. */
enum bytes { THERE, ANY, OUT_OF_STORE, GONE };

static const struct point {
    const char *name;
    enum bytes bytes;
} points[] = {
    {"erase.before_wipe:1", THERE},
    {"erase.after_wipe:1", THERE},
    {"erase.before_drop:1", THERE},
    {"erase.after_index:1", THERE},
    {"erase.before_control:1", THERE},
    {"erase.before_files:1", THERE},
    {"store_erase.before_delete:1", THERE},
    {"store_erase.before_flush:1", THERE},
    {"store_erase.after_flush:1", THERE},
    {"store_erase.between_compactions:1", ANY},
    {"store_erase.between_compactions:2", ANY},
    {"store_erase.between_compactions:4", ANY},
    {"store_erase.after_compaction:1", ANY},
    {"store_erase.before_sync:1", OUT_OF_STORE},
    {"store_erase.after_unlink:1", OUT_OF_STORE},
    {"erase.after_files:1", OUT_OF_STORE},
    {"stage.before_store:1", GONE}, /* ERASED */
    {"stage.before_ledger:1", GONE},
    {"stage.after_ledger:1", GONE},
    {"erase.before_proof:1", GONE},
    {"erase.after_proof:1", GONE},
    {"erase.before_verified:1", GONE},
    {"stage.before_store:2", GONE}, /* VERIFIED */
    {"stage.before_ledger:2", GONE},
    {"stage.after_ledger:2", GONE},
    {"erase.after_verified:1", GONE},
};
#define POINTS ((int)(sizeof(points) / sizeof(points[0])))

static const char *const engines[] = {"flat", "faiss:IVF16,SQ8", "faiss:HNSW8,Flat", "hnsw"};
#define ENGINES 4

/* A row of each order; its whole arrest goes. */
static const uint64_t ordered[] = {100, 600, 1100};
#define ORDERS 3

static struct gx_served served;
static struct order {
    char ticket[40]; /* "" = not acknowledged */
    char arrest[GX_PEOPLE_ID_MAX];
    uint64_t first, n;
} orders[ORDERS];
static size_t n_late; /* rows from LATE on that were acknowledged */

/* ---------------------------------------------------------------- the files */

static size_t windows_of(const char *dir, uint64_t row)
{
    float values[DIM];
    gx_people_row(&served.people, row, values, NULL);
    ck_assert_int_eq(gx_vec_normalise(values, DIM, values, NULL), GX_OK); /* as the server stores it */
    return gx_held_windows(dir, values, sizeof(values));
}

static size_t names_of(const char *dir, uint64_t row)
{
    char id[GX_PEOPLE_ID_MAX];
    gx_people_record_id(row, id);
    return gx_held_count(dir, id, strlen(id));
}

/* Windows of the rows, and their names. */
static size_t count_in(const char *dir, const struct order *o)
{
    size_t n = gx_held_count(dir, o->arrest, strlen(o->arrest));
    for (uint64_t row = o->first; row < o->first + o->n; row++)
        n += windows_of(dir, row) + names_of(dir, row);
    return n;
}

static size_t count_held(const struct order *o)
{
    return count_in(served.server.data, o);
}

static void check_held(const struct point *point)
{
    char store[140];
    (void)snprintf(store, sizeof(store), "%s/store", served.server.data);
    size_t held = count_held(&orders[0]), in_store = count_in(store, &orders[0]);
    ck_assert_msg(point->bytes != THERE || in_store > 0, "%s: gone already", point->name);
    ck_assert_msg(point->bytes < OUT_OF_STORE || in_store == 0, "%s: %zu pieces in the store", point->name, in_store);
    ck_assert_msg(point->bytes < GONE || held == 0, "%s: %zu pieces in the files", point->name, held);
}

/* ---------------------------------------------------------------- what the store says, in a copy of it */

struct inside {
    struct gx_store *store;
    struct gx_arena arena;
    size_t n_tickets, n_verified;
    uint64_t serial, ledger_serial;
};

static enum gx_status ignore_entry(void *arg, const struct gx_ledger_entry *entry, struct gx_err *err)
{
    (void)arg;
    (void)entry;
    (void)err;
    return GX_OK;
}

static bool has_certificate(struct inside *in, uint64_t number)
{
    uint8_t key[GX_KEY_CERTIFICATE_LEN];
    struct gx_slice value;
    struct gx_err err;
    gx_codec_key_certificate(number, key);
    return gx_store_get(in->store, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)}, &in->arena, &value, &err) ==
           GX_OK;
}

/* No time without its fact, no fact out of order. */
static void check_facts(struct inside *in, const struct gx_ticket *t)
{
    bool erased = t->state == GX_TICKET_ERASED || t->state == GX_TICKET_VERIFIED;
    bool verified = t->state == GX_TICKET_VERIFIED;
    const int64_t times[] = {t->accepted_at_us, t->flushed_at_us, t->compacted_at_us,
                             t->unlinked_at_us, t->erased_at_us,  t->verified_at_us};
    ck_assert_int_ne(t->state, GX_TICKET_FAILED);
    ck_assert_int_gt(t->accepted_at_us, 0);
    ck_assert(erased == (t->unlinked_at_us != 0) && erased == (t->erased_at_us != 0));
    ck_assert(!erased || (t->unindexed_at_us != 0 && t->unindexed_at_us <= t->erased_at_us));
    ck_assert(verified == (t->verified_at_us != 0) && verified == (t->certificate != 0) &&
              verified == has_certificate(in, t->number) && verified == (t->method != GX_TICKET_UNCHECKED));
    for (size_t i = 1; i < sizeof(times) / sizeof(times[0]); i++)
        ck_assert(times[i] == 0 || (times[i - 1] != 0 && times[i - 1] <= times[i]));
    if (erased)
        ck_assert_uint_eq(count_held(&orders[t->number - 1]), 0); /* in the directory as the server left it */
}

static void look_at_tickets(struct inside *in)
{
    const struct gx_slice none = {NULL, 0};
    struct gx_store_iter *iter;
    struct gx_slice key, value;
    struct gx_ticket ticket;
    struct gx_err err;
    bool found;
    ck_assert_int_eq(gx_store_iter_begin(in->store, GX_CF_LEDGER, none, none, false, &iter, &err), GX_OK);
    while (gx_store_iter_next(iter, &found, &key, &value, &err) == GX_OK && found) {
        ck_assert_int_eq(gx_codec_ticket_decode(value, &in->arena, &ticket, &err), GX_OK);
        ck_assert_uint_eq(ticket.number, ++in->n_tickets);
        check_facts(in, &ticket);
        in->n_verified += ticket.state == GX_TICKET_VERIFIED;
    }
    gx_store_iter_end(iter);
}

static void look_at_chain(struct inside *in, const char *copy)
{
    struct gx_slice value;
    struct gx_digest digest;
    struct gx_ledger *ledger;
    struct gx_err err;
    char path[160];
    bool torn;
    if (gx_store_get(in->store, GX_CF_DEFAULT, gx_codec_key_chain_end(), &in->arena, &value, &err) == GX_OK)
        ck_assert_int_eq(gx_codec_chain_end_decode(value, &in->serial, &digest, &err), GX_OK);
    (void)snprintf(path, sizeof(path), "%s/expunge.log", copy);
    ck_assert_msg(gx_ledger_open(path, NULL, ignore_entry, NULL, &ledger, &torn, &err) == GX_OK, "%s", err.text);
    gx_ledger_certificate(ledger, &in->ledger_serial, &digest);
    gx_ledger_close(ledger);
    ck_assert_uint_eq(in->serial, in->n_verified);
    ck_assert_uint_le(in->ledger_serial, in->serial); /* the store is told first */
}

/* The server is dead. Its store is opened in a copy, since opening it writes. */
static struct inside look_inside(void)
{
    char copy[140], command[400];
    struct inside in = {0};
    struct gx_err err;
    (void)snprintf(copy, sizeof(copy), "%s/copy", served.server.base);
    (void)snprintf(command, sizeof(command), "cp -a '%s' '%s'", served.server.data, copy);
    ck_assert_int_eq(system(command), 0);
    (void)snprintf(command, sizeof(command), "%s/store", copy);
    gx_arena_init(&in.arena, (size_t)64 << 20);
    ck_assert_msg(gx_store_open(command, NULL, &in.store, &err) == GX_OK, "%s", err.text);
    look_at_tickets(&in);
    look_at_chain(&in, copy);
    gx_store_close(in.store);
    gx_arena_fini(&in.arena);
    ck_assert_int_eq(gx_file_remove_tree(copy, &err), GX_OK);
    return in;
}

/* ---------------------------------------------------------------- the run */

static bool died(enum gx_status status)
{
    ck_assert_msg(status == GX_OK || status == GX_E_UNAVAILABLE, "%d %s", (int)status, gx_client_error());
    return status != GX_OK;
}

static void prepare(const char *engine)
{
    n_late = 0;
    gx_served_begin(&served, DIM,
                    "[index]\nrebuild_after = 1\n" GX_SERVED_NO_BALLAST); /* for the one that cannot remove */
    gx_served_create(&served, "g", engine);
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", engine);
    for (size_t i = 0; i < ORDERS; i++) {
        orders[i] = (struct order){.ticket = ""};
        gx_served_arrest_of(&served.people, ordered[i], orders[i].arrest, &orders[i].first, &orders[i].n);
    }
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
}

static void start_to_die_at(const char *point, char setting[80])
{
    (void)snprintf(setting, 80, "INDEXD_FAILPOINT=%s", point);
    served.server.environment[0] = setting;
    gx_server_start(&served.server);
    gx_served_connect(&served);
}

/* Gives the orders, then enrols until the server is dead. */
static void work_until_it_dies(void)
{
    struct gx_client_ticket ticket;
    struct gx_server_exit how;
    bool dead = false;
    for (size_t i = 0; i < ORDERS && !dead; i++) {
        const char *ids[] = {orders[i].arrest};
        dead = died(gx_client_expunge(served.client, "g", GX_CLIENT_ARREST, ids, 1, "order", (int64_t)orders[i].n,
                                      false, NULL, &ticket));
        if (!dead)
            (void)snprintf(orders[i].ticket, sizeof(orders[i].ticket), "%s", ticket.ticket_id);
    }
    for (int i = 0; i < OPS_MAX && !dead; i++) {
        dead = died(gx_served_insert(served.client, &served.people, "g", LATE + n_late, BATCH, NULL, NULL));
        n_late += dead ? 0 : BATCH;
        gx_served_breathe();
    }
    ck_assert_msg(dead, "the server never came to that step");
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_wait_end(&served.server, &how);
    ck_assert_int_eq(how.code, -SIGKILL);
    served.server.environment[0] = NULL;
}

/* ---------------------------------------------------------------- afterwards */

static void check_rows(void)
{
    for (size_t i = 0; i < ORDERS; i++) {
        const struct order *o = &orders[i];
        ck_assert_uint_eq(count_held(o), 0);
        for (uint64_t row = o->first; row < o->first + o->n; row++) {
            ck_assert(!gx_served_has(&served, "g", row));
            ck_assert(!gx_served_finds(&served, "g", row, 1000));
        }
        uint64_t neighbour = o->first + o->n;
        ck_assert(gx_served_has(&served, "g", neighbour) && gx_served_finds(&served, "g", neighbour, 1));
        ck_assert_uint_gt(windows_of(served.server.data, neighbour), 0);
        gx_served_refused(gx_served_insert(served.client, &served.people, "g", o->first, 1, NULL, NULL), GX_E_EXPUNGED);
    }
    for (uint64_t row = LATE; row < LATE + n_late; row += 97)
        ck_assert(gx_served_has(&served, "g", row));
    if (n_late > 0)
        ck_assert(gx_served_has(&served, "g", LATE + n_late - 1));
}

/* The server runs again. What was not acknowledged is ordered now; then everything comes to its end. */
static void finish(void)
{
    struct gx_client_ticket ticket;
    struct gx_client_tickets *list;
    struct gx_chain chain = {0};
    for (size_t i = 0; i < ORDERS; i++) {
        const char *ids[] = {orders[i].arrest};
        if (orders[i].ticket[0] == '\0')
            gx_served_ok(
                gx_client_expunge(served.client, "g", GX_CLIENT_ARREST, ids, 1, "order", -1, false, NULL, &ticket));
    }
    gx_served_ok(gx_client_ticket_list(served.client, NULL, 1000, NULL, &list));
    size_t n = list->n_tickets;
    for (size_t i = 0; i < n; i++) {
        ticket = gx_served_await_verified(&served, list->tickets[i].ticket_id);
        ck_assert_int_eq(ticket.deadline_at_us, ticket.accepted_at_us + 60000000);
    }
    gx_client_tickets_free(list);
    gx_chain_collect(&chain, &served);
    gx_chain_check(&chain, n);
    check_rows();
    gx_served_restart(&served, false);
    check_rows();
    gx_chain_collect(&chain, &served); /* the same ones */
    gx_chain_check(&chain, n);
    gx_chain_free(&chain);
    gx_served_await_indexed(&served, "g", NULL);
    gx_served_restart(&served, true); /* which saves the index */
    check_rows();
}

START_TEST(death_at_any_step_of_an_erasure_stamps_nothing_early_and_the_next_start_finishes_it)
{
    const struct point *point = &points[_i % POINTS];
    const char *engine = engines[_i < POINTS ? 0 : 1 + _i % 3];
    char setting[80];
    if (_i >= POINTS && gx_served_flat_only())
        return;
    prepare(engine);
    start_to_die_at(point->name, setting);
    work_until_it_dies();
    check_held(point);
    (void)look_inside();
    gx_server_start(&served.server);
    gx_served_connect(&served);
    finish();
    gx_served_end(&served);
}
END_TEST

/* Waits until the server is dead, or has nothing left to do; *@out_idle. */
static void await_death(bool *out_idle)
{
    struct gx_client_tickets *list;
    struct gx_server_exit how;
    *out_idle = false;
    gx_served_connect(&served);
    while (!*out_idle && gx_client_ticket_list(served.client, NULL, 10, NULL, &list) == GX_OK) {
        *out_idle = list->n_tickets == ORDERS;
        for (size_t i = 0; i < list->n_tickets; i++)
            *out_idle = *out_idle && list->tickets[i].state == GX_CLIENT_TICKET_VERIFIED;
        gx_client_tickets_free(list);
        gx_served_breathe();
    }
    gx_client_close(served.client);
    served.client = NULL;
    if (!*out_idle)
        gx_server_wait_end(&served.server, &how);
}

/* Every start is armed for the next step. A server that finds tickets may die before it serves. */
START_TEST(deaths_at_every_step_one_after_the_other_are_survived)
{
    char setting[80];
    bool idle = false;
    int n_deaths = 1;
    if (_i > 0 && gx_served_flat_only())
        return;
    prepare(engines[_i]);
    start_to_die_at("expunge.before_acknowledgement:3", setting);
    work_until_it_dies();
    for (int i = 0; i < POINTS && !idle; i++) {
        (void)snprintf(setting, sizeof(setting), "INDEXD_FAILPOINT=%s", points[i].name);
        served.server.environment[0] = setting;
        gx_server_spawn(&served.server);
        if (gx_server_await(&served.server)) {
            await_death(&idle);
        } else {
            struct gx_server_exit how;
            gx_server_wait_end(&served.server, &how);
            ck_assert_int_eq(how.code, -SIGKILL);
        }
        n_deaths += !idle;
        if (!idle)
            (void)look_inside();
    }
    ck_assert_int_gt(n_deaths, 15); /* some steps are not taken again */
    gx_server_kill(&served.server);
    served.server.environment[0] = NULL;
    gx_server_start(&served.server);
    gx_served_connect(&served);
    finish();
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- a deleted gallery */

static const char *const removal_points[] = {"keeper.before_range",
                                             "keeper.after_range",
                                             "keeper.after_drop",
                                             "store_erase.before_flush",
                                             "store_erase.between_compactions:2",
                                             "store_erase.before_sync",
                                             "keeper.after_erase",
                                             "writer.before_commit:4",
                                             "writer.after_commit:4"};
#define REMOVAL_POINTS ((int)(sizeof(removal_points) / sizeof(removal_points[0])))

START_TEST(what_a_deleted_gallery_held_leaves_the_files_wherever_the_server_dies)
{
    char setting[80];
    uint64_t records;
    struct gx_server_exit how;
    struct gx_client_gallery gallery;
    prepare(gx_served_flat_only() ? "flat" : engines[_i % ENGINES]);
    start_to_die_at(removal_points[_i], setting);
    gx_served_create(&served, "h", "flat");
    gx_served_ok(gx_served_insert(served.client, &served.people, "h", LATE, BATCH, NULL, NULL));
    (void)died(gx_client_gallery_delete(served.client, "g", ROWS, &records));
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_wait_end(&served.server, &how);
    ck_assert_int_eq(how.code, -SIGKILL);
    served.server.environment[0] = NULL;
    gx_server_start(&served.server);
    gx_served_connect(&served);
    gx_served_refused(gx_client_gallery_get(served.client, "g", &gallery), GX_E_NOT_FOUND);
    for (size_t i = 0; i < ORDERS; i++)
        gx_served_wait_until(count_held(&orders[i]) == 0);
    ck_assert_uint_gt(windows_of(served.server.data, LATE), 0);
    gx_served_restart(&served, true);
    for (size_t i = 0; i < ORDERS; i++)
        ck_assert_uint_eq(count_held(&orders[i]), 0);
    ck_assert(gx_served_has(&served, "h", LATE));
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {death_at_any_step_of_an_erasure_stamps_nothing_early_and_the_next_start_finishes_it, 2 * POINTS},
        {what_a_deleted_gallery_held_leaves_the_files_wherever_the_server_dies, REMOVAL_POINTS},
        {deaths_at_every_step_one_after_the_other_are_survived, ENGINES},
    };
    return gx_served_run("erase steps", tests, sizeof(tests) / sizeof(tests[0]));
}
