#include "config.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/slice.h"

uint64_t clock_mono_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

int64_t clock_wall_s(void)
{
    return (int64_t)time(NULL);
}

static const char DAYS[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
static const char MONTHS[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                   "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};

void clock_http_date(int64_t wall_s, char out[CLOCK_HTTP_DATE_SIZE])
{
    time_t t = (time_t)wall_s;
    struct tm tm;
    char text[80];

    /* Not strftime: the names must be English whatever the locale. */
    gmtime_r(&t, &tm);
    snprintf(text, sizeof(text), "%s, %02d %s %04d %02d:%02d:%02d GMT", DAYS[tm.tm_wday],
             tm.tm_mday, MONTHS[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
    memcpy(out, text, CLOCK_HTTP_DATE_SIZE - 1);
    out[CLOCK_HTTP_DATE_SIZE - 1] = '\0';
}

/* IMF-fixdate only: the two obsolete forms of RFC 9110 are not sent by anything alive. */
static int64_t parse_http_date(const char *text)
{
    struct tm tm = {0};
    char month[4];

    if (sscanf(text, "%*3s, %2d %3s %4d %2d:%2d:%2d GMT", &tm.tm_mday, month, &tm.tm_year,
               &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
        return -1;
    tm.tm_year -= 1900;
    for (tm.tm_mon = 0; tm.tm_mon < 12; tm.tm_mon++)
        if (strcmp(month, MONTHS[tm.tm_mon]) == 0)
            return (int64_t)timegm(&tm);
    return -1;
}

int64_t clock_parse_retry_after(const char *value, size_t len, int64_t now_wall_s)
{
    struct slice s = slice_trim((struct slice){value, len});
    uint64_t seconds;
    char text[64];

    if (slice_to_u64(s, &seconds))
        return seconds > INT32_MAX ? INT32_MAX : (int64_t)seconds;
    if (s.len == 0 || s.len >= sizeof(text))
        return -1;
    memcpy(text, s.ptr, s.len);
    text[s.len] = '\0';
    int64_t when = parse_http_date(text);
    if (when < 0)
        return -1;
    return when > now_wall_s ? when - now_wall_s : 0;
}
