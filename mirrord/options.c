#include "config.h"

#include "mirrord/options.h"

#include <string.h>

#include "base/check.h"

static const struct option_row rows[OPT_MAX] = {
#define OPTION(id, key, env, type, preset, min, max, allowed, flags, doc)                          \
    [OPT_##id] = {key, env, preset, allowed, doc, min, max, OPTION_##type, flags},
#define OPTION_ALIAS(id, env)
#include "mirrord/options.def"
#undef OPTION
#undef OPTION_ALIAS
};

static const struct {
    enum option id;
    const char *env;
} aliases[] = {
#define OPTION(id, key, env, type, preset, min, max, allowed, flags, doc)
#define OPTION_ALIAS(id, env) {OPT_##id, env},
#include "mirrord/options.def"
#undef OPTION
#undef OPTION_ALIAS
};

static const char *const type_names[] = {
    [OPTION_STRING] = "text",         [OPTION_PATH] = "path",         [OPTION_URL] = "URL",
    [OPTION_ENUM] = "word",           [OPTION_ADDRESS] = "address",   [OPTION_INT] = "whole number",
    [OPTION_PERCENT] = "percentage",  [OPTION_BOOL] = "boolean",      [OPTION_BYTES] = "size",
    [OPTION_SPACE] = "size or share", [OPTION_DURATION] = "duration", [OPTION_LIST] = "list",
    [OPTION_MAP] = "mapping",         [OPTION_ANY] = "any value",
};
_Static_assert(sizeof(type_names) / sizeof(type_names[0]) == OPTION_TYPE_MAX, "a name per type");

const struct option_row *option_row(enum option id)
{
    CHECK(id < OPT_MAX);
    return &rows[id];
}

enum option option_find(struct slice key)
{
    for (enum option id = 0; id < OPT_MAX; id++)
        if (slice_equal(slice_of(rows[id].key), key))
            return id;
    return OPT_MAX;
}

bool option_is_group(struct slice group)
{
    if (group.len == 0)
        return false;
    for (enum option id = 0; id < OPT_MAX; id++)
        if (slice_equal(option_group(id), group))
            return true;
    return false;
}

struct slice option_group(enum option id)
{
    const char *key = option_row(id)->key;
    const char *dot = strchr(key, '.');
    return (struct slice){key, dot ? (size_t)(dot - key) : 0};
}

const char *option_name(enum option id)
{
    struct slice group = option_group(id);
    return group.len ? group.ptr + group.len + 1 : group.ptr;
}

const char *option_alias(enum option id)
{
    CHECK(id < OPT_MAX);
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (aliases[i].id == id)
            return aliases[i].env;
    return NULL;
}

const char *option_type_name(enum option_type type)
{
    CHECK(type < OPTION_TYPE_MAX);
    return type_names[type];
}

#define NEAREST_LEN_MAX 64

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned least = a < b ? a : b;
    return least < c ? least : c;
}

/* How many single-character changes lead from one text to the other (Levenshtein). */
static unsigned edit_distance(struct slice a, struct slice b)
{
    CHECK(a.len <= NEAREST_LEN_MAX && b.len <= NEAREST_LEN_MAX);
    unsigned row[NEAREST_LEN_MAX + 1];
    for (unsigned j = 0; j <= b.len; j++)
        row[j] = j;
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            unsigned above = row[j];
            row[j] = min3(above + 1, row[j - 1] + 1, diagonal + (a.ptr[i - 1] != b.ptr[j - 1]));
            diagonal = above;
        }
    }
    return row[b.len];
}

enum option option_nearest(struct slice key)
{
    enum option nearest = OPT_MAX;
    unsigned least = 4; /* further away it is another word, not a slip */
    if (key.len < 4 || key.len > NEAREST_LEN_MAX)
        return OPT_MAX;
    for (enum option id = 0; id < OPT_MAX; id++) {
        struct slice candidate = slice_of(rows[id].key);
        if (candidate.len > NEAREST_LEN_MAX)
            continue;
        unsigned distance = edit_distance(key, candidate);
        if (distance < least) {
            least = distance;
            nearest = id;
        }
    }
    return nearest;
}
