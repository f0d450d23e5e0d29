#include "held.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* nftw knows no argument. */
static gx_held_piece *visitor;
static void *visitor_arg;

/* A stretch that was written; so much behind it, which reads as zeros, goes with it. */
#define BEHIND 4096

static void visit_stretch(int fd, const char *path, off_t from, off_t until)
{
    size_t len = (size_t)(until - from), got = 0;
    uint8_t *bytes = malloc(len + BEHIND);
    ck_assert_ptr_nonnull(bytes);
    for (ssize_t n; (n = pread(fd, bytes + got, len + BEHIND - got, from + (off_t)got)) != 0; got += (size_t)n)
        ck_assert_msg(n > 0, "cannot read %s", path);
    visitor(visitor_arg, path, (size_t)from, bytes, got);
    free(bytes);
}

static int visit(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)where;
    if (kind != FTW_F || st->st_size == 0)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return 0; /* replaced meanwhile */
    ck_assert_msg(fd >= 0, "cannot read %s", path);
    /* Where the disk was only reserved (the ballast) there are zeros, and nothing to read. */
    for (off_t from = 0, until; (from = lseek(fd, from, SEEK_DATA)) >= 0; from = until) {
        until = lseek(fd, from, SEEK_HOLE);
        ck_assert_int_gt(until, from);
        visit_stretch(fd, path, from, until);
    }
    ck_assert_int_eq(errno, ENXIO);
    (void)close(fd);
    return 0;
}

void gx_held_visit(const char *dir, gx_held_piece *piece, void *arg)
{
    visitor = piece;
    visitor_arg = arg;
    ck_assert_int_eq(nftw(dir, visit, 16, FTW_PHYS), 0);
}

/* ---------------------------------------------------------------- searches */

struct search {
    const uint8_t *bytes;
    size_t len, window, step; /* every @step bytes of @bytes so much of it is looked for */
    size_t n;
    char path[GX_HELD_PATH_MAX]; /* of the last place */
    size_t offset;
};

static void look(void *arg, const char *path, size_t offset, const uint8_t *content, size_t len)
{
    struct search *s = arg;
    for (size_t from = 0; from + s->window <= s->len; from += s->step) {
        const uint8_t *at = content, *end = content + len;
        for (; (at = memmem(at, (size_t)(end - at), s->bytes + from, s->window)) != NULL; at++) {
            s->n++;
            (void)strncpy(s->path, path, sizeof(s->path) - 1);
            s->offset = offset + (size_t)(at - content);
        }
    }
}

size_t gx_held_count(const char *dir, const void *bytes, size_t len)
{
    struct search s = {.bytes = bytes, .len = len, .window = len, .step = len};
    gx_held_visit(dir, look, &s);
    return s.n;
}

bool gx_held_find(const char *dir, const void *bytes, size_t len, char out_path[GX_HELD_PATH_MAX], size_t *out_offset)
{
    struct search s = {.bytes = bytes, .len = len, .window = len, .step = len};
    gx_held_visit(dir, look, &s);
    memcpy(out_path, s.path, sizeof(s.path));
    *out_offset = s.offset;
    return s.n > 0;
}

size_t gx_held_windows(const char *dir, const void *bytes, size_t len)
{
    struct search s = {.bytes = bytes, .len = len, .window = GX_HELD_WINDOW, .step = GX_HELD_WINDOW / 2};
    gx_held_visit(dir, look, &s);
    return s.n;
}
