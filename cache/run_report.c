#include "config.h"

#include "cache/run_report.h"

#include <inttypes.h>

#include "base/check.h"

static const char *flag(bool b)
{
    return b ? "true" : "false";
}

void run_report_print(const struct run_report *r, const struct run_count *counts, size_t n_counts,
                      const char *more, struct strbuf *out)
{
    CHECK(r->problem && more);
    strbuf_addf(out,
                "{\"running\":%s,\"complete\":%s,\"started_at\":%" PRId64 ",\"ended_at\":%" PRId64,
                flag(r->is_running), flag(r->is_complete), r->started_at_s, r->ended_at_s);
    for (size_t i = 0; i < n_counts; i++)
        strbuf_addf(out, ",\"%s\":%" PRIu64, counts[i].name, counts[i].value);
    strbuf_addf(out, "%s,\"problem\":\"", more);
    strbuf_add_json(out, slice_of(r->problem));
    strbuf_add_str(out, "\"}");
}
