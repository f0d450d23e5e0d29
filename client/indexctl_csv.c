/* The path: the whole file -> is it UTF-8, which byte is not -> the separator by the header row -> libcsv, a byte at a
 * time, so that every field's place is known -> the header chooses the column -> its field of each row is checked and
 * copied. What can go wrong ends with line and column, and with nothing read. */
#include "indexctl_csv.h"

#include <csv.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "indexctl_lines.h"

#define N_KINDS 3

struct place {
    uint64_t line, column; /* from 1; columns are characters */
};

struct reader {
    const char *name;
    struct gx_indexctl_csv *out;
    size_t text_len;
    struct place here, field, record; /* the next byte; where the present field and record begin */
    bool in_field, in_record;
    bool headed;      /* the header row is behind */
    size_t n_columns; /* of the header */
    size_t id_column;
    size_t kinds[N_KINDS + 1]; /* of the header: 1 + the column of each kind, 0 = none */
    size_t n_fields;           /* of the present record, so far */
    bool any;                  /* one of them is not empty */
    const char *id;            /* of the present record; NULL = not yet, or empty */
    struct place id_place;
    enum gx_status status;
};

const char *gx_indexctl_csv_title(enum gx_client_id_kind kind)
{
    return kind == GX_CLIENT_RECORD ? "record" : kind == GX_CLIENT_ARREST ? "arrest" : "subject";
}

static void fail(struct reader *r, struct place at, const char *what)
{
    if (r->status == GX_OK)
        r->status = gx_indexctl_fail(GX_E_INVALID, "%s: line %" PRIu64 ", column %" PRIu64 ": %s", r->name, at.line,
                                     at.column, what);
}

/* ---------------------------------------------------------------- characters */

/* Bytes of the character at p[0..left); 0: not well-formed UTF-8. */
static size_t character_len(const unsigned char *p, size_t left)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > left)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xed && p[1] >= 0xa0) ||
        (p[0] == 0xf4 && p[1] >= 0x90))
        return 0;
    return len;
}

/* The server's rule for ids: control characters, line separators, and what turns the direction of writing. */
static bool is_control(const unsigned char *p)
{
    if (p[0] < 0x20 || p[0] == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0))
        return true;
    return p[0] == 0xe2 &&
           ((p[1] == 0x80 && p[2] >= 0xa8 && p[2] <= 0xae) || (p[1] == 0x81 && p[2] >= 0xa6 && p[2] <= 0xa9));
}

/* Moves on by one byte: CRLF is one line end. */
static void step(struct place *at, unsigned char byte, unsigned char before)
{
    if (byte == '\n' && before == '\r')
        return;
    if (byte == '\n' || byte == '\r') {
        at->line++;
        at->column = 1;
    } else if ((byte & 0xc0) != 0x80) {
        at->column++;
    }
}

/* Not a text file at all, but something that is often taken for one. */
static const char *disguise(const char *text, size_t len)
{
    if (len >= 4 && memcmp(text, "PK\3\4", 4) == 0)
        return "a spreadsheet, not CSV";
    if (len >= 2 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0))
        return "UTF-16, not UTF-8";
    return NULL;
}

static void check_encoding(struct reader *r, const char *text, size_t len)
{
    const char *other = disguise(text, len);
    if (other != NULL)
        r->status = gx_indexctl_fail(GX_E_INVALID, "%s is %s: save it as 'CSV UTF-8'", r->name, other);
    struct place at = {1, 1};
    for (size_t i = 0, n; r->status == GX_OK && i < len; i += n) {
        n = character_len((const unsigned char *)text + i, len - i);
        if (n == 0)
            fail(r, at, "this is not UTF-8: save the file as 'CSV UTF-8'");
        else if (text[i] == '\0')
            fail(r, at, "there is a zero byte: this is not a CSV file");
        step(&at, (unsigned char)text[i], i > 0 ? (unsigned char)text[i - 1] : 0);
    }
}

/* ---------------------------------------------------------------- header */

static unsigned char lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c - 'A' + 'a') : c;
}

/* "arrest", "Arrest ID", "arrest_no": the kind; 0 = another title. */
static int kind_of_title(const unsigned char *title, size_t len)
{
    static const char *const tails[] = {"", "id", "no", "number"};
    char plain[32];
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (title[i] == ' ' || title[i] == '_' || title[i] == '-' || title[i] == '.')
            continue;
        if (n + 1 >= sizeof(plain))
            return 0;
        plain[n++] = (char)lower(title[i]);
    }
    plain[n] = '\0';
    for (int kind = 1; kind <= N_KINDS; kind++) {
        const char *word = gx_indexctl_csv_title((enum gx_client_id_kind)kind);
        for (size_t t = 0; t < sizeof(tails) / sizeof(tails[0]); t++)
            if (strncmp(plain, word, strlen(word)) == 0 && strcmp(plain + strlen(word), tails[t]) == 0)
                return kind;
    }
    return 0;
}

static void on_title(struct reader *r, const unsigned char *title, size_t len)
{
    int kind = kind_of_title(title, len);
    if (kind == 0)
        return;
    if (r->kinds[kind] != 0)
        fail(r, r->field, "a second column of the same kind of ids: leave one of them");
    r->kinds[kind] = r->n_fields + 1;
}

static void end_header(struct reader *r, const char *kind)
{
    int chosen = 0, n = 0;
    for (int k = 1; k <= N_KINDS; k++)
        if (r->kinds[k] != 0 && (kind == NULL || strcmp(kind, gx_indexctl_csv_title((enum gx_client_id_kind)k)) == 0)) {
            chosen = k;
            n++;
        }
    if (n == 0 && kind != NULL)
        r->status = gx_indexctl_fail(GX_E_INVALID, "%s: the header in line %" PRIu64 " has no column '%s'", r->name,
                                     r->record.line, kind);
    else if (n == 0)
        r->status = gx_indexctl_fail(GX_E_INVALID,
                                     "%s: line %" PRIu64 " is no header with a column arrest, record or subject: put "
                                     "one above the ids, for example a line 'arrest'",
                                     r->name, r->record.line);
    else if (n > 1)
        r->status = gx_indexctl_fail(GX_E_INVALID,
                                     "%s: the header has columns of several kinds of ids: say which one counts by "
                                     "--kind arrest, record or subject",
                                     r->name);
    r->out->kind = (enum gx_client_id_kind)chosen;
    r->id_column = r->kinds[chosen] - (n > 0);
    r->n_columns = r->n_fields;
    r->headed = true;
}

/* ---------------------------------------------------------------- rows */

static void check_id(struct reader *r, const unsigned char *id, size_t len)
{
    char text[64];
    if (len > GX_ID_MAX) {
        (void)snprintf(text, sizeof(text), "the id has %zu bytes, at most %d are possible", len, GX_ID_MAX);
        fail(r, r->field, text);
    }
    for (size_t i = 0; i < len; i += character_len(id + i, len - i))
        if (is_control(id + i)) {
            fail(r, r->field, "the id holds a control character or a line end");
            return;
        }
}

/* A row's ids take no more than its bytes with its line end; the last row may have none, for which there is room. */
static void on_field(void *field, size_t len, void *arg)
{
    struct reader *r = arg;
    const unsigned char *bytes = field;
    r->any = r->any || len > 0;
    r->in_field = false;
    if (!r->headed) {
        on_title(r, bytes, len);
    } else if (r->n_fields == r->id_column && len > 0) {
        check_id(r, bytes, len);
        char *copy = r->out->text + r->text_len;
        memcpy(copy, bytes, len);
        copy[len] = '\0';
        r->text_len += len + 1;
        r->id = copy;
    }
    r->n_fields++;
}

static void add_row(struct reader *r)
{
    struct gx_indexctl_csv *csv = r->out;
    if (csv->n == csv->cap) {
        size_t cap = csv->cap > 0 ? 2 * csv->cap : 1024;
        struct gx_indexctl_csv_row *rows = realloc(csv->rows, cap * sizeof(*rows));
        if (rows == NULL) {
            r->status = gx_indexctl_fail(GX_E_NOMEM, "out of memory for the rows of %s", r->name);
            return;
        }
        csv->rows = rows;
        csv->cap = cap;
    }
    csv->rows[csv->n++] = (struct gx_indexctl_csv_row){r->record.line, r->id};
}

static void end_row(struct reader *r)
{
    char text[128];
    if (r->n_fields != r->n_columns) {
        (void)snprintf(text, sizeof(text), "%zu field%s, the header has %zu: is a quotation mark or a separator wrong?",
                       r->n_fields, r->n_fields == 1 ? "" : "s", r->n_columns);
        fail(r, r->record, text);
    } else if (r->id == NULL) {
        (void)snprintf(text, sizeof(text), "the row has no %s id", gx_indexctl_csv_title(r->out->kind));
        fail(r, r->record, text);
    } else if (r->status == GX_OK) {
        add_row(r);
    }
}

struct parse {
    struct reader reader; /* first */
    const char *kind;
};

static void on_record(int end, void *arg)
{
    struct reader *r = arg;
    (void)end;
    if (r->status == GX_OK && r->any && !r->headed)
        end_header(r, ((struct parse *)arg)->kind);
    else if (r->status == GX_OK && r->any)
        end_row(r);
    r->n_fields = 0;
    r->any = false;
    r->id = NULL;
    r->in_record = r->in_field = false;
}

/* ---------------------------------------------------------------- the file */

/* What parts the columns: the first of these that the header row has outside of quotation marks. */
static unsigned char find_separator(const char *text, size_t len)
{
    static const char separators[] = {',', ';', '\t'};
    bool seen[sizeof(separators)] = {false}, quoted = false, begun = false;
    for (size_t i = 0; i < len; i++) {
        bool end = text[i] == '\n' || text[i] == '\r';
        if (end && begun && !quoted)
            break;
        begun = begun || !end;
        quoted = quoted != (text[i] == '"');
        for (size_t s = 0; !quoted && s < sizeof(separators); s++)
            seen[s] = seen[s] || text[i] == separators[s];
    }
    for (size_t s = 0; s < sizeof(separators); s++)
        if (seen[s])
            return (unsigned char)separators[s];
    return ',';
}

/* libcsv knows no places: where fields and records begin is seen from outside, byte by byte. */
static void feed(struct reader *r, struct csv_parser *csv, const char *text, size_t len)
{
    unsigned char separator = csv_get_delim(csv), before = 0;
    for (size_t i = 0; r->status == GX_OK && i < len; i++) {
        unsigned char byte = (unsigned char)text[i];
        bool blank = byte == '\n' || byte == '\r' || ((byte == ' ' || byte == '\t') && byte != separator);
        if (!r->in_record && !blank) {
            r->record = r->here;
            r->in_record = true;
        }
        if (!r->in_field && !blank) {
            r->field = r->here;
            r->in_field = true;
        }
        if (csv_parse(csv, &byte, 1, on_field, on_record, r) != 1) {
            if (csv_error(csv) == CSV_EPARSE)
                fail(r, r->here,
                     "a quotation mark within a field: put the field in quotation marks, and double those in it");
            else
                r->status = gx_indexctl_fail(GX_E_NOMEM, "out of memory for a field of %s", r->name);
        }
        step(&r->here, byte, before);
        before = byte;
    }
    if (r->status == GX_OK && csv_fini(csv, on_field, on_record, r) != 0) {
        if (csv_error(csv) == CSV_EPARSE)
            fail(r, r->field, "the quotation mark that begins here is never closed");
        else
            r->status = gx_indexctl_fail(GX_E_NOMEM, "out of memory for a field of %s", r->name);
    }
}

static void parse_all(struct parse *p, const char *text, size_t len)
{
    struct reader *r = &p->reader;
    struct csv_parser csv;
    size_t mark = len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    check_encoding(r, text + mark, len - mark);
    if (r->status != GX_OK)
        return;
    r->out->text = malloc(len + 2);
    if (r->out->text == NULL || csv_init(&csv, CSV_STRICT | CSV_STRICT_FINI) != 0) {
        r->status = gx_indexctl_fail(GX_E_NOMEM, "out of memory for %s", r->name);
        return;
    }
    csv_set_delim(&csv, find_separator(text + mark, len - mark));
    feed(r, &csv, text + mark, len - mark);
    csv_free(&csv);
    if (r->status == GX_OK && !r->headed)
        r->status = gx_indexctl_fail(GX_E_INVALID,
                                     "%s is empty: it wants a header with a column arrest, record or "
                                     "subject, and a line for each",
                                     r->name);
    else if (r->status == GX_OK && r->out->n == 0)
        r->status =
            gx_indexctl_fail(GX_E_INVALID, "%s has a header and no line below it: there is nothing to remove", r->name);
}

enum gx_status gx_indexctl_csv_parse(const char *name, const char *text, size_t len, const char *kind,
                                     struct gx_indexctl_csv *out)
{
    *out = (struct gx_indexctl_csv){.n = 0};
    struct parse p = {.reader = {.name = name, .out = out, .here = {1, 1}}, .kind = kind};
    bool known = kind == NULL;
    for (int k = 1; k <= N_KINDS; k++)
        known = known || strcmp(kind, gx_indexctl_csv_title((enum gx_client_id_kind)k)) == 0;
    if (!known)
        return gx_indexctl_fail(GX_E_INVALID, "--kind is record, arrest or subject, not '%s'", kind);
    parse_all(&p, text, len);
    return p.reader.status;
}

enum gx_status gx_indexctl_csv_read(const char *path, const char *kind, struct gx_indexctl_csv *out)
{
    char *text;
    size_t len;
    *out = (struct gx_indexctl_csv){.n = 0};
    enum gx_status status = gx_indexctl_lines_slurp(path, &text, &len);
    if (status != GX_OK)
        return status;
    status = gx_indexctl_csv_parse(strcmp(path, "-") == 0 ? "the standard input" : path, text, len, kind, out);
    free(text);
    return status;
}

void gx_indexctl_csv_fini(struct gx_indexctl_csv *csv)
{
    free(csv->rows);
    free(csv->text);
    *csv = (struct gx_indexctl_csv){.n = 0};
}

void gx_indexctl_csv_put(FILE *out, const char *field)
{
    size_t len = strlen(field);
    bool spaces = len > 0 && (field[0] == ' ' || field[len - 1] == ' '); /* which readers take away */
    if (!spaces && strpbrk(field, ",;\"\t\r\n") == NULL)
        (void)fputs(field, out);
    else
        (void)csv_fwrite(out, field, len);
}
