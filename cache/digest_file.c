#include "config.h"

#include "cache/digest_file.h"

#include <errno.h>

#include "base/check.h"
#include "cache/disk.h"

int digest_file_read(const char *path, struct digest *out)
{
    struct strbuf text = STRBUF_INIT;
    int rc = disk_read_file(path, DIGEST_TEXT_SIZE + 2, &text);

    CHECK(rc <= 0);
    if (rc == 0) {
        struct slice s = {text.ptr, text.len};
        while (s.len > 0 && (s.ptr[s.len - 1] == '\n' || s.ptr[s.len - 1] == '\r'))
            s.len--;
        rc = s.len > 0 && digest_parse(s, out) ? 0 : -ENOENT;
    }
    strbuf_fini(&text);
    return rc == -EFBIG || rc == -ENOTDIR ? -ENOENT : rc;
}
