#include "config.h"

#include "mirrord/registry_host.h"

#include <errno.h>
#include <string.h>

#include "base/check.h"
#include "mirrord/name.h"

const char *const REGISTRY_HOST_HUB[] = {"docker.io", "index.docker.io", "registry-1.docker.io",
                                         "registry.hub.docker.com", NULL};

bool registry_host_is_hub(struct slice host)
{
    for (size_t i = 0; REGISTRY_HOST_HUB[i]; i++)
        if (slice_equal(host, slice_of(REGISTRY_HOST_HUB[i])))
            return true;
    return false;
}

int registry_host_check(struct slice host, struct error *err)
{
    struct slice port = host;
    struct slice name = slice_cut(&port, ':');
    uint64_t number;

    CHECK(host.ptr);
    if (host.len > REGISTRY_HOST_MAX)
        return error_set(err, -EINVAL, "longer than %d bytes", REGISTRY_HOST_MAX);
    if (slice_equal(name, SLICE("v1")) || slice_equal(name, SLICE("v2")))
        return error_set(err, -EINVAL, "the beginning of a path of the protocol");
    if (!name_is_repo(name) || memchr(name.ptr, '/', name.len))
        return error_set(err, -EINVAL, "no host: lower case, digits, dots and dashes");
    if (port.ptr && (!slice_to_u64(port, &number) || number == 0 || number > UINT16_MAX))
        return error_set(err, -EINVAL, "no port behind the colon");
    return 0;
}
