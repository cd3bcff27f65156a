#include "config.h"

#include "mirrord/tag_choice.h"

#include "cache/tag.h"
#include "tests/unit/unit.h"

#define PUSHED TAG_CHOICE_PUSHED
#define MIRRORED TAG_CHOICE_MIRRORED
#define ABSENT TAG_CHOICE_ABSENT
#define ASK TAG_CHOICE_ASK

/* What the upstream's half is, at a time of 1000 with a TTL of 100 and a negative one of 10. */
enum half { NONE, FRESH, OLD, FUTURE, GONE, LONG_GONE };

static const struct {
    bool is_pushed;
    enum half half;
    /* By rule: local-first, upstream-first, local-only, upstream-only. */
    enum tag_choice choices[PRECEDENCE_MAX];
    enum tag_choice alone[PRECEDENCE_MAX]; /* without an upstream; also the fallback */
} CASES[] = {
    {false, NONE, {ASK, ASK, ABSENT, ASK}, {ABSENT, ABSENT, ABSENT, ABSENT}},
    {false, FRESH, {MIRRORED, MIRRORED, ABSENT, MIRRORED}, {MIRRORED, MIRRORED, ABSENT, MIRRORED}},
    {false, OLD, {ASK, ASK, ABSENT, ASK}, {MIRRORED, MIRRORED, ABSENT, MIRRORED}},
    {false, FUTURE, {ASK, ASK, ABSENT, ASK}, {MIRRORED, MIRRORED, ABSENT, MIRRORED}},
    {false, GONE, {ABSENT, ABSENT, ABSENT, ABSENT}, {ABSENT, ABSENT, ABSENT, ABSENT}},
    {false, LONG_GONE, {ASK, ASK, ABSENT, ASK}, {ABSENT, ABSENT, ABSENT, ABSENT}},
    {true, NONE, {PUSHED, ASK, PUSHED, ASK}, {PUSHED, PUSHED, PUSHED, ABSENT}},
    {true, FRESH, {PUSHED, MIRRORED, PUSHED, MIRRORED}, {PUSHED, MIRRORED, PUSHED, MIRRORED}},
    {true, OLD, {PUSHED, ASK, PUSHED, ASK}, {PUSHED, MIRRORED, PUSHED, MIRRORED}},
    {true, GONE, {PUSHED, PUSHED, PUSHED, ABSENT}, {PUSHED, PUSHED, PUSHED, ABSENT}},
    {true, LONG_GONE, {PUSHED, ASK, PUSHED, ASK}, {PUSHED, PUSHED, PUSHED, ABSENT}},
};

static void test_choices(void **state)
{
    static const int64_t CHECKED_AT[] = {
        [FRESH] = 901, [OLD] = 900, [FUTURE] = 1001, [GONE] = 991, [LONG_GONE] = 990};

    (void)state;
    for (size_t i = 0; i < sizeof(CASES) / sizeof(CASES[0]); i++) {
        enum half half = CASES[i].half;
        struct tag_record record = {.is_pushed = CASES[i].is_pushed,
                                    .mirrored = half == NONE                        ? TAG_UNASKED
                                                : half == GONE || half == LONG_GONE ? TAG_ABSENT
                                                                                    : TAG_MIRRORED,
                                    .checked_at_s = half == NONE ? 0 : CHECKED_AT[half]};
        for (int rule = 0; rule < PRECEDENCE_MAX; rule++) {
            struct tag_view v = {.rule = (enum precedence)rule,
                                 .has_upstream = true,
                                 .now_s = 1000,
                                 .ttl_s = 100,
                                 .negative_ttl_s = 10};
            print_message("case %zu, %s\n", i, precedence_name(v.rule));
            assert_int_equal(tag_choice_of(&v, &record), CASES[i].choices[rule]);
            v.has_upstream = false;
            assert_int_equal(tag_choice_of(&v, &record), CASES[i].alone[rule]);
            assert_int_equal(tag_choice_fallback(v.rule, &record), CASES[i].alone[rule]);
        }
    }
}

static void test_nothing(void **state)
{
    struct tag_view v = {.rule = PRECEDENCE_LOCAL_FIRST, .has_upstream = true};

    (void)state;
    assert_int_equal(tag_choice_of(&v, NULL), ASK);
    v.rule = PRECEDENCE_LOCAL_ONLY;
    assert_int_equal(tag_choice_of(&v, NULL), ABSENT);
    v = (struct tag_view){.rule = PRECEDENCE_UPSTREAM_FIRST};
    assert_int_equal(tag_choice_of(&v, NULL), ABSENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
