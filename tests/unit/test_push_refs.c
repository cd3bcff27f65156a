#include "config.h"

#include "mirrord/push_refs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cache/manifest.h"
#include "cache/store.h"
#include "cache/vouch.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

#define REPO SLICE("team/app")

static struct place place;

/* Stores a blob, and links it if origin is given. */
static struct digest add_blob(unsigned seed, size_t n, const struct origin *origin)
{
    struct digest d;
    uint8_t *content = place_content(n, seed, &d);

    assert_int_equal(store_put_now(cache_store(place.cache), &d, content, n, NULL), 0);
    if (origin)
        assert_int_equal(links_add_layer_now(cache_links(place.cache), REPO, &d, origin, NULL), 0);
    free(content);
    return d;
}

static void add_ref(struct push_refs *rs, enum manifest_ref_kind kind, const struct digest *d,
                    uint64_t size)
{
    struct manifest_ref ref = {.kind = kind, .digest = *d, .has_size = size > 0, .size = size};

    assert_int_equal(push_refs_add(rs, &ref), 0);
}

static struct push_refs new_refs(void)
{
    return (struct push_refs){.cache = place.cache,
                              .repo = REPO,
                              .manifest_max_bytes = 1 << 16,
                              .n_max = 100,
                              .below_max_bytes = 1 << 20};
}

static bool is_pushed(const struct digest *d, enum link_kind kind)
{
    struct origin origin;

    assert_int_equal(links_load_now(cache_links(place.cache), kind, REPO, d, &origin), 0);
    return origin.is_pushed;
}

static const struct origin PUSHED = {.is_pushed = true, .at_s = 5};
static const struct origin MIRRORED = {.at_s = 7};

static void test_states(void **state)
{
    struct digest pushed = add_blob(1, 100, &PUSHED), mirrored = add_blob(2, 200, &MIRRORED);
    struct digest unlinked = add_blob(3, 300, NULL), gone = add_blob(4, 400, &PUSHED);
    struct digest unknown = {.bytes = {9}};
    struct push_refs rs = new_refs();
    struct strbuf list = STRBUF_INIT;
    static const enum push_ref_state WANT[] = {
        PUSH_REF_READY,   PUSH_REF_READY, PUSH_REF_UNLINKED, PUSH_REF_GONE,
        PUSH_REF_UNKNOWN, PUSH_REF_READY, PUSH_REF_LIES,     PUSH_REF_UNKNOWN,
    };

    (void)state;
    assert_int_equal(remove(place_blob(&place, &gone)), 0);
    add_ref(&rs, MANIFEST_REF_CONFIG, &pushed, 100);
    add_ref(&rs, MANIFEST_REF_LAYER, &mirrored, 0);
    add_ref(&rs, MANIFEST_REF_LAYER, &unlinked, 300);
    add_ref(&rs, MANIFEST_REF_LAYER, &gone, 400);
    add_ref(&rs, MANIFEST_REF_LAYER, &unknown, 1);
    add_ref(&rs, MANIFEST_REF_CHILD, &pushed, 100); /* a blob as a child */
    add_ref(&rs, MANIFEST_REF_LAYER, &mirrored, 201);
    add_ref(&rs, MANIFEST_REF_SUBJECT, &unknown, 1); /* left out */
    add_ref(&rs, MANIFEST_REF_LAYER, &unknown, 1);
    rs.items[rs.n - 1].told.is_foreign = true;
    assert_int_equal(rs.n, N_ROWS(WANT));
    assert_int_equal(push_refs_check(&rs, NULL), 0);
    for (size_t i = 0; i < N_ROWS(WANT); i++)
        assert_int_equal(rs.items[i].state, WANT[i]);
    assert_ptr_equal(push_refs_find_lie(&rs), &rs.items[6]);
    assert_int_equal(push_refs_missing(&rs, &list), 4); /* the lie, too */
    assert_int_equal(push_refs_missing(&rs, NULL), 4);
    /* The upstream says that its repository has it. */
    rs.items[2].is_confirmed = true;
    assert_int_equal(push_refs_check(&rs, NULL), 0);
    assert_int_equal(rs.items[2].state, PUSH_REF_READY);
    assert_int_equal(push_refs_take(&rs, 11, NULL), 0);
    assert_true(is_pushed(&pushed, LINK_LAYER) && is_pushed(&mirrored, LINK_LAYER));
    assert_true(is_pushed(&unlinked, LINK_LAYER));
    strbuf_fini(&list);
    push_refs_fini(&rs);
}

/* A mirrored manifest that references one blob; its links are mirrored ones. */
static struct digest add_child(const char *kind, const struct digest *d)
{
    char hex[DIGEST_TEXT_SIZE], text[512];
    struct digest digest;

    digest_format(d, hex);
    int n = snprintf(text, sizeof(text), "{\"%s\":[{\"digest\":\"%s\"}]}", kind, hex);
    digest_of(DIGEST_SHA256, text, (size_t)n, &digest);
    struct manifest *m =
        manifest_new(&digest, SLICE("application/x+json"), (struct slice){text, (size_t)n});
    assert_int_equal(manifests_put_now(cache_manifests(place.cache), REPO, m, &MIRRORED, NULL), 0);
    manifest_unref(&m);
    return digest;
}

/* An index takes what is below it along, as far as it is here and not more than it may. */
static void test_below(void **state)
{
    struct digest layer = add_blob(11, 50, &MIRRORED), absent = {.bytes = {7}};
    struct digest image = add_child("layers", &layer), index = add_child("manifests", &image);
    struct digest broken = add_child("layers", &absent);
    struct strbuf type = STRBUF_INIT;
    struct push_refs rs = new_refs();

    (void)state;
    add_ref(&rs, MANIFEST_REF_CHILD, &index, 0);
    add_ref(&rs, MANIFEST_REF_CHILD, &broken, 0);
    rs.below_max_bytes = 0;
    assert_int_equal(push_refs_check(&rs, NULL), 0);
    assert_int_equal(rs.n, 2);
    rs.below_max_bytes = 1 << 20;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(push_refs_check(&rs, NULL), 0);
        assert_int_equal(rs.n, 5);
        assert_int_equal(push_refs_missing(&rs, NULL), 0);
    }
    assert_int_equal(push_refs_take(&rs, 11, NULL), 0);
    assert_true(is_pushed(&index, LINK_REVISION) && is_pushed(&image, LINK_REVISION));
    assert_true(is_pushed(&broken, LINK_REVISION) && is_pushed(&layer, LINK_LAYER));
    links_media_type_now(cache_links(place.cache), REPO, &image, &type);
    assert_string_equal(type.ptr, "application/x+json");
    strbuf_fini(&type);
    push_refs_fini(&rs);
}

/* What is named in an error stays short. */
static void test_list(void **state)
{
    struct push_refs rs = new_refs();
    struct strbuf list = STRBUF_INIT;

    (void)state;
    for (unsigned i = 0; i < 500; i++) {
        struct digest d = {.bytes = {1, (uint8_t)i, (uint8_t)(i >> 8)}};
        add_ref(&rs, MANIFEST_REF_LAYER, &d, 1);
    }
    assert_int_equal(push_refs_missing(&rs, &list), 500);
    assert_true(list.len < 2000 && strstr(list.ptr, "and 480 more"));
    strbuf_fini(&list);
    push_refs_fini(&rs);
}

/* A manifest may name the same ones again and again. They are looked at some at a time, and each is
 * taken once, the last one: what lies below stands behind. */
static void test_again_and_again(void **state)
{
    struct digest first = add_blob(21, 10, &MIRRORED), second = add_blob(22, 20, &MIRRORED);
    struct push_refs rs = new_refs();
    unsigned n_calls = 1, n_taken = 0;
    int rc;

    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        add_ref(&rs, MANIFEST_REF_LAYER, i % 2 ? &second : &first, i % 3 ? 0 : 10 + i % 2 * 10);
    add_ref(&rs, MANIFEST_REF_LAYER, &second, 21); /* a lie is not taken instead */
    while ((rc = push_refs_check(&rs, NULL)) == 1)
        n_calls++;
    assert_int_equal(rc, 0);
    assert_in_range(n_calls, 2, 100);
    assert_ptr_equal(push_refs_find_lie(&rs), &rs.items[1000]);
    assert_int_equal(push_refs_take(&rs, 11, NULL), 0);
    assert_true(is_pushed(&first, LINK_LAYER) && is_pushed(&second, LINK_LAYER));
    for (size_t i = 0; i < 1000; i++)
        n_taken += !rs.items[i].is_again;
    assert_int_equal(n_taken, 2);
    assert_false(rs.items[998].is_again || rs.items[999].is_again);
    /* From the beginning. */
    assert_int_equal(push_refs_check(&rs, NULL), 1);
    push_refs_fini(&rs);
}

static int set_up(void **state)
{
    (void)state;
    place_init(&place);
    place_open(&place);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    place_close(&place);
    place_fini(&place);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_states, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_below, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_list, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_again_and_again, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
