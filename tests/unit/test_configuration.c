#include "config.h"

#include "mirrord/configuration.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/unit.h"

static const char *const NO_ENVIRONMENT[] = {NULL};

static struct config *load(const char *text, const char *flavor)
{
    struct config_source source = {
        .path = "t.yml", .flavor = flavor, .text = slice_of(text), .environment = NO_ENVIRONMENT};
    struct strbuf problems = STRBUF_INIT;
    struct config *c = NULL;
    if (config_load(&source, &c, &problems) < 0)
        fail_msg("%s", problems.ptr);
    strbuf_fini(&problems);
    return c;
}

/* What is well-formed but cannot run. */
static void test_check(void **state)
{
    static const struct {
        const char *text;
        const char *problem; /* NULL: fine */
    } ROWS[] = {
        {"{storage: local}", NULL},
        {"{storage: file}", NULL},
        {"{}", "t.yml: storage: not set by the flavor dev; available: local, file\n"},
        {"{storage: s3}", "t.yml:1: storage: storage driver s3 is not available in this build; "
                          "available: local, file\n"},
        {"{storage: local, mirroring: {source_username: u, source_password: p}}", NULL},
        {"{storage: local, mirroring: {source_password: p}}",
         "t.yml:1: mirroring.source_password: set without mirroring.source_username; allowed: both "
         "or neither\n"},
        {"{storage: local, mirroring: {ca_file: /nonexistent/ca.pem}}",
         "t.yml:1: mirroring.ca_file: /nonexistent/ca.pem cannot be read: No such file or "
         "directory; allowed: a PEM file\n"},
        {"{storage: local, cache_high_water: 80, cache_low_water: 79%}", NULL},
        {"{storage: local, cache_low_water: 95}",
         "t.yml:1: cache_low_water: not below cache_high_water; allowed: less than that\n"},
        {"{storage: local, mirroring: {backoff_base: 1m}}",
         "t.yml:1: mirroring.backoff_base: longer than mirroring.backoff_max; allowed: at most as "
         "long\n"},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        char text[200];
        struct strbuf problems = STRBUF_INIT;
        snprintf(text, sizeof(text), "dev: %s", ROWS[i].text);
        struct config *c = load(text, "dev");
        assert_int_equal(config_check(c, &problems), ROWS[i].problem ? -EINVAL : 0);
        assert_string_equal(problems.len ? problems.ptr : "",
                            ROWS[i].problem ? ROWS[i].problem : "");
        strbuf_fini(&problems);
        config_unref(&c);
    }
}

static void test_print(void **state)
{
    static const char text[] =
        "dev:\n"
        "  storage: local\n"
        "  issue: 'it''s: \"#1\" _env:x'\n"
        "  secret_key: hunter2\n"
        "  sqlalchemy_index_database: mysql://u:hunter2@h/db\n"
        "  mirroring: {source: 'https://h', source_password: hunter2, realms: [a, 'b c']}\n"
        "  http: {head_timeout: 1500ms, head_max_bytes: 20000}\n"
        "  registry: {listen: ['[::1]:5', 'unix:/x']}\n"
        "  fill: {continue: 30%}\n"
        "  extensions: {a: {b: [1, yes, 'yes']}}\n";
    static const char *const LINES[] = {
        "# t.yml, flavor dev\n",
        "storage: local                                     # t.yml:2\n",
        "secret_key: '****'                                 # t.yml:4, no effect so far\n",
        "    head_timeout: 1500ms                           # t.yml:7\n",
        "    head_max_bytes: 20000                          # t.yml:7\n",
        "    continue: 30%                                  # t.yml:9\n",
        "    tags_cache_ttl: 172800                         # default\n",
        "mysql://u:****@h/db",
        "extensions: {a: {b: [1, yes, \"yes\"]}}",
    };
    struct strbuf out = STRBUF_INIT;
    struct strbuf again = STRBUF_INIT;

    (void)state;
    struct config *c = load(text, "dev");
    config_print_effective(c, &out);
    for (size_t i = 0; i < N_ROWS(LINES); i++)
        if (!strstr(out.ptr, LINES[i]))
            fail_msg("%s is not in:\n%s", LINES[i], out.ptr);
    assert_null(strstr(out.ptr, "hunter2"));

    /* What is printed says the same when it is loaded. */
    struct config *reloaded = load(out.ptr, "");
    assert_string_equal(config_str(reloaded, OPT_ISSUE), config_str(c, OPT_ISSUE));
    strbuf_clear(&out);
    config_changed(c, reloaded, &again, &out);
    assert_int_equal(again.len, 0);
    assert_string_equal(out.ptr, "mirroring.source_password");
    config_unref(&reloaded);
    config_unref(&c);
    strbuf_fini(&out);
    strbuf_fini(&again);
}

static void test_changed(void **state)
{
    struct strbuf reloadable = STRBUF_INIT;
    struct strbuf restart = STRBUF_INIT;

    (void)state;
    struct config *old = load("dev: {storage: local, cors: {origins: x}}", "dev");
    struct config *same = load("dev: {storage: local, loglevel: INFO, cors: {origins: y}}", "dev");
    struct config *other = load("dev: {storage: local, loglevel: debug, registry: {port: 1, "
                                "listen: ['a:1']}, mirroring: {negative_ttl: 11}}",
                                "dev");
    assert_int_equal(config_changed(old, same, &reloadable, &restart), 0);
    assert_int_equal(config_changed(old, other, &reloadable, &restart), 4);
    assert_string_equal(reloadable.ptr, "loglevel, mirroring.negative_ttl");
    assert_string_equal(restart.ptr, "registry.port, registry.listen");
    config_unref(&old);
    config_unref(&same);
    config_unref(&other);
    strbuf_fini(&reloadable);
    strbuf_fini(&restart);
}

static void test_references(void **state)
{
    struct config *c = load("dev: {storage: local}", "dev");
    struct config *held = config_ref(c);

    (void)state;
    config_unref(&c);
    assert_null(c);
    assert_string_equal(config_str(held, OPT_STORAGE), "local");
    config_unref(&held);
    config_unref(&held);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_print),
        cmocka_unit_test(test_changed),
        cmocka_unit_test(test_references),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
