#include "config.h"

#include "mirrord/options.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "mirrord/configuration.h"
#include "mirrord/options_man.h"
#include "mirrord/sample.h"
#include "mirrord/yaml_tree.h"
#include "tests/unit/unit.h"

static const char *const ENUM_NAMES[] = {
#define OPTION(id, key, env, type, preset, min, max, allowed, flags, doc) #id,
#define OPTION_ALIAS(id, env)
#include "mirrord/options.def"
#undef OPTION
#undef OPTION_ALIAS
};

static FILE *open_source(const char *name, const char *mode)
{
    char path[PATH_MAX];
    const char *top = getenv("srcdir");
    snprintf(path, sizeof(path), "%s/%s", top ? top : ".", name);
    FILE *file = fopen(path, mode);
    if (!file)
        fail_msg("%s cannot be opened", path);
    return file;
}

static void read_source(const char *name, struct strbuf *out)
{
    char chunk[4096];
    size_t n;
    FILE *file = open_source(name, "r");
    while ((n = fread(chunk, 1, sizeof(chunk), file)) > 0)
        strbuf_add(out, chunk, n);
    fclose(file);
}

/* The committed file is what the table makes. With UPDATE_GENERATED=1 it is written instead. */
static void assert_generated(const char *name, const struct strbuf *text)
{
    struct strbuf committed = STRBUF_INIT;
    if (getenv("UPDATE_GENERATED")) {
        FILE *file = open_source(name, "w");
        assert_int_equal(fwrite(text->ptr, 1, text->len, file), text->len);
        assert_int_equal(fclose(file), 0);
    }
    read_source(name, &committed);
    if (!slice_equal((struct slice){text->ptr, text->len},
                     (struct slice){committed.ptr, committed.len}))
        fail_msg("%s is not what the table of options makes of it; run this test with "
                 "UPDATE_GENERATED=1",
                 name);
    strbuf_fini(&committed);
}

/* The enum's name is the key in upper case. */
static void test_names(void **state)
{
    (void)state;
    for (enum option id = 0; id < OPT_MAX; id++) {
        const char *key = option_row(id)->key;
        const char *name = ENUM_NAMES[id];
        assert_int_equal(strlen(key), strlen(name));
        for (size_t i = 0; key[i]; i++)
            assert_int_equal(name[i], key[i] == '.' ? '_' : toupper(key[i]));
        assert_int_equal(option_find(slice_of(key)), id);
    }
    assert_int_equal(option_find(SLICE("nonsense")), OPT_MAX);
}

/* Every row is complete and sensible. */
static void test_rows(void **state)
{
    (void)state;
    for (enum option id = 0; id < OPT_MAX; id++) {
        const struct option_row *row = option_row(id);
        bool is_number = row->type == OPTION_INT || row->type == OPTION_PERCENT ||
                         row->type == OPTION_BYTES || row->type == OPTION_SPACE ||
                         row->type == OPTION_DURATION;
        size_t doc_len = strlen(row->doc);
        if (doc_len < 8 || row->doc[doc_len - 1] != '.' || !isalnum(row->doc[0]))
            fail_msg("%s has no documentation", row->key);
        if (is_number != (row->min < row->max))
            fail_msg("%s has wrong limits", row->key);
        if (row->type != OPTION_PERCENT && (row->type == OPTION_ENUM) != (row->allowed != NULL))
            fail_msg("%s has wrong words", row->key);
        if (!row->env && !(row->flags & OPTION_F_UNBUILT) && id != OPT_ISSUE && id != OPT_STORAGE)
            fail_msg("%s has no environment variable", row->key);
        if (strstr(row->key, "password") || strstr(row->key, "secret"))
            assert_true(row->flags & OPTION_F_SECRET);
        assert_non_null(option_type_name(row->type));
    }
}

/* Options of a group stand together, so that a group is printed once. */
static void test_groups(void **state)
{
    (void)state;
    for (enum option id = 1; id < OPT_MAX; id++) {
        struct slice group = option_group(id);
        if (group.len == 0 || slice_equal(group, option_group(id - 1)))
            continue;
        for (enum option before = 0; before < id; before++)
            if (slice_equal(option_group(before), group))
                fail_msg("%s stands apart from its group", option_row(id)->key);
        assert_int_equal(option_find(group), OPT_MAX);
        assert_true(option_is_group(group));
    }
    assert_true(slice_equal(option_group(OPT_MIRRORING_SOURCE), SLICE("mirroring")));
    assert_string_equal(option_name(OPT_MIRRORING_SOURCE), "source");
    assert_string_equal(option_name(OPT_ISSUE), "issue");
    assert_int_equal(option_group(OPT_ISSUE).len, 0);
    assert_false(option_is_group(SLICE("")));
    assert_false(option_is_group(SLICE("issue")));
}

static void test_nearest(void **state)
{
    static const struct {
        const char *key;
        enum option nearest;
    } ROWS[] = {
        {"loglevl", OPT_LOGLEVEL},
        {"mirroring.tag_cache_ttl", OPT_MIRRORING_TAGS_CACHE_TTL},
        {"storagepath", OPT_STORAGE_PATH},
        {"something else", OPT_MAX},
        {"x", OPT_MAX},
        {"", OPT_MAX},
    };

    (void)state;
    for (size_t i = 0; i < N_ROWS(ROWS); i++)
        assert_int_equal(option_nearest(slice_of(ROWS[i].key)), ROWS[i].nearest);
}

static void test_aliases(void **state)
{
    (void)state;
    assert_string_equal(option_alias(OPT_REGISTRY_WORKERS), "GUNICORN_WORKERS");
    assert_null(option_alias(OPT_MIRRORING_SOURCE));
}

/* Whether the file has a line for a key, in any flavor. */
static bool has_line(const struct yaml_node *root, enum option id)
{
    for (size_t i = 0; i < root->n_pairs; i++) {
        const struct yaml_node *node = root->pairs[i].value;
        if (option_group(id).len) {
            char *group = xmemdup0(option_group(id).ptr, option_group(id).len);
            node = yaml_node_find(node, group);
            free(group);
        }
        if (node && yaml_node_find(node, option_name(id)))
            return true;
    }
    return false;
}

/* The sample has every option with its comment, loads in every flavor, and says nothing but the
 * defaults in `common`. */
static void test_sample(void **state)
{
    static const char *const nothing[] = {NULL};
    struct strbuf text = STRBUF_INIT;
    struct strbuf problems = STRBUF_INIT;
    struct yaml_tree *tree;
    struct yaml_problem problem;

    (void)state;
    sample_print(&text);
    assert_generated("deploy/config_sample.yml", &text);
    assert_int_equal(yaml_tree_parse((struct slice){text.ptr, text.len}, &tree, &problem), 0);
    const struct yaml_node *root = yaml_tree_root(tree);
    for (enum option id = 0; id < OPT_MAX; id++)
        if (!has_line(root, id))
            fail_msg("%s has no line in the sample", option_row(id)->key);
    for (size_t i = 0; i < root->n_pairs; i++) {
        char *flavor = xmemdup0(root->pairs[i].key.ptr, root->pairs[i].key.len);
        struct config_source source = {
            .flavor = flavor, .text = {text.ptr, text.len}, .environment = nothing};
        struct config *c = NULL;
        if (config_load(&source, &c, &problems) < 0)
            fail_msg("%s: %s", flavor, problems.ptr);
        if (strcmp(flavor, "common") == 0)
            assert_int_equal(config_unbuilt(c, &problems), 0);
        config_unref(&c);
        free(flavor);
    }
    yaml_tree_free(&tree);
    strbuf_fini(&text);
    strbuf_fini(&problems);
}

/* The manual page has every option, and is what the table makes of its frame. */
static void test_manual(void **state)
{
    struct strbuf frame = STRBUF_INIT;
    struct strbuf page = STRBUF_INIT;

    (void)state;
    read_source("docs/man/mirrord.conf.5.in", &frame);
    assert_int_equal(options_print_man_page((struct slice){frame.ptr, frame.len}, &page), 0);
    for (enum option id = 0; id < OPT_MAX; id++) {
        char item[100];
        snprintf(item, sizeof(item), ".It Cm %s\n", option_row(id)->key);
        if (!strstr(page.ptr, item))
            fail_msg("%s is not in the manual page", option_row(id)->key);
    }
    assert_generated("docs/man/mirrord.conf.5", &page);
    strbuf_clear(&page);
    assert_true(options_print_man_page(SLICE("no marker"), &page) < 0);
    assert_int_equal(page.len, 0);
    strbuf_fini(&frame);
    strbuf_fini(&page);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),   cmocka_unit_test(test_rows),
        cmocka_unit_test(test_groups),  cmocka_unit_test(test_nearest),
        cmocka_unit_test(test_aliases), cmocka_unit_test(test_sample),
        cmocka_unit_test(test_manual),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
