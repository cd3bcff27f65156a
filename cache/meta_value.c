#include "config.h"

#include "cache/meta_value.h"

#include <inttypes.h>

#include "base/check.h"
#include "cache/manifest_type.h"

#define TEXT_MAX_BYTES 1024

void meta_value_print_tag(const struct tag_record *record, struct strbuf *out)
{
    char digest[DIGEST_TEXT_SIZE];

    CHECK(record->mirrored != TAG_UNASKED);
    if (record->mirrored == TAG_ABSENT) {
        strbuf_addf(out, "1 absent %" PRId64, record->checked_at_s);
        return;
    }
    digest_format(&record->digest, digest);
    strbuf_addf(out, "1 mirrored %s %" PRId64 " %" PRId64 " %s", digest, record->fetched_at_s,
                record->checked_at_s, record->upstream ? record->upstream : "-");
}

static bool cut_word(struct slice *rest, struct slice *out)
{
    *out = slice_cut(rest, ' ');
    return out->len > 0;
}

static bool cut_time(struct slice *rest, int64_t *out)
{
    struct slice word;
    uint64_t n;

    if (!cut_word(rest, &word) || !slice_to_u64(word, &n) || n > INT64_MAX)
        return false;
    *out = (int64_t)n;
    return true;
}

static bool parse_mirrored(struct slice rest, struct tag_record *out)
{
    struct slice digest;

    if (!cut_word(&rest, &digest) || !digest_parse(digest, &out->digest) ||
        !cut_time(&rest, &out->fetched_at_s) || !cut_time(&rest, &out->checked_at_s))
        return false;
    out->mirrored = TAG_MIRRORED;
    out->upstream = slice_equal(rest, SLICE("-")) ? NULL : origin_upstream(rest);
    /* A name that we know no room for is one that cannot be told; none at all is damage. */
    return rest.len > 0;
}

static bool starts_with_kind(struct slice *text, const char *kind)
{
    struct slice rest = *text, word;

    if (text->len > TEXT_MAX_BYTES || !cut_word(&rest, &word) || !slice_equal(word, SLICE("1")) ||
        !cut_word(&rest, &word) || !slice_equal(word, slice_of(kind)))
        return false;
    *text = rest;
    return true;
}

bool meta_value_parse_tag(struct slice text, struct tag_record *out)
{
    struct tag_record record = {.mirrored = TAG_ABSENT};
    bool is_right = false;

    if (starts_with_kind(&text, "mirrored"))
        is_right = parse_mirrored(text, &record);
    else if (starts_with_kind(&text, "absent"))
        is_right = cut_time(&text, &record.checked_at_s) && text.len == 0;
    if (is_right)
        *out = record;
    return is_right;
}

void meta_value_print_facts(const struct meta_facts *facts, struct strbuf *out)
{
    strbuf_addf(out, "1 facts %" PRIu64 " %.*s", facts->size, SLICE_ARG(facts->media_type));
}

bool meta_value_parse_facts(struct slice text, struct meta_facts *out)
{
    struct slice word;
    struct meta_facts facts;

    if (!starts_with_kind(&text, "facts") || !cut_word(&text, &word) ||
        !slice_to_u64(word, &facts.size) || facts.size == UINT64_MAX ||
        !manifest_type_is_valid(text))
        return false;
    facts.media_type = text;
    *out = facts;
    return true;
}
