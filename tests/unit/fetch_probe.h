/*
 * What the tests of fetches share: workers with an upstream on a script server, and probes, which
 * are fetches that note what they are told. A probe is started from the test's thread and watched
 * there; its callbacks run on its worker.
 */
#ifndef TESTS_UNIT_FETCH_PROBE_H
#define TESTS_UNIT_FETCH_PROBE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "base/worker.h"
#include "tests/unit/script_server.h"
#include "upstream/fetch.h"
#include "upstream/upstream.h"

#define LAB_WORKERS 2
#define LAB_BODY_BYTES 300000

struct lab {
    struct worker *workers[LAB_WORKERS];
    struct upstream *upstream;
};

/* Short limits, no credentials; change it before lab_open(). The URL is filled in there. */
struct upstream_config lab_config(void);
void lab_open(struct lab *lab, struct upstream_config *config, const struct script_server *s);
void lab_close(struct lab *lab);
/* Returns when everything that was in the mailbox of worker n has run. */
void lab_settle(struct lab *lab, unsigned n);

/* The n bytes of the body that all blobs here are cut from, from `first` on. */
const char *lab_body(uint64_t first);
/* Answers a blob request rightly: 200, or 206 to a Range; stops short after cut_after bytes
 * (UINT64_MAX: does not). Returns whether the connection may go on. */
bool lab_serve_blob(struct script_request *r, uint64_t cut_after);

enum probe_act {
    PROBE_GO_ON,
    PROBE_REFUSE_HEAD,
    PROBE_REFUSE_BODY,
    PROBE_CANCEL_IN_HEAD,
    PROBE_CANCEL_IN_BODY,
    PROBE_PAUSE, /* before every piece */
    PROBE_HOLD   /* pauses once and waits for probe_resume */
};

struct probe {
    struct lab *lab;
    struct worker *worker;
    struct fetch_spec spec;
    enum probe_act act;
    struct mail resume;
    struct fetch *fetch; /* worker's thread only */

    pthread_mutex_t lock; /* guards all below */
    pthread_cond_t changed;
    unsigned n_heads, n_pauses, n_calls;
    struct fetch_head head; /* its slices point into the copies */
    char media_type[128], digest[128], link[256];
    struct strbuf body;
    bool is_done;
    bool is_cancelled;
    bool is_paused;
    struct fetch_result result;
};

void probe_start(struct probe *p, struct lab *lab, unsigned n_worker, enum fetch_kind kind,
                 const char *reference);
void probe_wait(struct probe *p);
void probe_wait_paused(struct probe *p);
void probe_resume(struct probe *p);
/* Cancels, and returns when it is done and everything behind it has settled. */
void probe_cancel(struct probe *p);
void probe_free(struct probe *p);
/* Start, wait, and check the outcome. */
void probe_run(struct probe *p, struct lab *lab, enum fetch_kind kind, const char *reference,
               enum fetch_outcome outcome);
void probe_check_body(struct probe *p, uint64_t first, uint64_t n);

#endif
