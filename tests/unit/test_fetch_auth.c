#include "config.h"

#include "upstream/fetch.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/metric.h"
#include "tests/unit/fetch_probe.h"
#include "tests/unit/unit.h"

#define BLOB "sha256:00"
#define USER_LINE "Basic dXNlcjpzZWNyZXQ=" /* user:secret */

/* A registry that wants tokens, and the service that gives them. */
struct realm {
    struct script_server *registry, *service;
    const char *host;                     /* of the realm as the registry names it */
    const char *challenge_more;           /* further parameters */
    _Atomic(const char *) service_answer; /* NULL: a token */
    atomic_uint generation;               /* tokens of earlier ones are dead */
    atomic_bool refuses_all_tokens;
    atomic_bool refuses_password; /* the service, with 401 */
    atomic_bool is_silent;        /* 401 without a challenge, except on /v2/ */
    atomic_bool holds_tokens;     /* until script_release */
    atomic_uint n_passwords;      /* that the service saw */
};

/* The clock of mirrord's own files, moved by tests (linked with --wrap). */
static atomic_ullong clock_ahead_ms;
uint64_t __real_clock_mono_ms(void);
uint64_t __wrap_clock_mono_ms(void);

uint64_t __wrap_clock_mono_ms(void)
{
    return __real_clock_mono_ms() + clock_ahead_ms;
}

static bool challenge(struct script_request *r, const struct realm *realm)
{
    if (realm->is_silent && strcmp(r->target, "/v2/") != 0)
        return script_printf(r, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
    return script_printf(r,
                         "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm=\"http://%s:%u/token\","
                         "service=\"here\"%s\r\nContent-Length: 3\r\n\r\n{ }",
                         realm->host, script_server_port(realm->service), realm->challenge_more);
}

static bool serve_registry(struct script_request *r, void *arg)
{
    struct realm *realm = arg;
    char value[256], wanted[64];

    snprintf(wanted, sizeof(wanted), "Bearer token-%u", realm->generation);
    if (!script_header(r, "Authorization", value, sizeof(value)))
        return challenge(r, realm);
    assert_memory_equal(value, "Bearer ", 7); /* never a password */
    if (strcmp(value, wanted) != 0 || realm->refuses_all_tokens)
        return challenge(r, realm);
    return lab_serve_blob(r, UINT64_MAX);
}

static bool serve_token(struct script_request *r, void *arg)
{
    struct realm *realm = arg;
    char value[256], body[128];
    bool has_password = script_header(r, "Authorization", value, sizeof(value));

    assert_memory_equal(r->target, "/token?", 7);
    assert_true((strstr(r->target, "account=user") != NULL) == has_password);
    if (has_password)
        assert_string_equal(value, USER_LINE);
    realm->n_passwords += has_password;
    if (realm->holds_tokens)
        script_wait(r->server);
    if (realm->refuses_password && has_password)
        return script_printf(r, "HTTP/1.1 401 No\r\nContent-Length: 6\r\n\r\ndenied");
    if (realm->service_answer)
        return script_send(r, realm->service_answer, strlen(realm->service_answer));
    snprintf(body, sizeof(body), "{\"token\":\"token-%u\",\"expires_in\":300}", realm->generation);
    return script_printf(r,
                         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                         "Content-Length: %zu\r\n\r\n%s",
                         strlen(body), body);
}

static struct realm realm_usual(void)
{
    return (struct realm){.host = "127.0.0.1",
                          .challenge_more = ",scope=\"repository:library/x:pull\""};
}

static void open_realm(struct lab *lab, struct realm *realm, bool has_password)
{
    struct upstream_config config = lab_config();

    realm->service = script_server_new(serve_token, realm);
    realm->registry = script_server_new(serve_registry, realm);
    config.username = has_password ? "user" : NULL;
    config.password = "secret";
    lab_open(lab, &config, realm->registry);
}

static void close_realm(struct lab *lab, struct realm *realm)
{
    lab_close(lab);
    script_server_free(&realm->registry);
    script_server_free(&realm->service);
}

/* One fetch, and how many requests both servers have seen by then. */
static void check_fetch(struct lab *lab, struct realm *realm, enum fetch_outcome outcome,
                        unsigned n_registry, unsigned n_service)
{
    struct probe p = {.act = PROBE_GO_ON};

    probe_run(&p, lab, FETCH_BLOB, BLOB, outcome);
    if (outcome == FETCH_OK)
        probe_check_body(&p, 0, LAB_BODY_BYTES);
    assert_int_equal(script_server_count(realm->registry), n_registry);
    assert_int_equal(script_server_count(realm->service), n_service);
    assert_null(strstr(p.result.error.text, "secret"));
    assert_null(strstr(p.result.error.text, "token-"));
    probe_free(&p);
}

static void test_token(void **state)
{
    struct realm realm = realm_usual();
    struct lab lab;

    (void)state;
    open_realm(&lab, &realm, false);
    check_fetch(&lab, &realm, FETCH_OK, 2, 1);
    char *log = script_server_log(realm.service);
    assert_string_equal(log, "GET /token?service=here&scope=repository:library/x:pull\n");
    free(log);
    /* The next one brings the token along. */
    check_fetch(&lab, &realm, FETCH_OK, 3, 1);
    close_realm(&lab, &realm);
    assert_int_equal(realm.n_passwords, 0);
}

static void test_password_goes_to_realm_only(void **state)
{
    struct realm realm = realm_usual();
    struct lab lab;

    (void)state;
    open_realm(&lab, &realm, true);
    check_fetch(&lab, &realm, FETCH_OK, 2, 1);
    assert_int_equal(realm.n_passwords, 1);
    close_realm(&lab, &realm);
}

/* A challenge need not name the scope, and may name another than usual. */
static void test_scopes(void **state)
{
    static const struct {
        const char *more, *target;
    } rows[] = {
        {"", "GET /token?service=here&scope=repository:library/x:pull\n"},
        {",scope=aws", "GET /token?service=here&scope=aws\n"},
        {",scope=\"a:b:pull c:d:pull\"", "GET /token?service=here&scope=a:b:pull&scope=c:d:pull\n"},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct realm realm = realm_usual();
        struct lab lab;
        realm.challenge_more = rows[i].more;
        open_realm(&lab, &realm, false);
        check_fetch(&lab, &realm, FETCH_OK, 2, 1);
        char *log = script_server_log(realm.service);
        assert_string_equal(log, rows[i].target);
        free(log);
        check_fetch(&lab, &realm, FETCH_OK, 3, 1);
        close_realm(&lab, &realm);
    }
}

#define N_MANY 40

/* However many wait on both workers, the realm is asked once; who leaves does not disturb. */
static void test_single_flight(void **state)
{
    struct realm realm = realm_usual();
    struct probe *p = calloc(N_MANY, sizeof(*p));
    struct lab lab;

    (void)state;
    assert_non_null(p);
    realm.holds_tokens = true;
    open_realm(&lab, &realm, false);
    for (unsigned i = 0; i < N_MANY; i++)
        probe_start(&p[i], &lab, i % LAB_WORKERS, FETCH_BLOB, BLOB);
    script_server_await(realm.service, 1);
    for (unsigned i = 0; i < LAB_WORKERS; i++)
        lab_settle(&lab, i);
    for (unsigned i = 0; i < 4; i++)
        probe_cancel(&p[i]);
    script_release(realm.service);
    for (unsigned i = 0; i < N_MANY; i++) {
        if (i >= 4) {
            probe_wait(&p[i]);
            assert_int_equal(p[i].result.outcome, FETCH_OK);
        }
        probe_free(&p[i]);
    }
    assert_int_equal(script_server_count(realm.service), 1);
    close_realm(&lab, &realm);
    free(p);
}

static void test_dead_token(void **state)
{
    struct realm realm = realm_usual();
    struct lab lab;

    (void)state;
    open_realm(&lab, &realm, false);
    check_fetch(&lab, &realm, FETCH_OK, 2, 1);
    realm.generation++;
    check_fetch(&lab, &realm, FETCH_OK, 4, 2);
    check_fetch(&lab, &realm, FETCH_OK, 5, 2);
    close_realm(&lab, &realm);
}

static void test_stale_password(void **state)
{
    struct realm realm = realm_usual();
    struct lab lab;

    (void)state;
    realm.refuses_password = true;
    open_realm(&lab, &realm, true);
    check_fetch(&lab, &realm, FETCH_OK, 2, 2);
    assert_int_equal(realm.n_passwords, 1);
    check_fetch(&lab, &realm, FETCH_OK, 3, 2);
    close_realm(&lab, &realm);
}

/* Refusals of many kinds: what it means, and who was asked how often. */
static const struct {
    const char *name, *service_answer, *challenge_more;
    bool refuses_all_tokens, has_password;
    enum fetch_outcome outcome;
    unsigned n_registry, n_service;
} refusal_rows[] = {
    {"token does not reach", NULL,
     ",scope=\"repository:library/x:pull\",error=\"insufficient_scope\"", true, false, FETCH_DENIED,
     2, 1},
    {"token is unknown", NULL, ",error=invalid_token", true, false, FETCH_UNAUTHORIZED, 2, 1},
    {"realm refuses", "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n", "", false, false,
     FETCH_DENIED, 1, 1},
    {"realm refuses both", "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", "", false, true,
     FETCH_UNAUTHORIZED, 1, 2},
    {"realm throttles", "HTTP/1.1 429 No\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n", "", false,
     false, FETCH_THROTTLED, 1, 1},
    {"realm is broken", "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", "", false, false,
     FETCH_UNAVAILABLE, 1, 1},
    {"realm redirects", "HTTP/1.1 302 Go\r\nLocation: /token?x\r\nContent-Length: 0\r\n\r\n", "",
     false, true, FETCH_UNAVAILABLE, 1, 1},
    {"realm talks rubbish", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "", false, false,
     FETCH_UNAVAILABLE, 1, 1},
    {"token with a line break",
     "HTTP/1.1 200 OK\r\nContent-Length: 21\r\n\r\n{\"token\":\"a\\r\\nX: y\"}", "", false, false,
     FETCH_UNAVAILABLE, 1, 1},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(refusal_rows); i++) {
        struct realm realm = realm_usual();
        struct lab lab;
        print_message("  %s\n", refusal_rows[i].name);
        realm.service_answer = refusal_rows[i].service_answer;
        realm.challenge_more = refusal_rows[i].challenge_more;
        realm.refuses_all_tokens = refusal_rows[i].refuses_all_tokens;
        open_realm(&lab, &realm, refusal_rows[i].has_password);
        check_fetch(&lab, &realm, refusal_rows[i].outcome, refusal_rows[i].n_registry,
                    refusal_rows[i].n_service);
        close_realm(&lab, &realm);
    }
}

/* A realm that is not the registry's own is not asked, with or without a password. */
static void test_foreign_realm(void **state)
{
    (void)state;
    for (int has_password = 0; has_password < 2; has_password++) {
        struct realm realm = realm_usual();
        struct lab lab;
        realm.host = "localhost";
        open_realm(&lab, &realm, has_password);
        check_fetch(&lab, &realm, FETCH_UNAUTHORIZED, 1, 0);
        close_realm(&lab, &realm);
    }
}

static void test_allowed_realm(void **state)
{
    static const char *const realms[] = {"localhost", NULL};
    struct realm realm = realm_usual();
    struct upstream_config config = lab_config();
    struct lab lab;

    (void)state;
    realm.host = "localhost";
    realm.service = script_server_new(serve_token, &realm);
    realm.registry = script_server_new(serve_registry, &realm);
    config.realms = realms;
    lab_open(&lab, &config, realm.registry);
    check_fetch(&lab, &realm, FETCH_OK, 2, 1);
    close_realm(&lab, &realm);
}

static void test_no_challenge(void **state)
{
    struct realm realm = realm_usual();
    struct lab lab;

    (void)state;
    realm.is_silent = true;
    open_realm(&lab, &realm, false);
    /* Refused, asked /v2/, answered; and remembered. */
    check_fetch(&lab, &realm, FETCH_OK, 3, 1);
    check_fetch(&lab, &realm, FETCH_OK, 4, 1);
    close_realm(&lab, &realm);
}

static bool serve_mute(struct script_request *r, void *arg)
{
    (void)arg;
    return script_printf(r, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n");
}

static bool serve_basic(struct script_request *r, void *arg)
{
    char value[256];

    (void)arg;
    if (!script_header(r, "Authorization", value, sizeof(value)) || strcmp(value, USER_LINE) != 0)
        return script_printf(r, "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\n"
                                "Content-Length: 0\r\n\r\n");
    return lab_serve_blob(r, UINT64_MAX);
}

static const struct {
    script_fn fn;
    const char *password;
    enum fetch_outcome outcome;
    unsigned n_first, n_second;
} basic_rows[] = {
    {serve_basic, "secret", FETCH_OK, 2, 3},
    {serve_basic, "wrong", FETCH_UNAUTHORIZED, 2, 3},
    {serve_basic, NULL, FETCH_UNAUTHORIZED, 1, 2},
    {serve_mute, NULL, FETCH_UNAUTHORIZED, 2, 4},
};

static void test_basic(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(basic_rows); i++) {
        struct upstream_config config = lab_config();
        struct script_server *s = script_server_new(basic_rows[i].fn, NULL);
        struct lab lab;
        struct probe p = {.act = PROBE_GO_ON}, q = {.act = PROBE_GO_ON};
        config.username = basic_rows[i].password ? "user" : NULL;
        config.password = basic_rows[i].password;
        lab_open(&lab, &config, s);
        probe_run(&p, &lab, FETCH_BLOB, BLOB, basic_rows[i].outcome);
        assert_int_equal(script_server_count(s), basic_rows[i].n_first);
        probe_run(&q, &lab, FETCH_BLOB, BLOB, basic_rows[i].outcome);
        assert_int_equal(script_server_count(s), basic_rows[i].n_second);
        probe_free(&p);
        probe_free(&q);
        lab_close(&lab);
        script_server_free(&s);
    }
}

/* The registry's password stays with it: its redirects' targets get nothing, even if they ask. */
struct lure {
    struct script_server *target;
    bool wants_password;
};

static bool serve_lure(struct script_request *r, void *arg)
{
    const struct lure *lure = arg;
    char value[256];

    if (!script_header(r, "Authorization", value, sizeof(value)))
        return script_printf(r, "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\n"
                                "Content-Length: 0\r\n\r\n");
    return script_printf(r,
                         "HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:%u/x\r\n"
                         "Content-Length: 0\r\n\r\n",
                         script_server_port(lure->target));
}

static bool serve_target(struct script_request *r, void *arg)
{
    const struct lure *lure = arg;
    char value[256];

    assert_false(script_header(r, "Authorization", value, sizeof(value)));
    if (lure->wants_password)
        return script_printf(r, "HTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=\"x\"\r\n"
                                "Content-Length: 0\r\n\r\n");
    return lab_serve_blob(r, UINT64_MAX);
}

static const struct {
    bool wants_password;
    enum fetch_kind kind;
    enum fetch_outcome outcome;
} lure_rows[] = {
    {false, FETCH_BLOB, FETCH_OK},
    {true, FETCH_BLOB, FETCH_UNAVAILABLE},
    {true, FETCH_MANIFEST, FETCH_UNAUTHORIZED},
};

static void test_redirect_without_password(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(lure_rows); i++) {
        struct upstream_config config = lab_config();
        struct lure lure = {.wants_password = lure_rows[i].wants_password};
        struct lab lab;
        struct probe p = {.act = PROBE_GO_ON};
        lure.target = script_server_new(serve_target, &lure);
        struct script_server *s = script_server_new(serve_lure, &lure);
        config.username = "user";
        config.password = "secret";
        lab_open(&lab, &config, s);
        probe_run(&p, &lab, lure_rows[i].kind, BLOB, lure_rows[i].outcome);
        probe_free(&p);
        lab_close(&lab);
        script_server_free(&s);
        script_server_free(&lure.target);
    }
}

/* A manifest's redirect leads to another registry, which gives tokens to anybody: ours goes there
 * without a name. */
static bool serve_signpost(struct script_request *r, void *arg)
{
    const struct realm *realm = arg;

    return script_printf(r,
                         "HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:%u%s\r\n"
                         "Content-Length: 0\r\n\r\n",
                         script_server_port(realm->registry), r->target);
}

static void test_redirect_to_registry(void **state)
{
    struct upstream_config config = lab_config();
    struct realm realm = realm_usual();
    struct lab lab;
    struct probe p = {.act = PROBE_GO_ON};

    (void)state;
    realm.service = script_server_new(serve_token, &realm);
    realm.registry = script_server_new(serve_registry, &realm);
    struct script_server *s = script_server_new(serve_signpost, &realm);
    config.username = "user";
    config.password = "secret";
    lab_open(&lab, &config, s);
    p.spec.is_head = true;
    probe_start(&p, &lab, 0, FETCH_TAGS, "");
    probe_wait(&p);
    assert_int_equal(p.result.outcome, FETCH_OK);
    assert_int_equal(realm.n_passwords, 0);
    assert_int_equal(script_server_count(realm.service), 1);
    probe_free(&p);
    lab_close(&lab);
    script_server_free(&s);
    script_server_free(&realm.registry);
    script_server_free(&realm.service);
}

/* At four fifths of its life a token is still used, and replaced in the background. */
static void test_early_refresh(void **state)
{
    struct realm realm = realm_usual();
    struct lab lab;

    (void)state;
    open_realm(&lab, &realm, false);
    check_fetch(&lab, &realm, FETCH_OK, 2, 1);
    clock_ahead_ms += 200 * 1000;
    check_fetch(&lab, &realm, FETCH_OK, 3, 1);
    clock_ahead_ms += 80 * 1000;
    struct probe p = {.act = PROBE_GO_ON};
    probe_run(&p, &lab, FETCH_BLOB, BLOB, FETCH_OK);
    probe_free(&p);
    script_server_await(realm.service, 2);
    lab_settle(&lab, 0);
    check_fetch(&lab, &realm, FETCH_OK, 5, 2);
    /* And dead is dead. */
    clock_ahead_ms += 1000 * 1000;
    check_fetch(&lab, &realm, FETCH_OK, 6, 3);
    close_realm(&lab, &realm);
}

/* A realm that fails is left alone for a moment, then asked again. */
static void test_failure_is_remembered(void **state)
{
    struct realm realm = realm_usual();
    struct lab lab;

    (void)state;
    realm.service_answer = "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n";
    open_realm(&lab, &realm, false);
    check_fetch(&lab, &realm, FETCH_DENIED, 1, 1);
    check_fetch(&lab, &realm, FETCH_DENIED, 1, 1);
    clock_ahead_ms += 6 * 1000;
    realm.service_answer = NULL;
    check_fetch(&lab, &realm, FETCH_OK, 2, 2);
    close_realm(&lab, &realm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_password_goes_to_realm_only),
        cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_single_flight),
        cmocka_unit_test(test_dead_token),
        cmocka_unit_test(test_stale_password),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_foreign_realm),
        cmocka_unit_test(test_allowed_realm),
        cmocka_unit_test(test_no_challenge),
        cmocka_unit_test(test_basic),
        cmocka_unit_test(test_redirect_without_password),
        cmocka_unit_test(test_redirect_to_registry),
        cmocka_unit_test(test_early_refresh),
        cmocka_unit_test(test_failure_is_remembered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
