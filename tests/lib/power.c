/*
 * Preloaded into the daemon by tests/lib/power.py: notes which names it makes and removes, and what
 * it makes durable, in the order in which it happens. From that it can be told what a power cut
 * would leave. What loses its last name is kept under its inode's number, because a name whose
 * removal is not durable comes back.
 * The names are noted after the fact and syncs before it, so that a mistake is to the daemon's
 * disadvantage.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* One line, whole, whoever else writes at the same time. */
__attribute__((format(printf, 1, 2))) static void note(const char *format, ...)
{
    static int fd = -1;
    char line[PATH_MAX + 128];
    va_list args;

    if (fd < 0) {
        const char *path = getenv("POWER_LOG");
        fd = path ? (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_APPEND | O_CLOEXEC, 0)
                  : -1;
    }
    va_start(args, format);
    int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    if (fd < 0 || n < 0 || write(fd, line, (size_t)n) != n)
        abort();
}

/* The inode of the folder that a path lies in, and its last word. */
static unsigned long parent_of(const char *path, const char **name)
{
    char folder[PATH_MAX];
    struct stat status;
    const char *slash = strrchr(path, '/');

    *name = slash ? slash + 1 : path;
    snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    return stat(*folder ? folder : "/", &status) == 0 ? status.st_ino : 0;
}

static void note_added(const char *path)
{
    struct stat status;
    const char *name;
    unsigned long parent = parent_of(path, &name);

    if (parent && lstat(path, &status) == 0)
        note("add %lu %lu %d %s\n", parent, status.st_ino, S_ISDIR(status.st_mode), name);
}

static void note_removed(const char *path)
{
    const char *name;
    unsigned long parent = parent_of(path, &name);

    if (parent)
        note("del %lu 0 0 %s\n", parent, name);
}

/* Before a file's name goes: it gets another one, elsewhere. */
static void bury(const char *path)
{
    char grave[PATH_MAX];
    struct stat status;

    if (lstat(path, &status) < 0 || !S_ISREG(status.st_mode))
        return;
    snprintf(grave, sizeof(grave), "%s/%lu", getenv("POWER_GRAVES"), status.st_ino);
    if (link(path, grave) < 0 && access(grave, F_OK) < 0)
        abort();
}

/* Before a folder goes: while it stays open, nothing else gets its number. */
static void keep_number(const char *path)
{
    (void)!syscall(SYS_openat, AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
}

int open(const char *path, int flags, ...)
{
    va_list args;

    va_start(args, flags);
    mode_t mode = flags & O_CREAT ? va_arg(args, mode_t) : 0;
    va_end(args);
    int fd = REAL(open)(path, flags, mode);
    if (fd >= 0 && flags & O_CREAT)
        note_added(path);
    return fd;
}

int mkdir(const char *path, mode_t mode)
{
    int rc = REAL(mkdir)(path, mode);

    if (rc == 0)
        note_added(path);
    return rc;
}

int rename(const char *from, const char *to)
{
    bury(to);
    int rc = REAL(rename)(from, to);
    if (rc == 0) {
        note_added(to);
        note_removed(from);
    }
    return rc;
}

int unlink(const char *path)
{
    bury(path);
    int rc = REAL(unlink)(path);
    if (rc == 0)
        note_removed(path);
    return rc;
}

int rmdir(const char *path)
{
    keep_number(path);
    int rc = REAL(rmdir)(path);
    if (rc == 0)
        note_removed(path);
    return rc;
}

int unlinkat(int folder, const char *name, int flags)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", folder, name);
    if (flags & AT_REMOVEDIR)
        keep_number(path);
    else
        bury(path);
    int rc = REAL(unlinkat)(folder, name, flags);
    if (rc == 0)
        note_removed(path);
    return rc;
}

int fsync(int fd)
{
    struct stat status;
    long thread = syscall(SYS_gettid);

    if (fstat(fd, &status) == 0)
        note("sync %lu %ld %lld -\n", status.st_ino, thread, (long long)status.st_size);
    int rc = REAL(fsync)(fd);
    if (rc == 0)
        note("synced %lu %ld 0 -\n", status.st_ino, thread);
    return rc;
}
