#include "indexctl_lines.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "indexd/limits.h"

#define READ_STEP ((size_t)1 << 20)

static enum gx_status slurp_file(FILE *file, const char *path, char **out_text, size_t *out_len)
{
    size_t cap = 0, len = 0;
    char *text = NULL;
    for (;;) {
        if (cap - len < 2) {
            cap = cap > 0 ? 2 * cap : READ_STEP;
            char *larger = realloc(text, cap);
            if (larger == NULL) {
                free(text);
                return gx_indexctl_fail(GX_E_NOMEM, "out of memory for %s", path);
            }
            text = larger;
        }
        size_t n = fread(text + len, 1, cap - len - 1, file);
        len += n;
        if (n == 0)
            break;
    }
    if (ferror(file)) {
        free(text);
        return gx_indexctl_fail(GX_E_IO, "cannot read %s: %s", path, strerror(errno));
    }
    text[len] = '\0';
    *out_text = text;
    *out_len = len;
    return GX_OK;
}

enum gx_status gx_indexctl_lines_slurp(const char *path, char **out_text, size_t *out_len)
{
    *out_text = NULL;
    *out_len = 0;
    bool is_input = strcmp(path, "-") == 0;
    FILE *file = is_input ? stdin : fopen(path, "re");
    if (file == NULL)
        return gx_indexctl_fail(errno == ENOENT ? GX_E_NOT_FOUND : GX_E_IO, "cannot open %s: %s", path,
                                strerror(errno));
    enum gx_status status = slurp_file(file, is_input ? "the standard input" : path, out_text, out_len);
    if (!is_input)
        (void)fclose(file);
    return status;
}

static enum gx_status check_line(const char *path, size_t number, const char *line, size_t len, bool may_be_empty)
{
    if (len == 0 && !may_be_empty)
        return gx_indexctl_fail(GX_E_INVALID, "%s: line %zu is empty: each line is an id", path, number);
    if (len > GX_ID_MAX)
        return gx_indexctl_fail(GX_E_INVALID, "%s: line %zu has %zu bytes: an id has at most %d", path, number, len,
                                GX_ID_MAX);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            return gx_indexctl_fail(GX_E_INVALID, "%s: line %zu holds a control character: ids are plain text", path,
                                    number);
    return GX_OK;
}

static size_t count_lines(const char *text, size_t len)
{
    size_t n = 0;
    for (const char *c = text; (c = memchr(c, '\n', len - (size_t)(c - text))) != NULL; c++)
        n++;
    return n + 1;
}

static enum gx_status split(const char *path, size_t len, enum gx_indexctl_empty empty, struct gx_indexctl_lines *out)
{
    size_t number = 0;
    for (char *line = out->text, *end = out->text + len, *next; line < end; line = next) {
        char *stop = memchr(line, '\n', (size_t)(end - line));
        next = stop != NULL ? stop + 1 : end;
        stop = stop != NULL ? stop : end;
        if (stop > line && stop[-1] == '\r')
            stop--;
        enum gx_status status =
            check_line(path, ++number, line, (size_t)(stop - line), empty != GX_INDEXCTL_EMPTY_REFUSED);
        if (status != GX_OK)
            return status;
        *stop = '\0';
        out->items[out->n++] = line;
    }
    return GX_OK;
}

enum gx_status gx_indexctl_lines_read(const char *path, enum gx_indexctl_empty empty, struct gx_indexctl_lines *out)
{
    *out = (struct gx_indexctl_lines){NULL, 0, NULL};
    size_t len;
    enum gx_status status = gx_indexctl_lines_slurp(path, &out->text, &len);
    if (status == GX_OK) {
        out->items = calloc(count_lines(out->text, len), sizeof(*out->items));
        status = out->items != NULL ? split(path, len, empty, out)
                                    : gx_indexctl_fail(GX_E_NOMEM, "out of memory for the lines of %s", path);
    }
    if (status != GX_OK)
        gx_indexctl_lines_fini(out);
    return status;
}

void gx_indexctl_lines_fini(struct gx_indexctl_lines *lines)
{
    free(lines->items);
    free(lines->text);
    *lines = (struct gx_indexctl_lines){NULL, 0, NULL};
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

void gx_indexctl_lines_unique(const char **items, size_t *n)
{
    size_t kept = 0;
    if (*n > 1)
        qsort(items, *n, sizeof(*items), compare);
    for (size_t i = 0; i < *n; i++)
        if (kept == 0 || strcmp(items[kept - 1], items[i]) != 0)
            items[kept++] = items[i];
    *n = kept;
}
