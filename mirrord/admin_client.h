/*
 * What commands ask the running daemon: HTTP requests to its admin listener, whose address is read
 * from the same configuration. Blocking; the main thread of a process that does nothing else.
 * Memory: one answer, ADMIN_ANSWER_MAX at most.
 */
#ifndef MIRRORD_ADMIN_CLIENT_H
#define MIRRORD_ADMIN_CLIENT_H

#include "base/error.h"
#include "base/strbuf.h"

struct admin_client;
struct config;

#define ADMIN_ANSWER_MAX (256 << 20)

struct admin_answer {
    int status;
    struct strbuf body;
    struct strbuf next; /* the path of the next page; empty: this was the last one */
};

/* 0, or a negative errno: it is off, or its port is not known. No request is sent. */
int admin_client_open(const struct config *config, struct admin_client **out, struct error *err);
void admin_client_close(struct admin_client **c);
/* 0 when there was an answer, whatever it is, in *out (admin_answer_fini); or a negative errno. */
int admin_client_call(struct admin_client *c, const char *method, const char *path,
                      struct admin_answer *out, struct error *err);
void admin_answer_fini(struct admin_answer *a);

#endif
