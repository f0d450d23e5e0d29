/* How a failure looks to the client, in grpc-status-details-bin (google.rpc.Status, schemas/google/rpc/status.proto),
 * and to the operator, in one line of the log. */
#include "rpc_private.h"

#include <stdio.h>

#include "log.h"

#define LOG_LINES_MAX 20 /* a second, of failed calls */

/* A writer of protobuf wire; the caller's buffer is large enough for whatever fits a struct gx_err. */
struct writer {
    uint8_t *p;
};

static void put_varint(struct writer *w, size_t value)
{
    while (value >= 0x80) {
        *w->p++ = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    *w->p++ = (uint8_t)value;
}

static void put_bytes(struct writer *w, unsigned field, const void *bytes, size_t len)
{
    put_varint(w, (size_t)field << 3 | 2);
    put_varint(w, len);
    memcpy(w->p, bytes, len);
    w->p += len;
}

static void put_text(struct writer *w, unsigned field, const char *text)
{
    put_bytes(w, field, text, strlen(text));
}

static size_t length(const struct writer *w, const uint8_t *start)
{
    return (size_t)(w->p - start);
}

/* Status.details: an Any of @type with @value. */
static void put_detail(struct writer *w, const char *type, const uint8_t *value, size_t value_len)
{
    uint8_t any[160];
    struct writer a = {any};
    put_text(&a, 1, type);
    put_bytes(&a, 2, value, value_len);
    put_bytes(w, 3, any, length(&a, any));
}

/* Text is UTF-8 by protobuf's rule, and strict clients refuse the whole detail otherwise: ours is ASCII. */
static void put_ascii(struct writer *w, unsigned field, const char *text)
{
    char clean[GX_ERR_TEXT_MAX];
    size_t n = strnlen(text, sizeof(clean));
    for (size_t i = 0; i < n; i++)
        clean[i] = (char)(text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?');
    put_bytes(w, field, clean, n);
}

size_t gx_rpc_status_encode(const struct gx_err *err, uint8_t out[GX_RPC_STATUS_MAX])
{
    uint8_t info[64];
    struct writer w = {out}, i = {info};
    put_varint(&w, 1 << 3 | 0);
    put_varint(&w, (size_t)gx_status_grpc(err->status));
    put_ascii(&w, 2, err->text);
    put_text(&i, 1, gx_status_name(err->status));
    put_text(&i, 2, "indexd");
    put_detail(&w, "type.googleapis.com/google.rpc.ErrorInfo", info, length(&i, info));
    if (err->status == GX_E_BUSY || err->status == GX_E_UNAVAILABLE) {
        static const uint8_t one_second[] = {1 << 3 | 2, 2, 1 << 3 | 0, 1}; /* retry_delay { seconds: 1 } */
        put_detail(&w, "type.googleapis.com/google.rpc.RetryInfo", one_second, sizeof(one_second));
    }
    return length(&w, out);
}

/* Is it the client's doing? Then the operator need not hear of it. */
static bool is_clients(enum gx_status status)
{
    switch (status) {
    case GX_OK:
    case GX_E_INVALID:
    case GX_E_NOT_FOUND:
    case GX_E_EXISTS:
    case GX_E_EMBEDDER:
    case GX_E_EXPUNGED:
    case GX_E_HELD:
    case GX_E_COUNT:
    case GX_E_STATE:
    case GX_E_TOO_LARGE:
    case GX_E_CANCELLED:
    case GX_E_UNIMPLEMENTED: return true;
    case GX_E_BUSY:
    case GX_E_FULL:
    case GX_E_DEADLINE:
    case GX_E_DENIED:
    case GX_E_UNAVAILABLE:
    case GX_E_CORRUPT:
    case GX_E_IO:
    case GX_E_FORMAT:
    case GX_E_IN_USE:
    case GX_E_NOMEM:
    case GX_E_INTERNAL: return false;
    }
    return false;
}

void gx_rpc_status_log(const char *path, const struct gx_err *err, int64_t took_us)
{
    static struct gx_rpc_pace pace;
    const char *method = path == NULL ? "unknown" : path, *name = gx_status_name(err->status);
    if (is_clients(err->status)) {
        gx_log_debug("call_failed", "method=%s status=%s us=%lld", method, name, (long long)took_us);
        return;
    }
    uint64_t skipped;
    if (gx_rpc_core_pace(&pace, LOG_LINES_MAX, &skipped))
        gx_log_info("call_failed", "method=%s status=%s us=%lld skipped=%llu text=\"%s\"", method, name,
                    (long long)took_us, (unsigned long long)skipped, err->text);
}
