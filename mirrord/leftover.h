/*
 * What a client still sends that nobody wants: the unread rest of a request body, read and dropped
 * within bounds so that the connection can go on; and lingering close, which reads and forgets for
 * a while after the last answer, because closing a socket with unread bytes resets it and the
 * client may lose the answer (docs/design/strict-http.md). Steps of a connection, its thread.
 */
#ifndef MIRRORD_LEFTOVER_H
#define MIRRORD_LEFTOVER_H

#include "mirrord/conn.h"

/* The answer is out and promised to go on: drop the rest of the body. Keeps the transaction. */
void leftover_start_discard(struct conn *c);
enum conn_step leftover_step_discard(struct conn *c);

/* The connection's last answer is out, or cut: no transaction any more. */
void leftover_start_linger(struct conn *c);
enum conn_step leftover_step_linger(struct conn *c);

#endif
