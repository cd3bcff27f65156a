/*
 * The value of one option: how it is read from a YAML node by the option's type, compared and
 * printed. Owned by its struct config. Used by the configuration's own files only.
 */
#ifndef MIRRORD_CONFIG_VALUE_H
#define MIRRORD_CONFIG_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/strbuf.h"
#include "mirrord/options.h"
#include "mirrord/yaml_tree.h"

enum config_origin { CONFIG_DEFAULT, CONFIG_FILE, CONFIG_ENVIRONMENT, CONFIG_ORIGIN_MAX };

struct config_value {
    bool is_null;
    bool boolean;
    int64_t number; /* integers, percent, bytes, milliseconds */
    char *text;     /* texts; YAML of OPTION_MAP and OPTION_ANY */
    char **items;   /* lists */
    size_t n_items;
    enum config_origin origin;
    unsigned line; /* CONFIG_FILE, and CONFIG_ENVIRONMENT when the file asked for it; else 0 */
    char *env;     /* CONFIG_ENVIRONMENT: the variable */
};

/* 0 with the value (not its origin), or -EINVAL with "what is wrong; what is allowed" in *wrong. A
 * secret is not repeated there, and out->line is the line of what is wrong when that is inside a
 * mapping, else 0. `raw` is the text the node was parsed from when it came from the
 * environment, for values that only look like YAML (a lone "-"). */
int config_value_read(const struct option_row *row, const struct yaml_node *node, struct slice raw,
                      struct config_value *out, struct strbuf *wrong);
/* The option's default. */
void config_value_preset(const struct option_row *row, struct config_value *out);
void config_value_fini(struct config_value *v);
bool config_value_equal(const struct config_value *a, const struct config_value *b);
/* As YAML that reads back as the same value; secrets become ****. */
void config_value_print(const struct option_row *row, const struct config_value *v,
                        struct strbuf *out);

#endif
