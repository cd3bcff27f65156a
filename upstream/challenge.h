/*
 * WWW-Authenticate values (RFC 9110 section 11.6.1): several challenges in one field, parameters in
 * any order, quoted or bare, schemes and names in any case. Pure: it reads a slice and fills a
 * struct that owns its strings. What comes out may hold any byte but NUL and control characters.
 */
#ifndef UPSTREAM_CHALLENGE_H
#define UPSTREAM_CHALLENGE_H

#include <stdbool.h>

#include "base/slice.h"

enum challenge_scheme { CHALLENGE_BASIC, CHALLENGE_BEARER, CHALLENGE_OTHER };

/* A parameter that was not given is NULL. The first of a name counts. */
struct challenge {
    enum challenge_scheme scheme;
    char *realm;
    char *service;
    char *scope;
    char *error; /* "insufficient_scope", "invalid_token" */
};

#define CHALLENGE_BYTES_MAX 8192 /* longer field values are not read at all */

/* Cuts the next challenge off *rest. False at the end and where the grammar is broken. */
bool challenge_next(struct slice *rest, struct challenge *out);
void challenge_fini(struct challenge *c);

#endif
