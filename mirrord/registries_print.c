/* What is known of the upstreams of all registries, as text: for the admin listing, for metrics. */
#include "config.h"

#include "mirrord/registries.h"

#include <string.h>

#include "base/check.h"
#include "upstream/upstream.h"

static void print_registry(const struct registry *g, bool is_default, struct strbuf *out)
{
    const char *between = "";

    strbuf_add_str(out, "{\"registry\":\"");
    strbuf_add_json(out, g->host);
    strbuf_addf(out, "\",\"default\":%s,\"prefix\":\"", is_default ? "true" : "false");
    strbuf_add_json(out, g->prefix);
    strbuf_addf(out, "\",\"cost\":%u,\"urls\":[", g->cost);
    for (struct upstream *u = g->upstream; u; u = upstream_fallback(u)) {
        strbuf_add_str(out, between);
        upstream_print_json(u, out);
        between = ",";
    }
    strbuf_add_str(out, "]}");
}

void registries_print_json(const struct registries *r, struct strbuf *out)
{
    const struct registry *g;

    strbuf_add_char(out, '[');
    for (size_t i = 0; (g = registries_item(r, i)); i++) {
        if (!g->upstream)
            continue;
        if (out->ptr[out->len - 1] != '[')
            strbuf_add_char(out, ',');
        print_registry(g, i == 0, out);
    }
    strbuf_add_char(out, ']');
}

/* --- metrics ---------------------------------------------------------------------------------- */

static int64_t read_resting(const struct upstream_state *s)
{
    return s->is_resting;
}

static int64_t read_refused(const struct upstream_state *s)
{
    return s->are_credentials_refused;
}

static int64_t read_limit(const struct upstream_state *s)
{
    return s->quota_limit;
}

static int64_t read_remaining(const struct upstream_state *s)
{
    return s->quota_remaining;
}

static int64_t read_low(const struct upstream_state *s)
{
    return s->is_quota_low;
}

/* One gauge for each URL of each registry. */
static const struct {
    const char *name, *help;
    int64_t (*read)(const struct upstream_state *s);
} GAUGES[] = {
    {"mirrord_upstream_breaker_open",
     "1 while the URL is left alone after repeated failures, or because it throttles us and there "
     "is "
     "another",
     read_resting},
    {"mirrord_upstream_credentials_refused",
     "1 since the URL refused the credentials configured for it, until it accepts them",
     read_refused},
    {"mirrord_upstream_ratelimit_limit", "ratelimit-limit of the URL, -1 = never seen", read_limit},
    {"mirrord_upstream_ratelimit_remaining", "ratelimit-remaining of the URL, -1 = never seen",
     read_remaining},
    {"mirrord_upstream_quota_low",
     "1 while less than mirroring.quota_floor is known to remain of the URL's limit", read_low},
};

/* Escaped as the format wants it of labels. */
static void print_label(struct slice value, struct strbuf *out)
{
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c == '\\' || c == '"' || c == '\n')
            strbuf_add_char(out, '\\');
        strbuf_add_char(out, c == '\n' ? 'n' : c);
    }
}

static bool is_alike(const struct upstream_state *a, const struct upstream_state *b)
{
    return strcmp(a->name, b->name) == 0 &&
           strcmp(a->username ? a->username : "", b->username ? b->username : "") == 0;
}

/* Which it is of the registry's URLs with this host and user, from 1: no two series are alike. */
static unsigned nth_of(const struct registry *g, const struct upstream *which,
                       const struct upstream_state *s)
{
    struct upstream_state other;
    unsigned n = 1;

    for (struct upstream *u = g->upstream; u != which; u = upstream_fallback(u)) {
        upstream_look(u, &other);
        n += is_alike(&other, s);
    }
    return n;
}

static void print_labels(const struct registry *g, const struct upstream *u,
                         const struct upstream_state *s, struct strbuf *out)
{
    unsigned nth = nth_of(g, u, s);

    strbuf_add_str(out, "{registry=\"");
    print_label(g->host, out);
    strbuf_add_str(out, "\",upstream=\"");
    print_label(slice_of(s->name), out);
    if (nth > 1)
        strbuf_addf(out, "#%u", nth);
    strbuf_add_str(out, "\",credential=\"");
    print_label(slice_of(s->username ? s->username : "anonymous"), out);
    strbuf_add_str(out, "\"}");
}

void registries_print_metrics(const struct registries *r, struct strbuf *out)
{
    const struct registry *g;
    struct upstream_state state;

    for (size_t m = 0; m < sizeof(GAUGES) / sizeof(GAUGES[0]); m++) {
        CHECK(GAUGES[m].read);
        strbuf_addf(out, "# HELP %s %s\n# TYPE %s gauge\n", GAUGES[m].name, GAUGES[m].help,
                    GAUGES[m].name);
        for (size_t i = 0; (g = registries_item(r, i)); i++) {
            for (struct upstream *u = g->upstream; u; u = upstream_fallback(u)) {
                upstream_look(u, &state);
                strbuf_add_str(out, GAUGES[m].name);
                print_labels(g, u, &state, out);
                strbuf_addf(out, " %lld\n", (long long)GAUGES[m].read(&state));
            }
        }
    }
}
