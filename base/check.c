#include "config.h"

#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"

void check_failed(const char *expr, const char *file, int line, const char *func)
{
    log_write(LOG_CRITICAL, "check", "%s:%d %s: '%s' does not hold; this is a bug in mirrord", file,
              line, func, expr);
    abort();
}
