/*
 * Whether this mirror is offline: upstreams are asked for nothing. The setting mirroring.offline
 * says so, or an operator through the admin listener; what the operator said last counts until the
 * setting is given back its word, or the process ends. docs/design/offline.md tells what clients
 * get meanwhile.
 *
 * Owned by the daemon. Any thread; reading is one atomic load.
 */
#ifndef MIRRORD_OFFLINE_H
#define MIRRORD_OFFLINE_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/strbuf.h"

struct offline;

enum offline_by { OFFLINE_BY_SETTING, OFFLINE_BY_OPERATOR };

struct offline *offline_new(void);
void offline_free(struct offline **o);
/* hot */
bool offline_is_on(const struct offline *o);
/* For upstream_set_offline_flag. */
const atomic_bool *offline_flag(const struct offline *o);
void offline_set(struct offline *o, enum offline_by by, bool is_on);
/* The operator has no opinion any more: the setting counts. */
void offline_clear(struct offline *o);
/* {"offline":…,"by":"setting"|"operator"} */
void offline_print_json(struct offline *o, struct strbuf *out);

#endif
