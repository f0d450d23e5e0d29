/* Legal holds: what is held stays, what is quarantined is not found, and both end with the last release only. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"
#include "hold_private.h"
#include "room.h"

static struct gx_room room;
static struct gx_err err;
static struct gx_hold_out out;

static void begin(const char *engine, uint64_t n)
{
    gx_room_begin(&room);
    gx_room_create(&room, "g", engine);
    gx_room_fill(&room, "g", n);
}

static void reopen(void)
{
    gx_room_close(&room);
    gx_room_open(&room);
}

#define OK(call) ck_assert_msg((call) == GX_OK, "%s: %s", #call, err.text)

static const char *id_of(uint64_t row)
{
    static char ids[8][GX_PEOPLE_ID_MAX];
    static size_t at;
    at = (at + 1) % 8;
    gx_people_record_id(row, ids[at]);
    return ids[at];
}

static enum gx_status place(enum gx_id_kind kind, const char *id, const char *reference, bool quarantine)
{
    return gx_room_place(&room, "g", kind, &id, 1, reference, quarantine, NULL, &out, &err);
}

static enum gx_status release(enum gx_id_kind kind, const char *id, const char *reference)
{
    return gx_room_release(&room, "g", kind, &id, 1, reference, NULL, &out, &err);
}

static enum gx_status expunge(enum gx_id_kind kind, const char *id)
{
    return gx_room_expunge(&room, "g", kind, &id, 1, -1, false, NULL, NULL, &err);
}

/* The arrest of a row, and how many rows of [0, n) it has from which on. */
static void arrest_of(uint64_t row, uint64_t n, char out_id[GX_PEOPLE_ID_MAX], uint64_t *out_first, uint64_t *out_n)
{
    struct gx_people_photo photo, other;
    gx_people_row(&room.people, row, NULL, &photo);
    gx_people_arrest_id(photo.person, photo.arrest, out_id);
    *out_first = 0;
    *out_n = 0;
    for (uint64_t i = 0; i < n; i++) {
        gx_people_row(&room.people, i, NULL, &other);
        if (other.person != photo.person || other.arrest != photo.arrest)
            continue;
        if ((*out_n)++ == 0)
            *out_first = i;
    }
}

static bool is_marked(uint64_t row)
{
    struct gx_stored_record *records;
    size_t n, dim;
    struct gx_slice id = gx_slice_text(id_of(row));
    gx_arena_reset(&room.arena);
    OK(gx_lookup_get(room.galleries, gx_slice_text("g"), &id, 1, false, &room.arena, &records, &n, &dim, &err));
    ck_assert_uint_eq(n, 1);
    return records[0].quarantined;
}

static struct gx_gallery_stats stats_of(void)
{
    struct gx_gallery_stats stats;
    OK(gx_galleries_stats(room.galleries, gx_slice_text("g"), &stats, &err));
    return stats;
}

START_TEST(held_record_is_searched_and_not_expunged_until_its_release)
{
    char arrest[GX_PEOPLE_ID_MAX], subject[GX_PEOPLE_ID_MAX];
    struct gx_people_photo photo;
    uint64_t first, n;
    begin("flat", 60);
    arrest_of(7, 60, arrest, &first, &n);
    gx_people_row(&room.people, 7, NULL, &photo);
    gx_people_subject_id(photo.person, subject);
    OK(place(GX_ID_RECORD, id_of(7), "case 2026/17", false));
    ck_assert_uint_eq(out.n_ids, 1);
    ck_assert_uint_eq(out.n_records, 1);
    for (int round = 0; round < 2; round++) {
        ck_assert(gx_room_finds(&room, "g", 7, 1) && !is_marked(7));
        /* Whatever the order names, and nothing of it is done. */
        ck_assert_int_eq(expunge(GX_ID_RECORD, id_of(7)), GX_E_HELD);
        ck_assert_ptr_nonnull(strstr(err.text, "'case 2026/17'"));
        ck_assert_int_eq(expunge(GX_ID_ARREST, arrest), GX_E_HELD);
        ck_assert_int_eq(expunge(GX_ID_SUBJECT, subject), GX_E_HELD);
        const char *several[] = {id_of(20), id_of(7), id_of(21)};
        ck_assert_int_eq(gx_room_expunge(&room, "g", GX_ID_RECORD, several, 3, 3, false, "r", NULL, &err), GX_E_HELD);
        for (uint64_t row = 0; row < 60; row++)
            ck_assert(gx_room_has_record(&room, "g", row));
        ck_assert_uint_eq(gx_ledger_entries(room.galleries->ledger), 1);
        reopen();
    }
    OK(expunge(GX_ID_RECORD, id_of(20)));
    OK(release(GX_ID_RECORD, id_of(7), "case 2026/17"));
    ck_assert_uint_eq(out.n_ids, 1);
    OK(expunge(GX_ID_ARREST, arrest));
    ck_assert(!gx_room_has_record(&room, "g", 7));
    gx_room_end(&room);
}
END_TEST

START_TEST(dry_run_tells_of_the_hold_and_its_reference)
{
    struct gx_expunge_out counted;
    begin("flat", 10);
    const char *ids[] = {id_of(1), id_of(2), id_of(3)};
    OK(place(GX_ID_RECORD, ids[1], "case 9", true));
    OK(gx_room_expunge(&room, "g", GX_ID_RECORD, ids, 3, -1, true, NULL, &counted, &err));
    ck_assert(!counted.has_ticket);
    ck_assert_uint_eq(counted.n_records, 3);
    for (size_t i = 0; i < 3; i++)
        ck_assert(gx_slice_equal(counted.outcomes[i].hold_ref, gx_slice_text(i == 1 ? "case 9" : "")));
    OK(gx_room_expunge(&room, "g", GX_ID_RECORD, ids, 1, -1, true, NULL, &counted, &err));
    ck_assert_uint_eq(counted.outcomes[0].hold_ref.len, 0);
    gx_room_end(&room);
}
END_TEST

/* A search of every kind for rows that are near each other: which of [0, n) come back? */
static void search_all_ways(uint64_t n, const bool *quarantined)
{
    for (int way = 0; way < 4; way++) {
        struct gx_search_in in = gx_room_defaults(1000);
        struct gx_search_result *result;
        struct gx_slice subject;
        char subject_id[GX_PEOPLE_ID_MAX];
        struct gx_people_photo photo;
        bool seen[1000] = {false};
        in.exact = way == 1;
        in.group_by_subject = way == 2;
        if (way == 3) { /* only the person of row 5 */
            gx_people_row(&room.people, 5, NULL, &photo);
            gx_people_subject_id(photo.person, subject_id);
            subject = gx_slice_text(subject_id);
            in.filter.subjects = &subject;
            in.filter.n_subjects = 1;
        }
        OK(gx_room_search(&room, "g", 5, &in, &result, &err));
        for (size_t i = 0; i < result->n; i++) {
            char text[GX_PEOPLE_ID_MAX] = {0};
            memcpy(text, result->candidates[i].record_id.data, result->candidates[i].record_id.len);
            uint64_t row = strtoull(text + strlen("photo-"), NULL, 10);
            ck_assert(row < n && !quarantined[row]);
            seen[row] = true;
        }
        for (uint64_t row = 0; row < n && way < 2; row++)
            ck_assert_msg(seen[row] == !quarantined[row], "way %d row %d", way, (int)row);
        ck_assert(way != 3 || result->n > 0);
    }
}

static const char *const engines[] = {
    "flat", "scan", "hnsw", "faiss:IVF8,SQ8", "faiss:HNSW16,SQ8", "faiss:IVF8,PQ16x4fs"};

static bool flat_only(void)
{
#if defined(__SANITIZE_THREAD__)
    return true;
#elif defined(__has_feature)
    return __has_feature(thread_sanitizer);
#else
    return false;
#endif
}

static uint64_t n_indexed_rows(void)
{
    return stats_of().indexed;
}

/* Builds the index anew and waits for its end. One that the server began of its own accord ends first. */
static void build_anew(void)
{
    char engine[GX_ENGINE_MAX + 1];
    enum gx_status status;
    gx_room_wait_until((status = gx_galleries_build(room.galleries, gx_slice_text("g"), gx_slice_text(""), engine,
                                                    &err)) != GX_E_STATE);
    OK(status);
    gx_room_wait_until(!stats_of().build.running);
}

START_TEST(quarantined_rows_are_found_by_no_search_and_back_without_a_rebuild)
{
    enum { N = 600 };
    const char *engine = engines[_i];
    char arrest[GX_PEOPLE_ID_MAX];
    bool quarantined[N] = {false};
    const bool none[N] = {false};
    uint64_t first, n;
    if (_i > 0 && flat_only())
        return;
    begin(engine, N);
    if (_i > 0)
        gx_room_wait_until(n_indexed_rows() == N);
    arrest_of(5, N, arrest, &first, &n);
    for (uint64_t row = 100; row < 400; row++) { /* half of the gallery */
        quarantined[row] = true;
        if (row % 100 == 99) {
            const char *ids[100];
            char texts[100][GX_PEOPLE_ID_MAX];
            for (uint64_t i = 0; i < 100; i++) {
                gx_people_record_id(row - 99 + i, texts[i]);
                ids[i] = texts[i];
            }
            OK(gx_room_place(&room, "g", GX_ID_RECORD, ids, 100, "half", true, NULL, &out, &err));
            ck_assert_uint_eq(out.n_ids, 100);
            ck_assert_uint_eq(out.n_records, 100);
        }
    }
    OK(place(GX_ID_ARREST, arrest, "case A", true));
    ck_assert_uint_eq(out.n_records, n);
    bool all[N];
    memcpy(all, quarantined, sizeof(all));
    for (uint64_t row = first; row < first + n; row++)
        all[row] = true;
    for (int round = 0; round < 3; round++) {
        struct gx_gallery_stats stats = stats_of();
        ck_assert_uint_eq(stats.records, N);
        ck_assert_uint_eq(stats.quarantined, 300 + n);
        ck_assert(is_marked(first) && is_marked(399) && !is_marked(400));
        /* Way 3 looks for the person of row 5: another arrest of that person, or nobody. */
        struct gx_search_in in = gx_room_defaults(1000);
        struct gx_search_result *result;
        OK(gx_room_search(&room, "g", 5, &in, &result, &err));
        ck_assert_uint_eq(result->n, N - 300 - n);
        for (size_t i = 0; i < result->n; i++) {
            char text[GX_PEOPLE_ID_MAX] = {0};
            memcpy(text, result->candidates[i].record_id.data, result->candidates[i].record_id.len);
            ck_assert(!all[strtoull(text + strlen("photo-"), NULL, 10)]);
        }
        for (uint64_t row = first; row < first + n; row++)
            ck_assert(!gx_room_finds(&room, "g", row, 50));
        struct gx_recall_in recall = {.gallery = gx_slice_text("g"), .n_probes = 20, .effort = {.effort = 1}};
        struct gx_recall_out measured;
        OK(gx_search_measure(room.galleries, &recall, &measured, &err));
        if (round == 0) { /* the index built anew takes them up too */
            build_anew();
            if (_i > 0)
                ck_assert_uint_eq(n_indexed_rows(), N);
        } else {
            reopen();
            if (_i > 0)
                gx_room_wait_until(n_indexed_rows() == N);
        }
    }
    OK(release(GX_ID_ARREST, arrest, "case A"));
    search_all_ways(N, quarantined);
    ck_assert(!is_marked(first));
    uint64_t indexed = n_indexed_rows();
    OK(gx_room_release(&room, "g", GX_ID_RECORD, NULL, 0, "half", NULL, &out, &err));
    ck_assert_uint_eq(out.n_ids, 300);
    search_all_ways(N, none);
    ck_assert_uint_eq(n_indexed_rows(), indexed); /* at once: nothing was built */
    ck_assert(!stats_of().build.running);
    ck_assert_uint_eq(stats_of().quarantined, 0);
    for (uint64_t row = 100; row < 400; row += 37)
        ck_assert(gx_room_finds(&room, "g", row, 1));
    gx_room_end(&room);
}
END_TEST

START_TEST(record_is_free_only_when_every_hold_on_it_has_ended)
{
    char arrest[GX_PEOPLE_ID_MAX];
    uint64_t first, n;
    begin("flat", 40);
    arrest_of(7, 40, arrest, &first, &n);
    OK(place(GX_ID_RECORD, id_of(7), "A", true));
    OK(place(GX_ID_RECORD, id_of(7), "B", true));
    OK(place(GX_ID_ARREST, arrest, "C", true));
    OK(place(GX_ID_ARREST, arrest, "D", false));
    ck_assert_int_eq(release(GX_ID_RECORD, id_of(7), "C"), GX_E_NOT_FOUND);
    OK(release(GX_ID_RECORD, id_of(7), "A"));
    ck_assert(!gx_room_finds(&room, "g", 7, 40) && is_marked(7));
    OK(release(GX_ID_ARREST, arrest, "C"));
    for (uint64_t row = first; row < first + n; row++) /* the others of the arrest are back */
        ck_assert_int_eq(gx_room_finds(&room, "g", row, 1), row != 7);
    reopen();
    ck_assert(!gx_room_finds(&room, "g", 7, 40));
    OK(release(GX_ID_RECORD, id_of(7), "B"));
    ck_assert(gx_room_finds(&room, "g", 7, 1)); /* held still, but not out of searches */
    ck_assert_int_eq(expunge(GX_ID_RECORD, id_of(7)), GX_E_HELD);
    ck_assert_ptr_nonnull(strstr(err.text, "'D'"));
    OK(release(GX_ID_ARREST, arrest, "D"));
    OK(expunge(GX_ID_RECORD, id_of(7)));
    gx_room_end(&room);
}
END_TEST

START_TEST(hold_waits_for_records_that_are_enrolled_later)
{
    char arrest[GX_PEOPLE_ID_MAX];
    uint64_t first, n;
    begin("flat", 10);
    arrest_of(30, 60, arrest, &first, &n);
    ck_assert_uint_ge(first, 10);
    OK(place(GX_ID_ARREST, arrest, "A", true));
    ck_assert_uint_eq(out.n_records, 0);
    OK(place(GX_ID_RECORD, id_of(50), "R", false));
    ck_assert_int_eq(expunge(GX_ID_ARREST, arrest), GX_E_HELD); /* an order would bar the id */
    ck_assert_int_eq(expunge(GX_ID_RECORD, id_of(50)), GX_E_HELD);
    reopen();
    OK(gx_room_enrol(&room, "g", 10, 50, NULL, NULL, &err));
    for (int round = 0; round < 2; round++) {
        for (uint64_t row = 10; row < 60; row++) {
            bool held = row >= first && row < first + n;
            ck_assert(gx_room_has_record(&room, "g", row));
            ck_assert_int_eq(gx_room_finds(&room, "g", row, 60), !held);
            ck_assert_int_eq(is_marked(row), held);
        }
        ck_assert_uint_eq(stats_of().quarantined, n);
        ck_assert_int_eq(expunge(GX_ID_RECORD, id_of(first)), GX_E_HELD);
        ck_assert_int_eq(expunge(GX_ID_RECORD, id_of(50)), GX_E_HELD);
        reopen();
    }
    /* The same records again count as before. */
    struct gx_enrol_out enrolled;
    OK(gx_room_enrol(&room, "g", 10, 50, NULL, &enrolled, &err));
    ck_assert_uint_eq(enrolled.unchanged, 50);
    OK(release(GX_ID_ARREST, arrest, "A"));
    ck_assert_uint_eq(out.n_records, n);
    ck_assert(gx_room_finds(&room, "g", first, 1));
    gx_room_end(&room);
}
END_TEST

START_TEST(what_was_expunged_can_not_be_held)
{
    begin("flat", 10);
    OK(expunge(GX_ID_RECORD, id_of(3)));
    OK(expunge(GX_ID_ARREST, "never seen"));
    const char *ids[] = {id_of(2), id_of(3)};
    ck_assert_int_eq(gx_room_place(&room, "g", GX_ID_RECORD, ids, 2, "A", true, NULL, &out, &err), GX_E_EXPUNGED);
    ck_assert_int_eq(place(GX_ID_ARREST, "never seen", "A", false), GX_E_EXPUNGED);
    ck_assert(gx_room_finds(&room, "g", 2, 1)); /* all or none */
    OK(expunge(GX_ID_RECORD, id_of(2)));
    ck_assert_int_eq(gx_room_enrol(&room, "g", 2, 1, NULL, NULL, &err), GX_E_EXPUNGED);
    gx_room_end(&room);
}
END_TEST

START_TEST(gallery_with_holds_is_not_deleted)
{
    struct gx_remove_in in = {.name = gx_slice_text("g"), .expected_count = -1};
    uint64_t records, epoch;
    begin("flat", 10);
    gx_room_create(&room, "h", "flat");
    OK(place(GX_ID_ARREST, "not enrolled", "A", false));
    ck_assert_int_eq(gx_galleries_remove(room.galleries, &in, &records, &epoch, &err), GX_E_HELD);
    reopen();
    ck_assert_int_eq(gx_galleries_remove(room.galleries, &in, &records, &epoch, &err), GX_E_HELD);
    in.name = gx_slice_text("h"); /* another one is no matter of it */
    OK(gx_galleries_remove(room.galleries, &in, &records, &epoch, &err));
    OK(release(GX_ID_ARREST, "not enrolled", "A"));
    in.name = gx_slice_text("g");
    OK(gx_galleries_remove(room.galleries, &in, &records, &epoch, &err));
    ck_assert_uint_eq(records, 10);
    gx_room_end(&room);
}
END_TEST

START_TEST(same_request_is_the_same_hold)
{
    const char *ids[] = {id_of(3), id_of(4)}, *other = id_of(5);
    struct gx_hold_out again;
    begin("flat", 10);
    for (int round = 0; round < 2; round++) {
        OK(gx_room_place(&room, "g", GX_ID_RECORD, ids, 2, "A", true, "p", &again, &err));
        if (round == 0)
            out = again;
        ck_assert_uint_eq(again.n_ids, 2);
        ck_assert_uint_eq(again.n_unchanged, 0);
        ck_assert_uint_eq(again.n_records, 2);
        ck_assert_uint_eq(again.epoch, out.epoch);
        ck_assert_int_eq(gx_room_place(&room, "g", GX_ID_RECORD, ids, 2, "B", true, "p", &again, &err), GX_E_EXISTS);
        ck_assert_int_eq(gx_room_place(&room, "g", GX_ID_RECORD, &other, 1, "A", true, "p", &again, &err), GX_E_EXISTS);
        ck_assert_uint_eq(gx_ledger_entries(room.galleries->ledger), 1);
        reopen();
    }
    OK(gx_room_release(&room, "g", GX_ID_RECORD, NULL, 0, "A", "q", &out, &err));
    OK(gx_room_release(&room, "g", GX_ID_RECORD, NULL, 0, "A", "q", &again, &err));
    ck_assert_uint_eq(again.n_ids, 2);
    ck_assert_uint_eq(again.n_records, 2);
    ck_assert_uint_eq(again.epoch, out.epoch);
    ck_assert_int_eq(gx_room_release(&room, "g", GX_ID_RECORD, NULL, 0, "A", NULL, &out, &err), GX_E_NOT_FOUND);
    gx_room_end(&room);
}
END_TEST

START_TEST(placing_again_adds_what_is_new_and_never_weakens)
{
    const char *ids[] = {id_of(3), id_of(4)};
    begin("flat", 10);
    OK(place(GX_ID_RECORD, ids[0], "A", false));
    OK(gx_room_place(&room, "g", GX_ID_RECORD, ids, 2, "A", false, NULL, &out, &err));
    ck_assert_uint_eq(out.n_ids, 1);
    ck_assert_uint_eq(out.n_unchanged, 1);
    uint64_t epoch = gx_galleries_epoch(room.galleries), entries = gx_ledger_entries(room.galleries->ledger);
    OK(gx_room_place(&room, "g", GX_ID_RECORD, ids, 2, "A", false, NULL, &out, &err));
    ck_assert_uint_eq(out.n_unchanged, 2);
    ck_assert_uint_eq(out.epoch, epoch);
    ck_assert_uint_eq(gx_ledger_entries(room.galleries->ledger), entries); /* nothing was to be written */
    OK(gx_room_place(&room, "g", GX_ID_RECORD, ids, 2, "A", true, NULL, &out, &err));
    ck_assert_uint_eq(out.n_ids, 2);
    ck_assert(is_marked(3) && is_marked(4));
    ck_assert_int_eq(place(GX_ID_RECORD, ids[0], "A", false), GX_E_EXISTS);
    reopen();
    ck_assert(is_marked(3) && is_marked(4));
    ck_assert_uint_eq(gx_hold_table_count(room.galleries->holds), 2);
    gx_room_end(&room);
}
END_TEST

START_TEST(ranges_are_checked)
{
    const char *id = id_of(1), *twice[] = {id_of(1), id_of(1)}, *several[] = {id_of(1), id_of(2)};
    char long_text[GX_ORDER_REF_MAX + 2];
    begin("flat", 5);
    memset(long_text, 'x', sizeof(long_text));
    long_text[GX_ORDER_REF_MAX + 1] = '\0';
    ck_assert_int_eq(place(GX_ID_SUBJECT, id, "A", false), GX_E_INVALID);
    ck_assert_int_eq(place(GX_ID_RECORD, id, "", false), GX_E_INVALID);
    ck_assert_int_eq(place(GX_ID_RECORD, id, long_text, false), GX_E_INVALID);
    ck_assert_int_eq(gx_room_place(&room, "g", GX_ID_RECORD, twice, 2, "A", false, NULL, &out, &err), GX_E_INVALID);
    ck_assert_int_eq(gx_room_place(&room, "g", GX_ID_RECORD, NULL, 0, "A", false, NULL, &out, &err), GX_E_INVALID);
    ck_assert_int_eq(gx_room_place(&room, "nowhere", GX_ID_RECORD, &id, 1, "A", false, NULL, &out, &err),
                     GX_E_NOT_FOUND);
    ck_assert_int_eq(release(GX_ID_RECORD, id, "A"), GX_E_NOT_FOUND);
    long_text[GX_ORDER_REF_MAX] = '\0';
    OK(place(GX_ID_RECORD, id, long_text, false));
    ck_assert_int_eq(expunge(GX_ID_RECORD, id), GX_E_HELD);
    ck_assert_ptr_nonnull(strstr(err.text, "'xxxxxxxx"));
    ck_assert_int_eq(gx_room_release(&room, "g", GX_ID_RECORD, several, 2, long_text, NULL, &out, &err),
                     GX_E_NOT_FOUND);
    ck_assert_int_eq(expunge(GX_ID_RECORD, id), GX_E_HELD); /* all or none */
    gx_room_end(&room);
}
END_TEST

START_TEST(more_ids_than_a_reference_may_have_are_refused)
{
    enum { HALF = GX_HOLD_IDS_MAX / 2 };
    static char texts[HALF][GX_PEOPLE_ID_MAX];
    static const char *ids[HALF];
    begin("flat", 5);
    for (uint64_t round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < HALF; i++) {
            gx_people_record_id(round * HALF + i, texts[i]);
            ids[i] = texts[i];
        }
        enum gx_status status = gx_room_place(&room, "g", GX_ID_RECORD, ids, HALF, "A", false, NULL, &out, &err);
        ck_assert_int_eq(status, round < 2 ? GX_OK : GX_E_TOO_LARGE);
    }
    OK(gx_room_place(&room, "g", GX_ID_RECORD, ids, HALF, "B", true, NULL, &out, &err));
    reopen();
    ck_assert_uint_eq(gx_hold_table_count_of(room.galleries->holds, gx_slice_text("g")), 3 * HALF);
    OK(gx_room_release(&room, "g", GX_ID_RECORD, NULL, 0, "A", NULL, &out, &err));
    ck_assert_uint_eq(out.n_ids, 2 * HALF);
    ck_assert_uint_eq(gx_hold_table_count(room.galleries->holds), HALF);
    gx_room_end(&room);
}
END_TEST

START_TEST(holds_are_listed_in_the_order_of_placing_in_pages)
{
    struct gx_hold_listed *holds;
    char arrest[GX_PEOPLE_ID_MAX];
    uint64_t first, n_arrest, next, seen = 0;
    size_t n;
    begin("flat", 30);
    gx_room_create(&room, "h", "flat");
    arrest_of(20, 30, arrest, &first, &n_arrest);
    for (uint64_t row = 0; row < 7; row++)
        OK(place(GX_ID_RECORD, id_of(row), row % 2 == 0 ? "even" : "odd", row % 2 == 0));
    OK(place(GX_ID_ARREST, arrest, "even", false));
    OK(place(GX_ID_RECORD, "not enrolled", "odd", false));
    OK(release(GX_ID_RECORD, id_of(3), "odd"));
    const char *const expected[] = {id_of(0), id_of(1), id_of(2), id_of(4), id_of(5), id_of(6)};
    struct gx_hold_list_in in = {.gallery = gx_slice_text("g"), .n = 3};
    for (int round = 0; round < 2; round++, reopen(), seen = 0, in.from = 0) {
        do {
            gx_arena_reset(&room.arena);
            OK(gx_hold_list(room.galleries, &in, &room.arena, &holds, &n, &next, &err));
            ck_assert_uint_le(n, 3);
            for (size_t i = 0; i < n; i++, seen++) {
                ck_assert_int_gt(holds[i].placed_at_us, 0);
                if (seen < 6) {
                    ck_assert(gx_slice_equal(holds[i].id, gx_slice_text(expected[seen])));
                    ck_assert_uint_eq(holds[i].n_records, 1);
                } else if (seen == 6) {
                    ck_assert_int_eq(holds[i].kind, GX_ID_ARREST);
                    ck_assert(gx_slice_equal(holds[i].id, gx_slice_text(arrest)) && !holds[i].quarantine);
                    ck_assert_uint_eq(holds[i].n_records, n_arrest);
                } else {
                    ck_assert_uint_eq(holds[i].id.len, 0);
                    ck_assert_uint_eq(holds[i].n_records, 0);
                }
            }
            in.from = next;
        } while (next != 0);
        ck_assert_uint_eq(seen, 8);
    }
    in = (struct gx_hold_list_in){.gallery = gx_slice_text("g"), .reference = gx_slice_text("even"), .n = 100};
    OK(gx_hold_list(room.galleries, &in, &room.arena, &holds, &n, &next, &err));
    ck_assert_uint_eq(n, 5);
    ck_assert(holds[0].quarantine);
    in = (struct gx_hold_list_in){
        .gallery = gx_slice_text("g"), .kind = GX_ID_RECORD, .id = gx_slice_text("not enrolled"), .n = 100};
    OK(gx_hold_list(room.galleries, &in, &room.arena, &holds, &n, &next, &err));
    ck_assert_uint_eq(n, 1);
    in.id = gx_slice_text("free");
    OK(gx_hold_list(room.galleries, &in, &room.arena, &holds, &n, &next, &err));
    ck_assert_uint_eq(n, 0);
    in = (struct gx_hold_list_in){.gallery = gx_slice_text("h"), .n = 100};
    OK(gx_hold_list(room.galleries, &in, &room.arena, &holds, &n, &next, &err));
    ck_assert_uint_eq(n, 0);
    in.n = 0;
    ck_assert_int_eq(gx_hold_list(room.galleries, &in, &room.arena, &holds, &n, &next, &err), GX_E_INVALID);
    in = (struct gx_hold_list_in){.gallery = gx_slice_text("none"), .n = 1};
    ck_assert_int_eq(gx_hold_list(room.galleries, &in, &room.arena, &holds, &n, &next, &err), GX_E_NOT_FOUND);
    gx_room_end(&room);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hold");
    TCase *tc = tcase_create("hold");
    tcase_add_test(tc, held_record_is_searched_and_not_expunged_until_its_release);
    tcase_add_test(tc, dry_run_tells_of_the_hold_and_its_reference);
    tcase_add_loop_test(tc, quarantined_rows_are_found_by_no_search_and_back_without_a_rebuild, 0,
                        (int)GX_COUNT_OF(engines));
    tcase_add_test(tc, record_is_free_only_when_every_hold_on_it_has_ended);
    tcase_add_test(tc, hold_waits_for_records_that_are_enrolled_later);
    tcase_add_test(tc, what_was_expunged_can_not_be_held);
    tcase_add_test(tc, gallery_with_holds_is_not_deleted);
    tcase_add_test(tc, same_request_is_the_same_hold);
    tcase_add_test(tc, placing_again_adds_what_is_new_and_never_weakens);
    tcase_add_test(tc, ranges_are_checked);
    tcase_add_test(tc, more_ids_than_a_reference_may_have_are_refused);
    tcase_add_test(tc, holds_are_listed_in_the_order_of_placing_in_pages);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
