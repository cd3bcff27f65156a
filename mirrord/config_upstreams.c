#include "config.h"

#include "mirrord/config_upstreams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/url.h"
#include "cache/evict.h"
#include "mirrord/config_text.h"
#include "mirrord/name.h"
#include "mirrord/registry_host.h"
#include "mirrord/yaml_tree.h"

/* What is being read, and where the complaint goes. */
struct reading {
    struct config_upstreams *out;
    struct upstream_entry *entry; /* the last one */
    struct slice key;             /* its key as written */
    unsigned *line;
    struct strbuf *wrong;
};

#define DAYS_MS(n) ((int64_t)(n)*86400000)
#define ROW(key, type, max, flags)                                                                 \
    {                                                                                              \
        key, NULL, NULL, NULL, NULL, 0, max, OPTION_##type, flags                                  \
    }

static const struct option_row ROWS[] = {
    [UPSTREAM_USERNAME] = ROW("username", STRING, 0, 0),
    [UPSTREAM_PASSWORD] = ROW("password", STRING, 0, OPTION_F_SECRET),
    [UPSTREAM_CA_FILE] = ROW("ca_file", PATH, 0, 0),
    [UPSTREAM_TLS_VERIFY] = ROW("tls_verify", BOOL, 0, 0),
    [UPSTREAM_REALMS] = ROW("realms", LIST, 0, OPTION_F_SPLIT),
    [UPSTREAM_ALIASES] = ROW("aliases", LIST, 0, OPTION_F_SPLIT | OPTION_F_HOSTS),
    [UPSTREAM_HOSTS] = ROW("hosts", LIST, 0, OPTION_F_SPLIT | OPTION_F_HOSTS),
    [UPSTREAM_LISTEN] = ROW("listen", LIST, 0, OPTION_F_SPLIT | OPTION_F_ADDRESSES),
    [UPSTREAM_PREFIX] = ROW("prefix", STRING, 0, 0),
    [UPSTREAM_TTL] = ROW("ttl", DURATION, DAYS_MS(3650), 0),
    [UPSTREAM_GRACE] = ROW("grace", DURATION, DAYS_MS(3650), 0),
    [UPSTREAM_KEEP] = ROW("keep", DURATION, DAYS_MS(3650), 0),
    [UPSTREAM_NEGATIVE_TTL] = ROW("negative_ttl", DURATION, DAYS_MS(1), 0),
    [UPSTREAM_COST] = {"cost", NULL, NULL, NULL, NULL, 1, EVICT_COST_MAX, OPTION_INT, 0},
};
_Static_assert(sizeof(ROWS) / sizeof(ROWS[0]) == UPSTREAM_KEY_MAX, "a row for every key");

static const struct option_row URL_ROW = ROW("url", URL, 0, 0);

/* --- complaints ------------------------------------------------------------------------------- */

/* "ghcr.io.ttl: ", where the rest of the complaint goes. */
static struct strbuf *begin_wrong(struct reading *r, const char *key, unsigned line)
{
    *r->line = line;
    strbuf_add_json(r->wrong, r->key.len > 100 ? (struct slice){r->key.ptr, 100} : r->key);
    strbuf_addf(r->wrong, "%s%s: ", key ? "." : "", key ? key : "");
    return r->wrong;
}

static int refuse(struct reading *r, const char *key, unsigned line, const char *what)
{
    strbuf_add_str(begin_wrong(r, key, line), what);
    return -EINVAL;
}

/* --- values ----------------------------------------------------------------------------------- */

static int read_value(struct reading *r, const struct option_row *row, const struct yaml_node *node,
                      struct config_value *out)
{
    struct strbuf why = STRBUF_INIT;
    struct config_value value;

    int rc = config_value_read(row, node, SLICE_NONE, &value, &why);
    if (rc == 0) {
        config_value_fini(out);
        *out = value;
    } else {
        strbuf_add_slice(begin_wrong(r, row->key, node->line), (struct slice){why.ptr, why.len});
    }
    strbuf_fini(&why);
    return rc;
}

static enum upstream_key find_key(struct slice key)
{
    int k = 0;

    while (k < UPSTREAM_KEY_MAX && !slice_equal(key, slice_of(ROWS[k].key)))
        k++;
    return (enum upstream_key)k;
}

static int refuse_key(struct reading *r, const struct yaml_pair *pair, const char *allowed)
{
    struct strbuf *wrong = begin_wrong(r, NULL, pair->line);

    strbuf_add_str(wrong, "unknown key `");
    strbuf_add_json(wrong, pair->key.len > 60 ? (struct slice){pair->key.ptr, 60} : pair->key);
    strbuf_addf(wrong, "`; allowed: %s", allowed);
    return -EINVAL;
}

/* Elsewhere the last of equal keys counts; here that would drop a registry, or where to ask. */
static int refuse_doubled(struct reading *r, const struct yaml_pair *pair)
{
    struct strbuf *wrong = begin_wrong(r, NULL, pair->line);

    strbuf_add_char(wrong, '`');
    strbuf_add_json(wrong, pair->key.len > 60 ? (struct slice){pair->key.ptr, 60} : pair->key);
    strbuf_add_str(wrong, "` stands twice; allowed: each key once");
    return -EINVAL;
}

/* --- URLs ------------------------------------------------------------------------------------- */

static char *text_of(const struct config_value *v)
{
    return v->text ? xstrdup(v->text) : NULL;
}

static int add_url(struct reading *r, const struct yaml_node *node, const struct config_value *user,
                   const struct config_value *password)
{
    struct upstream_entry *e = r->entry;
    struct config_value url = {.is_null = true};

    if (e->n_urls == CONFIG_UPSTREAMS_URLS_MAX)
        return refuse(r, "url", node->line, "more than 8 of them");
    int rc = read_value(r, &URL_ROW, node, &url);
    if (rc == 0 && !url.text)
        rc = refuse(r, "url", node->line, "is empty; allowed: http:// or https:// and a host");
    if (rc == 0)
        e->urls[e->n_urls++] =
            (struct upstream_url){xstrdup(url.text), text_of(user), text_of(password)};
    config_value_fini(&url);
    return rc;
}

static int check_pair(struct reading *r, const struct config_value *user,
                      const struct config_value *password, unsigned line)
{
    if (!user->text == !password->text)
        return 0;
    return refuse(r, user->text ? "username" : "password", line,
                  user->text ? "without a password; allowed: both or neither"
                             : "without a username; allowed: both or neither");
}

/* {url:, username:, password:} in a list of URLs. */
static int read_url_map(struct reading *r, const struct yaml_node *node)
{
    struct config_value user = {.is_null = true}, password = {.is_null = true};
    const struct yaml_node *url = NULL;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < node->n_pairs; i++) {
        const struct yaml_pair *pair = &node->pairs[i];
        enum upstream_key key = find_key(pair->key);
        if (pair->line_before)
            rc = refuse_doubled(r, pair);
        else if (slice_equal(pair->key, SLICE("url")))
            url = pair->value;
        else if (key == UPSTREAM_USERNAME || key == UPSTREAM_PASSWORD)
            rc = read_value(r, &ROWS[key], pair->value,
                            key == UPSTREAM_USERNAME ? &user : &password);
        else
            rc = refuse_key(r, pair, "url, username, password");
    }
    if (rc == 0 && !url)
        rc = refuse(r, "url", node->line, "is missing; allowed: http:// or https:// and a host");
    if (rc == 0)
        rc = check_pair(r, &user, &password, node->line);
    if (rc == 0)
        rc = add_url(r, url, &user, &password);
    config_value_fini(&user);
    config_value_fini(&password);
    return rc;
}

static int read_urls(struct reading *r, const struct yaml_node *node)
{
    static const struct config_value NONE = {.is_null = true};
    int rc = 0;

    if (node->kind == YAML_NODE_IS_SCALAR)
        return add_url(r, node, &NONE, &NONE);
    if (node->kind == YAML_NODE_IS_MAP)
        return read_url_map(r, node);
    for (size_t i = 0; rc == 0 && i < node->n_pairs; i++) {
        const struct yaml_node *item = node->pairs[i].value;
        if (item->kind == YAML_NODE_IS_LIST)
            rc = refuse(r, "url", item->line, "a list in a list; allowed: URLs");
        else if (item->kind == YAML_NODE_IS_MAP)
            rc = read_url_map(r, item);
        else
            rc = add_url(r, item, &NONE, &NONE);
    }
    return rc;
}

/* The scheme and host of a URL, as far as they are written alike. */
static struct slice origin_of(const char *url)
{
    const char *host = strstr(url, "://");
    const char *end = host ? strchrnul(host + 3, '/') : url;

    return (struct slice){url, (size_t)(end - url)};
}

/* The entry's credentials are for its first URL, and for others on the same host. */
static void give_credentials(struct upstream_entry *e)
{
    const char *user = e->values[UPSTREAM_USERNAME].text;
    const char *password = e->values[UPSTREAM_PASSWORD].text;

    for (size_t i = 0; user && i < e->n_urls; i++) {
        struct upstream_url *u = &e->urls[i];
        if (u->username || !slice_equal_case(origin_of(u->url), origin_of(e->urls[0].url)))
            continue;
        u->username = xstrdup(user);
        u->password = xstrdup(password);
    }
}

/* --- entries ---------------------------------------------------------------------------------- */

static int read_map(struct reading *r, const struct yaml_node *node)
{
    struct upstream_entry *e = r->entry;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < node->n_pairs; i++) {
        const struct yaml_pair *pair = &node->pairs[i];
        enum upstream_key key = find_key(pair->key);
        if (pair->line_before)
            rc = refuse_doubled(r, pair);
        else if (slice_equal(pair->key, SLICE("url")))
            rc = read_urls(r, pair->value);
        else if (key < UPSTREAM_KEY_MAX)
            rc = read_value(r, &ROWS[key], pair->value, &e->values[key]);
        else
            rc = refuse_key(r, pair,
                            "url, username, password, ca_file, tls_verify, realms, aliases, hosts, "
                            "listen, prefix, ttl, grace, keep, negative_ttl, cost");
    }
    if (rc == 0)
        rc =
            check_pair(r, &e->values[UPSTREAM_USERNAME], &e->values[UPSTREAM_PASSWORD], node->line);
    return rc;
}

/* What stands before /v2 in a path: components as of a name, none of them a version. */
static bool is_prefix(struct slice prefix)
{
    struct slice rest = prefix;

    while (rest.ptr) {
        struct slice part = slice_cut(&rest, '/');
        if (slice_equal(part, SLICE("v1")) || slice_equal(part, SLICE("v2")))
            return false;
    }
    return name_is_repo(prefix);
}

static int check_prefix(struct reading *r, unsigned line)
{
    const char *text = r->entry->values[UPSTREAM_PREFIX].text;

    if (!text || is_prefix(slice_of(text)))
        return 0;
    return refuse(r, "prefix", line,
                  "cannot stand before /v2; allowed: a path such as mirrors/ghcr, in lower case, "
                  "without v1 and v2 in it");
}

static struct upstream_entry *add_entry(struct config_upstreams *u, struct slice key)
{
    u->entries = xrealloc(u->entries, (u->n + 1) * sizeof(*u->entries));
    struct upstream_entry *e = &u->entries[u->n++];
    memset(e, 0, sizeof(*e));
    for (int k = 0; k < UPSTREAM_KEY_MAX; k++)
        e->values[k].is_null = true;
    e->host =
        registry_host_is_hub(key) ? xstrdup(REGISTRY_HOST_HUB[0]) : xmemdup0(key.ptr, key.len);
    return e;
}

static int read_entry(struct reading *r, const struct yaml_pair *pair)
{
    struct error err;

    r->key = pair->key;
    if (registry_host_check(pair->key, &err) < 0) {
        strbuf_addf(begin_wrong(r, NULL, pair->line),
                    "is no name of a registry (%s); allowed: a host in lower case, with or without "
                    "a port",
                    err.text);
        return -EINVAL;
    }
    if (pair->line_before)
        return refuse_doubled(r, pair);
    if (r->out->n == CONFIG_UPSTREAMS_MAX)
        return refuse(r, NULL, pair->line, "more than 64 registries");
    r->entry = add_entry(r->out, pair->key);
    r->entry->line = pair->line;
    int rc = pair->value->kind == YAML_NODE_IS_MAP ? read_map(r, pair->value)
                                                   : read_urls(r, pair->value);
    if (rc == 0 && r->entry->n_urls == 0)
        rc = refuse(r, "url", pair->line, "is missing; allowed: one or more URLs");
    if (rc == 0)
        rc = check_prefix(r, pair->line);
    if (rc == 0)
        give_credentials(r->entry);
    return rc;
}

/* --- between entries -------------------------------------------------------------------------- */

/* Without the port that is meant where none is said: with it, it is the same server. */
static struct slice without_default_port(struct slice name)
{
    struct slice port = SLICE(":443");

    if (name.len > port.len && memcmp(name.ptr + name.len - port.len, port.ptr, port.len) == 0)
        name.len -= port.len;
    return name;
}

/* Whether two names choose the same registry, or would share a place in the storage. */
static bool is_same_name(struct slice a, struct slice b)
{
    for (size_t i = 0; i < a.len && i < b.len; i++) {
        char x = a.ptr[i] == ':' ? '_' : a.ptr[i], y = b.ptr[i] == ':' ? '_' : b.ptr[i];
        if (x != y)
            return false;
    }
    return a.len == b.len;
}

/* The same, or the same but for a port that need not be said. */
static bool is_common(const char *a, const char *b)
{
    struct slice x = slice_of(a), y = slice_of(b);

    return is_same_name(x, y) || is_same_name(without_default_port(x), without_default_port(y));
}

/* The nth name that chooses the entry; NULL behind the last. */
static const char *name_of(const struct upstream_entry *e, size_t n)
{
    const struct config_value *aliases = &e->values[UPSTREAM_ALIASES];
    const char *name = n == 0 ? e->host : n <= aliases->n_items ? aliases->items[n - 1] : NULL;

    if (name && registry_host_is_hub(without_default_port(slice_of(name))))
        return REGISTRY_HOST_HUB[0];
    return name;
}

static const char *host_of(const struct upstream_entry *e, size_t n)
{
    const struct config_value *v = &e->values[UPSTREAM_HOSTS];

    return n < v->n_items ? v->items[n] : NULL;
}

static const char *address_of(const struct upstream_entry *e, size_t n)
{
    const struct config_value *v = &e->values[UPSTREAM_LISTEN];

    return n < v->n_items ? v->items[n] : NULL;
}

/* The nth path before /v2 that chooses it. */
static const char *base_of(const struct upstream_entry *e, size_t n)
{
    const char *prefix = e->values[UPSTREAM_PREFIX].text;

    return !prefix ? name_of(e, n) : n == 0 ? prefix : NULL;
}

typedef const char *(*text_fn)(const struct upstream_entry *e, size_t n);

static const char *find_common_of(const struct upstream_entry *a, const struct upstream_entry *b,
                                  text_fn text)
{
    const char *x, *y;

    for (size_t i = 0; (x = text(a, i)); i++)
        for (size_t j = 0; (y = text(b, j)); j++)
            if (is_common(x, y))
                return y;
    return NULL;
}

/* What an earlier entry and this one have both; NULL: nothing. */
static const char *find_common(const struct upstream_entry *a, const struct upstream_entry *b)
{
    static const text_fn TEXTS[] = {name_of, host_of, address_of, base_of};
    const char *common = NULL;

    for (size_t i = 0; !common && i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++)
        common = find_common_of(a, b, TEXTS[i]);
    return common;
}

static int check_common(struct reading *r)
{
    const struct config_upstreams *u = r->out;

    for (size_t i = 1; i < u->n; i++) {
        for (size_t j = 0; j < i; j++) {
            const char *common = find_common(&u->entries[j], &u->entries[i]);
            if (!common)
                continue;
            r->key = slice_of(u->entries[i].host);
            strbuf_addf(begin_wrong(r, NULL, u->entries[i].line),
                        "`%s` means %s already; allowed: names, hosts, addresses and prefixes that "
                        "no other registry has",
                        common, u->entries[j].host);
            return -EINVAL;
        }
    }
    return 0;
}

/* --- the whole -------------------------------------------------------------------------------- */

int config_upstreams_read(const struct yaml_node *map, struct config_upstreams *out, unsigned *line,
                          struct strbuf *wrong)
{
    struct reading r = {.out = out, .line = line, .wrong = wrong};
    int rc = 0;

    CHECK(map->kind == YAML_NODE_IS_MAP);
    *out = (struct config_upstreams){.n = 0};
    for (size_t i = 0; rc == 0 && i < map->n_pairs; i++)
        rc = read_entry(&r, &map->pairs[i]);
    if (rc == 0)
        rc = check_common(&r);
    if (rc < 0)
        config_upstreams_fini(out);
    return rc;
}

void config_upstreams_parse(const char *text, struct config_upstreams *out)
{
    struct yaml_problem problem;
    struct yaml_tree *tree;
    struct strbuf wrong = STRBUF_INIT;
    unsigned line;

    *out = (struct config_upstreams){.n = 0};
    if (!text)
        return;
    CHECK(yaml_tree_parse(slice_of(text), &tree, &problem) == 0);
    CHECK(config_upstreams_read(yaml_tree_root(tree), out, &line, &wrong) == 0);
    yaml_tree_free(&tree);
    strbuf_fini(&wrong);
}

void config_upstreams_fini(struct config_upstreams *u)
{
    for (size_t i = 0; i < u->n; i++) {
        struct upstream_entry *e = &u->entries[i];
        for (size_t j = 0; j < e->n_urls; j++) {
            free(e->urls[j].url);
            free(e->urls[j].username);
            free(e->urls[j].password);
        }
        for (int k = 0; k < UPSTREAM_KEY_MAX; k++)
            config_value_fini(&e->values[k]);
        free(e->host);
    }
    free(u->entries);
    *u = (struct config_upstreams){.n = 0};
}

const char *config_upstreams_name(struct slice name)
{
    return registry_host_is_hub(name) ? REGISTRY_HOST_HUB[0] : name.ptr;
}

char *config_upstreams_host(const char *text)
{
    struct url url;

    if (url_parse(slice_of(text), &url, NULL) < 0)
        return NULL;
    struct slice authority = url_authority(&url);
    bool is_hub = registry_host_is_hub(url.host);
    char *host = is_hub ? xstrdup(REGISTRY_HOST_HUB[0]) : xmemdup0(authority.ptr, authority.len);
    url_fini(&url);
    return host;
}

void config_upstreams_print(const char *text, struct strbuf *out)
{
    struct yaml_problem problem;
    struct yaml_tree *tree;

    CHECK(yaml_tree_parse(slice_of(text), &tree, &problem) == 0);
    config_text_render_masked(yaml_tree_root(tree), "password", out);
    yaml_tree_free(&tree);
}
