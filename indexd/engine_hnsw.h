/* What tests and measurements look at in an hnsw engine.
 *
 * Effort 0, 0.25, 0.5, 0.75, 1 is ef 32, 152, 724, 3444, 16384. What an effort is worth depends on the gallery; of
 * 200,000 generated faces (512 values; 4,955 probes with a mate enrolled) the nearest row was the first hit in .9994 of
 * cases with ef 256, .9996 with 384 and 512, .9998 with 724, all with 1024. */
#ifndef GX_ENGINE_HNSW_H
#define GX_ENGINE_HNSW_H

#include "engine.h"

/* Vertices that cannot be reached from the entry at level 0. Not while the engine is changed. GX_E_NOMEM. */
GX_MUST enum gx_status gx_engine_hnsw_unreachable(const struct gx_engine *engine, uint64_t *out, struct gx_err *err);

#endif
