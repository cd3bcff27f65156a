/*
 * Reads a file from its beginning to its end without disturbing the page cache: by O_DIRECT, which
 * reads what is on the medium and leaves the cache as it is; where the file system does not do that
 * (tmpfs), by ordinary reads, after which those pages are dropped again that were not cached
 * before. Why: docs/design/scrub.md.
 * One owner, one thread at a time; blocking. Memory: the struct; the caller brings the buffer.
 */
#ifndef CACHE_QUIET_FILE_H
#define CACHE_QUIET_FILE_H

#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

#define QUIET_FILE_PIECE ((size_t)256 * 1024)

struct quiet_file;

/* 0, or a negative errno: -EISDIR or -EINVAL for what is no regular file. */
int quiet_file_open(const char *path, struct quiet_file **out);
void quiet_file_close(struct quiet_file **f);
/* As it was when it was opened. */
const struct stat *quiet_file_stat(const struct quiet_file *f);
/* A buffer of QUIET_FILE_PIECE bytes, aligned as direct reads need it; free() it. */
void *quiet_file_buffer(void);
/* The next bytes, at most QUIET_FILE_PIECE: how many, 0 at the end, or a negative errno. */
ssize_t quiet_file_read(struct quiet_file *f, void *buffer);

#endif
