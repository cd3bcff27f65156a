/* What a manifest references: whatever the bytes are, what is told is sane and lies in them. */
#include "config.h"

#include <stdint.h>

#include "base/check.h"
#include "base/json_walk.h"
#include "cache/manifest_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int on_ref(void *arg, const struct manifest_ref *ref)
{
    char text[DIGEST_TEXT_SIZE];
    struct digest again;

    CHECK(ref->kind < MANIFEST_REF_KIND_MAX);
    CHECK(!ref->has_size || ref->size <= INT64_MAX);
    CHECK(digest_parse((struct slice){text, digest_format(&ref->digest, text)}, &again));
    ++*(size_t *)arg;
    return 0;
}

static void check_part(struct slice body, struct slice part)
{
    if (!part.ptr)
        return;
    CHECK(part.ptr >= body.ptr && part.ptr + part.len <= body.ptr + body.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice body = {(const char *)data, size};
    struct manifest_facts facts;
    size_t n_refs = 0;

    if (manifest_scan(body, 16, &facts, on_ref, &n_refs, NULL) < 0)
        return 0;
    CHECK(json_walk(body, 16, NULL, NULL, NULL) == 0);
    CHECK(n_refs <= size / 64); /* each is written out */
    CHECK(n_refs > 0 || !facts.has_subject);
    check_part(body, facts.media_type);
    check_part(body, facts.artifact_type);
    check_part(body, facts.config_media_type);
    check_part(body, facts.annotations);
    CHECK(!facts.annotations.ptr || json_walk(facts.annotations, 16, NULL, NULL, NULL) == 0);
    return 0;
}
