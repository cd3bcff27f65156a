/*
 * Configuration values as text for people and for YAML: quoting, masking, and saying what an
 * option allows. Pure functions; any thread.
 */
#ifndef MIRRORD_CONFIG_TEXT_H
#define MIRRORD_CONFIG_TEXT_H

#include "base/slice.h"
#include "base/strbuf.h"
#include "mirrord/options.h"
#include "mirrord/yaml_tree.h"

/* As a YAML scalar in one line that reads back as this text, quoted only where it must be. */
void config_text_quote(struct slice text, struct strbuf *out);
/* A node in one line of YAML. */
void config_text_render(const struct yaml_node *node, struct strbuf *out);
/* The same with "****" for every value of this key. */
void config_text_render_masked(const struct yaml_node *node, const char *secret,
                               struct strbuf *out);
/* The text with the password of "scheme://user:password@host" replaced by ****. */
void config_text_mask_url(struct slice text, struct strbuf *out);
/* "a whole number from 1 to 65535": what the option accepts. */
void config_text_allowed(const struct option_row *row, struct strbuf *out);

#endif
