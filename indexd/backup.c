/* The thread that backups are made on, one at a time, and what keeps them and erasures clear of each other: while a
 * backup has links to the store's files nothing can be erased, so an erase run waits for it, or breaks it off when it
 * is due; and a backup waits for the end of the erase run. Between backups the thread tidies up what has expired. */
#include "backup_private.h"

#include <stdlib.h>
#include <time.h>

#include "clock.h"

#define TIDY_S 60

/* --- clear of erasures --- */

bool gx_backup_enter_erase(struct gx_galleries *galleries, int64_t due_us)
{
    struct gx_backups *b = galleries->backups;
    bool due = gx_clock_wall_us() >= due_us;
    pthread_mutex_lock(&b->lock);
    b->yield = b->yield || (due && b->linked);
    b->erasing = !b->linked && (due || !b->wanting);
    bool entered = b->erasing;
    b->n_held_up += !entered;
    pthread_mutex_unlock(&b->lock);
    return entered;
}

void gx_backup_leave_erase(struct gx_galleries *galleries)
{
    struct gx_backups *b = galleries->backups;
    pthread_mutex_lock(&b->lock);
    b->erasing = false;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
}

static void wait_for(struct gx_backups *b, int seconds)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += seconds;
    (void)pthread_cond_timedwait(&b->changed, &b->lock, &until);
}

enum gx_status gx_backup_may_go_on(struct gx_backup_job *job, struct gx_err *err)
{
    struct gx_backups *b = job->galleries->backups;
    pthread_mutex_lock(&b->lock);
    bool stopping = b->stopping || atomic_load(&job->galleries->stopping), yield = b->yield;
    pthread_mutex_unlock(&b->lock);
    if (yield)
        return gx_fail(err, GX_E_UNAVAILABLE, "an erasure must not wait any longer: start the backup again");
    if (stopping)
        return gx_fail(err, GX_E_UNAVAILABLE, "the server stops: start the backup again");
    if (job->in.stop != NULL && job->in.stop(job->in.arg))
        return gx_fail(err, GX_E_CANCELLED, "the backup was broken off");
    return GX_OK;
}

enum gx_status gx_backup_enter_links(struct gx_backup_job *job, struct gx_err *err)
{
    struct gx_backups *b = job->galleries->backups;
    for (;;) {
        GX_TRY(gx_backup_may_go_on(job, err));
        pthread_mutex_lock(&b->lock);
        b->wanting = b->erasing;
        b->linked = !b->erasing;
        if (b->erasing)
            wait_for(b, 1);
        bool linked = b->linked;
        pthread_mutex_unlock(&b->lock);
        if (linked)
            return GX_OK;
    }
}

void gx_backup_leave_links(struct gx_galleries *galleries)
{
    struct gx_backups *b = galleries->backups;
    pthread_mutex_lock(&b->lock);
    b->linked = b->wanting = b->yield = false;
    pthread_mutex_unlock(&b->lock);
    gx_keeper_wake(galleries);
}

/* --- the thread --- */

static void *run(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "indexd-backup");
    struct gx_galleries *galleries = arg;
    struct gx_backups *b = galleries->backups;
    pthread_mutex_lock(&b->lock);
    while (!b->stopping) {
        struct gx_backup_job *job = b->job;
        pthread_mutex_unlock(&b->lock);
        if (job != NULL)
            gx_backup_make_run(job);
        else
            gx_backup_tidy(galleries);
        pthread_mutex_lock(&b->lock);
        if (b->job == NULL && !b->stopping)
            wait_for(b, TIDY_S);
    }
    struct gx_backup_job *left = b->job;
    pthread_mutex_unlock(&b->lock);
    if (left != NULL)
        gx_backup_make_run(left); /* tells that the server stops */
    return NULL;
}

/* From GX_OK on the job is the thread's. */
static enum gx_status queue(struct gx_backups *b, struct gx_backup_job *job, struct gx_err *err)
{
    pthread_mutex_lock(&b->lock);
    bool busy = b->job != NULL, stopping = b->stopping;
    if (!busy && !stopping)
        b->job = job;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    if (stopping)
        return gx_fail(err, GX_E_UNAVAILABLE, "the server stops: start the backup again");
    return busy ? gx_fail(err, GX_E_STATE, "another backup is being made: wait for its end") : GX_OK;
}

void gx_backup_submit(struct gx_galleries *galleries, const struct gx_backup_in *in)
{
    struct gx_err err;
    struct gx_backup_job *job = NULL;
    enum gx_status status = gx_codec_check_text(in->directory, 1, GX_BACKUP_DIR_MAX, "the directory of a backup", &err);
    if (status == GX_OK) {
        job = calloc(1, sizeof(*job));
        if (job == NULL)
            status = gx_fail(&err, GX_E_NOMEM, "no memory to make a backup");
    }
    if (status == GX_OK) {
        job->galleries = galleries;
        job->in = *in;
        memcpy(job->asked, in->directory.data, in->directory.len);
        status = queue(galleries->backups, job, &err);
    }
    if (status == GX_OK)
        return;
    free(job);
    in->on_done(in->arg, NULL, &err);
}

enum gx_status gx_backup_open(struct gx_galleries *galleries, struct gx_err *err)
{
    struct gx_backups *b = calloc(1, sizeof(*b));
    if (b == NULL)
        return gx_fail(err, GX_E_NOMEM, "open the register of backups: out of memory");
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&b->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&b->files, NULL);
    pthread_mutex_init(&b->lock, NULL);
    galleries->backups = b;
    return gx_backup_count(galleries, &b->next, err);
}

enum gx_status gx_backup_run(struct gx_galleries *galleries, struct gx_err *err)
{
    int e = pthread_create(&galleries->backups->thread, NULL, run, galleries);
    galleries->backups->started = e == 0;
    return e == 0 ? GX_OK : gx_err_errno(err, e, "start the thread of backups");
}

void gx_backup_stop_all(struct gx_galleries *galleries)
{
    struct gx_backups *b = galleries->backups;
    if (b == NULL)
        return;
    pthread_mutex_lock(&b->lock);
    b->stopping = true;
    pthread_cond_broadcast(&b->changed);
    pthread_mutex_unlock(&b->lock);
    if (b->started)
        pthread_join(b->thread, NULL);
    b->started = false;
}

void gx_backup_free(struct gx_galleries *galleries)
{
    struct gx_backups *b = galleries->backups;
    if (b == NULL)
        return;
    pthread_cond_destroy(&b->changed);
    pthread_mutex_destroy(&b->lock);
    pthread_mutex_destroy(&b->files);
    free(b);
    galleries->backups = NULL;
}

void gx_backup_set_fault(struct gx_galleries *galleries, gx_backup_fault *fault, void *arg)
{
    struct gx_backups *b = galleries->backups;
    b->fault = fault;
    b->fault_arg = arg;
    b->n_steps = 0;
}
