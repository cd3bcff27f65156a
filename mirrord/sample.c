#include "config.h"

#include "mirrord/sample.h"

#include <stdbool.h>
#include <string.h>

#include "base/check.h"
#include "mirrord/options.h"

#define COMMENT_WIDTH 92

/* A flavor's beginning, or one of its lines. */
struct sample_row {
    const char *flavor; /* NULL: a line */
    const char *merged;
    const char *comment;
    enum option id;
    const char *value;
};

static const struct sample_row flavor_rows[] = {
#define FLAVOR(name, merged, comment) {name, merged, comment, OPT_MAX, NULL},
#define LINE(id, value) {NULL, NULL, NULL, OPT_##id, value},
#include "mirrord/flavors.def"
#undef FLAVOR
#undef LINE
};
#define N_FLAVOR_ROWS (sizeof(flavor_rows) / sizeof(flavor_rows[0]))

/* What printing has come to. */
struct sample {
    struct strbuf *out;
    struct slice group;    /* the open one; length 0: none */
    bool is_told[OPT_MAX]; /* its comment was printed */
};

static const char file_comment[] =
    "# Configuration of mirrord, in the format of docker-registry. mirrord.conf(5) tells the "
    "rules.\n"
    "#\n"
    "# Each section is a flavor; SETTINGS_FLAVOR or -f chooses one, dev by default. A flavor takes "
    "over\n"
    "# another by its anchor (<<: *common). _env:NAME:DEFAULT stands for the environment variable "
    "NAME\n"
    "# or, when it is not set, the default. Sizes take the units k, m, g (or KiB, MiB, GiB), "
    "durations\n"
    "# ms, s, m, h, d, w; without a unit they are bytes and seconds. A missing key, or null (~), "
    "means\n"
    "# the default. This file is what `mirrord sample` prints.\n";

/* The text as a comment, broken into lines. */
static void add_comment(struct sample *s, const char *indent, const char *text)
{
    size_t column = 0;
    struct slice rest = slice_of(text);
    while (rest.ptr) {
        struct slice word = slice_cut(&rest, ' ');
        if (column && column + 1 + word.len > COMMENT_WIDTH) {
            strbuf_add_char(s->out, '\n');
            column = 0;
        }
        if (column == 0) {
            strbuf_add_str(s->out, indent);
            strbuf_add_char(s->out, '#');
            column = strlen(indent) + 1;
        }
        strbuf_add_char(s->out, ' ');
        strbuf_add_slice(s->out, word);
        column += 1 + word.len;
    }
    strbuf_add_char(s->out, '\n');
}

static void add_doc(struct sample *s, const char *indent, enum option id)
{
    const struct option_row *row = option_row(id);
    struct strbuf doc = STRBUF_INIT;
    if (s->is_told[id])
        return;
    s->is_told[id] = true;
    strbuf_add_str(&doc, row->doc);
    if (row->type == OPTION_ENUM)
        strbuf_addf(&doc, " One of: %s.", row->allowed);
    if (option_alias(id))
        strbuf_addf(&doc, " %s is read where %s is not set.", option_alias(id), row->env);
    if ((row->flags & OPTION_F_UNBUILT) && !(row->flags & OPTION_F_DRIVER))
        strbuf_add_str(&doc, " (No effect so far.)");
    add_comment(s, indent, doc.ptr);
    strbuf_fini(&doc);
}

/* What the table of options makes of a line: the variable, the default, or both. */
static void add_value(struct sample *s, const struct option_row *row)
{
    if (row->env)
        strbuf_addf(s->out, "_env:%s%s%s", row->env, row->preset ? ":" : "",
                    row->preset ? row->preset : "");
    else
        strbuf_add_str(s->out, row->preset ? row->preset : "~");
}

static void add_line(struct sample *s, enum option id, const char *value)
{
    struct slice group = option_group(id);
    const char *indent = group.len ? "        " : "    ";
    if (group.len && !slice_equal(group, s->group))
        strbuf_addf(s->out, "    %.*s:\n", SLICE_ARG(group));
    s->group = group;
    add_doc(s, indent, id);
    strbuf_addf(s->out, "%s%s: ", indent, option_name(id));
    if (value)
        strbuf_add_str(s->out, value);
    else
        add_value(s, option_row(id));
    strbuf_add_char(s->out, '\n');
}

/* Whether an option stands in `common`, not with a storage driver. */
static bool is_common(enum option id)
{
    return !(option_row(id)->flags & OPTION_F_DRIVER) && id != OPT_STORAGE &&
           id != OPT_STORAGE_PATH;
}

static void add_flavor(struct sample *s, const struct sample_row *row)
{
    strbuf_add_char(s->out, '\n');
    add_comment(s, "", row->comment);
    strbuf_addf(s->out, "%s: &%s\n    <<: *%s\n", row->flavor, row->flavor, row->merged);
    s->group = SLICE("");
}

void sample_print(struct strbuf *out)
{
    struct sample s = {.out = out, .group = SLICE("")};
    strbuf_add_str(out, file_comment);
    strbuf_add_str(out, "\n# What all flavors share.\ncommon: &common\n");
    for (enum option id = 0; id < OPT_MAX; id++)
        if (is_common(id))
            add_line(&s, id, NULL);
    for (size_t i = 0; i < N_FLAVOR_ROWS; i++) {
        CHECK(flavor_rows[i].flavor || flavor_rows[i].id < OPT_MAX);
        if (flavor_rows[i].flavor)
            add_flavor(&s, &flavor_rows[i]);
        else
            add_line(&s, flavor_rows[i].id, flavor_rows[i].value);
    }
}
