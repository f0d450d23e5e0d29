/* What a list came to: a few lines for the terminal, and a line for each of its lines in the file of --results. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "indexctl_bulk.h"
#include "indexctl_expunge.h"
#include "indexctl_json.h"
#include "indexctl_table.h"

#define LINES_SHOWN 10

#define COUNT(n)       gx_indexctl_table_count((n), (char[GX_INDEXCTL_TABLE_COUNT_MAX]){0})
#define PLURAL(n, one) gx_indexctl_table_plural((n), (one), (char[GX_INDEXCTL_TABLE_PLURAL_MAX]){0})

static const struct gx_indexctl_order *order_of(const struct gx_indexctl_bulk *b, size_t item)
{
    return &b->orders[item / GX_EXPUNGE_IDS_MAX];
}

/* ---------------------------------------------------------------- the count */

/* "  no match      3 arrests, lines 4, 9, 17". Nothing where there are none. */
static void print_fate(const struct gx_indexctl_bulk *b, enum gx_indexctl_fate fate, const char *what)
{
    FILE *out = b->session->out;
    uint64_t left = b->n_fates[fate], shown = 0;
    if (left == 0)
        return;
    (void)fprintf(out, "  %-14s %s, line%s", what, PLURAL(left, gx_indexctl_csv_title(b->csv.kind)),
                  left > 1 ? "s" : "");
    for (size_t i = 0; i < b->n_items && shown < LINES_SHOWN; i++)
        if (b->items[i].fate == fate && order_of(b, i)->state != GX_INDEXCTL_BEFORE) {
            (void)fprintf(out, "%s %" PRIu64, shown > 0 ? "," : "", b->items[i].line);
            if (fate == GX_INDEXCTL_HELD)
                (void)fprintf(out, " (%s)", b->items[i].hold_ref);
            shown++;
        }
    if (left > shown)
        (void)fprintf(out, " and %s more%s", COUNT(left - shown),
                      b->session->args->results == NULL ? " (--results FILE has them all)" : "");
    (void)fputc('\n', out);
}

static void print_repeated(const struct gx_indexctl_bulk *b)
{
    if (b->csv.n > b->n_items)
        (void)fprintf(b->session->out, "  %-14s %s, counted once\n", "repeated", PLURAL(b->csv.n - b->n_items, "line"));
}

static void print_before(const struct gx_indexctl_bulk *b)
{
    const char *first = NULL;
    size_t n = 0;
    for (size_t i = 0; i < b->n_orders; i++)
        if (b->orders[i].state == GX_INDEXCTL_BEFORE && n++ == 0)
            first = b->orders[i].ticket.ticket_id;
    if (n > 0)
        (void)fprintf(b->session->out, "  %-14s %s by %s of this list, the first is %s\n", "gone before",
                      PLURAL(b->records_before, "photo"), PLURAL(n, "order"), first);
}

static void print_nothing_left(const struct gx_indexctl_bulk *b)
{
    for (size_t i = 0; i < b->n_orders; i++)
        if (b->orders[i].state == GX_INDEXCTL_OPEN)
            return;
    (void)fprintf(b->session->out, "Nothing of the list is left to remove.\n");
}

enum gx_status gx_indexctl_bulk_print_count(const struct gx_indexctl_bulk *bulk)
{
    const struct gx_indexctl_args *a = bulk->session->args;
    const char *title = gx_indexctl_csv_title(bulk->csv.kind);
    FILE *out = bulk->session->out;
    const uint64_t *n = bulk->n_fates;
    if (a->json) {
        struct gx_indexctl_counted counted = {.gallery = a->words.items[0],
                                              .order_ref = a->order != NULL ? a->order : "",
                                              .kind = bulk->csv.kind,
                                              .lines = bulk->csv.n,
                                              .ids = bulk->n_items,
                                              .orders = bulk->n_orders,
                                              .records = bulk->records_open,
                                              .records_before = bulk->records_before,
                                              .matched_ids = n[GX_INDEXCTL_GOES],
                                              .unmatched_ids = n[GX_INDEXCTL_UNMATCHED],
                                              .gone_ids = n[GX_INDEXCTL_GONE],
                                              .held_ids = n[GX_INDEXCTL_HELD]};
        enum gx_status status = gx_indexctl_json_counted_list(out, &counted);
        (void)fflush(out);
        return status;
    }
    (void)fprintf(out, "%s: %s, %s\n", bulk->file, PLURAL(bulk->csv.n, "line"), PLURAL(bulk->n_items, title));
    if (bulk->csv.kind == GX_CLIENT_RECORD)
        (void)fprintf(out, "  %-14s %s\n", "would go", PLURAL(bulk->records_open, "photo"));
    else
        (void)fprintf(out, "  %-14s %s of %s\n", "would go", PLURAL(bulk->records_open, "photo"),
                      PLURAL(n[GX_INDEXCTL_GOES], title));
    print_fate(bulk, GX_INDEXCTL_UNMATCHED, "match nothing");
    print_fate(bulk, GX_INDEXCTL_GONE, "gone already");
    print_fate(bulk, GX_INDEXCTL_HELD, "under hold");
    print_repeated(bulk);
    print_before(bulk);
    print_nothing_left(bulk);
    (void)fflush(out);
    return GX_OK;
}

/* ---------------------------------------------------------------- the results */

static const char *outcome_of(const struct gx_indexctl_bulk *b, const struct gx_indexctl_item *item,
                              const struct gx_indexctl_order *o)
{
    switch (item->fate) {
    case GX_INDEXCTL_HELD: return "held";
    case GX_INDEXCTL_GONE: return "already gone";
    case GX_INDEXCTL_UNMATCHED: return o->state == GX_INDEXCTL_REFUSED ? "error" : "no match";
    default: break;
    }
    if (o->state == GX_INDEXCTL_DONE)
        return "removed";
    return o->state == GX_INDEXCTL_REFUSED ? "error" : b->removing ? "not removed" : "would go";
}

/* line,arrest,outcome,photos,ticket,note */
static void write_row(FILE *file, const struct gx_indexctl_bulk *b, size_t row)
{
    size_t at = b->item_of_row[row];
    const struct gx_indexctl_item *item = &b->items[at];
    const struct gx_indexctl_order *o = order_of(b, at);
    uint64_t line = b->csv.rows[row].line;
    (void)fprintf(file, "%" PRIu64 ",", line);
    gx_indexctl_csv_put(file, item->id);
    if (line != item->line) {
        (void)fprintf(file, ",repeated,0,,same as line %" PRIu64 "\n", item->line);
        return;
    }
    const char *outcome = outcome_of(b, item, o), *note = "";
    bool held = item->fate == GX_INDEXCTL_HELD;
    bool counts = strcmp(outcome, "removed") == 0 || strcmp(outcome, "would go") == 0;
    if (held)
        note = item->hold_ref;
    else if (strcmp(outcome, "error") == 0)
        note = o->problem;
    else if (o->state == GX_INDEXCTL_BEFORE)
        note = "by an earlier run of this list";
    (void)fprintf(file, ",%s,%" PRIu64 ",%s,", outcome, counts ? item->records : 0, held ? "" : o->ticket.ticket_id);
    gx_indexctl_csv_put(file, note);
    (void)fputc('\n', file);
}

static enum gx_status fail_errno(const char *path)
{
    return gx_indexctl_fail(errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? GX_E_FULL : GX_E_IO,
                            "cannot write the results to %s: %s", path, strerror(errno));
}

/* Nothing but an earlier file of results is replaced: not the list itself, no device. */
static enum gx_status check_target(const struct gx_indexctl_bulk *b, const char *path)
{
    struct stat target, list;
    if (stat(path, &target) != 0)
        return errno == ENOENT ? GX_OK : fail_errno(path);
    if (!S_ISREG(target.st_mode))
        return gx_indexctl_fail(GX_E_INVALID, "--results %s is no ordinary file: name another", path);
    if (stat(b->file, &list) == 0 && list.st_dev == target.st_dev && list.st_ino == target.st_ino)
        return gx_indexctl_fail(GX_E_INVALID, "--results %s is the list itself: name another file", path);
    return GX_OK;
}

/* GX_OK: written, and on the disk. errno says why not. */
static bool write_file(const struct gx_indexctl_bulk *b, const char *path)
{
    (void)unlink(path); /* of a run that was killed */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    FILE *file = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (file == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return false;
    }
    (void)fprintf(file, "line,%s,outcome,photos,ticket,note\n", gx_indexctl_csv_title(b->csv.kind));
    for (size_t row = 0; row < b->csv.n; row++)
        write_row(file, b, row);
    bool good = fflush(file) == 0 && !ferror(file) && fsync(fd) == 0;
    int why = errno;
    good = fclose(file) == 0 && good;
    if (!good && why != 0)
        errno = why;
    return good;
}

enum gx_status gx_indexctl_bulk_write_results(const struct gx_indexctl_bulk *bulk)
{
    const char *path = bulk->session->args->results;
    if (path == NULL)
        return GX_OK;
    enum gx_status status = check_target(bulk, path);
    if (status != GX_OK)
        return status;
    size_t size = strlen(path) + 5;
    char *temporary = malloc(size);
    if (temporary == NULL)
        return gx_indexctl_fail(GX_E_NOMEM, "out of memory");
    (void)snprintf(temporary, size, "%s.tmp", path);
    errno = 0;
    if (!write_file(bulk, temporary) || rename(temporary, path) != 0) {
        status = fail_errno(path);
        (void)unlink(temporary);
    }
    free(temporary);
    return status;
}
