#include "config.h"

#include "cache/scrub_list.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/names.h"

#define N_FOLDERS (DIGEST_ALG_MAX * 256)
#define NAMES_MAX 1000

struct scrub_list {
    const struct layout *layout;
    unsigned folder;             /* of all algorithms' 256 */
    struct repo_names *names;    /* of this folder; NULL: to be read */
    size_t next;                 /* of the names */
    char last[DIGEST_TEXT_SIZE]; /* hex; names up to this have been told */
};

struct scrub_list *scrub_list_new(const struct layout *layout, const struct digest *after)
{
    struct scrub_list *l = xcalloc(1, sizeof(*l));

    l->layout = layout;
    if (after) {
        digest_hex(after, l->last);
        l->folder = after->alg * 256 + after->bytes[0];
    }
    return l;
}

void scrub_list_free(struct scrub_list **ll)
{
    struct scrub_list *l = *ll;

    if (!l)
        return;
    repo_names_free(&l->names);
    free(l);
    *ll = NULL;
}

/* Offers the names of digests that belong into this folder. */
static void offer_all(const struct scrub_list *l, DIR *folder, struct names *names)
{
    const struct dirent *entry;
    struct digest d;

    while ((entry = readdir(folder))) {
        if (digest_parse_hex(l->folder / 256, slice_of(entry->d_name), &d) &&
            d.bytes[0] == l->folder % 256)
            names_offer(names, entry->d_name);
    }
}

static int read_folder(struct scrub_list *l, struct error *err)
{
    struct names names;
    char *path = xasprintf("%s/%s/%02x", layout_blobs(l->layout), digest_alg_name(l->folder / 256),
                           l->folder % 256);
    DIR *folder = opendir(path);
    int rc = folder || errno == ENOENT ? 0 : error_sys(err, -errno, "open folder %s", path);

    names_init(&names, l->last, NAMES_MAX);
    if (folder) {
        offer_all(l, folder, &names);
        closedir(folder);
    }
    l->names = names_take(&names);
    l->next = 0;
    free(path);
    return rc;
}

static void leave_names(struct scrub_list *l)
{
    CHECK(l->names && l->folder < N_FOLDERS);
    bool has_more = l->names->has_more;

    repo_names_free(&l->names);
    if (!has_more) {
        l->folder++;
        l->last[0] = '\0';
    }
}

int scrub_list_next(struct scrub_list *l, struct digest *out, struct error *err)
{
    int rc;

    while (l->folder < N_FOLDERS) {
        if (!l->names && (rc = read_folder(l, err)) < 0) {
            leave_names(l);
            return rc;
        }
        if (l->next < l->names->n) {
            const char *name = l->names->names[l->next++];
            snprintf(l->last, sizeof(l->last), "%s", name);
            CHECK(digest_parse_hex(l->folder / 256, slice_of(name), out));
            return 1;
        }
        leave_names(l);
    }
    return 0;
}

/* Names are spread evenly. Nearly everything is sha256, but that does not count until it is done.
 */
unsigned scrub_list_permille(const struct scrub_list *l)
{
    unsigned folder = l->folder < 256 ? l->folder : 256;
    size_t n = l->names ? l->names->n : 0;
    unsigned part = n > 0 && folder < 256 ? (unsigned)(1000 * l->next / n) : 0;

    return l->folder >= N_FOLDERS ? 1000 : (folder * 1000 + part) / 257;
}
