/* Helpers for work that can be cut into parts: one long search uses the cores that nobody else needs. */
#ifndef GX_CREW_H
#define GX_CREW_H

#include "err.h"

#define GX_CREW_MAX 64 /* who takes part in one piece of work at most, its caller included */

/* Does part @part (0..n_parts-1) of the work. @member 0..gx_crew_members()-1 tells those apart who work at the same
 * time: a place for their results. */
typedef void gx_crew_work(void *arg, size_t member, size_t part);

/* Starts @cores - 1 helping threads; at most GX_CREW_MAX - 1. Once per process. GX_E_BUSY and the like: no threads. */
GX_MUST enum gx_status gx_crew_start(size_t cores, struct gx_err *err);
void gx_crew_stop(void); /* nobody runs anything any more */

/* Members that a piece of work has at most: 1 without a crew. */
size_t gx_crew_members(void);

/* Does all parts and returns when they are done. The caller works too; helpers join while fewer than all cores are at
 * such work. Any thread; not from within work. */
void gx_crew_run(gx_crew_work *work, void *arg, size_t n_parts);

/* The same for work that can wait: helpers join while nobody runs anything else, and leave between two parts when
 * somebody does. The caller works on and does not count as one of the cores that are at work. */
void gx_crew_run_aside(gx_crew_work *work, void *arg, size_t n_parts);

#endif
