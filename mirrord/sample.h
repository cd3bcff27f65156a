/*
 * The sample configuration file, written from the table of options: every flavor, every option
 * with its comment. It is also the configuration of a daemon that is given none, and is committed
 * as deploy/config_sample.yml. Any thread.
 */
#ifndef MIRRORD_SAMPLE_H
#define MIRRORD_SAMPLE_H

#include "base/strbuf.h"

void sample_print(struct strbuf *out);

#endif
