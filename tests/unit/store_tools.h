/* What the tests of the store share: a folder of their own, short forms, a look at the files. */
#ifndef GX_TESTS_STORE_TOOLS_H
#define GX_TESTS_STORE_TOOLS_H

#include "store.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "random.h"
#include "suite.h"

/* Not every program needs every one of them. */
#define TOOL __attribute__((unused)) static

#define SEED 20260731

static char dir[256];
static struct gx_arena arena;
static struct gx_err err;
TOOL uint64_t random_state = SEED;

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

/* The name of a store of this test's own, which does not exist yet. */
TOOL void begin_test(void)
{
    gx_suite_new_path(dir);
    gx_arena_init(&arena, (size_t)64 << 20);
}

TOOL void end_test(void)
{
    gx_arena_fini(&arena);
}

TOOL struct gx_slice text(const char *s)
{
    return gx_slice_text(s);
}

TOOL struct gx_store *open_store(void)
{
    struct gx_store *store;
    assert_ok(gx_store_open(dir, NULL, &store, &err));
    return store;
}

TOOL struct gx_store *new_store(void)
{
    assert_ok(gx_store_create(dir, &err));
    return open_store();
}

TOOL struct gx_store_batch *new_batch(struct gx_store *store)
{
    struct gx_store_batch *batch;
    assert_ok(gx_store_batch_new(store, &batch, &err));
    return batch;
}

TOOL void put_now(struct gx_store *store, enum gx_family family, struct gx_slice key, struct gx_slice value)
{
    struct gx_store_batch *batch = new_batch(store);
    gx_store_batch_put(batch, family, key, value);
    assert_ok(gx_store_commit(store, batch, &err));
    gx_store_batch_free(batch);
}

TOOL bool has(struct gx_store *store, enum gx_family family, const char *key)
{
    struct gx_slice value;
    enum gx_status status = gx_store_get(store, family, text(key), &arena, &value, &err);
    ck_assert_msg(status == GX_OK || status == GX_E_NOT_FOUND, "%s", err.text);
    return status == GX_OK;
}

/* Calls @look for the files of the store whose name ends in @suffix; returns how many said true. */
TOOL int count_files(const char *suffix, bool (*look)(const char *path, const void *arg), const void *arg)
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

TOOL bool file_contains(const char *path, const void *arg)
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

TOOL bool flip_middle(const char *path, const void *arg)
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

TOOL enum gx_status fail_one(void *arg, uint64_t ordinal)
{
    return ordinal == *(const uint64_t *)arg ? GX_E_FULL : GX_OK;
}

/* A small file system in place of the folder, in a mount namespace of this test's own. Not everybody may have one. */
TOOL bool mount_small(const char *size)
{
    char options[32];
    snprintf(options, sizeof(options), "size=%s", size);
    if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("none", gx_suite_folder(), "tmpfs", 0, options) == 0)
        return true;
    fprintf(stderr, "no right to mount a small file system: %s\n", strerror(errno));
    return false;
}

TOOL void fill_disk(const char *path)
{
    static const char zeros[4096];
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    while (write(fd, zeros, sizeof(zeros)) > 0)
        ;
    ck_assert_int_eq(errno, ENOSPC);
    close(fd);
}

#endif
