/* A copy of a ledger, also of one in use.
 *
 * What the greater valid mark covers is on the disk and never changes, so a copy of what stands before the entries, and
 * then of the entries up to that mark's end, is a ledger as it was at the moment of the first.
 *
 * What can go wrong: a mark is being written just then, or an append is being taken back: looked at again, a few times.
 * A mark that stays invalid was left by a crash: then the file is at rest, and all of it is copied. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "file.h"
#include "ledger_private.h"

#define PIECE ((size_t)64 << 10)
#define TRIES 20

/* Bytes from @offset to @until into @to. */
static enum gx_status copy_bytes(const struct gx_ledger_copy *from, uint64_t offset, uint64_t until, int to,
                                 const char *to_path, struct gx_err *err)
{
    uint8_t piece[PIECE];
    while (offset < until) {
        size_t len = (size_t)GX_MIN((uint64_t)sizeof(piece), until - offset);
        GX_TRY(gx_ledger_file_read(from, offset, piece, len, err));
        GX_TRY(gx_file_write_all(to, piece, len, to_path, err));
        offset += len;
    }
    return GX_OK;
}

/* Header and marks, as they stand on the disk. */
static enum gx_status write_front(const struct gx_ledger_front *front, int to, const char *to_path, struct gx_err *err)
{
    uint8_t bytes[GX_LEDGER_FIRST] = {0};
    memcpy(bytes, front->header, sizeof(front->header));
    for (uint64_t i = 0; i < 2; i++)
        memcpy(bytes + GX_LEDGER_MARK_AT(i), front->raw[i], GX_LEDGER_MARK_LEN);
    return gx_file_write_all(to, bytes, sizeof(bytes), to_path, err);
}

static bool is_settled(const struct gx_ledger_front *front)
{
    return (front->valid[0] || front->blank[0]) && (front->valid[1] || front->blank[1]);
}

static enum gx_status read_front(const struct gx_ledger_copy *from, struct gx_ledger_front *out, struct gx_err *err)
{
    for (int i = 0;; i++) {
        enum gx_status status = gx_ledger_file_read_front(from, out, err);
        if ((status == GX_OK && is_settled(out)) || (status != GX_OK && status != GX_E_CORRUPT) || i == TRIES)
            return status;
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
}

static enum gx_status copy_to(const struct gx_ledger_copy *from, int to, const char *to_path, struct gx_err *err)
{
    struct gx_ledger_front front;
    GX_TRY(read_front(from, &front, err));
    uint64_t until = is_settled(&front) ? front.marks[front.newest].len : front.size;
    if (until > front.size)
        return gx_ledger_file_damaged(from, front.size, "too short", err);
    GX_TRY(write_front(&front, to, to_path, err));
    GX_TRY(copy_bytes(from, GX_LEDGER_FIRST, until, to, to_path, err));
    return fsync(to) == 0 ? GX_OK : gx_err_errno(err, errno, "cannot sync '%s'", to_path);
}

enum gx_status gx_ledger_copy(const char *from, const char *to, struct gx_err *err)
{
    struct gx_ledger_copy source = {.fd = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK), .path = strdup(from)};
    int out_fd = -1;
    enum gx_status status = GX_OK;
    if (source.fd < 0)
        status = errno == ENOENT ? gx_fail(err, GX_E_NOT_FOUND, "there is no ledger '%s'", from)
                                 : gx_err_errno(err, errno, "cannot open '%s'", from);
    else if (source.path == NULL)
        status = gx_fail(err, GX_E_NOMEM, "no memory to copy the ledger");
    if (status != GX_OK)
        goto out;
    out_fd = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out_fd < 0) {
        status = errno == EEXIST ? gx_fail(err, GX_E_EXISTS, "'%s' exists already", to)
                                 : gx_err_errno(err, errno, "cannot create '%s'", to);
        goto out;
    }
    status = copy_to(&source, out_fd, to, err);
    if (close(out_fd) != 0 && status == GX_OK)
        status = gx_err_errno(err, errno, "cannot close '%s'", to);
    if (status != GX_OK)
        (void)unlink(to);
out:
    gx_ledger_file_close(&source);
    return status;
}
