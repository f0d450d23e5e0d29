/* A bar with rate and remaining time on a terminal's standard error. */
#ifndef GX_INDEXCTL_PROGRESS_H
#define GX_INDEXCTL_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gx_indexctl_progress {
    bool shown;
    const char *what, *unit; /* "import", "rows" */
    int64_t begin_us, drawn_us;
    uint64_t begin_done;
};

/* @quiet, or no terminal: nothing is ever drawn. The texts are borrowed. */
void gx_indexctl_progress_begin(struct gx_indexctl_progress *p, const char *what, const char *unit, uint64_t done,
                                bool quiet);
/* Draws, a few times a second at most. @total UINT64_MAX: not known. */
void gx_indexctl_progress_update(struct gx_indexctl_progress *p, uint64_t done, uint64_t total);
/* Takes the bar away. */
void gx_indexctl_progress_end(struct gx_indexctl_progress *p);

/* The line, at most @width columns: "import [#####     ]  50 %  5,000 of 10,000 rows  1,250/s  0:04 left". @done_now:
 * of
 * @done, in the last @elapsed_us. */
void gx_indexctl_progress_format(const struct gx_indexctl_progress *p, uint64_t done, uint64_t total, uint64_t done_now,
                                 int64_t elapsed_us, size_t width, char *out, size_t cap);

#endif
