#include "indexctl_time.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* Exactly @n digits at *@text, which moves on. */
static bool digits(const char **text, int n, int *out)
{
    *out = 0;
    for (int i = 0; i < n; i++) {
        if (!isdigit((unsigned char)**text))
            return false;
        *out = *out * 10 + (*(*text)++ - '0');
    }
    return true;
}

static bool character(const char **text, const char *any_of)
{
    if (**text == '\0' || strchr(any_of, **text) == NULL)
        return false;
    (*text)++;
    return true;
}

static bool parse_date(const char **text, struct tm *out)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year, month, day;
    if (!digits(text, 4, &year) || !character(text, "-") || !digits(text, 2, &month) || !character(text, "-") ||
        !digits(text, 2, &day))
        return false;
    if (year < 1900 || month < 1 || month > 12)
        return false;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (day < 1 || day > days[month - 1] + (month == 2 && leap))
        return false;
    out->tm_year = year - 1900;
    out->tm_mon = month - 1;
    out->tm_mday = day;
    return true;
}

static bool parse_clock(const char **text, struct tm *out, int *out_us)
{
    if (!digits(text, 2, &out->tm_hour) || !character(text, ":") || !digits(text, 2, &out->tm_min) ||
        !character(text, ":") || !digits(text, 2, &out->tm_sec))
        return false;
    if (out->tm_hour > 23 || out->tm_min > 59 || out->tm_sec > 60)
        return false;
    *out_us = 0;
    if (!character(text, "."))
        return true;
    int n = 0;
    for (int scale = 100000; isdigit((unsigned char)**text); scale /= 10, n++)
        *out_us += (*(*text)++ - '0') * scale; /* finer than a microsecond: dropped */
    return n > 0;
}

static bool parse_zone(const char **text, int *out_minutes)
{
    *out_minutes = 0;
    if (character(text, "Zz"))
        return true;
    bool west = **text == '-';
    int hours, minutes;
    if (!character(text, "+-") || !digits(text, 2, &hours) || !character(text, ":") || !digits(text, 2, &minutes) ||
        hours > 23 || minutes > 59)
        return false;
    *out_minutes = (hours * 60 + minutes) * (west ? -1 : 1);
    return true;
}

bool gx_indexctl_time_parse(const char *text, int64_t *out_us)
{
    struct tm tm = {0};
    int us = 0, zone_minutes = 0;
    *out_us = 0;
    if (!parse_date(&text, &tm))
        return false;
    if (character(&text, "Tt ") && (!parse_clock(&text, &tm, &us) || !parse_zone(&text, &zone_minutes)))
        return false;
    if (*text != '\0')
        return false;
    *out_us = ((int64_t)timegm(&tm) - (int64_t)zone_minutes * 60) * 1000000 + us;
    return true;
}

const char *gx_indexctl_time_format(int64_t us, char out[GX_INDEXCTL_TIME_MAX])
{
    out[0] = '\0';
    if (us == 0)
        return out;
    int64_t rest = us % 1000000;
    time_t seconds = (time_t)(us / 1000000);
    if (rest < 0) {
        rest += 1000000;
        seconds--;
    }
    struct tm tm;
    if (gmtime_r(&seconds, &tm) == NULL || tm.tm_year > 9999 - 1900 || tm.tm_year < -1900) {
        (void)snprintf(out, GX_INDEXCTL_TIME_MAX, "%lld us", (long long)us);
        return out;
    }
    size_t len = strftime(out, GX_INDEXCTL_TIME_MAX, "%Y-%m-%dT%H:%M:%S", &tm);
    if (rest != 0) {
        len += (size_t)snprintf(out + len, GX_INDEXCTL_TIME_MAX - len, ".%06d", (int)rest);
        while (out[len - 1] == '0')
            len--;
    }
    memcpy(out + len, "Z", 2);
    return out;
}
