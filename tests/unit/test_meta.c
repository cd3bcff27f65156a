#include "config.h"

#include "cache/meta.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/worker.h"
#include "cache/meta_value.h"
#include "tests/unit/cache_place.h"
#include "tests/unit/unit.h"

/* One look-up, begun on a worker. */
struct lookup {
    struct meta *meta;
    struct slice key;
    int rc;
    bool was_inside, is_inside, is_over;
    char value[64];
    struct moment over;
};

static uint64_t now_ms = 1000;

uint64_t __wrap_clock_mono_ms(void);
uint64_t __wrap_clock_mono_ms(void)
{
    return __atomic_load_n(&now_ms, __ATOMIC_SEQ_CST);
}

static void on_value(void *arg, int rc, struct slice value)
{
    struct lookup *l = arg;

    CHECK(!l->is_over && value.len < sizeof(l->value));
    l->is_over = true;
    l->was_inside = l->is_inside;
    l->rc = rc;
    memcpy(l->value, value.ptr, value.len);
    l->value[value.len] = '\0';
    moment_come(&l->over);
}

static void do_get(void *arg)
{
    struct lookup *l = arg;

    l->is_inside = true;
    int rc = meta_get(l->meta, l->key, on_value, l);
    l->is_inside = false;
    if (rc < 0) {
        CHECK(!l->is_over);
        l->rc = rc;
        moment_come(&l->over);
    }
}

static struct worker *worker;

/* What is under the key, or NULL. The text is valid until the next call. */
static const char *get(struct meta *m, const char *key)
{
    static struct lookup l;

    l = (struct lookup){.meta = m, .key = slice_of(key)};
    moment_init(&l.over);
    worker_call(worker, do_get, &l);
    assert_true(moment_wait(&l.over));
    moment_fini(&l.over);
    assert_false(l.was_inside);
    return l.rc == 0 ? l.value : NULL;
}

static void put(struct meta *m, const char *key, const char *value, unsigned ttl_s)
{
    meta_put(m, slice_of(key), slice_of(value), ttl_s);
}

static void test_memory(void **state)
{
    struct meta *m = meta_memory_new(META_TAGS, 64 * 1024);

    (void)state;
    assert_false(meta_is_shared(m));
    assert_null(get(m, "a"));
    put(m, "a", "1", 0);
    put(m, "b", "2", 10);
    put(m, "", "none", 10);
    assert_string_equal(get(m, "a"), "1");
    assert_string_equal(get(m, "b"), "2");
    assert_string_equal(get(m, ""), "none");
    put(m, "a", "3", 10);
    assert_string_equal(get(m, "a"), "3");
    now_ms += 9999;
    assert_string_equal(get(m, "b"), "2");
    now_ms += 1;
    assert_null(get(m, "b"));
    assert_null(get(m, "a"));
    put(m, "a", "4", 0);
    meta_forget(m, SLICE("a"));
    assert_null(get(m, "a"));
    put(m, "a", "5", 0);
    meta_refuse(m, SLICE("a"));
    assert_null(get(m, "a"));
    meta_free(&m);
    assert_null(m);
}

/* The oldest make room. */
static void test_memory_is_bounded(void **state)
{
    struct meta *m = meta_memory_new(META_TAGS, 64 * 1024);
    char key[32];
    unsigned n_found = 0;

    (void)state;
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        put(m, key, "some words that are remembered", 0);
    }
    for (unsigned i = 0; i < 2000; i++) {
        snprintf(key, sizeof(key), "key %u", i);
        n_found += get(m, key) != NULL;
    }
    assert_in_range(n_found, 100, 64 * 1024 / 60);
    assert_non_null(get(m, "key 1999"));
    assert_null(get(m, "key 0"));
    meta_free(&m);
}

#define HEX "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void test_tag_values(void **state)
{
    static const struct {
        const char *text;
        bool is_right;
    } rows[] = {
        {"1 mirrored sha256:" HEX " 5 6 docker.io", true},
        {"1 mirrored sha256:" HEX " 5 6 -", true},
        {"1 mirrored sha256:" HEX " 5 6", false},
        {"1 mirrored sha256:" HEX " 5 6 ", false},
        {"1 mirrored sha256:" HEX " 5", false},
        {"1 mirrored sha256:" HEX "0 5 6 -", false},
        {"1 mirrored sha256: 5 6 -", false},
        {"1 mirrored sha256:" HEX " -5 6 -", false},
        {"1 mirrored sha256:" HEX " 5 9223372036854775808 -", false},
        {"1  mirrored sha256:" HEX " 5 6 -", false},
        {"2 mirrored sha256:" HEX " 5 6 -", false},
        {"1 facts 5 a/b", false},
        {"1 absent 7", true},
        {"1 absent 7 ", true},
        {"1 absent 7 8", false},
        {"1 absent", false},
        {"1 absent x", false},
        {"", false},
        {"OK", false},
        {"1", false},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(rows); i++) {
        struct tag_record r = {.is_pushed = true};
        if (meta_value_parse_tag(slice_of(rows[i].text), &r) != rows[i].is_right)
            fail_msg("%s", rows[i].text);
        assert_int_equal(r.is_pushed, !rows[i].is_right);
    }
}

static void test_values_come_back(void **state)
{
    struct tag_record r = {.mirrored = TAG_MIRRORED,
                           .fetched_at_s = 1700000000,
                           .checked_at_s = 1700000100,
                           .upstream = origin_upstream(SLICE("ghcr.io"))};
    struct tag_record found;
    struct meta_facts facts = {528, SLICE("application/vnd.oci.image.index.v1+json")};
    struct meta_facts known;
    struct strbuf out = STRBUF_INIT;

    (void)state;
    digest_of(DIGEST_SHA512, "x", 1, &r.digest);
    meta_value_print_tag(&r, &out);
    assert_true(meta_value_parse_tag((struct slice){out.ptr, out.len}, &found));
    assert_int_equal(found.mirrored, TAG_MIRRORED);
    assert_true(digest_equal(&found.digest, &r.digest));
    assert_int_equal(found.fetched_at_s, 1700000000);
    assert_int_equal(found.checked_at_s, 1700000100);
    assert_ptr_equal(found.upstream, r.upstream);
    strbuf_clear(&out);
    meta_value_print_facts(&facts, &out);
    assert_true(meta_value_parse_facts((struct slice){out.ptr, out.len}, &known));
    assert_int_equal(known.size, 528);
    assert_true(slice_equal(known.media_type, facts.media_type));
    assert_false(meta_value_parse_facts(SLICE("1 facts 5 "), &known));
    assert_false(meta_value_parse_facts(SLICE("1 facts 5 a/b\r\nx: y"), &known));
    assert_false(meta_value_parse_facts(SLICE("1 facts 18446744073709551615 a/b"), &known));
    strbuf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_memory_is_bounded),
        cmocka_unit_test(test_tag_values),
        cmocka_unit_test(test_values_come_back),
    };

    worker = worker_new(0);
    worker_start(worker);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    worker_stop(worker);
    worker_join(&worker);
    return rc;
}
