/* Promises of rows.h. */
#include "rows.h"

#include <check.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "numbered.h"
#include "simd.h"
#include "suite.h"

static struct gx_err err;

#define OK(call) ck_assert_msg((call) == GX_OK, "%s", err.text)

static enum gx_status append_text(struct gx_rows *rows, uint64_t rno, const char *record)
{
    return gx_numbered_append_text(rows, rno, record, &err);
}

static bool is_zero(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint8_t any = 0;
    for (size_t i = 0; i < n; i++)
        any |= p[i];
    return any == 0;
}

START_TEST(published_rows_read_back_as_they_were_appended)
{
    static const size_t dims[] = {2, 3, 64, 513, 4096};
    static const uint32_t counts[] = {1, 300000, 70000, 9000, 2100}; /* past one chunk where that is quick */
    for (size_t d = 0; d < GX_COUNT_OF(dims); d++) {
        struct gx_rows *rows = gx_numbered_filled(dims[d], 7, counts[d]);
        ck_assert_uint_eq(gx_rows_dim(rows), dims[d]);
        ck_assert_uint_eq(gx_rows_count(rows), counts[d]);
        ck_assert_uint_eq(gx_rows_live(rows), counts[d]);
        for (uint32_t slot = 0; slot < counts[d]; slot += 1 + counts[d] / 500) {
            ck_assert_uint_eq(gx_rows_rno(rows, slot), 7 + slot);
            ck_assert(gx_numbered_is_right(rows, slot));
        }
        ck_assert(gx_numbered_is_right(rows, counts[d] - 1));
        gx_rows_free(rows);
    }
}
END_TEST

START_TEST(appended_rows_are_invisible_until_published)
{
    struct gx_rows *rows = gx_numbered_filled(16, 1, 2);
    gx_numbered_append(rows, 3);
    uint32_t slot;
    ck_assert_uint_eq(gx_rows_count(rows), 2);
    ck_assert_uint_eq(gx_rows_live(rows), 2);
    ck_assert(!gx_rows_find(rows, 3, &slot));
    gx_rows_publish(rows);
    ck_assert_uint_eq(gx_rows_live(rows), 3);
    ck_assert(gx_rows_find(rows, 3, &slot));
    ck_assert_uint_eq(slot, 2);
    gx_rows_free(rows);
}
END_TEST

START_TEST(retracted_rows_leave_nothing_behind)
{
    struct gx_rows *rows = gx_numbered_filled(4000, 10, 1020);
    uint64_t bytes = gx_rows_bytes(rows);
    static char large[100000];
    memset(large, 'x', sizeof(large) - 1);
    for (uint64_t rno = 5000; rno < 5030; rno++) /* into the next chunk and past a slab of records */
        OK(append_text(rows, rno, large));
    const float *old = gx_rows_floats(rows, 1020);
    gx_rows_retract(rows);
    ck_assert(is_zero(old, 4 * 16000));
    ck_assert_uint_eq(gx_rows_count(rows), 1020);
    ck_assert_uint_eq(gx_rows_live(rows), 1020);
    ck_assert_uint_lt(gx_rows_bytes(rows), bytes + 4096); /* the new chunk's head may stay */
    for (uint64_t rno = 2000; rno < 2030; rno++)
        gx_numbered_append(rows, rno);
    gx_rows_publish(rows);
    ck_assert_uint_eq(gx_rows_count(rows), 1050);
    for (uint32_t slot = 1015; slot < 1050; slot++)
        ck_assert(gx_numbered_is_right(rows, slot));
    gx_rows_free(rows);
}
END_TEST

START_TEST(numbers_that_do_not_grow_are_refused)
{
    struct gx_rows *rows = gx_numbered_filled(8, 100, 3);
    ck_assert_int_eq(append_text(rows, 102, "x"), GX_E_INVALID);
    ck_assert_int_eq(append_text(rows, 5, "x"), GX_E_INVALID);
    OK(append_text(rows, 103, "x"));
    gx_rows_free(rows);
}
END_TEST

START_TEST(dimensions_out_of_range_are_refused)
{
    struct gx_rows *rows;
    ck_assert_int_eq(gx_rows_new(GX_DIM_MIN - 1, &rows, &err), GX_E_INVALID);
    ck_assert_int_eq(gx_rows_new(GX_DIM_MAX + 1, &rows, &err), GX_E_INVALID);
    ck_assert_ptr_null(rows);
    gx_rows_free(NULL);
}
END_TEST

START_TEST(find_gives_every_row_and_no_other)
{
    /* Even, jagged and wildly uneven numbers: the guess is right, near and far off. */
    for (int shape = 0; shape < 3; shape++) {
        struct gx_rows *rows = gx_numbered_new(2);
        uint64_t rnos[3000], rno = 17;
        for (uint32_t i = 0; i < 3000; i++) {
            rnos[i] = rno;
            gx_numbered_append(rows, rno);
            uint64_t jump = shape == 2 && i % 997 == 0 ? (uint64_t)1 << (40 + i % 20) : 7;
            rno += shape == 0 ? 1 : 1 + (uint64_t)(gx_numbered_value(i, 1) * 3 + 3) * jump;
        }
        gx_rows_publish(rows);
        for (uint32_t i = 0; i < 3000; i++) {
            uint32_t slot;
            ck_assert(gx_rows_find(rows, rnos[i], &slot));
            ck_assert_uint_eq(slot, i);
            ck_assert_uint_eq(gx_rows_lower_bound(rows, rnos[i]), i);
            ck_assert_uint_eq(gx_rows_lower_bound(rows, rnos[i] + 1), i + 1);
            ck_assert(gx_rows_find(rows, rnos[i] + 1, &slot) == (i < 2999 && rnos[i + 1] == rnos[i] + 1));
        }
        ck_assert_uint_eq(gx_rows_lower_bound(rows, 0), 0);
        ck_assert_uint_eq(gx_rows_lower_bound(rows, UINT64_MAX), 3000);
        gx_rows_free(rows);
    }
}
END_TEST

START_TEST(an_empty_gallery_finds_and_scans_nothing)
{
    struct gx_rows *rows = gx_numbered_new(512);
    uint32_t slot;
    uint64_t scanned;
    float probe[512] = {1};
    const float *probes[] = {probe};
    struct gx_hit heap[1];
    struct gx_topk top;
    gx_topk_init(&top, heap, 1, NULL, NULL);
    ck_assert(!gx_rows_find(rows, 1, &slot));
    ck_assert_uint_eq(gx_rows_lower_bound(rows, 1), 0);
    OK(gx_rows_scan(rows, 0, 10, probes, 1, NULL, NULL, NULL, NULL, &top, &scanned, &err));
    ck_assert_uint_eq(scanned, 0);
    ck_assert_uint_lt(gx_rows_bytes(rows), 4096);
    gx_rows_free(rows);
}
END_TEST

START_TEST(a_hidden_row_is_dead_until_it_is_unhidden)
{
    struct gx_rows *rows = gx_numbered_filled(4, 1, 200);
    ck_assert(gx_rows_is_live(rows, 77));
    ck_assert(gx_rows_hide(rows, 77));
    ck_assert(!gx_rows_hide(rows, 77));
    ck_assert(!gx_rows_is_live(rows, 77));
    ck_assert(gx_rows_is_live(rows, 76) && gx_rows_is_live(rows, 78));
    ck_assert_uint_eq(gx_rows_live(rows), 199);
    gx_rows_unhide(rows, 77);
    gx_rows_unhide(rows, 77);
    ck_assert(gx_rows_is_live(rows, 77));
    ck_assert_uint_eq(gx_rows_live(rows), 200);
    gx_rows_free(rows);
}
END_TEST

START_TEST(a_wiped_row_is_zero_but_for_its_number)
{
    struct gx_rows *rows = gx_numbered_filled(100, 1, 50);
    struct gx_row row;
    gx_rows_get(rows, 20, &row);
    const uint8_t *record = row.record.data;
    size_t record_len = row.record.len;
    ck_assert(!is_zero(record, record_len));
    gx_rows_hide(rows, 20);
    gx_rows_wipe(rows, 20);
    gx_rows_wipe(rows, 20);
    ck_assert(is_zero(record, record_len));
    ck_assert(is_zero(gx_rows_floats(rows, 20), 100 * sizeof(float)));
    gx_rows_get(rows, 20, &row);
    ck_assert_uint_eq(row.rno, 21);
    ck_assert_uint_eq(row.record.len, 0);
    ck_assert_int_eq(row.captured_at_us, 0);
    ck_assert_uint_eq(row.subject.bytes[0], 0);
    uint32_t slot;
    ck_assert(gx_rows_find(rows, 21, &slot));
    ck_assert(gx_numbered_is_right(rows, 19));
    ck_assert(gx_numbered_is_right(rows, 21));
    gx_rows_free(rows);
}
END_TEST

static size_t resident_pages(const void *p, size_t len)
{
    unsigned char map[8192];
    size_t n = len / 4096, resident = 0;
    ck_assert_uint_le(n, sizeof(map));
    ck_assert_int_eq(mincore((void *)((uintptr_t)p & ~(uintptr_t)4095), len, map), 0);
    for (size_t i = 0; i < n; i++)
        resident += map[i] & 1;
    return resident;
}

START_TEST(a_chunk_of_dead_rows_gives_its_memory_back)
{
    struct gx_rows *rows = gx_numbered_filled(4096, 1, 1500); /* 1024 rows of 16 KiB fill the first chunk */
    const float *floats = gx_rows_floats(rows, 0);
    uint64_t bytes = gx_rows_bytes(rows);
    ck_assert_uint_eq(resident_pages(floats, 16u << 20), 4096);
    for (uint32_t slot = 1023; slot != UINT32_MAX; slot--) {
        gx_rows_hide(rows, slot);
        gx_rows_wipe(rows, slot);
    }
    ck_assert_uint_eq(resident_pages(floats, 16u << 20), 0);
    ck_assert_uint_le(gx_rows_bytes(rows), bytes - (16u << 20));
    ck_assert_uint_eq(gx_rows_live(rows), 476);
    ck_assert_uint_eq(gx_rows_rno(rows, 5), 6);
    ck_assert(gx_numbered_is_right(rows, 1024));
    gx_rows_free(rows);
}
END_TEST

START_TEST(memory_stays_within_a_tenth_of_the_payload)
{
    static char record[91];
    memset(record, 'r', 90);
    struct gx_rows *rows = gx_numbered_new(512);
    const uint32_t n = 20000;
    for (uint32_t i = 0; i < n; i++)
        OK(append_text(rows, i + 1, record));
    gx_rows_publish(rows);
    double per_row = (double)gx_rows_bytes(rows) / n, payload = 512 * 4 + 90 + 44;
    ck_assert_msg(per_row < payload * 1.1, "%.1f bytes a row for %.1f of payload", per_row, payload);
    ck_assert_msg(per_row >= payload, "%.1f bytes a row for %.1f of payload", per_row, payload);
    gx_rows_free(rows);
}
END_TEST

/* Does the kernel leave the page of @p out of core dumps? */
static bool is_left_out_of_dumps(const void *p)
{
    FILE *f = fopen("/proc/self/smaps", "r");
    ck_assert_ptr_nonnull(f);
    char line[512];
    bool inside = false, left_out = false;
    while (fgets(line, sizeof(line), f) != NULL) {
        unsigned long from, until;
        if (sscanf(line, "%lx-%lx ", &from, &until) == 2 && strchr(line, '-') < strchr(line, ' '))
            inside = (uintptr_t)p >= from && (uintptr_t)p < until;
        if (inside && strncmp(line, "VmFlags:", 8) == 0)
            left_out = strstr(line, " dd") != NULL;
    }
    fclose(f);
    return left_out;
}

START_TEST(nothing_of_a_row_reaches_a_core_dump)
{
    struct gx_rows *rows = gx_numbered_filled(512, 1, 10000);
    struct gx_row row;
    for (uint32_t slot = 0; slot < 10000; slot += 9999) {
        gx_rows_get(rows, slot, &row);
        ck_assert(is_left_out_of_dumps(gx_rows_floats(rows, slot)));
        ck_assert(is_left_out_of_dumps(row.record.data));
    }
    ck_assert(!is_left_out_of_dumps(&row));
    gx_rows_free(rows);
}
END_TEST

static bool every_third(void *arg, const struct gx_rows *rows, uint32_t slot)
{
    atomic_uint *calls = arg;
    (*calls)++;
    return gx_rows_is_live(rows, slot) && slot % 3 == 0;
}

#define K 25

/* What a scan must give, the plain way. */
static size_t expected(const struct gx_rows *rows, uint32_t from, uint32_t until, const float *probe, bool thirds,
                       struct gx_hit out[K])
{
    struct gx_topk top;
    gx_topk_init(&top, out, K, NULL, NULL);
    for (uint32_t slot = from; slot < until; slot++)
        if (gx_rows_is_live(rows, slot) && (!thirds || slot % 3 == 0))
            gx_topk_offer(&top, gx_simd_dot(probe, gx_rows_floats(rows, slot), gx_rows_dim(rows)), slot);
    return gx_topk_sort(&top);
}

START_TEST(a_scan_finds_what_a_plain_loop_finds)
{
    static const uint32_t ranges[][2] = {{0, 3000}, {0, 1}, {63, 65}, {64, 128}, {1, 2999}, {2990, 9000}, {50, 50}};
    struct gx_rows *rows = gx_numbered_filled(37, 1, 3000);
    float probe[5][37];
    const float *probes[5];
    for (size_t p = 0; p < 5; p++) {
        gx_numbered_row(90000 + p, 37, probe[p]);
        probes[p] = probe[p];
    }
    for (uint32_t slot = 0; slot < 3000; slot++)
        if (gx_numbered_value(slot, 999) > 0.3f)
            gx_rows_hide(rows, slot);
    for (size_t r = 0; r < GX_COUNT_OF(ranges); r++)
        for (int thirds = 0; thirds < 2; thirds++) {
            struct gx_hit heaps[5][K], want[K];
            struct gx_topk tops[5];
            uint64_t scanned, n_live = 0;
            atomic_uint calls = 0;
            uint32_t from = ranges[r][0], until = GX_MIN(ranges[r][1], gx_rows_count(rows));
            for (size_t p = 0; p < 5; p++)
                gx_topk_init(&tops[p], heaps[p], K, NULL, NULL);
            OK(gx_rows_scan(rows, from, ranges[r][1], probes, 5, thirds ? every_third : NULL, &calls, NULL, NULL, tops,
                            &scanned, &err));
            for (uint32_t slot = from; slot < until; slot++)
                n_live += gx_rows_is_live(rows, slot) && (!thirds || slot % 3 == 0);
            ck_assert_uint_eq(scanned, n_live);
            for (size_t p = 0; p < 5; p++) {
                size_t n = gx_topk_sort(&tops[p]);
                ck_assert_uint_eq(n, expected(rows, from, until, probe[p], thirds, want));
                for (size_t i = 0; i < n; i++) {
                    ck_assert_uint_eq(heaps[p][i].slot, want[i].slot);
                    ck_assert(heaps[p][i].score == want[i].score);
                }
            }
        }
    gx_rows_free(rows);
}
END_TEST

static bool at_second_question(void *arg)
{
    return ++*(int *)arg == 2;
}

START_TEST(a_scan_ends_early_when_it_is_told_to)
{
    struct gx_rows *rows = gx_numbered_filled(2, 1, 50000);
    float probe[2] = {1, 0};
    const float *probes[] = {probe};
    struct gx_hit heap[K];
    struct gx_topk top;
    uint64_t scanned;
    int questions = 0;
    gx_topk_init(&top, heap, K, NULL, NULL);
    enum gx_status status =
        gx_rows_scan(rows, 0, 50000, probes, 1, NULL, NULL, at_second_question, &questions, &top, &scanned, &err);
    ck_assert_int_eq(status, GX_E_CANCELLED);
    ck_assert_int_eq(questions, 2);
    ck_assert_uint_lt(scanned, 20000);
    gx_rows_free(rows);
}
END_TEST

START_TEST(equal_scores_come_in_the_order_of_record_ids)
{
    static const char *ids[] = {"m", "b", "zz", "b1", "a", "z", "bb", "c"};
    static const char *order[] = {"a", "b", "b1", "bb", "c", "m", "z", "zz"};
    struct gx_rows *rows = gx_numbered_new(4);
    struct gx_arena arena;
    gx_arena_init(&arena, 1u << 20);
    float row[4] = {0, 1, 0, 0};
    for (size_t i = 0; i < 8; i++) {
        struct gx_record record = {.record_id = gx_slice_text(ids[i])};
        struct gx_row columns = {.rno = i + 1};
        OK(gx_codec_record_encode(&record, &arena, &columns.record, &err));
        OK(gx_rows_append(rows, row, &columns, &err));
    }
    gx_rows_publish(rows);
    const float *probes[] = {row};
    for (size_t k = 1; k <= 8; k++) { /* with fewer places than ties, the first ids must win */
        struct gx_hit heap[8];
        struct gx_topk top;
        uint64_t scanned;
        gx_topk_init(&top, heap, k, gx_rows_tie, rows);
        OK(gx_rows_scan(rows, 0, 8, probes, 1, NULL, NULL, NULL, NULL, &top, &scanned, &err));
        ck_assert_uint_eq(gx_topk_sort(&top), k);
        for (size_t i = 0; i < k; i++)
            ck_assert_str_eq(ids[heap[i].slot], order[i]);
    }
    ck_assert_int_eq(gx_rows_tie(rows, 3, 3), 0);
    gx_rows_free(rows);
    gx_arena_fini(&arena);
}
END_TEST

START_TEST(without_memory_an_append_fails_and_the_next_one_works)
{
    struct gx_rows *rows = gx_numbered_filled(4096, 1, 3);
    unsigned long pages;
    FILE *f = fopen("/proc/self/statm", "r");
    ck_assert_ptr_nonnull(f);
    ck_assert_int_eq(fscanf(f, "%lu", &pages), 1);
    fclose(f);
    struct rlimit before, tight;
    ck_assert_int_eq(getrlimit(RLIMIT_AS, &before), 0);
    tight = before;
    tight.rlim_cur = pages * 4096 + (8u << 20); /* less than a chunk */
    uint64_t rno = 4;
    while (rno <= 1024)
        gx_numbered_append(rows, rno++);
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &tight), 0);
    enum gx_status status = append_text(rows, rno, "x");
    ck_assert_int_eq(setrlimit(RLIMIT_AS, &before), 0);
    ck_assert_int_eq(status, GX_E_NOMEM);
    gx_numbered_append(rows, rno);
    gx_rows_publish(rows);
    ck_assert_uint_eq(gx_rows_count(rows), 1025);
    ck_assert(gx_numbered_is_right(rows, 1024));
    gx_rows_free(rows);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rows");
    TCase *tc = tcase_create("rows");
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, published_rows_read_back_as_they_were_appended);
    tcase_add_test(tc, appended_rows_are_invisible_until_published);
    tcase_add_test(tc, retracted_rows_leave_nothing_behind);
    tcase_add_test(tc, numbers_that_do_not_grow_are_refused);
    tcase_add_test(tc, dimensions_out_of_range_are_refused);
    tcase_add_test(tc, find_gives_every_row_and_no_other);
    tcase_add_test(tc, an_empty_gallery_finds_and_scans_nothing);
    tcase_add_test(tc, a_hidden_row_is_dead_until_it_is_unhidden);
    tcase_add_test(tc, a_wiped_row_is_zero_but_for_its_number);
    tcase_add_test(tc, a_chunk_of_dead_rows_gives_its_memory_back);
    tcase_add_test(tc, memory_stays_within_a_tenth_of_the_payload);
    tcase_add_test(tc, nothing_of_a_row_reaches_a_core_dump);
    tcase_add_test(tc, a_scan_finds_what_a_plain_loop_finds);
    tcase_add_test(tc, a_scan_ends_early_when_it_is_told_to);
    tcase_add_test(tc, equal_scores_come_in_the_order_of_record_ids);
    tcase_add_test(tc, without_memory_an_append_fails_and_the_next_one_works);
    suite_add_tcase(suite, tc);
    return gx_suite_run(suite);
}
