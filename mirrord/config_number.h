/*
 * Numbers with units, as the configuration has them: sizes (bytes; k, KiB, MB …) and durations
 * (seconds; ms, m, h, d …). Pure functions; any thread.
 */
#ifndef MIRRORD_CONFIG_NUMBER_H
#define MIRRORD_CONFIG_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/strbuf.h"

/* Bytes from "64k", "1.5MiB"; k, m, g, t and KiB … are powers of 1024, kB, MB … of 1000. False
 * when it is not of that form or too large. */
bool config_number_bytes(struct slice text, int64_t *out);
/* Milliseconds from "250ms", "1.5h", "7d"; a number alone is seconds. */
bool config_number_ms(struct slice text, int64_t *out);
/* In the largest unit that shows it whole; both read back as the same. */
void config_number_print_bytes(int64_t n_bytes, struct strbuf *out);
void config_number_print_ms(int64_t ms, struct strbuf *out);

#endif
