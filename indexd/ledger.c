/* The outer ledger: one file, written at its end, checked from its start.
 *
 * The path of an append: encode -> write the entry -> fdatasync -> the same in the mirror -> write the mark that
 * acknowledges it -> fdatasync -> the same in the mirror -> the expunged set. The mark says how many entries and bytes,
 * which last number and which head of the chain were acknowledged. There are two places for it, used in turn, so that a
 * crash while one is written leaves the other.
 *
 * What can go wrong:
 * - a crash while an entry is written: the file goes on behind the mark and ends inside that one entry, which was never
 *   acknowledged: it is cut off. A whole entry behind the mark (a crash before its mark) is kept and marked;
 * - anything else, a flipped byte, bytes missing before the mark, bytes behind the one entry that may follow it, is
 *   damage: the ledger is not opened, and the error names file and offset;
 * - a failed write: the old mark is written again, then the file is cut back; if that fails too, what is on the disk is
 *   unknown, and nothing more is appended before a restart has looked at it;
 * - an older copy of the whole file cannot be seen from inside: the mirror tells, and the store, which remembers the
 *   last number and the head. */
#include "ledger.h"

#include "clock.h"
#include "file.h"
#include "ledger_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PIECE_LEN 8192 /* of a comparison or copy */

struct copy {
    int fd;
    char *path;
};

/* What stands before the entries of one copy, and how long that copy is. */
struct front {
    uint8_t header[GX_LEDGER_HEADER_LEN];
    uint8_t raw[2][GX_LEDGER_MARK_LEN];
    struct gx_ledger_mark marks[2];
    bool valid[2], blank[2];
    int newest; /* of the valid marks; -1 = none is */
    uint64_t size;
};

struct gx_ledger {
    struct copy copies[2]; /* the ledger, and its mirror */
    size_t n_copies;
    uint8_t header[GX_LEDGER_HEADER_LEN];
    uint8_t marks[2][GX_LEDGER_MARK_LEN]; /* as they are on the disk */
    struct gx_ledger_mark now;            /* the one of now.n_entries % 2 */
    bool broken;                          /* what is on the disk is unknown */
    struct gx_ledger_ids *expunged;
    gx_ledger_fault *fault;
    void *fault_arg;
    uint64_t n_writes;
};

/* ---------------------------------------------------------------- one copy: read, write, sync, cut */

static enum gx_status io_error(int error_number, const char *doing, const struct copy *copy, struct gx_err *err)
{
    if (error_number == EFBIG) /* the file size limit of the process: as good as a full disk */
        return gx_fail(err, GX_E_FULL, "cannot %s '%s': raise the file size limit (RLIMIT_FSIZE)", doing, copy->path);
    return gx_err_errno(err, error_number, "cannot %s '%s'", doing, copy->path);
}

static enum gx_status damaged(const struct copy *copy, uint64_t offset, const char *what, struct gx_err *err)
{
    return gx_fail(err, GX_E_CORRUPT, "'%s' is damaged at byte %llu (%s): restore it from its mirror or a backup",
                   copy->path, (unsigned long long)offset, what);
}

static enum gx_status may_write(struct gx_ledger *ledger, const struct copy *copy, struct gx_err *err)
{
    ledger->n_writes++;
    enum gx_status status = ledger->fault == NULL ? GX_OK : ledger->fault(ledger->fault_arg, ledger->n_writes);
    if (status != GX_OK)
        return gx_fail(err, status, "step %llu of writing '%s' failed because the test wants it to",
                       (unsigned long long)ledger->n_writes, copy->path);
    return GX_OK;
}

static enum gx_status write_at(struct gx_ledger *ledger, const struct copy *copy, uint64_t offset, const void *bytes,
                               size_t len, struct gx_err *err)
{
    GX_TRY(may_write(ledger, copy, err));
    for (const uint8_t *p = bytes; len > 0;) {
        ssize_t n = pwrite(copy->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return io_error(n == 0 ? EIO : errno, "write", copy, err);
        p += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return GX_OK;
}

static enum gx_status sync_copy(struct gx_ledger *ledger, const struct copy *copy, struct gx_err *err)
{
    GX_TRY(may_write(ledger, copy, err));
    return fdatasync(copy->fd) == 0 ? GX_OK : io_error(errno, "sync", copy, err);
}

static enum gx_status write_durably(struct gx_ledger *ledger, const struct copy *copy, uint64_t offset,
                                    const void *bytes, size_t len, struct gx_err *err)
{
    GX_TRY(write_at(ledger, copy, offset, bytes, len, err));
    return sync_copy(ledger, copy, err);
}

static enum gx_status cut(struct gx_ledger *ledger, const struct copy *copy, uint64_t len, struct gx_err *err)
{
    GX_TRY(may_write(ledger, copy, err));
    if (ftruncate(copy->fd, (off_t)len) != 0)
        return io_error(errno, "cut back", copy, err);
    GX_TRY(may_write(ledger, copy, err));
    return fsync(copy->fd) == 0 ? GX_OK : io_error(errno, "sync", copy, err);
}

static enum gx_status read_at(const struct copy *copy, uint64_t offset, void *out, size_t len, struct gx_err *err)
{
    for (uint8_t *p = out; len > 0;) {
        ssize_t n = pread(copy->fd, p, len, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_error(errno, "read", copy, err);
        if (n == 0)
            return gx_fail(err, GX_E_IO, "'%s' became shorter while it was read: leave it alone", copy->path);
        p += n;
        offset += (uint64_t)n;
        len -= (size_t)n;
    }
    return GX_OK;
}

/* ---------------------------------------------------------------- create, open one copy */

/* Header and the mark of an empty ledger, as many bytes as stand before the first entry. */
static enum gx_status create_file(const char *path, const uint8_t header[GX_LEDGER_HEADER_LEN], struct gx_err *err)
{
    struct gx_ledger_mark mark = {.len = GX_LEDGER_FIRST};
    const struct gx_slice whole = {header, GX_LEDGER_HEADER_LEN};
    GX_TRY(gx_keys_sha256(&whole, 1, &mark.head, err));
    uint8_t bytes[GX_LEDGER_FIRST] = {0};
    memcpy(bytes, header, GX_LEDGER_HEADER_LEN);
    gx_ledger_entry_encode_mark(&mark, bytes + GX_LEDGER_MARK_AT(0));
    return gx_file_write(path, (struct gx_slice){bytes, sizeof(bytes)}, 0600, false, err);
}

enum gx_status gx_ledger_create(const char *path, struct gx_err *err)
{
    struct gx_uuid id;
    GX_TRY(gx_keys_uuid(&id, err));
    uint8_t header[GX_LEDGER_HEADER_LEN];
    gx_ledger_entry_encode_header(&id, gx_clock_wall_us(), header);
    return create_file(path, header, err);
}

/* Opens and locks; copy->path is the caller's. */
static enum gx_status open_copy(struct copy *copy, struct gx_err *err)
{
    copy->fd = open(copy->path, O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (copy->fd < 0 && errno == ENOENT)
        return gx_fail(err, GX_E_NOT_FOUND,
                       "no ledger '%s': restore it from its mirror or a backup, or run "
                       "'indexd init'",
                       copy->path);
    if (copy->fd < 0)
        return io_error(errno, "open", copy, err);
    if (flock(copy->fd, LOCK_EX | LOCK_NB) == 0)
        return GX_OK;
    if (errno == EWOULDBLOCK)
        return gx_fail(err, GX_E_IN_USE, "'%s' is in use by another process, stop that one first", copy->path);
    return io_error(errno, "lock", copy, err);
}

static void decode_marks(const uint8_t bytes[GX_LEDGER_FIRST], struct front *out)
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

/* Reads and checks what stands before the entries; at least one mark is valid then. */
static enum gx_status read_front(const struct copy *copy, struct front *out, struct gx_err *err)
{
    struct stat info;
    if (fstat(copy->fd, &info) != 0)
        return io_error(errno, "look at", copy, err);
    out->size = (uint64_t)info.st_size;
    if (!S_ISREG(info.st_mode) || out->size < GX_LEDGER_FIRST)
        return damaged(copy, out->size, "too short for a ledger", err);
    uint8_t bytes[GX_LEDGER_FIRST];
    GX_TRY(read_at(copy, 0, bytes, sizeof(bytes), err));
    memcpy(out->header, bytes, sizeof(out->header));
    enum gx_status status = gx_ledger_entry_check_header(out->header, err);
    if (status != GX_OK)
        return err == NULL ? status : gx_err_wrap(err, "cannot use '%s', byte 0", copy->path);
    decode_marks(bytes, out);
    if (out->newest < 0)
        return damaged(copy, GX_LEDGER_MARK_AT(0), "both marks", err);
    for (int i = 0; i < 2; i++)
        memset(bytes + GX_LEDGER_MARK_AT(i), 0, GX_LEDGER_MARK_LEN);
    for (size_t at = GX_LEDGER_HEADER_LEN; at < sizeof(bytes); at++)
        if (bytes[at] != 0)
            return damaged(copy, at, "not zero", err);
    return GX_OK;
}

/* ---------------------------------------------------------------- read the entries */

struct reader {
    const struct copy *copy;
    const struct front *front;
    struct gx_ledger_mark now; /* after the entries read so far */
    uint8_t *buffer;
    size_t capacity;
};

/* The entry at reader->now.len of a file that ends at @limit. Of one that is WHOLE or STRANGE, and of a BROKEN one
 * whose beginning can be read, *out_len is the length; else 0. */
static enum gx_status read_entry(struct reader *reader, uint64_t limit, struct gx_ledger_entry *out, uint64_t *out_len,
                                 enum gx_ledger_finding *out_finding, struct gx_err *err)
{
    uint64_t at = reader->now.len, left = limit - at;
    uint8_t head[GX_LEDGER_HEAD_LEN];
    *out_len = 0;
    *out_finding = GX_LEDGER_INCOMPLETE;
    if (left < sizeof(head))
        return GX_OK;
    GX_TRY(read_at(reader->copy, at, head, sizeof(head), err));
    uint64_t len = gx_ledger_entry_len(head);
    if (len == 0)
        *out_finding = GX_LEDGER_BROKEN;
    if (len == 0 || len > left)
        return GX_OK;
    if (len > reader->capacity) {
        free(reader->buffer);
        reader->capacity = 0;
        reader->buffer = malloc(len);
        if (reader->buffer == NULL)
            return gx_fail(err, GX_E_NOMEM, "no memory to read '%s': give indexd more", reader->copy->path);
        reader->capacity = len;
    }
    GX_TRY(read_at(reader->copy, at, reader->buffer, len, err));
    GX_TRY(gx_ledger_entry_decode(reader->buffer, len, &reader->now.head, out, out_finding, err));
    if (*out_finding == GX_LEDGER_WHOLE && out->number <= reader->now.last_number)
        *out_finding = GX_LEDGER_STRANGE;
    *out_len = len;
    return GX_OK;
}

static const char *finding_text(enum gx_ledger_finding finding)
{
    switch (finding) {
    case GX_LEDGER_WHOLE: return "bytes behind the last entry";
    case GX_LEDGER_INCOMPLETE: return "an acknowledged entry is incomplete";
    case GX_LEDGER_BROKEN: return "checksum";
    case GX_LEDGER_STRANGE: return "an entry that belongs elsewhere";
    }
    return "";
}

/* There is room. A named subject does not bar new records of that person. */
static void add_to_set(struct gx_ledger *ledger, const struct gx_ledger_entry *entry)
{
    gx_ledger_ids_add(ledger->expunged, GX_ID_RECORD, entry->records, entry->n_records);
    if (entry->kind != GX_ID_SUBJECT)
        gx_ledger_ids_add(ledger->expunged, entry->kind, entry->named, entry->n_named);
}

/* Takes the entry that was read: into the set, to the visitor, into reader->now. */
static enum gx_status take_entry(struct gx_ledger *ledger, struct reader *reader, const struct gx_ledger_entry *entry,
                                 uint64_t len, gx_ledger_visit *visit, void *arg, struct gx_err *err)
{
    GX_TRY(gx_ledger_ids_reserve(ledger->expunged, entry->n_records + entry->n_named, err));
    add_to_set(ledger, entry);
    reader->now.n_entries++;
    reader->now.len += len;
    reader->now.last_number = entry->number;
    reader->now.head = entry->head;
    return visit == NULL ? GX_OK : visit(arg, entry, err);
}

/* A valid mark for the entries read so far must say what was read. */
static enum gx_status check_mark(const struct reader *reader, struct gx_err *err)
{
    const struct gx_ledger_mark *now = &reader->now, *mark = &reader->front->marks[now->n_entries % 2];
    if (!reader->front->valid[now->n_entries % 2] || mark->n_entries != now->n_entries)
        return GX_OK;
    if (mark->len != now->len || mark->last_number != now->last_number ||
        memcmp(&mark->head, &now->head, sizeof(now->head)) != 0)
        return damaged(reader->copy, GX_LEDGER_MARK_AT(now->n_entries), "the mark says otherwise", err);
    return GX_OK;
}

/* The acknowledged entries: each must be there, whole. */
static enum gx_status read_acknowledged(struct gx_ledger *ledger, struct reader *reader, gx_ledger_visit *visit,
                                        void *arg, struct gx_err *err)
{
    const struct gx_ledger_mark *acknowledged = &reader->front->marks[reader->front->newest];
    if (reader->front->size < acknowledged->len)
        return damaged(reader->copy, reader->front->size, "acknowledged entries are missing", err);
    GX_TRY(check_mark(reader, err));
    while (reader->now.len < acknowledged->len) {
        struct gx_ledger_entry entry;
        enum gx_ledger_finding finding;
        uint64_t len;
        GX_TRY(read_entry(reader, acknowledged->len, &entry, &len, &finding, err));
        if (finding != GX_LEDGER_WHOLE)
            return damaged(reader->copy, reader->now.len, finding_text(finding), err);
        GX_TRY(take_entry(ledger, reader, &entry, len, visit, arg, err));
        GX_TRY(check_mark(reader, err));
    }
    if (reader->now.n_entries != acknowledged->n_entries)
        return damaged(reader->copy, GX_LEDGER_MARK_AT(acknowledged->n_entries), "the mark says otherwise", err);
    return GX_OK;
}

/* What stands behind the mark: nothing, or the one entry that was being appended. */
static enum gx_status read_tail(struct gx_ledger *ledger, struct reader *reader, gx_ledger_visit *visit, void *arg,
                                bool *out_torn, struct gx_err *err)
{
    uint64_t at = reader->now.len, left = reader->front->size - at, len;
    if (left == 0)
        return GX_OK;
    struct gx_ledger_entry entry;
    enum gx_ledger_finding finding;
    GX_TRY(read_entry(reader, reader->front->size, &entry, &len, &finding, err));
    if (finding == GX_LEDGER_STRANGE)
        return damaged(reader->copy, at, finding_text(finding), err);
    if ((len != 0 && len < left) || left > GX_LEDGER_ENTRY_MAX)
        return damaged(reader->copy, at + len, finding_text(GX_LEDGER_WHOLE), err);
    *out_torn = finding != GX_LEDGER_WHOLE;
    return *out_torn ? GX_OK : take_entry(ledger, reader, &entry, len, visit, arg, err);
}

/* Makes the ledger's file say what was read: cuts a torn tail off, marks an entry that had no mark yet. */
static enum gx_status settle(struct gx_ledger *ledger, const struct reader *reader, bool torn, struct gx_err *err)
{
    const struct copy *copy = reader->copy;
    const struct front *front = reader->front;
    bool unmarked = reader->now.n_entries > front->marks[front->newest].n_entries;
    int other = 1 - front->newest;
    /* A mark is bad for a reason only while it is being written, and then its entry is there. */
    bool other_is_fine = front->valid[other]
                             ? front->marks[other].n_entries + 1 == front->marks[front->newest].n_entries
                             : front->blank[other] && front->marks[front->newest].n_entries == 0;
    if (!other_is_fine && !unmarked)
        return damaged(copy, GX_LEDGER_MARK_AT(other), "mark", err);
    memcpy(ledger->marks, front->raw, sizeof(ledger->marks));
    ledger->now = reader->now;
    if (torn)
        GX_TRY(cut(ledger, copy, reader->now.len, err));
    if (!unmarked)
        return GX_OK;
    uint8_t *raw = ledger->marks[reader->now.n_entries % 2];
    gx_ledger_entry_encode_mark(&reader->now, raw);
    GX_TRY(sync_copy(ledger, copy, err)); /* the entry, before the mark vouches for it */
    return write_durably(ledger, copy, GX_LEDGER_MARK_AT(reader->now.n_entries), raw, GX_LEDGER_MARK_LEN, err);
}

static enum gx_status load(struct gx_ledger *ledger, gx_ledger_visit *visit, void *arg, bool *out_torn,
                           struct gx_err *err)
{
    struct front front;
    GX_TRY(read_front(&ledger->copies[0], &front, err));
    memcpy(ledger->header, front.header, sizeof(ledger->header));
    struct reader reader = {.copy = &ledger->copies[0], .front = &front, .now = {.len = GX_LEDGER_FIRST}};
    const struct gx_slice header = {front.header, sizeof(front.header)};
    enum gx_status status;
    GX_TRY_OUT(gx_keys_sha256(&header, 1, &reader.now.head, err));
    GX_TRY_OUT(read_acknowledged(ledger, &reader, visit, arg, err));
    GX_TRY_OUT(read_tail(ledger, &reader, visit, arg, out_torn, err));
    GX_TRY_OUT(settle(ledger, &reader, *out_torn, err));
out:
    free(reader.buffer);
    return status;
}

/* ---------------------------------------------------------------- the mirror */

/* Where in [GX_LEDGER_FIRST, @until) the two copies begin to differ; @until = nowhere. */
static enum gx_status compare(const struct gx_ledger *ledger, const struct copy *mirror, uint64_t until,
                              uint64_t *out_at, struct gx_err *err)
{
    uint8_t ours[PIECE_LEN], theirs[PIECE_LEN];
    for (*out_at = GX_LEDGER_FIRST; *out_at < until;) {
        size_t n = (size_t)GX_MIN(until - *out_at, sizeof(ours)), same = 0;
        GX_TRY(read_at(&ledger->copies[0], *out_at, ours, n, err));
        GX_TRY(read_at(mirror, *out_at, theirs, n, err));
        while (same < n && ours[same] == theirs[same])
            same++;
        *out_at += same;
        if (same < n)
            return GX_OK;
    }
    return GX_OK;
}

/* Makes the mirror equal from @at on. The marks come last, and the older one after the newer: one is always valid. */
static enum gx_status catch_up(struct gx_ledger *ledger, const struct copy *mirror, const struct front *front,
                               uint64_t at, struct gx_err *err)
{
    uint8_t bytes[PIECE_LEN];
    for (size_t n; at < ledger->now.len; at += n) {
        n = (size_t)GX_MIN(ledger->now.len - at, sizeof(bytes));
        GX_TRY(read_at(&ledger->copies[0], at, bytes, n, err));
        GX_TRY(write_at(ledger, mirror, at, bytes, n, err));
    }
    if (front->size > ledger->now.len)
        GX_TRY(cut(ledger, mirror, ledger->now.len, err));
    GX_TRY(sync_copy(ledger, mirror, err)); /* also what was there: it may never have reached the disk */
    for (uint64_t i = ledger->now.n_entries; i < ledger->now.n_entries + 2; i++)
        if (memcmp(front->raw[i % 2], ledger->marks[i % 2], GX_LEDGER_MARK_LEN) != 0)
            GX_TRY(write_durably(ledger, mirror, GX_LEDGER_MARK_AT(i), ledger->marks[i % 2], GX_LEDGER_MARK_LEN, err));
    return GX_OK;
}

static enum gx_status check_not_same_file(const struct copy *a, const struct copy *b, struct gx_err *err)
{
    struct stat first, second;
    if (stat(a->path, &first) == 0 && stat(b->path, &second) == 0 && first.st_dev == second.st_dev &&
        first.st_ino == second.st_ino)
        return gx_fail(err, GX_E_INVALID, "ledger and mirror are the same file '%s': name another, on another disk",
                       b->path);
    return GX_OK;
}

static enum gx_status attach_mirror(struct gx_ledger *ledger, struct gx_err *err)
{
    struct copy *mirror = &ledger->copies[1];
    GX_TRY(check_not_same_file(&ledger->copies[0], mirror, err));
    if (access(mirror->path, F_OK) != 0 && errno == ENOENT)
        GX_TRY(create_file(mirror->path, ledger->header, err));
    GX_TRY(open_copy(mirror, err));
    struct front front;
    GX_TRY(read_front(mirror, &front, err));
    if (memcmp(front.header, ledger->header, sizeof(front.header)) != 0)
        return damaged(mirror, 0, "the mirror of another ledger", err);
    const struct gx_ledger_mark *acknowledged = &front.marks[front.newest];
    if (acknowledged->n_entries > ledger->now.n_entries)
        return gx_fail(err, GX_E_CORRUPT,
                       "'%s' lacks %llu entries of its mirror '%s', it is an older copy: put the mirror in its place",
                       ledger->copies[0].path, (unsigned long long)(acknowledged->n_entries - ledger->now.n_entries),
                       mirror->path);
    uint64_t at;
    GX_TRY(compare(ledger, mirror, GX_MIN(front.size, ledger->now.len), &at, err));
    if (at < GX_MIN(front.size, acknowledged->len))
        return damaged(mirror, at, "differs from the ledger", err);
    GX_TRY(catch_up(ledger, mirror, &front, at, err));
    ledger->n_copies = 2;
    return GX_OK;
}

/* ---------------------------------------------------------------- open, close, append */

enum gx_status gx_ledger_open(const char *path, const char *mirror, gx_ledger_visit *visit, void *arg,
                              struct gx_ledger **out, bool *out_torn, struct gx_err *err)
{
    *out = NULL;
    *out_torn = false;
    enum gx_status status;
    struct gx_ledger *ledger = calloc(1, sizeof(*ledger));
    if (ledger == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to open the ledger");
    ledger->n_copies = 1;
    ledger->copies[0] = (struct copy){-1, strdup(path)};
    ledger->copies[1] = (struct copy){-1, mirror == NULL ? NULL : strdup(mirror)};
    if (ledger->copies[0].path == NULL || (mirror != NULL && ledger->copies[1].path == NULL)) {
        status = gx_fail(err, GX_E_NOMEM, "no memory to open the ledger");
        goto out;
    }
    GX_TRY_OUT(gx_ledger_ids_new(&ledger->expunged, err));
    GX_TRY_OUT(open_copy(&ledger->copies[0], err));
    GX_TRY_OUT(load(ledger, visit, arg, out_torn, err));
    if (mirror != NULL)
        GX_TRY_OUT(attach_mirror(ledger, err));
    gx_ledger_ids_share(ledger->expunged);
    *out = ledger;
    return GX_OK;
out:
    gx_ledger_close(ledger);
    return status;
}

void gx_ledger_close(struct gx_ledger *ledger)
{
    if (ledger == NULL)
        return;
    for (int i = 0; i < 2; i++) {
        if (ledger->copies[i].fd >= 0)
            close(ledger->copies[i].fd);
        free(ledger->copies[i].path);
    }
    gx_ledger_ids_free(ledger->expunged);
    free(ledger);
}

/* Entry, then mark, in every copy; *out_marking: the failure came when marks had begun to change. */
static enum gx_status write_entry(struct gx_ledger *ledger, const uint8_t *bytes, uint64_t len,
                                  const struct gx_ledger_mark *next, const uint8_t mark[GX_LEDGER_MARK_LEN],
                                  bool *out_marking, struct gx_err *err)
{
    *out_marking = false;
    for (size_t i = 0; i < ledger->n_copies; i++)
        GX_TRY(write_durably(ledger, &ledger->copies[i], ledger->now.len, bytes, len, err));
    *out_marking = true;
    for (size_t i = 0; i < ledger->n_copies; i++)
        GX_TRY(write_durably(ledger, &ledger->copies[i], GX_LEDGER_MARK_AT(next->n_entries), mark, GX_LEDGER_MARK_LEN,
                             err));
    return GX_OK;
}

/* As if nothing had been appended. The mark first: it must never vouch for what is not there. */
static void take_back(struct gx_ledger *ledger, const struct gx_ledger_mark *next, bool marking)
{
    for (size_t i = 0; i < ledger->n_copies; i++) {
        const struct copy *copy = &ledger->copies[i];
        if (marking && write_durably(ledger, copy, GX_LEDGER_MARK_AT(next->n_entries),
                                     ledger->marks[next->n_entries % 2], GX_LEDGER_MARK_LEN, NULL) != GX_OK)
            ledger->broken = true;
        else if (cut(ledger, copy, ledger->now.len, NULL) != GX_OK)
            ledger->broken = true;
    }
}

/* An entry in a file that somebody has removed would be acknowledged and lost. */
static enum gx_status check_linked(const struct gx_ledger *ledger, struct gx_err *err)
{
    for (size_t i = 0; i < GX_COUNT_OF(ledger->copies); i++) {
        struct stat st;
        const struct copy *copy = &ledger->copies[i];
        if (copy->fd >= 0 && copy->path != NULL && fstat(copy->fd, &st) == 0 && st.st_nlink == 0)
            return gx_fail(err, GX_E_IO, "'%s' was removed while the server runs: stop it and put the file back",
                           copy->path);
    }
    return GX_OK;
}

enum gx_status gx_ledger_append(struct gx_ledger *ledger, const struct gx_ledger_entry *entry, struct gx_err *err)
{
    uint64_t len;
    GX_TRY(gx_ledger_entry_check(entry, &len, err));
    if (entry->number <= ledger->now.last_number)
        return gx_fail(err, GX_E_INVALID, "the ledger has entries up to number %llu: take a higher one",
                       (unsigned long long)ledger->now.last_number);
    if (ledger->broken)
        return gx_fail(err, GX_E_IO, "'%s' is in an unknown state since a write failed: look at the disk, then restart",
                       ledger->copies[0].path);
    GX_TRY(check_linked(ledger, err));
    GX_TRY(gx_ledger_ids_reserve(ledger->expunged, entry->n_records + entry->n_named, err));
    uint8_t *bytes = malloc(len);
    if (bytes == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory to write '%s': give indexd more", ledger->copies[0].path);
    struct gx_ledger_mark next = {ledger->now.n_entries + 1, ledger->now.len + len, entry->number, {{0}}};
    uint8_t mark[GX_LEDGER_MARK_LEN];
    bool marking;
    enum gx_status status;
    GX_TRY_OUT(gx_ledger_entry_encode(entry, &ledger->now.head, bytes, len, &next.head, err));
    gx_ledger_entry_encode_mark(&next, mark);
    status = write_entry(ledger, bytes, len, &next, mark, &marking, err);
    if (status != GX_OK) {
        take_back(ledger, &next, marking);
        goto out;
    }
    ledger->now = next;
    memcpy(ledger->marks[next.n_entries % 2], mark, sizeof(mark));
    add_to_set(ledger, entry);
out:
    free(bytes);
    return status;
}

uint64_t gx_ledger_entries(const struct gx_ledger *ledger)
{
    return ledger->now.n_entries;
}

uint64_t gx_ledger_last_number(const struct gx_ledger *ledger)
{
    return ledger->now.last_number;
}

void gx_ledger_head(const struct gx_ledger *ledger, struct gx_digest *out)
{
    *out = ledger->now.head;
}

bool gx_ledger_holds(struct gx_ledger *ledger, enum gx_id_kind kind, const struct gx_key *key)
{
    return gx_ledger_ids_holds(ledger->expunged, kind, key);
}

void gx_ledger_set_fault(struct gx_ledger *ledger, gx_ledger_fault *fault, void *arg)
{
    ledger->fault = fault;
    ledger->fault_arg = arg;
    ledger->n_writes = 0;
}
