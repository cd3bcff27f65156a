#include "config.h"

#include "upstream/token.h"

#include <stdlib.h>
#include <string.h>

#include "tests/unit/unit.h"

/* What the network part does is in test_fetch.c. */
static const struct {
    const char *body, *token;
    unsigned life_s;
} rows[] = {
    {"{\"token\":\"abc\",\"expires_in\":300}", "abc", 300},
    {"{\"access_token\":\"abc\",\"expires_in\":300}", "abc", 300},
    {"{\"token\":\"a\",\"access_token\":\"b\"}", "a", 60},
    {"{\"token\":\"\",\"access_token\":\"b\"}", "b", 60},
    {"{\"token\":\"a\",\"expires_in\":30}", "a", 60},
    {"{\"token\":\"a\",\"expires_in\":0}", "a", 60},
    {"{\"token\":\"a\",\"expires_in\":-5}", "a", 60},
    {"{\"token\":\"a\",\"expires_in\":300.5}", "a", 300},
    {"{\"token\":\"a\",\"expires_in\":1e300}", "a", 86400},
    {"{\"token\":\"a\",\"expires_in\":\"300\"}", "a", 60},
    {"{\"token\":\"a b\"}", NULL, 0},
    {"{\"token\":\"a\\r\\nX: y\"}", NULL, 0},
    {"{\"token\":\"\\u00e4\"}", NULL, 0},
    {"{\"token\":7}", NULL, 0},
    {"{\"token\":null}", NULL, 0},
    {"{}", NULL, 0},
    {"[]", NULL, 0},
    {"\"token\"", NULL, 0},
    {"", NULL, 0},
    {"<html>", NULL, 0},
    {"{\"token\":\"a\"", NULL, 0},
};

static void test_parse(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct error err;
        char *token = NULL;
        unsigned life_s = 0;
        int rc = token_parse(rows[i].body, strlen(rows[i].body), &token, &life_s, &err);
        if ((rc == 0) != (rows[i].token != NULL))
            fail_msg("%s", rows[i].body);
        if (rc == 0) {
            assert_string_equal(token, rows[i].token);
            assert_int_equal(life_s, rows[i].life_s);
        }
        free(token);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_parse)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
