/* Float rows in a file, for galleries that are larger than memory: the kernel keeps what is used in its page cache. The
 * file is a cache like everything else here, made anew at each start; what makes it special is that it is a file: a row
 * that is wiped must leave it durably, and searches for erased rows look through it.
 *
 * What can go wrong: the disk is full: space is reserved before it is mapped, so that is an error of append (GX_E_FULL)
 * and never a SIGBUS; a crash leaves the file behind, which the next start removes. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "rows_private.h"

enum gx_status gx_rows_use_file(struct gx_rows *rows, const char *path, struct gx_err *err)
{
    assert(rows->appended == 0 && rows->path == NULL);
    char *kept = strdup(path);
    if (kept == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for a gallery");
    rows->fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (rows->fd < 0) {
        free(kept);
        return gx_err_errno(err, errno, "create '%s'", path);
    }
    rows->path = kept;
    return GX_OK;
}

float *gx_rows_file_map(struct gx_rows *rows, size_t number, struct gx_err *err)
{
    off_t at = (off_t)(number * rows->floats_len);
    int e = posix_fallocate(rows->fd, at, (off_t)rows->floats_len);
    if (e != 0) {
        (void)gx_err_errno(err, e, "make '%s' larger", rows->path);
        return NULL;
    }
    void *p = mmap(NULL, rows->floats_len, PROT_READ | PROT_WRITE, MAP_SHARED, rows->fd, at);
    if (p == MAP_FAILED) {
        (void)gx_err_errno(err, errno, "map '%s'", rows->path);
        return NULL;
    }
    (void)madvise(p, rows->floats_len, MADV_DONTDUMP);
    return p;
}

void gx_rows_file_give_back(struct gx_rows *rows, const struct gx_rows_chunk *chunk)
{
    for (size_t number = 0; number <= (rows->appended - 1) >> rows->shift; number++)
        if (rows->chunks[number] == chunk)
            (void)fallocate(rows->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(number * rows->floats_len),
                            (off_t)rows->floats_len);
}

enum gx_status gx_rows_sync(struct gx_rows *rows, struct gx_err *err)
{
    if (rows->fd < 0 || fdatasync(rows->fd) == 0)
        return GX_OK;
    return gx_err_errno(err, errno, "write '%s'", rows->path);
}

void gx_rows_file_close(struct gx_rows *rows)
{
    if (rows->fd < 0)
        return;
    (void)close(rows->fd);
    (void)unlink(rows->path);
    free(rows->path);
}

void gx_rows_file_fetch(const struct gx_rows *rows, const uint32_t *slots, size_t n)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    for (size_t i = 0; i < n; i++) {
        uintptr_t from = (uintptr_t)gx_rows_floats(rows, slots[i]), until = from + rows->stride_len;
        from -= from % page;
        (void)madvise((void *)from, until - from, MADV_WILLNEED);
    }
}
