#include "config.h"

#include "mirrord/config_text.h"

#include <string.h>

#include "base/check.h"
#include "mirrord/config_number.h"

/* Whether a text may stand without quotes in a list or mapping of one line. */
static bool is_harmless(struct slice text)
{
    static const char inside[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                 "/._-+@:";
    static const size_t n_first = sizeof(inside) - 1 - 6; /* letters, digits and the slash */
    struct yaml_scalar scalar;
    if (text.len == 0 || !memchr(inside, text.ptr[0], n_first) || text.ptr[text.len - 1] == ':')
        return false;
    for (size_t i = 0; i < text.len; i++)
        if (!memchr(inside, text.ptr[i], sizeof(inside) - 1))
            return false;
    yaml_scalar_resolve(text, &scalar);
    return scalar.kind == YAML_SCALAR_TEXT;
}

static void add_quoted(struct slice text, struct strbuf *out)
{
    strbuf_add_char(out, '"');
    strbuf_add_json(out, text);
    strbuf_add_char(out, '"');
}

/* A text that begins with _env: would be expanded, quoted or not; a variable without a name is
 * never set, so its default is the text. */
static void add_env_text(struct slice text, struct strbuf *out)
{
    struct strbuf inner = STRBUF_INIT;
    strbuf_add_str(&inner, "_env::");
    add_quoted(text, &inner);
    add_quoted((struct slice){inner.ptr, inner.len}, out);
    strbuf_fini(&inner);
}

void config_text_quote(struct slice text, struct strbuf *out)
{
    CHECK(text.ptr);
    if (is_harmless(text))
        strbuf_add_slice(out, text);
    else if (slice_starts(text, SLICE("_env:")))
        add_env_text(text, out);
    else
        add_quoted(text, out);
}

static void render_scalar(const struct yaml_node *node, struct strbuf *out)
{
    if (node->scalar.kind == YAML_SCALAR_TEXT)
        config_text_quote(node->text, out);
    else if (node->scalar.kind == YAML_SCALAR_NULL)
        strbuf_add_char(out, '~');
    else
        strbuf_add_slice(out, node->text);
}

void config_text_render(const struct yaml_node *node, struct strbuf *out)
{
    config_text_render_masked(node, NULL, out);
}

void config_text_render_masked(const struct yaml_node *node, const char *secret, struct strbuf *out)
{
    bool is_map = node->kind == YAML_NODE_IS_MAP;
    if (node->kind == YAML_NODE_IS_SCALAR) {
        render_scalar(node, out);
        return;
    }
    strbuf_add_char(out, is_map ? '{' : '[');
    for (size_t i = 0; i < node->n_pairs; i++) {
        strbuf_add_str(out, i ? ", " : "");
        if (is_map) {
            config_text_quote(node->pairs[i].key, out);
            strbuf_add_str(out, ": ");
        }
        if (is_map && secret && slice_equal(node->pairs[i].key, slice_of(secret)))
            strbuf_add_str(out, "'****'");
        else
            config_text_render_masked(node->pairs[i].value, secret, out);
    }
    strbuf_add_char(out, is_map ? '}' : ']');
}

void config_text_mask_url(struct slice text, struct strbuf *out)
{
    const char *scheme_end = text.len ? memmem(text.ptr, text.len, "://", 3) : NULL;
    if (scheme_end) {
        const char *authority = scheme_end + 3;
        const char *end = text.ptr + text.len;
        const char *at = memrchr(authority, '@', (size_t)(end - authority));
        const char *colon = at ? memchr(authority, ':', (size_t)(at - authority)) : NULL;
        if (colon) {
            strbuf_add(out, text.ptr, (size_t)(colon + 1 - text.ptr));
            strbuf_add_str(out, "****");
            strbuf_add(out, at, (size_t)(end - at));
            return;
        }
    }
    strbuf_add_slice(out, text);
}

static void add_words(const char *words, struct strbuf *out)
{
    struct slice rest = slice_of(words);
    const char *between = "";
    while (rest.ptr) {
        struct slice word = slice_cut(&rest, ' ');
        strbuf_add_str(out, between);
        strbuf_add_slice(out, word);
        between = rest.ptr && memchr(rest.ptr, ' ', rest.len) ? ", " : " or ";
    }
}

static void add_range(const struct option_row *row, void (*print)(int64_t, struct strbuf *),
                      struct strbuf *out)
{
    strbuf_add_str(out, " from ");
    print(row->min, out);
    strbuf_add_str(out, " to ");
    print(row->max, out);
}

static void print_int(int64_t number, struct strbuf *out)
{
    strbuf_addf(out, "%lld", (long long)number);
}

void config_text_allowed(const struct option_row *row, struct strbuf *out)
{
    static const char *const words[] = {
        [OPTION_STRING] = "text",
        [OPTION_PATH] = "a path",
        [OPTION_URL] = "http:// or https://, a host, and perhaps a port and a path",
        [OPTION_ENUM] = NULL,
        [OPTION_ADDRESS] = "host:port, [IPv6]:port, unix:/path or off",
        [OPTION_INT] = "a whole number",
        [OPTION_PERCENT] = "always, or a percentage",
        [OPTION_BOOL] = "true or false",
        [OPTION_BYTES] = "bytes, or a number with k, m, g or KiB, MiB, GiB,",
        [OPTION_SPACE] = "bytes, a number with k, m, g or KiB, MiB, GiB, or percent with %,",
        [OPTION_DURATION] = "seconds, or a number with ms, s, m, h, d or w,",
        [OPTION_LIST] = "a list of texts",
        [OPTION_MAP] = "a mapping",
        [OPTION_ANY] = "any value",
    };
    _Static_assert(sizeof(words) / sizeof(words[0]) == OPTION_TYPE_MAX, "words per type");
    if (row->type == OPTION_ENUM)
        add_words(row->allowed, out);
    else if (row->flags & OPTION_F_ADDRESSES)
        strbuf_add_str(out, "a list of host:port, [IPv6]:port or unix:/path");
    else if (row->flags & OPTION_F_NETWORKS)
        strbuf_add_str(out, "a list of IPv4 or IPv6 addresses, each with or without /length");
    else if (row->flags & OPTION_F_HOSTS)
        strbuf_add_str(out, "a list of hosts, each with or without a port, in lower case");
    else if (row->flags & OPTION_F_PATTERNS)
        strbuf_add_str(out, "a list of patterns such as team/* or !team/secret");
    else if (row->type == OPTION_PERCENT && !row->allowed)
        strbuf_add_str(out, "a percentage");
    else
        strbuf_add_str(out, words[row->type]);
    if (row->type == OPTION_INT || row->type == OPTION_PERCENT)
        add_range(row, print_int, out);
    else if (row->type == OPTION_BYTES || row->type == OPTION_SPACE)
        add_range(row, config_number_print_bytes, out);
    else if (row->type == OPTION_DURATION)
        add_range(row, config_number_print_ms, out);
}
