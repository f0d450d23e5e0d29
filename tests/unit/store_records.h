/* Records as the server stores them, for the tests of erasures: with bytes that are looked for in every file. */
#ifndef GX_TESTS_STORE_RECORDS_H
#define GX_TESTS_STORE_RECORDS_H

#include "store_private.h"
#include "store_tools.h"

#include <sys/mman.h>

enum { ROW_LEN = 2056, META_LEN = 200 };

/* A record: a row, its description, and an entry in each of the three indexes. */
struct record {
    uint8_t rno[12];     /* key in GX_CF_EMB and GX_CF_REC */
    uint8_t hash[3][28]; /* keys in the indexes */
    uint8_t row[ROW_LEN], meta[META_LEN];
};

TOOL void make_bytes(uint64_t seed, uint8_t *out, size_t len)
{
    uint64_t state = (seed + 1) * 0x9e3779b97f4a7c15u;
    for (size_t i = 0; i < len; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out[i] = (uint8_t)(state >> 24);
    }
}

TOOL void make_record(uint64_t i, uint64_t version, struct record *out)
{
    memset(out->rno, 0, sizeof(out->rno));
    out->rno[3] = 1; /* gallery */
    for (int b = 0; b < 8; b++)
        out->rno[11 - b] = (uint8_t)(i >> 8 * b);
    for (uint64_t f = 0; f < 3; f++)
        make_bytes(i * 8 + f + 1000000007, out->hash[f], sizeof(out->hash[f]));
    make_bytes(i * 16 + version, out->row, sizeof(out->row));
    make_bytes(i * 16 + version + 7000000001, out->meta, sizeof(out->meta));
}

#define SLICE(array) ((struct gx_slice){(array), sizeof(array)})

TOOL void put_record(struct gx_store_batch *batch, uint64_t i, uint64_t version)
{
    struct record r;
    make_record(i, version, &r);
    gx_store_batch_put(batch, GX_CF_EMB, SLICE(r.rno), SLICE(r.row));
    gx_store_batch_put(batch, GX_CF_REC, SLICE(r.rno), SLICE(r.meta));
    for (int f = 0; f < 3; f++)
        gx_store_batch_put(batch, (enum gx_family)(GX_CF_BY_RECORD + f), SLICE(r.hash[f]), SLICE(r.rno));
}

TOOL void put_records(struct gx_store *store, uint64_t begin, uint64_t end)
{
    struct gx_store_batch *batch = new_batch(store);
    for (uint64_t i = begin; i < end; i++) {
        put_record(batch, i, 0);
        if (i % 500 == 499 || i + 1 == end) {
            assert_ok(gx_store_commit(store, batch, &err));
            gx_store_batch_clear(batch);
        }
    }
    gx_store_batch_free(batch);
}

TOOL void delete_records(struct gx_store *store, const uint64_t *which, size_t n)
{
    struct gx_store_batch *batch = new_batch(store);
    for (size_t i = 0; i < n; i++) {
        struct record r;
        make_record(which[i], 0, &r);
        gx_store_batch_delete(batch, GX_CF_EMB, SLICE(r.rno));
        gx_store_batch_delete(batch, GX_CF_REC, SLICE(r.rno));
        for (int f = 0; f < 3; f++)
            gx_store_batch_delete(batch, (enum gx_family)(GX_CF_BY_RECORD + f), SLICE(r.hash[f]));
    }
    assert_ok(gx_store_commit(store, batch, &err));
    gx_store_batch_free(batch);
}

/* The stains of the deletion of some records, in the arena. */
struct stains {
    struct gx_store_stain all[5];
    size_t n;
};

TOOL int by_key(const void *a, const void *b)
{
    return gx_slice_compare(*(const struct gx_slice *)a, *(const struct gx_slice *)b);
}

TOOL struct stains stains_of(const uint64_t *which, size_t n)
{
    struct stains s = {.n = 5};
    for (size_t f = 0; f < 5; f++) {
        struct gx_slice *keys;
        assert_ok(gx_arena_array(&arena, n, sizeof(*keys), &keys, &err));
        for (size_t i = 0; i < n; i++) {
            struct record r;
            make_record(which[i], 0, &r);
            assert_ok(gx_arena_copy(&arena, f < 2 ? SLICE(r.rno) : SLICE(r.hash[f - 2]), &keys[i], &err));
        }
        qsort(keys, n, sizeof(*keys), by_key);
        s.all[f] = (struct gx_store_stain){.family = (enum gx_family)(GX_CF_EMB + f), .keys = keys, .n_keys = n};
    }
    return s;
}

TOOL enum gx_status erase_records(struct gx_store *store, const uint64_t *which, size_t n, struct gx_store_erased *out)
{
    struct stains s = stains_of(which, n);
    return gx_store_erase(store, s.all, s.n, NULL, NULL, out, &err);
}

TOOL void set_option(struct gx_store *store, enum gx_family family, const char *name, const char *value)
{
    char *error = NULL;
    rocksdb_set_options_cf(store->db, store->families[family], 1, &name, &value, &error);
    ck_assert_msg(error == NULL, "%s", error);
}

/* ---------------------------------------------------------------- a look into every file */

/* Windows of 64 bytes that are looked for, in a table by their first word. */
struct windows {
    struct gx_slice *slots;
    size_t n_slots, n;
    bool *found; /* by slot */
};

TOOL uint64_t word_at(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof(word));
    return word;
}

TOOL size_t slot_of(const struct windows *windows, const uint8_t *bytes)
{
    size_t slot = (size_t)(word_at(bytes) * 0x9e3779b97f4a7c15u >> 40) & (windows->n_slots - 1);
    while (windows->slots[slot].data != NULL && word_at(windows->slots[slot].data) != word_at(bytes))
        slot = (slot + 1) & (windows->n_slots - 1);
    return slot;
}

TOOL void look_into(const char *path, const struct windows *windows)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        ck_assert_int_eq(errno, ENOENT); /* RocksDB removes files at any time */
        return;
    }
    ck_assert_int_eq(fstat(fd, &info), 0);
    if (S_ISREG(info.st_mode) && info.st_size >= 8) {
        size_t len = (size_t)info.st_size;
        uint8_t *mapped = mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
        ck_assert_ptr_ne(mapped, MAP_FAILED);
        for (size_t i = 0; i + 8 <= len; i++) {
            size_t slot = slot_of(windows, mapped + i);
            struct gx_slice window = windows->slots[slot];
            if (window.data != NULL && i + window.len <= len && memcmp(mapped + i, window.data, window.len) == 0)
                windows->found[slot] = true;
        }
        munmap(mapped, len);
    }
    close(fd);
}

/* What the folder holds: another number when a file came, went or grew. */
TOOL uint64_t state_of(const char *folder)
{
    DIR *listing = opendir(folder);
    ck_assert_ptr_nonnull(listing);
    uint64_t state = 0;
    for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
        struct stat info = {0};
        uint64_t one = entry->d_ino;
        if (fstatat(dirfd(listing), entry->d_name, &info, 0) == 0)
            one = one * 1000003 + (uint64_t)info.st_size;
        state += one * 0x9e3779b97f4a7c15u;
    }
    closedir(listing);
    return state;
}

/* Looks again until nothing changed meanwhile: else bytes that a compaction moves could be missed. */
TOOL void look_into_folder(const char *folder, const struct windows *windows)
{
    uint64_t before;
    do {
        before = state_of(folder);
        memset(windows->found, 0, windows->n_slots * sizeof(*windows->found));
        DIR *listing = opendir(folder);
        ck_assert_ptr_nonnull(listing);
        for (struct dirent *entry; (entry = readdir(listing)) != NULL;) {
            char path[700];
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
            look_into(path, windows);
        }
        closedir(listing);
    } while (state_of(folder) != before);
}

TOOL void add_window(struct windows *windows, struct gx_slice window)
{
    size_t slot = slot_of(windows, window.data);
    if (windows->slots[slot].data != NULL)
        return; /* there twice */
    windows->slots[slot] = window;
    windows->n++;
}

/* Room for @n windows, in the arena. */
TOOL struct windows new_windows(size_t n)
{
    struct windows windows = {.n_slots = 1024};
    while (windows.n_slots < 4 * n)
        windows.n_slots *= 2;
    assert_ok(gx_arena_array(&arena, windows.n_slots, sizeof(*windows.slots), &windows.slots, &err));
    assert_ok(gx_arena_array(&arena, windows.n_slots, sizeof(*windows.found), &windows.found, &err));
    return windows;
}

TOOL size_t n_found(const struct windows *windows)
{
    size_t n = 0;
    for (size_t i = 0; i < windows->n_slots; i++)
        n += windows->found[i];
    return n;
}

enum { WINDOWS = 5 };

/* How many of the records' windows, four of the row and one of the description, are in some file of @folder. */
TOOL size_t traces_in(const char *folder, const uint64_t *which, size_t n, uint64_t version)
{
    struct windows windows = new_windows(WINDOWS * n);
    for (size_t i = 0; i < n; i++) {
        struct record *r;
        assert_ok(gx_arena_array(&arena, 1, sizeof(*r), &r, &err));
        make_record(which[i], version, r);
        for (size_t w = 0; w < 4; w++)
            add_window(&windows, (struct gx_slice){r->row + w * (ROW_LEN - 64) / 3, 64});
        add_window(&windows, (struct gx_slice){r->meta + 50, 64});
    }
    look_into_folder(folder, &windows);
    return n_found(&windows);
}

TOOL size_t traces(const uint64_t *which, size_t n)
{
    return traces_in(dir, which, n, 0);
}

TOOL void assert_whole(struct gx_store *store, uint64_t i)
{
    struct record r;
    struct gx_slice value;
    make_record(i, 0, &r);
    assert_ok(gx_store_get(store, GX_CF_EMB, SLICE(r.rno), &arena, &value, &err));
    ck_assert(gx_slice_equal(value, SLICE(r.row)));
    assert_ok(gx_store_get(store, GX_CF_REC, SLICE(r.rno), &arena, &value, &err));
    ck_assert(gx_slice_equal(value, SLICE(r.meta)));
    for (int f = 0; f < 3; f++) {
        assert_ok(gx_store_get(store, (enum gx_family)(GX_CF_BY_RECORD + f), SLICE(r.hash[f]), &arena, &value, &err));
        ck_assert(gx_slice_equal(value, SLICE(r.rno)));
    }
}

#endif
