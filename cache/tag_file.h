/*
 * Tags in the storage: _manifests/tags/<tag>/current/link with the digest, index/<alg>/<hex>/link
 * as registry:2 keeps it, and mirrord.json with what we know beyond. Blocking: pool threads only.
 * Repository and tag are valid names.
 */
#ifndef CACHE_TAG_FILE_H
#define CACHE_TAG_FILE_H

#include "base/error.h"
#include "cache/layout.h"
#include "cache/tag.h"

/* 0, -ENOENT, or another negative errno. Without a record of ours, or with one about another
 * digest than the link's, the tag is TAG_LOCAL: another program wrote it. */
int tag_file_load(struct layout *l, struct slice repo, struct slice tag, struct tag_record *out);
/* The link is replaced atomically and durably; when the digest is the same already, only the
 * record is written. */
int tag_file_store(struct layout *l, struct slice repo, struct slice tag,
                   const struct tag_record *record, struct error *err);

#endif
