/* WWW-Authenticate: every round consumes something, no control character gets through. */
#include "config.h"

#include "upstream/challenge.h"

#include <string.h>

#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check_text(const char *s)
{
    for (; s && *s; s++)
        CHECK((unsigned char)*s >= 0x20 && *s != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct slice rest = {(const char *)p, n};
    struct challenge c;
    size_t before = rest.len;

    while (challenge_next(&rest, &c)) {
        CHECK(rest.len < before);
        before = rest.len;
        check_text(c.realm);
        check_text(c.service);
        check_text(c.scope);
        check_text(c.error);
        challenge_fini(&c);
    }
    return 0;
}
