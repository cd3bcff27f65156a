#include "config.h"

#include "cache/referrer_list.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/strbuf.h"
#include "tests/unit/unit.h"

#define HEX "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde"
#define DIGEST(c) "sha256:" HEX c
#define DESCRIPTOR(c, more)                                                                        \
    "{\"mediaType\":\"a/b\",\"digest\":\"" DIGEST(c) "\",\"size\":7" more "}"
#define INDEX(manifests) "{\"schemaVersion\":2,\"manifests\":" manifests "}"

static const struct {
    const char *name, *text;
    bool can_be_told;
} descriptor_rows[] = {
    {"plain", DESCRIPTOR("0", ""), true},
    {"all",
     DESCRIPTOR("0", ",\"artifactType\":\"x/y\",\"annotations\":{\"a\":\"b\",\"c\":\"\"},"
                     "\"urls\":[\"u\"],\"data\":\"e30=\",\"platform\":{\"os\":\"linux\","
                     "\"os.features\":[\"z\"]},\"future\":{\"deep\":[1,{\"a\":2}]}"),
     true},
    {"blanks", " { \"size\" : 1 ,\"mediaType\":\"a/b\",\n\"digest\":\"" DIGEST("0") "\"}\n", true},
    {"null is none", DESCRIPTOR("0", ",\"artifactType\":null,\"annotations\":null,\"urls\":null"),
     true},
    {"escaped digest", "{\"mediaType\":\"a/b\",\"digest\":\"sha256\\u003a" HEX "0\",\"size\":0}",
     true},
    {"escaped name", "{\"media\\u0054ype\":\"a/b\",\"digest\":\"" DIGEST("0") "\",\"size\":0}",
     true},
    {"nothing", "", false},
    {"no object", "[]", false},
    {"a string", "\"x\"", false},
    {"two", "{}{}", false},
    {"empty", "{}", false},
    {"no size", "{\"mediaType\":\"a/b\",\"digest\":\"" DIGEST("0") "\"}", false},
    {"no media type", "{\"digest\":\"" DIGEST("0") "\",\"size\":1}", false},
    {"empty media type", "{\"mediaType\":\"\",\"digest\":\"" DIGEST("0") "\",\"size\":1}", false},
    {"no digest", "{\"mediaType\":\"a/b\",\"size\":1}", false},
    {"a digest of another kind", "{\"mediaType\":\"a/b\",\"digest\":\"md5:00\",\"size\":1}", false},
    {"a digest and more", DESCRIPTOR("00", ""), false},
    {"null for the digest", "{\"mediaType\":\"a/b\",\"digest\":null,\"size\":1}", false},
    {"negative size", "{\"mediaType\":\"a/b\",\"digest\":\"" DIGEST("0") "\",\"size\":-1}", false},
    {"broken size", "{\"mediaType\":\"a/b\",\"digest\":\"" DIGEST("0") "\",\"size\":1.5}", false},
    {"huge size",
     "{\"mediaType\":\"a/b\",\"digest\":\"" DIGEST("0") "\",\"size\":9223372036854775808}", false},
    {"size as text", "{\"mediaType\":\"a/b\",\"digest\":\"" DIGEST("0") "\",\"size\":\"1\"}",
     false},
    {"type is no text", DESCRIPTOR("0", ",\"artifactType\":[]"), false},
    {"annotations are no object", DESCRIPTOR("0", ",\"annotations\":[]"), false},
    {"an annotation is no text", DESCRIPTOR("0", ",\"annotations\":{\"a\":1}"), false},
    {"an annotation is an object", DESCRIPTOR("0", ",\"annotations\":{\"a\":{}}"), false},
    {"annotations in another case", DESCRIPTOR("0", ",\"Annotations\":1"), false},
    {"a name twice", DESCRIPTOR("0", ",\"size\":8"), false},
    {"a name twice in another case", DESCRIPTOR("0", ",\"SIZE\":8"), false},
    {"a URL is no text", DESCRIPTOR("0", ",\"urls\":[1]"), false},
    {"a list in a list", DESCRIPTOR("0", ",\"urls\":[[\"a\"]]"), false},
    {"a platform is no object", DESCRIPTOR("0", ",\"platform\":\"linux\""), false},
    {"a platform with a number", DESCRIPTOR("0", ",\"platform\":{\"os\":1}"), false},
    {"a platform with an object", DESCRIPTOR("0", ",\"platform\":{\"os\":{}}"), false},
    {"no UTF-8", DESCRIPTOR("0", ",\"annotations\":{\"a\":\"\xe4\"}"), false},
    {"UTF-8", DESCRIPTOR("0", ",\"annotations\":{\"a\":\"\xc3\xa4\"}"), true},
    {"cut", "{\"mediaType\":\"a/b\",\"digest\":\"" DIGEST("0") "\",\"size\":1", false},
};

static void test_descriptors(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(descriptor_rows); i++) {
        struct referrer_list *list = referrer_list_new();
        struct slice text = slice_of(descriptor_rows[i].text);
        struct error err = {.code = 0};
        int rc = referrer_list_add(list, text, NULL, &err);
        if (rc != (descriptor_rows[i].can_be_told ? 0 : -EBADMSG))
            fail_msg("%s: %d %s", descriptor_rows[i].name, rc, err.text);
        assert_int_equal(referrer_list_count(list), rc == 0);
        if (rc == 0)
            assert_true(slice_equal(referrer_list_descriptor(list, 0), text));
        referrer_list_free(&list);
    }
}

static void test_wanted(void **state)
{
    struct referrer_list *list = referrer_list_new();
    struct digest other, right;

    (void)state;
    assert_true(digest_parse(SLICE(DIGEST("1")), &other));
    assert_true(digest_parse(SLICE(DIGEST("0")), &right));
    assert_int_equal(referrer_list_add(list, SLICE(DESCRIPTOR("0", "")), &other, NULL), -EBADMSG);
    assert_int_equal(referrer_list_add(list, SLICE(DESCRIPTOR("0", "")), &right, NULL), 0);
    referrer_list_free(&list);
}

static const struct {
    const char *name, *text;
    int rc;
    size_t n, n_left_out;
} index_rows[] = {
    {"none", INDEX("[]"), 0, 0, 0},
    {"null", INDEX("null"), 0, 0, 0},
    {"two", INDEX("[" DESCRIPTOR("0", "") "," DESCRIPTOR("1", "") "]"), 0, 2, 0},
    {"two of one digest", INDEX("[" DESCRIPTOR("0", "") "," DESCRIPTOR("0", "") "]"), 0, 1, 0},
    {"wrong ones between",
     INDEX("[1,\"x\",null,[" DESCRIPTOR("2", "") "],{}," DESCRIPTOR(
         "1", "") ",{\"manifests\":[" DESCRIPTOR("3", "") "]}]"),
     0, 1, 6},
    {"another array", "{\"layers\":[" DESCRIPTOR("0", "") "],\"manifests\":[]}", 0, 0, 0},
    {"twice", "{\"manifests\":[" DESCRIPTOR("0", "") "],\"manifests\":[" DESCRIPTOR("1", "") "]}",
     0, 1, 0},
    {"nothing", "", -EBADMSG, 0, 0},
    {"no JSON", "hello", -EBADMSG, 0, 0},
    {"no object", "[" DESCRIPTOR("0", "") "]", -EBADMSG, 0, 0},
    {"without manifests", "{\"schemaVersion\":2}", -EBADMSG, 0, 0},
    {"manifests are an object", INDEX("{}"), -EBADMSG, 0, 0},
    {"manifests are text", INDEX("\"x\""), -EBADMSG, 0, 0},
    {"manifests are no array the second time",
     "{\"manifests\":[" DESCRIPTOR("0", "") "],\"manifests\":1}", -EBADMSG, 0, 0},
    {"cut", "{\"manifests\":[" DESCRIPTOR("0", ""), -EBADMSG, 0, 0},
    {"more behind it", INDEX("[" DESCRIPTOR("0", "") "]") "x", -EBADMSG, 0, 0},
};

static void test_indexes(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(index_rows); i++) {
        struct referrer_list *list = referrer_list_new();
        struct error err = {.code = 0};
        size_t n_left_out = 0;
        int rc = referrer_list_read(list, slice_of(index_rows[i].text), &n_left_out, &err);
        referrer_list_sort(list);
        if (rc != index_rows[i].rc || referrer_list_count(list) != index_rows[i].n ||
            n_left_out != index_rows[i].n_left_out)
            fail_msg("%s: %d %s, %zu, %zu", index_rows[i].name, rc, err.text,
                     referrer_list_count(list), n_left_out);
        referrer_list_free(&list);
    }
}

/* What a wrong text had added is taken back; what was there before stays. */
static void test_all_or_nothing(void **state)
{
    struct referrer_list *list = referrer_list_new();
    size_t n_left_out;

    (void)state;
    assert_int_equal(referrer_list_add(list, SLICE(DESCRIPTOR("0", "")), NULL, NULL), 0);
    assert_int_equal(referrer_list_read(list, SLICE("{\"manifests\":[" DESCRIPTOR("1", "") ",]}"),
                                        &n_left_out, NULL),
                     -EBADMSG);
    assert_int_equal(referrer_list_count(list), 1);
    assert_int_equal(referrer_list_bytes(list), strlen(DESCRIPTOR("0", "")));
    referrer_list_free(&list);
}

static void test_order(void **state)
{
    static const char *const added[] = {
        "{\"mediaType\":\"a/b\",\"size\":1,\"digest\":\"sha512:" HEX "0" HEX "0\"}",
        DESCRIPTOR("2", ""), DESCRIPTOR("0", ",\"artifactType\":\"first\""), DESCRIPTOR("1", ""),
        DESCRIPTOR("0", ",\"artifactType\":\"second\"")};
    struct referrer_list *list = referrer_list_new();

    (void)state;
    for (size_t i = 0; i < N_ROWS(added); i++)
        assert_int_equal(referrer_list_add(list, slice_of(added[i]), NULL, NULL), 0);
    referrer_list_sort(list);
    assert_int_equal(referrer_list_count(list), 4);
    for (size_t i = 1; i < 4; i++)
        assert_true(referrer_list_compare(referrer_list_digest(list, i - 1),
                                          referrer_list_digest(list, i)) < 0);
    assert_int_equal(referrer_list_digest(list, 3)->alg, DIGEST_SHA512);
    assert_true(referrer_list_has_type(list, 0, SLICE("first")));
    assert_false(referrer_list_has_type(list, 1, SLICE("")));
    referrer_list_free(&list);
}

static void test_types(void **state)
{
    struct referrer_list *list = referrer_list_new();

    (void)state;
    assert_int_equal(
        referrer_list_add(list, SLICE(DESCRIPTOR("0", ",\"artifactType\":\"a\\/b\\u002bc\"")), NULL,
                          NULL),
        0);
    assert_true(referrer_list_has_type(list, 0, SLICE("a/b+c")));
    assert_false(referrer_list_has_type(list, 0, SLICE("a\\/b+c")));
    assert_false(referrer_list_has_type(list, 0, SLICE("a/b")));
    referrer_list_free(&list);
}

static void test_print(void **state)
{
    struct referrer_list *list = referrer_list_new(), *again = referrer_list_new();
    struct strbuf text = STRBUF_INIT;
    size_t n_left_out;

    (void)state;
    assert_int_equal(referrer_list_add(list, SLICE(DESCRIPTOR("0", "")), NULL, NULL), 0);
    assert_int_equal(referrer_list_add(list, SLICE(DESCRIPTOR("1", "")), NULL, NULL), 0);
    referrer_list_print(list, &text);
    assert_string_equal(text.ptr,
                        "{\"schemaVersion\":2,\"mediaType\":\"" REFERRER_INDEX_TYPE
                        "\",\"manifests\":[" DESCRIPTOR("0", "") "," DESCRIPTOR("1", "") "]}");
    assert_int_equal(
        referrer_list_read(again, (struct slice){text.ptr, text.len}, &n_left_out, NULL), 0);
    assert_int_equal(referrer_list_count(again), 2);
    strbuf_fini(&text);
    referrer_list_free(&list);
    referrer_list_free(&again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptors), cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_indexes),     cmocka_unit_test(test_all_or_nothing),
        cmocka_unit_test(test_order),       cmocka_unit_test(test_types),
        cmocka_unit_test(test_print),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
