#include "rpc_private.h"

#include <dlfcn.h>
#include <grpc/compression.h>
#include <grpc/support/log.h>

#include "clock.h"
#include "log.h"

#define VERSION       "29." /* of the core: gRPC 1.51. Its C interface is private and changes between minor versions */
#define MEMORY_MAX    ((size_t)1 << 30) /* what libgrpc may hold for connections and unread messages */
#define LOG_LINES_MAX 10                /* a second, of libgrpc's */
#define MINUTES_MS(n) ((n)*60 * 1000)
#define SECONDS_MS(n) ((n)*1000)

bool gx_rpc_core_pace(struct gx_rpc_pace *pace, uint64_t max, uint64_t *out_skipped)
{
    int_fast64_t second = gx_clock_monotonic_us() / 1000000, last = atomic_load(&pace->second);
    if (second != last && atomic_compare_exchange_strong(&pace->second, &last, second))
        atomic_store(&pace->n_written, 0);
    if (atomic_fetch_add(&pace->n_written, 1) >= max) {
        (void)atomic_fetch_add(&pace->n_skipped, 1);
        return false;
    }
    *out_skipped = atomic_exchange(&pace->n_skipped, 0);
    return true;
}

static enum gx_log_level level_of(gpr_log_severity severity)
{
    switch (severity) {
    case GPR_LOG_SEVERITY_DEBUG: return GX_LOG_DEBUG;
    case GPR_LOG_SEVERITY_INFO: return GX_LOG_INFO;
    case GPR_LOG_SEVERITY_ERROR: return GX_LOG_WARN; /* mostly a peer's misbehaviour, such as a failed handshake */
    }
    return GX_LOG_WARN;
}

/* A port scanner makes one line a connection, so there is a limit; the reason of an abort always gets through. */
static void write_log(gpr_log_func_args *args)
{
    static struct gx_rpc_pace pace;
    uint64_t skipped = 0;
    bool fatal = strstr(args->message, "assertion failed") != NULL;
    if (!fatal && !gx_rpc_core_pace(&pace, LOG_LINES_MAX, &skipped))
        return;
    const char *slash = strrchr(args->file, '/');
    gx_log_line(fatal ? GX_LOG_ERROR : level_of(args->severity), "grpc", "at=%s:%d skipped=%llu text=\"%s\"",
                slash == NULL ? args->file : slash + 1, args->line, (unsigned long long)skipped, args->message);
}

/* Debian builds abseil without NDEBUG: every lock of libgrpc then goes through one process-wide graph, and a false
 * positive in it ends the process. There is no C interface, hence the mangled name. */
static void stop_deadlock_detector(void)
{
    void *symbol = dlsym(RTLD_DEFAULT, "_ZN4absl7debian329SetMutexDeadlockDetectionModeENS0_15OnDeadlockCycleE");
    void (*set_mode)(int);
    if (symbol == NULL) {
        gx_log_warn("deadlock_detector_left_on", "reason=\"abseil is not Debian's 20220623\"");
        return;
    }
    memcpy(&set_mode, &symbol, sizeof(set_mode));
    set_mode(0); /* OnDeadlockCycle::kIgnore */
}

void gx_rpc_core_tame(void)
{
    gpr_set_log_function(write_log);
    stop_deadlock_detector();
}

enum gx_status gx_rpc_core_check(struct gx_err *err)
{
    const char *version = grpc_version_string();
    if (strncmp(version, VERSION, strlen(VERSION)) != 0)
        return gx_fail(err, GX_E_STATE, "libgrpc has core version %s, this server needs " VERSION "x: use Debian 12's",
                       version);
    return GX_OK;
}

grpc_server *gx_rpc_core_server(const struct gx_rpc_options *options)
{
    grpc_resource_quota *quota = grpc_resource_quota_create("indexd");
    grpc_resource_quota_resize(quota, MEMORY_MAX);
    /* No compression: libgrpc unpacks a message whole before it looks at its size, so 16 MiB of gzip become 16 GiB of
     * memory. Such a request is answered UNIMPLEMENTED; embeddings hardly compress.
     * No GRPC_ARG_MAX_CONNECTION_AGE: it would cut long imports, and only clients with certificates need to prove
     * themselves anew. */
    const struct {
        const char *key;
        int value;
    } numbers[] = {
        {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)GX_MESSAGE_MAX},
        {GRPC_ARG_MAX_SEND_MESSAGE_LENGTH, (int)GX_RPC_REPLY_MAX},
        {GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1 << GRPC_COMPRESS_NONE},
        {GRPC_ARG_ENABLE_PER_MESSAGE_DECOMPRESSION, 0},
        {GRPC_ARG_ENABLE_PER_MESSAGE_COMPRESSION, 0}, /* nor of replies: the filter for it costs 0.5 us a call */
        {GRPC_ARG_MAX_METADATA_SIZE, GX_RPC_METADATA_MAX},
        {GRPC_ARG_MAX_CONCURRENT_STREAMS, (int)GX_MIN(options->streams_max, (uint32_t)INT32_MAX)},
        {GRPC_ARG_KEEPALIVE_TIME_MS, SECONDS_MS(60)},
        {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, SECONDS_MS(20)},
        {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
        {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, SECONDS_MS(10)},
        {GRPC_ARG_HTTP2_MAX_PING_STRIKES, 2},
        {GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, SECONDS_MS(10)},
        {GRPC_ARG_MAX_CONNECTION_IDLE_MS, MINUTES_MS(30)},
        {GRPC_ARG_ENABLE_CHANNELZ, 0},
        {GRPC_ARG_ALLOW_REUSEPORT, 0}, /* else a second server shares the port in silence */
    };
    grpc_arg args[GX_COUNT_OF(numbers) + 1];
    for (size_t i = 0; i < GX_COUNT_OF(numbers); i++) {
        args[i] = (grpc_arg){.type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)numbers[i].key};
        args[i].value.integer = numbers[i].value;
    }
    args[GX_COUNT_OF(numbers)] =
        (grpc_arg){.type = GRPC_ARG_POINTER, .key = (char *)(uintptr_t)GRPC_ARG_RESOURCE_QUOTA};
    args[GX_COUNT_OF(numbers)].value.pointer.p = quota;
    args[GX_COUNT_OF(numbers)].value.pointer.vtable = grpc_resource_quota_arg_vtable();
    grpc_server *server = grpc_server_create(&(grpc_channel_args){GX_COUNT_OF(args), args}, NULL);
    grpc_resource_quota_unref(quota);
    return server;
}
