#include "config.h"

#include "cache/segments.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

void segments_init(struct segments *s)
{
    *s = (struct segments){NULL, 0, 0, 0};
}

void segments_fini(struct segments *s)
{
    free(s->runs);
    segments_init(s);
}

void segments_clear(struct segments *s)
{
    s->n = 0;
    s->total = 0;
}

static void reserve(struct segments *s, size_t n)
{
    if (n <= s->cap)
        return;
    s->cap = n < 4 ? 4 : n * 2;
    s->runs = xrealloc(s->runs, s->cap * sizeof(s->runs[0]));
}

void segments_copy(struct segments *to, const struct segments *from)
{
    reserve(to, from->n);
    if (from->n > 0)
        memcpy(to->runs, from->runs, from->n * sizeof(from->runs[0]));
    to->n = from->n;
    to->total = from->total;
}

/* The first run that ends at or behind off: the only one that can hold it or touch it. */
static size_t first_reaching(const struct segments *s, uint64_t off)
{
    size_t low = 0, high = s->n;

    /* Sequential writing asks for the last one. */
    if (s->n > 0 && s->runs[s->n - 1].off <= off)
        low = s->n - 1;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (s->runs[mid].end < off)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

void segments_add(struct segments *s, uint64_t off, uint64_t end)
{
    CHECK(off <= end);
    if (off == end)
        return;
    size_t first = first_reaching(s, off);
    size_t last = first;
    while (last < s->n && s->runs[last].off <= end) {
        if (s->runs[last].off < off)
            off = s->runs[last].off;
        if (s->runs[last].end > end)
            end = s->runs[last].end;
        s->total -= s->runs[last].end - s->runs[last].off;
        last++;
    }
    /* The runs first..last-1 become one. */
    if (first == last)
        reserve(s, s->n + 1);
    if (s->n > last)
        memmove(&s->runs[first + 1], &s->runs[last], (s->n - last) * sizeof(s->runs[0]));
    s->n = s->n + 1 - (last - first);
    s->runs[first] = (struct segment){off, end};
    s->total += end - off;
}

void segments_cut(struct segments *s, uint64_t end)
{
    while (s->n > 0 && s->runs[s->n - 1].end > end) {
        struct segment *last = &s->runs[s->n - 1];
        if (last->off < end) {
            s->total -= last->end - end;
            last->end = end;
            return;
        }
        s->total -= last->end - last->off;
        s->n--;
    }
}

uint64_t segments_run_end(const struct segments *s, uint64_t off)
{
    size_t i = first_reaching(s, off);

    if (i < s->n && s->runs[i].off <= off)
        return s->runs[i].end;
    return off;
}

uint64_t segments_next_start(const struct segments *s, uint64_t off)
{
    size_t i = first_reaching(s, off);

    while (i < s->n && s->runs[i].off <= off)
        i++;
    return i < s->n ? s->runs[i].off : UINT64_MAX;
}

uint64_t segments_last_end(const struct segments *s)
{
    return s->n > 0 ? s->runs[s->n - 1].end : 0;
}
