/* How rows lie in memory (rows.c), for the scan over them (rows_scan.c). */
#ifndef GX_ROWS_PRIVATE_H
#define GX_ROWS_PRIVATE_H

#include <stdatomic.h>

#include "rows.h"

#define GX_ROWS_WORD 64 /* slots whose bits share a word */

struct gx_rows_slab;

struct gx_rows_chunk {
    float *floats; /* [capacity][stride] */
    uint64_t *rnos;
    int64_t *captured_at_us;
    struct gx_key *subjects;
    uint8_t **records; /* into slabs; NULL = wiped */
    uint32_t *record_lens;
    _Atomic uint64_t *live;        /* one bit a slot */
    _Atomic uint64_t *wiped;       /* one bit a slot; readers do not look at it */
    _Atomic uint64_t *quarantined; /* one bit a slot */
    struct gx_rows_slab *slabs;    /* newest first: the last record is its end */
    uint32_t n_wiped;
    bool given_back;
};

struct gx_rows {
    size_t dim;
    int fd;                        /* of the file that the floats are in; -1 = memory */
    char *path;                    /* of it, or NULL */
    size_t stride_len;             /* bytes of a float row, padded to a cache line */
    uint32_t shift;                /* slot >> shift = chunk */
    size_t floats_len;             /* bytes of a chunk's floats */
    size_t columns_len;            /* and of its columns */
    struct gx_rows_chunk **chunks; /* reserved for all slots */
    size_t chunks_len;             /* bytes */
    uint32_t appended;             /* writer only */
    _Atomic uint32_t count;
    uint32_t n_appended_quarantined; /* since the last publish; writer only */
    _Atomic uint64_t n_live, n_quarantined;
    _Atomic uint64_t bytes;
};

static inline uint32_t gx_rows_chunk_rows(const struct gx_rows *rows)
{
    return (uint32_t)1 << rows->shift;
}

static inline struct gx_rows_chunk *gx_rows_chunk_of(const struct gx_rows *rows, uint32_t slot)
{
    return rows->chunks[slot >> rows->shift];
}

static inline uint32_t gx_rows_place_of(const struct gx_rows *rows, uint32_t slot)
{
    return slot & (gx_rows_chunk_rows(rows) - 1);
}

/* --- rows_file.c: floats in a file --- */

/* Room for chunk @number; NULL: @err says why. */
float *gx_rows_file_map(struct gx_rows *rows, size_t number, struct gx_err *err);
/* Its pages go back to the file system. */
void gx_rows_file_give_back(struct gx_rows *rows, const struct gx_rows_chunk *chunk);
void gx_rows_file_close(struct gx_rows *rows); /* and removes it */
/* Asks the disk for all of these rows at once, before they are touched one by one. */
void gx_rows_file_fetch(const struct gx_rows *rows, const uint32_t *slots, size_t n);

#endif
