/* From a file, a flavor and an environment to a struct config, or to a list of problems. */
#include "config.h"

#include "mirrord/configuration.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/check.h"
#include "mirrord/config_private.h"
#include "mirrord/sample.h"
#include "mirrord/yaml_tree.h"

#define SAMPLE_NAME "the compiled-in sample"
#define ENV_PREFIX "_env:"

/* A tree that holds what is being read; freed when loading ends. */
struct kept_tree {
    struct kept_tree *next;
    struct yaml_tree *tree;
};

/* A node that was made here; the same. */
struct kept_node {
    struct kept_node *next;
    struct yaml_pair *pairs; /* own */
    struct yaml_node node;
};

struct loader {
    const char *const *environment;
    const char *file;
    struct strbuf *problems;
    struct kept_tree *trees;
    struct kept_node *nodes;
    struct config *config;
    bool is_sample;
    bool is_seen[OPT_MAX]; /* the file has a line for it */
};

/* Where a value stands while it is read. */
struct place {
    const struct yaml_node *node;
    unsigned line;    /* 0: not from the file */
    struct slice env; /* the variable that gave it; ptr NULL: none */
    struct slice raw; /* that variable's text */
};

/* "file:line: key: " in front of what is wrong. */
static void begin_problem(struct loader *l, const struct place *at, const char *key)
{
    if (at->line)
        strbuf_addf(l->problems, "%s:%u: ", l->file, at->line);
    else
        strbuf_add_str(l->problems, "environment: ");
    if (key)
        strbuf_addf(l->problems, "%s: ", key);
}

/* A key that stands twice is told and not refused, because files of the legacy registry have to
 * start. inside: the mapping, or NULL. */
static void warn_doubled(struct loader *l, const struct place *at, const char *inside,
                         const struct yaml_pair *pair)
{
    struct strbuf *out = &l->config->warnings;

    if (!pair->line_before)
        return;
    /* Lines inside a variable's text say nothing. */
    strbuf_addf(out, "%s:%u: %s%s", l->file, at->raw.ptr ? at->line : pair->line,
                inside ? inside : "", inside ? "." : "");
    strbuf_add_json(out, pair->key);
    if (at->raw.ptr)
        strbuf_add_str(out, ": stands twice there");
    else
        strbuf_addf(out, ": stands on line %u, too", pair->line_before);
    strbuf_add_str(out, "; the last one counts\n");
}

/* The same for all that is in the value of one option. */
static void warn_doubled_inside(struct loader *l, const struct place *at, const char *key)
{
    for (size_t i = 0; i < at->node->n_pairs; i++) {
        struct place inner = *at;
        inner.node = at->node->pairs[i].value;
        warn_doubled(l, at, key, &at->node->pairs[i]);
        warn_doubled_inside(l, &inner, key);
    }
}

static const char *env_find(const struct loader *l, struct slice name)
{
    if (name.len == 0)
        return NULL;
    for (const char *const *e = l->environment; *e; e++)
        if (strncmp(*e, name.ptr, name.len) == 0 && (*e)[name.len] == '=')
            return *e + name.len + 1;
    return NULL;
}

/* The variable's text; where the option's own variable is not set, its second one counts. */
static const char *env_find_for(const struct loader *l, enum option id, struct slice *name)
{
    const char *text = env_find(l, *name);
    if (text || id == OPT_MAX || !option_row(id)->env || !option_alias(id) ||
        !slice_equal(*name, slice_of(option_row(id)->env)))
        return text;
    text = env_find(l, slice_of(option_alias(id)));
    if (text)
        *name = slice_of(option_alias(id));
    return text;
}

static struct yaml_tree *keep_tree(struct loader *l, struct yaml_tree *tree)
{
    struct kept_tree *kept = xmalloc(sizeof(*kept));
    *kept = (struct kept_tree){l->trees, tree};
    l->trees = kept;
    return tree;
}

/* "*" and "!x" begin a list of patterns, and mean something else in YAML, which is not asked: it
 * would take the '!' off, and turn an exclusion into its contrary. */
static bool is_plain_list(enum option id, struct slice raw)
{
    raw = slice_trim(raw);
    return id != OPT_MAX && (option_row(id)->flags & OPTION_F_SPLIT) &&
           (slice_starts(raw, SLICE("*")) || slice_starts(raw, SLICE("!")));
}

/* The text in quotes, as YAML. */
static int parse_as_quoted(struct slice raw, struct yaml_tree **tree, struct yaml_problem *problem)
{
    struct strbuf quoted = STRBUF_INIT;

    strbuf_add_char(&quoted, '\'');
    for (size_t i = 0; i < raw.len; i++) {
        strbuf_add_char(&quoted, raw.ptr[i]);
        if (raw.ptr[i] == '\'')
            strbuf_add_char(&quoted, '\'');
    }
    strbuf_add_char(&quoted, '\'');
    int rc = yaml_tree_parse((struct slice){quoted.ptr, quoted.len}, tree, problem);
    strbuf_fini(&quoted);
    return rc;
}

/* "[::1]:5001" begins like a YAML list and is none. Where addresses are expected it is a text. */
static int parse_as_address(enum option id, struct slice raw, struct yaml_tree **tree)
{
    struct yaml_problem ignored;

    if (id == OPT_MAX ||
        !(option_row(id)->type == OPTION_ADDRESS || (option_row(id)->flags & OPTION_F_ADDRESSES)) ||
        !slice_starts(raw, SLICE("[")) || memchr(raw.ptr, '\'', raw.len))
        return -EINVAL;
    return parse_as_quoted(raw, tree, &ignored);
}

/* Parses the text of a variable, or the default behind it in the file, as YAML. */
static int parse_text(struct loader *l, enum option id, const char *key, struct place *at)
{
    struct yaml_problem problem;
    struct yaml_tree *tree;
    /* Of a whole group nobody knows what is in it, and among the upstreams stand passwords. */
    bool is_secret =
        id == OPT_MAX || (option_row(id)->flags & (OPTION_F_SECRET | OPTION_F_UPSTREAMS));
    int rc = is_plain_list(id, at->raw) ? parse_as_quoted(at->raw, &tree, &problem)
                                        : yaml_tree_parse(at->raw, &tree, &problem);
    if (rc == 0 || parse_as_address(id, at->raw, &tree) == 0) {
        at->node = yaml_tree_root(keep_tree(l, tree));
        return 0;
    }
    struct slice shown = at->raw.len > 80 ? (struct slice){at->raw.ptr, 80} : at->raw;
    begin_problem(l, at, key);
    strbuf_addf(l->problems, "Config `%.*s` (value: `", SLICE_ARG(at->env));
    strbuf_add_json(l->problems, is_secret ? SLICE("****") : shown);
    strbuf_addf(l->problems, "`) is not valid: %s; allowed: YAML, text in quotes if need be\n",
                problem.text);
    return -EINVAL;
}

/* "_env:NAME[:DEFAULT]": puts what it stands for into *at. What comes out is not expanded again. */
static int expand(struct loader *l, enum option id, const char *key, struct place *at)
{
    const struct yaml_node *node = at->node;
    if (node->kind != YAML_NODE_IS_SCALAR || node->scalar.kind != YAML_SCALAR_TEXT ||
        !slice_starts(node->text, SLICE(ENV_PREFIX)))
        return 0;
    struct slice rest = {node->text.ptr + strlen(ENV_PREFIX), node->text.len - strlen(ENV_PREFIX)};
    struct slice name = slice_cut(&rest, ':');
    const char *text = env_find_for(l, id, &name);
    at->env = name;
    at->raw = text ? slice_of(text) : rest.ptr ? rest : SLICE("");
    int rc = parse_text(l, id, key, at);
    if (!text)
        at->env = SLICE_NONE;
    return rc;
}

/* A copy of the node in which every _env:NAME[:DEFAULT] stands for what it means; NULL: one of them
 * cannot be read, which has been told. */
static const struct yaml_node *expand_inside(struct loader *l, const struct yaml_node *node)
{
    struct place at = {node, node->line, SLICE_NONE, SLICE_NONE};

    if (node->kind == YAML_NODE_IS_SCALAR && expand(l, OPT_MAX, "mirroring.upstreams", &at) < 0)
        return NULL;
    struct kept_node *copy = xcalloc(1, sizeof(*copy));
    copy->next = l->nodes;
    l->nodes = copy;
    copy->node = *at.node;
    copy->node.line = node->line;
    if (node->kind == YAML_NODE_IS_SCALAR)
        return &copy->node;
    copy->pairs = xcalloc(node->n_pairs + 1, sizeof(*copy->pairs));
    copy->node.pairs = copy->pairs;
    for (size_t i = 0; i < node->n_pairs; i++) {
        copy->pairs[i] = node->pairs[i];
        copy->pairs[i].value = expand_inside(l, node->pairs[i].value);
        if (!copy->pairs[i].value)
            return NULL;
    }
    return &copy->node;
}

/* What the compiled-in sample says is a default, unless its flavor says something else. */
static bool is_sample_default(const struct loader *l, enum option id, const struct place *at,
                              const struct config_value *value)
{
    return l->is_sample && !at->env.ptr && config_value_equal(value, &l->config->values[id]);
}

/* Reads one option from where it stands. Null leaves the default. */
static void read_option(struct loader *l, enum option id, struct place at)
{
    const struct option_row *row = option_row(id);
    struct strbuf wrong = STRBUF_INIT;
    struct config_value value;
    if (config_value_read(row, at.node, at.raw, &value, &wrong) < 0) {
        if (value.line && at.line && !at.env.ptr)
            at.line = value.line;
        begin_problem(l, &at, row->key);
        if (at.env.ptr)
            strbuf_addf(l->problems, "%.*s=", SLICE_ARG(at.env));
        strbuf_addf(l->problems, "%s\n", wrong.ptr);
    } else if (value.is_null || is_sample_default(l, id, &at, &value)) {
        config_value_fini(&value);
    } else {
        config_value_fini(&l->config->values[id]);
        value.origin = at.env.ptr ? CONFIG_ENVIRONMENT : CONFIG_FILE;
        value.line = at.line;
        value.env = at.env.ptr ? xmemdup0(at.env.ptr, at.env.len) : NULL;
        l->config->values[id] = value;
        warn_doubled_inside(l, &at, row->key);
    }
    strbuf_fini(&wrong);
}

static void report_unknown(struct loader *l, const struct place *at, const char *key)
{
    enum option near = option_nearest(slice_of(key));
    strbuf_addf(l->problems, "%s:%u: ", l->file, at->line);
    strbuf_add_json(l->problems, slice_of(key));
    if (near != OPT_MAX)
        strbuf_addf(l->problems, ": unknown key; did you mean %s?", option_row(near)->key);
    else
        strbuf_add_str(l->problems, ": unknown key");
    strbuf_add_str(l->problems, "; allowed: the keys of mirrord.conf(5)\n");
}

/* One key and its value, at the top of a flavor or in a group. */
static void read_pair(struct loader *l, const char *key, struct place at)
{
    enum option id = option_find(slice_of(key));
    if (id == OPT_MAX) {
        report_unknown(l, &at, key);
        return;
    }
    l->is_seen[id] = true;
    if (expand(l, id, key, &at) < 0)
        return;
    if (id != OPT_MAX && (option_row(id)->flags & OPTION_F_UPSTREAMS) && !at.raw.ptr)
        at.node = expand_inside(l, at.node);
    if (at.node)
        read_option(l, id, at);
}

/* All keys of a group; a group that is null has none. */
static void read_group(struct loader *l, struct slice group, struct place at)
{
    char *name = xmemdup0(group.ptr, group.len);
    bool is_usable = expand(l, OPT_MAX, name, &at) == 0;
    if (is_usable && at.node->kind == YAML_NODE_IS_SCALAR &&
        at.node->scalar.kind == YAML_SCALAR_NULL) {
        is_usable = false;
    } else if (is_usable && at.node->kind != YAML_NODE_IS_MAP) {
        begin_problem(l, &at, name);
        strbuf_add_str(l->problems, "not a mapping; allowed: a mapping of this group's options\n");
        is_usable = false;
    }
    for (size_t i = 0; is_usable && i < at.node->n_pairs; i++) {
        const struct yaml_pair *pair = &at.node->pairs[i];
        /* Lines inside a variable's text say nothing; the line that asked for it does. */
        struct place inner = {pair->value, at.raw.ptr ? at.line : pair->line, at.env, at.raw};
        char *key = xasprintf("%s.%.*s", name, SLICE_ARG(pair->key));
        warn_doubled(l, &at, name, pair);
        read_pair(l, key, inner);
        free(key);
    }
    free(name);
}

/* At the file's top level, other flavors stand beside the options: mappings that are anchored or
 * merge others. */
static bool is_other_flavor(const struct loader *l, const struct yaml_pair *pair)
{
    return *l->config->flavor == '\0' && pair->value->is_template;
}

static void read_flavor(struct loader *l, const struct yaml_node *flavor)
{
    for (size_t i = 0; i < flavor->n_pairs; i++) {
        const struct yaml_pair *pair = &flavor->pairs[i];
        struct place at = {pair->value, pair->line, SLICE_NONE, SLICE_NONE};
        enum option id = option_find(pair->key);
        bool is_dotted = memchr(pair->key.ptr, '.', pair->key.len);
        warn_doubled(l, &at, NULL, pair);
        if (option_is_group(pair->key)) {
            read_group(l, pair->key, at);
        } else if (id != OPT_MAX && !is_dotted) {
            read_pair(l, option_row(id)->key, at);
        } else if (!is_other_flavor(l, pair)) {
            char *key = xmemdup0(pair->key.ptr, pair->key.len);
            report_unknown(l, &at, key);
            free(key);
        }
    }
}

/* Options without a line in the file take their variable directly. */
static void read_environment(struct loader *l)
{
    for (enum option id = 0; id < OPT_MAX; id++) {
        const struct option_row *row = option_row(id);
        if (l->is_seen[id] || !row->env || (row->flags & OPTION_F_DRIVER))
            continue;
        struct slice name = slice_of(row->env);
        const char *text = env_find_for(l, id, &name);
        if (!text)
            continue;
        struct place at = {NULL, 0, name, slice_of(text)};
        if (parse_text(l, id, row->key, &at) == 0)
            read_option(l, id, at);
    }
}

/* The mapping of the flavor, or NULL with the problem told. */
static const struct yaml_node *find_flavor(struct loader *l, const struct yaml_node *root)
{
    static const struct yaml_node empty = {.kind = YAML_NODE_IS_MAP};
    const char *flavor = l->config->flavor;
    const struct yaml_node *node = *flavor ? yaml_node_find(root, flavor) : root;
    const char *between = " ";
    if (node && node->kind == YAML_NODE_IS_MAP)
        return node;
    if (node && node->kind == YAML_NODE_IS_SCALAR && node->scalar.kind == YAML_SCALAR_NULL)
        return &empty;
    if (node) {
        strbuf_addf(l->problems, "%s:%u: %s: not a mapping; allowed: a mapping of options\n",
                    l->file, node->line, *flavor ? flavor : "the top level");
        return NULL;
    }
    strbuf_addf(l->problems, "%s: the flavor `%s` is missing; allowed:", l->file, flavor);
    for (size_t i = 0; root->kind == YAML_NODE_IS_MAP && i < root->n_pairs; i++) {
        strbuf_addf(l->problems, "%s%.*s", between, SLICE_ARG(root->pairs[i].key));
        between = ", ";
    }
    strbuf_add_str(l->problems, root->n_pairs ? "\n" : " none, the file is empty\n");
    return NULL;
}

static void warn_doubled_flavor(struct loader *l, const struct yaml_node *root)
{
    struct place at = {root, 0, SLICE_NONE, SLICE_NONE};

    for (size_t i = 0; *l->config->flavor && i < root->n_pairs; i++)
        if (slice_equal(root->pairs[i].key, slice_of(l->config->flavor)))
            warn_doubled(l, &at, NULL, &root->pairs[i]);
}

static int load_text(struct loader *l, struct slice text)
{
    struct yaml_problem problem;
    struct yaml_tree *tree;
    size_t n_before = l->problems->len;
    if (yaml_tree_parse(text, &tree, &problem) < 0) {
        strbuf_addf(l->problems, "%s:%u: Config is not valid yaml: %s\n", l->file, problem.line,
                    problem.text);
        return -EINVAL;
    }
    const struct yaml_node *root = yaml_tree_root(keep_tree(l, tree));
    const struct yaml_node *flavor = find_flavor(l, root);
    if (!flavor)
        return -EINVAL;
    warn_doubled_flavor(l, root);
    for (enum option id = 0; id < OPT_MAX; id++)
        config_value_preset(option_row(id), &l->config->values[id]);
    read_flavor(l, flavor);
    read_environment(l);
    return l->problems->len > n_before ? -EINVAL : 0;
}

/* Reads up to a little more than a YAML tree takes. */
static int read_fd(int fd, struct strbuf *out)
{
    char chunk[16384];
    while (out->len <= YAML_TREE_BYTES_MAX) {
        ssize_t n = read(fd, chunk, sizeof(chunk));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return 0;
        strbuf_add(out, chunk, (size_t)n);
    }
    return 0;
}

static int read_file(const char *path, struct strbuf *out, struct strbuf *problems)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? -errno : read_fd(fd, out);
    if (fd >= 0)
        close(fd);
    if (rc == -ENOENT)
        strbuf_addf(problems, "%s: Heads-up! File is missing\n", path);
    else if (rc < 0)
        strbuf_addf(problems, "%s: cannot be read: %s\n", path, strerror(-rc));
    return rc;
}

/* The text to load: given, of a file, or the sample. */
static int get_text(struct loader *l, const struct config_source *source, struct strbuf *text)
{
    if (source->text.ptr) {
        strbuf_add_slice(text, source->text);
        return 0;
    }
    if (l->file)
        return read_file(l->file, text, l->problems);
    l->is_sample = true;
    sample_print(text);
    return 0;
}

static void free_trees(struct loader *l)
{
    while (l->trees) {
        struct kept_tree *kept = l->trees;
        l->trees = kept->next;
        yaml_tree_free(&kept->tree);
        free(kept);
    }
    while (l->nodes) {
        struct kept_node *node = l->nodes;
        l->nodes = node->next;
        free(node->pairs);
        free(node);
    }
}

int config_load(const struct config_source *source, struct config **out,
                struct strbuf *problems_out)
{
    struct loader l = {.problems = problems_out};
    struct strbuf text = STRBUF_INIT;
    CHECK(source && out && problems_out);
    l.environment = source->environment ? source->environment : (const char *const *)environ;
    l.file = source->path;
    if (!l.file && !source->text.ptr)
        l.file = env_find(&l, SLICE("DOCKER_REGISTRY_CONFIG"));
    if (l.file && *l.file == '\0')
        l.file = NULL;
    const char *flavor = source->flavor ? source->flavor : env_find(&l, SLICE("SETTINGS_FLAVOR"));
    int rc = get_text(&l, source, &text);
    if (!l.file)
        l.file = SAMPLE_NAME;
    l.config = config_new(l.file, flavor ? flavor : "dev");
    if (rc == 0)
        rc = load_text(&l, (struct slice){text.ptr, text.len});
    strbuf_fini(&text);
    free_trees(&l);
    if (rc < 0) {
        config_unref(&l.config);
        return rc;
    }
    *out = l.config;
    return 0;
}
