#include "config.h"

#include <errno.h>
#include <ini.h>
#include <math.h>
#include <stdlib.h>

enum kind { TEXT, COUNT, REAL };

struct key {
    const char *section, *name;
    enum kind kind;
    size_t offset;
    double min, max; /* of the value, or of the text's length */
    const char *default_value, *unit, *meaning;
};

#define KEY(section, name, kind, fallback, min, max, unit, meaning)                                                    \
    {#section, #name, kind, offsetof(struct gx_config, section##_##name), min, max, #fallback, unit, meaning},
static const struct key keys[] = {GX_CONFIG_MAP(KEY)};

static const char *default_text(const struct key *key, char buffer[GX_CONFIG_TEXT_MAX])
{
    /* The table writes texts in quotes. */
    if (key->kind != TEXT)
        return key->default_value;
    size_t len = strlen(key->default_value) - 2;
    memcpy(buffer, key->default_value + 1, len);
    buffer[len] = '\0';
    return buffer;
}

static enum gx_status set_text(char *field, const struct key *key, const char *value, struct gx_err *err)
{
    size_t len = strlen(value);
    if (len < (size_t)key->min || len > (size_t)key->max)
        return gx_fail(err, GX_E_INVALID, "%s.%s: %.0f to %.0f bytes, got %zu", key->section, key->name, key->min,
                       key->max, len);
    memcpy(field, value, len + 1);
    return GX_OK;
}

static enum gx_status parse_number(const struct key *key, const char *value, double *out, struct gx_err *err)
{
    char *end;
    errno = 0;
    *out = strtod(value, &end);
    if (end == value || *end != '\0' || errno != 0 || !isfinite(*out))
        return gx_fail(err, GX_E_INVALID, "%s.%s: a number is needed", key->section, key->name);
    if (*out < key->min || *out > key->max || (key->kind == COUNT && *out != floor(*out)))
        return gx_fail(err, GX_E_INVALID, "%s.%s: %s%g to %g %s, got %s", key->section, key->name,
                       key->kind == COUNT ? "whole, " : "", key->min, key->max, key->unit, value);
    return GX_OK;
}

static const struct key *find_key(const char *section, const char *name)
{
    for (size_t i = 0; i < GX_COUNT_OF(keys); i++)
        if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, name) == 0)
            return &keys[i];
    return NULL;
}

enum gx_status gx_config_set(struct gx_config *config, const char *section, const char *name, const char *value,
                             struct gx_err *err)
{
    const struct key *key = find_key(section, name);
    if (key == NULL)
        return gx_fail(err, GX_E_INVALID, "%.40s.%.40s: no such key; 'indexd config' lists them", section, name);
    char *field = (char *)config + key->offset;
    if (key->kind == TEXT)
        return set_text(field, key, value, err);
    double number;
    GX_TRY(parse_number(key, value, &number, err));
    if (key->kind == REAL)
        memcpy(field, &number, sizeof(number));
    else
        *(uint64_t *)(void *)field = (uint64_t)number;
    return GX_OK;
}

void gx_config_init(struct gx_config *config)
{
    char buffer[GX_CONFIG_TEXT_MAX];
    memset(config, 0, sizeof(*config));
    for (size_t i = 0; i < GX_COUNT_OF(keys); i++) {
        enum gx_status status =
            gx_config_set(config, keys[i].section, keys[i].name, default_text(&keys[i], buffer), NULL);
        assert(status == GX_OK);
        (void)status;
    }
}

struct reading {
    struct gx_config *config;
    bool seen[GX_COUNT_OF(keys)];
    struct gx_err err;
};

static int on_key(void *arg, const char *section, const char *name, const char *value)
{
    struct reading *r = arg;
    const struct key *key = find_key(section, name);
    if (key != NULL && r->seen[key - keys]) {
        gx_err_set(&r->err, GX_E_INVALID, "%s.%s: it stands there twice", section, name);
        return 0;
    }
    if (gx_config_set(r->config, section, name, value, &r->err) != GX_OK)
        return 0;
    r->seen[key - keys] = true;
    return 1;
}

enum gx_status gx_config_read(struct gx_config *config, const char *path, struct gx_err *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return gx_err_errno(err, errno, "open the configuration '%s'", path);
    struct reading r = {.config = config};
    int line = ini_parse_file(file, on_key, &r);
    fclose(file);
    if (line == 0)
        return GX_OK;
    if (line < 0)
        return gx_fail(err, GX_E_IO, "read the configuration '%s': out of memory or unreadable", path);
    if (r.err.status != GX_OK)
        return gx_fail(err, GX_E_INVALID, "%s line %d: %.160s", path, line, r.err.text);
    return gx_fail(err, GX_E_INVALID, "%s line %d: write '[section]' or 'key = value'", path, line);
}

void gx_config_print_reference(FILE *out)
{
    char buffer[GX_CONFIG_TEXT_MAX];
    const char *section = "";
    fprintf(out, "; Configuration of indexd with all defaults. Pass it with 'indexd serve --config FILE'.\n");
    for (size_t i = 0; i < GX_COUNT_OF(keys); i++) {
        const struct key *k = &keys[i];
        if (strcmp(section, k->section) != 0)
            fprintf(out, "\n[%s]\n", section = k->section);
        fprintf(out, "; %s", k->meaning);
        if (k->kind == TEXT)
            fprintf(out, "; up to %.0f bytes\n", k->max);
        else
            fprintf(out, "; %g to %g %s\n", k->min, k->max, k->unit);
        fprintf(out, "%s = %s\n", k->name, default_text(k, buffer));
    }
}
