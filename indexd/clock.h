/* Time: microseconds since 1970-01-01T00:00:00Z, and since an arbitrary start. */
#ifndef GX_CLOCK_H
#define GX_CLOCK_H

#include "base.h"

int64_t gx_clock_wall_us(void);
int64_t gx_clock_monotonic_us(void);

#endif
