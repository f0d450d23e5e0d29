/* Certificates of expungement, read and checked without a server. The only user of OpenSSL here.
 *
 * The path of a check: JSON (no key twice) -> type and version -> written out again: the same bytes, or it is refused,
 * so there is one form only -> is it of this key? -> Ed25519 over the statement's bytes -> its fields.
 * What can go wrong: any of it; a file that is refused says nothing. */
#include <jansson.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

#include "bump.h"
#include "error.h"
#include "indexd/client.h"

#define TYPE          "indexd certificate of expungement"
#define VERSION       1
#define CANONICAL     (JSON_COMPACT | JSON_SORT_KEYS)
#define SIGNATURE_LEN 64
#define DIGEST_LEN    32
#define KEY_MAX       65536

/* Around the statement in the only form: {"signature":"…","statement":…}\n */
#define BEFORE_SIGNATURE "{\"signature\":\""
#define BEHIND_SIGNATURE "\",\"statement\":"
#define BEFORE_STATEMENT (sizeof(BEFORE_SIGNATURE) - 1 + 2 * SIGNATURE_LEN + sizeof(BEHIND_SIGNATURE) - 1)
#define BEHIND_STATEMENT 2

struct certificate {
    struct gx_client_certificate c; /* first: what the user holds; its texts are the JSON's */
    json_t *json;
    struct gx_bump mem; /* lists of texts */
};

void gx_client_certificate_free(struct gx_client_certificate *certificate)
{
    struct certificate *o = (struct certificate *)certificate;
    if (o == NULL)
        return;
    json_decref(o->json);
    gx_bump_fini(&o->mem);
    free(o);
}

/* ---------------------------------------------------------------- digests, keys, signatures */

static void to_hex(const uint8_t *bytes, size_t n, char *out)
{
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = "0123456789abcdef"[bytes[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[bytes[i] & 15];
    }
    out[2 * n] = '\0';
}

/* Exactly 2 * @n digits, in lower case. */
static bool from_hex(const char *text, uint8_t *out, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    if (strlen(text) != 2 * n)
        return false;
    for (size_t i = 0; i < n; i++) {
        const char *high = strchr(digits, text[2 * i]), *low = strchr(digits, text[2 * i + 1]);
        if (high == NULL || low == NULL)
            return false;
        out[i] = (uint8_t)((high - digits) << 4 | (low - digits));
    }
    return true;
}

static enum gx_status digest_of(const void *bytes, size_t len, char out[2 * DIGEST_LEN + 1])
{
    uint8_t digest[DIGEST_LEN];
    if (EVP_Digest(bytes, len, digest, NULL, EVP_sha256(), NULL) != 1)
        return gx_error_set(GX_E_INTERNAL, "OpenSSL cannot compute SHA-256: check its installation");
    to_hex(digest, sizeof(digest), out);
    return GX_OK;
}

/* A public key as SubjectPublicKeyInfo (RFC 8410): this, then its 32 bytes. */
static const uint8_t spki_head[] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
#define SPKI_LEN (sizeof(spki_head) + 32)

struct public_key {
    uint8_t spki[SPKI_LEN];
    EVP_PKEY *key;
};

static enum gx_status read_key(const void *pem, size_t len, struct public_key *out)
{
    char *name = NULL, *header = NULL;
    unsigned char *der = NULL;
    long der_len = 0;
    BIO *bio = len == 0 || len > KEY_MAX ? NULL : BIO_new_mem_buf(pem, (int)len);
    bool good = bio != NULL && PEM_read_bio(bio, &name, &header, &der, &der_len) == 1;
    good = good && strcmp(name, PEM_STRING_PUBLIC) == 0 && header[0] == '\0' && der_len == (long)SPKI_LEN &&
           memcmp(der, spki_head, sizeof(spki_head)) == 0;
    *out = (struct public_key){.key = NULL};
    if (good) {
        memcpy(out->spki, der, SPKI_LEN);
        out->key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, der + sizeof(spki_head), 32);
    }
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_free(der);
    BIO_free(bio);
    if (out->key == NULL)
        return gx_error_set(GX_E_INVALID, "the key is no Ed25519 public key in PEM: give the server's certificate.pub");
    return GX_OK;
}

/* Is this the key that the certificate names? */
static enum gx_status check_key(const struct certificate *o, const struct public_key *key)
{
    char digest[2 * DIGEST_LEN + 1];
    enum gx_status status = digest_of(key->spki, sizeof(key->spki), digest);
    if (status == GX_OK && strcmp(digest, o->c.key) != 0)
        return gx_error_set(GX_E_CORRUPT,
                            "the certificate names another key than the given one: take the certificate.pub of the "
                            "server that issued it, or it was not issued by yours");
    return status;
}

static enum gx_status check_signature(const struct certificate *o, const struct public_key *key, const uint8_t *bytes,
                                      size_t len)
{
    uint8_t signature[SIGNATURE_LEN];
    bool good = from_hex(o->c.signature, signature, sizeof(signature));
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (context == NULL || EVP_DigestVerifyInit(context, NULL, NULL, NULL, key->key) != 1) {
        EVP_MD_CTX_free(context);
        return gx_error_set(GX_E_INTERNAL, "OpenSSL cannot check a signature: check its installation");
    }
    good = good && EVP_DigestVerify(context, signature, sizeof(signature), bytes + BEFORE_STATEMENT,
                                    len - BEFORE_STATEMENT - BEHIND_STATEMENT) == 1;
    EVP_MD_CTX_free(context);
    if (!good)
        return gx_error_set(GX_E_CORRUPT, "the signature does not hold: the certificate was changed, or is forged");
    return GX_OK;
}

/* ---------------------------------------------------------------- fields */

/* A part of the statement being read: what is missing, or of another type, shows at the end. */
struct part {
    struct certificate *o;
    const json_t *json;
    bool *bad;
};

static const char *text_of(const json_t *json, bool *bad)
{
    const char *text = json_string_value(json);
    if (text == NULL)
        *bad = true;
    return text != NULL ? text : "";
}

static const char *get_text(struct part p, const char *key)
{
    return text_of(json_object_get(p.json, key), p.bad);
}

static bool is_hex(const char *text, size_t n)
{
    return strlen(text) == n && strspn(text, "0123456789abcdef") == n;
}

/* A SHA-256. */
static const char *get_digest(struct part p, const char *key)
{
    const char *text = get_text(p, key);
    if (!is_hex(text, 2 * DIGEST_LEN))
        *p.bad = true;
    return text;
}

/* null reads as "". */
static const char *get_time(struct part p, const char *key)
{
    const json_t *json = json_object_get(p.json, key);
    return json_is_null(json) ? "" : text_of(json, p.bad);
}

static uint64_t get_count(struct part p, const char *key)
{
    const json_t *json = json_object_get(p.json, key);
    if (!json_is_integer(json) || json_integer_value(json) < 0)
        *p.bad = true;
    return (uint64_t)json_integer_value(json);
}

static struct part get_part(struct part p, const char *key)
{
    return (struct part){p.o, json_object_get(p.json, key), p.bad};
}

static const char *const *get_texts(struct part p, const char *key, size_t *out_n)
{
    const json_t *json = json_object_get(p.json, key);
    size_t n = json_array_size(json);
    const char **list = gx_bump_alloc(&p.o->mem, (n + 1) * sizeof(*list));
    *out_n = 0;
    if (!json_is_array(json) || list == NULL) {
        *p.bad = true;
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        list[i] = text_of(json_array_get(json, i), p.bad);
    *out_n = n;
    return list;
}

static void read_order(struct part p)
{
    struct gx_client_certificate *c = &p.o->c;
    static const struct {
        const char *text;
        enum gx_client_id_kind kind;
    } kinds[] = {{"RECORD", GX_CLIENT_RECORD}, {"ARREST", GX_CLIENT_ARREST}, {"SUBJECT", GX_CLIENT_SUBJECT}};
    size_t n_named;
    const char *kind = get_text(p, "kind");
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kind, kinds[i].text) == 0)
            c->kind = kinds[i].kind;
    c->ticket_id = get_text(p, "ticket_id");
    c->gallery = get_text(p, "gallery");
    c->order_ref = get_text(p, "order_ref");
    c->ids = get_count(p, "ids");
    c->unmatched_ids = get_count(p, "unmatched_ids");
    c->named = get_texts(p, "named", &n_named);
    c->records = get_count(p, "records");
    c->record_hashes = get_texts(p, "record_hashes", &c->n_record_hashes);
    c->records_sha256 = get_digest(p, "records_sha256");
    if (c->kind == 0 || n_named != c->ids || (c->n_record_hashes != 0 && c->n_record_hashes != c->records))
        *p.bad = true;
}

static void read_stages(struct part p)
{
    struct gx_client_certificate *c = &p.o->c;
    c->accepted = get_time(p, "accepted");
    c->unindexed = get_time(p, "unindexed");
    c->flushed = get_time(p, "flushed");
    c->compacted = get_time(p, "compacted");
    c->unlinked = get_time(p, "unlinked");
    c->erased = get_time(p, "erased");
    c->verified = get_time(p, "verified");
}

static void read_checks(struct part work, struct part verification)
{
    struct gx_client_certificate *c = &work.o->c;
    c->attempts = get_count(work, "attempts");
    c->files_rewritten = get_count(work, "files_rewritten");
    c->bytes_rewritten = get_count(work, "bytes_rewritten");
    c->files_removed = get_count(work, "files_removed");
    c->method = get_text(verification, "method");
    c->reason = json_object_get(verification.json, "reason") != NULL ? get_text(verification, "reason") : "";
    c->files_scanned = get_count(verification, "files_scanned");
    c->bytes_scanned = get_count(verification, "bytes_scanned");
    c->files_left_out = get_count(verification, "files_left_out");
    c->control_hits = get_count(verification, "control_hits");
    if (get_count(verification, "hits") != 0)
        *work.bad = true;
}

static void read_backups(struct part p)
{
    const json_t *json = json_object_get(p.json, "backups");
    size_t n = json_array_size(json);
    struct gx_client_backup *list = gx_bump_alloc(&p.o->mem, (n + 1) * sizeof(*list));
    if (!json_is_array(json) || list == NULL) {
        *p.bad = true;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        struct part one = {p.o, json_array_get(json, i), p.bad};
        list[i] = (struct gx_client_backup){get_text(one, "id"), get_time(one, "created"), get_time(one, "expires")};
    }
    p.o->c.backups = list;
    p.o->c.n_backups = n;
}

static enum gx_status read_statement(struct certificate *o, const json_t *statement)
{
    bool bad = false;
    struct part p = {o, statement, &bad}, scope = get_part(p, "scope");
    struct gx_client_certificate *c = &o->c;
    c->serial = get_count(p, "serial");
    c->previous = get_digest(p, "previous");
    c->key = get_digest(p, "key");
    c->store = get_text(p, "store");
    c->server = get_text(p, "server");
    read_order(p);
    read_stages(get_part(p, "stages"));
    read_checks(get_part(p, "work"), get_part(p, "verification"));
    c->covers = get_texts(scope, "covers", &c->n_covers);
    c->excludes = get_texts(scope, "excludes", &c->n_excludes);
    read_backups(p);
    return bad ? gx_error_set(GX_E_CORRUPT, "a field of the certificate is missing or makes no sense") : GX_OK;
}

/* ---------------------------------------------------------------- form */

static enum gx_status no_memory(size_t len)
{
    return gx_error_set(GX_E_NOMEM, "out of memory for a certificate of %zu bytes", len);
}

/* Written out again it must be the same bytes. */
static enum gx_status check_canonical(const json_t *json, const uint8_t *bytes, size_t len)
{
    /* Not by json_dumps, which loses keys where memory ends (jansson 2.14). */
    size_t text_len = json_dumpb(json, NULL, 0, CANONICAL);
    char *text = text_len > 0 ? malloc(text_len) : NULL;
    if (text == NULL || json_dumpb(json, text, text_len, CANONICAL) != text_len) {
        free(text);
        return no_memory(len);
    }
    bool same = len == text_len + 1 && bytes[text_len] == '\n' && memcmp(text, bytes, text_len) == 0;
    free(text);
    if (!same)
        return gx_error_set(GX_E_CORRUPT, "the certificate is not in its only form: it was changed after it was "
                                          "issued, or edited by a program that writes JSON anew");
    return GX_OK;
}

static enum gx_status no_certificate(void)
{
    return gx_error_set(GX_E_CORRUPT, "this is no certificate of indexd: give the file as the server issued it");
}

static enum gx_status check_form(struct certificate *o, const uint8_t *bytes, size_t len)
{
    const json_t *statement = json_object_get(o->json, "statement");
    const char *signature = json_string_value(json_object_get(o->json, "signature"));
    const char *type = json_string_value(json_object_get(statement, "type"));
    const json_t *version = json_object_get(statement, "version");
    if (json_object_size(o->json) != 2 || signature == NULL || !is_hex(signature, 2 * SIGNATURE_LEN) || type == NULL ||
        strcmp(type, TYPE) != 0 || !json_is_integer(version))
        return no_certificate();
    if (json_integer_value(version) != VERSION)
        return gx_error_set(GX_E_FORMAT,
                            "the certificate is of version %" JSON_INTEGER_FORMAT ", this program knows %d: check it "
                            "with the version of indexctl that belongs to its server",
                            json_integer_value(version), VERSION);
    memcpy(o->c.signature, signature, 2 * SIGNATURE_LEN);
    return check_canonical(o->json, bytes, len);
}

static enum gx_status read_certificate(const uint8_t *bytes, size_t len, const struct public_key *key,
                                       struct certificate *o)
{
    if (len > GX_CLIENT_CERTIFICATE_MAX)
        return no_certificate();
    o->json = json_loadb((const char *)bytes, len, JSON_REJECT_DUPLICATES, NULL);
    if (o->json == NULL) /* or memory is short, which jansson cannot tell */
        return no_certificate();
    enum gx_status status = check_form(o, bytes, len);
    if (status == GX_OK)
        status = read_statement(o, json_object_get(o->json, "statement"));
    if (status == GX_OK)
        status = digest_of(bytes, len, o->c.digest);
    if (status == GX_OK && key != NULL)
        status = check_key(o, key);
    if (status == GX_OK && key != NULL)
        status = check_signature(o, key, bytes, len);
    o->c.checked = status == GX_OK && key != NULL;
    return status;
}

static enum gx_status read_with(const void *bytes, size_t len, const struct public_key *key,
                                struct gx_client_certificate **out)
{
    struct certificate *o = calloc(1, sizeof(*o));
    if (o == NULL)
        return no_memory(len);
    gx_bump_init(&o->mem, 4 * (size_t)GX_CLIENT_CERTIFICATE_MAX);
    enum gx_status status = read_certificate(bytes, len, key, o);
    ERR_clear_error();
    if (status != GX_OK || out == NULL) {
        gx_client_certificate_free(&o->c);
        return status;
    }
    *out = &o->c;
    return GX_OK;
}

/* ---------------------------------------------------------------- for users */

enum gx_status gx_client_certificate_verify(const void *bytes, size_t len, const void *public_key,
                                            size_t public_key_len, struct gx_client_certificate **out)
{
    struct public_key key;
    gx_error_clear();
    if (out != NULL)
        *out = NULL;
    enum gx_status status = read_key(public_key, public_key_len, &key);
    ERR_clear_error();
    if (status != GX_OK)
        return status;
    status = read_with(bytes, len, &key, out);
    EVP_PKEY_free(key.key);
    return status;
}

enum gx_status gx_client_certificate_read(const void *bytes, size_t len, struct gx_client_certificate **out)
{
    gx_error_clear();
    *out = NULL;
    return read_with(bytes, len, NULL, out);
}

enum gx_status gx_client_certificate_follows(const struct gx_client_certificate *certificate,
                                             const struct gx_client_certificate *previous)
{
    gx_error_clear();
    if (strcmp(certificate->store, previous->store) != 0)
        return gx_error_set(GX_E_CORRUPT, "the two certificates are of two servers");
    if (certificate->serial != previous->serial + 1)
        return gx_error_set(GX_E_CORRUPT,
                            "certificate %llu does not follow certificate %llu: give them in the order "
                            "of their numbers, without a gap",
                            (unsigned long long)certificate->serial, (unsigned long long)previous->serial);
    if (strcmp(certificate->previous, previous->digest) != 0)
        return gx_error_set(GX_E_CORRUPT, "certificate %llu was issued after another certificate %llu than this one",
                            (unsigned long long)certificate->serial, (unsigned long long)previous->serial);
    return GX_OK;
}
