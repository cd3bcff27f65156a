#include "config.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

static const char *const NAMES[] = {
    [LOG_DEBUG] = "DEBUG", [LOG_INFO] = "INFO",         [LOG_WARNING] = "WARNING",
    [LOG_ERROR] = "ERROR", [LOG_CRITICAL] = "CRITICAL",
};
_Static_assert(sizeof(NAMES) / sizeof(NAMES[0]) == LOG_LEVEL_MAX, "one name per level");

/* Read on every call without a lock; written at start and on reload. */
static int threshold = LOG_INFO;
static int target_fd = STDERR_FILENO;

bool log_level_parse(const char *name, enum log_level *out)
{
    if (strcasecmp(name, "warn") == 0)
        name = "warning";
    if (strcasecmp(name, "fatal") == 0)
        name = "critical";
    for (int i = 0; i < LOG_LEVEL_MAX; i++) {
        if (strcasecmp(name, NAMES[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

const char *log_level_name(enum log_level level)
{
    return NAMES[level];
}

void log_set_level(enum log_level level)
{
    __atomic_store_n(&threshold, (int)level, __ATOMIC_RELAXED);
}

bool log_enabled(enum log_level level)
{
    return (int)level >= __atomic_load_n(&threshold, __ATOMIC_RELAXED);
}

int log_set_file(const char *path, struct error *err)
{
    int fd = STDERR_FILENO;

    if (path && strcmp(path, "-") != 0) {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        if (fd < 0)
            return error_sys(err, -errno, "open log file %s", path);
    }
    int old = __atomic_load_n(&target_fd, __ATOMIC_RELAXED);
    if (old != STDERR_FILENO && fd != STDERR_FILENO) {
        /* The same number goes on: another thread may be writing to it just now. */
        int rc = dup3(fd, old, O_CLOEXEC) < 0 ? -errno : 0;
        close(fd);
        return rc == 0 ? 0 : error_sys(err, rc, "switch log file to %s", path);
    }
    __atomic_store_n(&target_fd, fd, __ATOMIC_RELAXED);
    return 0;
}

/* Appends text with control characters as \xNN; keeps two bytes for the line's end. */
static size_t append_escaped(char *line, size_t at, size_t size, const char *text)
{
    for (; *text && at + 6 < size; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= 0x20 && c != 0x7f) {
            line[at++] = (char)c;
            continue;
        }
        at += (size_t)snprintf(line + at, size - at, "\\x%02x", c);
    }
    return at;
}

void log_write(enum log_level level, const char *prefix, const char *fmt, ...)
{
    char text[1024];
    char line[1400];
    va_list args;
    time_t now = time(NULL);
    struct tm tm;

    if (!log_enabled(level))
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    localtime_r(&now, &tm);
    size_t n = strftime(line, sizeof(line), "%d/%b/%Y:%H:%M:%S %z ", &tm);
    n = append_escaped(line, n, sizeof(line), NAMES[level]);
    n = append_escaped(line, n, sizeof(line), ": ");
    if (prefix && *prefix) {
        n = append_escaped(line, n, sizeof(line), prefix);
        n = append_escaped(line, n, sizeof(line), ": ");
    }
    n = append_escaped(line, n, sizeof(line), text);
    line[n++] = '\n';
    ssize_t rc;
    do {
        rc = write(__atomic_load_n(&target_fd, __ATOMIC_RELAXED), line, n);
    } while (rc < 0 && errno == EINTR);
}
