#include "config.h"

#include "base/digest.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/alloc.h"
#include "base/check.h"

static const struct {
    const char *name;
    size_t size;
} ALGS[] = {
    [DIGEST_SHA256] = {"sha256", 32},
    [DIGEST_SHA512] = {"sha512", 64},
};
_Static_assert(sizeof(ALGS) / sizeof(ALGS[0]) == DIGEST_ALG_MAX, "one row per algorithm");

size_t digest_size(enum digest_alg alg)
{
    CHECK(alg < DIGEST_ALG_MAX);
    return ALGS[alg].size;
}

const char *digest_alg_name(enum digest_alg alg)
{
    CHECK(alg < DIGEST_ALG_MAX);
    return ALGS[alg].name;
}

/* The value of a lower-case hex digit, or -1. */
static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

static bool hex_parse(struct slice hex, uint8_t *out, size_t n)
{
    if (hex.len != 2 * n)
        return false;
    for (size_t i = 0; i < n; i++) {
        int high = hex_value(hex.ptr[2 * i]);
        int low = hex_value(hex.ptr[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

bool digest_parse(struct slice text, struct digest *out)
{
    struct slice rest = text;
    struct slice name = slice_cut(&rest, ':');
    struct digest d;

    if (!rest.ptr)
        return false;
    memset(&d, 0, sizeof(d));
    for (d.alg = 0; d.alg < DIGEST_ALG_MAX; d.alg++) {
        if (!slice_equal(name, slice_of(ALGS[d.alg].name)))
            continue;
        if (!hex_parse(rest, d.bytes, ALGS[d.alg].size))
            return false;
        *out = d;
        return true;
    }
    return false;
}

bool digest_parse_hex(enum digest_alg alg, struct slice hex, struct digest *out)
{
    struct digest d = {.alg = alg};

    if (!hex_parse(hex, d.bytes, ALGS[alg].size))
        return false;
    *out = d;
    return true;
}

bool digest_equal(const struct digest *a, const struct digest *b)
{
    return a->alg == b->alg && memcmp(a->bytes, b->bytes, digest_size(a->alg)) == 0;
}

size_t digest_hex(const struct digest *d, char out[DIGEST_TEXT_SIZE])
{
    static const char HEX[] = "0123456789abcdef";
    size_t n = digest_size(d->alg);

    for (size_t i = 0; i < n; i++) {
        out[2 * i] = HEX[d->bytes[i] >> 4];
        out[2 * i + 1] = HEX[d->bytes[i] & 15];
    }
    out[2 * n] = '\0';
    return 2 * n;
}

size_t digest_format(const struct digest *d, char out[DIGEST_TEXT_SIZE])
{
    const char *name = digest_alg_name(d->alg);
    char hex[DIGEST_TEXT_SIZE];
    size_t n_name = strlen(name);
    size_t n_hex = digest_hex(d, hex);

    memcpy(out, name, n_name);
    out[n_name] = ':';
    memcpy(out + n_name + 1, hex, n_hex + 1);
    return n_name + 1 + n_hex;
}

uint64_t digest_key(const struct digest *d)
{
    uint64_t key;

    memcpy(&key, d->bytes, sizeof(key));
    return key;
}

struct hasher {
    EVP_MD_CTX *ctx;
    enum digest_alg alg;
};

/* OpenSSL's implementation of the algorithm. */
static const EVP_MD *evp_of(enum digest_alg alg)
{
    CHECK(alg < DIGEST_ALG_MAX);
    return alg == DIGEST_SHA512 ? EVP_sha512() : EVP_sha256();
}

struct hasher *hasher_new(enum digest_alg alg)
{
    struct hasher *h = xcalloc(1, sizeof(*h));

    h->alg = alg;
    h->ctx = EVP_MD_CTX_new();
    CHECK(h->ctx);
    CHECK(EVP_DigestInit_ex(h->ctx, evp_of(alg), NULL) == 1);
    return h;
}

void hasher_update(struct hasher *h, const void *p, size_t n)
{
    CHECK(EVP_DigestUpdate(h->ctx, p, n) == 1);
}

void hasher_final(struct hasher *h, struct digest *out)
{
    unsigned n = 0;

    memset(out, 0, sizeof(*out));
    out->alg = h->alg;
    CHECK(EVP_DigestFinal_ex(h->ctx, out->bytes, &n) == 1);
    CHECK(n == digest_size(h->alg));
}

void hasher_free(struct hasher **h)
{
    if (!*h)
        return;
    EVP_MD_CTX_free((*h)->ctx);
    free(*h);
    *h = NULL;
}

void digest_of(enum digest_alg alg, const void *p, size_t n, struct digest *out)
{
    struct hasher *h = hasher_new(alg);

    hasher_update(h, p, n);
    hasher_final(h, out);
    hasher_free(&h);
}
