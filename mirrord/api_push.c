/* Who may push: what the settings say about a request that would change a repository. */
#include "config.h"

#include <errno.h>

#include "base/check.h"
#include "mirrord/api_private.h"
#include "mirrord/precedence.h"
#include "mirrord/push_rules.h"
#include "mirrord/query.h"
#include "mirrord/txn.h"

enum refusal { REFUSAL_NONE, REFUSAL_NETWORK, REFUSAL_REPOSITORY, REFUSAL_PRECEDENCE, REFUSAL_MAX };

static const struct {
    const char *reason;
    enum metric metric;
} REFUSALS[] = {
    [REFUSAL_NONE] = {NULL, METRIC_MAX},
    [REFUSAL_NETWORK] = {"network", METRIC_PUSH_DENIED_NETWORK},
    [REFUSAL_REPOSITORY] = {"repository", METRIC_PUSH_DENIED_REPOSITORY},
    [REFUSAL_PRECEDENCE] = {"precedence", METRIC_PUSH_DENIED_PRECEDENCE},
};
_Static_assert(sizeof(REFUSALS) / sizeof(REFUSALS[0]) == REFUSAL_MAX, "a row for each");

static bool is_upstreams(const struct api_request *q, struct slice tag)
{
    return precedence_of(q->api, q->repo, tag) == PRECEDENCE_UPSTREAM_ONLY;
}

/* Whether anything that the request would put here belongs to the upstream only. */
static bool is_any_upstreams(const struct api_request *q)
{
    struct slice query = txn_head(q->txn)->query;
    char tag[NAME_TAG_MAX + 1];
    int len;

    if (q->route->id != ROUTE_MANIFEST)
        return is_upstreams(q, SLICE_NONE);
    while ((len = query_next(&query, "tag", tag, sizeof(tag))) != -ENOENT)
        if (len > 0 && is_upstreams(q, (struct slice){tag, (size_t)len}))
            return true;
    return is_upstreams(q, q->route->is_digest ? SLICE_NONE : q->route->reference);
}

static enum refusal judge(const struct api_request *q)
{
    const struct push_rules *rules = api_snapshot_now(q->api)->push_rules;

    switch (push_rules_judge(rules, q->repo, txn_peer_address(q->txn))) {
    case PUSH_ALLOWED:
        break;
    case PUSH_WRONG_NETWORK:
        return REFUSAL_NETWORK;
    default:
        return REFUSAL_REPOSITORY;
    }
    /* What was pushed under other rules can still be deleted. */
    if (q->method == HTTP_DELETE || !is_any_upstreams(q))
        return REFUSAL_NONE;
    return REFUSAL_PRECEDENCE;
}

bool api_push_allow(const struct api_request *q)
{
    CHECK(q->repo.ptr);
    enum refusal refusal = judge(q);
    if (refusal == REFUSAL_NONE)
        return true;
    struct api_error_info info = {.detail_key = "reason",
                                  .detail_value = slice_of(REFUSALS[refusal].reason)};
    metric_inc(REFUSALS[refusal].metric);
    api_error_reply(q->txn, API_ERROR_PUSH_DENIED, &info);
    return false;
}
