#include "config.h"

#include "mirrord/name_page.h"

#include <string.h>

#include "tests/unit/unit.h"

#define ROOM 16

/* Names from words; returns how many. */
static size_t split(char *text, const char **names)
{
    size_t n = 0;
    char *rest = text, *word;

    while ((word = strtok_r(n ? NULL : text, " ", &rest)))
        names[n++] = word;
    return n;
}

static const struct {
    const char *a, *b; /* a '+' at the end: it goes on */
    size_t limit;
    const char *want;
} merges[] = {
    {"", "", 5, ""},
    {"a c", "b d", 5, "a b c d"},
    {"a b", "a b", 5, "a b"},
    {"a c", "b d", 4, "a b c d"},
    {"a c", "b d", 3, "a b c +"},
    {"a b c", "", 2, "a b +"},
    {"", "a b", 2, "a b"},
    {"a c +", "b d", 5, "a b c +"},
    {"a c", "b d +", 5, "a b c d +"},
    {"a e", "b d +", 5, "a b d +"},
    {"a +", "b +", 5, "a +"},
    {"+", "b", 5, "b +"},
    {"B a", "C", 5, "B C a"},
};

/* A run out of a row's text. */
static struct name_run run_of(char *text, const char **names)
{
    size_t n = split(text, names);
    bool has_more = n > 0 && strcmp(names[n - 1], "+") == 0;

    return (struct name_run){names, n - has_more, has_more};
}

static void test_merge(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(merges); i++) {
        char a[64], b[64], text[128] = "";
        const char *a_names[ROOM], *b_names[ROOM], *room[ROOM];
        struct name_run out;
        strcpy(a, merges[i].a);
        strcpy(b, merges[i].b);
        struct name_run a_run = run_of(a, a_names), b_run = run_of(b, b_names);
        name_page_merge(&a_run, &b_run, merges[i].limit, room, &out);
        for (size_t k = 0; k < out.n; k++) {
            strcat(text, k ? " " : "");
            strcat(text, out.names[k]);
        }
        if (out.has_more)
            strcat(text, " +");
        if (strcmp(text, merges[i].want) != 0)
            fail_msg("[%s] and [%s]: [%s]", merges[i].a, merges[i].b, text);
    }
}

static void test_sort(void **state)
{
    const char *names[] = {"b", "a", "b", "B", "a"};

    (void)state;
    assert_int_equal(name_page_sort(names, 5), 3);
    assert_string_equal(names[0], "B");
    assert_string_equal(names[1], "a");
    assert_string_equal(names[2], "b");
    assert_int_equal(name_page_sort(names, 0), 0);
}

static void test_print(void **state)
{
    const char *names[] = {"a", "b\"c"};
    struct name_run run = {names, 2, false};
    struct strbuf out = STRBUF_INIT;

    (void)state;
    name_page_print(&run, "tags", SLICE("x/y"), &out);
    assert_string_equal(out.ptr, "{\"name\":\"x/y\",\"tags\":[\"a\",\"b\\\"c\"]}\n");
    strbuf_clear(&out);
    run.n = 0;
    name_page_print(&run, "repositories", SLICE_NONE, &out);
    assert_string_equal(out.ptr, "{\"repositories\":[]}\n");
    strbuf_fini(&out);
}

static void test_query(void **state)
{
    struct strbuf out = STRBUF_INIT;

    (void)state;
    name_page_query(SLICE("a/b-c.d_e"), 5, &out);
    assert_string_equal(out.ptr, "last=a%2Fb-c.d_e&n=5");
    strbuf_clear(&out);
    name_page_query(SLICE("a"), 0, &out);
    assert_string_equal(out.ptr, "last=a");
    strbuf_clear(&out);
    name_page_query(SLICE_NONE, 7, &out);
    assert_string_equal(out.ptr, "n=7");
    strbuf_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_sort),
        cmocka_unit_test(test_print),
        cmocka_unit_test(test_query),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
