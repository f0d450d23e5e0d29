/* What the tests of the ledger share: a folder of their own, entries made of numbers, whole files. */
#ifndef GX_TESTS_LEDGER_TOOLS_H
#define GX_TESTS_LEDGER_TOOLS_H

#include "ledger.h"

#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "suite.h"

/* Not every program needs every one of them. */
#define TOOL __attribute__((unused)) static

static char dir_path[256], a_path[320], b_path[320];

/* ---------------------------------------------------------------- folder and files */

/* A folder for this test. */
TOOL void begin_test(void)
{
    gx_suite_new_path(dir_path);
    ck_assert_int_eq(mkdir(dir_path, 0700), 0);
    snprintf(a_path, sizeof(a_path), "%s/a.log", dir_path);
    snprintf(b_path, sizeof(b_path), "%s/b.log", dir_path);
}

struct bytes {
    uint8_t data[65536];
    size_t len;
};

TOOL struct bytes read_whole(const char *path)
{
    struct bytes bytes;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ssize_t n = read(fd, bytes.data, sizeof(bytes.data));
    close(fd);
    ck_assert(n >= 0 && (size_t)n < sizeof(bytes.data));
    bytes.len = (size_t)n;
    return bytes;
}

TOOL void write_whole(const char *path, const void *data, size_t len)
{
    /* Not with O_TRUNC, after which some file systems wait for the disk on close. */
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, data, len), (ssize_t)len);
    ck_assert_int_eq(ftruncate(fd, (off_t)len), 0);
    close(fd);
}

TOOL void ck_assert_files_equal(const char *a, const char *b)
{
    struct bytes first = read_whole(a), second = read_whole(b);
    ck_assert_uint_eq(first.len, second.len);
    ck_assert_mem_eq(first.data, second.data, first.len);
}

/* ---------------------------------------------------------------- entries: everything follows from a number */

TOOL struct gx_key key_of(uint64_t i, uint64_t j)
{
    struct gx_key key;
    uint64_t x = i * 0x9e3779b97f4a7c15u + j * 0xbf58476d1ce4e5b9u + 1;
    for (size_t k = 0; k < GX_KEY_LEN; k++) {
        x ^= x >> 31;
        x *= 0x94d049bb133111ebu;
        key.bytes[k] = (uint8_t)(x >> 40);
    }
    return key;
}

TOOL uint64_t number_of(uint64_t i)
{
    return i * 3;
}

TOOL enum gx_id_kind kind_of(uint64_t i)
{
    return (enum gx_id_kind)(i % 3 + 1);
}

static bool mixed; /* entries of all types, in turn; else expungements only */

/* Of entry @i when they are mixed: 1 and 8 are expungements, and every type comes between. */
TOOL enum gx_ledger_type type_of(uint64_t i)
{
    static const enum gx_ledger_type types[] = {GX_LEDGER_EXPUNGE, GX_LEDGER_EXPUNGE,        GX_LEDGER_HOLD,
                                                GX_LEDGER_RELEASE, GX_LEDGER_ERASED,         GX_LEDGER_VERIFIED,
                                                GX_LEDGER_FAILED,  GX_LEDGER_GALLERY_DELETED};
    return mixed ? types[i % 8] : GX_LEDGER_EXPUNGE;
}

static uint64_t rnos_[4], tickets_[3];
static struct gx_key records_[4], named_[3];
static char gallery_[GX_NAME_MAX], text_[GX_ORDER_REF_MAX];

/* An order, a hold or a deletion. */
TOOL void ask_for(uint64_t i, struct gx_ledger_entry *entry)
{
    snprintf(gallery_, sizeof(gallery_), "gallery-%llu", (unsigned long long)i);
    entry->gallery = gx_slice_text(gallery_);
    memset(entry->gallery_uuid.bytes, (int)(i + 1), GX_UUID_LEN);
    if (i % 2 == 0) { /* the others had no request id */
        entry->request = key_of(i, 2000);
        memset(entry->content.bytes, (int)(i + 2), GX_DIGEST_LEN);
    }
    if (entry->type == GX_LEDGER_GALLERY_DELETED) {
        entry->n_held = i * 10;
        return;
    }
    entry->kind = entry->type == GX_LEDGER_EXPUNGE ? kind_of(i) : GX_ID_ARREST;
    entry->n_named = i % 3 + 1;
    for (size_t j = 0; j < entry->n_named; j++)
        named_[j] = key_of(i, 1000 + j);
    entry->named = named_;
    snprintf(text_, sizeof(text_), "%.*s", (int)(i % 20), "an order reference that differs in length");
    entry->text = gx_slice_text(text_);
}

/* Entry @i: an order has i % 4 + 1 records, i % 3 + 1 named ids; lives until the next call. */
TOOL struct gx_ledger_entry make_entry(uint64_t i)
{
    struct gx_ledger_entry entry = {.type = type_of(i), .at_us = (int64_t)(i * 1000)};
    memset(entry.store.bytes, (int)i, GX_UUID_LEN);
    if (entry.type == GX_LEDGER_ERASED || entry.type == GX_LEDGER_VERIFIED || entry.type == GX_LEDGER_FAILED) {
        for (uint64_t j = 1; j < i && entry.n_tickets < GX_COUNT_OF(tickets_); j++)
            if (type_of(j) == GX_LEDGER_EXPUNGE)
                tickets_[entry.n_tickets++] = number_of(j);
        entry.tickets = tickets_;
    } else {
        ask_for(i, &entry);
    }
    if (entry.type == GX_LEDGER_FAILED)
        entry.text = gx_slice_text("a file could not be removed");
    if (entry.type == GX_LEDGER_VERIFIED) {
        entry.serial = i * 2;
        memset(entry.certificate.bytes, (int)(i + 3), GX_DIGEST_LEN);
    }
    entry.quarantine = entry.type == GX_LEDGER_HOLD && i % 16 == 2;
    if (entry.type != GX_LEDGER_EXPUNGE)
        return entry;
    entry.number = number_of(i);
    entry.n_unmatched = i % entry.n_named;
    entry.n_records = i % 4 + 1;
    for (size_t j = 0; j < entry.n_records; j++) {
        rnos_[j] = i * 1000 + j;
        records_[j] = key_of(i, j);
    }
    entry.rnos = rnos_;
    entry.records = records_;
    return entry;
}

/* A visitor: the entry must be *arg. */
TOOL enum gx_status same_entry(void *arg, const struct gx_ledger_entry *entry, struct gx_err *err)
{
    (void)err;
    const struct gx_ledger_entry *wanted = arg;
    ck_assert_int_eq(entry->type, wanted->type);
    ck_assert_uint_eq(entry->number, wanted->number);
    ck_assert_int_eq(entry->at_us, wanted->at_us);
    ck_assert_int_eq(entry->kind, wanted->kind);
    ck_assert_int_eq(entry->quarantine, wanted->quarantine);
    ck_assert_uint_eq(entry->n_unmatched, wanted->n_unmatched);
    ck_assert_uint_eq(entry->serial, wanted->serial);
    ck_assert_uint_eq(entry->n_held, wanted->n_held);
    ck_assert_mem_eq(&entry->store, &wanted->store, sizeof(entry->store));
    ck_assert_mem_eq(&entry->gallery_uuid, &wanted->gallery_uuid, sizeof(entry->gallery_uuid));
    ck_assert_mem_eq(&entry->request, &wanted->request, sizeof(entry->request));
    ck_assert_mem_eq(&entry->content, &wanted->content, sizeof(entry->content));
    ck_assert_mem_eq(&entry->certificate, &wanted->certificate, sizeof(entry->certificate));
    ck_assert(gx_slice_equal(entry->gallery, wanted->gallery));
    ck_assert(gx_slice_equal(entry->text, wanted->text));
    ck_assert_uint_eq(entry->n_named, wanted->n_named);
    ck_assert_uint_eq(entry->n_records, wanted->n_records);
    ck_assert_uint_eq(entry->n_tickets, wanted->n_tickets);
    for (size_t i = 0; i < entry->n_named; i++)
        ck_assert_mem_eq(&entry->named[i], &wanted->named[i], sizeof(struct gx_key));
    for (size_t i = 0; i < entry->n_tickets; i++)
        ck_assert_uint_eq(entry->tickets[i], wanted->tickets[i]);
    if (entry->n_records > 0) {
        ck_assert_mem_eq(entry->rnos, wanted->rnos, entry->n_records * sizeof(uint64_t));
        ck_assert_mem_eq(entry->records, wanted->records, entry->n_records * sizeof(struct gx_key));
    }
    return GX_OK;
}

static struct {
    uint64_t n;
    bool torn;
    struct gx_digest heads[1024];
} seen; /* by the last open_ledger */

/* A visitor: entries 1, 2, 3… as make_entry makes them. */
TOOL enum gx_status in_order(void *arg, const struct gx_ledger_entry *entry, struct gx_err *err)
{
    (void)arg;
    struct gx_ledger_entry wanted = make_entry(++seen.n);
    if (seen.n < GX_COUNT_OF(seen.heads))
        seen.heads[seen.n] = entry->head;
    return same_entry(&wanted, entry, err);
}

/* ---------------------------------------------------------------- ledgers */

TOOL void make_ledger(const char *path)
{
    struct gx_err err = {0};
    ck_assert_msg(gx_ledger_create(path, &err) == GX_OK, "%s", err.text);
}

TOOL struct gx_ledger *open_ledger(const char *path, const char *mirror)
{
    struct gx_err err = {0};
    struct gx_ledger *ledger;
    seen.n = 0;
    ck_assert_msg(gx_ledger_open(path, mirror, in_order, NULL, &ledger, &seen.torn, &err) == GX_OK, "%s", err.text);
    ck_assert_uint_eq(gx_ledger_entries(ledger), seen.n);
    return ledger;
}

TOOL void assert_refused(const char *path, const char *mirror, enum gx_status status, const char *text)
{
    struct gx_err err = {0};
    struct gx_ledger *ledger;
    bool torn;
    enum gx_status got = gx_ledger_open(path, mirror, NULL, NULL, &ledger, &torn, &err);
    ck_assert_msg(got == status, "status %d instead of %d: %s", got, status, err.text);
    ck_assert_ptr_null(ledger);
    ck_assert_msg(strstr(err.text, text) != NULL, "no '%s' in: %s", text, err.text);
}

TOOL void append_ok(struct gx_ledger *ledger, uint64_t i)
{
    struct gx_ledger_entry entry = make_entry(i);
    struct gx_err err = {0};
    ck_assert_msg(gx_ledger_append(ledger, &entry, &err) == GX_OK, "%s", err.text);
}

#endif
