#include "log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"

/* A line of at most PIPE_BUF bytes is written whole even to a pipe that others write to as well. */
#define LINE_MAX_LEN 2048

static atomic_int log_level = GX_LOG_INFO;

void gx_log_set_level(enum gx_log_level level)
{
    atomic_store_explicit(&log_level, (int)level, memory_order_relaxed);
}

static const char *level_name(enum gx_log_level level)
{
    switch (level) {
    case GX_LOG_ERROR: return "error";
    case GX_LOG_WARN: return "warn";
    case GX_LOG_INFO: return "info";
    case GX_LOG_DEBUG: return "debug";
    }
    return "error";
}

/* "2024-03-01T12:00:00.123456Z info event "; returns its length. */
static size_t put_head(char *line, size_t n, enum gx_log_level level, const char *event)
{
    int64_t now_us = gx_clock_wall_us();
    time_t seconds = (time_t)(now_us / 1000000);
    struct tm utc;
    char date[32] = "";
    if (gmtime_r(&seconds, &utc) != NULL)
        (void)strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &utc);
    int len = snprintf(line, n, "%s.%06dZ %s %s ", date, (int)(now_us % 1000000), level_name(level), event);
    return len < 0 ? 0 : GX_MIN((size_t)len, n - 1);
}

/* Nothing in a line may end it early or move a terminal's cursor: C0, DEL, and C1 as UTF-8 (c2 80..9f). */
static void clean(char *line, size_t len)
{
    unsigned char *p = (unsigned char *)line;
    for (size_t i = 0; i < len; i++) {
        if (p[i] < 0x20 || p[i] == 0x7f)
            p[i] = '?';
        if (p[i] == 0xc2 && i + 1 < len && p[i + 1] >= 0x80 && p[i + 1] < 0xa0)
            p[i] = p[i + 1] = '?';
    }
}

void gx_log_line(enum gx_log_level level, const char *event, const char *format, ...)
{
    if ((int)level > atomic_load_explicit(&log_level, memory_order_relaxed))
        return;
    int saved_errno = errno;
    char line[LINE_MAX_LEN];
    size_t len = put_head(line, sizeof(line) - 1, level, event);
    va_list args;
    va_start(args, format);
    int n = vsnprintf(line + len, sizeof(line) - 1 - len, format, args);
    va_end(args);
    if (n > 0)
        len += GX_MIN((size_t)n, sizeof(line) - 2 - len);
    clean(line, len);
    line[len++] = '\n';
    /* A log that cannot be written must not stop the server: what does not go out is lost. */
    ssize_t written;
    do {
        written = write(STDERR_FILENO, line, len);
    } while (written < 0 && errno == EINTR);
    errno = saved_errno;
}
