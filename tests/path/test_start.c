/* What a server refuses to start on, how it says so, and that it has changed nothing by looking. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "served.h"

#define DIM  64
#define ROWS 1500

static struct gx_served served;
static uint64_t n_records;

/* Exit status, one line, and the file that it is about. */
static void check_refusal(const struct gx_server_exit *refusal, enum gx_status status, const char *names)
{
    ck_assert_msg(refusal->code == (int)status, "exit status %d, expected %d: %s", refusal->code, (int)status,
                  refusal->text);
    ck_assert_msg(refusal->lines == 1, "%zu lines: %s", refusal->lines, refusal->text);
    ck_assert_msg(strstr(refusal->text, names) != NULL, "'%s' does not name '%s'", refusal->text, names);
}

static void must_refuse(enum gx_status status, const char *names)
{
    struct gx_server_exit refusal;
    gx_server_refuse(&served.server, &refusal);
    check_refusal(&refusal, status, names);
}

static void stop(void)
{
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
}

/* A directory with records in SST files and in the log, one expungement, and no server. */
static void begin(void)
{
    uint64_t first, n;
    struct gx_client_ticket ticket;
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", ROWS);
    gx_served_restart(&served, false); /* recovery writes an SST */
    gx_served_expunge_arrest(&served, "g", 10, &first, &n, &ticket);
    (void)gx_served_await_verified(&served, ticket.ticket_id);
    gx_served_ok(gx_served_insert(served.client, &served.people, "g", ROWS, 500, NULL, NULL));
    n_records = ROWS + 500 - n;
    gx_served_connect(&served);
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_kill(&served.server);
}

/* Everything is there, now that the damage is undone. */
static void check_whole(void)
{
    gx_server_start(&served.server);
    gx_served_connect(&served);
    ck_assert_uint_eq(gx_served_records(&served, "g"), n_records);
    ck_assert(!gx_served_has(&served, "g", 10));
    ck_assert(gx_served_finds(&served, "g", ROWS + 499, 1));
    stop();
}

static void data_path(const char *name, char out[300])
{
    (void)snprintf(out, 300, "%s/%s", served.server.data, name);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    ck_assert_ptr_nonnull(file);
    (void)fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

static void flip_byte(const char *path, long at)
{
    uint8_t byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
    byte ^= 0x40;
    ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
    ck_assert_int_eq(close(fd), 0);
}

/* The largest file of the store whose name ends so. */
static void find_store_file(const char *ending, char out[600], long *out_len)
{
    char dir[300];
    data_path("store", dir);
    DIR *list = opendir(dir);
    ck_assert_ptr_nonnull(list);
    *out_len = 0;
    for (struct dirent *e; (e = readdir(list)) != NULL;) {
        char path[600];
        struct stat st;
        size_t len = strlen(e->d_name);
        if (len < strlen(ending) || strcmp(e->d_name + len - strlen(ending), ending) != 0)
            continue;
        (void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
        ck_assert_int_eq(stat(path, &st), 0);
        if ((long)st.st_size <= *out_len)
            continue;
        *out_len = (long)st.st_size;
        memcpy(out, path, sizeof(path));
    }
    (void)closedir(list);
    ck_assert_msg(*out_len > 10000, "no '%s' of some size", ending);
}

/* ---------------------------------------------------------------- directories */

START_TEST(directory_that_is_missing_or_foreign_or_of_another_format_is_refused)
{
    char path[300], data[128];
    begin();
    memcpy(data, served.server.data, sizeof(data));
    (void)snprintf(served.server.data, sizeof(served.server.data), "%s/nowhere", served.server.base);
    must_refuse(GX_E_NOT_FOUND, "/nowhere'");
    ck_assert_int_eq(mkdir(served.server.data, 0700), 0);
    must_refuse(GX_E_FORMAT, "/nowhere'");
    data_path("holiday.txt", path);
    write_text(path, "sun");
    must_refuse(GX_E_FORMAT, "/nowhere'");
    ck_assert_int_eq(access(path, F_OK), 0);
    memcpy(served.server.data, data, sizeof(data));

    static const char *const formats[] = {"indexd data directory\nformat 2\n", "indexd data directory\nformat 0\n", "",
                                          "something else\n"};
    data_path("FORMAT", path);
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        write_text(path, formats[i]);
        must_refuse(GX_E_FORMAT, "/FORMAT'");
    }
    write_text(path, "indexd data directory\nformat 1\n");
    check_whole();
    gx_served_end(&served);
}
END_TEST

START_TEST(directory_is_made_only_where_there_is_nothing)
{
    struct gx_server_exit refusal;
    begin();
    const char *const again[] = {"init", "--data", served.server.data, NULL};
    gx_server_command(&served.server, again, &refusal);
    check_refusal(&refusal, GX_E_EXISTS, served.server.data);
    check_whole();
    const char *const nowhere[] = {"init", "--data", "/nonexistent/a/b", NULL};
    gx_server_command(&served.server, nowhere, &refusal);
    ck_assert_msg(refusal.code != 0 && refusal.lines == 1, "%d %s", refusal.code, refusal.text);
    gx_served_end(&served);
}
END_TEST

START_TEST(directory_and_port_of_a_running_server_are_refused)
{
    struct gx_server second, third;
    struct gx_server_exit refusal;
    begin();
    gx_server_start(&served.server);
    second = served.server;
    second.pid = 0;
    gx_server_refuse(&second, &refusal);
    check_refusal(&refusal, GX_E_IN_USE, served.server.data);
    gx_server_begin(&third);
    (void)snprintf(third.listen, sizeof(third.listen), "%s", served.server.address);
    gx_server_refuse(&third, &refusal);
    check_refusal(&refusal, GX_E_IN_USE, served.server.address);
    gx_server_end(&third);
    gx_served_connect(&served);
    ck_assert_uint_eq(gx_served_records(&served, "g"), n_records);
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- damage */

START_TEST(damaged_store_is_refused_and_left_as_it_is)
{
    static const struct {
        const char *ending, *names;
        int at; /* of a hundred */
    } places[] = {{".sst", ".sst", 30}, {".sst", ".sst", 80}, {".log", "/store'", 50}, {".log", "/store'", 10}};
    char path[600];
    long len;
    begin();
    find_store_file(places[_i].ending, path, &len);
    flip_byte(path, len * places[_i].at / 100);
    must_refuse(GX_E_CORRUPT, places[_i].names);
    must_refuse(GX_E_CORRUPT, places[_i].names); /* the first start has repaired, and dropped, nothing */
    flip_byte(path, len * places[_i].at / 100);
    check_whole();
    gx_served_end(&served);
}
END_TEST

START_TEST(missing_store_file_is_refused)
{
    char path[600], aside[700];
    long len;
    begin();
    find_store_file(".sst", path, &len);
    (void)snprintf(aside, sizeof(aside), "%s/aside", served.server.base);
    ck_assert_int_eq(rename(path, aside), 0);
    must_refuse(GX_E_CORRUPT, "/store'");
    ck_assert_int_eq(rename(aside, path), 0);
    check_whole();
    gx_served_end(&served);
}
END_TEST

START_TEST(missing_or_damaged_ledger_is_refused)
{
    char path[300], aside[300];
    struct stat st;
    begin();
    data_path("expunge.log", path);
    (void)snprintf(aside, sizeof(aside), "%s/aside", served.server.base);
    ck_assert_int_eq(rename(path, aside), 0);
    must_refuse(GX_E_CORRUPT, "/expunge.log'");
    ck_assert_int_ne(access(path, F_OK), 0);
    ck_assert_int_eq(rename(aside, path), 0);

    ck_assert_int_eq(stat(path, &st), 0);
    for (long at = 0; at < (long)st.st_size; at += 163) {
        if (at >= 1024 && at < 1088)
            continue; /* the older of the two marks: of no account, it is written anew */
        flip_byte(path, at);
        must_refuse(GX_E_CORRUPT, "/expunge.log'");
        flip_byte(path, at);
    }
    check_whole();
    gx_served_end(&served);
}
END_TEST

START_TEST(ledger_that_lost_an_acknowledged_entry_is_refused)
{
    char path[300], copy[400], command[900];
    struct stat st;
    begin();
    data_path("expunge.log", path);
    (void)snprintf(copy, sizeof(copy), "%s/copy", served.server.base);
    (void)snprintf(command, sizeof(command), "cp %s %s", path, copy);
    ck_assert_int_eq(system(command), 0);
    ck_assert_int_eq(stat(path, &st), 0);
    for (int cut = 1; cut < 60; cut += 13) {
        ck_assert_int_eq(truncate(path, st.st_size - cut), 0);
        must_refuse(GX_E_CORRUPT, "/expunge.log'");
        (void)snprintf(command, sizeof(command), "cp %s %s", copy, path);
        ck_assert_int_eq(system(command), 0);
    }
    check_whole();
    gx_served_end(&served);
}
END_TEST

START_TEST(missing_or_damaged_secret_is_refused)
{
    char path[300], aside[300];
    begin();
    data_path("secret.key", path);
    (void)snprintf(aside, sizeof(aside), "%s/aside", served.server.base);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq((int)(st.st_mode & 0777), 0600);
    ck_assert_int_eq(rename(path, aside), 0);
    must_refuse(GX_E_CORRUPT, "/secret.key'");
    write_text(path, "too short");
    must_refuse(GX_E_CORRUPT, "/secret.key'");
    ck_assert_int_eq(rename(aside, path), 0);
    check_whole();
    gx_served_end(&served);
}
END_TEST

START_TEST(secret_of_another_directory_is_refused)
{
    char path[300], aside[300];
    begin();
    data_path("secret.key", path);
    (void)snprintf(aside, sizeof(aside), "%s/aside", served.server.base);
    ck_assert_int_eq(rename(path, aside), 0);
    write_text(path, "0123456789abcdef0123456789abcdef");
    must_refuse(GX_E_CORRUPT, "/secret.key'");
    ck_assert_int_eq(rename(aside, path), 0);
    check_whole();
    gx_served_end(&served);
}
END_TEST

START_TEST(certificate_key_that_is_missing_or_damaged_or_of_another_directory_is_refused)
{
    static const char *const names[] = {"certificate.key", "certificate.pub"};
    char path[300], aside[300], command[900];
    struct stat st;
    struct gx_server other;
    begin();
    for (size_t i = 0; i < 2; i++) {
        data_path(names[i], path);
        (void)snprintf(aside, sizeof(aside), "%s/aside-%zu", served.server.base, i);
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_int_eq((int)(st.st_mode & 0777), i == 0 ? 0600 : 0644);
        ck_assert_int_eq(rename(path, aside), 0);
        must_refuse(GX_E_CORRUPT, names[i]);
        write_text(path, "too short");
        must_refuse(GX_E_CORRUPT, names[i]);
        ck_assert_int_eq(rename(aside, path), 0);
    }
    gx_server_begin(&other);
    (void)snprintf(command, sizeof(command), "cp -p %s/certificate.* %s && cp %s/certificate.pub %s",
                   served.server.data, served.server.base, other.data, served.server.data);
    ck_assert_int_eq(system(command), 0);
    must_refuse(GX_E_CORRUPT, "certificate.pub' is not the public key");
    (void)snprintf(command, sizeof(command), "cp %s/certificate.key %s", other.data, served.server.data);
    ck_assert_int_eq(system(command), 0);
    must_refuse(GX_E_CORRUPT, "/certificate.key' is not the key of this store");
    (void)snprintf(command, sizeof(command), "cp -p %s/certificate.* %s", served.server.base, served.server.data);
    ck_assert_int_eq(system(command), 0);
    check_whole();
    gx_server_end(&other);
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- configuration, addresses */

START_TEST(faulty_configuration_is_refused_with_line_and_key)
{
    static const char *const faults[][2] = {
        {"[server]\nworkers = many\n", "server.workers"}, {"[server]\nqueue = 0\n", "server.queue"},
        {"[server]\n\ncolour = red\n", "line 3"},         {"workers = 1\nnonsense\n", "line 1"},
        {"[log]\nlevel = 1\nlevel = 2\n", "twice"},       {"[server]\nlisten =\n", "server.listen"},
        {"[rows]\nfloat = tape\n", "rows.float"},
    };
    gx_server_begin(&served.server);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        (void)snprintf(served.server.settings, sizeof(served.server.settings), "%s", faults[i][0]);
        must_refuse(GX_E_INVALID, faults[i][1]);
        ck_assert_ptr_nonnull(strstr(served.server.log, "log"));
    }
    gx_server_end(&served.server);
}
END_TEST

START_TEST(address_that_the_network_could_reach_is_refused)
{
    static const char *const addresses[] = {"0.0.0.0:0", "[::]:0",          "192.0.2.1:7600",
                                            "127.0.0.1", "127.0.0.1:99999", "unix:"};
    gx_server_begin(&served.server);
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        (void)snprintf(served.server.listen, sizeof(served.server.listen), "%s", addresses[i]);
        must_refuse(GX_E_INVALID, "listen");
    }
    gx_server_end(&served.server);
}
END_TEST

START_TEST(unix_socket_serves_as_a_port_does_and_is_free_again_after_a_kill)
{
    gx_served_begin(&served, DIM, NULL);
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
    (void)snprintf(served.server.listen, sizeof(served.server.listen), "unix:%s/socket", served.server.base);
    gx_server_start(&served.server);
    ck_assert_str_eq(served.server.address, served.server.listen);
    gx_served_connect(&served);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", 100);
    for (int round = 0; round < 2; round++) {
        gx_served_restart(&served, round == 0);
        ck_assert(gx_served_finds(&served, "g", 42, 1));
    }
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- the log */

START_TEST(log_holds_no_id_and_no_embedding_at_its_most_talkative)
{
    static const char *const secrets[] = {"zz-record-71",    "zz-subject-71", "zz-arrest-71",
                                          "zz-attribute-71", "zz-unknown-71", "zz-request-71"};
    /* Negative: no time or date in the log looks like them. */
    float row[DIM] = {-0.7123456f, -0.7018765f};
    struct gx_client_record record = {.record_id = secrets[0],
                                      .subject_id = secrets[1],
                                      .arrest_id = secrets[2],
                                      .attribute_keys = &secrets[3],
                                      .attribute_values = &secrets[3],
                                      .n_attributes = 1};
    struct gx_client_search how = {.subject_ids = &secrets[1], .n_subject_ids = 1};
    struct gx_client_result *r;
    struct gx_client_records *found;
    struct gx_client_ticket ticket;
    gx_served_begin(&served, DIM, "[log]\nlevel = 3\n");
    gx_served_create(&served, "g", "flat");
    gx_served_ok(gx_client_insert(served.client, "g", GX_SERVED_EMBEDDER, &record, row, 1, DIM, secrets[5], NULL));
    row[1] = -0.5f;
    gx_served_refused(gx_client_insert(served.client, "g", GX_SERVED_EMBEDDER, &record, row, 1, DIM, NULL, NULL),
                      GX_E_EXISTS);
    gx_served_ok(gx_client_search(served.client, "g", GX_SERVED_EMBEDDER, row, 1, DIM, &how, &r));
    gx_client_result_free(r);
    gx_served_refused(gx_client_search(served.client, secrets[4], GX_SERVED_EMBEDDER, row, 1, DIM, &how, &r),
                      GX_E_NOT_FOUND);
    gx_served_refused(gx_client_search(served.client, "g", secrets[4], "1", row, 1, DIM, &how, &r), GX_E_EMBEDDER);
    gx_served_ok(gx_client_record_get(served.client, "g", secrets, 1, true, &found));
    gx_client_records_free(found);
    gx_served_ok(
        gx_client_expunge(served.client, "g", GX_CLIENT_ARREST, &secrets[2], 1, "order", 1, false, NULL, &ticket));
    gx_served_refused(gx_client_insert(served.client, "g", GX_SERVED_EMBEDDER, &record, row, 1, DIM, NULL, NULL),
                      GX_E_EXPUNGED);
    (void)gx_served_await_verified(&served, ticket.ticket_id);
    gx_served_restart(&served, true);
    ck_assert_uint_ge(gx_server_log_count(&served.server, "call_failed"), 4);
    gx_server_check_log(&served.server, "zz-");
    gx_server_check_log(&served.server, "-0.7");
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {directory_that_is_missing_or_foreign_or_of_another_format_is_refused, 0},
        {directory_is_made_only_where_there_is_nothing, 0},
        {directory_and_port_of_a_running_server_are_refused, 0},
        {damaged_store_is_refused_and_left_as_it_is, 4},
        {missing_store_file_is_refused, 0},
        {missing_or_damaged_ledger_is_refused, 0},
        {ledger_that_lost_an_acknowledged_entry_is_refused, 0},
        {missing_or_damaged_secret_is_refused, 0},
        {secret_of_another_directory_is_refused, 0},
        {certificate_key_that_is_missing_or_damaged_or_of_another_directory_is_refused, 0},
        {faulty_configuration_is_refused_with_line_and_key, 0},
        {address_that_the_network_could_reach_is_refused, 0},
        {unix_socket_serves_as_a_port_does_and_is_free_again_after_a_kill, 0},
        {log_holds_no_id_and_no_embedding_at_its_most_talkative, 0},
    };
    return gx_served_run("start", tests, sizeof(tests) / sizeof(tests[0]));
}
