#include "config.h"

#include "mirrord/yaml_tree.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yaml.h>

#include "base/alloc.h"
#include "base/check.h"

#define ANCHORS_MAX 1000

struct yaml_tree {
    struct yaml_node *root;
    struct yaml_node *nodes; /* all of them, for freeing */
    size_t n_expanded;       /* of everything so far, aliases and merges written out */
};

struct anchor {
    char *name;
    struct yaml_node *node;
};

/* A list or mapping whose end has not come. */
struct frame {
    struct yaml_node *node;
    struct yaml_node *key; /* a mapping's, when its value comes next */
    bool is_merge_key;
    struct yaml_pair *merged; /* values of << keys */
    size_t n_merged;
};

struct builder {
    struct yaml_tree *tree;
    struct yaml_problem *problem;
    unsigned line; /* of the event at hand */
    unsigned depth;
    struct frame stack[YAML_TREE_DEPTH_MAX];
    struct anchor *anchors;
    size_t n_anchors;
    bool has_document;
};

/* Notes what is wrong at the event at hand. Texts of the document are not repeated: a password that
 * begins with ! or * would be among them. */
static int __attribute__((format(printf, 2, 3))) fail(struct builder *b, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(b->problem->text, sizeof(b->problem->text), fmt, ap);
    va_end(ap);
    b->problem->line = b->line;
    return -EINVAL;
}

static struct yaml_node *node_new(struct builder *b, enum yaml_node_kind kind)
{
    struct yaml_node *node = xcalloc(1, sizeof(*node));
    node->kind = kind;
    node->line = b->line;
    node->n_expanded = 1;
    node->next = b->tree->nodes;
    b->tree->nodes = node;
    return node;
}

/* Counts n nodes more, as if they were written out. */
static int grow(struct builder *b, size_t n)
{
    b->tree->n_expanded += n;
    if (b->tree->n_expanded > YAML_TREE_NODES_MAX)
        return fail(b, "too large: more than %d values, aliases written out", YAML_TREE_NODES_MAX);
    return 0;
}

static int add_anchor(struct builder *b, const yaml_char_t *name, struct yaml_node *node)
{
    if (!name)
        return 0;
    if (b->n_anchors == ANCHORS_MAX)
        return fail(b, "more than %d anchors", ANCHORS_MAX);
    node->is_template = node->kind == YAML_NODE_IS_MAP;
    b->anchors = xrealloc(b->anchors, (b->n_anchors + 1) * sizeof(*b->anchors));
    b->anchors[b->n_anchors].name = xstrdup((const char *)name);
    b->anchors[b->n_anchors].node = node;
    b->n_anchors++;
    return 0;
}

/* The latest anchor of this name. */
static struct yaml_node *find_anchor(const struct builder *b, const char *name)
{
    for (size_t i = b->n_anchors; i > 0; i--)
        if (strcmp(b->anchors[i - 1].name, name) == 0)
            return b->anchors[i - 1].node;
    return NULL;
}

static void pairs_push(struct yaml_pair **pairs, size_t *n, struct yaml_pair pair)
{
    if ((*n & (*n - 1)) == 0) /* full at every power of two */
        *pairs = xrealloc(*pairs, (*n ? *n * 2 : 1) * sizeof(**pairs));
    (*pairs)[(*n)++] = pair;
}

/* Adds a pair to a mapping; of equal keys the later one wins, at the place of the first. */
static int map_put(struct builder *b, struct yaml_node *map, struct yaml_pair pair)
{
    for (size_t i = 0; i < map->n_pairs; i++) {
        if (slice_equal(map->pairs[i].key, pair.key)) {
            map->pairs[i] = pair;
            return 0;
        }
    }
    if (map->n_pairs == YAML_TREE_KEYS_MAX)
        return fail(b, "more than %d keys in one mapping", YAML_TREE_KEYS_MAX);
    pairs_push(&map->pairs, &map->n_pairs, pair);
    return 0;
}

/* The same for a key that stands in the mapping itself: there it should stand once. */
static int map_put_own(struct builder *b, struct yaml_node *map, struct yaml_pair pair)
{
    for (size_t i = 0; i < map->n_pairs; i++)
        if (slice_equal(map->pairs[i].key, pair.key))
            pair.line_before = map->pairs[i].line;
    return map_put(b, map, pair);
}

/* Adds all pairs of another mapping, as << does. */
static int map_merge(struct builder *b, struct yaml_node *map, const struct yaml_node *from)
{
    if (from->kind != YAML_NODE_IS_MAP)
        return fail(b, "<< wants a mapping or a list of mappings");
    int rc = grow(b, from->n_pairs);
    for (size_t i = 0; i < from->n_pairs && rc == 0; i++)
        rc = map_put(b, map, from->pairs[i]);
    return rc;
}

/* Of a list of mappings the earlier ones win, so they are put in last. */
static int map_merge_list(struct builder *b, struct yaml_node *map, const struct yaml_node *from)
{
    int rc = 0;
    if (from->kind == YAML_NODE_IS_MAP)
        return map_merge(b, map, from);
    if (from->kind != YAML_NODE_IS_LIST)
        return fail(b, "<< wants a mapping or a list of mappings");
    for (size_t i = from->n_pairs; i > 0 && rc == 0; i--)
        rc = map_merge(b, map, from->pairs[i - 1].value);
    return rc;
}

/* Puts the merged mappings below the mapping's own keys. */
static int finish_merges(struct builder *b, struct frame *frame)
{
    struct yaml_node *map = frame->node;
    struct yaml_pair *own = map->pairs;
    size_t n_own = map->n_pairs;
    int rc = 0;
    if (frame->n_merged == 0)
        return 0;
    map->is_template = true;
    map->pairs = NULL;
    map->n_pairs = 0;
    for (size_t i = 0; i < frame->n_merged && rc == 0; i++)
        rc = map_merge_list(b, map, frame->merged[i].value);
    for (size_t i = 0; i < n_own && rc == 0; i++)
        rc = map_put(b, map, own[i]);
    free(own);
    return rc;
}

/* Hangs a finished or just begun node into what is open. */
static int place(struct builder *b, struct yaml_node *node)
{
    if (b->depth == 0) {
        b->tree->root = node;
        return 0;
    }
    struct frame *frame = &b->stack[b->depth - 1];
    if (frame->node->kind == YAML_NODE_IS_LIST) {
        struct yaml_pair item = {.key = SLICE_NONE, .line = node->line, .value = node};
        pairs_push(&frame->node->pairs, &frame->node->n_pairs, item);
        return 0;
    }
    if (!frame->key) {
        if (node->kind != YAML_NODE_IS_SCALAR)
            return fail(b, "a key must be a plain text");
        frame->key = node;
        return 0;
    }
    struct yaml_pair pair = {.key = frame->key->text, .line = frame->key->line, .value = node};
    frame->key = NULL;
    if (!frame->is_merge_key)
        return map_put_own(b, frame->node, pair);
    frame->is_merge_key = false;
    pairs_push(&frame->merged, &frame->n_merged, pair);
    return 0;
}

/* A tag says what a scalar is, whatever it looks like; only YAML's own tags are known. */
static int apply_tag(struct builder *b, const char *tag, struct yaml_node *node)
{
    static const struct {
        const char *tag;
        enum yaml_scalar_kind kind;
    } known[] = {
        {YAML_NULL_TAG, YAML_SCALAR_NULL},      {YAML_BOOL_TAG, YAML_SCALAR_BOOL},
        {YAML_INT_TAG, YAML_SCALAR_INT},        {YAML_FLOAT_TAG, YAML_SCALAR_FLOAT},
        {YAML_TIMESTAMP_TAG, YAML_SCALAR_DATE},
    };
    if (strcmp(tag, "!") == 0 || strcmp(tag, YAML_STR_TAG) == 0) {
        node->scalar = (struct yaml_scalar){.kind = YAML_SCALAR_TEXT};
        return 0;
    }
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        if (strcmp(tag, known[i].tag) != 0)
            continue;
        yaml_scalar_resolve(node->text, &node->scalar);
        if (node->scalar.kind != known[i].kind)
            return fail(b, "the value does not have the form that its tag announces");
        return 0;
    }
    return fail(b, "tags other than YAML's own are not allowed");
}

static int on_scalar(struct builder *b, const yaml_event_t *event)
{
    struct yaml_node *node = node_new(b, YAML_NODE_IS_SCALAR);
    struct frame *frame = b->depth ? &b->stack[b->depth - 1] : NULL;
    const char *value = (const char *)event->data.scalar.value;
    bool is_plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    int rc = grow(b, 1);
    node->text =
        (struct slice){xmemdup0(value, event->data.scalar.length), event->data.scalar.length};
    node->scalar.kind = YAML_SCALAR_TEXT;
    if (rc == 0 && event->data.scalar.tag)
        rc = apply_tag(b, (const char *)event->data.scalar.tag, node);
    else if (is_plain)
        yaml_scalar_resolve(node->text, &node->scalar);
    if (rc == 0)
        rc = add_anchor(b, event->data.scalar.anchor, node);
    if (rc < 0)
        return rc;
    if (frame && frame->node->kind == YAML_NODE_IS_MAP && !frame->key)
        frame->is_merge_key =
            is_plain && !event->data.scalar.tag && slice_equal(node->text, SLICE("<<"));
    return place(b, node);
}

static int on_alias(struct builder *b, const yaml_event_t *event)
{
    struct yaml_node *node = find_anchor(b, (const char *)event->data.alias.anchor);
    if (!node)
        return fail(b, "an alias without an anchor before it");
    if (node->is_open)
        return fail(b, "an alias inside what it stands for");
    int rc = grow(b, node->n_expanded);
    return rc < 0 ? rc : place(b, node);
}

static int on_start(struct builder *b, enum yaml_node_kind kind, const yaml_char_t *tag,
                    const yaml_char_t *anchor)
{
    const char *own = kind == YAML_NODE_IS_LIST ? YAML_SEQ_TAG : YAML_MAP_TAG;
    if (tag && strcmp((const char *)tag, own) != 0 && strcmp((const char *)tag, "!") != 0)
        return fail(b, "tags other than YAML's own are not allowed");
    if (b->depth == YAML_TREE_DEPTH_MAX)
        return fail(b, "nested deeper than %d", YAML_TREE_DEPTH_MAX);
    struct yaml_node *node = node_new(b, kind);
    node->is_open = true;
    int rc = grow(b, 1);
    if (rc == 0)
        rc = add_anchor(b, anchor, node);
    if (rc == 0)
        rc = place(b, node);
    if (rc == 0)
        b->stack[b->depth++] = (struct frame){.node = node};
    return rc;
}

static int on_end(struct builder *b)
{
    CHECK(b->depth > 0);
    struct frame *frame = &b->stack[b->depth - 1];
    struct yaml_node *node = frame->node;
    int rc = finish_merges(b, frame);
    for (size_t i = 0; i < node->n_pairs; i++)
        node->n_expanded += node->pairs[i].value->n_expanded + 1;
    node->is_open = false;
    free(frame->merged);
    b->depth--;
    return rc;
}

static int on_document(struct builder *b)
{
    if (b->has_document)
        return fail(b, "more than one document");
    b->has_document = true;
    return 0;
}

static int on_event(struct builder *b, const yaml_event_t *event)
{
    b->line = (unsigned)event->start_mark.line + 1;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return on_document(b);
    case YAML_SCALAR_EVENT:
        return on_scalar(b, event);
    case YAML_ALIAS_EVENT:
        return on_alias(b, event);
    case YAML_SEQUENCE_START_EVENT:
        return on_start(b, YAML_NODE_IS_LIST, event->data.sequence_start.tag,
                        event->data.sequence_start.anchor);
    case YAML_MAPPING_START_EVENT:
        return on_start(b, YAML_NODE_IS_MAP, event->data.mapping_start.tag,
                        event->data.mapping_start.anchor);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_end(b);
    default:
        return 0;
    }
}

/* Runs libyaml's parser to the end of the stream. */
static int run(struct builder *b, yaml_parser_t *parser)
{
    yaml_event_t event;
    bool is_end = false;
    int rc = 0;
    while (rc == 0 && !is_end) {
        if (!yaml_parser_parse(parser, &event)) {
            b->line = (unsigned)parser->problem_mark.line + 1;
            return fail(b, "%s%s%s", parser->problem ? parser->problem : "not readable",
                        parser->context ? " " : "", parser->context ? parser->context : "");
        }
        rc = on_event(b, &event);
        is_end = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    return rc;
}

static void builder_fini(struct builder *b)
{
    for (; b->depth > 0; b->depth--)
        free(b->stack[b->depth - 1].merged);
    for (size_t i = 0; i < b->n_anchors; i++)
        free(b->anchors[i].name);
    free(b->anchors);
}

int yaml_tree_parse(struct slice text, struct yaml_tree **out, struct yaml_problem *problem)
{
    struct builder b = {.problem = problem, .line = 1};
    yaml_parser_t parser;
    if (text.len > YAML_TREE_BYTES_MAX)
        return fail(&b, "larger than %d bytes", YAML_TREE_BYTES_MAX);
    CHECK(yaml_parser_initialize(&parser)); /* fails for want of memory only */
    b.tree = xcalloc(1, sizeof(*b.tree));
    yaml_parser_set_input_string(&parser, (const unsigned char *)(text.ptr ? text.ptr : ""),
                                 text.len);
    int rc = run(&b, &parser);
    yaml_parser_delete(&parser);
    builder_fini(&b);
    if (rc < 0) {
        yaml_tree_free(&b.tree);
        return rc;
    }
    if (!b.tree->root) {
        b.tree->root = node_new(&b, YAML_NODE_IS_SCALAR);
        b.tree->root->text = (struct slice){xstrdup(""), 0};
    }
    *out = b.tree;
    return 0;
}

void yaml_tree_free(struct yaml_tree **tree)
{
    struct yaml_tree *t = *tree;
    *tree = NULL;
    if (!t)
        return;
    while (t->nodes) {
        struct yaml_node *node = t->nodes;
        t->nodes = node->next;
        free((void *)(uintptr_t)node->text.ptr);
        free(node->pairs);
        free(node);
    }
    free(t);
}

const struct yaml_node *yaml_tree_root(const struct yaml_tree *tree)
{
    CHECK(tree && tree->root);
    return tree->root;
}

const struct yaml_node *yaml_node_find(const struct yaml_node *map, const char *key)
{
    if (map->kind != YAML_NODE_IS_MAP)
        return NULL;
    for (size_t i = 0; i < map->n_pairs; i++)
        if (slice_equal(map->pairs[i].key, slice_of(key)))
            return map->pairs[i].value;
    return NULL;
}
