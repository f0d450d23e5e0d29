/* The page of a certificate for people: goes into a file of the court, so it says what was done, what was not, and how
 * anybody can check it. Plain text, to be printed. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "indexd/client.h"

#define WIDTH  78
#define LABEL  22
#define INDENT 3

/* ---------------------------------------------------------------- laying out */

struct page {
    FILE *file;
    size_t column;
};

/* How many bytes stand at @text that must not be printed as they are: control characters, and those that break lines or
 * turn the writing direction, so that nothing on the page can look like something else. */
static size_t unprintable(const unsigned char *text)
{
    if (text[0] < 0x20 || text[0] == 0x7f)
        return 1;
    if (text[0] == 0xc2 && text[1] >= 0x80 && text[1] <= 0x9f)
        return 2;
    if (text[0] == 0xe2 && text[1] == 0x80 && text[2] >= 0xa8 && text[2] <= 0xae)
        return 3;
    if (text[0] == 0xe2 && text[1] == 0x81 && text[2] >= 0xa6 && text[2] <= 0xa9)
        return 3;
    return 0;
}

static size_t width_of(const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += ((unsigned char)text[i] & 0xc0) != 0x80;
    return n;
}

static void new_line(struct page *p, size_t indent)
{
    (void)fprintf(p->file, "\n%*s", (int)indent, "");
    p->column = indent;
}

/* A word, in pieces where it is longer than a line. */
static void put_word(struct page *p, const char *word, size_t len, size_t indent)
{
    for (size_t i = 0; i < len;) {
        size_t bad = unprintable((const unsigned char *)word + i);
        size_t n = 1;
        if (p->column >= WIDTH)
            new_line(p, indent);
        while (bad == 0 && i + n < len && ((unsigned char)word[i + n] & 0xc0) == 0x80)
            n++;
        if (bad != 0)
            (void)fputc('?', p->file);
        else
            (void)fwrite(word + i, 1, n, p->file);
        p->column++;
        i += bad != 0 ? bad : n;
    }
}

/* Words from the present column on, each further line indented. */
static void put_words(struct page *p, size_t indent, const char *text)
{
    bool first = true;
    while (*text != '\0') {
        size_t len = strcspn(text, " ");
        if (!first && p->column + 1 + width_of(text, len) > WIDTH) {
            new_line(p, indent);
        } else if (!first) {
            (void)fputc(' ', p->file);
            p->column++;
        }
        put_word(p, text, len, indent);
        first = false;
        text += len + (text[len] == ' ');
    }
}

static void begin_line(struct page *p, size_t indent)
{
    (void)fprintf(p->file, "%*s", (int)indent, "");
    p->column = indent;
}

static void end_line(struct page *p)
{
    (void)fputc('\n', p->file);
    p->column = 0;
}

static void heading(struct page *p, const char *text)
{
    (void)fprintf(p->file, "\n%s\n\n", text);
}

__attribute__((format(printf, 2, 3))) static void paragraph(struct page *p, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        text = NULL;
    va_end(args);
    begin_line(p, INDENT);
    put_words(p, INDENT, text != NULL ? text : "(out of memory)");
    end_line(p);
    free(text);
}

static void field(struct page *p, const char *label, const char *text)
{
    (void)fprintf(p->file, "%*s%-*s", INDENT, "", LABEL, label);
    p->column = INDENT + LABEL;
    put_words(p, INDENT + LABEL, text);
    end_line(p);
}

static void item(struct page *p, const char *text)
{
    (void)fprintf(p->file, "%*s- ", INDENT, "");
    p->column = INDENT + 2;
    put_words(p, INDENT + 2, text);
    end_line(p);
}

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

/* ---------------------------------------------------------------- the page */

static void put_head(struct page *p, const struct gx_client_certificate *c)
{
    char text[256];
    (void)fprintf(p->file, "%*s%s\n\n", (WIDTH - 26) / 2, "", "CERTIFICATE OF EXPUNGEMENT");
    field(p, "Order", c->order_ref);
    field(p, "Gallery", c->gallery);
    field(p, "Ticket", c->ticket_id);
    (void)snprintf(text, sizeof(text), "number %" PRIu64, c->serial);
    field(p, "Certificate", text);
    field(p, "Issued by", c->server);
    field(p, "Data store", c->store);
    field(p, "Signature",
          c->checked ? "checked: it holds under the key named in section 7"
                     : "NOT CHECKED: this page proves nothing before the check of section 7");
}

static void put_removed(struct page *p, const struct gx_client_certificate *c)
{
    const char *kind = c->kind == GX_CLIENT_ARREST ? "arrest" : c->kind == GX_CLIENT_SUBJECT ? "subject" : "record";
    heading(p, "1. What was removed");
    paragraph(p,
              "%" PRIu64 " record%s: the face embedding%s with the record, subject and arrest ids and all other "
              "properties.",
              c->records, plural(c->records), plural(c->records));
    paragraph(p, "The order names %" PRIu64 " %s id%s; %" PRIu64 " of them matched no record.", c->ids, kind,
              plural(c->ids), c->unmatched_ids);
    if (c->kind == GX_CLIENT_SUBJECT)
        paragraph(p, "The removed records cannot be enrolled again.");
    else
        paragraph(p, "Neither the removed records nor the ids in the order can be enrolled again.");
    paragraph(p, "No id is printed here: the certificate holds keyed hashes (HMAC-SHA-256) of the ids in the order and "
                 "of the removed records.");
}

static void put_stage(struct page *p, const char *at, const char *what)
{
    begin_line(p, INDENT);
    put_words(p, INDENT, at[0] != '\0' ? at : "nothing to do");
    while (p->column < INDENT + 29) {
        (void)fputc(' ', p->file);
        p->column++;
    }
    put_words(p, INDENT + 29, what);
    end_line(p);
}

static void put_stages(struct page *p, const struct gx_client_certificate *c)
{
    heading(p, "2. When (UTC)");
    put_stage(p, c->accepted,
              "accepted: durable in the outer ledger and in the store; from here on no search returned "
              "the records");
    put_stage(p, c->unindexed, "unindexed: overwritten with zeros in memory, out of the search index");
    put_stage(p, c->flushed, "flushed: the removal had reached the database's table files");
    put_stage(p, c->compacted, "compacted: each table file that held a removed record was written anew without it");
    put_stage(p, c->unlinked,
              "unlinked: the old table files and write-ahead logs were gone from the directory, "
              "durably");
    put_stage(p, c->erased, "erased: nothing left in the data directory, nor in memory");
    put_stage(p, c->verified, "verified: checked as section 3 says");
    end_line(p);
    paragraph(p,
              "Attempts: %" PRIu64 ". The run that erased, which may have served other orders too, wrote %" PRIu64
              " file%s anew (%" PRIu64 " bytes) and removed %" PRIu64 " file%s.",
              c->attempts, c->files_rewritten, plural(c->files_rewritten), c->bytes_rewritten, c->files_removed,
              plural(c->files_removed));
}

static void put_check(struct page *p, const struct gx_client_certificate *c)
{
    heading(p, "3. How it was checked");
    if (strcmp(c->method, "bytes") == 0) {
        paragraph(p,
                  "By bytes: the removed embeddings were looked for in the files of the data directory; %" PRIu64
                  " file%s, %" PRIu64 " bytes, were read, and no piece of an embedding was found.",
                  c->files_scanned, plural(c->files_scanned), c->bytes_scanned);
        paragraph(p,
                  "That this search finds what is there was shown before: it had found the embeddings in %" PRIu64
                  " place%s before they were erased.",
                  c->control_hits, plural(c->control_hits));
        paragraph(p,
                  "%" PRIu64 " table file%s left out, because the range of keys in each excludes every removed record.",
                  c->files_left_out, c->files_left_out == 1 ? " was" : "s were");
    } else {
        paragraph(p, "By structure, not by bytes: %s.", c->reason);
        paragraph(p,
                  "No file that can hold the records, by the range of keys that the database states for it, is older "
                  "than the erasure.");
    }
}

static void put_list(struct page *p, const char *title, const char *const *texts, size_t n)
{
    heading(p, title);
    for (size_t i = 0; i < n; i++)
        item(p, texts[i]);
}

static void put_backups(struct page *p, const struct gx_client_certificate *c)
{
    heading(p, "6. Backups that still held the records when this was issued");
    if (c->n_backups == 0)
        paragraph(p, "None that the server knows of.");
    for (size_t i = 0; i < c->n_backups; i++) {
        const struct gx_client_backup *b = &c->backups[i];
        char *text = NULL;
        int n = b->expires[0] != '\0'
                    ? asprintf(&text, "%s, made %s, to be destroyed by %s", b->id, b->created, b->expires)
                    : asprintf(&text, "%s, made %s, kept until somebody destroys it", b->id, b->created);
        item(p, n >= 0 ? text : "(out of memory)");
        if (n >= 0)
            free(text);
    }
}

/* Digits in lines of 64, which is what tools print of a SHA-256. */
static void put_hex(struct page *p, const char *label, const char *digits)
{
    (void)fprintf(p->file, "%*s%s\n", INDENT, "", label);
    for (size_t n = strlen(digits), i = 0; i < n; i += 64)
        (void)fprintf(p->file, "     %.64s\n", digits + i);
}

static void put_proof(struct page *p, const struct gx_client_certificate *c)
{
    heading(p, "7. How to check this");
    paragraph(p, "This page is for reading. What counts is the certificate's file, with the server's public key "
                 "(certificate.pub) that was handed over when the server was set up:");
    (void)fputs("\n     indexctl certificate verify FILE --key certificate.pub\n\n", p->file);
    paragraph(p, "or with OpenSSL 3 and the tools of any Linux, without indexd:");
    (void)fputs("\n"
                "     sed 's/^{\"signature\":\"\\([0-9a-f]*\\)\".*/\\1/' FILE |\n"
                "         tr -d '\\n' | tr a-f A-F | basenc -d --base16 >signature\n"
                "     sed 's/^{\"signature\":\"[0-9a-f]*\",\"statement\"://; s/}$//' FILE |\n"
                "         tr -d '\\n' >statement\n"
                "     openssl pkeyutl -verify -rawin -pubin -inkey certificate.pub \\\n"
                "         -in statement -sigfile signature\n"
                "     openssl pkey -pubin -in certificate.pub -outform DER | sha256sum\n"
                "     sha256sum FILE\n"
                "\n",
                p->file);
    put_hex(p, "SHA-256 of the public key", c->key);
    put_hex(p, "SHA-256 of the certificate's file", c->digest);
    put_hex(p, "SHA-256 of the certificate before it (zeros: this is the first)", c->previous);
    put_hex(p, "Signature (Ed25519, RFC 8032, over the statement)", c->signature);
}

static void put_page(struct page *p, const struct gx_client_certificate *c)
{
    put_head(p, c);
    put_removed(p, c);
    put_stages(p, c);
    put_check(p, c);
    put_list(p, "4. What this covers", c->covers, c->n_covers);
    put_list(p, "5. What this does not cover", c->excludes, c->n_excludes);
    put_backups(p, c);
    put_proof(p, c);
}

enum gx_status gx_client_certificate_text(const struct gx_client_certificate *certificate, char **out_text)
{
    char *text = NULL;
    size_t len = 0;
    gx_error_clear();
    *out_text = NULL;
    struct page page = {open_memstream(&text, &len), 0};
    if (page.file == NULL)
        return gx_error_set(GX_E_NOMEM, "out of memory for the page");
    put_page(&page, certificate);
    bool bad = ferror(page.file) != 0;
    bad = fclose(page.file) != 0 || bad;
    if (bad) {
        free(text);
        return gx_error_set(GX_E_NOMEM, "out of memory for the page");
    }
    *out_text = text;
    return GX_OK;
}
