/* What an upstream or a file says are referrers: whatever of it is taken can be told to clients,
 * that is, it is taken again as a whole when it has been printed. */
#include "config.h"

#include <stdint.h>

#include "base/check.h"
#include "base/json_walk.h"
#include "base/strbuf.h"
#include "base/utf8.h"
#include "cache/referrer_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_list(const struct referrer_list *list)
{
    struct referrer_list *again = referrer_list_new();
    struct strbuf text = STRBUF_INIT;
    size_t n_left_out;

    referrer_list_print(list, &text);
    struct slice s = {text.ptr, text.len};
    CHECK(utf8_is_valid(s));
    CHECK(referrer_list_read(again, s, &n_left_out, NULL) == 0);
    CHECK(n_left_out == 0 && referrer_list_count(again) == referrer_list_count(list));
    for (size_t i = 0; i < referrer_list_count(list); i++) {
        struct slice one = referrer_list_descriptor(list, i);
        CHECK(slice_equal(one, referrer_list_descriptor(again, i)));
        CHECK(json_walk(one, JSON_WALK_DEPTH_MAX, NULL, NULL, NULL) == 0);
        if (i > 0)
            CHECK(referrer_list_compare(referrer_list_digest(list, i - 1),
                                        referrer_list_digest(list, i)) < 0);
        referrer_list_has_type(list, i, SLICE("a/b+c"));
    }
    strbuf_fini(&text);
    referrer_list_free(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct referrer_list *list = referrer_list_new();
    struct slice text = {(const char *)data, size};
    size_t n_left_out = 0;

    if (referrer_list_read(list, text, &n_left_out, NULL) == 0) {
        referrer_list_sort(list);
        check_list(list);
    } else {
        CHECK(referrer_list_count(list) == 0 && referrer_list_bytes(list) == 0);
    }
    referrer_list_free(&list);
    return 0;
}
