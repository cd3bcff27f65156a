#include "config.h"

#include "mirrord/config_value.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "base/alloc.h"
#include "base/check.h"
#include "base/error.h"
#include "mirrord/address.h"
#include "mirrord/config_number.h"
#include "mirrord/config_text.h"
#include "mirrord/config_upstreams.h"
#include "mirrord/freshness.h"
#include "mirrord/network.h"
#include "mirrord/precedence.h"
#include "mirrord/push_rules.h"
#include "mirrord/registry_host.h"
#include "upstream/quota.h"

/* What a reader of one type works on. */
struct reading {
    const struct option_row *row;
    const struct yaml_node *node;
    struct slice raw;
    struct config_value *value;
    struct strbuf *wrong;
};

#define SHOWN_LEN_MAX 80

/* "`value`" for a message: shortened, escaped, and not of a secret. */
static void add_shown(struct reading *r)
{
    struct slice text = r->node->text;
    if (r->node->kind == YAML_NODE_IS_LIST) {
        strbuf_add_str(r->wrong, "a list");
    } else if (r->node->kind == YAML_NODE_IS_MAP) {
        strbuf_add_str(r->wrong, "a mapping");
    } else if (r->row->flags & OPTION_F_SECRET) {
        strbuf_add_str(r->wrong, "the value");
    } else {
        struct strbuf shown = STRBUF_INIT;
        config_text_mask_url(text, &shown);
        strbuf_add_char(r->wrong, '`');
        size_t n = shown.len < SHOWN_LEN_MAX ? shown.len : SHOWN_LEN_MAX;
        strbuf_add_json(r->wrong, (struct slice){shown.ptr, n});
        strbuf_add_str(r->wrong, n < shown.len ? "…`" : "`");
        strbuf_fini(&shown);
    }
}

/* Says that the value is not what the option wants, and what it wants. */
static int refuse(struct reading *r, const char *why)
{
    add_shown(r);
    strbuf_addf(r->wrong, " %s; allowed: ", why);
    config_text_allowed(r->row, r->wrong);
    return -EINVAL;
}

static int refuse_type(struct reading *r)
{
    char why[64];
    const char *name = option_type_name(r->row->type);
    snprintf(why, sizeof(why), "is not a%s %s", strchr("aeiou", name[0]) ? "n" : "", name);
    return refuse(r, why);
}

/* The text of a scalar, whatever YAML makes of it: a password of digits stays what was written. A
 * lone "-" from the environment is YAML for a list of one null, but means itself. */
static bool scalar_text(const struct reading *r, struct slice *out)
{
    if (r->node->kind == YAML_NODE_IS_LIST && slice_equal(slice_trim(r->raw), SLICE("-"))) {
        *out = SLICE("-");
        return true;
    }
    *out = r->node->text;
    return r->node->kind == YAML_NODE_IS_SCALAR && !memchr(out->ptr, '\0', out->len);
}

static int read_text(struct reading *r)
{
    struct slice text;
    struct quota_floor floor;

    if (!scalar_text(r, &text))
        return refuse_type(r);
    if ((r->row->flags & OPTION_F_FLOOR) && !quota_floor_parse(text, &floor))
        return refuse(r, "is neither a number nor a share such as 10%");
    if (text.len == 0 && r->row->type == OPTION_PATH)
        r->value->is_null = true;
    else
        r->value->text = xmemdup0(text.ptr, text.len);
    return 0;
}

/* Whether a URL has a part of this kind. */
static bool has_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(url, part, &text, 0) == CURLUE_OK && text;
    curl_free(text);
    return has;
}

/* NULL when the text is a URL for an option, else what is wrong with it. */
static const char *url_fault(const char *text)
{
    const char *fault = NULL;
    if (strncasecmp(text, "http://", 7) != 0 && strncasecmp(text, "https://", 8) != 0)
        return "does not begin with http:// or https://";
    CURLU *url = curl_url();
    CHECK(url);
    if (curl_url_set(url, CURLUPART_URL, text, 0) != CURLUE_OK)
        fault = "is not a URL";
    else if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD))
        fault = "has credentials in it, which have options of their own";
    else if (has_part(url, CURLUPART_QUERY) || has_part(url, CURLUPART_FRAGMENT))
        fault = "has a query or fragment in it";
    curl_url_cleanup(url);
    return fault;
}

static int read_url(struct reading *r)
{
    struct slice text;
    if (!scalar_text(r, &text))
        return refuse_type(r);
    text = slice_trim(text);
    while (text.len && text.ptr[text.len - 1] == '/')
        text.len--;
    if (text.len == 0) {
        r->value->is_null = true;
        return 0;
    }
    char *url = xmemdup0(text.ptr, text.len);
    const char *fault = url_fault(url);
    if (fault) {
        free(url);
        return refuse(r, fault);
    }
    r->value->text = url;
    return 0;
}

static int read_enum(struct reading *r)
{
    struct slice text;
    if (!scalar_text(r, &text))
        return refuse_type(r);
    struct slice words = slice_of(r->row->allowed);
    while (words.ptr) {
        struct slice word = slice_cut(&words, ' ');
        if (slice_equal_case(word, text)) {
            r->value->text = xmemdup0(word.ptr, word.len);
            return 0;
        }
    }
    return refuse(r, "is unknown");
}

/* A boolean false is what YAML makes of the word off. */
static int read_address(struct reading *r)
{
    struct slice text;
    struct address parsed;
    struct error err = {0};
    if (!scalar_text(r, &text))
        return refuse_type(r);
    if (r->node->scalar.kind == YAML_SCALAR_BOOL && !r->node->scalar.boolean)
        text = SLICE("off");
    if (address_parse(text, &parsed, &err) < 0) {
        char why[300];
        snprintf(why, sizeof(why), "is not an address (%s)", err.text);
        return refuse(r, why);
    }
    r->value->text = xmemdup0(text.ptr, text.len);
    return 0;
}

static int set_number(struct reading *r, int64_t number)
{
    if (number < r->row->min || number > r->row->max)
        return refuse(r, "is out of range");
    r->value->number = number;
    return 0;
}

/* The scalar's meaning as if it stood there without quotes. */
static struct yaml_scalar unquoted(const struct yaml_node *node)
{
    struct yaml_scalar scalar = node->scalar;
    if (scalar.kind == YAML_SCALAR_TEXT)
        yaml_scalar_resolve(node->text, &scalar);
    return scalar;
}

static int read_int(struct reading *r)
{
    if (r->node->kind != YAML_NODE_IS_SCALAR)
        return refuse_type(r);
    struct yaml_scalar scalar = unquoted(r->node);
    if (scalar.kind != YAML_SCALAR_INT)
        return refuse_type(r);
    return set_number(r, scalar.integer);
}

static int read_percent(struct reading *r)
{
    struct slice text = r->node->text;
    uint64_t number;
    if (r->node->kind != YAML_NODE_IS_SCALAR)
        return refuse_type(r);
    if (r->row->allowed && slice_equal_case(text, slice_of(r->row->allowed)))
        return set_number(r, 0);
    if (text.len && text.ptr[text.len - 1] == '%')
        text.len--;
    if (!slice_to_u64(text, &number) || number > INT64_MAX)
        return refuse_type(r);
    return set_number(r, (int64_t)number);
}

/* 0 and 1 are what many write for a boolean. */
static int read_bool(struct reading *r)
{
    if (r->node->kind != YAML_NODE_IS_SCALAR)
        return refuse_type(r);
    struct yaml_scalar scalar = unquoted(r->node);
    bool is_digit = scalar.kind == YAML_SCALAR_INT && (scalar.integer == 0 || scalar.integer == 1);
    if (scalar.kind != YAML_SCALAR_BOOL && !is_digit)
        return refuse_type(r);
    r->value->boolean = is_digit ? scalar.integer == 1 : scalar.boolean;
    return 0;
}

static int read_bytes(struct reading *r)
{
    int64_t number;
    if (r->node->kind != YAML_NODE_IS_SCALAR)
        return refuse_type(r);
    if (r->node->scalar.kind == YAML_SCALAR_INT)
        return set_number(r, r->node->scalar.integer);
    if (r->node->scalar.kind != YAML_SCALAR_TEXT || !config_number_bytes(r->node->text, &number))
        return refuse_type(r);
    return set_number(r, number);
}

/* Bytes, or a percentage with its sign. */
static int read_space(struct reading *r)
{
    struct slice text = r->node->text;
    uint64_t number;
    if (r->node->kind != YAML_NODE_IS_SCALAR || text.len == 0 || text.ptr[text.len - 1] != '%')
        return read_bytes(r);
    text = slice_trim((struct slice){text.ptr, text.len - 1});
    if (!slice_to_u64(text, &number))
        return refuse_type(r);
    if (number == 0 || number > 100)
        return refuse(r, "is out of range");
    r->value->boolean = true;
    r->value->number = (int64_t)number;
    return 0;
}

/* Numbers without a unit are seconds, with or without a fraction. */
static int read_duration(struct reading *r)
{
    const struct yaml_scalar *scalar = &r->node->scalar;
    int64_t number;
    if (r->node->kind != YAML_NODE_IS_SCALAR)
        return refuse_type(r);
    if (scalar->kind == YAML_SCALAR_INT) {
        if (__builtin_mul_overflow(scalar->integer, 1000, &number))
            return refuse(r, "is out of range");
        return set_number(r, number);
    }
    if (scalar->kind == YAML_SCALAR_FLOAT) {
        if (!isfinite(scalar->real) || fabs(scalar->real) > 1e15)
            return refuse(r, "is out of range");
        return set_number(r, (int64_t)(scalar->real * 1000 + 0.5));
    }
    if (scalar->kind != YAML_SCALAR_TEXT || !config_number_ms(r->node->text, &number))
        return refuse_type(r);
    return set_number(r, number);
}

/* Refuses one element of a list, naming it. */
static int refuse_item(struct reading *r, struct slice item, const char *what,
                       const struct error *err)
{
    struct strbuf shown = STRBUF_INIT;
    char why[400];
    size_t n = item.len < SHOWN_LEN_MAX ? item.len : SHOWN_LEN_MAX;

    strbuf_add_json(&shown, (struct slice){item.ptr, n});
    snprintf(why, sizeof(why), "has an element `%.100s%s` that is not %s (%s)", shown.ptr,
             n < item.len || shown.len > 100 ? "…" : "", what, err->text);
    strbuf_fini(&shown);
    return refuse(r, why);
}

/* What the option's flags want of every element. */
static int check_item(struct reading *r, struct slice item)
{
    struct address address;
    struct network network;
    struct error err = {0};

    if ((r->row->flags & OPTION_F_ADDRESSES) &&
        (address_parse(item, &address, NULL) < 0 || address.kind == ADDRESS_OFF))
        return refuse(r, "has an element that is not an address");
    if ((r->row->flags & OPTION_F_NETWORKS) && network_parse(item, &network, &err) < 0)
        return refuse_item(r, item, "a network", &err);
    if ((r->row->flags & OPTION_F_PATTERNS) && push_rules_check_pattern(item, &err) < 0)
        return refuse_item(r, item, "a pattern", &err);
    if ((r->row->flags & OPTION_F_HOSTS) && registry_host_check(item, &err) < 0)
        return refuse_item(r, item, "a host", &err);
    if ((r->row->flags & OPTION_F_PRECEDENCE) && precedence_check(item, &err) < 0)
        return refuse_item(r, item, "a pattern and a rule", &err);
    if ((r->row->flags & OPTION_F_FRESHNESS) && freshness_check(item, &err) < 0)
        return refuse_item(r, item, "a pattern and times", &err);
    return 0;
}

static int add_item(struct reading *r, struct slice item)
{
    item = slice_trim(item);
    if (memchr(item.ptr, '\0', item.len))
        return refuse(r, "has an element with a NUL in it");
    int rc = check_item(r, item);
    if (rc < 0)
        return rc;
    r->value->items = xrealloc(r->value->items, (r->value->n_items + 2) * sizeof(*r->value->items));
    r->value->items[r->value->n_items++] = xmemdup0(item.ptr, item.len);
    r->value->items[r->value->n_items] = NULL;
    return 0;
}

/* "a, b c": a list in one text. */
static int split_items(struct reading *r, struct slice text)
{
    int rc = 0;
    while (text.len && rc == 0) {
        struct slice item = {text.ptr, 0};
        while (item.len < text.len && !strchr(", \t\n", text.ptr[item.len]))
            item.len++;
        size_t n_cut = item.len < text.len ? item.len + 1 : item.len;
        text.ptr += n_cut;
        text.len -= n_cut;
        if (item.len)
            rc = add_item(r, item);
    }
    return rc;
}

static int read_list(struct reading *r)
{
    const struct yaml_node *node = r->node;
    int rc = 0;
    if (node->kind == YAML_NODE_IS_MAP)
        return refuse_type(r);
    if (node->kind == YAML_NODE_IS_SCALAR)
        return r->row->flags & OPTION_F_SPLIT ? split_items(r, node->text)
                                              : add_item(r, node->text);
    for (size_t i = 0; i < node->n_pairs && rc == 0; i++) {
        const struct yaml_node *item = node->pairs[i].value;
        if (item->kind != YAML_NODE_IS_SCALAR || item->scalar.kind == YAML_SCALAR_NULL)
            return refuse(r, "has an element that is not a text");
        rc = add_item(r, item->text);
    }
    return rc;
}

static int check_upstreams(struct reading *r)
{
    struct config_upstreams upstreams;
    unsigned line = 0;

    int rc = config_upstreams_read(r->node, &upstreams, &line, r->wrong);
    if (rc == 0)
        config_upstreams_fini(&upstreams);
    r->value->line = line;
    return rc;
}

static int read_yaml(struct reading *r)
{
    struct strbuf text = STRBUF_INIT;
    if (r->row->type == OPTION_MAP && r->node->kind != YAML_NODE_IS_MAP)
        return refuse_type(r);
    if ((r->row->flags & OPTION_F_UPSTREAMS) && check_upstreams(r) < 0)
        return -EINVAL;
    config_text_render(r->node, &text);
    r->value->text = strbuf_take(&text);
    return 0;
}

int config_value_read(const struct option_row *row, const struct yaml_node *node, struct slice raw,
                      struct config_value *out, struct strbuf *wrong)
{
    static int (*const readers[])(struct reading * r) = {
        [OPTION_STRING] = read_text,       [OPTION_PATH] = read_text,
        [OPTION_URL] = read_url,           [OPTION_ENUM] = read_enum,
        [OPTION_ADDRESS] = read_address,   [OPTION_INT] = read_int,
        [OPTION_PERCENT] = read_percent,   [OPTION_BOOL] = read_bool,
        [OPTION_BYTES] = read_bytes,       [OPTION_SPACE] = read_space,
        [OPTION_DURATION] = read_duration, [OPTION_LIST] = read_list,
        [OPTION_MAP] = read_yaml,          [OPTION_ANY] = read_yaml,
    };
    _Static_assert(sizeof(readers) / sizeof(readers[0]) == OPTION_TYPE_MAX, "a reader per type");
    struct config_value value = {0};
    struct reading r = {row, node, raw, &value, wrong};
    int rc = 0;
    if (node->kind == YAML_NODE_IS_SCALAR && node->scalar.kind == YAML_SCALAR_NULL)
        value.is_null = true;
    else
        rc = readers[row->type](&r);
    unsigned line = value.line;
    if (rc < 0)
        config_value_fini(&value);
    *out = value;
    out->line = rc < 0 ? line : 0;
    return rc;
}

void config_value_preset(const struct option_row *row, struct config_value *out)
{
    struct yaml_tree *tree;
    struct yaml_problem problem;
    struct strbuf wrong = STRBUF_INIT;
    *out = (struct config_value){.is_null = true};
    if (!row->preset)
        return;
    CHECK(yaml_tree_parse(slice_of(row->preset), &tree, &problem) == 0);
    CHECK(config_value_read(row, yaml_tree_root(tree), SLICE_NONE, out, &wrong) == 0);
    yaml_tree_free(&tree);
    strbuf_fini(&wrong);
}

void config_value_fini(struct config_value *v)
{
    for (size_t i = 0; i < v->n_items; i++)
        free(v->items[i]);
    free(v->items);
    free(v->text);
    free(v->env);
    *v = (struct config_value){.is_null = true};
}

bool config_value_equal(const struct config_value *a, const struct config_value *b)
{
    if (a->is_null != b->is_null || a->boolean != b->boolean || a->number != b->number ||
        a->n_items != b->n_items || !a->text != !b->text)
        return false;
    if (a->text && strcmp(a->text, b->text) != 0)
        return false;
    for (size_t i = 0; i < a->n_items; i++)
        if (strcmp(a->items[i], b->items[i]) != 0)
            return false;
    return true;
}

static void print_list(const struct config_value *v, struct strbuf *out)
{
    strbuf_add_char(out, '[');
    for (size_t i = 0; i < v->n_items; i++) {
        strbuf_add_str(out, i ? ", " : "");
        config_text_quote(slice_of(v->items[i]), out);
    }
    strbuf_add_char(out, ']');
}

/* A text, with a password inside a URL masked. */
static void print_text(const struct config_value *v, struct strbuf *out)
{
    struct strbuf masked = STRBUF_INIT;
    config_text_mask_url(slice_of(v->text), &masked);
    config_text_quote((struct slice){masked.ptr, masked.len}, out);
    strbuf_fini(&masked);
}

void config_value_print(const struct option_row *row, const struct config_value *v,
                        struct strbuf *out)
{
    if (v->is_null) {
        strbuf_add_char(out, '~');
        return;
    }
    if (row->flags & OPTION_F_SECRET) {
        strbuf_add_str(out, "'****'");
        return;
    }
    switch (row->type) {
    case OPTION_BOOL:
        strbuf_add_str(out, v->boolean ? "true" : "false");
        break;
    case OPTION_INT:
        strbuf_addf(out, "%lld", (long long)v->number);
        break;
    case OPTION_PERCENT:
        if (v->number == 0 && row->allowed)
            strbuf_add_str(out, row->allowed);
        else
            strbuf_addf(out, "%lld%%", (long long)v->number);
        break;
    case OPTION_BYTES:
        config_number_print_bytes(v->number, out);
        break;
    case OPTION_SPACE:
        if (v->boolean)
            strbuf_addf(out, "%lld%%", (long long)v->number);
        else
            config_number_print_bytes(v->number, out);
        break;
    case OPTION_DURATION:
        config_number_print_ms(v->number, out);
        break;
    case OPTION_LIST:
        print_list(v, out);
        break;
    case OPTION_MAP:
    case OPTION_ANY:
        if (row->flags & OPTION_F_UPSTREAMS) {
            config_upstreams_print(v->text, out);
            break;
        }
        strbuf_add_str(out, v->text);
        break;
    default:
        print_text(v, out);
    }
}
