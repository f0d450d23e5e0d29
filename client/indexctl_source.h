/* Files of embeddings: .fvecs, .npy, .jsonl.
 *
 * .fvecs  per row: dimension as int32, then that many float32, little-endian; all rows of one dimension.
 * .npy    NumPy versions 1 to 3, '<f4' in C order: [n][dim], or [dim] for a single row.
 * .jsonl  one object per line: {"record_id":…, "subject_id":…, "arrest_id":…, "captured_at":"2024-03-01T12:30:00Z" or
 *         "captured_at_us":n, "attributes":{"key":"value"}, "embedding":[…]}; all but the embedding may be missing. */
#ifndef GX_INDEXCTL_SOURCE_H
#define GX_INDEXCTL_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "indexctl_fail.h"
#include "indexd/client.h"

struct gx_indexctl_source;

/* Some rows in turn; zeroed before its first use. */
struct gx_indexctl_batch {
    float *rows;                      /* [n][dim] */
    struct gx_client_record *records; /* [n]: of .jsonl, empty otherwise; text is the batch's */
    size_t n;
    uint64_t first; /* number of its first row in the file, from 0 */
    void **documents;
    size_t cap, dim;
};
void gx_indexctl_source_batch_fini(struct gx_indexctl_batch *batch); /* wipes the rows */

/* "faces.npy", or "faces.npy:12", its row 12; a file that is called so is taken as a file. @out_file is malloc'ed.
 * GX_E_INVALID, GX_E_NOMEM. */
GX_MUST enum gx_status gx_indexctl_source_split(const char *probe, char **out_file, bool *out_one, uint64_t *out_row);

/* @path "-" is the standard input. @format "fvecs", "npy", "jsonl", or NULL: by the name's end. Reads the head:
 * afterwards the dimension is known. GX_E_NOT_FOUND, GX_E_IO, GX_E_FORMAT, GX_E_INVALID. @path must outlive the source.
 */
GX_MUST enum gx_status gx_indexctl_source_open(const char *path, const char *format, struct gx_indexctl_source **out);
void gx_indexctl_source_close(struct gx_indexctl_source *source);

uint32_t gx_indexctl_source_dim(const struct gx_indexctl_source *source);
bool gx_indexctl_source_has_records(const struct gx_indexctl_source *source);
/* UINT64_MAX: not known before the end (standard input, .jsonl). */
uint64_t gx_indexctl_source_rows(const struct gx_indexctl_source *source);

/* Passes over @n rows. GX_E_INVALID: there are fewer. */
GX_MUST enum gx_status gx_indexctl_source_skip(struct gx_indexctl_source *source, uint64_t n);

/* The next rows, at most @max, in place of what the batch held; 0 rows: the end. All are finite and not zero.
 * GX_E_INVALID names the row: other dimension, not finite, all zero, cut short. */
GX_MUST enum gx_status gx_indexctl_source_read(struct gx_indexctl_source *source, size_t max,
                                               struct gx_indexctl_batch *batch);

#endif
