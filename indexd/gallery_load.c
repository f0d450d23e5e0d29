/* A gallery is filled from the store, and gets its index.
 *
 * The path: family rec, in order -> slots -> parts of them, by all cores that are idle: emb -> floats, record ->
 * columns; one more part counts by_record -> quarantine -> saved index, when it is whole and of this gallery, or one
 * that is quickly made -> loaded. What can go wrong: a damaged row or families that disagree fail the load with the
 * reason (the gallery stays NOT_SERVING, nothing is dropped silently); an unusable saved index costs a rebuild, never
 * an answer. */
#include <inttypes.h>

#include "crew.h"
#include "hold_private.h"
#include "index_file.h"
#include "log.h"

#define PART_SLOTS     16384u /* some 30 MB of floats */
#define BUILD_US_GUESS 500    /* a row's share of the slowest build (HNSW), until one was measured */

struct load {
    struct gx_galleries *galleries;
    struct gx_gallery *gallery;
    struct gx_slice prefix; /* of the gallery's keys in every family */
    uint32_t n;             /* rows */
    uint64_t n_ids;         /* of by_record */
    atomic_bool failed;
    pthread_mutex_t lock; /* guards what follows: the first part that failed */
    size_t failed_part;
    struct gx_err err;
};

/* --- slots --- */

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

static enum gx_status append_row(struct load *load, struct gx_slice key, struct gx_slice rec, struct gx_err *err)
{
    if (key.len != GX_KEY_ROW_LEN)
        return gx_fail(err, GX_E_CORRUPT, "family rec holds a key of %zu bytes", key.len);
    uint64_t rno = gx_codec_get_u64(key.data + 4);
    if (load->n++ == 0) {
        struct gx_record record;
        if (gx_codec_record_decode(rec, &record, err) != GX_OK)
            return gx_err_wrap(err, "row %" PRIu64 " of family rec", rno);
        GX_TRY(check_secret(load->galleries, load->gallery, &record, rno, err));
    }
    return gx_rows_append_unfilled(load->gallery->rows, rno, rec, err);
}

static enum gx_status check_going_on(const struct load *load, struct gx_err *err)
{
    return atomic_load(&load->galleries->stopping) ? gx_fail(err, GX_E_UNAVAILABLE, "stopped while loading") : GX_OK;
}

/* Every record gets its slot: what stands in it is small, and the order of the slots is that of the keys. */
static enum gx_status append_rows(struct load *load, struct gx_err *err)
{
    struct gx_store_iter *iter;
    bool more = true;
    GX_TRY(gx_store_iter_begin(load->galleries->store, GX_CF_REC, load->prefix, (struct gx_slice){NULL, 0}, false,
                               &iter, err));
    enum gx_status status = GX_OK;
    while (status == GX_OK && more) {
        struct gx_slice key, rec;
        status = gx_store_iter_next(iter, &more, &key, &rec, err);
        if (status == GX_OK && more)
            status = append_row(load, key, rec, err);
        if (status == GX_OK)
            status = check_going_on(load, err);
    }
    gx_store_iter_end(iter);
    return status;
}

/* --- what stands in them --- */

static enum gx_status fill_row(struct load *load, uint32_t slot, struct gx_slice emb, struct gx_err *err)
{
    struct gx_gallery *g = load->gallery;
    struct gx_row row;
    struct gx_record record;
    struct gx_key subject = {0};
    gx_rows_get(g->rows, slot, &row);
    if (gx_codec_record_decode(row.record, &record, err) != GX_OK)
        return gx_err_wrap(err, "row %" PRIu64 " of family rec", row.rno);
    if (record.subject_id.len > 0)
        GX_TRY(gx_keys_hash(&load->galleries->secret, GX_ID_SUBJECT, gx_slice_text(g->meta.name), record.subject_id,
                            &subject, err));
    float *floats = gx_rows_fill(g->rows, slot, record.captured_at_us, &subject);
    if (gx_codec_emb_decode(emb, g->meta.dim, floats, err) != GX_OK)
        return gx_err_wrap(err, "row %" PRIu64 " of family emb", row.rno);
    return GX_OK;
}

static enum gx_status disagree(uint32_t slot, struct gx_err *err)
{
    return gx_fail(err, GX_E_CORRUPT, "families emb and rec disagree after %" PRIu32 " rows", slot);
}

/* Slots [from, until): the keys of emb from behind those of the part before on must be theirs, each and no other. */
static enum gx_status fill_rows(struct load *load, uint32_t from, uint32_t until, struct gx_store_iter *emb,
                                struct gx_err *err)
{
    uint8_t expected[GX_KEY_ROW_LEN];
    struct gx_slice key, value;
    bool found;
    for (uint32_t slot = from; slot < until; slot++) {
        gx_codec_row_key(load->gallery->meta.number, gx_rows_rno(load->gallery->rows, slot), expected);
        GX_TRY(gx_store_iter_next(emb, &found, &key, &value, err));
        if (!found || !gx_slice_equal(key, (struct gx_slice){expected, sizeof(expected)}))
            return disagree(slot, err);
        GX_TRY(fill_row(load, slot, value, err));
        GX_TRY(check_going_on(load, err));
    }
    if (until < load->n)
        return GX_OK;
    GX_TRY(gx_store_iter_next(emb, &found, &key, &value, err));
    return found ? disagree(until, err) : GX_OK;
}

static enum gx_status fill_part(struct load *load, size_t part, struct gx_err *err)
{
    struct gx_store_iter *emb;
    uint8_t bytes[GX_KEY_ROW_LEN];
    struct gx_slice begin = {NULL, 0};
    uint32_t from = (uint32_t)part * PART_SLOTS, until = load->n - from > PART_SLOTS ? from + PART_SLOTS : load->n;
    if (from > 0) {
        gx_codec_row_key(load->gallery->meta.number, gx_rows_rno(load->gallery->rows, from - 1) + 1, bytes);
        begin = (struct gx_slice){bytes, sizeof(bytes)};
    }
    GX_TRY(gx_store_iter_begin(load->galleries->store, GX_CF_EMB, load->prefix, begin, false, &emb, err));
    enum gx_status status = fill_rows(load, from, until, emb, err);
    gx_store_iter_end(emb);
    return status;
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

/* Part 0 counts, the others fill. */
static void do_part(void *arg, size_t member, size_t part)
{
    struct load *load = arg;
    struct gx_err err;
    (void)member;
    if (atomic_load(&load->failed))
        return;
    enum gx_status status = part == 0 ? count_keys(load->galleries, GX_CF_BY_RECORD, load->prefix, &load->n_ids, &err)
                                      : fill_part(load, part - 1, &err);
    if (status == GX_OK)
        return;
    pthread_mutex_lock(&load->lock);
    if (!atomic_load(&load->failed) || part < load->failed_part) {
        load->failed_part = part;
        load->err = err;
    }
    atomic_store(&load->failed, true);
    pthread_mutex_unlock(&load->lock);
}

static enum gx_status load_rows(struct load *load, struct gx_err *err)
{
    GX_TRY(append_rows(load, err));
    gx_crew_run(do_part, load, 1 + GX_MAX((load->n + (size_t)PART_SLOTS - 1) / PART_SLOTS, (size_t)1));
    if (atomic_load(&load->failed)) {
        if (err != NULL)
            *err = load->err;
        return load->err.status;
    }
    if (load->n_ids != load->n)
        return gx_fail(err, GX_E_CORRUPT, "family by_record holds %" PRIu64 " ids for %" PRIu32 " rows", load->n_ids,
                       load->n);
    gx_rows_publish(load->gallery->rows);
    return GX_OK;
}

/* --- the index --- */

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
    if (!spec->saves || gx_gallery_index_path(galleries, g, path, &err) != GX_OK)
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
    uint8_t prefix[4];
    struct load load = {.galleries = galleries,
                        .gallery = gallery,
                        .prefix = {prefix, sizeof(prefix)},
                        .lock = PTHREAD_MUTEX_INITIALIZER};
    gx_codec_put_u32(prefix, gallery->meta.number);
    enum gx_status status = load_rows(&load, err);
    pthread_mutex_destroy(&load.lock);
    GX_TRY(status);
    GX_TRY(gx_hold_load(galleries, gallery, err)); /* before anybody may search */
    load_index(galleries, gallery);
    atomic_store(&gallery->loaded, true);
    return GX_OK;
}
