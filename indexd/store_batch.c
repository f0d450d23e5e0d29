/* A batch of changes: RocksDB's own write batch, which is what the write-ahead log gets, and a hash table over it, so
 * that reads through the batch see what it holds. RocksDB's indexed batch sorts every key instead; that took half of
 * the writer's time.
 *
 * What can go wrong: no memory for the table. The batch then neither answers nor commits until it is cleared. */
#include <stdlib.h>

#include "store_private.h"

#define BATCH_MARKS_MAX 16 /* marks inside marks; the writer uses one */
#define TABLE_MIN       64

/* One change. Key and value lie in RocksDB's bytes, at the end of the change's record. */
struct entry {
    uint64_t hash;
    size_t key, value; /* offsets */
    uint32_t key_len, value_len;
    uint32_t before; /* the change of the same key before this one; NONE = none */
    uint8_t family;
    bool deleted;
};

#define NONE UINT32_MAX

struct gx_store_batch {
    struct gx_store *store;
    rocksdb_writebatch_t *changes;
    struct entry *entries;
    size_t n_entries, capacity;
    uint32_t *table; /* [2 * capacity], a power of two: the last change of each key; NONE = free */
    size_t n_marks;
    size_t marked[BATCH_MARKS_MAX]; /* n_entries at each mark */
    bool no_memory;
};

enum gx_status gx_store_batch_new(struct gx_store *store, struct gx_store_batch **out, struct gx_err *err)
{
    *out = NULL;
    struct gx_store_batch *batch = calloc(1, sizeof(*batch));
    if (batch == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for a change of the store");
    batch->store = store;
    batch->changes = rocksdb_writebatch_create();
    atomic_fetch_add(&store->n_users, 1);
    *out = batch;
    return GX_OK;
}

/* The bytes are RocksDB's, which frees them as they are: they held embeddings. */
static void wipe(struct gx_store_batch *batch)
{
    size_t len;
    const char *bytes = rocksdb_writebatch_data(batch->changes, &len);
    explicit_bzero((void *)(uintptr_t)bytes, len);
}

size_t gx_store_batch_bytes(const struct gx_store_batch *batch)
{
    size_t len;
    (void)rocksdb_writebatch_data(batch->changes, &len);
    return len;
}

/* ---------------------------------------------------------------- the table */

/* Most keys are digests: any mixing does. */
static uint64_t hash_key(enum gx_family family, struct gx_slice key)
{
    uint64_t hash = (uint64_t)family + 1;
    for (size_t i = 0; i < key.len; i += sizeof(uint64_t)) {
        uint64_t word = 0;
        memcpy(&word, key.data + i, GX_MIN(sizeof(word), key.len - i));
        hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        hash ^= hash >> 32;
    }
    return hash;
}

/* The place of the last change of this key, or the free place where it would stand. */
static uint32_t *find(const struct gx_store_batch *batch, const char *bytes, uint64_t hash, enum gx_family family,
                      struct gx_slice key)
{
    size_t mask = 2 * batch->capacity - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        uint32_t *place = &batch->table[i];
        if (*place == NONE)
            return place;
        const struct entry *e = &batch->entries[*place];
        if (e->hash == hash && e->family == family && e->key_len == key.len &&
            memcmp(bytes + e->key, key.data, key.len) == 0)
            return place;
    }
}

/* The change stands for its key from now on. */
static void enter(struct gx_store_batch *batch, const char *bytes, uint32_t index)
{
    struct entry *e = &batch->entries[index];
    struct gx_slice key = {(const uint8_t *)bytes + e->key, e->key_len};
    uint32_t *place = find(batch, bytes, e->hash, (enum gx_family)e->family, key);
    e->before = *place;
    *place = index;
}

/* Takes back all changes from @n on, the last first: nothing was entered after it, so no search goes past its place. */
static void leave(struct gx_store_batch *batch, size_t n)
{
    size_t len;
    const char *bytes = rocksdb_writebatch_data(batch->changes, &len);
    while (batch->n_entries > n) {
        const struct entry *e = &batch->entries[--batch->n_entries];
        struct gx_slice key = {(const uint8_t *)bytes + e->key, e->key_len};
        *find(batch, bytes, e->hash, (enum gx_family)e->family, key) = e->before;
    }
}

static bool grow(struct gx_store_batch *batch, const char *bytes)
{
    size_t capacity = batch->capacity == 0 ? TABLE_MIN : 2 * batch->capacity;
    if (capacity >= NONE)
        return false;
    struct entry *entries = reallocarray(batch->entries, capacity, sizeof(*entries));
    if (entries == NULL)
        return false;
    batch->entries = entries;
    uint32_t *table = reallocarray(NULL, 2 * capacity, sizeof(*table));
    if (table == NULL)
        return false;
    memset(table, 0xff, 2 * capacity * sizeof(*table));
    free(batch->table);
    batch->table = table;
    batch->capacity = capacity;
    for (size_t i = 0; i < batch->n_entries; i++)
        enter(batch, bytes, (uint32_t)i);
    return true;
}

static size_t varint_len(size_t value)
{
    size_t len = 1;
    while (value >>= 7)
        len++;
    return len;
}

/* The change that RocksDB has just appended to its bytes: [type] [family] [length, key] and, of a put, [length, value].
 */
static void note(struct gx_store_batch *batch, enum gx_family family, struct gx_slice key, struct gx_slice value,
                 bool deleted)
{
    size_t len;
    const char *bytes = rocksdb_writebatch_data(batch->changes, &len);
    batch->no_memory = batch->no_memory || (batch->n_entries == batch->capacity && !grow(batch, bytes));
    if (batch->no_memory)
        return;
    size_t tail = deleted ? 0 : value.len + varint_len(value.len);
    batch->entries[batch->n_entries] = (struct entry){.hash = hash_key(family, key),
                                                      .key = len - tail - key.len,
                                                      .value = len - value.len,
                                                      .key_len = (uint32_t)key.len,
                                                      .value_len = (uint32_t)value.len,
                                                      .family = (uint8_t)family,
                                                      .deleted = deleted};
    enter(batch, bytes, (uint32_t)batch->n_entries++);
}

/* ---------------------------------------------------------------- its end */

void gx_store_batch_clear(struct gx_store_batch *batch)
{
    leave(batch, 0);
    wipe(batch);
    rocksdb_writebatch_clear(batch->changes);
    batch->n_marks = 0;
    batch->no_memory = false;
}

void gx_store_batch_free(struct gx_store_batch *batch)
{
    if (batch == NULL)
        return;
    wipe(batch);
    rocksdb_writebatch_destroy(batch->changes);
    atomic_fetch_sub(&batch->store->n_users, 1);
    free(batch->entries);
    free(batch->table);
    free(batch);
}

/* ---------------------------------------------------------------- changes and reads */

void gx_store_batch_put(struct gx_store_batch *batch, enum gx_family family, struct gx_slice key, struct gx_slice value)
{
    rocksdb_writebatch_put_cf(batch->changes, batch->store->families[family], gx_store_chars(key), key.len,
                              gx_store_chars(value), value.len);
    note(batch, family, key, value, false);
}

void gx_store_batch_delete(struct gx_store_batch *batch, enum gx_family family, struct gx_slice key)
{
    rocksdb_writebatch_delete_cf(batch->changes, batch->store->families[family], gx_store_chars(key), key.len);
    note(batch, family, key, (struct gx_slice){0}, true);
}

static enum gx_status check_memory(const struct gx_store_batch *batch, struct gx_err *err)
{
    return batch->no_memory ? gx_fail(err, GX_E_NOMEM, "no memory for a change of the store") : GX_OK;
}

enum gx_status gx_store_batch_get(struct gx_store_batch *batch, enum gx_family family, struct gx_slice key,
                                  struct gx_arena *arena, struct gx_slice *out_value, struct gx_err *err)
{
    *out_value = (struct gx_slice){0};
    GX_TRY(check_memory(batch, err));
    size_t len;
    const char *bytes = rocksdb_writebatch_data(batch->changes, &len);
    uint32_t last = batch->n_entries == 0 ? NONE : *find(batch, bytes, hash_key(family, key), family, key);
    if (last == NONE)
        return gx_store_get(batch->store, family, key, arena, out_value, err);
    const struct entry *e = &batch->entries[last];
    if (e->deleted)
        return gx_store_not_found(err);
    return gx_arena_copy(arena, (struct gx_slice){(const uint8_t *)bytes + e->value, e->value_len}, out_value, err);
}

/* ---------------------------------------------------------------- marks */

void gx_store_batch_mark(struct gx_store_batch *batch)
{
    assert(batch->n_marks < BATCH_MARKS_MAX);
    rocksdb_writebatch_set_save_point(batch->changes);
    batch->marked[batch->n_marks++] = batch->n_entries;
}

/* RocksDB answers with an error only when there were fewer save points than we count. */
static void ignore_error(char *error)
{
    assert(error == NULL);
    if (error != NULL)
        rocksdb_free(error);
}

void gx_store_batch_rollback(struct gx_store_batch *batch)
{
    assert(batch->n_marks > 0);
    leave(batch, batch->marked[--batch->n_marks]);
    char *error = NULL;
    rocksdb_writebatch_rollback_to_save_point(batch->changes, &error);
    ignore_error(error);
}

void gx_store_batch_release(struct gx_store_batch *batch)
{
    assert(batch->n_marks > 0);
    batch->n_marks--;
    char *error = NULL;
    rocksdb_writebatch_pop_save_point(batch->changes, &error);
    ignore_error(error);
}

/* ---------------------------------------------------------------- commit */

enum gx_status gx_store_commit(struct gx_store *store, struct gx_store_batch *batch, struct gx_err *err)
{
    assert(batch->store == store);
    GX_TRY(check_memory(batch, err));
    GX_TRY(gx_store_may_write(store, err));
    char *error = NULL;
    rocksdb_write(store->db, store->write, batch->changes, &error);
    return error == NULL ? GX_OK : gx_store_take_refusal(store, error, "cannot write to the store", err);
}
