/*
 * The table of options: every key of the configuration file with its type, environment variable,
 * default, limits and documentation. The rows stand in mirrord/options.def; the loader, the sample
 * file, the manual page and the tests are all made from them, so an option exists exactly once.
 * Constant data: any thread, nothing to free.
 */
#ifndef MIRRORD_OPTIONS_H
#define MIRRORD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* OPT_<KEY>, the key in upper case with underscores: OPT_MIRRORING_TAGS_CACHE_TTL. */
enum option {
#define OPTION(id, key, env, type, preset, min, max, allowed, flags, doc) OPT_##id,
#define OPTION_ALIAS(id, env)
#include "mirrord/options.def"
#undef OPTION
#undef OPTION_ALIAS
    OPT_MAX
};

/* The comment behind each type names the getter of mirrord/configuration.h. */
enum option_type {
    OPTION_STRING,   /* config_str */
    OPTION_PATH,     /* config_str: a file or folder, relative to the working directory */
    OPTION_URL,      /* config_str: http:// or https://, without a slash at its end */
    OPTION_ENUM,     /* config_str: one of `allowed`, lower case */
    OPTION_ADDRESS,  /* config_str: what mirrord/address.h parses */
    OPTION_INT,      /* config_int */
    OPTION_PERCENT,  /* config_int: 0 to 100, with the word of `allowed` for 0 */
    OPTION_BOOL,     /* config_bool */
    OPTION_BYTES,    /* config_bytes: a number with a unit */
    OPTION_SPACE,    /* config_space: a size, or percent of the filesystem */
    OPTION_DURATION, /* config_ms: seconds, or a number with a unit */
    OPTION_LIST,     /* config_list_len, config_list_item */
    OPTION_MAP,      /* config_str: YAML of whatever mapping stood there */
    OPTION_ANY,      /* config_str: YAML of whatever stood there */
    OPTION_TYPE_MAX
};

enum option_flag {
    OPTION_F_SECRET = 1 << 0,     /* never printed */
    OPTION_F_UNBUILT = 1 << 1,    /* legacy: known and checked, but without effect so far */
    OPTION_F_RELOAD = 1 << 2,     /* SIGHUP applies a change, others need a restart */
    OPTION_F_SPLIT = 1 << 3,      /* list: a plain text is split at commas and blanks */
    OPTION_F_ADDRESSES = 1 << 4,  /* list: every element is a listen address */
    OPTION_F_NETWORKS = 1 << 6,   /* list: every element is an address with a prefix length */
    OPTION_F_PRECEDENCE = 1 << 7, /* list: every element is pattern=rule */
    OPTION_F_FRESHNESS = 1 << 12, /* list: every element is pattern=ttl[/grace[/keep]] */
    OPTION_F_FLOOR = 1 << 13,     /* text: a number, or a share with a percent sign */
    OPTION_F_PATTERNS = 1 << 8,   /* list: every element is a pattern of repositories */
    OPTION_F_UPSTREAMS = 1 << 10, /* mapping: what mirrord/config_upstreams.h reads */
    OPTION_F_HOSTS = 1 << 9,      /* list: every element is a host, perhaps with a port */
    OPTION_F_DRIVER = 1 << 5,     /* belongs to a storage driver: the environment counts only where
                                     the file asks for it, and only such flavors print it */
};

struct option_row {
    const char *key;     /* "group.name" or "name" */
    const char *env;     /* NULL: only the file sets it */
    const char *preset;  /* the default as YAML text; NULL: null */
    const char *allowed; /* blank-separated words, for OPTION_ENUM and OPTION_PERCENT */
    const char *doc;     /* one paragraph */
    int64_t min;         /* of numbers, in bytes for sizes, in milliseconds for durations */
    int64_t max;
    enum option_type type;
    unsigned flags;
};

const struct option_row *option_row(enum option id);
/* The option with this whole key, or OPT_MAX. */
enum option option_find(struct slice key);
/* Whether any option's key begins with "group.". */
bool option_is_group(struct slice group);
/* Where the key's name begins behind its group; the length of the group is 0 without one. */
struct slice option_group(enum option id);
const char *option_name(enum option id);
/* The second environment variable of an option, read where its own is not set; NULL: none. */
const char *option_alias(enum option id);
const char *option_type_name(enum option_type type);
/* The option whose key is most like `key`, for "did you mean"; OPT_MAX when none is near. */
enum option option_nearest(struct slice key);

#endif
