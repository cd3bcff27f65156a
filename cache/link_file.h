/*
 * Links in the storage: the link file as registry:2 writes it (the digest's text), and beside it,
 * in mirrord.json, what we know beyond:
 *
 *   {"origin":"mirrored","upstream":"…","fetched_at":…}     both kinds; revisions also "media_type"
 *   {"origin":"pushed","pushed_at":…,"media_type":"…"}      revisions; pushed layers have none
 *   {"media_type":"…"}                                      revisions, of earlier versions:
 * mirrored
 *
 * A link without a record, or with one that cannot be read, is a pushed one. Files are written in
 * an order in which a crash never makes a pushed link look mirrored.
 * Blocking: pool threads only. The caller sees to it that nobody else writes the same link.
 */
#ifndef CACHE_LINK_FILE_H
#define CACHE_LINK_FILE_H

#include "base/digest.h"
#include "base/error.h"
#include "base/strbuf.h"
#include "cache/disk.h"
#include "cache/layout.h"
#include "cache/link.h"

/* Which link; the repository's name is a valid one. Borrowed. */
struct link_name {
    enum link_kind kind;
    struct slice repo;
    const struct digest *digest;
};

/* 0 with where it came from; -ENOENT when there is none or a damaged one; or another errno. */
int link_file_load(struct layout *l, const struct link_name *name, struct origin *out);
/* What the record of a revision says, appended to *out; nothing when it says nothing. */
void link_file_media_type(struct layout *l, const struct link_name *name, struct strbuf *out);
/* Links, durably but for mirrored layers. A mirrored link leaves one that is there as it is. *now
 * is where the link comes from afterwards. */
int link_file_add(struct layout *l, const struct link_name *name, struct slice media_type,
                  struct origin *now, struct error *err);
/* The same for who looks through all of them: what a mirrored layer's link says is not read, only
 * whether it is as long as it should be. */
int link_file_survey(struct layout *l, const struct link_name *name, struct origin *out);
/* As link_file_load for one of which the ledger says that it is mirrored: -EEXIST if it has become
 * a pushed one since. A layer is not read for that: none that is pushed has a record. */
int link_file_look(struct layout *l, const struct link_name *name);
/* Durably, or not. -ENOENT when there was none. */
int link_file_remove(struct layout *l, const struct link_name *name, enum disk_care care,
                     struct error *err);

#endif
