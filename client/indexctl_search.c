/* search: the probes of a file, one answer each. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "indexctl_command.h"
#include "indexctl_json.h"
#include "indexctl_source.h"
#include "indexctl_table.h"

#define AT(member) offsetof(struct gx_indexctl_args, member)
#define K_DEFAULT  50

struct search {
    struct gx_indexctl_session *session;
    char *file; /* owned */
    bool one;   /* FILE:ROW */
    uint64_t row;
    struct gx_client_gallery gallery;
    const char *embedder_id, *embedder_version;
    struct gx_indexctl_source *source;
    struct gx_indexctl_batch batch;
    struct gx_client_search options;
    char **attributes; /* owned "key\0value" */
    const char **keys, **values;
    char notice[1024];
};

/* ---------------------------------------------------------------- preparation */

static enum gx_status take_attributes(struct search *s)
{
    const struct gx_indexctl_list *list = &s->session->args->attributes;
    if (list->n == 0)
        return GX_OK;
    s->attributes = calloc(list->n, sizeof(*s->attributes));
    s->keys = calloc(list->n, sizeof(*s->keys));
    s->values = calloc(list->n, sizeof(*s->values));
    if (s->attributes == NULL || s->keys == NULL || s->values == NULL)
        return gx_indexctl_fail(GX_E_NOMEM, "out of memory");
    for (size_t i = 0; i < list->n; i++) {
        char *equals = NULL;
        s->attributes[i] = strdup(list->items[i]);
        if (s->attributes[i] != NULL)
            equals = strchr(s->attributes[i], '=');
        if (equals == NULL || equals == s->attributes[i])
            return gx_indexctl_fail(GX_E_INVALID, "--attribute wants KEY=VALUE, not '%s'", list->items[i]);
        *equals = '\0';
        s->keys[i] = s->attributes[i];
        s->values[i] = equals + 1;
    }
    s->options.attribute_keys = s->keys;
    s->options.attribute_values = s->values;
    s->options.n_attributes = list->n;
    return GX_OK;
}

static enum gx_status take_options(struct search *s)
{
    const struct gx_indexctl_args *a = s->session->args;
    s->options = (struct gx_client_search){.k = (uint32_t)a->k.value,
                                           .has_min_cosine = a->min_cosine.given,
                                           .min_cosine = (float)a->min_cosine.value,
                                           .exact = a->exact,
                                           .group_by_subject = a->by_subject,
                                           .tuning = gx_indexctl_command_tuning(a),
                                           .captured_from_us = a->captured_from_us.value,
                                           .captured_until_us = a->captured_until_us.value,
                                           .subject_ids = a->subjects.items,
                                           .n_subject_ids = a->subjects.n,
                                           .read_after_epoch = (uint64_t)a->after_epoch.value};
    return take_attributes(s);
}

static enum gx_status prepare(struct search *s)
{
    const struct gx_indexctl_args *a = s->session->args;
    if (a->probe == NULL)
        return gx_indexctl_fail(GX_E_INVALID, "--probe is missing: a file of embeddings, or FILE:ROW");
    enum gx_status status = gx_indexctl_source_split(a->probe, &s->file, &s->one, &s->row);
    if (status == GX_OK)
        status = take_options(s);
    if (status == GX_OK)
        status = gx_indexctl_source_open(s->file, a->format, &s->source);
    if (status != GX_OK)
        return status;
    status = gx_client_gallery_get(s->session->client, a->words.items[0], &s->gallery);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    uint32_t dim = gx_indexctl_source_dim(s->source);
    if (dim != s->gallery.dim)
        return gx_indexctl_fail(GX_E_INVALID,
                                "%s has rows of dimension %u, the gallery '%s' of %u: is it another embedder?", s->file,
                                dim, s->gallery.name, s->gallery.dim);
    s->embedder_id = a->embedder != NULL ? a->embedder : s->gallery.embedder_id;
    s->embedder_version = a->embedder != NULL ? a->embedder_version : s->gallery.embedder_version;
    return s->one ? gx_indexctl_source_skip(s->source, s->row) : GX_OK;
}

/* ---------------------------------------------------------------- search */

static enum gx_status print_answers(struct search *s, const struct gx_client_result *result)
{
    FILE *out = s->session->out;
    enum gx_status status = GX_OK;
    for (size_t i = 0; status == GX_OK && i < result->n_answers; i++) {
        uint64_t probe = s->batch.first + i;
        if (s->session->args->json) {
            status = gx_indexctl_json_answer(out, probe, &result->answers[i], result->notice);
        } else {
            if (i > 0 || s->notice[0] != '\0')
                (void)fputc('\n', out);
            status = gx_indexctl_table_answer(out, probe, &result->answers[i]);
        }
        (void)snprintf(s->notice, sizeof(s->notice), "%s", result->notice);
    }
    return status;
}

static enum gx_status search_batch(struct search *s)
{
    struct gx_client_result *result;
    enum gx_status status = gx_client_search(s->session->client, s->gallery.name, s->embedder_id, s->embedder_version,
                                             s->batch.rows, s->batch.n, s->batch.dim, &s->options, &result);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    status = print_answers(s, result);
    gx_client_result_free(result);
    return status;
}

static enum gx_status search_all(struct search *s)
{
    uint32_t k = s->options.k != 0 ? s->options.k : K_DEFAULT;
    size_t max = GX_BATCH_RESULTS_MAX / k < GX_BATCH_PROBES_MAX ? GX_BATCH_RESULTS_MAX / k : GX_BATCH_PROBES_MAX;
    for (;;) {
        enum gx_status status = gx_indexctl_source_read(s->source, s->one ? 1 : max, &s->batch);
        if (status != GX_OK)
            return status;
        if (s->batch.n == 0 && s->one)
            return gx_indexctl_fail(GX_E_INVALID, "%s has no row %" PRIu64 " (from 0)", s->file, s->row);
        if (s->batch.n > 0)
            status = search_batch(s);
        if (status != GX_OK || s->batch.n == 0 || s->one)
            return status;
    }
}

static enum gx_status run_search(struct gx_indexctl_session *session)
{
    struct search s = {.session = session};
    enum gx_status status = prepare(&s);
    if (status == GX_OK)
        status = search_all(&s);
    if (status == GX_OK && !session->args->json && s.notice[0] != '\0')
        (void)fprintf(session->out, "\n%s\n", s.notice);
    for (size_t i = 0; s.attributes != NULL && i < session->args->attributes.n; i++)
        free(s.attributes[i]);
    free(s.attributes);
    free(s.keys);
    free(s.values);
    gx_indexctl_source_batch_fini(&s.batch);
    gx_indexctl_source_close(s.source);
    free(s.file);
    return status;
}

/* ---------------------------------------------------------------- table */

static const struct gx_indexctl_option search_options[] = {
    {"probe", 'p', "FILE[:ROW]", GX_INDEXCTL_TEXT, AT(probe), 0, 0,
     "embeddings to search for: one row (from 0), or all of the file (required)"},
    {"format", '\0', "FORMAT", GX_INDEXCTL_TEXT, AT(format), 0, 0, "fvecs, npy or jsonl (default: by the file's name)"},
    {"k", 'k', "N", GX_INDEXCTL_INTEGER, AT(k), 1, GX_K_MAX, "candidates per probe (default 50)"},
    {"exact", 'x', NULL, GX_INDEXCTL_FLAG, AT(exact), 0, 0, "the provably best k, whatever the engine"},
    GX_INDEXCTL_TUNING_OPTIONS,
    {"min-cosine", '\0', "X", GX_INDEXCTL_REAL, AT(min_cosine), -1, 1, "leave out candidates below, -1 to 1"},
    {"by-subject", '\0', NULL, GX_INDEXCTL_FLAG, AT(by_subject), 0, 0, "the best photo of each of the best k subjects"},
    {"subject", '\0', "ID", GX_INDEXCTL_LIST, AT(subjects), 0, 0,
     "only photos of this subject (repeatable: of any of them)"},
    {"captured-from", '\0', "TIME", GX_INDEXCTL_TIME, AT(captured_from_us), 0, 0, "only photos taken then or later"},
    {"captured-until", '\0', "TIME", GX_INDEXCTL_TIME, AT(captured_until_us), 0, 0, "only photos taken before"},
    {"attribute", '\0', "KEY=VALUE", GX_INDEXCTL_LIST, AT(attributes), 0, 0,
     "only photos with it (repeatable: with all)"},
    {"after-epoch", '\0', "N", GX_INDEXCTL_INTEGER, AT(after_epoch), 1, 9e15,
     "the search must see this epoch (of an import or expungement)"},
    {"embedder", '\0', "ID", GX_INDEXCTL_TEXT, AT(embedder), 0, 0, "what made the probes (default: the gallery's)"},
    {"embedder-version", '\0', "V", GX_INDEXCTL_TEXT, AT(embedder_version), 0, 0, "its version"},
    {0},
};

const struct gx_indexctl_command gx_indexctl_search_commands[] = {
    {"search", "NAME --probe FILE[:ROW] [-k N] [--exact | --effort X] [--min-cosine X] [--by-subject]", 1, 1,
     run_search, search_options, 120, "find the enrolled photos closest to a probe",
     "FILE is .fvecs, .npy or .jsonl; '-' is the standard input, with --format. Cosines are exact, -1 to 1; which\n"
     "photos are considered is approximate, unless --exact is given or the engine looks at all of them.\n"
     "Times are UTC: 2024-03-01 or 2024-03-01T12:30:00Z.",
     "  indexctl search arrests --probe probes.npy:12 -k 10\n"
     "  indexctl search arrests --probe probe.jsonl --exact --min-cosine 0.3\n"
     "  indexctl --json search arrests --probe probes.fvecs | jq -r '[.probe, .candidates[0].record_id] | @tsv'"},
    {0},
};
