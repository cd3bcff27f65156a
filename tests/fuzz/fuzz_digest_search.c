/* The text of a manifest, any bytes: found are the same digests whatever pieces it comes in, and
 * all those that a reader of manifests finds. */
#include "config.h"

#include <stdint.h>

#include "base/check.h"
#include "cache/digest_search.h"
#include "cache/manifest_scan.h"

#define REFS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct refs {
    struct digest digests[REFS_MAX];
    bool is_found[REFS_MAX];
    size_t n;
    uint64_t sum; /* of all that is found, in order */
};

static void on_found(void *arg, const struct digest *d)
{
    struct refs *r = arg;

    r->sum = r->sum * 31 + digest_key(d);
    for (size_t i = 0; i < r->n; i++)
        r->is_found[i] |= digest_equal(&r->digests[i], d);
}

static int on_ref(void *arg, const struct manifest_ref *ref)
{
    struct refs *r = arg;

    if (r->n < REFS_MAX)
        r->digests[r->n++] = ref->digest;
    return 0;
}

static void search(struct refs *r, const char *text, size_t n, size_t n_piece)
{
    struct digest_search s;

    r->sum = 0;
    digest_search_init(&s, on_found, r);
    for (size_t at = 0; at < n; at += n_piece)
        digest_search_feed(&s, text + at, n - at < n_piece ? n - at : n_piece);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct manifest_facts facts;
    struct refs refs = {.n = 0};
    struct refs none = {.n = 0};

    if (manifest_scan((struct slice){text, size}, 64, &facts, on_ref, &refs, NULL) != 0)
        refs.n = 0;
    search(&refs, text, size, size + 1);
    for (size_t i = 0; i < refs.n; i++)
        CHECK(refs.is_found[i]);
    search(&none, text, size, 1 + size % 7);
    CHECK(none.sum == refs.sum);
    return 0;
}
