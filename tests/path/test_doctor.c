/* Files in the data directory that are not indexd's: refused at the start by name, listed and moved out by doctor. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "served.h"

#define DIM  32
#define ROWS 500

static struct gx_served served;

static void in_data(const char *name, char out[300])
{
    (void)snprintf(out, 300, "%s/%s", served.server.data, name);
}

static void put(const char *name, const char *text)
{
    char path[300];
    in_data(name, path);
    FILE *file = fopen(path, "we");
    ck_assert_msg(file != NULL, "%s", path);
    (void)fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
}

static void make_folder(const char *name)
{
    char path[300];
    in_data(name, path);
    ck_assert_int_eq(mkdir(path, 0700), 0);
}

static bool is_there(const char *name)
{
    char path[300];
    in_data(name, path);
    return access(path, F_OK) == 0;
}

/* A directory with records, an expunged one among them, and no server. */
static void begin(void)
{
    struct gx_client_ticket ticket;
    uint64_t first, n;
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", ROWS);
    gx_served_expunge_arrest(&served, "g", 10, &first, &n, &ticket);
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
}

static void check_serves(void)
{
    gx_server_start(&served.server);
    gx_served_connect(&served);
    ck_assert(gx_served_finds(&served, "g", 42, 1));
    ck_assert(!gx_served_has(&served, "g", 10));
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
}

static void must_refuse(const char *const *names, size_t n)
{
    struct gx_server_exit refusal;
    gx_server_refuse(&served.server, &refusal);
    ck_assert_msg(refusal.code == GX_E_STATE && refusal.lines == 1, "%d %s", refusal.code, refusal.text);
    ck_assert_ptr_nonnull(strstr(refusal.text, "'indexd doctor --data "));
    for (size_t i = 0; i < n; i++)
        ck_assert_msg(strstr(refusal.text, names[i]) != NULL, "'%s' does not name '%s'", refusal.text, names[i]);
}

/* Runs doctor with @options; its standard output, and its exit status. */
static int doctor(const char *options, char out[4096])
{
    char command[1000];
    (void)snprintf(command, sizeof(command), "%s doctor --data %s %s 2>>%s", getenv("INDEXD_BIN"), served.server.data,
                   options, served.server.log);
    FILE *pipe = popen(command, "re");
    ck_assert_ptr_nonnull(pipe);
    size_t n = fread(out, 1, 4095, pipe);
    out[n] = '\0';
    int status = pclose(pipe);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

START_TEST(unknown_files_stop_the_start_and_doctor_moves_them_out)
{
    static const char *const names[] = {"core.4711", "foo.bin", "store/000001.log.old", "store/archive/",
                                        "store/lost/"};
    char out[4096], options[300], found[200];
    begin();
    (void)snprintf(found, sizeof(found), "%s/found", served.server.base);
    ck_assert_int_eq(doctor("", out), 0);
    ck_assert_ptr_nonnull(strstr(out, "nothing unknown"));

    put("core.4711", "memory");
    put("foo.bin", "twelve bytes");
    put("store/000001.log.old", "rows");
    make_folder("store/archive");
    make_folder("store/lost");
    put("store/lost/000021.sst", "rows");
    must_refuse(names, 5);
    must_refuse(names, 5); /* the first start has removed nothing */
    ck_assert_int_eq(doctor("", out), GX_E_STATE);
    for (size_t i = 0; i < 5; i++)
        ck_assert_msg(strstr(out, names[i]) != NULL, "%s not in: %s", names[i], out);
    ck_assert_ptr_nonnull(strstr(out, "12 bytes"));
    ck_assert_ptr_nonnull(strstr(out, "core dump"));
    ck_assert_ptr_nonnull(strstr(out, "repair"));

    ck_assert_int_eq(doctor("--json", out), GX_E_STATE);
    ck_assert_ptr_nonnull(strstr(out, "{\"name\":\"foo.bin\",\"files\":1,\"bytes\":12,\"modified\":\"20"));
    ck_assert_ptr_nonnull(strstr(out, "\"quarantined\":false}\n"));

    (void)snprintf(options, sizeof(options), "--quarantine %s/store", served.server.data);
    ck_assert_int_eq(doctor(options, out), GX_E_INVALID);
    (void)snprintf(options, sizeof(options), "--quarantine %s", found);
    ck_assert_int_eq(doctor(options, out), 0);
    for (size_t i = 0; i < 5; i++) {
        char path[600];
        ck_assert(!is_there(names[i]));
        (void)snprintf(path, sizeof(path), "%s/%s", found, names[i]);
        ck_assert_msg(access(path, F_OK) == 0, "%s", path);
    }
    ck_assert_int_eq(doctor("--json", out), 0);
    ck_assert_str_eq(out, "");
    check_serves();
    gx_served_end(&served);
}
END_TEST

START_TEST(names_that_a_terminal_or_a_parser_would_trip_over_are_harmless)
{
    char out[4096];
    begin();
    put("a\033[31m\"\\\nb", "x");
    ck_assert_int_eq(doctor("", out), GX_E_STATE);
    ck_assert_ptr_null(strchr(out, '\033'));
    ck_assert_ptr_nonnull(strstr(out, "a?[31m\"\\?b"));
    ck_assert_int_eq(doctor("--json", out), GX_E_STATE);
    ck_assert_ptr_nonnull(strstr(out, "\"a\\u001b[31m\\\"\\\\\\u000ab\""));
    struct gx_server_exit refusal;
    gx_server_refuse(&served.server, &refusal);
    ck_assert_int_eq(refusal.code, GX_E_STATE);
    ck_assert_uint_eq(refusal.lines, 1);
    gx_served_end(&served);
}
END_TEST

START_TEST(doctor_keeps_away_from_a_directory_in_use_and_from_what_is_none)
{
    char out[4096], data[128];
    begin();
    put("foo.bin", "x");
    ck_assert_int_eq(doctor("", out), GX_E_STATE);
    char path[300];
    in_data("foo.bin", path);
    ck_assert_int_eq(unlink(path), 0);
    gx_server_start(&served.server);
    put("foo.bin", "x");
    ck_assert_int_eq(doctor("--quarantine /tmp", out), GX_E_IN_USE);
    ck_assert(is_there("foo.bin"));
    gx_server_kill(&served.server);
    memcpy(data, served.server.data, sizeof(data));
    (void)snprintf(served.server.data, sizeof(served.server.data), "%s/nowhere", served.server.base);
    ck_assert_int_eq(doctor("", out), GX_E_NOT_FOUND);
    make_folder("");
    ck_assert_int_eq(doctor("", out), GX_E_FORMAT);
    memcpy(served.server.data, data, sizeof(data));
    gx_served_end(&served);
}
END_TEST

START_TEST(leftovers_of_a_crash_are_removed_at_the_start)
{
    static const char *const names[] = {"FORMAT.tmp", "secret.key.tmp", "backup.tmp/000008.sst",
                                        "index/00112233-4455-6677-8899-aabbccddeeff.index.tmp"};
    begin();
    make_folder("backup.tmp");
    for (size_t i = 0; i < 4; i++)
        put(names[i], "half");
    check_serves();
    for (size_t i = 0; i < 4; i++)
        ck_assert_msg(!is_there(names[i]), "%s", names[i]);
    ck_assert(!is_there("backup.tmp"));
    gx_served_end(&served);
}
END_TEST

START_TEST(configured_ledger_may_stand_in_the_data_directory)
{
    begin();
    (void)snprintf(served.server.settings, sizeof(served.server.settings), "[ledger]\nmirror = %s/mirror.log\n",
                   served.server.data);
    check_serves();
    check_serves(); /* now it is there */
    ck_assert(is_there("mirror.log"));
    served.server.settings[0] = '\0';
    must_refuse((const char *const[]){"mirror.log"}, 1);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {unknown_files_stop_the_start_and_doctor_moves_them_out, 0},
        {names_that_a_terminal_or_a_parser_would_trip_over_are_harmless, 0},
        {doctor_keeps_away_from_a_directory_in_use_and_from_what_is_none, 0},
        {leftovers_of_a_crash_are_removed_at_the_start, 0},
        {configured_ledger_may_stand_in_the_data_directory, 0},
    };
    return gx_served_run("doctor", tests, sizeof(tests) / sizeof(tests[0]));
}
