/* Promises of store.h under damage, failing writes, full disks and crashes: what was committed is there or the store
 * says that it is damaged, by name. */
#include "store.h"
#include "store_tools.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static bool remove_file(const char *path, const void *arg)
{
    (void)arg;
    return unlink(path) == 0;
}

/* ---------------------------------------------------------------- files */

START_TEST(a_flush_empties_the_log_of_writes_and_no_log_shows_a_key)
{
    struct gx_store *store = new_store();
    static const char key[] = "KEY-OF-A-SEALED-ARREST", hex[] = "4B45592D4F462D412D5345414C45442D415252455354";
    static const char value[] = "VALUE-OF-A-SEALED-ARREST";
    put_now(store, GX_CF_BY_ARREST, text(key), text(value));
    put_now(store, GX_CF_EMB, text("other"), text("row"));
    ck_assert_int_gt(count_files(".log", file_contains, value), 0); /* or the search below proves nothing */
    assert_ok(gx_store_flush(store, &err));
    ck_assert_int_gt(count_files(".sst", file_contains, value), 0);
    while (count_files(".log", file_contains, value) > 0) /* removed by a thread of RocksDB */
        sched_yield();
    gx_store_close(store);
    store = open_store();
    ck_assert(has(store, GX_CF_BY_ARREST, key));
    ck_assert_int_gt(count_files("LOG", NULL, NULL), 0);
    ck_assert_int_eq(count_files("LOG", file_contains, key) + count_files("LOG", file_contains, hex), 0);
    gx_store_close(store);
}
END_TEST

enum { N_ROWS = 2000, ROW_LEN = 2056 };

static void fill(struct gx_store *store, bool flush)
{
    static uint8_t row[ROW_LEN];
    struct gx_store_batch *batch = new_batch(store);
    for (uint32_t i = 0; i < N_ROWS; i++) {
        for (size_t j = 0; j < sizeof(row); j++)
            row[j] = (uint8_t)gx_random_next(&random_state);
        char key[32];
        int len = snprintf(key, sizeof(key), "SECRET-KEY-%08u", i);
        gx_store_batch_put(batch, GX_CF_EMB, (struct gx_slice){(uint8_t *)key, (size_t)len},
                           (struct gx_slice){row, sizeof(row)});
        if (i % 100 == 99) {
            assert_ok(gx_store_commit(store, batch, &err));
            gx_store_batch_clear(batch);
        }
    }
    gx_store_batch_free(batch);
    if (flush)
        assert_ok(gx_store_flush(store, &err));
}

START_TEST(a_damaged_block_is_told_from_the_end)
{
    struct gx_store *store = new_store();
    fill(store, true);
    gx_store_close(store);
    int percent = 40;
    ck_assert_int_eq(count_files(".sst", flip_middle, &percent), 1);
    store = open_store();
    struct gx_store_iter *iter;
    assert_ok(gx_store_iter_begin(store, GX_CF_EMB, text("SECRET"), (struct gx_slice){0}, false, &iter, &err));
    bool found = true;
    struct gx_slice key, value;
    int n = 0;
    enum gx_status status = GX_OK;
    while (found && (status = gx_store_iter_next(iter, &found, &key, &value, &err)) == GX_OK)
        n += found;
    ck_assert_int_eq(status, GX_E_CORRUPT);
    ck_assert_int_gt(n, N_ROWS / 4);
    ck_assert_int_lt(n, N_ROWS / 2);
    ck_assert_msg(strstr(err.text, ".sst offset") != NULL && strstr(err.text, "SECRET") == NULL, "%s", err.text);
    ck_assert_ptr_null(strstr(err.text, dir));
    assert_status(gx_store_iter_next(iter, &found, &key, &value, &err), GX_E_CORRUPT);
    gx_store_iter_end(iter);
    int n_damaged = 0;
    for (int i = 0; i < N_ROWS; i++) {
        char name[32];
        snprintf(name, sizeof(name), "SECRET-KEY-%08d", i);
        status = gx_store_get(store, GX_CF_EMB, text(name), &arena, &value, &err);
        ck_assert(status == GX_OK || status == GX_E_CORRUPT);
        n_damaged += status == GX_E_CORRUPT;
        gx_arena_reset(&arena);
    }
    ck_assert_int_ge(n_damaged, 1);
    ck_assert_int_le(n_damaged, 4);
    gx_store_close(store);
}
END_TEST

START_TEST(a_damaged_or_missing_file_is_refused_by_name)
{
    struct gx_store *store = new_store();
    fill(store, false);
    gx_store_close(store);
    int percent = 50;
    ck_assert_int_ge(count_files(".log", NULL, NULL), 1);
    DIR *listing = opendir(dir);
    char path[600] = "";
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        struct stat info;
        char candidate[600];
        snprintf(candidate, sizeof(candidate), "%s/%s", dir, entry->d_name);
        if (strstr(entry->d_name, ".log") != NULL && stat(candidate, &info) == 0 && info.st_size > 1000000)
            snprintf(path, sizeof(path), "%s", candidate);
    }
    closedir(listing);
    flip_middle(path, &percent); /* in the middle of what was acknowledged */
    assert_status(gx_store_open(dir, NULL, &store, &err), GX_E_CORRUPT);
    flip_middle(path, &percent); /* well again */
    store = open_store();
    assert_ok(gx_store_flush(store, &err));
    gx_store_close(store);
    ck_assert_int_ge(count_files(".sst", remove_file, NULL), 1);
    assert_status(gx_store_open(dir, NULL, &store, &err), GX_E_CORRUPT);
    ck_assert_msg(strstr(err.text, ".sst") != NULL || strstr(err.text, ".ldb") != NULL, "%s", err.text);
}
END_TEST

/* ---------------------------------------------------------------- failing writes, crashes */

/* Calls of RocksDB land here: how much of the write-ahead log would a power cut leave? */
static struct {
    char wal[400];
    off_t synced;
} disk;

int fdatasync(int fd)
{
    char link[64], path[400];
    struct stat info;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof(path) - 1);
    bool is_wal = len > 4 && memcmp(path + len - 4, ".log", 4) == 0 && fstat(fd, &info) == 0;
    int outcome = (int)syscall(SYS_fdatasync, fd);
    if (is_wal && outcome == 0) {
        memcpy(disk.wal, path, (size_t)len);
        disk.wal[len] = '\0';
        disk.synced = info.st_size;
    }
    return outcome;
}

START_TEST(what_is_committed_is_on_the_disk)
{
    struct gx_store *store = new_store();
    for (int i = 0; i < 20; i++) {
        char value[64];
        snprintf(value, sizeof(value), "a value that is looked for %d", i);
        disk.synced = 0;
        if (i < 19)
            put_now(store, GX_CF_REC, text("key"), text(value));
        else
            assert_ok(gx_store_delete_range(store, GX_CF_REC, text(value), text("key"), &err));
        struct stat info;
        ck_assert_int_eq(stat(disk.wal, &info), 0);
        ck_assert(file_contains(disk.wal, value));
        ck_assert_int_eq(info.st_size, disk.synced);
    }
    gx_store_close(store);
}
END_TEST

static const char *key_of(int round, int i)
{
    static char key[32];
    snprintf(key, sizeof(key), "key-%d-%d", round, i);
    return key;
}

START_TEST(a_failed_write_changes_nothing_and_the_next_one_works)
{
    struct gx_store *store = new_store();
    struct gx_store_batch *batch = new_batch(store);
    for (int round = 1; round <= 9; round++) { /* the eight writes of a round fail in turn; none in the ninth */
        uint64_t ordinal = (uint64_t)round;
        int n_failed = 0;
        gx_store_set_fault(store, fail_one, &ordinal);
        for (int i = 0; i < 6; i++) {
            gx_store_batch_put(batch, GX_CF_REC, text(key_of(round, i)), text("1"));
            gx_store_batch_put(batch, GX_CF_BY_RECORD, text(key_of(round, i)), text("1"));
            enum gx_status status = gx_store_commit(store, batch, &err);
            n_failed += status == GX_E_FULL;
            ck_assert_int_eq(has(store, GX_CF_REC, key_of(round, i)), status == GX_OK);
            ck_assert_int_eq(has(store, GX_CF_BY_RECORD, key_of(round, i)), status == GX_OK);
            if (status != GX_OK)
                assert_ok(gx_store_commit(store, batch, &err)); /* the batch is still what it was */
            gx_store_batch_clear(batch);
            if (i == 2)
                n_failed += gx_store_flush(store, &err) == GX_E_FULL;
        }
        char from[32], until[32];
        snprintf(from, sizeof(from), "%s", key_of(round, 0));
        snprintf(until, sizeof(until), "%s", key_of(round, 1));
        n_failed += gx_store_delete_range(store, GX_CF_REC, text(from), text(until), &err) == GX_E_FULL;
        ck_assert_int_eq(n_failed, round <= 8);
    }
    gx_store_batch_free(batch);
    gx_store_close(store);
    store = open_store();
    for (int round = 1; round <= 9; round++)
        for (int i = 0; i < 6; i++) {
            ck_assert(has(store, GX_CF_BY_RECORD, key_of(round, i)));
            ck_assert(has(store, GX_CF_REC, key_of(round, i)) == (i > 0 || round == 8));
        }
    gx_store_close(store);
}
END_TEST

static struct shared {
    _Atomic uint64_t acknowledged;
} * shared;

static void in_child(void (*work)(void))
{
    pid_t child = fork();
    if (child == 0) {
        work();
        _exit(0);
    }
    int outcome;
    ck_assert_int_eq(waitpid(child, &outcome, 0), child);
    ck_assert_int_eq(outcome, 0);
}

static void create_store(void)
{
    assert_ok(gx_store_create(dir, &err));
}

static void write_until_killed(void)
{
    struct gx_store *store = open_store();
    struct gx_store_batch *batch = new_batch(store);
    static uint8_t row[20000];
    for (uint64_t i = atomic_load(&shared->acknowledged) + 1;; i++) {
        struct gx_slice key = {(uint8_t *)&i, sizeof(i)};
        memset(row, (int)i, sizeof(row));
        gx_store_batch_put(batch, GX_CF_EMB, key, (struct gx_slice){row, sizeof(row)});
        gx_store_batch_put(batch, GX_CF_REC, key, text("r"));
        gx_store_batch_put(batch, GX_CF_DEFAULT, text("last"), key);
        assert_ok(gx_store_commit(store, batch, &err));
        gx_store_batch_clear(batch);
        atomic_store(&shared->acknowledged, i);
        if (i % 37 == 0)
            assert_ok(gx_store_flush(store, &err));
    }
}

static void verify(void)
{
    struct gx_store *store = open_store();
    struct gx_slice value;
    assert_ok(gx_store_get(store, GX_CF_DEFAULT, text("last"), &arena, &value, &err));
    uint64_t last = *(const uint64_t *)(const void *)value.data;
    ck_assert_uint_ge(last, atomic_load(&shared->acknowledged));
    for (uint64_t i = 1; i <= last + 1; i++) {
        struct gx_slice key = {(uint8_t *)&i, sizeof(i)};
        enum gx_status wanted = i <= last ? GX_OK : GX_E_NOT_FOUND;
        assert_status(gx_store_get(store, GX_CF_REC, key, &arena, &value, &err), wanted);
        assert_status(gx_store_get(store, GX_CF_EMB, key, &arena, &value, &err), wanted);
        ck_assert(i > last || (value.len == 20000 && value.data[19999] == (uint8_t)i));
    }
    atomic_store(&shared->acknowledged, last);
    gx_store_close(store);
}

START_TEST(a_killed_process_loses_no_commit_and_leaves_no_half)
{
    /* RocksDB's threads do not survive a fork: here every user of the store is a process of its own. */
    in_child(create_store);
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(shared, MAP_FAILED);
    for (uint64_t round = 1; round <= 4; round++) {
        uint64_t until = atomic_load(&shared->acknowledged) + round * 11;
        pid_t child = fork();
        if (child == 0)
            write_until_killed();
        while (atomic_load(&shared->acknowledged) < until)
            ck_assert_int_eq(waitpid(child, NULL, WNOHANG), 0);
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        in_child(verify);
    }
}
END_TEST

/* Fills the store until it is full; everything acknowledged must be there after a restart with room. */
static void assert_full_is_survived(void (*make_room)(void))
{
    struct gx_store *store = open_store();
    struct gx_store_batch *batch = new_batch(store);
    static uint8_t row[100000];
    uint64_t n = 0;
    enum gx_status status = GX_OK;
    while (status == GX_OK && n < 1000) {
        uint64_t i = n + 1;
        gx_store_batch_put(batch, GX_CF_EMB, (struct gx_slice){(uint8_t *)&i, sizeof(i)},
                           (struct gx_slice){row, sizeof(row)});
        status = gx_store_commit(store, batch, &err);
        gx_store_batch_clear(batch);
        n += status == GX_OK;
    }
    ck_assert_msg(status == GX_E_FULL, "%d: %s", status, err.text);
    ck_assert_uint_gt(n, 3);
    gx_store_batch_free(batch);
    gx_store_close(store);
    make_room();
    store = open_store();
    for (uint64_t i = 1; i <= n; i++) {
        struct gx_slice value;
        assert_ok(gx_store_get(store, GX_CF_EMB, (struct gx_slice){(uint8_t *)&i, sizeof(i)}, &arena, &value, &err));
    }
    put_now(store, GX_CF_REC, text("after"), text("1"));
    gx_store_close(store);
}

static void set_file_limit(rlim_t bytes)
{
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void lift_file_limit(void)
{
    set_file_limit(RLIM_INFINITY);
}

START_TEST(a_file_size_limit_is_a_full_disk)
{
    signal(SIGXFSZ, SIG_IGN);
    assert_ok(gx_store_create(dir, &err));
    set_file_limit(1000000); /* Check's own file of results stays below */
    assert_full_is_survived(lift_file_limit);
}
END_TEST

static void enlarge_mount(void)
{
    ck_assert_int_eq(mount("none", gx_suite_folder(), "tmpfs", MS_REMOUNT, "size=256m"), 0);
}

START_TEST(a_full_disk_refuses_and_loses_nothing)
{
    if (!mount_small("12m"))
        return;
    assert_ok(gx_store_create(dir, &err));
    assert_full_is_survived(enlarge_mount);
    umount2(gx_suite_folder(), MNT_DETACH);
}
END_TEST

START_TEST(a_store_that_has_no_room_to_open_is_refused)
{
    if (!mount_small("12m"))
        return;
    struct gx_store *store;
    char ballast[320];
    snprintf(ballast, sizeof(ballast), "%s/ballast", gx_suite_folder());
    fill_disk(ballast);
    assert_status(gx_store_create(dir, &err), GX_E_FULL);
    ck_assert_int_eq(unlink(ballast), 0);
    assert_ok(gx_store_create(dir, &err)); /* the refusal left nothing in the way */
    int before = count_files("", NULL, NULL);
    fill_disk(ballast);
    assert_status(gx_store_open(dir, NULL, &store, &err), GX_E_FULL);
    ck_assert_ptr_nonnull(strstr(err.text, "make room"));
    ck_assert_int_eq(count_files("", NULL, NULL), before);
    ck_assert_int_eq(unlink(ballast), 0);
    gx_store_close(open_store());
    umount2(gx_suite_folder(), MNT_DETACH);
}
END_TEST

START_TEST(a_creation_that_failed_can_be_repeated)
{
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int next = dup(0);
    close(next);
    limit.rlim_cur = (rlim_t)next + 4; /* some files can be opened */
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    enum gx_status status = gx_store_create(dir, &err);
    limit.rlim_cur = limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_status(status, GX_E_IO);
    assert_ok(gx_store_create(dir, &err));
    gx_store_close(open_store());
}
END_TEST

START_TEST(limits_on_cache_and_rate_are_taken)
{
    assert_ok(gx_store_create(dir, &err));
    struct gx_store_options options = {.cache_bytes = 1 << 20, .rate_limit_bytes = 50 << 20};
    struct gx_store *store;
    assert_ok(gx_store_open(dir, &options, &store, &err));
    fill(store, true);
    ck_assert(has(store, GX_CF_EMB, "SECRET-KEY-00000000"));
    gx_store_close(store);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_damage");
    TCase *tests = tcase_create("store_damage");
    tcase_add_checked_fixture(tests, begin_test, end_test);
    tcase_add_test(tests, a_flush_empties_the_log_of_writes_and_no_log_shows_a_key);
    tcase_add_test(tests, a_damaged_block_is_told_from_the_end);
    tcase_add_test(tests, a_damaged_or_missing_file_is_refused_by_name);
    tcase_add_test(tests, what_is_committed_is_on_the_disk);
    tcase_add_test(tests, a_failed_write_changes_nothing_and_the_next_one_works);
    tcase_add_test(tests, a_killed_process_loses_no_commit_and_leaves_no_half);
    tcase_add_test(tests, a_file_size_limit_is_a_full_disk);
    tcase_add_test(tests, a_full_disk_refuses_and_loses_nothing);
    tcase_add_test(tests, a_store_that_has_no_room_to_open_is_refused);
    tcase_add_test(tests, a_creation_that_failed_can_be_repeated);
    tcase_add_test(tests, limits_on_cache_and_rate_are_taken);
    suite_add_tcase(suite, tests);
    return gx_suite_run_in_folder(suite);
}
