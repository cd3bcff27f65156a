/*
 * The files of an upload: repositories/<name>/_uploads/<id>/data and startedat, as registry:2 has
 * them (its hashstates are ignored); a single one is one temporary file. All blocking: pool
 * threads. Errors are negative errno with text in *err. Nothing is synced before it is finished: a
 * client that goes on after a power loss asks how much is there.
 */
#ifndef CACHE_UPLOAD_FILE_H
#define CACHE_UPLOAD_FILE_H

#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "cache/layout.h"

/* Makes a new one; its descriptor. Without a folder (NULL) it is single. */
int upload_file_create(const char *folder, const char *path, struct error *err);
/* An existing one: its descriptor, size, and when it was written to. -ENOENT. */
int upload_file_open(const char *path, uint64_t *size_out, int64_t *mtime_s_out, struct error *err);
/* How large it is, without opening it: 0 or -ENOENT, or another errno. */
int upload_file_size(const char *path, uint64_t *size_out);
/* When it was written to last; when it has no bytes, when its folder changed. False when there is
 * no such folder. */
bool upload_file_mtime(const char *folder, int64_t *mtime_s_out);

struct upload_file {
    const char *path;
    int fd;
    uint64_t size;
};
/* Makes the content durable and gives it its final name. It may fail behind that:
 * *is_published_out tells, whatever is returned. */
int upload_file_publish(const struct layout *l, const struct upload_file *f, const struct digest *d,
                        bool *is_published_out, struct error *err);
/* The content had its final name already, from elsewhere: waits until that is durable, too. */
int upload_file_adopt(const struct layout *l, const struct digest *d, struct error *err);
/* Removes what is there of it. */
int upload_file_remove(const char *folder, const char *path, struct error *err);

#endif
