/* Moves a stray out of the data directory.
 *
 * The path: the folders of its name are made in the target -> rename, or where that is another file system: copy, sync
 * -> the target's folders are synced -> removed here, this folder is synced.
 *
 * What can go wrong: any step; the stray is then where it was, and perhaps a part of a copy in the target as well. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "datadir_private.h"
#include "file.h"

#define DEPTH_MAX 32
#define SAME_MAX  10000 /* of one name in the target */

/* The target without links; GX_E_INVALID when it is in the data directory. */
static enum gx_status resolve_target(struct gx_datadir *d, const char *into, char out[PATH_MAX], struct gx_err *err)
{
    size_t len = strlen(d->real);
    if (mkdir(into, 0700) == 0) {
        char parent[PATH_MAX];
        GX_TRY(gx_file_path(into, "..", parent, sizeof(parent), err));
        GX_TRY(gx_file_sync_dir(parent, err));
    } else if (errno != EEXIST) {
        return gx_err_errno(err, errno, "cannot create directory '%s'", into);
    }
    if (realpath(into, out) == NULL)
        return gx_err_errno(err, errno, "cannot resolve '%s'", into);
    if (strncmp(out, d->real, len) == 0 && (out[len] == '\0' || out[len] == '/'))
        return gx_fail(err, GX_E_INVALID, "'%s' is in the data directory: name a directory elsewhere", into);
    return GX_OK;
}

/* Makes the folders that lead to @name in @target, synced; out: the path of it there. */
static enum gx_status make_way(const char *target, const char *name, char out[PATH_MAX], struct gx_err *err)
{
    char folder[PATH_MAX];
    GX_TRY(gx_file_path(target, name, out, PATH_MAX, err));
    for (char *slash = out + strlen(target) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        memcpy(folder, out, (size_t)(slash - out));
        folder[slash - out] = '\0';
        if (mkdir(folder, 0700) != 0 && errno != EEXIST)
            return gx_err_errno(err, errno, "cannot create directory '%s'", folder);
        char *above = strrchr(folder, '/');
        *above = '\0';
        GX_TRY(gx_file_sync_dir(folder, err));
    }
    size_t len = strlen(out);
    for (int i = 1; access(out, F_OK) == 0 || errno != ENOENT; i++) {
        if (i == SAME_MAX || (size_t)snprintf(out + len, PATH_MAX - len, ".%d", i) >= PATH_MAX - len)
            return gx_fail(err, GX_E_INVALID, "'%s' holds too many files of one name: name another directory", target);
    }
    return GX_OK;
}

static enum gx_status copy_bytes(int from, int to, const char *name, struct gx_err *err)
{
    static const size_t piece = (size_t)1 << 20;
    uint8_t *buffer = malloc(piece);
    if (buffer == NULL)
        return gx_fail(err, GX_E_NOMEM, "copy '%s': out of memory", name);
    enum gx_status status = GX_OK;
    for (ssize_t n = 1; n > 0 && status == GX_OK;) {
        n = read(from, buffer, piece);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n < 0)
            status = gx_err_errno(err, errno, "cannot read '%s'", name);
        else
            status = gx_file_write_all(to, buffer, (size_t)n, name, err);
    }
    if (status == GX_OK && fsync(to) != 0)
        status = gx_err_errno(err, errno, "cannot sync the copy of '%s'", name);
    explicit_bzero(buffer, piece);
    free(buffer);
    return status;
}

static enum gx_status copy_file(const char *from, const char *to, struct gx_err *err)
{
    int source = open(from, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (source < 0)
        return gx_err_errno(err, errno, "cannot open '%s'", from);
    int target = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    enum gx_status status =
        target < 0 ? gx_err_errno(err, errno, "cannot create '%s'", to) : copy_bytes(source, target, from, err);
    if (target >= 0)
        (void)close(target);
    (void)close(source);
    return status;
}

static enum gx_status copy_link(const char *from, const char *to, struct gx_err *err)
{
    char where[PATH_MAX];
    ssize_t n = readlink(from, where, sizeof(where) - 1);
    if (n < 0)
        return gx_err_errno(err, errno, "cannot read the link '%s'", from);
    where[n] = '\0';
    if (symlink(where, to) != 0)
        return gx_err_errno(err, errno, "cannot create the link '%s'", to);
    return GX_OK;
}

static enum gx_status copy_tree(const char *from, const char *to, int depth, struct gx_err *err);

static enum gx_status copy_folder(const char *from, const char *to, int depth, struct gx_err *err)
{
    if (mkdir(to, 0700) != 0)
        return gx_err_errno(err, errno, "cannot create directory '%s'", to);
    DIR *dir = opendir(from);
    if (dir == NULL)
        return gx_err_errno(err, errno, "cannot open directory '%s'", from);
    enum gx_status status = GX_OK;
    errno = 0;
    for (struct dirent *entry; status == GX_OK && (entry = readdir(dir)) != NULL; errno = 0) {
        char source[PATH_MAX], target[PATH_MAX];
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        status = gx_file_path(from, entry->d_name, source, sizeof(source), err);
        if (status == GX_OK)
            status = gx_file_path(to, entry->d_name, target, sizeof(target), err);
        if (status == GX_OK)
            status = copy_tree(source, target, depth + 1, err);
    }
    if (status == GX_OK && errno != 0)
        status = gx_err_errno(err, errno, "cannot read directory '%s'", from);
    (void)closedir(dir);
    return status == GX_OK ? gx_file_sync_dir(to, err) : status;
}

static enum gx_status copy_tree(const char *from, const char *to, int depth, struct gx_err *err)
{
    struct stat info;
    if (depth > DEPTH_MAX)
        return gx_fail(err, GX_E_IO, "folders in '%s' are nested too deep: move them by hand", from);
    if (lstat(from, &info) != 0)
        return gx_err_errno(err, errno, "cannot look at '%s'", from);
    if (S_ISDIR(info.st_mode))
        return copy_folder(from, to, depth, err);
    if (S_ISLNK(info.st_mode))
        return copy_link(from, to, err);
    if (!S_ISREG(info.st_mode))
        return gx_fail(err, GX_E_IO, "'%s' is no ordinary file: remove it by hand", from);
    return copy_file(from, to, err);
}

/* Moves, and syncs the folder of @to. */
static enum gx_status move(const char *from, const char *to, struct gx_err *err)
{
    char folder[PATH_MAX];
    size_t len = (size_t)(strrchr(to, '/') - to);
    memcpy(folder, to, len);
    folder[len] = '\0';
    if (rename(from, to) == 0)
        return gx_file_sync_dir(folder, err);
    if (errno != EXDEV)
        return gx_err_errno(err, errno, "cannot move '%s'", from);
    GX_TRY(copy_tree(from, to, 0, err));
    GX_TRY(gx_file_sync_dir(folder, err));
    return gx_file_remove_tree(from, err);
}

enum gx_status gx_datadir_quarantine(struct gx_datadir *datadir, const char *name, const char *into, struct gx_err *err)
{
    char target[PATH_MAX], from[PATH_MAX], to[PATH_MAX], bare[PATH_MAX];
    size_t len = strlen(name);
    if (len == 0 || len >= sizeof(bare) || name[0] == '/')
        return gx_fail(err, GX_E_INVALID, "'%.100s' is no name in the data directory", name);
    memcpy(bare, name, len + 1);
    while (len > 1 && bare[len - 1] == '/')
        bare[--len] = '\0';
    GX_TRY(resolve_target(datadir, into, target, err));
    GX_TRY(gx_file_path(datadir->path, bare, from, sizeof(from), err));
    GX_TRY(make_way(target, bare, to, err));
    GX_TRY(move(from, to, err));
    char *slash = strrchr(from, '/');
    *slash = '\0';
    return gx_file_sync_dir(from, err);
}
