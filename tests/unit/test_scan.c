/* Promises of scan.h. Each test has a folder of its own. */
#include "scan.h"

#include <check.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crew.h"
#include "file.h"
#include "temp.h"

#define ROW  ((size_t)2048)
#define SEED 0x243f6a8885a308d3u

static char dir[64];
static struct gx_err err;
static uint64_t state;

static void set_up(void)
{
    gx_temp_folder("scan", dir, sizeof(dir));
    state = SEED;
}

static void tear_down(void)
{
    ck_assert_msg(gx_file_remove_tree(dir, &err) == GX_OK, "%s", err.text);
}

static uint64_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void fill(uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(next_random() >> 32);
}

static uint8_t *new_bytes(size_t n)
{
    uint8_t *bytes = calloc(n, 1);
    ck_assert_ptr_nonnull(bytes);
    return bytes;
}

static const char *in_dir(const char *name)
{
    static char paths[8][160];
    static unsigned next;
    char *path = paths[next++ % 8];
    ck_assert_int_eq(gx_file_path(dir, name, path, sizeof(paths[0]), &err), GX_OK);
    return path;
}

static void write_file(const char *name, const uint8_t *bytes, size_t n, bool append)
{
    int fd = open(in_dir(name), O_WRONLY | O_CREAT | O_CLOEXEC | (append ? O_APPEND : O_TRUNC), 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_msg(gx_file_write_all(fd, bytes, n, name, &err) == GX_OK, "%s", err.text);
    ck_assert_int_eq(close(fd), 0);
}

static struct gx_scan *new_scan(const struct gx_scan_pattern *patterns, size_t n)
{
    struct gx_scan *scan;
    ck_assert_msg(gx_scan_new(patterns, n, &scan, &err) == GX_OK, "%s", err.text);
    return scan;
}

static void scan_all(const struct gx_scan *scan, struct gx_scan_result *out)
{
    ck_assert_msg(gx_scan_dir(scan, dir, NULL, NULL, NULL, NULL, out, &err) == GX_OK, "%s", err.text);
}

static void expect(enum gx_status status, enum gx_status wanted)
{
    ck_assert_msg(status == wanted, "%s instead of %s: %s", gx_status_name(status), gx_status_name(wanted), err.text);
}

/* ---------------------------------------------------------------- what is found */

START_TEST(planted_window_is_found_at_every_alignment_and_a_byte_less_is_not)
{
    uint8_t row[ROW], noise[8192];
    struct gx_scan_pattern pattern = {row, ROW, 64, 0};
    fill(row, sizeof(row));
    struct gx_scan *scan = new_scan(&pattern, 1);
    for (size_t at = 0; at < 200; at++) {
        struct gx_scan_result r = {0};
        size_t from = (size_t)(next_random() % (ROW - 64));
        for (size_t n = 63; n <= 64; n++) {
            fill(noise, sizeof(noise));
            memcpy(noise + 3000 + at, row + from, n);
            noise[3000 + at - 1] = (uint8_t)(from > 0 ? ~row[from - 1] : 0);
            noise[3000 + at + n] = (uint8_t)~row[from + n];
            write_file("f", noise, sizeof(noise), false);
            expect(gx_scan_file(scan, in_dir("f"), &r, &err), GX_OK);
            ck_assert_uint_eq(r.n_bytes, sizeof(noise));
            ck_assert_msg(r.n_hits == (n == 64), "%zu bytes at %zu, seed %llx", n, 3000 + at, (unsigned long long)SEED);
        }
        ck_assert_uint_eq(r.first[0].offset, 3000 + at);
        ck_assert_uint_eq(r.first[0].pattern, 0);
    }
    gx_scan_free(scan);
}
END_TEST

START_TEST(window_across_the_pieces_of_a_large_file_is_found_at_its_offset)
{
    const size_t n = (size_t)3 << 18, border = (size_t)1 << 18;
    uint8_t row[ROW], *file = new_bytes(n);
    struct gx_scan_pattern pattern = {row, ROW, 64, 0};
    fill(row, sizeof(row));
    struct gx_scan *scan = new_scan(&pattern, 1);
    /* The pieces after the first begin with bytes of the one before, so borders are not where they seem. */
    static const size_t carry[] = {0, 4096};
    for (size_t k = 0; k < 2; k++) {
        for (size_t at = border - carry[k] - 70; at <= border + carry[k] + 4; at += 37) {
            struct gx_scan_result r = {0};
            fill(file, n);
            memcpy(file + at, row + 100, 64);
            memcpy(file + 2 * border - carry[k] - 1000 - at % 64, row, ROW);
            write_file("f", file, n, false);
            scan_all(scan, &r);
            ck_assert_uint_eq(r.n_hits, 2);
            ck_assert_uint_eq(r.first[0].offset, at);
            ck_assert_uint_eq(r.first[1].offset, 2 * border - carry[k] - 1000 - at % 64);
        }
    }
    gx_scan_free(scan);
    free(file);
}
END_TEST

START_TEST(window_at_the_very_start_and_end_of_a_file_is_found)
{
    uint8_t row[ROW], file[300];
    struct gx_scan_pattern pattern = {row, ROW, 64, 0};
    fill(row, sizeof(row));
    struct gx_scan *scan = new_scan(&pattern, 1);
    for (size_t before = 0; before < 70; before++) {
        for (size_t after = before % 7; after < 80; after += 7) {
            struct gx_scan_result r = {0};
            fill(file, sizeof(file));
            memcpy(file + before, row + 7 * before, 64);
            if (before > 0)
                file[before - 1] = (uint8_t)~row[7 * before - 1];
            write_file("f", file, before + 64 + after, false);
            scan_all(scan, &r);
            ck_assert_msg(r.n_hits == 1 && r.first[0].offset == before, "%zu before, %zu after", before, after);
        }
    }
    /* Shorter than a window: nothing to find, nothing to read past. */
    for (size_t n = 0; n < 64; n++) {
        struct gx_scan_result r = {0};
        write_file("f", row, n, false);
        scan_all(scan, &r);
        ck_assert_uint_eq(r.n_hits, 0);
        ck_assert_uint_eq(r.n_bytes, n);
        ck_assert_uint_eq(r.n_files, 1);
    }
    gx_scan_free(scan);
}
END_TEST

/* As the ballast is; and what was written into such blocks is data. */
START_TEST(reserved_blocks_and_holes_are_zeros_and_hide_nothing)
{
    const size_t n = (size_t)5 << 20, places[] = {0, (size_t)1 << 20, ((size_t)2 << 20) + 4000, ((size_t)4 << 20) - 32};
    uint8_t row[ROW], zeros[64] = {0};
    const struct gx_scan_pattern planted = {row, ROW, 64, 0}, nothing = {zeros, sizeof(zeros), 64, 0};
    fill(row, sizeof(row));
    struct gx_scan *scan = new_scan(&planted, 1), *scan_zeros = new_scan(&nothing, 1);
    for (int reserved = 0; reserved < 2; reserved++) {
        struct gx_scan_result r = {0};
        int fd = open(in_dir("f"), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        ck_assert_int_ge(fd, 0);
        if (reserved)
            ck_assert_int_eq(fallocate(fd, 0, 0, (off_t)n), 0);
        else
            ck_assert_int_eq(ftruncate(fd, (off_t)n), 0);
        for (size_t i = 0; i < 4; i++)
            ck_assert_int_eq(pwrite(fd, row, 64, (off_t)places[i]), 64);
        scan_all(scan, &r);
        ck_assert_uint_eq(r.n_bytes, n);
        ck_assert_uint_eq(r.n_hits, 4);
        for (size_t i = 0; i < 4; i++)
            ck_assert_uint_eq(r.first[i].offset, places[i]);
        r = (struct gx_scan_result){0};
        scan_all(scan_zeros, &r);
        ck_assert_uint_eq(r.n_hits, 4); /* behind each */
        ck_assert_int_eq(close(fd), 0);
    }
    gx_scan_free(scan);
    gx_scan_free(scan_zeros);
}
END_TEST

START_TEST(hits_name_pattern_file_and_offset_and_a_long_run_counts_once)
{
    uint8_t rows[3 * ROW], file[20000];
    struct gx_scan_pattern patterns[3];
    bool seen[3];
    fill(rows, sizeof(rows));
    for (size_t i = 0; i < 3; i++)
        patterns[i] = (struct gx_scan_pattern){rows + i * ROW, ROW, 64, 0};
    struct gx_scan *scan = new_scan(patterns, 3);
    fill(file, sizeof(file));
    memcpy(file + 1001, rows, ROW);
    memcpy(file + 9999, rows + 2 * ROW + 500, 100);
    ck_assert_int_eq(mkdir(in_dir("store"), 0700), 0);
    write_file("store/000007.sst", file, sizeof(file), false);
    write_file("empty", file, 0, false);
    struct gx_scan_result r = {.pattern_hit = seen};
    scan_all(scan, &r);
    ck_assert_uint_eq(r.n_hits, 2);
    ck_assert_uint_eq(r.n_first, 2);
    ck_assert_uint_eq(r.n_files, 2);
    ck_assert_uint_eq(r.n_bytes, sizeof(file));
    ck_assert_int_eq(r.rounds, 2);
    ck_assert(seen[0] && !seen[1] && seen[2]);
    ck_assert_uint_eq(r.first[0].pattern, 0);
    ck_assert_uint_eq(r.first[0].offset, 1001);
    ck_assert_str_eq(r.first[0].file, "store/000007.sst");
    ck_assert_uint_eq(r.first[1].pattern, 2);
    ck_assert_uint_eq(r.first[1].offset, 9999);
    gx_scan_free(scan);
}
END_TEST

START_TEST(hits_beyond_the_list_are_counted)
{
    uint8_t row[ROW], *file = new_bytes(100 * 200);
    struct gx_scan_pattern pattern = {row, ROW, 64, 0};
    fill(row, sizeof(row));
    fill(file, 100 * 200);
    for (size_t i = 0; i < 100; i++)
        memcpy(file + i * 200 + 20, row + i * 11, 64);
    write_file("f", file, 100 * 200, false);
    struct gx_scan *scan = new_scan(&pattern, 1);
    struct gx_scan_result r = {0};
    scan_all(scan, &r);
    ck_assert_uint_eq(r.n_hits, 100);
    ck_assert_uint_eq(r.n_first, GX_SCAN_HITS_MAX);
    gx_scan_free(scan);
    free(file);
}
END_TEST

START_TEST(ten_thousand_patterns_are_told_apart)
{
    const size_t n = 10000;
    uint8_t *rows = new_bytes(n * ROW), *file = new_bytes(1 << 20);
    struct gx_scan_pattern *patterns = calloc(n, sizeof(*patterns));
    bool *seen = calloc(n, sizeof(*seen)), *planted = calloc(n, sizeof(*planted));
    ck_assert(patterns != NULL && seen != NULL && planted != NULL);
    for (size_t i = 0; i < n * ROW / 8; i++)
        memcpy(rows + i * 8, &(uint64_t){next_random()}, 8);
    for (size_t i = 0; i < n; i++)
        patterns[i] = (struct gx_scan_pattern){rows + i * ROW, ROW, 64, 16};
    fill(file, 1 << 20);
    for (size_t at = 0, k = 0; at + 300 < 1 << 20; at += 300, k++) {
        size_t i = (size_t)(next_random() % n), len = k % 2 == 0 ? 64 : 63;
        size_t from = (size_t)(next_random() % (ROW - 64));
        memcpy(file + at + k % 100, rows + i * ROW + from, len);
        planted[i] = planted[i] || len == 64;
    }
    write_file("f", file, 1 << 20, false);
    struct gx_scan *scan = new_scan(patterns, n);
    struct gx_scan_result r = {.pattern_hit = seen};
    scan_all(scan, &r);
    for (size_t i = 0; i < n; i++) /* a shorter one goes on with noise: once in 256 that fits by chance */
        ck_assert_msg(seen[i] || !planted[i], "pattern %zu was missed, seed %llx", i, (unsigned long long)SEED);
    ck_assert_uint_ge(r.n_hits, 1747);
    ck_assert_uint_le(r.n_hits, 1747 + 40);
    gx_scan_free(scan);
    free(rows);
    free(file);
    free(patterns);
    free(seen);
    free(planted);
}
END_TEST

/* ---------------------------------------------------------------- the same as trying everything */

static size_t detail_of(const uint8_t *window, size_t n)
{
    size_t detail = 0;
    for (size_t i = 8; i < n; i++)
        detail += window[i] != window[i - 8];
    return detail;
}

static bool is_in(const struct gx_scan_pattern *p, const uint8_t *file, size_t n)
{
    for (size_t o = 0; o + p->min_match <= p->len; o++) {
        if (detail_of(p->bytes + o, p->min_match) < p->min_detail)
            continue;
        for (size_t f = 0; f + p->min_match <= n; f++)
            if (memcmp(p->bytes + o, file + f, p->min_match) == 0)
                return true;
    }
    return false;
}

/* Words of few values, so that everything repeats: the hard case. */
static void fill_repeating(uint8_t *bytes, size_t n)
{
    size_t at = 0;
    while (at < n) {
        uint64_t word = next_random() % 4 == 0 ? next_random() : next_random() % 2 * 0x0101010101010101u;
        size_t len = (size_t)(next_random() % (next_random() % 3 == 0 ? 150 : 20)) + 1;
        for (size_t i = 0; i < len && at < n; i++)
            bytes[at++] = (uint8_t)(word >> 8 * (i % 8));
    }
}

static void check_against_everything(size_t round)
{
    static uint8_t bytes[12][200], file[3000];
    struct gx_scan_pattern patterns[12];
    bool seen[12];
    static const size_t matches[] = {8, 16, 31, 64};
    size_t n = (size_t)(next_random() % 12) + 1, file_len = (size_t)(next_random() % sizeof(file)) + 1;
    fill_repeating(file, file_len);
    for (size_t i = 0; i < n; i++) {
        size_t match = matches[next_random() % 4], len = match + (size_t)(next_random() % (201 - match));
        fill_repeating(bytes[i], len);
        if (i > 0 && next_random() % 4 == 0)
            memcpy(bytes[i], bytes[i - 1], sizeof(bytes[i]));
        patterns[i] = (struct gx_scan_pattern){bytes[i], len, match, next_random() % 2 == 0 ? 0 : match / 4};
        size_t piece = GX_MIN(match - 1 + (size_t)(next_random() % 2), file_len);
        if (next_random() % 2 == 0)
            memcpy(file + next_random() % (file_len - piece + 1), bytes[i] + next_random() % (len - piece + 1), piece);
    }
    write_file("f", file, file_len, false);
    struct gx_scan *scan = new_scan(patterns, n);
    struct gx_scan_result r = {.pattern_hit = seen};
    expect(gx_scan_file(scan, in_dir("f"), &r, &err), GX_OK);
    bool any = false;
    for (size_t i = 0; i < n; i++) {
        bool there = is_in(&patterns[i], file, file_len);
        any = any || there;
        ck_assert_msg(seen[i] == there, "round %zu, seed %llx: pattern %zu of %zu (%zu bytes, runs of %zu) is %s",
                      round, (unsigned long long)SEED, i, n, patterns[i].len, patterns[i].min_match,
                      there ? "missed" : "found where it is not");
    }
    ck_assert(any == (r.n_hits > 0));
    gx_scan_free(scan);
}

START_TEST(finds_exactly_what_trying_every_offset_finds)
{
    for (size_t round = 0; round < 400; round++)
        check_against_everything(round);
}
END_TEST

/* Zeros, a constant, a repeated component; the file full of them. Quadratic work would take hours here. */
START_TEST(degenerate_patterns_are_found_in_files_full_of_their_like)
{
    const size_t n = 1000, file_len = (size_t)8 << 20;
    uint8_t *rows = new_bytes(n * ROW), *file = new_bytes(file_len);
    struct gx_scan_pattern *patterns = calloc(n, sizeof(*patterns));
    bool *seen = calloc(n, sizeof(*seen));
    ck_assert(patterns != NULL && seen != NULL);
    for (size_t i = 0; i < n; i++) {
        if (i % 4 == 1)
            memset(rows + i * ROW, 0x77, ROW);
        for (size_t k = 0; i % 4 == 2 && k < ROW / 4; k++)
            memcpy(rows + i * ROW + k * 4, &(float){0.0441f}, 4);
        if (i % 4 == 3) /* one component */
            memcpy(rows + i * ROW + i / 4 * 8 % ROW, &(float){0.5f + (float)i * 0.0001f}, 4);
        patterns[i] = (struct gx_scan_pattern){rows + i * ROW, ROW, 64, 0};
    }
    struct gx_scan *scan = new_scan(patterns, n);
    struct gx_scan_result r = {.pattern_hit = seen};
    write_file("f", file, file_len, false);
    scan_all(scan, &r);
    ck_assert_uint_eq(r.n_hits, 1);
    for (size_t i = 0; i < n; i++) /* those with one component have zeros as well */
        ck_assert_int_eq(seen[i], i % 4 == 0 || i % 4 == 3);
    /* Interrupted ever again, each time by one byte too early. */
    for (size_t at = 0; at < file_len; at += 64)
        file[at] = 0x80;
    write_file("f", file, file_len, false);
    scan_all(scan, &r);
    ck_assert_uint_eq(r.n_hits, 0);
    memcpy(file + 5000001, rows + 2 * ROW + 1, 64);
    memcpy(file + 7000001, rows + ROW, 64);
    write_file("f", file, file_len, false);
    scan_all(scan, &r);
    ck_assert_uint_eq(r.n_hits, 2);
    for (size_t i = 0; i < n; i++)
        ck_assert_int_eq(seen[i], i % 4 == 1 || i % 4 == 2);
    gx_scan_free(scan);
    free(rows);
    free(file);
    free(patterns);
    free(seen);
}
END_TEST

START_TEST(windows_without_detail_are_no_hits_where_detail_is_asked_for)
{
    float row[512] = {0}, other[512] = {0};
    uint8_t zeros[4096] = {0};
    const uint8_t *bytes = (const uint8_t *)row;
    row[100] = 0.25f;
    struct gx_scan_pattern pattern = {bytes, ROW, 64, 16};
    ck_assert(!gx_scan_can_hit(&pattern));
    pattern.min_detail = 0;
    ck_assert(gx_scan_can_hit(&pattern));
    pattern.min_detail = 16;
    for (size_t i = 0; i < 8; i++)
        row[200 + i] = 0.1f + (float)i * 0.037f;
    ck_assert(gx_scan_can_hit(&pattern));
    struct gx_scan *scan = new_scan(&pattern, 1);
    struct gx_scan_result r = {0};
    other[300] = 0.25f;
    write_file("zeros", zeros, sizeof(zeros), false);
    write_file("other", (const uint8_t *)other, sizeof(other), false);
    scan_all(scan, &r);
    ck_assert_uint_eq(r.n_hits, 0);
    write_file("piece", bytes + 200 * 4, 64, false);
    scan_all(scan, &r);
    ck_assert_uint_eq(r.n_hits, 1);
    ck_assert_str_eq(r.first[0].file, "piece");
    /* Every window of a dense row counts. */
    for (size_t i = 0; i < 512; i++)
        row[i] = (float)((double)next_random() / (double)UINT64_MAX - 0.5) * 0.1f;
    for (size_t at = 0; at + 64 <= ROW; at++) {
        struct gx_scan_pattern window = {bytes + at, 64, 64, 16};
        ck_assert_msg(gx_scan_can_hit(&window), "window at %zu", at);
    }
    gx_scan_free(scan);
}
END_TEST

/* ---------------------------------------------------------------- a directory that changes */

/* What happens to the directory at a certain call of the stop callback. */
struct scene {
    size_t calls, at;
    void (*happens)(void);
    bool stop;
};

static uint8_t row_there[ROW];

static bool play(void *arg)
{
    struct scene *s = arg;
    if (s->calls++ != s->at)
        return false;
    if (s->happens != NULL)
        s->happens();
    return s->stop;
}

static void rename_last_to_first(void)
{
    ck_assert_int_eq(rename(in_dir("z"), in_dir("a")), 0);
}

static void replace_last(void)
{
    write_file("b", row_there, sizeof(row_there), false);
    ck_assert_int_eq(unlink(in_dir("z")), 0);
}

static void add_before(void)
{
    write_file("0", row_there, sizeof(row_there), false);
}

static void append_to_first(void)
{
    write_file("m", row_there, sizeof(row_there), true);
}

static void replace_name_of_last(void)
{
    write_file("new", row_there, sizeof(row_there), false);
    ck_assert_int_eq(rename(in_dir("new"), in_dir("z")), 0);
}

static void remove_folder(void)
{
    ck_assert_int_eq(unlink(in_dir("sub/s")), 0);
    ck_assert_int_eq(rmdir(in_dir("sub")), 0);
    write_file("sub", row_there, sizeof(row_there), false);
}

static void prepare_folder(bool hit_in_last)
{
    uint8_t noise[5000];
    fill(noise, sizeof(noise));
    write_file("m", noise, sizeof(noise), false);
    fill(noise, sizeof(noise));
    if (hit_in_last)
        memcpy(noise + 1234, row_there, ROW);
    write_file("z", noise, sizeof(noise), false);
    (void)mkdir(in_dir("sub"), 0700);
    fill(noise, sizeof(noise));
    write_file("sub/s", noise, sizeof(noise), false);
}

static void clear_folder(void)
{
    static const char *const names[] = {"m", "z", "a", "b", "0", "sub/s", "sub"};
    for (size_t i = 0; i < GX_COUNT_OF(names); i++)
        (void)remove(in_dir(names[i]));
}

START_TEST(what_moves_while_it_is_looked_at_is_found_wherever_the_scan_is)
{
    static const struct {
        void (*happens)(void);
        bool hit_in_last; /* the row is there from the start, and is moved; else it comes */
    } scenes[] = {{rename_last_to_first, true}, {replace_last, true},         {add_before, false},
                  {append_to_first, false},     {replace_name_of_last, true}, {remove_folder, false}};
    struct gx_scan_pattern pattern = {row_there, ROW, 64, 0};
    fill(row_there, sizeof(row_there));
    struct gx_scan *scan = new_scan(&pattern, 1);
    /* Without a change: 1 for each listing, 2 for each file and its one piece. */
    for (size_t at = 0; at < 7; at++) {
        struct gx_scan_result r = {0};
        struct scene s = {.at = at, .happens = scenes[_i].happens};
        prepare_folder(scenes[_i].hit_in_last);
        expect(gx_scan_dir(scan, dir, NULL, NULL, play, &s, &r, &err), GX_OK);
        ck_assert_uint_gt(s.calls, at);
        ck_assert_msg(r.n_hits >= 1, "call %zu", at);
        ck_assert_int_le(r.rounds, 4);
        clear_folder();
    }
    gx_scan_free(scan);
}
END_TEST

/* The only changes are growths: they end with the listing that shows them. */
START_TEST(files_that_only_grow_hold_nobody_up_and_what_they_grew_by_is_looked_at)
{
    uint8_t border[70];
    struct gx_scan_pattern pattern = {border, sizeof(border), 64, 0};
    struct gx_scan_result r = {0};
    fill(row_there, sizeof(row_there));
    fill(border, 40);
    memcpy(border + 40, row_there, 30);
    prepare_folder(false);
    write_file("m", border, 40, true); /* the pattern's other half comes when this one was looked at */
    struct gx_scan *scan = new_scan(&pattern, 1);
    struct scene s = {.at = 3, .happens = append_to_first};
    expect(gx_scan_dir(scan, dir, NULL, NULL, play, &s, &r, &err), GX_OK);
    ck_assert_uint_eq(r.n_hits, 1);
    ck_assert_str_eq(r.first[0].file, "m");
    ck_assert_uint_eq(r.first[0].offset, 5000);
    ck_assert_int_eq(r.rounds, 2);
    ck_assert_uint_eq(r.n_files, 3);
    gx_scan_free(scan);
}
END_TEST

static void append_noise_to_first(void)
{
    uint8_t noise[100];
    fill(noise, sizeof(noise));
    write_file("m", noise, sizeof(noise), true);
}

START_TEST(hit_in_a_file_that_grows_afterwards_counts_once)
{
    struct gx_scan_pattern pattern = {row_there, ROW, 64, 0};
    struct gx_scan_result r = {0};
    fill(row_there, sizeof(row_there));
    write_file("m", row_there, sizeof(row_there), false);
    struct gx_scan *scan = new_scan(&pattern, 1);
    struct scene s = {.at = 3, .happens = append_noise_to_first};
    expect(gx_scan_dir(scan, dir, NULL, NULL, play, &s, &r, &err), GX_OK);
    ck_assert_uint_eq(r.n_hits, 1);
    ck_assert_uint_eq(r.n_files, 1);
    ck_assert_uint_gt(r.n_bytes, ROW + 100); /* the last bytes before the end were looked at again */
    gx_scan_free(scan);
}
END_TEST

static unsigned n_names;

static bool rename_again(void *arg)
{
    char from[32], to[32];
    (void)arg;
    (void)snprintf(from, sizeof(from), "name%u", n_names++);
    (void)snprintf(to, sizeof(to), "name%u", n_names);
    ck_assert_int_eq(rename(in_dir(from), in_dir(to)), 0);
    return false;
}

START_TEST(directory_that_never_stands_still_is_given_up_with_a_reason)
{
    struct gx_scan_pattern pattern = {(const uint8_t *)"a pattern of its own", 16, 16, 0};
    struct gx_scan_result r = {0};
    struct gx_scan *scan = new_scan(&pattern, 1);
    write_file("name0", row_there, 10, false);
    expect(gx_scan_dir(scan, dir, NULL, NULL, rename_again, NULL, &r, &err), GX_E_STATE);
    ck_assert_ptr_nonnull(strstr(err.text, dir));
    ck_assert_int_eq(r.rounds, 20);
    gx_scan_free(scan);
}
END_TEST

/* ---------------------------------------------------------------- skip, stop, failures */

static bool skip_tables(void *arg, const char *file)
{
    ++*(size_t *)arg;
    size_t len = strlen(file);
    return len > 4 && strcmp(file + len - 4, ".sst") == 0;
}

START_TEST(skipped_files_are_counted_and_not_read)
{
    struct gx_scan_pattern pattern = {row_there, ROW, 64, 0};
    struct gx_scan_result r = {0};
    size_t asked = 0;
    fill(row_there, sizeof(row_there));
    ck_assert_int_eq(mkdir(in_dir("store"), 0700), 0);
    write_file("store/1.sst", row_there, ROW, false);
    write_file("store/2.sst", row_there, ROW, false);
    write_file("store/3.log", row_there, 63, false);
    struct gx_scan *scan = new_scan(&pattern, 1);
    expect(gx_scan_dir(scan, dir, skip_tables, &asked, NULL, NULL, &r, &err), GX_OK);
    ck_assert_uint_eq(r.n_hits, 0);
    ck_assert_uint_eq(r.n_skipped, 2);
    ck_assert_uint_eq(r.n_files, 1);
    ck_assert_uint_eq(r.n_bytes, 63);
    ck_assert_uint_ge(asked, 3);
    scan_all(scan, &r);
    ck_assert_uint_eq(r.n_hits, 2);
    gx_scan_free(scan);
}
END_TEST

/* Files of all lengths, every third with a piece of the row. Returns how many have. */
static size_t write_many_files(size_t n)
{
    static uint8_t bytes[3 * ROW];
    size_t n_planted = 0;
    char name[32];
    ck_assert_int_eq(mkdir(in_dir("folder"), 0700), 0);
    for (size_t i = 0; i < n; i++) {
        size_t len = (size_t)(next_random() % sizeof(bytes));
        bool planted = i % 3 == 0 && len >= 64;
        fill(bytes, len);
        if (planted)
            memcpy(bytes + next_random() % (len - 63), row_there + next_random() % (ROW - 63), 64);
        n_planted += planted;
        (void)snprintf(name, sizeof(name), "%s%zu", i % 2 == 0 ? "folder/" : "", i);
        write_file(name, bytes, len, false);
    }
    return n_planted;
}

static bool stop_later(void *arg)
{
    return atomic_fetch_add((atomic_int *)arg, 1) >= 100;
}

START_TEST(helpers_find_what_one_thread_finds_and_end_with_it)
{
    bool seen;
    atomic_int asked = 0;
    struct gx_scan_pattern pattern = {row_there, ROW, 64, 0};
    struct gx_scan_result alone = {0}, together = {.pattern_hit = &seen}, stopped = {0};
    fill(row_there, sizeof(row_there));
    size_t n_planted = write_many_files(300);
    struct gx_scan *scan = new_scan(&pattern, 1);
    scan_all(scan, &alone);
    ck_assert_uint_eq(alone.n_hits, n_planted);
    ck_assert_uint_eq(alone.n_files, 300);
    ck_assert_int_eq(gx_crew_start(4, &err), GX_OK);
    scan_all(scan, &together);
    ck_assert(seen);
    ck_assert_uint_eq(together.n_hits, n_planted);
    ck_assert_uint_eq(together.n_files, 300);
    ck_assert_uint_eq(together.n_bytes, alone.n_bytes);
    ck_assert_uint_eq(together.n_first, GX_SCAN_HITS_MAX);
    expect(gx_scan_dir(scan, dir, NULL, NULL, stop_later, &asked, &stopped, &err), GX_E_CANCELLED);
    gx_crew_stop();
    gx_scan_free(scan);
}
END_TEST

START_TEST(scan_stops_wherever_it_is_asked_to)
{
    struct gx_scan_pattern pattern = {row_there, ROW, 64, 0};
    fill(row_there, sizeof(row_there));
    prepare_folder(false);
    struct gx_scan *scan = new_scan(&pattern, 1);
    for (size_t at = 0;; at++) {
        struct gx_scan_result r = {0};
        struct scene s = {.at = at, .stop = true};
        enum gx_status status = gx_scan_dir(scan, dir, NULL, NULL, play, &s, &r, &err);
        ck_assert_uint_eq(s.calls, at + (s.calls > at));
        if (status == GX_OK) {
            ck_assert_uint_ge(at, 8);
            break;
        }
        expect(status, GX_E_CANCELLED);
    }
    gx_scan_free(scan);
}
END_TEST

/* Root may read everything: it is somebody else for a while. */
static bool was_root;

static void become_nobody(void)
{
    was_root = geteuid() == 0;
    ck_assert_int_eq(was_root ? seteuid(65534) : 0, 0);
}

static void become_oneself(void)
{
    ck_assert_int_eq(was_root ? seteuid(0) : 0, 0);
}

START_TEST(unreadable_file_is_an_error_with_its_name)
{
    struct gx_scan_pattern pattern = {row_there, ROW, 64, 0};
    struct gx_scan_result r = {0};
    fill(row_there, sizeof(row_there));
    struct gx_scan *scan = new_scan(&pattern, 1);
    write_file("readable", row_there, 100, false);
    write_file("secret", row_there, 100, false);
    ck_assert_int_eq(mkdir(in_dir("folder"), 0700), 0);
    ck_assert_int_eq(chmod(in_dir("secret"), 0), 0);
    ck_assert_int_eq(chmod(dir, 0755), 0);
    ck_assert_int_eq(chmod(in_dir("readable"), 0644), 0);
    ck_assert_int_eq(chmod(in_dir("folder"), 0755), 0);
    become_nobody();
    expect(gx_scan_dir(scan, dir, NULL, NULL, NULL, NULL, &r, &err), GX_E_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "'secret'"));
    become_oneself();
    ck_assert_int_eq(unlink(in_dir("secret")), 0);
    ck_assert_int_eq(chmod(in_dir("folder"), 0), 0);
    become_nobody();
    expect(gx_scan_dir(scan, dir, NULL, NULL, NULL, NULL, &r, &err), GX_E_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "folder/'"));
    become_oneself();
    ck_assert_int_eq(chmod(in_dir("folder"), 0700), 0);
    expect(gx_scan_dir(scan, in_dir("nowhere"), NULL, NULL, NULL, NULL, &r, &err), GX_E_IO);
    expect(gx_scan_file(scan, in_dir("nowhere"), &r, &err), GX_E_NOT_FOUND);
    expect(gx_scan_file(scan, dir, &r, &err), GX_E_IO);
    gx_scan_free(scan);
}
END_TEST

START_TEST(links_and_pipes_are_not_followed)
{
    struct gx_scan_pattern pattern = {row_there, ROW, 64, 0};
    struct gx_scan_result r = {0};
    char outside[80];
    fill(row_there, sizeof(row_there));
    (void)snprintf(outside, sizeof(outside), "%s.outside", dir);
    write_file("../outside-of-test-scan", row_there, ROW, false);
    ck_assert_int_eq(rename(in_dir("../outside-of-test-scan"), outside), 0);
    ck_assert_int_eq(symlink(outside, in_dir("link")), 0);
    ck_assert_int_eq(symlink("/", in_dir("folder")), 0);
    ck_assert_int_eq(mkfifo(in_dir("pipe"), 0600), 0);
    struct gx_scan *scan = new_scan(&pattern, 1);
    scan_all(scan, &r);
    ck_assert_uint_eq(r.n_hits, 0);
    ck_assert_uint_eq(r.n_files, 0);
    expect(gx_scan_file(scan, outside, &r, &err), GX_OK);
    ck_assert_uint_eq(r.n_hits, 1);
    ck_assert_int_eq(unlink(outside), 0);
    gx_scan_free(scan);
}
END_TEST

START_TEST(patterns_that_cannot_be_looked_for_are_refused)
{
    uint8_t bytes[2000] = {0};
    struct gx_scan *scan;
    const struct gx_scan_pattern wrong[] = {
        {bytes, 7, 7, 0}, {bytes, 20, 7, 0}, {bytes, 15, 16, 0}, {bytes, 2000, 1025, 0}};
    for (size_t i = 0; i < GX_COUNT_OF(wrong); i++)
        expect(gx_scan_new(&wrong[i], 1, &scan, &err), GX_E_INVALID);
    expect(gx_scan_new(wrong, 0, &scan, &err), GX_E_INVALID);
    struct gx_scan_pattern many[5];
    for (size_t i = 0; i < 5; i++)
        many[i] = (struct gx_scan_pattern){bytes, 100, 20 + i, 0};
    expect(gx_scan_new(many, 5, &scan, &err), GX_E_INVALID);
    expect(gx_scan_new(many, 4, &scan, &err), GX_OK);
    gx_scan_free(scan);
    gx_scan_free(NULL);
}
END_TEST

static void add_those_of_one_thread(TCase *tc)
{
    tcase_add_test(tc, planted_window_is_found_at_every_alignment_and_a_byte_less_is_not);
    tcase_add_test(tc, window_across_the_pieces_of_a_large_file_is_found_at_its_offset);
    tcase_add_test(tc, window_at_the_very_start_and_end_of_a_file_is_found);
    tcase_add_test(tc, reserved_blocks_and_holes_are_zeros_and_hide_nothing);
    tcase_add_test(tc, hits_name_pattern_file_and_offset_and_a_long_run_counts_once);
    tcase_add_test(tc, hits_beyond_the_list_are_counted);
    tcase_add_test(tc, ten_thousand_patterns_are_told_apart);
    tcase_add_test(tc, finds_exactly_what_trying_every_offset_finds);
    tcase_add_test(tc, degenerate_patterns_are_found_in_files_full_of_their_like);
    tcase_add_test(tc, windows_without_detail_are_no_hits_where_detail_is_asked_for);
    tcase_add_loop_test(tc, what_moves_while_it_is_looked_at_is_found_wherever_the_scan_is, 0, 6);
    tcase_add_test(tc, files_that_only_grow_hold_nobody_up_and_what_they_grew_by_is_looked_at);
    tcase_add_test(tc, hit_in_a_file_that_grows_afterwards_counts_once);
    tcase_add_test(tc, directory_that_never_stands_still_is_given_up_with_a_reason);
    tcase_add_test(tc, skipped_files_are_counted_and_not_read);
    tcase_add_test(tc, scan_stops_wherever_it_is_asked_to);
    tcase_add_test(tc, unreadable_file_is_an_error_with_its_name);
    tcase_add_test(tc, links_and_pipes_are_not_followed);
    tcase_add_test(tc, patterns_that_cannot_be_looked_for_are_refused);
}

int main(void)
{
    bool all = true;
#ifdef __SANITIZE_THREAD__
    all = false; /* what has one thread races with nobody */
#endif
    Suite *suite = suite_create("scan");
    TCase *tc = tcase_create("scan");
    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, set_up, tear_down);
    tcase_add_test(tc, helpers_find_what_one_thread_finds_and_end_with_it);
    if (all)
        add_those_of_one_thread(tc);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
