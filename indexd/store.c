/* The durable store on RocksDB.
 *
 * The path of a change: batch_new, put and delete, commit: one write batch over all families, one record of the
 * write-ahead log (WAL), one fsync. The path of a start: look (is it there?), lock, open with exactly our families.
 *
 * What can go wrong:
 * - the directory, or its CURRENT, is missing: RocksDB would create what it misses, so we look before we call it;
 * - another process has the store: our lock on the directory is taken first, since RocksDB renames the log file of the
 *   other one before it finds out;
 * - a damaged file: refused at the start, or met later by a read, which fails, or by a compaction, after which every
 *   write fails; an iterator only ends, so its end is asked for its reason;
 * - a full disk: writes fail and work again by themselves a few seconds after there is room; but Debian's RocksDB may
 *   abort when it is opened then, so room is looked for first;
 * - RocksDB runs out of memory: it throws, which C cannot catch; the process ends, and the WAL has what was committed.
 *
 * Keys never reach a message: RocksDB prints some in quotes or in hexadecimal, clean_text() takes both out. */
#include "store.h"

#include "file.h"
#include "store_private.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define OPEN_ROOM      ((uint64_t)4 << 20) /* for MANIFEST, OPTIONS and LOG; what the WALs hold comes on top */
#define SCAN_READAHEAD ((size_t)1 << 20)

const char *const gx_store_family_names[GX_CF_COUNT] = {
    [GX_CF_DEFAULT] = "default",
    [GX_CF_EMB] = "emb",
    [GX_CF_REC] = "rec",
    [GX_CF_BY_RECORD] = "by_record",
    [GX_CF_BY_ARREST] = "by_arrest",
    [GX_CF_BY_SUBJECT] = "by_subject",
    [GX_CF_LEDGER] = "ledger",
    [GX_CF_AUDIT] = "audit",
};

struct gx_store_iter {
    struct gx_store *store;
    rocksdb_readoptions_t *read; /* borrows bounds until it is destroyed */
    rocksdb_iterator_t *cursor;
    bool reverse, started;
    uint8_t bounds[]; /* prefix, then the first key after all that begin with it */
};

/* ---------------------------------------------------------------- errors */

/* @text on one line, without the directory, and without what could be a key: quoted text and long hexadecimal runs. */
static void clean_text(const char *text, const char *dir, char *out, size_t n)
{
    size_t used = 0, dir_len = strlen(dir);
    while (*text != '\0' && used + 1 < n) {
        if (dir_len > 0 && strncmp(text, dir, dir_len) == 0 && text[dir_len] == '/') {
            text += dir_len + strspn(text + dir_len, "/");
            continue;
        }
        size_t hidden = strspn(text, "0123456789abcdefABCDEF");
        if (hidden < 16)
            hidden = 0;
        if (*text == '\'' || *text == '"') {
            const char *end = strchr(text + 1, *text);
            hidden = end == NULL ? strlen(text) : (size_t)(end - text) + 1;
        }
        if (hidden > 0) {
            out[used++] = '*';
            text += hidden;
            continue;
        }
        out[used++] = isprint((unsigned char)*text) ? *text : '?';
        text++;
    }
    out[used] = '\0';
    while (used > 0 && (out[used - 1] == '?' || out[used - 1] == ' ' || out[used - 1] == ':'))
        out[--used] = '\0';
}

static bool contains(const char *text, const char *part)
{
    return strstr(text, part) != NULL;
}

enum gx_status gx_store_take_error(const char *dir, char *text, const char *doing, struct gx_err *err)
{
    char clean[GX_ERR_TEXT_MAX];
    clean_text(text, dir, clean, sizeof(clean));
    bool is_locked = contains(text, "lock hold by current process") ||
                     (contains(text, "While lock file") && contains(text, "temporarily unavailable"));
    enum gx_status status;
    if (contains(text, "No space left") || contains(text, "quota exceeded") || contains(text, "File too large"))
        status = gx_fail(err, GX_E_FULL, "%s: the disk is full, make room: %s", doing, clean);
    else if (is_locked)
        status = gx_fail(err, GX_E_IN_USE, "%s: another process has it, stop that one first", doing);
    else if (strncmp(text, "Invalid argument: Column famil", 30) == 0)
        status = gx_fail(err, GX_E_FORMAT, "%s: made by another version or program, use that one: %s", doing, clean);
    else if (strncmp(text, "Corruption", 10) == 0 || contains(text, "No such file"))
        status = gx_fail(err, GX_E_CORRUPT, "%s: damaged, restore a backup: %s", doing, clean);
    else
        status = gx_fail(err, GX_E_IO, "%s: look at the disk, then restart: %s", doing, clean);
    rocksdb_free(text);
    return status;
}

enum gx_status gx_store_take_refusal(const struct gx_store *store, char *text, const char *doing, struct gx_err *err)
{
    if (strncmp(text, "Corruption", 10) != 0)
        return gx_store_take_error(store->dir, text, doing, err);
    char clean[GX_ERR_TEXT_MAX];
    clean_text(text, store->dir, clean, sizeof(clean));
    rocksdb_free(text);
    return gx_fail(err, GX_E_CORRUPT, "%s: it is read-only since it met a damaged file, restore a backup: %s", doing,
                   clean);
}

enum gx_status gx_store_not_found(struct gx_err *err)
{
    return gx_fail(err, GX_E_NOT_FOUND, "%s", "");
}

enum gx_status gx_store_may_write(struct gx_store *store, struct gx_err *err)
{
    uint64_t ordinal = atomic_fetch_add(&store->n_writes, 1) + 1;
    gx_store_fault *fault = atomic_load(&store->fault);
    enum gx_status status = fault == NULL ? GX_OK : fault(store->fault_arg, ordinal);
    if (status != GX_OK)
        return gx_fail(err, status, "write %llu of the store failed because the test wants it to",
                       (unsigned long long)ordinal);
    return GX_OK;
}

static _Atomic(gx_store_fault *) fault_at_open;
static void *fault_at_open_arg;

void gx_store_set_fault_at_open(gx_store_fault *fault, void *arg)
{
    fault_at_open_arg = arg;
    atomic_store(&fault_at_open, fault);
}

void gx_store_set_fault(struct gx_store *store, gx_store_fault *fault, void *arg)
{
    if (fault != NULL)
        store->fault_arg = arg;
    atomic_store(&store->n_writes, 0);
    atomic_store(&store->fault, fault);
}

/* ---------------------------------------------------------------- create, open, close */

static bool is_store_file(const char *name)
{
    size_t digits = strspn(name, "0123456789");
    return (digits > 0 && name[digits] == '.') || strncmp(name, "MANIFEST-", 9) == 0 ||
           strncmp(name, "OPTIONS-", 8) == 0 || strcmp(name, "IDENTITY") == 0;
}

/* Is there a store in the open directory @fd? Before RocksDB looks, which would create a directory and a log file. */
static enum gx_status look(int fd, const char *dir, uint64_t *out_wal_bytes, struct gx_err *err)
{
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *listing = again < 0 ? NULL : fdopendir(again);
    if (listing == NULL) {
        enum gx_status status = gx_err_errno(err, errno, "cannot list the store in '%s'", dir);
        if (again >= 0)
            close(again);
        return status;
    }
    bool has_current = false, has_files = false;
    errno = 0;
    for (struct dirent *entry; (entry = readdir(listing)) != NULL; errno = 0) {
        struct stat info;
        const char *suffix = strrchr(entry->d_name, '.');
        has_current = has_current || strcmp(entry->d_name, "CURRENT") == 0;
        has_files = has_files || is_store_file(entry->d_name);
        if (suffix != NULL && strcmp(suffix, ".log") == 0 && fstatat(fd, entry->d_name, &info, 0) == 0)
            *out_wal_bytes += (uint64_t)info.st_size;
    }
    int error_number = errno;
    closedir(listing);
    if (error_number != 0)
        return gx_err_errno(err, error_number, "cannot list the store in '%s'", dir);
    if (has_current)
        return GX_OK;
    if (has_files)
        return gx_fail(err, GX_E_CORRUPT,
                       "the store in '%s' has files but no CURRENT: restore a backup; if it never held records, "
                       "remove it and run 'indexd init'",
                       dir);
    return gx_fail(err, GX_E_NOT_FOUND, "no store in '%s': run 'indexd init'", dir);
}

/* Opening writes what the WALs hold into files. A file system that tells no sizes is believed. */
static enum gx_status check_room(int fd, const char *dir, uint64_t wal_bytes, struct gx_err *err)
{
    struct statvfs info;
    uint64_t wanted = wal_bytes + OPEN_ROOM;
    if (fstatvfs(fd, &info) != 0 || info.f_blocks == 0 || (uint64_t)info.f_bavail * info.f_frsize >= wanted)
        return GX_OK;
    return gx_fail(err, GX_E_FULL, "the disk of '%s' is full: opening the store takes %llu MB, make room", dir,
                   (unsigned long long)(wanted >> 20) + 1);
}

/* Opens and locks the directory; the lock lives as long as the descriptor. */
static enum gx_status lock_dir(const char *dir, int *out_fd, struct gx_err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return gx_fail(err, GX_E_NOT_FOUND, "no store in '%s': run 'indexd init'", dir);
    if (fd < 0)
        return gx_err_errno(err, errno, "cannot open the store in '%s'", dir);
    /* A file system without locks on directories leaves RocksDB's own lock. */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        close(fd);
        return gx_fail(err, GX_E_IN_USE, "the store in '%s' is in use by another process, stop that one first", dir);
    }
    *out_fd = fd;
    return GX_OK;
}

static enum gx_status open_database(struct gx_store *store, const struct gx_store_options *options, bool create,
                                    struct gx_err *err)
{
    struct gx_store_settings settings;
    enum gx_status status;
    char doing[GX_ERR_TEXT_MAX];
    snprintf(doing, sizeof(doing), "cannot %s the store in '%s'", create ? "create" : "open", store->dir);
    GX_TRY_OUT(gx_store_options_init(&settings, options, create, err));
    char *error = NULL;
    store->db =
        rocksdb_open_column_families(settings.families[GX_CF_DEFAULT], store->dir, GX_CF_COUNT, gx_store_family_names,
                                     (const rocksdb_options_t *const *)settings.families, store->families, &error);
    if (error != NULL) {
        store->db = NULL;
        status = gx_store_take_error(store->dir, error, doing, err);
        goto out;
    }
    gx_store_options_lower_compactions();
    store->write = rocksdb_writeoptions_create();
    rocksdb_writeoptions_set_sync(store->write, 1);
    store->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(store->read, 1);
    store->read_uncached = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(store->read_uncached, 1);
    rocksdb_readoptions_set_fill_cache(store->read_uncached, 0);
out:
    gx_store_options_fini(&settings);
    return status;
}

static enum gx_status open_store(const char *dir, const struct gx_store_options *options, bool create,
                                 struct gx_store **out, struct gx_err *err)
{
    *out = NULL;
    enum gx_status status;
    struct gx_store *store = calloc(1, sizeof(*store) + strlen(dir) + 1);
    if (store == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to open the store");
    strcpy(store->dir, dir);
    store->lock = -1;
    gx_store_set_fault(store, atomic_load(&fault_at_open), fault_at_open_arg);
    store->unlink_wait_us = GX_STORE_UNLINK_WAIT_US;
    pthread_mutex_init(&store->slow, NULL);
    GX_TRY_OUT(lock_dir(dir, &store->lock, err));
    uint64_t wal_bytes = 0;
    if (!create)
        GX_TRY_OUT(look(store->lock, dir, &wal_bytes, err));
    GX_TRY_OUT(check_room(store->lock, dir, wal_bytes, err));
    GX_TRY_OUT(open_database(store, options, create, err));
    *out = store;
    return GX_OK;
out:
    gx_store_close(store);
    return status;
}

/* A store that was not finished is no use to anybody, and would stop the next attempt. The directory was empty. */
static void undo_create(const char *dir)
{
    rocksdb_options_t *options = rocksdb_options_create();
    char *error = NULL;
    rocksdb_destroy_db(options, dir, &error);
    if (error != NULL)
        rocksdb_free(error);
    rocksdb_options_destroy(options);
}

enum gx_status gx_store_create(const char *dir, struct gx_err *err)
{
    GX_TRY(gx_file_make_dir(dir, err));
    struct gx_store *store;
    enum gx_status status = open_store(dir, NULL, true, &store, err);
    if (status == GX_OK) {
        gx_store_close(store);
        status = gx_file_sync_dir(dir, err);
    }
    if (status != GX_OK && status != GX_E_IN_USE)
        undo_create(dir);
    return status;
}

enum gx_status gx_store_open(const char *dir, const struct gx_store_options *options, struct gx_store **out,
                             struct gx_err *err)
{
    return open_store(dir, options, false, out, err);
}

void gx_store_close(struct gx_store *store)
{
    if (store == NULL)
        return;
    assert(atomic_load(&store->n_users) == 0); /* RocksDB would crash later and say less */
    if (store->db != NULL) {
        for (int i = 0; i < GX_CF_COUNT; i++)
            rocksdb_column_family_handle_destroy(store->families[i]);
        rocksdb_writeoptions_destroy(store->write);
        rocksdb_readoptions_destroy(store->read);
        rocksdb_readoptions_destroy(store->read_uncached);
        rocksdb_close(store->db);
    }
    if (store->lock >= 0)
        close(store->lock);
    pthread_mutex_destroy(&store->slow);
    free(store);
}

/* ---------------------------------------------------------------- reads */

const char *gx_store_chars(struct gx_slice slice)
{
    return slice.len == 0 ? "" : (const char *)slice.data;
}

static rocksdb_readoptions_t *point_read(const struct gx_store *store, enum gx_family family)
{
    return family == GX_CF_EMB ? store->read_uncached : store->read;
}

enum gx_status gx_store_get(struct gx_store *store, enum gx_family family, struct gx_slice key, struct gx_arena *arena,
                            struct gx_slice *out_value, struct gx_err *err)
{
    *out_value = (struct gx_slice){0};
    char *error = NULL;
    rocksdb_pinnableslice_t *pinned = rocksdb_get_pinned_cf(
        store->db, point_read(store, family), store->families[family], gx_store_chars(key), key.len, &error);
    if (error != NULL)
        return gx_store_take_error(store->dir, error, "cannot read the store", err);
    if (pinned == NULL)
        return gx_store_not_found(err);
    size_t len;
    const char *value = rocksdb_pinnableslice_value(pinned, &len);
    enum gx_status status = gx_arena_copy(arena, (struct gx_slice){(const uint8_t *)value, len}, out_value, err);
    rocksdb_pinnableslice_destroy(pinned);
    return status;
}

/* Sets the bounds of @iter; those of an empty prefix are none. */
static void set_bounds(struct gx_store_iter *iter, struct gx_slice prefix)
{
    if (prefix.len == 0)
        return;
    memcpy(iter->bounds, prefix.data, prefix.len);
    rocksdb_readoptions_set_iterate_lower_bound(iter->read, (const char *)iter->bounds, prefix.len);
    uint8_t *after = iter->bounds + prefix.len;
    memcpy(after, prefix.data, prefix.len);
    size_t after_len = prefix.len;
    while (after_len > 0 && after[after_len - 1] == 0xff)
        after_len--;
    if (after_len == 0)
        return; /* nothing comes after ff ff ff */
    after[after_len - 1]++;
    rocksdb_readoptions_set_iterate_upper_bound(iter->read, (const char *)after, after_len);
}

enum gx_status gx_store_iter_begin(struct gx_store *store, enum gx_family family, struct gx_slice prefix,
                                   struct gx_slice from, bool reverse, struct gx_store_iter **out, struct gx_err *err)
{
    *out = NULL;
    struct gx_store_iter *iter = calloc(1, sizeof(*iter) + 2 * prefix.len);
    if (iter == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to read the store");
    iter->store = store;
    iter->reverse = reverse;
    iter->read = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(iter->read, 1);
    rocksdb_readoptions_set_fill_cache(iter->read, 0);
    /* Rows are read by the gallery. The other families are read a few keys at a time: RocksDB's own readahead, which
     * grows with the scan, does less work there. */
    if (family == GX_CF_EMB)
        rocksdb_readoptions_set_readahead_size(iter->read, SCAN_READAHEAD);
    set_bounds(iter, prefix);
    iter->cursor = rocksdb_create_iterator_cf(store->db, iter->read, store->families[family]);
    if (from.len > 0 && reverse)
        rocksdb_iter_seek_for_prev(iter->cursor, gx_store_chars(from), from.len);
    else if (from.len > 0)
        rocksdb_iter_seek(iter->cursor, gx_store_chars(from), from.len);
    else if (reverse)
        rocksdb_iter_seek_to_last(iter->cursor);
    else
        rocksdb_iter_seek_to_first(iter->cursor);
    atomic_fetch_add(&store->n_users, 1);
    *out = iter;
    return GX_OK;
}

enum gx_status gx_store_iter_next(struct gx_store_iter *iter, bool *out_found, struct gx_slice *out_key,
                                  struct gx_slice *out_value, struct gx_err *err)
{
    *out_found = false;
    *out_key = *out_value = (struct gx_slice){0};
    if (iter->started && rocksdb_iter_valid(iter->cursor)) {
        if (iter->reverse)
            rocksdb_iter_prev(iter->cursor);
        else
            rocksdb_iter_next(iter->cursor);
    }
    iter->started = true;
    if (!rocksdb_iter_valid(iter->cursor)) {
        char *error = NULL;
        rocksdb_iter_get_error(iter->cursor, &error);
        return error == NULL ? GX_OK : gx_store_take_error(iter->store->dir, error, "cannot read the store", err);
    }
    out_key->data = (const uint8_t *)rocksdb_iter_key(iter->cursor, &out_key->len);
    out_value->data = (const uint8_t *)rocksdb_iter_value(iter->cursor, &out_value->len);
    *out_found = true;
    return GX_OK;
}

void gx_store_iter_end(struct gx_store_iter *iter)
{
    if (iter == NULL)
        return;
    rocksdb_iter_destroy(iter->cursor);
    rocksdb_readoptions_destroy(iter->read);
    atomic_fetch_sub(&iter->store->n_users, 1);
    free(iter);
}

/* ---------------------------------------------------------------- writes */

enum gx_status gx_store_flush(struct gx_store *store, struct gx_err *err)
{
    GX_TRY(gx_store_may_write(store, err));
    rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
    rocksdb_flushoptions_set_wait(options, 1);
    enum gx_status status = GX_OK;
    for (int i = 0; i < GX_CF_COUNT && status == GX_OK; i++) {
        char *error = NULL;
        rocksdb_flush_cf(store->db, options, store->families[i], &error);
        if (error != NULL)
            status = gx_store_take_refusal(store, error, "cannot flush the store", err);
    }
    rocksdb_flushoptions_destroy(options);
    return status;
}

enum gx_status gx_store_delete_range(struct gx_store *store, enum gx_family family, struct gx_slice from,
                                     struct gx_slice until, struct gx_err *err)
{
    if (gx_slice_compare(from, until) > 0)
        return gx_fail(err, GX_E_INVALID, "a range of keys must not end before it begins");
    GX_TRY(gx_store_may_write(store, err));
    char *error = NULL;
    rocksdb_delete_range_cf(store->db, store->write, store->families[family], gx_store_chars(from), from.len,
                            gx_store_chars(until), until.len, &error);
    return error == NULL ? GX_OK : gx_store_take_refusal(store, error, "cannot write to the store", err);
}
