/* Linux's fair scheduler lets who runs go on for a turn of 3 ms unless who wakes has asked for shorter ones. On the way
 * of a write from the client's request to its acknowledgement half a dozen threads wake one another: on cores that
 * searches keep busy, each would wait that long. */
#include "thread.h"

#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TURN_NS 100000 /* the least there is */

/* struct sched_attr, of which glibc has no declaration. */
struct attributes {
    uint32_t size, policy; /* 0: SCHED_OTHER */
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime, deadline, period;
};

void gx_thread_be_prompt(void)
{
    struct attributes a = {.size = sizeof(a), .nice = getpriority(PRIO_PROCESS, 0), .runtime = TURN_NS};
    (void)syscall(SYS_sched_setattr, 0, &a, 0);
}
