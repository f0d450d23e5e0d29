#include "arena.h"

#include <stdlib.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#endif
#if defined(HAVE_ASAN)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, n)   ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#endif

#define ALIGNMENT      64
#define BLOCK_MIN      ((size_t)16 << 10)
#define BLOCK_KEPT     ((size_t)256 << 10) /* blocks grow up to this; larger pieces get a block of their own */
#define ROUND_UP(n)    (((n) + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1))
#define BLOCK_BYTES(b) ((uint8_t *)(b) + ALIGNMENT)
#define BLOCK_HEAD_LEN ALIGNMENT

struct gx_arena_block {
    struct gx_arena_block *next;
    size_t capacity, used; /* bytes behind the head */
};
_Static_assert(sizeof(struct gx_arena_block) <= BLOCK_HEAD_LEN, "the head keeps the alignment of what follows");

void gx_arena_init(struct gx_arena *arena, size_t limit)
{
    *arena = (struct gx_arena){.limit = limit};
}

static void wipe(struct gx_arena_block *block)
{
    ASAN_UNPOISON_MEMORY_REGION(BLOCK_BYTES(block), block->capacity);
    explicit_bzero(BLOCK_BYTES(block), block->used);
    block->used = 0;
}

/* Wipes all blocks and frees them, except one that may be kept. */
static struct gx_arena_block *release(struct gx_arena *arena, bool keep_one)
{
    struct gx_arena_block *kept = NULL, *next;
    for (struct gx_arena_block *block = arena->blocks; block != NULL; block = next) {
        next = block->next;
        wipe(block);
        if (keep_one && block->capacity <= BLOCK_KEPT && (kept == NULL || block->capacity > kept->capacity)) {
            free(kept);
            kept = block;
        } else {
            free(block);
        }
    }
    arena->blocks = NULL;
    arena->used = 0;
    return kept;
}

void gx_arena_fini(struct gx_arena *arena)
{
    (void)release(arena, false);
    *arena = (struct gx_arena){0};
}

void gx_arena_reset(struct gx_arena *arena)
{
    struct gx_arena_block *kept = release(arena, true);
    if (kept == NULL)
        return;
    kept->next = NULL;
    ASAN_POISON_MEMORY_REGION(BLOCK_BYTES(kept), kept->capacity);
    arena->blocks = kept;
}

static struct gx_arena_block *new_block(size_t capacity)
{
    struct gx_arena_block *block = aligned_alloc(ALIGNMENT, BLOCK_HEAD_LEN + capacity);
    if (block == NULL)
        return NULL;
    *block = (struct gx_arena_block){.capacity = capacity};
    ASAN_POISON_MEMORY_REGION(BLOCK_BYTES(block), capacity);
    return block;
}

/* A block with room for @n (rounded) bytes: the newest, or a new one. */
static struct gx_arena_block *find_block(struct gx_arena *arena, size_t n)
{
    struct gx_arena_block *newest = arena->blocks;
    if (newest != NULL && newest->capacity - newest->used >= n)
        return newest;
    size_t capacity = newest == NULL ? BLOCK_MIN : GX_MIN(newest->capacity * 2, BLOCK_KEPT);
    struct gx_arena_block *block = new_block(GX_MAX(capacity, n));
    if (block == NULL)
        return NULL;
    if (newest != NULL && block->capacity > BLOCK_KEPT) {
        /* Filled at once: behind the newest, whose room stays in use. */
        block->next = newest->next;
        newest->next = block;
    } else {
        block->next = newest;
        arena->blocks = block;
    }
    return block;
}

/* What @n bytes count against the limit. */
static size_t cost(size_t n)
{
    return n == 0 ? ALIGNMENT : ROUND_UP(n);
}

/* Sizes that no machine has would overflow the arithmetic, whatever the limit is. */
static bool is_within_limit(const struct gx_arena *arena, size_t n)
{
    return n <= SIZE_MAX / 2 && cost(n) <= arena->limit - arena->used;
}

void *gx_arena_alloc(struct gx_arena *arena, size_t n)
{
    if (!is_within_limit(arena, n))
        return NULL;
    size_t rounded = cost(n);
    struct gx_arena_block *block = find_block(arena, rounded);
    if (block == NULL)
        return NULL;
    uint8_t *bytes = BLOCK_BYTES(block) + block->used;
    block->used += rounded;
    arena->used += rounded;
    ASAN_UNPOISON_MEMORY_REGION(bytes, n);
    return bytes;
}

void *gx_arena_calloc(struct gx_arena *arena, size_t count, size_t size)
{
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        return NULL;
    void *bytes = gx_arena_alloc(arena, n);
    if (bytes != NULL && n > 0)
        memset(bytes, 0, n);
    return bytes;
}

/* Why an allocation of @n bytes failed. */
static enum gx_status refuse(const struct gx_arena *arena, size_t n, struct gx_err *err)
{
    if (!is_within_limit(arena, n))
        return gx_fail(err, GX_E_TOO_LARGE, "needs more than %zu bytes of memory: send less at a time", arena->limit);
    return gx_fail(err, GX_E_NOMEM, "no memory for %zu bytes: try again later, or give the server more", n);
}

enum gx_status gx_arena_array(struct gx_arena *arena, size_t count, size_t size, void *out_pointer, struct gx_err *err)
{
    void *array = gx_arena_calloc(arena, count, size);
    memcpy(out_pointer, &array, sizeof(array)); /* the caller's pointer has a type of its own */
    if (array != NULL)
        return GX_OK;
    size_t n;
    if (__builtin_mul_overflow(count, size, &n))
        n = SIZE_MAX;
    return refuse(arena, n, err);
}

enum gx_status gx_arena_copy(struct gx_arena *arena, struct gx_slice slice, struct gx_slice *out_copy,
                             struct gx_err *err)
{
    *out_copy = (struct gx_slice){0};
    uint8_t *bytes = gx_arena_alloc(arena, slice.len);
    if (bytes == NULL)
        return refuse(arena, slice.len, err);
    if (slice.len > 0)
        memcpy(bytes, slice.data, slice.len);
    *out_copy = (struct gx_slice){bytes, slice.len};
    return GX_OK;
}
