/* Every write of the store fails once: the caller is told, nothing is half done, and the same again succeeds. One
 * promise per path; enrolment and expungement have theirs in their own files. The Nth write fails for N = 1, 2, … until
 * the path gets through untouched; half of the rounds go on in the running room, half close it and open it again. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "faults.h"
#include "file.h"
#include "suite.h"

#define ROWS 40

static struct gx_room room;

static void reopen(void)
{
    gx_room_close(&room);
    gx_faults_end(&room);
    gx_room_open(&room);
}

/* Writes work again, and the keeper need not wait for its next round. */
static void heal(void)
{
    gx_faults_end(&room);
    gx_keeper_wake(room.galleries);
}

static bool is_there(const char *gallery, struct gx_gallery_info *out)
{
    struct gx_err err;
    enum gx_status status = gx_galleries_describe(room.galleries, gx_slice_text(gallery), out, &err);
    ck_assert(status == GX_OK || status == GX_E_NOT_FOUND);
    return status == GX_OK;
}

static void assert_holds(const char *gallery, uint64_t n)
{
    struct gx_gallery_info info;
    ck_assert(is_there(gallery, &info));
    ck_assert_uint_eq(info.records, n);
    for (uint64_t row = 0; row < n; row++) {
        ck_assert(gx_room_has_record(&room, gallery, row));
        ck_assert(gx_room_finds(&room, gallery, row, 1));
    }
}

/* Keys of @family that begin with @prefix. */
static size_t keys_with(enum gx_family family, struct gx_slice prefix)
{
    struct gx_store_iter *iter;
    struct gx_slice key, value;
    struct gx_err err;
    size_t n = 0;
    bool more;
    ck_assert_int_eq(
        gx_store_iter_begin(room.galleries->store, family, prefix, (struct gx_slice){NULL, 0}, false, &iter, &err),
        GX_OK);
    for (;; n++) {
        ck_assert_msg(gx_store_iter_next(iter, &more, &key, &value, &err) == GX_OK, "%s", err.text);
        if (!more)
            break;
    }
    gx_store_iter_end(iter);
    return n;
}

/* Keys in the families that rows stand in. */
static size_t keys_of(uint32_t gallery)
{
    uint8_t prefix[4];
    size_t n = 0;
    gx_codec_put_u32(prefix, gallery);
    for (int family = GX_CF_EMB; family <= GX_CF_BY_SUBJECT; family++)
        n += keys_with((enum gx_family)family, (struct gx_slice){prefix, sizeof(prefix)});
    return n;
}

/* --- creation of a data directory, opening --- */

START_TEST(failed_init_leaves_nothing_and_is_repeated)
{
    struct gx_err err;
    char dir[128];
    long nth = 1;
    gx_room_begin(&room);
    gx_room_close(&room);
    snprintf(dir, sizeof(dir), "%s-init", room.dir);
    for (bool hit = true; hit; nth++) {
        gx_faults_begin_at_open(nth, false, GX_E_FULL);
        enum gx_status status = gx_galleries_create(dir, NULL, &err);
        hit = gx_faults_end(&room);
        ck_assert_int_eq(status, hit ? GX_E_FULL : GX_OK);
        ck_assert(!hit || access(dir, F_OK) != 0);
        ck_assert_int_lt(nth, 20);
    }
    ck_assert_int_gt(nth, 2);
    const struct gx_galleries_options options = {.data_dir = dir};
    ck_assert_int_eq(gx_galleries_open(&options, &room.galleries, &err), GX_OK);
    gx_galleries_close(room.galleries);
    ck_assert_int_eq(gx_file_remove_tree(dir, &err), GX_OK);
    gx_room_open(&room);
    gx_room_end(&room);
}
END_TEST

static bool is_final(uint64_t number)
{
    struct gx_ticket ticket;
    gx_arena_reset(&room.arena);
    return gx_expunge_ticket(room.galleries, number, &room.arena, &ticket, NULL) == GX_OK &&
           gx_expunge_is_final(&ticket);
}

/* The ledger has an order that the store lacks. Opening carries it out, or fails and is repeated. */
START_TEST(failed_replay_keeps_the_store_closed_and_is_repeated)
{
    long nth = 1;
    for (bool hit = true; hit; nth++) {
        const char *id = "photo-00000003";
        struct gx_err err;
        gx_room_begin(&room);
        gx_room_create(&room, "g", "flat");
        gx_room_fill(&room, "g", ROWS);
        gx_faults_begin(&room, GX_FAULTS_STORE, 1, true, GX_E_IO);
        ck_assert_int_ne(gx_room_expunge(&room, "g", GX_ID_RECORD, &id, 1, -1, false, NULL, NULL, &err), GX_OK);
        gx_room_close(&room);
        gx_faults_end(&room);
        gx_faults_begin_at_open(nth, false, GX_E_FULL);
        enum gx_status status = gx_galleries_open(&room.options, &room.galleries, &err);
        ck_assert_int_eq(status, nth == 1 ? GX_E_FULL : GX_OK);
        if (status == GX_OK) /* writes of the threads */
            gx_room_wait_until(gx_faults_hit() || is_final(1));
        hit = gx_faults_end(&room);
        if (status != GX_OK)
            gx_room_open(&room);
        ck_assert_msg(gx_galleries_wait_loaded(room.galleries, &err) == GX_OK, "%s", err.text);
        gx_room_wait_until(is_final(1));
        ck_assert(!gx_room_has_record(&room, "g", 3));
        ck_assert(!gx_room_finds(&room, "g", 3, ROWS));
        ck_assert(gx_room_finds(&room, "g", 4, 1));
        /* An enrolment of what is there already: behind it in the queue, the writer is done with the ledger. */
        ck_assert_msg(gx_room_enrol(&room, "g", 4, 1, NULL, NULL, &err) == GX_OK, "%s", err.text);
        ck_assert_uint_eq(gx_ledger_last_number(room.galleries->ledger), 1);
        gx_room_end(&room);
        ck_assert_int_lt(nth, 50);
    }
    ck_assert_int_gt(nth, 2);
}
END_TEST

/* --- galleries --- */

static enum gx_status create(const char *gallery, struct gx_gallery_info *out, struct gx_err *err)
{
    struct gx_create_in in = {.name = gx_slice_text(gallery),
                              .embedder_id = gx_slice_text("e"),
                              .embedder_version = gx_slice_text("1"),
                              .engine = gx_slice_text("flat"),
                              .dim = GX_ROOM_DIM};
    return gx_galleries_add(room.galleries, &in, out, err);
}

START_TEST(failed_creation_leaves_no_gallery_and_is_repeated)
{
    struct gx_gallery_info a, b, first = {0};
    long nth = 1;
    gx_room_begin(&room);
    gx_room_create(&room, "a", "flat");
    gx_room_fill(&room, "a", 5);
    for (bool hit = true; hit; nth++)
        for (int closes = 0; closes < 2; closes++) {
            struct gx_err err;
            char name[32];
            snprintf(name, sizeof(name), "b%ld-%d", nth, closes);
            gx_faults_begin(&room, GX_FAULTS_BOTH, nth, closes == 1, GX_E_FULL);
            enum gx_status status = create(name, &first, &err);
            hit = gx_faults_hit();
            ck_assert_int_eq(status, hit ? GX_E_FULL : GX_OK);
            if (closes == 1)
                reopen();
            gx_faults_end(&room);
            ck_assert(is_there(name, &b) == !hit);
            ck_assert_int_eq(create(name, &b, &err), GX_OK);
            ck_assert(hit || memcmp(&b.meta.uuid, &first.meta.uuid, sizeof(b.meta.uuid)) == 0);
            gx_room_fill(&room, name, 7);
            reopen();
            ck_assert(is_there("a", &a) && is_there(name, &b));
            ck_assert_uint_ne(a.meta.number, b.meta.number);
            assert_holds("a", 5);
            assert_holds(name, 7);
            ck_assert_int_lt(nth, 20);
        }
    ck_assert_int_gt(nth, 2);
    gx_room_end(&room);
}
END_TEST

static enum gx_status remove_gallery(const char *request_id, uint64_t *out_records)
{
    struct gx_remove_in in = {
        .name = gx_slice_text("g"), .expected_count = ROWS, .request_id = gx_slice_text(request_id)};
    uint64_t epoch;
    *out_records = 0;
    return gx_galleries_remove(room.galleries, &in, out_records, &epoch, NULL);
}

/* Nothing of it is in the store: no row, and no entry from which the next start would know of it. */
static bool has_left(uint32_t number)
{
    uint8_t key[GX_KEY_GALLERY_LEN];
    gx_codec_key_gallery(number, key);
    return keys_of(number) == 0 && keys_with(GX_CF_DEFAULT, (struct gx_slice){key, sizeof(key)}) == 0;
}

/* Deletes "g" with a fault; true when it was hit. */
static bool delete_with_fault(long nth, bool closes)
{
    struct gx_gallery_info g, other;
    uint64_t records;
    char request[32];
    snprintf(request, sizeof(request), "d%ld-%d", nth, closes);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", ROWS);
    ck_assert(is_there("g", &g));
    ck_assert_uint_gt(keys_of(g.meta.number), ROWS);
    gx_faults_begin(&room, GX_FAULTS_BOTH, nth, closes, GX_E_FULL);
    enum gx_status status = remove_gallery(request, &records);
    ck_assert(status == GX_OK || status == GX_E_FULL);
    gx_room_wait_until(gx_faults_hit() || has_left(g.meta.number)); /* the keeper's part */
    bool hit = gx_faults_hit();
    ck_assert(status == GX_OK || hit);
    if (closes)
        reopen();
    heal();
    if (is_there("g", &other)) {
        ck_assert_int_ne(status, GX_OK);
        assert_holds("g", ROWS);
    }
    gx_room_wait_until(remove_gallery(request, &records) == GX_OK); /* the same request gives the same answer */
    ck_assert_uint_eq(records, ROWS);
    ck_assert(!is_there("g", &other));
    gx_room_wait_until(has_left(g.meta.number));
    assert_holds("a", 5);
    return hit;
}

START_TEST(failed_deletion_of_a_gallery_is_undone_or_ends_by_itself)
{
    long nth = 1;
    gx_room_begin(&room);
    gx_room_create(&room, "a", "flat");
    gx_room_fill(&room, "a", 5);
    for (bool hit = true; hit; nth++) {
        hit = delete_with_fault(nth, false);
        hit = delete_with_fault(nth, true) || hit;
        ck_assert_int_lt(nth, 50);
    }
    ck_assert_int_gt(nth, 7);           /* the change of state, five families, the entry */
    gx_room_create(&room, "g", "flat"); /* the name is free */
    assert_holds("g", 0);
    gx_room_fill(&room, "g", 3);
    reopen();
    assert_holds("g", 3);
    assert_holds("a", 5);
    gx_room_end(&room);
}
END_TEST

/* --- engines --- */

static struct gx_gallery_stats stats_of(const char *gallery)
{
    struct gx_gallery_stats stats;
    ck_assert_int_eq(gx_galleries_stats(room.galleries, gx_slice_text(gallery), &stats, NULL), GX_OK);
    return stats;
}

/* Builds the index of "g" with @engine. */
static struct gx_gallery_stats build(const char *engine)
{
    char text[GX_ENGINE_MAX + 1];
    struct gx_err err;
    enum gx_status status; /* a build that the server began of its own accord ends first */
    gx_room_wait_until((status = gx_galleries_build(room.galleries, gx_slice_text("g"), gx_slice_text(engine), text,
                                                    &err)) != GX_E_STATE);
    ck_assert_msg(status == GX_OK, "%s", err.text);
    gx_room_wait_until(!stats_of("g").build.running);
    return stats_of("g");
}

/* The gallery says that it has this engine, and has it. */
static void assert_engine(const char *engine)
{
    struct gx_gallery_info info;
    const char *answering = strcmp(engine, "auto") == 0 ? "flat" : engine;
    ck_assert(is_there("g", &info));
    ck_assert_str_eq(info.meta.engine, engine);
    gx_room_wait_until(strcmp(stats_of("g").engine, answering) == 0);
    assert_holds("g", ROWS);
}

static void change_with_faults(const char *before, const char *after, bool closes)
{
    long nth = 1;
    gx_room_begin(&room);
    gx_room_create(&room, "g", before);
    gx_room_fill(&room, "g", ROWS);
    assert_engine(before);
    for (bool hit = true; hit; nth++) {
        gx_faults_begin(&room, GX_FAULTS_BOTH, nth, closes, GX_E_FULL);
        struct gx_gallery_stats stats = build(after);
        hit = gx_faults_hit();
        ck_assert((stats.build.problem[0] != '\0') == hit);
        if (!closes)
            assert_engine(hit ? before : after);
        if (closes)
            reopen();
        heal();
        assert_engine(hit ? before : after);
        ck_assert_int_lt(nth, 20);
    }
    ck_assert_int_gt(nth, 2);
    reopen();
    assert_engine(after);
    gx_room_end(&room);
}

START_TEST(failed_change_of_the_engine_keeps_the_old_one_and_is_repeated)
{
    static const char *const changes[][2] = {
        {"flat", "auto"}, {"flat", "faiss:Flat"}, {"faiss:Flat", "flat"}, {"faiss:Flat", "faiss:HNSW8,Flat"}};
    size_t n = getenv("INDEXD_TEST_ENGINE") == NULL ? GX_COUNT_OF(changes) : 1; /* only flat ones */
    for (size_t i = 0; i < n; i++)
        for (int closes = 0; closes < 2; closes++)
            change_with_faults(changes[i][0], changes[i][1], closes == 1);
}
END_TEST

/* --- tickets --- */

/* An order that is acknowledged stays carried out whatever fails behind it, and no stage is stamped before its fact. */
START_TEST(failed_stamp_of_a_ticket_is_repeated_by_itself)
{
    long nth = 1;
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", ROWS);
    for (bool hit = true; hit; nth++)
        for (int closes = 0; closes < 2; closes++) {
            uint64_t row = (uint64_t)(2 * nth + closes);
            char id[GX_PEOPLE_ID_MAX];
            const char *ids = id;
            struct gx_expunge_out out;
            struct gx_err err;
            ck_assert_uint_lt(row, ROWS - 1);
            gx_people_record_id(row, id);
            /* The first write is the order's own. */
            gx_faults_begin(&room, GX_FAULTS_STORE, nth + 1, closes == 1, GX_E_FULL);
            ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, &ids, 1, 1, false, NULL, &out, &err), GX_OK);
            gx_room_wait_until(gx_faults_hit() || is_final(out.ticket.number));
            hit = gx_faults_hit();
            ck_assert(closes == 0 || is_final(out.ticket.number) == !hit);
            ck_assert(!gx_room_has_record(&room, "g", row));
            if (closes == 1)
                reopen();
            heal();
            gx_room_wait_until(is_final(out.ticket.number));
            ck_assert(!gx_room_has_record(&room, "g", row));
            ck_assert(!gx_room_finds(&room, "g", row, ROWS));
            ck_assert(gx_room_has_record(&room, "g", ROWS - 1));
        }
    ck_assert_int_gt(nth, 2);
    gx_room_end(&room);
}
END_TEST

/* --- remembered requests --- */

#define OUTDATED 10001 /* more than are forgotten in one batch */

/* Requests of @age ago, as if they had been made then. */
static void remember_requests(uint32_t n, uint32_t first, int64_t age_us)
{
    struct gx_store_batch *batch;
    struct gx_err err;
    ck_assert_int_eq(gx_store_batch_new(room.galleries->store, &batch, &err), GX_OK);
    for (uint32_t i = first; i < first + n; i++) {
        struct gx_key request = {{0}};
        struct gx_request_memory memory = {.at_us = gx_clock_wall_us() - age_us};
        gx_codec_put_u32(request.bytes, i);
        gx_writer_remember(batch, &request, &memory);
    }
    ck_assert_msg(gx_store_commit(room.galleries->store, batch, &err) == GX_OK, "%s", err.text);
    gx_store_batch_free(batch);
}

static size_t remembered(void)
{
    return keys_with(GX_CF_DEFAULT, gx_slice_text(GX_KEY_REQUEST_PREFIX));
}

START_TEST(outdated_requests_are_forgotten_although_a_write_fails)
{
    const int64_t hour_us = (int64_t)3600 * 1000000;
    long nth = 1;
    gx_room_begin(&room);
    remember_requests(3, 0, 23 * hour_us);
    for (bool hit = true; hit; nth++) {
        remember_requests(OUTDATED, 10, 25 * hour_us);
        gx_room_close(&room);
        gx_faults_begin_at_open(nth, false, GX_E_FULL);
        gx_room_open(&room); /* the keeper begins with it */
        gx_room_wait_until(gx_faults_hit() || remembered() == 3);
        hit = gx_faults_hit();
        if (hit)
            ck_assert_uint_ge(remembered(), 4);
        heal();
        gx_room_wait_until(remembered() == 3);
        ck_assert_int_lt(nth, 20);
    }
    ck_assert_int_gt(nth, 3);
    gx_room_end(&room);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("faults");
    TCase *tc = tcase_create("faults");
    tcase_add_test(tc, failed_init_leaves_nothing_and_is_repeated);
    tcase_add_test(tc, failed_replay_keeps_the_store_closed_and_is_repeated);
    tcase_add_test(tc, failed_creation_leaves_no_gallery_and_is_repeated);
    tcase_add_test(tc, failed_deletion_of_a_gallery_is_undone_or_ends_by_itself);
    tcase_add_test(tc, failed_change_of_the_engine_keeps_the_old_one_and_is_repeated);
    tcase_add_test(tc, failed_stamp_of_a_ticket_is_repeated_by_itself);
    tcase_add_test(tc, outdated_requests_are_forgotten_although_a_write_fails);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
