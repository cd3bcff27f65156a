/*
 * Uploads as a test's own thread uses them: each call runs on a worker and comes back when its
 * callback has come.
 */
#ifndef TESTS_UNIT_UPLOAD_DESK_H
#define TESTS_UNIT_UPLOAD_DESK_H

#include "cache/upload.h"
#include "tests/unit/cache_place.h"

/* The worker and the outcome of the last call. */
struct desk {
    struct place *place;
    unsigned worker;
    const char *repo;
    struct moment over;
    struct moment room; /* comes with each `room` */
    int rc;
    struct upload *upload;
    uint64_t size;
    struct digest found;
    char why[256];
    char id[UPLOAD_ID_SIZE];
};

void desk_init(struct desk *d, struct place *p, unsigned worker, const char *repo);
void desk_fini(struct desk *d);

/* They fill upload and id; return rc. */
int desk_create(struct desk *d, bool is_single, enum digest_alg alg);
int desk_open(struct desk *d, const char *id);
/* Fills size. */
int desk_ask_size(struct desk *d, const char *id);
/* One call of upload_write, of any size; fills size. */
int desk_write(struct desk *d, const void *p, size_t n);
void desk_release(struct desk *d);
/* Fills found and why. */
int desk_commit(struct desk *d, const struct digest *digest);
void desk_cancel(struct desk *d);

/* Paths below the place's root. */
const char *desk_folder(struct desk *d, const char *id);
const char *desk_file(struct desk *d, const char *id, const char *file);
const char *desk_link(struct desk *d, const struct digest *digest);
/* The blob is there with this content, and the repository has it. */
bool desk_has_blob(struct desk *d, const struct digest *digest, const void *p, size_t n);

#endif
