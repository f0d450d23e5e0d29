/* Promises of ledger.h under damage, failing writes and crashes: what was acknowledged is there or the ledger is
 * refused; what was not acknowledged may be there whole or not at all. */
#include "codec.h"
#include "ledger_private.h"
#include "ledger_tools.h"
#include "simd.h"

#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define FIRST   4096                            /* schemas/FORMAT.md: where the entries begin, */
#define MARK(i) (512 + 512 * (size_t)((i) % 2)) /* and the mark after i entries */

static void append_n(uint64_t from, uint64_t until)
{
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    for (uint64_t i = from; i <= until; i++)
        append_ok(ledger, i);
    gx_ledger_close(ledger);
}

/* The ledger at a_path opens, holds @n_min to @n_max entries, and takes another. */
static void assert_good(uint64_t n_min, uint64_t n_max)
{
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    ck_assert_uint_ge(seen.n, n_min);
    ck_assert_uint_le(seen.n, n_max);
    append_ok(ledger, seen.n + 1);
    gx_ledger_close(ledger);
    gx_ledger_close(open_ledger(a_path, NULL));
    ck_assert(!seen.torn);
}

/* ---------------------------------------------------------------- damage */

START_TEST(a_flipped_bit_anywhere_is_refused_or_harmless)
{
    const uint64_t n = 4 + 4 * (uint64_t)_i;
    mixed = _i;
    make_ledger(a_path);
    append_n(1, n);
    struct bytes bytes = read_whole(a_path);
    for (size_t at = 0; at < bytes.len; at++) {
        bytes.data[at] ^= (uint8_t)(1 << at % 8);
        write_whole(a_path, bytes.data, bytes.len);
        bytes.data[at] ^= (uint8_t)(1 << at % 8);
        if (at >= MARK(n) && at < MARK(n) + 64) {
            /* As after a crash while the last mark was written: every entry is there. */
            gx_ledger_close(open_ledger(a_path, NULL));
            ck_assert_uint_eq(seen.n, n);
            struct bytes healed = read_whole(a_path);
            ck_assert_mem_eq(healed.data, bytes.data, bytes.len);
        } else {
            assert_refused(a_path, NULL, GX_E_CORRUPT, "a.log");
        }
    }
}
END_TEST

START_TEST(damage_is_named_with_its_place)
{
    make_ledger(a_path);
    append_n(1, 1);
    struct bytes one = read_whole(a_path);
    append_n(2, 3);
    struct bytes bytes = read_whole(a_path);
    char place[64];
    snprintf(place, sizeof(place), "at byte %zu (checksum)", one.len);
    bytes.data[one.len + 70] ^= 1;
    write_whole(a_path, bytes.data, bytes.len);
    assert_refused(a_path, NULL, GX_E_CORRUPT, place);
    bytes.data[one.len + 70] ^= 1;
    bytes.data[2000] = 1;
    write_whole(a_path, bytes.data, bytes.len);
    assert_refused(a_path, NULL, GX_E_CORRUPT, "at byte 2000");
}
END_TEST

START_TEST(a_ledger_that_lost_acknowledged_bytes_is_refused)
{
    mixed = _i;
    make_ledger(a_path);
    append_n(1, 4);
    struct bytes bytes = read_whole(a_path);
    for (size_t len = bytes.len; len-- > 0;) {
        if (len < FIRST && len % 61 != 0)
            continue;
        ck_assert_int_eq(truncate(a_path, (off_t)len), 0);
        assert_refused(a_path, NULL, GX_E_CORRUPT, "a.log");
        struct bytes after = read_whole(a_path);
        ck_assert_uint_eq(after.len, len); /* looked at, not touched */
    }
}
END_TEST

START_TEST(entries_that_change_places_are_refused)
{
    mixed = _i;
    /* Entries 2 and 3 of another ledger, whole and marked, behind entry 1 of this one: only the chain tells. */
    make_ledger(a_path);
    append_n(1, 1);
    struct bytes ours = read_whole(a_path);
    unlink(a_path);
    make_ledger(a_path);
    append_n(1, 3);
    struct bytes theirs = read_whole(a_path);
    memcpy(theirs.data, ours.data, 512);                              /* header */
    memcpy(theirs.data + FIRST, ours.data + FIRST, ours.len - FIRST); /* entry 1 */
    write_whole(a_path, theirs.data, theirs.len);
    assert_refused(a_path, NULL, GX_E_CORRUPT, "an entry that belongs elsewhere");
    /* The same behind our own mark, where a torn entry would be cut off: this one is not torn. */
    memcpy(ours.data + ours.len, theirs.data + ours.len, theirs.len - ours.len);
    write_whole(a_path, ours.data, theirs.len);
    assert_refused(a_path, NULL, GX_E_CORRUPT, "an entry that belongs elsewhere");
}
END_TEST

START_TEST(only_one_torn_entry_is_cut_off)
{
    mixed = _i;
    make_ledger(a_path);
    append_n(1, 2);
    struct bytes two = read_whole(a_path), bytes = two;
    append_n(3, 4);
    struct bytes four = read_whole(a_path);
    /* Whatever is not the beginning of an entry: the rest of a write that a power cut tore. */
    for (size_t n = 1; n <= 300; n += 23) {
        memset(bytes.data + two.len, (int)n, n);
        write_whole(a_path, bytes.data, two.len + n);
        gx_ledger_close(open_ledger(a_path, NULL));
        ck_assert(seen.torn);
        ck_assert_uint_eq(seen.n, 2);
        struct bytes after = read_whole(a_path);
        ck_assert_uint_eq(after.len, two.len);
        ck_assert_mem_eq(after.data, two.data, two.len);
    }
    /* Two whole entries behind the mark: no crash does that. */
    memcpy(bytes.data + two.len, four.data + two.len, four.len - two.len);
    write_whole(a_path, bytes.data, four.len);
    assert_refused(a_path, NULL, GX_E_CORRUPT, "bytes behind the last entry");
    /* More than an entry can be. */
    write_whole(a_path, two.data, two.len);
    ck_assert_int_eq(truncate(a_path, 30 << 20), 0);
    assert_refused(a_path, NULL, GX_E_CORRUPT, "bytes behind the last entry");
}
END_TEST

START_TEST(an_entry_with_an_older_number_is_refused)
{
    make_ledger(a_path);
    append_n(1, 2);
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    struct gx_digest before, head;
    gx_ledger_head(ledger, &before);
    gx_ledger_close(ledger);
    /* Right in every other way, and where a whole entry would be taken up. */
    struct gx_ledger_entry entry = make_entry(1);
    struct gx_err err = {0};
    struct bytes bytes = read_whole(a_path);
    uint64_t len;
    ck_assert_int_eq(gx_ledger_entry_check(&entry, &len, &err), GX_OK);
    ck_assert_int_eq(gx_ledger_entry_encode(&entry, &before, bytes.data + bytes.len, len, &head, &err), GX_OK);
    write_whole(a_path, bytes.data, bytes.len + len);
    assert_refused(a_path, NULL, GX_E_CORRUPT, "an entry that belongs elsewhere");
    entry = make_entry(3);
    ck_assert_int_eq(gx_ledger_entry_check(&entry, &len, &err), GX_OK);
    ck_assert_int_eq(gx_ledger_entry_encode(&entry, &before, bytes.data + bytes.len, len, &head, &err), GX_OK);
    write_whole(a_path, bytes.data, bytes.len + len);
    assert_good(3, 3);
}
END_TEST

/* An entry that is right in every way but its place: where a whole entry would be taken up. */
static void assert_strange(const struct gx_ledger_entry *entry, const struct bytes *ledger,
                           const struct gx_digest *before)
{
    struct bytes bytes = *ledger;
    struct gx_digest head;
    struct gx_err err = {0};
    uint64_t len;
    ck_assert_msg(gx_ledger_entry_check(entry, &len, &err) == GX_OK, "%s", err.text);
    ck_assert_int_eq(gx_ledger_entry_encode(entry, before, bytes.data + bytes.len, len, &head, &err), GX_OK);
    write_whole(a_path, bytes.data, bytes.len + len);
    assert_refused(a_path, NULL, GX_E_CORRUPT, "an entry that belongs elsewhere");
}

START_TEST(a_stage_out_of_order_is_refused)
{
    mixed = true;
    make_ledger(a_path);
    append_n(1, 8); /* tickets 3 and 24, certificate 10 */
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    struct gx_digest before;
    gx_ledger_head(ledger, &before);
    gx_ledger_close(ledger);
    struct bytes bytes = read_whole(a_path);
    static const uint64_t lists[][2] = {{24, 3}, {3, 3}, {24, 25}, {0, 3}};
    for (size_t i = 0; i < GX_COUNT_OF(lists); i++) {
        struct gx_ledger_entry entry = {.type = GX_LEDGER_ERASED, .tickets = lists[i], .n_tickets = 2};
        assert_strange(&entry, &bytes, &before);
    }
    const uint64_t ticket = 3;
    struct gx_ledger_entry entry = {.type = GX_LEDGER_VERIFIED, .tickets = &ticket, .n_tickets = 1, .serial = 10};
    assert_strange(&entry, &bytes, &before);
}
END_TEST

START_TEST(an_entry_of_an_unknown_type_is_of_a_newer_version_not_damage)
{
    make_ledger(a_path);
    append_n(1, 2);
    struct bytes bytes = read_whole(a_path);
    uint8_t *head = bytes.data + FIRST; /* the first entry, acknowledged; its own checksum does not matter any more */
    head[16] = 99;
    gx_codec_put_u32(head + 4, gx_simd_crc32c(0, head + 8, GX_LEDGER_HEAD_LEN - 8));
    write_whole(a_path, bytes.data, bytes.len);
    assert_refused(a_path, NULL, GX_E_FORMAT, "an entry of type 99 (byte 4096)");
    /* And one that was not acknowledged is not cut off for it. */
    unlink(a_path);
    make_ledger(a_path);
    struct bytes empty = read_whole(a_path);
    memcpy(bytes.data, empty.data, FIRST);
    write_whole(a_path, bytes.data, bytes.len);
    assert_refused(a_path, NULL, GX_E_FORMAT, "an entry of type 99 (byte 4096)");
    struct bytes after = read_whole(a_path);
    ck_assert_uint_eq(after.len, bytes.len);
}
END_TEST

START_TEST(a_newer_format_is_not_taken_for_damage)
{
    make_ledger(a_path);
    struct bytes bytes = read_whole(a_path);
    /* Version 2 with the right checksum; the polynomial is the one of RFC 3720, bit by bit. */
    bytes.data[11] = 2;
    uint32_t crc = 0xffffffff;
    for (int i = 0; i < 60; i++) {
        crc ^= bytes.data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    crc = ~crc;
    for (int i = 0; i < 4; i++)
        bytes.data[60 + i] = (uint8_t)(crc >> (24 - 8 * i));
    write_whole(a_path, bytes.data, bytes.len);
    assert_refused(a_path, NULL, GX_E_FORMAT, "format 2");
}
END_TEST

START_TEST(a_mark_that_contradicts_the_entries_is_refused)
{
    mixed = _i;
    make_ledger(a_path);
    append_n(1, 3);
    struct bytes bytes = read_whole(a_path);
    for (int i = 0; i < 8; i++) {
        /* The marks after 3 and after 2 entries, right but for one field. */
        uint8_t *place = bytes.data + MARK(i < 4 ? 3 : 2), kept[64];
        struct gx_ledger_mark mark;
        memcpy(kept, place, sizeof(kept));
        ck_assert(gx_ledger_entry_decode_mark(place, &mark));
        mark.n_entries += i % 4 == 0 ? 2 : 0;
        mark.len -= i % 4 == 1;
        mark.last_number += i % 4 == 2;
        mark.head.bytes[31] = (uint8_t)(mark.head.bytes[31] ^ (i % 4 == 3));
        gx_ledger_entry_encode_mark(&mark, place);
        write_whole(a_path, bytes.data, bytes.len);
        assert_refused(a_path, NULL, GX_E_CORRUPT, "a.log");
        memcpy(place, kept, sizeof(kept));
    }
    write_whole(a_path, bytes.data, bytes.len);
    gx_ledger_close(open_ledger(a_path, NULL));
}
END_TEST

/* ---------------------------------------------------------------- the order of writes */

/* Calls of the ledger land here: what would a power cut leave? */
static struct {
    bool watching, dirty_entry[1024], dirty_mark[1024];
    int n_writes, n_syncs, n_marks_too_early;
} disk;

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    if (disk.watching) {
        disk.n_writes++;
        disk.n_marks_too_early += offset < FIRST && disk.dirty_entry[fd];
        *(offset < FIRST ? &disk.dirty_mark[fd] : &disk.dirty_entry[fd]) = true;
    }
    return syscall(SYS_pwrite64, fd, bytes, n, offset);
}

int fdatasync(int fd)
{
    disk.n_syncs++;
    disk.dirty_entry[fd] = disk.dirty_mark[fd] = false;
    return (int)syscall(SYS_fdatasync, fd);
}

START_TEST(an_entry_is_on_the_disk_before_its_mark_and_both_before_the_answer)
{
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, b_path);
    disk.watching = true;
    for (uint64_t i = 1; i <= 3; i++) {
        disk.n_syncs = disk.n_writes = 0;
        append_ok(ledger, i);
        ck_assert_int_eq(disk.n_writes, 4); /* entry and mark, here and in the mirror */
        ck_assert_int_eq(disk.n_syncs, 4);
        ck_assert_int_eq(disk.n_marks_too_early, 0);
        for (size_t fd = 0; fd < GX_COUNT_OF(disk.dirty_mark); fd++)
            ck_assert(!disk.dirty_entry[fd] && !disk.dirty_mark[fd]);
    }
    disk.watching = false;
    gx_ledger_close(ledger);
}
END_TEST

/* ---------------------------------------------------------------- failing writes */

struct fault {
    uint64_t at, until; /* steps that fail */
};

static enum gx_status fail_steps(void *arg, uint64_t ordinal)
{
    const struct fault *fault = arg;
    return ordinal >= fault->at && ordinal <= fault->until ? GX_E_IO : GX_OK;
}

START_TEST(a_failed_step_leaves_the_ledger_as_it_was)
{
    mixed = _i;
    for (uint64_t at = 1;; at++) {
        unlink(a_path);
        unlink(b_path);
        make_ledger(a_path);
        struct gx_ledger *ledger = open_ledger(a_path, b_path);
        struct fault fault = {at, at};
        gx_ledger_set_fault(ledger, fail_steps, &fault);
        struct gx_err err = {0};
        int n_failed = 0;
        for (uint64_t i = 1; i <= 3;) {
            struct gx_ledger_entry entry = make_entry(i);
            struct bytes before = read_whole(a_path);
            enum gx_status status = gx_ledger_append(ledger, &entry, &err);
            if (entry.type == GX_LEDGER_EXPUNGE)
                ck_assert_int_eq(gx_ledger_is_expunged(ledger, GX_ID_RECORD, &entry.records[0]), status == GX_OK);
            if (status == GX_OK) {
                i++;
                continue;
            }
            ck_assert_int_eq(status, GX_E_IO);
            ck_assert_uint_eq(gx_ledger_entries(ledger), i - 1);
            struct bytes after = read_whole(a_path);
            ck_assert_uint_eq(before.len, after.len);
            ck_assert_mem_eq(before.data, after.data, before.len);
            ck_assert_files_equal(a_path, b_path);
            n_failed++;
        }
        gx_ledger_close(ledger);
        gx_ledger_close(open_ledger(a_path, b_path));
        ck_assert_uint_eq(seen.n, 3);
        ck_assert(!seen.torn);
        ck_assert_files_equal(a_path, b_path);
        ck_assert_int_le(n_failed, 1);
        if (n_failed == 0) {
            ck_assert_uint_gt(at, 3 * 8); /* three appends of four steps in two files */
            return;
        }
    }
}
END_TEST

START_TEST(a_ledger_that_cannot_be_restored_takes_nothing_more)
{
    for (uint64_t at = 1;; at++) {
        unlink(a_path);
        unlink(b_path);
        make_ledger(a_path);
        struct gx_ledger *ledger = open_ledger(a_path, b_path);
        struct fault fault = {at, UINT64_MAX};
        gx_ledger_set_fault(ledger, fail_steps, &fault);
        struct gx_err err = {0};
        uint64_t acknowledged = 0;
        struct gx_ledger_entry entry = make_entry(1);
        while (acknowledged < 3 && gx_ledger_append(ledger, &entry, &err) == GX_OK)
            entry = make_entry(++acknowledged + 1);
        if (acknowledged < 3) {
            gx_ledger_set_fault(ledger, NULL, NULL); /* the disk is well again: too late */
            ck_assert_int_eq(gx_ledger_append(ledger, &entry, &err), GX_E_IO);
            ck_assert_msg(strstr(err.text, "restart") != NULL, "%s", err.text);
        }
        gx_ledger_close(ledger);
        gx_ledger_close(open_ledger(a_path, b_path)); /* the restart */
        ck_assert_uint_ge(seen.n, acknowledged);
        ck_assert_uint_le(seen.n, acknowledged + 1);
        ck_assert_files_equal(a_path, b_path);
        if (acknowledged == 3)
            return;
    }
}
END_TEST

/* ---------------------------------------------------------------- crashes */

/* What is on the disk before each step of some appends. */
struct moment {
    struct bytes bytes;
    uint64_t acknowledged;
};
static struct moment moments[256];
static size_t n_moments;
static uint64_t acknowledged_now;

static enum gx_status remember(void *arg, uint64_t ordinal)
{
    (void)arg;
    (void)ordinal;
    ck_assert_uint_lt(n_moments, GX_COUNT_OF(moments));
    moments[n_moments].bytes = read_whole(a_path);
    moments[n_moments++].acknowledged = acknowledged_now;
    return GX_OK;
}

/* As after a crash that left these bytes. */
static void assert_survives(const struct bytes *bytes, size_t len, uint64_t acknowledged)
{
    write_whole(a_path, bytes->data, len);
    assert_good(acknowledged, acknowledged + 1);
}

START_TEST(a_crash_at_any_step_loses_nothing_acknowledged)
{
    mixed = _i;
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    gx_ledger_set_fault(ledger, remember, NULL);
    for (uint64_t i = 1; i <= 4; i++) {
        append_ok(ledger, i);
        acknowledged_now = i;
    }
    remember(NULL, 0);
    gx_ledger_close(ledger);
    for (size_t m = 0; m < n_moments; m++)
        assert_survives(&moments[m].bytes, moments[m].bytes.len, moments[m].acknowledged);
}
END_TEST

START_TEST(a_write_torn_anywhere_loses_nothing_acknowledged)
{
    mixed = _i;
    make_ledger(a_path);
    struct gx_ledger *ledger = open_ledger(a_path, NULL);
    gx_ledger_set_fault(ledger, remember, NULL);
    for (uint64_t i = 1; i <= 2; i++) {
        append_ok(ledger, i);
        acknowledged_now = i;
    }
    gx_ledger_close(ledger);
    ck_assert_uint_eq(n_moments, 8); /* entry, sync, mark, sync; twice */
    static struct bytes torn;
    for (size_t m = 0; m + 1 < n_moments; m++) {
        const struct bytes *before = &moments[m].bytes, *after = &moments[m + 1].bytes;
        uint64_t acknowledged = moments[m].acknowledged;
        if (after->len > before->len) {
            for (size_t len = before->len; len < after->len; len += 13) {
                assert_survives(after, len, acknowledged); /* the file ends there */
                torn = *after;
                memset(torn.data + len, 0, torn.len - len); /* the size came through, the bytes not */
                assert_survives(&torn, torn.len, acknowledged);
                torn = *after;
                memset(torn.data + before->len, 0, len - before->len); /* the end came through, the beginning not */
                assert_survives(&torn, torn.len, acknowledged);
            }
        } else {
            for (size_t n = 1; n < 64; n += 7) {
                torn = *before;
                memcpy(torn.data + MARK(acknowledged + 1), after->data + MARK(acknowledged + 1), n);
                assert_survives(&torn, torn.len, acknowledged);
            }
        }
    }
}
END_TEST

struct shared {
    _Atomic uint64_t acknowledged;
};

static void append_until_killed(struct shared *shared)
{
    struct gx_ledger *ledger = open_ledger(a_path, b_path);
    for (uint64_t i = seen.n + 1, until = i + 16; i < until; i++) {
        append_ok(ledger, i);
        atomic_store(&shared->acknowledged, i);
    }
    for (;;)
        pause();
}

START_TEST(a_killed_process_loses_nothing_acknowledged)
{
    mixed = _i;
    make_ledger(a_path);
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(shared, MAP_FAILED);
    for (uint64_t round = 1; round <= 12; round++) {
        uint64_t until = atomic_load(&shared->acknowledged) + round % 5 + 1, spins = 0;
        pid_t child = fork();
        if (child == 0)
            append_until_killed(shared);
        while (atomic_load(&shared->acknowledged) < until)
            ck_assert_int_eq(waitpid(child, NULL, WNOHANG), 0); /* it must not end by itself */
        while (spins < round * 4001)                            /* some way into the next append */
            spins += atomic_load(&shared->acknowledged) > 0;
        ck_assert_int_eq(kill(child, SIGKILL), 0);
        ck_assert_int_eq(waitpid(child, NULL, 0), child);
        uint64_t acknowledged = atomic_load(&shared->acknowledged);
        gx_ledger_close(open_ledger(a_path, b_path));
        ck_assert_uint_ge(seen.n, acknowledged);
        ck_assert_uint_le(seen.n, acknowledged + 1);
        ck_assert_files_equal(a_path, b_path);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ledger_damage");
    TCase *tests = tcase_create("ledger_damage");
    tcase_add_checked_fixture(tests, begin_test, NULL);
    tcase_add_loop_test(tests, a_flipped_bit_anywhere_is_refused_or_harmless, 0, 2);
    tcase_add_test(tests, damage_is_named_with_its_place);
    tcase_add_loop_test(tests, a_ledger_that_lost_acknowledged_bytes_is_refused, 0, 2);
    tcase_add_loop_test(tests, entries_that_change_places_are_refused, 0, 2);
    tcase_add_loop_test(tests, only_one_torn_entry_is_cut_off, 0, 2);
    tcase_add_test(tests, an_entry_with_an_older_number_is_refused);
    tcase_add_test(tests, a_stage_out_of_order_is_refused);
    tcase_add_test(tests, an_entry_of_an_unknown_type_is_of_a_newer_version_not_damage);
    tcase_add_test(tests, a_newer_format_is_not_taken_for_damage);
    tcase_add_loop_test(tests, a_mark_that_contradicts_the_entries_is_refused, 0, 2);
    tcase_add_test(tests, an_entry_is_on_the_disk_before_its_mark_and_both_before_the_answer);
    tcase_add_loop_test(tests, a_failed_step_leaves_the_ledger_as_it_was, 0, 2);
    tcase_add_test(tests, a_ledger_that_cannot_be_restored_takes_nothing_more);
    tcase_add_loop_test(tests, a_crash_at_any_step_loses_nothing_acknowledged, 0, 2);
    tcase_add_loop_test(tests, a_write_torn_anywhere_loses_nothing_acknowledged, 0, 2);
    tcase_add_loop_test(tests, a_killed_process_loses_nothing_acknowledged, 0, 2);
    suite_add_tcase(suite, tests);
    return gx_suite_run_in_folder(suite);
}
