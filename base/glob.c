#include "config.h"

#include "base/glob.h"

#include "base/check.h"

bool glob_match(struct slice pattern, struct slice text)
{
    size_t p = 0, t = 0;
    size_t star = SIZE_MAX, mark = 0; /* the last '*', and where its run of text ends so far */

    CHECK(pattern.ptr || pattern.len == 0);
    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            mark = t;
        } else if (p < pattern.len && (pattern.ptr[p] == '?' || pattern.ptr[p] == text.ptr[t])) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}
