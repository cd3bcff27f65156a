/*
 * What the files of the admin listener share.
 */
#ifndef MIRRORD_ADMIN_PRIVATE_H
#define MIRRORD_ADMIN_PRIVATE_H

#include "base/strbuf.h"
#include "mirrord/admin.h"

/* Sends what was printed; the text goes with the reply. */
void admin_send(struct txn *txn, int status, const char *media_type, struct strbuf *text);

/* The same for JSON, with a Link if it is not empty. */
void admin_send_linked(struct txn *txn, struct strbuf *text, struct slice link);

/* /repositories?n=&last= and /tags?repository=&n=&last=: they answer later. */
void admin_list_repositories(struct txn *txn, const struct admin *admin);
void admin_list_tags(struct txn *txn, const struct admin *admin);

/* /scrub, GET and POST. */
void admin_scrub(struct txn *txn, const struct admin *admin);

#endif
