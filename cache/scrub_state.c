#include "config.h"

#include "cache/scrub_state.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/disk.h"

#define STATE_MAX_BYTES 4096

/* The counts of a report that are written down. */
static const struct row {
    const char *name;
    size_t at;
} ROWS[] = {
    {"blobs", offsetof(struct scrub_report, n_blobs)},
    {"bytes", offsetof(struct scrub_report, bytes)},
    {"damaged", offsetof(struct scrub_report, n_damaged)},
    {"removed", offsetof(struct scrub_report, n_removed)},
    {"refetched", offsetof(struct scrub_report, n_refetched)},
    {"healed", offsetof(struct scrub_report, n_healed)},
    {"unreadable", offsetof(struct scrub_report, n_unreadable)},
    {"links", offsetof(struct scrub_report, n_links)},
    {"links_repaired", offsetof(struct scrub_report, n_links_repaired)},
    {"missing", offsetof(struct scrub_report, n_missing)},
    {"damaged_pushed", offsetof(struct scrub_report, n_bad_pushed)},
    {"tags", offsetof(struct scrub_report, n_tags)},
    {"tags_removed", offsetof(struct scrub_report, n_tags_removed)},
    {"damaged_tags", offsetof(struct scrub_report, n_bad_tags)},
};
#define N_ROWS (sizeof(ROWS) / sizeof(ROWS[0]))

static char *path_of(const struct layout *l)
{
    return xasprintf("%s/_mirrord/scrub.json", layout_root(l));
}

static json_int_t number_of(json_t *root, const char *key)
{
    json_int_t n = json_integer_value(json_object_get(root, key));

    return n > 0 ? n : 0;
}

void scrub_state_load(const struct layout *l, struct scrub_state *out)
{
    struct strbuf text = STRBUF_INIT;
    char *path = path_of(l);
    json_t *root = NULL;

    *out = (struct scrub_state){0};
    if (disk_read_file(path, STATE_MAX_BYTES, &text) == 0 && text.len > 0)
        root = json_loadb(text.ptr, text.len, 0, NULL);
    json_t *after = json_object_get(root, "after");
    struct slice digest = {json_string_value(after), json_string_length(after)};
    out->has_after = digest.len > 0 && digest_parse(digest, &out->after);
    out->next_at_s = number_of(root, "next_at");
    out->report.started_at_s = number_of(root, "started_at");
    out->report.ended_at_s = number_of(root, "ended_at");
    out->report.is_complete = json_is_true(json_object_get(root, "complete"));
    for (size_t i = 0; i < N_ROWS; i++)
        *(uint64_t *)((char *)&out->report + ROWS[i].at) = (uint64_t)number_of(root, ROWS[i].name);
    json_decref(root);
    strbuf_fini(&text);
    free(path);
}

int scrub_state_save(struct layout *l, const struct scrub_state *state, struct error *err)
{
    struct strbuf text = STRBUF_INIT;
    char digest[DIGEST_TEXT_SIZE];
    char *path = path_of(l);
    const struct scrub_report *r = &state->report;

    CHECK(r->started_at_s >= 0);
    strbuf_addf(&text,
                "{\"next_at\":%" PRId64 ",\"started_at\":%" PRId64 ",\"ended_at\":%" PRId64
                ",\"complete\":%s",
                state->next_at_s, r->started_at_s, r->ended_at_s,
                r->is_complete ? "true" : "false");
    for (size_t i = 0; i < N_ROWS; i++)
        strbuf_addf(&text, ",\"%s\":%" PRIu64, ROWS[i].name,
                    *(const uint64_t *)((const char *)r + ROWS[i].at));
    if (state->has_after) {
        digest_format(&state->after, digest);
        strbuf_addf(&text, ",\"after\":\"%s\"", digest);
    }
    strbuf_add_str(&text, "}\n");
    int rc = disk_write_file(l, path, (struct slice){text.ptr, text.len}, DISK_WHOLE, err);
    strbuf_fini(&text);
    free(path);
    return rc;
}
