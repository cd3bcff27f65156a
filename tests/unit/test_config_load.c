#include "config.h"

#include "mirrord/configuration.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/unit.h"

static const char *const NO_ENVIRONMENT[] = {NULL};

/* A path below the sources, wherever the build runs. */
static const char *source_path(const char *name)
{
    static char path[PATH_MAX];
    const char *top = getenv("srcdir");
    snprintf(path, sizeof(path), "%s/%s", top ? top : ".", name);
    return path;
}

/* Loads a text; on failure the problems are in *problems and NULL comes back. */
static struct config *load(const char *text, const char *const *environment,
                           struct strbuf *problems)
{
    struct config_source source = {
        .path = "t.yml",
        .flavor = "dev",
        .text = slice_of(text),
        .environment = environment ? environment : NO_ENVIRONMENT,
    };
    struct config *c = NULL;
    strbuf_clear(problems);
    int rc = config_load(&source, &c, problems);
    assert_int_equal(rc, c ? 0 : -EINVAL);
    return c;
}

/* Loads `key: line` in the flavor, with X set as given (NULL: not set). */
static struct config *load_x(const char *key, const char *line, const char *x,
                             struct strbuf *problems)
{
    char variable[200];
    const char *environment[] = {NULL, NULL};
    struct strbuf text = STRBUF_INIT;
    strbuf_addf(&text, "dev:\n    %s: %s\n", key, line);
    if (x) {
        snprintf(variable, sizeof(variable), "X=%s", x);
        environment[0] = variable;
    }
    struct config *c = load(text.ptr, environment, problems);
    strbuf_fini(&text);
    return c;
}

static const struct {
    const char *line;
    const char *x;
    const char *value; /* as YAML; NULL: null */
} ENV_VALUES[] = {
    {"_env:X", NULL, NULL},
    {"'_env:X:'", NULL, NULL},
    {"_env:X:d", "", NULL},
    {"_env:X:d", NULL, "d"},
    {"_env:X:d", "e", "e"},
    {"'_env:X:d'", "e", "e"},
    {"_env:X:10", NULL, "10"},
    {"_env:X:1.5", NULL, "1.5"},
    {"_env:X:1e3", NULL, "1e3"},
    {"_env:X:true", NULL, "true"},
    {"_env:X:~", NULL, NULL},
    {"_env:X:null", NULL, NULL},
    {"_env:X:''", NULL, "\"\""},
    {"_env:X:\"q\"", NULL, "q"},
    {"_env:X:a:b:c", NULL, "a:b:c"},
    {"_env:X:sqlite:////tmp/x.db", NULL, "sqlite:////tmp/x.db"},
    {"_env:X:https://h:80/x", NULL, "https://h:80/x"},
    {"_env:X", "https://h:80/x", "https://h:80/x"},
    {"_env:X:12:30:45", NULL, "12:30:45"},
    {"_env:X:2014-01-01", NULL, "2014-01-01"},
    {"_env:X:[a, b]", NULL, "[a, b]"},
    {"_env:X", "[1,2]", "[1, 2]"},
    {"_env:X", "- a\n- b", "[a, b]"},
    {"_env:X:{a: 1}", NULL, NULL}, /* a colon and a blank: not one scalar in a file */
    {"'_env:X:{a: 1}'", NULL, "{a: 1}"},
    {"_env:X", "{\"one\": \"v\"}", "{one: v}"},
    {"_env:X", "a: b", "{a: b}"},
    {"_env:X:#c", NULL, NULL},
    {"_env:X", "a #c", "a"},
    {"_env:X", "p@ss:w0rd#1", "\"p@ss:w0rd#1\""},
    {"_env:X:_env:Y:z", NULL, "\"_env::\\\"_env:Y:z\\\"\""},
    {"_env::d", NULL, "d"},
    {"'_env:'", NULL, NULL},
    {"[_env:X:d]", "e", "[\"_env::\\\"_env:X:d\\\"\"]"},
    {"7", "e", "7"},
    {"false", "e", "false"},
    {"[1]", "e", "[1]"},
};

/* The table of what _env: does, read through an option that takes anything. */
static void test_env_values(void **state)
{
    struct strbuf problems = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ENV_VALUES); i++) {
        if (strcmp(ENV_VALUES[i].line, "_env:X:{a: 1}") == 0) {
            assert_null(load_x("elliptics_nodes", ENV_VALUES[i].line, NULL, &problems));
            assert_non_null(strstr(problems.ptr, "t.yml:2: Config is not valid yaml"));
            continue;
        }
        struct config *c =
            load_x("elliptics_nodes", ENV_VALUES[i].line, ENV_VALUES[i].x, &problems);
        if (!c)
            fail_msg("%s: %s", ENV_VALUES[i].line, problems.ptr);
        const char *value = config_str(c, OPT_ELLIPTICS_NODES);
        if (!value != !ENV_VALUES[i].value || (value && strcmp(value, ENV_VALUES[i].value) != 0))
            fail_msg("%s (X=%s): %s", ENV_VALUES[i].line, ENV_VALUES[i].x, value);
        config_unref(&c);
    }
    strbuf_fini(&problems);
}

/* Integers as YAML 1.1 has them, and what is none. */
static void test_env_numbers(void **state)
{
    static const struct {
        const char *text;
        int64_t value; /* -1: refused */
    } ROWS[] = {
        {"10", 10},   {"010", 8},  {"0x1f", 31},  {"1_000", 1000}, {"12:30", 750},
        {"1.5", -1},  {"1e3", -1}, {"true", -1},  {"x", -1},       {"[1]", -1},
        {"'25'", 25}, {"-1", -1},  {"70000", -1}, {"", 5000},      {"tcp://h:1", -1},
    };
    struct strbuf problems = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        char line[64] = "dev: {registry: {port: '_env:REGISTRY_PORT:7'}}";
        char variable[64];
        const char *environment[] = {variable, NULL};
        snprintf(variable, sizeof(variable), "REGISTRY_PORT=%s", ROWS[i].text);
        struct config *c = load(line, environment, &problems);
        if (!c != (ROWS[i].value < 0))
            fail_msg("%s: %s", ROWS[i].text, c ? "taken" : problems.ptr);
        if (c)
            assert_int_equal(config_int(c, OPT_REGISTRY_PORT), ROWS[i].value);
        config_unref(&c);
    }
    strbuf_fini(&problems);
}

/* Texts that are not YAML: the message names variable, value and what to do. */
static void test_env_not_yaml(void **state)
{
    static const char *const TEXTS[] = {"@x", "`x", "%x", "*x", "!x y", "'x", "k: v: w"};
    struct strbuf problems = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < N_ROWS(TEXTS); i++) {
        assert_null(load_x("storage", "_env:X", TEXTS[i], &problems));
        if (!strstr(problems.ptr, "t.yml:2: storage: Config `X` (value: `") ||
            !strstr(problems.ptr, "is not valid: ") || !strstr(problems.ptr, TEXTS[i]))
            fail_msg("%s: %s", TEXTS[i], problems.ptr);
        assert_null(load_x("secret_key", "_env:X", TEXTS[i], &problems));
        if (strstr(problems.ptr, TEXTS[i]))
            fail_msg("a secret is told: %s", problems.ptr);
    }
    strbuf_fini(&problems);
}

/* An IPv6 address with its port is no YAML, and yet what people write. */
static void test_env_address(void **state)
{
    static const char *const ROWS[][2] = {
        {"admin_listen", "_env:X"},
        {"registry", "{listen: '_env:X'}"},
    };
    struct strbuf problems = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct config *c = load_x(ROWS[i][0], ROWS[i][1], "[::1]:5001", &problems);
        if (!c)
            fail_msg("%s: %s", ROWS[i][0], problems.ptr);
        config_unref(&c);
        assert_null(load_x(ROWS[i][0], ROWS[i][1], "[::1:5001", &problems));
        assert_null(load_x(ROWS[i][0], ROWS[i][1], "['::1]:5001", &problems));
    }
    strbuf_fini(&problems);
}

/* A text stays what was written, whatever YAML makes of it. */
static void test_texts_stay(void **state)
{
    static const struct {
        const char *x;
        const char *value;
    } ROWS[] = {
        {"0123", "0123"}, {"12:30:45", "12:30:45"},
        {"yes", "yes"},   {"1_000", "1_000"},
        {"1.0", "1.0"},   {"'a b'", "a b"},
        {"~", NULL},      {"", NULL},
        {"''", ""},       {"-", "-"},
        {"\"-\"", "-"},   {"p@ss:w0rd#1", "p@ss:w0rd#1"},
        {"pä", "pä"},
    };
    struct strbuf problems = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct config *c = load_x("secret_key", "_env:X", ROWS[i].x, &problems);
        assert_non_null(c);
        const char *value = config_str(c, OPT_SECRET_KEY);
        if (!value != !ROWS[i].value || (value && strcmp(value, ROWS[i].value) != 0))
            fail_msg("%s: %s", ROWS[i].x, value);
        config_unref(&c);
    }
    assert_null(load_x("secret_key", "_env:X", "[a]", &problems));
    assert_null(load_x("secret_key", "\"a\\0b\"", NULL, &problems));
    strbuf_fini(&problems);
}

/* _env: in the mapping of a group, and in one that a variable gave. */
static void test_env_groups(void **state)
{
    static const char *const environment[] = {"M={source: '_env:S:https://d', negative_ttl: 5}",
                                              "S=https://s/", "X=3", NULL};
    struct strbuf problems = STRBUF_INIT;

    (void)state;
    struct config *c = load("dev: {mirroring: '_env:M', cache: '_env:NONE', cors: ~,\n"
                            " fill: {near_bytes: '_env:X:4'}}",
                            environment, &problems);
    assert_non_null(c);
    assert_string_equal(config_str(c, OPT_MIRRORING_SOURCE), "https://s");
    assert_int_equal(config_ms(c, OPT_MIRRORING_NEGATIVE_TTL), 5000);
    assert_int_equal(config_bytes(c, OPT_FILL_NEAR_BYTES), 3);
    config_unref(&c);
    assert_null(load("dev: {mirroring: '_env:X'}", environment, &problems));
    assert_non_null(strstr(problems.ptr, "t.yml:1: mirroring: not a mapping"));
    strbuf_fini(&problems);
}

/* File over environment over default; and the second variable of an option. */
static void test_precedence(void **state)
{
    static const char *const environment[] = {"MIRROR_SOURCE=https://env",
                                              "GUNICORN_WORKERS=3",
                                              "GUNICORN_USER=old",
                                              "REGISTRY_USER=new",
                                              "AWS_REGION=eu",
                                              "LOGLEVEL=WARN",
                                              NULL};
    struct strbuf problems = STRBUF_INIT;

    (void)state;
    struct config *c =
        load("dev: {mirroring: {source: 'https://file', negative_ttl: ~}}", environment, &problems);
    assert_non_null(c);
    assert_string_equal(config_str(c, OPT_MIRRORING_SOURCE), "https://file");
    assert_int_equal(config_int(c, OPT_REGISTRY_WORKERS), 3);
    assert_string_equal(config_str(c, OPT_REGISTRY_USER), "new");
    assert_string_equal(config_str(c, OPT_LOGLEVEL), "warn");
    assert_true(config_is_null(c, OPT_S3_REGION));
    assert_false(config_was_set(c, OPT_MIRRORING_NEGATIVE_TTL));
    assert_int_equal(config_ms(c, OPT_MIRRORING_NEGATIVE_TTL), 10000);
    assert_int_equal(config_ms(c, OPT_MIRRORING_BACKOFF_BASE), 200);
    assert_int_equal(config_list_len(c, OPT_CORS_HEADERS), 1);
    config_unref(&c);

    c = load("dev: {registry: {workers: '_env:REGISTRY_WORKERS:9', user: '_env:U:z'}}", environment,
             &problems);
    assert_int_equal(config_int(c, OPT_REGISTRY_WORKERS), 3);
    assert_string_equal(config_str(c, OPT_REGISTRY_USER), "z");
    config_unref(&c);
    strbuf_fini(&problems);
}

/* Every kind of mistake, with its line; all of them at once. */
static void test_messages(void **state)
{
    static const char text[] = "common: &c\n"
                               "  loglevl: info\n"
                               "  mirroring: {source: 'ftp://x'}\n"
                               "dev:\n"
                               "  <<: *c\n"
                               "  http:\n"
                               "    head_timeout: 5x\n"
                               "    head_max_bytes: 1g\n"
                               "    foo: 1\n"
                               "  registry: {port: tcp, listen: ['a'], workers: -1}\n"
                               "  admin_listen: nonsense\n"
                               "  cache: 7\n"
                               "  fill: {continue: 150%}\n"
                               "  standalone: maybe\n"
                               "  mirroring.source: x\n"
                               "  loglevel: loud\n"
                               "  push:\n"
                               "    networks: [10.0.0.0/8, 10.0.0.1/8]\n"
                               "    repositories: team/*,Team/*\n"
                               "  cache_max_size: 0%\n"
                               "  cache_min_free: 101%\n";
    static const char *const LINES[] = {
        "t.yml:2: loglevl: unknown key; did you mean loglevel?",
        "t.yml:3: mirroring.source: `ftp://x` does not begin with http:// or https://; allowed: ",
        "t.yml:7: http.head_timeout: `5x` is not a duration; allowed: seconds, or a number with ms",
        "t.yml:8: http.head_max_bytes: `1g` is out of range; allowed: ",
        "t.yml:9: http.foo: unknown key",
        "t.yml:10: registry.port: `tcp` is not a whole number; allowed: a whole number from 0 to",
        "t.yml:10: registry.listen: a list has an element that is not an address; allowed: ",
        "t.yml:10: registry.workers: `-1` is out of range",
        "t.yml:11: admin_listen: `nonsense` is not an address",
        "t.yml:12: cache: not a mapping",
        "t.yml:13: fill.continue: `150%` is out of range",
        "t.yml:14: standalone: `maybe` is not a boolean; allowed: true or false\n",
        "t.yml:15: mirroring.source: unknown key",
        "t.yml:16: loglevel: `loud` is unknown; allowed: debug, info, ",
        "t.yml:18: push.networks: a list has an element `10.0.0.1/8` that is not a network (the "
        "address has bits behind the prefix); allowed: a list of IPv4 or IPv6 addresses",
        "t.yml:19: push.repositories: `team/*,Team/*` has an element `Team/*` that is not a pattern"
        " (a character that no name of a repository has); allowed: a list of patterns",
        "t.yml:20: cache_max_size: `0%` is out of range; allowed: bytes, a number with k, m, g",
        "t.yml:21: cache_min_free: `101%` is out of range",
    };
    struct strbuf problems = STRBUF_INIT;
    size_t n_lines = 0;

    (void)state;
    assert_null(load(text, NULL, &problems));
    for (size_t i = 0; i < N_ROWS(LINES); i++)
        if (!strstr(problems.ptr, LINES[i]))
            fail_msg("%s is not in:\n%s", LINES[i], problems.ptr);
    for (size_t i = 0; i < problems.len; i++)
        n_lines += problems.ptr[i] == '\n';
    assert_int_equal(n_lines, N_ROWS(LINES));
    strbuf_fini(&problems);
}

static void test_urls(void **state)
{
    static const struct {
        const char *text;
        const char *value; /* NULL: refused */
    } ROWS[] = {
        {"https://registry-1.docker.io", "https://registry-1.docker.io"},
        {"https://h/", "https://h"},
        {"http://127.0.0.1:5050", "http://127.0.0.1:5050"},
        {"http://[::1]:5050/prefix/", "http://[::1]:5050/prefix"},
        {"registry-1.docker.io", NULL},
        {"https://user:pass@h", NULL},
        {"https://h/?a=b", NULL},
        {"https://h/#f", NULL},
        {"https://", NULL},
        {"https://h:99999", NULL},
        {"https://a b", NULL},
    };
    struct strbuf problems = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        char variable[100];
        const char *environment[] = {variable, NULL};
        snprintf(variable, sizeof(variable), "MIRROR_SOURCE=%s", ROWS[i].text);
        struct config *c = load("dev: {}", environment, &problems);
        if (!c != !ROWS[i].value)
            fail_msg("%s: %s", ROWS[i].text, c ? "taken" : problems.ptr);
        if (c)
            assert_string_equal(config_str(c, OPT_MIRRORING_SOURCE), ROWS[i].value);
        else
            assert_non_null(strstr(problems.ptr, "environment: mirroring.source: MIRROR_SOURCE=`"));
        assert_true(c || !strstr(problems.ptr, "pass"));
        config_unref(&c);
    }
    strbuf_fini(&problems);
}

static void test_flavors(void **state)
{
    static const char text[] = "common: &c {storage: local}\n"
                               "dev: {<<: *c, loglevel: error}\n"
                               "empty:\n"
                               "odd: 5\n"
                               "storage: file\n";
    static const char *const other[] = {"SETTINGS_FLAVOR=common", NULL};
    static const char *const top[] = {"SETTINGS_FLAVOR=", NULL};
    struct config_source source = {.text = SLICE(text), .environment = NO_ENVIRONMENT};
    struct strbuf problems = STRBUF_INIT;
    struct config *c = NULL;

    (void)state;
    assert_int_equal(config_load(&source, &c, &problems), 0);
    assert_string_equal(config_flavor(c), "dev");
    assert_string_equal(config_str(c, OPT_LOGLEVEL), "error");
    assert_string_equal(config_str(c, OPT_STORAGE), "local");
    config_unref(&c);

    source.environment = other;
    assert_int_equal(config_load(&source, &c, &problems), 0);
    assert_string_equal(config_flavor(c), "common");
    assert_string_equal(config_str(c, OPT_LOGLEVEL), "info");
    config_unref(&c);

    source.flavor = "empty"; /* -f goes before the environment */
    assert_int_equal(config_load(&source, &c, &problems), 0);
    assert_null(config_str(c, OPT_STORAGE));
    config_unref(&c);

    source.flavor = "none";
    assert_int_equal(config_load(&source, &c, &problems), -EINVAL);
    assert_non_null(strstr(problems.ptr, "the flavor `none` is missing; allowed: common, dev, "));
    source.flavor = "odd";
    assert_int_equal(config_load(&source, &c, &problems), -EINVAL);
    assert_non_null(strstr(problems.ptr, ":4: odd: not a mapping"));
    strbuf_clear(&problems);

    source.flavor = NULL;
    source.environment = top;
    assert_int_equal(config_load(&source, &c, &problems), -EINVAL);
    assert_null(strstr(problems.ptr, "common"));
    assert_null(strstr(problems.ptr, "dev"));
    assert_non_null(strstr(problems.ptr, ":3: empty: unknown key"));
    assert_non_null(strstr(problems.ptr, ":4: odd: unknown key"));
    assert_null(strstr(problems.ptr, ":5: "));
    strbuf_clear(&problems);
    source.text = SLICE("common: &c {storage: local}\nstorage: file\n");
    assert_int_equal(config_load(&source, &c, &problems), 0);
    assert_string_equal(config_str(c, OPT_STORAGE), "file");
    config_unref(&c);
    strbuf_fini(&problems);
}

/* Every flavor of the files users have. */
static void test_legacy_files(void **state)
{
    static const struct {
        const char *name;
        const char *flavor;
        const char *storage;
        bool can_run;
    } ROWS[] = {
        {"config_mirror.yml", "dev", "local", true},
        {"config_sample.yml", "dev", "local", true},
        {"config_sample.yml", "local", "local", true},
        {"config_sample.yml", "test", "local", true},
        {"config_sample.yml", "prod", "s3", false},
        {"config_sample.yml", "s3", "s3", false},
        {"config_sample.yml", "cloudfronts3", "s3", false},
        {"config_sample.yml", "ceph-s3", "s3", false},
        {"config_sample.yml", "azureblob", "azureblob", false},
        {"config_sample.yml", "gcs", "gcs", false},
        {"config_sample.yml", "swift", "swift", false},
        {"config_sample.yml", "glance", "glance", false},
        {"config_sample.yml", "openstack", "glance", false},
        {"config_sample.yml", "glance-swift", "glance", false},
        {"config_sample.yml", "openstack-swift", "glance", false},
        {"config_sample.yml", "elliptics", "elliptics", false},
        {"config_sample.yml", "oss", "oss", false},
    };
    struct strbuf problems = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        char name[100];
        snprintf(name, sizeof(name), "tests/data/legacy/%s", ROWS[i].name);
        struct config_source source = {
            .path = source_path(name), .flavor = ROWS[i].flavor, .environment = NO_ENVIRONMENT};
        struct config *c = NULL;
        if (config_load(&source, &c, &problems) < 0)
            fail_msg("%s %s: %s", name, ROWS[i].flavor, problems.ptr);
        assert_string_equal(config_str(c, OPT_STORAGE), ROWS[i].storage);
        assert_int_equal(config_check(c, &problems), ROWS[i].can_run ? 0 : -EINVAL);
        assert_int_equal(config_ms(c, OPT_MIRRORING_TAGS_CACHE_TTL), 172800000);
        assert_true(config_bool(c, OPT_STANDALONE));
        config_unref(&c);
    }
    assert_non_null(strstr(problems.ptr, "storage driver swift is not available in this build; "
                                         "available: local, file\n"));
    strbuf_fini(&problems);
}

/* What begins a list of patterns has another meaning in YAML, in which '!' would get lost. */
static void test_pattern_lists(void **state)
{
    static const struct {
        const char *variable;
        const char *items[3]; /* none: refused */
    } ROWS[] = {
        {"PUSH_REPOSITORIES=*", {"*"}},
        {"PUSH_REPOSITORIES=*/x, y", {"*/x", "y"}},
        {"PUSH_REPOSITORIES=!library/*,*", {"!library/*", "*"}},
        {"PUSH_REPOSITORIES= !a *", {"!a", "*"}},
        {"PUSH_REPOSITORIES=['!a', '*']", {"!a", "*"}},
        {"PUSH_REPOSITORIES=\"!a,*\"", {"!a", "*"}},
        {"PUSH_REPOSITORIES=team/*,!x", {"team/*", "!x"}},
        {"PUSH_REPOSITORIES=! a", {NULL}},
        {"PUSH_REPOSITORIES=!'a'", {NULL}},
        {"PUSH_REPOSITORIES=a:b", {NULL}},
        {"PUSH_NETWORKS=::1,10.0.0.0/8", {"::1", "10.0.0.0/8"}},
        {"PUSH_NETWORKS=0.0.0.0/0 ::/0", {"0.0.0.0/0", "::/0"}},
        {"PUSH_NETWORKS=10.0.0.0/33", {NULL}},
        {"PUSH_NETWORKS=*", {NULL}},
    };
    struct strbuf problems = STRBUF_INIT;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        const char *environment[] = {ROWS[i].variable, NULL};
        struct config *c = load("dev: {}", environment, &problems);
        enum option id = ROWS[i].variable[5] == 'R' ? OPT_PUSH_REPOSITORIES : OPT_PUSH_NETWORKS;
        if (!c != !ROWS[i].items[0])
            fail_msg("%s: %s", ROWS[i].variable, problems.ptr ? problems.ptr : "taken");
        size_t n = 0;
        for (; c && ROWS[i].items[n]; n++)
            assert_string_equal(config_list_item(c, id, n), ROWS[i].items[n]);
        if (c)
            assert_int_equal(config_list_len(c, id), n);
        config_unref(&c);
    }
    strbuf_fini(&problems);
}

/* The variables of the legacy sample reach the options they are named after. */
static void test_legacy_environment(void **state)
{
    static const char *const environment[] = {"MIRROR_SOURCE=https://registry-1.docker.io",
                                              "MIRROR_TAGS_CACHE_TTL=3600",
                                              "STORAGE_PATH=/var/lib/registry",
                                              "CACHE_REDIS_HOST=redis",
                                              "CACHE_REDIS_PORT=6379",
                                              "CACHE_REDIS_PASSWORD=0042",
                                              "CORS_ORIGINS=[a, b]",
                                              "SMTP_SECURE={keyfile: k}",
                                              "DEBUG=0",
                                              NULL};
    struct config_source source = {.path = source_path("tests/data/legacy/config_sample.yml"),
                                   .flavor = "dev",
                                   .environment = environment};
    struct strbuf out = STRBUF_INIT;
    struct config *c = NULL;

    (void)state;
    assert_int_equal(config_load(&source, &c, &out), 0);
    assert_string_equal(config_str(c, OPT_MIRRORING_SOURCE), "https://registry-1.docker.io");
    assert_int_equal(config_ms(c, OPT_MIRRORING_TAGS_CACHE_TTL), 3600000);
    assert_string_equal(config_str(c, OPT_STORAGE_PATH), "/var/lib/registry");
    assert_int_equal(config_int(c, OPT_CACHE_PORT), 6379);
    assert_string_equal(config_str(c, OPT_CACHE_PASSWORD), "0042");
    assert_string_equal(config_list_item(c, OPT_CORS_ORIGINS, 1), "b");
    assert_string_equal(config_str(c, OPT_EMAIL_EXCEPTIONS_SMTP_SECURE), "{keyfile: k}");
    assert_false(config_bool(c, OPT_DEBUG));
    assert_int_equal(config_unbuilt(c, &out), 3);
    assert_string_equal(out.ptr, "search_backend, email_exceptions.smtp_secure, cors.origins");
    config_unref(&c);
    strbuf_fini(&out);
}

/* Environment variables alone, without any file. */
static void test_no_file(void **state)
{
    static const char *const environment[] = {"MIRROR_SOURCE=http://127.0.0.1:5050",
                                              "STORAGE_PATH=/srv/x",
                                              "REGISTRY_HOST=127.0.0.1",
                                              "REGISTRY_PORT=5005",
                                              "SETTINGS_FLAVOR=local",
                                              "ADMIN_LISTEN=off",
                                              "MIRROR_REALMS=a.example, b.example",
                                              "FILL_CONTINUE=50%",
                                              "DOCKER_REGISTRY_CONFIG=",
                                              NULL};
    struct config_source source = {.environment = environment};
    struct strbuf out = STRBUF_INIT;
    struct config *c = NULL;

    (void)state;
    assert_int_equal(config_load(&source, &c, &out), 0);
    assert_int_equal(config_check(c, &out), 0);
    assert_string_equal(config_file(c), "the compiled-in sample");
    assert_string_equal(config_str(c, OPT_MIRRORING_SOURCE), "http://127.0.0.1:5050");
    assert_string_equal(config_str(c, OPT_STORAGE_PATH), "/srv/x");
    assert_string_equal(config_str(c, OPT_REGISTRY_HOST), "127.0.0.1");
    assert_int_equal(config_int(c, OPT_REGISTRY_PORT), 5005);
    assert_string_equal(config_str(c, OPT_ADMIN_LISTEN), "off");
    assert_int_equal(config_list_len(c, OPT_MIRRORING_REALMS), 2);
    assert_string_equal(config_list_item(c, OPT_MIRRORING_REALMS, 1), "b.example");
    assert_int_equal(config_int(c, OPT_FILL_CONTINUE), 50);
    assert_int_equal(config_unbuilt(c, &out), 0);
    config_unref(&c);
    strbuf_fini(&out);
}

/* The last of equal keys counts, as it did in the legacy registry, and somebody is told. */
static void test_doubled_keys(void **state)
{
    struct strbuf problems = STRBUF_INIT;
    struct config *c = load("dev:\n"
                            "    loglevel: info\n"
                            "other:\n"
                            "    debug: true\n"
                            "    debug: false\n"
                            "dev:\n"
                            "    loglevel: info\n"
                            "    mirroring:\n"
                            "        tags_cache_ttl: 1h\n"
                            "        tags_cache_ttl: 1w\n"
                            "    loglevel: warn\n"
                            "    email_exceptions:\n"
                            "        smtp_secure: {keyfile: k, keyfile: l}\n",
                            NULL, &problems);

    (void)state;
    if (!c)
        fail_msg("%s", problems.ptr);
    assert_string_equal(config_str(c, OPT_LOGLEVEL), "warn");
    assert_int_equal(config_ms(c, OPT_MIRRORING_TAGS_CACHE_TTL), 7 * 86400000);
    assert_string_equal(config_str(c, OPT_EMAIL_EXCEPTIONS_SMTP_SECURE), "{keyfile: l}");
    assert_string_equal(
        config_warnings(c),
        "t.yml:6: dev: stands on line 1, too; the last one counts\n"
        "t.yml:11: loglevel: stands on line 7, too; the last one counts\n"
        "t.yml:10: mirroring.tags_cache_ttl: stands on line 9, too; the last one counts\n"
        "t.yml:13: email_exceptions.smtp_secure.keyfile: stands on line 13, too; the last one "
        "counts\n");
    config_unref(&c);
    strbuf_fini(&problems);
}

/* In a group that a variable gave, the line is the one that asked for it. */
static void test_doubled_in_variable(void **state)
{
    static const char *const environment[] = {"GROUP={source: 'http://a', source: 'http://b'}",
                                              NULL};
    struct strbuf problems = STRBUF_INIT;
    struct config *c = load("dev:\n    mirroring: _env:GROUP\n", environment, &problems);

    (void)state;
    assert_non_null(c);
    assert_string_equal(config_str(c, OPT_MIRRORING_SOURCE), "http://b");
    assert_string_equal(config_warnings(c),
                        "t.yml:2: mirroring.source: stands twice there; the last one counts\n");
    config_unref(&c);
    strbuf_fini(&problems);
}

static void test_missing_file(void **state)
{
    static const char *const environment[] = {"DOCKER_REGISTRY_CONFIG=/nonexistent/c.yml", NULL};
    struct config_source source = {.environment = environment};
    struct strbuf problems = STRBUF_INIT;
    struct config *c = NULL;

    (void)state;
    assert_int_equal(config_load(&source, &c, &problems), -ENOENT);
    assert_string_equal(problems.ptr, "/nonexistent/c.yml: Heads-up! File is missing\n");
    source.path = "/";
    assert_int_equal(config_load(&source, &c, &problems), -EISDIR);
    assert_null(c);
    strbuf_fini(&problems);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_env_values),
        cmocka_unit_test(test_env_numbers),
        cmocka_unit_test(test_env_not_yaml),
        cmocka_unit_test(test_env_address),
        cmocka_unit_test(test_texts_stay),
        cmocka_unit_test(test_env_groups),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_urls),
        cmocka_unit_test(test_flavors),
        cmocka_unit_test(test_legacy_files),
        cmocka_unit_test(test_legacy_environment),
        cmocka_unit_test(test_no_file),
        cmocka_unit_test(test_doubled_keys),
        cmocka_unit_test(test_doubled_in_variable),
        cmocka_unit_test(test_missing_file),
        cmocka_unit_test(test_pattern_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
