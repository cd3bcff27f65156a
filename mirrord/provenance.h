/*
 * Telling a client, and the access line, where what it gets came from: the header X-Mirrord-Origin,
 * "pushed" or "mirrored; upstream=<name>". On answers with manifests and blobs. For a tag it is
 * about the half that is served, for a digest about the repository's link to it.
 */
#ifndef MIRRORD_PROVENANCE_H
#define MIRRORD_PROVENANCE_H

struct origin;
struct reply;
struct txn;

/* Before the reply is sent; on its worker. NULL: it is not known cheaply, and nothing is told.
 * hot */
void provenance_tell(struct txn *txn, struct reply *r, const struct origin *origin);

#endif
