/* Reading records: by id, and in pages. */
#ifndef GX_LOOKUP_H
#define GX_LOOKUP_H

#include "galleries.h"

struct gx_stored_record {
    struct gx_record record; /* slices in the arena */
    const float *row;        /* [dim] unit row in the arena, NULL unless asked for */
    bool quarantined;        /* a legal hold keeps it out of every search */
};

/* Records of the given ids that are enrolled, in the order of the ids; others are left out. n_ids 1..1000.
 * GX_E_NOT_FOUND (gallery), GX_E_INVALID, GX_E_UNAVAILABLE (loading), GX_E_TOO_LARGE. Blocks for store reads. */
GX_MUST enum gx_status gx_lookup_get(struct gx_galleries *galleries, struct gx_slice gallery,
                                     const struct gx_slice *ids, size_t n_ids, bool with_row, struct gx_arena *arena,
                                     struct gx_stored_record **out, size_t *out_n, size_t *out_dim, struct gx_err *err);

/* Up to @n records with rno >= @from, in the order of enrolment. At most one of @arrest and @subject is not empty.
 * *out_next = the @from of the next page, 0 = there is none. */
GX_MUST enum gx_status gx_lookup_list(struct gx_galleries *galleries, struct gx_slice gallery, struct gx_slice arrest,
                                      struct gx_slice subject, uint64_t from, size_t n, struct gx_arena *arena,
                                      struct gx_stored_record **out, size_t *out_n, uint64_t *out_next,
                                      struct gx_err *err);

#endif
