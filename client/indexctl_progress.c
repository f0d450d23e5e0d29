#include "indexctl_progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "indexctl_table.h"

#define PERIOD_US 200000
#define BAR_MAX   40

static int64_t now_us(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

void gx_indexctl_progress_begin(struct gx_indexctl_progress *p, const char *what, const char *unit, uint64_t done,
                                bool quiet)
{
    *p = (struct gx_indexctl_progress){.shown = !quiet && isatty(STDERR_FILENO) == 1,
                                       .what = what,
                                       .unit = unit,
                                       .begin_us = now_us(),
                                       .begin_done = done};
}

/* "0:04", "12:30", "3:02:01" */
static void format_left(double seconds, char *out, size_t cap)
{
    unsigned long s = (unsigned long)seconds;
    if (s >= 3600)
        (void)snprintf(out, cap, "%lu:%02lu:%02lu left", s / 3600, s / 60 % 60, s % 60);
    else
        (void)snprintf(out, cap, "%lu:%02lu left", s / 60, s % 60);
}

void gx_indexctl_progress_format(const struct gx_indexctl_progress *p, uint64_t done, uint64_t total, uint64_t done_now,
                                 int64_t elapsed_us, size_t width, char *out, size_t cap)
{
    char n[GX_INDEXCTL_TABLE_COUNT_MAX], of[GX_INDEXCTL_TABLE_COUNT_MAX], rate[GX_INDEXCTL_TABLE_COUNT_MAX];
    char left[40] = "", text[160];
    double per_s = elapsed_us > 0 ? (double)done_now * 1e6 / (double)elapsed_us : 0;
    (void)gx_indexctl_table_count(done, n);
    (void)gx_indexctl_table_count((uint64_t)per_s, rate);
    if (total == UINT64_MAX) {
        (void)snprintf(out, cap, "%s %s %s  %s/s", p->what, n, p->unit, rate);
        return;
    }
    if (per_s > 0 && total > done && (double)(total - done) / per_s < 1e7)
        format_left((double)(total - done) / per_s, left, sizeof(left));
    unsigned percent = total > 0 && done < total ? (unsigned)(done * 100 / total) : 100;
    (void)snprintf(text, sizeof(text), "%3u %%  %s of %s %s  %s/s  %s", percent, n, gx_indexctl_table_count(total, of),
                   p->unit, rate, left);
    size_t used = strlen(p->what) + strlen(text) + 5;
    size_t bar = width > used + 5 ? width - used : 0;
    bar = bar < BAR_MAX ? bar : BAR_MAX;
    if (bar == 0) {
        (void)snprintf(out, cap, "%s %s", p->what, text);
        return;
    }
    size_t full = bar * percent / 100;
    (void)snprintf(out, cap, "%s [%.*s%*s] %s", p->what, (int)full, "########################################",
                   (int)(bar - full), "", text);
}

void gx_indexctl_progress_update(struct gx_indexctl_progress *p, uint64_t done, uint64_t total)
{
    int64_t now = now_us();
    if (!p->shown || (p->drawn_us != 0 && now - p->drawn_us < PERIOD_US))
        return;
    struct winsize size;
    size_t width = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 20 ? size.ws_col : 80;
    char line[512];
    gx_indexctl_progress_format(p, done, total, done - p->begin_done, now - p->begin_us, width, line, sizeof(line));
    if (strlen(line) > width - 1)
        line[width - 1] = '\0';
    (void)fprintf(stderr, "\r%s\033[K", line);
    (void)fflush(stderr);
    p->drawn_us = now;
}

void gx_indexctl_progress_end(struct gx_indexctl_progress *p)
{
    if (p->shown && p->drawn_us != 0) {
        (void)fputs("\r\033[K", stderr);
        (void)fflush(stderr);
    }
    p->shown = false;
}
