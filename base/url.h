/*
 * Absolute http and https URLs (RFC 3986), read strictly, kept in one normal form: scheme and host
 * in lower case, the default port left out, at least "/" as path, no fragment, never user
 * information. A URL that parses here is safe to hand to the HTTP client as it is.
 *
 * struct url is embedded by value and owns its text; its slices point into it and live as long.
 * One owner, one thread; reading it from many threads is fine. At most URL_BYTES_MAX bytes.
 */
#ifndef BASE_URL_H
#define BASE_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "base/strbuf.h"

#define URL_BYTES_MAX 16384 /* presigned URLs of object stores reach some 4 KiB */

struct url {
    char *text; /* the whole, NUL-terminated */
    bool is_https;
    uint16_t port;
    struct slice host;   /* lower case; an IPv6 address with its brackets */
    struct slice origin; /* "https://host[:port]" */
    struct slice path;   /* from the first slash up to the query */
    struct slice query;  /* behind the question mark; ptr is NULL when there is none */
};

#define URL_NONE                                                                                   \
    {                                                                                              \
        .text = NULL                                                                               \
    }

/* 0, or -EINVAL with the reason; *out is untouched then. A fragment is dropped. */
int url_parse(struct slice text, struct url *out, struct error *err);
/* What a reference found at `base` means (RFC 3986 section 5): absolute, //host, /path, path,
 * ?query or empty. Used for Location. */
int url_resolve(const struct url *base, struct slice reference, struct url *out, struct error *err);
void url_copy(const struct url *u, struct url *out);
/* Frees the text; harmless on URL_NONE. */
void url_fini(struct url *u);

/* Same scheme, host and port (RFC 6454). */
bool url_same_origin(const struct url *a, const struct url *b);
bool url_same_host(const struct url *a, const struct url *b);
/* The host is an IPv4 or IPv6 address, in any spelling a resolver would take for one. */
bool url_host_is_address(const struct url *u);
/* "host" or "host:port" when the port is not the scheme's own. */
struct slice url_authority(const struct url *u);

/* Appends `s` percent-encoded: all but unreserved characters and those in `keep`. */
void url_add_encoded(struct strbuf *b, struct slice s, const char *keep);
/* Undoes percent-encoding. False when a % is not followed by two hex digits, or makes a NUL. */
bool url_add_decoded(struct strbuf *b, struct slice s);

#endif
