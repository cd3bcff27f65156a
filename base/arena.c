#include "config.h"

#include "base/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

struct arena_block {
    struct arena_block *older;
    size_t n_bytes;
    _Alignas(max_align_t) char data[];
};

#define ALIGNMENT _Alignof(max_align_t)

/* Pieces start at multiples of the strictest alignment, so sizes are rounded up to it. */
static size_t round_up(size_t n)
{
    return (n + ALIGNMENT - 1) & ~(ALIGNMENT - 1);
}

/* Makes `block` the one that is handed out from. */
static void use_block(struct arena *a, struct arena_block *block)
{
    a->newest = block;
    a->at = block->data;
    a->end = block->data + block->n_bytes;
}

void arena_init(struct arena *a, size_t first_bytes, size_t max_bytes)
{
    size_t n = round_up(first_bytes);
    struct arena_block *first = xmalloc(sizeof(*first) + n);

    CHECK(n > 0 && n <= max_bytes);
    first->older = NULL;
    first->n_bytes = n;
    a->n_bytes = n;
    a->max_bytes = max_bytes;
    use_block(a, first);
}

void arena_fini(struct arena *a)
{
    arena_reset(a);
    free(a->newest);
    a->newest = NULL;
    a->at = a->end = NULL;
}

void arena_reset(struct arena *a)
{
    struct arena_block *block = a->newest;

    CHECK(block);
    while (block->older) {
        struct arena_block *older = block->older;
        a->n_bytes -= block->n_bytes;
        free(block);
        block = older;
    }
    CHECK(a->n_bytes == block->n_bytes);
    use_block(a, block);
}

/* Chains a block with room for n bytes: as large as all so far, or what the limit leaves. */
static struct arena_block *grow(struct arena *a, size_t n)
{
    size_t n_left = a->max_bytes - a->n_bytes;
    size_t n_block = n > a->n_bytes ? n : a->n_bytes;

    if (n > n_left)
        return NULL;
    if (n_block > n_left)
        n_block = n_left & ~(ALIGNMENT - 1);
    struct arena_block *block = malloc(sizeof(*block) + n_block);
    if (!block)
        return NULL;
    block->older = a->newest;
    block->n_bytes = n_block;
    a->n_bytes += n_block;
    use_block(a, block);
    return block;
}

void *arena_alloc(struct arena *a, size_t n)
{
    if (n > a->max_bytes)
        return NULL;
    n = round_up(n);
    if (n > (size_t)(a->end - a->at) && !grow(a, n))
        return NULL;
    void *piece = a->at;
    a->at += n;
    return piece;
}

char *arena_copy(struct arena *a, struct slice s)
{
    char *copy = s.len < SIZE_MAX ? arena_alloc(a, s.len + 1) : NULL;

    if (!copy)
        return NULL;
    if (s.len)
        memcpy(copy, s.ptr, s.len);
    copy[s.len] = '\0';
    return copy;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
    va_list args, again;

    va_start(args, fmt);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    CHECK(n >= 0);
    char *text = arena_alloc(a, (size_t)n + 1);
    if (text)
        vsnprintf(text, (size_t)n + 1, fmt, again);
    va_end(again);
    return text;
}
