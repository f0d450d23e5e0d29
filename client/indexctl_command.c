#include "indexctl_command.h"

#include <string.h>

static const struct gx_indexctl_command *const tables[] = {
    gx_indexctl_gallery_commands,     gx_indexctl_import_commands,  gx_indexctl_search_commands,
    gx_indexctl_record_commands,      gx_indexctl_expunge_commands, gx_indexctl_absent_commands,
    gx_indexctl_certificate_commands, gx_indexctl_hold_commands,    gx_indexctl_backup_commands,
    gx_indexctl_stats_commands,
};

#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

/* ---------------------------------------------------------------- finding */

/* How many of argv are the words "a b", 0: others. */
static int match(const char *words, int argc, char **argv)
{
    int n = 0;
    while (*words != '\0') {
        size_t len = strcspn(words, " ");
        if (n >= argc || strlen(argv[n]) != len || memcmp(argv[n], words, len) != 0)
            return 0;
        n++;
        words += len + (words[len] == ' ');
    }
    return n;
}

/* The second words of the commands that begin with @first, in a list; "" = there are none. */
static void list_group(const char *first, char *out, size_t cap)
{
    size_t len = strlen(first), used = 0;
    out[0] = '\0';
    for (size_t t = 0; t < N_TABLES; t++)
        for (const struct gx_indexctl_command *c = tables[t]; c->words != NULL; c++)
            if (strncmp(c->words, first, len) == 0 && c->words[len] == ' ' && used < cap)
                used += (size_t)snprintf(out + used, cap - used, "%s%s", used > 0 ? ", " : "", c->words + len + 1);
}

const struct gx_indexctl_command *gx_indexctl_command_find(int argc, char **argv, int *out_words)
{
    for (size_t t = 0; t < N_TABLES; t++)
        for (const struct gx_indexctl_command *c = tables[t]; c->words != NULL; c++) {
            *out_words = match(c->words, argc, argv);
            if (*out_words > 0)
                return c;
        }
    char group[256];
    list_group(argv[0], group, sizeof(group));
    if (group[0] != '\0' && argc > 1)
        (void)gx_indexctl_fail(GX_E_INVALID, "'%s' cannot '%s': it can %s", argv[0], argv[1], group);
    else if (group[0] != '\0')
        (void)gx_indexctl_fail(GX_E_INVALID, "'%s' wants to know what: %s", argv[0], group);
    else
        (void)gx_indexctl_fail(GX_E_INVALID, "there is no command '%s': see 'indexctl --help'", argv[0]);
    return NULL;
}

/* ---------------------------------------------------------------- help */

void gx_indexctl_command_overview(FILE *out)
{
    (void)fputs("usage: indexctl [--server HOST:PORT] [--json] COMMAND …\n"
                "\n"
                "Speaks to an indexd server: a gallery of face embeddings that answers which enrolled photos are\n"
                "closest to a probe. Answers are leads for trained human examiners, never identifications.\n"
                "\n"
                "commands:\n",
                out);
    for (size_t t = 0; t < N_TABLES; t++)
        for (const struct gx_indexctl_command *c = tables[t]; c->words != NULL; c++)
            (void)fprintf(out, "  %-18s %s\n", c->words, c->summary);
    (void)fputs(
        "\n"
        "'indexctl COMMAND --help' tells more, with examples. The exit status is 0, or the number of the status\n"
        "(1 invalid, 2 not found, 3 exists, 4 embedder, 5 expunged, 6 count, 8 busy, 11 deadline, 15 unavailable, "
        "22 held, …).\n",
        out);
}

static void print_options(FILE *out, const struct gx_indexctl_option *options)
{
    for (const struct gx_indexctl_option *o = options; o != NULL && o->name != NULL; o++) {
        char form[64];
        const char *value = o->value != NULL ? o->value : "";
        const char *space = o->value != NULL ? " " : "";
        if (o->letter != '\0' && o->name[1] == '\0')
            (void)snprintf(form, sizeof(form), "-%c%s%s", o->letter, space, value);
        else if (o->letter != '\0')
            (void)snprintf(form, sizeof(form), "-%c, --%s%s%s", o->letter, o->name, space, value);
        else
            (void)snprintf(form, sizeof(form), "    --%s%s%s", o->name, space, value);
        (void)fprintf(out, "  %-26s %s\n", form, o->help);
    }
}

void gx_indexctl_command_help(FILE *out, const struct gx_indexctl_command *command)
{
    const char *usage = command->usage;
    (void)fprintf(out, "usage: indexctl %s%s%s\n\n%s.\n", command->words, usage[0] != '\0' ? " " : "", usage,
                  command->summary);
    if (command->about != NULL)
        (void)fprintf(out, "\n%s\n", command->about);
    if (command->options != NULL) {
        (void)fputs("\noptions:\n", out);
        print_options(out, command->options);
    }
    (void)fputs("\noptions of every command:\n", out);
    print_options(out, gx_indexctl_args_common);
    (void)fprintf(out, "\nexamples:\n%s\n", command->examples);
}

struct gx_client_tuning gx_indexctl_command_tuning(const struct gx_indexctl_args *args)
{
    return (struct gx_client_tuning){.has_effort = args->effort.given,
                                     .effort = (float)args->effort.value,
                                     .nprobe = (uint32_t)args->nprobe.value,
                                     .ef_search = (uint32_t)args->ef_search.value,
                                     .candidates = (uint32_t)args->candidates.value};
}
