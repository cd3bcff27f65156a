/*
 * Preloaded into the daemon by tests/lib/clock.py: the wall clock is as many seconds off as the
 * file says that CLOCK_FILE names, from one moment to the next. The monotonic clock is as it is,
 * and so are the times that the file system writes.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const volatile int64_t *shift_s;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CLOCK_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *bytes = fd < 0 ? MAP_FAILED : mmap(NULL, 8, PROT_READ, MAP_SHARED, fd, 0);

    if (bytes == MAP_FAILED)
        abort();
    close(fd);
    shift_s = bytes;
}

/* Others may ask before we have begun. */
static time_t shift(void)
{
    return shift_s ? (time_t)*shift_s : 0;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    int rc = REAL(clock_gettime)(id, t);

    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        t->tv_sec += shift();
    return rc;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    int rc = REAL(gettimeofday)(t, zone);

    if (rc == 0)
        t->tv_sec += shift();
    return rc;
}

time_t time(time_t *out)
{
    time_t now = REAL(time)(NULL) + shift();

    if (out)
        *out = now;
    return now;
}
