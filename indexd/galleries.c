/* A data directory, opened and closed.
 *
 * The path of opening: FORMAT (ours, this version) -> no other process, no unknown files -> secret -> store ->
 * counters, certificate key and galleries -> outer ledger, replayed -> the ledger agrees with the store -> writer ->
 * keeper, with the tickets that are not finished -> indexer, which loads the galleries. Closing is the same list
 * backwards.
 *
 * What can go wrong: each step has its own one-line error that names the file and says what to do; nothing is repaired
 * or created by opening. */
#include "galleries.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"
#include "file.h"
#include "hold_private.h"
#include "log.h"

#define KEY_SECRET_CHECK "secret_check" /* a uuid value: the first half of an HMAC of a constant */
#define FORMAT_TEXT      "indexd data directory\nformat 1\n"

/* --- creating --- */

/* What the store keeps of the secret: enough to know it again. */
static enum gx_status secret_check(const struct gx_secret *secret, struct gx_uuid *out, struct gx_err *err)
{
    struct gx_slice what = gx_slice_text("indexd secret check");
    struct gx_digest digest;
    GX_TRY(gx_keys_hmac(secret, &what, 1, &digest, err));
    memcpy(out->bytes, digest.bytes, sizeof(out->bytes));
    return GX_OK;
}

static enum gx_status put_first_counters(struct gx_store *store, const struct gx_secret *secret, const char *dir,
                                         struct gx_err *err)
{
    struct gx_store_batch *batch;
    struct gx_uuid uuid, check;
    uint8_t value[GX_UUID_VALUE_LEN], check_value[GX_UUID_VALUE_LEN];
    GX_TRY(gx_keys_uuid(&uuid, err));
    GX_TRY(secret_check(secret, &check, err));
    gx_codec_uuid_encode(&check, check_value);
    GX_TRY(gx_store_batch_new(store, &batch, err));
    gx_codec_uuid_encode(&uuid, value);
    gx_store_batch_put(batch, GX_CF_DEFAULT, gx_codec_key_store_uuid(), (struct gx_slice){value, sizeof(value)});
    gx_store_batch_put(batch, GX_CF_DEFAULT, gx_slice_text(KEY_SECRET_CHECK),
                       (struct gx_slice){check_value, sizeof(check_value)});
    gx_writer_put_counter(batch, gx_codec_key_schema(), GX_FORMAT_VERSION);
    gx_writer_put_counter(batch, gx_codec_key_next_rno(), 1);
    gx_writer_put_counter(batch, gx_codec_key_next_gallery(), 1);
    gx_writer_put_counter(batch, gx_codec_key_next_ticket(), 1);
    gx_writer_put_counter(batch, gx_codec_key_epoch(), 0);
    enum gx_status status = gx_certificate_create_key(dir, batch, err);
    if (status == GX_OK)
        status = gx_store_commit(store, batch, err);
    gx_store_batch_free(batch);
    return status;
}

static enum gx_status create_store(const char *dir, const struct gx_secret *secret, struct gx_err *err)
{
    char path[1024];
    struct gx_store *store;
    static const struct gx_store_options options;
    GX_TRY(gx_file_path(dir, "store", path, sizeof(path), err));
    GX_TRY(gx_store_create(path, err));
    GX_TRY(gx_store_open(path, &options, &store, err));
    enum gx_status status = put_first_counters(store, secret, dir, err);
    gx_store_close(store);
    return status;
}

static enum gx_status create_files(const char *dir, const char *ledger_path, struct gx_err *err)
{
    char path[1024];
    struct gx_secret secret;
    GX_TRY(gx_keys_random(&secret, sizeof(secret), err));
    GX_TRY(gx_file_path(dir, "secret.key", path, sizeof(path), err));
    enum gx_status status =
        gx_file_write(path, (struct gx_slice){secret.bytes, sizeof(secret.bytes)}, 0600, false, err);
    if (status == GX_OK)
        status = create_store(dir, &secret, err);
    explicit_bzero(&secret, sizeof(secret));
    GX_TRY(status);
    GX_TRY(gx_file_path(dir, "index", path, sizeof(path), err));
    GX_TRY(gx_file_make_dir(path, err));
    if (ledger_path == NULL) {
        GX_TRY(gx_file_path(dir, "expunge.log", path, sizeof(path), err));
        ledger_path = path;
    }
    /* A ledger that is there belongs to another secret.key: its hashes would mean nothing here. */
    enum gx_status created = gx_ledger_create(ledger_path, err);
    if (created == GX_E_EXISTS)
        return gx_fail(
            err, GX_E_EXISTS,
            "there is a ledger '%s', of another data directory: restore that directory's secret.key and store "
            "from a backup, or name another ledger.path",
            ledger_path);
    GX_TRY(created);
    /* Last: with it the directory is whole. */
    GX_TRY(gx_file_path(dir, "FORMAT", path, sizeof(path), err));
    return gx_file_write(path, gx_slice_text(FORMAT_TEXT), 0644, false, err);
}

enum gx_status gx_galleries_create(const char *dir, const char *ledger_path, struct gx_err *err)
{
    GX_TRY(gx_file_make_dir(dir, err));
    if (create_files(dir, ledger_path, err) == GX_OK)
        return GX_OK;
    struct gx_err ignored;
    if (gx_file_remove_tree(dir, &ignored) != GX_OK)
        return gx_err_wrap(err, "create '%s' (remove what is left of it)", dir);
    return gx_err_wrap(err, "create '%s'", dir);
}

/* --- opening --- */

enum gx_status gx_galleries_check_format(const char *dir, struct gx_err *err)
{
    char path[1024];
    struct gx_arena arena;
    struct gx_slice text;
    struct stat st;
    if (stat(dir, &st) != 0)
        return gx_fail(err, GX_E_NOT_FOUND, "there is no directory '%s': create it with 'indexd init --data %s'", dir,
                       dir);
    GX_TRY(gx_file_path(dir, "FORMAT", path, sizeof(path), err));
    gx_arena_init(&arena, 4096);
    enum gx_status status = gx_file_read(path, 1024, &arena, &text, err);
    if (status == GX_E_NOT_FOUND)
        status = gx_fail(err, GX_E_FORMAT,
                         "'%s' is not a data directory of indexd: it has no file FORMAT; create one "
                         "with 'indexd init'",
                         dir);
    else if (status == GX_OK && !gx_slice_equal(text, gx_slice_text(FORMAT_TEXT)))
        status = gx_fail(err, GX_E_FORMAT,
                         "'%s' is of another format than 1, which this version reads: use the "
                         "indexd that wrote it",
                         path);
    gx_arena_fini(&arena);
    return status;
}

static enum gx_status read_secret(struct gx_galleries *galleries, struct gx_err *err)
{
    char path[1024];
    struct gx_arena arena;
    struct gx_slice bytes;
    GX_TRY(gx_file_path(galleries->data_dir, "secret.key", path, sizeof(path), err));
    gx_arena_init(&arena, 4096);
    enum gx_status status = gx_file_read(path, 1024, &arena, &bytes, err);
    if (status == GX_E_NOT_FOUND)
        status = gx_fail(err, GX_E_CORRUPT,
                         "'%s' is missing: without it no id can be found again; put it back from a "
                         "backup",
                         path);
    else if (status == GX_OK && bytes.len != GX_SECRET_LEN)
        status = gx_fail(err, GX_E_CORRUPT, "'%s' is damaged: put it back from a backup", path);
    if (status == GX_OK)
        memcpy(galleries->secret.bytes, bytes.data, GX_SECRET_LEN);
    gx_arena_fini(&arena);
    return status;
}

static enum gx_status get_counter(struct gx_galleries *galleries, struct gx_slice key, struct gx_arena *arena,
                                  uint64_t *out, struct gx_err *err)
{
    struct gx_slice value;
    enum gx_status status = gx_store_get(galleries->store, GX_CF_DEFAULT, key, arena, &value, err);
    if (status == GX_E_NOT_FOUND)
        return gx_fail(err, GX_E_CORRUPT, "the store in '%s' lacks its counters: restore a backup",
                       galleries->store_dir);
    GX_TRY(status);
    return gx_codec_counter_decode(value, out, err);
}

static enum gx_status read_counters(struct gx_galleries *galleries, struct gx_arena *arena, struct gx_err *err)
{
    uint64_t schema, next_gallery, epoch;
    struct gx_slice uuid;
    GX_TRY(get_counter(galleries, gx_codec_key_schema(), arena, &schema, err));
    if (schema != GX_FORMAT_VERSION)
        return gx_fail(err, GX_E_FORMAT, "the store in '%s' is of format %" PRIu64 ", this version reads %d",
                       galleries->store_dir, schema, GX_FORMAT_VERSION);
    GX_TRY(get_counter(galleries, gx_codec_key_next_rno(), arena, &galleries->next_rno, err));
    GX_TRY(get_counter(galleries, gx_codec_key_next_ticket(), arena, &galleries->next_ticket, err));
    GX_TRY(get_counter(galleries, gx_codec_key_next_gallery(), arena, &next_gallery, err));
    GX_TRY(get_counter(galleries, gx_codec_key_epoch(), arena, &epoch, err));
    galleries->next_gallery = (uint32_t)next_gallery;
    galleries->opened_epoch = epoch;
    atomic_store(&galleries->epoch, epoch);
    GX_TRY(gx_store_get(galleries->store, GX_CF_DEFAULT, gx_codec_key_store_uuid(), arena, &uuid, err));
    return gx_codec_uuid_decode(uuid, &galleries->uuid, err);
}

/* Is secret.key the one that the store was made with? */
static enum gx_status check_secret(struct gx_galleries *galleries, struct gx_arena *arena, struct gx_err *err)
{
    struct gx_slice value;
    struct gx_uuid known, mine;
    GX_TRY(gx_store_get(galleries->store, GX_CF_DEFAULT, gx_slice_text(KEY_SECRET_CHECK), arena, &value, err));
    GX_TRY(gx_codec_uuid_decode(value, &known, err));
    GX_TRY(secret_check(&galleries->secret, &mine, err));
    if (memcmp(&known, &mine, sizeof(mine)) != 0)
        return gx_fail(err, GX_E_CORRUPT,
                       "'%s/secret.key' is not the key of this store: put the right one back from a backup",
                       galleries->data_dir);
    return GX_OK;
}

/* Saved indexes of galleries that are no more, and what a crash left half written: they hold codes of faces. */
static enum gx_status sweep_indexes(struct gx_galleries *galleries, struct gx_err *err)
{
    DIR *dir = opendir(galleries->index_dir);
    if (dir == NULL)
        return gx_err_errno(err, errno, "open '%s'", galleries->index_dir);
    enum gx_status status = GX_OK;
    for (struct dirent *entry; status == GX_OK && (entry = readdir(dir)) != NULL;) {
        char uuid[37], path[1100];
        bool known = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        for (size_t i = 0; i < galleries->n && !known; i++) {
            gx_keys_uuid_text(&galleries->list[i]->meta.uuid, uuid);
            known = strncmp(entry->d_name, uuid, 36) == 0 && strcmp(entry->d_name + 36, ".index") == 0;
        }
        if (known)
            continue;
        status = gx_file_path(galleries->index_dir, entry->d_name, path, sizeof(path), err);
        if (status == GX_OK)
            status = gx_file_remove(path, err);
    }
    closedir(dir);
    return status;
}

static enum gx_status list_galleries(struct gx_galleries *galleries, struct gx_err *err)
{
    struct gx_store_iter *iter;
    GX_TRY(gx_store_iter_begin(galleries->store, GX_CF_DEFAULT, gx_slice_text(GX_KEY_GALLERY_PREFIX),
                               (struct gx_slice){NULL, 0}, false, &iter, err));
    enum gx_status status;
    for (;;) {
        struct gx_slice key, value;
        struct gx_gallery_meta meta;
        bool more;
        GX_TRY_OUT(gx_store_iter_next(iter, &more, &key, &value, err));
        if (!more)
            break;
        if (key.len != GX_KEY_GALLERY_LEN)
            continue;
        GX_TRY_OUT(gx_codec_gallery_decode(value, &meta, err));
        if (meta.state == GX_GALLERY_DELETING) {
            gx_keeper_add_deleted(galleries, &meta);
            continue;
        }
        if (galleries->n == GX_GALLERIES_MAX) {
            status = gx_fail(err, GX_E_CORRUPT, "the store lists more than %d galleries", GX_GALLERIES_MAX);
            goto out;
        }
        GX_TRY_OUT(gx_gallery_new(&meta, galleries->rows_dir, &galleries->list[galleries->n], err));
        galleries->n++;
    }
out:
    gx_store_iter_end(iter);
    return status;
}

static enum gx_status open_ledger(struct gx_galleries *galleries, struct gx_err *err)
{
    bool torn;
    const char *mirror = galleries->ledger_mirror[0] == '\0' ? NULL : galleries->ledger_mirror;
    GX_TRY(gx_replay_begin(galleries, err));
    enum gx_status status =
        gx_ledger_open(galleries->ledger_path, mirror, gx_replay_entry, galleries, &galleries->ledger, &torn, err);
    if (status == GX_E_NOT_FOUND)
        return gx_fail(err, GX_E_CORRUPT,
                       "the outer ledger '%s' is missing: without it expunged records could come "
                       "back; put the newest copy or the mirror in its place",
                       galleries->ledger_path);
    GX_TRY(status);
    if (torn)
        gx_log_warn("ledger_tail_cut", "reason=\"an entry that was never acknowledged was incomplete\"");
    galleries->next_ticket = GX_MAX(galleries->next_ticket, gx_ledger_last_number(galleries->ledger) + 1);
    return gx_replay_check(galleries, err);
}

static enum gx_status resume_ticket(struct gx_galleries *galleries, const struct gx_ticket *ticket,
                                    struct gx_arena *arena, struct gx_err *err)
{
    struct gx_pending *pending;
    struct gx_row_keys *keys;
    struct gx_slice value;
    uint8_t key[GX_KEY_ERASURE_LEN];
    gx_codec_key_erasure(ticket->number, key);
    GX_TRY(gx_arena_array(arena, ticket->n_records, sizeof(*keys), &keys, err));
    enum gx_status status =
        gx_store_get(galleries->store, GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)}, arena, &value, err);
    if (status == GX_E_NOT_FOUND)
        return gx_fail(err, GX_E_CORRUPT,
                       "the store lacks what the erasure of ticket %" PRIu64 " needs: restore a backup",
                       ticket->number);
    GX_TRY(status);
    GX_TRY(gx_codec_erasure_decode(value, keys, ticket->n_records, err));
    GX_TRY(gx_keeper_reserve(ticket->rnos, ticket->n_records, &pending, err));
    gx_keeper_add_ticket(galleries, pending, ticket, keys, 0);
    return GX_OK;
}

/* Tickets that are not VERIFIED. */
static enum gx_status resume_tickets(struct gx_galleries *galleries, struct gx_err *err)
{
    struct gx_store_iter *iter;
    struct gx_arena arena;
    struct gx_slice none = {NULL, 0};
    gx_arena_init(&arena, (size_t)256 << 20);
    GX_TRY(gx_store_iter_begin(galleries->store, GX_CF_LEDGER, none, none, false, &iter, err));
    enum gx_status status;
    for (;;) {
        struct gx_slice key, value;
        struct gx_ticket ticket;
        bool more;
        gx_arena_reset(&arena);
        GX_TRY_OUT(gx_store_iter_next(iter, &more, &key, &value, err));
        if (!more)
            break;
        GX_TRY_OUT(gx_codec_ticket_decode(value, &arena, &ticket, err));
        if (gx_expunge_is_final(&ticket))
            continue;
        GX_TRY_OUT(resume_ticket(galleries, &ticket, &arena, err));
    }
out:
    gx_store_iter_end(iter);
    gx_arena_fini(&arena);
    return status;
}

/* The directory is ours alone, and holds nothing that we do not know. */
static enum gx_status open_datadir(struct gx_galleries *galleries, struct gx_err *err)
{
    size_t n_left;
    const char *own[] = {galleries->ledger_path, galleries->ledger_mirror[0] == '\0' ? NULL : galleries->ledger_mirror,
                         galleries->options.config_path};
    GX_TRY(gx_datadir_open(galleries->data_dir, own, GX_COUNT_OF(own), &galleries->datadir, err));
    GX_TRY(gx_datadir_check(galleries->datadir, err));
    GX_TRY(gx_datadir_clean(galleries->datadir, &n_left, err));
    if (n_left > 0)
        gx_log_info("leftovers_removed", "files=%zu", n_left);
    return GX_OK;
}

/* A full disk must not keep the server from starting: expungements could not be asked for. */
static enum gx_status open_store(struct gx_galleries *galleries, const struct gx_store_options *options,
                                 struct gx_err *err)
{
    gx_galleries_spare_room(galleries);
    enum gx_status status = gx_store_open(galleries->store_dir, options, &galleries->store, err);
    if (status == GX_E_FULL && gx_galleries_release_ballast(galleries))
        status = gx_store_open(galleries->store_dir, options, &galleries->store, err);
    return status;
}

static enum gx_status make_rows_dir(const struct gx_galleries *galleries, struct gx_err *err)
{
    if (galleries->rows_dir[0] == '\0' || mkdir(galleries->rows_dir, 0700) == 0 || errno == EEXIST)
        return GX_OK;
    return gx_err_errno(err, errno, "create '%s'", galleries->rows_dir);
}

static enum gx_status open_parts(struct gx_galleries *galleries, struct gx_err *err)
{
    struct gx_arena arena;
    const struct gx_store_options options = {.cache_bytes = galleries->options.cache_bytes,
                                             .rate_limit_bytes = galleries->options.rate_limit_bytes};
    GX_TRY(gx_galleries_check_format(galleries->data_dir, err));
    GX_TRY(open_datadir(galleries, err));
    GX_TRY(read_secret(galleries, err));
    GX_TRY(open_store(galleries, &options, err));
    GX_TRY(gx_keeper_start(galleries, err));
    GX_TRY(gx_hold_table_new(&galleries->holds, err));
    gx_arena_init(&arena, 65536);
    enum gx_status status = read_counters(galleries, &arena, err);
    if (status == GX_OK)
        status = check_secret(galleries, &arena, err);
    if (status == GX_OK)
        status = gx_certificate_open_key(galleries, &arena, err);
    gx_arena_fini(&arena);
    GX_TRY(status);
    GX_TRY(make_rows_dir(galleries, err));
    GX_TRY(list_galleries(galleries, err));
    GX_TRY(sweep_indexes(galleries, err));
    GX_TRY(open_ledger(galleries, err));
    GX_TRY(gx_erase_open(galleries, err));
    GX_TRY(resume_tickets(galleries, err));
    GX_TRY(gx_backup_open(galleries, err));
    GX_TRY(gx_writer_start(galleries, err));
    GX_TRY(gx_indexer_start(galleries, err));
    gx_galleries_renew_ballast(galleries);
    GX_TRY(gx_keeper_run(galleries, err));
    return gx_backup_run(galleries, err);
}

static enum gx_status take_options(struct gx_galleries *g, const struct gx_galleries_options *options,
                                   struct gx_err *err)
{
    g->options = *options;
    if (g->options.writer_queue_max == 0)
        g->options.writer_queue_max = 4096;
    if (g->options.tail_max == 0)
        g->options.tail_max = 500000;
    if (g->options.rebuild_dead == 0)
        g->options.rebuild_dead = 0.1;
    if (g->options.erase_deadline_us == 0)
        g->options.erase_deadline_us = (int64_t)60 * 1000000;
    if (g->options.erase_retry_us == 0)
        g->options.erase_retry_us = 1000000;
    if (g->options.scan_all_bytes == 0)
        g->options.scan_all_bytes = (uint64_t)4 << 30;
    if (g->options.hnsw_from == 0)
        g->options.hnsw_from = 2000000;
    if (g->options.rebuild_after_us == 0)
        g->options.rebuild_after_us = (int64_t)30 * 1000000;
    if (strlen(options->data_dir) >= sizeof(g->data_dir) - 64)
        return gx_fail(err, GX_E_INVALID, "the path of the data directory is too long");
    strcpy(g->data_dir, options->data_dir);
    GX_TRY(gx_file_path(g->data_dir, "store", g->store_dir, sizeof(g->store_dir), err));
    GX_TRY(gx_file_path(g->data_dir, "index", g->index_dir, sizeof(g->index_dir), err));
    if (options->rows_in_file)
        GX_TRY(gx_file_path(g->data_dir, "rows", g->rows_dir, sizeof(g->rows_dir), err));
    GX_TRY(gx_file_path(g->data_dir, "expunge.log", g->ledger_path, sizeof(g->ledger_path), err));
    if (options->ledger_path != NULL &&
        (size_t)snprintf(g->ledger_path, sizeof(g->ledger_path), "%s", options->ledger_path) >= sizeof(g->ledger_path))
        return gx_fail(err, GX_E_INVALID, "ledger.path is too long");
    if (options->ledger_mirror != NULL && (size_t)snprintf(g->ledger_mirror, sizeof(g->ledger_mirror), "%s",
                                                           options->ledger_mirror) >= sizeof(g->ledger_mirror))
        return gx_fail(err, GX_E_INVALID, "ledger.mirror is too long");
    return GX_OK;
}

enum gx_status gx_galleries_open(const struct gx_galleries_options *options, struct gx_galleries **out,
                                 struct gx_err *err)
{
    *out = NULL;
    struct gx_galleries *g = calloc(1, sizeof(*g));
    if (g == NULL)
        return gx_fail(err, GX_E_NOMEM, "open the data directory: out of memory");
    pthread_rwlock_init(&g->lock, NULL);
    enum gx_status status = take_options(g, options, err);
    if (status == GX_OK)
        status = open_parts(g, err);
    if (status != GX_OK) {
        gx_galleries_close(g);
        return status;
    }
    *out = g;
    return GX_OK;
}

enum gx_status gx_galleries_wait_loaded(struct gx_galleries *galleries, struct gx_err *err)
{
    return gx_indexer_wait_loaded(galleries, err);
}

bool gx_galleries_close(struct gx_galleries *galleries)
{
    if (galleries == NULL)
        return true;
    atomic_store(&galleries->stopping, true);
    gx_backup_stop_all(galleries);
    gx_keeper_stop(galleries); /* it and the indexer wait for the writer, so they go first */
    bool joined = gx_indexer_stop(galleries);
    gx_writer_stop(galleries);
    gx_ledger_close(galleries->ledger);
    galleries->ledger = NULL;
    if (!joined)
        return false; /* everything acknowledged is on disk: the store needs no closing */
    gx_keeper_free(galleries);
    gx_backup_free(galleries);
    gx_indexer_free(galleries);
    gx_hold_forget_unwritten(galleries);
    gx_hold_table_free(galleries->holds);
    for (size_t i = 0; i < galleries->n; i++)
        gx_gallery_unref(galleries->list[i]);
    gx_store_close(galleries->store);
    gx_keys_signer_close(galleries->signer);
    gx_datadir_close(galleries->datadir);
    explicit_bzero(&galleries->secret, sizeof(galleries->secret));
    pthread_rwlock_destroy(&galleries->lock);
    free(galleries);
    return true;
}

void gx_galleries_interrupt(struct gx_galleries *galleries)
{
    atomic_store(&galleries->stopping, true);
}

uint64_t gx_galleries_epoch(struct gx_galleries *galleries)
{
    return atomic_load(&galleries->epoch);
}

int gx_galleries_health(struct gx_galleries *galleries, struct gx_slice name)
{
    int state = name.len == 0 ? 1 : 0;
    pthread_rwlock_rdlock(&galleries->lock);
    for (size_t i = 0; i < galleries->n; i++) {
        int one = atomic_load(&galleries->list[i]->loaded) ? 1 : 2;
        if (name.len == 0)
            state = GX_MAX(state, one);
        else if (gx_slice_equal(name, gx_slice_text(galleries->list[i]->meta.name)))
            state = one;
    }
    pthread_rwlock_unlock(&galleries->lock);
    return state;
}
