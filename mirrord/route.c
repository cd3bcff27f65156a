#include "config.h"

#include "mirrord/route.h"

#include <stddef.h>
#include <string.h>

#include "base/check.h"

struct row {
    const char *name;
    const char *allow;
    unsigned methods; /* the same as a set */
};

#define BIT(method) (1u << (method))
#define READ (BIT(HTTP_GET) | BIT(HTTP_HEAD))

/* clang-format off */
static const struct row ROWS[] = {
    [ROUTE_UNKNOWN]   = {"unknown", "", 0},
    [ROUTE_ROOT]      = {"root", "GET, HEAD", READ},
    [ROUTE_PING]      = {"ping", "GET, HEAD", READ},
    [ROUTE_VERSION]   = {"version", "GET, HEAD", READ},
    [ROUTE_CATALOG]   = {"catalog", "GET, HEAD", READ},
    [ROUTE_MANIFEST]  = {"manifest", "GET, HEAD, PUT, DELETE", READ | BIT(HTTP_PUT) | BIT(HTTP_DELETE)},
    [ROUTE_BLOB]      = {"blob", "GET, HEAD, DELETE", READ | BIT(HTTP_DELETE)},
    [ROUTE_TAGS]      = {"tags", "GET, HEAD", READ},
    [ROUTE_UPLOADS]   = {"uploads", "POST", BIT(HTTP_POST)},
    [ROUTE_UPLOAD]    = {"upload", "GET, HEAD, PATCH, PUT, DELETE",
                         READ | BIT(HTTP_PATCH) | BIT(HTTP_PUT) | BIT(HTTP_DELETE)},
    [ROUTE_REFERRERS] = {"referrers", "GET, HEAD", READ},
};
/* clang-format on */
_Static_assert(sizeof(ROWS) / sizeof(ROWS[0]) == ROUTE_MAX, "a row for every route");

const char *route_name(enum route_id id)
{
    CHECK(id < ROUTE_MAX);
    return ROWS[id].name;
}

/* Cuts the last component off *path and returns it; *path keeps what stands before its slash. */
static struct slice cut_last(struct slice *path)
{
    size_t i = path->len;

    while (i > 0 && path->ptr[i - 1] != '/')
        i--;
    struct slice last = {path->ptr + i, path->len - i};
    path->len = i > 0 ? i - 1 : 0;
    return last;
}

/* What stands behind "/v2/" and is no fixed name: <name>/<kind>/<reference>. */
static void read_resource(struct slice rest, struct route *out)
{
    struct slice before = rest;
    struct slice last = cut_last(&before);
    struct slice kind = cut_last(&before);

    out->repo = before;
    out->reference = last;
    if (slice_equal(kind, SLICE("manifests"))) {
        out->id = ROUTE_MANIFEST;
    } else if (slice_equal(kind, SLICE("blobs"))) {
        out->id = slice_equal(last, SLICE("uploads")) ? ROUTE_UPLOADS : ROUTE_BLOB;
    } else if (slice_equal(kind, SLICE("referrers"))) {
        out->id = ROUTE_REFERRERS;
    } else if (slice_equal(kind, SLICE("tags")) && slice_equal(last, SLICE("list"))) {
        out->id = ROUTE_TAGS;
    } else if (slice_equal(kind, SLICE("uploads"))) {
        if (slice_equal(cut_last(&before), SLICE("blobs"))) {
            out->id = last.len > 0 ? ROUTE_UPLOAD : ROUTE_UPLOADS;
            out->repo = before;
        }
    }
}

/* Where "/v2/", or "/v2" at the end, begins for the first time; path.len if nowhere. */
static size_t find_v2(struct slice path)
{
    for (size_t i = 0; i + 3 <= path.len; i++)
        if (memcmp(path.ptr + i, "/v2", 3) == 0 && (i + 3 == path.len || path.ptr[i + 3] == '/'))
            return i;
    return path.len;
}

static void read_path(struct slice path, struct route *out)
{
    static const struct slice V2 = {"/v2/", 4};
    size_t base_len = find_v2(path);

    if (base_len > 0 && base_len < path.len && path.ptr[0] == '/') {
        out->base = (struct slice){path.ptr, base_len};
        path = (struct slice){path.ptr + base_len, path.len - base_len};
    }

    if (slice_equal(path, SLICE("/")))
        out->id = ROUTE_ROOT;
    else if (slice_equal(path, SLICE("/_ping")) || slice_equal(path, SLICE("/v1/_ping")))
        out->id = ROUTE_PING;
    else if (slice_equal(path, SLICE("/v2/")) || slice_equal(path, SLICE("/v2")))
        out->id = ROUTE_VERSION;
    else if (slice_equal(path, SLICE("/v2/_catalog")))
        out->id = ROUTE_CATALOG;
    else if (slice_starts(path, V2))
        read_resource((struct slice){path.ptr + V2.len, path.len - V2.len}, out);
    out->allow = ROWS[out->id].allow;
}

/* n and last; other parameters (ns, …) are not ours to judge. */
static enum api_error read_query(struct slice query, struct route *out)
{
    while (query.ptr) {
        struct slice value = slice_cut(&query, '&');
        struct slice key = slice_cut(&value, '=');
        if (slice_equal(key, SLICE("n"))) {
            if (!slice_to_u64(value, &out->n))
                return API_ERROR_PAGE_INVALID;
            out->has_n = true;
        } else if (slice_equal(key, SLICE("last"))) {
            int len = name_decode(value, false, out->last_text, sizeof(out->last_text));
            if (len < 0)
                return API_ERROR_PAGE_INVALID;
            out->last = (struct slice){out->last_text, (size_t)len};
        }
    }
    return API_ERROR_NONE;
}

/* The grammar of the parts that read_path cut out. */
static enum api_error check_parts(struct route *out)
{
    if (!name_is_full(out->repo))
        return API_ERROR_NAME_INVALID;
    if (out->id == ROUTE_TAGS || out->id == ROUTE_UPLOADS || out->id == ROUTE_UPLOAD)
        return API_ERROR_NONE;
    out->is_digest = digest_parse(out->reference, &out->digest);
    if (out->is_digest)
        return API_ERROR_NONE;
    if (out->id == ROUTE_BLOB || out->id == ROUTE_REFERRERS ||
        memchr(out->reference.ptr, ':', out->reference.len))
        return API_ERROR_DIGEST_INVALID;
    return name_is_tag(out->reference) ? API_ERROR_NONE : API_ERROR_TAG_INVALID;
}

enum api_error route_parse(enum http_method method, struct slice path, struct slice query,
                           struct route *out)
{
    memset(out, 0, offsetof(struct route, path_text));
    if (name_is_encoded(path)) {
        int len = name_decode(path, true, out->path_text, sizeof(out->path_text));
        if (len < 0) {
            out->allow = "";
            return API_ERROR_NAME_INVALID;
        }
        path = (struct slice){out->path_text, (size_t)len};
    }
    read_path(path, out);
    if (out->id == ROUTE_UNKNOWN)
        return API_ERROR_PATH_UNKNOWN;
    if (!(ROWS[out->id].methods & BIT(method)))
        return API_ERROR_METHOD;
    if (out->id == ROUTE_CATALOG || out->id == ROUTE_TAGS || out->id == ROUTE_REFERRERS) {
        enum api_error error = read_query(query, out);
        if (error != API_ERROR_NONE)
            return error;
    }
    return out->repo.ptr ? check_parts(out) : API_ERROR_NONE;
}
