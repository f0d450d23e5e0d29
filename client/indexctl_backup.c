/* backup create, list, delete. */
#include <stdlib.h>

#include "indexctl_command.h"
#include "indexctl_json.h"
#include "indexctl_progress.h"
#include "indexctl_table.h"
#include "indexctl_time.h"

#define AT(member) offsetof(struct gx_indexctl_args, member)
#define DAY_S      INT64_C(86400)

/* ---------------------------------------------------------------- create */

static bool on_progress(void *user, const char *stage, uint64_t bytes_done, uint64_t bytes_total)
{
    struct gx_indexctl_progress *progress = user;
    (void)stage;
    gx_indexctl_progress_update(progress, bytes_done >> 20, bytes_total > 0 ? bytes_total >> 20 : UINT64_MAX);
    return true;
}

static void print_made(struct gx_indexctl_session *s, const struct gx_client_backup_info *b)
{
    char n[GX_INDEXCTL_TABLE_PLURAL_MAX], bytes[GX_INDEXCTL_TABLE_COUNT_MAX], time[GX_INDEXCTL_TIME_MAX];
    (void)fprintf(s->out, "%s: %s, %s, in %s on the server; ", b->backup_id,
                  gx_indexctl_table_plural(b->files, "file", n), gx_indexctl_table_bytes(b->bytes, bytes),
                  b->directory);
    if (b->expires_at_us == 0)
        (void)fputs("it does not expire\n", s->out);
    else
        (void)fprintf(s->out, "it expires %s\n", gx_indexctl_time_format(b->expires_at_us, time));
}

static enum gx_status run_create(struct gx_indexctl_session *s)
{
    struct gx_client_backup_info backup;
    struct gx_indexctl_progress progress;
    gx_indexctl_progress_begin(&progress, "backup", "MiB", 0, s->args->quiet);
    enum gx_status status =
        gx_client_backup_create(s->client, s->args->words.items[0], (uint64_t)(s->args->expires_days.value * DAY_S),
                                on_progress, &progress, &backup);
    gx_indexctl_progress_end(&progress);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    if (s->args->json)
        return gx_indexctl_json_backup(s->out, &backup);
    print_made(s, &backup);
    return GX_OK;
}

/* ---------------------------------------------------------------- list, delete */

static void add_row(struct gx_indexctl_table *t, const struct gx_client_backup_info *b)
{
    static const char *const titles[] = {"backup", "state", "created", "expires", ">files", ">bytes", "directory"};
    char time[GX_INDEXCTL_TIME_MAX], n[GX_INDEXCTL_TABLE_COUNT_MAX];
    t->titles = titles;
    t->n_columns = sizeof(titles) / sizeof(titles[0]);
    gx_indexctl_table_cell(t, "%s", b->backup_id);
    gx_indexctl_table_cell(t, "%s", gx_indexctl_json_backup_state(b->state));
    gx_indexctl_table_cell(t, "%s", gx_indexctl_time_format(b->created_at_us / 1000000 * 1000000, time));
    gx_indexctl_table_cell(t, "%s", gx_indexctl_time_format(b->expires_at_us / 1000000 * 1000000, time));
    gx_indexctl_table_cell(t, "%s", gx_indexctl_table_count(b->files, n));
    gx_indexctl_table_cell(t, "%s", gx_indexctl_table_bytes(b->bytes, n));
    gx_indexctl_table_cell(t, "%s", b->directory);
}

static enum gx_status run_list(struct gx_indexctl_session *s)
{
    struct gx_client_backup_info *list;
    struct gx_indexctl_table table = {0};
    size_t n;
    enum gx_status status = gx_client_backup_list(s->client, s->args->all, &list, &n);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    for (size_t i = 0; status == GX_OK && i < n; i++)
        if (s->args->json)
            status = gx_indexctl_json_backup(s->out, &list[i]);
        else
            add_row(&table, &list[i]);
    if (!s->args->json && n == 0)
        (void)fputs("there are no backups: make one with 'indexctl backup create'\n", s->out);
    else if (!s->args->json)
        status = gx_indexctl_table_flush(&table, s->out);
    free(list);
    return status;
}

static enum gx_status run_delete(struct gx_indexctl_session *s)
{
    struct gx_client_backup_info backup;
    enum gx_status status = gx_client_backup_delete(s->client, s->args->words.items[0], s->args->files_gone, &backup);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    if (s->args->json)
        return gx_indexctl_json_backup(s->out, &backup);
    (void)fprintf(s->out, "%s is gone\n", backup.backup_id);
    return GX_OK;
}

/* ---------------------------------------------------------------- table */

static const struct gx_indexctl_option create_options[] = {
    {"expires", '\0', "DAYS", GX_INDEXCTL_INTEGER, AT(expires_days), 1, GX_BACKUP_DAYS_MAX,
     "the server deletes it then (default: never)"},
    {0},
};
static const struct gx_indexctl_option list_options[] = {
    {"all", 'a', NULL, GX_INDEXCTL_FLAG, AT(all), 0, 0, "also those that are deleted"},
    {0},
};
static const struct gx_indexctl_option delete_options[] = {
    {"files-gone", '\0', NULL, GX_INDEXCTL_FLAG, AT(files_gone), 0, 0,
     "its files were destroyed where they had been moved to: you vouch for that"},
    {0},
};

const struct gx_indexctl_command gx_indexctl_backup_commands[] = {
    {"backup create", "DIR [--expires DAYS]", 1, 1, run_create, create_options, 600,
     "a copy of everything, while the server goes on",
     "DIR is an absolute path on the server, on another disk best; it must not exist yet. What was acknowledged when "
     "the\n"
     "backup began is in it, each file with its SHA-256. It holds faces and keys: keep it as safe as the server. "
     "Erasures\n"
     "wait for it; when one must not wait any longer, the backup is broken off with status 15, and started again "
     "later.\n"
     "'indexd restore' makes a data directory of it. Until a backup is deleted or expires, the tickets and "
     "certificates\n"
     "of what it still holds name it.",
     "  indexctl backup create /backup/2026-11-20 --expires 30"},
    {"backup list", "[--all]", 0, 0, run_list, list_options, 0, "the backups there are, newest first",
     "UNFINISHED: interrupted, or its disk is not there; EXPIRED: past its time, but not where the server could delete "
     "it.",
     "  indexctl backup list\n"
     "  indexctl --json backup list --all"},
    {"backup delete", "ID [--files-gone]", 1, 1, run_delete, delete_options, 600,
     "delete a backup, and what tickets say of it",
     "The files are deleted where the backup was made. One that was moved elsewhere has to be destroyed there first.",
     "  indexctl backup delete B-00000003"},
    {0},
};
