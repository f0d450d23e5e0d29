/* Errors: a status and one line of text, in storage of the caller. */
#ifndef GX_ERR_H
#define GX_ERR_H

#include "base.h"
#include "indexd/status.h"

#define GX_ERR_TEXT_MAX 256

/* The text is for people: one line, what failed and what to do; never an embedding, an id or a name. */
struct gx_err {
    enum gx_status status;
    char text[GX_ERR_TEXT_MAX];
};

/* Fills @err (may be NULL) and returns @status: the only way a failure is born. Allocates nothing. */
GX_PRINTF(3, 4) enum gx_status gx_err_set(struct gx_err *err, enum gx_status status, const char *format, ...);

/* Puts "<what>: " before the text of @err, which must hold a failure; returns its status. */
GX_PRINTF(2, 3) enum gx_status gx_err_wrap(struct gx_err *err, const char *format, ...);

/* gx_err_set with ": " and the text of errno appended; ENOSPC and ENOMEM choose GX_E_FULL and GX_E_NOMEM by themselves.
 */
GX_PRINTF(3, 4) enum gx_status gx_err_errno(struct gx_err *err, int error_number, const char *format, ...);

#define gx_fail(err, status, ...) gx_err_set((err), (status), __VA_ARGS__)

/* For functions that hold nothing: return on failure. */
#define GX_TRY(call)                                                                                                   \
    do {                                                                                                               \
        enum gx_status gx_try_ = (call);                                                                               \
        if (gx_try_ != GX_OK)                                                                                          \
            return gx_try_;                                                                                            \
    } while (0)

/* For functions that hold something: needs `enum gx_status status` and a label `out`. */
#define GX_TRY_OUT(call)                                                                                               \
    do {                                                                                                               \
        status = (call);                                                                                               \
        if (status != GX_OK)                                                                                           \
            goto out;                                                                                                  \
    } while (0)

#endif
