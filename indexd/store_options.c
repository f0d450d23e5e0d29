/* The options of the store, in RocksDB's own words. Fixed here so that no configuration can weaken durability or
 * erasure; a test reads them back from the OPTIONS file that RocksDB writes. */
#include "store_private.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#define CACHE_DEFAULT ((size_t)64 << 20)

static const char common_options[] =
    /* A damaged WAL is refused, not silently cut short; a torn end (power cut) is cut. Every write syncs it. */
    "wal_recovery_mode=kTolerateCorruptedTailRecords;manual_wal_flush=false;unordered_write=false;"
    "enable_pipelined_write=false;allow_mmap_writes=false;allow_mmap_reads=false;avoid_flush_during_recovery=false;"
    "atomic_flush=false;use_fsync=false;"
    /* No WAL outlives the flush of what it holds, and a byte scan can read it. */
    "WAL_ttl_seconds=0;WAL_size_limit_MB=0;recycle_log_file_num=0;wal_compression=kNoCompression;"
    "max_total_wal_size=67108864;"
    /* New files are read back: an erasure must not write damage. */
    "paranoid_checks=true;paranoid_file_checks=true;force_consistency_checks=true;"
    /* Files: rows stay readable for the scan, narrow compactions stay narrow. */
    "compression=kNoCompression;bottommost_compression=kNoCompression;enable_blob_files=false;"
    "compaction_style=kCompactionStyleLevel;level_compaction_dynamic_level_bytes=true;"
    "max_bytes_for_level_base=67108864;target_file_size_base=8388608;write_buffer_size=8388608;"
    "ttl=0;periodic_compaction_seconds=0;max_open_files=-1;max_background_jobs=2;"
    "bytes_per_sync=524288;strict_bytes_per_sync=true;wal_bytes_per_sync=0;"
    /* At level INFO the log shows keys. At any other, the second line that a full disk refuses ends the process: an
     * assertion in RocksDB's logger. What it would say is in the errors that it answers with. */
    "info_log_level=FATAL_LEVEL;allow_data_in_errors=false;max_log_file_size=4194304;keep_log_file_num=4;"
    "stats_dump_period_sec=0;stats_persist_period_sec=0;is_fd_close_on_exec=true;"
    "create_missing_column_families=false;create_if_missing=false;error_if_exists=false;";

/* Sequential inserts make files as large as the memtable; erasing a row rewrites the file that it is in. */
static const char *const family_options[GX_CF_COUNT] = {
    [GX_CF_DEFAULT] = "",
    [GX_CF_EMB] = "write_buffer_size=16777216;",
    /* A record's erasure rewrites a file of each of these, too: small ones. */
    [GX_CF_REC] = "write_buffer_size=4194304;target_file_size_base=4194304;",
    [GX_CF_BY_RECORD] = "target_file_size_base=2097152;",
    [GX_CF_BY_ARREST] = "target_file_size_base=2097152;",
    [GX_CF_BY_SUBJECT] = "target_file_size_base=2097152;",
    [GX_CF_LEDGER] = "",
    [GX_CF_AUDIT] = "",
};

static const char create_options[] = "create_if_missing=true;create_missing_column_families=true;error_if_exists=true;";

void gx_store_options_fini(struct gx_store_settings *settings)
{
    for (int i = 0; i < GX_CF_COUNT; i++)
        if (settings->families[i] != NULL)
            rocksdb_options_destroy(settings->families[i]);
    if (settings->limiter != NULL)
        rocksdb_ratelimiter_destroy(settings->limiter);
    if (settings->cache != NULL)
        rocksdb_cache_destroy(settings->cache);
}

static enum gx_status make_family(const struct gx_store_settings *settings, enum gx_family family, bool create,
                                  rocksdb_options_t **out, struct gx_err *err)
{
    char text[sizeof(common_options) + sizeof(create_options) + 100];
    int len =
        snprintf(text, sizeof(text), "%s%s%s", common_options, family_options[family], create ? create_options : "");
    assert(len > 0 && (size_t)len < sizeof(text));
    (void)len;
    rocksdb_options_t *base = rocksdb_options_create(), *options = rocksdb_options_create();
    char *error = NULL;
    rocksdb_get_options_from_string(base, text, options, &error);
    rocksdb_options_destroy(base);
    if (error != NULL) {
        enum gx_status status =
            gx_fail(err, GX_E_INTERNAL, "this version of RocksDB does not know an option: %s", error);
        rocksdb_free(error);
        rocksdb_options_destroy(options);
        return status;
    }
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_format_version(table, 5);
    rocksdb_block_based_options_set_block_size(table, 4096);
    rocksdb_block_based_options_set_checksum(table, 4); /* XXH3 */
    rocksdb_block_based_options_set_filter_policy(table, rocksdb_filterpolicy_create_bloom_full(10));
    /* What checks a new table reads it through the cache, where rows would outlive their erasure; rows are read once,
     * at start, and past it. */
    if (family == GX_CF_EMB)
        rocksdb_block_based_options_set_no_block_cache(table, 1);
    else
        rocksdb_block_based_options_set_block_cache(table, settings->cache);
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
    if (settings->limiter != NULL)
        rocksdb_options_set_ratelimiter(options, settings->limiter);
    *out = options;
    return GX_OK;
}

/* What RocksDB offers is nice 19, with which an erasure does not end while searches keep all cores busy; at 0 the 99th
 * percentile of searches beside it rises to 2.7 times; at 5 it ends no sooner than at 7. */
#define COMPACTION_NICE 7

static void lower_thread(const char *id)
{
    char path[64], name[32] = "";
    snprintf(path, sizeof(path), "/proc/self/task/%.20s/comm", id);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    bool is_compaction = fgets(name, sizeof(name), file) != NULL && strncmp(name, "rocksdb:low", 11) == 0;
    fclose(file);
    id_t thread = (id_t)strtoul(id, NULL, 10);
    if (is_compaction && getpriority(PRIO_PROCESS, thread) < COMPACTION_NICE)
        setpriority(PRIO_PROCESS, thread, COMPACTION_NICE);
}

void gx_store_options_lower_compactions(void)
{
    DIR *threads = opendir("/proc/self/task");
    if (threads == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;)
        if (entry->d_name[0] != '.')
            lower_thread(entry->d_name);
    closedir(threads);
}

enum gx_status gx_store_options_init(struct gx_store_settings *settings, const struct gx_store_options *wanted,
                                     bool create, struct gx_err *err)
{
    *settings = (struct gx_store_settings){0};
    size_t cache = wanted != NULL && wanted->cache_bytes > 0 ? wanted->cache_bytes : CACHE_DEFAULT;
    settings->cache = rocksdb_cache_create_lru(cache);
    if (wanted != NULL && wanted->rate_limit_bytes > 0)
        settings->limiter = rocksdb_ratelimiter_create((int64_t)wanted->rate_limit_bytes, 10000, 10);
    for (int i = 0; i < GX_CF_COUNT; i++)
        GX_TRY(make_family(settings, (enum gx_family)i, create, &settings->families[i], err));
    return GX_OK;
}
