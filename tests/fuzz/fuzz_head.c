/* The request head: any bytes, whole and in two pieces, must be judged alike and stay in bounds. */
#include "config.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "mirrord/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct head_limits LIMITS = {
    .target_max_bytes = 256, .head_max_bytes = 2048, .fields_max = 16};

static void check_inside(struct slice s, const char *text, size_t size)
{
    /* "/" of an absolute form without path is ours. */
    if (s.len == 0 || (s.len == 1 && s.ptr[0] == '/'))
        return;
    CHECK(s.ptr >= text && s.ptr + s.len <= text + size);
}

static void check_head(const struct head *h, const char *text, size_t size)
{
    CHECK(h->n_fields <= LIMITS.fields_max);
    CHECK(!(h->has_length && h->is_chunked));
    CHECK(h->path.len > 0 && (h->path.ptr[0] == '/' || h->path.ptr[0] == '*'));
    check_inside(h->target, text, size);
    check_inside(h->path, text, size);
    check_inside(h->query, text, size);
    check_inside(h->host, text, size);
    for (size_t i = 0; i < h->n_fields; i++) {
        check_inside(h->fields[i].name, text, size);
        check_inside(h->fields[i].value, text, size);
        CHECK(!memchr(h->fields[i].value.ptr, '\n', h->fields[i].value.len));
        CHECK(!memchr(h->fields[i].value.ptr, '\0', h->fields[i].value.len));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct head whole, pieces;
    const char *text = (const char *)data;
    size_t scanned = 0;
    int rc = head_parse(text, size, &LIMITS, &scanned, &whole);

    CHECK(scanned <= size);
    if (rc > 0) {
        CHECK((size_t)rc <= size && rc <= (int)LIMITS.head_max_bytes);
        check_head(&whole, text, size);
    }
    for (size_t cut = 0; cut < size; cut += 1 + size / 16) {
        scanned = 0;
        int first = head_parse(text, cut, &LIMITS, &scanned, &pieces);
        if (first == 0)
            first = head_parse(text, size, &LIMITS, &scanned, &pieces);
        CHECK((first > 0) == (rc > 0) && (first == 0) == (rc == 0));
        CHECK(first <= 0 ||
              (first == rc && pieces.n_fields == whole.n_fields && pieces.length == whole.length));
    }
    return 0;
}
