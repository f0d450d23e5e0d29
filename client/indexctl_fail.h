/* The one line that indexctl ends with when something went wrong. indexctl is one thread. */
#ifndef GX_INDEXCTL_FAIL_H
#define GX_INDEXCTL_FAIL_H

#include "indexd/status.h"

#ifndef GX_MUST
#define GX_MUST __attribute__((warn_unused_result))
#endif

#define GX_INDEXCTL_FAIL_MAX 1024

/* Keeps the line (what is wrong, what to do) and returns @status. */
__attribute__((format(printf, 2, 3))) enum gx_status gx_indexctl_fail(enum gx_status status, const char *format, ...);

/* The same for a failure of the client library, whose text it takes. */
enum gx_status gx_indexctl_fail_client(enum gx_status status);

/* "" = none. */
const char *gx_indexctl_fail_text(void);

#endif
