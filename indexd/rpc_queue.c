/* A bounded queue and its workers: first come, first served; a worker runs a message to its end. */
#include "rpc_private.h"

#include <stdlib.h>

#include "log.h"
#include "thread.h"

bool gx_rpc_queue_push(struct gx_rpc_queue *queue, struct gx_call *call, bool forced)
{
    call->next = NULL;
    (void)pthread_mutex_lock(&queue->lock);
    bool room = forced || queue->len < queue->max;
    if (room) {
        if (queue->tail != NULL)
            queue->tail->next = call;
        else
            queue->head = call;
        queue->tail = call;
        (void)atomic_fetch_add(&queue->len, 1);
    }
    bool wake = room && queue->n_idle > 0;
    (void)pthread_mutex_unlock(&queue->lock);
    if (wake)
        (void)pthread_cond_signal(&queue->filled);
    return room;
}

/* The next call; NULL: stopping and empty. */
static struct gx_call *pop(struct gx_rpc_queue *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    while (queue->head == NULL && !queue->stopping) {
        queue->n_idle++;
        (void)pthread_cond_wait(&queue->filled, &queue->lock);
        queue->n_idle--;
    }
    struct gx_call *call = queue->head;
    if (call != NULL) {
        queue->head = call->next;
        if (queue->head == NULL)
            queue->tail = NULL;
        (void)atomic_fetch_sub(&queue->len, 1);
    }
    (void)pthread_mutex_unlock(&queue->lock);
    return call;
}

static void *work(void *arg)
{
    struct gx_rpc_queue *queue = arg;
    (void)pthread_setname_np(pthread_self(), queue->prompt ? "indexd-clerk" : "indexd-worker");
    if (queue->prompt)
        gx_thread_be_prompt();
    if (queue->thread_begin != NULL)
        queue->thread_begin();
    struct gx_call *call;
    while ((call = pop(queue)) != NULL)
        gx_rpc_call_run(call);
    return NULL;
}

enum gx_status gx_rpc_queue_start(struct gx_rpc_queue *queue, unsigned n_workers, struct gx_err *err)
{
    queue->workers = calloc(n_workers, sizeof(*queue->workers));
    if (queue->workers == NULL)
        return gx_fail(err, GX_E_NOMEM, "no memory for %u workers: lower their number", n_workers);
    for (; queue->n_workers < n_workers; queue->n_workers++) {
        int e = pthread_create(&queue->workers[queue->n_workers], NULL, work, queue);
        if (e != 0)
            return gx_err_errno(err, e, "cannot start worker %u: lower their number", queue->n_workers + 1);
    }
    return GX_OK;
}

void gx_rpc_queue_stop(struct gx_rpc_queue *queue)
{
    (void)pthread_mutex_lock(&queue->lock);
    queue->stopping = true;
    (void)pthread_cond_broadcast(&queue->filled);
    (void)pthread_mutex_unlock(&queue->lock);
    for (unsigned i = 0; i < queue->n_workers; i++)
        (void)pthread_join(queue->workers[i], NULL);
    queue->n_workers = 0;
    free(queue->workers);
    queue->workers = NULL;
}

size_t gx_rpc_queue_length(struct gx_rpc_queue *queue)
{
    return atomic_load(&queue->len);
}
