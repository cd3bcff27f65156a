/* The map beside a partial file: any bytes; what is accepted must survive being printed. */
#include "config.h"

#include <stdint.h>

#include "base/check.h"
#include "cache/fill_map.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct segments present, again;
    struct strbuf text = STRBUF_INIT;
    uint64_t blob_size, size_again;

    segments_init(&present);
    segments_init(&again);
    if (fill_map_parse((struct slice){(const char *)data, size}, &present, &blob_size)) {
        fill_map_print(&present, blob_size, &text);
        CHECK(fill_map_parse((struct slice){text.ptr, text.len}, &again, &size_again));
        CHECK(again.n == present.n && again.total == present.total && size_again == blob_size);
    }
    strbuf_fini(&text);
    segments_fini(&present);
    segments_fini(&again);
    return 0;
}
