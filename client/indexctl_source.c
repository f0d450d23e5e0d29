/* The path: open -> the head gives dimension and, for a regular file, the number of rows -> rows in turn, each checked.
 * What can go wrong: another format than the name says, a file cut short or grown, rows that are no embeddings. Every
 * message names the file and the row, and never shows the row's content. */
#include "indexctl_source.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "indexctl_args.h"
#include "indexctl_jsonl.h"

enum format { FVECS, NPY, JSONL };

struct gx_indexctl_source {
    FILE *file;
    const char *name; /* for messages */
    enum format format;
    uint32_t dim;
    uint64_t n_rows;   /* UINT64_MAX: not known */
    uint64_t next;     /* number of the next row */
    uint64_t file_len; /* UINT64_MAX: no regular file */
    uint64_t begin;    /* .npy: where the rows begin */
    /* .jsonl */
    char *line;
    size_t line_cap;
    uint64_t n_lines;
    struct gx_indexctl_document *first; /* read for its dimension, not handed out yet */
};

static enum gx_status bad_row(const struct gx_indexctl_source *s, uint64_t row, const char *what)
{
    if (s->format == JSONL)
        return gx_indexctl_fail(GX_E_INVALID, "%s: line %" PRIu64 " (row %" PRIu64 " from 0): %s", s->name, s->n_lines,
                                row, what);
    return gx_indexctl_fail(GX_E_INVALID, "%s: row %" PRIu64 " (from 0): %s", s->name, row, what);
}

static enum gx_status bad_file(const struct gx_indexctl_source *s, const char *what)
{
    return gx_indexctl_fail(GX_E_FORMAT, "%s: %s", s->name, what);
}

/* @len bytes; GX_E_INVALID with an empty text where the file ends first, @out_n of them read. */
static enum gx_status read_bytes(struct gx_indexctl_source *s, void *out, size_t len, size_t *out_n)
{
    *out_n = fread(out, 1, len, s->file);
    if (*out_n < len && ferror(s->file))
        return gx_indexctl_fail(GX_E_IO, "cannot read %s: %s", s->name, strerror(errno));
    return GX_OK;
}

static uint32_t u32_at(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static bool is_dim(uint64_t dim)
{
    return dim >= GX_DIM_MIN && dim <= GX_DIM_MAX;
}

/* ---------------------------------------------------------------- .fvecs */

static enum gx_status open_fvecs(struct gx_indexctl_source *s)
{
    uint8_t head[4];
    size_t n;
    enum gx_status status = read_bytes(s, head, sizeof(head), &n);
    if (status != GX_OK)
        return status;
    if (n < sizeof(head))
        return bad_file(s, n == 0 ? "is empty" : "is no .fvecs file: it begins with the dimension as int32");
    s->dim = u32_at(head);
    if (!is_dim(s->dim))
        return bad_file(s, "is no .fvecs file: it begins with the dimension as int32, from 2 to 4096");
    uint64_t row_len = 4 + 4 * (uint64_t)s->dim;
    if (s->file_len != UINT64_MAX) {
        s->n_rows = s->file_len / row_len;
        if (s->file_len % row_len != 0)
            return bad_row(s, s->n_rows, "is cut short, or an earlier row has another dimension: the file is damaged");
    }
    /* Not seekable for sure: the dimension of row 0 has been read, those of later rows are read with them. */
    return GX_OK;
}

static enum gx_status read_fvecs(struct gx_indexctl_source *s, float *out_row, bool *out_end)
{
    uint8_t head[4];
    size_t n;
    if (s->next > 0) {
        enum gx_status status = read_bytes(s, head, sizeof(head), &n);
        if (status != GX_OK)
            return status;
        *out_end = n == 0;
        if (n == 0)
            return GX_OK;
        if (n < sizeof(head))
            return bad_row(s, s->next, "is cut short: the file is damaged");
        if (u32_at(head) != s->dim)
            return bad_row(s, s->next, "has another dimension than row 0");
    }
    enum gx_status status = read_bytes(s, out_row, s->dim * sizeof(float), &n);
    if (status == GX_OK && n < s->dim * sizeof(float))
        return bad_row(s, s->next, "is cut short: the file is damaged");
    return status;
}

/* ---------------------------------------------------------------- .npy */

#define NPY_HEAD_MAX 65536

/* The value of 'key' in the head, a Python dict of literals; NULL: not there. */
static const char *npy_value(const char *head, const char *key)
{
    char quoted[32];
    for (const char *quote = "'\""; *quote != '\0'; quote++) {
        (void)snprintf(quoted, sizeof(quoted), "%c%s%c", *quote, key, *quote);
        const char *at = strstr(head, quoted);
        if (at != NULL) {
            at += strlen(quoted);
            at += strspn(at, " \t");
            return *at == ':' ? at + 1 + strspn(at + 1, " \t") : NULL;
        }
    }
    return NULL;
}

/* "(n, dim)", "(dim,)" to numbers; returns how many there are, -1: neither. */
static int npy_shape(const char *text, uint64_t out[2])
{
    int n = 0;
    if (*text++ != '(')
        return -1;
    for (;;) {
        text += strspn(text, " \t");
        if (*text == ')')
            return n;
        char *end;
        errno = 0;
        if (*text < '0' || *text > '9' || n == 2)
            return -1;
        out[n++] = strtoull(text, &end, 10);
        if (errno != 0)
            return -1;
        text = end + strspn(end, " \tL");
        if (*text == ',')
            text++;
        else if (*text != ')')
            return -1;
    }
}

static enum gx_status parse_npy_head(struct gx_indexctl_source *s, const char *head)
{
    const char *descr = npy_value(head, "descr"), *order = npy_value(head, "fortran_order"),
               *shape = npy_value(head, "shape");
    uint64_t sizes[2];
    if (descr == NULL || order == NULL || shape == NULL)
        return bad_file(s, "its .npy head cannot be read");
    if (strncmp(descr + 1, "<f4", 3) != 0)
        return bad_file(s, "does not hold little-endian float32: save it by numpy.save(file, array.astype('<f4'))");
    int n = npy_shape(shape, sizes);
    if (n < 1)
        return bad_file(s, "is no array of rows: its shape should be (rows, dimension)");
    if (n == 2 && sizes[0] > 1 && strncmp(order, "False", 5) != 0)
        return bad_file(s, "is in Fortran order: save it by numpy.save(file, numpy.ascontiguousarray(array))");
    s->n_rows = n == 2 ? sizes[0] : 1;
    if (!is_dim(sizes[n - 1]) || s->n_rows > UINT64_C(1) << 40)
        return bad_file(s, "has rows of an impossible dimension: 2 to 4096 are possible");
    s->dim = (uint32_t)sizes[n - 1];
    return GX_OK;
}

static enum gx_status open_npy(struct gx_indexctl_source *s)
{
    uint8_t begin[12];
    size_t n, head_len;
    enum gx_status status = read_bytes(s, begin, 10, &n);
    if (status != GX_OK)
        return status;
    if (n < 10 || memcmp(begin, "\x93NUMPY", 6) != 0)
        return bad_file(s, "is no .npy file");
    if (begin[6] < 1 || begin[6] > 3)
        return bad_file(s, "is of a .npy version that is not known here: 1 to 3 are");
    head_len = (size_t)begin[8] | (size_t)begin[9] << 8;
    uint64_t before = 10;
    if (begin[6] > 1) {
        status = read_bytes(s, begin + 10, 2, &n);
        if (status != GX_OK)
            return status;
        head_len = n == 2 ? u32_at(begin + 8) : 0;
        before = 12;
    }
    char *head = head_len > 0 && head_len <= NPY_HEAD_MAX ? calloc(1, head_len + 1) : NULL;
    if (head == NULL)
        return bad_file(s, "its .npy head cannot be read");
    status = read_bytes(s, head, head_len, &n);
    if (status == GX_OK)
        status = n == head_len ? parse_npy_head(s, head) : bad_file(s, "its .npy head is cut short");
    free(head);
    if (status != GX_OK)
        return status;
    s->begin = before + head_len;
    uint64_t want = s->begin + s->n_rows * s->dim * sizeof(float);
    if (s->file_len != UINT64_MAX && s->file_len < want)
        return bad_row(s, (s->file_len - s->begin) / (s->dim * sizeof(float)), "is cut short: the file is damaged");
    if (s->file_len != UINT64_MAX && s->file_len > want)
        return bad_file(s, "is longer than its head says: the file is damaged");
    return GX_OK;
}

static enum gx_status read_npy(struct gx_indexctl_source *s, float *out_row, bool *out_end)
{
    size_t n;
    *out_end = s->next == s->n_rows;
    if (*out_end)
        return GX_OK;
    enum gx_status status = read_bytes(s, out_row, s->dim * sizeof(float), &n);
    if (status == GX_OK && n < s->dim * sizeof(float))
        return bad_row(s, s->next, "is cut short: the file is damaged");
    return status;
}

/* ---------------------------------------------------------------- .jsonl */

/* The next line that is not empty; @out NULL: the end. */
static enum gx_status next_document(struct gx_indexctl_source *s, struct gx_indexctl_document **out)
{
    *out = s->first;
    s->first = NULL;
    while (*out == NULL) {
        ssize_t len = getline(&s->line, &s->line_cap, s->file);
        if (len < 0)
            return ferror(s->file) ? gx_indexctl_fail(GX_E_IO, "cannot read %s: %s", s->name, strerror(errno)) : GX_OK;
        s->n_lines++;
        if (s->line[strspn(s->line, " \t\r\n")] == '\0' && strlen(s->line) == (size_t)len)
            continue;
        return gx_indexctl_jsonl_parse(s->name, s->n_lines, s->line, (size_t)len, out);
    }
    return GX_OK;
}

static enum gx_status open_jsonl(struct gx_indexctl_source *s)
{
    struct gx_indexctl_document *first;
    enum gx_status status = next_document(s, &first);
    if (status != GX_OK)
        return status;
    if (first == NULL)
        return bad_file(s, "is empty");
    s->dim = (uint32_t)gx_indexctl_jsonl_dim(first);
    s->first = first;
    return GX_OK;
}

static enum gx_status read_jsonl(struct gx_indexctl_source *s, float *out_row, struct gx_client_record *out_record,
                                 void **out_document, bool *out_end)
{
    struct gx_indexctl_document *d;
    enum gx_status status = next_document(s, &d);
    *out_document = d;
    *out_end = d == NULL;
    if (status != GX_OK || d == NULL)
        return status;
    if (gx_indexctl_jsonl_dim(d) != s->dim)
        return bad_row(s, s->next, "has another dimension than the first");
    gx_indexctl_jsonl_row(d, out_row);
    *out_record = gx_indexctl_jsonl_record(d);
    return GX_OK;
}

/* ---------------------------------------------------------------- open, close */

static enum gx_status find_format(const char *path, const char *format, enum format *out)
{
    static const struct {
        const char *name;
        enum format format;
    } table[] = {{"fvecs", FVECS}, {"npy", NPY}, {"jsonl", JSONL}, {"ndjson", JSONL}};
    const char *dot = strrchr(path, '.');
    const char *name = format != NULL ? format : dot != NULL ? dot + 1 : "";
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        if (strcmp(name, table[i].name) == 0) {
            *out = table[i].format;
            return GX_OK;
        }
    if (format != NULL)
        return gx_indexctl_fail(GX_E_INVALID, "--format is fvecs, npy or jsonl, not '%s'", format);
    return gx_indexctl_fail(GX_E_INVALID, "%s: the name does not tell the format: say --format fvecs, npy or jsonl",
                            path);
}

static enum gx_status open_file(struct gx_indexctl_source *s, const char *path)
{
    struct stat about;
    if (strcmp(path, "-") == 0) {
        s->file = stdin;
        s->name = "standard input";
    } else {
        s->file = fopen(path, "re");
    }
    if (s->file == NULL)
        return gx_indexctl_fail(errno == ENOENT ? GX_E_NOT_FOUND : GX_E_IO, "cannot open %s: %s", path,
                                strerror(errno));
    if (fstat(fileno(s->file), &about) == 0 && S_ISDIR(about.st_mode))
        return gx_indexctl_fail(GX_E_IO, "cannot read %s: it is a folder", path);
    /* The standard input may stand anywhere in its file. */
    if (s->file != stdin && fstat(fileno(s->file), &about) == 0 && S_ISREG(about.st_mode))
        s->file_len = (uint64_t)about.st_size;
    return GX_OK;
}

enum gx_status gx_indexctl_source_open(const char *path, const char *format, struct gx_indexctl_source **out)
{
    *out = NULL;
    enum format which = FVECS;
    enum gx_status status = find_format(path, format, &which);
    if (status != GX_OK)
        return status;
    struct gx_indexctl_source *s = calloc(1, sizeof(*s));
    if (s == NULL)
        return gx_indexctl_fail(GX_E_NOMEM, "out of memory");
    *s = (struct gx_indexctl_source){.name = path, .format = which, .n_rows = UINT64_MAX, .file_len = UINT64_MAX};
    status = open_file(s, path);
    if (status == GX_OK) {
        switch (which) {
        case FVECS: status = open_fvecs(s); break;
        case NPY: status = open_npy(s); break;
        case JSONL: status = open_jsonl(s); break;
        }
    }
    if (status != GX_OK) {
        gx_indexctl_source_close(s);
        return status;
    }
    *out = s;
    return GX_OK;
}

void gx_indexctl_source_close(struct gx_indexctl_source *source)
{
    if (source == NULL)
        return;
    if (source->file != NULL && source->file != stdin)
        (void)fclose(source->file);
    if (source->line != NULL)
        explicit_bzero(source->line, source->line_cap);
    free(source->line);
    gx_indexctl_jsonl_free(source->first);
    free(source);
}

uint32_t gx_indexctl_source_dim(const struct gx_indexctl_source *source)
{
    return source->dim;
}

bool gx_indexctl_source_has_records(const struct gx_indexctl_source *source)
{
    return source->format == JSONL;
}

uint64_t gx_indexctl_source_rows(const struct gx_indexctl_source *source)
{
    return source->n_rows;
}

/* ---------------------------------------------------------------- rows */

static void clear(struct gx_indexctl_batch *b)
{
    for (size_t i = 0; i < b->cap && b->documents != NULL; i++) {
        gx_indexctl_jsonl_free(b->documents[i]);
        b->documents[i] = NULL;
    }
    b->n = 0;
}

void gx_indexctl_source_batch_fini(struct gx_indexctl_batch *batch)
{
    clear(batch);
    if (batch->rows != NULL)
        explicit_bzero(batch->rows, batch->cap * batch->dim * sizeof(float));
    free(batch->rows);
    free(batch->records);
    free(batch->documents);
    *batch = (struct gx_indexctl_batch){0};
}

static enum gx_status make_room(struct gx_indexctl_batch *b, size_t cap, size_t dim)
{
    if (b->cap >= cap && b->dim == dim) {
        clear(b);
        return GX_OK;
    }
    gx_indexctl_source_batch_fini(b);
    b->rows = malloc(cap * dim * sizeof(float));
    b->records = calloc(cap, sizeof(*b->records));
    b->documents = calloc(cap, sizeof(*b->documents));
    if (b->rows == NULL || b->records == NULL || b->documents == NULL) {
        gx_indexctl_source_batch_fini(b);
        return gx_indexctl_fail(GX_E_NOMEM, "out of memory for %zu rows", cap);
    }
    b->cap = cap;
    b->dim = dim;
    return GX_OK;
}

static enum gx_status check_row(const struct gx_indexctl_source *s, const float *row)
{
    bool zero = true;
    for (size_t i = 0; i < s->dim; i++) {
        if (!isfinite(row[i]))
            return bad_row(s, s->next, "holds a value that is not finite: it is no embedding");
        zero = zero && row[i] == 0.0F;
    }
    return zero ? bad_row(s, s->next, "is all zeroes: it is no embedding") : GX_OK;
}

static enum gx_status read_row(struct gx_indexctl_source *s, struct gx_indexctl_batch *b, bool *out_end)
{
    float *row = b->rows + b->n * s->dim;
    enum gx_status status = GX_OK;
    *out_end = false;
    b->records[b->n] = (struct gx_client_record){0};
    switch (s->format) {
    case FVECS: status = read_fvecs(s, row, out_end); break;
    case NPY: status = read_npy(s, row, out_end); break;
    case JSONL: status = read_jsonl(s, row, &b->records[b->n], &b->documents[b->n], out_end); break;
    }
    if (status == GX_OK && !*out_end)
        status = check_row(s, row);
    if (status == GX_OK && !*out_end) {
        b->n++;
        s->next++;
    }
    return status;
}

enum gx_status gx_indexctl_source_read(struct gx_indexctl_source *source, size_t max, struct gx_indexctl_batch *batch)
{
    enum gx_status status = make_room(batch, max, source->dim);
    bool end = false;
    batch->first = source->next;
    while (status == GX_OK && !end && batch->n < max)
        status = read_row(source, batch, &end);
    return status;
}

static enum gx_status no_such_row(const struct gx_indexctl_source *s, uint64_t n_rows, uint64_t row)
{
    return gx_indexctl_fail(GX_E_INVALID, "%s has %" PRIu64 " rows: there is no row %" PRIu64 " (from 0)", s->name,
                            n_rows, row);
}

static enum gx_status skip_by_seeking(struct gx_indexctl_source *s, uint64_t n)
{
    if (n > s->n_rows - s->next)
        return no_such_row(s, s->n_rows, s->next + n);
    uint64_t row_len = s->dim * sizeof(float) + (s->format == FVECS ? 4 : 0);
    if (n > 0 && fseeko(s->file, (off_t)(s->begin + (s->next + n) * row_len), SEEK_SET) != 0)
        return gx_indexctl_fail(GX_E_IO, "cannot read %s: %s", s->name, strerror(errno));
    s->next += n;
    return GX_OK;
}

enum gx_status gx_indexctl_source_skip(struct gx_indexctl_source *source, uint64_t n)
{
    if (source->file_len != UINT64_MAX && source->format != JSONL)
        return skip_by_seeking(source, n);
    struct gx_indexctl_batch batch = {0};
    enum gx_status status = GX_OK;
    uint64_t target = source->next + n;
    while (status == GX_OK && source->next < target) {
        uint64_t left = target - source->next;
        status = gx_indexctl_source_read(source, left < 256 ? (size_t)left : 256, &batch);
        if (status == GX_OK && batch.n == 0)
            status = no_such_row(source, source->next, target);
    }
    gx_indexctl_source_batch_fini(&batch);
    return status;
}

enum gx_status gx_indexctl_source_split(const char *probe, char **out_file, bool *out_one, uint64_t *out_row)
{
    *out_one = false;
    *out_row = 0;
    *out_file = strdup(probe);
    if (*out_file == NULL)
        return gx_indexctl_fail(GX_E_NOMEM, "out of memory");
    char *colon = strrchr(*out_file, ':');
    int64_t row;
    if (colon == NULL || colon == *out_file || access(probe, F_OK) == 0)
        return GX_OK;
    if (!gx_indexctl_args_integer(colon + 1, 0, INT64_MAX, &row))
        return gx_indexctl_fail(GX_E_INVALID, "--probe is FILE or FILE:ROW with a row number from 0, not '%s'", probe);
    *colon = '\0';
    *out_one = true;
    *out_row = (uint64_t)row;
    return GX_OK;
}
