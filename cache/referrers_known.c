#include "config.h"

#include "cache/referrers_known.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/strbuf.h"
#include "cache/disk.h"
#include "cache/referrer_entry.h"

#define HEAD_MAX_BYTES 512
/* Times of files are coarse: two changes within this time may leave the same one. */
#define COARSE_NS (3 * INT64_C(1000000000))

void referrers_known_init(struct referrers_known *k)
{
    *k = (struct referrers_known){.is_settled = false};
}

void referrers_known_fini(struct referrers_known *k)
{
    free(k->keys);
    referrers_known_init(k);
}

static void key_of(const struct digest *d, uint8_t out[REFERRERS_KEY_BYTES])
{
    memcpy(out, d->bytes, REFERRERS_KEY_BYTES);
    /* The same bytes under another algorithm are another revision. */
    out[0] ^= (uint8_t)d->alg;
}

void referrers_known_add(struct referrers_known *k, const struct digest *d)
{
    if (k->n == REFERRERS_KNOWN_MAX) {
        k->is_full = true;
        return;
    }
    if (k->n == k->cap) {
        k->cap = k->cap ? k->cap * 2 : 64;
        k->keys = xrealloc(k->keys, k->cap * sizeof(k->keys[0]));
    }
    key_of(d, k->keys[k->n++]);
}

static int compare_keys(const void *a, const void *b)
{
    return memcmp(a, b, REFERRERS_KEY_BYTES);
}

void referrers_known_sort(struct referrers_known *k)
{
    if (k->n > 1)
        qsort(k->keys, k->n, sizeof(k->keys[0]), compare_keys);
}

bool referrers_known_has(const struct referrers_known *k, const struct digest *d)
{
    uint8_t key[REFERRERS_KEY_BYTES];

    key_of(d, key);
    return k->n > 0 && bsearch(key, k->keys, k->n, sizeof(k->keys[0]), compare_keys);
}

/* --- the folders ------------------------------------------------------------------------------ */

char *referrers_known_folder(const struct layout *l, struct slice repo, enum digest_alg alg)
{
    char *folder = layout_repo(l, repo);
    char *path = xasprintf("%s/_manifests/revisions/%s", folder, digest_alg_name(alg));

    free(folder);
    return path;
}

static int64_t nanoseconds(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void referrers_known_look(const struct layout *l, struct slice repo,
                          struct referrers_look looks[DIGEST_ALG_MAX])
{
    for (enum digest_alg alg = 0; alg < DIGEST_ALG_MAX; alg++) {
        struct stat st;
        char *path = referrers_known_folder(l, repo, alg);
        looks[alg] = (struct referrers_look){.inode = 0};
        if (stat(path, &st) == 0)
            looks[alg] = (struct referrers_look){st.st_ino, nanoseconds(st.st_mtim),
                                                 nanoseconds(st.st_ctim)};
        free(path);
    }
}

bool referrers_known_can_settle(const struct referrers_look looks[DIGEST_ALG_MAX], int64_t now_ns)
{
    for (enum digest_alg alg = 0; alg < DIGEST_ALG_MAX; alg++) {
        if (looks[alg].inode && looks[alg].changed_ns > now_ns - COARSE_NS)
            return false;
    }
    return true;
}

/* --- the file --------------------------------------------------------------------------------- */

static char *path_of(const struct layout *l, struct slice repo)
{
    char *root = referrer_entry_root(l, repo);
    char *path = xasprintf("%s/known", root);

    free(root);
    return path;
}

static void print_head(const struct referrers_known *k, struct strbuf *out)
{
    strbuf_addf(out, "mirrord referrers 1 %d", k->is_settled);
    for (enum digest_alg alg = 0; alg < DIGEST_ALG_MAX; alg++) {
        const struct referrers_look *look = &k->looks[alg];
        strbuf_addf(out, " %" PRIu64 " %" PRId64 " %" PRId64, look->inode, look->modified_ns,
                    look->changed_ns);
    }
    strbuf_add_char(out, '\n');
}

static bool parse_head(const char *line, struct referrers_known *k)
{
    int settled = 0, at = 0;

    if (sscanf(line, "mirrord referrers 1 %1d%n", &settled, &at) != 1)
        return false;
    for (enum digest_alg alg = 0; alg < DIGEST_ALG_MAX; alg++) {
        struct referrers_look *look = &k->looks[alg];
        int n = 0;
        line += at;
        if (sscanf(line, " %" SCNu64 " %" SCNd64 " %" SCNd64 "%n", &look->inode, &look->modified_ns,
                   &look->changed_ns, &n) != 3)
            return false;
        at = n;
    }
    k->is_settled = settled == 1 && line[at] == '\0';
    return true;
}

void referrers_known_load(struct referrers_known *k, const struct layout *l, struct slice repo)
{
    char head[HEAD_MAX_BYTES];
    struct strbuf text = STRBUF_INIT;
    char *path = path_of(l, repo);
    size_t max_bytes = HEAD_MAX_BYTES + (size_t)REFERRERS_KNOWN_MAX * REFERRERS_KEY_BYTES;
    int rc = disk_read_file(path, max_bytes, &text);
    struct slice rest = {text.ptr, text.len};
    struct slice line = rc == 0 && text.len > 0 ? slice_cut(&rest, '\n') : SLICE_NONE;

    CHECK(k->n == 0);
    if (line.len > 0 && line.len < sizeof(head) && rest.ptr) {
        memcpy(head, line.ptr, line.len);
        head[line.len] = '\0';
        if (parse_head(head, k)) {
            k->n = k->cap = rest.len / REFERRERS_KEY_BYTES;
            k->keys = xmalloc((k->n + 1) * REFERRERS_KEY_BYTES);
            memcpy(k->keys, rest.ptr, k->n * REFERRERS_KEY_BYTES);
            /* Believed sorted no more than anything else that was read. */
            referrers_known_sort(k);
        }
    }
    strbuf_fini(&text);
    free(path);
}

int referrers_known_store(struct referrers_known *k, struct layout *l, struct slice repo,
                          struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    char *path = path_of(l, repo);

    print_head(k, &text);
    if (k->n)
        strbuf_add(&text, k->keys, k->n * REFERRERS_KEY_BYTES);
    int rc = disk_write_file(l, path, (struct slice){text.ptr, text.len}, DISK_WHOLE, err);
    strbuf_fini(&text);
    free(path);
    return rc;
}
