/* certificate get, verify, show, key. verify, and show of a file, need no server. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "indexctl_command.h"
#include "indexctl_json.h"
#include "indexctl_table.h"

#define AT(member) offsetof(struct gx_indexctl_args, member)
#define KEY_MAX    65536

/* ---------------------------------------------------------------- files */

struct bytes {
    void *data; /* malloc'ed */
    size_t len;
};

static enum gx_status read_file(const char *path, size_t max, struct bytes *out)
{
    *out = (struct bytes){malloc(max + 1), 0};
    if (out->data == NULL)
        return gx_indexctl_fail(GX_E_NOMEM, "out of memory for %s", path);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return gx_indexctl_fail(errno == ENOENT ? GX_E_NOT_FOUND : GX_E_IO, "cannot open %s: %s", path,
                                strerror(errno));
    out->len = fread(out->data, 1, max + 1, file);
    bool bad = ferror(file) != 0;
    int why = errno;
    (void)fclose(file);
    if (bad)
        return gx_indexctl_fail(GX_E_IO, "cannot read %s: %s", path, strerror(why));
    if (out->len > max)
        return gx_indexctl_fail(GX_E_TOO_LARGE, "%s has more than %zu bytes: it is no such file", path, max);
    return GX_OK;
}

/* Whole or not at all: a temporary file beside it takes its name. */
static enum gx_status write_file(const char *path, const void *data, size_t len)
{
    char *temporary;
    if (asprintf(&temporary, "%s.tmp", path) < 0)
        return gx_indexctl_fail(GX_E_NOMEM, "out of memory");
    FILE *file = fopen(temporary, "we");
    bool good = file != NULL;
    good = good && fwrite(data, 1, len, file) == len && fflush(file) == 0 && fsync(fileno(file)) == 0;
    int why = errno;
    if (file != NULL && fclose(file) != 0 && good) {
        why = errno;
        good = false;
    }
    if (good && rename(temporary, path) != 0) {
        why = errno;
        good = false;
    }
    if (!good && file != NULL)
        (void)unlink(temporary);
    free(temporary);
    return good ? GX_OK : gx_indexctl_fail(GX_E_IO, "cannot write %s: %s", path, strerror(why));
}

static enum gx_status put_out(struct gx_indexctl_session *s, const void *data, size_t len)
{
    if (s->args->out_file != NULL)
        return write_file(s->args->out_file, data, len);
    (void)fwrite(data, 1, len, s->out);
    return GX_OK;
}

/* ---------------------------------------------------------------- from the server */

static bool is_ticket(const char *text)
{
    if (strncmp(text, "T-", 2) != 0 || text[2] == '\0')
        return false;
    for (text += 2; isdigit((unsigned char)*text);)
        text++;
    return *text == '\0';
}

/* The certificate and the key that it is to be checked with: --key, else the server's. */
static enum gx_status fetch(struct gx_indexctl_session *s, const char *ticket, struct bytes *out, struct bytes *out_key)
{
    enum gx_status status =
        gx_client_certificate_get(s->client, ticket, &out->data, &out->len, (char **)&out_key->data);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    out_key->len = strlen(out_key->data);
    if (s->args->key_file == NULL)
        return GX_OK;
    free(out_key->data);
    return read_file(s->args->key_file, KEY_MAX, out_key);
}

static enum gx_status run_get(struct gx_indexctl_session *s)
{
    struct bytes certificate = {NULL, 0}, key = {NULL, 0};
    enum gx_status status = fetch(s, s->args->words.items[0], &certificate, &key);
    if (status == GX_OK) {
        status = gx_client_certificate_verify(certificate.data, certificate.len, key.data, key.len, NULL);
        if (status != GX_OK)
            (void)gx_indexctl_fail_client(status);
    }
    if (status == GX_OK)
        status = put_out(s, certificate.data, certificate.len);
    free(certificate.data);
    free(key.data);
    return status;
}

static enum gx_status run_key(struct gx_indexctl_session *s)
{
    char *key;
    enum gx_status status = gx_client_certificate_get(s->client, NULL, NULL, NULL, &key);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    status =
        s->args->json && s->args->out_file == NULL ? gx_indexctl_json_key(s->out, key) : put_out(s, key, strlen(key));
    free(key);
    return status;
}

/* ---------------------------------------------------------------- offline */

/* Reads and checks a file; without @key (NULL) it is only read. */
static enum gx_status load(const char *path, const struct bytes *key, struct gx_client_certificate **out)
{
    struct bytes file;
    *out = NULL;
    enum gx_status status = read_file(path, GX_CLIENT_CERTIFICATE_MAX, &file);
    if (status == GX_OK) {
        status = key != NULL ? gx_client_certificate_verify(file.data, file.len, key->data, key->len, out)
                             : gx_client_certificate_read(file.data, file.len, out);
        if (status != GX_OK)
            (void)gx_indexctl_fail(status, "%s: %s", path, gx_client_error());
    }
    free(file.data);
    return status;
}

static enum gx_status print_good(struct gx_indexctl_session *s, const char *path, const struct gx_client_certificate *c)
{
    if (s->args->json)
        return gx_indexctl_json_certificate(s->out, path, c);
    char n[GX_INDEXCTL_TABLE_PLURAL_MAX];
    (void)fprintf(s->out, "%s: good. Certificate %" PRIu64 ", %s, %s removed, verified %s, order %s\n", path, c->serial,
                  c->ticket_id, gx_indexctl_table_plural(c->records, "record", n), c->verified, c->order_ref);
    return GX_OK;
}

/* Each file, and that each follows the one before it. */
static enum gx_status verify_all(struct gx_indexctl_session *s, const struct bytes *key)
{
    const struct gx_indexctl_list *files = &s->args->words;
    struct gx_client_certificate *before = NULL, *c;
    enum gx_status status = GX_OK;
    if (s->args->previous_file != NULL)
        status = load(s->args->previous_file, key, &before);
    for (size_t i = 0; status == GX_OK && i < files->n; i++) {
        status = load(files->items[i], key, &c);
        if (status == GX_OK && before != NULL) {
            status = gx_client_certificate_follows(c, before);
            if (status != GX_OK)
                (void)gx_indexctl_fail(status, "%s: %s", files->items[i], gx_client_error());
        }
        if (status == GX_OK)
            status = print_good(s, files->items[i], c);
        gx_client_certificate_free(before);
        before = c;
    }
    gx_client_certificate_free(before);
    return status;
}

static enum gx_status run_verify(struct gx_indexctl_session *s)
{
    struct bytes key;
    if (s->args->key_file == NULL)
        return gx_indexctl_fail(GX_E_INVALID,
                                "--key is missing: the file certificate.pub of the server that issued it");
    enum gx_status status = read_file(s->args->key_file, KEY_MAX, &key);
    if (status == GX_OK)
        status = verify_all(s, &key);
    free(key.data);
    return status;
}

static enum gx_status print_page(struct gx_indexctl_session *s, const struct gx_client_certificate *c)
{
    char *text;
    enum gx_status status = gx_client_certificate_text(c, &text);
    if (status != GX_OK)
        return gx_indexctl_fail_client(status);
    status = put_out(s, text, strlen(text));
    free(text);
    return status;
}

static enum gx_status run_show(struct gx_indexctl_session *s)
{
    const char *what = s->args->words.items[0];
    struct gx_client_certificate *c = NULL;
    struct bytes certificate = {NULL, 0}, key = {NULL, 0};
    enum gx_status status = GX_OK;
    if (is_ticket(what)) {
        status = fetch(s, what, &certificate, &key);
        if (status == GX_OK) {
            status = gx_client_certificate_verify(certificate.data, certificate.len, key.data, key.len, &c);
            if (status != GX_OK)
                (void)gx_indexctl_fail_client(status);
        }
    } else {
        if (s->args->key_file != NULL)
            status = read_file(s->args->key_file, KEY_MAX, &key);
        if (status == GX_OK)
            status = load(what, s->args->key_file != NULL ? &key : NULL, &c);
    }
    if (status == GX_OK)
        status = s->args->json ? gx_indexctl_json_certificate(s->out, what, c) : print_page(s, c);
    gx_client_certificate_free(c);
    free(certificate.data);
    free(key.data);
    return status;
}

/* ---------------------------------------------------------------- table */

#define OUT_OPTION                                                                                                     \
    {                                                                                                                  \
        "out", 'o', "FILE", GX_INDEXCTL_TEXT, AT(out_file), 0, 0, "write it to FILE, not to the standard output"       \
    }
#define KEY_OPTION(help)                                                                                               \
    {                                                                                                                  \
        "key", '\0', "FILE", GX_INDEXCTL_TEXT, AT(key_file), 0, 0, help                                                \
    }

static const struct gx_indexctl_option get_options[] = {
    OUT_OPTION,
    KEY_OPTION("check it with this public key (default: the one that the server gives)"),
    {0},
};
static const struct gx_indexctl_option verify_options[] = {
    KEY_OPTION("the server's public key, certificate.pub (required)"),
    {"previous", '\0', "FILE", GX_INDEXCTL_TEXT, AT(previous_file), 0, 0, "the certificate before the first one"},
    {0},
};
static const struct gx_indexctl_option show_options[] = {
    KEY_OPTION("check its signature with this public key"),
    OUT_OPTION,
    {0},
};
static const struct gx_indexctl_option key_options[] = {OUT_OPTION, {0}};

const struct gx_indexctl_command gx_indexctl_certificate_commands[] = {
    {"certificate get", "TICKET [--out FILE]", 1, 1, run_get, get_options, 0,
     "the signed certificate of an expungement that is VERIFIED",
     "The file is what is signed: keep it as it is. 'indexctl certificate show' makes a page to print of it.",
     "  indexctl certificate get T-00000042 --out T-00000042.certificate"},
    {"certificate verify", "FILE… --key PUB [--previous FILE]", 1, SIZE_MAX, run_verify, verify_options, 0,
     "whether certificates are genuine and unchanged; offline",
     "Checks the signature with the public key that was handed over when the server was set up. Of several files each\n"
     "must be the certificate after the one before it (they name each other by SHA-256), so give them in the order of\n"
     "their numbers: then none was left out or put in. The exit status is 16 when one is not genuine.",
     "  indexctl certificate verify T-00000042.certificate --key certificate.pub"},
    {"certificate show", "FILE|TICKET [--key PUB] [--out FILE]", 1, 1, run_show, show_options, 0,
     "a certificate as a page for people, to be printed",
     "Says what was removed under which order, when each stage was reached, how that was checked, what it covers and\n"
     "what not, and how to check the signature. Of a file it needs --key to say that the signature holds. A file "
     "whose\n"
     "name looks like a ticket is written ./T-00000042.",
     "  indexctl certificate show T-00000042.certificate --key certificate.pub --out page.txt\n"
     "  indexctl certificate show T-00000042"},
    {"certificate key", "[--out FILE]", 0, 0, run_key, key_options, 0,
     "the public key that certificates are checked with",
     "Fetch it once, when the server is set up, and keep it where the server's administrators cannot change it.",
     "  indexctl certificate key --out certificate.pub"},
    {0},
};
