/* Statuses of indexd: one table for the server, the client library and indexctl's exit status. */
#ifndef INDEXD_STATUS_H
#define INDEXD_STATUS_H

/**
 * X(name, number, gRPC code, text). Numbers are forever: scripts read them as indexctl's exit status.
 * The gRPC code is the canonical one of https://grpc.github.io/grpc/core/md_doc_statuscodes.html; the name without
 * GX_E_ is the `reason` of the google.rpc.ErrorInfo detail, domain "indexd".
 */
#define GX_STATUS_MAP(X)                                                                                               \
    X(GX_OK, 0, 0, "ok")                                                                                               \
    X(GX_E_INVALID, 1, 3, "invalid argument")                                                                          \
    X(GX_E_NOT_FOUND, 2, 5, "not found")                                                                               \
    X(GX_E_EXISTS, 3, 6, "already exists with other content")                                                          \
    X(GX_E_EMBEDDER, 4, 9, "another embedder than the gallery's")                                                      \
    X(GX_E_EXPUNGED, 5, 9, "expunged by order, cannot be enrolled again")                                              \
    X(GX_E_COUNT, 6, 10, "the number of records differs from the expected one")                                        \
    X(GX_E_STATE, 7, 9, "not possible in the present state")                                                           \
    X(GX_E_BUSY, 8, 8, "server at its limit, try again")                                                               \
    X(GX_E_FULL, 9, 8, "disk or memory full")                                                                          \
    X(GX_E_TOO_LARGE, 10, 8, "message or request too large")                                                           \
    X(GX_E_DEADLINE, 11, 4, "deadline exceeded")                                                                       \
    X(GX_E_CANCELLED, 12, 1, "cancelled")                                                                              \
    X(GX_E_DENIED, 13, 7, "permission denied")                                                                         \
    X(GX_E_UNIMPLEMENTED, 14, 12, "not implemented")                                                                   \
    X(GX_E_UNAVAILABLE, 15, 14, "unavailable, try again")                                                              \
    X(GX_E_CORRUPT, 16, 15, "stored data is damaged")                                                                  \
    X(GX_E_IO, 17, 14, "input/output error")                                                                           \
    X(GX_E_FORMAT, 18, 9, "unknown format or version")                                                                 \
    X(GX_E_IN_USE, 19, 9, "in use by another process")                                                                 \
    X(GX_E_NOMEM, 20, 8, "out of memory")                                                                              \
    X(GX_E_INTERNAL, 21, 13, "internal error")                                                                         \
    X(GX_E_HELD, 22, 9, "under a legal hold, cannot be removed")

#define GX_STATUS_ENUM(name, number, grpc, text) name = (number),
enum gx_status { GX_STATUS_MAP(GX_STATUS_ENUM) };
#undef GX_STATUS_ENUM

#ifdef __cplusplus
extern "C" {
#endif

/** The one-line English text of @p status; static storage, never NULL. Safe from any thread. */
const char *gx_status_text(enum gx_status status);

/** The name of @p status without its GX_E_ prefix, for example "NOT_FOUND"; static storage, never NULL. */
const char *gx_status_name(enum gx_status status);

/** The canonical gRPC status code (0..16) of @p status. */
int gx_status_grpc(enum gx_status status);

#ifdef __cplusplus
}
#endif
#endif
