/* Rows every value of which follows from their number, so that a torn, stale or misplaced one shows. Asserts with
 * Check, but for is_right, which threads may call. */
#ifndef GX_NUMBERED_H
#define GX_NUMBERED_H

#include "rows.h"

/* In [-1, 1]. */
float gx_numbered_value(uint64_t rno, size_t i);
void gx_numbered_row(uint64_t rno, size_t dim, float *out);

struct gx_rows *gx_numbered_new(size_t dim);
/* Rows first, first + 1, …, published. */
struct gx_rows *gx_numbered_filled(size_t dim, uint64_t first, uint32_t n);

void gx_numbered_append(struct gx_rows *rows, uint64_t rno);
/* With @record in the place of the row's own, so that is_right does not know it. */
enum gx_status gx_numbered_append_text(struct gx_rows *rows, uint64_t rno, const char *record, struct gx_err *err);

/* Is every column what its number says? */
bool gx_numbered_is_right(const struct gx_rows *rows, uint32_t slot);

#endif
