/* Promises of engine.h for the hnsw engine: what is saved, and what is made of a file. */
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec.h"
#include "codes.h"
#include "engine_hnsw.h"
#include "grown.h"
#include "random.h"
#include "simd.h"
#include "suite.h"

#define DIM      64
#define N        GX_GROWN_ROWS(3200)
#define PROBES   300
#define EF       128
#define SLACK    0.003
#define HEAD_LEN 64
#define AT_CRC   44 /* of what follows the head */
#define AT_HEAD  60 /* checksum of the head */

static struct gx_grown g;
static struct gx_engine *built;
static struct gx_err err;
static char path[256];
static uint8_t *saved; /* what built was saved as */
static size_t saved_len;

#define OK(call) ck_assert_msg((call) == GX_OK, "seed %d: %s", GX_GROWN_SEED, err.text)

static void read_saved(void)
{
    struct stat st;
    int fd = open(path, O_RDONLY);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fstat(fd, &st), 0);
    saved_len = (size_t)st.st_size;
    saved = malloc(saved_len);
    ck_assert_ptr_nonnull(saved);
    ck_assert_int_eq(read(fd, saved, saved_len), st.st_size);
    close(fd);
}

/* Once for all tests, each of which frees its copy. */
static void begin(void)
{
    if (built != NULL)
        return;
    gx_grown_begin(&g, DIM, N + 500, N);
    built = gx_grown_built(&g, 2);
    gx_suite_new_path(path);
    OK(gx_engine_save(built, path, &err));
    read_saved();
}

static void end(void)
{
    free(saved);
    gx_engine_unref(built);
    gx_grown_end(&g);
    built = NULL;
}

static void write_file(const uint8_t *bytes, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
    close(fd);
}

static enum gx_status load(size_t dim, struct gx_engine **out)
{
    struct gx_engine_spec spec = gx_grown_spec();
    return gx_engine_hnsw_load(&spec, dim, g.rows, path, 2, out, &err);
}

START_TEST(a_loaded_index_answers_as_before_and_grows)
{
    struct gx_engine *loaded;
    OK(load(DIM, &loaded));
    for (uint32_t slot = 0; slot < N; slot += 10) {
        struct gx_grown_answer before, after;
        gx_grown_search(&g, built, gx_rows_floats(g.rows, slot), 20, 40, &before);
        gx_grown_search(&g, loaded, gx_rows_floats(g.rows, slot), 20, 40, &after);
        ck_assert_uint_eq(before.n, after.n);
        ck_assert_uint_eq(before.scanned, after.scanned);
        ck_assert_mem_eq(before.hits, after.hits, before.n * sizeof(before.hits[0]));
    }
    gx_grown_publish(&g, N + 500);
    gx_grown_add(&g, loaded, N, N + 500);
    gx_grown_remove(&g, loaded, 0, N + 500, 10, 1, 200);
    ck_assert_uint_eq(gx_grown_lost(&g, loaded, EF, 1), 0);
    ck_assert_uint_eq(gx_grown_unreachable(loaded), 0);
    gx_engine_unref(loaded);
}
END_TEST

START_TEST(saving_what_was_loaded_gives_the_same_file)
{
    struct gx_engine *loaded;
    uint8_t *before = saved;
    size_t before_len = saved_len;
    OK(load(DIM, &loaded));
    OK(gx_engine_save(loaded, path, &err));
    read_saved();
    ck_assert_uint_eq(saved_len, before_len);
    ck_assert_mem_eq(saved, before, saved_len);
    free(before);
    gx_engine_unref(loaded);
}
END_TEST

START_TEST(the_same_rows_and_one_thread_give_the_same_file)
{
    uint8_t *bytes[2];
    size_t len[2];
    free(saved);
    for (int i = 0; i < 2; i++) {
        struct gx_engine *engine = gx_grown_built(&g, 1);
        OK(gx_engine_save(engine, path, &err));
        read_saved();
        bytes[i] = saved;
        len[i] = saved_len;
        gx_engine_unref(engine);
    }
    ck_assert_uint_eq(len[0], len[1]);
    ck_assert_mem_eq(bytes[0], bytes[1], len[0]);
    free(bytes[0]);
}
END_TEST

START_TEST(rows_that_are_gone_leave_the_index)
{
    for (unsigned share = 0; share <= 90; share += 30) { /* of what is left; slots move each time */
        struct gx_engine *loaded;
        struct gx_engine_stats stats;
        gx_grown_remove(&g, NULL, 0, gx_rows_count(g.rows), share, share, 1);
        if (share > 0 && share < 90)
            gx_grown_restart(&g); /* the last time they are dead and still there */
        OK(load(DIM, &loaded));
        gx_engine_stats(loaded, &stats);
        ck_assert_uint_eq(stats.entries, gx_rows_live(g.rows));
        ck_assert_uint_eq(gx_grown_unreachable(loaded), 0);
        ck_assert_uint_eq(gx_grown_lost(&g, loaded, EF, 1), 0);
        struct gx_engine *fresh = gx_grown_built(&g, 2);
        double recall = gx_grown_recall(&g, loaded, EF, PROBES), wanted = gx_grown_recall(&g, fresh, EF, PROBES);
        ck_assert_msg(recall >= wanted - SLACK, "%u: recall %.4f, of a new index %.4f", share, recall, wanted);
        gx_engine_unref(fresh);
        gx_engine_unref(loaded);
    }
}
END_TEST

START_TEST(all_rows_may_be_gone)
{
    struct gx_engine *loaded;
    struct gx_engine_stats stats;
    gx_grown_remove(&g, NULL, 0, N, 100, 1, 1);
    gx_grown_restart(&g);
    OK(load(DIM, &loaded));
    gx_engine_stats(loaded, &stats);
    ck_assert_uint_eq(stats.entries, 0);
    OK(gx_engine_save(loaded, path, &err));
    gx_engine_unref(loaded);
    OK(load(DIM, &loaded)); /* an empty one */
    gx_grown_publish(&g, 0);
    gx_engine_unref(loaded);
}
END_TEST

START_TEST(a_live_row_that_is_not_in_the_file_is_noticed)
{
    struct gx_engine *engine = gx_grown_new(&g, 1), *loaded;
    gx_rows_hide(g.rows, N / 3);
    gx_grown_add(&g, engine, 0, N);
    OK(gx_engine_save(engine, path, &err));
    OK(load(DIM, &loaded));
    gx_engine_unref(loaded);
    gx_rows_unhide(g.rows, N / 3);
    ck_assert_int_eq(load(DIM, &loaded), GX_E_CORRUPT);
    gx_engine_unref(engine);
}
END_TEST

/* --- damage --- */

static void check_refused(const uint8_t *bytes, size_t n)
{
    struct gx_engine *loaded;
    write_file(bytes, n);
    ck_assert_int_eq(load(DIM, &loaded), GX_E_CORRUPT);
    ck_assert_ptr_null(loaded);
}

START_TEST(a_file_cut_anywhere_is_refused)
{
    for (size_t n = 0; n < HEAD_LEN + 3; n++)
        check_refused(saved, n);
    for (size_t n = HEAD_LEN + 3; n < saved_len; n += saved_len / 60)
        check_refused(saved, n);
    check_refused(saved, saved_len - 1);
}
END_TEST

START_TEST(a_changed_byte_is_noticed)
{
    for (size_t at = 0; at < saved_len; at += at < HEAD_LEN + 16 ? 1 : saved_len / 120) {
        uint8_t flipped = (uint8_t)(1u << at % 8);
        saved[at] ^= flipped;
        check_refused(saved, saved_len);
        saved[at] ^= flipped;
    }
    struct gx_engine *loaded;
    write_file(saved, saved_len);
    OK(load(DIM, &loaded));
    gx_engine_unref(loaded);
    uint8_t *longer = calloc(1, saved_len + 256); /* what others put behind it */
    memcpy(longer, saved, saved_len);
    write_file(longer, saved_len + 256);
    free(longer);
    OK(load(DIM, &loaded));
    gx_engine_unref(loaded);
}
END_TEST

START_TEST(an_index_of_another_dimension_is_refused)
{
    struct gx_engine *loaded;
    ck_assert_int_eq(load(DIM * 2, &loaded), GX_E_FORMAT);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_ne(load(DIM, &loaded), GX_OK);
}
END_TEST

/* With checksums that fit: whoever made it, it may be refused or not, but nothing else happens. */
START_TEST(a_made_up_file_does_no_harm)
{
    uint64_t random = GX_GROWN_SEED;
    size_t n_loaded = 0;
    for (int i = 0; i < 300; i++) {
        uint8_t *bytes = malloc(saved_len);
        ck_assert_ptr_nonnull(bytes);
        memcpy(bytes, saved, saved_len);
        size_t n_changes = 1 + gx_random_next(&random) % 4;
        for (size_t c = 0; c < n_changes; c++) {
            size_t at = gx_random_next(&random) % (i % 3 == 0 ? 48 : i % 3 == 1 ? 200 : saved_len);
            if (at >= 8)
                bytes[at] = (uint8_t)gx_random_next(&random);
        }
        gx_codec_put_u32(bytes + AT_CRC, gx_simd_crc32c(0, bytes + HEAD_LEN, saved_len - HEAD_LEN));
        gx_codec_put_u32(bytes + AT_HEAD, gx_simd_crc32c(0, bytes, AT_HEAD));
        write_file(bytes, saved_len);
        free(bytes);
        struct gx_engine *loaded;
        enum gx_status status = load(DIM, &loaded);
        ck_assert(status == GX_OK || status == GX_E_CORRUPT || status == GX_E_FORMAT);
        if (status != GX_OK)
            continue;
        n_loaded++;
        gx_grown_lost(&g, loaded, EF, 500);
        gx_engine_unref(loaded);
    }
    ck_assert_uint_gt(n_loaded, 0); /* another seed, another neighbour */
}
END_TEST

START_TEST(the_file_holds_no_code)
{
    struct gx_codes *codes;
    OK(gx_codes_new(DIM, GX_CODES_INT8, &codes, &err));
    OK(gx_codes_reserve(codes, N, &err));
    for (uint32_t slot = 0; slot < N; slot += 50) {
        gx_codes_put(codes, slot, gx_rows_floats(g.rows, slot));
        ck_assert_ptr_null(memmem(saved, saved_len, gx_codes_int8(codes, slot), 16));
        ck_assert_ptr_null(memmem(saved, saved_len, gx_rows_floats(g.rows, slot), 16));
    }
    gx_codes_free(codes);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("engine_hnsw_file");
    TCase *t = tcase_create("all");
    tcase_add_unchecked_fixture(t, begin, end);
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, a_loaded_index_answers_as_before_and_grows);
    tcase_add_test(t, saving_what_was_loaded_gives_the_same_file);
    tcase_add_test(t, the_same_rows_and_one_thread_give_the_same_file);
    tcase_add_test(t, rows_that_are_gone_leave_the_index);
    tcase_add_test(t, all_rows_may_be_gone);
    tcase_add_test(t, a_live_row_that_is_not_in_the_file_is_noticed);
    tcase_add_test(t, a_file_cut_anywhere_is_refused);
    tcase_add_test(t, a_changed_byte_is_noticed);
    tcase_add_test(t, an_index_of_another_dimension_is_refused);
    tcase_add_test(t, a_made_up_file_does_no_harm);
    tcase_add_test(t, the_file_holds_no_code);
    suite_add_tcase(s, t);
    return gx_suite_run_in_folder(s);
}
