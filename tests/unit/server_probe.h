/*
 * A server on one worker thread with a handler that does what its paths say, and a blocking client
 * that sends raw bytes and reads answers. Every wait has an end: after PROBE_TIMEOUT_S it fails.
 *
 *   /memory   "hello"                 /type      its own Content-Type
 *   /file     the probe's file        /empty     204
 *   /body     counts the body         /pause     the same, pausing after each piece
 *   /stop     reads one piece, then answers 401    /refuse  401, reads nothing
 *   /hold     answers when released   /gone      never answers, tells when the client has left
 *   /wait     a source that has nothing until released
 *   /cut      a source that fails after 1000 of 5000 bytes; /cut0 fails at once
 *   /evil     line breaks in values   /overlong  more head than allowed
 */
#ifndef TESTS_UNIT_SERVER_PROBE_H
#define TESTS_UNIT_SERVER_PROBE_H

#include <semaphore.h>

#include "base/strbuf.h"
#include "base/worker.h"
#include "mirrord/server.h"
#include "tests/unit/unit.h"

#define PROBE_TIMEOUT_S 60
#define PROBE_FILE_BYTES (3 * 1024 * 1024 + 7)
#define PROBE_BODY_MAX (8 * 1024 * 1024)

struct probe {
    struct server_config config; /* to be changed between probe_init and probe_start */
    struct server *server;
    struct worker *worker;
    int file_fd;
    char *file;   /* the same bytes */
    sem_t held;   /* a handler or source waits to be released */
    sem_t gone;   /* a client was told to have left */
    sem_t closed; /* a source was closed */
    sem_t drained;
    int body_rc; /* the last body's end */

    struct txn *held_txn; /* worker's thread only, like all below */
    struct reply *held_reply;
    uint64_t n_body;
    bool is_released;
    bool is_source_waiting;
    struct txn *body_txn;
    struct mail resume;
};

struct answer {
    int status;
    struct strbuf head, body;
};

void probe_init(struct probe *p);
void probe_start(struct probe *p, const char *address);
/* Drains, waits, checks that nothing is left, frees. */
void probe_stop(struct probe *p);
/* What /hold or /wait waits for. */
void probe_release(struct probe *p);
void probe_await(sem_t *s);
/* All mail posted so far has been delivered. */
void probe_settle(struct probe *p);

int probe_connect(const struct probe *p);
void probe_send(int fd, const char *text);
void probe_send_bytes(int fd, const void *bytes, size_t n);
/* Reads one answer; is_head: the request was HEAD. Free it with answer_fini. */
void probe_read(int fd, bool is_head, struct answer *a);
/* Reads one answer and checks its status; the body, too, when it is not NULL. */
void probe_expect(int fd, int status, const char *body);
/* The peer ended in order, having sent nothing more. */
void probe_expect_end(int fd);
void answer_fini(struct answer *a);

#endif
