/* Galleries made, listed, deleted, rebuilt. Each change is a mutation; the list in memory follows when it is durable.
 *
 * The path of a deletion: the writer's queue, alone -> append to the outer ledger, fdatasync -> state "deleting" in the
 * store (the acknowledgement) and out of the list -> the last caller in flight frees the rows -> the keeper removes
 * what the store holds, then the gallery's entry.
 *
 * What can go wrong:
 *   the ledger refuses      nothing was done
 *   the batch fails         the ledger has it: the gallery is out of the list, the keeper removes it until that works;
 *                           the caller is told that the outcome is open
 *   a crash after either    the next start finds it in ledger or store and goes on (replay.c) */
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "failpoint.h"
#include "hold_private.h"

#define EFFORT_DEFAULT 0.5f

/* --- create --- */

struct creation {
    struct gx_mutation base; /* first */
    struct gx_gallery_meta meta;
    struct gx_gallery *gallery; /* the new one, or the one that is there with the same properties (referenced) */
    bool existed;
};

static bool same_properties(const struct gx_gallery_meta *a, const struct gx_gallery_meta *b)
{
    return a->dim == b->dim && strcmp(a->embedder_id, b->embedder_id) == 0 &&
           strcmp(a->embedder_version, b->embedder_version) == 0 && strcmp(a->engine, b->engine) == 0 &&
           a->default_effort == b->default_effort;
}

static enum gx_status create_prepare(struct gx_mutation *self, struct gx_galleries *galleries,
                                     struct gx_store_batch *batch, struct gx_arena *arena, uint64_t epoch,
                                     struct gx_err *err)
{
    struct creation *c = (struct creation *)self;
    struct gx_slice value;
    uint8_t key[GX_KEY_GALLERY_LEN];
    (void)epoch;
    if (gx_gallery_find(galleries, gx_slice_text(c->meta.name), false, &c->gallery, err) == GX_OK) {
        c->existed = true;
        struct gx_gallery_meta there = c->gallery->meta;
        gx_gallery_engine_text(c->gallery, there.engine);
        if (same_properties(&there, &c->meta))
            return GX_OK;
        gx_gallery_unref(c->gallery);
        c->gallery = NULL;
        return gx_fail(err, GX_E_EXISTS,
                       "a gallery of this name is there with other properties: see 'indexctl gallery "
                       "show'");
    }
    if (galleries->n == GX_GALLERIES_MAX)
        return gx_fail(err, GX_E_BUSY, "there are %d galleries already: delete one first", GX_GALLERIES_MAX);
    c->meta.number = galleries->next_gallery;
    c->meta.state = GX_GALLERY_ACTIVE;
    c->meta.created_at_us = gx_clock_wall_us();
    GX_TRY(gx_keys_uuid(&c->meta.uuid, err));
    GX_TRY(gx_codec_gallery_encode(&c->meta, arena, &value, err));
    GX_TRY(gx_gallery_new(&c->meta, galleries->rows_dir, &c->gallery, err));
    gx_codec_key_gallery(c->meta.number, key);
    gx_store_batch_put(batch, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)}, value);
    gx_writer_put_counter(batch, gx_codec_key_next_gallery(), (uint64_t)c->meta.number + 1);
    self->changed = true;
    return GX_OK;
}

static void create_publish(struct gx_mutation *self, struct gx_galleries *galleries, uint64_t epoch)
{
    struct creation *c = (struct creation *)self;
    (void)epoch;
    galleries->next_gallery++;
    atomic_store(&c->gallery->loaded, true);
    gx_gallery_ref(c->gallery); /* the list's */
    pthread_rwlock_wrlock(&galleries->lock);
    galleries->list[galleries->n++] = c->gallery;
    pthread_rwlock_unlock(&galleries->lock);
}

static enum gx_status copy_text(struct gx_slice from, size_t min, size_t max, const char *what, char *to,
                                struct gx_err *err)
{
    GX_TRY(gx_codec_check_text(from, min, max, what, err));
    if (from.len > 0)
        memcpy(to, from.data, from.len);
    to[from.len] = '\0';
    return GX_OK;
}

static enum gx_status take_properties(const struct gx_create_in *in, struct gx_gallery_meta *meta, struct gx_err *err)
{
    struct gx_engine_spec spec;
    struct gx_slice engine = in->engine.len > 0 ? in->engine : gx_slice_text("auto");
    GX_TRY(gx_codec_check_name(in->name, err));
    memcpy(meta->name, in->name.data, in->name.len);
    GX_TRY(copy_text(in->embedder_id, 1, GX_EMBEDDER_MAX, "embedder.id", meta->embedder_id, err));
    GX_TRY(copy_text(in->embedder_version, 0, GX_EMBEDDER_MAX, "embedder.version", meta->embedder_version, err));
    GX_TRY(copy_text(engine, 1, GX_ENGINE_MAX, "engine", meta->engine, err));
    if (in->dim < GX_DIM_MIN || in->dim > GX_DIM_MAX)
        return gx_fail(err, GX_E_INVALID, "dim: %d..%d, got %u", GX_DIM_MIN, GX_DIM_MAX, in->dim);
    if (!(in->default_effort >= 0 && in->default_effort <= 1))
        return gx_fail(err, GX_E_INVALID, "default_effort: 0..1");
    meta->dim = in->dim;
    meta->default_effort = in->default_effort == 0 ? EFFORT_DEFAULT : in->default_effort;
    return gx_engine_parse(engine, in->dim, &spec, err);
}

static void describe(struct gx_gallery *g, struct gx_gallery_info *out)
{
    *out = (struct gx_gallery_info){.loaded = atomic_load(&g->loaded)};
    pthread_mutex_lock(&g->build_lock);
    out->meta = g->meta;
    pthread_mutex_unlock(&g->build_lock);
    out->records = out->loaded ? gx_rows_live(g->rows) : 0;
}

enum gx_status gx_galleries_add(struct gx_galleries *galleries, const struct gx_create_in *in,
                                struct gx_gallery_info *out, struct gx_err *err)
{
    struct creation c = {.base = {.alone = true, .prepare = create_prepare, .publish = create_publish}};
    GX_TRY(take_properties(in, &c.meta, err));
    enum gx_status status = gx_writer_run(galleries, &c.base, err);
    if (status == GX_OK)
        describe(c.gallery, out);
    gx_gallery_unref(c.gallery);
    if (status == GX_OK && !c.existed && galleries->options.changed != NULL)
        galleries->options.changed();
    return status;
}

/* --- look --- */

enum gx_status gx_galleries_describe(struct gx_galleries *galleries, struct gx_slice name, struct gx_gallery_info *out,
                                     struct gx_err *err)
{
    struct gx_gallery *g;
    GX_TRY(gx_gallery_find(galleries, name, false, &g, err));
    describe(g, out);
    gx_gallery_unref(g);
    return GX_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct gx_gallery_info *)a)->meta.name, ((const struct gx_gallery_info *)b)->meta.name);
}

enum gx_status gx_galleries_list(struct gx_galleries *galleries, struct gx_arena *arena, struct gx_gallery_info **out,
                                 size_t *out_n, struct gx_err *err)
{
    *out_n = 0;
    GX_TRY(gx_arena_array(arena, GX_GALLERIES_MAX, sizeof(**out), out, err));
    pthread_rwlock_rdlock(&galleries->lock);
    for (size_t i = 0; i < galleries->n; i++)
        describe(galleries->list[i], &(*out)[(*out_n)++]);
    pthread_rwlock_unlock(&galleries->lock);
    qsort(*out, *out_n, sizeof(**out), compare_names);
    return GX_OK;
}

enum gx_status gx_galleries_stats(struct gx_galleries *galleries, struct gx_slice name, struct gx_gallery_stats *out,
                                  struct gx_err *err)
{
    struct gx_gallery *g;
    struct gx_engine_stats stats = {0};
    GX_TRY(gx_gallery_find(galleries, name, false, &g, err));
    *out = (struct gx_gallery_stats){.loaded = atomic_load(&g->loaded),
                                     .epoch = atomic_load(&galleries->epoch),
                                     .records = gx_rows_live(g->rows),
                                     .quarantined = gx_rows_quarantined(g->rows),
                                     .row_bytes = gx_rows_bytes(g->rows),
                                     .ballast_bytes = gx_datadir_ballast(galleries->datadir)};
    uint64_t total;
    if (gx_datadir_room(galleries->datadir, &out->disk_free_bytes, &total, NULL) != GX_OK)
        out->disk_free_bytes = 0;
    pthread_rwlock_rdlock(&g->lock);
    snprintf(out->engine, sizeof(out->engine), "%s", g->index.engine == NULL ? "flat" : g->index.engine->spec.text);
    if (g->index.engine != NULL)
        gx_engine_stats(g->index.engine, &stats);
    out->dead = g->index.dead;
    pthread_rwlock_unlock(&g->lock);
    out->indexed = stats.entries > out->dead ? stats.entries - out->dead : 0;
    out->tail = out->records > out->indexed ? out->records - out->indexed : 0;
    out->index_bytes = stats.index_bytes;
    pthread_mutex_lock(&g->build_lock);
    out->build = g->build;
    out->build.running = out->build.running || g->build_wanted;
    pthread_mutex_unlock(&g->build_lock);
    gx_gallery_unref(g);
    return GX_OK;
}

/* --- delete --- */

/* The memory of the request, for when it could not be written with the deletion. */
struct reminder {
    struct gx_mutation base; /* first */
    struct gx_key request;
    struct gx_request_memory memory;
};

struct deletion {
    struct gx_mutation base; /* first */
    struct gx_gallery *gallery;
    struct gx_gallery_meta meta;
    int64_t expected_count;
    bool has_request;
    struct gx_key request;
    struct gx_digest content;
    uint64_t n_records, epoch;
    bool logged;               /* it is in the ledger */
    struct reminder *reminder; /* NULL unless has_request */
};

static enum gx_status remind_prepare(struct gx_mutation *self, struct gx_galleries *galleries,
                                     struct gx_store_batch *batch, struct gx_arena *arena, uint64_t epoch,
                                     struct gx_err *err)
{
    struct reminder *r = (struct reminder *)self;
    (void)galleries;
    (void)arena;
    (void)epoch;
    (void)err;
    gx_writer_remember(batch, &r->request, &r->memory);
    self->changed = true;
    return GX_OK;
}

static void remind_publish(struct gx_mutation *self, struct gx_galleries *galleries, uint64_t epoch)
{
    (void)self;
    (void)galleries;
    (void)epoch;
}

static void remind_discard(struct gx_mutation *self)
{
    free(self);
}

static void remind_done(struct gx_mutation *self, struct gx_galleries *galleries)
{
    if (self->outcome == GX_OK)
        remind_discard(self);
    else
        gx_keeper_add_retry(galleries, self);
}

static enum gx_status make_reminder(struct deletion *d, int64_t at_us, struct gx_err *err)
{
    free(d->reminder);
    d->reminder = calloc(1, sizeof(*d->reminder));
    if (d->reminder == NULL)
        return gx_fail(err, GX_E_NOMEM, "delete a gallery: out of memory");
    *d->reminder = (struct reminder){
        .base = {.prepare = remind_prepare, .publish = remind_publish, .done = remind_done, .discard = remind_discard},
        .request = d->request,
        .memory = {d->content, at_us, d->epoch, d->n_records, 0}};
    return GX_OK;
}

/* State and memory into the batch; after the ledger nothing may fail any more. */
static enum gx_status fill_deletion(struct deletion *d, int64_t at_us, struct gx_store_batch *batch,
                                    struct gx_arena *arena, struct gx_err *err)
{
    struct gx_slice value;
    uint8_t key[GX_KEY_GALLERY_LEN];
    d->meta = d->gallery->meta;
    gx_gallery_engine_text(d->gallery, d->meta.engine);
    d->meta.state = GX_GALLERY_DELETING;
    GX_TRY(gx_codec_gallery_encode(&d->meta, arena, &value, err));
    gx_codec_key_gallery(d->meta.number, key);
    gx_store_batch_put(batch, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)}, value);
    if (!d->has_request)
        return GX_OK;
    GX_TRY(make_reminder(d, at_us, err));
    gx_writer_remember(batch, &d->request, &d->reminder->memory);
    return GX_OK;
}

static enum gx_status delete_prepare(struct gx_mutation *self, struct gx_galleries *galleries,
                                     struct gx_store_batch *batch, struct gx_arena *arena, uint64_t epoch,
                                     struct gx_err *err)
{
    struct deletion *d = (struct deletion *)self;
    int64_t now = gx_clock_wall_us();
    if (atomic_load(&d->gallery->deleted))
        return gx_fail(err, GX_E_NOT_FOUND, "the gallery was deleted already");
    size_t n_held = gx_hold_table_count_of(galleries->holds, gx_slice_text(d->gallery->meta.name));
    if (n_held > 0)
        return gx_fail(err, GX_E_HELD,
                       "%zu ids of the gallery are under a legal hold: release them first ('indexctl hold list'); "
                       "nothing was deleted",
                       n_held);
    d->n_records = gx_rows_live(d->gallery->rows);
    d->epoch = epoch;
    if (d->expected_count >= 0 && (uint64_t)d->expected_count != d->n_records)
        return gx_fail(err, GX_E_COUNT, "the gallery holds %llu records, %lld were expected: nothing was deleted",
                       (unsigned long long)d->n_records, (long long)d->expected_count);
    GX_TRY(fill_deletion(d, now, batch, arena, err));
    struct gx_ledger_entry entry = {.type = GX_LEDGER_GALLERY_DELETED,
                                    .at_us = now,
                                    .store = galleries->uuid,
                                    .gallery = gx_slice_text(d->meta.name),
                                    .gallery_uuid = d->meta.uuid,
                                    .request = d->request,
                                    .content = d->content,
                                    .n_held = d->n_records};
    gx_failpoint_pass("delete.before_ledger");
    GX_TRY(gx_ledger_append(galleries->ledger, &entry, err));
    gx_failpoint_pass("delete.after_ledger");
    d->logged = true;
    gx_replay_note(galleries, batch);
    self->changed = true;
    return GX_OK;
}

/* Out of every call from now on, and to the keeper. */
static void take_out(struct deletion *d, struct gx_galleries *galleries)
{
    atomic_store(&d->gallery->deleted, true);
    /* The keeper first: for a gallery that is neither listed nor its own to delete, it takes tickets for done. */
    gx_keeper_add_deleted(galleries, &d->meta);
    pthread_rwlock_wrlock(&galleries->lock);
    for (size_t i = 0; i < galleries->n; i++)
        if (galleries->list[i] == d->gallery) {
            galleries->list[i] = galleries->list[--galleries->n];
            break;
        }
    pthread_rwlock_unlock(&galleries->lock);
    gx_gallery_unref(d->gallery); /* the list's */
    gx_keeper_wake(galleries);
}

static void delete_publish(struct gx_mutation *self, struct gx_galleries *galleries, uint64_t epoch)
{
    (void)epoch;
    take_out((struct deletion *)self, galleries);
}

static void delete_retract(struct gx_mutation *self, struct gx_galleries *galleries)
{
    struct deletion *d = (struct deletion *)self;
    if (!d->logged)
        return;
    if (d->reminder != NULL)
        gx_keeper_add_retry(galleries, &d->reminder->base);
    d->reminder = NULL;
    take_out(d, galleries);
}

/* What a request of this id did before; the gallery is gone, so its id is remembered by the gallery's name. */
static enum gx_status recall_deletion(struct gx_galleries *galleries, const struct gx_remove_in *in, struct deletion *d,
                                      bool *out_known, struct gx_err *err)
{
    struct gx_slice pieces[] = {in->name, {(const uint8_t *)&in->expected_count, sizeof(in->expected_count)}};
    struct gx_request_memory memory;
    struct gx_store_batch *batch;
    struct gx_arena arena;
    *out_known = false;
    d->has_request = in->request_id.len > 0;
    if (!d->has_request)
        return GX_OK;
    GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_REQUEST, in->name, in->request_id, &d->request, err));
    GX_TRY(gx_keys_hmac(&galleries->secret, pieces, GX_COUNT_OF(pieces), &d->content, err));
    GX_TRY(gx_store_batch_new(galleries->store, &batch, err));
    gx_arena_init(&arena, 65536);
    enum gx_status status = gx_writer_recall(batch, &d->request, &d->content, &arena, out_known, &memory, err);
    gx_arena_fini(&arena);
    gx_store_batch_free(batch);
    if (status == GX_OK && *out_known) {
        d->n_records = memory.a;
        d->epoch = memory.epoch;
    }
    return status;
}

enum gx_status gx_galleries_remove(struct gx_galleries *galleries, const struct gx_remove_in *in, uint64_t *out_records,
                                   uint64_t *out_epoch, struct gx_err *err)
{
    struct deletion d = {
        .base = {.alone = true, .prepare = delete_prepare, .publish = delete_publish, .retract = delete_retract},
        .expected_count = in->expected_count};
    bool known;
    GX_TRY(recall_deletion(galleries, in, &d, &known, err));
    if (!known) {
        GX_TRY(gx_gallery_find(galleries, in->name, true, &d.gallery, err));
        enum gx_status status = gx_writer_run(galleries, &d.base, err);
        gx_gallery_unref(d.gallery);
        free(d.reminder);
        if (d.logged && galleries->options.changed != NULL)
            galleries->options.changed();
        GX_TRY(status);
    }
    *out_records = d.n_records;
    *out_epoch = d.epoch;
    return GX_OK;
}

/* --- build --- */

enum gx_status gx_galleries_build(struct gx_galleries *galleries, struct gx_slice name, struct gx_slice engine,
                                  char out_engine[GX_ENGINE_MAX + 1], struct gx_err *err)
{
    struct gx_gallery *g;
    struct gx_engine_spec spec;
    char text[GX_ENGINE_MAX + 1];
    GX_TRY(gx_gallery_find(galleries, name, true, &g, err));
    enum gx_status status = GX_OK;
    if (engine.len == 0)
        gx_gallery_engine_text(g, text);
    else
        status = copy_text(engine, 1, GX_ENGINE_MAX, "engine", text, err);
    if (status == GX_OK)
        status = gx_engine_parse(gx_slice_text(text), g->meta.dim, &spec, err);
    if (status == GX_OK) {
        pthread_mutex_lock(&g->build_lock);
        if (g->build.running || g->build_wanted) {
            status = gx_fail(err, GX_E_STATE, "an index is being built: wait until it is done ('indexctl stats')");
        } else {
            g->build_wanted = true;
            g->build.problem[0] = '\0';
            memset(g->wanted, 0, sizeof(g->wanted));
            memcpy(g->wanted, text, strlen(text));
            memcpy(out_engine, text, sizeof(text));
        }
        pthread_mutex_unlock(&g->build_lock);
    }
    gx_gallery_unref(g);
    if (status == GX_OK)
        gx_indexer_wake(galleries);
    return status;
}
