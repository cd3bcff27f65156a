#include "config.h"

#include "mirrord/lane.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/clock.h"
#include "mirrord/txn_private.h"

/* Lanes take numbers in blocks, so that they do not fight over the counter. */
#define ID_BLOCK 4096

static _Atomic uint64_t next_block = 1;

void lane_init(struct lane *l, struct server *s, const struct server_config *config)
{
    *l = (struct lane){
        .server = s,
        .limits = config->limits,
        .handler = config->handler,
        .ctx = config->ctx,
    };
}

void lane_fini(struct lane *l)
{
    CHECK(!l->conns && l->n_conns == 0);
    while (l->spare_buffers) {
        struct buffer *b = l->spare_buffers;
        l->spare_buffers = b->next;
        free(b);
    }
    while (l->spare_txns) {
        struct txn *t = l->spare_txns;
        l->spare_txns = t->next;
        txn_free(t);
    }
}

struct buffer *lane_take_buffer(struct lane *l)
{
    struct buffer *b = l->spare_buffers;

    if (b) {
        l->spare_buffers = b->next;
        l->n_spare_buffers--;
    } else {
        b = xmalloc(sizeof(*b) + LANE_BUFFER_BYTES);
        b->cap = LANE_BUFFER_BYTES;
    }
    b->next = NULL;
    b->at = b->len = b->scanned = 0;
    return b;
}

void lane_give_buffer(struct lane *l, struct buffer **bb)
{
    struct buffer *b = *bb;

    if (!b)
        return;
    *bb = NULL;
    if (b->cap != LANE_BUFFER_BYTES || l->n_spare_buffers >= LANE_SPARES_MAX) {
        free(b);
        return;
    }
    b->next = l->spare_buffers;
    l->spare_buffers = b;
    l->n_spare_buffers++;
}

struct buffer *lane_grow_buffer(struct lane *l, struct buffer *b, size_t n)
{
    size_t cap = b->cap;

    while (cap - b->len < n)
        cap *= 2;
    struct buffer *larger = xmalloc(sizeof(*larger) + cap);
    memcpy(larger, b, sizeof(*b) + b->len);
    larger->cap = cap;
    lane_give_buffer(l, &b);
    return larger;
}

uint64_t lane_next_id(struct lane *l)
{
    if (l->next_id == l->end_id) {
        l->next_id = atomic_fetch_add(&next_block, ID_BLOCK);
        l->end_id = l->next_id + ID_BLOCK;
    }
    return l->next_id++;
}

struct slice lane_date_line(struct lane *l)
{
    int64_t now_s = clock_wall_s();

    if (now_s != l->date_s) {
        char date[CLOCK_HTTP_DATE_SIZE];
        clock_http_date(now_s, date);
        int n = snprintf(l->date_line, sizeof(l->date_line), "Server: %s/%s\r\nDate: %s\r\n",
                         PACKAGE_NAME, PACKAGE_VERSION, date);
        CHECK(n > 0 && (size_t)n < sizeof(l->date_line));
        l->date_line_len = (size_t)n;
        l->date_s = now_s;
    }
    return (struct slice){l->date_line, l->date_line_len};
}
