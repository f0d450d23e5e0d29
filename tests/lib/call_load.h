/* Unary calls kept under way over one connection by one thread, so that the client costs as little as libgrpc lets it:
 * for measuring what a call costs the server. Not for correctness tests: a call that fails ends the process. */
#ifndef GX_CALL_LOAD_H
#define GX_CALL_LOAD_H

#include <stddef.h>
#include <stdint.h>

#define GX_CALL_LOAD_MAX  256 /* calls at a time */
#define GX_CALL_LOAD_RUNS 5

struct gx_call_load {
    const char *address, *path;
    const void *messages; /* [n_messages][len], sent as they are, in turn */
    size_t n_messages, len;
    unsigned n_at_a_time;       /* 1..GX_CALL_LOAD_MAX */
    int64_t warm_up_us, run_us; /* of each of the GX_CALL_LOAD_RUNS that follow upon each other */
    double (*cpu_s)(void);      /* CPU seconds that the server has used so far */
};

struct gx_call_load_figures {
    uint64_t n_calls; /* ended within the runs */
    double calls_per_s, p50_us, p99_us;
    /* Per call: of the median run, and of the best, which other load on the machine disturbed least. */
    double server_cpu_us, best_cpu_us;
    size_t reply_len;
};

/* Blocks for the warm-up and the runs. */
void gx_call_load_run(const struct gx_call_load *load, struct gx_call_load_figures *out);

#endif
