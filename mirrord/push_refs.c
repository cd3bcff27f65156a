#include "config.h"

#include "mirrord/push_refs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/json_walk.h"
#include "cache/cache.h"
#include "cache/manifest.h"
#include "cache/store.h"
#include "cache/vouch.h"

enum { CHECKS_PER_CALL = 256 /* each is a few calls of the file system */ };

void push_refs_clear(struct push_refs *rs)
{
    for (size_t i = 0; i < rs->n; i++)
        manifest_unref(&rs->items[i].manifest);
    rs->n = rs->n_checked = 0;
}

void push_refs_fini(struct push_refs *rs)
{
    push_refs_clear(rs);
    free(rs->items);
    rs->items = NULL;
    rs->n_room = 0;
}

int push_refs_add(void *arg, const struct manifest_ref *ref)
{
    struct push_refs *rs = arg;

    if (ref->kind == MANIFEST_REF_SUBJECT)
        return 0;
    if (rs->n == rs->n_room) {
        rs->n_room = rs->n_room ? rs->n_room * 2 : 16;
        rs->items = xrealloc(rs->items, rs->n_room * sizeof(rs->items[0]));
    }
    rs->items[rs->n++] = (struct push_ref){.told = *ref};
    return 0;
}

bool push_ref_is_missing(const struct push_ref *ref)
{
    bool may_miss = ref->is_below || (ref->told.kind == MANIFEST_REF_LAYER && ref->told.is_foreign);

    return ref->state != PUSH_REF_READY && !may_miss;
}

const struct push_ref *push_refs_find_lie(const struct push_refs *rs)
{
    for (size_t i = 0; i < rs->n; i++) {
        if (rs->items[i].state == PUSH_REF_LIES && !rs->items[i].is_below)
            return &rs->items[i];
    }
    return NULL;
}

size_t push_refs_missing(const struct push_refs *rs, struct strbuf *list)
{
    char digest[DIGEST_TEXT_SIZE];
    size_t n = 0;

    for (size_t i = 0; i < rs->n; i++) {
        if (!push_ref_is_missing(&rs->items[i]))
            continue;
        if (list && n < PUSH_REFS_TOLD_MAX) {
            digest_format(&rs->items[i].told.digest, digest);
            strbuf_addf(list, "%s%s", n > 0 ? ", " : "", digest);
        }
        n++;
    }
    if (list && n > PUSH_REFS_TOLD_MAX)
        strbuf_addf(list, " and %zu more", n - PUSH_REFS_TOLD_MAX);
    return n;
}

/* --- looking ---------------------------------------------------------------------------------- */

/* Whether the repository has it: children are revisions, or blobs as in build caches, whose indexes
 * list layers. */
static int find_link(struct push_refs *rs, struct push_ref *ref)
{
    struct links *ls = cache_links(rs->cache);
    bool is_child = ref->told.kind == MANIFEST_REF_CHILD;
    struct origin origin;

    ref->kind = is_child ? LINK_REVISION : LINK_LAYER;
    ref->is_pushed = false;
    int rc = links_load_now(ls, ref->kind, rs->repo, &ref->told.digest, &origin);
    if (rc == -ENOENT && is_child) {
        rc = links_load_now(ls, LINK_LAYER, rs->repo, &ref->told.digest, &origin);
        if (rc == 0)
            ref->kind = LINK_LAYER;
    }
    if (rc == 0)
        ref->is_pushed = origin.is_pushed;
    return rc;
}

static int check_one(struct push_refs *rs, struct push_ref *ref, struct error *err)
{
    char digest[DIGEST_TEXT_SIZE];

    int linked = find_link(rs, ref);
    int here = vouch_present_now(cache_vouches(rs->cache), &ref->told.digest, &ref->size);
    digest_format(&ref->told.digest, digest);
    if (linked < 0 && linked != -ENOENT)
        return error_sys(err, linked, "link of %s", digest);
    if (here < 0 && here != -ENOENT)
        return error_sys(err, here, "blob %s", digest);
    bool is_readable = linked == 0 || ref->is_confirmed;
    bool is_here = here == 0 || ref->manifest;
    bool has_size = is_here || ref->has_upstream_size;
    if (here < 0)
        ref->size = ref->manifest ? manifest_body(ref->manifest).len : ref->upstream_size;
    if (is_readable && has_size && ref->told.has_size && ref->told.size != ref->size)
        ref->state = PUSH_REF_LIES;
    else if (is_readable)
        ref->state = is_here ? PUSH_REF_READY : PUSH_REF_GONE;
    else
        ref->state = is_here ? PUSH_REF_UNLINKED : PUSH_REF_UNKNOWN;
    return 0;
}

/* --- what lies below -------------------------------------------------------------------------- */

/* The bytes of a child that is here; NULL when they cannot be had, or are too many. */
static char *read_child(struct push_refs *rs, const struct push_ref *ref)
{
    struct blob *b = NULL;
    char *bytes = NULL;

    if (ref->size > rs->manifest_max_bytes ||
        store_open_now(cache_store(rs->cache), &ref->told.digest, &b) < 0)
        return NULL;
    if (blob_size(b) == ref->size)
        bytes = xmalloc(ref->size + 1);
    for (size_t done = 0; bytes && done < ref->size;) {
        ssize_t n = pread(blob_fd(b), bytes + done, ref->size - done, (off_t)done);
        if (n <= 0 && !(n < 0 && errno == EINTR)) {
            free(bytes);
            bytes = NULL;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    blob_unref(&b);
    return bytes;
}

/* Adds what a mirrored child references: it is going to be pushed together with it, as far as it
 * is here. The rest stays with the upstream, which has the whole. */
static void expand(struct push_refs *rs, size_t i)
{
    size_t n_before = rs->n;
    const struct push_ref *ref = &rs->items[i];

    if (ref->size > rs->below_left)
        return;
    rs->below_left -= ref->size;
    char *bytes = ref->manifest ? NULL : read_child(rs, ref);
    struct slice body = {bytes, ref->size};
    struct manifest_facts facts;

    if (ref->manifest)
        body = manifest_body(ref->manifest);
    if (!body.ptr)
        return;
    if (manifest_scan(body, JSON_WALK_DEPTH_MAX, &facts, push_refs_add, rs, NULL) < 0 ||
        rs->n > rs->n_max)
        rs->n = n_before;
    for (size_t k = n_before; k < rs->n; k++)
        rs->items[k].is_below = true;
    free(bytes);
}

/* Forgets what was found below, to find it again. */
static void drop_below(struct push_refs *rs)
{
    size_t n = 0;

    while (n < rs->n && !rs->items[n].is_below)
        n++;
    rs->n = n;
}

/* The next one, and what lies below it. */
static int check_next(struct push_refs *rs, struct error *err)
{
    size_t i = rs->n_checked++;

    int rc = check_one(rs, &rs->items[i], err);
    if (rc < 0)
        return rc;
    const struct push_ref *ref = &rs->items[i];
    bool is_mirrored_child = ref->state == PUSH_REF_READY && !ref->is_pushed &&
                             ref->told.kind == MANIFEST_REF_CHILD && ref->kind == LINK_REVISION;
    if (is_mirrored_child)
        expand(rs, i);
    return 0;
}

int push_refs_check(struct push_refs *rs, struct error *err)
{
    int rc = 0;

    if (rs->n_checked == 0) {
        drop_below(rs);
        rs->below_left = rs->below_max_bytes;
    }
    for (size_t i = 0; rc == 0 && rs->n_checked < rs->n; i++) {
        if (i == CHECKS_PER_CALL)
            return 1;
        rc = check_next(rs, err);
    }
    rs->n_checked = 0;
    return rc;
}

/* --- taking ----------------------------------------------------------------------------------- */

static int take_child(struct push_refs *rs, struct push_ref *ref, const struct origin *origin,
                      struct error *err)
{
    struct links *ls = cache_links(rs->cache);
    struct strbuf media_type = STRBUF_INIT;

    if (ref->manifest)
        return manifests_put_now(cache_manifests(rs->cache), rs->repo, ref->manifest, origin, err);
    strbuf_add_str(&media_type, "");
    links_media_type_now(ls, rs->repo, &ref->told.digest, &media_type);
    int rc = links_add_revision_now(ls, rs->repo, &ref->told.digest, origin,
                                    (struct slice){media_type.ptr, media_type.len}, err);
    strbuf_fini(&media_type);
    return rc;
}

static int take_one(struct push_refs *rs, struct push_ref *ref, const struct origin *origin,
                    struct error *err)
{
    int rc = 0;

    if (ref->is_pushed || ref->is_again)
        return 0;
    /* Somebody else may be about to give it its name. What has a pushed link had it before. */
    if (!ref->manifest)
        rc = store_settle_now(cache_store(rs->cache), &ref->told.digest, err);
    if (rc < 0)
        return rc;
    if (ref->kind == LINK_REVISION)
        return take_child(rs, ref, origin, err);
    return links_add_layer_now(cache_links(rs->cache), rs->repo, &ref->told.digest, origin, err);
}

static int compare(const void *pa, const void *pb)
{
    const struct push_ref *a = *(const struct push_ref *const *)pa;
    const struct push_ref *b = *(const struct push_ref *const *)pb;
    int order = memcmp(&a->told.digest, &b->told.digest, sizeof(a->told.digest));

    if (order == 0)
        order = (int)a->kind - (int)b->kind;
    return order ? order : (a > b) - (a < b);
}

/* Nothing keeps a manifest from naming the same layer ten thousand times: each is taken once, where
 * it stands last. */
static void note_doubles(struct push_refs *rs)
{
    struct push_ref **sorted = xmalloc((rs->n + 1) * sizeof(struct push_ref *));
    size_t n = 0;

    for (size_t i = 0; i < rs->n; i++)
        if (rs->items[i].state == PUSH_REF_READY)
            sorted[n++] = &rs->items[i];
    qsort(sorted, n, sizeof(struct push_ref *), compare);
    for (size_t i = 0; i < n; i++) {
        const struct push_ref *next = i + 1 < n ? sorted[i + 1] : NULL;
        sorted[i]->is_again = next && next->kind == sorted[i]->kind &&
                              digest_equal(&next->told.digest, &sorted[i]->told.digest);
    }
    free(sorted);
}

int push_refs_take(struct push_refs *rs, int64_t now_s, struct error *err)
{
    struct origin origin = {.is_pushed = true, .at_s = now_s};

    note_doubles(rs);
    /* Below stands behind. */
    for (size_t i = rs->n; i-- > 0;) {
        if (rs->items[i].state != PUSH_REF_READY)
            continue;
        int rc = take_one(rs, &rs->items[i], &origin, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}
