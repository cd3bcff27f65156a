/*
 * Small steps on the disk that must survive a power loss: make folders, write a small file whole
 * or not at all, give a finished file its final name. All of them block: pool threads, start-up
 * and tests only. Errors are negative errno, with text in *err where there is one (may be NULL).
 */
#ifndef CACHE_DISK_H
#define CACHE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/slice.h"
#include "base/strbuf.h"
#include "cache/layout.h"

/* The folder and those above it; new ones are made durable. */
int disk_make_folders(const char *path, struct error *err);
/* The same for the folder a file is in. */
int disk_make_parent(const char *path, struct error *err);
/* Opens a file that may have to be made (O_CREAT is added): its descriptor. The folder is made
 * again when somebody has removed it, as who empties a cache by hand does. */
int disk_open_new(const char *path, int flags, struct error *err);
/* fsync of the folder a file is in: the name becomes durable. */
int disk_sync_parent(const char *path, struct error *err);
/* Gives tmp its final name, durably, in a folder that is made when missing. The content must have
 * been fsynced before. When it fails before the rename, tmp stays. */
int disk_publish(const char *tmp, const char *path, struct error *err);
/* fsync of a file that shall have this size: what is behind it is cut off, and -EIO when it is
 * shorter. The path is for the message. */
int disk_make_durable(int fd, const char *path, uint64_t size, struct error *err);

enum disk_care {
    DISK_DURABLE, /* after success it survives a power loss */
    DISK_WHOLE    /* after a power loss it is the old one, the new one, or not trustworthy */
};
/* Replaces the content of a small file, by a temporary file and rename. Makes its folder. */
int disk_write_file(struct layout *l, const char *path, struct slice content, enum disk_care care,
                    struct error *err);
/* Appends the content to *out. -EFBIG when there is more than max_bytes. */
int disk_read_file(const char *path, size_t max_bytes, struct strbuf *out);

/* Writes n bytes at *end, which goes on by as many as were written, also when it fails. */
int disk_append(int fd, const void *p, size_t n, uint64_t *end);
/* Writes all n bytes at off or fails; retries what a signal interrupted. */
int disk_pwrite(int fd, const void *p, size_t n, uint64_t off);
/* Reads exactly n bytes at off; -EIO when the file ends before. */
int disk_pread(int fd, void *p, size_t n, uint64_t off);

#endif
