/*
 * Who may push what: push.repositories and push.networks, compiled once per load of the
 * configuration. Immutable, owned by the API's snapshot of its settings; any thread. Judging walks
 * both lists; their length is the configuration's choice, no client's.
 *
 * Nothing matches: refused. A repository of Docker Hub that has a short name ("nginx" for
 * "library/nginx") can be meant by either, so that an exclusion cannot be got around by spelling.
 */
#ifndef MIRRORD_PUSH_RULES_H
#define MIRRORD_PUSH_RULES_H

#include <stdbool.h>

#include "base/error.h"
#include "base/slice.h"
#include "mirrord/network.h"
#include "mirrord/tag_pattern.h"

struct push_rules;

enum push_verdict { PUSH_ALLOWED, PUSH_WRONG_NETWORK, PUSH_WRONG_REPOSITORY, PUSH_VERDICT_MAX };

/* 0, or -EINVAL with the reason: a pattern of push.repositories that no repository can match. */
int push_rules_check_pattern(struct slice pattern, struct error *err);
/* Lists are NULL-terminated, or NULL: empty. What does not parse allows nothing; the configuration
 * has refused it before. names NULL: those of the storage only. */
struct push_rules *push_rules_new(const char *const *repositories, const char *const *networks,
                                  const struct tag_pattern_names *names);
void push_rules_free(struct push_rules **rules);
/* repo: canonical. */
enum push_verdict push_rules_judge(const struct push_rules *rules, struct slice repo,
                                   const struct network_address *peer);

#endif
