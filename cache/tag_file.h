/*
 * Tags in the storage: _manifests/tags/<tag>/current/link with the digest, index/<alg>/<hex>/link
 * as registry:2 keeps it, and mirrord.json with what we know beyond. Blocking: pool threads only.
 * Repository and tag are valid names.
 */
#ifndef CACHE_TAG_FILE_H
#define CACHE_TAG_FILE_H

#include "base/error.h"
#include "cache/disk.h"
#include "cache/layout.h"
#include "cache/tag.h"
#include "cache/tag_front.h"

/* 0, -ENOENT, or another negative errno. What the link says and our record does not explain was
 * pushed, by another program, when the link was written. Of a link that is damaged the record
 * counts alone, if it is whole; else there is no tag. */
int tag_file_load(struct layout *l, struct slice repo, struct slice tag, struct tag_record *out);
/* What stands in the two files, for who looks for damage. 0; -ENOENT: the file is not there;
 * -EBADMSG: it does not say what it should; or another negative errno. */
struct tag_file_state {
    int link_rc, record_rc;
    struct digest link;
    struct tag_record record; /* what can be read of it */
};
void tag_file_look(struct layout *l, struct slice repo, struct slice tag,
                   struct tag_file_state *out);
/* Both halves (TAG_ABSENT is not written), durably. The link gets the pushed digest if there is
 * one, else the mirrored one; it is replaced atomically. Whenever this is cut off, what was
 * mirrored does not become pushed, and what was pushed stays it. */
int tag_file_store(struct layout *l, struct slice repo, struct slice tag,
                   const struct tag_record *record, struct error *err);
/* The whole folder; when the link is gone, durably, the tag is. -ENOENT: there was no link.
 * DISK_WHOLE: without waiting for the disk. d, what it points to, may be NULL: with it, a tag that
 * never pointed to anything else goes without a look into its folders. */
int tag_file_remove(struct layout *l, const struct tag_key *k, const struct digest *d,
                    enum disk_care care, struct error *err);

#endif
