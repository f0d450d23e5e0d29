/* What the tests of the ledger share: a folder of their own, entries made of numbers, whole files. */
#ifndef GX_TESTS_LEDGER_TOOLS_H
#define GX_TESTS_LEDGER_TOOLS_H

#include "ledger.h"

#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* Not every program needs every one of them. */
#define TOOL __attribute__((unused)) static

static char base_path[256], dir_path[300], a_path[320], b_path[320];

/* ---------------------------------------------------------------- folder and files */

TOOL int remove_one(const char *path, const struct stat *info, int type, struct FTW *place)
{
    (void)info;
    (void)type;
    (void)place;
    return remove(path);
}

/* A folder for this test; all of them are in base_path, which is removed when all tests have run. */
TOOL void begin_test(void)
{
    static int n = 0;
    snprintf(dir_path, sizeof(dir_path), "%s/%d-%d", base_path, (int)getpid(), n++);
    ck_assert_int_eq(mkdir(dir_path, 0700), 0);
    snprintf(a_path, sizeof(a_path), "%s/a.log", dir_path);
    snprintf(b_path, sizeof(b_path), "%s/b.log", dir_path);
}

TOOL int run_suite(Suite *suite)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(base_path, sizeof(base_path), "%s/indexd-ledger-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (mkdtemp(base_path) == NULL) {
        perror(base_path);
        return EXIT_FAILURE;
    }
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    nftw(base_path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
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

/* Entry @i: i % 4 + 1 records, i % 3 + 1 named ids; lives until the next call. */
TOOL struct gx_ledger_entry make_entry(uint64_t i)
{
    static uint64_t rnos[4];
    static struct gx_key records[4], named[3];
    static char gallery[GX_NAME_MAX], order_ref[GX_ORDER_REF_MAX];
    struct gx_ledger_entry entry = {.number = number_of(i), .at_us = (int64_t)(i * 1000), .kind = kind_of(i)};
    memset(entry.store.bytes, (int)i, GX_UUID_LEN);
    entry.n_records = i % 4 + 1;
    entry.n_named = i % 3 + 1;
    for (size_t j = 0; j < entry.n_records; j++) {
        rnos[j] = i * 1000 + j;
        records[j] = key_of(i, j);
    }
    for (size_t j = 0; j < entry.n_named; j++)
        named[j] = key_of(i, 1000 + j);
    snprintf(gallery, sizeof(gallery), "gallery-%llu", (unsigned long long)i);
    snprintf(order_ref, sizeof(order_ref), "%.*s", (int)(i % 20), "an order reference that differs in length");
    entry.gallery = gx_slice_text(gallery);
    entry.order_ref = gx_slice_text(order_ref);
    entry.named = named;
    entry.rnos = rnos;
    entry.records = records;
    return entry;
}

/* A visitor: the entry must be *arg. */
TOOL enum gx_status same_entry(void *arg, const struct gx_ledger_entry *entry, struct gx_err *err)
{
    (void)err;
    const struct gx_ledger_entry *wanted = arg;
    ck_assert_uint_eq(entry->number, wanted->number);
    ck_assert_int_eq(entry->at_us, wanted->at_us);
    ck_assert_int_eq(entry->kind, wanted->kind);
    ck_assert_mem_eq(&entry->store, &wanted->store, sizeof(entry->store));
    ck_assert(gx_slice_equal(entry->gallery, wanted->gallery));
    ck_assert(gx_slice_equal(entry->order_ref, wanted->order_ref));
    ck_assert_uint_eq(entry->n_named, wanted->n_named);
    ck_assert_uint_eq(entry->n_records, wanted->n_records);
    ck_assert_mem_eq(entry->named, wanted->named, entry->n_named * sizeof(struct gx_key));
    ck_assert_mem_eq(entry->rnos, wanted->rnos, entry->n_records * sizeof(uint64_t));
    ck_assert_mem_eq(entry->records, wanted->records, entry->n_records * sizeof(struct gx_key));
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
