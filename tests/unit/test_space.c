#include "config.h"

#include "mirrord/space.h"

#include "cache/evict.h"
#include "tests/unit/unit.h"

#define GIB ((uint64_t)1 << 30)

static struct space_settings settings_of(struct config_space max_size, struct config_space min_free)
{
    return (struct space_settings){
        .max_size = max_size, .min_free = min_free, .high_percent = 95, .low_percent = 90};
}

static const struct config_space NONE = {0, 0};

static const struct {
    struct config_space max_size, min_free;
    uint64_t total, available, stored;
    uint64_t max, high, low;
    bool is_for_room;
} ROWS[] = {
    /* No settings: no limit. */
    {{0, 0}, {0, 0}, 1000, 1, 999, 0, 0, 0, false},
    /* Bytes, whatever the filesystem says; even nothing. */
    {{1000, 0}, {0, 0}, 0, 0, 0, 1000, 950, 900, false},
    /* A share; of what is not known there is none. */
    {{0, 50}, {0, 0}, 2000, 2000, 0, 1000, 950, 900, false},
    {{0, 50}, {0, 0}, 0, 0, 0, 0, 0, 0, false},
    {{0, 50}, {0, 0}, 64 * GIB, GIB, 0, 32 * GIB, 32641751449, 30923764531, false},
    /* Room for 100 is to stay: of 500 stored, with 40 left, 60 have to go. */
    {{0, 0}, {100, 0}, 1000, 40, 500, 440, 440, 435, true},
    {{0, 0}, {0, 10}, 1000, 40, 500, 440, 440, 435, true},
    /* There is room: what may be stored is all of it. */
    {{0, 0}, {100, 0}, 1000, 400, 500, 800, 800, 795, true},
    /* Others have taken all: whatever may go goes, and 0 would be no limit. */
    {{0, 0}, {100, 0}, 1000, 0, 50, 1, 1, 0, true},
    /* The tighter one. */
    {{400, 0}, {100, 0}, 1000, 400, 500, 400, 380, 360, false},
    {{700, 0}, {100, 0}, 1000, 40, 500, 440, 440, 435, true},
    /* Tiny limits are limits. */
    {{1, 0}, {0, 0}, 1000, 40, 500, 1, 1, 0, false},
};

static void test_limits(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct space_settings s = settings_of(ROWS[i].max_size, ROWS[i].min_free);
        struct space_room room = {ROWS[i].total, ROWS[i].available};
        struct evict_limits limits;

        space_limits(&s, &room, ROWS[i].stored, &limits);
        if (space_max_bytes(&s, &room, ROWS[i].stored) != ROWS[i].max ||
            limits.high_bytes != ROWS[i].high || limits.low_bytes != ROWS[i].low ||
            limits.is_for_room != ROWS[i].is_for_room)
            fail_msg("row %zu: %llu, %llu, %llu", i,
                     (unsigned long long)space_max_bytes(&s, &room, ROWS[i].stored),
                     (unsigned long long)limits.high_bytes, (unsigned long long)limits.low_bytes);
        assert_true(limits.low_bytes <= limits.high_bytes);
    }
}

/* As much goes as makes room, not more: what is freed is not asked for again. */
static void test_room_settles(void **state)
{
    struct space_settings s = settings_of(NONE, (struct config_space){100, 0});
    struct space_room room = {1000, 40};
    struct evict_limits before, after;

    (void)state;
    space_limits(&s, &room, 500, &before);
    room.available_bytes += 500 - before.low_bytes;
    space_limits(&s, &room, before.low_bytes, &after);
    assert_int_equal(before.high_bytes, after.high_bytes);
    assert_true(before.low_bytes <= after.high_bytes);
    s.max_age_s = 7;
    space_limits(&s, &room, 0, &after);
    assert_int_equal(after.max_age_s, 7);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_room_settles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
