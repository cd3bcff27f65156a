/*
 * Finding the referrers of one subject in the index: a page of them, in order of their digests.
 * What is in the index is checked against the repository: entries whose revision link or manifest
 * is gone are left out, damaged ones are made again from the manifest. In steps of bounded work and
 * memory; pool threads, one at a time.
 */
#ifndef CACHE_REFERRERS_PAGE_H
#define CACHE_REFERRERS_PAGE_H

#include "base/error.h"
#include "cache/layout.h"
#include "cache/referrers.h"

struct referrers_page;

/* The query's slices are borrowed and outlive the page. */
struct referrers_page *referrers_page_new(struct layout *l, const struct referrers_query *q);
/* 1: there is more to do; 0: done; or a negative errno. */
int referrers_page_step(struct referrers_page *p, struct error *err);
/* The caller owns it. */
struct referrer_list *referrers_page_take(struct referrers_page *p);
bool referrers_page_has_more(const struct referrers_page *p);
void referrers_page_free(struct referrers_page **p);

#endif
