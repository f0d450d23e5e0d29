/* expunge --from: what a list of ids names goes, after it was counted.
 *
 * The path: the list -> each id once -> orders of 10,000 -> all of them counted (a dry run) -> the count shown, and
 * written to the file of --results -> --expect, holds, confirmation -> order after order, each with the count found as
 * the expected one -> the results -> --wait.
 *
 * What can go wrong: anything before the first order leaves everything as it was. An order that fails ends the run;
 * those before it are done. The same command again counts those under their request ids, which are made of what the
 * orders say, finds their tickets, and goes on with the rest; nothing is done twice. The server forgets request ids
 * after a day: then an order whose ids are all gone is not sent again.
 * A subject is not barred: photos enrolled after its order want another one, which the request id of the first would
 * take for done. It goes under that id with -2 behind it, the next -3: the first that the server does not know, and so
 * the same again when the run was interrupted. An id given by --request-id stands for one order, as it says. */
#include "indexctl_bulk.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "indexctl_expunge.h"
#include "indexctl_json.h"
#include "indexctl_progress.h"
#include "indexctl_table.h"

#define PREFIX_MAX (GX_REQUEST_ID_MAX - 7) /* "-1", … behind it */

static int64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/* ---------------------------------------------------------------- each id once */

static int compare_rows(const void *a, const void *b, void *arg)
{
    const struct gx_indexctl_csv_row *rows = arg;
    size_t p = *(const size_t *)a, q = *(const size_t *)b;
    int c = strcmp(rows[p].id, rows[q].id);
    return c != 0 ? c : (p > q) - (p < q);
}

/* @first [csv.n]: the row in which the same id stands first. */
static void find_first(const struct gx_indexctl_csv *csv, size_t *sorted, size_t *first)
{
    for (size_t i = 0; i < csv->n; i++)
        sorted[i] = i;
    qsort_r(sorted, csv->n, sizeof(*sorted), compare_rows, csv->rows);
    for (size_t i = 0; i < csv->n; i++) {
        bool same = i > 0 && strcmp(csv->rows[sorted[i]].id, csv->rows[sorted[i - 1]].id) == 0;
        first[sorted[i]] = same ? first[sorted[i - 1]] : sorted[i];
    }
}

static enum gx_status make_items(struct gx_indexctl_bulk *b)
{
    size_t n = b->csv.n, *sorted = calloc(n, sizeof(*sorted));
    b->item_of_row = calloc(n, sizeof(*b->item_of_row));
    b->items = calloc(n, sizeof(*b->items));
    b->orders = calloc(n / GX_EXPUNGE_IDS_MAX + 1, sizeof(*b->orders));
    if (sorted == NULL || b->item_of_row == NULL || b->items == NULL || b->orders == NULL) {
        free(sorted);
        return gx_indexctl_fail(GX_E_NOMEM, "out of memory");
    }
    size_t *first = b->item_of_row;
    find_first(&b->csv, sorted, first);
    free(sorted);
    for (size_t i = 0; i < n; i++) {
        if (first[i] != i) {
            b->item_of_row[i] = b->item_of_row[first[i]]; /* an earlier row: it holds its item already */
            continue;
        }
        b->items[b->n_items] = (struct gx_indexctl_item){.id = b->csv.rows[i].id, .line = b->csv.rows[i].line};
        b->item_of_row[i] = b->n_items++;
    }
    for (size_t i = 0; i < b->n_items; i += GX_EXPUNGE_IDS_MAX) {
        size_t left = b->n_items - i;
        b->orders[b->n_orders++] =
            (struct gx_indexctl_order){.first = i, .n = left < GX_EXPUNGE_IDS_MAX ? left : GX_EXPUNGE_IDS_MAX};
    }
    return GX_OK;
}

/* ---------------------------------------------------------------- orders */

static const char *order_ref(const struct gx_indexctl_bulk *b)
{
    const char *order = b->session->args->order;
    return order != NULL ? order : GX_INDEXCTL_DRY_RUN_ORDER;
}

/* The ids of an order but the held ones, which only --skip-held gets past the count. */
static size_t collect_ids(const struct gx_indexctl_bulk *b, const struct gx_indexctl_order *o, const char **ids)
{
    size_t n = 0;
    for (size_t i = o->first; i < o->first + o->n; i++)
        if (b->items[i].fate != GX_INDEXCTL_HELD)
            ids[n++] = b->items[i].id;
    return n;
}

typedef unsigned __int128 digest;

/* FNV-1a. It need not resist anybody: two orders of one digest would be refused, as the server compares the ids. */
static digest mix(digest d, const char *text)
{
    const digest prime = ((digest)1 << 88) + 0x13b;
    do {
        d = (d ^ (unsigned char)*text) * prime;
    } while (*text++ != '\0');
    return d;
}

/* @turn: 1, or which order of the same ids it is. */
static void make_request_id(const struct gx_indexctl_bulk *b, struct gx_indexctl_order *o, const char *const *ids,
                            size_t n, unsigned turn)
{
    const char *prefix = b->session->args->request_id;
    if (prefix != NULL) {
        (void)snprintf(o->request_id, sizeof(o->request_id), "%.*s-%zu", PREFIX_MAX, prefix,
                       (size_t)(o - b->orders) + 1);
        return;
    }
    digest d = ((digest)0x6c62272e07bb0142u << 64) | 0x62b821756295c58du;
    d = mix(d, gx_indexctl_csv_title(b->csv.kind));
    d = mix(d, order_ref(b));
    for (size_t i = 0; i < n; i++)
        d = mix(d, ids[i]);
    int len = snprintf(o->request_id, sizeof(o->request_id), "list-%016" PRIx64 "%016" PRIx64, (uint64_t)(d >> 64),
                       (uint64_t)d);
    if (turn > 1)
        (void)snprintf(o->request_id + len, sizeof(o->request_id) - (size_t)len, "-%u", turn);
}

/* ---------------------------------------------------------------- the count */

static enum gx_status take_outcome(struct gx_indexctl_item *item, const struct gx_client_outcome *outcome)
{
    item->records = outcome->records;
    item->fate = outcome->hold_ref[0] != '\0' ? GX_INDEXCTL_HELD
                 : outcome->records > 0       ? GX_INDEXCTL_GOES
                 : outcome->expunged_before   ? GX_INDEXCTL_GONE
                                              : GX_INDEXCTL_UNMATCHED;
    if (item->fate != GX_INDEXCTL_HELD)
        return GX_OK;
    item->hold_ref = strdup(outcome->hold_ref);
    return item->hold_ref != NULL ? GX_OK : gx_indexctl_fail(GX_E_NOMEM, "out of memory");
}

static enum gx_status ask(const struct gx_indexctl_bulk *b, const struct gx_indexctl_order *o, const char *const *ids,
                          size_t n, struct gx_client_expunged **out)
{
    enum gx_status status = gx_client_expunge_list(b->session->client, b->session->args->words.items[0], b->csv.kind,
                                                   ids, n, order_ref(b), -1, true, o->request_id, out);
    return status == GX_OK ? GX_OK : gx_indexctl_fail_client(status);
}

/* Carried out before? *@out has its ticket then: of the last such order, where subjects had several. */
static enum gx_status ask_each_turn(const struct gx_indexctl_bulk *b, struct gx_indexctl_order *o,
                                    const char *const *ids, size_t n, struct gx_client_expunged **out)
{
    bool again = b->csv.kind == GX_CLIENT_SUBJECT && b->session->args->request_id == NULL;
    make_request_id(b, o, ids, n, 1);
    enum gx_status status = ask(b, o, ids, n, out);
    for (unsigned turn = 2; status == GX_OK && again && (*out)->ticket.ticket_id[0] != '\0'; turn++) {
        struct gx_client_expunged *next;
        make_request_id(b, o, ids, n, turn);
        status = ask(b, o, ids, n, &next);
        if (status == GX_OK && next->ticket.ticket_id[0] == '\0' && next->ticket.records == 0) {
            gx_client_expunged_free(next); /* nothing new */
            break;
        }
        gx_client_expunged_free(*out);
        *out = next; /* NULL where it failed */
    }
    return status;
}

/* Counts what the order would do to its ids (those that are not held); @out_held: some turned out to be. */
static enum gx_status count_ids(struct gx_indexctl_bulk *b, struct gx_indexctl_order *o, const char **ids,
                                bool *out_held)
{
    struct gx_client_expunged *counted;
    size_t n = collect_ids(b, o, ids), at = 0;
    *out_held = false;
    o->state = GX_INDEXCTL_IDLE;
    o->records = 0;
    if (n == 0)
        return GX_OK;
    enum gx_status status = ask_each_turn(b, o, ids, n, &counted);
    if (status != GX_OK)
        return status;
    o->ticket = counted->ticket;
    o->records = counted->ticket.records;
    bool before = o->ticket.ticket_id[0] != '\0';
    for (size_t i = o->first; status == GX_OK && i < o->first + o->n; i++) {
        struct gx_indexctl_item *item = &b->items[i];
        if (item->fate == GX_INDEXCTL_HELD)
            continue;
        status = take_outcome(item, &counted->outcomes[at++]);
        if (before)
            item->fate = GX_INDEXCTL_GONE;
        *out_held = *out_held || item->fate == GX_INDEXCTL_HELD;
        if (item->fate != GX_INDEXCTL_GONE)
            o->state = GX_INDEXCTL_OPEN;
    }
    if (before)
        o->state = GX_INDEXCTL_BEFORE;
    gx_client_expunged_free(counted);
    return status;
}

static enum gx_status count_order(struct gx_indexctl_bulk *b, struct gx_indexctl_order *o, const char **ids)
{
    bool held;
    enum gx_status status;
    do {
        status = count_ids(b, o, ids, &held);
    } while (status == GX_OK && held && b->session->args->skip_held); /* as an order of the others */
    for (size_t i = o->first; status == GX_OK && i < o->first + o->n; i++)
        if (o->state != GX_INDEXCTL_BEFORE || b->items[i].fate == GX_INDEXCTL_HELD)
            b->n_fates[b->items[i].fate]++;
    *(o->state == GX_INDEXCTL_BEFORE ? &b->records_before : &b->records_open) += o->records;
    return status;
}

static enum gx_status count_all(struct gx_indexctl_bulk *b, const char **ids)
{
    struct gx_indexctl_progress progress;
    enum gx_status status = GX_OK;
    gx_indexctl_progress_begin(&progress, "count", "ids", 0, b->session->args->quiet);
    for (size_t i = 0; status == GX_OK && i < b->n_orders; i++) {
        gx_indexctl_progress_update(&progress, b->orders[i].first, b->n_items);
        status = count_order(b, &b->orders[i], ids);
    }
    gx_indexctl_progress_end(&progress);
    return status;
}

/* ---------------------------------------------------------------- may it go on? */

static enum gx_status check_expected(const struct gx_indexctl_bulk *b)
{
    const struct gx_indexctl_args *a = b->session->args;
    uint64_t total = b->records_open + b->records_before;
    char n[GX_INDEXCTL_TABLE_PLURAL_MAX];
    if (!a->expect.given || (uint64_t)a->expect.value == total)
        return GX_OK;
    return gx_indexctl_fail(GX_E_COUNT,
                            "%s: the list names %s, %" PRId64 " were expected: nothing was removed now; %" PRIu64
                            " ids match nothing, %" PRIu64 " are gone already",
                            b->file, gx_indexctl_table_plural(total, "photo", n), a->expect.value,
                            b->n_fates[GX_INDEXCTL_UNMATCHED], b->n_fates[GX_INDEXCTL_GONE]);
}

static enum gx_status check_holds(const struct gx_indexctl_bulk *b)
{
    if (b->n_fates[GX_INDEXCTL_HELD] == 0 || b->session->args->skip_held)
        return GX_OK;
    return gx_indexctl_fail(GX_E_HELD,
                            "%s: %" PRIu64 " ids are under a legal hold, nothing was removed: have the hold released, "
                            "or leave them out by --skip-held",
                            b->file, b->n_fates[GX_INDEXCTL_HELD]);
}

static size_t count_open(const struct gx_indexctl_bulk *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->n_orders; i++)
        n += b->orders[i].state == GX_INDEXCTL_OPEN;
    return n;
}

/* A person at a terminal is asked; check_consent has seen to it that a script has said what it wants. */
static enum gx_status confirm(const struct gx_indexctl_bulk *b)
{
    if (b->session->args->yes || isatty(STDIN_FILENO) != 1 || count_open(b) == 0)
        return GX_OK;
    char n[GX_INDEXCTL_TABLE_PLURAL_MAX], line[16];
    (void)fflush(b->session->out);
    (void)fprintf(stderr, "Remove %s for good, by the order '%s'? Type yes to go on: ",
                  gx_indexctl_table_plural(b->records_open, "photo", n), order_ref(b));
    (void)fflush(stderr);
    if (fgets(line, sizeof(line), stdin) == NULL)
        line[0] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    return strcmp(line, "yes") == 0 ? GX_OK : gx_indexctl_fail(GX_E_CANCELLED, "nothing was removed");
}

static enum gx_status check_consent(const struct gx_indexctl_args *a)
{
    if (a->request_id != NULL && strlen(a->request_id) > PREFIX_MAX)
        return gx_indexctl_fail(GX_E_INVALID, "--request-id with --from has at most %d bytes", PREFIX_MAX);
    if (a->dry_run || a->yes || a->expect.given || isatty(STDIN_FILENO) == 1)
        return GX_OK;
    return gx_indexctl_fail(GX_E_INVALID, "there is no terminal to ask on: say by --expect N how many photos are to go "
                                          "(--dry-run counts them), or --yes for however many");
}

/* ---------------------------------------------------------------- the removal */

static enum gx_status print_order(const struct gx_indexctl_bulk *b, const struct gx_indexctl_order *o)
{
    char n[GX_INDEXCTL_TABLE_PLURAL_MAX];
    if (b->session->args->json)
        return gx_indexctl_json_ticket(b->session->out, &o->ticket);
    (void)fprintf(b->session->out, "%s: %s removed%s\n", o->ticket.ticket_id,
                  gx_indexctl_table_plural(o->records, "photo", n), o->state == GX_INDEXCTL_BEFORE ? " before" : "");
    return GX_OK;
}

/* What each id removed, where the reply still knows: one that was repeated after a lost reply does not. */
static void take_removed(struct gx_indexctl_bulk *b, const struct gx_indexctl_order *o,
                         const struct gx_client_expunged *e)
{
    uint64_t sum = 0;
    size_t at = 0;
    for (size_t i = 0; i < e->n_outcomes; i++)
        sum += e->outcomes[i].records;
    for (size_t i = o->first; sum == o->records && i < o->first + o->n; i++)
        if (b->items[i].fate != GX_INDEXCTL_HELD)
            b->items[i].records = e->outcomes[at++].records;
}

static enum gx_status remove_order(struct gx_indexctl_bulk *b, struct gx_indexctl_order *o, const char **ids)
{
    struct gx_client_expunged *expunged;
    size_t n = collect_ids(b, o, ids);
    enum gx_status status =
        gx_client_expunge_list(b->session->client, b->session->args->words.items[0], b->csv.kind, ids, n, order_ref(b),
                               (int64_t)o->records, false, o->request_id, &expunged);
    if (status != GX_OK) {
        (void)gx_indexctl_fail_client(status);
        o->state = GX_INDEXCTL_REFUSED;
        (void)snprintf(o->problem, sizeof(o->problem), "%s", gx_indexctl_fail_text());
        return status;
    }
    o->ticket = expunged->ticket;
    o->state = GX_INDEXCTL_DONE;
    take_removed(b, o, expunged);
    gx_client_expunged_free(expunged);
    return GX_OK;
}

static enum gx_status remove_all(struct gx_indexctl_bulk *b, const char **ids)
{
    struct gx_indexctl_progress progress;
    enum gx_status status = GX_OK;
    size_t n_done = 0;
    b->removing = true;
    gx_indexctl_progress_begin(&progress, "remove", "ids", 0, b->session->args->quiet);
    for (size_t i = 0; status == GX_OK && i < b->n_orders; i++) {
        struct gx_indexctl_order *o = &b->orders[i];
        gx_indexctl_progress_update(&progress, o->first, b->n_items);
        if (o->state == GX_INDEXCTL_OPEN)
            status = remove_order(b, o, ids);
        n_done += status == GX_OK;
    }
    gx_indexctl_progress_end(&progress);
    if (status != GX_OK && b->n_orders > 1)
        (void)gx_indexctl_fail(status, "%s; of %zu orders %zu are done: the same command again goes on with the rest",
                               gx_indexctl_fail_text(), b->n_orders, n_done);
    return status;
}

/* ---------------------------------------------------------------- --wait */

struct waiter {
    struct gx_client_ticket last;
};

static bool on_ticket(void *user, const struct gx_client_ticket *ticket)
{
    struct waiter *w = user;
    w->last = *ticket;
    return ticket->state != GX_CLIENT_TICKET_VERIFIED && ticket->state != GX_CLIENT_TICKET_FAILED;
}

/* Until the ticket is VERIFIED, or FAILED, which may pass, but not while somebody waits. */
static enum gx_status wait_for_ticket(struct gx_indexctl_bulk *b, struct gx_client_ticket *ticket, int64_t until_us)
{
    struct waiter w = {.last = *ticket};
    int64_t left_us = until_us - now_us();
    enum gx_status status =
        gx_client_ticket_watch(b->session->client, ticket->ticket_id, left_us > 0 ? left_us : 1, on_ticket, &w);
    *ticket = w.last;
    if (status == GX_E_DEADLINE)
        return gx_indexctl_fail(status, "%s is %s still: the same command again goes on waiting", ticket->ticket_id,
                                gx_indexctl_json_state(ticket->state));
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    if (ticket->state != GX_CLIENT_TICKET_VERIFIED && ticket->state != GX_CLIENT_TICKET_FAILED)
        return gx_indexctl_fail(GX_E_STATE, "%s is %s, and the server says no more: see 'indexctl ticket show %s'",
                                ticket->ticket_id, gx_indexctl_json_state(ticket->state), ticket->ticket_id);
    return GX_OK;
}

static enum gx_status wait_for_all(struct gx_indexctl_bulk *b)
{
    int64_t until_us = now_us() + b->session->wait_us;
    size_t n_tickets = 0, n_failed = 0;
    const struct gx_client_ticket *failed = NULL;
    enum gx_status status = GX_OK;
    for (size_t i = 0; status == GX_OK && i < b->n_orders; i++) {
        struct gx_indexctl_order *o = &b->orders[i];
        struct gx_indexctl_progress progress;
        if (o->ticket.ticket_id[0] == '\0')
            continue;
        n_tickets++;
        gx_indexctl_progress_begin(&progress, "verify", "orders", 0, b->session->args->quiet);
        gx_indexctl_progress_update(&progress, i, b->n_orders);
        status = wait_for_ticket(b, &o->ticket, until_us);
        gx_indexctl_progress_end(&progress);
        if (status == GX_OK)
            status = gx_indexctl_expunge_print(b->session, &o->ticket);
        if (o->ticket.state == GX_CLIENT_TICKET_FAILED && n_failed++ == 0)
            failed = &o->ticket;
    }
    if (status == GX_OK && n_failed > 0)
        return gx_indexctl_fail(GX_E_STATE, "%zu of %zu tickets FAILED, the first is %s: %s", n_failed, n_tickets,
                                failed->ticket_id, failed->problem);
    return status;
}

/* ---------------------------------------------------------------- the whole */

/* Whatever the removal came to: its tickets first, then the file. The removal's failure goes before that of the file.
 */
static enum gx_status report(struct gx_indexctl_bulk *b, enum gx_status status)
{
    char text[GX_INDEXCTL_FAIL_MAX];
    (void)snprintf(text, sizeof(text), "%s", gx_indexctl_fail_text());
    enum gx_status printed = GX_OK;
    for (size_t i = 0; printed == GX_OK && i < b->n_orders; i++)
        if (b->orders[i].ticket.ticket_id[0] != '\0')
            printed = print_order(b, &b->orders[i]);
    (void)fflush(b->session->out);
    enum gx_status written = gx_indexctl_bulk_write_results(b);
    if (status != GX_OK)
        return gx_indexctl_fail(status, "%s", text);
    if (written != GX_OK)
        return gx_indexctl_fail(written, "%s; the list itself was carried out", gx_indexctl_fail_text());
    return printed;
}

static enum gx_status run(struct gx_indexctl_bulk *b, const char **ids)
{
    const struct gx_indexctl_args *a = b->session->args;
    enum gx_status status = count_all(b, ids);
    if (status == GX_OK)
        status = gx_indexctl_bulk_print_count(b);
    if (status == GX_OK)
        status = gx_indexctl_bulk_write_results(b); /* now, so that a disk that takes it not is known before */
    if (status == GX_OK)
        status = check_expected(b);
    if (status != GX_OK || a->dry_run)
        return status;
    status = check_holds(b);
    if (status == GX_OK)
        status = confirm(b);
    if (status != GX_OK)
        return status;
    status = report(b, remove_all(b, ids));
    return status == GX_OK && a->wait ? wait_for_all(b) : status;
}

static void bulk_fini(struct gx_indexctl_bulk *b)
{
    for (size_t i = 0; i < b->n_items; i++)
        free(b->items[i].hold_ref);
    free(b->items);
    free(b->item_of_row);
    free(b->orders);
    gx_indexctl_csv_fini(&b->csv);
}

enum gx_status gx_indexctl_bulk_run(struct gx_indexctl_session *session)
{
    struct gx_indexctl_bulk b = {.session = session, .file = session->args->from};
    const char **ids = NULL;
    enum gx_status status = check_consent(session->args);
    if (status == GX_OK)
        status = gx_indexctl_csv_read(b.file, session->args->kind, &b.csv);
    if (status == GX_OK)
        status = make_items(&b);
    if (status == GX_OK) {
        ids = calloc(GX_EXPUNGE_IDS_MAX, sizeof(*ids));
        status = ids != NULL ? run(&b, ids) : gx_indexctl_fail(GX_E_NOMEM, "out of memory");
    }
    free(ids);
    bulk_fini(&b);
    return status;
}
