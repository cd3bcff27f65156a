/*
 * Who works on a storage folder, across processes: _mirrord/lock. Every process that serves or
 * changes it is present for as long as it lives; any number may be. The garbage collector removes
 * something only while no other process is present, since it does not know what others have told
 * their clients. Who reads a record and writes it changed holds its place meanwhile, so that what
 * two processes do to one tag or link happens one after the other. Locks of the kernel, so that
 * none survives its process (kill -9).
 */
#ifndef CACHE_STORAGE_LOCK_H
#define CACHE_STORAGE_LOCK_H

#include "base/error.h"
#include "cache/layout.h"

struct storage_lock;

/* Presence from here on. Waits while another process is between enter and leave, which is short.
 * Blocking. NULL with *err when the file cannot be made or locked: then nothing can be collected.
 */
struct storage_lock *storage_lock_new(const struct layout *l, struct error *err);
void storage_lock_free(struct storage_lock **k);

/* One thread at a time. 0: no other process is present, and none that comes gets further than
 * storage_lock_new until leave. -EBUSY: another one is; or another negative errno. */
int storage_lock_enter(struct storage_lock *k);
void storage_lock_leave(struct storage_lock *k);

/* Places that are held for a moment; threads of one process share them, and keep each other out by
 * themselves. Blocking: pool threads, one place each at a time. k may be NULL, and where the file
 * system knows no locks nothing is held: then there should be one process. */
enum storage_place { STORAGE_TAGS = 0, STORAGE_LINKS = 64, STORAGE_PLACES = 128 };
void storage_lock_hold(struct storage_lock *k, unsigned place);
void storage_lock_release(struct storage_lock *k, unsigned place);

#endif
