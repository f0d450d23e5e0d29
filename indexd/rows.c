/* Rows live in chunks that never move: one mapping of floats (huge pages), one of columns, and slabs of record bytes.
 *
 * Why readers need no lock: the writer fills a slot, then publish stores `count` with release; a reader loads `count`
 * with acquire and touches only slots below it. The chunk table is reserved for 2^32 slots at once, so it never moves
 * either; untouched pages of it cost nothing. Live bits are the only thing that changes behind a reader's back, and
 * they are atomic. Records stand in slabs of ours rather than in malloc'ed pieces: nothing of a record reaches a core
 * dump, and a row costs no allocator header. */
#include "rows.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "simd.h"

#define CHUNK_BYTES    ((size_t)16 << 20)
#define CHUNK_ROWS_MIN 1024
#define HUGE_PAGE      ((size_t)2 << 20)
#define SLAB_BYTES     ((size_t)1 << 20)
#define SLOTS_MAX      UINT32_MAX
#define WORD_SLOTS     64
#define COLUMNS_LEN    (sizeof(uint64_t) + sizeof(int64_t) + sizeof(struct gx_key) + sizeof(uint8_t *) + sizeof(uint32_t))
#define STOP_EVERY     4096               /* rows x probes looked at between two questions to @stop */
#define BLOCK_BYTES    ((size_t)64 << 10) /* rows scored against one probe before the next: stays in the L2 cache */

struct slab {
    struct slab *next; /* older */
    size_t used;       /* of SLAB_BYTES, this head included */
};

struct chunk {
    float *floats; /* [capacity][stride] */
    uint64_t *rnos;
    int64_t *captured_at_us;
    struct gx_key *subjects;
    uint8_t **records; /* into slabs; NULL = wiped */
    uint32_t *record_lens;
    _Atomic uint64_t *live; /* one bit a slot */
    uint64_t *wiped;        /* one bit a slot; only wipe looks at it */
    struct slab *slabs;     /* newest first: the last record is its end */
    uint32_t n_wiped;
    bool given_back;
};

struct gx_rows {
    size_t dim;
    size_t stride_len;     /* bytes of a float row, padded to a cache line */
    uint32_t shift;        /* slot >> shift = chunk */
    size_t floats_len;     /* bytes of a chunk's floats */
    size_t columns_len;    /* and of its columns */
    struct chunk **chunks; /* reserved for all slots */
    size_t chunks_len;     /* bytes */
    uint32_t appended;     /* writer only */
    _Atomic uint32_t count;
    _Atomic uint64_t n_live;
    _Atomic uint64_t bytes;
};

static uint32_t chunk_rows(const struct gx_rows *rows)
{
    return (uint32_t)1 << rows->shift;
}

static struct chunk *chunk_of(const struct gx_rows *rows, uint32_t slot)
{
    return rows->chunks[slot >> rows->shift];
}

static uint32_t place_of(const struct gx_rows *rows, uint32_t slot)
{
    return slot & (chunk_rows(rows) - 1);
}

/* Private zeroed memory that no core dump shows; NULL without memory. */
static void *map(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, len, MADV_DONTDUMP);
    return p;
}

/* The same at an address that huge pages can use from the first byte. */
static void *map_aligned(size_t len)
{
    uint8_t *p = map(len + HUGE_PAGE);
    if (p == NULL)
        return NULL;
    size_t before = (HUGE_PAGE - (uintptr_t)p % HUGE_PAGE) % HUGE_PAGE;
    if (before > 0)
        munmap(p, before);
    munmap(p + before + len, HUGE_PAGE - before);
    return p + before;
}

enum gx_status gx_rows_new(size_t dim, struct gx_rows **out, struct gx_err *err)
{
    *out = NULL;
    if (dim < GX_DIM_MIN || dim > GX_DIM_MAX)
        return gx_fail(err, GX_E_INVALID, "dimension %zu: must be %d to %d", dim, GX_DIM_MIN, GX_DIM_MAX);
    struct gx_rows *rows = calloc(1, sizeof(*rows));
    if (rows == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for a gallery");
    rows->dim = dim;
    rows->stride_len = (dim * sizeof(float) + 63) & ~(size_t)63;
    while (((size_t)2 << rows->shift) * rows->stride_len <= CHUNK_BYTES)
        rows->shift++;
    while (chunk_rows(rows) < CHUNK_ROWS_MIN)
        rows->shift++;
    size_t n = chunk_rows(rows);
    rows->floats_len = n * rows->stride_len;
    rows->columns_len = n * COLUMNS_LEN + 2 * n / 8;
    rows->chunks_len = (((size_t)SLOTS_MAX >> rows->shift) + 1) * sizeof(struct chunk *);
    rows->chunks = map(rows->chunks_len);
    if (rows->chunks == NULL) {
        free(rows);
        return gx_fail(err, GX_E_NOMEM, "no memory for a gallery");
    }
    *out = rows;
    return GX_OK;
}

static void free_slabs(struct chunk *chunk)
{
    struct slab *next;
    for (struct slab *slab = chunk->slabs; slab != NULL; slab = next) {
        next = slab->next;
        explicit_bzero(slab, slab->used);
        munmap(slab, SLAB_BYTES);
    }
    chunk->slabs = NULL;
}

static void free_chunk(const struct gx_rows *rows, struct chunk *chunk, size_t n_used)
{
    if (!chunk->given_back)
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
    size_t n_chunks = rows->chunks_len / sizeof(struct chunk *);
    for (size_t c = 0, first = 0; c < n_chunks && rows->chunks[c] != NULL; c++, first += chunk_rows(rows)) {
        size_t n_used = rows->appended > first ? rows->appended - first : 0;
        free_chunk(rows, rows->chunks[c], GX_MIN(n_used, chunk_rows(rows)));
    }
    munmap(rows->chunks, rows->chunks_len);
    free(rows);
}

/* The columns stand one after the other in one mapping, widest alignment first. */
static void lay_out_columns(struct chunk *chunk, uint8_t *p, size_t n)
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
    chunk->wiped = (uint64_t *)(void *)p;
    p += n / 8;
    chunk->record_lens = (uint32_t *)(void *)p;
}

static enum gx_status new_chunk(struct gx_rows *rows, size_t number, struct gx_err *err)
{
    struct chunk *chunk = calloc(1, sizeof(*chunk));
    if (chunk == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for more rows");
    chunk->floats = map_aligned(rows->floats_len);
    uint8_t *columns = map(rows->columns_len);
    if (chunk->floats == NULL || columns == NULL) {
        if (chunk->floats != NULL)
            munmap(chunk->floats, rows->floats_len);
        if (columns != NULL)
            munmap(columns, rows->columns_len);
        free(chunk);
        return gx_fail(err, GX_E_NOMEM, "no memory for more rows");
    }
    /* The first 2 MiB of a gallery stay small pages, so that many tiny galleries cost little. */
    size_t small = number == 0 ? GX_MIN(HUGE_PAGE, rows->floats_len) : 0;
    if (rows->floats_len > small)
        madvise((uint8_t *)chunk->floats + small, rows->floats_len - small, MADV_HUGEPAGE);
    lay_out_columns(chunk, columns, chunk_rows(rows));
    rows->chunks[number] = chunk;
    atomic_fetch_add_explicit(&rows->bytes, sizeof(*chunk), memory_order_relaxed);
    return GX_OK;
}

/* Room for a record in the newest slab; NULL without memory. */
static uint8_t *reserve_record(struct chunk *chunk, size_t len)
{
    struct slab *slab = chunk->slabs;
    if (slab == NULL || SLAB_BYTES - slab->used < len) {
        slab = map(SLAB_BYTES);
        if (slab == NULL)
            return NULL;
        *slab = (struct slab){.next = chunk->slabs, .used = sizeof(*slab)};
        chunk->slabs = slab;
    }
    uint8_t *p = (uint8_t *)slab + slab->used;
    slab->used += len;
    return p;
}

/* The opposite, for the record reserved last. */
static void release_record(struct chunk *chunk, size_t len)
{
    struct slab *slab = chunk->slabs;
    slab->used -= len;
    if (slab->used > sizeof(*slab) || slab->next == NULL)
        return;
    chunk->slabs = slab->next;
    munmap(slab, SLAB_BYTES);
}

static uint64_t row_bytes(const struct gx_rows *rows, size_t record_len)
{
    return rows->stride_len + rows->columns_len / chunk_rows(rows) + record_len;
}

enum gx_status gx_rows_append(struct gx_rows *rows, const float *row, const struct gx_row *columns, struct gx_err *err)
{
    uint32_t slot = rows->appended;
    if (slot == SLOTS_MAX)
        return gx_fail(err, GX_E_FULL, "the gallery holds %u rows: start another one", slot);
    if (slot > 0 && columns->rno <= gx_rows_rno(rows, slot - 1))
        return gx_fail(err, GX_E_INVALID, "rows must come in the order of their numbers");
    if (columns->record.len > SLAB_BYTES - sizeof(struct slab))
        return gx_fail(err, GX_E_TOO_LARGE, "a record of %zu bytes is too large", columns->record.len);
    if (chunk_of(rows, slot) == NULL)
        GX_TRY(new_chunk(rows, slot >> rows->shift, err));
    struct chunk *chunk = chunk_of(rows, slot);
    uint32_t at = place_of(rows, slot);
    uint8_t *record = reserve_record(chunk, columns->record.len);
    if (record == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for more records");
    if (columns->record.len > 0)
        memcpy(record, columns->record.data, columns->record.len);
    memcpy((uint8_t *)chunk->floats + at * rows->stride_len, row, rows->dim * sizeof(float));
    chunk->rnos[at] = columns->rno;
    chunk->captured_at_us[at] = columns->captured_at_us;
    chunk->subjects[at] = columns->subject;
    chunk->records[at] = record;
    chunk->record_lens[at] = (uint32_t)columns->record.len;
    atomic_fetch_or_explicit(&chunk->live[at / WORD_SLOTS], (uint64_t)1 << at % WORD_SLOTS, memory_order_relaxed);
    atomic_fetch_add_explicit(&rows->bytes, row_bytes(rows, columns->record.len), memory_order_relaxed);
    rows->appended++;
    return GX_OK;
}

void gx_rows_publish(struct gx_rows *rows)
{
    uint32_t before = atomic_load_explicit(&rows->count, memory_order_relaxed);
    atomic_fetch_add_explicit(&rows->n_live, rows->appended - before, memory_order_relaxed);
    atomic_store_explicit(&rows->count, rows->appended, memory_order_release);
}

void gx_rows_retract(struct gx_rows *rows)
{
    uint32_t count = atomic_load_explicit(&rows->count, memory_order_relaxed);
    while (rows->appended > count) {
        uint32_t slot = --rows->appended;
        struct chunk *chunk = chunk_of(rows, slot);
        uint32_t at = place_of(rows, slot);
        size_t record_len = chunk->record_lens[at];
        atomic_fetch_and_explicit(&chunk->live[at / WORD_SLOTS], ~((uint64_t)1 << at % WORD_SLOTS),
                                  memory_order_relaxed);
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

bool gx_rows_is_live(const struct gx_rows *rows, uint32_t slot)
{
    uint32_t at = place_of(rows, slot);
    uint64_t word = atomic_load_explicit(&chunk_of(rows, slot)->live[at / WORD_SLOTS], memory_order_acquire);
    return (word >> at % WORD_SLOTS & 1) != 0;
}

uint64_t gx_rows_rno(const struct gx_rows *rows, uint32_t slot)
{
    return chunk_of(rows, slot)->rnos[place_of(rows, slot)];
}

const float *gx_rows_floats(const struct gx_rows *rows, uint32_t slot)
{
    return (const float *)(const void *)((const uint8_t *)chunk_of(rows, slot)->floats +
                                         place_of(rows, slot) * rows->stride_len);
}

void gx_rows_get(const struct gx_rows *rows, uint32_t slot, struct gx_row *out)
{
    const struct chunk *chunk = chunk_of(rows, slot);
    uint32_t at = place_of(rows, slot);
    *out = (struct gx_row){.rno = chunk->rnos[at],
                           .captured_at_us = chunk->captured_at_us[at],
                           .subject = chunk->subjects[at],
                           .record = {chunk->records[at], chunk->record_lens[at]}};
}

bool gx_rows_hide(struct gx_rows *rows, uint32_t slot)
{
    uint32_t at = place_of(rows, slot);
    uint64_t bit = (uint64_t)1 << at % WORD_SLOTS;
    uint64_t before = atomic_fetch_and(&chunk_of(rows, slot)->live[at / WORD_SLOTS], ~bit);
    if ((before & bit) == 0)
        return false;
    atomic_fetch_sub_explicit(&rows->n_live, 1, memory_order_relaxed);
    return true;
}

void gx_rows_unhide(struct gx_rows *rows, uint32_t slot)
{
    struct chunk *chunk = chunk_of(rows, slot);
    uint32_t at = place_of(rows, slot);
    uint64_t bit = (uint64_t)1 << at % WORD_SLOTS;
    assert((chunk->wiped[at / WORD_SLOTS] & bit) == 0);
    if ((atomic_fetch_or(&chunk->live[at / WORD_SLOTS], bit) & bit) == 0)
        atomic_fetch_add_explicit(&rows->n_live, 1, memory_order_relaxed);
}

/* Every row of a full chunk is wiped: its pages go back to the kernel, the numbers stay for find. */
static void give_back(struct gx_rows *rows, struct chunk *chunk)
{
    madvise(chunk->floats, rows->floats_len, MADV_DONTNEED);
    free_slabs(chunk);
    chunk->given_back = true;
    atomic_fetch_sub_explicit(&rows->bytes, rows->floats_len, memory_order_relaxed);
}

void gx_rows_wipe(struct gx_rows *rows, uint32_t slot)
{
    struct chunk *chunk = chunk_of(rows, slot);
    uint32_t at = place_of(rows, slot);
    uint64_t bit = (uint64_t)1 << at % WORD_SLOTS;
    assert(!gx_rows_is_live(rows, slot));
    if ((chunk->wiped[at / WORD_SLOTS] & bit) != 0)
        return;
    explicit_bzero((uint8_t *)chunk->floats + at * rows->stride_len, rows->stride_len);
    explicit_bzero(chunk->records[at], chunk->record_lens[at]);
    atomic_fetch_sub_explicit(&rows->bytes, chunk->record_lens[at], memory_order_relaxed);
    chunk->captured_at_us[at] = 0;
    chunk->subjects[at] = (struct gx_key){0};
    chunk->records[at] = NULL;
    chunk->record_lens[at] = 0;
    chunk->wiped[at / WORD_SLOTS] |= bit;
    if (++chunk->n_wiped == chunk_rows(rows))
        give_back(rows, chunk);
}

/* The live slots of [from, until), all within one word, that pass. */
static size_t collect(const struct gx_rows *rows, uint32_t from, uint32_t until, gx_rows_pass *pass, void *pass_arg,
                      uint32_t out[WORD_SLOTS])
{
    uint32_t at = place_of(rows, from) / WORD_SLOTS, first = from - from % WORD_SLOTS;
    uint64_t word = atomic_load_explicit(&chunk_of(rows, from)->live[at], memory_order_acquire);
    word &= UINT64_MAX << from % WORD_SLOTS;
    if (until - first < WORD_SLOTS)
        word &= ((uint64_t)1 << (until - first)) - 1;
    size_t n = 0;
    for (; word != 0; word &= word - 1) {
        uint32_t slot = first + (uint32_t)__builtin_ctzll(word);
        if (pass == NULL || pass(pass_arg, rows, slot))
            out[n++] = slot;
    }
    return n;
}

/* Inlined, or gcc takes it for a function without effect and drops the call. */
__attribute__((always_inline)) static inline void prefetch(const struct gx_rows *rows, const uint32_t *slots, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *row = (const uint8_t *)gx_rows_floats(rows, slots[i]);
        for (size_t at = 0; at < rows->stride_len; at += 64)
            __builtin_prefetch(row + at);
    }
}

/* Scores @n rows against one probe and offers those that reach the bar. @cold: no probe has touched these rows yet;
 * asking for four rows ahead then saves a fifth of the time (the processor's own prefetching stops at each page). */
static void score(const struct gx_rows *rows, const uint32_t *slots, size_t n, const float *probe, bool cold,
                  struct gx_topk *top)
{
    double bar = gx_topk_bar(top), scores[4];
    for (size_t i = 0; i < n; i += 4) {
        size_t n_now = GX_MIN(n - i, (size_t)4);
        const float *four[4];
        for (size_t j = 0; j < n_now; j++)
            four[j] = gx_rows_floats(rows, slots[i + j]);
        if (cold && n > i + 4)
            prefetch(rows, slots + i + 4, GX_MIN(n - i - 4, (size_t)4));
        if (n_now == 4)
            gx_simd_dot4(probe, four, rows->dim, scores);
        else
            for (size_t j = 0; j < n_now; j++)
                scores[j] = gx_simd_dot(probe, four[j], rows->dim);
        for (size_t j = 0; j < n_now; j++) {
            if (scores[j] < bar)
                continue;
            gx_topk_offer(top, scores[j], slots[i + j]);
            bar = gx_topk_bar(top);
        }
    }
}

enum gx_status gx_rows_scan(const struct gx_rows *rows, uint32_t from, uint32_t until, const float *const *probes,
                            size_t n_probes, gx_rows_pass *pass, void *pass_arg, gx_rows_stop *stop, void *stop_arg,
                            struct gx_topk *tops, uint64_t *out_scanned, struct gx_err *err)
{
    uint32_t slots[WORD_SLOTS];
    size_t block = GX_MAX(GX_MIN(BLOCK_BYTES / rows->stride_len, (size_t)WORD_SLOTS), (size_t)4);
    size_t since_asked = 0;
    *out_scanned = 0;
    until = GX_MIN(until, gx_rows_count(rows));
    while (from < until) {
        uint32_t end = from - from % WORD_SLOTS + (WORD_SLOTS - 1);
        end = end < until ? end + 1 : until; /* end + 1 cannot overflow: end < until */
        size_t n = collect(rows, from, end, pass, pass_arg, slots);
        for (size_t i = 0; i < n; i += block)
            for (size_t p = 0; p < n_probes; p++)
                score(rows, slots + i, GX_MIN(block, n - i), probes[p], p == 0, &tops[p]);
        *out_scanned += n;
        since_asked += (end - from) * GX_MAX(n_probes, (size_t)1);
        from = end;
        if (since_asked < STOP_EVERY)
            continue;
        since_asked = 0;
        if (stop != NULL && stop(stop_arg))
            return gx_fail(err, GX_E_CANCELLED, "the search was given up by its caller");
    }
    return GX_OK;
}

static struct gx_slice record_id(const struct gx_rows *rows, uint32_t slot)
{
    struct gx_row row;
    struct gx_record record;
    gx_rows_get(rows, slot, &row);
    if (row.record.len == 0 || gx_codec_record_decode(row.record, &record, NULL) != GX_OK)
        return (struct gx_slice){0};
    return record.record_id;
}

int gx_rows_tie(void *rows, uint32_t a, uint32_t b)
{
    const struct gx_rows *r = rows;
    int order = gx_slice_compare(record_id(r, a), record_id(r, b));
    if (order != 0)
        return order;
    uint64_t rno_a = gx_rows_rno(r, a), rno_b = gx_rows_rno(r, b);
    return (rno_a > rno_b) - (rno_a < rno_b);
}
