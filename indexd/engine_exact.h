/* The exact answer from int8 codes, with certainty: for engines that keep such codes. */
#ifndef GX_ENGINE_EXACT_H
#define GX_ENGINE_EXACT_H

#include "codes.h"
#include "engine.h"

/* Proposes for each probe every visible row below min(ask->until, @until) that passes and whose exact score may be
 * among the n_wanted best: a row is left out only when its approximate score plus its bound (gx_codes_bound) is below
 * the approximate score less its bound of n_wanted others. One pass over the codes for up to 8 probes. */
GX_MUST enum gx_status gx_engine_exact_search(const struct gx_codes *codes, const struct gx_rows *rows, uint32_t until,
                                              const struct gx_engine_ask *ask, struct gx_arena *arena,
                                              struct gx_engine_answer *answers, struct gx_err *err);

#endif
