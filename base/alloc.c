#include "config.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ends the process: without small allocations nothing else can be done in order. */
static void die_of_memory(size_t n_bytes) __attribute__((noreturn));
static void die_of_memory(size_t n_bytes)
{
    fprintf(stderr, "mirrord: out of memory (%zu bytes asked)\n", n_bytes);
    abort();
}

void *xmalloc(size_t n_bytes)
{
    void *p = malloc(n_bytes ? n_bytes : 1);
    if (!p)
        die_of_memory(n_bytes);
    return p;
}

void *xcalloc(size_t n, size_t n_bytes)
{
    void *p = calloc(n ? n : 1, n_bytes ? n_bytes : 1);
    if (!p)
        die_of_memory(n_bytes);
    return p;
}

void *xrealloc(void *p, size_t n_bytes)
{
    void *q = realloc(p, n_bytes ? n_bytes : 1);
    if (!q)
        die_of_memory(n_bytes);
    return q;
}

char *xstrdup(const char *s)
{
    return xmemdup0(s, strlen(s));
}

char *xmemdup0(const void *s, size_t n)
{
    char *p = xmalloc(n + 1);
    if (n)
        memcpy(p, s, n);
    p[n] = '\0';
    return p;
}

char *xasprintf(const char *fmt, ...)
{
    va_list args;
    char *text = NULL;

    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    if (n < 0 || !text)
        die_of_memory(0);
    return text;
}
