#include "config.h"

#include "tests/unit/evict_scene.h"

#include <string.h>

#include "cache/cache.h"
#include "cache/ledger.h"
#include "tests/unit/cache_scene.h"
#include "tests/unit/unit.h"

int64_t evict_scene_ahead_s;

int64_t __real_clock_wall_s(void);
int64_t __wrap_clock_wall_s(void);

int64_t __wrap_clock_wall_s(void)
{
    return __real_clock_wall_s() + evict_scene_ahead_s;
}

void evict_scene_open(struct place *p)
{
    struct error err;

    evict_scene_ahead_s = 0;
    place_init(p);
    place_open(p);
    assert_int_equal(ledger_walk_now(cache_ledger(p->cache), false, &err), 0);
}

void evict_scene_close(struct place *p)
{
    place_close(p);
    place_fini(p);
}

bool evict_scene_has(struct place *p, const struct digest *d)
{
    return place_has(p, place_blob(p, d));
}

int evict_scene_take(struct place *p, const char *repo, const char *reference,
                     struct evict_result *result)
{
    struct error err = {0};

    memset(result, 0, sizeof(*result));
    return evict_image_now(cache_evict(p->cache), slice_of(repo), slice_of(reference), result,
                           &err);
}

/* What the ledger says is what lies there. */
void evict_scene_check(struct place *p)
{
    struct ledger_report r;
    struct error err;
    uint64_t n;

    assert_int_equal(ledger_walk_now(cache_ledger(p->cache), false, &err), 0);
    ledger_read_report(cache_ledger(p->cache), &r);
    assert_int_equal(r.n_mended, 0);
    assert_int_equal(r.bytes.blobs, scene_stored_bytes(p, &n));
    assert_int_equal(r.bytes.n_blobs, n);
}
