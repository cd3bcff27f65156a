/* What upstream/token.c (the table) and upstream/token_request.c (the network) share. */
#ifndef UPSTREAM_TOKEN_PRIVATE_H
#define UPSTREAM_TOKEN_PRIVATE_H

#include "upstream/token.h"

struct token_entry;

/* Asks the realm, on the calling worker. Ends with exactly one token_entry_finish(). Holds a
 * reference to the upstream until then. */
void token_request_start(struct upstream *u, const struct token_key *key,
                         struct token_entry *entry);
/* The entry's request is over; life_s counts when result->end is TOKEN_OK. Any worker. */
void token_entry_finish(struct upstream *u, struct token_entry *entry,
                        const struct token_result *result, unsigned life_s);

#endif
