/* What people read: tables with aligned columns, and lists of properties. */
#ifndef GX_INDEXCTL_TABLE_H
#define GX_INDEXCTL_TABLE_H

#include <stdio.h>

#include "indexctl_json.h"

/* A table that may be printed in parts: the widths only grow. Zeroed before its first use. */
struct gx_indexctl_table {
    const char *const *titles; /* [n_columns]; one that begins with '>' stands right */
    size_t n_columns;
    char **cells; /* row after row */
    size_t n_cells, cap;
    size_t width[16];
    bool headed, bad;
};

/* Adds a cell: control characters become '?', nothing becomes "-". */
__attribute__((format(printf, 2, 3))) void gx_indexctl_table_cell(struct gx_indexctl_table *table, const char *format,
                                                                  ...);
/* Prints the rows (the titles the first time) and forgets them. GX_E_NOMEM. */
GX_MUST enum gx_status gx_indexctl_table_flush(struct gx_indexctl_table *table, FILE *out);

/* "1,234,567"; returns @out. */
#define GX_INDEXCTL_TABLE_COUNT_MAX 28
const char *gx_indexctl_table_count(uint64_t n, char out[GX_INDEXCTL_TABLE_COUNT_MAX]);
/* "1 record", "1,234 records"; returns @out. */
#define GX_INDEXCTL_TABLE_PLURAL_MAX 64
const char *gx_indexctl_table_plural(uint64_t n, const char *one, char out[GX_INDEXCTL_TABLE_PLURAL_MAX]);
/* "1.2 GB"; returns @out. */
const char *gx_indexctl_table_bytes(uint64_t n, char out[GX_INDEXCTL_TABLE_COUNT_MAX]);

GX_MUST enum gx_status gx_indexctl_table_galleries(FILE *out, const struct gx_client_gallery *list, size_t n);
void gx_indexctl_table_gallery(FILE *out, const struct gx_client_gallery *gallery);
void gx_indexctl_table_stats(FILE *out, const struct gx_client_gallery_stats *stats);
void gx_indexctl_table_recall(FILE *out, const char *name, const struct gx_client_recall *recall);
void gx_indexctl_table_imported(FILE *out, const struct gx_indexctl_imported *imported);
GX_MUST enum gx_status gx_indexctl_table_answer(FILE *out, uint64_t probe, const struct gx_client_answer *answer);
/* Adds to @table, which begins zeroed. */
void gx_indexctl_table_record(struct gx_indexctl_table *table, const struct gx_client_stored *record);
void gx_indexctl_table_hold_row(struct gx_indexctl_table *table, const struct gx_client_hold *hold);
void gx_indexctl_table_ticket_row(struct gx_indexctl_table *table, const struct gx_client_ticket *ticket);
void gx_indexctl_table_ticket(FILE *out, const struct gx_client_ticket *ticket);

#endif
