/* hold place, release, list. */
#include <stdlib.h>
#include <string.h>

#include "indexctl_command.h"
#include "indexctl_csv.h"
#include "indexctl_json.h"
#include "indexctl_lines.h"
#include "indexctl_table.h"

#define AT(member) offsetof(struct gx_indexctl_args, member)

/* What a command is about: ids of one kind, or (n = 0) whatever is under the reference. */
struct subject {
    enum gx_client_id_kind kind;
    const char **ids; /* [n] malloc'ed; the text is the arguments' or the file's */
    size_t n;
    struct gx_indexctl_csv csv;
};

static void subject_fini(struct subject *s)
{
    free(s->ids);
    gx_indexctl_csv_fini(&s->csv);
}

static enum gx_status take_subject(const struct gx_indexctl_args *a, struct subject *out)
{
    const struct gx_indexctl_list *list = a->records.n > 0 ? &a->records : &a->arrests;
    enum gx_status status = GX_OK;
    if ((a->records.n > 0) + (a->arrests.n > 0) + (a->from != NULL) > 1)
        return gx_indexctl_fail(GX_E_INVALID, "one of --record, --arrest and --from is possible");
    if (a->reference == NULL)
        return gx_indexctl_fail(GX_E_INVALID, "--ref is missing: the reference that the hold is known by");
    if (a->from != NULL)
        status = gx_indexctl_csv_read(a->from, a->kind, &out->csv);
    if (status != GX_OK)
        return status;
    out->kind = a->from != NULL ? out->csv.kind : a->records.n > 0 ? GX_CLIENT_RECORD : GX_CLIENT_ARREST;
    if (out->kind != GX_CLIENT_RECORD && out->kind != GX_CLIENT_ARREST)
        return gx_indexctl_fail(GX_E_INVALID, "%s names subjects: a hold is placed on records or arrests", a->from);
    out->n = a->from != NULL ? out->csv.n : list->n;
    out->ids = calloc(out->n + 1, sizeof(*out->ids));
    if (out->ids == NULL)
        return gx_indexctl_fail(GX_E_NOMEM, "out of memory");
    for (size_t i = 0; i < out->n; i++)
        out->ids[i] = a->from != NULL ? out->csv.rows[i].id : list->items[i];
    gx_indexctl_lines_unique(out->ids, &out->n);
    if (out->n > GX_EXPUNGE_IDS_MAX)
        return gx_indexctl_fail(GX_E_INVALID, "%zu ids under one reference, at most %d are possible: use several",
                                out->n, GX_EXPUNGE_IDS_MAX);
    return GX_OK;
}

/* "2 ids held, 1 held like this before: 3 records enrolled". */
static enum gx_status print_change(struct gx_indexctl_session *s, const char *what,
                                   const struct gx_client_hold_change *c)
{
    if (s->args->json)
        return gx_indexctl_json_hold_change(s->out, s->args->words.items[0], s->args->reference, c);
    char ids[GX_INDEXCTL_TABLE_PLURAL_MAX], records[GX_INDEXCTL_TABLE_PLURAL_MAX], same[GX_INDEXCTL_TABLE_COUNT_MAX];
    (void)fprintf(s->out, "%s %s", gx_indexctl_table_plural(c->ids, "id", ids), what);
    if (c->unchanged_ids > 0)
        (void)fprintf(s->out, ", %s held like this before", gx_indexctl_table_count(c->unchanged_ids, same));
    (void)fprintf(s->out, ": %s enrolled\n", gx_indexctl_table_plural(c->records, "record", records));
    return GX_OK;
}

static enum gx_status run_place(struct gx_indexctl_session *s)
{
    const struct gx_indexctl_args *a = s->args;
    struct subject subject = {0};
    struct gx_client_hold_change change;
    enum gx_status status = take_subject(a, &subject);
    if (status == GX_OK && subject.n == 0)
        status = gx_indexctl_fail(GX_E_INVALID, "say what is to be held by --record, --arrest or --from");
    if (status == GX_OK) {
        status = gx_client_hold_place(s->client, a->words.items[0], subject.kind, subject.ids, subject.n, a->reference,
                                      a->quarantine, a->request_id, &change);
        status = status == GX_OK ? print_change(s, a->quarantine ? "held in quarantine" : "held", &change)
                                 : gx_indexctl_fail_client(status);
    }
    subject_fini(&subject);
    return status;
}

/* Everything under the reference, of either kind. A kind of which nothing is held is no failure, unless it is both. */
static enum gx_status release_all(struct gx_indexctl_session *s, struct gx_client_hold_change *out)
{
    const struct gx_indexctl_args *a = s->args;
    enum gx_status found = GX_E_NOT_FOUND;
    for (int kind = GX_CLIENT_RECORD; kind <= GX_CLIENT_ARREST; kind++) {
        struct gx_client_hold_change change;
        enum gx_status status = gx_client_hold_release(s->client, a->words.items[0], (enum gx_client_id_kind)kind, NULL,
                                                       0, a->reference, NULL, &change);
        if (status == GX_E_NOT_FOUND && (found == GX_OK || kind == GX_CLIENT_RECORD))
            continue;
        if (status != GX_OK)
            return gx_indexctl_fail_client(status);
        found = GX_OK;
        out->ids += change.ids;
        out->records += change.records;
        out->epoch = change.epoch;
    }
    return GX_OK;
}

static enum gx_status run_release(struct gx_indexctl_session *s)
{
    const struct gx_indexctl_args *a = s->args;
    struct subject subject = {0};
    struct gx_client_hold_change change = {0};
    enum gx_status status = take_subject(a, &subject);
    if (status == GX_OK && subject.n == 0 && a->request_id != NULL)
        status = gx_indexctl_fail(GX_E_INVALID, "--request-id wants --record, --arrest or --from");
    if (status == GX_OK && subject.n == 0) {
        status = release_all(s, &change);
    } else if (status == GX_OK) {
        status = gx_client_hold_release(s->client, a->words.items[0], subject.kind, subject.ids, subject.n,
                                        a->reference, a->request_id, &change);
        if (status != GX_OK)
            status = gx_indexctl_fail_client(status);
    }
    if (status == GX_OK)
        status = print_change(s, "released", &change);
    subject_fini(&subject);
    return status;
}

/* ---------------------------------------------------------------- list */

static enum gx_status print_holds(struct gx_indexctl_session *s, struct gx_indexctl_table *table,
                                  const struct gx_client_holds *list, uint64_t *left)
{
    enum gx_status status = GX_OK;
    for (size_t i = 0; status == GX_OK && i<list->n_holds && * left> 0; i++) {
        (*left)--;
        if (s->args->json)
            status = gx_indexctl_json_hold(s->out, &list->holds[i]);
        else
            gx_indexctl_table_hold_row(table, &list->holds[i]);
    }
    enum gx_status flushed = gx_indexctl_table_flush(table, s->out);
    return status != GX_OK ? status : flushed;
}

static enum gx_status run_list(struct gx_indexctl_session *s)
{
    const struct gx_indexctl_args *a = s->args;
    if (a->records.n + a->arrests.n > 1)
        return gx_indexctl_fail(GX_E_INVALID, "one --record or one --arrest is possible, not several");
    enum gx_client_id_kind kind = a->records.n > 0 ? GX_CLIENT_RECORD : GX_CLIENT_ARREST;
    const char *id = a->records.n > 0 ? a->records.items[0] : a->arrests.n > 0 ? a->arrests.items[0] : NULL;
    uint64_t left = a->limit.given ? (uint64_t)a->limit.value : UINT64_MAX;
    struct gx_indexctl_table table = {0};
    struct gx_client_holds *list = NULL, *before = NULL;
    enum gx_status status = GX_OK;
    do {
        uint32_t page = left < GX_PAGE_MAX ? (uint32_t)left : GX_PAGE_MAX;
        status = gx_client_hold_list(s->client, a->words.items[0], a->reference, kind, id, page,
                                     before != NULL ? before->next_page_token : NULL, &list);
        if (status != GX_OK) {
            (void)gx_indexctl_fail_client(status);
            break;
        }
        status = print_holds(s, &table, list, &left);
        gx_client_holds_free(before);
        before = list;
    } while (status == GX_OK && list->next_page_token[0] != '\0' && left > 0);
    gx_client_holds_free(before);
    return status;
}

/* ---------------------------------------------------------------- table */

#define SUBJECT_OPTIONS                                                                                                  \
    {"record", '\0', "ID", GX_INDEXCTL_LIST, AT(records), 0, 0, "this record (repeatable)"},                             \
        {"arrest", '\0', "ID", GX_INDEXCTL_LIST, AT(arrests), 0, 0, "all records of this arrest (repeatable)"},          \
        {"from",   '\0', "FILE", GX_INDEXCTL_TEXT,                                                                       \
         AT(from), 0,    0,      "a list: CSV whose header names a column arrest or record; '-' is the standard input"}, \
        {"kind",   '\0', "KIND", GX_INDEXCTL_TEXT,                                                                       \
         AT(kind), 0,    0,      "which column of --from counts, where there are both: record or arrest"},               \
        {"ref", '\0', "REF", GX_INDEXCTL_TEXT, AT(reference), 0, 0, "what the hold is known by; no personal data"},      \
    {                                                                                                                    \
        "request-id", '\0', "ID", GX_INDEXCTL_TEXT, AT(request_id), 0, 0,                                                \
            "the same id again gives the same answer (default: a new one)"                                               \
    }

static const struct gx_indexctl_option place_options[] = {
    SUBJECT_OPTIONS,
    {"quarantine", '\0', NULL, GX_INDEXCTL_FLAG, AT(quarantine), 0, 0, "keep it out of every search as well"},
    {0},
};
static const struct gx_indexctl_option release_options[] = {
    SUBJECT_OPTIONS,
    {0},
};
static const struct gx_indexctl_option list_options[] = {
    {"ref", '\0', "REF", GX_INDEXCTL_TEXT, AT(reference), 0, 0, "only what is held under this reference"},
    {"record", '\0', "ID", GX_INDEXCTL_LIST, AT(records), 0, 0, "only holds on this record"},
    {"arrest", '\0', "ID", GX_INDEXCTL_LIST, AT(arrests), 0, 0, "only holds on this arrest"},
    {"limit", 'n', "N", GX_INDEXCTL_INTEGER, AT(limit), 1, 1e15, "at most N (default: all)"},
    {0},
};

const struct gx_indexctl_command gx_indexctl_hold_commands[] = {
    {"hold place", "NAME (--record ID… | --arrest ID… | --from FILE) --ref REF [--quarantine]", 1, 1, run_place,
     place_options, 120, "put records or arrests under a legal hold",
     "What is held cannot be expunged, whatever the order names, until it is released: such an order is refused with\n"
     "exit status 22 and the reference. Ids that are not enrolled yet can be held. With --quarantine the records are\n"
     "out of every search as well, at once; their bytes are kept. The same command again changes nothing.",
     "  indexctl hold place arrests --arrest A00007-1 --ref CIV-2026-12\n"
     "  indexctl hold place arrests --record photo-00012 --ref REVIEW-3 --quarantine"},
    {"hold release", "NAME [--record ID… | --arrest ID… | --from FILE] --ref REF", 1, 1, run_release, release_options,
     120, "end a legal hold",
     "Of the ids given, or of all that is held under the reference. What another hold covers stays held. Records come\n"
     "back into searches when no hold keeps them out any more.",
     "  indexctl hold release arrests --ref CIV-2026-12\n"
     "  indexctl hold release arrests --record photo-00012 --ref REVIEW-3"},
    {"hold list", "NAME [--ref REF] [--record ID | --arrest ID] [--limit N]", 1, 1, run_list, list_options, 120,
     "what is under a legal hold, oldest first",
     "The server keeps no ids of held records, only keyed hashes: an id is shown while something of it is enrolled.\n"
     "--record and --arrest tell whether an id is held itself; a record is also held by its arrest.",
     "  indexctl hold list arrests\n"
     "  indexctl hold list arrests --arrest A00007-1"},
    {0},
};
