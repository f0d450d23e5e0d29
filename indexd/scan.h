/* Looks for byte patterns in files: the proof that what was erased is in none of them. */
#ifndef GX_SCAN_H
#define GX_SCAN_H

#include "err.h"

#define GX_SCAN_MATCH_MAX 1024 /* of min_match */
#define GX_SCAN_HITS_MAX  8    /* that are listed; all are counted */
#define GX_SCAN_FILE_MAX  256

/* Bytes that must not be found. A hit is any run of bytes in a file that holds a window of @min_match bytes equal to a
 * window of the pattern (8 <= min_match <= len), at whatever offset.
 *
 * @min_detail keeps windows that say nothing from being hits, such as the zeros between the few components of a sparse
 * row, which padding and other rows have as well: in a window that counts at least so many bytes differ from the byte
 * 8 before them. 0: every window counts. 16 leaves out everything with fewer than three components that are not zero,
 * and nothing of a dense row. */
struct gx_scan_pattern {
    const uint8_t *bytes;
    size_t len, min_match, min_detail;
};

/* Has the pattern a window that counts? A pattern without one is found nowhere: that proves nothing. */
bool gx_scan_can_hit(const struct gx_scan_pattern *pattern);

struct gx_scan; /* immutable: any number of threads at a time */

/* Prepares to look for @patterns, which are borrowed until gx_scan_free. 100,000 of 2 KB are fine (some 400 MB of
 * memory). At most 4 different values of min_match. GX_E_INVALID; GX_E_TOO_LARGE: take fewer at a time; GX_E_NOMEM. */
GX_MUST enum gx_status gx_scan_new(const struct gx_scan_pattern *patterns, size_t n, struct gx_scan **out,
                                   struct gx_err *err);
void gx_scan_free(struct gx_scan *scan);

struct gx_scan_hit {
    size_t pattern;              /* the first that was recognised there */
    uint64_t offset;             /* where the run begins in the file */
    char file[GX_SCAN_FILE_MAX]; /* relative to the directory; a longer name is cut */
};

/* A run that was found: [from, until) of @bytes[@len], a piece of the file that begins at @offset of it. At least 2000
 * bytes before the run are there (where the file has them), but perhaps none after it. */
struct gx_scan_sight {
    size_t pattern;
    const char *file;
    const uint8_t *bytes;
    size_t len, from, until;
    uint64_t offset;
};
typedef bool gx_scan_filter(void *arg, const struct gx_scan_sight *sight);

struct gx_scan_result {
    /* Set before the call. */
    bool *pattern_hit;      /* [n] of the caller's, or NULL; true: the pattern was found */
    gx_scan_filter *filter; /* false: no hit after all; NULL = all are. For patterns with min_match = len */
    void *filter_arg;

    uint64_t n_files, n_bytes; /* looked at; what was looked at twice counts twice */
    uint64_t n_skipped;        /* files that were left out because of @skip */
    uint64_t n_hits;           /* runs found; one run that is in several patterns counts once */
    int rounds;                /* listings that were worked through */
    size_t n_first;
    struct gx_scan_hit first[GX_SCAN_HITS_MAX]; /* those that were found first */
};

/* @file relative to the directory; true = leave it out. From the caller's thread. */
typedef bool gx_scan_skip(void *arg, const char *file);
/* Asked before every file and every 256 KiB; true ends the scan with GX_E_CANCELLED. It and the filter are called from
 * any of the threads that look, several at a time. */
typedef bool gx_scan_stop(void *arg);

/* Looks at every regular file below @dir (links are not followed), while others may write there: lists, looks, lists
 * again, and looks at what is new or has changed, until a listing (name, inode) is the same as the one before; of files
 * that only grew, their length at the last listing is what counts. So nothing is missed that was moved from one file to
 * another meanwhile. GX_E_STATE: the files were not the same in any two of 20 listings; GX_E_IO names the file that
 * cannot be read; GX_E_CANCELLED; GX_E_NOMEM. @skip and @stop may be NULL. Blocks: some 0.3 s a GB that is in memory,
 * of one core; idle ones help (crew.h), so not from within a crew's work. */
GX_MUST enum gx_status gx_scan_dir(const struct gx_scan *scan, const char *dir, gx_scan_skip *skip, void *skip_arg,
                                   gx_scan_stop *stop, void *stop_arg, struct gx_scan_result *out, struct gx_err *err);

/* Looks at one file. GX_E_NOT_FOUND, GX_E_IO, GX_E_NOMEM. Hits name @path. */
GX_MUST enum gx_status gx_scan_file(const struct gx_scan *scan, const char *path, struct gx_scan_result *out,
                                    struct gx_err *err);

#endif
