/* Promises of file.h. Each test has a folder of its own. */
#include "file.h"
#include "temp.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static char dir[64];
static struct gx_arena arena;
static struct gx_err err;

static void set_up(void)
{
    gx_temp_folder("file", dir, sizeof(dir));
    gx_arena_init(&arena, 1 << 22);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *ftw)
{
    (void)info, (void)kind, (void)ftw;
    return remove(path);
}

static void tear_down(void)
{
    (void)nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    gx_arena_fini(&arena);
}

/* A path in the folder; several are valid at a time. */
static const char *in_dir(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    ck_assert_int_eq(gx_file_path(dir, name, path, sizeof(paths[0]), &err), GX_OK);
    return path;
}

static void expect(enum gx_status status, enum gx_status wanted)
{
    ck_assert_msg(status == wanted, "%s instead of %s: %s", gx_status_name(status), gx_status_name(wanted), err.text);
}

static void expect_content(const char *path, struct gx_slice wanted)
{
    struct gx_slice got;
    expect(gx_file_read(path, 1 << 21, &arena, &got, &err), GX_OK);
    ck_assert(gx_slice_equal(got, wanted));
}

static size_t n_entries(void)
{
    DIR *d = opendir(dir);
    ck_assert_ptr_nonnull(d);
    size_t n = 0;
    while (readdir(d) != NULL)
        n++;
    (void)closedir(d);
    return n - 2;
}

START_TEST(a_path_is_directory_and_name)
{
    static const char *const cases[][3] = {
        {"/data", "FORMAT", "/data/FORMAT"}, {"/data/", "FORMAT", "/data/FORMAT"}, {"/", "x", "/x"}, {".", "x", "./x"}};
    char path[64];
    for (size_t i = 0; i < GX_COUNT_OF(cases); i++) {
        expect(gx_file_path(cases[i][0], cases[i][1], path, sizeof(path), &err), GX_OK);
        ck_assert_str_eq(path, cases[i][2]);
    }
    expect(gx_file_path("/data", "FORMAT", path, 13, &err), GX_OK); /* just fits */
    expect(gx_file_path("/data", "FORMAT", path, 12, &err), GX_E_INVALID);
    expect(gx_file_path("", "x", path, sizeof(path), &err), GX_E_INVALID);
}
END_TEST

START_TEST(what_was_written_reads_back)
{
    static uint8_t bytes[1 << 20];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + (i >> 9));
    static const size_t sizes[] = {0, 1, 4096, 4097, sizeof(bytes)};
    for (size_t i = 0; i < GX_COUNT_OF(sizes); i++) {
        expect(gx_file_write(in_dir("f"), (struct gx_slice){bytes, sizes[i]}, 0600, true, &err), GX_OK);
        expect_content(in_dir("f"), (struct gx_slice){bytes, sizes[i]});
    }
    ck_assert_uint_eq(n_entries(), 1); /* no temporary file is left */
}
END_TEST

START_TEST(a_file_has_the_asked_mode_whatever_the_umask_is)
{
    static const unsigned modes[] = {0600, 0644, 0400};
    (void)umask(0);
    for (size_t i = 0; i < GX_COUNT_OF(modes); i++) {
        struct stat info;
        expect(gx_file_write(in_dir("f"), gx_slice_text("x"), modes[i], true, &err), GX_OK);
        ck_assert_int_eq(stat(in_dir("f"), &info), 0);
        ck_assert_uint_eq(info.st_mode & 07777, modes[i]);
        (void)umask(0777);
    }
}
END_TEST

START_TEST(a_file_that_may_not_be_replaced_stays)
{
    expect(gx_file_write(in_dir("f"), gx_slice_text("old"), 0600, false, &err), GX_OK);
    expect(gx_file_write(in_dir("f"), gx_slice_text("new"), 0600, false, &err), GX_E_EXISTS);
    expect_content(in_dir("f"), gx_slice_text("old"));
    expect(gx_file_write(in_dir("f"), gx_slice_text("new"), 0600, true, &err), GX_OK);
    expect_content(in_dir("f"), gx_slice_text("new"));
    ck_assert_uint_eq(n_entries(), 1);
}
END_TEST

START_TEST(what_a_crash_left_behind_does_not_stop_the_next_write)
{
    expect(gx_file_write(in_dir("other"), gx_slice_text("other"), 0600, false, &err), GX_OK);
    /* A link in place of the temporary file must not lead the write elsewhere. */
    ck_assert_int_eq(symlink(in_dir("other"), in_dir("f.tmp")), 0);
    expect(gx_file_write(in_dir("f"), gx_slice_text("new"), 0600, false, &err), GX_OK);
    expect_content(in_dir("f"), gx_slice_text("new"));
    expect_content(in_dir("other"), gx_slice_text("other"));
    ck_assert_uint_eq(n_entries(), 2);
    ck_assert_int_eq(mkdir(in_dir("f.tmp"), 0700), 0); /* not ours to remove */
    expect(gx_file_write(in_dir("f"), gx_slice_text("newer"), 0600, true, &err), GX_E_IO);
    expect_content(in_dir("f"), gx_slice_text("new"));
}
END_TEST

START_TEST(a_write_that_fails_halfway_leaves_the_old_file_and_nothing_else)
{
    static uint8_t bytes[100000];
    expect(gx_file_write(in_dir("f"), gx_slice_text("old"), 0600, true, &err), GX_OK);
    struct rlimit limit = {.rlim_cur = 50000, .rlim_max = RLIM_INFINITY};
    ck_assert_ptr_ne(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    enum gx_status status = gx_file_write(in_dir("f"), (struct gx_slice){bytes, sizeof(bytes)}, 0600, true, &err);
    limit.rlim_cur = RLIM_INFINITY;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    expect(status, GX_E_IO);
    expect_content(in_dir("f"), gx_slice_text("old"));
    ck_assert_uint_eq(n_entries(), 1);
}
END_TEST

START_TEST(a_full_disk_is_told_from_other_failures)
{
    int full = open("/dev/full", O_WRONLY);
    ck_assert_int_ge(full, 0);
    expect(gx_file_write_all(full, "x", 1, "expunge.log", &err), GX_E_FULL);
    ck_assert_ptr_nonnull(strstr(err.text, "expunge.log"));
    expect(gx_file_write_all(full, "", 0, "nothing", &err), GX_OK);
    ck_assert_int_eq(close(full), 0);
    expect(gx_file_write_all(full, "x", 1, "closed", &err), GX_E_IO);
}
END_TEST

START_TEST(a_full_file_system_leaves_the_old_file_and_nothing_else)
{
    /* Needs a file system of our own, so root. */
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", dir, "tmpfs", 0, "size=64k") != 0) {
        fprintf(stderr, "a full file system: not tried, a tmpfs cannot be mounted here\n");
        return;
    }
    static uint8_t bytes[200000];
    expect(gx_file_write(in_dir("f"), gx_slice_text("old"), 0600, true, &err), GX_OK);
    expect(gx_file_write(in_dir("f"), (struct gx_slice){bytes, sizeof(bytes)}, 0600, true, &err), GX_E_FULL);
    expect_content(in_dir("f"), gx_slice_text("old"));
    ck_assert_uint_eq(n_entries(), 1);
    expect(gx_file_write(in_dir("f"), gx_slice_text("new"), 0600, true, &err), GX_OK); /* room again */
    ck_assert_int_eq(umount(dir), 0);
}
END_TEST

START_TEST(a_write_into_a_missing_directory_fails)
{
    expect(gx_file_write(in_dir("no/f"), gx_slice_text("x"), 0600, true, &err), GX_E_IO);
    ck_assert_uint_eq(n_entries(), 0);
    char name[5000];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = 0;
    expect(gx_file_write(name, gx_slice_text("x"), 0600, true, &err), GX_E_INVALID);
}
END_TEST

START_TEST(names_without_a_directory_are_in_the_working_one)
{
    ck_assert_int_eq(chdir(dir), 0);
    expect(gx_file_write("f", gx_slice_text("x"), 0600, false, &err), GX_OK);
    expect_content(in_dir("f"), gx_slice_text("x"));
    expect(gx_file_make_dir("sub/", &err), GX_OK);
    expect(gx_file_remove("f", &err), GX_OK);
    ck_assert_uint_eq(n_entries(), 1);
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(a_read_says_what_is_wrong)
{
    struct gx_slice got;
    expect(gx_file_read(in_dir("f"), 100, &arena, &got, &err), GX_E_NOT_FOUND);
    expect(gx_file_write(in_dir("f"), gx_slice_text("12345"), 0600, true, &err), GX_OK);
    expect(gx_file_read(in_dir("f"), 5, &arena, &got, &err), GX_OK);
    expect(gx_file_read(in_dir("f"), 4, &arena, &got, &err), GX_E_TOO_LARGE);
    ck_assert_uint_eq(got.len, 0);
    expect(gx_file_read(dir, 100, &arena, &got, &err), GX_E_IO);
    expect(gx_file_read(in_dir("f/x"), 100, &arena, &got, &err), GX_E_IO);
    expect(gx_file_read("/proc/self/mem", 100, &arena, &got, &err), GX_E_IO);    /* read(2) fails */
    expect(gx_file_read("/proc/self/status", 100, &arena, &got, &err), GX_E_IO); /* more than stat(2) said */

    struct gx_arena small;
    gx_arena_init(&small, 64);
    expect(gx_file_read(in_dir("f"), 100, &small, &got, &err), GX_OK);
    expect(gx_file_read(in_dir("f"), 100, &small, &got, &err), GX_E_TOO_LARGE);
    gx_arena_fini(&small);
}
END_TEST

START_TEST(a_pipe_in_place_of_a_file_holds_nobody_up)
{
    struct gx_slice got;
    ck_assert_int_eq(mkfifo(in_dir("f"), 0600), 0);
    expect(gx_file_read(in_dir("f"), 100, &arena, &got, &err), GX_E_IO);
}
END_TEST

START_TEST(no_file_stays_open)
{
    struct gx_slice got;
    for (int round = 0; round < 2; round++) {
        int before = dup(0);
        ck_assert_int_eq(close(before), 0);
        expect(gx_file_write(in_dir("f"), gx_slice_text("x"), 0600, true, &err), GX_OK);
        expect(gx_file_write(in_dir("f"), gx_slice_text("x"), 0600, false, &err), GX_E_EXISTS);
        expect(gx_file_read(in_dir("f"), 0, &arena, &got, &err), GX_E_TOO_LARGE);
        expect(gx_file_read(dir, 100, &arena, &got, &err), GX_E_IO);
        expect(gx_file_read("/proc/self/mem", 100, &arena, &got, &err), GX_E_IO);
        expect(gx_file_make_dir(dir, &err), GX_E_EXISTS);
        expect(gx_file_sync_dir(dir, &err), GX_OK);
        expect(gx_file_remove(in_dir("f"), &err), GX_OK);
        int after = dup(0);
        ck_assert_int_eq(close(after), 0);
        ck_assert_int_eq(before, after);
    }
}
END_TEST

START_TEST(a_removed_file_is_gone_and_a_missing_one_is_fine)
{
    expect(gx_file_write(in_dir("f"), gx_slice_text("x"), 0600, true, &err), GX_OK);
    expect(gx_file_remove(in_dir("f"), &err), GX_OK);
    ck_assert_uint_eq(n_entries(), 0);
    expect(gx_file_remove(in_dir("f"), &err), GX_OK);
    expect(gx_file_remove(in_dir("no/f"), &err), GX_OK);
    expect(gx_file_remove(dir, &err), GX_E_IO); /* a directory */
}
END_TEST

START_TEST(a_directory_is_made_for_the_owner_only)
{
    struct stat info;
    (void)umask(0);
    expect(gx_file_make_dir(in_dir("d"), &err), GX_OK);
    ck_assert_int_eq(stat(in_dir("d"), &info), 0);
    ck_assert_uint_eq(info.st_mode & 07777, 0700);
    expect(gx_file_make_dir(in_dir("d"), &err), GX_OK); /* empty */
    expect(gx_file_write(in_dir("d/.f"), gx_slice_text("x"), 0600, true, &err), GX_OK);
    expect(gx_file_make_dir(in_dir("d"), &err), GX_E_EXISTS);
    expect(gx_file_make_dir(in_dir("d/.f"), &err), GX_E_EXISTS);
    expect(gx_file_make_dir(in_dir("no/d"), &err), GX_E_IO);
}
END_TEST

START_TEST(syncing_what_is_no_directory_fails)
{
    expect(gx_file_sync_dir(in_dir("no"), &err), GX_E_IO);
    expect(gx_file_write(in_dir("f"), gx_slice_text("x"), 0600, true, &err), GX_OK);
    expect(gx_file_sync_dir(in_dir("f"), &err), GX_E_IO);
}
END_TEST

static uint8_t sent[1 << 20], received[sizeof(sent) + 1];

static atomic_int n_signals;

static void count_signal(int signal_number)
{
    (void)signal_number;
    n_signals++;
}

/* Reads to the end, but first lets the writer block on a full pipe and be interrupted there some times. */
static void *receive(void *arg)
{
    int fd = *(const int *)arg, waiting = 0;
    while (ioctl(fd, FIONREAD, &waiting) == 0 && waiting < fcntl(fd, F_GETPIPE_SZ))
        sched_yield();
    for (int enough = n_signals + 5; n_signals < enough;)
        sched_yield();
    size_t len = 0;
    ssize_t n;
    while ((n = read(fd, received + len, sizeof(received) - len)) > 0)
        len += (size_t)n;
    return (void *)(uintptr_t)len;
}

START_TEST(everything_is_written_across_short_writes_and_signals)
{
    int ends[2];
    pthread_t reader;
    for (size_t i = 0; i < sizeof(sent); i++)
        sent[i] = (uint8_t)(i ^ (i >> 8));
    ck_assert_int_eq(pipe(ends), 0);
    /* Signals that interrupt write(2) and do not restart it. */
    struct sigaction action = {.sa_handler = count_signal};
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
    sigset_t alarms;
    ck_assert_int_eq(sigemptyset(&alarms), 0);
    ck_assert_int_eq(sigaddset(&alarms, SIGALRM), 0);
    ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &alarms, NULL), 0); /* the reader gets none */
    ck_assert_int_eq(pthread_create(&reader, NULL, receive, &ends[0]), 0);
    ck_assert_int_eq(pthread_sigmask(SIG_UNBLOCK, &alarms, NULL), 0);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0);
    enum gx_status status = gx_file_write_all(ends[1], sent, sizeof(sent), "pipe", &err);
    ck_assert_int_eq(setitimer(ITIMER_REAL, &never, NULL), 0);
    ck_assert_int_eq(close(ends[1]), 0);
    void *len;
    ck_assert_int_eq(pthread_join(reader, &len), 0);
    ck_assert_int_eq(close(ends[0]), 0);
    expect(status, GX_OK);
    ck_assert_uint_eq((uintptr_t)len, sizeof(sent));
    ck_assert_int_eq(memcmp(sent, received, sizeof(sent)), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("file");
    TCase *tc = tcase_create("file");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, a_path_is_directory_and_name);
    tcase_add_test(tc, what_was_written_reads_back);
    tcase_add_test(tc, a_file_has_the_asked_mode_whatever_the_umask_is);
    tcase_add_test(tc, a_file_that_may_not_be_replaced_stays);
    tcase_add_test(tc, what_a_crash_left_behind_does_not_stop_the_next_write);
    tcase_add_test(tc, a_write_that_fails_halfway_leaves_the_old_file_and_nothing_else);
    tcase_add_test(tc, a_full_disk_is_told_from_other_failures);
    tcase_add_test(tc, a_full_file_system_leaves_the_old_file_and_nothing_else);
    tcase_add_test(tc, a_write_into_a_missing_directory_fails);
    tcase_add_test(tc, names_without_a_directory_are_in_the_working_one);
    tcase_add_test(tc, a_read_says_what_is_wrong);
    tcase_add_test(tc, a_pipe_in_place_of_a_file_holds_nobody_up);
    tcase_add_test(tc, no_file_stays_open);
    tcase_add_test(tc, a_removed_file_is_gone_and_a_missing_one_is_fine);
    tcase_add_test(tc, a_directory_is_made_for_the_owner_only);
    tcase_add_test(tc, syncing_what_is_no_directory_fails);
    tcase_add_test(tc, everything_is_written_across_short_writes_and_signals);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
