/* Promises of log.h. Each test sends its own stderr into a file. */
#include "log.h"
#include "temp.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int real_stderr = -1, file = -1;
static char text[1 << 20];

static void redirect(int fd)
{
    real_stderr = dup(STDERR_FILENO);
    ck_assert_int_ge(real_stderr, 0);
    ck_assert_int_ge(dup2(fd, STDERR_FILENO), 0);
}

static void capture(void)
{
    file = gx_temp_nameless_file();
    redirect(file);
}

/* What was written, as text; stderr is the real one again. */
static const char *captured(void)
{
    ck_assert_int_ge(dup2(real_stderr, STDERR_FILENO), 0);
    ssize_t n = pread(file, text, sizeof(text) - 1, 0);
    ck_assert_int_ge(n, 0);
    text[n] = 0;
    return text;
}

static size_t n_lines(const char *p)
{
    size_t n = 0;
    for (; *p != 0; p++)
        n += *p == '\n';
    return n;
}

START_TEST(a_line_has_time_level_event_and_text)
{
    capture();
    gx_log_warn("disk_low", "free_bytes=%d path=%s", 42, "/data");
    const char *line = captured();
    int year, month, day, hour, minute, second, micro, end = 0;
    ck_assert_int_eq(
        sscanf(line, "%4d-%2d-%2dT%2d:%2d:%2d.%6dZ %n", &year, &month, &day, &hour, &minute, &second, &micro, &end), 7);
    ck_assert_int_gt(year, 2023);
    ck_assert_int_eq(end, 28);
    ck_assert_str_eq(line + end, "warn disk_low free_bytes=42 path=/data\n");
}
END_TEST

START_TEST(lines_above_the_level_are_not_written)
{
    static const struct {
        enum gx_log_level level;
        const char *names[4];
    } cases[] = {{GX_LOG_ERROR, {" error "}},
                 {GX_LOG_WARN, {" error ", " warn "}},
                 {GX_LOG_INFO, {" error ", " warn ", " info "}},
                 {GX_LOG_DEBUG, {" error ", " warn ", " info ", " debug "}}};
    capture();
    gx_log_debug("e", "not written: the level is info unless it is set%s", "");
    for (size_t i = 0; i < GX_COUNT_OF(cases); i++) {
        gx_log_set_level(cases[i].level);
        gx_log_error("e", "case=%zu", i);
        gx_log_warn("e", "case=%zu", i);
        gx_log_info("e", "case=%zu", i);
        gx_log_debug("e", "case=%zu", i);
    }
    char *line = strtok((char *)(uintptr_t)captured(), "\n");
    for (size_t i = 0; i < GX_COUNT_OF(cases); i++)
        for (size_t j = 0; j <= i; j++) {
            char end[16];
            snprintf(end, sizeof(end), "case=%zu", i);
            ck_assert_ptr_nonnull(line);
            ck_assert_ptr_nonnull(strstr(line, cases[i].names[j]));
            ck_assert_ptr_nonnull(strstr(line, end));
            line = strtok(NULL, "\n");
        }
    ck_assert_ptr_null(line);
}
END_TEST

START_TEST(no_text_can_end_a_line_early_or_steer_a_terminal)
{
    capture();
    gx_log_info("event", "a=%s",
                "x\ny\r\x1b[2J\x7f\t\xc2\x9b"
                "31m \xc3\xa4");
    const char *line = captured();
    ck_assert_uint_eq(n_lines(line), 1);
    ck_assert_ptr_nonnull(strstr(line, "a=x?y??[2J????31m \xc3\xa4\n"));
}
END_TEST

START_TEST(a_long_line_is_cut_and_ends_as_a_line)
{
    char many[5000];
    memset(many, 'x', sizeof(many) - 1);
    many[sizeof(many) - 1] = 0;
    capture();
    gx_log_info("event", "a=%s", many);
    gx_log_info("event", "next=1");
    const char *lines = captured();
    ck_assert_uint_eq(n_lines(lines), 2);
    size_t first = strcspn(lines, "\n") + 1;
    ck_assert_uint_le(first, 2048);
    ck_assert_uint_gt(first, 2000);
    ck_assert_ptr_nonnull(strstr(lines + first, " info event next=1\n"));
}
END_TEST

START_TEST(a_log_that_cannot_be_written_stops_nobody)
{
    int full = open("/dev/full", O_WRONLY);
    ck_assert_int_ge(full, 0);
    redirect(full);
    errno = 1234;
    gx_log_error("event", "lost=1");
    ck_assert_int_eq(errno, 1234); /* a caller that logs before it looks at errno sees its own */
    ck_assert_int_eq(close(STDERR_FILENO), 0);
    gx_log_error("event", "lost=2");
    ck_assert_int_eq(errno, 1234);
}
END_TEST

#define THREADS 4
#define LINES   500

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES; i++)
        gx_log_info("event", "thread=%d line=%d end", *(const int *)arg, i);
    return NULL;
}

START_TEST(lines_of_many_threads_stay_whole)
{
    pthread_t threads[THREADS];
    int numbers[THREADS];
    capture();
    for (int t = 0; t < THREADS; t++) {
        numbers[t] = t;
        ck_assert_int_eq(pthread_create(&threads[t], NULL, write_lines, &numbers[t]), 0);
    }
    for (int t = 0; t < THREADS; t++)
        ck_assert_int_eq(pthread_join(threads[t], NULL), 0);
    (void)captured();
    int next[THREADS] = {0}, total = 0;
    for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"), total++) {
        int t, i, end = 0;
        ck_assert_int_eq(sscanf(line + 28, "info event thread=%d line=%d end%n", &t, &i, &end), 2);
        ck_assert_uint_eq((size_t)end + 28, strlen(line));
        ck_assert_int_eq(i, next[t]++);
    }
    ck_assert_int_eq(total, THREADS * LINES);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tc = tcase_create("log");
    tcase_add_test(tc, a_line_has_time_level_event_and_text);
    tcase_add_test(tc, lines_above_the_level_are_not_written);
    tcase_add_test(tc, no_text_can_end_a_line_early_or_steer_a_terminal);
    tcase_add_test(tc, a_long_line_is_cut_and_ends_as_a_line);
    tcase_add_test(tc, a_log_that_cannot_be_written_stops_nobody);
    tcase_add_test(tc, lines_of_many_threads_stay_whole);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
