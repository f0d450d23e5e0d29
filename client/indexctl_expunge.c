/* expunge; ticket show, list, watch. */
#include "indexctl_expunge.h"

#include <stdlib.h>
#include <string.h>

#include "indexctl_bulk.h"
#include "indexctl_json.h"
#include "indexctl_lines.h"
#include "indexctl_table.h"
#include "indexctl_time.h"

#define AT(member) offsetof(struct gx_indexctl_args, member)

/* ---------------------------------------------------------------- watching */

struct watcher {
    struct gx_indexctl_session *session;
    struct gx_client_ticket last; /* printed */
    bool printed;
    enum gx_status status;
};

enum gx_status gx_indexctl_expunge_print(struct gx_indexctl_session *s, const struct gx_client_ticket *t)
{
    if (s->args->json)
        return gx_indexctl_json_ticket(s->out, t);
    int64_t at_us = t->state == GX_CLIENT_TICKET_VERIFIED ? t->verified_at_us
                    : t->state == GX_CLIENT_TICKET_ERASED ? t->erased_at_us
                    : t->state == GX_CLIENT_TICKET_FAILED ? 0
                    : t->unindexed_at_us != 0             ? t->unindexed_at_us
                                                          : t->accepted_at_us;
    const char *what = t->state == GX_CLIENT_TICKET_VERIFIED ? "the erasure was checked"
                       : t->state == GX_CLIENT_TICKET_ERASED ? "no byte left in the data directory, nor in memory"
                       : t->state == GX_CLIENT_TICKET_FAILED ? t->problem
                       : t->unindexed_at_us != 0             ? "durable, out of every search; rows in memory zeroed"
                                                             : "durable, out of every search";
    char time[GX_INDEXCTL_TIME_MAX];
    (void)fprintf(s->out, "%s  %-8s  %-27s  %s\n", t->ticket_id, gx_indexctl_json_state(t->state),
                  gx_indexctl_time_format(at_us, time), what);
    (void)fflush(s->out);
    return GX_OK;
}

static bool on_ticket(void *user, const struct gx_client_ticket *t)
{
    struct watcher *w = user;
    if (!w->printed || t->state != w->last.state || t->unindexed_at_us != w->last.unindexed_at_us)
        w->status = gx_indexctl_expunge_print(w->session, t);
    w->last = *t;
    w->printed = true;
    (void)fflush(w->session->out);
    return w->status == GX_OK &&
           t->state != GX_CLIENT_TICKET_FAILED; /* the server tries again, but who waits wants to know */
}

/* Until the last state that the server can reach. */
static enum gx_status watch(struct watcher *w, const char *ticket_id)
{
    struct gx_indexctl_session *s = w->session;
    enum gx_status status = gx_client_ticket_watch(s->client, ticket_id, s->wait_us, on_ticket, w);
    if (w->status != GX_OK)
        return w->status;
    if (status == GX_E_DEADLINE && w->printed)
        return gx_indexctl_fail(status, "%s is %s still: see 'indexctl ticket show %s'", ticket_id,
                                gx_indexctl_json_state(w->last.state), ticket_id);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    if (w->last.state == GX_CLIENT_TICKET_FAILED)
        return gx_indexctl_fail(GX_E_STATE, "%s could not be erased: %s", ticket_id, w->last.problem);
    return GX_OK;
}

/* ---------------------------------------------------------------- expunge */

/* The ids of the options, each once; their text is the arguments'. */
static enum gx_status collect(const struct gx_indexctl_args *a, enum gx_client_id_kind *out_kind, const char ***out_ids,
                              size_t *out_n)
{
    const struct gx_indexctl_list *lists[] = {&a->records, &a->arrests, &a->subjects}, *list = NULL;
    for (size_t i = 0; i < 3; i++)
        if (lists[i]->n > 0) {
            list = lists[i];
            *out_kind = (enum gx_client_id_kind)(GX_CLIENT_RECORD + i);
        }
    if (list == NULL)
        return gx_indexctl_fail(GX_E_INTERNAL, "no ids");
    *out_ids = calloc(list->n, sizeof(**out_ids));
    if (*out_ids == NULL)
        return gx_indexctl_fail(GX_E_NOMEM, "out of memory");
    memcpy(*out_ids, list->items, list->n * sizeof(**out_ids));
    *out_n = list->n;
    gx_indexctl_lines_unique(*out_ids, out_n);
    if (*out_n > GX_EXPUNGE_IDS_MAX)
        return gx_indexctl_fail(GX_E_INVALID, "the command line names %zu ids, at most %d are possible: use --from",
                                *out_n, GX_EXPUNGE_IDS_MAX);
    return GX_OK;
}

/* What would go, and whether a legal hold forbids it. */
static enum gx_status print_counted(struct gx_indexctl_session *s, const struct gx_client_expunged *x)
{
    const struct gx_client_ticket *t = &x->ticket;
    const char *hold_ref = NULL;
    size_t n_held = 0;
    for (size_t i = 0; i < x->n_outcomes; i++)
        if (x->outcomes[i].hold_ref[0] != '\0') {
            hold_ref = hold_ref == NULL ? x->outcomes[i].hold_ref : hold_ref;
            n_held++;
        }
    enum gx_status held = GX_OK;
    if (n_held > 0)
        held = gx_indexctl_fail(GX_E_HELD, "the order would be refused: %zu of %zu ids are under a legal hold: '%s'",
                                n_held, x->n_outcomes, hold_ref);
    if (s->args->json) {
        enum gx_status status = gx_indexctl_json_counted(s->out, s->args->words.items[0], t);
        return status != GX_OK ? status : held;
    }
    char n[GX_INDEXCTL_TABLE_PLURAL_MAX], unmatched[GX_INDEXCTL_TABLE_PLURAL_MAX];
    (void)fprintf(s->out, "%s would go; without a match: %s. Nothing was changed.\n",
                  gx_indexctl_table_plural(t->records, "record", n),
                  gx_indexctl_table_plural(t->unmatched_ids, "id", unmatched));
    return held;
}

static enum gx_status count(struct gx_indexctl_session *s, enum gx_client_id_kind kind, const char *const *ids,
                            size_t n)
{
    const struct gx_indexctl_args *a = s->args;
    struct gx_client_expunged *x;
    enum gx_status status = gx_client_expunge_list(s->client, a->words.items[0], kind, ids, n,
                                                   a->order != NULL ? a->order : GX_INDEXCTL_DRY_RUN_ORDER,
                                                   a->expect.given ? a->expect.value : -1, true, a->request_id, &x);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    status = print_counted(s, x);
    gx_client_expunged_free(x);
    return status;
}

static enum gx_status print_expunged(struct gx_indexctl_session *s, const struct gx_client_ticket *t)
{
    if (s->args->json)
        return gx_indexctl_json_ticket(s->out, t);
    char n[GX_INDEXCTL_TABLE_PLURAL_MAX], unmatched[GX_INDEXCTL_TABLE_PLURAL_MAX];
    (void)fprintf(s->out, "%s: %s removed; without a match: %s\n", t->ticket_id,
                  gx_indexctl_table_plural(t->records, "record", n),
                  gx_indexctl_table_plural(t->unmatched_ids, "id", unmatched));
    return gx_indexctl_expunge_print(s, t);
}

static enum gx_status expunge(struct gx_indexctl_session *s, enum gx_client_id_kind kind, const char *const *ids,
                              size_t n)
{
    const struct gx_indexctl_args *a = s->args;
    struct watcher w = {.session = s};
    enum gx_status status = gx_client_expunge(s->client, a->words.items[0], kind, ids, n, a->order,
                                              a->expect.given ? a->expect.value : -1, false, a->request_id, &w.last);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    status = print_expunged(s, &w.last);
    (void)fflush(s->out); /* the receipt first, whatever the waiting brings */
    w.printed = true;
    return status == GX_OK && a->wait ? watch(&w, w.last.ticket_id) : status;
}

/* What makes no sense together, before anything is read or sent. */
static enum gx_status check_arguments(const struct gx_indexctl_args *a)
{
    int n_kinds = (a->from != NULL) + (a->records.n > 0) + (a->arrests.n > 0) + (a->subjects.n > 0);
    if (n_kinds != 1)
        return gx_indexctl_fail(GX_E_INVALID,
                                "say what is to be removed by one of --record, --arrest, --subject or --from");
    if (a->from == NULL && (a->kind != NULL || a->results != NULL || a->skip_held || a->yes))
        return gx_indexctl_fail(GX_E_INVALID, "--kind, --results, --skip-held and --yes belong to a list: --from FILE");
    if (a->order == NULL && !a->dry_run)
        return gx_indexctl_fail(GX_E_INVALID,
                                "--order is missing: the reference of the order under which this happens");
    if (a->wait && a->dry_run)
        return gx_indexctl_fail(GX_E_INVALID, "--dry-run changes nothing: there is nothing to --wait for");
    return GX_OK;
}

static enum gx_status run_expunge(struct gx_indexctl_session *s)
{
    enum gx_client_id_kind kind = GX_CLIENT_RECORD;
    const char **ids = NULL;
    size_t n = 0;
    enum gx_status status = check_arguments(s->args);
    if (status == GX_OK && s->args->from != NULL)
        return gx_indexctl_bulk_run(s);
    if (status == GX_OK)
        status = collect(s->args, &kind, &ids, &n);
    if (status == GX_OK)
        status = s->args->dry_run ? count(s, kind, ids, n) : expunge(s, kind, ids, n);
    free(ids);
    return status;
}

/* ---------------------------------------------------------------- tickets */

static enum gx_status run_show(struct gx_indexctl_session *s)
{
    const struct gx_indexctl_list *ids = &s->args->words;
    enum gx_status status = GX_OK;
    for (size_t i = 0; status == GX_OK && i < ids->n; i++) {
        struct gx_client_ticket ticket;
        status = gx_client_ticket_get(s->client, ids->items[i], &ticket);
        if (status != GX_OK)
            return gx_indexctl_fail_client(status);
        if (s->args->json) {
            status = gx_indexctl_json_ticket(s->out, &ticket);
            continue;
        }
        if (i > 0)
            (void)fputc('\n', s->out);
        gx_indexctl_table_ticket(s->out, &ticket);
    }
    return status;
}

static enum gx_status print_tickets(struct gx_indexctl_session *s, struct gx_indexctl_table *table,
                                    const struct gx_client_tickets *list, uint64_t *left)
{
    enum gx_status status = GX_OK;
    for (size_t i = 0; status == GX_OK && i<list->n_tickets && * left> 0; i++, (*left)--) {
        if (s->args->json)
            status = gx_indexctl_json_ticket(s->out, &list->tickets[i]);
        else
            gx_indexctl_table_ticket_row(table, &list->tickets[i]);
    }
    enum gx_status flushed = gx_indexctl_table_flush(table, s->out);
    return status != GX_OK ? status : flushed;
}

static enum gx_status run_list(struct gx_indexctl_session *s)
{
    const struct gx_indexctl_args *a = s->args;
    uint64_t left = a->limit.given ? (uint64_t)a->limit.value : UINT64_MAX;
    struct gx_indexctl_table table = {0};
    struct gx_client_tickets *list = NULL, *before = NULL;
    enum gx_status status = GX_OK;
    do {
        uint32_t page = left < GX_PAGE_MAX ? (uint32_t)left : GX_PAGE_MAX;
        status =
            gx_client_ticket_list(s->client, a->gallery, page, before != NULL ? before->next_page_token : NULL, &list);
        if (status != GX_OK) {
            (void)gx_indexctl_fail_client(status);
            break;
        }
        status = print_tickets(s, &table, list, &left);
        gx_client_tickets_free(before);
        before = list;
    } while (status == GX_OK && list->next_page_token[0] != '\0' && left > 0);
    gx_client_tickets_free(before);
    return status;
}

static enum gx_status run_watch(struct gx_indexctl_session *s)
{
    struct watcher w = {.session = s};
    return watch(&w, s->args->words.items[0]);
}

/* ---------------------------------------------------------------- table */

static const struct gx_indexctl_option expunge_options[] = {
    {"record", '\0', "ID", GX_INDEXCTL_LIST, AT(records), 0, 0, "remove this record (repeatable)"},
    {"arrest", '\0', "ID", GX_INDEXCTL_LIST, AT(arrests), 0, 0, "remove all records of this arrest (repeatable)"},
    {"subject", '\0', "ID", GX_INDEXCTL_LIST, AT(subjects), 0, 0, "remove all records of this subject (repeatable)"},
    {"from", '\0', "FILE", GX_INDEXCTL_TEXT, AT(from), 0, 0,
     "a list: CSV whose header names a column arrest, record or subject; '-' is the standard input"},
    {"kind", '\0', "KIND", GX_INDEXCTL_TEXT, AT(kind), 0, 0,
     "which column of --from counts, where there are several: record, arrest or subject"},
    {"order", '\0', "REF", GX_INDEXCTL_TEXT, AT(order), 0, 0,
     "the order under which this happens (required); no personal data"},
    {"expect", '\0', "N", GX_INDEXCTL_INTEGER, AT(expect), 0, 1e15, "refuse unless exactly N records would go"},
    {"dry-run", '\0', NULL, GX_INDEXCTL_FLAG, AT(dry_run), 0, 0, "count only, change nothing"},
    {"results", '\0', "FILE", GX_INDEXCTL_TEXT, AT(results), 0, 0,
     "with --from: what became of each line, as CSV (mode 0600); an existing file is replaced"},
    {"yes", 'y', NULL, GX_INDEXCTL_FLAG, AT(yes), 0, 0, "with --from: don't ask on a terminal"},
    {"skip-held", '\0', NULL, GX_INDEXCTL_FLAG, AT(skip_held), 0, 0,
     "with --from: leave out what is under a legal hold, which stops the list otherwise"},
    {"wait", 'w', NULL, GX_INDEXCTL_FLAG, AT(wait), 0, 0,
     "follow the ticket, or all tickets of the list, until VERIFIED"},
    {"request-id", '\0', "ID", GX_INDEXCTL_TEXT, AT(request_id), 0, 0,
     "the same id again gives the same answer (default: a new one; of a list: made of its content)"},
    {0},
};
static const struct gx_indexctl_option list_options[] = {
    {"gallery", '\0', "NAME", GX_INDEXCTL_TEXT, AT(gallery), 0, 0, "only tickets of this gallery"},
    {"limit", 'n', "N", GX_INDEXCTL_INTEGER, AT(limit), 1, 1e15, "at most N tickets (default: all)"},
    {0},
};

const struct gx_indexctl_command gx_indexctl_expunge_commands[] = {
    {"expunge", "NAME (--record ID… | --arrest ID… | --subject ID… | --from FILE) --order REF", 1, 1, run_expunge,
     expunge_options, 120, "remove records by order, for good",
     "When the command returns, the removal is on disk, no search will ever return the records again, and they\n"
     "cannot be enrolled again. Record and arrest ids that match nothing yet are barred all the same; a subject id\n"
     "does not bar later records of that person. The ticket tells what else was reached: ACCEPTED, ERASED, VERIFIED,\n"
     "or FAILED, which is an alarm.\n"
     "\n"
     "A list (--from) is counted first: how many photos of how many arrests would go, which lines match nothing, "
     "which\n"
     "are gone already, which are under a legal hold. Then a person at a terminal is asked, unless --yes is given; a\n"
     "script must say --expect N or --yes. More than 10,000 ids go in several orders, a ticket each. The same command\n"
     "again is safe at any time: what was carried out is not done twice, the rest is.",
     "  indexctl expunge arrests --arrest A00007-1 --order 2024-CR-1187 --expect 3\n"
     "  indexctl expunge arrests --from sealed.csv --order 2024-CR-1187 --dry-run --results check.csv\n"
     "  indexctl expunge arrests --from sealed.csv --order 2024-CR-1187 --expect 31 --results done.csv --wait"},
    {"ticket show", "ID…", 1, SIZE_MAX, run_show, NULL, 0, "what has been reached of an expungement", NULL,
     "  indexctl ticket show T-00000042\n"
     "  indexctl --json ticket show T-00000042 | jq -r .state"},
    {"ticket list", "[--gallery NAME] [--limit N]", 0, 0, run_list, list_options, 0, "expungements, newest first", NULL,
     "  indexctl ticket list --gallery arrests -n 20"},
    {"ticket watch", "ID", 1, 1, run_watch, NULL, 0, "follow an expungement to the last state that the server reaches",
     "Waits a day at most, or --deadline. The exit status is 7 when the ticket FAILED.",
     "  indexctl ticket watch T-00000042"},
    {0},
};
