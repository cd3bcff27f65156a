#include "config.h"

#include "cache/tag_check.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/check.h"
#include "cache/link_file.h"
#include "cache/tag_file.h"

/* Whether the repository has this manifest because an upstream does: then nobody has pushed a tag
 * that points to it. */
static bool is_mirrored(struct layout *l, struct slice repo, const struct digest *d,
                        struct origin *out)
{
    struct link_name name = {LINK_REVISION, repo, d};

    return link_file_load(l, &name, out) == 0 && !out->is_pushed;
}

/* The entries of one algorithm in registry:2's index of the tag. */
static void count_index(struct layout *l, struct slice repo, const char *path, enum digest_alg alg,
                        unsigned counts[2])
{
    DIR *folder = opendir(path);
    const struct dirent *entry;
    struct origin origin;
    struct digest d;

    while (folder && (entry = readdir(folder))) {
        if (digest_parse_hex(alg, slice_of(entry->d_name), &d))
            counts[is_mirrored(l, repo, &d, &origin)]++;
    }
    if (folder)
        closedir(folder);
}

/* All digests it ever had were mirrored. Of a tag without any nobody knows. */
static bool was_mirrored(struct layout *l, struct slice repo, struct slice tag)
{
    unsigned counts[2] = {0, 0};
    char *folder = layout_tag(l, repo, tag);

    for (enum digest_alg alg = 0; alg < DIGEST_ALG_MAX; alg++) {
        char *path = xasprintf("%s/index/%s", folder, digest_alg_name(alg));
        count_index(l, repo, path, alg, counts);
        free(path);
    }
    free(folder);
    return counts[false] == 0 && counts[true] > 0;
}

/* What the scrub has moved away is told as a blob. */
static bool is_missing(const struct layout *l, const struct digest *d)
{
    struct stat st;
    char *path = layout_blob(l, d);
    char *aside = layout_damaged(l, d);
    bool is_gone = stat(path, &st) < 0 && errno == ENOENT && stat(aside, &st) < 0;

    free(aside);
    free(path);
    return is_gone;
}

/* The link says which digest, and the record not whose it is. What comes of it is as old as the
 * manifest, so that the upstream is asked soon. */
static void judge_record(struct layout *l, struct slice repo, const struct tag_file_state *s,
                         struct tag_finding *out)
{
    struct origin origin;

    CHECK(s->link_rc == 0);
    out->what = "its record is damaged";
    out->health = TAG_LOST;
    if (!is_mirrored(l, repo, &s->link, &origin))
        return;
    out->health = TAG_MENDABLE;
    out->record = (struct tag_record){.mirrored = TAG_MIRRORED,
                                      .digest = s->link,
                                      .fetched_at_s = origin.at_s,
                                      .checked_at_s = origin.at_s,
                                      .upstream = origin.upstream};
}

/* The link does not say which digest; the record may. */
static void judge_link(struct layout *l, struct slice repo, struct slice tag,
                       const struct tag_file_state *s, struct tag_finding *out)
{
    CHECK(s->link_rc == -EBADMSG);
    out->what = "its link is damaged";
    if (s->record_rc == 0) {
        out->health = TAG_MENDABLE;
        out->record = s->record;
    } else {
        out->health = was_mirrored(l, repo, tag) ? TAG_WORTHLESS : TAG_LOST;
    }
}

/* A tag that is mirrored may be known before its manifest is; the next client brings that. */
static void judge_target(const struct layout *l, const struct tag_file_state *s,
                         struct tag_finding *out)
{
    bool is_mirrored = s->record_rc == 0 && !s->record.is_pushed;

    if (is_mirrored || !is_missing(l, &s->link))
        return;
    out->health = TAG_LOST;
    out->what = "the manifest that it points to is not here";
}

static bool is_failure(int rc)
{
    return rc < 0 && rc != -ENOENT && rc != -EBADMSG;
}

/* What a disk cannot give when it is asked twice is damaged. */
static void look(struct layout *l, struct slice repo, struct slice tag, struct tag_file_state *out)
{
    tag_file_look(l, repo, tag, out);
    if (out->link_rc == -EIO || out->record_rc == -EIO)
        tag_file_look(l, repo, tag, out);
    out->link_rc = out->link_rc == -EIO ? -EBADMSG : out->link_rc;
    out->record_rc = out->record_rc == -EIO ? -EBADMSG : out->record_rc;
}

void tag_check(struct layout *l, struct slice repo, struct slice tag, struct tag_finding *out)
{
    struct tag_file_state s;

    CHECK(layout_repo_is_valid(repo) && layout_tag_is_valid(tag));
    look(l, repo, tag, &s);
    *out = (struct tag_finding){.health = TAG_WELL, .what = "well"};
    if (is_failure(s.link_rc) || is_failure(s.record_rc)) {
        out->health = TAG_UNREADABLE;
        out->error = is_failure(s.link_rc) ? s.link_rc : s.record_rc;
    } else if (s.link_rc == -EBADMSG) {
        judge_link(l, repo, tag, &s, out);
    } else if (s.link_rc == 0 && s.record_rc == -EBADMSG) {
        judge_record(l, repo, &s, out);
    } else if (s.link_rc == 0) {
        judge_target(l, &s, out);
    }
}
