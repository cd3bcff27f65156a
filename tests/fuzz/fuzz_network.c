/* A network of the settings: one that is understood holds its own address. */
#include "config.h"

#include <stdlib.h>

#include "mirrord/network.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct network network;
    struct error err;

    if (network_parse((struct slice){(const char *)data, size}, &network, &err) < 0) {
        if (err.text[0] == '\0')
            abort();
        return 0;
    }
    if (network.prefix > (network.base.is_ipv4 ? 32 : 128) ||
        !network_holds(&network, &network.base))
        abort();
    return 0;
}
