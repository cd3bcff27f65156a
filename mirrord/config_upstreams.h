/*
 * The setting mirroring.upstreams: registries by the host that clients know them by, each with the
 * URLs it is asked at and what else differs from the source.
 *
 *   ghcr.io: https://ghcr.io
 *   quay.io: [https://quay.io, https://mirror.example]
 *   corp.example: {url: [{url: https://one, username: u, password: p}, https://two], ttl: 1h, …}
 *
 * Reading is a pure function from YAML; what it makes owns its memory and knows no configuration.
 * Which credentials go with which URL is decided here: those of an entry belong to its first URL's
 * host, those of a URL to that URL, and nothing to any other.
 */
#ifndef MIRRORD_CONFIG_UPSTREAMS_H
#define MIRRORD_CONFIG_UPSTREAMS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "base/strbuf.h"
#include "mirrord/config_value.h"

struct yaml_node;

#define CONFIG_UPSTREAMS_MAX 64
#define CONFIG_UPSTREAMS_URLS_MAX 8

/* What an entry can say beside its URLs. */
enum upstream_key {
    UPSTREAM_USERNAME,
    UPSTREAM_PASSWORD,
    UPSTREAM_CA_FILE,
    UPSTREAM_TLS_VERIFY,
    UPSTREAM_REALMS,
    UPSTREAM_ALIASES,
    UPSTREAM_HOSTS,
    UPSTREAM_LISTEN,
    UPSTREAM_PREFIX,
    UPSTREAM_TTL,
    UPSTREAM_GRACE,
    UPSTREAM_KEEP,
    UPSTREAM_NEGATIVE_TTL,
    UPSTREAM_COST,
    UPSTREAM_KEY_MAX
};

struct upstream_url {
    char *url;
    char *username; /* NULL: none */
    char *password;
};

struct upstream_entry {
    char *host; /* docker.io for Docker Hub, whatever it was called */
    unsigned line;
    struct upstream_url urls[CONFIG_UPSTREAMS_URLS_MAX];
    size_t n_urls;
    struct config_value values[UPSTREAM_KEY_MAX];
};

struct config_upstreams {
    struct upstream_entry *entries;
    size_t n;
};

/* 0; or -EINVAL with what is wrong, beginning with the entry's key, in *wrong, and its line in
 * *line. */
int config_upstreams_read(const struct yaml_node *map, struct config_upstreams *out, unsigned *line,
                          struct strbuf *wrong);
/* From the text of the option, which has been read before; NULL: none. */
void config_upstreams_parse(const char *text, struct config_upstreams *out);
void config_upstreams_fini(struct config_upstreams *u);
/* What a registry is called here by which clients know it by this name: docker.io for all names of
 * Docker Hub. Borrowed. The second: by the registry's URL; free() it; NULL: no URL. */
const char *config_upstreams_name(struct slice name);
char *config_upstreams_host(const char *url);
/* The option's text with passwords masked. */
void config_upstreams_print(const char *text, struct strbuf *out);

#endif
