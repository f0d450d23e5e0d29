/* Where the server listens. Plaintext reaches nobody but this machine: loopback, and unix sockets that only the owner
 * may open. What would listen on a network needs credentials, which are chosen in open_port.
 *
 * What can go wrong: the address is malformed or not local (refused before anything is opened); the port is taken
 * (libgrpc says only that it failed, so the reason is found by trying once more by hand); a unix socket is there
 * already: libgrpc would unlink it even under a running server, so a socket that somebody answers on is left alone. */
#include "rpc_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grpc/grpc_security.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* One parsed address. */
struct place {
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    } addr;
    socklen_t addr_len;
    char text[GX_RPC_ADDRESS_MAX]; /* numeric, as libgrpc takes it; without a port's number for unix sockets */
};

static bool parse_port(const char *text, in_port_t *out_port)
{
    char *end;
    if (text[0] < '0' || text[0] > '9')
        return false;
    unsigned long n = strtoul(text, &end, 10);
    *out_port = (in_port_t)n;
    return *end == '\0' && end - text <= 5 && n <= UINT16_MAX;
}

static enum gx_status parse_unix(const char *path, struct place *place, struct gx_err *err)
{
    struct sockaddr_un *un = &place->addr.un;
    if (path[0] != '/')
        return gx_fail(err, GX_E_INVALID, "listen: a unix socket needs an absolute path: write unix:/path");
    if (strlen(path) >= sizeof(un->sun_path))
        return gx_fail(err, GX_E_INVALID,
                       "listen: the path of a unix socket has at most %zu bytes: choose a shorter one",
                       sizeof(un->sun_path) - 1);
    for (const char *c = path; *c != '\0'; c++) { /* libgrpc reads the path as part of a URI */
        if (*c <= 0x20 || *c >= 0x7f || strchr("%?#", *c) != NULL)
            return gx_fail(err, GX_E_INVALID,
                           "listen: the path of a unix socket is plain ASCII without blanks, %%, ? and #");
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, path, strlen(path) + 1);
    place->addr_len = sizeof(*un);
    (void)snprintf(place->text, sizeof(place->text), "unix:%s", path);
    return GX_OK;
}

/* Is it this machine only? */
static bool is_loopback(const struct place *place)
{
    if (place->addr.any.sa_family == AF_INET)
        return ntohl(place->addr.v4.sin_addr.s_addr) >> 24 == 127;
    return IN6_IS_ADDR_LOOPBACK(&place->addr.v6.sin6_addr) != 0;
}

/* "HOST:PORT", "[V6]:PORT" */
static enum gx_status parse_inet(const char *listen, struct place *place, struct gx_err *err)
{
    char host[INET6_ADDRSTRLEN + 1];
    const char *colon = strrchr(listen, ':'), *first = listen;
    size_t host_len = colon == NULL ? 0 : (size_t)(colon - listen);
    bool brackets = host_len >= 2 && listen[0] == '[' && listen[host_len - 1] == ']';
    if (brackets) {
        first++;
        host_len -= 2;
    }
    in_port_t port;
    if (host_len == 0 || host_len >= sizeof(host) || !parse_port(colon + 1, &port))
        return gx_fail(err, GX_E_INVALID,
                       "listen: not an address: write 127.0.0.1:7600, [::1]:7600, localhost:7600 or unix:/path");
    memcpy(host, first, host_len);
    host[host_len] = '\0';
    if (strcmp(host, "localhost") == 0)
        memcpy(host, "127.0.0.1", sizeof("127.0.0.1"));
    if (brackets && inet_pton(AF_INET6, host, &place->addr.v6.sin6_addr) == 1) {
        place->addr.v6.sin6_family = AF_INET6;
        place->addr.v6.sin6_port = htons(port);
        place->addr_len = sizeof(place->addr.v6);
    } else if (!brackets && inet_pton(AF_INET, host, &place->addr.v4.sin_addr) == 1) {
        place->addr.v4.sin_family = AF_INET;
        place->addr.v4.sin_port = htons(port);
        place->addr_len = sizeof(place->addr.v4);
    } else {
        return gx_fail(err, GX_E_INVALID,
                       "listen: hosts are numeric, [in brackets] for IPv6: write 127.0.0.1:7600 or [::1]:7600");
    }
    (void)snprintf(place->text, sizeof(place->text), brackets ? "[%s]:%u" : "%s:%u", host, port);
    return GX_OK;
}

static enum gx_status parse(const char *listen, struct place *place, struct gx_err *err)
{
    *place = (struct place){0};
    if (strncmp(listen, "unix:", 5) == 0)
        return parse_unix(listen + 5, place, err);
    GX_TRY(parse_inet(listen, place, err));
    if (!is_loopback(place))
        return gx_fail(err, GX_E_INVALID,
                       "listen: plaintext is served on this machine only: use 127.0.0.1, [::1] or unix:/path");
    return GX_OK;
}

/* A unix socket that a server answers on is in use; one that nobody does is a leftover of a crash. */
static enum gx_status check_unix(const struct place *place, struct gx_err *err)
{
    struct stat st;
    if (lstat(place->addr.un.sun_path, &st) != 0)
        return GX_OK;
    if (!S_ISSOCK(st.st_mode))
        return gx_fail(err, GX_E_IN_USE, "listen: the path is taken by a file that is no socket: choose another path");
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return gx_err_errno(err, errno, "listen: cannot open a socket");
    int rc = connect(fd, &place->addr.any, place->addr_len), e = errno;
    (void)close(fd);
    if (rc == 0 || e == EAGAIN)
        return gx_fail(err, GX_E_IN_USE,
                       "listen: another server answers on that unix socket: stop it or choose another");
    return GX_OK;
}

/* Why libgrpc could not listen. */
static enum gx_status explain(const struct place *place, struct gx_err *err)
{
    int fd = socket(place->addr.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, e = 0;
    if (fd < 0)
        return gx_err_errno(err, errno, "cannot listen on %s", place->text);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fd, &place->addr.any, place->addr_len) != 0 || listen(fd, 1) != 0)
        e = errno;
    (void)close(fd);
    if (e == 0 && place->addr.any.sa_family == AF_UNIX)
        (void)unlink(place->addr.un.sun_path);
    if (e == EADDRINUSE || e == 0) /* 0: it has become free since */
        return gx_fail(err, GX_E_IN_USE, "cannot listen on %s: another server has it: stop that one or choose another",
                       place->text);
    if (e == EADDRNOTAVAIL || e == EACCES || e == ENOENT)
        return gx_fail(err, GX_E_INVALID, "cannot listen on %s: %s: choose another", place->text, strerror(e));
    return gx_err_errno(err, e, "cannot listen on %s", place->text);
}

/* The one place that opens a port and chooses its credentials. */
static int open_port(grpc_server *server, const struct place *place)
{
    grpc_server_credentials *credentials = grpc_insecure_server_credentials_create();
    mode_t mask = umask(0077); /* a unix socket is for its owner */
    int port = grpc_server_add_http2_port(server, place->text, credentials);
    (void)umask(mask);
    grpc_server_credentials_release(credentials);
    return port;
}

enum gx_status gx_rpc_listen_open(grpc_server *server, const char *listen, char *out_address, struct gx_err *err)
{
    struct place place;
    GX_TRY(parse(listen, &place, err));
    bool local = place.addr.any.sa_family == AF_UNIX;
    if (local)
        GX_TRY(check_unix(&place, err));
    int port = open_port(server, &place);
    if (port <= 0)
        return explain(&place, err);
    size_t len = strlen(place.text);
    if (!local)
        len = (size_t)(strrchr(place.text, ':') - place.text);
    memcpy(out_address, place.text, len);
    if (local)
        out_address[len] = '\0';
    else
        (void)snprintf(out_address + len, GX_RPC_ADDRESS_MAX - len, ":%d", port);
    return GX_OK;
}
