#include "config.h"

#include "base/metric.h"

#include <stdatomic.h>
#include <string.h>

#include "base/check.h"

/* One line of counters per thread; threads beyond the last share lines, which costs speed only. */
#define N_LINES 32

static struct line {
    _Alignas(64) _Atomic int64_t values[METRIC_MAX];
} lines[N_LINES];

static atomic_uint n_threads;
static _Thread_local struct line *own_line;

static const struct {
    const char *kind, *name, *labels, *help;
} TABLE[] = {
#define METRIC(id, kind, name, labels, help) [METRIC_##id] = {#kind, name, labels, help},
#include "base/metric.def"
#undef METRIC
};
_Static_assert(sizeof(TABLE) / sizeof(TABLE[0]) == METRIC_MAX, "one row per metric");

static struct line *line_of_thread(void)
{
    if (!own_line)
        own_line = &lines[atomic_fetch_add(&n_threads, 1) % N_LINES];
    return own_line;
}

void metric_add(enum metric m, int64_t n)
{
    CHECK(m < METRIC_MAX);
    atomic_fetch_add_explicit(&line_of_thread()->values[m], n, memory_order_relaxed);
}

void metric_set(enum metric m, int64_t value)
{
    CHECK(m < METRIC_MAX);
    /* Nobody adds to a metric that is set, so its sum is the first line's value. */
    atomic_store_explicit(&lines[0].values[m], value, memory_order_relaxed);
}

int64_t metric_get(enum metric m)
{
    int64_t sum = 0;

    for (int i = 0; i < N_LINES; i++)
        sum += atomic_load_explicit(&lines[i].values[m], memory_order_relaxed);
    return sum;
}

void metric_print(struct strbuf *out)
{
    for (int m = 0; m < METRIC_MAX; m++) {
        if (m == 0 || strcmp(TABLE[m].name, TABLE[m - 1].name) != 0)
            strbuf_addf(out, "# HELP %s %s\n# TYPE %s %s\n", TABLE[m].name, TABLE[m].help,
                        TABLE[m].name, TABLE[m].kind);
        strbuf_add_str(out, TABLE[m].name);
        if (*TABLE[m].labels)
            strbuf_addf(out, "{%s}", TABLE[m].labels);
        strbuf_addf(out, " %lld\n", (long long)metric_get((enum metric)m));
    }
}
