#include "config.h"

#include "mirrord/push_fetch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/worker.h"
#include "cache/cache.h"
#include "cache/fill.h"
#include "cache/link.h"
#include "cache/manifest.h"
#include "cache/store.h"
#include "mirrord/api_private.h"
#include "mirrord/push_refs.h"
#include "mirrord/resolve.h"
#include "upstream/fetch.h"

enum { N_SLOTS = 4 /* so many are brought at a time */ };

/* One reference being brought. At most one of fetch, fill and is_asking is on. */
struct slot {
    struct push_fetch *owner;
    struct push_ref *ref; /* NULL: free */
    struct fetch *fetch;  /* whether the upstream's repository has the blob */
    struct fill *fill;
    struct fill_reader *reader;
    bool is_asking; /* for a manifest */
    struct resolve_waiter waiter;
};

struct push_fetch {
    struct mail mail; /* first: something has ended */
    struct api *api;
    struct slice repo;
    struct push_refs *refs;
    size_t next; /* reference to be looked at */
    unsigned n_busy;
    unsigned n_absent; /* the upstream has not got so many */
    bool is_cancelled;
    push_fetch_fn done;
    void *arg;
    enum api_error error;
    int retry_after_s;
    struct slot slots[N_SLOTS];
};

static void free_it(void *arg)
{
    free(arg);
}

/* When it was cancelled, and nothing will call it any more. */
static void maybe_free(struct push_fetch *f)
{
    if (f->is_cancelled && f->n_busy == 0 && !f->mail.is_posted)
        worker_bury(worker_current(), free_it, f);
}

static void slot_free(struct slot *s)
{
    struct push_fetch *f = s->owner;

    CHECK(s->ref && !s->fetch && !s->fill && !s->is_asking);
    s->ref = NULL;
    CHECK(f->n_busy > 0);
    f->n_busy--;
    if (!f->is_cancelled)
        worker_later(worker_current(), &f->mail);
    else
        maybe_free(f);
}

/* It could not be brought. The first reason that is not plain absence is told. */
static void slot_fail(struct slot *s, enum api_error error, int retry_after_s)
{
    struct push_fetch *f = s->owner;
    bool is_absent = error == API_ERROR_BLOB_UNKNOWN || error == API_ERROR_MANIFEST_UNKNOWN ||
                     error == API_ERROR_NAME_UNKNOWN;

    f->n_absent += is_absent;
    if (!is_absent && f->error == API_ERROR_NONE) {
        f->error = error;
        f->retry_after_s = retry_after_s;
    }
    slot_free(s);
}

/* --- the bytes of a blob ---------------------------------------------------------------------- */

/* The fill is over, or something else has happened. */
static void on_fill(void *arg)
{
    struct slot *s = arg;
    int retry_after_s = 0;

    if (!fill_reader_want_end(s->reader))
        return;
    int reason = fill_failure(s->fill, NULL);
    struct blob *blob = fill_blob(s->fill);
    bool is_kept = blob != NULL;
    blob_unref(&blob);
    fill_reader_close(&s->reader);
    fill_unref(&s->fill);
    if (reason == 0 && is_kept)
        slot_free(s);
    else if (reason == 0)
        slot_fail(s, API_ERROR_DISK_FULL, 0);
    else {
        enum api_error error = api_error_unpack(reason, &retry_after_s);
        slot_fail(s, error, retry_after_s);
    }
}

static void bring_bytes(struct slot *s)
{
    struct push_fetch *f = s->owner;
    struct pull_tools tools = api_pull_tools(f->api, f->repo);
    const struct digest *d = &s->ref->told.digest;
    bool is_new;

    links_note_pending(tools.links, f->repo, d);
    s->fill = fills_join(f->api->fills, d, &is_new);
    s->reader = fill_reader_open(s->fill, 0, FILL_SIZE_UNKNOWN, on_fill, s);
    if (is_new)
        pull_start(&tools, s->fill, f->repo, 0, FILL_SIZE_UNKNOWN);
    else
        links_drop_pending(tools.links, f->repo, d);
    on_fill(s);
}

/* --- whether the repository has a blob -------------------------------------------------------- */

static int on_head(void *arg, const struct fetch_head *head)
{
    struct slot *s = arg;

    s->ref->is_confirmed = true;
    s->ref->has_upstream_size = head->size != UINT64_MAX;
    s->ref->upstream_size = head->size;
    return 0;
}

static int on_data(void *arg, const void *p, size_t n)
{
    (void)arg, (void)p, (void)n;
    return -EPROTO; /* HEAD has no body */
}

static void on_done(void *arg, const struct fetch_result *result)
{
    struct slot *s = arg;
    struct push_ref *ref = s->ref;

    s->fetch = NULL;
    if (result->outcome != FETCH_OK) {
        ref->is_confirmed = false;
        slot_fail(s, api_error_of_fetch(result, API_ERROR_BLOB_UNKNOWN), result->retry_after_s);
        return;
    }
    bool is_lie =
        ref->told.has_size && ref->has_upstream_size && ref->told.size != ref->upstream_size;
    if (is_lie || ref->state == PUSH_REF_UNLINKED)
        slot_free(s);
    else
        bring_bytes(s);
}

static const struct fetch_ops FETCH_OPS = {on_head, on_data, on_done};

static void ask_upstream(struct slot *s)
{
    char digest[DIGEST_TEXT_SIZE];
    struct fetch_spec spec = {
        .kind = FETCH_BLOB, .is_head = true, .repo = s->owner->repo, .end = UINT64_MAX};

    spec.reference = (struct slice){digest, digest_format(&s->ref->told.digest, digest)};
    s->fetch = api_fetch(s->owner->api, &spec, &FETCH_OPS, s);
}

/* --- manifests -------------------------------------------------------------------------------- */

static void on_answer(void *arg, const struct resolve_answer *a, bool is_first)
{
    struct slot *s = arg;
    bool is_cancelled = s->owner->is_cancelled;

    (void)is_first;
    s->is_asking = false;
    if (!is_cancelled && a->error == API_ERROR_NONE && a->manifest && a->is_kept) {
        s->ref->manifest = manifest_ref(a->manifest);
        s->ref->is_confirmed = true;
    }
    if (is_cancelled || a->error == API_ERROR_NONE)
        slot_free(s);
    else
        slot_fail(s, a->error, a->retry_after_s);
}

static void ask_manifest(struct slot *s)
{
    struct push_fetch *f = s->owner;
    char text[DIGEST_TEXT_SIZE];
    struct slice digest = {text, digest_format(&s->ref->told.digest, text)};

    if (resolve_is_absent(f->api->resolver, HOLD_ABSENT_MANIFEST, f->repo, digest)) {
        slot_fail(s, API_ERROR_MANIFEST_UNKNOWN, 0);
        return;
    }
    s->is_asking = true;
    s->waiter = (struct resolve_waiter){.done = on_answer, .arg = s};
    resolve_ask(f->api->resolver, RESOLVE_DIGEST_GET, f->repo, digest, &s->waiter);
}

/* --- all of them ------------------------------------------------------------------------------ */

static void slot_start(struct slot *s, struct push_ref *ref)
{
    CHECK(ref->told.kind != MANIFEST_REF_SUBJECT);
    s->ref = ref;
    s->owner->n_busy++;
    if (ref->told.kind == MANIFEST_REF_CHILD && !ref->manifest)
        ask_manifest(s);
    else if (ref->state == PUSH_REF_GONE)
        bring_bytes(s);
    else
        ask_upstream(s);
}

/* The push will be refused: nothing more is asked than what is told to the client. A manifest may
 * name fifty thousand things that do not exist, and each question costs the upstream's patience. */
static bool is_in_vain(const struct push_fetch *f)
{
    return f->error != API_ERROR_NONE || f->n_absent >= PUSH_REFS_TOLD_MAX;
}

static struct push_ref *next_missing(struct push_fetch *f)
{
    if (is_in_vain(f))
        f->next = f->refs->n;
    while (f->next < f->refs->n) {
        struct push_ref *ref = &f->refs->items[f->next++];
        if (push_ref_is_missing(ref) && ref->state != PUSH_REF_LIES)
            return ref;
    }
    return NULL;
}

/* Fills free slots; tells when there is nothing more to do. */
static void on_mail(struct mail *m)
{
    struct push_fetch *f = (struct push_fetch *)m;
    struct push_ref *ref = NULL;

    if (f->is_cancelled) {
        maybe_free(f);
        return;
    }
    for (size_t i = 0; i < N_SLOTS; i++) {
        if (!f->slots[i].ref && (ref = next_missing(f)))
            slot_start(&f->slots[i], ref);
    }
    if (f->n_busy > 0 || f->next < f->refs->n || f->mail.is_posted)
        return;
    worker_bury(worker_current(), free_it, f);
    f->done(f->arg, f->error, f->retry_after_s);
}

struct push_fetch *push_fetch_start(struct api *api, struct slice repo, struct push_refs *refs,
                                    push_fetch_fn done, void *arg)
{
    struct push_fetch *f = xcalloc(1, sizeof(*f));

    CHECK(api_registry_of(api, repo)->upstream && done);
    f->mail.fn = on_mail;
    f->api = api;
    f->repo = repo;
    f->refs = refs;
    f->done = done;
    f->arg = arg;
    for (size_t i = 0; i < N_SLOTS; i++)
        f->slots[i].owner = f;
    worker_later(worker_current(), &f->mail);
    return f;
}

void push_fetch_cancel(struct push_fetch **ff)
{
    struct push_fetch *f = *ff;

    *ff = NULL;
    if (!f)
        return;
    f->is_cancelled = true;
    f->n_busy++; /* not to be freed meanwhile */
    for (size_t i = 0; i < N_SLOTS; i++) {
        struct slot *s = &f->slots[i];
        if (!s->ref)
            continue;
        if (s->fetch)
            fetch_cancel(&s->fetch);
        if (s->reader)
            fill_reader_close(&s->reader);
        fill_unref(&s->fill);
        if (s->is_asking && !resolve_leave(f->api->resolver, &s->waiter))
            continue; /* its answer is on its way */
        s->is_asking = false;
        slot_free(s);
    }
    f->n_busy--;
    maybe_free(f);
}
