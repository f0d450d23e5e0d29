/* The files of a backup: copied with their digests, checked, deleted.
 *
 * What can go wrong: any read or write; what was being made is left to the caller, who deletes the whole. Only what is
 * a backup's by its manifest is ever deleted, and only names that a backup has. */
#include "backup_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

#define PIECE     ((size_t)1 << 20)
#define ARENA_MAX ((size_t)1 << 30)

enum gx_status gx_backup_copier_open(struct gx_backup_copier *copier, struct gx_err *err)
{
    copier->buffer = malloc(PIECE);
    copier->bytes_done = 0;
    return copier->buffer != NULL ? GX_OK : gx_fail(err, GX_E_NOMEM, "no memory to copy files");
}

void gx_backup_copier_close(struct gx_backup_copier *copier)
{
    if (copier->buffer != NULL)
        explicit_bzero(copier->buffer, PIECE);
    free(copier->buffer);
    copier->buffer = NULL;
}

/* --- copying --- */

/* Reads @from to its end; with @to (not -1) writes the same there. */
static enum gx_status pump(struct gx_backup_copier *c, int from, const char *from_path, int to, const char *to_path,
                           struct gx_keys_sum *sum, uint64_t *out_bytes, struct gx_err *err)
{
    *out_bytes = 0;
    for (;;) {
        if (c->check != NULL)
            GX_TRY(c->check(c->arg, c->bytes_done, err));
        ssize_t n = read(from, c->buffer, PIECE);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return gx_err_errno(err, errno, "cannot read '%s'", from_path);
        if (n == 0)
            return GX_OK;
        GX_TRY(gx_keys_sum_add(sum, (struct gx_slice){c->buffer, (size_t)n}, err));
        if (to >= 0)
            GX_TRY(gx_file_write_all(to, c->buffer, (size_t)n, to_path, err));
        *out_bytes += (uint64_t)n;
        c->bytes_done += (uint64_t)n;
    }
}

static enum gx_status open_source(const char *path, int *out_fd, struct stat *out_info, struct gx_err *err)
{
    *out_fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (*out_fd < 0 && errno == ENOENT)
        return gx_fail(err, GX_E_NOT_FOUND, "'%s' is missing", path);
    if (*out_fd < 0)
        return gx_err_errno(err, errno, "cannot open '%s'", path);
    if (fstat(*out_fd, out_info) != 0)
        return gx_err_errno(err, errno, "cannot look at '%s'", path);
    if (!S_ISREG(out_info->st_mode))
        return gx_fail(err, GX_E_IO, "'%s' is not an ordinary file", path);
    return GX_OK;
}

/* Once more through the kernel's cache, but without a trace there: a backup must not push out what searches need. */
static void let_go(int fd)
{
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

enum gx_status gx_backup_files_copy(struct gx_backup_copier *copier, const char *from, const char *to,
                                    uint64_t *out_bytes, struct gx_digest *out_digest, struct gx_err *err)
{
    int in = -1, out = -1;
    struct stat info;
    struct gx_keys_sum *sum = NULL;
    enum gx_status status;
    GX_TRY_OUT(open_source(from, &in, &info, err));
    GX_TRY_OUT(gx_keys_sum_begin(&sum, err));
    out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, info.st_mode & 0700);
    if (out < 0) {
        status = gx_err_errno(err, errno, "cannot create '%s'", to);
        goto out;
    }
    GX_TRY_OUT(pump(copier, in, from, out, to, sum, out_bytes, err));
    if (fchmod(out, info.st_mode & 0777) != 0 || fsync(out) != 0)
        status = gx_err_errno(err, errno, "cannot sync '%s'", to);
    else
        let_go(out);
out:
    if (out >= 0 && close(out) != 0 && status == GX_OK)
        status = gx_err_errno(err, errno, "cannot close '%s'", to);
    if (in >= 0)
        (void)close(in);
    enum gx_status ended = gx_keys_sum_end(sum, status == GX_OK ? out_digest : NULL, status == GX_OK ? err : NULL);
    return status != GX_OK ? status : ended;
}

enum gx_status gx_backup_files_digest(struct gx_backup_copier *copier, const char *path, uint64_t *out_bytes,
                                      struct gx_digest *out_digest, struct gx_err *err)
{
    int in = -1;
    struct stat info;
    struct gx_keys_sum *sum = NULL;
    enum gx_status status;
    GX_TRY_OUT(open_source(path, &in, &info, err));
    GX_TRY_OUT(gx_keys_sum_begin(&sum, err));
    GX_TRY_OUT(pump(copier, in, path, -1, NULL, sum, out_bytes, err));
out:
    if (in >= 0)
        (void)close(in);
    enum gx_status ended = gx_keys_sum_end(sum, status == GX_OK ? out_digest : NULL, status == GX_OK ? err : NULL);
    return status != GX_OK ? status : ended;
}

/* --- manifest --- */

enum gx_status gx_backup_files_manifest(const char *dir, struct gx_arena *arena, struct gx_manifest *out,
                                        struct gx_err *err)
{
    char path[GX_BACKUP_PATH_MAX];
    struct gx_slice text;
    GX_TRY(gx_file_path(dir, GX_MANIFEST_NAME, path, sizeof(path), err));
    GX_TRY(gx_file_read(path, GX_MANIFEST_MAX, arena, &text, err));
    enum gx_status status = gx_manifest_decode(text, arena, out, err);
    return status == GX_OK || err == NULL ? status : gx_err_wrap(err, "'%s'", path);
}

enum gx_status gx_backup_files_put_manifest(const char *dir, const struct gx_manifest *manifest, struct gx_arena *arena,
                                            struct gx_err *err)
{
    char path[GX_BACKUP_PATH_MAX];
    struct gx_slice text;
    GX_TRY(gx_file_path(dir, GX_MANIFEST_NAME, path, sizeof(path), err));
    GX_TRY(gx_manifest_encode(manifest, arena, &text, err));
    return gx_file_write(path, text, 0600, true, err);
}

/* --- deleting --- */

static enum gx_status is_ours(const char *dir, uint64_t number, const struct gx_uuid *store, bool *out,
                              struct gx_err *err)
{
    struct gx_arena arena;
    struct gx_manifest manifest;
    gx_arena_init(&arena, ARENA_MAX);
    enum gx_status status = gx_backup_files_manifest(dir, &arena, &manifest, err);
    *out = status == GX_OK && manifest.backup == number && memcmp(&manifest.store, store, sizeof(*store)) == 0;
    gx_arena_fini(&arena);
    /* No directory, no manifest, or one that is damaged or of a stranger: nothing that may be deleted. */
    return status == GX_E_NOT_FOUND || status == GX_E_CORRUPT || status == GX_E_FORMAT ? GX_OK : status;
}

static enum gx_status unlink_in(const char *dir, const char *name, struct gx_err *err)
{
    char path[GX_BACKUP_PATH_MAX];
    GX_TRY(gx_file_path(dir, name, path, sizeof(path), err));
    if (unlink(path) != 0 && errno != ENOENT)
        return gx_err_errno(err, errno, "cannot delete '%s'", path);
    return GX_OK;
}

/* A backup by its manifest, which goes last: so it is known for what it is until nothing else is left. */
static enum gx_status delete_tree(const char *dir, struct gx_err *err)
{
    static const char *const names[] = {"secret.key",  "certificate.key", "certificate.pub",
                                        "expunge.log", "FORMAT",          GX_MANIFEST_NAME ".tmp"};
    char store[GX_BACKUP_PATH_MAX];
    GX_TRY(gx_file_path(dir, "store", store, sizeof(store), err));
    if (access(store, F_OK) == 0)
        GX_TRY(gx_file_remove_tree(store, err));
    for (size_t i = 0; i < GX_COUNT_OF(names); i++)
        GX_TRY(unlink_in(dir, names[i], err));
    GX_TRY(gx_file_sync_dir(dir, err));
    GX_TRY(unlink_in(dir, GX_MANIFEST_NAME, err));
    return gx_file_sync_dir(dir, err);
}

static enum gx_status temporary_of(const char *dir, char out[GX_BACKUP_PATH_MAX], struct gx_err *err)
{
    if ((size_t)snprintf(out, GX_BACKUP_PATH_MAX, "%s.tmp", dir) >= GX_BACKUP_PATH_MAX)
        return gx_fail(err, GX_E_INVALID, "the path of the backup is too long");
    return GX_OK;
}

/* An empty DIR.tmp: a backup that had no file yet, or has none any more. Its disk is there, so that is known. */
static bool is_empty(const char *dir)
{
    char store[GX_BACKUP_PATH_MAX];
    if (gx_file_path(dir, "store", store, sizeof(store), NULL) != GX_OK)
        return false;
    (void)rmdir(store); /* only when there is nothing in it */
    return rmdir(dir) == 0 && mkdir(dir, 0700) == 0;
}

enum gx_status gx_backup_files_remove(const char *dir, uint64_t number, const struct gx_uuid *store, bool *out_found,
                                      struct gx_err *err)
{
    char temporary[GX_BACKUP_PATH_MAX];
    bool whole, part;
    *out_found = false;
    GX_TRY(temporary_of(dir, temporary, err));
    GX_TRY(is_ours(temporary, number, store, &part, err));
    if (part)
        GX_TRY(delete_tree(temporary, err));
    GX_TRY(is_ours(dir, number, store, &whole, err));
    if (!whole) {
        *out_found = part || (access(dir, F_OK) != 0 && is_empty(temporary));
        return GX_OK;
    }
    if (rename(dir, temporary) != 0) /* half deleted, it must not look like a backup */
        return gx_err_errno(err, errno, "cannot rename '%s' to delete it", dir);
    GX_TRY(gx_file_sync_parent(dir, err));
    GX_TRY(delete_tree(temporary, err));
    *out_found = true;
    return GX_OK;
}

void gx_backup_files_drop(const char *dir)
{
    char temporary[GX_BACKUP_PATH_MAX];
    if (temporary_of(dir, temporary, NULL) == GX_OK && is_empty(temporary))
        (void)rmdir(temporary);
}
