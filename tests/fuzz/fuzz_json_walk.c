/* A JSON text: what is told lies in it, nests rightly, and its strings can be undone. */
#include "config.h"

#include <stdint.h>
#include <string.h>

#include "base/check.h"
#include "base/json_text.h"
#include "base/json_walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct slice text;
    unsigned depth; /* objects and arrays that are open */
};

static void check_part(const struct seen *seen, struct slice part)
{
    if (!part.ptr)
        return;
    CHECK(part.ptr >= seen->text.ptr);
    CHECK(part.ptr + part.len <= seen->text.ptr + seen->text.len);
}

static void check_string(struct slice source)
{
    char room[64];

    int n = json_text_undo(source, room, sizeof(room));
    if (n >= 0)
        CHECK(json_text_is(source, (struct slice){room, (size_t)n}));
}

static int on_value(void *arg, const struct json_value *v)
{
    struct seen *seen = arg;
    bool is_container = v->kind == JSON_WALK_OBJECT || v->kind == JSON_WALK_ARRAY;

    check_part(seen, v->key);
    check_part(seen, v->text);
    if (is_container && v->is_end)
        seen->depth--;
    CHECK(v->depth == seen->depth);
    if (is_container && !v->is_end)
        seen->depth++;
    if (v->key.ptr)
        check_string(v->key);
    if (v->kind == JSON_WALK_STRING)
        check_string(v->text);
    if (v->is_end) /* what was one value as a part is one by itself */
        CHECK(v->text.len >= 2 && strchr("}]", v->text.ptr[v->text.len - 1]));
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen seen = {.text = {(const char *)data, size}};

    if (json_walk(seen.text, JSON_WALK_DEPTH_MAX, on_value, &seen, NULL) == 0)
        CHECK(seen.depth == 0);
    json_walk(seen.text, 3, NULL, NULL, NULL);
    return 0;
}
