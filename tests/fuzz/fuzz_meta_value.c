/* What a shared cache says about tags and manifests: it may come from anybody. */
#include "config.h"

#include <stddef.h>
#include <stdint.h>

#include "base/check.h"
#include "base/strbuf.h"
#include "cache/meta_value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_tag(struct slice text)
{
    struct tag_record record = {.is_pushed = true}, again;
    struct strbuf out = STRBUF_INIT;

    if (!meta_value_parse_tag(text, &record)) {
        CHECK(record.is_pushed); /* untouched */
        return;
    }
    CHECK(!record.is_pushed && record.mirrored != TAG_UNASKED);
    CHECK(record.fetched_at_s >= 0 && record.checked_at_s >= 0);
    meta_value_print_tag(&record, &out);
    CHECK(meta_value_parse_tag((struct slice){out.ptr, out.len}, &again));
    CHECK(again.mirrored == record.mirrored && again.checked_at_s == record.checked_at_s);
    CHECK(again.fetched_at_s == record.fetched_at_s && again.upstream == record.upstream);
    CHECK(digest_equal(&again.digest, &record.digest));
    strbuf_fini(&out);
}

static void check_facts(struct slice text)
{
    struct meta_facts facts, again;
    struct strbuf out = STRBUF_INIT;

    if (!meta_value_parse_facts(text, &facts))
        return;
    /* It goes into a header as it is. */
    for (size_t i = 0; i < facts.media_type.len; i++)
        CHECK(facts.media_type.ptr[i] >= ' ' && facts.media_type.ptr[i] < 0x7f);
    meta_value_print_facts(&facts, &out);
    CHECK(meta_value_parse_facts((struct slice){out.ptr, out.len}, &again));
    CHECK(again.size == facts.size && slice_equal(again.media_type, facts.media_type));
    strbuf_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};

    check_tag(text);
    check_facts(text);
    return 0;
}
