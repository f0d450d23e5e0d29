/* Promises of datadir.h. Each test has a folder of its own with a data directory in it. */
#include "datadir.h"

#include <check.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "file.h"
#include "temp.h"

#define MIB ((uint64_t)1 << 20)

static char base[64], dir[100];
static struct gx_err err;
static struct gx_datadir *datadir;

static const char *const ours[] = {
    "FORMAT",
    "secret.key",
    "certificate.key",
    "certificate.pub",
    "expunge.log",
    "ballast",
    "store/CURRENT",
    "store/IDENTITY",
    "store/LOCK",
    "store/LOG",
    "store/LOG.old.1764000000000000",
    "store/MANIFEST-000004",
    "store/OPTIONS-000007",
    "store/OPTIONS-000009.dbtmp",
    "store/000012.dbtmp",
    "store/000008.sst",
    "store/1234567.sst",
    "store/000009.log",
    "index/00112233-4455-6677-8899-aabbccddeeff.index",
};

static const char *const left[] = {
    "FORMAT.tmp",
    "secret.key.tmp",
    "certificate.key.tmp",
    "index/00112233-4455-6677-8899-aabbccddeeff.index.tmp",
    "backup.tmp/store/000008.sst",
};

static const char *const strays[] = {
    "000009.log",
    "FORMAT.old",
    "SECRET.KEY",
    "backup.tmpx",
    "core",
    "core.4711",
    "expunge.log.1",
    "foo.bin",
    "foo.tmp",
    "index/00112233-4455-6677-8899-aabbccddeef.index",
    "index/00112233-4455-6677-8899-aabbccddeeff",
    "index/00112233-4455-6677-8899-aabbccddeeffx.index",
    "index/FORMAT",
    "secret.key~",
    "store.old",
    "store/.hidden",
    "store/000001.log.old",
    "store/000008.sst.tmp",
    "store/000008.sst.trash",
    "store/000010.blob",
    "store/LOG.old.",
    "store/MANIFEST-",
    "store/foo.sst",
    "store/secret.key",
};

static const char *in_dir(const char *name)
{
    static char paths[8][200];
    static unsigned next;
    char *path = paths[next++ % 8];
    ck_assert_int_eq(gx_file_path(dir, name, path, sizeof(paths[0]), &err), GX_OK);
    return path;
}

static void expect(enum gx_status status, enum gx_status wanted)
{
    ck_assert_msg(status == wanted, "%s instead of %s: %s", gx_status_name(status), gx_status_name(wanted), err.text);
}

/* A file with its name in it; its folders are made. */
static void put(const char *name)
{
    char path[200];
    (void)snprintf(path, sizeof(path), "%s", in_dir(name));
    for (char *slash = path + strlen(dir) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        (void)mkdir(path, 0700);
        *slash = '/';
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_msg(fd >= 0, "%s", path);
    ck_assert_int_eq(gx_file_write_all(fd, name, strlen(name), name, &err), GX_OK);
    ck_assert_int_eq(close(fd), 0);
}

static bool is_there(const char *name)
{
    struct stat info;
    return lstat(in_dir(name), &info) == 0;
}

static void set_up(void)
{
    gx_temp_folder("datadir", base, sizeof(base));
    (void)snprintf(dir, sizeof(dir), "%s/data", base);
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    for (size_t i = 0; i < GX_COUNT_OF(ours); i++)
        put(ours[i]);
    ck_assert_int_eq(unlink(in_dir("ballast")), 0);
    expect(gx_datadir_open(dir, NULL, 0, &datadir, &err), GX_OK);
}

static void tear_down(void)
{
    gx_datadir_close(datadir);
    ck_assert_msg(gx_file_remove_tree(base, &err) == GX_OK, "%s", err.text);
}

/* ---------------------------------------------------------------- files */

static struct gx_datadir_stray seen[100];
static char seen_names[100][200];
static size_t n_seen;

static enum gx_status see(void *arg, const struct gx_datadir_stray *stray, struct gx_err *e)
{
    (void)arg, (void)e;
    ck_assert_uint_lt(n_seen, GX_COUNT_OF(seen));
    seen[n_seen] = *stray;
    (void)snprintf(seen_names[n_seen++], sizeof(seen_names[0]), "%s", stray->name);
    return GX_OK;
}

static void list(void)
{
    n_seen = 0;
    expect(gx_datadir_list(datadir, see, NULL, &err), GX_OK);
}

START_TEST(what_is_ours_is_known_and_a_crash_s_leftovers_are_removed)
{
    size_t n;
    put("ballast");
    ck_assert_int_eq(mkdir(in_dir("lost+found"), 0700), 0);
    for (size_t i = 0; i < GX_COUNT_OF(left); i++)
        put(left[i]);
    expect(gx_datadir_check(datadir, &err), GX_OK);
    expect(gx_datadir_clean(datadir, &n, &err), GX_OK);
    ck_assert_uint_eq(n, GX_COUNT_OF(left));
    for (size_t i = 0; i < GX_COUNT_OF(left); i++)
        ck_assert_msg(!is_there(left[i]), "%s", left[i]);
    ck_assert(!is_there("backup.tmp"));
    for (size_t i = 0; i < GX_COUNT_OF(ours); i++)
        ck_assert_msg(is_there(ours[i]), "%s", ours[i]);
    expect(gx_datadir_clean(datadir, &n, &err), GX_OK);
    ck_assert_uint_eq(n, 0);
}
END_TEST

START_TEST(what_is_not_ours_is_listed_by_name_and_left_alone)
{
    size_t n;
    for (size_t i = 0; i < GX_COUNT_OF(strays); i++)
        put(strays[i]);
    list();
    ck_assert_uint_eq(n_seen, GX_COUNT_OF(strays));
    for (size_t i = 0; i < n_seen; i++) {
        ck_assert_str_eq(seen_names[i], strays[i]);
        ck_assert_uint_eq(seen[i].n_bytes, strlen(strays[i]));
        ck_assert_uint_eq(seen[i].n_files, 1);
        ck_assert(!seen[i].is_folder && seen[i].modified_us > 0);
    }
    expect(gx_datadir_check(datadir, &err), GX_E_STATE);
    ck_assert_ptr_nonnull(strstr(err.text, "indexd doctor --data"));
    ck_assert_ptr_nonnull(strstr(err.text, "000009.log"));
    expect(gx_datadir_clean(datadir, &n, &err), GX_OK);
    for (size_t i = 0; i < GX_COUNT_OF(strays); i++)
        ck_assert_msg(is_there(strays[i]), "%s", strays[i]);
}
END_TEST

START_TEST(each_kind_of_stray_alone_is_refused_by_its_name)
{
    put(strays[_i]);
    expect(gx_datadir_check(datadir, &err), GX_E_STATE);
    ck_assert_msg(strstr(err.text, strays[_i]) != NULL, "%s", err.text);
}
END_TEST

START_TEST(folder_that_is_not_ours_is_one_stray_with_all_that_is_in_it)
{
    put("store/lost/000021.sst");
    put("store/lost/deep/000022.sst");
    put("store/archive/000003.log");
    put("lost+found/#123");
    put("copy/FORMAT");
    ck_assert_int_eq(mkdir(in_dir("empty"), 0700), 0);
    list();
    ck_assert_uint_eq(n_seen, 5);
    ck_assert_str_eq(seen_names[0], "copy/");
    ck_assert_str_eq(seen_names[1], "empty/");
    ck_assert_str_eq(seen_names[2], "lost+found/");
    ck_assert_str_eq(seen_names[3], "store/archive/");
    ck_assert_str_eq(seen_names[4], "store/lost/");
    ck_assert_uint_eq(seen[1].n_files, 0);
    ck_assert_uint_eq(seen[4].n_files, 2);
    ck_assert_uint_eq(seen[4].n_bytes, strlen("store/lost/000021.sst") + strlen("store/lost/deep/000022.sst"));
    ck_assert(seen[4].is_folder);
    ck_assert_ptr_nonnull(strstr(seen[4].hint, "repair"));
    ck_assert_ptr_nonnull(strstr(seen[3].hint, "write-ahead"));
}
END_TEST

START_TEST(name_of_ours_on_another_kind_of_thing_is_a_stray)
{
    /* A link would lead every erasure past the files. */
    char elsewhere[100];
    (void)snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", base);
    ck_assert_int_eq(rename(in_dir("store"), elsewhere), 0);
    ck_assert_int_eq(symlink(elsewhere, in_dir("store")), 0);
    ck_assert_int_eq(unlink(in_dir("FORMAT")), 0);
    ck_assert_int_eq(mkdir(in_dir("FORMAT"), 0700), 0);
    ck_assert_int_eq(symlink("/dev/null", in_dir("ballast")), 0);
    ck_assert_int_eq(mkfifo(in_dir("pipe"), 0600), 0); /* stores nothing */
    list();
    ck_assert_uint_eq(n_seen, 3);
    ck_assert_str_eq(seen_names[0], "FORMAT/");
    ck_assert_str_eq(seen_names[1], "ballast");
    ck_assert_str_eq(seen_names[2], "store");
    ck_assert_ptr_nonnull(strstr(seen[2].hint, "link"));
}
END_TEST

START_TEST(configured_files_may_stand_in_the_directory)
{
    static const char *const names[] = {"second.log", "ledger/mirror.log", "indexd.ini", "second.log.tmp"};
    char paths[3][200];
    const char *own[5];
    for (size_t i = 0; i < GX_COUNT_OF(names); i++)
        put(names[i]);
    int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/socket", dir);
    ck_assert_int_eq(bind(s, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(close(s), 0);
    list();
    ck_assert_uint_eq(n_seen, 4);
    gx_datadir_close(datadir);
    for (size_t i = 0; i < 3; i++)
        (void)snprintf(paths[i], sizeof(paths[i]), "%s/../data/%s", dir, names[i]);
    own[0] = NULL;
    own[1] = paths[0];
    own[2] = paths[1];
    own[3] = "/nonexistent/elsewhere.log";
    own[4] = paths[2];
    expect(gx_datadir_open(dir, own, 5, &datadir, &err), GX_OK);
    expect(gx_datadir_check(datadir, &err), GX_OK);
    put("ledger/other.log");
    expect(gx_datadir_check(datadir, &err), GX_E_STATE);
    ck_assert_ptr_nonnull(strstr(err.text, "ledger/other.log"));
}
END_TEST

START_TEST(directory_belongs_to_one_at_a_time)
{
    struct gx_datadir *second;
    expect(gx_datadir_open(dir, NULL, 0, &second, &err), GX_E_IN_USE);
    ck_assert_ptr_nonnull(strstr(err.text, dir));
    gx_datadir_close(datadir);
    expect(gx_datadir_open(dir, NULL, 0, &datadir, &err), GX_OK);
    expect(gx_datadir_open(in_dir("nowhere"), NULL, 0, &second, &err), GX_E_NOT_FOUND);
    expect(gx_datadir_open(in_dir("FORMAT"), NULL, 0, &second, &err), GX_E_IO);
    gx_datadir_close(NULL);
}
END_TEST

/* ---------------------------------------------------------------- quarantine */

static void expect_content(const char *path, const char *content)
{
    char text[200] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_msg(fd >= 0, "%s", path);
    ck_assert_int_ge(read(fd, text, sizeof(text) - 1), 0);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_str_eq(text, content);
}

/* Moves a file, a folder and one whose name is taken to @into. */
static void move_all(const char *into)
{
    char path[200];
    struct stat info;
    put("foo.bin");
    put("store/lost/deep/000022.sst");
    put("store/000001.log.old");
    ck_assert_int_eq(symlink("/nowhere", in_dir("store/lost/link")), 0);
    expect(gx_datadir_quarantine(datadir, "foo.bin", into, &err), GX_OK);
    expect(gx_datadir_quarantine(datadir, "store/lost/", into, &err), GX_OK);
    expect(gx_datadir_quarantine(datadir, "store/000001.log.old", into, &err), GX_OK);
    expect(gx_datadir_check(datadir, &err), GX_OK);
    put("foo.bin");
    expect(gx_datadir_quarantine(datadir, "foo.bin", into, &err), GX_OK);
    static const char *const there[][2] = {{"foo.bin", "foo.bin"},
                                           {"foo.bin.1", "foo.bin"},
                                           {"store/000001.log.old", "store/000001.log.old"},
                                           {"store/lost/deep/000022.sst", "store/lost/deep/000022.sst"}};
    for (size_t i = 0; i < GX_COUNT_OF(there); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", into, there[i][0]);
        expect_content(path, there[i][1]);
    }
    (void)snprintf(path, sizeof(path), "%s/store/lost/link", into);
    ck_assert(lstat(path, &info) == 0 && S_ISLNK(info.st_mode));
    ck_assert(!is_there("foo.bin") && !is_there("store/lost") && !is_there("store/000001.log.old"));
    for (size_t i = 0; i < GX_COUNT_OF(ours); i++)
        ck_assert(strcmp(ours[i], "ballast") == 0 || is_there(ours[i]));
}

START_TEST(strays_move_out_with_their_paths)
{
    char into[100];
    (void)snprintf(into, sizeof(into), "%s/found", base);
    move_all(into);
    struct stat info;
    ck_assert_int_eq(stat(into, &info), 0);
    ck_assert_uint_eq(info.st_mode & 07777, 0700);
}
END_TEST

static bool mount_small(const char *where, const char *size)
{
    if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("indexd-test", where, "tmpfs", 0, size) == 0)
        return true;
    fprintf(stderr, "another file system: not tried, a tmpfs cannot be mounted here\n");
    return false;
}

START_TEST(strays_move_to_another_file_system)
{
    char into[100];
    (void)snprintf(into, sizeof(into), "%s/found", base);
    ck_assert_int_eq(mkdir(into, 0700), 0);
    if (!mount_small(into, "size=1m"))
        return;
    move_all(into);
    /* What does not fit stays. */
    static uint8_t big[2 << 20];
    expect(gx_file_write(in_dir("big"), (struct gx_slice){big, sizeof(big)}, 0600, true, &err), GX_OK);
    expect(gx_datadir_quarantine(datadir, "big", into, &err), GX_E_FULL);
    ck_assert(is_there("big"));
    ck_assert_int_eq(umount2(into, MNT_DETACH), 0);
}
END_TEST

START_TEST(quarantine_in_the_data_directory_is_refused)
{
    char link[100];
    put("foo.bin");
    (void)snprintf(link, sizeof(link), "%s/link", base);
    ck_assert_int_eq(symlink(dir, link), 0);
    expect(gx_datadir_quarantine(datadir, "foo.bin", dir, &err), GX_E_INVALID);
    expect(gx_datadir_quarantine(datadir, "foo.bin", in_dir("store"), &err), GX_E_INVALID);
    expect(gx_datadir_quarantine(datadir, "foo.bin", link, &err), GX_E_INVALID);
    expect(gx_datadir_quarantine(datadir, "/etc/passwd", base, &err), GX_E_INVALID);
    expect(gx_datadir_quarantine(datadir, "gone", base, &err), GX_E_IO);
    expect(gx_datadir_quarantine(datadir, "foo.bin", "/nonexistent/a/b", &err), GX_E_IO);
    ck_assert(is_there("foo.bin"));
    char beside[110]; /* "data2" only begins like "data" */
    (void)snprintf(beside, sizeof(beside), "%s2", dir);
    expect(gx_datadir_quarantine(datadir, "foo.bin", beside, &err), GX_OK);
}
END_TEST

/* ---------------------------------------------------------------- room */

static uint64_t room(void)
{
    uint64_t bytes, total;
    expect(gx_datadir_room(datadir, &bytes, &total, &err), GX_OK);
    ck_assert_uint_le(bytes, total);
    return bytes;
}

static void make_ballast(uint64_t bytes, bool wanted)
{
    bool made;
    expect(gx_datadir_make_ballast(datadir, bytes, &made, &err), GX_OK);
    ck_assert_int_eq(made, wanted);
    ck_assert_uint_eq(gx_datadir_ballast(datadir), wanted ? bytes : 0);
}

START_TEST(ballast_takes_room_and_gives_it_back)
{
    struct stat info, again;
    uint64_t freed;
    ck_assert_uint_eq(gx_datadir_ballast(datadir), 0);
    make_ballast(3 * MIB, true);
    ck_assert_int_eq(stat(in_dir("ballast"), &info), 0);
    ck_assert_uint_eq((uint64_t)info.st_size, 3 * MIB);
    ck_assert_uint_ge((uint64_t)info.st_blocks * 512, 3 * MIB);
    make_ballast(3 * MIB, true); /* kept */
    ck_assert_int_eq(stat(in_dir("ballast"), &again), 0);
    ck_assert_uint_eq(info.st_ino, again.st_ino);
    ck_assert_int_eq(info.st_ctim.tv_nsec, again.st_ctim.tv_nsec);
    make_ballast(5 * MIB, true); /* another size */
    expect(gx_datadir_check(datadir, &err), GX_OK);
    expect(gx_datadir_release_ballast(datadir, &freed, &err), GX_OK);
    ck_assert_uint_eq(freed, 5 * MIB);
    ck_assert(!is_there("ballast"));
    expect(gx_datadir_release_ballast(datadir, &freed, &err), GX_OK);
    ck_assert_uint_eq(freed, 0);
    make_ballast(MIB, true);
    make_ballast(0, false);
    ck_assert(!is_there("ballast"));
}
END_TEST

START_TEST(ballast_of_holes_is_made_again)
{
    int fd = open(in_dir("ballast"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_eq(ftruncate(fd, 3 << 20), 0);
    ck_assert_int_eq(close(fd), 0);
    ck_assert_uint_eq(gx_datadir_ballast(datadir), 0);
    make_ballast(3 * MIB, true);
}
END_TEST

START_TEST(ballast_is_made_only_where_there_is_room_for_it_twice)
{
    char disk[100];
    gx_datadir_close(datadir);
    datadir = NULL;
    (void)snprintf(disk, sizeof(disk), "%s/disk", base);
    ck_assert_int_eq(mkdir(disk, 0700), 0);
    if (!mount_small(disk, "size=8m"))
        return;
    (void)snprintf(dir, sizeof(dir), "%s", disk);
    expect(gx_datadir_open(dir, NULL, 0, &datadir, &err), GX_OK);
    make_ballast(5 * MIB, false);
    ck_assert(!is_there("ballast"));
    make_ballast(3 * MIB, true);
    ck_assert_uint_le(room(), 5 * MIB);
    uint64_t freed;
    expect(gx_datadir_release_ballast(datadir, &freed, &err), GX_OK);
    ck_assert_uint_gt(room(), 7 * MIB);
    gx_datadir_close(datadir);
    datadir = NULL;
    ck_assert_int_eq(umount2(disk, MNT_DETACH), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("datadir");
    TCase *tc = tcase_create("datadir");
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, what_is_ours_is_known_and_a_crash_s_leftovers_are_removed);
    tcase_add_test(tc, what_is_not_ours_is_listed_by_name_and_left_alone);
    tcase_add_loop_test(tc, each_kind_of_stray_alone_is_refused_by_its_name, 0, (int)GX_COUNT_OF(strays));
    tcase_add_test(tc, folder_that_is_not_ours_is_one_stray_with_all_that_is_in_it);
    tcase_add_test(tc, name_of_ours_on_another_kind_of_thing_is_a_stray);
    tcase_add_test(tc, configured_files_may_stand_in_the_directory);
    tcase_add_test(tc, directory_belongs_to_one_at_a_time);
    tcase_add_test(tc, strays_move_out_with_their_paths);
    tcase_add_test(tc, strays_move_to_another_file_system);
    tcase_add_test(tc, quarantine_in_the_data_directory_is_refused);
    tcase_add_test(tc, ballast_takes_room_and_gives_it_back);
    tcase_add_test(tc, ballast_of_holes_is_made_again);
    tcase_add_test(tc, ballast_is_made_only_where_there_is_room_for_it_twice);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
