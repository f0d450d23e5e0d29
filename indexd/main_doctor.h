/* indexd doctor: what in a data directory is not indexd's. */
#ifndef GX_MAIN_DOCTOR_H
#define GX_MAIN_DOCTOR_H

#include <stdio.h>

#include "err.h"

struct gx_main_doctor_in {
    const char *dir;
    const char *own[3];     /* files of the configuration that may stand in it; NULL = none */
    const char *quarantine; /* move unknown files there; NULL = list them only */
    bool json;
};

/* Lists to @out. GX_OK: nothing unknown is left; GX_E_STATE: something is; GX_E_IN_USE: a server runs on it;
 * GX_E_NOT_FOUND, GX_E_FORMAT, GX_E_INVALID, GX_E_IO. The store is not opened. */
GX_MUST enum gx_status gx_main_doctor(const struct gx_main_doctor_in *in, FILE *out, struct gx_err *err);

#endif
