/* Memory of one request: grows, is given back in one step, and is wiped then (it held embeddings). */
#ifndef GX_ARENA_H
#define GX_ARENA_H

#include "err.h"

struct gx_arena_block;

/* Not thread-safe: one owner at a time. */
struct gx_arena {
    struct gx_arena_block *blocks; /* newest first */
    size_t used;                   /* bytes handed out since the last reset, each piece rounded up to 64 */
    size_t limit;                  /* bytes handed out at most; past it gx_arena_alloc gives NULL */
};

/* @limit in bytes. Allocates nothing yet. */
void gx_arena_init(struct gx_arena *arena, size_t limit);

/* Wipes and frees everything handed out. Accepts a zeroed struct. */
void gx_arena_fini(struct gx_arena *arena);

/* Wipes everything handed out, keeps at most one block of 256 KiB for the next request. */
void gx_arena_reset(struct gx_arena *arena);

/* @n bytes aligned to 64, not cleared; NULL past the limit or without memory. @n = 0 gives a valid pointer. */
GX_MUST void *gx_arena_alloc(struct gx_arena *arena, size_t n);

/* The same, cleared; @count x @size is checked for overflow. */
GX_MUST void *gx_arena_calloc(struct gx_arena *arena, size_t count, size_t size);

/* gx_arena_calloc that reports GX_E_TOO_LARGE. */
GX_MUST enum gx_status gx_arena_array(struct gx_arena *arena, size_t count, size_t size, void *out_pointer,
                                      struct gx_err *err);

/* A copy of @slice in the arena. */
GX_MUST enum gx_status gx_arena_copy(struct gx_arena *arena, struct gx_slice slice, struct gx_slice *out_copy,
                                     struct gx_err *err);

#endif
