#include "config.h"

#include "mirrord/network.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"

#define MAPPED_BITS 96

static const uint8_t MAPPED[MAPPED_BITS / 8] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

static unsigned width(const struct network_address *a)
{
    return a->is_ipv4 ? 32 : 128;
}

static struct network_address of_ipv4(const void *four)
{
    struct network_address a = {.is_ipv4 = true};

    memcpy(a.bytes, four, 4);
    return a;
}

/* A mapped one becomes the IPv4 address it stands for. */
static struct network_address of_ipv6(const uint8_t *sixteen)
{
    struct network_address a = {.is_ipv4 = false};

    if (memcmp(sixteen, MAPPED, sizeof(MAPPED)) == 0)
        return of_ipv4(sixteen + sizeof(MAPPED));
    memcpy(a.bytes, sixteen, sizeof(a.bytes));
    return a;
}

struct network_address network_address_of(const struct sockaddr *peer)
{
    static const uint8_t LOCAL[4] = {127, 0, 0, 1};

    if (peer->sa_family == AF_INET)
        return of_ipv4(&((const struct sockaddr_in *)(const void *)peer)->sin_addr);
    if (peer->sa_family == AF_INET6)
        return of_ipv6(((const struct sockaddr_in6 *)(const void *)peer)->sin6_addr.s6_addr);
    return of_ipv4(LOCAL);
}

/* Whether the first n bits of both are the same. */
static bool has_same_bits(const uint8_t *a, const uint8_t *b, unsigned n)
{
    unsigned n_whole = n / 8;
    unsigned n_rest = n % 8;

    CHECK(n <= 128);
    if (memcmp(a, b, n_whole) != 0)
        return false;
    return n_rest == 0 || (a[n_whole] ^ b[n_whole]) >> (8 - n_rest) == 0;
}

bool network_holds(const struct network *n, const struct network_address *a)
{
    return n->base.is_ipv4 == a->is_ipv4 && has_same_bits(n->base.bytes, a->bytes, n->prefix);
}

/* Whether bits behind the prefix are set. */
static bool has_more_bits(const struct network *n)
{
    struct network_address cut = n->base;

    for (unsigned bit = n->prefix; bit < width(&cut); bit++)
        cut.bytes[bit / 8] &= (uint8_t) ~(0x80u >> bit % 8);
    return memcmp(cut.bytes, n->base.bytes, sizeof(cut.bytes)) != 0;
}

/* The address as written; *n_bits is the width of its own form. */
static bool parse_address(struct slice text, struct network_address *out, unsigned *n_bits)
{
    char name[INET6_ADDRSTRLEN];
    uint8_t bytes[16];

    if (text.len == 0 || text.len >= sizeof(name) || memchr(text.ptr, '\0', text.len))
        return false;
    memcpy(name, text.ptr, text.len);
    name[text.len] = '\0';
    if (inet_pton(AF_INET, name, bytes) == 1) {
        *out = of_ipv4(bytes);
        *n_bits = 32;
        return true;
    }
    *n_bits = 128;
    if (inet_pton(AF_INET6, name, bytes) != 1)
        return false;
    *out = of_ipv6(bytes);
    return true;
}

int network_parse(struct slice text, struct network *out, struct error *err)
{
    struct slice rest = slice_trim(text);
    struct slice address = slice_cut(&rest, '/');
    struct network parsed = {0};
    unsigned n_bits;
    uint64_t prefix;

    if (!parse_address(address, &parsed.base, &n_bits))
        return error_set(err, -EINVAL, "no IPv4 or IPv6 address");
    prefix = n_bits;
    if (rest.ptr && (!slice_to_u64(rest, &prefix) || prefix > n_bits))
        return error_set(err, -EINVAL, "no prefix length from 0 to %u", n_bits);
    if (parsed.base.is_ipv4 && n_bits == 128) {
        if (prefix < MAPPED_BITS)
            return error_set(err, -EINVAL, "a prefix of mapped IPv4 addresses is at least %u long",
                             MAPPED_BITS);
        prefix -= MAPPED_BITS;
    }
    parsed.prefix = (uint8_t)prefix;
    if (has_more_bits(&parsed))
        return error_set(err, -EINVAL, "the address has bits behind the prefix");
    *out = parsed;
    return 0;
}
