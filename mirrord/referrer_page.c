#include "config.h"

#include "mirrord/referrer_page.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "base/url.h"
#include "cache/referrer_list.h"

#define QUERY_MAX_BYTES 4096

/* --- printing --------------------------------------------------------------------------------- */

struct merge {
    const struct referrer_page_spec *spec;
    struct strbuf *text;
    size_t start; /* of the page in the text */
    size_t n;
    size_t i, j; /* the next of ours, of theirs */
    struct digest last;
};

static size_t count(const struct referrer_list *list)
{
    return list ? referrer_list_count(list) : 0;
}

/* The next of theirs that is wanted: behind `last` and of the type. */
static bool find_theirs(struct merge *m)
{
    const struct referrer_page_spec *s = m->spec;

    for (; m->j < count(s->theirs); m->j++) {
        const struct digest *d = referrer_list_digest(s->theirs, m->j);
        if (s->has_last && referrer_list_compare(d, &s->last) <= 0)
            continue;
        if (!s->artifact_type.len || referrer_list_has_type(s->theirs, m->j, s->artifact_type))
            return true;
    }
    return false;
}

/* Takes the next of both lists; false when there is none. What lies behind ours while ours go on is
 * left for the next page. */
static bool take_next(struct merge *m, struct slice *descriptor, struct digest *d)
{
    const struct referrer_list *ours = m->spec->ours, *theirs = m->spec->theirs;
    bool has_ours = m->i < count(ours);
    bool has_theirs = find_theirs(m);

    if (!has_ours && (!has_theirs || m->spec->ours_go_on))
        return false;
    int order = !has_ours     ? 1
                : !has_theirs ? -1
                              : referrer_list_compare(referrer_list_digest(ours, m->i),
                                                      referrer_list_digest(theirs, m->j));
    *d = order <= 0 ? *referrer_list_digest(ours, m->i) : *referrer_list_digest(theirs, m->j);
    *descriptor =
        order <= 0 ? referrer_list_descriptor(ours, m->i) : referrer_list_descriptor(theirs, m->j);
    m->i += order <= 0;
    m->j += order >= 0;
    return true;
}

static bool is_full(const struct merge *m, size_t n_bytes)
{
    size_t used = m->text->len - m->start;

    if (m->n == 0)
        return false;
    return m->n == m->spec->n_max || used > m->spec->bytes_max ||
           n_bytes + 1 > m->spec->bytes_max - used;
}

void referrer_page_print(const struct referrer_page_spec *spec, struct strbuf *text,
                         struct referrer_page *out)
{
    struct merge m = {.spec = spec, .text = text, .start = text->len};
    struct slice descriptor;
    struct digest d;

    CHECK(spec->ours && spec->n_max > 0);
    out->has_more = spec->ours_go_on;
    strbuf_add_str(text, "{\"schemaVersion\":2,\"mediaType\":\"" REFERRER_INDEX_TYPE
                         "\",\"manifests\":[");
    while (take_next(&m, &descriptor, &d)) {
        if (is_full(&m, descriptor.len)) {
            out->has_more = true;
            break;
        }
        if (m.n++)
            strbuf_add_char(text, ',');
        strbuf_add_slice(text, descriptor);
        m.last = d;
    }
    CHECK(!out->has_more || m.n > 0);
    out->last = m.last;
    strbuf_add_str(text, "]}");
}

/* --- the next page of the upstream ------------------------------------------------------------ */

static bool is_next(struct slice relations)
{
    while (relations.ptr) {
        if (slice_equal_case(slice_cut(&relations, ' '), SLICE("next")))
            return true;
    }
    return false;
}

/* Cuts one parameter off (";name=value", the value perhaps quoted) and says whether it is a rel of
 * "next". */
static bool cut_parameter(struct slice *rest)
{
    size_t n = 1;
    bool is_quoted = false;

    for (; n < rest->len; n++) {
        char c = rest->ptr[n];
        if (c == '"')
            is_quoted = !is_quoted;
        if (!is_quoted && (c == ';' || c == ','))
            break;
    }
    struct slice value = {rest->ptr + 1, n - 1};
    *rest = (struct slice){rest->ptr + n, rest->len - n};
    struct slice name = slice_trim(slice_cut(&value, '='));
    value = slice_trim(value);
    if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
        value = (struct slice){value.ptr + 1, value.len - 2};
    return slice_equal_case(name, SLICE("rel")) && is_next(value);
}

/* Cuts one link off; its target if it is the next page. */
static bool cut_link(struct slice *rest, struct slice *target)
{
    bool is_wanted = false;

    *rest = slice_trim(*rest);
    if (!rest->len || rest->ptr[0] != '<' || !memchr(rest->ptr, '>', rest->len)) {
        *rest = SLICE_NONE;
        return false;
    }
    *rest = (struct slice){rest->ptr + 1, rest->len - 1};
    *target = slice_cut(rest, '>');
    for (*rest = slice_trim(*rest); rest->len && rest->ptr[0] == ';'; *rest = slice_trim(*rest))
        is_wanted = cut_parameter(rest) || is_wanted;
    if (rest->len && rest->ptr[0] == ',')
        *rest = (struct slice){rest->ptr + 1, rest->len - 1};
    else
        *rest = SLICE_NONE;
    return is_wanted;
}

/* The path leads to the same list: it is empty, or ends in "/referrers/<subject>". */
static bool is_of_subject(struct slice path, const struct digest *subject)
{
    struct strbuf plain = STRBUF_INIT;
    char end[DIGEST_TEXT_SIZE + 16] = "/referrers/";

    digest_format(subject, end + strlen(end));
    bool is_right =
        path.len == 0 || (url_add_decoded(&plain, path) &&
                          slice_ends((struct slice){plain.ptr, plain.len}, slice_of(end)));
    strbuf_fini(&plain);
    return is_right;
}

int referrer_page_next(struct slice link, const struct digest *subject, struct strbuf *query)
{
    struct slice target = SLICE_NONE;
    bool has_next = false;

    while (link.ptr && !has_next)
        has_next = cut_link(&link, &target);
    if (!has_next)
        return -ENOENT;
    struct slice without_fragment = slice_cut(&target, '#');
    struct slice rest = without_fragment;
    struct slice path = slice_cut(&rest, '?');
    if (!rest.len || rest.len > QUERY_MAX_BYTES || !is_of_subject(path, subject))
        return -EBADMSG;
    strbuf_add_slice(query, rest);
    return 0;
}
