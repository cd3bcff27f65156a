/*
 * May the token service that an upstream names be asked? A hostile or hijacked registry could name
 * its own host as realm and collect the credentials configured for it, or make the mirror send
 * requests into the network it stands in. docs/design/realm-trust.md has the rule. Pure.
 */
#ifndef UPSTREAM_REALM_H
#define UPSTREAM_REALM_H

#include <stdbool.h>

#include "base/slice.h"
#include "base/url.h"

/* `allowed`: further hosts ("host" or "host:port"), NULL-terminated, or NULL. */
bool realm_is_trusted(const struct url *realm, const struct url *upstream,
                      const char *const *allowed);
/* The part of a host name under which names have one owner: "docker.io" of "auth.docker.io".
 * ptr NULL where that cannot be told; then a host trusts only itself. */
struct slice realm_domain(struct slice host);

#endif
