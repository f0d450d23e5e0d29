/* The table of methods: decode (wire), carry out (floor 3), encode (wire). */
#ifndef GX_ROUTES_H
#define GX_ROUTES_H

#include "galleries.h"
#include "rpc.h"

/* What the handlers get as @app. */
struct gx_app {
    struct gx_galleries *galleries;
};

/* The table; static storage. */
const struct gx_route *gx_routes_table(size_t *out_n);

/* Starts and ends what routes keep beside calls (watchers of tickets). Before gx_rpc_start, after gx_rpc_stop. */
GX_MUST enum gx_status gx_routes_begin(struct gx_app *app, struct gx_err *err);
void gx_routes_end(struct gx_app *app);

#endif
