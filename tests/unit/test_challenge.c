#include "config.h"

#include "upstream/challenge.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"

#define NOT_GIVEN NULL

/* The first challenge of each value, and how many there are in it. */
static const struct {
    const char *name, *value;
    unsigned n;
    enum challenge_scheme scheme;
    const char *realm, *service, *scope, *error;
} rows[] = {
    {"docker hub",
     "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
     "scope=\"repository:library/nginx:pull\"",
     1, CHALLENGE_BEARER, "https://auth.docker.io/token", "registry.docker.io",
     "repository:library/nginx:pull", NOT_GIVEN},
    {"other order, blanks", "bearer  scope = \"a b\" , realm = \"r\"", 1, CHALLENGE_BEARER, "r",
     NOT_GIVEN, "a b", NOT_GIVEN},
    {"bare values", "BEARER realm=https://h/t,service=h,scope=aws", 1, CHALLENGE_BEARER,
     "https://h/t", "h", "aws", NOT_GIVEN},
    {"names in any case", "Bearer Realm=\"r\",SERVICE=\"s\"", 1, CHALLENGE_BEARER, "r", "s",
     NOT_GIVEN, NOT_GIVEN},
    {"error", "Bearer realm=\"r\",error=\"insufficient_scope\"", 1, CHALLENGE_BEARER, "r",
     NOT_GIVEN, NOT_GIVEN, "insufficient_scope"},
    {"basic", "Basic realm=\"Registry\"", 1, CHALLENGE_BASIC, "Registry", NOT_GIVEN, NOT_GIVEN,
     NOT_GIVEN},
    {"two", "Basic realm=\"x\", Bearer realm=\"y\"", 2, CHALLENGE_BASIC, "x", NOT_GIVEN, NOT_GIVEN,
     NOT_GIVEN},
    {"two, the first without parameters", "Negotiate, Basic realm=\"x\"", 2, CHALLENGE_OTHER,
     NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN},
    {"token68", "Negotiate a/b+c==, Bearer realm=\"y\"", 2, CHALLENGE_OTHER, NOT_GIVEN, NOT_GIVEN,
     NOT_GIVEN, NOT_GIVEN},
    {"escapes", "Bearer realm=\"a\\\"b\\\\c\"", 1, CHALLENGE_BEARER, "a\"b\\c", NOT_GIVEN,
     NOT_GIVEN, NOT_GIVEN},
    {"comma in quotes", "Bearer scope=\"repository:a:pull,push\",realm=\"r\"", 1, CHALLENGE_BEARER,
     "r", NOT_GIVEN, "repository:a:pull,push", NOT_GIVEN},
    {"blanks for commas", "Bearer realm=\"r\" service=\"s\"", 1, CHALLENGE_BEARER, "r", "s",
     NOT_GIVEN, NOT_GIVEN},
    {"empty elements", ", ,Bearer realm=\"r\",,service=\"s\",", 1, CHALLENGE_BEARER, "r", "s",
     NOT_GIVEN, NOT_GIVEN},
    {"the first of a name counts", "Bearer realm=\"a\",realm=\"b\"", 1, CHALLENGE_BEARER, "a",
     NOT_GIVEN, NOT_GIVEN, NOT_GIVEN},
    {"unknown parameter", "Digest qop=\"auth\",realm=\"d\"", 1, CHALLENGE_OTHER, "d", NOT_GIVEN,
     NOT_GIVEN, NOT_GIVEN},
    {"empty value", "Bearer realm=\"\"", 1, CHALLENGE_BEARER, "", NOT_GIVEN, NOT_GIVEN, NOT_GIVEN},
    {"no end of quotes", "Bearer realm=\"r", 1, CHALLENGE_BEARER, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN,
     NOT_GIVEN},
    {"line break in quotes", "Bearer realm=\"r\r\nx\"", 1, CHALLENGE_BEARER, NOT_GIVEN, NOT_GIVEN,
     NOT_GIVEN, NOT_GIVEN},
    {"scheme alone", "Bearer", 1, CHALLENGE_BEARER, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN},
    {"no scheme", "=", 0, CHALLENGE_OTHER, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN},
    {"parameter for scheme", "realm=\"x\"", 0, CHALLENGE_OTHER, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN,
     NOT_GIVEN},
    {"empty", "", 0, CHALLENGE_OTHER, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN},
    {"quotes alone", "\"\"", 0, CHALLENGE_OTHER, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN, NOT_GIVEN},
};

static void check_text(const char *row, const char *got, const char *want)
{
    if ((!got) != (!want) || (got && strcmp(got, want) != 0))
        fail_msg("%s: \"%s\" instead of \"%s\"", row, got ? got : "(none)", want ? want : "(none)");
}

static void test_rows(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct slice rest = slice_of(rows[i].value);
        struct challenge c;
        unsigned n = 0;
        while (challenge_next(&rest, &c)) {
            if (n++ == 0) {
                assert_int_equal(c.scheme, rows[i].scheme);
                check_text(rows[i].name, c.realm, rows[i].realm);
                check_text(rows[i].name, c.service, rows[i].service);
                check_text(rows[i].name, c.scope, rows[i].scope);
                check_text(rows[i].name, c.error, rows[i].error);
            }
            challenge_fini(&c);
        }
        if (n != rows[i].n && rows[i].realm)
            fail_msg("%s: %u challenges", rows[i].name, n);
        assert_true(n >= rows[i].n);
    }
}

static void test_second(void **state)
{
    struct slice rest =
        SLICE("Negotiate abc==, Basic realm=\"x\",charset=UTF-8, Bearer realm=\"y\"");
    struct challenge c;

    (void)state;
    assert_true(challenge_next(&rest, &c));
    challenge_fini(&c);
    assert_true(challenge_next(&rest, &c));
    assert_int_equal(c.scheme, CHALLENGE_BASIC);
    assert_string_equal(c.realm, "x");
    challenge_fini(&c);
    assert_true(challenge_next(&rest, &c));
    assert_int_equal(c.scheme, CHALLENGE_BEARER);
    assert_string_equal(c.realm, "y");
    challenge_fini(&c);
    assert_false(challenge_next(&rest, &c));
}

static void test_too_long(void **state)
{
    size_t n = CHALLENGE_BYTES_MAX + 1;
    char *text = malloc(n);
    struct challenge c;

    (void)state;
    assert_non_null(text);
    memset(text, 'a', n);
    struct slice rest = {text, n};
    assert_false(challenge_next(&rest, &c));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_second),
        cmocka_unit_test(test_too_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
