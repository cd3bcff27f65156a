#include "config.h"

#include "mirrord/options_man.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "mirrord/config_text.h"
#include "mirrord/options.h"

/* Text as mdoc shows it: what means something to it or is replaced by it kept as it is. */
static void add_text(struct strbuf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '\\')
            strbuf_add_str(out, "\\e");
        else if (*text == '-')
            strbuf_add_str(out, "\\-");
        else if (*text == '"')
            strbuf_add_str(out, "\\(dq");
        else if (*text == '\'')
            strbuf_add_str(out, "\\(aq");
        else
            strbuf_add_char(out, *text);
    }
}

/* A paragraph, one sentence to a line, as manual pages are written. */
static void add_paragraph(struct strbuf *out, const char *text)
{
    struct strbuf line = STRBUF_INIT;
    CHECK(text[0] != '.'); /* it would be taken for a macro */
    for (; *text; text++) {
        strbuf_add_char(&line, *text);
        if (text[0] == '.' && text[1] == ' ' && text[2] >= 'A' && text[2] <= 'Z') {
            add_text(out, line.ptr);
            strbuf_add_char(out, '\n');
            strbuf_clear(&line);
            text++;
        }
    }
    add_text(out, line.len ? line.ptr : "");
    strbuf_add_char(out, '\n');
    strbuf_fini(&line);
}

static void add_variables(enum option id, struct strbuf *out)
{
    const struct option_row *row = option_row(id);
    if (!row->env)
        return;
    strbuf_addf(out, "Environment:\n.Ev %s", row->env);
    if (option_alias(id))
        strbuf_addf(out, " ,\nor\n.Ev %s\nwhere that is not set", option_alias(id));
    strbuf_add_str(out, option_alias(id) ? ".\n" : " .\n");
}

static void add_preset(const struct option_row *row, struct strbuf *out)
{
    strbuf_add_str(out, "Default:\n.Li ");
    add_text(out, row->preset ? row->preset : "null");
    strbuf_add_str(out, " .\n");
}

static void add_effect(const struct option_row *row, struct strbuf *out)
{
    if (row->flags & OPTION_F_UNBUILT)
        strbuf_add_str(out, "It has no effect so far.\n");
    else if (row->flags & OPTION_F_RELOAD)
        strbuf_add_str(out, "A change takes effect on\n.Dv SIGHUP .\n");
}

static void add_option(enum option id, struct strbuf *out)
{
    const struct option_row *row = option_row(id);
    struct strbuf allowed = STRBUF_INIT;
    strbuf_addf(out, ".It Cm %s\n", row->key);
    add_paragraph(out, row->doc);
    strbuf_add_str(out, "Value: ");
    config_text_allowed(row, &allowed);
    add_text(out, allowed.ptr);
    strbuf_add_str(out, ".\n");
    strbuf_fini(&allowed);
    add_preset(row, out);
    add_variables(id, out);
    add_effect(row, out);
}

void options_print_man(struct strbuf *out)
{
    strbuf_add_str(out, ".Bl -tag -width Ds\n");
    for (enum option id = 0; id < OPT_MAX; id++)
        add_option(id, out);
    strbuf_add_str(out, ".El\n");
}

int options_print_man_page(struct slice frame, struct strbuf *out)
{
    static const char marker[] = OPTIONS_MAN_MARKER;
    const char *at = memmem(frame.ptr, frame.len, marker, sizeof(marker) - 1);
    if (!at)
        return -EINVAL;
    const char *behind = at + sizeof(marker) - 1;
    strbuf_add(out, frame.ptr, (size_t)(at - frame.ptr));
    options_print_man(out);
    strbuf_add(out, behind, (size_t)(frame.ptr + frame.len - behind));
    return 0;
}
