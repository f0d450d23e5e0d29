#include "bump.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_SIZE ((size_t)16 << 10)

struct gx_bump_chunk {
    struct gx_bump_chunk *next;
    size_t used, size;
    alignas(max_align_t) uint8_t data[];
};

void gx_bump_init(struct gx_bump *b, size_t limit)
{
    *b = (struct gx_bump){.room = limit};
}

void *gx_bump_alloc(struct gx_bump *b, size_t size)
{
    if (size >= b->room)
        return NULL;
    size_t need = (size + alignof(max_align_t)) / alignof(max_align_t) * alignof(max_align_t); /* > size */
    struct gx_bump_chunk *chunk = b->chunks;
    if (chunk == NULL || chunk->size - chunk->used < need) {
        size_t room = need > CHUNK_SIZE ? need : CHUNK_SIZE;
        chunk = calloc(1, sizeof(*chunk) + room);
        if (chunk == NULL)
            return NULL;
        chunk->size = room;
        chunk->next = b->chunks;
        b->chunks = chunk;
    }
    void *piece = chunk->data + chunk->used;
    chunk->used += need;
    b->room -= need < b->room ? need : b->room;
    return piece;
}

void gx_bump_fini(struct gx_bump *b)
{
    while (b->chunks != NULL) {
        struct gx_bump_chunk *next = b->chunks->next;
        explicit_bzero(b->chunks->data, b->chunks->used);
        free(b->chunks);
        b->chunks = next;
    }
}
