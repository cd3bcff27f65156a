#include "config.h"

#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

/* Puts ": text" at position n of the message, as much of it as fits. */
static void append_reason(struct error *err, int n, const char *text)
{
    size_t at = n < 0 ? 0 : (size_t)n;
    size_t size = sizeof(err->text);

    if (at + 3 > size)
        return;
    err->text[at++] = ':';
    err->text[at++] = ' ';
    while (*text && at + 1 < size)
        err->text[at++] = *text++;
    err->text[at] = '\0';
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
    va_list args;

    CHECK(code < 0);
    if (!err)
        return code;
    err->code = code;
    va_start(args, fmt);
    vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    return code;
}

int error_sys(struct error *err, int code, const char *fmt, ...)
{
    va_list args;
    char reason[96];

    CHECK(code < 0);
    if (!err)
        return code;
    err->code = code;
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    append_reason(err, n, strerror_r(-code, reason, sizeof(reason)));
    return code;
}

int error_wrap(struct error *err, const char *fmt, ...)
{
    va_list args;
    char inner[sizeof(err->text)];

    if (!err)
        return 0;
    memcpy(inner, err->text, sizeof(inner));
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    append_reason(err, n, inner);
    return err->code;
}
