/* Keeps the listener alive and the number of connections bounded.
 *
 * libgrpc 1.51 gives a listener up for ever after one accept4 that fails with anything but EAGAIN, EINTR or
 * ECONNABORTED (CVE-2023-4785): one moment without a free descriptor, and no client gets in again. It has no cap on
 * connections either. Both are mended where libgrpc and the kernel meet: this file defines accept4 for the process. */
#ifndef GX_ACCEPT_GUARD_H
#define GX_ACCEPT_GUARD_H

#include "err.h"

/* From now on at most @connections_max (1..100000) accepted connections are open at a time, further ones are closed
 * at once; with several servers in a process the latest number counts for all.
 * GX_E_INTERNAL: accept4 is not in the program's dynamic table, so libgrpc would not see it. */
GX_MUST enum gx_status gx_accept_guard_begin(size_t connections_max, struct gx_err *err);

/* The counterpart of each successful begin; after the last one connections are not counted any more. */
void gx_accept_guard_end(void);

/* Connections closed at once since the process began: over the cap, or no descriptor free. Safe from any thread. */
uint64_t gx_accept_guard_refused(void);

#endif
