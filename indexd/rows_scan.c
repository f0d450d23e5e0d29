/* Rows as a search sees them: those that are visible, and their exact scores. */
#include "rows_private.h"
#include "simd.h"

#define STOP_EVERY  4096               /* rows x probes looked at between two questions to @stop */
#define BLOCK_BYTES ((size_t)64 << 10) /* rows scored against one probe before the next: stays in the L2 cache */

/* The visible slots of [from, until) within the group of 64 that from is in. */
static uint64_t visible_word(const struct gx_rows *rows, uint32_t from, uint32_t until)
{
    const struct gx_rows_chunk *chunk = gx_rows_chunk_of(rows, from);
    uint32_t at = gx_rows_place_of(rows, from) / GX_ROWS_WORD, first = from - from % GX_ROWS_WORD;
    uint64_t word = atomic_load(&chunk->live[at]) & ~atomic_load(&chunk->quarantined[at]);
    word &= UINT64_MAX << from % GX_ROWS_WORD;
    if (until - first < GX_ROWS_WORD)
        word &= ((uint64_t)1 << (until - first)) - 1;
    return word;
}

bool gx_rows_next_visible(const struct gx_rows *rows, uint32_t from, uint32_t until, uint32_t *out_first,
                          uint64_t *out_word)
{
    while (from < until) {
        uint32_t first = from - from % GX_ROWS_WORD;
        *out_word = visible_word(rows, from, until);
        *out_first = first;
        if (*out_word != 0)
            return true;
        if (until - first <= GX_ROWS_WORD) /* before the addition could overflow */
            return false;
        from = first + GX_ROWS_WORD;
    }
    return false;
}

/* The visible slots of [from, until), all within one word, that pass. */
static size_t collect(const struct gx_rows *rows, uint32_t from, uint32_t until, gx_rows_pass *pass, void *pass_arg,
                      uint32_t out[GX_ROWS_WORD])
{
    uint32_t first = from - from % GX_ROWS_WORD;
    size_t n = 0;
    for (uint64_t word = visible_word(rows, from, until); word != 0; word &= word - 1) {
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

void gx_rows_score(const struct gx_rows *rows, const uint32_t *slots, size_t n, const float *probe, struct gx_topk *top)
{
    if (rows->fd >= 0)
        gx_rows_file_fetch(rows, slots, n);
    score(rows, slots, n, probe, true, top);
}

enum gx_status gx_rows_scan(const struct gx_rows *rows, uint32_t from, uint32_t until, const float *const *probes,
                            size_t n_probes, gx_rows_pass *pass, void *pass_arg, gx_rows_stop *stop, void *stop_arg,
                            struct gx_topk *tops, uint64_t *out_scanned, struct gx_err *err)
{
    uint32_t slots[GX_ROWS_WORD];
    size_t block = GX_MAX(GX_MIN(BLOCK_BYTES / rows->stride_len, (size_t)GX_ROWS_WORD), (size_t)4);
    size_t since_asked = 0;
    *out_scanned = 0;
    until = GX_MIN(until, gx_rows_count(rows));
    while (from < until) {
        uint32_t end = from - from % GX_ROWS_WORD + (GX_ROWS_WORD - 1);
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
