/*
 * Where things lie under the storage root: the layout of registry:2 below docker/registry/v2, our
 * own files below _mirrord. Names come from clients: only those that pass layout_repo_is_valid and
 * layout_tag_is_valid become paths, so that none can leave its folder.
 * Any thread: nothing changes after layout_new but an atomic counter. Paths are strings of the
 * caller's, to be freed.
 */
#ifndef CACHE_LAYOUT_H
#define CACHE_LAYOUT_H

#include <stdbool.h>

#include "base/digest.h"
#include "base/slice.h"

struct layout;

struct layout *layout_new(const char *storage_path);
void layout_free(struct layout **l);

/* Components of letters, digits and "._:-" that begin with a letter or digit, joined by '/'. */
bool layout_repo_is_valid(struct slice repo);
/* OCI distribution-spec: [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}. */
bool layout_tag_is_valid(struct slice tag);

const char *layout_root(const struct layout *l);
const char *layout_repositories(const struct layout *l); /* docker/registry/v2/repositories */
const char *layout_blobs(const struct layout *l);        /* docker/registry/v2/blobs */
const char *layout_fills(const struct layout *l);        /* _mirrord/fills */
const char *layout_tmp(const struct layout *l);          /* _mirrord/tmp */

/* blobs/<alg>/<first two hex>/<hex>/data */
char *layout_blob(const struct layout *l, const struct digest *d);
/* _mirrord/fills/<alg>-<hex>.part and .map */
char *layout_fill_part(const struct layout *l, const struct digest *d);
char *layout_fill_map(const struct layout *l, const struct digest *d);
/* The digest a file of the fills folder belongs to; false for a foreign name. */
bool layout_fill_name_parse(struct slice name, struct digest *out);
/* _mirrord/damaged, and in it what was stored under this digest and is not what its name says */
const char *layout_damaged_folder(const struct layout *l);
char *layout_damaged(const struct layout *l, const struct digest *d);
/* The digest such a file is named by; false for a foreign name. */
bool layout_damaged_name_parse(struct slice name, struct digest *out);
/* A name in _mirrord/tmp that nobody else has. */
char *layout_tmp_file(struct layout *l);

/* Below repositories/<repo>; the names are valid ones (CHECK). */
char *layout_repo(const struct layout *l, struct slice repo);
char *layout_tags(const struct layout *l, struct slice repo);
char *layout_tag(const struct layout *l, struct slice repo, struct slice tag); /* the folder */
char *layout_tag_link(const struct layout *l, struct slice repo, struct slice tag);
char *layout_tag_index_link(const struct layout *l, struct slice repo, struct slice tag,
                            const struct digest *d);
char *layout_tag_record(const struct layout *l, struct slice repo, struct slice tag);
char *layout_revision_link(const struct layout *l, struct slice repo, const struct digest *d);
char *layout_revision_record(const struct layout *l, struct slice repo, const struct digest *d);
char *layout_layer_link(const struct layout *l, struct slice repo, const struct digest *d);
char *layout_layer_record(const struct layout *l, struct slice repo, const struct digest *d);
/* _uploads/<id>: the folder of an upload; all uploads when id is empty. */
char *layout_upload(const struct layout *l, struct slice repo, struct slice id);

#endif
