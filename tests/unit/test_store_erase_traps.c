/* Promises of gx_store_erase when something stands in its way: it says what, and works once that is gone. Also of
 * checkpoints, which keep what they hold. */
#include "failpoint.h"
#include "store_records.h"

#include <signal.h>
#include <sys/wait.h>

enum { N_RECORDS = 3000 };

static const uint64_t target[] = {1234};

static struct gx_store *filled_store(void)
{
    struct gx_store *store = new_store();
    put_records(store, 0, N_RECORDS);
    assert_ok(gx_store_flush(store, &err));
    store->unlink_wait_us = 50000;
    return store;
}

static void delete_target(struct gx_store *store)
{
    ck_assert_uint_eq(traces(target, 1), WINDOWS); /* or the looks afterwards prove nothing */
    delete_records(store, target, 1);
}

static void assert_cleaned(struct gx_store *store)
{
    struct gx_store_erased erased;
    store->unlink_wait_us = GX_STORE_UNLINK_WAIT_US;
    assert_ok(erase_records(store, target, 1, &erased));
    ck_assert_uint_eq(traces(target, 1), 0);
    assert_whole(store, target[0] - 1);
    assert_whole(store, target[0] + 1);
}

/* Not clean, for this reason, and no time is set that is not true. */
static void assert_stopped(struct gx_store *store, enum gx_status status, const char *reason)
{
    struct gx_store_erased erased;
    assert_status(erase_records(store, target, 1, &erased), status);
    ck_assert_msg(strstr(err.text, reason) != NULL, "%s", err.text);
    ck_assert_int_eq(erased.unlinked_at_us, 0);
    ck_assert_uint_gt(traces(target, 1), 0);
}

static void compact(struct gx_store *store, enum gx_family family)
{
    rocksdb_compactoptions_t *options = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_bottommost_level_compaction(options, 2); /* kForce */
    rocksdb_compact_range_cf_opt(store->db, store->families[family], options, NULL, 0, NULL, 0);
    rocksdb_compactoptions_destroy(options);
}

/* ---------------------------------------------------------------- readers */

START_TEST(a_snapshot_keeps_the_values_and_is_named)
{
    struct gx_store *store = filled_store();
    const rocksdb_snapshot_t *snapshot = rocksdb_create_snapshot(store->db);
    delete_target(store);
    assert_stopped(store, GX_E_STATE, "snapshot");
    /* Value and deletion come to lie in the last level together, where an ordinary compaction leaves them. */
    for (int family = GX_CF_EMB; family <= GX_CF_BY_SUBJECT; family++)
        compact(store, (enum gx_family)family);
    assert_stopped(store, GX_E_STATE, "snapshot");
    set_option(store, GX_CF_EMB, "disable_auto_compactions", "true"); /* RocksDB would begin with such files now */
    set_option(store, GX_CF_REC, "disable_auto_compactions", "true");
    rocksdb_release_snapshot(store->db, snapshot);
    ck_assert_uint_gt(traces(target, 1), 0);
    assert_cleaned(store);
    gx_store_close(store);
}
END_TEST

START_TEST(an_iterator_keeps_the_files_and_is_counted)
{
    struct gx_store *store = filled_store();
    struct gx_store_iter *iter;
    assert_ok(gx_store_iter_begin(store, GX_CF_EMB, (struct gx_slice){0}, (struct gx_slice){0}, false, &iter, &err));
    delete_target(store);
    struct gx_store_erased erased;
    for (int round = 0; round < 2; round++) { /* also a file that was replaced long before */
        assert_stopped(store, GX_E_STATE, "1 readers");
        assert_status(erase_records(store, target, 1, &erased), GX_E_STATE);
        ck_assert_int_gt(erased.compacted_at_us, 0);
    }
    gx_store_iter_end(iter);
    assert_cleaned(store);
    gx_store_close(store);
}
END_TEST

START_TEST(files_that_may_not_be_removed_are_noticed)
{
    struct gx_store *store = filled_store();
    char *error = NULL;
    rocksdb_disable_file_deletions(store->db, &error);
    ck_assert_ptr_null(error);
    delete_target(store);
    assert_stopped(store, GX_E_STATE, "still there");
    rocksdb_enable_file_deletions(store->db, 1, &error);
    ck_assert_ptr_null(error);
    assert_cleaned(store);
    gx_store_close(store);
}
END_TEST

/* ---------------------------------------------------------------- checkpoints */

START_TEST(a_checkpoint_is_a_whole_store_that_erasures_do_not_reach)
{
    struct gx_store *store = filled_store();
    char copy[400];
    snprintf(copy, sizeof(copy), "%s-copy", dir);
    put_records(store, N_RECORDS, N_RECORDS + 10); /* not flushed */
    assert_ok(gx_store_checkpoint(store, copy, &err));
    assert_status(gx_store_checkpoint(store, copy, &err), GX_E_EXISTS);
    delete_target(store);
    assert_cleaned(store);
    ck_assert_uint_eq(traces_in(copy, target, 1, 0), WINDOWS);
    struct gx_store *second;
    assert_ok(gx_store_open(copy, NULL, &second, &err));
    for (uint64_t i = 1200; i < 1300; i++)
        assert_whole(second, i);
    assert_whole(second, N_RECORDS + 9);
    gx_store_close(second);
    gx_store_close(store);
}
END_TEST

START_TEST(a_checkpoint_that_cannot_be_made_leaves_nothing)
{
    struct gx_store *store = filled_store();
    char copy[500], parent[400];
    snprintf(parent, sizeof(parent), "%s-missing", dir);
    snprintf(copy, sizeof(copy), "%s/copy", parent);
    assert_status(gx_store_checkpoint(store, copy, &err), GX_E_IO);
    ck_assert_int_ne(access(parent, F_OK), 0);
    struct stat here, there;
    if (stat("/dev/shm", &there) == 0 && stat(gx_suite_folder(), &here) == 0 && here.st_dev != there.st_dev) {
        snprintf(copy, sizeof(copy), "/dev/shm/indexd-test-%d", (int)getpid());
        assert_status(gx_store_checkpoint(store, copy, &err), GX_E_INVALID);
        ck_assert_int_ne(access(copy, F_OK), 0);
    }
    uint64_t first = 1;
    snprintf(copy, sizeof(copy), "%s-copy", dir);
    gx_store_set_fault(store, fail_one, &first);
    assert_status(gx_store_checkpoint(store, copy, &err), GX_E_FULL);
    ck_assert_int_ne(access(copy, F_OK), 0);
    gx_store_set_fault(store, NULL, NULL);
    assert_ok(gx_store_checkpoint(store, copy, &err));
    gx_store_close(store);
}
END_TEST

/* ---------------------------------------------------------------- damage, failing writes */

/* Flips a byte of the row's file well away from the record. */
START_TEST(a_damaged_file_is_named_and_makes_the_store_read_only)
{
    struct gx_store *store = filled_store();
    delete_target(store);
    assert_ok(gx_store_flush(store, &err));
    gx_store_close(store);
    DIR *listing = opendir(dir);
    char name[300] = "";
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        char path[700];
        struct stat info;
        int percent = 40;
        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        if (strstr(entry->d_name, ".sst") != NULL && stat(path, &info) == 0 && info.st_size > 1 << 20) {
            ck_assert(flip_middle(path, &percent));
            snprintf(name, sizeof(name), "%s", entry->d_name);
        }
    }
    closedir(listing);
    store = open_store();
    assert_stopped(store, GX_E_CORRUPT, name);
    ck_assert_msg(strstr(err.text, "read-only") != NULL && strstr(err.text, "restore a backup") != NULL, "%s",
                  err.text);
    struct gx_store_batch *batch = new_batch(store);
    put_record(batch, N_RECORDS, 0);
    assert_status(gx_store_commit(store, batch, &err), GX_E_CORRUPT);
    ck_assert_msg(strstr(err.text, "read-only") != NULL && strstr(err.text, name) != NULL, "%s", err.text);
    gx_store_batch_free(batch);
    assert_stopped(store, GX_E_CORRUPT, name); /* and says so again */
    assert_whole(store, 0);
    gx_store_close(store);
    store = open_store();
    assert_stopped(store, GX_E_CORRUPT, name);
    gx_store_close(store);
}
END_TEST

START_TEST(each_write_of_an_erasure_may_fail_once)
{
    struct gx_store *store = filled_store();
    delete_target(store);
    uint64_t n = 0;
    enum gx_status status = GX_E_FULL;
    while (status != GX_OK) {
        struct gx_store_erased erased;
        n++;
        ck_assert_uint_lt(n, 100);
        if (n % 2 == 0) {
            gx_store_close(store);
            store = open_store();
        }
        gx_store_set_fault(store, fail_one, &n);
        status = erase_records(store, target, 1, &erased);
        ck_assert_msg(status == GX_OK || status == GX_E_FULL, "%s", err.text);
        ck_assert(status == GX_OK || erased.unlinked_at_us == 0);
        gx_store_set_fault(store, NULL, NULL);
    }
    ck_assert_uint_gt(n, 7); /* five deletions, a flush, a compaction at least */
    ck_assert_uint_eq(traces(target, 1), 0);
    assert_cleaned(store);
    gx_store_close(store);
}
END_TEST

struct stopper {
    int n_asked, stop_at;
};

static bool stop_at(void *arg)
{
    struct stopper *stopper = arg;
    return ++stopper->n_asked == stopper->stop_at;
}

START_TEST(an_erasure_can_be_stopped_at_each_step)
{
    struct gx_store *store = filled_store();
    delete_target(store);
    struct stains s = stains_of(target, 1);
    enum gx_status status = GX_E_CANCELLED;
    int n = 0;
    while (status == GX_E_CANCELLED) {
        struct stopper stopper = {.stop_at = ++n};
        struct gx_store_erased erased;
        status = gx_store_erase(store, s.all, s.n, stop_at, &stopper, &erased, &err);
    }
    ck_assert_msg(status == GX_OK, "%s", err.text);
    ck_assert_int_gt(n, 5);
    ck_assert_uint_eq(traces(target, 1), 0);
    gx_store_close(store);
}
END_TEST

/* ---------------------------------------------------------------- interruption */

/* Its own process: RocksDB's threads do not survive a fork, so the parent has no store open meanwhile. */
static void die_at(const char *failpoint)
{
    pid_t child = fork();
    if (child == 0) {
        setenv("INDEXD_FAILPOINT", failpoint, 1);
        gx_failpoint_init();
        struct gx_store *store = open_store();
        struct gx_store_erased erased;
        enum gx_status status = erase_records(store, target, 1, &erased);
        _exit(status == GX_OK ? 0 : 1);
    }
    int outcome;
    ck_assert_int_eq(waitpid(child, &outcome, 0), child);
    ck_assert_msg(WIFSIGNALED(outcome) && WTERMSIG(outcome) == SIGKILL, "%s was not passed", failpoint);
}

static void in_child(void (*work)(struct gx_store *store), bool create)
{
    pid_t child = fork();
    if (child == 0) {
        struct gx_store *store = create ? filled_store() : open_store();
        work(store);
        gx_store_close(store);
        _exit(0);
    }
    int outcome;
    ck_assert_int_eq(waitpid(child, &outcome, 0), child);
    ck_assert_int_eq(outcome, 0);
}

START_TEST(an_erasure_that_died_is_done_anew)
{
    static const char *const points[] = {"store_erase.before_flush", "store_erase.after_flush",
                                         "store_erase.after_compaction", "store_erase.after_unlink"};
    for (size_t i = 0; i < GX_COUNT_OF(points); i++) {
        begin_test();
        in_child(delete_target, true);
        die_at(points[i]);
        in_child(assert_cleaned, false);
        end_test();
    }
    begin_test();
    in_child(delete_target, true);
    for (size_t i = 0; i < GX_COUNT_OF(points); i++) /* at one place after the other */
        die_at(points[i]);
    in_child(assert_cleaned, false);
}
END_TEST

/* ---------------------------------------------------------------- a full disk */

START_TEST(an_erasure_that_met_a_full_disk_is_repeated_when_there_is_room)
{
    if (!mount_small("48m"))
        return;
    struct gx_store *store = filled_store();
    delete_target(store);
    char ballast[320];
    snprintf(ballast, sizeof(ballast), "%s/ballast", gx_suite_folder());
    fill_disk(ballast);
    assert_stopped(store, GX_E_FULL, "make room");
    struct gx_store_batch *batch = new_batch(store);
    put_record(batch, N_RECORDS, 0);
    struct gx_store_erased erased;
    enum gx_status status;
    for (int i = 0; i < 5; i++) { /* it is asked for more; RocksDB may have found some room meanwhile */
        status = erase_records(store, target, 1, &erased);
        ck_assert_msg(status == GX_E_FULL || traces(target, 1) == 0, "%d: %s", status, err.text);
        status = gx_store_commit(store, batch, &err);
        ck_assert_msg(status == GX_E_FULL || status == GX_OK, "%d: %s", status, err.text);
        status = gx_store_flush(store, &err);
        ck_assert_msg(status == GX_E_FULL || status == GX_OK, "%d: %s", status, err.text);
    }
    gx_store_batch_free(batch);
    ck_assert_int_eq(unlink(ballast), 0);
    while ((status = erase_records(store, target, 1, &erased)) == GX_E_FULL) /* RocksDB looks again every 5 s */
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    ck_assert_msg(status == GX_OK, "%s", err.text);
    assert_cleaned(store);
    gx_store_close(store);
    umount2(gx_suite_folder(), MNT_DETACH);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_erase_traps");
    TCase *tests = tcase_create("store_erase_traps");
    tcase_add_checked_fixture(tests, begin_test, end_test);
    tcase_add_test(tests, a_snapshot_keeps_the_values_and_is_named);
    tcase_add_test(tests, an_iterator_keeps_the_files_and_is_counted);
    tcase_add_test(tests, files_that_may_not_be_removed_are_noticed);
    tcase_add_test(tests, a_checkpoint_is_a_whole_store_that_erasures_do_not_reach);
    tcase_add_test(tests, a_checkpoint_that_cannot_be_made_leaves_nothing);
    tcase_add_test(tests, a_damaged_file_is_named_and_makes_the_store_read_only);
    tcase_add_test(tests, each_write_of_an_erasure_may_fail_once);
    tcase_add_test(tests, an_erasure_can_be_stopped_at_each_step);
    tcase_add_test(tests, an_erasure_that_died_is_done_anew);
    tcase_add_test(tests, an_erasure_that_met_a_full_disk_is_repeated_when_there_is_room);
    suite_add_tcase(suite, tests);
    return gx_suite_run_in_folder(suite);
}
