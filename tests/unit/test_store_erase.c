/* Promises of gx_store_erase: nothing of what was deleted is left in any file, and nothing else is lost. What stands in
 * its way has its own program, test_store_erase_traps.c. */
#include "store_records.h"

#include <pthread.h>

enum { N_FILES = 4, N_PER_FILE = 1500, N_RECORDS = N_FILES * N_PER_FILE };

/* Records [0, N_RECORDS) in several files of each family. */
static struct gx_store *filled_store(void)
{
    struct gx_store *store = new_store();
    for (uint64_t i = 0; i < N_FILES; i++) {
        put_records(store, i * N_PER_FILE, (i + 1) * N_PER_FILE);
        assert_ok(gx_store_flush(store, &err));
    }
    return store;
}

static void assert_times(const struct gx_store_erased *erased)
{
    ck_assert(0 < erased->flushed_at_us && erased->flushed_at_us <= erased->compacted_at_us);
    ck_assert(erased->compacted_at_us <= erased->unlinked_at_us);
}

START_TEST(an_erased_record_is_in_no_file_and_its_neighbours_are_whole)
{
    struct gx_store *store = filled_store();
    const uint64_t which[] = {2345};
    struct gx_store_erased erased;
    ck_assert_uint_eq(traces(which, 1), WINDOWS); /* or the looks below prove nothing */
    delete_records(store, which, 1);
    ck_assert_uint_eq(traces(which, 1), WINDOWS);
    assert_ok(erase_records(store, which, 1, &erased));
    ck_assert_uint_eq(traces(which, 1), 0);
    assert_times(&erased);
    ck_assert_uint_ge(erased.files_rewritten, 5);
    ck_assert_uint_ge(erased.files_removed, erased.files_rewritten);
    ck_assert_uint_gt(erased.bytes_rewritten, N_PER_FILE * ROW_LEN / 2);
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 2245; i < 2445; i++)
            if (i != which[0])
                assert_whole(store, i);
        gx_store_close(store);
        store = open_store();
        ck_assert_uint_eq(traces(which, 1), 0);
    }
    gx_store_close(store);
}
END_TEST

START_TEST(a_record_that_never_left_memory_leaves_the_log_of_writes)
{
    struct gx_store *store = new_store();
    put_now(store, GX_CF_LEDGER, text("idle"), text("a family that has little to write")); /* pins the log */
    put_records(store, 0, 200);
    const uint64_t which[] = {100};
    struct gx_store_erased erased;
    delete_records(store, which, 1);
    ck_assert_uint_eq(traces(which, 1), WINDOWS);
    ck_assert_int_eq(count_files(".sst", NULL, NULL), 0);
    assert_ok(erase_records(store, which, 1, &erased));
    ck_assert_uint_eq(traces(which, 1), 0);
    assert_times(&erased);
    assert_whole(store, 99);
    assert_whole(store, 101);
    gx_store_close(store);
}
END_TEST

START_TEST(older_versions_of_a_record_go_as_well)
{
    struct gx_store *store = filled_store();
    const uint64_t which[] = {4000};
    struct gx_store_batch *batch = new_batch(store);
    for (uint64_t version = 1; version <= 2; version++) {
        put_record(batch, which[0], version);
        assert_ok(gx_store_commit(store, batch, &err));
        gx_store_batch_clear(batch);
        if (version == 1)
            assert_ok(gx_store_flush(store, &err));
    }
    gx_store_batch_free(batch);
    for (uint64_t version = 0; version <= 2; version++)
        ck_assert_uint_eq(traces_in(dir, which, 1, version), WINDOWS);
    struct gx_store_erased erased;
    delete_records(store, which, 1);
    assert_ok(erase_records(store, which, 1, &erased));
    for (uint64_t version = 0; version <= 2; version++)
        ck_assert_uint_eq(traces_in(dir, which, 1, version), 0);
    assert_whole(store, 3999);
    assert_whole(store, 4001);
    gx_store_close(store);
}
END_TEST

/* Every third record, and single ones; the others must be whole. */
START_TEST(many_records_all_over_the_store_go_at_once)
{
    struct gx_store *store = filled_store();
    static uint64_t which[N_RECORDS];
    static bool gone[N_RECORDS];
    size_t n = 0;
    for (uint64_t i = 0; i < N_RECORDS; i++) {
        gone[i] = gx_random_next(&random_state) % (i < N_RECORDS / 2 ? 3 : 100) == 0;
        if (gone[i])
            which[n++] = i;
    }
    ck_assert_uint_eq(traces(which, n), n * WINDOWS);
    delete_records(store, which, n);
    struct gx_store_erased erased;
    assert_ok(erase_records(store, which, n, &erased));
    ck_assert_msg(traces(which, n) == 0, "seed %d", SEED);
    for (uint64_t i = 0; i < N_RECORDS; i++)
        if (!gone[i])
            assert_whole(store, i);
    gx_store_close(store);
}
END_TEST

/* ---------------------------------------------------------------- ranges */

static void put_gallery(struct gx_store *store, uint8_t gallery, uint64_t n)
{
    struct gx_store_batch *batch = new_batch(store);
    for (uint64_t i = 0; i < n; i++) {
        struct record r;
        make_record(gallery * 1000000u + i, 0, &r);
        r.rno[3] = gallery;
        gx_store_batch_put(batch, GX_CF_EMB, SLICE(r.rno), SLICE(r.row));
    }
    assert_ok(gx_store_commit(store, batch, &err));
    gx_store_batch_free(batch);
    assert_ok(gx_store_flush(store, &err));
}

static size_t gallery_traces(uint8_t gallery, uint64_t n)
{
    uint64_t *which;
    assert_ok(gx_arena_array(&arena, n, sizeof(*which), &which, &err));
    for (uint64_t i = 0; i < n; i++)
        which[i] = gallery * 1000000u + i;
    return traces(which, n);
}

START_TEST(a_whole_range_goes_and_its_neighbours_stay)
{
    enum { N = 400, ROW_WINDOWS = 4 };
    struct gx_store *store = new_store();
    for (int round = 0; round < 2; round++)
        for (uint8_t gallery = 1; gallery <= 4; gallery++)
            put_gallery(store, gallery, N); /* the second round overwrites the first */
    static const uint8_t two[] = {0, 0, 0, 2}, three[] = {0, 0, 0, 3}, four[] = {0, 0, 0, 4};
    struct gx_store_stain stain = {.family = GX_CF_EMB, .from = SLICE(two), .until = SLICE(three)};
    struct gx_store_erased erased;
    ck_assert_uint_eq(gallery_traces(2, N), N * ROW_WINDOWS);
    assert_status(gx_store_erase(store, &stain, 1, NULL, NULL, &erased, &err), GX_E_STATE); /* it is there */
    ck_assert_uint_eq(gallery_traces(2, N), N * ROW_WINDOWS);
    assert_ok(gx_store_delete_range(store, GX_CF_EMB, stain.from, stain.until, &err));
    ck_assert_uint_eq(gallery_traces(2, N), N * ROW_WINDOWS);
    assert_ok(gx_store_erase(store, &stain, 1, NULL, NULL, &erased, &err));
    assert_times(&erased);
    for (uint8_t gallery = 1; gallery <= 4; gallery++)
        ck_assert_uint_eq(gallery_traces(gallery, N), gallery == 2 ? 0 : N * ROW_WINDOWS);
    /* The neighbour after it: its range begins where the end of the last one stands. */
    stain = (struct gx_store_stain){.family = GX_CF_EMB, .from = SLICE(three), .until = SLICE(four)};
    assert_ok(gx_store_delete_range(store, GX_CF_EMB, stain.from, stain.until, &err));
    assert_ok(gx_store_erase(store, &stain, 1, NULL, NULL, &erased, &err));
    ck_assert_uint_eq(gallery_traces(3, N), 0);
    struct gx_store_iter *iter;
    bool found = true;
    struct gx_slice key, value;
    int n = 0;
    assert_ok(gx_store_iter_begin(store, GX_CF_EMB, (struct gx_slice){0}, (struct gx_slice){0}, false, &iter, &err));
    for (; found; n += found)
        assert_ok(gx_store_iter_next(iter, &found, &key, &value, &err));
    gx_store_iter_end(iter);
    ck_assert_int_eq(n, 2 * N);
    gx_store_close(store);
}
END_TEST

/* ---------------------------------------------------------------- repetition */

START_TEST(an_erasure_that_was_done_already_can_be_done_again)
{
    struct gx_store *store = filled_store();
    const uint64_t which[] = {77, 5000};
    struct gx_store_erased erased;
    delete_records(store, which, 2);
    for (int round = 0; round < 4; round++) {
        assert_ok(erase_records(store, which, 2, &erased));
        ck_assert_uint_eq(traces(which, 2), 0);
        assert_times(&erased);
        /* A file that spans everything lies on top of clean ones. */
        put_records(store, N_RECORDS + (uint64_t)round, N_RECORDS + (uint64_t)round + 1);
        struct gx_store_batch *batch = new_batch(store);
        put_record(batch, 0, 0);
        assert_ok(gx_store_commit(store, batch, &err));
        gx_store_batch_free(batch);
        if (round == 1) {
            gx_store_close(store);
            store = open_store();
        }
    }
    gx_store_close(store);
}
END_TEST

START_TEST(what_is_not_deleted_is_not_erased)
{
    struct gx_store *store = filled_store();
    const uint64_t which[] = {10, 20};
    struct gx_store_erased erased;
    delete_records(store, which, 1);
    assert_status(erase_records(store, which, 2, &erased), GX_E_STATE);
    assert_whole(store, 20);
    ck_assert_int_eq(erased.flushed_at_us, 0);
    struct stains s = stains_of(which, 2);
    struct gx_slice swapped[] = {s.all[0].keys[1], s.all[0].keys[0]};
    struct gx_store_stain bad[] = {{.family = GX_CF_EMB, .keys = swapped, .n_keys = 2},
                                   {.family = GX_CF_EMB},
                                   {.family = GX_CF_EMB, .from = text("b"), .until = text("a")},
                                   {.family = GX_CF_COUNT, .from = text("a"), .until = text("b")}};
    struct gx_store_clear clear;
    for (size_t i = 0; i < GX_COUNT_OF(bad); i++) {
        assert_status(gx_store_erase(store, &bad[i], 1, NULL, NULL, &erased, &err), GX_E_INVALID);
        assert_status(gx_store_find_clear(store, &bad[i], 1, &arena, &clear, &err), GX_E_INVALID);
    }
    gx_store_close(store);
}
END_TEST

struct writer {
    struct gx_store *store;
    atomic_bool go;
};

/* Records far and near in all families, and flushes, so that new files span everything at any time. */
static void *write_on(void *arg)
{
    struct writer *writer = arg;
    for (uint64_t i = N_RECORDS; atomic_load(&writer->go) && i < 2 * N_RECORDS; i += 50) {
        put_records(writer->store, i, i + 50);
        put_records(writer->store, 0, 1);
        if (i % 200 == 0)
            assert_ok(gx_store_flush(writer->store, &err));
    }
    return NULL;
}

START_TEST(records_are_erased_beside_a_stream_of_writes)
{
    struct gx_store *store = filled_store();
    struct writer writer = {.store = store, .go = true};
    pthread_t thread;
    ck_assert_int_eq(pthread_create(&thread, NULL, write_on, &writer), 0);
    enum { ROUNDS = 5, N = 20 };
    uint64_t which[ROUNDS * N];
    for (uint64_t round = 0; round < ROUNDS; round++) {
        uint64_t *these = which + round * N;
        for (uint64_t i = 0; i < N; i++)
            these[i] = 7 + round * N + i * 281; /* everywhere */
        struct gx_store_erased erased;
        delete_records(store, these, N);
        assert_ok(erase_records(store, these, N, &erased));
    }
    atomic_store(&writer.go, false);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(traces(which, ROUNDS * N), 0);
    gx_store_close(store);
}
END_TEST

/* ---------------------------------------------------------------- levels */

static size_t files_in_level(struct gx_store *store, enum gx_family family, int level)
{
    struct gx_store_tables tables;
    assert_ok(gx_store_tables_init(&tables, store, &err));
    size_t place = (size_t)family * GX_STORE_LEVELS + (size_t)level;
    size_t n = tables.begins[place + 1] - tables.begins[place];
    gx_store_tables_fini(&tables);
    return n;
}

/* Waits until there are between @min and @max; Check's timeout ends a wait in vain. */
static void await_files(struct gx_store *store, enum gx_family family, int level, size_t min, size_t max)
{
    for (size_t n; (n = files_in_level(store, family, level)) < min || n > max;)
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* A store of several levels, as one of many millions of records is: with records above others that span them. */
START_TEST(records_in_any_level_go_whatever_spans_them)
{
    struct gx_store *store = new_store();
    for (int family = GX_CF_EMB; family <= GX_CF_BY_SUBJECT; family++) {
        set_option(store, (enum gx_family)family, "max_bytes_for_level_base", "65536");
        set_option(store, (enum gx_family)family, "target_file_size_base", "65536");
        set_option(store, (enum gx_family)family, "level0_file_num_compaction_trigger", "2");
    }
    static uint64_t order[3000];
    for (uint64_t i = 0; i < 3000; i++)
        order[i] = i * 1789 % 3000; /* so that every flush spans everything */
    struct gx_store_batch *batch = new_batch(store);
    for (size_t i = 0; i < 3000; i++) {
        put_record(batch, order[i], 0);
        if (i % 100 == 99) {
            assert_ok(gx_store_commit(store, batch, &err));
            gx_store_batch_clear(batch);
            assert_ok(gx_store_flush(store, &err));
        }
    }
    gx_store_batch_free(batch);
    await_files(store, GX_CF_EMB, 0, 0, 1);
    await_files(store, GX_CF_BY_RECORD, 0, 0, 1);
    ck_assert_uint_gt(files_in_level(store, GX_CF_EMB, 4) + files_in_level(store, GX_CF_EMB, 5), 0);
    ck_assert_uint_gt(files_in_level(store, GX_CF_EMB, 6), 0);
    uint64_t which[60];
    for (size_t i = 0; i < 60; i++)
        which[i] = order[i * 50 + 3];
    for (size_t i = 0; i < 60; i += 20) {
        struct gx_store_erased erased;
        size_t n = i == 0 ? 1 : 20;
        ck_assert_uint_eq(traces(&which[i], n), n * WINDOWS);
        delete_records(store, &which[i], n);
        for (int round = 0; round < 2; round++) {
            assert_ok(erase_records(store, &which[i], n, &erased));
            ck_assert_uint_eq(traces(&which[i], n), 0);
        }
    }
    for (size_t i = 0; i < 3000; i++)
        if (i % 50 != 3)
            assert_whole(store, order[i]);
    gx_store_close(store);
}
END_TEST

/* ---------------------------------------------------------------- the clean rule */

static uint64_t highest_number(const struct gx_store_tables *tables)
{
    uint64_t number = 0;
    for (size_t i = 0; i < tables->n_all; i++)
        number = GX_MAX(number, tables->all[i].number);
    return number;
}

static void compact(struct gx_store *store, struct gx_slice from, struct gx_slice until)
{
    rocksdb_compactoptions_t *options = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_bottommost_level_compaction(options, 2); /* kForce */
    rocksdb_compact_range_cf_opt(store->db, store->families[GX_CF_EMB], options, (const char *)from.data, from.len,
                                 (const char *)until.data, until.len);
    rocksdb_compactoptions_destroy(options);
}

/* Another compaction gives the file of the value a new number, and yet another that of the deletion above it: both are
 * newer than the fence, and the value is there. */
START_TEST(new_numbers_alone_do_not_make_a_key_clean)
{
    struct gx_store *store = new_store();
    put_records(store, 0, 1000);
    assert_ok(gx_store_flush(store, &err));
    struct record r[3];
    make_record(0, 0, &r[0]);
    make_record(500, 0, &r[1]);
    make_record(999, 0, &r[2]);
    compact(store, SLICE(r[0].rno), SLICE(r[2].rno));
    await_files(store, GX_CF_EMB, 6, 1, SIZE_MAX);
    set_option(store, GX_CF_EMB, "disable_auto_compactions", "true");
    set_option(store, GX_CF_EMB, "max_bytes_for_level_base", "1048576"); /* 2 MB lie in level 6: 5 is the next above */
    set_option(store, GX_CF_EMB, "level0_file_num_compaction_trigger", "2");
    struct gx_store_batch *batch = new_batch(store);
    for (int i = 0; i < 2; i++) { /* two files that overlap, so that they are merged, not moved */
        put_record(batch, 400, 0);
        put_record(batch, 600, 0);
        gx_store_batch_delete(batch, GX_CF_EMB, SLICE(r[1].rno));
        assert_ok(gx_store_commit(store, batch, &err));
        gx_store_batch_clear(batch);
        assert_ok(gx_store_flush(store, &err));
    }
    gx_store_batch_free(batch);
    struct gx_store_span key = {GX_CF_EMB, SLICE(r[1].rno), SLICE(r[1].rno), false};
    struct gx_store_tables tables;
    assert_ok(gx_store_tables_init(&tables, store, &err));
    uint64_t fence = highest_number(&tables);
    ck_assert(!gx_store_tables_are_clean(&tables, &key, fence));
    gx_store_tables_fini(&tables);

    compact(store, SLICE(r[0].rno), SLICE(r[0].rno)); /* the value's file, by a neighbour in it */
    assert_ok(gx_store_tables_init(&tables, store, &err));
    size_t value_at = gx_store_tables_find(&tables, &key, 6, 0);
    ck_assert(value_at != SIZE_MAX && tables.all[value_at].number > fence);
    ck_assert(!gx_store_tables_are_clean(&tables, &key, fence)); /* the deletion is old */
    gx_store_tables_fini(&tables);

    set_option(store, GX_CF_EMB, "disable_auto_compactions", "false");
    await_files(store, GX_CF_EMB, 0, 0, 0);
    assert_ok(gx_store_tables_init(&tables, store, &err));
    size_t deletion_at = gx_store_tables_find(&tables, &key, 5, 0);
    ck_assert(deletion_at != SIZE_MAX && tables.all[deletion_at].number > fence);
    value_at = gx_store_tables_find(&tables, &key, 6, 0);
    ck_assert(value_at != SIZE_MAX && tables.all[value_at].number > fence);
    ck_assert(!gx_store_tables_are_clean(&tables, &key, fence)); /* they lie in two levels */
    gx_store_tables_fini(&tables);
    const uint64_t which[] = {500};
    ck_assert_uint_eq(traces(which, 1), WINDOWS);

    delete_records(store, which, 1);
    struct gx_store_erased erased;
    assert_ok(erase_records(store, which, 1, &erased));
    ck_assert_uint_eq(traces(which, 1), 0);
    gx_store_close(store);
}
END_TEST

enum { TRIGGER = 4 };

static void gather_files(struct gx_store *store)
{
    for (int i = 0; i < 3 * TRIGGER; i++) {
        put_records(store, N_RECORDS, N_RECORDS + 10);
        assert_ok(gx_store_flush(store, &err));
    }
}

START_TEST(compactions_run_by_themselves_again_when_no_erasure_follows)
{
    struct gx_store *store = filled_store();
    const uint64_t which[] = {3};
    struct gx_store_erased erased;
    delete_records(store, which, 1);
    assert_ok(erase_records(store, which, 1, &erased));
    gather_files(store);
    for (int family = GX_CF_EMB; family <= GX_CF_BY_SUBJECT; family++)
        while (files_in_level(store, (enum gx_family)family, 0) >= TRIGGER) {
            gx_store_erase_rest(store);
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        }
    gx_store_close(store);
}
END_TEST

START_TEST(an_erasure_lets_compactions_run_when_files_have_gathered)
{
    struct gx_store *store = filled_store();
    const uint64_t which[] = {3, 500};
    struct gx_store_erased erased;
    delete_records(store, which, 1);
    assert_ok(erase_records(store, which, 1, &erased));
    gather_files(store);
    delete_records(store, which + 1, 1);
    assert_ok(erase_records(store, which + 1, 1, &erased));
    for (int family = GX_CF_EMB; family <= GX_CF_BY_SUBJECT; family++)
        await_files(store, (enum gx_family)family, 0, 0, TRIGGER - 1);
    gx_store_close(store);
}
END_TEST

/* ---------------------------------------------------------------- files that a scan may leave out */

START_TEST(a_clear_file_holds_nothing_of_the_stain)
{
    struct gx_store *store = filled_store();
    const uint64_t which[] = {100, 101, 3100};
    struct stains s = stains_of(which, 3);
    struct gx_store_clear clear;
    assert_ok(gx_store_find_clear(store, s.all, 1, &arena, &clear, &err)); /* the rows only */
    ck_assert_uint_ge(clear.n_numbers, 2);
    DIR *listing = opendir(dir);
    size_t n_clear = 0, n_hits = 0;
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        char path[700];
        struct record r;
        snprintf(path, sizeof(path), "%s/%s", dir, entry->d_name);
        bool is_clear = gx_store_is_clear(&clear, entry->d_name);
        n_clear += is_clear;
        for (size_t i = 0; i < 3; i++) {
            struct windows windows = new_windows(1);
            make_record(which[i], 0, &r);
            add_window(&windows, SLICE(r.row));
            look_into(path, &windows);
            n_hits += n_found(&windows);
            ck_assert(!(is_clear && n_found(&windows) > 0));
        }
    }
    closedir(listing);
    ck_assert_uint_eq(n_clear, clear.n_numbers);
    ck_assert_uint_ge(n_hits, 3);
    char name[40];
    snprintf(name, sizeof(name), "%06lu.sst", (unsigned long)clear.numbers[0]);
    ck_assert(gx_store_is_clear(&clear, name));
    snprintf(name, sizeof(name), "%06lu.log", (unsigned long)clear.numbers[0]);
    ck_assert(!gx_store_is_clear(&clear, name));
    static const char *const others[] = {"",           "LOG",   "CURRENT", "-1.sst", " 7.sst",
                                         "999999.sst", "x.sst", "7",       "7.sst "};
    for (size_t i = 0; i < GX_COUNT_OF(others); i++)
        ck_assert(!gx_store_is_clear(&clear, others[i]));
    struct gx_store_stain everything = {.family = GX_CF_EMB, .until = text("\xff")};
    assert_ok(gx_store_find_clear(store, &everything, 1, &arena, &clear, &err));
    size_t n_others = 0;
    for (int family = 0; family < GX_CF_COUNT; family++)
        for (int level = 0; family != GX_CF_EMB && level < GX_STORE_LEVELS; level++)
            n_others += files_in_level(store, (enum gx_family)family, level);
    ck_assert_uint_eq(clear.n_numbers, n_others);
    gx_store_close(store);
}
END_TEST

START_TEST(no_key_is_in_any_file_after_the_next_start)
{
    struct gx_store *store = filled_store();
    const uint64_t which[] = {0, 4321};
    struct windows keys = new_windows(6);
    for (size_t i = 0; i < 2; i++) {
        struct record *r;
        assert_ok(gx_arena_array(&arena, 1, sizeof(*r), &r, &err));
        make_record(which[i], 0, r);
        for (int f = 0; f < 3; f++) /* a file may write a key as what differs from the one before */
            add_window(&keys, (struct gx_slice){r->hash[f] + 8, sizeof(r->hash[f]) - 8});
    }
    look_into_folder(dir, &keys);
    ck_assert_uint_eq(n_found(&keys), keys.n);
    delete_records(store, which, 2);
    struct gx_store_erased erased;
    assert_ok(erase_records(store, which, 2, &erased));
    gx_store_close(store);
    store = open_store();
    look_into_folder(dir, &keys);
    ck_assert_uint_eq(n_found(&keys), 0);
    gx_store_close(store);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("store_erase");
    TCase *tests = tcase_create("store_erase");
    tcase_add_checked_fixture(tests, begin_test, end_test);
    tcase_add_test(tests, an_erased_record_is_in_no_file_and_its_neighbours_are_whole);
    tcase_add_test(tests, a_record_that_never_left_memory_leaves_the_log_of_writes);
    tcase_add_test(tests, older_versions_of_a_record_go_as_well);
    tcase_add_test(tests, many_records_all_over_the_store_go_at_once);
    tcase_add_test(tests, a_whole_range_goes_and_its_neighbours_stay);
    tcase_add_test(tests, an_erasure_that_was_done_already_can_be_done_again);
    tcase_add_test(tests, what_is_not_deleted_is_not_erased);
    tcase_add_test(tests, records_are_erased_beside_a_stream_of_writes);
    tcase_add_test(tests, records_in_any_level_go_whatever_spans_them);
    tcase_add_test(tests, new_numbers_alone_do_not_make_a_key_clean);
    tcase_add_test(tests, compactions_run_by_themselves_again_when_no_erasure_follows);
    tcase_add_test(tests, an_erasure_lets_compactions_run_when_files_have_gathered);
    tcase_add_test(tests, a_clear_file_holds_nothing_of_the_stain);
    tcase_add_test(tests, no_key_is_in_any_file_after_the_next_start);
    suite_add_tcase(suite, tests);
    return gx_suite_run_in_folder(suite);
}
