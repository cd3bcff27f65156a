/* Images in a cache under test, and what the ledger says about them. All calls from the test's own
 * thread. */
#ifndef TESTS_UNIT_CACHE_SCENE_H
#define TESTS_UNIT_CACHE_SCENE_H

#include <sqlite3.h>

#include "cache/link.h"
#include "tests/unit/cache_place.h"

enum scene_origin { SCENE_MIRRORED, SCENE_PUSHED };

/* n bytes that begin with the text; stored, not linked. */
void scene_blob(struct place *p, const char *text, size_t n, struct digest *out);
/* A manifest with these layers (the list ends with NULL), linked with them into the repository, and
 * tagged if the tag is not empty. out may be NULL. */
void scene_image(struct place *p, const char *repo, const char *tag,
                 const struct digest *const *layers, enum scene_origin origin, struct digest *out);
/* The same with manifests as its children, which are linked already or not. */
void scene_index(struct place *p, const char *repo, const char *tag,
                 const struct digest *const *children, enum scene_origin origin,
                 struct digest *out);
/* A file in the folder of a link; the path is valid until the next call. */
const char *scene_link(struct place *p, const char *repo, enum link_kind kind,
                       const struct digest *d, const char *file);
bool scene_has_link(struct place *p, const char *repo, enum link_kind kind, const struct digest *d);
bool scene_has_tag(struct place *p, const char *repo, const char *tag);
/* Behind the cache's back. */
void scene_remove_tag(struct place *p, const char *repo, const char *tag);
/* What lies under blobs. */
uint64_t scene_stored_bytes(struct place *p, uint64_t *n_out);
/* ledger_tend, until it is through. */
void scene_tend(struct place *p);

/* A line for each image: "repo:tag mirrored whole shared=N [pinned] ". To be freed. */
char *scene_list(struct place *p);
/* The same, n at a time. */
char *scene_list_pages(struct place *p, size_t n);
size_t scene_lines(const char *list);
int64_t scene_last_use(struct place *p, const char *name);

#endif
