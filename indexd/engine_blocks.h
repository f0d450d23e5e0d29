/* One look at all visible rows by an engine that compares every code, in parts that idle cores share. */
#ifndef GX_ENGINE_BLOCKS_H
#define GX_ENGINE_BLOCKS_H

#include "engine.h"

/* A group of up to 64 slots from @first (a multiple of 64) on, of which those in @word are visible; the last of them is
 * @first + @n - 1. @member as in crew.h. False: no more of this look, it has failed. */
typedef bool gx_engine_block(void *arg, size_t member, uint32_t first, uint64_t word, size_t n);

/* Calls @block for every group below @until that has a visible row, for several at a time: a member of the crew does
 * @part_slots, a multiple of 64, before it looks at what others want; some 100 us of work. *out_seen = visible rows.
 * GX_E_CANCELLED: @ask's stop said so; GX_E_TOO_LARGE: a block did. */
GX_MUST enum gx_status gx_engine_blocks_run(const struct gx_rows *rows, uint32_t until, uint32_t part_slots,
                                            const struct gx_engine_ask *ask, gx_engine_block *block, void *arg,
                                            uint64_t *out_seen, struct gx_err *err);

#endif
