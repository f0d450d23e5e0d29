/* The server's log: one line per event on stderr, `time level event key=value …`. Never an embedding, an id or a name.
 */
#ifndef GX_LOG_H
#define GX_LOG_H

#include "base.h"

enum gx_log_level { GX_LOG_ERROR, GX_LOG_WARN, GX_LOG_INFO, GX_LOG_DEBUG };

/* The level up to which lines are written; default GX_LOG_INFO. Safe from any thread. */
void gx_log_set_level(enum gx_log_level level);

/* Writes one line. @event is a short fixed word such as "store_opened"; the rest is "key=value key=value".
 * Line breaks and control characters in the text become '?'. Safe from any thread; one write(2) a line. */
GX_PRINTF(3, 4) void gx_log_line(enum gx_log_level level, const char *event, const char *format, ...);

#define gx_log_error(event, ...) gx_log_line(GX_LOG_ERROR, (event), __VA_ARGS__)
#define gx_log_warn(event, ...)  gx_log_line(GX_LOG_WARN, (event), __VA_ARGS__)
#define gx_log_info(event, ...)  gx_log_line(GX_LOG_INFO, (event), __VA_ARGS__)
#define gx_log_debug(event, ...) gx_log_line(GX_LOG_DEBUG, (event), __VA_ARGS__)

#endif
