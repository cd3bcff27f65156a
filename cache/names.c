#include "config.h"

#include "cache/names.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"

void names_init(struct names *n, const char *last, size_t n_max)
{
    *n = (struct names){last, n_max, xcalloc(1, sizeof(struct repo_names))};
}

/* Where the name belongs; *is_there when it has been offered before. */
static size_t place_of(const struct repo_names *list, const char *name, bool *is_there)
{
    size_t low = 0, high = list->n;

    *is_there = false;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(list->names[mid], name);
        if (order == 0)
            *is_there = true;
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

void names_offer(struct names *n, const char *name)
{
    struct repo_names *list = n->list;
    bool is_there;

    CHECK(list && list->n <= n->n_max);
    if (strcmp(name, n->last) <= 0)
        return;
    size_t at = place_of(list, name, &is_there);
    if (is_there)
        return;
    if (list->n == n->n_max) {
        list->has_more = true;
        if (at == list->n)
            return;
        free(list->names[--list->n]);
    } else if (list->n % 16 == 0) {
        list->names = xrealloc(list->names, (list->n + 16) * sizeof(list->names[0]));
    }
    memmove(&list->names[at + 1], &list->names[at], (list->n - at) * sizeof(list->names[0]));
    list->names[at] = xstrdup(name);
    list->n++;
}

bool names_refuses_prefix(const struct names *n, const char *prefix)
{
    const struct repo_names *list = n->list;
    size_t len = strlen(prefix);

    /* All of them come before `last`. */
    if (strncmp(prefix, n->last, len) < 0)
        return true;
    /* All of them come behind what is kept, and that there is more is known. */
    return list->n == n->n_max && list->has_more &&
           (list->n == 0 || strcmp(prefix, list->names[list->n - 1]) > 0);
}

struct repo_names *names_take(struct names *n)
{
    struct repo_names *list = n->list;

    n->list = NULL;
    return list;
}

void repo_names_free(struct repo_names **names)
{
    struct repo_names *list = *names;

    if (!list)
        return;
    for (size_t i = 0; i < list->n; i++)
        free(list->names[i]);
    free(list->names);
    free(list);
    *names = NULL;
}
