#include "config.h"

#include "cache/tag.h"

#include <errno.h>

#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define REPO SLICE("library/busybox")
#define TAG SLICE("latest")

/* One whose manifest is being kept. */
struct pull {
    struct place *place;
    struct tag_record record;
};

static void do_note(void *arg)
{
    struct pull *pull = arg;

    tags_note(cache_tags(pull->place->cache), REPO, TAG, &pull->record);
}

static void do_settle(void *arg)
{
    struct pull *pull = arg;

    tags_settle(cache_tags(pull->place->cache), REPO, TAG, &pull->record, 0);
}

static void do_put_again(void *arg)
{
    struct pull *pull = arg;

    tags_put(cache_tags(pull->place->cache), REPO, TAG, &pull->record);
}

/* A client removes it while its manifest is being kept: it does not come back by that. */
static void test_settle_removed(void **state)
{
    struct place p;
    struct tag_record found;
    struct error err;

    (void)state;
    place_init(&p);
    place_open(&p);
    struct tags *ts = cache_tags(p.cache);
    struct pull pull = {&p, {.mirrored = TAG_MIRRORED, .fetched_at_s = 1, .checked_at_s = 1}};
    digest_of(DIGEST_SHA256, "theirs", 6, &pull.record.digest);
    assert_int_equal(tags_removals(ts, REPO, TAG), 0);
    place_run(&p, 0, do_note, &pull);
    assert_int_equal(tags_remove_now(ts, REPO, TAG, &err), 0);
    place_run(&p, 0, do_settle, &pull);
    place_settle(&p);
    assert_false(tags_find(ts, REPO, TAG, &found));
    assert_int_equal(tags_load_now(ts, REPO, TAG, &found), -ENOENT);
    /* The next word of the upstream counts. */
    place_run(&p, 0, do_put_again, &pull);
    place_settle(&p);
    place_reopen(&p);
    assert_int_equal(tags_load_now(cache_tags(p.cache), REPO, TAG, &found), 0);
    assert_true(digest_equal(&found.digest, &pull.record.digest));
    place_close(&p);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_settle_removed)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
