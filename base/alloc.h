/*
 * Small allocations: they never return NULL, the process ends with a message instead.
 * For buffers whose size a peer chooses use malloc() and handle its failure.
 * Any thread. The caller owns what is returned and frees it with free().
 */
#ifndef BASE_ALLOC_H
#define BASE_ALLOC_H

#include <stddef.h>

void *xmalloc(size_t n_bytes) __attribute__((malloc, returns_nonnull));
void *xcalloc(size_t n, size_t n_bytes) __attribute__((malloc, returns_nonnull));
void *xrealloc(void *p, size_t n_bytes) __attribute__((returns_nonnull));
char *xstrdup(const char *s) __attribute__((malloc, returns_nonnull));
/* A NUL-terminated copy of the n bytes at s. */
char *xmemdup0(const void *s, size_t n) __attribute__((malloc, returns_nonnull));
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));

#endif
