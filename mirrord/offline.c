#include "config.h"

#include "mirrord/offline.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/log.h"
#include "base/metric.h"

struct offline {
    atomic_bool is_on; /* what follows from the rest */
    pthread_mutex_t lock;
    bool by_setting, by_operator;
    bool has_operator; /* he has said something */
};

struct offline *offline_new(void)
{
    struct offline *o = xcalloc(1, sizeof(*o));

    pthread_mutex_init(&o->lock, NULL);
    return o;
}

void offline_free(struct offline **oo)
{
    struct offline *o = *oo;

    if (!o)
        return;
    *oo = NULL;
    pthread_mutex_destroy(&o->lock);
    free(o);
}

bool offline_is_on(const struct offline *o)
{
    return atomic_load_explicit(&o->is_on, memory_order_relaxed);
}

const atomic_bool *offline_flag(const struct offline *o)
{
    return &o->is_on;
}

static void apply_locked(struct offline *o)
{
    bool is_on = o->has_operator ? o->by_operator : o->by_setting;

    if (is_on == atomic_load(&o->is_on))
        return;
    atomic_store(&o->is_on, is_on);
    metric_set(METRIC_OFFLINE, is_on);
    log_info("offline", "%s, by %s",
             is_on ? "upstreams are not asked from now on" : "upstreams are asked again",
             o->has_operator ? "an operator" : "mirroring.offline");
}

void offline_set(struct offline *o, enum offline_by by, bool is_on)
{
    CHECK(by == OFFLINE_BY_SETTING || by == OFFLINE_BY_OPERATOR);
    pthread_mutex_lock(&o->lock);
    if (by == OFFLINE_BY_SETTING) {
        o->by_setting = is_on;
    } else {
        o->by_operator = is_on;
        o->has_operator = true;
    }
    apply_locked(o);
    pthread_mutex_unlock(&o->lock);
}

void offline_clear(struct offline *o)
{
    pthread_mutex_lock(&o->lock);
    o->has_operator = false;
    apply_locked(o);
    pthread_mutex_unlock(&o->lock);
}

void offline_print_json(struct offline *o, struct strbuf *out)
{
    pthread_mutex_lock(&o->lock);
    bool is_on = atomic_load(&o->is_on);
    bool has_operator = o->has_operator;
    pthread_mutex_unlock(&o->lock);
    strbuf_addf(out, "{\"offline\":%s,\"by\":\"%s\"}", is_on ? "true" : "false",
                has_operator ? "operator" : "setting");
}
