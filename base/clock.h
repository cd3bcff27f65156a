/*
 * Time. Intervals and deadlines use the monotonic clock in milliseconds; what is stored or sent
 * uses wall-clock seconds. Any thread, no allocation.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);
int64_t clock_wall_s(void);

#define CLOCK_HTTP_DATE_SIZE 30 /* "Sun, 06 Nov 1994 08:49:37 GMT" and NUL */
/* RFC 9110 section 5.6.7, IMF-fixdate. */
void clock_http_date(int64_t wall_s, char out[CLOCK_HTTP_DATE_SIZE]);
/* Seconds to wait, from a Retry-After value: delta-seconds or an HTTP date. Negative = unusable. */
int64_t clock_parse_retry_after(const char *value, size_t len, int64_t now_wall_s);

#endif
