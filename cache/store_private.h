/* What the store offers to the rest of its folder only. */
#ifndef CACHE_STORE_PRIVATE_H
#define CACHE_STORE_PRIVATE_H

#include <stdbool.h>
#include <sys/stat.h>

#include "cache/layout.h"
#include "cache/store.h"

/* Takes the descriptor of a blob that just got its final name, and puts it among the open ones, so
 * that it is found from now on. The caller gets a reference. Any thread. */
struct blob *store_add(struct store *s, const struct digest *d, int fd);
/* For who gives a blob its final name without store_put_now. */
struct vouches *store_vouches(struct store *s);
struct layout *store_layout(struct store *s);
/* NULL: nobody wants to know what is stored. */
struct ledger *store_ledger(struct store *s);
/* Before anything is stored. */
void store_set_ledger(struct store *s, struct ledger *ledger);
/* Somebody reads it, as far as the open ones tell. */
bool store_is_in_use(struct store *s, const struct digest *d);

/* A blob that shall go, if it still may when nobody else can look at it. */
struct store_removal {
    const struct digest *digest;
    /* Asked under the digest's lock, before and after the file has been moved out of the way. */
    bool (*may_go)(void *arg, const struct digest *d, const struct stat *st);
    void *arg;
    uint64_t *size_out;
    /* Asked once, and a small file is not moved first: who was told of it without the lock has an
     * ordinary miss. */
    bool is_final;
    /* The ledger says so; then nobody looks at the file, and may_go gets no stat. */
    bool has_size;
    uint64_t size;
    /* Who asks holds the ledger's lock and drops its row himself. */
    bool is_in_ledger_batch;
};
/* Pool threads. 0: it is gone (also when *err says that its bytes still take room for a while);
 * -EBUSY: it may not go; -ENOENT; or another negative errno. err->code is 0 when nothing failed. */
int store_remove_now(struct store *s, const struct store_removal *r, struct error *err);
/* Under the lock of its digest: the empty folder of a blob. */
void store_remove_folder_locked(const char *path);

#endif
