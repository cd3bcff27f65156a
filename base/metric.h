/*
 * Counters and gauges, declared once in base/metric.def with the text that documents them.
 * Adding is one relaxed atomic on the calling worker's own cache line; reading sums the lines.
 * Any thread.
 */
#ifndef BASE_METRIC_H
#define BASE_METRIC_H

#include <stdint.h>

#include "base/strbuf.h"

enum metric {
#define METRIC(id, kind, name, labels, help) METRIC_##id,
#include "base/metric.def"
#undef METRIC
    METRIC_MAX
};

void metric_add(enum metric m, int64_t n);
static inline void metric_inc(enum metric m)
{
    metric_add(m, 1);
}
/* For gauges whose value is known as a whole (a quota, a state). */
void metric_set(enum metric m, int64_t value);
int64_t metric_get(enum metric m);
/* Prometheus text exposition format 0.0.4 of all of them. */
void metric_print(struct strbuf *out);

#endif
