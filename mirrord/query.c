#include "config.h"

#include "mirrord/query.h"

#include <errno.h>

#include "base/check.h"
#include "mirrord/name.h"

int query_next(struct slice *query, const char *name, char *out, size_t out_size)
{
    CHECK(out_size > 0);
    while (query->ptr) {
        struct slice value = slice_cut(query, '&');
        struct slice key = slice_cut(&value, '=');
        if (!slice_equal(key, slice_of(name)))
            continue;
        int len = value.ptr ? name_decode(value, false, out, out_size - 1) : 0;
        if (len >= 0)
            out[len] = '\0';
        return len;
    }
    return -ENOENT;
}

int query_find(struct slice query, const char *name, char *out, size_t out_size)
{
    return query_next(&query, name, out, out_size);
}
