#include "details.h"

#include <stdio.h>
#include <string.h>

#include "google/rpc/status.pb-c.h"

#define DOMAIN          "indexd"
#define DELAY_MAX_US    INT64_C(10000000)
#define DETAILS_LEN_MAX 8192 /* metadata is at most 8 KiB by default: more is not of our server */

/* Codes as the library below us makes them up; a server of ours adds its status. */
static enum gx_status of_code(int grpc_code)
{
    static const enum gx_status table[] = {
        [0] = GX_OK,
        [1] = GX_E_CANCELLED,
        [2] = GX_E_INTERNAL,
        [3] = GX_E_INVALID,
        [4] = GX_E_DEADLINE,
        [5] = GX_E_NOT_FOUND,
        [6] = GX_E_EXISTS,
        [7] = GX_E_DENIED,
        [8] = GX_E_BUSY,
        [9] = GX_E_STATE,
        [10] = GX_E_COUNT,
        [11] = GX_E_INVALID,
        [12] = GX_E_UNIMPLEMENTED,
        [13] = GX_E_INTERNAL,
        [14] = GX_E_UNAVAILABLE,
        [15] = GX_E_CORRUPT,
        [16] = GX_E_DENIED,
    };
    if (grpc_code < 0 || (size_t)grpc_code >= sizeof(table) / sizeof(table[0]))
        return GX_E_INTERNAL;
    return table[grpc_code];
}

static bool equals(ProtobufCBinaryData b, const char *text)
{
    return b.len == strlen(text) && memcmp(b.data, text, b.len) == 0;
}

/* "type.googleapis.com/google.rpc.ErrorInfo": what counts stands behind the last slash. */
static bool is_type(ProtobufCBinaryData url, const char *name)
{
    size_t len = strlen(name);
    return url.len > len && url.data[url.len - len - 1] == '/' && memcmp(url.data + url.len - len, name, len) == 0;
}

static void read_reason(const Google__Rpc__ErrorInfo *info, struct gx_details *out)
{
    static const enum gx_status all[] = {
#define VALUE(name, number, grpc, text) name,
        GX_STATUS_MAP(VALUE)
#undef VALUE
    };
    if (!equals(info->domain, DOMAIN))
        return;
    out->from_server = true; /* even where a newer server's reason is unknown: the code has given the status then */
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (all[i] != GX_OK && equals(info->reason, gx_status_name(all[i])))
            out->status = all[i];
}

static void read_delay(const Google__Rpc__RetryInfo *info, struct gx_details *out)
{
    const Google__Rpc__RetryInfo__Duration *d = info->retry_delay;
    if (d == NULL || d->seconds < 0 || d->nanos < 0)
        return;
    int64_t us = d->seconds > DELAY_MAX_US / 1000000 ? DELAY_MAX_US : d->seconds * 1000000 + d->nanos / 1000;
    out->retry_delay_us = us < DELAY_MAX_US ? us : DELAY_MAX_US;
}

static void read_any(const Google__Rpc__Any *any, struct gx_details *out)
{
    if (is_type(any->type_url, "google.rpc.ErrorInfo")) {
        Google__Rpc__ErrorInfo *info = google__rpc__error_info__unpack(NULL, any->value.len, any->value.data);
        if (info != NULL)
            read_reason(info, out);
        google__rpc__error_info__free_unpacked(info, NULL);
    } else if (is_type(any->type_url, "google.rpc.RetryInfo")) {
        Google__Rpc__RetryInfo *info = google__rpc__retry_info__unpack(NULL, any->value.len, any->value.data);
        if (info != NULL)
            read_delay(info, out);
        google__rpc__retry_info__free_unpacked(info, NULL);
    }
}

void gx_details_read(int grpc_code, const char *message, size_t message_len, const uint8_t *bin, size_t bin_len,
                     struct gx_details *out)
{
    *out = (struct gx_details){.status = of_code(grpc_code)};
    (void)snprintf(out->text, sizeof(out->text), "%.*s",
                   (int)(message_len < sizeof(out->text) ? message_len : sizeof(out->text)),
                   message_len > 0 ? message : "");
    if (grpc_code == 0)
        return;
    if (bin_len > 0 && bin_len <= DETAILS_LEN_MAX) {
        Google__Rpc__Status *status = google__rpc__status__unpack(NULL, bin_len, bin);
        for (size_t i = 0; status != NULL && i < status->n_details; i++)
            read_any(status->details[i], out);
        google__rpc__status__free_unpacked(status, NULL);
    }
    /* gRPC's own limit, at either end: no use in trying again. */
    if (grpc_code == 8 && !out->from_server && strstr(out->text, "larger than max") != NULL)
        out->status = GX_E_TOO_LARGE;
    if (out->text[0] == '\0')
        (void)snprintf(out->text, sizeof(out->text), "%s", gx_status_text(out->status));
}

bool gx_details_is_passing(enum gx_status status)
{
    return status == GX_E_BUSY || status == GX_E_UNAVAILABLE;
}
