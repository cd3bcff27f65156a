/*
 * What tests of fills are made of: a driver that brings known bytes, and clients that read them on
 * any worker and compare.
 */
#ifndef TESTS_UNIT_FILL_FEED_H
#define TESTS_UNIT_FILL_FEED_H

#include "cache/fill.h"
#include "tests/unit/cache_place.h"

#define MIB (1024 * 1024)
#define FEED_WRITERS 4
#define NEVER UINT64_MAX

/* A driver that brings known bytes, a piece per mail. */
struct feed {
    struct mail mail; /* first */
    struct place *place;
    const uint8_t *content;
    uint64_t size;
    struct digest digest;
    size_t piece;        /* bytes per write; 0: random */
    uint64_t fail_at;    /* the upstream fails when so many bytes have been given */
    uint64_t wrong_at;   /* this byte is given wrong */
    uint64_t pause_at;   /* nothing more is given until feed_go_on */
    uint64_t pause_next; /* where it pauses after that */
    bool keep;           /* of fill_fail */
    bool want_late_size; /* the size is known after the last byte only */
    bool want_suspend;   /* when idle */
    bool want_claim_all; /* no gap is left for a demand */
    struct worker *home;
    struct fill *fill;
    struct fill_writer *writers[FEED_WRITERS];
    bool is_paused;
    bool is_stopped; /* waits for room */
    uint64_t n_given, n_present_at_begin;
    unsigned n_begun, n_demands, n_idle, n_rooms, n_ended, seed;
    int rc;
    bool was_suspended;
    struct moment paused, ended;
};

void feed_init(struct feed *d, struct place *p, const uint8_t *content, uint64_t size,
               const struct digest *digest);
/* No mail of it is under way after this. */
void feed_fini(struct feed *d);
/* After a pause; on the home worker. */
void feed_go_on(void *arg);

/* A client: reads its range and compares; from the store, when the blob is there already. */
struct client {
    struct feed *feed;
    unsigned worker;
    uint64_t off, end; /* end NEVER: all of it */
    size_t max_want;
    bool want_slow;    /* a piece per turn of the loop */
    bool want_same;    /* the fill of the feed, though it may have left the table */
    uint64_t leave_at; /* closes when it has come so far */
    bool is_new;
    struct mail mail;
    struct fill *fill;
    struct fill_reader *reader;
    uint64_t pos, max_held;
    bool is_wrong, is_over;
    int rc;
    unsigned seed;
    struct moment over;
};

/* Starts it on a worker; want_slow, want_same and leave_at are set before. The first one of a
 * digest gives the fill its feed. */
void client_start(struct client *c, struct feed *d, unsigned worker, uint64_t off, uint64_t end);
/* What its reading ended with. */
int client_wait(struct client *c);

/* Nothing is left of any fill. */
void expect_no_partial(struct place *p);
/* The blob of the feed is stored, and nothing else is left. */
void expect_kept(struct feed *d);

#endif
