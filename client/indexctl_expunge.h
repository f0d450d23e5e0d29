/* What expunge, its lists and the tickets share. */
#ifndef GX_INDEXCTL_EXPUNGE_H
#define GX_INDEXCTL_EXPUNGE_H

#include "indexctl_command.h"

#define GX_INDEXCTL_DRY_RUN_ORDER "dry run" /* an order must have a reference, a count needs none */

/* A line of what a ticket has reached, with its time; or its object. GX_E_NOMEM. */
GX_MUST enum gx_status gx_indexctl_expunge_print(struct gx_indexctl_session *session,
                                                 const struct gx_client_ticket *ticket);

#endif
