#include "config.h"

#include "mirrord/blob_body.h"

#include "base/check.h"
#include "cache/store.h"

/* hot */
static int do_next(void *source, uint64_t off, uint64_t want, struct body_part *out)
{
    const struct blob *blob = source;
    uint64_t size = blob_size(blob);

    CHECK(off < size);
    *out = (struct body_part){
        .fd = blob_fd(blob), .off = off, .len = want < size - off ? want : size - off};
    return 1;
}

static void do_close(void *source)
{
    struct blob *blob = source;

    blob_unref(&blob);
}

const struct object_source BLOB_BODY_OPS = {{do_next, do_close}, NULL};
