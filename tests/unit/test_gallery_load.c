/* Filling a gallery from the store: all of it, or a refusal that says what is wrong, wherever it is. */
#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "crew.h"
#include "room.h"
#include "suite.h"

#define ROWS 33000u /* three parts */
#define PART 16384u /* slots that one thread fills at a time (gallery_load.c) */

static struct gx_room room;
static struct gx_gallery *whole; /* as it was enrolled */

static void begin(void)
{
    struct gx_err err;
    ck_assert_int_eq(gx_crew_start(3, &err), GX_OK);
    gx_room_begin(&room);
    gx_room_create(&room, "g", "flat");
    gx_room_fill(&room, "g", ROWS);
    whole = gx_gallery_find_number(room.galleries, 1);
    ck_assert_ptr_nonnull(whole);
}

static void end(void)
{
    gx_gallery_unref(whole);
    gx_room_end(&room);
    gx_crew_stop();
}

/* Once more from the store; the caller drops it. */
static enum gx_status load(struct gx_gallery **out, struct gx_err *err)
{
    ck_assert_int_eq(gx_gallery_new(&whole->meta, NULL, out, err), GX_OK);
    return gx_gallery_load(room.galleries, *out, err);
}

static void commit(enum gx_family family, uint64_t rno, const struct gx_slice *value)
{
    struct gx_store_batch *batch;
    struct gx_err err;
    uint8_t bytes[GX_KEY_ROW_LEN];
    struct gx_slice key = {bytes, sizeof(bytes)};
    gx_codec_row_key(1, rno, bytes);
    ck_assert_int_eq(gx_store_batch_new(room.galleries->store, &batch, &err), GX_OK);
    if (value == NULL)
        gx_store_batch_delete(batch, family, key);
    else
        gx_store_batch_put(batch, family, key, *value);
    ck_assert_int_eq(gx_store_commit(room.galleries->store, batch, &err), GX_OK);
    gx_store_batch_free(batch);
}

static void must_refuse(enum gx_family family, uint64_t rno, const char *what)
{
    struct gx_gallery *g;
    struct gx_err err;
    enum gx_status status = load(&g, &err);
    ck_assert_msg(status == GX_E_CORRUPT, "family %d, number %" PRIu64 ": status %d", (int)family, rno, (int)status);
    ck_assert_msg(strstr(err.text, what) != NULL, "'%s' does not say '%s'", err.text, what);
    ck_assert(!atomic_load(&g->loaded));
    ck_assert_uint_eq(gx_rows_count(g->rows), 0);
    gx_gallery_unref(g);
}

static void must_load(void)
{
    struct gx_gallery *g;
    struct gx_err err;
    ck_assert_msg(load(&g, &err) == GX_OK, "%s", err.text);
    gx_gallery_unref(g);
}

/* The value of a row; lasts until the room's arena is reset. */
static struct gx_slice value_of(enum gx_family family, uint64_t rno)
{
    struct gx_err err;
    struct gx_slice value;
    uint8_t key[GX_KEY_ROW_LEN];
    gx_codec_row_key(1, rno, key);
    ck_assert_int_eq(
        gx_store_get(room.galleries->store, family, (struct gx_slice){key, sizeof(key)}, &room.arena, &value, &err),
        GX_OK);
    return value;
}

static const uint32_t places[] = {0, 1, PART - 1, PART, 2 * PART, ROWS - 1};

START_TEST(every_row_comes_back_as_it_was_enrolled)
{
    struct gx_gallery *g;
    struct gx_err err;
    begin();
    ck_assert_msg(load(&g, &err) == GX_OK, "%s", err.text);
    ck_assert(atomic_load(&g->loaded));
    ck_assert_uint_eq(gx_rows_count(g->rows), ROWS);
    ck_assert_uint_eq(gx_rows_live(g->rows), ROWS);
    ck_assert_uint_eq(gx_rows_bytes(g->rows), gx_rows_bytes(whole->rows));
    for (uint32_t slot = 0; slot < ROWS; slot++) {
        struct gx_row was, is;
        gx_rows_get(whole->rows, slot, &was);
        gx_rows_get(g->rows, slot, &is);
        ck_assert_uint_eq(is.rno, was.rno);
        ck_assert_int_eq(is.captured_at_us, was.captured_at_us);
        ck_assert(memcmp(&is.subject, &was.subject, sizeof(is.subject)) == 0);
        ck_assert(gx_slice_equal(is.record, was.record));
        ck_assert(
            memcmp(gx_rows_floats(g->rows, slot), gx_rows_floats(whole->rows, slot), GX_ROOM_DIM * sizeof(float)) == 0);
    }
    gx_gallery_unref(g);
    end();
}
END_TEST

START_TEST(row_that_one_family_lacks_is_refused_wherever_it_is)
{
    begin();
    for (size_t i = 0; i < GX_COUNT_OF(places); i++) {
        uint64_t rno = gx_rows_rno(whole->rows, places[i]);
        struct gx_slice emb = value_of(GX_CF_EMB, rno), rec = value_of(GX_CF_REC, rno);
        char after[64];
        snprintf(after, sizeof(after), "families emb and rec disagree after %" PRIu32 " rows", places[i]);
        commit(GX_CF_EMB, rno, NULL);
        must_refuse(GX_CF_EMB, rno, after);
        commit(GX_CF_EMB, rno, &emb);
        commit(GX_CF_REC, rno, NULL);
        must_refuse(GX_CF_REC, rno, after);
        commit(GX_CF_REC, rno, &rec);
    }
    must_load();
    end();
}
END_TEST

START_TEST(damaged_row_is_refused_and_numbered)
{
    static const enum gx_family families[] = {GX_CF_EMB, GX_CF_REC};
    begin();
    for (size_t i = 0; i < 2 * GX_COUNT_OF(places); i++) {
        enum gx_family family = families[i % 2];
        uint64_t rno = gx_rows_rno(whole->rows, places[i / 2]);
        char what[64];
        snprintf(what, sizeof(what), "row %" PRIu64 " of family %s", rno, family == GX_CF_EMB ? "emb" : "rec");
        struct gx_slice good = value_of(family, rno), bad = {good.data, good.len - 1};
        commit(family, rno, &bad);
        must_refuse(family, rno, what);
        commit(family, rno, &good);
    }
    must_load();
    end();
}
END_TEST

START_TEST(rows_without_their_ids_are_refused)
{
    struct gx_store_iter *iter;
    struct gx_store_batch *batch;
    struct gx_slice key, value, prefix = {(const uint8_t *)"\0\0\0\1", 4};
    struct gx_err err;
    bool found;
    begin();
    ck_assert_int_eq(gx_store_iter_begin(room.galleries->store, GX_CF_BY_RECORD, prefix, (struct gx_slice){NULL, 0},
                                         true, &iter, &err),
                     GX_OK);
    ck_assert_int_eq(gx_store_iter_next(iter, &found, &key, &value, &err), GX_OK);
    ck_assert(found);
    ck_assert_int_eq(gx_store_batch_new(room.galleries->store, &batch, &err), GX_OK);
    gx_store_batch_delete(batch, GX_CF_BY_RECORD, key);
    gx_store_iter_end(iter);
    ck_assert_int_eq(gx_store_commit(room.galleries->store, batch, &err), GX_OK);
    gx_store_batch_free(batch);
    must_refuse(GX_CF_BY_RECORD, 0, "family by_record holds 32999 ids for 33000 rows");
    end();
}
END_TEST

START_TEST(stop_ends_loading)
{
    struct gx_gallery *g;
    struct gx_err err;
    begin();
    atomic_store(&room.galleries->stopping, true);
    ck_assert_int_eq(load(&g, &err), GX_E_UNAVAILABLE);
    ck_assert_uint_eq(gx_rows_count(g->rows), 0);
    gx_gallery_unref(g);
    atomic_store(&room.galleries->stopping, false);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gallery_load");
    TCase *tc = tcase_create("gallery_load");
    tcase_add_test(tc, every_row_comes_back_as_it_was_enrolled);
    tcase_add_test(tc, row_that_one_family_lacks_is_refused_wherever_it_is);
    tcase_add_test(tc, damaged_row_is_refused_and_numbered);
    tcase_add_test(tc, rows_without_their_ids_are_refused);
    tcase_add_test(tc, stop_ends_loading);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
