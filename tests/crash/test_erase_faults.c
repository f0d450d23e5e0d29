/* What stands in the way of an erasure, at the real server: damage, a copy that somebody made, orders that overlap, an
 * index that is being built. Never a certificate before it is true; whatever goes wrong is an alarm that says what. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chain.h"
#include "ctl.h"
#include "file.h"
#include "held.h"
#include "vec.h"

#define DIM  64
#define ROWS 1500
#define GONE 700 /* a row of the arrest that goes */

enum { SERVING = 1, NOT_SERVING = 2 };

static struct gx_served served;
static struct gx_client_ticket ticket;

static void stored_row(uint64_t row, float *out)
{
    gx_people_row(&served.people, row, out, NULL);
    ck_assert_int_eq(gx_vec_normalise(out, served.people.dim, out, NULL), GX_OK);
}

static size_t windows_of(uint64_t row)
{
    float values[GX_PEOPLE_DIM_MAX];
    stored_row(row, values);
    return gx_held_windows(served.server.data, values, served.people.dim * sizeof(float));
}

static int health(const char *service)
{
    int state;
    gx_served_ok(gx_client_health(served.client, service, &state));
    return state;
}

static bool is_in_state(enum gx_client_ticket_state state)
{
    char id[sizeof(ticket.ticket_id)];
    memcpy(id, ticket.ticket_id, sizeof(id));
    gx_served_ok(gx_client_ticket_get(served.client, id, &ticket));
    return ticket.state == state;
}

static void begin(const char *engine, const char *settings)
{
    gx_served_begin(&served, DIM, settings);
    gx_served_create(&served, "g", engine);
    gx_served_fill(&served, "g", ROWS);
    gx_served_await_indexed(&served, "g", engine);
    gx_served_restart(&served, true); /* what was written is in tables */
}

/* An alarm: FAILED, @says why, no certificate; health and the list of tickets show it; searches go on. */
static void check_alarm(const char *says)
{
    static struct gx_ctl ctl;
    void *bytes;
    size_t len;
    gx_served_wait_until(is_in_state(GX_CLIENT_TICKET_FAILED));
    ck_assert_msg(strstr(ticket.problem, says) != NULL, "the problem does not name %s: %s", says, ticket.problem);
    ck_assert(ticket.failed_at_us >= ticket.accepted_at_us && ticket.verified_at_us == 0 && ticket.certificate == 0);
    gx_served_refused(gx_client_certificate_get(served.client, ticket.ticket_id, &bytes, &len, NULL), GX_E_STATE);
    gx_served_wait_until(health("indexd.v1.Expungement") == NOT_SERVING);
    ck_assert_int_eq(health("indexd.v1.Search"), SERVING);
    ck_assert_int_eq(gx_ctl_run(&ctl, &served.server, (const char *const[]){"ticket", "list", NULL}), 0);
    ck_assert_msg(strstr(ctl.out, ticket.ticket_id) != NULL && strstr(ctl.out, "FAILED") != NULL, "%s", ctl.out);
    ck_assert_int_eq(gx_ctl_run(&ctl, &served.server, (const char *const[]){"ticket", "show", ticket.ticket_id, NULL}),
                     0);
    ck_assert_msg(strstr(ctl.out, says) != NULL, "%s", ctl.out);
    ck_assert(gx_served_finds(&served, "g", 3, 1) && !gx_served_has(&served, "g", GONE));
}

/* The alarm is taken back, and the ticket is as good as any. */
static void check_recovered(void)
{
    struct gx_chain chain = {0};
    uint64_t first, n;
    char id[GX_PEOPLE_ID_MAX];
    gx_served_wait_until(is_in_state(GX_CLIENT_TICKET_VERIFIED));
    ck_assert_str_eq(ticket.problem, "");
    gx_served_wait_until(health("indexd.v1.Expungement") == SERVING);
    gx_chain_collect(&chain, &served);
    gx_chain_check(&chain, 1);
    gx_chain_free(&chain);
    gx_served_arrest_of(&served.people, GONE, id, &first, &n);
    for (uint64_t row = first; row < first + n; row++)
        ck_assert_uint_eq(windows_of(row), 0);
    ck_assert_uint_eq(gx_held_count(served.server.data, id, strlen(id)), 0);
}

static void flip(const char *path, size_t offset)
{
    FILE *file = fopen(path, "r+e");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(fseek(file, (long)offset, SEEK_SET), 0);
    int byte = fgetc(file);
    ck_assert_int_eq(fseek(file, (long)offset, SEEK_SET), 0);
    ck_assert_int_ne(fputc(byte ^ 1, file), EOF);
    ck_assert_int_eq(fclose(file), 0);
}

/* A byte of a row that stays is another one: in the table that the erasure has to rewrite. */
START_TEST(damaged_table_is_an_alarm_that_names_it_and_never_a_certificate)
{
    char path[GX_HELD_PATH_MAX], id[GX_PEOPLE_ID_MAX];
    float row[DIM];
    size_t offset;
    uint64_t first, n;
    struct gx_server_exit end;
    begin("flat", GX_SERVED_NO_BALLAST);
    gx_served_arrest_of(&served.people, GONE, id, &first, &n);
    stored_row(first + n, row);
    ck_assert(gx_held_find(served.server.data, row, sizeof(row), path, &offset));
    ck_assert_ptr_nonnull(strstr(path, ".sst"));
    flip(path, offset + 9);
    gx_served_expunge_arrest(&served, "g", GONE, &first, &n, &ticket);
    check_alarm(strrchr(path, '/') + 1);
    /* Nothing is believed after a restart either: the file is named, and nothing served. */
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_kill(&served.server);
    gx_server_refuse(&served.server, &end);
    ck_assert_msg(strstr(end.text, strrchr(path, '/') + 1) != NULL, "%s", end.text);
    flip(path, offset + 9); /* as if it had come back from a backup */
    gx_server_start(&served.server);
    gx_served_connect(&served);
    check_recovered();
    gx_served_end(&served);
}
END_TEST

/* Somebody has copied a file of the store beside it. */
START_TEST(copy_of_a_file_in_the_data_directory_is_an_alarm_that_names_it)
{
    char path[GX_HELD_PATH_MAX], copy[200];
    float row[DIM];
    size_t offset;
    uint64_t first, n;
    struct gx_err err;
    begin("flat", GX_SERVED_NO_BALLAST);
    stored_row(GONE, row);
    ck_assert(gx_held_find(served.server.data, row, sizeof(row), path, &offset));
    (void)snprintf(copy, sizeof(copy), "%s/copy-of-a-table", served.server.data);
    ck_assert_int_eq(link(path, copy), 0);
    gx_served_expunge_arrest(&served, "g", GONE, &first, &n, &ticket);
    check_alarm("copy-of-a-table");
    ck_assert_msg(gx_file_remove(copy, &err) == GX_OK, "%s", err.text);
    check_recovered();
    gx_served_end(&served);
}
END_TEST

/* The disk takes no tables any more; reads go on. */
START_TEST(disk_that_fails_is_an_alarm_until_the_server_runs_on_a_good_one)
{
    static char command[400], preload[200], variable[200];
    char flag[160];
    uint64_t first, n;
    if (getenv("INDEXD_SAN") != NULL && getenv("INDEXD_SAN")[0] != '\0')
        return; /* nothing can be preloaded before a sanitizer */
    begin("flat", GX_SERVED_NO_BALLAST);
    (void)snprintf(flag, sizeof(flag), "%s/bad-disk", served.server.base);
    (void)snprintf(preload, sizeof(preload), "LD_PRELOAD=%s/io_error.so", served.server.base);
    (void)snprintf(variable, sizeof(variable), "GX_IO_ERROR=%s", flag);
    /* Built here, with the compiler that built this: it must never be linked to anything. */
    (void)snprintf(command, sizeof(command),
                   "${CC:-cc} -shared -fPIC -O1 -D_GNU_SOURCE -o %s/io_error.so tests/crash/io_error.c -ldl",
                   served.server.base);
    ck_assert_msg(system(command) == 0, "cannot build tests/crash/io_error.c");
    served.server.environment[0] = preload;
    served.server.environment[1] = variable;
    gx_served_restart(&served, true);
    FILE *file = fopen(flag, "we");
    ck_assert(file != NULL && fclose(file) == 0);
    gx_served_expunge_arrest(&served, "g", GONE, &first, &n, &ticket);
    check_alarm("nput/output error");
    ck_assert_int_eq(remove(flag), 0);
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_kill(&served.server);
    gx_server_start(&served.server);
    gx_served_connect(&served);
    check_recovered();
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- orders that overlap */

struct order {
    enum gx_client_id_kind kind;
    char id[GX_PEOPLE_ID_MAX];
    struct gx_client_ticket ticket;
    enum gx_status status;
};

static void *give_order(void *arg)
{
    struct order *o = arg;
    const char *ids[] = {o->id};
    o->status = gx_client_expunge(served.client, "g", o->kind, ids, 1, "order", -1, false, NULL, &o->ticket);
    return NULL;
}

START_TEST(orders_that_overlap_take_each_record_once_and_both_end_verified)
{
    struct order orders[3] = {{.kind = GX_CLIENT_ARREST}, {.kind = GX_CLIENT_RECORD}, {.kind = GX_CLIENT_SUBJECT}};
    struct gx_people_photo photo;
    struct gx_chain chain = {0};
    pthread_t threads[3];
    uint64_t first, records = 0;
    uint32_t n;
    begin(gx_served_flat_only() ? "flat" : "faiss:IVF8,SQ8", GX_SERVED_NO_BALLAST);
    for (uint64_t person = 0; person < 8; person++) {
        gx_people_rows_of(&served.people, 100 + person, &first, &n);
        gx_people_row(&served.people, first, NULL, &photo);
        gx_people_arrest_id(photo.person, photo.arrest, orders[0].id);
        gx_people_record_id(first, orders[1].id);
        gx_people_subject_id(photo.person, orders[2].id);
        uint64_t taken = 0;
        for (size_t i = 0; i < 3; i++)
            ck_assert_int_eq(pthread_create(&threads[i], NULL, give_order, &orders[i]), 0);
        for (size_t i = 0; i < 3; i++) {
            (void)pthread_join(threads[i], NULL);
            gx_served_ok(orders[i].status);
            taken += orders[i].ticket.records;
        }
        ck_assert_uint_eq(taken, n);
        records += taken;
    }
    for (unsigned number = 1; number <= 24; number++) {
        char id[33];
        (void)snprintf(id, sizeof(id), "T-%08u", number);
        (void)gx_served_await_verified(&served, id);
    }
    for (uint64_t person = 0; person < 8; person++) {
        gx_people_rows_of(&served.people, 100 + person, &first, &n);
        for (uint64_t row = first; row < first + n; row++)
            ck_assert(windows_of(row) == 0 && !gx_served_has(&served, "g", row));
    }
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS - records);
    gx_chain_collect(&chain, &served);
    gx_chain_check(&chain, 24);
    gx_chain_free(&chain);
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- an index that is being built */

#define MANY 9000

/* The build has taken up the rows already: it must not put them into the file that it saves. */
START_TEST(expungement_during_a_build_is_verified_when_nothing_of_it_is_in_the_new_index)
{
    static const char *const engines[] = {"faiss:IVF16,Flat", "faiss:HNSW16,Flat"};
    uint64_t first, n;
    if (gx_served_flat_only())
        return;
    gx_served_begin(&served, DIM, "[index]\nrebuild_after = 1\n" GX_SERVED_NO_BALLAST);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", MANY);
    for (int i = 0; i < 3; i++) {
        gx_served_ok(gx_client_gallery_build(served.client, "g", engines[_i], NULL));
        gx_served_expunge_arrest(&served, "g", (uint64_t)GONE * (uint64_t)(i + 1), &first, &n, &ticket);
        ck_assert(i > 0 || gx_served_stats(&served, "g").build.running);
        (void)gx_served_await_verified(&served, ticket.ticket_id);
        for (uint64_t row = first; row < first + n; row++)
            ck_assert(windows_of(row) == 0 && !gx_served_finds(&served, "g", row, 100));
        gx_served_await_indexed(&served, "g", engines[_i]);
        for (uint64_t row = first; row < first + n; row++)
            ck_assert(windows_of(row) == 0 && !gx_served_finds(&served, "g", row, 100));
    }
    gx_served_restart(&served, true);
    for (uint64_t row = first; row < first + n; row++)
        ck_assert_uint_eq(windows_of(row), 0);
    ck_assert_uint_gt(windows_of(first + n), 0);
    gx_served_end(&served);
}
END_TEST

/* The index cannot remove, and takes longer to be built anew than the deadline allows. */
START_TEST(ticket_past_its_deadline_is_shown_by_health_until_it_is_verified)
{
    uint64_t first, n;
    if (gx_served_flat_only())
        return;
    gx_served_begin(&served, 256, "[erase]\ndeadline = 1\n" GX_SERVED_NO_BALLAST);
    gx_served_create(&served, "g", "faiss:HNSW48,Flat");
    gx_served_fill(&served, "g", MANY);
    gx_served_await_indexed(&served, "g", "faiss:HNSW48,Flat");
    ck_assert_int_eq(health("indexd.v1.Expungement"), SERVING);
    gx_served_expunge_arrest(&served, "g", GONE, &first, &n, &ticket);
    ck_assert_int_eq(ticket.deadline_at_us, ticket.accepted_at_us + 1000000);
    gx_served_wait_until(health("indexd.v1.Expungement") == NOT_SERVING);
    ck_assert_int_eq(health("indexd.v1.Search"), SERVING);
    gx_served_wait_until(is_in_state(GX_CLIENT_TICKET_VERIFIED));
    ck_assert_int_gt(ticket.verified_at_us, ticket.deadline_at_us);
    gx_served_wait_until(health("indexd.v1.Expungement") == SERVING);
    ck_assert_uint_eq(gx_server_log_count(&served.server, "erase_overdue"), 1);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {damaged_table_is_an_alarm_that_names_it_and_never_a_certificate, 0},
        {copy_of_a_file_in_the_data_directory_is_an_alarm_that_names_it, 0},
        {disk_that_fails_is_an_alarm_until_the_server_runs_on_a_good_one, 0},
        {orders_that_overlap_take_each_record_once_and_both_end_verified, 0},
        {expungement_during_a_build_is_verified_when_nothing_of_it_is_in_the_new_index, 2},
        {ticket_past_its_deadline_is_shown_by_health_until_it_is_verified, 0},
    };
    return gx_served_run("erase faults", tests, sizeof(tests) / sizeof(tests[0]));
}
