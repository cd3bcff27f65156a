/* Who may push: what the settings say about a request that would change a repository. */
#include "config.h"

#include "base/check.h"
#include "mirrord/api_private.h"
#include "mirrord/push_rules.h"
#include "mirrord/txn.h"

static const struct {
    const char *reason;
    enum metric metric;
} REFUSALS[] = {
    [PUSH_ALLOWED] = {NULL, METRIC_MAX},
    [PUSH_WRONG_NETWORK] = {"network", METRIC_PUSH_DENIED_NETWORK},
    [PUSH_WRONG_REPOSITORY] = {"repository", METRIC_PUSH_DENIED_REPOSITORY},
};
_Static_assert(sizeof(REFUSALS) / sizeof(REFUSALS[0]) == PUSH_VERDICT_MAX, "a row for each");

bool api_push_allow(const struct api_request *q)
{
    const struct api_snapshot *s = api_snapshot_now(q->api);

    CHECK(q->repo.ptr);
    enum push_verdict verdict = push_rules_judge(s->push_rules, q->repo, txn_peer_address(q->txn));
    if (verdict == PUSH_ALLOWED)
        return true;
    struct api_error_info info = {.detail_key = "reason",
                                  .detail_value = slice_of(REFUSALS[verdict].reason)};
    metric_inc(REFUSALS[verdict].metric);
    api_error_reply(q->txn, API_ERROR_PUSH_DENIED, &info);
    return false;
}
