/* The entries of one copy, read from the first to the last and checked: each is what was written, stands in its place
 * in the chain, and the marks say the same.
 *
 * The path: what stands before the entries -> every entry that the newest mark covers, which must be there, whole ->
 * behind it nothing, or the one entry that was being appended when the process died -> the older mark fits.
 *
 * What can go wrong: ledger.c says it; here nothing is written. */
#include <stdlib.h>

#include "ledger_private.h"

struct reader {
    const struct gx_ledger_copy *copy;
    struct gx_ledger_reading *reading;
    gx_ledger_read_take *take;
    void *arg;
    uint8_t *buffer;
    size_t capacity;
};

static enum gx_status fill_buffer(struct reader *reader, uint64_t at, uint64_t len, struct gx_err *err)
{
    if (len > reader->capacity) {
        free(reader->buffer);
        reader->capacity = 0;
        reader->buffer = malloc(len);
        if (reader->buffer == NULL)
            return gx_fail(err, GX_E_NOMEM, "no memory to read '%s': give indexd more", reader->copy->path);
        reader->capacity = len;
    }
    return gx_ledger_file_read(reader->copy, at, reader->buffer, len, err);
}

/* The entry at now.len of a file that ends at @limit. Of one that is WHOLE or STRANGE, and of a BROKEN one whose
 * beginning can be read, *out_len is the length; else 0. */
static enum gx_status read_entry(struct reader *reader, uint64_t limit, struct gx_ledger_entry *out, uint64_t *out_len,
                                 enum gx_ledger_finding *out_finding, struct gx_err *err)
{
    const struct gx_ledger_mark *now = &reader->reading->now;
    uint64_t at = now->len, left = limit - at;
    uint8_t head[GX_LEDGER_HEAD_LEN];
    unsigned unknown;
    *out_len = 0;
    *out_finding = GX_LEDGER_INCOMPLETE;
    if (left < sizeof(head))
        return GX_OK;
    GX_TRY(gx_ledger_file_read(reader->copy, at, head, sizeof(head), err));
    uint64_t len = gx_ledger_entry_len(head, &unknown);
    if (unknown != 0)
        return gx_fail(err, GX_E_FORMAT,
                       "'%s' holds an entry of type %u (byte %llu), which this indexd does not know: use the newer one "
                       "that wrote it",
                       reader->copy->path, unknown, (unsigned long long)at);
    if (len == 0)
        *out_finding = GX_LEDGER_BROKEN;
    if (len == 0 || len > left)
        return GX_OK;
    GX_TRY(fill_buffer(reader, at, len, err));
    GX_TRY(gx_ledger_entry_decode(reader->buffer, len, &now->head, out, out_finding, err));
    if (*out_finding == GX_LEDGER_WHOLE &&
        gx_ledger_entry_check_order(out, now->last_number, reader->reading->last_serial, NULL) != GX_OK)
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

static enum gx_status take_entry(struct reader *reader, const struct gx_ledger_entry *entry, uint64_t len,
                                 struct gx_err *err)
{
    struct gx_ledger_reading *reading = reader->reading;
    uint64_t offset = reading->now.len;
    reading->now.n_entries++;
    reading->now.len += len;
    reading->now.head = entry->head;
    if (entry->type == GX_LEDGER_EXPUNGE)
        reading->now.last_number = entry->number;
    if (entry->type == GX_LEDGER_VERIFIED)
        reading->last_serial = entry->serial;
    return reader->take(reader->arg, entry, offset, len, err);
}

/* A valid mark for the entries read so far must say what was read. */
static enum gx_status check_mark(const struct reader *reader, struct gx_err *err)
{
    const struct gx_ledger_front *front = &reader->reading->front;
    const struct gx_ledger_mark *now = &reader->reading->now, *mark = &front->marks[now->n_entries % 2];
    if (!front->valid[now->n_entries % 2] || mark->n_entries != now->n_entries)
        return GX_OK;
    if (mark->len != now->len || mark->last_number != now->last_number ||
        memcmp(&mark->head, &now->head, sizeof(now->head)) != 0)
        return gx_ledger_file_damaged(reader->copy, GX_LEDGER_MARK_AT(now->n_entries), "the mark says otherwise", err);
    return GX_OK;
}

/* The acknowledged entries: each must be there, whole. */
static enum gx_status read_acknowledged(struct reader *reader, struct gx_err *err)
{
    const struct gx_ledger_front *front = &reader->reading->front;
    const struct gx_ledger_mark *acknowledged = &front->marks[front->newest], *now = &reader->reading->now;
    if (front->size < acknowledged->len)
        return gx_ledger_file_damaged(reader->copy, front->size, "acknowledged entries are missing", err);
    GX_TRY(check_mark(reader, err));
    while (now->len < acknowledged->len) {
        struct gx_ledger_entry entry;
        enum gx_ledger_finding finding;
        uint64_t len;
        GX_TRY(read_entry(reader, acknowledged->len, &entry, &len, &finding, err));
        if (finding != GX_LEDGER_WHOLE)
            return gx_ledger_file_damaged(reader->copy, now->len, finding_text(finding), err);
        GX_TRY(take_entry(reader, &entry, len, err));
        GX_TRY(check_mark(reader, err));
    }
    if (now->n_entries != acknowledged->n_entries)
        return gx_ledger_file_damaged(reader->copy, GX_LEDGER_MARK_AT(acknowledged->n_entries),
                                      "the mark says otherwise", err);
    return GX_OK;
}

/* What stands behind the mark: nothing, or the one entry that was being appended. */
static enum gx_status read_tail(struct reader *reader, struct gx_err *err)
{
    uint64_t size = reader->reading->front.size, at = reader->reading->now.len, left = size - at, len;
    if (left == 0)
        return GX_OK;
    struct gx_ledger_entry entry;
    enum gx_ledger_finding finding;
    GX_TRY(read_entry(reader, size, &entry, &len, &finding, err));
    if (finding == GX_LEDGER_STRANGE)
        return gx_ledger_file_damaged(reader->copy, at, finding_text(finding), err);
    if ((len != 0 && len < left) || left > GX_LEDGER_ENTRY_MAX)
        return gx_ledger_file_damaged(reader->copy, at + len, finding_text(GX_LEDGER_WHOLE), err);
    reader->reading->torn = finding != GX_LEDGER_WHOLE;
    return reader->reading->torn ? GX_OK : take_entry(reader, &entry, len, err);
}

/* A mark is bad for a reason only while it is being written, and then its entry is there. */
static enum gx_status check_older_mark(const struct reader *reader, struct gx_err *err)
{
    const struct gx_ledger_front *front = &reader->reading->front;
    const struct gx_ledger_mark *newest = &front->marks[front->newest];
    int other = 1 - front->newest;
    bool unmarked = reader->reading->now.n_entries > newest->n_entries;
    bool fine = front->valid[other] ? front->marks[other].n_entries + 1 == newest->n_entries
                                    : front->blank[other] && newest->n_entries == 0;
    return fine || unmarked ? GX_OK : gx_ledger_file_damaged(reader->copy, GX_LEDGER_MARK_AT(other), "mark", err);
}

enum gx_status gx_ledger_read_all(const struct gx_ledger_copy *copy, gx_ledger_read_take *take, void *arg,
                                  struct gx_ledger_reading *out, struct gx_err *err)
{
    struct reader reader = {.copy = copy, .reading = out, .take = take, .arg = arg};
    *out = (struct gx_ledger_reading){.now = {.len = GX_LEDGER_FIRST}};
    GX_TRY(gx_ledger_file_read_front(copy, &out->front, err));
    const struct gx_slice header = {out->front.header, sizeof(out->front.header)};
    GX_TRY(gx_keys_sha256(&header, 1, &out->now.head, err));
    enum gx_status status;
    GX_TRY_OUT(read_acknowledged(&reader, err));
    GX_TRY_OUT(read_tail(&reader, err));
    GX_TRY_OUT(check_older_mark(&reader, err));
out:
    free(reader.buffer);
    return status;
}
