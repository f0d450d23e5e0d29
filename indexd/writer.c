/* The ordered apply: every change of the store goes through one thread.
 *
 * The path: submit (any thread) -> queue -> prepare of each that waits, into one batch -> one synced commit -> publish
 * of each -> the epoch is visible -> done of each (the acknowledgement). So whatever waits shares one fsync, a change
 * is visible before it is acknowledged, and a later replicated log could feed the same queue.
 *
 * What can go wrong: a change that does not pass its checks is rolled back alone; a commit that fails, fails everything
 * that was combined (it is not visible now, and its rnos are never used again); no memory: likewise. A full disk: what
 * insists (an expungement) gets the ballast's room and is tried again for up to 10 s, while the others wait. */
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"
#include "failpoint.h"
#include "gallery_private.h"
#include "thread.h"

#define BATCH_BYTES_MAX ((size_t)8 << 20)
#define BATCH_MAX       4096
#define QUEUE_BYTES_MAX ((size_t)512 << 20)
#define ARENA_MAX       ((size_t)1 << 30)
#define INSIST_US       ((int64_t)10 * 1000000)

struct gx_writer {
    pthread_t thread;
    pthread_mutex_t lock; /* guards everything below */
    pthread_cond_t wake;
    struct gx_mutation *head, **tail;
    size_t n, bytes;
    bool stopping;
};

static void *run(void *arg);

enum gx_status gx_writer_start(struct gx_galleries *galleries, struct gx_err *err)
{
    struct gx_writer *w = calloc(1, sizeof(*w));
    if (w == NULL)
        return gx_fail(err, GX_E_NOMEM, "start the writer: out of memory");
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    w->tail = &w->head;
    galleries->writer = w;
    int e = pthread_create(&w->thread, NULL, run, galleries);
    if (e != 0) {
        galleries->writer = NULL;
        free(w);
        return gx_err_errno(err, e, "start the writer thread");
    }
    return GX_OK;
}

void gx_writer_stop(struct gx_galleries *galleries)
{
    struct gx_writer *w = galleries->writer;
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->lock);
    w->stopping = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    pthread_join(w->thread, NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w);
    galleries->writer = NULL;
}

enum gx_status gx_writer_submit(struct gx_galleries *galleries, struct gx_mutation *mutation, bool urgent,
                                struct gx_err *err)
{
    struct gx_writer *w = galleries->writer;
    size_t max = galleries->options.writer_queue_max;
    pthread_mutex_lock(&w->lock);
    enum gx_status status = GX_OK;
    if (w->stopping)
        status = gx_fail(err, GX_E_UNAVAILABLE, "the server is stopping: try again when it is back");
    else if (!urgent && (w->n >= max || w->bytes + mutation->bytes > QUEUE_BYTES_MAX))
        status = gx_fail(err, GX_E_BUSY, "%zu writes are waiting for the disk: try again in a moment", w->n);
    if (status == GX_OK) {
        mutation->next = NULL;
        *w->tail = mutation;
        w->tail = &mutation->next;
        w->n++;
        w->bytes += mutation->bytes;
        pthread_cond_signal(&w->wake);
    }
    pthread_mutex_unlock(&w->lock);
    return status;
}

/* Takes what belongs into one batch, in order; NULL when it is time to end. */
static struct gx_mutation *take(struct gx_writer *w)
{
    pthread_mutex_lock(&w->lock);
    while (w->head == NULL && !w->stopping)
        pthread_cond_wait(&w->wake, &w->lock);
    struct gx_mutation *first = w->head, *last = NULL;
    size_t n = 0, bytes = 0;
    for (struct gx_mutation *m = first; m != NULL; m = m->next) {
        if (n > 0 && (m->alone || n == BATCH_MAX || bytes + m->bytes > BATCH_BYTES_MAX))
            break;
        n++;
        bytes += m->bytes;
        last = m;
        if (m->alone)
            break;
    }
    if (last != NULL) {
        w->head = last->next;
        if (w->head == NULL)
            w->tail = &w->head;
        last->next = NULL;
        w->n -= n;
        w->bytes -= bytes;
    }
    pthread_mutex_unlock(&w->lock);
    return first;
}

/* Prepares each; returns whether there is something to commit. *out_failed: everything must fail with @err. */
static bool prepare_all(struct gx_galleries *galleries, struct gx_mutation *first, struct gx_store_batch *batch,
                        struct gx_arena *arena, uint64_t epoch, bool *out_failed, struct gx_err *err)
{
    bool changed = false;
    *out_failed = false;
    for (struct gx_mutation *m = first; m != NULL; m = m->next) {
        m->changed = false;
        gx_store_batch_mark(batch);
        m->outcome = m->prepare(m, galleries, batch, arena, epoch, &m->err);
        if (m->outcome == GX_OK) {
            gx_store_batch_release(batch);
            changed = changed || m->changed;
            continue;
        }
        gx_store_batch_rollback(batch);
        if (m->outcome != GX_E_NOMEM)
            continue;
        *out_failed = true;
        *err = m->err;
        if (m->retract != NULL)
            m->retract(m, galleries);
        for (m = m->next; m != NULL; m = m->next) {
            m->outcome = GX_E_NOMEM;
            m->err = *err;
        }
        return false;
    }
    return changed;
}

static void fail_all(struct gx_galleries *galleries, struct gx_mutation *first, const struct gx_err *err)
{
    for (struct gx_mutation *m = first; m != NULL; m = m->next) {
        if (m->outcome != GX_OK)
            continue;
        if (m->changed && m->retract != NULL)
            m->retract(m, galleries);
        m->outcome = err->status;
        m->err = *err;
    }
}

void gx_writer_put_counter(struct gx_store_batch *batch, struct gx_slice key, uint64_t value)
{
    uint8_t bytes[GX_COUNTER_LEN];
    gx_codec_counter_encode(value, bytes);
    gx_store_batch_put(batch, GX_CF_DEFAULT, key, (struct gx_slice){bytes, sizeof(bytes)});
}

/* Prepares and commits; *out_changed: there was something to commit. */
static enum gx_status write_all(struct gx_galleries *galleries, struct gx_mutation *first, struct gx_store_batch *batch,
                                struct gx_arena *arena, uint64_t epoch, bool *out_changed, struct gx_err *err)
{
    bool failed;
    *out_changed = prepare_all(galleries, first, batch, arena, epoch, &failed, err);
    if (!*out_changed)
        return failed ? err->status : GX_OK;
    gx_writer_put_counter(batch, gx_codec_key_epoch(), epoch);
    gx_writer_put_counter(batch, gx_codec_key_next_rno(), galleries->next_rno);
    gx_failpoint_pass("writer.before_commit");
    enum gx_status status = gx_store_commit(galleries->store, batch, err);
    gx_failpoint_pass("writer.after_commit");
    return status;
}

/* A change that insists has met a full disk: is it worth another attempt? RocksDB itself needs some 5 s until it writes
 * again. *until is 0 before the first. */
static bool wait_for_room(struct gx_galleries *galleries, int64_t *until)
{
    struct gx_writer *w = galleries->writer;
    int64_t now = gx_clock_monotonic_us();
    if (*until == 0)
        *until = now + INSIST_US;
    else
        nanosleep(&(struct timespec){0, 100000000}, NULL);
    pthread_mutex_lock(&w->lock);
    bool stopping = w->stopping;
    pthread_mutex_unlock(&w->lock);
    return !stopping && now < *until && gx_galleries_make_room(galleries);
}

static void apply(struct gx_galleries *galleries, struct gx_mutation *first, struct gx_store_batch *batch,
                  struct gx_arena *arena)
{
    uint64_t epoch = atomic_load(&galleries->epoch) + 1;
    struct gx_err err = {0};
    int64_t until = 0;
    bool changed;
    enum gx_status status;
    for (;;) {
        status = write_all(galleries, first, batch, arena, epoch, &changed, &err);
        bool full = status == GX_E_FULL || (status == GX_OK && first->outcome == GX_E_FULL);
        if (!full || !first->insists || !wait_for_room(galleries, &until))
            break;
        gx_store_batch_clear(batch);
        gx_arena_reset(arena);
    }
    if (status != GX_OK) {
        fail_all(galleries, first, &err);
    } else if (changed) {
        for (struct gx_mutation *m = first; m != NULL; m = m->next)
            if (m->outcome == GX_OK && m->changed)
                m->publish(m, galleries, epoch);
        atomic_store(&galleries->epoch, epoch);
    }
    for (struct gx_mutation *m = first, *next; m != NULL; m = next) {
        next = m->next;
        m->done(m, galleries);
    }
    gx_store_batch_clear(batch);
    gx_arena_reset(arena);
}

static void *run(void *arg)
{
    (void)pthread_setname_np(pthread_self(), "indexd-writer");
    gx_thread_be_prompt();
    struct gx_galleries *galleries = arg;
    struct gx_store_batch *batch = NULL;
    struct gx_arena arena;
    gx_arena_init(&arena, ARENA_MAX);
    for (;;) {
        struct gx_mutation *first = take(galleries->writer);
        if (first == NULL)
            break;
        struct gx_err err;
        if (batch == NULL && gx_store_batch_new(galleries->store, &batch, &err) != GX_OK) {
            for (struct gx_mutation *m = first, *next; m != NULL; m = next) {
                next = m->next;
                m->outcome = err.status;
                m->err = err;
                m->done(m, galleries);
            }
            continue;
        }
        apply(galleries, first, batch, &arena);
    }
    gx_store_batch_free(batch);
    gx_arena_fini(&arena);
    return NULL;
}

/* --- waiting for a mutation --- */

struct waiter {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool done;
};

static void wake_waiter(struct gx_mutation *mutation, struct gx_galleries *galleries)
{
    (void)galleries;
    struct waiter *w = mutation->waiter;
    pthread_mutex_lock(&w->lock);
    w->done = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

enum gx_status gx_writer_run(struct gx_galleries *galleries, struct gx_mutation *mutation, struct gx_err *err)
{
    struct waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER};
    mutation->waiter = &w;
    mutation->done = wake_waiter;
    GX_TRY(gx_writer_submit(galleries, mutation, true, err));
    pthread_mutex_lock(&w.lock);
    while (!w.done)
        pthread_cond_wait(&w.wake, &w.lock);
    pthread_mutex_unlock(&w.lock);
    if (mutation->outcome != GX_OK && err != NULL)
        *err = mutation->err;
    return mutation->outcome;
}

/* --- what mutations share --- */

enum gx_status gx_writer_request_key(struct gx_galleries *galleries, const struct gx_gallery *gallery,
                                     struct gx_slice request_id, struct gx_key *out, struct gx_err *err)
{
    char uuid[37];
    gx_keys_uuid_text(&gallery->meta.uuid, uuid);
    return gx_keys_hash(&galleries->secret, GX_ID_REQUEST, gx_slice_text(uuid), request_id, out, err);
}

enum gx_status gx_writer_recall(struct gx_store_batch *batch, const struct gx_key *request,
                                const struct gx_digest *content, struct gx_arena *arena, bool *out_found,
                                struct gx_request_memory *out, struct gx_err *err)
{
    uint8_t key[GX_KEY_REQUEST_LEN];
    struct gx_slice value;
    *out_found = false;
    gx_codec_key_request(request, key);
    enum gx_status status =
        gx_store_batch_get(batch, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)}, arena, &value, err);
    if (status == GX_E_NOT_FOUND)
        return GX_OK;
    GX_TRY(status);
    GX_TRY(gx_codec_request_decode(value, out, err));
    if (memcmp(&out->content, content, sizeof(*content)) != 0)
        return gx_fail(err, GX_E_EXISTS, "request_id was used for another request: give every request its own");
    *out_found = true;
    return GX_OK;
}

void gx_writer_remember(struct gx_store_batch *batch, const struct gx_key *request,
                        const struct gx_request_memory *memory)
{
    uint8_t key[GX_KEY_REQUEST_LEN], value[GX_REQUEST_MEMORY_LEN];
    gx_codec_key_request(request, key);
    gx_codec_request_encode(memory, value);
    gx_store_batch_put(batch, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)},
                       (struct gx_slice){value, sizeof(value)});
}
