/* A backup is made beside everything else that goes on.
 *
 * The path: the directory is looked at, DIR.tmp made -> entered in the register (ledger, store) -> no erase run goes on
 * -> hard links to the store's files in backup.tmp below the data directory, and a copy of the ledger, which is newer
 * than them -> real copies of these and of the keys in DIR.tmp, with their digests -> backup.tmp removed: erasures may
 * go on -> manifest, everything synced -> renamed to DIR -> complete in the register.
 *
 * What can go wrong: any step, or a stop that was asked for: backup.tmp and DIR.tmp are removed, the register says that
 * nothing is left. A crash: backup.tmp is removed at the next start, DIR.tmp (or a DIR that was not entered as complete
 * yet) is known by its manifest, and settled then; the register has it from before its first byte on, so a ticket names
 * it whatever happens. While backup.tmp is there nothing can be erased, so erasures wait; one that is due breaks the
 * backup off. */
#include "backup_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "failpoint.h"
#include "file.h"
#include "log.h"

#define LINKS        "backup.tmp"
#define PROGRESS_US  ((int64_t)500000)
#define ARENA_MAX    ((size_t)1 << 30)
#define ROOM_MIN     ((uint64_t)16 << 20) /* left free on the disk of the backup */
#define LEDGER_TRIES 5

/* Before whatever can fail: tests let it, and whoever wants it broken off is heard. */
static enum gx_status step(struct gx_backup_job *job, struct gx_err *err)
{
    struct gx_backups *b = job->galleries->backups;
    b->n_steps++;
    enum gx_status status = b->fault == NULL ? GX_OK : b->fault(b->fault_arg, b->n_steps);
    if (status != GX_OK)
        return gx_fail(err, status, "step %" PRIu64 " of the backup failed because the test wants it to", b->n_steps);
    return gx_backup_may_go_on(job, err);
}

static enum gx_status remove_links(const char *data_dir, struct gx_err *err)
{
    char path[GX_BACKUP_PATH_MAX];
    struct stat info;
    GX_TRY(gx_file_path(data_dir, LINKS, path, sizeof(path), err));
    if (lstat(path, &info) != 0 && errno == ENOENT)
        return GX_OK;
    GX_TRY(gx_file_remove_tree(path, err));
    return gx_file_sync_dir(data_dir, err);
}

/* As long as the links are there, erasures go on waiting. */
static enum gx_status drop_links(struct gx_backup_job *job, struct gx_err *err)
{
    if (job->has_links)
        GX_TRY(remove_links(job->galleries->data_dir, err));
    job->has_links = false;
    gx_backup_leave_links(job->galleries);
    return GX_OK;
}

/* --- the directory --- */

static bool is_inside(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return strncmp(path, dir, n) == 0 && (path[n] == '\0' || path[n] == '/' || n == 1);
}

/* Its real path, as the register has it. */
static enum gx_status find_place(struct gx_backup_job *job, struct gx_err *err)
{
    char parent[PATH_MAX], data[PATH_MAX], text[GX_BACKUP_DIR_MAX + 1];
    (void)snprintf(text, sizeof(text), "%s", job->asked);
    size_t len = strlen(text);
    while (len > 1 && text[len - 1] == '/')
        text[--len] = '\0';
    char *slash = strrchr(text, '/');
    if (text[0] != '/' || slash == NULL || slash[1] == '\0' || strcmp(slash + 1, ".") == 0 ||
        strcmp(slash + 1, "..") == 0)
        return gx_fail(err, GX_E_INVALID, "the directory of a backup is an absolute path, like /backup/2026-11-20");
    *slash = '\0';
    if (realpath(text[0] == '\0' ? "/" : text, parent) == NULL)
        return gx_err_errno(err, errno, "cannot make a backup in '%s'", text[0] == '\0' ? "/" : text);
    if (realpath(job->galleries->data_dir, data) == NULL)
        return gx_err_errno(err, errno, "look at the data directory");
    const char *between = strcmp(parent, "/") == 0 ? "" : "/";
    int n = snprintf(job->backup.directory, sizeof(job->backup.directory), "%s%s%s", parent, between, slash + 1);
    if (n < 0 || (size_t)n >= sizeof(job->backup.directory))
        return gx_fail(err, GX_E_INVALID, "the directory of a backup has at most %d bytes", GX_BACKUP_DIR_MAX);
    if (is_inside(job->backup.directory, data))
        return gx_fail(err, GX_E_INVALID, "a backup cannot be in the data directory: choose another disk");
    return GX_OK;
}

static enum gx_status make_temporary(struct gx_backup_job *job, struct gx_err *err)
{
    struct stat info;
    char store[GX_BACKUP_PATH_MAX];
    if (lstat(job->backup.directory, &info) == 0)
        return gx_fail(err, GX_E_EXISTS, "'%s' exists: a backup needs a new directory", job->backup.directory);
    (void)snprintf(job->temporary, sizeof(job->temporary), "%s.tmp", job->backup.directory);
    gx_backup_files_drop(job->backup.directory); /* empty, of one that died before its first file */
    if (mkdir(job->temporary, 0700) != 0 && errno == EEXIST)
        return gx_fail(err, GX_E_EXISTS,
                       "'%s' exists, perhaps of a backup that was interrupted: remove it, or name another directory",
                       job->temporary);
    if (access(job->temporary, F_OK) != 0)
        return gx_err_errno(err, errno, "cannot create '%s'", job->temporary);
    GX_TRY(gx_file_path(job->temporary, "store", store, sizeof(store), err));
    return mkdir(store, 0700) == 0 ? GX_OK : gx_err_errno(err, errno, "cannot create '%s'", store);
}

static enum gx_status enter_register(struct gx_backup_job *job, struct gx_err *err)
{
    struct gx_backups *b = job->galleries->backups;
    job->backup.created_at_us = gx_clock_wall_us();
    if (job->in.expires_in_us > 0)
        job->backup.expires_at_us = job->backup.created_at_us + job->in.expires_in_us;
    /* Held: nobody may take it for one that a crash has left. */
    pthread_mutex_lock(&b->files);
    enum gx_status status = gx_backup_note_begun(job->galleries, &job->backup, err);
    if (status == GX_OK) {
        job->has_number = true;
        pthread_mutex_lock(&b->lock);
        b->running = job->backup.number;
        pthread_mutex_unlock(&b->lock);
    }
    pthread_mutex_unlock(&b->files);
    return status;
}

static enum gx_status put_manifest(struct gx_backup_job *job, bool complete, struct gx_err *err)
{
    const struct gx_manifest manifest = {.backup = job->backup.number,
                                         .store = job->galleries->uuid,
                                         .created_at_us = job->backup.created_at_us,
                                         .expires_at_us = job->backup.expires_at_us,
                                         .epoch = job->backup.epoch,
                                         .complete = complete,
                                         .files = job->files,
                                         .n_files = complete ? job->n_files : 0};
    return gx_backup_files_put_manifest(job->temporary, &manifest, &job->arena, err);
}

/* --- links --- */

static enum gx_status make_links(struct gx_backup_job *job, struct gx_err *err)
{
    char path[GX_BACKUP_PATH_MAX];
    GX_TRY(gx_file_path(job->galleries->data_dir, LINKS, job->links, sizeof(job->links), err));
    job->has_links = true;
    GX_TRY(gx_file_make_dir(job->links, err));
    GX_TRY(gx_file_path(job->links, "store", path, sizeof(path), err));
    gx_failpoint_pass("backup.before_links");
    GX_TRY(gx_store_checkpoint(job->galleries->store, path, err));
    gx_failpoint_pass("backup.after_links");
    GX_TRY(gx_file_path(job->links, "expunge.log", path, sizeof(path), err));
    enum gx_status status = GX_E_CORRUPT;
    for (int i = 0; status == GX_E_CORRUPT && i < LEDGER_TRIES; i++) {
        enum gx_ledger_relation relation;
        if (unlink(path) != 0 && errno != ENOENT)
            return gx_err_errno(err, errno, "cannot replace '%s'", path);
        GX_TRY(gx_ledger_copy(job->galleries->ledger_path, path, err));
        status = gx_ledger_compare(path, path, &relation, err); /* reads and checks all of it */
    }
    return status;
}

/* --- copies --- */

static enum gx_status add_file(struct gx_backup_job *job, const char *path, uint64_t bytes, struct gx_err *err)
{
    struct gx_slice name = gx_slice_text(path);
    if (!gx_manifest_is_path(name))
        return gx_fail(err, GX_E_INTERNAL, "a copy of the store holds a file of an unknown name: report this");
    if (job->n_files == job->cap_files) {
        size_t cap = GX_MAX((size_t)256, 2 * job->cap_files);
        struct gx_manifest_file *grown;
        GX_TRY(gx_arena_array(&job->arena, cap, sizeof(*grown), &grown, err));
        if (job->n_files > 0)
            memcpy(grown, job->files, job->n_files * sizeof(*grown));
        job->files = grown;
        job->cap_files = cap;
    }
    struct gx_manifest_file *file = &job->files[job->n_files];
    GX_TRY(gx_arena_copy(&job->arena, name, &file->path, err));
    file->n_bytes = bytes;
    job->n_files++;
    job->progress.bytes_total += bytes;
    return GX_OK;
}

static enum gx_status source_of(const struct gx_backup_job *job, const char *path, char *out, struct gx_err *err)
{
    bool linked = strncmp(path, "store/", 6) == 0 || strcmp(path, "expunge.log") == 0;
    return gx_file_path(linked ? job->links : job->galleries->data_dir, path, out, GX_BACKUP_PATH_MAX, err);
}

static enum gx_status add_sized(struct gx_backup_job *job, const char *path, struct gx_err *err)
{
    char source[GX_BACKUP_PATH_MAX];
    struct stat info;
    GX_TRY(source_of(job, path, source, err));
    if (lstat(source, &info) != 0)
        return gx_err_errno(err, errno, "look at '%s'", source);
    return add_file(job, path, (uint64_t)info.st_size, err);
}

static int compare_files(const void *a, const void *b)
{
    return gx_slice_compare(((const struct gx_manifest_file *)a)->path, ((const struct gx_manifest_file *)b)->path);
}

static enum gx_status list_files(struct gx_backup_job *job, struct gx_err *err)
{
    static const char *const others[] = {"FORMAT", "secret.key", "certificate.key", "certificate.pub", "expunge.log"};
    char path[GX_BACKUP_PATH_MAX];
    GX_TRY(gx_file_path(job->links, "store", path, sizeof(path), err));
    DIR *dir = opendir(path);
    if (dir == NULL)
        return gx_err_errno(err, errno, "open '%s'", path);
    enum gx_status status = GX_OK;
    for (struct dirent *entry; status == GX_OK && (errno = 0, entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        (void)snprintf(path, sizeof(path), "store/%s", entry->d_name);
        status = add_sized(job, path, err);
    }
    if (status == GX_OK && errno != 0)
        status = gx_err_errno(err, errno, "read '%s/store'", job->links);
    (void)closedir(dir);
    for (size_t i = 0; status == GX_OK && i < GX_COUNT_OF(others); i++)
        status = add_sized(job, others[i], err);
    if (status == GX_OK)
        qsort(job->files, job->n_files, sizeof(*job->files), compare_files);
    return status;
}

static enum gx_status check_room(const struct gx_backup_job *job, struct gx_err *err)
{
    struct statvfs info;
    uint64_t needed = job->progress.bytes_total + ROOM_MIN;
    if (statvfs(job->temporary, &info) != 0)
        return gx_err_errno(err, errno, "look at '%s'", job->temporary);
    uint64_t room = (uint64_t)info.f_bavail * info.f_frsize;
    if (info.f_blocks > 0 && room < needed)
        return gx_fail(err, GX_E_FULL, "the backup needs %" PRIu64 " MiB, its disk has %" PRIu64 ": make room there",
                       (needed >> 20) + 1, room >> 20);
    return GX_OK;
}

static void tell(struct gx_backup_job *job, const char *stage)
{
    int64_t now = gx_clock_monotonic_us();
    bool news = job->progress.stage == NULL || strcmp(stage, job->progress.stage) != 0;
    job->progress.stage = stage;
    if (job->in.on_progress == NULL || (!news && now - job->told_at_us < PROGRESS_US))
        return;
    job->told_at_us = now;
    job->in.on_progress(job->in.arg, &job->progress);
}

/* Between two pieces. No faster than the store's own background work may be: searches must not feel it. */
static enum gx_status between_pieces(void *arg, uint64_t bytes_done, struct gx_err *err)
{
    struct gx_backup_job *job = arg;
    uint64_t rate = job->galleries->options.rate_limit_bytes;
    job->progress.bytes_done = bytes_done;
    tell(job, "copying");
    for (;;) {
        GX_TRY(gx_backup_may_go_on(job, err));
        int64_t spent = gx_clock_monotonic_us() - job->copying_since_us;
        int64_t due = rate == 0 ? 0 : (int64_t)((double)bytes_done / (double)rate * 1e6);
        if (spent >= due)
            return GX_OK;
        int64_t pause = GX_MIN(due - spent, (int64_t)100000);
        nanosleep(&(struct timespec){0, (long)pause * 1000}, NULL);
    }
}

static enum gx_status copy_files(struct gx_backup_job *job, struct gx_err *err)
{
    char from[GX_BACKUP_PATH_MAX], to[GX_BACKUP_PATH_MAX], path[256];
    job->copying_since_us = gx_clock_monotonic_us();
    job->copier.check = between_pieces;
    job->copier.arg = job;
    GX_TRY(gx_backup_copier_open(&job->copier, err));
    for (size_t i = 0; i < job->n_files; i++) {
        struct gx_manifest_file *file = &job->files[i];
        (void)snprintf(path, sizeof(path), "%.*s", (int)file->path.len, (const char *)file->path.data);
        GX_TRY(source_of(job, path, from, err));
        GX_TRY(gx_file_path(job->temporary, path, to, sizeof(to), err));
        GX_TRY(step(job, err));
        GX_TRY(gx_backup_files_copy(&job->copier, from, to, &file->n_bytes, &file->digest, err));
        job->backup.n_bytes += file->n_bytes;
        gx_failpoint_pass("backup.in_copies");
    }
    job->backup.n_files = job->n_files;
    return GX_OK;
}

/* --- the end --- */

static enum gx_status put_in_place(struct gx_backup_job *job, struct gx_err *err)
{
    char path[GX_BACKUP_PATH_MAX];
    GX_TRY(gx_file_path(job->temporary, "store", path, sizeof(path), err));
    GX_TRY(step(job, err));
    GX_TRY(gx_file_sync_dir(path, err));
    GX_TRY(step(job, err));
    GX_TRY(put_manifest(job, true, err)); /* syncs DIR.tmp too */
    GX_TRY(step(job, err));
    gx_failpoint_pass("backup.before_rename");
    /* RENAME_NOREPLACE: what has come there meanwhile is not ours to replace. */
    if (renameat2(AT_FDCWD, job->temporary, AT_FDCWD, job->backup.directory, RENAME_NOREPLACE) != 0 &&
        (errno != EINVAL || rename(job->temporary, job->backup.directory) != 0))
        return gx_err_errno(err, errno, "cannot put '%s' in its place", job->temporary);
    gx_failpoint_pass("backup.after_rename");
    return gx_file_sync_parent(job->backup.directory, err);
}

static enum gx_status make(struct gx_backup_job *job, struct gx_err *err)
{
    GX_TRY(step(job, err));
    GX_TRY(find_place(job, err));
    GX_TRY(make_temporary(job, err));
    GX_TRY(step(job, err));
    GX_TRY(enter_register(job, err));
    tell(job, "waiting");
    GX_TRY(step(job, err));
    GX_TRY(put_manifest(job, false, err));
    GX_TRY(gx_backup_enter_links(job, err));
    GX_TRY(step(job, err));
    GX_TRY(make_links(job, err));
    GX_TRY(list_files(job, err));
    GX_TRY(check_room(job, err));
    GX_TRY(copy_files(job, err));
    GX_TRY(step(job, err));
    GX_TRY(drop_links(job, err));
    tell(job, "finishing");
    GX_TRY(put_in_place(job, err));
    GX_TRY(step(job, err));
    return gx_backup_note_complete(job->galleries, &job->backup, err);
}

/* What there is of it goes again; what cannot go stays in the register. */
static void undo(struct gx_backup_job *job)
{
    struct gx_err err;
    bool found;
    if (drop_links(job, &err) != GX_OK)
        gx_log_error("backup_links_left", "reason=\"%s\" advice=\"nothing is erased until a restart removes them\"",
                     err.text);
    gx_backup_copier_close(&job->copier);
    if (!job->has_number) { /* nothing but empty folders */
        gx_backup_files_drop(job->backup.directory);
        return;
    }
    enum gx_status status =
        gx_backup_files_remove(job->backup.directory, job->backup.number, &job->galleries->uuid, &found, &err);
    if (status == GX_OK && found)
        status = gx_backup_note_gone(job->galleries, &job->backup, &err);
    if (status == GX_OK && found)
        gx_backup_files_drop(job->backup.directory);
    else
        gx_log_error("backup_left", "backup=%" PRIu64 " advice=\"see 'indexctl backup list'\"", job->backup.number);
}

void gx_backup_make_run(struct gx_backup_job *job)
{
    struct gx_backups *b = job->galleries->backups;
    struct gx_err err = {0};
    gx_arena_init(&job->arena, ARENA_MAX);
    enum gx_status status = make(job, &err);
    if (status != GX_OK)
        undo(job);
    gx_backup_copier_close(&job->copier);
    gx_arena_fini(&job->arena);
    pthread_mutex_lock(&b->lock);
    b->running = 0;
    b->job = NULL;
    pthread_mutex_unlock(&b->lock);
    if (status == GX_OK)
        gx_log_info("backup_made", "backup=%" PRIu64 " files=%" PRIu64 " bytes=%" PRIu64, job->backup.number,
                    job->backup.n_files, job->backup.n_bytes);
    else
        gx_log_warn("backup_failed", "reason=\"%s\"", err.text);
    job->in.on_done(job->in.arg, &job->backup, status == GX_OK ? NULL : &err);
    free(job);
}
