/*
 * A list of referrers: descriptors as the JSON texts they came as (OCI image-spec, descriptor.md),
 * with what has to be known to sort and to filter them. One block of text and one array; one owner,
 * one thread at a time. Its bytes are bounded by whoever adds to it.
 *
 * What is in a list can be told to clients: each descriptor is one JSON object in UTF-8 whose
 * members have the types that descriptor.md gives them. Clients decode a list as a whole, so that
 * one wrong descriptor would hide all others from them.
 */
#ifndef CACHE_REFERRER_LIST_H
#define CACHE_REFERRER_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/slice.h"

struct referrer_list;
struct strbuf;

#define REFERRER_INDEX_TYPE "application/vnd.oci.image.index.v1+json"

struct referrer_list *referrer_list_new(void);
void referrer_list_free(struct referrer_list **list);

/* Adds a copy of one descriptor; -EBADMSG with the reason when it cannot be told to clients, or is
 * not about `wanted` (NULL: about anything). */
int referrer_list_add(struct referrer_list *list, struct slice descriptor,
                      const struct digest *wanted, struct error *err);
/* Adds the descriptors in an image index (image-index.md), as a registry answers and as the tag
 * schema keeps them. Descriptors that cannot be told are left out and counted. -EBADMSG, and
 * nothing is added, when the text is not an object with an array "manifests" (null is an empty
 * one). */
int referrer_list_read(struct referrer_list *list, struct slice index, size_t *n_left_out,
                       struct error *err);
/* By digest; of several with one digest the first that was added stays. */
void referrer_list_sort(struct referrer_list *list);
/* {"schemaVersion":2,"mediaType":…,"manifests":[…]} */
void referrer_list_print(const struct referrer_list *list, struct strbuf *out);

size_t referrer_list_count(const struct referrer_list *list);
/* Of all descriptors together. */
size_t referrer_list_bytes(const struct referrer_list *list);
const struct digest *referrer_list_digest(const struct referrer_list *list, size_t i);
/* Valid until something is added. */
struct slice referrer_list_descriptor(const struct referrer_list *list, size_t i);
/* "artifactType" of the i-th is this, its escapes undone. */
bool referrer_list_has_type(const struct referrer_list *list, size_t i, struct slice artifact_type);
/* Whether a comes before (negative) or behind b in a sorted list. */
int referrer_list_compare(const struct digest *a, const struct digest *b);

#endif
