#include "config.h"

#include "mirrord/referrer_page.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cache/referrer_list.h"
#include "tests/unit/unit.h"

#define ZEROS "000000000000000000000000000000000000000000000000000000000000000"
#define DIGEST(c) "sha256:" ZEROS c
#define START "{\"schemaVersion\":2,\"mediaType\":\"" REFERRER_INDEX_TYPE "\",\"manifests\":["

/* A list of descriptors, one per letter of `letters`; capitals are of the type "big". */
static struct referrer_list *list_of(const char *letters, const char *media_type)
{
    struct referrer_list *list = referrer_list_new();

    for (; *letters; letters++) {
        char text[300];
        bool is_big = *letters >= 'A' && *letters <= 'Z';
        int n = snprintf(text, sizeof(text),
                         "{\"mediaType\":\"%s\",\"digest\":\"sha256:" ZEROS
                         "%c\",\"size\":1,\"artifactType\":\"%s\"}",
                         media_type, *letters | 0x20, is_big ? "big" : "small");
        assert_int_equal(referrer_list_add(list, (struct slice){text, (size_t)n}, NULL, NULL), 0);
    }
    return list;
}

static struct digest digest_ending_in(char c)
{
    char text[] = DIGEST("0");
    struct digest d;

    text[sizeof(text) - 2] = c;
    assert_true(digest_parse(slice_of(text), &d));
    return d;
}

static const struct {
    const char *name;
    const char *ours;
    bool ours_go_on;
    const char *theirs; /* NULL: none */
    const char *last, *type;
    size_t n_max;
    const char *want; /* letters of ours as they are, of theirs behind a '+' */
    bool has_more;
} merge_rows[] = {
    {"nothing", "", false, NULL, "", "", 9, "", false},
    {"nothing of both", "", false, "", "", "", 9, "", false},
    {"ours", "abc", false, NULL, "", "", 9, "abc", false},
    {"theirs", "", false, "abc", "", "", 9, "+a+b+c", false},
    {"both", "bd", false, "ace", "", "", 9, "+ab+cd+e", false},
    {"ours win", "ab", false, "bc", "", "", 9, "ab+c", false},
    {"full", "abc", false, NULL, "", "", 2, "ab", true},
    {"full with theirs", "a", false, "bc", "", "", 2, "a+b", true},
    {"just full", "ab", false, "ab", "", "", 2, "ab", false},
    {"behind", "", false, "abc", "a", "", 9, "+b+c", false},
    {"behind the last one", "", false, "abc", "c", "", 9, "", false},
    {"of a type", "", false, "aBcD", "", "big", 9, "+B+D", false},
    {"of a type, full", "", false, "aBcDeF", "", "big", 2, "+B+D", true},
    {"of a type, just full", "", false, "aBcDe", "", "big", 2, "+B+D", false},
    {"of a type, behind", "", false, "aBcD", "b", "big", 9, "+D", false},
    {"ours go on", "bd", true, "ace", "", "", 9, "+ab+cd", true},
    {"ours go on, full", "bd", true, "ace", "", "", 2, "+ab", true},
};

static void add_wanted(const char *want, struct strbuf *out)
{
    strbuf_add_str(out, START);
    for (bool is_first = true; *want; want++, is_first = false) {
        bool is_theirs = *want == '+';
        char letter[2] = {want[is_theirs], 0};
        struct referrer_list *one = list_of(letter, is_theirs ? "t/t" : "o/o");
        strbuf_add_str(out, is_first ? "" : ",");
        strbuf_add_slice(out, referrer_list_descriptor(one, 0));
        referrer_list_free(&one);
        want += is_theirs;
    }
    strbuf_add_str(out, "]}");
}

static void test_merge(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_ROWS(merge_rows); i++) {
        struct referrer_list *ours = list_of(merge_rows[i].ours, "o/o");
        struct referrer_list *theirs =
            merge_rows[i].theirs ? list_of(merge_rows[i].theirs, "t/t") : NULL;
        struct referrer_page_spec spec = {.ours = ours,
                                          .ours_go_on = merge_rows[i].ours_go_on,
                                          .theirs = theirs,
                                          .has_last = merge_rows[i].last[0],
                                          .artifact_type = slice_of(merge_rows[i].type),
                                          .n_max = merge_rows[i].n_max,
                                          .bytes_max = 10000};
        struct strbuf text = STRBUF_INIT, want = STRBUF_INIT;
        struct referrer_page page;
        if (spec.has_last)
            spec.last = digest_ending_in(merge_rows[i].last[0]);
        referrer_page_print(&spec, &text, &page);
        add_wanted(merge_rows[i].want, &want);
        if (strcmp(text.ptr, want.ptr) != 0 || page.has_more != merge_rows[i].has_more)
            fail_msg("%s: %s\nnot %s", merge_rows[i].name, text.ptr, want.ptr);
        if (page.has_more) {
            const char *last = merge_rows[i].want + strlen(merge_rows[i].want) - 1;
            struct digest d = digest_ending_in(*last | 0x20);
            assert_true(digest_equal(&page.last, &d));
        }
        strbuf_fini(&text);
        strbuf_fini(&want);
        referrer_list_free(&ours);
        referrer_list_free(&theirs);
    }
}

static void test_bytes(void **state)
{
    struct referrer_list *ours = list_of("abcdef", "o/o");
    size_t one = referrer_list_descriptor(ours, 0).len;
    struct referrer_page_spec spec = {.ours = ours, .n_max = 100};

    (void)state;
    for (size_t n = 1; n <= 6; n++) {
        struct strbuf text = STRBUF_INIT;
        struct referrer_page page;
        size_t frame = strlen(START);
        spec.bytes_max = frame + n * (one + 1) - 1;
        referrer_page_print(&spec, &text, &page);
        assert_int_equal(page.has_more, n < 6);
        assert_int_equal(text.len, frame + n * (one + 1) - 1 + 2);
        strbuf_fini(&text);
    }
    /* One is told whatever its size. */
    struct strbuf text = STRBUF_INIT;
    struct referrer_page page;
    spec.bytes_max = 1;
    referrer_page_print(&spec, &text, &page);
    assert_true(page.has_more && text.len > one);
    strbuf_fini(&text);
    referrer_list_free(&ours);
}

#define PATH "/v2/x/referrers/" DIGEST("1")

static const struct {
    const char *link;
    int rc;
    const char *query;
} link_rows[] = {
    {"", -ENOENT, ""},
    {"<" PATH "?a=b>; rel=\"next\"", 0, "a=b"},
    {"<" PATH "?a=b>; rel=next", 0, "a=b"},
    {"<" PATH "?a=b>;rel=\"prev next\"", 0, "a=b"},
    {" < " PATH "?a=b>;rel=\"next\"", 0, "a=b"},
    {"<http://h:1/prefix" PATH "?a=%2F+&c=d?e#f>; REL = \"NEXT\"", 0, "a=%2F+&c=d?e"},
    {"<?a=b>; rel=\"next\"", 0, "a=b"},
    {"</v2/x/referrers/sha256%3a" ZEROS "1?a=b>; rel=\"next\"", 0, "a=b"},
    {"<" PATH "?a=b>; rel=\"prev\", <" PATH "?c=d>; rel=\"next\"", 0, "c=d"},
    {"<" PATH "?a=b>; title=\"x, <y>; rel=next\", <" PATH "?c=d>; rel=\"next\"", 0, "c=d"},
    {"<" PATH "?a=b>; title=x; rel=next; type=y", 0, "a=b"},
    {"<" PATH "?a=b>; rel=\"prev\"", -ENOENT, ""},
    {"<" PATH "?a=b>", -ENOENT, ""},
    {"<" PATH "?a=b>; rel", -ENOENT, ""},
    {"<" PATH "?a=b>; rel=\"", -ENOENT, ""},
    {"<" PATH "?a=b; rel=next", -ENOENT, ""},
    {"x", -ENOENT, ""},
    {"<", -ENOENT, ""},
    {"<>", -ENOENT, ""},
    {",,,", -ENOENT, ""},
    {"<>; rel=next", -EBADMSG, ""},
    {"<" PATH ">; rel=next", -EBADMSG, ""},
    {"<" PATH "?>; rel=next", -EBADMSG, ""},
    {"<" PATH "#?a=b>; rel=next", -EBADMSG, ""},
    {"</v2/x/referrers/" DIGEST("2") "?a=b>; rel=next", -EBADMSG, ""},
    {"</v2/x/tags/list?a=b>; rel=next", -EBADMSG, ""},
    {"</v2/x/referrers/%zz?a=b>; rel=next", -EBADMSG, ""},
};

static void test_links(void **state)
{
    struct digest subject = digest_ending_in('1');

    (void)state;
    for (size_t i = 0; i < N_ROWS(link_rows); i++) {
        struct strbuf query = STRBUF_INIT;
        int rc = referrer_page_next(slice_of(link_rows[i].link), &subject, &query);
        if (rc != link_rows[i].rc || strcmp(query.ptr ? query.ptr : "", link_rows[i].query) != 0)
            fail_msg("%s: %d %s", link_rows[i].link, rc, query.ptr ? query.ptr : "");
        strbuf_fini(&query);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_links),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
