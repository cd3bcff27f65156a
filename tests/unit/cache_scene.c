#include "config.h"

#include "tests/unit/cache_scene.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/strbuf.h"
#include "cache/cache.h"
#include "cache/ledger.h"
#include "cache/manifest.h"
#include "cache/store.h"
#include "cache/tag.h"

void scene_blob(struct place *p, const char *text, size_t n, struct digest *out)
{
    char *content = xcalloc(1, n + strlen(text));
    struct error err;

    memcpy(content, text, strlen(text));
    digest_of(DIGEST_SHA256, content, n, out);
    CHECK(store_put_now(cache_store(p->cache), out, content, n, &err) == 0);
    free(content);
}

static struct origin origin_of(enum scene_origin origin)
{
    return (struct origin){.is_pushed = origin == SCENE_PUSHED,
                           .upstream = origin == SCENE_PUSHED ? NULL : origin_upstream(SLICE("up")),
                           .at_s = clock_wall_s()};
}

static void put_manifest(struct place *p, const char *repo, const char *tag, struct slice body,
                         enum scene_origin how, struct digest *out)
{
    struct origin origin = origin_of(how);
    struct digest d;
    struct error err;

    digest_of(DIGEST_SHA256, body.ptr, body.len, &d);
    struct manifest *m = manifest_new(&d, SLICE_NONE, body);
    CHECK(manifests_put_now(cache_manifests(p->cache), slice_of(repo), m, &origin, &err) == 0);
    manifest_unref(&m);
    if (tag[0] != '\0' && how == SCENE_PUSHED) {
        CHECK(tags_push_now(cache_tags(p->cache), slice_of(repo), slice_of(tag), &d, &err) == 0);
    } else if (tag[0] != '\0') {
        struct tag_record record = {.mirrored = TAG_MIRRORED,
                                    .digest = d,
                                    .fetched_at_s = clock_wall_s(),
                                    .checked_at_s = clock_wall_s(),
                                    .upstream = origin.upstream};
        tags_put(cache_tags(p->cache), slice_of(repo), slice_of(tag), &record);
        cache_drain(p->cache);
    }
    if (out)
        *out = d;
}

void scene_image(struct place *p, const char *repo, const char *tag,
                 const struct digest *const *layers, enum scene_origin how, struct digest *out)
{
    struct strbuf body = STRBUF_INIT;
    struct origin origin = origin_of(how);
    char digest[DIGEST_TEXT_SIZE];
    struct error err;

    strbuf_addf(&body, "{\"schemaVersion\":2,\"layers\":[");
    for (size_t i = 0; layers[i]; i++) {
        digest_format(layers[i], digest);
        strbuf_addf(&body, "%s{\"digest\":\"%s\"}", i > 0 ? "," : "", digest);
    }
    strbuf_add_str(&body, "]}");
    put_manifest(p, repo, tag, (struct slice){body.ptr, body.len}, how, out);
    for (size_t i = 0; layers[i]; i++)
        CHECK(links_add_layer_now(cache_links(p->cache), slice_of(repo), layers[i], &origin,
                                  &err) == 0);
    strbuf_fini(&body);
}

void scene_index(struct place *p, const char *repo, const char *tag,
                 const struct digest *const *children, enum scene_origin how, struct digest *out)
{
    struct strbuf body = STRBUF_INIT;
    char digest[DIGEST_TEXT_SIZE];

    strbuf_addf(&body, "{\"schemaVersion\":2,\"manifests\":[");
    for (size_t i = 0; children[i]; i++) {
        digest_format(children[i], digest);
        strbuf_addf(&body, "%s{\"digest\":\"%s\"}", i > 0 ? "," : "", digest);
    }
    strbuf_add_str(&body, "]}");
    put_manifest(p, repo, tag, (struct slice){body.ptr, body.len}, how, out);
    strbuf_fini(&body);
}

const char *scene_link(struct place *p, const char *repo, enum link_kind kind,
                       const struct digest *d, const char *file)
{
    char hex[DIGEST_TEXT_SIZE];

    digest_hex(d, hex);
    return place_path(p, "docker/registry/v2/repositories/%s/%s/sha256/%s/%s", repo,
                      kind == LINK_LAYER ? "_layers" : "_manifests/revisions", hex, file);
}

bool scene_has_link(struct place *p, const char *repo, enum link_kind kind, const struct digest *d)
{
    return access(scene_link(p, repo, kind, d, "link"), F_OK) == 0;
}

static const char *tag_file(struct place *p, const char *repo, const char *tag, const char *file)
{
    return place_path(p, "docker/registry/v2/repositories/%s/_manifests/tags/%s/%s", repo, tag,
                      file);
}

bool scene_has_tag(struct place *p, const char *repo, const char *tag)
{
    return access(tag_file(p, repo, tag, "current/link"), F_OK) == 0;
}

void scene_remove_tag(struct place *p, const char *repo, const char *tag)
{
    CHECK(unlink(tag_file(p, repo, tag, "current/link")) == 0);
    CHECK(unlink(tag_file(p, repo, tag, "mirrord.json")) == 0);
}

static uint64_t n_files, n_bytes;

static int add_file(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)path;
    (void)ftw;
    if (type == FTW_F) {
        n_files++;
        n_bytes += (uint64_t)st->st_size;
    }
    return 0;
}

uint64_t scene_stored_bytes(struct place *p, uint64_t *n_out)
{
    n_files = n_bytes = 0;
    nftw(place_path(p, "docker/registry/v2/blobs"), add_file, 8, FTW_PHYS);
    *n_out = n_files;
    return n_bytes;
}

void scene_tend(struct place *p)
{
    ledger_tend(cache_ledger(p->cache));
    cache_drain(p->cache);
}

/* --- lists ------------------------------------------------------------------------------------ */

struct list {
    struct strbuf text;
    size_t n;
    char repo[64], name[DIGEST_TEXT_SIZE];
    const char *wanted;
    int64_t last_use_s;
};

static bool add_image(void *arg, const struct ledger_image *image)
{
    struct list *l = arg;
    char digest[DIGEST_TEXT_SIZE], name[256];

    digest_format(&image->digest, digest);
    snprintf(l->repo, sizeof(l->repo), "%s", image->repo);
    snprintf(l->name, sizeof(l->name), "%s", image->tag[0] ? image->tag : digest);
    snprintf(name, sizeof(name), "%s:%s", image->repo, image->tag);
    strbuf_addf(&l->text, "%s %s%s shared=%llu %s\n", name,
                image->is_pushed ? "pushed" : "mirrored", image->is_whole ? " whole" : "",
                (unsigned long long)image->shared_bytes, image->is_pinned ? "pinned" : "");
    if (l->wanted && strcmp(l->wanted, name) == 0)
        l->last_use_s = image->last_use_s;
    l->n++;
    return true;
}

static void list_page(struct place *p, struct list *l, size_t n_max)
{
    struct ledger_page page = {
        .last_repo = slice_of(l->repo), .last_name = slice_of(l->name), .n_max = n_max};
    struct error err;
    size_t n;

    l->n = 0;
    int rc = ledger_images_now(cache_ledger(p->cache), &page, add_image, l, &n, &err);
    if (rc < 0)
        fprintf(stderr, "%s\n", err.text);
    CHECK(rc == 0 && n == l->n && n <= n_max);
}

char *scene_list(struct place *p)
{
    struct list l = {.text = STRBUF_INIT};

    strbuf_add_str(&l.text, "");
    list_page(p, &l, 1000);
    return strbuf_take(&l.text);
}

char *scene_list_pages(struct place *p, size_t n)
{
    struct list l = {.text = STRBUF_INIT};

    do
        list_page(p, &l, n);
    while (l.n == n);
    return strbuf_take(&l.text);
}

size_t scene_lines(const char *list)
{
    size_t n = 0;

    for (; *list; list++)
        n += *list == '\n';
    return n;
}

int64_t scene_last_use(struct place *p, const char *name)
{
    struct list l = {.text = STRBUF_INIT, .wanted = name, .last_use_s = -1};

    list_page(p, &l, 1000);
    strbuf_fini(&l.text);
    CHECK(l.last_use_s >= 0);
    return l.last_use_s;
}
