#include "config.h"

#include "base/digest.h"

#include <string.h>

#include "tests/unit/unit.h"

#define EMPTY_SHA256 "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define ABC_SHA512                                                                                 \
    "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"                      \
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"

static void test_known_values(void **state)
{
    char text[DIGEST_TEXT_SIZE];
    struct digest d;

    (void)state;
    digest_of(DIGEST_SHA256, "", 0, &d);
    assert_int_equal(digest_format(&d, text), strlen(EMPTY_SHA256));
    assert_string_equal(text, EMPTY_SHA256);

    struct hasher *h = hasher_new(DIGEST_SHA512);
    hasher_update(h, "a", 1);
    hasher_update(h, "bc", 2);
    hasher_final(h, &d);
    hasher_free(&h);
    assert_null(h);
    digest_format(&d, text);
    assert_string_equal(text, ABC_SHA512);
    assert_int_equal(digest_hex(&d, text), 128);
}

static void test_parse(void **state)
{
    static const struct {
        const char *text;
        bool ok;
    } ROWS[] = {
        {EMPTY_SHA256, true},
        {ABC_SHA512, true},
        {"", false},
        {"sha256", false},
        {"sha256:", false},
        {"sha256:e3b0", false},
        {EMPTY_SHA256 "0", false},
        {EMPTY_SHA256 " ", false},
        {"SHA256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", false},
        {"sha256:E3B0C44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", false},
        {"sha256:g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", false},
        {"sha512:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", false},
        {"md5:d41d8cd98f00b204e9800998ecf8427e", false},
        {"sha256:../../../../../../../../../../../../../../../../../../../../etc/pa", false},
    };
    char text[DIGEST_TEXT_SIZE];
    struct digest d;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        assert_int_equal(digest_parse(slice_of(ROWS[i].text), &d), ROWS[i].ok);
        if (!ROWS[i].ok)
            continue;
        digest_format(&d, text);
        assert_string_equal(text, ROWS[i].text);
    }
}

static void test_equal(void **state)
{
    struct digest a, b;

    (void)state;
    digest_of(DIGEST_SHA256, "x", 1, &a);
    digest_of(DIGEST_SHA256, "x", 1, &b);
    assert_true(digest_equal(&a, &b));
    assert_true(digest_key(&a) == digest_key(&b));
    b.bytes[31] ^= 1;
    assert_false(digest_equal(&a, &b));
    digest_of(DIGEST_SHA512, "x", 1, &b);
    assert_false(digest_equal(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_values),
        cmocka_unit_test(test_parse),
        cmocka_unit_test(test_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
