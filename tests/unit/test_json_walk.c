#include "config.h"

#include "base/json_walk.h"

#include <errno.h>

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
    {"[]", true},
    {" \"a\" ", true},
    {"-1", true},
    {"true", true},
    {"1 2", false},
    {"[] []", false},
    {"\"a", false},
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
        int rc = json_walk(slice_of(TEXTS[i].text), JSON_WALK_DEPTH_MAX, NULL, NULL, &err);
        if (rc != (TEXTS[i].ok ? 0 : -EBADMSG) || err.code != rc)
            fail_msg("%s: %d %s", TEXTS[i].text, rc, err.text);
    }
    /* A NUL ends nothing. */
    assert_int_equal(json_walk((struct slice){"{}\0", 3}, 1, NULL, NULL, NULL), -EBADMSG);
    assert_int_equal(json_walk(SLICE_NONE, 1, NULL, NULL, NULL), -EBADMSG);
}

static int note_value(void *arg, const struct json_value *v)
{
    static const char KINDS[] = "olsnw";

    strbuf_addf(arg, "%u%c%s", v->depth, KINDS[v->kind], v->is_end ? "/" : "");
    if (v->key.ptr)
        strbuf_addf(arg, "%.*s=", SLICE_ARG(v->key));
    strbuf_addf(arg, "%.*s;", SLICE_ARG(v->text));
    return slice_equal(v->text, SLICE("stop")) ? -ECANCELED : 0;
}

/* Every value in order, with its key, its depth and its text. */
static void test_values(void **state)
{
    static const struct {
        const char *text, *told;
        int rc;
    } ROWS[] = {
        {"{\"s\":\"a\\/b\",\"n\":-1.5,\"w\":null,\"s\":\"z\"}",
         "0o;1ss=a\\/b;1nn=-1.5;1ww=null;1ss=z;"
         "0o/{\"s\":\"a\\/b\",\"n\":-1.5,\"w\":null,\"s\":\"z\"};",
         0},
        {"{\"a\" : [ 1, {\"b\":\"\"} ] , \"\":{ }}",
         "0o;1la=;2n1;2o;3sb=;2o/{\"b\":\"\"};1l/[ 1, {\"b\":\"\"} ];1o=;1o/{ };"
         "0o/{\"a\" : [ 1, {\"b\":\"\"} ] , \"\":{ }};",
         0},
        {" [\"x\", [ ], 2] ", "0l;1sx;1l;1l/[ ];1n2;0l/[\"x\", [ ], 2];", 0},
        {"\"\\u0064\"", "0s\\u0064;", 0},
        {"{\"a\":[\"stop\",1]}", "0o;1la=;2sstop;", -ECANCELED},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct strbuf told = STRBUF_INIT;
        struct error err = {0};
        assert_int_equal(json_walk(slice_of(ROWS[i].text), 3, note_value, &told, &err), ROWS[i].rc);
        assert_string_equal(told.ptr, ROWS[i].told);
        assert_int_equal(err.code, 0);
        strbuf_fini(&told);
    }
}

static int walk_nested(unsigned depth, unsigned depth_max, bool is_closed)
{
    struct strbuf b = STRBUF_INIT;

    for (unsigned i = 0; i < depth; i++)
        strbuf_add_str(&b, i % 2 ? "{\"a\":" : "[");
    if (depth % 2 == 0)
        strbuf_add_str(&b, "1");
    for (unsigned i = depth; i-- > 0 && is_closed;)
        strbuf_add_char(&b, i % 2 ? '}' : ']');
    int rc = json_walk((struct slice){b.ptr, b.len}, depth_max, NULL, NULL, NULL);
    strbuf_fini(&b);
    return rc;
}

static void test_depth(void **state)
{
    (void)state;
    assert_int_equal(walk_nested(0, 0, true), 0);
    assert_int_equal(walk_nested(1, 0, true), -E2BIG);
    assert_int_equal(walk_nested(1, 1, true), 0);
    assert_int_equal(walk_nested(2, 1, true), -E2BIG);
    assert_int_equal(walk_nested(JSON_WALK_DEPTH_MAX, JSON_WALK_DEPTH_MAX, true), 0);
    assert_int_equal(walk_nested(JSON_WALK_DEPTH_MAX, JSON_WALK_DEPTH_MAX, false), -EBADMSG);
    assert_int_equal(walk_nested(JSON_WALK_DEPTH_MAX + 1, JSON_WALK_DEPTH_MAX, true), -E2BIG);
    assert_int_equal(walk_nested(100000, JSON_WALK_DEPTH_MAX, false), -E2BIG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_depth),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
