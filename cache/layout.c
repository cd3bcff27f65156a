#include "config.h"

#include "cache/layout.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/check.h"

#define REPO_MAX_BYTES 512
#define COMPONENT_MAX_BYTES 255 /* NAME_MAX */
#define TAG_MAX_BYTES 128

struct layout {
    char *root;
    char *repositories;
    char *blobs;
    char *fills;
    char *tmp;
    char *damaged;
    uint64_t run; /* random: other processes write into the same folder, perhaps with our pid */
    atomic_uint n_tmp;
};

struct layout *layout_new(const char *storage_path)
{
    struct layout *l = xcalloc(1, sizeof(*l));

    CHECK(getrandom(&l->run, sizeof(l->run), 0) == sizeof(l->run));
    l->root = xstrdup(storage_path);
    for (size_t n = strlen(l->root); n > 1 && l->root[n - 1] == '/'; n--)
        l->root[n - 1] = '\0';
    l->repositories = xasprintf("%s/docker/registry/v2/repositories", l->root);
    l->blobs = xasprintf("%s/docker/registry/v2/blobs", l->root);
    l->fills = xasprintf("%s/_mirrord/fills", l->root);
    l->tmp = xasprintf("%s/_mirrord/tmp", l->root);
    l->damaged = xasprintf("%s/_mirrord/damaged", l->root);
    return l;
}

void layout_free(struct layout **ll)
{
    struct layout *l = *ll;

    if (!l)
        return;
    free(l->root);
    free(l->repositories);
    free(l->blobs);
    free(l->fills);
    free(l->tmp);
    free(l->damaged);
    free(l);
    *ll = NULL;
}

/* ASCII only, whatever the locale says. */
static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* A first letter or digit rules out ".", "..", hidden names and the "_manifests" of the layout. */
static bool component_is_valid(struct slice s)
{
    if (s.len == 0 || s.len > COMPONENT_MAX_BYTES || !is_alnum(s.ptr[0]))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!is_alnum(c) && c != '.' && c != '_' && c != '-' && c != ':')
            return false;
    }
    return true;
}

bool layout_repo_is_valid(struct slice repo)
{
    struct slice rest = repo;

    if (repo.len == 0 || repo.len > REPO_MAX_BYTES)
        return false;
    while (rest.ptr) {
        if (!component_is_valid(slice_cut(&rest, '/')))
            return false;
    }
    return true;
}

bool layout_tag_is_valid(struct slice tag)
{
    if (tag.len == 0 || tag.len > TAG_MAX_BYTES)
        return false;
    if (tag.ptr[0] == '.' || tag.ptr[0] == '-')
        return false;
    for (size_t i = 0; i < tag.len; i++) {
        char c = tag.ptr[i];
        if (!is_alnum(c) && c != '.' && c != '_' && c != '-')
            return false;
    }
    return true;
}

const char *layout_root(const struct layout *l)
{
    return l->root;
}

const char *layout_repositories(const struct layout *l)
{
    return l->repositories;
}

const char *layout_blobs(const struct layout *l)
{
    return l->blobs;
}

const char *layout_fills(const struct layout *l)
{
    return l->fills;
}

const char *layout_tmp(const struct layout *l)
{
    return l->tmp;
}

char *layout_blob(const struct layout *l, const struct digest *d)
{
    char hex[DIGEST_TEXT_SIZE];

    digest_hex(d, hex);
    return xasprintf("%s/%s/%.2s/%s/data", l->blobs, digest_alg_name(d->alg), hex, hex);
}

static char *fill_file(const struct layout *l, const struct digest *d, const char *suffix)
{
    char hex[DIGEST_TEXT_SIZE];

    digest_hex(d, hex);
    return xasprintf("%s/%s-%s.%s", l->fills, digest_alg_name(d->alg), hex, suffix);
}

char *layout_fill_part(const struct layout *l, const struct digest *d)
{
    return fill_file(l, d, "part");
}

char *layout_fill_map(const struct layout *l, const struct digest *d)
{
    return fill_file(l, d, "map");
}

/* "<alg>-<hex>", as files are called that have no folder of their digest's own. */
static bool parse_stem(struct slice stem, struct digest *out)
{
    char text[DIGEST_TEXT_SIZE];

    if (stem.len >= sizeof(text))
        return false;
    memcpy(text, stem.ptr, stem.len);
    char *dash = memchr(text, '-', stem.len);
    if (!dash)
        return false;
    *dash = ':';
    return digest_parse((struct slice){text, stem.len}, out);
}

bool layout_fill_name_parse(struct slice name, struct digest *out)
{
    struct slice rest = name;

    return parse_stem(slice_cut(&rest, '.'), out);
}

const char *layout_damaged_folder(const struct layout *l)
{
    return l->damaged;
}

char *layout_damaged(const struct layout *l, const struct digest *d)
{
    char hex[DIGEST_TEXT_SIZE];

    digest_hex(d, hex);
    return xasprintf("%s/%s-%s", l->damaged, digest_alg_name(d->alg), hex);
}

bool layout_damaged_name_parse(struct slice name, struct digest *out)
{
    return parse_stem(name, out);
}

char *layout_tmp_file(struct layout *l)
{
    return xasprintf("%s/%016llx-%u", l->tmp, (unsigned long long)l->run,
                     atomic_fetch_add(&l->n_tmp, 1));
}

char *layout_repo(const struct layout *l, struct slice repo)
{
    CHECK(layout_repo_is_valid(repo));
    return xasprintf("%s/%.*s", l->repositories, SLICE_ARG(repo));
}

char *layout_tags(const struct layout *l, struct slice repo)
{
    CHECK(layout_repo_is_valid(repo));
    return xasprintf("%s/%.*s/_manifests/tags", l->repositories, SLICE_ARG(repo));
}

/* A file in the folder of a tag. */
static char *tag_file(const struct layout *l, struct slice repo, struct slice tag, const char *file)
{
    CHECK(layout_repo_is_valid(repo));
    CHECK(layout_tag_is_valid(tag));
    return xasprintf("%s/%.*s/_manifests/tags/%.*s/%s", l->repositories, SLICE_ARG(repo),
                     SLICE_ARG(tag), file);
}

char *layout_tag(const struct layout *l, struct slice repo, struct slice tag)
{
    CHECK(layout_repo_is_valid(repo));
    CHECK(layout_tag_is_valid(tag));
    return xasprintf("%s/%.*s/_manifests/tags/%.*s", l->repositories, SLICE_ARG(repo),
                     SLICE_ARG(tag));
}

char *layout_tag_link(const struct layout *l, struct slice repo, struct slice tag)
{
    return tag_file(l, repo, tag, "current/link");
}

char *layout_tag_record(const struct layout *l, struct slice repo, struct slice tag)
{
    return tag_file(l, repo, tag, "mirrord.json");
}

char *layout_tag_index_link(const struct layout *l, struct slice repo, struct slice tag,
                            const struct digest *d)
{
    char hex[DIGEST_TEXT_SIZE];

    digest_hex(d, hex);
    char *file = xasprintf("index/%s/%s/link", digest_alg_name(d->alg), hex);
    char *path = tag_file(l, repo, tag, file);
    free(file);
    return path;
}

/* A file in a folder that a repository keeps per digest. */
static char *digest_file(const struct layout *l, struct slice repo, const char *folder,
                         const struct digest *d, const char *file)
{
    char hex[DIGEST_TEXT_SIZE];

    CHECK(layout_repo_is_valid(repo));
    digest_hex(d, hex);
    return xasprintf("%s/%.*s/%s/%s/%s/%s", l->repositories, SLICE_ARG(repo), folder,
                     digest_alg_name(d->alg), hex, file);
}

char *layout_revision_link(const struct layout *l, struct slice repo, const struct digest *d)
{
    return digest_file(l, repo, "_manifests/revisions", d, "link");
}

char *layout_revision_record(const struct layout *l, struct slice repo, const struct digest *d)
{
    return digest_file(l, repo, "_manifests/revisions", d, "mirrord.json");
}

char *layout_layer_link(const struct layout *l, struct slice repo, const struct digest *d)
{
    return digest_file(l, repo, "_layers", d, "link");
}

char *layout_layer_record(const struct layout *l, struct slice repo, const struct digest *d)
{
    return digest_file(l, repo, "_layers", d, "mirrord.json");
}

char *layout_upload(const struct layout *l, struct slice repo, struct slice id)
{
    CHECK(layout_repo_is_valid(repo));
    /* Which letters an id may have is for its maker to say; none may leave the folder. */
    CHECK(id.len == 0 || (id.ptr[0] != '.' && !memchr(id.ptr, '/', id.len)));
    return xasprintf("%s/%.*s/_uploads%s%.*s", l->repositories, SLICE_ARG(repo),
                     id.len > 0 ? "/" : "", SLICE_ARG(id));
}
