#include "config.h"

#include "cache/fresh_folders.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/alloc.h"
#include "base/check.h"

struct fresh_folder {
    LIST_ENTRY(fresh_folder) in_all;
    struct fresh_folder *next; /* of the same owner */
    char *path;
};

static struct {
    pthread_mutex_t lock;
    LIST_HEAD(fresh_folder_list, fresh_folder) all;
} fresh = {.lock = PTHREAD_MUTEX_INITIALIZER};

void fresh_folders_add(struct fresh_folder **mine, const char *path)
{
    struct fresh_folder *f = xcalloc(1, sizeof(*f));

    f->path = xstrdup(path);
    f->next = *mine;
    pthread_mutex_lock(&fresh.lock);
    LIST_INSERT_HEAD(&fresh.all, f, in_all);
    pthread_mutex_unlock(&fresh.lock);
    *mine = f;
}

void fresh_folders_drop(struct fresh_folder **mine)
{
    struct fresh_folder *f = *mine;

    CHECK(f);
    pthread_mutex_lock(&fresh.lock);
    LIST_REMOVE(f, in_all);
    pthread_mutex_unlock(&fresh.lock);
    *mine = f->next;
    free(f->path);
    free(f);
}

void fresh_folders_forget(struct fresh_folder **mine)
{
    while (*mine)
        fresh_folders_drop(mine);
}

bool fresh_folders_have(const char *path)
{
    const struct fresh_folder *f;

    pthread_mutex_lock(&fresh.lock);
    LIST_FOREACH(f, &fresh.all, in_all)
    {
        if (strcmp(f->path, path) == 0)
            break;
    }
    pthread_mutex_unlock(&fresh.lock);
    return f != NULL;
}
