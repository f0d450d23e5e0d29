/* measure, stats, health. */
#include <stdlib.h>
#include <string.h>

#include "indexctl_command.h"
#include "indexctl_json.h"
#include "indexctl_table.h"

#define AT(member) offsetof(struct gx_indexctl_args, member)

static enum gx_status run_measure(struct gx_indexctl_session *s)
{
    const struct gx_indexctl_args *a = s->args;
    struct gx_client_tuning tuning = gx_indexctl_command_tuning(a);
    struct gx_client_recall recall;
    enum gx_status status = gx_client_gallery_measure(s->client, a->words.items[0], (uint32_t)a->probes.value, &tuning,
                                                      (uint64_t)a->seed.value, &recall);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    if (a->json)
        return gx_indexctl_json_recall(s->out, a->words.items[0], &recall);
    gx_indexctl_table_recall(s->out, a->words.items[0], &recall);
    return GX_OK;
}

/* ---------------------------------------------------------------- stats */

static enum gx_status stats_of(struct gx_indexctl_session *s, const char *name, bool first)
{
    struct gx_client_gallery_stats stats;
    enum gx_status status = gx_client_gallery_stats(s->client, name, &stats);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    if (s->args->json)
        return gx_indexctl_json_stats(s->out, &stats);
    if (!first)
        (void)fputc('\n', s->out);
    gx_indexctl_table_stats(s->out, &stats);
    return GX_OK;
}

static enum gx_status run_stats(struct gx_indexctl_session *s)
{
    if (s->args->words.n == 1)
        return stats_of(s, s->args->words.items[0], true);
    struct gx_client_gallery *list;
    size_t n;
    enum gx_status status = gx_client_gallery_list(s->client, &list, &n);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    if (n == 0 && !s->args->json)
        (void)fputs("there are no galleries\n", s->out);
    for (size_t i = 0; status == GX_OK && i < n; i++)
        status = stats_of(s, list[i].name, i == 0);
    free(list);
    return status;
}

/* ---------------------------------------------------------------- health */

static enum gx_status run_health(struct gx_indexctl_session *s)
{
    const char *name = s->args->words.n == 1 ? s->args->words.items[0] : NULL;
    char service[sizeof("gallery/") + GX_NAME_MAX + 1] = "";
    if (name != NULL && strlen(name) > GX_NAME_MAX)
        return gx_indexctl_fail(GX_E_INVALID, "the name of a gallery has at most %d bytes", GX_NAME_MAX);
    if (name != NULL)
        (void)snprintf(service, sizeof(service), "gallery/%s", name);
    int state;
    enum gx_status status = gx_client_health(s->client, service, &state);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    if (s->args->json)
        status = gx_indexctl_json_health(s->out, service, state);
    else
        (void)fprintf(s->out, "%s\n", gx_indexctl_json_serving(state));
    if (status != GX_OK || state == 1)
        return status;
    if (state == 0 && name != NULL)
        return gx_indexctl_fail(GX_E_NOT_FOUND, "there is no gallery '%s'", name);
    return gx_indexctl_fail(GX_E_UNAVAILABLE, "%s does not serve: it is loading or stopping",
                            name != NULL ? "the gallery" : "the server");
}

/* ---------------------------------------------------------------- table */

static const struct gx_indexctl_option measure_options[] = {
    {"probes", '\0', "N", GX_INDEXCTL_INTEGER, AT(probes), 1, 1000, "how many (default 100)"},
    {"seed", '\0', "N", GX_INDEXCTL_INTEGER, AT(seed), 1, 1e15,
     "of the sample (default 1): the same gives the same probes"},
    GX_INDEXCTL_TUNING_OPTIONS,
    {0},
};

const struct gx_indexctl_command gx_indexctl_stats_commands[] = {
    {"measure", "NAME [--probes N] [--effort X | --nprobe N | --ef-search N] [--candidates N] [--seed N]", 1, 1,
     run_measure, measure_options, 600, "measure a gallery's recall against exact search",
     "Draws probes from the gallery itself, searches each without its own record by the engine and exactly,\n"
     "and compares. recall@k is the share of the exact k best that the engine found.",
     "  indexctl measure arrests\n"
     "  indexctl measure arrests --effort 0.9 --probes 1000"},
    {"stats", "[NAME]", 0, 1, run_stats, NULL, 0, "records, index, memory and builds of one or all galleries", NULL,
     "  indexctl stats\n"
     "  indexctl stats arrests --json"},
    {"health", "[NAME]", 0, 1, run_health, NULL, 10, "whether the server, or a gallery, serves",
     "The exit status is 0 when it does, 15 when not, 2 when there is no such gallery.",
     "  indexctl health && echo up\n"
     "  indexctl health arrests"},
    {0},
};
