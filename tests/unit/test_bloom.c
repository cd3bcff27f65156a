#include "config.h"

#include "cache/bloom.h"

#include <stdio.h>

#include "tests/unit/unit.h"

static void make_digest(unsigned n, struct digest *out)
{
    char text[32];
    int len = snprintf(text, sizeof(text), "%u", n);

    digest_of(n % 2 ? DIGEST_SHA256 : DIGEST_SHA512, text, (size_t)len, out);
}

/* What was added is in, whatever the load; of others only so many seem to be. */
static void test_rates(void **state)
{
    static const struct {
        size_t n_bits;
        unsigned n_probes, n_added;
        unsigned wrong_max; /* of 10,000 */
    } ROWS[] = {
        {16 * 4096, 8, 4096, 30}, {16 * 4096, 8, 8192, 400}, {1 << 21, 4, 1, 0},
        {1, 1, 1, 10000},         {64, 8, 1000, 10000},
    };
    struct digest d;

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct bloom *b = bloom_new(ROWS[i].n_bits, ROWS[i].n_probes);
        unsigned n_wrong = 0;
        assert_non_null(b);
        make_digest(0, &d);
        assert_false(bloom_has(b, &d));
        assert_true(bloom_add(b, &d));
        assert_false(bloom_add(b, &d));
        for (unsigned n = 0; n < ROWS[i].n_added; n++) {
            make_digest(n, &d);
            bloom_add(b, &d);
        }
        for (unsigned n = 0; n < ROWS[i].n_added; n++) {
            make_digest(n, &d);
            assert_true(bloom_has(b, &d));
        }
        for (unsigned n = 0; n < 10000; n++) {
            make_digest(1000000 + n, &d);
            n_wrong += bloom_has(b, &d);
        }
        assert_in_range(n_wrong, 0, ROWS[i].wrong_max);
        bloom_clear(b);
        for (unsigned n = 0; n < ROWS[i].n_added; n++) {
            make_digest(n, &d);
            assert_false(bloom_has(b, &d));
        }
        bloom_free(&b);
        assert_null(b);
    }
}

/* Two filters err about different digests, so garbage that one keeps another lets go. */
static void test_seeds(void **state)
{
    struct bloom *a = bloom_new(4096, 4), *b = bloom_new(4096, 4);
    unsigned n_first = 0, n_both = 0;
    struct digest d;

    (void)state;
    for (unsigned n = 0; n < 1000; n++) {
        make_digest(n, &d);
        bloom_add(a, &d);
        bloom_add(b, &d);
    }
    for (unsigned n = 0; n < 10000; n++) {
        make_digest(1000000 + n, &d);
        n_first += bloom_has(a, &d);
        n_both += bloom_has(a, &d) && bloom_has(b, &d);
    }
    assert_true(n_first > 500);
    assert_true(n_both < n_first / 2);
    bloom_free(&a);
    bloom_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rates),
        cmocka_unit_test(test_seeds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
