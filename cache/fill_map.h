/*
 * The text form of what a partial file holds:
 *
 *   mirrord-map 1
 *   size 1234          (or "size unknown")
 *   0 500
 *   700 1000           (runs [off, end), ascending, apart)
 *   end
 *
 * The last line proves that the text is whole. Pure functions; the parser is strict and takes
 * anything (tests/fuzz/fuzz_map.c). At most FILL_MAP_RUNS_MAX runs are written and accepted.
 */
#ifndef CACHE_FILL_MAP_H
#define CACHE_FILL_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/strbuf.h"
#include "cache/segments.h"

#define FILL_MAP_RUNS_MAX 65536
#define FILL_MAP_MAX_BYTES (4 * 1024 * 1024)

/* size is FILL_SIZE_UNKNOWN while nobody knows. */
void fill_map_print(const struct segments *present, uint64_t size, struct strbuf *out);
/* False leaves *present empty and *size_out alone. */
bool fill_map_parse(struct slice text, struct segments *present, uint64_t *size_out);

#endif
