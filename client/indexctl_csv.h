/* Lists of ids as records staff get them: CSV with a header row (RFC 4180), read by libcsv.
 *
 * UTF-8, with or without a byte order mark; lines end by LF, CR or CRLF; fields may stand in quotation marks. Columns
 * are parted by a comma, a semicolon or a tab, whichever the header row uses. One column has the ids: its title is
 * record, arrest or subject, or that with id, no or number behind ("Arrest ID"), whatever the case. The other columns
 * are passed over; every row has as many fields as the header; rows of which all fields are empty count as blank.
 *
 * A file is read as a whole or not at all. */
#ifndef GX_INDEXCTL_CSV_H
#define GX_INDEXCTL_CSV_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "indexctl_fail.h"
#include "indexd/client.h"

struct gx_indexctl_csv_row {
    uint64_t line;  /* on which it begins, from 1: the header is line 1, blank lines count */
    const char *id; /* 1..GX_ID_MAX bytes, no control character; text of the struct */
};

struct gx_indexctl_csv {
    enum gx_client_id_kind kind;
    struct gx_indexctl_csv_row *rows; /* [n] in the order of the file, n > 0 */
    size_t n, cap;
    char *text;
};

/* Reads @path ("-" = standard input). @kind "record", "arrest" or "subject": that column, where there are several;
 * NULL: the only one. Released by fini, also after a failure. GX_E_NOT_FOUND, GX_E_IO, GX_E_NOMEM; GX_E_INVALID names
 * line and column (characters of the line, from 1), never an id. */
GX_MUST enum gx_status gx_indexctl_csv_read(const char *path, const char *kind, struct gx_indexctl_csv *out);

/* The same of text in memory; @name stands for it in messages. */
GX_MUST enum gx_status gx_indexctl_csv_parse(const char *name, const char *text, size_t len, const char *kind,
                                             struct gx_indexctl_csv *out);
void gx_indexctl_csv_fini(struct gx_indexctl_csv *csv);

/* "record", "arrest", "subject": the title of the column. */
const char *gx_indexctl_csv_title(enum gx_client_id_kind kind);

/* Writes a field, in quotation marks where it needs them. Whether it could be written shows in the stream. */
void gx_indexctl_csv_put(FILE *out, const char *field);

#endif
