/* The text of a certificate of expungement.
 *
 * The path: input checked -> statement as a JSON object -> its canonical bytes (no spaces, keys in the order of their
 * bytes) -> signature over them -> signature checked -> {"signature":…,"statement":…} and a newline.
 * What can go wrong: a ticket that has not reached what the certificate would say (refused), memory. */
#include "receipt.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <time.h>

#define TYPE      "indexd certificate of expungement"
#define BACKUP_ID 64
#define TIME_MAX  40

/* What a certificate says of its own reach. The text goes into court files: no promise that is not kept, and nothing
 * left out that a reader would have to know. */
static const char *const covers[] = {
    "the database in the server's data directory: its table files and its write-ahead logs; the embeddings, the ids "
    "and all other properties of the records are left in none of them",
    "the saved search indexes in the data directory: each one that could hold a code of a removed embedding was "
    "deleted, or written anew without it",
    "temporary files of the server in the data directory",
    "the memory of the server process: the embeddings and all codes made of them were overwritten with zeros",
};
static const char *const excludes[] = {
    "storage below the file system: blocks of deleted files stay readable with forensic means until they are "
    "overwritten, and snapshots of the volume or of the virtual machine keep them; recommended: encrypt the disk, and "
    "remove snapshots",
    "swap space, core dumps and hibernation images of the machine, into which the operating system may have written "
    "memory; recommended: none of them, or encrypted ones",
    "backups: those that were made with the server and still hold the records are listed under 'backups'; copies of "
    "the data directory that were made by other means are not known to the server",
    "copies outside of the server: those of client programs and of source systems, replies that were sent, printouts",
    "keyed hashes (HMAC-SHA-256) of the ids: the outer ledger and this certificate keep them on purpose, so that the "
    "records cannot be enrolled again, and the database's notes on its own files may name some; without the server's "
    "secret key a hash tells nothing of its id",
    "what search indexes have learnt from many embeddings together, until they are trained anew: centres of lists and "
    "of codes, each made of 8 or more different embeddings, a rotation, and the range of each dimension",
};

/* --- parts --- */

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

static void put_count(struct object *o, const char *key, uint64_t n)
{
    put(o, key, json_integer((json_int_t)n));
}

static void put_text(struct object *o, const char *key, struct gx_slice text)
{
    put(o, key, json_stringn((const char *)text.data, text.len));
}

static void put_object(struct object *o, const char *key, struct object part)
{
    put(o, key, part.json);
    o->bad = o->bad || part.bad;
}

static json_t *hex(const uint8_t *bytes, size_t n)
{
    char text[2 * GX_SIGNATURE_LEN];
    static_assert(sizeof(text) >= 2 * sizeof(struct gx_digest), "fits");
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    return json_stringn(text, 2 * n);
}

static json_t *hashes(const struct gx_key *keys, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n && list != NULL; i++)
        if (json_array_append_new(list, hex(keys[i].bytes, sizeof(keys[i].bytes))) != 0) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

static json_t *texts(const char *const *list, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n && array != NULL; i++)
        if (json_array_append_new(array, json_string(list[i])) != 0) {
            json_decref(array);
            array = NULL;
        }
    return array;
}

/* RFC 3339 in UTC, always with six decimals; null for 0. */
static json_t *moment(int64_t us)
{
    char text[TIME_MAX];
    struct tm tm;
    time_t seconds = (time_t)(us / 1000000);
    if (us == 0)
        return json_null();
    if (us < 0 || gmtime_r(&seconds, &tm) == NULL)
        return NULL;
    size_t len = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + len, sizeof(text) - len, ".%06dZ", (int)(us % 1000000));
    return json_string(text);
}

/* --- what must be true --- */

static enum gx_status check_stages(const struct gx_ticket *t, struct gx_err *err)
{
    bool whole = t->accepted_at_us > 0 && t->erased_at_us > 0 && t->verified_at_us > 0;
    /* Where no record was removed there was nothing to flush or rewrite. */
    if (t->n_records > 0)
        whole =
            whole && t->unindexed_at_us > 0 && t->flushed_at_us > 0 && t->compacted_at_us > 0 && t->unlinked_at_us > 0;
    if (!whole)
        return gx_fail(err, GX_E_STATE, "certificate: the ticket has not reached every stage");
    if (t->certificate == 0)
        return gx_fail(err, GX_E_STATE, "certificate: it has no serial number");
    return GX_OK;
}

static enum gx_status check_verification(const struct gx_receipt_in *in, struct gx_err *err)
{
    const struct gx_ticket *t = in->ticket;
    if (in->hits != 0)
        return gx_fail(err, GX_E_STATE, "certificate: the scan found bytes of the records");
    if (t->method != GX_TICKET_BYTES && t->method != GX_TICKET_STRUCTURAL)
        return gx_fail(err, GX_E_STATE, "certificate: the erasure was not checked");
    if (t->method == GX_TICKET_BYTES && t->n_records > 0 && t->control_hits == 0)
        return gx_fail(err, GX_E_STATE, "certificate: the scan has not shown that it finds the records");
    if ((t->method == GX_TICKET_STRUCTURAL) != (in->reason.len > 0))
        return gx_fail(err, GX_E_STATE, "certificate: a structural check says why, a check of bytes has no reason");
    return gx_codec_check_text(in->reason, 0, 256, "certificate: reason", err);
}

static enum gx_status check(const struct gx_receipt_in *in, struct gx_err *err)
{
    const struct gx_ticket *t = in->ticket;
    GX_TRY(check_stages(t, err));
    GX_TRY(check_verification(in, err));
    GX_TRY(gx_codec_check_name(t->gallery, err));
    GX_TRY(gx_codec_check_text(t->order_ref, 1, GX_ORDER_REF_MAX, "certificate: order_ref", err));
    if (in->n_named < 1 || in->n_named > GX_EXPUNGE_IDS_MAX)
        return gx_fail(err, GX_E_INVALID, "certificate: ids: 1..%d, got %zu", GX_EXPUNGE_IDS_MAX, in->n_named);
    if (t->kind != GX_ID_RECORD && t->kind != GX_ID_ARREST && t->kind != GX_ID_SUBJECT)
        return gx_fail(err, GX_E_INVALID, "certificate: kind: 1..3, got %d", (int)t->kind);
    if (t->n_unmatched > in->n_named || t->n_records > GX_EXPUNGE_MAX)
        return gx_fail(err, GX_E_INVALID, "certificate: its counts contradict each other");
    if (in->n_backups > GX_RECEIPT_BACKUPS_MAX)
        return gx_fail(err, GX_E_INVALID, "certificate: backups: 0..%d, got %zu", GX_RECEIPT_BACKUPS_MAX,
                       in->n_backups);
    for (size_t i = 0; i < in->n_backups; i++)
        GX_TRY(gx_codec_check_text(in->backups[i].id, 1, BACKUP_ID, "certificate: backup id", err));
    return GX_OK;
}

/* --- the statement --- */

static void put_order(struct object *o, const struct gx_receipt_in *in, const struct gx_digest *records_digest)
{
    static const char *const kinds[] = {
        [GX_ID_RECORD] = "RECORD", [GX_ID_ARREST] = "ARREST", [GX_ID_SUBJECT] = "SUBJECT"};
    const struct gx_ticket *t = in->ticket;
    char ticket_id[32]; /* as gx_expunge_ticket_text writes it */
    snprintf(ticket_id, sizeof(ticket_id), "T-%08" PRIu64, t->number);
    put(o, "ticket_id", json_string(ticket_id));
    put_text(o, "gallery", t->gallery);
    put_text(o, "order_ref", t->order_ref);
    put(o, "kind", json_string(kinds[t->kind]));
    put_count(o, "ids", in->n_named);
    put_count(o, "unmatched_ids", t->n_unmatched);
    put(o, "named", hashes(in->named, in->n_named));
    put_count(o, "records", t->n_records);
    put(o, "record_hashes", hashes(in->records, t->n_records > GX_RECEIPT_HASHES_MAX ? 0 : t->n_records));
    put(o, "records_sha256", hex(records_digest->bytes, sizeof(records_digest->bytes)));
}

static struct object make_stages(const struct gx_ticket *t)
{
    struct object o = begin();
    put(&o, "accepted", moment(t->accepted_at_us));
    put(&o, "unindexed", moment(t->unindexed_at_us));
    put(&o, "flushed", moment(t->flushed_at_us));
    put(&o, "compacted", moment(t->compacted_at_us));
    put(&o, "unlinked", moment(t->unlinked_at_us));
    put(&o, "erased", moment(t->erased_at_us));
    put(&o, "verified", moment(t->verified_at_us));
    return o;
}

static struct object make_work(const struct gx_ticket *t)
{
    struct object o = begin();
    put_count(&o, "attempts", t->attempts);
    put_count(&o, "files_rewritten", t->files_rewritten);
    put_count(&o, "bytes_rewritten", t->bytes_rewritten);
    put_count(&o, "files_removed", t->files_removed);
    return o;
}

static struct object make_verification(const struct gx_receipt_in *in)
{
    const struct gx_ticket *t = in->ticket;
    struct object o = begin();
    put(&o, "method", json_string(t->method == GX_TICKET_BYTES ? "bytes" : "structural"));
    if (in->reason.len > 0)
        put_text(&o, "reason", in->reason);
    put_count(&o, "files_scanned", t->files_scanned);
    put_count(&o, "bytes_scanned", t->bytes_scanned);
    put_count(&o, "files_left_out", t->files_left_out);
    put_count(&o, "control_hits", t->control_hits);
    put_count(&o, "hits", in->hits);
    return o;
}

static struct object make_scope(void)
{
    struct object o = begin();
    put(&o, "covers", texts(covers, GX_COUNT_OF(covers)));
    put(&o, "excludes", texts(excludes, GX_COUNT_OF(excludes)));
    return o;
}

static void put_backups(struct object *o, const struct gx_receipt_in *in)
{
    json_t *list = json_array();
    for (size_t i = 0; i < in->n_backups; i++) {
        const struct gx_receipt_backup *b = &in->backups[i];
        struct object one = begin();
        put_text(&one, "id", b->id);
        put(&one, "created", moment(b->created_at_us));
        put(&one, "expires", moment(b->expires_at_us));
        if (json_array_append_new(list, one.json) != 0 || one.bad)
            o->bad = true;
    }
    put(o, "backups", list);
}

/* The canonical bytes. Not by json_dumps: it loses the key of an object when its buffer cannot grow (jansson 2.14), and
 * we would sign that. */
static enum gx_status dump(const json_t *json, struct gx_arena *arena, struct gx_slice *out, struct gx_err *err)
{
    char *text;
    size_t len = json_dumpb(json, NULL, 0, JSON_COMPACT | JSON_SORT_KEYS);
    if (len == 0)
        return gx_fail(err, GX_E_NOMEM, "certificate: out of memory");
    GX_TRY(gx_arena_array(arena, len, 1, &text, err));
    if (json_dumpb(json, text, len, JSON_COMPACT | JSON_SORT_KEYS) != len)
        return gx_fail(err, GX_E_NOMEM, "certificate: out of memory");
    *out = (struct gx_slice){(const uint8_t *)text, len};
    return GX_OK;
}

static enum gx_status make_statement(const struct gx_receipt_in *in, const struct gx_signer *signer,
                                     const struct gx_digest *records_digest, struct gx_arena *arena,
                                     struct gx_slice *out, struct gx_err *err)
{
    struct object o = begin();
    char store[37];
    gx_keys_uuid_text(&in->store, store);
    put(&o, "type", json_string(TYPE));
    put_count(&o, "version", GX_RECEIPT_VERSION);
    put_count(&o, "serial", in->ticket->certificate);
    put(&o, "previous", hex(in->previous.bytes, sizeof(in->previous.bytes)));
    put(&o, "key", hex(gx_keys_public_digest(signer)->bytes, GX_DIGEST_LEN));
    put(&o, "store", json_string(store));
    put(&o, "server", json_string("indexd " GX_VERSION));
    put_order(&o, in, records_digest);
    put_object(&o, "stages", make_stages(in->ticket));
    put_object(&o, "work", make_work(in->ticket));
    put_object(&o, "verification", make_verification(in));
    put_object(&o, "scope", make_scope());
    put_backups(&o, in);
    enum gx_status status =
        o.bad ? gx_fail(err, GX_E_NOMEM, "certificate: out of memory") : dump(o.json, arena, out, err);
    json_decref(o.json);
    return status;
}

/* --- the certificate --- */

static enum gx_status sign(struct gx_slice statement, const struct gx_signer *signer, struct gx_arena *arena,
                           struct gx_slice *out, struct gx_err *err)
{
    static const char before[] = "{\"signature\":\"", between[] = "\",\"statement\":", after[] = "}\n";
    uint8_t signature[GX_SIGNATURE_LEN];
    char *text, *p;
    GX_TRY(gx_keys_sign(signer, statement, signature, err));
    /* One that nobody could check must not leave the house. */
    if (gx_keys_verify(gx_keys_public(signer), statement, signature, err) != GX_OK)
        return gx_fail(err, GX_E_INTERNAL, "certificate: its own signature does not hold: check the machine's memory");
    size_t len = sizeof(before) + sizeof(between) + sizeof(after) - 3 + 2 * sizeof(signature) + statement.len;
    if (len > GX_RECEIPT_MAX)
        return gx_fail(err, GX_E_TOO_LARGE, "certificate: it has %zu bytes", len);
    GX_TRY(gx_arena_array(arena, len, 1, &text, err));
    p = mempcpy(text, before, sizeof(before) - 1);
    for (size_t i = 0; i < sizeof(signature); i++) {
        *p++ = "0123456789abcdef"[signature[i] >> 4];
        *p++ = "0123456789abcdef"[signature[i] & 15];
    }
    p = mempcpy(p, between, sizeof(between) - 1);
    p = mempcpy(p, statement.data, statement.len);
    memcpy(p, after, sizeof(after) - 1);
    *out = (struct gx_slice){(const uint8_t *)text, len};
    return GX_OK;
}

enum gx_status gx_receipt_make(const struct gx_receipt_in *in, const struct gx_signer *signer, struct gx_arena *arena,
                               struct gx_slice *out, struct gx_digest *out_digest, struct gx_err *err)
{
    struct gx_digest records_digest;
    struct gx_slice statement = {NULL, 0};
    *out = (struct gx_slice){NULL, 0};
    GX_TRY(check(in, err));
    struct gx_slice hashes_bytes = {(const uint8_t *)in->records, in->ticket->n_records * sizeof(struct gx_key)};
    GX_TRY(gx_keys_sha256(&hashes_bytes, 1, &records_digest, err));
    GX_TRY(make_statement(in, signer, &records_digest, arena, &statement, err));
    GX_TRY(sign(statement, signer, arena, out, err));
    return gx_keys_sha256(out, 1, out_digest, err);
}
