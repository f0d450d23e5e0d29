/* The second copy of the ledger: the same file, byte for byte.
 *
 * The path of attaching: made, when there is none -> same header -> it acknowledges nothing that the ledger lacks -> as
 * far as it goes it is equal -> the rest is copied, the marks last.
 *
 * What can go wrong: it contradicts the ledger, or knows more: one of the two is damaged or an older copy, and a person
 * must say which. A crash while it is caught up leaves it behind, never ahead. */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ledger_private.h"

#define PIECE_LEN 8192 /* of a comparison or copy */

/* Where in [GX_LEDGER_FIRST, @until) the two copies begin to differ; @until = nowhere. */
static enum gx_status compare(const struct gx_ledger_copy *original, const struct gx_ledger_copy *mirror,
                              uint64_t until, uint64_t *out_at, struct gx_err *err)
{
    uint8_t ours[PIECE_LEN], theirs[PIECE_LEN];
    for (*out_at = GX_LEDGER_FIRST; *out_at < until;) {
        size_t n = (size_t)GX_MIN(until - *out_at, sizeof(ours)), same = 0;
        GX_TRY(gx_ledger_file_read(original, *out_at, ours, n, err));
        GX_TRY(gx_ledger_file_read(mirror, *out_at, theirs, n, err));
        while (same < n && ours[same] == theirs[same])
            same++;
        *out_at += same;
        if (same < n)
            return GX_OK;
    }
    return GX_OK;
}

/* Makes the mirror equal from @at on. The marks come last, and the older one after the newer: one is always valid. */
static enum gx_status catch_up(const struct gx_ledger_original *original, const struct gx_ledger_copy *mirror,
                               const struct gx_ledger_front *front, uint64_t at, struct gx_err *err)
{
    const struct gx_ledger_mark *now = original->now;
    uint8_t bytes[PIECE_LEN];
    for (size_t n; at < now->len; at += n) {
        n = (size_t)GX_MIN(now->len - at, sizeof(bytes));
        GX_TRY(gx_ledger_file_read(original->copy, at, bytes, n, err));
        GX_TRY(gx_ledger_file_write(mirror, at, bytes, n, err));
    }
    if (front->size > now->len)
        GX_TRY(gx_ledger_file_cut(mirror, now->len, err));
    GX_TRY(gx_ledger_file_sync(mirror, err)); /* also what was there: it may never have reached the disk */
    for (uint64_t i = now->n_entries; i < now->n_entries + 2; i++)
        if (memcmp(front->raw[i % 2], original->marks[i % 2], GX_LEDGER_MARK_LEN) != 0)
            GX_TRY(gx_ledger_file_write_durably(mirror, GX_LEDGER_MARK_AT(i), original->marks[i % 2],
                                                GX_LEDGER_MARK_LEN, err));
    return GX_OK;
}

static enum gx_status check_not_same_file(const char *original, const char *mirror, struct gx_err *err)
{
    struct stat first, second;
    if (stat(original, &first) == 0 && stat(mirror, &second) == 0 && first.st_dev == second.st_dev &&
        first.st_ino == second.st_ino)
        return gx_fail(err, GX_E_INVALID, "ledger and mirror are the same file '%s': name another, on another disk",
                       mirror);
    return GX_OK;
}

enum gx_status gx_ledger_mirror_attach(const struct gx_ledger_original *original, const char *path,
                                       struct gx_ledger_faults *faults, struct gx_ledger_copy *out, struct gx_err *err)
{
    *out = (struct gx_ledger_copy){.fd = -1};
    GX_TRY(check_not_same_file(original->copy->path, path, err));
    if (access(path, F_OK) != 0 && errno == ENOENT)
        GX_TRY(gx_ledger_file_create(path, original->header, err));
    GX_TRY(gx_ledger_file_open(path, faults, out, err));
    struct gx_ledger_front front;
    GX_TRY(gx_ledger_file_read_front(out, &front, err));
    if (memcmp(front.header, original->header, sizeof(front.header)) != 0)
        return gx_ledger_file_damaged(out, 0, "the mirror of another ledger", err);
    const struct gx_ledger_mark *acknowledged = &front.marks[front.newest];
    if (acknowledged->n_entries > original->now->n_entries)
        return gx_fail(err, GX_E_CORRUPT,
                       "'%s' lacks %llu entries of its mirror '%s', it is an older copy: put the mirror in its place",
                       original->copy->path, (unsigned long long)(acknowledged->n_entries - original->now->n_entries),
                       path);
    uint64_t at;
    GX_TRY(compare(original->copy, out, GX_MIN(front.size, original->now->len), &at, err));
    if (at < GX_MIN(front.size, acknowledged->len))
        return gx_ledger_file_damaged(out, at, "differs from the ledger", err);
    return catch_up(original, out, &front, at, err);
}
