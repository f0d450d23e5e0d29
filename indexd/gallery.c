/* One gallery: its rows in memory, its index, and what was removed and must still be forgotten.
 *
 * The path of loading: emb and rec of the store, side by side -> rows -> counts of the other families -> quarantine ->
 * saved index, when it is whole and of this gallery -> loaded. What can go wrong: a damaged row or families that
 * disagree fail the load with the reason (the gallery stays NOT_SERVING, nothing is dropped silently); an unusable
 * saved index costs a rebuild, never an answer. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "hold_private.h"
#include "index_file.h"
#include "log.h"

/* A row's share of the slowest build (HNSW), until one was measured. */
#define BUILD_US_GUESS 500
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

static enum gx_status index_path(const struct gx_galleries *galleries, const struct gx_gallery *gallery, char out[1100],
                                 struct gx_err *err)
{
    char name[64], uuid[37];
    gx_keys_uuid_text(&gallery->meta.uuid, uuid);
    snprintf(name, sizeof(name), "%s.index", uuid);
    return gx_file_path(galleries->index_dir, name, out, 1100, err);
}

enum gx_status gx_gallery_save_index(struct gx_galleries *galleries, struct gx_gallery *gallery, struct gx_err *err)
{
    char path[1100];
    GX_TRY(index_path(galleries, gallery, path, err));
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
    GX_TRY(index_path(galleries, gallery, path, err));
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

/* --- loading --- */

/* One pair of iterators over the same keys. */
struct loader {
    struct gx_store_iter *emb, *rec;
    float *row;
    uint64_t n;
};

/* The id of a gallery's first record must be found under its hash: else the secret is another one than the ids were
 * hashed with, and no id would be found, nor an expunged one be refused. */
static enum gx_status check_secret(struct gx_galleries *galleries, const struct gx_gallery *g,
                                   const struct gx_record *record, uint64_t rno, struct gx_err *err)
{
    struct gx_key id;
    uint8_t key[GX_KEY_ID_LEN];
    struct gx_slice value;
    struct gx_arena arena;
    GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_RECORD, gx_slice_text(g->meta.name), record->record_id, &id, err));
    gx_codec_id_key(g->meta.number, &id, key);
    gx_arena_init(&arena, 65536);
    enum gx_status status =
        gx_store_get(galleries->store, GX_CF_BY_RECORD, (struct gx_slice){key, sizeof(key)}, &arena, &value, err);
    bool same = status == GX_OK && value.len == 8 && gx_codec_get_u64(value.data) == rno;
    gx_arena_fini(&arena);
    if (status == GX_E_NOT_FOUND || (status == GX_OK && !same))
        return gx_fail(err, GX_E_CORRUPT,
                       "'%s/secret.key' is not the one that this data was written with: put it back "
                       "from a backup",
                       galleries->data_dir);
    return status;
}

static enum gx_status load_one(struct gx_galleries *galleries, struct gx_gallery *g, struct loader *l,
                               struct gx_slice key, struct gx_slice emb, struct gx_slice rec, struct gx_err *err)
{
    uint64_t rno = gx_codec_get_u64(key.data + 4);
    struct gx_record record;
    struct gx_row columns = {.rno = rno, .record = rec};
    if (gx_codec_emb_decode(emb, g->meta.dim, l->row, err) != GX_OK)
        return gx_err_wrap(err, "row %" PRIu64 " of family emb", rno);
    if (gx_codec_record_decode(rec, &record, err) != GX_OK)
        return gx_err_wrap(err, "row %" PRIu64 " of family rec", rno);
    columns.captured_at_us = record.captured_at_us;
    if (record.subject_id.len > 0)
        GX_TRY(gx_keys_hash(&galleries->secret, GX_ID_SUBJECT, gx_slice_text(g->meta.name), record.subject_id,
                            &columns.subject, err));
    if (l->n++ == 0)
        GX_TRY(check_secret(galleries, g, &record, rno, err));
    return gx_rows_append(g->rows, l->row, &columns, err);
}

static enum gx_status load_rows(struct gx_galleries *galleries, struct gx_gallery *g, struct loader *l,
                                struct gx_err *err)
{
    for (;;) {
        bool more_emb, more_rec;
        struct gx_slice emb_key, emb, rec_key, rec;
        GX_TRY(gx_store_iter_next(l->emb, &more_emb, &emb_key, &emb, err));
        GX_TRY(gx_store_iter_next(l->rec, &more_rec, &rec_key, &rec, err));
        if (more_emb != more_rec || (more_emb && !gx_slice_equal(emb_key, rec_key)))
            return gx_fail(err, GX_E_CORRUPT, "families emb and rec disagree after %" PRIu64 " rows", l->n);
        if (!more_emb)
            return GX_OK;
        if (emb_key.len != GX_KEY_ROW_LEN)
            return gx_fail(err, GX_E_CORRUPT, "family emb holds a key of %zu bytes", emb_key.len);
        GX_TRY(load_one(galleries, g, l, emb_key, emb, rec, err));
        if (l->n % 8192 == 0)
            gx_rows_publish(g->rows);
        if (atomic_load(&galleries->stopping))
            return gx_fail(err, GX_E_UNAVAILABLE, "stopped while loading");
    }
}

static enum gx_status count_keys(struct gx_galleries *galleries, enum gx_family family, struct gx_slice prefix,
                                 uint64_t *out_n, struct gx_err *err)
{
    struct gx_store_iter *iter;
    *out_n = 0;
    GX_TRY(gx_store_iter_begin(galleries->store, family, prefix, (struct gx_slice){NULL, 0}, false, &iter, err));
    enum gx_status status;
    bool more;
    do {
        struct gx_slice key, value;
        status = gx_store_iter_next(iter, &more, &key, &value, err);
        *out_n += status == GX_OK && more;
    } while (status == GX_OK && more);
    gx_store_iter_end(iter);
    return status;
}

static void set_index(struct gx_gallery *g, const struct gx_index *index)
{
    pthread_rwlock_wrlock(&g->lock);
    g->index = *index;
    pthread_rwlock_unlock(&g->lock);
    atomic_store(&g->indexed_until, index->until);
}

/* An index without a file, made from the rows while the gallery is loaded: else searches would wait for it. */
static void make_index(struct gx_galleries *galleries, struct gx_gallery *g, const struct gx_engine_spec *spec)
{
    struct gx_index index = {0};
    struct gx_err err;
    enum gx_status status = gx_engine_new(spec, g->meta.dim, g->rows, 0, &index.engine, &err);
    if (status == GX_OK)
        status = gx_indexer_add_all(galleries, g, &index, &err);
    gx_gallery_set_building(g, UINT64_MAX);
    if (status == GX_OK) {
        set_index(g, &index);
        return;
    }
    gx_log_warn("index_not_made", "gallery=%" PRIu32 " action=later reason=\"%s\"", g->meta.number, err.text);
    gx_engine_unref(index.engine);
}

/* The saved index, if there is one of this gallery that fits its rows. */
static bool load_saved(struct gx_galleries *galleries, struct gx_gallery *g, const struct gx_engine_spec *spec)
{
    struct gx_index_file_info info;
    struct gx_err err;
    char path[1100];
    if (!spec->saves || index_path(galleries, g, path, &err) != GX_OK)
        return false;
    struct gx_index index = {0};
    enum gx_status status = gx_index_file_read(path, spec, g->meta.dim, g->rows, gx_indexer_threads(), &g->meta.uuid,
                                               &index.engine, &info, &err);
    if (status != GX_OK) {
        if (status != GX_E_NOT_FOUND)
            gx_log_warn("index_unusable", "gallery=%" PRIu32 " action=rebuild reason=\"%s\"", g->meta.number, err.text);
        return false;
    }
    /* Of a newer state than the store: an older copy of the store was put back, and the numbers of its rows are given
     * again. */
    if (info.epoch > galleries->opened_epoch || info.last_rno >= galleries->next_rno) {
        gx_log_warn("index_unusable", "gallery=%" PRIu32 " action=rebuild reason=\"it is newer than the store\"",
                    g->meta.number);
        gx_engine_unref(index.engine);
        return false;
    }
    index.until = gx_rows_lower_bound(g->rows, info.last_rno + 1);
    index.trained_from = info.trained_from;
    g->build_took_us = (int64_t)info.entries * BUILD_US_GUESS;
    gx_gallery_count_dead(g, &index);
    set_index(g, &index);
    return true;
}

/* The saved index, or one that is quickly made, or none: its absence only costs the indexer work. */
static void load_index(struct gx_galleries *galleries, struct gx_gallery *g)
{
    struct gx_engine_spec spec;
    struct gx_err err;
    /* As if it had been hnsw: near the bound between the two, what was saved is taken. */
    if (gx_gallery_spec(galleries, g, g->meta.engine, "hnsw", &spec, &err) == GX_OK && load_saved(galleries, g, &spec))
        return;
    if (gx_gallery_spec(galleries, g, g->meta.engine, "", &spec, &err) == GX_OK && spec.exhaustive &&
        gx_rows_live(g->rows) >= spec.train_min)
        make_index(galleries, g, &spec);
}

enum gx_status gx_gallery_load(struct gx_galleries *galleries, struct gx_gallery *gallery, struct gx_err *err)
{
    struct loader l = {0};
    uint8_t prefix_bytes[4];
    gx_codec_put_u32(prefix_bytes, gallery->meta.number);
    struct gx_slice prefix = {prefix_bytes, sizeof(prefix_bytes)}, none = {NULL, 0};
    uint64_t n_ids = 0;
    enum gx_status status = GX_OK;
    l.row = malloc(gallery->meta.dim * sizeof(float));
    if (l.row == NULL)
        return gx_fail(err, GX_E_NOMEM, "load a gallery: out of memory");
    GX_TRY_OUT(gx_store_iter_begin(galleries->store, GX_CF_EMB, prefix, none, false, &l.emb, err));
    GX_TRY_OUT(gx_store_iter_begin(galleries->store, GX_CF_REC, prefix, none, false, &l.rec, err));
    GX_TRY_OUT(load_rows(galleries, gallery, &l, err));
    GX_TRY_OUT(count_keys(galleries, GX_CF_BY_RECORD, prefix, &n_ids, err));
    if (n_ids != l.n) {
        status = gx_fail(err, GX_E_CORRUPT, "family by_record holds %" PRIu64 " ids for %" PRIu64 " rows", n_ids, l.n);
        goto out;
    }
    gx_rows_publish(gallery->rows);
    GX_TRY_OUT(gx_hold_load(galleries, gallery, err)); /* before anybody may search */
    load_index(galleries, gallery);
    atomic_store(&gallery->loaded, true);
out:
    gx_store_iter_end(l.emb);
    gx_store_iter_end(l.rec);
    explicit_bzero(l.row, gallery->meta.dim * sizeof(float));
    free(l.row);
    return status;
}
