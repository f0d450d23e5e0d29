/* Promises of rows whose floats are in a file. */
#include "rows.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "suite.h"

#define DIM   256
#define CHUNK 16384 /* rows of 1 KB in one */
#define N     (2 * CHUNK + 100)

static struct gx_err err;
static char path[256];
static struct gx_rows *rows;

#define OK(call) ck_assert_msg((call) == GX_OK, "%s", err.text)

static void fill_row(uint32_t i, float out[DIM])
{
    for (size_t j = 0; j < DIM; j++)
        out[j] = (float)i + (float)j / 1000;
}

static enum gx_status append(uint32_t i)
{
    float row[DIM];
    fill_row(i, row);
    return gx_rows_append(rows, row, &(struct gx_row){.rno = i + 1}, &err);
}

static void begin(void)
{
    gx_suite_new_path(path);
    OK(gx_rows_new(DIM, &rows, &err));
    OK(gx_rows_use_file(rows, path, &err));
    for (uint32_t i = 0; i < N; i++)
        OK(append(i));
    gx_rows_publish(rows);
}

/* How often the bytes of row @i are in the file. */
static size_t count_in_file(uint32_t i)
{
    float row[DIM], found[DIM];
    size_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    fill_row(i, row);
    while (read(fd, found, sizeof(found)) == (ssize_t)sizeof(found))
        n += memcmp(found, row, sizeof(row)) == 0;
    (void)close(fd);
    return n;
}

START_TEST(rows_in_a_file_read_as_they_were_written_and_the_file_goes_with_them)
{
    float row[DIM];
    begin();
    for (uint32_t i = 0; i < N; i += 97) {
        fill_row(i, row);
        ck_assert_mem_eq(gx_rows_floats(rows, i), row, sizeof(row));
    }
    ck_assert_uint_eq(count_in_file(5), 1);
    struct stat info;
    ck_assert_int_eq(stat(path, &info), 0);
    ck_assert_uint_eq(info.st_mode & 0777, 0600);
    gx_rows_free(rows);
    ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

START_TEST(wiped_row_is_gone_from_the_file_and_its_neighbours_are_not)
{
    begin();
    ck_assert(gx_rows_hide(rows, 700));
    gx_rows_wipe(rows, 700);
    OK(gx_rows_sync(rows, &err));
    ck_assert_uint_eq(count_in_file(700), 0);
    ck_assert_uint_eq(count_in_file(699), 1);
    ck_assert_uint_eq(count_in_file(701), 1);
    gx_rows_free(rows);
}
END_TEST

START_TEST(disk_gets_back_what_only_wiped_rows_took)
{
    struct stat before, after;
    begin();
    OK(gx_rows_sync(rows, &err));
    ck_assert_int_eq(stat(path, &before), 0);
    for (uint32_t i = CHUNK; i < 2 * CHUNK; i++) {
        ck_assert(gx_rows_hide(rows, i));
        gx_rows_wipe(rows, i);
    }
    OK(gx_rows_sync(rows, &err));
    ck_assert_int_eq(stat(path, &after), 0);
    ck_assert_int_eq(after.st_size, before.st_size);
    ck_assert_int_le(after.st_blocks * 512, before.st_blocks * 512 - (blkcnt_t)CHUNK * DIM * 4 * 9 / 10);
    ck_assert_uint_eq(count_in_file(2 * CHUNK), 1);
    gx_rows_free(rows);
}
END_TEST

START_TEST(file_that_cannot_grow_is_an_error_and_leaves_the_rows_as_they_were)
{
    begin();
    struct rlimit limit = {(rlim_t)3 * CHUNK * DIM * sizeof(float), RLIM_INFINITY};
    (void)signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    uint32_t i = N;
    while (i < 3 * CHUNK)
        OK(append(i++));
    ck_assert_int_ne(append(i), GX_OK);
    ck_assert_ptr_nonnull(strstr(err.text, path));
    gx_rows_publish(rows);
    ck_assert_uint_eq(gx_rows_count(rows), 3 * CHUNK);
    limit.rlim_cur = RLIM_INFINITY;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    OK(append(i));
    gx_rows_publish(rows);
    ck_assert_uint_eq(count_in_file(i), 1);
    gx_rows_free(rows);
}
END_TEST

START_TEST(file_that_is_there_already_is_refused)
{
    gx_suite_new_path(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    (void)close(fd);
    OK(gx_rows_new(DIM, &rows, &err));
    ck_assert_int_ne(gx_rows_use_file(rows, path, &err), GX_OK);
    ck_assert_ptr_nonnull(strstr(err.text, path));
    gx_rows_free(rows);
    ck_assert_int_eq(access(path, F_OK), 0); /* somebody else's */
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rows_file");
    TCase *tc = tcase_create("rows_file");
    tcase_add_test(tc, rows_in_a_file_read_as_they_were_written_and_the_file_goes_with_them);
    tcase_add_test(tc, wiped_row_is_gone_from_the_file_and_its_neighbours_are_not);
    tcase_add_test(tc, disk_gets_back_what_only_wiped_rows_took);
    tcase_add_test(tc, file_that_cannot_grow_is_an_error_and_leaves_the_rows_as_they_were);
    tcase_add_test(tc, file_that_is_there_already_is_refused);
    suite_add_tcase(suite, tc);
    return gx_suite_run_in_folder(suite);
}
