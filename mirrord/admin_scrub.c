/* GET /scrub on the admin listener: what the scrub has found; POST starts a pass, or looks at one
 * blob at once (?digest=). */
#include "config.h"

#include <errno.h>
#include <stdbool.h>

#include "base/check.h"
#include "cache/cache.h"
#include "cache/scrub.h"
#include "mirrord/admin_private.h"
#include "mirrord/query.h"
#include "mirrord/scrubber.h"
#include "mirrord/txn.h"

static void refuse(struct txn *txn, int status, const char *why)
{
    struct strbuf text = STRBUF_INIT;

    strbuf_addf(&text, "{\"error\":\"%s\"}\n", why);
    admin_send(txn, status, "application/json", &text);
}

/* False: refused, and answered. */
static bool ask(struct txn *txn, struct scrub *s)
{
    char text[DIGEST_TEXT_SIZE];
    struct digest d;
    int len = query_find(txn_head(txn)->query, "digest", text, sizeof(text));

    if (len != -ENOENT && (len < 0 || !digest_parse((struct slice){text, (size_t)len}, &d))) {
        refuse(txn, 400, "digest is sha256: or sha512: and hex digits");
        return false;
    }
    if (len == -ENOENT ? scrub_start(s) : scrub_ask(s, &d))
        return true;
    refuse(txn, 409, "scrub.rate is 0, or too much was asked for");
    return false;
}

void admin_scrub(struct txn *txn, const struct admin *admin)
{
    struct scrub *s = cache_scrub(admin->cache);
    bool is_asked = txn_head(txn)->method == HTTP_POST;
    struct strbuf text = STRBUF_INIT;

    if (is_asked && !ask(txn, s))
        return;
    if (is_asked)
        scrubber_kick(admin->scrubber);
    scrub_print_json(s, &text);
    strbuf_add_char(&text, '\n');
    admin_send(txn, is_asked ? 202 : 200, "application/json", &text);
}
