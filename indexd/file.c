/* Whole reads and durable replacement.
 *
 * The path of a write: temporary file beside the target (its name with ".tmp") -> write -> fsync -> rename, or link
 * where nothing may be replaced -> fsync of the directory.
 * What can go wrong: any step (disk full, no permission, input/output error): the temporary file is removed again and
 * the target is as it was. A crash leaves at most the temporary file, which the next write of the same target
 * replaces. When only the last fsync fails the new file stands, but it may be gone after a power cut. */
#include "file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum gx_status gx_file_path(const char *dir, const char *name, char *out_path, size_t n, struct gx_err *err)
{
    size_t dir_len = strlen(dir);
    const char *between = dir_len > 0 && dir[dir_len - 1] == '/' ? "" : "/";
    int len = dir_len == 0 ? -1 : snprintf(out_path, n, "%s%s%s", dir, between, name);
    if (len >= 0 && (size_t)len < n)
        return GX_OK;
    if (n > 0)
        out_path[0] = 0;
    if (dir_len == 0)
        return gx_fail(err, GX_E_INVALID, "the name of a directory is empty: give one");
    return gx_fail(err, GX_E_INVALID, "a path is longer than %zu bytes: use a shorter data directory", n - 1);
}

/* Reads @fd to its end into bytes[capacity]; a file of that size or more is GX_E_IO. */
static enum gx_status read_to_end(int fd, const char *path, uint8_t *bytes, size_t capacity, size_t *out_len,
                                  struct gx_err *err)
{
    size_t len = 0;
    while (len < capacity) {
        ssize_t n = read(fd, bytes + len, capacity - len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return gx_err_errno(err, errno, "cannot read '%s'", path);
        if (n == 0) {
            *out_len = len;
            return GX_OK;
        }
        len += (size_t)n;
    }
    return gx_fail(err, GX_E_IO, "'%s' grew while it was read: try again", path);
}

enum gx_status gx_file_read(const char *path, size_t max, struct gx_arena *arena, struct gx_slice *out,
                            struct gx_err *err)
{
    *out = (struct gx_slice){0};
    /* O_NONBLOCK: a FIFO of that name must not hold us up before it can be refused. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        return gx_fail(err, GX_E_NOT_FOUND, "'%s' does not exist", path);
    if (fd < 0)
        return gx_err_errno(err, errno, "cannot open '%s'", path);

    enum gx_status status = GX_OK;
    uint8_t *bytes;
    struct stat info;
    if (fstat(fd, &info) != 0) {
        status = gx_err_errno(err, errno, "cannot look at '%s'", path);
        goto out;
    }
    if (!S_ISREG(info.st_mode)) {
        status = gx_fail(err, GX_E_IO, "'%s' is not an ordinary file", path);
        goto out;
    }
    if ((uint64_t)info.st_size > max) {
        status = gx_fail(err, GX_E_TOO_LARGE, "'%s' has more than %zu bytes", path, max);
        goto out;
    }
    size_t capacity = (size_t)info.st_size + 1; /* one more: shows that the end was reached */
    GX_TRY_OUT(gx_arena_array(arena, capacity, 1, &bytes, err));
    size_t len = 0;
    GX_TRY_OUT(read_to_end(fd, path, bytes, capacity, &len, err));
    *out = (struct gx_slice){bytes, len};
out:
    (void)close(fd);
    return status;
}

enum gx_status gx_file_write_all(int fd, const void *bytes, size_t len, const char *what, struct gx_err *err)
{
    const uint8_t *p = bytes;
    while (len > 0) {
        ssize_t n = write(fd, p, GX_MIN(len, (size_t)1 << 30));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return gx_err_errno(err, n == 0 ? EIO : errno, "cannot write '%s'", what);
        p += n;
        len -= (size_t)n;
    }
    return GX_OK;
}

enum gx_status gx_file_sync_dir(const char *dir, struct gx_err *err)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return gx_err_errno(err, errno, "cannot open directory '%s'", dir);
    enum gx_status status = GX_OK;
    if (fsync(fd) != 0)
        status = gx_err_errno(err, errno, "cannot sync directory '%s'", dir);
    (void)close(fd);
    return status;
}

/* The directory that @path stands in. */
static enum gx_status parent_of(const char *path, char out_dir[PATH_MAX], struct gx_err *err)
{
    const char *end = path + strlen(path);
    while (end > path + 1 && end[-1] == '/')
        end--;
    while (end > path && end[-1] != '/')
        end--;
    while (end > path + 1 && end[-1] == '/')
        end--;
    size_t len = (size_t)(end - path);
    if (len >= PATH_MAX)
        return gx_fail(err, GX_E_INVALID, "a path is longer than %d bytes: use a shorter data directory", PATH_MAX - 1);
    memcpy(out_dir, len == 0 ? "." : path, GX_MAX(len, (size_t)1));
    out_dir[GX_MAX(len, (size_t)1)] = 0;
    return GX_OK;
}

enum gx_status gx_file_sync_parent(const char *path, struct gx_err *err)
{
    char dir[PATH_MAX];
    GX_TRY(parent_of(path, dir, err));
    return gx_file_sync_dir(dir, err);
}

/* Creates the temporary file and fills it, synced. On failure it is gone again. */
static enum gx_status write_temporary(const char *path, struct gx_slice bytes, unsigned mode, struct gx_err *err)
{
    /* A crash may have left one: it is nobody's, and O_EXCL keeps us from following a link that is not ours. */
    if (unlink(path) != 0 && errno != ENOENT)
        return gx_err_errno(err, errno, "cannot remove '%s'", path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)(mode & 0700));
    if (fd < 0)
        return gx_err_errno(err, errno, "cannot create '%s'", path);
    enum gx_status status = GX_OK;
    if (fchmod(fd, (mode_t)mode) != 0) { /* whatever the umask is */
        status = gx_err_errno(err, errno, "cannot set the mode of '%s'", path);
        goto out;
    }
    GX_TRY_OUT(gx_file_write_all(fd, bytes.data, bytes.len, path, err));
    if (fsync(fd) != 0)
        status = gx_err_errno(err, errno, "cannot sync '%s'", path);
out:
    if (close(fd) != 0 && status == GX_OK)
        status = gx_err_errno(err, errno, "cannot close '%s'", path);
    if (status != GX_OK)
        (void)unlink(path);
    return status;
}

enum gx_status gx_file_write(const char *path, struct gx_slice bytes, unsigned mode, bool replace, struct gx_err *err)
{
    char temporary[PATH_MAX];
    int len = snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    if (len < 0 || (size_t)len >= sizeof(temporary))
        return gx_fail(err, GX_E_INVALID, "a path is longer than %d bytes: use a shorter data directory", PATH_MAX - 5);
    GX_TRY(write_temporary(temporary, bytes, mode, err));

    /* link refuses an existing name in the same step; rename would replace it. */
    int failed = replace ? rename(temporary, path) : link(temporary, path);
    int why = errno;
    if (failed != 0 || !replace)
        (void)unlink(temporary);
    if (failed != 0 && why == EEXIST)
        return gx_fail(err, GX_E_EXISTS, "'%s' exists already", path);
    if (failed != 0)
        return gx_err_errno(err, why, "cannot put '%s' in place", path);
    return gx_file_sync_parent(path, err);
}

enum gx_status gx_file_remove(const char *path, struct gx_err *err)
{
    if (unlink(path) == 0)
        return gx_file_sync_parent(path, err);
    if (errno != ENOENT)
        return gx_err_errno(err, errno, "cannot remove '%s'", path);
    /* Gone, perhaps through an earlier call whose sync failed: that is made good here, unless the directory is gone. */
    char dir[PATH_MAX];
    GX_TRY(parent_of(path, dir, err));
    if (access(dir, F_OK) != 0 && errno == ENOENT)
        return GX_OK;
    return gx_file_sync_dir(dir, err);
}

static enum gx_status check_empty_dir(const char *path, struct gx_err *err)
{
    DIR *dir = opendir(path);
    if (dir == NULL && errno == ENOTDIR)
        return gx_fail(err, GX_E_EXISTS, "'%s' exists and is not a directory: name another", path);
    if (dir == NULL)
        return gx_err_errno(err, errno, "cannot open directory '%s'", path);
    enum gx_status status = GX_OK;
    struct dirent *entry;
    for (errno = 0; (entry = readdir(dir)) != NULL; errno = 0) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            status = gx_fail(err, GX_E_EXISTS, "directory '%s' is not empty: name a new or an empty one", path);
            goto out;
        }
    }
    if (errno != 0)
        status = gx_err_errno(err, errno, "cannot read directory '%s'", path);
out:
    (void)closedir(dir);
    return status;
}

enum gx_status gx_file_make_dir(const char *path, struct gx_err *err)
{
    if (mkdir(path, 0700) == 0)
        return gx_file_sync_parent(path, err);
    if (errno == EEXIST)
        return check_empty_dir(path, err);
    return gx_err_errno(err, errno, "cannot create directory '%s'", path);
}

static int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

enum gx_status gx_file_remove_tree(const char *path, struct gx_err *err)
{
    if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0)
        return gx_err_errno(err, errno, "remove '%s'", path);
    return GX_OK;
}
