/* The configuration as people see it: effective values, what has no effect, what has changed. */
#include "config.h"

#include "mirrord/configuration.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "mirrord/config_private.h"

#define COMMENT_COLUMN 50

/* "default", "file:12", "environment NAME". */
static void add_origin(const struct config *c, enum option id, struct strbuf *out)
{
    const struct config_value *v = &c->values[id];
    CHECK(v->origin < CONFIG_ORIGIN_MAX);
    if (v->origin == CONFIG_ENVIRONMENT)
        strbuf_addf(out, "environment %s", v->env);
    else if (v->origin == CONFIG_FILE)
        strbuf_addf(out, "%s:%u", c->file, v->line);
    else
        strbuf_add_str(out, "default");
    if ((option_row(id)->flags & OPTION_F_UNBUILT) && v->origin != CONFIG_DEFAULT)
        strbuf_add_str(out, ", no effect so far");
}

static void print_option(const struct config *c, enum option id, struct strbuf *out)
{
    struct strbuf line = STRBUF_INIT;
    strbuf_addf(&line, "%s%s: ", option_group(id).len ? "    " : "", option_name(id));
    config_value_print(option_row(id), &c->values[id], &line);
    strbuf_addf(out, "%-*s # ", COMMENT_COLUMN, line.ptr);
    add_origin(c, id, out);
    strbuf_add_char(out, '\n');
    strbuf_fini(&line);
}

void config_print_effective(const struct config *c, struct strbuf *out)
{
    struct slice group = SLICE("");
    strbuf_addf(out, "# %s, %s%s\n", c->file, *c->flavor ? "flavor " : "top level", c->flavor);
    for (enum option id = 0; id < OPT_MAX; id++) {
        bool is_driver = option_row(id)->flags & OPTION_F_DRIVER;
        if (is_driver && c->values[id].origin == CONFIG_DEFAULT)
            continue;
        if (option_group(id).len && !slice_equal(option_group(id), group))
            strbuf_addf(out, "%.*s:\n", SLICE_ARG(option_group(id)));
        group = option_group(id);
        print_option(c, id, out);
    }
}

static void add_key(struct strbuf *out, size_t n_before, enum option id)
{
    strbuf_add_str(out, n_before ? ", " : "");
    strbuf_add_str(out, option_row(id)->key);
}

const char *config_warnings(const struct config *c)
{
    return c->warnings.len ? c->warnings.ptr : "";
}

size_t config_unbuilt(const struct config *c, struct strbuf *keys_out)
{
    size_t n = 0;
    for (enum option id = 0; id < OPT_MAX; id++) {
        const struct option_row *row = option_row(id);
        const struct config_value *v = &c->values[id];
        struct config_value preset;
        if (!(row->flags & OPTION_F_UNBUILT) || v->origin == CONFIG_DEFAULT)
            continue;
        config_value_preset(row, &preset);
        if (!config_value_equal(v, &preset))
            add_key(keys_out, n++, id);
        config_value_fini(&preset);
    }
    return n;
}

size_t config_changed(const struct config *old, const struct config *new_one,
                      struct strbuf *reloadable_out, struct strbuf *restart_out)
{
    size_t n_reloadable = 0;
    size_t n_restart = 0;
    for (enum option id = 0; id < OPT_MAX; id++) {
        unsigned flags = option_row(id)->flags;
        if ((flags & OPTION_F_UNBUILT) ||
            config_value_equal(&old->values[id], &new_one->values[id]))
            continue;
        if (flags & OPTION_F_RELOAD)
            add_key(reloadable_out, n_reloadable++, id);
        else
            add_key(restart_out, n_restart++, id);
    }
    return n_reloadable + n_restart;
}
