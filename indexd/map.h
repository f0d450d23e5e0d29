/* Memory of its own, straight from the kernel: zeroed, private, in no core dump. munmap gives it back. */
#ifndef GX_MAP_H
#define GX_MAP_H

#include "base.h"

#define GX_MAP_HUGE_PAGE ((size_t)2 << 20)

/* @len bytes, of which only those that are touched cost memory. NULL without memory. */
GX_MUST void *gx_map(size_t len);

/* The same with huge pages from the byte @small on, a multiple of GX_MAP_HUGE_PAGE: what stands before, at the start of
 * something that may stay tiny, costs only small pages. */
GX_MUST void *gx_map_huge(size_t len, size_t small);

#endif
