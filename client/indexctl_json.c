#include "indexctl_json.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- parts */

/* An object being made; what could not be allocated shows at the end. */
struct object {
    json_t *json;
    bool bad;
};

static struct object begin(void)
{
    json_t *json = json_object();
    return (struct object){json, json == NULL};
}

static void put(struct object *o, const char *key, json_t *value)
{
    if (json_object_set_new(o->json, key, value) != 0)
        o->bad = true;
}

static json_t *text(const char *t)
{
    json_t *json = json_string(t);
    if (json != NULL)
        return json;
    char *copy = strdup(t); /* no UTF-8, which no server of ours sends: what is ASCII remains */
    for (char *c = copy; c != NULL && *c != '\0'; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    json = copy != NULL ? json_string(copy) : NULL;
    free(copy);
    return json;
}

static json_t *count(uint64_t n)
{
    return json_integer((json_int_t)n);
}

/* What stands between the spaces. */
static json_t *words(const char *t)
{
    json_t *list = json_array();
    for (size_t len; *t != '\0'; t += len + (t[len] == ' ')) {
        len = strcspn(t, " ");
        if (json_array_append_new(list, json_stringn(t, len)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* A float as the shortest decimal number that gives the same float again: 0.7312, not 0.73119997978210449. */
static json_t *number(float f)
{
    char digits[32];
    for (int precision = 6; precision <= 9; precision++) {
        (void)snprintf(digits, sizeof(digits), "%.*g", precision, (double)f);
        if (strtof(digits, NULL) == f)
            break;
    }
    return json_real(strtod(digits, NULL));
}

static enum gx_status end(struct object *o, FILE *out)
{
    char *line = o->bad ? NULL : json_dumps(o->json, JSON_COMPACT | JSON_REAL_PRECISION(15));
    json_decref(o->json);
    if (line == NULL)
        return gx_indexctl_fail(GX_E_NOMEM, "out of memory for the output");
    (void)fprintf(out, "%s\n", line);
    free(line);
    return GX_OK;
}

const char *gx_indexctl_json_state(enum gx_client_ticket_state state)
{
    switch (state) {
    case GX_CLIENT_TICKET_ACCEPTED: return "ACCEPTED";
    case GX_CLIENT_TICKET_ERASED: return "ERASED";
    case GX_CLIENT_TICKET_VERIFIED: return "VERIFIED";
    case GX_CLIENT_TICKET_FAILED: return "FAILED";
    }
    return "UNSPECIFIED"; /* of a newer server */
}

const char *gx_indexctl_json_method(enum gx_client_verify_method method)
{
    switch (method) {
    case GX_CLIENT_VERIFY_NONE: return "NONE";
    case GX_CLIENT_VERIFY_BYTES: return "BYTES";
    case GX_CLIENT_VERIFY_STRUCTURAL: return "STRUCTURAL";
    }
    return "UNSPECIFIED";
}

const char *gx_indexctl_json_kind(enum gx_client_id_kind kind)
{
    switch (kind) {
    case GX_CLIENT_RECORD: return "RECORD";
    case GX_CLIENT_ARREST: return "ARREST";
    case GX_CLIENT_SUBJECT: return "SUBJECT";
    }
    return "UNSPECIFIED";
}

const char *gx_indexctl_json_serving(int state)
{
    return state == 1 ? "SERVING" : state == 2 ? "NOT_SERVING" : "SERVICE_UNKNOWN";
}

/* ---------------------------------------------------------------- galleries */

enum gx_status gx_indexctl_json_gallery(FILE *out, const struct gx_client_gallery *gallery)
{
    struct object o = begin(), embedder = begin();
    put(&embedder, "id", text(gallery->embedder_id));
    put(&embedder, "version", text(gallery->embedder_version));
    put(&o, "name", text(gallery->name));
    put(&o, "dim", count(gallery->dim));
    put(&o, "embedder", embedder.json);
    put(&o, "engine", text(gallery->engine));
    put(&o, "created_at_us", json_integer(gallery->created_at_us));
    put(&o, "records", count(gallery->records));
    put(&o, "default_effort", number(gallery->default_effort));
    o.bad = o.bad || embedder.bad;
    return end(&o, out);
}

enum gx_status gx_indexctl_json_deleted(FILE *out, const char *name, uint64_t records)
{
    struct object o = begin();
    put(&o, "name", text(name));
    put(&o, "records", count(records));
    return end(&o, out);
}

enum gx_status gx_indexctl_json_stats(FILE *out, const struct gx_client_gallery_stats *stats)
{
    struct object o = begin(), build = begin();
    put(&build, "running", json_boolean(stats->build.running));
    put(&build, "engine", text(stats->build.engine));
    put(&build, "stage", text(stats->build.stage));
    put(&build, "rows_done", count(stats->build.rows_done));
    put(&build, "rows_total", count(stats->build.rows_total));
    put(&build, "problem", text(stats->build.problem));
    put(&o, "name", text(stats->name));
    put(&o, "engine", text(stats->engine));
    put(&o, "records", count(stats->records));
    put(&o, "quarantined", count(stats->quarantined));
    put(&o, "indexed", count(stats->indexed));
    put(&o, "tail", count(stats->tail));
    put(&o, "dead", count(stats->dead));
    put(&o, "epoch", count(stats->epoch));
    put(&o, "row_bytes", count(stats->row_bytes));
    put(&o, "index_bytes", count(stats->index_bytes));
    put(&o, "build", build.json);
    put(&o, "loaded", json_boolean(stats->loaded));
    put(&o, "disk_free_bytes", count(stats->disk_free_bytes));
    put(&o, "ballast_bytes", count(stats->ballast_bytes));
    o.bad = o.bad || build.bad;
    return end(&o, out);
}

enum gx_status gx_indexctl_json_built(FILE *out, const char *name, const char *engine)
{
    struct object o = begin();
    put(&o, "name", text(name));
    put(&o, "engine", text(engine));
    return end(&o, out);
}

enum gx_status gx_indexctl_json_recall(FILE *out, const char *name, const struct gx_client_recall *recall)
{
    struct object o = begin();
    put(&o, "name", text(name));
    put(&o, "probes", count(recall->probes));
    put(&o, "recall_at_1", json_real(recall->recall_at_1));
    put(&o, "recall_at_10", json_real(recall->recall_at_10));
    put(&o, "recall_at_50", json_real(recall->recall_at_50));
    put(&o, "mean_us", json_real(recall->mean_us));
    put(&o, "exact_mean_us", json_real(recall->exact_mean_us));
    put(&o, "engine", text(recall->engine));
    put(&o, "effort", number(recall->effort));
    return end(&o, out);
}

enum gx_status gx_indexctl_json_health(FILE *out, const char *service, int state)
{
    struct object o = begin();
    put(&o, "service", text(service));
    put(&o, "status", text(gx_indexctl_json_serving(state)));
    return end(&o, out);
}

/* ---------------------------------------------------------------- search */

static json_t *candidate_of(const struct gx_client_candidate *c)
{
    struct object o = begin();
    put(&o, "rank", count(c->rank));
    put(&o, "record_id", text(c->record_id));
    put(&o, "subject_id", text(c->subject_id));
    put(&o, "arrest_id", text(c->arrest_id));
    put(&o, "cosine", number(c->cosine));
    if (c->captured_at_us != 0)
        put(&o, "captured_at_us", json_integer(c->captured_at_us));
    if (o.bad)
        json_decref(o.json);
    return o.bad ? NULL : o.json;
}

enum gx_status gx_indexctl_json_answer(FILE *out, uint64_t probe, const struct gx_client_answer *answer,
                                       const char *notice)
{
    struct object o = begin(), stats = begin();
    json_t *list = json_array();
    for (size_t i = 0; i < answer->n_candidates; i++)
        if (json_array_append_new(list, candidate_of(&answer->candidates[i])) != 0)
            o.bad = true;
    put(&stats, "engine", text(answer->stats.engine));
    put(&stats, "effort", number(answer->stats.effort));
    put(&stats, "exhaustive", json_boolean(answer->stats.exhaustive));
    put(&stats, "scanned", count(answer->stats.scanned));
    put(&stats, "rescored", count(answer->stats.rescored));
    put(&stats, "epoch", count(answer->stats.epoch));
    put(&o, "probe", count(probe));
    put(&o, "candidates", list);
    put(&o, "stats", stats.json);
    put(&o, "notice", text(notice));
    o.bad = o.bad || stats.bad;
    return end(&o, out);
}

/* ---------------------------------------------------------------- records */

enum gx_status gx_indexctl_json_imported(FILE *out, const char *gallery, const struct gx_indexctl_imported *i)
{
    struct object o = begin();
    put(&o, "gallery", text(gallery));
    put(&o, "rows", count(i->rows));
    put(&o, "enrolled", count(i->enrolled.enrolled));
    put(&o, "unchanged", count(i->enrolled.unchanged));
    put(&o, "expunged", count(i->expunged));
    put(&o, "epoch", count(i->enrolled.epoch));
    put(&o, "seconds", number((float)i->seconds));
    put(&o, "rows_per_s", number((float)(i->seconds > 0 ? (double)i->rows / i->seconds : 0)));
    return end(&o, out);
}

enum gx_status gx_indexctl_json_record(FILE *out, const struct gx_client_stored *record)
{
    const struct gx_client_record *r = &record->record;
    struct object o = begin();
    put(&o, "record_id", text(r->record_id));
    put(&o, "subject_id", text(r->subject_id));
    put(&o, "arrest_id", text(r->arrest_id));
    put(&o, "captured_at_us", json_integer(r->captured_at_us));
    struct object attributes = begin();
    for (size_t i = 0; i < r->n_attributes; i++)
        put(&attributes, r->attribute_keys[i], text(r->attribute_values[i]));
    put(&o, "attributes", attributes.json);
    put(&o, "enrolled_at_us", json_integer(record->enrolled_at_us));
    put(&o, "epoch", count(record->epoch));
    put(&o, "quarantined", json_boolean(record->quarantined));
    if (record->embedding != NULL) {
        json_t *list = json_array();
        for (size_t i = 0; i < record->dim; i++)
            if (json_array_append_new(list, number(record->embedding[i])) != 0)
                o.bad = true;
        put(&o, "embedding", list);
    }
    o.bad = o.bad || attributes.bad;
    return end(&o, out);
}

/* ---------------------------------------------------------------- holds */

enum gx_status gx_indexctl_json_hold(FILE *out, const struct gx_client_hold *hold)
{
    struct object o = begin();
    put(&o, "reference", text(hold->reference));
    put(&o, "kind", text(gx_indexctl_json_kind(hold->kind)));
    put(&o, "id", text(hold->id));
    put(&o, "id_hash", text(hold->id_hash));
    put(&o, "quarantine", json_boolean(hold->quarantine));
    put(&o, "placed_at_us", json_integer(hold->placed_at_us));
    put(&o, "records", count(hold->records));
    return end(&o, out);
}

enum gx_status gx_indexctl_json_hold_change(FILE *out, const char *gallery, const char *reference,
                                            const struct gx_client_hold_change *change)
{
    struct object o = begin();
    put(&o, "gallery", text(gallery));
    put(&o, "reference", text(reference));
    put(&o, "ids", count(change->ids));
    put(&o, "unchanged_ids", count(change->unchanged_ids));
    put(&o, "records", count(change->records));
    put(&o, "epoch", count(change->epoch));
    return end(&o, out);
}

/* ---------------------------------------------------------------- expungement */

enum gx_status gx_indexctl_json_ticket(FILE *out, const struct gx_client_ticket *t)
{
    struct object o = begin();
    put(&o, "ticket_id", text(t->ticket_id));
    put(&o, "state", text(gx_indexctl_json_state(t->state)));
    put(&o, "gallery", text(t->gallery));
    put(&o, "order_ref", text(t->order_ref));
    put(&o, "kind", text(gx_indexctl_json_kind(t->kind)));
    put(&o, "records", count(t->records));
    put(&o, "unmatched_ids", count(t->unmatched_ids));
    put(&o, "epoch", count(t->epoch));
    put(&o, "accepted_at_us", json_integer(t->accepted_at_us));
    put(&o, "unindexed_at_us", json_integer(t->unindexed_at_us));
    put(&o, "flushed_at_us", json_integer(t->flushed_at_us));
    put(&o, "compacted_at_us", json_integer(t->compacted_at_us));
    put(&o, "unlinked_at_us", json_integer(t->unlinked_at_us));
    put(&o, "erased_at_us", json_integer(t->erased_at_us));
    put(&o, "verified_at_us", json_integer(t->verified_at_us));
    put(&o, "failed_at_us", json_integer(t->failed_at_us));
    put(&o, "deadline_at_us", json_integer(t->deadline_at_us));
    put(&o, "attempts", count(t->attempts));
    put(&o, "files_rewritten", count(t->files_rewritten));
    put(&o, "bytes_rewritten", count(t->bytes_rewritten));
    put(&o, "files_removed", count(t->files_removed));
    put(&o, "method", text(gx_indexctl_json_method(t->method)));
    put(&o, "files_scanned", count(t->files_scanned));
    put(&o, "bytes_scanned", count(t->bytes_scanned));
    put(&o, "files_left_out", count(t->files_left_out));
    put(&o, "control_hits", count(t->control_hits));
    put(&o, "certificate", count(t->certificate));
    put(&o, "problem", text(t->problem));
    put(&o, "backups", words(t->backups));
    return end(&o, out);
}

enum gx_status gx_indexctl_json_counted(FILE *out, const char *gallery, const struct gx_client_ticket *t)
{
    struct object o = begin();
    put(&o, "validate_only", json_true());
    put(&o, "gallery", text(gallery));
    put(&o, "kind", text(gx_indexctl_json_kind(t->kind)));
    put(&o, "records", count(t->records));
    put(&o, "unmatched_ids", count(t->unmatched_ids));
    put(&o, "epoch", count(t->epoch));
    return end(&o, out);
}

enum gx_status gx_indexctl_json_counted_list(FILE *out, const struct gx_indexctl_counted *c)
{
    struct object o = begin();
    put(&o, "validate_only", json_true());
    put(&o, "gallery", text(c->gallery));
    put(&o, "order_ref", text(c->order_ref));
    put(&o, "kind", text(gx_indexctl_json_kind(c->kind)));
    put(&o, "lines", count(c->lines));
    put(&o, "ids", count(c->ids));
    put(&o, "orders", count(c->orders));
    put(&o, "records", count(c->records));
    put(&o, "records_before", count(c->records_before));
    put(&o, "matched_ids", count(c->matched_ids));
    put(&o, "unmatched_ids", count(c->unmatched_ids));
    put(&o, "gone_ids", count(c->gone_ids));
    put(&o, "held_ids", count(c->held_ids));
    return end(&o, out);
}

/* ---------------------------------------------------------------- certificates */

enum gx_status gx_indexctl_json_certificate(FILE *out, const char *source, const struct gx_client_certificate *c)
{
    struct object o = begin();
    put(&o, "source", text(source));
    put(&o, "checked", json_boolean(c->checked));
    put(&o, "serial", count(c->serial));
    put(&o, "sha256", text(c->digest));
    put(&o, "previous", text(c->previous));
    put(&o, "key", text(c->key));
    put(&o, "store", text(c->store));
    put(&o, "ticket_id", text(c->ticket_id));
    put(&o, "gallery", text(c->gallery));
    put(&o, "order_ref", text(c->order_ref));
    put(&o, "kind", text(gx_indexctl_json_kind(c->kind)));
    put(&o, "ids", count(c->ids));
    put(&o, "unmatched_ids", count(c->unmatched_ids));
    put(&o, "records", count(c->records));
    put(&o, "accepted", text(c->accepted));
    put(&o, "erased", text(c->erased));
    put(&o, "verified", text(c->verified));
    put(&o, "method", text(c->method));
    put(&o, "backups", count(c->n_backups));
    return end(&o, out);
}

enum gx_status gx_indexctl_json_key(FILE *out, const char *pem)
{
    struct object o = begin();
    put(&o, "public_key", text(pem));
    return end(&o, out);
}

static json_t *places(const struct gx_client_absence *absence)
{
    json_t *list = json_array();
    for (size_t i = 0; i < absence->n_first; i++) {
        json_t *place = json_pack("{s:o?,s:I}", "file", text(absence->first[i].file), "offset",
                                  (json_int_t)absence->first[i].offset);
        if (json_array_append_new(list, place) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

enum gx_status gx_indexctl_json_absence(FILE *out, const char *gallery, const char *record_id, uint64_t probe,
                                        const struct gx_client_absence *absence)
{
    struct object o = begin();
    put(&o, "gallery", text(gallery));
    if (record_id != NULL)
        put(&o, "record_id", text(record_id));
    else
        put(&o, "probe", count(probe));
    put(&o, "absent", json_boolean(absence->absent));
    put(&o, "searchable", json_boolean(absence->searchable));
    put(&o, "stored", json_boolean(absence->stored));
    if (record_id != NULL)
        put(&o, "expunged", json_boolean(absence->expunged));
    if (absence->has_nearest)
        put(&o, "nearest_cosine", json_real(absence->nearest_cosine));
    put(&o, "files_searched", json_boolean(absence->files_searched));
    put(&o, "note", text(absence->note));
    put(&o, "files", count(absence->files));
    put(&o, "bytes", count(absence->bytes));
    put(&o, "hits", count(absence->hits));
    put(&o, "first_hits", places(absence));
    put(&o, "epoch", count(absence->epoch));
    put(&o, "checked_at_us", json_integer(absence->checked_at_us));
    return end(&o, out);
}

/* ---------------------------------------------------------------- backups */

const char *gx_indexctl_json_backup_state(enum gx_client_backup_state state)
{
    switch (state) {
    case GX_CLIENT_BACKUP_UNFINISHED: return "UNFINISHED";
    case GX_CLIENT_BACKUP_COMPLETE: return "COMPLETE";
    case GX_CLIENT_BACKUP_GONE: return "GONE";
    case GX_CLIENT_BACKUP_RUNNING: return "RUNNING";
    case GX_CLIENT_BACKUP_EXPIRED: return "EXPIRED";
    }
    return "UNSPECIFIED";
}

enum gx_status gx_indexctl_json_backup(FILE *out, const struct gx_client_backup_info *b)
{
    struct object o = begin();
    put(&o, "backup_id", text(b->backup_id));
    put(&o, "state", text(gx_indexctl_json_backup_state(b->state)));
    put(&o, "directory", text(b->directory));
    put(&o, "created_at_us", json_integer(b->created_at_us));
    put(&o, "expires_at_us", json_integer(b->expires_at_us));
    put(&o, "gone_at_us", json_integer(b->gone_at_us));
    put(&o, "files", count(b->files));
    put(&o, "bytes", count(b->bytes));
    put(&o, "epoch", count(b->epoch));
    return end(&o, out);
}
