/* Promises of store.h: what is committed is there, together or not at all; an iterator gives every key. Damage, failing
 * writes and crashes have their own program, test_store_damage.c.
 * RocksDB itself is used here to make databases that are not ours. */
#include "store.h"
#include "store_tools.h"

#include <rocksdb/c.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

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
                                           "bytes_per_sync=524288",
                                           "strict_bytes_per_sync=true",
                                           "wal_bytes_per_sync=0",
                                           "atomic_flush=false",
                                           "avoid_flush_during_recovery=false",
                                           "info_log_level=FATAL_LEVEL",
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
                                         "paranoid_file_checks=true",
                                         "ttl=0",
                                         "periodic_compaction_seconds=0",
                                         "disable_auto_compactions=false",
                                         "force_consistency_checks=true"};
    static const char *const table[] = {"block_size=4096", "format_version=5", "checksum=kXXH3",
                                        "filter_policy=bloomfilter"};
    static const char *const caches[] = {"no_block_cache=false", "no_block_cache=true"}; /* a row's: none */
    static const char *const families[] = {"default",   "emb",        "rec",    "by_record",
                                           "by_arrest", "by_subject", "ledger", "audit"};
    /* Sizes of memtables and files: small where a record's erasure would rewrite much else. */
    static const char *const sizes[][2] = {{"write_buffer_size=8388608", "target_file_size_base=8388608"},
                                           {"write_buffer_size=16777216", "target_file_size_base=8388608"},
                                           {"write_buffer_size=4194304", "target_file_size_base=4194304"},
                                           {"write_buffer_size=8388608", "target_file_size_base=2097152"},
                                           {"write_buffer_size=8388608", "target_file_size_base=2097152"},
                                           {"write_buffer_size=8388608", "target_file_size_base=2097152"},
                                           {"write_buffer_size=8388608", "target_file_size_base=8388608"},
                                           {"write_buffer_size=8388608", "target_file_size_base=8388608"}};
    struct gx_store *store = new_store();
    const char *all = options_text();
    for (size_t i = 0; i < GX_COUNT_OF(database); i++)
        assert_option(all, "[DBOptions]", database[i]);
    for (size_t f = 0; f < GX_COUNT_OF(families); f++) {
        char section[80];
        snprintf(section, sizeof(section), "[CFOptions \"%s\"]", families[f]);
        for (size_t i = 0; i < GX_COUNT_OF(family); i++)
            assert_option(all, section, family[i]);
        for (size_t i = 0; i < 2; i++)
            assert_option(all, section, sizes[f][i]);
        snprintf(section, sizeof(section), "[TableOptions/BlockBasedTable \"%s\"]", families[f]);
        for (size_t i = 0; i < GX_COUNT_OF(table); i++)
            assert_option(all, section, table[i]);
        assert_option(all, section, caches[f == GX_CF_EMB]);
    }
    gx_store_close(store);
}
END_TEST

START_TEST(compactions_stand_back_behind_everything_else)
{
    struct gx_store *store = new_store();
    DIR *threads = opendir("/proc/self/task");
    ck_assert_ptr_nonnull(threads);
    int n_low = 0, n_others = 0, ours = getpriority(PRIO_PROCESS, 0);
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;) {
        char path[400], name[64] = "";
        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        if (file == NULL)
            continue;
        ck_assert_ptr_nonnull(fgets(name, sizeof(name), file));
        fclose(file);
        int nice_value = getpriority(PRIO_PROCESS, (id_t)strtoul(entry->d_name, NULL, 10));
        bool is_low = strncmp(name, "rocksdb:low", 11) == 0;
        ck_assert_msg(nice_value == (is_low ? GX_MAX(7, ours) : ours), "%s: %d", name, nice_value);
        n_low += is_low;
        n_others += !is_low;
    }
    closedir(threads);
    ck_assert_int_ge(n_low, 1);
    ck_assert_int_ge(n_others, 2); /* this one, and those that flush */
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

/* Longer than any table it began with, and values whose length takes one to three bytes. */
START_TEST(long_batch_is_read_and_rolled_back)
{
    enum { N = 5000, MARKED = 1777, LEN_MAX = 20000 };
    static uint8_t bytes[LEN_MAX];
    struct gx_store *store = new_store();
    struct gx_store_batch *batch = new_batch(store);
    struct gx_slice value;
    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < N; i++) {
            uint32_t key = i % 3000;
            bytes[0] = (uint8_t)i;
            if (i == MARKED)
                gx_store_batch_mark(batch);
            if (i % 5 == 4)
                gx_store_batch_delete(batch, GX_CF_REC, (struct gx_slice){(uint8_t *)&key, sizeof(key)});
            else
                gx_store_batch_put(batch, GX_CF_REC, (struct gx_slice){(uint8_t *)&key, sizeof(key)},
                                   (struct gx_slice){bytes, i % 100 == 0 ? LEN_MAX : 1 + i % 300});
        }
        for (int rolled_back = 0; rolled_back < 2; rolled_back++) {
            for (uint32_t key = 0; key < 3000; key++) {
                uint32_t n = rolled_back ? MARKED : N, last = key + 3000 < n ? key + 3000 : key;
                enum gx_status status = gx_store_batch_get(
                    batch, GX_CF_REC, (struct gx_slice){(uint8_t *)&key, sizeof(key)}, &arena, &value, &err);
                if (last >= n || last % 5 == 4) {
                    ck_assert_int_eq(status, GX_E_NOT_FOUND);
                    continue;
                }
                assert_ok(status);
                ck_assert_uint_eq(value.len, last % 100 == 0 ? LEN_MAX : 1 + last % 300);
                ck_assert_uint_eq(value.data[0], (uint8_t)last);
            }
            gx_arena_reset(&arena);
            if (!rolled_back)
                gx_store_batch_rollback(batch);
        }
        gx_store_batch_clear(batch);
    }
    gx_store_batch_free(batch);
    gx_store_close(store);
}
END_TEST

START_TEST(marks_and_rollbacks_behave_like_copies)
{
    static const enum gx_family families[2] = {GX_CF_REC, GX_CF_BY_RECORD};
    struct gx_store *store = new_store();
    struct gx_store_batch *batch = new_batch(store);
    struct model now, marks[DEPTH];
    memset(&now, 0xff, sizeof(now));
    int depth = 0;
    for (int step = 0; step < 3000; step++) {
        uint64_t r = gx_random_next(&random_state);
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
        keys[i].len = 1 + gx_random_next(&random_state) % 4;
        for (size_t j = 0; j < keys[i].len; j++)
            keys[i].bytes[j] = alphabet[gx_random_next(&random_state) % sizeof(alphabet)];
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
        size_t prefix_len = gx_random_next(&random_state) % 4, from_len = gx_random_next(&random_state) % 5;
        for (size_t j = 0; j < sizeof(prefix); j++)
            prefix[j] = alphabet[gx_random_next(&random_state) % sizeof(alphabet)];
        for (size_t j = 0; j < sizeof(from); j++)
            from[j] =
                j < prefix_len && round % 2 ? prefix[j] : alphabet[gx_random_next(&random_state) % sizeof(alphabet)];
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

int main(void)
{
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
    tcase_add_test(tests, compactions_stand_back_behind_everything_else);
    tcase_add_test(tests, a_commit_is_there_whole_after_a_restart);
    tcase_add_test(tests, long_batch_is_read_and_rolled_back);
    tcase_add_test(tests, marks_and_rollbacks_behave_like_copies);
    tcase_add_test(tests, an_iterator_gives_every_key_of_its_prefix_both_ways);
    tcase_add_test(tests, an_iterator_shows_the_moment_it_began);
    tcase_add_test(tests, a_deleted_range_is_gone_and_its_neighbours_are_not);
    suite_add_tcase(suite, tests);
    return gx_suite_run_in_folder(suite);
}
