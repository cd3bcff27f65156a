/*
 * Writes a storage folder as a mirror leaves it behind that has run for years: many small mirrored
 * blobs, manifests that reference them, links and tags, in many repositories, without a ledger. The
 * images of a repository share their first layer, as images with a common base do. Threads take
 * repositories in turns. Everything depends on the numbers only, so two stores of one size are the
 * same but for their times. Prints one line of JSON with what was written.
 *
 * Nothing is synced: this is for measuring, not for keeping. Files that say the same are hard links
 * of one, since a block each would more than double the store: the records of links, and the three
 * files with an image's digest.
 */
#include "config.h"

#include "base/alloc.h"
#include "base/check.h"
#include "base/digest.h"
#include "base/strbuf.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define LAYERS 8 /* of an image, the shared one included */
#define IMAGES_PER_REPO 20
#define NEW_PER_IMAGE (LAYERS + 1) /* blobs: layers of its own, configuration, manifest */
#define THREADS 4
#define LINKS_MAX 50000 /* of one file: ext4 has 65000 */
#define AGE_STEP_S 60

static const char usage[] = "usage: store FOLDER BLOBS UPSTREAM\n";

struct store {
    const char *folder, *upstream;
    unsigned n_repos;
    int64_t now_s;
    atomic_uint next_repo;
    atomic_uint_fast64_t n_blobs, n_bytes, n_images;
};

/* A file with the text of all records of one kind, and how often it was linked. */
struct record {
    char path[512];
    char text[256];
    unsigned n_links, n_files;
};

struct writer {
    pthread_t id;
    struct store *store;
    unsigned number;
    struct record layer, revision;
    char image_digest[DIGEST_TEXT_SIZE]; /* of the image just written */
};

__attribute__((noreturn)) static void fail(const char *what, const char *on)
{
    fprintf(stderr, "store: %s %s: %s\n", what, on, strerror(errno));
    exit(EXIT_FAILURE);
}

/* --- files ------------------------------------------------------------------------------------ */

/* All folders above the file. */
static void make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(path, 0755) < 0 && errno != EEXIST)
            fail("make", path);
        *slash = '/';
    }
}

/* Makes folders only when one is missing. */
static void write_file(char *path, const char *text, size_t n)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    if (fd < 0 && errno == ENOENT) {
        make_folders(path);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    }
    if (fd < 0 || write(fd, text, n) != (ssize_t)n || close(fd) < 0)
        fail("write", path);
}

static void link_file(const char *old, char *path)
{
    make_folders(path);
    if (link(old, path) < 0 && errno != EEXIST)
        fail("link", path);
}

/* A new file whenever the last one has all the links it may have. */
static void link_record(struct writer *w, struct record *r, const char *kind, const char *path)
{
    if (r->n_links == 0) {
        snprintf(r->path, sizeof(r->path), "%s/record-%s-%u-%u", w->store->folder, kind, w->number,
                 r->n_files++);
        write_file(r->path, r->text, strlen(r->text));
        r->n_links = LINKS_MAX;
    }
    if (link(r->path, path) < 0 && errno != EEXIST)
        fail("link", path);
    if (--r->n_links == 0)
        unlink(r->path);
}

/* --- content ---------------------------------------------------------------------------------- */

static void put_blob(struct writer *w, const char *text, size_t n, char digest[DIGEST_TEXT_SIZE])
{
    char path[512];
    struct digest d;

    digest_of(DIGEST_SHA256, text, n, &d);
    digest_format(&d, digest);
    const char *hex = digest + strlen("sha256:");
    snprintf(path, sizeof(path), "%s/docker/registry/v2/blobs/sha256/%.2s/%s/data",
             w->store->folder, hex, hex);
    write_file(path, text, n);
    atomic_fetch_add(&w->store->n_blobs, 1);
    atomic_fetch_add(&w->store->n_bytes, n);
}

static void put_link(struct writer *w, unsigned repo, bool is_layer, const char *digest)
{
    char path[512];
    int n = snprintf(path, sizeof(path),
                     "%s/docker/registry/v2/repositories/bench/r%05u/%s/sha256/%s/link",
                     w->store->folder, repo, is_layer ? "_layers" : "_manifests/revisions",
                     digest + strlen("sha256:"));

    write_file(path, digest, strlen(digest));
    strcpy(path + n - strlen("link"), "mirrord.json");
    link_record(w, is_layer ? &w->layer : &w->revision, is_layer ? "layer" : "revision", path);
}

static void put_tag(struct writer *w, unsigned repo, unsigned image, int64_t at_s)
{
    char path[512], link_path[512], record[512];
    const char *digest = w->image_digest;
    int n = snprintf(path, sizeof(path),
                     "%s/docker/registry/v2/repositories/bench/r%05u/_manifests/tags/v%u/",
                     w->store->folder, repo, image);

    snprintf(link_path, sizeof(link_path),
             "%s/docker/registry/v2/repositories/bench/r%05u/_manifests/revisions/sha256/%s/link",
             w->store->folder, repo, digest + strlen("sha256:"));
    snprintf(path + n, sizeof(path) - (size_t)n, "index/sha256/%s/link",
             digest + strlen("sha256:"));
    link_file(link_path, path);
    snprintf(path + n, sizeof(path) - (size_t)n, "current/link");
    link_file(link_path, path);
    snprintf(path + n, sizeof(path) - (size_t)n, "mirrord.json");
    snprintf(
        record, sizeof(record),
        "{\"version\":2,\"mirrored\":{\"digest\":\"%s\",\"upstream\":\"%s\",\"fetched_at\":%" PRId64
        ",\"checked_at\":%" PRId64 "}}\n",
        digest, w->store->upstream, at_s, w->store->now_s);
    write_file(path, record, strlen(record));
}

/* "sha256:…" and its size, as a descriptor. */
static void add_descriptor(struct strbuf *out, const char *kind, const char *digest, size_t n)
{
    strbuf_addf(out,
                "{\"mediaType\":\"application/vnd.oci.image.%s\",\"digest\":\"%s\",\"size\":%zu}",
                kind, digest, n);
}

static void put_layer(struct writer *w, unsigned repo, unsigned image, unsigned layer,
                      struct strbuf *manifest)
{
    char text[64], digest[DIGEST_TEXT_SIZE];
    /* The first one is everybody's: written by the first image, referenced by all. */
    unsigned owner = layer == 0 ? 0 : image;
    int n = snprintf(text, sizeof(text), "layer %u %u %u\n", repo, owner, layer);
    struct digest d;

    if (owner == image) {
        put_blob(w, text, (size_t)n, digest);
        put_link(w, repo, true, digest);
    } else {
        digest_of(DIGEST_SHA256, text, (size_t)n, &d);
        digest_format(&d, digest);
    }
    if (layer > 0)
        strbuf_add_char(manifest, ',');
    add_descriptor(manifest, "layer.v1.tar+gzip", digest, (size_t)n);
}

static void put_image(struct writer *w, unsigned repo, unsigned image)
{
    struct strbuf manifest = STRBUF_INIT;
    char text[64], digest[DIGEST_TEXT_SIZE];
    int n =
        snprintf(text, sizeof(text), "{\"architecture\":\"amd64\",\"os\":\"r%u-%u\"}", repo, image);
    int64_t age_s = (int64_t)(repo * IMAGES_PER_REPO + image) % 100000 * AGE_STEP_S;

    put_blob(w, text, (size_t)n, digest);
    put_link(w, repo, true, digest);
    strbuf_add_str(&manifest, "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image."
                              "manifest.v1+json\",\"config\":");
    add_descriptor(&manifest, "config.v1+json", digest, (size_t)n);
    strbuf_add_str(&manifest, ",\"layers\":[");
    for (unsigned i = 0; i < LAYERS; i++)
        put_layer(w, repo, image, i, &manifest);
    strbuf_add_str(&manifest, "]}");
    put_blob(w, manifest.ptr, manifest.len, w->image_digest);
    put_link(w, repo, false, w->image_digest);
    put_tag(w, repo, image, w->store->now_s - age_s);
    atomic_fetch_add(&w->store->n_images, 1);
    strbuf_fini(&manifest);
}

/* --- threads ---------------------------------------------------------------------------------- */

static void *write_repos(void *arg)
{
    struct writer *w = arg;
    struct store *s = w->store;

    snprintf(w->layer.text, sizeof(w->layer.text),
             "{\"origin\":\"mirrored\",\"fetched_at\":%" PRId64 ",\"upstream\":\"%s\"}\n", s->now_s,
             s->upstream);
    snprintf(
        w->revision.text, sizeof(w->revision.text),
        "{\"origin\":\"mirrored\",\"fetched_at\":%" PRId64
        ",\"media_type\":\"application/vnd.oci.image.manifest.v1+json\",\"upstream\":\"%s\"}\n",
        s->now_s, s->upstream);
    for (;;) {
        unsigned repo = atomic_fetch_add(&s->next_repo, 1);
        if (repo >= s->n_repos)
            break;
        for (unsigned i = 0; i < IMAGES_PER_REPO; i++)
            put_image(w, repo, i);
    }
    unlink(w->layer.path);
    unlink(w->revision.path);
    return NULL;
}

static unsigned repos_for(uint64_t n_blobs)
{
    uint64_t per_repo = IMAGES_PER_REPO * NEW_PER_IMAGE + 1;
    uint64_t n = (n_blobs + per_repo - 1) / per_repo;

    return n > 0 ? (unsigned)n : 1;
}

int main(int argc, char **argv)
{
    struct writer writers[THREADS] = {0};
    uint64_t n_blobs;

    if (argc != 4 || !slice_to_u64(slice_of(argv[2]), &n_blobs)) {
        fputs(usage, stderr);
        return EXIT_FAILURE;
    }
    struct store store = {.folder = argv[1],
                          .upstream = argv[3],
                          .n_repos = repos_for(n_blobs),
                          .now_s = (int64_t)time(NULL)};
    if (mkdir(argv[1], 0755) < 0 && errno != EEXIST)
        fail("make", argv[1]);
    for (unsigned i = 0; i < THREADS; i++) {
        writers[i].store = &store;
        writers[i].number = i;
        CHECK(pthread_create(&writers[i].id, NULL, write_repos, &writers[i]) == 0);
    }
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(writers[i].id, NULL);
    printf("{\"repositories\":%u,\"images\":%" PRIuFAST64 ",\"blobs\":%" PRIuFAST64
           ",\"bytes\":%" PRIuFAST64 "}\n",
           store.n_repos, atomic_load(&store.n_images), atomic_load(&store.n_blobs),
           atomic_load(&store.n_bytes));
    return EXIT_SUCCESS;
}
