#include "config.h"

#include "mirrord/yaml_tree.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "mirrord/config_text.h"
#include "tests/unit/unit.h"

static const struct {
    const char *text;
    enum yaml_scalar_kind kind;
    double value; /* of booleans and numbers */
} SCALARS[] = {
    {"", YAML_SCALAR_NULL, 0},
    {"~", YAML_SCALAR_NULL, 0},
    {"null", YAML_SCALAR_NULL, 0},
    {"NULL", YAML_SCALAR_NULL, 0},
    {"nUll", YAML_SCALAR_TEXT, 0},
    {"true", YAML_SCALAR_BOOL, 1},
    {"True", YAML_SCALAR_BOOL, 1},
    {"yes", YAML_SCALAR_BOOL, 1},
    {"on", YAML_SCALAR_BOOL, 1},
    {"OFF", YAML_SCALAR_BOOL, 0},
    {"no", YAML_SCALAR_BOOL, 0},
    {"y", YAML_SCALAR_TEXT, 0},
    {"tRue", YAML_SCALAR_TEXT, 0},
    {"10", YAML_SCALAR_INT, 10},
    {"-10", YAML_SCALAR_INT, -10},
    {"+3", YAML_SCALAR_INT, 3},
    {"0", YAML_SCALAR_INT, 0},
    {"010", YAML_SCALAR_INT, 8},
    {"0777", YAML_SCALAR_INT, 511},
    {"08", YAML_SCALAR_TEXT, 0},
    {"0x1f", YAML_SCALAR_INT, 31},
    {"0x", YAML_SCALAR_TEXT, 0},
    {"0xg", YAML_SCALAR_TEXT, 0},
    {"0b101", YAML_SCALAR_INT, 5},
    {"0b2", YAML_SCALAR_TEXT, 0},
    {"1_000", YAML_SCALAR_INT, 1000},
    {"_1", YAML_SCALAR_TEXT, 0},
    {"12:30", YAML_SCALAR_INT, 750},
    {"12:30:45", YAML_SCALAR_INT, 45045},
    {"12:60", YAML_SCALAR_TEXT, 0},
    {"12:", YAML_SCALAR_TEXT, 0},
    {"0:30", YAML_SCALAR_TEXT, 0},
    {"12:30.5", YAML_SCALAR_FLOAT, 750.5},
    {"9223372036854775807", YAML_SCALAR_INT, 9223372036854775807.0},
    {"9223372036854775808", YAML_SCALAR_TEXT, 0},
    {"99999999999999999999999", YAML_SCALAR_TEXT, 0},
    {"1.5", YAML_SCALAR_FLOAT, 1.5},
    {"-1.5", YAML_SCALAR_FLOAT, -1.5},
    {".5", YAML_SCALAR_FLOAT, 0.5},
    {"1.", YAML_SCALAR_FLOAT, 1},
    {".", YAML_SCALAR_TEXT, 0},
    {"1e3", YAML_SCALAR_TEXT, 0},
    {"1.0e3", YAML_SCALAR_TEXT, 0},
    {"1.0e+3", YAML_SCALAR_FLOAT, 1000},
    {"1.0e+", YAML_SCALAR_TEXT, 0},
    {".inf", YAML_SCALAR_FLOAT, INFINITY},
    {"-.INF", YAML_SCALAR_FLOAT, -INFINITY},
    {"inf", YAML_SCALAR_TEXT, 0},
    {"2014-01-01", YAML_SCALAR_DATE, 0},
    {"2014-01-01 12:30:45", YAML_SCALAR_DATE, 0},
    {"2014-01-01x", YAML_SCALAR_TEXT, 0},
    {"1.2.3", YAML_SCALAR_TEXT, 0},
    {"127.0.0.1:5001", YAML_SCALAR_TEXT, 0},
    {"-", YAML_SCALAR_TEXT, 0},
    {"+", YAML_SCALAR_TEXT, 0},
    {"sqlite:////tmp/x.db", YAML_SCALAR_TEXT, 0},
};

/* What a plain scalar means: one row per form of YAML 1.1. */
static void test_scalars(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(SCALARS); i++) {
        struct yaml_scalar scalar;
        yaml_scalar_resolve(slice_of(SCALARS[i].text), &scalar);
        if (scalar.kind != SCALARS[i].kind)
            fail_msg("%s: kind %d", SCALARS[i].text, (int)scalar.kind);
        if (scalar.kind == YAML_SCALAR_BOOL)
            assert_int_equal(scalar.boolean, SCALARS[i].value != 0);
        if (scalar.kind == YAML_SCALAR_INT)
            assert_true((double)scalar.integer == SCALARS[i].value);
        if (scalar.kind == YAML_SCALAR_FLOAT)
            assert_true(scalar.real == SCALARS[i].value);
    }
}

/* Whole documents, written back in one line. */
static void test_documents(void **state)
{
    static const struct {
        const char *text;
        const char *rendered;
    } ROWS[] = {
        {"", "~"},
        {"# only a comment", "~"},
        {"--- 5\n", "5"},
        {"a: 1\nb: [x, 'yes', \"q\"]\n", "{a: 1, b: [x, \"yes\", q]}"},
        {"a: 1\na: 2\n", "{a: 2}"},
        {"- a\n- b\n", "[a, b]"},
        {"-", "[~]"},
        {"{one: v}", "{one: v}"},
        {"c: &c {a: 1, b: 2}\nd:\n  <<: *c\n  b: 3\n", "{c: {a: 1, b: 2}, d: {a: 1, b: 3}}"},
        /* The mapping's own keys win wherever << stands. */
        {"c: &c {a: 1}\nd:\n  a: 2\n  <<: *c\n", "{c: {a: 1}, d: {a: 2}}"},
        /* Of a list of mappings the earlier wins. */
        {"- &x {a: 1}\n- &y {a: 2, b: 2}\n- {<<: [*x, *y]}\n",
         "[{a: 1}, {a: 2, b: 2}, {a: 1, b: 2}]"},
        /* Merges of merges. */
        {"a: &a {k: 1}\nb: &b {<<: *a, l: 2}\nc: {<<: *b, k: 3}\n",
         "{a: {k: 1}, b: {k: 1, l: 2}, c: {k: 3, l: 2}}"},
        /* Quoted, it is a key like any other. */
        {"{'<<': 1}", "{\"<<\": 1}"},
        {"!!str 5", "\"5\""},
        {"! 5", "\"5\""},
        {"!!int 5", "5"},
        {"!!map {a: !!seq [1]}", "{a: [1]}"},
        {"a: &x v\nb: *x\n", "{a: v, b: v}"},
        {"a: |\n  x\n  y\n", "{a: \"x\\u000ay\\u000a\"}"},
        {"_env:X", "\"_env::\\\"_env:X\\\"\""},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct yaml_tree *tree;
        struct yaml_problem problem;
        struct strbuf out = STRBUF_INIT;
        assert_int_equal(yaml_tree_parse(slice_of(ROWS[i].text), &tree, &problem), 0);
        config_text_render(yaml_tree_root(tree), &out);
        assert_string_equal(out.ptr, ROWS[i].rendered);
        strbuf_fini(&out);
        yaml_tree_free(&tree);
        assert_null(tree);
    }
}

static void test_problems(void **state)
{
    static const struct {
        const char *text;
        unsigned line;
        const char *part; /* of the message */
    } ROWS[] = {
        {"a: b: c", 1, "mapping values are not allowed"},
        {"x: 1\ny: @z\n", 2, "cannot start any token"},
        {"x: `z", 1, "cannot start any token"},
        {"%x", 1, "directive"},
        {"*x", 1, "alias"},
        {"a: 1\nb: *x\n", 2, "alias"},
        {"&a [*a]", 1, "inside"},
        {"a: 'x", 1, "quoted"},
        {"\n!x y", 2, "tags"},
        {"!!python/object/apply:os.system [x]", 1, "tags"},
        {"!!int x", 1, "tag"},
        {"a: {<<: 5}", 1, "<<"},
        {"a: {<<: [5]}", 1, "<<"},
        {"a: 1\n--- b\n", 2, "more than one document"},
        {"{[a]: 1}", 1, "key"},
        {"a: \"\x01\"", 1, "control characters"},
        {"\xff\xfe\xff", 1, ""},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++) {
        struct yaml_tree *tree = NULL;
        struct yaml_problem problem = {0};
        assert_int_equal(yaml_tree_parse(slice_of(ROWS[i].text), &tree, &problem), -EINVAL);
        assert_null(tree);
        if (!strstr(problem.text, ROWS[i].part))
            fail_msg("%s: %s", ROWS[i].text, problem.text);
        if (problem.line != ROWS[i].line)
            fail_msg("%s: line %u", ROWS[i].text, problem.line);
    }
}

static void assert_refused(struct strbuf *text, const char *part)
{
    struct yaml_tree *tree = NULL;
    struct yaml_problem problem = {0};
    int rc = yaml_tree_parse((struct slice){text->ptr, text->len}, &tree, &problem);
    assert_int_equal(rc, -EINVAL);
    assert_non_null(strstr(problem.text, part));
    strbuf_fini(text);
}

/* Each limit, with the smallest text that runs into it. */
static void test_limits(void **state)
{
    struct strbuf text = STRBUF_INIT;

    (void)state;
    for (int i = 0; i <= YAML_TREE_DEPTH_MAX; i++)
        strbuf_add_char(&text, '[');
    assert_refused(&text, "nested");

    strbuf_add_str(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 12; i++) /* nine to the twelfth, if it were written out */
        strbuf_addf(&text, "a%d: &a%d [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i,
                    i, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1, i - 1);
    assert_refused(&text, "too large");

    for (int i = 0; i < YAML_TREE_NODES_MAX; i++)
        strbuf_add_str(&text, "- x\n");
    assert_refused(&text, "too large");

    for (int i = 0; i <= YAML_TREE_KEYS_MAX; i++)
        strbuf_addf(&text, "k%d: x\n", i);
    assert_refused(&text, "keys");

    strbuf_reserve(&text, YAML_TREE_BYTES_MAX + 2);
    while (text.len <= YAML_TREE_BYTES_MAX)
        strbuf_add_str(&text, "# 89\n");
    assert_refused(&text, "bytes");
}

static void test_lines(void **state)
{
    struct slice text = SLICE("a: 1\nb:\n  c: 2\n  d:\n  - x\n");
    struct yaml_tree *tree;
    struct yaml_problem problem;

    (void)state;
    assert_int_equal(yaml_tree_parse(text, &tree, &problem), 0);
    const struct yaml_node *root = yaml_tree_root(tree);
    const struct yaml_node *b = yaml_node_find(root, "b");
    assert_int_equal(root->pairs[1].line, 2);
    assert_int_equal(b->pairs[0].line, 3);
    assert_int_equal(yaml_node_find(b, "d")->pairs[0].line, 5);
    assert_null(yaml_node_find(root, "c"));
    assert_null(yaml_node_find(yaml_node_find(root, "a"), "x"));
    yaml_tree_free(&tree);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),  cmocka_unit_test(test_documents),
        cmocka_unit_test(test_problems), cmocka_unit_test(test_limits),
        cmocka_unit_test(test_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
