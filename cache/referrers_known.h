/*
 * Which revisions of a repository have been read for the index of its referrers: the file
 * _referrers/known. A set, not a time: clocks are set back, and volumes are copied with their
 * times. It also says how the folders of the revisions looked at that time, so that they need not
 * be listed again while they look the same.
 *
 * One line of text, then the first 16 bytes of each digest. Whatever damages it, at worst revisions
 * are read again. Memory is bounded: of more than REFERRERS_KNOWN_MAX revisions the rest is read
 * every time. One owner, one pool thread at a time.
 */
#ifndef CACHE_REFERRERS_KNOWN_H
#define CACHE_REFERRERS_KNOWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"
#include "cache/layout.h"

#define REFERRERS_KNOWN_MAX (1u << 18)
#define REFERRERS_KEY_BYTES 16

/* A folder at some time; all zero: there was none. */
struct referrers_look {
    uint64_t inode;
    int64_t modified_ns, changed_ns;
};

struct referrers_known {
    /* Of the folders _manifests/revisions/<alg>. Only when is_settled nothing can have come into
     * them unseen while they look like this. */
    struct referrers_look looks[DIGEST_ALG_MAX];
    bool is_settled;
    uint8_t (*keys)[REFERRERS_KEY_BYTES];
    size_t n, cap;
    bool is_full; /* some did not fit */
};

void referrers_known_init(struct referrers_known *k);
void referrers_known_fini(struct referrers_known *k);
/* What the file says; nothing when there is none that can be used. */
void referrers_known_load(struct referrers_known *k, const struct layout *l, struct slice repo);
int referrers_known_store(struct referrers_known *k, struct layout *l, struct slice repo,
                          struct error *err);

void referrers_known_add(struct referrers_known *k, const struct digest *d);
/* For referrers_known_has(); not needed after a load. */
void referrers_known_sort(struct referrers_known *k);
bool referrers_known_has(const struct referrers_known *k, const struct digest *d);

/* _manifests/revisions/<alg>; free() it. */
char *referrers_known_folder(const struct layout *l, struct slice repo, enum digest_alg alg);
/* How the folders look now. */
void referrers_known_look(const struct layout *l, struct slice repo,
                          struct referrers_look looks[DIGEST_ALG_MAX]);
/* Whether nothing that has come into the folders before now_ns (by the clock of the file system)
 * can have left them looking as they do. */
bool referrers_known_can_settle(const struct referrers_look looks[DIGEST_ALG_MAX], int64_t now_ns);

#endif
