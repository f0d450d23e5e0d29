/* Memory that is filled piece by piece and released as a whole: what a reply unpacks to. System headers only. */
#ifndef GX_BUMP_H
#define GX_BUMP_H

#include <stddef.h>

struct gx_bump_chunk;

struct gx_bump {
    struct gx_bump_chunk *chunks;
    size_t room; /* bytes that may still be allocated */
};

/* @limit bounds the bytes of all pieces: a reply can't make the client allocate without end. */
void gx_bump_init(struct gx_bump *b, size_t limit);

/* @size zeroed bytes, aligned for any type, followed by at least one zero byte; NULL: no memory, or the limit. */
void *gx_bump_alloc(struct gx_bump *b, size_t size);

/* Wipes and frees everything. Twice is fine. */
void gx_bump_fini(struct gx_bump *b);

#endif
