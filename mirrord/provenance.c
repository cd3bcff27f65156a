#include "config.h"

#include "mirrord/provenance.h"

#include <stddef.h>

#include "base/check.h"
#include "cache/origin.h"
#include "mirrord/txn.h"

void provenance_tell(struct txn *txn, struct reply *r, const struct origin *origin)
{
    CHECK(txn && r);
    if (!origin)
        return;
    txn_note_origin(txn, origin->is_pushed, origin->upstream);
    if (origin->is_pushed)
        reply_header_lines(r, SLICE("X-Mirrord-Origin: pushed\r\n"));
    else if (origin->upstream)
        reply_headerf(r, "X-Mirrord-Origin", "mirrored; upstream=%s", origin->upstream);
    else
        reply_header_lines(r, SLICE("X-Mirrord-Origin: mirrored\r\n"));
}
