/* Who has the data directory, and which files it may hold.
 *
 * The path of a start: open (lock) -> check (no strays) -> clean (leftovers of a crash) -> the ballast is given up when
 * the disk is full -> the store is opened -> ... -> the ballast is made again.
 *
 * What can go wrong: a file that nobody knows may hold rows that were erased, and no erasure would ever clean it: an
 * old write-ahead log that somebody put aside, the lost/ of a repair, a core dump. So a start refuses them by name. */
#include "datadir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "datadir_private.h"
#include "file.h"

#define DEPTH_MAX 32

/* --- the table --- */

enum kind {
    STRAY,
    KEPT,      /* a file of ours, a socket, a pipe */
    FOLDER,    /* ours; what is in it has its own lines */
    EMPTY,     /* a folder that must be empty */
    LEFT,      /* a file of ours that a crash has left behind */
    LEFT_TREE, /* a folder likewise, with everything in it */
};

/* '#' in a name stands for digits, '@' for a UUID. */
static const struct rule {
    const char *folder, *name;
    enum kind kind;
} rules[] = {
    {"", "FORMAT", KEPT},
    {"", "secret.key", KEPT},
    {"", "certificate.key", KEPT},
    {"", "certificate.pub", KEPT},
    {"", "expunge.log", KEPT},
    {"", "ballast", KEPT},
    {"", "store", FOLDER},
    {"", "index", FOLDER},
    {"", "rows", FOLDER},
    {"", "backup.tmp", LEFT_TREE},
    {"", "lost+found", EMPTY},
    {"store", "CURRENT", KEPT},
    {"store", "IDENTITY", KEPT},
    {"store", "LOCK", KEPT},
    {"store", "LOG", KEPT},
    {"store", "LOG.old.#", KEPT},
    {"store", "MANIFEST-#", KEPT},
    {"store", "OPTIONS-#", KEPT},
    {"store", "#.sst", KEPT},
    {"store", "#.log", KEPT},
    {"store", "#.dbtmp", KEPT}, /* RocksDB's own leftovers, which it removes as it opens */
    {"store", "OPTIONS-#.dbtmp", KEPT},
    {"index", "@.index", KEPT},
    {"rows", "@.floats", LEFT}, /* made anew at each start */
};

/* What strays probably are. */
static const struct {
    const char *name, *hint;
} hints[] = {
    {"store/lost/", "damaged table files that a repair of RocksDB has put aside; they hold rows, erased ones too"},
    {"store/archive/", "old write-ahead logs; they hold rows, erased ones too"},
    {"store/#.log.old", "a write-ahead log that somebody has put aside; it holds rows, erased ones too"},
    {"store/#.sst.trash", "a table file on its way out; it holds rows, erased ones too"},
    {"store/#.blob", "a value file of RocksDB, which indexd does not use"},
    {"core", "a core dump; it holds rows that were in memory"},
    {"core.#", "a core dump; it holds rows that were in memory"},
    {"store/core", "a core dump; it holds rows that were in memory"},
    {"store/core.#", "a core dump; it holds rows that were in memory"},
    {"lost+found/", "pieces of files that a check of the file system has found; they may be rows"},
};

static bool is_uuid(const char *text)
{
    for (size_t i = 0; i < 36; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-' : text[i] == '\0' || strchr("0123456789abcdef", text[i]) == NULL)
            return false;
    }
    return true;
}

/* @len bytes of @name against a name of the table. */
static bool matches(const char *pattern, const char *name, size_t len)
{
    const char *end = name + len;
    for (; *pattern != '\0'; pattern++) {
        size_t n = 1;
        if (*pattern == '#') {
            n = GX_MIN(strspn(name, "0123456789"), (size_t)(end - name));
            if (n == 0)
                return false;
        } else if (*pattern == '@') {
            n = 36;
            if ((size_t)(end - name) < n || !is_uuid(name))
                return false;
        } else if (name == end || *name != *pattern) {
            return false;
        }
        name += n;
    }
    return name == end;
}

static const char *hint_for(const char *name)
{
    for (size_t i = 0; i < GX_COUNT_OF(hints); i++)
        if (matches(hints[i].name, name, strlen(name)))
            return hints[i].hint;
    return "";
}

/* A file of ours with ".tmp" at its end: it was being replaced. */
static size_t without_tmp(const char *name)
{
    size_t len = strlen(name);
    return len > 4 && strcmp(name + len - 4, ".tmp") == 0 ? len - 4 : 0;
}

/* What a regular file or folder named @path (relative) is by its name. */
static enum kind kind_by_name(const struct gx_datadir *d, const char *path, bool is_folder)
{
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    size_t folder_len = slash == NULL ? 0 : (size_t)(slash - path), len = strlen(name), cut = without_tmp(name);
    for (size_t i = 0; i < GX_COUNT_OF(rules); i++) {
        const struct rule *r = &rules[i];
        if (strlen(r->folder) != folder_len || strncmp(r->folder, path, folder_len) != 0)
            continue;
        if (is_folder != (r->kind == FOLDER || r->kind == EMPTY || r->kind == LEFT_TREE))
            continue;
        if (matches(r->name, name, len))
            return r->kind;
        if (r->kind == KEPT && strcmp(r->folder, "store") != 0 && cut > 0 && matches(r->name, name, cut))
            return LEFT;
    }
    size_t path_len = strlen(path);
    for (size_t i = 0; i < d->n_own; i++) {
        const char *own = d->own[i];
        if (is_folder && strncmp(own, path, path_len) == 0 && own[path_len] == '/')
            return FOLDER;
        if (!is_folder && strcmp(own, path) == 0)
            return KEPT;
        if (!is_folder && cut > 0 && strlen(own) == path_len - 4 && strncmp(own, path, path_len - 4) == 0)
            return LEFT;
    }
    return STRAY;
}

/* --- opening --- */

/* Takes note of @path when it is in the directory. */
static enum gx_status add_own(struct gx_datadir *d, const char *path, struct gx_err *err)
{
    char folder[PATH_MAX], real[PATH_MAX];
    const char *slash = strrchr(path, '/'), *name = slash == NULL ? path : slash + 1;
    size_t len = strlen(d->real);
    if ((size_t)snprintf(folder, sizeof(folder), "%.*s", (int)(name - path), path) >= sizeof(folder))
        return gx_fail(err, GX_E_INVALID, "a path is longer than %d bytes: use a shorter one", PATH_MAX - 1);
    if (realpath(folder[0] == '\0' ? "." : folder, real) == NULL)
        return GX_OK; /* whoever needs it will say so */
    if (strncmp(real, d->real, len) != 0 || (real[len] != '\0' && real[len] != '/'))
        return GX_OK;
    assert(d->n_own < GX_DATADIR_OWN_MAX);
    const char *below = real[len] == '/' ? real + len + 1 : "";
    if (asprintf(&d->own[d->n_own], "%s%s%s", below, below[0] == '\0' ? "" : "/", name) < 0) {
        d->own[d->n_own] = NULL;
        return gx_fail(err, GX_E_NOMEM, "open the data directory: out of memory");
    }
    d->n_own++;
    return GX_OK;
}

static enum gx_status open_and_lock(struct gx_datadir *d, struct gx_err *err)
{
    d->fd = open(d->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->fd < 0 && errno == ENOENT)
        return gx_fail(err, GX_E_NOT_FOUND, "there is no directory '%s': create it with 'indexd init'", d->path);
    if (d->fd < 0)
        return gx_err_errno(err, errno, "cannot open directory '%s'", d->path);
    /* A file system without locks on directories leaves the store's lock. */
    if (flock(d->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
        return gx_fail(err, GX_E_IN_USE, "the data directory '%s' is in use by another process: stop that one first",
                       d->path);
    if (realpath(d->path, d->real) == NULL)
        return gx_err_errno(err, errno, "cannot resolve '%s'", d->path);
    return GX_OK;
}

enum gx_status gx_datadir_open(const char *dir, const char *const *own, size_t n_own, struct gx_datadir **out,
                               struct gx_err *err)
{
    *out = NULL;
    struct gx_datadir *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return gx_fail(err, GX_E_NOMEM, "open the data directory: out of memory");
    d->fd = -1;
    pthread_mutex_init(&d->lock, NULL);
    enum gx_status status = GX_OK;
    if ((size_t)snprintf(d->path, sizeof(d->path), "%s", dir) >= sizeof(d->path))
        status = gx_fail(err, GX_E_INVALID, "the path of the data directory is too long");
    GX_TRY_OUT(status);
    GX_TRY_OUT(open_and_lock(d, err));
    for (size_t i = 0; i < n_own; i++)
        if (own[i] != NULL)
            GX_TRY_OUT(add_own(d, own[i], err));
    *out = d;
    return GX_OK;
out:
    gx_datadir_close(d);
    return status;
}

void gx_datadir_close(struct gx_datadir *datadir)
{
    if (datadir == NULL)
        return;
    for (size_t i = 0; i < datadir->n_own; i++)
        free(datadir->own[i]);
    if (datadir->fd >= 0)
        (void)close(datadir->fd); /* and with it the lock */
    pthread_mutex_destroy(&datadir->lock);
    free(datadir);
}

/* --- looking --- */

struct entry {
    char *name; /* relative */
    enum kind kind;
    bool is_folder;
    struct stat info;
};

struct entries {
    struct entry *list;
    size_t n, cap;
};

static void free_entries(struct entries *e)
{
    for (size_t i = 0; i < e->n; i++)
        free(e->list[i].name);
    free(e->list);
    *e = (struct entries){0};
}

static enum gx_status add_entry(struct entries *e, const char *name, enum kind kind, const struct stat *info,
                                struct gx_err *err)
{
    if (e->n == e->cap) {
        size_t cap = e->cap == 0 ? 64 : e->cap * 2;
        struct entry *list = realloc(e->list, cap * sizeof(*list));
        if (list == NULL)
            return gx_fail(err, GX_E_NOMEM, "look at the data directory: out of memory");
        e->list = list;
        e->cap = cap;
    }
    struct entry *x = &e->list[e->n];
    *x = (struct entry){strdup(name), kind, S_ISDIR(info->st_mode), *info};
    if (x->name == NULL)
        return gx_fail(err, GX_E_NOMEM, "look at the data directory: out of memory");
    e->n++;
    return GX_OK;
}

typedef enum gx_status take_entry(void *arg, const char *name, const struct stat *info, struct gx_err *err);

/* Calls @take for what is directly in @folder, relative to the open directory; "" is that itself. */
static enum gx_status each_entry(int parent, const char *folder, take_entry *take, void *arg, struct gx_err *err)
{
    int fd = openat(parent, folder[0] == '\0' ? "." : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int e = errno;
        if (fd >= 0)
            (void)close(fd);
        return gx_err_errno(err, e, "cannot read directory '%s' in the data directory", folder);
    }
    enum gx_status status = GX_OK;
    errno = 0;
    for (struct dirent *entry; status == GX_OK && (entry = readdir(dir)) != NULL; errno = 0) {
        char name[PATH_MAX];
        struct stat info;
        const char *slash = folder[0] == '\0' ? "" : "/";
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if ((size_t)snprintf(name, sizeof(name), "%s%s%s", folder, slash, entry->d_name) >= sizeof(name))
            status = gx_fail(err, GX_E_IO, "a path in the data directory is too long: remove it");
        else if (fstatat(parent, name, &info, AT_SYMLINK_NOFOLLOW) == 0)
            status = take(arg, name, &info, err);
        else if (errno != ENOENT)
            status = gx_err_errno(err, errno, "cannot look at '%s' in the data directory", name);
    }
    if (status == GX_OK && errno != 0)
        status = gx_err_errno(err, errno, "cannot read directory '%s' in the data directory", folder);
    (void)closedir(dir);
    return status;
}

struct collection {
    struct gx_datadir *datadir;
    struct entries *entries;
};

static enum gx_status collect_one(void *arg, const char *name, const struct stat *info, struct gx_err *err);

static enum gx_status refuse_any(void *arg, const char *name, const struct stat *info, struct gx_err *err)
{
    (void)arg;
    (void)name;
    (void)info;
    return gx_fail(err, GX_E_STATE, "not empty");
}

/* Adds what is no file of ours that is in use, and looks into the folders that are. */
static enum gx_status collect_one(void *arg, const char *name, const struct stat *info, struct gx_err *err)
{
    struct collection *c = arg;
    struct gx_err ignored;
    enum kind kind = STRAY;
    if (S_ISREG(info->st_mode) || S_ISDIR(info->st_mode))
        kind = kind_by_name(c->datadir, name, S_ISDIR(info->st_mode));
    else if (S_ISSOCK(info->st_mode) || S_ISFIFO(info->st_mode))
        kind = KEPT; /* nothing is stored in it; the server may listen there */
    if (kind == EMPTY)
        kind = each_entry(c->datadir->fd, name, refuse_any, NULL, &ignored) == GX_OK ? KEPT : STRAY;
    if (kind == FOLDER)
        return each_entry(c->datadir->fd, name, collect_one, c, err);
    return kind == KEPT ? GX_OK : add_entry(c->entries, name, kind, info, err);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static enum gx_status collect(struct gx_datadir *d, struct entries *out, struct gx_err *err)
{
    struct collection c = {d, out};
    *out = (struct entries){0};
    enum gx_status status = each_entry(d->fd, "", collect_one, &c, err);
    if (status != GX_OK)
        free_entries(out);
    else if (out->n > 1)
        qsort(out->list, out->n, sizeof(*out->list), by_name);
    return status;
}

/* --- strays --- */

static int64_t modified_us(const struct stat *info)
{
    return (int64_t)info->st_mtim.tv_sec * 1000000 + info->st_mtim.tv_nsec / 1000;
}

struct sum {
    int fd, depth;
    struct gx_datadir_stray *stray;
};

static enum gx_status sum_up(void *arg, const char *name, const struct stat *info, struct gx_err *err)
{
    struct sum *s = arg;
    s->stray->modified_us = GX_MAX(s->stray->modified_us, modified_us(info));
    if (S_ISDIR(info->st_mode)) {
        if (s->depth == DEPTH_MAX)
            return GX_OK;
        s->depth++;
        enum gx_status status = each_entry(s->fd, name, sum_up, s, err);
        s->depth--;
        return status;
    }
    s->stray->n_files++;
    s->stray->n_bytes += S_ISREG(info->st_mode) ? (uint64_t)info->st_size : 0;
    return GX_OK;
}

static void describe(struct gx_datadir *d, const struct entry *entry, struct gx_datadir_stray *out, char *name,
                     size_t n)
{
    struct gx_err ignored;
    (void)snprintf(name, n, "%s%s", entry->name, entry->is_folder ? "/" : "");
    *out = (struct gx_datadir_stray){
        .name = name, .is_folder = entry->is_folder, .modified_us = modified_us(&entry->info)};
    out->hint = S_ISLNK(entry->info.st_mode) ? "a link; no erasure follows it" : hint_for(name);
    struct sum s = {d->fd, 0, out};
    if (sum_up(&s, entry->name, &entry->info, &ignored) != GX_OK)
        out->hint = "not all of it can be read";
}

enum gx_status gx_datadir_list(struct gx_datadir *datadir, gx_datadir_visit *visit, void *arg, struct gx_err *err)
{
    struct entries e;
    enum gx_status status;
    GX_TRY(collect(datadir, &e, err));
    for (size_t i = 0; i < e.n; i++) {
        struct gx_datadir_stray stray;
        char name[PATH_MAX + 1];
        if (e.list[i].kind != STRAY)
            continue;
        describe(datadir, &e.list[i], &stray, name, sizeof(name));
        GX_TRY_OUT(visit(arg, &stray, err));
    }
    status = GX_OK;
out:
    free_entries(&e);
    return status;
}

struct names {
    size_t n;
    char text[200];
};

static enum gx_status note_name(void *arg, const struct gx_datadir_stray *stray, struct gx_err *err)
{
    struct names *names = arg;
    size_t len = strlen(names->text);
    (void)err;
    (void)snprintf(names->text + len, sizeof(names->text) - len, "%s%s", names->n == 0 ? "" : ", ", stray->name);
    names->n++;
    return GX_OK;
}

enum gx_status gx_datadir_check(struct gx_datadir *datadir, struct gx_err *err)
{
    struct names names = {0};
    GX_TRY(gx_datadir_list(datadir, note_name, &names, err));
    if (names.n == 0)
        return GX_OK;
    /* The names last: a text that is too long loses its end. */
    return gx_fail(err, GX_E_STATE, "unknown in the data directory, look with 'indexd doctor --data %s' (%zu): %s",
                   datadir->path, names.n, names.text);
}

enum gx_status gx_datadir_clean(struct gx_datadir *datadir, size_t *out_n, struct gx_err *err)
{
    struct entries e;
    enum gx_status status;
    *out_n = 0;
    GX_TRY(collect(datadir, &e, err));
    for (size_t i = 0; i < e.n; i++) {
        char path[PATH_MAX];
        const struct entry *x = &e.list[i];
        if (x->kind != LEFT && x->kind != LEFT_TREE)
            continue;
        GX_TRY_OUT(gx_file_path(datadir->path, x->name, path, sizeof(path), err));
        if (x->kind == LEFT)
            GX_TRY_OUT(gx_file_remove(path, err));
        else
            GX_TRY_OUT(gx_file_remove_tree(path, err));
        ++*out_n;
    }
    status = gx_file_sync_dir(datadir->path, err);
out:
    free_entries(&e);
    return status;
}
