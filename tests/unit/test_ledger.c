/* Promises of ledger.h: what is appended is there, in order, in both copies, and nothing is half there. Damage and
 * crashes have their own program, test_ledger_damage.c. */
#include "ledger.h"
#include "ledger_tools.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>

START_TEST(a_new_ledger_is_empty_and_opens)
{
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    ck_assert_uint_eq(gx_ledger_entries(ledger), 0);
    ck_assert_uint_eq(gx_ledger_last_number(ledger), 0);
    struct gx_key key = key_of(1, 1);
    ck_assert(!gx_ledger_is_expunged(ledger, GX_ID_RECORD, &key));
    gx_ledger_close(ledger);
    struct stat info;
    ck_assert_int_eq(stat(a_path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0600);
}
END_TEST

START_TEST(an_existing_file_is_not_replaced)
{
    make_ledger(a_path);
    struct gx_err err = {0};
    ck_assert_int_eq(gx_ledger_create(a_path, &err), GX_E_EXISTS);
    write_whole(b_path, "x", 1);
    ck_assert_int_eq(gx_ledger_create(b_path, &err), GX_E_EXISTS);
}
END_TEST

START_TEST(entries_come_back_in_order_as_they_were_appended)
{
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    struct gx_digest heads[9];
    for (uint64_t i = 1; i <= 8; i++) {
        append_ok(ledger, i);
        gx_ledger_head(ledger, &heads[i]);
        ck_assert_uint_eq(gx_ledger_entries(ledger), i);
        ck_assert_uint_eq(gx_ledger_last_number(ledger), number_of(i));
    }
    gx_ledger_close(ledger);
    ledger = open_ledger(a_path, NULL); /* compares every field of every entry */
    ck_assert_uint_eq(seen.n, 8);
    for (uint64_t i = 1; i <= 8; i++)
        ck_assert_mem_eq(&seen.heads[i], &heads[i], sizeof(heads[i]));
    append_ok(ledger, 9);
    gx_ledger_close(ledger);
    gx_ledger_close(open_ledger(a_path, NULL));
    ck_assert_uint_eq(seen.n, 9);
}
END_TEST

START_TEST(records_and_named_arrests_are_held_and_named_subjects_are_not)
{
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 1; i <= 6 && round == 0; i++)
            append_ok(ledger, i);
        for (uint64_t i = 1; i <= 6; i++) {
            struct gx_key named = key_of(i, 1000), record = key_of(i, 0), stranger = key_of(i, 5000);
            enum gx_id_kind kind = kind_of(i);
            ck_assert(gx_ledger_is_expunged(ledger, GX_ID_RECORD, &record));
            ck_assert(!gx_ledger_is_expunged(ledger, GX_ID_ARREST, &record));
            ck_assert(!gx_ledger_is_expunged(ledger, GX_ID_RECORD, &stranger));
            ck_assert_int_eq(gx_ledger_is_expunged(ledger, GX_ID_RECORD, &named), kind == GX_ID_RECORD);
            ck_assert_int_eq(gx_ledger_is_expunged(ledger, GX_ID_ARREST, &named), kind == GX_ID_ARREST);
            ck_assert(!gx_ledger_is_expunged(ledger, GX_ID_SUBJECT, &named));
        }
        gx_ledger_close(ledger);
        ledger = open_ledger(a_path, NULL);
    }
    gx_ledger_close(ledger);
}
END_TEST

START_TEST(keys_that_differ_in_one_bit_are_told_apart)
{
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    struct gx_key zero = {{0}}, key;
    struct gx_ledger_entry entry = {
        .type = GX_LEDGER_EXPUNGE, .number = 1, .kind = GX_ID_RECORD, .gallery = gx_slice_text("g"), .n_records = 1};
    uint64_t rno = 1;
    entry.rnos = &rno;
    entry.records = &zero;
    struct gx_err err = {0};
    ck_assert(!gx_ledger_is_expunged(ledger, GX_ID_RECORD, &zero));
    ck_assert_msg(gx_ledger_append(ledger, &entry, &err) == GX_OK, "%s", err.text);
    ck_assert(gx_ledger_is_expunged(ledger, GX_ID_RECORD, &zero));
    for (int bit = 0; bit < 8 * GX_KEY_LEN; bit++) {
        key = zero;
        key.bytes[bit / 8] = (uint8_t)(1 << bit % 8);
        ck_assert(!gx_ledger_is_expunged(ledger, GX_ID_RECORD, &key));
    }
    gx_ledger_close(ledger);
}
END_TEST

START_TEST(wrong_entries_are_refused_and_nothing_is_written)
{
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    append_ok(ledger, 1);
    struct bytes before = read_whole(a_path);
    struct gx_err err = {0};
    struct gx_ledger_entry entry = make_entry(2);
    entry.kind = GX_ID_REQUEST;
    ck_assert_int_eq(gx_ledger_append(ledger, &entry, &err), GX_E_INVALID);
    entry = make_entry(2);
    entry.gallery.len = 0;
    ck_assert_int_eq(gx_ledger_append(ledger, &entry, &err), GX_E_INVALID);
    entry = make_entry(2);
    entry.gallery.len = GX_NAME_MAX + 1;
    ck_assert_int_eq(gx_ledger_append(ledger, &entry, &err), GX_E_INVALID);
    entry = make_entry(2);
    entry.text.len = GX_ORDER_REF_MAX + 1;
    ck_assert_int_eq(gx_ledger_append(ledger, &entry, &err), GX_E_INVALID);
    entry = make_entry(2);
    entry.n_named = GX_EXPUNGE_IDS_MAX + 1;
    ck_assert_int_eq(gx_ledger_append(ledger, &entry, &err), GX_E_TOO_LARGE);
    entry = make_entry(2);
    entry.n_records = GX_EXPUNGE_MAX + 1;
    ck_assert_int_eq(gx_ledger_append(ledger, &entry, &err), GX_E_TOO_LARGE);
    entry = make_entry(2);
    entry.number = number_of(1);
    ck_assert_int_eq(gx_ledger_append(ledger, &entry, &err), GX_E_INVALID);
    struct bytes after = read_whole(a_path);
    ck_assert_uint_eq(before.len, after.len);
    ck_assert_mem_eq(before.data, after.data, after.len);
    append_ok(ledger, 2);
    gx_ledger_close(ledger);
}
END_TEST

START_TEST(the_largest_expungement_fits_and_comes_back)
{
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    static uint64_t rnos[GX_EXPUNGE_MAX];
    static struct gx_key records[GX_EXPUNGE_MAX], named[GX_EXPUNGE_IDS_MAX];
    for (uint64_t i = 0; i < GX_EXPUNGE_MAX; i++) {
        rnos[i] = i * 7 + (i << 40);
        records[i] = key_of(i, 1u << 20);
    }
    for (uint64_t i = 0; i < GX_EXPUNGE_IDS_MAX; i++)
        named[i] = key_of(i, 1u << 21);
    char name[GX_NAME_MAX], order_ref[GX_ORDER_REF_MAX];
    memset(name, 'n', sizeof(name));
    memset(order_ref, 'o', sizeof(order_ref));
    struct gx_ledger_entry entry = {.type = GX_LEDGER_EXPUNGE,
                                    .number = UINT64_MAX - 1,
                                    .at_us = -1,
                                    .kind = GX_ID_ARREST,
                                    .gallery = {(const uint8_t *)name, sizeof(name)},
                                    .text = {(const uint8_t *)order_ref, sizeof(order_ref)},
                                    .named = named,
                                    .n_named = GX_EXPUNGE_IDS_MAX,
                                    .rnos = rnos,
                                    .records = records,
                                    .n_records = GX_EXPUNGE_MAX};
    struct gx_err err = {0};
    ck_assert_msg(gx_ledger_append(ledger, &entry, &err) == GX_OK, "%s", err.text);
    gx_ledger_close(ledger);
    bool torn;
    ck_assert_msg(gx_ledger_open(a_path, NULL, same_entry, &entry, &ledger, &torn, &err) == GX_OK, "%s", err.text);
    for (uint64_t i = 0; i < GX_EXPUNGE_MAX; i += 97) {
        ck_assert(gx_ledger_is_expunged(ledger, GX_ID_RECORD, &records[i]));
        struct gx_key other = key_of(i, 1u << 22);
        ck_assert(!gx_ledger_is_expunged(ledger, GX_ID_RECORD, &other));
    }
    gx_ledger_close(ledger);
}
END_TEST

static enum gx_status stop_at_two(void *arg, const struct gx_ledger_entry *entry, struct gx_err *err)
{
    ++*(int *)arg;
    return entry->number >= number_of(2) ? gx_fail(err, GX_E_STATE, "two are enough") : GX_OK;
}

START_TEST(a_visitor_can_stop_the_opening)
{
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    for (uint64_t i = 1; i <= 4; i++)
        append_ok(ledger, i);
    gx_ledger_close(ledger);
    int n = 0;
    bool torn;
    struct gx_err err = {0};
    ck_assert_int_eq(gx_ledger_open(a_path, NULL, stop_at_two, &n, &ledger, &torn, &err), GX_E_STATE);
    ck_assert_int_eq(n, 2);
    ck_assert_str_eq(err.text, "two are enough");
    ck_assert_ptr_null(ledger);
}
END_TEST

START_TEST(a_missing_ledger_is_not_found_and_not_made)
{
    struct gx_ledger *ledger;
    bool torn;
    struct gx_err err = {0};
    ck_assert_int_eq(gx_ledger_open(a_path, b_path, NULL, NULL, &ledger, &torn, &err), GX_E_NOT_FOUND);
    ck_assert_ptr_null(ledger);
    ck_assert_int_ne(access(a_path, F_OK), 0);
    ck_assert_int_ne(access(b_path, F_OK), 0);
}
END_TEST

START_TEST(a_second_opener_is_refused_until_the_first_closes)
{
    make_ledger(a_path);
    struct gx_ledger *first = open_ledger(a_path, b_path), *second;
    bool torn;
    struct gx_err err = {0};
    ck_assert_int_eq(gx_ledger_open(a_path, NULL, NULL, NULL, &second, &torn, &err), GX_E_IN_USE);
    ck_assert_int_eq(gx_ledger_open(b_path, NULL, NULL, NULL, &second, &torn, &err), GX_E_IN_USE);
    pid_t child = fork();
    if (child == 0)
        _exit(gx_ledger_open(a_path, NULL, NULL, NULL, &second, &torn, &err) == GX_E_IN_USE ? 0 : 1);
    int outcome;
    ck_assert_int_eq(waitpid(child, &outcome, 0), child);
    ck_assert_int_eq(outcome, 0);
    gx_ledger_close(first);
    gx_ledger_close(open_ledger(a_path, b_path));
}
END_TEST

/* ---------------------------------------------------------------- the mirror */

START_TEST(a_mirror_is_made_and_stays_equal)
{
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    append_ok(ledger, 1);
    gx_ledger_close(ledger);
    ledger = open_ledger(a_path, b_path);
    ck_assert_files_equal(a_path, b_path);
    for (uint64_t i = 2; i <= 5; i++) {
        append_ok(ledger, i);
        ck_assert_files_equal(a_path, b_path);
    }
    gx_ledger_close(ledger);
    gx_ledger_close(open_ledger(b_path, NULL)); /* a mirror is a ledger */
    ck_assert_uint_eq(seen.n, 5);
}
END_TEST

START_TEST(a_mirror_that_is_behind_is_caught_up)
{
    for (uint64_t behind = 0; behind <= 4; behind++) {
        unlink(a_path);
        unlink(b_path);
        make_ledger(a_path);
        struct gx_ledger *ledger = open_ledger(a_path, b_path);
        for (uint64_t i = 1; i <= 4 - behind; i++)
            append_ok(ledger, i);
        gx_ledger_close(ledger);
        ledger = open_ledger(a_path, NULL);
        for (uint64_t i = 5 - behind; i <= 4; i++)
            append_ok(ledger, i);
        gx_ledger_close(ledger);
        if (behind == 0 || behind == 3) { /* and it has a torn tail besides */
            struct bytes bytes = read_whole(b_path);
            memset(bytes.data + bytes.len, 0x5a, 50);
            write_whole(b_path, bytes.data, bytes.len + 50);
        }
        gx_ledger_close(open_ledger(a_path, b_path));
        ck_assert_files_equal(a_path, b_path);
    }
}
END_TEST

START_TEST(a_mirror_that_contradicts_is_refused_and_named)
{
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, b_path);
    for (uint64_t i = 1; i <= 3; i++)
        append_ok(ledger, i);
    gx_ledger_close(ledger);
    struct bytes bytes = read_whole(b_path);
    for (size_t at = 0; at < bytes.len; at += at < 4000 ? 37 : 1) {
        if ((at >= 512 && at < 512 + 64) || (at >= 1024 && at < 1024 + 64))
            continue; /* its marks are written again */
        bytes.data[at] ^= 0x10;
        write_whole(b_path, bytes.data, bytes.len);
        bytes.data[at] ^= 0x10;
        assert_refused(a_path, b_path, GX_E_CORRUPT, "b.log");
    }
    write_whole(b_path, bytes.data, bytes.len);
    gx_ledger_close(open_ledger(a_path, b_path));
}
END_TEST

START_TEST(a_ledger_older_than_its_mirror_is_refused)
{
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, b_path);
    append_ok(ledger, 1);
    struct bytes older = read_whole(a_path);
    append_ok(ledger, 2);
    gx_ledger_close(ledger);
    write_whole(a_path, older.data, older.len);
    struct bytes mirror = read_whole(b_path);
    assert_refused(a_path, b_path, GX_E_CORRUPT, "older copy");
    struct bytes after = read_whole(b_path);
    ck_assert_uint_eq(mirror.len, after.len);
    ck_assert_mem_eq(mirror.data, after.data, mirror.len);
    write_whole(a_path, mirror.data, mirror.len); /* the advice of the message */
    gx_ledger_close(open_ledger(a_path, b_path));
    ck_assert_uint_eq(seen.n, 2);
}
END_TEST

START_TEST(a_mirror_must_be_another_file_of_the_same_ledger)
{
    make_ledger(a_path);
    ck_assert_int_eq(link(a_path, b_path), 0);
    assert_refused(a_path, a_path, GX_E_INVALID, "same file");
    assert_refused(a_path, b_path, GX_E_INVALID, "same file");
    unlink(b_path);
    make_ledger(b_path);
    assert_refused(a_path, b_path, GX_E_CORRUPT, "another ledger");
    assert_refused(a_path, "/nonexistent/mirror", GX_E_IO, "/nonexistent/mirror");
}
END_TEST

/* ---------------------------------------------------------------- a full disk, readers */

START_TEST(a_file_size_limit_is_a_full_disk_and_leaves_no_trace)
{
    signal(SIGXFSZ, SIG_IGN);
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, b_path);
    append_ok(ledger, 1);
    struct bytes before = read_whole(a_path);
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    rlim_t soft = limit.rlim_cur;
    limit.rlim_cur = before.len + 100; /* a part of the next entry fits */
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct gx_ledger_entry entry = make_entry(2);
    struct gx_err err = {0};
    ck_assert_int_eq(gx_ledger_append(ledger, &entry, &err), GX_E_FULL);
    limit.rlim_cur = soft;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct bytes after = read_whole(a_path);
    ck_assert_uint_eq(before.len, after.len);
    ck_assert_mem_eq(before.data, after.data, before.len);
    append_ok(ledger, 2);
    gx_ledger_close(ledger);
    gx_ledger_close(open_ledger(a_path, b_path));
    ck_assert_uint_eq(seen.n, 2);
}
END_TEST

START_TEST(a_full_file_system_refuses_and_goes_on_when_there_is_room)
{
    /* In a mount namespace of this test's own; without the right to have one, the limit above is the proof. */
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("none", dir_path, "tmpfs", 0, "size=64k") != 0) {
        fprintf(stderr, "no right to mount a small file system: %s\n", strerror(errno));
        return;
    }
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, b_path);
    uint64_t n = 0, refused = 0;
    struct gx_err err = {0};
    while (refused < 3) {
        struct gx_ledger_entry entry = make_entry(n + 1);
        enum gx_status status = gx_ledger_append(ledger, &entry, &err);
        ck_assert_msg(status == GX_OK || status == GX_E_FULL, "%s", err.text);
        n += status == GX_OK;
        refused += status == GX_E_FULL;
        ck_assert_uint_eq(gx_ledger_entries(ledger), n);
    }
    ck_assert_uint_gt(n, 10);
    ck_assert_int_eq(mount("none", dir_path, "tmpfs", MS_REMOUNT, "size=1m"), 0);
    append_ok(ledger, n + 1);
    gx_ledger_close(ledger);
    gx_ledger_close(open_ledger(a_path, b_path));
    ck_assert_uint_eq(seen.n, n + 1);
    ck_assert_files_equal(a_path, b_path);
    umount2(dir_path, MNT_DETACH);
}
END_TEST

struct readers {
    struct gx_ledger *ledger;
    _Atomic uint64_t n_appended;
    atomic_bool stop;
    _Atomic uint64_t n_reads;
};

static void *read_all_the_time(void *arg)
{
    struct readers *readers = arg;
    uint64_t wrong = 0;
    for (uint64_t i = 0; !atomic_load(&readers->stop) || i < 1000; i++) {
        uint64_t n = atomic_load(&readers->n_appended);
        struct gx_key there = key_of(n == 0 ? 0 : i % n + 1, 0), missing = key_of(i, 7000);
        wrong += n > 0 && !gx_ledger_is_expunged(readers->ledger, GX_ID_RECORD, &there);
        wrong += gx_ledger_is_expunged(readers->ledger, GX_ID_RECORD, &missing);
        atomic_fetch_add(&readers->n_reads, 1);
    }
    return (void *)(uintptr_t)wrong;
}

START_TEST(readers_never_miss_an_id_while_the_set_grows)
{
    make_ledger(a_path);
    struct readers readers = {.ledger = open_ledger(a_path, NULL)};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, read_all_the_time, &readers), 0);
    static uint64_t rnos[2000];
    static struct gx_key records[2000];
    struct gx_err err = {0};
    for (uint64_t n = 0, number = 1; n < 60000; n += 2000, number++) {
        for (uint64_t i = 0; i < 2000; i++)
            records[i] = key_of(n + i + 1, 0);
        struct gx_ledger_entry entry = {
            .type = GX_LEDGER_EXPUNGE, .number = number, .kind = GX_ID_RECORD, .gallery = gx_slice_text("g")};
        entry.rnos = rnos;
        entry.records = records;
        entry.n_records = 2000;
        ck_assert_msg(gx_ledger_append(readers.ledger, &entry, &err) == GX_OK, "%s", err.text);
        atomic_store(&readers.n_appended, n + 2000);
    }
    atomic_store(&readers.stop, true);
    for (int i = 0; i < 2; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        ck_assert_uint_eq((uintptr_t)wrong, 0);
    }
    ck_assert_uint_ge(atomic_load(&readers.n_reads), 2000);
    gx_ledger_close(readers.ledger);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ledger");
    TCase *tests = tcase_create("ledger");
    tcase_add_checked_fixture(tests, begin_test, NULL);
    tcase_add_test(tests, a_new_ledger_is_empty_and_opens);
    tcase_add_test(tests, an_existing_file_is_not_replaced);
    tcase_add_test(tests, entries_come_back_in_order_as_they_were_appended);
    tcase_add_test(tests, records_and_named_arrests_are_held_and_named_subjects_are_not);
    tcase_add_test(tests, keys_that_differ_in_one_bit_are_told_apart);
    tcase_add_test(tests, wrong_entries_are_refused_and_nothing_is_written);
    tcase_add_test(tests, the_largest_expungement_fits_and_comes_back);
    tcase_add_test(tests, a_visitor_can_stop_the_opening);
    tcase_add_test(tests, a_missing_ledger_is_not_found_and_not_made);
    tcase_add_test(tests, a_second_opener_is_refused_until_the_first_closes);
    tcase_add_test(tests, a_mirror_is_made_and_stays_equal);
    tcase_add_test(tests, a_mirror_that_is_behind_is_caught_up);
    tcase_add_test(tests, a_mirror_that_contradicts_is_refused_and_named);
    tcase_add_test(tests, a_ledger_older_than_its_mirror_is_refused);
    tcase_add_test(tests, a_mirror_must_be_another_file_of_the_same_ledger);
    tcase_add_test(tests, a_file_size_limit_is_a_full_disk_and_leaves_no_trace);
    tcase_add_test(tests, a_full_file_system_refuses_and_goes_on_when_there_is_room);
    tcase_add_test(tests, readers_never_miss_an_id_while_the_set_grows);
    suite_add_tcase(suite, tests);
    return gx_suite_run_in_folder(suite);
}
