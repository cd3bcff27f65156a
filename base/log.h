/*
 * The log: one line per event to stderr or a file, "time level prefix: message". Levels are the
 * legacy registry's (Python's): debug, info, warn/warning, error, critical/fatal.
 * Any thread; one write(2) per line, so lines never mix. Control characters are escaped.
 * The object that logs gives the prefix ("fill sha256:ab12…", "upstream registry-1.docker.io").
 * Never log an Authorization value, a token, a password or a URL with its query.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

#include "base/error.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR, LOG_CRITICAL, LOG_LEVEL_MAX };

/* Accepts upper and lower case and Python's aliases. False when the name is unknown. */
bool log_level_parse(const char *name, enum log_level *out);
const char *log_level_name(enum log_level level);
void log_set_level(enum log_level level);
bool log_enabled(enum log_level level);
/* Where lines go: NULL or "-" = stderr. Called again for the same path it reopens (rotation).
 * Returns 0 or a negative errno; on failure the old target stays. */
int log_set_file(const char *path, struct error *err);
void log_write(enum log_level level, const char *prefix, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define log_debug(prefix, ...)                                                                     \
    (log_enabled(LOG_DEBUG) ? log_write(LOG_DEBUG, prefix, __VA_ARGS__) : (void)0)
#define log_info(prefix, ...) log_write(LOG_INFO, prefix, __VA_ARGS__)
#define log_warning(prefix, ...) log_write(LOG_WARNING, prefix, __VA_ARGS__)
#define log_error(prefix, ...) log_write(LOG_ERROR, prefix, __VA_ARGS__)

#endif
