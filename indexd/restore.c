/* The path: manifest -> every file against its digest -> which ledger knows more -> the new directory: files, checked
 * again as they are copied -> ledger -> FORMAT, with which the directory is whole. A start on it then deletes, and
 * erases again, what the ledger knows and the store does not.
 *
 * What can go wrong: a file is missing or differs: refused by its name, before anything is made. Two ledgers that were
 * both written to since they parted: nobody but people can say which removals count, so that is refused. Any failure
 * later: what was made is removed again. */
#include "restore.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backup_private.h"
#include "clock.h"
#include "file.h"

#define ARENA_MAX ((size_t)1 << 30)
#define LEDGER    "expunge.log"

struct restore {
    const struct gx_restore_in *in;
    struct gx_restore_out *out;
    struct gx_arena arena;
    struct gx_manifest manifest;
    struct gx_backup_copier copier;
    const char *ledger; /* that is taken; NULL: the one at its place stays */
    char backup_ledger[GX_BACKUP_PATH_MAX], target[GX_BACKUP_PATH_MAX];
};

/* --- the backup --- */

static enum gx_status path_in(const char *dir, const struct gx_manifest_file *file, char out[GX_BACKUP_PATH_MAX],
                              struct gx_err *err)
{
    char name[256];
    (void)snprintf(name, sizeof(name), "%.*s", (int)file->path.len, (const char *)file->path.data);
    return gx_file_path(dir, name, out, GX_BACKUP_PATH_MAX, err);
}

static enum gx_status compare(const struct gx_manifest_file *file, const char *path, uint64_t bytes,
                              const struct gx_digest *digest, struct gx_err *err)
{
    if (bytes == file->n_bytes && memcmp(digest, &file->digest, sizeof(*digest)) == 0)
        return GX_OK;
    return gx_fail(err, GX_E_CORRUPT, "'%s' is not what was backed up: take another backup", path);
}

static enum gx_status check_file(struct restore *r, const struct gx_manifest_file *file, struct gx_err *err)
{
    char path[GX_BACKUP_PATH_MAX];
    uint64_t bytes;
    struct gx_digest digest;
    GX_TRY(path_in(r->in->from, file, path, err));
    enum gx_status status = gx_backup_files_digest(&r->copier, path, &bytes, &digest, err);
    if (status == GX_E_NOT_FOUND)
        return gx_fail(err, GX_E_CORRUPT, "'%s' is missing: take another backup", path);
    GX_TRY(status);
    return compare(file, path, bytes, &digest, err);
}

static enum gx_status check_backup(struct restore *r, struct gx_err *err)
{
    enum gx_status status = gx_backup_files_manifest(r->in->from, &r->arena, &r->manifest, err);
    if (status == GX_E_NOT_FOUND)
        return gx_fail(err, GX_E_NOT_FOUND, "'%s' is no backup: it has no file " GX_MANIFEST_NAME, r->in->from);
    GX_TRY(status);
    if (!r->manifest.complete)
        return gx_fail(err, GX_E_STATE, "the backup in '%s' was interrupted: take another", r->in->from);
    for (size_t i = 0; i < r->manifest.n_files; i++) {
        GX_TRY(check_file(r, &r->manifest.files[i], err));
        r->out->n_bytes += r->manifest.files[i].n_bytes;
    }
    r->out->backup = r->manifest.backup;
    r->out->created_at_us = r->manifest.created_at_us;
    r->out->expired = r->manifest.expires_at_us != 0 && r->manifest.expires_at_us <= gx_clock_wall_us();
    r->out->n_files = r->manifest.n_files;
    return gx_file_path(r->in->from, LEDGER, r->backup_ledger, sizeof(r->backup_ledger), err);
}

/* --- the ledger --- */

static bool is_same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* *out: the one that knows more. */
static enum gx_status choose(struct restore *r, const char *live, const char **out, struct gx_err *err)
{
    enum gx_ledger_relation relation;
    GX_TRY(gx_ledger_compare(r->backup_ledger, live, &relation, err));
    switch (relation) {
    case GX_LEDGER_SAME:
    case GX_LEDGER_B_AHEAD: *out = live; return GX_OK;
    case GX_LEDGER_A_AHEAD:
        *out = r->backup_ledger;
        r->out->live_behind = true;
        return GX_OK;
    case GX_LEDGER_DIVERGED:
        return gx_fail(err, GX_E_STATE,
                       "'%.90s' and the backup's ledger both went on since they parted: restore with the one whose "
                       "orders count, and give the orders of the other again",
                       live);
    case GX_LEDGER_FOREIGN: break;
    }
    return gx_fail(err, GX_E_STATE, "'%s' is the ledger of another data directory: name the right one", live);
}

static enum gx_status choose_ledger(struct restore *r, struct gx_err *err)
{
    const char *fixed = r->in->ledger_path, *live = r->in->live_ledger;
    bool there = fixed != NULL && access(fixed, F_OK) == 0;
    if (fixed != NULL && strlen(fixed) >= sizeof(r->target))
        return gx_fail(err, GX_E_INVALID, "the path of the ledger is too long");
    if (fixed != NULL)
        (void)snprintf(r->target, sizeof(r->target), "%s", fixed);
    else
        GX_TRY(gx_file_path(r->in->data_dir, LEDGER, r->target, sizeof(r->target), err));
    if (live == NULL && there)
        live = fixed;
    r->ledger = r->backup_ledger;
    r->out->has_live = live != NULL;
    if (live != NULL)
        GX_TRY(choose(r, live, &r->ledger, err));
    if (!there)
        return GX_OK;
    if (!is_same_file(r->ledger, fixed))
        return gx_fail(err, GX_E_EXISTS, "'%s' (ledger.path) is an older ledger: move it away and restore again",
                       fixed);
    r->ledger = NULL;
    return GX_OK;
}

static enum gx_status put_ledger(struct restore *r, struct gx_err *err)
{
    if (r->ledger == NULL)
        return GX_OK;
    GX_TRY(gx_ledger_copy(r->ledger, r->target, err));
    return gx_file_sync_parent(r->target, err);
}

/* --- the new directory --- */

static enum gx_status copy_file(struct restore *r, const struct gx_manifest_file *file, struct gx_err *err)
{
    char from[GX_BACKUP_PATH_MAX], to[GX_BACKUP_PATH_MAX];
    uint64_t bytes;
    struct gx_digest digest;
    GX_TRY(path_in(r->in->from, file, from, err));
    GX_TRY(path_in(r->in->data_dir, file, to, err));
    GX_TRY(gx_backup_files_copy(&r->copier, from, to, &bytes, &digest, err));
    return compare(file, from, bytes, &digest, err);
}

static bool is_named(const struct gx_manifest_file *file, const char *name)
{
    return gx_slice_equal(file->path, gx_slice_text(name));
}

static enum gx_status make_folder(const struct restore *r, const char *name, struct gx_err *err)
{
    char path[GX_BACKUP_PATH_MAX];
    GX_TRY(gx_file_path(r->in->data_dir, name, path, sizeof(path), err));
    return gx_file_make_dir(path, err);
}

static enum gx_status fill(struct restore *r, struct gx_err *err)
{
    const struct gx_manifest_file *format = NULL;
    char store[GX_BACKUP_PATH_MAX];
    GX_TRY(make_folder(r, "store", err));
    GX_TRY(make_folder(r, "index", err));
    for (size_t i = 0; i < r->manifest.n_files; i++) {
        const struct gx_manifest_file *file = &r->manifest.files[i];
        if (is_named(file, "FORMAT"))
            format = file;
        else if (!is_named(file, LEDGER))
            GX_TRY(copy_file(r, file, err));
    }
    if (format == NULL)
        return gx_fail(err, GX_E_CORRUPT, "the backup in '%s' lacks FORMAT: take another", r->in->from);
    GX_TRY(gx_file_path(r->in->data_dir, "store", store, sizeof(store), err));
    GX_TRY(gx_file_sync_dir(store, err));
    GX_TRY(gx_file_sync_dir(r->in->data_dir, err));
    GX_TRY(put_ledger(r, err));
    enum gx_status status = copy_file(r, format, err); /* last: with it the directory is whole */
    if (status == GX_OK)
        status = gx_file_sync_dir(r->in->data_dir, err);
    if (status != GX_OK && r->ledger != NULL)
        (void)unlink(r->target);
    return status;
}

static enum gx_status make_directory(struct restore *r, struct gx_err *err)
{
    struct gx_err ignored;
    GX_TRY(gx_file_make_dir(r->in->data_dir, err));
    enum gx_status status = fill(r, err);
    if (status != GX_OK && gx_file_remove_tree(r->in->data_dir, &ignored) != GX_OK)
        return gx_err_wrap(err, "restore to '%s' (remove what is left of it)", r->in->data_dir);
    return status;
}

enum gx_status gx_restore_run(const struct gx_restore_in *in, struct gx_restore_out *out, struct gx_err *err)
{
    struct restore r = {.in = in, .out = out};
    enum gx_status status;
    struct stat info;
    *out = (struct gx_restore_out){0};
    gx_arena_init(&r.arena, ARENA_MAX);
    GX_TRY_OUT(gx_backup_copier_open(&r.copier, err));
    if (lstat(in->data_dir, &info) == 0) {
        status = gx_fail(err, GX_E_EXISTS, "'%s' exists: a backup is restored to a new directory", in->data_dir);
        goto out;
    }
    GX_TRY_OUT(check_backup(&r, err));
    GX_TRY_OUT(choose_ledger(&r, err));
    GX_TRY_OUT(make_directory(&r, err));
out:
    gx_backup_copier_close(&r.copier);
    gx_arena_fini(&r.arena);
    return status;
}
