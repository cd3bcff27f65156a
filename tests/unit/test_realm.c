#include "config.h"

#include "upstream/realm.h"

#include "tests/unit/unit.h"

static const char *const allowed[] = {"token.elsewhere.example", "ports.example:8443", NULL};

static const struct {
    const char *upstream, *realm;
    bool is_trusted;
} rows[] = {
    {"https://registry-1.docker.io", "https://auth.docker.io/token", true},
    {"https://registry.gitlab.com", "https://gitlab.com/jwt/auth", true},
    {"https://ghcr.io", "https://ghcr.io/token", true},
    {"https://quay.io", "https://quay.io/v2/auth", true},
    {"https://europe-docker.pkg.dev", "https://europe-docker.pkg.dev/v2/token", true},
    {"https://my.azurecr.io", "https://my.azurecr.io/oauth2/token", true},
    {"https://registry.example.co.uk", "https://auth.example.co.uk/token", true},
    {"http://registry:5000", "http://registry:5001/token", true},
    {"http://127.0.0.1:5000", "http://127.0.0.1:5001/token", true},
    {"http://[::1]:5000", "http://[::1]:5001/token", true},
    {"http://localhost:5000", "http://localhost:5001/token", true},
    {"http://localhost:5000", "https://localhost:5001/token", true},
    {"https://registry-1.docker.io", "https://auth.docker.io.evil.example/token", false},
    {"https://registry-1.docker.io", "https://evil-docker.io/token", false},
    {"https://registry-1.docker.io", "https://evil.example/token", false},
    {"https://registry-1.docker.io", "http://auth.docker.io/token", false},
    {"https://a.co.uk", "https://b.co.uk/token", false},
    {"https://a.com.au", "https://b.com.au/token", false},
    {"https://co.uk", "https://a.co.uk/token", false},
    {"https://a.azurecr.io", "https://b.azurecr.io/token", false},
    {"https://a.github.io", "https://b.github.io/token", false},
    {"https://1.dkr.ecr.eu.amazonaws.com", "https://x.s3.amazonaws.com/token", false},
    {"http://127.0.0.1:5000", "http://127.0.0.2:5000/token", false},
    {"http://127.0.0.1:5000", "http://localhost:5000/token", false},
    {"http://127.0.0.1:5000", "http://2130706433:5000/token", false},
    {"http://10.0.0.1", "http://11.0.0.1/token", false},
    {"http://10.1.0.1", "http://11.1.0.1/token", false},
    {"http://localhost:5000", "http://127.0.0.1:5000/token", false},
    {"http://registry", "http://auth/token", false},
    {"https://registry-1.docker.io", "http://169.254.169.254/latest", false},
    {"https://registry-1.docker.io", "https://token.elsewhere.example/token", true},
    {"https://registry-1.docker.io", "https://token.elsewhere.example:99/token", true},
    {"https://registry-1.docker.io", "https://ports.example:8443/token", true},
    {"https://registry-1.docker.io", "https://ports.example/token", false},
    {"https://registry-1.docker.io", "http://token.elsewhere.example/token", false},
};

static void test_trust(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct url upstream, realm;
        assert_int_equal(url_parse(slice_of(rows[i].upstream), &upstream, NULL), 0);
        assert_int_equal(url_parse(slice_of(rows[i].realm), &realm, NULL), 0);
        if (realm_is_trusted(&realm, &upstream, allowed) != rows[i].is_trusted)
            fail_msg("%s with %s", rows[i].upstream, rows[i].realm);
        url_fini(&upstream);
        url_fini(&realm);
    }
}

static const struct {
    const char *host, *domain;
} domain_rows[] = {
    {"auth.docker.io", "docker.io"},
    {"docker.io", "docker.io"},
    {"a.b.example.co.uk", "example.co.uk"},
    {"example.co.uk", "example.co.uk"},
    {"co.uk", NULL},
    {"localhost", NULL},
    {"a.amazonaws.com", NULL},
    {"xamazonaws.com", "xamazonaws.com"},
    {"a.me.com", "me.com"},
};

static void test_domain(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(domain_rows); i++)
        assert_true(slice_equal(realm_domain(slice_of(domain_rows[i].host)),
                                slice_of(domain_rows[i].domain)));
}

static void test_without_list(void **state)
{
    struct url upstream, realm;

    (void)state;
    assert_int_equal(url_parse(SLICE("https://a.other"), &upstream, NULL), 0);
    assert_int_equal(url_parse(SLICE("https://token.elsewhere.example"), &realm, NULL), 0);
    assert_false(realm_is_trusted(&realm, &upstream, NULL));
    url_fini(&upstream);
    url_fini(&realm);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trust),
        cmocka_unit_test(test_domain),
        cmocka_unit_test(test_without_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
