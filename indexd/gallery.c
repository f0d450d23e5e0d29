/* One gallery: its rows in memory, its index, and what was removed and must still be forgotten. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "gallery_private.h"
#include "index_file.h"

#define REMOVE_AT_ONCE 256 /* rows that an engine forgets while it keeps searches waiting */

static enum gx_status new_rows(const struct gx_gallery_meta *meta, const char *rows_dir, struct gx_rows **out,
                               struct gx_err *err)
{
    char name[64], uuid[37], path[1100];
    GX_TRY(gx_rows_new(meta->dim, out, err));
    if (rows_dir == NULL || rows_dir[0] == '\0')
        return GX_OK;
    gx_keys_uuid_text(&meta->uuid, uuid);
    snprintf(name, sizeof(name), "%s.floats", uuid);
    enum gx_status status = gx_file_path(rows_dir, name, path, sizeof(path), err);
    if (status == GX_OK)
        status = gx_rows_use_file(*out, path, err);
    if (status != GX_OK) {
        gx_rows_free(*out);
        *out = NULL;
    }
    return status;
}

enum gx_status gx_gallery_new(const struct gx_gallery_meta *meta, const char *rows_dir, struct gx_gallery **out,
                              struct gx_err *err)
{
    *out = NULL;
    struct gx_gallery *g = calloc(1, sizeof(*g));
    if (g == NULL)
        return gx_fail(err, GX_E_NOMEM, "a gallery: out of memory");
    enum gx_status status = new_rows(meta, rows_dir, &g->rows, err);
    if (status != GX_OK) {
        free(g);
        return status;
    }
    g->meta = *meta;
    atomic_init(&g->references, 1);
    g->building_upto = UINT64_MAX;
    g->feed = 16;
    atomic_init(&g->indexed_until, UINT32_MAX);
    g->build.stage = "";
    pthread_mutex_init(&g->change, NULL);
    pthread_mutex_init(&g->removals_lock, NULL);
    pthread_mutex_init(&g->build_lock, NULL);
    /* Without this a stream of searches would keep a waiting change out for ever. */
    pthread_rwlockattr_t attr;
    pthread_rwlockattr_init(&attr);
    pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&g->lock, &attr);
    pthread_rwlockattr_destroy(&attr);
    *out = g;
    return GX_OK;
}

void gx_gallery_ref(struct gx_gallery *gallery)
{
    atomic_fetch_add(&gallery->references, 1);
}

void gx_gallery_unref(struct gx_gallery *gallery)
{
    if (gallery == NULL || atomic_fetch_sub(&gallery->references, 1) != 1)
        return;
    gx_engine_unref(gallery->index.engine);
    gx_rows_free(gallery->rows);
    free(gallery->removals);
    pthread_rwlock_destroy(&gallery->lock);
    pthread_mutex_destroy(&gallery->change);
    pthread_mutex_destroy(&gallery->removals_lock);
    pthread_mutex_destroy(&gallery->build_lock);
    free(gallery);
}

/* --- readers of rows --- */

unsigned gx_gallery_read_begin(struct gx_gallery *gallery)
{
    unsigned reader = atomic_load(&gallery->phase) & 1;
    atomic_fetch_add(&gallery->readers[reader], 1);
    return reader;
}

void gx_gallery_read_end(struct gx_gallery *gallery, unsigned reader)
{
    atomic_fetch_sub(&gallery->readers[reader], 1);
}

/* As sleepable read-copy-update does it (McKenney 2006): after a flip of the phase new readers use the other counter,
 * so the old one drains; both are drained in turn. A reader that read the phase before a flip and counts itself after
 * the drain began after the row was hidden (all of this is sequentially consistent), so it does not look at it. */
void gx_gallery_wait_readers(struct gx_gallery *gallery)
{
    for (int round = 0; round < 2; round++) {
        unsigned old = atomic_fetch_add(&gallery->phase, 1) & 1;
        while (atomic_load(&gallery->readers[old]) != 0)
            nanosleep(&(struct timespec){0, 200000}, NULL);
    }
}

enum gx_status gx_gallery_find(struct gx_galleries *galleries, struct gx_slice name, bool loaded,
                               struct gx_gallery **out, struct gx_err *err)
{
    *out = NULL;
    pthread_rwlock_rdlock(&galleries->lock);
    for (size_t i = 0; i < galleries->n && *out == NULL; i++)
        if (gx_slice_equal(gx_slice_text(galleries->list[i]->meta.name), name))
            *out = galleries->list[i];
    if (*out != NULL)
        gx_gallery_ref(*out);
    pthread_rwlock_unlock(&galleries->lock);
    if (*out == NULL)
        return gx_fail(err, GX_E_NOT_FOUND, "no gallery of this name: 'indexctl gallery list' shows those there are");
    if (!loaded || atomic_load(&(*out)->loaded))
        return GX_OK;
    gx_gallery_unref(*out);
    *out = NULL;
    return gx_fail(err, GX_E_UNAVAILABLE, "the gallery is still loading: try again in a moment");
}

struct gx_gallery *gx_gallery_find_number(struct gx_galleries *galleries, uint32_t number)
{
    struct gx_gallery *found = NULL;
    pthread_rwlock_rdlock(&galleries->lock);
    for (size_t i = 0; i < galleries->n && found == NULL; i++)
        if (galleries->list[i]->meta.number == number)
            found = galleries->list[i];
    if (found != NULL)
        gx_gallery_ref(found);
    pthread_rwlock_unlock(&galleries->lock);
    return found;
}

enum gx_status gx_gallery_check_embedder(const struct gx_gallery *gallery, struct gx_slice id, struct gx_slice version,
                                         struct gx_err *err)
{
    if (gx_slice_equal(id, gx_slice_text(gallery->meta.embedder_id)) &&
        gx_slice_equal(version, gx_slice_text(gallery->meta.embedder_version)))
        return GX_OK;
    return gx_fail(err, GX_E_EMBEDDER,
                   "the embedding is of another embedder than the gallery's ('%s' version '%s'): "
                   "their scores cannot be compared",
                   gallery->meta.embedder_id, gallery->meta.embedder_version);
}

void gx_gallery_engine_text(struct gx_gallery *gallery, char out[GX_ENGINE_MAX + 1])
{
    pthread_mutex_lock(&gallery->build_lock);
    memcpy(out, gallery->meta.engine, GX_ENGINE_MAX + 1);
    pthread_mutex_unlock(&gallery->build_lock);
}

/* --- removals --- */

enum gx_status gx_gallery_reserve_removals(struct gx_gallery *gallery, size_t n, struct gx_err *err)
{
    enum gx_status status = GX_OK;
    pthread_mutex_lock(&gallery->removals_lock);
    size_t need = gallery->n_removals + gallery->n_reserved + n;
    if (need > gallery->cap_removals) {
        size_t cap = GX_MAX(need, 2 * gallery->cap_removals);
        uint64_t *grown = realloc(gallery->removals, cap * sizeof(*grown));
        if (grown == NULL) {
            status = gx_fail(err, GX_E_NOMEM, "note removed rows: out of memory");
        } else {
            gallery->removals = grown;
            gallery->cap_removals = cap;
        }
    }
    if (status == GX_OK)
        gallery->n_reserved += n;
    pthread_mutex_unlock(&gallery->removals_lock);
    return status;
}

void gx_gallery_unreserve_removals(struct gx_gallery *gallery, size_t n)
{
    pthread_mutex_lock(&gallery->removals_lock);
    gallery->n_reserved -= n;
    pthread_mutex_unlock(&gallery->removals_lock);
}

uint64_t gx_gallery_note_removals(struct gx_gallery *gallery, const uint64_t *rnos, size_t n)
{
    pthread_mutex_lock(&gallery->removals_lock);
    assert(n <= gallery->n_reserved && gallery->n_removals + n <= gallery->cap_removals);
    gallery->n_reserved -= n;
    if (n > 0)
        memcpy(gallery->removals + gallery->n_removals, rnos, n * sizeof(*rnos));
    gallery->n_removals += n;
    if (n > 0 && gallery->oldest_removal_us == 0)
        gallery->oldest_removal_us = gx_clock_monotonic_us();
    uint64_t serial = gallery->removals_base + gallery->n_removals;
    pthread_mutex_unlock(&gallery->removals_lock);
    return serial;
}

uint64_t gx_gallery_begin_build(struct gx_gallery *gallery)
{
    pthread_mutex_lock(&gallery->removals_lock);
    uint64_t serial = gallery->removals_base + gallery->n_removals;
    gallery->building_upto = serial;
    pthread_mutex_unlock(&gallery->removals_lock);
    return serial;
}

void gx_gallery_set_building(struct gx_gallery *gallery, uint64_t clean_upto)
{
    pthread_mutex_lock(&gallery->removals_lock);
    gallery->building_upto = clean_upto;
    pthread_mutex_unlock(&gallery->removals_lock);
}

bool gx_gallery_is_building(struct gx_gallery *gallery)
{
    pthread_mutex_lock(&gallery->removals_lock);
    bool building = gallery->building_upto != UINT64_MAX;
    pthread_mutex_unlock(&gallery->removals_lock);
    return building;
}

enum gx_status gx_gallery_spec(const struct gx_galleries *galleries, const struct gx_gallery *gallery, const char *text,
                               const char *now, struct gx_engine_spec *out, struct gx_err *err)
{
    text = gx_engine_choose(text, gx_rows_live(gallery->rows), galleries->options.hnsw_from, now);
    return gx_engine_parse(gx_slice_text(text), gallery->meta.dim, out, err);
}

/* Lets the engine forget rows; out of memory on return. */
static enum gx_status forget_rows(struct gx_gallery *gallery, struct gx_engine *engine, bool shared,
                                  const uint64_t *rnos, size_t n, struct gx_err *err)
{
    size_t removed;
    bool exclusive = shared && !engine->spec.beside;
    if (!engine->spec.removes)
        return GX_OK;
    if (exclusive)
        pthread_rwlock_wrlock(&gallery->lock);
    enum gx_status status = gx_engine_remove(engine, rnos, n, &removed, err);
    if (exclusive)
        pthread_rwlock_unlock(&gallery->lock);
    GX_TRY(status);
    if (shared && engine->spec.beside)
        gx_gallery_wait_readers(gallery);
    gx_engine_wipe(engine, rnos, n);
    return GX_OK;
}

enum gx_status gx_gallery_apply_removals(struct gx_gallery *gallery, struct gx_index *index, bool *out_more,
                                         struct gx_err *err)
{
    bool shared = index == &gallery->index;
    uint64_t piece[1024];
    bool holds_up = shared && index->engine != NULL && !index->engine->spec.beside;
    size_t max = holds_up ? REMOVE_AT_ONCE : GX_COUNT_OF(piece);
    pthread_mutex_lock(&gallery->removals_lock);
    assert(index->removed_upto >= gallery->removals_base);
    size_t at = (size_t)(index->removed_upto - gallery->removals_base);
    size_t n = GX_MIN(gallery->n_removals - at, max);
    if (n > 0)
        memcpy(piece, gallery->removals + at, n * sizeof(*piece));
    *out_more = at + n < gallery->n_removals;
    pthread_mutex_unlock(&gallery->removals_lock);
    if (n == 0)
        return GX_OK;
    if (index->engine != NULL)
        GX_TRY(forget_rows(gallery, index->engine, shared, piece, n, err));
    if (shared)
        pthread_rwlock_wrlock(&gallery->lock);
    index->removed_upto += n;
    if (index->engine == NULL || index->engine->spec.removes)
        index->clean_upto = index->removed_upto;
    if (shared)
        pthread_rwlock_unlock(&gallery->lock);
    return GX_OK;
}

uint64_t gx_gallery_clean_upto(struct gx_gallery *gallery)
{
    pthread_rwlock_rdlock(&gallery->lock);
    uint64_t clean = gallery->index.clean_upto, processed = gallery->index.removed_upto;
    pthread_rwlock_unlock(&gallery->lock);
    pthread_mutex_lock(&gallery->removals_lock);
    clean = GX_MIN(clean, gallery->building_upto);
    processed = GX_MIN(processed, gallery->building_upto);
    size_t drop = (size_t)(processed - gallery->removals_base);
    if (drop > 0) {
        memmove(gallery->removals, gallery->removals + drop, (gallery->n_removals - drop) * sizeof(*gallery->removals));
        gallery->n_removals -= drop;
        gallery->removals_base += drop;
    }
    if (clean == gallery->removals_base + gallery->n_removals)
        gallery->oldest_removal_us = 0;
    pthread_mutex_unlock(&gallery->removals_lock);
    return clean;
}

void gx_gallery_count_dead(struct gx_gallery *gallery, struct gx_index *index)
{
    index->dead = 0;
    if (index->engine == NULL)
        return;
    struct gx_engine_stats stats;
    gx_engine_stats(index->engine, &stats);
    uint64_t live = 0;
    for (uint32_t slot = 0; slot < index->until; slot++)
        live += gx_rows_is_live(gallery->rows, slot);
    index->dead = stats.entries > live ? stats.entries - live : 0;
}

/* --- the saved index --- */

enum gx_status gx_gallery_index_path(const struct gx_galleries *galleries, const struct gx_gallery *gallery,
                                     char out[1100], struct gx_err *err)
{
    char name[64], uuid[37];
    gx_keys_uuid_text(&gallery->meta.uuid, uuid);
    snprintf(name, sizeof(name), "%s.index", uuid);
    return gx_file_path(galleries->index_dir, name, out, 1100, err);
}

enum gx_status gx_gallery_save_index(struct gx_galleries *galleries, struct gx_gallery *gallery, struct gx_err *err)
{
    char path[1100];
    GX_TRY(gx_gallery_index_path(galleries, gallery, path, err));
    struct gx_index *index = &gallery->index; /* unchanged while the caller holds `change` */
    if (index->engine == NULL || !index->engine->spec.saves || index->until == 0)
        return GX_OK;
    /* What was removed and cannot be taken out would be on disk again: the next build is saved. */
    if (index->clean_upto < index->removed_upto)
        return gx_gallery_drop_saved(galleries, gallery, err);
    struct gx_engine_stats stats;
    gx_engine_stats(index->engine, &stats);
    struct gx_index_file_info info = {.gallery = gallery->meta.uuid,
                                      .epoch = atomic_load(&galleries->epoch),
                                      .last_rno = gx_rows_rno(gallery->rows, index->until - 1),
                                      .entries = stats.entries,
                                      .trained_from = index->trained_from};
    GX_TRY(gx_index_file_write(path, index->engine, &info, err));
    /* Deleted meanwhile: whoever removes its files may have been here already. */
    return atomic_load(&gallery->deleted) ? gx_gallery_drop_saved(galleries, gallery, err) : GX_OK;
}

static bool is_absent(const char *path)
{
    return access(path, F_OK) != 0 && errno == ENOENT;
}

enum gx_status gx_gallery_drop_saved(struct gx_galleries *galleries, struct gx_gallery *gallery, struct gx_err *err)
{
    char path[1100], temporary[1110];
    GX_TRY(gx_gallery_index_path(galleries, gallery, path, err));
    snprintf(temporary, sizeof(temporary), "%s.tmp", path);
    /* Without a file there is nothing to fsync, unless an earlier removal was not made durable. */
    if (!gallery->drop_open && is_absent(path) && is_absent(temporary))
        return GX_OK;
    gallery->drop_open = true;
    GX_TRY(gx_file_remove(temporary, err));
    GX_TRY(gx_file_remove(path, err));
    gallery->drop_open = false;
    return GX_OK;
}
