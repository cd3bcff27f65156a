/*
 * One stored blob, hashed again from what is on the medium (cache/quiet_file.h), in steps.
 * One owner, one thread at a time; blocking. Memory: the struct and the caller's buffer.
 */
#ifndef CACHE_SCRUB_CHECK_H
#define CACHE_SCRUB_CHECK_H

#include <stdint.h>
#include <sys/stat.h>

#include "base/digest.h"
#include "cache/layout.h"

struct scrub_check;

enum scrub_verdict {
    SCRUB_MORE,       /* not at its end */
    SCRUB_WHOLE,      /* it has its digest */
    SCRUB_DAMAGED,    /* it has another one, or the medium cannot give it (EIO) */
    SCRUB_GONE,       /* there is none of this name any more */
    SCRUB_UNREADABLE, /* it could not be read, which says nothing about it */
    SCRUB_VERDICT_MAX
};

/* Never NULL: whether it can be opened, the first step tells. */
struct scrub_check *scrub_check_new(const struct layout *l, const struct digest *d);
/* The same for a file under another name. */
struct scrub_check *scrub_check_path(const char *path, const struct digest *d);
void scrub_check_free(struct scrub_check **c);
/* Reads one piece; buffer is one of quiet_file_buffer(). *n_out grows by the bytes read. */
enum scrub_verdict scrub_check_step(struct scrub_check *c, void *buffer, uint64_t *n_out);

const struct digest *scrub_check_digest(const struct scrub_check *c);
/* The file that was read; valid with SCRUB_DAMAGED. */
const struct stat *scrub_check_stat(const struct scrub_check *c);
/* Why it is damaged or unreadable: a negative errno, -EBADMSG when it has another digest. */
int scrub_check_error(const struct scrub_check *c);

#endif
