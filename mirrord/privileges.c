#include "config.h"

#include "mirrord/privileges.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/slice.h"

/* A number, or what a name stands for; -1 when it is neither. */
static int64_t find_group(const char *name)
{
    uint64_t number;
    const struct group *g = getgrnam(name);

    if (g)
        return g->gr_gid;
    return slice_to_u64(slice_of(name), &number) && number < UINT32_MAX ? (int64_t)number : -1;
}

static int become_group(gid_t gid, struct error *err)
{
    if (setgroups(1, &gid) < 0 || setgid(gid) < 0)
        return error_sys(err, -errno, "become group %u", (unsigned)gid);
    return 0;
}

/* The group and user numbers of a name; a bare number has no group of its own. */
static int find_user(const char *name, int64_t *uid, int64_t *gid, struct error *err)
{
    uint64_t number;
    const struct passwd *p = getpwnam(name);

    if (p) {
        *uid = p->pw_uid;
        *gid = p->pw_gid;
        return 0;
    }
    if (!slice_to_u64(slice_of(name), &number) || number >= UINT32_MAX)
        return error_set(err, -ENOENT, "registry.user: there is no user %s", name);
    *uid = (int64_t)number;
    return 0;
}

int privileges_drop(const char *user, const char *group, struct error *err)
{
    int64_t uid = -1;
    int64_t gid = -1;
    int rc = 0;

    if (user)
        rc = find_user(user, &uid, &gid, err);
    if (rc == 0 && group && (gid = find_group(group)) < 0)
        rc = error_set(err, -ENOENT, "registry.group: there is no group %s", group);
    if (rc != 0)
        return rc;
    bool is_there = (uid < 0 || (uid_t)uid == geteuid()) && (gid < 0 || (gid_t)gid == getegid());
    if (is_there)
        return 0;
    if (geteuid() != 0)
        return error_set(err, -EPERM,
                         "registry.user and registry.group: only root can become another");
    if (gid >= 0)
        rc = become_group((gid_t)gid, err);
    if (rc == 0 && uid >= 0 && setuid((uid_t)uid) < 0)
        rc = error_sys(err, -errno, "become user %s", user);
    return rc;
}

void privileges_raise_limits(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}
