/* Chunked framing: any bytes, in one piece and byte by byte, must give the same payload. */
#include "config.h"

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "mirrord/body.h"
#include "mirrord/head.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    int rc;
    bool is_complete;
    size_t n_used, n_payload;
};

/* Decodes the bytes at `text` in pieces; the payload is gathered at its front. */
static struct outcome decode(char *text, size_t size, size_t n_piece)
{
    static const struct head CHUNKED = {.is_chunked = true};
    struct outcome o = {0};
    struct body b;

    body_init(&b, &CHUNKED);
    while (o.n_used < size && !body_is_complete(&b)) {
        size_t n = size - o.n_used < n_piece ? size - o.n_used : n_piece, n_used, n_payload;
        o.rc = body_decode(&b, text + o.n_used, n, &n_used, &n_payload);
        if (o.rc < 0)
            return o;
        CHECK(n_used <= n && n_payload <= n_used);
        CHECK(n_used == n || body_is_complete(&b));
        memmove(text + o.n_payload, text + o.n_used, n_payload);
        o.n_used += n_used;
        o.n_payload += n_payload;
    }
    o.is_complete = body_is_complete(&b);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *whole = malloc(size + 1), *pieces = malloc(size + 1);

    CHECK(whole && pieces);
    memcpy(whole, data, size);
    memcpy(pieces, data, size);
    struct outcome a = decode(whole, size, size + 1), b = decode(pieces, size, 1);
    CHECK(a.rc == b.rc);
    if (a.rc == 0) {
        CHECK(a.is_complete == b.is_complete && a.n_used == b.n_used);
        CHECK(a.n_payload == b.n_payload && memcmp(whole, pieces, a.n_payload) == 0);
    }
    free(whole);
    free(pieces);
    return 0;
}
