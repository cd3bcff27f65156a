#include "config.h"

#include "mirrord/name_page.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

static int compare(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

size_t name_page_sort(const char **names, size_t n)
{
    size_t kept = 0;

    if (n == 0)
        return 0;
    qsort(names, n, sizeof(names[0]), compare);
    for (size_t i = 1; i < n; i++) {
        if (strcmp(names[i], names[kept]) != 0)
            names[++kept] = names[i];
    }
    return kept + 1;
}

/* Whether a name may be told although the run has not been read to its end. */
static bool is_hidden(const struct name_run *run, const char *name)
{
    return run->has_more && run->n > 0 && strcmp(name, run->names[run->n - 1]) > 0;
}

void name_page_merge(const struct name_run *a, const struct name_run *b, size_t limit,
                     const char **room, struct name_run *out)
{
    size_t i = 0, j = 0;

    out->names = room;
    out->n = 0;
    out->has_more = a->has_more || b->has_more;
    while (i < a->n || j < b->n) {
        int order = i == a->n ? 1 : j == b->n ? -1 : strcmp(a->names[i], b->names[j]);
        const char *name = order <= 0 ? a->names[i] : b->names[j];
        if (is_hidden(a, name) || is_hidden(b, name))
            break;
        if (out->n == limit) {
            out->has_more = true;
            break;
        }
        room[out->n++] = name;
        i += order <= 0;
        j += order >= 0;
    }
    CHECK(out->n <= limit);
}

void name_page_print(const struct name_run *run, const char *key, struct slice name,
                     struct strbuf *out)
{
    strbuf_add_char(out, '{');
    if (name.len) {
        strbuf_add_str(out, "\"name\":\"");
        strbuf_add_json(out, name);
        strbuf_add_str(out, "\",");
    }
    strbuf_addf(out, "\"%s\":[", key);
    for (size_t i = 0; i < run->n; i++) {
        strbuf_add_str(out, i ? ",\"" : "\"");
        strbuf_add_json(out, slice_of(run->names[i]));
        strbuf_add_char(out, '"');
    }
    strbuf_add_str(out, "]}\n");
}

/* RFC 3986 section 2.3. */
static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

void name_page_query(struct slice last, uint64_t limit, struct strbuf *out)
{
    CHECK(last.len > 0 || limit > 0);
    if (last.len)
        strbuf_add_str(out, "last=");
    for (size_t i = 0; i < last.len; i++) {
        if (is_unreserved(last.ptr[i]))
            strbuf_add_char(out, last.ptr[i]);
        else
            strbuf_addf(out, "%%%02X", (unsigned char)last.ptr[i]);
    }
    if (limit) {
        strbuf_add_str(out, last.len ? "&n=" : "n=");
        strbuf_add_u64(out, limit);
    }
}
