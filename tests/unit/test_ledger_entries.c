/* Promises of ledger.h about the kinds of entries: each carries what its type carries, tickets are found again and
 * proven, ledgers are told apart, and nothing is appended to a file that nobody will find again. */
#include <pthread.h>
#include <stdatomic.h>

#include "codec.h"
#include "ledger_private.h"
#include "ledger_tools.h"

#define N 24 /* entries of a mixed ledger: three of each type, and six expungements */

static void begin_mixed(void)
{
    begin_test();
    mixed = true;
}

static struct gx_ledger *filled(const char *path, const char *mirror, uint64_t n)
{
    make_ledger(path);
    struct gx_ledger *ledger = open_ledger(path, mirror);
    for (uint64_t i = 1; i <= n; i++)
        append_ok(ledger, i);
    return ledger;
}

static enum gx_status append(struct gx_ledger *ledger, const struct gx_ledger_entry *entry, const char *text)
{
    struct gx_err err = {0};
    enum gx_status status = gx_ledger_append(ledger, entry, &err);
    ck_assert_msg(text == NULL || strstr(err.text, text) != NULL, "no '%s' in: %s", text, err.text);
    return status;
}

/* ---------------------------------------------------------------- types */

START_TEST(entries_of_every_type_come_back_as_they_were_appended)
{
    struct gx_ledger *ledger = filled(a_path, b_path, N);
    for (int round = 0; round < 2; round++) {
        uint64_t serial;
        struct gx_digest digest, wanted;
        ck_assert_uint_eq(gx_ledger_entries(ledger), N);
        ck_assert_uint_eq(gx_ledger_last_number(ledger), number_of(N)); /* of the last expungement, which N is */
        gx_ledger_certificate(ledger, &serial, &digest);
        ck_assert_uint_eq(serial, 2 * 21);
        memset(&wanted, 21 + 3, sizeof(wanted));
        ck_assert_mem_eq(&digest, &wanted, sizeof(digest));
        gx_ledger_close(ledger);
        ledger = open_ledger(a_path, b_path); /* compares every field of every entry */
        ck_assert_uint_eq(seen.n, N);
    }
    ck_assert_files_equal(a_path, b_path);
    gx_ledger_close(ledger);
}
END_TEST

START_TEST(only_expungements_bar_ids_and_number_tickets)
{
    struct gx_ledger *ledger = filled(a_path, NULL, 4);
    uint64_t serial;
    struct gx_digest digest;
    gx_ledger_certificate(ledger, &serial, &digest);
    ck_assert_uint_eq(serial, 0); /* there is none yet */
    for (uint64_t i = 5; i <= 7; i++)
        append_ok(ledger, i);
    for (int round = 0; round < 2; round++) {
        ck_assert_uint_eq(gx_ledger_last_number(ledger), number_of(1));
        for (uint64_t i = 1; i <= 7; i++) {
            struct gx_key named = key_of(i, 1000);
            bool expunged = i == 1 && kind_of(i) == GX_ID_ARREST;
            ck_assert_int_eq(gx_ledger_is_expunged(ledger, GX_ID_ARREST, &named), expunged);
            ck_assert(!gx_ledger_is_expunged(ledger, GX_ID_RECORD, &named));
        }
        gx_ledger_close(ledger);
        ledger = open_ledger(a_path, NULL);
    }
    gx_ledger_close(ledger);
}
END_TEST

/* The places of schemas/FORMAT.md, looked up by hand. */
START_TEST(bytes_stand_where_the_format_says)
{
    gx_ledger_close(filled(a_path, NULL, 8));
    struct bytes bytes = read_whole(a_path);
    const uint8_t *p = bytes.data + 4096;
    struct gx_ledger_entry entry;
    for (uint64_t i = 1; i <= 8; i++) {
        entry = make_entry(i);
        uint64_t count = entry.type == GX_LEDGER_EXPUNGE    ? entry.n_unmatched
                         : entry.type == GX_LEDGER_VERIFIED ? entry.serial
                                                            : entry.n_held;
        const void *digest = entry.type == GX_LEDGER_VERIFIED ? &entry.certificate : &entry.content;
        ck_assert_mem_eq(p, "GXEN", 4);
        ck_assert_uint_eq(p[16], entry.type);
        ck_assert_uint_eq(p[17], entry.kind);
        ck_assert_uint_eq(p[18], entry.quarantine);
        ck_assert_uint_eq(p[19], entry.gallery.len);
        ck_assert_uint_eq(p[20] * 256u + p[21], entry.text.len);
        ck_assert_uint_eq(p[22] + p[23], 0);
        ck_assert_uint_eq(gx_codec_get_u64(p + 24), (uint64_t)entry.at_us);
        ck_assert_uint_eq(gx_codec_get_u64(p + 32), entry.number);
        ck_assert_uint_eq(gx_codec_get_u64(p + 40), count);
        ck_assert_mem_eq(p + 48, &entry.store, 16);
        ck_assert_mem_eq(p + 64, &entry.gallery_uuid, 16);
        ck_assert_mem_eq(p + 80, &entry.request, 16);
        ck_assert_mem_eq(p + 96, digest, 32);
        ck_assert_uint_eq(gx_codec_get_u32(p + 128), entry.n_records);
        ck_assert_uint_eq(gx_codec_get_u32(p + 132), entry.n_named);
        ck_assert_uint_eq(gx_codec_get_u32(p + 136), entry.n_tickets);
        ck_assert_uint_eq(gx_codec_get_u32(p + 140), 0);
        const uint8_t *lists = p + 144;
        for (size_t j = 0; j < entry.n_records; j++, lists += 8)
            ck_assert_uint_eq(gx_codec_get_u64(lists), entry.rnos[j]);
        for (size_t j = 0; j < entry.n_tickets; j++, lists += 8)
            ck_assert_uint_eq(gx_codec_get_u64(lists), entry.tickets[j]);
        for (size_t j = 0; j < entry.n_records; j++, lists += 16)
            ck_assert_mem_eq(lists, &entry.records[j], 16);
        for (size_t j = 0; j < entry.n_named; j++, lists += 16)
            ck_assert_mem_eq(lists, &entry.named[j], 16);
        ck_assert(gx_slice_equal((struct gx_slice){lists, entry.gallery.len}, entry.gallery));
        lists += entry.gallery.len;
        ck_assert(gx_slice_equal((struct gx_slice){lists, entry.text.len}, entry.text));
        lists += entry.text.len + 32 + 4;
        ck_assert_uint_eq(gx_codec_get_u64(p + 8), (uint64_t)(lists - p));
        p = lists;
    }
    ck_assert_ptr_eq(p, bytes.data + bytes.len);
}
END_TEST

/* Every field, and the types that carry it. */
static void fill_field(struct gx_ledger_entry *entry, int field)
{
    static const uint64_t number = 3;
    static const struct gx_key key = {{1}};
    switch (field) {
    case 0: entry->gallery = gx_slice_text("g"); break;
    case 1: entry->gallery_uuid.bytes[15] = 1; break;
    case 2: entry->request.bytes[15] = 1; break;
    case 3: entry->content.bytes[31] = 1; break;
    case 4: entry->kind = GX_ID_RECORD; break;
    case 5:
        entry->named = &key;
        entry->n_named = 1;
        break;
    case 6: entry->text = gx_slice_text("t"); break;
    case 7: entry->number = 1000; break;
    case 8: entry->n_unmatched = 1; break;
    case 9:
        entry->rnos = &number;
        entry->records = &key;
        entry->n_records = 1;
        break;
    case 10: entry->quarantine = true; break;
    case 11:
        entry->tickets = &number;
        entry->n_tickets = 1;
        break;
    case 12: entry->serial = 1000; break;
    case 13: entry->certificate.bytes[31] = 1; break;
    case 14: entry->n_held = 1; break;
    case 15: entry->backup = 1; break;
    default: entry->expires_at_us = 1; break;
    }
}

START_TEST(a_field_that_a_type_does_not_carry_is_refused_and_nothing_is_written)
{
    static const char *const carried[] = {
        NULL,
        /* 0123456789abcdefg: gallery uuid request content kind named text number unmatched records quarantine tickets
           serial certificate held backup expires */
        [GX_LEDGER_EXPUNGE] = "yyyyyyyyyynnnnnnn",
        [GX_LEDGER_HOLD] = "yyyyyyynnnynnnnnn",
        [GX_LEDGER_RELEASE] = "yyyyyyynnnnnnnnnn",
        [GX_LEDGER_ERASED] = "nnnnnnnnnnnynnnnn",
        [GX_LEDGER_VERIFIED] = "nnnnnnnnnnnyyynnn",
        [GX_LEDGER_FAILED] = "nnnnnnynnnnynnnnn",
        [GX_LEDGER_GALLERY_DELETED] = "yyyynnnnnnnnnnynn",
        [GX_LEDGER_BACKUP] = "nnnnnnynnnnnnnnyy",
        [GX_LEDGER_BACKUP_GONE] = "nnnnnnnnnnnnnnnyn",
    };
    struct gx_ledger *ledger = filled(a_path, NULL, 2);
    struct bytes before = read_whole(a_path);
    for (int type = 1; type <= 9; type++) {
        struct gx_ledger_entry whole = {.type = (enum gx_ledger_type)type};
        for (int field = 0; field < 17; field++)
            if (carried[type][field] == 'y')
                fill_field(&whole, field);
        for (int field = 0; field < 17; field++) {
            struct gx_ledger_entry entry = whole;
            uint64_t len;
            fill_field(&entry, field);
            if (carried[type][field] == 'y')
                ck_assert_int_eq(gx_ledger_entry_check(&entry, &len, NULL), GX_OK);
            else
                ck_assert_msg(append(ledger, &entry, NULL) == GX_E_INVALID, "type %d carries field %d", type, field);
        }
    }
    struct bytes after = read_whole(a_path);
    ck_assert_uint_eq(before.len, after.len);
    ck_assert_mem_eq(before.data, after.data, before.len);
    gx_ledger_close(ledger);
}
END_TEST

START_TEST(incomplete_and_oversized_entries_are_refused)
{
    struct gx_ledger *ledger = filled(a_path, NULL, 1);
    struct gx_ledger_entry entry = make_entry(2); /* a hold */
    entry.n_named = 0;
    ck_assert_int_eq(append(ledger, &entry, "at least one id"), GX_E_INVALID);
    entry = make_entry(2);
    entry.text.len = 0;
    ck_assert_int_eq(append(ledger, &entry, "reference"), GX_E_INVALID);
    entry = make_entry(3);
    entry.kind = GX_ID_SUBJECT;
    ck_assert_int_eq(append(ledger, &entry, "a hold records or arrests"), GX_E_INVALID);
    entry = make_entry(2);
    entry.n_named = GX_EXPUNGE_IDS_MAX + 1;
    ck_assert_int_eq(append(ledger, &entry, "split"), GX_E_TOO_LARGE);
    entry = make_entry(4); /* a stage */
    entry.n_tickets = 0;
    ck_assert_int_eq(append(ledger, &entry, "1 to"), GX_E_TOO_LARGE);
    entry = make_entry(4);
    entry.n_tickets = GX_LEDGER_TICKETS_MAX + 1;
    ck_assert_int_eq(append(ledger, &entry, "split"), GX_E_TOO_LARGE);
    entry = make_entry(7); /* a deleted gallery */
    memset(&entry.gallery_uuid, 0, sizeof(entry.gallery_uuid));
    ck_assert_int_eq(append(ledger, &entry, "uuid"), GX_E_INVALID);
    entry = make_entry(7);
    entry.gallery.len = 0;
    ck_assert_int_eq(append(ledger, &entry, "name"), GX_E_INVALID);
    for (unsigned type = 0; type < 20; type += type == 0 ? 8 : 1) {
        entry = (struct gx_ledger_entry){.type = (enum gx_ledger_type)type};
        ck_assert_int_eq(append(ledger, &entry, NULL), GX_E_INVALID);
    }
    ck_assert_uint_eq(gx_ledger_entries(ledger), 1);
    append_ok(ledger, 2);
    gx_ledger_close(ledger);
}
END_TEST

START_TEST(stages_name_tickets_of_the_ledger_and_serials_ascend)
{
    struct gx_ledger *ledger = filled(a_path, NULL, 8); /* tickets 3 and 24, certificate 10 */
    static const uint64_t lists[][2] = {{24, 3}, {3, 3}, {24, 25}, {0, 3}};
    for (size_t i = 0; i < GX_COUNT_OF(lists); i++) {
        struct gx_ledger_entry entry = {.type = GX_LEDGER_FAILED, .tickets = lists[i], .n_tickets = 2};
        ck_assert_int_eq(append(ledger, &entry, "tickets of the ledger"), GX_E_INVALID);
    }
    const uint64_t ticket = 24;
    struct gx_ledger_entry entry = {.type = GX_LEDGER_VERIFIED, .tickets = &ticket, .n_tickets = 1, .serial = 10};
    ck_assert_int_eq(append(ledger, &entry, "up to serial 10"), GX_E_INVALID);
    entry.serial = 11;
    ck_assert_int_eq(append(ledger, &entry, NULL), GX_OK);
    gx_ledger_close(ledger);
}
END_TEST

START_TEST(the_largest_stage_fits)
{
    mixed = false;
    struct gx_ledger *ledger = filled(a_path, NULL, 1);
    static uint64_t tickets[GX_LEDGER_TICKETS_MAX];
    struct gx_ledger_entry entry = {.type = GX_LEDGER_EXPUNGE,
                                    .number = GX_LEDGER_TICKETS_MAX,
                                    .kind = GX_ID_RECORD,
                                    .gallery = gx_slice_text("g")};
    ck_assert_int_eq(append(ledger, &entry, NULL), GX_OK);
    for (uint64_t i = 0; i < GX_LEDGER_TICKETS_MAX; i++)
        tickets[i] = i + 1;
    entry = (struct gx_ledger_entry){
        .type = GX_LEDGER_VERIFIED, .tickets = tickets, .n_tickets = GX_LEDGER_TICKETS_MAX, .serial = UINT64_MAX};
    ck_assert_int_eq(append(ledger, &entry, NULL), GX_OK);
    gx_ledger_close(ledger);
    struct gx_err err = {0};
    bool torn;
    ck_assert_msg(gx_ledger_open(a_path, NULL, NULL, NULL, &ledger, &torn, &err) == GX_OK, "%s", err.text);
    ck_assert_uint_eq(gx_ledger_entries(ledger), 3);
    gx_ledger_close(ledger);
}
END_TEST

/* ---------------------------------------------------------------- finding tickets again */

static void assert_found(struct gx_ledger *ledger, uint64_t i)
{
    struct gx_ledger_entry found, wanted = make_entry(i);
    struct gx_arena arena;
    struct gx_err err = {0};
    gx_arena_init(&arena, 65536);
    ck_assert_msg(gx_ledger_find(ledger, wanted.number, &arena, &found, &err) == GX_OK, "%s", err.text);
    same_entry(&wanted, &found, NULL);
    gx_arena_fini(&arena);
}

static enum gx_status try_find(struct gx_ledger *ledger, uint64_t number, size_t room)
{
    struct gx_ledger_entry found;
    struct gx_arena arena;
    gx_arena_init(&arena, room);
    enum gx_status status = gx_ledger_find(ledger, number, &arena, &found, NULL);
    gx_arena_fini(&arena);
    ck_assert(status == GX_OK || found.named == NULL);
    return status;
}

START_TEST(a_ticket_is_found_by_its_number)
{
    struct gx_ledger *ledger = filled(a_path, NULL, N);
    for (int round = 0; round < 2; round++) {
        for (uint64_t i = 1; i <= N; i++)
            if (type_of(i) == GX_LEDGER_EXPUNGE)
                assert_found(ledger, i);
        for (uint64_t number = 0; number < number_of(N) + 5; number++)
            if (number % 3 != 0 || number == 0 || type_of(number / 3) != GX_LEDGER_EXPUNGE)
                ck_assert_int_eq(try_find(ledger, number, 65536), GX_E_NOT_FOUND);
        ck_assert_int_eq(try_find(ledger, number_of(1), 100), GX_E_TOO_LARGE);
        gx_ledger_close(ledger);
        ledger = open_ledger(a_path, NULL);
    }
    gx_ledger_close(ledger);
}
END_TEST

/* Where entry @i of the file begins. */
static size_t offset_of(const struct bytes *bytes, uint64_t i)
{
    size_t at = 4096;
    while (--i > 0)
        at += (size_t)gx_codec_get_u64(bytes->data + at + 8);
    return at;
}

START_TEST(a_ticket_that_was_altered_under_the_server_is_not_believed)
{
    struct gx_ledger *ledger = filled(a_path, NULL, 9);
    struct bytes bytes = read_whole(a_path);
    size_t from = offset_of(&bytes, 8), until = offset_of(&bytes, 9);
    for (size_t at = from; at < until; at++) {
        bytes.data[at] ^= 4;
        write_whole(a_path, bytes.data, bytes.len);
        bytes.data[at] ^= 4;
        ck_assert_int_eq(try_find(ledger, number_of(8), 65536), GX_E_CORRUPT);
    }
    /* Also when it is whole in itself: an entry of the same length that somebody has put there, checksums and all. */
    struct gx_ledger_entry forged = make_entry(8);
    struct gx_digest before, head;
    forged.at_us++;
    memcpy(&before, bytes.data + from - GX_LEDGER_TAIL_LEN, sizeof(before));
    ck_assert_int_eq(gx_ledger_entry_encode(&forged, &before, bytes.data + from, until - from, &head, NULL), GX_OK);
    write_whole(a_path, bytes.data, bytes.len);
    ck_assert_int_eq(try_find(ledger, number_of(8), 65536), GX_E_CORRUPT);
    ck_assert_int_eq(truncate(a_path, (off_t)from + 20), 0);
    ck_assert_int_eq(try_find(ledger, number_of(8), 65536), GX_E_IO);
    assert_found(ledger, 1);
    gx_ledger_close(ledger);
}
END_TEST

START_TEST(a_damaged_ticket_is_found_in_the_mirror)
{
    struct gx_ledger *ledger = filled(a_path, b_path, 9);
    struct bytes bytes = read_whole(a_path);
    bytes.data[offset_of(&bytes, 8) + 150] ^= 1;
    write_whole(a_path, bytes.data, bytes.len);
    assert_found(ledger, 8);
    bytes = read_whole(b_path);
    bytes.data[offset_of(&bytes, 8) + 150] ^= 1;
    write_whole(b_path, bytes.data, bytes.len);
    ck_assert_int_eq(try_find(ledger, number_of(8), 65536), GX_E_CORRUPT);
    gx_ledger_close(ledger);
}
END_TEST

struct finders {
    struct gx_ledger *ledger;
    _Atomic uint64_t n_appended;
    atomic_bool stop;
};

static void *find_all_the_time(void *arg)
{
    struct finders *finders = arg;
    struct gx_arena arena;
    uint64_t wrong = 0;
    gx_arena_init(&arena, 65536);
    for (uint64_t i = 0; !atomic_load(&finders->stop) || i < 1000; i++) {
        uint64_t n = atomic_load(&finders->n_appended), number = n == 0 ? 1 : i % n + 1, serial;
        struct gx_ledger_entry found;
        struct gx_digest digest;
        gx_arena_reset(&arena);
        enum gx_status status = gx_ledger_find(finders->ledger, number, &arena, &found, NULL);
        wrong += status == GX_OK ? found.number != number || found.at_us != (int64_t)number : n > 0;
        gx_ledger_certificate(finders->ledger, &serial, &digest);
        wrong += serial < n || (serial > 0 && digest.bytes[0] != (uint8_t)serial);
    }
    gx_arena_fini(&arena);
    return (void *)(uintptr_t)wrong;
}

START_TEST(readers_find_tickets_and_certificate_while_others_are_appended)
{
    make_ledger(a_path);
    struct finders finders = {.ledger = open_ledger(a_path, NULL)};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, find_all_the_time, &finders), 0);
    for (uint64_t number = 1; number <= 300; number++) {
        struct gx_ledger_entry order = {.type = GX_LEDGER_EXPUNGE,
                                        .number = number,
                                        .at_us = (int64_t)number,
                                        .kind = GX_ID_RECORD,
                                        .gallery = gx_slice_text("g")};
        struct gx_ledger_entry stage = {
            .type = GX_LEDGER_VERIFIED, .tickets = &number, .n_tickets = 1, .serial = number};
        stage.certificate.bytes[0] = (uint8_t)number;
        ck_assert_int_eq(append(finders.ledger, &order, NULL), GX_OK);
        ck_assert_int_eq(append(finders.ledger, &stage, NULL), GX_OK);
        atomic_store(&finders.n_appended, number);
    }
    atomic_store(&finders.stop, true);
    for (int i = 0; i < 2; i++) {
        void *wrong;
        pthread_join(threads[i], &wrong);
        ck_assert_uint_eq((uintptr_t)wrong, 0);
    }
    gx_ledger_close(finders.ledger);
}
END_TEST

/* ---------------------------------------------------------------- two ledgers */

static void assert_relation(enum gx_ledger_relation wanted)
{
    static const enum gx_ledger_relation other_way[] = {GX_LEDGER_SAME, GX_LEDGER_B_AHEAD, GX_LEDGER_A_AHEAD,
                                                        GX_LEDGER_DIVERGED, GX_LEDGER_FOREIGN};
    enum gx_ledger_relation relation;
    struct gx_err err = {0};
    struct bytes a = read_whole(a_path), b = read_whole(b_path);
    ck_assert_msg(gx_ledger_compare(a_path, b_path, &relation, &err) == GX_OK, "%s", err.text);
    ck_assert_int_eq(relation, wanted);
    ck_assert_msg(gx_ledger_compare(b_path, a_path, &relation, &err) == GX_OK, "%s", err.text);
    ck_assert_int_eq(relation, other_way[wanted]);
    struct bytes a_after = read_whole(a_path), b_after = read_whole(b_path); /* looked at, not touched */
    ck_assert(a.len == a_after.len && memcmp(a.data, a_after.data, a.len) == 0);
    ck_assert(b.len == b_after.len && memcmp(b.data, b_after.data, b.len) == 0);
}

static void append_to(const char *path, uint64_t from, uint64_t until)
{
    struct gx_ledger *ledger = open_ledger(path, NULL);
    for (uint64_t i = from; i <= until; i++)
        append_ok(ledger, i);
    gx_ledger_close(ledger);
}

START_TEST(copies_of_one_ledger_are_put_in_order)
{
    for (uint64_t n = 0; n <= 9; n += 3) {
        unlink(a_path);
        unlink(b_path);
        gx_ledger_close(filled(a_path, NULL, n));
        struct bytes bytes = read_whole(a_path);
        write_whole(b_path, bytes.data, bytes.len);
        assert_relation(GX_LEDGER_SAME);
        append_to(b_path, n + 1, n + 1);
        assert_relation(GX_LEDGER_B_AHEAD);
        append_to(a_path, n + 1, n + 3);
        assert_relation(GX_LEDGER_A_AHEAD);
        /* An entry that a crash has left without its mark counts, the beginning of one does not. */
        struct bytes ahead = read_whole(a_path);
        bytes = read_whole(b_path);
        size_t second = offset_of(&ahead, n + 2), third = offset_of(&ahead, n + 3);
        memcpy(bytes.data + bytes.len, ahead.data + second, third - second);
        write_whole(b_path, bytes.data, bytes.len + (third - second) / 2);
        assert_relation(GX_LEDGER_A_AHEAD);
        append_to(a_path, n + 4, n + 4);
        append_to(b_path, n + 2, n + 4); /* opening cuts the torn one off */
        assert_relation(GX_LEDGER_SAME);
    }
}
END_TEST

START_TEST(ledgers_that_parted_are_told_apart)
{
    gx_ledger_close(filled(a_path, NULL, 5));
    struct bytes bytes = read_whole(a_path);
    write_whole(b_path, bytes.data, bytes.len);
    append_to(a_path, 6, 6);
    struct gx_ledger *ledger = open_ledger(b_path, NULL);
    struct gx_ledger_entry other = make_entry(6);
    other.at_us++;
    ck_assert_int_eq(append(ledger, &other, NULL), GX_OK);
    gx_ledger_close(ledger);
    assert_relation(GX_LEDGER_DIVERGED);
    append_to(a_path, 7, 9);
    assert_relation(GX_LEDGER_DIVERGED);
    unlink(b_path);
    gx_ledger_close(filled(b_path, NULL, 9)); /* the same entries, but never the same ledger */
    assert_relation(GX_LEDGER_FOREIGN);
    unlink(b_path);
    make_ledger(b_path);
    assert_relation(GX_LEDGER_FOREIGN);
}
END_TEST

static void assert_incomparable(enum gx_status status, const char *text)
{
    enum gx_ledger_relation relation;
    struct gx_err err = {0};
    ck_assert_int_eq(gx_ledger_compare(a_path, b_path, &relation, &err), status);
    ck_assert_msg(strstr(err.text, text) != NULL, "no '%s' in: %s", text, err.text);
    ck_assert_int_eq(gx_ledger_compare(b_path, a_path, &relation, &err), status);
}

START_TEST(a_ledger_that_cannot_be_trusted_is_not_compared)
{
    gx_ledger_close(filled(a_path, NULL, 5));
    assert_incomparable(GX_E_NOT_FOUND, "b.log");
    struct bytes bytes = read_whole(a_path);
    bytes.data[bytes.len - 50] ^= 1;
    write_whole(b_path, bytes.data, bytes.len);
    assert_incomparable(GX_E_CORRUPT, "b.log");
    write_whole(b_path, bytes.data, bytes.len - 300);
    assert_incomparable(GX_E_CORRUPT, "b.log");
    unlink(b_path);
    make_ledger(b_path);
    struct gx_ledger *running = open_ledger(b_path, NULL);
    assert_incomparable(GX_E_IN_USE, "b.log");
    gx_ledger_close(running);
    assert_relation(GX_LEDGER_FOREIGN);
}
END_TEST

/* ---------------------------------------------------------------- a file that is not there any more */

/* What somebody does to the file at a path while it is open. */
enum mischief { UNLINKED, MOVED, REPLACED_BY_COPY, REPLACED_BY_EMPTY, N_MISCHIEF };

static void do_mischief(enum mischief mischief, const char *path, const char *kept)
{
    struct bytes bytes = read_whole(path);
    ck_assert_int_eq(link(path, kept), 0);
    ck_assert_int_eq(unlink(path), 0);
    if (mischief == UNLINKED)
        ck_assert_int_eq(unlink(kept), 0);
    if (mischief == REPLACED_BY_COPY)
        write_whole(path, bytes.data, bytes.len);
    if (mischief == REPLACED_BY_EMPTY)
        write_whole(path, "", 0);
}

START_TEST(nothing_is_appended_to_a_file_that_was_removed_or_exchanged)
{
    enum mischief mischief = (enum mischief)(_i / 2);
    const char *path = _i % 2 == 0 ? a_path : b_path; /* the ledger, and its mirror */
    char kept[340];
    snprintf(kept, sizeof(kept), "%s.kept", path);
    struct gx_ledger *ledger = filled(a_path, b_path, 3);
    do_mischief(mischief, path, kept);
    struct bytes other = read_whole(_i % 2 == 0 ? b_path : a_path);
    for (uint64_t i = 4; i <= 9; i++) { /* whatever its type */
        struct gx_ledger_entry entry = make_entry(i);
        ck_assert_int_eq(append(ledger, &entry, path), GX_E_IO);
    }
    struct bytes after = read_whole(_i % 2 == 0 ? b_path : a_path); /* nor to the other one */
    ck_assert_uint_eq(after.len, other.len);
    ck_assert_mem_eq(after.data, other.data, other.len);
    ck_assert_uint_eq(gx_ledger_entries(ledger), 3);
    assert_found(ledger, 1); /* what was appended can still be read */
    if (mischief != UNLINKED) {
        ck_assert_int_eq(rename(kept, path), 0); /* the advice of the message */
        append_ok(ledger, 4);
    }
    gx_ledger_close(ledger);
    if (mischief != UNLINKED) {
        gx_ledger_close(open_ledger(a_path, b_path));
        ck_assert_uint_eq(seen.n, 4);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ledger_entries");
    TCase *tests = tcase_create("ledger_entries");
    tcase_add_checked_fixture(tests, begin_mixed, NULL);
    tcase_add_test(tests, entries_of_every_type_come_back_as_they_were_appended);
    tcase_add_test(tests, only_expungements_bar_ids_and_number_tickets);
    tcase_add_test(tests, bytes_stand_where_the_format_says);
    tcase_add_test(tests, a_field_that_a_type_does_not_carry_is_refused_and_nothing_is_written);
    tcase_add_test(tests, incomplete_and_oversized_entries_are_refused);
    tcase_add_test(tests, stages_name_tickets_of_the_ledger_and_serials_ascend);
    tcase_add_test(tests, the_largest_stage_fits);
    tcase_add_test(tests, a_ticket_is_found_by_its_number);
    tcase_add_test(tests, a_ticket_that_was_altered_under_the_server_is_not_believed);
    tcase_add_test(tests, a_damaged_ticket_is_found_in_the_mirror);
    tcase_add_test(tests, readers_find_tickets_and_certificate_while_others_are_appended);
    tcase_add_test(tests, copies_of_one_ledger_are_put_in_order);
    tcase_add_test(tests, ledgers_that_parted_are_told_apart);
    tcase_add_test(tests, a_ledger_that_cannot_be_trusted_is_not_compared);
    tcase_add_loop_test(tests, nothing_is_appended_to_a_file_that_was_removed_or_exchanged, 0, 2 * N_MISCHIEF);
    suite_add_tcase(suite, tests);
    return gx_suite_run_in_folder(suite);
}
