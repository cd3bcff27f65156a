/*
 * A listen address as people write it: "host:port", "[IPv6]:port", ":port" (every address),
 * "unix:/path", or "off". Syntax only, nothing is resolved. A value; any thread.
 */
#ifndef MIRRORD_ADDRESS_H
#define MIRRORD_ADDRESS_H

#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

enum address_kind { ADDRESS_OFF, ADDRESS_TCP, ADDRESS_UNIX, ADDRESS_KIND_MAX };

struct address {
    enum address_kind kind;
    uint16_t port;
    char host[256]; /* without brackets; empty: every address */
    char path[108]; /* as large as sun_path */
};

/* 0, or -EINVAL with the reason. */
int address_parse(struct slice text, struct address *out, struct error *err);

#endif
