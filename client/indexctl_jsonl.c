#include "indexctl_jsonl.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "indexctl_time.h"

struct gx_indexctl_document {
    json_t *root; /* owns all text */
    const json_t *embedding;
    struct gx_client_record record;
    const char *keys[GX_ATTRIBUTES_MAX], *values[GX_ATTRIBUTES_MAX];
};

/* Where a message belongs. */
struct place {
    const char *name;
    unsigned long long number;
};

#define BAD(place, format, ...)                                                                                        \
    gx_indexctl_fail(GX_E_INVALID, "%s: line %llu: " format, (place)->name, (place)->number, __VA_ARGS__)

static enum gx_status take_text(const struct place *p, const char *key, const json_t *value, const char **out)
{
    *out = json_string_value(value); /* jansson refuses \u0000 */
    if (*out == NULL)
        return BAD(p, "\"%s\" is no text", key);
    if (strlen(*out) > GX_ID_MAX)
        return BAD(p, "\"%s\" has more than %d bytes", key, GX_ID_MAX);
    return GX_OK;
}

static enum gx_status take_attributes(const struct place *p, json_t *value, struct gx_indexctl_document *d)
{
    const char *key;
    json_t *item;
    size_t n = 0;
    if (!json_is_object(value) || json_object_size(value) > GX_ATTRIBUTES_MAX)
        return BAD(p, "\"attributes\" is no object of at most %d texts", GX_ATTRIBUTES_MAX);
    json_object_foreach(value, key, item)
    {
        if (!json_is_string(item))
            return BAD(p, "the attribute \"%.64s\" is no text", key);
        d->keys[n] = key;
        d->values[n++] = json_string_value(item);
    }
    d->record.attribute_keys = d->keys;
    d->record.attribute_values = d->values;
    d->record.n_attributes = n;
    return GX_OK;
}

static enum gx_status take_embedding(const struct place *p, const json_t *value, struct gx_indexctl_document *d)
{
    size_t n = json_array_size(value);
    if (!json_is_array(value) || n < GX_DIM_MIN || n > GX_DIM_MAX)
        return BAD(p, "\"embedding\" is no array of %d to %d numbers", GX_DIM_MIN, GX_DIM_MAX);
    for (size_t i = 0; i < n; i++)
        if (!json_is_number(json_array_get(value, i)))
            return BAD(p, "element %zu of \"embedding\" is no number", i);
    d->embedding = value;
    return GX_OK;
}

static enum gx_status take_time(const struct place *p, const char *key, const json_t *value, bool is_text,
                                int64_t *out_us)
{
    if (*out_us != 0)
        return BAD(p, "\"%s\" stands beside another time", key);
    if (is_text ? json_is_string(value) && gx_indexctl_time_parse(json_string_value(value), out_us)
                : json_is_integer(value)) {
        if (!is_text)
            *out_us = json_integer_value(value);
        return GX_OK;
    }
    return BAD(p, "\"%s\" is no %s", key,
               is_text ? "time like \"2024-03-01T12:30:00Z\"" : "whole number of microseconds");
}

static enum gx_status take(const struct place *p, const char *key, json_t *value, struct gx_indexctl_document *d)
{
    if (strcmp(key, "record_id") == 0)
        return take_text(p, key, value, &d->record.record_id);
    if (strcmp(key, "subject_id") == 0)
        return take_text(p, key, value, &d->record.subject_id);
    if (strcmp(key, "arrest_id") == 0)
        return take_text(p, key, value, &d->record.arrest_id);
    if (strcmp(key, "captured_at") == 0)
        return take_time(p, key, value, true, &d->record.captured_at_us);
    if (strcmp(key, "captured_at_us") == 0)
        return take_time(p, key, value, false, &d->record.captured_at_us);
    if (strcmp(key, "attributes") == 0)
        return take_attributes(p, value, d);
    if (strcmp(key, "embedding") == 0)
        return take_embedding(p, value, d);
    if (strcmp(key, "enrolled_at_us") == 0 || strcmp(key, "epoch") == 0 || strcmp(key, "quarantined") == 0)
        return GX_OK; /* what 'record list' prints can be imported again */
    return BAD(p,
               "unknown member \"%.64s\": there are record_id, subject_id, arrest_id, captured_at, captured_at_us, "
               "attributes, embedding",
               key);
}

enum gx_status gx_indexctl_jsonl_parse(const char *name, unsigned long long number, const char *line, size_t len,
                                       struct gx_indexctl_document **out)
{
    *out = NULL;
    const struct place place = {name, number};
    struct gx_indexctl_document *d = calloc(1, sizeof(*d));
    if (d == NULL)
        return gx_indexctl_fail(GX_E_NOMEM, "out of memory");
    json_error_t error;
    d->root = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    enum gx_status status = GX_OK;
    if (d->root == NULL)
        status = BAD(&place, "no JSON object at column %d: %s", error.column, error.text);
    else if (!json_is_object(d->root))
        status = BAD(&place, "no JSON object but something else%s", "");
    const char *key;
    json_t *value;
    if (status == GX_OK) {
        json_object_foreach(d->root, key, value)
        {
            status = take(&place, key, value, d);
            if (status != GX_OK)
                break;
        }
    }
    if (status == GX_OK && d->embedding == NULL)
        status = BAD(&place, "\"embedding\" is missing%s", "");
    if (status != GX_OK) {
        gx_indexctl_jsonl_free(d);
        return status;
    }
    *out = d;
    return GX_OK;
}

void gx_indexctl_jsonl_free(struct gx_indexctl_document *document)
{
    if (document == NULL)
        return;
    json_decref(document->root);
    free(document);
}

size_t gx_indexctl_jsonl_dim(const struct gx_indexctl_document *document)
{
    return json_array_size(document->embedding);
}

void gx_indexctl_jsonl_row(const struct gx_indexctl_document *document, float *out_row)
{
    size_t n = json_array_size(document->embedding);
    for (size_t i = 0; i < n; i++)
        out_row[i] = (float)json_number_value(json_array_get(document->embedding, i));
}

struct gx_client_record gx_indexctl_jsonl_record(const struct gx_indexctl_document *document)
{
    return document->record;
}
