#include "config.h"

#include "cache/tag.h"

#include <errno.h>

#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define REPO SLICE("library/busybox")
#define TAG SLICE("latest")

/* What another process said before a doubt is not believed after it, although the storage has been
 * read in between. */
static void test_heard_before_a_doubt(void **state)
{
    /* heard_at: doubts are 0 before the first. */
    struct tag_record found,
        heard = {.mirrored = TAG_MIRRORED, .checked_at_s = 5, .is_heard = true};
    struct place p;

    (void)state;
    place_init(&p);
    place_open(&p);
    struct tags *ts = cache_tags(p.cache);
    digest_of(DIGEST_SHA256, "d", 1, &heard.digest);
    tags_doubt(ts, REPO, TAG);
    for (; heard.mirrored <= TAG_ABSENT; heard.mirrored++) {
        assert_int_equal(tags_load_now(ts, REPO, TAG, &found), -ENOENT);
        tags_note(ts, REPO, TAG, &heard);
        assert_false(tags_find(ts, REPO, TAG, &found));
    }
    place_close(&p);
    place_fini(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_heard_before_a_doubt)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
