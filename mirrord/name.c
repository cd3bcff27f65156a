#include "config.h"

#include "mirrord/name.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"

static bool is_lower_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* How many bytes at s are one separator of a component: ".", "_", "__", or any run of "-"; 0 when
 * there is none. */
static size_t separator_len(struct slice s)
{
    size_t n = 0;

    if (s.len == 0)
        return 0;
    if (s.ptr[0] == '.')
        return 1;
    if (s.ptr[0] == '_')
        return s.len > 1 && s.ptr[1] == '_' ? 2 : 1;
    while (n < s.len && s.ptr[n] == '-')
        n++;
    return n;
}

static bool is_component(struct slice s)
{
    size_t i = 0;

    for (;;) {
        size_t begin = i;
        while (i < s.len && is_lower_alnum(s.ptr[i]))
            i++;
        if (i == begin)
            return false;
        if (i == s.len)
            return true;
        size_t n = separator_len((struct slice){s.ptr + i, s.len - i});
        if (n == 0)
            return false;
        i += n;
    }
}

/* One component or more; an empty one is none. */
static bool is_path(struct slice rest)
{
    while (rest.ptr) {
        if (!is_component(slice_cut(&rest, '/')))
            return false;
    }
    return true;
}

bool name_is_repo(struct slice s)
{
    return s.len > 0 && s.len <= NAME_REPO_MAX && is_path(s);
}

bool name_is_full(struct slice s)
{
    struct slice rest = s;
    struct slice port = slice_cut(&rest, '/');
    struct slice host = slice_cut(&port, ':');
    uint64_t number;

    if (s.len == 0 || s.len > NAME_FULL_MAX || !is_component(host))
        return false;
    if (port.ptr && (!slice_to_u64(port, &number) || number > UINT16_MAX || !rest.ptr))
        return false;
    return !rest.ptr || is_path(rest);
}

static bool is_tag_char(char c)
{
    return is_lower_alnum(c) || (c >= 'A' && c <= 'Z') || c == '_' || c == '.' || c == '-';
}

bool name_is_tag(struct slice s)
{
    if (s.len == 0 || s.len > NAME_TAG_MAX || s.ptr[0] == '.' || s.ptr[0] == '-')
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!is_tag_char(s.ptr[i]))
            return false;
    }
    return true;
}

/* The byte that the escape at s stands for, or -1. */
static int escape_value(struct slice s)
{
    if (s.len < 3)
        return -1;
    int high = slice_hex_digit(s.ptr[1]), low = slice_hex_digit(s.ptr[2]);
    int c = high * 16 + low;
    return high < 0 || low < 0 ? -1 : c;
}

bool name_is_encoded(struct slice raw)
{
    return raw.len > 0 && memchr(raw.ptr, '%', raw.len) != NULL;
}

int name_decode(struct slice raw, bool is_path, char *out, size_t out_size)
{
    size_t n = 0;

    for (size_t i = 0; i < raw.len; i++) {
        int c = (unsigned char)raw.ptr[i];
        if (c == '%') {
            c = escape_value((struct slice){raw.ptr + i, raw.len - i});
            i += 2;
            if (is_path && c == '/')
                return -EINVAL;
        }
        if (c < 0x20 || c == 0x7f)
            return -EINVAL;
        if (n == out_size)
            return -E2BIG;
        out[n++] = (char)c;
    }
    return (int)n;
}

bool name_has_only(struct slice s, const char *more)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && (c == '\0' || !strchr(more, c)))
            return false;
    }
    return s.len > 0;
}

size_t name_canonical(struct slice repo, bool is_hub, char out[NAME_HUB_SIZE])
{
    static const struct slice LIBRARY = {"library/", 8};
    size_t n = 0;

    CHECK(repo.len > 0 && repo.len <= NAME_REPO_MAX);
    if (is_hub && !memchr(repo.ptr, '/', repo.len)) {
        memcpy(out, LIBRARY.ptr, LIBRARY.len);
        n = LIBRARY.len;
    }
    memcpy(out + n, repo.ptr, repo.len);
    return n + repo.len;
}
