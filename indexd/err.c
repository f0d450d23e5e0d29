#include "err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/* One line whatever went into it: texts of foreign libraries and of errno pass through here too. */
static void make_line(char *text)
{
    for (unsigned char *p = (unsigned char *)text; *p != 0; p++)
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
}

/* A text that was cut may end inside a UTF-8 character: drop the piece, clients take only well-formed text. */
static void drop_torn_character(char *text, size_t len)
{
    size_t begin = len;
    while (begin > 0 && len - begin < 3 && ((unsigned char)text[begin - 1] & 0xc0) == 0x80)
        begin--;
    if (begin == 0 || (unsigned char)text[begin - 1] < 0xc0)
        return;
    unsigned char lead = (unsigned char)text[begin - 1];
    size_t wanted = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (len - begin + 1 < wanted)
        text[begin - 1] = 0;
}

GX_PRINTF(2, 0) static void format_text(char text[GX_ERR_TEXT_MAX], const char *format, va_list args)
{
    int n = vsnprintf(text, GX_ERR_TEXT_MAX, format, args);
    if (n < 0)
        text[0] = 0;
    if (n >= GX_ERR_TEXT_MAX)
        drop_torn_character(text, GX_ERR_TEXT_MAX - 1);
    make_line(text);
}

enum gx_status gx_err_set(struct gx_err *err, enum gx_status status, const char *format, ...)
{
    assert(status != GX_OK);
    if (err == NULL)
        return status;
    char text[GX_ERR_TEXT_MAX]; /* an argument may be err->text itself */
    va_list args;
    va_start(args, format);
    format_text(text, format, args);
    va_end(args);
    err->status = status;
    memcpy(err->text, text, sizeof(text));
    return status;
}

enum gx_status gx_err_wrap(struct gx_err *err, const char *format, ...)
{
    assert(err != NULL && err->status != GX_OK);
    char what[GX_ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    format_text(what, format, args);
    va_end(args);
    return gx_err_set(err, err->status, "%s: %s", what, err->text);
}

enum gx_status gx_err_errno(struct gx_err *err, int error_number, const char *format, ...)
{
    enum gx_status status = GX_E_IO;
    if (error_number == ENOSPC || error_number == EDQUOT)
        status = GX_E_FULL;
    if (error_number == ENOMEM)
        status = GX_E_NOMEM;
    char what[GX_ERR_TEXT_MAX], reason[128];
    va_list args;
    va_start(args, format);
    format_text(what, format, args);
    va_end(args);
    return gx_err_set(err, status, "%s: %s", what, strerror_r(error_number, reason, sizeof(reason)));
}
