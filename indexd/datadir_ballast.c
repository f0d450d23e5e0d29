/* A file of zeros that is given up when a full disk would stop an expungement.
 *
 * What can go wrong: there is no room for it, which is no failure; a copy of the directory has made it a file of holes:
 * it is made again. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "datadir_private.h"
#include "file.h"

#define NAME "ballast"

/* What of the ballast really takes room; the size of a file of holes is not its room. */
static uint64_t present(const struct gx_datadir *d, bool *out_whole)
{
    struct stat info;
    *out_whole = true;
    if (fstatat(d->fd, NAME, &info, AT_SYMLINK_NOFOLLOW) != 0)
        return 0;
    *out_whole = (uint64_t)info.st_blocks * 512 >= (uint64_t)info.st_size;
    return (uint64_t)info.st_size;
}

uint64_t gx_datadir_ballast(struct gx_datadir *datadir)
{
    bool whole;
    uint64_t bytes = present(datadir, &whole);
    return whole ? bytes : 0;
}

enum gx_status gx_datadir_room(struct gx_datadir *datadir, uint64_t *out_free, uint64_t *out_total, struct gx_err *err)
{
    struct statvfs info;
    *out_free = *out_total = UINT64_MAX;
    if (fstatvfs(datadir->fd, &info) != 0)
        return gx_err_errno(err, errno, "cannot see how full the disk of '%s' is", datadir->path);
    if (info.f_blocks == 0)
        return GX_OK;
    *out_free = (uint64_t)info.f_bavail * info.f_frsize;
    *out_total = (uint64_t)info.f_blocks * info.f_frsize;
    return GX_OK;
}

static enum gx_status sync_dir(struct gx_datadir *d, struct gx_err *err)
{
    if (fsync(d->fd) != 0)
        return gx_err_errno(err, errno, "cannot sync directory '%s'", d->path);
    return GX_OK;
}

/* *out_made false: no room after all. */
static enum gx_status create(struct gx_datadir *d, uint64_t bytes, bool *out_made, struct gx_err *err)
{
    int fd = openat(d->fd, NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return gx_err_errno(err, errno, "cannot create '%s/" NAME "'", d->path);
    int e = posix_fallocate(fd, 0, (off_t)bytes);
    if (e == 0 && fsync(fd) != 0)
        e = errno;
    (void)close(fd);
    if (e != 0)
        (void)unlinkat(d->fd, NAME, 0);
    *out_made = e == 0;
    if (e == ENOSPC || e == EDQUOT || e == EFBIG)
        return GX_OK;
    return e == 0 ? GX_OK : gx_err_errno(err, e, "cannot make '%s/" NAME "'", d->path);
}

static enum gx_status make(struct gx_datadir *d, uint64_t bytes, bool *out_made, struct gx_err *err)
{
    bool whole;
    uint64_t there = present(d, &whole), room, total;
    if (there == bytes && whole) {
        *out_made = bytes > 0;
        return GX_OK;
    }
    if (unlinkat(d->fd, NAME, 0) != 0 && errno != ENOENT)
        return gx_err_errno(err, errno, "cannot remove '%s/" NAME "'", d->path);
    GX_TRY(gx_datadir_room(d, &room, &total, err));
    if (bytes > 0 && room / 2 >= bytes)
        GX_TRY(create(d, bytes, out_made, err));
    return sync_dir(d, err);
}

enum gx_status gx_datadir_make_ballast(struct gx_datadir *datadir, uint64_t bytes, bool *out_made, struct gx_err *err)
{
    *out_made = false;
    pthread_mutex_lock(&datadir->lock);
    enum gx_status status = make(datadir, bytes, out_made, err);
    pthread_mutex_unlock(&datadir->lock);
    return status;
}

enum gx_status gx_datadir_release_ballast(struct gx_datadir *datadir, uint64_t *out_freed, struct gx_err *err)
{
    bool whole;
    enum gx_status status = GX_OK;
    *out_freed = 0;
    pthread_mutex_lock(&datadir->lock);
    uint64_t bytes = present(datadir, &whole);
    if (bytes > 0 && unlinkat(datadir->fd, NAME, 0) != 0)
        status = gx_err_errno(err, errno, "cannot give up '%s/" NAME "'", datadir->path);
    else if (bytes > 0)
        *out_freed = bytes;
    if (*out_freed > 0)
        status = sync_dir(datadir, err);
    pthread_mutex_unlock(&datadir->lock);
    return status;
}
