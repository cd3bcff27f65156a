#include "config.h"

#include "mirrord/configuration.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "mirrord/config_private.h"
#include "mirrord/config_upstreams.h"

struct config *config_new(const char *file, const char *flavor)
{
    struct config *c = xcalloc(1, sizeof(*c));
    atomic_init(&c->n_refs, 1);
    c->file = xstrdup(file);
    c->flavor = xstrdup(flavor);
    for (enum option id = 0; id < OPT_MAX; id++)
        c->values[id].is_null = true;
    return c;
}

struct config *config_ref(struct config *c)
{
    unsigned before = atomic_fetch_add_explicit(&c->n_refs, 1, memory_order_relaxed);
    CHECK(before > 0);
    return c;
}

void config_unref(struct config **c)
{
    struct config *dropped = *c;
    *c = NULL;
    if (!dropped)
        return;
    unsigned before = atomic_fetch_sub_explicit(&dropped->n_refs, 1, memory_order_acq_rel);
    CHECK(before > 0);
    if (before > 1)
        return;
    for (enum option id = 0; id < OPT_MAX; id++)
        config_value_fini(&dropped->values[id]);
    free(dropped->file);
    free(dropped->flavor);
    strbuf_fini(&dropped->warnings);
    free(dropped);
}

/* The value of an option whose type is in the set. */
static const struct config_value *value_of(const struct config *c, enum option id, unsigned types)
{
    CHECK(c && ((1u << option_row(id)->type) & types));
    return &c->values[id];
}

#define TEXT_TYPES                                                                                 \
    (1u << OPTION_STRING | 1u << OPTION_PATH | 1u << OPTION_URL | 1u << OPTION_ENUM |              \
     1u << OPTION_ADDRESS | 1u << OPTION_MAP | 1u << OPTION_ANY)

const char *config_str(const struct config *c, enum option id)
{
    return value_of(c, id, TEXT_TYPES)->text;
}

int64_t config_int(const struct config *c, enum option id)
{
    return value_of(c, id, 1u << OPTION_INT | 1u << OPTION_PERCENT)->number;
}

bool config_bool(const struct config *c, enum option id)
{
    return value_of(c, id, 1u << OPTION_BOOL)->boolean;
}

uint64_t config_bytes(const struct config *c, enum option id)
{
    return (uint64_t)value_of(c, id, 1u << OPTION_BYTES)->number;
}

struct config_space config_space(const struct config *c, enum option id)
{
    const struct config_value *v = value_of(c, id, 1u << OPTION_SPACE);
    struct config_space space = {0};
    if (v->boolean)
        space.percent = (unsigned)v->number;
    else
        space.bytes = (uint64_t)v->number;
    return space;
}

uint64_t config_ms(const struct config *c, enum option id)
{
    return (uint64_t)value_of(c, id, 1u << OPTION_DURATION)->number;
}

size_t config_list_len(const struct config *c, enum option id)
{
    return value_of(c, id, 1u << OPTION_LIST)->n_items;
}

const char *const *config_list(const struct config *c, enum option id)
{
    return (const char *const *)value_of(c, id, 1u << OPTION_LIST)->items;
}

const char *config_list_item(const struct config *c, enum option id, size_t i)
{
    const struct config_value *v = value_of(c, id, 1u << OPTION_LIST);
    CHECK(i < v->n_items);
    return v->items[i];
}

bool config_is_null(const struct config *c, enum option id)
{
    return value_of(c, id, ~0u)->is_null;
}

bool config_was_set(const struct config *c, enum option id)
{
    return value_of(c, id, ~0u)->origin != CONFIG_DEFAULT;
}

const char *config_file(const struct config *c)
{
    return c->file;
}

const char *config_flavor(const struct config *c)
{
    return c->flavor;
}

/* "file:line: key: " or "file: key: ", where the value came from. */
static void begin_problem(const struct config *c, enum option id, struct strbuf *out)
{
    strbuf_add_str(out, c->file);
    if (c->values[id].line)
        strbuf_addf(out, ":%u", c->values[id].line);
    strbuf_addf(out, ": %s: ", option_row(id)->key);
}

static void check_storage(const struct config *c, struct strbuf *out)
{
    const char *driver = config_str(c, OPT_STORAGE);
    if (driver && (strcmp(driver, "local") == 0 || strcmp(driver, "file") == 0))
        return;
    begin_problem(c, OPT_STORAGE, out);
    if (driver)
        strbuf_addf(out, "storage driver %s is not available in this build", driver);
    else
        strbuf_addf(out, "not set by %s%s", *c->flavor ? "the flavor " : "the top level",
                    c->flavor);
    strbuf_add_str(out, "; available: local, file\n");
}

static void check_credentials(const struct config *c, struct strbuf *out)
{
    bool has_name = config_str(c, OPT_MIRRORING_SOURCE_USERNAME);
    bool has_password = config_str(c, OPT_MIRRORING_SOURCE_PASSWORD);
    enum option set = has_name ? OPT_MIRRORING_SOURCE_USERNAME : OPT_MIRRORING_SOURCE_PASSWORD;
    enum option unset = has_name ? OPT_MIRRORING_SOURCE_PASSWORD : OPT_MIRRORING_SOURCE_USERNAME;
    if (has_name == has_password)
        return;
    begin_problem(c, set, out);
    strbuf_addf(out, "set without %s; allowed: both or neither\n", option_row(unset)->key);
}

static void check_ca_file(const struct config *c, struct strbuf *out)
{
    const char *path = config_str(c, OPT_MIRRORING_CA_FILE);
    if (!path || access(path, R_OK) == 0)
        return;
    int rc = errno;
    begin_problem(c, OPT_MIRRORING_CA_FILE, out);
    strbuf_addf(out, "%s cannot be read: %s; allowed: a PEM file\n", path, strerror(rc));
}

static void check_backoff(const struct config *c, struct strbuf *out)
{
    if (config_ms(c, OPT_MIRRORING_BACKOFF_BASE) <= config_ms(c, OPT_MIRRORING_BACKOFF_MAX))
        return;
    begin_problem(c, OPT_MIRRORING_BACKOFF_BASE, out);
    strbuf_add_str(out, "longer than mirroring.backoff_max; allowed: at most as long\n");
}

static void check_water(const struct config *c, struct strbuf *out)
{
    if (config_int(c, OPT_CACHE_LOW_WATER) < config_int(c, OPT_CACHE_HIGH_WATER))
        return;
    begin_problem(c, OPT_CACHE_LOW_WATER, out);
    strbuf_add_str(out, "not below cache_high_water; allowed: less than that\n");
}

/* The registry of the source is told about under its own name, which no other may take. */
static void check_aliases(const struct config *c, const struct upstream_entry *e,
                          const char *source, struct strbuf *out)
{
    const struct config_value *aliases = &e->values[UPSTREAM_ALIASES];

    for (size_t i = 0; strcmp(e->host, source) != 0 && i < aliases->n_items; i++) {
        if (strcmp(config_upstreams_name(slice_of(aliases->items[i])), source) != 0)
            continue;
        begin_problem(c, OPT_MIRRORING_UPSTREAMS, out);
        strbuf_addf(out, "%s.aliases: `%s` is the registry of %s; allowed: names of no other\n",
                    e->host, aliases->items[i], option_row(OPT_MIRRORING_SOURCE)->key);
    }
}

static void check_upstreams(const struct config *c, struct strbuf *out)
{
    const char *url = config_str(c, OPT_MIRRORING_SOURCE);
    char *source = url ? config_upstreams_host(url) : NULL;
    struct config_upstreams upstreams;

    config_upstreams_parse(config_str(c, OPT_MIRRORING_UPSTREAMS), &upstreams);
    for (size_t i = 0; i < upstreams.n; i++) {
        const struct upstream_entry *e = &upstreams.entries[i];
        const char *path = e->values[UPSTREAM_CA_FILE].text;
        if (source)
            check_aliases(c, e, source, out);
        if (!path || access(path, R_OK) == 0)
            continue;
        int rc = errno;
        begin_problem(c, OPT_MIRRORING_UPSTREAMS, out);
        strbuf_addf(out, "%s.ca_file: %s cannot be read: %s; allowed: a PEM file\n", e->host, path,
                    strerror(rc));
    }
    config_upstreams_fini(&upstreams);
    free(source);
}

/* Of an empty or missing host nothing is used; a unix socket has no port. */
static void check_redis(const struct config *c, enum option host, enum option port,
                        struct strbuf *out)
{
    const char *name = config_str(c, host);
    if (!name || !*name || *name == '/' || !config_is_null(c, port))
        return;
    begin_problem(c, port, out);
    strbuf_addf(out, "not set, but %s is; allowed: the port of the Redis server, such as 6379\n",
                option_row(host)->key);
}

int config_check(const struct config *c, struct strbuf *problems_out)
{
    size_t len = problems_out->len;
    check_storage(c, problems_out);
    check_credentials(c, problems_out);
    check_ca_file(c, problems_out);
    check_backoff(c, problems_out);
    check_water(c, problems_out);
    check_upstreams(c, problems_out);
    check_redis(c, OPT_CACHE_HOST, OPT_CACHE_PORT, problems_out);
    check_redis(c, OPT_CACHE_LRU_HOST, OPT_CACHE_LRU_PORT, problems_out);
    return problems_out->len > len ? -EINVAL : 0;
}
