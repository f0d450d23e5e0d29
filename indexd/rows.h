/* The rows of a gallery in memory: float row, record, columns for filters, live and quarantine bit. What a search
 * touches.
 *
 * A slot is a row's place, 0, 1, 2, … in the order of rno; it is never moved and never reused while the gallery is
 * open. One writer appends and publishes; any number of readers look at published slots without a lock. Wiping a slot
 * needs those readers out that may have seen it alive. Memory is anonymous, in chunks with huge pages,
 * excluded from core dumps. */
#ifndef GX_ROWS_H
#define GX_ROWS_H

#include "codec.h"
#include "topk.h"

struct gx_rows;

/* Columns of one row beside its floats. */
struct gx_row {
    uint64_t rno;
    int64_t captured_at_us;
    struct gx_key subject;  /* keyed hash of the subject id; all zero = no subject */
    struct gx_slice record; /* encoded record (codec.h) */
    bool quarantined;       /* out of every search while a legal hold says so, but a row: an index takes it up */
};

GX_MUST enum gx_status gx_rows_new(size_t dim, struct gx_rows **out, struct gx_err *err);
/* Before the first row: the floats stand in a new file at @path from now on, which gx_rows_free removes. GX_E_EXISTS
 * and other errors of open. The kernel decides what of it is in memory. */
GX_MUST enum gx_status gx_rows_use_file(struct gx_rows *rows, const char *path, struct gx_err *err);
void gx_rows_free(struct gx_rows *rows); /* wipes */

/* Writer: copies @row[dim] and @columns into the next slot, unpublished. rno must be above the last. GX_E_NOMEM;
 * GX_E_FULL: the disk, where the floats are in a file. */
GX_MUST enum gx_status gx_rows_append(struct gx_rows *rows, const float *row, const struct gx_row *columns,
                                      struct gx_err *err);
/* The same without floats and columns other than number and record; fill says them before the slot is published. It
 * returns the place of the floats, [dim], all zero. Different slots may be filled by several threads at a time. */
GX_MUST enum gx_status gx_rows_append_unfilled(struct gx_rows *rows, uint64_t rno, struct gx_slice record,
                                               struct gx_err *err);
float *gx_rows_fill(struct gx_rows *rows, uint32_t slot, int64_t captured_at_us, const struct gx_key *subject);
/* Writer: readers see everything appended so far; or forget everything appended since the last publish. */
void gx_rows_publish(struct gx_rows *rows);
void gx_rows_retract(struct gx_rows *rows);

size_t gx_rows_dim(const struct gx_rows *rows);
uint32_t gx_rows_count(const struct gx_rows *rows);       /* published slots, live and dead; acquire */
uint64_t gx_rows_live(const struct gx_rows *rows);        /* live rows, quarantined or not */
uint64_t gx_rows_quarantined(const struct gx_rows *rows); /* live rows that are quarantined */
uint64_t gx_rows_bytes(const struct gx_rows *rows);       /* memory held */

/* Published slot of @rno, or false. Binary search. */
bool gx_rows_find(const struct gx_rows *rows, uint64_t rno, uint32_t *out_slot);
/* First slot whose rno is >= @rno (= count when none). */
uint32_t gx_rows_lower_bound(const struct gx_rows *rows, uint64_t rno);

/* live: a row, which an index holds and Get finds. visible: live and not quarantined, what a search may return. */
bool gx_rows_is_live(const struct gx_rows *rows, uint32_t slot);
bool gx_rows_is_quarantined(const struct gx_rows *rows, uint32_t slot);
bool gx_rows_is_visible(const struct gx_rows *rows, uint32_t slot);
/* The first group of 64 slots (from a multiple of 64 on) that has a visible slot in [from, until), all published: bit i
 * of the word is *out_first + i, slots outside of [from, until) are 0. False: there is none. */
bool gx_rows_next_visible(const struct gx_rows *rows, uint32_t from, uint32_t until, uint32_t *out_first,
                          uint64_t *out_word);
uint64_t gx_rows_rno(const struct gx_rows *rows, uint32_t slot);
const float *gx_rows_floats(const struct gx_rows *rows, uint32_t slot);          /* [dim], 64-byte aligned, borrowed */
void gx_rows_get(const struct gx_rows *rows, uint32_t slot, struct gx_row *out); /* record borrowed */

/* Dead from now on: no later reader takes it. Any thread. Returns false when it was dead already. */
bool gx_rows_hide(struct gx_rows *rows, uint32_t slot);
/* Alive again: only for a removal that failed before anything durable was written. */
void gx_rows_unhide(struct gx_rows *rows, uint32_t slot);
/* Overwrites floats, record and columns (except rno) of a dead slot with zeros; gives whole dead chunks back.
 * No reader that may have seen it alive is
 * left. */
void gx_rows_wipe(struct gx_rows *rows, uint32_t slot);
/* What was wiped is gone from the file, too, where there is one; durable on return. GX_E_IO. */
GX_MUST enum gx_status gx_rows_sync(struct gx_rows *rows, struct gx_err *err);

/* Out of every search that begins from now on; and back in it. Writer, or before anybody searches. False: it was
 * already. The bits of dead rows may be set too and mean nothing. */
bool gx_rows_quarantine(struct gx_rows *rows, uint32_t slot);
bool gx_rows_unquarantine(struct gx_rows *rows, uint32_t slot);

/* Which of the visible rows a scan considers; NULL = all. Called with a visible slot. */
typedef bool gx_rows_pass(void *arg, const struct gx_rows *rows, uint32_t slot);

/* Exact scan of visible slots [from, until): offers gx_simd_dot scores to the @n_probes heaps (several probes share one
 * pass over memory). Ties are ordered by record id when the heaps were set up with gx_rows_tie and @rows as argument.
 * @stop (may be NULL) is asked every few thousand rows; true ends the scan early with GX_E_CANCELLED.
 * *out_scanned = rows scored. */
typedef bool gx_rows_stop(void *arg);
GX_MUST enum gx_status gx_rows_scan(const struct gx_rows *rows, uint32_t from, uint32_t until,
                                    const float *const *probes, size_t n_probes, gx_rows_pass *pass, void *pass_arg,
                                    gx_rows_stop *stop, void *stop_arg, struct gx_topk *tops, uint64_t *out_scanned,
                                    struct gx_err *err);

/* Offers the exact scores of @n visible slots from anywhere. */
void gx_rows_score(const struct gx_rows *rows, const uint32_t *slots, size_t n, const float *probe,
                   struct gx_topk *top);

/* gx_topk_tie: by record id, then rno. @rows is a struct gx_rows *. */
int gx_rows_tie(void *rows, uint32_t a, uint32_t b);

#endif
