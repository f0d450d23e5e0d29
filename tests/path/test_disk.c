/* A full disk: writes are refused, nothing is half done, searches go on, and it goes on where it stopped. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "served.h"

#define DIM   256
#define BATCH 100

static struct gx_served served;
static char filler[100];

/* A small file system of the test's own, that nobody else sees; false where the system does not allow it. */
static bool mount_small(const char *dir)
{
    if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return false;
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    return mount("indexd-test", dir, "tmpfs", 0, "size=64m") == 0;
}

/* Begins with a data directory on a disk that is nearly full, or with files that may not grow far. */
static bool begin(void)
{
    char disk[80];
    struct gx_server_exit made;
    gx_server_begin(&served.server);
    ck_assert(gx_people_init(&served.people, GX_SERVED_SEED, DIM, GX_SERVED_ROWS));
    (void)snprintf(disk, sizeof(disk), "%s/disk", served.server.base);
    bool mounted = mount_small(disk);
    if (mounted) {
        (void)snprintf(served.server.data, sizeof(served.server.data), "%s/data", disk);
        (void)snprintf(filler, sizeof(filler), "%s/filler", disk);
        const char *const init[] = {"init", "--data", served.server.data, NULL};
        gx_server_command(&served.server, init, &made);
        ck_assert_int_eq(made.code, 0);
        int fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(posix_fallocate(fd, 0, 56 << 20), 0);
        ck_assert_int_eq(close(fd), 0);
    } else {
        served.server.file_size_max = 2 << 20;
    }
    gx_server_start(&served.server);
    gx_served_connect(&served);
    gx_served_create(&served, "g", "flat");
    return mounted;
}

/* Room again: the file is gone, or the server starts without its limit. */
static void make_room(bool mounted)
{
    if (mounted) {
        ck_assert_int_eq(unlink(filler), 0);
        return;
    }
    served.server.file_size_max = 0;
    gx_served_restart(&served, false);
}

static bool is_refusal(enum gx_status status)
{
    return status == GX_E_FULL || status == GX_E_IO || status == GX_E_BUSY;
}

/* The number of records of the batch that are there. */
static size_t count_batch(uint64_t first)
{
    size_t n = 0;
    for (uint64_t row = first; row < first + BATCH; row++)
        n += gx_served_has(&served, "g", row);
    return n;
}

/* Every batch below @n is there; the one at @n whole or not at all. */
static void check_records(uint64_t n)
{
    for (uint64_t row = 0; row < n; row += 37)
        ck_assert(gx_served_finds(&served, "g", row, 1));
    ck_assert_uint_ge(gx_served_records(&served, "g"), n);
}

static bool write_again(uint64_t row)
{
    enum gx_status status = gx_served_insert(served.client, &served.people, "g", row, BATCH, NULL, NULL);
    ck_assert_msg(status == GX_OK || is_refusal(status), "%d %s", (int)status, gx_client_error());
    return status == GX_OK;
}

START_TEST(full_disk_refuses_writes_whole_and_searches_go_on)
{
    bool mounted = begin();
    uint64_t row = 0;
    enum gx_status status;
    while ((status = gx_served_insert(served.client, &served.people, "g", row, BATCH, NULL, NULL)) == GX_OK) {
        row += BATCH;
        ck_assert_uint_lt(row, 200000);
    }
    ck_assert_msg(status == GX_E_FULL, "%d %s", (int)status, gx_client_error());
    ck_assert_uint_gt(row, 0);
    ck_assert_uint_eq(count_batch(row), 0);
    ck_assert_uint_eq(gx_served_records(&served, "g"), row);
    check_records(row);

    /* An expungement is done or refused; a refused one leaves its records where they were, or hides them until the
     * disk takes it. */
    struct gx_client_ticket ticket;
    const char *ids[] = {"photo-00000003"};
    status = gx_client_expunge(served.client, "g", GX_CLIENT_RECORD, ids, 1, "order", 1, false, "full", &ticket);
    ck_assert_msg(status == GX_OK || is_refusal(status), "%d %s", (int)status, gx_client_error());
    bool hidden = !gx_served_finds(&served, "g", 3, 1);
    ck_assert(status != GX_OK || hidden);
    int state;
    gx_served_ok(gx_client_health(served.client, NULL, &state));

    make_room(mounted);
    gx_served_wait_until(write_again(row));
    ck_assert_uint_eq(count_batch(row), BATCH);
    gx_served_wait_until((status = gx_client_expunge(served.client, "g", GX_CLIENT_RECORD, ids, 1, "order", -1, false,
                                                     NULL, &ticket)) == GX_OK ||
                         !is_refusal(status));
    gx_served_ok(status);
    ck_assert(!gx_served_finds(&served, "g", 3, 1));
    for (int orderly = 0; orderly < 2; orderly++) {
        gx_served_restart(&served, orderly != 0);
        ck_assert_uint_eq(gx_served_records(&served, "g"), row + BATCH - 1);
        ck_assert(!gx_served_has(&served, "g", 3));
        ck_assert(gx_served_finds(&served, "g", row + BATCH - 1, 1));
    }
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
    if (mounted) {
        char *disk = served.server.data;
        *strrchr(disk, '/') = '\0';
        ck_assert_int_eq(umount2(disk, MNT_DETACH), 0);
    }
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- ballast, store.min_free */

#define BALLAST ((off_t)16 << 20)

/* On a disk of its own, with a ballast, and 1000 records; false where that is not allowed. */
static bool begin_on_disk(const char *settings)
{
    char disk[80];
    struct gx_server_exit made;
    gx_server_begin(&served.server);
    ck_assert(gx_people_init(&served.people, GX_SERVED_SEED, DIM, GX_SERVED_ROWS));
    (void)snprintf(disk, sizeof(disk), "%s/disk", served.server.base);
    if (!mount_small(disk)) {
        fprintf(stderr, "a full disk: not tried, a tmpfs cannot be mounted here\n");
        gx_server_end(&served.server);
        return false;
    }
    (void)snprintf(served.server.data, sizeof(served.server.data), "%s/data", disk);
    (void)snprintf(filler, sizeof(filler), "%s/filler", disk);
    (void)snprintf(served.server.settings, sizeof(served.server.settings), "[store]\n%s", settings);
    const char *const init[] = {"init", "--data", served.server.data, NULL};
    gx_server_command(&served.server, init, &made);
    ck_assert_int_eq(made.code, 0);
    gx_server_start(&served.server);
    gx_served_connect(&served);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", 1000);
    return true;
}

static void end_on_disk(void)
{
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
    *strrchr(served.server.data, '/') = '\0';
    ck_assert_int_eq(umount2(served.server.data, MNT_DETACH), 0);
    gx_served_end(&served);
}

/* Not a byte is left but @room. */
static void fill_disk(off_t room)
{
    static const char zeros[4096];
    struct statvfs info;
    int fd = open(filler, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstatvfs(fd, &info), 0);
    off_t wanted = (off_t)(info.f_bavail * info.f_frsize) - room;
    if (wanted > 0)
        ck_assert_int_eq(posix_fallocate(fd, 0, wanted), 0);
    if (room == 0)
        while (write(fd, zeros, sizeof(zeros)) > 0)
            continue;
    ck_assert_int_eq(close(fd), 0);
}

static off_t ballast(void)
{
    char path[200];
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/ballast", served.server.data);
    return stat(path, &st) == 0 ? st.st_size : 0;
}

static void expunge_one(uint64_t row)
{
    char id[GX_PEOPLE_ID_MAX];
    const char *ids[] = {id};
    struct gx_client_ticket ticket;
    gx_people_record_id(row, id);
    gx_served_ok(gx_client_expunge(served.client, "g", GX_CLIENT_RECORD, ids, 1, "order", 1, false, NULL, &ticket));
    ck_assert(!gx_served_finds(&served, "g", row, 1));
}

START_TEST(full_disk_stops_no_expungement_while_there_is_ballast)
{
    if (!begin_on_disk("ballast = 16\nmin_free = 0\n"))
        return;
    ck_assert_int_eq(ballast(), BALLAST);
    fill_disk(0);
    uint64_t row = 0;
    while (ballast() > 0) { /* what files have reserved is used up first */
        ck_assert_uint_lt(row, 900);
        expunge_one(row++);
    }
    ck_assert_uint_eq(gx_server_log_count(&served.server, "ballast_released"), 1);
    ck_assert_uint_eq(gx_served_stats(&served, "g").ballast_bytes, 0);
    for (int i = 0; i < 20; i++)
        expunge_one(row++);
    ck_assert_uint_eq(gx_served_records(&served, "g"), 1000 - row);

    ck_assert_int_eq(unlink(filler), 0);
    gx_served_wait_until(ballast() == BALLAST);
    struct gx_client_gallery_stats stats = gx_served_stats(&served, "g");
    ck_assert_uint_eq(stats.ballast_bytes, (uint64_t)BALLAST);
    ck_assert(stats.disk_free_bytes > 20 << 20 && stats.disk_free_bytes < 64 << 20);
    gx_served_wait_until(write_again(1000));
    gx_served_restart(&served, false);
    ck_assert_uint_eq(gx_served_records(&served, "g"), 1000 - row + BATCH);
    ck_assert(!gx_served_has(&served, "g", row - 1));
    ck_assert(gx_served_finds(&served, "g", row, 1));
    end_on_disk();
}
END_TEST

START_TEST(full_disk_does_not_stop_the_start_while_there_is_ballast)
{
    if (!begin_on_disk("ballast = 16\nmin_free = 0\n"))
        return;
    for (int orderly = 0; orderly < 2; orderly++) {
        gx_client_close(served.client);
        served.client = NULL;
        if (orderly != 0)
            gx_server_stop(&served.server);
        else
            gx_server_kill(&served.server);
        ck_assert_int_eq(ballast(), BALLAST);
        fill_disk(0);
        gx_server_start(&served.server);
        /* It may be back: opening the store removes files. */
        ck_assert_uint_eq(gx_server_log_count(&served.server, "ballast_released"), (size_t)orderly + 1);
        gx_served_connect(&served);
        ck_assert(gx_served_finds(&served, "g", 500, 1));
        expunge_one((uint64_t)orderly);
        ck_assert_int_eq(unlink(filler), 0);
        gx_served_wait_until(ballast() == BALLAST);
    }
    ck_assert_uint_eq(gx_served_records(&served, "g"), 998);
    end_on_disk();
}
END_TEST

START_TEST(enrolment_leaves_the_room_that_expungements_may_need)
{
    if (!begin_on_disk("ballast = 0\nmin_free = 25\n"))
        return;
    ck_assert_int_eq(ballast(), 0);
    fill_disk(14 << 20);
    gx_served_refused(gx_served_insert(served.client, &served.people, "g", 1000, BATCH, NULL, NULL), GX_E_FULL);
    ck_assert_msg(strstr(gx_client_error(), "store.min_free") != NULL, "%s", gx_client_error());
    ck_assert(gx_served_finds(&served, "g", 7, 1));
    expunge_one(3);
    ck_assert_int_eq(unlink(filler), 0);
    ck_assert(write_again(1000));
    ck_assert_uint_eq(gx_served_records(&served, "g"), 999 + BATCH);
    end_on_disk();
}
END_TEST

/* ---------------------------------------------------------------- */

/* The same without a disk of its own: a file may not grow. */
START_TEST(write_that_fails_is_not_half_done_and_a_restart_has_all_that_was_acknowledged)
{
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", "flat");
    gx_served_fill(&served, "g", 500);
    gx_client_close(served.client);
    served.client = NULL;
    gx_server_stop(&served.server);
    served.server.file_size_max = 1 << 20;
    gx_server_start(&served.server);
    gx_served_connect(&served);
    uint64_t row = 500;
    enum gx_status status;
    while ((status = gx_served_insert(served.client, &served.people, "g", row, BATCH, NULL, NULL)) == GX_OK) {
        row += BATCH;
        ck_assert_uint_lt(row, 20000);
    }
    ck_assert_msg(is_refusal(status), "%d %s", (int)status, gx_client_error());
    ck_assert_uint_eq(count_batch(row), 0);
    check_records(row);
    served.server.file_size_max = 0;
    gx_served_restart(&served, false);
    check_records(row);
    size_t n = count_batch(row);
    ck_assert(n == 0 || n == BATCH);
    gx_served_wait_until(write_again(row));
    ck_assert_uint_eq(gx_served_records(&served, "g"), row + BATCH);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {full_disk_refuses_writes_whole_and_searches_go_on, 0},
        {full_disk_stops_no_expungement_while_there_is_ballast, 0},
        {full_disk_does_not_stop_the_start_while_there_is_ballast, 0},
        {enrolment_leaves_the_room_that_expungements_may_need, 0},
        {write_that_fails_is_not_half_done_and_a_restart_has_all_that_was_acknowledged, 0},
    };
    return gx_served_run("disk", tests, sizeof(tests) / sizeof(tests[0]));
}
