/* The media type of a manifest from its bytes: any bytes give one that can stand in a header. */
#include "config.h"

#include <stdint.h>

#include "base/check.h"
#include "cache/manifest_type.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char type[MANIFEST_TYPE_SIZE];

    manifest_type_derive((struct slice){(const char *)data, size}, type, NULL);
    CHECK(manifest_type_is_valid(slice_of(type)));
    return 0;
}
