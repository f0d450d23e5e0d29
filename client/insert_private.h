/* Requests of enrolment, as Insert and InsertStream send them. */
#ifndef GX_INSERT_PRIVATE_H
#define GX_INSERT_PRIVATE_H

#include "message_private.h"

/* What all requests of one caller have in common. Borrowed. */
struct gx_insert_target {
    const char *gallery, *embedder_id, *embedder_version;
};

/* @rows [n][dim]. GX_E_INVALID: n or dim out of range; GX_E_TOO_LARGE; GX_E_NOMEM. */
GX_MUST enum gx_status gx_insert_pack(const struct gx_insert_target *target, const struct gx_client_record *records,
                                      const float *rows, size_t n, size_t dim, const char *request_id,
                                      struct gx_call_message **out);

#endif
