/*
 * What an upstream tells about its pull limit: Docker Hub's "ratelimit-limit: 100;w=21600" and
 * "ratelimit-remaining". Pure parsing; the owner (struct upstream) keeps and locks the result.
 */
#ifndef UPSTREAM_QUOTA_H
#define UPSTREAM_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

#define QUOTA_SOURCE_SIZE 64

/* -1: never told. */
struct quota {
    int64_t limit;
    int64_t remaining;
    int64_t window_s;
    char source[QUOTA_SOURCE_SIZE]; /* docker-ratelimit-source: an address or an id */
};

/* Where the quota is low: below a number of pulls, or below a share of the limit. */
struct quota_floor {
    int64_t number; /* 0: never low */
    bool is_percent;
};

void quota_init(struct quota *q);
/* "<count>[;w=<seconds>]"; *window_s is -1 when not told. False when it reads otherwise. */
bool quota_parse(struct slice value, int64_t *count, int64_t *window_s);
/* Takes over what the three header values tell; empty ones tell nothing. */
void quota_note(struct quota *q, struct slice limit, struct slice remaining, struct slice source);

/* "20" or "10%"; false when it reads otherwise. */
bool quota_floor_parse(struct slice text, struct quota_floor *out);
/* Fewer than the floor remain, of a limit that counts at present: what was told more than a window
 * ago is no longer so. age_ms: since it was told. */
bool quota_is_low(const struct quota *q, const struct quota_floor *floor, uint64_t age_ms);

#endif
