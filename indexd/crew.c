/* One list of jobs, oldest first. Callers count as busy cores; a helper goes to the oldest job while there is a core
 * that nobody uses, and leaves between two parts when callers need all of them. Jobs aside do not count, and get
 * helpers only while there are no others: a helper without work looks for that from time to time, not whenever a caller
 * is done, since the next one mostly comes at once. What can go wrong: no helpers (none were started, all are
 * elsewhere): the caller does everything alone. */
#include "crew.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#define CALLER  ((uint64_t)1) /* as a member */
#define LOOK_NS 20000000

struct job {
    struct job *next;
    gx_crew_work *work;
    void *arg;
    size_t n_parts;
    atomic_size_t next_part;
    bool aside;
    uint64_t members; /* who is at it, a bit each; guarded by lock */
    pthread_cond_t left;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t threads[GX_CREW_MAX];
    size_t cores, n_threads;
    struct job *jobs;
    atomic_size_t n_callers, n_helping; /* changed under lock, read without */
    bool stopping;
} crew = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};

static bool has_idle_core(void)
{
    return atomic_load(&crew.n_callers) + atomic_load(&crew.n_helping) < crew.cores;
}

static bool has_room(const struct job *job)
{
    size_t n_members = GX_MIN(crew.cores, (size_t)GX_CREW_MAX);
    return (size_t)__builtin_popcountll(job->members) < n_members && atomic_load(&job->next_part) < job->n_parts;
}

/* The oldest job that has parts left and room for another member. */
static struct job *find_job(bool aside)
{
    for (struct job *job = crew.jobs; job != NULL; job = job->next)
        if (job->aside == aside && has_room(job))
            return job;
    return NULL;
}

/* The job that this helper may take now. */
static struct job *choose_job(void)
{
    struct job *job = has_idle_core() ? find_job(false) : NULL;
    return job == NULL && atomic_load(&crew.n_callers) == 0 ? find_job(true) : job;
}

static bool may_stay(const struct job *job)
{
    size_t n_callers = atomic_load(&crew.n_callers);
    return job->aside ? n_callers == 0 : n_callers + atomic_load(&crew.n_helping) <= crew.cores;
}

static void help(struct job *job, size_t member)
{
    size_t part;
    while (may_stay(job) && (part = atomic_fetch_add(&job->next_part, 1)) < job->n_parts)
        job->work(job->arg, member, part);
}

static void wait_for_job(void)
{
    struct timespec until;
    if (find_job(true) == NULL) {
        pthread_cond_wait(&crew.wake, &crew.lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LOOK_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_clockwait(&crew.wake, &crew.lock, CLOCK_MONOTONIC, &until);
}

static void *serve(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "indexd-crew");
    (void)arg;
    pthread_mutex_lock(&crew.lock);
    while (!crew.stopping) {
        struct job *job = choose_job();
        if (job == NULL) {
            wait_for_job();
            continue;
        }
        uint64_t me = ~job->members & (job->members + 1); /* the first that is free */
        job->members |= me;
        atomic_fetch_add(&crew.n_helping, 1);
        pthread_mutex_unlock(&crew.lock);
        help(job, (size_t)__builtin_ctzll(me));
        pthread_mutex_lock(&crew.lock);
        atomic_fetch_sub(&crew.n_helping, 1);
        job->members &= ~me;
        if (job->members == CALLER)
            pthread_cond_signal(&job->left);
    }
    pthread_mutex_unlock(&crew.lock);
    return NULL;
}

enum gx_status gx_crew_start(size_t cores, struct gx_err *err)
{
    assert(crew.n_threads == 0);
    crew.cores = GX_MIN(cores, (size_t)GX_CREW_MAX);
    crew.stopping = false;
    while (crew.n_threads + 1 < crew.cores) {
        int e = pthread_create(&crew.threads[crew.n_threads], NULL, serve, NULL);
        if (e != 0) {
            gx_crew_stop();
            return gx_err_errno(err, e, "start a helping thread");
        }
        crew.n_threads++;
    }
    return GX_OK;
}

void gx_crew_stop(void)
{
    pthread_mutex_lock(&crew.lock);
    crew.stopping = true;
    pthread_cond_broadcast(&crew.wake);
    pthread_mutex_unlock(&crew.lock);
    for (size_t i = 0; i < crew.n_threads; i++)
        pthread_join(crew.threads[i], NULL);
    crew.n_threads = 0;
}

size_t gx_crew_members(void)
{
    return crew.n_threads + 1;
}

static void post(struct job *job)
{
    struct job **end = &crew.jobs;
    pthread_mutex_lock(&crew.lock);
    atomic_fetch_add(&crew.n_callers, !job->aside);
    while (*end != NULL)
        end = &(*end)->next;
    *end = job;
    if (job->aside || has_idle_core()) /* who finds nothing to do for a job aside now looks again later */
        pthread_cond_broadcast(&crew.wake);
    pthread_mutex_unlock(&crew.lock);
}

static void take_back(struct job *job)
{
    struct job **at = &crew.jobs;
    pthread_mutex_lock(&crew.lock);
    while (*at != job)
        at = &(*at)->next;
    *at = job->next;
    while (job->members != CALLER)
        pthread_cond_wait(&job->left, &crew.lock);
    atomic_fetch_sub(&crew.n_callers, !job->aside);
    if (find_job(false) != NULL)
        pthread_cond_broadcast(&crew.wake);
    pthread_mutex_unlock(&crew.lock);
}

static void run(gx_crew_work *work, void *arg, size_t n_parts, bool aside)
{
    struct job job = {.work = work,
                      .arg = arg,
                      .n_parts = n_parts,
                      .aside = aside,
                      .members = CALLER,
                      .left = PTHREAD_COND_INITIALIZER};
    bool alone = crew.n_threads == 0 || n_parts < 2;
    if (!alone)
        post(&job);
    for (size_t part; (part = atomic_fetch_add(&job.next_part, 1)) < n_parts;)
        work(arg, 0, part);
    if (!alone)
        take_back(&job);
    pthread_cond_destroy(&job.left);
}

void gx_crew_run(gx_crew_work *work, void *arg, size_t n_parts)
{
    run(work, arg, n_parts, false);
}

void gx_crew_run_aside(gx_crew_work *work, void *arg, size_t n_parts)
{
    run(work, arg, n_parts, true);
}
