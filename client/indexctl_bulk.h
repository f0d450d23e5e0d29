/* expunge --from: a list of ids in orders of at most GX_EXPUNGE_IDS_MAX, counted before anything is removed. */
#ifndef GX_INDEXCTL_BULK_H
#define GX_INDEXCTL_BULK_H

#include <stdbool.h>

#include "indexctl_command.h"
#include "indexctl_csv.h"

/* What the count found for an id. */
enum gx_indexctl_fate {
    GX_INDEXCTL_GOES,
    GX_INDEXCTL_UNMATCHED,
    GX_INDEXCTL_GONE,
    GX_INDEXCTL_HELD,
    GX_INDEXCTL_FATES
};

/* An id of the list, once however often it is named. */
struct gx_indexctl_item {
    const char *id;   /* of the CSV */
    uint64_t line;    /* where it stands first */
    uint64_t records; /* that go, or went, by it */
    enum gx_indexctl_fate fate;
    char *hold_ref; /* of a held one; owned */
};

enum gx_indexctl_progress_of_order {
    GX_INDEXCTL_OPEN,   /* not carried out */
    GX_INDEXCTL_BEFORE, /* carried out by an earlier run of the same command: ticket */
    GX_INDEXCTL_IDLE,   /* no order: all its ids are gone, or held */
    GX_INDEXCTL_DONE,   /* carried out now: ticket */
    GX_INDEXCTL_REFUSED /* by the server: problem */
};

struct gx_indexctl_order {
    size_t first, n; /* items */
    enum gx_indexctl_progress_of_order state;
    char request_id[GX_REQUEST_ID_MAX + 1];
    uint64_t records; /* that go, or went, by it */
    struct gx_client_ticket ticket;
    char problem[GX_INDEXCTL_FAIL_MAX];
};

struct gx_indexctl_bulk {
    struct gx_indexctl_session *session;
    const char *file;
    struct gx_indexctl_csv csv;
    struct gx_indexctl_item *items; /* [n_items] in the order of the file */
    size_t n_items;
    size_t *item_of_row; /* [csv.n] */
    struct gx_indexctl_order *orders;
    size_t n_orders;
    bool removing;                         /* past the count: the results say what was done, not what would be */
    uint64_t n_fates[GX_INDEXCTL_FATES];   /* items, without those of orders carried out before */
    uint64_t records_open, records_before; /* that go; that went by orders carried out before */
};

/* The whole of it. --yes, --expect, --results, --wait, … are the session's arguments. */
GX_MUST enum gx_status gx_indexctl_bulk_run(struct gx_indexctl_session *session);

/* --- indexctl_bulk_report.c --- */

/* What the count found: a few lines, however long the list. */
GX_MUST enum gx_status gx_indexctl_bulk_print_count(const struct gx_indexctl_bulk *bulk);

/* The file of --results, whole or not at all: nothing where none is asked for. GX_E_INVALID, GX_E_IO, GX_E_FULL. */
GX_MUST enum gx_status gx_indexctl_bulk_write_results(const struct gx_indexctl_bulk *bulk);

#endif
