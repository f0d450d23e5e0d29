#include "engine_hnsw_parallel.h"

#include <pthread.h>
#include <stdatomic.h>

struct job {
    gx_hnsw_share *share;
    void *arg;
    uint32_t n, grain;
    _Atomic uint64_t next;
};

struct helper {
    struct job *job;
    size_t number;
    pthread_t thread;
};

static void *run(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "indexd-build");
    const struct helper *helper = arg;
    struct job *job = helper->job;
    uint64_t from;
    while ((from = atomic_fetch_add_explicit(&job->next, job->grain, memory_order_relaxed)) < job->n)
        job->share(job->arg, helper->number, (uint32_t)from, (uint32_t)GX_MIN(from + job->grain, (uint64_t)job->n));
    return NULL;
}

size_t gx_engine_hnsw_parallel_threads(size_t threads, size_t n, size_t at_least)
{
    size_t useful = GX_MIN(n / at_least, (size_t)GX_HNSW_THREADS_MAX);
    return GX_MAX(GX_MIN(threads, useful), (size_t)1);
}

void gx_engine_hnsw_parallel(gx_hnsw_share *share, void *arg, size_t threads, uint32_t n, uint32_t grain)
{
    struct job job = {.share = share, .arg = arg, .n = n, .grain = grain};
    struct helper helpers[GX_HNSW_THREADS_MAX];
    size_t started = 1;
    assert(threads >= 1 && threads <= GX_HNSW_THREADS_MAX);
    for (; started < threads; started++) {
        helpers[started] = (struct helper){.job = &job, .number = started};
        if (pthread_create(&helpers[started].thread, NULL, run, &helpers[started]) != 0)
            break;
    }
    helpers[0] = (struct helper){.job = &job};
    run(&helpers[0]);
    for (size_t i = 1; i < started; i++)
        pthread_join(helpers[i].thread, NULL);
}
