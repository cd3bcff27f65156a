#include "config.h"

#include "mirrord/tag_choice.h"

#include "cache/tag.h"
#include "tests/unit/unit.h"

#define PUSHED TAG_CHOICE_PUSHED
#define MIRRORED TAG_CHOICE_MIRRORED
#define ABSENT TAG_CHOICE_ABSENT
#define ASK TAG_CHOICE_ASK

#define GRACE TAG_CHOICE_GRACE

/* What the upstream's half is, at a time of 1000 with a TTL of 100, a negative one of 10, no grace
 * and an endless keep. */
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
                                 .can_ask = true,
                                 .now_s = 1000,
                                 .freshness = {100, 0, FRESHNESS_FOR_EVER},
                                 .negative_ttl_s = 10};
            print_message("case %zu, %s\n", i, precedence_name(v.rule));
            assert_int_equal(tag_choice_of(&v, &record), CASES[i].choices[rule]);
            assert_int_equal(tag_choice_fallback(&v, &record), CASES[i].alone[rule]);
            v.can_ask = false;
            assert_int_equal(tag_choice_of(&v, &record), CASES[i].alone[rule]);
            assert_int_equal(tag_choice_fallback(&v, &record), CASES[i].alone[rule]);
        }
    }
}

static void test_nothing(void **state)
{
    struct tag_view v = {.rule = PRECEDENCE_LOCAL_FIRST, .can_ask = true};

    (void)state;
    assert_int_equal(tag_choice_of(&v, NULL), ASK);
    v.rule = PRECEDENCE_LOCAL_ONLY;
    assert_int_equal(tag_choice_of(&v, NULL), ABSENT);
    v = (struct tag_view){.rule = PRECEDENCE_UPSTREAM_FIRST};
    assert_int_equal(tag_choice_of(&v, NULL), ABSENT);
}

static const struct {
    int64_t age_s;
    struct freshness f;
    enum tag_choice asked, failed, alone;
} AGES[] = {
    {0, {100, 50, 200}, MIRRORED, MIRRORED, MIRRORED},
    {99, {100, 50, 200}, MIRRORED, MIRRORED, MIRRORED},
    {100, {100, 50, 200}, GRACE, MIRRORED, MIRRORED},
    {149, {100, 50, 200}, GRACE, MIRRORED, MIRRORED},
    {150, {100, 50, 200}, ASK, MIRRORED, MIRRORED},
    {299, {100, 50, 200}, ASK, MIRRORED, MIRRORED},
    {300, {100, 50, 200}, ASK, ABSENT, MIRRORED},
    {100000, {100, 50, 200}, ASK, ABSENT, MIRRORED},
    {100000, {100, 50, FRESHNESS_FOR_EVER}, ASK, MIRRORED, MIRRORED},
    /* Without grace, without keep, without ttl. */
    {100, {100, 0, 200}, ASK, MIRRORED, MIRRORED},
    {100, {100, 0, 0}, ASK, ABSENT, MIRRORED},
    {99, {100, 0, 0}, MIRRORED, MIRRORED, MIRRORED},
    {0, {0, 0, 200}, ASK, MIRRORED, MIRRORED},
    {0, {0, 50, 200}, GRACE, MIRRORED, MIRRORED},
    {0, {0, 0, 0}, ASK, ABSENT, MIRRORED},
    /* A grace beyond the keep: served while the upstream has not been heard of. */
    {120, {100, 50, 10}, GRACE, ABSENT, MIRRORED},
    /* From the future: of unknown age. */
    {-1, {100, 50, 200}, ASK, MIRRORED, MIRRORED},
    {-86400, {100, 50, 0}, ASK, MIRRORED, MIRRORED},
    /* A year later. */
    {31536000, {172800, 0, FRESHNESS_FOR_EVER}, ASK, MIRRORED, MIRRORED},
    {31536000, {INT64_MAX, INT64_MAX, INT64_MAX}, MIRRORED, MIRRORED, MIRRORED},
    {31536000, {100, INT64_MAX, 0}, GRACE, ABSENT, MIRRORED},
};

/* A mirrored half of some age, and what is done about it: while the upstream answers, when it
 * fails, and when it may not be asked. */
static void test_ages(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(AGES) / sizeof(AGES[0]); i++) {
        struct tag_record record = {.mirrored = TAG_MIRRORED, .checked_at_s = 1700000000};
        struct tag_view v = {.rule = PRECEDENCE_LOCAL_FIRST,
                             .can_ask = true,
                             .now_s = record.checked_at_s + AGES[i].age_s,
                             .freshness = AGES[i].f,
                             .negative_ttl_s = 10};
        print_message("age %zu\n", i);
        for (int rule = 0; rule < PRECEDENCE_MAX; rule++) {
            bool is_hidden = rule == PRECEDENCE_LOCAL_ONLY;
            v.rule = (enum precedence)rule;
            v.can_ask = true;
            assert_int_equal(tag_choice_of(&v, &record), is_hidden ? ABSENT : AGES[i].asked);
            assert_int_equal(tag_choice_fallback(&v, &record), is_hidden ? ABSENT : AGES[i].failed);
            v.can_ask = false;
            assert_int_equal(tag_choice_of(&v, &record), is_hidden ? ABSENT : AGES[i].alone);
        }
        /* What was pushed beside it has no age. */
        record.is_pushed = true;
        v.rule = PRECEDENCE_LOCAL_FIRST;
        v.can_ask = true;
        assert_int_equal(tag_choice_of(&v, &record), PUSHED);
        v.rule = PRECEDENCE_UPSTREAM_FIRST;
        assert_int_equal(tag_choice_of(&v, &record), AGES[i].asked);
        assert_int_equal(tag_choice_fallback(&v, &record),
                         AGES[i].failed == ABSENT ? PUSHED : MIRRORED);
        int64_t left_s = AGES[i].age_s < 0 ? 0 : AGES[i].f.ttl_s - AGES[i].age_s;
        assert_int_equal(tag_choice_ttl_left_s(&v, record.checked_at_s), left_s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_ages),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
