/*
 * What the files of the scrub share: the place it works on, what it has found, moving that away,
 * and the walks over the links, which decide about it, and the tags. One thread at a time;
 * blocking.
 */
#ifndef CACHE_SCRUB_PRIVATE_H
#define CACHE_SCRUB_PRIVATE_H

#include <sys/stat.h>

#include "cache/layout.h"
#include "cache/scrub.h"

struct manifests;
struct storage_lock;
struct store;
struct tags;
struct vouches;

/* Dry, it has the layout only. What it points to outlives the scrub. */
struct scrub_place {
    struct layout *layout;
    struct store *store;
    struct vouches *vouches;
    struct manifests *manifests;
    struct tags *tags;
    struct storage_lock *lock; /* NULL: not to be had; only scrub_verify wants it */
    bool is_dry;
};

const struct scrub_place *scrub_place_of(const struct scrub *s);

/* Who is told, and what is counted. */
struct scrub_desk {
    struct scrub_report report;
    scrub_tell_fn tell;
    void *tell_arg;
    scrub_refetch_fn refetch; /* NULL: there is no upstream */
    void *refetch_arg;
};

void scrub_desk_tell(struct scrub_desk *desk, enum scrub_news news, const struct digest *d,
                     const char *detail);
/* Something could not be looked at. */
void scrub_desk_note(struct scrub_desk *desk, const struct error *err);

/* --- what is damaged (scrub_damage.c) --------------------------------------------------------- */

/* The file st was found to be wrong: it leaves its name, unless another one has it by now. Of a
 * manifest whose right bytes are still in memory those are stored again. 1: done; 0: there was
 * nothing to do; or a negative errno. */
int scrub_damage_move(const struct scrub_place *place, const struct digest *d,
                      const struct stat *st, struct scrub_desk *desk, struct error *err);

/* One that was moved away, or in a dry run: would be. */
struct scrub_suspect {
    struct digest digest;
    bool is_pushed;   /* somebody pushed it, or a pushed manifest references it */
    bool is_mirrored; /* the upstream has it: in this repository, as this */
    enum link_kind kind;
    char *repo;
};

/* Sorted by digest; at most SCRUB_SUSPECTS_MAX. */
struct scrub_suspects {
    struct scrub_suspect *items;
    size_t n;
    bool is_full; /* there may be more */
};

void scrub_suspects_fini(struct scrub_suspects *ss);
void scrub_suspects_add(struct scrub_suspects *ss, const struct digest *d);
/* NULL: it is none. */
struct scrub_suspect *scrub_suspects_find(const struct scrub_suspects *ss, const struct digest *d);
/* Adds those that lie aside, from behind *last on, which goes on. A file among them that has its
 * digest goes back under its name. */
void scrub_suspects_load(struct scrub_suspects *ss, const struct scrub_place *place,
                         struct scrub_desk *desk, char last[DIGEST_TEXT_SIZE]);
/* Acts on what the walk has found. is_unknown: somebody may have pushed any of them. */
void scrub_suspects_judge(struct scrub_suspects *ss, const struct scrub_place *place,
                          struct scrub_desk *desk, bool is_unknown);

/* --- the links (scrub_links.c) ---------------------------------------------------------------- */

struct scrub_links;

/* want_all: tells what is wrong with links, too; else only whose the suspects are. */
struct scrub_links *scrub_links_new(const struct scrub_place *place, struct scrub_suspects *ss,
                                    bool want_all);
void scrub_links_free(struct scrub_links **w);
/* Looks at n links. False at the end. */
bool scrub_links_turn(struct scrub_links *w, struct scrub_desk *desk, unsigned n);
/* Something that may tell whose a blob is could not be read. */
bool scrub_links_is_unknown(const struct scrub_links *w);

/* --- the tags (scrub_tags.c) ------------------------------------------------------------------ */

struct scrub_tags;

struct scrub_tags *scrub_tags_new(const struct scrub_place *place);
void scrub_tags_free(struct scrub_tags **w);
/* Looks at n tags. False at the end. */
bool scrub_tags_turn(struct scrub_tags *w, struct scrub_desk *desk, unsigned n);

#endif
