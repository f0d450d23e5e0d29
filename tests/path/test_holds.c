/* Legal holds at a real server, seen through the client library and indexctl. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ctl.h"
#include "served.h"

#define DIM  32
#define ROWS 1200

static struct gx_served served;
static struct gx_client_hold_change change;

static void begin(const char *engine)
{
    gx_served_begin(&served, DIM, NULL);
    gx_served_create(&served, "g", engine);
    gx_served_fill(&served, "g", ROWS);
}

static enum gx_status place(enum gx_client_id_kind kind, const char *id, const char *reference, bool quarantine)
{
    return gx_client_hold_place(served.client, "g", kind, &id, 1, reference, quarantine, NULL, &change);
}

static enum gx_status release(enum gx_client_id_kind kind, const char *id, const char *reference)
{
    return gx_client_hold_release(served.client, "g", kind, &id, 1, reference, NULL, &change);
}

static enum gx_status expunge(enum gx_client_id_kind kind, const char *id)
{
    struct gx_client_ticket ticket;
    return gx_client_expunge(served.client, "g", kind, &id, 1, "order 2026-7", -1, false, NULL, &ticket);
}

static bool is_marked(uint64_t row)
{
    char text[GX_PEOPLE_ID_MAX];
    const char *id = text;
    struct gx_client_records *records;
    gx_people_record_id(row, text);
    gx_served_ok(gx_client_record_get(served.client, "g", &id, 1, false, &records));
    ck_assert_uint_eq(records->n_records, 1);
    bool marked = records->records[0].quarantined;
    gx_client_records_free(records);
    return marked;
}

START_TEST(order_against_a_hold_is_refused_with_its_reference_until_the_release)
{
    char arrest[GX_PEOPLE_ID_MAX];
    uint64_t first, n;
    begin("flat");
    gx_served_arrest_of(&served.people, 700, arrest, &first, &n);
    gx_served_ok(place(GX_CLIENT_ARREST, arrest, "Civil 12/26", false));
    ck_assert_uint_eq(change.ids, 1);
    ck_assert_uint_eq(change.records, n);
    for (int round = 0; round < 3; round++) {
        char id[GX_PEOPLE_ID_MAX];
        gx_people_record_id(first, id);
        gx_served_refused(expunge(GX_CLIENT_ARREST, arrest), GX_E_HELD);
        ck_assert_ptr_nonnull(strstr(gx_client_error(), "Civil 12/26"));
        gx_served_refused(expunge(GX_CLIENT_RECORD, id), GX_E_HELD);
        ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS);
        ck_assert(gx_served_finds(&served, "g", first, 1) && !is_marked(first));
        uint64_t gone;
        gx_served_refused(gx_client_gallery_delete(served.client, "g", -1, &gone), GX_E_HELD);
        gx_served_restart(&served, round == 0);
    }
    gx_served_ok(release(GX_CLIENT_ARREST, arrest, "Civil 12/26"));
    gx_served_ok(expunge(GX_CLIENT_ARREST, arrest));
    gx_served_refused(place(GX_CLIENT_ARREST, arrest, "Civil 12/26", false), GX_E_EXPUNGED);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS - n);
    gx_server_check_log(&served.server, "Civil");
    gx_served_end(&served);
}
END_TEST

START_TEST(quarantined_records_are_out_of_every_search_on_every_engine_through_restart_and_rebuild)
{
    static const char *const engines[] = {"flat", "scan", "hnsw", "faiss:IVF16,SQ8", "faiss:HNSW16,SQ8"};
    char arrest[GX_PEOPLE_ID_MAX];
    uint64_t first, n;
    if (strncmp(engines[_i], "faiss", 5) == 0 && gx_served_flat_only())
        return;
    begin(engines[_i]);
    gx_served_await_indexed(&served, "g", NULL);
    gx_served_arrest_of(&served.people, 700, arrest, &first, &n);
    gx_served_ok(place(GX_CLIENT_ARREST, arrest, "R", true));
    for (int round = 0; round < 4; round++) {
        struct gx_client_search exact = {.k = 1000, .exact = true}, grouped = {.k = 1000, .group_by_subject = true};
        const struct gx_client_search *ways[] = {NULL, &exact, &grouped};
        for (size_t way = 0; way < 3; way++) {
            struct gx_client_result *r;
            gx_served_ok(gx_served_search(served.client, &served.people, "g", first, ways[way], &r));
            ck_assert_uint_gt(r->answers[0].n_candidates, 0);
            for (size_t i = 0; i < r->answers[0].n_candidates; i++) {
                uint64_t row = gx_served_row_of(r->answers[0].candidates[i].record_id);
                ck_assert(row < first || row >= first + n);
            }
            gx_client_result_free(r);
        }
        struct gx_client_gallery_stats stats = gx_served_stats(&served, "g");
        ck_assert_uint_eq(stats.records, ROWS);
        ck_assert_uint_eq(stats.quarantined, n);
        ck_assert(is_marked(first) && !is_marked(0));
        if (round == 1) {
            gx_served_ok(gx_client_gallery_build(served.client, "g", NULL, NULL));
            gx_served_wait_until(!gx_served_stats(&served, "g").build.running);
        } else if (round < 3) {
            gx_served_restart(&served, round == 0);
        }
        gx_served_await_indexed(&served, "g", NULL);
    }
    gx_served_ok(release(GX_CLIENT_ARREST, arrest, "R"));
    ck_assert(!gx_served_stats(&served, "g").build.running);
    for (uint64_t row = first; row < first + n; row++)
        ck_assert(gx_served_finds(&served, "g", row, 1) && !is_marked(row));
    ck_assert_uint_eq(gx_served_stats(&served, "g").quarantined, 0);
    gx_served_end(&served);
}
END_TEST

START_TEST(holds_on_what_comes_later_wait_for_it)
{
    char arrest[GX_PEOPLE_ID_MAX];
    uint64_t first, n;
    begin("flat");
    gx_served_arrest_of(&served.people, ROWS + 500, arrest, &first, &n);
    gx_served_ok(place(GX_CLIENT_ARREST, arrest, "later", true));
    ck_assert_uint_eq(change.records, 0);
    gx_served_restart(&served, false);
    for (uint64_t row = ROWS; row < ROWS + 1000; row += 500)
        gx_served_ok(gx_served_insert(served.client, &served.people, "g", row, 500, NULL, NULL));
    for (uint64_t row = first; row < first + n; row++)
        ck_assert(is_marked(row) && !gx_served_finds(&served, "g", row, 1000));
    gx_served_refused(expunge(GX_CLIENT_ARREST, arrest), GX_E_HELD);
    gx_served_ok(release(GX_CLIENT_ARREST, arrest, "later"));
    ck_assert_uint_eq(change.records, n);
    ck_assert(gx_served_finds(&served, "g", first, 1));
    gx_served_end(&served);
}
END_TEST

START_TEST(holds_are_listed_with_what_they_mean)
{
    char arrest[GX_PEOPLE_ID_MAX], token[64] = "";
    uint64_t first, n;
    size_t seen = 0;
    begin("flat");
    gx_served_arrest_of(&served.people, 700, arrest, &first, &n);
    gx_served_ok(place(GX_CLIENT_ARREST, arrest, "A", true));
    gx_served_ok(place(GX_CLIENT_RECORD, "photo-00000003", "A", false));
    gx_served_ok(place(GX_CLIENT_RECORD, "photo-00000003", "B", false));
    gx_served_ok(place(GX_CLIENT_RECORD, "never seen", "B", false));
    struct gx_client_holds *page;
    do {
        gx_served_ok(gx_client_hold_list(served.client, "g", NULL, GX_CLIENT_RECORD, NULL, 3, token, &page));
        for (size_t i = 0; i < page->n_holds; i++, seen++) {
            const struct gx_client_hold *h = &page->holds[i];
            ck_assert_str_eq(h->reference, seen < 2 ? "A" : "B");
            ck_assert_str_eq(h->id, seen == 0 ? arrest : seen < 3 ? "photo-00000003" : "");
            ck_assert_uint_eq(strlen(h->id_hash), 32);
            ck_assert_uint_eq(h->records, seen == 0 ? n : seen < 3 ? 1 : 0);
            ck_assert_int_eq(h->quarantine, seen == 0);
            ck_assert_int_gt(h->placed_at_us, 0);
        }
        (void)snprintf(token, sizeof(token), "%s", page->next_page_token);
        gx_client_holds_free(page);
    } while (token[0] != '\0');
    ck_assert_uint_eq(seen, 4);
    gx_served_ok(gx_client_hold_list(served.client, "g", "B", GX_CLIENT_RECORD, "photo-00000003", 0, NULL, &page));
    ck_assert_uint_eq(page->n_holds, 1);
    gx_client_holds_free(page);
    /* All of a reference at once. */
    gx_served_ok(gx_client_hold_release(served.client, "g", GX_CLIENT_RECORD, NULL, 0, "B", NULL, &change));
    ck_assert_uint_eq(change.ids, 2);
    gx_served_refused(gx_client_hold_release(served.client, "g", GX_CLIENT_RECORD, NULL, 0, "B", NULL, &change),
                      GX_E_NOT_FOUND);
    gx_served_refused(gx_client_hold_list(served.client, "h", NULL, GX_CLIENT_RECORD, NULL, 0, NULL, &page),
                      GX_E_NOT_FOUND);
    gx_served_end(&served);
}
END_TEST

START_TEST(same_request_is_the_same_change_through_restarts)
{
    const char *id = "photo-00000003", *other = "photo-00000004";
    begin("flat");
    for (int round = 0; round < 3; round++) {
        gx_served_ok(
            gx_client_hold_place(served.client, "g", GX_CLIENT_RECORD, &id, 1, "A", true, "request-1", &change));
        ck_assert_uint_eq(change.ids, 1);
        ck_assert_uint_eq(change.unchanged_ids, 0);
        gx_served_refused(
            gx_client_hold_place(served.client, "g", GX_CLIENT_RECORD, &other, 1, "A", true, "request-1", &change),
            GX_E_EXISTS);
        gx_served_restart(&served, round == 0);
    }
    gx_served_refused(gx_client_hold_place(served.client, "g", GX_CLIENT_SUBJECT, &id, 1, "A", false, NULL, &change),
                      GX_E_INVALID);
    gx_served_refused(gx_client_hold_place(served.client, "g", GX_CLIENT_RECORD, &id, 0, "A", false, NULL, &change),
                      GX_E_INVALID);
    gx_served_refused(gx_client_hold_place(served.client, "g", GX_CLIENT_RECORD, &id, 1, "", false, NULL, &change),
                      GX_E_INVALID);
    gx_served_end(&served);
}
END_TEST

/* ---------------------------------------------------------------- indexctl */

static struct gx_ctl ctl;

#define RUN(...) gx_ctl_run(&ctl, &served.server, (const char *[]){__VA_ARGS__, NULL})

static void assert_printed(const char *text)
{
    ck_assert_msg(strstr(ctl.out, text) != NULL, "'%s' is not in: %s", text, ctl.out);
}

static void assert_refused(const char *text)
{
    size_t len = strlen(ctl.err);
    ck_assert_msg(strstr(ctl.err, text) != NULL, "'%s' is not in: %s", text, ctl.err);
    ck_assert(len > 0 && strchr(ctl.err, '\n') == ctl.err + len - 1); /* one line */
}

START_TEST(records_staff_place_look_at_and_release_holds)
{
    char arrest[GX_PEOPLE_ID_MAX], list[160], records[40];
    uint64_t first, n;
    begin("flat");
    gx_served_arrest_of(&served.people, 700, arrest, &first, &n);
    (void)snprintf(records, sizeof(records), "%d record%s", (int)n, n == 1 ? "" : "s");
    ck_assert_int_eq(RUN("hold", "place", "g", "--arrest", arrest, "--ref", "Case 24-1187", "--quarantine"), 0);
    assert_printed("1 id held in quarantine: ");
    assert_printed(records);
    ck_assert_int_eq(RUN("hold", "place", "g", "--arrest", arrest, "--ref", "Case 24-1187", "--quarantine"), 0);
    assert_printed("0 ids held in quarantine, 1 held like this before");
    ck_assert_int_eq(RUN("expunge", "g", "--arrest", arrest, "--order", "o"), 22);
    assert_refused("'Case 24-1187'");
    ck_assert_int_eq(RUN("expunge", "g", "--arrest", arrest, "--dry-run"), 22);
    assert_refused("1 of 1 ids are under a legal hold: 'Case 24-1187'");
    assert_printed("Nothing was changed.");
    ck_assert_int_eq(RUN("gallery", "delete", "g", "--yes"), 22);
    ck_assert_int_eq(RUN("record", "list", "g", "--arrest", arrest, "--json"), 0);
    assert_printed("\"quarantined\":true");
    ck_assert_int_eq(RUN("stats", "g"), 0);
    assert_printed("quarantined");

    (void)snprintf(list, sizeof(list), "%s/list.csv", served.server.base);
    FILE *file = fopen(list, "we");
    ck_assert_ptr_nonnull(file);
    (void)fprintf(file, "Record ID,why\r\nphoto-00000003,x\r\nnever seen,\"y, z\"\r\nphoto-00000003,x\r\n");
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(RUN("hold", "place", "g", "--from", list, "--ref", "List 9"), 0);
    assert_printed("2 ids held: 1 record enrolled");
    ck_assert_int_eq(RUN("hold", "list", "g"), 0);
    assert_printed(arrest);
    assert_printed("(nothing enrolled)");
    ck_assert_int_eq(RUN("hold", "list", "g", "--record", "photo-00000003", "--json"), 0);
    assert_printed("{\"reference\":\"List 9\",\"kind\":\"RECORD\",\"id\":\"photo-00000003\",\"id_hash\":\"");
    /* A list to expunge stops at what is held. */
    ck_assert_int_eq(RUN("expunge", "g", "--from", list, "--order", "o", "--yes"), 22);
    ck_assert_uint_eq(gx_served_records(&served, "g"), ROWS);

    ck_assert_int_eq(RUN("hold", "release", "g", "--record", "photo-00000004", "--ref", "List 9"), 2);
    ck_assert_int_eq(RUN("hold", "release", "g", "--ref", "List 9"), 0);
    assert_printed("2 ids released: 1 record enrolled");
    ck_assert_int_eq(RUN("hold", "release", "g", "--ref", "List 9"), 2);
    ck_assert_int_eq(RUN("hold", "release", "g", "--arrest", arrest, "--ref", "Case 24-1187", "--json"), 0);
    assert_printed("{\"gallery\":\"g\",\"reference\":\"Case 24-1187\",\"ids\":1,");
    ck_assert_int_eq(RUN("expunge", "g", "--arrest", arrest, "--order", "o"), 0);
    ck_assert_int_eq(RUN("hold", "place", "g", "--arrest", arrest, "--ref", "x"), 5);
    gx_served_end(&served);
}
END_TEST

START_TEST(hold_without_what_it_needs_is_refused_in_one_line)
{
    begin("flat");
    ck_assert_int_eq(RUN("hold", "place", "g", "--arrest", "a"), 1);
    assert_refused("--ref is missing");
    ck_assert_int_eq(RUN("hold", "place", "g", "--ref", "x"), 1);
    assert_refused("--record, --arrest or --from");
    ck_assert_int_eq(RUN("hold", "place", "g", "--arrest", "a", "--record", "b", "--ref", "x"), 1);
    ck_assert_int_eq(RUN("hold", "release", "g", "--ref", "x"), 2);
    ck_assert_int_eq(RUN("hold", "release", "h", "--ref", "x"), 2);
    ck_assert_int_eq(RUN("hold", "list", "h"), 2);
    ck_assert_int_eq(RUN("hold", "place", "g", "--from", "/nowhere", "--ref", "x"), 2);
    ck_assert_int_eq(RUN("hold", "place", "g", "--arrest", "a", "--ref", "x", "--request-id", "r"), 0);
    ck_assert_int_eq(RUN("hold", "place", "g", "--arrest", "b", "--ref", "x", "--request-id", "r"), 3);
    gx_served_end(&served);
}
END_TEST

int main(void)
{
    const struct gx_served_test tests[] = {
        {order_against_a_hold_is_refused_with_its_reference_until_the_release, 0},
        {quarantined_records_are_out_of_every_search_on_every_engine_through_restart_and_rebuild, 5},
        {holds_on_what_comes_later_wait_for_it, 0},
        {holds_are_listed_with_what_they_mean, 0},
        {same_request_is_the_same_change_through_restarts, 0},
        {records_staff_place_look_at_and_release_holds, 0},
        {hold_without_what_it_needs_is_refused_in_one_line, 0},
    };
    return gx_served_run("holds", tests, sizeof(tests) / sizeof(tests[0]));
}
