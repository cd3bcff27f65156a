#include "config.h"

#include "cache/origin.h"

#include <pthread.h>
#include <stddef.h>

#include "base/alloc.h"
#include "base/check.h"

enum { NAMES_MAX = 256, NAME_MAX_BYTES = 255 };

/* Names are never removed, so what was given out stays valid; few enough to be read in a row. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct slice names[NAMES_MAX];
static size_t n_names;

/* Names come from files, too, and go into headers and log lines: visible ASCII only, without what
 * ends a parameter there. */
static bool is_plain(struct slice name)
{
    if (name.len == 0 || name.len > NAME_MAX_BYTES)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == ';' || c == ',')
            return false;
    }
    return true;
}

static const char *find_or_add_locked(struct slice name)
{
    for (size_t i = 0; i < n_names; i++) {
        if (slice_equal(names[i], name))
            return names[i].ptr;
    }
    CHECK(n_names <= NAMES_MAX);
    if (n_names == NAMES_MAX)
        return NULL;
    names[n_names] = (struct slice){xmemdup0(name.ptr, name.len), name.len};
    return names[n_names++].ptr;
}

const char *origin_upstream(struct slice name)
{
    if (!is_plain(name))
        return NULL;
    pthread_mutex_lock(&lock);
    const char *own = find_or_add_locked(name);
    pthread_mutex_unlock(&lock);
    return own;
}
