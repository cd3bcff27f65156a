#include "config.h"

#include "mirrord/config_upstreams.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mirrord/configuration.h"
#include "tests/unit/unit.h"

/* Reads a text as the option, in a file and by the environment. */
static struct config *load(const char *value, const char *const *environment,
                           struct strbuf *problems)
{
    struct strbuf text = STRBUF_INIT;

    strbuf_addf(&text,
                "dev:\n  mirroring:\n    source: https://registry-1.docker.io\n    upstreams:%s\n",
                value);
    struct config_source source = {
        .path = "t.yml", .flavor = "dev", .text = {text.ptr, text.len}, .environment = environment};
    struct config *c = NULL;
    strbuf_clear(problems);
    int rc = config_load(&source, &c, problems);
    assert_int_equal(rc, c ? 0 : -EINVAL);
    strbuf_fini(&text);
    return c;
}

static const char *const NO_ENVIRONMENT[] = {NULL};

/* The same of one that reads well, parsed. */
static struct config *parse(const char *value, const char *const *environment,
                            struct config_upstreams *out)
{
    struct strbuf problems = STRBUF_INIT;
    struct config *c = load(value, environment, &problems);

    if (!c)
        fail_msg("%s", problems.ptr);
    config_upstreams_parse(config_str(c, OPT_MIRRORING_UPSTREAMS), out);
    strbuf_fini(&problems);
    return c;
}

static void test_forms(void **state)
{
    struct config_upstreams u;
    struct config *c = parse("\n"
                             "      ghcr.io: https://ghcr.io/\n"
                             "      quay.io: [https://quay.io, 'http://mirror.example:5000/quay']\n"
                             "      corp.example:5000:\n"
                             "        url: [https://one, {url: https://two, username: bob, "
                             "password: 1234}, https://ONE/x]\n"
                             "        username: alice\n"
                             "        password: _env:CORP:hushhush\n"
                             "        tls_verify: false\n"
                             "        realms: auth.example, auth2.example\n"
                             "        hosts: [corp.lan, 'corp.lan:5000']\n"
                             "        aliases: corp\n"
                             "        prefix: mirrors/corp\n"
                             "        listen: '127.0.0.1:5002'\n"
                             "        ttl: 1h\n"
                             "        grace: 30m\n"
                             "        keep: 7d\n"
                             "        negative_ttl: 5\n"
                             "        cost: 7\n",
                             NO_ENVIRONMENT, &u);

    (void)state;
    assert_int_equal(u.n, 3);
    assert_string_equal(u.entries[0].host, "ghcr.io");
    assert_string_equal(u.entries[0].urls[0].url, "https://ghcr.io");
    assert_null(u.entries[0].urls[0].username);
    assert_int_equal(u.entries[1].n_urls, 2);
    assert_string_equal(u.entries[1].urls[1].url, "http://mirror.example:5000/quay");
    const struct upstream_entry *e = &u.entries[2];
    assert_string_equal(e->host, "corp.example:5000");
    assert_int_equal(e->n_urls, 3);
    /* The entry's credentials are the first URL's, and of others there; never of another host. */
    assert_string_equal(e->urls[0].username, "alice");
    assert_string_equal(e->urls[0].password, "hushhush");
    assert_string_equal(e->urls[1].username, "bob");
    assert_string_equal(e->urls[1].password, "1234");
    assert_string_equal(e->urls[2].username, "alice");
    assert_false(e->values[UPSTREAM_TLS_VERIFY].boolean);
    assert_int_equal(e->values[UPSTREAM_REALMS].n_items, 2);
    assert_int_equal(e->values[UPSTREAM_TTL].number, 3600000);
    assert_int_equal(e->values[UPSTREAM_NEGATIVE_TTL].number, 5000);
    assert_int_equal(e->values[UPSTREAM_COST].number, 7);
    assert_true(u.entries[0].values[UPSTREAM_TTL].is_null);
    config_upstreams_fini(&u);

    struct strbuf printed = STRBUF_INIT;
    config_print_effective(c, &printed);
    assert_non_null(strstr(printed.ptr, "mirrors/corp"));
    assert_null(strstr(printed.ptr, "hushhush"));
    assert_null(strstr(printed.ptr, "1234"));
    strbuf_fini(&printed);
    config_unref(&c);
}

static void test_environment(void **state)
{
    const char *const whole[] = {
        "MIRROR_UPSTREAMS={ghcr.io: https://ghcr.io, quay.io: [https://a, https://b]}", NULL};
    const char *const broken[] = {"MIRROR_UPSTREAMS={ghcr.io: ftp://ghcr.io}", NULL};
    const char *const inner[] = {"GHCR_PASSWORD=hidden", NULL};
    const char *const twice[] = {
        "MIRROR_UPSTREAMS={ghcr.io: https://a, quay.io: https://b, ghcr.io: https://c}", NULL};
    const char *const cut[] = {"MIRROR_UPSTREAMS={ghcr.io: {username: u, password: hidden}", NULL};
    struct strbuf problems = STRBUF_INIT;
    struct config_upstreams u;

    (void)state;
    struct config *c = parse(" _env:MIRROR_UPSTREAMS", whole, &u);
    assert_int_equal(u.n, 2);
    config_upstreams_fini(&u);
    config_unref(&c);
    assert_null(load(" _env:MIRROR_UPSTREAMS", broken, &problems));
    assert_non_null(
        strstr(problems.ptr,
               "t.yml:4: mirroring.upstreams: MIRROR_UPSTREAMS=ghcr.io.url: `ftp://ghcr.io`"));
    assert_null(load(" _env:MIRROR_UPSTREAMS", twice, &problems));
    assert_string_equal(problems.ptr,
                        "t.yml:4: mirroring.upstreams: MIRROR_UPSTREAMS=ghcr.io: `ghcr.io` stands "
                        "twice; allowed: each key once\n");
    assert_null(load(" _env:MIRROR_UPSTREAMS", cut, &problems));
    assert_non_null(strstr(problems.ptr, "t.yml:4: mirroring.upstreams: "));
    assert_null(strstr(problems.ptr, "hidden"));
    c = parse(" {ghcr.io: {url: https://ghcr.io, username: u, password: '_env:GHCR_PASSWORD'}}",
              inner, &u);
    assert_string_equal(u.entries[0].urls[0].password, "hidden");
    config_upstreams_fini(&u);
    config_unref(&c);
    c = load(" ~", NO_ENVIRONMENT, &problems);
    assert_non_null(c);
    assert_null(config_str(c, OPT_MIRRORING_UPSTREAMS));
    config_unref(&c);
    strbuf_fini(&problems);
}

/* Each is told with its line and key, and stops the start. */
static const struct {
    const char *value, *problem; /* behind "t.yml:" */
} wrong_rows[] = {
    {" [https://ghcr.io]", "4: mirroring.upstreams: a list is not a mapping"},
    {"\n      ghcr.io: ftp://x", "5: mirroring.upstreams: ghcr.io.url: `ftp://x` does not begin"},
    {"\n      ghcr.io: ''", "5: mirroring.upstreams: ghcr.io.url: is empty"},
    {"\n      ghcr.io: []", "5: mirroring.upstreams: ghcr.io.url: is missing"},
    {"\n      ghcr.io: {}", "5: mirroring.upstreams: ghcr.io.url: is missing"},
    {"\n      ghcr.io: ~", "5: mirroring.upstreams: ghcr.io.url: is empty"},
    {"\n      ghcr.io: https://u:secret@ghcr.io",
     "5: mirroring.upstreams: ghcr.io.url: `https://u:****@ghcr.io` has credentials"},
    {"\n      ghcr.io: [https://a, https://b?c]",
     "5: mirroring.upstreams: ghcr.io.url: `https://b?c` has a query"},
    {"\n      ghcr.io: [[https://a]]", "5: mirroring.upstreams: ghcr.io.url: a list in a list"},
    {"\n      GHCR.io: https://a", "5: mirroring.upstreams: GHCR.io: is no name of a registry"},
    {"\n      ghcr.io/org: https://a", "5: mirroring.upstreams: ghcr.io/org: is no name"},
    {"\n      'ghcr.io:0': https://a", "5: mirroring.upstreams: ghcr.io:0: is no name"},
    {"\n      v2: https://a", "5: mirroring.upstreams: v2: is no name"},
    {"\n      '': https://a", "5: mirroring.upstreams: : is no name"},
    {"\n      ghcr.io:\n        url: https://a\n        tll: 1h",
     "7: mirroring.upstreams: ghcr.io: unknown key `tll`; allowed: url, username"},
    {"\n      ghcr.io:\n        url: https://a\n        ttl: soon",
     "7: mirroring.upstreams: ghcr.io.ttl: `soon` is not a duration"},
    {"\n      ghcr.io:\n        url: https://a\n        cost: 0",
     "7: mirroring.upstreams: ghcr.io.cost: `0` is out of range"},
    {"\n      ghcr.io:\n        url: https://a\n        ttl: -1",
     "7: mirroring.upstreams: ghcr.io.ttl: `-1` is out of range"},
    {"\n      ghcr.io:\n        url: https://a\n        tls_verify: maybe",
     "7: mirroring.upstreams: ghcr.io.tls_verify: `maybe` is not a boolean"},
    {"\n      ghcr.io:\n        url: https://a\n        password: p4ss",
     "6: mirroring.upstreams: ghcr.io.password: without a username"},
    {"\n      ghcr.io: [{url: https://a, username: u}]",
     "5: mirroring.upstreams: ghcr.io.username: without a password"},
    {"\n      ghcr.io: [{username: u, password: p}]",
     "5: mirroring.upstreams: ghcr.io.url: is missing"},
    {"\n      ghcr.io: [{url: https://a, ttl: 5}]",
     "5: mirroring.upstreams: ghcr.io: unknown key `ttl`; allowed: url, username, password"},
    {"\n      ghcr.io: {url: https://a, prefix: a/v2}",
     "5: mirroring.upstreams: ghcr.io.prefix: cannot stand"},
    {"\n      ghcr.io: {url: https://a, prefix: /a}",
     "5: mirroring.upstreams: ghcr.io.prefix: cannot stand"},
    {"\n      ghcr.io: {url: https://a, hosts: [Not.Lower]}",
     "5: mirroring.upstreams: ghcr.io.hosts: a list has an element `Not.Lower` that is not a "
     "host"},
    {"\n      ghcr.io: {url: https://a, listen: 'nothing'}",
     "5: mirroring.upstreams: ghcr.io.listen: `nothing` has an element that is not an address"},
    {"\n      a.io: https://a\n      b.io: {url: https://b, aliases: a.io}",
     "6: mirroring.upstreams: b.io: `a.io` means a.io already"},
    {"\n      docker.io: https://a\n      index.docker.io: https://b",
     "6: mirroring.upstreams: docker.io: `docker.io` means docker.io already"},
    {"\n      a.io: https://a\n      b.io: https://b\n      a.io: https://c",
     "7: mirroring.upstreams: a.io: `a.io` stands twice; allowed: each key once"},
    {"\n      a.io: https://a\n      A.io: https://b",
     "6: mirroring.upstreams: A.io: is no name of a registry"},
    {"\n      a.io: https://a\n      a.io:443: https://b",
     "6: mirroring.upstreams: a.io:443: `a.io:443` means a.io already"},
    {"\n      a.io:443: https://a\n      b.io: {url: https://b, aliases: a.io}",
     "6: mirroring.upstreams: b.io: `a.io` means a.io:443 already"},
    {"\n      docker.io: https://a\n      registry-1.docker.io:443: https://b",
     "6: mirroring.upstreams: registry-1.docker.io:443: `docker.io` means docker.io already"},
    {"\n      a.io:\n        url: https://a\n        ttl: 1h\n        url: https://b",
     "8: mirroring.upstreams: a.io: `url` stands twice; allowed: each key once"},
    {"\n      a.io: [{url: https://a, username: u, password: p4ss, password: p4ss2}]",
     "5: mirroring.upstreams: a.io: `password` stands twice"},
    {"\n      'a:1': https://a\n      a_1: https://b",
     "6: mirroring.upstreams: a_1: `a_1` means a:1 already"},
    {"\n      a.io: {url: https://a, prefix: b.io}\n      b.io: https://b",
     "6: mirroring.upstreams: b.io: `b.io` means a.io already"},
    {"\n      a.io: {url: https://a, hosts: x}\n      b.io: {url: https://b, hosts: [y, x]}",
     "6: mirroring.upstreams: b.io: `x` means a.io already"},
};

static void test_wrong(void **state)
{
    struct strbuf problems = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < N_ROWS(wrong_rows); i++) {
        struct config *c = load(wrong_rows[i].value, NO_ENVIRONMENT, &problems);
        if (c)
            fail_msg("row %zu is accepted", i);
        if (strncmp(problems.ptr, "t.yml:", 6) != 0 ||
            strncmp(problems.ptr + 6, wrong_rows[i].problem, strlen(wrong_rows[i].problem)) != 0)
            fail_msg("row %zu: %s", i, problems.ptr);
        assert_null(strstr(problems.ptr, "secret"));
        assert_null(strstr(problems.ptr, "p4ss"));
    }
    strbuf_fini(&problems);
}

/* A merged key is replaced on purpose, and another port is another server. */
static void test_not_twice(void **state)
{
    struct config_upstreams u;
    struct config *c = parse("\n"
                             "      a.io: &a {url: https://a, ttl: 1h}\n"
                             "      b.io: {<<: *a, url: https://b}\n"
                             "      a.io:80: http://a:80\n",
                             NO_ENVIRONMENT, &u);

    (void)state;
    assert_int_equal(u.n, 3);
    assert_string_equal(u.entries[1].urls[0].url, "https://b");
    assert_int_equal(u.entries[1].values[UPSTREAM_TTL].number, 3600000);
    assert_string_equal(config_warnings(c), "");
    config_upstreams_fini(&u);
    config_unref(&c);
}

/* What reads well and cannot be. */
static void test_check(void **state)
{
    static const struct {
        const char *value, *problem; /* NULL: none */
    } rows[] = {
        {" {ghcr.io: https://ghcr.io, docker.io: [https://registry-1.docker.io, "
         "https://mirror.gcr.io]}",
         NULL},
        {" {ghcr.io: {url: https://ghcr.io, aliases: docker.io}}",
         "t.yml:4: mirroring.upstreams: ghcr.io.aliases: `docker.io` is the registry of "
         "mirroring.source"},
        {" {ghcr.io: {url: https://ghcr.io, ca_file: /nothing/here.pem}}",
         "t.yml:4: mirroring.upstreams: ghcr.io.ca_file: /nothing/here.pem cannot be read: No such "
         "file"},
    };
    struct strbuf problems = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct config *c = load(rows[i].value, NO_ENVIRONMENT, &problems);
        assert_non_null(c);
        config_check(c, &problems);
        bool is_told = problems.len && rows[i].problem && strstr(problems.ptr, rows[i].problem);
        bool is_quiet = !problems.len || !strstr(problems.ptr, "upstreams");
        if (rows[i].problem ? !is_told : !is_quiet)
            fail_msg("row %zu: %s", i, problems.len ? problems.ptr : "accepted");
        config_unref(&c);
    }
    strbuf_fini(&problems);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms), cmocka_unit_test(test_environment),
        cmocka_unit_test(test_wrong), cmocka_unit_test(test_not_twice),
        cmocka_unit_test(test_check),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
