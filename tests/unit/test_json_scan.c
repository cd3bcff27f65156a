#include "config.h"

#include "base/json_scan.h"

#include "base/strbuf.h"
#include "tests/unit/unit.h"

static const struct {
    const char *text;
    bool ok;
} TEXTS[] = {
    {"{}", true},
    {" \r\n\t{ } \n", true},
    {"{\"a\":1,\"b\":[],\"c\":{\"d\":[{},[]]},\"e\":null}", true},
    {"{\"a\":-0.5e+10,\"b\":0,\"c\":1E2,\"d\":\"\\u00e9\\/\\n\xff\"}", true},
    {"{\"a\":[true,false,null,\"\"]}", true},
    {"", false},
    {"  ", false},
    {"[]", false},
    {"\"a\"", false},
    {"1", false},
    {"<html>", false},
    {"{", false},
    {"}", false},
    {"{\"a\"}", false},
    {"{\"a\":}", false},
    {"{\"a\":1,}", false},
    {"{,}", false},
    {"{\"a\":1 \"b\":2}", false},
    {"{\"a\":1}}", false},
    {"{\"a\":1} x", false},
    {"{\"a\":[1,]}", false},
    {"{\"a\":[1 2]}", false},
    {"{\"a\":[1}", false},
    {"{\"a\":{\"b\":1]}", false},
    {"{a:1}", false},
    {"{'a':1}", false},
    {"{\"a\":01}", false},
    {"{\"a\":+1}", false},
    {"{\"a\":.5}", false},
    {"{\"a\":1.}", false},
    {"{\"a\":1e}", false},
    {"{\"a\":-}", false},
    {"{\"a\":NaN}", false},
    {"{\"a\":True}", false},
    {"{\"a\":nul}", false},
    {"{\"a\":\"x}", false},
    {"{\"a\":\"\\x\"}", false},
    {"{\"a\":\"\\u12g4\"}", false},
    {"{\"a\":\"\\u12", false},
    {"{\"a\":\"\\", false},
    {"{\"a\":\"\n\"}", false},
};

static void test_grammar(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(TEXTS); i++) {
        struct error err = {0};
        int rc = json_scan(slice_of(TEXTS[i].text), NULL, NULL, &err);
        if ((rc == 0) != TEXTS[i].ok)
            fail_msg("%s: %d %s", TEXTS[i].text, rc, err.text);
    }
    /* A NUL ends nothing. */
    assert_int_not_equal(json_scan((struct slice){"{}\0", 3}, NULL, NULL, NULL), 0);
}

static void note_member(void *arg, struct slice key, enum json_scan_kind kind, struct slice text)
{
    strbuf_addf(arg, "%.*s=%d:%.*s;", SLICE_ARG(key), (int)kind, SLICE_ARG(text));
}

/* Only the members of the outermost object, each with what it is. */
static void test_members(void **state)
{
    struct strbuf found = STRBUF_INIT;
    const char *text =
        "{\"s\":\"a\\/b\",\"o\":{\"in\":1},\"l\":[{\"in\":2}],\"n\":-1.5,\"w\":null,\"s\":\"z\"}";

    (void)state;
    assert_int_equal(json_scan(slice_of(text), note_member, &found, NULL), 0);
    assert_string_equal(found.ptr, "s=2:a\\/b;o=0:;l=1:;n=3:-1.5;w=4:null;s=2:z;");
    strbuf_fini(&found);
}

static int scan_nested(unsigned depth)
{
    struct strbuf b = STRBUF_INIT;

    strbuf_add_str(&b, "{\"a\":");
    for (unsigned i = 1; i < depth; i++)
        strbuf_add_char(&b, '[');
    for (unsigned i = 1; i < depth; i++)
        strbuf_add_char(&b, ']');
    strbuf_add_str(&b, depth > 1 ? "}" : "1}");
    int rc = json_scan((struct slice){b.ptr, b.len}, NULL, NULL, NULL);
    strbuf_fini(&b);
    return rc;
}

static void test_depth(void **state)
{
    (void)state;
    assert_int_equal(scan_nested(1), 0);
    assert_int_equal(scan_nested(JSON_SCAN_DEPTH_MAX), 0);
    assert_int_not_equal(scan_nested(JSON_SCAN_DEPTH_MAX + 1), 0);
    assert_int_not_equal(scan_nested(100000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
