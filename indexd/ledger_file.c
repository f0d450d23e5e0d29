/* One copy of the ledger on the disk: made, opened, read, written, and what stands before its entries. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "ledger_private.h"

static enum gx_status io_error(int error_number, const char *doing, const char *path, struct gx_err *err)
{
    if (error_number == EFBIG) /* the file size limit of the process: as good as a full disk */
        return gx_fail(err, GX_E_FULL, "cannot %s '%s': raise the file size limit (RLIMIT_FSIZE)", doing, path);
    return gx_err_errno(err, error_number, "cannot %s '%s'", doing, path);
}

enum gx_status gx_ledger_file_damaged(const struct gx_ledger_copy *copy, uint64_t offset, const char *what,
                                      struct gx_err *err)
{
    return gx_fail(err, GX_E_CORRUPT, "'%s' is damaged at byte %llu (%s): restore it from its mirror or a backup",
                   copy->path, (unsigned long long)offset, what);
}

/* --- create, open, close --- */

/* Header and the mark of an empty ledger, as many bytes as stand before the first entry. */
enum gx_status gx_ledger_file_create(const char *path, const uint8_t header[GX_LEDGER_HEADER_LEN], struct gx_err *err)
{
    struct gx_ledger_mark mark = {.len = GX_LEDGER_FIRST};
    const struct gx_slice whole = {header, GX_LEDGER_HEADER_LEN};
    GX_TRY(gx_keys_sha256(&whole, 1, &mark.head, err));
    uint8_t bytes[GX_LEDGER_FIRST] = {0};
    memcpy(bytes, header, GX_LEDGER_HEADER_LEN);
    gx_ledger_entry_encode_mark(&mark, bytes + GX_LEDGER_MARK_AT(0));
    return gx_file_write(path, (struct gx_slice){bytes, sizeof(bytes)}, 0600, false, err);
}

enum gx_status gx_ledger_file_open(const char *path, struct gx_ledger_faults *faults, struct gx_ledger_copy *out,
                                   struct gx_err *err)
{
    *out = (struct gx_ledger_copy){-1, strdup(path), faults};
    if (out->path == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to open the ledger");
    out->fd = open(path, (faults == NULL ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);
    if (out->fd < 0 && errno == ENOENT)
        return gx_fail(err, GX_E_NOT_FOUND,
                       "no ledger '%s': restore it from its mirror or a backup, or run "
                       "'indexd init'",
                       path);
    if (out->fd < 0)
        return io_error(errno, "open", path, err);
    if (flock(out->fd, (faults == NULL ? LOCK_SH : LOCK_EX) | LOCK_NB) == 0)
        return GX_OK;
    if (errno == EWOULDBLOCK)
        return gx_fail(err, GX_E_IN_USE, "'%s' is in use by another process, stop that one first", path);
    return io_error(errno, "lock", path, err);
}

void gx_ledger_file_close(struct gx_ledger_copy *copy)
{
    if (copy->fd >= 0)
        close(copy->fd);
    free(copy->path);
    *copy = (struct gx_ledger_copy){.fd = -1};
}

enum gx_status gx_ledger_file_check_linked(const struct gx_ledger_copy *copy, struct gx_err *err)
{
    struct stat open_one, there;
    if (fstat(copy->fd, &open_one) != 0)
        return io_error(errno, "look at", copy->path, err);
    if (stat(copy->path, &there) != 0 || there.st_dev != open_one.st_dev || there.st_ino != open_one.st_ino)
        return gx_fail(err, GX_E_IO,
                       "'%s' was removed or exchanged while the server runs: put the file back, or stop the server and "
                       "restore it from its mirror or a backup",
                       copy->path);
    return GX_OK;
}

/* --- read, write --- */

enum gx_status gx_ledger_file_read(const struct gx_ledger_copy *copy, uint64_t offset, void *out, size_t len,
                                   struct gx_err *err)
{
    for (uint8_t *p = out; len > 0;) {
        ssize_t n = pread(copy->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_error(errno, "read", copy->path, err);
        if (n == 0)
            return gx_fail(err, GX_E_IO, "'%s' became shorter while it was read: leave it alone", copy->path);
        p += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return GX_OK;
}

static enum gx_status may_write(const struct gx_ledger_copy *copy, struct gx_err *err)
{
    struct gx_ledger_faults *faults = copy->faults;
    uint64_t n = atomic_fetch_add(&faults->n_steps, 1) + 1;
    gx_ledger_fault *fault = atomic_load(&faults->fault);
    enum gx_status status = fault == NULL ? GX_OK : fault(atomic_load(&faults->arg), n);
    if (status != GX_OK)
        return gx_fail(err, status, "step %llu of writing '%s' failed because the test wants it to",
                       (unsigned long long)n, copy->path);
    return GX_OK;
}

enum gx_status gx_ledger_file_write(const struct gx_ledger_copy *copy, uint64_t offset, const void *bytes, size_t len,
                                    struct gx_err *err)
{
    GX_TRY(may_write(copy, err));
    for (const uint8_t *p = bytes; len > 0;) {
        ssize_t n = pwrite(copy->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return io_error(n == 0 ? EIO : errno, "write", copy->path, err);
        p += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return GX_OK;
}

enum gx_status gx_ledger_file_sync(const struct gx_ledger_copy *copy, struct gx_err *err)
{
    GX_TRY(may_write(copy, err));
    return fdatasync(copy->fd) == 0 ? GX_OK : io_error(errno, "sync", copy->path, err);
}

enum gx_status gx_ledger_file_write_durably(const struct gx_ledger_copy *copy, uint64_t offset, const void *bytes,
                                            size_t len, struct gx_err *err)
{
    GX_TRY(gx_ledger_file_write(copy, offset, bytes, len, err));
    return gx_ledger_file_sync(copy, err);
}

enum gx_status gx_ledger_file_cut(const struct gx_ledger_copy *copy, uint64_t len, struct gx_err *err)
{
    GX_TRY(may_write(copy, err));
    if (ftruncate(copy->fd, (off_t)len) != 0)
        return io_error(errno, "cut back", copy->path, err);
    GX_TRY(may_write(copy, err));
    return fsync(copy->fd) == 0 ? GX_OK : io_error(errno, "sync", copy->path, err);
}

/* --- what stands before the entries --- */

static void decode_marks(const uint8_t bytes[GX_LEDGER_FIRST], struct gx_ledger_front *out)
{
    static const uint8_t nothing[GX_LEDGER_MARK_LEN];
    out->newest = -1;
    for (int i = 0; i < 2; i++) {
        memcpy(out->raw[i], bytes + GX_LEDGER_MARK_AT(i), GX_LEDGER_MARK_LEN);
        struct gx_ledger_mark *mark = &out->marks[i];
        out->valid[i] = gx_ledger_entry_decode_mark(out->raw[i], mark) && mark->n_entries % 2 == (uint64_t)i &&
                        mark->len >= GX_LEDGER_FIRST;
        out->blank[i] = memcmp(out->raw[i], nothing, sizeof(nothing)) == 0;
        if (out->valid[i] && (out->newest < 0 || mark->n_entries > out->marks[out->newest].n_entries))
            out->newest = i;
    }
}

enum gx_status gx_ledger_file_read_front(const struct gx_ledger_copy *copy, struct gx_ledger_front *out,
                                         struct gx_err *err)
{
    struct stat info;
    if (fstat(copy->fd, &info) != 0)
        return io_error(errno, "look at", copy->path, err);
    out->size = (uint64_t)info.st_size;
    if (!S_ISREG(info.st_mode) || out->size < GX_LEDGER_FIRST)
        return gx_ledger_file_damaged(copy, out->size, "too short for a ledger", err);
    uint8_t bytes[GX_LEDGER_FIRST];
    GX_TRY(gx_ledger_file_read(copy, 0, bytes, sizeof(bytes), err));
    memcpy(out->header, bytes, sizeof(out->header));
    enum gx_status status = gx_ledger_entry_check_header(out->header, err);
    if (status != GX_OK)
        return err == NULL ? status : gx_err_wrap(err, "cannot use '%s', byte 0", copy->path);
    decode_marks(bytes, out);
    if (out->newest < 0)
        return gx_ledger_file_damaged(copy, GX_LEDGER_MARK_AT(0), "both marks", err);
    for (int i = 0; i < 2; i++)
        memset(bytes + GX_LEDGER_MARK_AT(i), 0, GX_LEDGER_MARK_LEN);
    for (size_t at = GX_LEDGER_HEADER_LEN; at < sizeof(bytes); at++)
        if (bytes[at] != 0)
            return gx_ledger_file_damaged(copy, at, "not zero", err);
    return GX_OK;
}
