/*
 * What a plain YAML 1.1 scalar means: null, boolean, number, date, or just text. The rules are
 * those of the legacy registry's loader, so that a value means here what it meant there: 010 is
 * eight, 12:30:45 is a number of base sixty, 1e3 is text, yes is true.
 * Pure functions over borrowed text; any thread.
 */
#ifndef MIRRORD_YAML_SCALAR_H
#define MIRRORD_YAML_SCALAR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum yaml_scalar_kind {
    YAML_SCALAR_NULL,
    YAML_SCALAR_BOOL,
    YAML_SCALAR_INT,
    YAML_SCALAR_FLOAT,
    YAML_SCALAR_DATE,
    YAML_SCALAR_TEXT, /* also integers beyond 64 bits */
    YAML_SCALAR_KIND_MAX
};

struct yaml_scalar {
    enum yaml_scalar_kind kind;
    bool boolean;
    int64_t integer;
    double real;
};

void yaml_scalar_resolve(struct slice text, struct yaml_scalar *out);

#endif
