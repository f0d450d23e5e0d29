/* gallery create, list, show, delete, build. */
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "indexctl_command.h"
#include "indexctl_progress.h"
#include "indexctl_table.h"

#define AT(member) offsetof(struct gx_indexctl_args, member)

static enum gx_status print_gallery(struct gx_indexctl_session *s, const struct gx_client_gallery *gallery)
{
    if (s->args->json)
        return gx_indexctl_json_gallery(s->out, gallery);
    gx_indexctl_table_gallery(s->out, gallery);
    return GX_OK;
}

/* ---------------------------------------------------------------- create, list, show */

static enum gx_status run_create(struct gx_indexctl_session *s)
{
    const struct gx_indexctl_args *a = s->args;
    if (!a->dim.given)
        return gx_indexctl_fail(GX_E_INVALID,
                                "--dim is missing: the dimension of the embeddings, for example --dim 512");
    if (a->embedder == NULL)
        return gx_indexctl_fail(GX_E_INVALID, "--embedder is missing: the network that makes the embeddings");
    struct gx_client_gallery gallery;
    enum gx_status status = gx_client_gallery_create(s->client, a->words.items[0], (uint32_t)a->dim.value, a->embedder,
                                                     a->embedder_version, a->engine, (float)a->effort.value, &gallery);
    return status == GX_OK ? print_gallery(s, &gallery) : gx_indexctl_fail_client(status);
}

static enum gx_status run_list(struct gx_indexctl_session *s)
{
    struct gx_client_gallery *list;
    size_t n;
    enum gx_status status = gx_client_gallery_list(s->client, &list, &n);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    if (!s->args->json && n == 0)
        (void)fputs("there are no galleries: make one with 'indexctl gallery create'\n", s->out);
    else if (!s->args->json)
        status = gx_indexctl_table_galleries(s->out, list, n);
    for (size_t i = 0; s->args->json && status == GX_OK && i < n; i++)
        status = gx_indexctl_json_gallery(s->out, &list[i]);
    free(list);
    return status;
}

static enum gx_status run_show(struct gx_indexctl_session *s)
{
    struct gx_client_gallery gallery;
    enum gx_status status = gx_client_gallery_get(s->client, s->args->words.items[0], &gallery);
    return status == GX_OK ? print_gallery(s, &gallery) : gx_indexctl_fail_client(status);
}

/* ---------------------------------------------------------------- delete */

/* People are asked; scripts know what they do. */
static enum gx_status confirm(struct gx_indexctl_session *s, const char *name)
{
    if (s->args->yes || s->args->expect.given || isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1)
        return GX_OK;
    struct gx_client_gallery gallery;
    enum gx_status status = gx_client_gallery_get(s->client, name, &gallery);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    char n[GX_INDEXCTL_TABLE_COUNT_MAX], line[GX_NAME_MAX + 3];
    (void)fprintf(stderr,
                  "This removes the gallery '%s' and its %s records for good. Type its name to go on: ", gallery.name,
                  gx_indexctl_table_count(gallery.records, n));
    (void)fflush(stderr);
    if (fgets(line, sizeof(line), stdin) == NULL)
        line[0] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    return strcmp(line, name) == 0 ? GX_OK : gx_indexctl_fail(GX_E_CANCELLED, "not removed");
}

static enum gx_status run_delete(struct gx_indexctl_session *s)
{
    const char *name = s->args->words.items[0];
    uint64_t records;
    enum gx_status status = confirm(s, name);
    if (status != GX_OK)
        return status;
    status = gx_client_gallery_delete(s->client, name, s->args->expect.given ? s->args->expect.value : -1, &records);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    if (s->args->json)
        return gx_indexctl_json_deleted(s->out, name, records);
    char n[GX_INDEXCTL_TABLE_PLURAL_MAX];
    (void)fprintf(s->out, "gallery '%s' removed, with %s\n", name, gx_indexctl_table_plural(records, "record", n));
    return GX_OK;
}

/* ---------------------------------------------------------------- build */

static int64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static enum gx_status wait_for_build(struct gx_indexctl_session *s, const char *name)
{
    const struct timespec pause = {.tv_nsec = 200000000};
    struct gx_client_gallery_stats stats;
    struct gx_indexctl_progress progress;
    int64_t until_us = now_us() + s->wait_us;
    gx_indexctl_progress_begin(&progress, "build", "rows", 0, s->args->quiet);
    enum gx_status status;
    for (;;) {
        status = gx_client_gallery_stats(s->client, name, &stats);
        if (status != GX_OK || !stats.build.running)
            break;
        gx_indexctl_progress_update(&progress, stats.build.rows_done, stats.build.rows_total);
        if (now_us() >= until_us) {
            gx_indexctl_progress_end(&progress);
            return gx_indexctl_fail(GX_E_DEADLINE, "the build of '%s' goes on: see 'indexctl stats %s'", name, name);
        }
        (void)nanosleep(&pause, NULL);
    }
    gx_indexctl_progress_end(&progress);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    if (stats.build.problem[0] != '\0')
        return gx_indexctl_fail(GX_E_INTERNAL, "the build of '%s' failed: %s", name, stats.build.problem);
    return GX_OK;
}

static enum gx_status run_build(struct gx_indexctl_session *s)
{
    const char *name = s->args->words.items[0];
    char engine[GX_ENGINE_MAX + 1];
    enum gx_status status = gx_client_gallery_build(s->client, name, s->args->engine, engine);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    if (s->args->wait) {
        status = wait_for_build(s, name);
        if (status != GX_OK)
            return status;
    }
    if (s->args->json)
        return gx_indexctl_json_built(s->out, name, engine);
    if (s->args->wait)
        (void)fprintf(s->out, "index of '%s' built: %s\n", name, engine);
    else
        (void)fprintf(s->out, "index of '%s' is being built: %s; see 'indexctl stats %s'\n", name, engine, name);
    return GX_OK;
}

/* ---------------------------------------------------------------- table */

static const struct gx_indexctl_option create_options[] = {
    {"dim", '\0', "N", GX_INDEXCTL_INTEGER, AT(dim), GX_DIM_MIN, GX_DIM_MAX,
     "the dimension of the embeddings (required)"},
    {"embedder", '\0', "ID", GX_INDEXCTL_TEXT, AT(embedder), 0, 0,
     "the network that makes the embeddings (required): others are refused"},
    {"embedder-version", '\0', "V", GX_INDEXCTL_TEXT, AT(embedder_version), 0, 0, "its version"},
    {"engine", '\0', "ENGINE", GX_INDEXCTL_TEXT, AT(engine), 0, 0, "auto (default), scan, hnsw, flat or faiss:FACTORY"},
    {"effort", '\0', "X", GX_INDEXCTL_REAL, AT(effort), 0, 1, "default effort of searches, 0 to 1 (default 0.5)"},
    {0},
};
static const struct gx_indexctl_option delete_options[] = {
    {"expect", '\0', "N", GX_INDEXCTL_INTEGER, AT(expect), 0, 1e15, "remove it only if it holds exactly N records"},
    {"yes", 'y', NULL, GX_INDEXCTL_FLAG, AT(yes), 0, 0, "don't ask on a terminal"},
    {0},
};
static const struct gx_indexctl_option build_options[] = {
    {"engine", '\0', "ENGINE", GX_INDEXCTL_TEXT, AT(engine), 0, 0, "the engine (default: the gallery's own, anew)"},
    {"wait", 'w', NULL, GX_INDEXCTL_FLAG, AT(wait), 0, 0, "until it is built and in use"},
    {0},
};

const struct gx_indexctl_command gx_indexctl_gallery_commands[] = {
    {"gallery create", "NAME --dim N --embedder ID [--embedder-version V] [--engine ENGINE] [--effort X]", 1, 1,
     run_create, create_options, 0, "make a gallery",
     "The same command again changes nothing; the name with other properties is refused.\n"
     "Engines: 'auto' is 'scan' (the compact codes of all rows), in a large gallery 'hnsw' (a graph of them); 'flat'\n"
     "compares with every row; 'faiss:FACTORY' is an index of FAISS, for example faiss:IVF1024,SQ8. Scores are exact.",
     "  indexctl gallery create arrests --dim 512 --embedder edgeface-xs --embedder-version 2024-03\n"
     "  indexctl gallery create big --dim 512 --embedder edgeface-xs --engine faiss:IVF4096,SQ8"},
    {"gallery list", "", 0, 0, run_list, NULL, 0, "all galleries", NULL,
     "  indexctl gallery list\n"
     "  indexctl --json gallery list | jq -r .name"},
    {"gallery show", "NAME", 1, 1, run_show, NULL, 0, "the properties of a gallery", NULL,
     "  indexctl gallery show arrests"},
    {"gallery delete", "NAME [--expect N] [--yes]", 1, 1, run_delete, delete_options, 300,
     "remove a gallery with all its records",
     "On a terminal the name has to be typed once more, unless --yes or --expect is given.\n"
     "Ids that were expunged stay refused in a gallery of the same name.",
     "  indexctl gallery delete trial\n"
     "  indexctl gallery delete trial --expect 1000"},
    {"gallery build", "NAME [--engine ENGINE] [--wait]", 1, 1, run_build, build_options, 0,
     "build a gallery's index anew, aside",
     "Searches go on meanwhile; the new index takes over when it has caught up. Without --wait the command\n"
     "returns when the work is queued; 'indexctl stats NAME' shows how far it is.",
     "  indexctl gallery build arrests --engine hnsw --wait"},
    {0},
};
