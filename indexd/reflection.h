/* grpc.reflection v1 and v1alpha from the embedded descriptor set (same messages, two packages). */
#ifndef GX_REFLECTION_H
#define GX_REFLECTION_H

#include "rpc.h"

/* Indexes the descriptor set (build/gen/schema_fds.h); once, before gx_rpc_start. GX_E_INTERNAL: it is malformed. */
GX_MUST enum gx_status gx_reflection_init(struct gx_err *err);
void gx_reflection_fini(void);

/* Handler of the table of routes (BIDI, INLINE). */
void gx_reflection_info(void *app, struct gx_call *call, struct gx_slice message);

#endif
