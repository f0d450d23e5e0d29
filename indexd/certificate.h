/* Certificates of expungement, as the store keeps them, and the key that they are signed with. receipt.h makes their
 * text. */
#ifndef GX_CERTIFICATE_H
#define GX_CERTIFICATE_H

#include "galleries.h"

/* The certificate of a ticket, in the arena. GX_E_NOT_FOUND: no such ticket; GX_E_STATE: it has none yet. */
GX_MUST enum gx_status gx_certificate_get(struct gx_galleries *galleries, uint64_t ticket, struct gx_arena *arena,
                                          struct gx_slice *out, struct gx_err *err);

/* The public key that certificates are checked with, PEM; lives as long as @galleries. */
struct gx_slice gx_certificate_key(const struct gx_galleries *galleries);

#endif
