#include "config.h"

#include "cache/meta.h"

#include <stddef.h>

#include "base/check.h"
#include "base/metric.h"
#include "cache/meta_private.h"

static const struct {
    enum metric hits, misses, wrong;
} METRICS[] = {
    [META_TAGS] = {METRIC_META_CACHE_HITS, METRIC_META_CACHE_MISSES, METRIC_META_CACHE_WRONG},
    [META_OBJECTS] = {METRIC_META_LRU_HITS, METRIC_META_LRU_MISSES, METRIC_META_LRU_WRONG},
};
_Static_assert(sizeof(METRICS) / sizeof(METRICS[0]) == META_ROLE_MAX, "metrics for each role");

void meta_note_found(const struct meta *m, bool is_found)
{
    metric_inc(is_found ? METRICS[m->role].hits : METRICS[m->role].misses);
}

void meta_free(struct meta **m)
{
    if (*m)
        (*m)->ops->free(*m);
    *m = NULL;
}

bool meta_is_shared(const struct meta *m)
{
    return m->is_shared;
}

int meta_get(struct meta *m, struct slice key, meta_get_fn done, void *arg)
{
    int rc = m->ops->get(m, key, done, arg);

    CHECK(rc <= 0);
    if (rc < 0)
        meta_note_found(m, false);
    return rc;
}

void meta_put(struct meta *m, struct slice key, struct slice value, unsigned ttl_s)
{
    m->ops->put(m, key, value, ttl_s);
}

void meta_forget(struct meta *m, struct slice key)
{
    m->ops->forget(m, key);
}

void meta_refuse(struct meta *m, struct slice key)
{
    metric_inc(METRICS[m->role].wrong);
    m->ops->forget(m, key);
}

void meta_on_lost(struct meta *m, void (*lost)(void *arg), void *arg)
{
    m->lost = lost;
    m->lost_arg = arg;
}
