/*
 * Networks in settings ("10.0.0.0/8", "::1", "fc00::/7"), and whether a client's address lies in
 * one. Literals only, nothing is resolved. Values and pure functions; any thread.
 *
 * An IPv4 client of an IPv6 socket has a mapped address (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2);
 * it is an IPv4 client here, and networks within ::ffff:0:0/96 are IPv4 networks. Beyond that the
 * families do not mix: ::/0 holds no IPv4 client.
 */
#ifndef MIRRORD_NETWORK_H
#define MIRRORD_NETWORK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"

struct sockaddr;

struct network_address {
    bool is_ipv4;
    uint8_t bytes[16]; /* IPv4: the first four, the rest is zero */
};

struct network {
    struct network_address base;
    uint8_t prefix; /* bits that count */
};

/* 0, or -EINVAL with the reason: no address, a prefix that is too long, or bits of the address that
 * the prefix cuts off (somebody meant something else). */
int network_parse(struct slice text, struct network *out, struct error *err);
/* The address of a peer. Who has none (a Unix socket) is on this machine: 127.0.0.1. */
struct network_address network_address_of(const struct sockaddr *peer);
bool network_holds(const struct network *n, const struct network_address *a);

#endif
