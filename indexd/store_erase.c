/* Removing from every file of the database what deleted keys left behind.
 *
 * The path: look that the keys are deleted; let no compaction run by itself in their families; then up to three rounds
 * of: delete the keys once more, flush every family, compact from the top level to the bottom what the keys lie in,
 * until the clean rule holds for all of them; wait until the files that were replaced have left the directory; fsync
 * it.
 *
 * Why so:
 * - RocksDB's compact_range tells no outcome, and skips levels in which it finds no entry of its range. So nothing is
 *   believed but listings; the keys are deleted anew, which puts an entry on top; and each range begins with a key of
 *   the deepest file (stretch).
 * - A write-ahead log lives until every family with data in it is flushed.
 * - Compactions that run by themselves would give a value's file a new number while its deletion is elsewhere. They are
 *   held until no erasure has followed for a while (gx_store_erase_rest).
 * - What is clean at one moment stays clean: later writes do not hold it. So each key is looked at right after its
 *   compaction, and once.
 *
 * What can go wrong: an open snapshot keeps values through a compaction, an open iterator keeps files on the disk: both
 * end with GX_E_STATE. A damaged table file stops the compaction, and RocksDB takes no writes from then on. A full
 * disk: looked for before each compaction, since RocksDB stops all background work for seconds when it meets one. A
 * crash anywhere: the erasure is repeated from its start. */
#include "store_private.h"

#include "clock.h"
#include "failpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX   3
#define POLL_NS      5000000
#define BATCH_BYTES  ((size_t)1 << 20)
#define TABLES_MAX   32                    /* that one call of compact_range is asked for: it can't be stopped */
#define ROOM_MAX     ((uint64_t)256 << 20) /* what a compaction may need at a time, by max_compaction_bytes */
#define IDLE_WAIT_US ((int64_t)60 * 1000000)
#define HOLD_US      ((int64_t)2 * 1000000) /* after the last erasure */
#define CROWDED      8 /* tables on the top level of a family; RocksDB compacts from 4 on, and slows writers down at 20 */

static const char doing[] = "cannot erase from the store";

struct run {
    struct gx_store *store;
    const struct gx_store_stain *stains;
    size_t n_stains;
    bool **clean; /* of each stain, of each key */
    gx_store_stop *stop;
    void *stop_arg;
    struct gx_store_files before;   /* logs from before the flush, tables from after it */
    struct gx_store_tables flushed; /* live right after the flush */
    struct gx_store_erased *out;
};

/* ---------------------------------------------------------------- small steps */

static enum gx_status may_go_on(const struct run *run, struct gx_err *err)
{
    if (run->stop != NULL && run->stop(run->stop_arg))
        return gx_fail(err, GX_E_CANCELLED, "%s: stopped, it goes on after the next start", doing);
    return GX_OK;
}

static void pause_briefly(void)
{
    nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
}

static uint64_t property(const struct gx_store *store, const char *name)
{
    uint64_t value = 0;
    int failed = rocksdb_property_int(store->db, name, &value);
    assert(failed == 0);
    (void)failed;
    return value;
}

/* Does the store take writes? A change without content is refused like any other and leaves nothing. */
static enum gx_status check_writable(struct gx_store *store, struct gx_err *err)
{
    rocksdb_writeoptions_t *options = rocksdb_writeoptions_create();
    rocksdb_writeoptions_disable_WAL(options, 1);
    rocksdb_writebatch_t *nothing = rocksdb_writebatch_create();
    char *error = NULL;
    rocksdb_write(store->db, options, nothing, &error);
    rocksdb_writebatch_destroy(nothing);
    rocksdb_writeoptions_destroy(options);
    return error == NULL ? GX_OK : gx_store_take_refusal(store, error, doing, err);
}

static enum gx_status check_snapshots(const struct run *run, struct gx_err *err)
{
    if (property(run->store, "rocksdb.num-snapshots") > 0)
        return gx_fail(err, GX_E_STATE, "%s: a snapshot of it is open, end it and try again", doing);
    return GX_OK;
}

static enum gx_status check_room(const struct run *run, uint64_t wanted, struct gx_err *err)
{
    struct statvfs info;
    if (fstatvfs(run->store->lock, &info) != 0 || info.f_blocks == 0 ||
        (uint64_t)info.f_bavail * info.f_frsize >= wanted)
        return GX_OK;
    return gx_fail(err, GX_E_FULL, "%s: the disk is full, make room: it takes %llu MB", doing,
                   (unsigned long long)(wanted >> 20) + 1);
}

/* ---------------------------------------------------------------- nothing is there */

static enum gx_status check_absent(const struct run *run, const struct gx_store_stain *stain, struct gx_err *err)
{
    struct gx_store *store = run->store;
    static const char there[] = "what it shall remove is there: delete it first";
    rocksdb_column_family_handle_t *family = store->families[stain->family];
    char *error = NULL;
    for (size_t i = 0; i < stain->n_keys; i++) {
        rocksdb_pinnableslice_t *value = rocksdb_get_pinned_cf(
            store->db, store->read_uncached, family, (const char *)stain->keys[i].data, stain->keys[i].len, &error);
        if (error != NULL)
            return gx_store_take_error(store->dir, error, doing, err);
        if (value != NULL) {
            rocksdb_pinnableslice_destroy(value);
            return gx_fail(err, GX_E_STATE, "%s: %s", doing, there);
        }
    }
    if (stain->n_keys > 0)
        return GX_OK;
    rocksdb_readoptions_t *options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_fill_cache(options, 0);
    if (stain->until.len > 0)
        rocksdb_readoptions_set_iterate_upper_bound(options, (const char *)stain->until.data, stain->until.len);
    rocksdb_iterator_t *cursor = rocksdb_create_iterator_cf(store->db, options, family);
    rocksdb_iter_seek(cursor, stain->from.len == 0 ? "" : (const char *)stain->from.data, stain->from.len);
    bool found = rocksdb_iter_valid(cursor);
    rocksdb_iter_get_error(cursor, &error);
    rocksdb_iter_destroy(cursor);
    rocksdb_readoptions_destroy(options);
    if (error != NULL)
        return gx_store_take_error(store->dir, error, doing, err);
    return found ? gx_fail(err, GX_E_STATE, "%s: %s", doing, there) : GX_OK;
}

static enum gx_status check_all_absent(const struct run *run, struct gx_err *err)
{
    for (size_t i = 0; i < run->n_stains; i++)
        GX_TRY(check_absent(run, &run->stains[i], err));
    return GX_OK;
}

/* ---------------------------------------------------------------- no compaction runs by itself */

static enum gx_status set_automatic(struct gx_store *store, enum gx_family family, bool on, struct gx_err *err)
{
    static const char *const name[] = {"disable_auto_compactions"};
    const char *value[] = {on ? "false" : "true"};
    char *error = NULL;
    rocksdb_set_options_cf(store->db, store->families[family], 1, name, value, &error);
    return error == NULL ? GX_OK : gx_store_take_error(store->dir, error, doing, err);
}

/* Those that run already may take a while; other families' count as well, since there is no number for each. */
static enum gx_status hold_compactions(struct run *run, struct gx_err *err)
{
    for (size_t i = 0; i < run->n_stains; i++) {
        enum gx_family family = run->stains[i].family;
        if (run->store->held[family])
            continue;
        run->store->held[family] = true;
        GX_TRY(set_automatic(run->store, family, false, err));
    }
    int64_t until_us = gx_clock_monotonic_us() + IDLE_WAIT_US;
    while (property(run->store, "rocksdb.num-running-compactions") > 0) {
        GX_TRY(may_go_on(run, err));
        if (gx_clock_monotonic_us() > until_us)
            return gx_fail(err, GX_E_STATE, "%s: compactions that run do not end, try again", doing);
        pause_briefly();
    }
    return GX_OK;
}

static void release_compactions(struct gx_store *store)
{
    for (int family = 0; family < GX_CF_COUNT; family++) {
        /* Fails only where RocksDB takes no writes any more, and then it does not compact either. */
        if (store->held[family] && set_automatic(store, (enum gx_family)family, true, NULL) == GX_OK)
            store->held[family] = false;
    }
}

/* Each change of an option is two or three fsyncs that writers wait for. So the hold outlives an erasure, for the next
 * one, unless files gather on the top level meanwhile. */
static void release_if_crowded(struct gx_store *store)
{
    struct gx_store_tables tables;
    if (gx_store_tables_init(&tables, store, NULL) != GX_OK) {
        release_compactions(store);
        return;
    }
    bool crowded = false;
    for (size_t family = 0; family < GX_CF_COUNT; family++) {
        size_t top = family * GX_STORE_LEVELS;
        crowded = crowded || (store->held[family] && tables.begins[top + 1] - tables.begins[top] >= CROWDED);
    }
    gx_store_tables_fini(&tables);
    if (crowded)
        release_compactions(store);
}

void gx_store_erase_rest(struct gx_store *store)
{
    pthread_mutex_lock(&store->slow);
    if (gx_clock_monotonic_us() - store->erased_at_us >= HOLD_US)
        release_compactions(store);
    pthread_mutex_unlock(&store->slow);
}

/* ---------------------------------------------------------------- delete anew, flush */

static enum gx_status delete_keys(struct gx_store *store, const struct gx_store_stain *stain, const bool *clean,
                                  struct gx_store_batch *batch, struct gx_err *err)
{
    for (size_t i = 0; i < stain->n_keys; i++) {
        if (!clean[i])
            gx_store_batch_delete(batch, stain->family, stain->keys[i]);
        if (gx_store_batch_bytes(batch) > BATCH_BYTES) {
            GX_TRY(gx_store_commit(store, batch, err));
            gx_store_batch_clear(batch);
        }
    }
    return GX_OK;
}

static enum gx_status delete_anew(struct run *run, struct gx_err *err)
{
    struct gx_store_batch *batch;
    GX_TRY(gx_store_batch_new(run->store, &batch, err));
    enum gx_status status = GX_OK;
    size_t empty = gx_store_batch_bytes(batch);
    for (size_t i = 0; i < run->n_stains && status == GX_OK; i++) {
        const struct gx_store_stain *stain = &run->stains[i];
        if (stain->n_keys > 0)
            status = delete_keys(run->store, stain, run->clean[i], batch, err);
        else if (!run->clean[i][0])
            status = gx_store_delete_range(run->store, stain->family, stain->from, stain->until, err);
    }
    if (status == GX_OK && gx_store_batch_bytes(batch) > empty)
        status = gx_store_commit(run->store, batch, err);
    gx_store_batch_free(batch);
    return status;
}

/* Deletes, flushes, and notes which files were there: logs before the flush, tables after it. */
static enum gx_status begin_round(struct run *run, struct gx_err *err)
{
    GX_TRY(may_go_on(run, err));
    gx_failpoint_pass("store_erase.before_delete");
    GX_TRY(delete_anew(run, err));
    gx_failpoint_pass("store_erase.before_flush");
    struct gx_store_files after = {0};
    gx_store_files_fini(&run->before);
    gx_store_tables_fini(&run->flushed);
    GX_TRY(gx_store_files_init(&run->before, run->store, err));
    GX_TRY(gx_store_flush(run->store, err));
    GX_TRY(gx_store_files_init(&after, run->store, err));
    struct gx_store_numbers tables = run->before.tables;
    run->before.tables = after.tables;
    after.tables = tables;
    gx_store_files_fini(&after);
    GX_TRY(gx_store_tables_init(&run->flushed, run->store, err));
    run->out->fence = 0;
    for (size_t i = 0; i < run->flushed.n_all; i++)
        run->out->fence = GX_MAX(run->out->fence, run->flushed.all[i].number);
    run->out->flushed_at_us = gx_clock_wall_us();
    gx_failpoint_pass("store_erase.after_flush");
    return GX_OK;
}

/* ---------------------------------------------------------------- compact */

/* The background work failed; RocksDB does not say why until something is written. */
static enum gx_status explain_failure(const struct run *run, struct gx_err *err)
{
    GX_TRY(check_writable(run->store, err));
    GX_TRY(check_room(run, ROOM_MAX, err));
    return gx_fail(err, GX_E_IO, "%s: rewriting a file failed, look at the disk, then restart", doing);
}

static uint64_t bytes_of(const struct gx_store_tables *tables, const struct gx_store_span *span)
{
    uint64_t bytes = 0;
    for (int level = 0; level < GX_STORE_LEVELS; level++)
        for (size_t at = 0; (at = gx_store_tables_find(tables, span, level, at)) != SIZE_MAX; at++)
            bytes += tables->all[at].size;
    return bytes;
}

static enum gx_status compact(struct run *run, const struct gx_store_tables *tables, const struct gx_store_span *span,
                              struct gx_err *err)
{
    struct gx_store *store = run->store;
    GX_TRY(may_go_on(run, err));
    GX_TRY(check_snapshots(run, err));
    GX_TRY(check_room(run, GX_MIN(bytes_of(tables, span), ROOM_MAX), err));
    GX_TRY(gx_store_may_write(store, err));
    uint64_t n_errors = property(store, "rocksdb.background-errors");
    rocksdb_compactoptions_t *options = rocksdb_compactoptions_create();
    rocksdb_compactoptions_set_bottommost_level_compaction(options, 3); /* kForceOptimized */
    rocksdb_compactoptions_set_exclusive_manual_compaction(options, 1);
    rocksdb_compact_range_cf_opt(store->db, store->families[span->family], options, (const char *)span->from.data,
                                 span->from.len, (const char *)span->until.data, span->until.len);
    rocksdb_compactoptions_destroy(options);
    gx_failpoint_pass("store_erase.between_compactions");
    if (property(store, "rocksdb.background-errors") != n_errors)
        return explain_failure(run, err);
    return check_snapshots(run, err);
}

/* RocksDB compacts from the first to the last level in which it finds an entry of the range. The deletion is one on
 * top; for the deepest level the range is made to begin with a key that a file there holds. In a further round it is
 * stretched over all files that were left, whatever the reason. The keys are borrowed from @tables. */
static void stretch(const struct gx_store_tables *tables, bool over_all, struct gx_store_span *span)
{
    struct gx_store_span asked = *span;
    int deepest = GX_STORE_LEVELS - 1;
    while (deepest > 0 && gx_store_tables_find(tables, &asked, deepest, 0) == SIZE_MAX)
        deepest--;
    size_t first = gx_store_tables_find(tables, &asked, deepest, 0);
    if (first != SIZE_MAX && gx_slice_compare(tables->all[first].lowest, span->from) < 0)
        span->from = tables->all[first].lowest;
    for (int level = 0; over_all && level < GX_STORE_LEVELS; level++)
        for (size_t at = 0; (at = gx_store_tables_find(tables, &asked, level, at)) != SIZE_MAX; at++) {
            const struct gx_store_table *table = &tables->all[at];
            if (gx_slice_compare(table->lowest, span->from) < 0)
                span->from = table->lowest;
            if (gx_slice_compare(table->highest, span->until) > 0)
                span->until = table->highest;
        }
}

/* Marks the spans of [@first, @last] that are clean; true: all of them. */
static bool mark(const struct run *run, const struct gx_store_tables *tables, size_t stain, size_t first, size_t last)
{
    bool all = true;
    for (size_t i = first; i <= last; i++) {
        struct gx_store_span span = gx_store_tables_span(&run->stains[stain], i);
        if (!run->clean[stain][i])
            run->clean[stain][i] = gx_store_tables_are_clean(tables, &span, run->out->fence);
        all = all && run->clean[stain][i];
    }
    return all;
}

/* The last of the spans from @first on that one call should be asked for: those in one file of the deepest level, and
 * in the next ones while at least half of them have any. A call for each would rewrite what they share again. */
static size_t find_last(const struct run *run, const struct gx_store_tables *tables, size_t stain, size_t first)
{
    const struct gx_store_stain *s = &run->stains[stain];
    size_t last = first, n_touched = 1;
    if (s->n_keys == 0)
        return last;
    size_t begin = gx_store_tables_place(tables, s->family, s->keys[first]), reached = begin;
    for (size_t i = first + 1; i < s->n_keys; i++) {
        if (mark(run, tables, stain, i, i))
            continue;
        size_t place = gx_store_tables_place(tables, s->family, s->keys[i]), n_spanned = place - begin + 1;
        if (place != reached) {
            if (n_spanned > TABLES_MAX || 2 * ++n_touched < n_spanned)
                break;
            reached = place;
        }
        last = i;
    }
    return last;
}

static enum gx_status clean_stain(struct run *run, size_t stain, bool over_all, struct gx_err *err)
{
    const struct gx_store_stain *s = &run->stains[stain];
    size_t n = gx_store_tables_count(s), first = 0;
    struct gx_store_tables tables;
    GX_TRY(gx_store_tables_init(&tables, run->store, err));
    enum gx_status status = GX_OK;
    while (first < n && status == GX_OK) {
        if (mark(run, &tables, stain, first, first)) {
            first++;
            continue;
        }
        size_t last = find_last(run, &tables, stain, first);
        struct gx_store_span span = gx_store_tables_span(s, first);
        span.until = gx_store_tables_span(s, last).until;
        stretch(&tables, over_all, &span);
        status = compact(run, &tables, &span, err);
        gx_store_tables_fini(&tables);
        if (status == GX_OK)
            status = gx_store_tables_init(&tables, run->store, err);
        if (status == GX_OK)
            mark(run, &tables, stain, first, last); /* what is not clean now is left to the next round */
        first = last + 1;
    }
    gx_store_tables_fini(&tables);
    return status;
}

static bool all_clean(const struct run *run)
{
    bool all = true;
    for (size_t i = 0; i < run->n_stains; i++)
        for (size_t j = 0; j < gx_store_tables_count(&run->stains[i]); j++)
            all = all && run->clean[i][j];
    return all;
}

static enum gx_status clean_tables(struct run *run, struct gx_err *err)
{
    for (int round = 0; !all_clean(run); round++) {
        if (round == ROUNDS_MAX)
            return gx_fail(err, GX_E_STATE, "%s: after %d rounds there are files of before, try again", doing,
                           ROUNDS_MAX);
        GX_TRY(begin_round(run, err));
        for (size_t i = 0; i < run->n_stains; i++)
            GX_TRY(clean_stain(run, i, round > 0, err));
    }
    GX_TRY(check_all_absent(run, err));
    GX_TRY(check_snapshots(run, err));
    run->out->compacted_at_us = gx_clock_wall_us();
    gx_failpoint_pass("store_erase.after_compaction");
    return GX_OK;
}

/* ---------------------------------------------------------------- wait until the files are gone */

static bool is_live(const struct gx_store_tables *tables, uint64_t number)
{
    for (size_t i = 0; i < tables->n_all; i++)
        if (tables->all[i].number == number)
            return true;
    return false;
}

static size_t keep_common(struct gx_store_numbers *numbers, const struct gx_store_numbers *present,
                          const struct gx_store_tables *live)
{
    size_t n = 0;
    for (size_t i = 0; i < numbers->n; i++)
        if (gx_store_files_has(present, numbers->all[i]) && !(live != NULL && is_live(live, numbers->all[i])))
            numbers->all[n++] = numbers->all[i];
    return numbers->n = n;
}

/* Reduces @left to what is in the directory still and, of tables, not live. A table in work counts until it is. */
static enum gx_status keep_left(const struct run *run, struct gx_store_files *left, size_t *out_n, struct gx_err *err)
{
    struct gx_store_files now;
    struct gx_store_tables live;
    GX_TRY(gx_store_files_init(&now, run->store, err));
    enum gx_status status = gx_store_tables_init(&live, run->store, err);
    if (status == GX_OK)
        *out_n = keep_common(&left->tables, &now.tables, &live) + keep_common(&left->logs, &now.logs, NULL);
    gx_store_tables_fini(&live);
    gx_store_files_fini(&now);
    return status;
}

/* Every table that is there and not live must go, whoever replaced it: a reader may keep it since long before. */
static enum gx_status wait_unlinked(struct run *run, struct gx_err *err)
{
    struct gx_store_files left;
    GX_TRY(gx_store_files_init(&left, run->store, err));
    free(left.logs.all);
    left.logs = run->before.logs;
    run->before.logs.all = NULL;
    int64_t until_us = gx_clock_monotonic_us() + run->store->unlink_wait_us;
    enum gx_status status;
    for (size_t n;;) {
        GX_TRY_OUT(keep_left(run, &left, &n, err));
        if (n == 0)
            break;
        GX_TRY_OUT(may_go_on(run, err));
        if (gx_clock_monotonic_us() > until_us) {
            status = gx_fail(err, GX_E_STATE,
                             "%s: %zu files that it replaced are still there: something reads them (%zu readers and "
                             "writers), try again when it has ended",
                             doing, n, atomic_load(&run->store->n_users));
            goto out;
        }
        pause_briefly();
    }
    gx_failpoint_pass("store_erase.before_sync");
    if (fsync(run->store->lock) != 0)
        status = gx_err_errno(err, errno, "%s: make the removal of files durable", doing);
out:
    gx_store_files_fini(&left);
    return status;
}

static enum gx_status count_work(struct run *run, struct gx_err *err)
{
    struct gx_store_files now;
    struct gx_store_tables live;
    GX_TRY(gx_store_files_init(&now, run->store, err));
    enum gx_status status = gx_store_tables_init(&live, run->store, err);
    if (status == GX_OK) {
        run->out->files_removed = run->before.logs.n;
        for (size_t i = 0; i < run->before.tables.n; i++)
            run->out->files_removed += !gx_store_files_has(&now.tables, run->before.tables.all[i]);
        for (size_t i = 0; i < run->flushed.n_all; i++)
            run->out->files_rewritten += !is_live(&live, run->flushed.all[i].number);
        for (size_t i = 0; i < live.n_all; i++)
            if (live.all[i].number > run->out->fence && live.all[i].level > 0)
                run->out->bytes_rewritten += live.all[i].size;
        gx_store_tables_fini(&live);
    }
    gx_store_files_fini(&now);
    return status;
}

/* ---------------------------------------------------------------- the whole */

static enum gx_status erase(struct run *run, struct gx_err *err)
{
    GX_TRY(check_writable(run->store, err));
    GX_TRY(check_all_absent(run, err));
    GX_TRY(hold_compactions(run, err));
    GX_TRY(clean_tables(run, err));
    GX_TRY(wait_unlinked(run, err));
    run->out->unlinked_at_us = gx_clock_wall_us();
    gx_failpoint_pass("store_erase.after_unlink");
    return count_work(run, err);
}

static enum gx_status init_run(struct run *run, struct gx_err *err)
{
    run->clean = calloc(run->n_stains, sizeof(*run->clean));
    for (size_t i = 0; run->clean != NULL && i < run->n_stains; i++) {
        run->clean[i] = calloc(gx_store_tables_count(&run->stains[i]), sizeof(bool));
        if (run->clean[i] == NULL)
            return gx_fail(err, GX_E_NOMEM, "no memory to erase from the store");
    }
    return run->clean == NULL ? gx_fail(err, GX_E_NOMEM, "no memory to erase from the store") : GX_OK;
}

static void fini_run(struct run *run)
{
    run->store->erased_at_us = gx_clock_monotonic_us();
    release_if_crowded(run->store);
    for (size_t i = 0; run->clean != NULL && i < run->n_stains; i++)
        free(run->clean[i]);
    free(run->clean);
    gx_store_tables_fini(&run->flushed);
    gx_store_files_fini(&run->before);
}

enum gx_status gx_store_erase(struct gx_store *store, const struct gx_store_stain *stains, size_t n_stains,
                              gx_store_stop *stop, void *stop_arg, struct gx_store_erased *out, struct gx_err *err)
{
    *out = (struct gx_store_erased){0};
    GX_TRY(gx_store_tables_check(stains, n_stains, err));
    struct run run = {
        .store = store, .stains = stains, .n_stains = n_stains, .stop = stop, .stop_arg = stop_arg, .out = out};
    pthread_mutex_lock(&store->slow);
    enum gx_status status = init_run(&run, err);
    if (status == GX_OK)
        status = erase(&run, err);
    fini_run(&run);
    pthread_mutex_unlock(&store->slow);
    return status;
}
