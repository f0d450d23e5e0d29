/* grpc.health.v1: real states, per gallery. */
#ifndef GX_HEALTH_H
#define GX_HEALTH_H

#include "rpc.h"

/* Answers 1 SERVING, 2 NOT_SERVING, or 3 unknown service. @service is not NUL-terminated: "" = the server,
 * "indexd.v1.Search" …, "gallery/NAME". Called on I/O threads: cheap. */
typedef int gx_health_state(void *app, struct gx_slice service);

/* Before gx_rpc_start. */
void gx_health_set(gx_health_state *state, void *app);

/* Tells every Watch whose state has changed. From any thread, after a change. */
void gx_health_changed(void);

/* From now on everything is NOT_SERVING: the server is about to stop. */
void gx_health_drain(void);

/* Handlers of the table of routes (kinds: UNARY and SERVER_STREAM, both INLINE). */
void gx_health_check(void *app, struct gx_call *call, struct gx_slice message);
void gx_health_watch(void *app, struct gx_call *call, struct gx_slice message);
void gx_health_watch_end(void *app, struct gx_call *call, bool broken);

#endif
