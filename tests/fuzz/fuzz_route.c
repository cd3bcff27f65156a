/*
 * Method, path and query as they come from a client: whatever is let through keeps the grammar and
 * lies where it says.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

#include "mirrord/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct route route;
    struct slice query = {(const char *)data, size};
    struct slice path = slice_cut(&query, '?');

    enum api_error error = route_parse(HTTP_GET, path, query, &route);
    if (route.id >= ROUTE_MAX || error >= API_ERROR_MAX || !route.allow)
        abort();
    if (error != API_ERROR_NONE)
        return 0;
    if (route.repo.ptr && !name_is_full(route.repo))
        abort();
    if (route.repo.len > NAME_FULL_MAX || (route.base.len && route.base.ptr[0] != '/'))
        abort();
    if (route.id == ROUTE_MANIFEST && !route.is_digest && !name_is_tag(route.reference))
        abort();
    if (route.id == ROUTE_BLOB && !route.is_digest)
        abort();
    if (route.last.len > sizeof(route.last_text))
        abort();
    return 0;
}
