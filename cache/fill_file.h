/*
 * The temporary file of a fill and the map of its segments beside it:
 * _mirrord/fills/<alg>-<hex>.part and .map. The descriptor is opened for reading and writing.
 * All functions block: pool threads only, one at a time per fill.
 */
#ifndef CACHE_FILL_FILE_H
#define CACHE_FILL_FILE_H

#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "cache/layout.h"
#include "cache/segments.h"

/* Opens or makes the temporary file. Returns its descriptor; *present and *size_out (may be
 * FILL_SIZE_UNKNOWN) say what an earlier try left in it that can be trusted. Or a negative errno;
 * -EBUSY when another process is writing it. */
int fill_file_open(const struct layout *l, const struct digest *d, struct segments *present,
                   uint64_t *size_out, struct error *err);
int fill_file_save_map(struct layout *l, const struct digest *d, const struct segments *present,
                       uint64_t size, struct error *err);
/* Makes the content durable and gives it the final name of the blob. On failure the temporary file
 * stays under its name, unless the final name was given but not made durable. */
int fill_file_publish(const struct layout *l, const struct digest *d, int fd, uint64_t size,
                      struct error *err);
/* Removes file and map; what is open stays readable. */
void fill_file_remove(const struct layout *l, const struct digest *d);

#endif
