/* Parsing and resolving URLs: the normal form parses to itself and is safe to send. */
#include "config.h"

#include "base/url.h"

#include <string.h>

#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void check_normal(const struct url *u)
{
    struct url again;

    CHECK(strlen(u->text) <= URL_BYTES_MAX && !strpbrk(u->text, " \r\n\t\\"));
    CHECK(u->host.len > 0 && u->path.len > 0 && u->path.ptr[0] == '/' && u->port > 0);
    CHECK(!memchr(u->origin.ptr, '@', u->origin.len));
    url_copy(u, &again);
    CHECK(strcmp(u->text, again.text) == 0 && url_same_origin(u, &again));
    (void)url_host_is_address(u);
    url_fini(&again);
}

/* The first line is a base, what follows a reference. */
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    struct slice rest = {(const char *)p, n};
    struct slice first = slice_cut(&rest, '\n');
    struct strbuf b = STRBUF_INIT;
    struct url base, target;

    if (url_parse(first, &base, NULL) == 0) {
        check_normal(&base);
        if (rest.ptr && url_resolve(&base, rest, &target, NULL) == 0) {
            check_normal(&target);
            url_fini(&target);
        }
        url_fini(&base);
    }
    url_add_encoded(&b, first, "/");
    strbuf_clear(&b);
    (void)url_add_decoded(&b, first);
    strbuf_fini(&b);
    return 0;
}
