#include "config.h"

#include "upstream/realm.h"

#include "base/check.h"

/* Second labels that country registries sell names under: "co.uk", "com.au", "ac.jp". */
static const char *const country_seconds[] = {
    "ac",  "co",  "com", "ed",  "edu", "firm", "gc",  "gen",    "go",  "gob", "gouv",   "gov",
    "gv",  "id",  "in",  "ind", "inf", "info", "ltd", "me",     "mil", "mod", "muni",   "ne",
    "net", "nhs", "nic", "nom", "or",  "org",  "plc", "police", "res", "sch", "school", "web",
};

/* Domains whose names belong to different customers at unknown depth: only the same host is the
 * same owner there. */
static const char *const shared_domains[] = {
    "amazonaws.com",
    "amazonaws.com.cn",
    "appspot.com",
    "azurecr.cn",
    "azurecr.io",
    "azurecr.us",
    "azureedge.net",
    "azurefd.net",
    "azurewebsites.net",
    "blogspot.com",
    "cloudapp.net",
    "cloudfront.net",
    "cloudfunctions.net",
    "digitaloceanspaces.com",
    "duckdns.org",
    "dyndns.org",
    "fly.dev",
    "github.io",
    "gitlab.io",
    "googleapis.com",
    "googleusercontent.com",
    "herokuapp.com",
    "jfrog.io",
    "linodeobjects.com",
    "netlify.app",
    "ngrok.app",
    "ngrok.dev",
    "ngrok.io",
    "no-ip.org",
    "onrender.com",
    "pages.dev",
    "r2.dev",
    "render.com",
    "run.app",
    "trycloudflare.com",
    "ts.net",
    "vercel.app",
    "windows.net",
    "workers.dev",
};

#define N_OF(table) (sizeof(table) / sizeof((table)[0]))

/* The last n labels; the whole host when it has not so many. */
static struct slice last_labels(struct slice host, unsigned n)
{
    size_t at = host.len;

    while (at > 0 && (host.ptr[at - 1] != '.' || --n > 0))
        at--;
    return (struct slice){host.ptr + at, host.len - at};
}

static unsigned count_labels(struct slice host)
{
    unsigned n = 1;

    for (size_t i = 0; i < host.len; i++)
        n += host.ptr[i] == '.';
    return n;
}

static bool is_shared(struct slice host)
{
    for (size_t i = 0; i < N_OF(shared_domains); i++) {
        struct slice domain = slice_of(shared_domains[i]);
        if (slice_ends(host, domain) &&
            (host.len == domain.len || host.ptr[host.len - domain.len - 1] == '.'))
            return true;
    }
    return false;
}

/* The last two labels are what a country registry sells names under, like "co.uk". */
static bool is_country_suffix(struct slice two)
{
    struct slice top = last_labels(two, 1);
    struct slice second = {two.ptr, two.len - top.len - 1};

    if (top.len != 2)
        return false;
    for (size_t i = 0; i < N_OF(country_seconds); i++)
        if (slice_equal(second, slice_of(country_seconds[i])))
            return true;
    return false;
}

struct slice realm_domain(struct slice host)
{
    unsigned n_labels = count_labels(host);
    unsigned n_owned = 2;

    if (n_labels < 2 || is_shared(host))
        return SLICE_NONE;
    if (is_country_suffix(last_labels(host, 2)))
        n_owned = 3;
    return n_labels < n_owned ? SLICE_NONE : last_labels(host, n_owned);
}

static bool is_allowed(const struct url *realm, const char *const *allowed)
{
    for (; allowed && *allowed; allowed++) {
        struct slice entry = slice_of(*allowed);
        if (slice_equal_case(entry, realm->host) || slice_equal_case(entry, url_authority(realm)))
            return true;
    }
    return false;
}

bool realm_is_trusted(const struct url *realm, const struct url *upstream,
                      const char *const *allowed)
{
    CHECK(realm->text && upstream->text);
    /* What travels under TLS to the upstream must not travel in the clear to its realm. */
    if (upstream->is_https && !realm->is_https)
        return false;
    if (url_same_host(realm, upstream) || is_allowed(realm, allowed))
        return true;
    if (url_host_is_address(realm) || url_host_is_address(upstream))
        return false;
    struct slice domain = realm_domain(upstream->host);
    return domain.ptr && slice_equal(domain, realm_domain(realm->host));
}
