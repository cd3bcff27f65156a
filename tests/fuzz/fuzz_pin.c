/* pin_parse: the text of a pin's file. What it takes is a valid name, and reads back as the same.
 */
#include "config.h"

#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "cache/pin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct slice repo, reference;

    if (!pin_parse(text, &repo, &reference))
        return 0;
    CHECK(repo.len > 0 && reference.len > 0);
    CHECK(layout_repo_is_valid(repo));
    CHECK(repo.ptr == text.ptr && reference.ptr == repo.ptr + repo.len + 1);
    CHECK(reference.ptr + reference.len <= text.ptr + text.len);
    return 0;
}
