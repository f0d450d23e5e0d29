/* Looks for byte patterns in the files of a directory that is in use.
 *
 * The path: list every regular file -> look at each, in pieces that overlap, several files at a time while cores are
 * idle -> list again -> look at what is new or has grown -> ... -> a listing with the same files as the one before.
 * Bytes can only move between files (a compaction, a rename) in that a file appears, and that shows in the next
 * listing.
 *
 * What can go wrong: a file vanishes before it is opened, or another one has its name by then: the next listing
 * decides; a file cannot be read: an error, never "not found"; the files never stand still: GX_E_STATE. */
#include "scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crew.h"
#include "scan_private.h"

#define ROUNDS_MAX 20
#define DEPTH_MAX  32

struct file {
    char *name; /* relative to the directory */
    dev_t dev;
    ino_t ino;
    uint64_t size;
    struct timespec changed;
    uint64_t looked; /* so many of its bytes were looked at */
    bool is_open;    /* looked at at all, an empty one too */
};

struct listing {
    struct file *files; /* by name */
    size_t n, cap;
    bool torn; /* a folder vanished meanwhile */
};

/* Who looks at one file after the other. */
struct looker {
    struct run *run;
    uint8_t *buffer;
    bool *seen; /* patterns that it has found */
    struct gx_scan_place places[GX_SCAN_LANES_MAX];
    const char *file; /* looked at now */
    struct gx_scan_piece piece;
    uint64_t known;   /* of it, so many bytes were looked at before */
    uint64_t counted; /* runs up to here are counted */
    bool any;         /* … when there are any */
};

/* One call. */
struct run {
    const struct gx_scan *scan;
    const char *dir;
    gx_scan_stop *stop;
    void *stop_arg;
    size_t n_lookers;
    struct looker *lookers;
    struct file **files; /* to be looked at in this round */
    size_t n_files;
    pthread_mutex_t lock; /* guards all below */
    struct gx_scan_result *out;
    bool missed; /* one of them is not the listed file any more */
    enum gx_status status;
    struct gx_err err;
};

/* --- making and ending --- */

static enum gx_status check_pattern(const struct gx_scan_pattern *p, struct gx_err *err)
{
    if (p->min_match < 8 || p->min_match > GX_SCAN_MATCH_MAX || p->len < p->min_match || p->len > UINT32_MAX)
        return gx_fail(err, GX_E_INVALID, "a pattern of %zu bytes with a shortest run of %zu cannot be looked for",
                       p->len, p->min_match);
    return GX_OK;
}

static enum gx_status add_lane(struct gx_scan *scan, size_t match, struct gx_err *err)
{
    for (size_t i = 0; i < scan->n_lanes; i++)
        if (scan->lanes[i].match == match)
            return GX_OK;
    if (scan->n_lanes == GX_SCAN_LANES_MAX)
        return gx_fail(err, GX_E_INVALID, "a scan takes at most %d lengths of a shortest run", GX_SCAN_LANES_MAX);
    return gx_scan_lane_init(&scan->lanes[scan->n_lanes++], scan->patterns, scan->n_patterns, match, err);
}

enum gx_status gx_scan_new(const struct gx_scan_pattern *patterns, size_t n, struct gx_scan **out, struct gx_err *err)
{
    *out = NULL;
    if (n == 0 || n > UINT32_MAX)
        return gx_fail(err, GX_E_INVALID, "a scan takes 1 to %u patterns, not %zu", UINT32_MAX, n);
    for (size_t i = 0; i < n; i++)
        GX_TRY(check_pattern(&patterns[i], err));
    struct gx_scan *scan = calloc(1, sizeof(*scan));
    if (scan == NULL)
        return gx_fail(err, GX_E_NOMEM, "prepare a scan: out of memory");
    scan->patterns = patterns;
    scan->n_patterns = n;
    enum gx_status status = GX_OK;
    for (size_t i = 0; i < n && status == GX_OK; i++)
        status = add_lane(scan, patterns[i].min_match, err);
    if (status != GX_OK) {
        gx_scan_free(scan);
        return status;
    }
    *out = scan;
    return GX_OK;
}

void gx_scan_free(struct gx_scan *scan)
{
    if (scan == NULL)
        return;
    for (size_t i = 0; i < scan->n_lanes; i++)
        gx_scan_lane_fini(&scan->lanes[i]);
    free(scan);
}

static void end_looker(struct looker *l)
{
    for (size_t i = 0; i < l->run->scan->n_lanes; i++)
        free(l->places[i].spread_bits);
    if (l->buffer != NULL)
        explicit_bzero(l->buffer, GX_SCAN_CARRY + GX_SCAN_PIECE);
    free(l->buffer);
    free(l->seen);
}

/* Makes what it works with, the first time; end_looker whatever the outcome. */
static enum gx_status begin_looker(struct looker *l, struct gx_err *err)
{
    const struct gx_scan *scan = l->run->scan;
    if (l->seen != NULL)
        return GX_OK;
    l->buffer = aligned_alloc(64, GX_SCAN_CARRY + GX_SCAN_PIECE);
    bool ok = l->buffer != NULL;
    for (size_t i = 0; i < scan->n_lanes && ok; i++) {
        l->places[i].spread_bits = calloc(scan->lanes[i].n_windows / 64 + 1, sizeof(uint64_t));
        ok = l->places[i].spread_bits != NULL;
    }
    if (ok)
        l->seen = calloc(scan->n_patterns, sizeof(bool));
    return l->seen != NULL ? GX_OK : gx_fail(err, GX_E_NOMEM, "scan files: out of memory");
}

static void end_run(struct run *r)
{
    for (size_t i = 0; i < r->n_lookers; i++)
        end_looker(&r->lookers[i]);
    free(r->lookers);
    free(r->files);
    pthread_mutex_destroy(&r->lock);
}

/* Call end_run whatever the outcome. */
static enum gx_status begin_run(struct run *r, const struct gx_scan *scan, const char *dir, size_t n_lookers,
                                struct gx_scan_result *out, struct gx_err *err)
{
    *r = (struct run){.scan = scan, .dir = dir, .out = out, .lock = PTHREAD_MUTEX_INITIALIZER};
    *out =
        (struct gx_scan_result){.pattern_hit = out->pattern_hit, .filter = out->filter, .filter_arg = out->filter_arg};
    if (out->pattern_hit != NULL)
        memset(out->pattern_hit, 0, scan->n_patterns * sizeof(bool));
    r->lookers = calloc(n_lookers, sizeof(*r->lookers));
    if (r->lookers == NULL)
        return gx_fail(err, GX_E_NOMEM, "scan files: out of memory");
    for (; r->n_lookers < n_lookers; r->n_lookers++)
        r->lookers[r->n_lookers].run = r;
    return GX_OK;
}

/* --- one file --- */

static void count_hit(struct gx_scan_result *out, const char *file, size_t pattern, uint64_t from)
{
    out->n_hits++;
    if (out->n_first == GX_SCAN_HITS_MAX)
        return;
    struct gx_scan_hit *hit = &out->first[out->n_first++];
    hit->pattern = pattern;
    hit->offset = from;
    snprintf(hit->file, sizeof(hit->file), "%s", file);
}

static void note_hit(void *arg, size_t pattern, uint64_t from, uint64_t until)
{
    struct looker *l = arg;
    struct gx_scan_result *out = l->run->out;
    if (out->filter != NULL) {
        const struct gx_scan_piece *p = &l->piece;
        size_t at = (size_t)(from - p->offset), end = (size_t)(until - p->offset);
        const struct gx_scan_sight sight = {pattern, l->file, p->bytes, p->len, at, end, p->offset};
        if (!out->filter(out->filter_arg, &sight))
            return;
    }
    bool apart = !l->any || from > l->counted;
    bool counts = until > l->known; /* else it was told when the file was looked at before it grew */
    if (counts) {
        l->counted = l->any ? GX_MAX(l->counted, until) : until;
        l->any = true;
    }
    l->seen[pattern] = true;
    pthread_mutex_lock(&l->run->lock);
    if (out->pattern_hit != NULL)
        out->pattern_hit[pattern] = true;
    if (counts && apart)
        count_hit(out, l->file, pattern, from);
    pthread_mutex_unlock(&l->run->lock);
}

static void begin_file(struct looker *l, const char *name, uint64_t from, uint64_t known)
{
    l->file = name;
    l->known = known;
    l->any = false;
    for (size_t i = 0; i < l->run->scan->n_lanes; i++)
        l->places[i] = (struct gx_scan_place){.next = from, .spread_bits = l->places[i].spread_bits};
}

static enum gx_status may_go_on(const struct run *r, struct gx_err *err)
{
    if (r->stop != NULL && r->stop(r->stop_arg))
        return gx_fail(err, GX_E_CANCELLED, "the scan was stopped");
    return GX_OK;
}

/* So many bytes from @at on, at most @max, are no data but a hole, or blocks that were only reserved (the ballast):
 * they are zeros, and reading would fill the page cache with them. The size comes first: what is added later is data
 * then. */
static size_t hole_at(int fd, uint64_t at, size_t max)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return 0;
    off_t data = lseek(fd, (off_t)at, SEEK_DATA);
    if (data < 0 && errno == ENXIO)
        data = st.st_size;
    return data > (off_t)at ? (size_t)GX_MIN((uint64_t)data - at, max) : 0;
}

/* Reads until @capacity bytes are there or the file ends. */
static enum gx_status read_piece(int fd, const char *name, uint8_t *bytes, size_t capacity, uint64_t offset,
                                 size_t *out_len, struct gx_err *err)
{
    *out_len = hole_at(fd, offset, capacity);
    memset(bytes, 0, *out_len);
    while (*out_len < capacity) {
        ssize_t n = pread(fd, bytes + *out_len, capacity - *out_len, (off_t)(offset + *out_len));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return gx_err_errno(err, errno, "cannot read '%s' to look for what was erased", name);
        if (n == 0)
            break;
        *out_len += (size_t)n;
    }
    return GX_OK;
}

/* Looks at the open file from @known on. *out_until: how far; *out_bytes: so many were read. */
static enum gx_status look_at(struct looker *l, int fd, const char *name, uint64_t known, uint64_t *out_until,
                              uint64_t *out_bytes, struct gx_err *err)
{
    const struct run *r = l->run;
    /* What was added may end a run that began before. */
    uint64_t offset = known > GX_SCAN_CARRY ? (known - GX_SCAN_CARRY) / 64 * 64 : 0;
    size_t kept = 0;
    *out_bytes = 0;
    GX_TRY(begin_looker(l, err));
    begin_file(l, name, offset, known);
    (void)posix_fadvise(fd, (off_t)offset, 0, POSIX_FADV_SEQUENTIAL);
    for (;;) {
        size_t n;
        GX_TRY(may_go_on(r, err));
        GX_TRY(read_piece(fd, name, l->buffer + kept, GX_SCAN_PIECE, offset + kept, &n, err));
        l->piece = (struct gx_scan_piece){l->buffer, kept + n, offset, n < GX_SCAN_PIECE};
        for (size_t i = 0; i < r->scan->n_lanes; i++)
            gx_scan_lane_look(&r->scan->lanes[i], &l->places[i], &l->piece, l->seen, note_hit, l);
        *out_bytes += n;
        *out_until = offset + l->piece.len;
        if (l->piece.last)
            return GX_OK;
        size_t next = GX_MIN(l->piece.len, GX_SCAN_CARRY);
        memmove(l->buffer, l->buffer + l->piece.len - next, next);
        offset += l->piece.len - next;
        kept = next;
    }
}

enum gx_status gx_scan_file(const struct gx_scan *scan, const char *path, struct gx_scan_result *out,
                            struct gx_err *err)
{
    struct run r;
    uint64_t until;
    int fd = -1;
    enum gx_status status;
    GX_TRY_OUT(begin_run(&r, scan, NULL, 1, out, err));
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        status = gx_fail(err, GX_E_NOT_FOUND, "'%s' does not exist", path);
    else if (fd < 0)
        status = gx_err_errno(err, errno, "cannot open '%s'", path);
    GX_TRY_OUT(status);
    out->n_files = 1;
    out->rounds = 1;
    status = look_at(&r.lookers[0], fd, path, 0, &until, &out->n_bytes, err);
out:
    if (fd >= 0)
        (void)close(fd);
    end_run(&r);
    return status;
}

/* --- listing --- */

static void free_listing(struct listing *list)
{
    for (size_t i = 0; i < list->n; i++)
        free(list->files[i].name);
    free(list->files);
    *list = (struct listing){0};
}

static enum gx_status add_file(struct listing *list, const char *name, const struct stat *info, struct gx_err *err)
{
    if (list->n == list->cap) {
        size_t cap = list->cap == 0 ? 256 : list->cap * 2;
        struct file *files = realloc(list->files, cap * sizeof(*files));
        if (files == NULL)
            return gx_fail(err, GX_E_NOMEM, "scan files: out of memory");
        list->files = files;
        list->cap = cap;
    }
    struct file *f = &list->files[list->n];
    *f = (struct file){.name = strdup(name),
                       .dev = info->st_dev,
                       .ino = info->st_ino,
                       .size = (uint64_t)info->st_size,
                       .changed = info->st_mtim};
    if (f->name == NULL)
        return gx_fail(err, GX_E_NOMEM, "scan files: out of memory");
    list->n++;
    return GX_OK;
}

static enum gx_status list_folder(struct listing *list, int parent, const char *folder, const char *prefix, int depth,
                                  struct gx_err *err);

static enum gx_status list_entry(struct listing *list, int fd, const char *entry, const char *prefix, int depth,
                                 struct gx_err *err)
{
    char name[PATH_MAX];
    struct stat info;
    if (strcmp(entry, ".") == 0 || strcmp(entry, "..") == 0)
        return GX_OK;
    if ((size_t)snprintf(name, sizeof(name), "%s%s", prefix, entry) >= sizeof(name) - 1)
        return gx_fail(err, GX_E_IO, "a path in '%.100s' is too long to be scanned", prefix);
    if (fstatat(fd, entry, &info, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT)
            return gx_err_errno(err, errno, "cannot look at '%s'", name);
        list->torn = true;
        return GX_OK;
    }
    if (S_ISREG(info.st_mode))
        return add_file(list, name, &info, err);
    if (!S_ISDIR(info.st_mode))
        return GX_OK;
    strcat(name, "/");
    return list_folder(list, fd, entry, name, depth + 1, err);
}

/* Adds what is below @folder, a name in the open directory @parent; @prefix goes before the names. */
static enum gx_status list_folder(struct listing *list, int parent, const char *folder, const char *prefix, int depth,
                                  struct gx_err *err)
{
    const char *shown = prefix[0] == '\0' ? folder : prefix;
    if (depth > DEPTH_MAX)
        return gx_fail(err, GX_E_IO, "folders in '%.100s' are nested too deep to be scanned", shown);
    int fd = openat(parent, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (depth > 0 ? O_NOFOLLOW : 0));
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL) {
        int e = errno;
        if (fd >= 0)
            (void)close(fd);
        list->torn = true;
        return depth > 0 && (e == ENOENT || e == ENOTDIR) ? GX_OK
                                                          : gx_err_errno(err, e, "cannot open directory '%s'", shown);
    }
    enum gx_status status = GX_OK;
    errno = 0;
    for (struct dirent *entry; status == GX_OK && (entry = readdir(dir)) != NULL; errno = 0)
        status = list_entry(list, fd, entry->d_name, prefix, depth, err);
    if (status == GX_OK && errno != 0)
        status = gx_err_errno(err, errno, "cannot read directory '%s'", shown);
    (void)closedir(dir);
    return status;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static enum gx_status list_dir(const char *dir, struct listing *out, struct gx_err *err)
{
    *out = (struct listing){0};
    GX_TRY(list_folder(out, AT_FDCWD, dir, "", 0, err));
    if (out->n > 1)
        qsort(out->files, out->n, sizeof(*out->files), by_name);
    return GX_OK;
}

/* --- rounds --- */

/* The same file, to which at most something was added? */
static bool is_same(const struct file *old, const struct file *f)
{
    return old->dev == f->dev && old->ino == f->ino && f->size >= old->size && f->size >= old->looked;
}

/* Takes over from @old what was looked at. False: files came, went or were replaced. */
static bool compare_listings(const struct listing *old, struct listing *list)
{
    size_t n_same = 0;
    for (size_t i = 0; i < list->n; i++) {
        struct file *f = &list->files[i];
        const struct file *was = old->n == 0 ? NULL : bsearch(f, old->files, old->n, sizeof(*old->files), by_name);
        if (was == NULL || !is_same(was, f))
            continue;
        n_same++;
        bool rewritten = f->size == was->looked &&
                         (f->changed.tv_sec != was->changed.tv_sec || f->changed.tv_nsec != was->changed.tv_nsec);
        f->looked = rewritten ? 0 : was->looked;
        f->is_open = was->is_open;
    }
    return n_same == old->n && n_same == list->n && !list->torn;
}

/* *out_missed: it is not the listed file any more. */
static enum gx_status look_at_listed(struct looker *l, struct file *f, bool *out_missed, uint64_t *out_bytes,
                                     struct gx_err *err)
{
    char path[PATH_MAX];
    struct stat info;
    *out_missed = false;
    *out_bytes = 0;
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", l->run->dir, f->name) >= sizeof(path))
        return gx_fail(err, GX_E_IO, "the path of '%.100s' is too long to be scanned", f->name);
    GX_TRY(may_go_on(l->run, err));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) {
        *out_missed = true;
        return GX_OK;
    }
    if (fd < 0)
        return gx_err_errno(err, errno, "cannot read '%s' to look for what was erased", f->name);
    enum gx_status status = GX_OK;
    if (fstat(fd, &info) != 0)
        status = gx_err_errno(err, errno, "cannot look at '%s'", f->name);
    else if (info.st_dev != f->dev || info.st_ino != f->ino || (uint64_t)info.st_size < f->looked)
        *out_missed = true;
    else
        status = look_at(l, fd, f->name, f->looked, &f->looked, out_bytes, err);
    (void)close(fd);
    return status;
}

/* Part @at of a round: one file. */
static void look_at_part(void *arg, size_t member, size_t at)
{
    struct run *r = arg;
    struct file *f = r->files[at];
    struct gx_err err;
    bool missed;
    uint64_t n_bytes;
    pthread_mutex_lock(&r->lock);
    bool goes_on = r->status == GX_OK;
    pthread_mutex_unlock(&r->lock);
    if (!goes_on)
        return;
    enum gx_status status = look_at_listed(&r->lookers[member], f, &missed, &n_bytes, &err);
    pthread_mutex_lock(&r->lock);
    r->missed = r->missed || missed;
    r->out->n_bytes += n_bytes;
    r->out->n_files += status == GX_OK && !missed && !f->is_open;
    f->is_open = f->is_open || !missed;
    if (status != GX_OK && r->status == GX_OK) {
        r->status = status;
        r->err = err;
    }
    pthread_mutex_unlock(&r->lock);
}

/* Those of the listing that have to be looked at. */
static enum gx_status choose_files(struct run *r, const struct listing *list, gx_scan_skip *skip, void *skip_arg,
                                   struct gx_err *err)
{
    free(r->files);
    r->files = calloc(GX_MAX(list->n, (size_t)1), sizeof(struct file *));
    if (r->files == NULL)
        return gx_fail(err, GX_E_NOMEM, "scan files: out of memory");
    r->n_files = 0;
    r->out->n_skipped = 0;
    for (size_t i = 0; i < list->n; i++) {
        struct file *f = &list->files[i];
        if (skip != NULL && skip(skip_arg, f->name))
            r->out->n_skipped++;
        else if (!f->is_open || f->looked < f->size)
            r->files[r->n_files++] = f;
    }
    return GX_OK;
}

/* One listing, worked through. *out_stable: it has the files of @old, which it replaces, and all were looked at. */
static enum gx_status work_through(struct run *r, struct listing *old, gx_scan_skip *skip, void *skip_arg,
                                   bool *out_stable, struct gx_err *err)
{
    struct listing list;
    GX_TRY(may_go_on(r, err));
    enum gx_status status = list_dir(r->dir, &list, err);
    if (status != GX_OK) {
        free_listing(&list);
        return status;
    }
    bool same = compare_listings(old, &list);
    free_listing(old);
    *old = list;
    r->out->rounds++;
    r->missed = false;
    GX_TRY(choose_files(r, old, skip, skip_arg, err));
    gx_crew_run_aside(look_at_part, r, r->n_files);
    if (r->status != GX_OK && err != NULL)
        *err = r->err;
    *out_stable = same && !r->missed;
    return r->status;
}

enum gx_status gx_scan_dir(const struct gx_scan *scan, const char *dir, gx_scan_skip *skip, void *skip_arg,
                           gx_scan_stop *stop, void *stop_arg, struct gx_scan_result *out, struct gx_err *err)
{
    struct run r;
    struct listing list = {0};
    bool stable = false;
    enum gx_status status;
    GX_TRY_OUT(begin_run(&r, scan, dir, gx_crew_members(), out, err));
    r.stop = stop;
    r.stop_arg = stop_arg;
    while (!stable) {
        if (out->rounds == ROUNDS_MAX) {
            status = gx_fail(err, GX_E_STATE, "the files of '%s' keep changing: scan again when less is written", dir);
            goto out;
        }
        GX_TRY_OUT(work_through(&r, &list, skip, skip_arg, &stable, err));
    }
out:
    free_listing(&list);
    end_run(&r);
    return status;
}
