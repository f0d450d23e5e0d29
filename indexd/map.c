#include "map.h"

#include <sys/mman.h>

void *gx_map(size_t len)
{
    void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, len, MADV_DONTDUMP);
    return p;
}

/* Starts where a huge page can; what stands too much before and behind goes back. */
static void *map_aligned(size_t len)
{
    uint8_t *p = gx_map(len + GX_MAP_HUGE_PAGE);
    if (p == NULL)
        return NULL;
    size_t before = (GX_MAP_HUGE_PAGE - (uintptr_t)p % GX_MAP_HUGE_PAGE) % GX_MAP_HUGE_PAGE;
    if (before > 0)
        munmap(p, before);
    munmap(p + before + len, GX_MAP_HUGE_PAGE - before);
    return p + before;
}

void *gx_map_huge(size_t len, size_t small)
{
    uint8_t *p = map_aligned(len);
    if (p != NULL && len > small)
        madvise(p + small, len - small, MADV_HUGEPAGE);
    return p;
}
