/* Files with one id per line. */
#ifndef GX_INDEXCTL_LINES_H
#define GX_INDEXCTL_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "indexctl_fail.h"

/* Text owned by the struct. */
struct gx_indexctl_lines {
    char **items; /* [n] */
    size_t n;
    char *text;
};

/* Reads a whole file ("-" = standard input), with a zero byte behind; the caller frees it. GX_E_NOT_FOUND, GX_E_IO,
 * GX_E_NOMEM. */
GX_MUST enum gx_status gx_indexctl_lines_slurp(const char *path, char **out_text, size_t *out_len);

/* Reads a whole file ("-" = standard input) of ids: at most GX_ID_MAX bytes each, no control characters; line ends may
 * be DOS ones, the last may be missing. GX_E_NOT_FOUND, GX_E_IO; GX_E_INVALID names the line. */
enum gx_indexctl_empty { GX_INDEXCTL_EMPTY_KEPT, GX_INDEXCTL_EMPTY_REFUSED };
GX_MUST enum gx_status gx_indexctl_lines_read(const char *path, enum gx_indexctl_empty empty,
                                              struct gx_indexctl_lines *out);
void gx_indexctl_lines_fini(struct gx_indexctl_lines *lines);

/* Sorts, and leaves each text once. */
void gx_indexctl_lines_unique(const char **items, size_t *n);

#endif
