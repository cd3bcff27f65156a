/* What tests of eviction share: a place whose ledger is ready, and a clock that can be ahead (link
 * with
 * --wrap=clock_wall_s). All calls from the test's own thread. */
#ifndef TESTS_UNIT_EVICT_SCENE_H
#define TESTS_UNIT_EVICT_SCENE_H

#include "cache/evict.h"
#include "tests/unit/cache_place.h"

/* How much later it is than it is; 0 after evict_scene_open. */
extern int64_t evict_scene_ahead_s;

void evict_scene_open(struct place *p);
void evict_scene_close(struct place *p);
bool evict_scene_has(struct place *p, const struct digest *d);
/* evict_image_now */
int evict_scene_take(struct place *p, const char *repo, const char *reference,
                     struct evict_result *result);
/* What the ledger says is what lies there. */
void evict_scene_check(struct place *p);

#endif
