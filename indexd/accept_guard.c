/* The path of a connection: accept4 of the kernel -> known descriptor numbers are forgotten (their owner closed them)
 * -> under the cap it is noted and handed to libgrpc, over the cap it is closed and the next one is taken.
 *
 * What can go wrong: no descriptor is free (EMFILE, ENFILE): the one held in reserve is given up for a moment, the
 * waiting connection is taken with it and closed, so the backlog empties and clients see a closed connection instead of
 * a dead port; no reserve either, or memory is short: a pause of a millisecond, then ECONNABORTED, on which libgrpc
 * goes on listening. Nobody tells us of a close, so connections are counted too high until the sweep looks at each. */
#include "accept_guard.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "log.h"

#define SWEEP_EVERY_US 100000  /* at the cap a sweep looks at every connection: not for each newcomer */
#define WARN_EVERY_US  1000000 /* one line a second is enough to know */

/* A socket's inode is its own as long as it is open: a descriptor number alone may long be somebody else's. */
struct connection {
    int fd;
    dev_t dev;
    ino_t ino;
};

static struct {
    pthread_mutex_t lock; /* guards: all fields */
    struct connection *open;
    size_t n_open, max; /* max 0 = not counted */
    unsigned n_users;
    int64_t swept_us, warned_us;
} guard = {.lock = PTHREAD_MUTEX_INITIALIZER};

static atomic_int reserve = -1; /* an open descriptor to give up when none is free */
static atomic_uint_fast64_t n_refused;

int accept4(int fd, struct sockaddr *restrict address, socklen_t *restrict address_len, int flags)
    __attribute__((visibility("default")));

static void refill_reserve(void)
{
    if (atomic_load(&reserve) >= 0)
        return;
    int none = -1, fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && !atomic_compare_exchange_strong(&reserve, &none, fd))
        (void)close(fd);
}

/* Is @c still the connection that was accepted? */
static bool is_open(const struct connection *c)
{
    struct stat st;
    return fstat(c->fd, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_dev == c->dev && st.st_ino == c->ino;
}

static void sweep(void)
{
    size_t kept = 0;
    for (size_t i = 0; i < guard.n_open; i++) {
        if (is_open(&guard.open[i]))
            guard.open[kept++] = guard.open[i];
    }
    guard.n_open = kept;
}

/* The entry of @fd; a new one while there is room; NULL at the cap. */
static struct connection *find_place(int fd)
{
    for (size_t i = 0; i < guard.n_open; i++) {
        if (guard.open[i].fd == fd)
            return &guard.open[i]; /* the kernel gave the number out again, so the old connection is closed */
    }
    if (guard.n_open >= guard.max) {
        int64_t now_us = gx_clock_monotonic_us();
        if (now_us - guard.swept_us >= SWEEP_EVERY_US) {
            guard.swept_us = now_us;
            sweep();
        }
    }
    return guard.n_open < guard.max ? &guard.open[guard.n_open++] : NULL;
}

/* Notes the accepted @fd; false: one too many. */
static bool note_connection(int fd)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return true;
    (void)pthread_mutex_lock(&guard.lock);
    bool counted = guard.max > 0;
    struct connection *place = counted ? find_place(fd) : NULL;
    if (place != NULL)
        *place = (struct connection){fd, st.st_dev, st.st_ino};
    (void)pthread_mutex_unlock(&guard.lock);
    return !counted || place != NULL;
}

static void count_refused(const char *reason)
{
    uint64_t n = atomic_fetch_add(&n_refused, 1) + 1;
    int64_t now_us = gx_clock_monotonic_us();
    (void)pthread_mutex_lock(&guard.lock);
    bool say = guard.warned_us == 0 || now_us - guard.warned_us >= WARN_EVERY_US;
    if (say)
        guard.warned_us = now_us;
    (void)pthread_mutex_unlock(&guard.lock);
    if (say)
        gx_log_warn("connection_refused", "reason=%s total=%llu", reason, (unsigned long long)n);
}

/* No descriptor is free: takes the waiting connection with the reserve and closes it. 1: done, 0: none waits,
 * -1: not possible now. */
static int shed_one(int listener)
{
    int fd = atomic_exchange(&reserve, -1);
    if (fd < 0)
        return -1;
    (void)close(fd);
    int waiting = (int)syscall(SYS_accept4, listener, NULL, NULL, SOCK_CLOEXEC);
    int shed = waiting >= 0 ? 1 : errno == EAGAIN ? 0 : -1;
    if (waiting >= 0)
        (void)close(waiting);
    refill_reserve();
    if (shed == 1)
        count_refused("no_free_descriptor");
    return shed;
}

int accept4(int fd, struct sockaddr *restrict address, socklen_t *restrict address_len, int flags)
{
    refill_reserve();
    for (;;) {
        int accepted = (int)syscall(SYS_accept4, fd, address, address_len, flags);
        if (accepted >= 0 && note_connection(accepted))
            return accepted;
        if (accepted >= 0) {
            count_refused("connections_max");
            (void)close(accepted);
            continue;
        }
        if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
            return -1;
        int shed = errno == EMFILE || errno == ENFILE ? shed_one(fd) : -1;
        if (shed == 1)
            continue;
        if (shed == -1)
            (void)nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        errno = shed == 0 ? EAGAIN : ECONNABORTED;
        return -1;
    }
}

enum gx_status gx_accept_guard_begin(size_t connections_max, struct gx_err *err)
{
    int (*own)(int, struct sockaddr *restrict, socklen_t *restrict, int) = accept4;
    void *seen = dlsym(RTLD_DEFAULT, "accept4");
    if (memcmp(&own, &seen, sizeof(seen)) != 0)
        return gx_fail(err, GX_E_INTERNAL,
                       "accept4 is not in the dynamic table of the program: link it with default visibility");
    struct connection *table = calloc(connections_max, sizeof(*table));
    if (table == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for a table of %zu connections: lower the cap", connections_max);
    refill_reserve();
    (void)pthread_mutex_lock(&guard.lock);
    guard.n_open = GX_MIN(guard.n_open, connections_max);
    if (guard.n_open > 0)
        memcpy(table, guard.open, guard.n_open * sizeof(*table));
    free(guard.open);
    guard.open = table;
    guard.max = connections_max;
    guard.n_users++;
    (void)pthread_mutex_unlock(&guard.lock);
    return GX_OK;
}

void gx_accept_guard_end(void)
{
    (void)pthread_mutex_lock(&guard.lock);
    if (guard.n_users > 0 && --guard.n_users == 0) {
        free(guard.open);
        guard.open = NULL;
        guard.n_open = guard.max = 0;
        int fd = atomic_exchange(&reserve, -1);
        if (fd >= 0)
            (void)close(fd);
    }
    (void)pthread_mutex_unlock(&guard.lock);
}

uint64_t gx_accept_guard_refused(void)
{
    return atomic_load(&n_refused);
}
