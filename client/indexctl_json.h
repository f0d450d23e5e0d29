/* What --json prints: one object per line, with the field names of the schemas, enum values by their short names. */
#ifndef GX_INDEXCTL_JSON_H
#define GX_INDEXCTL_JSON_H

#include <stdio.h>

#include "indexctl_fail.h"
#include "indexd/client.h"

/* How an import went. */
struct gx_indexctl_imported {
    uint64_t rows;     /* that are durable now */
    uint64_t expunged; /* that were passed over */
    struct gx_client_enrolled enrolled;
    double seconds;
};

/* What a list of ids would remove. */
struct gx_indexctl_counted {
    const char *gallery, *order_ref;
    enum gx_client_id_kind kind;
    uint64_t lines, ids, orders;                             /* each id counts once */
    uint64_t records;                                        /* that would go */
    uint64_t records_before;                                 /* that went by orders of this list before */
    uint64_t matched_ids, unmatched_ids, gone_ids, held_ids; /* without those of such orders */
};

/* All: GX_E_NOMEM. That the text could be written is checked at the end of the program. */
GX_MUST enum gx_status gx_indexctl_json_gallery(FILE *out, const struct gx_client_gallery *gallery);
GX_MUST enum gx_status gx_indexctl_json_deleted(FILE *out, const char *name, uint64_t records);
GX_MUST enum gx_status gx_indexctl_json_stats(FILE *out, const struct gx_client_gallery_stats *stats);
GX_MUST enum gx_status gx_indexctl_json_built(FILE *out, const char *name, const char *engine);
GX_MUST enum gx_status gx_indexctl_json_recall(FILE *out, const char *name, const struct gx_client_recall *recall);
GX_MUST enum gx_status gx_indexctl_json_health(FILE *out, const char *service, int state);
GX_MUST enum gx_status gx_indexctl_json_imported(FILE *out, const char *gallery, const struct gx_indexctl_imported *i);
/* @probe: its row in the file, from 0. */
GX_MUST enum gx_status gx_indexctl_json_answer(FILE *out, uint64_t probe, const struct gx_client_answer *answer,
                                               const char *notice);
/* Flat, as .jsonl files are imported. */
GX_MUST enum gx_status gx_indexctl_json_record(FILE *out, const struct gx_client_stored *record);
GX_MUST enum gx_status gx_indexctl_json_ticket(FILE *out, const struct gx_client_ticket *ticket);
GX_MUST enum gx_status gx_indexctl_json_hold(FILE *out, const struct gx_client_hold *hold);
GX_MUST enum gx_status gx_indexctl_json_hold_change(FILE *out, const char *gallery, const char *reference,
                                                    const struct gx_client_hold_change *change);
/* What an expungement would remove. */
GX_MUST enum gx_status gx_indexctl_json_counted(FILE *out, const char *gallery, const struct gx_client_ticket *ticket);
GX_MUST enum gx_status gx_indexctl_json_counted_list(FILE *out, const struct gx_indexctl_counted *counted);

GX_MUST enum gx_status gx_indexctl_json_backup(FILE *out, const struct gx_client_backup_info *backup);

/* A certificate that was read from @source, a file or a ticket. */
GX_MUST enum gx_status gx_indexctl_json_certificate(FILE *out, const char *source,
                                                    const struct gx_client_certificate *certificate);
GX_MUST enum gx_status gx_indexctl_json_key(FILE *out, const char *pem);
/* @record_id NULL: the row @probe of a file. */
GX_MUST enum gx_status gx_indexctl_json_absence(FILE *out, const char *gallery, const char *record_id, uint64_t probe,
                                                const struct gx_client_absence *absence);

/* Short names of enum values: "ACCEPTED", "RECORD", "SERVING". */
const char *gx_indexctl_json_state(enum gx_client_ticket_state state);
const char *gx_indexctl_json_backup_state(enum gx_client_backup_state state);
const char *gx_indexctl_json_method(enum gx_client_verify_method method);
const char *gx_indexctl_json_kind(enum gx_client_id_kind kind);
const char *gx_indexctl_json_serving(int state);

#endif
