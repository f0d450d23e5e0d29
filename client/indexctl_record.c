/* record get, list. */
#include <stdlib.h>
#include <string.h>

#include "indexctl_command.h"
#include "indexctl_json.h"
#include "indexctl_table.h"

#define AT(member) offsetof(struct gx_indexctl_args, member)

static enum gx_status print_records(struct gx_indexctl_session *s, struct gx_indexctl_table *table,
                                    const struct gx_client_records *list, size_t max)
{
    enum gx_status status = GX_OK;
    for (size_t i = 0; status == GX_OK && i < list->n_records && i < max; i++) {
        if (s->args->json)
            status = gx_indexctl_json_record(s->out, &list->records[i]);
        else
            gx_indexctl_table_record(table, &list->records[i]);
    }
    enum gx_status flushed = gx_indexctl_table_flush(table, s->out);
    return status != GX_OK ? status : flushed;
}

/* Fetches and prints up to a page of records by id. */
static enum gx_status get_page(struct gx_indexctl_session *s, struct gx_indexctl_table *table, const char *const *ids,
                               size_t n_ids, size_t *out_found)
{
    struct gx_client_records *list;
    *out_found = 0;
    enum gx_status status =
        gx_client_record_get(s->client, s->args->words.items[0], ids, n_ids, s->args->embedding, &list);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    *out_found = list->n_records;
    status = print_records(s, table, list, SIZE_MAX);
    gx_client_records_free(list);
    return status;
}

static enum gx_status run_get(struct gx_indexctl_session *s)
{
    const struct gx_indexctl_list *words = &s->args->words;
    struct gx_indexctl_table table = {0};
    size_t n_found = 0, found, n_ids = words->n - 1;
    enum gx_status status = GX_OK;
    if (s->args->embedding && !s->args->json)
        return gx_indexctl_fail(GX_E_INVALID, "--embedding wants --json: a table has no room for embeddings");
    for (size_t i = 0; status == GX_OK && i < n_ids; i += GX_PAGE_MAX) {
        size_t n = n_ids - i < GX_PAGE_MAX ? n_ids - i : GX_PAGE_MAX;
        status = get_page(s, &table, &words->items[1 + i], n, &found);
        n_found += found;
    }
    if (status == GX_OK && n_found < n_ids)
        return gx_indexctl_fail(GX_E_NOT_FOUND, "%zu of %zu records are not enrolled", n_ids - n_found, n_ids);
    return status;
}

/* The records of a page once more, with their embeddings. One that was removed in between is left out. */
static enum gx_status print_with_embeddings(struct gx_indexctl_session *s, const struct gx_client_records *list,
                                            size_t n)
{
    const char *ids[GX_PAGE_MAX];
    struct gx_indexctl_table none = {0};
    size_t found;
    for (size_t i = 0; i < n; i++)
        ids[i] = list->records[i].record.record_id;
    return n > 0 ? get_page(s, &none, ids, n, &found) : GX_OK;
}

static enum gx_status list_page(struct gx_indexctl_session *s, struct gx_indexctl_table *table,
                                const struct gx_client_records *list, uint64_t left)
{
    size_t n = list->n_records < left ? list->n_records : (size_t)left;
    return s->args->embedding ? print_with_embeddings(s, list, n) : print_records(s, table, list, n);
}

static enum gx_status run_list(struct gx_indexctl_session *s)
{
    const struct gx_indexctl_args *a = s->args;
    if (a->arrests.n + a->subjects.n > 1)
        return gx_indexctl_fail(GX_E_INVALID, "one --arrest or one --subject is possible, not several");
    if (a->embedding && !a->json)
        return gx_indexctl_fail(GX_E_INVALID, "--embedding wants --json: a table has no room for embeddings");
    const char *arrest = a->arrests.n > 0 ? a->arrests.items[0] : NULL;
    const char *subject = a->subjects.n > 0 ? a->subjects.items[0] : NULL;
    uint64_t left = a->limit.given ? (uint64_t)a->limit.value : UINT64_MAX;
    struct gx_indexctl_table table = {0};
    struct gx_client_records *list = NULL, *before = NULL;
    enum gx_status status = GX_OK;
    do {
        uint32_t page = left < GX_PAGE_MAX ? (uint32_t)left : GX_PAGE_MAX;
        status = gx_client_record_list(s->client, a->words.items[0], arrest, subject, page,
                                       before != NULL ? before->next_page_token : NULL, &list);
        if (status != GX_OK) {
            (void)gx_indexctl_fail_client(status);
            break;
        }
        status = list_page(s, &table, list, left);
        left -= list->n_records < left ? list->n_records : left;
        gx_client_records_free(before);
        before = list;
    } while (status == GX_OK && list->next_page_token[0] != '\0' && left > 0);
    gx_client_records_free(before);
    return status;
}

/* ---------------------------------------------------------------- table */

static const struct gx_indexctl_option get_options[] = {
    {"embedding", 'e', NULL, GX_INDEXCTL_FLAG, AT(embedding), 0, 0,
     "with the stored (normalised) embedding; with --json"},
    {0},
};
static const struct gx_indexctl_option list_options[] = {
    {"arrest", '\0', "ID", GX_INDEXCTL_LIST, AT(arrests), 0, 0, "only records of this arrest"},
    {"subject", '\0', "ID", GX_INDEXCTL_LIST, AT(subjects), 0, 0, "only records of this subject"},
    {"limit", 'n', "N", GX_INDEXCTL_INTEGER, AT(limit), 1, 1e15, "at most N records (default: all)"},
    {"embedding", 'e', NULL, GX_INDEXCTL_FLAG, AT(embedding), 0, 0,
     "with the stored (normalised) embeddings; with --json"},
    {0},
};

const struct gx_indexctl_command gx_indexctl_record_commands[] = {
    {"record get", "NAME ID… [--embedding]", 2, SIZE_MAX, run_get, get_options, 0, "records by id",
     "The exit status is 2 when one of them is not enrolled; the others are printed.",
     "  indexctl record get arrests photo-00012 photo-00013\n"
     "  indexctl --json record get arrests photo-00012 --embedding"},
    {"record list", "NAME [--arrest ID | --subject ID] [--limit N] [--embedding]", 1, 1, run_list, list_options, 120,
     "records in the order of enrolment", "What --json --embedding prints can be imported again as .jsonl.",
     "  indexctl record list arrests --arrest A00007-1\n"
     "  indexctl --json record list arrests --embedding >arrests.jsonl"},
    {0},
};
