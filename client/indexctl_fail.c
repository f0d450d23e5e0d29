#include "indexctl_fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "indexd/client.h"

static char line[GX_INDEXCTL_FAIL_MAX];

enum gx_status gx_indexctl_fail(enum gx_status status, const char *format, ...)
{
    char text[GX_INDEXCTL_FAIL_MAX]; /* apart: an argument may be the last line */
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?'; /* of a file or an argument: a terminal must not be told what to do */
    memcpy(line, text, sizeof(line));
    return status;
}

enum gx_status gx_indexctl_fail_client(enum gx_status status)
{
    return gx_indexctl_fail(status, "%s", gx_client_error());
}

const char *gx_indexctl_fail_text(void)
{
    return line;
}
