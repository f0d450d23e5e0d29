/* The table of statuses as text and numbers. Linked into the server and into the client library: depends on nothing. */
#include "indexd/status.h"

#define GX_PREFIX_LEN (sizeof("GX_E_") - 1)

const char *gx_status_text(enum gx_status status)
{
    switch (status) {
#define CASE(name, number, grpc, text)                                                                                 \
    case name: return text;
        GX_STATUS_MAP(CASE)
#undef CASE
    }
    return "unknown status"; /* a number of a later version */
}

const char *gx_status_name(enum gx_status status)
{
    if (status == GX_OK)
        return "OK";
    switch (status) {
#define CASE(name, number, grpc, text)                                                                                 \
    case name: return &#name[GX_PREFIX_LEN];
        GX_STATUS_MAP(CASE)
#undef CASE
    }
    return "UNKNOWN";
}

int gx_status_grpc(enum gx_status status)
{
    switch (status) {
#define CASE(name, number, grpc, text)                                                                                 \
    case name: return grpc;
        GX_STATUS_MAP(CASE)
#undef CASE
    }
    return 2; /* UNKNOWN */
}
