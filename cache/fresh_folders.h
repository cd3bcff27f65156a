/*
 * Folders that somebody has just made and whose names are not durable yet. Whoever puts something
 * durable below such a folder must sync its name himself: who made it may not have come so far, or
 * may never. One list for the process, behind a lock; any thread. It holds what is being made at
 * the moment, some folders per thread of the pool.
 */
#ifndef CACHE_FRESH_FOLDERS_H
#define CACHE_FRESH_FOLDERS_H

#include <stdbool.h>

struct fresh_folder;

/* Before mkdir: puts it in front of *mine, which belongs to the caller and begins as NULL. */
void fresh_folders_add(struct fresh_folder **mine, const char *path);
/* mkdir did not make it: takes back what was added last. */
void fresh_folders_drop(struct fresh_folder **mine);
/* All of mine are durable now, or are not to be. Sets *mine to NULL. */
void fresh_folders_forget(struct fresh_folder **mine);
/* Whether somebody, perhaps the caller, has made it and is not done with it. */
bool fresh_folders_have(const char *path);

#endif
