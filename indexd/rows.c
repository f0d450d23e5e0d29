/* Rows live in chunks that never move: one mapping of floats (huge pages), one of columns, and slabs of record bytes.
 *
 * Why readers need no lock: the writer fills a slot, then publish stores `count` with release; a reader loads `count`
 * with acquire and touches only slots below it. The chunk table is reserved for 2^32 slots at once, so it never moves
 * either; untouched pages of it cost nothing. Live and quarantine bits are the only things that change behind a
 * reader's back, and they are atomic. Hiding a row and looking at its live bit are sequentially consistent: who waits
 * for the readers of a hidden row tells those that may have seen it alive from those that cannot by an order with
 * operations elsewhere, and acquire and release give no such order. Live and quarantine bits need no order between
 * them: a held row is not removed, so no pair of values that a reader may see was not true at some moment of its
 * search. Records stand in slabs of ours rather than in malloc'ed pieces: nothing of a record reaches a core dump, and
 * a row costs no allocator header. */
#include "rows_private.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "map.h"
#include "simd.h"

#define CHUNK_BYTES    ((size_t)16 << 20)
#define CHUNK_ROWS_MIN 1024
#define SLAB_BYTES     ((size_t)1 << 20)
#define SLOTS_MAX      UINT32_MAX
#define COLUMNS_LEN    (sizeof(uint64_t) + sizeof(int64_t) + sizeof(struct gx_key) + sizeof(uint8_t *) + sizeof(uint32_t))

struct gx_rows_slab {
    struct gx_rows_slab *next; /* older */
    size_t used;               /* of SLAB_BYTES, this head included */
};

enum gx_status gx_rows_new(size_t dim, struct gx_rows **out, struct gx_err *err)
{
    *out = NULL;
    if (dim < GX_DIM_MIN || dim > GX_DIM_MAX)
        return gx_fail(err, GX_E_INVALID, "dimension %zu: must be %d to %d", dim, GX_DIM_MIN, GX_DIM_MAX);
    struct gx_rows *rows = calloc(1, sizeof(*rows));
    if (rows == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for a gallery");
    rows->dim = dim;
    rows->fd = -1;
    rows->stride_len = (dim * sizeof(float) + 63) & ~(size_t)63;
    while (((size_t)2 << rows->shift) * rows->stride_len <= CHUNK_BYTES)
        rows->shift++;
    while (gx_rows_chunk_rows(rows) < CHUNK_ROWS_MIN)
        rows->shift++;
    size_t n = gx_rows_chunk_rows(rows);
    rows->floats_len = n * rows->stride_len;
    rows->columns_len = n * COLUMNS_LEN + 3 * n / 8;
    rows->chunks_len = (((size_t)SLOTS_MAX >> rows->shift) + 1) * sizeof(struct gx_rows_chunk *);
    rows->chunks = gx_map(rows->chunks_len);
    if (rows->chunks == NULL) {
        free(rows);
        return gx_fail(err, GX_E_NOMEM, "no memory for a gallery");
    }
    *out = rows;
    return GX_OK;
}

static void free_slabs(struct gx_rows_chunk *chunk)
{
    struct gx_rows_slab *next;
    for (struct gx_rows_slab *slab = chunk->slabs; slab != NULL; slab = next) {
        next = slab->next;
        explicit_bzero(slab, slab->used);
        munmap(slab, SLAB_BYTES);
    }
    chunk->slabs = NULL;
}

static void free_chunk(const struct gx_rows *rows, struct gx_rows_chunk *chunk, size_t n_used)
{
    if (!chunk->given_back && rows->fd < 0)
        explicit_bzero(chunk->floats, n_used * rows->stride_len);
    munmap(chunk->floats, rows->floats_len);
    explicit_bzero(chunk->subjects, n_used * sizeof(*chunk->subjects));
    munmap(chunk->rnos, rows->columns_len);
    free_slabs(chunk);
    free(chunk);
}

void gx_rows_free(struct gx_rows *rows)
{
    if (rows == NULL)
        return;
    size_t n_chunks = rows->chunks_len / sizeof(struct gx_rows_chunk *);
    for (size_t c = 0, first = 0; c < n_chunks && rows->chunks[c] != NULL; c++, first += gx_rows_chunk_rows(rows)) {
        size_t n_used = rows->appended > first ? rows->appended - first : 0;
        free_chunk(rows, rows->chunks[c], GX_MIN(n_used, gx_rows_chunk_rows(rows)));
    }
    munmap(rows->chunks, rows->chunks_len);
    gx_rows_file_close(rows);
    free(rows);
}

/* The columns stand one after the other in one mapping, widest alignment first. */
static void lay_out_columns(struct gx_rows_chunk *chunk, uint8_t *p, size_t n)
{
    chunk->rnos = (uint64_t *)(void *)p;
    p += n * sizeof(*chunk->rnos);
    chunk->captured_at_us = (int64_t *)(void *)p;
    p += n * sizeof(*chunk->captured_at_us);
    chunk->subjects = (struct gx_key *)(void *)p;
    p += n * sizeof(*chunk->subjects);
    chunk->records = (uint8_t **)(void *)p;
    p += n * sizeof(*chunk->records);
    chunk->live = (_Atomic uint64_t *)(void *)p;
    p += n / 8;
    chunk->wiped = (_Atomic uint64_t *)(void *)p;
    p += n / 8;
    chunk->quarantined = (_Atomic uint64_t *)(void *)p;
    p += n / 8;
    chunk->record_lens = (uint32_t *)(void *)p;
}

static enum gx_status new_chunk(struct gx_rows *rows, size_t number, struct gx_err *err)
{
    struct gx_rows_chunk *chunk = calloc(1, sizeof(*chunk));
    if (chunk == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for more rows");
    /* The first 2 MiB of a gallery stay small pages, so that many tiny galleries cost little. */
    enum gx_status status = gx_fail(err, GX_E_NOMEM, "no memory for more rows");
    chunk->floats = rows->fd >= 0 ? gx_rows_file_map(rows, number, err)
                                  : gx_map_huge(rows->floats_len, number == 0 ? GX_MAP_HUGE_PAGE : 0);
    uint8_t *columns = gx_map(rows->columns_len);
    if (chunk->floats == NULL || columns == NULL) {
        if (err != NULL && chunk->floats == NULL)
            status = err->status;
        if (chunk->floats != NULL)
            munmap(chunk->floats, rows->floats_len);
        if (columns != NULL)
            munmap(columns, rows->columns_len);
        free(chunk);
        return status;
    }
    lay_out_columns(chunk, columns, gx_rows_chunk_rows(rows));
    rows->chunks[number] = chunk;
    atomic_fetch_add_explicit(&rows->bytes, sizeof(*chunk), memory_order_relaxed);
    return GX_OK;
}

/* Room for a record in the newest slab; NULL without memory. */
static uint8_t *reserve_record(struct gx_rows_chunk *chunk, size_t len)
{
    struct gx_rows_slab *slab = chunk->slabs;
    if (slab == NULL || SLAB_BYTES - slab->used < len) {
        slab = gx_map(SLAB_BYTES);
        if (slab == NULL)
            return NULL;
        *slab = (struct gx_rows_slab){.next = chunk->slabs, .used = sizeof(*slab)};
        chunk->slabs = slab;
    }
    uint8_t *p = (uint8_t *)slab + slab->used;
    slab->used += len;
    return p;
}

/* The opposite, for the record reserved last. */
static void release_record(struct gx_rows_chunk *chunk, size_t len)
{
    struct gx_rows_slab *slab = chunk->slabs;
    slab->used -= len;
    if (slab->used > sizeof(*slab) || slab->next == NULL)
        return;
    chunk->slabs = slab->next;
    munmap(slab, SLAB_BYTES);
}

static uint64_t row_bytes(const struct gx_rows *rows, size_t record_len)
{
    return rows->stride_len + rows->columns_len / gx_rows_chunk_rows(rows) + record_len;
}

/* @row: NULL = zeros. */
static enum gx_status append(struct gx_rows *rows, const float *row, const struct gx_row *columns, struct gx_err *err)
{
    uint32_t slot = rows->appended;
    if (slot == SLOTS_MAX)
        return gx_fail(err, GX_E_FULL, "the gallery holds %u rows: start another one", slot);
    if (slot > 0 && columns->rno <= gx_rows_rno(rows, slot - 1))
        return gx_fail(err, GX_E_INVALID, "rows must come in the order of their numbers");
    if (columns->record.len > SLAB_BYTES - sizeof(struct gx_rows_slab))
        return gx_fail(err, GX_E_TOO_LARGE, "a record of %zu bytes is too large", columns->record.len);
    if (gx_rows_chunk_of(rows, slot) == NULL)
        GX_TRY(new_chunk(rows, slot >> rows->shift, err));
    struct gx_rows_chunk *chunk = gx_rows_chunk_of(rows, slot);
    uint32_t at = gx_rows_place_of(rows, slot);
    uint8_t *record = reserve_record(chunk, columns->record.len);
    if (record == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for more records");
    if (columns->record.len > 0)
        memcpy(record, columns->record.data, columns->record.len);
    if (row != NULL)
        memcpy((uint8_t *)chunk->floats + at * rows->stride_len, row, rows->dim * sizeof(float));
    chunk->rnos[at] = columns->rno;
    chunk->captured_at_us[at] = columns->captured_at_us;
    chunk->subjects[at] = columns->subject;
    chunk->records[at] = record;
    chunk->record_lens[at] = (uint32_t)columns->record.len;
    uint64_t bit = (uint64_t)1 << at % GX_ROWS_WORD;
    atomic_fetch_or_explicit(&chunk->live[at / GX_ROWS_WORD], bit, memory_order_relaxed);
    if (columns->quarantined)
        atomic_fetch_or_explicit(&chunk->quarantined[at / GX_ROWS_WORD], bit, memory_order_relaxed);
    rows->n_appended_quarantined += columns->quarantined;
    atomic_fetch_add_explicit(&rows->bytes, row_bytes(rows, columns->record.len), memory_order_relaxed);
    rows->appended++;
    return GX_OK;
}

enum gx_status gx_rows_append(struct gx_rows *rows, const float *row, const struct gx_row *columns, struct gx_err *err)
{
    return append(rows, row, columns, err);
}

enum gx_status gx_rows_append_unfilled(struct gx_rows *rows, uint64_t rno, struct gx_slice record, struct gx_err *err)
{
    return append(rows, NULL, &(struct gx_row){.rno = rno, .record = record}, err);
}

float *gx_rows_fill(struct gx_rows *rows, uint32_t slot, int64_t captured_at_us, const struct gx_key *subject)
{
    struct gx_rows_chunk *chunk = gx_rows_chunk_of(rows, slot);
    uint32_t at = gx_rows_place_of(rows, slot);
    chunk->captured_at_us[at] = captured_at_us;
    chunk->subjects[at] = *subject;
    return (float *)(void *)((uint8_t *)chunk->floats + at * rows->stride_len);
}

void gx_rows_publish(struct gx_rows *rows)
{
    uint32_t before = atomic_load_explicit(&rows->count, memory_order_relaxed);
    atomic_fetch_add_explicit(&rows->n_live, rows->appended - before, memory_order_relaxed);
    atomic_fetch_add_explicit(&rows->n_quarantined, rows->n_appended_quarantined, memory_order_relaxed);
    rows->n_appended_quarantined = 0;
    atomic_store_explicit(&rows->count, rows->appended, memory_order_release);
}

void gx_rows_retract(struct gx_rows *rows)
{
    uint32_t count = atomic_load_explicit(&rows->count, memory_order_relaxed);
    while (rows->appended > count) {
        uint32_t slot = --rows->appended;
        struct gx_rows_chunk *chunk = gx_rows_chunk_of(rows, slot);
        uint32_t at = gx_rows_place_of(rows, slot);
        size_t record_len = chunk->record_lens[at];
        uint64_t bit = (uint64_t)1 << at % GX_ROWS_WORD;
        atomic_fetch_and_explicit(&chunk->live[at / GX_ROWS_WORD], ~bit, memory_order_relaxed);
        atomic_fetch_and_explicit(&chunk->quarantined[at / GX_ROWS_WORD], ~bit, memory_order_relaxed);
        explicit_bzero((uint8_t *)chunk->floats + at * rows->stride_len, rows->stride_len);
        explicit_bzero(chunk->records[at], record_len);
        release_record(chunk, record_len);
        chunk->rnos[at] = 0;
        chunk->captured_at_us[at] = 0;
        chunk->subjects[at] = (struct gx_key){0};
        chunk->records[at] = NULL;
        chunk->record_lens[at] = 0;
        atomic_fetch_sub_explicit(&rows->bytes, row_bytes(rows, record_len), memory_order_relaxed);
    }
    rows->n_appended_quarantined = 0;
}

size_t gx_rows_dim(const struct gx_rows *rows)
{
    return rows->dim;
}

uint32_t gx_rows_count(const struct gx_rows *rows)
{
    return atomic_load_explicit(&rows->count, memory_order_acquire);
}

uint64_t gx_rows_live(const struct gx_rows *rows)
{
    return atomic_load_explicit(&rows->n_live, memory_order_relaxed);
}

uint64_t gx_rows_quarantined(const struct gx_rows *rows)
{
    return atomic_load_explicit(&rows->n_quarantined, memory_order_relaxed);
}

uint64_t gx_rows_bytes(const struct gx_rows *rows)
{
    return sizeof(*rows) + atomic_load_explicit(&rows->bytes, memory_order_relaxed);
}

/* Numbers grow almost evenly with the slots, so the place is guessed and the bounds are widened around the guess:
 * a few cache lines instead of a whole binary search (a search does this once per candidate). */
static void bracket(const struct gx_rows *rows, uint64_t rno, uint32_t *low, uint32_t *high)
{
    uint64_t first = gx_rows_rno(rows, *low), last = gx_rows_rno(rows, *high - 1);
    if (rno <= first || rno > last)
        return;
    double share = (double)(rno - first) / (double)(last - first);
    uint32_t guess = *low + (uint32_t)(share * (double)(*high - 1 - *low));
    uint64_t step = 1;
    if (gx_rows_rno(rows, guess) < rno) {
        *low = guess + 1;
        while (guess + step < *high && gx_rows_rno(rows, (uint32_t)(guess + step)) < rno) {
            *low = (uint32_t)(guess + step + 1);
            step *= 2;
        }
        if (guess + step < *high)
            *high = (uint32_t)(guess + step + 1);
        return;
    }
    *high = guess + 1;
    while (guess - *low >= step && gx_rows_rno(rows, (uint32_t)(guess - step)) >= rno) {
        *high = (uint32_t)(guess - step + 1);
        step *= 2;
    }
    if (guess - *low >= step)
        *low = (uint32_t)(guess - step + 1);
}

uint32_t gx_rows_lower_bound(const struct gx_rows *rows, uint64_t rno)
{
    uint32_t count = gx_rows_count(rows);
    if (count == 0 || gx_rows_rno(rows, count - 1) < rno)
        return count;
    uint32_t low = 0, high = count; /* the answer is in [low, high) */
    bracket(rows, rno, &low, &high);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (gx_rows_rno(rows, middle) < rno)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool gx_rows_find(const struct gx_rows *rows, uint64_t rno, uint32_t *out_slot)
{
    uint32_t slot = gx_rows_lower_bound(rows, rno);
    if (slot == gx_rows_count(rows) || gx_rows_rno(rows, slot) != rno)
        return false;
    *out_slot = slot;
    return true;
}

static bool is_set(const _Atomic uint64_t *bits, uint32_t at)
{
    return (atomic_load(&bits[at / GX_ROWS_WORD]) >> at % GX_ROWS_WORD & 1) != 0;
}

bool gx_rows_is_live(const struct gx_rows *rows, uint32_t slot)
{
    return is_set(gx_rows_chunk_of(rows, slot)->live, gx_rows_place_of(rows, slot));
}

bool gx_rows_is_quarantined(const struct gx_rows *rows, uint32_t slot)
{
    return is_set(gx_rows_chunk_of(rows, slot)->quarantined, gx_rows_place_of(rows, slot));
}

bool gx_rows_is_visible(const struct gx_rows *rows, uint32_t slot)
{
    return gx_rows_is_live(rows, slot) && !gx_rows_is_quarantined(rows, slot);
}

uint64_t gx_rows_rno(const struct gx_rows *rows, uint32_t slot)
{
    return gx_rows_chunk_of(rows, slot)->rnos[gx_rows_place_of(rows, slot)];
}

const float *gx_rows_floats(const struct gx_rows *rows, uint32_t slot)
{
    return (const float *)(const void *)((const uint8_t *)gx_rows_chunk_of(rows, slot)->floats +
                                         gx_rows_place_of(rows, slot) * rows->stride_len);
}

void gx_rows_get(const struct gx_rows *rows, uint32_t slot, struct gx_row *out)
{
    const struct gx_rows_chunk *chunk = gx_rows_chunk_of(rows, slot);
    uint32_t at = gx_rows_place_of(rows, slot);
    *out = (struct gx_row){.rno = chunk->rnos[at],
                           .captured_at_us = chunk->captured_at_us[at],
                           .subject = chunk->subjects[at],
                           .record = {chunk->records[at], chunk->record_lens[at]},
                           .quarantined = gx_rows_is_quarantined(rows, slot)};
}

bool gx_rows_hide(struct gx_rows *rows, uint32_t slot)
{
    uint32_t at = gx_rows_place_of(rows, slot);
    uint64_t bit = (uint64_t)1 << at % GX_ROWS_WORD;
    uint64_t before = atomic_fetch_and(&gx_rows_chunk_of(rows, slot)->live[at / GX_ROWS_WORD], ~bit);
    if ((before & bit) == 0)
        return false;
    atomic_fetch_sub_explicit(&rows->n_live, 1, memory_order_relaxed);
    atomic_fetch_sub_explicit(&rows->n_quarantined, gx_rows_is_quarantined(rows, slot), memory_order_relaxed);
    return true;
}

void gx_rows_unhide(struct gx_rows *rows, uint32_t slot)
{
    struct gx_rows_chunk *chunk = gx_rows_chunk_of(rows, slot);
    uint32_t at = gx_rows_place_of(rows, slot);
    uint64_t bit = (uint64_t)1 << at % GX_ROWS_WORD;
    assert((atomic_load_explicit(&chunk->wiped[at / GX_ROWS_WORD], memory_order_relaxed) & bit) == 0);
    if ((atomic_fetch_or(&chunk->live[at / GX_ROWS_WORD], bit) & bit) != 0)
        return;
    atomic_fetch_add_explicit(&rows->n_live, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&rows->n_quarantined, gx_rows_is_quarantined(rows, slot), memory_order_relaxed);
}

bool gx_rows_quarantine(struct gx_rows *rows, uint32_t slot)
{
    uint32_t at = gx_rows_place_of(rows, slot);
    uint64_t bit = (uint64_t)1 << at % GX_ROWS_WORD;
    if ((atomic_fetch_or(&gx_rows_chunk_of(rows, slot)->quarantined[at / GX_ROWS_WORD], bit) & bit) != 0)
        return false;
    atomic_fetch_add_explicit(&rows->n_quarantined, gx_rows_is_live(rows, slot), memory_order_relaxed);
    return true;
}

bool gx_rows_unquarantine(struct gx_rows *rows, uint32_t slot)
{
    uint32_t at = gx_rows_place_of(rows, slot);
    uint64_t bit = (uint64_t)1 << at % GX_ROWS_WORD;
    if ((atomic_fetch_and(&gx_rows_chunk_of(rows, slot)->quarantined[at / GX_ROWS_WORD], ~bit) & bit) == 0)
        return false;
    atomic_fetch_sub_explicit(&rows->n_quarantined, gx_rows_is_live(rows, slot), memory_order_relaxed);
    return true;
}

/* Every row of a full chunk is wiped: its pages go back to the kernel, the numbers stay for find. */
static void give_back(struct gx_rows *rows, struct gx_rows_chunk *chunk)
{
    if (rows->fd >= 0)
        gx_rows_file_give_back(rows, chunk);
    else
        madvise(chunk->floats, rows->floats_len, MADV_DONTNEED);
    free_slabs(chunk);
    chunk->given_back = true;
    atomic_fetch_sub_explicit(&rows->bytes, rows->floats_len, memory_order_relaxed);
}

void gx_rows_wipe(struct gx_rows *rows, uint32_t slot)
{
    struct gx_rows_chunk *chunk = gx_rows_chunk_of(rows, slot);
    uint32_t at = gx_rows_place_of(rows, slot);
    uint64_t bit = (uint64_t)1 << at % GX_ROWS_WORD;
    assert(!gx_rows_is_live(rows, slot));
    if ((atomic_fetch_or_explicit(&chunk->wiped[at / GX_ROWS_WORD], bit, memory_order_relaxed) & bit) != 0)
        return;
    explicit_bzero((uint8_t *)chunk->floats + at * rows->stride_len, rows->stride_len);
    explicit_bzero(chunk->records[at], chunk->record_lens[at]);
    atomic_fetch_sub_explicit(&rows->bytes, chunk->record_lens[at], memory_order_relaxed);
    chunk->captured_at_us[at] = 0;
    chunk->subjects[at] = (struct gx_key){0};
    chunk->records[at] = NULL;
    chunk->record_lens[at] = 0;
    if (++chunk->n_wiped == gx_rows_chunk_rows(rows))
        give_back(rows, chunk);
}
