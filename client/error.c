#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char last[GX_ERROR_TEXT_MAX];

enum gx_status gx_error_set(enum gx_status status, const char *format, ...)
{
    char text[GX_ERROR_TEXT_MAX]; /* apart: an argument may be the last text */
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = ' ';
    memcpy(last, text, sizeof(last));
    return status;
}

void gx_error_clear(void)
{
    last[0] = '\0';
}

const char *gx_error_text(void)
{
    return last;
}
