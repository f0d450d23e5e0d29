/* Opening and closing; health. */
#include "message_private.h"

#include <stdlib.h>
#include <string.h>

#include "grpc/health/v1/health.pb-c.h"

#ifndef GX_VERSION
#define GX_VERSION "unknown" /* not built by the Makefile */
#endif

#define SERVER_LEN_MAX 1024
#define RETRIES_MAX    10

/* ---------------------------------------------------------------- open, close */

/* "HOST:PORT" with a port in digits, or "unix:PATH". */
static bool is_server(const char *server)
{
    size_t len = strnlen(server, SERVER_LEN_MAX + 1);
    if (len > SERVER_LEN_MAX)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)server[i] <= ' ' || server[i] == 0x7f)
            return false;
    if (strncmp(server, "unix:", 5) == 0)
        return server[5] != '\0';
    const char *colon = strrchr(server, ':');
    if (colon == NULL || colon == server || strchr(server, '/') != NULL)
        return false;
    if (server[0] != '[' && strchr(server, ':') != colon)
        return false; /* an IPv6 address wants brackets */
    size_t digits = strspn(colon + 1, "0123456789");
    return digits >= 1 && digits <= 5 && colon[1 + digits] == '\0' && strtol(colon + 1, NULL, 10) <= 65535;
}

static enum gx_status check_options(const struct gx_client_options *o)
{
    if (o->server != NULL && !is_server(o->server))
        return gx_error_set(GX_E_INVALID, "'%.80s' is no server address: say HOST:PORT, [IPV6]:PORT or unix:/path",
                            o->server);
    if (o->deadline_us < 0 || o->deadline_us > GX_CLIENT_DEADLINE_MAX)
        return gx_error_set(GX_E_INVALID, "the deadline is out of range: 1 us to 7 days");
    if (o->retries < -1 || o->retries > RETRIES_MAX)
        return gx_error_set(GX_E_INVALID, "the number of retries is out of range: -1 (none) to %d", RETRIES_MAX);
    return GX_OK;
}

enum gx_status gx_client_open(const struct gx_client_options *options, gx_client **out)
{
    static const struct gx_client_options defaults;
    const struct gx_client_options *o = options != NULL ? options : &defaults;
    gx_error_clear();
    *out = NULL;
    enum gx_status status = check_options(o);
    if (status != GX_OK)
        return status;
    gx_client *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return gx_message_no_memory();
    c->deadline_us = o->deadline_us != 0 ? o->deadline_us : GX_CLIENT_DEADLINE_US;
    c->retries = o->retries > 0 ? (unsigned)o->retries : o->retries == 0 ? GX_CLIENT_RETRIES : 0;
    c->resume = o->retries >= 0;
    status = gx_call_channel_open(o->server != NULL ? o->server : GX_CLIENT_SERVER, &c->channel);
    if (status != GX_OK) {
        free(c);
        return status;
    }
    *out = c;
    return GX_OK;
}

void gx_client_close(gx_client *client)
{
    if (client == NULL)
        return;
    gx_call_channel_close(client->channel);
    free(client);
}

const char *gx_client_error(void)
{
    return gx_error_text();
}

const char *gx_client_version(void)
{
    return GX_VERSION;
}

/* ---------------------------------------------------------------- health */

enum gx_status gx_client_health(gx_client *client, const char *service, int *out_state)
{
    gx_error_clear();
    *out_state = 0;
    Grpc__Health__V1__HealthCheckRequest request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    request.service = gx_message_bytes(service);
    struct gx_bump mem;
    ProtobufCMessage *reply;
    enum gx_status status = gx_message_call(client, "/grpc.health.v1.Health/Check", &request.base, true,
                                            &grpc__health__v1__health_check_response__descriptor, &mem, &reply);
    if (status == GX_E_NOT_FOUND) { /* a state like the others */
        gx_error_clear();
        return GX_OK;
    }
    if (status != GX_OK)
        return status;
    const Grpc__Health__V1__HealthCheckResponse *response = (const Grpc__Health__V1__HealthCheckResponse *)reply;
    if (response->status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING)
        *out_state = 1;
    else if (response->status == GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING)
        *out_state = 2;
    gx_bump_fini(&mem);
    return GX_OK;
}
