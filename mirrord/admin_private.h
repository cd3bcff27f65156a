/*
 * What the files of the admin listener share.
 */
#ifndef MIRRORD_ADMIN_PRIVATE_H
#define MIRRORD_ADMIN_PRIVATE_H

#include "base/strbuf.h"
#include "mirrord/admin.h"

/* {"error":"…"} */
void admin_refuse(struct txn *txn, int status, const char *why);

/* Sends what was printed; the text goes with the reply. */
void admin_send(struct txn *txn, int status, const char *media_type, struct strbuf *text);

/* The same for JSON, with a Link if it is not empty. */
void admin_send_linked(struct txn *txn, struct strbuf *text, struct slice link);

/* /repositories?n=&last= and /tags?repository=&n=&last=: they answer later. */
void admin_list_repositories(struct txn *txn, const struct admin *admin);
void admin_list_tags(struct txn *txn, const struct admin *admin);
/* GET /images?pattern=&n=&last=, POST /evict?image=&dry_run=&n=&last= */
void admin_list_images(struct txn *txn, const struct admin *admin);
void admin_evict_images(struct txn *txn, const struct admin *admin);
/* GET, POST and DELETE /pins */
void admin_list_pins(struct txn *txn, const struct admin *admin);
void admin_change_pins(struct txn *txn, const struct admin *admin);
/* POST /pins?image= with a pattern: the images that match now. */
void admin_pin_images(struct txn *txn, const struct admin *admin);
/* The status that tells a negative errno of the cache. */
int admin_status_of(int rc);

/* /scrub, GET and POST. */
void admin_scrub(struct txn *txn, const struct admin *admin);

#endif
