/*
 * Content digests ("sha256:<64 hex>", "sha512:<128 hex>"; OCI image-spec, descriptor.md#digests)
 * and the hashing behind them (OpenSSL EVP). struct digest is a value: copy it, compare it with
 * digest_equal(). A struct hasher has one owner; it may move between threads but not be shared.
 */
#ifndef BASE_DIGEST_H
#define BASE_DIGEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum digest_alg { DIGEST_SHA256, DIGEST_SHA512, DIGEST_ALG_MAX };

struct digest {
    enum digest_alg alg;
    uint8_t bytes[64]; /* the first digest_size() count, the rest is zero */
};

#define DIGEST_TEXT_SIZE (7 + 128 + 1) /* the longest text form and NUL */

size_t digest_size(enum digest_alg alg); /* in bytes: 32 or 64 */
const char *digest_alg_name(enum digest_alg alg);
/* Strict: known algorithm, exact length, lower-case hex, nothing behind. */
bool digest_parse(struct slice text, struct digest *out);
/* The same for the hex part alone, as it stands in names of files. */
bool digest_parse_hex(enum digest_alg alg, struct slice hex, struct digest *out);
bool digest_equal(const struct digest *a, const struct digest *b);
/* "sha256:…"; returns the length without NUL. */
size_t digest_format(const struct digest *d, char out[DIGEST_TEXT_SIZE]);
/* Only the hex part; returns its length. */
size_t digest_hex(const struct digest *d, char out[DIGEST_TEXT_SIZE]);
/* A hash-table key: the first eight bytes of the digest. */
uint64_t digest_key(const struct digest *d);
/* The digest of n bytes in memory. */
void digest_of(enum digest_alg alg, const void *p, size_t n, struct digest *out);

struct hasher;
struct hasher *hasher_new(enum digest_alg alg);
void hasher_update(struct hasher *h, const void *p, size_t n);
/* The digest of everything so far; the hasher can only be freed after it. */
void hasher_final(struct hasher *h, struct digest *out);
void hasher_free(struct hasher **h);

#endif
