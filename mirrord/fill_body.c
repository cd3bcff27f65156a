#include "config.h"

#include "mirrord/fill_body.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"

struct fill_body {
    struct fill *fill;
    struct fill_reader *reader;
    bool has_read; /* fill_reader_limit is over */
    uint64_t off, end;
    fill_wake_fn wake; /* NULL once the reply is to be woken */
    void *arg;
    struct reply *reply;
    bool is_waiting; /* next returned 0 */
};

static void on_wake(void *arg)
{
    struct fill_body *b = arg;

    if (b->wake) {
        b->wake(b->arg);
    } else if (b->is_waiting) {
        b->is_waiting = false;
        reply_wake(b->reply);
    }
}

struct fill_body *fill_body_new(struct fill *f, uint64_t off, uint64_t end, fill_wake_fn wake,
                                void *arg)
{
    struct fill_body *b = xcalloc(1, sizeof(*b));

    CHECK(wake);
    b->fill = fill_ref(f);
    b->wake = wake;
    b->arg = arg;
    b->off = off;
    b->end = end;
    b->reader = fill_reader_open(f, off, end, on_wake, b);
    return b;
}

bool fill_body_want_size(struct fill_body *b)
{
    return fill_reader_want_size(b->reader);
}

/* Reads [off, end) from now on. The old reader is closed after the new one is open, so that the
 * fill never seems to have lost its last reader. */
static void seek_reader(struct fill_body *b, uint64_t off, uint64_t end)
{
    struct fill_reader *old = b->reader;

    if (b->off == off && b->end == end)
        return;
    b->off = off;
    b->end = end;
    if (!b->has_read) {
        fill_reader_limit(b->reader, off, end);
        return;
    }
    b->has_read = false;
    b->reader = fill_reader_open(b->fill, off, end, on_wake, b);
    fill_reader_close(&old);
}

void fill_body_start(struct fill_body *b, struct reply *r, uint64_t off, uint64_t end)
{
    CHECK(!b->reply);
    b->wake = NULL;
    b->reply = r;
    seek_reader(b, off, end);
}

static int do_next(void *source, uint64_t off, uint64_t want, struct body_part *out)
{
    struct fill_body *b = source;
    struct fill_bytes bytes;

    CHECK(off >= b->off && off < b->end);
    b->has_read = true;
    int rc = fill_reader_next(b->reader, off, want, &bytes);
    b->is_waiting = rc == 0;
    if (rc == 1)
        *out = (struct body_part){.fd = bytes.fd, .off = bytes.off, .len = bytes.len};
    return rc;
}

/* May run inside the reader's wake-up (a reply that is woken and ends). */
static void free_body(void *arg)
{
    free(arg);
}

void fill_body_free(struct fill_body **bb)
{
    struct fill_body *b = *bb;

    if (!b)
        return;
    *bb = NULL;
    fill_reader_close(&b->reader);
    fill_unref(&b->fill);
    worker_bury(worker_current(), free_body, b);
}

static void do_close(void *source)
{
    struct fill_body *b = source;

    fill_body_free(&b);
}

static void do_seek(void *source, uint64_t off, uint64_t end)
{
    seek_reader(source, off, end);
}

const struct object_source FILL_BODY_OPS = {{do_next, do_close}, do_seek};
