/* The text of a thread's last failure, behind gx_client_error(). */
#ifndef GX_ERROR_H
#define GX_ERROR_H

#include "indexd/status.h"

#ifndef GX_MUST
#define GX_MUST __attribute__((warn_unused_result))
#endif

#define GX_ERROR_TEXT_MAX 512 /* with the terminating NUL */

/* Keeps the text (one line, what to do; control characters become spaces) and returns @status: the only way a failure
 * of the library is born. */
__attribute__((format(printf, 2, 3))) enum gx_status gx_error_set(enum gx_status status, const char *format, ...);

/* At the beginning of each public call. */
void gx_error_clear(void);

/* "" = none; never NULL; valid until the thread's next set or clear. */
const char *gx_error_text(void);

#endif
