#include "config.h"

#include "mirrord/address.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"

/* "/path" behind "unix:". */
static int parse_unix(struct slice path, struct address *out, struct error *err)
{
    if (path.len == 0 || path.ptr[0] != '/')
        return error_set(err, -EINVAL, "a unix socket needs an absolute path");
    if (path.len >= sizeof(out->path))
        return error_set(err, -EINVAL, "the path of a unix socket is longer than %zu bytes",
                         sizeof(out->path) - 1);
    if (memchr(path.ptr, '\0', path.len))
        return error_set(err, -EINVAL, "the path of a unix socket has a NUL in it");
    out->kind = ADDRESS_UNIX;
    memcpy(out->path, path.ptr, path.len);
    return 0;
}

static bool is_host_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '-' || c == '_';
}

/* Cuts the host off *rest, so that ":port" remains; brackets hold an IPv6 address. */
static bool take_host(struct slice *rest, struct slice *host)
{
    size_t n = 0;
    if (rest->len && rest->ptr[0] == '[') {
        const char *end = memchr(rest->ptr, ']', rest->len);
        if (!end)
            return false;
        n = (size_t)(end - rest->ptr) + 1;
        *host = (struct slice){rest->ptr + 1, n - 2};
        for (size_t i = 0; i < host->len; i++)
            if (!is_host_char(host->ptr[i]) && host->ptr[i] != ':' && host->ptr[i] != '%')
                return false;
        if (host->len == 0)
            return false;
    } else {
        while (n < rest->len && is_host_char(rest->ptr[n]))
            n++;
        *host = (struct slice){rest->ptr, n};
    }
    rest->ptr += n;
    rest->len -= n;
    return true;
}

static int parse_tcp(struct slice text, struct address *out, struct error *err)
{
    struct slice host;
    uint64_t port;
    if (!take_host(&text, &host) || host.len >= sizeof(out->host))
        return error_set(err, -EINVAL, "no usable host");
    if (text.len == 0 || text.ptr[0] != ':')
        return error_set(err, -EINVAL, "no port behind the host");
    if (!slice_to_u64((struct slice){text.ptr + 1, text.len - 1}, &port) || port > UINT16_MAX)
        return error_set(err, -EINVAL, "no usable port");
    out->kind = ADDRESS_TCP;
    out->port = (uint16_t)port;
    memcpy(out->host, host.ptr, host.len);
    return 0;
}

int address_parse(struct slice text, struct address *out, struct error *err)
{
    struct address parsed = {.kind = ADDRESS_OFF};
    int rc = 0;
    CHECK(out);
    text = slice_trim(text);
    if (slice_starts(text, SLICE("unix:")))
        rc = parse_unix((struct slice){text.ptr + 5, text.len - 5}, &parsed, err);
    else if (!slice_equal_case(text, SLICE("off")))
        rc = parse_tcp(text, &parsed, err);
    if (rc == 0)
        *out = parsed;
    return rc;
}
