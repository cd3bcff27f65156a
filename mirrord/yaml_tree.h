/*
 * A YAML 1.1 document as a tree of nodes that know their line. Aliases become shared nodes, merge
 * keys (<<) are done, of equal keys the last one wins and knows of the one before, tags other than
 * YAML's own are refused.
 *
 * The tree owns all nodes; they are constant after parsing and live until yaml_tree_free. Any
 * thread. Memory: the text is bounded by YAML_TREE_BYTES_MAX, nesting by YAML_TREE_DEPTH_MAX, and
 * the number of nodes, counted as if every alias and merge were written out, by
 * YAML_TREE_NODES_MAX, so that a small file cannot grow into a large one.
 */
#ifndef MIRRORD_YAML_TREE_H
#define MIRRORD_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "mirrord/yaml_scalar.h"

#define YAML_TREE_BYTES_MAX (1024 * 1024)
#define YAML_TREE_DEPTH_MAX 64
#define YAML_TREE_NODES_MAX 20000
#define YAML_TREE_KEYS_MAX 1000 /* of one mapping */

struct yaml_tree;

enum yaml_node_kind {
    YAML_NODE_IS_SCALAR,
    YAML_NODE_IS_LIST,
    YAML_NODE_IS_MAP,
    YAML_NODE_KIND_MAX
};

struct yaml_pair {
    struct slice key;     /* as written; unused in lists */
    unsigned line;        /* of the key */
    unsigned line_before; /* of the same key before it in this mapping; 0: there is none */
    const struct yaml_node *value;
};

struct yaml_node {
    enum yaml_node_kind kind;
    unsigned line;             /* from 1 */
    struct yaml_scalar scalar; /* scalars: the meaning; quoted ones are always text */
    struct slice text;         /* scalars: as written, unquoted, NUL-terminated */
    struct yaml_pair *pairs;   /* of lists and mappings */
    size_t n_pairs;
    bool is_template; /* a mapping that is anchored, or merges others */
    /* The rest is the parser's. */
    bool is_open; /* its end has not been seen: an alias to it would be a loop */
    size_t n_expanded;
    struct yaml_node *next;
};

/* What is wrong with a text, and where. */
struct yaml_problem {
    unsigned line;
    char text[200];
};

/* 0 and a tree, or -EINVAL with the problem. An empty text gives one null scalar. */
int yaml_tree_parse(struct slice text, struct yaml_tree **out, struct yaml_problem *problem);
void yaml_tree_free(struct yaml_tree **tree);
const struct yaml_node *yaml_tree_root(const struct yaml_tree *tree);
/* The value of a key, or NULL. */
const struct yaml_node *yaml_node_find(const struct yaml_node *map, const char *key);

#endif
