/* What the files of routes share, and nobody else includes. */
#ifndef GX_ROUTES_PRIVATE_H
#define GX_ROUTES_PRIVATE_H

#include "routes.h"
#include "wire.h"

/* Work that is over when it returns: it has sent its reply, or failed and sent nothing. */
typedef enum gx_status gx_routes_work(struct gx_app *app, struct gx_call *call, struct gx_slice message,
                                      struct gx_err *err);

/* Does the work and ends the call with its error, where there is one. */
void gx_routes_answer(gx_routes_work *work, void *app, struct gx_call *call, struct gx_slice message);

/* The end of a call by @err. A work that was broken off ends as deadline exceeded or cancelled, whichever it was. */
void gx_routes_fail(struct gx_call *call, const struct gx_err *err);

/* Room for a reply of exactly @len bytes. GX_E_TOO_LARGE: clients would not take it. */
GX_MUST enum gx_status gx_routes_begin_reply(struct gx_call *call, size_t len, uint8_t **out, struct gx_err *err);
GX_MUST enum gx_status gx_routes_reply(struct gx_call *call, const struct gx_wire_reply *reply, struct gx_err *err);
/* The same for a message of a stream. */
GX_MUST enum gx_status gx_routes_send(struct gx_call *call, const struct gx_wire_reply *reply, struct gx_err *err);

/* The handlers, one per method. */
void gx_routes_search(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_search_batch(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_search_stream(void *app, struct gx_call *call, struct gx_slice message);

void gx_routes_records_insert(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_records_get(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_records_list(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_stream_message(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_stream_end(void *app, struct gx_call *call, bool broken);

void gx_routes_expunge(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_expunge_ticket(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_expunge_tickets(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_expunge_certificate(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_absent(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_watch(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_watch_end(void *app, struct gx_call *call, bool broken);

void gx_routes_holds_place(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_holds_release(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_holds_list(void *app, struct gx_call *call, struct gx_slice message);

void gx_routes_backups_create(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_backups_list(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_backups_delete(void *app, struct gx_call *call, struct gx_slice message);

void gx_routes_galleries_create(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_galleries_get(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_galleries_list(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_galleries_delete(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_galleries_build(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_galleries_measure(void *app, struct gx_call *call, struct gx_slice message);
void gx_routes_galleries_stats(void *app, struct gx_call *call, struct gx_slice message);

/* The thread that serves the watchers of tickets. */
GX_MUST enum gx_status gx_routes_watch_start(struct gx_app *app, struct gx_err *err);
void gx_routes_watch_stop(void);

#endif
