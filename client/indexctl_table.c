#include "indexctl_table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "indexctl_time.h"

#define TITLES(t, ...)                                                                                                 \
    do {                                                                                                               \
        static const char *const titles_[] = {__VA_ARGS__};                                                            \
        (t)->titles = titles_;                                                                                         \
        (t)->n_columns = sizeof(titles_) / sizeof(titles_[0]);                                                         \
    } while (0)

/* ---------------------------------------------------------------- tables */

/* Columns on a terminal, as far as characters are as wide as one. */
static size_t width_of(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void clean(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

void gx_indexctl_table_cell(struct gx_indexctl_table *table, const char *format, ...)
{
    char *cell = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&cell, format, args) < 0)
        cell = NULL;
    va_end(args);
    if (table->n_cells == table->cap) {
        size_t cap = table->cap > 0 ? 2 * table->cap : 256;
        char **cells = realloc(table->cells, cap * sizeof(*cells));
        if (cells == NULL) {
            free(cell);
            table->bad = true;
            return;
        }
        table->cells = cells;
        table->cap = cap;
    }
    if (cell == NULL) {
        table->bad = true;
        return;
    }
    clean(cell);
    table->cells[table->n_cells++] = cell;
}

static void print_cell(FILE *out, const char *text, size_t width, bool right, bool last)
{
    size_t have = width_of(text);
    int pad = have < width ? (int)(width - have) : 0;
    if (right)
        (void)fprintf(out, "%*s%s%s", pad, "", text, last ? "" : "  ");
    else
        (void)fprintf(out, "%s%*s", text, last ? 0 : pad + 2, "");
}

static const char *shown(const char *cell)
{
    return cell[0] != '\0' ? cell : "-";
}

static void print_rows(struct gx_indexctl_table *t, FILE *out)
{
    size_t n = t->n_columns;
    for (size_t c = 0; c < n && !t->headed; c++)
        print_cell(out, t->titles[c] + (t->titles[c][0] == '>'), t->width[c], t->titles[c][0] == '>', c + 1 == n);
    if (!t->headed)
        (void)fputc('\n', out);
    t->headed = true;
    for (size_t i = 0; i < t->n_cells; i++) {
        print_cell(out, shown(t->cells[i]), t->width[i % n], t->titles[i % n][0] == '>', i % n + 1 == n);
        if (i % n + 1 == n)
            (void)fputc('\n', out);
    }
}

enum gx_status gx_indexctl_table_flush(struct gx_indexctl_table *table, FILE *out)
{
    size_t n = table->n_columns;
    for (size_t c = 0; c < n; c++)
        if (table->width[c] == 0)
            table->width[c] = width_of(table->titles[c] + (table->titles[c][0] == '>'));
    for (size_t i = 0; i < table->n_cells && !table->bad; i++)
        if (width_of(shown(table->cells[i])) > table->width[i % n])
            table->width[i % n] = width_of(shown(table->cells[i]));
    bool bad = table->bad;
    if (!bad && n > 0)
        print_rows(table, out);
    for (size_t i = 0; i < table->n_cells; i++)
        free(table->cells[i]);
    free(table->cells);
    table->cells = NULL;
    table->n_cells = table->cap = 0;
    table->bad = false;
    return bad ? gx_indexctl_fail(GX_E_NOMEM, "out of memory for the output") : GX_OK;
}

/* A line of a list of properties. */
__attribute__((format(printf, 3, 4))) static void property(FILE *out, const char *name, const char *format, ...)
{
    char text[600];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    clean(text);
    (void)fprintf(out, "%-14s %s\n", name, shown(text));
}

/* ---------------------------------------------------------------- numbers */

const char *gx_indexctl_table_count(uint64_t n, char out[GX_INDEXCTL_TABLE_COUNT_MAX])
{
    char digits[24];
    size_t len = (size_t)snprintf(digits, sizeof(digits), "%" PRIu64, n), to = 0;
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            out[to++] = ',';
        out[to++] = digits[i];
    }
    out[to] = '\0';
    return out;
}

const char *gx_indexctl_table_plural(uint64_t n, const char *one, char out[GX_INDEXCTL_TABLE_PLURAL_MAX])
{
    char count[GX_INDEXCTL_TABLE_COUNT_MAX];
    (void)snprintf(out, GX_INDEXCTL_TABLE_PLURAL_MAX, "%s %s%s", gx_indexctl_table_count(n, count), one,
                   n == 1 ? "" : "s");
    return out;
}

const char *gx_indexctl_table_bytes(uint64_t n, char out[GX_INDEXCTL_TABLE_COUNT_MAX])
{
    static const char *const units[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    if (n < 1000) {
        (void)snprintf(out, GX_INDEXCTL_TABLE_COUNT_MAX, "%" PRIu64 " B", n);
        return out;
    }
    double value = (double)n / 1000;
    size_t unit = 0;
    for (; value >= 999.95 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        value /= 1000;
    (void)snprintf(out, GX_INDEXCTL_TABLE_COUNT_MAX, "%.1f %s", value, units[unit]);
    return out;
}

#define COUNT(n)       gx_indexctl_table_count((n), (char[GX_INDEXCTL_TABLE_COUNT_MAX]){0})
#define BYTES(n)       gx_indexctl_table_bytes((n), (char[GX_INDEXCTL_TABLE_COUNT_MAX]){0})
#define PLURAL(n, one) gx_indexctl_table_plural((n), (one), (char[GX_INDEXCTL_TABLE_PLURAL_MAX]){0})
#define TIME(us)       gx_indexctl_time_format((us), (char[GX_INDEXCTL_TIME_MAX]){0})

/* ---------------------------------------------------------------- galleries */

/* "edgeface-xs", "edgeface-xs 2024-03" */
#define EMBEDDER(g) (g)->embedder_id, (g)->embedder_version[0] != '\0' ? " " : "", (g)->embedder_version

enum gx_status gx_indexctl_table_galleries(FILE *out, const struct gx_client_gallery *list, size_t n)
{
    struct gx_indexctl_table t = {0};
    TITLES(&t, "name", ">records", ">dim", "embedder", "engine", "created");
    for (size_t i = 0; i < n; i++) {
        gx_indexctl_table_cell(&t, "%s", list[i].name);
        gx_indexctl_table_cell(&t, "%s", COUNT(list[i].records));
        gx_indexctl_table_cell(&t, "%u", list[i].dim);
        gx_indexctl_table_cell(&t, "%s%s%s", EMBEDDER(&list[i]));
        gx_indexctl_table_cell(&t, "%s", list[i].engine);
        gx_indexctl_table_cell(&t, "%s", TIME(list[i].created_at_us / 1000000 * 1000000));
    }
    return gx_indexctl_table_flush(&t, out);
}

void gx_indexctl_table_gallery(FILE *out, const struct gx_client_gallery *gallery)
{
    property(out, "name", "%s", gallery->name);
    property(out, "records", "%s", COUNT(gallery->records));
    property(out, "dimension", "%u", gallery->dim);
    property(out, "embedder", "%s%s%s", EMBEDDER(gallery));
    property(out, "engine", "%s", gallery->engine);
    property(out, "default effort", "%.3g", (double)gallery->default_effort);
    property(out, "created", "%s", TIME(gallery->created_at_us / 1000000 * 1000000));
}

void gx_indexctl_table_stats(FILE *out, const struct gx_client_gallery_stats *s)
{
    property(out, "name", "%s%s", s->name, s->loaded ? "" : " (still loading)");
    property(out, "engine", "%s", s->engine);
    property(out, "records", "%s", COUNT(s->records));
    if (s->quarantined > 0)
        property(out, "quarantined", "%s (of the records: under a legal hold, out of every search)",
                 COUNT(s->quarantined));
    property(out, "indexed", "%s", COUNT(s->indexed));
    property(out, "tail", "%s (scanned beside the index)", COUNT(s->tail));
    property(out, "dead", "%s (removed, not yet out of the index; never returned)", COUNT(s->dead));
    property(out, "epoch", "%" PRIu64, s->epoch);
    property(out, "memory", "%s rows, %s index", BYTES(s->row_bytes), BYTES(s->index_bytes));
    property(out, "disk", "%s free, %s ballast (of the whole server)", BYTES(s->disk_free_bytes),
             BYTES(s->ballast_bytes));
    if (s->build.running)
        property(out, "build", "%s: %s, %s of %s rows", s->build.engine, s->build.stage, COUNT(s->build.rows_done),
                 COUNT(s->build.rows_total));
    if (s->build.problem[0] != '\0')
        property(out, "last build", "failed: %s", s->build.problem);
}

void gx_indexctl_table_recall(FILE *out, const char *name, const struct gx_client_recall *r)
{
    property(out, "gallery", "%s", name);
    property(out, "engine", "%s, effort %.3g", r->engine, (double)r->effort);
    property(out, "probes", "%u", r->probes);
    property(out, "recall@1", "%.4f", r->recall_at_1);
    property(out, "recall@10", "%.4f", r->recall_at_10);
    property(out, "recall@50", "%.4f", r->recall_at_50);
    property(out, "mean time", "%.3f ms (exact search %.3f ms)", r->mean_us / 1000, r->exact_mean_us / 1000);
}

void gx_indexctl_table_imported(FILE *out, const struct gx_indexctl_imported *i)
{
    (void)fprintf(out, "%s: %s enrolled, %s unchanged", PLURAL(i->rows, "row"), COUNT(i->enrolled.enrolled),
                  COUNT(i->enrolled.unchanged));
    if (i->expunged > 0)
        (void)fprintf(out, "; %s passed over as expunged", COUNT(i->expunged));
    (void)fprintf(out, ", in %.1f s (%s rows/s)\n", i->seconds,
                  COUNT((uint64_t)(i->seconds > 0 ? (double)i->rows / i->seconds : 0)));
}

/* ---------------------------------------------------------------- search, records */

enum gx_status gx_indexctl_table_answer(FILE *out, uint64_t probe, const struct gx_client_answer *answer)
{
    const struct gx_client_stats *s = &answer->stats;
    (void)fprintf(out, "probe %" PRIu64 ": %s (%s, %s; %s scanned, %u rescored, epoch %" PRIu64 ")\n", probe,
                  PLURAL(answer->n_candidates, "candidate"), s->engine, s->exhaustive ? "exhaustive" : "not exhaustive",
                  COUNT(s->scanned), s->rescored, s->epoch);
    if (answer->n_candidates == 0)
        return GX_OK;
    struct gx_indexctl_table t = {0};
    TITLES(&t, ">rank", ">cosine", "record_id", "subject_id", "arrest_id", "captured");
    for (size_t i = 0; i < answer->n_candidates; i++) {
        const struct gx_client_candidate *c = &answer->candidates[i];
        gx_indexctl_table_cell(&t, "%u", c->rank);
        gx_indexctl_table_cell(&t, "%.4f", (double)c->cosine);
        gx_indexctl_table_cell(&t, "%s", c->record_id);
        gx_indexctl_table_cell(&t, "%s", c->subject_id);
        gx_indexctl_table_cell(&t, "%s", c->arrest_id);
        gx_indexctl_table_cell(&t, "%s", TIME(c->captured_at_us));
    }
    return gx_indexctl_table_flush(&t, out);
}

void gx_indexctl_table_record(struct gx_indexctl_table *t, const struct gx_client_stored *record)
{
    const struct gx_client_record *r = &record->record;
    TITLES(t, "record_id", "subject_id", "arrest_id", "captured", "enrolled", ">epoch", "searched", "attributes");
    gx_indexctl_table_cell(t, "%s", r->record_id);
    gx_indexctl_table_cell(t, "%s", r->subject_id);
    gx_indexctl_table_cell(t, "%s", r->arrest_id);
    gx_indexctl_table_cell(t, "%s", TIME(r->captured_at_us));
    gx_indexctl_table_cell(t, "%s", TIME(record->enrolled_at_us / 1000000 * 1000000));
    gx_indexctl_table_cell(t, "%" PRIu64, record->epoch);
    gx_indexctl_table_cell(t, "%s", record->quarantined ? "no" : "yes");
    char attributes[256];
    size_t len = 0;
    attributes[0] = '\0';
    for (size_t i = 0; i < r->n_attributes && len < sizeof(attributes); i++)
        len += (size_t)snprintf(attributes + len, sizeof(attributes) - len, "%s%s=%s", i > 0 ? " " : "",
                                r->attribute_keys[i], r->attribute_values[i]);
    gx_indexctl_table_cell(t, "%s%s", attributes, len >= sizeof(attributes) ? "…" : "");
}

/* ---------------------------------------------------------------- holds */

void gx_indexctl_table_hold_row(struct gx_indexctl_table *t, const struct gx_client_hold *hold)
{
    TITLES(t, "reference", "kind", "id", ">records", "searched", "since");
    gx_indexctl_table_cell(t, "%s", hold->reference);
    gx_indexctl_table_cell(t, "%s", gx_indexctl_json_kind(hold->kind));
    gx_indexctl_table_cell(t, "%s", hold->id[0] != '\0' ? hold->id : "(nothing enrolled)");
    gx_indexctl_table_cell(t, "%s", COUNT(hold->records));
    gx_indexctl_table_cell(t, "%s", hold->quarantine ? "no" : "yes");
    gx_indexctl_table_cell(t, "%s", TIME(hold->placed_at_us / 1000000 * 1000000));
}

/* ---------------------------------------------------------------- tickets */

/* When the present state was reached. */
static int64_t reached_at(const struct gx_client_ticket *t)
{
    switch (t->state) {
    case GX_CLIENT_TICKET_ACCEPTED: return t->accepted_at_us;
    case GX_CLIENT_TICKET_ERASED: return t->erased_at_us;
    case GX_CLIENT_TICKET_VERIFIED: return t->verified_at_us;
    case GX_CLIENT_TICKET_FAILED: return t->failed_at_us;
    }
    return 0;
}

void gx_indexctl_table_ticket_row(struct gx_indexctl_table *t, const struct gx_client_ticket *ticket)
{
    TITLES(t, "ticket", "state", "since", "gallery", "kind", ">records", ">unmatched", "order");
    gx_indexctl_table_cell(t, "%s", ticket->ticket_id);
    gx_indexctl_table_cell(t, "%s", gx_indexctl_json_state(ticket->state));
    gx_indexctl_table_cell(t, "%s", TIME(reached_at(ticket) / 1000000 * 1000000));
    gx_indexctl_table_cell(t, "%s", ticket->gallery);
    gx_indexctl_table_cell(t, "%s", gx_indexctl_json_kind(ticket->kind));
    gx_indexctl_table_cell(t, "%s", COUNT(ticket->records));
    gx_indexctl_table_cell(t, "%s", COUNT(ticket->unmatched_ids));
    gx_indexctl_table_cell(t, "%s", ticket->order_ref);
}

void gx_indexctl_table_ticket(FILE *out, const struct gx_client_ticket *t)
{
    property(out, "ticket", "%s", t->ticket_id);
    property(out, "state", "%s", gx_indexctl_json_state(t->state));
    property(out, "gallery", "%s", t->gallery);
    property(out, "order", "%s", t->order_ref);
    property(out, "ids are of", "%s", gx_indexctl_json_kind(t->kind));
    property(out, "records", "%s", COUNT(t->records));
    property(out, "unmatched ids", "%s", COUNT(t->unmatched_ids));
    property(out, "epoch", "%" PRIu64, t->epoch);
    property(out, "accepted", "%s", TIME(t->accepted_at_us));
    property(out, "unindexed", "%s", TIME(t->unindexed_at_us));
    property(out, "flushed", "%s", TIME(t->flushed_at_us));
    property(out, "compacted", "%s", TIME(t->compacted_at_us));
    property(out, "unlinked", "%s", TIME(t->unlinked_at_us));
    property(out, "erased", "%s", TIME(t->erased_at_us));
    property(out, "verified", "%s", TIME(t->verified_at_us));
    property(out, "due", "%s", TIME(t->deadline_at_us));
    if (t->attempts > 0)
        property(out, "attempts", "%s", COUNT(t->attempts));
    if (t->failed_at_us != 0)
        property(out, "failed", "%s", TIME(t->failed_at_us));
    if (t->erased_at_us != 0)
        property(out, "rewritten", "%s files, %s bytes; %s files removed", COUNT(t->files_rewritten),
                 COUNT(t->bytes_rewritten), COUNT(t->files_removed));
    if (t->verified_at_us != 0)
        property(out, "checked", "%s: %s files, %s bytes; %s left out by key range; found before: %s",
                 gx_indexctl_json_method(t->method), COUNT(t->files_scanned), COUNT(t->bytes_scanned),
                 COUNT(t->files_left_out), COUNT(t->control_hits));
    if (t->certificate != 0)
        property(out, "certificate", "%" PRIu64, t->certificate);
    if (t->n_backups > 0)
        property(out, "in backups", "%s", t->backups);
    if (t->problem[0] != '\0')
        property(out, "problem", "%s", t->problem);
}
