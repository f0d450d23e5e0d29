/* Promises of store.h: what is committed is there, together or not at all, and damage is told from an end.
 * RocksDB itself is used here to make databases that are not ours. */
#include "store.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <rocksdb/c.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SEED 20260731

static char base_path[256], dir[300];
static struct gx_arena arena;
static struct gx_err err;
static uint64_t random_state = SEED;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* ---------------------------------------------------------------- help */

#define assert_ok(call)                                                                                                \
    do {                                                                                                               \
        enum gx_status got_ = (call);                                                                                  \
        ck_assert_msg(got_ == GX_OK, "%s: %d: %s", #call, got_, err.text);                                             \
    } while (0)

#define assert_status(call, wanted)                                                                                    \
    do {                                                                                                               \
        enum gx_status got_ = (call);                                                                                  \
        ck_assert_msg(got_ == (wanted), "%s: %d instead of %s: %s", #call, got_, #wanted, err.text);                   \
    } while (0)

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

/* The name of a store of this test's own, which does not exist yet; base_path is removed when all have run. */
static void begin_test(void)
{
    static int n = 0;
    snprintf(dir, sizeof(dir), "%s/%d-%d", base_path, (int)getpid(), n++);
    gx_arena_init(&arena, (size_t)64 << 20);
}

static void end_test(void)
{
    gx_arena_fini(&arena);
}

static struct gx_slice text(const char *s)
{
    return gx_slice_text(s);
}

static struct gx_store *open_store(void)
{
    struct gx_store *store;
    assert_ok(gx_store_open(dir, NULL, &store, &err));
    return store;
}

static struct gx_store *new_store(void)
{
    assert_ok(gx_store_create(dir, &err));
    return open_store();
}

static struct gx_store_batch *new_batch(struct gx_store *store)
{
    struct gx_store_batch *batch;
    assert_ok(gx_store_batch_new(store, &batch, &err));
    return batch;
}

static void put_now(struct gx_store *store, enum gx_family family, struct gx_slice key, struct gx_slice value)
{
    struct gx_store_batch *batch = new_batch(store);
    gx_store_batch_put(batch, family, key, value);
    assert_ok(gx_store_commit(store, batch, &err));
    gx_store_batch_free(batch);
}

static bool has(struct gx_store *store, enum gx_family family, const char *key)
{
    struct gx_slice value;
    enum gx_status status = gx_store_get(store, family, text(key), &arena, &value, &err);
    ck_assert_msg(status == GX_OK || status == GX_E_NOT_FOUND, "%s", err.text);
    return status == GX_OK;
}

/* Calls @look for the files of the store whose name ends in @suffix; returns how many said true. */
static int count_files(const char *suffix, bool (*look)(const char *path, const void *arg), const void *arg)
{
    DIR *listing = opendir(dir);
    ck_assert_ptr_nonnull(listing);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        size_t len = strlen(entry->d_name), suffix_len = strlen(suffix);
        char path[600];
        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        if (entry->d_name[0] != '.' && len >= suffix_len && strcmp(entry->d_name + len - suffix_len, suffix) == 0)
            n += look == NULL || look(path, arg);
    }
    closedir(listing);
    return n;
}

static bool file_contains(const char *path, const void *arg)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        ck_assert_int_eq(errno, ENOENT); /* RocksDB removes files at any time */
        return false;
    }
    static char bytes[4 << 20];
    size_t n = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    return memmem(bytes, n, arg, strlen(arg)) != NULL;
}

static bool remove_file(const char *path, const void *arg)
{
    (void)arg;
    return unlink(path) == 0;
}

static bool flip_middle(const char *path, const void *arg)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    struct stat info;
    ck_assert(fd >= 0 && fstat(fd, &info) == 0);
    uint8_t byte;
    off_t at = info.st_size * *(const int *)arg / 100;
    ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
    byte ^= 0x40;
    ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
    close(fd);
    return true;
}

/* ---------------------------------------------------------------- create and open */

START_TEST(a_new_store_opens_and_is_empty)
{
    struct gx_store *store = new_store();
    for (int family = 0; family < GX_CF_COUNT; family++)
        ck_assert(!has(store, (enum gx_family)family, "x"));
    gx_store_close(store);
    gx_store_close(NULL);
}
END_TEST

START_TEST(nothing_is_created_in_a_folder_that_is_used)
{
    struct gx_store *store = new_store();
    put_now(store, GX_CF_REC, text("a"), text("1"));
    gx_store_close(store);
    assert_status(gx_store_create(dir, &err), GX_E_EXISTS);
    store = open_store();
    ck_assert(has(store, GX_CF_REC, "a"));
    gx_store_close(store);
}
END_TEST

START_TEST(a_missing_store_is_not_found_and_not_made)
{
    struct gx_store *store;
    assert_status(gx_store_open(dir, NULL, &store, &err), GX_E_NOT_FOUND);
    ck_assert_ptr_nonnull(strstr(err.text, "indexd init"));
    ck_assert_ptr_null(store);
    ck_assert_int_ne(access(dir, F_OK), 0);
    ck_assert_int_eq(mkdir(dir, 0700), 0);
    assert_status(gx_store_open(dir, NULL, &store, &err), GX_E_NOT_FOUND);
    ck_assert_int_eq(count_files("", NULL, NULL), 0);
}
END_TEST

START_TEST(a_store_without_current_is_damaged_not_missing)
{
    struct gx_store *store = new_store();
    put_now(store, GX_CF_REC, text("a"), text("1"));
    gx_store_close(store);
    char current[400];
    snprintf(current, sizeof(current), "%s/CURRENT", dir);
    ck_assert_int_eq(unlink(current), 0);
    int before = count_files("", NULL, NULL);
    assert_status(gx_store_open(dir, NULL, &store, &err), GX_E_CORRUPT);
    ck_assert_ptr_nonnull(strstr(err.text, "CURRENT"));
    ck_assert_int_eq(count_files("", NULL, NULL), before);
}
END_TEST

START_TEST(a_second_opener_is_refused_and_disturbs_nothing)
{
    struct gx_store *store = new_store(), *second;
    int before = count_files("", NULL, NULL);
    assert_status(gx_store_open(dir, NULL, &second, &err), GX_E_IN_USE);
    pid_t child = fork();
    if (child == 0)
        _exit(gx_store_open(dir, NULL, &second, NULL) == GX_E_IN_USE ? 0 : 1);
    int outcome;
    ck_assert_int_eq(waitpid(child, &outcome, 0), child);
    ck_assert_int_eq(outcome, 0);
    ck_assert_int_eq(count_files("", NULL, NULL), before); /* its log is still in place */
    put_now(store, GX_CF_REC, text("a"), text("1"));
    gx_store_close(store);
    gx_store_close(open_store());
}
END_TEST

START_TEST(the_lock_of_another_program_counts_too)
{
    assert_ok(gx_store_create(dir, &err));
    char lock[400];
    snprintf(lock, sizeof(lock), "%s/LOCK", dir);
    int ready[2];
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) { /* locks as RocksDB's own tools do */
        int fd = open(lock, O_RDWR);
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (fcntl(fd, F_SETLK, &whole) != 0 || write(ready[1], "x", 1) != 1)
            _exit(1);
        pause();
    }
    char byte;
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    struct gx_store *store;
    assert_status(gx_store_open(dir, NULL, &store, &err), GX_E_IN_USE);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    gx_store_close(open_store());
}
END_TEST

/* With these families, made by RocksDB alone. */
static void make_foreign(int n, const char *const *names)
{
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_options_set_create_missing_column_families(options, 1);
    const rocksdb_options_t *all[16];
    rocksdb_column_family_handle_t *handles[16];
    for (int i = 0; i < n; i++)
        all[i] = options;
    char *error = NULL;
    rocksdb_t *db = rocksdb_open_column_families(options, dir, n, names, all, handles, &error);
    ck_assert_msg(error == NULL, "%s", error);
    for (int i = 0; i < n; i++)
        rocksdb_column_family_handle_destroy(handles[i]);
    rocksdb_close(db);
    rocksdb_options_destroy(options);
}

START_TEST(other_families_than_ours_are_refused_by_name)
{
    static const char *const ours_and_odd[] = {"default",    "emb",    "rec",   "by_record", "by_arrest",
                                               "by_subject", "ledger", "audit", "odd_one"};
    struct gx_store *store;
    make_foreign(9, ours_and_odd);
    assert_status(gx_store_open(dir, NULL, &store, &err), GX_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "odd_one"));
    begin_test();
    make_foreign(7, ours_and_odd);
    assert_status(gx_store_open(dir, NULL, &store, &err), GX_E_FORMAT);
    ck_assert_ptr_nonnull(strstr(err.text, "audit"));
}
END_TEST

START_TEST(what_could_be_a_key_is_hidden_in_messages)
{
    /* RocksDB prints keys in quotes or in hexadecimal; here names of families stand in for them. */
    static const char *const names[] = {"default",    "emb",    "rec",   "by_record",          "by_arrest",
                                        "by_subject", "ledger", "audit", "0011223344556677AA", "'arrest 17' '\n'"};
    struct gx_store *store;
    make_foreign(10, names);
    assert_status(gx_store_open(dir, NULL, &store, &err), GX_E_FORMAT);
    ck_assert_ptr_null(strstr(err.text, "0011223344556677"));
    ck_assert_ptr_null(strstr(err.text, "arrest 17"));
    ck_assert_ptr_null(strchr(err.text, '\n'));
    ck_assert_ptr_nonnull(strstr(err.text, "not opened"));
}
END_TEST

/* ---------------------------------------------------------------- options */

/* The newest OPTIONS file as one text. */
static const char *options_text(void)
{
    static char bytes[128 << 10];
    char path[600], newest[600] = "";
    DIR *listing = opendir(dir);
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;)
        if (strncmp(entry->d_name, "OPTIONS-", 8) == 0 && strcmp(entry->d_name, newest) > 0)
            snprintf(newest, sizeof(newest), "%s", entry->d_name);
    closedir(listing);
    snprintf(path, sizeof(path), "%s/%s", dir, newest);
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    bytes[fread(bytes, 1, sizeof(bytes) - 1, file)] = '\0';
    fclose(file);
    return bytes;
}

/* "name=value" must be a line of the section. */
static void assert_option(const char *all, const char *section, const char *line)
{
    const char *begin = strstr(all, section);
    ck_assert_msg(begin != NULL, "no section %s", section);
    const char *end = strstr(begin + 1, "\n[");
    size_t len = strlen(line);
    for (const char *at = begin; (at = strstr(at, line)) != NULL && (end == NULL || at < end); at++)
        if ((at[-1] == ' ' || at[-1] == '\n') && at[len] == '\n')
            return;
    ck_assert_msg(false, "%s has no line %s", section, line);
}

START_TEST(the_options_in_force_are_the_decided_ones)
{
    static const char *const database[] = {"wal_recovery_mode=kTolerateCorruptedTailRecords",
                                           "manual_wal_flush=false",
                                           "unordered_write=false",
                                           "enable_pipelined_write=false",
                                           "wal_compression=kNoCompression",
                                           "allow_mmap_writes=false",
                                           "WAL_ttl_seconds=0",
                                           "WAL_size_limit_MB=0",
                                           "recycle_log_file_num=0",
                                           "max_total_wal_size=67108864",
                                           "paranoid_checks=true",
                                           "max_open_files=-1",
                                           "max_background_jobs=2",
                                           "bytes_per_sync=1048576",
                                           "wal_bytes_per_sync=0",
                                           "atomic_flush=false",
                                           "avoid_flush_during_recovery=false",
                                           "info_log_level=WARN_LEVEL",
                                           "max_log_file_size=4194304",
                                           "keep_log_file_num=4",
                                           "stats_dump_period_sec=0",
                                           "stats_persist_period_sec=0",
                                           "create_if_missing=false",
                                           "create_missing_column_families=false",
                                           "allow_data_in_errors=false",
                                           "is_fd_close_on_exec=true"};
    static const char *const family[] = {"compression=kNoCompression",
                                         "bottommost_compression=kNoCompression",
                                         "enable_blob_files=false",
                                         "compaction_style=kCompactionStyleLevel",
                                         "level_compaction_dynamic_level_bytes=true",
                                         "max_bytes_for_level_base=67108864",
                                         "target_file_size_base=8388608",
                                         "paranoid_file_checks=true",
                                         "ttl=0",
                                         "periodic_compaction_seconds=0",
                                         "disable_auto_compactions=false",
                                         "force_consistency_checks=true"};
    static const char *const table[] = {"block_size=4096", "format_version=5", "checksum=kXXH3",
                                        "filter_policy=bloomfilter", "no_block_cache=false"};
    static const char *const families[] = {"default",   "emb",        "rec",    "by_record",
                                           "by_arrest", "by_subject", "ledger", "audit"};
    struct gx_store *store = new_store();
    const char *all = options_text();
    for (size_t i = 0; i < GX_COUNT_OF(database); i++)
        assert_option(all, "[DBOptions]", database[i]);
    for (size_t f = 0; f < GX_COUNT_OF(families); f++) {
        char section[80];
        snprintf(section, sizeof(section), "[CFOptions \"%s\"]", families[f]);
        for (size_t i = 0; i < GX_COUNT_OF(family); i++)
            assert_option(all, section, family[i]);
        assert_option(all, section, f == 1 ? "write_buffer_size=16777216" : "write_buffer_size=8388608");
        snprintf(section, sizeof(section), "[TableOptions/BlockBasedTable \"%s\"]", families[f]);
        for (size_t i = 0; i < GX_COUNT_OF(table); i++)
            assert_option(all, section, table[i]);
    }
    gx_store_close(store);
}
END_TEST

/* ---------------------------------------------------------------- batches and reads */

START_TEST(a_commit_is_there_whole_after_a_restart)
{
    struct gx_store *store = new_store();
    struct gx_store_batch *batch = new_batch(store);
    static uint8_t row[8 + 4096 * 4];
    for (size_t i = 0; i < sizeof(row); i++)
        row[i] = (uint8_t)(i * 31);
    static const uint8_t key_bytes[] = {0, 0, 0, 1, 0, 0xff, 0, '\n', 0, 0, 0, 0};
    struct gx_slice key = {key_bytes, sizeof(key_bytes)}, value;
    gx_store_batch_put(batch, GX_CF_EMB, key, (struct gx_slice){row, sizeof(row)});
    gx_store_batch_put(batch, GX_CF_BY_ARREST, key, (struct gx_slice){0});
    gx_store_batch_delete(batch, GX_CF_REC, key);
    ck_assert_uint_ge(gx_store_batch_bytes(batch), sizeof(row));
    ck_assert(!has(store, GX_CF_BY_ARREST, "x"));
    assert_status(gx_store_get(store, GX_CF_EMB, key, &arena, &value, &err), GX_E_NOT_FOUND);
    ck_assert_str_eq(err.text, "");
    assert_ok(gx_store_commit(store, batch, &err));
    gx_store_batch_free(batch);
    for (int round = 0; round < 3; round++) {
        assert_ok(gx_store_get(store, GX_CF_EMB, key, &arena, &value, &err));
        ck_assert_uint_eq(value.len, sizeof(row));
        ck_assert_mem_eq(value.data, row, sizeof(row));
        assert_ok(gx_store_get(store, GX_CF_BY_ARREST, key, &arena, &value, &err));
        ck_assert_uint_eq(value.len, 0);
        assert_status(gx_store_get(store, GX_CF_REC, key, &arena, &value, &err), GX_E_NOT_FOUND);
        if (round == 1)
            assert_ok(gx_store_flush(store, &err));
        gx_store_close(store);
        store = open_store();
    }
    struct gx_arena small;
    gx_arena_init(&small, 1000);
    assert_status(gx_store_get(store, GX_CF_EMB, key, &small, &value, &err), GX_E_TOO_LARGE);
    gx_arena_fini(&small);
    gx_store_close(store);
}
END_TEST

enum { N_KEYS = 12, DEPTH = 4 };

/* -1 = absent, else what was put last. */
struct model {
    int value[2][N_KEYS];
};

static void assert_like_model(struct gx_store_batch *batch, const struct model *model, int step)
{
    static const enum gx_family families[2] = {GX_CF_REC, GX_CF_BY_RECORD};
    for (int f = 0; f < 2; f++)
        for (int k = 0; k < N_KEYS; k++) {
            uint8_t key = (uint8_t)k;
            struct gx_slice value;
            enum gx_status status =
                gx_store_batch_get(batch, families[f], (struct gx_slice){&key, 1}, &arena, &value, &err);
            int found = status == GX_OK ? *(const int *)(const void *)value.data : -1;
            ck_assert_msg(status == GX_OK || status == GX_E_NOT_FOUND, "%s", err.text);
            ck_assert_msg(found == model->value[f][k], "seed %d, step %d: key %d is %d instead of %d", SEED, step, k,
                          found, model->value[f][k]);
        }
}

START_TEST(marks_and_rollbacks_behave_like_copies)
{
    static const enum gx_family families[2] = {GX_CF_REC, GX_CF_BY_RECORD};
    struct gx_store *store = new_store();
    struct gx_store_batch *batch = new_batch(store);
    struct model now, marks[DEPTH];
    memset(&now, 0xff, sizeof(now));
    int depth = 0;
    for (int step = 0; step < 3000; step++) {
        uint64_t r = next_random();
        int f = (int)(r >> 8 & 1), k = (int)((r >> 16) % N_KEYS);
        uint8_t key = (uint8_t)k;
        struct gx_slice key_slice = {&key, 1};
        switch (r % 8) {
        case 0:
        case 1:
        case 2:
            gx_store_batch_put(batch, families[f], key_slice, (struct gx_slice){(uint8_t *)&step, sizeof(step)});
            now.value[f][k] = step;
            break;
        case 3:
            gx_store_batch_delete(batch, families[f], key_slice);
            now.value[f][k] = -1;
            break;
        case 4:
            if (depth < DEPTH) {
                gx_store_batch_mark(batch);
                marks[depth++] = now;
            }
            break;
        case 5:
            if (depth > 0) {
                gx_store_batch_rollback(batch);
                now = marks[--depth];
            }
            break;
        case 6:
            if (depth > 0) {
                gx_store_batch_release(batch);
                depth--;
            }
            break;
        default:
            if (r >> 32 & 7)
                break;
            while (depth > 0 && (r >> 40 & 1)) { /* as the writer does; else clear forgets the marks */
                gx_store_batch_release(batch);
                depth--;
            }
            assert_ok(gx_store_commit(store, batch, &err));
            gx_store_batch_clear(batch);
            depth = 0;
        }
        assert_like_model(batch, &now, step);
        if (step % 100 == 0)
            gx_arena_reset(&arena);
    }
    gx_store_batch_free(batch);
    gx_store_close(store);
}
END_TEST

/* ---------------------------------------------------------------- iterators */

struct sorted_key {
    uint8_t bytes[4];
    size_t len;
};

static int by_bytes(const void *a, const void *b)
{
    const struct sorted_key *x = a, *y = b;
    return gx_slice_compare((struct gx_slice){x->bytes, x->len}, (struct gx_slice){y->bytes, y->len});
}

/* The keys that an iteration must give, one after the other. */
static void assert_walk(struct gx_store *store, const struct sorted_key *keys, int n, struct gx_slice prefix,
                        struct gx_slice from, bool reverse)
{
    struct gx_store_iter *iter;
    assert_ok(gx_store_iter_begin(store, GX_CF_BY_ARREST, prefix, from, reverse, &iter, &err));
    bool found;
    struct gx_slice key, value;
    for (int i = reverse ? n - 1 : 0; reverse ? i >= 0 : i < n; i += reverse ? -1 : 1) {
        struct gx_slice wanted = {keys[i].bytes, keys[i].len};
        if (wanted.len < prefix.len || memcmp(wanted.data, prefix.data, prefix.len) != 0)
            continue;
        if (from.len > 0 && (reverse ? gx_slice_compare(wanted, from) > 0 : gx_slice_compare(wanted, from) < 0))
            continue;
        assert_ok(gx_store_iter_next(iter, &found, &key, &value, &err));
        ck_assert_msg(found && gx_slice_equal(key, wanted), "seed %d: another key than expected", SEED);
        ck_assert(gx_slice_equal(value, wanted));
    }
    for (int i = 0; i < 2; i++) { /* the end stays the end */
        assert_ok(gx_store_iter_next(iter, &found, &key, &value, &err));
        ck_assert_msg(!found, "seed %d: a key too many", SEED);
    }
    gx_store_iter_end(iter);
}

START_TEST(an_iterator_gives_every_key_of_its_prefix_both_ways)
{
    enum { N = 400 };
    static struct sorted_key keys[N], distinct[N];
    static const uint8_t alphabet[] = {0x00, 0x01, 0x7f, 0xfe, 0xff};
    struct gx_store *store = new_store();
    struct gx_store_batch *batch = new_batch(store);
    for (int i = 0; i < N; i++) {
        keys[i].len = 1 + next_random() % 4;
        for (size_t j = 0; j < keys[i].len; j++)
            keys[i].bytes[j] = alphabet[next_random() % sizeof(alphabet)];
        struct gx_slice key = {keys[i].bytes, keys[i].len};
        gx_store_batch_put(batch, GX_CF_BY_ARREST, key, key);
        if (i == N / 2) { /* half of them in files, half in memory */
            assert_ok(gx_store_commit(store, batch, &err));
            gx_store_batch_clear(batch);
            assert_ok(gx_store_flush(store, &err));
        }
    }
    assert_ok(gx_store_commit(store, batch, &err));
    gx_store_batch_free(batch);
    qsort(keys, N, sizeof(keys[0]), by_bytes);
    int n = 0;
    for (int i = 0; i < N; i++)
        if (n == 0 || by_bytes(&keys[i], &distinct[n - 1]) != 0)
            distinct[n++] = keys[i];
    ck_assert_int_gt(n, 100);
    for (int round = 0; round < 300; round++) {
        uint8_t prefix[3], from[4];
        size_t prefix_len = next_random() % 4, from_len = next_random() % 5;
        for (size_t j = 0; j < sizeof(prefix); j++)
            prefix[j] = alphabet[next_random() % sizeof(alphabet)];
        for (size_t j = 0; j < sizeof(from); j++)
            from[j] = j < prefix_len && round % 2 ? prefix[j] : alphabet[next_random() % sizeof(alphabet)];
        assert_walk(store, distinct, n, (struct gx_slice){prefix, prefix_len}, (struct gx_slice){from, from_len},
                    round / 2 % 2);
    }
    gx_store_close(store);
}
END_TEST

START_TEST(an_iterator_shows_the_moment_it_began)
{
    struct gx_store *store = new_store();
    put_now(store, GX_CF_REC, text("a"), text("1"));
    struct gx_store_iter *iter;
    assert_ok(gx_store_iter_begin(store, GX_CF_REC, (struct gx_slice){0}, (struct gx_slice){0}, false, &iter, &err));
    put_now(store, GX_CF_REC, text("b"), text("2"));
    bool found;
    struct gx_slice key, value;
    assert_ok(gx_store_iter_next(iter, &found, &key, &value, &err));
    ck_assert(found && gx_slice_equal(key, text("a")) && gx_slice_equal(value, text("1")));
    assert_ok(gx_store_iter_next(iter, &found, &key, &value, &err));
    ck_assert(!found);
    gx_store_iter_end(iter);
    gx_store_iter_end(NULL);
    gx_store_close(store);
}
END_TEST

START_TEST(a_deleted_range_is_gone_and_its_neighbours_are_not)
{
    struct gx_store *store = new_store();
    static const char *const keys[] = {"a", "b", "b1", "c", "d"};
    for (size_t i = 0; i < GX_COUNT_OF(keys); i++)
        put_now(store, GX_CF_REC, text(keys[i]), text("1"));
    put_now(store, GX_CF_EMB, text("b"), text("1"));
    assert_ok(gx_store_delete_range(store, GX_CF_REC, text("b"), text("c"), &err));
    assert_ok(gx_store_delete_range(store, GX_CF_REC, text("d"), text("d"), &err));
    assert_status(gx_store_delete_range(store, GX_CF_REC, text("d"), text("c"), &err), GX_E_INVALID);
    for (int round = 0; round < 2; round++) {
        ck_assert(has(store, GX_CF_REC, "a") && has(store, GX_CF_REC, "c") && has(store, GX_CF_REC, "d"));
        ck_assert(!has(store, GX_CF_REC, "b") && !has(store, GX_CF_REC, "b1") && has(store, GX_CF_EMB, "b"));
        gx_store_close(store);
        store = open_store();
    }
    gx_store_close(store);
}
END_TEST

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
            row[j] = (uint8_t)next_random();
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

static enum gx_status fail_one(void *arg, uint64_t ordinal)
{
    return ordinal == *(const uint64_t *)arg ? GX_E_FULL : GX_OK;
}

START_TEST(a_failed_write_changes_nothing_and_the_next_one_works)
{
    for (uint64_t at = 1; at <= 9; at++) {
        begin_test();
        struct gx_store *store = new_store();
        gx_store_set_fault(store, fail_one, &at);
        struct gx_store_batch *batch = new_batch(store);
        char key[16];
        int n_failed = 0;
        for (int i = 0; i < 6; i++) { /* writes 1 to 7: flush is the fourth */
            snprintf(key, sizeof(key), "key-%d", i);
            gx_store_batch_put(batch, GX_CF_REC, text(key), text("1"));
            gx_store_batch_put(batch, GX_CF_BY_RECORD, text(key), text("1"));
            enum gx_status status = gx_store_commit(store, batch, &err);
            n_failed += status == GX_E_FULL;
            ck_assert_int_eq(has(store, GX_CF_REC, key), status == GX_OK);
            if (status != GX_OK)
                assert_ok(gx_store_commit(store, batch, &err)); /* the batch is still what it was */
            gx_store_batch_clear(batch);
            if (i == 2)
                n_failed += gx_store_flush(store, &err) == GX_E_FULL;
        }
        n_failed += gx_store_delete_range(store, GX_CF_REC, text("key-0"), text("key-1"), &err) == GX_E_FULL;
        ck_assert_int_eq(n_failed, at <= 8);
        gx_store_batch_free(batch);
        gx_store_close(store);
        store = open_store();
        for (int i = 0; i < 6; i++) {
            snprintf(key, sizeof(key), "key-%d", i);
            ck_assert(has(store, GX_CF_BY_RECORD, key));
            ck_assert(has(store, GX_CF_REC, key) == (i > 0 || at == 8));
        }
        gx_store_close(store);
    }
}
END_TEST

struct shared {
    _Atomic uint64_t acknowledged;
};

static void write_until_killed(struct shared *shared)
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

START_TEST(a_killed_process_loses_no_commit_and_leaves_no_half)
{
    assert_ok(gx_store_create(dir, &err));
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(shared, MAP_FAILED);
    for (uint64_t round = 1; round <= 6; round++) {
        uint64_t until = atomic_load(&shared->acknowledged) + round * 7;
        pid_t child = fork(); /* this process has no store open */
        if (child == 0)
            write_until_killed(shared);
        while (atomic_load(&shared->acknowledged) < until)
            ck_assert_int_eq(waitpid(child, NULL, WNOHANG), 0);
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        pid_t verifier = fork(); /* RocksDB's threads would not survive the next fork */
        if (verifier == 0) {
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
            _exit(0);
        }
        int outcome;
        ck_assert_int_eq(waitpid(verifier, &outcome, 0), verifier);
        ck_assert_int_eq(outcome, 0);
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
    set_file_limit(1000000);
    assert_full_is_survived(lift_file_limit);
}
END_TEST

static void enlarge_mount(void)
{
    ck_assert_int_eq(mount("none", base_path, "tmpfs", MS_REMOUNT, "size=256m"), 0);
}

START_TEST(a_full_disk_refuses_and_loses_nothing)
{
    /* In a mount namespace of this test's own; without the right to have one, the limit above is the proof. */
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", base_path, "tmpfs", 0, "size=12m") != 0) {
        fprintf(stderr, "no right to mount a small file system: %s\n", strerror(errno));
        return;
    }
    assert_ok(gx_store_create(dir, &err));
    assert_full_is_survived(enlarge_mount);
    umount2(base_path, MNT_DETACH);
}
END_TEST

START_TEST(a_creation_that_failed_can_be_repeated)
{
    signal(SIGXFSZ, SIG_IGN);
    set_file_limit(100);
    assert_status(gx_store_create(dir, &err), GX_E_FULL);
    lift_file_limit();
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
    const char *tmp = getenv("TMPDIR");
    snprintf(base_path, sizeof(base_path), "%s/indexd-test-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(base_path) == NULL) {
        perror(base_path);
        return EXIT_FAILURE;
    }
    Suite *suite = suite_create("store");
    TCase *tests = tcase_create("store");
    tcase_add_checked_fixture(tests, begin_test, end_test);
    tcase_add_test(tests, a_new_store_opens_and_is_empty);
    tcase_add_test(tests, nothing_is_created_in_a_folder_that_is_used);
    tcase_add_test(tests, a_missing_store_is_not_found_and_not_made);
    tcase_add_test(tests, a_store_without_current_is_damaged_not_missing);
    tcase_add_test(tests, a_second_opener_is_refused_and_disturbs_nothing);
    tcase_add_test(tests, the_lock_of_another_program_counts_too);
    tcase_add_test(tests, other_families_than_ours_are_refused_by_name);
    tcase_add_test(tests, what_could_be_a_key_is_hidden_in_messages);
    tcase_add_test(tests, the_options_in_force_are_the_decided_ones);
    tcase_add_test(tests, a_commit_is_there_whole_after_a_restart);
    tcase_add_test(tests, marks_and_rollbacks_behave_like_copies);
    tcase_add_test(tests, an_iterator_gives_every_key_of_its_prefix_both_ways);
    tcase_add_test(tests, an_iterator_shows_the_moment_it_began);
    tcase_add_test(tests, a_deleted_range_is_gone_and_its_neighbours_are_not);
    tcase_add_test(tests, a_flush_empties_the_log_of_writes_and_no_log_shows_a_key);
    tcase_add_test(tests, a_damaged_block_is_told_from_the_end);
    tcase_add_test(tests, a_damaged_or_missing_file_is_refused_by_name);
    tcase_add_test(tests, a_failed_write_changes_nothing_and_the_next_one_works);
    tcase_add_test(tests, a_killed_process_loses_no_commit_and_leaves_no_half);
    tcase_add_test(tests, a_file_size_limit_is_a_full_disk);
    tcase_add_test(tests, a_full_disk_refuses_and_loses_nothing);
    tcase_add_test(tests, a_creation_that_failed_can_be_repeated);
    tcase_add_test(tests, limits_on_cache_and_rate_are_taken);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    nftw(base_path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
