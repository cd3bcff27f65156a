#include "config.h"

#include "cache/fill_map.h"

#include "base/check.h"
#include "cache/fill.h"

void fill_map_print(const struct segments *present, uint64_t size, struct strbuf *out)
{
    strbuf_add_str(out, "mirrord-map 1\nsize ");
    if (size == FILL_SIZE_UNKNOWN)
        strbuf_add_str(out, "unknown");
    else
        strbuf_add_u64(out, size);
    strbuf_add_char(out, '\n');
    for (size_t i = 0; i < present->n && i < FILL_MAP_RUNS_MAX; i++) {
        CHECK(present->runs[i].off < present->runs[i].end);
        strbuf_add_u64(out, present->runs[i].off);
        strbuf_add_char(out, ' ');
        strbuf_add_u64(out, present->runs[i].end);
        strbuf_add_char(out, '\n');
    }
    strbuf_add_str(out, "end\n");
}

/* "size <n>" or "size unknown". */
static bool parse_size(struct slice line, uint64_t *out)
{
    struct slice value = line;
    struct slice word = slice_cut(&value, ' ');

    if (!slice_equal(word, SLICE("size")) || !value.ptr)
        return false;
    if (slice_equal(value, SLICE("unknown"))) {
        *out = FILL_SIZE_UNKNOWN;
        return true;
    }
    return slice_to_u64(value, out) && *out != FILL_SIZE_UNKNOWN;
}

/* "<off> <end>", behind what is there already and within the size. */
static bool parse_run(struct slice line, uint64_t size, struct segments *present)
{
    uint64_t off, end;
    struct slice rest = line;
    struct slice first = slice_cut(&rest, ' ');

    if (!rest.ptr || !slice_to_u64(first, &off) || !slice_to_u64(rest, &end))
        return false;
    if (off >= end || end > size || present->n >= FILL_MAP_RUNS_MAX)
        return false;
    /* Offsets of files are signed. */
    if (end > INT64_MAX || (present->n > 0 && off <= segments_last_end(present)))
        return false;
    segments_add(present, off, end);
    return true;
}

static bool parse_lines(struct slice rest, struct segments *present, uint64_t *size_out)
{
    uint64_t size;

    if (!slice_equal(slice_cut(&rest, '\n'), SLICE("mirrord-map 1")) || !rest.ptr)
        return false;
    if (!parse_size(slice_cut(&rest, '\n'), &size))
        return false;
    while (rest.ptr) {
        struct slice line = slice_cut(&rest, '\n');
        if (slice_equal(line, SLICE("end"))) {
            *size_out = size;
            return rest.ptr && rest.len == 0;
        }
        if (!parse_run(line, size, present))
            return false;
    }
    return false;
}

bool fill_map_parse(struct slice text, struct segments *present, uint64_t *size_out)
{
    uint64_t size;

    segments_clear(present);
    if (!text.ptr || text.len > FILL_MAP_MAX_BYTES || !parse_lines(text, present, &size)) {
        segments_clear(present);
        return false;
    }
    *size_out = size;
    return true;
}
