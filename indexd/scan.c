/* Looks for byte patterns in the files of a directory that is in use.
 *
 * The path: list every regular file -> look at each, in pieces that overlap -> list again -> look at what is new or has
 * grown -> ... -> a listing with the same files as the one before. Bytes can only move between files (a compaction, a
 * rename) in that a file appears, and that shows in the next listing.
 *
 * What can go wrong: a file vanishes before it is opened, or another one has its name by then: the next listing
 * decides; a file cannot be read: an error, never "not found"; the files never stand still: GX_E_STATE. */
#include "scan.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* One call. */
struct run {
    const struct gx_scan *scan;
    const char *dir;
    gx_scan_stop *stop;
    void *stop_arg;
    struct gx_scan_result *out;
    bool *seen; /* out->pattern_hit, or ours */
    uint8_t *buffer;
    struct gx_scan_place places[GX_SCAN_LANES_MAX];
    const char *file; /* looked at now */
    struct gx_scan_piece piece;
    uint64_t known;   /* of it, so many bytes were looked at before */
    uint64_t counted; /* runs up to here are counted */
    bool any;         /* … when there are any */
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

static void end_run(struct run *r)
{
    for (size_t i = 0; i < r->scan->n_lanes; i++)
        free(r->places[i].spread_bits);
    if (r->buffer != NULL)
        explicit_bzero(r->buffer, GX_SCAN_CARRY + GX_SCAN_PIECE);
    free(r->buffer);
    if (r->seen != r->out->pattern_hit)
        free(r->seen);
}

/* Call end_run whatever the outcome. */
static enum gx_status begin_run(struct run *r, const struct gx_scan *scan, const char *dir, struct gx_scan_result *out,
                                struct gx_err *err)
{
    *r = (struct run){.scan = scan, .dir = dir, .out = out};
    *out =
        (struct gx_scan_result){.pattern_hit = out->pattern_hit, .filter = out->filter, .filter_arg = out->filter_arg};
    r->buffer = aligned_alloc(64, GX_SCAN_CARRY + GX_SCAN_PIECE);
    r->seen = out->pattern_hit != NULL ? out->pattern_hit : calloc(scan->n_patterns, sizeof(bool));
    bool ok = r->buffer != NULL && r->seen != NULL;
    for (size_t i = 0; i < scan->n_lanes && ok; i++) {
        size_t n = scan->lanes[i].n_windows / 64 + 1;
        r->places[i].spread_bits = calloc(n, sizeof(uint64_t));
        ok = r->places[i].spread_bits != NULL;
    }
    if (!ok)
        return gx_fail(err, GX_E_NOMEM, "scan files: out of memory");
    memset(r->seen, 0, scan->n_patterns * sizeof(bool));
    return GX_OK;
}

/* --- one file --- */

static void note_hit(void *arg, size_t pattern, uint64_t from, uint64_t until)
{
    struct run *r = arg;
    if (r->out->filter != NULL) {
        const struct gx_scan_piece *p = &r->piece;
        size_t at = (size_t)(from - p->offset), end = (size_t)(until - p->offset);
        const struct gx_scan_sight sight = {pattern, r->file, p->bytes, p->len, at, end, p->offset};
        if (!r->out->filter(r->out->filter_arg, &sight))
            return;
    }
    r->seen[pattern] = true;
    if (until <= r->known)
        return; /* told when the file was looked at before it grew */
    bool apart = !r->any || from > r->counted;
    r->counted = r->any ? GX_MAX(r->counted, until) : until;
    r->any = true;
    if (!apart)
        return;
    struct gx_scan_result *out = r->out;
    out->n_hits++;
    if (out->n_first == GX_SCAN_HITS_MAX)
        return;
    struct gx_scan_hit *hit = &out->first[out->n_first++];
    hit->pattern = pattern;
    hit->offset = from;
    snprintf(hit->file, sizeof(hit->file), "%s", r->file);
}

static void begin_file(struct run *r, const char *name, uint64_t from, uint64_t known)
{
    r->file = name;
    r->known = known;
    r->any = false;
    for (size_t i = 0; i < r->scan->n_lanes; i++)
        r->places[i] = (struct gx_scan_place){.next = from, .spread_bits = r->places[i].spread_bits};
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

/* Looks at the open file from @known on. *out_until: how far. */
static enum gx_status look_at(struct run *r, int fd, const char *name, uint64_t known, uint64_t *out_until,
                              struct gx_err *err)
{
    /* What was added may end a run that began before. */
    uint64_t offset = known > GX_SCAN_CARRY ? (known - GX_SCAN_CARRY) / 64 * 64 : 0;
    size_t kept = 0;
    begin_file(r, name, offset, known);
    (void)posix_fadvise(fd, (off_t)offset, 0, POSIX_FADV_SEQUENTIAL);
    for (;;) {
        size_t n;
        GX_TRY(may_go_on(r, err));
        GX_TRY(read_piece(fd, name, r->buffer + kept, GX_SCAN_PIECE, offset + kept, &n, err));
        r->piece = (struct gx_scan_piece){r->buffer, kept + n, offset, n < GX_SCAN_PIECE};
        const struct gx_scan_piece piece = r->piece;
        for (size_t i = 0; i < r->scan->n_lanes; i++)
            gx_scan_lane_look(&r->scan->lanes[i], &r->places[i], &r->piece, r->seen, note_hit, r);
        r->out->n_bytes += n;
        *out_until = offset + piece.len;
        if (piece.last)
            return GX_OK;
        size_t next = GX_MIN(piece.len, GX_SCAN_CARRY);
        memmove(r->buffer, r->buffer + piece.len - next, next);
        offset += piece.len - next;
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
    GX_TRY_OUT(begin_run(&r, scan, NULL, out, err));
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT)
        status = gx_fail(err, GX_E_NOT_FOUND, "'%s' does not exist", path);
    else if (fd < 0)
        status = gx_err_errno(err, errno, "cannot open '%s'", path);
    GX_TRY_OUT(status);
    out->n_files = 1;
    out->rounds = 1;
    status = look_at(&r, fd, path, 0, &until, err);
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
static enum gx_status look_at_listed(struct run *r, struct file *f, bool *out_missed, struct gx_err *err)
{
    char path[PATH_MAX];
    struct stat info;
    if ((size_t)snprintf(path, sizeof(path), "%s/%s", r->dir, f->name) >= sizeof(path))
        return gx_fail(err, GX_E_IO, "the path of '%.100s' is too long to be scanned", f->name);
    GX_TRY(may_go_on(r, err));
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP)) {
        *out_missed = true;
        return GX_OK;
    }
    if (fd < 0)
        return gx_err_errno(err, errno, "cannot read '%s' to look for what was erased", f->name);
    enum gx_status status = GX_OK;
    if (fstat(fd, &info) != 0) {
        status = gx_err_errno(err, errno, "cannot look at '%s'", f->name);
    } else if (info.st_dev != f->dev || info.st_ino != f->ino || (uint64_t)info.st_size < f->looked) {
        *out_missed = true;
    } else {
        r->out->n_files += !f->is_open;
        f->is_open = true;
        status = look_at(r, fd, f->name, f->looked, &f->looked, err);
    }
    (void)close(fd);
    return status;
}

/* One listing, worked through. *out_stable: it has the files of @old, which it replaces, and all were looked at. */
static enum gx_status work_through(struct run *r, struct listing *old, gx_scan_skip *skip, void *skip_arg,
                                   bool *out_stable, struct gx_err *err)
{
    struct listing list;
    enum gx_status status;
    GX_TRY_OUT(may_go_on(r, err));
    status = list_dir(r->dir, &list, err);
    if (status != GX_OK) {
        free_listing(&list);
        return status;
    }
    bool same = compare_listings(old, &list), missed = false;
    free_listing(old);
    *old = list;
    r->out->rounds++;
    r->out->n_skipped = 0;
    for (size_t i = 0; i < list.n; i++) {
        struct file *f = &list.files[i];
        if (skip != NULL && skip(skip_arg, f->name))
            r->out->n_skipped++;
        else if (!f->is_open || f->looked < f->size)
            GX_TRY_OUT(look_at_listed(r, f, &missed, err));
    }
    *out_stable = same && !missed;
out:
    return status;
}

enum gx_status gx_scan_dir(const struct gx_scan *scan, const char *dir, gx_scan_skip *skip, void *skip_arg,
                           gx_scan_stop *stop, void *stop_arg, struct gx_scan_result *out, struct gx_err *err)
{
    struct run r;
    struct listing list = {0};
    bool stable = false;
    enum gx_status status;
    GX_TRY_OUT(begin_run(&r, scan, dir, out, err));
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
