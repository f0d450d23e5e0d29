#include "indexctl_args.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "indexctl_time.h"

#define AT(member) offsetof(struct gx_indexctl_args, member)

const struct gx_indexctl_option gx_indexctl_args_common[] = {
    {"server", 's', "HOST:PORT", GX_INDEXCTL_TEXT, AT(server), 0, 0,
     "the server (default $INDEXD_SERVER, else 127.0.0.1:7600); unix:/path is possible"},
    {"deadline", '\0', "SECONDS", GX_INDEXCTL_REAL, AT(deadline_s), 0.001, 604800,
     "how long a call may take, retries included; --wait and watch: how long to wait in all"},
    {"json", 'j', NULL, GX_INDEXCTL_FLAG, AT(json), 0, 0, "one JSON object per line on the standard output"},
    {"quiet", 'q', NULL, GX_INDEXCTL_FLAG, AT(quiet), 0, 0, "no progress bar"},
    {"help", 'h', NULL, GX_INDEXCTL_FLAG, AT(help), 0, 0, "what the command does, its options and examples"},
    {"version", 'V', NULL, GX_INDEXCTL_FLAG, AT(version), 0, 0, "the version of indexctl"},
    {0},
};

/* ---------------------------------------------------------------- values */

bool gx_indexctl_args_integer(const char *text, int64_t min, int64_t max, int64_t *out)
{
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || text[0] == ' ' || text[0] == '+' || value < min || value > max)
        return false;
    *out = value;
    return true;
}

static enum gx_status append(struct gx_indexctl_list *list, const char *item)
{
    if ((list->n & (list->n - 1)) == 0) { /* full: room for twice as many */
        const char **items = realloc(list->items, (list->n > 0 ? 2 * list->n : 1) * sizeof(*items));
        if (items == NULL)
            return gx_indexctl_fail(GX_E_NOMEM, "out of memory");
        list->items = items;
    }
    list->items[list->n++] = item;
    return GX_OK;
}

static enum gx_status bad_value(const struct gx_indexctl_option *o, const char *value)
{
    switch (o->type) {
    case GX_INDEXCTL_INTEGER:
        return gx_indexctl_fail(GX_E_INVALID, "--%s wants a whole number from %.0f to %.0f, not '%s'", o->name, o->min,
                                o->max, value);
    case GX_INDEXCTL_REAL:
        return gx_indexctl_fail(GX_E_INVALID, "--%s wants a number from %g to %g, not '%s'", o->name, o->min, o->max,
                                value);
    case GX_INDEXCTL_TIME:
        return gx_indexctl_fail(GX_E_INVALID, "--%s wants a time like 2024-03-01 or 2024-03-01T12:30:00Z, not '%s'",
                                o->name, value);
    case GX_INDEXCTL_FLAG: return gx_indexctl_fail(GX_E_INVALID, "--%s takes no value: leave '%s' out", o->name, value);
    case GX_INDEXCTL_TEXT:
    case GX_INDEXCTL_LIST: break;
    }
    return gx_indexctl_fail(GX_E_INVALID, "--%s wants %s, not an empty text", o->name, o->value);
}

static enum gx_status set_value(const struct gx_indexctl_option *o, const char *value, struct gx_indexctl_args *args)
{
    void *at = (char *)args + o->offset;
    struct gx_indexctl_integer *integer = at;
    struct gx_indexctl_real *real = at;
    char *end;
    switch (o->type) {
    case GX_INDEXCTL_FLAG: *(bool *)at = true; return GX_OK;
    case GX_INDEXCTL_TEXT: *(const char **)at = value; return value[0] != '\0' ? GX_OK : bad_value(o, value);
    case GX_INDEXCTL_LIST: return value[0] != '\0' ? append(at, value) : bad_value(o, value);
    case GX_INDEXCTL_INTEGER:
        integer->given = gx_indexctl_args_integer(value, (int64_t)o->min, (int64_t)o->max, &integer->value);
        return integer->given ? GX_OK : bad_value(o, value);
    case GX_INDEXCTL_TIME:
        integer->given = gx_indexctl_time_parse(value, &integer->value);
        return integer->given ? GX_OK : bad_value(o, value);
    case GX_INDEXCTL_REAL:
        real->value = strtod(value, &end);
        real->given =
            end != value && *end == '\0' && isfinite(real->value) && real->value >= o->min && real->value <= o->max;
        return real->given ? GX_OK : bad_value(o, value);
    }
    return GX_OK;
}

/* ---------------------------------------------------------------- parsing */

static const struct gx_indexctl_option *find_in(const struct gx_indexctl_option *table, const char *name, size_t len,
                                                char letter)
{
    for (const struct gx_indexctl_option *o = table; o != NULL && o->name != NULL; o++)
        if (letter != '\0' ? o->letter == letter : strlen(o->name) == len && memcmp(o->name, name, len) == 0)
            return o;
    return NULL;
}

static const struct gx_indexctl_option *find(const struct gx_indexctl_option *table, const char *name, size_t len,
                                             char letter)
{
    const struct gx_indexctl_option *o = find_in(table, name, len, letter);
    return o != NULL ? o : find_in(gx_indexctl_args_common, name, len, letter);
}

/* "--name", "--name=value", "--name value" at argv[*i]. */
static enum gx_status parse_long(const struct gx_indexctl_option *table, int argc, char **argv, int *i,
                                 struct gx_indexctl_args *out)
{
    const char *name = argv[*i] + 2, *equals = strchr(name, '=');
    size_t len = equals != NULL ? (size_t)(equals - name) : strlen(name);
    const struct gx_indexctl_option *o = find(table, name, len, '\0');
    if (o == NULL)
        return gx_indexctl_fail(GX_E_INVALID, "unknown option '--%.*s'", (int)len, name);
    if (o->type == GX_INDEXCTL_FLAG)
        return equals != NULL ? bad_value(o, equals) : set_value(o, "", out);
    if (equals == NULL && *i + 1 >= argc)
        return gx_indexctl_fail(GX_E_INVALID, "--%s wants a value: --%s %s", o->name, o->name, o->value);
    return set_value(o, equals != NULL ? equals + 1 : argv[++*i], out);
}

/* "-k", "-k 5", "-k5", "-jk5" at argv[*i]. */
static enum gx_status parse_short(const struct gx_indexctl_option *table, int argc, char **argv, int *i,
                                  struct gx_indexctl_args *out)
{
    for (const char *c = argv[*i] + 1; *c != '\0'; c++) {
        const struct gx_indexctl_option *o = find(table, NULL, 0, *c);
        if (o == NULL)
            return gx_indexctl_fail(GX_E_INVALID, "unknown option '-%c'", *c);
        if (o->type != GX_INDEXCTL_FLAG) {
            if (c[1] == '\0' && *i + 1 >= argc)
                return gx_indexctl_fail(GX_E_INVALID, "-%c wants a value: -%c %s", *c, *c, o->value);
            return set_value(o, c[1] != '\0' ? c + 1 : argv[++*i], out);
        }
        enum gx_status status = set_value(o, "", out);
        if (status != GX_OK)
            return status;
    }
    return GX_OK;
}

enum gx_status gx_indexctl_args_parse(const struct gx_indexctl_option *options, int argc, char **argv, bool until_word,
                                      struct gx_indexctl_args *out, int *out_n)
{
    bool only_words = false;
    int i = 0;
    enum gx_status status = GX_OK;
    for (; status == GX_OK && i < argc; i++) {
        const char *a = argv[i];
        if (!only_words && strcmp(a, "--") == 0)
            only_words = true;
        else if (!only_words && a[0] == '-' && a[1] == '-')
            status = parse_long(options, argc, argv, &i, out);
        else if (!only_words && a[0] == '-' && a[1] != '\0') /* "-" alone is a file */
            status = parse_short(options, argc, argv, &i, out);
        else if (until_word)
            break;
        else
            status = append(&out->words, a);
    }
    if (out_n != NULL)
        *out_n = i;
    return status;
}

void gx_indexctl_args_fini(struct gx_indexctl_args *args)
{
    struct gx_indexctl_list *lists[] = {&args->words, &args->attributes, &args->records, &args->arrests,
                                        &args->subjects};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        free(lists[i]->items);
        *lists[i] = (struct gx_indexctl_list){NULL, 0};
    }
}
