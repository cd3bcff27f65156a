/*
 * Drives the scrub (cache/scrub.h): gives each of its turns to the pool and lets as much time pass
 * between two as the scrub says, so that it reads no faster than its rate allows and holds no
 * thread while it waits. Belongs to the worker it is made on. Memory: itself.
 */
#ifndef MIRRORD_SCRUBBER_H
#define MIRRORD_SCRUBBER_H

struct pool;
struct scrub;
struct scrubber;
struct worker;

/* All of it outlives the scrubber. Before the worker's loop runs. */
struct scrubber *scrubber_new(struct scrub *s, struct pool *pool, struct worker *home);
/* Something was asked for, or settings have changed. The home worker's thread. */
void scrubber_kick(struct scrubber *b);
/* No turn begins any more. The home worker's thread, or when its loop has ended. */
void scrubber_stop(struct scrubber *b);
/* When no turn is under way and nothing is on its way to the worker. */
void scrubber_free(struct scrubber **b);

#endif
