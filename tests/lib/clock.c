/*
 * Preloaded into the daemon by tests/lib/clock.py: the wall clock is as many seconds off as the
 * first number of the file says that CLOCK_FILE names, from one moment to the next; while the
 * second one is not 0 it stands still there. The monotonic clock is as it is, and so are the times
 * that the file system writes.
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

struct setting {
    int64_t shift_s, still_at_s;
};

static const volatile struct setting *setting;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CLOCK_FILE");
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *bytes = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*setting), PROT_READ, MAP_SHARED, fd, 0);

    if (bytes == MAP_FAILED)
        abort();
    close(fd);
    setting = bytes;
}

/* Others may ask before we have begun. True: the fraction of the second is 0. */
static int set(time_t *now)
{
    int64_t still_at_s = setting ? setting->still_at_s : 0;

    if (still_at_s)
        *now = (time_t)still_at_s;
    if (setting)
        *now += (time_t)setting->shift_s;
    return still_at_s != 0;
}

int clock_gettime(clockid_t id, struct timespec *t)
{
    int rc = REAL(clock_gettime)(id, t);

    if (rc == 0 && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) && set(&t->tv_sec))
        t->tv_nsec = 0;
    return rc;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone)
{
    int rc = REAL(gettimeofday)(t, zone);

    if (rc == 0 && set(&t->tv_sec))
        t->tv_usec = 0;
    return rc;
}

time_t time(time_t *out)
{
    time_t now = REAL(time)(NULL);

    set(&now);
    if (out)
        *out = now;
    return now;
}
