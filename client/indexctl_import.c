/* import: the rows of a file become records of a gallery.
 *
 * The path: file and gallery -> dimensions compared -> ids read and counted -> batches of rows, each checked, sent as
 * one message over the library's stream -> everything acknowledged -> one line of figures. What can go wrong: a bad row
 * or line (nothing of its batch is sent), a refusal by the server, a connection that stays away. What was acknowledged
 * before is enrolled; the same command again passes over it ("unchanged"). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "indexctl_command.h"
#include "indexctl_json.h"
#include "indexctl_lines.h"
#include "indexctl_progress.h"
#include "indexctl_source.h"
#include "indexctl_table.h"

#define AT(member)    offsetof(struct gx_indexctl_args, member)
#define BATCH_LEN_MAX ((size_t)4 << 20) /* bytes of rows in a message: text comes on top, GX_MESSAGE_MAX is far */
#define STEM_MAX      100

typedef char made_id[GX_ID_MAX + 1];

struct import {
    struct gx_indexctl_session *session;
    const char *file;
    struct gx_client_gallery gallery;
    struct gx_indexctl_source *source;
    struct gx_indexctl_lines records, subjects, arrests;
    struct gx_indexctl_batch batch;
    size_t batch_rows;
    char stem[STEM_MAX + 1]; /* of made ids */
    made_id *made;           /* [batch_rows] */
    const char *embedder_id, *embedder_version;
    gx_client_stream *stream;
    struct gx_indexctl_progress progress;
    uint64_t skipped, sent;            /* rows */
    struct gx_client_enrolled before;  /* by what came before the present stream */
    struct gx_client_enrolled present; /* by the present stream */
    uint64_t expunged;                 /* rows passed over, as their records were removed by order */
};

static int64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---------------------------------------------------------------- preparation */

static enum gx_status read_ids(const char *path, enum gx_indexctl_empty empty, uint64_t n_rows, const char *file,
                               struct gx_indexctl_lines *out)
{
    if (path == NULL)
        return GX_OK;
    enum gx_status status = gx_indexctl_lines_read(path, empty, out);
    if (status == GX_OK && n_rows != UINT64_MAX && out->n != n_rows)
        status = gx_indexctl_fail(GX_E_INVALID, "%s has %zu lines, %s %" PRIu64 " rows: each row wants its line", path,
                                  out->n, file, n_rows);
    return status;
}

/* "photos/new.npy" gives "new": made ids are new-000000012. */
static void make_stem(const char *path, char out[STEM_MAX + 1])
{
    const char *slash = strrchr(path, '/');
    const char *name = strcmp(path, "-") == 0 ? "stdin" : slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    size_t len = dot != NULL && dot != name ? (size_t)(dot - name) : strlen(name);
    if (len > STEM_MAX)
        len = STEM_MAX;
    while (len > 0 && ((unsigned char)name[len] & 0xc0) == 0x80)
        len--; /* not within a character */
    memcpy(out, name, len);
    out[len] = '\0';
    for (char *c = out; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '_';
}

static enum gx_status open_source(struct import *i)
{
    const struct gx_indexctl_args *a = i->session->args;
    enum gx_status status = gx_indexctl_source_open(i->file, a->format, &i->source);
    if (status != GX_OK)
        return status;
    uint32_t dim = gx_indexctl_source_dim(i->source);
    if (dim != i->gallery.dim)
        return gx_indexctl_fail(GX_E_INVALID,
                                "%s has rows of dimension %u, the gallery '%s' of %u: is it another embedder?", i->file,
                                dim, i->gallery.name, i->gallery.dim);
    if (gx_indexctl_source_has_records(i->source) && (a->records_file || a->subjects_file || a->arrests_file))
        return gx_indexctl_fail(GX_E_INVALID,
                                "a .jsonl file has its ids itself: leave --records, --subjects, --arrests out");
    uint64_t n = gx_indexctl_source_rows(i->source);
    status = read_ids(a->records_file, GX_INDEXCTL_EMPTY_REFUSED, n, i->file, &i->records);
    if (status == GX_OK)
        status = read_ids(a->subjects_file, GX_INDEXCTL_EMPTY_KEPT, n, i->file, &i->subjects);
    if (status == GX_OK)
        status = read_ids(a->arrests_file, GX_INDEXCTL_EMPTY_KEPT, n, i->file, &i->arrests);
    return status;
}

static enum gx_status prepare(struct import *i)
{
    const struct gx_indexctl_args *a = i->session->args;
    enum gx_status status = gx_client_gallery_get(i->session->client, a->words.items[0], &i->gallery);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    status = open_source(i);
    if (status != GX_OK)
        return status;
    size_t rows = BATCH_LEN_MAX / (i->gallery.dim * sizeof(float));
    rows = rows < GX_INSERT_MAX ? rows : GX_INSERT_MAX;
    i->batch_rows = a->batch.given && (size_t)a->batch.value < rows ? (size_t)a->batch.value : rows;
    i->made = calloc(i->batch_rows, sizeof(*i->made));
    if (i->made == NULL)
        return gx_indexctl_fail(GX_E_NOMEM, "out of memory");
    make_stem(i->file, i->stem);
    i->embedder_id = a->embedder != NULL ? a->embedder : i->gallery.embedder_id;
    i->embedder_version = a->embedder != NULL ? a->embedder_version : i->gallery.embedder_version;
    i->skipped = (uint64_t)a->skip.value;
    return gx_indexctl_source_skip(i->source, i->skipped);
}

/* ---------------------------------------------------------------- batches */

static enum gx_status line_of(const struct import *i, const char *path, const struct gx_indexctl_lines *lines,
                              uint64_t row, const char **out)
{
    if (path == NULL)
        return GX_OK;
    if (row >= lines->n)
        return gx_indexctl_fail(GX_E_INVALID, "%s has %zu lines only, %s more rows: each row wants its line", path,
                                lines->n, i->file);
    *out = lines->items[row];
    return GX_OK;
}

static enum gx_status fill_ids(struct import *i)
{
    const struct gx_indexctl_args *a = i->session->args;
    enum gx_status status = GX_OK;
    for (size_t n = 0; status == GX_OK && n < i->batch.n; n++) {
        struct gx_client_record *r = &i->batch.records[n];
        uint64_t row = i->batch.first + n;
        if (r->record_id == NULL && a->records_file == NULL) {
            (void)snprintf(i->made[n], sizeof(i->made[n]), "%s-%09" PRIu64, i->stem, row);
            r->record_id = i->made[n];
        }
        status = line_of(i, a->records_file, &i->records, row, &r->record_id);
        if (status == GX_OK)
            status = line_of(i, a->subjects_file, &i->subjects, row, &r->subject_id);
        if (status == GX_OK)
            status = line_of(i, a->arrests_file, &i->arrests, row, &r->arrest_id);
    }
    return status;
}

static uint64_t rows_total(const struct import *i)
{
    uint64_t n = gx_indexctl_source_rows(i->source);
    return n == UINT64_MAX ? n : n - i->skipped;
}

static uint64_t rows_durable(const struct import *i)
{
    return i->before.enrolled + i->before.unchanged + i->present.enrolled + i->present.unchanged;
}

static uint64_t rows_done(const struct import *i)
{
    return rows_durable(i) + i->expunged;
}

static void show_progress(struct import *i)
{
    gx_client_stream_acknowledged(i->stream, NULL, &i->present);
    gx_indexctl_progress_update(&i->progress, rows_done(i), rows_total(i));
}

/* What is on its way when all is sent may be half of a small file: the bar goes on. */
static enum gx_status wait_for_all(struct import *i)
{
    enum gx_status status = GX_OK;
    for (int pending = GX_STREAM_WINDOW_MAX - 1; status == GX_OK && pending >= 0; pending--) {
        status = gx_client_stream_wait(i->stream, (uint64_t)pending);
        show_progress(i);
    }
    return status == GX_OK ? GX_OK : gx_indexctl_fail_client(status);
}

/* Sends all batches and waits until they are durable; @out_refused: a failure is the server's, or of the way there. */
static enum gx_status send_all(struct import *i, bool *out_refused)
{
    for (;;) {
        *out_refused = false;
        enum gx_status status = gx_indexctl_source_read(i->source, i->batch_rows, &i->batch);
        if (status == GX_OK)
            status = fill_ids(i);
        if (status != GX_OK)
            return status;
        *out_refused = true;
        if (i->batch.n == 0)
            return wait_for_all(i);
        status = gx_client_stream_send(i->stream, i->batch.records, i->batch.rows, i->batch.n, i->batch.dim);
        if (status != GX_OK)
            return gx_indexctl_fail_client(status);
        i->sent += i->batch.n;
        show_progress(i);
    }
}

/* ---------------------------------------------------------------- passing over what was expunged */

static void add(struct gx_client_enrolled *sum, const struct gx_client_enrolled *more)
{
    sum->enrolled += more->enrolled;
    sum->unchanged += more->unchanged;
    if (more->epoch > sum->epoch)
        sum->epoch = more->epoch;
}

/* Enrols rows [@first, @first + @n) of the batch but those that were expunged: by halves, as a refusal is of all. */
static enum gx_status insert_others(struct import *i, size_t first, size_t n)
{
    struct gx_client_enrolled enrolled;
    enum gx_status status = gx_client_insert(i->session->client, i->gallery.name, i->embedder_id, i->embedder_version,
                                             &i->batch.records[first], i->batch.rows + first * i->batch.dim, n,
                                             i->batch.dim, NULL, &enrolled);
    if (status == GX_OK)
        add(&i->before, &enrolled);
    if (status == GX_OK || status != GX_E_EXPUNGED)
        return status == GX_OK ? GX_OK : gx_indexctl_fail_client(status);
    if (n == 1) {
        i->expunged++;
        return GX_OK;
    }
    status = insert_others(i, first, n / 2);
    return status == GX_OK ? insert_others(i, first + n / 2, n - n / 2) : status;
}

/* Goes back to the first row that is not done, whose batch was refused, and does that batch row by row where needed. */
static enum gx_status pass_over(struct import *i)
{
    if (strcmp(i->file, "-") == 0)
        return gx_indexctl_fail(GX_E_EXPUNGED,
                                "rows were expunged by order; --skip-expunged wants a file, not the standard "
                                "input, to pass over them");
    gx_indexctl_source_close(i->source);
    enum gx_status status = gx_indexctl_source_open(i->file, i->session->args->format, &i->source);
    if (status == GX_OK)
        status = gx_indexctl_source_skip(i->source, i->skipped + rows_done(i));
    if (status == GX_OK)
        status = gx_indexctl_source_read(i->source, i->batch_rows, &i->batch);
    if (status == GX_OK)
        status = fill_ids(i);
    if (status == GX_OK)
        status = insert_others(i, 0, i->batch.n);
    i->sent = rows_done(i);
    return status;
}

/* An id file that is longer than a file whose rows could not be counted before. */
static enum gx_status check_counts(const struct import *i)
{
    const struct gx_indexctl_args *a = i->session->args;
    const struct {
        const char *path;
        size_t n;
    } files[] = {{a->records_file, i->records.n}, {a->subjects_file, i->subjects.n}, {a->arrests_file, i->arrests.n}};
    for (size_t f = 0; f < sizeof(files) / sizeof(files[0]); f++)
        if (files[f].path != NULL && files[f].n != i->skipped + i->sent)
            return gx_indexctl_fail(GX_E_INVALID, "%s has %zu lines, %s %" PRIu64 " rows: do the ids belong to it?",
                                    files[f].path, files[f].n, i->file, i->skipped + i->sent);
    return GX_OK;
}

/* ---------------------------------------------------------------- the end */

static bool is_passing(enum gx_status status)
{
    return status == GX_E_UNAVAILABLE || status == GX_E_DEADLINE || status == GX_E_BUSY || status == GX_E_CANCELLED;
}

/* Adds to a failure which rows it is about and what has become of those before. */
static enum gx_status explain(const struct import *i, enum gx_status status, bool refused)
{
    uint64_t first = i->skipped + rows_done(i);
    char n[GX_INDEXCTL_TABLE_COUNT_MAX];
    (void)gx_indexctl_table_count(rows_done(i), n);
    if (refused && !is_passing(status))
        (void)gx_indexctl_fail(status, "%s: of the rows %" PRIu64 " to %" PRIu64 " (from 0): %s%s", i->file, first,
                               first + i->batch_rows - 1, gx_indexctl_fail_text(),
                               status == GX_E_EXPUNGED && !i->session->args->skip_expunged
                                   ? " (--skip-expunged passes over such rows)"
                                   : "");
    if (rows_done(i) > 0)
        (void)gx_indexctl_fail(status, "%s; the first %s rows are enrolled: the same command again passes over them",
                               gx_indexctl_fail_text(), n);
    return status;
}

/* All that is left goes through one stream, until the end or a refusal. */
static enum gx_status send_rest(struct import *i, bool *out_refused)
{
    *out_refused = true;
    enum gx_status status =
        gx_client_stream_open(i->session->client, i->gallery.name, i->embedder_id, i->embedder_version, &i->stream);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    status = send_all(i, out_refused);
    /* Whatever happened: what was sent before counts, when it is durable. */
    enum gx_status closed = gx_client_stream_close(i->stream, &i->present);
    i->stream = NULL;
    if (closed != GX_OK && status == GX_OK) {
        status = gx_indexctl_fail_client(closed);
        *out_refused = true;
    }
    add(&i->before, &i->present);
    i->present = (struct gx_client_enrolled){0};
    return status;
}

static enum gx_status import_rows(struct import *i, int64_t begin_us)
{
    bool refused;
    enum gx_status status;
    gx_indexctl_progress_begin(&i->progress, "import", "rows", 0, i->session->args->quiet);
    do {
        status = send_rest(i, &refused);
    } while (status == GX_E_EXPUNGED && i->session->args->skip_expunged && (status = pass_over(i)) == GX_OK);
    gx_indexctl_progress_end(&i->progress);
    if (status == GX_OK)
        status = check_counts(i);
    if (status != GX_OK)
        return explain(i, status, refused);
    struct gx_indexctl_imported done = {.rows = rows_durable(i),
                                        .expunged = i->expunged,
                                        .enrolled = i->before,
                                        .seconds = (double)(now_us() - begin_us) / 1e6};
    if (i->session->args->json)
        return gx_indexctl_json_imported(i->session->out, i->gallery.name, &done);
    gx_indexctl_table_imported(i->session->out, &done);
    return GX_OK;
}

static enum gx_status run_import(struct gx_indexctl_session *s)
{
    struct import i = {.session = s, .file = s->args->words.items[1]};
    int64_t begin_us = now_us();
    enum gx_status status = prepare(&i);
    if (status == GX_OK)
        status = import_rows(&i, begin_us);
    gx_client_stream_abandon(i.stream);
    gx_indexctl_source_batch_fini(&i.batch);
    gx_indexctl_source_close(i.source);
    gx_indexctl_lines_fini(&i.records);
    gx_indexctl_lines_fini(&i.subjects);
    gx_indexctl_lines_fini(&i.arrests);
    free(i.made);
    return status;
}

/* ---------------------------------------------------------------- table */

static const struct gx_indexctl_option import_options[] = {
    {"records", '\0', "FILE", GX_INDEXCTL_TEXT, AT(records_file), 0, 0,
     "record ids, one per line (default: the file's name and the row, new-000000012)"},
    {"subjects", '\0', "FILE", GX_INDEXCTL_TEXT, AT(subjects_file), 0, 0,
     "subject ids, one per line; empty lines: none"},
    {"arrests", '\0', "FILE", GX_INDEXCTL_TEXT, AT(arrests_file), 0, 0, "arrest ids, one per line; empty lines: none"},
    {"format", '\0', "FORMAT", GX_INDEXCTL_TEXT, AT(format), 0, 0, "fvecs, npy or jsonl (default: by the file's name)"},
    {"embedder", '\0', "ID", GX_INDEXCTL_TEXT, AT(embedder), 0, 0, "what made the embeddings (default: the gallery's)"},
    {"embedder-version", '\0', "V", GX_INDEXCTL_TEXT, AT(embedder_version), 0, 0, "its version"},
    {"skip", '\0', "N", GX_INDEXCTL_INTEGER, AT(skip), 0, 1e12, "pass over the first N rows"},
    {"skip-expunged", '\0', NULL, GX_INDEXCTL_FLAG, AT(skip_expunged), 0, 0,
     "pass over rows whose records were removed by order, which are refused otherwise"},
    {"batch", '\0', "N", GX_INDEXCTL_INTEGER, AT(batch), 1, GX_INSERT_MAX,
     "rows enrolled all or none (default up to 1000)"},
    {0},
};

const struct gx_indexctl_command gx_indexctl_import_commands[] = {
    {"import", "NAME FILE [--records FILE] [--subjects FILE] [--arrests FILE] [--format FORMAT]", 2, 2, run_import,
     import_options, 120, "enrol the rows of a file",
     "FILE is .fvecs, .npy (float32 [n][dim]) or .jsonl; '-' is the standard input, with --format. A line of\n"
     ".jsonl is an object: {\"record_id\":…, \"subject_id\":…, \"arrest_id\":…, "
     "\"captured_at\":\"2024-03-01T12:30:00Z\",\n"
     "\"attributes\":{\"key\":\"value\"}, \"embedding\":[…]}; all but the embedding may be missing.\n"
     "\n"
     "Rows are durable and searchable as they are acknowledged. The command may be repeated at any time: rows that\n"
     "are enrolled with the same content count as unchanged. A connection that breaks is made again.\n"
     "A row whose record or arrest was expunged ends the import, unless --skip-expunged is given.",
     "  indexctl import arrests faces.npy --records ids.txt --subjects subjects.txt --arrests arrests.txt\n"
     "  indexctl import arrests new.jsonl\n"
     "  zcat big.fvecs.gz | indexctl import arrests - --format fvecs --records ids.txt"},
    {0},
};
