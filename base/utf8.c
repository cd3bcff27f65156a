#include "config.h"

#include "base/utf8.h"

#include "base/check.h"

size_t utf8_length(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;

    CHECK(n > 0);
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    size_t length = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    unsigned low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    unsigned high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (length > n || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return length;
}

bool utf8_is_valid(struct slice s)
{
    for (size_t i = 0, length; i < s.len; i += length) {
        length = utf8_length(s.ptr + i, s.len - i);
        if (length == 0)
            return false;
    }
    return true;
}
