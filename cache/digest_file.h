/*
 * A file that holds a digest and nothing else: links of registry:2. Blocking: pool threads only.
 */
#ifndef CACHE_DIGEST_FILE_H
#define CACHE_DIGEST_FILE_H

#include "base/digest.h"

/* Line ends behind the digest are forgiven. 0, -ENOENT when there is none (a damaged one counts as
 * none), or another negative errno. */
int digest_file_read(const char *path, struct digest *out);

#endif
