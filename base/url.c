#include "config.h"

#include "base/url.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>

#include "base/check.h"

/* What a reference is cut into (RFC 3986 appendix B); an absent part has ptr NULL. */
struct parts {
    struct slice scheme;
    struct slice authority;
    struct slice path; /* never absent, maybe empty */
    struct slice query;
};

static bool is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static struct slice sub(struct slice s, size_t from, size_t to)
{
    CHECK(from <= to && to <= s.len);
    return (struct slice){s.ptr + from, to - from};
}

/* Where the first of the characters in `set` stands; len when none does. */
static size_t find_any(struct slice s, size_t from, const char *set)
{
    size_t i = from;

    while (i < s.len && !strchr(set, s.ptr[i]))
        i++;
    return i;
}

/* Visible ASCII only, no backslash (some parsers take it for a slash), whole percent triplets. */
static bool has_only_url_bytes(struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (c <= 0x20 || c >= 0x7f || c == '\\')
            return false;
        if (c == '%' && (s.len - i < 3 || slice_hex_digit(s.ptr[i + 1]) < 0 ||
                         slice_hex_digit(s.ptr[i + 2]) < 0))
            return false;
    }
    return true;
}

/* The length of the scheme in front of a colon; 0 when the reference has none. */
static size_t scheme_length(struct slice s)
{
    size_t i = 0;

    while (i < s.len &&
           (is_alpha(s.ptr[i]) || (i && (is_digit(s.ptr[i]) || strchr("+-.", s.ptr[i])))))
        i++;
    return i < s.len && s.ptr[i] == ':' ? i : 0;
}

static struct parts cut_parts(struct slice s)
{
    struct parts p = {.scheme = SLICE_NONE};
    size_t at, n_scheme = scheme_length(s);

    s.len = find_any(s, 0, "#");
    if (n_scheme) {
        p.scheme = sub(s, 0, n_scheme);
        s = sub(s, n_scheme + 1, s.len);
    }
    if (slice_starts(s, SLICE("//"))) {
        at = find_any(s, 2, "/?");
        p.authority = sub(s, 2, at);
        s = sub(s, at, s.len);
    }
    at = find_any(s, 0, "?");
    p.path = sub(s, 0, at);
    if (at < s.len)
        p.query = sub(s, at + 1, s.len);
    return p;
}

/* An IPv6 address with its brackets, without a zone. */
static bool is_ip_literal(struct slice host)
{
    struct in6_addr address;
    char text[INET6_ADDRSTRLEN];

    if (host.len < 4 || host.ptr[0] != '[' || host.ptr[host.len - 1] != ']' ||
        host.len - 2 >= sizeof(text))
        return false;
    memcpy(text, host.ptr + 1, host.len - 2);
    text[host.len - 2] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1;
}

/* Letters, digits, hyphen, underscore, in labels separated by single dots. */
static bool is_host_name(struct slice host)
{
    if (host.len == 0 || host.len > 253)
        return false;
    for (size_t i = 0; i < host.len; i++) {
        char c = host.ptr[i];
        if (c == '.' && (i == 0 || host.ptr[i - 1] == '.'))
            return false;
        if (!is_alpha(c) && !is_digit(c) && c != '.' && c != '-' && c != '_')
            return false;
    }
    return true;
}

/* Cuts "host[:port]"; the port is that of the scheme when it is not told. */
static int cut_authority(struct slice authority, struct slice *host, uint16_t *port,
                         struct error *err)
{
    uint64_t n;
    size_t at;

    if (find_any(authority, 0, "@") < authority.len)
        return error_set(err, -EINVAL, "URL with user information");
    if (authority.len && authority.ptr[0] == '[') {
        at = find_any(authority, 0, "]");
        at += at < authority.len;
    } else {
        at = find_any(authority, 0, ":");
    }
    *host = sub(authority, 0, at);
    if (!is_ip_literal(*host) && !is_host_name(*host))
        return error_set(err, -EINVAL, "URL with a host name that is not one");
    if (at == authority.len)
        return 0;
    struct slice digits = sub(authority, at + 1, authority.len);
    if (authority.ptr[at] != ':' || !slice_to_u64(digits, &n) || n == 0 || n > 65535)
        return error_set(err, -EINVAL, "URL with a port that is not one");
    *port = (uint16_t)n;
    return 0;
}

/* Writes the normal form of the checked parts and points the slices into it. */
static void compose(const struct parts *p, struct slice host, uint16_t port, struct url *out)
{
    struct strbuf b = STRBUF_INIT;
    bool is_https = slice_equal_case(p->scheme, SLICE("https"));
    size_t host_at, path_at, query_at;

    strbuf_add_str(&b, is_https ? "https://" : "http://");
    host_at = b.len;
    for (size_t i = 0; i < host.len; i++)
        strbuf_add_char(&b, to_lower(host.ptr[i]));
    if (port != (is_https ? 443 : 80))
        strbuf_addf(&b, ":%u", port);
    path_at = b.len;
    if (p->path.len == 0)
        strbuf_add_char(&b, '/');
    strbuf_add_slice(&b, p->path);
    query_at = b.len;
    if (p->query.ptr) {
        strbuf_add_char(&b, '?');
        strbuf_add_slice(&b, p->query);
    }
    CHECK(path_at > host_at && query_at > path_at);
    struct slice all = {b.ptr, b.len};
    *out = (struct url){.is_https = is_https, .port = port};
    out->host = sub(all, host_at, host_at + host.len);
    out->origin = sub(all, 0, path_at);
    out->path = sub(all, path_at, query_at);
    out->query = p->query.ptr ? sub(all, query_at + 1, all.len) : SLICE_NONE;
    out->text = strbuf_take(&b);
}

static int from_parts(const struct parts *p, struct url *out, struct error *err)
{
    bool is_https = slice_equal_case(p->scheme, SLICE("https"));
    uint16_t port = is_https ? 443 : 80;
    struct slice host = SLICE_NONE;

    if (!is_https && !slice_equal_case(p->scheme, SLICE("http")))
        return error_set(err, -EINVAL, "URL that is neither http nor https");
    if (!p->authority.ptr)
        return error_set(err, -EINVAL, "URL without a host");
    int rc = cut_authority(p->authority, &host, &port, err);
    if (rc < 0)
        return rc;
    /* Merging with a base may have made it longer than what was read. */
    if (p->authority.len + p->path.len + p->query.len + sizeof("https:///?") > URL_BYTES_MAX)
        return error_set(err, -EINVAL, "URL longer than %d bytes", URL_BYTES_MAX);
    compose(p, host, port, out);
    return 0;
}

static int check_bytes(struct slice text, struct error *err)
{
    if (text.len > URL_BYTES_MAX)
        return error_set(err, -EINVAL, "URL longer than %d bytes", URL_BYTES_MAX);
    if (!has_only_url_bytes(text))
        return error_set(err, -EINVAL, "URL with bytes that do not belong into one");
    return 0;
}

int url_parse(struct slice text, struct url *out, struct error *err)
{
    int rc = check_bytes(text, err);

    if (rc < 0)
        return rc;
    struct parts p = cut_parts(text);
    return from_parts(&p, out, err);
}

/* Drops the last segment of what was written behind `start`, with the slash before it. */
static void drop_segment(struct strbuf *b, size_t start)
{
    while (b->len > start && b->ptr[b->len - 1] != '/')
        b->len--;
    if (b->len > start)
        b->len--;
    if (b->ptr)
        b->ptr[b->len] = '\0';
}

/* RFC 3986 section 5.2.4, for a path that begins with a slash. */
static void add_without_dots(struct strbuf *b, struct slice path)
{
    size_t start = b->len;

    CHECK(path.len && path.ptr[0] == '/');
    for (size_t at = 0; at < path.len;) {
        size_t end = find_any(path, at + 1, "/");
        struct slice segment = sub(path, at, end); /* with its slash in front */
        bool is_last = end == path.len;

        if (slice_equal(segment, SLICE("/.."))) {
            drop_segment(b, start);
            if (is_last)
                strbuf_add_char(b, '/');
        } else if (slice_equal(segment, SLICE("/."))) {
            if (is_last)
                strbuf_add_char(b, '/');
        } else {
            strbuf_add_slice(b, segment);
        }
        at = end;
    }
}

/* The path of a reference that has no authority, merged with the base's (section 5.2.3). */
static void add_merged_path(struct strbuf *b, const struct url *base, struct slice path)
{
    struct strbuf merged = STRBUF_INIT;
    size_t keep = base->path.len;

    if (path.ptr[0] != '/') {
        while (base->path.ptr[keep - 1] != '/')
            keep--;
        strbuf_add(&merged, base->path.ptr, keep);
    }
    strbuf_add_slice(&merged, path);
    add_without_dots(b, (struct slice){merged.ptr, merged.len});
    strbuf_fini(&merged);
}

int url_resolve(const struct url *base, struct slice reference, struct url *out, struct error *err)
{
    struct strbuf path = STRBUF_INIT;
    int rc = check_bytes(reference, err);

    CHECK(base->text);
    if (rc < 0)
        return rc;
    struct parts p = cut_parts(reference);
    if (p.authority.ptr || p.scheme.ptr) {
        if (p.path.len && p.path.ptr[0] == '/')
            add_without_dots(&path, p.path);
    } else if (p.path.len) {
        add_merged_path(&path, base, p.path);
    } else {
        strbuf_add_slice(&path, base->path);
        p.query = p.query.ptr ? p.query : base->query;
    }
    if (!p.authority.ptr && !p.scheme.ptr)
        p.authority = url_authority(base);
    if (!p.scheme.ptr)
        p.scheme = base->is_https ? SLICE("https") : SLICE("http");
    p.path = (struct slice){path.ptr, path.len};
    rc = from_parts(&p, out, err);
    strbuf_fini(&path);
    return rc;
}

void url_copy(const struct url *u, struct url *out)
{
    CHECK(u->text);
    /* The normal form parses to itself. */
    CHECK(url_parse(slice_of(u->text), out, NULL) == 0);
}

void url_fini(struct url *u)
{
    free(u->text);
    *u = (struct url)URL_NONE;
}

bool url_same_origin(const struct url *a, const struct url *b)
{
    return slice_equal(a->origin, b->origin);
}

bool url_same_host(const struct url *a, const struct url *b)
{
    return slice_equal(a->host, b->host);
}

bool url_host_is_address(const struct url *u)
{
    size_t end = u->host.len, start;

    CHECK(u->text && end > 0);

    if (u->host.ptr[0] == '[')
        return true;
    if (u->host.ptr[end - 1] == '.')
        end--;
    for (start = end; start > 0 && u->host.ptr[start - 1] != '.';)
        start--;
    /* No top-level domain begins with a digit; "0x7f.1" and "2130706433" are addresses too. */
    return start < end && is_digit(u->host.ptr[start]);
}

struct slice url_authority(const struct url *u)
{
    size_t skip = u->is_https ? sizeof("https://") - 1 : sizeof("http://") - 1;

    return sub(u->origin, skip, u->origin.len);
}

void url_add_encoded(struct strbuf *b, struct slice s, const char *keep)
{
    static const char hex[] = "0123456789ABCDEF";

    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c && (is_alpha((char)c) || is_digit((char)c) || strchr("-._~", c) || strchr(keep, c))) {
            strbuf_add_char(b, (char)c);
        } else {
            strbuf_add_char(b, '%');
            strbuf_add_char(b, hex[c >> 4]);
            strbuf_add_char(b, hex[c & 15]);
        }
    }
}

bool url_add_decoded(struct strbuf *b, struct slice s)
{
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '%') {
            strbuf_add_char(b, s.ptr[i]);
            continue;
        }
        int high = s.len - i >= 3 ? slice_hex_digit(s.ptr[i + 1]) : -1;
        int low = s.len - i >= 3 ? slice_hex_digit(s.ptr[i + 2]) : -1;
        if (high < 0 || low < 0 || high + low == 0)
            return false;
        strbuf_add_char(b, (char)(high * 16 + low));
        i += 2;
    }
    return true;
}
