#include "config.h"

#include "cache/manifest_search.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"

#define PIECE_BYTES (64 * 1024)

static int search(int fd, const struct digest *d, struct digest_search *s)
{
    struct digest found;
    char *piece = xmalloc(PIECE_BYTES);
    struct hasher *hasher = hasher_new(d->alg);
    ssize_t n;

    do {
        n = read(fd, piece, PIECE_BYTES);
        if (n > 0) {
            hasher_update(hasher, piece, (size_t)n);
            digest_search_feed(s, piece, (size_t)n);
        }
    } while (n > 0 || (n < 0 && errno == EINTR));
    int rc = n < 0 ? -errno : 0;
    hasher_final(hasher, &found);
    hasher_free(&hasher);
    free(piece);
    return rc == 0 && !digest_equal(&found, d) ? -EBADMSG : rc;
}

int manifest_search(const char *path, const struct digest *d, digest_found_fn found, void *arg)
{
    struct digest_search s;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    CHECK(found);
    if (fd < 0)
        return -errno;
    digest_search_init(&s, found, arg);
    int rc = search(fd, d, &s);
    close(fd);
    return rc;
}
