/* An upstream's Link: what is taken of it is a query of the same list, without fragment, in it. */
#include "config.h"

#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "mirrord/referrer_page.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice link = {(const char *)data, size};
    struct strbuf query = STRBUF_INIT;
    struct digest subject;

    CHECK(digest_parse(SLICE("sha256:000000000000000000000000000000000000000000000000000000000000"
                             "0001"),
                       &subject));
    if (referrer_page_next(link, &subject, &query) == 0) {
        CHECK(query.len > 0 && query.len < size);
        CHECK(!memchr(query.ptr, '#', query.len) && !memchr(query.ptr, '>', query.len));
    } else {
        CHECK(query.len == 0);
    }
    strbuf_fini(&query);
    return 0;
}
