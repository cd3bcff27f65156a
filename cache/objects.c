#include "config.h"

#include "cache/objects.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/cache_private.h"
#include "cache/disk.h"
#include "cache/manifest_scan.h"
#include "cache/meta.h"
#include "cache/store.h"

#define N_CONFIGS 8192
#define SCAN_DEPTH_MAX 512
#define KEY_BYTES (8 + DIGEST_TEXT_SIZE)

struct objects {
    struct meta *meta;
    struct errands *errands;
    size_t max_bytes;
    /* Keys of digests, each at its place; the younger of two with one place counts. */
    _Atomic uint64_t configs[N_CONFIGS];
};

/* One that is asked for. */
struct lookup {
    struct errand errand; /* first */
    struct objects *objects;
    struct digest digest;
    size_t max_bytes;
    char *body;
    size_t n_body;
    int rc;
    object_load_fn done;
    void *arg;
};

/* A stored one on its way there. */
struct shipment {
    struct errand errand; /* first */
    struct objects *objects;
    struct blob *blob;
};

struct objects *objects_new(struct meta *meta, struct errands *errands, size_t max_bytes)
{
    struct objects *os = xcalloc(1, sizeof(*os));

    CHECK(meta && errands);
    os->meta = meta;
    os->errands = errands;
    os->max_bytes = max_bytes;
    return os;
}

void objects_free(struct objects **os)
{
    free(*os);
    *os = NULL;
}

static struct slice make_key(const struct digest *d, char text[KEY_BYTES])
{
    size_t n = (size_t)snprintf(text, KEY_BYTES, "blob:");

    return (struct slice){text, n + digest_format(d, text + n)};
}

/* --- reading ---------------------------------------------------------------------------------- */

static void do_check(struct errand *e)
{
    struct lookup *l = (struct lookup *)e;
    struct digest found;
    char text[KEY_BYTES];

    digest_of(l->digest.alg, l->body, l->n_body, &found);
    if (digest_equal(&found, &l->digest))
        return;
    meta_refuse(l->objects->meta, make_key(&l->digest, text));
    l->rc = -EBADMSG;
}

static void on_checked(struct errand *e)
{
    struct lookup *l = (struct lookup *)e;

    CHECK(l->rc <= 0 && l->n_body <= l->max_bytes);
    l->done(l->arg, l->rc, l->rc == 0 ? (struct slice){l->body, l->n_body} : SLICE_NONE);
    free(l->body);
    free(l);
}

static void on_value(void *arg, int rc, struct slice value)
{
    struct lookup *l = arg;

    if (rc == 0 && (value.len == 0 || value.len > l->max_bytes))
        rc = -ENOENT;
    if (rc < 0) {
        l->done(l->arg, rc, SLICE_NONE);
        free(l);
        return;
    }
    l->body = xmemdup0(value.ptr, value.len);
    l->n_body = value.len;
    errand_submit(l->objects->errands, &l->errand, do_check, on_checked);
}

int objects_load(struct objects *os, const struct digest *d, size_t max_bytes, object_load_fn done,
                 void *arg)
{
    char text[KEY_BYTES];

    if (!os)
        return -ENOENT;
    CHECK(worker_current() && done);
    struct lookup *l = xcalloc(1, sizeof(*l));
    l->objects = os;
    l->digest = *d;
    l->max_bytes = max_bytes;
    l->done = done;
    l->arg = arg;
    int rc = meta_get(os->meta, make_key(d, text), on_value, l);
    if (rc < 0)
        free(l);
    return rc;
}

/* --- writing ---------------------------------------------------------------------------------- */

void objects_put(struct objects *os, const struct digest *d, struct slice body)
{
    char text[KEY_BYTES];

    if (os && body.len > 0 && body.len <= os->max_bytes)
        meta_put(os->meta, make_key(d, text), body, 0);
}

static void do_ship(struct errand *e)
{
    struct shipment *s = (struct shipment *)e;
    size_t n = (size_t)blob_size(s->blob);

    CHECK(n > 0 && n <= s->objects->max_bytes);
    char *body = malloc(n);
    if (body && disk_pread(blob_fd(s->blob), body, n, 0) == 0)
        objects_put(s->objects, blob_digest(s->blob), (struct slice){body, n});
    free(body);
    blob_unref(&s->blob);
    free(s);
}

void objects_put_blob(struct objects *os, struct blob *b)
{
    if (!os || blob_size(b) == 0 || blob_size(b) > os->max_bytes)
        return;
    struct shipment *s = xcalloc(1, sizeof(*s));
    s->objects = os;
    s->blob = blob_ref(b);
    errand_submit(os->errands, &s->errand, do_ship, NULL);
}

/* --- what is a configuration ------------------------------------------------------------------ */

static int find_config(void *arg, const struct manifest_ref *ref)
{
    if (ref->kind == MANIFEST_REF_CONFIG && !ref->is_foreign)
        *(struct manifest_ref *)arg = *ref;
    return 0;
}

void objects_note_config(struct objects *os, struct slice manifest)
{
    struct manifest_facts facts;
    struct manifest_ref ref = {.kind = MANIFEST_REF_KIND_MAX};

    if (!os || manifest_scan(manifest, SCAN_DEPTH_MAX, &facts, find_config, &ref, NULL) < 0)
        return;
    if (ref.kind != MANIFEST_REF_CONFIG || (ref.has_size && ref.size > os->max_bytes))
        return;
    uint64_t key = digest_key(&ref.digest);
    atomic_store_explicit(&os->configs[key % N_CONFIGS], key, memory_order_relaxed);
}

bool objects_is_config(const struct objects *os, const struct digest *d)
{
    uint64_t key = digest_key(d);

    return os && key != 0 &&
           atomic_load_explicit(&os->configs[key % N_CONFIGS], memory_order_relaxed) == key;
}
