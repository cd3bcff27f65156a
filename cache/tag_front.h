/*
 * The memory front of the tags: whole records, and mirrored halves whose other half has not been
 * read from the storage yet (the record was displaced while the upstream was asked). Such a half is
 * not found before it has been joined with what the storage says. The same holds for what another
 * process may have changed: after a doubt, what the storage says counts again, but for a mirrored
 * half that is younger than the doubt or not written yet. Any thread; one short lock per shard;
 * bounded in bytes.
 */
#ifndef CACHE_TAG_FRONT_H
#define CACHE_TAG_FRONT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "cache/tag.h"

struct tag_front;

/* Made before the storage is read: what is joined under it is believed only while nobody has
 * doubted since. */
struct tag_key {
    struct slice repo;
    struct slice tag;
    uint64_t hash;
    uint32_t doubts;
};

struct tag_key tag_front_key(const struct tag_front *f, struct slice repo, struct slice tag);

struct tag_front *tag_front_new(size_t memory_bytes);
void tag_front_free(struct tag_front **f);

/* A whole record with something in it. hot */
bool tag_front_find(struct tag_front *f, const struct tag_key *k, struct tag_record *out);
/* What the upstream said last, doubted or not; false when nothing is remembered of it. The pushed
 * half of *out is not touched. */
bool tag_front_last(struct tag_front *f, const struct tag_key *k, struct tag_record *out);
/* The same, but only where it counts more than what the storage says. */
bool tag_front_mirrored(struct tag_front *f, const struct tag_key *k, struct tag_record *out);
/* The upstream says so. */
void tag_front_note(struct tag_front *f, const struct tag_key *k, const struct tag_record *record);
/* Other processes may have changed the tag, or any. */
void tag_front_doubt(struct tag_front *f, const struct tag_key *k);
void tag_front_doubt_all(struct tag_front *f);
/* *record is what the storage has. The front's mirrored half is younger and stays; without one, or
 * when it is in doubt, the storage's is taken. *record becomes what the front has now. */
void tag_front_join(struct tag_front *f, const struct tag_key *k, struct tag_record *record);
/* The mirrored half is forgotten if it is still this one (TAG_ABSENT: whenever it was). */
void tag_front_drop_mirrored(struct tag_front *f, const struct tag_key *k,
                             const struct tag_record *record);
void tag_front_remove(struct tag_front *f, const struct tag_key *k);

/* Whether the mirrored half has not been written to the storage since it was noted. */
bool tag_front_is_unwritten(struct tag_front *f, const struct tag_key *k);
/* The same mirrored half, which has been confirmed later than we knew. What else is there stays. */
void tag_front_confirm(struct tag_front *f, const struct tag_key *k,
                       const struct tag_record *record);
/* This one has been written. */
void tag_front_note_written(struct tag_front *f, const struct tag_key *k,
                            const struct tag_record *record);

/* out's mirrored half becomes that of `from`. */
void tag_front_copy_mirrored(struct tag_record *out, const struct tag_record *from);

#endif
