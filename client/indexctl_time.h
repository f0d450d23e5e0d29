/* Times as people write them: UTC, RFC 3339. */
#ifndef GX_INDEXCTL_TIME_H
#define GX_INDEXCTL_TIME_H

#include <stdbool.h>
#include <stdint.h>

#define GX_INDEXCTL_TIME_MAX 33

/* "2024-03-01", "2024-03-01T12:30:00Z", "…T12:30:00.25+01:00" (a space or small letters will do) to microseconds since
 * 1970 UTC; a date alone is its first moment in UTC. False: not such a time. Years 1900 to 9999. */
bool gx_indexctl_time_parse(const char *text, int64_t *out_us);

/* "2024-03-01T12:30:00Z", with as many decimals as needed; "" for 0. Returns @out. */
const char *gx_indexctl_time_format(int64_t us, char out[GX_INDEXCTL_TIME_MAX]);

#endif
