#include "config.h"

#include "mirrord/head.h"

#include <string.h>

#include "base/check.h"

/* What parsing knows beside the result: a small struct because every step needs it. */
struct parser {
    struct head *head;
    const struct head_limits *limits;
    unsigned n_hosts, n_lengths, n_codings;
    bool has_close, has_keep_alive;
    struct slice host_field;
};

/* --- characters ------------------------------------------------------------------------------- */

enum {
    C_TOKEN = 1,  /* RFC 9110 section 5.6.2 */
    C_TARGET = 2, /* visible ASCII without '#': what may stand in a request target */
    C_HOST = 4    /* RFC 3986 section 3.2.2 and the port, without user information */
};

#define LETTER (C_TOKEN | C_TARGET | C_HOST)
#define MARK_ALL (C_TOKEN | C_TARGET | C_HOST)
#define MARK_TOKEN (C_TOKEN | C_TARGET)
#define MARK_HOST (C_TARGET | C_HOST)

static const unsigned char CLASS[256] = {
    ['0' ... '9'] = LETTER, ['A' ... 'Z'] = LETTER, ['a' ... 'z'] = LETTER, ['!'] = MARK_ALL,
    ['$'] = MARK_ALL,       ['%'] = MARK_ALL,       ['&'] = MARK_ALL,       ['\''] = MARK_ALL,
    ['*'] = MARK_ALL,       ['+'] = MARK_ALL,       ['-'] = MARK_ALL,       ['.'] = MARK_ALL,
    ['_'] = MARK_ALL,       ['~'] = MARK_ALL,       ['^'] = MARK_TOKEN,     ['`'] = MARK_TOKEN,
    ['|'] = MARK_TOKEN,     ['#'] = C_TOKEN,        ['('] = MARK_HOST,      [')'] = MARK_HOST,
    [','] = MARK_HOST,      [';'] = MARK_HOST,      ['='] = MARK_HOST,      [':'] = MARK_HOST,
    ['['] = MARK_HOST,      [']'] = MARK_HOST,      ['"'] = C_TARGET,       ['/'] = C_TARGET,
    ['<'] = C_TARGET,       ['>'] = C_TARGET,       ['?'] = C_TARGET,       ['@'] = C_TARGET,
    ['\\'] = C_TARGET,      ['{'] = C_TARGET,       ['}'] = C_TARGET,
};

/* Whether every byte is of the class; true for none. */
static bool all_of(struct slice s, unsigned char class)
{
    unsigned char seen = class;

    for (size_t i = 0; i < s.len; i++)
        seen &= CLASS[(unsigned char)s.ptr[i]];
    return seen == class;
}

#define ONES 0x0101010101010101u
#define HIGHS 0x8080808080808080u

/* Whether any of the eight bytes is below 0x20 or is 0x7f. */
static bool word_has_control(uint64_t w)
{
    uint64_t low = (w - ONES * 0x20) & ~w;
    uint64_t del = w ^ (ONES * 0x7f);

    return ((low | ((del - ONES) & ~del)) & HIGHS) != 0;
}

static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

/* Whether a field value has a byte it must not have (RFC 9110 section 5.5): a control character
 * other than the tab. Eight at a time, because every value passes here. */
static bool has_control(struct slice s)
{
    size_t i = 0;

    for (; i + 8 <= s.len; i += 8) {
        uint64_t w;
        memcpy(&w, s.ptr + i, sizeof(w));
        if (!word_has_control(w))
            continue;
        for (size_t k = i; k < i + 8; k++)
            if (is_control(s.ptr[k]))
                return true;
    }
    for (; i < s.len; i++)
        if (is_control(s.ptr[i]))
            return true;
    return false;
}

/* --- the request line ------------------------------------------------------------------------- */

static const struct slice METHODS[] = {
    [HTTP_GET] = {"GET", 3},         [HTTP_HEAD] = {"HEAD", 4},   [HTTP_POST] = {"POST", 4},
    [HTTP_PUT] = {"PUT", 3},         [HTTP_PATCH] = {"PATCH", 5}, [HTTP_DELETE] = {"DELETE", 6},
    [HTTP_OPTIONS] = {"OPTIONS", 7}, [HTTP_OTHER] = {"OTHER", 5},
};
_Static_assert(sizeof(METHODS) / sizeof(METHODS[0]) == HTTP_METHOD_MAX, "one name per method");

const char *http_method_name(enum http_method m)
{
    CHECK(m < HTTP_METHOD_MAX);
    return METHODS[m].ptr;
}

static int parse_method(struct slice text, struct head *h)
{
    if (text.len == 0 || !all_of(text, C_TOKEN))
        return -400;
    h->method_text = text;
    for (int m = 0; m < HTTP_OTHER; m++) {
        if (slice_equal(text, METHODS[m])) {
            h->method = (enum http_method)m;
            return 0;
        }
    }
    h->method = HTTP_OTHER;
    return 0;
}

/* "HTTP/1.x"; other majors are 505, anything else is no HTTP at all. */
static int parse_version(struct slice text, struct head *h)
{
    if (text.len != 8 || memcmp(text.ptr, "HTTP/", 5) != 0 || text.ptr[6] != '.')
        return -400;
    char major = text.ptr[5], minor = text.ptr[7];
    if (major < '0' || major > '9' || minor < '0' || minor > '9')
        return -400;
    if (major != '1')
        return -505;
    h->minor = (unsigned)(minor - '0');
    return 0;
}

/* Cuts "http://authority" from an absolute-form target and leaves "/path?query". */
static int cut_authority(struct slice *target, struct head *h)
{
    static const struct slice SCHEMES[] = {{"http://", 7}, {"https://", 8}};

    for (size_t i = 0; i < 2; i++) {
        size_t n = SCHEMES[i].len;
        if (target->len <= n || !slice_equal_case((struct slice){target->ptr, n}, SCHEMES[i]))
            continue;
        struct slice host = {target->ptr + n, 0};
        size_t n_rest = target->len - n;
        while (host.len < n_rest && host.ptr[host.len] != '/' && host.ptr[host.len] != '?')
            host.len++;
        if (host.len == 0 || !all_of(host, C_HOST))
            return -400;
        h->host = host;
        *target = (struct slice){host.ptr + host.len, n_rest - host.len};
        return 0;
    }
    return -400;
}

static int parse_target(struct slice target, struct parser *p)
{
    struct head *h = p->head;

    h->target = target;
    h->host = SLICE_NONE;
    if (target.len > p->limits->target_max_bytes)
        return -414;
    if (target.len == 0 || !all_of(target, C_TARGET))
        return -400;
    if (h->method == HTTP_OPTIONS && slice_equal(target, SLICE("*"))) {
        h->path = target;
        h->query = SLICE_NONE;
        return 0;
    }
    if (target.ptr[0] != '/') {
        int rc = cut_authority(&target, h);
        if (rc < 0)
            return rc;
    }
    h->query = target;
    h->path = slice_cut(&h->query, '?');
    if (h->path.len == 0)
        h->path = SLICE("/");
    return 0;
}

/* Method, target and version, one space between each (RFC 9112 section 3, the strict reading). */
static int parse_request_line(struct slice line, struct parser *p)
{
    struct slice rest = line;
    struct slice method = slice_cut(&rest, ' ');
    int rc;

    if (!rest.ptr || (rc = parse_method(method, p->head)) < 0)
        return -400;
    struct slice target = slice_cut(&rest, ' ');
    if (!rest.ptr)
        return -400;
    rc = parse_target(target, p);
    return rc < 0 ? rc : parse_version(rest, p->head);
}

/* --- fields with a meaning for the framing ---------------------------------------------------- */

/* Content-Length: digits only; more than a file can have is refused. */
static int parse_length(struct slice value, struct parser *p)
{
    uint64_t n;

    if (++p->n_lengths > 1 || !slice_to_u64(value, &n) || n > INT64_MAX)
        return -400;
    p->head->has_length = true;
    p->head->length = n;
    return 0;
}

/* Transfer-Encoding: "chunked" and nothing else. A list that ends otherwise has no end that both
 * sides would agree on; codings before it are ones we do not have. */
static int parse_coding(struct slice value, struct parser *p)
{
    struct slice last = SLICE_NONE;

    if (++p->n_codings > 1)
        return -400;
    if (slice_equal_case(value, SLICE("chunked"))) {
        p->head->is_chunked = true;
        return 0;
    }
    while (value.ptr)
        last = slice_trim(slice_cut(&value, ','));
    return slice_equal_case(last, SLICE("chunked")) ? -501 : -400;
}

static void parse_connection(struct slice value, struct parser *p)
{
    while (value.ptr) {
        struct slice option = slice_trim(slice_cut(&value, ','));
        if (slice_equal_case(option, SLICE("close")))
            p->has_close = true;
        else if (slice_equal_case(option, SLICE("keep-alive")))
            p->has_keep_alive = true;
    }
}

/* Looks at the fields that decide about host, framing and connection; they are told apart by their
 * lengths first, so that others cost one comparison. hot */
static int note_field(struct slice name, struct slice value, struct parser *p)
{
    switch (name.len) {
    case 4:
        if (!slice_equal_case(name, SLICE("Host")))
            return 0;
        p->host_field = value;
        return ++p->n_hosts > 1 || !all_of(value, C_HOST) ? -400 : 0;
    case 6:
        if (!slice_equal_case(name, SLICE("Expect")))
            return 0;
        p->head->expect_continue = true;
        return slice_equal_case(value, SLICE("100-continue")) ? 0 : -417;
    case 10:
        if (slice_equal_case(name, SLICE("Connection")))
            parse_connection(value, p);
        return 0;
    case 14:
        return slice_equal_case(name, SLICE("Content-Length")) ? parse_length(value, p) : 0;
    case 17:
        return slice_equal_case(name, SLICE("Transfer-Encoding")) ? parse_coding(value, p) : 0;
    default:
        return 0;
    }
}

/* One field line without its CRLF. Folded lines and blanks before the colon fail as names. hot */
static int parse_field(struct slice line, struct parser *p)
{
    struct head *h = p->head;
    struct slice rest = line;
    struct slice name = slice_cut(&rest, ':');

    if (!rest.ptr || name.len == 0 || !all_of(name, C_TOKEN))
        return -400;
    struct slice value = slice_trim(rest);
    if (has_control(value))
        return -400;
    if (h->n_fields >= p->limits->fields_max)
        return -431;
    h->fields[h->n_fields++] = (struct head_field){name, value};
    return note_field(name, value, p);
}

/* What the fields must have in common, when all are there (RFC 9112 sections 3.2, 6.1, 6.3, 9.3).
 */
static int judge(struct parser *p)
{
    struct head *h = p->head;

    if (p->n_hosts == 0 && h->minor > 0)
        return -400;
    if (p->n_codings && (p->n_lengths || h->minor == 0))
        return -400;
    if (!h->host.ptr)
        h->host = p->host_field;
    if (h->minor == 0)
        h->expect_continue = false;
    h->keep_alive = !p->has_close && (h->minor > 0 || p->has_keep_alive);
    return 0;
}

/* --- lines ------------------------------------------------------------------------------------ */

/* Finds the line that begins at *at: 1 and the line without its CRLF, *at behind it; 0: its end is
 * not there yet; -400: it ends in a bare LF. */
static int next_line(const char *buf, size_t len, size_t *at, struct slice *line)
{
    const char *start = buf + *at;
    const char *lf = memchr(start, '\n', len - *at);

    if (!lf)
        return 0;
    if (lf == start || lf[-1] != '\r')
        return -400;
    *line = (struct slice){start, (size_t)(lf - start) - 1};
    *at = (size_t)(lf - buf) + 1;
    return 1;
}

static void reset(struct parser *p)
{
    struct head *h = p->head;

    h->n_fields = 0;
    h->length = 0;
    h->keep_alive = h->expect_continue = h->is_chunked = h->has_length = false;
}

/* Parses from the start of the buffer: the length of the head, 0 when it ends too early (*at is
 * then the start of the line that has no end), or a negative status. hot */
static int parse_lines(const char *buf, size_t len, size_t *at, struct parser *p)
{
    struct slice line;
    int rc = next_line(buf, len, at, &line);

    /* One empty line before the request line is forgiven (RFC 9112 section 2.2). */
    if (rc > 0 && line.len == 0)
        rc = next_line(buf, len, at, &line);
    if (rc <= 0)
        return rc;
    rc = parse_request_line(line, p);
    while (rc == 0) {
        rc = next_line(buf, len, at, &line);
        if (rc <= 0)
            return rc;
        if (line.len == 0) {
            rc = judge(p);
            return rc < 0 ? rc : (int)*at;
        }
        rc = parse_field(line, p);
    }
    return rc;
}

/* An incomplete head: whether it may still become one within the limits. A request line that has
 * no end yet is longer than its target by method and version; 32 bytes are plenty for those. */
static int judge_incomplete(const char *buf, size_t len, const struct head_limits *limits)
{
    if (len > limits->target_max_bytes + 32 && !memchr(buf + 2, '\n', len - 2))
        return -414;
    return len >= limits->head_max_bytes ? -431 : 0;
}

int head_parse(const char *buf, size_t len, const struct head_limits *limits, size_t *scanned,
               struct head *out)
{
    struct parser p = {.head = out, .limits = limits, .host_field = SLICE_NONE};
    size_t at = 0;
    int rc = 0;

    CHECK(limits->fields_max <= HEAD_HEADERS_MAX && limits->head_max_bytes < INT32_MAX);
    CHECK(*scanned <= len);
    /* A head that comes in pieces is parsed anew with each line that it has got; there are at most
     * fields_max of those. */
    if (*scanned == 0 || memchr(buf + *scanned, '\n', len - *scanned)) {
        reset(&p);
        rc = parse_lines(buf, len, &at, &p);
        *scanned = at;
    }
    if (rc == 0)
        return judge_incomplete(buf, len, limits);
    return rc > 0 && (size_t)rc > limits->head_max_bytes ? -431 : rc;
}

struct slice head_field_find(const struct head *h, const char *name)
{
    struct slice wanted = slice_of(name);

    for (size_t i = 0; i < h->n_fields; i++)
        if (slice_equal_case(h->fields[i].name, wanted))
            return h->fields[i].value;
    return SLICE_NONE;
}
